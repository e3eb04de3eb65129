//! Which samples of a container count, and what containers of one name used together.
//!
//! CPU: every sample, newer than the one before. Memory: the highest of each day since the container's first sample; a
//! kill for want of memory counts as a sample of what it would have needed.

use super::histogram::{Histogram, Scale};
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};

/// What a CPU sample weighs; a day's peak of memory weighs one.
const CPU_WEIGHT: f64 = 0.1;
/// Of how long one peak of memory is taken.
const INTERVAL: Span = Span::DAY;
/// A killed container needs this much more, in bytes, or in proportion, whichever is more.
const KILLED_MORE_BYTES: i64 = 100 << 20;
const KILLED_MORE_RATIO: f64 = 1.2;

/// What the containers of one name used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Cores.
    pub cpu: Histogram,
    /// Bytes, one peak a container and day.
    pub memory: Histogram,
    /// Time of the first and last CPU sample.
    pub seen: Option<(Instant, Instant)>,
    /// CPU samples so far.
    pub samples: u64,
}

impl Default for Aggregate {
    fn default() -> Aggregate {
        let (cpu, memory) = (Histogram::new(Scale::Cpu), Histogram::new(Scale::Memory));
        Aggregate { cpu, memory, seen: None, samples: 0 }
    }
}

impl Aggregate {
    /// Adds what another holds.
    pub fn merge(&mut self, other: &Aggregate) {
        self.cpu.merge(&other.cpu);
        self.memory.merge(&other.memory);
        self.samples += other.samples;
        if let Some((first, last)) = other.seen {
            self.widen(first, last);
        }
    }
    fn widen(&mut self, first: Instant, last: Instant) {
        let (from, to) = self.seen.unwrap_or((first, last));
        self.seen = Some((from.min(first), to.max(last)));
    }
    /// How much is known: days between first and last sample, or samples over what one a minute would be, whichever is less.
    pub fn confidence(&self) -> f64 {
        let days = self.seen.map_or(0.0, |(first, last)| (last - first).as_nanos() as f64);
        let minutes = Span::DAY.as_seconds() as f64 / 60.0;
        (days / Span::DAY.as_nanos() as f64).min(self.samples as f64 / minutes)
    }
}

/// One container, as far as its samples have been seen. Starts with nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Container {
    cpu_last: Option<Instant>,
    memory_last: Option<Instant>,
    /// End of the interval whose peak is being sought.
    window_end: Option<Instant>,
    /// Peaks in it so far, in bytes: as measured, and as reckoned from kills.
    peak: i64,
    killed_peak: i64,
}

impl Container {
    /// Takes a sample of CPU in millicores; `false`: it is no newer than the last.
    pub fn cpu(&mut self, aggregate: &mut Aggregate, at: Instant, millis: i64) -> bool {
        if millis < 0 || self.cpu_last.is_some_and(|last| at <= last) {
            return false;
        }
        aggregate.cpu.add(millis as f64 / 1000.0, CPU_WEIGHT, at);
        aggregate.widen(at, at);
        aggregate.samples += 1;
        self.cpu_last = Some(at);
        true
    }
    /// Takes a sample of memory in bytes; `false`: it is older than the last.
    pub fn memory(&mut self, aggregate: &mut Aggregate, at: Instant, bytes: i64) -> bool {
        if bytes < 0 || self.memory_last.is_some_and(|last| at < last) {
            return false;
        }
        self.take(aggregate, at, bytes, false);
        true
    }
    /// The container was killed for want of memory while this was its request, in bytes; `false`: that is too long ago.
    pub fn killed(&mut self, aggregate: &mut Aggregate, at: Instant, request_bytes: i64) -> bool {
        if self.window_end.is_some_and(|end| at < end - INTERVAL) {
            return false;
        }
        let used = request_bytes.max(self.peak);
        let needed = (used + KILLED_MORE_BYTES).max((used as f64 * KILLED_MORE_RATIO) as i64);
        self.take(aggregate, at, needed, true);
        true
    }
    fn take(&mut self, aggregate: &mut Aggregate, at: Instant, bytes: i64, killed: bool) {
        self.memory_last = Some(at);
        let end = self.window_end.unwrap_or(at);
        let end = if at < end {
            let highest = self.peak.max(self.killed_peak);
            if highest == 0 || bytes <= highest {
                self.window_end = Some(end);
                return;
            }
            aggregate.memory.subtract(highest as f64, 1.0, end);
            end
        } else {
            (self.peak, self.killed_peak) = (0, 0);
            let whole = (at - end).as_nanos() / INTERVAL.as_nanos();
            end + INTERVAL.scaled(whole + 1, 1)
        };
        self.window_end = Some(end);
        aggregate.memory.add(bytes as f64, 1.0, end);
        if killed {
            self.killed_peak = bytes;
        } else {
            self.peak = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: i64 = 1 << 20;

    fn at(minutes: i64) -> Instant {
        Instant::from_unix_seconds(1_767_614_400) + Span::MINUTE.scaled(minutes, 1)
    }

    #[test]
    fn a_days_highest_use_of_memory_counts_once() {
        let (mut aggregate, mut container) = (Aggregate::default(), Container::default());
        for (minute, mebibytes) in [(0, 100), (1, 300), (2, 200), (1439, 250)] {
            assert!(container.memory(&mut aggregate, at(minute), mebibytes * MIB));
        }
        let peak = aggregate.memory.percentile(0.01);
        assert!((300.0..316.0).contains(&(peak / MIB as f64)), "one peak alone: {peak}");
        assert!(container.memory(&mut aggregate, at(1440), 50 * MIB), "the next day");
        assert!(aggregate.memory.percentile(0.01) < 60.0 * MIB as f64);
    }

    #[test]
    fn what_comes_late_or_twice_does_not_count() {
        let (mut aggregate, mut container) = (Aggregate::default(), Container::default());
        assert!(container.cpu(&mut aggregate, at(5), 100));
        assert!(!container.cpu(&mut aggregate, at(5), 100) && !container.cpu(&mut aggregate, at(4), 100));
        assert!(container.memory(&mut aggregate, at(5), MIB) && container.memory(&mut aggregate, at(5), MIB));
        assert!(!container.memory(&mut aggregate, at(4), MIB));
        assert_eq!((aggregate.samples, aggregate.confidence()), (1, 0.0));
        assert!(container.cpu(&mut aggregate, at(725), 100));
        assert_eq!(aggregate.confidence(), 2.0 / 1440.0, "half a day, but of two samples");
    }

    #[test]
    fn a_kill_asks_for_a_fifth_or_100_mib_more() {
        for (request, needed) in [(100, 200), (1000, 1200)] {
            let (mut aggregate, mut container) = (Aggregate::default(), Container::default());
            container.memory(&mut aggregate, at(0), 90 * MIB);
            assert!(container.killed(&mut aggregate, at(1), request * MIB));
            let found = aggregate.memory.percentile(1.0) / MIB as f64;
            assert!((needed as f64..needed as f64 * 1.06).contains(&found), "{request}: {found}");
            assert!(!container.killed(&mut aggregate, at(-1441), request * MIB), "too long ago");
        }
    }
}
