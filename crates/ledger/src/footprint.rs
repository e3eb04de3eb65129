//! What a run burns, emits and costs at the margin.
//!
//! Power of a demand is linear in the cores and GPUs it requests, at the cluster's marginal rates (PUE
//! included); idle power belongs to the cluster ([`crate::meter`]), not to the run. Carbon is
//! location-based: energy times the grid's intensity at the time, exact at every step of the series.
//! Where the rates have embodied emissions, the demand bears its cores' share of them for as long as it runs;
//! they are part of `carbon` and stand beside it.

use fleet::{
    Bytes, GramsCo2, GramsCo2PerHour, GramsCo2PerKwh, Instant, Joules, Money, MoneyPerHour, Rates, Resources,
    Series, Watts,
};
use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// What a run burnt, emitted and cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Footprint {
    /// Energy, in µJ.
    pub energy: Joules,
    /// Emissions, in µg CO2e, embodied ones included where they are counted.
    pub carbon: GramsCo2,
    /// Of `carbon`, what making the machines emitted; zero where it is not counted.
    #[serde(default, skip_serializing_if = "GramsCo2::is_zero")]
    pub embodied: GramsCo2,
    /// Money, in 10⁻⁹ of the fleet's currency.
    pub cost: Money,
}

impl Footprint {
    /// Nothing at all.
    pub const ZERO: Footprint = Footprint {
        energy: Joules::ZERO,
        carbon: GramsCo2::ZERO,
        embodied: GramsCo2::ZERO,
        cost: Money::ZERO,
    };

    /// Whether it is nothing at all.
    pub fn is_zero(&self) -> bool {
        *self == Footprint::ZERO
    }

    /// Of `carbon`, what the energy emitted; operational and embodied emissions sum to `carbon` exactly.
    pub fn operational(&self) -> GramsCo2 {
        self.carbon - self.embodied
    }
}

impl Add for Footprint {
    type Output = Footprint;
    fn add(self, other: Footprint) -> Footprint {
        Footprint {
            energy: self.energy + other.energy,
            carbon: self.carbon + other.carbon,
            embodied: self.embodied + other.embodied,
            cost: self.cost + other.cost,
        }
    }
}
impl AddAssign for Footprint {
    fn add_assign(&mut self, other: Footprint) {
        *self = *self + other;
    }
}
impl Sub for Footprint {
    type Output = Footprint;
    /// May go below zero: a difference of two footprints.
    fn sub(self, other: Footprint) -> Footprint {
        Footprint {
            energy: self.energy - other.energy,
            carbon: self.carbon - other.carbon,
            embodied: self.embodied - other.embodied,
            cost: self.cost - other.cost,
        }
    }
}
impl Sum for Footprint {
    fn sum<I: Iterator<Item = Footprint>>(all: I) -> Footprint {
        all.fold(Footprint::ZERO, Add::add)
    }
}

/// Power of a demand at the margin: cores × core power + GPUs × GPU power.
pub fn power(demand: Resources, rates: Rates) -> Watts {
    rates.core_power.scaled(demand.cpu.as_nanos(), NANOS_PER_CORE) + rates.gpu_power.scaled(demand.gpu, 1)
}

/// Price of a demand: cores × core price + GPUs × GPU price.
pub fn price(demand: Resources, rates: Rates) -> MoneyPerHour {
    rates.core_price.scaled(demand.cpu.as_nanos(), NANOS_PER_CORE) + rates.gpu_price.scaled(demand.gpu, 1)
}

/// Embodied emissions of a demand: cores × those of a core, GPUs included (see [`fleet::EmbodiedRate`]); none
/// where they are not counted.
pub fn embodied(demand: Resources, rates: Rates) -> GramsCo2PerHour {
    let core = rates.embodied.map_or(GramsCo2PerHour::ZERO, |rate| rate.core);
    core.scaled(demand.cpu.as_nanos(), NANOS_PER_CORE)
}

const NANOS_PER_CORE: i64 = 1_000_000_000;

/// What a demand burns, emits and costs over `[from, to)`; nothing when `to` is not after `from`.
pub fn footprint(
    demand: Resources,
    rates: Rates,
    intensity: &Series,
    from: Instant,
    to: Instant,
) -> Footprint {
    if to <= from {
        return Footprint::ZERO;
    }
    let power = power(demand, rates);
    let embodied = embodied(demand, rates) * (to - from);
    Footprint {
        energy: power * (to - from),
        carbon: intensity.emissions(power, from, to) + embodied,
        embodied,
        cost: price(demand, rates) * (to - from),
    }
}

/// What moving `size` once burns, emits and costs, at `kwh_per_gb` and `price_per_gb` (GB of 10⁹ bytes).
pub fn transfer(size: Bytes, kwh_per_gb: f64, price_per_gb: f64, intensity: GramsCo2PerKwh) -> Footprint {
    let gigabytes = size.as_gb_f64();
    let energy = Joules::from_kwh_f64(gigabytes * kwh_per_gb);
    let cost = Money::from_units_f64(gigabytes * price_per_gb);
    Footprint { energy, carbon: energy * intensity, cost, ..Footprint::ZERO }
}

