//! Pods that wait, grouped by what their verdict hangs on: what is worked out for one of a group holds for all of it.
//!
//! A group is found again by its key while it has members; they keep alive what the key points at. Numbers of groups say
//! nothing about order, and differ from run to run, as their keys do.

use super::pod::PodInfo;
use crate::amounts::Amounts;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A group, by number.
pub(super) type Kin = u32;

/// What a verdict hangs on, apart from the state of the nodes, and what was told last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    pod: (u64, usize, usize),
    priority: i32,
    preempts: bool,
    asked: Option<Box<Amounts>>,
    nominated: Option<Arc<str>>,
    against: u32,
    message: Option<String>,
}

#[derive(Debug)]
struct Group {
    key: Key,
    members: BTreeSet<Arc<str>>,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Kins {
    numbers: HashMap<Key, Kin>,
    groups: BTreeMap<Kin, Group>,
    next: Kin,
}

impl Kins {
    /// Adds a pod that these plugins turned down, in these words; `wide`: other pods have a say in it. Gives its group.
    pub(super) fn add(
        &mut self,
        uid: &Arc<str>,
        pod: &PodInfo,
        (against, wide): (u32, bool),
        message: Option<&String>,
    ) -> Kin {
        let key = Key {
            pod: pod.kin(wide),
            priority: pod.priority,
            preempts: pod.preempts,
            asked: pod.asked.clone(),
            nominated: pod.nominated.clone(),
            against,
            message: message.cloned(),
        };
        let kin = self.numbers.get(&key).copied().unwrap_or_else(|| {
            self.next = self.next.wrapping_add(1);
            self.numbers.insert(key.clone(), self.next);
            self.groups.insert(self.next, Group { key, members: BTreeSet::new() });
            self.next
        });
        if let Some(group) = self.groups.get_mut(&kin) {
            group.members.insert(uid.clone());
        }
        kin
    }
    /// Takes a pod out of its group.
    pub(super) fn remove(&mut self, kin: Kin, uid: &str) {
        let Some(group) = self.groups.get_mut(&kin) else { return };
        group.members.remove(uid);
        if group.members.is_empty()
            && let Some(group) = self.groups.remove(&kin)
        {
            self.numbers.remove(&group.key);
        }
    }
    /// The groups that one of these plugins turned down.
    pub(super) fn turned_down(&self, by: u32) -> BTreeSet<Kin> {
        self.groups.iter().filter(|(_, group)| group.key.against & by != 0).map(|(kin, _)| *kin).collect()
    }
    /// The pods of a group.
    pub(super) fn members(&self, kin: Kin) -> impl Iterator<Item = &Arc<str>> {
        self.groups.get(&kin).into_iter().flat_map(|group| &group.members)
    }
}
