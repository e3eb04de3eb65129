//! `kubercarbon simulate SCENARIO --vary …`: every variant with every seed, on all cores, held against the first.
//!
//! Runs share nothing and are put in order of variant and seed whatever thread ends first, so that the result is the same
//! with any number of threads.

use crate::format;
use crate::options::{Common, Simulate};
use crate::progress;
use crate::report::{self, Cell, Grid};
use crate::table::{Align, Table, fitted};
use crate::threads;
use anyhow::{Context, ensure};
use control::compare::{self, Compared, Difference, Measure, Verdict};
use fleet::quantity::significant;
use serde::Serialize;
use serde_json::{Map, Value, json};
use server::scenario::{self, Change, Report, Scenario};
use std::process::ExitCode;

/// Most runs: variants times seeds.
const RUNS_MAX: usize = 1000;
/// Letters of a variant's name in a table that is not wide.
const NAME_MAX: usize = 44;

/// One way the scenario may be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Variant {
    name: String,
    changes: Vec<Change>,
}

/// What a run is judged by.
type Measures = [Option<f64>; Measure::ALL.len()];
/// What a thread hands back of a run: the report of a variant's first seed alone.
type Played = (Measures, Option<Report>);

/// Text at signs that stand outside of double quotes.
fn split(text: &str, sign: char, most: usize) -> Vec<String> {
    let (mut parts, mut quoted) = (vec![String::new()], false);
    for own in text.chars() {
        quoted ^= own == '"';
        if own == sign && !quoted && parts.len() < most {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(own);
        }
    }
    parts
}

/// What `--vary` says: a place, and the values to be tried there.
fn read(text: &str) -> anyhow::Result<Vec<Change>> {
    let expected = "expected PLACE=VALUE,VALUE, e.g. hpa.target=50,70,90 or Deployment/web:spec.replicas=2,4";
    let parts = split(text, '=', 2);
    let [place, values] = parts.as_slice() else { anyhow::bail!("--vary {text:?}: {expected}") };
    let bare = |value: String| {
        let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.map_or(value.trim().to_owned(), str::to_owned)
    };
    let values: Vec<String> = split(values, ',', usize::MAX).into_iter().map(bare).collect();
    ensure!(
        !place.trim().is_empty() && values.iter().all(|value| !value.is_empty()),
        "--vary {text:?}: {expected}"
    );
    let change = |value: String| Change { place: place.trim().to_owned(), value };
    Ok(values.into_iter().map(change).collect())
}

/// Every combination of what may vary, the first place changing slowest.
fn variants(stated: &[String], seeds: usize) -> anyhow::Result<Vec<Variant>> {
    let mut all = vec![Variant { name: String::new(), changes: Vec::new() }];
    for text in stated {
        let values = read(text)?;
        let runs = all.len().saturating_mul(values.len()).saturating_mul(seeds);
        ensure!(
            runs <= RUNS_MAX,
            "--vary: {} variants with {seeds} seeds each: expected at most {RUNS_MAX} runs",
            all.len() * values.len()
        );
        let with = |before: &Variant, change: &Change| {
            let gap = if before.name.is_empty() { "" } else { " " };
            let name = format!("{}{gap}{}={}", before.name, change.place, change.value);
            Variant { name, changes: before.changes.iter().chain([change]).cloned().collect() }
        };
        all = all.iter().flat_map(|before| values.iter().map(move |change| with(before, change))).collect();
    }
    if stated.is_empty() {
        all[0].name = "as written".to_owned();
    }
    Ok(all)
}

