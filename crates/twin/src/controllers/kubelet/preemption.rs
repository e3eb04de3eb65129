//! Room for a critical pod: which pods of its node end for it.
//!
//! As kubelet's preemption, version 1.36: a critical pod is not refused for want of room; other pods are ended, as few as can
//! be, and of those with as small requests as can be, while pods of class Guaranteed are spared before those of class
//! Burstable and these before those of class BestEffort. They end one after the other, each within its grace period, and
//! the critical pod is taken in when the last has. Where the real one takes pods as they come, this takes them by
//! namespace and name. Left out: meanwhile the real kubelet takes in no other pod either.

use super::sync::Why;
use super::{GRACE_SECONDS, Kubelet, Run, Stage};
use crate::amounts::{self, Amounts};
use crate::controllers::Cx;
use crate::controllers::events::About;
use k8s_openapi::api::core::v1::Pod;
use std::cmp::Ordering;
use std::sync::Arc;

/// Pods of this priority or a higher one are critical (`SystemCriticalPriority`).
pub(super) const CRITICAL: i32 = fleet::kubelet::CRITICAL;
/// Reason and message of pods that end for a critical one, and why they were disrupted.
pub(super) const PREEMPTED: (&str, &str) = ("Preempting", "Preempted in order to admit critical pod");
pub(super) const DISRUPTION: &str = "Pod was preempted by Kubelet to accommodate a critical pod.";
/// What is wrong when all other pods together would not do.
const TOO_LITTLE: &str =
    "preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: ";

/// What there is too little of, and how much of it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) name: String,
    pub(super) amount: i64,
}

/// A pod that may have to end.
#[derive(Clone, Debug)]
struct Candidate {
    uid: Arc<str>,
    /// Its class: BestEffort, Burstable, Guaranteed.
    class: usize,
    asks: Amounts,
}

impl Candidate {
    fn asks(&self, name: &str) -> i64 {
        match name {
            "pods" => 1,
            "cpu" => self.asks.cpu_millis,
            "memory" => self.asks.memory_bytes,
            other => self.asks.other(other),
        }
    }
}

fn text(needs: &[Need]) -> String {
    let each: String =
        needs.iter().map(|need| format!("(res: {}, q: {}), ", need.name, need.amount)).collect();
    format!("[{each}]")
}

/// What is still missing once these pods have ended.
fn rest<'a>(needs: &[Need], pods: impl Iterator<Item = &'a Candidate> + Clone) -> Vec<Need> {
    let left = needs.iter().map(|need| {
        let freed = pods.clone().fold(0, |sum: i64, pod| sum.saturating_add(pod.asks(&need.name)));
        Need { name: need.name.clone(), amount: need.amount.saturating_sub(freed) }
    });
    left.filter(|need| need.amount > 0).collect()
}

/// How far a pod is from meeting what is needed: the squared shares that would still be missing.
fn distance(needs: &[Need], pod: &Candidate) -> f64 {
    let missing = |need: &Need| {
        let left = need.amount.saturating_sub(pod.asks(&need.name)).max(0);
        let share = left as f64 / need.amount as f64;
        share * share
    };
    needs.iter().map(missing).sum()
}

/// Takes pods until what is needed is met, each time the nearest to it, of two as near the one with the smaller request.
fn nearest(mut pods: Vec<Candidate>, mut needs: Vec<Need>) -> Result<Vec<Candidate>, String> {
    let mut taken: Vec<Candidate> = Vec::new();
    while !needs.is_empty() {
        let mut best: Option<(usize, f64)> = None;
        for (at, pod) in pods.iter().enumerate() {
            let own = distance(&needs, pod);
            let size = |pod: &Candidate| (pod.asks.memory_bytes, pod.asks.cpu_millis);
            let better = best.is_none_or(|(other, least)| match own.total_cmp(&least) {
                Ordering::Less => true,
                Ordering::Equal => size(pod) <= size(&pods[other]),
                Ordering::Greater => false,
            });
            if better {
                best = Some((at, own));
            }
        }
        let Some((at, _)) = best else { return Err(format!("{TOO_LITTLE}{}", text(&needs))) };
        let pod = pods.swap_remove(at);
        needs = rest(&needs, [&pod].into_iter());
        taken.push(pod);
    }
    Ok(taken)
}

