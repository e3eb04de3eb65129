//! `NodeUnschedulable`: cordoned nodes take only pods that tolerate it.

use crate::controllers::nodelifecycle::tolerates;
use crate::controllers::scheduler::node::NodeInfo;
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::status::{Plugin, Rejection};
use k8s_openapi::api::core::v1::Taint;

const TAINT: &str = "node.kubernetes.io/unschedulable";

/// Whether a pod tolerates cordons.
pub(in super::super) fn tolerated(pod: &PodInfo) -> bool {
    let taint =
        Taint { key: TAINT.to_owned(), effect: "NoSchedule".to_owned(), value: None, time_added: None };
    pod.tolerations.iter().any(|t| tolerates(t, &taint))
}

#[inline]
pub(in super::super) fn filter(node: &NodeInfo, tolerated: bool) -> Option<Rejection> {
    if !node.unschedulable || tolerated {
        return None;
    }
    Some(Rejection::unresolvable(Plugin::NodeUnschedulable, "node(s) were unschedulable"))
}
