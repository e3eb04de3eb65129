//! A rolling update: new pods up to the surge, old ones down to what must stay available, one step a look.

use super::Sync;

impl Sync<'_, '_> {
    pub(super) fn roll(&mut self) {
        let found = self.find_current(true).is_some();
        let grown = found && self.grow_new();
        let Some(shrunk) = (if found && !grown { self.shrink_old() } else { Some(false) }) else { return };
        let stepped = grown || shrunk;
        if found && !stepped && self.is_complete(&self.status) {
            self.clean_up();
        }
        self.sync_rollout();
    }
    /// How many pods the ReplicaSet of the current template is to begin with.
    pub(super) fn first_size(&self) -> i32 {
        if self.rolls() { self.room_for_new(0) } else { self.wanted }
    }
    /// The size to which a ReplicaSet of the current template of `size` may grow.
    fn room_for_new(&self, size: i32) -> i32 {
        let total: i32 = self.sets.iter().map(|set| set.wanted).sum();
        let most = self.wanted + self.max_surge();
        if total >= most { size } else { size + (most - total).min(self.wanted - size) }
    }
    fn grow_new(&mut self) -> bool {
        let Some(at) = self.current else { return false };
        let size = self.sets[at].wanted;
        match size.cmp(&self.wanted) {
            std::cmp::Ordering::Equal => false,
            std::cmp::Ordering::Greater => self.resize_if_needed(at, self.wanted),
            std::cmp::Ordering::Less => self.resize_if_needed(at, self.room_for_new(size)),
        }
    }
    /// Whether old ReplicaSets were made smaller; `None` where one does not yet know what became of its last size: this
    /// look ends, and its status brings the next.
    fn shrink_old(&mut self) -> Option<bool> {
        let old = self.active_old();
        if old.is_empty() {
            return Some(false);
        }
        let total: i32 = self.sets.iter().map(|set| set.wanted).sum();
        let new_unavailable = self.newest().map_or(0, |set| set.wanted - set.available());
        let most = total - self.min_available() - new_unavailable;
        if most <= 0 {
            return Some(false);
        }
        let unhealthy = self.drop_unhealthy(&old, most)?;
        let healthy = self.drop_healthy(&old);
        Some(unhealthy + healthy > 0)
    }
    /// Takes away old pods that are not available, at most `most`.
    fn drop_unhealthy(&mut self, old: &[usize], most: i32) -> Option<i32> {
        let mut dropped = 0;
        for &at in old {
            let (wanted, available) = (self.sets[at].wanted, self.sets[at].available());
            if dropped >= most {
                break;
            }
            if wanted == 0 || wanted == available {
                continue;
            }
            let count = (most - dropped).min(wanted - available);
            if count < 0 {
                return None;
            }
            self.resize_if_needed(at, wanted - count);
            dropped += count;
        }
        Some(dropped)
    }
    /// Takes away old pods as far as enough stay available.
    fn drop_healthy(&mut self, old: &[usize]) -> i32 {
        let available = |at: &usize| self.sets[*at].available();
        let all: i32 = old.iter().chain(self.current.as_ref()).map(available).sum();
        let most = all - self.min_available();
        let mut dropped = 0;
        for &at in old {
            if dropped >= most {
                break;
            }
            let wanted = self.sets[at].wanted;
            if wanted == 0 {
                continue;
            }
            let count = wanted.min(most - dropped);
            self.resize_if_needed(at, wanted - count);
            dropped += count;
        }
        dropped
    }
}