/// Intensity a transfer is charged at: the mean of both ends at that moment, since network equipment
/// draws power at each; the destination's alone where the source is not known.
pub fn transfer_intensity(source: Option<&Series>, destination: &Series, at: Instant) -> GramsCo2PerKwh {
    let there = destination.at(at).as_milligrams();
    let here = source.map_or(there, |series| series.at(at).as_milligrams());
    GramsCo2PerKwh::from_milligrams(here / 2 + there / 2 + (here % 2 + there % 2) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::{Cpu, EmbodiedRate, Span};
    use proptest::prelude::*;

    fn rates() -> Rates {
        Rates {
            core_power: Watts::from_watts_f64(5.0),
            gpu_power: Watts::from_watts_f64(250.0),
            core_price: MoneyPerHour::from_units_f64(0.05),
            gpu_price: MoneyPerHour::from_units_f64(1.0),
            embodied: None,
        }
    }
    /// The same where embodied emissions are counted.
    fn embodied_rates(grams: f64) -> Rates {
        let core = GramsCo2PerHour::from_grams_f64(grams);
        Rates { embodied: Some(EmbodiedRate { core, unknown_permille: 0 }), ..rates() }
    }
    fn at(seconds: i64) -> Instant {
        Instant::from_unix_seconds(seconds)
    }

    #[test]
    fn four_cores_and_a_gpu_for_two_hours() {
        let demand = Resources { cpu: Cpu::from_cores(4), gpu: 1, ..Resources::ZERO };
        assert_eq!(power(demand, rates()), Watts::from_watts_f64(270.0));
        let hours = [100.0, 300.0].map(GramsCo2PerKwh::from_grams_f64).to_vec();
        let series = Series::new(at(0), Span::HOUR, hours).unwrap();
        let f = footprint(demand, rates(), &series, at(0), at(7200));
        assert_eq!(f.energy, Joules::from_kwh_f64(0.54));
        assert_eq!(f.carbon, GramsCo2::from_grams_f64(108.0));
        assert_eq!(f.cost, Money::from_units_f64(2.4));
        assert_eq!(footprint(demand, rates(), &series, at(10), at(10)), Footprint::ZERO);
    }

    #[test]
    fn embodied_emissions_are_a_part_of_carbon_that_stands_apart() {
        let demand = Resources { cpu: Cpu::from_millis(2500), gpu: 1, ..Resources::ZERO };
        let series = Series::constant(GramsCo2PerKwh::from_grams_f64(100.0));
        let (off, on) = (rates(), embodied_rates(0.4));
        let off = footprint(demand, off, &series, at(0), at(5400));
        let on = footprint(demand, on, &series, at(0), at(5400));
        // 2.5 cores at 0.4 g an hour for 1.5 hours; 262.5 W for 1.5 hours at 100 g/kWh.
        assert_eq!(on.embodied, GramsCo2::from_grams_f64(1.5));
        assert_eq!(on.operational(), GramsCo2::from_grams_f64(39.375));
        assert_eq!(on.carbon, GramsCo2::from_grams_f64(40.875));
        assert_eq!(off.embodied, GramsCo2::ZERO);
        assert_eq!((on.operational(), on.energy, on.cost), (off.carbon, off.energy, off.cost));
        assert!(!serde_json::to_string(&off).unwrap().contains("embodied"));
        assert_eq!(serde_json::from_str::<Footprint>(&serde_json::to_string(&on).unwrap()).unwrap(), on);
    }

    #[test]
    fn a_transfer_is_charged_at_the_mean_of_both_ends() {
        let [a, b] = [200.0, 501.0].map(|g| Series::constant(GramsCo2PerKwh::from_grams_f64(g)));
        let intensity = transfer_intensity(Some(&a), &b, at(0));
        assert_eq!(intensity, GramsCo2PerKwh::from_milligrams(350_500));
        assert_eq!(transfer_intensity(None, &b, at(0)), GramsCo2PerKwh::from_grams_f64(501.0));
        let f = transfer(Bytes::from_bytes(40_000_000_000), 0.0025, 0.02, intensity);
        assert_eq!(f.energy, Joules::from_kwh_f64(0.1));
        assert_eq!(f.carbon, GramsCo2::from_grams_f64(35.05));
        assert_eq!(f.cost, Money::from_units_f64(0.8));
    }

    proptest! {
        #[test]
        fn a_run_cut_in_two_burns_as_much(
            values in prop::collection::vec(0.0f64..1000.0, 1..30), cores in 1i64..64, a in 0i64..90_000, b in 0i64..90_000,
            grams in 0.0f64..5.0
        ) {
            let values = values.into_iter().map(GramsCo2PerKwh::from_grams_f64).collect();
            let series = Series::new(at(1000), Span::HOUR, values).unwrap();
            let demand = Resources { cpu: Cpu::from_cores(cores), ..Resources::ZERO };
            let part = |from, to| footprint(demand, embodied_rates(grams), &series, at(from), at(to));
            let (whole, parts) = (part(0, a + b), part(0, a) + part(a, a + b));
            prop_assert_eq!(whole.energy, parts.energy);
            let off = (whole - parts).operational().as_micrograms().abs();
            let embodied_off = (whole - parts).embodied.as_micrograms().abs();
            let cost_off = (whole - parts).cost.as_nanos().abs();
            prop_assert!(off <= 1 && embodied_off <= 1 && cost_off <= 1);
        }
    }
}
