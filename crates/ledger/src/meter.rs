//! A cluster's meter: energy, carbon and money integrated exactly between changes.
//!
//! Power and price are constant from one [`Meter::set`] to the next, so nothing is sampled and a read
//! at any time is exact (to 1 unit of rounding per change). Reads do not change the meter. The price of
//! the nodes is kept as one total: it is paid for nodes, idle or not, and sharing it by power would be
//! wrong, so `cost` inside the three parts is zero. Embodied emissions are left out: they are counted by Job
//! ([`crate::footprint`]), where they are.

use crate::footprint::Footprint;
use fleet::{GramsCo2, Instant, Joules, Money, MoneyPerHour, Series, Watts};
use serde::{Deserialize, Serialize};

/// What a cluster draws and costs at a moment, PUE included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Of the nodes at no load.
    pub idle: Watts,
    /// What Jobs of ours add.
    pub managed: Watts,
    /// What all other pods add.
    pub other: Watts,
    /// Of the nodes.
    pub price: MoneyPerHour,
}

/// Readings over `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// When the meter was first set.
    pub from: Instant,
    /// When it was read.
    pub to: Instant,
    /// Nodes at no load; `cost` is zero.
    pub idle: Footprint,
    /// Jobs of ours; `cost` is zero.
    pub managed: Footprint,
    /// All other pods; `cost` is zero.
    pub other: Footprint,
    /// Money for the nodes.
    pub cost: Money,
}

impl Totals {
    /// Energy of all three parts.
    pub fn total_energy(&self) -> Joules {
        self.idle.energy + self.managed.energy + self.other.energy
    }
    /// Emissions of all three parts.
    pub fn total_carbon(&self) -> GramsCo2 {
        self.idle.carbon + self.managed.carbon + self.other.carbon
    }
}

/// The meter of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meter {
    load: Load,
    totals: Totals,
}

fn drawn(power: Watts, from: Instant, to: Instant, intensity: &Series) -> Footprint {
    let (energy, carbon) = (power * (to - from), intensity.emissions(power, from, to));
    Footprint { energy, carbon, ..Footprint::ZERO }
}

impl Meter {
    /// A meter that starts at zero with this load.
    pub fn new(at: Instant, load: Load) -> Meter {
        let (idle, managed, other) = (Footprint::ZERO, Footprint::ZERO, Footprint::ZERO);
        Meter { load, totals: Totals { from: at, to: at, idle, managed, other, cost: Money::ZERO } }
    }
    /// The load since the last change.
    pub fn load(&self) -> Load {
        self.load
    }
    /// Counts up to `at`, then goes on with another load. Time never runs backwards: an `at` before the
    /// last change counts as the last change.
    pub fn set(&mut self, at: Instant, load: Load, intensity: &Series) {
        self.totals = self.read(at, intensity);
        self.load = load;
    }
    /// The readings at `at`, or at the last change if that is later.
    pub fn read(&self, at: Instant, intensity: &Series) -> Totals {
        let (from, mut totals) = (self.totals.to, self.totals);
        if at <= from {
            return totals;
        }
        totals.to = at;
        totals.idle += drawn(self.load.idle, from, at, intensity);
        totals.managed += drawn(self.load.managed, from, at, intensity);
        totals.other += drawn(self.load.other, from, at, intensity);
        totals.cost += self.load.price * (at - from);
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::{GramsCo2PerKwh, Span};
    use proptest::prelude::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_unix_seconds(seconds)
    }
    fn load(managed: f64) -> Load {
        let watts = Watts::from_watts_f64;
        let price = MoneyPerHour::from_units_f64(0.384);
        Load { idle: watts(120.0), managed: watts(managed), other: watts(33.3), price }
    }

    #[test]
    fn power_changes_count_from_when_they_happen() {
        let hours = [100.0, 400.0].map(GramsCo2PerKwh::from_grams_f64).to_vec();
        let series = Series::new(at(0), Span::HOUR, hours).unwrap();
        let mut meter = Meter::new(at(0), load(0.0));
        meter.set(at(1800), load(1000.0), &series);
        meter.set(at(5400), load(0.0), &series);
        let totals = meter.read(at(7200), &series);
        assert_eq!(totals.managed.energy, Joules::from_kwh_f64(1.0));
        assert_eq!(totals.managed.carbon, GramsCo2::from_grams_f64(250.0));
        assert_eq!(totals.idle.energy, Joules::from_kwh_f64(0.24));
        assert_eq!(totals.cost, Money::from_units_f64(0.768));
        assert_eq!(meter.read(at(7200), &series), totals);
        meter.set(at(10), load(5.0), &series);
        assert_eq!(meter.read(at(0), &series).to, at(5400), "time does not run backwards");
    }

    proptest! {
        #[test]
        fn a_meter_set_more_often_reads_the_same(
            values in prop::collection::vec(0.0f64..1200.0, 1..20), watts in 0.0f64..50_000.0,
            mut cuts in prop::collection::vec(0i64..80_000, 0..20)
        ) {
            cuts.sort_unstable();
            let values = values.into_iter().map(GramsCo2PerKwh::from_grams_f64).collect();
            let series = Series::new(at(500), Span::HOUR, values).unwrap();
            let once = Meter::new(at(0), load(watts));
            let mut often = once.clone();
            for cut in &cuts {
                often.set(at(*cut), load(watts), &series);
            }
            let (a, b) = (once.read(at(80_000), &series), often.read(at(80_000), &series));
            let changes = cuts.len() as i128;
            prop_assert!((a.cost - b.cost).as_nanos().abs() <= changes);
            for (a, b) in [(a.idle, b.idle), (a.managed, b.managed), (a.other, b.other)] {
                prop_assert!((a.energy - b.energy).as_microjoules().abs() <= changes);
                prop_assert!((a.carbon - b.carbon).as_micrograms().abs() <= changes);
            }
            prop_assert_eq!(b.total_energy(), b.idle.energy + b.managed.energy + b.other.energy);
        }

        #[test]
        fn a_meter_survives_being_saved(watts in 0.0f64..50_000.0, seconds in 0i64..10_000_000) {
            let series = Series::constant(GramsCo2PerKwh::from_grams_f64(431.7));
            let mut meter = Meter::new(at(0), load(watts));
            meter.set(at(seconds), load(1.0), &series);
            let saved = serde_json::to_string(&meter).unwrap();
            prop_assert_eq!(serde_json::from_str::<Meter>(&saved).unwrap(), meter);
        }
    }
}
