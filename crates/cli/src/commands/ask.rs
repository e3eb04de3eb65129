//! Commands that ask the running server one thing: status, signals, plans, release, approve, the clock.

use crate::client::Client;
use crate::commands::inventory;
use crate::commands::place::path;
use crate::format::{self, number, text};
use crate::options::{Clock, Common, JobName, Output, Release};
use crate::table::{Align, Table};
use fleet::quantity::significant;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;

pub fn status(common: &Common) -> anyhow::Result<()> {
    let client = Client::find(common)?;
    let (clusters, jobs, clock) =
        (client.list("/api/v1/clusters")?, client.list("/api/v1/jobs")?, client.get("/api/v1/clock")?);
    let plans = client.get("/api/v1/plans")?;
    let plan = json!({"policy": plans["policy"], "gap": plans["gap"], "roomIsScarce": plans["roomIsScarce"]});
    let inventory = inventory::of(&client, &clusters["items"], common.print())?;
    let status = json!({"clock": clock, "plan": plan, "clusters": clusters["items"], "jobs": jobs["items"], "inventory": inventory});
    format::show(common.print(), &status, |wide| render_status(&status, wide))
}

fn render_status(status: &Value, wide: bool) -> String {
    let clock = &status["clock"];
    let state = if clock["paused"].as_bool() == Some(true) { "paused" } else { "running" };
    let mut out = format!(
        "clock: {}, a {}'s, {state} at {}; mode {}\n\n",
        text(&clock["at"]),
        text(&clock["kind"]),
        text(&clock["speed"]),
        status["clusters"][0]["mode"].as_str().unwrap_or("unknown: no cluster yet")
    );
    if status["plan"]["roomIsScarce"] == true {
        out += "room is scarce: no Job waits for cleaner hours\n\n";
    }
    out += &cluster_table(status, wide);
    for c in status["clusters"].as_array().into_iter().flatten().filter(|c| c["unknownSince"].is_string()) {
        let (name, since, why) = (text(&c["name"]), text(&c["unknownSince"]), text(&c["unknownWhy"]));
        out += &format!("{name}: unknown since {since}: {why}\n");
    }
    out += &followed(status);
    out.push('\n');
    if wide {
        out += &inventory::render(&status["inventory"]);
    }
    out.push_str(&job_table(status, wide));
    out
}

/// Clusters that another process acts on, or none.
fn followed(status: &Value) -> String {
    let clusters = status["clusters"].as_array().into_iter().flatten();
    let line = |c: &Value| {
        let (name, who) = (text(&c["name"]), text(&c["leader"]));
        let since = c["leaderSince"].as_str().map(|at| format!(" since {at}")).unwrap_or_default();
        match c["leads"].as_bool() {
            // In words, where nobody does; a name has none.
            Some(false) if who.contains(' ') => format!("{name}: nobody acts{since}: {who}\n"),
            Some(false) => {
                format!("{name}: {who} acts{since}; this process plans and shows, and writes nothing there\n")
            }
            _ => String::new(),
        }
    };
    clusters.map(line).collect()
}

