//! Nodes that run short of memory or disk, and the pods they evict for it.
//!
//! As kubelet's eviction manager, version 1.36, with its hard thresholds: 100 MiB of memory, a tenth of the disk. It looks
//! every 10 s, evicts at most one pod each time, and says that the pressure is over once it has not been there for five
//! minutes. What containers use is stated by annotations ([`crate::work::MEMORY`], [`crate::work::DISK`]); of memory a
//! container that states nothing uses what it requests, of disk nothing. What a node keeps back for itself it is taken to
//! use. Invariant: nodes on which nothing is stated cost nothing. Units: bytes. Left out: soft thresholds, inodes, process
//! ids, images (which a node drops first), and sizes of `emptyDir` volumes.

use super::preemption::is_critical;
use super::sync::Why;
use super::{Kubelet, Run, Stage};
use crate::amounts;
use crate::apiserver::quantity::{Format, NANO, Quantity};
use crate::controllers::events::About;
use crate::controllers::{Cx, is_deleting, time};
use crate::kind::Kind;
use crate::object::Object;
use crate::work::{self, Profile};
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Container, Node, NodeCondition, Pod, PodSpec};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::sync::Arc;

/// How often a kubelet looks whether it runs short.
const INTERVAL: Span = Span::from_seconds(10);
/// How long pressure is told of after it was last seen (`--eviction-pressure-transition-period`).
const TRANSITION: Span = Span::from_seconds(300);
/// Memory that has to be left (`memory.available`).
const MEMORY_LEFT_MIN: i64 = 100 << 20;
/// One part in so many of the disk that has to be left (`nodefs.available<10%`).
const DISK_LEFT_PART: i64 = 10;
/// Seconds an evicted pod gets to end.
const GRACE_SECONDS: i64 = 1;

/// Something a node may run short of.
#[derive(Debug)]
struct Signal {
    resource: &'static str,
    condition: &'static str,
    /// Reason and message of the condition when there is too little, and when there is enough.
    short: (&'static str, &'static str),
    well: (&'static str, &'static str),
    /// Reasons of the events of both.
    events: (&'static str, &'static str),
}

const SIGNALS: [Signal; 2] = [
    Signal {
        resource: "memory",
        condition: "MemoryPressure",
        short: ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        well: ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        events: ("NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
    },
    Signal {
        resource: "ephemeral-storage",
        condition: "DiskPressure",
        short: ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        well: ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        events: ("NodeHasDiskPressure", "NodeHasNoDiskPressure"),
    },
];

/// What a node is known for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Pressure {
    /// When it is looked at next.
    armed: Option<Instant>,
    /// When it last had too little of each of [`SIGNALS`].
    met: [Option<Instant>; SIGNALS.len()],
}

/// A container with what it uses.
struct Eater {
    name: String,
    used: i64,
    asked: i64,
    limit: Option<i64>,
}

/// A pod with what it uses.
struct Meal {
    uid: Arc<str>,
    used: i64,
    asked: i64,
    priority: i32,
    eaters: Vec<Eater>,
}

/// The order in which pods go: those beyond what they asked for, then those of lower priority, then those furthest beyond.
/// (Equals go by uid; the kubelet's order of them is by chance.)
fn rank(meal: &Meal) -> (bool, i32, Reverse<i64>, Arc<str>) {
    (meal.used <= meal.asked, meal.priority, Reverse(meal.used.saturating_sub(meal.asked)), meal.uid.clone())
}

fn quantity(bytes: i64) -> String {
    Quantity::from_nanos(i128::from(bytes) * NANO, Format::BinarySi).to_string()
}

/// A container's request or limit, in whole units.
fn amount(container: &Container, limit: bool, name: &str) -> Option<i64> {
    let resources = container.resources.as_ref()?;
    let list = if limit { &resources.limits } else { &resources.requests };
    let nanos = Quantity::parse(&list.as_ref()?.get(name)?.0).ok()?.nanos();
    i64::try_from(nanos / NANO).ok()
}

fn profile(signal: &Signal, pod: &Pod, container: &Container) -> Option<Profile> {
    if signal.resource == "memory" { work::memory(pod, container) } else { work::disk(pod, container) }
}

