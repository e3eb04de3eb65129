//! One cluster: its objects, its controllers, and the loop that runs them until they are quiet.

use super::gate::Gate;
use super::{NodeChange, Priority, Queue, Task, Timers, machine, write};
use crate::apiserver::{Context, Request, Response, Status};
use crate::cloud::{Cloud, News};
use crate::controllers::apiservice::ApiServices;
use crate::controllers::clusterautoscaler::ClusterAutoscaler;
use crate::controllers::clusterroleaggregation::ClusterRoleAggregation;
use crate::controllers::events::EventLimit;
use crate::controllers::garbagecollector::GarbageCollector;
use crate::controllers::job::JobController;
use crate::controllers::karpenter::Karpenter;
use crate::controllers::kubelet::Kubelet;
use crate::controllers::kubernetesservice::KubernetesService;
use crate::controllers::messages::Messages;
use crate::controllers::namespace::NamespaceController;
use crate::controllers::nodelifecycle::{self, NodeLifecycle};
use crate::controllers::podgc::PodGc;
use crate::controllers::resourcequota::ResourceQuota;
use crate::controllers::rootcacertpublisher::RootCaCertPublisher;
use crate::controllers::scheduler::Scheduler;
use crate::controllers::serviceaccounts::ServiceAccounts;
use crate::controllers::services::Services;
use crate::controllers::terminationhandler::TerminationHandler;
use crate::controllers::traffic::Traffic;
use crate::controllers::underway::UnderWay;
use crate::controllers::volumes::{AttachDetach, Binder};
use crate::controllers::workloads::Workloads;
use crate::controllers::{Cx, Place, ttlafterfinished};
use crate::fault::{ApiFault, Fault};
use crate::kind::Kind;
use crate::physics::Physics;
use crate::random::Stream;
use crate::spending::Spending;
use crate::store::{Change, Objects, Stored};
use crate::traffic::Curve;
use fleet::{ClusterSpec, Instant};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Most rounds of controllers at one instant: each round answers the changes of the one before, and no
/// chain of causes here is longer than a few dozen links, or than 5,000 pods in batches of 500.
const ROUNDS_MAX: usize = 10_000;
/// Controllers that write through an API server that may fail them.
const GATED: u32 = 18;

/// A cluster of a world.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cluster {
    pub(super) spec: ClusterSpec,
    pub(super) seed: u64,
    pub(super) objects: Objects,
    pub(super) names: Stream,
    pub(super) controllers: Controllers,
    pub(super) physics: Physics,
    /// Writes of its controllers that webhooks are being asked about.
    #[serde(default, skip_serializing_if = "UnderWay::is_idle")]
    pub(super) under_way: UnderWay,
    /// Of the real cluster it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<String>,
}

/// The state of every controller.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Controllers {
    namespace: NamespaceController,
    #[serde(skip)]
    kubernetesservice: KubernetesService,
    #[serde(skip)]
    apiservices: ApiServices,
    #[serde(default)]
    rootcacertpublisher: RootCaCertPublisher,
    #[serde(skip)]
    serviceaccounts: ServiceAccounts,
    #[serde(skip)]
    clusterroleaggregation: ClusterRoleAggregation,
    pub(super) garbagecollector: GarbageCollector,
    podgc: PodGc,
    nodelifecycle: NodeLifecycle,
    pub(super) job: JobController,
    #[serde(default)]
    binder: Binder,
    #[serde(default)]
    attachdetach: AttachDetach,
    #[serde(default)]
    workloads: Workloads,
    scheduler: Scheduler,
    #[serde(default, skip_serializing_if = "Services::is_idle")]
    services: Services,
    #[serde(default)]
    pub(super) traffic: Traffic,
    #[serde(default)]
    pub(super) messages: Messages,
    pub(super) kubelet: Kubelet,
    events: EventLimit,
    #[serde(skip)]
    resourcequota: ResourceQuota,
    #[serde(default)]
    cloud: Cloud,
    #[serde(default)]
    clusterautoscaler: ClusterAutoscaler,
    #[serde(default, skip_serializing_if = "Karpenter::is_off")]
    karpenter: Karpenter,
    #[serde(default, skip_serializing_if = "TerminationHandler::is_idle")]
    terminationhandler: TerminationHandler,
    #[serde(default, skip_serializing_if = "Gate::is_idle")]
    gate: Gate,
}

