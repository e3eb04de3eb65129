//! `NodeResourcesFit` and `NodeResourcesBalancedAllocation`: room on a node, and how evenly it is used.
//!
//! CPU in thousandths of a core, memory in bytes, others in whole units. By default CPU and memory are scored.

use super::SCORE_MAX;
use crate::amounts::Amounts;
use crate::controllers::scheduler::node::NodeInfo;
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::profile::{Fit, Resource, Strategy};
use crate::controllers::scheduler::status::{
    CPU, Code, MEMORY, OTHERS, OTHERS_MAX, PODS, Plugin, Rejection, Why,
};

/// Above this amount, hundredfold amounts are computed in 128 bits.
const WIDE: i64 = i64::MAX / 128;

#[inline]
pub(in super::super) fn filter(asked: &Amounts, node: &NodeInfo) -> Option<Rejection> {
    let (lacking, hopeless) = lacking(asked, node);
    if lacking == 0 {
        return None;
    }
    let code = if hopeless { Code::UnschedulableAndUnresolvable } else { Code::Unschedulable };
    Some(Rejection { plugin: Some(Plugin::NodeResourcesFit), code, why: Why::Lacking(lacking) })
}

/// Whether a request fits on a node as it is.
#[inline]
pub(in super::super) fn fits(request: &Amounts, node: &NodeInfo) -> bool {
    room(request, &node.allocatable, &node.used)
}

/// Whether a request fits where there is so much and so much of it is used.
#[inline]
pub(in super::super) fn room(request: &Amounts, have: &Amounts, used: &Amounts) -> bool {
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

/// [`score`] by what would be left of CPU and memory, which weigh the same.
#[inline]
pub(in super::super) fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let have = &node.allocatable;
    let left = |have: i64, used: i64| if used > have { 0 } else { percent(have - used, have) };
    let cpu = || left(have.cpu_millis, node.scored.0 + pod.scored_incoming.0);
    let memory = || left(have.memory_bytes, node.scored.1 + pod.scored_incoming.1);
    match (have.cpu_millis > 0, have.memory_bytes > 0) {
        (true, true) => (cpu() + memory()) / 2,
        (true, false) => cpu(),
        (false, true) => memory(),
        (false, false) => 0,
    }
}

/// What of a resource a node has, what placed pods use of it, and what the pod asks for; `None` when it does not count.
fn amounts(
    resource: &Resource,
    pod: (i64, i64, &Amounts),
    used: (i64, i64),
    node: &NodeInfo,
) -> Option<(i64, i64, i64)> {
    let found = match resource {
        Resource::Cpu => (node.allocatable.cpu_millis, used.0, pod.0),
        Resource::Memory => (node.allocatable.memory_bytes, used.1, pod.1),
        Resource::Other(name) => (node.allocatable.other(name), node.used.other(name), pod.2.other(name)),
    };
    (found.0 > 0 && !(resource.is_scalar() && found.2 == 0)).then_some(found)
}

/// Weighted mean score of the resources with the pod on the node.
pub(in super::super) fn score(pod: &PodInfo, node: &NodeInfo, fit: &Fit) -> i64 {
    let (mut sum, mut weights) = (0, 0);
    let asked = (pod.scored_incoming.0, pod.scored_incoming.1, &pod.request);
    for (resource, weight) in &fit.resources {
        let Some((have, used, more)) = amounts(resource, asked, node.scored, node) else { continue };
        let used = used + more;
        let one = match &fit.strategy {
            Strategy::LeastAllocated if used > have => 0,
            Strategy::LeastAllocated => percent(have - used, have),
            Strategy::MostAllocated => percent(used.min(have), have),
            Strategy::RequestedToCapacityRatio(shape) => {
                let one = along(shape, if used > have { 100 } else { percent(used, have) });
                // What scores nothing does not count at all.
                if one <= 0 {
                    continue;
                }
                one
            }
        };
        sum += one * weight;
        weights += weight;
    }
    match (&fit.strategy, weights) {
        (_, 0) => 0,
        (Strategy::RequestedToCapacityRatio(_), _) => (sum as f64 / weights as f64).round() as i64,
        _ => sum / weights,
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

/// Whether a pod's evenness is scored: it asks for some of the resources.
pub(in super::super) fn is_balanced(pod: &PodInfo, over: &[Resource]) -> bool {
    let request = &pod.request;
    over.iter().any(|resource| match resource {
        Resource::Cpu => request.cpu_millis != 0,
        Resource::Memory => request.memory_bytes != 0,
        Resource::Other(name) => request.other(name) != 0,
    })
}

/// Whether these are CPU and memory, whose evenness every node keeps.
pub(in super::super) fn is_plain(over: &[Resource]) -> bool {
    matches!(over, [Resource::Cpu, Resource::Memory] | [Resource::Memory, Resource::Cpu])
}

/// How evenly shares are used, in percent: 100 less their standard deviation.
fn evenness_of(shares: &[f64]) -> i64 {
    let deviation = match shares {
        [] | [_] => 0.0,
        [one, other] => ((one - other) / 2.0).abs(),
        many => {
            let mean = many.iter().sum::<f64>() / many.len() as f64;
            (many.iter().map(|share| (share - mean) * (share - mean)).sum::<f64>() / many.len() as f64).sqrt()
        }
    };
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}

/// [`balanced`] over any resources.
pub(in super::super) fn balanced_over(pod: &PodInfo, node: &NodeInfo, over: &[Resource]) -> i64 {
    if is_plain(over) {
        return balanced(pod, node);
    }
    let asked = (pod.request.cpu_millis, pod.request.memory_bytes, &pod.request);
    let used = (node.used.cpu_millis, node.used.memory_bytes);
    let counted = || over.iter().filter_map(|resource| amounts(resource, asked, used, node));
    let share = |used: i64, have: i64| (used as f64 / have as f64).min(1.0);
    let with: Vec<f64> = counted().map(|(have, used, more)| share(used + more, have)).collect();
    let without: Vec<f64> = counted().map(|(have, used, _)| share(used, have)).collect();
    50 + (50 + evenness_of(&with) - evenness_of(&without)) / 2
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
    use std::sync::Arc;

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
        let template = Arc::make_mut(&mut pod.template);
        template.request = Amounts { cpu_millis: 1000, memory_bytes: 0, pods: 1, ..Amounts::default() };
        template.scored_incoming = (1000, 0);
        // CPU 50 % free, memory 75 %: 62. Evenness 100 without, 87 with: 50 + 37 / 2 = 68.
        let by = |strategy: Strategy| Fit { strategy, ..Fit::default() };
        assert_eq!(score(&pod, &node, &by(Strategy::LeastAllocated)), 62);
        assert_eq!(least_allocated(&pod, &node), 62);
        assert_eq!(score(&pod, &node, &by(Strategy::MostAllocated)), 37);
        // CPU 50 % used, memory 25 %: 50 and 25, the mean rounded.
        let shape = Strategy::RequestedToCapacityRatio(vec![(0, 0), (100, 100)]);
        assert_eq!(score(&pod, &node, &by(shape)), 38);
        assert_eq!(balanced(&pod, &node), 68);
        let plain = [Resource::Cpu, Resource::Memory];
        assert!(is_balanced(&pod, &plain) && !is_balanced(&pod, &plain[1..]));
        Arc::make_mut(&mut pod.template).request = Amounts { pods: 1, ..Amounts::default() };
        assert!(!is_balanced(&pod, &plain));
    }
}
