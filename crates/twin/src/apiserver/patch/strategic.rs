//! Strategic merge: lists of objects merge by a key, some lists of texts as sets, the rest is replaced.
//!
//! Which lists merge is said by the schema's table. Directives: `$patch` (replace,
//! delete, merge), `$deleteFromPrimitiveList`, `$setElementOrder`, `$retainKeys`. The order of merged
//! lists follows apimachinery's `strategicpatch` (`normalizeElementOrder`).

use super::super::schema::{KUBERNETES, Shape, Type, TypeId};
use super::super::status::Status;
use super::{DEPTH_MAX, too_deep};
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// How a list merges.
#[derive(Clone, PartialEq, Eq)]
enum Strategy {
    /// The patch's list takes the place of the other.
    Replace,
    /// Objects with the same value of this key merge.
    ByKey(&'static str),
    /// Texts, each once.
    Set,
}

/// Where a map stands in the types: `None` where nothing is known of it.
type At = Option<&'static Shape>;

/// The fields of the type a map stands for.
fn fields(at: At) -> Option<&'static Type> {
    match at? {
        Shape::Named(id) => {
            let named = KUBERNETES.get(*id);
            named.alias.as_ref().map_or(Some(named), |alias| fields(Some(alias)))
        }
        _ => None,
    }
}

/// Where an entry of a map stands.
fn entry(at: At, name: &str) -> At {
    match at? {
        Shape::Map(of) => Some(of),
        _ => fields(at)?.field(name).map(|field| &field.shape),
    }
}

/// Where an element of the list `name` stands.
fn element(at: At, name: &str) -> At {
    match entry(at, name)? {
        Shape::List(of) => Some(of),
        _ => None,
    }
}

/// How the list `name` of a map merges.
fn strategy(at: At, name: &str) -> Strategy {
    let Some(field) = fields(at).and_then(|of| of.field(name)) else { return Strategy::Replace };
    match (field.patch.iter().any(|strategy| strategy == "merge"), &field.merge_key) {
        (false, _) => Strategy::Replace,
        (true, Some(key)) => Strategy::ByKey(key),
        (true, None) => Strategy::Set,
    }
}

fn wrong(message: impl Into<String>) -> Status {
    Status::bad_request(message)
}

/// Applies a strategic merge patch to a document of the type `of`.
pub(super) fn apply(of: TypeId, current: Value, patch: &Value) -> Result<Value, Status> {
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(wrong("a strategic merge patch must be an object"));
    };
    let shape = KUBERNETES.shape(of);
    Ok(Value::Object(Merging.map(current, patch.clone(), Some(shape), 0)?))
}

struct Merging;

impl Merging {
    /// Merges `patch` into `original`; both stand at `at`.
    fn map(
        &self,
        mut original: Map<String, Value>,
        mut patch: Map<String, Value>,
        at: At,
        depth: usize,
    ) -> Result<Map<String, Value>, Status> {
        if depth > DEPTH_MAX {
            return Err(too_deep());
        }
        match patch.remove(PATCH) {
            None => {}
            Some(Value::String(directive)) if directive == "replace" => return Ok(patch),
            Some(Value::String(directive)) if directive == "delete" => return Ok(Map::new()),
            Some(Value::String(directive)) if directive == "merge" => {}
            Some(other) => return Err(wrong(format!("unknown patch type: {other}"))),
        }
        retain(&mut original, &mut patch)?;
        self.order(&mut original, &mut patch, at, depth)?;
        for (key, value) in patch {
            if let Some(name) = key.strip_prefix(DELETE_FROM) {
                delete_from(&mut original, name, &value)?;
                continue;
            }
            if value.is_null() {
                original.remove(&key);
                continue;
            }
            let merged = match (original.remove(&key), value) {
                (Some(Value::Object(before)), Value::Object(patch)) => {
                    Value::Object(self.map(before, patch, entry(at, &key), depth + 1)?)
                }
                (Some(Value::Array(before)), Value::Array(patch)) => {
                    Value::Array(self.list(before, patch, at, &key, depth + 1)?)
                }
                (None, value) => match fresh(value, depth) {
                    Some(value) => value,
                    None => continue,
                },
                (Some(_), value) => value,
            };
            original.insert(key, merged);
        }
        Ok(original)
    }

