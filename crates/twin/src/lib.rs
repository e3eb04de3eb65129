//! A deterministic simulation of Kubernetes clusters, in virtual time.
//!
//! [`World`] holds the clusters; [`World::advance_to`] is the only way time passes. Each cluster keeps
//! its API objects in [`Objects`], which controllers, the API machinery ([`apiserver`]) and everybody
//! else read and write. Invariants: no I/O, no wall clock, no threads; the same fleet, seed and requests
//! give the same objects, events and resource versions, byte for byte.

pub mod apiserver;
pub mod kind;
pub mod object;
pub mod random;
pub mod store;

pub use apiserver::{Request, Response, Status};
pub use kind::{Kind, Resource};
pub use object::Object;
pub use store::{Change, ChangeKind, Objects, Stored};
