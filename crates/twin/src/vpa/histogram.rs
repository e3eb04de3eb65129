//! Histograms whose samples lose half of their weight every day.
//!
//! Buckets grow by 5 %, so that a value is known to 5 %. Instead of making all old weights smaller at each sample, new ones
//! are made larger by 2^(age / half-life) against a reference time, which is moved on when the exponent would grow past
//! 100. Percentiles are ends of buckets: never below what was seen.

use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// After what time a sample weighs half.
const HALF_LIFE: Span = Span::DAY;
/// Largest exponent of a weight before the reference time is moved on.
const EXPONENT_MAX: i64 = 100;
/// How much larger each bucket is than the one before.
const RATIO: f64 = 1.05;
/// A bucket that weighs less than this is empty: a thousandth of the weight of a CPU sample.
const EPSILON: f64 = 0.001 * 0.1;

/// Buckets of either scale: as many as it takes from the first bucket to the largest value, 100,000 times as large.
const BUCKETS: usize = 176;

/// What a histogram measures: how large its first bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scale {
    /// Cores, 0.01 to 1,000.
    Cpu,
    /// Bytes, 10 MB to 1 TB.
    Memory,
}

impl Scale {
    fn first(self) -> f64 {
        match self {
            Scale::Cpu => 0.01,
            Scale::Memory => 1e7,
        }
    }
    /// The bucket of a value.
    fn bucket(self, value: f64) -> usize {
        if value < self.first() {
            return 0;
        }
        (log(value * (RATIO - 1.0) / self.first() + 1.0) as usize).min(BUCKETS - 1)
    }
    /// Where a bucket begins.
    fn start(self, bucket: usize) -> f64 {
        if bucket == 0 { 0.0 } else { self.first() * (power(RATIO, bucket) - 1.0) / (RATIO - 1.0) }
    }
}

fn log(x: f64) -> f64 {
    x.ln() / RATIO.ln()
}

/// x^n by repeated squaring, as the original's library does, which gives the same last bit.
fn power(x: f64, n: usize) -> f64 {
    let (mut result, mut square, mut left) = (1.0, x, n);
    while left > 0 {
        if left & 1 == 1 {
            result *= square;
        }
        square *= square;
        left >>= 1;
    }
    result
}

/// 2^x as the original's library works it out, so that equal weights stay equal to the last bit, on every machine.
/// Source: `exp2` and `expmulti` of Go's `math`, after FreeBSD's `e_exp.c`.
fn exp2(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const P: [f64; 5] = [
        1.666_666_666_666_666_6e-1,
        -2.777_777_777_701_559_3e-3,
        6.613_756_321_437_934e-5,
        -1.653_390_220_546_525_2e-6,
        4.138_136_797_057_238_5e-8,
    ];
    let whole = (x + 0.5f64.copysign(x)).trunc();
    let part = x - whole;
    let (high, low) = (part * LN2_HIGH, -part * LN2_LOW);
    let r = high - low;
    let t = r * r;
    let c = r - t * (P[0] + t * (P[1] + t * (P[2] + t * (P[3] + t * P[4]))));
    let y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    // Whole powers of two are exact.
    y * 2f64.powi(whole.clamp(-2000.0, 2000.0) as i32)
}

/// Weights by value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Saved", from = "Saved")]
pub struct Histogram {
    scale: Scale,
    weights: Vec<f64>,
    total: f64,
    /// The first and the last bucket that is not empty; crossed over while all are.
    least: usize,
    most: usize,
    /// `None` until there is a sample.
    reference: Option<Instant>,
}

