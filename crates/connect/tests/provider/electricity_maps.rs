//! Electricity Maps, v3 and v4.

use crate::service::{Asked, Reply, Service, at, hours, limits, now};
use crate::{ask, place, wrong};
use connect::observe::provider::{Basis, ElectricityMaps, Guarded, Provider, Secret};
use fleet::{Instant, SignalKind, Span};
use serde_json::{Value, json};

fn millis(at: Instant) -> String {
    at.to_rfc3339_seconds().replace('Z', ".000Z")
}

fn point(at: Instant, grams: f64) -> Value {
    json!({"zone": "DE", "carbonIntensity": grams, "datetime": millis(at),
        "updatedAt": "2026-05-02T09:46:38.629Z", "createdAt": "2026-04-29T10:48:00.000Z",
        "emissionFactorType": "lifecycle", "isEstimated": false, "estimationMethod": null,
        "temporalGranularity": "hourly"})
}

/// 24 hours up to the one before the present.
fn history() -> Value {
    let hour = now().floor_to(Span::HOUR);
    let points: Vec<Value> = (-24..0).map(|i| point(hour + hours(i), 300.0 + i as f64)).collect();
    json!({"zone": "DE", "history": points})
}

fn latest() -> Value {
    point(now().floor_to(Span::HOUR), 302.0)
}

fn forecast(count: i64) -> Value {
    let hour = now().floor_to(Span::HOUR);
    let point = |i| json!({"carbonIntensity": 280 + i, "datetime": millis(hour + hours(i))});
    json!({"zone": "DE", "forecast": (0..count).map(point).collect::<Vec<Value>>(),
        "updatedAt": "2026-05-02T09:46:38.629Z", "temporalGranularity": "hourly"})
}

/// The hours a request of the past asks for.
fn range(asked: &Asked) -> Value {
    let query = asked.path.split_once('?').unwrap().1;
    let time = |key: &str| at(query.split('&').find_map(|pair| pair.strip_prefix(key)).unwrap());
    let (mut from, to) = (time("start="), time("end="));
    let mut data = Vec::new();
    while from < to {
        data.push(point(from, 250.0));
        from += Span::HOUR;
    }
    json!({"zone": "DE", "data": data})
}

/// A good answer to whatever is asked, of a plan without the past before a day.
fn good(asked: &Asked) -> Reply {
    let path = asked.path.split('?').next().unwrap();
    match path.rsplit('/').next().unwrap() {
        "history" => Reply::json(&history()),
        "past-range" => Reply::Text(401, json!({"error": "Endpoint not available"}).to_string()),
        "latest" => Reply::json(&latest()),
        "forecast" => Reply::json(&forecast(72)),
        _ => Reply::status(404),
    }
}

fn at_base(base: &str) -> ElectricityMaps {
    ElectricityMaps::new(base, Secret::new("hunter2").unwrap(), limits()).unwrap()
}

async fn provider(
    script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
) -> (Service, ElectricityMaps) {
    let service = Service::start(script).await;
    let provider = at_base(&service.url);
    (service, provider)
}

/// Answers `history` with this, the rest as it should be.
async fn with_history(body: Value) -> (Service, ElectricityMaps) {
    provider(move |asked, _| if asked.path.contains("/history") { Reply::json(&body) } else { good(asked) })
        .await
}

