//! Variants of a scenario held against the first one, over seeds: what each is better at, and whether that is shown.
//!
//! Every seed is played with every variant, so differences are paired: `d(i) = variant(i) − first(i)`. Over n ≥ 3 seeds with
//! mean m and standard deviation s (divisor n − 1), Student's t = m / (s / √n) has n − 1 degrees of freedom if differences are
//! normal; p is two-sided, from the closed forms for whole degrees (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4). Where
//! all seeds differ by the same amount, s is 0 and p is 0. As many comparisons are made at once, p is held against
//! [`LEVEL`] after Holm's correction (1979) over all of them. Less is better of every measure. Pure.

use serde::Serialize;
use twin::scenario::Report;

/// How often all of a table's differences together may look real by chance where none is.
pub const LEVEL: f64 = 0.05;
/// Fewest seeds over which a difference is judged.
pub const SEEDS_MIN: usize = 3;
/// Parts of a value below which a difference is none: rounding of sums in floating point.
const NOTHING: f64 = 1e-9;

/// What variants are held against each other by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// Milliseconds within which 95 % of all answers were there, of the slowest Service.
    P95,
    /// Requests without an answer, in per cent.
    Errors,
    /// Energy of the machines, kWh, PUE included.
    Energy,
    /// Emissions of that energy, g CO2e.
    Carbon,
    /// Price of the machines, in the fleet's currency.
    Cost,
    /// Jobs that were late, and messages that died.
    Late,
    /// Expectations that were not met, and steps that were refused.
    Unmet,
}

impl Measure {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Measure; 7] = [
        Measure::P95,
        Measure::Errors,
        Measure::Energy,
        Measure::Carbon,
        Measure::Cost,
        Measure::Late,
        Measure::Unmet,
    ];
    /// Its name and unit, as a table's head has it.
    pub fn head(self, currency: &str) -> String {
        match self {
            Measure::P95 => "P95 ms".to_owned(),
            Measure::Errors => "ERRORS %".to_owned(),
            Measure::Energy => "kWh".to_owned(),
            Measure::Carbon => "g CO2e".to_owned(),
            Measure::Cost => currency.to_owned(),
            Measure::Late => "LATE".to_owned(),
            Measure::Unmet => "NOT AS EXPECTED".to_owned(),
        }
    }
    /// Its name in a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::P95 => "latency",
            Measure::Errors => "errors",
            Measure::Energy => "energy",
            Measure::Carbon => "carbon",
            Measure::Cost => "money",
            Measure::Late => "work late",
            Measure::Unmet => "expectations",
        }
    }
    /// What a run came to; `None`: it has none of it.
    pub fn of(self, report: &Report) -> Option<f64> {
        let counts = || report.traffic.iter().map(|own| own.counts);
        match self {
            Measure::P95 => {
                report.traffic.iter().filter_map(|own| own.p95_milliseconds).max_by(f64::total_cmp)
            }
            Measure::Errors => {
                let requests: i64 = counts().map(|counts| counts.requests).sum();
                let failed: i64 = counts().map(|counts| counts.failed()).sum();
                (requests > 0).then(|| failed as f64 / requests as f64 * 100.0)
            }
            Measure::Energy => Some(report.drawn.kwh()),
            Measure::Carbon => report.drawn.gco2e,
            Measure::Cost => Some(report.drawn.cost),
            Measure::Late => {
                let dead: i64 =
                    report.queues.iter().map(|own| own.counts.expired + own.counts.overflowed).sum();
                let work = report.work.jobs > 0 || !report.queues.is_empty();
                work.then_some(report.work.late as f64 + dead as f64)
            }
            Measure::Unmet => {
                let unmet = report.expectations.iter().filter(|outcome| !outcome.met).count();
                let some = !report.expectations.is_empty() || !report.refused.is_empty();
                some.then_some((unmet + report.refused.len()) as f64)
            }
        }
    }
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Less than the first, and not by chance.
    Better,
    /// More than the first, and not by chance.
    Worse,
    /// The same on every seed.
    Same,
    /// The seeds differ too much among themselves for their number.
    NotShown,
    /// There are too few seeds to say.
    NotJudged,
}

/// A variant against the first one, by one measure.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// By which.
    pub measure: Measure,
    /// Mean of the differences over the seeds.
    pub mean: f64,
    /// That, in per cent of the first one's mean; `None`: that is 0.
    pub percent: Option<f64>,
    /// The mean lies within so much of the true one in 95 of 100 cases; `None`: too few seeds.
    pub within: Option<f64>,
    /// How likely a difference like it is by chance, after Holm's correction; `None`: too few seeds.
    pub p: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
}