/// The clusters: carbon, load, power, money. `wide`: who measures use, and the mode, too.
fn cluster_table(status: &Value, wide: bool) -> String {
    let clusters = || status["clusters"].as_array().into_iter().flatten();
    let money = clusters().next().map_or_else(|| "USD".to_owned(), |c| text(&c["currency"]));
    let mut head = vec![("CLUSTER".to_owned(), Align::Left), ("ZONE".to_owned(), Align::Left)];
    let mut right = |name: &str| head.push((name.to_owned(), Align::Right));
    right("gCO2e/kWh");
    ["CPU %", "USED %", "W", "IDLE W", "gCO2e/h"].into_iter().for_each(&mut right);
    right(&format!("{money}/h"));
    ["NODES", "HELD", "RUN"].into_iter().for_each(&mut right);
    head.insert(3, ("KIND".to_owned(), Align::Left));
    if wide {
        head.push((format!("IDLE {money}/h"), Align::Right));
        head.extend(["MODE", "USE"].map(|name| (name.to_owned(), Align::Left)));
    }
    let mut table = Table::with_head(head);
    for c in clusters() {
        let all = c["allocatable"]["cpuCores"].as_f64().filter(|all| *all > 0.0);
        let load = |used: Option<f64>| {
            let share = used.zip(all).map(|(used, all)| significant(used / all * 100.0));
            share.unwrap_or_else(|| "-".to_owned())
        };
        let reachable = c["reachable"].as_bool() == Some(true);
        let mut cells = vec![
            text(&c["name"]),
            text(&c["gridZone"]),
            number(&c["carbonGramsPerKwh"]),
            if reachable { text(&c["carbonFrom"]["kind"]) } else { "unknown".to_owned() },
            load(c["requested"]["cpuCores"].as_f64()),
            load(c["usedCores"].as_f64()),
            number(&c["powerWatts"]),
            number(&c["idleWatts"]),
            number(&c["carbonGramsPerHour"]),
            number(&c["pricePerHour"]),
            format!("{}/{}", c["nodesReady"], c["nodes"]),
            c["jobsHeld"].to_string(),
            c["jobsRunning"].to_string(),
        ];
        if wide {
            let used = c["useFrom"]["source"].as_str().unwrap_or("requests (assumed)");
            cells.extend([number(&c["idlePricePerHour"]), text(&c["mode"]), used.to_owned()]);
        }
        table.row(cells);
    }
    let unmeasured = clusters().filter(|c| c["useFrom"].is_null()).count();
    let note = if unmeasured > 0 {
        "USED: not measured in all clusters; there requests stand for it (assumed)\n"
    } else {
        ""
    };
    format!("{}{note}", table.render())
}

/// The Jobs under way; `wide`: finished ones too.
fn job_table(status: &Value, wide: bool) -> String {
    let mut table = Table::new(&[
        ("JOB", Align::Left),
        ("PHASE", Align::Left),
        ("CLUSTER", Align::Left),
        ("START", Align::Left),
        ("LATEST START", Align::Left),
    ]);
    let open = ["held", "paused", "starting", "running"];
    let mut shown = 0;
    let jobs = status["jobs"].as_array().cloned().unwrap_or_default();
    for job in jobs.iter().filter(|j| wide || open.contains(&j["phase"].as_str().unwrap_or(""))) {
        let key = &job["key"];
        let ran = job["runs"].as_array().and_then(|r| r.last()).map(|r| text(&r["from"]));
        let planned = job["planned"].as_array().and_then(|r| r.first()).map(|r| text(&r["from"]));
        let running = job["phase"] == "running";
        shown += 1;
        table.row(vec![
            format!("{}/{}/{}", text(&key["cluster"]), text(&key["namespace"]), text(&key["name"])),
            text(&job["phase"]),
            text(&job["target"]),
            if running { ran.or(planned) } else { planned.or(ran) }.unwrap_or_else(|| "-".to_owned()),
            text(&job["latestStart"]),
        ]);
    }
    let asks = jobs.iter().filter(|j| j["awaitsYes"] == true).count();
    let asks = match asks {
        0 => String::new(),
        n => format!(
            "{n} waiting for a yes: kubercarbon approve JOB; what has a LATEST START starts then without one\n"
        ),
    };
    let owned = jobs.iter().filter(|j| open.contains(&j["phase"].as_str().unwrap_or("")));
    let owned = owned.filter_map(|j| Some((&j["key"], j["owned"].as_str()?)));
    let note = |(key, owned): (&Value, &str)| {
        format!("{}/{}/{}: {owned}\n", text(&key["cluster"]), text(&key["namespace"]), text(&key["name"]))
    };
    let observes = jobs.iter().any(|j| j["phase"] == "held") && status["clusters"][0]["mode"] == "observe";
    let observes = if observes {
        "mode observe starts nothing: by its LATEST START a held Job has to be started by who holds it\n"
    } else {
        ""
    };
    if shown == 0 {
        let all = if jobs.is_empty() { "" } else { "; those that ended: -o wide" };
        return format!(
            "no Job asks for placement now, with the label kubercarbon.io/placement: managed{all}\n"
        );
    }
    table.render() + observes + &asks + &owned.map(note).collect::<String>()
}

