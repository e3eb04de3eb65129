//! Jobs under the contract of placement: what their objects say, and what is remembered beside them.
//!
//! A Job is *mirrored* when `managedBy` hands its status to us: it never runs as itself, a copy of it
//! does. It is *in place* otherwise: then it can only be shifted in time at home.

use crate::effect::EffectId;
use crate::job::Job;
use crate::state::CopyKey;
use fleet::{ClusterId, Instant, JobKey, ObjectName, PlacementContract, Resources, Span};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Value of `spec.managedBy` that hands a Job to us.
pub const MANAGED_BY: &str = "kubercarbon.io/fleet";
/// Label that asks for placement.
pub const PLACEMENT_LABEL: &str = "kubercarbon.io/placement";
/// Value of [`PLACEMENT_LABEL`].
pub const PLACEMENT_MANAGED: &str = "managed";
/// On a home Job: the cluster it is planned for or runs in.
pub const TARGET_ANNOTATION: &str = "kubercarbon.io/cluster";
/// On a home Job: when it is to start.
pub const PLANNED_START_ANNOTATION: &str = "kubercarbon.io/planned-start";
/// On a home Job: when it is started whatever happens.
pub const LATEST_START_ANNOTATION: &str = "kubercarbon.io/latest-start";
/// On a home Job: name of its copy in [`TARGET_ANNOTATION`], from just before the copy is created.
pub const COPY_ANNOTATION: &str = "kubercarbon.io/copy";
/// On a home Job with a copy: with how many pods at a time the copy runs, where the home Job asks for others.
pub const PODS_ANNOTATION: &str = "kubercarbon.io/copy-parallelism";
/// On a finished home Job: grams of CO2e saved against its baseline.
pub const SAVED_ANNOTATION: &str = "kubercarbon.io/saved-gco2e";
/// On a Job that was paused: its earlier runs, `FROM/TO,FROM/TO`.
pub const RUNS_ANNOTATION: &str = "kubercarbon.io/runs";
/// On a copy: where its original lives.
pub const ORIGIN_CLUSTER_LABEL: &str = "kubercarbon.io/origin-cluster";
/// On a copy: uid of its original.
pub const ORIGIN_UID_LABEL: &str = "kubercarbon.io/origin-uid";
/// On a copy: uid of the cluster its original lives in, where that is known: names of clusters are given by
/// people, and another fleet may give the same one to another cluster.
pub const ORIGIN_CLUSTER_UID_LABEL: &str = "kubercarbon.io/origin-cluster-uid";
/// On a Job shifted in place whose spec somebody else keeps: it was started, and is not started again.
pub const STARTED_ONCE_ANNOTATION: &str = "kubercarbon.io/started-once";
/// On a copy: name of its original.
pub const ORIGIN_NAME_ANNOTATION: &str = "kubercarbon.io/origin-name";
/// On a home Job while a copy may exist.
pub const FINALIZER: &str = "kubercarbon.io/remote-copy";
/// On a home Job: a person said yes to its placement (mode `approve`).
pub const APPROVED_ANNOTATION: &str = "kubercarbon.io/approved";
/// Our field manager and event source.
pub const MANAGER: &str = "kubercarbon";

/// Most earlier runs read from [`RUNS_ANNOTATION`].
const RUNS_MAX: usize = 1000;

/// How a Job is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `managedBy` is ours: a copy runs, the original mirrors it.
    Mirrored,
    /// Held and released where it is.
    InPlace,
}

/// Why a cluster cannot take a copy for now.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// Until when that counts.
    pub until: Instant,
}

/// A home Job and what we remember of it. Everything here but the bookkeeping at the end can be read
/// from the clusters again.
#[derive(Clone, Debug)]
pub(crate) struct Tracked {
    pub key: JobKey,
    pub job: Arc<Job>,
    /// Where its copy is or may be, as is written down on it.
    pub copy_at: Option<CopyKey>,
    pub style: Style,
    pub contract: PlacementContract,
    /// What is wrong with the contract, in words for its owner.
    pub errors: Vec<String>,
    /// Requests of one pod.
    pub pod: Resources,
    pub priority: i32,
    pub created: Instant,
    /// The call under way for this Job; the next waits for its answer.
    pub in_flight: Option<EffectId>,
    /// After a failure: not before.
    pub retry_at: Option<Instant>,
    pub failures: u32,
    /// Until then a create whose answer never came may still be carried out.
    pub unsure_until: Option<Instant>,
    /// After an event could not be told: none before.
    pub quiet_until: Option<Instant>,
    /// Clusters that cannot take the copy for now.
    pub refused: BTreeMap<ClusterId, Refusal>,
    /// Whether a dry run of the copy in this cluster succeeded.
    pub dry_run_ok: Option<ClusterId>,
    /// A person said yes.
    pub approved: bool,
    /// Its slot came and its pods found no room: it starts wherever there is room first.
    pub missed: bool,
    /// A person said: now.
    pub released: bool,
    /// Events already asked for, by their name's suffix.
    pub told: Vec<u64>,
    /// Calls made at the last instant any was made.
    pub calls: (Instant, u32),
    /// Its ledger line, once that was handed over in this run of the process: what is said later agrees with it.
    pub accounted: Option<Arc<ledger::Entry>>,
}