/// The pods that end, in order; the error is the kubelet's text.
fn choose(needs: &[Need], all: Vec<Candidate>) -> Result<Vec<Arc<str>>, String> {
    let missing = rest(needs, all.iter());
    if !missing.is_empty() {
        return Err(format!("{TOO_LITTLE}{}", text(&missing)));
    }
    let of = |class: usize| all.iter().filter(move |pod| pod.class == class);
    let own = |class: usize| of(class).cloned().collect::<Vec<_>>();
    let guaranteed = nearest(own(2), rest(needs, of(0).chain(of(1))))?;
    let burstable = nearest(own(1), rest(needs, of(0).chain(&guaranteed)))?;
    let best_effort = nearest(own(0), rest(needs, burstable.iter().chain(&guaranteed)))?;
    let chosen = best_effort.into_iter().chain(burstable).chain(guaranteed);
    Ok(chosen.map(|pod| pod.uid).collect())
}

/// Whether a pod is critical: its node runs it by itself, or its priority says so.
pub(super) fn is_critical(is_static: bool, priority: Option<i32>) -> bool {
    is_static || priority.is_some_and(|priority| priority >= CRITICAL)
}

impl Run {
    /// The priority a pod has to its kubelet: of a static one what its manifest states, whatever its class says.
    pub(super) fn priority(&self, pod: &Pod) -> Option<i32> {
        self.manifest.as_deref().unwrap_or(pod).spec.as_ref().and_then(|spec| spec.priority)
    }
    fn is_critical(&self, pod: &Pod) -> bool {
        is_critical(self.manifest.is_some(), self.priority(pod))
    }
}

