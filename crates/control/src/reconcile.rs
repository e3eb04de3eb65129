//! The next step of each Job, decided from what its objects say.
//!
//! One call a Job at a time; the next is decided when its answer is in. Every step is safe to do
//! twice: names are fixed, patches carry the uid, and what exists already is as good as created.

use crate::clusters::Cluster;
use crate::effect::ApiCall;
use crate::job::{Job, is_controller_label};
use crate::jobs::{self, Style, Tracked};
use crate::lease::Leader;
use crate::mirror::{self, Source, Write};
use crate::notices::Tone;
use crate::owner;
use crate::state::{Control, CopyKey, Purpose};
use fleet::{ClusterId, Instant, JobKey, Mode, Span};
use k8s_openapi::api::batch::v1 as api;
use serde_json::{Value, json};
use std::sync::Arc;

/// A pause shorter than this costs more in stopping and starting than it saves.
const PAUSE_MIN: Span = Span::from_seconds(600);
/// How long a Job without a deadline waits where nothing can be planned, for want of a signal or of a whole view of a
/// cluster: several times what lists and signals take at a start.
const UNPLANNED_MAX: Span = Span::from_seconds(600);
/// What was started runs at least this long before it is paused.
const RUN_MIN: Span = Span::from_seconds(300);

impl Control {
    /// Decides the next step of every Job something happened to.
    pub(crate) fn reconcile_dirty(&mut self) {
        let mut keys: Vec<JobKey> = std::mem::take(&mut self.dirty).into_iter().collect();
        // Room goes to those that can wait least.
        let open = |key: &JobKey| self.jobs.get(key).filter(|tracked| tracked.finished().is_none());
        keys.sort_by_cached_key(|key| open(key).and_then(|tracked| self.latest_start(tracked)));
        for key in keys {
            self.reconcile(&key);
            let timer = self.jobs.get(&key).and_then(|tracked| self.job_timer(tracked));
            self.timers.set(&key, timer);
        }
        self.sweep();
    }

    /// Whether anything may be written to a cluster: it answers, has been listed, and its mode and its Lease allow it.
    pub(crate) fn may_write(&self, cluster: &ClusterId) -> bool {
        let leads = |c: &Cluster| !self.settings.leases || c.leader == Some(Leader::Us);
        let may = |c: &Cluster| c.reachable && c.synced && c.facts.mode != Mode::Observe && leads(c);
        self.clusters.get(cluster).is_some_and(may)
    }

    /// Whether another process leads a cluster that this one could act on.
    fn follows(&self, cluster: &ClusterId) -> bool {
        let other = |c: &Cluster| matches!(c.leader, Some(Leader::Other(_))) && c.facts.mode != Mode::Observe;
        self.settings.leases && self.clusters.get(cluster).is_some_and(|c| c.synced && other(c))
    }

    fn reconcile(&mut self, key: &JobKey) {
        let Some(tracked) = self.jobs.get(key) else { return };
        let waiting = tracked.in_flight.is_some() || tracked.retry_at.is_some_and(|at| at > self.now);
        let may_write = self.may_write(&key.cluster);
        if waiting || !(may_write || self.follows(&key.cluster)) {
            return;
        }
        let tracked = tracked.clone();
        if !may_write {
            // Who leads writes on the Job what it saved; every process that follows has its line of the ledger too.
            self.account(&tracked);
            return;
        }
        if jobs::deleting(&tracked.job) {
            self.clear_away(&tracked);
        } else if tracked.finished().is_some() {
            self.close(&tracked);
        } else {
            self.tell_late(&tracked);
            match tracked.style {
                Style::Mirrored => self.reconcile_mirrored(&tracked),
                Style::InPlace => self.reconcile_in_place(&tracked),
            }
        }
    }

    /// Whether the work should run now: its slot has come, the guard lets it go, or a person said so.
    fn due(&self, tracked: &Tracked) -> bool {
        if tracked.released || tracked.missed || self.guarded(tracked) {
            return true;
        }
        let put_off = self.may_be_put_off(tracked);
        if self.mode(&tracked.key.cluster) == Mode::Approve && !tracked.approved {
            return false;
        }
        if !put_off {
            return true;
        }
        let Some(assignment) = self.assignment(&tracked.key) else { return false };
        assignment.runs.iter().any(|run| run.from <= self.now && self.now < run.to)
    }

    /// Whether it may wait for cleaner hours: not where somebody waits for it, or would set back the start.
    pub(crate) fn may_be_put_off(&self, tracked: &Tracked) -> bool {
        let set_back = tracked.style == Style::InPlace && owner::keeps_spec(&tracked.job);
        !set_back && !owner::is_hook(&tracked.job)
    }

