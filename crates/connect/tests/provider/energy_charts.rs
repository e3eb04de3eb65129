//! Energy-Charts: countries of Europe.

use crate::service::{Asked, Reply, Service, at, hours, limits, now};
use crate::{ask, place, wrong};
use connect::observe::provider::{EnergyCharts, Guarded, Provider, energy_charts};
use fleet::{GridZone, Instant, SignalKind, Span, builtin};
use serde_json::{Value, json};

const QUARTER: Span = Span::from_seconds(900);

/// An answer as recorded for France in October 2026: quarter hours of days in local time; what was up to some hour ago,
/// then what is expected up to the end of a day, then nothing.
fn reply(from: Instant, to: Instant, measured: Instant, expected: Instant) -> Value {
    let count = (to - from).as_seconds() / 900;
    let times: Vec<Instant> = (0..count).map(|i| from + QUARTER.scaled(i, 1)).collect();
    let each = |value: &dyn Fn(Instant) -> Value| -> Value { times.iter().map(|at| value(*at)).collect() };
    json!({
        "unix_seconds": each(&|at| json!(at.as_unix_seconds())),
        "co2eq": each(&|at| if at < measured { json!(64.8) } else { Value::Null }),
        "co2eq_forecast": each(&|at| if (measured..expected).contains(&at) { json!(49.4) } else { Value::Null }),
        "deprecated": false,
    })
}

fn good() -> Value {
    let midnight = at("2026-04-30T22:00:00Z");
    reply(midnight, midnight + hours(96), at("2026-05-02T09:30:00Z"), midnight + hours(48))
}

async fn provider(body: Value) -> (Service, EnergyCharts) {
    let service = Service::start(move |_, _| Reply::json(&body)).await;
    let provider = EnergyCharts::new(&service.url, limits()).unwrap();
    (service, provider)
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = good();
    change(&mut body);
    body
}

#[tokio::test]
async fn one_request_gives_what_was_and_what_will_be() {
    let (service, mut provider) = provider(good()).await;
    let answer = ask(&mut provider, "FR").await.unwrap();
    assert_eq!(
        service.paths(),
        ["/co2eq?country=fr&start=2026-04-02T10:00Z&end=2026-05-04T10:10Z"],
        "30 days back, two ahead"
    );
    let past = answer.past;
    assert_eq!((past.start, past.end()), (at("2026-04-30T22:00:00Z"), at("2026-05-02T09:30:00Z")));
    assert_eq!((past.step, past.filled, past.kind()), (QUARTER, 0, SignalKind::Measured));
    assert_eq!(past.figures[0].0.as_grams_f64(), 64.8);
    let ahead = answer.ahead.unwrap();
    assert_eq!(
        (ahead.steps.start, ahead.steps.end()),
        (at("2026-05-02T10:00:00Z"), at("2026-05-02T22:00:00Z"))
    );
    assert_eq!((ahead.made, ahead.steps.kind()), (now(), SignalKind::Forecast));
    assert_eq!(ahead.steps.figures[0].0.as_grams_f64(), 49.4);
}

#[tokio::test]
async fn what_is_known_is_not_asked_for_again() {
    let (service, provider) = provider(good()).await;
    let mut guarded = Guarded::new(Box::new(provider));
    let known = guarded.known(&place("FR"), now()).await.unwrap();
    assert_eq!(
        known.actual_from.source,
        "Energy-Charts fr (Fraunhofer ISE, CC BY 4.0; average, experimental)"
    );
    guarded.known(&place("FR"), now() + Span::from_seconds(899)).await.unwrap();
    assert_eq!(service.paths().len(), 1, "a quarter of an hour is what an answer lasts");
    guarded.known(&place("FR"), now() + QUARTER).await.unwrap();
    assert!(service.paths()[1].contains("&start=2026-05-01T09:30Z&"), "{:?}", service.paths());
    // A second country has to wait for its turn.
    assert!(
        guarded
            .known(&place("DE"), now() + QUARTER)
            .await
            .unwrap_err()
            .to_string()
            .ends_with("it takes one request every 30 s, and other zones came first")
    );
    guarded.known(&place("DE"), now() + QUARTER + Span::from_seconds(30)).await.unwrap();
    assert_eq!((service.paths().len(), guarded.has_queue(now() + QUARTER)), (3, false));
}

#[tokio::test]
async fn every_zone_is_a_whole_country_of_the_built_in_table() {
    for zone in energy_charts::ZONES {
        assert!(builtin::zone_name(&GridZone::new(zone).unwrap()).is_some(), "{zone}");
        let part = |other: &&str| other.starts_with(&format!("{zone}-"));
        assert!(zone == "NO" || !builtin::typical_year_zones().any(|other| part(&other)), "{zone} has parts");
    }
    let (service, mut provider) = provider(good()).await;
    for zone in ["DK-DK1", "IT-NO", "SE-SE3", "NO-NO1", "GB", "IE", "RO", "KR"] {
        let error = wrong(&mut provider, zone).await;
        assert!(
            error.starts_with(&format!("Energy-Charts: does not cover zone {zone}: \"it covers AT, BE,")),
            "{error}"
        );
    }
    assert!(service.paths().is_empty());
}

