//! Rules in CEL of custom resources, over the API.

use crate::memory::Memory;
use crate::rest::{JSON, call};
use serde_json::{Value, json};
use std::sync::Arc;

const MERGE: &str = "application/merge-patch+json";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const ALL: &str = "/apis/example.com/v1/namespaces/work/lamps";

fn definition(spec: Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "lamps.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "lamps", "kind": "Lamp"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]}})
}

async fn with_rules(rules: Value) -> Arc<Memory> {
    let twin = Memory::new();
    let spec = json!({"type": "object", "x-kubernetes-validations": rules, "properties": {
        "watts": {"type": "integer"}, "limit": {"type": "integer"}, "colour": {"type": "string"}}});
    let (code, made) = call(&twin, "POST", DEFINITIONS, JSON, &definition(spec)).await;
    assert_eq!(code, 201, "{made}");
    twin
}

fn lamp(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Lamp", "metadata": {"name": "l"}, "spec": spec})
}

#[tokio::test]
async fn rules_are_asked_when_objects_are_made_and_changed() {
    let twin = with_rules(json!([
        {"rule": "self.watts <= self.limit", "messageExpression": "'%d W are more than %d W'.format([self.watts, self.limit])", "fieldPath": ".watts"},
        {"rule": "self.limit >= oldSelf.limit", "message": "limits do not sink"}]))
    .await;
    let (code, refused) = call(&twin, "POST", ALL, JSON, &lamp(json!({"watts": 9, "limit": 5}))).await;
    assert_eq!(
        (code, &refused["message"]),
        (422, &json!("Lamp.example.com \"l\" is invalid: spec.watts: Invalid value: 9 W are more than 5 W"))
    );
    assert_eq!(call(&twin, "POST", ALL, JSON, &lamp(json!({"watts": 3, "limit": 5}))).await.0, 201);
    let one = format!("{ALL}/l");
    let (code, refused) = call(&twin, "PATCH", &one, MERGE, &json!({"spec": {"limit": 4}})).await;
    assert_eq!(
        (code, &refused["details"]["causes"]),
        (
            422,
            &json!([{"reason": "FieldValueInvalid", "message": "Invalid value: limits do not sink", "field": "spec"}])
        )
    );
    assert_eq!(call(&twin, "PATCH", &one, MERGE, &json!({"spec": {"limit": 6}})).await.0, 200);
}

#[tokio::test]
async fn bad_rules_are_refused_with_their_definition() {
    let twin = Memory::new();
    let spec = json!({"type": "object", "properties": {"x": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.z == 100"}]});
    let (code, refused) = call(&twin, "POST", DEFINITIONS, JSON, &definition(spec)).await;
    assert_eq!(code, 422);
    assert_eq!(
        refused["details"]["causes"][0]["field"],
        "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    );
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("compilation failed: ERROR: <input>:1:5: undefined field 'z'"), "{message}");
}
