//! The chain of carbon sources of a zone: who is asked, who stands in, and why.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use connect::Clients;
use connect::act::kube::Hands;
use connect::observe::provider::{Limits, Place};
use control::{ClusterFacts, Control, Event, Settings, View};
use fleet::{ClusterId, GridZone, Instant, Mode, Provenance, RegionId, Series, SignalKind, Span};
use http::StatusCode;
use serde_json::{Value, json};
use server::Speed;
use server::carbon::{CarbonFile, read_csv};
use server::engine::{self, Engine, FleetClock};
use server::signals::{self, Basis, Chain, Found, SourceState, follows_wall, sources};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Store;
use tokio::sync::mpsc;

const FLEET: &str = "apiVersion: kubercarbon.io/v1alpha1
kind: Fleet
metadata: {name: test}
clusters:
- name: kr
  region: ap-northeast-2
  nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 3}]
- name: gb
  region: eu-west-2
  nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 3}]
";

fn now() -> Instant {
    Instant::parse("2026-05-02T10:10:00Z").unwrap()
}

fn hour(count: i64) -> Instant {
    now().floor_to(Span::HOUR) + Span::HOUR.scaled(count, 1)
}

/// 100 g by night, 200 g from 06:00 on.
fn grams(at: Instant) -> f64 {
    if at.utc_parts().3 < 6 { 100.0 } else { 200.0 }
}