/// Plays all, and gives what each came to, by variant and seed, and the report of each variant's first seed.
fn play(all: &[Scenario], seeds: usize, on: Option<usize>, quiet: bool) -> (Vec<Vec<Measures>>, Vec<Report>) {
    let seconds = all.first().map_or(0, |own| own.length().as_seconds().max(0) as u64);
    let runs = all.len() * seeds;
    let bar = progress::bar(quiet, &format!("{runs} runs"), seconds * runs as u64);
    let done: Vec<Played> = threads::each(runs, on, |at| {
        let (variant, seed) = (at / seeds, at % seeds);
        let mut own = all[variant].clone();
        own.seed = own.seed.wrapping_add(seed as u64);
        let mut told = 0;
        let report = scenario::run_with(&own, &mut |since| {
            let now = since.as_seconds().max(0) as u64;
            bar.inc(now.saturating_sub(told));
            told = now;
        });
        let measures = Measure::ALL.map(|measure| measure.of(&report));
        (measures, (seed == 0).then_some(report))
    });
    bar.finish_and_clear();
    let (mut measures, mut reports) = (vec![Vec::with_capacity(seeds); all.len()], Vec::new());
    for (at, (own, report)) in done.into_iter().enumerate() {
        measures[at / seeds].push(own);
        reports.extend(report);
    }
    (measures, reports)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    scenario: &'a str,
    about: &'a str,
    seeds: Vec<u64>,
    method: &'a str,
    variants: Vec<Value>,
}

/// How differences are judged, in a sentence.
const METHOD: &str = "differences against the first variant, paired by seed: mean and 95 % interval by Student's t; p after \
    Holm's correction over all of the table, better or worse where p < 0.05; of fewer than 3 seeds nothing is judged";

fn documents(variants: &[Variant], runs: &[Vec<Measures>], compared: &[Compared]) -> Vec<Value> {
    let each = variants.iter().zip(runs).zip(compared).map(|((variant, runs), own)| {
        let value = |measure: Measure| {
            let at = Measure::ALL.iter().position(|other| *other == measure).unwrap_or(0);
            runs.iter().map(|run| json!(run[at])).collect::<Vec<_>>()
        };
        let measures: Map<String, Value> = own
            .means
            .iter()
            .map(|(measure, mean)| {
                let name = json!(measure).as_str().unwrap_or_default().to_owned();
                (name, json!({"mean": mean, "bySeed": value(*measure)}))
            })
            .collect();
        let changes =
            variant.changes.iter().map(|change| json!({"place": change.place, "value": change.value}));
        json!({"name": variant.name, "changes": changes.collect::<Vec<_>>(), "measures": measures,
            "againstFirst": own.differences})
    });
    each.collect()
}

/// A mean; counts that are whole have no decimals.
fn figure(measure: Measure, mean: f64) -> String {
    let counts = matches!(measure, Measure::Late | Measure::Unmet);
    if counts && mean.fract() == 0.0 { format!("{mean:.0}") } else { significant(mean) }
}

fn percent(difference: &Difference) -> String {
    match difference.percent {
        Some(percent) => format!("{percent:+.1} %"),
        None => format!("{:+}", (difference.mean * 1000.0).round() / 1000.0),
    }
}

