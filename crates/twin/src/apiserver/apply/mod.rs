//! Server-side apply: who owns which field, conflicts, and what is taken away when its owner no longer asks for it.
//!
//! Pure functions over documents beside their types ([`crate::apiserver::schema`]); the outcome is held against recorded
//! ones of Kubernetes' own code (`tests/conformance_apply.rs`). Invariants: a refused apply changes nothing; a field
//! goes when its last owner lets go of it by applying, and not before; managers that own nothing are not kept.
//! Leaves out the conversion between versions of a group: there is one of each here.

mod fields;
mod managed;
mod typed;

pub use fields::{Element, Fields, Path, Scalar};
pub use managed::{Manager, Managers, Operation, Owned};
pub use typed::Comparison;

use super::schema::{KUBERNETES, Schema, Shape};
use super::status::{Cause, Status};
use fields::path_text;
use fleet::Instant;
use managed::strip_servers;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use typed::{At, equal, misfit_text};

/// Managers that update, kept apart; older ones become one ([`ANCIENT`]), as in Kubernetes.
const UPDATERS_MAX: usize = 10;
/// The manager that stands for those.
const ANCIENT: &str = "ancient-changes";
/// The manager of what was there before somebody first applied.
const BEFORE: &str = "before-first-apply";

/// Who writes what kind of object, and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// Its name (`fieldManager`).
    pub manager: &'a str,
    /// The kind's apiVersion.
    pub api_version: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// The subresource written to; empty: the object.
    pub subresource: &'a str,
    /// Time of the write.
    pub now: Instant,
    /// The types of a custom resource; `None`: those of Kubernetes.
    pub types: Option<&'a (Schema, Shape)>,
}

impl Writer<'_> {
    /// Where a whole object stands in its types.
    fn root(&self) -> At<'_> {
        static ANY: Shape = Shape::Any;
        match (self.types, KUBERNETES.kind(self.api_version, self.kind)) {
            (Some((schema, shape)), _) => At::root(schema, shape),
            (None, Some(id)) => At::root(&KUBERNETES, KUBERNETES.shape(id)),
            (None, None) => At::root(&KUBERNETES, &ANY),
        }
    }
    fn id(&self, operation: Operation) -> Manager {
        let api_version = if operation == Operation::Apply { "" } else { self.api_version };
        Manager {
            name: self.manager.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: self.subresource.to_owned(),
        }
    }
    fn owned(&self, fields: Fields) -> Owned {
        Owned { fields, api_version: self.api_version.to_owned(), time: Some(self.now) }
    }
}

/// A configuration laid over an object of a kind (`apiVersion`, `kind`), which nobody then owns: what it says counts.
/// `own`: the types of a custom resource. The error names lists, maps and objects in it that are replaced as a whole,
/// which may not be laid over.
pub(super) fn lay_over(
    (api_version, kind): (&str, &str),
    own: Option<&(Schema, Shape)>,
    live: &Value,
    config: &Value,
) -> Result<Value, String> {
    let writer =
        Writer { manager: "", api_version, kind, subresource: "", now: Instant::default(), types: own };
    let whole = writer.root().wholes(config);
    if !whole.is_empty() {
        return Err(format!("may not mutate atomic arrays, maps or structs: {}", whole.join(", ")));
    }
    Ok(writer.root().merge(Some(live), Some(config)).unwrap_or_else(|| live.clone()))
}

