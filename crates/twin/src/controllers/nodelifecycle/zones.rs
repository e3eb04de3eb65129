//! How fast nodes that do not answer are tainted for eviction, zone by zone.
//!
//! As node-lifecycle-controller 1.36 does by its defaults: each zone has one token, which comes back at the zone's rate. A
//! zone of which most nodes are lost is slowed down or stopped, since it is likelier that the way to it is broken than
//! that they all are. When every zone is wholly lost nothing is evicted until a node answers again. Pure; a rate is given
//! as the seconds between two nodes.

use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Between two nodes of a zone: `--node-eviction-rate` of 0.1 a second.
const SECONDS: i64 = 10;
/// The same in a large zone partly lost: `--secondary-node-eviction-rate` of 0.01 a second.
const SECONDS_SECONDARY: i64 = 100;
/// Share of its nodes, in percent, from which a zone counts as partly lost: `--unhealthy-zone-threshold` of 0.55.
const PARTIAL_PERCENT: usize = 55;
/// How many nodes more than which must be lost for that.
const PARTIAL_MIN: usize = 2;
/// How many nodes more than which a zone must have to go on when partly lost: `--large-cluster-size-threshold`.
const LARGE: usize = 50;

/// How much of a zone is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Disruption {
    #[default]
    Normal,
    Partial,
    Full,
}

