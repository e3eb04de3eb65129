//! What disks hold, integrated over virtual time: bytes × nanoseconds by class, from when a PersistentVolume is there until it
//! is gone.
//!
//! A disk is a PersistentVolume that a driver made in a cloud (`spec.csi`), bound or not: one that is kept after its claim goes
//! on. What it holds is constant between changes, so each stretch is counted when it ends, in integers, and reading changes
//! nothing. Invariant: what is counted does not depend on when it is read.

use crate::apiserver::quantity::Quantity;
use crate::kind::Kind;
use crate::object::Document;
use crate::store::{Change, ChangeKind};
use fleet::Instant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Looked up once: the table of resources is long.
static VOLUME: LazyLock<Kind> = LazyLock::new(|| Kind::document("", "persistentvolumes"));

/// A disk as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Disk {
    class: Arc<str>,
    bytes: i64,
    since: Instant,
}

/// The disks of a cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Disks {
    /// By uid.
    there: BTreeMap<Arc<str>, Disk>,
    /// Bytes × nanoseconds up to the last change, by class.
    past: BTreeMap<Arc<str>, i128>,
}

impl Disk {
    fn byte_nanos(&self, until: Instant) -> i128 {
        i128::from(self.bytes) * i128::from((until - self.since).as_nanos())
    }
}

/// Class and bytes of a volume that is a disk.
fn disk(volume: &Document) -> Option<(Arc<str>, i64)> {
    let spec = volume.body.get("spec")?;
    spec.get("csi")?;
    let class = spec.get("storageClassName").and_then(|class| class.as_str()).unwrap_or_default();
    let size = spec.pointer("/capacity/storage")?.as_str()?;
    let bytes = Quantity::parse(size).map_or(0, Quantity::units);
    Some((class.into(), i64::try_from(bytes).unwrap_or(i64::MAX).max(0)))
}

impl Disks {
    /// Whether there are none and never were.
    pub(crate) fn is_empty(&self) -> bool {
        self.there.is_empty() && self.past.is_empty()
    }
    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let Some(volume) = change.object.object.as_document() else { return };
        if volume.kind != *VOLUME {
            return;
        }
        let uid = volume.metadata.uid.as_deref().unwrap_or_default();
        let is = disk(volume).filter(|_| change.kind != ChangeKind::Deleted);
        self.set(uid, is, now);
    }
    fn set(&mut self, uid: &str, is: Option<(Arc<str>, i64)>, now: Instant) {
        let was = self.there.get(uid);
        if was.map(|disk| (&disk.class, disk.bytes)) == is.as_ref().map(|(class, bytes)| (class, *bytes)) {
            return;
        }
        if let Some(disk) = self.there.remove(uid) {
            *self.past.entry(disk.class.clone()).or_default() += disk.byte_nanos(now);
        }
        if let Some((class, bytes)) = is {
            self.there.insert(uid.into(), Disk { class, bytes, since: now });
        }
    }
    /// Bytes × nanoseconds until now, by class.
    pub(crate) fn used(&self, now: Instant) -> BTreeMap<Arc<str>, i128> {
        let mut used = self.past.clone();
        for disk in self.there.values() {
            *used.entry(disk.class.clone()).or_default() += disk.byte_nanos(now);
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::tariff::Tariffs;
    use fleet::{Money, Span};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_counted_does_not_depend_on_where_time_is_cut(
            changes in proptest::collection::vec((1_i64..10_000_000, 0_usize..4, 0_i64..(1 << 42), 0_usize..2), 1..40),
        ) {
            let classes: [Arc<str>; 2] = ["standard".into(), "fast".into()];
            let (mut disks, mut now) = (Disks::default(), Instant::EPOCH);
            // By hand: what each disk has held, change by change.
            let mut by_hand: BTreeMap<Arc<str>, i128> = BTreeMap::new();
            let mut sizes: BTreeMap<usize, (Arc<str>, i64)> = BTreeMap::new();
            for (millis, number, bytes, class) in changes {
                let gap = Span::from_millis(millis);
                for (class, bytes) in sizes.values() {
                    *by_hand.entry(class.clone()).or_default() += i128::from(*bytes) * i128::from(gap.as_nanos());
                }
                now += gap;
                prop_assert_eq!(disks.used(now), disks.used(now), "reading changes nothing");
                let is = (bytes % 5 > 0).then(|| (classes[class].clone(), bytes));
                disks.set(&number.to_string(), is.clone(), now);
                match is {
                    Some(is) => drop(sizes.insert(number, is)),
                    None => drop(sizes.remove(&number)),
                }
            }
            let mut used = disks.used(now);
            used.retain(|_, amount| *amount > 0);
            by_hand.retain(|_, amount| *amount > 0);
            prop_assert_eq!(&used, &by_hand);
            let tariffs = Tariffs::default();
            let each: Vec<Money> = used.iter().map(|(class, amount)| tariffs.disks(class, *amount)).collect();
            let together = tariffs.disks("standard", used.values().sum());
            let sum: i128 = each.iter().map(|part| part.as_nanos()).sum();
            prop_assert!((together.as_nanos() - sum).abs() <= 2, "{} in all, {} in parts", together.as_nanos(), sum);
        }
    }
}