pub(crate) fn annotation<'a>(job: &'a Job, key: &str) -> Option<&'a str> {
    job.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn label<'a>(job: &'a Job, key: &str) -> Option<&'a str> {
    job.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Its namespace and name.
pub(crate) fn named(job: &Job) -> (&str, &str) {
    let meta = &job.metadata;
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

pub(crate) fn uid(job: &Job) -> &str {
    job.metadata.uid.as_deref().unwrap_or_default()
}

pub(crate) fn version(job: &Job) -> u64 {
    job.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

pub(crate) fn suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|s| s.suspend).unwrap_or(false)
}

/// Name of the PriorityClass its pods are of.
pub(crate) fn priority_class(job: &Job) -> Option<&str> {
    job.spec.as_ref()?.priority_class_name.as_deref()
}

pub(crate) fn managed_by_us(job: &Job) -> bool {
    job.spec.as_ref().and_then(|s| s.managed_by.as_deref()) == Some(MANAGED_BY)
}

/// Whether a condition of this type is True, and the condition.
pub(crate) fn condition<'a>(
    job: &'a Job,
    kind: &str,
) -> Option<&'a k8s_openapi::api::batch::v1::JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == kind && c.status == "True")
}

/// `Some(true)` complete, `Some(false)` failed, `None` not finished.
pub(crate) fn finished(job: &Job) -> Option<bool> {
    if condition(job, "Complete").is_some() {
        Some(true)
    } else if condition(job, "Failed").is_some() {
        Some(false)
    } else {
        None
    }
}

/// When a finished Job ended.
pub(crate) fn finish_time(job: &Job) -> Option<Instant> {
    let status = job.status.as_ref()?;
    let failed = || condition(job, "Failed").and_then(|c| c.last_transition_time.clone());
    status.completion_time.clone().or_else(failed).map(|t| Instant::from_jiff(t.0))
}

pub(crate) fn start_time(job: &Job) -> Option<Instant> {
    job.status.as_ref()?.start_time.as_ref().map(|t| Instant::from_jiff(t.0))
}

pub(crate) fn deleting(job: &Job) -> bool {
    job.metadata.deletion_timestamp.is_some()
}

pub(crate) fn has_finalizer(job: &Job) -> bool {
    job.metadata.finalizers.as_ref().is_some_and(|all| all.iter().any(|f| f == FINALIZER))
}

/// Pods at a time: parallelism, but not more than completions.
pub(crate) fn parallelism(job: &Job) -> i64 {
    let Some(spec) = &job.spec else { return 1 };
    let parallelism = spec.parallelism.unwrap_or(1).max(1);
    i64::from(spec.completions.map_or(parallelism, |c| c.max(1).min(parallelism)))
}

/// Pods at a time a run needs in which `succeeded` have succeeded so far: completions that were reached
/// before it (before a pause) need none.
pub(crate) fn pods_left(job: &Job, succeeded: usize) -> usize {
    let count = |n: Option<i32>| usize::try_from(n.unwrap_or(0)).unwrap_or(0);
    let before = count(job.status.as_ref().and_then(|s| s.succeeded)).saturating_sub(succeeded);
    let pods = usize::try_from(parallelism(job)).unwrap_or(1);
    let completions = job.spec.as_ref().and_then(|s| s.completions);
    completions.map_or(pods, |all| pods.min(count(Some(all)).saturating_sub(before))).max(1)
}

/// Earlier runs of a paused Job; what does not parse is left out.
pub(crate) fn earlier_runs(job: &Job) -> Vec<(Instant, Instant)> {
    let text = annotation(job, RUNS_ANNOTATION).unwrap_or_default();
    let run = |part: &str| {
        let (from, to) = part.split_once('/')?;
        Some((Instant::parse(from).ok()?, Instant::parse(to).ok()?))
    };
    text.split(',').take(RUNS_MAX).filter_map(run).filter(|(from, to)| from <= to).collect()
}

pub(crate) fn runs_text(runs: &[(Instant, Instant)]) -> String {
    let parts: Vec<String> = runs
        .iter()
        .map(|(from, to)| format!("{}/{}", from.to_rfc3339_seconds(), to.to_rfc3339_seconds()))
        .collect();
    parts.join(",")
}

