//! Creating and deleting the pods of a Job.

use super::indexes::Indexes;
use super::look::Look;
use super::pods::{FAILURES, IGNORED, INDEX, count_of, deleted_first, expose_index, index_of};
use super::{PODS_PER_LOOK_MAX, SOURCE, TRACKING, backoff, index, policy};
use crate::controllers::is_deleting;
use crate::controllers::is_terminal;
use crate::controllers::podcontrol::{self, REFUSED_RETRY, Refusal, number, ready_since};
use crate::store::Stored;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest base of a generated name: 63 characters less the suffix of 5.
const BASE_LENGTH_MAX: usize = 58;
/// Shortest time until a Job is looked at again that waits (`SyncJobBatchPeriod`).
const WAIT_MIN: Span = Span::from_seconds(1);

impl Look<'_, '_> {
    /// Brings the number of active pods to what it should be.
    pub(super) fn manage(&mut self) {
        let active = self.active_pods();
        if self.is_suspended() {
            let all = self.too_many(active, usize::MAX);
            self.delete(&all, false);
            return;
        }
        let parallelism = self.spec.parallelism.unwrap_or(1);
        let wanted = match self.spec.completions {
            Some(completions) => (completions - self.succeeded).min(parallelism).max(0),
            None if self.succeeded > 0 => self.active,
            None => parallelism,
        };
        let excess = usize::try_from(self.active - wanted).unwrap_or(0);
        let mut doomed = self.too_many(active, excess);
        doomed.truncate(PODS_PER_LOOK_MAX);
        if !doomed.is_empty() {
            self.delete(&doomed, false);
            return;
        }
        let leaving = if self.replaces_failed_only() { self.terminating } else { 0 };
        let missing = usize::try_from(wanted - leaving - self.active).unwrap_or(0);
        if missing > 0 {
            self.add(missing.min(PODS_PER_LOOK_MAX));
        }
    }
    /// At least `count` of the active pods to delete, if there are as many; of an indexed Job all whose index is none of
    /// its own or one that another pod has.
    fn too_many(&self, active: Vec<Arc<Stored>>, count: usize) -> Vec<Arc<Stored>> {
        let order = |list: &mut Vec<Arc<Stored>>| {
            list.sort_by(|a, b| match (a.object.as_pod(), b.object.as_pod()) {
                (Some(a), Some(b)) => deleted_first(a, b),
                _ => std::cmp::Ordering::Equal,
            });
        };
        let (mut doomed, mut left) = (Vec::new(), Vec::new());
        if self.is_indexed() {
            let mut by_index: BTreeMap<Option<i32>, Vec<Arc<Stored>>> = BTreeMap::new();
            for stored in active {
                let index = stored.object.as_pod().and_then(|pod| self.valid_index(pod));
                by_index.entry(index).or_default().push(stored);
            }
            for (index, mut same) in by_index {
                order(&mut same);
                left.extend(index.and_then(|_| same.pop()));
                doomed.append(&mut same);
            }
        } else {
            left = active;
        }
        if doomed.len() < count {
            order(&mut left);
            let more = count.saturating_sub(doomed.len());
            doomed.extend(left.into_iter().take(more));
        }
        doomed
    }
    /// Deletes active pods. Those that are not to be counted lose their finalizer first.
    pub(super) fn delete(&mut self, doomed: &[Arc<Stored>], counted: bool) {
        for pod in podcontrol::pods(doomed) {
            if !counted {
                index::release(self.cx, pod);
            }
            self.cx.delete_pod(&self.about, SOURCE, pod);
            self.ready -= i32::from(ready_since(pod).is_some());
        }
        self.active -= number(doomed.len());
        self.terminating += number(doomed.len());
    }
    /// Creates up to `count` pods, unless it has to wait because of failures.
    fn add(&mut self, count: usize) {
        let per_index = self.spec.backoff_limit_per_index.is_some();
        if !per_index && let Some(end) = self.record.end().filter(|end| *end > self.cx.now) {
            self.wait_until(end);
            return;
        }
        let mut indexes: Vec<Option<i32>> = if self.is_indexed() {
            self.pending_indexes(count).into_iter().map(Some).collect()
        } else {
            vec![None; count]
        };
        if per_index {
            let end = |index: &Option<i32>| self.index_waits_until((*index)?);
            let (now, later): (Vec<_>, Vec<_>) =
                indexes.into_iter().partition(|index| end(index).is_none_or(|end| end <= self.cx.now));
            if now.is_empty() {
                if let Some(first) = later.iter().filter_map(end).min() {
                    self.wait_until(first);
                }
                return;
            }
            indexes = now;
        }
        self.create(&indexes);
    }
    fn wait_until(&mut self, end: Instant) {
        self.wake_at(end.max(self.cx.now + WAIT_MIN));
    }
    /// The lowest indexes that have neither ended for good nor a pod.
    fn pending_indexes(&self, count: usize) -> Vec<i32> {
        let replaces_failed_only = self.replaces_failed_only();
        let taken = |pod: &&Pod| !is_terminal(pod) && (!is_deleting(&pod.metadata) || replaces_failed_only);
        let taken = podcontrol::pods(&self.pods).filter(taken).filter_map(index_of);
        let mut busy = self.succeeded_indexes.union(&Indexes::of(taken));
        if let Some(failed) = &self.failed_indexes {
            busy = busy.union(failed);
        }
        busy.missing(count, self.completions())
    }
    /// Until when an index waits after its last failure.
    fn index_waits_until(&self, index: i32) -> Option<Instant> {
        let last = self.delayed.get(&index)?.object.as_pod()?;
        let failures = count_of(last, FAILURES) + count_of(last, IGNORED) + 1;
        Some(backoff::finished_at(last) + backoff::delay(u32::try_from(failures).unwrap_or(0)))
    }
    /// Creates pods in batches of one, two, four and so on, until one is refused.
    fn create(&mut self, indexes: &[Option<i32>]) {
        let mut template = self.spec.template.clone();
        if self.is_indexed()
            && let Some(spec) = &mut template.spec
        {
            expose_index(spec);
        }
        let finalizers = template.metadata.get_or_insert_default().finalizers.get_or_insert_default();
        if finalizers.iter().all(|f| f != TRACKING) {
            finalizers.push(TRACKING.to_owned());
        }
        self.cx.under_way.begin(self.object.uid());
        let (mut left, mut batch) = (indexes, self.cx.under_way.together(self.object.uid()));
        while !left.is_empty() {
            let (now, later) = left.split_at(batch.min(left.len()));
            let (mut refused, mut waits) = (false, false);
            for index in now {
                match self.create_one(&template, *index) {
                    Ok(()) => self.active += 1,
                    Err(Refusal::NamespaceEnds) => return,
                    Err(Refusal::UnderWay) => waits = true,
                    Err(Refusal::Text(why)) => {
                        self.cx.warning(
                            &self.about,
                            SOURCE,
                            "FailedCreate",
                            format!("Error creating: {why}"),
                        );
                        refused = true;
                    }
                }
            }
            if refused {
                self.wake_at(self.cx.now + REFUSED_RETRY);
                return;
            }
            if waits {
                return;
            }
            (left, batch) = (later, batch * 2);
        }
    }
    fn create_one(&mut self, template: &PodTemplateSpec, index: Option<i32>) -> Result<(), Refusal> {
        let Some(index) = index else {
            let base = format!("{}-", self.object.name());
            let pod = self.cx.pod_of(template, self.object, &base);
            return self.put(pod);
        };
        let ending = format!("-{index}-");
        let room = BASE_LENGTH_MAX.saturating_sub(ending.len());
        let base: String = self.object.name().chars().take(room).collect();
        let mut pod = self.cx.pod_of(template, self.object, &format!("{base}{ending}"));
        let text = index.to_string();
        pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), text.clone());
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(INDEX.to_owned(), text);
        if self.spec.backoff_limit_per_index.is_some() {
            let (failures, ignored) = self.failures_before(index);
            annotations.insert(FAILURES.to_owned(), failures.to_string());
            if ignored > 0 {
                annotations.insert(IGNORED.to_owned(), ignored.to_string());
            }
        }
        if let Some(spec) = &mut pod.spec {
            spec.hostname = Some(format!("{}-{index}", self.object.name()));
        }
        self.put(pod)
    }
    /// How many pods of an index have failed, and how many of them did not count.
    fn failures_before(&self, index: i32) -> (i32, i32) {
        let Some(last) = self.delayed.get(&index).and_then(|stored| stored.object.as_pod()) else {
            return (0, 0);
        };
        let counts = policy::counts(self.spec.pod_failure_policy.as_ref(), last);
        (count_of(last, FAILURES) + i32::from(counts), count_of(last, IGNORED) + i32::from(!counts))
    }
    fn put(&mut self, pod: Pod) -> Result<(), Refusal> {
        let stored = self.cx.create_pod(pod)?;
        let text = format!("Created pod: {}", stored.object.name());
        self.cx.normal(&self.about, SOURCE, "SuccessfulCreate", text);
        Ok(())
    }
}