/// The object without `managedFields`.
pub fn unmanaged(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// The object as Kubernetes stores it: nulls, and lists and maps of nothing, are not written down in its own types.
/// [`apply`] and [`update`] compare before that: who asks for an empty map owns it.
pub fn as_stored(object: &Value, writer: &Writer<'_>) -> Value {
    writer.root().stored(object.clone())
}

/// A document of this shape without what is not written down.
pub(crate) fn stored(schema: &Schema, shape: &Shape, object: Value) -> Value {
    At::root(schema, shape).stored(object)
}

/// What comes of writing the whole object, or making it (`live` is then an empty object).
pub fn update(live: &Value, new: &Value, managers: Managers, writer: &Writer<'_>) -> Applied {
    let new = unmanaged(new);
    let managers = managers_after(&unmanaged(live), &new, managers, writer);
    Applied { object: new, managers }
}

/// The managers after that, of documents without `managedFields`.
pub(super) fn managers_after(
    live: &Value,
    new: &Value,
    mut managers: Managers,
    writer: &Writer<'_>,
) -> Managers {
    let Comparison { modified: mut took, added, removed } = writer.root().compare(live, new);
    let me = writer.id(Operation::Update);
    took.extend(added);
    let took = strip_servers(took);
    for (manager, owned) in &mut managers.0 {
        if *manager != me {
            owned.fields.subtract(&took);
        }
        owned.fields.subtract(&removed);
    }
    if !took.is_empty() {
        let mut fields = managers.0.remove(&me).map(|owned| owned.fields).unwrap_or_default();
        fields.extend(took);
        managers.0.insert(me, writer.owned(fields));
    }
    managers.drop_empty();
    cap(&mut managers);
    managers
}

/// Joins the oldest managers that update where there are too many.
fn cap(managers: &mut Managers) {
    let updaters = managers.0.iter().filter(|(manager, _)| manager.operation == Operation::Update);
    let mut updaters: Vec<(Option<Instant>, Manager)> =
        updaters.map(|(manager, owned)| (owned.time, manager.clone())).collect();
    if updaters.len() <= UPDATERS_MAX {
        return;
    }
    updaters.sort();
    let many = updaters.len() - UPDATERS_MAX;
    for (_, oldest) in updaters.into_iter().take(many + 1) {
        let Some(old) = managers.0.remove(&oldest) else { continue };
        let ancient = Manager { name: ANCIENT.to_owned(), ..oldest };
        let joined =
            managers.0.entry(ancient).or_insert_with(|| Owned { fields: Fields::default(), ..old.clone() });
        joined.fields = joined.fields.union(&old.fields);
        joined.time = joined.time.max(old.time);
    }
}

/// What came of a write.
#[derive(Debug)]
pub struct Applied {
    /// The object after it, without `managedFields`.
    pub object: Value,
    /// Its managers.
    pub managers: Managers,
}

/// Applies `config` to `live` (an empty object: it is made).
///
/// The error is the conflict with other managers, unless `force`d, or what of `config` does not fit its type.
pub fn apply(
    live: &Value,
    config: &Value,
    managers: Managers,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Applied, Status> {
    if config.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let at = writer.root();
    let live = unmanaged(live);
    let mut managers = before_first(&live, managers, writer);
    let wanted = at.fields(config).map_err(|misfits| untyped(config, writer, &misfit_text(&misfits)))?;
    let me = writer.id(Operation::Apply);
    let last = managers.0.get(&me).cloned();
    let merged = at.merge(Some(&live), Some(config)).unwrap_or_else(|| Value::Object(Map::new()));
    managers.0.insert(me.clone(), writer.owned(strip_servers(wanted)));
    let object = match last.as_ref().filter(|last| !last.fields.is_empty()) {
        Some(last) => at.prune(&merged, &last.fields, &managers.all_fields()),
        None => merged,
    };
    let comparison = at.compare(&live, &object);
    let changed = comparison.modified.union(&comparison.added);
    let conflicts: BTreeMap<&Manager, Fields> = managers
        .0
        .iter()
        .filter(|(manager, _)| **manager != me)
        .map(|(manager, owned)| (manager, owned.fields.intersection(&changed)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }
    for (_, owned) in managers.0.iter_mut().filter(|(manager, _)| **manager != me) {
        owned.fields = owned.fields.difference(&changed).difference(&comparison.removed);
    }
    if let (true, Some(mine)) = (equal(&live, &object), managers.0.get_mut(&me)) {
        // Nothing was done, so nothing was written now.
        mine.time = last.and_then(|last| last.time);
    }
    managers.drop_empty();
    Ok(Applied { object, managers })
}

/// What was there before anybody applied belongs to nobody in particular.
fn before_first(live: &Value, managers: Managers, writer: &Writer<'_>) -> Managers {
    let exists = live.as_object().is_some_and(|live| !live.is_empty());
    if !exists || !managers.0.is_empty() {
        return managers;
    }
    let before = Writer { manager: BEFORE, ..*writer };
    update(&json!({}), live, managers, &before).managers
}

fn untyped(config: &Value, writer: &Writer<'_>, why: &str) -> Status {
    let text = |path: &str| config.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let slash = if namespace.is_empty() { "" } else { "/" };
    let (group, version) = match writer.api_version.split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", writer.api_version),
    };
    let whole = if group.is_empty() { format!("/{version}") } else { format!("{group}/{version}") };
    Status::new(
        500,
        "InternalError",
        format!(
            "failed to create typed patch object ({namespace}{slash}{name}; {whole}, Kind={}): {why}",
            writer.kind
        ),
    )
}

/// The refusal that names what others own.
fn conflict(conflicts: &BTreeMap<&Manager, Fields>) -> Status {
    let paths: Vec<(&Manager, Vec<Path>)> =
        conflicts.iter().map(|(manager, fields)| (*manager, fields.paths())).collect();
    let count: usize = paths.iter().map(|(_, paths)| paths.len()).sum();
    let causes = paths.iter().flat_map(|(manager, paths)| {
        paths.iter().map(|path| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", manager.text()),
            field: path_text(path),
        })
    });
    let causes: Vec<Cause> = causes.collect();
    let message = match &causes[..] {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        _ => {
            let each = |(manager, paths): &(&Manager, Vec<Path>)| {
                let lines = paths.iter().map(|path| format!("\n- {}", path_text(path)));
                format!("conflicts with {}:{}", manager.text(), lines.collect::<String>())
            };
            let all: Vec<String> = paths.iter().map(each).collect();
            format!("Apply failed with {count} conflicts: {}", all.join("\n"))
        }
    };
    Status { causes, ..Status::new(409, "Conflict", message) }
}
