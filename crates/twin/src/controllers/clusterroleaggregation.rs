//! `clusterrole-aggregation`: gives ClusterRoles that gather others the rules of those they select.
//!
//! A role that gathers may itself be gathered; the rounds of an instant carry rules on until all have theirs.

use super::Cx;
use crate::apiserver::selector::selects_pod;
use crate::kind::Kind;
use crate::object::{Document, Object};
use crate::store::{Change, Objects};
use serde_json::{Value, json};

/// The controller's state: whether some role changed. Nothing at rest.
#[derive(Debug, Default)]
pub(crate) struct ClusterRoleAggregation {
    changed: bool,
}

fn roles() -> Kind {
    Kind::document("rbac.authorization.k8s.io", "clusterroles")
}

impl ClusterRoleAggregation {
    pub(crate) fn observe(&mut self, change: &Change) {
        self.changed |= change.object.object.kind().is("rbac.authorization.k8s.io", "clusterroles");
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        if !std::mem::take(&mut self.changed) {
            return false;
        }
        let all = cx.objects.list(roles(), None).filter_map(|stored| stored.object.as_document());
        let behind: Vec<Document> = all.filter_map(|role| gathered(cx.objects, role)).collect();
        let acted = !behind.is_empty();
        for role in behind {
            cx.objects.put(Object::Document(Box::new(role)));
        }
        acted
    }
}

/// A role with the rules it is to have; `None`: it has them, or gathers none.
fn gathered(objects: &Objects, role: &Document) -> Option<Document> {
    let selectors = role.body.get("aggregationRule")?.get("clusterRoleSelectors")?.as_array()?;
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors {
        let others = objects.list(roles(), None).filter_map(|stored| stored.object.as_document());
        for other in others.filter(|other| other.metadata.name != role.metadata.name) {
            if !selects_pod(selector, &json!(other.metadata.labels)) {
                continue;
            }
            for rule in other.body.get("rules").and_then(Value::as_array).into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    let has = role.body.get("rules").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if has == rules {
        return None;
    }
    let mut role = role.clone();
    role.body.insert("rules", json!(rules));
    Some(role)
}
