//! `kubercarbon report`: energy, carbon and money per cluster and Job, saved against "at once, at home".

use crate::client::Client;
use crate::format::{self, number, saved, text};
use crate::options::{Common, Output, Period};
use crate::table::{Align, Table};
use anyhow::ensure;
use fleet::quantity::{counted, significant};
use serde_json::{Value, json};

/// Jobs listed in the narrow table; `-o wide` and `-o json` have all.
const JOBS_SHOWN: usize = 15;

pub fn run(common: &Common, period: &Period) -> anyhow::Result<()> {
    ensure!(
        !period.is_given(),
        "--from, --days: without --by the report is of everything\n\nhint: kubercarbon report --by cluster --days 7"
    );
    let client = Client::find(common)?;
    let ledger = client.list("/api/v1/ledger")?;
    let clusters = client.list("/api/v1/clusters")?;
    let report = json!({
        "clusters": clusters["items"],
        "jobs": ledger["items"],
        "summary": ledger["summary"],
        "currency": ledger["currency"],
    });
    if common.print() == Output::Csv {
        return format::print(&csv(&report));
    }
    format::show(common.print(), &report, |wide| render(&report, wide))
}

/// The ledger's lines, oldest first.
fn csv(report: &Value) -> String {
    const FIELDS: [&str; 15] = [
        "id",
        "job.cluster",
        "job.namespace",
        "job.name",
        "created",
        "started",
        "finished",
        "succeeded",
        "inTime",
        "actual.energyKwh",
        "actual.carbonGrams",
        "baseline.footprint.carbonGrams",
        "savedCarbonGrams",
        "actual.cost",
        "savedCost",
    ];
    format::csv(report["jobs"].as_array().into_iter().flatten(), &FIELDS)
}

fn render(report: &Value, wide: bool) -> String {
    let mut out = clusters(report);
    out.push('\n');
    out.push_str(&jobs(report, wide));
    let summary = &report["summary"];
    let total = &summary["total"];
    let (saved, baseline) = (&total["savedCarbonGrams"], &total["baseline"]["carbonGrams"]);
    let share = match (saved.as_f64(), baseline.as_f64()) {
        (Some(saved), Some(baseline)) if baseline > 0.0 => {
            format!(" ({} %)", significant(saved / baseline * 100.0))
        }
        _ => String::new(),
    };
    out.push_str(&format!(
        "\n{}, {} in time, {} late; saved {} g CO2e{share} and {} {} against {}\n",
        counted(total["jobs"].as_f64().unwrap_or(0.0), "Job", "Jobs"),
        total["inTime"],
        total["late"],
        number(saved),
        number(&total["savedCost"]),
        text(&report["currency"]),
        text(&summary["baseline"])
    ));
    if embodied(report) {
        out.push_str(&format!(
            "of which embodied in the nodes: {} g CO2e of {} g burnt, {} g of {} g {}\n",
            number(&total["actual"]["embodiedCarbonGrams"]),
            number(&total["actual"]["carbonGrams"]),
            number(&total["baseline"]["embodiedCarbonGrams"]),
            number(baseline),
            text(&summary["baseline"])
        ));
    }
    if let Some(kind) = summary["worstProvenance"]["kind"].as_str() {
        out.push_str(&format!(
            "carbon intensity: {kind} ({})\n",
            text(&summary["worstProvenance"]["source"])
        ));
    }
    out.push_str(&format!("method: {}\n", text(&summary["method"])));
    out
}

/// Whether embodied emissions are counted in any line.
fn embodied(report: &Value) -> bool {
    let total = &report["summary"]["total"];
    ["actual", "baseline"].iter().any(|part| total[part]["embodiedCarbonGrams"].is_number())
}

