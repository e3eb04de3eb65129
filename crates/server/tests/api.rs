//! The REST API on a product without clusters.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

mod support;

use control::{JobPhase, Order};
use fleet::{Mode, PolicyKind};
use serde_json::{Value, json};
use server::backend::{Backend, Speed};
use support::{Answer, Fake, Scene, get, send};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn problem(answer: &Answer, status: u16, kind: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["type"], format!("urn:kubercarbon:problem:{kind}"), "{problem}");
    problem
}

#[tokio::test]
async fn clusters_carry_units_and_sources() {
    let fake = Fake::new(Scene::Busy);
    let view = fake.view();
    let body = get(&fake, "/api/v1/clusters").await.json();
    assert_eq!(body["total"], 2);
    let kr = &body["items"][1];
    assert_eq!(kr["name"], "kr");
    assert_eq!(kr["carbonGramsPerKwh"], view.clusters[1].intensity.unwrap().as_grams_f64());
    assert_eq!(kr["carbonFrom"]["kind"], "assumed");
    assert_eq!(kr["carbonFrom"]["ageSeconds"], 18 * 60);
    assert_eq!(kr["allocatable"]["cpuCores"], 47.46);
    assert_eq!(kr["currency"], "USD");
}

#[tokio::test]
async fn jobs_come_in_pages_that_join_up() {
    let fake = Fake::new(Scene::Busy);
    let (mut seen, mut after) = (Vec::new(), String::new());
    for _ in 0..100 {
        let body = get(&fake, &format!("/api/v1/jobs?limit=7{after}")).await.json();
        let items = body["items"].as_array().unwrap().clone();
        seen.extend(items.iter().map(|j| j["uid"].as_str().unwrap().to_owned()));
        match body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let all: Vec<String> = fake.view().jobs.iter().map(|j| j.uid.clone()).collect();
    assert_eq!(seen, all);
    problem(&get(&fake, "/api/v1/jobs?limit=0").await, 400, "invalid");
    problem(&get(&fake, "/api/v1/jobs?limit=many").await, 400, "invalid");
    problem(&get(&fake, "/api/v1/jobs?after=nobody").await, 400, "invalid");
    problem(&get(&fake, "/api/v1/jobs?limits=3").await, 400, "invalid");
}

#[tokio::test]
async fn a_job_says_why() {
    let fake = Fake::new(Scene::Busy);
    let held = fake.view().jobs.iter().find(|j| j.phase == JobPhase::Held).unwrap().clone();
    let path = format!("/api/v1/jobs/{}/{}/{}", held.key.cluster, held.key.namespace, held.key.name);
    let body = get(&fake, &path).await.json();
    assert_eq!(body["job"]["phase"], "held");
    let why = &body["why"]["explanation"];
    assert_eq!(why["alternatives"].as_array().unwrap().len(), 5);
    assert!(why["chosen"]["carbonGrams"].as_f64().unwrap() > 0.0);
    assert!(why["excluded"][0]["limit"].as_str().unwrap().contains("selector"));
    let saves = why["wouldSave"].as_array().unwrap();
    let said: Vec<&str> = saves.iter().map(|s| s["change"].as_str().unwrap()).collect();
    assert_eq!(said, ["slack", "cluster", "nodes", "cores"]);
    assert_eq!((&saves[1]["carbonGrams"], &saves[1]["cost"]), (&json!(31.0), &json!(-0.25)));
    assert!(saves[0]["deadline"].is_string() && saves[0]["instead"]["start"].is_string());
    assert_eq!((&saves[2]["limit"], &saves[3]["cpuCores"]), (&json!("a limit"), &json!(10.0)));
    assert!(saves[3]["cost"].is_null() && saves[3]["instead"].is_null() && saves[3]["to"].is_string());
    assert_eq!(body["ledger"], Value::Null);
    let done = fake.entries().pop().unwrap();
    let path = format!("/api/v1/jobs/{}/{}/{}", done.job.cluster, done.job.namespace, done.job.name);
    let body = get(&fake, &path).await.json();
    assert_eq!(body["ledger"]["id"], done.id);
    assert_eq!(body["ledger"]["savedCarbonGrams"], done.saved_carbon().as_grams_f64());
    let gone = problem(&get(&fake, "/api/v1/jobs/kr/demo/nobody").await, 404, "not-found");
    assert!(gone["detail"].as_str().unwrap().contains("kr/demo/nobody") && gone["hint"].is_string());
    problem(&get(&fake, "/api/v1/jobs/kr/demo/a%20b").await, 400, "invalid");
}

#[tokio::test]
async fn the_ledger_sums_up_and_names_data_and_method() {
    let fake = Fake::new(Scene::Busy);
    let body = get(&fake, "/api/v1/ledger?limit=3").await.json();
    assert_eq!(body["items"].as_array().unwrap().len(), 3);
    assert!(body["next"].is_string());
    let total = &body["summary"]["total"];
    let entries = fake.entries();
    assert_eq!(total["jobs"], entries.len());
    let clusters = body["summary"]["clusters"].as_object().unwrap();
    let sum: f64 = clusters.values().map(|l| l["savedCarbonGrams"].as_f64().unwrap()).sum();
    assert!((sum - total["savedCarbonGrams"].as_f64().unwrap()).abs() < 1e-6);
    assert_eq!(body["summary"]["baseline"], "at once, at home");
    assert_eq!(body["summary"]["worstProvenance"]["kind"], "assumed");
    assert!(body["items"][0]["method"].as_str().unwrap().len() > 20);
    assert!(
        body["items"][0]["runs"][0]["intensityFrom"]["source"].as_str().unwrap().contains("typical year")
    );
}

#[tokio::test]
async fn plans_signals_journal_and_clock() {
    let fake = Fake::new(Scene::Busy);
    let plans = get(&fake, "/api/v1/plans").await.json();
    assert_eq!(plans["items"][0]["kind"], "Plan");
    let plan: fleet::Plan = serde_json::from_value(plans["items"][0].clone()).unwrap();
    assert_eq!(plan, fake.plan(), "the document is the plan");
    let signals = get(&fake, "/api/v1/signals").await.json();
    assert_eq!(signals["items"][0]["zone"], "JP-TK");
    assert_eq!(signals["items"][0]["forecast"]["gramsPerKwh"].as_array().unwrap().len(), 96);
    assert!(signals["items"][0]["sources"].is_null(), "nothing says");
    assert_eq!(
        signals["items"][1]["sources"],
        json!([{"source": "WattTime", "basis": "marginal", "used": false, "why": "no account: set KUBERCARBON_WATTTIME_USER"},
            {"source": "typical year", "basis": "average", "used": true, "forecastErrors": [
                {"by": "learnt", "leadHours": 24, "mapePercent": 12.345, "hours": 96, "since": "2026-11-20T22:20:00Z"},
                {"by": "learnt", "leadHours": 96, "mapePercent": 23.456, "hours": 96, "since": "2026-11-20T22:20:00Z"}]}])
    );
    let journal = get(&fake, "/api/v1/journal?after=3").await.json();
    assert_eq!(journal["items"].as_array().unwrap().len(), 2);
    let clock = get(&fake, "/api/v1/clock").await.json();
    assert_eq!(
        clock,
        json!({"kind": "twin", "speed": "600x", "paused": false, "at": "2026-11-21T22:20:00Z"})
    );
}

#[tokio::test]
async fn place_decides_and_apply_creates() {
    let fake = Fake::new(Scene::Busy);
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}});
    let ask = json!({"home": "kr", "job": job, "alternatives": 3}).to_string();
    let decision = send(&fake, "POST", "/api/v1/place", &JSON, &ask).await;
    assert_eq!(decision.status, 200, "{}", decision.body);
    assert_eq!(decision.json()["explanation"]["alternatives"].as_array().unwrap().len(), 3);
    assert!(fake.applied.lock().unwrap().is_empty(), "place changes nothing");
    let created = send(&fake, "POST", "/api/v1/place/apply", &JSON, &ask).await;
    assert_eq!((created.status, created.json()), (201, job.clone()));
    for (ask, status, kind) in [
        (json!({"home": "xx", "job": job}), 422, "cluster"),
        (json!({"job": job}), 422, "cluster"),
        (json!({"home": "kr", "job": {"kind": "Pod"}}), 422, "job"),
        (json!({"home": "k r", "job": job}), 400, "invalid"),
        (json!({"home": "kr", "job": job, "alternatives": 51}), 400, "invalid"),
        (json!({"home": "kr"}), 400, "json"),
        (json!({"home": "kr", "job": job, "hurry": true}), 400, "json"),
    ] {
        problem(&send(&fake, "POST", "/api/v1/place", &JSON, &ask.to_string()).await, status, kind);
    }
    let taken = json!({"home": "kr", "job": {"kind": "Job", "metadata": {"name": "taken"}}}).to_string();
    problem(&send(&fake, "POST", "/api/v1/place/apply", &JSON, &taken).await, 409, "refused");
}