    /// Merges lists that stand in `field` of a map at `at`.
    fn list(
        &self,
        original: Vec<Value>,
        patch: Vec<Value>,
        at: At,
        field: &str,
        depth: usize,
    ) -> Result<Vec<Value>, Status> {
        match strategy(at, field) {
            Strategy::Replace => Ok(patch),
            Strategy::Set => {
                let mut merged: Vec<Value> = Vec::new();
                for item in original.iter().chain(&patch) {
                    if !merged.contains(item) {
                        merged.push(item.clone());
                    }
                }
                Ok(ordered(merged, &patch, &original, None))
            }
            Strategy::ByKey(key) => self.by_key(original, patch, element(at, field), key, depth),
        }
    }

    fn by_key(
        &self,
        mut original: Vec<Value>,
        patch: Vec<Value>,
        of: At,
        key: &str,
        depth: usize,
    ) -> Result<Vec<Value>, Status> {
        let replaces = |item: &Value| item.get(PATCH).and_then(Value::as_str) == Some("replace");
        if patch.iter().any(replaces) {
            return Ok(patch.into_iter().filter(|item| item.get(PATCH).is_none()).collect());
        }
        let mut items = Vec::new();
        for item in patch {
            let Some(id) = item.get(key).cloned() else {
                return Err(wrong(format!("map: {item} does not contain declared merge key: {key}")));
            };
            match item.get(PATCH).and_then(Value::as_str) {
                Some("delete") => original.retain(|o| o.get(key) != Some(&id)),
                _ => items.push((id, item)),
            }
        }
        let server_order = original.clone();
        let patch_order: Vec<Value> = items.iter().map(|(_, item)| item.clone()).collect();
        let mut merged = original;
        for (id, item) in items {
            match merged.iter_mut().find(|o| o.get(key) == Some(&id)) {
                Some(Value::Object(before)) => {
                    let Value::Object(item) = item else { continue };
                    *before = self.map(std::mem::take(before), item, of, depth + 1)?;
                }
                // A new item is taken as it is, nulls included; decoding drops those.
                _ => merged.push(item),
            }
        }
        Ok(ordered(merged, &patch_order, &server_order, Some(key)))
    }

    /// Carries out the `$setElementOrder/…` directives and the merges of the lists they name.
    fn order(
        &self,
        original: &mut Map<String, Value>,
        patch: &mut Map<String, Value>,
        at: At,
        depth: usize,
    ) -> Result<(), Status> {
        let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(ORDER)).cloned().collect();
        for directive in directives {
            let wanted = patch.remove(&directive);
            let Some(Value::Array(wanted)) = wanted else {
                return Err(wrong(format!("{directive}: found no list, expected one")));
            };
            let field = directive[ORDER.len()..].to_owned();
            let deleted = patch.remove(&format!("{DELETE_FROM}{field}"));
            let before = match original.get(&field) {
                Some(Value::Array(list)) => Some(list.clone()),
                _ => None,
            };
            let patched = match patch.remove(&field) {
                Some(Value::Array(list)) => Some(list),
                // A null or a value of another type is not a merge: leave it to the caller.
                Some(other) => {
                    patch.insert(field, other);
                    continue;
                }
                None => None,
            };
            if before.is_none() && patched.is_none() {
                continue;
            }
            if let Some(deleted) = deleted {
                delete_from(original, &field, &deleted)?;
            }
            let kept = match original.get(&field) {
                Some(Value::Array(list)) => list.clone(),
                _ => Vec::new(),
            };
            let server = server_order(&before.unwrap_or_default(), patched.as_deref(), at, &field);
            let merged = match patched {
                Some(patched) => self.list(kept, patched, at, &field, depth + 1)?,
                None => kept,
            };
            let key = match strategy(at, &field) {
                Strategy::ByKey(key) => Some(key),
                Strategy::Set => None,
                Strategy::Replace => {
                    original.insert(field, Value::Array(merged));
                    continue;
                }
            };
            original.insert(field, Value::Array(ordered(merged, &wanted, &server, key)));
        }
        Ok(())
    }
}

