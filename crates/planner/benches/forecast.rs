//! Forecasts of real grid zones against what really happened, and against two naive rules.
//!
//! `cargo bench -p planner --bench forecast [-- ZONE|chosen|held …]` reads `$KUBERCARBON_TESTDATA/data/carbon`
//! (hourly life-cycle intensity, Electricity Maps 2021 and 2022) and prints a line a zone: mean absolute error
//! in percent of the actual value (MAPE) and in percent of the zone's mean (MAE), over the hours 0 to 23 and
//! 0 to 95 after every issue; issues are every day at 0, 6, 12 and 18 h UTC, each with the 30 days before it
//! for history. Figures, never pass or fail.
//!
//! Settings were chosen on the set `chosen`: 2021 of the file that has two years, and every other one, by the
//! alphabet, of the zones that only the file of 2022 has. The set `held` is the rest, and took no part.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::unwrap_used)] // A benchmark ends where there is nothing to measure.

use fleet::{GramsCo2PerKwh, Instant, Series, Span};
use planner::forecast::forecast_with_spread;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

const DAY: usize = 24;
const PAST: usize = 30 * DAY;
const REACH: usize = 4 * DAY;
const YEAR: usize = 365 * DAY;
/// Hours between issues.
const EVERY: usize = 6;
/// Zones whose column never changes: every rule is exact.
const CONSTANT: [&str; 3] = ["HK", "ID", "US-NW-SCL"];

/// One zone's year, after as much history as there is.
struct Case {
    zone: String,
    held: bool,
    values: Vec<f64>,
    first: usize,
}

/// Sums over hours: errors of ours, of yesterday and of last week; hours under each quantile.
#[derive(Clone, Copy, Default)]
struct Tally {
    hours: f64,
    actual: f64,
    shares: [f64; 3],
    grams: [f64; 3],
    under: [f64; 3],
}

impl Tally {
    fn mape(&self) -> [f64; 3] {
        self.shares.map(|sum| 100.0 * sum / self.hours)
    }
    fn mae(&self) -> [f64; 3] {
        self.grams.map(|sum| 100.0 * sum / self.actual)
    }
    fn coverage(&self) -> [f64; 3] {
        self.under.map(|sum| 100.0 * sum / self.hours)
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).ok()?).read_to_string(&mut text).unwrap();
    Some(text)
}

fn cases(folder: &Path) -> Option<Vec<Case>> {
    let (long, wide) = (
        read(&folder.join("hourly_em_2021_2022.csv.gz"))?,
        read(&folder.join("hourly_lca_2022_123zones.csv.gz"))?,
    );
    let mut two_years: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in long.lines().skip(1) {
        let mut cells = line.split(',');
        let zone = cells.next().unwrap().to_owned();
        two_years.entry(zone).or_default().push(cells.nth(1).unwrap().parse().unwrap());
    }
    let mut lines = wide.lines();
    let names: Vec<&str> = lines.next()?.split(',').skip(1).collect();
    let mut columns = vec![Vec::new(); names.len()];
    for line in lines {
        for (column, cell) in columns.iter_mut().zip(line.split(',').skip(1)) {
            column.push(cell.parse().unwrap());
        }
    }
    let one_year: BTreeMap<&str, Vec<f64>> = names.into_iter().zip(columns).collect();
    let only =
        one_year.into_iter().filter(|(zone, _)| !two_years.contains_key(*zone) && !CONSTANT.contains(zone));
    let mut cases: Vec<Case> = only
        .enumerate()
        .map(|(i, (zone, values))| Case { zone: zone.to_owned(), held: i % 2 == 1, values, first: PAST })
        .collect();
    for (zone, values) in two_years {
        cases.push(Case { zone: zone.clone(), held: false, values: values[..YEAR].to_vec(), first: PAST });
        cases.push(Case { zone, held: true, values, first: YEAR });
    }
    cases.sort_by(|a, b| (a.held, &a.zone).cmp(&(b.held, &b.zone)));
    Some(cases)
}

fn hour(hours: usize) -> Instant {
    Instant::from_unix_seconds(hours as i64 * 3600)
}

