//! `attachdetach`: a volume is attached to the node its pod is bound to before the pod starts, and detached when no pod
//! on that node uses it any more.
//!
//! Only volumes of CSI drivers are attached; others (`hostPath`, `local`, `nfs`…) are there or not. A volume that may be
//! written from one node alone waits until it has been detached from the other. From a node that does not answer it is
//! detached after six minutes, because nobody can say that it is no longer written to there, or at once when the node
//! is tainted as out of service. What is attached where, and what is on its way, are VolumeAttachment objects.

use super::claims::{attachment_kind, claims_of};
use super::{ATTACH, DETACH, UNMOUNT, UNMOUNT_WAIT, claim_kind, volume_kind};
use crate::controllers::document::{annotate, annotation, at, set, text};
use crate::controllers::events::{About, Source};
use crate::controllers::node::{OUT_OF_SERVICE, is_ready, is_tainted};
use crate::controllers::{Cx, Place, is_deleting, is_terminal, time};
use crate::kind::Kind;
use crate::object::{Document, Object};
use crate::random::Stream;
use crate::store::{Change, ChangeKind};
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SOURCE: Source<'static> = Source { component: "attachdetach-controller", host: None };
/// When the volume was first wanted gone: a node takes it off before it is detached, and one that does not answer is given
/// time. A pod that comes meanwhile finds it attached, as the next of a StatefulSet's name does.
const LEAVING_SINCE: &str = "twin.kubercarbon.io/leaving-since";

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct AttachDetach {
    /// Pods that wait for a volume, by uid, with the last thing they were told; empty when nothing.
    waiting: BTreeMap<Arc<str>, (Place, String)>,
    /// Pods whose volumes to look at, and attachments; empty at rest.
    #[serde(skip)]
    pods: BTreeSet<Place>,
    #[serde(skip)]
    attachments: BTreeSet<Arc<str>>,
}

/// A volume a pod uses that is to be attached to its node.
struct Wanted {
    volume: String,
    driver: String,
    /// Whether several nodes may have it at once.
    shared: bool,
}

/// The volumes a pod uses that are to be attached.
fn wanted(cx: &Cx<'_>, pod: &Pod) -> Vec<Wanted> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let volume = |claim: String| {
        let claim = cx.document(claim_kind(), namespace, &claim)?;
        let volume = cx.document(volume_kind(), "", text(claim, &["spec", "volumeName"]))?;
        let driver = text(volume, &["spec", "csi", "driver"]);
        let modes = at(volume, &["spec", "accessModes"]).and_then(Value::as_array);
        let many = |mode: &Value| matches!(mode.as_str(), Some("ReadWriteMany" | "ReadOnlyMany"));
        (!driver.is_empty()).then(|| Wanted {
            volume: volume.metadata.name.clone().unwrap_or_default(),
            driver: driver.to_owned(),
            shared: modes.into_iter().flatten().any(many),
        })
    };
    claims_of(pod).filter_map(volume).collect()
}

