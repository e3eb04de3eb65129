//! What a cluster's nodes and pods really use: asked of Prometheus where one is named, else of `metrics.k8s.io`, for
//! as long as the cluster is watched.
//!
//! Invariants: nothing but GET is sent; each request has a bound of time, size and count, and so has a whole look. A
//! source that fails is left alone for a while, longer each time, and meanwhile the next one stands in; the report
//! says so, and where nobody answers, why. No clock is read: what time it is, is handed in. What is not measured is
//! left out, never made up. Left out: which figures people are shown.

mod bounded;
mod metrics;
mod prometheus;

pub use prometheus::{Prometheus, Scope, limits as prometheus_limits};

use super::backoff::Backoff;
use control::usage::{AGE_MAX, UsageReport};
use fleet::Instant;
use futures::FutureExt;
use metrics::Metrics;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant as Tick, sleep, timeout};

/// How often and how long a cluster is asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Longest between two looks; the shortest is half of it, by lot, so that clusters are not asked all at once.
    pub interval: Duration,
    /// Longest a look at one source may take.
    pub look_max: Duration,
    /// Longest a source that fails is left alone.
    pub rest_max: Duration,
}

/// 60 s is what metrics-server and most scrapers measure over; three of them in a row may fail before a report is too
/// old ([`AGE_MAX`]). A metrics server that is installed later is found within five minutes.
impl Default for Pace {
    fn default() -> Pace {
        Pace {
            interval: Duration::from_secs(60),
            look_max: Duration::from_secs(60),
            rest_max: Duration::from_secs(300),
        }
    }
}

/// The wall's time, for what a report says of itself.
pub type Now = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Asks for one cluster's use, again and again.
pub struct Poller {
    prometheus: Option<(Prometheus, Guard)>,
    metrics: (Metrics, Guard),
    now: Now,
    pause: Backoff,
    begun: bool,
}

impl Poller {
    /// Of the cluster called `name`, whose API `client` reaches; `prometheus` comes before that, where there is one.
    pub fn new(
        name: &str,
        client: kube::Client,
        prometheus: Option<Prometheus>,
        now: Now,
        pace: Pace,
    ) -> Poller {
        let guard = |source: &str| Guard::new(&format!("{name}/{source}"), pace);
        Poller {
            prometheus: prometheus.map(|prometheus| (prometheus, guard("prometheus"))),
            metrics: (Metrics::new(client), guard("metrics.k8s.io")),
            now,
            pause: Backoff::within(name, pace.interval, pace.interval),
            begun: false,
        }
    }

    /// The next look: the first at once, each other after a pause.
    ///
    /// # Errors
    /// In words, when nobody says what is used: each source with its reason.
    pub async fn next(&mut self) -> Result<Arc<UsageReport>, String> {
        if self.begun {
            sleep(self.pause.delay()).await;
        }
        self.begun = true;
        let now = (self.now)();
        let mut without = None;
        if let Some((prometheus, guard)) = &mut self.prometheus {
            match guard.ask(prometheus.look(now).boxed()).await {
                Ok(report) => return Ok(Arc::new(report)),
                Err(why) => without = Some(why),
            }
        }
        let (metrics, guard) = &mut self.metrics;
        match (guard.ask(metrics.look(now).boxed()).await, without) {
            (Ok(mut report), Some(why)) => {
                report.from.source = format!("{} (not {why})", report.from.source);
                Ok(Arc::new(report))
            }
            (Ok(report), None) => Ok(Arc::new(report)),
            (Err(why), Some(without)) => Err(format!("{without}; {why}")),
            (Err(why), None) => Err(why),
        }
    }
}

/// Stands before a source: bounds what a look takes, and leaves it alone when it fails.
struct Guard {
    look_max: Duration,
    backoff: Backoff,
    /// Not asked before, and why.
    rest: Option<(Tick, String)>,
}

