//! How long a cluster's API server takes to answer this process: what the network between them takes, and a little for the answer.
//!
//! Invariants: a look is two small GETs of `/version`, which whoever is let in may read; the first opens the connection and does not
//! count; each has a bound of time. Only the last [`KEPT`] answers count, and none once one is missing. No time decides anything here.

use super::backoff::Backoff;
use control::RoundTrip;
use fleet::Span;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant as Tick, sleep, timeout};

/// Longest between two looks; the shortest is half of it, by lot.
pub const INTERVAL: Duration = Duration::from_secs(60);
/// Answers that count: those of a quarter of an hour, so that a slow one moves no figure.
pub const KEPT: usize = 15;
/// Longest an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Asks one cluster again and again.
pub struct RoundTrips {
    client: kube::Client,
    last: VecDeque<Duration>,
    pause: Backoff,
    begun: bool,
}

impl RoundTrips {
    /// Of the cluster called `name`, asked at most every `interval`.
    pub fn new(name: &str, client: kube::Client, interval: Duration) -> RoundTrips {
        let pause = Backoff::within(&format!("{name}/version"), interval, interval);
        RoundTrips { client, last: VecDeque::with_capacity(KEPT), pause, begun: false }
    }

    /// The next look: the first at once, each other after a pause. `None`: it does not answer, or refuses.
    pub async fn next(&mut self) -> Option<RoundTrip> {
        if self.begun {
            sleep(self.pause.delay()).await;
        }
        self.begun = true;
        match self.look().await {
            Some(took) => {
                if self.last.len() == KEPT {
                    self.last.pop_front();
                }
                self.last.push_back(took);
            }
            None => self.last.clear(),
        }
        summary(self.last.iter().copied())
    }

    async fn look(&self) -> Option<Duration> {
        let answer = || timeout(ANSWER_MAX, self.client.apiserver_version());
        answer().await.ok()?.ok()?;
        let begun = Tick::now();
        answer().await.ok()?.ok()?;
        Some(begun.elapsed())
    }
}

/// The quickest and the median; of two in the middle the quicker.
fn summary(all: impl Iterator<Item = Duration>) -> Option<RoundTrip> {
    let mut all: Vec<i64> = all.map(|took| i64::try_from(took.as_nanos()).unwrap_or(i64::MAX)).collect();
    all.sort_unstable();
    let median = *all.get(all.len().checked_sub(1)? / 2)?;
    let least = Span::from_nanos(all[0]);
    Some(RoundTrip { least, median: Span::from_nanos(median), answers: all.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_answer_moves_no_median() {
        let of = |ms: &[u64]| {
            let trip = summary(ms.iter().map(|ms| Duration::from_millis(*ms)))?;
            Some((trip.least.as_nanos() / 1_000_000, trip.median.as_nanos() / 1_000_000, trip.answers))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some((7, 7, 1)));
        assert_eq!(of(&[9, 7]), Some((7, 7, 2)));
        assert_eq!(of(&[9, 4000, 8]), Some((8, 9, 3)));
    }
}
