//! Clusters as people have them: contexts of a kubeconfig, or the cluster this process is a pod of.
//!
//! Invariants: nothing is written, and no request is made; certificates, tokens and programs that give tokens are
//! as `kubectl` has them. Text that names a context is turned into a cluster's name in one place.

use crate::proxy::Proxies;
use fleet::ClusterId;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest name of a cluster: it becomes the value of a label.
const NAME_MAX: usize = 63;

/// Why contexts cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No file, or not a kubeconfig.
    #[error("read {}", .path.as_ref().map_or_else(|| "the kubeconfig".to_owned(), |p| p.display().to_string()))]
    Read {
        /// The file, where one was named.
        path: Option<PathBuf>,
        /// What went wrong.
        source: Box<kube::config::KubeconfigError>,
    },
    /// No such context.
    #[error("context {found:?}: expected {known}")]
    Unknown {
        /// What was asked for.
        found: String,
        /// What there is.
        known: String,
    },
    /// Two contexts would have one name.
    #[error(
        "contexts {first:?} and {second:?} would both be called {name}: expected a name each, e.g. --context other={second}"
    )]
    SameName {
        /// The earlier one.
        first: String,
        /// The later one.
        second: String,
        /// Their name.
        name: ClusterId,
    },
    /// Two contexts point to one API server.
    #[error("contexts {first:?} and {second:?} are one cluster ({server}): expected each cluster once")]
    SameServer {
        /// The earlier one.
        first: String,
        /// The later one.
        second: String,
        /// The address of both.
        server: String,
    },
    /// A name that cannot be.
    #[error("{found:?} is no name for a cluster: expected 1 to 63 letters, digits, '-', '_' or '.'")]
    Name {
        /// What was asked for.
        found: String,
    },
}

/// A way to a cluster.
#[derive(Clone, Debug)]
pub struct Context {
    /// What the cluster is called in the fleet.
    pub id: ClusterId,
    /// The context's name, for `kubectl` commands we print.
    pub name: String,
    /// How it is reached.
    reach: Reach,
}

#[derive(Clone, Debug)]
enum Reach {
    Kubeconfig(Box<Kubeconfig>),
    InCluster,
}

impl Context {
    /// The cluster this process is a pod of, under this name.
    ///
    /// # Errors
    /// When the name cannot be.
    pub fn in_cluster(name: &str) -> Result<Context, Error> {
        let id = stated_name(name)?;
        Ok(Context { id, name: name.to_owned(), reach: Reach::InCluster })
    }

    /// How to connect. Runs no program: that is done when a client is made.
    ///
    /// # Errors
    /// In words: files that are missing, an address that cannot be.
    pub async fn config(&self) -> Result<kube::Config, String> {
        match &self.reach {
            Reach::InCluster => kube::Config::incluster().map_err(|e| chain(&e)),
            Reach::Kubeconfig(file) => {
                let options = KubeConfigOptions { context: Some(self.name.clone()), ..Default::default() };
                let config = kube::Config::from_custom_kubeconfig((**file).clone(), &options).await;
                let mut config = config.map_err(|e| chain(&e))?;
                config.proxy_url = proxy(file, &self.name, &config.cluster_url, &Proxies::environment()?)?;
                Ok(config)
            }
        }
    }
}

/// The proxy to a context's cluster: its own `proxy-url`, else the environment's. kube reads the same, but holds `NO_PROXY`
/// against the proxy's address and sends loopback through it.
fn proxy(
    file: &Kubeconfig,
    context: &str,
    target: &http::Uri,
    proxies: &Proxies,
) -> Result<Option<http::Uri>, String> {
    let named = file.contexts.iter().find(|c| c.name == context).and_then(|c| c.context.as_ref());
    let cluster = named.and_then(|c| file.clusters.iter().find(|known| known.name == c.cluster));
    let stated = cluster.and_then(|c| c.cluster.as_ref()?.proxy_url.as_deref()).filter(|url| !url.is_empty());
    match stated {
        Some(url) => {
            let url = url.parse().map_err(|_| "proxy-url: no address: expected one such as http://host:port");
            Ok(Some(url?))
        }
        None => Ok(proxies.of(target).cloned()),
    }
}

