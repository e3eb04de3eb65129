//! What is done to clusters: calls of the Kubernetes API ([`kube`]).
//!
//! Nothing is decided here; a call that is made twice changes nothing the second time.

pub mod kube;
mod needs;
