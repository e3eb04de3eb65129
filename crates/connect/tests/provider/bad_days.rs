//! What may happen to any provider, tried on each: refusals, waits, faults, half answers, changing clocks.

use crate::place;
use crate::service::{Reply, Service, at, hasty, hours, limits, now};
use connect::observe::provider::{
    Answer, Basis, CarbonAwareSdk, ElectricityMaps, EnergiDataService, EnergyCharts, Error, Guarded, Limits,
    Provider, Secret, UkCarbon, WattTime,
};
use fleet::{Instant, Span};
use serde_json::json;
use std::time::Duration;

/// A name, whether it is asked with a key, and how often a request that may succeed is tried.
const ALL: [(&str, bool, usize); 6] = [
    ("Electricity Maps", true, 3),
    ("WattTime", true, 3),
    ("UK Carbon Intensity", false, 3),
    ("Energy-Charts", false, 1),
    ("Energi Data Service", false, 1),
    ("Carbon Aware SDK", false, 3),
];

fn provider(name: &str, url: &str, limits: Limits) -> Box<dyn Provider> {
    let key = Secret::new("hunter2").unwrap();
    match name {
        "Electricity Maps" => Box::new(ElectricityMaps::new(url, key, limits).unwrap()),
        "WattTime" => Box::new(WattTime::new(url, "freddo", key, limits).unwrap()),
        "UK Carbon Intensity" => Box::new(UkCarbon::new(url, limits).unwrap()),
        "Energy-Charts" => Box::new(EnergyCharts::new(url, limits).unwrap()),
        "Energi Data Service" => Box::new(EnergiDataService::new(url, limits).unwrap()),
        _ => Box::new(CarbonAwareSdk::new(url, Basis::Average, limits).unwrap()),
    }
}

fn zone(name: &str) -> &'static str {
    match name {
        "UK Carbon Intensity" => "GB",
        "Energi Data Service" => "DK-DK1",
        _ => "DE",
    }
}

/// What comes of one request after another being answered like this, and how many there were.
async fn met(name: &str, reply: Reply, limits: Limits) -> (Result<Answer, Error>, usize) {
    let service = Service::start(move |_, _| reply.clone()).await;
    let mut provider = provider(name, &service.url, limits);
    let answer = provider.ask(&place(zone(name)), None, now()).await;
    if let Err(error) = &answer {
        let text = error.to_string();
        assert!(text.starts_with(&format!("{name}: ")), "{text}");
        assert!(!text.contains("hunter2") && text.len() < 1000 && !text.contains('\n'), "{text}");
    }
    (answer, service.asked().len())
}

#[tokio::test]
async fn a_denial_is_named_with_what_to_do_and_not_repeated() {
    for (name, _, _) in ALL {
        for status in [401, 403] {
            let body = json!({"error": "Token unauthorized", "msg": "not in this plan"}).to_string();
            let (answer, requests) = met(name, Reply::Text(status, body), limits()).await;
            let error = answer.unwrap_err();
            assert!(
                matches!(&error, Error::Denied { status: found, hint, .. } if *found == status && hint.len() > 20),
                "{error}"
            );
            assert_eq!(requests, 1, "{name}");
        }
    }
}

#[tokio::test]
async fn a_wait_is_taken_in_seconds_and_as_a_date() {
    let date = ("date", "Sun, 25 Oct 2026 00:59:00 GMT");
    for (name, _, _) in ALL {
        for (headers, seconds) in [
            (vec![("retry-after", "120")], 120),
            (vec![date, ("retry-after", "Sun, 25 Oct 2026 01:04:30 GMT")], 330),
            (vec![date, ("retry-after", "Sun, 25 Oct 2026 00:50:00 GMT")], 60),
            (vec![("retry-after", "in a while")], 60),
            (vec![], 60),
        ] {
            for status in [429, 503] {
                if status == 503 && headers.is_empty() {
                    continue;
                }
                let service = Service::start({
                    let headers = headers.clone();
                    move |_, _| Reply::With(status, headers.clone(), String::new())
                })
                .await;
                let mut guarded = Guarded::new(provider(name, &service.url, limits()));
                let error = guarded.known(&place(zone(name)), now()).await.unwrap_err();
                assert!(
                    matches!(&error, Error::Busy { wait, .. } if *wait == Duration::from_secs(seconds)),
                    "{name} {headers:?}: {error}"
                );
                let before = now() + Span::from_seconds(seconds as i64 - 1);
                guarded.known(&place(zone(name)), before).await.unwrap_err();
                assert_eq!(service.asked().len(), 1, "{name}: left alone");
                let standing = guarded.standing(&place(zone(name)).zone, before);
                assert_eq!(standing.rests_until, Some(before + Span::from_seconds(1)));
                guarded.known(&place(zone(name)), before + Span::from_seconds(1)).await.unwrap_err();
                assert_eq!(service.asked().len(), 2, "{name}: and then asked");
            }
        }
    }
}

