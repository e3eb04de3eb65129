//! Quantities with units: one newtype each, the smallest exact unit inside.
//!
//! Only meaningful products exist: [`Watts`] × [`Span`] = [`Joules`]; [`Joules`] ×
//! [`GramsCo2PerKwh`] = [`GramsCo2`]; [`GramsCo2PerHour`] × [`Span`] = [`GramsCo2`];
//! [`MoneyPerHour`] × [`Span`] = [`Money`]. Products round half
//! away from zero in their smallest unit (1 µJ, 1 µg, 10⁻⁹ money), so an error is below one part in
//! 10⁹ of anything a person would look at. Floats come in through `from_…_f64` (clamped, never NaN)
//! and go out through `as_…_f64`, for solvers and display only.

use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};

/// `value / divisor`, rounded half away from zero.
fn div_round(value: i128, divisor: i128) -> i128 {
    let half = divisor / 2;
    if value >= 0 { (value + half) / divisor } else { (value - half) / divisor }
}

const NANOS_PER_HOUR: i128 = 3_600_000_000_000;

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// None of it.
            pub const ZERO: $name = $name(0);
            /// What is left after taking `other` away, at least zero.
            pub fn saturating_sub(self, other: $name) -> $name {
                $name(self.0.saturating_sub(other.0).max(0))
            }
            /// Whether there is none.
            pub const fn is_zero(&self) -> bool {
                self.0 == 0
            }
        }
        impl Add for $name {
            type Output = $name;
            fn add(self, other: $name) -> $name {
                $name(self.0.saturating_add(other.0))
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: $name) {
                *self = *self + other;
            }
        }
        impl Sub for $name {
            type Output = $name;
            fn sub(self, other: $name) -> $name {
                $name(self.0.saturating_sub(other.0))
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: $name) {
                *self = *self - other;
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = $name>>(all: I) -> $name {
                all.fold($name::ZERO, Add::add)
            }
        }
    };
}

quantity!(
    /// Processor time share, in nanocores. One core is 10⁹. Never negative in an object's request.
    Cpu, i64
);
quantity!(
    /// Memory or data, in bytes.
    Bytes, i64
);
quantity!(
    /// Power, in microwatts. Range ±9.2 TW.
    Watts, i64
);
quantity!(
    /// Energy, in microjoules.
    Joules, i128
);
quantity!(
    /// Carbon intensity of electricity, in milligrams of CO2 equivalent per kWh.
    GramsCo2PerKwh, i64
);
quantity!(
    /// Emissions, in micrograms of CO2 equivalent; negative where something was saved the other way.
    GramsCo2, i128
);
quantity!(
    /// Embodied emissions spread over a machine's life, in micrograms of CO2 equivalent per hour.
    GramsCo2PerHour, i64
);
quantity!(
    /// Money, in 10⁻⁹ of the fleet's currency (US dollars unless the fleet file says otherwise).
    Money, i128
);
quantity!(
    /// A price per hour, in 10⁻⁹ of the fleet's currency.
    MoneyPerHour, i64
);

