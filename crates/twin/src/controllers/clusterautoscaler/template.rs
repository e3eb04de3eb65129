//! What a new node of a group would be: a copy of one that is there, or what the group says, with the pods of DaemonSets and
//! its static pods.

use crate::apiserver::static_pod;
use crate::cloud::{Cloud, Stage};
use crate::controllers::Cx;
use crate::controllers::daemonset::daemons_for;
use crate::controllers::node::is_ready;
use crate::controllers::scheduler::Simulation;
use crate::kind::Kind;
use crate::object::Object;
use crate::random::Stream;
use crate::store::Objects;
use crate::world::{NewNode, new_node};
use fleet::NodeGroup;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};

pub(super) const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";
pub(super) const CANDIDATE: &str = "DeletionCandidateOfClusterAutoscaler";
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Taints that a new node would not have: those of a state, and those that are said to be of one.
const PASSING: [&str; 6] = [
    "node.kubernetes.io/",
    "aws-node-termination-handler/",
    "startup-taint.cluster-autoscaler.kubernetes.io/",
    "status-taint.cluster-autoscaler.kubernetes.io/",
    "ignore-taint.cluster-autoscaler.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
];

/// A node that does not exist, with what would run on it.
#[derive(Clone, Debug)]
pub(super) struct Template {
    node: Node,
    daemons: Vec<Pod>,
}

fn passes(taint: &Taint) -> bool {
    taint.key == TO_BE_DELETED
        || taint.key == CANDIDATE
        || PASSING.iter().any(|prefix| taint.key.starts_with(prefix))
}

/// The pods that nodes of a group run by themselves.
fn statics_of(group: &NodeGroup) -> impl Iterator<Item = Pod> + '_ {
    let read = group.kubelet.static_pods.iter().filter_map(|manifest| static_pod(manifest.clone()).ok());
    read.map(|mut pod| {
        pod.metadata.uid = pod.metadata.name.as_ref().map(|name| format!("static/{name}"));
        pod
    })
}

impl Template {
    /// Of a group.
    pub(super) fn new(cx: &Cx<'_>, cloud: &Cloud, group: &NodeGroup) -> Template {
        let there = cloud.machines().iter().filter(|(_, m)| *m.group == *group.name && m.stage == Stage::Up);
        let sample = there.filter_map(|(name, _)| cx.node(name)).find(|node| is_ready(node)).cloned();
        let mut node = sample.unwrap_or_else(|| {
            let zone = group.zones.first().map_or("", String::as_str);
            let seat = NewNode { zone, cluster: 0, index: 0, ready: true };
            // Nothing of it is looked at but labels and room, so what is drawn is of no consequence.
            let mut names = Stream::new(0, "clusterautoscaler/template");
            match new_node(cx.spec, group, &group.name, &seat, cx.now, &mut names).0 {
                Object::Node(node) => *node,
                _ => Node::default(),
            }
        });
        if let Some(spec) = &mut node.spec {
            spec.unschedulable = None;
            if let Some(taints) = &mut spec.taints {
                taints.retain(|taint| !passes(taint));
            }
        }
        let mut template = Template { node, daemons: Vec::new() };
        template.node = template.named(&format!("template-node-for-{}", group.name));
        template.daemons = daemons_for(cx, &template.node);
        template.daemons.extend(statics_of(group));
        template
    }
    fn named(&self, name: &str) -> Node {
        let mut node = self.node.clone();
        node.metadata.name = Some(name.to_owned());
        if let Some(labels) = &mut node.metadata.labels {
            labels.insert(HOSTNAME.to_owned(), name.to_owned());
        }
        node
    }
    /// Puts one more such node into a simulation.
    pub(super) fn add(&self, simulation: &mut Simulation, name: &str) {
        simulation.put_node(&self.named(name));
        for daemon in &self.daemons {
            let mut daemon = daemon.clone();
            daemon.metadata.uid = daemon.metadata.uid.map(|uid| format!("{uid}/{name}"));
            if let Some(asking) = simulation.asking(&daemon) {
                simulation.place(name, &asking);
            }
        }
    }
}

/// Nodes, for what is asked of all of them.
pub(super) fn nodes(objects: &Objects) -> impl Iterator<Item = &Node> {
    objects.list(Kind::Node, None).filter_map(|stored| stored.object.as_node())
}