    /// Past the latest safe start. A Job without a deadline has no slack, so its guard is its first plan; and where
    /// nothing can be planned, that nothing came of waiting for it.
    pub(crate) fn guarded(&self, tracked: &Tracked) -> bool {
        let latest = self.latest_start(tracked).or_else(|| self.unplanned_start(tracked));
        latest.is_some_and(|latest| self.now >= latest)
    }

    /// When a Job without a deadline is started though nothing can be planned.
    pub(crate) fn unplanned_start(&self, tracked: &Tracked) -> Option<Instant> {
        let asks = self.mode(&tracked.key.cluster) == Mode::Approve && !tracked.approved;
        let none = tracked.contract.deadline.is_none() && !asks && !self.ready();
        none.then(|| tracked.created + UNPLANNED_MAX)
    }

    pub(crate) fn mode(&self, cluster: &ClusterId) -> Mode {
        self.clusters.get(cluster).map_or(Mode::Observe, |c| c.facts.mode)
    }

    fn reconcile_mirrored(&mut self, tracked: &Tracked) {
        let Some((cluster, name)) = tracked.committed() else {
            self.hold_or_start(tracked);
            return;
        };
        let place: CopyKey = (cluster.clone(), tracked.key.namespace.to_string(), name);
        match self.copies.get(&place).cloned() {
            Some(copy) => self.follow(tracked, &place, &copy),
            None if self.may_write(&cluster) => self.create_copy(tracked, &cluster),
            None => {}
        }
    }

    fn hold_or_start(&mut self, tracked: &Tracked) {
        let key = &tracked.key;
        if let Some(place) = self.unknown_copy(tracked) {
            self.commit(tracked, &place);
            return;
        }
        self.tell_contract(tracked);
        if !self.ready() && !self.guarded(tracked) {
            self.hold_unplanned(tracked);
            return;
        }
        if self.due(tracked) {
            if let Some(agreed) = tracked.dry_run_ok.clone().filter(|cluster| self.may_write(cluster)) {
                self.commit(tracked, &agreed);
                return;
            }
            if let Some(target) = self.target(tracked)
                && !self.wait_for_room(tracked, &target)
            {
                let job = Box::new(self.copy_of(tracked));
                let purpose = Purpose::DryRun(key.clone(), target.clone());
                self.call(purpose, target, ApiCall::CreateJob { job, dry_run: true });
                return;
            }
        }
        let reason = self.waiting_sentence(tracked);
        if let Some(write) = mirror::next_write(&tracked.job, Source::Held(&reason), self.now) {
            self.write_home(tracked, write);
            return;
        }
        self.annotate(tracked);
    }

