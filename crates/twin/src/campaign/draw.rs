//! What a seed comes to: a cluster, objects, and a schedule of deeds and faults.
//!
//! One stream of chance a concern, so that another fault does not change the workloads. Which kinds of workloads and of
//! faults there are at all is drawn first, for each seed anew: what a campaign with everything in it would drown, one with
//! two things in it shows.

use super::{TROUBLE, objects};
use crate::fault::{ApiFault, Fault};
use crate::random::Stream;
use fleet::{Bytes, Span};
use serde_json::Value;
use std::fmt;

/// Zones of the cluster's region.
const ZONES: [&str; 3] = ["ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c"];
/// Most faults and deeds of a seed, each.
const FAULTS_MAX: u64 = 8;
const DEEDS_MAX: u64 = 10;
/// Longest a fault lasts.
const LASTS_SECONDS_MAX: u64 = 2400;
/// Part of the time in which there is trouble that is left at its end.
const LULL: Span = Span::from_seconds(60);

/// Something somebody does. Numbers choose among what there is then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A workload is given so many replicas.
    Scale(u64, i64),
    /// A workload is given another image.
    Update(u64),
    /// A pod is deleted; by force, if so stated.
    DeletePod(u64, bool),
    /// A pod is evicted.
    Evict(u64),
    /// A node is drained, and taken up again after a time.
    Drain(u64, Span),
    /// A node that was drained takes pods again.
    Uncordon(String),
    /// A Job is suspended or goes on.
    Suspend(u64, bool),
    /// A workload is deleted and made again after a time.
    Remake(u64, Span),
    /// An object is made.
    Make(Box<Value>),
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Somebody does something.
    Deed(Deed),
    /// Something goes wrong.
    Begins(Fault),
    /// It is over.
    Ends(Fault),
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::Deed(Deed::Make(object)) => {
                write!(
                    f,
                    "make {}/{}",
                    object["kind"].as_str().unwrap_or_default(),
                    object["metadata"]["name"]
                )
            }
            Happening::Deed(deed) => write!(f, "{deed:?}"),
            Happening::Begins(fault) => write!(f, "fault: {fault}"),
            Happening::Ends(fault) => write!(f, "end of fault: {fault}"),
        }
    }
}

/// What a seed comes to.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    /// A fleet file.
    pub(super) fleet: String,
    pub(super) objects: Vec<Value>,
    pub(super) happenings: Vec<(Span, Happening)>,
}

/// From `low` to `high`, both included.
pub(super) fn between(stream: &mut Stream, low: u64, high: u64) -> u64 {
    low + stream.below(high - low + 1)
}

/// Whether a chance of so many percent comes true.
pub(super) fn chance(stream: &mut Stream, percent: u64) -> bool {
    stream.below(100) < percent
}

fn some_time(stream: &mut Stream, before: Span) -> Span {
    // Off the whole second, as things happen.
    Span::from_millis(between(stream, 30_000, (before.as_nanos() / 1_000_000) as u64) as i64)
}

/// Nodes of the fixed group, enough for every workload; another group that grows and shrinks, in two of three seeds.
fn fleet(stream: &mut Stream) -> (String, Vec<String>) {
    let count = between(stream, 4, 6);
    let zones = &ZONES[..between(stream, 1, 3) as usize];
    let mut groups =
        format!("{{name: base, instanceType: m6i.large, count: {count}, zones: [{}]}}", zones.join(", "));
    let mut nodes: Vec<String> = (1..=count).map(|n| format!("twin-base-{n}")).collect();
    if chance(stream, 66) {
        let spot = match stream.below(5) {
            0 | 1 => format!(
                ", spot: {{interruptAt: [{}m, {}m]}}",
                between(stream, 5, 60),
                between(stream, 61, 115)
            ),
            _ => String::new(),
        };
        groups.push_str(&format!(
            ", {{name: more, instanceType: m6i.large, count: 1, min: 1, max: 4, zones: [{}]{spot}}}",
            zones.join(", ")
        ));
        nodes.push("twin-more-1".to_owned());
    }
    let text = format!(
        "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: twin\n  region: ap-northeast-2\n  nodeGroups: [{groups}]\n"
    );
    (text, nodes)
}

