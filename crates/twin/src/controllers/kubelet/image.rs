//! Images: which are there, how long others take, and what becomes of one that cannot be had.
//!
//! As kubelet's `image_manager`, in its words. Assumptions: an image of which nothing is stated takes [`IMAGE_PULL`]; a
//! registry whose name begins with `invalid.` or ends with `.invalid` is not there.

use super::scene::Scene;
use super::unit::{BackOff, PullError, State};
use super::{IMAGE_PULL, Run};
use crate::work::{PULL_FAILS, PULL_FOR, Role, stated, stated_span};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Container;

/// Bytes a second a pull brings; assumed, as [`IMAGE_PULL`] is.
const PULL_RATE: i64 = 50_000_000;
/// How long a pull takes that fails: a registry says no, or its name leads nowhere; assumed.
const PULL_FAILURE: Span = Span::from_seconds(1);
/// How long a failed pull is called that, before it is called a back-off; assumed.
const FAILURE_SHOWN: Span = Span::from_seconds(2);
/// Looking in the registry whether an image is still the newest: named in events, taking no time.
const LOOKED_UP: &str = "400ms";

fn registry_is_there(image: &str) -> bool {
    let host = image.split('/').next().filter(|host| host.contains('.')).unwrap_or_default();
    !host.starts_with("invalid.") && !host.ends_with(".invalid")
}

/// Whether a text can name an image.
fn is_name(image: &str) -> bool {
    let path = image.split('@').next().unwrap_or_default();
    let path = match path.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => path,
        _ => path,
    };
    let (host, path) = match path.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("", path),
    };
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    !path.is_empty() && path.chars().all(fits) && !host.contains(char::is_whitespace)
}

/// `Always`, `IfNotPresent` or `Never`.
fn policy(container: &Container) -> &str {
    let image = container.image.as_deref().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let newest = !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    container.image_pull_policy.as_deref().unwrap_or(if newest { "Always" } else { "IfNotPresent" })
}

/// Whether the next pull of a container's image fails, so many having failed before.
fn fails(scene: &Scene<'_, '_>, container: &Container, role: Role, before: u32) -> bool {
    let said = stated(scene.pod, PULL_FAILS, container, role);
    let image = container.image.as_deref().unwrap_or_default();
    match said {
        Some("always") => true,
        Some(count) => count.parse::<u32>().is_ok_and(|count| before < count),
        None => !registry_is_there(image),
    }
}

/// The registry of an image, its path there and its tag, as containerd asks for it.
fn parts(image: &str) -> (&str, String, &str) {
    let (path, tag) = match image.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (image, "latest"),
    };
    match path.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            (host, rest.to_owned(), tag)
        }
        Some(_) => ("registry-1.docker.io", path.to_owned(), tag),
        None => ("registry-1.docker.io", format!("library/{path}"), tag),
    }
}

/// Why a pull failed, in containerd's words.
pub(super) fn why(image: &str, reason: PullError) -> String {
    let attempt =
        format!("failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\"");
    if reason != PullError::Unreachable {
        return format!("{attempt}: {image}: not found");
    }
    let (host, path, tag) = parts(image);
    format!(
        "{attempt}: failed to do request: Head \"https://{host}/v2/{path}/manifests/{tag}\": dial tcp: lookup {host}: i/o timeout"
    )
}

