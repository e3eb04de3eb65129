//! Resources that CustomResourceDefinitions define, by the facts a path and an object need of them.
//!
//! A kind is copied about freely, so the few words that make one up are kept once for the life of the process, and are
//! never let go: bounded by [`NAMED_MAX`]. What a definition says beside them (schemas, columns, short names) is read
//! from the cluster's own definition each time.

use super::Resource;
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

/// Most different resources a process names; a cluster has a few hundred, a test run a few thousand.
pub const NAMED_MAX: usize = 20_000;

/// The facts by which a custom resource is told from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Facts {
    /// API group.
    pub group: String,
    /// Version within the group; empty for the resource as it is stored, whatever the version.
    pub version: String,
    /// Name in paths.
    pub plural: String,
    /// Kind as objects carry it.
    pub name: String,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether there is a `status` subresource.
    pub status: bool,
    /// Whether there is a `scale` subresource.
    pub scale: bool,
}

static NAMED: LazyLock<Mutex<BTreeMap<Facts, &'static Resource>>> = LazyLock::new(Mutex::default);

/// Verbs of every custom resource.
const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

fn forever(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// The resource of these facts, the same one each time; `None` when there are too many already.
pub fn named(facts: &Facts) -> Option<&'static Resource> {
    let mut all = NAMED.lock().ok()?;
    if let Some(known) = all.get(facts) {
        return Some(known);
    }
    if all.len() >= NAMED_MAX {
        return None;
    }
    let resource: &'static Resource = Box::leak(Box::new(Resource {
        group: forever(&facts.group),
        version: forever(&facts.version),
        name: forever(&facts.name),
        plural: forever(&facts.plural),
        singular: "",
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: facts.namespaced,
        verbs: VERBS.to_vec(),
        status: facts.status,
        scale: facts.scale,
        subresources: Vec::new(),
        custom: true,
    }));
    all.insert(facts.clone(), resource);
    Some(resource)
}

impl Facts {
    /// Of a custom resource.
    pub fn of(resource: &Resource) -> Facts {
        Facts {
            group: resource.group.to_owned(),
            version: resource.version.to_owned(),
            plural: resource.plural.to_owned(),
            name: resource.name.to_owned(),
            namespaced: resource.namespaced,
            status: resource.status,
            scale: resource.scale,
        }
    }
    /// As saved: `crontabs.example.com/v1 CronTab namespaced status`.
    pub(super) fn to_text(&self) -> String {
        let Facts { group, version, plural, name, .. } = self;
        let scope = if self.namespaced { "namespaced" } else { "cluster" };
        let mut text = format!("{plural}.{group}/{version} {name} {scope}");
        for (has, word) in [(self.status, " status"), (self.scale, " scale")] {
            text += if has { word } else { "" };
        }
        text
    }
    /// From what was saved.
    pub(super) fn parse(text: &str) -> Option<Facts> {
        let mut words = text.split(' ');
        let (resource, version) = words.next()?.rsplit_once('/')?;
        let (plural, group) = resource.split_once('.')?;
        let name = words.next()?.to_owned();
        let namespaced = match words.next()? {
            "namespaced" => true,
            "cluster" => false,
            _ => return None,
        };
        let (mut status, mut scale) = (false, false);
        for word in words {
            match word {
                "status" => status = true,
                "scale" => scale = true,
                _ => return None,
            }
        }
        let (group, version, plural) = (group.to_owned(), version.to_owned(), plural.to_owned());
        Some(Facts { group, version, plural, name, namespaced, status, scale })
    }
}
