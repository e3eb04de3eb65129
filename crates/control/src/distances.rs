//! How far regions are apart: looked up once a pair, when a cluster comes.
//!
//! Every plan needs that of every two clusters, and the built-in tables are text that is read through for each question: of fifty
//! clusters that was most of what a plan for one Job more took. Units: ms, and whether two regions count as near.

use fleet::{RegionId, builtin};
use std::collections::BTreeMap;

/// Round trip assumed between regions the tables do not know, in ms.
const LATENCY_UNKNOWN_MS: f64 = 150.0;

/// Two regions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Apart {
    /// Round trip.
    pub latency_ms: f64,
    /// Whether they lie on one continent.
    pub near: bool,
}

impl Apart {
    fn of(a: &RegionId, b: &RegionId) -> Apart {
        let latency_ms = builtin::round_trip_ms(a, b).unwrap_or(LATENCY_UNKNOWN_MS);
        Apart { latency_ms, near: builtin::near(a, b) }
    }
}

/// All pairs of the regions clusters are in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distances(BTreeMap<RegionId, BTreeMap<RegionId, Apart>>);

impl Distances {
    /// A cluster is in this region.
    pub fn learn(&mut self, region: &RegionId) {
        if self.0.contains_key(region) {
            return;
        }
        let mut from = BTreeMap::from([(region.clone(), Apart::of(region, region))]);
        for (other, to) in &mut self.0 {
            to.insert(region.clone(), Apart::of(other, region));
            from.insert(other.clone(), Apart::of(region, other));
        }
        self.0.insert(region.clone(), from);
    }

    /// From one to another.
    pub fn between(&self, a: &RegionId, b: &RegionId) -> Apart {
        let known = self.0.get(a).and_then(|to| to.get(b));
        known.copied().unwrap_or_else(|| Apart::of(a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_the_tables_say() {
        let regions =
            ["ap-northeast-2", "eu-west-2", "nowhere-1", "us-east-1"].map(|id| RegionId::new(id).unwrap());
        let mut distances = Distances::default();
        for region in regions.iter().chain(&regions[..2]) {
            distances.learn(region);
        }
        for a in &regions {
            assert_eq!(distances.0[a].len(), regions.len());
            assert!(regions.iter().all(|b| distances.between(a, b) == Apart::of(a, b)));
        }
        assert_eq!(
            distances.between(&regions[0], &regions[2]),
            Apart { latency_ms: LATENCY_UNKNOWN_MS, near: false }
        );
    }
}
