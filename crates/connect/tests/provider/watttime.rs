//! WattTime v3: sign-in, regions, marginal figures in pounds.

use crate::service::{Asked, Reply, Service, at, hours, limits, now};
use crate::{ask, place, wrong};
use connect::observe::provider::{Basis, Error, Provider, Secret, WattTime};
use fleet::{Instant, SignalKind, Span};
use serde_json::{Value, json};

const FIVE: Span = Span::from_seconds(300);

fn stamp(at: Instant) -> String {
    at.to_rfc3339_seconds().replace('Z', "+00:00")
}

/// Points every five minutes, and what stands beside them.
fn points(from: Instant, to: Instant) -> Value {
    let mut data = Vec::new();
    let mut at = from;
    while at < to {
        data.push(json!({"point_time": stamp(at), "value": 870.0}));
        at += FIVE;
    }
    json!({"data": data, "meta": {"data_point_period_seconds": 300, "region": "CAISO_NORTH", "warnings": [],
        "signal_type": "co2_moer", "model": {"date": "2025-12-01"}, "units": "lbs_co2_per_mwh"}})
}

fn historical() -> Value {
    points(now() - hours(24), now())
}

fn forecast() -> Value {
    let mut body = points(now(), now() + hours(24));
    body["meta"]["generated_at"] = json!(stamp(now()));
    body["meta"]["generated_at_period_seconds"] = json!(300);
    body
}

/// A good answer to whatever is asked.
fn good(asked: &Asked) -> Reply {
    let token = json!({"token": "hunter2-token"});
    let region = json!({"region": "CAISO_NORTH", "region_full_name": "California ISO Northern", "signal_type": "co2_moer"});
    let index = json!({"data": [{"point_time": "2026-05-02T10:05:00+00:00", "value": 37.0}],
        "meta": {"data_point_period_seconds": 300, "region": "CAISO_NORTH", "signal_type": "co2_moer", "units": "percentile"}});
    match asked.path.split('?').next().unwrap() {
        "/login" if asked.key == "Basic ZnJlZGRvOmh1bnRlcjI=" => Reply::json(&token),
        "/login" => Reply::status(401),
        _ if asked.key != "Bearer hunter2-token" => Reply::status(401),
        "/v3/region-from-loc" => Reply::json(&region),
        "/v3/historical" => Reply::json(&historical()),
        "/v3/forecast" => Reply::json(&forecast()),
        "/v3/signal-index" => Reply::json(&index),
        _ => Reply::status(404),
    }
}

