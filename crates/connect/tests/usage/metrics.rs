//! `metrics.k8s.io`, after metrics-server's answers.

use super::service::{Asked, Reply, Service, at, hours};
use super::{mib, millis, pace, poller};
use connect::observe::usage::Pace;
use control::usage::{NodeUse, PodUse, UsageReport};
use fleet::{Cpu, NodeName, SignalKind};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const TIME: &str = "2026-05-02T10:09:40Z";

fn usage(cpu: &str, memory: &str) -> Value {
    json!({"cpu": cpu, "memory": memory})
}

fn node(name: &str, time: &str, usage: Value) -> Value {
    json!({"metadata": {"name": name, "labels": {"a": "b"}}, "timestamp": time, "window": "15.0s", "usage": usage})
}

fn pod(name: &str, time: &str, containers: &[Value]) -> Value {
    let containers: Vec<Value> =
        containers.iter().map(|usage| json!({"name": "c", "usage": usage})).collect();
    json!({"metadata": {"name": name, "namespace": "shop"}, "timestamp": time, "window": "15.0s", "containers": containers})
}

fn list(more: &str, items: &[Value]) -> Reply {
    Reply::json(&json!({"kind": "PodMetricsList", "metadata": {"continue": more}, "items": items}))
}

/// Answers with these nodes, and pods as `pods` says.
async fn server(pods: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Service {
    Service::start(move |asked, before| {
        if asked.path.starts_with("/apis/metrics.k8s.io/v1beta1/nodes?") {
            list("", &[node("n1", TIME, usage("1500m", "2Gi"))])
        } else if asked.path.starts_with("/apis/metrics.k8s.io/v1beta1/pods?") {
            pods(asked, before)
        } else {
            Reply::status(500)
        }
    })
    .await
}

async fn look(service: &Service) -> Result<Arc<UsageReport>, String> {
    poller(service, None, pace()).next().await
}

#[tokio::test]
async fn amounts_are_exact_over_containers_and_pages() {
    let service = server(|asked, _| match asked.path.contains("continue=a%2Fb%3D") {
        false => {
            let app = [usage("1830000n", "51200Ki"), usage("3u", "1Mi")];
            list("a/b=", &[pod("web-0", TIME, &app)])
        }
        true => list("", &[pod("web-1", TIME, &[usage("250m", "128974848")])]),
    })
    .await;
    let report = look(&service).await.unwrap();
    assert_eq!((report.at, report.from.source.as_str()), (at(TIME), "metrics.k8s.io"));
    assert_eq!((report.from.kind, report.from.as_of), (SignalKind::Measured, at(TIME)));
    let use_of = |cpu, memory| PodUse { cpu, memory, power: None };
    assert_eq!(report.pods["shop/web-0"], use_of(Cpu::from_nanos(1_833_000), mib(51)));
    assert_eq!(report.pods["shop/web-1"], use_of(millis(250), mib(123)));
    let n1 = NodeUse { cpu: millis(1500), memory: mib(2048), power: None, price: None };
    assert_eq!(report.nodes[&NodeName::new("n1").unwrap()], n1);
}

#[tokio::test]
async fn what_cannot_be_or_is_old_is_left_out_and_counted() {
    let service = server(|_, _| {
        let good = usage("1", "1Gi");
        let old = (at(TIME) - hours(1)).to_rfc3339_seconds();
        list(
            "",
            &[
                pod("good", TIME, std::slice::from_ref(&good)),
                pod("negative", TIME, &[usage("-1", "1Gi")]),
                pod("words", TIME, &[usage("much", "1Gi")]),
                pod("nan", TIME, &[usage("NaN", "1Gi")]),
                pod("half", TIME, &[good.clone(), json!({"cpu": "1"})]),
                pod("none", TIME, &[]),
                pod("old", &old, std::slice::from_ref(&good)),
                pod("no-time", "yesterday", std::slice::from_ref(&good)),
                pod("good", TIME, &[good]),
            ],
        )
    })
    .await;
    let report = look(&service).await.unwrap();
    assert_eq!(report.pods.keys().collect::<Vec<_>>(), ["shop/good"]);
    assert_eq!(report.from.source, "metrics.k8s.io (8 of 10 unreadable or old, left out)");
}

#[tokio::test]
async fn a_bad_day_says_why_and_is_over_at_the_next_look() {
    let refused = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "pods.metrics.k8s.io is forbidden"});
    let down = json!({"kind": "Status", "code": 503, "reason": "ServiceUnavailable", "message": "the server is currently unable"});
    let cases: Vec<(Reply, &str)> = vec![
        (Reply::Text(404, "404 page not found\n".to_owned()), "metrics.k8s.io: 404: no metrics server here"),
        (
            Reply::Text(403, refused.to_string()),
            "metrics.k8s.io: 403 Forbidden: pods.metrics.k8s.io is forbidden; kubercarbon rbac",
        ),
        (
            Reply::Text(503, down.to_string()),
            "metrics.k8s.io: 503 ServiceUnavailable: the server is currently unable",
        ),
        (Reply::Text(502, "<html>bad gateway</html>".to_owned()), "metrics.k8s.io: 502 "),
        (Reply::Cut(r#"{"items": [{"metadata""#.to_owned()), "metrics.k8s.io: "),
        (
            Reply::Text(200, r#"{"items": [{"metadata""#.to_owned()),
            "metrics.k8s.io: pods: 22 bytes: EOF while parsing",
        ),
        (Reply::Text(200, "<html>".to_owned()), "metrics.k8s.io: pods: 6 bytes: expected value"),
        (
            Reply::Text(200, r#"{"items": {}}"#.to_owned()),
            "metrics.k8s.io: pods: 13 bytes: invalid type: map, expected a list",
        ),
        (list("", &[json!({"metadata": {"name": 7}})]), "metrics.k8s.io: pods: "),
        (list("", &[pod("p", TIME, &[json!({"cpu": 1})])]), "metrics.k8s.io: pods: "),
        (list(&"x".repeat(5000), &[]), "metrics.k8s.io: pods: a continue token of 5000 bytes"),
    ];
    for (reply, why) in cases {
        let shown = format!("{reply:?}");
        let service = server(move |_, before| {
            if before == 0 { reply.clone() } else { list("", &[pod("p", TIME, &[usage("1", "1Gi")])]) }
        })
        .await;
        let mut poller = poller(&service, None, pace());
        let error = poller.next().await.unwrap_err();
        assert!(error.starts_with(why) && error.len() < 1000, "{shown}: {error}");
        while poller.next().await.is_err() {}
        assert_eq!(poller.next().await.unwrap().pods.len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for_and_endless_pages_end() {
    let silent = server(|_, _| Reply::Nothing).await;
    let hasty = Pace { look_max: Duration::from_millis(80), ..pace() };
    let error = poller(&silent, None, hasty).next().await.unwrap_err();
    assert_eq!(error, "no whole answer within 80ms");
    let endless = server(|_, before| list(&format!("page{before}"), &[])).await;
    let error = look(&endless).await.unwrap_err();
    assert_eq!(error, "metrics.k8s.io: pods: more than 300000 items: expected at most that");
    let empty = Service::start(|_, _| list("", &[])).await;
    let error = look(&empty).await.unwrap_err();
    assert_eq!(error, "metrics.k8s.io: nothing with a time: expected nodes and pods measured lately");
}

#[tokio::test]
async fn a_server_that_stands_still_grows_old() {
    let service = server(|_, _| list("", &[pod("p", TIME, &[usage("1", "1Gi")])])).await;
    let mut poller = poller(&service, None, pace());
    let first = poller.next().await.unwrap();
    assert_eq!(poller.next().await.unwrap().at, first.at);
}
