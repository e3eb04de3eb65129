//! The loop: observe → forecast → plan → rehearse → approve → act → account.
//!
//! [`Control`] is one synchronous step function: [`Event`]s in, [`Effect`]s out, both plain data, so the
//! whole product runs under one seed. Drivers carry effects out: [`twin_driver`] directly on a
//! `twin::World`, the crate `connect` over the Kubernetes API.
//!
//! Invariants: no clock, no I/O, no async. What has been done is read from the clusters, not remembered:
//! a restarted `Control` that sees the same objects takes the same next step, and every step may be
//! done twice. A held Job is released at its latest safe start whatever planner and signals do ([`guard`]).

mod account;
mod books;
mod clusters;
pub mod compare;
mod copies;
mod distances;
mod effect;
mod event;
mod expect;
pub mod guard;
pub mod inventory;
mod job;
mod jobs;
mod late;
mod learnt;
pub mod lease;
mod mirror;
pub mod needs;
mod notices;
pub mod observe;
mod owner;
mod planning;
mod reconcile;
mod shape;
mod shared;
pub mod simulate;
mod start;
mod state;
mod timers;
mod top;
pub mod twin_driver;
pub mod usage;
mod view;
mod what_if;
pub mod whereabouts;
mod work;

pub use books::CORRECTED_WITHIN;
pub use clusters::Silence;
pub use distances::RoundTrip;
pub use effect::{ApiCall, Effect, EffectId, Record};
pub use event::{ClusterFacts, Event, Failure, JobVersion, NodeObservation, Order, Outcome, PodObservation};
pub use job::{Job, Spec};
pub use jobs::{
    APPROVED_ANNOTATION, COPY_ANNOTATION, FINALIZER, LATEST_START_ANNOTATION, MANAGED_BY, MANAGER,
    ORIGIN_CLUSTER_LABEL, ORIGIN_CLUSTER_UID_LABEL, ORIGIN_NAME_ANNOTATION, ORIGIN_UID_LABEL,
    PLACEMENT_LABEL, PLANNED_START_ANNOTATION, RUNS_ANNOTATION, SAVED_ANNOTATION, TARGET_ANNOTATION,
};
pub use learnt::{RunTime, RunTimeFrom};
pub use state::{Control, Settings};
pub use top::{Top, TopOf, TopRow, WaitingPod};
pub use view::{ClusterView, Draw, JobPhase, JobView, RunView, TotalsView, View};
pub use what_if::{Decision, Error as WhatIfError};
