//! What a pod's volumes are claims on.

use crate::kind::Kind;
use k8s_openapi::api::core::v1::Pod;
use std::sync::OnceLock;

/// The kind PersistentVolumeClaim.
pub(crate) fn claim_kind() -> Kind {
    static KIND: OnceLock<Kind> = OnceLock::new();
    *KIND.get_or_init(|| Kind::document("", "persistentvolumeclaims"))
}

/// The kind PersistentVolume.
pub(crate) fn volume_kind() -> Kind {
    static KIND: OnceLock<Kind> = OnceLock::new();
    *KIND.get_or_init(|| Kind::document("", "persistentvolumes"))
}

/// The kind StorageClass.
pub(super) fn class_kind() -> Kind {
    static KIND: OnceLock<Kind> = OnceLock::new();
    *KIND.get_or_init(|| Kind::document("storage.k8s.io", "storageclasses"))
}

/// The kind VolumeAttachment.
pub(super) fn attachment_kind() -> Kind {
    static KIND: OnceLock<Kind> = OnceLock::new();
    *KIND.get_or_init(|| Kind::document("storage.k8s.io", "volumeattachments"))
}

/// Names of the claims a pod uses; an ephemeral volume's claim is named after pod and volume.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(move |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{name}-{}", volume.name)),
        (None, None) => None,
    })
}
