//! What the users of a Service feel: requests over time, queues, answers and errors. Pure arithmetic that knows neither
//! Kubernetes nor worlds; `controllers::traffic` has it happen in a cluster.
//!
//! * [`Curve`]: requests a second over time;
//! * [`station`]: one pod in equilibrium (M/M/c, M/G/1, M/G/c, with clients that give up), with its sources;
//! * [`Flow`]: the pods of a Service together, over time, in whole numbers;
//! * [`Broker`]: queues of messages and their workers;
//! * [`Responses`]: how many requests took how long.
//!
//! Invariants: no clock, no chance, no library's transcendental functions; the same input gives the same bytes everywhere.

mod broker;
mod curve;
mod flow;
mod maths;
mod responses;
pub mod station;

pub use broker::{Broker, Tally, Terms};
pub use curve::{Curve, PER_SECOND, RATE_MAX, STEPS_MAX, Trace};
pub use flow::{Counts, Flow, Pace, REQUEST, Setting};
pub use responses::Responses;
