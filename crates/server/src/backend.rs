//! What the REST API and the console need of the running product, as one trait, so that both can be
//! tested without clusters.
//!
//! Invariants: reading never changes anything; what is asked for (`apply`, `order`, `set_clock`) is
//! handed on to the loop, which alone decides. Times are the fleet's own clock. Left out: how the product
//! is wired, and every rule (they belong in `control`).

use crate::fit::Seen;
use crate::room::{Answer, Asked};
use crate::signals::Sources;
use control::inventory::InventoryView;
use control::{Decision, Order, Top, TopOf, View, WaitingPod, WhatIfError};
use fleet::{ClusterId, Instant, JobKey, Plan};
use futures::future::BoxFuture;
use ledger::Entry;
use ledger::accounts::{Accounts, Question};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use tokio::sync::watch;

/// Fastest pace a twin's clock can be set to, in virtual seconds a second (`max` has no bound).
pub const SPEED_MAX: f64 = 1_000_000.0;

/// Slowest pace, in virtual seconds a second; slower is a pause.
pub const SPEED_MIN: f64 = 0.01;

/// How fast a twin's clock runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// Virtual seconds a second, [`SPEED_MIN`] to [`SPEED_MAX`].
    Times(f64),
    /// As fast as it goes.
    Max,
}

/// Why a text is not a speed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{found}\" is not a speed: expected a number from {SPEED_MIN} to {SPEED_MAX}, e.g. 600x, or max")]
pub struct SpeedError {
    /// What stood there (first 80 characters).
    pub found: String,
}

impl FromStr for Speed {
    type Err = SpeedError;
    fn from_str(text: &str) -> Result<Speed, SpeedError> {
        let wanted = text.trim();
        if wanted == "max" {
            return Ok(Speed::Max);
        }
        let number = wanted.strip_suffix(['x', 'X']).unwrap_or(wanted);
        match number.parse::<f64>() {
            Ok(times) if (SPEED_MIN..=SPEED_MAX).contains(&times) => Ok(Speed::Times(times)),
            _ => Err(SpeedError { found: text.chars().take(80).collect() }),
        }
    }
}

/// `600x`, `max`.
impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Speed::Times(times) => write!(f, "{times}x"),
            Speed::Max => f.write_str("max"),
        }
    }
}

/// The clock people look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Whether it is a twin's (virtual) clock; else the wall's.
    pub twin: bool,
    /// How fast it runs; `Times(1.0)` for the wall.
    pub speed: Speed,
    /// Whether it stands still.
    pub paused: bool,
    /// What it shows.
    pub at: Instant,
}

/// What a person asks of a twin's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClockOrder {
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Run at this pace.
    Speed(Speed),
}

/// Why nothing could be placed, explained or created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The document is not a Job.
    #[error("job: {0}")]
    Job(String),
    /// Several clusters, and no word which one is its home.
    #[error("home: not given: expected one of {known}")]
    Home {
        /// The clusters there are.
        known: String,
    },
    /// Nothing could be decided.
    #[error(transparent)]
    WhatIf(#[from] WhatIfError),
    /// Nothing is written to clusters in this mode.
    #[error("mode observe: nothing is written to any cluster")]
    ReadOnly,
    /// The home cluster's API refused the Job.
    #[error("cluster \"{cluster}\" refused the Job: {message}")]
    Refused {
        /// Home cluster.
        cluster: ClusterId,
        /// HTTP status the API server gave.
        code: u16,
        /// Its words.
        message: String,
    },
    /// The home cluster did not answer; the Job may or may not have been created.
    #[error("cluster \"{cluster}\" did not answer: {message}")]
    Unanswered {
        /// Home cluster.
        cluster: ClusterId,
        /// What happened.
        message: String,
    },
}

/// Why an order was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// No such Job under placement.
    #[error("job {0} is not among the Jobs under placement")]
    Unknown(JobKey),
    /// A wall clock cannot be paused or hurried.
    #[error("the fleet runs on the wall clock, which cannot be set: expected a fleet of twins")]
    WallClock,
    /// The order contradicts something; the text says what was expected.
    #[error("{0}")]
    Invalid(String),
    /// The loop has ended.
    #[error("the control loop is stopping")]
    Stopping,
}

/// What the loop has done since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Steps taken.
    pub steps: u64,
    /// Events handled.
    pub events: u64,
    /// Wall time of the steps, in seconds.
    pub step_seconds: f64,
    /// Plans made.
    pub plans: u64,
    /// Wall time of the step that made the last plan, in seconds.
    pub plan_seconds: Option<f64>,
}