    /// Writes down where the copy will be, before it is created: after a crash it is looked for there.
    fn commit(&mut self, tracked: &Tracked, target: &ClusterId) {
        let (name, pods) = (jobs::copy_name(&tracked.job), self.pods_to_start(tracked));
        let mut finalizers = tracked.job.metadata.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|f| f == jobs::FINALIZER) {
            finalizers.push(jobs::FINALIZER.to_owned());
        }
        let metadata = json!({
            "resourceVersion": tracked.job.metadata.resource_version,
            "finalizers": finalizers,
            "annotations": {
                jobs::TARGET_ANNOTATION: target,
                jobs::COPY_ANNOTATION: name,
                jobs::PLANNED_START_ANNOTATION: self.now.to_rfc3339_seconds(),
                jobs::LATEST_START_ANNOTATION: self.latest_start(tracked).map(|at| at.to_rfc3339_seconds()),
                jobs::PODS_ANNOTATION: Some(pods).filter(|pods| *pods != tracked.asked().parallelism).map(|pods| pods.to_string()),
            },
        });
        self.record(&tracked.key, "start", format!("copy {name} in {target}"));
        self.patch_home(tracked, json!({"metadata": metadata}), false);
    }

    /// The commitment is taken back: the server said no, so there is no copy.
    pub(crate) fn uncommit(&mut self, key: &JobKey) {
        let Some(tracked) = self.jobs.get(key).cloned() else { return };
        let others = self.finalizers_without_ours(&tracked.job);
        let metadata = json!({
            "resourceVersion": tracked.job.metadata.resource_version,
            "finalizers": others,
            "annotations": {jobs::COPY_ANNOTATION: null, jobs::PODS_ANNOTATION: null},
        });
        self.record(key, "take back", "the cluster refused the copy".to_owned());
        self.patch_home(&tracked, json!({"metadata": metadata}), false);
    }

    fn finalizers_without_ours(&self, job: &Job) -> Vec<String> {
        let all = job.metadata.finalizers.clone().unwrap_or_default();
        all.into_iter().filter(|f| f != jobs::FINALIZER).collect()
    }

    fn create_copy(&mut self, tracked: &Tracked, cluster: &ClusterId) {
        let job = Box::new(self.copy_of(tracked));
        self.record(&tracked.key, "create copy", format!("in {cluster}"));
        self.call(
            Purpose::Create(tracked.key.clone(), cluster.clone()),
            cluster.clone(),
            ApiCall::CreateJob { job, dry_run: false },
        );
    }

    /// The copy: the original without what ties it to home.
    fn copy_of(&self, tracked: &Tracked) -> api::Job {
        let mut copy = api::Job { spec: tracked.job.spec_for_copy(), ..api::Job::default() };
        if let Some(spec) = &mut copy.spec {
            spec.suspend = Some(false);
        }
        let mut labels = tracked.job.metadata.labels.clone().unwrap_or_default();
        labels.retain(|key, _| {
            !is_controller_label(key) && key != jobs::PLACEMENT_LABEL && !owner::is_mark(key)
        });
        labels.insert(jobs::ORIGIN_CLUSTER_LABEL.to_owned(), tracked.key.cluster.to_string());
        labels.insert(jobs::ORIGIN_UID_LABEL.to_owned(), jobs::uid(&tracked.job).to_owned());
        if let Some(uid) = self.clusters.get(&tracked.key.cluster).and_then(|c| c.facts.uid.clone()) {
            labels.insert(jobs::ORIGIN_CLUSTER_UID_LABEL.to_owned(), uid);
        }
        let ours = [
            jobs::TARGET_ANNOTATION,
            jobs::PLANNED_START_ANNOTATION,
            jobs::LATEST_START_ANNOTATION,
            jobs::COPY_ANNOTATION,
            jobs::PODS_ANNOTATION,
            jobs::APPROVED_ANNOTATION,
            jobs::SAVED_ANNOTATION,
            "kubectl.kubernetes.io/last-applied-configuration",
        ];
        let mut annotations = tracked.job.metadata.annotations.clone().unwrap_or_default();
        annotations.retain(|key, _| !ours.contains(&key.as_str()) && !owner::is_mark(key));
        annotations.insert(jobs::ORIGIN_NAME_ANNOTATION.to_owned(), tracked.key.name.to_string());
        copy.metadata.name = Some(jobs::copy_name(&tracked.job));
        copy.metadata.namespace = Some(tracked.key.namespace.to_string());
        copy.metadata.labels = Some(labels);
        copy.metadata.annotations = Some(annotations);
        self.shape_copy(tracked, &mut copy);
        copy
    }

    /// A copy is there: pause or resume it as planned, and let the home Job say what it says.
    fn follow(&mut self, tracked: &Tracked, place: &CopyKey, copy: &Arc<Job>) {
        if jobs::finished(copy).is_some() {
            self.tell_started(tracked, place);
            if let Some(write) = mirror::next_write(&tracked.job, Source::Finished(copy), self.now) {
                self.write_home(tracked, write);
            }
            return;
        }
        if tracked.contract.interruptible && self.pause_or_resume(tracked, place, copy) {
            return;
        }
        let source = if jobs::suspended(copy) {
            let reason = self.waiting_sentence(tracked);
            mirror::next_write(&tracked.job, Source::Held(&reason), self.now)
        } else if jobs::start_time(copy).is_some() {
            self.tell_started(tracked, place);
            mirror::next_write(&tracked.job, Source::Running(copy), self.now)
        } else {
            None
        };
        if let Some(write) = source {
            self.write_home(tracked, write);
        }
    }

    /// Whether a pause is worth it: the run so far and the pause to come are long enough, and the guard
    /// is farther away than the pause could be. So a Job never flutters between the two.
    fn worth_a_pause(&self, tracked: &Tracked, since: Instant) -> bool {
        let next = self
            .assignment(&tracked.key)
            .and_then(|a| a.runs.iter().map(|r| r.from).find(|at| *at > self.now));
        let slack = self.latest_start(tracked).is_some_and(|latest| latest - self.now >= PAUSE_MIN);
        slack && self.now - since >= RUN_MIN && next.is_some_and(|at| at - self.now >= PAUSE_MIN)
    }

    /// Pauses or resumes interruptible work; `true` when a call was made. A Job whose slot has not
    /// come, or is over, is paused only when its plan goes on later, and never near the guard.
    fn pause_or_resume(&mut self, tracked: &Tracked, place: &CopyKey, running: &Arc<Job>) -> bool {
        let due = self.due(tracked);
        let suspended = jobs::suspended(running);
        let (cluster, namespace, name) = place.clone();
        if suspended && due {
            self.record(&tracked.key, "resume", format!("{name} in {cluster}"));
            let mut patch = json!({"metadata": {"uid": jobs::uid(running)}, "spec": {"suspend": false}});
            if let Some(seconds) = self.seconds_left(tracked) {
                patch["spec"]["activeDeadlineSeconds"] = json!(seconds);
            }
            let call = ApiCall::PatchJob { namespace, name, patch, status: false };
            self.call(Purpose::Patch(tracked.key.clone()), cluster, call);
            return true;
        }
        let begun = self.begun(tracked, running).filter(|_| !suspended && !due);
        let worth = |since: &Instant| self.worth_a_pause(tracked, *since);
        let Some(since) = begun.and_then(|b| b.whole.filter(worth).map(|_| b.mean)) else { return false };
        let mut runs = jobs::earlier_runs(running);
        runs.push((since, Instant::from_unix_seconds(self.now.as_unix_seconds()).max(since)));
        self.record(&tracked.key, "pause", format!("{name} in {cluster}"));
        let annotations = json!({jobs::RUNS_ANNOTATION: jobs::runs_text(&runs)});
        let patch = json!({"metadata": {"uid": jobs::uid(running), "annotations": annotations}, "spec": {"suspend": true}});
        let call = ApiCall::PatchJob { namespace, name, patch, status: false };
        self.call(Purpose::Patch(tracked.key.clone()), cluster, call);
        true
    }

    fn reconcile_in_place(&mut self, tracked: &Tracked) {
        let suspended = jobs::suspended(&tracked.job);
        if !tracked.wanted() {
            // The label was taken off: the Job goes free, and our marks go with it.
            let none = json!({jobs::TARGET_ANNOTATION: null, jobs::PLANNED_START_ANNOTATION: null, jobs::LATEST_START_ANNOTATION: null});
            self.record(&tracked.key, "let go", "the placement label was removed".to_owned());
            self.patch_home(
                tracked,
                json!({"metadata": {"annotations": none}, "spec": {"suspend": false}}),
                false,
            );
            return;
        }
        self.tell_contract(tracked);
        let keeps_spec = owner::keeps_spec(&tracked.job);
        if suspended && keeps_spec && jobs::annotation(&tracked.job, jobs::STARTED_ONCE_ANNOTATION).is_some()
        {
            let text = "somebody set spec.suspend back after it was started: it is not started again (take the annotation kubercarbon.io/started-once off to have it started, or set spec.managedBy: kubercarbon.io/fleet)";
            self.tell_once(&tracked.key, Tone::Warning, "SetBack", text);
            return;
        }
        if !suspended {
            if tracked.contract.interruptible && !keeps_spec && jobs::start_time(&tracked.job).is_some() {
                self.pause_or_resume(tracked, &home_place(tracked), &tracked.job);
            }
            return;
        }
        if !self.ready() && !self.guarded(tracked) {
            self.hold_unplanned(tracked);
            return;
        }
        if self.due(tracked) && !self.wait_for_room(tracked, &tracked.key.cluster) {
            self.record(&tracked.key, "start", "at home".to_owned());
            let mut spec = json!({"suspend": false});
            if let Some(seconds) = self.seconds_left(tracked) {
                spec["activeDeadlineSeconds"] = json!(seconds);
            }
            let mut patch = json!({"spec": spec});
            if keeps_spec {
                patch["metadata"]["annotations"] = json!({jobs::STARTED_ONCE_ANNOTATION: "true"});
            }
            self.patch_home(tracked, patch, false);
            return;
        }
        self.tell_waiting(tracked);
        self.annotate(tracked);
    }

    /// Nothing can be planned yet: it is seen to be held, and until when at the latest. What stands on it of an
    /// earlier plan stays.
    fn hold_unplanned(&mut self, tracked: &Tracked) {
        let reason = self.waiting_sentence(tracked);
        if tracked.style == Style::Mirrored
            && jobs::condition(&tracked.job, "Suspended").is_none()
            && let Some(write) = mirror::next_write(&tracked.job, Source::Held(&reason), self.now)
        {
            self.write_home(tracked, write);
            return;
        }
        let latest = self.latest_start(tracked).map(|at| at.to_rfc3339_seconds());
        if jobs::annotation(&tracked.job, jobs::LATEST_START_ANNOTATION).is_none() && latest.is_some() {
            let annotations = json!({jobs::LATEST_START_ANNOTATION: latest});
            self.patch_home(tracked, json!({"metadata": {"annotations": annotations}}), false);
        }
    }

    /// Writes plan and guard onto a held Job, when they changed.
    fn annotate(&mut self, tracked: &Tracked) {
        self.tell_waiting(tracked);
        let assignment = self.assignment(&tracked.key);
        let wanted = [
            (jobs::TARGET_ANNOTATION, assignment.map(|a| a.cluster.to_string())),
            (jobs::PLANNED_START_ANNOTATION, assignment.map(|a| a.start().to_rfc3339_seconds())),
            (jobs::LATEST_START_ANNOTATION, self.latest_start(tracked).map(|at| at.to_rfc3339_seconds())),
            (jobs::APPROVED_ANNOTATION, tracked.approved.then(|| "true".to_owned())),
        ];
        let mut annotations = serde_json::Map::new();
        for (key, value) in wanted {
            if jobs::annotation(&tracked.job, key) != value.as_deref() {
                annotations.insert(key.to_owned(), value.map_or(Value::Null, Value::String));
            }
        }
        if !annotations.is_empty() {
            self.patch_home(tracked, json!({"metadata": {"annotations": annotations}}), false);
        }
    }

    /// A finished Job: account for it, then say on it what it saved.
    fn close(&mut self, tracked: &Tracked) {
        if let Some(written) = jobs::annotation(&tracked.job, jobs::SAVED_ANNOTATION) {
            if let Some(grams) = self.corrected_grams(tracked).filter(|grams| grams != written) {
                let annotations = json!({jobs::SAVED_ANNOTATION: grams});
                self.patch_home(tracked, json!({"metadata": {"annotations": annotations}}), false);
            }
            return;
        }
        let Some(entry) = self.account(tracked) else { return };
        let before = self.saved_before.get(&entry.id).copied();
        if before.is_none() {
            self.tell_saved(tracked, &entry);
        }
        let saved = before.unwrap_or_else(|| entry.saved_carbon());
        let grams = fleet::quantity::significant(saved.as_grams_f64());
        self.patch_home(
            tracked,
            json!({"metadata": {"annotations": {jobs::SAVED_ANNOTATION: grams}}}),
            false,
        );
    }

    /// A deleted Job: its copy goes first, then our finalizer.
    fn clear_away(&mut self, tracked: &Tracked) {
        if !jobs::has_finalizer(&tracked.job) {
            return;
        }
        if let Some((cluster, name)) = tracked.committed() {
            if !self.may_write(&cluster) {
                return;
            }
            let place = (cluster.clone(), tracked.key.namespace.to_string(), name.clone());
            if let Some(copy) = self.copies.get(&place).cloned() {
                if !jobs::deleting(&copy) {
                    let (namespace, uid) = (place.1, jobs::uid(&copy).to_owned());
                    self.record(&tracked.key, "delete copy", format!("{name} in {cluster}"));
                    let call = ApiCall::DeleteJob { namespace, name, uid };
                    self.call(Purpose::DeleteCopy(tracked.key.clone()), cluster, call);
                }
                return;
            }
        }
        let others = self.finalizers_without_ours(&tracked.job);
        let metadata =
            json!({"resourceVersion": tracked.job.metadata.resource_version, "finalizers": others});
        self.patch_home(tracked, json!({"metadata": metadata}), false);
    }

    fn write_home(&mut self, tracked: &Tracked, write: Write) {
        match write {
            Write::Spec(spec) => self.patch_home(tracked, json!({"spec": spec}), false),
            Write::Status(status) => self.patch_home(tracked, json!({"status": status}), true),
        }
    }

    /// Merge-patches the home Job, under its uid.
    fn patch_home(&mut self, tracked: &Tracked, mut patch: Value, status: bool) {
        patch["metadata"]["uid"] = json!(jobs::uid(&tracked.job));
        let call = ApiCall::PatchJob {
            namespace: tracked.key.namespace.to_string(),
            name: tracked.key.name.to_string(),
            patch,
            status,
        };
        self.call(Purpose::Patch(tracked.key.clone()), tracked.key.cluster.clone(), call);
    }

    fn tell_contract(&mut self, tracked: &Tracked) {
        if let Some(sentence) = owner::sentence(&tracked.job) {
            self.tell(&tracked.key, Tone::Normal, "Owned", &sentence);
        }
        for error in &tracked.errors {
            self.tell(&tracked.key, Tone::Warning, "InvalidContract", error);
        }
    }
}

fn home_place(tracked: &Tracked) -> CopyKey {
    (tracked.key.cluster.clone(), tracked.key.namespace.to_string(), tracked.key.name.to_string())
}