pub fn signals(common: &Common) -> anyhow::Result<()> {
    let signals = Client::find(common)?.list("/api/v1/signals")?;
    format::show(common.print(), &signals, |wide| {
        let chain = if wide { format!("\n{}", render_chain(&signals)) } else { String::new() };
        render_signals(&signals) + &chain
    })
}

/// Each zone's sources, best first: whether used, how old, whether asked, how far off forecasts were.
fn render_chain(signals: &Value) -> String {
    let mut table = Table::new(&[
        ("ZONE", Align::Left),
        ("SOURCE", Align::Left),
        ("STATE", Align::Left),
        ("BASIS", Align::Left),
        ("LAST FIGURE", Align::Left),
        ("ASKED AGAIN", Align::Left),
        ("FORECAST", Align::Left),
        ("MAPE 24 h %", Align::Right),
        ("MAPE 96 h %", Align::Right),
        ("HOURS", Align::Right),
    ]);
    for signal in signals["items"].as_array().into_iter().flatten() {
        for source in signal["sources"].as_array().into_iter().flatten() {
            let alone = source["leftAloneUntil"].as_str();
            let state = match (source["used"] == true, alone) {
                (true, None) => "used".to_owned(),
                (true, Some(until)) => format!("used, left alone until {until}"),
                (false, None) => "not used".to_owned(),
                (false, Some(until)) => format!("left alone until {until}"),
            };
            let errors: Vec<&Value> = source["forecastErrors"].as_array().into_iter().flatten().collect();
            let row = |by: &str| {
                let of = |lead: i64| errors.iter().find(|e| e["by"] == by && e["leadHours"] == lead);
                let mape = |lead| of(lead).map_or_else(|| "-".to_owned(), |e| number(&e["mapePercent"]));
                vec![
                    text(&signal["zone"]),
                    text(&source["source"]),
                    state.clone(),
                    text(&source["basis"]),
                    text(&source["asOf"]),
                    text(&source["askedAgainAt"]),
                    by.to_owned(),
                    mape(24),
                    mape(96),
                    of(96).map_or_else(|| "-".to_owned(), |e| e["hours"].to_string()),
                ]
            };
            let made: Vec<&str> =
                ["own", "learnt"].into_iter().filter(|by| errors.iter().any(|e| e["by"] == *by)).collect();
            for by in if made.is_empty() { vec!["-"] } else { made } {
                table.row(row(by));
            }
        }
    }
    table.render()
}

fn render_signals(signals: &Value) -> String {
    let mut table = Table::new(&[
        ("ZONE", Align::Left),
        ("gCO2e/kWh", Align::Right),
        ("KIND", Align::Left),
        ("BASIS", Align::Left),
        ("AGE s", Align::Right),
        ("CLUSTERS", Align::Left),
        ("SOURCE", Align::Left),
    ]);
    let items = || signals["items"].as_array().into_iter().flatten();
    for s in items() {
        let clusters: Vec<String> = s["clusters"].as_array().into_iter().flatten().map(text).collect();
        table.row(vec![
            text(&s["zone"]),
            number(&s["nowGramsPerKwh"]),
            text(&s["nowFrom"]["kind"]),
            text(&used(s)["basis"]),
            s["nowFrom"]["ageSeconds"].to_string(),
            clusters.join(","),
            text(&s["nowFrom"]["source"]),
        ]);
    }
    let bases: BTreeSet<&str> = items().filter_map(|s| used(s)["basis"].as_str()).collect();
    let mixed = if bases.len() > 1 {
        "zones are compared with one another, and not all count alike: see BASIS; KUBERCARBON_CARBON_PROVIDERS says which sources are asked\n"
    } else {
        ""
    };
    let remarks = remarks(items());
    let gap = if remarks.is_empty() && mixed.is_empty() { "" } else { "\n" };
    format!("{}{gap}{mixed}{remarks}", table.render())
}

/// The source in use.
fn used(signal: &Value) -> &Value {
    let sources = signal["sources"].as_array();
    sources.into_iter().flatten().find(|source| source["used"] == true).unwrap_or(&Value::Null)
}

