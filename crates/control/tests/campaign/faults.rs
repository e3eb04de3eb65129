//! What goes wrong, drawn from the seed: each seed has its own selection, so that faults meet in all ways.

use fleet::{Instant, Span};
use twin::random::Stream;

/// How long `connect` waits for an answer at most.
pub const CALL_TIMEOUT: Span = Span::from_seconds(30);
/// How long a server may still carry out what nobody waits for any more.
pub const REQUEST_LASTS: Span = Span::from_seconds(60);
/// Longest back-off after a failed call: what one failure may cost a Job at most, the wait for an answer included.
pub const FAILURE_COSTS: Span = Span::from_seconds(64 + 30);

/// The faults of a seed.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// Chance of a call to be refused for no fault of its own (409, 429, 500, 503).
    pub refused: f64,
    /// Chance of a call that is never carried out, nor answered.
    pub lost: f64,
    /// Chance of a call that is carried out and never answered.
    pub unheard: f64,
    /// Chance of a call that is carried out after nobody waits for it any more.
    pub late: f64,
    /// How often a process dies.
    pub deaths: u64,
    /// How often a cluster vanishes.
    pub vanishings: u64,
    /// How often watches are cut.
    pub cuts: u64,
    /// Slowest a watch tells what happened.
    pub lag: Span,
    /// By how much the processes' clocks are off.
    pub skew: Span,
    /// Processes at once.
    pub replicas: usize,
    /// How often owners do something.
    pub owners: u64,
    /// Whether there is any carbon signal.
    pub signal: bool,
    /// Chance of a call on a cluster to be refused for good, by its quota.
    pub quota: bool,
    /// Whether clusters are so small that Jobs are in one another's way.
    pub tight: bool,
}

impl Swarm {
    /// That of a seed.
    pub fn draw(seed: u64) -> Swarm {
        let mut stream = Stream::new(seed, "campaign/swarm");
        let mut chance = |most: f64| if stream.unit() < 0.5 { stream.unit() * most } else { 0.0 };
        let (refused, lost, unheard, late) = (chance(0.2), chance(0.1), chance(0.1), chance(0.05));
        let mut times = |most: u64| if stream.unit() < 0.5 { 1 + stream.below(most) } else { 0 };
        let (deaths, vanishings, cuts, owners) = (times(6), times(3), times(6), times(8));
        let lag = Span::from_seconds(times(20) as i64);
        let skew = Span::from_seconds(times(240) as i64);
        Swarm {
            refused,
            lost,
            unheard,
            late,
            deaths,
            vanishings,
            cuts,
            lag,
            skew,
            replicas: if stream.unit() < 0.3 { 2 } else { 1 },
            owners,
            signal: stream.unit() < 0.85,
            quota: stream.unit() < 0.2,
            tight: stream.unit() < 0.3,
        }
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// Carried out, answered.
    Fine,
    /// Refused with this code and reason, for no fault of its own.
    Refused(u16, &'static str),
    /// Neither carried out nor answered.
    Lost,
    /// Carried out, not answered.
    Unheard,
    /// Carried out after nobody waits any more.
    Late,
}

impl Swarm {
    /// The fate of the next call.
    pub fn fate(&self, stream: &mut Stream) -> Fate {
        let (draw, which) = (stream.unit(), stream.below(4));
        let edges = [self.refused, self.lost, self.unheard, self.late];
        let mut below = 0.0;
        for (i, chance) in edges.into_iter().enumerate() {
            below += chance;
            if draw < below {
                return match i {
                    0 => [
                        Fate::Refused(409, "Conflict"),
                        Fate::Refused(429, "TooManyRequests"),
                        Fate::Refused(500, "InternalError"),
                        Fate::Refused(503, "ServiceUnavailable"),
                    ][which as usize],
                    1 => Fate::Lost,
                    2 => Fate::Unheard,
                    _ => Fate::Late,
                };
            }
        }
        Fate::Fine
    }
}

/// Times in which something could not be done for want of a process or a cluster.
#[derive(Clone, Debug, Default)]
pub struct Outages(Vec<(Instant, Instant)>);

impl Outages {
    pub fn add(&mut self, from: Instant, to: Instant) {
        self.0.push((from, to));
    }
    /// How long they were within a time, each counted for itself.
    pub fn within(&self, from: Instant, to: Instant) -> Span {
        let part = |(a, b): &(Instant, Instant)| (to.min(*b) - from.max(*a)).max(Span::ZERO);
        self.0.iter().map(part).fold(Span::ZERO, |sum, part| sum + part)
    }
}
