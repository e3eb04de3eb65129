//! Accounts of the two clusters' hours, made by the real arithmetic.

use super::{Scene, actual};
use fleet::{Bytes, ClusterId, Cpu, Instant, MoneyPerHour, NodeName, NodePower, Resources, Span, Watts};
use ledger::Labels;
use ledger::allocation::{Allocation, NodeLoad, Owner, PodLoad, Work};
use ledger::usage::{Heading, HourEntry};
use std::sync::Arc;

/// Hours of both clusters for ten days, with work of several kinds.
pub fn hours(scene: Scene, now: Instant) -> Vec<HourEntry> {
    if scene == Scene::Empty {
        return Vec::new();
    }
    let script = if scene == Scene::Hostile { "=<script>alert(\"x\")</script>" } else { "a" };
    let work = |namespace: &str, kind: &str, name: &str, team: &str| {
        let owner = Owner { kind: kind.into(), name: name.into() };
        let labels: Labels = [(Arc::from("team"), Arc::from(team))].into_iter().collect();
        Arc::new(Work { namespace: namespace.into(), owner, labels: Arc::new(labels) })
    };
    let mut all = Vec::new();
    for name in ["kr", "jp"] {
        let mut books = Allocation::new(1150);
        let start = (now - Span::DAY.scaled(10, 1)).floor_to(Span::HOUR);
        books.advance(start);
        let (intensity, intensity_from) = actual(name, now);
        books.set_intensity(intensity);
        books.see(true);
        let nodes: Vec<NodeName> =
            (0..6).map(|i| NodeName::new(&format!("{name}-general-{i}")).unwrap()).collect();
        for node in &nodes {
            let capacity =
                Resources { cpu: Cpu::from_cores(8), memory: Bytes::from_gib(32), gpu: 0, pods: 58 };
            let power = NodePower { idle: Watts::from_watts_f64(38.0), full: Watts::from_watts_f64(73.0) };
            let price = MoneyPerHour::from_units_f64(0.472);
            books.set_node(node, Some(NodeLoad { capacity, power, measured: None, price, embodied: None }));
        }
        let pods = [
            ("shop", "Deployment", "web", script, 2000),
            ("shop", "StatefulSet", "db", "b", 1500),
            ("data", "CronJob", "etl", "b", 3000),
            ("data", "Job", "train-bert", script, 4000),
            ("kube-system", "Deployment", "coredns", "x", 200),
            ("monitoring", "DaemonSet", "node-exporter", "x", 100),
        ];
        for (i, (namespace, kind, owner, team, millis)) in pods.into_iter().enumerate() {
            let cpu = Cpu::from_millis(millis);
            let requests = Resources { cpu, memory: Bytes::from_gib(4), gpu: 0, pods: 1 };
            let load = PodLoad { requests, running: true, managed: i == 3, used: None };
            books.set_pod(
                format!("{namespace}/{owner}"),
                Some((nodes[i].clone(), work(namespace, kind, owner, team), load)),
            );
        }
        let mut hour = start;
        while hour + Span::HOUR <= now {
            let heading = Heading {
                cluster: ClusterId::new(name).unwrap(),
                hour,
                version: 1,
                replaces: None,
                recorded: hour + Span::HOUR,
                intensity_from: intensity_from.clone(),
                use_from: None,
            };
            hour += Span::HOUR;
            all.push(HourEntry::new(heading, books.close(hour).unwrap()));
        }
    }
    all
}