impl Controllers {
    fn observe(&mut self, cx: &mut Cx<'_>, change: &Change) {
        self.namespace.observe(change);
        self.serviceaccounts.observe(change);
        self.clusterroleaggregation.observe(change);
        self.rootcacertpublisher.observe(change);
        self.kubernetesservice.observe(change);
        self.apiservices.observe(change);
        self.garbagecollector.observe(change);
        self.podgc.observe(cx, change);
        self.nodelifecycle.observe(cx, change);
        self.job.observe(cx, change);
        self.workloads.observe(cx, change);
        ttlafterfinished::observe(cx, change);
        self.binder.observe(cx, change);
        self.attachdetach.observe(cx, change);
        self.scheduler.observe(cx, change);
        self.kubelet.observe(change);
        self.services.observe(cx, change);
        self.traffic.observe(change);
        self.messages.observe(change);
        self.events.observe(change);
        self.resourcequota.observe(change);
        self.clusterautoscaler.observe(cx, change);
        self.karpenter.observe(cx, change);
    }
    /// One round; whether any controller did something. Those of the control plane act if the API server lets them.
    fn run(&mut self, cx: &mut Cx<'_>, heard: bool) -> bool {
        let open = self.gate.open(cx, heard, GATED);
        let may = |n: u32| open & (1 << n) != 0;
        [
            may(0) && self.namespace.run(cx),
            may(1) && self.serviceaccounts.run(cx),
            may(2) && self.clusterroleaggregation.run(cx),
            may(3) && self.rootcacertpublisher.run(cx),
            may(4) && self.kubernetesservice.run(cx),
            may(16) && self.apiservices.run(cx),
            may(5) && self.garbagecollector.run(cx),
            may(6) && self.podgc.run(cx),
            may(7) && self.nodelifecycle.run(cx),
            may(8) && self.workloads.run(cx),
            may(9) && self.job.run(cx),
            may(10) && self.binder.run(cx),
            may(11) && self.attachdetach.run(cx),
            may(12) && self.scheduler.run(cx),
            self.kubelet.run(cx),
            may(13) && self.services.run(cx),
            self.run_traffic(cx),
            self.events.run(cx),
            may(14) && self.resourcequota.run(cx),
            may(15) && self.clusterautoscaler.run(cx, &mut self.cloud, &mut self.scheduler),
            may(17) && self.karpenter.run(cx, &mut self.cloud, &mut self.scheduler),
        ]
        .contains(&true)
    }
    /// Has requests and messages go on as things stand now; whether pods are used otherwise than before, which autoscalers hear of.
    fn run_traffic(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut news = self.traffic.run(cx, &self.kubelet);
        news.append(&mut self.messages.run(cx, &self.kubelet));
        news.iter().for_each(|namespace| self.workloads.stir(namespace));
        !news.is_empty()
    }
}

impl Controllers {
    /// A machine is off, with all that ran on it.
    fn turn_off(&mut self, cx: &mut Cx<'_>, physics: &mut Physics, node: &str) {
        physics.switch(node, false, cx.now);
        self.kubelet.machine_down(cx, node);
        self.traffic.look_at_all();
        self.messages.look_at_all();
    }
    /// What happened to machines concerns their power and what runs on them.
    fn hear(&mut self, cx: &mut Cx<'_>, physics: &mut Physics, news: News) {
        match news {
            News::On(node, group) => {
                if let Some(group) = cx.spec.group(&group) {
                    physics.add_machine(&node, cx.spec, group, cx.now);
                }
            }
            News::Off(node) => {
                physics.remove_machine(&node, cx.now);
                self.kubelet.machine_gone(&node);
                self.traffic.look_at_all();
                self.messages.look_at_all();
            }
            News::Notice(node, at) => {
                if !self.karpenter.interrupt(cx, &node) {
                    self.terminationhandler.begin(cx, &node, at);
                }
            }
        }
    }
}

