//! Which nodes are not needed: little used, and all that is on them may and can go elsewhere.
//!
//! Nodes are judged one after another, the empty ones first; what would move is placed on the others in thought, so that two
//! nodes are not each found unneeded because of the other. A node that could not be emptied is not looked at again for
//! five minutes. Invariant: what is found does not depend on how often one looks while nothing changes: such a node's five
//! minutes go on from where they began. Method: `core/scaledown/{eligibility,planner,unneeded,unremovable}` of
//! cluster-autoscaler 1.36. Left out: GPUs' utilisation, limits of resources, pods evicted lately.

use super::drainability::{Facts, Verdict, is_given_up, judge};
use super::template::{CANDIDATE, TO_BE_DELETED, nodes};
use crate::amounts;
use crate::apiserver::selector::selects_pod;
use crate::cloud::Cloud;
use crate::controllers::is_terminal;
use crate::controllers::node::{is_ready, is_tainted};
use crate::controllers::owned::{KINDS, controller};
use crate::controllers::scheduler::{Asking, Simulation};
use crate::kind::Kind;
use crate::store::Objects;
use fleet::supply::Autoscaler;
use fleet::{ClusterSpec, Instant, Span};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const DISABLED: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";
/// Most nodes with pods that are found unneeded in one look (`--scale-down-non-empty-candidates-count`).
const OCCUPIED_MAX: usize = 30;

/// A node that could not be emptied.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Blocked {
    since: Instant,
    /// Whether something has changed since.
    stale: bool,
    /// When time alone changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifts_at: Option<Instant>,
}

/// What is known of nodes between looks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Planner {
    /// Since when a node is not needed.
    pub(super) unneeded: BTreeMap<Arc<str>, Instant>,
    blocked: BTreeMap<Arc<str>, Blocked>,
    /// Why each other node stays, as was said last.
    pub(super) reasons: BTreeMap<Arc<str>, String>,
}

/// A node that may be taken away.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Removable {
    pub(super) node: Arc<str>,
    pub(super) group: Arc<str>,
    pub(super) is_empty: bool,
    /// The larger share of CPU or memory that is asked for, and the two shares.
    pub(super) utilization: (f64, f64, f64),
    /// Names of the pods that would move.
    pub(super) pods: Vec<String>,
}

/// The pods of each node, and what is known of them.
pub(super) struct Inventory<'a> {
    pods: BTreeMap<&'a str, Vec<&'a Pod>>,
    /// Namespace, selector and allowance of each disruption budget.
    budgets: Vec<(&'a str, &'a Value, i64)>,
    objects: &'a Objects,
    spec: &'a ClusterSpec,
    now: Instant,
}

