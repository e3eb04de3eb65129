//! A real Prometheus, asked our queries about what it scraped: that PromQL means what we think it means.
//!
//! `KUBERCARBON_CLIENTS` names the directory it is in (`crates/cli/tests/clients/prepare` fetches it); without it, the test
//! says "skipped". It scrapes a stand-in for cAdvisor, the kubelet, Kepler, DCGM and OpenCost, whose samples carry their own times over the
//! five minutes before, so that nothing has to be waited for.
#![allow(clippy::disallowed_methods, reason = "Prometheus goes by the wall's clock")]

use super::pace;
use super::service::{Reply, Service};
use connect::observe::usage::{Poller, Prometheus, Scope};
use control::usage::UsageReport;
use fleet::{Instant, Span};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Between two samples of a series: as usual scrapers have it.
const STEP_SECONDS: i64 = 15;
/// Samples of each series: a little more than the five minutes that rates are taken over.
const SAMPLES: i64 = 24;
/// Longest it may take to start and to scrape once, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn now() -> Instant {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Instant::from_unix_nanos(i64::try_from(since.as_nanos()).unwrap())
}

/// Counters rise by `each` a second, gauges stand at it.
fn exposition(end: Instant) -> String {
    let cadvisor = |container: &str, id: &str, more: &str| {
        format!(r#"namespace="shop",pod="web",container="{container}",id="{id}",{more}"#)
    };
    let kubelet = r#"job="kubelet",metrics_path="/metrics/cadvisor""#;
    let again = r#"job="cadvisor",metrics_path="/metrics""#;
    let replica = r#"job="kubelet",metrics_path="/metrics/cadvisor",prometheus_replica="b""#;
    let mut series: Vec<(&str, String, f64, bool)> = Vec::new();
    // Two containers; one of them restarted, so that it has two ids; scraped at two endpoints, and by two replicas.
    for at in [kubelet, again, replica] {
        for (container, id, cores, mib) in
            [("app", "/a1", 0.25, 50.0), ("app", "/a2", 0.0625, 6.0), ("side", "/b", 0.5, 8.0)]
        {
            series.push(("container_cpu_usage_seconds_total", cadvisor(container, id, at), cores, true));
            let bytes = mib * 1_048_576.0;
            series.push(("container_memory_working_set_bytes", cadvisor(container, id, at), bytes, false));
        }
        // The pause container, and the sum of the pod's cgroup.
        for (container, id) in [("POD", "/p"), ("", "/pod")] {
            series.push(("container_cpu_usage_seconds_total", cadvisor(container, id, at), 7.0, true));
        }
    }
    let node = r#"node="n1",job="kubelet",metrics_path="/metrics/resource""#.to_owned();
    series.push(("node_cpu_usage_seconds_total", node.clone(), 2.5, true));
    series.push(("node_memory_working_set_bytes", node, 1_073_741_824.0, false));
    for (zone, watts) in [("package", 60.0), ("dram", 5.0), ("core", 40.0), ("psys", 90.0)] {
        let of_node = format!(r#"node_name="n1",zone="{zone}",path="/{zone}",job="kepler""#);
        series.push(("kepler_node_cpu_joules_total", of_node, watts, true));
        let of_pod = format!(
            r#"pod_namespace="shop",pod_name="web",pod_id="1",zone="{zone}",state="running",job="kepler""#
        );
        series.push(("kepler_pod_cpu_joules_total", of_pod, watts / 5.0, true));
    }
    let gpu = r#"Hostname="n1",UUID="GPU-1",exported_namespace="shop",exported_pod="web",job="dcgm""#;
    series.push(("DCGM_FI_DEV_POWER_USAGE", gpu.to_owned(), 100.0, false));
    series.push(("node_total_hourly_cost", r#"node="n1",job="opencost""#.to_owned(), 0.192, false));
    let mut text = String::new();
    for (name, labels, each, rises) in series {
        for i in 0..SAMPLES {
            let at = (end - Span::from_seconds((SAMPLES - 1 - i) * STEP_SECONDS)).as_unix_nanos() / 1_000_000;
            let value = if rises { each * (i * STEP_SECONDS) as f64 } else { each };
            writeln!(text, "{name}{{{labels}}} {value} {at}").unwrap();
        }
    }
    text
}

/// A running Prometheus; it goes with the test.
struct Running {
    child: Child,
    directory: PathBuf,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        let _cleared = std::fs::remove_dir_all(&self.directory);
    }
}

fn start(program: &Path, exporter: &str) -> Running {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("prometheus-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "scrape_configs: [{{job_name: all, scrape_interval: 1s, honor_labels: true, static_configs: [{{targets: ['{}'], labels: {{k8s_cluster: kr}}}}]}}]\n",
        exporter.trim_start_matches("http://")
    );
    std::fs::write(directory.join("prometheus.yml"), config).unwrap();
    let log = std::fs::File::create(directory.join("log")).unwrap();
    let child = Command::new(program)
        .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Running { child, directory, url: format!("http://127.0.0.1:{port}") }
}

/// The first report in which power is there too; what it last said, where that takes too long.
async fn report(running: &Running, scope: Scope) -> Arc<UsageReport> {
    let cluster = Service::start(|_, _| Reply::status(404)).await;
    let begun = std::time::Instant::now();
    loop {
        let mut config = kube::Config::new(cluster.url.parse().unwrap());
        config.default_retry = false;
        let client = connect::client_that_reads(config).unwrap();
        let limits = connect::observe::usage::prometheus_limits();
        let prometheus = Prometheus::new(&running.url, None, scope.clone(), limits).unwrap();
        let said = Poller::new("kr", client, Some(prometheus), Arc::new(now), pace()).next().await;
        match said {
            Ok(report) if report.pods.values().any(|pod| pod.power.is_some()) => return report,
            said if begun.elapsed() > PATIENCE => {
                let log = std::fs::read_to_string(running.directory.join("log")).unwrap_or_default();
                panic!("{said:?}\n{log}");
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn near(found: f64, expected: f64) -> bool {
    // Rates are taken over what there is of the five minutes, and stretched to all of them.
    (found / expected - 1.0).abs() < 0.08
}

#[tokio::test]
async fn a_real_prometheus_answers_as_we_read_it() {
    let found = std::env::var_os("KUBERCARBON_CLIENTS").map(|dir| PathBuf::from(dir).join("bin/prometheus"));
    let Some(program) = found.filter(|path| path.exists()) else {
        println!("skipped: no bin/prometheus (KUBERCARBON_CLIENTS)");
        return;
    };
    let text = exposition(now());
    let exporter = Service::start(move |asked, _| match asked.path.as_str() {
        "/metrics" => {
            Reply::With(200, vec![("content-type", "text/plain; version=0.0.4; charset=utf-8")], text.clone())
        }
        _ => Reply::status(404),
    })
    .await;
    let running = start(&program, &exporter.url);
    let scope = Scope::label("k8s_cluster", "kr").unwrap();
    let report = report(&running, scope).await;
    let host = running.url.trim_start_matches("http://");
    let from = "cAdvisor, nodes by the kubelet, power by Kepler (CPU packages and DRAM), GPUs by DCGM, prices by OpenCost";
    assert_eq!(report.from.source, format!("Prometheus {host} ({from})"));
    assert_eq!(report.pods.keys().collect::<Vec<_>>(), ["shop/web"]);
    let pod = report.pods["shop/web"];
    assert!(near(pod.cpu.as_cores_f64(), 0.8125), "each container once: {pod:?}");
    assert_eq!(pod.memory.as_bytes(), 64 << 20);
    assert!(near(pod.power.unwrap().as_watts_f64(), 113.0), "packages, DRAM and the GPU: {pod:?}");
    let (name, node) = report.nodes.first_key_value().unwrap();
    assert_eq!((name.as_str(), report.nodes.len()), ("n1", 1));
    assert!(near(node.cpu.as_cores_f64(), 2.5), "{node:?}");
    assert_eq!(node.memory.as_bytes(), 1 << 30);
    assert!(near(node.power.unwrap().as_watts_f64(), 165.0), "{node:?}");
    assert_eq!(node.price.unwrap().as_units_f64(), 0.192);
    let limits = connect::observe::usage::prometheus_limits();
    let other =
        Prometheus::new(&running.url, None, Scope::label("k8s_cluster", "se").unwrap(), limits).unwrap();
    let why =
        super::poller(&Service::start(|_, _| Reply::status(404)).await, Some(other), pace()).next().await;
    assert!(why.is_err(), "another cluster's series are not ours: {why:?}");
}