impl Cpu {
    /// From thousandths of a core.
    pub const fn from_millis(millis: i64) -> Cpu {
        Cpu(millis.saturating_mul(1_000_000))
    }
    /// From whole cores.
    pub const fn from_cores(cores: i64) -> Cpu {
        Cpu(cores.saturating_mul(1_000_000_000))
    }
    /// From nanocores.
    pub const fn from_nanos(nanos: i64) -> Cpu {
        Cpu(nanos)
    }
    /// In nanocores.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
    /// In thousandths of a core, rounded up as the Kubernetes scheduler does.
    pub const fn as_millis_ceil(self) -> i64 {
        let down = self.0.div_euclid(1_000_000);
        if self.0.rem_euclid(1_000_000) == 0 { down } else { down + 1 }
    }
    /// In cores.
    pub fn as_cores_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Bytes {
    /// From bytes.
    pub const fn from_bytes(bytes: i64) -> Bytes {
        Bytes(bytes)
    }
    /// From GiB (2³⁰ bytes).
    pub const fn from_gib(gib: i64) -> Bytes {
        Bytes(gib.saturating_mul(1 << 30))
    }
    /// From MiB (2²⁰ bytes).
    pub const fn from_mib(mib: i64) -> Bytes {
        Bytes(mib.saturating_mul(1 << 20))
    }
    /// In bytes.
    pub const fn as_bytes(self) -> i64 {
        self.0
    }
    /// In GiB.
    pub fn as_gib_f64(self) -> f64 {
        self.0 as f64 / (1u64 << 30) as f64
    }
    /// In decimal gigabytes (10⁹ bytes), the unit network traffic is billed in.
    pub fn as_gb_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Watts {
    /// From microwatts.
    pub const fn from_microwatts(microwatts: i64) -> Watts {
        Watts(microwatts)
    }
    /// From watts; anything not finite becomes zero.
    pub fn from_watts_f64(watts: f64) -> Watts {
        Watts((watts * 1e6).round() as i64)
    }
    /// In microwatts.
    pub const fn as_microwatts(self) -> i64 {
        self.0
    }
    /// In watts.
    pub fn as_watts_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
    /// This power times `numerator / denominator` (e.g. a share of a node, a PUE in thousandths).
    pub fn scaled(self, numerator: i64, denominator: i64) -> Watts {
        let wide = i128::from(self.0) * i128::from(numerator);
        Watts(div_round(wide, i128::from(denominator.max(1))) as i64)
    }
}

impl Mul<Span> for Watts {
    type Output = Joules;
    fn mul(self, span: Span) -> Joules {
        Joules(div_round(i128::from(self.0) * i128::from(span.as_nanos()), 1_000_000_000))
    }
}

impl Joules {
    /// From microjoules.
    pub const fn from_microjoules(microjoules: i128) -> Joules {
        Joules(microjoules)
    }
    /// From kWh; anything not finite becomes zero.
    pub fn from_kwh_f64(kwh: f64) -> Joules {
        Joules((kwh * 3.6e12).round() as i128)
    }
    /// In microjoules.
    pub const fn as_microjoules(self) -> i128 {
        self.0
    }
    /// In kWh (3.6 MJ).
    pub fn as_kwh_f64(self) -> f64 {
        self.0 as f64 / 3.6e12
    }
}

impl Mul<GramsCo2PerKwh> for Joules {
    type Output = GramsCo2;
    /// µJ × mg/kWh: one kWh is 3.6 × 10¹² µJ and one mg 10³ µg, so divide by 3.6 × 10⁹.
    fn mul(self, intensity: GramsCo2PerKwh) -> GramsCo2 {
        GramsCo2(div_round(self.0.saturating_mul(i128::from(intensity.0)), 3_600_000_000))
    }
}

impl GramsCo2PerKwh {
    /// From mg/kWh.
    pub const fn from_milligrams(milligrams: i64) -> GramsCo2PerKwh {
        GramsCo2PerKwh(milligrams)
    }
    /// From g/kWh; anything not finite becomes zero.
    pub fn from_grams_f64(grams: f64) -> GramsCo2PerKwh {
        GramsCo2PerKwh((grams * 1e3).round() as i64)
    }
    /// In mg/kWh.
    pub const fn as_milligrams(self) -> i64 {
        self.0
    }
    /// In g/kWh.
    pub fn as_grams_f64(self) -> f64 {
        self.0 as f64 / 1e3
    }
}

impl GramsCo2 {
    /// From micrograms.
    pub const fn from_micrograms(micrograms: i128) -> GramsCo2 {
        GramsCo2(micrograms)
    }
    /// From grams; anything not finite becomes zero.
    pub fn from_grams_f64(grams: f64) -> GramsCo2 {
        GramsCo2((grams * 1e6).round() as i128)
    }
    /// In micrograms.
    pub const fn as_micrograms(self) -> i128 {
        self.0
    }
    /// In grams.
    pub fn as_grams_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
    /// In kilograms.
    pub fn as_kg_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Neg for GramsCo2 {
    type Output = GramsCo2;
    fn neg(self) -> GramsCo2 {
        GramsCo2(-self.0)
    }
}

impl GramsCo2PerHour {
    /// From µg/h.
    pub const fn from_micrograms(micrograms: i64) -> GramsCo2PerHour {
        GramsCo2PerHour(micrograms)
    }
    /// In micrograms an hour.
    pub const fn as_micrograms(self) -> i64 {
        self.0
    }
    /// From g/h; anything not finite becomes zero.
    pub fn from_grams_f64(grams: f64) -> GramsCo2PerHour {
        GramsCo2PerHour((grams * 1e6).round() as i64)
    }
    /// In g/h.
    pub fn as_grams_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
    /// This rate times `numerator / denominator` (e.g. the share of a node).
    pub fn scaled(self, numerator: i64, denominator: i64) -> GramsCo2PerHour {
        let wide = i128::from(self.0) * i128::from(numerator);
        GramsCo2PerHour(div_round(wide, i128::from(denominator.max(1))) as i64)
    }
}

impl Mul<Span> for GramsCo2PerHour {
    type Output = GramsCo2;
    fn mul(self, span: Span) -> GramsCo2 {
        GramsCo2(div_round(i128::from(self.0) * i128::from(span.as_nanos()), NANOS_PER_HOUR))
    }
}

impl Money {
    /// From 10⁻⁹ units.
    pub const fn from_nanos(nanos: i128) -> Money {
        Money(nanos)
    }
    /// From whole and fractional units; anything not finite becomes zero.
    pub fn from_units_f64(units: f64) -> Money {
        Money((units * 1e9).round() as i128)
    }
    /// In 10⁻⁹ units.
    pub const fn as_nanos(self) -> i128 {
        self.0
    }
    /// In units (dollars).
    pub fn as_units_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl MoneyPerHour {
    /// From 10⁻⁹ units per hour.
    pub const fn from_nanos(nanos: i64) -> MoneyPerHour {
        MoneyPerHour(nanos)
    }
    /// In 10⁻⁹ units per hour.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
    /// From units per hour; anything not finite becomes zero.
    pub fn from_units_f64(units: f64) -> MoneyPerHour {
        MoneyPerHour((units * 1e9).round() as i64)
    }
    /// In units per hour.
    pub fn as_units_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
    /// This price times `numerator / denominator` (e.g. the share of a node).
    pub fn scaled(self, numerator: i64, denominator: i64) -> MoneyPerHour {
        let wide = i128::from(self.0) * i128::from(numerator);
        MoneyPerHour(div_round(wide, i128::from(denominator.max(1))) as i64)
    }
}

impl Mul<Span> for MoneyPerHour {
    type Output = Money;
    fn mul(self, span: Span) -> Money {
        Money(div_round(i128::from(self.0) * i128::from(span.as_nanos()), NANOS_PER_HOUR))
    }
}

/// Three significant digits and a unit a person knows: `1.25 kg`, `83.1 g`, `512 mg`.
impl fmt::Display for GramsCo2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grams = self.as_grams_f64();
        let (value, unit) = match grams.abs() {
            g if g >= 1e6 => (grams / 1e6, "t"),
            g if g >= 1e3 => (grams / 1e3, "kg"),
            g if g >= 1.0 || g == 0.0 => (grams, "g"),
            _ => (grams * 1e3, "mg"),
        };
        f.pad(&format!("{} {unit}", significant(value)))
    }
}
/// Three significant digits: `1.25 kWh`, `83.1 Wh`.
impl fmt::Display for Joules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kwh = self.as_kwh_f64();
        let (value, unit) = match kwh.abs() {
            k if k >= 1e3 => (kwh / 1e3, "MWh"),
            k if k >= 1.0 || k == 0.0 => (kwh, "kWh"),
            _ => (kwh * 1e3, "Wh"),
        };
        f.pad(&format!("{} {unit}", significant(value)))
    }
}

