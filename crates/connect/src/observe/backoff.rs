//! How long to wait before the next attempt: exponential, bounded, with jitter from a seed.
//!
//! The jitter only keeps clients apart from each other, so a small generator of our own will do; its seed
//! is the cluster and the kind, which makes a test's delays repeatable. Left out: any clock.

use std::time::Duration;

/// Upper bound of the first delay.
pub const DELAY_FIRST: Duration = Duration::from_millis(250);
/// Upper bound of every delay: what an API server that comes back after an hour costs at most.
pub const DELAY_MAX: Duration = Duration::from_secs(30);

/// Counts attempts that led nowhere.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    state: u64,
    /// Upper bounds of the first delay and of every one.
    bounds: (Duration, Duration),
}

impl Backoff {
    /// From [`DELAY_FIRST`] to [`DELAY_MAX`].
    pub fn new(seed: &str) -> Backoff {
        Backoff::within(seed, DELAY_FIRST, DELAY_MAX)
    }
    /// FNV-1a of the seed's bytes starts the stream of jitter.
    pub fn within(seed: &str, first: Duration, most: Duration) -> Backoff {
        let hash = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
        let state = seed.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
        Backoff { attempts: 0, state, bounds: (first, most) }
    }
    /// Attempts since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
    /// It went well.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
    /// Counts an attempt and says how long to wait: between half of the bound and the bound, which
    /// doubles from the first to the highest.
    pub fn delay(&mut self) -> Duration {
        let (first, most) = self.bounds;
        let bound = first.saturating_mul(1 << self.attempts.min(16)).min(most);
        self.attempts = self.attempts.saturating_add(1);
        bound / 2 + (bound / 2).mul_f64(self.unit())
    }
    /// The next number of splitmix64 as a fraction in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_bound_and_differs_by_seed() {
        let (mut a, mut b) = (Backoff::new("kr/Node"), Backoff::new("jp/Node"));
        let mut differ = 0;
        for attempt in 0..40u32 {
            let bound = DELAY_FIRST.saturating_mul(1 << attempt.min(16)).min(DELAY_MAX);
            let (x, y) = (a.delay(), b.delay());
            assert!(x >= bound / 2 && x <= bound, "{attempt}: {x:?}");
            differ += u32::from(x != y);
        }
        assert!(differ > 30, "{differ}");
        a.reset();
        assert!(a.delay() <= DELAY_FIRST);
        assert_eq!(Backoff::new("kr/Node").delay(), Backoff::new("kr/Node").delay());
    }
}