/// A value for a field nobody had before: without nulls, and without whatever carries a directive,
/// since there is nothing to direct.
fn fresh(value: Value, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    match value {
        Value::Null => None,
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(key, _)| !key.starts_with('$'));
            Some(Value::Object(kept.filter_map(|(key, v)| Some((key, fresh(v, depth + 1)?))).collect()))
        }
        Value::Array(list) => {
            Some(Value::Array(list.into_iter().filter_map(|v| fresh(v, depth + 1)).collect()))
        }
        value => Some(value),
    }
}

/// `$retainKeys`: only the named keys survive.
fn retain(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), Status> {
    let Some(directive) = patch.remove(RETAIN) else { return Ok(()) };
    let Value::Array(keys) = &directive else {
        return Err(wrong(format!("{RETAIN}: found no list, expected one")));
    };
    let named = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    if let Some(stray) = patch.iter().find(|(k, v)| !v.is_null() && !k.starts_with('$') && !named(k)) {
        return Err(wrong(format!("{RETAIN} does not name {:?}, which the patch sets", stray.0)));
    }
    original.retain(|key, _| named(key));
    Ok(())
}

fn delete_from(original: &mut Map<String, Value>, field: &str, values: &Value) -> Result<(), Status> {
    let Value::Array(values) = values else {
        return Err(wrong(format!("{DELETE_FROM}{field}: found no list, expected one")));
    };
    if let Some(Value::Array(list)) = original.get_mut(field) {
        list.retain(|item| !values.contains(item));
    }
    Ok(())
}

/// Where `item` stands in `order`.
fn index(order: &[Value], item: &Value, key: Option<&str>) -> Option<usize> {
    match key {
        Some(key) => order.iter().position(|o| o.get(key).is_some() && o.get(key) == item.get(key)),
        None => order.iter().position(|o| o == item),
    }
}

/// The server's order as the library sees it when a list is deleted from and added to at once: items
/// added take, from the end of those kept, the places of those deleted. (There it comes of a slice that
/// is overwritten in place; whoever merges otherwise orders such lists otherwise.)
fn server_order(before: &[Value], patch: Option<&[Value]>, at: At, field: &str) -> Vec<Value> {
    let Strategy::ByKey(key) = strategy(at, field) else { return before.to_vec() };
    let deletes = |item: &&Value| item.get(PATCH).and_then(Value::as_str) == Some("delete");
    let (deleted, others): (Vec<&Value>, Vec<&Value>) = patch.unwrap_or_default().iter().partition(deletes);
    let named = |list: &[&Value], item: &Value| list.iter().any(|l| l.get(key) == item.get(key));
    let kept: Vec<&Value> = before.iter().filter(|item| !named(&deleted, item)).collect();
    let added = others.iter().filter(|item| !named(&kept, item)).copied();
    let mut order = before.to_vec();
    for (place, item) in order.iter_mut().zip(kept.iter().copied().chain(added)) {
        *place = item.clone();
    }
    order
}

/// Orders a merged list: items of the patch as `patch_order`, the others as on the server, both
/// interleaved so that the server's relative order holds where both sides know it.
fn ordered(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let (mut patched, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| index(patch_order, item, key).is_some());
    patched.sort_by_key(|item| index(patch_order, item, key));
    others.sort_by_key(|item| index(server_order, item, key).unwrap_or(usize::MAX));
    let mut all = Vec::with_capacity(patched.len() + others.len());
    let (mut left, mut right) = (others.into_iter().peekable(), patched.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return all,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => match (index(server_order, l, key), index(server_order, r, key)) {
                (Some(l), Some(r)) => l < r,
                _ => false,
            },
        };
        all.extend(if take_left { left.next() } else { right.next() });
    }
}
