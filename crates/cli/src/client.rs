//! Talks to the running server, found by `--server` or by `server.json` in the state directory.

use crate::options::Common;
use anyhow::{Context, bail, ensure};
use reqwest::Method;
use serde_json::Value;
use server::kubeconfig::ServerFile;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest look whether a server is there, of two that may be.
const LOOK_TIMEOUT: Duration = Duration::from_millis(300);
/// Largest page of a list the server gives.
const PAGE: usize = 1000;
/// Most bytes read of one answer: 64 KiB for each item of the largest page, where a few KiB are usual.
const ANSWER_MAX: usize = 64 << 20;
/// Most pages read of one list.
const PAGES_MAX: usize = 1000;

/// The state directory: `--state`, else the user's.
pub fn state_dir(common: &Common) -> anyhow::Result<PathBuf> {
    if let Some(state) = &common.state {
        return Ok(state.clone());
    }
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    let base =
        base.context("no state directory: neither HOME nor XDG_STATE_HOME is set\n\nhint: give --state DIR")?;
    Ok(base.join("kubercarbon"))
}

/// The server that runs on a state directory: on twins, or on real clusters.
fn running(state: &Path) -> anyhow::Result<ServerFile> {
    let places = [state.to_owned(), state.join(server::real::STATE)];
    let mut found = Vec::new();
    for place in &places {
        found.extend(server::kubeconfig::read_server(place)?.map(|file| (place, file)));
    }
    // One that was killed leaves its file behind; where both are named, the one that answers is meant.
    let answers = |url: &str| {
        let address = url.strip_prefix("http://").and_then(|address| address.parse().ok());
        address.is_some_and(|address| TcpStream::connect_timeout(&address, LOOK_TIMEOUT).is_ok())
    };
    if let [(_, twins), (place, real)] = found.as_slice() {
        match (answers(&twins.url), answers(&real.url)) {
            (true, true) => bail!(
                "two servers run on {}: one on twins, one on real clusters\n\nhint: --server {} is that on twins, --state {} that on real clusters",
                state.display(),
                twins.url,
                place.display()
            ),
            (false, true) => return Ok(real.clone()),
            _ => return Ok(twins.clone()),
        }
    }
    let only = found.into_iter().next().map(|(_, file)| file);
    only.with_context(|| {
        format!("no server is running on {}\n\nhint: start one with: kubercarbon up", state.display())
    })
}

/// A server that answers.
pub struct Client {
    url: String,
    /// Kubeconfig of its clusters; `None`: the user's own.
    pub kubeconfig: Option<PathBuf>,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// Finds the server.
    pub fn find(common: &Common) -> anyhow::Result<Client> {
        let (url, kubeconfig) = match &common.server {
            Some(url) => (url.trim_end_matches('/').to_owned(), None),
            None => {
                let file = running(&state_dir(common)?)?;
                (file.url, file.kubeconfig)
            }
        };
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().context("make a client")?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        Ok(Client { url, kubeconfig, http, runtime })
    }

    /// Asks, and gives the JSON answered; a refusal becomes its own words.
    pub fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method, &url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.runtime.block_on(async {
            let mut answer = request.send().await?;
            let mut bytes = Vec::new();
            while let Some(chunk) = answer.chunk().await?
                && bytes.len() <= ANSWER_MAX
            {
                bytes.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>((answer.status(), bytes))
        });
        let hint = "is it still running? start one with: kubercarbon up";
        let (status, bytes) =
            answer.with_context(|| format!("ask the server at {}\n\nhint: {hint}", self.url))?;
        ensure!(
            bytes.len() <= ANSWER_MAX,
            "{url}: an answer of more than {ANSWER_MAX} bytes: expected at most that\n\nhint: is it kubercarbon that answers there?"
        );
        let value: Value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).with_context(|| format!("read the answer of {url}"))?
        };
        if !status.is_success() {
            let detail = value["detail"].as_str().or(value["title"].as_str()).map(str::to_owned);
            let text = detail.unwrap_or_else(|| format!("the server answered {status}"));
            match value["hint"].as_str() {
                Some(hint) => bail!("{text}\n\nhint: {hint}"),
                None => bail!("{text}"),
            }
        }
        Ok(value)
    }

    /// GET.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, None)
    }

    /// GET of a whole list, page by page; what stands beside the items is that of the first page.
    pub fn list(&self, path: &str) -> anyhow::Result<Value> {
        self.list_of(&format!("{path}?"))
    }

    /// The same of a path that has a query already.
    pub fn list_of(&self, path: &str) -> anyhow::Result<Value> {
        let mut whole = self.get(&format!("{path}&limit={PAGE}"))?;
        let mut next = whole["next"].as_str().map(str::to_owned);
        for _ in 0..PAGES_MAX {
            let Some(after) = next else { break };
            let mut page = self.get(&format!("{path}&limit={PAGE}&after={}", escape(&after)))?;
            next = page["next"].as_str().map(str::to_owned);
            if let (Some(all), Some(more)) = (whole["items"].as_array_mut(), page["items"].as_array_mut()) {
                all.append(more);
            }
        }
        if let Some(object) = whole.as_object_mut() {
            object.remove("next");
        }
        Ok(whole)
    }
}

/// Percent-encodes a query value.
pub fn escape(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
