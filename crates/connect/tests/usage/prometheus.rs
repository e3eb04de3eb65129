//! Prometheus, after its HTTP API and the names its exporters use.

use super::service::{Asked, Reply, Service, hasty, limits, now};
use super::{mib, millis, pace, poller};
use connect::observe::provider::{Limits, Secret};
use connect::observe::usage::{Prometheus, Scope};
use control::usage::{NodeUse, PodUse, UsageReport};
use fleet::{MoneyPerHour, NodeName, Watts};
use serde_json::{Value, json};
use std::sync::Arc;

/// Undoes percent-encoding.
fn plain(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut hex = || char::from(rest.next().unwrap()).to_digit(16).unwrap() as u8;
        bytes.push(if byte == b'%' { hex() * 16 + hex() } else { byte });
    }
    String::from_utf8(bytes).unwrap()
}

/// The query of a request.
fn query(asked: &Asked) -> String {
    let (path, rest) = asked.path.split_once("?query=").unwrap();
    assert_eq!(path, "/api/v1/query");
    let (query, bounds) = rest.split_once('&').unwrap();
    assert_eq!(bounds, "timeout=9s&limit=300000");
    plain(query)
}

/// A vector of series with these labels and values.
fn vector(series: &[(Value, &str)]) -> Reply {
    let result =
        series.iter().map(|(metric, value)| json!({"metric": metric, "value": [1_777_716_600.123, value]}));
    let result: Vec<Value> = result.collect();
    Reply::json(&json!({"status": "success", "data": {"resultType": "vector", "result": result}}))
}

fn pod(name: &str) -> Value {
    json!({"namespace": "shop", "pod": name})
}

/// What cAdvisor and the kubelet have of two pods and a node, and nothing more.
fn basics(query: &str) -> Option<Reply> {
    let gib = (1u64 << 30).to_string();
    let of = |metric: &str| query.contains(&format!("{metric}{{"));
    Some(if of("container_cpu_usage_seconds_total") && query.contains("container!=") {
        vector(&[(pod("web"), "0.25"), (pod("db"), "1.5")])
    } else if of("container_memory_working_set_bytes") && query.contains("container!=") {
        vector(&[(pod("web"), "52428800"), (pod("db"), &gib)])
    } else if of("node_cpu_usage_seconds_total") {
        vector(&[(json!({"node": "n1", "instance": "10.0.0.1:10250"}), "2.5")])
    } else if of("node_memory_working_set_bytes") {
        vector(&[(json!({"node": "n1", "instance": "10.0.0.1:10250"}), &gib)])
    } else {
        return None;
    })
}

