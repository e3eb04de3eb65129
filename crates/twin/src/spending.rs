//! What a cluster has cost: its machines, its disks, and what went from one zone to another.
//!
//! Amounts are counted by [`crate::physics`] and `controllers::traffic`, prices are the fleet's. Invariant: the whole is the
//! sum of its parts, to the last unit.

use crate::controllers::Place;
use fleet::Money;
use fleet::tariff::Tariffs;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was paid for disks of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpending {
    /// The StorageClass.
    pub class: Arc<str>,
    /// What they held, in bytes × nanoseconds.
    pub byte_nanos: i128,
    /// What that cost.
    pub cost: Money,
}

/// What was paid for answers of a Service that went from one zone to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficSpending {
    /// Of the Service.
    pub namespace: Arc<str>,
    /// Its name.
    pub service: Arc<str>,
    /// What the answers weighed.
    pub bytes: i128,
    /// What that cost.
    pub cost: Money,
}

/// What a cluster has cost so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// Price of the machines.
    pub machines: Money,
    /// Disks, by class.
    pub disks: Vec<DiskSpending>,
    /// Traffic between zones, by namespace and name of the Service.
    pub zone_traffic: Vec<TrafficSpending>,
    /// Whether somebody states the price of disks, and of traffic.
    pub is_stated: (bool, bool),
}

impl Spending {
    pub(crate) fn new(
        tariffs: &Tariffs,
        machines: Money,
        disks: BTreeMap<Arc<str>, i128>,
        crossed: BTreeMap<Place, i128>,
    ) -> Spending {
        let disks = disks.into_iter().map(|(class, byte_nanos)| {
            let cost = tariffs.disks(&class, byte_nanos);
            DiskSpending { class, byte_nanos, cost }
        });
        let traffic = crossed.into_iter().map(|((namespace, service), bytes)| {
            let cost = tariffs.zone_traffic(bytes);
            TrafficSpending { namespace, service, bytes, cost }
        });
        Spending {
            machines,
            disks: disks.collect(),
            zone_traffic: traffic.collect(),
            is_stated: tariffs.is_stated,
        }
    }
    /// All of it.
    pub fn total(&self) -> Money {
        let disks: Money = self.disks.iter().map(|own| own.cost).sum();
        let traffic: Money = self.zone_traffic.iter().map(|own| own.cost).sum();
        self.machines + disks + traffic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_whole_is_the_sum_of_its_parts(
            machines in 0_i128..1_000_000_000_000,
            disks in proptest::collection::btree_map("[a-c]", 0_i128..(1 << 100), 0..3),
            crossed in proptest::collection::vec(0_i128..(1 << 60), 0..4),
            (disk, zone) in (0_i128..1_000_000_000_000, 0_i128..1_000_000_000_000),
        ) {
            let tariffs = Tariffs {
                disk_per_gib_month: Money::from_nanos(disk),
                zone_traffic_per_gb: Money::from_nanos(zone),
                ..Tariffs::default()
            };
            let services = crossed.iter().enumerate();
            let services = services.map(|(i, bytes)| (("shop".into(), i.to_string().into()), *bytes)).collect();
            let disks = disks.into_iter().map(|(class, held)| (class.into(), held)).collect();
            let spending = Spending::new(&tariffs, Money::from_nanos(machines), disks, services);
            let parts = spending.disks.iter().map(|own| own.cost).chain(spending.zone_traffic.iter().map(|own| own.cost));
            let sum: i128 = parts.map(Money::as_nanos).sum();
            prop_assert_eq!(spending.total().as_nanos(), machines + sum);
            // And what crosses costs what all of it together costs, less than a billionth of a unit dropped for each Service.
            let together = tariffs.zone_traffic(crossed.iter().sum()).as_nanos();
            let apart: i128 = spending.zone_traffic.iter().map(|own| own.cost.as_nanos()).sum();
            prop_assert!((0..=crossed.len() as i128).contains(&(together - apart)), "{together} {apart}");
        }
    }
}
