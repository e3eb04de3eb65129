//! Queues of messages and the workers that take from them.
//!
//! Messages of a queue come at a rate and are taken first come, first served, each keeping one worker for a time. Free
//! workers take from the queue of the highest priority that has something; queues of the same priority share them evenly.
//! A message that has waited for its time to live when it is at the head is dead; where a queue is full its oldest goes, as
//! in RabbitMQ. Both are dead letters. What a worker had begun when it ended comes again, at the head.
//!
//! Everything is a fluid at constant rates between changes, and followed from change to change: a queue that runs empty,
//! fills, or whose head becomes too old. Invariant: messages = done + expired + overflowed + open, to the last unit. Units as
//! in [`super::flow`]: amounts in 10⁻¹⁵ of a message, rates in millionths of a message a second. Left out: chance (while
//! workers have time to spare nothing waits), and that messages held by a worker do not expire.

use super::flow::REQUEST;
use super::station::ServiceTime;
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most changes followed within one stretch of time; more means that the fluid goes in circles.
const CHANGES_MAX: usize = 1_000_000;
/// A worker, in billionths.
const WORKER: i128 = 1_000_000_000;

/// What is said of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Messages that come.
    pub rate: i64,
    /// How long one keeps a worker, on average.
    pub takes: Span,
    /// Squared coefficient of variation of that, in thousandths.
    pub scv_milli: i64,
    /// The higher goes first.
    pub priority: i64,
    /// How long a message waits at most.
    pub ttl: Option<Span>,
    /// How many wait at most.
    pub length_max: Option<u64>,
}

/// Messages that came one after the other at one rate, as far as they are left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cohort {
    /// When the first of them came.
    from: Instant,
    /// 0: all of them came then.
    rate: i64,
    gone: i128,
    left: i128,
}

impl Cohort {
    /// Whether what comes from now on at a rate is more of it: it came at that rate and without a pause until now.
    fn goes_on(&self, now: Instant, rate: i64) -> bool {
        let came = i128::from((now - self.from).as_nanos()) * i128::from(rate);
        rate > 0 && self.rate == rate && came == self.gone + self.left
    }
    /// When the oldest that is left came.
    fn oldest(&self) -> Instant {
        if self.rate == 0 {
            return self.from;
        }
        self.from + Span::from_nanos(i64::try_from(self.gone / i128::from(self.rate)).unwrap_or(i64::MAX))
    }
}

/// One queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Queue {
    terms: Terms,
    cohorts: VecDeque<Cohort>,
    waiting: i128,
    in_hand: i128,
    arrived: i128,
    done: i128,
    expired: i128,
    overflowed: i128,
    redelivered: i128,
    /// Whether its head is as old as may be, and goes as fast as it came.
    expires: bool,
}

/// Whole messages by their fate; they sum to all that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// All that came.
    pub messages: i64,
    /// Worked off.
    pub done: i64,
    /// Dead letters: too old.
    pub expired: i64,
    /// Dead letters: the queue was full.
    pub overflowed: i64,
    /// Waiting or being worked on.
    pub open: i64,
    /// Of these, those that wait.
    pub waiting: i64,
    /// Given out a second time, since their worker ended; these are among the others.
    pub redelivered: i64,
}

/// What a worker that got the signal to end had begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Leaving {
    since: Instant,
    /// By queue.
    begun: BTreeMap<Arc<str>, i128>,
}

/// Queues and their workers, up to an instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Broker {
    since: Instant,
    queues: BTreeMap<Arc<str>, Queue>,
    workers: u32,
    leaving: BTreeMap<Arc<str>, Leaving>,
}

fn ceiling(amount: i128, speed: i128) -> i128 {
    (amount + speed - 1) / speed
}

