//! The clusters of a fleet and the one clock they share.
//!
//! Invariants: [`World::advance_to`] is the only way time passes. What happens is ordered by
//! (instant, priority, sequence); at one instant everything due is done and all controllers run until
//! quiet before the next. How the way between two instants is cut into steps changes nothing, and a
//! world saved between two instants goes on after loading as it would have (watch histories apart).
//! Time an API call takes is none: a write and all it sets off happen at one instant.

mod cluster;
mod gate;
mod imported;
mod machine;
pub(crate) mod pairs;
mod queue;
mod write;

use crate::apiserver::{Call, Request, Response, Status};
use crate::controllers::messages::QueueTraffic;
use crate::controllers::traffic::ServiceTraffic;
use crate::demo::Demo;
use crate::fault::Fault;
use crate::kind::Kind;
use crate::physics::{ByPod, EnergyTotals};
use crate::spending::Spending;
use crate::store::Objects;
use crate::traffic::Curve;
use cluster::Cluster;
use fleet::{ClusterId, ClusterSpec, FleetSpec, Instant, NodeName, Series, Watts};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) use machine::conditions as node_conditions;
pub(crate) use machine::{GROUP, NewNode, new_node};
pub(crate) use queue::{Priority, Queue, Task, Timers};

/// Most tasks at one instant; more means that something schedules itself without end.
const TASKS_PER_INSTANT_MAX: usize = 1_000_000;
/// Most refused inputs remembered; the oldest go first.
pub const REFUSED_MAX: usize = 1000;

/// Twin clusters in virtual time.
#[derive(Debug, Serialize, Deserialize)]
pub struct World {
    seed: u64,
    now: Instant,
    queue: Queue,
    clusters: BTreeMap<ClusterId, Cluster>,
    demo: Option<Demo>,
    refused: VecDeque<Refused>,
}

/// An input known beforehand that the API refused when its time came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When.
    pub at: Instant,
    /// Where.
    pub cluster: ClusterId,
    /// What it was about.
    pub object: String,
    /// Why.
    pub status: Status,
}

/// What is done to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeChange {
    /// It stops at once, with everything on it. The control plane notices after 50 s.
    Stop,
    /// It is told to shut down: its kubelet delays that until its pods have ended, if its group says for how long; else it
    /// stops at once.
    ShutDown,
    /// It starts again. One that is shutting down is not called back.
    Start,
}

/// Why a machine was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// No such cluster.
    #[error("cluster \"{0}\" is not in the fleet")]
    Cluster(ClusterId),
    /// No such node.
    #[error("cluster \"{0}\" has no node \"{1}\"")]
    Node(ClusterId, String),
}

