//! The types of a custom resource, from its definition's OpenAPI schema, for server-side apply.

use super::{Field, KUBERNETES, Schema, Shape, Topology, Type, TypeId};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most types of one schema: each object in it is one.
const TYPES_MAX: usize = 20_000;
/// Deepest nesting followed.
const DEPTH_MAX: usize = 130;
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

impl Schema {
    /// The types a definition's schema tells of, and the shape of a whole object.
    pub fn custom(schema: &Value) -> (Schema, Shape) {
        let mut own = Schema { types: Vec::new(), shapes: Vec::new(), kinds: BTreeMap::new() };
        let root = own.shape_of(schema, 0);
        let Shape::Named(root) = root else {
            return (own, Shape::Any);
        };
        let metadata = own.adopt(OBJECT_META);
        let fields = &mut own.types[usize::from(root.0)].fields;
        fields.retain(|field| !matches!(field.name.as_str(), "apiVersion" | "kind" | "metadata"));
        for (name, shape) in [("apiVersion", Shape::String), ("kind", Shape::String), ("metadata", metadata)]
        {
            fields.push(plain(name, shape));
        }
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        (own, Shape::Named(root))
    }

    fn add(&mut self, of: Type) -> Shape {
        let Ok(index) = u16::try_from(self.types.len()) else { return Shape::Any };
        self.types.push(of);
        self.shapes.push(Shape::Named(TypeId(index)));
        Shape::Named(TypeId(index))
    }

    /// Takes over a built-in type and all it mentions.
    fn adopt(&mut self, name: &str) -> Shape {
        if let Some(known) = self.types.iter().position(|of| of.name == name) {
            return self.shapes[known].clone();
        }
        let Some(Shape::Named(id)) = KUBERNETES.named(name) else { return Shape::Any };
        let of = KUBERNETES.get(*id).clone();
        let adopted = self.add(Type { fields: Vec::new(), ..of.clone() });
        let alias = of.alias.as_ref().map(|alias| self.adopt_shape(alias));
        let fields =
            of.fields.iter().map(|f| Field { shape: self.adopt_shape(&f.shape), ..f.clone() }).collect();
        if let Shape::Named(id) = adopted {
            self.types[usize::from(id.0)].fields = fields;
            self.types[usize::from(id.0)].alias = alias;
        }
        adopted
    }
    fn adopt_shape(&mut self, shape: &Shape) -> Shape {
        match shape {
            Shape::List(of) => Shape::List(Box::new(self.adopt_shape(of))),
            Shape::Map(of) => Shape::Map(Box::new(self.adopt_shape(of))),
            Shape::Named(id) => self.adopt(&KUBERNETES.get(*id).name),
            other => other.clone(),
        }
    }

    fn shape_of(&mut self, schema: &Value, depth: usize) -> Shape {
        let is = |key: &str| schema.get(key) == Some(&Value::Bool(true));
        if depth > DEPTH_MAX || self.types.len() >= TYPES_MAX {
            return Shape::Any;
        }
        if is("x-kubernetes-int-or-string") {
            return Shape::IntOrString;
        }
        let open = is("x-kubernetes-preserve-unknown-fields");
        match schema.get("type").and_then(Value::as_str) {
            Some("string") => Shape::String,
            Some("integer") => Shape::Int64,
            Some("number") => Shape::Number,
            Some("boolean") => Shape::Boolean,
            Some("array") => match schema.get("items") {
                Some(items) => Shape::List(Box::new(self.shape_of(items, depth + 1))),
                None => Shape::List(Box::new(Shape::Any)),
            },
            Some("object") => match (
                schema.get("properties").and_then(Value::as_object),
                schema.get("additionalProperties"),
            ) {
                (Some(properties), _) => {
                    let name = format!("object.{}", self.types.len());
                    let atomic =
                        schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
                    let own = self.add(Type { name, fields: Vec::new(), alias: None, atomic, open });
                    let fields: Vec<Field> =
                        properties.iter().map(|(name, of)| self.field(name, of, depth)).collect();
                    if let Shape::Named(id) = own {
                        self.types[usize::from(id.0)].fields = fields;
                    }
                    own
                }
                (None, Some(values)) if values.is_object() => {
                    Shape::Map(Box::new(self.shape_of(values, depth + 1)))
                }
                _ if open || schema.get("additionalProperties") == Some(&Value::Bool(true)) || depth == 0 => {
                    Shape::Any
                }
                _ => {
                    let name = format!("object.{}", self.types.len());
                    self.add(Type { name, fields: Vec::new(), alias: None, atomic: false, open })
                }
            },
            _ => Shape::Any,
        }
    }

    fn field(&mut self, name: &str, of: &Value, depth: usize) -> Field {
        let shape = self.shape_of(of, depth + 1);
        let text = |key: &str| of.get(key).and_then(Value::as_str);
        let keys = of.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
        let topology = match (text("x-kubernetes-list-type"), text("x-kubernetes-map-type")) {
            (Some("set"), _) => Topology::Set,
            (Some("map"), _) => Topology::Keyed(keys.filter_map(Value::as_str).map(str::to_owned).collect()),
            (_, Some("atomic")) => Topology::Atomic,
            _ if matches!(shape, Shape::List(_)) => Topology::Atomic,
            _ => Topology::Keyed(Vec::new()),
        };
        let default = of.get("default").filter(|value| !value.is_object() && !value.is_array()).cloned();
        Field { topology, default, ..plain(name, shape) }
    }
}

fn plain(name: &str, shape: Shape) -> Field {
    Field {
        name: name.to_owned(),
        required: false,
        topology: if matches!(shape, Shape::List(_)) {
            Topology::Atomic
        } else {
            Topology::Keyed(Vec::new())
        },
        shape,
        patch: Vec::new(),
        merge_key: None,
        always: false,
        pointer: false,
        numbers: Box::default(),
        default: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_merge_as_the_definition_says() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"], "items": {"type": "object", "properties": {"port": {"type": "integer"}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
        let (own, shape) = Schema::custom(&schema);
        let Shape::Named(root) = shape else { panic!("{shape:?}") };
        let root = own.get(root);
        assert_eq!(
            root.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
            ["apiVersion", "kind", "metadata", "spec"]
        );
        let Shape::Named(spec) = root.field("spec").unwrap().shape else { panic!() };
        let ports = own.get(spec).field("ports").unwrap();
        assert_eq!(ports.topology, Topology::Keyed(vec!["port".to_owned()]));
        assert_eq!(own.get(spec).field("free").unwrap().shape, Shape::Any);
        let Shape::Named(meta) = root.field("metadata").unwrap().shape else { panic!() };
        assert!(own.get(meta).field("labels").is_some());
    }
}
