//! What is paid for besides machines: disks by what they hold and for how long, and what goes from one zone to another.
//!
//! Amounts are integers (bytes times nanoseconds, bytes), prices money for a GiB a month of 730 h or for a GB (10⁹ bytes), so that
//! a sum does not depend on where time is cut; what is less than a billionth of a unit is dropped once. Left out: disks of
//! the nodes themselves, operations and throughput of disks, traffic to the internet.

use crate::quantity::Money;
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Price of a GiB of disk for a month where none is stated: the list price of AWS's gp3 in us-east-1, 2026. Assumed of other
/// regions, classes and clouds.
pub const DISK_PER_GIB_MONTH: f64 = 0.08;
/// Price of a GB between zones where none is stated: AWS's list price, 0.01 on each side.
pub const ZONE_TRAFFIC_PER_GB: f64 = 0.02;
/// Highest price that may be stated.
pub const PRICE_MAX: f64 = 1000.0;
/// A month, as AWS reckons disks: 730 h.
pub const MONTH: Span = Span::from_seconds(730 * 3600);
const GIB: i128 = 1 << 30;
const GB: i128 = 1_000_000_000;
/// Bits of byte-nanoseconds that are dropped so that no product overflows: a millionth of a byte-second.
const SPARE_BITS: u32 = 10;

/// The prices of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tariffs {
    /// Of a GiB of disk for a month.
    pub disk_per_gib_month: Money,
    /// The same of disks of some StorageClasses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, Money>,
    /// Of a GB from one zone to another.
    pub zone_traffic_per_gb: Money,
    /// Whether somebody states the price of disks, and of traffic.
    pub is_stated: (bool, bool),
}

impl Default for Tariffs {
    fn default() -> Tariffs {
        Tariffs {
            disk_per_gib_month: Money::from_units_f64(DISK_PER_GIB_MONTH),
            classes: BTreeMap::new(),
            zone_traffic_per_gb: Money::from_units_f64(ZONE_TRAFFIC_PER_GB),
            is_stated: (false, false),
        }
    }
}

/// `price · amount / unit`, rounded down, for amounts of any size a world can have.
fn priced(price: Money, amount: i128, unit: i128) -> Money {
    let (whole, rest) = (amount.div_euclid(unit), amount.rem_euclid(unit));
    Money::from_nanos(price.as_nanos() * whole + price.as_nanos() * rest / unit)
}

impl Tariffs {
    /// Whether nothing is stated.
    pub fn is_default(&self) -> bool {
        *self == Tariffs::default()
    }
    /// Price of a GiB of a class for a month.
    pub fn class(&self, name: &str) -> Money {
        self.classes.get(name).copied().unwrap_or(self.disk_per_gib_month)
    }
    /// What disks of a class cost, in bytes × nanoseconds.
    pub fn disks(&self, class: &str, byte_nanos: i128) -> Money {
        let month = GIB * i128::from(MONTH.as_nanos());
        priced(self.class(class), byte_nanos >> SPARE_BITS, month >> SPARE_BITS)
    }
    /// What so many bytes cost from one zone to another.
    pub fn zone_traffic(&self, bytes: i128) -> Money {
        priced(self.zone_traffic_per_gb, bytes, GB)
    }
}

/// GiB × hours of bytes × nanoseconds, to be shown.
pub fn gib_hours(byte_nanos: i128) -> f64 {
    byte_nanos as f64 / GIB as f64 / 3.6e12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_costs_its_price_a_month_whatever_it_is_cut_into() {
        let tariffs = Tariffs {
            classes: BTreeMap::from([("fast".to_owned(), Money::from_units_f64(0.125))]),
            ..Tariffs::default()
        };
        let month = |gib: i128| gib * GIB * i128::from(MONTH.as_nanos());
        assert_eq!(tariffs.disks("standard", month(100)), Money::from_units_f64(8.0));
        assert_eq!(tariffs.disks("fast", month(100)), Money::from_units_f64(12.5));
        assert_eq!(tariffs.disks("fast", month(1) / 730), Money::from_nanos(171_232), "an hour of a GiB");
        // A pebibyte for a hundred years at the highest price.
        let most = Tariffs { disk_per_gib_month: Money::from_units_f64(PRICE_MAX), ..Tariffs::default() };
        assert_eq!(most.disks("", month(1 << 20) * 1200).as_units_f64(), (1_u64 << 20) as f64 * 1_200_000.0);
        assert_eq!(gib_hours(month(2)), 1460.0);
    }

    #[test]
    fn traffic_costs_by_the_gb() {
        let tariffs = Tariffs::default();
        assert_eq!(tariffs.zone_traffic(50_000_000_000), Money::from_units_f64(1.0));
        assert_eq!(tariffs.zone_traffic(49), Money::ZERO);
    }
}
