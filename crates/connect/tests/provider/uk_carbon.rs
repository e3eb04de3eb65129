//! UK Carbon Intensity: half hours of Great Britain.

use crate::service::{Reply, Service, at, hasty, hours, limits, now};
use crate::{ask, place, wrong};
use connect::observe::provider::{Error, Guarded, Limits, Provider, UkCarbon};
use fleet::{Instant, SignalKind, Span};
use serde_json::{Value, json};
use std::time::Duration;

fn minutes(at: Instant) -> String {
    at.to_rfc3339_seconds().replace(":00Z", "Z")
}

/// Half hours as the service gives them; the last one that is measured ends before `measured`.
fn slots(from: Instant, to: Instant, measured: Instant) -> Value {
    let half = Span::from_seconds(1800);
    let mut data = Vec::new();
    let mut at = from;
    while at < to {
        let actual = (at + half <= measured).then_some(100 + data.len());
        data.push(json!({"from": minutes(at), "to": minutes(at + half),
            "intensity": {"forecast": 200 + data.len(), "actual": actual, "index": "moderate"}}));
        at += half;
    }
    json!({ "data": data })
}

fn good() -> Value {
    slots(now().floor_to(Span::HOUR) - hours(24), now() + hours(48), at("2026-05-02T10:00:00Z"))
}

async fn provider(body: Value) -> (Service, UkCarbon) {
    let service = Service::start(move |_, _| Reply::json(&body)).await;
    let provider = UkCarbon::new(&service.url, limits()).unwrap();
    (service, provider)
}

/// The same answer with one thing changed.
fn with(change: impl FnOnce(&mut Vec<Value>)) -> Value {
    let mut body = good();
    change(body["data"].as_array_mut().unwrap());
    body
}

#[tokio::test]
async fn one_request_gives_what_was_and_what_will_be() {
    let (service, mut provider) = provider(good()).await;
    let answer = ask(&mut provider, "GB").await.unwrap();
    assert_eq!(service.paths(), ["/intensity/2026-04-25T10:00Z/2026-05-06T10:00Z"]);
    assert_eq!(answer.past.end(), at("2026-05-02T10:00:00Z"), "the present half hour is not measured yet");
    assert_eq!((answer.past.kind(), answer.past.filled), (SignalKind::Measured, 0));
    assert_eq!(answer.past.figures[0].0.as_grams_f64(), 100.0);
    let ahead = answer.ahead.unwrap();
    assert_eq!((ahead.steps.start, ahead.steps.kind()), (at("2026-05-02T10:00:00Z"), SignalKind::Forecast));
    let uncovered = wrong(&mut provider, "KR").await;
    assert_eq!(uncovered, "UK Carbon Intensity: does not cover zone KR: \"it covers GB alone\"");
}

#[tokio::test]
async fn a_day_of_changing_clocks_is_like_any_other() {
    // On 29 March 2026 at 01:00Z clocks go forward, on 25 October at 01:00Z they go back.
    for day in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z"] {
        let (from, now) = (at(day) - hours(24), at(day) + hours(12));
        let (_service, mut provider) = provider(slots(from, now + hours(24), now)).await;
        let answer = provider.ask(&place("GB"), None, now).await.unwrap();
        assert_eq!((answer.past.start, answer.past.end()), (from, now));
        assert_eq!((answer.past.figures.len(), answer.past.filled), (72, 0));
    }
    // Local time in place of UTC has an hour twice, which is time going back.
    let body = with(|data| {
        for slot in &mut data[6..] {
            for end in ["from", "to"] {
                let before = at(&slot[end].as_str().unwrap().replace('Z', ":00Z")) - Span::HOUR;
                slot[end] = json!(minutes(before));
            }
        }
    });
    let (_service, mut provider) = provider(body).await;
    let error = wrong(&mut provider, "GB").await;
    assert!(error.contains("data[].intensity.actual: found a time that goes back"), "{error}");
}

#[tokio::test]
async fn bad_data_is_refused_by_name() {
    let gap = with(|data| {
        data.drain(4..11);
    });
    for (body, said) in [
        (with(|data| data[5]["intensity"]["actual"] = json!(-3)), "data[].intensity.actual: found -3 g/kWh"),
        (with(|data| data[5]["intensity"]["actual"] = json!(1e6)), "expected 0 to 10000 g/kWh"),
        (
            with(|data| data[5]["to"] = json!("2026-05-01T14:00Z")),
            "data[5]: found 2026-05-01T12:30Z to 2026-05-01T14:00Z: expected half an hour",
        ),
        (
            with(|data| data[5]["from"] = json!("yesterday")),
            "data[5].from: found \"yesterday\": expected a time",
        ),
        (with(|data| data.swap(4, 5)), "a time that goes back"),
        (gap, "no value from 2026-05-01T12:00:00Z to 2026-05-01T15:30:00Z: expected no gap of more than 3 h"),
        (json!({"data": []}), "found no value"),
        (json!({"data": {"from": "2026-05-02T10:00Z"}}), "expected the JSON its documentation shows"),
    ] {
        let (_service, mut provider) = provider(body).await;
        let error = wrong(&mut provider, "GB").await;
        assert!(error.starts_with("UK Carbon Intensity: zone GB: data") && error.contains(said), "{error}");
    }
    let service = Service::start(|_, _| Reply::Text(200, good().to_string()[..5000].to_owned())).await;
    let mut provider = UkCarbon::new(&service.url, limits()).unwrap();
    let error = wrong(&mut provider, "GB").await;
    assert!(error.contains("EOF while parsing"), "{error}");
    assert_eq!(service.paths().len(), 1, "half a document is no reason to ask again at once");
}