impl Run {
    /// Begins to make a container: sees to its image first.
    pub(super) fn begin(&mut self, at: usize, scene: &mut Scene<'_, '_>) -> bool {
        let Some((container, role)) = scene.container(at) else { return false };
        let image = container.image.clone().unwrap_or_default();
        let present = scene.host.has(&image);
        if present && policy(container) != "Always" {
            // What has its image is made as soon as there is a sandbox, which needs no look in between.
            self.prepare(at, false, scene);
            return true;
        }
        if self.sandbox_at > scene.now() {
            return false;
        }
        if !is_name(&image) {
            let text = format!(
                "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
            );
            scene.tell(true, "InspectFailed", at, text);
            return self.refuse(at, PullError::InvalidName, "Error: InvalidImageName", scene);
        }
        if policy(container) == "Never" {
            let text = format!("Container image \"{image}\" is not present with pull policy of Never");
            scene.tell(true, "ErrImageNeverPull", at, text);
            return self.refuse(at, PullError::NeverPull, "Error: ErrImageNeverPull", scene);
        }
        scene.tell(false, "Pulling", at, format!("Pulling image \"{image}\""));
        let fails = !scene.registry || fails(scene, container, role, self.units[at].pull.0);
        if present && !fails {
            let text = format!(
                "Successfully pulled image \"{image}\" in {LOOKED_UP} ({LOOKED_UP} including waiting). Image size: {} bytes.",
                size(IMAGE_PULL)
            );
            scene.tell(false, "Pulled", at, text);
            self.prepare(at, true, scene);
            return true;
        }
        let takes = stated_span(scene.pod, PULL_FOR, container, role).unwrap_or(IMAGE_PULL);
        let until = match scene.host.arrives(&image).filter(|at| *at > scene.now() && !fails) {
            Some(at) => at,
            None if fails => scene.now() + PULL_FAILURE,
            None => scene.now() + takes,
        };
        if !fails {
            scene.host.expect(&image, until);
        }
        self.units[at].state = State::Pulling { since: scene.now(), until, fails };
        true
    }
    /// There is no image, and will be none for a while.
    fn refuse(&mut self, at: usize, reason: PullError, word: &str, scene: &mut Scene<'_, '_>) -> bool {
        scene.tell(true, "Failed", at, word.to_owned());
        let now = scene.now();
        let unit = &mut self.units[at];
        let back_off = BackOff::next(unit.pull.1, now, now);
        unit.pull = (unit.pull.0 + 1, Some(back_off));
        unit.unpulled = Some(reason);
        let named = now + FAILURE_SHOWN.min(back_off.delay);
        unit.state = State::Unpulled { named, until: now + back_off.delay, reason };
        true
    }
    /// A pull is over.
    pub(super) fn pulled(&mut self, at: usize, scene: &mut Scene<'_, '_>) -> bool {
        let (Some((container, role)), State::Pulling { since, fails: failed, .. }) =
            (scene.container(at), &self.units[at].state)
        else {
            return false;
        };
        let (took, failed) = (scene.now() - *since, *failed);
        let image = container.image.clone().unwrap_or_default();
        // Of what was begun while there was a registry, nothing comes once there is none.
        if failed || !scene.registry {
            let stated = fails(scene, container, role, self.units[at].pull.0);
            let reason = if stated { PullError::Failed } else { PullError::Unreachable };
            let text = format!("Failed to pull image \"{image}\": {}", why(&image, reason));
            scene.tell(true, "Failed", at, text);
            return self.refuse(at, reason, "Error: ErrImagePull", scene);
        }
        scene.host.keep(&image);
        let seconds = took.as_seconds();
        let text = format!(
            "Successfully pulled image \"{image}\" in {seconds}s ({seconds}s including waiting). Image size: {} bytes.",
            size(took)
        );
        scene.tell(false, "Pulled", at, text);
        self.units[at].pull = (0, None);
        self.units[at].unpulled = None;
        self.prepare(at, true, scene);
        true
    }
    /// A failed pull is called a back-off, or tried again.
    pub(super) fn unpulled(
        &mut self,
        at: usize,
        (named, until, reason): (Instant, Instant, PullError),
        scene: &mut Scene<'_, '_>,
    ) -> bool {
        let now = scene.now();
        if until <= now {
            self.units[at].state = State::Waiting;
            return self.begin(at, scene);
        }
        if named <= now && named != Instant::EPOCH && reason.is_failure() {
            // Said once.
            self.units[at].state = State::Unpulled { named: Instant::EPOCH, until, reason };
            let image = scene.container(at).and_then(|(c, _)| c.image.clone()).unwrap_or_default();
            scene.tell(false, "BackOff", at, format!("Back-off pulling image \"{image}\""));
            scene.tell(true, "Failed", at, "Error: ImagePullBackOff".to_owned());
            return true;
        }
        false
    }
}

/// What an image weighs that took so long.
fn size(took: Span) -> i64 {
    (took.as_seconds().max(1)).saturating_mul(PULL_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images() {
        for good in
            ["busybox", "busybox:1.37", "registry.k8s.io:5000/a/b_c@sha256:abc", "localhost/x", "a/b.c-d:V1"]
        {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "Busybox", "a b", "registry.k8s.io/A", "x:/"] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(!registry_is_there("invalid.registry.k8s.io/invalid/alpine:3.1"));
        assert!(!registry_is_there("docker.invalid/x"));
        assert!(registry_is_there("docker.io/invalid/x") && registry_is_there("invalid"));
    }

    #[test]
    fn policies_follow_tags() {
        let of = |image: &str| {
            policy(&Container { image: Some(image.to_owned()), ..Container::default() }).to_owned()
        };
        assert_eq!(
            ["a", "a:latest", "a:1", "r:5000/a", "a@sha256:x"].map(of),
            ["Always", "Always", "IfNotPresent", "Always", "IfNotPresent"]
        );
    }
}
