//! What is done to clusters: calls of the Kubernetes API ([`kube`]), and the Lease of
//! a cluster, whose holder alone may make them ([`lease`]).
//!
//! Nothing is decided here; a call that is made twice changes nothing the second time.

pub mod kube;
pub mod lease;
mod needs;