/// Whether anything is stated of what a pod uses.
pub(super) fn is_stated(pod: &Pod) -> bool {
    let says = |key: &String| [work::MEMORY, work::DISK].iter().any(|known| work::is_key(key, known));
    pod.metadata.annotations.iter().flatten().any(|(key, _)| says(key))
}

/// What a pod is to have of a resource by its containers.
fn asked(run: &Run, signal: &Signal, pod: &Pod) -> i64 {
    match signal.resource {
        "memory" => run.asks.1,
        name => amounts::requested(pod).other(name),
    }
}

impl Run {
    /// What each running container uses, and when the next one begins to use another amount.
    fn eaters(
        &self,
        signal: &Signal,
        pod: &Pod,
        spec: &PodSpec,
        now: Instant,
    ) -> (Vec<Eater>, Option<Instant>) {
        let (mut eaters, mut next) = (Vec::new(), None);
        for (at, unit) in self.units.iter().enumerate() {
            let (Some(running), Some((container, _))) = (unit.running(), super::scene::container(spec, at))
            else {
                continue;
            };
            let asked = amount(container, false, signal.resource).unwrap_or(0);
            let used = match profile(signal, pod, container) {
                Some(profile) => {
                    let step = profile.next(now - running.since).map(|step| running.since + step);
                    next = next.into_iter().chain(step).min();
                    profile.at(now - running.since)
                }
                None if signal.resource == "memory" => asked,
                None => 0,
            };
            let limit = amount(container, true, signal.resource);
            eaters.push(Eater { name: container.name.clone(), used, asked, limit });
        }
        (eaters, next)
    }
}

