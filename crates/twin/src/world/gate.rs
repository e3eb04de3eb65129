//! The way to an API server that is down, slow, or refuses some writes.
//!
//! What the controllers of the control plane write goes through here, one controller at a time: one whose write is refused
//! tries again as client-go's work queues do, after 5 ms, then twice as long each time, at most 1000 s; where answers are
//! late it acts so long after what it answers to. While the server is down none of them acts and no timer of theirs goes
//! off; both are made up for when it is back. Requests from outside are refused in the server's words. Invariants: nothing is
//! drawn without a fault, and no write is done in part. Left out: watches that lag, kubelets' writes that are refused, and
//! reads.

use super::{Priority, Task};
use crate::apiserver::Status;
use crate::controllers::Cx;
use crate::fault::ApiFault;
use crate::random::Stream;
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// First pause of client-go's work queues after a failure, and the longest (`DefaultTypedControllerRateLimiter`).
const RETRY_FIRST: Span = Span::from_millis(5);
const RETRY_MAX: Span = Span::from_seconds(1000);
/// Doublings after which a pause is the longest in any case.
const DOUBLINGS_MAX: u32 = 18;
/// Seconds after which who was refused for overload is told to try again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// A controller that waits to be let through.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Held {
    until: Instant,
    /// Refusals in a row.
    tries: u32,
}

/// The state of the way.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Gate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<ApiFault>,
    /// Controllers by their number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    held: BTreeMap<u32, Held>,
    /// Timers that went off while the server was down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    later: Vec<Task>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    draw: Option<Stream>,
    /// Who has been let through at this instant.
    #[serde(skip)]
    through: (Option<Instant>, u32),
}

fn pause(tries: u32) -> Span {
    RETRY_FIRST.scaled(1 << tries.saturating_sub(1).min(DOUBLINGS_MAX), 1).min(RETRY_MAX)
}

impl Gate {
    pub(super) fn is_idle(&self) -> bool {
        self.fault.is_none() && self.held.is_empty() && self.later.is_empty() && self.draw.is_none()
    }
    pub(super) fn is_down(&self) -> bool {
        self.fault == Some(ApiFault::Down)
    }
    /// A fault begins, in place of the one before.
    pub(super) fn begin(&mut self, fault: ApiFault, seed: u64) {
        self.fault = Some(fault);
        self.draw.get_or_insert_with(|| Stream::new(seed, "faults/api"));
    }
    /// All is well again: who waited may go on, and what was left out is done now.
    pub(super) fn end(&mut self, cx: &mut Cx<'_>) {
        self.fault = None;
        self.held.clear();
        for task in std::mem::take(&mut self.later) {
            cx.timers.set(cx.now, Priority::Controller, task);
        }
    }
    /// Keeps a controller's timer for when the server is back.
    pub(super) fn keep(&mut self, task: Task) {
        self.later.push(task);
    }
    fn refuses(&mut self, percent: u32) -> bool {
        percent > 0 && self.draw.as_mut().is_some_and(|draw| draw.below(100) < u64::from(percent))
    }
    /// Which of so many controllers may act in this round, as bits; `heard`: something has changed since the last.
    pub(super) fn open(&mut self, cx: &mut Cx<'_>, heard: bool, controllers: u32) -> u32 {
        let (errors_percent, latency) = match self.fault {
            None => return u32::MAX,
            Some(ApiFault::Down) => return 0,
            Some(ApiFault::Poor { errors_percent, latency }) => (errors_percent, latency),
        };
        if self.through.0 != Some(cx.now) {
            self.through = (Some(cx.now), 0);
        }
        let mut open = u32::MAX;
        for n in 0..controllers {
            let bit = 1 << n;
            let own = self.held.get(&n).copied();
            let (tries, late) = match own {
                Some(held) if held.until > cx.now => {
                    open &= !bit;
                    continue;
                }
                Some(held) => (held.tries, false),
                // One that has heard of nothing writes nothing.
                None if !heard || self.through.1 & bit != 0 => continue,
                None => (0, latency > Span::ZERO),
            };
            let refused = !late && self.refuses(errors_percent);
            if !late && !refused {
                self.held.remove(&n);
                self.through.1 |= bit;
                continue;
            }
            let (tries, wait) = if late { (0, latency) } else { (tries + 1, pause(tries + 1)) };
            open &= !bit;
            self.held.insert(n, Held { until: cx.now + wait, tries });
            cx.timers.set(cx.now + wait, Priority::Controller, Task::Retry);
        }
        open
    }
    /// What a request from outside is answered instead of being carried out.
    pub(super) fn refusal(&mut self) -> Option<Status> {
        let errors_percent = match self.fault? {
            ApiFault::Down => {
                let text = "the server is currently unable to handle the request";
                return Some(Status::new(503, "ServiceUnavailable", text));
            }
            ApiFault::Poor { errors_percent, .. } => errors_percent,
        };
        if !self.refuses(errors_percent) {
            return None;
        }
        let which = self.draw.as_mut().map_or(0, |draw| draw.below(3));
        Some(match which {
            0 => Status {
                retry_after_seconds: Some(RETRY_AFTER_SECONDS),
                ..Status::new(429, "TooManyRequests", "Too many requests, please try again later.")
            },
            1 => Status::new(500, "InternalError", "Internal error occurred: etcdserver: request timed out"),
            _ => Status::new(
                504,
                "Timeout",
                "Timeout: request did not complete within requested timeout - context deadline exceeded",
            ),
        })
    }
}

impl Task {
    /// Whether it goes off though the API server is down: nothing of the control plane has a part in it.
    pub(super) fn goes_on_alone(&self) -> bool {
        matches!(
            self,
            Task::Pod { .. }
                | Task::Pressure { .. }
                | Task::Shutdown { .. }
                | Task::StaticPods { .. }
                | Task::Traffic { .. }
                | Task::Messages { .. }
                | Task::Review { .. }
                | Task::Retry
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_thousand_seconds() {
        assert_eq!([1, 2, 3, 4].map(|tries| pause(tries).as_nanos() / 1_000_000), [5, 10, 20, 40]);
        assert_eq!(pause(18).as_nanos() / 1_000_000, 5 << 17);
        assert_eq!([19, 40, u32::MAX].map(|tries| pause(tries).as_seconds()), [1000; 3]);
    }
}
