//! Servers of the Carbon Aware SDK.

use crate::service::{Asked, Reply, Service, at, hours, limits, now};
use crate::{ask, place, wrong};
use connect::observe::provider::{Basis, CarbonAwareSdk, Guarded, Provider};
use fleet::{Instant, SignalKind, Span};
use serde_json::{Value, json};

const FIVE: Span = Span::from_seconds(300);

fn stamp(at: Instant) -> String {
    at.to_rfc3339_seconds().replace('Z', "+00:00")
}

fn every(from: Instant, to: Instant, item: impl Fn(Instant) -> Value) -> Vec<Value> {
    let count = (to - from).as_seconds() / 300;
    (0..count).map(|i| item(from + FIVE.scaled(i, 1))).collect()
}

fn emissions() -> Value {
    let item =
        |at| json!({"location": "CAISO_NORTH", "time": stamp(at), "rating": 389.2, "duration": "00:05:00"});
    json!(every(now() - hours(24), now(), item))
}

fn forecast() -> Value {
    let item = |at| json!({"location": "CAISO_NORTH", "timestamp": stamp(at), "duration": 5, "value": 311.4});
    let from = now() + FIVE;
    json!([{"generatedAt": stamp(now()), "requestedAt": "2026-05-02T10:10:11.5+00:00", "location": "westus",
        "dataStartAt": stamp(from), "dataEndAt": stamp(from + hours(24)), "windowSize": 0,
        "optimalDataPoints": [item(from)], "forecastData": every(from, from + hours(24), item)}])
}

fn locations() -> Value {
    json!({"eastus": {"latitude": 37.3719, "longitude": -79.8164, "name": "eastus"},
        "westus": {"latitude": 37.783, "longitude": -122.417, "name": "westus"},
        "nowhere": {"latitude": null, "longitude": null, "name": "nowhere"},
        "a b": {"latitude": 37.77, "longitude": -122.42, "name": "a b"}})
}

fn good(asked: &Asked) -> Reply {
    match asked.path.split('?').next().unwrap() {
        "/locations" => Reply::json(&locations()),
        "/emissions/bylocation" => Reply::json(&emissions()),
        "/emissions/forecasts/current" => Reply::json(&forecast()),
        _ => Reply::status(404),
    }
}

async fn provider(
    script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
) -> (Service, CarbonAwareSdk) {
    let service = Service::start(script).await;
    let provider = CarbonAwareSdk::new(&service.url, Basis::Marginal, limits()).unwrap();
    (service, provider)
}

async fn with(path: &'static str, reply: Reply) -> (Service, CarbonAwareSdk) {
    provider(move |asked, _| if asked.path.starts_with(path) { reply.clone() } else { good(asked) }).await
}

#[tokio::test]
async fn the_nearest_location_is_asked() {
    let (service, mut sdk) = provider(|asked, _| good(asked)).await;
    let answer = ask(&mut sdk, "US-CAL-CISO").await.unwrap();
    assert_eq!(
        service.paths(),
        [
            "/locations",
            "/emissions/bylocation?location=westus&time=2026-05-01T10:10:00Z&toTime=2026-05-02T10:10:00Z",
            "/emissions/forecasts/current?location=westus",
        ]
    );
    assert_eq!((answer.past.figures.len(), answer.past.step), (288, FIVE));
    assert_eq!(
        (answer.past.kind(), answer.past.figures[0].0.as_milligrams()),
        (SignalKind::Estimated, 389_200)
    );
    let ahead = answer.ahead.unwrap();
    assert_eq!((ahead.made, ahead.steps.start, ahead.steps.figures.len()), (now(), now() + FIVE, 288));
    let zone = &place("US-CAL-CISO").zone;
    assert_eq!(
        (sdk.basis(), sdk.source(zone).as_str()),
        (Basis::Marginal, "Carbon Aware SDK westus (marginal, experimental)")
    );
    let since = Some(now() - hours(1));
    sdk.ask(&place("US-CAL-CISO"), since, now() + FIVE).await.unwrap();
    assert!(service.paths()[3].contains("time=2026-05-02T09:10:00Z"), "locations are known for a day");
    let mut guarded = Guarded::new(Box::new(sdk));
    let known = guarded.known(&place("US-CAL-CISO"), now()).await.unwrap();
    assert!(known.forecast.is_some() && known.note.is_none(), "{known:?}");
}

#[tokio::test]
async fn a_place_far_from_all_locations_is_not_covered() {
    let (_service, mut sdk) = provider(|asked, _| good(asked)).await;
    let mut seoul = place("KR");
    seoul.position = Some((37.5665, 126.978));
    let error = sdk.ask(&seoul, None, now()).await.unwrap_err().to_string();
    assert!(
        error.contains("the nearest of its locations, westus, is ") && error.contains(" km away"),
        "{error}"
    );
    seoul.position = None;
    let error = sdk.ask(&seoul, None, now()).await.unwrap_err().to_string();
    assert_eq!(error, "Carbon Aware SDK: does not cover zone KR: \"the place of its clusters is not known\"");
    let (_service, mut sdk) = with("/locations", Reply::status(204)).await;
    assert_eq!(
        wrong(&mut sdk, "KR").await,
        "Carbon Aware SDK: zone KR: locations: found nothing (204): expected at least one value"
    );
}

#[tokio::test]
async fn a_server_without_forecasts_gives_the_past_alone() {
    let body = json!({"title": "NotImplementedException", "status": 501, "detail": "no forecasts"});
    let (service, mut sdk) = with("/emissions/forecasts", Reply::Text(501, body.to_string())).await;
    let answer = ask(&mut sdk, "US-CAL-CISO").await.unwrap();
    let error = answer.ahead.unwrap_err().to_string();
    assert!(error.starts_with("Carbon Aware SDK: 501: forecast of westus"), "{error}");
    assert_eq!(service.paths().len(), 3, "what is not there is not asked for again at once");
}

#[tokio::test]
async fn either_order_is_taken_and_what_cannot_be_is_refused() {
    let change = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut body = emissions();
        change(body.as_array_mut().unwrap());
        body
    };
    let (_service, mut sdk) = with("/emissions/by", Reply::json(&change(&|all| all.reverse()))).await;
    let answer = ask(&mut sdk, "US-CAL-CISO").await.unwrap();
    assert_eq!((answer.past.start, answer.past.end()), (at("2026-05-01T10:10:00Z"), now()));
    for (body, said) in [
        (change(&|all| all[3]["rating"] = json!(-1)), "emissions: found -1 g/kWh at 2026-05-01T10:25:00Z"),
        (
            change(&|all| all[3]["duration"] = json!("01:00:00")),
            "emissions[3].duration: found 3600 s: expected 300 s",
        ),
        (
            change(&|all| all[3]["duration"] = json!("soon")),
            "emissions[3].duration: found soon: expected a duration",
        ),
        (change(&|all| all.swap(3, 9)), "a time that goes back"),
        (change(&|all| drop(all.drain(3..60))), "no value from 2026-05-01T10:25:00Z to 2026-05-01T15:10:00Z"),
        (json!({"title": "no list"}), "expected the JSON its documentation shows"),
        (json!([]), "emissions: found no value"),
    ] {
        let (_service, mut sdk) = with("/emissions/by", Reply::json(&body)).await;
        let error = wrong(&mut sdk, "US-CAL-CISO").await;
        assert!(
            error.starts_with("Carbon Aware SDK: zone US-CAL-CISO: emissions") && error.contains(said),
            "{error}"
        );
    }
}
