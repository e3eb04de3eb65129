//! The machines behind the nodes of groups that may grow, shrink or be interrupted: what a cloud's scaling groups do.
//!
//! A machine is asked for, boots, registers its node, joins, and is there until somebody takes it away. Invariants: a group
//! has as many machines as were asked for, those counted that are not to be had; names and places (addresses) are given once
//! at a time; chance comes from a stream of each group. A machine is paid for and draws idle power from the request for it
//! until it is told to stop, as EC2 bills it. Left out: groups that stay as they are (their nodes are made with the world),
//! warm pools, and machines that fail by themselves.

use crate::controllers::Cx;
use crate::controllers::events::{About, Source};
use crate::controllers::nodelifecycle::mark_ready;
use crate::kind::Kind;
use crate::object::Object;
use crate::random::Stream;
use crate::world::{NewNode, Priority, Task, new_node};
use fleet::{ClusterSpec, Instant, NodeGroup, Span};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// From the order to stop until the Node object is gone: the cloud's controller looks every 5 s (`--node-monitor-period`).
const NODE_GONE: Span = Span::from_seconds(5);
const NODES: Source<'static> = Source { component: "node-controller", host: None };
const CLOUD: Source<'static> = Source { component: "cloud-node-lifecycle-controller", host: None };

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// There is none to be had.
    Refused,
    /// Asked for; there is no node yet.
    Booting,
    /// The node is registered and not ready.
    Joining,
    /// It is there.
    Up,
    /// Told to stop.
    Leaving,
}

/// A machine of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) group: Arc<str>,
    pub(crate) zone: String,
    seat: usize,
    pub(crate) stage: Stage,
    /// When it was asked for.
    pub(crate) requested: Instant,
    /// When it takes the next step of its life.
    due: Instant,
    /// When it is told that it will be taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notice_at: Option<Instant>,
    /// When it will be taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) taken_at: Option<Instant>,
}

/// A group.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pool {
    /// Number of the last machine; names are not given twice.
    last: u32,
    draw: Stream,
}

/// What others are to know: physics of machines, kubelets of nodes, whoever empties nodes of notices.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// A machine is paid for and draws power.
    On(Arc<str>, Arc<str>),
    /// It no longer does, and all that ran on it is gone.
    Off(Arc<str>),
    /// It will be taken away at that instant.
    Notice(Arc<str>, Instant),
}

/// The machines of one cluster's groups.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cloud {
    /// The cluster's place in the fleet.
    number: usize,
    /// When the world began.
    start: Instant,
    pools: BTreeMap<Arc<str>, Pool>,
    machines: BTreeMap<Arc<str>, Machine>,
    seats: BTreeSet<usize>,
    /// Empty at rest.
    #[serde(skip)]
    news: Vec<News>,
    /// Whether anything of it may have changed since somebody asked.
    #[serde(skip)]
    touched: bool,
}

/// Whether the machines of a group come and go.
pub(crate) fn is_pool(group: &NodeGroup) -> bool {
    group.limits.is_some() || group.supply.spot.is_some() || group.node_pool.is_some()
}

