//! What is thought to come: as much, as large and as urgent as came in the last period, each a period later.
//!
//! Times are whole units of the caller's (nanoseconds, slots). Pure; bounded by [`SEEN_MAX`]. Left out: trends, and
//! bursts that no period before has had.

use std::collections::VecDeque;

/// Arrivals remembered at most: the latest.
const SEEN_MAX: usize = 10_000;

/// What came within the last period, in the order it was seen.
#[derive(Clone, Debug)]
pub struct Arrivals<T> {
    period: i64,
    least: i64,
    since: Option<i64>,
    seen: VecDeque<(i64, T)>,
}

impl<T> Arrivals<T> {
    /// After `period` the same comes again: a day, so that nights and days are both in it. Before one is known, what
    /// came is thought to come again after what is known, but not before `least`.
    pub fn new(period: i64, least: i64) -> Arrivals<T> {
        Arrivals { period, least: least.clamp(1, period.max(1)), since: None, seen: VecDeque::new() }
    }

    /// Takes in what came.
    pub fn take_in(&mut self, came: i64, what: T, now: i64) {
        self.since = Some(self.since.map_or(came, |since| since.min(came)));
        while self.seen.len() >= SEEN_MAX || self.seen.front().is_some_and(|(at, _)| at + self.period < now) {
            self.seen.pop_front();
        }
        if came + self.period >= now {
            self.seen.push_back((came, what));
        }
    }

    /// What is thought to come in the next period, the nearest first: how much later it comes than what it is like.
    pub fn expected(&self, now: i64) -> Vec<(i64, &T)> {
        let Some(since) = self.since else { return Vec::new() };
        let period = (now - since).max(self.least).min(self.period);
        let mut found = Vec::new();
        for (came, what) in &self.seen {
            let mut later = period;
            while came + later < now + self.period {
                if came + later > now {
                    found.push((came + later, later, what));
                }
                later += period;
            }
        }
        found.sort_by_key(|(at, ..)| *at);
        found.into_iter().map(|(_, later, what)| (later, what)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(arrivals: &Arrivals<i64>, now: i64) -> Vec<i64> {
        arrivals.expected(now).into_iter().map(|(later, came)| came + later).collect()
    }

    #[test]
    fn what_came_comes_again_a_day_later() {
        let mut arrivals = Arrivals::new(24, 6);
        for hour in [0, 3, 20, 30, 31] {
            arrivals.take_in(hour, hour, hour);
        }
        assert_eq!(expected(&arrivals, 40), [44, 54, 55]);
        arrivals.take_in(60, 60, 60);
        assert_eq!(expected(&arrivals, 60), [0; 0], "nothing came for a day but what is here now");
        assert_eq!(expected(&arrivals, 61), [84]);
    }

    #[test]
    fn before_a_day_is_known_it_comes_again_after_what_is_known() {
        let mut arrivals = Arrivals::new(24, 6);
        assert_eq!(expected(&arrivals, 0), [0; 0]);
        arrivals.take_in(0, 0, 0);
        assert_eq!(expected(&arrivals, 1), [6, 12, 18, 24]);
        arrivals.take_in(8, 8, 8);
        assert_eq!(expected(&arrivals, 10), [18, 20, 28, 30]);
    }
}
