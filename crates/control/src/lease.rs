//! Who may write to which cluster, where several processes run on one fleet: a Lease in each cluster.
//!
//! Whoever holds a cluster's Lease is the only one to write there, so a cluster that vanishes stops nobody on the others,
//! and what decides is the server that takes the writes. One process leads the whole fleet as long as it reaches all of
//! it: the Lease of the *first* cluster (by uid, the same for every process) goes before. Who finds that one held by
//! somebody else takes no other that is looked after, and gives up what it holds after [`YIELD_AFTER`].
//!
//! Invariants: a holder that could not renew within [`RENEW_WITHIN`] has stopped before anybody may follow it, which is
//! [`DURATION`] after its stamp was last *seen* to change. Nobody's clock is compared with another's: a stamp is only
//! told from the one before, and times are the reader's own. A clock that may stand still (a machine that slept) only
//! makes one wait longer for others, and one that may jump only makes one stop earlier: see [`Now`].

use fleet::{ClusterId, Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a Lease counts that nobody renews. The guard's start margin is 120 s: a new leader has most of it left.
pub const DURATION: Span = Span::from_seconds(30);
/// A holder that did not renew for so long writes no more.
pub const RENEW_WITHIN: Span = Span::from_seconds(20);
/// How often a Lease is renewed, or looked at by who does not hold it.
pub const RETRY: Span = Span::from_seconds(5);
/// A Lease that the holder of the first one has left alone for so long may be taken: it cannot reach that cluster.
pub const CLAIM_AFTER: Span = Span::from_seconds(60);
/// Who holds a Lease, but not the first one, gives it up after so long: the holder of the first one may reach that
/// cluster again.
pub const YIELD_AFTER: Span = Span::from_seconds(600);

/// The reader's own time, by two clocks that both only go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Never runs ahead: by it others' Leases end.
    pub slow: Instant,
    /// Never falls behind: by it one's own end.
    pub fast: Instant,
}

/// A Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its resourceVersion: a write under it takes nobody by surprise.
    pub version: String,
    /// Who holds it; `None`: nobody.
    pub holder: Option<String>,
    /// When its holder renewed it, in the holder's words; only ever told from another.
    pub stamp: String,
    /// How long its holder says it counts.
    pub duration: Span,
}

/// A write of a Lease, under its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Take it from nobody, or from who let it expire.
    Take {
        /// The version seen.
        version: String,
    },
    /// Go on holding it.
    Renew {
        /// The version seen.
        version: String,
    },
    /// Hold it no more.
    Release {
        /// The version seen.
        version: String,
    },
}

/// A cluster's Lease as far as it is known.
#[derive(Clone, Debug, Default)]
struct Known {
    uid: String,
    /// What was seen last.
    seen: Option<Seen>,
    /// By the slow clock: since when it has looked like this.
    since: Option<Instant>,
    /// By the slow clock: since when nobody holds it.
    free_since: Option<Instant>,
    /// By the fast clock: until when one may write.
    valid_until: Option<Instant>,
    /// By the slow clock: since when one holds it without a break.
    held_since: Option<Instant>,
    /// By the slow clock: when somebody last was seen to hold it.
    shown: Option<Instant>,
    /// Why it could not be read or written last.
    failing: Option<String>,
}

/// Who leads a cluster, as seen by this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Leader {
    /// This process.
    Us,
    /// Somebody else.
    Other(String),
    /// Nobody, or nobody knows; in words.
    Nobody(String),
}

/// Who takes part in the choice of leaders.
#[derive(Clone, Debug)]
pub struct Elector {
    us: String,
    clusters: BTreeMap<ClusterId, Known>,
    /// Only gives up what it holds.
    resigned: bool,
}

impl Elector {
    /// One called `us`: no other process may ever be called so.
    pub fn new(us: String) -> Elector {
        Elector { us, clusters: BTreeMap::new(), resigned: false }
    }

    /// Takes part for a cluster, or knows its uid anew.
    pub fn join(&mut self, cluster: ClusterId, uid: String) {
        self.clusters.entry(cluster).or_default().uid = uid;
    }

    /// From now on holds nothing.
    pub fn resign(&mut self) {
        self.resigned = true;
    }

    /// The clusters it takes part for, the first one first.
    pub fn clusters(&self) -> Vec<ClusterId> {
        let mut all: Vec<(&String, &ClusterId)> = self.clusters.iter().map(|(id, k)| (&k.uid, id)).collect();
        all.sort();
        all.into_iter().map(|(_, id)| id.clone()).collect()
    }