/// The running product, as seen from pages and API. Calls are cheap (no I/O) unless they give a future;
/// [`Backend::place`] and [`Backend::why`] may compute for some milliseconds and are called off the
/// async threads.
pub trait Backend: Send + Sync + 'static {
    /// Everything, at the latest instant known.
    fn view(&self) -> Arc<View>;
    /// The clock.
    fn clock(&self) -> Clock;
    /// Each grid zone's sources of carbon, best first, down to the one in use; empty where nothing says.
    fn sources(&self) -> Sources {
        Sources::new()
    }
    /// What a cluster has beside nodes, pods and Jobs; `None`: no such cluster.
    fn inventory(&self, _cluster: &ClusterId) -> Option<InventoryView> {
        None
    }
    /// How a cluster's scheduler is stated to decide, a `KubeSchedulerConfiguration`; `None`: as by default.
    fn scheduler(&self, _cluster: &ClusterId) -> Option<Value> {
        None
    }
    /// A cluster as its scheduler sees it, read anew over its API; `None`: there is no connection to it.
    fn look(&self, _cluster: &ClusterId) -> BoxFuture<'_, anyhow::Result<Option<Seen>>> {
        Box::pin(async { Ok(None) })
    }
    /// How much the loop has done; nothing where nobody counts.
    fn work(&self) -> Work {
        Work::default()
    }
    /// Changes whenever the view does.
    fn version(&self) -> watch::Receiver<u64>;
    /// Of each Job its latest ledger line, oldest first. Called for each page shown: worth caching.
    fn ledger(&self) -> BoxFuture<'_, anyhow::Result<Vec<Entry>>>;
    /// Accounts of clusters, with the hours under way as they are now.
    fn accounts(&self, question: Question) -> BoxFuture<'_, anyhow::Result<Accounts>>;
    /// Pods that wait for a node, the first by cluster and name, at most so many; and how many there are.
    fn waiting_pods(&self, _most: usize) -> (Vec<WaitingPod>, usize) {
        (Vec::new(), 0)
    }
    /// What fits in a cluster, or why a pod does not: read from it now, or a minute ago.
    fn room(&self, cluster: ClusterId, _asked: Asked) -> BoxFuture<'_, anyhow::Result<Arc<Answer>>> {
        Box::pin(async move { anyhow::bail!("no connection to {cluster}") })
    }
    /// What flows now.
    fn top(&self, of: &TopOf) -> Top;
    /// Lines of the journal behind number `after`, at most `limit`; each an object with `seq`, `at`,
    /// `kind`, `key` and `body`.
    fn journal(&self, after: i64, limit: u32) -> BoxFuture<'_, anyhow::Result<Vec<Value>>>;
    /// The part of the schedule that lies ahead, as a document.
    fn plan(&self) -> Plan;
    /// Where and when `job` would run if it were created in `home` now; nothing is changed.
    ///
    /// # Errors
    /// When it is not a Job, its home is not known, or nothing can be decided yet.
    fn place(&self, home: Option<ClusterId>, job: Value, alternatives: usize)
    -> Result<Decision, PlaceError>;
    /// Why a Job is where it is, or will be.
    ///
    /// # Errors
    /// When it is not under placement, or nothing has been decided yet.
    fn why(&self, key: &JobKey, alternatives: usize) -> Result<Decision, WhatIfError>;
    /// Creates `job` in its home cluster and gives it back as created.
    fn apply(&self, home: Option<ClusterId>, job: Value) -> BoxFuture<'_, Result<Value, PlaceError>>;
    /// Hands on what a person wants.
    ///
    /// # Errors
    /// When it names a Job that is not there, or the loop has ended.
    fn order(&self, order: Order) -> Result<(), OrderError>;
    /// Pauses, resumes or paces a twin's clock.
    ///
    /// # Errors
    /// On a wall clock, or when the loop has ended.
    fn set_clock(&self, order: ClockOrder) -> Result<(), OrderError>;
}

/// How handlers hold it.
pub type SharedBackend = Arc<dyn Backend>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_read_and_written() {
        for (text, speed) in [
            ("600x", Speed::Times(600.0)),
            ("1", Speed::Times(1.0)),
            ("max", Speed::Max),
            (" 0.5x ", Speed::Times(0.5)),
        ] {
            assert_eq!(text.parse(), Ok(speed), "{text}");
        }
        for wrong in ["", "x", "0", "-1", "NaN", "inf", "1e9", "fast"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
        assert_eq!(Speed::Times(600.0).to_string(), "600x");
        assert_eq!(Speed::Max.to_string(), "max");
    }
}
