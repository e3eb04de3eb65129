//! `kubercarbon top` and `kubercarbon report --by …`: what flows now, and what it came to.

use crate::client::{Client, escape};
use crate::format::{self, number, text};
use crate::options::{Common, Output, Period, Top, TopOf};
use crate::table::{Align, Table, fitted};
use anyhow::Context;
use fleet::quantity::{counted as many, significant};
use fleet::{Instant, Span};
use serde_json::Value;

/// Widest name in the narrow table, so that it fits 100 columns.
const NAME_MAX: usize = 27;
/// Rows of the narrow table; `-o wide` has all.
const ROWS_SHOWN: usize = 40;

pub fn top(common: &Common, options: &Top) -> anyhow::Result<()> {
    let of = options.by.clone().unwrap_or_else(|| {
        let word = match options.of {
            TopOf::Clusters => "clusters",
            TopOf::Nodes => "nodes",
            TopOf::Namespaces => "namespaces",
            TopOf::Workloads => "workloads",
            TopOf::Pods => "pods",
        };
        word.to_owned()
    });
    if options.period.is_given() {
        anyhow::ensure!(
            of != "pods",
            "pods over a time: accounts have no pods, they come and go\n\nhint: kubercarbon top workloads --days 1"
        );
        return report(
            common,
            of.strip_suffix('s').filter(|_| options.by.is_none()).unwrap_or(&of),
            &options.period,
        );
    }
    let client = Client::find(common)?;
    let top = client.list_of(&format!("/api/v1/top?of={}", escape(&of)))?;
    show(common, &top, |wide| render_top(&top, &of, wide), TOP_FIELDS)
}

pub fn report(common: &Common, by: &str, period: &Period) -> anyhow::Result<()> {
    let client = Client::find(common)?;
    let mut path = format!("/api/v1/accounts?by={}", escape(by));
    if period.is_given() {
        let clock = client.get("/api/v1/clock")?;
        let now = clock["at"].as_str().context("read the clock: no time in the answer")?;
        let (from, to) = period.range(Instant::parse(now)?);
        for (name, at) in [("from", from), ("to", to)] {
            if let Some(at) = at {
                path += &format!("&{name}={}", escape(&at.to_rfc3339_seconds()));
            }
        }
    }
    let accounts = client.list_of(&path)?;
    show(common, &accounts, |wide| render_accounts(&accounts, wide), ACCOUNT_FIELDS)
}

