//! What becomes of the requests that come to the pods of one Service.
//!
//! Between changes of load or pods, the Service is in one of two states. *Calm*: less comes than can be served and nothing
//! is left from before; then each pod is a [`Station`] in equilibrium with an even share of the requests (as kube-proxy
//! spreads them, by lot). *Crowded*: more comes than can be served, or a backlog is left; then the backlog is a fluid that
//! grows and drains at constant rates, and who comes waits for what is before him. Requests that would wait longer than
//! their client does, or find the queue full, are not served; where clients give up, many of the others are served too
//! late, as in the equilibrium of M/M/c with patience.
//!
//! Invariant: requests = answered + refused + queue full + timed out + cut + under way, to the last unit, whatever the
//! instants it is asked at; counts by fate depend on how the time is cut by nothing at all. Units: amounts are 10⁻¹⁵ of a
//! request (millionths a second × nanoseconds), rates millionths of a request a second.
//! Left out: chance in crowds (a fluid has none, so that near a load of 1 waits are too short above it and too long below),
//! retries, and clients that keep connections.

use super::maths::exp;
use super::responses::Responses;
use super::station::{ServiceTime, Station, Waits, quantile};
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One request, in the unit of amounts.
pub const REQUEST: i128 = 1_000_000_000_000_000;
/// A thousandth of a request.
const MILLI: i128 = REQUEST / 1000;
/// At how many waits between the first and the last of a stretch answers in a crowd are looked at.
const SLICES: u32 = 8;

/// How things stand between two changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Requests that come.
    pub rate: i64,
    /// Pods that clients send to, in even shares.
    pub targets: u32,
    /// Those of them that take what is sent.
    pub serving: u32,
    /// What one of these can answer.
    pub capacity: i64,
    /// How many requests one serves at a time.
    pub workers: u32,
    /// Squared coefficient of variation of the time serving takes, in thousandths.
    pub scv_milli: i64,
    /// How long a client waits for its answer.
    pub timeout: Span,
    /// How many requests wait at a pod at most.
    pub queue_max: Option<u32>,
}

impl Setting {
    /// Nothing comes and nothing is there.
    pub fn nothing() -> Setting {
        Setting {
            rate: 0,
            targets: 0,
            serving: 0,
            capacity: 0,
            workers: 1,
            scv_milli: 1000,
            timeout: Span::from_seconds(30),
            queue_max: None,
        }
    }
    fn refused(&self) -> i64 {
        let dead = i128::from(self.targets.saturating_sub(self.serving));
        if self.serving == 0 || self.capacity <= 0 {
            return self.rate;
        }
        i64::try_from(i128::from(self.rate) * dead / i128::from(self.targets.max(1))).unwrap_or(self.rate)
    }
    fn service(&self) -> ServiceTime {
        ServiceTime::new(self.mean(), self.scv_milli as f64 / 1000.0)
    }
    /// Seconds serving a request takes.
    fn mean(&self) -> f64 {
        if self.capacity <= 0 { 0.0 } else { f64::from(self.workers) * 1e6 / self.capacity as f64 }
    }
    /// What all pods can answer together.
    fn whole_capacity(&self) -> i64 {
        self.capacity.saturating_mul(i64::from(self.serving))
    }
    /// Seconds a request waits at most for the queue's sake.
    fn queue_seconds(&self) -> f64 {
        let per_second = self.capacity as f64 / 1e6;
        self.queue_max.map_or(f64::INFINITY, |most| f64::from(most) / per_second.max(f64::MIN_POSITIVE))
    }
    /// The largest backlog of a crowd: those at its end have their turn as their clients' patience ends, or fill the queue;
    /// and whether it is the queue.
    fn backlog_max(&self) -> (i128, bool) {
        let patience = i128::from(self.whole_capacity()) * i128::from(self.timeout.as_nanos().max(0));
        let queue = self.queue_max.map(|most| i128::from(most) * i128::from(self.serving) * REQUEST);
        match queue.filter(|queue| *queue < patience) {
            Some(queue) => (queue, true),
            None => (patience, false),
        }
    }
}