impl Disruption {
    fn of(ready: usize, lost: usize) -> Disruption {
        match lost {
            0 => Disruption::Normal,
            _ if ready == 0 => Disruption::Full,
            _ if lost > PARTIAL_MIN && lost * 100 >= PARTIAL_PERCENT * (ready + lost) => Disruption::Partial,
            _ => Disruption::Normal,
        }
    }
    /// Seconds between two nodes of a zone of this size; `None`: none at all.
    fn pace(self, nodes: usize) -> Option<i64> {
        match self {
            Disruption::Normal | Disruption::Full => Some(SECONDS),
            Disruption::Partial => (nodes > LARGE).then_some(SECONDS_SECONDARY),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Zone {
    disruption: Disruption,
    pace: Option<i64>,
    /// When it has its token, or will have.
    token_at: Instant,
    /// Nodes that wait for it, first come first.
    waiting: VecDeque<Arc<str>>,
}

impl Default for Zone {
    fn default() -> Zone {
        let disruption = Disruption::Normal;
        Zone { disruption, pace: disruption.pace(0), token_at: Instant::EPOCH, waiting: VecDeque::new() }
    }
}

impl Zone {
    /// Goes on at another pace: with a token if it has one now, else it has to wait for it.
    fn set_pace(&mut self, pace: Option<i64>, now: Instant) {
        if pace == self.pace {
            return;
        }
        let has = self.pace.is_some() && self.token_at <= now;
        self.pace = pace;
        self.token_at = if has { now } else { now + Span::from_seconds(pace.unwrap_or(0)) };
    }
}

/// All zones of a cluster that have nodes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Zones(BTreeMap<String, Zone>);

impl Zones {
    /// Whether nothing is remembered that matters: no zone is lost, waits, or has given its token away.
    pub(super) fn is_idle(&self) -> bool {
        let idle = |zone: &Zone| {
            zone.disruption == Disruption::Normal
                && zone.waiting.is_empty()
                && zone.token_at == Instant::EPOCH
        };
        self.0.values().all(idle)
    }
    /// Takes in how many nodes of each zone are ready and how many are lost. Whether evictions stop everywhere now:
    /// no node of any zone answers any more.
    pub(super) fn look(&mut self, counts: &BTreeMap<String, (usize, usize)>, now: Instant) -> bool {
        self.0.retain(|name, _| counts.contains_key(name));
        let all = |zones: &BTreeMap<String, Zone>| {
            !zones.is_empty() && zones.values().all(|zone| zone.disruption == Disruption::Full)
        };
        let were_lost = all(&self.0) && counts.keys().all(|name| self.0.contains_key(name));
        let mut paces = BTreeMap::new();
        for (name, (ready, lost)) in counts {
            let zone = self.0.entry(name.clone()).or_default();
            zone.disruption = Disruption::of(*ready, *lost);
            paces.insert(name, zone.disruption.pace(ready + lost));
        }
        let are_lost = all(&self.0);
        for (name, zone) in &mut self.0 {
            let pace = if are_lost { None } else { paces.get(name).copied().flatten() };
            zone.set_pace(pace, now);
        }
        are_lost && !were_lost
    }
    /// A node that is to be tainted waits for its turn, if it does not yet.
    pub(super) fn wait(&mut self, zone: &str, node: &Arc<str>) {
        let zone = self.0.entry(zone.to_owned()).or_default();
        if !zone.waiting.contains(node) {
            zone.waiting.push_back(node.clone());
        }
    }
    /// A node does not wait any longer.
    pub(super) fn forget(&mut self, node: &str) {
        self.0.values_mut().for_each(|zone| zone.waiting.retain(|other| &**other != node));
    }
    /// The nodes whose turn it is.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut due = Vec::new();
        for zone in self.0.values_mut() {
            while let Some(pace) = zone.pace.filter(|_| zone.token_at <= now)
                && let Some(node) = zone.waiting.pop_front()
            {
                zone.token_at = now + Span::from_seconds(pace);
                due.push(node);
            }
        }
        due
    }
    /// When the next node's turn comes.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let waits = |zone: &&Zone| zone.pace.is_some() && !zone.waiting.is_empty();
        self.0.values().filter(waits).map(|zone| zone.token_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a story, a line an instant: seconds, then for each zone `NAME:READY+LOST`. All that are lost wait; says who
    /// was tainted when, until the last line's instant.
    fn play(story: &str) -> String {
        let mut zones = Zones::default();
        let (mut told, mut tainted) = (Vec::new(), std::collections::BTreeSet::new());
        let mut lines = story.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        while let Some(line) = lines.next() {
            let (second, rest) = line.split_once(' ').unwrap_or((line, ""));
            let second: i64 = second.parse().unwrap();
            let mut counts = BTreeMap::new();
            for part in rest.split_whitespace() {
                let (name, numbers) = part.split_once(':').unwrap();
                let (ready, lost) = numbers.split_once('+').unwrap();
                counts.insert(name.to_owned(), (ready.parse().unwrap(), lost.parse().unwrap()));
            }
            let now = |second: i64| Instant::from_unix_seconds(1_000_000 + second);
            if zones.look(&counts, now(second)) {
                told.push(format!("{second}:stop"));
                tainted.clear();
            }
            for (name, (_, lost)) in &counts {
                for i in 0..60 {
                    let node: Arc<str> = format!("{name}{i}").into();
                    if i >= *lost {
                        zones.forget(&node);
                    } else if !tainted.contains(&node) {
                        zones.wait(name, &node);
                    }
                }
            }
            let until =
                lines.peek().and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(second + 1);
            for at in second..until {
                for node in zones.due(now(at)) {
                    told.push(format!("{at}:{node}"));
                    tainted.insert(node);
                }
            }
        }
        told.join(" ")
    }

    #[test]
    fn nodes_are_tainted_one_by_one_and_zones_that_are_mostly_lost_are_left_alone() {
        for (story, expected) in [
            // One node at once, the next ten seconds later; zones do not wait for each other.
            ("0 a:9+1 b:9+0\n5 a:8+2 b:9+1\n60", "0:a0 5:b0 10:a1"),
            // Three of five in a zone of less than fifty: none; once most answer again, those that are left.
            ("0 a:2+3 b:5+0\n300 a:3+2 b:5+0\n400", "310:a0 320:a1"),
            // Two lost are not many, whatever their share.
            ("0 a:1+2 b:5+0\n60", "0:a0 10:a1"),
            // A large zone goes on slowly.
            ("0 a:22+33 b:5+0\n250", "0:a0 100:a1 200:a2"),
            // A zone wholly lost is evicted at the usual pace as long as another one answers.
            ("0 a:0+3 b:2+1\n60", "0:a0 0:b0 10:a1 20:a2"),
            // When none does, no more; when one does again, a token has to come first.
            ("0 a:0+2 b:1+0\n15 a:0+2 b:0+1\n500 a:0+2 b:1+0\n530", "0:a0 10:a1 15:stop 510:a0 520:a1"),
            ("0 a:0+3\n100", "0:stop"),
        ] {
            assert_eq!(play(story), expected, "{story}");
        }
    }
}
