//! Reads and writes the Lease of a cluster, whose holder alone may write there.
//!
//! Invariants: a write is under the resourceVersion that was read, so that of two that take a Lease one is told no; one
//! call is bounded by [`LEASE_TIMEOUT`], well within the time a holder has to renew. Nothing is decided here:
//! `control::lease` says what to write.

use crate::contexts::chain;
use control::MANAGER;
use control::lease::{DURATION, Seen, Write};
use fleet::{Instant, Span};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// Longest one read or write of a Lease may take: two fit in the time between a renewal and the end of the right to
/// write, with as much left.
pub const LEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Name of the Lease.
pub const NAME: &str = "kubercarbon";
/// The namespace it is in unless another is named: every cluster has it, and only administrators write there.
pub const NAMESPACE: &str = "kube-system";
/// Longest duration believed: a Lease that counts for longer is somebody's mistake.
const SECONDS_MAX: i32 = 3600;

/// Most characters of an error that are passed on.
const WORDS_MAX: usize = 500;

/// Why a Lease was not read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Somebody wrote it first: read it again.
    Conflict,
    /// Anything else, in words.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Conflict => f.write_str("somebody wrote it first"),
            Error::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

/// What a Lease says.
fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    let stamp = spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default();
    let seconds = spec.lease_duration_seconds.map(|seconds| seconds.clamp(1, SECONDS_MAX));
    Seen {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        stamp: format!("{stamp} {}", spec.lease_transitions.unwrap_or(0)),
        duration: seconds.map_or(DURATION, |seconds| Span::from_seconds(seconds.into())),
    }
}

/// Reads a cluster's Lease; where there is none, makes one that nobody holds.
///
/// # Errors
/// In words, when it cannot be read, or is not there and may not be made.
pub async fn read(client: &kube::Client, namespace: &str) -> Result<Seen, Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let found = in_time("read", api.get_opt(NAME)).await?;
    if let Some(lease) = found {
        return Ok(seen(&lease));
    }
    let mut blank = Lease::default();
    blank.metadata.name = Some(NAME.to_owned());
    let post = PostParams { dry_run: false, field_manager: Some(MANAGER.to_owned()) };
    let made = in_time("make", api.create(&post, &blank)).await;
    made.map(|lease| seen(&lease)).map_err(|error| match error {
        Error::Failed(why) => Error::Failed(format!(
            "Lease {namespace}/{NAME} is not there: {why} (kubercarbon rbac --mode auto prints it with the rights it needs)"
        )),
        conflict => conflict,
    })
}

/// Writes a cluster's Lease as `us`, who calls it `now`; gives it as it is then.
///
/// # Errors
/// [`Error::Conflict`] when somebody wrote it since it was read; else in words.
pub async fn write(
    client: &kube::Client,
    namespace: &str,
    write: &Write,
    us: &str,
    now: Instant,
) -> Result<Seen, Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(document(write, us, now));
    let written = in_time("write", api.patch(NAME, &params, &patch)).await?;
    Ok(seen(&written))
}

/// The merge patch a write comes to.
fn document(write: &Write, us: &str, now: Instant) -> Value {
    let stamp = now.to_jiff().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let (version, spec) = match write {
        Write::Take { version } => (
            version,
            json!({"holderIdentity": us, "leaseDurationSeconds": DURATION.as_seconds(),
                "acquireTime": stamp, "renewTime": stamp}),
        ),
        Write::Renew { version } => (
            version,
            json!({"holderIdentity": us, "leaseDurationSeconds": DURATION.as_seconds(), "renewTime": stamp}),
        ),
        Write::Release { version } => {
            (version, json!({"holderIdentity": null, "leaseDurationSeconds": 1, "renewTime": stamp}))
        }
    };
    json!({"metadata": {"resourceVersion": version}, "spec": spec})
}

async fn in_time<T>(what: &str, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(LEASE_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(Error::Conflict),
        Ok(Err(kube::Error::Api(status))) => {
            let text = format!("{what} Lease: {} {}: {}", status.code, status.reason, status.message);
            Err(Error::Failed(text.chars().take(WORDS_MAX).collect()))
        }
        Ok(Err(error)) => Err(Error::Failed(format!("{what} Lease: {}", chain(&error)))),
        Err(_) => Err(Error::Failed(format!("{what} Lease: no answer within {} s", LEASE_TIMEOUT.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_written_under_the_version_that_was_read() {
        let now = Instant::parse("2026-03-02T00:00:00.5Z").unwrap();
        let take = document(&Write::Take { version: "7".to_owned() }, "host/1", now);
        assert_eq!(take["metadata"]["resourceVersion"], "7");
        assert_eq!(take["spec"]["renewTime"], "2026-03-02T00:00:00.500000Z");
        assert_eq!(
            (&take["spec"]["holderIdentity"], &take["spec"]["leaseDurationSeconds"]),
            (&json!("host/1"), &json!(30))
        );
        let renew = document(&Write::Renew { version: "8".to_owned() }, "host/1", now);
        assert!(renew["spec"].get("acquireTime").is_none());
        let release = document(&Write::Release { version: "9".to_owned() }, "host/1", now);
        assert!(release["spec"]["holderIdentity"].is_null());
    }

    #[test]
    fn what_a_lease_says_is_bounded() {
        let lease = |spec: Value| -> Lease {
            serde_json::from_value(json!({"metadata": {"resourceVersion": "3"}, "spec": spec})).unwrap()
        };
        let free = seen(&lease(json!({"holderIdentity": "", "leaseDurationSeconds": 1})));
        assert_eq!((free.holder, free.duration), (None, Span::from_seconds(1)));
        let long = seen(&lease(json!({"holderIdentity": "a", "leaseDurationSeconds": 2_000_000_000})));
        assert_eq!(long.duration, Span::HOUR);
        assert_eq!(seen(&Lease::default()).holder, None);
    }
}
