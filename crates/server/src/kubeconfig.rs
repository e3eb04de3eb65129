//! The kubeconfig file of a twin fleet, and `server.json`, by which commands find the running server.
//!
//! Both lie in the state directory; the user's own kubeconfig is never touched.

use crate::door::Pass;
use crate::signals::read_within;
use anyhow::Context;
use fleet::ClusterId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Most bytes read of `server.json`: an address, a number and a path are far less.
const SERVER_FILE_MAX: u64 = 64 << 10;

/// Where a running server is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerFile {
    /// Base address of console and REST API.
    pub url: String,
    /// Its process.
    pub pid: u32,
    /// Its kubeconfig file: the twins', or the one that was named; `None`: the user's own.
    pub kubeconfig: Option<PathBuf>,
}

/// Writes `contents` to `path` whole or not at all.
fn write_whole(path: &Path, contents: &[u8], mode: u32) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let write = || {
        // One of an earlier attempt may have other rights; that there is none is as good.
        let _gone = std::fs::remove_file(&beside);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(contents)
    };
    write().with_context(|| format!("write {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("put {} in place", path.display()))
}

/// The same, for the owner's eyes only.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    write_whole(path, contents, 0o600)
}

/// How clusters are reached.
pub struct Access<'a> {
    /// Each cluster and the base address of its API.
    pub clusters: Vec<(&'a ClusterId, String)>,
    /// What a client has to bring; `None`: nothing.
    pub pass: Option<&'a Pass>,
}

/// Writes `DIR/kubeconfig` with one context a cluster, the first one current.
pub fn write(dir: &Path, access: &Access<'_>) -> anyhow::Result<PathBuf> {
    let path = dir.join("kubeconfig");
    let cluster = |(id, url): &(&ClusterId, String)| {
        let mut cluster = json!({"server": url});
        if let Some(pass) = access.pass {
            cluster["certificate-authority-data"] = json!(base64(pass.authority.as_bytes()));
        }
        json!({"name": id, "cluster": cluster})
    };
    let user = access.pass.map_or_else(|| json!({}), |pass| json!({"token": pass.token}));
    let context =
        |(id, _): &(&ClusterId, String)| json!({"name": id, "context": {"cluster": id, "user": "twin"}});
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": access.clusters.iter().map(cluster).collect::<Vec<_>>(),
        "users": [{"name": "twin", "user": user}],
        "contexts": access.clusters.iter().map(context).collect::<Vec<_>>(),
        "current-context": access.clusters.first().map(|(id, _)| id),
    });
    // JSON is YAML, and kubectl reads it as such.
    write_private(&path, serde_json::to_string_pretty(&config)?.as_bytes())?;
    Ok(path)
}

/// Standard base64 with padding, as Kubernetes encodes bytes in JSON.
pub(crate) fn base64(bytes: &[u8]) -> String {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec()))
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Writes `STATE/server.json`.
pub fn write_server(state: &Path, file: &ServerFile) -> anyhow::Result<()> {
    write_whole(&state.join("server.json"), serde_json::to_string_pretty(file)?.as_bytes(), 0o644)
}

/// Reads `STATE/server.json`; `None` when there is none.
pub fn read_server(state: &Path) -> anyhow::Result<Option<ServerFile>> {
    let path = state.join("server.json");
    match read_within(&path, SERVER_FILE_MAX) {
        Ok(bytes) => {
            Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}
