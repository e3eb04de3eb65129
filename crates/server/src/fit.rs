//! What fits where: a cluster's state read once over its API, and the scheduler asked about it.
//!
//! Invariant: nothing is written, and nothing is remembered. The scheduler is the twin's, by its default profile or the
//! configuration it is given ([`Seen::with_scheduler`]);
//! what a kind that may not be read would have changed is not known, and said ([`Seen::unread`]). Left out: dynamic
//! resources, and volume capacity that storage drivers report.

use anyhow::{Context, bail};
use connect::observe::collection::{self, Collection, Form, Page, Unread};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use twin::apiserver::complete_pod;
use twin::import::ImportKind;
use twin::scheduler::{self, Cluster, Config, Decision, PodInfo, Profile};
use utoipa::ToSchema;

/// Kinds that are read, beside those there is no answer without.
const ALSO: [&str; 8] = [
    "priorityclasses",
    "storageclasses",
    "persistentvolumes",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "services",
    "replicasets",
    "statefulsets",
];

/// A cluster as its scheduler sees it.
#[derive(Default)]
pub struct Seen {
    cluster: Cluster,
    config: Config,
    nodes: Vec<Node>,
    pods: BTreeMap<(String, String), Pod>,
    classes: Vec<PriorityClass>,
    /// Kinds that may not be read, and why.
    pub unread: Vec<String>,
}

/// How many more pods fit.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// In all.
    pub pods: usize,
    /// Whether more may fit: counting stopped there.
    pub at_least: bool,
    /// By node, where there are any.
    pub by_node: BTreeMap<String, usize>,
    /// What keeps the next one off, what most nodes say first.
    pub runs_out: Vec<RunsOut>,
    /// The same in the scheduler's words.
    pub message: Option<String>,
    /// What could not be read.
    pub unread: Vec<String>,
}

/// What keeps one more pod off some nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunsOut {
    /// In the scheduler's words.
    pub reason: String,
    /// The nodes that say so, in order of name; none where it is said of all before any is looked at.
    pub nodes: Vec<String>,
}

/// Why a pod is where it is, or nowhere.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyPod {
    /// Namespace and name.
    pub pod: String,
    /// Its phase.
    pub phase: String,
    /// The node it is on.
    pub node: Option<String>,
    /// What its cluster's scheduler said last.
    pub said: Option<String>,
    /// Why nothing can be said of where it fits.
    pub unknown: Option<String>,
    /// The nodes it would fit on now, without itself, the best first.
    pub fits: Vec<Fit>,
    /// The nodes it does not fit on.
    pub rejected: Vec<Rejected>,
    /// What it would be told now.
    pub message: Option<String>,
    /// Where deleting less important pods would make room.
    pub preemption: Option<Preemption>,
    /// Changes each of which would make it fit.
    pub advice: Vec<Advice>,
    /// What could not be read.
    pub unread: Vec<String>,
}

/// A node a pod fits on.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fit {
    /// The node.
    pub node: String,
    /// Weighted score of each plugin; empty where there is nothing to choose.
    pub scores: BTreeMap<&'static str, i64>,
    /// Their sum.
    pub total: i64,
}

/// A node a pod does not fit on.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// The node; empty: all of them.
    pub node: String,
    /// The plugin that turned it down.
    pub plugin: Option<&'static str>,
    /// In its words.
    pub reasons: Vec<String>,
}

/// Whom the scheduler would delete.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preemption {
    /// Where.
    pub node: String,
    /// Namespace and name of each.
    pub victims: Vec<String>,
}

/// One change that would make a pod fit.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// What to change.
    pub change: String,
    /// Where it would fit then.
    pub nodes: Vec<String>,
}

/// Reads a cluster.
pub async fn look(client: &kube::Client) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let mut at = None;
    for plural in ["namespaces", "nodes", "pods"].iter().chain(&ALSO) {
        let Some(kind) = ImportKind::named(plural) else { continue };
        let collection = Collection { path: kind.path(), form: Form::Objects };
        let mut objects = Vec::new();
        let mut take = |page| {
            match page {
                Page::Items { mut items, .. } => objects.append(&mut items),
                Page::Again => objects.clear(),
            }
            Ok(())
        };
        match collection::read(client, &collection, at.as_deref(), &mut take).await {
            Ok(version) => at = at.or(Some(version)),
            // What a cluster does not serve it has not, and nothing is missed.
            Err(Unread::Refused(why)) if !kind.required && why.starts_with("404 ") => {}
            Err(Unread::Refused(why)) if !kind.required => seen.unread.push(format!("{plural}: {why}")),
            Err(Unread::Refused(why)) if why.starts_with("403 ") => {
                bail!(
                    "read {plural}: {why}\n\nhint: kubercarbon rbac --import prints the rights that are needed"
                )
            }
            Err(error) => return Err(anyhow::Error::new(error).context(format!("read {plural}"))),
        }
        for object in objects {
            seen.take(plural, object).with_context(|| format!("read {plural}"))?;
        }
    }
    Ok(seen)
}