impl Cluster {
    pub(super) fn new(
        spec: &ClusterSpec,
        number: usize,
        namespace: Option<&str>,
        start: Instant,
        seed: u64,
    ) -> Cluster {
        let mut cluster = Cluster {
            spec: spec.clone(),
            seed,
            objects: Objects::new(),
            names: Stream::new(seed, &format!("names/{}", spec.id)),
            controllers: Controllers::default(),
            physics: Physics::default(),
            under_way: UnderWay::default(),
            uid: None,
        };
        let (objects, names) = (&mut cluster.objects, &mut cluster.names);
        machine::found(spec, number, namespace, start, objects, names);
        for (group, names) in machine::node_names(spec) {
            for name in names {
                cluster.physics.add_machine(&name, spec, group, start);
            }
        }
        cluster.controllers.cloud = Cloud::new(spec, number, start, seed, &machine::nodes(spec));
        cluster
    }
    /// Sets the timers a cluster begins with.
    pub(super) fn begin(&mut self, queue: &mut Queue, now: Instant) {
        let (controllers, _, mut cx) = self.parts(queue, now);
        controllers.cloud.begin(&mut cx);
        controllers.clusterautoscaler.begin(&mut cx);
        controllers.karpenter.begin(&cx);
    }
    pub(super) fn parts<'a>(
        &'a mut self,
        queue: &'a mut Queue,
        now: Instant,
    ) -> (&'a mut Controllers, &'a mut Physics, Cx<'a>) {
        let timers = Timers { queue, cluster: &self.spec.id };
        let scheduler = self.spec.scheduler.as_ref();
        let (objects, names, under_way) = (&mut self.objects, &mut self.names, &mut self.under_way);
        let cx = Cx { objects, now, names, timers, under_way, seed: self.seed, scheduler, spec: &self.spec };
        (&mut self.controllers, &mut self.physics, cx)
    }
    /// Carries out a write of the API. Controllers have not heard of it until [`Cluster::settle`].
    pub(super) fn write(&mut self, request: &Request, now: Instant) -> Result<Response, Status> {
        if let Some(refusal) = self.controllers.gate.refusal() {
            return Err(refusal);
        }
        write::write(&mut Context { objects: &mut self.objects, now, names: &mut self.names }, request)
    }
    /// Lets the controllers hear of every change and act, until none has anything left to do.
    pub(super) fn settle(&mut self, queue: &mut Queue, now: Instant) {
        let id = self.spec.id.clone();
        let (controllers, physics, mut cx) = self.parts(queue, now);
        cx.objects.compact(now);
        for _ in 0..ROUNDS_MAX {
            let mut heard = false;
            while let Some(change) = cx.objects.next_unseen() {
                heard = true;
                physics.observe(&change, now);
                controllers.observe(&mut cx, &change);
            }
            let acted = controllers.run(&mut cx, heard);
            let news = controllers.cloud.take_news();
            let any = !news.is_empty();
            for each in news {
                controllers.hear(&mut cx, physics, each);
            }
            let off = controllers.kubelet.take_off();
            let any = any || !off.is_empty();
            off.iter().for_each(|node| controllers.turn_off(&mut cx, physics, node));
            if !heard && !acted && !any {
                for task in cx.under_way.rest() {
                    cx.timers.set(now, Priority::Controller, task);
                }
                return;
            }
        }
        unreachable!("controllers of cluster {id} did not come to rest at {now} within {ROUNDS_MAX} rounds");
    }
    /// Carries out a timer.
    pub(super) fn wake(&mut self, queue: &mut Queue, now: Instant, task: Task) {
        let (controllers, _, mut cx) = self.parts(queue, now);
        if controllers.gate.is_down() && !task.goes_on_alone() {
            return controllers.gate.keep(task);
        }
        match task {
            Task::Pod { uid, turn } => controllers.kubelet.wake(&mut cx, &uid, turn),
            Task::Job { uid } => controllers.job.wake(&cx, &uid),
            Task::Expire { namespace, name, uid } => {
                ttlafterfinished::expire(&mut cx, &(namespace, name), &uid);
            }
            Task::Evict { namespace, name, uid } => {
                nodelifecycle::consider(&mut cx, &(namespace, name), Some(&uid));
            }
            Task::Silence { node, turn } => {
                if controllers.kubelet.notice(&node, turn) {
                    nodelifecycle::mark_unreachable(&mut cx, &node);
                }
            }
            Task::NeverPosted { node, uid } => nodelifecycle::mark_never_posted(&mut cx, &node, &uid),
            Task::Workload { kind, namespace, name } => {
                controllers.workloads.wake(&cx, kind, (namespace, name));
            }
            Task::Pressure { node } => controllers.kubelet.look_at_node(&mut cx, &node),
            Task::StaticPods { node } => controllers.kubelet.look_at_statics(&node),
            Task::Shutdown { node } => controllers.kubelet.group_is_late(&mut cx, &node),
            Task::Taint => controllers.nodelifecycle.wake(),
            Task::EndedPods => controllers.podgc.wake(&cx),
            Task::Unschedulable => controllers.scheduler.flush(&mut cx),
            Task::Volume { uid, place } => controllers.binder.wake_up(&mut cx, &uid, &place),
            Task::Attachment { name, uid } => controllers.attachdetach.wake(&mut cx, &name, &uid),
            Task::Binding { uid } => controllers.scheduler.give_up_binding(&mut cx, &uid),
            Task::Machine { node } => controllers.cloud.wake(&mut cx, &node),
            Task::Interruption { group } => controllers.cloud.interrupt_one(&mut cx, &group),
            Task::Termination { node } => controllers.terminationhandler.wake(&mut cx, &node),
            Task::Autoscaler => controllers.clusterautoscaler.wake(&cx),
            Task::Karpenter => controllers.karpenter.wake(&cx),
            Task::Traffic { namespace, name } => controllers.traffic.wake(now, (namespace, name)),
            Task::Messages { namespace, name } => controllers.messages.wake(now, (namespace, name)),
            Task::Review { question } => {
                if let Some(task) = self.under_way.expire(question) {
                    self.wake(queue, now, task);
                }
            }
            Task::Retry | Task::Input(_) | Task::Demo => {}
        }
    }
    /// A webhook has answered a question about what a controller writes.
    pub(super) fn answer(
        &mut self,
        queue: &mut Queue,
        now: Instant,
        question: u64,
        reply: Result<serde_json::Value, String>,
    ) {
        if let Some(task) = self.under_way.answer(question, reply) {
            self.wake(queue, now, task);
            self.settle(queue, now);
        }
    }
    /// Has pods told by which certificate they know their API server; whether that is news.
    pub(super) fn set_authority(&mut self, queue: &mut Queue, now: Instant, authority: &str) -> bool {
        let (controllers, _, cx) = self.parts(queue, now);
        if !controllers.rootcacertpublisher.set_authority(cx.objects, authority) {
            return false;
        }
        self.settle(queue, now);
        true
    }
    /// Has requests come to a Service as a curve says.
    pub(super) fn set_requests(&mut self, queue: &mut Queue, now: Instant, service: Place, curve: Curve) {
        let (controllers, _, cx) = self.parts(queue, now);
        controllers.traffic.give(&cx, service, curve);
        self.settle(queue, now);
    }
    /// Stops, shuts down or starts a machine; whether there is one of that name.
    pub(super) fn set_machine(
        &mut self,
        queue: &mut Queue,
        now: Instant,
        node: &str,
        change: NodeChange,
    ) -> bool {
        let (controllers, physics, mut cx) = self.parts(queue, now);
        let Some(up) = controllers.kubelet.is_up(node) else { return false };
        // What was told to stop for good does not come back in the moment until its node is gone.
        if controllers.kubelet.is_gone(node) {
            return true;
        }
        match (up, change) {
            (true, NodeChange::ShutDown) if controllers.kubelet.shut_down(&mut cx, node) => {}
            (true, NodeChange::Stop | NodeChange::ShutDown) => {
                controllers.turn_off(&mut cx, physics, node);
            }
            (false, NodeChange::Start) => {
                physics.switch(node, true, now);
                if controllers.kubelet.machine_up(&mut cx, node) {
                    nodelifecycle::mark_ready(&mut cx, node);
                }
            }
            _ => {}
        }
        controllers.traffic.look_at_all();
        controllers.messages.look_at_all();
        true
    }
    /// Has something go wrong, or end; the name of a node that is not there is an error.
    pub(super) fn set_fault(
        &mut self,
        queue: &mut Queue,
        now: Instant,
        fault: &Fault,
        begins: bool,
    ) -> Result<(), String> {
        let change = if begins { NodeChange::Stop } else { NodeChange::Start };
        let seed = self.seed;
        let (controllers, _, mut cx) = self.parts(queue, now);
        let known = |node: &String| controllers.kubelet.is_up(node).map(|_| ()).ok_or_else(|| node.clone());
        match fault {
            Fault::Crash(node) => {
                known(node)?;
                self.set_machine(queue, now, node, change);
                return Ok(());
            }
            Fault::Zone(zone) => {
                let of_zone = |stored: &&Arc<Stored>| {
                    stored.object.as_node().is_some_and(|node| crate::controllers::node::zone(node) == *zone)
                };
                let nodes = cx.objects.list(Kind::Node, None).filter(of_zone);
                let nodes: Vec<String> = nodes.map(|stored| stored.object.name().to_owned()).collect();
                for node in nodes {
                    self.set_machine(queue, now, &node, change);
                }
                return Ok(());
            }
            Fault::Partition(node) => {
                known(node)?;
                if begins {
                    controllers.kubelet.cut(&mut cx, node);
                } else if controllers.kubelet.rejoin(&mut cx, node) {
                    nodelifecycle::mark_ready(&mut cx, node);
                }
            }
            Fault::Slow(node, percent) => {
                known(node)?;
                controllers.kubelet.set_speed(&mut cx, node, if begins { *percent } else { 100 });
            }
            Fault::Disk(node, bytes) => {
                known(node)?;
                let bytes = if begins { bytes.as_bytes() } else { 0 };
                controllers.kubelet.fill_disk(&mut cx, node, bytes);
            }
            Fault::Registry => controllers.kubelet.set_registry(!begins),
            Fault::Metrics => {
                cx.objects.set_metrics(!begins);
                controllers.workloads.stir_all();
            }
            Fault::Api(fault) => {
                if begins {
                    controllers.gate.begin(*fault, seed);
                } else {
                    controllers.gate.end(&mut cx);
                }
                if begins && *fault == ApiFault::Down {
                    controllers.kubelet.mute_all();
                } else {
                    for node in controllers.kubelet.unmute_all(&mut cx) {
                        nodelifecycle::mark_ready(&mut cx, &node);
                    }
                }
            }
        }
        controllers.traffic.look_at_all();
        controllers.messages.look_at_all();
        Ok(())
    }
    pub(super) fn autoscaler_log(&self, since: Instant) -> Vec<(Instant, String)> {
        let named = |component: &str, (at, line): &(Instant, String)| (*at, format!("{component}: {line}"));
        let autoscaler =
            self.controllers.clusterautoscaler.said.since(since).map(|own| named("cluster-autoscaler", own));
        autoscaler
            .chain(self.controllers.karpenter.said.since(since).map(|own| named("karpenter", own)))
            .collect()
    }
    #[cfg(test)]
    pub(super) fn look_every_time(&mut self) {
        self.controllers.clusterautoscaler.every = true;
        self.controllers.karpenter.every = true;
    }
    #[cfg(test)]
    pub(super) fn keep_ended(&mut self, pods: usize) {
        self.controllers.podgc.keep = pods;
    }
    pub(super) fn spending(&self, now: Instant) -> Spending {
        let machines = self.physics.totals(now).cost;
        let crossed = self.controllers.traffic.crossed(now);
        Spending::new(&self.spec.tariffs, machines, self.physics.disks(now), crossed)
    }
    pub(super) fn overcommitted(&self) -> Option<(&str, String)> {
        self.controllers.scheduler.overcommitted()
    }
}
