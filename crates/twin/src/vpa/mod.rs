//! How large containers ought to be, from what they used: the arithmetic of the Vertical Pod Autoscaler 1.8.
//!
//! Pure, and without types of the twin or of Kubernetes, so that whoever has samples of a real cluster can size with it.
//! [`Histogram`] forgets what is old, [`Aggregate`] is what containers of one name used together, [`Container`] says which
//! samples of one container count, [`recommend()`] makes amounts of it, and [`Policy`] holds these between bounds. Units:
//! CPU in millicores, memory in bytes. Floating point is what the original computes with; amounts are cut to whole units
//! at the same places. Left out: the start-up boost, intervals of their own for a single autoscaler, history from
//! Prometheus.

mod histogram;
mod recommend;
mod usage;

pub use histogram::{Checkpoint, Histogram, Scale};
pub use recommend::{Amounts, Bounds, Policy, Recommendation, recommend};
pub use usage::{Aggregate, Container};