async fn server(script: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> Service {
    Service::start(move |asked, _| script(&query(asked)).unwrap_or_else(|| vector(&[]))).await
}

/// A cluster whose metrics server knows one pod.
async fn cluster() -> Service {
    Service::start(|asked, _| {
        let usage = json!({"cpu": "1", "memory": "1Gi"});
        let meta = json!({"name": "x", "namespace": "shop"});
        let item = json!({"metadata": meta, "timestamp": "2026-05-02T10:09:40Z", "usage": usage, "containers": [{"usage": usage}]});
        assert!(asked.path.starts_with("/apis/metrics.k8s.io/v1beta1/"), "{asked:?}");
        Reply::json(&json!({"items": [item]}))
    })
    .await
}

async fn look(prometheus: &Service, limits: Limits) -> Result<Arc<UsageReport>, String> {
    let cluster = cluster().await;
    let prometheus = Prometheus::new(&prometheus.url, None, Scope::All, limits).unwrap();
    poller(&cluster, Some(prometheus), pace()).next().await
}

fn n1() -> NodeName {
    NodeName::new("n1").unwrap()
}

#[tokio::test]
async fn pods_and_nodes_come_from_cadvisor_and_the_kubelet() {
    let service = server(basics).await;
    let report = look(&service, limits()).await.unwrap();
    assert_eq!(report.at, now());
    let host = service.url.strip_prefix("http://").unwrap();
    assert_eq!(report.from.source, format!("Prometheus {host} (cAdvisor, nodes by the kubelet)"));
    assert_eq!(report.pods["shop/web"], PodUse { cpu: millis(250), memory: mib(50), power: None });
    assert_eq!(report.pods["shop/db"], PodUse { cpu: millis(1500), memory: mib(1024), power: None });
    let node = NodeUse { cpu: millis(2500), memory: mib(1024), power: None, price: None };
    assert_eq!(report.nodes[&n1()], node);
}

#[tokio::test]
async fn power_and_prices_are_taken_where_they_are() {
    let service = server(|query| {
        let of = |metric: &str| query.contains(&format!("{metric}{{"));
        Some(if of("kepler_pod_cpu_joules_total") {
            vector(&[(json!({"pod_namespace": "shop", "pod_name": "web"}), "3.25")])
        } else if of("kepler_node_cpu_joules_total") {
            assert!(query.contains(r#"zone=~"package|dram""#), "zones overlap: {query}");
            vector(&[(json!({"node_name": "n1"}), "40.5")])
        } else if of("DCGM_FI_DEV_POWER_USAGE") && query.contains("exported_pod") {
            let of = |pod: &str| json!({"exported_namespace": "shop", "exported_pod": pod});
            vector(&[(of("web"), "100"), (of("db"), "50")])
        } else if of("DCGM_FI_DEV_POWER_USAGE") {
            vector(&[(json!({"Hostname": "n1"}), "150")])
        } else if of("node_total_hourly_cost") {
            vector(&[(json!({"node": "n1", "instance": "10.0.0.9:9003"}), "0.384")])
        } else {
            return basics(query);
        })
    })
    .await;
    let report = look(&service, limits()).await.unwrap();
    let watts = |watts| Some(Watts::from_watts_f64(watts));
    assert_eq!(report.pods["shop/web"].power, watts(103.25));
    assert_eq!(report.pods["shop/db"].power, None, "GPUs alone are not the whole");
    assert_eq!(report.nodes[&n1()].power, watts(190.5));
    assert_eq!(report.nodes[&n1()].price, Some(MoneyPerHour::from_units_f64(0.384)));
    let from = "(cAdvisor, nodes by the kubelet, power by Kepler (CPU packages and DRAM), GPUs by DCGM, prices by OpenCost)";
    assert!(report.from.source.ends_with(from), "{}", report.from.source);
}

#[tokio::test]
async fn an_older_kepler_and_other_exporters_of_nodes_do_as_well() {
    let service = server(|query| {
        let of = |metric: &str| query.contains(&format!("{metric}{{"));
        let named = |value| vector(&[(json!({"instance": "10.0.0.1:9100", "nodename": "n1"}), value)]);
        let pods = |value| vector(&[(json!({"container_namespace": "shop", "pod_name": "web"}), value)]);
        let nodes =
            |value| vector(&[(json!({"instance": "10.0.0.1:9102", "exported_instance": "n1"}), value)]);
        Some(if of("node_cpu_usage_seconds_total") || of("node_memory_working_set_bytes") {
            return None;
        } else if of("node_cpu_seconds_total") {
            named("3")
        } else if of("node_memory_MemTotal_bytes") {
            named("1048576")
        } else if of("kepler_container_package_joules_total") {
            pods("2")
        } else if of("kepler_container_dram_joules_total") {
            pods("0.5")
        } else if of("kepler_node_package_joules_total") {
            nodes("20")
        } else if of("kepler_node_dram_joules_total") {
            nodes("5")
        } else {
            return basics(query);
        })
    })
    .await;
    let report = look(&service, limits()).await.unwrap();
    let watts = |watts| Some(Watts::from_watts_f64(watts));
    assert_eq!(report.pods["shop/web"].power, watts(2.5));
    let node = NodeUse { cpu: millis(3000), memory: mib(1), power: watts(25.0), price: None };
    assert_eq!(report.nodes[&n1()], node);
    let from = "(cAdvisor, nodes by node-exporter, power by Kepler before 0.10 (CPU packages and DRAM))";
    assert!(report.from.source.ends_with(from), "{}", report.from.source);
}

#[tokio::test]
async fn samples_that_cannot_be_are_left_out_and_doubles_count_once() {
    let service = server(|query| {
        let cpu = query.contains("container_cpu_usage_seconds_total{container!=");
        let memory = query.contains("container_memory_working_set_bytes{container!=");
        let all = ["nan", "infinite", "negative", "huge", "words", "web", "web", "no-memory"];
        let values = ["NaN", "+Inf", "-0.5", "1e99", "much", "0.25", "0.27", "1"];
        let series: Vec<(Value, &str)> = all.into_iter().map(pod).zip(values).collect();
        let known: Vec<(Value, &str)> = all[..7].iter().map(|name| (pod(name), "1048576")).collect();
        match (cpu, memory) {
            (true, _) => Some(vector(&series)),
            (_, true) => Some(vector(&known)),
            _ => None,
        }
    })
    .await;
    let report = look(&service, limits()).await.unwrap();
    assert_eq!(report.pods.keys().collect::<Vec<_>>(), ["shop/web"]);
    assert_eq!(report.pods["shop/web"].cpu, millis(270));
    let source = &report.from.source;
    assert!(
        source.ends_with("(cAdvisor; 5 samples that cannot be, left out; no figures of nodes)"),
        "{source}"
    );
}

#[tokio::test]
async fn a_bad_day_is_said_and_the_metrics_server_stands_in() {
    let failed =
        json!({"status": "error", "errorType": "execution", "error": "many-to-many matching not allowed"});
    let matrix = json!({"status": "success", "data": {"resultType": "matrix", "result": []}});
    let cases = vec![
        (Reply::status(404), "Prometheus: 404: pods' CPU: expected 200"),
        (Reply::status(401), "Prometheus: 401: pods' CPU; set KUBERCARBON_PROMETHEUS_TOKEN"),
        (
            Reply::Text(422, failed.to_string()),
            "Prometheus: 422: pods' CPU: \"many-to-many matching not allowed\"",
        ),
        (
            Reply::Text(503, "Service Unavailable".to_owned()),
            "Prometheus: pods' CPU: no answer at 3 tries: status 503",
        ),
        (
            Reply::With(429, vec![("retry-after", "7")], String::new()),
            "Prometheus: 429: too many requests: it asks to be left alone for 7 s",
        ),
        (Reply::Cut("{\"status\":".to_owned()), "Prometheus: pods' CPU: no answer at 3 tries"),
        (
            Reply::Text(200, "<html>sign in</html>".to_owned()),
            "Prometheus: pods' CPU: 20 bytes: expected value",
        ),
        (
            Reply::Text(200, "{\"status\":\"succ".to_owned()),
            "Prometheus: pods' CPU: 15 bytes: EOF while parsing",
        ),
        (Reply::json(&matrix), "Prometheus: pods' CPU: found a matrix: expected a vector"),
        (Reply::Text(200, "x".repeat(70 << 10)), "Prometheus: 0: the request /api/v1/query"),
        (vector(&[]), "Prometheus: no pods at 127.0.0.1:"),
        (vector(&[(json!({"job": "x"}), "1")]), "Prometheus: no pods at 127.0.0.1:"),
    ];
    for (reply, why) in cases {
        let shown: String = format!("{reply:?}").chars().take(80).collect();
        let service = Service::start(move |_, _| reply.clone()).await;
        let report = look(&service, limits()).await.unwrap();
        let source = &report.from.source;
        assert!(source.starts_with(&format!("metrics.k8s.io (not {why}")), "{shown}: {source}");
        assert_eq!(report.pods.keys().collect::<Vec<_>>(), ["shop/x"]);
    }
    let silent = Service::start(|_, _| Reply::Nothing).await;
    let report = look(&silent, hasty()).await.unwrap();
    assert!(report.from.source.contains("no answer at 3 tries: nothing for 80 ms"), "{}", report.from.source);
}

#[tokio::test]
async fn what_is_missing_beside_pods_and_nodes_fails_nothing() {
    let service = server(|query| {
        let optional = query.contains("kepler") || query.contains("node_total_hourly_cost");
        if optional { Some(Reply::status(422)) } else { basics(query) }
    })
    .await;
    let source = look(&service, limits()).await.unwrap().from.source.clone();
    for what in [
        "not power by Kepler (CPU packages and DRAM): Prometheus: 422",
        "not prices by OpenCost: Prometheus: 422",
    ] {
        assert!(source.contains(what), "{source}");
    }
}

#[tokio::test]
async fn what_was_absent_is_not_asked_for_at_every_look() {
    let service = server(basics).await;
    let cluster = cluster().await;
    let prometheus = Prometheus::new(&service.url, None, Scope::All, limits()).unwrap();
    let mut poller = poller(&cluster, Some(prometheus), pace());
    let mut asked = Vec::new();
    for _ in 0..11 {
        poller.next().await.unwrap();
        asked.push(service.paths().iter().filter(|path| path.contains("kepler_pod")).count());
    }
    assert_eq!(asked, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
    assert!(cluster.asked().is_empty(), "nobody else is asked while it answers");
}

#[tokio::test]
async fn a_token_is_sent_and_never_told_and_a_label_keeps_clusters_apart() {
    let service = Service::start(|asked, _| {
        assert_eq!(asked.key, "Bearer hunter2");
        assert!(query(asked).contains(r#"k8s_cluster="kr""#), "{asked:?}");
        Reply::Text(403, r#"{"error":"hunter2 may not query"}"#.to_owned())
    })
    .await;
    let scope = Scope::label("k8s_cluster", "kr").unwrap();
    let token = Secret::new("hunter2\n").unwrap();
    let prometheus = Prometheus::new(&service.url, Some(token), scope, limits()).unwrap();
    assert!(!format!("{prometheus:?}").contains("hunter2"));
    let report = poller(&cluster().await, Some(prometheus), pace()).next().await.unwrap();
    let source = &report.from.source;
    assert!(
        source.contains("403") && source.contains("… may not query") && !source.contains("hunter2"),
        "{source}"
    );
}

#[tokio::test]
async fn where_nobody_answers_each_reason_is_given() {
    let nobody = Service::start(|_, _| Reply::status(404)).await;
    let prometheus = Prometheus::new(&nobody.url, None, Scope::All, limits()).unwrap();
    let error = poller(&nobody, Some(prometheus), pace()).next().await.unwrap_err();
    assert_eq!(
        error,
        "Prometheus: 404: pods' CPU: expected 200; metrics.k8s.io: 404: no metrics server here"
    );
}
