//! A pod as the scheduler sees it, digested once when it is heard of.
//!
//! Invariant: nothing of the pod's document is parsed again in a scheduling cycle. `matchLabelKeys` and
//! `mismatchLabelKeys` are merged into their selectors here, as the API server does when a pod is created;
//! doing it twice changes nothing. What pods of one template have in common is a [`Template`], which
//! [`super::templates`] makes once for all of them. Left out: inline volumes of retired cloud drivers.

use super::labels::{Labels, NodeSelection, NodeTerm, Operator, Requirement, Selector, node_terms};
use crate::amounts::{self, Amounts};
use fleet::Instant;
use k8s_openapi::api::core::v1 as core;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

/// A host port: address (`0.0.0.0` for any), protocol, number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostPort {
    pub(super) ip: String,
    pub(super) protocol: String,
    pub(super) port: i32,
}

/// Kinds of controllers whose selectors spread pods that say nothing themselves.
const SPREADING: [&str; 3] = ["ReplicationController", "ReplicaSet", "StatefulSet"];

/// Address that stands for all.
const ANY_IP: &str = "0.0.0.0";

impl HostPort {
    pub(super) fn conflicts(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ANY_IP || other.ip == ANY_IP)
    }
}

/// Which pods a term is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PodSelector {
    /// In order.
    pub(super) namespaces: Vec<Arc<str>>,
    pub(super) namespace_selector: Selector,
    pub(super) selector: Selector,
}

/// A term of pod (anti-)affinity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Term {
    pub(super) pods: PodSelector,
    pub(super) key: Arc<str>,
    /// Of a preferred term.
    pub(super) weight: i64,
}

/// A topology spread constraint.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    pub(super) key: Arc<str>,
    pub(super) skew_max: i64,
    /// Whether it must hold, rather than should.
    pub(super) hard: bool,
    pub(super) domains_min: usize,
    pub(super) pods: PodSelector,
    pub(super) honor_affinity: bool,
    pub(super) honor_taints: bool,
    /// Whether the selector matches the pod itself.
    pub(super) own: bool,
}

/// A pod's terms of (anti-)affinity to pods.
#[derive(Clone, Debug, Default)]
pub(super) struct PodTerms {
    pub(super) affinity: Vec<Arc<Term>>,
    /// The selectors of all terms in `affinity`: a pod counts for them only if it matches every one.
    pub(super) affinity_pods: Vec<PodSelector>,
    pub(super) anti: Vec<Arc<Term>>,
    pub(super) preferred: Vec<Arc<Term>>,
    pub(super) preferred_anti: Vec<Arc<Term>>,
}

/// What few pods have.
#[derive(Clone, Debug, Default)]
pub(super) struct Rare {
    pub(super) spreads: Vec<Arc<Spread>>,
    pub(super) terms: PodTerms,
    pub(super) ports: Vec<HostPort>,
    /// Names of the claims its volumes use, in order, duplicates left in.
    pub(super) claims: Vec<Arc<str>>,
    pub(super) selection: NodeSelection,
    pub(super) preferred: Vec<(i64, NodeTerm)>,
    /// Why the preferred node affinity cannot be parsed.
    pub(super) preferred_error: Option<String>,
    /// Kind and name of its controller, if that is one whose selector spreads pods.
    pub(super) owner: Option<(String, String)>,
}

/// What all pods share that have none of it.
static PLAIN: LazyLock<Arc<Rare>> = LazyLock::new(Arc::default);

impl Rare {
    fn is_plain(&self) -> bool {
        let terms = &self.terms;
        self.spreads.is_empty()
            && [&terms.affinity, &terms.anti, &terms.preferred, &terms.preferred_anti]
                .iter()
                .all(|t| t.is_empty())
            && self.ports.is_empty()
            && self.claims.is_empty()
            && self.selection.is_everything()
            && self.preferred.is_empty()
            && self.preferred_error.is_none()
            && self.owner.is_none()
    }
}