fn clusters(report: &Value) -> String {
    let mut table = Table::new(&[
        ("CLUSTER", Align::Left),
        ("ZONE", Align::Left),
        ("JOBS kWh", Align::Right),
        ("OTHER kWh", Align::Right),
        ("IDLE kWh", Align::Right),
        ("gCO2e", Align::Right),
        ("NODES USD", Align::Right),
        ("SINCE", Align::Left),
    ]);
    for cluster in report["clusters"].as_array().into_iter().flatten() {
        let metered = &cluster["metered"];
        let sum: f64 = ["managed", "other", "idle"]
            .iter()
            .filter_map(|part| metered[part]["carbonGrams"].as_f64())
            .sum();
        table.row(vec![
            text(&cluster["name"]),
            text(&cluster["gridZone"]),
            number(&metered["managed"]["energyKwh"]),
            number(&metered["other"]["energyKwh"]),
            number(&metered["idle"]["energyKwh"]),
            significant(sum),
            number(&metered["cost"]),
            text(&metered["from"]),
        ]);
    }
    table.render()
}

fn jobs(report: &Value, wide: bool) -> String {
    let embodied = wide && embodied(report);
    let mut head = vec![
        ("JOB", Align::Left),
        ("RAN IN", Align::Left),
        ("kWh", Align::Right),
        ("gCO2e", Align::Right),
        ("USD", Align::Right),
        ("SAVED g", Align::Right),
        ("SAVED USD", Align::Right),
        ("IN TIME", Align::Left),
    ];
    if embodied {
        head.push(("EMBODIED g", Align::Right));
    }
    let mut table = Table::new(&head);
    let all = report["jobs"].as_array().cloned().unwrap_or_default();
    let shown = if wide { all.len() } else { JOBS_SHOWN.min(all.len()) };
    for job in all.iter().rev().take(shown) {
        let key = &job["job"];
        let name = format!("{}/{}/{}", text(&key["cluster"]), text(&key["namespace"]), text(&key["name"]));
        let last = job["runs"].as_array().and_then(|runs| runs.last()).cloned().unwrap_or_default();
        let in_time = match (job["succeeded"].as_bool(), job["inTime"].as_bool()) {
            (Some(false), _) => "failed",
            (_, Some(false)) => "late",
            (_, Some(true)) => "yes",
            (_, None) => "-",
        };
        let mut cells = vec![
            name,
            text(&last["cluster"]),
            number(&job["actual"]["energyKwh"]),
            number(&job["actual"]["carbonGrams"]),
            number(&job["actual"]["cost"]),
            saved(&job["savedCarbonGrams"], &job["baseline"]["footprint"]["carbonGrams"]),
            saved(&job["savedCost"], &job["baseline"]["footprint"]["cost"]),
            in_time.to_owned(),
        ];
        if embodied {
            cells.push(number(&job["actual"]["embodiedCarbonGrams"]));
        }
        table.row(cells);
    }
    let mut out = table.render();
    if shown < all.len() {
        out.push_str(&format!("… the newest {shown} of {}; all with -o wide\n", all.len()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(embodied: bool) -> Value {
        let mut burnt = json!({"energyKwh": 0.2, "carbonGrams": 40.0, "cost": 0.1});
        let mut home = json!({"energyKwh": 0.2, "carbonGrams": 100.0, "cost": 0.1});
        if embodied {
            burnt["embodiedCarbonGrams"] = json!(1.5);
            home["embodiedCarbonGrams"] = json!(4.5);
        }
        let key = json!({"cluster": "kr", "namespace": "demo", "name": "train"});
        let total = json!({"jobs": 1, "inTime": 1, "late": 0, "savedCarbonGrams": 60.0, "savedCost": 0.0,
            "actual": burnt, "baseline": home});
        json!({"clusters": [], "currency": "USD",
            "jobs": [{"job": key, "runs": [{"cluster": "jp"}], "succeeded": true, "inTime": true, "actual": burnt}],
            "summary": {"total": total, "baseline": "at once, at home", "method": "by hand"}})
    }

    #[test]
    fn embodied_emissions_are_shown_apart_where_they_are_counted() {
        let on = render(&report(true), true);
        assert!(on.contains("EMBODIED g"), "{on}");
        let line =
            "of which embodied in the nodes: 1.50 g CO2e of 40.0 g burnt, 4.50 g of 100 g at once, at home";
        assert!(on.contains(line), "{on}");
        assert!(!render(&report(true), false).contains("EMBODIED g"), "only in the wide table");
        let off = render(&report(false), true).to_lowercase();
        assert!(!off.contains("embodied"), "{off}");
    }
}
