//! `KubeSchedulerConfiguration`: the file that tells a kube-scheduler how to decide, read for a twin.
//!
//! What it says is either taken or refused, never passed over: the exceptions are what cannot show on a twin, and are
//! named in the documentation (`docs/scheduler.md`). Ranges and defaults are kube-scheduler 1.36's
//! (`pkg/scheduler/apis/config/v1/defaults.go` and `…/validation`). Invariant: an empty configuration is
//! [`Config::default`], which decides as without one. Times in seconds, shares in percent.

mod args;
mod document;
pub(super) mod points;
#[cfg(test)]
mod tests;

use super::profile::{DEFAULT_NAME, Profile};
use document::Configuration;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Largest file read, in bytes: a hundred times the longest there is reason to write.
pub const SIZE_MAX: usize = 1 << 20;
/// Most profiles; each is a scheduler of its own name.
const PROFILES_MAX: usize = 64;
/// Longest back-off, in seconds: a day.
const BACKOFF_SECONDS_MAX: i64 = 86_400;

const VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field's value cannot be.
    #[error("{field}: {found}: expected {expected}")]
    Field {
        /// Path of the field, e.g. `profiles[0].plugins.score.enabled[1].weight`.
        field: String,
        /// What stood there.
        found: String,
        /// What would do.
        expected: String,
    },
    /// It is not of this shape.
    #[error("{field}: {said}")]
    Shape {
        /// Path of the field.
        field: String,
        /// What was found and expected.
        said: String,
    },
}

impl Error {
    fn new(field: &str, found: impl ToString, expected: impl Into<String>) -> Error {
        Error::Field { field: field.to_owned(), found: found.to_string(), expected: expected.into() }
    }
}

/// How a cluster's scheduler decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// One scheduler each, with names of their own.
    pub profiles: Vec<Profile>,
    /// How long a pod that fitted nowhere rests.
    pub backoff: Backoff,
}

/// How long a pod that fitted nowhere rests: doubled with each attempt, up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first attempt, in seconds.
    pub first_seconds: i64,
    /// At most, in seconds.
    pub most_seconds: i64,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { first_seconds: 1, most_seconds: 10 }
    }
}

impl Backoff {
    /// After so many attempts, in seconds.
    pub(super) fn seconds(self, attempts: u32) -> i64 {
        let doublings = attempts.saturating_sub(1).min(62);
        if self.first_seconds > self.most_seconds >> doublings {
            return self.most_seconds;
        }
        self.first_seconds << doublings
    }
}

impl Default for Config {
    fn default() -> Config {
        Config { profiles: vec![Profile::default()], backoff: Backoff::default() }
    }
}

/// A part of a document as a type, or where and why not.
fn shaped<T: DeserializeOwned>(path: &str, part: &Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(part).map_err(|error| {
        let inner = error.path().to_string();
        let field = match (path, inner.as_str()) {
            (_, ".") if path.is_empty() => "the file".to_owned(),
            (_, ".") => path.to_owned(),
            ("", _) => inner,
            _ => format!("{path}.{inner}"),
        };
        Error::Shape { field, said: error.into_inner().to_string() }
    })
}

/// A whole number within bounds, or the default.
fn number(path: &str, stated: Option<i64>, default: i64, (least, most): (i64, i64)) -> Result<i64, Error> {
    match stated {
        None => Ok(default),
        Some(found) if (least..=most).contains(&found) => Ok(found),
        Some(found) => Err(Error::new(path, found, format!("{least} to {most}"))),
    }
}

impl Config {
    /// Reads a configuration.
    pub fn read(document: &Value) -> Result<Config, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            api_version: Option<String>,
            kind: Option<String>,
        }
        let named: Kind = shaped("", document)?;
        for (field, found, expected) in
            [("apiVersion", named.api_version, VERSION), ("kind", named.kind, KIND)]
        {
            if found.as_deref() != Some(expected) {
                let found = found.map_or("none".to_owned(), |found| format!("{found:?}"));
                return Err(Error::new(field, found, expected));
            }
        }
        Config::checked(&shaped("", document)?)
    }
    fn checked(file: &Configuration) -> Result<Config, Error> {
        number("parallelism", file.parallelism, 16, (1, i64::from(i32::MAX)))?;
        if let Some(extenders) = file.extenders.as_ref().filter(|e| !e.is_empty()) {
            let found = format!("{} extenders", extenders.len());
            return Err(Error::new("extenders", found, "none: a twin calls no other server to decide"));
        }
        let percent = file.percentage_of_nodes_to_score;
        let percent = number("percentageOfNodesToScore", percent, 0, (0, 100))?;
        let stated = file.pod_initial_backoff_seconds;
        let first_seconds = number("podInitialBackoffSeconds", stated, 1, (1, BACKOFF_SECONDS_MAX))?;
        let stated = file.pod_max_backoff_seconds.or(Some(10));
        let most_seconds = number("podMaxBackoffSeconds", stated, 10, (first_seconds, BACKOFF_SECONDS_MAX))?;
        let empty = [document::Profile::default()];
        let listed = file.profiles.as_deref().filter(|p| !p.is_empty()).unwrap_or(&empty);
        if listed.len() > PROFILES_MAX {
            let found = format!("{} profiles", listed.len());
            return Err(Error::new("profiles", found, format!("at most {PROFILES_MAX}")));
        }
        let mut profiles: Vec<Profile> = Vec::with_capacity(listed.len());
        for (i, stated) in listed.iter().enumerate() {
            let path = format!("profiles[{i}]");
            let read = profile(&path, stated, percent, listed.len() == 1)?;
            if let Some(other) = profiles.iter().position(|p| p.name == read.name) {
                let found = format!("{:?}, as profiles[{other}] has", read.name);
                return Err(Error::new(&format!("{path}.schedulerName"), found, "a name of its own"));
            }
            profiles.push(read);
        }
        Ok(Config { profiles, backoff: Backoff { first_seconds, most_seconds } })
    }
    /// The profile of this name.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }
    /// The profile a pod asks for; `None`: another scheduler is to place it.
    pub fn profile_of(&self, pod: &Pod) -> Option<&Profile> {
        let stated = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
        self.profile(stated.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_NAME))
    }
}

fn profile(path: &str, stated: &document::Profile, percent: i64, only: bool) -> Result<Profile, Error> {
    let default = only.then_some(DEFAULT_NAME);
    let name = stated.scheduler_name.as_deref().or(default).unwrap_or_default();
    if name.is_empty() {
        let expected = "a name: only a single profile is called default-scheduler by itself";
        return Err(Error::new(&format!("{path}.schedulerName"), "none", expected));
    }
    let field = format!("{path}.percentageOfNodesToScore");
    let percent = number(&field, stated.percentage_of_nodes_to_score, percent, (0, 100))?;
    let mut profile =
        Profile { name: name.to_owned(), percentage_of_nodes_to_score: percent, ..Profile::default() };
    if let Some(plugins) = &stated.plugins {
        let lists = points::Lists::read(&format!("{path}.plugins"), plugins)?;
        profile.pre_filters = lists.pre_filters;
        profile.filters = lists.filters;
        profile.post_filters = lists.post_filters;
        profile.scores = lists.scores;
    }
    args::read(path, stated.plugin_config.as_deref().unwrap_or_default(), &mut profile)?;
    Ok(profile)
}