impl Cloud {
    /// The machines there are at the start. `nodes` are all of the cluster, with their groups and zones, in order.
    pub(crate) fn new(
        spec: &ClusterSpec,
        number: usize,
        start: Instant,
        seed: u64,
        nodes: &[(String, String, String)],
    ) -> Cloud {
        let mut cloud = Cloud { number, start, ..Cloud::default() };
        for group in spec.groups().filter(|group| is_pool(group)) {
            let draw = Stream::new(seed, &format!("cloud/{}/{}", spec.id, group.name));
            cloud.pools.insert(group.name.as_str().into(), Pool { last: group.count, draw });
        }
        if cloud.pools.is_empty() {
            return cloud;
        }
        for (seat, (name, group, zone)) in nodes.iter().enumerate() {
            cloud.seats.insert(seat);
            if cloud.pools.contains_key(&**group) {
                let machine = Machine {
                    group: group.as_str().into(),
                    zone: zone.clone(),
                    seat,
                    stage: Stage::Up,
                    requested: start,
                    due: Instant::FAR_FUTURE,
                    notice_at: None,
                    taken_at: None,
                };
                cloud.machines.insert(name.as_str().into(), machine);
            }
        }
        cloud
    }
    /// Sets the first timers; once, when the world begins.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>) {
        for group in cx.spec.groups().filter(|group| is_pool(group)) {
            let Some(spot) = &group.supply.spot else { continue };
            for at in &spot.at {
                let task = Task::Interruption { group: group.name.as_str().into() };
                cx.timers.set(self.start + *at, Priority::Controller, task);
            }
            for name in self.names(&group.name) {
                self.interrupt_by_chance(cx, group, &name);
            }
        }
    }
    /// What happened since it was last asked.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }
    /// Whether anything may have changed since that was last asked.
    pub(crate) fn take_touched(&mut self) -> bool {
        std::mem::take(&mut self.touched)
    }
    /// The machines, by name.
    pub(crate) fn machines(&self) -> &BTreeMap<Arc<str>, Machine> {
        &self.machines
    }
    /// Names of a group's machines that are not leaving.
    fn names(&self, group: &str) -> Vec<Arc<str>> {
        self.of(group).map(|(name, _)| name.clone()).collect()
    }
    fn of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a Arc<str>, &'a Machine)> {
        self.machines.iter().filter(move |(_, m)| &*m.group == group && m.stage != Stage::Leaving)
    }
    /// How many machines were asked for, those counted that are not to be had.
    pub(crate) fn target(&self, group: &str) -> u32 {
        self.of(group).count() as u32
    }
    /// Asks for more machines of a group.
    pub(crate) fn increase(&mut self, cx: &mut Cx<'_>, group: &NodeGroup, by: u32) {
        self.touched = true;
        for _ in 0..by {
            self.request(cx, group, self.zone(group));
        }
    }
    /// Asks for one machine of a group in a zone; its name, unless there is none to be had.
    pub(crate) fn launch(&mut self, cx: &mut Cx<'_>, group: &NodeGroup, zone: &str) -> Option<Arc<str>> {
        if self.shortage(group, cx.now).is_some() {
            return None;
        }
        self.touched = true;
        self.request(cx, group, zone.to_owned())
    }
    /// Has a machine taken away, and the group be smaller by it.
    pub(crate) fn delete(&mut self, cx: &mut Cx<'_>, node: &str) {
        let Some((name, machine)) = self.machines.get_key_value(node) else { return };
        let (name, stage) = (name.clone(), machine.stage);
        self.touched = true;
        match stage {
            Stage::Leaving => {}
            Stage::Refused => self.forget(&name),
            Stage::Booting => {
                self.news.push(News::Off(name.clone()));
                self.forget(&name);
            }
            Stage::Joining | Stage::Up => self.stop(cx, &name),
        }
    }
    fn forget(&mut self, name: &str) {
        if let Some(machine) = self.machines.remove(name) {
            self.seats.remove(&machine.seat);
        }
    }
    /// A machine that has a node is off from now on.
    fn stop(&mut self, cx: &mut Cx<'_>, name: &Arc<str>) {
        let Some(machine) = self.machines.get_mut(name) else { return };
        machine.stage = Stage::Leaving;
        machine.notice_at = None;
        self.news.push(News::Off(name.clone()));
        self.step_at(cx, name, cx.now + NODE_GONE);
    }
    fn step_at(&mut self, cx: &mut Cx<'_>, name: &Arc<str>, at: Instant) {
        let Some(machine) = self.machines.get_mut(name) else { return };
        machine.due = at;
        cx.timers.set(at, Priority::Controller, Task::Machine { node: name.clone() });
    }
    /// Asks for one machine; its name.
    fn request(&mut self, cx: &mut Cx<'_>, group: &NodeGroup, zone: String) -> Option<Arc<str>> {
        let pool = self.pools.get_mut(&*group.name)?;
        pool.last += 1;
        let name: Arc<str> = format!("{}-{}-{}", cx.spec.id, group.name, pool.last).into();
        let seat = (0..).find(|seat| !self.seats.contains(seat)).unwrap_or(0);
        self.seats.insert(seat);
        let machine = Machine {
            group: group.name.as_str().into(),
            zone,
            seat,
            stage: Stage::Refused,
            requested: cx.now,
            due: Instant::FAR_FUTURE,
            notice_at: None,
            taken_at: None,
        };
        self.machines.insert(name.clone(), machine);
        self.try_to_boot(cx, group, &name);
        Some(name)
    }
    /// Whether there is no machine of a group to be had now; if so, until when (`None`: for good).
    fn shortage(&self, group: &NodeGroup, now: Instant) -> Option<Option<Instant>> {
        let short = group.supply.shortage?;
        let until = short.until.map(|until| self.start + until);
        let there = self.of(&group.name).filter(|(_, m)| m.stage != Stage::Refused).count() as u32;
        (there >= short.at_most && until.is_none_or(|until| now < until)).then_some(until)
    }
    /// Begins to boot a machine if there is one to be had; else tries again when the shortage is over.
    fn try_to_boot(&mut self, cx: &mut Cx<'_>, group: &NodeGroup, name: &Arc<str>) {
        if let Some(until) = self.shortage(group, cx.now) {
            if let Some(until) = until {
                self.step_at(cx, name, until);
            }
            return;
        }
        let Some(pool) = self.pools.get_mut(&*group.name) else { return };
        let boot = group.supply.boot.at((pool.draw.bits() >> 32) as u32);
        if let Some(machine) = self.machines.get_mut(name) {
            machine.stage = Stage::Booting;
        }
        self.news.push(News::On(name.clone(), group.name.as_str().into()));
        self.step_at(cx, name, cx.now + boot);
        self.interrupt_by_chance(cx, group, name);
    }
    /// The zone with the fewest machines of a group, as scaling groups balance theirs; the first of equals.
    fn zone(&self, group: &NodeGroup) -> String {
        let there = |zone: &&String| self.of(&group.name).filter(|(_, m)| m.zone == **zone).count();
        group.zones.iter().min_by_key(there).cloned().unwrap_or_default()
    }
    /// Draws when a machine will be taken away. Gaps of a Poisson process are exponential; whole seconds keep the last bits
    /// of `ln` out.
    fn interrupt_by_chance(&mut self, cx: &mut Cx<'_>, group: &NodeGroup, name: &Arc<str>) {
        let Some(rate) = group.supply.spot.as_ref().map(|spot| spot.per_hour).filter(|rate| *rate > 0.0)
        else {
            return;
        };
        let Some(pool) = self.pools.get_mut(&*group.name) else { return };
        let hours = -(1.0 - pool.draw.unit()).ln() / rate;
        let Some(gap) = Span::from_hours_f64(hours) else { return };
        let at = cx.now.saturating_add(Span::from_seconds(gap.as_seconds().max(1)));
        if let Some(machine) = self.machines.get_mut(name) {
            machine.notice_at = Some(at);
            cx.timers.set(at, Priority::Controller, Task::Machine { node: name.clone() });
        }
    }
    /// One machine of a group is to be taken away, by lot among those that are there and do not know of it.
    pub(crate) fn interrupt_one(&mut self, cx: &mut Cx<'_>, group: &str) {
        let there = self.of(group).filter(|(_, m)| m.stage == Stage::Up && m.taken_at.is_none());
        let there: Vec<Arc<str>> = there.map(|(name, _)| name.clone()).collect();
        let Some(pool) = self.pools.get_mut(group).filter(|_| !there.is_empty()) else { return };
        let lot = pool.draw.below(there.len() as u64) as usize;
        self.touched = true;
        let Some(group) = cx.spec.group(group) else { return };
        self.notify(cx, group, &there[lot]);
    }
    fn notify(&mut self, cx: &mut Cx<'_>, group: &NodeGroup, name: &Arc<str>) {
        let Some(spot) = &group.supply.spot else { return };
        let Some(machine) = self.machines.get_mut(name) else { return };
        let at = cx.now + spot.notice;
        (machine.notice_at, machine.taken_at) = (None, Some(at));
        if matches!(machine.stage, Stage::Joining | Stage::Up) {
            self.news.push(News::Notice(name.clone(), at));
        }
        cx.timers.set(at, Priority::Controller, Task::Machine { node: name.clone() });
    }
    /// Something is due of a machine.
    pub(crate) fn wake(&mut self, cx: &mut Cx<'_>, node: &str) {
        let Some((name, machine)) = self.machines.get_key_value(node) else { return };
        let (name, machine) = (name.clone(), machine.clone());
        self.touched = true;
        let Some(group) = cx.spec.group(&machine.group) else { return };
        if machine.stage != Stage::Leaving {
            if machine.taken_at.is_some_and(|at| at <= cx.now) {
                self.delete(cx, &name);
                // A group keeps its size: another takes its place. Karpenter asks for another itself.
                if group.node_pool.is_none() {
                    self.request(cx, group, self.zone(group));
                }
                return;
            }
            if machine.notice_at.is_some_and(|at| at <= cx.now) {
                self.notify(cx, group, &name);
            }
        }
        if machine.due > cx.now {
            return;
        }
        match machine.stage {
            Stage::Refused => self.try_to_boot(cx, group, &name),
            Stage::Booting => self.register(cx, group, &name, &machine),
            Stage::Joining => {
                mark_ready(cx, &name);
                self.advance(&name, Stage::Up);
            }
            Stage::Up => {}
            Stage::Leaving => {
                self.forget(&name);
                remove_node(cx, &name);
            }
        }
    }
    fn advance(&mut self, name: &str, stage: Stage) {
        if let Some(machine) = self.machines.get_mut(name) {
            (machine.stage, machine.due) = (stage, Instant::FAR_FUTURE);
        }
    }
    /// The kubelet of a machine that has booted registers its node, which has no network yet.
    fn register(&mut self, cx: &mut Cx<'_>, group: &NodeGroup, name: &Arc<str>, machine: &Machine) {
        let seat = NewNode { zone: &machine.zone, cluster: self.number, index: machine.seat, ready: false };
        let (node, lease) = new_node(cx.spec, group, name, &seat, cx.now, cx.names);
        cx.objects.put(lease);
        let stored = cx.objects.put(node);
        let message = format!("Node {name} event: Registered Node {name} in Controller");
        cx.normal(&About::new(&stored.object), NODES, "RegisteredNode", message);
        let Some(pool) = self.pools.get_mut(&*group.name) else { return };
        let join = group.supply.join.at((pool.draw.bits() >> 32) as u32);
        self.advance(name, Stage::Joining);
        self.step_at(cx, name, cx.now + join);
        if let Some(at) = machine.taken_at {
            self.news.push(News::Notice(name.clone(), at));
        }
    }
}

/// Takes the Node away whose machine is gone.
fn remove_node(cx: &mut Cx<'_>, name: &str) {
    let Some(stored) = cx.objects.get(Kind::Node, "", name).cloned() else { return };
    let Object::Node(_) = &stored.object else { return };
    let message = format!("Deleting node {name} because it does not exist in the cloud provider");
    cx.normal(&About::new(&stored.object), CLOUD, "DeletingNode", message);
    cx.objects.remove(Kind::Node, "", name);
}
