//! What is asked of pods: whether nodes are made for them, whether they would move, and what stands against that.
//!
//! Method: `pkg/utils/{pod,pdb,disruption}` of Karpenter 1.14.

use crate::apiserver::selector::selects_pod;
use crate::controllers::nodelifecycle::tolerates;
use crate::controllers::owned::{KINDS, controller};
use crate::controllers::podcontrol::condition;
use crate::controllers::{is_deleting, is_terminal};
use crate::kind::Kind;
use crate::store::Objects;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Pod, Taint};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Says of a pod that it is not to be disrupted: `true`, or for how long from its start.
pub(super) const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// Taint of nodes that are being taken away.
pub(super) const DISRUPTED: &str = "karpenter.sh/disrupted";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// How long after it has to be gone a pod is waited for.
const STUCK: Span = Span::MINUTE;
/// Priorities whose pods are drained last.
const CRITICAL: [&str; 2] = ["system-cluster-critical", "system-node-critical"];

/// Whether the scheduler has found no place for a pod that somebody may make a node for.
pub(super) fn is_provisionable(pod: &Pod) -> bool {
    let said = condition(pod, "PodScheduled");
    let unfit = said.is_some_and(|c| c.reason.as_deref() == Some("Unschedulable"));
    let bound = node_of(pod).is_some();
    let nominated = pod.status.as_ref().is_some_and(|s| s.nominated_node_name.is_some());
    unfit
        && !bound
        && !nominated
        && !is_deleting(&pod.metadata)
        && !is_of(pod, "DaemonSet")
        && !is_mirror(pod)
}

pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn is_of(pod: &Pod, kind: &str) -> bool {
    controller(&pod.metadata).is_some_and(|owner| owner.kind == kind)
}

/// Whether it belongs to a DaemonSet.
pub(super) fn is_daemon(pod: &Pod) -> bool {
    is_of(pod, "DaemonSet")
}

fn is_mirror(pod: &Pod) -> bool {
    is_of(pod, "Node")
}

fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_deleting(&pod.metadata)
}

/// Whether it would be made anew elsewhere.
pub(super) fn is_reschedulable(pod: &Pod) -> bool {
    let ends = is_of(pod, "StatefulSet") && is_deleting(&pod.metadata) && !is_terminal(pod);
    (is_active(pod) || ends) && !is_daemon(pod) && !is_mirror(pod)
}

/// Whether its annotation keeps it where it is, and until when (`None`: for good).
fn held(pod: &Pod, now: Instant) -> Option<Option<Instant>> {
    let text = pod.metadata.annotations.as_ref()?.get(DO_NOT_DISRUPT)?;
    if text == "true" {
        return Some(None);
    }
    // What cannot be read counts as not there.
    let span = Span::parse(text).ok().filter(|span| *span > Span::ZERO)?;
    let started = pod.status.as_ref().and_then(|s| s.start_time.as_ref());
    let until = started.map(|time| Instant::from_jiff(time.0) + span);
    until.is_none_or(|until| until > now).then_some(until)
}

/// Whether it is not to be disrupted.
pub(super) fn is_held(pod: &Pod, now: Instant) -> bool {
    is_active(pod) && held(pod, now).is_some()
}

/// When its annotation ceases to hold it, if time alone does that.
pub(super) fn held_until(pod: &Pod, now: Instant) -> Option<Instant> {
    held(pod, now).flatten()
}

fn bears_disruption(pod: &Pod) -> bool {
    let taint =
        Taint { key: DISRUPTED.to_owned(), effect: "NoSchedule".to_owned(), value: None, time_added: None };
    let own = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    own.iter().any(|toleration| tolerates(toleration, &taint))
}

/// Whether it is evicted from a node that is drained.
pub(super) fn is_evictable(pod: &Pod, now: Instant) -> bool {
    is_active(pod) && !bears_disruption(pod) && !is_mirror(pod) && held(pod, now).is_none()
}

/// When a pod that is to go is no longer waited for.
pub(super) fn given_up_at(pod: &Pod) -> Option<Instant> {
    Some(Instant::from_jiff(pod.metadata.deletion_timestamp.as_ref()?.0) + STUCK)
}

/// Whether a node that is drained waits for it.
pub(super) fn is_waited_for(pod: &Pod, now: Instant) -> bool {
    let stuck = given_up_at(pod).is_some_and(|at| at < now);
    !is_terminal(pod) && !bears_disruption(pod) && !stuck && !is_mirror(pod)
}

/// Its turn when a node is drained: pods of DaemonSets and critical ones go later.
pub(super) fn turn(pod: &Pod) -> u8 {
    let class = pod.spec.as_ref().and_then(|s| s.priority_class_name.as_deref()).unwrap_or_default();
    2 * u8::from(CRITICAL.contains(&class)) + u8::from(is_daemon(pod))
}