impl<'a> Inventory<'a> {
    pub(super) fn new(objects: &'a Objects, spec: &'a ClusterSpec, now: Instant) -> Inventory<'a> {
        let mut pods: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
        for pod in objects.list(Kind::Pod, None).filter_map(|stored| stored.object.as_pod()) {
            if let Some(node) = pod.spec.as_ref().and_then(|s| s.node_name.as_deref())
                && !is_terminal(pod)
            {
                pods.entry(node).or_default().push(pod);
            }
        }
        let budgets = objects.list(KINDS.budget, None).filter_map(|stored| {
            let doc = stored.object.as_document()?;
            let selector = doc.body.get("spec")?.get("selector")?;
            let allowed = doc.body.get("status").and_then(|s| s.get("disruptionsAllowed"));
            let namespace = doc.metadata.namespace.as_deref()?;
            Some((namespace, selector, allowed.and_then(Value::as_i64).unwrap_or(0)))
        });
        Inventory { pods, budgets: budgets.collect(), objects, spec, now }
    }
    pub(super) fn on(&self, node: &str) -> &[&'a Pod] {
        self.pods.get(node).map_or(&[], Vec::as_slice)
    }
    fn node(&self, name: &str) -> Option<&'a Node> {
        self.objects.get(Kind::Node, "", name)?.object.as_node()
    }
    fn facts(&self, pod: &Pod) -> Facts {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let labels = serde_json::to_value(&pod.metadata.labels).unwrap_or_default();
        let selecting = self
            .budgets
            .iter()
            .filter(|(of, selector, _)| *of == namespace && selects_pod(selector, &labels));
        let has_controller = controller(&pod.metadata).is_some_and(|owner| {
            let kind = self.objects.kind_of(&owner.api_version, &owner.kind);
            kind.is_some_and(|kind| {
                let found = self.objects.get(kind, namespace, &owner.name);
                found.is_some_and(|stored| stored.object.uid() == owner.uid)
            })
        });
        Facts { has_controller, allowed: selecting.map(|(.., allowed)| *allowed).min() }
    }
    /// The pods that would move off a node, or the first that keeps it, why, and until when if time alone ends that.
    pub(super) fn to_move(
        &self,
        node: &str,
        set: &Autoscaler,
    ) -> Result<Vec<&'a Pod>, (String, Option<Instant>)> {
        let mut moving = Vec::new();
        for pod in self.on(node) {
            match judge(pod, self.facts(pod), set, self.now) {
                Verdict::Skip => {}
                Verdict::Move => moving.push(*pod),
                Verdict::Keep { block, until } => {
                    let name = |part: &Option<String>| part.clone().unwrap_or_default();
                    let (namespace, name) = (name(&pod.metadata.namespace), name(&pod.metadata.name));
                    return Err((format!("BlockedByPod: {namespace}/{name}: {}", block.name()), until));
                }
            }
        }
        Ok(moving)
    }
    /// The larger share of a node's CPU or memory that its pods ask for, and both.
    fn utilization(&self, node: &Node, set: &Autoscaler) -> (f64, f64, f64) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let mut there = amounts::allocatable(node);
        let mut asked = amounts::Amounts::default();
        for pod in self.on(name).iter().filter(|pod| !is_given_up(pod, self.now)) {
            let daemon = controller(&pod.metadata).is_some_and(|owner| owner.kind == "DaemonSet");
            match daemon && set.ignore_daemonsets_utilization {
                true => there.subtract(&amounts::requested(pod)),
                false => asked.add(&amounts::requested(pod)),
            }
        }
        let share = |asked: i64, there: i64| if there <= 0 { 1.0 } else { asked as f64 / there as f64 };
        let cpu = share(asked.cpu_millis, there.cpu_millis);
        let memory = share(asked.memory_bytes, there.memory_bytes);
        (cpu.max(memory), cpu, memory)
    }
}

/// What a look at a node came to.
enum Found {
    Unneeded(Removable),
    Stays(String),
}

/// One look.
pub(super) struct Look<'a> {
    pub(super) inventory: Inventory<'a>,
    pub(super) cloud: &'a Cloud,
    pub(super) set: &'a Autoscaler,
    /// Nodes being taken away, by group.
    pub(super) leaving: BTreeMap<Arc<str>, Arc<str>>,
    /// Whether something changed since the last look.
    pub(super) changed: bool,
}

impl Look<'_> {
    fn now(&self) -> Instant {
        self.inventory.now
    }
    /// How long a node that could not be emptied is left alone: until the first look after the time is over.
    fn period(&self) -> Span {
        let (tick, wait) = (self.set.scan_interval.as_nanos(), self.set.unremovable_node_recheck_timeout);
        Span::from_nanos((wait.as_nanos() / tick + 1) * tick)
    }
    fn in_progress(&self, group: &str) -> u32 {
        self.leaving.values().filter(|of| &***of == group).count() as u32
    }
    fn min(&self, group: &str) -> u32 {
        let found = self.inventory.spec.node_groups.iter().find(|g| g.name == group);
        found.and_then(|g| g.limits).map_or(0, |limits| limits.min)
    }
}

