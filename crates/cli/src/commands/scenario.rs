//! `kubercarbon simulate SCENARIO`: a scenario played on a twin, told line by line, and held to what it expects.

use crate::format;
use crate::options::{Common, Simulate};
use crate::{progress, report};
use anyhow::Context;
use fleet::{Provenance, SignalKind, Span};
use server::scenario::{self, Change, Scenario};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

/// Largest scenario read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// The text of a scenario.
pub fn text(file: &Path) -> anyhow::Result<String> {
    let name = || file.display().to_string();
    let mut text = String::new();
    let opened = std::fs::File::open(file).with_context(name)?;
    opened.take(FILE_MAX + 1).read_to_string(&mut text).with_context(name)?;
    Ok(text)
}

/// Reads a scenario with changes, its traces and its carbon.
pub fn read(file: &Path, text: &str, changes: &[Change], options: &Simulate) -> anyhow::Result<Scenario> {
    let mut parsed = scenario::parse_changed(text, changes)?;
    for which in 0..parsed.traces().len() {
        // Beside the scenario, as its author has it.
        let place = file.parent().unwrap_or(Path::new("")).join(&parsed.traces()[which].file);
        let text = server::signals::read_text(&place)?;
        parsed.read_trace(which, &text).map_err(|why| anyhow::anyhow!("{}: {why}", place.display()))?;
    }
    if let Some(path) = &options.carbon {
        let known = server::signals::read_carbon(path)?;
        let (from, to) = (parsed.start(), parsed.start() + parsed.length().max(Span::HOUR));
        let series = known.series(parsed.grid_zone(), from, to)?;
        let source = Provenance { source: known.name, kind: SignalKind::Measured, as_of: to };
        parsed.carbon = Some((series.series, source));
    }
    Ok(parsed)
}

/// The command as it was typed.
pub fn command() -> String {
    let plain = |word: &String| word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c));
    let quoted =
        |word: String| if plain(&word) { word } else { format!("'{}'", word.replace('\'', "'\\''")) };
    let words = std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned()));
    std::iter::once("kubercarbon".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Exit status 1: something was not as expected.
pub fn run(common: &Common, options: &Simulate, file: &Path) -> anyhow::Result<ExitCode> {
    let name = || file.display().to_string();
    let parsed = read(file, &text(file)?, &[], options).with_context(name)?;
    let seconds = parsed.length().as_seconds().max(0) as u64;
    let bar = progress::bar(common.quiet, &parsed.name, seconds);
    let came = scenario::run_with(&parsed, &mut |since| bar.set_position(since.as_seconds().max(0) as u64));
    bar.finish_and_clear();
    if !common.quiet && !came.about.is_empty() {
        eprintln!("{}\n", came.about);
    }
    if let Some(place) = &options.report {
        let page = report::scenarios::page(&[("", &came)], &command());
        super::simulate::write_report(place, &page, common.quiet)?;
    }
    format::show(common.print(), &came, |_| came.to_text())?;
    Ok(if came.is_met() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