/// What evicting a pod counts as, 1 for one that says nothing; −10 to 10.
pub(super) fn eviction_cost(pod: &Pod) -> f64 {
    let stated = pod.metadata.annotations.as_ref().and_then(|all| all.get(DELETION_COST));
    let stated =
        stated.and_then(|text| text.parse::<f64>().ok()).filter(|cost| cost.is_finite()).unwrap_or(0.0);
    let priority = pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0);
    // Powers of two, so that the quotients are exact.
    (1.0 + stated / f64::from(1 << 27) + f64::from(priority) / f64::from(1 << 25)).clamp(-10.0, 10.0)
}

/// A disruption budget of pods.
struct Budget<'a> {
    namespace: &'a str,
    name: &'a str,
    selector: &'a Value,
    allowed: i64,
    /// Whether it never allows any.
    is_blocking: bool,
    /// Whether pods that are not ready may go all the same.
    lets_unready_go: bool,
}

/// Pods by node, and the budgets of pods.
pub(super) struct Pods<'a> {
    by_node: BTreeMap<&'a str, Vec<&'a Pod>>,
    waiting: Vec<&'a Pod>,
    budgets: Vec<Budget<'a>>,
    now: Instant,
}

impl<'a> Pods<'a> {
    pub(super) fn new(objects: &'a Objects, now: Instant) -> Pods<'a> {
        let mut by_node: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
        let mut waiting = Vec::new();
        for pod in objects.list(Kind::Pod, None).filter_map(|stored| stored.object.as_pod()) {
            match node_of(pod) {
                Some(node) => by_node.entry(node).or_default().push(pod),
                None if is_provisionable(pod) => waiting.push(pod),
                None => {}
            }
        }
        let budgets = objects.list(KINDS.budget, None).filter_map(|stored| {
            let doc = stored.object.as_document()?;
            let spec = doc.body.get("spec")?;
            let allowed = doc.body.get("status").and_then(|s| s.get("disruptionsAllowed"));
            let is = |field: &str, values: &[Value]| spec.get(field).is_some_and(|own| values.contains(own));
            Some(Budget {
                namespace: doc.metadata.namespace.as_deref()?,
                name: doc.metadata.name.as_deref()?,
                selector: spec.get("selector")?,
                allowed: allowed.and_then(Value::as_i64).unwrap_or(0),
                is_blocking: is("maxUnavailable", &[json!(0), json!("0%")])
                    || is("minAvailable", &[json!("100%")]),
                lets_unready_go: is("unhealthyPodEvictionPolicy", &[json!("AlwaysAllow")]),
            })
        });
        Pods { by_node, waiting, budgets: budgets.collect(), now }
    }
    pub(super) fn on(&self, node: &str) -> &[&'a Pod] {
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }
    /// Those for which nodes may be made.
    pub(super) fn waiting(&self) -> &[&'a Pod] {
        &self.waiting
    }
    fn budgets_of(&self, pod: &Pod) -> Vec<&Budget<'a>> {
        let labels = serde_json::to_value(&pod.metadata.labels).unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let all = self.budgets.iter();
        all.filter(|own| own.namespace == namespace && selects_pod(own.selector, &labels)).collect()
    }
    /// The budgets that keep a pod from being evicted, by a rule of when one does.
    fn kept_by(&self, pod: &Pod, keeps: impl Fn(&Budget<'_>) -> bool) -> Vec<String> {
        if !is_evictable(pod, self.now) {
            return Vec::new();
        }
        let own = self.budgets_of(pod);
        let name = |budget: &&Budget<'_>| format!("{}/{}", budget.namespace, budget.name);
        if own.len() > 1 {
            return own.iter().map(name).collect();
        }
        let unready = condition(pod, "Ready").is_some_and(|c| c.status == "False");
        own.iter().filter(|b| !(b.lets_unready_go && unready) && keeps(b)).map(name).collect()
    }
    /// What keeps a node from being disrupted because of its pods.
    pub(super) fn block(&self, node: &str) -> Option<String> {
        let pods = self.on(node);
        if let Some(pod) = pods.iter().find(|pod| is_held(pod, self.now)) {
            let name = |part: &Option<String>| part.clone().unwrap_or_default();
            let (namespace, name) = (name(&pod.metadata.namespace), name(&pod.metadata.name));
            return Some(format!("Pod has {DO_NOT_DISRUPT:?} annotation (Pod={namespace}/{name})"));
        }
        let kept = pods.iter().map(|pod| self.kept_by(pod, |budget| budget.allowed == 0));
        let kept = kept.into_iter().find(|budgets| !budgets.is_empty())?;
        Some(match kept.len() {
            1 => format!("Pdb prevents pod evictions (PodDisruptionBudget=[{}])", kept[0]),
            _ => format!(
                "Eviction does not support multiple PDBs (PodDisruptionBudget(s)=[{}])",
                kept.join(" ")
            ),
        })
    }
    /// The pods of a node that would move, whatever keeps them now.
    pub(super) fn moving(&self, node: &str) -> Vec<&'a Pod> {
        self.on(node).iter().filter(|pod| is_reschedulable(pod)).copied().collect()
    }
    /// Those of them that nothing keeps for good: for these, places are looked for.
    pub(super) fn leaving(&self, node: &str) -> Vec<&'a Pod> {
        let goes = |pod: &&&Pod| {
            is_reschedulable(pod)
                && !is_held(pod, self.now)
                && self.kept_by(pod, |budget| budget.is_blocking).is_empty()
        };
        self.on(node).iter().filter(goes).copied().collect()
    }
    /// When a pod of these nodes ceases to be held by its annotation.
    pub(super) fn next<'b>(&self, nodes: impl Iterator<Item = &'b Arc<str>>) -> Option<Instant> {
        let pods = nodes.flat_map(|node| self.on(node));
        pods.filter_map(|pod| held_until(pod, self.now)).filter(|at| *at > self.now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(change: &dyn Fn(&mut Value)) -> Pod {
        let mut value = json!({"metadata": {"name": "p", "namespace": "shop", "annotations": {},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]},
            "spec": {"containers": [], "tolerations": []},
            "status": {"phase": "Running", "startTime": "2026-05-01T09:00:00Z"}});
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn at(text: &str) -> Instant {
        Instant::parse(text).unwrap()
    }

    #[test]
    fn an_eviction_costs_what_the_pod_says_of_itself() {
        let cost = |cost: Value, priority: i64| {
            eviction_cost(&pod(&|value| {
                value["metadata"]["annotations"][DELETION_COST] = cost.clone();
                value["spec"]["priority"] = json!(priority);
            }))
        };
        assert_eq!(cost(json!("0"), 0), 1.0);
        assert_eq!(cost(json!("134217728"), 0), 2.0, "2^27 counts as one more pod");
        assert_eq!(cost(json!("0"), 1 << 25), 2.0);
        assert_eq!((cost(json!("-2147483647"), 0), cost(json!("0"), 2_000_000_000)), (-10.0, 10.0));
        assert_eq!(cost(json!("much"), 0), 1.0);
    }

    #[test]
    fn an_annotation_holds_a_pod_for_good_or_for_a_while() {
        let held = |text: &str, now: &str| {
            is_held(&pod(&|value| value["metadata"]["annotations"][DO_NOT_DISRUPT] = json!(text)), at(now))
        };
        assert!(held("true", "2027-05-01T09:00:00Z"));
        assert!(held("5m", "2026-05-01T09:04:59Z") && !held("5m", "2026-05-01T09:05:00Z"));
        assert!(!held("false", "2026-05-01T09:00:00Z") && !held("soon", "2026-05-01T09:00:00Z"));
    }

    #[test]
    fn who_moves_who_is_evicted_and_who_is_waited_for() {
        let now = at("2026-05-01T09:30:00Z");
        let of = |kind: &'static str| {
            move |value: &mut Value| value["metadata"]["ownerReferences"][0]["kind"] = json!(kind)
        };
        let going = |kind: &'static str, until: &'static str| {
            move |value: &mut Value| {
                of(kind)(value);
                value["metadata"]["deletionTimestamp"] = json!(until);
            }
        };
        let bears = |value: &mut Value| value["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
        let over = |value: &mut Value| value["status"]["phase"] = json!("Succeeded");
        let cases: [(Pod, [bool; 3]); 8] = [
            (pod(&|_| {}), [true, true, true]),
            (pod(&of("DaemonSet")), [false, true, true]),
            (pod(&of("Node")), [false, false, false]),
            (pod(&bears), [true, false, false]),
            (pod(&over), [false, false, false]),
            (pod(&going("ReplicaSet", "2026-05-01T09:30:10Z")), [false, false, true]),
            (pod(&going("StatefulSet", "2026-05-01T09:30:10Z")), [true, false, true]),
            (pod(&going("ReplicaSet", "2026-05-01T09:28:59Z")), [false, false, false]),
        ];
        for (i, (pod, expected)) in cases.iter().enumerate() {
            let found = [is_reschedulable(pod), is_evictable(pod, now), is_waited_for(pod, now)];
            assert_eq!(found, *expected, "case {i}");
        }
        let critical = pod(&|value| value["spec"]["priorityClassName"] = json!("system-node-critical"));
        assert_eq!((turn(&cases[0].0), turn(&cases[1].0), turn(&critical)), (0, 1, 2));
    }
}