/// One fault of a kind.
fn fault(which: u64, nodes: &[String], stream: &mut Stream) -> Fault {
    let node = nodes[stream.below(nodes.len() as u64) as usize].clone();
    match which {
        0 => Fault::Crash(node),
        1 => Fault::Partition(node),
        2 => Fault::Slow(node, between(stream, 5, 80) as u32),
        3 => Fault::Disk(node, Bytes::from_bytes(between(stream, 20, 80) as i64 * 1_000_000_000)),
        4 => Fault::Zone(ZONES[stream.below(3) as usize].to_owned()),
        5 => Fault::Registry,
        6 => Fault::Metrics,
        7 => Fault::Api(ApiFault::Down),
        _ => Fault::Api(ApiFault::Poor {
            errors_percent: between(stream, 0, 60) as u32,
            latency: Span::from_millis(stream.below(3) as i64 * between(stream, 1, 2000) as i64),
        }),
    }
}

/// Kinds of faults.
const KINDS: u64 = 9;

/// Whether two faults are about the same thing: they do not add up, so they must not overlap.
fn same(a: &Fault, b: &Fault) -> bool {
    match (a, b) {
        (Fault::Api(_), Fault::Api(_)) => true,
        (Fault::Slow(a, _), Fault::Slow(b, _)) | (Fault::Disk(a, _), Fault::Disk(b, _)) => a == b,
        // A zone takes its machines along.
        (Fault::Crash(_) | Fault::Zone(_), Fault::Crash(_) | Fault::Zone(_)) => {
            a == b || matches!((a, b), (Fault::Zone(_), _) | (_, Fault::Zone(_)))
        }
        _ => a == b,
    }
}

fn faults(nodes: &[String], stream: &mut Stream) -> Vec<(Span, Span, Fault)> {
    let kinds: Vec<u64> = (0..KINDS).filter(|_| chance(stream, 45)).collect();
    let mut all: Vec<(Span, Span, Fault)> = Vec::new();
    if kinds.is_empty() {
        return all;
    }
    for _ in 0..between(stream, 1, FAULTS_MAX) {
        let which = kinds[stream.below(kinds.len() as u64) as usize];
        let fault = fault(which, nodes, stream);
        let from = some_time(stream, TROUBLE - LULL);
        // Short ones as often as long ones.
        let lasts =
            if chance(stream, 50) { between(stream, 1, 90) } else { between(stream, 60, LASTS_SECONDS_MAX) };
        let to = (from + Span::from_seconds(lasts as i64)).min(TROUBLE);
        if !all.iter().any(|(f, t, other)| same(&fault, other) && from <= *t && *f <= to) {
            all.push((from, to, fault));
        }
    }
    all
}

fn deed(workloads: u64, stream: &mut Stream) -> Deed {
    match stream.below(9) {
        0 | 1 => Deed::Scale(stream.below(workloads), stream.below(5) as i64),
        2 => Deed::Update(stream.below(workloads)),
        3 => Deed::DeletePod(stream.bits(), chance(stream, 25)),
        4 => Deed::Evict(stream.bits()),
        5 | 6 => Deed::Drain(stream.bits(), Span::from_seconds(between(stream, 60, 1800) as i64)),
        7 => Deed::Suspend(stream.bits(), chance(stream, 50)),
        _ => Deed::Remake(stream.below(workloads), Span::from_seconds(between(stream, 0, 300) as i64)),
    }
}

/// Draws all of it.
pub(super) fn draw(seed: u64) -> Drawn {
    let (fleet, nodes) = fleet(&mut Stream::new(seed, "campaign/fleet"));
    let objects = objects::draw(&mut Stream::new(seed, "campaign/objects"));
    let mut happenings = Vec::new();
    for (from, to, fault) in faults(&nodes, &mut Stream::new(seed, "campaign/faults")) {
        happenings.push((from, Happening::Begins(fault.clone())));
        happenings.push((to, Happening::Ends(fault)));
    }
    let mut stream = Stream::new(seed, "campaign/deeds");
    for _ in 0..stream.below(DEEDS_MAX + 1) {
        let at = some_time(&mut stream, TROUBLE - LULL);
        happenings.push((at, Happening::Deed(deed(objects.len() as u64, &mut stream))));
    }
    for (at, job) in objects::later(&mut Stream::new(seed, "campaign/jobs"), TROUBLE - LULL) {
        happenings.push((at, Happening::Deed(Deed::Make(Box::new(job)))));
    }
    happenings.sort_by_key(|(at, _)| *at);
    Drawn { fleet, objects, happenings }
}
