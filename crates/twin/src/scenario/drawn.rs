//! What a scenario's cluster drew and cost until the end, for a report: kWh with PUE, grams, money.

use crate::World;
use crate::physics::Borne;
use fleet::{ClusterId, Provenance};
use serde::Serialize;

/// How sure the figures are, and where they are from.
const BASIS: &str = "estimated: power of the instance types (built-in table or fleet file) by the CPU that running containers \
    request, PUE included; carbon by the intensity of the grid zone; prices and embodied emissions of the machines while they were there";

/// Energy, money and emissions of making the machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drawn {
    /// How the figures are come by.
    pub basis: String,
    /// Energy the machines draw doing nothing, kWh.
    pub idle_kwh: f64,
    /// Energy of the work on them, kWh: pods that run, and those that have ended.
    pub dynamic_kwh: f64,
    /// Emissions of all that energy, g CO2e; `None`: no intensity is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gco2e: Option<f64>,
    /// Where the intensity is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intensity_from: Option<Provenance>,
    /// Emissions of making the machines, g CO2e; unknown ones count as none.
    pub embodied_gco2e: f64,
    /// Price of the machines, in `currency`.
    pub cost: f64,
    /// ISO 4217 code.
    pub currency: String,
    /// What pods bear that run, by namespace and name.
    pub pods: Vec<DrawnByPod>,
    /// What pods bore that have ended, kWh.
    pub ended_kwh: f64,
    /// What pods bore that served the cluster and have ended, kWh.
    pub ended_shared_kwh: f64,
}

/// What one pod bears.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrawnByPod {
    /// `namespace/name`.
    pub pod: String,
    /// Its node.
    pub node: String,
    /// Whether it serves the cluster.
    pub shared: bool,
    /// Its part of the energy above idle, kWh.
    pub kwh: f64,
}

impl Drawn {
    /// All energy, kWh.
    pub fn kwh(&self) -> f64 {
        self.idle_kwh + self.dynamic_kwh
    }
    /// Until now.
    pub(super) fn by(
        world: &World,
        home: &ClusterId,
        currency: &str,
        intensity_from: Option<Provenance>,
    ) -> Drawn {
        let (totals, by_pod) = (world.energy(home), world.energy_by_pod(home));
        let (totals, by_pod) = (totals.unwrap_or_default(), by_pod.unwrap_or_default());
        let kwh = |borne: Borne| borne.energy.as_kwh_f64();
        let pods = by_pod.pods.iter().map(|pod| DrawnByPod {
            pod: format!("{}/{}", pod.namespace, pod.name),
            node: pod.node.clone(),
            shared: pod.shared,
            kwh: kwh(pod.borne),
        });
        Drawn {
            basis: BASIS.to_owned(),
            idle_kwh: totals.idle.as_kwh_f64(),
            dynamic_kwh: totals.dynamic.as_kwh_f64(),
            gco2e: intensity_from.as_ref().map(|_| totals.carbon().as_grams_f64()),
            intensity_from,
            embodied_gco2e: totals.embodied.as_grams_f64(),
            cost: totals.cost.as_units_f64(),
            currency: currency.to_owned(),
            pods: pods.collect(),
            ended_kwh: kwh(by_pod.ended),
            ended_shared_kwh: kwh(by_pod.ended_shared),
        }
    }
}
