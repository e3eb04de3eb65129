//! `NodeName`: a pod that names its node goes nowhere else.

use crate::controllers::scheduler::node::NodeInfo;
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::status::{Plugin, Rejection};

pub(in super::super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    let other = pod.node.as_ref().is_some_and(|name| *name != node.name);
    other.then_some(Rejection::unresolvable(Plugin::NodeName, "node(s) didn't match the requested node name"))
}
