//! What a fleet file says of kubelets: read, bounded and checked, as a `KubeletConfiguration` is.

use super::{Error, field};
use crate::kubelet::{
    CRITICAL, KubeletSpec, PRIORITIES_MAX, SHUTDOWN_MAX, STATIC_PODS_MAX, ShutdownGrace, Version,
};
use crate::time::Span;
use serde::Deserialize;
use serde_json::Value;

/// An entry of `shutdownGracePeriodByPodPriority`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PriorityFile {
    priority: i32,
    shutdown_grace_period_seconds: i64,
}

/// The fields of a node group that are about its kubelets.
pub(super) struct KubeletFile<'a> {
    pub(super) version: Option<&'a str>,
    pub(super) grace: Option<Span>,
    pub(super) grace_critical: Option<Span>,
    pub(super) by_priority: &'a [PriorityFile],
    /// Manifests of the cluster's nodes, and of the group's.
    pub(super) static_pods: [&'a [Value]; 2],
}

/// How kubelets of a group are set.
pub(super) fn kubelet(path: &str, file: &KubeletFile<'_>) -> Result<KubeletSpec, Error> {
    Ok(KubeletSpec {
        version: file.version.map_or(Ok(Version::SERVER), |text| version(path, text))?,
        shutdown: shutdown(path, file)?,
        static_pods: static_pods(path, file.static_pods)?,
    })
}

fn version(path: &str, text: &str) -> Result<Version, Error> {
    Version::parse(text).filter(|version| version.is_supported()).ok_or_else(|| {
        let (oldest, newest) = Version::KUBELET_MINOR;
        let expected = format!(
            "v1.{oldest}.0 to v1.{newest}.x: not newer than the API server ({}), and at most three minor versions older",
            Version::SERVER
        );
        field(format!("{path}.kubeletVersion"), format!("{text:?}"), expected)
    })
}

/// A period that is none, or a second at least; the kubelet counts whole seconds.
fn period(path: &str, name: &str, stated: Option<Span>) -> Result<Span, Error> {
    let found = stated.unwrap_or(Span::ZERO);
    if found.is_zero() || (Span::from_seconds(1)..=SHUTDOWN_MAX).contains(&found) {
        return Ok(Span::from_seconds(found.as_seconds()));
    }
    Err(field(format!("{path}.{name}"), found.to_string(), format!("0s, or from 1s to {SHUTDOWN_MAX}")))
}

fn shutdown(path: &str, file: &KubeletFile<'_>) -> Result<Vec<ShutdownGrace>, Error> {
    let (all, critical) = ("shutdownGracePeriod", "shutdownGracePeriodCriticalPods");
    let grace = period(path, all, file.grace)?;
    let grace_critical = period(path, critical, file.grace_critical)?;
    if grace_critical > grace {
        let expected = format!("at most the {all} of {grace}");
        return Err(field(format!("{path}.{critical}"), grace_critical.to_string(), expected));
    }
    if !file.by_priority.is_empty() {
        return by_priority(&format!("{path}.shutdownGracePeriodByPodPriority"), file, grace);
    }
    if grace.is_zero() {
        return Ok(Vec::new());
    }
    let others = ShutdownGrace { priority: 0, grace: grace - grace_critical };
    Ok(vec![others, ShutdownGrace { priority: CRITICAL, grace: grace_critical }])
}

fn by_priority(path: &str, file: &KubeletFile<'_>, grace: Span) -> Result<Vec<ShutdownGrace>, Error> {
    if !grace.is_zero() {
        return Err(field(path, "stated", "it or shutdownGracePeriod, not both"));
    }
    let listed = file.by_priority;
    if listed.len() > PRIORITIES_MAX {
        return Err(field(path, format!("{} entries", listed.len()), format!("at most {PRIORITIES_MAX}")));
    }
    let mut total = Span::ZERO;
    let mut read: Vec<ShutdownGrace> = Vec::with_capacity(listed.len());
    for (i, own) in listed.iter().enumerate() {
        let seconds = own.shutdown_grace_period_seconds;
        let place = format!("{path}[{i}].shutdownGracePeriodSeconds");
        if !(0..=SHUTDOWN_MAX.as_seconds()).contains(&seconds) {
            let expected = format!("0 to {}", SHUTDOWN_MAX.as_seconds());
            return Err(field(place, seconds.to_string(), expected));
        }
        let grace = Span::from_seconds(seconds);
        if total + grace > SHUTDOWN_MAX {
            let expected = format!("at most {SHUTDOWN_MAX} for all priorities together");
            return Err(field(place, (total + grace).to_string(), expected));
        }
        total += grace;
        if read.iter().any(|other| other.priority == own.priority) {
            let place = format!("{path}[{i}].priority");
            return Err(field(place, format!("{} a second time", own.priority), "each priority once"));
        }
        read.push(ShutdownGrace { priority: own.priority, grace });
    }
    read.sort_by_key(|own| own.priority);
    Ok(read)
}

