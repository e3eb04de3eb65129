//! Jobs that cannot be in time, named as soon as that is certain, and not only at their deadline.

use crate::jobs::{self, Tracked};
use crate::notices::Tone;
use crate::planning::Progress;
use crate::shape::stops_at;
use crate::state::Control;
use fleet::{ClusterId, Instant, Resources};

impl Control {
    /// When a Job that does not run yet can no longer be in time even if it starts there and then, as far
    /// as its expected duration is right. `None` while it runs, once its copy has ended, or without a deadline.
    pub(crate) fn late_from(&self, tracked: &Tracked) -> Option<Instant> {
        let deadline = tracked.contract.deadline?;
        let ended = tracked.finished().is_some()
            || self.executing(tracked).is_some_and(|job| jobs::finished(&job).is_some());
        let progress = (!ended).then(|| self.progress(tracked))?;
        progress.running_since.is_none().then(|| deadline - self.left_after(tracked, &progress))
    }

    /// Why a Job will miss its real deadline, as far as one can see now.
    pub(crate) fn late(&self, tracked: &Tracked) -> Option<String> {
        let deadline = tracked.contract.deadline?;
        let sentence = |finish: Instant, why: &str| {
            let (finish, deadline) = (finish.to_rfc3339_seconds(), deadline.to_rfc3339_seconds());
            format!("expected to finish at {finish}, after the deadline {deadline}: {why}")
        };
        let planned = self.schedule.as_ref().and_then(|s| s.late.iter().find(|l| l.key == tracked.key));
        let planned = planned.filter(|late| late.finish > deadline);
        if self.late_from(tracked).is_some_and(|from| self.now >= from) {
            let soonest = self.now + self.expected_left(tracked);
            let finish = self.assignment(&tracked.key).map_or(soonest, |a| a.end().max(soonest));
            let why = self.waits_in(tracked).or_else(|| planned.map(|late| late.reason.clone()));
            return Some(sentence(finish, why.as_deref().unwrap_or("it has not started")));
        }
        planned.map(|late| sentence(late.finish, &late.reason))
    }

    /// Names a Job that will be late, once.
    pub(crate) fn tell_late(&mut self, tracked: &Tracked) {
        if let Some(late) = self.late(tracked) {
            match stops_at(tracked) {
                None => self.tell_once(&tracked.key, Tone::Warning, "Late", &format!("will be late: {late}")),
                Some(_) => {
                    let text = format!("will be stopped at its deadline before it is done: {late}");
                    self.tell_once(&tracked.key, Tone::Warning, "CutShort", &text);
                }
            }
        }
    }

    /// What a Job that should run waits for: its pods for a node or for their containers to start, or the
    /// whole Job for room.
    pub(crate) fn waits_in(&self, tracked: &Tracked) -> Option<String> {
        let Progress { starting, .. } = self.progress(tracked);
        let place = self.work_place(tracked);
        if starting {
            let cluster = self.clusters.get(&place)?;
            if !cluster.waits_for_node(&*self.executing(tracked)?) {
                return Some(format!("its pods are being started in {place}"));
            }
            return Some(format!("its pods wait for a node in {place}: {}", self.too_large(tracked, &place)));
        }
        if !tracked.missed && !self.waiting_for_room.contains_key(&tracked.key) {
            return None;
        }
        let target = self.assignment(&tracked.key).map_or(place, |a| a.cluster.clone());
        Some(format!("it waits for room; in {target}: {}", self.too_large(tracked, &target)))
    }

    /// What a pod asks for beside the most that a node has left.
    fn too_large(&self, tracked: &Tracked, cluster: &ClusterId) -> String {
        let room = self.clusters.get(cluster).map(crate::clusters::Cluster::room).unwrap_or_default();
        let largest = room.into_iter().fold(Resources::ZERO, Resources::max);
        let (pod, pods) = (tracked.pod, self.pods_to_start(tracked));
        let cores = |r: Resources| fleet::quantity::plain(r.cpu.as_cores_f64());
        let gib = |r: Resources| fleet::quantity::plain(r.memory.as_gib_f64());
        let part = if pod.memory > largest.memory && pod.cpu <= largest.cpu {
            format!("{} GiB each, largest free {}", gib(pod), gib(largest))
        } else {
            let asked = fleet::quantity::counted(pod.cpu.as_cores_f64(), "core", "cores");
            format!("{asked} each, largest free {}", cores(largest))
        };
        if pods > 1 { format!("{pods} pods, {part}") } else { part }
    }
}
