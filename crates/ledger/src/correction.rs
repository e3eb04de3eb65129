//! A Job's ledger line anew, where the intensity it was priced with came to be known better: `job/UID#2` and so on.
//!
//! Energy, run times and money stay as they were; emissions of each run and of the baseline are their power times the
//! intensity as it is known now, and with them what was saved. Transfers keep the intensity they were priced
//! with. Nothing is corrected by a worse source, nor before the new one covers all of a run.

use crate::entry::{Entry, RunLine};
use crate::footprint::Footprint;
use crate::usage::Replaces;
use fleet::{ClusterId, GramsCo2, Instant, Provenance, Series, Span, Watts};

/// Most versions of a line; a source that corrects itself more often than that is not believed any more.
pub const VERSIONS_MAX: u32 = 20;

/// What is known of a zone's past now.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The values.
    pub actual: &'a Series,
    /// Where they came from.
    pub from: &'a Provenance,
}

impl Known<'_> {
    /// Whether it may stand in place of what another source said of `[from, to)`: it covers that time, is no worse, and counts
    /// the same (average, or marginal).
    pub fn betters(&self, other: &Provenance, from: Instant, to: Instant) -> bool {
        let marginal = |p: &Provenance| p.source.contains("marginal");
        let last = to - Span::from_nanos(1);
        let covers = self.actual.covers(from) && (last < from || self.actual.covers(last));
        covers && self.from.kind <= other.kind && marginal(self.from) == marginal(other)
    }
}

/// Emissions of a run's energy, which its constant power drew in `[from, to)`.
fn emitted(footprint: Footprint, known: Known<'_>, from: Instant, to: Instant) -> Footprint {
    let span = i128::from((to - from).as_nanos());
    if span <= 0 {
        return footprint;
    }
    // µJ over ns, in µW.
    let power = footprint.energy.as_microjoules() * 1_000_000_000 / span;
    let power = Watts::from_microwatts(power.clamp(0, i64::MAX.into()) as i64);
    let carbon = known.actual.emissions(power, from, to) + footprint.embodied;
    Footprint { carbon, ..footprint }
}

/// Number of a version of a line, from its id.
pub fn version(id: &str) -> u32 {
    id.rsplit_once('#').and_then(|(_, number)| number.parse().ok()).unwrap_or(1)
}

/// Id of a line without its version.
pub fn base(id: &str) -> &str {
    id.rsplit_once('#').filter(|(_, number)| number.parse::<u32>().is_ok()).map_or(id, |(base, _)| base)
}

/// The next version of a line, where what is known now makes it another; `None` where it stands. `known` gives what is
/// known of a cluster's zone, where that has news.
pub fn corrected<'a>(
    entry: &Entry,
    recorded: Instant,
    known: impl Fn(&ClusterId) -> Option<Known<'a>>,
) -> Option<Entry> {
    let mut next = entry.clone();
    let mut sources = Vec::new();
    for RunLine { run, footprint, intensity } in &mut next.runs {
        let Some(known) = known(&run.cluster) else { continue };
        if known.betters(intensity, run.from, run.to) {
            *footprint = emitted(*footprint, known, run.from, run.to);
            *intensity = known.from.clone();
            sources.push(known.from.source.clone());
        }
    }
    let runs: Footprint = next.runs.iter().map(|line| line.footprint).sum();
    next.actual = runs + next.transfer;
    let home = &mut next.baseline;
    if let Some(known) = known(&home.cluster)
        && known.betters(&home.intensity, home.from, home.to)
    {
        home.footprint = emitted(home.footprint - home.transfer, known, home.from, home.to) + home.transfer;
        home.intensity = known.from.clone();
        sources.push(known.from.source.clone());
    }
    let number = version(&entry.id) + 1;
    let differs = |a: GramsCo2, b: GramsCo2| (a - b).as_micrograms().abs() > ROUNDING_UG;
    let changed = differs(next.actual.carbon, entry.actual.carbon)
        || differs(next.baseline.footprint.carbon, entry.baseline.footprint.carbon);
    if !changed || number > VERSIONS_MAX {
        return None;
    }
    sources.sort();
    sources.dedup();
    let why = format!("the intensity of these hours is known better now, from {}", sources.join(", "));
    next.replaces = Some(Replaces { id: entry.id.clone(), why });
    next.id = format!("{}#{number}", base(&entry.id));
    next.recorded = recorded;
    Some(next)
}