impl Planner {
    /// Judges all nodes; the unneeded ones, in the order in which they may be taken away.
    pub(super) fn update(&mut self, look: &Look<'_>, simulation: &mut Simulation) -> Vec<Removable> {
        let now = look.now();
        let mut candidates: Vec<&Node> = nodes(look.inventory.objects).collect();
        let name = |node: &Node| Arc::<str>::from(node.metadata.name.as_deref().unwrap_or_default());
        let known: BTreeSet<Arc<str>> = candidates.iter().map(|node| name(node)).collect();
        self.blocked.retain(|node, _| known.contains(node));
        self.reasons.retain(|node, _| known.contains(node));
        let is_empty =
            |node: &Node| look.inventory.to_move(&name(node), look.set).is_ok_and(|moving| moving.is_empty());
        candidates.sort_by_cached_key(|node| {
            (!is_empty(node), !self.unneeded.contains_key(&name(node)), name(node))
        });
        let (mut removable, mut gone) = (Vec::new(), BTreeSet::new());
        for node in candidates {
            let name = name(node);
            match self.judge(look, simulation, node, &name, &removable, &gone) {
                None => drop(self.reasons.remove(&name)),
                Some(Found::Stays(why)) => drop(self.reasons.insert(name, why)),
                Some(Found::Unneeded(found)) => {
                    self.reasons.remove(&name);
                    gone.insert(name);
                    removable.push(found);
                }
            }
        }
        let since = |node: &Arc<str>| self.unneeded.get(node).copied().unwrap_or(now);
        self.unneeded = removable.iter().map(|r| (r.node.clone(), since(&r.node))).collect();
        removable
    }
    /// Judges one node; `None`: it is being taken away, or is none of the autoscaler's.
    fn judge(
        &mut self,
        look: &Look<'_>,
        simulation: &mut Simulation,
        node: &Node,
        name: &Arc<str>,
        found: &[Removable],
        gone: &BTreeSet<Arc<str>>,
    ) -> Option<Found> {
        let stays = |why: &str| Some(Found::Stays(why.to_owned()));
        let group = look.cloud.machines().get(name).map(|machine| machine.group.clone())?;
        let limits = look.inventory.spec.node_groups.iter().find(|g| *g.name == *group)?.limits;
        if limits.is_none() || look.leaving.contains_key(name) {
            return None;
        }
        if look.cloud.target(&group).saturating_sub(look.in_progress(&group)) <= look.min(&group) {
            return stays("NodeGroupMinSizeReached");
        }
        if is_tainted(node, TO_BE_DELETED) {
            return stays("CurrentlyBeingDeleted");
        }
        let annotations = node.metadata.annotations.as_ref();
        if annotations.and_then(|all| all.get(DISABLED)).is_some_and(|value| value == "true") {
            return stays("ScaleDownDisabledAnnotation");
        }
        let utilization = look.inventory.utilization(node, look.set);
        if utilization.0 * 1000.0 > look.set.scale_down_utilization_threshold as f64 {
            return stays("NotUnderutilized");
        }
        if self.is_left_alone(look, name) {
            let why = self.reasons.get(name).cloned().unwrap_or_default();
            return Some(Found::Stays(why));
        }
        let occupied = found.iter().filter(|r| !r.is_empty).count();
        let outcome = match look.inventory.to_move(name, look.set) {
            Err(blocked) => Err(blocked),
            Ok(moving) if !moving.is_empty() && occupied >= OCCUPIED_MAX => {
                return stays("NotUnneededOtherReason");
            }
            Ok(moving) => match relocate(simulation, name, &moving, gone) {
                true => Ok(moving),
                false => Err(("NoPlaceToMovePods".to_owned(), None)),
            },
        };
        match outcome {
            Ok(moving) => {
                self.blocked.remove(name);
                let pods = moving.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
                let (node, is_empty) = (name.clone(), moving.is_empty());
                Some(Found::Unneeded(Removable { node, group, is_empty, utilization, pods }))
            }
            Err((why, lifts_at)) => {
                let blocked = Blocked { since: look.now(), stale: false, lifts_at };
                self.blocked.insert(name.clone(), blocked);
                Some(Found::Stays(why))
            }
        }
    }
    /// Whether a node could not be emptied lately. Its time goes on in whole periods while nobody looks.
    fn is_left_alone(&mut self, look: &Look<'_>, name: &str) -> bool {
        let (now, period) = (look.now(), look.period());
        let Some(blocked) = self.blocked.get_mut(name) else { return false };
        let periods = (now - blocked.since).as_nanos() / period.as_nanos();
        blocked.since += period.scaled(periods, 1);
        blocked.stale |= look.changed;
        blocked.since != now || periods == 0
    }
    /// Those that may go now: unneeded for long enough, and their group large enough without them.
    pub(super) fn ready(&mut self, look: &Look<'_>, removable: Vec<Removable>) -> Vec<Removable> {
        let now = look.now();
        let mut taken: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        let mut ready = Vec::new();
        for found in removable {
            let node = look.inventory.node(&found.node);
            let (wait, why) = match node.is_some_and(is_ready) {
                true => (look.set.scale_down_unneeded_time, "NotUnneededLongEnough"),
                false => (look.set.scale_down_unready_time, "NotUnreadyLongEnough"),
            };
            let since = self.unneeded.get(&found.node).copied().unwrap_or(now);
            let group = taken.entry(found.group.clone()).or_default();
            let size =
                look.cloud.target(&found.group).saturating_sub(look.in_progress(&found.group) + *group);
            if since + wait >= now {
                self.reasons.insert(found.node.clone(), why.to_owned());
            } else if size <= look.min(&found.group) {
                self.reasons.insert(found.node.clone(), "NodeGroupMinSizeReached".to_owned());
            } else {
                *group += 1;
                ready.push(found);
            }
        }
        ready
    }
    /// When something of this changes by itself.
    pub(super) fn next(&self, look: &Look<'_>) -> Vec<Instant> {
        let (set, period) = (look.set, look.period());
        let wait = |node: &str| match look.inventory.node(node).is_some_and(is_ready) {
            true => set.scale_down_unneeded_time,
            false => set.scale_down_unready_time,
        };
        let unneeded = self.unneeded.iter().map(|(node, since)| *since + wait(node));
        let blocked = self.blocked.values().filter_map(|blocked| {
            let again = blocked.since + period;
            match (blocked.stale, blocked.lifts_at) {
                (true, _) => Some(again),
                (false, None) => None,
                (false, Some(lifts)) => {
                    let periods = ((lifts - blocked.since).as_nanos() / period.as_nanos() + 1).max(1);
                    Some(blocked.since + period.scaled(periods, 1))
                }
            }
        });
        unneeded.chain(blocked.map(|at| at - Span::from_nanos(1))).collect()
    }
}