fn show(
    common: &Common,
    document: &Value,
    table: impl FnOnce(bool) -> String,
    fields: &[&'static str],
) -> anyhow::Result<()> {
    if common.print() != Output::Csv {
        return format::show(common.print(), document, table);
    }
    format::print(&format::csv(document["items"].as_array().into_iter().flatten(), fields))
}

const TOP_FIELDS: &[&str] = &[
    "part",
    "cluster",
    "namespace",
    "name",
    "place",
    "capacityCores",
    "requestedCores",
    "usedCores",
    "measuredCores",
    "capacityGib",
    "requestedGib",
    "usedGib",
    "powerWatts",
    "idleWatts",
    "carbonGramsPerHour",
    "idleCarbonGramsPerHour",
    "costPerHour",
    "idleCostPerHour",
    "sharedCostPerHour",
];

const ACCOUNT_FIELDS: &[&str] = &[
    "part",
    "cluster",
    "namespace",
    "name",
    "energyKwh",
    "carbonGrams",
    "embodiedCarbonGrams",
    "cost",
    "idleEnergyKwh",
    "idleCarbonGrams",
    "idleEmbodiedCarbonGrams",
    "idleCost",
    "sharedCost",
    "capacityCoreHours",
    "requestedCoreHours",
    "usedCoreHours",
    "measuredCoreHours",
    "capacityGibHours",
    "requestedGibHours",
    "usedGibHours",
    "expected.cost",
    "expected.carbonGrams",
];

/// A row's whole name; narrow, as much of it as fits.
fn name(row: &Value, wide: bool) -> String {
    let parts = [&row["cluster"], &row["namespace"], &row["name"]];
    let whole = parts.iter().filter_map(|part| part.as_str()).collect::<Vec<_>>().join("/");
    if wide { whole } else { fitted(&whole, NAME_MAX) }
}

/// A figure; nothing where it is none of this row's business.
fn some(value: &Value, shown: bool) -> String {
    if shown { number(value) } else { "-".to_owned() }
}

/// Whether a row has idle capacity of its own, as clusters, nodes and the total have; or is idle capacity.
fn has_idle(row: &Value, whole: bool) -> bool {
    whole || row["part"] == "idle"
}

/// What stands in a row; the flag says whether rows have idle capacity of their own.
type Cell = Box<dyn Fn(&Value, bool) -> String>;

struct Column {
    head: String,
    wide: bool,
    cell: Cell,
}

fn column(head: &str, wide: bool, field: &'static str) -> Column {
    let cell = move |row: &Value, _: bool| number(format::field(row, field));
    Column { head: head.to_owned(), wide, cell: Box::new(cell) }
}

/// A column for rows that have idle capacity of their own.
fn idle_column(head: &str, wide: bool, field: &'static str) -> Column {
    let cell = move |row: &Value, whole: bool| some(&row[field], has_idle(row, whole));
    Column { head: head.to_owned(), wide, cell: Box::new(cell) }
}

fn table(document: &Value, first: &str, columns: Vec<Column>, whole: bool, wide: bool) -> String {
    let columns: Vec<Column> = columns.into_iter().filter(|column| wide || !column.wide).collect();
    let head = columns.iter().map(|column| (column.head.clone(), Align::Right));
    let mut table = Table::with_head([(first.to_uppercase(), Align::Left)].into_iter().chain(head).collect());
    let all = document["items"].as_array().cloned().unwrap_or_default();
    let rests = all.iter().filter(|row| row["part"] != "named").count();
    let most = if wide { all.len() } else { ROWS_SHOWN.max(rests) };
    // What stands apart is last, and always shown.
    let named = all.iter().take(all.len() - rests).take(most - rests.min(most));
    let shown = named.clone().count() + rests;
    for row in named.chain(all.iter().skip(all.len() - rests)) {
        let cells = columns.iter().map(|column| (column.cell)(row, whole));
        table.row([name(row, wide)].into_iter().chain(cells).collect());
    }
    let sum = &document["sum"];
    let cells = columns.iter().map(|column| (column.cell)(sum, true));
    table.row(["TOTAL".to_owned()].into_iter().chain(cells).collect());
    let mut out = table.render();
    if shown < all.len() {
        out +=
            &format!("… the dearest {shown} of {} rows; the total is of all; all with -o wide\n", all.len());
    }
    out
}

fn render_top(top: &Value, of: &str, wide: bool) -> String {
    let money = text(&top["currency"]);
    let whole = matches!(of, "clusters" | "nodes");
    let mut columns = vec![
        column("USED cores", false, "usedCores"),
        column("REQUESTED", false, "requestedCores"),
        idle_column("OF", false, "capacityCores"),
        column("MEASURED cores", true, "measuredCores"),
        column("USED GiB", true, "usedGib"),
        column("REQUESTED GiB", true, "requestedGib"),
        column("W", false, "powerWatts"),
        idle_column("IDLE W", false, "idleWatts"),
        column("gCO2e/h", false, "carbonGramsPerHour"),
        column(&format!("{money}/h"), false, "costPerHour"),
        idle_column(&format!("IDLE {money}/h"), false, "idleCostPerHour"),
        column(&format!("SHARED {money}/h"), true, "sharedCostPerHour"),
    ];
    if matches!(of, "pods" | "nodes") {
        let cell = |row: &Value, _: bool| text(&row["place"]);
        let head = if of == "pods" { "NODE" } else { "TYPE" };
        columns.push(Column { head: head.to_owned(), wide: true, cell: Box::new(cell) });
    }
    let first = of.strip_prefix("label:").unwrap_or(of.trim_end_matches('s'));
    let mut out = table(top, first, columns, whole, wide);
    out += &format!("\nat {}; {}\n", text(&top["at"]), used(&top["useFrom"], &top["sum"], "Cores"));
    out
}

/// What use stands on, in words.
fn used(from: &Value, sum: &Value, unit: &str) -> String {
    let (measured, all) = (sum[format!("measured{unit}")].as_f64(), sum[format!("used{unit}")].as_f64());
    let share = measured.zip(all).filter(|(_, all)| *all > 0.0).map(|(measured, all)| measured / all * 100.0);
    match (from["source"].as_str(), share) {
        (Some(source), Some(share)) => {
            format!(
                "use: {} % measured by {source}; requests stand for the rest (assumed)",
                significant(share)
            )
        }
        _ => "use: not measured, requests stand for it (assumed)".to_owned(),
    }
}

fn render_accounts(accounts: &Value, wide: bool) -> String {
    let (money, by) = (text(&accounts["currency"]), text(&accounts["by"]));
    let whole = matches!(by.as_str(), "cluster" | "node");
    let mut columns = vec![
        column("USED core-h", false, "usedCoreHours"),
        column("REQUESTED core-h", true, "requestedCoreHours"),
        idle_column("OF", false, "capacityCoreHours"),
        column("MEASURED core-h", true, "measuredCoreHours"),
        column("USED GiB-h", true, "usedGibHours"),
        column("REQUESTED GiB-h", true, "requestedGibHours"),
        column("kWh", false, "energyKwh"),
        column("gCO2e", false, "carbonGrams"),
        column(&money, false, "cost"),
        idle_column(&format!("IDLE {money}"), false, "idleCost"),
        column(&format!("SHARED {money}"), true, "sharedCost"),
        column(&format!("MONTH {money}"), false, "expected.cost"),
        column("MONTH gCO2e", true, "expected.carbonGrams"),
    ];
    let counted = accounts["sum"]["embodiedCarbonGrams"].is_number();
    if counted {
        columns.push(column("EMBODIED g", true, "embodiedCarbonGrams"));
    }
    let first = by.strip_prefix("label:").unwrap_or(&by);
    let mut out = table(accounts, first, columns, whole, wide);
    out += &format!(
        "\n{} to {}; {}\n",
        text(&accounts["from"]),
        text(&accounts["to"]),
        used(&accounts["useFrom"], &accounts["sum"], "CoreHours")
    );
    let days = accounts["expectedFromDays"].as_f64().unwrap_or(0.0);
    let known = accounts["hoursOfWeekKnown"].as_f64().unwrap_or(0.0) * 100.0;
    out += &format!(
        "MONTH: expected by {}, from {} seen ({} % of the hours of the week; the others like the mean)\n",
        text(&accounts["monthEnds"]),
        seen_for(days),
        significant(known)
    );
    if counted {
        out += &format!(
            "embodied in the nodes, beside gCO2e: {} g CO2e (estimated)\n",
            number(&accounts["sum"]["embodiedCarbonGrams"])
        );
    }
    if let Some(kind) = accounts["carbonFrom"]["kind"].as_str() {
        out += &format!("carbon intensity: {kind} ({})\n", text(&accounts["carbonFrom"]["source"]));
    }
    for c in accounts["coverage"].as_array().into_iter().flatten() {
        let (seen, of) = (c["seenHours"].as_f64().unwrap_or(0.0), c["ofHours"].as_f64().unwrap_or(0.0));
        if of - seen > 0.01 * of {
            out += &format!(
                "{}: seen {} of {} since {}; the rest is not in these figures\n",
                text(&c["cluster"]),
                span(seen),
                span(of),
                text(&c["since"])
            );
        }
    }
    if wide {
        out += &format!("method: {}\n", text(&accounts["method"]));
    }
    out
}

/// Hours as people say them, without parts of seconds.
fn span(hours: f64) -> String {
    Span::from_seconds((hours * 3600.0) as i64).to_string()
}

/// Days, or how much less it is than one.
fn seen_for(days: f64) -> String {
    if days < 1.0 { span(days * 24.0) } else { many(days, "day", "days") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(part: &str, name: &str, cost: f64) -> Value {
        json!({"part": part, "cluster": "kr", "namespace": "a-namespace-with-a-long-name", "name": name, "usedCoreHours": 12_345.6,
            "requestedCoreHours": 23_456.7, "capacityCoreHours": 34_567.8, "energyKwh": 1234.5, "carbonGrams": 123_456_789.0, "cost": cost,
            "idleCost": 1234.56, "sharedCost": 1.0, "measuredCoreHours": 0.0, "expected": {"cost": 98_765.4, "carbonGrams": 1.0},
            "usedCores": 1234.5, "requestedCores": 1234.5, "capacityCores": 2345.6, "powerWatts": 123_456.7, "idleWatts": 12_345.6,
            "carbonGramsPerHour": 123_456.7, "costPerHour": 123.4, "idleCostPerHour": 12.3, "measuredCores": 1.0})
    }
    fn document() -> Value {
        let long = "Deployment/a-workload-with-quite-a-long-name";
        let mut items: Vec<Value> = (0..60).map(|i| row("named", &format!("{long}-{i}"), 1000.0)).collect();
        items.extend([row("shared", "(shared)", 1.0), row("idle", "(idle)", 1.0)]);
        json!({"by": "workload", "currency": "USD", "items": items, "sum": row("named", "total", 9.0), "from": "2026-11-01T00:00:00Z",
            "to": "2026-11-28T11:00:00Z", "at": "2026-11-28T11:00:00Z", "monthEnds": "2026-12-01T00:00:00Z", "expectedFromDays": 3.25, "hoursOfWeekKnown": 0.46,
            "coverage": [{"cluster": "kr", "seenHours": 10.0, "ofHours": 20.0, "since": "2026-11-27T00:00:00Z"}],
            "carbonFrom": {"kind": "assumed", "source": "typical year"}, "useFrom": null})
    }

    #[test]
    fn embodied_emissions_stand_apart_where_they_are_counted() {
        let mut doc = document();
        assert!(!render_accounts(&doc, true).to_lowercase().contains("embodied"));
        doc["sum"]["embodiedCarbonGrams"] = json!(12.5);
        assert!(render_accounts(&doc, true).contains("EMBODIED g"));
        let narrow = render_accounts(&doc, false);
        assert!(narrow.contains("embodied in the nodes, beside gCO2e: 12.5 g CO2e"), "{narrow}");
    }

    #[test]
    fn tables_fit_and_say_what_stands_apart() {
        let doc = document();
        for (of, text) in
            [("accounts", render_accounts(&doc, false)), ("top", render_top(&doc, "workloads", false))]
        {
            let rows: Vec<&str> = text.lines().take_while(|line| !line.starts_with("… ")).collect();
            assert!(rows.iter().all(|line| line.chars().count() <= 100), "{of}:\n{text}");
            assert_eq!(rows.len(), 1 + ROWS_SHOWN + 1, "{of}");
            assert!(
                rows.iter().any(|line| line.contains("(shared)"))
                    && rows.iter().any(|line| line.contains("(idle)")),
                "{of}"
            );
            assert!(rows.last().unwrap().starts_with("TOTAL"), "{of}");
            assert!(
                text.contains("… the dearest 40 of 62 rows")
                    && text.contains("not measured, requests stand for it (assumed)"),
                "{of}"
            );
        }
        let wide = render_accounts(&doc, true);
        assert!(
            wide.contains("kr/a-namespace-with-a-long-name/Deployment/a-workload-with-quite-a-long-name-59"),
            "{wide}"
        );
        assert!(wide.contains("kr: seen 10h of 20h since 2026-11-27T00:00:00Z"), "{wide}");
        assert!(
            wide.contains("MONTH: expected by 2026-12-01T00:00:00Z, from 3.25 days seen (46.0 %"),
            "{wide}"
        );
    }

    #[test]
    fn use_is_said_to_be_measured_as_far_as_it_is() {
        let sum = json!({"measuredCores": 3.0, "usedCores": 4.0});
        let said = used(&json!({"source": "metrics.k8s.io"}), &sum, "Cores");
        assert_eq!(said, "use: 75.0 % measured by metrics.k8s.io; requests stand for the rest (assumed)");
    }
}
