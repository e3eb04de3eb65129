//! What a scenario's cluster drew and cost until the end, for a report: kWh with PUE, grams, money.

use crate::World;
use crate::physics::Borne;
use fleet::quantity::significant;
use fleet::{ClusterId, Provenance};
use serde::Serialize;

/// How sure the figures are, and where they are from.
const BASIS: &str = "estimated: power of the instance types (built-in table or fleet file) by the CPU that running containers \
    request, PUE included; carbon by the intensity of the grid zone; prices and embodied emissions of the machines while they were there";
/// How sure what is paid for besides machines is, where its price is not stated.
const ASSUMED: &str = "assumed: list prices of AWS (gp3 in us-east-1, traffic between zones)";
const STATED: &str = "estimated: prices of the fleet file";

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
    /// Price of all, in `currency`: machines, disks, traffic between zones.
    pub cost: f64,
    /// Price of the machines.
    pub machines_cost: f64,
    /// What disks held and cost, by class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DrawnByDisks>,
    /// What answers that went from one zone to another weighed and cost, by Service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zone_traffic: Vec<DrawnByTraffic>,
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

/// What disks of a class held and cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrawnByDisks {
    /// The StorageClass.
    pub class: String,
    /// GiB × hours.
    pub gib_hours: f64,
    /// In the currency of the whole.
    pub cost: f64,
    /// How the price is come by.
    pub basis: String,
}

/// What answers of a Service weighed and cost that went from one zone to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrawnByTraffic {
    /// `namespace/name`.
    pub service: String,
    /// 10⁹ bytes.
    pub gb: f64,
    /// In the currency of the whole.
    pub cost: f64,
    /// How the price is come by.
    pub basis: String,
}

impl Drawn {
    /// All energy, kWh.
    pub fn kwh(&self) -> f64 {
        self.idle_kwh + self.dynamic_kwh
    }
    /// What is paid for, in lines; none, where it is machines alone.
    pub(super) fn money(&self) -> Vec<String> {
        if self.disks.is_empty() && self.zone_traffic.is_empty() {
            return Vec::new();
        }
        let mut rows = vec![("machines".to_owned(), String::new(), self.machines_cost)];
        rows.extend(self.disks.iter().map(|own| {
            (
                format!("disks of class {}", own.class),
                format!("{} GiB h", significant(own.gib_hours)),
                own.cost,
            )
        }));
        rows.extend(self.zone_traffic.iter().map(|own| {
            (format!("{} between zones", own.service), format!("{} GB", significant(own.gb)), own.cost)
        }));
        rows.push(("in all".to_owned(), String::new(), self.cost));
        let wide = rows.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0).max(5);
        let mut lines = vec![format!("{:wide$}  {:>12}  {:>10}", "MONEY", "OF", self.currency)];
        let line = |(name, of, cost): (String, String, f64)| {
            format!("{name:wide$}  {of:>12}  {:>10}", significant(cost))
        };
        lines.extend(rows.into_iter().map(line));
        lines
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
        let spending = world.spending(home).unwrap_or_default();
        let basis = |stated: bool| if stated { STATED } else { ASSUMED }.to_owned();
        let disks = spending.disks.iter().map(|own| DrawnByDisks {
            class: own.class.to_string(),
            gib_hours: fleet::tariff::gib_hours(own.byte_nanos),
            cost: own.cost.as_units_f64(),
            basis: basis(spending.is_stated.0),
        });
        let zone_traffic = spending.zone_traffic.iter().map(|own| DrawnByTraffic {
            service: format!("{}/{}", own.namespace, own.service),
            gb: own.bytes as f64 / 1e9,
            cost: own.cost.as_units_f64(),
            basis: basis(spending.is_stated.1),
        });
        Drawn {
            basis: BASIS.to_owned(),
            idle_kwh: totals.idle.as_kwh_f64(),
            dynamic_kwh: totals.dynamic.as_kwh_f64(),
            gco2e: intensity_from.as_ref().map(|_| totals.carbon().as_grams_f64()),
            intensity_from,
            embodied_gco2e: totals.embodied.as_grams_f64(),
            cost: spending.total().as_units_f64(),
            machines_cost: spending.machines.as_units_f64(),
            disks: disks.collect(),
            zone_traffic: zone_traffic.collect(),
            currency: currency.to_owned(),
            pods: pods.collect(),
            ended_kwh: kwh(by_pod.ended),
            ended_shared_kwh: kwh(by_pod.ended_shared),
        }
    }
}
