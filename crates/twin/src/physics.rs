//! Power of the machines, integrated over virtual time: energy, carbon and money, by machine and by pod.
//!
//! A node draws what its instance type does at the share of its vCPUs that running containers request: a line through the
//! points at 0, 10, 50 and 100 % where the table has them (Teads' AWS EC2 dataset: CPU, memory, GPUs and the
//! rest of the machine), else through idle and full; times the cluster's PUE. What that is above idle is borne by the pods that
//! run, in proportion to the CPU they request; idle power is borne by nobody. Power is constant between changes, so each
//! stretch is integrated when it ends, exactly and in integers; nothing is sampled and reading changes nothing. A machine
//! that is off draws nothing but is still paid for; one that is gone is neither, and what it used stays counted. Invariants:
//! pods, those that have ended, and idle sum to the cluster to the last unit, and so do machines and those that are gone.
//! Embodied emissions are those of the instance type while the machine is there, on or off, without PUE; unknown ones count
//! as none. Left out: power that follows what pods use rather than request.

mod disks;

use crate::amounts;
use crate::controllers::owned::controller;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use disks::Disks;
use fleet::quantity::split;
use fleet::{
    ClusterSpec, GramsCo2, GramsCo2PerHour, Instant, Joules, Money, MoneyPerHour, NodeGroup, NodeName,
    NodePower, PowerCurve, Series, Watts,
};
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was used from the start of the world until now. PUE is included in energy and carbon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnergyTotals {
    /// Energy the machines draw doing nothing.
    pub idle: Joules,
    /// Energy of the work on them.
    pub dynamic: Joules,
    /// Carbon of `idle`; zero while the cluster has no intensity.
    pub carbon_idle: GramsCo2,
    /// Carbon of `dynamic`; zero while the cluster has no intensity.
    pub carbon_dynamic: GramsCo2,
    /// Emissions of making the machines, spread over their life; unknown ones count as none.
    #[serde(default)]
    pub embodied: GramsCo2,
    /// Price of the machines, busy or not.
    pub cost: Money,
    /// CPU requested by running containers, in nanocores × nanoseconds.
    pub busy_cpu_time: i128,
    /// CPU the machines have, in nanocores × nanoseconds, off or not.
    pub cpu_time: i128,
}

impl EnergyTotals {
    /// Idle and dynamic energy together.
    pub fn energy(&self) -> Joules {
        self.idle + self.dynamic
    }
    /// Idle and dynamic carbon together.
    pub fn carbon(&self) -> GramsCo2 {
        self.carbon_idle + self.carbon_dynamic
    }
    /// Share of the CPU there was that was requested by running containers, 0 to 1.
    pub fn busy_share(&self) -> f64 {
        if self.cpu_time == 0 { 0.0 } else { self.busy_cpu_time as f64 / self.cpu_time as f64 }
    }
    fn add(&mut self, other: &EnergyTotals) {
        self.idle += other.idle;
        self.dynamic += other.dynamic;
        self.carbon_idle += other.carbon_idle;
        self.carbon_dynamic += other.carbon_dynamic;
        self.embodied += other.embodied;
        self.cost += other.cost;
        self.busy_cpu_time += other.busy_cpu_time;
        self.cpu_time += other.cpu_time;
    }
}

/// What pods bear of the energy above idle, PUE included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Borne {
    /// Energy.
    pub energy: Joules,
    /// Carbon of it; zero while the cluster has no intensity.
    pub carbon: GramsCo2,
}

impl Borne {
    fn add(&mut self, other: Borne) {
        self.energy += other.energy;
        self.carbon += other.carbon;
    }
}

/// What one pod that runs has borne so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodEnergy {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Node it runs on.
    pub node: String,
    /// Whether it serves the cluster: it is of a system namespace (`kube-…`) or of a DaemonSet.
    pub shared: bool,
    /// What it bore.
    pub borne: Borne,
}

/// Who bears what of a cluster's energy. `pods`, `ended` and `ended_shared` sum to the dynamic part of the totals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ByPod {
    /// Pods that run, by namespace and name.
    pub pods: Vec<PodEnergy>,
    /// Pods that have ended.
    pub ended: Borne,
    /// Those among them that served the cluster: they are not in `ended`.
    pub ended_shared: Borne,
}

/// A pod that runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Draw {
    /// Nanocores it requests.
    nanocores: i64,
    shared: bool,
    place: (Arc<str>, Arc<str>),
    borne: Borne,
}

