//! What is to be done: everything `Control` asks of the world. Plain data, safe to carry out twice.

use fleet::{ClusterId, Instant};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Event;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Names an effect within one run of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectId(pub u64);

/// One thing to do. Effects of one step are carried out in order: a record is durable before the
/// calls that follow it are made.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A call of a cluster's API; answered by `Event::Done`.
    Call {
        /// For the answer.
        id: EffectId,
        /// Where.
        cluster: ClusterId,
        /// What.
        call: ApiCall,
    },
    /// A line of the journal.
    Record(Record),
    /// A line of the ledger; a second one with the same id changes nothing.
    Ledger(Box<ledger::Entry>),
    /// What a cluster used in an hour, or a correction of it; a second one with the same id changes nothing.
    Usage(Box<ledger::usage::HourLine>),
}

/// A call of the Kubernetes API under the field manager `kubercarbon`.
#[derive(Clone, Debug, PartialEq)]
pub enum ApiCall {
    /// Creates a Job.
    CreateJob {
        /// The Job, namespace and name set.
        job: Box<Job>,
        /// Ask only whether the server would take it, and whether what its pods need is there ([`crate::needs`]), unless
        /// that is its home.
        dry_run: bool,
    },
    /// Reads a Job anew: what a watch told of it may be old.
    ReadJob {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Merge-patches a Job; the patch carries `metadata.uid`, so that another Job of that name is left alone.
    PatchJob {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The merge patch.
        patch: Value,
        /// Whether it goes to `/status`.
        status: bool,
    },
    /// Deletes a Job and, in the background, its pods.
    DeleteJob {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Only the one with this uid.
        uid: String,
    },
    /// Creates an Event; that it is there already is as good.
    CreateEvent {
        /// The event, namespace and name set.
        event: Box<Event>,
    },
}

/// A journal line: what is about to be done, or how it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When, in the fleet's time.
    pub at: Instant,
    /// `step`, `outcome`, `order`, `plan`.
    pub kind: String,
    /// What it is about: `CLUSTER/NAMESPACE/NAME` of the home Job.
    pub key: String,
    /// The details.
    pub body: Value,
}
