//! `persistentvolume-binder`: binds claims and volumes to each other, one to one.
//!
//! A claim is bound to the volume it names, else to one that is kept for it, else (unless its class waits for a pod) to
//! the smallest free one that will do, else a volume is made for it. Bound means that both name each other. What is
//! decided is kept in the objects; beside them only what is being made or taken away, and what claims were told.
//! Left out: snapshots, cloning, volume attributes classes, recycling.

use super::claims::{attachment_kind, claims_of, class_kind};
use super::{DELETE, EXPAND, PROVISION, claim_kind, volume_kind};
use crate::apiserver::quantity::Quantity;
use crate::apiserver::selector::selects_pod;
use crate::controllers::document::{annotate, annotation, at, set, text};
use crate::controllers::events::{About, Source};
use crate::controllers::{Cx, Place, is_deleting, is_terminal, time};
use crate::kind::Kind;
use crate::object::{Document, Object, has_finalizer};
use crate::random::Stream;
use crate::store::{Change, ChangeKind};
use crate::world::{Priority, Task};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SOURCE: Source<'static> = Source { component: "persistentvolume-controller", host: None };
pub(crate) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Binder {
    /// Claims a volume is being made for, and volumes that are being enlarged or taken away, by uid.
    under_way: BTreeSet<Arc<str>>,
    /// What a claim was told last, by uid.
    told: BTreeMap<Arc<str>, String>,
    /// Claims and volumes to look at; empty at rest.
    #[serde(skip)]
    claims: BTreeSet<Place>,
    #[serde(skip)]
    volumes: BTreeSet<Arc<str>>,
}

fn place(doc: &Document) -> Place {
    let text = |t: &Option<String>| Arc::from(t.as_deref().unwrap_or_default());
    (text(&doc.metadata.namespace), text(&doc.metadata.name))
}

fn uid(doc: &Document) -> &str {
    doc.metadata.uid.as_deref().unwrap_or_default()
}

fn name(doc: &Document) -> &str {
    doc.metadata.name.as_deref().unwrap_or_default()
}

/// A size in bytes; 0 where none is stated.
fn bytes(doc: &Document, path: &[&str]) -> i128 {
    Quantity::parse(text(doc, path)).map_or(0, Quantity::units)
}

/// Namespace, name and uid of the claim a volume is kept for.
fn kept_for(volume: &Document) -> Option<(&str, &str, &str)> {
    at(volume, &["spec", "claimRef"])?;
    let part = |key| text(volume, &["spec", "claimRef", key]);
    Some((part("namespace"), part("name"), part("uid")))
}

fn is_kept_for(volume: &Document, claim: &Document) -> bool {
    let (namespace, claim_name) = place(claim);
    kept_for(volume)
        .is_some_and(|(ns, n, u)| *ns == *namespace && *n == *claim_name && (u.is_empty() || u == uid(claim)))
}