/// An error with what it came of, once each.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// Contexts by name, each `CONTEXT` or `NAME=CONTEXT`; `None`: all there are, each cluster once. `file`: the
/// kubeconfig; else what `KUBECONFIG` names, else `~/.kube/config`.
///
/// # Errors
/// When the file cannot be read, a context is not there, or one cluster would be there twice.
pub fn read(file: Option<&Path>, wanted: Option<&[String]>) -> Result<Vec<Context>, Error> {
    let whole = match file {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let whole = whole.map_err(|e| Error::Read { path: file.map(Path::to_owned), source: Box::new(e) })?;
    choose(&whole, wanted)
}

/// See [`read`].
fn choose(whole: &Kubeconfig, wanted: Option<&[String]>) -> Result<Vec<Context>, Error> {
    let known: Vec<&str> = whole.contexts.iter().map(|c| c.name.as_str()).collect();
    let all: Vec<String>;
    let names = match wanted {
        Some(names) => names,
        None => {
            all = known.iter().map(|name| (*name).to_owned()).collect();
            &all
        }
    };
    let mut servers: BTreeMap<String, String> = BTreeMap::new();
    let mut chosen: Vec<Context> = Vec::new();
    for text in names {
        let stated = text.split_once('=').filter(|_| !known.contains(&text.as_str()));
        let name = stated.map_or(text.as_str(), |(_, name)| name);
        if !known.contains(&name) {
            let known =
                if known.is_empty() { "a kubeconfig with contexts".to_owned() } else { known.join(", ") };
            return Err(Error::Unknown { found: name.to_owned(), known });
        }
        let id = match stated {
            Some((id, _)) => stated_name(id)?,
            None => derived_name(name).ok_or_else(|| Error::Name { found: name.to_owned() })?,
        };
        if let Some(server) = server(whole, name)
            && let Some(first) = servers.insert(server.clone(), name.to_owned())
        {
            // Of all contexts, those of other users and namespaces of a cluster are no further clusters.
            if wanted.is_none() {
                servers.insert(server, first);
                continue;
            }
            return Err(Error::SameServer { first, second: name.to_owned(), server });
        }
        if let Some(first) = chosen.iter().find(|c| c.id == id) {
            return Err(Error::SameName { first: first.name.clone(), second: name.to_owned(), name: id });
        }
        let reach = Reach::Kubeconfig(Box::new(whole.clone()));
        chosen.push(Context { id, name: name.to_owned(), reach });
    }
    if chosen.is_empty() {
        return Err(Error::Unknown { found: String::new(), known: "a kubeconfig with contexts".to_owned() });
    }
    Ok(chosen)
}

/// Address of the API server a context points to.
fn server(whole: &Kubeconfig, context: &str) -> Option<String> {
    let context = whole.contexts.iter().find(|c| c.name == context)?.context.as_ref()?;
    let cluster = whole.clusters.iter().find(|c| c.name == context.cluster)?.cluster.as_ref()?;
    cluster.server.as_ref().map(|server| server.trim_end_matches('/').to_owned())
}

fn stated_name(text: &str) -> Result<ClusterId, Error> {
    let fits =
        text.len() <= NAME_MAX && !text.contains(':') && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    let id = ClusterId::new(text).ok().filter(|_| fits);
    id.ok_or_else(|| Error::Name { found: text.chars().take(80).collect() })
}

/// A cluster's name after its context: of an address or ARN what follows the last `/`, anything a label's value
/// cannot hold replaced by `-`.
fn derived_name(context: &str) -> Option<ClusterId> {
    let last = context.rsplit('/').find(|part| !part.is_empty())?;
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let text: String = last.chars().map(plain).collect();
    let edge = |c: char| !c.is_ascii_alphanumeric();
    // The end tells clusters of one cloud project apart, so that is kept.
    let text = text.trim_matches(edge);
    let text = text.get(text.len().saturating_sub(NAME_MAX)..)?.trim_matches(edge);
    ClusterId::new(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Kubeconfig {
        Kubeconfig::from_yaml(
            "clusters:
- {name: one, cluster: {server: 'https://one:6443'}}
- {name: two, cluster: {server: 'https://two:6443/'}}
users: [{name: me, user: {token: t}}]
contexts:
- {name: kr, context: {cluster: one, user: me}}
- {name: kr-dev, context: {cluster: one, user: me, namespace: dev}}
- {name: 'arn:aws:eks:ap-northeast-1:123:cluster/jp', context: {cluster: two, user: me}}
current-context: kr
",
        )
        .unwrap()
    }

    fn ids(wanted: Option<&[&str]>) -> Result<Vec<String>, String> {
        let wanted: Option<Vec<String>> = wanted.map(|w| w.iter().map(|text| (*text).to_owned()).collect());
        let chosen = choose(&file(), wanted.as_deref()).map_err(|e| e.to_string())?;
        Ok(chosen.iter().map(|c| c.id.to_string()).collect())
    }

    #[test]
    fn contexts_become_clusters_each_once() {
        assert_eq!(ids(None).unwrap(), ["kr", "jp"]);
        assert_eq!(ids(Some(&["seoul=kr-dev"])).unwrap(), ["seoul"]);
        let error = ids(Some(&["kr", "kr-dev"])).unwrap_err();
        assert!(
            error.starts_with("contexts \"kr\" and \"kr-dev\" are one cluster (https://one:6443)"),
            "{error}"
        );
        let error = ids(Some(&["us"])).unwrap_err();
        assert!(error.starts_with("context \"us\": expected kr, kr-dev, arn:"), "{error}");
        let error = ids(Some(&["kr", "kr=arn:aws:eks:ap-northeast-1:123:cluster/jp"])).unwrap_err();
        assert!(error.contains("would both be called kr"), "{error}");
        assert!(ids(Some(&["a:b=kr"])).unwrap_err().contains("no name for a cluster"));
    }

    #[test]
    fn names_fit_a_label() {
        for (context, name) in [
            ("gke_project_asia-northeast3-a_prod", "gke_project_asia-northeast3-a_prod"),
            ("admin@kind", "admin-kind"),
            ("default/api-prod-example-com:6443/kube:admin", "kube-admin"),
            ("ctx/", "ctx"),
        ] {
            assert_eq!(derived_name(context).unwrap().as_str(), name);
        }
        assert_eq!(derived_name(&"x".repeat(200)).unwrap().as_str().len(), NAME_MAX);
        assert_eq!(derived_name("///"), None);
        assert_eq!(derived_name("클러스터"), None);
    }

    #[test]
    fn a_cluster_has_its_own_proxy_or_the_environments() {
        let mut whole = file();
        whole.clusters[0].cluster.as_mut().unwrap().proxy_url = Some("http://own:1".to_owned());
        let set = |name: &str| match name {
            "HTTPS_PROXY" => Ok(Some("http://all:2".to_owned())),
            "NO_PROXY" => Ok(Some("three".to_owned())),
            _ => Ok(None),
        };
        let proxies = Proxies::read(set).unwrap();
        let found = |context: &str, target: &str| {
            let proxy = proxy(&whole, context, &target.parse().unwrap(), &proxies).unwrap();
            proxy.map(|uri| uri.to_string())
        };
        let jp = "arn:aws:eks:ap-northeast-1:123:cluster/jp";
        assert_eq!(found("kr", "https://one:6443").as_deref(), Some("http://own:1/"));
        assert_eq!(found(jp, "https://two:6443").as_deref(), Some("http://all:2/"));
        assert_eq!(found(jp, "https://three:6443"), None);
        assert_eq!(found(jp, "http://127.0.0.1:7879"), None, "a twin is never reached through a proxy");
    }

    #[tokio::test]
    async fn a_cluster_behind_a_proxy_is_reached_through_it() {
        use tokio::io::{AsyncBufReadExt, BufReader};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let text = format!(
            "clusters: [{{name: one, cluster: {{server: 'https://cluster.invalid:6443', proxy-url: 'http://{proxy}'}}}}]
users: [{{name: me, user: {{token: t}}}}]
contexts: [{{name: kr, context: {{cluster: one, user: me}}}}]
"
        );
        let context = choose(&Kubeconfig::from_yaml(&text).unwrap(), None).unwrap().remove(0);
        let client = crate::client_that_reads(context.config().await.unwrap()).unwrap();
        let request = http::Request::get("/version").body(Vec::new()).unwrap();
        let asked = tokio::spawn(async move { client.request_text(request).await });
        let (stream, _) = listener.accept().await.unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        assert_eq!(line.trim_end(), "CONNECT cluster.invalid:6443 HTTP/1.1");
        assert!(asked.await.unwrap().is_err(), "the proxy has hung up");
    }

    #[tokio::test]
    async fn outside_a_pod_there_is_no_cluster_of_ones_own() {
        let why = Context::in_cluster("here").unwrap().config().await.unwrap_err();
        assert!(!why.is_empty());
    }
}
