//! One server process with several workers and a queue before them, in equilibrium: how long requests wait, and how long
//! until they are answered.
//!
//! * **Service times** have a mean and a squared coefficient of variation (scv), fitted by a shifted exponential (scv ≤ 1)
//!   or a hyperexponential of two branches with balanced means (scv > 1; Tijms, *A First Course in Stochastic Models*,
//!   appendix B). scv 1 is exponential, 0 constant.
//! * **Waiting**, M/M/c with requests that leave when they have waited for `wait_max`: exact (Gnedenko and Kovalenko 1989;
//!   Baccelli and Hébuterne 1981). The workload found has the density g·e^(−ηw) up to `wait_max`, with η = cμ − λ.
//!   Without a bound that is Erlang's C.
//! * **Other variability**, M/G/c: η is divided by (1 + scv) / 2, as is g. So the mean wait is Pollaczek's and Khinchine's
//!   for c = 1 (exact), and Allen's and Cunneen's for more workers (an approximation: Allen, *Probability, Statistics, and
//!   Queueing Theory*, 1990, 5.3); that the wait is exponential where there is one is an approximation in both.
//!
//! Units: seconds, requests a second. Invariant: arithmetic alone, the same bits everywhere.

use super::maths::exp;

/// Most workers of one process.
pub const WORKERS_MAX: u32 = 10_000;
/// Halvings by which a quantile is found: a relative error of 2⁻⁴⁰ of the bracket.
const HALVINGS: u32 = 40;
/// Doublings after which a quantile is given up as endless.
const DOUBLINGS_MAX: u32 = 60;

/// How long serving one request takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServiceTime {
    /// Seconds every request takes at least.
    offset: f64,
    /// Weight and mean of each exponential branch.
    branches: [(f64, f64); 2],
}

impl ServiceTime {
    /// Of a mean in seconds and a squared coefficient of variation, both from 0 on.
    pub fn new(mean: f64, scv: f64) -> ServiceTime {
        let (mean, scv) = (mean.max(0.0), scv.max(0.0));
        if scv <= 1.0 {
            let spread = mean * scv.sqrt();
            return ServiceTime { offset: mean - spread, branches: [(1.0, spread), (0.0, 0.0)] };
        }
        let p = (1.0 + ((scv - 1.0) / (scv + 1.0)).sqrt()) / 2.0;
        let branches = [(p, mean / (2.0 * p)), (1.0 - p, mean / (2.0 * (1.0 - p)))];
        ServiceTime { offset: 0.0, branches }
    }
    /// Its mean, in seconds.
    pub fn mean(&self) -> f64 {
        self.offset + self.branches.iter().map(|(weight, mean)| weight * mean).sum::<f64>()
    }
    /// Share of requests that take longer than `t`.
    pub fn tail(&self, t: f64) -> f64 {
        if t < self.offset {
            return 1.0;
        }
        let each = |(weight, mean): &(f64, f64)| weight * decay(t - self.offset, *mean);
        self.branches.iter().map(each).sum()
    }
    /// E e^(−sS), for `s` from 0 on.
    pub fn transform(&self, s: f64) -> f64 {
        let each = |(weight, mean): &(f64, f64)| weight / (1.0 + s * mean);
        exp(-s * self.offset) * self.branches.iter().map(each).sum::<f64>()
    }
    /// Of requests being served at a random instant, the share that is still not done `t` later (the tail of the residual
    /// time, ∫ₜ P(S > u) du / E S).
    pub fn residual(&self, t: f64) -> f64 {
        let (t, mean) = (t.max(0.0), self.mean());
        if mean <= 0.0 {
            return 0.0;
        }
        let late = (t - self.offset).max(0.0);
        let rest = (self.offset - t).max(0.0);
        let each = |(weight, mean): &(f64, f64)| weight * mean * decay(late, *mean);
        ((rest + self.branches.iter().map(each).sum::<f64>()) / mean).clamp(0.0, 1.0)
    }
}

/// e^(−t/mean); 0 where the mean is.
fn decay(t: f64, mean: f64) -> f64 {
    if mean > 0.0 { exp(-t / mean) } else { 0.0 }
}

/// A server process and what comes to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Station {
    /// Requests served at a time, from 1 to [`WORKERS_MAX`].
    pub workers: u32,
    /// How long one takes.
    pub service: ServiceTime,
    /// (1 + scv) / 2 of the service time.
    pub variability: f64,
    /// Requests a second that come.
    pub rate: f64,
    /// Seconds a request waits at most before it leaves unserved; infinite: as long as it takes.
    pub wait_max: f64,
}

/// How long requests wait at a [`Station`], and how long until they are answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waits {
    /// Share that does not wait.
    pub at_once: f64,
    /// Share that leaves unserved.
    pub lost: f64,
    /// Density of the wait just above 0, and its decay, in 1/s.
    density: f64,
    decay: f64,
    wait_max: f64,
    service: ServiceTime,
}

