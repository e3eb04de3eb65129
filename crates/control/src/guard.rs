//! The guard: whatever planner and signals do, a held Job is released at its latest safe start.
//!
//! It knows only the Job's deadline, its expected duration and the margins of the policy; it reads no
//! plan, no carbon and no price.

use fleet::{Instant, Policy, Span};

/// Expected duration with the policy's margins: for a run that takes a little longer, and for creating
/// the copy, scheduling, pulling the image and starting.
pub fn safe_duration(expected: Span, policy: &Policy) -> Span {
    expected + expected.scaled(policy.duration_margin_percent, 100) + policy.start_margin
}

/// The latest start that is still safe: the deadline less the safe duration of what remains to run.
/// `None` without a deadline: then no delay is allowed at all.
pub fn latest_start(deadline: Option<Instant>, expected: Span, policy: &Policy) -> Option<Instant> {
    deadline.map(|deadline| deadline - safe_duration(expected, policy))
}

/// Whether the guard lets the Job go now.
pub fn releases(now: Instant, deadline: Option<Instant>, expected: Span, policy: &Policy) -> bool {
    latest_start(deadline, expected, policy).is_none_or(|latest| now >= latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_start_leaves_room_for_the_run_and_its_margins() {
        let policy = Policy::default();
        let deadline = Instant::from_unix_seconds(100_000);
        let latest = latest_start(Some(deadline), Span::HOUR, &policy).unwrap();
        assert_eq!(deadline - latest, Span::from_seconds(3600 + 360 + 120));
        assert!(!releases(latest - Span::from_nanos(1), Some(deadline), Span::HOUR, &policy));
        assert!(releases(latest, Some(deadline), Span::HOUR, &policy));
        assert!(releases(Instant::EPOCH, None, Span::HOUR, &policy), "no deadline, no delay");
    }
}