/// Places the pods of a node elsewhere; whether all found a place. If not, nothing has changed.
fn relocate(simulation: &mut Simulation, node: &Arc<str>, pods: &[&Pod], gone: &BTreeSet<Arc<str>>) -> bool {
    let all: Vec<Asking> = pods.iter().filter_map(|pod| simulation.asking(pod)).collect();
    if all.len() < pods.len() {
        return false;
    }
    all.iter().for_each(|pod| simulation.release(pod.uid()));
    for (done, pod) in all.iter().enumerate() {
        let place = simulation.first_fit(pod, &|name| name != &**node && !gone.contains(name));
        match place {
            Some(place) => simulation.place(&place, pod),
            None => {
                all[..done].iter().for_each(|pod| simulation.release(pod.uid()));
                all.iter().for_each(|pod| simulation.place(node, pod));
                return false;
            }
        }
    }
    true
}

/// Places what is on nodes that are being emptied elsewhere in thought; whether there is room for all of it.
pub(super) fn make_way(simulation: &mut Simulation, look: &Look<'_>) -> bool {
    let gone: BTreeSet<Arc<str>> = look.leaving.keys().cloned().collect();
    look.leaving.keys().all(|node| {
        let daemon = |pod: &&&Pod| controller(&pod.metadata).is_some_and(|o| o.kind == "DaemonSet");
        let pods: Vec<&Pod> = look.inventory.on(node).iter().filter(|p| !daemon(p)).copied().collect();
        relocate(simulation, node, &pods, &gone)
    })
}

/// Whether a node has the soft taint of those that will be taken away.
pub(super) fn is_candidate(node: &Node) -> bool {
    is_tainted(node, CANDIDATE)
}