impl Station {
    /// Load by which its workers are busy: 1 is as much as they can do.
    pub fn utilisation(&self) -> f64 {
        self.rate * self.service.mean() / f64::from(self.workers.max(1))
    }
    /// The equilibrium; `None`: there is none, since more comes than can be served and nobody leaves.
    pub fn waits(&self) -> Option<Waits> {
        let (mean, k) = (self.service.mean(), 1.0 / self.variability.max(f64::MIN_POSITIVE));
        let none = Waits {
            at_once: 1.0,
            lost: 0.0,
            density: 0.0,
            decay: 1.0,
            wait_max: self.wait_max,
            service: self.service,
        };
        if self.rate <= 0.0 || mean <= 0.0 {
            return Some(none);
        }
        if self.utilisation() >= 1.0 && self.wait_max.is_infinite() {
            return None;
        }
        let workers = self.workers.clamp(1, WORKERS_MAX);
        let (offered, full) = (self.rate * mean, f64::from(workers) / mean);
        // Probabilities of 0 to c − 1 requests in all, as multiples of the last of them.
        let mut term = 1.0;
        let mut idle = 1.0;
        for j in (1..workers).rev() {
            term *= f64::from(j) / offered;
            idle += term;
        }
        if !idle.is_finite() {
            return Some(none);
        }
        let (first, decay) = (self.rate * k, (full - self.rate) * k);
        let end = exp(-decay * self.wait_max);
        let within = if self.wait_max.is_finite() && (decay * self.wait_max).abs() < 1e-9 {
            first * self.wait_max
        } else {
            first * (1.0 - end) / decay
        };
        let beyond = first * end / (full * k);
        let whole = idle + within + beyond;
        if !whole.is_finite() {
            // Far too much comes: everybody waits for as long as anybody may.
            let lost = (1.0 - full / self.rate).max(0.0);
            return Some(Waits { at_once: 0.0, lost, density: 0.0, ..none });
        }
        let (at_once, lost, density) = (idle / whole, beyond / whole, first / whole);
        Some(Waits { at_once, lost, density, decay, wait_max: self.wait_max, service: self.service })
    }
}

impl Waits {
    /// ∫ of the wait's density from `from` to its end, in shares of all requests.
    fn waiting_beyond(&self, from: f64) -> f64 {
        if self.density == 0.0 || from >= self.wait_max {
            return 0.0;
        }
        if (self.decay * (self.wait_max.min(1e300) - from)).abs() < 1e-9 {
            return self.density * (self.wait_max - from);
        }
        self.density * (exp(-self.decay * from) - exp(-self.decay * self.wait_max)) / self.decay
    }
    /// Mean wait of those that are served, in seconds.
    pub fn mean_wait(&self) -> f64 {
        let served = 1.0 - self.lost;
        if self.density == 0.0 || served <= 0.0 {
            return 0.0;
        }
        let (eta, bound) = (self.decay, self.wait_max);
        let sum = if bound.is_infinite() {
            1.0 / (eta * eta)
        } else if (eta * bound).abs() < 1e-4 {
            bound * bound * (0.5 - eta * bound / 3.0)
        } else {
            (1.0 - exp(-eta * bound) * (1.0 + eta * bound)) / (eta * eta)
        };
        self.density * sum / served
    }
    /// Mean time until those that are served are answered, in seconds.
    pub fn mean_response(&self) -> f64 {
        self.mean_wait() + self.service.mean()
    }
    /// Of those that are served, the share answered later than `t` seconds after they came.
    pub fn tail(&self, t: f64) -> f64 {
        let t = t - self.service.offset;
        if t < 0.0 {
            return 1.0;
        }
        let x = t.min(self.wait_max);
        let mut sum = self.waiting_beyond(x);
        for (weight, mean) in self.service.branches {
            if weight == 0.0 || mean <= 0.0 {
                continue;
            }
            let rate = 1.0 / mean;
            let gap = rate - self.decay;
            let waited = if (gap * x).abs() < 1e-9 {
                x * exp(-rate * t)
            } else {
                (exp(-self.decay * x - rate * (t - x)) - exp(-rate * t)) / gap
            };
            sum += weight * (self.at_once * exp(-rate * t) + self.density * waited);
        }
        (sum / (1.0 - self.lost).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }
}

/// The least `t` after which no more than `share` of something is left, its tail falling; `None`: there is none.
pub fn quantile(tail: impl Fn(f64) -> f64, share: f64) -> Option<f64> {
    let mut high = 1e-3;
    let mut doublings = 0;
    while tail(high) > share {
        high *= 2.0;
        doublings += 1;
        if doublings > DOUBLINGS_MAX {
            return None;
        }
    }
    let mut low = 0.0;
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if tail(middle) > share { low = middle } else { high = middle }
    }
    Some(high)
}

#[cfg(test)]
#[path = "station_tests.rs"]
mod tests;
