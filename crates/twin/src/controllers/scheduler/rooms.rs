//! What nodes have to offer to pods that ask for the same, remembered from one cycle to the next.
//!
//! Whether a node takes a pod by its room, taints, cordon and labels, and how its room is scored, depends on the node
//! and on what the pod asks for, on nothing else. Between two pods that ask for the same only the nodes differ that
//! changed meanwhile, so a [`Table`] keeps the answer for each node, by its place in the order of nodes, and forgets
//! those of nodes that changed. Answers are worked out when they are first asked for: a pod like no other costs what it
//! would without a table. Invariant: an answer that is kept is the one that would be worked out now.

use super::labels::NodeSelection;
use super::pod::{PodInfo, Template};
use super::profile::{Fit, Profile, Resource};
use super::status::Plugin;
use std::sync::Arc;

/// Most tables kept; the one unused for longest goes first. 8 bytes a node each: 5 MB at 5,000 nodes.
const TABLES_MAX: usize = 128;
/// Most sets of rules kept: as many as a configuration can have profiles.
const RULES_MAX: usize = 64;
/// Most changes of nodes remembered; a table that has not heard of more forgets everything.
const CHANGES_MAX: usize = 8192;

/// The answer is yet to be worked out.
const UNKNOWN: i64 = i64::MIN;
/// The node does not take the pod.
pub(super) const REFUSED: i64 = -1;

/// What a profile says about a node's room.
#[derive(Clone, Debug, PartialEq)]
struct Rules {
    /// Filters, one bit each.
    filters: u32,
    fit: Fit,
    fit_weight: i64,
    balanced: Vec<Resource>,
    balanced_weight: i64,
    required: Option<NodeSelection>,
}

/// The filters a table answers for.
pub(super) const FILTERS: [Plugin; 4] =
    [Plugin::NodeUnschedulable, Plugin::TaintToleration, Plugin::NodeAffinity, Plugin::NodeResourcesFit];

/// Which of the filters a table answers for a profile asks, one bit each.
pub(super) fn filters(profile: &Profile) -> u32 {
    let asked = profile.filters.iter().filter(|plugin| FILTERS.contains(plugin));
    asked.fold(0, |bits, plugin| bits | plugin.bit())
}

impl Rules {
    fn of(profile: &Profile) -> Rules {
        Rules {
            filters: filters(profile),
            fit: profile.fit.clone(),
            fit_weight: profile.weight(Plugin::NodeResourcesFit),
            balanced: profile.balanced.clone(),
            balanced_weight: profile.weight(Plugin::NodeResourcesBalancedAllocation),
            required: profile.added.required.clone(),
        }
    }
    fn are_of(&self, profile: &Profile) -> bool {
        self.filters == filters(profile)
            && self.fit == profile.fit
            && self.fit_weight == profile.weight(Plugin::NodeResourcesFit)
            && self.balanced == profile.balanced
            && self.balanced_weight == profile.weight(Plugin::NodeResourcesBalancedAllocation)
            && self.required == profile.added.required
    }
}

/// The answers of nodes to pods that ask for the same.
#[derive(Clone, Debug)]
pub(super) struct Table {
    rules: usize,
    ask: u64,
    of: Arc<Template>,
    /// By place in the order of nodes: [`UNKNOWN`], [`REFUSED`], or the weighted scores of room.
    answers: Vec<i64>,
    /// How many changes it has heard of.
    heard: u64,
    used: u64,
}

impl Table {
    /// The answer of the node at a place, which `work_out` knows.
    #[inline]
    pub(super) fn answer(&mut self, place: usize, work_out: impl FnOnce() -> i64) -> i64 {
        let answer = &mut self.answers[place];
        if *answer == UNKNOWN {
            *answer = work_out();
        }
        *answer
    }
    /// Works out what is yet to be known at some places; at how many of them a node takes the pod.
    pub(super) fn fill(
        &mut self,
        places: std::ops::Range<usize>,
        mut work_out: impl FnMut(usize) -> i64,
    ) -> usize {
        let answers = &mut self.answers[places.clone()];
        // What is not known and what is refused are below zero, and so is whatever has a bit of them.
        let mut all = 0;
        for answer in answers.iter() {
            all |= *answer;
        }
        if all >= 0 {
            return answers.len();
        }
        let mut taken = 0;
        for (i, answer) in answers.iter_mut().enumerate() {
            if *answer == UNKNOWN {
                *answer = work_out(places.start + i);
            }
            taken += usize::from(*answer != REFUSED);
        }
        taken
    }
    /// Answers that are known.
    pub(super) fn known(&self, places: std::ops::Range<usize>) -> &[i64] {
        &self.answers[places]
    }
}

/// The tables in use, and what they have not heard of.
#[derive(Clone, Debug, Default)]
pub(super) struct Rooms {
    rules: Vec<Rules>,
    tables: Vec<Table>,
    /// Numbers of nodes that changed, the latest last.
    changes: Vec<u32>,
    /// How many changes came before those.
    forgotten: u64,
    clock: u64,
}

impl Rooms {
    /// A node has changed, or what is on it.
    #[inline]
    pub(super) fn changed(&mut self, node: u32) {
        if self.tables.is_empty() {
            return;
        }
        if self.changes.len() >= CHANGES_MAX {
            self.forgotten += self.changes.len() as u64;
            self.changes.clear();
        }
        self.changes.push(node);
    }
    /// Nodes have other places now.
    pub(super) fn forget(&mut self) {
        self.tables.clear();
        self.changes.clear();
    }
    /// Takes the table for a pod out, made if there is none, and up to date; `places` are those of nodes by number.
    pub(super) fn take(&mut self, pod: &PodInfo, profile: &Profile, nodes: usize, places: &[u32]) -> Table {
        self.clock += 1;
        let rules = self.rules(profile);
        let end = self.forgotten + self.changes.len() as u64;
        let same = |t: &Table| {
            (t.ask, t.rules) == (pod.ask, rules)
                && (Arc::ptr_eq(&t.of, &pod.template) || t.of.asks_the_same(&pod.template))
        };
        let Some(at) = self.tables.iter().position(same) else {
            let answers = vec![UNKNOWN; nodes];
            let of = pod.template.clone();
            return Table { rules, ask: pod.ask, of, answers, heard: end, used: self.clock };
        };
        let mut table = self.tables.swap_remove(at);
        match table.heard.checked_sub(self.forgotten) {
            None => table.answers.fill(UNKNOWN),
            Some(heard) => {
                for node in &self.changes[heard as usize..] {
                    let place = places.get(*node as usize).and_then(|p| table.answers.get_mut(*p as usize));
                    if let Some(answer) = place {
                        *answer = UNKNOWN;
                    }
                }
            }
        }
        table.heard = end;
        table.used = self.clock;
        table
    }
    /// Puts a table back.
    pub(super) fn put_back(&mut self, table: Table) {
        if self.tables.len() >= TABLES_MAX {
            let oldest = (0..self.tables.len()).min_by_key(|i| self.tables[*i].used);
            oldest.map(|at| self.tables.swap_remove(at));
        }
        self.tables.push(table);
    }
    fn rules(&mut self, profile: &Profile) -> usize {
        if let Some(at) = self.rules.iter().position(|rules| rules.are_of(profile)) {
            return at;
        }
        if self.rules.len() >= RULES_MAX {
            self.forget();
            self.rules.clear();
        }
        self.rules.push(Rules::of(profile));
        self.rules.len() - 1
    }
}