#[tokio::test]
async fn a_servers_fault_silence_and_a_cut_are_tried_again_and_then_said() {
    for (name, _, tries) in ALL {
        for (reply, limits, why) in [
            (Reply::status(500), limits(), "status 500"),
            (Reply::status(502), limits(), "status 502"),
            (Reply::status(503), limits(), "status 503"),
            (Reply::status(504), limits(), "status 504"),
            (Reply::Nothing, hasty(), "nothing for 80 ms"),
            (Reply::Cut("{\"data\":[".to_owned()), limits(), ""),
        ] {
            let (answer, requests) = met(name, reply, limits).await;
            let error = answer.unwrap_err().to_string();
            let said = if tries == 1 { "no answer at 1 try: " } else { "no answer at 3 tries: " };
            assert!(error.contains(said) && error.contains(why), "{error}");
            assert_eq!(requests, tries, "{name}: {why}");
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_is_refused_at_once() {
    let page = "<html><body>Access denied</body></html>";
    for (name, _, _) in ALL {
        for body in
            ["", "{", "{\"data\":[{\"from\":\"2026-05-", page, "[]", "null", "{\"error\":\"maintenance\"}"]
        {
            let (answer, requests) = met(name, Reply::Text(200, body.to_owned()), limits()).await;
            let error = answer.unwrap_err().to_string();
            assert!(error.contains("expected ") || error.contains("does not cover"), "{error}");
            assert_eq!(requests, 1, "{name}: {body}");
        }
        let (answer, requests) = met(name, Reply::Text(200, " ".repeat(70_000)), limits()).await;
        let error = answer.unwrap_err().to_string();
        assert!(error.contains("an answer of more than 65536 bytes") && requests == 1, "{error}");
    }
}

/// A time as it reads on a clock that is so many hours ahead of UTC.
fn local(at: Instant, ahead: i64) -> String {
    (at + hours(ahead)).to_rfc3339_seconds().replace('Z', &format!("+{ahead:02}:00"))
}

/// Hourly answers of each provider for the hours from `from` until `to`, with times as `stamp` writes them.
fn hourly(
    name: &str,
    path: &str,
    (from, to): (Instant, Instant),
    stamp: &dyn Fn(Instant) -> String,
) -> Reply {
    let count = (to - from).as_seconds() / 3600;
    let each = |item: &dyn Fn(Instant) -> serde_json::Value| -> serde_json::Value {
        (0..count).map(|i| item(from + hours(i))).collect()
    };
    let body = match (name, path) {
        ("WattTime", "/login") => json!({"token": "t"}),
        ("WattTime", "/v3/region-from-loc") => json!({"region": "DE"}),
        ("WattTime", "/v3/historical") => json!({
            "data": each(&|at| json!({"point_time": stamp(at), "value": 870.0})),
            "meta": {"data_point_period_seconds": 3600, "region": "DE", "signal_type": "co2_moer", "units": "lbs_co2_per_mwh"}}),
        ("Electricity Maps", "/v3/carbon-intensity/history") => json!({"zone": "DE",
            "history": each(&|at| json!({"datetime": stamp(at), "carbonIntensity": 302, "isEstimated": false}))}),
        ("Carbon Aware SDK", "/locations") => json!({"de": {"latitude": 37.77, "longitude": -122.42}}),
        ("Carbon Aware SDK", "/emissions/bylocation") => {
            each(&|at| json!({"time": stamp(at), "rating": 302.0, "duration": "01:00:00"}))
        }
        _ => return Reply::status(404),
    };
    Reply::json(&body)
}

/// Days of 25 and 23 hours in Berlin, midnight to midnight, and how far its clocks are ahead before and after.
const DAYS: [(&str, &str, &str, i64, i64); 2] = [
    ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "2026-10-25T01:00:00Z", 2, 1),
    ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "2026-03-29T01:00:00Z", 1, 2),
];

#[tokio::test]
async fn a_day_of_23_or_25_hours_has_that_many_and_no_gap() {
    for name in ["Electricity Maps", "WattTime", "Carbon Aware SDK"] {
        for (from, to, change, before, after) in DAYS {
            let (from, to, change) = (at(from), at(to), at(change));
            let script = move |asked: &crate::service::Asked, _| {
                let stamp = |at: Instant| local(at, if at < change { before } else { after });
                let path = asked.path.split('?').next().unwrap().to_owned();
                hourly(name, &path, (from, to), &stamp)
            };
            let service = Service::start(script).await;
            let mut provider = provider(name, &service.url, limits());
            let past = provider.ask(&place("DE"), None, to).await.unwrap().past;
            let count = (to - from).as_seconds() / 3600;
            assert_eq!((past.start, past.end(), past.filled), (from, to, 0), "{name}");
            assert_eq!((past.figures.len() as i64, past.step), (count, Span::HOUR), "{name}");
        }
    }
}

#[tokio::test]
async fn local_times_without_an_offset_are_refused() {
    for name in ["Electricity Maps", "WattTime", "Carbon Aware SDK"] {
        for (from, to, change, before, after) in DAYS {
            let (from, to, change) = (at(from), at(to), at(change));
            let script = move |asked: &crate::service::Asked, _| {
                let stamp = |at: Instant| {
                    let text = local(at, if at < change { before } else { after });
                    text.get(..19).unwrap().to_owned()
                };
                let path = asked.path.split('?').next().unwrap().to_owned();
                hourly(name, &path, (from, to), &stamp)
            };
            let service = Service::start(script).await;
            let mut provider = provider(name, &service.url, limits());
            let error = provider.ask(&place("DE"), None, to).await.unwrap_err().to_string();
            assert!(error.contains("expected a time with an offset"), "{error}");
        }
    }
}

#[tokio::test]
async fn only_who_has_a_key_sends_one() {
    for (name, keyed, _) in ALL {
        let service = Service::start(|_, _| Reply::status(404)).await;
        let mut provider = provider(name, &service.url, limits());
        provider.ask(&place(zone(name)), None, now()).await.unwrap_err();
        assert_eq!(service.asked()[0].key.is_empty(), !keyed, "{name}");
    }
}