/// A variant, by every measure that all runs have.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// Means over the seeds.
    pub means: Vec<(Measure, f64)>,
    /// Against the first; empty for the first itself.
    pub differences: Vec<Difference>,
}

/// Share of Student's distribution of `degrees` within ±`t`.
fn within(t: f64, degrees: usize) -> f64 {
    let nu = degrees as f64;
    let theta = (t / nu.sqrt()).atan();
    let (sin, cos) = theta.sin_cos();
    let (mut term, mut sum) = if degrees % 2 == 1 { (cos, 0.0) } else { (1.0, 1.0) };
    if degrees % 2 == 1 {
        let mut k = 1;
        while k + 2 <= degrees {
            sum += term;
            term *= cos * cos * (k + 1) as f64 / (k + 2) as f64;
            k += 2;
        }
        return (theta + sin * sum) * 2.0 / std::f64::consts::PI;
    }
    let mut k = 2;
    while k < degrees {
        term *= cos * cos * (k - 1) as f64 / k as f64;
        sum += term;
        k += 2;
    }
    sin * sum
}

/// The t within which a share of Student's distribution lies, by halving.
fn quantile(share: f64, degrees: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1e4);
    // Each halves what is left: 60 of them are beyond what numbers tell apart.
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if within(middle, degrees) < share { low = middle } else { high = middle }
    }
    high
}

/// A variant against the first, before correction.
fn difference(measure: Measure, first: &[f64], own: &[f64]) -> Difference {
    let n = first.len();
    let paired: Vec<f64> = own.iter().zip(first).map(|(own, first)| own - first).collect();
    let mean = paired.iter().sum::<f64>() / n as f64;
    let base = first.iter().sum::<f64>() / n as f64;
    let nothing = first.iter().chain(own).fold(0.0, |most: f64, value| most.max(value.abs())) * NOTHING;
    let percent = (base != 0.0).then(|| mean / base * 100.0);
    let same = paired.iter().all(|d| d.abs() <= nothing);
    let plain = Difference { measure, mean, percent, within: None, p: None, verdict: Verdict::NotJudged };
    if same {
        return Difference { mean: 0.0, percent: percent.map(|_| 0.0), verdict: Verdict::Same, ..plain };
    }
    if n < SEEDS_MIN {
        return plain;
    }
    let variance = paired.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / (n - 1) as f64;
    let error = (variance / n as f64).sqrt();
    let p = if error <= nothing { 0.0 } else { (1.0 - within(mean.abs() / error, n - 1)).max(0.0) };
    let half = error * quantile(1.0 - LEVEL, n - 1);
    Difference { within: Some(half), p: Some(p), verdict: Verdict::NotShown, ..plain }
}

/// Corrects all p of a table by Holm's method, and says what follows.
fn judge(all: &mut [Compared]) {
    let mut judged: Vec<&mut Difference> = all
        .iter_mut()
        .flat_map(|own| own.differences.iter_mut())
        .filter(|difference| difference.p.is_some())
        .collect();
    judged.sort_by(|one, other| one.p.unwrap_or(1.0).total_cmp(&other.p.unwrap_or(1.0)));
    let (many, mut least) = (judged.len(), 0.0f64);
    for (i, difference) in judged.into_iter().enumerate() {
        let corrected = (difference.p.unwrap_or(1.0) * (many - i) as f64).min(1.0).max(least);
        least = corrected;
        difference.p = Some(corrected);
        difference.verdict = match (corrected < LEVEL, difference.mean < 0.0) {
            (false, _) => Verdict::NotShown,
            (true, true) => Verdict::Better,
            (true, false) => Verdict::Worse,
        };
    }
}

