//! A Plan: the one way to change a cluster. A document people can read, review and keep in git.

use crate::id::{ClusterId, ObjectName};
use crate::time::Instant;
use serde::{Deserialize, Serialize};

/// `apiVersion` of every document of ours.
pub const API_VERSION: &str = "kubercarbon.io/v1alpha1";

/// A list of typed steps, each with its reason, precondition, expected effect and undo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// [`API_VERSION`].
    pub api_version: String,
    /// `Plan`.
    pub kind: String,
    /// What it is for, in one line.
    pub title: String,
    /// When it was made, in the fleet's time.
    pub created: Instant,
    /// The steps, in an order that respects `after`.
    pub steps: Vec<Step>,
}

/// One change to one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Unique in the plan.
    pub id: String,
    /// Not before.
    pub at: Instant,
    /// Steps that must have been done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Where.
    pub cluster: ClusterId,
    /// On what.
    pub object: ObjectRef,
    /// What is done.
    pub action: Action,
    /// What must hold for it to be done.
    pub precondition: Precondition,
    /// What should be seen afterwards.
    pub expect: String,
    /// How to take it back, as a command or a sentence.
    pub undo: String,
    /// Why.
    pub reason: String,
}

/// An object of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRef {
    /// `Job`.
    pub kind: String,
    /// Namespace.
    pub namespace: ObjectName,
    /// Name.
    pub name: ObjectName,
    /// The object's uid when the plan was made.
    pub uid: String,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type", deny_unknown_fields)]
pub enum Action {
    /// Keep the Job suspended until its planned start.
    Hold {
        /// When it is to start.
        start: Instant,
        /// Where.
        target: ClusterId,
    },
    /// Start the Job: as a copy in `target`, or by unsuspending it where it is.
    Start {
        /// Where.
        target: ClusterId,
    },
    /// Pause an interruptible Job.
    Pause,
    /// Resume a paused Job.
    Resume,
    /// Delete the copy of a Job whose original is gone.
    DeleteCopy,
}

/// What must hold when a step is done; never a resourceVersion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Precondition {
    /// The object's uid is still this.
    pub uid: Option<String>,
    /// `spec.suspend` is still this.
    pub suspend: Option<bool>,
}