#[tokio::test]
async fn versions_differ_in_their_path_alone() {
    for (base, head, lookup) in [
        ("", "/v3", "shouldUseFallbackCallerLookup=false"),
        ("/v3/", "/v3", "shouldUseFallbackCallerLookup=false"),
        ("/v4", "/v4", "disableCallerLookup=true&temporalGranularity=hourly"),
    ] {
        let service = Service::start(|asked, _| good(asked)).await;
        let mut provider = at_base(&format!("{}{base}", service.url));
        let answer = ask(&mut provider, "DE").await.unwrap();
        let query = format!("zone=DE&emissionFactorType=lifecycle&{lookup}");
        assert_eq!(
            service.paths(),
            [
                format!("{head}/carbon-intensity/history?{query}"),
                format!("{head}/carbon-intensity/latest?{query}"),
                format!(
                    "{head}/carbon-intensity/past-range?{query}&start=2026-04-21T10:00:00Z&end=2026-05-01T10:00:00Z"
                ),
                format!("{head}/carbon-intensity/forecast?{query}&horizonHours=72"),
            ]
        );
        assert!(service.asked().iter().all(|asked| asked.key == "hunter2"));
        assert_eq!((answer.past.figures.len(), answer.past.kind()), (25, SignalKind::Measured));
        assert_eq!(answer.past.end(), at("2026-05-02T11:00:00Z"), "with the present hour");
        let ahead = answer.ahead.unwrap();
        assert_eq!(
            (ahead.steps.end(), ahead.made),
            (at("2026-05-05T10:00:00Z"), at("2026-05-02T09:46:38.629Z"))
        );
        assert_eq!(provider.basis(), Basis::Average);
        let source = provider.source(&place("DE").zone);
        assert_eq!(source, format!("Electricity Maps {} DE (average, life cycle)", &head[1..]));
        assert!(!format!("{provider:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn estimates_are_said_to_be() {
    let mut body = history();
    body["history"][20]["isEstimated"] = json!(true);
    body["history"][20]["estimationMethod"] = json!("TIME_SLICER_AVERAGE");
    body["history"][7]["carbonIntensity"] = Value::Null;
    let (_service, mut provider) = with_history(body).await;
    let answer = ask(&mut provider, "DE").await.unwrap();
    assert_eq!((answer.past.kind(), answer.past.filled), (SignalKind::Estimated, 1));
}

#[tokio::test]
async fn a_plan_without_a_forecast_or_with_a_shorter_one_is_used_as_it_is() {
    let denied = || Reply::Text(401, json!({"error": "Endpoint not available"}).to_string());
    let (service, mut em) =
        provider(move |asked, _| if asked.path.contains("forecast") { denied() } else { good(asked) }).await;
    let answer = ask(&mut em, "DE").await.unwrap();
    let error = answer.ahead.unwrap_err().to_string();
    let hint = "the key is not valid, or its plan does not include that for zone DE: check KUBERCARBON_ELECTRICITYMAPS_TOKEN and the plan";
    assert_eq!(
        error,
        format!("Electricity Maps: 401: forecast of zone DE: \"Endpoint not available\"; {hint}")
    );
    assert_eq!(service.paths().len(), 7, "history, latest, the past before, four lengths of a forecast");
    let mut guarded = Guarded::new(Box::new(em));
    let known = guarded.known(&place("DE"), now()).await.unwrap();
    assert!(
        known.forecast.is_none()
            && known.note.unwrap().starts_with("no forecast of its own: Electricity Maps: 401")
    );
}

#[tokio::test]
async fn the_longest_forecast_of_the_plan_is_found_once_a_day() {
    for (status, given, expected) in
        [(400, Some(48), 48), (401, Some(24), 24), (403, None, 24), (400, Some(72), 72)]
    {
        let short = move |asked: &Asked| {
            let horizon = asked.path.split("&horizonHours=").nth(1).and_then(|text| text.parse::<i64>().ok());
            match horizon {
                Some(hours) if given.is_none_or(|given| hours > given) => Reply::status(status),
                Some(hours) => Reply::json(&forecast(hours)),
                None if asked.path.contains("forecast") => Reply::json(&forecast(24)),
                None => good(asked),
            }
        };
        let (service, mut em) = provider(move |asked, _| short(asked)).await;
        let recent = Some(now() - hours(23));
        let mut asked = async |at: Instant| {
            let before = service.paths().len();
            let ahead = em.ask(&place("DE"), recent, at).await.unwrap().ahead.unwrap();
            (ahead.steps.figures.len(), service.paths().len() - before)
        };
        let tries = match expected {
            72 => 1,
            48 => 2,
            _ if given.is_some() => 3,
            _ => 4,
        };
        assert_eq!(asked(now()).await, (expected as usize, 2 + tries));
        assert_eq!(asked(now() + hours(23)).await, (expected as usize, 3), "known for a day");
        assert_eq!(asked(now() + hours(24)).await, (expected as usize, 2 + tries), "plans change");
    }
}

#[tokio::test]
async fn the_past_before_a_day_comes_in_ranges_where_the_plan_has_it() {
    let rich = |asked: &Asked| {
        if asked.path.contains("/past-range") { Reply::json(&range(asked)) } else { good(asked) }
    };
    let (service, mut em) = provider(move |asked, _| rich(asked)).await;
    let answer = ask(&mut em, "DE").await.unwrap();
    assert_eq!(
        (answer.past.start, answer.past.end()),
        (at("2026-04-02T11:00:00Z"), at("2026-05-02T11:00:00Z"))
    );
    assert_eq!(answer.past.figures[0].0.as_grams_f64(), 250.0);
    let ranges = |service: &Service| -> Vec<String> {
        let paths = service.paths().into_iter().filter(|path| path.contains("/past-range"));
        paths.map(|path| path.split("&start=").nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(
        ranges(&service),
        [
            "2026-04-21T10:00:00Z&end=2026-05-01T10:00:00Z",
            "2026-04-11T10:00:00Z&end=2026-04-21T10:00:00Z",
            "2026-04-02T11:00:00Z&end=2026-04-11T10:00:00Z",
        ]
    );
    // What is known is not asked for: neither the last day, nor after an outage of two days more than that.
    em.ask(&place("DE"), Some(now() - hours(23)), now()).await.unwrap();
    assert_eq!(ranges(&service).len(), 3);
    let answer = em.ask(&place("DE"), Some(now() - hours(72)), now()).await.unwrap();
    assert_eq!(ranges(&service)[3..], ["2026-04-29T11:00:00Z&end=2026-05-01T10:00:00Z"]);
    assert_eq!(answer.past.start, at("2026-04-29T11:00:00Z"));
}

#[tokio::test]
async fn a_range_that_fails_leaves_what_there_is() {
    let older = |asked: &Asked| asked.path.contains("/past-range") && !asked.path.contains("end=2026-05-01");
    // The second range fails: what lies before it would stand behind a gap.
    let script = move |asked: &Asked, _| match asked.path.contains("/past-range") {
        true if older(asked) => Reply::status(404),
        true => Reply::json(&range(asked)),
        false => good(asked),
    };
    let (_service, mut em) = provider(script).await;
    let answer = ask(&mut em, "DE").await.unwrap();
    assert_eq!((answer.past.start, answer.past.figures.len()), (at("2026-04-21T10:00:00Z"), 241 + 24));
    // Figures that cannot be are not taken in, and spoil nothing.
    let script = move |asked: &Asked, _| {
        let mut body = if asked.path.contains("/past-range") { range(asked) } else { return good(asked) };
        body["data"][3]["carbonIntensity"] = json!(-1);
        Reply::json(&body)
    };
    let (_service, mut em) = provider(script).await;
    assert_eq!(ask(&mut em, "DE").await.unwrap().past.figures.len(), 25);
    // Who is asked to wait waits: no forecast is asked for after that.
    let script = |asked: &Asked, _| match asked.path.contains("/past-range") {
        true => Reply::With(429, vec![("retry-after", "90")], String::new()),
        false => good(asked),
    };
    let (service, mut em) = provider(script).await;
    let ahead = ask(&mut em, "DE").await.unwrap().ahead.unwrap_err().to_string();
    assert!(ahead.contains("left alone for 90 s") && service.paths().len() == 3, "{ahead}");
}

#[tokio::test]
async fn denials_say_what_to_do_and_are_not_repeated() {
    for (status, body, said) in [
        (
            401,
            json!({"error": "Request unauthorized"}),
            "401: history of zone DE: \"Request unauthorized\"; the key is not valid, or",
        ),
        (
            403,
            json!({"message": "no hunter2", "status": "error"}),
            "403: history of zone DE: \"no …\"; the plan does not include it for zone DE",
        ),
    ] {
        let body = body.to_string();
        let (service, mut provider) = provider(move |_, _| Reply::Text(status, body.clone())).await;
        let error = wrong(&mut provider, "DE").await;
        assert!(error.contains(said), "{error}");
        assert_eq!(service.paths().len(), 1);
    }
}

#[tokio::test]
async fn bad_data_is_refused_by_name() {
    let with = |i: usize, key: &str, value: Value| {
        let mut body = history();
        body["history"][i][key] = value;
        body
    };
    let mut gap = history();
    gap["history"].as_array_mut().unwrap().drain(5..9);
    let mut back = history();
    back["history"].as_array_mut().unwrap().reverse();
    let mut other = history();
    other["zone"] = json!("FR");
    let mut daily = history();
    daily["temporalGranularity"] = json!("daily");
    for (body, said) in [
        (
            with(3, "carbonIntensity", json!(-1)),
            "history: found -1 g/kWh at 2026-05-01T13:00:00Z: expected 0 to 10000",
        ),
        (with(3, "carbonIntensity", json!(302_000)), "found 302000 g/kWh"),
        (with(3, "carbonIntensity", json!("302")), "expected the JSON its documentation shows"),
        (
            with(3, "emissionFactorType", json!("direct")),
            "history[3]: found emissionFactorType direct: expected lifecycle",
        ),
        (
            with(3, "estimationMethod", json!("SANDBOX_MODE_DATA")),
            "history[3]: found estimationMethod SANDBOX_MODE_DATA: expected real data",
        ),
        (with(3, "zone", json!("FR")), "zone: found FR: expected DE"),
        (
            with(3, "datetime", json!("2026-05-01T13:07:00Z")),
            "found a value at 2026-05-01T13:07:00Z: expected one every 3600 s",
        ),
        (gap, "no value from 2026-05-01T15:00:00Z to 2026-05-01T19:00:00Z"),
        (back, "found a time that goes back"),
        (other, "zone: found FR: expected DE"),
        (daily, "temporalGranularity: found daily: expected hourly"),
        (json!({"error": "No recent data for zone \"DE\""}), "error: found \"No recent data for zone"),
        (json!({"zone": "DE"}), "history: found no such field"),
    ] {
        let (_service, mut provider) = with_history(body).await;
        let error = wrong(&mut provider, "DE").await;
        assert!(error.starts_with("Electricity Maps: zone DE: ") && error.contains(said), "{error}");
    }
    let cut = |asked: &Asked| {
        if asked.path.contains("history") {
            Reply::Text(200, history().to_string()[..999].to_owned())
        } else {
            good(asked)
        }
    };
    let (_service, mut em) = provider(move |asked, _| cut(asked)).await;
    assert!(wrong(&mut em, "DE").await.contains("EOF while parsing"));
}

#[tokio::test]
async fn a_bad_forecast_does_not_spoil_what_was() {
    let mut body = forecast(24);
    body["forecast"][2]["carbonIntensity"] = json!(-7);
    let script = move |asked: &Asked, _| {
        if asked.path.contains("forecast") { Reply::json(&body) } else { good(asked) }
    };
    let (_service, mut provider) = provider(script).await;
    let answer = ask(&mut provider, "DE").await.unwrap();
    let error = answer.ahead.unwrap_err().to_string();
    assert!(error.starts_with("Electricity Maps: zone DE: forecast: found -7 g/kWh"), "{error}");
}

#[tokio::test]
async fn an_answer_of_long_ago_is_no_answer() {
    let (_service, provider) = provider(|asked, _| good(asked)).await;
    let mut guarded = Guarded::new(Box::new(provider));
    let error = guarded.known(&place("DE"), now() + hours(9)).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "Electricity Maps: zone DE: history: found no value after 2026-05-02T11:00:00Z: expected one of the last 3 h before 2026-05-02T19:10:00Z"
    );
}