/// What a variant is better and worse at than the first, a line each.
fn verdicts(own: &Compared) -> Vec<String> {
    let parts = [
        ("better at", Verdict::Better),
        ("worse at", Verdict::Worse),
        ("no difference shown in", Verdict::NotShown),
        ("not judged:", Verdict::NotJudged),
        ("the same:", Verdict::Same),
    ];
    let said = parts.into_iter().filter_map(|(what, verdict)| {
        let those = own.differences.iter().filter(|difference| difference.verdict == verdict);
        let names: Vec<String> = those
            .map(|difference| match verdict {
                Verdict::Same => difference.measure.as_str().to_owned(),
                _ => format!("{} ({})", difference.measure.as_str(), percent(difference)),
            })
            .collect();
        (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
    });
    said.collect()
}

fn render(variants: &[Variant], compared: &[Compared], currency: &str, seeds: usize, wide: bool) -> String {
    let Some(first) = compared.first() else { return String::new() };
    let mut head = vec![(String::new(), Align::Right), ("VARIANT".to_owned(), Align::Left)];
    head.extend(first.means.iter().map(|(measure, _)| (measure.head(currency), Align::Right)));
    let mut table = Table::with_head(head);
    for (i, (variant, own)) in variants.iter().zip(compared).enumerate() {
        let name = if wide { variant.name.clone() } else { fitted(&variant.name, NAME_MAX) };
        let mut cells = vec![(i + 1).to_string(), name];
        cells.extend(own.means.iter().map(|(measure, mean)| figure(*measure, *mean)));
        table.row(cells);
    }
    let mut text = table.render();
    if compared.len() < 2 {
        return text;
    }
    let counted = if seeds == 1 { "1 seed".to_owned() } else { format!("{seeds} seeds") };
    text.push_str(&format!("\nAgainst 1, over {counted}:\n"));
    for (i, own) in compared.iter().enumerate().skip(1) {
        for (line, said) in verdicts(own).into_iter().enumerate() {
            let number = if line == 0 { (i + 1).to_string() } else { String::new() };
            text.push_str(&format!("{number:>3}  {said}\n"));
        }
    }
    if wide {
        text.push('\n');
        text.push_str(&details(compared).render());
    }
    text
}

fn details(compared: &[Compared]) -> Table {
    let right = Align::Right;
    let mut table = Table::new(&[
        ("", right),
        ("MEASURE", Align::Left),
        ("DIFFERENCE", right),
        ("± 95 %", right),
        ("p", right),
    ]);
    for (i, own) in compared.iter().enumerate() {
        for difference in &own.differences {
            let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), significant);
            let p = match difference.p {
                Some(p) if p < 0.001 => "<0.001".to_owned(),
                other => number(other),
            };
            let name = difference.measure.as_str().to_owned();
            table.row(vec![
                (i + 1).to_string(),
                name,
                significant(difference.mean),
                number(difference.within),
                p,
            ]);
        }
    }
    table
}

/// A measure's name and unit, as a page has it.
fn title(measure: Measure, currency: &str) -> String {
    match measure {
        Measure::P95 => "Latency p95, ms".to_owned(),
        Measure::Errors => "Errors, %".to_owned(),
        Measure::Energy => "Energy, kWh".to_owned(),
        Measure::Carbon => "Carbon, g CO2e".to_owned(),
        Measure::Cost => format!("Money, {currency}"),
        Measure::Late => "Work late".to_owned(),
        Measure::Unmet => "Not as expected".to_owned(),
    }
}

/// The comparison as a table of a page.
fn grid(variants: &[Variant], compared: &[Compared], currency: &str, seeds: usize) -> Grid {
    let heads = compared.first().map(|first| first.means.as_slice()).unwrap_or_default();
    let mut head = vec![("Variant".to_owned(), false)];
    head.extend(heads.iter().map(|(measure, _)| (title(*measure, currency), true)));
    let row = |(i, (variant, own)): (usize, (&Variant, &Compared))| {
        let cell = |(at, (measure, mean)): (usize, &(Measure, f64))| {
            let difference = own.differences.get(at);
            let verdict = difference.map(|difference| difference.verdict);
            let note = difference.map(|difference| match difference.verdict {
                Verdict::Same => "the same".to_owned(),
                Verdict::NotShown => format!("{}: no difference shown", percent(difference)),
                Verdict::NotJudged => format!("{}: not judged", percent(difference)),
                Verdict::Better => format!("{}: better", percent(difference)),
                Verdict::Worse => format!("{}: worse", percent(difference)),
            });
            Cell {
                text: figure(*measure, *mean),
                best: verdict == Some(Verdict::Better),
                bad: verdict == Some(Verdict::Worse),
                note: note.unwrap_or_default(),
            }
        };
        let cells = own.means.iter().enumerate().map(cell);
        std::iter::once(Cell::new(format!("{}  {}", i + 1, variant.name))).chain(cells).collect()
    };
    let counted = if seeds == 1 { "One seed".to_owned() } else { format!("Means over {seeds} seeds") };
    Grid {
        title: "Which is better at what".to_owned(),
        note: format!("{counted}; less is better of all of them. How it is judged: {METHOD}."),
        head,
        rows: variants.iter().zip(compared).enumerate().map(row).collect(),
    }
}