/// What pods of one template have in common.
#[derive(Clone, Debug)]
pub struct Template {
    /// Namespace.
    pub namespace: Arc<str>,
    pub(super) labels: Labels,
    pub(super) request: Amounts,
    /// CPU and memory with kube-scheduler's stand-ins for what is not stated.
    pub(super) scored: (i64, i64),
    /// The same while the pod is not placed.
    pub(super) scored_incoming: (i64, i64),
    pub(super) tolerations: Vec<core::Toleration>,
    /// Images with their tags, in order of the containers; init containers first.
    pub(super) images: Vec<String>,
    pub(super) rare: Arc<Rare>,
    /// A digest of what it asks of a node by itself: equal for equal asks.
    pub(super) ask: u64,
}

/// A pod as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// Uid.
    pub uid: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    pub(super) template: Arc<Template>,
    pub(super) priority: i32,
    /// Whether it may preempt.
    pub(super) preempts: bool,
    /// What of its request a node must have, where its profile ignores some; amounts ignored are 0.
    pub(super) asked: Option<Box<Amounts>>,
    /// The node the pod itself asks for or is bound to.
    pub(super) node: Option<Arc<str>>,
    pub(super) nominated: Option<Arc<str>>,
    pub(super) terminating: bool,
    /// Whether it is being deleted to make room for another.
    pub(super) preempted: bool,
    pub(super) start: Option<Instant>,
    /// Whether it holds something else than it asks for, because it is being resized.
    pub(super) resized: bool,
}

/// What is shared is read as if it were the pod's own.
impl std::ops::Deref for PodInfo {
    type Target = Template;
    fn deref(&self) -> &Template {
        &self.template
    }
}

/// An image's name with its tag.
pub(super) fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    if last.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}

impl Template {
    /// Digests what a pod has in common with others of its template. [`super::templates`] must know whatever is read
    /// here.
    pub(super) fn new(pod: &core::Pod) -> Template {
        let none = core::PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&none);
        let meta = &pod.metadata;
        let (request, scored, scored_incoming) = amounts::all(pod);
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let labels = meta.labels.clone().unwrap_or_default();
        let namespace: Arc<str> = meta.namespace.as_deref().unwrap_or_default().into();
        let rare = rare(pod, spec, &namespace, &labels);
        let mut template = Template {
            request,
            scored,
            scored_incoming,
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            images: containers.filter_map(|c| c.image.as_deref()).map(tagged).collect(),
            rare: if rare.is_plain() { PLAIN.clone() } else { Arc::new(rare) },
            namespace,
            labels,
            ask: 0,
        };
        template.ask = template.digest_of_ask();
        template
    }
    fn digest_of_ask(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Amounts { cpu_millis, memory_bytes, pods, others } = &self.request;
        (cpu_millis, memory_bytes, pods, others, self.scored_incoming).hash(&mut hasher);
        for t in &self.tolerations {
            (&t.key, &t.operator, &t.value, &t.effect).hash(&mut hasher);
        }
        self.rare.selection.hash(&mut hasher);
        hasher.finish()
    }
    /// Whether pods of both find the same on a node, whatever is on it.
    pub(super) fn asks_the_same(&self, other: &Template) -> bool {
        self.ask == other.ask
            && self.request == other.request
            && self.scored_incoming == other.scored_incoming
            && self.tolerations == other.tolerations
            && self.rare.selection == other.rare.selection
    }
}

