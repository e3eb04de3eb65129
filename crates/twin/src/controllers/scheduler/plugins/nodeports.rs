//! `NodePorts`: host ports are taken once.

use crate::controllers::scheduler::node::NodeInfo;
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::status::{Plugin, Rejection};

pub(in super::super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    let taken = pod.rare.ports.iter().any(|port| node.ports.iter().any(|other| other.conflicts(port)));
    taken.then_some(Rejection::unschedulable(
        Plugin::NodePorts,
        "node(s) didn't have free ports for the requested pod ports",
    ))
}