/// The page: the comparison, and how the first seed of each variant went.
fn page(variants: &[Variant], compared: &[Compared], reports: &[Report], seeds: usize) -> report::Page {
    // Lines are named by number: names of variants are long.
    let numbers: Vec<String> = (1..=variants.len()).map(|number| number.to_string()).collect();
    let named: Vec<(&str, &Report)> = numbers.iter().map(String::as_str).zip(reports.iter()).collect();
    let currency = reports.first().map_or("USD", |first| first.drawn.currency.as_str());
    let mut page = report::scenarios::page(&named, &super::scenario::command());
    let shown = numbers.iter().zip(variants).take(page.variants.len());
    page.variants = shown.map(|(number, variant)| format!("{number}  {}", variant.name)).collect();
    page.tables.insert(0, grid(variants, compared, currency, seeds));
    if seeds > 1 {
        page.assumed.push(format!("plots show the first of {seeds} seeds of each variant"));
    }
    if variants.len() > report::VARIANTS_MAX {
        page.assumed.push(format!(
            "plots show the first {} of {} variants",
            report::VARIANTS_MAX,
            variants.len()
        ));
    }
    page
}

/// Runs the command. A comparison is no test: the exit status says nothing of expectations.
pub fn run(common: &Common, options: &Simulate, file: &std::path::Path) -> anyhow::Result<ExitCode> {
    let seeds = usize::try_from(options.seeds).unwrap_or(1);
    let variants = variants(&options.vary, seeds)?;
    let text = super::scenario::text(file)?;
    let mut all = Vec::with_capacity(variants.len());
    for variant in &variants {
        let read = super::scenario::read(file, &text, &variant.changes, options);
        all.push(read.with_context(|| file.display().to_string())?);
    }
    let threads = options.threads.and_then(|threads| usize::try_from(threads).ok());
    let (runs, reports) = play(&all, seeds, threads, common.quiet);
    let compared = compare::compare(&runs);
    let Some(first) = all.first() else { anyhow::bail!("no variant") };
    if !common.quiet && !first.about.is_empty() {
        eprintln!("{}\n", first.about);
    }
    if let Some(report) = &options.report {
        super::simulate::write_report(report, &page(&variants, &compared, &reports, seeds), common.quiet)?;
    }
    let shown = Shown {
        scenario: &first.name,
        about: &first.about,
        seeds: (0..seeds as u64).map(|seed| first.seed.wrapping_add(seed)).collect(),
        method: METHOD,
        variants: documents(&variants, &runs, &compared),
    };
    let currency = reports.first().map_or("USD", |first| first.drawn.currency.as_str()).to_owned();
    format::show(common.print(), &shown, |wide| render(&variants, &compared, &currency, seeds, wide))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(stated: &[&str], seeds: usize) -> Result<Vec<String>, String> {
        let stated: Vec<String> = stated.iter().map(|text| (*text).to_owned()).collect();
        let all = variants(&stated, seeds).map_err(|error| error.to_string())?;
        Ok(all.into_iter().map(|variant| variant.name).collect())
    }

    #[test]
    fn every_combination_is_played_the_first_place_changing_slowest() {
        assert_eq!(names(&["a=1,2", "b=x,y"], 1).unwrap(), ["a=1 b=x", "a=1 b=y", "a=2 b=x", "a=2 b=y"]);
        assert_eq!(names(&[], 3).unwrap(), ["as written"]);
        // Commas and signs in quotes are part of what is quoted.
        let all = variants(&["S/w:metadata.annotations.\"a=b,c\"=\"0s=1,1m=2\",7".to_owned()], 1).unwrap();
        let of = |i: usize| (all[i].changes[0].place.as_str(), all[i].changes[0].value.as_str());
        assert_eq!(
            (of(0), of(1)),
            (
                ("S/w:metadata.annotations.\"a=b,c\"", "0s=1,1m=2"),
                ("S/w:metadata.annotations.\"a=b,c\"", "7")
            )
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in ["replicas", "=1", "replicas=", "replicas=1,,2"] {
            assert!(names(&[text], 1).unwrap_err().contains("expected PLACE=VALUE,VALUE"), "{text}");
        }
        let many = (0..40).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
        let error = names(&[&format!("a={many}"), &format!("b={many}")], 5).unwrap_err();
        assert_eq!(error, "--vary: 1600 variants with 5 seeds each: expected at most 1000 runs");
    }
}