/// Whether a volume is what a claim asks for.
fn serves(volume: &Document, claim: &Document) -> bool {
    let modes =
        |doc| at(doc, &["spec", "accessModes"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let has = modes(volume);
    let labels = json!(volume.metadata.labels);
    text(volume, &["spec", "storageClassName"]) == text(claim, &["spec", "storageClassName"])
        && text(volume, &["spec", "volumeMode"]) == text(claim, &["spec", "volumeMode"])
        && !is_deleting(&volume.metadata)
        && bytes(volume, &["spec", "capacity", "storage"])
            >= bytes(claim, &["spec", "resources", "requests", "storage"])
        && modes(claim).iter().all(|mode| has.contains(mode))
        && at(claim, &["spec", "selector"]).is_none_or(|selector| selects_pod(selector, &labels))
}

impl Binder {
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        match &change.object.object {
            Object::Document(doc) if doc.kind == claim_kind() => self.observe_claim(doc, change.kind),
            Object::Document(doc) if doc.kind == volume_kind() => {
                if change.kind == ChangeKind::Deleted {
                    self.under_way.remove(uid(doc));
                } else {
                    self.volumes.insert(name(doc).into());
                }
                // Whoever waits for a volume may have this one, or has lost it.
                self.wake(cx, |claim| {
                    !is_settled(claim) || text(claim, &["spec", "volumeName"]) == name(doc)
                });
            }
            Object::Document(doc) if doc.kind == class_kind() => self.wake(cx, |claim| !is_settled(claim)),
            // Who comes may bring the claim of an ephemeral volume, who leaves gives its claims free.
            Object::Pod(pod) if change.kind != ChangeKind::Modified || is_terminal(pod) => {
                let namespace: Arc<str> = change.object.object.namespace().into();
                self.claims.extend(claims_of(pod).map(|claim| (namespace.clone(), Arc::from(claim))));
            }
            _ => {}
        }
    }
    fn observe_claim(&mut self, claim: &Document, kind: ChangeKind) {
        if kind == ChangeKind::Deleted {
            self.told.remove(uid(claim));
            self.under_way.remove(uid(claim));
            let volume = text(claim, &["spec", "volumeName"]);
            if !volume.is_empty() {
                self.volumes.insert(volume.into());
            }
        } else {
            self.claims.insert(place(claim));
        }
    }
    fn wake(&mut self, cx: &Cx<'_>, which: impl Fn(&Document) -> bool) {
        self.claims.extend(cx.documents(claim_kind(), None).filter(|claim| which(claim)).map(place));
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut acted = false;
        while let Some((namespace, name)) = self.claims.pop_first() {
            acted |= self.sync_claim(cx, (&namespace, &name));
        }
        while let Some(name) = self.volumes.pop_first() {
            acted |= self.sync_volume(cx, &name);
        }
        acted
    }
    /// What was being made, enlarged or taken away is.
    pub(crate) fn wake_up(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, place: &Place) {
        if !self.under_way.remove(uid) {
            return;
        }
        if place.0.is_empty() {
            self.taken_away(cx, &place.1, uid);
        } else if let Some(claim) =
            cx.document(claim_kind(), &place.0, &place.1).filter(|claim| self::uid(claim) == &**uid).cloned()
        {
            if is_settled(&claim) {
                self.enlarged(cx, &claim);
            } else {
                self.provisioned(cx, &claim);
            }
        }
    }
    fn begin(&mut self, cx: &mut Cx<'_>, uid: &str, place: Place, after: fleet::Span) {
        let uid: Arc<str> = uid.into();
        if self.under_way.insert(uid.clone()) {
            cx.timers.set(cx.now + after, Priority::Controller, Task::Volume { uid, place });
        }
    }
    /// Tells a claim something it was not told last.
    fn tell(&mut self, cx: &mut Cx<'_>, claim: &Document, (warning, reason): (bool, &str), message: String) {
        if self.told.get(uid(claim)).is_some_and(|last| *last == message) {
            return;
        }
        self.told.insert(uid(claim).into(), message.clone());
        let object = Object::Document(Box::new(claim.clone()));
        if warning {
            cx.warning(&About::new(&object), SOURCE, reason, message);
        } else {
            cx.normal(&About::new(&object), SOURCE, reason, message);
        }
    }

    // --- claims -----------------------------------------------------------------------------------

    fn sync_claim(&mut self, cx: &mut Cx<'_>, (namespace, claim_name): (&str, &str)) -> bool {
        let kind = claim_kind();
        let Some(claim) = cx.document(kind, namespace, claim_name) else { return false };
        if is_deleting(&claim.metadata) {
            // It stays for as long as something needs it.
            return has_finalizer(&claim.metadata, CLAIM_FINALIZER)
                && !is_used(cx, namespace, claim_name)
                && cx.release(kind, namespace, claim_name, CLAIM_FINALIZER);
        }
        let class = crate::apiserver::default_class(cx.objects);
        let mut acted = cx.change_document(kind, (namespace, claim_name), |claim| {
            protect(&mut claim.metadata, CLAIM_FINALIZER);
            if let (Some(class), None) = (class, at(claim, &["spec", "storageClassName"])) {
                set(claim, &["spec", "storageClassName"], json!(class));
            }
        });
        let Some(claim) = cx.document(kind, namespace, claim_name).cloned() else { return acted };
        acted |= match text(&claim, &["spec", "volumeName"]) {
            "" => self.find_volume(cx, &claim),
            volume => self.keep_volume(cx, &claim, volume),
        };
        acted
    }
    /// A claim that names no volume yet.
    fn find_volume(&mut self, cx: &mut Cx<'_>, claim: &Document) -> bool {
        let class = cx.document(class_kind(), "", text(claim, &["spec", "storageClassName"])).cloned();
        let waits = class.as_ref().is_some_and(|c| text(c, &["volumeBindingMode"]) == "WaitForFirstConsumer");
        let chosen = annotation(claim, SELECTED_NODE);
        let all = || cx.documents(volume_kind(), None);
        let own = all().find(|volume| is_kept_for(volume, claim));
        let free = || {
            let free = all().filter(|volume| kept_for(volume).is_none() && serves(volume, claim));
            free.min_by_key(|volume| bytes(volume, &["spec", "capacity", "storage"]))
        };
        if let Some(volume) = own.or_else(|| if waits { None } else { free() }).cloned() {
            return self.bind(cx, claim, &volume);
        }
        if waits && chosen.is_empty() {
            let message = "waiting for first consumer to be created before binding".to_owned();
            self.tell(cx, claim, (false, "WaitForFirstConsumer"), message);
            return false;
        }
        let class_name = text(claim, &["spec", "storageClassName"]);
        let Some(class) = class else {
            let message = if class_name.is_empty() {
                "no persistent volumes available for this claim and no storage class is set".to_owned()
            } else {
                format!("storageclass.storage.k8s.io \"{class_name}\" not found")
            };
            let reason = if class_name.is_empty() { "FailedBinding" } else { "ProvisioningFailed" };
            self.tell(cx, claim, (!class_name.is_empty(), reason), message);
            return false;
        };
        let provisioner = text(&class, &["provisioner"]).to_owned();
        if provisioner == NO_PROVISIONER {
            let message = "no persistent volumes available for this claim and no storage class is set";
            self.tell(cx, claim, (false, "FailedBinding"), message.to_owned());
            return false;
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        self.tell(cx, claim, (false, "ExternalProvisioning"), message);
        let (namespace, claim_name) = place(claim);
        cx.change_document(claim_kind(), (&namespace, &claim_name), |claim| {
            annotate(claim, PROVISIONER, &provisioner);
        });
        self.begin(cx, uid(claim), (namespace, claim_name), PROVISION);
        true
    }
    /// A claim that names a volume.
    fn keep_volume(&mut self, cx: &mut Cx<'_>, claim: &Document, volume_name: &str) -> bool {
        let bound = !annotation(claim, BIND_COMPLETED).is_empty();
        let Some(volume) = cx.document(volume_kind(), "", volume_name).cloned() else {
            if bound {
                let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
                return self.lose(cx, claim, "ClaimLost", message);
            }
            return false;
        };
        if is_kept_for(&volume, claim) || (kept_for(&volume).is_none() && (bound || serves(&volume, claim))) {
            if is_settled(claim) && kept_for(&volume).is_some_and(|(_, _, u)| u == uid(claim)) {
                return self.enlarge(cx, claim, &volume);
            }
            return self.bind(cx, claim, &volume);
        }
        if bound {
            let message = "Two claims are bound to the same volume, this one is bound incorrectly";
            return self.lose(cx, claim, "ClaimMisbound", message);
        }
        let message = match kept_for(&volume) {
            Some(_) => format!("volume \"{volume_name}\" already bound to a different claim."),
            None => format!("Cannot bind to requested volume \"{volume_name}\": requirements are not met"),
        };
        let reason = if kept_for(&volume).is_some() { "FailedBinding" } else { "VolumeMismatch" };
        self.tell(cx, claim, (true, reason), message);
        false
    }
    fn lose(&mut self, cx: &mut Cx<'_>, claim: &Document, reason: &str, message: &str) -> bool {
        self.tell(cx, claim, (true, reason), message.to_owned());
        let (namespace, claim_name) = place(claim);
        cx.change_document(claim_kind(), (&namespace, &claim_name), |claim| {
            set(claim, &["status", "phase"], json!("Lost"));
        })
    }
    /// Makes a claim and a volume name each other.
    fn bind(&mut self, cx: &mut Cx<'_>, claim: &Document, volume: &Document) -> bool {
        let (namespace, claim_name) = place(claim);
        let mut acted = cx.change_document(volume_kind(), ("", name(volume)), |volume| {
            if kept_for(volume).is_none() {
                annotate(volume, BOUND_BY_CONTROLLER, "yes");
            }
            refer(volume, claim);
            set(volume, &["status", "phase"], json!("Bound"));
        });
        acted |= cx.change_document(claim_kind(), (&namespace, &claim_name), |claim| {
            if text(claim, &["spec", "volumeName"]).is_empty() {
                set(claim, &["spec", "volumeName"], json!(name(volume)));
                annotate(claim, BOUND_BY_CONTROLLER, "yes");
            }
            annotate(claim, BIND_COMPLETED, "yes");
            set(claim, &["status", "phase"], json!("Bound"));
            for part in ["accessModes", "capacity"] {
                if let Some(value) = at(volume, &["spec", part]) {
                    set(claim, &["status", part], value.clone());
                }
            }
        });
        acted
    }
    /// A volume that was asked for is there.
    fn provisioned(&mut self, cx: &mut Cx<'_>, claim: &Document) {
        if !text(claim, &["spec", "volumeName"]).is_empty() || is_deleting(&claim.metadata) {
            return;
        }
        let Some(class) = cx.document(class_kind(), "", text(claim, &["spec", "storageClassName"])).cloned()
        else {
            return;
        };
        let zone = zone(cx, claim);
        let volume_name = format!("pvc-{}", uid(claim));
        let mut volume = Document {
            kind: volume_kind(),
            api_version: "v1".into(),
            metadata: ObjectMeta {
                name: Some(volume_name.clone()),
                uid: Some(Stream::new(cx.seed, &format!("volumes/{}", uid(claim))).uid()),
                creation_timestamp: Some(time(cx.now)),
                ..ObjectMeta::default()
            },
            body: Default::default(),
        };
        let driver = text(&class, &["provisioner"]);
        annotate(&mut volume, PROVISIONED_BY, driver);
        let requested = at(claim, &["spec", "resources", "requests", "storage"]).cloned().unwrap_or_default();
        let reclaim = at(&class, &["reclaimPolicy"]).cloned().unwrap_or_else(|| json!("Delete"));
        let mut spec = json!({
            "capacity": {"storage": requested},
            "accessModes": at(claim, &["spec", "accessModes"]),
            "persistentVolumeReclaimPolicy": reclaim,
            "storageClassName": name(&class),
            "volumeMode": at(claim, &["spec", "volumeMode"]).cloned().unwrap_or_else(|| json!("Filesystem")),
            "csi": {"driver": driver, "volumeHandle": format!("vol-{}", uid(claim)), "fsType": "ext4"},
        });
        if let Some(zone) = zone {
            let within = json!([{"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}]);
            spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": within}});
        }
        volume.body.insert("spec", spec);
        set(&mut volume, &["status", "phase"], json!("Pending"));
        refer(&mut volume, claim);
        protect(&mut volume.metadata, VOLUME_FINALIZER);
        cx.objects.put(Object::Document(Box::new(volume.clone())));
        let message = format!("Successfully provisioned volume {volume_name}");
        self.tell(cx, claim, (false, "ProvisioningSucceeded"), message);
        self.bind(cx, claim, &volume);
    }
    /// A bound claim that asks for more than it has.
    fn enlarge(&mut self, cx: &mut Cx<'_>, claim: &Document, volume: &Document) -> bool {
        let wanted = bytes(claim, &["spec", "resources", "requests", "storage"]);
        if wanted <= bytes(claim, &["status", "capacity", "storage"]) || self.under_way.contains(uid(claim)) {
            return false;
        }
        let class = cx.document(class_kind(), "", text(volume, &["spec", "storageClassName"]));
        if class.is_none_or(|c| at(c, &["allowVolumeExpansion"]) != Some(&json!(true))) {
            return false;
        }
        let (namespace, claim_name) = place(claim);
        let since = cx.now.to_rfc3339_seconds();
        cx.change_document(claim_kind(), (&namespace, &claim_name), |claim| {
            set(
                claim,
                &["status", "conditions"],
                json!([{"type": "Resizing", "status": "True", "lastTransitionTime": since}]),
            );
        });
        self.begin(cx, uid(claim), (namespace, claim_name), EXPAND);
        true
    }
    fn enlarged(&mut self, cx: &mut Cx<'_>, claim: &Document) {
        let size = at(claim, &["spec", "resources", "requests", "storage"]).cloned().unwrap_or_default();
        cx.change_document(volume_kind(), ("", text(claim, &["spec", "volumeName"])), |volume| {
            set(volume, &["spec", "capacity", "storage"], size.clone());
        });
        let (namespace, claim_name) = place(claim);
        cx.change_document(claim_kind(), (&namespace, &claim_name), |claim| {
            set(claim, &["status", "capacity", "storage"], size.clone());
            if let Some(status) = claim.body.get_mut("status").and_then(Value::as_object_mut) {
                status.remove("conditions");
            }
        });
        let source = Source { component: "external-resizer", host: None };
        let object = Object::Document(Box::new(claim.clone()));
        let message = "Resize volume succeeded".to_owned();
        cx.normal(&About::new(&object), source, "VolumeResizeSuccessful", message);
    }

    // --- volumes ----------------------------------------------------------------------------------

    fn sync_volume(&mut self, cx: &mut Cx<'_>, volume_name: &str) -> bool {
        let kind = volume_kind();
        let Some(volume) = cx.document(kind, "", volume_name).cloned() else { return false };
        if is_deleting(&volume.metadata) {
            let used = text(&volume, &["status", "phase"]) == "Bound" && claim_of(cx, &volume).is_some();
            return !used && cx.release(kind, "", volume_name, VOLUME_FINALIZER);
        }
        let mut acted =
            cx.change_document(kind, ("", volume_name), |v| protect(&mut v.metadata, VOLUME_FINALIZER));
        let phase = match kept_for(&volume) {
            None | Some((_, _, "")) => "Available",
            Some(_) if claim_of(cx, &volume).is_some() => return acted,
            Some(_) => "Released",
        };
        acted |= cx.change_document(kind, ("", volume_name), |v| set(v, &["status", "phase"], json!(phase)));
        if phase == "Released" && text(&volume, &["spec", "persistentVolumeReclaimPolicy"]) == "Delete" {
            self.begin(cx, uid(&volume), ("".into(), volume_name.into()), DELETE);
        }
        acted
    }
    fn taken_away(&mut self, cx: &mut Cx<'_>, volume_name: &str, uid: &str) {
        let Some(volume) = cx.document(volume_kind(), "", volume_name) else { return };
        if self::uid(volume) != uid || claim_of(cx, volume).is_some() {
            return;
        }
        if is_attached(cx, volume_name) {
            self.begin(cx, uid, ("".into(), volume_name.into()), DELETE);
            return;
        }
        cx.delete(volume_kind(), "", volume_name);
        self.volumes.insert(volume_name.into());
    }
}

/// Whether a claim is bound, as far as it knows.
fn is_settled(claim: &Document) -> bool {
    text(claim, &["status", "phase"]) == "Bound" && !annotation(claim, BIND_COMPLETED).is_empty()
}

/// The claim a volume is bound to, if that is still there and names it, or none yet.
fn claim_of<'a>(cx: &'a Cx<'_>, volume: &Document) -> Option<&'a Document> {
    let (namespace, claim_name, claim_uid) = kept_for(volume)?;
    let claim = cx.document(claim_kind(), namespace, claim_name).filter(|c| uid(c) == claim_uid)?;
    let named = text(claim, &["spec", "volumeName"]);
    (named.is_empty() || named == name(volume)).then_some(claim)
}

/// Whether a volume is attached somewhere, so that its driver would not take it away.
fn is_attached(cx: &Cx<'_>, volume: &str) -> bool {
    let path = ["spec", "source", "persistentVolumeName"];
    cx.documents(attachment_kind(), None).any(|doc| text(doc, &path) == volume)
}

/// Makes a volume name a claim.
pub(crate) fn refer(volume: &mut Document, claim: &Document) {
    let (namespace, claim_name) = place(claim);
    set(
        volume,
        &["spec", "claimRef"],
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": &*namespace, "name": &*claim_name,
            "uid": uid(claim), "resourceVersion": claim.metadata.resource_version}),
    );
}

/// The zone a volume for a claim is made in: that of the node chosen for it, else one by lot of those there are.
fn zone(cx: &Cx<'_>, claim: &Document) -> Option<String> {
    let of = |node: &k8s_openapi::api::core::v1::Node| node.metadata.labels.as_ref()?.get(ZONE).cloned();
    let chosen = annotation(claim, SELECTED_NODE);
    if !chosen.is_empty() {
        return cx.node(chosen).and_then(of);
    }
    let nodes = cx.objects.list(Kind::Node, None).filter_map(|stored| stored.object.as_node());
    let zones: BTreeSet<String> = nodes.filter_map(of).collect();
    let lot = Stream::new(cx.seed, &format!("zones/{}", uid(claim))).below(zones.len() as u64);
    zones.into_iter().nth(usize::try_from(lot).unwrap_or(0))
}

/// Whether a pod that has not ended uses a claim.
fn is_used(cx: &Cx<'_>, namespace: &str, claim: &str) -> bool {
    let pods = cx.objects.list(Kind::Pod, Some(namespace)).filter_map(|stored| stored.object.as_pod());
    let bound =
        |pod: &&k8s_openapi::api::core::v1::Pod| pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
    pods.filter(bound).any(|pod| !is_terminal(pod) && claims_of(pod).any(|name| name == claim))
}

fn protect(meta: &mut ObjectMeta, finalizer: &str) {
    let all = meta.finalizers.get_or_insert_default();
    if !all.iter().any(|f| f == finalizer) {
        all.push(finalizer.to_owned());
    }
}
