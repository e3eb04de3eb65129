//! What may go wrong on a cluster for a while: machines, the ways to them, and what the cluster leans on.
//!
//! [`World::begin_fault`](crate::World::begin_fault) has one begin, [`World::end_fault`](crate::World::end_fault) has it
//! end; what happens in between is up to kubelets and controllers. Faults of one kind on one thing do not add up: the one
//! begun last counts, and one end ends it. Nothing here draws or decides; whoever plays a scenario or a campaign does.

use crate::apiserver::quantity::{Format, NANO, Quantity};
use fleet::{Bytes, Span};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most errors of an API server that still answers, percent.
pub const ERRORS_PERCENT_MAX: u32 = 95;
/// Latest that answers of an API server may be: client-go gives up after a minute at the server.
pub const LATENCY_MAX: Span = Span::from_seconds(60);

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// A machine stops at once, with everything on it, and starts again at the end.
    Crash(String),
    /// A node is cut off from the API server: its pods go on, and nothing is heard of them.
    Partition(String),
    /// A machine works at so many percent (1 to 99) of its speed: containers start later, and work that is stated to take
    /// a time, or requests, take longer. Commands that sleep do not.
    Slow(String, u32),
    /// So many bytes of a node's disk are used by what is no pod's.
    Disk(String, Bytes),
    /// All machines of a zone stop; those of the zone that are there at the end start again.
    Zone(String),
    /// No image can be pulled.
    Registry,
    /// The metrics APIs say nothing: autoscalers hold what they have.
    Metrics,
    /// The API server.
    Api(ApiFault),
}

/// What is wrong with an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiFault {
    /// It does not answer: nobody writes, kubelets go on by themselves.
    Down,
    /// It refuses some writes, and answers late.
    Poor {
        /// How many writes are refused, at most [`ERRORS_PERCENT_MAX`].
        errors_percent: u32,
        /// How late controllers act on what changes, at most [`LATENCY_MAX`].
        latency: Span,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Crash(node) => write!(f, "crash of node {node}"),
            Fault::Partition(node) => write!(f, "partition of node {node}"),
            Fault::Slow(node, percent) => write!(f, "node {node} at {percent} % of its speed"),
            Fault::Disk(node, bytes) => {
                let bytes = Quantity::from_nanos(i128::from(bytes.as_bytes()) * NANO, Format::BinarySi);
                write!(f, "{bytes} of the disk of node {node} used by others")
            }
            Fault::Zone(zone) => write!(f, "loss of zone {zone}"),
            Fault::Registry => write!(f, "no image registry"),
            Fault::Metrics => write!(f, "no metrics"),
            Fault::Api(ApiFault::Down) => write!(f, "no API server"),
            Fault::Api(ApiFault::Poor { errors_percent, latency }) => {
                write!(f, "API server refuses {errors_percent} % of writes, answers after {latency}")
            }
        }
    }
}
