//! Counts of pods by node, kept up to date as pods come and go, so that a scheduling cycle never looks
//! at the pods already placed.
//!
//! A [`Counter`] counts the pods that some selectors match; it is made when a pod first asks for it. A
//! [`Carried`] term is a term of (anti-)affinity that placed pods carry, with how many on each node.
//! Both are found through a label they need, not by trying all. Counters not used for long are dropped.

use super::labels::Labels;
use super::pod::{PodInfo, PodSelector, Term};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Most counters kept; the one unused for longest goes first.
const COUNTERS_MAX: usize = 2048;

/// Labels of the namespaces there are.
pub(super) type Namespaces = BTreeMap<Arc<str>, Labels>;

impl PodSelector {
    pub(super) fn matches(&self, namespace: &str, labels: &Labels, namespaces: &Namespaces) -> bool {
        let named = || self.namespaces.iter().any(|n| &**n == namespace);
        let selected = || {
            self.namespace_selector.is_everything()
                || namespaces.get(namespace).is_some_and(|labels| self.namespace_selector.matches(labels))
        };
        (named() || selected()) && self.selector.matches(labels)
    }
}

/// Finds what may match a set of labels.
#[derive(Clone, Debug, Default)]
struct LabelIndex {
    by_label: HashMap<String, HashMap<String, Vec<u32>>>,
    rest: Vec<u32>,
}

impl LabelIndex {
    fn insert(&mut self, id: u32, needed: Option<(&str, &str)>) {
        match needed {
            Some((key, value)) => {
                let values = self.by_label.entry(key.to_owned()).or_default();
                values.entry(value.to_owned()).or_default().push(id);
            }
            None => self.rest.push(id),
        }
    }
    fn remove(&mut self, id: u32, needed: Option<(&str, &str)>) {
        let Some((key, value)) = needed else {
            self.rest.retain(|other| *other != id);
            return;
        };
        let Some(values) = self.by_label.get_mut(key) else { return };
        if let Some(ids) = values.get_mut(value) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.by_label.remove(key);
        }
    }
    fn candidates<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = u32> + 'a {
        let needed = labels.iter().filter_map(|(key, value)| self.by_label.get(key)?.get(value));
        needed.flatten().chain(&self.rest).copied()
    }
}

/// How many pods on each node all of some selectors match.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    of: Vec<PodSelector>,
    /// By node, pods being deleted included.
    pub(super) all: Vec<u32>,
    /// By node, without pods being deleted.
    pub(super) live: Vec<u32>,
    used: u64,
}

/// All counters.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    list: Vec<Option<Counter>>,
    ids: HashMap<Vec<PodSelector>, u32>,
    index: LabelIndex,
    clock: u64,
}

fn needed(of: &[PodSelector]) -> Option<(&str, &str)> {
    of.iter().find_map(|s| s.selector.needed())
}