impl Queue {
    fn new(terms: Terms) -> Queue {
        Queue {
            terms,
            cohorts: VecDeque::new(),
            waiting: 0,
            in_hand: 0,
            arrived: 0,
            done: 0,
            expired: 0,
            overflowed: 0,
            redelivered: 0,
            expires: false,
        }
    }
    fn length_max(&self) -> Option<i128> {
        self.terms.length_max.map(|most| i128::from(most) * REQUEST)
    }
    /// How old its head is.
    fn age(&self, now: Instant) -> Span {
        self.cohorts.front().map_or(Span::ZERO, |head| (now - head.oldest()).max(Span::ZERO))
    }
    /// Drops what has become too old at once, and says whether the head goes as fast as it came.
    fn look_at_age(&mut self, now: Instant, served: i64) {
        let Some(ttl) = self.terms.ttl else { return };
        while self.cohorts.front().is_some_and(|head| head.rate == 0) && self.age(now) >= ttl {
            let Some(head) = self.cohorts.pop_front() else { break };
            self.waiting -= head.left;
            self.expired += head.left;
            self.expires = false;
        }
        let head = self.cohorts.front().map_or(0, |head| head.rate);
        self.expires = head > served && (self.expires || self.age(now) >= ttl);
    }
    /// How fast its head goes, workers taking `served` of it.
    fn leaves(&self, served: i64) -> i64 {
        let aged = self.cohorts.front().filter(|_| self.expires).map_or(0, |head| head.rate);
        let full = self.length_max().is_some_and(|most| self.waiting >= most);
        served.max(aged).max(if full { self.terms.rate } else { 0 })
    }
    /// How long until something of it changes, workers taking `served`.
    fn next(&self, now: Instant, served: i64) -> Option<i128> {
        let leaves = i128::from(self.leaves(served));
        let net = i128::from(self.terms.rate) - leaves;
        if self.cohorts.is_empty() && net <= 0 {
            return None;
        }
        let (head_rate, head_left) =
            self.cohorts.front().map_or((self.terms.rate, 0), |head| (head.rate, head.left));
        let grows = self.cohorts.len() == 1 && self.cohorts[0].goes_on(now, self.terms.rate);
        let head_speed = if grows { -net } else { leaves };
        let mut all = Vec::new();
        if head_speed > 0 && head_left > 0 {
            all.push(ceiling(head_left, head_speed));
        }
        if let Some(most) = self.length_max().filter(|most| net > 0 && self.waiting < *most) {
            all.push(ceiling(most - self.waiting, net));
        }
        if let Some(ttl) = self.terms.ttl.filter(|_| !self.expires) {
            let room = i128::from((ttl - self.age(now)).as_nanos());
            let rate = i128::from(head_rate);
            if rate == 0 {
                all.push(room.max(1));
            } else if rate > leaves {
                all.push(ceiling(room * rate, rate - leaves).max(1));
            }
        }
        all.into_iter().min()
    }
    /// Takes up to `amount` from its head.
    fn take(&mut self, amount: i128) -> i128 {
        let mut left = amount.min(self.waiting);
        let taken = left;
        self.waiting -= taken;
        while let Some(head) = self.cohorts.front_mut().filter(|_| left > 0) {
            let part = left.min(head.left);
            head.left -= part;
            head.gone += part;
            left -= part;
            if head.left == 0 {
                self.cohorts.pop_front();
                self.expires = false;
            }
        }
        taken
    }
    fn step(&mut self, now: Instant, nanos: i128, served: i64) {
        let (rate, leaves) = (self.terms.rate, self.leaves(served));
        let come = i128::from(rate) * nanos;
        self.arrived += come;
        if come > 0 {
            let goes_on = self.cohorts.back().is_some_and(|last| last.goes_on(now, rate));
            match self.cohorts.back_mut().filter(|_| goes_on) {
                Some(last) => last.left += come,
                None => self.cohorts.push_back(Cohort { from: now, rate, gone: 0, left: come }),
            }
            self.waiting += come;
        }
        let aged = self.expires;
        let taken = self.take(i128::from(served) * nanos);
        let all = self.in_hand + taken;
        self.in_hand = all.min(i128::from(served) * i128::from(self.terms.takes.as_nanos()));
        self.done += all - self.in_hand;
        let dropped = self.take(i128::from(leaves - served) * nanos);
        if aged {
            self.expired += dropped
        } else {
            self.overflowed += dropped
        }
        let over = self.length_max().map_or(0, |most| (self.waiting - most).max(0));
        self.overflowed += self.take(over);
    }
    fn tally(&self, leaving: i128) -> Tally {
        let whole = |amount: i128| i64::try_from(amount / REQUEST).unwrap_or(i64::MAX);
        let (messages, done) = (whole(self.arrived), whole(self.done));
        let (expired, overflowed) = (whole(self.expired), whole(self.overflowed));
        assert_eq!(
            self.arrived,
            self.done + self.expired + self.overflowed + self.waiting + self.in_hand + leaving
        );
        Tally {
            messages,
            done,
            expired,
            overflowed,
            open: messages - done - expired - overflowed,
            waiting: whole(self.waiting),
            redelivered: whole(self.redelivered),
        }
    }
}