fn bound_to(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

/// Whether a pod still needs its volumes where it is.
fn holds(pod: &Pod) -> bool {
    !is_terminal(pod)
}

/// The name of the attachment of a volume to a node.
fn attachment_name(seed: u64, volume: &str, node: &str) -> String {
    let mut lot = Stream::new(seed, &format!("attachments/{volume}/{node}"));
    format!("csi-{:016x}{:016x}{:016x}{:016x}", lot.bits(), lot.bits(), lot.bits(), lot.bits())
}

/// Whether all volumes a pod is to have on its node are attached there.
pub(crate) fn attached(cx: &Cx<'_>, pod: &Pod) -> bool {
    let Some(node) = bound_to(pod) else { return false };
    wanted(cx, pod).iter().all(|want| {
        let name = attachment_name(cx.seed, &want.volume, node);
        let there = cx.document(attachment_kind(), "", &name);
        there.is_some_and(|doc| !is_deleting(&doc.metadata) && is_attached(doc))
    })
}

/// Whether this is a volume that is attached.
pub(crate) fn is_attached(doc: &Document) -> bool {
    doc.kind == attachment_kind() && at(doc, &["status", "attached"]) == Some(&json!(true))
}

/// The node an attachment is to.
pub(crate) fn node_of(attachment: &Document) -> &str {
    text(attachment, &["spec", "nodeName"])
}

impl AttachDetach {
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        let object = &change.object.object;
        match object {
            Object::Pod(pod) if bound_to(pod).is_some() && claims_of(pod).next().is_some() => {
                let before = change.previous.as_ref().and_then(|p| p.object.as_pod());
                let gone = change.kind == ChangeKind::Deleted;
                if gone || before.is_none_or(|old| bound_to(old).is_none() || holds(old) != holds(pod)) {
                    self.look(cx, pod, gone || !holds(pod));
                }
            }
            Object::Document(doc) if doc.kind == attachment_kind() => {
                if change.kind == ChangeKind::Deleted {
                    // Whoever waits for the volume may have it now.
                    self.pods.extend(self.waiting.values().map(|(place, _)| place.clone()));
                } else {
                    self.attachments.insert(object.name().into());
                }
            }
            Object::Node(_) => self.look_at_node(cx, object.name()),
            _ => {}
        }
    }
    fn look(&mut self, cx: &Cx<'_>, pod: &Pod, leaves: bool) {
        let namespace: Arc<str> = pod.metadata.namespace.as_deref().unwrap_or_default().into();
        let name: Arc<str> = pod.metadata.name.as_deref().unwrap_or_default().into();
        if !leaves {
            self.pods.insert((namespace, name));
            return;
        }
        self.waiting.remove(pod.metadata.uid.as_deref().unwrap_or_default());
        self.look_at_node(cx, bound_to(pod).unwrap_or_default());
    }
    fn look_at_node(&mut self, cx: &Cx<'_>, node: &str) {
        let on = |doc: &&Document| node_of(doc) == node;
        let here = cx.documents(attachment_kind(), None).filter(on);
        self.attachments.extend(here.filter_map(|doc| doc.metadata.name.as_deref().map(Arc::from)));
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut acted = false;
        while let Some(place) = self.pods.pop_first() {
            acted |= self.attach_for(cx, &place);
        }
        while let Some(name) = self.attachments.pop_first() {
            acted |= sync(cx, &name);
        }
        acted
    }
    /// Sees to it that a pod's volumes are attached to its node.
    fn attach_for(&mut self, cx: &mut Cx<'_>, place: &Place) -> bool {
        let Some(stored) = cx.objects.get(Kind::Pod, &place.0, &place.1).cloned() else { return false };
        let Some(pod) = stored.object.as_pod().filter(|pod| holds(pod)) else { return false };
        let Some(node) = bound_to(pod) else { return false };
        let mut acted = false;
        let mut waits = None;
        for want in wanted(cx, pod) {
            let own = attachment_name(cx.seed, &want.volume, node);
            if let Some(doc) = cx.document(attachment_kind(), "", &own) {
                if is_deleting(&doc.metadata) {
                    waits = Some(String::new());
                }
                continue;
            }
            if let Some(other) = elsewhere(cx, &want, node) {
                waits = Some(multi_attach(cx, &want.volume, &other));
                continue;
            }
            attach(cx, &want, node, own);
            acted = true;
        }
        let uid: Arc<str> = stored.object.uid().into();
        let told = self.waiting.remove(&uid).map(|(_, told)| told);
        if let Some(message) = waits {
            if !message.is_empty() && told.as_ref() != Some(&message) {
                cx.warning(&About::new(&stored.object), SOURCE, "FailedAttachVolume", message.clone());
                acted = true;
            }
            self.waiting.insert(uid, (place.clone(), message));
        }
        acted
    }
    /// An attachment has come to its end, one way or the other.
    pub(crate) fn wake(&mut self, cx: &mut Cx<'_>, name: &Arc<str>, uid: &str) {
        let Some(doc) = cx.document(attachment_kind(), "", name) else { return };
        if doc.metadata.uid.as_deref() != Some(uid) {
            return;
        }
        if is_deleting(&doc.metadata) {
            let (volume, node) = (source(doc).to_owned(), node_of(doc).to_owned());
            cx.objects.remove(attachment_kind(), "", name);
            list_on_node(cx, &node, &volume, false);
            return;
        }
        if !is_attached(doc) {
            succeed(cx, name);
        }
        // Its pod may have gone while it was being attached.
        self.attachments.insert(name.clone());
    }
}

