//! The server: wiring of the whole product in one process, REST API, console.
//!
//! Rules live in `control`; what is here connects: sockets, files, the wall clock, tasks.

mod api;
mod apis;
pub mod backend;
pub mod console;
mod door;
pub mod engine;
pub mod fit;
pub mod hours;
pub mod import;
mod keys;
pub mod kubeconfig;
mod live;
mod metrics;
pub mod pacer;
mod problem;
pub mod real;
pub mod room;
pub mod scheduler_file;
pub mod serve;
pub mod signals;
mod signature;
mod signer;
pub mod twin_file;
pub mod twin_host;
pub mod up;
pub mod wall;
mod webhooks;

pub use backend::{Backend, Clock, ClockOrder, Speed};
pub use connect::act::lease::NAMESPACE as LEASE_NAMESPACE;
pub use connect::observe::{carbon, electricity, trace};
pub use connect::{contexts, rights};
pub use control::whereabouts;
pub use twin::campaign;
pub use twin::import as twin_document;
pub use twin::scenario;
