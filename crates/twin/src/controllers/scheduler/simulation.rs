//! The scheduler's filters on a copy of the cluster: where pods that are not there yet could go, if there were other nodes.
//!
//! Nothing is scored and nobody is evicted. As the cluster autoscaler looks for places, so does this: the first node that the
//! filters let a pod go to, from where the last search ended.

use super::cluster::Cluster;
use super::config::Config;
use super::cycle::Cycle;
use super::labels::Labels;
use super::pod::PodInfo;
use super::{Cx, Scheduler, name_of};
use crate::amounts::Amounts;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::Arc;

/// A pod to be placed, with the name of its scheduler.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    info: PodInfo,
    scheduler: String,
}

impl Asking {
    /// Thousandths of a core and bytes it asks for.
    pub(crate) fn asks(&self) -> (i64, i64) {
        (self.info.request.cpu_millis, self.info.request.memory_bytes)
    }
    /// All it asks for.
    pub(crate) fn request(&self) -> &Amounts {
        &self.info.request
    }
    /// Whether it states nothing of the nodes it may go to.
    pub(crate) fn goes_anywhere(&self) -> bool {
        self.info.rare.selection.is_everything()
    }
    /// Whether its node selector and required node affinity allow a node of this name and these labels.
    pub(crate) fn may_be_on(&self, node: &str, labels: &Labels) -> bool {
        self.info.may_be_on(node, labels)
    }
    /// Its uid.
    pub(crate) fn uid(&self) -> &str {
        &self.info.uid
    }
}

/// A copy of what the scheduler knows.
#[derive(Clone, Debug)]
pub(crate) struct Simulation {
    cluster: Cluster,
    config: Config,
    next: usize,
}

impl Scheduler {
    /// A copy of the cluster to try things on.
    pub(crate) fn simulation(&mut self, cx: &Cx<'_>) -> Simulation {
        self.learn(cx, &[]);
        let cluster = self.cluster.as_deref().cloned().unwrap_or_default();
        Simulation { cluster, config: self.config.clone(), next: 0 }
    }
}

impl Simulation {
    /// A pod as it would be if it were made anew; `None`: no scheduler of this cluster would place it.
    pub(crate) fn asking(&mut self, pod: &Pod) -> Option<Asking> {
        let scheduler = name_of(pod).to_owned();
        let profile = self.config.profile(&scheduler)?;
        let info = profile.adapt(self.cluster.digest(pod));
        let info = PodInfo { node: None, nominated: None, preempts: false, ..info };
        Some(Asking { info, scheduler })
    }
    /// A node is new or has changed.
    pub(crate) fn put_node(&mut self, node: &Node) {
        self.cluster.put_node(node);
    }
    /// A node is not there.
    pub(crate) fn remove_node(&mut self, name: &str) {
        self.cluster.remove_node(name);
    }
    /// A pod is on a node.
    pub(crate) fn place(&mut self, node: &str, pod: &Asking) {
        let mut info = pod.info.clone();
        info.node = Some(node.into());
        self.cluster.place(node, Arc::new(info));
    }
    /// A pod is not there.
    pub(crate) fn release(&mut self, uid: &str) {
        self.cluster.release(uid);
    }
    /// Has the next search begin anew.
    pub(crate) fn rewind(&mut self) {
        self.next = 0;
    }
    /// The first node that the filters let a pod go to, of those that may be looked at.
    pub(crate) fn first_fit(&mut self, pod: &Asking, may: &dyn Fn(&str) -> bool) -> Option<Arc<str>> {
        let profile = self.config.profile(&pod.scheduler)?;
        let (cycle, states) = Cycle::new(&mut self.cluster, &pod.info, profile).ok()?;
        let order = cycle.cluster.ordered();
        let start = self.next.checked_rem(order.len())?;
        let places = (start..order.len()).chain(0..start);
        for place in places {
            let at = order[place];
            let node = cycle.cluster.node(at);
            let named = cycle.only.as_ref().is_none_or(|only| only.contains(&&*node.name));
            if named && may(&node.name) && cycle.check_with_nominated(&states, at, node).is_none() {
                let name = node.name.clone();
                self.next = place + 1;
                return Some(name);
            }
        }
        None
    }
    /// Why the filters do not let a pod go to a node; empty: they do.
    pub(crate) fn against(&mut self, pod: &Asking, node: &str) -> Vec<String> {
        let owned = |all: Vec<std::borrow::Cow<'static, str>>| all.iter().map(ToString::to_string).collect();
        let Some(profile) = self.config.profile(&pod.scheduler) else { return Vec::new() };
        let (cycle, states) = match Cycle::new(&mut self.cluster, &pod.info, profile) {
            Ok(begun) => begun,
            Err(rejection) => return owned(rejection.reasons(&pod.info)),
        };
        let Some(at) = cycle.cluster.find(node) else { return vec!["node not found".to_owned()] };
        let named = cycle.only.as_ref().is_none_or(|only| only.contains(&node));
        let against = match named {
            true => cycle.check_with_nominated(&states, at, cycle.cluster.node(at)),
            false => Some(super::decision::not_named()),
        };
        against.map(|rejection| owned(rejection.reasons(&pod.info))).unwrap_or_default()
    }
}