impl Kubelet {
    /// Has a node looked at, at the next of its looks after an instant.
    pub(super) fn watch_node(&mut self, cx: &mut Cx<'_>, node: &Arc<str>, after: Instant) {
        let (since, step) = (after - Instant::EPOCH, INTERVAL.as_nanos());
        let at = Instant::EPOCH + Span::from_nanos((since.as_nanos() / step + 1) * step);
        let state = self.pressure.entry(node.clone()).or_default();
        if state.armed.is_none_or(|armed| at < armed) {
            state.armed = Some(at);
            cx.timers.set(at, Priority::Kubelet, Task::Pressure { node: node.clone() });
        }
    }
    /// A node looks whether it runs short.
    pub(crate) fn look_at_node(&mut self, cx: &mut Cx<'_>, node: &Arc<str>) {
        let Some(state) = self.pressure.get_mut(node).filter(|state| state.armed == Some(cx.now)) else {
            return;
        };
        let mut met = state.met;
        if self.is_cut(node) {
            // It says nothing now, and what it has to say later.
            self.pressure.insert(node.clone(), Pressure { armed: None, met });
            return self.watch_node(cx, node, cx.now);
        }
        let litter = self.hosts.get(node).map_or(0, |host| host.litter);
        if self.hosts.get(node).is_none_or(|host| host.down) {
            // Back before anybody has missed it, it tells on of what it told; later it begins anew.
            if met.iter().flatten().all(|at| *at + TRANSITION <= cx.now) {
                self.pressure.remove(node);
            } else {
                self.pressure.insert(node.clone(), Pressure { armed: None, met });
                self.watch_node(cx, node, cx.now);
            }
            return;
        }
        let (mut next, mut free) = (None::<Instant>, true);
        let mut soon = |at: Option<Instant>| next = next.into_iter().chain(at).min();
        let (meals, _) = self.meals(cx, node, &SIGNALS[1]);
        if self.evict_beyond_limit(cx, &meals) {
            free = false;
        }
        for (signal, met) in SIGNALS.iter().zip(&mut met) {
            let (meals, step) = self.meals(cx, node, signal);
            soon(step);
            let Some((least, mut left)) = left(cx, node, signal, &meals) else { continue };
            if signal.resource != "memory" {
                left = left.saturating_sub(litter);
            }
            if left < least {
                *met = Some(cx.now);
                set_condition(cx, node, signal, true);
                if free {
                    free = !self.evict_for(cx, node, signal, (least, left), meals);
                }
                soon(Some(cx.now));
            } else if let Some(at) = *met {
                if cx.now < at + TRANSITION {
                    soon(Some(at + TRANSITION - Span::from_nanos(1)));
                } else {
                    *met = None;
                    set_condition(cx, node, signal, false);
                }
            }
        }
        self.pressure.insert(node.clone(), Pressure { armed: None, met });
        match next {
            Some(at) => self.watch_node(cx, node, at.max(cx.now)),
            None => drop(self.pressure.remove(node)),
        }
    }
    /// What the pods of a node use that run, and when that changes by itself.
    fn meals(&mut self, cx: &Cx<'_>, node: &str, signal: &Signal) -> (Vec<Meal>, Option<Instant>) {
        let (mut meals, mut next) = (Vec::new(), None);
        for uid in self.on(node) {
            let live = |run: &&Run| run.stage == Stage::Live;
            let Some(run) = self.runs.get(&uid).filter(live) else { continue };
            let Some(stored) = cx.pod(&run.place.0, &run.place.1, &uid) else { continue };
            let Some((pod, spec)) = stored.object.as_pod().and_then(|pod| Some((pod, pod.spec.as_ref()?)))
            else {
                continue;
            };
            let (eaters, step) = run.eaters(signal, pod, spec, cx.now);
            next = next.into_iter().chain(step).min();
            meals.push(Meal {
                used: eaters.iter().fold(0, |sum: i64, eater| sum.saturating_add(eater.used)),
                asked: asked(run, signal, pod),
                priority: spec.priority.unwrap_or(0),
                eaters,
                uid,
            });
        }
        (meals, next)
    }
    /// Whether a pod may be evicted: it is neither critical nor on its way out.
    fn may_go(&self, meal: &Meal) -> bool {
        let run = self.runs.get(&meal.uid);
        let critical = |run: &Run| is_critical(run.manifest.is_some(), Some(meal.priority));
        run.is_some_and(|run| run.ending.is_none() && !critical(run))
    }
    /// Evicts pods of which a container uses more disk than its limit; whether there was one.
    fn evict_beyond_limit(&mut self, cx: &mut Cx<'_>, meals: &[Meal]) -> bool {
        let mut any = false;
        for meal in meals {
            let over = meal.eaters.iter().find(|eater| eater.limit.is_some_and(|limit| eater.used > limit));
            let Some(eater) = over.filter(|_| self.may_go(meal)) else { continue };
            let limit = quantity(eater.limit.unwrap_or(0));
            let text =
                format!("Container {} exceeded its local ephemeral storage limit \"{limit}\". ", eater.name);
            self.evict(cx, &meal.uid, text);
            any = true;
        }
        any
    }
    /// Evicts the pod that is to go first for want of something; whether there was one.
    fn evict_for(
        &mut self,
        cx: &mut Cx<'_>,
        node: &str,
        signal: &Signal,
        (least, left): (i64, i64),
        meals: Vec<Meal>,
    ) -> bool {
        let text = format!("Attempting to reclaim {}", signal.resource);
        tell_of_node(cx, node, ("Warning", "EvictionThresholdMet"), text);
        let Some(first) = meals.into_iter().filter(|meal| self.may_go(meal)).min_by_key(rank) else {
            return false;
        };
        let resource = signal.resource;
        let (least, left) = (quantity(least), quantity(left.max(0)));
        let mut text = format!(
            "The node was low on resource: {resource}. Threshold quantity: {least}, available: {left}. "
        );
        for eater in first.eaters.iter().filter(|eater| eater.used > eater.asked) {
            let (used, asked) = (quantity(eater.used), quantity(eater.asked));
            text.push_str(&format!(
                "Container {} was using {used}, request is {asked}, has larger consumption of {resource}. ",
                eater.name
            ));
        }
        self.evict(cx, &first.uid, text);
        true
    }
    fn evict(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, message: String) {
        let Some(run) = self.runs.get_mut(uid) else { return };
        let (place, node) = (run.place.clone(), run.node.clone());
        run.evicted = Some(message.as_str().into());
        run.end(Why::Evicted, GRACE_SECONDS, cx.now);
        let (Some(stored), Some(host)) = (cx.pod(&place.0, &place.1, uid), self.hosts.get(&node)) else {
            return;
        };
        cx.warning(&About::new(&stored.object), host.source(&node), "Evicted", message);
        self.look(cx, uid);
    }
    /// The condition of a node for which it does not take a pod in: a pod without any request when memory is short, any
    /// when disk is, unless it tolerates that.
    pub(super) fn pressed(&self, pod: &Pod, node: &Node) -> Option<&'static str> {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref())?;
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        let best_effort = pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) == Some("BestEffort");
        let tolerated = |key: &str| {
            let taint = k8s_openapi::api::core::v1::Taint {
                key: key.to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Default::default()
            };
            tolerations.iter().any(|own| crate::controllers::nodelifecycle::tolerates(own, &taint))
        };
        let holds =
            |signal: &&Signal| conditions.iter().any(|c| c.type_ == signal.condition && c.status == "True");
        let found = SIGNALS.iter().filter(holds).find(|signal| match signal.resource {
            "memory" => best_effort && !tolerated("node.kubernetes.io/memory-pressure"),
            _ => true,
        });
        let critical = is_critical(false, pod.spec.as_ref().and_then(|spec| spec.priority));
        found.filter(|_| !critical && !is_deleting(&pod.metadata)).map(|signal| signal.condition)
    }
}

