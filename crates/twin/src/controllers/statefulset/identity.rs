//! The pod of an ordinal: its name, labels, host name, volumes and revision.

use super::{REVISION, SOURCE, Sync};
use crate::controllers::podcontrol::Refusal;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, Volume};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The ordinal in the name of a set's pod.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<i32> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let plain = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
    plain.then(|| digits.parse().ok()).flatten()
}

impl Sync<'_, '_> {
    /// Whether the pod of an ordinal is to be of the revision that was current before.
    fn is_of_current(&self, at: i32) -> bool {
        self.rolls()
            && at
                < self.start() + self.partition().unwrap_or_else(|| self.status.current_replicas.unwrap_or(0))
    }
    /// Makes the claims and the pod of an ordinal.
    pub(super) fn create(&mut self, at: i32) {
        let name = format!("{}-{at}", self.object.name());
        if self.has_stale_claim(at, &name) || !self.create_claims(at) {
            return;
        }
        let revision = if self.is_of_current(at) { self.current } else { self.update };
        let Some(template) = revision.template() else { return };
        let mut pod = self.cx.pod_of(&template, self.object, &name);
        pod.metadata.generate_name = Some(format!("{}-", self.object.name()));
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert(POD_NAME.to_owned(), name.clone());
        labels.insert(POD_INDEX.to_owned(), at.to_string());
        labels.insert(REVISION.to_owned(), revision.name.clone());
        self.furnish(&mut pod, at, &name);
        let set = self.object.name();
        match self.cx.create_pod(pod) {
            Ok(_) => {
                let text = format!("Create Pod {name} in StatefulSet {set} successful");
                self.cx.normal(&self.about, SOURCE, "SuccessfulCreate", text);
                self.own_claims(at, None, false);
            }
            Err(Refusal::NamespaceEnds | Refusal::UnderWay) => {}
            Err(Refusal::Text(why)) => {
                self.refused = true;
                let text = format!("Create Pod {name} in StatefulSet {set} failed error: {why}");
                self.cx.warning(&self.about, SOURCE, "FailedCreate", text);
            }
        }
    }
    /// Host name, subdomain and the claims as volumes.
    fn furnish(&self, pod: &mut Pod, at: i32, name: &str) {
        let Some(spec) = &mut pod.spec else { return };
        spec.hostname = Some(name.to_owned());
        spec.subdomain = self.spec.service_name.clone().filter(|service| !service.is_empty());
        let templates = self.claim_templates();
        let volumes = spec.volumes.get_or_insert_default();
        volumes.retain(|volume| templates.iter().all(|(template, _)| *template != volume.name));
        for (template, _) in &templates {
            volumes.push(Volume {
                name: template.clone(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: self.claim_name(template, at),
                    read_only: None,
                }),
                ..Volume::default()
            });
        }
        if volumes.is_empty() {
            spec.volumes = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ordinal;

    #[test]
    fn only_whole_names_have_an_ordinal() {
        assert_eq!([ordinal("db", "db-0"), ordinal("db", "db-12")], [Some(0), Some(12)]);
        assert_eq!([ordinal("db", "db-01"), ordinal("db", "db-"), ordinal("db", "dbx-1")], [None; 3]);
        assert_eq!(
            [ordinal("db", "db-a"), ordinal("db", "db-1-2"), ordinal("db", "db-99999999999")],
            [None; 3]
        );
    }
}