impl Counters {
    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&Counter> {
        self.list.get(id as usize)?.as_ref()
    }
    /// The counter of some selectors, made from the pods there are if it is new.
    pub(super) fn find<'a>(
        &mut self,
        of: &[PodSelector],
        nodes: usize,
        pods: impl Iterator<Item = (u32, &'a PodInfo)>,
        namespaces: &Namespaces,
    ) -> u32 {
        self.clock += 1;
        if let Some(id) = self.ids.get(of).copied() {
            if let Some(Some(counter)) = self.list.get_mut(id as usize) {
                counter.used = self.clock;
            }
            return id;
        }
        let mut counter =
            Counter { of: of.to_vec(), all: vec![0; nodes], live: vec![0; nodes], used: self.clock };
        for (node, pod) in pods {
            counter.count(node, pod, true, namespaces);
        }
        if self.ids.len() >= COUNTERS_MAX {
            self.drop_oldest();
        }
        let free = self.list.iter().position(Option::is_none).unwrap_or_else(|| {
            self.list.push(None);
            self.list.len() - 1
        });
        let id = free as u32;
        self.index.insert(id, needed(of));
        self.list[free] = Some(counter);
        self.ids.insert(of.to_vec(), id);
        id
    }
    fn drop_oldest(&mut self) {
        let used = self.list.iter().enumerate().filter_map(|(i, c)| Some((c.as_ref()?.used, i)));
        let Some((_, oldest)) = used.min() else { return };
        self.forget(oldest);
    }
    fn forget(&mut self, at: usize) {
        let Some(counter) = self.list.get_mut(at).and_then(Option::take) else { return };
        self.index.remove(at as u32, needed(&counter.of));
        self.ids.remove(&counter.of);
    }
    /// A pod comes to a node, or leaves it.
    pub(super) fn change(&mut self, node: u32, pod: &PodInfo, comes: bool, namespaces: &Namespaces) {
        for id in self.index.candidates(&pod.labels) {
            if let Some(Some(counter)) = self.list.get_mut(id as usize) {
                counter.count(node, pod, comes, namespaces);
            }
        }
    }
    /// The labels of a namespace changed: what was counted by them is counted anew when asked for.
    pub(super) fn namespace_changed(&mut self) {
        for at in 0..self.list.len() {
            let by_labels = |c: &Counter| c.of.iter().any(|s| !s.namespace_selector.is_nothing());
            if self.list[at].as_ref().is_some_and(by_labels) {
                self.forget(at);
            }
        }
    }
}

impl Counter {
    fn count(&mut self, node: u32, pod: &PodInfo, comes: bool, namespaces: &Namespaces) {
        if !self.of.iter().all(|s| s.matches(&pod.namespace, &pod.labels, namespaces)) {
            return;
        }
        let at = node as usize;
        if at >= self.all.len() {
            self.all.resize(at + 1, 0);
            self.live.resize(at + 1, 0);
        }
        let step = |count: &mut u32| *count = if comes { *count + 1 } else { count.saturating_sub(1) };
        step(&mut self.all[at]);
        if !pod.terminating {
            step(&mut self.live[at]);
        }
    }
}

/// What a term of a placed pod means to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Bearing {
    RequiredAnti,
    Required,
    Preferred,
    PreferredAnti,
}

/// A term that placed pods carry.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) bearing: Bearing,
    pub(super) term: Arc<Term>,
    /// How many pods with this term are on each node.
    pub(super) by_node: Vec<u32>,
    total: usize,
}

/// Every term that placed pods carry.
#[derive(Clone, Debug, Default)]
pub(super) struct CarriedTerms {
    list: Vec<Option<Carried>>,
    ids: HashMap<(Bearing, Arc<Term>), u32>,
    index: LabelIndex,
    free: Vec<u32>,
}

/// The terms of a pod with what they mean to others.
fn terms(pod: &PodInfo) -> impl Iterator<Item = (Bearing, &Arc<Term>)> {
    let terms = &pod.rare.terms;
    let anti = terms.anti.iter().map(|t| (Bearing::RequiredAnti, t));
    let required = terms.affinity.iter().map(|t| (Bearing::Required, t));
    let preferred = terms.preferred.iter().map(|t| (Bearing::Preferred, t));
    let preferred_anti = terms.preferred_anti.iter().map(|t| (Bearing::PreferredAnti, t));
    anti.chain(required).chain(preferred).chain(preferred_anti)
}

