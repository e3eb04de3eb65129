//! How good a node is for a pod: NodeResourcesFit (LeastAllocated) and BalancedAllocation, weight 1
//! each, with kube-scheduler 1.36's formulas. Both are 0 to 100.

use super::NodeInfo;
use crate::amounts::Amounts;

/// The sum of both scores.
pub(super) fn total(node: &NodeInfo, request: &Amounts, scored: (i64, i64)) -> i64 {
    least_allocated(node, scored) + balanced(node, request)
}

/// Mean free share of CPU and memory with the pod on the node, counting what is not stated as 100m and
/// 200 MiB a container.
fn least_allocated(node: &NodeInfo, (cpu, memory): (i64, i64)) -> i64 {
    let share = |have: i64, used: i64| {
        (have > 0).then(|| {
            if used > have { 0 } else { ((i128::from(have - used) * 100) / i128::from(have)) as i64 }
        })
    };
    let shares = [
        share(node.allocatable.cpu_millis, node.scored_cpu_millis + cpu),
        share(node.allocatable.memory_bytes, node.scored_memory_bytes + memory),
    ];
    let (sum, count) = shares.into_iter().flatten().fold((0, 0), |(sum, n), s| (sum + s, n + 1));
    if count == 0 { 0 } else { sum / count }
}

/// How much evener CPU and memory are used with the pod than without: 75 is neutral. Pods that request
/// neither are not scored.
fn balanced(node: &NodeInfo, request: &Amounts) -> i64 {
    if request.cpu_millis == 0 && request.memory_bytes == 0 {
        return 0;
    }
    let evenness = |cpu: i64, memory: i64| {
        let fraction = |used: i64, have: i64| (have > 0).then(|| (used as f64 / have as f64).min(1.0));
        let deviation = match (
            fraction(cpu, node.allocatable.cpu_millis),
            fraction(memory, node.allocatable.memory_bytes),
        ) {
            (Some(a), Some(b)) => (a - b).abs() / 2.0,
            _ => 0.0,
        };
        ((1.0 - deviation) * 100.0) as i64
    };
    let (cpu, memory) = (node.used.cpu_millis, node.used.memory_bytes);
    let with = evenness(cpu + request.cpu_millis, memory + request.memory_bytes);
    50 + (50 + with - evenness(cpu, memory)) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_hand() {
        let node = NodeInfo {
            allocatable: Amounts { cpu_millis: 4000, memory_bytes: 8000, pods: 10, ..Amounts::default() },
            used: Amounts { cpu_millis: 1000, memory_bytes: 2000, pods: 1, ..Amounts::default() },
            scored_cpu_millis: 1000,
            scored_memory_bytes: 2000,
            ..NodeInfo::default()
        };
        let request = Amounts { cpu_millis: 1000, memory_bytes: 0, pods: 1, ..Amounts::default() };
        // CPU 50 % free, memory 75 %: 62. Evenness 100 without, 87 with: 50 + 37 / 2 = 68.
        assert_eq!(least_allocated(&node, (1000, 0)), 62);
        assert_eq!(balanced(&node, &request), 68);
        assert_eq!(balanced(&node, &Amounts { pods: 1, ..Amounts::default() }), 0);
    }
}
