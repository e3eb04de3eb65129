//! `NodeResourcesFit` and `NodeResourcesBalancedAllocation`: room on a node, and how evenly it is used.
//!
//! CPU in thousandths of a core, memory in bytes. Only CPU and memory are scored, as by default.

use super::SCORE_MAX;
use crate::amounts::Amounts;
use crate::controllers::scheduler::node::NodeInfo;
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::profile::Strategy;
use crate::controllers::scheduler::status::{
    CPU, Code, MEMORY, OTHERS, OTHERS_MAX, PODS, Plugin, Rejection, Why,
};

/// Above this amount, hundredfold amounts are computed in 128 bits.
const WIDE: i64 = i64::MAX / 128;

#[inline]
pub(in super::super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    let (lacking, hopeless) = lacking(&pod.request, node);
    if lacking == 0 {
        return None;
    }
    let code = if hopeless { Code::UnschedulableAndUnresolvable } else { Code::Unschedulable };
    Some(Rejection { plugin: Some(Plugin::NodeResourcesFit), code, why: Why::Lacking(lacking) })
}

/// Whether a request fits on a node as it is.
#[inline]
pub(in super::super) fn fits(request: &Amounts, node: &NodeInfo) -> bool {
    let (have, used) = (&node.allocatable, &node.used);
    let enough = |want: i64, have: i64, used: i64| want <= 0 || want <= have - used;
    let others =
        || request.others.iter().all(|(name, want)| enough(*want, have.other(name), used.other(name)));
    used.pods < have.pods
        && enough(request.cpu_millis, have.cpu_millis, used.cpu_millis)
        && enough(request.memory_bytes, have.memory_bytes, used.memory_bytes)
        && (request.others.is_empty() || others())
}

/// What there is too little of, and whether an empty node would have too little as well.
#[inline]
fn lacking(request: &Amounts, node: &NodeInfo) -> (u32, bool) {
    let (have, used) = (&node.allocatable, &node.used);
    let mut lacking = 0;
    let mut hopeless = false;
    if used.pods + 1 > have.pods {
        lacking |= PODS;
    }
    let mut check = |bit: u32, want: i64, have: i64, used: i64| {
        if want > 0 && want > have - used {
            lacking |= bit;
            hopeless |= want > have;
        }
    };
    check(CPU, request.cpu_millis, have.cpu_millis, used.cpu_millis);
    check(MEMORY, request.memory_bytes, have.memory_bytes, used.memory_bytes);
    for (i, (name, want)) in request.others.iter().enumerate() {
        let bit = 1 << (OTHERS + i.min(OTHERS_MAX - 1) as u32);
        check(bit, *want, have.other(name), used.other(name));
    }
    (lacking, hopeless)
}

/// `part` of `whole` in percent, rounded down. Divides as floating point, which is several times faster
/// than whole numbers, and then corrects what rounding may have changed.
#[inline]
fn percent(part: i64, whole: i64) -> i64 {
    if part >= WIDE {
        return (i128::from(part) * 100 / i128::from(whole)) as i64;
    }
    let hundredfold = part * 100;
    let guess = (hundredfold as f64 / whole as f64) as i64;
    let rest = hundredfold - guess * whole;
    guess + i64::from(rest >= whole) - i64::from(rest < 0)
}

/// [`score`] by what would be left, without asking about the strategy at each node.
#[inline]
pub(in super::super) fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let have = &node.allocatable;
    if have.cpu_millis <= 0 || have.memory_bytes <= 0 {
        return score(pod, node, &Strategy::LeastAllocated);
    }
    let left = |have: i64, used: i64| if used > have { 0 } else { percent(have - used, have) };
    let cpu = left(have.cpu_millis, node.scored.0 + pod.scored_incoming.0);
    let memory = left(have.memory_bytes, node.scored.1 + pod.scored_incoming.1);
    (cpu + memory) / 2
}