/// Why better sources are not used, and what is amiss with those that are; one line for all zones alike.
fn remarks<'a>(items: impl Iterator<Item = &'a Value>) -> String {
    let mut remarks: Vec<(String, Vec<String>)> = Vec::new();
    for item in items {
        for source in item["sources"].as_array().into_iter().flatten() {
            let Some(why) = source["why"].as_str() else { continue };
            let (name, zone) = (text(&source["source"]), text(&item["zone"]));
            let said = if source["used"] == true { "used" } else { "not used" };
            let remark = format!("{name}: {said} in ZONES: {why}");
            match remarks.iter_mut().find(|known| known.0 == remark) {
                Some((_, zones)) => zones.push(zone),
                None => remarks.push((remark, vec![zone])),
            }
        }
    }
    let line = |(remark, zones): (String, Vec<String>)| remark.replacen("ZONES", &zones.join(", "), 1) + "\n";
    remarks.into_iter().map(line).collect()
}

pub fn plans(common: &Common) -> anyhow::Result<()> {
    let plans = Client::find(common)?.get("/api/v1/plans")?;
    format::show(common.print(), &plans, |_| {
        let mut table = Table::new(&[
            ("AT", Align::Left),
            ("CLUSTER", Align::Left),
            ("ACTION", Align::Left),
            ("JOB", Align::Left),
            ("REASON", Align::Left),
        ]);
        for step in plans["items"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|p| p["steps"].as_array().cloned().unwrap_or_default())
        {
            table.row(vec![
                text(&step["at"]),
                text(&step["cluster"]),
                text(&step["action"]["type"]),
                format!("{}/{}", text(&step["object"]["namespace"]), text(&step["object"]["name"])),
                text(&step["reason"]),
            ]);
        }
        table.render()
    })
}

