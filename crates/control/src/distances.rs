//! How far clusters are apart: by what was measured from here where that says it, else by the tables of regions.
//!
//! Every plan needs that of every two clusters, and the built-in tables are text that is read through for each question: of fifty
//! clusters that was most of what a plan for one Job more took. So regions are looked up once a pair, when a cluster comes.
//!
//! What is measured is how long each API server takes to answer this process. Where one answers within [`BESIDE`], this process
//! stands beside it, in it or next door, and how long another one takes is how far the two are apart. From anywhere else it says
//! nothing of two others: networks are no plane. Units: ms, and whether two regions count as near.

use fleet::{ClusterId, RegionId, Span, builtin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Round trip assumed between regions the tables do not know, in ms.
const LATENCY_UNKNOWN_MS: f64 = 150.0;

/// An API server that answers within this stands beside this process: zones of a region are a millisecond or two apart, regions ten
/// and more (the built-in table's nearest pair: 8 ms), and the answer itself takes a millisecond.
const BESIDE: Span = Span::from_nanos(5_000_000);

/// How long a cluster's API server took to answer this process lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundTrip {
    /// The quickest answer.
    pub least: Span,
    /// The median.
    pub median: Span,
    /// Of so many answers.
    pub answers: usize,
}

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

/// All pairs of the regions clusters are in, and what was measured of clusters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distances {
    regions: BTreeMap<RegionId, BTreeMap<RegionId, Apart>>,
    trips: BTreeMap<ClusterId, RoundTrip>,
}

impl Distances {
    /// A cluster is in this region.
    pub fn learn(&mut self, region: &RegionId) {
        if self.regions.contains_key(region) {
            return;
        }
        let mut from = BTreeMap::from([(region.clone(), Apart::of(region, region))]);
        for (other, to) in &mut self.regions {
            to.insert(region.clone(), Apart::of(other, region));
            from.insert(other.clone(), Apart::of(region, other));
        }
        self.regions.insert(region.clone(), from);
    }

    /// How long a cluster's API server takes to answer, as it is known now; `None`: it does not.
    pub fn measured(&mut self, cluster: &ClusterId, trip: Option<RoundTrip>) {
        match trip {
            Some(trip) => self.trips.insert(cluster.clone(), trip),
            None => self.trips.remove(cluster),
        };
    }

    /// That.
    pub fn round_trip(&self, cluster: &ClusterId) -> Option<RoundTrip> {
        self.trips.get(cluster).copied()
    }

    /// Round trip between two clusters, in ms: measured where this process stands beside one of them, else that of their regions.
    pub fn latency_ms(&self, a: (&ClusterId, &RegionId), b: (&ClusterId, &RegionId)) -> f64 {
        let measured = || {
            let (a, b) = (self.trips.get(a.0)?.median, self.trips.get(b.0)?.median);
            (a.min(b) <= BESIDE).then(|| a.max(b).as_nanos() as f64 / 1e6)
        };
        measured().unwrap_or_else(|| self.between(a.1, b.1).latency_ms)
    }

    /// From one to another.
    pub fn between(&self, a: &RegionId, b: &RegionId) -> Apart {
        let known = self.regions.get(a).and_then(|to| to.get(b));
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
            assert_eq!(distances.regions[a].len(), regions.len());
            assert!(regions.iter().all(|b| distances.between(a, b) == Apart::of(a, b)));
        }
        assert_eq!(
            distances.between(&regions[0], &regions[2]),
            Apart { latency_ms: LATENCY_UNKNOWN_MS, near: false }
        );
    }

    #[test]
    fn what_is_measured_counts_where_this_process_stands_beside_one_of_two() {
        let [kr, uk, us] = ["kr", "uk", "us"].map(|id| ClusterId::new(id).unwrap());
        let [seoul, london, virginia] =
            ["ap-northeast-2", "eu-west-2", "us-east-1"].map(|id| RegionId::new(id).unwrap());
        let mut distances = Distances::default();
        let latency = |distances: &Distances| distances.latency_ms((&kr, &seoul), (&uk, &london));
        let table = builtin::round_trip_ms(&seoul, &london).unwrap();
        let trip = |ms: i64| {
            let median = Span::from_nanos(ms * 1_000_000);
            Some(RoundTrip { least: median, median, answers: 3 })
        };
        assert_eq!(latency(&distances), table);
        distances.measured(&uk, trip(212));
        assert_eq!(latency(&distances), table, "of one of them nothing is known");
        distances.measured(&kr, trip(90));
        assert_eq!(latency(&distances), table, "from elsewhere nothing can be told");
        distances.measured(&kr, trip(3));
        assert_eq!(latency(&distances), 212.0);
        assert_eq!(distances.latency_ms((&uk, &london), (&kr, &seoul)), 212.0, "both ways");
        distances.measured(&us, trip(180));
        assert_eq!(
            distances.latency_ms((&uk, &london), (&us, &virginia)),
            builtin::round_trip_ms(&london, &virginia).unwrap()
        );
        distances.measured(&uk, None);
        assert_eq!((latency(&distances), distances.round_trip(&uk)), (table, None));
    }
}