/// Holds variants against the first. `runs` has of each variant what each seed came to, in the order of
/// [`Measure::ALL`]; all of them with the same seeds. A measure is shown if every run has it.
pub fn compare(runs: &[Vec<[Option<f64>; Measure::ALL.len()]>]) -> Vec<Compared> {
    let everywhere = |at: &usize| runs.iter().flatten().all(|run| run[*at].is_some());
    let shown: Vec<usize> = (0..Measure::ALL.len()).filter(everywhere).collect();
    let values = |variant: &[[Option<f64>; Measure::ALL.len()]], at: usize| -> Vec<f64> {
        variant.iter().filter_map(|run| run[at]).collect()
    };
    let mut all: Vec<Compared> = Vec::with_capacity(runs.len());
    for (i, variant) in runs.iter().enumerate().filter(|(_, variant)| !variant.is_empty()) {
        let mean = |at: usize| values(variant, at).iter().sum::<f64>() / variant.len() as f64;
        let against =
            |at: &usize| difference(Measure::ALL[*at], &values(&runs[0], *at), &values(variant, *at));
        all.push(Compared {
            means: shown.iter().map(|at| (Measure::ALL[*at], mean(*at))).collect(),
            differences: if i == 0 { Vec::new() } else { shown.iter().map(against).collect() },
        });
    }
    judge(&mut all);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Tables of Student's distribution, two-sided (e.g. Abramowitz and Stegun, table 26.10).
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (degrees, share, t) in [
            (1, 0.95, 12.706),
            (2, 0.95, 4.303),
            (3, 0.95, 3.182),
            (4, 0.95, 2.776),
            (9, 0.95, 2.262),
            (10, 0.99, 3.169),
            (30, 0.95, 2.042),
            (29, 0.5, 0.683),
            (120, 0.95, 1.980),
        ] {
            assert!((quantile(share, degrees) - t).abs() < 0.001, "{degrees}: {}", quantile(share, degrees));
        }
    }

    fn runs(first: &[f64], own: &[f64]) -> Vec<Compared> {
        let of = |values: &[f64]| -> Vec<[Option<f64>; 7]> {
            values.iter().map(|value| [None, None, Some(*value), None, None, None, Some(1.0)]).collect()
        };
        compare(&[of(first), of(own)])
    }

    #[test]
    fn a_difference_is_shown_where_seeds_agree() {
        // By hand: differences 1, 2, 1.5, 1, 2 have mean 1.5 and s 0.5; t = 6.71, p = 0.0026 with 4 degrees.
        let all = runs(&[10.0, 11.0, 12.0, 13.0, 14.0], &[11.0, 13.0, 13.5, 14.0, 16.0]);
        let own = &all[1].differences[0];
        assert_eq!(
            (own.measure, own.verdict, all[1].differences[1].verdict),
            (Measure::Energy, Verdict::Worse, Verdict::Same)
        );
        let close =
            |value: Option<f64>, wanted: f64| value.is_some_and(|value| (value - wanted).abs() < 0.001);
        assert!(close(Some(own.mean), 1.5) && close(own.percent, 12.5), "{own:?}");
        assert!(close(own.p, 0.0026) && close(own.within, 0.621), "{own:?}");
        let noisy = runs(&[10.0, 11.0, 12.0, 13.0, 14.0], &[14.0, 8.0, 13.0, 9.0, 15.0]);
        assert_eq!(noisy[1].differences[0].verdict, Verdict::NotShown);
        let steady = runs(&[10.0, 11.0, 12.0], &[9.0, 10.0, 11.0]);
        assert_eq!(
            (steady[1].differences[0].verdict, steady[1].differences[0].p),
            (Verdict::Better, Some(0.0))
        );
        let few = runs(&[10.0, 11.0], &[9.0, 10.0]);
        assert_eq!((few[1].differences[0].verdict, few[1].differences[0].p), (Verdict::NotJudged, None));
    }

    #[test]
    fn many_comparisons_make_each_harder() {
        let of =
            |values: [f64; 5]| values.map(|value| [None, None, Some(value), None, None, None, None]).to_vec();
        let first = of([10.0, 11.0, 12.0, 13.0, 14.0]);
        let own = of([10.5, 11.9, 12.4, 13.1, 14.7]);
        let alone = compare(&[first.clone(), own.clone()]);
        let p = alone[1].differences[0].p.unwrap();
        assert!(p < LEVEL && alone[1].differences[0].verdict == Verdict::Worse, "{p}");
        let many = compare(&[first, own.clone(), own.clone(), own]);
        let corrected = many[1].differences[0].p.unwrap();
        assert!((corrected - 3.0 * p).abs() < 1e-9, "{corrected} {p}");
        assert_eq!(many[3].differences[0].verdict, Verdict::NotShown);
    }

    proptest! {
        #[test]
        fn what_is_shown_does_not_depend_on_order_or_unit(
            pairs in proptest::collection::vec((0.0f64..100.0, 0.0f64..100.0), 3..12), unit in 0.001f64..1000.0
        ) {
            let (first, own): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            let plain = runs(&first, &own)[1].differences[0].clone();
            let turned: (Vec<f64>, Vec<f64>) = pairs.iter().rev().map(|(a, b)| (a * unit, b * unit)).unzip();
            let other = runs(&turned.0, &turned.1)[1].differences[0].clone();
            prop_assert!((plain.p.unwrap_or(2.0) - other.p.unwrap_or(2.0)).abs() < 1e-6);
            // The other way round it is as likely, and the verdict is the opposite.
            let swapped = runs(&own, &first)[1].differences[0].clone();
            prop_assert!((plain.p.unwrap_or(2.0) - swapped.p.unwrap_or(2.0)).abs() < 1e-6);
            prop_assert_eq!(plain.verdict == Verdict::Better, swapped.verdict == Verdict::Worse);
        }
    }
}
