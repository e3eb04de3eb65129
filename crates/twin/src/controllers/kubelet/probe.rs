//! Startup, liveness and readiness probes: when they look, and what comes of it.
//!
//! As kubelet's `prober`: a worker looks at whole periods after the pod was taken in (for readiness: after the
//! container started, because an update of the status has it look at once), not before the initial delay is over, and
//! a result counts when it came as often in a row as its threshold says. Invariant: a probe costs an event only when
//! its result may change, so that a healthy pod costs none; therefore a failing probe is told of until its result stands,
//! and not at every look after that.

use super::unit::after;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Container, Probe};
use serde::{Deserialize, Serialize};

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    Startup,
    Liveness,
    Readiness,
}

impl Purpose {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Purpose::Startup => "Startup",
            Purpose::Liveness => "Liveness",
            Purpose::Readiness => "Readiness",
        }
    }
    /// Its definition.
    pub(super) fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Purpose::Startup => container.startup_probe.as_ref(),
            Purpose::Liveness => container.liveness_probe.as_ref(),
            Purpose::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// A probe of a running container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Check {
    pub(super) purpose: Purpose,
    /// It looks at whole periods after this.
    since: Instant,
    /// When it looks next; `None`: its result cannot change by itself.
    pub(super) next: Option<Instant>,
    /// The last answer, and how often it came in a row.
    last: Option<(bool, i32)>,
    /// What stands.
    pub(super) result: Option<bool>,
    /// How often files had changed when it looked last.
    seen: u64,
}

/// What a look found.
pub(super) struct Seen {
    pub(super) ok: bool,
    /// When that may be otherwise without a file changing.
    pub(super) until: Option<Instant>,
    /// Whether a change of a file may change it, and how often files have changed.
    pub(super) files: Option<u64>,
}

fn seconds(value: Option<i32>, default: i32) -> Span {
    Span::from_seconds(i64::from(value.unwrap_or(default)))
}

fn period(probe: &Probe) -> Span {
    seconds(probe.period_seconds.map(|seconds| seconds.max(1)), 10)
}

impl Check {
    /// The probes of a container that starts at `start`, in a pod taken in at `admitted`.
    pub(super) fn all(container: &Container, admitted: Instant, start: Instant) -> Vec<Check> {
        let purposes = [Purpose::Startup, Purpose::Liveness, Purpose::Readiness];
        let first = purposes.into_iter().filter_map(|purpose| {
            purpose.of(container)?;
            let since = if purpose == Purpose::Readiness { start } else { admitted };
            Some(Check { purpose, since, next: None, last: None, result: None, seen: 0 })
        });
        let mut all: Vec<Check> = first.collect();
        let startup = container.startup_probe.is_some();
        for check in &mut all {
            if check.purpose == Purpose::Startup || !startup {
                check.begin(container, start, start);
            }
        }
        all
    }
    /// Begins to look, in a container that started at `start`.
    pub(super) fn begin(&mut self, container: &Container, start: Instant, now: Instant) {
        let Some(probe) = self.purpose.of(container) else { return };
        if self.purpose == Purpose::Readiness {
            self.since = now;
        }
        let earliest = (start + seconds(probe.initial_delay_seconds, 0)).max(now);
        self.next = Some(after(self.since, period(probe), earliest));
    }
    /// Takes in a look at `now`; returns the result if it is another than before.
    pub(super) fn take(&mut self, probe: &Probe, seen: &Seen, now: Instant) -> Option<bool> {
        let count = match self.last {
            Some((ok, count)) if ok == seen.ok => count.saturating_add(1),
            _ => 1,
        };
        self.last = Some((seen.ok, count));
        let needed =
            if seen.ok { probe.success_threshold.unwrap_or(1) } else { probe.failure_threshold.unwrap_or(3) };
        self.seen = seen.files.unwrap_or(0);
        let stands = self.result == Some(seen.ok) || count >= needed;
        let news = stands && self.result != Some(seen.ok);
        if stands {
            self.result = Some(seen.ok);
        }
        // A result that does not stand yet is looked at again; one that stands, when it may have changed.
        let earliest = if stands { seen.until.map(|at| at.max(now)) } else { Some(now) };
        let later = |at: Instant| after(self.since, period(probe), at.max(now + Span::from_nanos(1)));
        self.next = earliest.map(later);
        news.then_some(seen.ok)
    }
    /// Looks again if files it may look at have changed since.
    pub(super) fn stir(&mut self, probe: &Probe, changes: u64, now: Instant) {
        if self.next.is_none() && self.last.is_some() && self.seen != changes && probe.exec.is_some() {
            self.next = Some(after(self.since, period(probe), now + Span::from_nanos(1)));
        }
    }
    /// Looks no more.
    pub(super) fn rest(&mut self) {
        self.next = None;
        self.last = None;
    }
}