/// The volume of an attachment.
fn source(doc: &Document) -> &str {
    text(doc, &["spec", "source", "persistentVolumeName"])
}

/// Another node that has a volume which only one may have.
fn elsewhere(cx: &Cx<'_>, want: &Wanted, node: &str) -> Option<String> {
    if want.shared {
        return None;
    }
    let other = |doc: &&Document| source(doc) == want.volume && node_of(doc) != node;
    cx.documents(attachment_kind(), None).find(other).map(|doc| node_of(doc).to_owned())
}

/// Pods on a node that use a volume.
fn users(cx: &Cx<'_>, volume: &str, node: &str) -> Vec<Place> {
    let Some(doc) = cx.document(volume_kind(), "", volume) else { return Vec::new() };
    let (namespace, claim) =
        (text(doc, &["spec", "claimRef", "namespace"]), text(doc, &["spec", "claimRef", "name"]));
    let pods = cx.objects.list(Kind::Pod, Some(namespace)).filter_map(|stored| stored.object.as_pod());
    let uses =
        |pod: &&Pod| bound_to(pod) == Some(node) && holds(pod) && claims_of(pod).any(|name| name == claim);
    let place = |pod: &Pod| (namespace.into(), pod.metadata.name.as_deref().unwrap_or_default().into());
    pods.filter(uses).map(place).collect()
}

fn multi_attach(cx: &Cx<'_>, volume: &str, other: &str) -> String {
    let users: Vec<String> = users(cx, volume, other).iter().map(|(_, name)| name.to_string()).collect();
    let why = if users.is_empty() {
        "Volume is already exclusively attached to one node and can't be attached to another".to_owned()
    } else {
        format!("Volume is already used by pod(s) {}", users.join(", "))
    };
    format!("Multi-Attach error for volume \"{volume}\" {why}")
}

fn attach(cx: &mut Cx<'_>, want: &Wanted, node: &str, name: String) {
    let uid = Stream::new(cx.seed, &format!("{name}/{}", cx.now)).uid();
    let mut doc = Document {
        kind: attachment_kind(),
        api_version: "storage.k8s.io/v1".into(),
        metadata: ObjectMeta {
            name: Some(name.clone()),
            uid: Some(uid.clone()),
            creation_timestamp: Some(time(cx.now)),
            ..ObjectMeta::default()
        },
        body: Default::default(),
    };
    let from = json!({"persistentVolumeName": want.volume});
    doc.body.insert("spec", json!({"attacher": want.driver, "nodeName": node, "source": from}));
    doc.body.insert("status", json!({"attached": false}));
    cx.objects.put(Object::Document(Box::new(doc)));
    wait(cx, &name, &uid, ATTACH);
}

fn wait(cx: &mut Cx<'_>, name: &str, uid: &str, after: Span) {
    let task = Task::Attachment { name: name.into(), uid: uid.into() };
    cx.timers.set(cx.now + after, Priority::Controller, task);
}

