//! The kubeconfig file of a twin fleet, and `server.json`, by which commands find the running server.
//!
//! Both lie in the state directory; the user's own kubeconfig is never touched.

use crate::signals::read_within;
use anyhow::Context;
use fleet::ClusterId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::SocketAddr;
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
fn write_whole(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, contents).with_context(|| format!("write {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("put {} in place", path.display()))
}

/// Writes `STATE/kubeconfig` with one context a cluster, the first one current.
pub fn write(state: &Path, clusters: &[(ClusterId, SocketAddr)]) -> anyhow::Result<PathBuf> {
    let path = state.join("kubeconfig");
    let named = |f: &dyn Fn(&ClusterId, &SocketAddr) -> serde_json::Value| -> Vec<serde_json::Value> {
        clusters.iter().map(|(id, address)| f(id, address)).collect()
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": named(&|id, address| json!({"name": id, "cluster": {"server": format!("http://{address}")}})),
        "users": [{"name": "twin", "user": {}}],
        "contexts": named(&|id, _| json!({"name": id, "context": {"cluster": id, "user": "twin"}})),
        "current-context": clusters.first().map(|(id, _)| id),
    });
    // JSON is YAML, and kubectl reads it as such.
    write_whole(&path, serde_json::to_string_pretty(&config)?.as_bytes())?;
    Ok(path)
}

/// Writes `STATE/server.json`.
pub fn write_server(state: &Path, file: &ServerFile) -> anyhow::Result<()> {
    write_whole(&state.join("server.json"), serde_json::to_string_pretty(file)?.as_bytes())
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
