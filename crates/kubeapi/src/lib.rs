//! The Kubernetes REST API over a twin, as a tower service.
//!
//! [`router()`] serves one cluster: discovery, OpenAPI, resources, tables, watches. It holds no state
//! of its own: reads run on the twin's objects as they are, writes go to the twin and are answered
//! when durable, once the webhooks they wait for were asked. Invariants: no clock (ages and times are the twin's; only the ends of watches and their
//! bookmarks are paced by the runtime's timers), every body is bounded. Leaves out keys and TLS, which
//! belong to whoever binds the socket, and everything a simulated container cannot do.

mod access;
mod authorize;
mod document;
mod measured;
mod meta;
mod negotiate;
mod protobuf;
mod query;
mod read;
mod respond;
mod route;
mod service;
mod watch;
mod webhook;
mod write;

pub use access::{Access, Authority, Certified};
pub use service::{Twin, router, router_for};
pub use webhook::Webhooks;