/// Whether this Job asks for placement, or carries marks of ours that must be tidied.
pub(crate) fn is_home(job: &Job) -> bool {
    let asks = label(job, PLACEMENT_LABEL) == Some(PLACEMENT_MANAGED);
    let copy = label(job, ORIGIN_UID_LABEL).is_some();
    !copy
        && (asks
            || managed_by_us(job)
            || annotation(job, PLANNED_START_ANNOTATION).is_some()
            || annotation(job, LATEST_START_ANNOTATION).is_some()
            || has_finalizer(job))
}

/// The key of a home Job in `cluster`; `None` when its names are not valid.
pub(crate) fn key(cluster: &ClusterId, job: &Job) -> Option<JobKey> {
    Some(JobKey {
        cluster: cluster.clone(),
        namespace: ObjectName::new(job.metadata.namespace.as_deref()?).ok()?,
        name: ObjectName::new(job.metadata.name.as_deref()?).ok()?,
    })
}

/// Name of the copy: the original's name and 8 hex digits of its uid, within 63 characters.
pub(crate) fn copy_name(job: &Job) -> String {
    let hex: String = uid(job).chars().filter(char::is_ascii_hexdigit).take(8).collect();
    let name: String = job.metadata.name.as_deref().unwrap_or_default().chars().take(54).collect();
    format!("{}-{hex}", name.trim_end_matches(['-', '.']))
}

/// What the name of a Job has in common with its siblings: the name without a trailing run of digits
/// or a generated suffix, so that `report-28001` and `report-28002` learn from each other.
pub(crate) fn stem(job: &Job) -> String {
    let owner = job
        .metadata
        .owner_references
        .as_ref()
        .and_then(|all| all.iter().find(|o| o.controller == Some(true)));
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(owner) = owner {
        return format!("{namespace}/{}/{}", owner.kind, owner.name);
    }
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let head = match name.rsplit_once('-') {
        Some((head, tail)) if tail.len() <= 10 && !head.is_empty() => head,
        _ => name,
    };
    format!("{namespace}/{head}")
}

/// Where the copy of a Job is or may be, once that has been written down.
pub(crate) fn copy_at(key: &JobKey, job: &Job) -> Option<CopyKey> {
    let name = annotation(job, COPY_ANNOTATION)?;
    let cluster = ClusterId::new(annotation(job, TARGET_ANNOTATION)?).ok()?;
    Some((cluster, key.namespace.to_string(), name.to_owned()))
}

impl Tracked {
    /// Where the copy is or may be: cluster and name, once that has been written down.
    pub fn committed(&self) -> Option<(ClusterId, String)> {
        self.copy_at.as_ref().map(|(cluster, _, name)| (cluster.clone(), name.clone()))
    }
    /// It is so now.
    pub fn becomes(&mut self, job: Arc<Job>) {
        self.copy_at = copy_at(&self.key, &job);
        self.job = job;
    }
    /// Whether it waits to be started for the first time, or is paused.
    pub fn finished(&self) -> Option<bool> {
        finished(&self.job)
    }
    /// Whether the label is still on.
    pub fn wanted(&self) -> bool {
        label(&self.job, PLACEMENT_LABEL) == Some(PLACEMENT_MANAGED) || self.style == Style::Mirrored
    }
    /// How long a failure keeps it from being tried again: 2 s after the first, doubling up to 64 s.
    pub fn back_off(&self) -> Span {
        Span::from_seconds(1 << self.failures.min(6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(value: serde_json::Value) -> Job {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn copies_are_named_after_the_original_and_its_uid() {
        let j = job(
            serde_json::json!({"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"train","namespace":"ml","uid":"12ab34cd-5678-4abc-8def-000000000000"}}),
        );
        assert_eq!(copy_name(&j), "train-12ab34cd");
        let long = job(
            serde_json::json!({"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a".repeat(63),"uid":"12ab34cd-5678"}}),
        );
        assert_eq!(copy_name(&long).len(), 63);
    }

    #[test]
    fn siblings_share_a_stem() {
        let named = |name: &str| {
            job(
                serde_json::json!({"apiVersion":"batch/v1","kind":"Job","metadata":{"name":name,"namespace":"a"}}),
            )
        };
        assert_eq!(stem(&named("report-28001")), stem(&named("report-28002")));
        assert_ne!(stem(&named("report-28001")), stem(&named("train-28001")));
    }

    #[test]
    fn runs_survive_an_annotation() {
        let at = Instant::from_unix_seconds;
        let runs = vec![(at(0), at(900)), (at(3600), at(7200))];
        let j = job(
            serde_json::json!({"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","annotations":{RUNS_ANNOTATION: runs_text(&runs)}}}),
        );
        assert_eq!(earlier_runs(&j), runs);
    }
}
