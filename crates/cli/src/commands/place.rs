//! `kubercarbon place` and `kubercarbon why`: a decision, and what the alternatives would have cost.

use crate::client::Client;
use crate::format::{self, number, text};
use crate::options::{Common, JobName, Place};
use crate::table::{Align, Table};
use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;
use std::process::ExitCode;

/// Largest Job file read, in bytes: what the API server takes.
const FILE_MAX: u64 = 3 << 20;

pub fn run(common: &Common, options: &Place) -> anyhow::Result<ExitCode> {
    let job = read(options)?;
    let client = Client::find(common)?;
    let home = match &options.context {
        Some(home) => home.clone(),
        None => first_cluster(&client)?,
    };
    let ask = json!({"home": home, "job": job, "alternatives": options.alternatives});
    let decision = client.ask(Method::POST, "/api/v1/place", Some(&ask))?;
    format::show(common.print(), &decision, |wide| render(&decision, wide))?;
    if !options.apply {
        return Ok(if decision["explanation"].is_null() { ExitCode::from(1) } else { ExitCode::SUCCESS });
    }
    let name = job["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = job["metadata"]["namespace"].as_str().unwrap_or("default");
    if !options.yes && !super::yes(&format!("create Job {namespace}/{name} in {home}?"))? {
        eprintln!("nothing was changed");
        return Ok(ExitCode::from(1));
    }
    let created = client.ask(Method::POST, "/api/v1/place/apply", Some(&ask))?;
    let name = created["metadata"]["name"].as_str().unwrap_or(name);
    eprintln!(
        "created {home}/{namespace}/{name}; undo: kubectl --context {home} -n {namespace} delete job {name}"
    );
    Ok(ExitCode::SUCCESS)
}

pub fn why(common: &Common, job: &JobName) -> anyhow::Result<()> {
    let client = Client::find(common)?;
    let path = path(&client, job)?;
    let detail = client.get(&format!("/api/v1/jobs/{path}"))?;
    format::show(common.print(), &detail, |wide| {
        let mut text = String::new();
        if let Some(sentence) = detail["job"]["sentence"].as_str() {
            let phase = detail["job"]["phase"].as_str().filter(|phase| !sentence.starts_with(phase));
            let phase = phase.map(|phase| format!("{phase}: ")).unwrap_or_default();
            text.push_str(&format!("{phase}{sentence}\n"));
        }
        if let Some(owned) = detail["job"]["owned"].as_str() {
            text.push_str(&format!("note: {owned}\n"));
        }
        if let (Some(copy), Some(target)) = (detail["job"]["copy"].as_str(), detail["job"]["target"].as_str())
        {
            let namespace = detail["job"]["key"]["namespace"].as_str().unwrap_or("default");
            text.push_str(&format!("logs: kubectl --context {target} -n {namespace} logs job/{copy}\n"));
        }
        let open = ["held", "paused", "starting", "running"];
        if open.contains(&detail["job"]["phase"].as_str().unwrap_or("")) {
            text.push_str(&render(&detail["why"], wide));
        }
        let grams = &detail["ledger"]["savedCarbonGrams"];
        if grams.is_f64() {
            let baseline = &detail["ledger"]["baseline"]["footprint"]["carbonGrams"];
            let (saved, baseline) = (format::saved(grams, baseline), number(baseline));
            text.push_str(&format!("saved {saved} g CO2e of {baseline} g at once at home\n"));
        }
        text
    })
}

/// `CLUSTER/NAMESPACE/NAME` of what the user named.
pub fn path(client: &Client, job: &JobName) -> anyhow::Result<String> {
    match job.job.split('/').count() {
        3 => Ok(job.job.clone()),
        1 => {
            let home = job.context.clone().map_or_else(|| home(client, job), Ok)?;
            Ok(format!("{home}/{}/{}", job.namespace, job.job))
        }
        _ => bail!("\"{}\" does not name a Job: expected CLUSTER/NAMESPACE/NAME, or NAME", job.job),
    }
}

/// The cluster whose Job of that namespace is called so; where there is none, the first of the fleet.
fn home(client: &Client, job: &JobName) -> anyhow::Result<String> {
    let all = client.list("/api/v1/jobs")?;
    match homes(&all, &job.namespace, &job.job).as_slice() {
        [] => first_cluster(client),
        [home] => Ok((*home).to_owned()),
        several => {
            let each: Vec<String> =
                several.iter().map(|home| format!("{home}/{}/{}", job.namespace, job.job)).collect();
            bail!("\"{}\" names {} Jobs: expected one of {}", job.job, each.len(), each.join(", "))
        }
    }
}

/// The home clusters of Jobs of a name, in order.
fn homes<'a>(jobs: &'a Value, namespace: &str, name: &str) -> Vec<&'a str> {
    let keys = jobs["items"].as_array().into_iter().flatten().map(|item| &item["key"]);
    let named = keys.filter(|key| key["namespace"] == namespace && key["name"] == name);
    let found: BTreeSet<&str> = named.filter_map(|key| key["cluster"].as_str()).collect();
    found.into_iter().collect()
}