pub fn release(common: &Common, options: &Release) -> anyhow::Result<ExitCode> {
    let client = Client::find(common)?;
    let named = |job: &String| {
        let (context, namespace) = (options.context.clone(), options.namespace.clone());
        path(&client, &JobName { job: job.clone(), context, namespace })
    };
    let job = options.job.as_ref().map(named).transpose()?;
    let all = phases(&client.list("/api/v1/jobs")?);
    let waits = |phase: &str| phase == "held" || phase == "paused";
    if let Some((job, phase)) = all.iter().find(|(name, phase)| job.as_ref() == Some(name) && !waits(phase)) {
        eprintln!("Job {job} is {phase}: there is nothing to release");
        return Ok(ExitCode::SUCCESS);
    }
    let held = all.into_iter().filter(|(_, phase)| waits(phase)).map(|(name, _)| name).collect();
    let meant: Vec<String> = job.as_ref().map_or(held, |job| vec![job.clone()]);
    let what = match &meant[..] {
        [] => "no Job".to_owned(),
        [one] => format!("Job {one}"),
        many => format!("{} Jobs", many.len()),
    };
    if job.is_none() && !common.quiet {
        meant.iter().for_each(|job| eprintln!("  {job}"));
    }
    if !options.yes
        && !meant.is_empty()
        && !super::yes(&format!("start {what} now, at home where there is room?"))?
    {
        eprintln!("nothing was changed");
        return Ok(ExitCode::from(1));
    }
    let key = job.as_deref().map(key).transpose()?;
    client.ask(Method::POST, "/api/v1/orders", Some(&json!({"type": "release", "job": key})))?;
    match meant.is_empty() {
        true => eprintln!("no Job is held: nothing was released"),
        false => eprintln!("{what}: released; a started Job cannot be held again, deleting it stops it"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Each Job as `CLUSTER/NAMESPACE/NAME`, and its phase.
fn phases(jobs: &Value) -> Vec<(String, String)> {
    let one = |job: &Value| {
        let key = &job["key"];
        let name = format!("{}/{}/{}", text(&key["cluster"]), text(&key["namespace"]), text(&key["name"]));
        (name, text(&job["phase"]))
    };
    jobs["items"].as_array().into_iter().flatten().map(one).collect()
}

pub fn approve(common: &Common, job: &JobName) -> anyhow::Result<()> {
    let client = Client::find(common)?;
    let path = path(&client, job)?;
    client.ask(Method::POST, "/api/v1/orders", Some(&json!({"type": "approve", "job": key(&path)?})))?;
    eprintln!("{path}: approved, with later moves inside its window");
    Ok(())
}

fn key(path: &str) -> anyhow::Result<Value> {
    let parts: Vec<&str> = path.split('/').collect();
    let [cluster, namespace, name] = parts[..] else {
        anyhow::bail!("\"{path}\" does not name a Job: expected CLUSTER/NAMESPACE/NAME");
    };
    Ok(json!({"cluster": cluster, "namespace": namespace, "name": name}))
}

pub fn twin(common: &Common, order: &Clock) -> anyhow::Result<()> {
    let (ask, undo) = match order {
        Clock::Pause => (json!({"paused": true}), "undo: kubercarbon twin resume"),
        Clock::Resume => (json!({"paused": false}), "undo: kubercarbon twin pause"),
        Clock::Speed { speed } => (json!({"speed": speed.to_string()}), "undo: kubercarbon twin speed 600x"),
    };
    let clock = Client::find(common)?.ask(Method::PUT, "/api/v1/clock", Some(&ask))?;
    if common.print() == Output::Table {
        eprintln!("{undo}");
    }
    format::show(common.print(), &clock, |_| {
        let state = if clock["paused"].as_bool() == Some(true) { "paused" } else { "running" };
        format!("{} {state} at {}\n", text(&clock["at"]), text(&clock["speed"]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_say_why_no_better_source_is_used() {
        let no =
            json!({"source": "WattTime", "basis": "marginal", "used": false, "why": "no account: set X"});
        let typical = json!({"source": "typical year", "basis": "average", "used": true});
        let zone = |zone: &str, sources: Value| {
            json!({"zone": zone, "clusters": ["c"], "nowGramsPerKwh": 400.0, "sources": sources,
                "nowFrom": {"source": "somewhere", "kind": "assumed", "ageSeconds": 60}})
        };
        let two = |last| json!({"items": [zone("JP-TK", json!([no, typical])), last]});
        let same = render_signals(&two(zone("KR", json!([no, typical]))));
        assert!(same.ends_with("\n\nWattTime: not used in JP-TK, KR: no account: set X\n"), "{same}");
        let marginal = json!({"source": "WattTime", "basis": "marginal", "used": true});
        let mixed = render_signals(&two(zone("KR", json!([marginal]))));
        assert!(mixed.contains("not all count alike"), "{mixed}");
        let source = json!({"source": "UK Carbon Intensity", "basis": "average", "used": true,
            "asOf": "2026-05-02T10:00:00Z", "leftAloneUntil": "2026-05-02T10:15:00Z",
            "forecastErrors": [{"by": "own", "leadHours": 24, "mapePercent": 12.3456, "hours": 240},
                {"by": "own", "leadHours": 96, "mapePercent": 20.0, "hours": 960},
                {"by": "learnt", "leadHours": 24, "mapePercent": 25.0, "hours": 6}]});
        let chain = render_chain(&two(zone("GB", json!([source]))));
        let lines: Vec<Vec<&str>> = chain
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect())
            .collect();
        assert_eq!(lines[1], ["JP-TK", "WattTime", "not used", "marginal", "-", "-", "-", "-", "-", "-"]);
        assert_eq!(
            lines[3],
            [
                "GB",
                "UK Carbon Intensity",
                "used, left alone until 2026-05-02T10:15:00Z",
                "average",
                "2026-05-02T10:00:00Z",
                "-",
                "own",
                "12.3",
                "20.0",
                "960"
            ]
        );
        assert_eq!(lines[4][6..], ["learnt", "25.0", "-", "-"]);
        let old = json!({"items": [{"zone": "KR", "nowFrom": {"ageSeconds": 1}}]});
        assert_eq!(render_signals(&old).lines().count(), 2, "a server that says nothing of sources");
    }
}