#[tokio::test]
async fn orders_and_the_clock_are_handed_on() {
    let fake = Fake::new(Scene::Busy);
    let job = fake.view().jobs[0].key.clone();
    let orders = [
        Order::Approve { job: job.clone() },
        Order::Release { job: None },
        Order::Mode { mode: Mode::Observe },
        Order::Policy { kind: PolicyKind::Score },
    ];
    for order in &orders {
        let body = serde_json::to_string(order).unwrap();
        let answer = send(&fake, "POST", "/api/v1/orders", &JSON, &body).await;
        assert_eq!(answer.status, 202, "{body}: {}", answer.body);
    }
    assert_eq!(*fake.orders.lock().unwrap(), orders);
    let nobody = json!({"type": "approve", "job": {"cluster": "kr", "namespace": "demo", "name": "nobody"}});
    problem(&send(&fake, "POST", "/api/v1/orders", &JSON, &nobody.to_string()).await, 404, "not-found");
    problem(&send(&fake, "POST", "/api/v1/orders", &JSON, "{\"type\": \"dance\"}").await, 400, "json");
    let answer = send(&fake, "PUT", "/api/v1/clock", &JSON, "{\"speed\": \"max\", \"paused\": true}").await;
    assert_eq!(answer.json()["speed"], "max");
    assert_eq!((fake.clock().speed, fake.clock().paused), (Speed::Max, true));
    problem(&send(&fake, "PUT", "/api/v1/clock", &JSON, "{}").await, 400, "invalid");
    problem(&send(&fake, "PUT", "/api/v1/clock", &JSON, "{\"speed\": \"-1x\"}").await, 400, "invalid");
}

