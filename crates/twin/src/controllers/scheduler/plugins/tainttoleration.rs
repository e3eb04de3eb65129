//! `TaintToleration`: taints a pod does not tolerate keep it off, or make a node less welcome.

use crate::controllers::scheduler::node::{NodeInfo, Verdict};
use crate::controllers::scheduler::status::{Plugin, Rejection};

#[inline]
pub(in super::super) fn filter(node: &NodeInfo, verdicts: &[Verdict]) -> Option<Rejection> {
    if verdicts.get(node.taints as usize).is_some_and(|v| v.tolerated) {
        return None;
    }
    Some(Rejection::unresolvable(Plugin::TaintToleration, "node(s) had untolerated taint(s)"))
}

/// How many taints the pod would rather avoid; fewer is better.
pub(in super::super) fn score(node: &NodeInfo, verdicts: &[Verdict]) -> i64 {
    verdicts.get(node.taints as usize).map_or(0, |v| v.avoided)
}