/// The manifests of the cluster and of the group; what is in them others know.
fn static_pods(path: &str, stated: [&[Value]; 2]) -> Result<Vec<Value>, Error> {
    let path = format!("{path}.staticPods");
    let all: Vec<&Value> = stated.into_iter().flatten().collect();
    if all.len() > STATIC_PODS_MAX {
        let expected = format!("at most {STATIC_PODS_MAX}, those of the cluster counted");
        return Err(field(path, format!("{} entries", all.len()), expected));
    }
    let place = |pod: &Value| {
        let text = |key: &str| pod["metadata"][key].as_str().map(str::to_owned);
        (text("namespace").unwrap_or_else(|| "default".to_owned()), text("name"))
    };
    for (i, pod) in all.iter().enumerate() {
        let (namespace, name) = place(pod);
        let Some(name) = name else {
            return Err(field(format!("{path}[{i}]"), pod.to_string(), "a Pod with a metadata.name"));
        };
        if all[..i].iter().any(|other| place(other) == place(pod)) {
            let found = format!("{namespace}/{name} a second time");
            return Err(field(path, found, "a name of its own for each static pod of a node"));
        }
    }
    Ok(all.into_iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use crate::file::parse;
    use crate::kubelet::{KubeletSpec, ShutdownGrace, Version};
    use crate::time::Span;

    fn fleet(group: &str, cluster: &str) -> String {
        format!(
            "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n{cluster}  \
            nodeGroups:\n  - {{name: a, instanceType: m6i.large, count: 2{group}}}\n"
        )
    }

    fn kubelet(group: &str, cluster: &str) -> Result<KubeletSpec, String> {
        let fleet = parse(&fleet(group, cluster)).map_err(|error| error.to_string())?;
        Ok(fleet.clusters[0].node_groups[0].kubelet.clone())
    }

    fn grace(priority: i32, seconds: i64) -> ShutdownGrace {
        ShutdownGrace { priority, grace: Span::from_seconds(seconds) }
    }

    #[test]
    fn kubelets_are_set_as_stated() {
        assert!(kubelet("", "").unwrap().is_default());
        let both = ", shutdownGracePeriod: 30s, shutdownGracePeriodCriticalPods: 10s, kubeletVersion: 1.34.7";
        let read = kubelet(both, "").unwrap();
        assert_eq!(read.shutdown, [grace(0, 20), grace(2_000_000_000, 10)]);
        assert_eq!(read.version, Version { minor: 34, patch: 7 });
        let listed = ", shutdownGracePeriodByPodPriority: [{priority: 100, shutdownGracePeriodSeconds: 10}, \
            {priority: -5, shutdownGracePeriodSeconds: 60}]";
        assert_eq!(kubelet(listed, "").unwrap().shutdown, [grace(-5, 60), grace(100, 10)]);
        let pods = kubelet(
            ", staticPods: [{metadata: {name: own}}]",
            "  staticPods: [{metadata: {name: proxy, namespace: kube-system}}]\n",
        );
        let pods = pods.unwrap().static_pods;
        let names: Vec<_> = pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["proxy", "own"]);
    }

    #[test]
    fn what_kubelets_would_refuse_is_refused_where_it_stands() {
        let group = "clusters[0].nodeGroups[0]";
        let skew = "expected v1.33.0 to v1.36.x: not newer than the API server (v1.36.3), and at most three minor versions older";
        let listed = "shutdownGracePeriodByPodPriority";
        let cases = [
            ("kubeletVersion: v1.37.0", format!("{group}.kubeletVersion: \"v1.37.0\": {skew}")),
            ("kubeletVersion: v1.32.9", format!("{group}.kubeletVersion: \"v1.32.9\": {skew}")),
            ("kubeletVersion: new", format!("{group}.kubeletVersion: \"new\": {skew}")),
            (
                "shutdownGracePeriod: 500ms",
                format!("{group}.shutdownGracePeriod: 0.500s: expected 0s, or from 1s to 1h"),
            ),
            (
                "shutdownGracePeriod: 10s, shutdownGracePeriodCriticalPods: 20s",
                format!(
                    "{group}.shutdownGracePeriodCriticalPods: 20s: expected at most the shutdownGracePeriod of 10s"
                ),
            ),
            (
                "shutdownGracePeriod: 10s, shutdownGracePeriodByPodPriority: [{priority: 1, shutdownGracePeriodSeconds: 1}]",
                format!("{group}.{listed}: stated: expected it or shutdownGracePeriod, not both"),
            ),
            (
                "shutdownGracePeriodByPodPriority: [{priority: 1, shutdownGracePeriodSeconds: -1}]",
                format!("{group}.{listed}[0].shutdownGracePeriodSeconds: -1: expected 0 to 3600"),
            ),
            (
                "shutdownGracePeriodByPodPriority: [{priority: 1, shutdownGracePeriodSeconds: 1}, {priority: 1, shutdownGracePeriodSeconds: 1}]",
                format!("{group}.{listed}[1].priority: 1 a second time: expected each priority once"),
            ),
            ("staticPods: [{}]", format!("{group}.staticPods[0]: {{}}: expected a Pod with a metadata.name")),
            (
                "staticPods: [{metadata: {name: a}}, {metadata: {name: a, namespace: default}}]",
                format!(
                    "{group}.staticPods: default/a a second time: expected a name of its own for each static pod of a node"
                ),
            ),
        ];
        for (stated, expected) in cases {
            assert_eq!(kubelet(&format!(", {stated}"), "").unwrap_err(), expected);
        }
    }
}
