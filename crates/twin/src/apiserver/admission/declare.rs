//! What expressions of policies may look into: requests, namespaces, and objects of a kind whose types are known.
//!
//! Objects are read as they stand (a time is a string); their types are only there to find mistakes.

use crate::apiserver::Context;
use crate::apiserver::schema::{KUBERNETES, Schema, Shape, TypeId};
use crate::cel::{Decl, escape};
use crate::kind::Kind;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Deepest type told of; what is deeper may be anything.
const DEPTH_MAX: usize = 40;

type Fields = BTreeMap<String, (String, Arc<Decl>)>;

fn simple(name: &str) -> Arc<Decl> {
    Arc::new(Decl::of_type(name))
}

/// An object of named fields, each under its own name and as expressions may have to write it.
fn object(name: &str, fields: Vec<(&str, Arc<Decl>)>) -> Arc<Decl> {
    let mut all = Fields::new();
    for (field, decl) in fields {
        for shown in [Some(field.to_owned()), escape(field)].into_iter().flatten() {
            all.insert(shown, (field.to_owned(), decl.clone()));
        }
    }
    Arc::new(Decl::object(name, all))
}

/// `request`.
pub(super) fn request() -> Arc<Decl> {
    let text = || simple("string");
    let texts = || Arc::new(Decl::list(text()));
    let version =
        |name: &str, last: &str| object(name, vec![("group", text()), ("version", text()), (last, text())]);
    let (kind, resource) = (
        version("kubernetes.GroupVersionKind", "kind"),
        version("kubernetes.GroupVersionResource", "resource"),
    );
    let user = object(
        "kubernetes.UserInfo",
        vec![
            ("username", text()),
            ("uid", text()),
            ("groups", texts()),
            ("extra", Arc::new(Decl::map(texts()))),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        vec![
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", text()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", simple("boolean")),
            ("options", Arc::new(Decl::dynamic())),
        ],
    )
}

/// `namespaceObject`.
pub(super) fn namespace() -> Arc<Decl> {
    let text = || simple("string");
    let (time, whole) = (|| simple("date-time"), || simple("integer"));
    let texts = || Arc::new(Decl::list(text()));
    let named = || Arc::new(Decl::map(text()));
    let condition = object(
        "kubernetes.NamespaceCondition",
        vec![
            ("status", text()),
            ("type", text()),
            ("lastTransitionTime", time()),
            ("message", text()),
            ("reason", text()),
        ],
    );
    let metadata = vec![
        ("name", text()),
        ("generateName", text()),
        ("namespace", text()),
        ("labels", named()),
        ("annotations", named()),
        ("UID", text()),
        ("creationTimestamp", time()),
        ("deletionGracePeriodSeconds", whole()),
        ("deletionTimestamp", time()),
        ("generation", whole()),
        ("resourceVersion", text()),
        ("finalizers", texts()),
    ];
    let status = vec![("conditions", Arc::new(Decl::list(condition))), ("phase", text())];
    object(
        "kubernetes.Namespace",
        vec![
            ("metadata", object("kubernetes.NamespaceMetadata", metadata)),
            ("spec", object("kubernetes.NamespaceSpec", vec![("finalizers", texts())])),
            ("status", object("kubernetes.NamespaceStatus", status)),
        ],
    )
}

/// Objects of a kind, as far as its types are known.
pub(super) fn objects(ctx: &Context<'_>, kind: Kind) -> Option<Arc<Decl>> {
    let resource = kind.resource();
    if resource.custom {
        let schema = &ctx.objects.definition_of(kind)?.version(resource.version)?.schema;
        let (types, shape) = Schema::custom(schema);
        return Some(Reader { types: &types, around: Vec::new() }.shape(&shape, resource.name));
    }
    let id = KUBERNETES.kind(&resource.api_version(), resource.name)?;
    let mut reader = Reader { types: &KUBERNETES, around: Vec::new() };
    Some(reader.shape(KUBERNETES.shape(id), resource.name))
}

struct Reader<'a> {
    types: &'a Schema,
    /// Types around this one: one that holds itself may be anything there.
    around: Vec<TypeId>,
}

impl Reader<'_> {
    fn shape(&mut self, shape: &Shape, name: &str) -> Arc<Decl> {
        let anything = || Arc::new(Decl::dynamic());
        match shape {
            Shape::String => simple("string"),
            Shape::Time => simple("date-time"),
            Shape::Bytes => simple("byte"),
            Shape::Int32 | Shape::Int64 => simple("integer"),
            Shape::Number => simple("number"),
            Shape::Boolean => simple("boolean"),
            Shape::Quantity | Shape::IntOrString | Shape::Any => anything(),
            Shape::List(of) => Arc::new(Decl::list(self.shape(of, &format!("{name}.@idx")))),
            Shape::Map(of) => Arc::new(Decl::map(self.shape(of, &format!("{name}.@elem")))),
            Shape::Named(id) => {
                if self.around.contains(id) || self.around.len() > DEPTH_MAX {
                    return anything();
                }
                let of = self.types.get(*id);
                let (alias, fields) = (of.alias.clone(), of.fields.clone());
                if let Some(alias) = alias {
                    self.around.push(*id);
                    let decl = self.shape(&alias, name);
                    self.around.pop();
                    return decl;
                }
                if fields.is_empty() {
                    return anything();
                }
                self.around.push(*id);
                let each = |field: &crate::apiserver::schema::Field| {
                    (field.name.clone(), self.shape(&field.shape, &format!("{name}.{}", field.name)))
                };
                let fields: Vec<(String, Arc<Decl>)> = fields.iter().map(each).collect();
                self.around.pop();
                object(name, fields.iter().map(|(field, decl)| (field.as_str(), decl.clone())).collect())
            }
        }
    }
}
