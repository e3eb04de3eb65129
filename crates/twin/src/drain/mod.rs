//! Emptying a node as `kubectl drain` of Kubernetes 1.36 does: which pods go, what speaks against it, and the run.
//!
//! [`select`] judges the pods of a node by the flags, without changing anything. [`Run`] asks for the evictions and waits
//! for them, as a state machine in virtual time: at each instant it names ([`Run::next`]), [`Run::step`] does what is due
//! through a [`Cluster`] and gives the lines kubectl prints. Nothing here reads a clock. Times: a refused eviction is tried
//! again after 5 s, a pod is looked for every second. Left out: additional filters, dry runs, chunks of lists.

mod judge;
mod run;
mod world;

pub use judge::{Selected, Verdict, select};
pub use run::{Cluster, Run};
pub use world::OnWorld;

use crate::apiserver::selector::LabelSelector;
use fleet::Span;

/// What a drain is allowed and told to do, named as kubectl's flags.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Pods without a controller, and those of a DaemonSet that is gone, are deleted as well.
    pub force: bool,
    /// Pods of DaemonSets stay and are no obstacle.
    pub ignore_daemonsets: bool,
    /// Pods with `emptyDir` volumes go, and what is in these is lost.
    pub delete_emptydir_data: bool,
    /// Pods are deleted, whatever disruption budgets say.
    pub disable_eviction: bool,
    /// Grace period of every pod; `None`: each pod's own.
    pub grace_period_seconds: Option<u32>,
    /// A pod that has been told to go for longer than this is not waited for; zero: every one is.
    pub skip_wait_for_delete: Span,
    /// The drain gives up after this; zero: never.
    pub timeout: Span,
    /// Only pods with these labels.
    pub pod_selector: Option<LabelSelector>,
}

/// A duration as Go writes it: `17.3s`, `1m0s`, `2h0m5s`.
fn go_duration(span: Span) -> String {
    let nanos = span.as_nanos();
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let fraction =
        if rest == 0 { String::new() } else { format!(".{rest:09}").trim_end_matches('0').to_owned() };
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        let all = [(17_300, "17.3s"), (60_000, "1m0s"), (7_205_250, "2h0m5.25s"), (0, "0s")];
        for (millis, text) in all {
            assert_eq!(go_duration(Span::from_millis(millis)), text);
        }
    }
}