/// Mean score of CPU and memory with the pod on the node.
pub(in super::super) fn score(pod: &PodInfo, node: &NodeInfo, strategy: &Strategy) -> i64 {
    let one = |have: i64, used: i64| -> i64 {
        match strategy {
            Strategy::LeastAllocated if used > have => 0,
            Strategy::LeastAllocated => percent(have - used, have),
            Strategy::MostAllocated => percent(used.min(have), have),
            Strategy::RequestedToCapacityRatio(shape) => {
                let use_percent = if used > have { 100 } else { percent(used, have) };
                along(shape, use_percent) * 10
            }
        }
    };
    let (have, used) = (&node.allocatable, node.scored);
    let cpu = used.0 + pod.scored_incoming.0;
    let memory = used.1 + pod.scored_incoming.1;
    match (have.cpu_millis > 0, have.memory_bytes > 0) {
        (true, true) => (one(have.cpu_millis, cpu) + one(have.memory_bytes, memory)) / 2,
        (true, false) => one(have.cpu_millis, cpu),
        (false, true) => one(have.memory_bytes, memory),
        (false, false) => 0,
    }
}

/// The height at `x` of straight lines between points in order of their `x`.
fn along(shape: &[(i64, i64)], x: i64) -> i64 {
    let Some(after) = shape.iter().position(|(at, _)| x <= *at) else {
        return shape.last().map_or(0, |(_, y)| *y);
    };
    let (x1, y1) = shape[after];
    let Some((x0, y0)) = after.checked_sub(1).map(|i| shape[i]) else { return y1 };
    if x1 == x0 { y1 } else { y0 + (y1 - y0) * (x - x0) / (x1 - x0) }
}

/// Whether a pod's evenness is scored: it asks for CPU or memory.
pub(in super::super) fn is_balanced(pod: &PodInfo) -> bool {
    pod.request.cpu_millis != 0 || pod.request.memory_bytes != 0
}

/// How evenly CPU and memory are used, in percent; a node that lacks one of them is even.
#[inline]
pub(in super::super) fn evenness(have: &Amounts, cpu: i64, memory: i64) -> i64 {
    if have.cpu_millis <= 0 || have.memory_bytes <= 0 {
        return SCORE_MAX;
    }
    let fraction = |used: i64, have: i64| (used as f64 / have as f64).min(1.0);
    let deviation = (fraction(cpu, have.cpu_millis) - fraction(memory, have.memory_bytes)).abs() / 2.0;
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}

/// How much evener CPU and memory are used with the pod than without: 75 is neutral.
#[inline]
pub(in super::super) fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let cpu = node.used.cpu_millis + pod.request.cpu_millis;
    let memory = node.used.memory_bytes + pod.request.memory_bytes;
    50 + (50 + evenness(&node.allocatable, cpu, memory) - node.evenness) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    #[test]
    fn percentages_are_exact() {
        let mut draw = crate::random::Stream::new(1, "percent");
        for i in 0..100_000_u64 {
            let whole = 1 + draw.below(1 << (1 + i % 56)) as i64;
            let part = draw.below(whole as u64 + 1) as i64;
            let exact = i128::from(part) * 100 / i128::from(whole);
            assert_eq!(i128::from(percent(part, whole)), exact, "{part} of {whole}");
        }
    }

    #[test]
    fn scores_by_hand() {
        let node = NodeInfo {
            allocatable: Amounts { cpu_millis: 4000, memory_bytes: 8000, pods: 10, ..Amounts::default() },
            used: Amounts { cpu_millis: 1000, memory_bytes: 2000, pods: 1, ..Amounts::default() },
            scored: (1000, 2000),
            evenness: 100,
            ..NodeInfo::default()
        };
        let mut pod = PodInfo::new(&Pod::default());
        pod.request = Amounts { cpu_millis: 1000, memory_bytes: 0, pods: 1, ..Amounts::default() };
        pod.scored_incoming = (1000, 0);
        // CPU 50 % free, memory 75 %: 62. Evenness 100 without, 87 with: 50 + 37 / 2 = 68.
        assert_eq!(score(&pod, &node, &Strategy::LeastAllocated), 62);
        assert_eq!(least_allocated(&pod, &node), 62);
        assert_eq!(score(&pod, &node, &Strategy::MostAllocated), 37);
        let shape = Strategy::RequestedToCapacityRatio(vec![(0, 0), (100, 10)]);
        assert_eq!(score(&pod, &node, &shape), (50 + 20) / 2);
        assert_eq!(balanced(&pod, &node), 68);
        assert!(is_balanced(&pod));
        pod.request = Amounts { pods: 1, ..Amounts::default() };
        assert!(!is_balanced(&pod));
    }
}
