//! Elastic Jobs: with how many pods at a time a Job may run, and how long it then lasts.
//!
//! With D the expected run time as asked, at k₀ pods at a time, S the speed-up and W(k) = ⌈completions / k⌉
//! the waves of pods: D(k) = D · W(k) / W(k₀) · (S(k₀) / k₀) / (S(k) / k), since k pods of a wave share what the
//! speed-up leaves of k. Without completions (pods that share a queue) D(k) = D · S(k₀) / S(k). Rounded up
//! to whole seconds.

use fleet::{PlacementContract, Scaling, Span};

/// Most pods at a time that may be named.
const PODS_MAX: i64 = 100_000;
/// Most points of a measured speed-up.
const POINTS_MAX: usize = 32;
/// Largest speed-up.
const SPEED_UP_MAX: f64 = 1e6;
/// Shapes beside the Job's own, at most.
const SHAPES_MAX: usize = 8;
/// Pods at a time worth trying, as parts of those asked for; the ends of the range are tried first.
const PARTS: [(i64, i64); 8] = [(2, 1), (1, 2), (3, 2), (3, 4), (4, 1), (1, 4), (3, 1), (3, 8)];

/// Reads `2-16`.
pub(crate) fn read_range(text: &str) -> Result<(i64, i64), String> {
    let expected = || format!("the fewest and the most pods at a time, e.g. 2-16, from 1 to {PODS_MAX}");
    let (least, most) = text.split_once('-').ok_or_else(expected)?;
    let pods = |text: &str| text.trim().parse().ok().filter(|pods| (1..=PODS_MAX).contains(pods));
    let range = pods(least).zip(pods(most)).filter(|(least, most)| least <= most);
    range.ok_or_else(expected)
}

/// Reads `linear`, `amdahl:0.95`, or `1=1,4=3.4,16=9`.
pub(crate) fn read_scaling(text: &str) -> Result<Scaling, String> {
    let expected = || {
        "linear, amdahl:PART with the part of the work that can be shared (0 to 1), or measured speed-ups \
         PODS=SPEEDUP,PODS=SPEEDUP,… both rising, e.g. 1=1,4=3.4,16=9"
            .to_owned()
    };
    if text == "linear" {
        return Ok(Scaling::Linear);
    }
    if let Some(part) = text.strip_prefix("amdahl:") {
        let part = part.trim().parse::<f64>().ok().filter(|part| (0.0..=1.0).contains(part));
        return part.map(Scaling::Amdahl).ok_or_else(expected);
    }
    let mut points: Vec<(i64, f64)> = Vec::new();
    for point in text.split(',') {
        let (pods, speed_up) = point.split_once('=').ok_or_else(expected)?;
        let pods: i64 = pods.trim().parse().map_err(|_| expected())?;
        let speed_up: f64 = speed_up.trim().parse().map_err(|_| expected())?;
        let rises = points.last().is_none_or(|last| pods > last.0 && speed_up >= last.1);
        let sane = (1..=PODS_MAX).contains(&pods) && speed_up > 0.0 && speed_up <= SPEED_UP_MAX;
        if !rises || !sane || points.len() == POINTS_MAX {
            return Err(expected());
        }
        points.push((pods, speed_up));
    }
    Ok(Scaling::Measured(points))
}

/// What a Job asks for as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Pods at a time.
    pub parallelism: i64,
    /// How many have to succeed; `None`: they share a queue.
    pub completions: Option<i64>,
}

impl Asked {
    /// `duration`, at the pods at a time asked for, as it is at `pods`.
    pub fn lasts(&self, scaling: &Scaling, duration: Span, pods: i64) -> Span {
        self.part(scaling, duration, (self.parallelism, pods))
    }

    /// The inverse: `duration` at `pods` as it is at the pods at a time asked for.
    pub fn as_asked(&self, scaling: &Scaling, duration: Span, pods: i64) -> Span {
        self.part(scaling, duration, (pods, self.parallelism))
    }

    fn part(&self, scaling: &Scaling, duration: Span, (from, to): (i64, i64)) -> Span {
        let (from, to) = (from.max(1), to.max(1));
        if from == to {
            return duration;
        }
        let faster = scaling.speed_up(from) / scaling.speed_up(to);
        let part = match self.completions {
            Some(all) => {
                let waves = |pods: i64| (all.max(1) + pods - 1) / pods;
                waves(to) as f64 / waves(from) as f64 * faster * (to as f64 / from as f64)
            }
            None => faster,
        };
        // Whole seconds, and what rounding makes of a whole one is none more.
        let seconds = duration.as_hours_f64() * 3600.0 * part;
        Span::from_seconds((seconds - 1e-6).ceil().clamp(1.0, 1e12) as i64)
    }

