//! `cronjob`: starts a Job each time a schedule is due, and keeps few of those that have ended.
//!
//! Looks 0.1 s after each time that is due, as the real controller does. Of several times that were missed only the last
//! is made up for, within `startingDeadlineSeconds`. Jobs are created through the API machinery, so they are what a
//! client's are. Without `timeZone` the zone is UTC. Everything follows from the objects.

mod schedule;

use super::events::{About, Source};
use super::job::finished_at;
use super::owned::{KINDS, Owned, controller, reference};
use super::podcontrol::{part, to_part};
use super::underway::Writer;
use super::workloads::{Look, Wakes, dirty_kinds};
use super::{Cx, Place, is_deleting, time};
use crate::apiserver::{Options, Request, Status, Verb};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::Change;
use fleet::{Instant, Span};
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
pub(crate) use schedule::Schedule;
use serde_json::json;
use std::collections::BTreeSet;

const SOURCE: Source<'static> = Source { component: "cronjob-controller", host: None };
/// Annotation that says when a Job was due.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// How long after a due time the controller looks (`nextScheduleDelta`).
const AFTER_DUE: Span = Span::from_millis(100);
/// Missed times beyond which it says so.
const MISSED_MAX: i64 = 100;

/// The controller's state: CronJobs to look at. Empty at rest.
#[derive(Debug, Default)]
pub(crate) struct CronJobs {
    dirty: BTreeSet<(Kind, Place)>,
}

impl CronJobs {
    /// Looks at a CronJob in the next round.
    pub(crate) fn look(&mut self, place: Place) {
        self.dirty.insert((KINDS.cron_job, place));
    }
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        let object = &change.object.object;
        // A Job nobody controls is nobody's here.
        if object.kind() != Kind::Job || controller(object.meta()).is_some() {
            dirty_kinds(cx, change, &[KINDS.cron_job], Kind::Job, &mut self.dirty);
        }
    }
    pub(crate) fn run(&mut self, look: &mut Look<'_, '_, '_>) -> bool {
        let mut acted = false;
        for (kind, place) in std::mem::take(&mut self.dirty) {
            let Some(stored) = look.cx.objects.get(kind, &place.0, &place.1).cloned() else { continue };
            let before = look.cx.objects.version();
            if let Some(mut sync) = Sync::new(look.cx, look.owned, look.wakes, &stored.object) {
                sync.act();
                let (object, status) = (sync.object, to_part(&sync.status));
                sync.cx.put_status(object, status);
            }
            acted |= look.cx.objects.version() != before;
        }
        acted
    }
}

/// One look at one CronJob.
struct Sync<'a, 'b> {
    cx: &'a mut Cx<'b>,
    wakes: &'a mut Wakes,
    object: &'a Object,
    about: About<'a>,
    spec: CronJobSpec,
    status: CronJobStatus,
    /// The Jobs it controls, by name.
    jobs: Vec<Job>,
}