    /// A Lease was read.
    pub fn saw(&mut self, cluster: &ClusterId, seen: Seen, now: Now) {
        let Some(known) = self.clusters.get_mut(cluster) else { return };
        known.failing = None;
        let mark = |s: &Seen| (s.holder.clone(), s.stamp.clone());
        if known.seen.as_ref().map(mark) != Some(mark(&seen)) {
            known.since = Some(now.slow);
        }
        if seen.holder.as_ref() != Some(&self.us) {
            (known.valid_until, known.held_since) = (None, None);
        }
        let held_by_another = seen.holder.as_ref().is_some_and(|holder| *holder != self.us);
        known.seen = Some(seen);
        let free = known.free(&self.us, now);
        if held_by_another && !free {
            known.shown = known.since;
        }
        known.free_since = known.free_since.filter(|_| free).or(free.then_some(now.slow));
    }

    /// A Lease was written: `sent` is when the write was sent, `seen` what the server answered.
    pub fn wrote(&mut self, cluster: &ClusterId, seen: Seen, sent: Now) {
        self.saw(cluster, seen, sent);
        let resigned = self.resigned;
        let Some(known) = self.clusters.get_mut(cluster) else { return };
        if known.seen.as_ref().and_then(|s| s.holder.as_ref()) == Some(&self.us) && !resigned {
            known.valid_until = Some(sent.fast + RENEW_WITHIN);
            known.shown = Some(sent.slow);
            known.held_since = known.held_since.or(Some(sent.slow));
        } else {
            (known.valid_until, known.held_since) = (None, None);
        }
    }

    /// A Lease could not be read or written; what was held counts until it ends.
    pub fn failed(&mut self, cluster: &ClusterId, why: String) {
        if let Some(known) = self.clusters.get_mut(cluster) {
            known.failing = Some(why);
        }
    }

    /// What to write now to the Lease of a cluster, once it has been read.
    pub fn wants(&self, cluster: &ClusterId, now: Now) -> Option<Write> {
        let known = self.clusters.get(cluster)?;
        let seen = known.seen.as_ref().filter(|_| known.failing.is_none())?;
        let version = seen.version.clone();
        let ours = seen.holder.as_ref() == Some(&self.us);
        let leads = self.is_first(cluster, now);
        if ours {
            let held = |since: Instant| now.slow - since >= YIELD_AFTER;
            let yields = self.resigned || (!leads && known.held_since.is_some_and(held));
            return Some(if yields { Write::Release { version } } else { Write::Renew { version } });
        }
        let left_alone = known.free_since.is_some_and(|since| now.slow - since >= CLAIM_AFTER);
        let takes = !self.resigned && known.free(&self.us, now) && (leads || left_alone);
        takes.then_some(Write::Take { version })
    }

    /// Whether nobody else goes before for this cluster: it is the first that can be reached, or that one's is ours.
    fn is_first(&self, cluster: &ClusterId, now: Now) -> bool {
        let answers = |id: &&ClusterId| self.clusters.get(*id).is_some_and(|k| k.answers());
        let all = self.clusters();
        let Some(first) = all.iter().find(answers) else { return false };
        first == cluster || self.holds_until(first).is_some_and(|until| now.fast < until)
    }

    /// By the fast clock, until when this process may write to a cluster; `None`: not at all.
    pub fn holds_until(&self, cluster: &ClusterId) -> Option<Instant> {
        self.clusters.get(cluster)?.valid_until.filter(|_| !self.resigned)
    }

    /// Why this process may not write to a cluster, in words: who leads it, or that nobody has shown to, and since when.
    pub fn refusal(&self, cluster: &ClusterId, now: Now) -> String {
        let shown = self.clusters.get(cluster).and_then(|known| known.shown);
        let ago = shown.map(|at| format!("{} s", (now.slow - at).as_seconds().max(0)));
        match (self.leader(cluster, now), ago) {
            (Leader::Us, _) => "the right to write to it has just ended".to_owned(),
            (Leader::Other(who), ago) => {
                let ago = ago.map(|ago| format!(" (it showed so {ago} ago)")).unwrap_or_default();
                format!("{who} leads this cluster{ago}")
            }
            (Leader::Nobody(why), Some(ago)) => {
                format!("nobody has shown to lead this cluster for {ago}: {why}")
            }
            (Leader::Nobody(why), None) => {
                format!("nobody has shown to lead this cluster since this process began: {why}")
            }
        }
    }

