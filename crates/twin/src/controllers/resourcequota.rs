//! `resourcequota`: keeps what quotas say is used in step with what is.
//!
//! What each quota counts is added up once, when it comes or changes, and kept by differences after that: a change of an object
//! costs the quotas of its namespace, not its neighbours. Nothing of it is saved: after a load it is added up anew.

use super::owned::place;
use super::{Cx, Place};
use crate::apiserver::quota::{self, Usage, add, measure};
use crate::store::{Change, ChangeKind, Stored};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A quota and what is used of it.
#[derive(Debug)]
struct Counted {
    spec: Value,
    used: Usage,
    /// Changes up to this version are counted.
    version: u64,
}

/// The controller's state.
#[derive(Debug, Default)]
pub(crate) struct ResourceQuota {
    counted: BTreeMap<Place, Counted>,
    /// Quotas to be added up. Empty at rest.
    unknown: BTreeSet<Place>,
    /// Quotas whose status may be wrong. Empty at rest.
    dirty: BTreeSet<Place>,
    /// Whether the quotas there were at the beginning are known.
    begun: bool,
}

impl ResourceQuota {
    pub(crate) fn observe(&mut self, change: &Change) {
        let kind = change.object.object.kind();
        if kind == quota::kind() {
            self.observe_quota(change);
        }
        if self.counted.is_empty() || !kind.resource().namespaced {
            return;
        }
        let namespace = change.object.object.namespace();
        let from: Place = (namespace.into(), "".into());
        for (place, counted) in self.counted.range_mut(from..).take_while(|((of, _), _)| &**of == namespace) {
            if change.version <= counted.version {
                continue;
            }
            let used = |stored: &Stored| measure(&counted.spec, kind, &stored.object.to_value());
            let before = change.previous.as_deref().map(used).unwrap_or_default();
            let after = if change.kind == ChangeKind::Deleted { Usage::new() } else { used(&change.object) };
            add(&mut counted.used, &before, -1);
            add(&mut counted.used, &after, 1);
            if before != after {
                self.dirty.insert(place.clone());
            }
        }
    }
    fn observe_quota(&mut self, change: &Change) {
        let place = place(&change.object.object);
        if change.kind == ChangeKind::Deleted {
            self.counted.remove(&place);
            return;
        }
        match self.counted.get(&place) {
            Some(counted) if counted.spec == quota::spec(&change.object) => self.dirty.insert(place),
            _ => self.unknown.insert(place),
        };
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        if !std::mem::replace(&mut self.begun, true) {
            self.unknown.extend(cx.objects.list(quota::kind(), None).map(|stored| place(&stored.object)));
        }
        while let Some(place) = self.unknown.pop_first() {
            if let Some(counted) = count(cx, &place) {
                self.counted.insert(place.clone(), counted);
                self.dirty.insert(place);
            }
        }
        let mut acted = false;
        while let Some(place) = self.dirty.pop_first() {
            let stored = cx.objects.get(quota::kind(), &place.0, &place.1).cloned();
            if let (Some(stored), Some(counted)) = (stored, self.counted.get(&place)) {
                acted |= quota::set_status(cx.objects, &stored, &counted.used);
            }
        }
        acted
    }
}

/// Adds up what is used of a quota.
fn count(cx: &Cx<'_>, (namespace, name): &Place) -> Option<Counted> {
    let spec = quota::spec(cx.objects.get(quota::kind(), namespace, name)?);
    let mut used = Usage::new();
    for kind in cx.objects.kinds().filter(|kind| kind.resource().namespaced) {
        for stored in cx.objects.list(kind, Some(namespace)) {
            add(&mut used, &measure(&spec, kind, &stored.object.to_value()), 1);
        }
    }
    Some(Counted { spec, used, version: cx.objects.version() })
}