#[tokio::test]
async fn a_short_gap_is_filled_and_estimated() {
    let (_service, mut provider) = provider(with(|data| data[5]["intensity"]["actual"] = Value::Null)).await;
    let answer = ask(&mut provider, "GB").await.unwrap();
    assert_eq!((answer.past.filled, answer.past.kind()), (1, SignalKind::Estimated));
    assert_eq!(answer.past.figures[5].0.as_grams_f64(), 104.0);
}

#[tokio::test]
async fn what_may_succeed_is_tried_again() {
    let cut = || Reply::Cut("{\"data\":[".to_owned());
    let bad: [(fn() -> Reply, Limits); 4] = [
        (|| Reply::status(502), limits()),
        (|| Reply::Nothing, hasty()),
        (cut, limits()),
        (|| Reply::status(503), limits()),
    ];
    for (bad, limits) in bad {
        let script = move |_: &_, before| if before < 2 { bad() } else { Reply::json(&good()) };
        let service = Service::start(script).await;
        let mut provider = UkCarbon::new(&service.url, limits).unwrap();
        ask(&mut provider, "GB").await.unwrap();
        assert_eq!(service.paths().len(), 3);
    }
    let service = Service::start(|_, _| Reply::Nothing).await;
    let mut provider = UkCarbon::new(&service.url, hasty()).unwrap();
    let error = wrong(&mut provider, "GB").await;
    assert_eq!(error, "UK Carbon Intensity: zone GB: no answer at 3 tries: nothing for 80 ms");
    let mut gone = UkCarbon::new("http://127.0.0.1:1", limits()).unwrap();
    let error = wrong(&mut gone, "GB").await;
    assert!(error.starts_with("UK Carbon Intensity: zone GB: no answer at 3 tries: "), "{error}");
}

#[tokio::test]
async fn what_cannot_succeed_is_not() {
    let page = "<html>404</html>".to_owned();
    let error = json!({"error": {"code": "400 Bad Request", "message": "Please enter a valid date"}});
    for (reply, said) in [
        (Reply::Text(400, error.to_string()), "400: zone GB: \"Please enter a valid date\": expected 200"),
        (Reply::Text(404, page), "404: zone GB: expected 200"),
        (
            Reply::With(302, vec![("location", "https://elsewhere.example/")], String::new()),
            "302: zone GB: expected 200",
        ),
        (Reply::Text(200, " ".repeat(70_000)), "an answer of more than 65536 bytes"),
    ] {
        let service = Service::start(move |_, _| reply.clone()).await;
        let mut provider = UkCarbon::new(&service.url, limits()).unwrap();
        let error = wrong(&mut provider, "GB").await;
        assert!(error.contains(said), "{error}");
        assert_eq!(service.paths().len(), 1);
    }
}

#[tokio::test]
async fn who_is_asked_to_wait_waits() {
    let busy = |before| {
        if before == 0 {
            Reply::With(429, vec![("retry-after", "120")], String::new())
        } else {
            Reply::json(&good())
        }
    };
    let service = Service::start(move |_, before| busy(before)).await;
    let mut guarded = Guarded::new(Box::new(UkCarbon::new(&service.url, limits()).unwrap()));
    let wait = Duration::from_secs(120);
    let error = guarded.known(&place("GB"), now()).await.unwrap_err();
    assert_eq!(error, Error::Busy { provider: "UK Carbon Intensity", status: 429, wait });
    let later = now() + Span::from_seconds(119);
    assert!(matches!(guarded.known(&place("GB"), later).await, Err(Error::Resting { .. })));
    assert_eq!(service.paths().len(), 1, "and is not asked before");
    let known = guarded.known(&place("GB"), now() + Span::from_seconds(120)).await.unwrap();
    assert_eq!(known.actual_from.as_of, at("2026-05-02T10:00:00Z"));
    assert_eq!(known.actual_from.source, "UK Carbon Intensity (NESO, CC BY 4.0; average, direct)");
    assert_eq!(service.paths().len(), 2);
    guarded.known(&place("GB"), now() + Span::from_seconds(1800)).await.unwrap();
    assert_eq!(service.paths().len(), 2, "half an hour is what an answer lasts");
}