impl<'a, 'b> Sync<'a, 'b> {
    fn new(
        cx: &'a mut Cx<'b>,
        owned: &Owned,
        wakes: &'a mut Wakes,
        object: &'a Object,
    ) -> Option<Sync<'a, 'b>> {
        let spec = part::<CronJobSpec>(object, "spec")?;
        let jobs = owned.children(object.uid(), Kind::Job);
        // As they are now: this controller may have deleted one in this round.
        let current =
            |name: &str| cx.objects.get(Kind::Job, object.namespace(), name)?.object.as_job().cloned();
        let jobs = jobs.filter_map(|s| current(s.object.name())).collect();
        let status = part(object, "status").unwrap_or_default();
        Some(Sync { about: About::new(object), cx, wakes, object, spec, status, jobs })
    }
    fn act(&mut self) {
        self.note_ends();
        self.note_missing();
        if !is_deleting(self.object.meta()) {
            self.start();
        }
        self.clean_up();
    }
    fn is_active(&self, uid: &str) -> bool {
        self.status.active.iter().flatten().any(|r| r.uid.as_deref() == Some(uid))
    }
    fn drop_active(&mut self, uid: &str) {
        if let Some(active) = &mut self.status.active {
            active.retain(|r| r.uid.as_deref() != Some(uid));
            if active.is_empty() {
                self.status.active = None;
            }
        }
    }
    fn normal(&mut self, reason: &str, message: String) {
        self.cx.normal(&self.about, SOURCE, reason, message);
    }
    fn warning(&mut self, reason: &str, message: String) {
        self.cx.warning(&self.about, SOURCE, reason, message);
    }
    /// Takes note of Jobs that have ended.
    fn note_ends(&mut self) {
        let jobs = std::mem::take(&mut self.jobs);
        for job in &jobs {
            let uid = job.metadata.uid.as_deref().unwrap_or_default();
            let name = job.metadata.name.as_deref().unwrap_or_default();
            let (active, ended) = (self.is_active(uid), finished_at(job).is_some());
            if !active && !ended {
                let text = format!("Saw a job that the controller did not create or forgot: {name}");
                self.warn_once("UnexpectedJob", text);
            } else if active && ended {
                self.drop_active(uid);
                let text = format!("Saw completed job: {name}, condition: {}", end_of(job));
                self.normal("SawCompletedJob", text);
            }
            let completed = job.status.as_ref().and_then(|s| s.completion_time.clone());
            if let Some(at) = completed.filter(|_| ended && end_of(job) == "Complete")
                && self.status.last_successful_time.as_ref().is_none_or(|last| at.0 > last.0)
            {
                self.status.last_successful_time = Some(at);
            }
        }
        self.jobs = jobs;
    }
    /// Takes note of Jobs that are gone.
    fn note_missing(&mut self) {
        for active in self.status.active.clone().into_iter().flatten() {
            let (uid, name) = (active.uid.unwrap_or_default(), active.name.unwrap_or_default());
            let there = self.cx.objects.get(Kind::Job, self.object.namespace(), &name);
            if there.is_none_or(|stored| stored.object.uid() != uid) {
                self.drop_active(&uid);
                self.normal("MissingJob", format!("Active job went missing: {name}"));
            }
        }
    }
    /// Its schedule and zone; else the reason and the message why there is none.
    fn schedule(&self) -> Result<(Schedule, TimeZone), (&'static str, String)> {
        let name = self.spec.time_zone.as_deref().unwrap_or("UTC");
        let zone = schedule::zone(name).ok_or_else(|| {
            ("UnknownTimeZone", format!("invalid timeZone: {name}: unknown time zone {name}"))
        })?;
        let text = &self.spec.schedule;
        let schedule = Schedule::parse(text)
            .map_err(|why| ("UnparseableSchedule", format!("unparseable schedule: \"{text}\" : {why}")))?;
        Ok((schedule, zone))
    }
    /// Since when times count that were missed.
    fn since(&self) -> Instant {
        let created = self.object.meta().creation_timestamp.as_ref();
        let last = self.status.last_schedule_time.as_ref().or(created);
        last.map_or(self.cx.now, |t| Instant::from_jiff(t.0))
    }
    /// The last due time that was missed, and how many were.
    fn missed(
        &self,
        schedule: &Schedule,
        zone: &TimeZone,
        in_time: bool,
    ) -> Result<Option<(Instant, i64)>, String> {
        let now = self.cx.now;
        let mut earliest = self.since();
        if let Some(seconds) = self.spec.starting_deadline_seconds.filter(|_| in_time) {
            earliest = earliest.max(now - Span::from_seconds(seconds));
        }
        let Some(first) = schedule.next(earliest, zone).filter(|first| *first <= now) else {
            return Ok(None);
        };
        let Some(second) = schedule.next(first, zone).filter(|second| *second <= now) else {
            return Ok(Some((first, 1)));
        };
        let between = (second - first).as_seconds();
        if between < 1 {
            return Err("time difference between two schedules is less than 1 second".to_owned());
        }
        let count = (now - first).as_seconds() / between + 1;
        // Near the end, so that few steps remain however long nobody looked.
        let mut last = None;
        let mut at = schedule.next(first + Span::from_seconds((count - 2).max(0) * between), zone);
        while let Some(due) = at.filter(|due| *due <= now) {
            last = Some(due);
            at = schedule.next(due, zone);
        }
        Ok(last.map(|last| (last, count)))
    }
    /// Has the CronJob looked at when it is next due.
    fn wake_at_next(&mut self, schedule: &Schedule, zone: &TimeZone) {
        let last = match self.missed(schedule, zone, false) {
            Ok(Some((last, _))) => last,
            Ok(None) => self.since(),
            Err(_) => self.cx.now,
        };
        if let Some(next) = schedule.next(last, zone) {
            self.wakes.set(self.cx, self.object, next + AFTER_DUE);
        }
    }
    /// Starts a Job, if one is due.
    fn start(&mut self) {
        let (schedule, zone) = match self.schedule() {
            Ok(found) => found,
            Err((reason, message)) => return self.warn_once(reason, message),
        };
        if self.spec.suspend == Some(true) {
            return;
        }
        match self.missed(&schedule, &zone, true) {
            Err(why) => {
                let text = format!("invalid schedule: {} : {why}", self.spec.schedule);
                return self.warn_once("InvalidSchedule", text);
            }
            Ok(Some((due, count))) => self.start_due(due, count, &zone),
            Ok(None) => {}
        }
        self.wake_at_next(&schedule, &zone);
    }
    /// Says what is wrong with a CronJob when it is new or has changed, and not at each look.
    fn warn_once(&mut self, reason: &str, message: String) {
        let known = self.cx.objects.list(Kind::Event, Some(self.object.namespace())).any(|stored| {
            matches!(&stored.object, Object::Event(event) if event.reason.as_deref() == Some(reason)
                && event.message.as_deref() == Some(&message)
                && event.involved_object.uid.as_deref() == Some(self.object.uid()))
        });
        if !known {
            self.warning(reason, message);
        }
    }
    fn start_due(&mut self, due: Instant, count: i64, zone: &TimeZone) {
        if count > MISSED_MAX {
            let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.warning("TooManyMissedTimes", text.to_owned());
        }
        let deadline = self.spec.starting_deadline_seconds.map(|s| due + Span::from_seconds(s));
        if deadline.is_some_and(|deadline| deadline < self.cx.now) {
            let at = due.to_jiff().strftime("%a, %d %b %Y %H:%M:%S +0000");
            return self.warning("MissSchedule", format!("Missed scheduled time to start a job: {at}"));
        }
        let name = format!("{}-{}", self.object.name(), due.as_unix_seconds() / 60);
        let started =
            self.status.last_schedule_time.as_ref().is_some_and(|last| Instant::from_jiff(last.0) == due);
        let active = self.status.active.clone().unwrap_or_default();
        if started || active.iter().any(|r| r.name.as_deref() == Some(&name)) {
            return;
        }
        match self.spec.concurrency_policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {
                let text =
                    "Not starting job because prior execution is running and concurrency policy is Forbid";
                return self.normal("JobAlreadyActive", text.to_owned());
            }
            Some("Replace") => {
                for old in active {
                    self.delete(&old.name.unwrap_or_default(), &old.uid.unwrap_or_default());
                }
            }
            _ => {}
        }
        self.create(&name, due, zone);
    }
    fn delete(&mut self, name: &str, uid: &str) {
        if self.cx.delete(Kind::Job, self.object.namespace(), name) {
            self.normal("SuccessfulDelete", format!("Deleted job {name}"));
        }
        self.drop_active(uid);
        self.jobs.retain(|job| job.metadata.uid.as_deref() != Some(uid));
    }
    fn create(&mut self, name: &str, due: Instant, zone: &TimeZone) {
        match self.send(name, due, zone) {
            Ok(job) => {
                self.normal("SuccessfulCreate", format!("Created job {name}"));
                let own = self.reference(&job);
                self.status.active.get_or_insert_default().push(own);
                self.status.last_schedule_time = Some(time(due));
            }
            Err(status) if status.reason == "AlreadyExists" => {
                // Somebody else made it, and is taken to have noted it.
                self.status.last_schedule_time = Some(time(due));
            }
            Err(status) if status.pending.is_some() => {}
            Err(status) => self.warning("FailedCreate", format!("Error creating job: {}", status.message)),
        }
    }
    /// Creates a Job as a client does.
    fn send(&mut self, name: &str, due: Instant, zone: &TimeZone) -> Result<Job, Status> {
        let template = &self.spec.job_template;
        let from = template.metadata.clone().unwrap_or_default();
        let mut annotations = from.annotations.unwrap_or_default();
        let at = due.to_jiff().to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        annotations.insert(SCHEDULED.to_owned(), at.replace("+00:00", "Z"));
        let body = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "namespace": self.object.namespace(), "labels": from.labels,
                "annotations": annotations, "ownerReferences": [reference(self.object)]},
            "spec": template.spec,
        });
        let request = Request {
            verb: Verb::Create,
            kind: Kind::Job,
            namespace: self.object.namespace().to_owned(),
            name: String::new(),
            subresource: None,
            body,
            options: Options::of_controller("cronjob-controller"),
        };
        let writer = Writer::of(self.object);
        self.cx.under_way.begin(self.object.uid());
        let answer = self.cx.send(&writer, request)?;
        serde_json::from_value(answer.body.into_value())
            .map_err(|e| Status::new(500, "InternalError", e.to_string()))
    }
    fn reference(&self, job: &Job) -> ObjectReference {
        ObjectReference {
            api_version: Some("batch/v1".to_owned()),
            kind: Some("Job".to_owned()),
            name: job.metadata.name.clone(),
            namespace: job.metadata.namespace.clone(),
            uid: job.metadata.uid.clone(),
            resource_version: job.metadata.resource_version.clone(),
            field_path: None,
        }
    }
    /// Deletes the oldest Jobs that have ended beyond the limits of history.
    fn clean_up(&mut self) {
        for (end, limit) in [
            ("Failed", self.spec.failed_jobs_history_limit),
            ("Complete", self.spec.successful_jobs_history_limit),
        ] {
            let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
            let started = |job: &Job| job.status.as_ref().and_then(|s| s.start_time.clone());
            let mut ended: Vec<(bool, Option<Instant>, String, String)> = self
                .jobs
                .iter()
                .filter(|job| end_of(job) == end && !is_deleting(&job.metadata))
                .map(|job| {
                    let at = started(job).map(|t| Instant::from_jiff(t.0));
                    let text = |text: &Option<String>| text.clone().unwrap_or_default();
                    (at.is_none(), at, text(&job.metadata.name), text(&job.metadata.uid))
                })
                .collect();
            ended.sort();
            let over = ended.len().saturating_sub(limit);
            for (.., name, uid) in ended.into_iter().take(over) {
                self.delete(&name, &uid);
            }
        }
    }
}

/// `Complete`, `Failed`, or nothing for a Job that has not ended.
fn end_of(job: &Job) -> &str {
    let conditions = job.status.as_ref().and_then(|s| s.conditions.as_ref());
    let end = conditions
        .into_iter()
        .flatten()
        .find(|c| c.status == "True" && matches!(c.type_.as_str(), "Complete" | "Failed"));
    end.map_or("", |c| c.type_.as_str())
}
