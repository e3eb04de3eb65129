//! `kubercarbon simulate SCENARIO`: a scenario played on a twin, told line by line, and held to what it expects.

use crate::format;
use crate::options::Common;
use anyhow::Context;
use server::scenario;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

/// Largest scenario read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Exit status 1: something was not as expected.
pub fn run(common: &Common, file: &Path) -> anyhow::Result<ExitCode> {
    let name = file.display().to_string();
    let mut text = String::new();
    let opened = std::fs::File::open(file).with_context(|| name.clone())?;
    opened.take(FILE_MAX + 1).read_to_string(&mut text).with_context(|| name.clone())?;
    let mut parsed = scenario::parse(&text).with_context(|| name.clone())?;
    for which in 0..parsed.traces().len() {
        // Beside the scenario, as its author has it.
        let place = file.parent().unwrap_or(Path::new("")).join(&parsed.traces()[which].file);
        let text = server::signals::read_text(&place)?;
        parsed.read_trace(which, &text).map_err(|why| anyhow::anyhow!("{}: {why}", place.display()))?;
    }
    let report = scenario::run(&parsed);
    if !common.quiet && !report.about.is_empty() {
        eprintln!("{}\n", report.about);
    }
    format::show(common.print(), &report, |_| report.to_text())?;
    Ok(if report.is_met() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
