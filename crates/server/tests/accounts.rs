//! Accounts in the API, on the page Capacity and for Prometheus, on a product without clusters.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

mod support;

use serde_json::Value;
use server::backend::Backend;
use std::collections::{BTreeMap, BTreeSet};
use support::{Fake, Scene, get};

fn sum(rows: &Value, field: &str) -> f64 {
    rows["items"].as_array().unwrap().iter().map(|row| row[field].as_f64().unwrap()).sum()
}

#[tokio::test]
async fn rows_sum_to_the_total_whatever_accounts_are_made_by() {
    let fake = Fake::new(Scene::Busy);
    let mut totals = BTreeSet::new();
    for by in ["cluster", "namespace", "workload", "node", "label:team"] {
        let body = get(&fake, &format!("/api/v1/accounts?by={by}&limit=1000")).await.json();
        for field in ["cost", "carbonGrams", "energyKwh", "usedCoreHours", "capacityCoreHours", "idleCost"] {
            let (rows, total) = (sum(&body, field), body["sum"][field].as_f64().unwrap());
            assert!((rows - total).abs() < 1e-6 * total.max(1.0), "{by} {field}: {rows} {total}");
        }
        totals.insert(format!("{:.9}", body["sum"]["cost"].as_f64().unwrap()));
        assert_eq!((body["by"].as_str(), body["useFrom"].is_null()), (Some(by), true));
        assert_eq!(body["carbonFrom"]["kind"], "assumed");
        assert!(body["method"].as_str().unwrap().contains("OpenCost"));
        let expected = &body["sum"]["expected"];
        assert!(expected["cost"].as_f64() > expected["costSoFar"].as_f64(), "{expected}");
    }
    assert_eq!(totals.len(), 1, "one total: {totals:?}");
    let named = get(&fake, "/api/v1/accounts?by=namespace").await.json();
    let names: Vec<&str> =
        named["items"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["data", "shop", "(shared)", "(idle)"]);
    let day = get(&fake, "/api/v1/accounts?from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z").await.json();
    let hours = day["sum"]["capacityCoreHours"].as_f64().unwrap();
    assert_eq!(hours, 2.0 * 6.0 * 8.0 * 24.0, "two clusters of six nodes of eight cores, a day");
    assert_eq!(
        (&day["coverage"][0]["seenHours"], &day["coverage"][0]["ofHours"]),
        (&24.0.into(), &24.0.into())
    );
}

