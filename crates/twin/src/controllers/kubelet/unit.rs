//! One container: what it is doing, how its earlier runs ended, and when it is due next.
//!
//! Invariant: a unit holds everything about its container that the pod's document does not, so that a saved world goes on
//! as it would have.

use super::probe::Check;
use super::resize::Given;
use crate::work::files::Tree;
use crate::work::process::Process;
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};

/// First delay before a container is started again, and the longest (`MaxContainerBackOff`).
const BACKOFF_FIRST: Span = Span::from_seconds(10);
const BACKOFF_MAX: Span = Span::from_seconds(300);

/// Why a container ended, in the kubelet's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reason {
    Completed,
    Error,
    OomKilled,
    /// It was to run and never did, or was lost with its machine.
    Unknown,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reason::Completed => "Completed",
            Reason::Error => "Error",
            Reason::OomKilled => "OOMKilled",
            Reason::Unknown => "ContainerStatusUnknown",
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// When it began; `None`: it never ran.
    pub(super) since: Option<Instant>,
    pub(super) at: Instant,
    pub(super) code: i32,
    pub(super) reason: Reason,
    /// What it said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

/// Back-off between starts of a container or pulls of its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BackOff {
    pub(super) delay: Span,
    updated: Instant,
}

impl BackOff {
    /// The next mark, for something that went wrong at `event`: the first one again if the last is long past.
    pub(super) fn next(last: Option<BackOff>, event: Instant, now: Instant) -> BackOff {
        let delay = match last.filter(|last| !last.is_past(event)) {
            None => BACKOFF_FIRST,
            Some(last) => last.delay.scaled(2, 1).min(BACKOFF_MAX),
        };
        BackOff { delay, updated: now }
    }
    /// Whether it ran for so long that the next failure is the first one again.
    fn is_past(&self, event: Instant) -> bool {
        event - self.updated > BACKOFF_MAX.scaled(2, 1)
    }
    /// Until when a start has to wait after an end at `event`.
    pub(super) fn holds(&self, event: Instant, now: Instant) -> Option<Instant> {
        let until = event + self.delay;
        (!self.is_past(event) && until > now).then_some(until)
    }
}

/// What a running container does next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Doing {
    /// Runs until then (`None`: for ever); `cost` of it only takes up saved work again.
    Until { at: Option<Instant>, code: i32, cost: Span },
    /// Follows its command.
    Script { process: Box<Process>, wake: Wake },
}

/// When a process goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wake {
    /// Then; at once when it is told to end, if `wakes`.
    At {
        at: Instant,
        wakes: bool,
    },
    /// It does the same over and over until a file changes.
    Idle {
        since: Instant,
        period: Span,
        changes: u64,
    },
    Never,
}

impl Wake {
    /// When it goes on, files having changed so often.
    pub(super) fn due(self, changes: u64, now: Instant) -> Option<Instant> {
        match self {
            Wake::At { at, .. } => Some(at),
            Wake::Idle { changes: seen, .. } if seen == changes => None,
            Wake::Idle { since, period, .. } => Some(after(since, period, now)),
            Wake::Never => None,
        }
    }
}

/// The first instant at or after `now` that is whole periods after `since`.
pub(super) fn after(since: Instant, period: Span, now: Instant) -> Instant {
    let (gap, step) = ((now - since).as_nanos().max(0), period.as_nanos().max(1));
    let periods = gap / step + i64::from(gap % step != 0);
    since + Span::from_nanos(periods.saturating_mul(step))
}

/// A container that has been told to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stop {
    /// Its preStop hook runs until then.
    pub(super) hook: Option<Instant>,
    /// When its time is over.
    pub(super) deadline: Instant,
    /// Whether the signal was sent.
    pub(super) signalled: bool,
    /// When it ends of it, and with which code.
    pub(super) ends: Option<(Instant, i32)>,
}

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) since: Instant,
    pub(super) doing: Doing,
    /// Its file system.
    pub(super) own: Tree,
    /// Its postStart hook runs until then.
    pub(super) hook: Option<Instant>,
    pub(super) started: bool,
    pub(super) ready: bool,
    pub(super) checks: Vec<Check>,
    /// When it uses more memory than it may.
    pub(super) memory_over: Option<Instant>,
    pub(super) stop: Option<Stop>,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// It is not its turn yet.
    Waiting,
    Pulling {
        since: Instant,
        until: Instant,
        /// Whether it will not come: nobody has it, or no registry answered.
        #[serde(default)]
        fails: bool,
    },
    /// Its image could not be pulled; that is tried again then, and called a back-off from `named` on (the epoch once
    /// that has been said).
    Unpulled {
        named: Instant,
        until: Instant,
        reason: PullError,
    },
    /// It runs from then on; whether its image had to be fetched.
    Starting {
        at: Instant,
        fetched: bool,
    },
    Running(Box<Running>),
    /// It has ended; it is not started again before `held`.
    Ended {
        held: Option<Instant>,
    },
}

