//! How the kubelets of a node group are set: their version, what they do when their machine is told to shut down, and the pods
//! they run without being told by the API server.
//!
//! Invariants: a version is one that the API server works with ([`Version::SERVER`]); the grace periods of a shutdown stand in
//! order of priority, each priority once, at most [`SHUTDOWN_MAX`] together. Nothing here knows what is in a pod. Left out:
//! reading it from a file ([`crate::file`]).

use crate::time::Span;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Longest that a shutdown may be delayed in all.
pub const SHUTDOWN_MAX: Span = Span::HOUR;
/// Most priorities that may have a grace period of their own.
pub const PRIORITIES_MAX: usize = 100;
/// Most static pods of a node.
pub const STATIC_PODS_MAX: usize = 100;
/// Priority from which on pods are critical (`SystemCriticalPriority`).
pub const CRITICAL: i32 = 2_000_000_000;
/// How many minor versions a kubelet may be older than its API server (Kubernetes' version skew policy).
const SKEW: u32 = 3;
/// Largest patch that is read.
const PATCH_MAX: u32 = 999;

/// A version of Kubernetes, `v1.MINOR.PATCH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Minor version: 36 of v1.36.3.
    pub minor: u32,
    /// Patch: 3 of v1.36.3.
    pub patch: u32,
}

impl Version {
    /// What a twin's API server is, and its kubelets where nothing is stated.
    pub const SERVER: Version = Version { minor: 36, patch: 3 };
    /// The oldest minor version a kubelet may have, and the newest.
    pub const KUBELET_MINOR: (u32, u32) = (Version::SERVER.minor - SKEW, Version::SERVER.minor);
    /// From a text such as `v1.35.2`, with or without the `v`; `None`: it is none.
    pub fn parse(text: &str) -> Option<Version> {
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
        let number = |part: &str| {
            let digits = !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
            let canonical = digits && (part == "0" || !part.starts_with('0'));
            canonical.then(|| part.parse::<u32>().ok()).flatten()
        };
        let (major, minor, patch) = (parts.next()?, number(parts.next()?)?, number(parts.next()?)?);
        (major == "1" && parts.next().is_none() && patch <= PATCH_MAX).then_some(Version { minor, patch })
    }
    /// Whether the API server works with a kubelet of this version: it is not newer, and not too old.
    pub fn is_supported(self) -> bool {
        (Version::KUBELET_MINOR.0..=Version::KUBELET_MINOR.1).contains(&self.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1.{}.{}", self.minor, self.patch)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
        let text = String::deserialize(deserializer)?;
        Version::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?}: expected a version such as v1.36.3")))
    }
}

/// How long pods of a priority and above, up to the next one stated, may take to end when their node shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownGrace {
    /// The lowest of these priorities; pods below the lowest of all count as of that one.
    pub priority: i32,
    /// How long, in whole seconds.
    pub grace: Span,
}

/// How the kubelets of a group are set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeletSpec {
    /// Their version.
    pub version: Version,
    /// By which priorities pods end when the machine is told to shut down, lowest first; none: it goes down at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shutdown: Vec<ShutdownGrace>,
    /// Manifests of the pods each runs by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub static_pods: Vec<serde_json::Value>,
}

impl Default for KubeletSpec {
    fn default() -> KubeletSpec {
        KubeletSpec { version: Version::SERVER, shutdown: Vec::new(), static_pods: Vec::new() }
    }
}

impl KubeletSpec {
    /// Whether nothing is stated.
    pub fn is_default(&self) -> bool {
        *self == KubeletSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_kubernetes_writes_them() {
        assert_eq!(Version::parse("v1.36.3"), Some(Version::SERVER));
        assert_eq!(Version::parse("1.33.0"), Some(Version { minor: 33, patch: 0 }));
        assert_eq!(Version { minor: 35, patch: 12 }.to_string(), "v1.35.12");
        for wrong in
            ["", "v1", "v1.36", "v2.36.3", "v1.36.3.1", "v1.036.3", "v1.36.-1", "v1.36.3+x", "v1.36.1000"]
        {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn kubelets_may_be_three_minor_versions_older_and_not_newer() {
        let supported = |minor| Version { minor, patch: 9 }.is_supported();
        assert_eq!([32, 33, 34, 35, 36, 37].map(supported), [false, true, true, true, true, false]);
    }
}