/// One machine: its constants, its present state, and what it has used up to the last change.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Machine {
    /// Power at no load and what full load adds, PUE included.
    idle: Watts,
    span: Watts,
    /// What 10 % and 50 % load add, PUE included; `None`: in proportion.
    #[serde(default)]
    curve: Option<PowerCurve>,
    /// Nanocores.
    capacity: i64,
    price: MoneyPerHour,
    #[serde(default)]
    embodied: Option<GramsCo2PerHour>,
    on: bool,
    /// Nanocores requested by running containers.
    busy: i64,
    /// Since when the idle part and the dynamic part have been as they are.
    idle_since: Instant,
    busy_since: Instant,
    totals: EnergyTotals,
    /// Pods that run, by uid.
    #[serde(default)]
    pods: BTreeMap<Arc<str>, Draw>,
    /// What pods bore that have ended: others, and those that served the cluster.
    #[serde(default)]
    ended: [Borne; 2],
}

impl Machine {
    /// What load adds to idle power, PUE included.
    fn dynamic(&self) -> Watts {
        let busy = self.busy.clamp(0, self.capacity);
        let Some(PowerCurve { tenth, half }) = self.curve else {
            return self.span.scaled(busy, self.capacity);
        };
        let (ten, fifty) = (self.capacity / 10, self.capacity / 2);
        let (from, to, at, length) = match busy {
            busy if busy <= ten => (Watts::ZERO, tenth, busy, ten),
            busy if busy <= fifty => (tenth, half, busy - ten, fifty - ten),
            busy => (half, self.span, busy - fifty, self.capacity - fifty),
        };
        from + (to - from).scaled(at, length.max(1))
    }
    /// Adds the idle stretch up to `at` to `totals`.
    fn idle_until(&self, at: Instant, intensity: Option<&Series>, totals: &mut EnergyTotals) {
        let span = at - self.idle_since;
        totals.cost += self.price * span;
        totals.embodied += self.embodied.map_or(GramsCo2::ZERO, |rate| rate * span);
        totals.cpu_time += i128::from(self.capacity) * i128::from(span.as_nanos());
        if self.on {
            totals.idle += self.idle * span;
            totals.carbon_idle +=
                intensity.map_or(GramsCo2::ZERO, |s| s.emissions(self.idle, self.idle_since, at));
        }
    }
    /// Adds the dynamic stretch up to `at` to `totals`.
    fn busy_until(&self, at: Instant, intensity: Option<&Series>, totals: &mut EnergyTotals) {
        if !self.on || self.busy == 0 {
            return;
        }
        let span = at - self.busy_since;
        let power = self.dynamic();
        totals.dynamic += power * span;
        totals.busy_cpu_time += i128::from(self.busy.min(self.capacity)) * i128::from(span.as_nanos());
        totals.carbon_dynamic +=
            intensity.map_or(GramsCo2::ZERO, |s| s.emissions(power, self.busy_since, at));
    }
    fn close_idle(&mut self, at: Instant, intensity: Option<&Series>) {
        let mut totals = self.totals;
        self.idle_until(at, intensity, &mut totals);
        (self.totals, self.idle_since) = (totals, at);
    }
    fn close_busy(&mut self, at: Instant, intensity: Option<&Series>) {
        let mut totals = self.totals;
        self.busy_until(at, intensity, &mut totals);
        for (uid, borne) in self.shares(&totals) {
            match uid.and_then(|uid| self.pods.get_mut(&uid)) {
                Some(pod) => pod.borne.add(borne),
                None => self.ended[0].add(borne),
            }
        }
        (self.totals, self.busy_since) = (totals, at);
    }
    /// What each pod bears of what came on top of the totals since the last change: in proportion to its CPU, so that the
    /// parts are the whole. `None`: a pod that was running when a world of an older program was saved.
    fn shares(&self, totals: &EnergyTotals) -> Vec<(Option<Arc<str>>, Borne)> {
        let energy = totals.dynamic - self.totals.dynamic;
        let carbon = totals.carbon_dynamic - self.totals.carbon_dynamic;
        if energy.is_zero() && carbon.is_zero() {
            return Vec::new();
        }
        let known: i64 = self.pods.values().map(|pod| pod.nanocores).sum();
        let weights = self.pods.values().map(|pod| pod.nanocores).chain([self.busy - known]);
        let weights: Vec<u64> = weights.map(|nanocores| nanocores.max(0) as u64).collect();
        let energy = split(energy.as_microjoules(), &weights);
        let carbon = split(carbon.as_micrograms(), &weights);
        let uids = self.pods.keys().cloned().map(Some).chain([None]);
        let parts = energy.into_iter().zip(carbon).map(|(energy, carbon)| Borne {
            energy: Joules::from_microjoules(energy),
            carbon: GramsCo2::from_micrograms(carbon),
        });
        uids.zip(parts).collect()
    }
    /// What each pod has borne until now.
    fn borne_by(&self, now: Instant, intensity: Option<&Series>) -> (BTreeMap<Arc<str>, Borne>, [Borne; 2]) {
        let totals = self.at(now, intensity);
        let mut pods: BTreeMap<Arc<str>, Borne> =
            self.pods.iter().map(|(uid, pod)| (uid.clone(), pod.borne)).collect();
        let mut ended = self.ended;
        for (uid, borne) in self.shares(&totals) {
            match uid.and_then(|uid| pods.get_mut(&uid)) {
                Some(pod) => pod.add(borne),
                None => ended[0].add(borne),
            }
        }
        (pods, ended)
    }
    fn at(&self, now: Instant, intensity: Option<&Series>) -> EnergyTotals {
        let mut totals = self.totals;
        self.idle_until(now, intensity, &mut totals);
        self.busy_until(now, intensity, &mut totals);
        totals
    }
}