/// Why there is no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PullError {
    Failed,
    /// The registry did not answer.
    Unreachable,
    NeverPull,
    InvalidName,
}

impl PullError {
    /// Whether a pull was tried.
    pub(super) fn is_failure(self) -> bool {
        matches!(self, PullError::Failed | PullError::Unreachable)
    }
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Unit {
    pub(super) state: State,
    pub(super) restarts: i32,
    /// How the run ended that was the last to begin; `None` while it runs.
    pub(super) end: Option<End>,
    /// How the run before that ended.
    pub(super) last: Option<End>,
    pub(super) back_off: Option<BackOff>,
    /// For how long its start is held back; it is said until it runs.
    pub(super) crash_loop: Option<Span>,
    /// Failed pulls so far, and the back-off between them.
    pub(super) pull: (u32, Option<BackOff>),
    /// Why the last pull failed, while it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unpulled: Option<PullError>,
    /// What it was given, where that is not what the spec says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) given: Option<Box<Given>>,
    /// What it printed lately.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) log: String,
}

impl Unit {
    pub(super) fn new() -> Unit {
        Unit {
            state: State::Waiting,
            restarts: 0,
            end: None,
            last: None,
            back_off: None,
            crash_loop: None,
            pull: (0, None),
            unpulled: None,
            given: None,
            log: String::new(),
        }
    }
    pub(super) fn running(&self) -> Option<&Running> {
        if let State::Running(running) = &self.state { Some(running) } else { None }
    }
    pub(super) fn running_mut(&mut self) -> Option<&mut Running> {
        if let State::Running(running) = &mut self.state { Some(running) } else { None }
    }
    /// Whether it has run to its end with success.
    pub(super) fn has_succeeded(&self) -> bool {
        matches!(self.state, State::Ended { .. }) && self.end.as_ref().is_some_and(|end| end.code == 0)
    }
    /// When something is due of it, files having changed so often.
    pub(super) fn due(&self, changes: u64, now: Instant) -> Option<Instant> {
        match &self.state {
            State::Waiting => None,
            State::Pulling { until, .. } => Some(*until),
            State::Unpulled { named, until, .. } => Some(if *named > now { *named } else { *until }),
            State::Starting { at, .. } => Some(*at),
            State::Running(running) => running.due(changes, now),
            State::Ended { held } => *held,
        }
    }
}

impl Running {
    fn due(&self, changes: u64, now: Instant) -> Option<Instant> {
        let doing = match &self.doing {
            Doing::Until { at, .. } => *at,
            Doing::Script { wake, .. } => wake.due(changes, now),
        };
        let stop = self.stop.as_ref().map(|stop| match stop.ends {
            Some((at, _)) => at,
            None => stop.hook.filter(|_| !stop.signalled).unwrap_or(stop.deadline),
        });
        let checks = self.checks.iter().filter_map(|check| check.next);
        let hook = self.hook.filter(|at| *at > now);
        [doing, stop, hook, self.memory_over].into_iter().flatten().chain(checks).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_to_five_minutes_and_begins_anew_after_ten() {
        let second = |n| Instant::EPOCH + Span::from_seconds(n);
        let mut back_off = BackOff::next(None, second(0), second(0));
        let mut delays = vec![back_off.delay.as_seconds()];
        for n in 1..7 {
            back_off = BackOff::next(Some(back_off), second(n), second(n));
            delays.push(back_off.delay.as_seconds());
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(back_off.holds(second(10), second(100)), Some(second(310)));
        assert_eq!(back_off.holds(second(10), second(310)), None);
        assert_eq!(back_off.holds(second(607), second(608)), None, "it ran for more than ten minutes");
        assert_eq!(BackOff::next(Some(back_off), second(607), second(608)).delay.as_seconds(), 10);
        assert_eq!(BackOff::next(Some(back_off), second(606), second(608)).delay.as_seconds(), 300);
    }

    #[test]
    fn idle_processes_are_due_when_files_change() {
        let second = |n| Instant::EPOCH + Span::from_seconds(n);
        let wake = Wake::Idle { since: second(3), period: Span::from_seconds(5), changes: 7 };
        assert_eq!(wake.due(7, second(100)), None);
        assert_eq!(wake.due(8, second(100)), Some(second(103)));
        assert_eq!(wake.due(8, second(103)), Some(second(103)));
    }
}
