//! What a pool may ask for: what a new node of each offering would be, and which pods of DaemonSets it would have.

use crate::amounts::{self, Amounts};
use crate::controllers::Cx;
use crate::controllers::daemonset::daemons_for;
use crate::controllers::scheduler::{Labels, Simulation};
use crate::object::Object;
use crate::random::Stream;
use crate::world::{NewNode, new_node};
use fleet::NodeGroup;
use k8s_openapi::api::core::v1::{Node, Pod};

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// A machine that may be asked for.
#[derive(Clone, Debug)]
pub(super) struct Offer<'a> {
    pub(super) group: &'a NodeGroup,
    node: Node,
    daemons: Vec<Pod>,
    /// What is left on it for other pods.
    pub(super) room: Amounts,
}

impl<'a> Offer<'a> {
    pub(super) fn new(cx: &Cx<'_>, group: &'a NodeGroup) -> Offer<'a> {
        let zone = group.zones.first().map_or("", String::as_str);
        let seat = NewNode { zone, cluster: 0, index: 0, ready: true };
        // Nothing of it is looked at but labels, taints and room, so what is drawn is of no consequence.
        let mut names = Stream::new(0, "karpenter/offer");
        let node = match new_node(cx.spec, group, &group.name, &seat, cx.now, &mut names).0 {
            Object::Node(node) => *node,
            _ => Node::default(),
        };
        let daemons = daemons_for(cx, &node);
        let mut room = amounts::allocatable(&node);
        daemons.iter().for_each(|daemon| room.subtract(&amounts::requested(daemon)));
        Offer { group, node, daemons, room }
    }
    /// The node it would be, of this name and in this zone.
    fn named(&self, name: &str, zone: &str) -> Node {
        let mut node = self.node.clone();
        node.metadata.name = Some(name.to_owned());
        let labels = node.metadata.labels.get_or_insert_default();
        labels.insert(HOSTNAME.to_owned(), name.to_owned());
        labels.insert(ZONE.to_owned(), zone.to_owned());
        node
    }
    /// The labels it would have in this zone.
    pub(super) fn labels(&self, zone: &str) -> Labels {
        let mut labels = self.node.metadata.labels.clone().unwrap_or_default();
        labels.insert(ZONE.to_owned(), zone.to_owned());
        labels
    }
    fn daemons<'b>(&'b self, name: &'b str) -> impl Iterator<Item = Pod> + 'b {
        self.daemons.iter().map(move |daemon| {
            let mut daemon = daemon.clone();
            daemon.metadata.uid = daemon.metadata.uid.map(|uid| format!("{uid}/{name}"));
            daemon
        })
    }
    /// Puts such a node into a simulation, or in place of what has its name there; `has` says of which DaemonSets (by
    /// uid) it has pods already.
    pub(super) fn put(
        &self,
        simulation: &mut Simulation,
        (name, zone): (&str, &str),
        has: &dyn Fn(&str) -> bool,
    ) {
        simulation.put_node(&self.named(name, zone));
        for daemon in self.daemons(name) {
            let set =
                daemon.metadata.uid.as_deref().and_then(|uid| uid.split('/').next()).unwrap_or_default();
            if has(set) {
                continue;
            }
            if let Some(asking) = simulation.asking(&daemon) {
                simulation.place(name, &asking);
            }
        }
    }
    /// Takes the pods of DaemonSets off again.
    pub(super) fn clear(&self, simulation: &mut Simulation, name: &str) {
        for daemon in self.daemons(name) {
            simulation.release(daemon.metadata.uid.as_deref().unwrap_or_default());
        }
    }
}

/// Whether an amount is within another.
pub(super) fn fits(asked: &Amounts, room: &Amounts) -> bool {
    let other = |(name, amount): (&String, &i64)| *amount <= 0 || *amount <= room.other(name);
    let whole = asked.cpu_millis <= room.cpu_millis && asked.memory_bytes <= room.memory_bytes;
    whole && asked.pods <= room.pods && asked.others.iter().all(other)
}