impl CarriedTerms {
    /// A pod comes to a node, or leaves it.
    pub(super) fn change(&mut self, node: u32, pod: &PodInfo, comes: bool) {
        for (bearing, term) in terms(pod) {
            let key = (bearing, term.clone());
            let id = match self.ids.get(&key) {
                Some(id) => *id,
                None if comes => self.add(key),
                None => continue,
            };
            let Some(Some(carried)) = self.list.get_mut(id as usize) else { continue };
            let at = node as usize;
            if at >= carried.by_node.len() {
                carried.by_node.resize(at + 1, 0);
            }
            if comes {
                carried.by_node[at] += 1;
                carried.total += 1;
            } else {
                carried.by_node[at] = carried.by_node[at].saturating_sub(1);
                carried.total = carried.total.saturating_sub(1);
            }
            if carried.total == 0 {
                self.drop(id);
            }
        }
    }
    fn add(&mut self, key: (Bearing, Arc<Term>)) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.list.push(None);
            (self.list.len() - 1) as u32
        });
        self.index.insert(id, key.1.pods.selector.needed());
        let carried = Carried { bearing: key.0, term: key.1.clone(), by_node: Vec::new(), total: 0 };
        self.list[id as usize] = Some(carried);
        self.ids.insert(key, id);
        id
    }
    fn drop(&mut self, id: u32) {
        let Some(carried) = self.list.get_mut(id as usize).and_then(Option::take) else { return };
        self.index.remove(id, carried.term.pods.selector.needed());
        self.ids.remove(&(carried.bearing, carried.term));
        self.free.push(id);
    }
    /// The terms that match a pod, with their numbers.
    pub(super) fn matching<'a>(
        &'a self,
        pod: &'a PodInfo,
        namespaces: &'a Namespaces,
    ) -> impl Iterator<Item = (u32, &'a Carried)> + 'a {
        let found = self.index.candidates(&pod.labels);
        found
            .filter_map(|id| Some((id, self.get(id)?)))
            .filter(|(_, c)| c.term.pods.matches(&pod.namespace, &pod.labels, namespaces))
    }
    pub(super) fn get(&self, id: u32) -> Option<&Carried> {
        self.list.get(id as usize)?.as_ref()
    }
}

/// Values of labels that nodes are grouped by.
#[derive(Clone, Debug, Default)]
pub(super) struct Topology {
    keys: Vec<TopologyKey>,
    ids: HashMap<Arc<str>, usize>,
}

/// One label and the value each node has of it.
#[derive(Clone, Debug)]
pub(super) struct TopologyKey {
    pub(super) name: Arc<str>,
    values: HashMap<String, u32>,
    /// By node; [`NO_VALUE`] where it lacks the label.
    pub(super) of_node: Vec<u32>,
}

/// A node that lacks the label.
pub(super) const NO_VALUE: u32 = u32::MAX;

impl TopologyKey {
    fn set(&mut self, node: usize, value: Option<&String>) {
        if node >= self.of_node.len() {
            self.of_node.resize(node + 1, NO_VALUE);
        }
        self.of_node[node] = match value {
            None => NO_VALUE,
            Some(value) => match self.values.get(value) {
                Some(id) => *id,
                None => {
                    let id = self.values.len() as u32;
                    self.values.insert(value.clone(), id);
                    id
                }
            },
        };
    }
    /// How many values have been seen.
    pub(super) fn size(&self) -> usize {
        self.values.len()
    }
    /// The value of a node.
    #[inline]
    pub(super) fn value(&self, node: u32) -> Option<usize> {
        let value = self.of_node.get(node as usize).copied().unwrap_or(NO_VALUE);
        (value != NO_VALUE).then_some(value as usize)
    }
}

impl Topology {
    #[inline]
    pub(super) fn key(&self, id: usize) -> &TopologyKey {
        &self.keys[id]
    }
    /// The id of a label; read from all nodes when it is new.
    pub(super) fn find<'a>(
        &mut self,
        name: &Arc<str>,
        nodes: impl Iterator<Item = (usize, &'a Labels)>,
    ) -> usize {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let mut key = TopologyKey { name: name.clone(), values: HashMap::new(), of_node: Vec::new() };
        for (node, labels) in nodes {
            key.set(node, labels.get(&**name));
        }
        self.keys.push(key);
        self.ids.insert(name.clone(), self.keys.len() - 1);
        self.keys.len() - 1
    }
    /// The id of a label that has been asked for before.
    pub(super) fn known(&self, name: &str) -> Option<usize> {
        self.ids.get(name).copied()
    }
    /// A node's labels are these now.
    pub(super) fn update(&mut self, node: usize, labels: &Labels) {
        for key in &mut self.keys {
            let value = labels.get(&*key.name);
            key.set(node, value);
        }
    }
}
