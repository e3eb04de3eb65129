//! `NodeAffinity`: node selectors and required terms that must match, preferred terms that score.

use crate::controllers::scheduler::cycle::Needs;
use crate::controllers::scheduler::labels::NodeTerm;
use crate::controllers::scheduler::node::NodeInfo;
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::status::{Plugin, Rejection};

/// The only nodes the pod's required terms name, if all terms name some.
pub(in super::super) fn pre_filter(pod: &PodInfo) -> Result<Option<Vec<&str>>, Rejection> {
    match pod.rare.selection.names() {
        Some(names) if names.is_empty() => {
            Err(Rejection::unresolvable(Plugin::NodeAffinity, "pod affinity terms conflict"))
        }
        names => Ok(names),
    }
}

#[inline]
pub(in super::super) fn filter(needs: &Needs, at: u32) -> Option<Rejection> {
    if !needs.enforces(at) {
        let why = "node(s) didn't match scheduler-enforced node affinity";
        return Some(Rejection::unresolvable(Plugin::NodeAffinity, why));
    }
    if needs.selects(at) {
        return None;
    }
    Some(Rejection::unresolvable(Plugin::NodeAffinity, "node(s) didn't match Pod's node affinity/selector"))
}

/// The weights of the preferred terms that match, the profile's among them.
pub(in super::super) fn score(pod: &PodInfo, added: &[(i64, NodeTerm)], node: &NodeInfo) -> i64 {
    let preferred = pod.rare.preferred.iter().chain(added);
    preferred.filter(|(_, term)| term.matches(&node.name, &node.labels)).map(|(weight, _)| weight).sum()
}