#[tokio::test]
async fn a_country_it_does_not_know_is_asked_about_once_a_day() {
    // As recorded: 400 in plain text of a code it does not know, 404 of a country without figures.
    let said = "'hu' is not the code for an available country.";
    for (reply, quoted) in [(Reply::Text(400, said.to_owned()), said), (Reply::status(404), "")] {
        let service = Service::start(move |_, _| reply.clone()).await;
        let mut guarded = Guarded::new(Box::new(EnergyCharts::new(&service.url, limits()).unwrap()));
        let error = guarded.known(&place("HU"), now()).await.unwrap_err().to_string();
        assert!(
            error.starts_with("Energy-Charts: does not cover zone HU") && error.contains(quoted),
            "{error}"
        );
        guarded.known(&place("HU"), now() + hours(23)).await.unwrap_err();
        assert_eq!(service.paths().len(), 1);
    }
    let service = Service::start(|_, _| Reply::Text(400, "'start' is no date".to_owned())).await;
    let error = wrong(&mut EnergyCharts::new(&service.url, limits()).unwrap(), "HU").await;
    assert_eq!(error, "Energy-Charts: 400: country hu: \"'start' is no date\": expected 200");
}

#[tokio::test]
async fn a_stand_in_of_the_service_is_no_measurement_and_an_end_is_announced() {
    let (_service, mut one) = provider(with(|body| body["substitute"] = json!(true))).await;
    let answer = ask(&mut one, "DE").await.unwrap();
    assert_eq!(answer.past.kind(), SignalKind::Estimated);
    let (_service, mut other) = provider(with(|body| body["deprecated"] = json!(true))).await;
    ask(&mut other, "DE").await.unwrap();
    assert!(
        other.source(&GridZone::new("DE").unwrap()).ends_with("experimental; deprecated, says the service)")
    );
}

#[tokio::test]
async fn a_country_without_a_forecast_gives_the_past_alone() {
    let past_only = |body: &mut Value| drop(body.as_object_mut().unwrap().remove("co2eq_forecast"));
    let nulls = |body: &mut Value| {
        body["co2eq_forecast"].as_array_mut().unwrap().fill(Value::Null);
    };
    for body in [with(past_only), with(nulls)] {
        let (_service, mut provider) = provider(body).await;
        let answer = ask(&mut provider, "CH").await.unwrap();
        assert_eq!(answer.past.end(), at("2026-05-02T09:30:00Z"));
        let error = answer.ahead.unwrap_err().to_string();
        assert_eq!(error, "Energy-Charts: zone CH: co2eq_forecast: found no value: expected at least one");
    }
}

#[tokio::test]
async fn hours_are_taken_as_well_and_a_gap_is_filled() {
    let hourly = json!({"unix_seconds": [1_777_705_200, 1_777_708_800, 1_777_712_400, 1_777_716_000, 1_777_719_600],
        "co2eq": [20.5, null, 22.5, null, null], "co2eq_forecast": [null, null, null, 23.0, 24.0]});
    let (_service, mut provider) = provider(hourly).await;
    let answer = ask(&mut provider, "NO").await.unwrap();
    let past = answer.past;
    assert_eq!((past.start, past.end()), (at("2026-05-02T07:00:00Z"), at("2026-05-02T10:00:00Z")));
    assert_eq!((past.step, past.filled, past.kind()), (Span::HOUR, 1, SignalKind::Estimated));
    assert_eq!(answer.ahead.unwrap().steps.start, at("2026-05-02T10:00:00Z"));
}

#[tokio::test]
async fn a_day_of_23_or_25_hours_has_that_many_and_no_gap() {
    for (from, to, quarters) in [
        ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 100),
        ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", 92),
    ] {
        let (from, to) = (at(from), at(to));
        let (_service, mut provider) = provider(reply(from, to, to, to)).await;
        let past = provider.ask(&place("DE"), None, to).await.unwrap().past;
        assert_eq!((past.figures.len(), past.filled, past.end()), (quarters, 0, to));
    }
}

#[tokio::test]
async fn bad_data_is_refused_by_name() {
    let swap = |body: &mut Value| body["unix_seconds"].as_array_mut().unwrap().swap(4, 5);
    let gap = |body: &mut Value| body["co2eq"].as_array_mut().unwrap()[8..24].fill(Value::Null);
    for (body, said) in [
        (with(|body| body["co2eq"][5] = json!(-3)), "co2eq: found -3 g/kWh at 2026-04-30T23:15:00Z"),
        (with(|body| body["co2eq"][5] = json!(64_800)), "expected 0 to 10000 g/kWh"),
        (with(|body| body["co2eq"][5] = json!("64.8")), "expected the JSON its documentation shows"),
        (
            with(|body| body["unix_seconds"][5] = json!(1_777_705_200_000_i64)),
            "unix_seconds[5]: found 1777705200000",
        ),
        (
            with(|body| drop(body["co2eq"].as_array_mut().unwrap().pop())),
            "unix_seconds: found 384 times for 383 values: expected as many",
        ),
        (
            with(|body| drop(body["co2eq_forecast"].as_array_mut().unwrap().pop())),
            "unix_seconds: found 384 times for 383 values: expected as many",
        ),
        (with(swap), "a time that goes back"),
        (
            with(gap),
            "no value from 2026-05-01T00:00:00Z to 2026-05-01T04:00:00Z: expected no gap of more than 3 h",
        ),
        (json!({"unix_seconds": [], "co2eq": [], "co2eq_forecast": []}), "co2eq: found no value"),
        // Version 2 of the interface writes other things differently.
        (
            json!({"data": [{"timestamp": "2026-05-02T10:00:00Z", "values": {}}]}),
            "missing field `unix_seconds`",
        ),
    ] {
        let (_service, mut provider) = provider(body).await;
        let error = wrong(&mut provider, "DE").await;
        assert!(error.starts_with("Energy-Charts: zone DE: ") && error.contains(said), "{error}");
    }
    let half = |_: &Asked, _| Reply::Text(200, good().to_string()[..2000].to_owned());
    let service = Service::start(half).await;
    let error = wrong(&mut EnergyCharts::new(&service.url, limits()).unwrap(), "DE").await;
    assert!(error.contains("EOF while parsing"), "{error}");
}