async fn provider(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> (Service, WattTime) {
    let service = Service::start(script).await;
    let password = Secret::new("hunter2").unwrap();
    let provider = WattTime::new(&service.url, "freddo", password, limits()).unwrap();
    (service, provider)
}

/// Answers `path` with this, the rest as it should be.
async fn with(path: &'static str, reply: Reply) -> (Service, WattTime) {
    provider(move |asked, _| if asked.path.starts_with(path) { reply.clone() } else { good(asked) }).await
}

fn heads(service: &Service) -> Vec<String> {
    service.paths().iter().map(|path| path.split('?').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn signs_in_finds_the_region_and_converts_pounds() {
    let (service, mut provider) = provider(|asked, _| good(asked)).await;
    let answer = ask(&mut provider, "US-CAL-CISO").await.unwrap();
    assert_eq!(
        service.paths(),
        [
            "/login",
            "/v3/region-from-loc?signal_type=co2_moer&latitude=37.7700&longitude=-122.4200",
            "/v3/historical?region=CAISO_NORTH&signal_type=co2_moer&start=2026-04-02T10:10:00Z&end=2026-05-02T10:10:00Z",
            "/v3/forecast?region=CAISO_NORTH&signal_type=co2_moer&horizon_hours=72",
        ]
    );
    assert_eq!((answer.past.figures.len(), answer.past.step), (288, FIVE));
    assert_eq!(answer.past.figures[0].0.as_milligrams(), 394_625, "870 lb/MWh");
    assert_eq!(answer.past.kind(), SignalKind::Estimated, "a model's figure");
    let ahead = answer.ahead.unwrap();
    assert_eq!((ahead.made, ahead.steps.start, ahead.steps.end()), (now(), now(), now() + hours(24)));
    assert_eq!(provider.basis(), Basis::Marginal);
    assert_eq!(provider.source(&place("US-CAL-CISO").zone), "WattTime v3 co2_moer CAISO_NORTH (marginal)");
    let shown = format!("{provider:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("ZnJl"), "{shown}");

    // The token is good for half an hour, the region for days; what is known is not asked for again.
    let since = Some(at("2026-05-01T10:00:00Z"));
    provider.ask(&place("US-CAL-CISO"), since, now() + FIVE).await.unwrap();
    assert_eq!(heads(&service)[4..], ["/v3/historical", "/v3/forecast"]);
    assert!(service.paths()[4].contains("start=2026-05-01T10:00:00Z"));
    provider.ask(&place("US-CAL-CISO"), since, now() + Span::from_seconds(1500)).await.unwrap();
    assert_eq!(heads(&service)[6..], ["/login", "/v3/historical", "/v3/forecast"]);
}

#[tokio::test]
async fn an_expired_token_is_renewed_once() {
    let script = |asked: &Asked, before| {
        let expired = asked.path.starts_with("/v3/historical") && before == 0;
        if expired { Reply::status(401) } else { good(asked) }
    };
    let (service, mut wt) = provider(script).await;
    ask(&mut wt, "US-CAL-CISO").await.unwrap();
    assert_eq!(
        heads(&service),
        ["/login", "/v3/region-from-loc", "/v3/historical", "/login", "/v3/historical", "/v3/forecast"]
    );
    let (service, mut wt) = with("/v3/historical", Reply::status(401)).await;
    let error = wrong(&mut wt, "US-CAL-CISO").await;
    assert!(
        error.contains("401: historical of region CAISO_NORTH; the token it gave is not taken"),
        "{error}"
    );
    assert_eq!(service.paths().iter().filter(|path| *path == "/login").count(), 2, "and not for ever");
}

#[tokio::test]
async fn denials_say_what_to_do() {
    for status in [401, 403] {
        let (service, mut wt) = with("/login", Reply::status(status)).await;
        let error = wrong(&mut wt, "US-CAL-CISO").await;
        assert_eq!(
            error,
            format!(
                "WattTime: {status}: sign-in; user name or password is not taken: check KUBERCARBON_WATTTIME_USER and KUBERCARBON_WATTTIME_PASSWORD"
            )
        );
        assert_eq!(service.paths(), ["/login"]);
    }
    let scope =
        json!({"error": "INVALID_SCOPE", "msg": "not in your plan", "docs": "https://docs.watttime.org/"});
    let (service, mut wt) = with("/v3/historical", Reply::Text(403, scope.to_string())).await;
    let error = wrong(&mut wt, "US-CAL-CISO").await;
    assert_eq!(
        error,
        "WattTime: 403: historical of region CAISO_NORTH: \"not in your plan\"; the plan does not include this for zone US-CAL-CISO; free accounts have CAISO_NORTH alone (its index says 37 now, 0 is cleanest, 100 dirtiest: no amount)"
    );
    assert_eq!(heads(&service), ["/login", "/v3/region-from-loc", "/v3/historical", "/v3/signal-index"]);
}

#[tokio::test]
async fn a_place_without_a_region_is_not_covered() {
    for status in [400, 404] {
        let body = json!({"error": "INVALID_QUERY_PARAMS", "msg": "Coordinates not found"}).to_string();
        let (_service, mut wt) = with("/v3/region-from-loc", Reply::Text(status, body)).await;
        let error = wrong(&mut wt, "KR").await;
        assert_eq!(error, "WattTime: does not cover zone KR: \"Coordinates not found\"");
    }
    let (service, mut wt) = provider(|asked, _| good(asked)).await;
    let mut nowhere = place("KR");
    nowhere.position = None;
    let error = wt.ask(&nowhere, None, now()).await.unwrap_err();
    assert!(matches!(error, Error::Uncovered { .. }) && service.paths().is_empty());
    let odd = json!({"region": "A&signal_type=x"});
    let (_service, mut wt) = with("/v3/region-from-loc", Reply::json(&odd)).await;
    assert!(wrong(&mut wt, "KR").await.contains("region: found \"A&signal_type=x\": expected letters"));
}

#[tokio::test]
async fn bad_data_is_refused_by_name() {
    let body = |change: &dyn Fn(&mut Value)| {
        let mut body = historical();
        change(&mut body);
        body
    };
    for (body, said) in [
        (
            body(&|b| b["meta"]["units"] = json!("percentile")),
            "historical.meta.units: found percentile: expected lbs_co2_per_mwh",
        ),
        (body(&|b| b["meta"]["units"] = json!("kg_co2_per_mwh")), "expected lbs_co2_per_mwh"),
        (
            body(&|b| b["meta"]["signal_type"] = json!("co2_aoer")),
            "historical.meta.signal_type: found co2_aoer: expected co2_moer",
        ),
        (
            body(&|b| b["meta"]["region"] = json!("PJM_NJ")),
            "historical.meta.region: found PJM_NJ: expected CAISO_NORTH",
        ),
        (body(&|b| b["data"][9]["value"] = json!(-1.0)), "historical.data[].value: found -0.45359237 g/kWh"),
        (body(&|b| b["data"][9]["value"] = json!(1e9)), "expected 0 to 10000 g/kWh"),
        (
            body(&|b| b["data"][9]["point_time"] = json!("2026-05-02T10:05:00")),
            "historical.data[9].point_time: found \"2026-05-02T10:05:00\": expected a time with an offset",
        ),
        (body(&|b| b["data"].as_array_mut().unwrap().swap(3, 9)), "a time that goes back"),
        (
            body(&|b| drop(b["data"].as_array_mut().unwrap().drain(9..60))),
            "no value from 2026-05-01T10:55:00Z to 2026-05-01T15:10:00Z",
        ),
        (json!({"data": []}), "missing field `meta`"),
    ] {
        let (_service, mut wt) = with("/v3/historical", Reply::json(&body)).await;
        let error = wrong(&mut wt, "US-CAL-CISO").await;
        assert!(
            error.starts_with("WattTime: zone US-CAL-CISO: historical") && error.contains(said),
            "{error}"
        );
    }
    let cut = Reply::Text(200, historical().to_string()[..2000].to_owned());
    let (_service, mut wt) = with("/v3/historical", cut).await;
    assert!(wrong(&mut wt, "US-CAL-CISO").await.contains("EOF while parsing"));
    let (_service, mut wt) = with("/login", Reply::Text(200, "{\"jwt\":\"hunter2-token\"}".to_owned())).await;
    assert!(wrong(&mut wt, "US-CAL-CISO").await.contains("token: found an answer of 23 bytes"));
}

#[tokio::test]
async fn a_servers_fault_at_sign_in_is_tried_again_and_429_is_not() {
    let (service, mut wt) =
        provider(
            |asked, before| {
                if asked.path == "/login" && before == 0 { Reply::status(500) } else { good(asked) }
            },
        )
        .await;
    ask(&mut wt, "US-CAL-CISO").await.unwrap();
    assert_eq!(heads(&service)[..2], ["/login", "/login"]);
    let (service, mut wt) = with("/login", Reply::status(429)).await;
    assert!(
        wrong(&mut wt, "US-CAL-CISO")
            .await
            .contains("429: too many requests: it asks to be left alone for 60 s")
    );
    assert_eq!(service.paths().len(), 1);
}