    /// Pods at a time other than those asked for that are worth trying, within the contract: of those with
    /// as many waves, the fewest.
    pub fn others(&self, contract: &PlacementContract) -> Vec<i64> {
        let Some((least, most)) = contract.parallelism else { return Vec::new() };
        let asked = self.parallelism.max(1);
        let fewest = |pods: i64| match self.completions {
            Some(all) => {
                let waves = (all.max(1) + pods - 1) / pods;
                ((all.max(1) + waves - 1) / waves).max(least)
            }
            None => pods,
        };
        let parts = PARTS.iter().map(|(of, part)| asked * of / part);
        let mut found: Vec<i64> = Vec::new();
        for pods in [least, most].into_iter().chain(parts) {
            let pods = if pods >= least && pods <= most { fewest(pods) } else { continue };
            if pods != fewest(asked) && pods != asked && !found.contains(&pods) && found.len() < SHAPES_MAX {
                found.push(pods);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(range: (i64, i64)) -> PlacementContract {
        PlacementContract {
            deadline: None,
            expected_duration: None,
            interruptible: false,
            clusters: None,
            data: None,
            parallelism: Some(range),
            scaling: Scaling::Linear,
            stop_at_deadline: false,
        }
    }

    #[test]
    fn waves_and_speed_up_say_how_long_it_lasts() {
        let hour = Span::HOUR;
        let pieces = Asked { parallelism: 4, completions: Some(10) };
        let at = |pods| pieces.lasts(&Scaling::Linear, hour, pods).as_seconds();
        assert_eq!((at(4), at(5), at(10), at(2), at(1)), (3600, 2400, 1200, 6000, 12_000));
        let queue = Asked { parallelism: 4, completions: None };
        assert_eq!(queue.lasts(&Scaling::Linear, hour, 8), Span::from_seconds(1800));
        // Amdahl with half of it shared: speed-up 1.6 with 4 pods, 1.777… with 8.
        assert_eq!(queue.lasts(&Scaling::Amdahl(0.5), hour, 8), Span::from_seconds(3240));
        let measured = Scaling::Measured(vec![(1, 1.0), (3, 2.0), (4, 3.0), (8, 4.0)]);
        assert_eq!(queue.lasts(&measured, hour, 8), Span::from_seconds(2700));
        assert_eq!((measured.speed_up(2), measured.speed_up(6), measured.speed_up(99)), (1.5, 3.5, 4.0));
        for pods in [1, 2, 5, 10] {
            let there = pieces.lasts(&measured, hour, pods);
            let back = (pieces.as_asked(&measured, there, pods) - hour).as_seconds();
            assert!((0..=3).contains(&back), "{pods}: {back}");
        }
    }

    #[test]
    fn only_different_numbers_of_waves_are_tried() {
        let pieces = Asked { parallelism: 4, completions: Some(10) };
        // 10 completions: 2 pods are 5 waves, 4 are 3, 5 are 2, 10 are 1.
        assert_eq!(pieces.others(&contract((2, 16))), [2, 10, 5, 3]);
        let queue = Asked { parallelism: 4, completions: None };
        let others = queue.others(&contract((1, 1000)));
        assert_eq!(others, [1, 1000, 8, 2, 6, 3, 16, 12]);
        assert_eq!(queue.others(&contract((4, 4))), Vec::<i64>::new());
    }

    #[test]
    fn ranges_and_speed_ups_are_read_or_refused() {
        assert_eq!(read_range("2-16"), Ok((2, 16)));
        for wrong in ["", "2", "0-4", "5-4", "1-1000000", "a-b", "-3-4"] {
            assert!(read_range(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read_scaling("amdahl:0.95"), Ok(Scaling::Amdahl(0.95)));
        assert_eq!(read_scaling("1=1, 4=3.4"), Ok(Scaling::Measured(vec![(1, 1.0), (4, 3.4)])));
        for wrong in ["", "fast", "amdahl:2", "amdahl:NaN", "4=3,1=1", "1=1,4=0.5", "1=NaN", "1=inf", "0=1"] {
            assert!(read_scaling(wrong).is_err(), "{wrong}");
        }
    }
}
