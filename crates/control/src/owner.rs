//! Who else keeps a Job as it is, and what may therefore be done with it.
//!
//! Argo CD and Flux set back what differs from their source, sooner or later: the *spec* of what they own is left alone.
//! A Job that may leave home is mirrored in its status only, which they do not look at. One that may not would have to
//! be unsuspended: that is done once, at once, and not again when it is set back. Helm sets back only at its next
//! upgrade, and a CronJob never, so their Jobs are placed as any other. A hook is waited for by whoever runs it, so it
//! is never put off.
//!
//! Left out: `app.kubernetes.io/instance` alone, which Argo CD may track by and Helm charts set by custom: it says nothing.

use crate::job::Job;
use crate::jobs;
use std::fmt;

/// Argo CD's mark: `APP:GROUP/KIND:NAMESPACE/NAME`.
const ARGO_TRACKING: &str = "argocd.argoproj.io/tracking-id";
const ARGO_INSTANCE: &str = "argocd.argoproj.io/instance";
const ARGO_HOOK: &str = "argocd.argoproj.io/hook";
const FLUX_KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io/name";
const FLUX_HELM: &str = "helm.toolkit.fluxcd.io/name";
const HELM_RELEASE: &str = "meta.helm.sh/release-name";
const HELM_HOOK: &str = "helm.sh/hook";
/// Labels and annotations by which tools know what is theirs: a copy is not, and one that bore them might be pruned.
const MARKS: [&str; 6] = [
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "helm.sh/",
    "app.kubernetes.io/",
];

/// Who keeps a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An Application of Argo CD.
    ArgoCd(String),
    /// A Kustomization or HelmRelease of Flux.
    Flux(&'static str, String),
    /// A release of Helm.
    Helm(String),
    /// A CronJob.
    CronJob(String),
}

/// `the Argo CD Application "shop"`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            // A hook need not say whose it is.
            (_, "") => write!(f, "Argo CD"),
            (kind, name) => write!(f, "the {kind} {name:?}"),
        }
    }
}

impl Owner {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Owner::ArgoCd(name) => ("Argo CD Application", name),
            Owner::Flux("Kustomization", name) => ("Flux Kustomization", name),
            Owner::Flux(_, name) => ("Flux HelmRelease", name),
            Owner::Helm(name) => ("Helm release", name),
            Owner::CronJob(name) => ("CronJob", name),
        }
    }

    /// `Argo CD Application shop`.
    pub fn name(&self) -> String {
        let (kind, name) = self.parts();
        if name.is_empty() { "Argo CD".to_owned() } else { format!("{kind} {name}") }
    }

    /// Whether it sets a Job's spec back to its source by itself.
    fn reconciles(&self) -> bool {
        matches!(self, Owner::ArgoCd(_) | Owner::Flux(..))
    }
}

/// Who keeps a Job, where anybody says.
pub(crate) fn of(job: &Job) -> Option<Owner> {
    let (label, mark) = (|key: &str| jobs::label(job, key), |key: &str| jobs::annotation(job, key));
    let app = mark(ARGO_TRACKING).map(|id| id.split(':').next().unwrap_or_default());
    let hook = || mark(ARGO_HOOK).map(|_| "");
    if let Some(app) = app.or_else(|| label(ARGO_INSTANCE)).or_else(hook) {
        return Some(Owner::ArgoCd(app.to_owned()));
    }
    for (key, kind) in [(FLUX_KUSTOMIZE, "Kustomization"), (FLUX_HELM, "HelmRelease")] {
        if let Some(name) = label(key) {
            return Some(Owner::Flux(kind, name.to_owned()));
        }
    }
    if let Some(release) = mark(HELM_RELEASE) {
        return Some(Owner::Helm(release.to_owned()));
    }
    let owners = job.metadata.owner_references.as_deref().unwrap_or_default();
    let cron = owners.iter().find(|o| o.kind == "CronJob" && o.controller == Some(true));
    cron.map(|o| Owner::CronJob(o.name.clone()))
}

/// Whether somebody waits for the Job before going on.
pub(crate) fn is_hook(job: &Job) -> bool {
    [ARGO_HOOK, HELM_HOOK].iter().any(|key| jobs::annotation(job, key).is_some())
}

/// Whether the spec of a Job would be set back.
pub(crate) fn keeps_spec(job: &Job) -> bool {
    of(job).is_some_and(|owner| owner.reconciles())
}

