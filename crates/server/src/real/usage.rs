//! Which Prometheus each real cluster is asked at, as flags and the environment say.
//!
//! Invariants: a token comes from the environment or a file it names, never from a flag, and is in no text made here;
//! one Prometheus for several clusters needs the label that tells them apart, else pods of one would be taken for
//! another's. All names of variables are here.

use crate::signals::sources::{self, Lookup};
use anyhow::{bail, ensure};
use connect::observe::usage::{Prometheus, Scope, prometheus_limits};
use fleet::ClusterId;
use std::collections::BTreeMap;

/// The Prometheus of every cluster that has none of its own.
pub const URL: &str = "KUBERCARBON_PROMETHEUS_URL";
/// The token it is asked with; with `_FILE` behind it, the file it is in.
pub const TOKEN: &str = "KUBERCARBON_PROMETHEUS_TOKEN";
/// The label whose value is the cluster's name, where a Prometheus knows several.
pub const CLUSTER_LABEL: &str = "KUBERCARBON_PROMETHEUS_CLUSTER_LABEL";

/// The Prometheus of each cluster: `stated` of it, else that of all. Within a Tokio runtime.
pub fn prometheuses<'a>(
    clusters: impl Iterator<Item = &'a ClusterId>,
    stated: &BTreeMap<ClusterId, String>,
    lookup: Lookup<'_>,
) -> anyhow::Result<BTreeMap<ClusterId, Prometheus>> {
    let clusters: Vec<&ClusterId> = clusters.collect();
    if let Some((id, url)) = stated.iter().find(|(id, _)| !clusters.contains(id)) {
        let known = clusters.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
        bail!("--prometheus {id}={}: expected one of the contexts: {known}", shown(url));
    }
    let value = |name: &str| lookup(name).map_err(anyhow::Error::msg);
    let (of_all, label) = (value(URL)?, value(CLUSTER_LABEL)?);
    let token = sources::secret(lookup, TOKEN).map_err(anyhow::Error::msg)?;
    let mut urls: BTreeMap<&ClusterId, &str> = BTreeMap::new();
    for id in clusters {
        if let Some(url) = stated.get(id).or(of_all.as_ref()) {
            urls.insert(id, url);
        }
    }
    if label.is_none() {
        let mut first: BTreeMap<&str, &ClusterId> = BTreeMap::new();
        for (id, url) in &urls {
            if let Some(other) = first.insert(url.trim().trim_end_matches('/'), id) {
                bail!(
                    "one Prometheus for {other} and {id}, and nothing tells their pods apart: expected {CLUSTER_LABEL}, the label whose value is the cluster's name\n\nhint: --prometheus {id}=URL names one of its own"
                );
            }
        }
    }
    let mut all = BTreeMap::new();
    for (id, url) in urls {
        let scope = label.as_deref().map(|label| Scope::label(label, id.as_str()));
        let scope = scope.transpose().map_err(|why| anyhow::anyhow!("{CLUSTER_LABEL}: {why}"))?;
        let made = Prometheus::new(url, token.clone(), scope.unwrap_or_default(), prometheus_limits());
        all.insert(id.clone(), made.map_err(|why| anyhow::anyhow!("cluster {id}: {why}"))?);
    }
    ensure!(
        token.is_none() || !all.is_empty(),
        "{TOKEN}: for no Prometheus: expected {URL}, or --prometheus NAME=URL"
    );
    Ok(all)
}

/// An address as it may be repeated: what stands before an @ may be a password.
fn shown(url: &str) -> String {
    if url.contains('@') { "…".to_owned() } else { url.chars().take(80).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clusters that have one, or why it cannot be.
    fn of(stated: &[(&str, &str)], set: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let id = |name: &str| ClusterId::new(name).unwrap();
        let clusters = [id("kr"), id("se")];
        let stated = stated.iter().map(|(name, url)| (id(name), (*url).to_owned())).collect();
        let set: BTreeMap<&str, &str> = set.iter().copied().collect();
        let lookup = |name: &str| Ok(set.get(name).map(|value| (*value).to_owned()));
        let all = prometheuses(clusters.iter(), &stated, &lookup).map_err(|e| e.to_string())?;
        Ok(all.keys().map(ToString::to_string).collect())
    }

    #[tokio::test]
    async fn each_cluster_has_its_own_or_that_of_all() {
        assert_eq!(of(&[], &[]).unwrap(), [] as [&str; 0]);
        assert_eq!(of(&[("kr", "http://prometheus.monitoring:9090")], &[]).unwrap(), ["kr"]);
        let all = [(URL, "https://thanos.example.org"), (CLUSTER_LABEL, "cluster"), (TOKEN, "hunter2")];
        assert_eq!(of(&[], &all).unwrap(), ["kr", "se"]);
        assert_eq!(
            of(&[("kr", "https://a"), ("se", "https://b")], &[(TOKEN, "hunter2")]).unwrap(),
            ["kr", "se"]
        );
    }

    #[tokio::test]
    async fn what_cannot_be_is_refused_without_the_token() {
        let url = "https://thanos.example.org";
        for (stated, set, why) in [
            (
                &[("us", url)] as &[(&str, &str)],
                &[] as &[(&str, &str)],
                "--prometheus us=https://thanos.example.org: expected one of the contexts: kr, se",
            ),
            (&[("us", "https://hunter2@h")], &[], "--prometheus us=…: expected"),
            (&[], &[(URL, url)], "one Prometheus for kr and se, and nothing tells their pods apart"),
            (&[("kr", url), ("se", "https://thanos.example.org/")], &[], "one Prometheus for kr and se"),
            (
                &[],
                &[(URL, url), (CLUSTER_LABEL, "a-b")],
                "KUBERCARBON_PROMETHEUS_CLUSTER_LABEL: \"a-b\" is no label",
            ),
            (
                &[("kr", "http://prometheus:9090")],
                &[(TOKEN, "hunter2")],
                "cluster kr: Prometheus: address \"http://prometheus:9090\": is not HTTPS",
            ),
            (&[], &[(TOKEN, "hunter2")], "KUBERCARBON_PROMETHEUS_TOKEN: for no Prometheus"),
        ] {
            let error = of(stated, set).unwrap_err();
            assert!(error.starts_with(why) && !error.contains("hunter2"), "{error}");
        }
    }
}