/// What follows from a [`Setting`].
#[derive(Clone, Debug)]
struct Rates {
    refused: i64,
    admitted: i64,
    /// Requests that are not served, and those served too late, while it is calm.
    lost: i64,
    late: i64,
    /// Whether it is the queue that loses them.
    lost_to_queue: bool,
    /// Requests under way while it is calm.
    under_way: i128,
    /// `None`: it is never calm.
    waits: Option<Waits>,
    /// In a crowd whose clients give up, of those whose turn comes the ones that are answered too late.
    crowd_late: i64,
    /// In such a crowd turns come so long before patience ends, exponentially: the rate of that, in 1/s.
    margin: f64,
}

impl Rates {
    fn of(setting: &Setting) -> Rates {
        let refused = setting.refused();
        let admitted = setting.rate - refused;
        let mut rates = Rates {
            refused,
            admitted,
            lost: 0,
            late: 0,
            lost_to_queue: false,
            under_way: 0,
            waits: None,
            crowd_late: 0,
            margin: 0.0,
        };
        let variability = f64::midpoint(1.0, setting.scv_milli as f64 / 1000.0);
        if admitted >= setting.whole_capacity() {
            let excess = (admitted - setting.whole_capacity()) as f64 / 1e6;
            rates.margin = excess / f64::from(setting.serving.max(1)) / variability;
            let late = 1.0 - setting.service().transform(rates.margin);
            rates.crowd_late = (setting.whole_capacity() as f64 * late.clamp(0.0, 1.0)).round() as i64;
            return rates;
        }
        let timeout = setting.timeout.as_nanos() as f64 / 1e9;
        let per_pod = admitted as f64 / 1e6 / f64::from(setting.serving.max(1));
        let station = Station {
            workers: setting.workers,
            service: setting.service(),
            variability,
            rate: per_pod,
            wait_max: timeout.min(setting.queue_seconds()),
        };
        rates.lost_to_queue = setting.queue_seconds() < timeout;
        rates.waits = station.waits();
        if let Some(waits) = &rates.waits {
            let share = |of: f64, share: f64| (of * share.clamp(0.0, 1.0)).round() as i64;
            rates.lost = share(admitted as f64, waits.lost).min(admitted);
            let served = admitted - rates.lost;
            rates.late = share(served as f64, waits.tail(timeout)).min(served);
            // Little's law, for what is served.
            let under_way = served as f64 / 1e6 * waits.mean_response();
            rates.under_way = (under_way * 1e6).round() as i128 * (REQUEST / 1_000_000);
        }
        rates
    }
}

/// What was under way at a pod when nothing new came to it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Leaving {
    under_way: i128,
    waiting: i128,
    since: Instant,
    /// The setting it left.
    setting: Setting,
}

/// Whole requests by their fate; they sum to all that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All that came.
    pub requests: i64,
    /// Answered in time.
    pub answered: i64,
    /// Sent to a pod that does not listen, or to none.
    pub refused: i64,
    /// Turned away from a full queue.
    pub queue_full: i64,
    /// Not answered before the client gave up.
    pub timed_out: i64,
    /// Begun, and cut as their pod ended.
    pub cut: i64,
    /// Waiting or being served now.
    pub under_way: i64,
}

impl Counts {
    /// All that got no answer.
    pub fn failed(&self) -> i64 {
        self.refused + self.queue_full + self.timed_out + self.cut
    }
}

/// The requests of one Service, up to an instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    since: Instant,
    setting: Setting,
    /// What follows from the setting; worked out when it is needed.
    #[serde(skip)]
    rates: Option<Rates>,
    arrived: i128,
    answered: i128,
    refused: i128,
    queue_full: i128,
    timed_out: i128,
    cut: i128,
    /// The backlog of a crowd, and what is being served (in a calm: waits as well).
    waiting: i128,
    under_way: i128,
    leaving: BTreeMap<Arc<str>, Leaving>,
    responses: Responses,
}