fn typed<T: DeserializeOwned>(object: Value) -> serde_json::Result<T> {
    serde_json::from_value(object)
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

impl Seen {
    fn take(&mut self, plural: &str, object: Value) -> serde_json::Result<()> {
        let cluster = &mut self.cluster;
        match plural {
            "namespaces" => cluster.put_namespace(&typed::<Namespace>(object)?),
            "nodes" => {
                let node: Node = typed(object)?;
                cluster.put_node(&node);
                self.nodes.push(node);
            }
            "pods" => {
                let pod: Pod = typed(object)?;
                let nominated = pod.status.as_ref().is_some_and(|s| s.nominated_node_name.is_some());
                if !is_over(&pod) && (node_of(&pod).is_some() || nominated) {
                    cluster.put_pod(&pod);
                }
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                self.pods.insert((text(&pod.metadata.namespace), text(&pod.metadata.name)), pod);
            }
            "priorityclasses" => self.classes.push(typed(object)?),
            "storageclasses" => cluster.put_storage_class(&typed(object)?),
            "persistentvolumes" => cluster.put_volume(&typed(object)?),
            "persistentvolumeclaims" => cluster.put_claim(&typed(object)?),
            "poddisruptionbudgets" => cluster.put_budget(&typed(object)?),
            "services" => cluster.put_service(&typed(object)?),
            "replicasets" => cluster.put_replica_set(&typed(object)?),
            "statefulsets" => cluster.put_stateful_set(&typed(object)?),
            _ => {}
        }
        Ok(())
    }

    /// The same with a scheduler that decides so.
    #[must_use]
    pub fn with_scheduler(mut self, config: Config) -> Seen {
        self.config = config;
        self
    }

    /// The same with a scheduler that decides as a `KubeSchedulerConfiguration` says.
    pub fn with_document(self, document: &Value) -> anyhow::Result<Seen> {
        Ok(self.with_scheduler(Config::read(document).context("configuration of the scheduler")?))
    }

    /// Names of the schedulers that can be spoken of.
    fn schedulers(&self) -> String {
        self.config.profiles.iter().map(|profile| profile.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// How many more pods like this one fit, up to `most`.
    pub fn capacity(&self, pod: &Pod, most: usize) -> anyhow::Result<Capacity> {
        let mut pod = pod.clone();
        let spec = pod.spec.get_or_insert_default();
        spec.node_name = None;
        if let Some(name) = spec.priority_class_name.clone() {
            let class = self.classes.iter().find(|c| c.metadata.name.as_ref() == Some(&name));
            let Some(class) = class else {
                bail!("spec.priorityClassName: {name:?}: expected a PriorityClass of the cluster");
            };
            spec.priority = class.value;
        }
        let Some(profile) = self.config.profile_of(&pod) else {
            let name = scheduler_of(&pod);
            bail!("spec.schedulerName: {name:?}: expected one of {}", self.schedulers());
        };
        let found = scheduler::capacity(&self.cluster, &PodInfo::new(&pod), profile, most);
        let names = |nodes: Vec<_>| nodes.iter().map(ToString::to_string).collect();
        let limits = found.limits.into_iter();
        let mut runs_out: Vec<RunsOut> =
            limits.map(|(reason, nodes)| RunsOut { reason, nodes: names(nodes) }).collect();
        runs_out.sort_by(|a, b| b.nodes.len().cmp(&a.nodes.len()).then_with(|| a.reason.cmp(&b.reason)));
        Ok(Capacity {
            at_least: found.pods >= most,
            pods: found.pods,
            by_node: found.by_node.iter().map(|(node, pods)| (node.to_string(), *pods)).collect(),
            runs_out,
            message: found.message,
            unread: self.unread.clone(),
        })
    }

    /// Why a pod is where it is; `None`: there is no such pod.
    pub fn why(&self, namespace: &str, name: &str) -> Option<WhyPod> {
        let pod = self.pods.get(&(namespace.to_owned(), name.to_owned()))?;
        let status = pod.status.as_ref();
        let scheduled = status.and_then(|s| s.conditions.as_ref()).into_iter().flatten();
        let said = scheduled.into_iter().find(|c| c.type_ == "PodScheduled").and_then(|c| c.message.clone());
        let mut why = WhyPod {
            pod: format!("{namespace}/{name}"),
            phase: status.and_then(|s| s.phase.clone()).unwrap_or_else(|| "Pending".to_owned()),
            node: node_of(pod).map(str::to_owned),
            said: said.filter(|said| !said.is_empty()),
            unknown: None,
            fits: Vec::new(),
            rejected: Vec::new(),
            message: None,
            preemption: None,
            advice: Vec::new(),
            unread: self.unread.clone(),
        };
        match (unknown(pod), self.config.profile_of(pod)) {
            (Some(unknown), _) => why.unknown = Some(unknown),
            (None, Some(profile)) => self.decide(pod, profile, &mut why),
            (None, None) => {
                let name = scheduler_of(pod);
                why.unknown = Some(format!("it is scheduled by {name}: known here: {}", self.schedulers()));
            }
        }
        Some(why)
    }

    fn decide(&self, pod: &Pod, profile: &Profile, why: &mut WhyPod) {
        let mut cluster = self.cluster.clone();
        cluster.release(pod.metadata.uid.as_deref().unwrap_or_default());
        let mut free = pod.clone();
        free.spec.get_or_insert_default().node_name = None;
        let info = PodInfo::new(&free);
        let decision = scheduler::decide(&mut cluster, &info, profile);
        why.fits = fits(&decision);
        why.rejected = rejected(&decision, &info);
        why.message = decision.message.clone();
        why.preemption = decision.preemption.as_ref().and_then(|found| {
            let best = found.candidates.get(*found.best.first()?)?;
            let victims = best.victims.iter().map(|victim| victim.full_name()).collect();
            Some(Preemption { node: best.node.to_string(), victims })
        });
        if decision.feasible.is_empty() {
            let advice = scheduler::advise(&cluster, &self.nodes, &free, &decision, profile);
            let plain = |a: scheduler::Advice| Advice {
                change: a.change,
                nodes: a.nodes.iter().map(|node| node.to_string()).collect(),
            };
            why.advice = advice.into_iter().map(plain).collect();
        }
    }
}

/// The scheduler a pod asks for.
fn scheduler_of(pod: &Pod) -> &str {
    let stated = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    stated.filter(|name| !name.is_empty()).unwrap_or("default-scheduler")
}

/// Why nothing can be said of where a pod fits.
fn unknown(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let gates = spec.scheduling_gates.iter().flatten().map(|gate| gate.name.as_str());
    let gates: Vec<&str> = gates.collect();
    if is_over(pod) {
        return Some("it has ended".to_owned());
    }
    if node_of(pod).is_none() && !gates.is_empty() {
        return Some(format!(
            "it is not to be scheduled before its gates are taken off: {}",
            gates.join(", ")
        ));
    }
    None
}

fn fits(decision: &Decision) -> Vec<Fit> {
    if decision.scores.is_empty() {
        let plain =
            |node: &std::sync::Arc<str>| Fit { node: node.to_string(), scores: BTreeMap::new(), total: 0 };
        return decision.feasible.iter().map(plain).collect();
    }
    let fit = |(node, values): &(std::sync::Arc<str>, Vec<i64>)| Fit {
        node: node.to_string(),
        scores: decision.score_order.iter().map(|p| p.name()).zip(values.iter().copied()).collect(),
        total: values.last().copied().unwrap_or(0),
    };
    let mut fits: Vec<Fit> = decision.scores.iter().map(fit).collect();
    fits.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.node.cmp(&b.node)));
    fits
}

fn rejected(decision: &Decision, info: &PodInfo) -> Vec<Rejected> {
    let one = |node: &str, rejection: &scheduler::Rejection| Rejected {
        node: node.to_owned(),
        plugin: rejection.plugin.map(|plugin| plugin.name()),
        reasons: rejection.reasons(info).into_iter().map(|reason| reason.into_owned()).collect(),
    };
    let everywhere = decision.pre_filter.iter().map(|rejection| one("", rejection));
    let mut all: Vec<Rejected> =
        everywhere.chain(decision.rejected.iter().map(|(node, rejection)| one(node, rejection))).collect();
    all.sort_by(|a, b| a.node.cmp(&b.node));
    all
}

/// The pod of a manifest: a Pod itself, or what makes pods of a template.
pub fn pod_of(mut manifest: Value) -> anyhow::Result<Pod> {
    let found = manifest["kind"].as_str().unwrap_or("none").to_owned();
    let (template, place) = match found.as_str() {
        "Pod" => (manifest, None),
        "CronJob" => {
            let template = manifest["spec"]["jobTemplate"]["spec"]["template"].take();
            (template, Some("spec.jobTemplate.spec.template"))
        }
        "Job" | "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ReplicationController" => {
            (manifest["spec"]["template"].take(), Some("spec.template"))
        }
        _ => bail!("kind {found}: expected a Pod, or something that makes pods of a template"),
    };
    let mut pod = template;
    pod["apiVersion"] = Value::from("v1");
    pod["kind"] = Value::from("Pod");
    let read = complete_pod(pod).map_err(|status| anyhow::anyhow!("{}", status.message));
    match place {
        Some(place) => read.context(place),
        None => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Two nodes of four cores, one pod on the first, another that fits nowhere.
    fn seen() -> Seen {
        let mut seen = Seen::default();
        for name in ["n1", "n2"] {
            let amounts = json!({"cpu": "4", "memory": "16Gi", "pods": "110"});
            let node = json!({"metadata": {"name": name}, "status": {"allocatable": amounts}});
            seen.take("nodes", node).unwrap();
        }
        let pod = |name: &str, cpu: &str, node: Option<&str>| {
            let container = json!({"name": "main", "resources": {"requests": {"cpu": cpu}}});
            json!({"metadata": {"name": name, "namespace": "a", "uid": name}, "spec": {"nodeName": node, "containers": [container]},
                "status": {"phase": if node.is_some() { "Running" } else { "Pending" }}})
        };
        seen.take("pods", pod("here", "1", Some("n1"))).unwrap();
        seen.take("pods", pod("big", "5", None)).unwrap();
        seen
    }

    #[test]
    fn a_pod_that_fits_nowhere_is_told_what_would_help() {
        let why = seen().why("a", "big").unwrap();
        assert_eq!(
            why.message.as_deref().map(|m| m.starts_with("0/2 nodes are available: 2 Insufficient cpu.")),
            Some(true)
        );
        let reasons: Vec<_> =
            why.rejected.iter().map(|r| (r.node.as_str(), r.plugin, r.reasons.clone())).collect();
        let short = vec!["Insufficient cpu".to_owned()];
        assert_eq!(
            reasons,
            [("n1", Some("NodeResourcesFit"), short.clone()), ("n2", Some("NodeResourcesFit"), short)]
        );
        let advice = &why.advice[0];
        assert_eq!(
            (advice.change.as_str(), advice.nodes.as_slice()),
            ("ask for 4 cpu in container main in place of 5", ["n2".to_owned()].as_slice())
        );
        assert!(seen().why("a", "nobody").is_none());
    }

    #[test]
    fn a_pod_that_runs_is_told_what_the_scores_are() {
        let why = seen().why("a", "here").unwrap();
        assert_eq!(why.node.as_deref(), Some("n1"));
        assert_eq!(why.fits.len(), 2, "as if it were not there");
        assert_eq!(why.fits[0].total, why.fits[1].total, "and so both are equally good");
        assert!(why.fits[0].scores.contains_key("NodeResourcesFit"));
    }

    #[test]
    fn a_configuration_says_whose_pods_are_known_and_how_they_are_scored() {
        let config = json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "profiles": [{"schedulerName": "packer", "pluginConfig": [
                {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}]}]});
        let mut seen = seen().with_scheduler(Config::read(&config).unwrap());
        let container = json!({"name": "main", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}});
        let pod = json!({"metadata": {"name": "new", "namespace": "a", "uid": "new"},
            "spec": {"schedulerName": "packer", "containers": [container]}});
        seen.take("pods", pod).unwrap();
        let why = seen.why("a", "new").unwrap();
        assert_eq!((why.fits[0].node.as_str(), why.fits.len()), ("n1", 2), "the fuller node first");
        let other = seen.why("a", "here").unwrap();
        assert_eq!(
            other.unknown.as_deref(),
            Some("it is scheduled by default-scheduler: known here: packer")
        );
    }

    #[test]
    fn room_is_counted_and_what_runs_out_named() {
        let manifest = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "main", "image": "i", "resources": {"limits": {"cpu": "1500m"}}}]}}}});
        let pod = pod_of(manifest).unwrap();
        let found = seen().capacity(&pod, 100).unwrap();
        assert_eq!((found.pods, found.at_least), (4, false), "a limit is a request where none is stated");
        let nodes = vec!["n1".to_owned(), "n2".to_owned()];
        assert_eq!(found.runs_out, [RunsOut { reason: "Insufficient cpu".to_owned(), nodes }]);
        assert!(seen().capacity(&pod, 1).unwrap().at_least);
        let bad = json!({"kind": "Pod", "spec": {"containers": [{"name": "main", "image": "i", "resources": {"requests": {"cpu": "much"}}}]}});
        let error = pod_of(bad).unwrap_err().to_string();
        assert!(error.contains("requests.cpu"), "{error}");
        let main = |field: &str| json!({"name": "main", "image": "i", field: {"requests": {"cpu": "1"}}});
        let of = |main: Value| json!({"kind": "Job", "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [main]}}}});
        assert!(pod_of(of(main("resources"))).is_ok());
        assert_eq!(
            format!("{:#}", pod_of(of(main("resource"))).unwrap_err()),
            "spec.template: Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.containers[0].resource\""
        );
        assert!(
            pod_of(json!({"kind": "Service"}))
                .unwrap_err()
                .to_string()
                .contains("kind Service: expected a Pod")
        );
    }
}