fn succeed(cx: &mut Cx<'_>, name: &str) {
    let kind = attachment_kind();
    cx.change_document(kind, ("", name), |doc| set(doc, &["status", "attached"], json!(true)));
    let Some(doc) = cx.document(kind, "", name) else { return };
    let (volume, node) = (source(doc).to_owned(), node_of(doc).to_owned());
    list_on_node(cx, &node, &volume, true);
    for (namespace, name) in users(cx, &volume, &node) {
        let Some(stored) = cx.objects.get(Kind::Pod, &namespace, &name).cloned() else { continue };
        let message = format!("AttachVolume.Attach succeeded for volume \"{volume}\"");
        cx.normal(&About::new(&stored.object), SOURCE, "SuccessfulAttachVolume", message);
    }
}

/// Says in a node's status which volumes it has.
fn list_on_node(cx: &mut Cx<'_>, node: &str, volume: &str, there: bool) {
    let Some(stored) = cx.objects.get(Kind::Node, "", node).cloned() else { return };
    let Object::Node(old) = &stored.object else { return };
    let driver = cx.document(volume_kind(), "", volume).map(|v| {
        (text(v, &["spec", "csi", "driver"]).to_owned(), text(v, &["spec", "csi", "volumeHandle"]).to_owned())
    });
    let (driver, handle) = driver.unwrap_or_default();
    let unique = format!("kubernetes.io/csi/{driver}^{handle}");
    let mut new = old.clone();
    let status = new.status.get_or_insert_default();
    let attached = status.volumes_attached.get_or_insert_default();
    attached.retain(|v| v.name != unique);
    let in_use = status.volumes_in_use.get_or_insert_default();
    in_use.retain(|name| *name != unique);
    if there {
        let device_path = String::new();
        attached.push(k8s_openapi::api::core::v1::AttachedVolume { device_path, name: unique.clone() });
        in_use.push(unique);
    }
    if attached.is_empty() {
        status.volumes_attached = None;
        status.volumes_in_use = None;
    }
    cx.objects.put(Object::Node(new));
}

/// How a node stands to its volumes.
#[derive(PartialEq)]
enum Health {
    /// It answers, and takes a volume off when told.
    Answers,
    /// It does not.
    Silent,
    /// It is known to be down, or gone.
    Down,
}

fn health(cx: &Cx<'_>, node: &str) -> Health {
    let Some(node) = cx.node(node) else { return Health::Down };
    if is_tainted(node, OUT_OF_SERVICE) {
        return Health::Down;
    }
    if is_ready(node) { Health::Answers } else { Health::Silent }
}

/// Detaches a volume nobody on its node uses any more.
fn sync(cx: &mut Cx<'_>, name: &str) -> bool {
    let kind = attachment_kind();
    let Some(doc) = cx.document(kind, "", name) else { return false };
    let (volume, node) = (source(doc).to_owned(), node_of(doc).to_owned());
    if is_deleting(&doc.metadata) || !is_attached(doc) {
        return false;
    }
    let since = Instant::parse(annotation(doc, LEAVING_SINCE)).ok();
    let uid = doc.metadata.uid.clone().unwrap_or_default();
    if !users(cx, &volume, &node).is_empty() {
        return cx.change_document(kind, ("", name), |doc| {
            if let Some(annotations) = &mut doc.metadata.annotations {
                annotations.remove(LEAVING_SINCE);
            }
        });
    }
    let unmounts = match health(cx, &node) {
        Health::Silent => UNMOUNT_WAIT,
        Health::Answers => UNMOUNT,
        Health::Down => Span::ZERO,
    };
    if !unmounts.is_zero() {
        let Some(since) = since else {
            let now = cx.now.to_rfc3339_seconds();
            cx.change_document(kind, ("", name), |doc| annotate(doc, LEAVING_SINCE, &now));
            wait(cx, name, &uid, unmounts);
            return true;
        };
        if since + unmounts > cx.now {
            return false;
        }
    }
    let now = time(cx.now);
    cx.change_document(kind, ("", name), |doc| {
        doc.metadata.deletion_timestamp = Some(now);
        doc.metadata.deletion_grace_period_seconds = Some(0);
    });
    let taken = if unmounts == UNMOUNT { UNMOUNT } else { Span::ZERO };
    wait(cx, name, &uid, DETACH - taken);
    true
}
