//! Recreate: all old pods go before the first new one comes.

use super::Sync;

impl Sync<'_, '_> {
    pub(super) fn recreate(&mut self) {
        let old = self.active_old();
        for at in &old {
            self.resize_if_needed(*at, 0);
        }
        if old.is_empty() && !self.old_pods_run() && self.find_current(true).is_some() {
            if let Some(at) = self.current {
                self.resize_if_needed(at, self.wanted);
            }
            if self.is_complete(&self.status) {
                self.clean_up();
            }
        }
        self.sync_rollout();
    }
}