#[tokio::test]
async fn errors_say_where_and_what_was_expected() {
    let fake = Fake::new(Scene::Busy);
    let bad =
        problem(&send(&fake, "POST", "/api/v1/place", &JSON, "{\n  \"home\": kr\n}").await, 400, "json");
    assert!(bad["detail"].as_str().unwrap().contains("line 2 column 11"), "{bad}");
    let large = format!("{{\"home\": \"{}\"}}", "x".repeat(3 << 20));
    problem(&send(&fake, "POST", "/api/v1/place", &JSON, &large).await, 413, "too-large");
    problem(&send(&fake, "DELETE", "/api/v1/jobs", &JSON, "").await, 405, "method-not-allowed");
    problem(&send(&fake, "PUT", "/api/v1/place", &JSON, "{}").await, 405, "method-not-allowed");
    problem(&get(&fake, "/api/v1/nothing").await, 404, "not-found");
    problem(&send(&fake, "POST", "/api/v1/nothing", &JSON, "{}").await, 404, "not-found");
}

#[tokio::test]
async fn what_fits_is_asked_of_clusters_that_answer() {
    let fake = Fake::new(Scene::Busy);
    let pod = json!({"kind": "Pod", "spec": {"containers": [{"name": "main", "image": "i"}]}});
    let ask = |fields: Value| {
        let mut ask = json!({"pod": pod});
        for (name, value) in fields.as_object().unwrap() {
            ask[name] = value.clone();
        }
        ask.to_string()
    };
    // A cluster that cannot be read is unknown, and no figure stands for it.
    let found =
        send(&fake, "POST", "/api/v1/capacity", &JSON, &ask(json!({"clusters": ["kr"]}))).await.json();
    let why = "cluster \"kr\": no connection to it yet";
    assert_eq!(found, json!({"clusters": [{"cluster": "kr", "unknownWhy": why}]}));
    let all = send(&fake, "POST", "/api/v1/capacity", &JSON, &ask(json!({}))).await.json();
    assert_eq!(all["clusters"].as_array().unwrap().len(), 2);
    let scheduler = json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "parallelism": 0});
    for (fields, status, kind, expected) in [
        (json!({"most": 0}), 400, "invalid", "most: 0: expected 1 to 1000000"),
        (json!({"clusters": ["xx"]}), 404, "not-found", "cluster \"xx\": expected one of jp, kr"),
        (
            json!({"scheduler": scheduler}),
            400,
            "invalid",
            "scheduler: parallelism: 0: expected 1 to 2147483647",
        ),
        (
            json!({"pod": {"kind": "Service"}}),
            400,
            "invalid",
            "pod: kind Service: expected a Pod, or something that makes pods of a template",
        ),
    ] {
        let said = problem(&send(&fake, "POST", "/api/v1/capacity", &JSON, &ask(fields)).await, status, kind);
        assert_eq!(said["detail"], expected);
    }
    problem(&get(&fake, "/api/v1/pods/kr/default/nobody").await, 502, "unanswered");
    problem(&get(&fake, "/api/v1/pods/xx/default/nobody").await, 404, "not-found");
}