impl Guard {
    fn new(seed: &str, pace: Pace) -> Guard {
        let backoff = Backoff::within(seed, pace.interval, pace.rest_max);
        Guard { look_max: pace.look_max, backoff, rest: None }
    }

    async fn ask<T>(&mut self, look: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        if let Some((until, why)) = &self.rest
            && Tick::now() < *until
        {
            return Err(why.clone());
        }
        let late = || Err(format!("no whole answer within {:?}", self.look_max));
        let looked = timeout(self.look_max, look).await.unwrap_or_else(|_| late());
        match &looked {
            Ok(_) => {
                self.backoff.reset();
                self.rest = None;
            }
            Err(why) => self.rest = Some((Tick::now() + self.backoff.delay(), why.clone())),
        }
        looked
    }
}

/// The end of a window as a report states it: that of its newest sample, while clocks agree. Where the cluster's clock
/// is off by more than a report may be old, the present, if the sample is another one than before; so that neither a
/// clock makes every report too old, nor a server that stands still has new ones.
#[derive(Debug, Default)]
struct Age {
    newest: Option<Instant>,
    stated: Option<Instant>,
}

impl Age {
    fn stated(&mut self, newest: Instant, now: Instant) -> Instant {
        let apart = (now - newest).as_nanos().abs() > AGE_MAX.as_nanos();
        let stated = match self.stated {
            Some(before) if self.newest == Some(newest) => before,
            // The first look cannot tell an old sample from a slow clock.
            _ if apart && self.newest.is_some() => now,
            _ => newest.min(now),
        };
        (self.newest, self.stated) = (Some(newest), Some(stated));
        stated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::Span;

    fn pace() -> Pace {
        Pace { look_max: Duration::from_secs(10), ..Pace::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_is_left_alone_longer_each_time_and_a_slow_one_is_not_waited_for() {
        let mut guard = Guard::new("kr", pace());
        let begun = Tick::now();
        let slow = guard.ask(std::future::pending::<Result<(), String>>()).await;
        assert_eq!(slow, Err("no whole answer within 10s".to_owned()));
        assert_eq!(begun.elapsed().as_secs(), 10);
        let mut asked = Vec::new();
        while begun.elapsed() < Duration::from_secs(1800) {
            let at = begun.elapsed().as_secs();
            let failed = guard
                .ask(async {
                    asked.push(at);
                    Err::<(), _>("down".to_owned())
                })
                .await;
            assert!(failed.is_err());
            sleep(Duration::from_secs(1)).await;
        }
        let gaps: Vec<u64> = asked.windows(2).map(|two| two[1] - two[0]).collect();
        assert!((4..=14).contains(&asked.len()), "{asked:?}");
        assert!(gaps.iter().all(|gap| (30..=301).contains(gap)), "{gaps:?}");
        assert!(gaps.last() > gaps.first(), "{gaps:?}");
        sleep(Duration::from_secs(300)).await;
        assert_eq!(guard.ask(async { Ok(1) }).await, Ok(1));
        assert_eq!(guard.ask(async { Ok(2) }).await, Ok(2), "asked at once after an answer");
    }

    #[test]
    fn a_clock_that_is_off_makes_no_report_old_and_a_server_that_stands_still_no_new_one() {
        let at = |seconds| Instant::from_unix_seconds(1_800_000_000) + Span::from_seconds(seconds);
        let mut age = Age::default();
        assert_eq!(age.stated(at(0), at(20)), at(0));
        assert_eq!(age.stated(at(0), at(80)), at(0), "nothing new");
        assert_eq!(age.stated(at(70), at(60)), at(60), "not of the future");
        let mut slow = Age::default();
        assert_eq!(slow.stated(at(-900), at(0)), at(-900));
        assert_eq!(slow.stated(at(-840), at(60)), at(60), "it goes on: the clock is slow");
        assert_eq!(slow.stated(at(-840), at(120)), at(60), "it stands still");
    }
}
