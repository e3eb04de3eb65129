//! How many nodes of a pool may be disrupted at a time: the strictest of its budgets that hold now for a reason.
//!
//! A share is rounded up. A budget with a schedule holds from each time it is due (UTC) for its duration; one whose
//! schedule cannot be read allows nothing, as with the real one. Method: `GetAllowedDisruptions` of Karpenter 1.14.

use crate::controllers::cronjob::Schedule;
use fleet::Instant;
use fleet::karpenter::{Budget, NodePool, Reason, Share};
use jiff::tz::TimeZone;

/// Since when a budget holds and until when it does not change: whether it holds at an instant, and the next change.
fn state(budget: &Budget, now: Instant) -> (bool, Option<Instant>) {
    let Some((text, duration)) = &budget.window else { return (true, None) };
    let Ok(schedule) = Schedule::parse(text) else { return (true, None) };
    // The first time it was due that may still matter.
    let Some(begun) = schedule.next(now - *duration, &TimeZone::UTC) else { return (false, None) };
    if begun > now {
        return (false, Some(begun));
    }
    // It goes on for as long as it is due again before it ends; only when it may end is of interest here.
    (true, Some(begun + *duration))
}

fn is_read(budget: &Budget) -> bool {
    budget.window.as_ref().is_none_or(|(text, _)| Schedule::parse(text).is_ok())
}

/// How many of so many nodes of a pool may be disrupted for a reason.
pub(super) fn allowed(pool: &NodePool, nodes: u32, reason: Reason, now: Instant) -> u32 {
    let concerned = |budget: &&Budget| budget.reasons.is_empty() || budget.reasons.contains(&reason);
    let each = pool.disruption.budgets.iter().filter(concerned).filter(|budget| state(budget, now).0);
    let each = each.map(|budget| match budget.nodes {
        _ if !is_read(budget) => 0,
        Share::Nodes(count) => count,
        Share::Percent(percent) => (nodes * percent).div_ceil(100),
    });
    each.min().unwrap_or(u32::MAX)
}

/// When a budget of a pool begins or ceases to hold next.
pub(super) fn next_change(pool: &NodePool, now: Instant) -> Option<Instant> {
    pool.disruption.budgets.iter().filter_map(|budget| state(budget, now).1).filter(|at| *at > now).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::Span;
    use fleet::karpenter::{BUDGET, Disruption, PoolLimits};

    fn pool(budgets: Vec<Budget>) -> NodePool {
        NodePool {
            name: "default".to_owned(),
            weight: 0,
            expire_after: None,
            termination_grace_period: None,
            disruption: Disruption { budgets, ..Disruption::default() },
            limits: PoolLimits::default(),
            offerings: Vec::new(),
        }
    }

    fn at(text: &str) -> Instant {
        Instant::parse(text).unwrap()
    }

    #[test]
    fn shares_are_rounded_up_and_the_strictest_counts() {
        let noon = at("2026-05-01T12:00:00Z");
        let count = |budgets: &[Budget], nodes, reason| allowed(&pool(budgets.to_vec()), nodes, reason, noon);
        assert_eq!([0, 1, 9, 11, 20].map(|nodes| count(&[BUDGET], nodes, Reason::Empty)), [0, 1, 1, 2, 2]);
        let none = Budget { nodes: Share::Nodes(0), reasons: vec![Reason::Underutilized], window: None };
        assert_eq!(count(&[BUDGET, none.clone()], 30, Reason::Underutilized), 0);
        assert_eq!(count(&[BUDGET, none.clone()], 30, Reason::Empty), 3);
        assert_eq!(count(&[none], 30, Reason::Empty), u32::MAX, "no budget speaks of it");
        let wrong = Budget { window: Some(("0 25 * * *".to_owned(), Span::HOUR)), ..BUDGET };
        assert_eq!(count(&[wrong], 30, Reason::Empty), 0, "what cannot be read allows nothing");
    }

    #[test]
    fn a_budget_holds_while_its_window_is_open() {
        // 1 May 2026 is a Friday.
        let window = Some(("0 9 * * 1-5".to_owned(), Span::from_seconds(8 * 3600)));
        let pool = pool(vec![Budget { nodes: Share::Nodes(0), reasons: Vec::new(), window }]);
        let cases = [
            ("2026-05-01T08:59:59Z", false, "2026-05-01T09:00:00Z"),
            ("2026-05-01T09:00:00Z", true, "2026-05-01T17:00:00Z"),
            ("2026-05-01T16:59:59Z", true, "2026-05-01T17:00:00Z"),
            ("2026-05-01T17:00:00Z", false, "2026-05-04T09:00:00Z"),
            ("2026-05-03T12:00:00Z", false, "2026-05-04T09:00:00Z"),
        ];
        for (now, holds, next) in cases {
            let now = at(now);
            assert_eq!(allowed(&pool, 10, Reason::Empty, now) == 0, holds, "{now:?}");
            assert_eq!(next_change(&pool, now), Some(at(next)), "{now:?}");
        }
    }
}