/// Differences up to this are rounding: of power to the µW and of each hour to the µg.
const ROUNDING_UG: i128 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, Place, Run, account};
    use fleet::{
        Bytes, Cpu, DataSource, GramsCo2PerKwh, JobKey, MoneyPerHour, ObjectName, Rates, Resources,
        SignalKind,
    };
    use std::collections::BTreeMap;

    fn at(hours: i64) -> Instant {
        Instant::EPOCH + Span::HOUR.scaled(hours, 1)
    }
    fn series(grams: &[f64]) -> Series {
        Series::new(at(0), Span::HOUR, grams.iter().map(|g| GramsCo2PerKwh::from_grams_f64(*g)).collect())
            .unwrap()
    }
    fn from(source: &str, kind: SignalKind) -> Provenance {
        Provenance { source: source.to_owned(), kind, as_of: at(0) }
    }
    fn cluster(name: &str) -> ClusterId {
        ClusterId::new(name).unwrap()
    }

    /// Created at 0 in `a`, ran from 2 to 4 in `b`, data at `a`.
    fn entry(a: &Series, b: &Series, data_at: &str) -> Entry {
        let rates = Rates {
            core_power: Watts::from_watts_f64(7.0),
            gpu_power: Watts::ZERO,
            core_price: MoneyPerHour::from_units_f64(0.05),
            gpu_price: MoneyPerHour::ZERO,
            embodied: None,
        };
        let place = |series: &Series| Place {
            rates,
            intensity: series.clone(),
            provenance: from("x", SignalKind::Forecast),
        };
        let places = BTreeMap::from([(cluster("a"), place(a)), (cluster("b"), place(b))]);
        let name = |text| ObjectName::new(text).unwrap();
        account(&Account {
            job: JobKey { cluster: cluster("a"), namespace: name("n"), name: name("j") },
            uid: "u".to_owned(),
            recorded: at(4),
            created: at(0),
            finished: at(4),
            deadline: None,
            succeeded: true,
            demand: Resources { cpu: Cpu::from_cores(3), ..Resources::ZERO },
            baseline: None,
            data: Some(DataSource { size: Bytes::from_gib(7), at: cluster(data_at) }),
            runs: vec![Run { cluster: cluster("b"), from: at(2), to: at(4) }],
            places: &places,
            transfer_kwh_per_gb: 0.005,
            transfer_price_per_gb: 0.02,
        })
        .unwrap()
    }

    #[test]
    fn a_line_made_anew_is_what_it_would_have_been_had_all_been_known() {
        let (a, b) = (series(&[500.0; 6]), series(&[200.0; 6]));
        let first = entry(&a, &b, "a");
        let (a_now, b_now) = (series(&[480.0, 520.0, 1.0, 1.0]), series(&[9.0, 9.0, 150.0, 130.0]));
        let news = from("y", SignalKind::Measured);
        let known = |id: &ClusterId| {
            let actual = if id.as_str() == "a" { &a_now } else { &b_now };
            Some(Known { actual, from: &news })
        };
        let second = corrected(&first, at(9), known).unwrap();
        assert_eq!(second.id, "job/u#2");
        assert_eq!(second.replaces.as_ref().unwrap().id, "job/u");
        // Transfers keep their intensity; the rest is as if priced now.
        let now = entry(&a_now, &b_now, "a");
        let near = |x: GramsCo2, y: GramsCo2| assert!((x - y).as_micrograms().abs() < 100, "{x:?} {y:?}");
        near(second.runs[0].footprint.carbon, now.runs[0].footprint.carbon);
        near(second.baseline.footprint.carbon, now.baseline.footprint.carbon);
        assert_eq!(
            (second.transfer, second.actual.cost, second.actual.energy),
            (first.transfer, first.actual.cost, first.actual.energy)
        );
        near(
            second.saved_carbon(),
            second.baseline.footprint.carbon - second.runs[0].footprint.carbon - first.transfer.carbon,
        );
        assert_eq!(corrected(&second, at(10), known), None, "nothing new");
        let third = corrected(&second, at(10), |_| Some(Known { actual: &a, from: &news })).unwrap();
        assert_eq!((third.id.as_str(), base(&third.id), version(&third.id)), ("job/u#3", "job/u", 3));
    }

    #[test]
    fn what_moving_data_to_the_baseline_burnt_stays() {
        let (a, b) = (series(&[500.0; 6]), series(&[200.0; 6]));
        let first = entry(&a, &b, "b");
        assert!(!first.baseline.transfer.energy.is_zero());
        let (news, now) = (from("y", SignalKind::Measured), series(&[100.0; 6]));
        let known = |id: &ClusterId| (id.as_str() == "a").then_some(Known { actual: &now, from: &news });
        let second = corrected(&first, at(9), known).unwrap();
        let work = |entry: &Entry| entry.baseline.footprint.carbon - entry.baseline.transfer.carbon;
        let left = work(&first).as_micrograms() - 5 * work(&second).as_micrograms();
        assert!(left.abs() < 100, "a fifth of the intensity: {left}");
        assert_eq!(second.actual, first.actual);
    }

    #[test]
    fn a_worse_source_a_short_one_and_one_that_counts_otherwise_correct_nothing() {
        let (a, b) = (series(&[500.0; 6]), series(&[200.0; 6]));
        let first = entry(&a, &b, "a");
        let long = series(&[10.0; 6]);
        for (values, source, kind) in [
            (&long, "y", SignalKind::Assumed),
            (&series(&[10.0; 2]), "y", SignalKind::Measured),
            (&long, "y (marginal)", SignalKind::Measured),
        ] {
            let news = from(source, kind);
            let found = corrected(&first, at(9), |_| Some(Known { actual: values, from: &news }));
            let baseline_only = values.values().len() == 2;
            assert_eq!(found.is_some(), baseline_only, "{source}");
            if let Some(found) = found {
                assert_eq!(found.runs, first.runs, "its hours are not known yet");
            }
        }
    }
}