impl Histogram {
    /// An empty one.
    pub fn new(scale: Scale) -> Histogram {
        let weights = vec![0.0; BUCKETS];
        Histogram { scale, weights, total: 0.0, least: BUCKETS - 1, most: 0, reference: None }
    }
    /// Adds a value of this weight, seen at this time.
    pub fn add(&mut self, value: f64, weight: f64, at: Instant) {
        let weight = weight * self.factor(at);
        let bucket = self.scale.bucket(value);
        self.weights[bucket] += weight;
        self.total += weight;
        if self.weights[bucket] >= EPSILON {
            self.least = self.least.min(bucket);
            self.most = self.most.max(bucket);
        }
    }
    /// Takes a value away that was added with this weight and time.
    pub fn subtract(&mut self, value: f64, weight: f64, at: Instant) {
        let weight = weight * self.factor(at);
        let bucket = self.scale.bucket(value);
        let less = |value: f64| if value - weight < EPSILON { 0.0 } else { value - weight };
        self.total = less(self.total);
        self.weights[bucket] = less(self.weights[bucket]);
        self.narrow();
    }
    /// Adds what another holds.
    pub fn merge(&mut self, other: &Histogram) {
        let Some(theirs) = other.reference else { return };
        let shifted;
        let other = match self.reference {
            Some(own) if own > theirs => {
                let mut copy = other.clone();
                copy.shift(own);
                shifted = copy;
                &shifted
            }
            Some(own) if own == theirs => other,
            _ => {
                self.shift(theirs);
                other
            }
        };
        for bucket in other.least..=other.most {
            self.weights[bucket] += other.weights[bucket];
        }
        self.total += other.total;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }
    /// Whether nothing in it weighs anything.
    pub fn is_empty(&self) -> bool {
        self.weights[self.least] < EPSILON
    }
    /// The value that `share` (0 to 1) of the weight does not exceed; 0 where it is empty.
    pub fn percentile(&self, share: f64) -> f64 {
        if self.is_empty() {
            return 0.0;
        }
        let threshold = share * self.total;
        let (mut sum, mut bucket) = (0.0, self.least);
        while bucket < self.most {
            sum += self.weights[bucket];
            if sum >= threshold {
                break;
            }
            bucket += 1;
        }
        // The last bucket has no end.
        self.scale.start((bucket + 1).min(BUCKETS - 1))
    }
    /// What a sample seen at this time weighs against one of the reference time.
    fn factor(&mut self, at: Instant) -> f64 {
        let far = |reference: Instant| at > reference + HALF_LIFE.scaled(EXPONENT_MAX, 1);
        if self.reference.is_none_or(far) {
            self.shift(at);
        }
        let reference = self.reference.unwrap_or(at);
        exp2((at - reference).as_nanos() as f64 / HALF_LIFE.as_nanos() as f64)
    }
    /// Has weights count from another reference time, rounded to whole half-lives.
    fn shift(&mut self, to: Instant) {
        let (day, nanos) = (HALF_LIFE.as_nanos(), to.as_unix_nanos());
        let to = Instant::from_unix_nanos((nanos + day / 2).div_euclid(day) * day);
        if let Some(reference) = self.reference {
            let days = (reference - to).as_nanos() as f64 / day as f64;
            let factor = exp2(days.round());
            self.weights.iter_mut().for_each(|weight| *weight *= factor);
            self.total *= factor;
            self.narrow();
        }
        self.reference = Some(to);
    }
    fn narrow(&mut self) {
        while self.weights[self.least] < EPSILON && self.least < BUCKETS - 1 {
            self.least += 1;
        }
        while self.weights[self.most] < EPSILON && self.most > 0 {
            self.most -= 1;
        }
    }
}

/// A histogram as it is saved: numbers by their bits, so that it goes on to the last one as it would have.
#[derive(Serialize, Deserialize)]
struct Saved {
    scale: Scale,
    weights: BTreeMap<usize, u64>,
    total: u64,
    reference: Option<Instant>,
}

impl From<Histogram> for Saved {
    fn from(histogram: Histogram) -> Saved {
        let weights = histogram.weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
        Saved {
            scale: histogram.scale,
            weights: weights.map(|(bucket, weight)| (bucket, weight.to_bits())).collect(),
            total: histogram.total.to_bits(),
            reference: histogram.reference,
        }
    }
}

