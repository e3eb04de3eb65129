//! What clusters have beside nodes, pods and Jobs, as `status -o wide` shows it.

use crate::client::Client;
use crate::format::{count, text};
use crate::options::Output;
use crate::table::{Align, Table};
use serde_json::{Map, Value};

/// The inventories of these clusters by name, where the output shows them.
pub fn of(client: &Client, clusters: &Value, output: Output) -> anyhow::Result<Value> {
    let mut all = Map::new();
    for cluster in clusters.as_array().into_iter().flatten().filter(|_| output != Output::Table) {
        let name = text(&cluster["name"]);
        let inventory = client.get(&format!("/api/v1/clusters/{name}/inventory"))?;
        all.insert(name, inventory);
    }
    Ok(Value::Object(all))
}

/// Counts by kind, where figures come from, and what wants a look; nothing, where no cluster says anything.
pub fn render(inventories: &Value) -> String {
    let all: Vec<(&String, &Value)> = inventories.as_object().into_iter().flatten().collect();
    if all.iter().all(|(_, one)| list(&one["kinds"]).next().is_none()) {
        return String::new();
    }
    let mut table = Table::new(&[("CLUSTER", Align::Left), ("KIND", Align::Left), ("COUNT", Align::Right)]);
    let mut lines = String::new();
    for (name, one) in all {
        let unknown = unknown(one);
        for kind in list(&one["kinds"]).filter(|kind| kind["unknownWhy"].is_null()) {
            let more = if kind["more"] == true { "+" } else { "" };
            table.row(vec![name.clone(), text(&kind["kind"]), format!("{}{more}", kind["count"])]);
        }
        for (kinds, why) in unknown {
            lines += &format!("{name}: {} unknown: {why}\n", kinds.join(", "));
        }
        lines += &sources(name, one);
        for (part, what) in [
            ("replicasMissing", "workloads with pods missing"),
            ("noDisruption", "budgets that allow no disruption"),
            ("atMaximum", "autoscalers at their maximum"),
            ("unboundClaims", "claims without a volume"),
        ] {
            lines += &remarks(name, what, &one[part]);
        }
    }
    format!("{}\n{lines}\n", table.render())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Kinds that are not known, by the reason.
fn unknown(one: &Value) -> Vec<(Vec<String>, String)> {
    let mut all: Vec<(Vec<String>, String)> = Vec::new();
    for kind in list(&one["kinds"]) {
        let Some(why) = kind["unknownWhy"].as_str() else { continue };
        let name = text(&kind["kind"]);
        match all.iter_mut().find(|known| known.1 == why) {
            Some((kinds, _)) => kinds.push(name),
            None => all.push((vec![name], why.to_owned())),
        }
    }
    all
}

/// Who says what is used, and where power and price come from.
fn sources(name: &str, one: &Value) -> String {
    let usage = &one["usage"];
    let counted = |n: &Value, what: &str| count(n.as_u64().unwrap_or(0), what);
    let mut lines = match (usage["from"]["source"].as_str(), usage["unknownWhy"].as_str()) {
        (Some(source), _) => format!(
            "{name}: use of {} and {} measured {} s ago by {source}\n",
            counted(&usage["nodes"], "node"),
            counted(&usage["pods"], "pod"),
            usage["from"]["ageSeconds"]
        ),
        (None, Some(why)) => format!("{name}: requests stand for use (assumed): {why}\n"),
        (None, None) => String::new(),
    };
    for rates in list(&one["rates"]) {
        let part = |from: &str, kind: &str| format!("{} ({})", text(&rates[from]), text(&rates[kind]));
        lines += &format!(
            "{name}: {}: power from {}, price from {}\n",
            counted(&rates["nodes"], "node"),
            part("powerFrom", "powerKind"),
            part("priceFrom", "priceKind")
        );
    }
    lines
}

/// What wants a look, the first of each by name.
fn remarks(name: &str, what: &str, named: &Value) -> String {
    let count = named["count"].as_u64().unwrap_or(0);
    if count == 0 {
        return String::new();
    }
    let mut lines = format!("{name}: {what}: {count}\n");
    for remark in list(&named["first"]) {
        lines +=
            &format!("  {} {}: {}\n", text(&remark["kind"]), text(&remark["name"]), text(&remark["what"]));
    }
    let shown = list(&named["first"]).count() as u64;
    if count > shown {
        lines += &format!("  and {} more\n", count - shown);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_reasons_and_remarks_are_shown() {
        let kind = |kind: &str, count: Value, why: Value| json!({"kind": kind, "count": count, "more": false, "unknownWhy": why});
        let kinds = json!([
            kind("Deployment", json!(12), Value::Null),
            kind("StatefulSet", Value::Null, json!("list: 403 Forbidden: no")),
            kind("DaemonSet", Value::Null, json!("list: 403 Forbidden: no")),
        ]);
        let named = |count: u64| json!({"count": count, "first": [{"kind": "Deployment", "name": "a/web", "what": "2 of 3 pods ready"}]});
        let rates = json!([{"powerFrom": "table", "powerKind": "assumed", "priceFrom": "open-cost", "priceKind": "estimated", "nodes": 3}]);
        let one = json!({"kinds": kinds, "replicasMissing": named(2), "atMaximum": {"count": 0, "first": []}, "rates": rates,
            "usage": {"unknownWhy": "metrics.k8s.io: 404: no metrics server here", "nodes": 0, "pods": 0}});
        let shown = render(&json!({"kr": one}));
        assert_eq!(
            shown,
            "CLUSTER  KIND        COUNT\nkr       Deployment     12\n\n\
             kr: StatefulSet, DaemonSet unknown: list: 403 Forbidden: no\n\
             kr: requests stand for use (assumed): metrics.k8s.io: 404: no metrics server here\n\
             kr: 3 nodes: power from table (assumed), price from open-cost (estimated)\n\
             kr: workloads with pods missing: 2\n  Deployment a/web: 2 of 3 pods ready\n  and 1 more\n\n"
        );
        assert_eq!(render(&json!({"kr": {"kinds": []}})), "", "a twin");
    }
}
