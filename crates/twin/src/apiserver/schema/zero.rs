//! What is there in an object nobody has filled in: fields that Kubernetes writes whatever their value.

use super::{Schema, Shape};
use serde_json::{Map, Value, json};

/// Deepest nesting filled in: types refer to themselves only through what may be absent.
const DEPTH_MAX: usize = 32;

/// An object of a shape as it is before anybody has filled it in.
pub(crate) fn zero(schema: &Schema, shape: &Shape) -> Value {
    zero_at(schema, shape, 0)
}

fn zero_at(schema: &Schema, shape: &Shape, depth: usize) -> Value {
    match shape {
        Shape::Named(id) if depth < DEPTH_MAX => {
            let of = schema.get(*id);
            if of.alias.is_some() {
                return Value::Null;
            }
            let always = of.fields.iter().filter(|field| field.always);
            Value::Object(always.map(|f| (f.name.clone(), zero_at(schema, &f.shape, depth + 1))).collect())
        }
        Shape::String => json!(""),
        Shape::Int32 | Shape::Int64 | Shape::Number => json!(0),
        Shape::Boolean => json!(false),
        _ => Value::Null,
    }
}

/// Puts in the structs that Kubernetes writes though there is nothing in them, such as an empty `status`.
pub(crate) fn fill(schema: &Schema, shape: &Shape, value: &mut Value) {
    fill_at(schema, shape, value, 0);
}

fn fill_at(schema: &Schema, shape: &Shape, value: &mut Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match (shape, value) {
        (Shape::Named(id), Value::Object(map)) => {
            for field in &schema.get(*id).fields {
                let is_struct = matches!(&field.shape, Shape::Named(of) if schema.get(*of).alias.is_none());
                if field.always && is_struct && map.get(&field.name).is_none_or(Value::is_null) {
                    map.insert(field.name.clone(), Value::Object(Map::new()));
                }
                if let Some(inner) = map.get_mut(&field.name) {
                    fill_at(schema, &field.shape, inner, depth + 1);
                }
            }
        }
        (Shape::List(of), Value::Array(list)) => {
            list.iter_mut().for_each(|item| fill_at(schema, of, item, depth + 1));
        }
        (Shape::Map(of), Value::Object(map)) => {
            map.iter_mut().for_each(|(_, inner)| fill_at(schema, of, inner, depth + 1));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::KUBERNETES;
    use super::*;

    #[test]
    fn structs_are_there_before_they_are_filled_in() {
        let of = |version, kind| Shape::Named(KUBERNETES.kind(version, kind).unwrap());
        let empty = zero(&KUBERNETES, &of("apps/v1", "Deployment"));
        assert_eq!(empty["spec"]["strategy"], json!({}));
        assert_eq!(empty["spec"]["template"]["spec"], json!({"containers": null}));
        assert!(empty["spec"].get("replicas").is_none());
        let mut slice = json!({"endpoints": [{"addresses": ["a"]}]});
        fill(&KUBERNETES, &of("discovery.k8s.io/v1", "EndpointSlice"), &mut slice);
        assert_eq!(slice["endpoints"][0]["conditions"], json!({}));
    }
}
