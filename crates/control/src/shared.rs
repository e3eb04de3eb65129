//! One copy of what many hold.
//!
//! Invariants: what is equal is the same allocation while anybody holds it; what nobody holds any more is let go in time, so that
//! never more than twice of what is held, and [`SPARE`], is kept. Sharing costs O(log n), letting go a share of that.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Unheld ones that may be kept beside as many as are held: so few cost nothing, and are not looked through often.
const SPARE: usize = 256;

/// Values that are shared.
#[derive(Debug)]
pub(crate) struct Shared<T: ?Sized> {
    all: BTreeSet<Arc<T>>,
    /// From so many on, those that nobody holds are looked for.
    tidy_at: usize,
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared { all: self.all.clone(), tidy_at: self.tidy_at }
    }
}

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared { all: BTreeSet::new(), tidy_at: SPARE }
    }
}

impl<T: Ord + ?Sized> Shared<T> {
    /// The one that is equal to it.
    pub fn share(&mut self, value: &Arc<T>) -> Arc<T> {
        if let Some(known) = self.all.get(value.as_ref()) {
            return known.clone();
        }
        self.tidy();
        self.all.insert(value.clone());
        value.clone()
    }

    /// One that is equal to this, if anybody has one.
    pub fn get(&self, value: &T) -> Option<Arc<T>> {
        self.all.get(value).cloned()
    }

    fn tidy(&mut self) {
        if self.all.len() >= self.tidy_at {
            self.all.retain(|value| Arc::strong_count(value) > 1);
            self.tidy_at = self.all.len() * 2 + SPARE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unheld_ones_go() {
        let mut shared: Shared<str> = Shared::default();
        let held: Vec<Arc<str>> = (0..100).map(|i| shared.share(&Arc::from(i.to_string()))).collect();
        assert!(Arc::ptr_eq(&held[7], &shared.share(&Arc::from("7"))));
        assert!(shared.get("7").is_some() && shared.get("x").is_none());
        for i in 0..10_000 {
            shared.share(&Arc::from(format!("once-{i}")));
            assert!(shared.all.len() <= 2 * held.len() + SPARE, "{} kept", shared.all.len());
        }
        assert!(held.iter().all(|value| Arc::ptr_eq(value, &shared.share(&Arc::from(&**value)))));
    }
}
