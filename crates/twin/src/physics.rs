//! Power of the machines, integrated over virtual time: energy, carbon and money.
//!
//! A node draws `idle + (full − idle) · u`, times the cluster's PUE, where `u` is the share of its
//! vCPUs requested by containers that run (the linear model of the Cloud Carbon Footprint
//! methodology). Power is constant between changes, so each stretch is integrated when it ends, exactly
//! and in integers; nothing is sampled and reading changes nothing. Idle and dynamic parts are kept
//! apart. A machine that is off draws nothing but is still paid for. Left out: memory, GPUs, embodied
//! carbon, and what a Node's deletion does to the machine (nothing: it stays on).

use crate::amounts;
use crate::store::{Change, ChangeKind};
use fleet::{
    ClusterSpec, GramsCo2, Instant, Joules, Money, MoneyPerHour, NodeGroup, NodeName, NodePower, Series,
    Watts,
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
        self.cost += other.cost;
        self.busy_cpu_time += other.busy_cpu_time;
        self.cpu_time += other.cpu_time;
    }
}

/// One machine: its constants, its present state, and what it has used up to the last change.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Machine {
    /// Power at no load and what full load adds, PUE included.
    idle: Watts,
    span: Watts,
    /// Nanocores.
    capacity: i64,
    price: MoneyPerHour,
    on: bool,
    /// Nanocores requested by running containers.
    busy: i64,
    /// Since when the idle part and the dynamic part have been as they are.
    idle_since: Instant,
    busy_since: Instant,
    totals: EnergyTotals,
}

impl Machine {
    /// Adds the idle stretch up to `at` to `totals`.
    fn idle_until(&self, at: Instant, intensity: Option<&Series>, totals: &mut EnergyTotals) {
        let span = at - self.idle_since;
        totals.cost += self.price * span;
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
        let power = self.span.scaled(self.busy.clamp(0, self.capacity), self.capacity);
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
        (self.totals, self.busy_since) = (totals, at);
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
}

/// Whether a container of the pod runs, init containers included.
fn runs(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|s| [&s.container_statuses, &s.init_container_statuses]);
    statuses.flatten().flatten().any(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()))
}

impl Physics {
    pub(crate) fn add_machine(&mut self, name: &str, spec: &ClusterSpec, group: &NodeGroup, now: Instant) {
        self.add(name, spec.pue_milli, (group.power, group.price), group.vcpu, now);
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
            capacity: vcpu.saturating_mul(1_000_000_000),
            price,
            on: true,
            busy: 0,
            idle_since: now,
            busy_since: now,
            totals: EnergyTotals::default(),
        };
        self.machines.insert(name.into(), machine);
    }
    /// A machine is gone: it draws nothing and is no longer paid for. What it used stays counted.
    pub(crate) fn remove_machine(&mut self, name: &str, now: Instant) {
        if let Some(machine) = self.machines.remove(name) {
            self.gone.add(&machine.at(now, self.intensity.as_ref()));
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
    fn load(&mut self, node: &str, nanocores: i64, now: Instant) {
        if let Some(machine) = self.machines.get_mut(node) {
            machine.close_busy(now, self.intensity.as_ref());
            machine.busy += nanocores;
        }
    }
    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let Some(pod) = change.object.object.as_pod() else { return };
        let Some(uid) = pod.metadata.uid.as_deref() else { return };
        let runs = change.kind != ChangeKind::Deleted && runs(pod);
        let before = change.previous.as_ref().and_then(|previous| previous.object.as_pod());
        let changed = before.is_some_and(|before| before.metadata.generation != pod.metadata.generation);
        match (self.running.contains_key(uid), runs) {
            (false, true) => {
                let Some(node) = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) else { return };
                let nanocores = amounts::requested(pod).cpu_millis.saturating_mul(1_000_000);
                self.load(node, nanocores, now);
                self.running.insert(uid.into(), (node.into(), nanocores));
            }
            (true, false) => {
                if let Some((node, nanocores)) = self.running.remove(uid) {
                    self.load(&node, -nanocores, now);
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
                    self.load(&node, nanocores - had, now);
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
    pub(crate) fn by_node(&self, now: Instant) -> Vec<(NodeName, EnergyTotals)> {
        let each = self.machines.iter().filter_map(|(name, machine)| {
            Some((NodeName::new(name).ok()?, machine.at(now, self.intensity.as_ref())))
        });
        each.collect()
    }
    /// Power of all machines at this instant, PUE included.
    pub(crate) fn power(&self) -> Watts {
        let on = self.machines.values().filter(|m| m.on);
        on.map(|m| m.idle + m.span.scaled(m.busy.clamp(0, m.capacity), m.capacity)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::{GramsCo2PerKwh, Span};

    fn machine() -> Machine {
        Machine {
            idle: Watts::from_watts_f64(100.0),
            span: Watts::from_watts_f64(300.0),
            capacity: 8_000_000_000,
            price: MoneyPerHour::from_units_f64(0.4),
            on: true,
            busy: 0,
            idle_since: Instant::EPOCH,
            busy_since: Instant::EPOCH,
            totals: EnergyTotals::default(),
        }
    }

    #[test]
    fn energy_is_power_times_time_wherever_it_is_cut() {
        let hours = |n| Instant::EPOCH + Span::HOUR.scaled(n, 1);
        let grams = Series::constant(GramsCo2PerKwh::from_grams_f64(500.0));
        let mut physics = Physics { intensity: Some(grams), ..Physics::default() };
        physics.machines.insert("a".into(), machine());
        physics.load("a", 4_000_000_000, hours(1));
        assert_eq!(physics.power(), Watts::from_watts_f64(250.0));
        physics.load("a", -4_000_000_000, hours(3));
        physics.switch("a", false, hours(4));
        let totals = physics.totals(hours(10));
        // Four hours on at 100 W; two hours at half load: 150 W more.
        assert_eq!(totals.idle, Joules::from_kwh_f64(0.4));
        assert_eq!(totals.dynamic, Joules::from_kwh_f64(0.3));
        assert_eq!(totals.carbon(), GramsCo2::from_grams_f64(350.0));
        assert_eq!(totals.cost, Money::from_units_f64(4.0));
        assert_eq!(totals.busy_share(), 0.1);
        physics.set_intensity(None, hours(7));
        assert_eq!(physics.totals(hours(10)), totals);
    }
}
