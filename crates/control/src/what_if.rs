//! What would be decided for a Job that is not there yet, or is: nothing is changed.

use crate::job::Job;
use crate::jobs::{self, Style};
use crate::learnt::RunTime;
use crate::planning::sizes;
use crate::state::Control;
use fleet::plan::{API_VERSION, Action, ObjectRef, Precondition};
use fleet::{ClusterId, Instant, JobKey, Plan, Step};
use k8s_openapi::api::batch::v1 as api;
use planner::placement::{self, Explanation};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A decision and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The Job.
    pub job: JobKey,
    /// When it was decided.
    pub at: Instant,
    /// How long it is expected to run, and who says so.
    pub run_time: RunTime,
    /// The guard's instant.
    pub latest_start: Option<Instant>,
    /// Chosen place and time, the next best, what was excluded, and the sentence; `None`: it fits nowhere.
    pub explanation: Option<Explanation>,
    /// What is wrong with the contract, or why it fits nowhere.
    pub warnings: Vec<String>,
}

/// Why nothing could be decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The fleet has no such cluster.
    #[error("cluster \"{found}\" is not in the fleet: expected one of {known}")]
    Cluster {
        /// What was asked for.
        found: String,
        /// What there is.
        known: String,
    },
    /// Not yet observed.
    #[error("the clusters have not been listed yet")]
    NotReady,
    /// The Job has no usable name.
    #[error("metadata.name: expected a name")]
    Name,
    /// No such Job under the contract.
    #[error("job {0} is not among the Jobs under placement")]
    Unknown(String),
    /// Not under the contract.
    #[error(
        "the Job does not ask for placement: expected the label kubercarbon.io/placement: managed, and spec.suspend: true"
    )]
    NotManaged,
}

impl Control {
    /// Where and when `job` would run if it were created in `home` now, with `alternatives` next best.
    pub fn place(&self, home: &ClusterId, job: api::Job, alternatives: usize) -> Result<Decision, Error> {
        if !self.clusters.contains_key(home) {
            let known: Vec<&str> = self.clusters.keys().map(ClusterId::as_str).collect();
            return Err(Error::Cluster { found: home.to_string(), known: known.join(", ") });
        }
        if !self.ready() {
            return Err(Error::NotReady);
        }
        let mut job = Job::from(job);
        job.metadata.namespace.get_or_insert_with(|| "default".to_owned());
        if job.metadata.name.is_none() {
            job.metadata.name.clone_from(&job.metadata.generate_name);
        }
        if !jobs::is_home(&job) {
            return Err(Error::NotManaged);
        }
        let stamp = Instant::from_unix_seconds(self.now.as_unix_seconds()).to_jiff();
        job.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(stamp));
        let key = jobs::key(home, &job).ok_or(Error::Name)?;
        let tracked = self.tracked(key.clone(), Arc::new(job));
        let mut snapshot = self.snapshot();
        snapshot.workloads.retain(|w| w.key != key);
        if let Some(workload) = self.workload(&tracked, &sizes(&snapshot.clusters)) {
            snapshot.workloads.push(workload);
            snapshot.workloads.sort_by(|a, b| a.key.cmp(&b.key));
        }
        let policy = &self.settings.policy;
        let schedule = placement::plan(&snapshot, policy, self.schedule.as_ref(), self.settings.effort);
        let mut warnings = tracked.errors.clone();
        warnings.extend(schedule.unplaced.iter().filter(|u| u.key == key).map(|u| u.reason.clone()));
        warnings.extend(schedule.late.iter().filter(|l| l.key == key).map(|l| format!("late: {}", l.reason)));
        if tracked.style == Style::InPlace {
            warnings.push(
                "without spec.managedBy: kubercarbon.io/fleet the Job can only be shifted in time, at home"
                    .to_owned(),
            );
        }
        Ok(Decision {
            at: self.now,
            run_time: self.run_time(&tracked),
            latest_start: self.latest_start(&tracked),
            explanation: placement::explain(&snapshot, policy, &schedule, &key, alternatives),
            warnings,
            job: key,
        })
    }

    /// Why a Job under placement is where it is, or will be.
    pub fn why(&self, key: &JobKey, alternatives: usize) -> Result<Decision, Error> {
        let tracked = self.jobs.get(key).ok_or_else(|| Error::Unknown(key.to_string()))?;
        let snapshot = self.snapshot();
        let schedule = self.schedule.as_ref().ok_or(Error::NotReady)?;
        let mut warnings = tracked.errors.clone();
        warnings.extend(schedule.unplaced.iter().filter(|u| u.key == *key).map(|u| u.reason.clone()));
        warnings
            .extend(schedule.late.iter().filter(|l| l.key == *key).map(|l| format!("late: {}", l.reason)));
        Ok(Decision {
            job: key.clone(),
            at: self.now,
            run_time: self.run_time(tracked),
            latest_start: self.latest_start(tracked),
            explanation: placement::explain(&snapshot, &self.settings.policy, schedule, key, alternatives),
            warnings,
        })
    }

    /// The starts, pauses and resumes of the schedule in force that lie ahead, as a document.
    pub fn plan_document(&self) -> Plan {
        let mut steps: Vec<Step> = Vec::new();
        for tracked in self.open_jobs().filter(|t| !jobs::deleting(&t.job)) {
            let Some(assignment) = self.assignment(&tracked.key) else { continue };
            let begun = tracked.committed().is_some() || self.progress(tracked).running_since.is_some();
            for (i, run) in assignment.runs.iter().enumerate().filter(|(_, run)| run.from >= self.now) {
                let first = i == 0 && !begun;
                let action =
                    if first { Action::Start { target: assignment.cluster.clone() } } else { Action::Resume };
                steps.push(Step {
                    id: format!("{}/{}", tracked.key, i),
                    at: run.from,
                    after: Vec::new(),
                    cluster: assignment.cluster.clone(),
                    object: ObjectRef {
                        kind: "Job".to_owned(),
                        namespace: tracked.key.namespace.clone(),
                        name: tracked.key.name.clone(),
                        uid: jobs::uid(&tracked.job).to_owned(),
                    },
                    action,
                    precondition: Precondition {
                        uid: Some(jobs::uid(&tracked.job).to_owned()),
                        suspend: Some(true),
                    },
                    expect: format!("runs until {}", run.to.to_rfc3339_seconds()),
                    undo: format!(
                        "kubectl --context {} -n {} delete job {}",
                        tracked.key.cluster, tracked.key.namespace, tracked.key.name
                    ),
                    reason: format!("forecast {} CO2e in all", assignment.footprint.carbon),
                });
            }
        }
        steps.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.id.cmp(&b.id)));
        Plan {
            api_version: API_VERSION.to_owned(),
            kind: "Plan".to_owned(),
            title: format!("{} starts and resumes ahead", steps.len()),
            created: self.now,
            steps,
        }
    }
}
