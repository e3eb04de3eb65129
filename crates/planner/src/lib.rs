//! From a fleet snapshot, a policy and a forecast to decisions that explain themselves.
//!
//! Invariants: every public function is pure; work is bounded by counted units, never by time; `f64`
//! lives only inside solvers, is compared by `total_cmp`, and decisions use only + − × ÷, so the same
//! input gives the same bytes on every machine. [`check`] tests any schedule against every rule, by
//! itself: it shares no code with the solvers. [`instance`] reads problems from files for the same solver;
//! [`rolling`] plans round after round while jobs arrive.
//! Nothing here reads a clock or knows a cluster's API.

pub mod arrivals;
pub mod check;
pub mod contract;
pub mod elastic;
pub mod forecast;
pub mod instance;
pub mod placement;
pub mod rolling;
pub mod selector;
