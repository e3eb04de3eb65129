//! The vocabulary of Kuber Carbon: quantities with units, virtual time, ids, clusters, workloads,
//! policies and plans.
//!
//! Invariants: no I/O, no clock, no randomness, no Kubernetes types. Every quantity is an integer in
//! its smallest unit behind a newtype, so that sums are exact and the same input gives the same bytes.

pub mod builtin;
pub mod carbon;
pub mod cluster;
pub mod file;
pub mod id;
pub mod instances;
pub mod karpenter;
pub mod kubelet;
pub mod plan;
pub mod policy;
pub mod quantity;
pub mod resources;
pub mod snapshot;
pub mod supply;
pub mod tariff;
pub mod time;
pub mod workload;

pub use carbon::{Provenance, Series, SignalKind, Spread, SpreadStep};
pub use cluster::{
    ClusterSpec, EmbodiedRate, FleetSpec, NodeGroup, NodePower, NodeRates, PowerCurve, RateSource, Rates,
    RatesFrom,
};
pub use id::{ClusterId, GridZone, InstanceType, NodeName, ObjectName, RegionId};
pub use instances::Instances;
pub use kubelet::{KubeletSpec, ShutdownGrace, Version};
pub use plan::{Action, Plan, Precondition, Step};
pub use policy::{Mode, Policy, PolicyKind, ScoreWeights};
pub use quantity::{
    Bytes, Cpu, GramsCo2, GramsCo2PerHour, GramsCo2PerKwh, Joules, Money, MoneyPerHour, Watts,
};
pub use resources::Resources;
pub use snapshot::{ClusterSnapshot, Snapshot};
pub use time::{Instant, Span};
pub use workload::{DataSource, JobKey, PlacementContract, Scaling, Shape, Workload};