fn first_cluster(client: &Client) -> anyhow::Result<String> {
    let clusters = client.get("/api/v1/clusters")?;
    clusters["items"][0]["name"].as_str().map(str::to_owned).context("the fleet has no cluster")
}

fn read(options: &Place) -> anyhow::Result<Value> {
    let name = options.file.display();
    let mut text = String::new();
    if options.file.as_os_str() == "-" {
        std::io::stdin().take(FILE_MAX + 1).read_to_string(&mut text).context("read stdin")?;
    } else {
        let file = std::fs::File::open(&options.file).with_context(|| format!("read {name}"))?;
        file.take(FILE_MAX + 1)
            .read_to_string(&mut text)
            .with_context(|| format!("{name}: expected UTF-8 text"))?;
    }
    anyhow::ensure!(text.len() as u64 <= FILE_MAX, "{name}: more than {FILE_MAX} bytes: expected a Job");
    let value: Value = fleet::file::yaml(&text).with_context(|| name.to_string())?;
    let found = (value["apiVersion"].as_str().unwrap_or("none"), value["kind"].as_str().unwrap_or("none"));
    anyhow::ensure!(
        found == ("batch/v1", "Job"),
        "{name}: found apiVersion {}, kind {}: expected one batch/v1 Job",
        found.0,
        found.1
    );
    Ok(value)
}

/// The decision as people read it.
fn render(decision: &Value, wide: bool) -> String {
    let mut out = String::new();
    for warning in decision["warnings"].as_array().into_iter().flatten() {
        out.push_str(&format!("warning: {}\n", text(warning)));
    }
    let explanation = &decision["explanation"];
    if explanation.is_null() {
        out.push_str("it fits in no cluster of the fleet\n");
        return out;
    }
    out.push_str(&format!("{}\n\n", text(&explanation["sentence"])));
    let money = decision["currency"].as_str().unwrap_or("USD");
    out.push_str(&options(explanation, if money == "USD" { "USD" } else { "MONEY" }, wide));
    for excluded in explanation["excluded"].as_array().into_iter().flatten() {
        out.push_str(&format!("excluded: {}: {}\n", text(&excluded["cluster"]), text(&excluded["limit"])));
    }
    for saving in explanation["wouldSave"].as_array().into_iter().flatten() {
        out.push_str(&format!("what if: {}\n", text(&saving["sentence"])));
    }
    if let Some(expected) = decision["expectedDuration"]["sentence"].as_str() {
        out.push_str(&format!("expected to run {expected}\n"));
    }
    if let Some(latest) = decision["latestStart"].as_str() {
        let time = |text: &str| fleet::Instant::parse(text).ok();
        let over = time(latest) < decision["at"].as_str().and_then(time);
        let then = match (decision["mode"] == "observe", over) {
            (true, _) => "in mode observe nothing is started from here",
            (false, true) => "that is over, so it waits for nothing but room",
            (false, false) => "it is started then whatever happens",
        };
        out.push_str(&format!("latest safe start: {latest}; {then}\n"));
    }
    out
}

/// What was chosen and what else there was; with pods at a time where they differ.
fn options(explanation: &Value, money: &'static str, wide: bool) -> String {
    let chosen = &explanation["chosen"];
    let alternatives: Vec<&Value> = explanation["alternatives"].as_array().into_iter().flatten().collect();
    let home = Some(&explanation["atOnceAtHome"]).filter(|home| !home.is_null());
    let pods = |a: &&Value| a["parallelism"] != chosen["parallelism"];
    let elastic = alternatives.iter().copied().chain(home).any(|a| pods(&a));
    let mut head = vec![
        ("", Align::Left),
        ("CLUSTER", Align::Left),
        ("START", Align::Left),
        ("END", Align::Left),
        ("gCO2e", Align::Right),
        (money, Align::Right),
        ("IN TIME", Align::Left),
    ];
    if elastic {
        head.push(("PODS", Align::Right));
    }
    if wide {
        head.push(("kWh", Align::Right));
    }
    let mut table = Table::new(&head);
    let mut row = |label: &str, a: &Value| {
        let in_time = if a["inTime"].as_bool().unwrap_or(false) { "yes" } else { "no" };
        let mut cells = vec![
            label.to_owned(),
            text(&a["cluster"]),
            text(&a["start"]),
            text(&a["end"]),
            number(&a["carbonGrams"]),
            number(&a["cost"]),
            in_time.to_owned(),
        ];
        if elastic {
            cells.push(a["parallelism"].to_string());
        }
        if wide {
            cells.push(number(&a["energyKwh"]));
        }
        table.row(cells);
    };
    row("chosen", chosen);
    alternatives.into_iter().for_each(|alternative| row("", alternative));
    if let Some(home) = home {
        row("at once, at home", home);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_found_by_its_name() {
        let job = |cluster: &str, namespace: &str, name: &str| json!({"key": {"cluster": cluster, "namespace": namespace, "name": name}});
        let jobs = json!({"items": [job("kr", "default", "train"), job("jp", "demo", "train"), job("kr", "demo", "train")]});
        assert_eq!(homes(&jobs, "default", "train"), ["kr"]);
        assert_eq!(homes(&jobs, "demo", "train"), ["jp", "kr"]);
        assert!(homes(&jobs, "default", "report").is_empty());
    }
}