    /// Who leads a cluster.
    pub fn leader(&self, cluster: &ClusterId, now: Now) -> Leader {
        if self.holds_until(cluster).is_some_and(|until| now.fast < until) {
            return Leader::Us;
        }
        let Some(known) = self.clusters.get(cluster) else {
            return Leader::Nobody("its Lease has not been asked for yet".to_owned());
        };
        if let Some(why) = &known.failing {
            return Leader::Nobody(format!("its Lease cannot be had: {why}"));
        }
        match &known.seen {
            Some(Seen { holder: Some(holder), .. }) if *holder != self.us && !known.free(&self.us, now) => {
                Leader::Other(holder.clone())
            }
            Some(_) => Leader::Nobody("nobody holds its Lease".to_owned()),
            None => Leader::Nobody("its Lease has not been read yet".to_owned()),
        }
    }
}

impl Known {
    /// Whether the Lease is nobody's: given up, or not renewed for as long as it counts.
    fn free(&self, us: &str, now: Now) -> bool {
        let Some(seen) = &self.seen else { return false };
        match &seen.holder {
            None => true,
            Some(holder) if holder == us => true,
            // A holder that asks for less than it is given here is given it all the same.
            Some(_) => self.since.is_some_and(|since| now.slow - since >= seen.duration.max(DURATION)),
        }
    }

    fn answers(&self) -> bool {
        self.failing.is_none() && self.seen.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Now {
        let now = Instant::from_unix_seconds(1_000_000 + seconds);
        Now { slow: now, fast: now }
    }

    fn id(name: &str) -> ClusterId {
        ClusterId::new(name).unwrap()
    }

    /// A server that keeps Leases; each write is under the version it names.
    #[derive(Default)]
    struct Server {
        leases: BTreeMap<ClusterId, (u64, Option<String>, String)>,
    }

    impl Server {
        fn seen(&self, cluster: &ClusterId) -> Seen {
            let (version, holder, stamp) = self.leases.get(cluster).cloned().unwrap_or_default();
            Seen { version: version.to_string(), holder, stamp, duration: DURATION }
        }

        fn write(&mut self, cluster: &ClusterId, us: &str, write: &Write, stamp: i64) -> bool {
            let (Write::Take { version } | Write::Renew { version } | Write::Release { version }) = write;
            let lease = self.leases.entry(cluster.clone()).or_default();
            let holder = (!matches!(write, Write::Release { .. })).then(|| us.to_owned());
            if *version != lease.0.to_string() {
                return false;
            }
            *lease = (lease.0 + 1, holder, stamp.to_string());
            true
        }
    }

    /// One round of one process over the clusters it reaches.
    fn round(elector: &mut Elector, server: &mut Server, reach: &[&str], seconds: i64) {
        for cluster in elector.clusters() {
            if !reach.contains(&cluster.as_str()) {
                elector.failed(&cluster, "no answer".to_owned());
                continue;
            }
            elector.saw(&cluster, server.seen(&cluster), at(seconds));
            if let Some(write) = elector.wants(&cluster, at(seconds)) {
                let us = elector.us.clone();
                if server.write(&cluster, &us, &write, seconds) {
                    elector.wrote(&cluster, server.seen(&cluster), at(seconds));
                }
            }
        }
    }

    fn elector(name: &str) -> Elector {
        let mut elector = Elector::new(name.to_owned());
        elector.join(id("se"), "uid-1".to_owned());
        elector.join(id("kr"), "uid-2".to_owned());
        elector
    }

    fn leads(elector: &Elector, seconds: i64) -> Vec<&'static str> {
        let us = |name: &&&str| elector.leader(&id(name), at(seconds)) == Leader::Us;
        ["kr", "se"].iter().filter(us).copied().collect()
    }

    #[test]
    fn one_leads_and_the_other_follows_it_when_it_is_gone() {
        let (mut a, mut b, mut server) = (elector("a"), elector("b"), Server::default());
        for t in (0..100).step_by(5) {
            round(&mut a, &mut server, &["kr", "se"], t);
            round(&mut b, &mut server, &["kr", "se"], t + 1);
            assert_eq!((leads(&a, t + 2).len(), leads(&b, t + 2).len()), (2, 0), "at {t}");
        }
        assert_eq!(b.leader(&id("kr"), at(97)), Leader::Other("a".to_owned()));
        // a's last round was at 95.
        for t in (100..200).step_by(5) {
            round(&mut b, &mut server, &["kr", "se"], t + 1);
            assert!(leads(&a, t + 2).is_empty() || leads(&b, t + 2).is_empty(), "two at {t}");
        }
        assert_eq!((leads(&a, 200).len(), leads(&b, 199).len()), (0, 2));
    }

