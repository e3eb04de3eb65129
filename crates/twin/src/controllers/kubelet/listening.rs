//! Which pods answer requests: those whose containers run and have not been told to end.

use super::{Kubelet, Stage};
use fleet::Instant;

/// What a pod's containers do for those who send it requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listening {
    /// All of its containers run (init containers apart), on a machine that is up.
    pub(crate) runs: bool,
    /// And none was sent the signal to end, at which servers stop listening and finish what they have.
    pub(crate) takes: bool,
    /// When that signal will be sent, its preStop hook being over.
    pub(crate) until: Option<Instant>,
}

impl Kubelet {
    /// Whether a pod answers requests.
    pub(crate) fn listening(&self, uid: &str) -> Listening {
        let Some(run) = self.runs.get(uid).filter(|run| run.stage == Stage::Live) else {
            return Listening::default();
        };
        let up = self.hosts.get(&run.node).is_some_and(|host| !host.down);
        let units = &run.units[run.inits..];
        let runs = up && !units.is_empty() && units.iter().all(|unit| unit.running().is_some());
        let stops = || units.iter().filter_map(|unit| unit.running()?.stop.as_ref());
        let takes = runs && !stops().any(|stop| stop.signalled);
        let until = stops().filter_map(|stop| stop.hook.filter(|_| !stop.signalled)).min();
        Listening { runs, takes, until: until.filter(|_| takes) }
    }
}