/// How much of something a node has to have left, and has; `None`: it does not say how much it has.
fn left(cx: &Cx<'_>, node: &str, signal: &Signal, meals: &[Meal]) -> Option<(i64, i64)> {
    let node = cx.node(node)?;
    let status = node.status.as_ref()?;
    status.allocatable.as_ref()?.get(signal.resource)?;
    let room = amounts::allocatable(node);
    let (room, least) = if signal.resource == "memory" {
        (room.memory_bytes, MEMORY_LEFT_MIN)
    } else {
        let whole = Quantity::parse(&status.capacity.as_ref()?.get(signal.resource)?.0).ok()?.nanos() / NANO;
        (room.other(signal.resource), i64::try_from(whole).ok()? / DISK_LEFT_PART)
    };
    let used = meals.iter().fold(0, |sum: i64, meal| sum.saturating_add(meal.used));
    Some((least, room.saturating_add(least).saturating_sub(used)))
}

pub(super) fn tell_of_node(cx: &mut Cx<'_>, node: &str, what: (&str, &str), message: String) {
    let source = crate::controllers::events::Source { component: "kubelet", host: Some(node) };
    cx.tell((Kind::Node, "", node), source, what, message);
}

/// Says of a node whether it has too little of something.
fn set_condition(cx: &mut Cx<'_>, name: &str, signal: &Signal, short: bool) {
    let Some(node) = cx.node(name) else { return };
    let (status, (reason, message), event) = match short {
        true => ("True", signal.short, signal.events.0),
        false => ("False", signal.well, signal.events.1),
    };
    let mut node = node.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    let new = NodeCondition {
        type_: signal.condition.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(time(cx.now)),
        last_transition_time: Some(time(cx.now)),
    };
    match conditions.iter_mut().find(|c| c.type_ == signal.condition) {
        Some(old) if old.status == status => return,
        Some(old) => *old = new,
        None => conditions.push(new),
    }
    cx.objects.put(Object::Node(Box::new(node)));
    tell_of_node(cx, name, ("Normal", event), format!("Node {name} status is now: {event}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_beyond_its_request_goes_first_then_who_matters_least() {
        let meal = |uid: &str, used, asked, priority| Meal {
            uid: uid.into(),
            used,
            asked,
            priority,
            eaters: Vec::new(),
        };
        let mut meals = [
            meal("within-low", 900, 1000, -10),
            meal("within-high", 100, 1000, 5),
            meal("beyond-important", 500, 100, 1000),
            meal("beyond-much", 600, 100, 0),
            meal("beyond-little", 5000, 4900, 0),
        ];
        meals.sort_by_key(rank);
        let order: Vec<&str> = meals.iter().map(|meal| &*meal.uid).collect();
        assert_eq!(order, ["beyond-much", "beyond-little", "beyond-important", "within-low", "within-high"]);
    }

    #[test]
    fn amounts_are_told_as_the_kubelet_tells_them() {
        // Below 1,024 amounts are told in powers of ten, as Kubernetes tells them.
        assert_eq!([100 << 20, 5 << 30, 1500, 1000].map(quantity), ["100Mi", "5Gi", "1500", "1k"]);
    }
}