impl From<Saved> for Histogram {
    fn from(saved: Saved) -> Histogram {
        let mut histogram = Histogram::new(saved.scale);
        for (bucket, bits) in saved.weights.into_iter().filter(|(bucket, _)| *bucket < BUCKETS) {
            histogram.weights[bucket] = f64::from_bits(bits);
        }
        (histogram.total, histogram.reference) = (f64::from_bits(saved.total), saved.reference);
        (histogram.least, histogram.most) = (0, BUCKETS - 1);
        histogram.narrow();
        histogram
    }
}

/// A histogram as a checkpoint keeps it: weights in whole ten-thousandths of the largest.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Weights that are not nothing, by bucket.
    pub weights: BTreeMap<usize, u32>,
    /// The whole weight, as of the reference time.
    pub total: f64,
    /// Reference time.
    pub reference: Instant,
}

/// The largest weight in a checkpoint.
const CHECKPOINT_WEIGHT_MAX: f64 = 10_000.0;

impl Histogram {
    /// What a checkpoint keeps of it; `None` before the first sample.
    pub fn to_checkpoint(&self) -> Option<Checkpoint> {
        let (reference, total) = (self.reference?, self.total);
        let all = || self.weights.iter().enumerate().take(self.most + 1).skip(self.least);
        let ratio = CHECKPOINT_WEIGHT_MAX / all().map(|(_, weight)| *weight).fold(0.0, f64::max);
        let weights = all().map(|(bucket, weight)| (bucket, (weight * ratio).round() as u32));
        Some(Checkpoint { weights: weights.filter(|(_, weight)| *weight > 0).collect(), total, reference })
    }
    /// The histogram a checkpoint was made of, as far as it kept it.
    pub fn from_checkpoint(scale: Scale, checkpoint: &Checkpoint) -> Histogram {
        let mut histogram = Histogram::new(scale);
        let sum: f64 = checkpoint.weights.values().map(|weight| f64::from(*weight)).sum();
        if sum > 0.0 && checkpoint.total.is_finite() && checkpoint.total >= 0.0 {
            for (bucket, weight) in checkpoint.weights.iter().filter(|(bucket, _)| **bucket < BUCKETS) {
                histogram.weights[*bucket] = f64::from(*weight) * checkpoint.total / sum;
            }
            (histogram.total, histogram.reference) = (checkpoint.total, Some(checkpoint.reference));
            (histogram.least, histogram.most) = (0, BUCKETS - 1);
            histogram.narrow();
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(hours: i64) -> Instant {
        Instant::from_unix_seconds(1_767_614_400) + Span::HOUR.scaled(hours, 1)
    }

    /// The whole weight, as of the same time for all.
    fn weight(histogram: &Histogram) -> f64 {
        let days = histogram.reference.map_or(0.0, |reference| (reference - at(0)).as_hours_f64() / 24.0);
        histogram.total * days.exp2()
    }

    #[test]
    fn both_scales_have_176_buckets_that_grow_by_a_twentieth() {
        for (max, scale) in [(1000.0, Scale::Cpu), (1e12, Scale::Memory)] {
            let needed = log(max * (RATIO - 1.0) / scale.first() + 1.0).ceil() as usize + 1;
            assert_eq!(needed, BUCKETS, "{scale:?}");
        }
        let scale = Scale::Cpu;
        let size = |bucket| scale.start(bucket + 1) - scale.start(bucket);
        assert!((size(0) - 0.01).abs() < 1e-12);
        assert!((size(11) / size(10) - RATIO).abs() < 1e-9);
        assert_eq!([0.0, 0.0099, 0.01, 1e9].map(|value| scale.bucket(value)), [0, 0, 1, 175]);
    }

    #[test]
    fn powers_of_two_are_right() {
        assert_eq!(
            [0.0, 1.0, -3.0, 100.0, -1000.0].map(exp2),
            [0.0, 1.0, -3.0, 100.0, -1000.0].map(|x: f64| 2f64.powf(x))
        );
        for i in -400..400 {
            let x = f64::from(i) / 7.0;
            assert!((exp2(x) / x.exp2() - 1.0).abs() < 1e-15, "{x}");
        }
    }

    #[test]
    fn what_is_a_day_older_weighs_half() {
        let mut histogram = Histogram::new(Scale::Cpu);
        histogram.add(1.0, 0.1, at(0));
        histogram.add(1.0, 0.1, at(0));
        histogram.add(8.0, 0.1, at(24));
        // Two old samples weigh as much as the new one, so that half of the weight is at most 1 core.
        assert!(histogram.percentile(0.5) < 1.1 && histogram.percentile(0.51) > 8.0);
        histogram.subtract(8.0, 0.1, at(24));
        assert!(histogram.percentile(1.0) < 1.1);
    }

    #[test]
    fn a_year_of_samples_does_not_overflow() {
        let mut histogram = Histogram::new(Scale::Memory);
        for day in 0..400 {
            histogram.add(if day < 390 { 9e9 } else { 1e8 }, 1.0, at(day * 24));
        }
        assert!(histogram.total.is_finite());
        assert!(histogram.percentile(0.95) < 1.2e8, "what is ten days old hardly counts");
    }

    #[test]
    fn what_is_saved_goes_on_exactly_and_a_checkpoint_nearly() {
        let mut histogram = Histogram::new(Scale::Cpu);
        for hour in 0..200 {
            histogram.add(0.1 + f64::from(hour as i32 % 17), 0.1, at(hour));
        }
        let text = serde_json::to_string(&histogram).unwrap();
        let mut again: Histogram = serde_json::from_str(&text).unwrap();
        assert_eq!(again, histogram);
        let kept = histogram.to_checkpoint().unwrap();
        assert_eq!(kept.weights.values().max(), Some(&10_000));
        let restored = Histogram::from_checkpoint(Scale::Cpu, &kept);
        for share in [0.25, 0.5, 0.9] {
            let ratio = restored.percentile(share) / histogram.percentile(share);
            assert!((0.94..1.06).contains(&ratio), "{share}: {ratio}");
        }
        again.add(3.0, 0.1, at(201));
        histogram.add(3.0, 0.1, at(201));
        assert_eq!(again, histogram);
        assert_eq!(Histogram::new(Scale::Cpu).to_checkpoint(), None);
    }

    proptest! {
        /// Whatever was seen: a percentile is no less than a smaller one, and all of the weight is below the highest value's
        /// bucket's end; what two hold together is what one would.
        #[test]
        fn percentiles_grow_and_merging_is_adding(
            values in prop::collection::vec((0.001..900.0f64, 0..2000i64), 1..60),
            split in 0..60usize,
        ) {
            let mut whole = Histogram::new(Scale::Cpu);
            let mut parts = [Histogram::new(Scale::Cpu), Histogram::new(Scale::Cpu)];
            for (i, (value, hour)) in values.iter().enumerate() {
                whole.add(*value, 0.1, at(*hour));
                parts[usize::from(i < split)].add(*value, 0.1, at(*hour));
            }
            let shares = [0.01, 0.5, 0.9, 0.95, 1.0];
            let found = shares.map(|share| whole.percentile(share));
            prop_assert!(found.windows(2).all(|pair| pair[0] <= pair[1]));
            let highest = values.iter().map(|(value, _)| *value).fold(0.0, f64::max);
            prop_assert!(found[4] <= highest * 1.06 + 0.011);
            let [mut one, two] = parts;
            one.merge(&two);
            let (found, expected) = (weight(&one), weight(&whole));
            prop_assert!((found - expected).abs() <= 1e-9 * expected + 1e-3, "{found} and {expected}");
        }
    }
}
