//! The claims of a set's pods: made from templates, kept or let go as the set's policy says.
//!
//! The policy is carried out by owners: a claim that is to go with the set or with a pod belongs to it, and the garbage
//! collector does the rest.

use super::{SOURCE, Sync, name};
use crate::apiserver::{Options, Request, Status, Verb};
use crate::controllers::owned::{KINDS, reference};
use crate::controllers::underway::Writer;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

impl Sync<'_, '_> {
    /// Claim templates by name.
    pub(super) fn claim_templates(&self) -> Vec<(String, PersistentVolumeClaim)> {
        let all = self.spec.volume_claim_templates.iter().flatten();
        all.map(|t| (t.metadata.name.clone().unwrap_or_default(), t.clone())).collect()
    }
    pub(super) fn claim_name(&self, template: &str, at: i32) -> String {
        format!("{template}-{}-{at}", self.object.name())
    }
    /// Whether a claim of this name still belongs to a pod that is gone: the new pod waits until it has followed it.
    pub(super) fn has_stale_claim(&self, at: i32, pod: &str) -> bool {
        self.claim_templates().iter().any(|(template, _)| {
            let claim =
                self.cx.objects.get(KINDS.claim, self.object.namespace(), &self.claim_name(template, at));
            let owners = claim.and_then(|s| s.object.meta().owner_references.clone());
            owners.into_iter().flatten().any(|owner| owner.kind == "Pod" && owner.name == pod)
        })
    }
    /// Makes the claims of an ordinal that are not there; whether all are then.
    pub(super) fn create_claims(&mut self, at: i32) -> bool {
        let namespace = self.object.namespace().to_owned();
        let mut all = true;
        for (template, claim) in self.claim_templates() {
            let claim_name = self.claim_name(&template, at);
            if self.cx.objects.get(KINDS.claim, &namespace, &claim_name).is_some() {
                continue;
            }
            let mut labels = claim.metadata.labels.clone().unwrap_or_default();
            labels.extend(self.spec.selector.match_labels.clone().unwrap_or_default());
            let body = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": claim_name, "namespace": namespace, "labels": labels,
                    "annotations": claim.metadata.annotations},
                "spec": claim.spec,
            });
            let (pod, set) = (format!("{}-{at}", self.object.name()), self.object.name().to_owned());
            let (subject, of) =
                (format!("Create Claim {claim_name}"), format!("Pod {pod} in StatefulSet {set}"));
            match self.send(body) {
                Ok(()) => {
                    self.cx.normal(
                        &self.about,
                        SOURCE,
                        "SuccessfulCreate",
                        format!("{subject} {of} success"),
                    );
                }
                Err(status) if status.pending.is_some() => all = false,
                Err(status) => {
                    all = false;
                    let text = format!("{subject} for {of} failed error: {}", status.message);
                    self.cx.warning(&self.about, SOURCE, "FailedCreate", text);
                }
            }
        }
        all
    }
    /// Creates a claim as a client does.
    fn send(&mut self, body: Value) -> Result<(), Status> {
        let request = Request {
            verb: Verb::Create,
            kind: KINDS.claim,
            namespace: self.object.namespace().to_owned(),
            name: String::new(),
            subresource: None,
            body,
            options: Options::of_controller("statefulset-controller"),
        };
        self.cx.send(&Writer::of(self.object), request).map(|_| ())
    }
    /// Gives the claims of an ordinal to whom they are to go with: the set, its pod, or nobody.
    pub(super) fn own_claims(&mut self, at: i32, pod: Option<&Pod>, condemned: bool) {
        let policy = self.spec.persistent_volume_claim_retention_policy.as_ref();
        let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
        let with_pod = condemned && deletes(policy.and_then(|p| p.when_scaled.as_ref()));
        let with_set = !with_pod && deletes(policy.and_then(|p| p.when_deleted.as_ref()));
        let of_pod = |pod: &Pod| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: name(pod).to_owned(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        let wanted = match pod {
            Some(pod) if with_pod => Some(of_pod(pod)),
            _ if with_set => Some(reference(self.object)),
            _ => None,
        };
        let pod_name = format!("{}-{at}", self.object.name());
        let set_uid = self.object.uid().to_owned();
        for (template, _) in self.claim_templates() {
            let claim = self.claim_name(&template, at);
            let wanted = wanted.clone();
            self.cx.edit((KINDS.claim, self.object.namespace(), &claim), |doc| {
                let owners = doc.metadata.owner_references.take().unwrap_or_default();
                let ours = |o: &OwnerReference| o.uid == set_uid || (o.kind == "Pod" && o.name == pod_name);
                let mut owners: Vec<OwnerReference> = owners.into_iter().filter(|o| !ours(o)).collect();
                owners.extend(wanted);
                doc.metadata.owner_references = (!owners.is_empty()).then_some(owners);
            });
        }
    }
}
