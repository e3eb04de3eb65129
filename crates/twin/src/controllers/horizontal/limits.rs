//! How far and how fast an autoscaler may go: stabilisation windows, policies, bounds.
//!
//! What it remembers of an autoscaler is what the real controller keeps in memory (and loses when it restarts): what was
//! recommended, and what was done.

use fleet::{Instant, Span};
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};
use serde::{Deserialize, Serialize};

/// How long an earlier, higher recommendation keeps replicas up where nothing else is said.
const DOWNSCALE_STABILISATION_SECONDS: i32 = 300;
/// Without a behaviour, replicas at most double, and go up to this many at once.
const UP_FACTOR: f64 = 2.0;
const UP_MIN: f64 = 4.0;
/// Warnings about one autoscaler in a row, or other events, and how long it takes until there may be one more (the
/// recorder's filter).
const EVENTS_BURST: i64 = 25;
const EVENT_EVERY: Span = Span::from_seconds(300);

/// What is remembered of one autoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    recommended: Vec<(Instant, i32)>,
    scaled_up: Vec<(Instant, i32)>,
    scaled_down: Vec<(Instant, i32)>,
    /// What is left of the recorder's patience, as of when: with warnings, and with others.
    warnings: Option<(Instant, Span)>,
    others: Option<(Instant, Span)>,
}

/// What was limited, as a condition says it.
pub(super) struct Limited {
    pub(super) replicas: i32,
    /// Of `AbleToScale`.
    pub(super) able: (&'static str, &'static str),
    /// Of `ScalingLimited`.
    pub(super) limited: (&'static str, &'static str),
    pub(super) is_limited: bool,
}

const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FAST_UP: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const TOO_FAST_DOWN: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const DOWN_STABILIZED: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_STABILIZED: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);

/// The bounds and the present number of replicas.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) current: i32,
    pub(super) min: i32,
    pub(super) max: i32,
}

fn seconds(seconds: i32) -> Span {
    Span::from_seconds(i64::from(seconds))
}

/// Puts an entry in the place of the last of those that have no use any more, else at the end.
fn store(list: &mut Vec<(Instant, i32)>, entry: (Instant, i32), is_old: impl Fn(Instant) -> bool) {
    match list.iter().rposition(|(at, _)| is_old(*at)) {
        Some(old) => list[old] = entry,
        None => list.push(entry),
    }
}

