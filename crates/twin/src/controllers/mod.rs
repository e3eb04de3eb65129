//! The controllers of one cluster: state machines woken by object changes and timers, one module each,
//! named as in Kubernetes. They read and write only through the store; none knows another.
//!
//! Each has `observe`, which hears of every change, and `run`, which acts on what it heard and says
//! whether it did anything. At one instant they run in a fixed order until all are quiet.

pub mod apiservice;
pub(crate) mod clusterautoscaler;
pub(crate) mod clusterroleaggregation;
pub(crate) mod cronjob;
mod cx;
pub(crate) mod daemonset;
pub(crate) mod deployment;
pub(crate) mod disruption;
pub(crate) mod document;
pub(crate) mod endpoints;
pub(crate) mod endpointslice;
pub(crate) mod endpointslicemirroring;
pub(crate) mod events;
pub(crate) mod evictor;
pub(crate) mod garbagecollector;
pub(crate) mod history;
pub mod horizontal;
pub(crate) mod job;
pub(crate) mod karpenter;
pub(crate) mod kubelet;
pub(crate) mod kubernetesservice;
pub(crate) mod log;
pub mod messages;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod nodelifecycle;
pub(crate) mod owned;
pub(crate) mod podcontrol;
pub(crate) mod podgc;
pub mod replicaset;
pub(crate) mod resourcequota;
pub(crate) mod rootcacertpublisher;
pub mod scheduler;
pub(crate) mod serviceaccounts;
pub(crate) mod services;
pub(crate) mod statefulset;
pub(crate) mod terminationhandler;
pub(crate) mod topology;
pub mod traffic;
pub(crate) mod ttlafterfinished;
pub(crate) mod underway;
pub(crate) mod vertical;
pub(crate) mod volumes;
pub(crate) mod workloads;

pub(crate) use cx::{Cx, is_deleting, is_terminal, micro_time, phase, time};

/// Where a namespaced object is.
pub(crate) type Place = (std::sync::Arc<str>, std::sync::Arc<str>);