/// The machines of one cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Physics {
    machines: BTreeMap<Arc<str>, Machine>,
    /// Running pods by uid: where, and their nanocores.
    running: BTreeMap<Arc<str>, (Arc<str>, i64)>,
    intensity: Option<Series>,
    /// What machines used that are gone.
    #[serde(default)]
    gone: EnergyTotals,
    /// What pods bore of that: others, and those that served the cluster.
    #[serde(default)]
    gone_borne: [Borne; 2],
    #[serde(default, skip_serializing_if = "Disks::is_empty")]
    disks: Disks,
}

/// Whether a container of the pod runs, init containers included.
fn runs(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|s| [&s.container_statuses, &s.init_container_statuses]);
    statuses.flatten().flatten().any(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()))
}

/// Whether a pod serves the cluster, as accounts of clusters say it (`ledger::allocation`).
fn is_shared(object: &Object) -> bool {
    let daemon = controller(object.meta()).is_some_and(|owner| owner.kind == "DaemonSet");
    daemon || object.namespace().starts_with("kube-")
}

impl Physics {
    pub(crate) fn add_machine(&mut self, name: &str, spec: &ClusterSpec, group: &NodeGroup, now: Instant) {
        self.add(name, spec.pue_milli, (group.power, group.price), group.vcpu, now);
        self.refine(name, spec.pue_milli, group.power.idle, (group.curve, group.embodied));
    }
    /// States more of a machine that was just added: what it draws in between, before PUE, and what making it emitted.
    pub(crate) fn refine(
        &mut self,
        name: &str,
        pue_milli: i64,
        idle: Watts,
        (curve, embodied): (Option<PowerCurve>, Option<GramsCo2PerHour>),
    ) {
        let Some(machine) = self.machines.get_mut(name) else { return };
        let with_pue = |watts: Watts| (watts - idle).scaled(pue_milli, 1000);
        let curve = curve
            .map(|PowerCurve { tenth, half }| PowerCurve { tenth: with_pue(tenth), half: with_pue(half) });
        (machine.curve, machine.embodied) = (curve, embodied);
    }
    /// Adds a machine of this power and price, with so many vCPUs.
    pub(crate) fn add(
        &mut self,
        name: &str,
        pue_milli: i64,
        (power, price): (NodePower, MoneyPerHour),
        vcpu: i64,
        now: Instant,
    ) {
        let machine = Machine {
            idle: power.idle.scaled(pue_milli, 1000),
            span: (power.full - power.idle).scaled(pue_milli, 1000),
            curve: None,
            capacity: vcpu.saturating_mul(1_000_000_000),
            price,
            embodied: None,
            on: true,
            busy: 0,
            idle_since: now,
            busy_since: now,
            totals: EnergyTotals::default(),
            pods: BTreeMap::new(),
            ended: [Borne::default(); 2],
        };
        self.machines.insert(name.into(), machine);
    }
    /// A machine is gone: it draws nothing and is no longer paid for. What it used stays counted.
    pub(crate) fn remove_machine(&mut self, name: &str, now: Instant) {
        if let Some(mut machine) = self.machines.remove(name) {
            machine.close_idle(now, self.intensity.as_ref());
            machine.close_busy(now, self.intensity.as_ref());
            self.gone.add(&machine.totals);
            let [own, shared] = machine.ended;
            self.gone_borne[0].add(own);
            self.gone_borne[1].add(shared);
            for pod in machine.pods.values() {
                self.gone_borne[usize::from(pod.shared)].add(pod.borne);
            }
        }
    }
    /// Intensity from now on; what was before is closed with the intensity it had.
    pub(crate) fn set_intensity(&mut self, series: Option<Series>, now: Instant) {
        for machine in self.machines.values_mut() {
            machine.close_idle(now, self.intensity.as_ref());
            machine.close_busy(now, self.intensity.as_ref());
        }
        self.intensity = series;
    }
    /// Switches a machine on or off.
    pub(crate) fn switch(&mut self, node: &str, on: bool, now: Instant) {
        if let Some(machine) = self.machines.get_mut(node) {
            machine.close_idle(now, self.intensity.as_ref());
            machine.close_busy(now, self.intensity.as_ref());
            machine.on = on;
        }
    }
    /// The machine of a node, its stretch of load closed, if it is there.
    fn closed(&mut self, node: &str, now: Instant) -> Option<&mut Machine> {
        let machine = self.machines.get_mut(node)?;
        machine.close_busy(now, self.intensity.as_ref());
        Some(machine)
    }
    fn start(&mut self, node: &str, uid: &Arc<str>, draw: Draw, now: Instant) {
        if let Some(machine) = self.closed(node, now) {
            machine.busy += draw.nanocores;
            machine.pods.insert(uid.clone(), draw);
        }
    }
    fn resize(&mut self, node: &str, uid: &str, by: i64, now: Instant) {
        if let Some(machine) = self.closed(node, now) {
            machine.busy += by;
            if let Some(pod) = machine.pods.get_mut(uid) {
                pod.nanocores += by;
            }
        }
    }
    fn end(&mut self, node: &str, uid: &str, nanocores: i64, now: Instant) {
        if let Some(machine) = self.closed(node, now) {
            machine.busy -= nanocores;
            if let Some(pod) = machine.pods.remove(uid) {
                machine.ended[usize::from(pod.shared)].add(pod.borne);
            }
        }
    }
    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        self.disks.observe(change, now);
        let Some(pod) = change.object.object.as_pod() else { return };
        let Some(uid) = pod.metadata.uid.as_deref() else { return };
        let runs = change.kind != ChangeKind::Deleted && runs(pod);
        let before = change.previous.as_ref().and_then(|previous| previous.object.as_pod());
        let changed = before.is_some_and(|before| before.metadata.generation != pod.metadata.generation);
        match (self.running.contains_key(uid), runs) {
            (false, true) => {
                let Some(node) = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) else { return };
                let nanocores = amounts::requested(pod).cpu_millis.saturating_mul(1_000_000);
                let object = &change.object.object;
                let place = (object.namespace().into(), object.name().into());
                let draw = Draw { nanocores, shared: is_shared(object), place, borne: Borne::default() };
                let uid: Arc<str> = uid.into();
                self.start(node, &uid, draw, now);
                self.running.insert(uid, (node.into(), nanocores));
            }
            (true, false) => {
                if let Some((node, nanocores)) = self.running.remove(uid) {
                    self.end(&node, uid, nanocores, now);
                }
            }
            // It may have been resized.
            (true, true) if changed => {
                let nanocores = amounts::requested(pod).cpu_millis.saturating_mul(1_000_000);
                if let Some((node, had)) = self
                    .running
                    .get_mut(uid)
                    .map(|own| (own.0.clone(), std::mem::replace(&mut own.1, nanocores)))
                {
                    self.resize(&node, uid, nanocores - had, now);
                }
            }
            _ => {}
        }
    }
    pub(crate) fn totals(&self, now: Instant) -> EnergyTotals {
        let mut totals = self.gone;
        for machine in self.machines.values() {
            totals.add(&machine.at(now, self.intensity.as_ref()));
        }
        totals
    }
    /// What disks have held, in bytes × nanoseconds, by class.
    pub(crate) fn disks(&self, now: Instant) -> BTreeMap<Arc<str>, i128> {
        self.disks.used(now)
    }
    pub(crate) fn by_node(&self, now: Instant) -> Vec<(NodeName, EnergyTotals)> {
        let each = self.machines.iter().filter_map(|(name, machine)| {
            Some((NodeName::new(name).ok()?, machine.at(now, self.intensity.as_ref())))
        });
        each.collect()
    }
    /// Power of all machines at this instant, PUE included.
    pub(crate) fn power(&self) -> Watts {
        let on = self.machines.values().filter(|m| m.on);
        on.map(|m| m.idle + m.dynamic()).sum()
    }
    /// Who bears what of the energy above idle.
    pub(crate) fn by_pod(&self, now: Instant) -> ByPod {
        let [ended, ended_shared] = self.gone_borne;
        let mut all = ByPod { pods: Vec::new(), ended, ended_shared };
        for (node, machine) in &self.machines {
            let (borne, [own, shared]) = machine.borne_by(now, self.intensity.as_ref());
            all.ended.add(own);
            all.ended_shared.add(shared);
            all.pods.extend(machine.pods.iter().map(|(uid, pod)| PodEnergy {
                namespace: pod.place.0.to_string(),
                name: pod.place.1.to_string(),
                node: node.to_string(),
                shared: pod.shared,
                borne: borne.get(uid).copied().unwrap_or_default(),
            }));
        }
        all.pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::{GramsCo2PerKwh, Span};
    use proptest::prelude::*;

    fn machine(curve: Option<PowerCurve>) -> Machine {
        Machine {
            idle: Watts::from_watts_f64(100.0),
            span: Watts::from_watts_f64(300.0),
            curve,
            capacity: 8_000_000_000,
            price: MoneyPerHour::from_units_f64(0.4),
            embodied: Some(GramsCo2PerHour::from_grams_f64(3.0)),
            on: true,
            busy: 0,
            idle_since: Instant::EPOCH,
            busy_since: Instant::EPOCH,
            totals: EnergyTotals::default(),
            pods: BTreeMap::new(),
            ended: [Borne::default(); 2],
        }
    }

    fn draw(name: &str, nanocores: i64, shared: bool) -> Draw {
        Draw { nanocores, shared, place: ("shop".into(), name.into()), borne: Borne::default() }
    }

    fn curve() -> PowerCurve {
        PowerCurve { tenth: Watts::from_watts_f64(80.0), half: Watts::from_watts_f64(200.0) }
    }

    #[test]
    fn energy_is_power_times_time_wherever_it_is_cut() {
        let hours = |n| Instant::EPOCH + Span::HOUR.scaled(n, 1);
        let grams = Series::constant(GramsCo2PerKwh::from_grams_f64(500.0));
        let mut physics = Physics { intensity: Some(grams), ..Physics::default() };
        physics.machines.insert("a".into(), machine(None));
        let uid: Arc<str> = "u".into();
        physics.start("a", &uid, draw("p", 4_000_000_000, false), hours(1));
        assert_eq!(physics.power(), Watts::from_watts_f64(250.0));
        physics.end("a", "u", 4_000_000_000, hours(3));
        physics.switch("a", false, hours(4));
        let totals = physics.totals(hours(10));
        // Four hours on at 100 W; two hours at half load: 150 W more.
        assert_eq!(totals.idle, Joules::from_kwh_f64(0.4));
        assert_eq!(totals.dynamic, Joules::from_kwh_f64(0.3));
        assert_eq!(totals.carbon(), GramsCo2::from_grams_f64(350.0));
        assert_eq!(totals.embodied, GramsCo2::from_grams_f64(30.0));
        assert_eq!(totals.cost, Money::from_units_f64(4.0));
        assert_eq!(totals.busy_share(), 0.1);
        assert_eq!(physics.by_pod(hours(10)).ended.carbon, GramsCo2::from_grams_f64(150.0));
        physics.set_intensity(None, hours(7));
        assert_eq!(physics.totals(hours(10)), totals);
        physics.remove_machine("a", hours(8));
        let kept = physics.totals(hours(10));
        assert_eq!((kept.energy(), kept.cost), (totals.energy(), Money::from_units_f64(3.2)));
    }

    #[test]
    fn power_goes_through_the_points_of_the_table() {
        let mut machine = machine(Some(curve()));
        let at = |machine: &mut Machine, percent: i64| {
            machine.busy = machine.capacity / 100 * percent;
            machine.dynamic().as_watts_f64()
        };
        let watts = [0, 5, 10, 30, 50, 75, 100, 130].map(|percent| at(&mut machine, percent));
        assert_eq!(watts, [0.0, 40.0, 80.0, 140.0, 200.0, 250.0, 300.0, 300.0]);
    }

    #[test]
    fn pods_share_the_curve_in_proportion() {
        let hours = |n| Instant::EPOCH + Span::HOUR.scaled(n, 1);
        let mut physics = Physics::default();
        physics.machines.insert("a".into(), machine(Some(curve())));
        let (web, agent): (Arc<str>, Arc<str>) = ("w".into(), "d".into());
        // Half load by one pod of 3 cores and one of 1: 200 W, of which 150 and 50.
        physics.start("a", &web, draw("web", 3_000_000_000, false), hours(0));
        physics.start("a", &agent, draw("agent", 1_000_000_000, true), hours(0));
        let kwh = |physics: &Physics, at: i64| {
            let all = physics.by_pod(hours(at));
            let of = |name: &str| all.pods.iter().find(|pod| pod.name == name).map(|pod| pod.borne.energy);
            (of("agent").map(Joules::as_kwh_f64), of("web").map(Joules::as_kwh_f64))
        };
        assert_eq!(kwh(&physics, 2), (Some(0.1), Some(0.3)));
        physics.end("a", "w", 3_000_000_000, hours(2));
        // Alone at 12.5 %: 80 W and a sixteenth of the way to 200 W.
        assert_eq!(kwh(&physics, 4), (Some(0.1 + 2.0 * 0.0875), None));
        let all = physics.by_pod(hours(4));
        assert_eq!((all.ended.energy, all.pods[0].shared), (Joules::from_kwh_f64(0.3), true));
    }

    /// What happens: after how many milliseconds, to which pod, with how many millicores.
    type Happening = (i64, usize, i64);

    proptest! {
        #[test]
        fn parts_sum_to_the_whole_to_the_last_unit(
            happenings in proptest::collection::vec((1_i64..5_000_000, 0_usize..6, 1_i64..5_000), 1..60),
            grams in proptest::collection::vec(0_i64..900_000, 1..30),
            bent in any::<bool>(),
        ) {
            let happenings: Vec<Happening> = happenings;
            let values = grams.iter().map(|milli| GramsCo2PerKwh::from_milligrams(*milli)).collect();
            let intensity = Series::new(Instant::EPOCH, Span::from_seconds(1000), values);
            let mut physics = Physics { intensity, ..Physics::default() };
            let nodes = ["a", "b"];
            for node in nodes {
                physics.machines.insert(node.into(), machine(bent.then(curve)));
            }
            let mut running: BTreeMap<usize, i64> = BTreeMap::new();
            let mut now = Instant::EPOCH;
            for (gap, pod, milli) in happenings {
                now += Span::from_millis(gap);
                let (node, uid) = (nodes[pod % 2], Arc::<str>::from(format!("u{pod}")));
                let nanocores = milli * 1_000_000;
                match (running.remove(&pod), milli % 3) {
                    (None, _) => {
                        physics.start(node, &uid, draw("p", nanocores, pod == 0), now);
                        running.insert(pod, nanocores);
                    }
                    (Some(had), 0) => {
                        physics.resize(node, &uid, nanocores - had, now);
                        running.insert(pod, nanocores);
                    }
                    (Some(had), _) => physics.end(node, &uid, had, now),
                }
                if milli == 4_999 {
                    physics.remove_machine("b", now);
                }
                let at = now + Span::from_millis(gap / 3);
                let (totals, by_pod) = (physics.totals(at), physics.by_pod(at));
                let parts = by_pod.pods.iter().map(|pod| pod.borne);
                let mut sum = Borne::default();
                parts.chain([by_pod.ended, by_pod.ended_shared]).for_each(|part| sum.add(part));
                prop_assert_eq!(sum, Borne { energy: totals.dynamic, carbon: totals.carbon_dynamic });
                let mut machines = physics.gone;
                physics.by_node(at).iter().for_each(|(_, of)| machines.add(of));
                prop_assert_eq!(machines, totals);
            }
        }
    }
}
