//! The Kubernetes API machinery as pure functions over a cluster's [`Objects`].

mod request;
mod status;

use crate::random::Stream;
use crate::store::Objects;
use fleet::Instant;

pub use request::{
    Body, DeleteOptions, Options, PatchType, Propagation, Request, Response, Subresource, Verb,
};
pub use status::{Cause, Status};

/// What a write needs beside the request: the cluster's objects, the time, and names to draw.
pub struct Context<'a> {
    /// The cluster's objects.
    pub objects: &'a mut Objects,
    /// Virtual time, for `creationTimestamp` and the like.
    pub now: Instant,
    /// Stream of uids and generated names.
    pub names: &'a mut Stream,
}