impl Memory {
    /// What there is at first counts as recommended, so that nothing drops right after a start.
    pub(super) fn begin(&mut self, now: Instant, current: i32) {
        if self.recommended.is_empty() {
            self.recommended.push((now, current));
        }
    }
    /// Whether one more event may be told.
    pub(super) fn may_tell(&mut self, now: Instant, warning: bool) -> bool {
        // Counted as the time it takes until there may be one more, so that nothing is rounded.
        let full = EVENT_EVERY.scaled(EVENTS_BURST, 1);
        let bucket = if warning { &mut self.warnings } else { &mut self.others };
        let (since, left) = bucket.unwrap_or((now, full));
        let left = (left + (now - since)).min(full);
        let may = left >= EVENT_EVERY;
        *bucket = Some((now, if may { left - EVENT_EVERY } else { left }));
        may
    }
    /// When, with everything else as it is, time alone may change something: another recommendation than today's leaves a
    /// window, or a change of replicas the period of a policy. `None`: never.
    pub(super) fn changes_at(
        &self,
        now: Instant,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
    ) -> Option<Instant> {
        let window = |rules: Option<&HPAScalingRules>| rules.and_then(|r| r.stabilization_window_seconds);
        let up = behavior.and_then(|b| b.scale_up.as_ref());
        let down = behavior.and_then(|b| b.scale_down.as_ref());
        let wanted = self.recommended.iter().find(|(at, _)| *at == now).map(|(_, count)| *count);
        // Of what is within a window the extreme alone counts, and that until its last mention leaves it.
        let leave = |window: i32, beyond: &dyn Fn(i32, i32) -> bool| {
            let mut last: Option<(i32, Instant)> = None;
            for (at, count) in &self.recommended {
                let end = *at + seconds(window);
                if end < now || !wanted.is_some_and(|wanted| beyond(*count, wanted)) {
                    continue;
                }
                let further = last.is_none_or(|(extreme, _)| beyond(*count, extreme));
                if further || last.is_some_and(|(extreme, until)| extreme == *count && until < end) {
                    last = Some((*count, end));
                }
            }
            last.map(|(_, end)| end)
        };
        let leave = [
            leave(window(up).unwrap_or(0), &|count, than| count < than),
            leave(window(down).unwrap_or(DOWNSCALE_STABILISATION_SECONDS), &|count, than| count > than),
        ];
        let periods = |rules: Option<&HPAScalingRules>| -> Vec<i32> {
            rules.and_then(|r| r.policies.as_ref()).into_iter().flatten().map(|p| p.period_seconds).collect()
        };
        let end = |list: &[(Instant, i32)], periods: Vec<i32>| -> Vec<Instant> {
            let ends = list.iter().flat_map(|(at, _)| periods.iter().map(|period| *at + seconds(*period)));
            ends.collect()
        };
        let ends = [end(&self.scaled_up, periods(up)), end(&self.scaled_down, periods(down))];
        // What leaves just now may have to be looked at once more: one of the windows includes its end.
        let next =
            leave.into_iter().flatten().chain(ends.into_iter().flatten()).filter(|at| *at >= now).min()?;
        Some(next.max(now + Span::from_nanos(1)))
    }
    /// The looks up to `last` that were left out would have recommended what the last one did.
    pub(super) fn catch_up(&mut self, before: Instant, last: Instant) {
        if let Some(entry) = self.recommended.iter_mut().find(|(at, _)| *at == before) {
            entry.0 = last;
        }
    }
    /// Limits a recommendation where no behaviour is stated.
    pub(super) fn plain(&mut self, now: Instant, wanted: i32, bounds: Bounds) -> Limited {
        let cutoff = now - seconds(DOWNSCALE_STABILISATION_SECONDS);
        let recent = self.recommended.iter().filter(|(at, _)| *at >= cutoff).map(|(_, count)| *count);
        let stable = recent.max().unwrap_or(wanted).max(wanted);
        store(&mut self.recommended, (now, wanted), |at| at < cutoff);
        let able = if stable == wanted { READY } else { DOWN_STABILIZED };
        let up = (UP_FACTOR * f64::from(bounds.current)).max(UP_MIN) as i32;
        let (most, above) = if bounds.max > up { (up, TOO_FAST_UP) } else { (bounds.max, TOO_MANY) };
        let (replicas, limited) = if stable < bounds.min {
            (bounds.min, TOO_FEW)
        } else if stable > most {
            (most, above)
        } else {
            (stable, WITHIN)
        };
        Limited { replicas, able, limited, is_limited: replicas != stable }
    }
    /// Limits a recommendation as a behaviour says.
    pub(super) fn behaved(
        &mut self,
        now: Instant,
        wanted: i32,
        bounds: Bounds,
        behavior: &HorizontalPodAutoscalerBehavior,
    ) -> Limited {
        let default = HPAScalingRules::default();
        let up = behavior.scale_up.as_ref().unwrap_or(&default);
        let down = behavior.scale_down.as_ref().unwrap_or(&default);
        let stable = self.stabilised(now, wanted, bounds.current, (up, down));
        let able = match stable {
            _ if stable == wanted => READY,
            _ if wanted >= bounds.current => UP_STABILIZED,
            _ => DOWN_STABILIZED,
        };
        let (mut replicas, mut limited) = (stable, WITHIN);
        if stable > bounds.current {
            let rate = self.up_limit(now, bounds.current, up).max(bounds.current);
            let (most, above) = if bounds.max > rate { (rate, TOO_FAST_UP) } else { (bounds.max, TOO_MANY) };
            if stable > most {
                (replicas, limited) = (most, above);
            }
        } else if stable < bounds.current {
            let rate = self.down_limit(now, bounds.current, down).min(bounds.current);
            let (least, below) =
                if bounds.min < rate { (rate, TOO_FAST_DOWN) } else { (bounds.min, TOO_FEW) };
            if stable < least {
                (replicas, limited) = (least, below);
            }
        }
        Limited { replicas, able, limited, is_limited: replicas != stable }
    }
    fn stabilised(
        &mut self,
        now: Instant,
        wanted: i32,
        current: i32,
        (up, down): (&HPAScalingRules, &HPAScalingRules),
    ) -> i32 {
        let up_from = now - seconds(up.stabilization_window_seconds.unwrap_or(0));
        let window = down.stabilization_window_seconds.unwrap_or(DOWNSCALE_STABILISATION_SECONDS);
        let down_from = now - seconds(window);
        let (mut lowest, mut highest) = (wanted, wanted);
        for (at, count) in &self.recommended {
            if *at > up_from {
                lowest = lowest.min(*count);
            }
            if *at > down_from {
                highest = highest.max(*count);
            }
        }
        store(&mut self.recommended, (now, wanted), |at| at < up_from && at < down_from);
        current.max(lowest).min(highest)
    }
    /// Replicas there were at the beginning of a period.
    fn before(&self, now: Instant, current: i32, period_seconds: i32) -> i32 {
        let from = now - seconds(period_seconds);
        let sum =
            |list: &[(Instant, i32)]| list.iter().filter(|(at, _)| *at > from).map(|(_, n)| n).sum::<i32>();
        current - sum(&self.scaled_up) + sum(&self.scaled_down)
    }
    fn up_limit(&self, now: Instant, current: i32, rules: &HPAScalingRules) -> i32 {
        let each = rules.policies.iter().flatten().map(|policy| {
            let before = self.before(now, current, policy.period_seconds);
            if policy.type_ == "Pods" {
                return before.saturating_add(policy.value);
            }
            (f64::from(before) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => each.min().unwrap_or(i32::MAX),
            _ => each.max().unwrap_or(i32::MIN),
        }
    }
    fn down_limit(&self, now: Instant, current: i32, rules: &HPAScalingRules) -> i32 {
        let each = rules.policies.iter().flatten().map(|policy| {
            let before = self.before(now, current, policy.period_seconds);
            if policy.type_ == "Pods" {
                return before.saturating_sub(policy.value);
            }
            (f64::from(before) * (1.0 - f64::from(policy.value) / 100.0)) as i32
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => each.max().unwrap_or(i32::MIN),
            _ => each.min().unwrap_or(i32::MAX),
        }
    }
    /// Remembers that replicas were changed; only policies look at it.
    pub(super) fn scaled(
        &mut self,
        now: Instant,
        (from, to): (i32, i32),
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
    ) {
        let Some(behavior) = behavior else { return };
        let (rules, list, change) = if to > from {
            (&behavior.scale_up, &mut self.scaled_up, to - from)
        } else {
            (&behavior.scale_down, &mut self.scaled_down, from - to)
        };
        let policies = rules.as_ref().and_then(|rules| rules.policies.as_ref());
        let longest = policies.into_iter().flatten().map(|p| p.period_seconds).max().unwrap_or(0);
        store(list, (now, change), |at| at < now - seconds(longest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(seconds: i64) -> Instant {
        Instant::from_unix_seconds(1_000_000 + seconds)
    }
    fn bounds(current: i32) -> Bounds {
        Bounds { current, min: 1, max: 20 }
    }

    #[test]
    fn what_was_recommended_keeps_replicas_up_for_five_minutes() {
        let mut memory = Memory::default();
        memory.begin(at(0), 8);
        let at_once = memory.plain(at(15), 2, bounds(8));
        assert_eq!((at_once.replicas, at_once.able.0), (8, "ScaleDownStabilized"));
        assert_eq!(memory.plain(at(300), 2, bounds(8)).replicas, 8);
        let later = memory.plain(at(315), 2, bounds(8));
        assert_eq!(
            (later.replicas, later.able.0, later.limited.0),
            (2, "ReadyForNewScale", "DesiredWithinRange")
        );
    }

    #[test]
    fn without_a_behaviour_replicas_double_at_most() {
        let mut memory = Memory::default();
        let up = memory.plain(at(0), 15, bounds(3));
        assert_eq!((up.replicas, up.limited.0, up.is_limited), (6, "ScaleUpLimit", true));
        assert_eq!(Memory::default().plain(at(0), 15, bounds(1)).replicas, 4);
        assert_eq!(Memory::default().plain(at(0), 50, bounds(15)).limited.0, "TooManyReplicas");
        assert_eq!(Memory::default().plain(at(0), 0, bounds(3)).limited.0, "TooFewReplicas");
    }

    #[test]
    fn policies_count_what_was_done_in_their_period() {
        let behavior: HorizontalPodAutoscalerBehavior = serde_json::from_value(json!({
            "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]},
            "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Min", "policies": [
                {"type": "Percent", "value": 10, "periodSeconds": 60}, {"type": "Pods", "value": 5, "periodSeconds": 60}]},
        }))
        .unwrap();
        let mut memory = Memory::default();
        let first = memory.behaved(at(0), 20, bounds(2), &behavior);
        assert_eq!((first.replicas, first.limited.0), (6, "ScaleUpLimit"));
        memory.scaled(at(0), (2, 6), Some(&behavior));
        assert_eq!(
            memory.behaved(at(30), 20, bounds(6), &behavior).replicas,
            6,
            "the four of this minute are used up"
        );
        assert_eq!(memory.behaved(at(60), 20, bounds(6), &behavior).replicas, 10);
        // A tenth of nine is cut off, not rounded: a share may remove what is left of a pod.
        let down = memory.behaved(at(200), 1, bounds(9), &behavior);
        assert_eq!((down.replicas, down.limited.0), (8, "ScaleDownLimit"));
    }

    /// Of several higher recommendations only the highest is waited for, until its last mention; lower ones not at all.
    #[test]
    fn time_changes_something_when_the_highest_leaves() {
        let mut memory = Memory::default();
        for (second, wanted) in [(0, 9), (15, 12), (30, 12), (45, 10), (60, 3), (75, 8)] {
            memory.plain(at(second), wanted, bounds(12));
        }
        assert_eq!(memory.changes_at(at(75), None), Some(at(330)));
        assert_eq!(memory.plain(at(345), 8, bounds(12)).replicas, 10);
        assert_eq!(
            memory.changes_at(at(345), None),
            Some(at(345) + Span::from_nanos(1)),
            "once more, then never"
        );
        assert_eq!(memory.plain(at(360), 8, bounds(10)).replicas, 8);
        assert_eq!(memory.changes_at(at(360), None), None);
    }

    #[test]
    fn what_was_left_out_counts_as_if_it_had_been_looked_at() {
        let mut memory = Memory::default();
        memory.begin(at(0), 8);
        memory.plain(at(15), 8, bounds(8));
        assert_eq!(memory.changes_at(at(15), None), None);
        memory.catch_up(at(15), at(3000));
        assert_eq!(memory.plain(at(3015), 2, bounds(8)).replicas, 8, "8 was recommended 15 s ago");
        assert_eq!(
            memory.changes_at(at(3015), None),
            Some(at(3300)),
            "the 8 of 3000 s counts for five minutes"
        );
        assert_eq!(memory.plain(at(3301), 2, bounds(8)).replicas, 2);
        assert_eq!(memory.changes_at(at(3301), None), None);
    }

    #[test]
    fn events_are_told_up_to_a_number_and_then_seldom() {
        let mut memory = Memory::default();
        let told = (0..40).filter(|_| memory.may_tell(at(0), true)).count();
        assert_eq!(told, 25);
        assert!(!memory.may_tell(at(299), true) && memory.may_tell(at(299), false));
        assert!(memory.may_tell(at(300), true) && !memory.may_tell(at(301), true));
    }
}