/// Tallies over 24 and over 96 h.
fn judge(case: &Case) -> [Tally; 2] {
    let mut tallies = [Tally::default(); 2];
    let values = &case.values;
    for issue in (case.first..values.len() - REACH).step_by(EVERY) {
        let past = values[issue - PAST..issue].iter().map(|v| GramsCo2PerKwh::from_grams_f64(*v)).collect();
        let past = Series::new(hour(issue - PAST), Span::HOUR, past).unwrap();
        let ours = forecast_with_spread(&past, hour(issue), REACH);
        for lead in 0..REACH {
            let at = issue + lead;
            let grams = |series: &Series| series.values()[lead].as_grams_f64();
            let foreseen = [grams(&ours.expected), values[at - DAY * (lead / DAY + 1)], values[at - 7 * DAY]];
            let quantiles = [grams(&ours.low), grams(&ours.expected), grams(&ours.high)];
            let from = usize::from(lead >= DAY);
            for tally in &mut tallies[from..] {
                tally.hours += 1.0;
                tally.actual += values[at];
                for rule in 0..3 {
                    let off = (foreseen[rule] - values[at]).abs();
                    tally.grams[rule] += off;
                    tally.shares[rule] += off / values[at];
                    // An exact hit is half under, half over.
                    let (under, exact) = (values[at] < quantiles[rule], values[at] == quantiles[rule]);
                    tally.under[rule] += if exact { 0.5 } else { f64::from(u8::from(under)) };
                }
            }
        }
    }
    tallies
}

fn judge_all(cases: &[Case]) -> Vec<[Tally; 2]> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = cases.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = cases
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(judge).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

fn row(values: [f64; 3]) -> String {
    values.map(|value| format!("{value:6.2}")).join(" ")
}

fn line(name: &str, set: &str, tallies: &[[f64; 3]; 6]) {
    println!("{name:<14} {set:<7} {}", tallies.map(row).join(" | "));
}

fn figures(tallies: &[Tally; 2]) -> [[f64; 3]; 6] {
    let [day, days] = tallies;
    [day.mape(), days.mape(), day.mae(), days.mae(), day.coverage(), days.coverage()]
}

/// Means over zones, and in how many of them ours is at least as near as both rules.
fn summary(set: &str, all: &[[[f64; 3]; 6]]) {
    let mut mean = [[0.0; 3]; 6];
    for zone in all {
        for (sums, values) in mean.iter_mut().zip(zone) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value / all.len() as f64;
            }
        }
    }
    line(&format!("mean of {}", all.len()), set, &mean);
    let ahead = |column: usize| {
        all.iter().filter(|zone| zone[column][0] <= zone[column][1].min(zone[column][2])).count()
    };
    println!(
        "at least as near as both rules, of {} zones: MAPE {} (24 h), {} (96 h); MAE {}, {}",
        all.len(),
        ahead(0),
        ahead(1),
        ahead(2),
        ahead(3)
    );
}

fn time() {
    let values = (0..PAST).map(|h| GramsCo2PerKwh::from_grams_f64(300.0 + ((h * 37) % 101) as f64)).collect();
    let past = Series::new(hour(0), Span::HOUR, values).unwrap();
    let batch = || {
        let begin = std::time::Instant::now();
        for _ in 0..100 {
            std::hint::black_box(forecast_with_spread(std::hint::black_box(&past), hour(PAST), 14 * DAY));
        }
        begin.elapsed().as_secs_f64() * 10.0
    };
    // Other work on the machine makes batches slower, never faster.
    let least = (0..10).map(|_| batch()).fold(f64::INFINITY, f64::min);
    println!("one forecast of 14 days from 30 days: {least:.3} ms, the best of ten batches of 100");
}

fn main() {
    let root = std::env::var_os("KUBERCARBON_TESTDATA");
    let Some(mut cases) = root.and_then(|root| cases(&Path::new(&root).join("data/carbon"))) else {
        println!("skipped: no test data");
        return;
    };
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let set = |case: &Case| if case.held { "held" } else { "chosen" };
    cases.retain(|case| named.is_empty() || named.iter().any(|name| *name == case.zone || name == set(case)));
    time();
    println!(
        "each triple: ours, same hour yesterday, same hour last week; coverage: under low, expected, high, in %"
    );
    println!(
        "zone           set     MAPE 24 h | MAPE 96 h | MAE 24 h | MAE 96 h | coverage 24 h | coverage 96 h"
    );
    let all: Vec<_> = judge_all(&cases).iter().map(figures).collect();
    for (set, held) in [("chosen", false), ("held", true)] {
        let mut of_set = Vec::new();
        for (case, figures) in cases.iter().zip(&all).filter(|(case, _)| case.held == held) {
            line(&case.zone, set, figures);
            of_set.push(*figures);
        }
        if !of_set.is_empty() {
            summary(set, &of_set);
        }
    }
}