impl Kubelet {
    /// The pods of a node that have to end so that a critical one has what it needs.
    pub(super) fn victims(
        &mut self,
        cx: &Cx<'_>,
        node: &str,
        (is_static, priority): (bool, Option<i32>),
        needs: &[Need],
    ) -> Result<Vec<Arc<str>>, String> {
        let mut all = Vec::new();
        for uid in self.on(node) {
            let Some(run) = self.runs.get(&uid) else { continue };
            let Some(stored) = cx.pod(&run.place.0, &run.place.1, &uid) else { continue };
            let Some(pod) = stored.object.as_pod() else { continue };
            let lower = priority.zip(run.priority(pod)).is_some_and(|(own, other)| own > other);
            if !(lower || is_critical(is_static, priority) && !run.is_critical(pod)) {
                continue;
            }
            let class = match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
                Some("Guaranteed") => 2,
                Some("Burstable") => 1,
                _ => 0,
            };
            all.push((run.place.clone(), Candidate { uid, class, asks: amounts::requested(pod) }));
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        choose(needs, all.into_iter().map(|(_, candidate)| candidate).collect())
    }
    /// Ends the next pod that has to make room for a critical one, or takes that in when there is none.
    pub(super) fn preempt_next(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>) {
        let Some(run) = self.runs.get_mut(uid).filter(|run| run.stage == Stage::Preempting) else { return };
        let (place, node) = (run.place.clone(), run.node.clone());
        while let Some(victim) = self.runs.get_mut(uid).and_then(|run| run.victims.pop_front()) {
            let Some(other) = self.runs.get(&victim).map(|run| run.place.clone()) else { continue };
            let Some(stored) = cx.pod(&other.0, &other.1, &victim) else { continue };
            let Some(pod) = stored.object.as_pod() else { continue };
            if !self.is_cut(&node)
                && let Some(host) = self.hosts.get(&node)
            {
                let (reason, message) = PREEMPTED;
                cx.warning(&About::new(&stored.object), host.source(&node), reason, message.to_owned());
            }
            self.preempted.insert(victim.clone(), uid.clone());
            self.save(cx, &victim, pod);
            let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
            self.end_run(cx, &victim, Why::Preempted, grace.unwrap_or(GRACE_SECONDS));
            return;
        }
        let Some(stored) = cx.pod(&place.0, &place.1, uid) else { return };
        if let Some(pod) = stored.object.as_pod() {
            self.take_in(cx, uid, pod);
        }
    }
    /// Goes on with critical pods that waited for one that has ended.
    pub(super) fn go_on_preempting(&mut self, cx: &mut Cx<'_>) -> bool {
        let freed = std::mem::take(&mut self.freed);
        freed.iter().for_each(|uid| self.preempt_next(cx, uid));
        !freed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: i64 = 1 << 20;

    fn pod(uid: &str, class: usize, cpu_millis: i64, mebibytes: i64) -> Candidate {
        let asks = Amounts { cpu_millis, memory_bytes: mebibytes * MIB, pods: 1, ..Amounts::default() };
        Candidate { uid: uid.into(), class, asks }
    }
    fn need(name: &str, amount: i64) -> Need {
        Need { name: name.to_owned(), amount }
    }
    fn chosen(needs: &[Need]) -> Result<Vec<String>, String> {
        let all = vec![
            pod("best-effort", 0, 0, 0),
            pod("best-effort-too", 0, 0, 0),
            pod("burstable", 1, 100, 100),
            pod("burstable-large", 1, 300, 300),
            pod("guaranteed", 2, 100, 100),
            pod("guaranteed-large", 2, 300, 300),
        ];
        Ok(choose(needs, all)?.iter().map(|uid| uid.to_string()).collect())
    }

    #[test]
    fn lower_classes_end_first_and_as_few_pods_as_can_be() {
        assert_eq!(chosen(&[need("memory", 80 * MIB)]).unwrap(), ["burstable"]);
        assert_eq!(chosen(&[need("memory", 101 * MIB)]).unwrap(), ["burstable-large"]);
        assert_eq!(chosen(&[need("memory", 400 * MIB)]).unwrap(), ["burstable-large", "burstable"]);
        // More than all of class Burstable have: the smallest of class Guaranteed that makes up for it.
        assert_eq!(chosen(&[need("cpu", 450)]).unwrap(), ["burstable-large", "burstable", "guaranteed"]);
        // What one of class Guaranteed frees is reckoned before those of class Burstable are chosen.
        assert_eq!(
            chosen(&[need("cpu", 650)]).unwrap(),
            ["burstable-large", "burstable", "guaranteed-large"]
        );
        assert_eq!(chosen(&[need("pods", 1)]).unwrap(), ["best-effort-too"]);
        assert_eq!(chosen(&[need("pods", 3)]).unwrap().len(), 3);
    }

    #[test]
    fn each_thing_that_is_missing_counts_alike() {
        let all = vec![pod("cpu", 1, 1000, 10), pod("memory", 1, 10, 1000), pod("both", 1, 600, 600)];
        let chosen = choose(&[need("cpu", 500), need("memory", 500 * MIB)], all).unwrap();
        assert_eq!(chosen.iter().map(|uid| &**uid).collect::<Vec<_>>(), ["both"]);
    }

    #[test]
    fn what_nobody_can_make_room_for_is_told() {
        let error = chosen(&[need("cpu", 900), need("memory", 1)]).unwrap_err();
        assert_eq!(error, format!("{TOO_LITTLE}[(res: cpu, q: 100), ]"));
        assert_eq!(
            chosen(&[need("example.com/gpu", 1)]).unwrap_err(),
            format!("{TOO_LITTLE}[(res: example.com/gpu, q: 1), ]")
        );
    }
}