impl PodInfo {
    /// Whether its node selector and required node affinity allow a node.
    pub(crate) fn may_be_on(&self, node: &str, labels: &Labels) -> bool {
        self.rare.selection.matches(node, labels)
    }
    /// Whether it wants host ports another has taken.
    pub(crate) fn takes_ports_of(&self, other: &PodInfo) -> bool {
        self.rare.ports.iter().any(|port| other.rare.ports.iter().any(|taken| taken.conflicts(port)))
    }
    /// Digests a pod.
    pub fn new(pod: &core::Pod) -> PodInfo {
        PodInfo::of(pod, Arc::new(Template::new(pod)))
    }
    /// Digests a pod whose template is known.
    pub(super) fn of(pod: &core::Pod, template: Arc<Template>) -> PodInfo {
        let (spec, status, meta) = (pod.spec.as_ref(), pod.status.as_ref(), &pod.metadata);
        let text = |t: &Option<String>| -> Arc<str> { t.as_deref().unwrap_or_default().into() };
        let named = |t: Option<&String>| t.filter(|n| !n.is_empty()).map(|n| Arc::from(n.as_str()));
        let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        PodInfo {
            uid: text(&meta.uid),
            name: text(&meta.name),
            template,
            priority: spec.and_then(|s| s.priority).unwrap_or(0),
            preempts: spec.and_then(|s| s.preemption_policy.as_deref()) != Some("Never"),
            asked: None,
            node: named(spec.and_then(|s| s.node_name.as_ref())),
            nominated: named(status.and_then(|s| s.nominated_node_name.as_ref())),
            terminating: meta.deletion_timestamp.is_some(),
            preempted: conditions.iter().any(|c| {
                c.type_ == "DisruptionTarget"
                    && c.status == "True"
                    && c.reason.as_deref() == Some("PreemptionByScheduler")
            }),
            start: status.and_then(|s| s.start_time.as_ref()).map(|t| Instant::from_jiff(t.0)),
            resized: amounts::is_resized(pod),
        }
    }
    /// What a node must have for it.
    pub(super) fn asked(&self) -> &Amounts {
        self.asked.as_deref().unwrap_or(&self.request)
    }
    /// Equal for pods that every node answers alike as long as all are in the same state; `wide`: where other pods have a
    /// say in it. Not more than equal: it says nothing about order, and differs from run to run.
    pub(super) fn kin(&self, wide: bool) -> (u64, usize, usize) {
        let own = if wide { Arc::as_ptr(&self.template).addr() } else { 0 };
        (self.ask, Arc::as_ptr(&self.rare).addr(), own)
    }
    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn rare(pod: &core::Pod, spec: &core::PodSpec, namespace: &Arc<str>, labels: &Labels) -> Rare {
    let affinity = spec.affinity.as_ref();
    let node = affinity.and_then(|a| a.node_affinity.as_ref());
    let required = node.and_then(|n| n.required_during_scheduling_ignored_during_execution.as_ref());
    let selection = NodeSelection {
        labels: spec.node_selector.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        terms: required.map(node_terms),
    };
    let (mut preferred, mut errors) = (Vec::new(), Vec::new());
    let listed = node.and_then(|n| n.preferred_during_scheduling_ignored_during_execution.as_ref());
    for (i, term) in listed.into_iter().flatten().enumerate() {
        let said = &term.preference;
        let empty = said.match_expressions.as_ref().is_none_or(Vec::is_empty)
            && said.match_fields.as_ref().is_none_or(Vec::is_empty);
        if term.weight == 0 || empty {
            continue;
        }
        let (parsed, problems) = NodeTerm::new(said, &format!("[{i}]"));
        preferred.push((i64::from(term.weight), parsed));
        errors.extend(problems);
    }
    let claims = spec.volumes.iter().flatten().filter_map(|v| {
        let generic = v.ephemeral.as_ref().map(|_| {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            Arc::from(format!("{pod}-{}", v.name).as_str())
        });
        v.persistent_volume_claim.as_ref().map(|c| Arc::from(c.claim_name.as_str())).or(generic)
    });
    let owner = spreading_owner(pod);
    Rare {
        spreads: spec
            .topology_spread_constraints
            .iter()
            .flatten()
            .map(|c| Arc::new(spread(c, namespace, labels)))
            .collect(),
        terms: pod_terms(affinity, namespace, labels),
        ports: host_ports(spec),
        claims: claims.collect(),
        selection,
        preferred,
        preferred_error: match errors.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            many => Some(format!("[{}]", many.join(", "))),
        },
        owner: owner.map(|(kind, name)| (kind.to_owned(), name.to_owned())),
    }
}

/// Kind and name of a pod's controller, if that is one whose selector spreads pods.
pub(super) fn spreading_owner(pod: &core::Pod) -> Option<(&str, &str)> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners.find(|o| o.controller == Some(true) && SPREADING.contains(&o.kind.as_str()))?;
    Some((&owner.kind, &owner.name))
}

