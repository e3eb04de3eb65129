//! A campaign of faults: from a seed a cluster, workloads of all kinds, what people do to them and what goes wrong; after
//! every event the invariants are checked, and once all is well again everything has to be as it was asked for.
//!
//! Pure: [`play`] is a function of the seed. The same seed gives the same [`Outcome`], its trace included, which is a hash
//! of every change in order and of the whole world at the end. What is drawn is in `draw`, how it is played in `run`,
//! what has to hold at every instant in `checks`, and what has to hold at the end in `rest`. Checks cost what changed.
//! Left out: several clusters, custom resources, webhooks, and people who change the same field at once.

mod checks;
mod draw;
mod objects;
mod rest;
mod run;

pub use draw::{Deed, Happening};
pub use run::{Outcome, Wrong, play};

use fleet::Span;

/// Faults and deeds begin within this time of the start, and all faults have ended by its end.
pub const TROUBLE: Span = Span::from_seconds(2 * 3600);
/// Time in which everything comes to rest after that: five minutes each for an autoscaler's window and for what waits
/// for a node, back-offs of five minutes, half an hour of back-off of a node group, ten minutes until a node is not
/// needed, and as long again.
pub const REST: Span = Span::from_seconds(2 * 3600);