/// Electricity Maps for zone KR.
fn electricity_maps(path: &str) -> Response {
    let point = |i: i64| json!({"zone": "KR", "carbonIntensity": grams(hour(i)), "datetime": hour(i).to_string(), "isEstimated": false});
    let points = |from: i64, to: i64| (from..to).map(point).collect::<Vec<Value>>();
    let body = match path.rsplit('/').next().unwrap() {
        "history" => json!({"zone": "KR", "history": points(-23, 1)}),
        "latest" => point(0),
        "forecast" => json!({"zone": "KR", "forecast": points(0, 24), "updatedAt": hour(0).to_string()}),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    body.to_string().into_response()
}

type Answers = Arc<Mutex<fn(&str) -> Response>>;

/// All providers at one address, which answers as the test says now.
struct World {
    url: String,
    chain: Chain,
    answers: Answers,
    asked: Arc<AtomicUsize>,
    /// Of those, how many about zone KR.
    asked_kr: Arc<AtomicUsize>,
}

impl World {
    async fn new(more: &[(&str, &str)], file: Option<CarbonFile>) -> World {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Answers = Arc::new(Mutex::new(electricity_maps));
        let asked = Arc::new(AtomicUsize::new(0));
        let asked_kr = Arc::new(AtomicUsize::new(0));
        let (script, count, count_kr) = (answers.clone(), asked.clone(), asked_kr.clone());
        let router = axum::Router::new().fallback(move |request: Request| {
            count.fetch_add(1, Ordering::Relaxed);
            if request.uri().query().is_some_and(|query| query.contains("zone=KR&")) {
                count_kr.fetch_add(1, Ordering::Relaxed);
            }
            let answer = script.lock().unwrap()(request.uri().path());
            async move { answer }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let chain = World::at(more, file, &url);
        World { url, chain, answers, asked, asked_kr }
    }

    /// A chain of all providers at this address.
    fn at(more: &[(&str, &str)], file: Option<CarbonFile>, url: &str) -> Chain {
        let mut set: BTreeMap<&str, &str> = more.iter().copied().collect();
        for name in [
            sources::ELECTRICITYMAPS_URL,
            sources::WATTTIME_URL,
            sources::UK_CARBON_URL,
            sources::ENERGY_CHARTS_URL,
        ] {
            set.insert(name, url);
        }
        let lookup = |name: &str| Ok(set.get(name).map(|value| (*value).to_owned()));
        let limits = Limits {
            timeout: Duration::from_secs(20),
            tries: 2,
            delay: Duration::from_millis(1),
            bytes_max: 1 << 16,
        };
        let live = sources::read(&lookup, limits);
        Chain::new(&fleet::file::parse(FLEET).unwrap(), live, file)
    }

    fn answers(&self, with: fn(&str) -> Response) {
        *self.answers.lock().unwrap() = with;
    }

    async fn signal(&mut self, zone: &str, at: Instant) -> (Signal, Vec<SourceState>) {
        let place = Place { zone: GridZone::new(zone).unwrap(), position: Some((37.6, 127.0)) };
        let live = follows_wall(Some((Speed::Times(1.0), false)), at, at);
        let Found { event, states, .. } = self.chain.signal(&place, at, &live).await;
        (signal(event), states)
    }
}

struct Signal {
    actual: Series,
    actual_from: Provenance,
    forecast: Series,
    forecast_from: Provenance,
}

fn signal(event: Event) -> Signal {
    let Event::Intensity { actual, actual_from, forecast, forecast_from, .. } = event else {
        panic!("no signal: {event:?}");
    };
    Signal { actual, actual_from, forecast, forecast_from }
}

/// `name: why`, of all but the one in use.
fn better(states: &[SourceState]) -> Vec<String> {
    let unused = states.iter().filter(|state| !state.used);
    unused.map(|state| format!("{}: {}", state.source, state.why.clone().unwrap())).collect()
}

const KEY: (&str, &str) = (sources::ELECTRICITYMAPS_TOKEN, "hunter2");

#[tokio::test]
async fn a_live_source_wins_and_its_forecast_is_lengthened() {
    let mut world = World::new(&[KEY], None).await;
    let (signal, states) = world.signal("KR", now()).await;
    assert_eq!(states.len(), 1, "{states:?}");
    assert_eq!((states[0].used, states[0].basis, &states[0].why), (true, Basis::Average, &None));
    assert_eq!(signal.actual_from.kind, SignalKind::Measured);
    assert_eq!(signal.actual_from.source, "Electricity Maps v3 KR (average, life cycle)");
    assert_eq!((signal.actual_from.as_of, signal.actual.end()), (now(), hour(1)));
    assert_eq!(signal.forecast_from.kind, SignalKind::Forecast);
    let source = "Electricity Maps v3 KR (average, life cycle); from 2026-05-03T10:00:00Z on learnt from what came before";
    assert_eq!((signal.forecast_from.source.as_str(), signal.forecast_from.as_of), (source, hour(0)));
    assert_eq!((signal.forecast.start(), signal.forecast.end()), (hour(0), hour(14 * 24)));
    for ahead in 0..14 * 24 {
        let (at, found) = (hour(ahead), signal.forecast.at(hour(ahead)).as_grams_f64());
        assert!((found - grams(at)).abs() < 30.0, "{at}: {found}");
    }
}

#[tokio::test]
async fn who_cannot_answer_says_why_and_the_next_stands_in() {
    let mut world = World::new(&[KEY], None).await;
    world.answers(|_| (StatusCode::FORBIDDEN, "{\"error\":\"no\"}").into_response());
    let (signal, states) = world.signal("KR", now()).await;
    assert_eq!(
        better(&states),
        [
            "Electricity Maps: 403: history of zone KR: \"no\"; the plan does not include it for zone KR",
            "WattTime: no account: set KUBERCARBON_WATTTIME_USER and KUBERCARBON_WATTTIME_PASSWORD, or each with _FILE behind it",
        ]
    );
    assert_eq!((states[2].source.as_str(), states[2].used), ("typical year", true));
    assert_eq!(signal.actual_from.kind, SignalKind::Assumed);
    assert_eq!(world.asked.load(Ordering::Relaxed), 1, "a denial is not repeated");
}

#[tokio::test]
async fn bad_data_is_named_and_the_file_stands_in_before_the_typical_year() {
    let mut csv = "time_utc,KR\n".to_owned();
    for i in -48..1 {
        csv += &format!("{},321\n", hour(i));
    }
    let file = read_csv("carbon.csv", csv.as_bytes()).unwrap();
    let mut world = World::new(&[KEY, (sources::PROVIDERS, "electricity-maps")], Some(file)).await;
    world.answers(|path| {
        let good =
            json!({"zone": "KR", "history": [{"carbonIntensity": -5, "datetime": hour(0).to_string()}]});
        if path.ends_with("history") {
            good.to_string().into_response()
        } else {
            StatusCode::NOT_FOUND.into_response()
        }
    });
    let (signal, states) = world.signal("KR", now()).await;
    let said = "Electricity Maps: zone KR: history: found -5 g/kWh at 2026-05-02T10:00:00Z: expected 0 to 10000 g/kWh";
    assert_eq!(better(&states), [said]);
    assert_eq!((states[1].source.as_str(), states[1].used), ("carbon.csv", true));
    assert_eq!(signal.actual.at(now()).as_grams_f64(), 321.0);
    // Where neither has the hour, the typical year does; both say why not.
    let (_, states) = world.signal("KR", now() + Span::DAY).await;
    assert_eq!((states.len(), states[2].used), (3, true));
    assert!(better(&states)[1].starts_with("carbon.csv: carbon.csv: KR has no value from"), "{states:?}");
    let (_, states) = world.signal("GB", now()).await;
    assert!(better(&states)[1].contains("carbon.csv: it has no zone GB"), "{states:?}");
}

#[tokio::test]
async fn a_plan_without_a_forecast_gets_one_from_the_past() {
    let mut world = World::new(&[KEY], None).await;
    world.answers(|path| {
        if path.ends_with("forecast") {
            StatusCode::UNAUTHORIZED.into_response()
        } else {
            electricity_maps(path)
        }
    });
    let (signal, states) = world.signal("KR", now()).await;
    assert!(states[0].used && states[0].why.as_deref().unwrap().starts_with("no forecast of its own: "));
    let source = "learnt from the last 30 days of Electricity Maps v3 KR (average, life cycle)";
    assert_eq!((signal.forecast_from.source.as_str(), signal.forecast.end()), (source, hour(14 * 24)));
}

#[tokio::test]
async fn an_outage_is_bridged_and_then_stood_in_for() {
    let mut world = World::new(&[KEY], None).await;
    world.signal("KR", now()).await;
    world.answers(|_| StatusCode::BAD_GATEWAY.into_response());
    let (signal, states) = world.signal("KR", now() + Span::HOUR).await;
    assert!(states[0].used, "{states:?}");
    assert!(states[0].why.as_deref().unwrap().starts_with("its last answer stands in: "), "{states:?}");
    assert_eq!(signal.actual_from.as_of, hour(1), "as old as it is");
    let (signal, states) = world.signal("KR", now() + Span::HOUR.scaled(4, 1)).await;
    assert_eq!(signal.actual_from.kind, SignalKind::Assumed);
    assert_eq!(better(&states)[0], "Electricity Maps: history of zone KR: no answer at 2 tries: status 502");
    world.answers(electricity_maps);
}

#[tokio::test]
async fn a_zone_in_no_table_has_the_worlds_average() {
    let mut world = World::new(&[KEY], None).await;
    let (signal, states) = world.signal("unknown", now()).await;
    assert_eq!(signal.actual_from.kind, SignalKind::Assumed);
    assert_eq!(signal.forecast.at(now()), signal.forecast.at(now() + Span::DAY), "no hour looks cleaner");
    assert!(better(&states).contains(&"typical year: the built-in table has no zone unknown".to_owned()));
    assert_eq!(states.last().map(|state| (state.source.as_str(), state.used)), Some(("world average", true)));
    assert_eq!(
        world.asked.load(Ordering::Relaxed),
        0,
        "where it stands is not known: nobody is asked about it"
    );
}

#[tokio::test]
async fn live_sources_are_asked_only_while_the_clock_follows_the_wall() {
    let (pace, minute) = (|times| Some((Speed::Times(times), false)), Span::MINUTE);
    assert!(follows_wall(None, now() + Span::DAY, now()).is_ok(), "the clock is the wall's");
    assert!(follows_wall(pace(1.0), now() - minute, now()).is_ok());
    let why = |pace, fleet| follows_wall(pace, fleet, now()).unwrap_err();
    for (said, why) in [
        ("it runs at 600x", why(pace(600.0), now())),
        ("it runs at max", why(Some((Speed::Max, false)), now())),
        ("it stands still", why(Some((Speed::Times(1.0), true)), now())),
        ("it is 1440 min behind the wall clock", why(pace(1.0), now() - Span::DAY)),
        ("it is 60 min ahead of the wall clock", why(pace(1.0), now() + Span::HOUR)),
    ] {
        assert_eq!(
            why,
            format!("asked only while the fleet's clock follows the wall clock (--speed 1x): {said}")
        );
    }
    let mut world = World::new(&[KEY], None).await;
    let place = Place { zone: GridZone::new("GB").unwrap(), position: None };
    let why = Err("it runs at 600x".to_owned());
    let Found { event, states, forecaster } = world.chain.signal(&place, now(), &why).await;
    assert_eq!(forecaster, None, "a stand-in foresees nothing");
    assert_eq!(signal(event).actual_from.kind, SignalKind::Assumed);
    let names: Vec<&str> = states.iter().map(|state| state.source.as_str()).collect();
    assert_eq!(names, ["Electricity Maps", "WattTime", "UK Carbon Intensity", "typical year"]);
    assert_eq!(states[2].why.as_deref(), Some("it runs at 600x"));
    assert_eq!(world.asked.load(Ordering::Relaxed), 0);
}

/// Energy-Charts for any country: quarter hours up to the present, and a day ahead.
fn energy_charts(path: &str) -> Response {
    if path != "/co2eq" {
        return StatusCode::NOT_FOUND.into_response();
    }
    let times: Vec<Instant> = (-96..96).map(|i| hour(0) + Span::from_seconds(900 * i)).collect();
    let each = |value: &dyn Fn(Instant) -> Value| times.iter().map(|at| value(*at)).collect::<Value>();
    let body = json!({"unix_seconds": each(&|at| json!(at.as_unix_seconds())),
        "co2eq": each(&|at| if at < hour(0) { json!(300.0) } else { Value::Null }),
        "co2eq_forecast": each(&|at| if at < hour(0) { Value::Null } else { json!(250.0) }), "deprecated": false});
    body.to_string().into_response()
}

#[tokio::test]
async fn a_country_has_figures_without_a_key_and_countries_take_turns() {
    let mut world = World::new(&[], None).await;
    world.answers(energy_charts);
    let (signal, states) = world.signal("DE", now()).await;
    assert_eq!(
        signal.actual_from.source,
        "Energy-Charts de (Fraunhofer ISE, CC BY 4.0; average, experimental)"
    );
    assert_eq!(
        (signal.actual_from.kind, signal.forecast_from.kind),
        (SignalKind::Measured, SignalKind::Forecast)
    );
    assert_eq!(
        (signal.actual.at(hour(-1)).as_grams_f64(), signal.forecast.at(hour(1)).as_grams_f64()),
        (300.0, 250.0)
    );
    let names: Vec<&str> = states.iter().map(|state| state.source.as_str()).collect();
    assert_eq!(
        names,
        ["Electricity Maps", "WattTime", "Energy-Charts"],
        "those that may know the zone, in order"
    );
    let (signal, states) = world.signal("FR", now()).await;
    assert_eq!(signal.actual_from.kind, SignalKind::Assumed, "the typical year, until its turn");
    assert_eq!(
        states[2].why.as_deref(),
        Some("not asked yet: it takes one request every 30 s, and other zones came first")
    );
    assert!(world.chain.has_queue(now()));
    let (signal, _) = world.signal("FR", now() + Span::from_seconds(30)).await;
    assert!(signal.actual_from.source.starts_with("Energy-Charts fr ("));
    assert_eq!((world.asked.load(Ordering::Relaxed), world.chain.has_queue(now())), (2, false));
    // Denmark's own service is there for who asks for it, and says so.
    let (_, states) = world.signal("DK-DK1", now()).await;
    assert_eq!(states[2].source, "Energi Data Service");
    assert!(states[2].why.as_ref().unwrap().starts_with("no word from you: "), "{states:?}");
}

/// A clock that shows what a test says.
#[derive(Clone)]
struct Shown(Arc<Mutex<Instant>>);

impl Shown {
    fn at(at: Instant) -> Shown {
        Shown(Arc::new(Mutex::new(at)))
    }
    fn set(&self, at: Instant) {
        *self.0.lock().unwrap() = at;
    }
}

impl FleetClock for Shown {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }
}

fn facts(cluster: &str, region: &str, zone: &str) -> ClusterFacts {
    ClusterFacts {
        id: ClusterId::new(cluster).unwrap(),
        region: RegionId::new(region).unwrap(),
        grid_zone: GridZone::new(zone).unwrap(),
        pue_milli: 1100,
        labels: BTreeMap::new(),
        mode: Mode::Observe,
        context: cluster.to_owned(),
        uid: None,
    }
}

/// A loop with the test's two clusters, on a clock.
async fn engine_at(clock: &Shown, store: &Store) -> Engine {
    let hands = Arc::new(Hands { clients: Clients::default(), fence: None });
    let inbox = mpsc::channel(engine::INBOX);
    let control = Control::new(Settings::default());
    let engine = Engine::start(control, Arc::new(clock.clone()), hands, store.clone(), inbox);
    for facts in [facts("kr", "ap-northeast-2", "KR"), facts("gb", "eu-west-2", "GB")] {
        engine.tell(Event::Cluster(facts)).await.unwrap();
    }
    engine
}

/// What the loop shows, once it is as wanted.
async fn until(engine: &Engine, wanted: impl Fn(&View) -> bool) -> View {
    let mut version = engine.version();
    loop {
        let view = engine.ask(Control::view);
        if wanted(&view) {
            return view;
        }
        version.changed().await.unwrap();
    }
}

fn source(view: &View, cluster: &str) -> (String, SignalKind, Instant) {
    let cluster = view.clusters.iter().find(|c| c.facts.id.as_str() == cluster).unwrap();
    let from = cluster.intensity_from.clone().unwrap();
    (from.source, from.kind, from.as_of)
}

fn told(view: &View, cluster: &str, begins: &str) -> bool {
    let known = view.clusters.iter().find(|c| c.facts.id.as_str() == cluster);
    known.and_then(|c| c.intensity_from.as_ref()).is_some_and(|from| from.source.starts_with(begins))
}

#[tokio::test]
async fn the_loop_is_told_at_the_start_then_of_live_figures_and_of_zones_that_come_later() {
    let World { mut chain, answers, asked, .. } = World::new(&[KEY], None).await;
    let (store, clock) = (Store::memory().await.unwrap(), Shown::at(now()));
    let engine = engine_at(&clock, &store).await;
    let (places, board) = (chain.places(), chain.board());
    chain.tell(&engine, now(), &Err(signals::NOT_YET.to_owned())).await.unwrap();
    let known = |view: &View| view.clusters.iter().filter(|c| c.intensity.is_some()).count();
    let view = until(&engine, |view| known(view) == 2).await;
    assert_eq!(source(&view, "kr").1, SignalKind::Assumed, "the start waits for no network");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(board.read()[&GridZone::new("KR").unwrap()][0].why.as_deref(), Some(signals::NOT_YET));

    tokio::spawn(signals::run(chain, engine.clone(), Arc::new(clock.clone()), None));
    let view = until(&engine, |view| told(view, "kr", "Electricity Maps")).await;
    assert_eq!(
        source(&view, "kr"),
        ("Electricity Maps v3 KR (average, life cycle)".to_owned(), SignalKind::Measured, now())
    );
    let first = asked.load(Ordering::Relaxed);
    // Within the time an answer lasts nobody is asked again; after it they are.
    clock.set(now() + Span::from_seconds(1199));
    places.add(&RegionId::new("eu-west-2").unwrap(), &GridZone::new("GB").unwrap());
    *answers.lock().unwrap() = |path| match path.rsplit('/').next().unwrap() {
        "history" => {
            let point =
                |i: i64| json!({"zone": "KR", "carbonIntensity": 77, "datetime": hour(i).to_string()});
            let points: Vec<Value> = (-22..2).map(point).collect();
            json!({"zone": "KR", "history": points}).to_string().into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    clock.set(hour(1) + Span::MINUTE.scaled(30, 1));
    let newer = |view: &View| {
        let kr = view.clusters.iter().find(|c| c.facts.id.as_str() == "kr").unwrap();
        kr.intensity.is_some_and(|now| now.as_grams_f64() == 77.0)
    };
    until(&engine, newer).await;
    assert!(asked.load(Ordering::Relaxed) > first);
    // A cluster says where it stands long after the start: its zone is told at once.
    engine.tell(Event::Cluster(facts("jp", "ap-northeast-1", "JP-TK"))).await.unwrap();
    places.add(&RegionId::new("ap-northeast-1").unwrap(), &GridZone::new("JP-TK").unwrap());
    let view = until(&engine, |view| known(view) == 3).await;
    assert_eq!(source(&view, "jp").1, SignalKind::Assumed, "the provider knows no such zone");
}

#[tokio::test]
async fn what_providers_told_and_how_far_off_forecasts_were_outlives_the_process() {
    let store = Store::memory().await.unwrap();
    let live = Ok(());
    let engine = engine_at(&Shown::at(now()), &store).await;
    let zone = GridZone::new("KR").unwrap();
    let first = World::new(&[KEY], None).await;
    let mut chain = first.chain.remembering(store.clone());
    chain.tell(&engine, now(), &live).await.unwrap();
    let asked = first.asked_kr.load(Ordering::Relaxed);
    store.flush().await.unwrap();
    assert!(
        store
            .setting("signals/provider/Electricity Maps/KR")
            .await
            .unwrap()
            .unwrap()
            .contains("milligramsPerKwh")
    );

    // The next process listens at the same address: what was told still holds, and nobody is asked for it.
    let mut second = World::at(&[KEY], None, &first.url).remembering(store.clone());
    second.tell(&engine, now() + Span::MINUTE, &live).await.unwrap();
    assert_eq!(first.asked_kr.load(Ordering::Relaxed), asked, "its terms hold over a restart");
    let states = second.board().read()[&zone].clone();
    assert_eq!((states[0].used, &states[0].why, states[0].as_of), (true, &None, Some(now() + Span::MINUTE)));
    assert_eq!(states[0].standing.again, Some(now() + Span::from_seconds(1200)));

    // Another address may be another service: nothing of the first is believed.
    let other = World::new(&[KEY], None).await;
    other.answers(|_| StatusCode::BAD_GATEWAY.into_response());
    let mut chain = other.chain.remembering(store.clone());
    chain.tell(&engine, now() + Span::MINUTE, &live).await.unwrap();
    assert!(!chain.board().read()[&zone][0].used);
}

#[tokio::test]
async fn the_error_of_forecasts_in_use_is_measured_shown_and_kept() {
    let mut csv = "time_utc,KR\n".to_owned();
    for i in -24 * 14..72 {
        csv += &format!("{},{}\n", hour(i), 300 + (i * 7919).rem_euclid(60));
    }
    let file = || read_csv("carbon.csv", csv.as_bytes()).unwrap();
    let store = Store::memory().await.unwrap();
    let engine = engine_at(&Shown::at(now()), &store).await;
    let (zone, asleep) = (GridZone::new("KR").unwrap(), Err("it runs at 600x".to_owned()));
    let mut chain = World::new(&[], Some(file())).await.chain.remembering(store.clone());
    for i in 0..30 {
        chain.tell(&engine, hour(i), &asleep).await.unwrap();
    }
    let shown = |chain: &Chain| {
        let states = chain.board().read()[&zone].clone();
        states.last().map(|state| (state.used, state.errors.clone())).unwrap()
    };
    let (used, errors) = shown(&chain);
    assert!(used && errors.len() == 2, "{errors:?}");
    for error in &errors {
        // What is foreseen of noise between 300 and 359 is off by some per cent, and by no more than its range.
        assert!(!error.own && error.mape_percent > 1.0 && error.mape_percent < 20.0, "{error:?}");
    }
    assert_eq!((errors[0].lead_hours, errors[1].lead_hours), (24, 96));
    store.flush().await.unwrap();
    let kept = store.setting("signals/errors/KR").await.unwrap();
    assert!(kept.is_some(), "written at the first sight, then once in a quarter of an hour");
    // A stand-in is held against nothing.
    let gb = chain.board().read()[&GridZone::new("GB").unwrap()].clone();
    assert!(gb.iter().all(|state| state.errors.is_empty()));
}
