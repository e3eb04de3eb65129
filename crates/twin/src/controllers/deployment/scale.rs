//! Sizes of ReplicaSets: a change of replicas shared out in proportion, and the one place where a size is written.

use super::{DESIRED, MAX, SOURCE, Set, Sync};
use crate::controllers::owned::KINDS;
use serde_json::json;

/// A quotient rounded to the nearest, halves away from zero.
fn rounded(numerator: i64, denominator: i64) -> i64 {
    let doubled = numerator.abs() * 2 + denominator;
    numerator.signum() * (doubled / (denominator * 2))
}

impl Sync<'_, '_> {
    /// Sizes the ReplicaSets for the replicas asked for, without moving on.
    pub(super) fn scale(&mut self) {
        if let Some(at) = self.active_or_latest() {
            self.resize_if_needed(at, self.wanted);
        } else if self.is_saturated() {
            for at in self.active_old() {
                self.resize_if_needed(at, 0);
            }
        } else if self.rolls() {
            self.scale_in_proportion();
        }
    }
    /// The one ReplicaSet with pods; without any, the one of the current template, else the youngest.
    fn active_or_latest(&self) -> Option<usize> {
        let active: Vec<usize> = (0..self.sets.len()).filter(|at| self.sets[*at].wanted > 0).collect();
        match active.as_slice() {
            [] => self.current.or_else(|| self.old().last().copied()),
            [one] => Some(*one),
            _ => None,
        }
    }
    fn is_saturated(&self) -> bool {
        self.newest().is_some_and(|set| {
            set.wanted == self.wanted
                && set.number(DESIRED) == Some(self.wanted)
                && set.available() == self.wanted
        })
    }
    fn scale_in_proportion(&mut self) {
        let mut order: Vec<usize> = (0..self.sets.len()).filter(|at| self.sets[*at].wanted > 0).collect();
        let total: i32 = order.iter().map(|at| self.sets[*at].wanted).sum();
        let allowed = if self.wanted > 0 { self.wanted + self.max_surge() } else { 0 };
        let to_add = allowed - total;
        // The largest first; among equals the youngest when growing, the oldest when shrinking.
        order.sort_by(|a, b| {
            let (a, b) = (&self.sets[*a], &self.sets[*b]);
            let age = a.created().cmp(&b.created());
            b.wanted.cmp(&a.wanted).then(if to_add > 0 { age.reverse() } else { age })
        });
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::new();
        for at in &order {
            let share = self.share(&self.sets[*at], to_add, added);
            sizes.push(self.sets[*at].wanted + share);
            added += share;
        }
        if let Some(first) = sizes.first_mut().filter(|_| to_add != 0) {
            *first = (*first + to_add - added).max(0);
        }
        for (at, size) in order.into_iter().zip(sizes) {
            self.resize(at, size);
        }
    }
    /// What one ReplicaSet gets of `to_add` (`GetReplicaSetProportion`).
    fn share(&self, set: &Set, to_add: i32, added: i32) -> i32 {
        if set.wanted == 0 || to_add == 0 || to_add == added {
            return 0;
        }
        let (fraction, allowed) = (self.fraction(set), to_add - added);
        if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
    }
    fn fraction(&self, set: &Set) -> i32 {
        if self.wanted == 0 {
            return -set.wanted;
        }
        let before = set.number(MAX).filter(|max| *max != 0).or(self.status.replicas).unwrap_or(0);
        if before == 0 {
            return 0;
        }
        let numerator = i64::from(set.wanted) * i64::from(self.wanted + self.max_surge());
        i32::try_from(rounded(numerator, i64::from(before))).unwrap_or(i32::MAX) - set.wanted
    }
    /// Gives a ReplicaSet a size, unless it has it; whether it had not.
    pub(super) fn resize_if_needed(&mut self, at: usize, size: i32) -> bool {
        self.sets[at].wanted != size && {
            self.resize(at, size);
            true
        }
    }
    /// Writes a ReplicaSet's size, and the sizes of the Deployment it was worked out from.
    fn resize(&mut self, at: usize, size: i32) {
        let (name, from) = (self.sets[at].name().to_owned(), self.sets[at].wanted);
        let sizes = [(DESIRED, self.wanted), (MAX, self.wanted + self.max_surge())];
        let written = self.cx.edit((KINDS.replica_set, self.object.namespace(), &name), |doc| {
            if let Some(spec) = doc.body.get_mut("spec") {
                spec["replicas"] = json!(size);
            }
            let annotations = doc.metadata.annotations.get_or_insert_default();
            annotations.extend(sizes.map(|(key, value)| (key.to_owned(), value.to_string())));
        });
        if let Some(written) = written {
            self.sets[at] = Set::new(written);
        }
        if size != from {
            let way = if size > from { "up" } else { "down" };
            let text = format!("Scaled {way} replica set {name} from {from} to {size}");
            self.cx.normal(&self.about, SOURCE, "ScalingReplicaSet", text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn halves_go_away_from_zero() {
        assert_eq!([rounded(5, 2), rounded(-5, 2), rounded(4, 3), rounded(0, 3)], [3, -3, 1, 0]);
    }
}