#[tokio::test]
async fn accounts_come_in_pages_and_wrong_questions_are_named() {
    let fake = Fake::new(Scene::Busy);
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let body = get(&fake, &format!("/api/v1/accounts?by=workload&limit=3{after}")).await.json();
        seen.extend(
            body["items"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()),
        );
        match body["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('/', "%2F")),
            None => break,
        }
    }
    assert_eq!(seen.len(), 10, "four of each cluster, shared, idle: {seen:?}");
    for (query, says) in [
        ("by=pod", "expected cluster, namespace, workload, node or label:KEY"),
        ("from=yesterday", "query from: \"yesterday\" is not a time"),
        ("from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "expected from before to"),
        ("from=2020-01-01T00:00:00Z", "at most 397 days"),
        ("after=nobody", "expected the name of an item"),
        ("limit=0", "expected 1 to 1000"),
        ("days=3", "days"),
    ] {
        let answer = get(&fake, &format!("/api/v1/accounts?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{query}: {}", answer.body);
    }
}

#[tokio::test]
async fn what_flows_now_sums_to_the_clusters() {
    let fake = Fake::new(Scene::Busy);
    let body = get(&fake, "/api/v1/top").await.json();
    for field in ["powerWatts", "costPerHour", "carbonGramsPerHour", "capacityCores", "usedCores"] {
        let (rows, total) = (sum(&body, field), body["sum"][field].as_f64().unwrap());
        assert!((rows - total).abs() < 1e-6 * total, "{field}: {rows} {total}");
    }
    let clusters = get(&fake, "/api/v1/clusters").await.json();
    assert_eq!(body["items"][0]["costPerHour"], clusters["items"][0]["pricePerHour"]);
    assert!(clusters["items"][0]["carbonGramsPerHour"].as_f64().unwrap() > 0.0);
    let wrong = get(&fake, "/api/v1/top?of=things").await;
    assert_eq!((wrong.status, wrong.json()["hint"].is_string()), (400, true));
}

#[tokio::test]
async fn the_page_shows_what_the_api_says() {
    let fake = Fake::new(Scene::Busy);
    for (by, names) in [
        ("cluster", &["kr", "jp"][..]),
        ("namespace", &["shop", "data", "Shared", "Idle"]),
        ("workload", &["Deployment/web", "CronJob/etl", "Job/train-bert"]),
        ("node", &["kr-general-0"]),
        ("label&key=team", &["Shared", "Idle"]),
        ("label&key=nobody", &["without this label"]),
    ] {
        let page = get(&fake, &format!("/capacity?by={by}&range=7d")).await.body;
        assert!(names.iter().all(|name| page.contains(*name)), "{by}: {names:?}");
        assert!(page.contains("use is not measured: requests stand for it"), "{by}");
        assert!(page.contains("some figures are assumed"), "{by}");
    }
    let accounts = fake
        .accounts(ledger::accounts::Question {
            by: "cluster".parse().unwrap(),
            from: support::at("2026-11-01T00:00:00Z"),
            to: support::at("2026-11-21T23:00:00Z"),
            now: fake.view().at,
        })
        .await
        .unwrap();
    let page = get(&fake, "/capacity").await.body;
    let cost = accounts.total.amounts.cost.as_units_f64().round() as u64;
    assert!(page.contains(&format!("${},{:03}", cost / 1000, cost % 1000)), "{cost}");
    assert!(page.contains("10.0 days seen"));
    let odd = get(&fake, "/capacity?by=nonsense&range=ever&page=99").await;
    assert_eq!(odd.status, 200, "what is not understood is by cluster, this month");
}

/// A sample of the text format: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads the text format 0.0.4 strictly: each family's HELP and TYPE before its samples, in one piece.
fn parsed(text: &str) -> Vec<Sample> {
    let (mut samples, mut families, mut current) = (Vec::new(), BTreeSet::new(), String::new());
    let mut series = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            current = rest.split(' ').next().unwrap().to_owned();
            assert!(families.insert(current.clone()), "family {current} twice");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(name == current && matches!(kind, "gauge" | "counter"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            continue;
        }
        let (head, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let (name, labels) = match head.split_once('{') {
            Some((name, rest)) => (name, labels(rest.strip_suffix('}').unwrap_or_else(|| panic!("{line}")))),
            None => (head, BTreeMap::new()),
        };
        assert_eq!(name, current, "{line}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
        assert!(series.insert((name.to_owned(), labels.clone())), "{line} twice");
        samples.push((name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("{line}"))));
    }
    assert!(text.ends_with('\n'));
    samples
}

fn labels(text: &str) -> BTreeMap<String, String> {
    let (mut out, mut rest) = (BTreeMap::new(), text);
    while !rest.is_empty() {
        let (key, tail) = rest.split_once("=\"").unwrap_or_else(|| panic!("{text}"));
        let (mut value, mut escape, mut end) = (String::new(), false, None);
        for (i, c) in tail.char_indices() {
            match (escape, c) {
                (true, 'n') => value.push('\n'),
                (true, '"' | '\\') => value.push(c),
                (true, _) => panic!("{text}: escape of {c}"),
                (false, '"') => {
                    end = Some(i);
                    break;
                }
                (false, '\\') => {}
                (false, c) => value.push(c),
            }
            escape = !escape && c == '\\';
        }
        assert!(out.insert(key.to_owned(), value).is_none(), "{text}: {key} twice");
        rest = &tail[end.unwrap_or_else(|| panic!("{text}")) + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    out
}

#[tokio::test]
async fn prometheus_can_read_the_metrics_and_every_family_is_documented() {
    for scene in [Scene::Busy, Scene::Hostile, Scene::Empty] {
        let fake = Fake::new(scene);
        let answer = get(&fake, "/metrics").await;
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let samples = parsed(&answer.body);
        let value = |name: &str, label: (&str, &str)| -> f64 {
            let of = |s: &&Sample| s.0 == name && s.1.get(label.0).is_some_and(|v| v == label.1);
            samples.iter().filter(of).map(|s| s.2).sum()
        };
        let documented = include_str!("../../../docs/metrics.md");
        for (name, ..) in &samples {
            assert!(documented.contains(&format!("`{name}`")), "docs/metrics.md does not list {name}");
        }
        if scene == Scene::Empty {
            continue;
        }
        let view = fake.view();
        let kr = view.clusters.iter().find(|c| c.facts.id.as_str() == "kr").unwrap();
        let power = kr.draw.power().as_watts_f64();
        assert!((value("kubercarbon_power_watts", ("cluster", "kr")) - power).abs() < 1e-6);
        let running = view.jobs.iter().filter(|job| job.phase == control::JobPhase::Running).count();
        assert_eq!(value("kubercarbon_jobs", ("phase", "running")), running as f64);
        let saved = ledger::summary::summarize(&fake.entries()).total.saved_carbon.as_grams_f64();
        let found = samples.iter().find(|s| s.0 == "kubercarbon_saved_carbon_grams").unwrap().2;
        assert_eq!(found, saved);
        assert_eq!(value("kubercarbon_signal_age_seconds", ("signal", "actual")), 2.0 * 18.0 * 60.0);
        if scene == Scene::Hostile {
            assert!(value("kubercarbon_namespace_power_watts", ("namespace", "a\"b\\c\nd")) > 0.0);
        }
    }
}