    #[test]
    fn why_not_says_who_leads_or_since_when_nobody_has_shown_to() {
        let (mut a, mut b, mut server) = (elector("a"), elector("b"), Server::default());
        let words =
            "nobody has shown to lead this cluster since this process began: its Lease has not been read yet";
        assert_eq!(b.refusal(&id("kr"), at(0)), words);
        round(&mut a, &mut server, &["kr", "se"], 0);
        round(&mut b, &mut server, &["kr", "se"], 3);
        assert_eq!(b.refusal(&id("kr"), at(5)), "a leads this cluster (it showed so 2 s ago)");
        round(&mut a, &mut server, &[], 20);
        let words = "nobody has shown to lead this cluster for 22 s: its Lease cannot be had: no answer";
        assert_eq!(a.refusal(&id("kr"), at(22)), words);
        b.saw(&id("kr"), server.seen(&id("kr")), at(40));
        let words = "nobody has shown to lead this cluster for 37 s: nobody holds its Lease";
        assert_eq!(b.refusal(&id("kr"), at(40)), words, "a's has expired, and b may not take it yet");
    }

    #[test]
    fn who_resigns_is_followed_at_once_and_a_restart_under_the_same_name_goes_on_at_once() {
        let (mut a, mut b, mut server) = (elector("a"), elector("b"), Server::default());
        round(&mut a, &mut server, &["kr", "se"], 0);
        a = elector("a");
        round(&mut a, &mut server, &["kr", "se"], 1);
        assert_eq!(leads(&a, 2).len(), 2);
        a.resign();
        assert!(leads(&a, 2).is_empty(), "it stops before it gives up");
        round(&mut a, &mut server, &["kr", "se"], 3);
        round(&mut b, &mut server, &["kr", "se"], 4);
        assert_eq!(leads(&b, 5).len(), 2);
    }

    #[test]
    fn a_cluster_only_one_reaches_is_led_by_that_one_until_it_can_be_given_back() {
        let (mut a, mut b, mut server) = (elector("a"), elector("b"), Server::default());
        round(&mut a, &mut server, &["kr", "se"], 0);
        // a loses kr, the second cluster; it keeps se.
        let mut taken = None;
        for t in (5..900).step_by(5) {
            round(&mut a, &mut server, if t < 400 { &["se"] } else { &["kr", "se"] }, t);
            round(&mut b, &mut server, &["kr", "se"], t + 1);
            assert!(leads(&a, t + 2).contains(&"se"), "at {t}");
            assert!(leads(&a, t + 2).len() + leads(&b, t + 2).len() <= 2, "two at {t}");
            if leads(&b, t + 2) == ["kr"] {
                taken.get_or_insert(t);
            }
        }
        assert!((90..=110).contains(&taken.unwrap()), "expired at 30, left alone for 60: {taken:?}");
        assert_eq!((leads(&a, 898).len(), leads(&b, 898).len()), (2, 0), "a reaches both again");
    }

    #[test]
    fn a_lost_first_cluster_stops_nobody_on_the_others() {
        let (mut a, mut server) = (elector("a"), Server::default());
        round(&mut a, &mut server, &["kr", "se"], 0);
        for t in (5..60).step_by(5) {
            round(&mut a, &mut server, &["kr"], t);
        }
        assert_eq!(leads(&a, 58), ["kr"]);
        let a_new = &mut elector("c");
        for t in (60..100).step_by(5) {
            round(a_new, &mut server, &["kr"], t);
        }
        assert_eq!(leads(a_new, 98), ["kr"], "nor does it keep another from following");
    }

    #[test]
    fn a_clock_that_jumped_ends_what_is_held_and_takes_nothing() {
        let (mut a, mut b, mut server) = (elector("a"), elector("b"), Server::default());
        round(&mut a, &mut server, &["kr", "se"], 0);
        let jumped = |slow: i64| Now { slow: at(slow).slow, fast: at(slow + 3600).fast };
        assert_eq!(a.leader(&id("se"), at(1)), Leader::Us);
        assert_ne!(a.leader(&id("se"), jumped(1)), Leader::Us);
        round(&mut b, &mut server, &["kr", "se"], 1);
        assert_eq!(b.wants(&id("se"), jumped(2)), None, "a's still counts");
    }
}
