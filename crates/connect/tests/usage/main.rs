//! What is used, asked of servers on loopback that follow the APIs' documentation, on good days and bad ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

mod metrics;
mod prometheus;
mod real_prometheus;
#[path = "../service/mod.rs"]
mod service;

use connect::observe::usage::{Pace, Poller, Prometheus};
use fleet::{Bytes, Cpu};
use service::{Service, now};
use std::sync::Arc;
use std::time::Duration;

/// Asks again at once, and with patience for a busy machine.
fn pace() -> Pace {
    let moment = Duration::from_millis(2);
    Pace { interval: moment, look_max: Duration::from_secs(60), rest_max: moment }
}

/// A poller of a cluster that only reads.
fn poller(cluster: &Service, prometheus: Option<Prometheus>, pace: Pace) -> Poller {
    let mut config = kube::Config::new(cluster.url.parse().unwrap());
    // Of 429, 503 and 504 the client itself asks again.
    config.default_retry = false;
    let client = connect::client_that_reads(config).unwrap();
    Poller::new("kr", client, prometheus, Arc::new(now), pace)
}

fn millis(millis: i64) -> Cpu {
    Cpu::from_millis(millis)
}

fn mib(mib: i64) -> Bytes {
    Bytes::from_mib(mib)
}
