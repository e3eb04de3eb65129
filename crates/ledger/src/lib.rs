//! Energy, carbon and cost: what work burnt, emitted and cost, and what would have been without it.
//!
//! Invariants: pure arithmetic over integer quantities (µJ, µg CO2e, 10⁻⁹ money), so parts sum to the
//! whole exactly. An [`Entry`] is append-only and names the data and the method of every figure; where
//! figures are combined the worst provenance wins. Nothing here knows who decided, reads a clock, or
//! stores anything. Embodied emissions are counted where the rates have them.

mod account;
pub mod accounts;
pub mod allocation;
pub mod correction;
pub mod day;
mod entry;
mod expected;
mod fold;
mod footprint;
mod labels;
pub mod meter;
pub mod summary;
pub mod usage;

pub use account::{Account, EMBODIED_METHOD, Error, METHOD, Place, RUNS_MAX, account, method};
pub use entry::{BASELINE, Baseline, Entry, Run, RunLine, latest, take_in, worst};
pub use expected::{Expected, month};
pub use footprint::{Footprint, embodied, footprint, power, price, transfer, transfer_intensity};
pub use labels::Labels;