/// How it goes at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// Requests a second that come.
    pub requests_per_second: f64,
    /// Those that get no answer.
    pub errors_per_second: f64,
    /// Load of the pods that serve: 1 is as much as they can do.
    pub utilisation: f64,
    /// Seconds until half of those answered have their answer; `None`: nobody gets one.
    pub p50_seconds: Option<f64>,
    /// The same of 95 %.
    pub p95_seconds: Option<f64>,
    /// The same of 99 %.
    pub p99_seconds: Option<f64>,
}

impl Flow {
    /// Nothing has come before `now`.
    pub fn new(now: Instant) -> Flow {
        Flow {
            since: now,
            setting: Setting::nothing(),
            rates: None,
            arrived: 0,
            answered: 0,
            refused: 0,
            queue_full: 0,
            timed_out: 0,
            cut: 0,
            waiting: 0,
            under_way: 0,
            leaving: BTreeMap::new(),
            responses: Responses::default(),
        }
    }
    /// How things stand.
    pub fn setting(&self) -> &Setting {
        &self.setting
    }
    fn rates(&mut self) -> Rates {
        let setting = &self.setting;
        self.rates.get_or_insert_with(|| Rates::of(setting)).clone()
    }
    /// Lets time pass until `to`; nothing when that is past.
    pub fn advance(&mut self, to: Instant) {
        while self.since < to {
            let rates = self.rates();
            let left = to - self.since;
            let stretch = self.next_change().map_or(left, |next| if next < left { next } else { left });
            let nanos = i128::from(stretch.as_nanos());
            self.arrived += i128::from(self.setting.rate) * nanos;
            self.refused += i128::from(rates.refused) * nanos;
            if self.is_crowded(&rates) {
                self.crowd(&rates, nanos);
            } else {
                self.calm(&rates, nanos);
            }
            self.since += stretch;
        }
    }
    fn is_crowded(&self, rates: &Rates) -> bool {
        self.waiting > 0 || (rates.waits.is_none() && self.setting.serving > 0)
    }
    /// How long until a backlog is gone or as large as it gets.
    pub fn next_change(&mut self) -> Option<Span> {
        let rates = self.rates();
        if !self.is_crowded(&rates) {
            return None;
        }
        let net = i128::from(rates.admitted) - i128::from(self.setting.whole_capacity());
        let (most, _) = self.setting.backlog_max();
        let (gap, speed) = match net {
            0 => return None,
            ..0 => (self.waiting, -net),
            _ => (most - self.waiting, net),
        };
        (gap > 0).then(|| Span::from_nanos(i64::try_from((gap + speed - 1) / speed).unwrap_or(i64::MAX)))
    }
    /// Whether the backlog of a crowd is as large as it gets.
    fn is_full(&self, rates: &Rates) -> bool {
        rates.admitted > self.setting.whole_capacity() && self.waiting >= self.setting.backlog_max().0
    }
    fn crowd(&mut self, rates: &Rates, nanos: i128) {
        let gives_up = self.is_full(rates) && !self.setting.backlog_max().1;
        let served_most = i128::from(self.setting.whole_capacity()) * nanos;
        let come = i128::from(rates.admitted) * nanos;
        let (most, by_queue) = self.setting.backlog_max();
        let raw = self.waiting + come - served_most;
        let after = raw.clamp(0, most.max(0));
        let over = (raw - after).max(0);
        let late = if gives_up { i128::from(rates.crowd_late) * nanos } else { 0 };
        let served = self.waiting + come - over - after - late;
        *self.lost(by_queue) += over;
        self.timed_out += late;
        let wait = |amount: i128| amount as f64 / (self.setting.whole_capacity() as f64).max(1.0) / 1e9;
        let waits = (wait(self.waiting), wait(after));
        let busy = i128::from(self.setting.serving) * i128::from(self.setting.workers) * REQUEST;
        self.waiting = after;
        let service = self.setting.service();
        let (timeout, margin) = (self.setting.timeout.as_nanos() as f64 / 1e9, rates.margin);
        self.answer(served, busy, |t| {
            if gives_up {
                return at_the_last_moment(timeout, margin, t);
            }
            let each = |i: u32| {
                let part = (f64::from(i) + 0.5) / f64::from(SLICES);
                service.tail(t - (waits.0 + (waits.1 - waits.0) * part))
            };
            (0..SLICES).map(each).sum::<f64>() / f64::from(SLICES)
        });
    }
    fn calm(&mut self, rates: &Rates, nanos: i128) {
        let lost = i128::from(rates.lost) * nanos;
        let late = i128::from(rates.late) * nanos;
        *self.lost(rates.lost_to_queue) += lost;
        self.timed_out += late;
        let served = i128::from(rates.admitted) * nanos - lost - late;
        let timeout = self.setting.timeout.as_nanos() as f64 / 1e9;
        let waits = rates.waits;
        self.answer(served, rates.under_way, |t| waits.map_or(0.0, |waits| in_time(&waits, timeout, t)));
    }
    fn lost(&mut self, to_queue: bool) -> &mut i128 {
        if to_queue { &mut self.queue_full } else { &mut self.timed_out }
    }
    /// Takes in what is served; what is under way beyond `stays` has been answered, as slowly as `tail` says.
    fn answer(&mut self, served: i128, stays: i128, tail: impl Fn(f64) -> f64) {
        let all = self.under_way + served;
        self.under_way = all.min(stays);
        self.answered += all - self.under_way;
        let news = i64::try_from(self.answered / MILLI).unwrap_or(i64::MAX) - self.responses.count();
        self.responses.add(news, tail);
    }
    /// From now on things stand otherwise.
    pub fn set(&mut self, now: Instant, setting: Setting) {
        self.advance(now);
        if setting != self.setting {
            (self.setting, self.rates) = (setting, None);
            if self.setting.serving > 0 {
                // Who would now wait for too long gives up.
                let (most, by_queue) = self.setting.backlog_max();
                let over = (self.waiting - most).max(0);
                self.waiting -= over;
                *self.lost(by_queue) += over;
            }
        }
    }
    /// Nothing new comes to one of the pods that serve; what it has is kept apart until [`Flow::ended`]. The setting counts
    /// it no longer.
    pub fn leave(&mut self, pod: &Arc<str>, now: Instant) {
        self.advance(now);
        let serving = i128::from(self.setting.serving.max(1));
        let (under_way, waiting) = (self.under_way / serving, self.waiting / serving);
        let setting = self.setting.clone();
        self.under_way -= under_way;
        self.waiting -= waiting;
        self.setting.serving = self.setting.serving.saturating_sub(1);
        self.rates = None;
        self.leaving.insert(pod.clone(), Leaving { under_way, waiting, since: now, setting });
    }
    /// Whether something of a pod is kept apart.
    pub fn is_leaving(&self, pod: &str) -> bool {
        self.leaving.contains_key(pod)
    }
    /// A pod that left has ended, or stopped what it was doing: what it had not finished by then is cut.
    pub fn ended(&mut self, pod: &str, now: Instant) {
        self.advance(now);
        let Some(own) = self.leaving.remove(pod) else { return };
        let nanos = i128::from((now - own.since).as_nanos().max(0));
        let capacity = i128::from(own.setting.capacity.max(1));
        let begun = own.waiting.min(capacity * nanos);
        let unserved = own.waiting - begun;
        let after = if unserved > 0 { 0 } else { nanos - own.waiting / capacity };
        let share = own.setting.service().residual(after as f64 / 1e9);
        let cut = ((own.under_way as f64 * share).round() as i128).clamp(0, own.under_way);
        self.cut += unserved + cut;
        self.answered += begun + own.under_way - cut;
    }
    /// A pod that left serves again, with what it has.
    pub fn came_back(&mut self, pod: &str, now: Instant) {
        self.advance(now);
        if let Some(own) = self.leaving.remove(pod) {
            self.under_way += own.under_way;
            self.waiting += own.waiting;
        }
    }
    /// What has come so far, by fate. The counts of what is over never fall.
    pub fn counts(&self) -> Counts {
        let whole = |amount: i128| i64::try_from(amount / REQUEST).unwrap_or(i64::MAX);
        let (requests, answered) = (whole(self.arrived), whole(self.answered));
        let [refused, queue_full, timed_out, cut] =
            [self.refused, self.queue_full, self.timed_out, self.cut].map(whole);
        let under_way = requests - answered - refused - queue_full - timed_out - cut;
        Counts { requests, answered, refused, queue_full, timed_out, cut, under_way }
    }
    /// All that was answered in time so far, in parts of a request.
    pub fn answered(&self) -> i128 {
        self.answered
    }
    /// How long answered requests took, so far.
    pub fn responses(&self) -> &Responses {
        &self.responses
    }
    /// What one of the serving pods answers now.
    pub fn served_by_each(&mut self) -> i64 {
        let rates = self.rates();
        if self.is_crowded(&rates) {
            return self.setting.capacity;
        }
        (rates.admitted - rates.lost) / i64::from(self.setting.serving.max(1))
    }
    /// How it goes now.
    pub fn pace(&mut self) -> Pace {
        let rates = self.rates();
        let capacity = self.setting.whole_capacity();
        let per_second = |rate: i64| rate as f64 / 1e6;
        let crowded = self.is_crowded(&rates);
        let full = crowded && self.is_full(&rates);
        let gives_up = full && !self.setting.backlog_max().1;
        let over = if full { rates.admitted - capacity } else { 0 };
        let over = over + if gives_up { rates.crowd_late } else { 0 };
        let lost = if crowded { over } else { rates.lost + rates.late };
        let timeout = self.setting.timeout.as_nanos() as f64 / 1e9;
        let (service, waits) = (self.setting.service(), rates.waits);
        let wait = self.waiting as f64 / (capacity as f64).max(1.0) / 1e9;
        let anybody = rates.admitted > 0 && self.setting.serving > 0;
        let of = |share: f64| {
            if !anybody {
                return None;
            }
            match waits.filter(|_| !crowded) {
                Some(waits) => quantile(|t| in_time(&waits, timeout, t), 1.0 - share),
                None if gives_up => quantile(|t| at_the_last_moment(timeout, rates.margin, t), 1.0 - share),
                None => quantile(|t| service.tail(t - wait), 1.0 - share),
            }
        };
        Pace {
            requests_per_second: per_second(self.setting.rate),
            errors_per_second: per_second(rates.refused + lost),
            utilisation: rates.admitted as f64 / (capacity as f64).max(1.0),
            p50_seconds: of(0.5),
            p95_seconds: of(0.95),
            p99_seconds: of(0.99),
        }
    }
}

/// Of those answered in time, the share answered later than `t`.
fn in_time(waits: &Waits, timeout: f64, t: f64) -> f64 {
    let late = waits.tail(timeout);
    if t >= timeout || late >= 1.0 {
        return 0.0;
    }
    ((waits.tail(t) - late) / (1.0 - late)).max(0.0)
}

/// The same in a crowd whose clients give up: of M/M/c with patience, whose wait has the density e^(margin·w) up to it
/// (see [`super::station`]), those answered in time are so an exponential time before patience ends.
fn at_the_last_moment(timeout: f64, margin: f64, t: f64) -> f64 {
    if t < timeout { 1.0 - exp(-margin * (timeout - t)) } else { 0.0 }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
