//! A deterministic simulation of Kubernetes clusters, in virtual time.
//!
//! [`World`] holds the clusters; [`World::advance_to`] is the only way time passes. Each cluster keeps
//! its API objects in [`Objects`], which controllers, the API machinery ([`apiserver`]) and everybody
//! else read and write. Invariants: no I/O, no wall clock, no threads; the same fleet, seed and requests
//! give the same objects, events and resource versions, byte for byte.

mod amounts;
pub mod apiserver;
pub mod campaign;
pub mod cel;
mod cloud;
mod controllers;
mod demo;
pub mod drain;
pub mod fault;
pub mod import;
pub mod kind;
pub mod load;
pub mod object;
pub mod physics;
pub mod random;
pub mod scenario;
mod spending;
pub mod store;
pub mod traffic;
pub mod vpa;
pub mod work;
pub mod world;

pub use apiserver::{Request, Response, Status};
pub use controllers::messages::QueueTraffic;
pub use controllers::traffic::ServiceTraffic;
pub use controllers::{apiservice, horizontal, replicaset, scheduler};
pub use fault::{ApiFault, Fault};
pub use kind::{Kind, Resource};
pub use object::Object;
pub use physics::{Borne, ByPod, EnergyTotals, PodEnergy};
pub use spending::{DiskSpending, Spending, TrafficSpending};
pub use store::{Change, ChangeKind, Objects, Stored};
pub use world::World;