#[tokio::test]
async fn only_this_machine_and_our_own_pages_may_ask() {
    let fake = Fake::new(Scene::Busy);
    let host = [("host", "evil.example:8080")];
    problem(&send(&fake, "GET", "/api/v1/jobs", &host, "").await, 403, "forbidden");
    let body = "{\"paused\": true}";
    for (headers, status, kind) in [
        (&[("content-type", "text/plain")][..], 415, "media-type"),
        (&[][..], 415, "media-type"),
        (&[JSON[0], ("origin", "http://evil.example")][..], 403, "forbidden"),
        (&[JSON[0], ("origin", "null")][..], 403, "forbidden"),
        (&[JSON[0], ("sec-fetch-site", "cross-site")][..], 403, "forbidden"),
        (&[JSON[0], ("sec-fetch-site", "same-site")][..], 403, "forbidden"),
    ] {
        problem(&send(&fake, "PUT", "/api/v1/clock", headers, body).await, status, kind);
    }
    assert!(!fake.clock().paused);
    let good = [JSON[0], ("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")];
    assert_eq!(send(&fake, "PUT", "/api/v1/clock", &good, body).await.status, 200);
}

#[tokio::test]
async fn every_address_is_described() {
    let fake = Fake::new(Scene::Busy);
    let document = get(&fake, "/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    let described: Vec<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(
        described,
        [
            "/api/v1/accounts",
            "/api/v1/capacity",
            "/api/v1/clock",
            "/api/v1/clusters",
            "/api/v1/clusters/{name}/inventory",
            "/api/v1/events",
            "/api/v1/jobs",
            "/api/v1/jobs/{cluster}/{namespace}/{name}",
            "/api/v1/journal",
            "/api/v1/ledger",
            "/api/v1/orders",
            "/api/v1/place",
            "/api/v1/place/apply",
            "/api/v1/plans",
            "/api/v1/pods/{cluster}/{namespace}/{name}",
            "/api/v1/signals",
            "/api/v1/top"
        ]
    );
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is referred to and not described");
    }
    let job = &schemas["JobOut"]["properties"];
    let answer = get(&fake, "/api/v1/jobs?limit=1").await.json();
    for field in answer["items"][0].as_object().unwrap().keys() {
        assert!(job[field].is_object(), "{field} is answered and not described");
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_at_once_and_then_at_most_four_a_second() {
    use futures::StreamExt;
    use tower::ServiceExt;
    let fake = Fake::new(Scene::Busy);
    let request =
        http::Request::get("/api/v1/events").header("host", "localhost").body(axum::body::Body::empty());
    let response = server::console::site(fake.clone()).oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let first = String::from_utf8(body.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.contains("event: change") && first.contains("\"at\":\"2026-11-21T22:20:00Z\""), "{first}");
    let began = tokio::time::Instant::now();
    let mut seen = Vec::new();
    for _ in 0..4 {
        for _ in 0..50 {
            fake.touch();
        }
        let event = String::from_utf8(body.next().await.unwrap().unwrap().to_vec()).unwrap();
        seen.push(event);
    }
    assert!(began.elapsed() >= std::time::Duration::from_millis(1000), "{:?}", began.elapsed());
    assert!(seen[3].contains("\"version\":201"), "the last state is what is told: {}", seen[3]);
}
