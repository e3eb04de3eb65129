//! The wall clock: the only place beside the command line that reads it.
#![allow(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]

use fleet::{Instant, Span};

/// The present instant, UTC.
pub fn now() -> Instant {
    Instant::from_jiff(jiff::Timestamp::now())
}

/// A stopwatch that never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Stopwatch {
        Stopwatch(std::time::Instant::now())
    }
    /// Since the start.
    pub fn elapsed(&self) -> Span {
        Span::from_nanos(i64::try_from(self.0.elapsed().as_nanos()).unwrap_or(i64::MAX))
    }
}
