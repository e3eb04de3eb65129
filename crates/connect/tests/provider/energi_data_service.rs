//! Energi Data Service: the two zones of Denmark.

use crate::service::{Asked, Reply, Service, at, hours, limits, now};
use crate::{ask, place, wrong};
use connect::observe::provider::{EnergiDataService, Error, Guarded, Provider};
use fleet::{Instant, SignalKind, Span};
use serde_json::{Value, json};
use std::time::Duration;

const FIVE: Span = Span::from_seconds(300);

/// As the service writes times.
fn plain(at: Instant) -> String {
    at.to_rfc3339_seconds().replace('Z', "")
}

/// A dataset's answer, as recorded: every five minutes from `from` until `to`; Danish time is so many hours ahead.
fn records(
    dataset: &str,
    area: &str,
    (from, to): (Instant, Instant),
    ahead: &dyn Fn(Instant) -> i64,
) -> Value {
    let count = (to - from).as_seconds() / 300;
    let record = |at: Instant| {
        json!({"Minutes5UTC": plain(at), "Minutes5DK": plain(at + hours(ahead(at))),
            "PriceArea": area, "CO2Emission": if dataset == "CO2Emis" { 86.0 } else { 61.0 }})
    };
    let records: Vec<Value> = (0..count).map(|i| record(from + FIVE.scaled(i, 1))).collect();
    json!({"total": count, "limit": 20_000, "dataset": dataset, "records": records})
}

fn summer(_: Instant) -> i64 {
    2
}

/// What was until five minutes ago, what will be until the next midnight.
fn good(asked: &Asked) -> Value {
    let area = if asked.path.contains("%22DK2%22") { "DK2" } else { "DK1" };
    let begins = now() - hours(24);
    match asked.path.split('?').next().unwrap() {
        "/dataset/CO2Emis" => records("CO2Emis", area, (begins, now() - FIVE), &summer),
        _ => records("CO2EmisProg", area, (now() - hours(2), at("2026-05-02T22:00:00Z")), &summer),
    }
}

/// The same with one thing changed in one dataset's answer.
async fn with(
    dataset: &'static str,
    change: impl Fn(&mut Vec<Value>) + Send + Sync + 'static,
) -> (Service, EnergiDataService) {
    let script = move |asked: &Asked, _| {
        let mut body = good(asked);
        if body["dataset"] == dataset {
            change(body["records"].as_array_mut().unwrap());
        }
        Reply::json(&body)
    };
    let service = Service::start(script).await;
    let provider = EnergiDataService::new(&service.url, limits()).unwrap();
    (service, provider)
}

#[tokio::test]
async fn two_datasets_give_what_was_and_what_will_be() {
    let (service, mut provider) = with("", |_| {}).await;
    let answer = ask(&mut provider, "DK-DK2").await.unwrap();
    let filter = "filter=%7B%22PriceArea%22%3A%5B%22DK2%22%5D%7D&sort=Minutes5UTC&limit=20000";
    assert_eq!(
        service.paths(),
        [
            format!("/dataset/CO2Emis?start=2026-04-18T10:10&{filter}"),
            format!("/dataset/CO2EmisProg?start=2026-05-02T10:10&{filter}"),
        ]
    );
    let past = answer.past;
    assert_eq!((past.start, past.end(), past.step), (now() - hours(24), now() - FIVE, FIVE));
    assert_eq!((past.kind(), past.filled), (SignalKind::Estimated, 0));
    assert_eq!(past.figures[0].0.as_grams_f64(), 86.0);
    let ahead = answer.ahead.unwrap();
    assert_eq!((ahead.steps.start, ahead.steps.end()), (now(), at("2026-05-02T22:00:00Z")));
    assert_eq!((ahead.steps.kind(), ahead.steps.figures[0].0.as_grams_f64()), (SignalKind::Forecast, 61.0));
    let uncovered = wrong(&mut provider, "DE").await;
    assert_eq!(
        uncovered,
        "Energi Data Service: does not cover zone DE: \"it covers DK-DK1 and DK-DK2 alone\""
    );
}

#[tokio::test]
async fn a_dataset_is_asked_for_once_a_minute_and_an_answer_lasts_three_steps() {
    let (service, provider) = with("", |_| {}).await;
    let mut guarded = Guarded::new(Box::new(provider));
    let known = guarded.known(&place("DK-DK1"), now()).await.unwrap();
    assert_eq!(
        known.actual_from.source,
        "Energi Data Service DK1 (Energinet; average of what is consumed, experimental)"
    );
    let apart = Span::MINUTE;
    let error = guarded.known(&place("DK-DK2"), now() + Span::from_seconds(59)).await.unwrap_err();
    assert_eq!(error, Error::Turn { provider: "Energi Data Service", apart });
    assert_eq!(service.paths().len(), 2);
    guarded.known(&place("DK-DK2"), now() + apart).await.unwrap();
    assert_eq!(service.paths().len(), 4);
    guarded.known(&place("DK-DK1"), now() + Span::from_seconds(899)).await.unwrap();
    assert_eq!(service.paths().len(), 4);
    guarded.known(&place("DK-DK1"), now() + Span::from_seconds(900)).await.unwrap();
    assert!(service.paths()[4].contains("start=2026-05-01T10:05&"), "a day anew: {:?}", service.paths());
}