impl Broker {
    /// No queue and no worker.
    pub fn new(now: Instant) -> Broker {
        Broker { since: now, queues: BTreeMap::new(), workers: 0, leaving: BTreeMap::new() }
    }
    /// What workers take of each queue now, in the order of their names.
    fn served(&self) -> Vec<i64> {
        let mut order: Vec<(usize, &Queue)> = self.queues.values().enumerate().collect();
        order.sort_by_key(|(place, queue)| (std::cmp::Reverse(queue.terms.priority), *place));
        let mut served = vec![0; order.len()];
        let mut free = i128::from(self.workers) * WORKER;
        for group in order.chunk_by(|a, b| a.1.terms.priority == b.1.terms.priority) {
            let want = |queue: &Queue| {
                let busy = i128::from(queue.terms.rate) * i128::from(queue.terms.takes.as_nanos());
                if queue.waiting > 0 { i128::MAX } else { ceiling(busy, 1_000_000) }
            };
            let mut wants: Vec<(i128, usize, &Queue)> =
                group.iter().map(|(place, queue)| (want(queue), *place, *queue)).collect();
            wants.sort_by_key(|(want, place, _)| (*want, *place));
            let mut many = wants.len() as i128;
            for (want, place, queue) in wants {
                let part = want.min(free / many);
                let takes = i128::from(queue.terms.takes.as_nanos().max(1));
                let rate = i64::try_from(part * 1_000_000 / takes).unwrap_or(i64::MAX);
                served[place] = if part == want { queue.terms.rate } else { rate };
                free -= part;
                many -= 1;
            }
        }
        served
    }
    /// Lets time pass until `to`; nothing when that is past.
    pub fn advance(&mut self, to: Instant) {
        for _ in 0..CHANGES_MAX {
            if self.since >= to {
                return;
            }
            let (stretch, served) = self.stretch();
            let left = to - self.since;
            let stretch = stretch.filter(|stretch| *stretch < left).unwrap_or(left);
            for (queue, served) in self.queues.values_mut().zip(served) {
                queue.step(self.since, i128::from(stretch.as_nanos()), served);
            }
            self.since += stretch;
        }
        unreachable!("messages: more than {CHANGES_MAX} changes until {to}");
    }
    /// How long until something changes of itself, and what workers take until then.
    fn stretch(&mut self) -> (Option<Span>, Vec<i64>) {
        let mut served = self.served();
        let now = self.since;
        for (queue, served) in self.queues.values_mut().zip(&served) {
            queue.look_at_age(now, *served);
        }
        // What was dropped may have emptied a queue.
        served = self.served();
        let next = self.queues.values().zip(&served).filter_map(|(queue, served)| queue.next(now, *served));
        let next = next.min().map(|nanos| Span::from_nanos(i64::try_from(nanos.max(1)).unwrap_or(i64::MAX)));
        (next, served)
    }
    /// How long until a queue runs empty, fills, or its head becomes too old.
    pub fn next_change(&mut self) -> Option<Span> {
        self.stretch().0
    }
    /// From now on a queue is as stated.
    pub fn set(&mut self, now: Instant, name: &Arc<str>, terms: Terms) {
        self.advance(now);
        match self.queues.get_mut(name) {
            Some(queue) => queue.terms = terms,
            None => drop(self.queues.insert(name.clone(), Queue::new(terms))),
        }
    }
    /// From now on nothing comes to any other queues than these.
    pub fn only(&mut self, now: Instant, names: &[Arc<str>]) {
        self.advance(now);
        for (_, queue) in self.queues.iter_mut().filter(|(name, _)| !names.contains(name)) {
            queue.terms.rate = 0;
        }
    }
    /// From now on there are so many workers.
    pub fn set_workers(&mut self, now: Instant, workers: u32) {
        self.advance(now);
        self.workers = workers;
    }
    /// So many workers take nothing new; what they have begun is kept apart until [`Broker::ended`], and what they held
    /// beyond that, up to `held` messages, is given out again.
    pub fn leave(&mut self, pod: &Arc<str>, workers: u32, held: u32, now: Instant) {
        self.advance(now);
        let all = i128::from(self.workers.max(1));
        let part = i128::from(workers.min(self.workers));
        let mut held = i128::from(held) * REQUEST;
        let mut begun = BTreeMap::new();
        let served = self.served();
        for ((name, queue), served) in self.queues.iter_mut().zip(served) {
            let own = queue.in_hand * part / all;
            queue.in_hand -= own;
            begun.insert(name.clone(), own);
            let given = if served > 0 { held.min(queue.waiting * part / all) } else { 0 };
            queue.redelivered += given;
            held -= given;
        }
        self.workers = self.workers.saturating_sub(workers);
        self.leaving.insert(pod.clone(), Leaving { since: now, begun });
    }
    /// Workers that left without ending work again: they go on with what they had begun.
    pub fn came_back(&mut self, pod: &str, now: Instant) {
        self.advance(now);
        for (name, begun) in self.leaving.remove(pod).map(|own| own.begun).unwrap_or_default() {
            if let Some(queue) = self.queues.get_mut(&name) {
                queue.in_hand += begun;
            }
        }
    }
    /// Whether something of a pod's workers is kept apart.
    pub fn is_leaving(&self, pod: &str) -> bool {
        self.leaving.contains_key(pod)
    }
    /// Workers that left have ended: what they had not done by then comes again.
    pub fn ended(&mut self, pod: &str, now: Instant) {
        self.advance(now);
        let Some(own) = self.leaving.remove(pod) else { return };
        let after = (now - own.since).as_nanos().max(0) as f64 / 1e9;
        for (name, begun) in own.begun {
            let Some(queue) = self.queues.get_mut(&name) else { continue };
            let takes = queue.terms.takes.as_nanos() as f64 / 1e9;
            let share = ServiceTime::new(takes, queue.terms.scv_milli as f64 / 1000.0).residual(after);
            let again = ((begun as f64 * share).round() as i128).clamp(0, begun);
            queue.done += begun - again;
            queue.redelivered += again;
            if again > 0 {
                queue.waiting += again;
                queue.cohorts.push_front(Cohort { from: now, rate: 0, gone: 0, left: again });
                queue.expires = false;
            }
        }
    }
    /// All messages of each queue, by fate, and how long its oldest has waited.
    pub fn tallies(&self) -> impl Iterator<Item = (&Arc<str>, Tally, Span)> {
        self.queues.iter().map(|(name, queue)| {
            let leaving = self.leaving.values().filter_map(|own| own.begun.get(name)).sum();
            (name, queue.tally(leaving), queue.age(self.since))
        })
    }
    /// Messages a second, in millionths, that come to each queue and that workers take of it.
    pub fn rates(&self) -> Vec<(i64, i64)> {
        self.queues.values().map(|queue| queue.terms.rate).zip(self.served()).collect()
    }
    /// Share of the workers that are busy, in millionths.
    pub fn busy(&self) -> i64 {
        let all = i128::from(self.workers) * WORKER;
        let each = self.queues.values().zip(self.served());
        let busy: i128 = each
            .map(|(queue, served)| i128::from(served) * i128::from(queue.terms.takes.as_nanos()) / 1_000_000)
            .sum();
        if all == 0 { 0 } else { i64::try_from(busy * 1_000_000 / all).unwrap_or(1_000_000).min(1_000_000) }
    }
}

#[cfg(test)]
#[path = "broker_tests.rs"]
mod tests;