/// Whether a label or annotation tells a tool that an object is its own.
pub(crate) fn is_mark(key: &str) -> bool {
    MARKS.iter().any(|prefix| key.starts_with(prefix))
}

/// What is done differently for a Job, and why, in words.
pub(crate) fn sentence(job: &Job) -> Option<String> {
    let owner = of(job);
    let (whose, hook) = (owner.as_ref().map(|o| format!("it belongs to {o}")), is_hook(job));
    let movable = jobs::managed_by_us(job);
    let how = match &owner {
        _ if hook => "it is a hook, which is waited for: it is not put off",
        Some(owner) if owner.reconciles() && movable => {
            "which keeps its spec: it stays suspended at home while its copy runs, and only its status says so"
        }
        Some(owner) if owner.reconciles() => {
            "which keeps its spec and would set spec.suspend back: it is started once, at once (with spec.managedBy: kubercarbon.io/fleet it can be placed)"
        }
        Some(Owner::Helm(_)) => "an upgrade of which sets its spec back",
        Some(Owner::CronJob(_)) => "whose concurrencyPolicy counts it from its creation on, held or not",
        _ => return None,
    };
    let dash = if hook { ";" } else { "," };
    Some(whose.map_or_else(|| how.to_owned(), |whose| format!("{whose}{dash} {how}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn job(labels: Value, annotations: Value, managed: bool) -> Job {
        let by = managed.then_some(jobs::MANAGED_BY);
        let meta = json!({"name": "a", "labels": labels, "annotations": annotations});
        serde_json::from_value(json!({"metadata": meta, "spec": {"managedBy": by, "template": {}}})).unwrap()
    }

    #[test]
    fn owners_are_recognised_by_their_marks() {
        let argo = json!({"argocd.argoproj.io/tracking-id": "shop:batch/Job:default/a"});
        let cases = [
            (job(json!({}), argo.clone(), false), "the Argo CD Application \"shop\"", true),
            (
                job(json!({"argocd.argoproj.io/instance": "shop"}), json!({}), false),
                "the Argo CD Application \"shop\"",
                true,
            ),
            (
                job(json!({"kustomize.toolkit.fluxcd.io/name": "apps"}), json!({}), false),
                "the Flux Kustomization \"apps\"",
                true,
            ),
            (
                job(
                    json!({"helm.toolkit.fluxcd.io/name": "db"}),
                    json!({"meta.helm.sh/release-name": "db"}),
                    false,
                ),
                "the Flux HelmRelease \"db\"",
                true,
            ),
            (
                job(
                    json!({"app.kubernetes.io/managed-by": "Helm"}),
                    json!({"meta.helm.sh/release-name": "db"}),
                    false,
                ),
                "the Helm release \"db\"",
                false,
            ),
        ];
        for (job, name, keeps) in cases {
            let owner = of(&job).unwrap();
            assert_eq!((owner.to_string().as_str(), keeps_spec(&job)), (name, keeps));
            assert_eq!(format!("the {}", owner.name()), name.replace('"', ""));
        }
        assert_eq!(of(&job(json!({"app.kubernetes.io/instance": "x"}), json!({}), false)), None);
        let mut cron = job(json!({}), json!({}), true);
        let owner = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "u", "controller": true}]);
        cron.metadata.owner_references = serde_json::from_value(owner).unwrap();
        assert_eq!(of(&cron), Some(Owner::CronJob("nightly".to_owned())));
        assert!(sentence(&job(json!({}), argo, true)).unwrap().contains("stays suspended at home"));
    }

    #[test]
    fn hooks_are_waited_for() {
        for key in [ARGO_HOOK, HELM_HOOK] {
            let hook = job(json!({}), json!({key: "PreSync"}), true);
            assert!(
                is_hook(&hook) && sentence(&hook).unwrap().contains("not put off"),
                "{:?}",
                sentence(&hook)
            );
        }
        let hook = job(json!({}), json!({ARGO_HOOK: "PreSync"}), true);
        assert_eq!(
            sentence(&hook).unwrap(),
            "it belongs to Argo CD; it is a hook, which is waited for: it is not put off"
        );
        assert!(
            !is_hook(&job(json!({}), json!({}), true))
                && sentence(&job(json!({}), json!({}), true)).is_none()
        );
    }
}