#[tokio::test]
async fn a_wait_asked_for_at_the_second_dataset_holds() {
    let service = Service::start(|asked, _| match asked.path.contains("Prog") {
        true => Reply::With(429, vec![("retry-after", "90")], String::new()),
        false => Reply::json(&good(asked)),
    })
    .await;
    let mut guarded = Guarded::new(Box::new(EnergiDataService::new(&service.url, limits()).unwrap()));
    let known = guarded.known(&place("DK-DK1"), now()).await.unwrap();
    assert!(known.note.unwrap().contains("it asks to be left alone for 90 s"));
    let wait = Duration::from_secs(90);
    let busy = Error::Busy { provider: "Energi Data Service", status: 429, wait };
    let error = guarded.known(&place("DK-DK2"), now() + Span::from_seconds(89)).await.unwrap_err();
    assert!(matches!(&error, Error::Resting { because, .. } if *because == busy.to_string()), "{error}");
    assert_eq!((service.paths().len(), guarded.has_queue(now())), (2, false));
}

#[tokio::test]
async fn danish_days_of_23_and_25_hours_have_that_many_and_no_gap() {
    for (from, to, change, before, after, count) in [
        ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "2026-10-25T01:00:00Z", 2, 1, 300),
        ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "2026-03-29T01:00:00Z", 1, 2, 276),
    ] {
        let (from, to, change) = (at(from), at(to), at(change));
        let script = move |_: &Asked, _| {
            let ahead = |at: Instant| if at < change { before } else { after };
            Reply::json(&records("CO2Emis", "DK1", (from, to), &ahead))
        };
        let service = Service::start(script).await;
        let mut provider = EnergiDataService::new(&service.url, limits()).unwrap();
        let past = provider.ask(&place("DK-DK1"), None, to).await.unwrap().past;
        assert_eq!((past.start, past.end(), past.filled), (from, to, 0));
        assert_eq!(past.figures.len(), count);
    }
}

#[tokio::test]
async fn bad_data_is_refused_by_name() {
    type Change = fn(&mut Vec<Value>);
    let cases: [(Change, &str); 9] = [
        (|all| all[3]["CO2Emission"] = json!(-1), "CO2Emis: found -1 g/kWh at 2026-05-01T10:25:00Z"),
        (|all| all[3]["CO2Emission"] = json!(86_000), "expected 0 to 10000 g/kWh"),
        (
            |all| all[3]["PriceArea"] = json!("DK2"),
            "CO2Emis.records[3].PriceArea: found \"DK2\": expected DK1",
        ),
        (
            // Danish time in the column of UTC.
            |all| all[3]["Minutes5UTC"] = all[3]["Minutes5DK"].clone(),
            "CO2Emis.records[3]: found 2026-05-01T12:25:00 UTC and 2026-05-01T12:25:00 in Denmark: expected Danish time",
        ),
        (
            |all| all[3]["Minutes5UTC"] = json!("2026-05-01T12:25:00+02:00"),
            "CO2Emis.records[3].Minutes5UTC: found \"2026-05-01T12:25:00+02:00\": expected a time without an offset",
        ),
        (|all| all[3]["Minutes5UTC"] = json!("2026-13-01T10:25:00"), "CO2Emis.records[3].Minutes5UTC: found"),
        (|all| all.reverse(), "a time that goes back"),
        (|all| drop(all.drain(3..60)), "no value from 2026-05-01T10:25:00Z to 2026-05-01T15:10:00Z"),
        (|all| all.clear(), "CO2Emis: found no value"),
    ];
    for (change, said) in cases {
        let (service, mut provider) = with("CO2Emis", change).await;
        let error = wrong(&mut provider, "DK-DK1").await;
        assert!(
            error.starts_with("Energi Data Service: zone DK-DK1: CO2Emis") && error.contains(said),
            "{error}"
        );
        assert_eq!(service.paths().len(), 1);
    }
    let (_service, mut provider) = with("CO2EmisProg", Vec::clear).await;
    let answer = ask(&mut provider, "DK-DK1").await.unwrap();
    let error = answer.ahead.unwrap_err().to_string();
    assert_eq!(
        error, "Energi Data Service: zone DK-DK1: CO2EmisProg: found no value: expected at least one",
        "and what was is there"
    );
}

#[tokio::test]
async fn a_short_gap_is_filled() {
    let (_service, mut provider) = with("CO2Emis", |all| all[3]["CO2Emission"] = Value::Null).await;
    let past = ask(&mut provider, "DK-DK1").await.unwrap().past;
    assert_eq!((past.filled, past.figures.len()), (1, 287));
}