impl World {
    /// The clusters of a fleet at `start`, nodes ready, empty but for the system's namespaces (and the
    /// demo's namespace and first Jobs, if the fleet has a demo stream). Configurations of schedulers must be ones that
    /// [`Config::read`](crate::scheduler::Config::read) takes; a fleet file names them as they are written.
    pub fn new(fleet: &FleetSpec, start: Instant, seed: u64) -> World {
        let mut queue = Queue::default();
        let mut clusters = BTreeMap::new();
        let namespace = fleet.demo.as_ref().map(|demo| demo.namespace.as_str());
        for (number, spec) in fleet.clusters.iter().enumerate() {
            let mut cluster = Cluster::new(spec, number, namespace, start, seed);
            cluster.begin(&mut queue, start);
            cluster.settle(&mut queue, start);
            clusters.insert(spec.id.clone(), cluster);
        }
        let homes: Vec<ClusterId> = fleet.clusters.iter().map(|c| c.id.clone()).collect();
        let demo = fleet.demo.as_ref().map(|spec| Demo::new(spec, homes, start, seed, &mut queue));
        let mut world = World { seed, now: start, queue, clusters, demo, refused: VecDeque::new() };
        world.advance_to(start);
        world
    }
    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }
    /// Seed of every random stream of this world.
    pub fn seed(&self) -> u64 {
        self.seed
    }
    /// Lets time pass until `to`, and everything due by then happen; nothing when `to` is in the past.
    pub fn advance_to(&mut self, to: Instant) {
        while let Some(at) = self.queue.next_at().filter(|at| *at <= to) {
            self.instant(at.max(self.now));
        }
        self.now = self.now.max(to);
    }
    /// Like [`World::advance_to`], but stops at the end of the first instant in which a Job, Pod or Node
    /// of any cluster changed, or a question was asked ([`World::questions`]), and says whether there was one.
    pub fn advance_until_change(&mut self, to: Instant) -> bool {
        let seen = self.versions();
        while let Some(at) = self.queue.next_at().filter(|at| *at <= to) {
            self.instant(at.max(self.now));
            if self.versions() != seen {
                return true;
            }
        }
        self.now = self.now.max(to);
        false
    }
    fn versions(&self) -> Vec<([u64; 3], u64)> {
        let last = |c: &Cluster| [Kind::Job, Kind::Pod, Kind::Node].map(|kind| c.objects.last_version(kind));
        self.clusters.values().map(|c| (last(c), c.under_way.asked())).collect()
    }
    /// Says whether somebody asks the webhooks that are to be asked about what controllers write, and answers ([`World::answer`]).
    /// Else nobody does, and their `failurePolicy` decides. It is no part of what is saved: say it again after loading.
    pub fn set_served(&mut self, served: bool) {
        for cluster in self.clusters.values_mut() {
            cluster.under_way.is_served = served;
        }
    }
    /// Questions to webhooks that are open, by cluster, the oldest first: writes of controllers wait for the answers, for
    /// `timeoutSeconds` of virtual time at most.
    pub fn questions(&self) -> impl Iterator<Item = (&ClusterId, u64, &Call)> {
        self.clusters.iter().flat_map(|(id, cluster)| {
            cluster.under_way.questions().into_iter().map(move |(number, call)| (id, number, call))
        })
    }
    /// Whether a question is open.
    pub fn has_questions(&self) -> bool {
        self.clusters.values().any(|cluster| cluster.under_way.is_open())
    }
    /// Answers a question: the `AdmissionReview` that came back, or why none did. What the controllers then do is done at this
    /// instant. An answer to no open question, because it came too late, changes nothing.
    pub fn answer(&mut self, cluster: &ClusterId, question: u64, reply: Result<serde_json::Value, String>) {
        if let Some(found) = self.clusters.get_mut(cluster) {
            found.answer(&mut self.queue, self.now, question, reply);
        }
    }
    /// When something may happen next; not every such instant brings a change.
    pub fn next_event(&self) -> Option<Instant> {
        self.queue.next_at()
    }
    /// The clusters, by name.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterId> {
        self.clusters.keys()
    }
    /// The objects of a cluster.
    pub fn objects(&self, cluster: &ClusterId) -> Option<&Objects> {
        self.clusters.get(cluster).map(|c| &c.objects)
    }
    /// What a cluster was made from.
    pub fn spec(&self, cluster: &ClusterId) -> Option<&ClusterSpec> {
        self.clusters.get(cluster).map(|c| &c.spec)
    }
    /// Uid by which the real cluster is known that a cluster was imported from.
    pub fn imported_uid(&self, cluster: &ClusterId) -> Option<&str> {
        self.clusters.get(cluster)?.uid.as_deref()
    }
    /// Carries out a write at this instant, and everything it sets off. A refusal is the API's; an
    /// unknown cluster gives 404.
    pub fn request(&mut self, cluster: &ClusterId, request: &Request) -> Result<Response, Status> {
        let Some(found) = self.clusters.get_mut(cluster) else {
            return Err(Status::new(404, "NotFound", format!("cluster \"{cluster}\" is not in the fleet")));
        };
        let answer = found.write(request, self.now)?;
        found.settle(&mut self.queue, self.now);
        Ok(answer)
    }
    /// Has a request carried out at `at` (now, if that is past). One that is refused then is kept in
    /// [`World::refused`].
    pub fn schedule(&mut self, at: Instant, cluster: &ClusterId, request: Request) {
        self.queue.push(at.max(self.now), Priority::Input, cluster, Task::Input(Box::new(request)));
    }
    /// Inputs that were refused, oldest first, at most [`REFUSED_MAX`].
    pub fn refused(&self) -> impl Iterator<Item = &Refused> {
        self.refused.iter()
    }
    /// What a cluster has used so far. Reading changes nothing.
    pub fn energy(&self, cluster: &ClusterId) -> Option<EnergyTotals> {
        self.clusters.get(cluster).map(|c| c.physics.totals(self.now))
    }
    /// What each machine of a cluster has used so far, by name; those that are gone are not among them.
    pub fn energy_by_node(&self, cluster: &ClusterId) -> Option<Vec<(NodeName, EnergyTotals)>> {
        self.clusters.get(cluster).map(|c| c.physics.by_node(self.now))
    }
    /// Which pods of a cluster bear what of its energy above idle. Reading changes nothing.
    pub fn energy_by_pod(&self, cluster: &ClusterId) -> Option<ByPod> {
        self.clusters.get(cluster).map(|c| c.physics.by_pod(self.now))
    }
    /// What a cluster has cost so far: machines, disks, and traffic between zones. Reading changes nothing.
    pub fn spending(&self, cluster: &ClusterId) -> Option<Spending> {
        self.clusters.get(cluster).map(|c| c.spending(self.now))
    }
    /// Power a cluster draws at this instant, PUE included.
    pub fn power(&self, cluster: &ClusterId) -> Option<Watts> {
        self.clusters.get(cluster).map(|c| c.physics.power())
    }
    /// The requests to the Services of a cluster that say what comes to them, by namespace and name. Reading changes nothing.
    pub fn traffic(&self, cluster: &ClusterId) -> Vec<ServiceTraffic> {
        self.clusters.get(cluster).map_or_else(Vec::new, |c| c.controllers.traffic.view(self.now))
    }
    /// Has requests come to a Service of a cluster as a curve says from when it is made on, whatever its annotations say;
    /// whether there is such a cluster. For recorded traces, which are too long for an annotation.
    pub fn set_requests(
        &mut self,
        cluster: &ClusterId,
        namespace: &str,
        service: &str,
        curve: Curve,
    ) -> bool {
        let Some(found) = self.clusters.get_mut(cluster) else { return false };
        found.set_requests(&mut self.queue, self.now, (namespace.into(), service.into()), curve);
        true
    }
    /// The queues that workloads of a cluster say they take messages from. Reading changes nothing.
    pub fn messages(&self, cluster: &ClusterId) -> Vec<QueueTraffic> {
        self.clusters.get(cluster).map_or_else(Vec::new, |c| c.controllers.messages.view(self.now))
    }
    /// Carbon intensity of a cluster's electricity from now on; whether there is such a cluster.
    pub fn set_intensity(&mut self, cluster: &ClusterId, intensity: Series) -> bool {
        let Some(found) = self.clusters.get_mut(cluster) else { return false };
        found.physics.set_intensity(Some(intensity), self.now);
        true
    }
    /// The certificate (PEM) by which pods of all clusters know their API server, for whoever serves it under TLS; whether it is
    /// another than before.
    pub fn set_authority(&mut self, authority: &str) -> bool {
        let (queue, now) = (&mut self.queue, self.now);
        let news = self.clusters.values_mut().map(|cluster| cluster.set_authority(queue, now, authority));
        news.fold(false, |any, news| any | news)
    }
    /// What whoever adds and takes away nodes of a cluster would have logged since an instant, and who: the cluster autoscaler
    /// of nodes that stay, and why, Karpenter of what it does; oldest first, the last few hundred.
    pub fn autoscaler_log(&self, cluster: &ClusterId, since: Instant) -> Vec<(Instant, String)> {
        self.clusters.get(cluster).map(|found| found.autoscaler_log(since)).unwrap_or_default()
    }
    /// Has the autoscaler of a cluster look every time, whether or not it may matter.
    #[cfg(test)]
    pub(crate) fn look_every_time(&mut self, cluster: &ClusterId) {
        if let Some(found) = self.clusters.get_mut(cluster) {
            found.look_every_time();
        }
    }
    /// Has a cluster keep this many pods that have ended.
    #[cfg(test)]
    pub(crate) fn keep_ended(&mut self, cluster: &ClusterId, pods: usize) {
        if let Some(found) = self.clusters.get_mut(cluster) {
            found.keep_ended(pods);
        }
    }
    /// Stops, shuts down or starts a machine. Doing what is already so changes nothing.
    pub fn set_node(
        &mut self,
        cluster: &ClusterId,
        node: &NodeName,
        change: NodeChange,
    ) -> Result<(), NodeError> {
        let found = self.clusters.get_mut(cluster).ok_or_else(|| NodeError::Cluster(cluster.clone()))?;
        if !found.set_machine(&mut self.queue, self.now, node.as_str(), change) {
            return Err(NodeError::Node(cluster.clone(), node.to_string()));
        }
        found.settle(&mut self.queue, self.now);
        Ok(())
    }
    /// Something goes wrong on a cluster from now on.
    ///
    /// # Errors
    /// There is no such cluster, or no such node in it. Of a zone without machines nothing is lost.
    pub fn begin_fault(&mut self, cluster: &ClusterId, fault: &Fault) -> Result<(), NodeError> {
        self.set_fault(cluster, fault, true)
    }
    /// It is over. A node that is gone meanwhile is no error.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn end_fault(&mut self, cluster: &ClusterId, fault: &Fault) -> Result<(), NodeError> {
        match self.set_fault(cluster, fault, false) {
            Err(NodeError::Node(..)) => Ok(()),
            other => other,
        }
    }
    fn set_fault(&mut self, cluster: &ClusterId, fault: &Fault, begins: bool) -> Result<(), NodeError> {
        let found = self.clusters.get_mut(cluster).ok_or_else(|| NodeError::Cluster(cluster.clone()))?;
        if let Err(node) = found.set_fault(&mut self.queue, self.now, fault, begins) {
            return Err(NodeError::Node(cluster.clone(), node));
        }
        found.settle(&mut self.queue, self.now);
        Ok(())
    }
    /// A node on which more is requested than it has, in words; `None` is as it should be, unless
    /// somebody bound pods by hand.
    pub fn overcommitted(&self) -> Option<String> {
        self.clusters.iter().find_map(|(id, cluster)| {
            let (node, amounts) = cluster.overcommitted()?;
            Some(format!("cluster \"{id}\", node \"{node}\": {amounts}"))
        })
    }
    /// Does everything due at `at`.
    fn instant(&mut self, at: Instant) {
        self.now = at;
        let mut done = 0;
        let mut touched = BTreeSet::new();
        loop {
            while let Some((id, task)) = self.queue.pop(at) {
                done += 1;
                assert!(
                    done <= TASKS_PER_INSTANT_MAX,
                    "more than {TASKS_PER_INSTANT_MAX} tasks at {at}, the last for {id}: {task:?}"
                );
                self.carry_out(&id, task);
                touched.insert(id);
            }
            let Some(id) = touched.pop_first() else { return };
            if let Some(cluster) = self.clusters.get_mut(&id) {
                cluster.settle(&mut self.queue, at);
            }
        }
    }
    fn carry_out(&mut self, id: &ClusterId, task: Task) {
        let Some(cluster) = self.clusters.get_mut(id) else { return };
        let request = match task {
            Task::Input(request) => *request,
            Task::Demo => {
                let Some(demo) = &mut self.demo else { return };
                demo.arrive(id, self.now, &mut self.queue)
            }
            other => {
                cluster.wake(&mut self.queue, self.now, other);
                return;
            }
        };
        if let Err(status) = cluster.write(&request, self.now) {
            let kind = request.kind.resource().plural;
            let body_name = request.body["metadata"]["name"].as_str();
            let name = if request.name.is_empty() { body_name.unwrap_or_default() } else { &request.name };
            let object = format!("{kind} {}/{name}", request.namespace);
            self.refused.push_back(Refused { at: self.now, cluster: id.clone(), object, status });
            if self.refused.len() > REFUSED_MAX {
                self.refused.pop_front();
            }
        }
    }
}