/// A number without needless zeros: `12`, `7.91`.
pub fn plain(value: f64) -> String {
    let text = significant(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// So many of something: `1 core`, `0.5 cores`, `12 cores`.
pub fn counted(value: f64, one: &str, many: &str) -> String {
    match plain(value) {
        figure if figure == "1" => format!("1 {one}"),
        figure => format!("{figure} {many}"),
    }
}

/// `value` with three significant digits, never in exponent form: `1234`, `12.3`, `0.0123`.
pub fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let mut scale = 0;
    let mut probe = value.abs();
    while probe < 100.0 && scale < 9 {
        probe *= 10.0;
        scale += 1;
    }
    if probe >= 999.5 && scale > 0 {
        scale -= 1;
    }
    format!("{value:.scale$}")
}

/// Splits `total` in proportion to `weights` so that the parts sum to the whole exactly (largest
/// remainder; ties to the earlier part). With no positive weight the first part takes all.
pub fn split(total: i128, weights: &[u64]) -> Vec<i128> {
    let sum: i128 = weights.iter().map(|w| i128::from(*w)).sum();
    let mut parts = vec![0; weights.len()];
    if sum == 0 {
        if let Some(first) = parts.first_mut() {
            *first = total;
        }
        return parts;
    }
    let sign = if total < 0 { -1 } else { 1 };
    let magnitude = total.abs();
    let (whole, rest) = (magnitude / sum, magnitude % sum);
    let mut remainders: Vec<(i128, usize)> = Vec::with_capacity(weights.len());
    let mut given = 0;
    for (i, weight) in weights.iter().enumerate() {
        let weight = i128::from(*weight);
        parts[i] = whole * weight + rest * weight / sum;
        given += parts[i];
        remainders.push((rest * weight % sum, i));
    }
    remainders.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, i) in remainders.iter().take((magnitude - given) as usize) {
        parts[*i] += 1;
    }
    parts.iter().map(|part| part * sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_kilowatt_for_an_hour_at_500_grams() {
        let energy = Watts::from_watts_f64(1000.0) * Span::HOUR;
        assert_eq!(energy.as_kwh_f64(), 1.0);
        assert_eq!(energy * GramsCo2PerKwh::from_grams_f64(500.0), GramsCo2::from_grams_f64(500.0));
        assert_eq!(MoneyPerHour::from_units_f64(0.4) * Span::from_seconds(900), Money::from_units_f64(0.1));
    }

    #[test]
    fn three_significant_digits() {
        assert_eq!(GramsCo2::from_grams_f64(1254.0).to_string(), "1.25 kg");
        assert_eq!(GramsCo2::from_grams_f64(0.5).to_string(), "500 mg");
        assert_eq!(Joules::from_kwh_f64(0.0831).to_string(), "83.1 Wh");
        assert_eq!(significant(1234.4), "1234");
        assert_eq!(significant(99.96), "100");
        assert_eq!(significant(-0.01234), "-0.0123");
    }

    proptest! {
        #[test]
        fn shares_sum_to_the_whole(total in -10i128.pow(24)..10i128.pow(24), weights in prop::collection::vec(0u64..1_000_000_000, 1..20)) {
            let parts = split(total, &weights);
            prop_assert_eq!(parts.iter().sum::<i128>(), total);
        }

        #[test]
        fn energy_of_two_halves_is_energy_of_the_whole(uw in 0i64..10_000_000_000, a in 0i64..1_000_000, b in 0i64..1_000_000) {
            let p = Watts::from_microwatts(uw);
            let seconds = Span::from_seconds;
            prop_assert_eq!(p * seconds(a) + p * seconds(b), p * seconds(a + b));
        }
    }
}
