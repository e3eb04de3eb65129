//! When each Job wants to be looked at although nothing happens.

use fleet::{Instant, JobKey};
use std::collections::{BTreeMap, BTreeSet};

/// One timer a Job, in order of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    of: BTreeMap<JobKey, Instant>,
    order: BTreeSet<(Instant, JobKey)>,
}

impl Timers {
    /// Sets or clears a Job's timer.
    pub fn set(&mut self, key: &JobKey, at: Option<Instant>) {
        let old = match at {
            Some(at) => self.of.insert(key.clone(), at),
            None => self.of.remove(key),
        };
        if let Some(old) = old {
            self.order.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.order.insert((at, key.clone()));
        }
    }
    /// The earliest timer.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
    /// Takes out every Job whose timer has come.
    pub fn due(&mut self, now: Instant) -> Vec<JobKey> {
        let mut due = Vec::new();
        while let Some((at, key)) = self.order.first().cloned()
            && at <= now
        {
            self.set(&key, None);
            due.push(key);
        }
        due
    }
}