fn host_ports(spec: &core::PodSpec) -> Vec<HostPort> {
    let always = |c: &&core::Container| c.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(always);
    let ports = sidecars.chain(&spec.containers).flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|p| {
            let ip = p.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or(ANY_IP);
            let protocol = p.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP");
            let port = p.host_port.filter(|port| *port > 0)?;
            Some(HostPort { ip: ip.to_owned(), protocol: protocol.to_owned(), port })
        })
        .collect()
}

/// `key in (the pod's own value)`, for the keys the pod has.
fn own_values<'a>(
    keys: Option<&'a Vec<String>>,
    labels: &'a Labels,
    operator: Operator,
) -> impl Iterator<Item = Requirement> + 'a {
    let keys = keys.into_iter().flatten();
    keys.filter_map(move |key| Some(Requirement::new(key, operator, std::slice::from_ref(labels.get(key)?))))
}

fn spread(constraint: &core::TopologySpreadConstraint, namespace: &Arc<str>, labels: &Labels) -> Spread {
    let mut selector = Selector::new(constraint.label_selector.as_ref());
    selector.require(own_values(constraint.match_label_keys.as_ref(), labels, Operator::In));
    Spread {
        key: constraint.topology_key.as_str().into(),
        skew_max: i64::from(constraint.max_skew),
        hard: constraint.when_unsatisfiable == "DoNotSchedule",
        domains_min: constraint.min_domains.map_or(1, |n| n.max(0) as usize),
        own: selector.matches(labels),
        pods: PodSelector {
            namespaces: vec![namespace.clone()],
            namespace_selector: Selector::Nothing,
            selector,
        },
        honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
        honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn term(term: &core::PodAffinityTerm, weight: i32, namespace: &Arc<str>, labels: &Labels) -> Term {
    let mut selector = Selector::new(term.label_selector.as_ref());
    selector.require(own_values(term.match_label_keys.as_ref(), labels, Operator::In));
    selector.require(own_values(term.mismatch_label_keys.as_ref(), labels, Operator::NotIn));
    let listed = term.namespaces.as_deref().unwrap_or_default();
    let mut namespaces: Vec<Arc<str>> = listed.iter().map(|n| Arc::from(n.as_str())).collect();
    if namespaces.is_empty() && term.namespace_selector.is_none() {
        namespaces.push(namespace.clone());
    }
    namespaces.sort_unstable();
    namespaces.dedup();
    let namespace_selector = Selector::new(term.namespace_selector.as_ref());
    let pods = PodSelector { namespaces, namespace_selector, selector };
    Term { pods, key: term.topology_key.as_str().into(), weight: i64::from(weight) }
}

fn pod_terms(affinity: Option<&core::Affinity>, namespace: &Arc<str>, labels: &Labels) -> PodTerms {
    let mut terms = PodTerms::default();
    let required = |list: &Option<Vec<core::PodAffinityTerm>>| -> Vec<Arc<Term>> {
        list.iter().flatten().map(|t| Arc::new(term(t, 0, namespace, labels))).collect()
    };
    let preferred = |list: &Option<Vec<core::WeightedPodAffinityTerm>>| -> Vec<Arc<Term>> {
        list.iter()
            .flatten()
            .map(|t| Arc::new(term(&t.pod_affinity_term, t.weight, namespace, labels)))
            .collect()
    };
    if let Some(to) = affinity.and_then(|a| a.pod_affinity.as_ref()) {
        terms.affinity = required(&to.required_during_scheduling_ignored_during_execution);
        terms.affinity_pods = terms.affinity.iter().map(|t| t.pods.clone()).collect();
        terms.preferred = preferred(&to.preferred_during_scheduling_ignored_during_execution);
    }
    if let Some(from) = affinity.and_then(|a| a.pod_anti_affinity.as_ref()) {
        terms.anti = required(&from.required_during_scheduling_ignored_during_execution);
        terms.preferred_anti = preferred(&from.preferred_during_scheduling_ignored_during_execution);
    }
    terms
}
