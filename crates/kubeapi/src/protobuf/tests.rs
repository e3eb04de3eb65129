//! Bodies made by Kubernetes' own Go code (see `recorded/README.md` beside the tests), whole and cut.

use super::*;
use std::collections::BTreeSet;
use twin::apiserver::schema::TypeId;

/// A body and the same object in JSON.
fn recorded() -> Vec<(Vec<u8>, Value)> {
    let text = include_str!("../../tests/recorded/protobuf-1.36.3.jsonl");
    let case = |line: &str| {
        let case: Value = serde_json::from_str(line).unwrap();
        (unbase64(case["protobuf"].as_str().unwrap()), case["json"].clone())
    };
    text.lines().map(case).collect()
}

fn unbase64(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> =
        text.trim_end_matches('=').chars().map(|c| ALPHABET.find(c).unwrap() as u32).collect();
    let bytes = |chunk: &[u32]| {
        let word = chunk.iter().fold(0, |word, digit| word << 6 | digit) << (6 * (4 - chunk.len()));
        word.to_be_bytes()[1..chunk.len()].to_vec()
    };
    digits.chunks(4).flat_map(bytes).collect()
}

/// Without what is null: Go writes lists that are not there so.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// The first place in which two documents differ.
fn difference(path: &str, ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let at = |map: &Map<String, Value>, key: &String| map.get(key).cloned().unwrap_or_default();
            keys.into_iter().find_map(|key| difference(&format!("{path}.{key}"), &at(a, key), &at(b, key)))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: {a}, Kubernetes has {b}")),
    }
}

#[test]
fn bodies_mean_what_kubernetes_says_in_json() {
    let cases = recorded();
    let mut differ = Vec::new();
    for (body, expected) in &cases {
        let ours = without_nulls(decode(body).unwrap());
        let kind = expected["kind"].as_str().unwrap();
        differ.extend(difference(kind, &ours, &without_nulls(expected.clone())));
    }
    println!("protobuf: {} agreed, {} differ", cases.len() - differ.len(), differ.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// The same document with each time that Go holds and that says nothing (it writes null) as an empty text, which is encoded
/// so: of null alone nobody can tell whether there was one.
fn with_empty_times(mut document: Value) -> Value {
    fn walk(name: &str, value: &mut Value) {
        match value {
            Value::Object(map) => map.iter_mut().for_each(|(name, value)| walk(name, value)),
            Value::Array(list) => list.iter_mut().for_each(|value| walk(name, value)),
            Value::Null
                if ["Time", "Timestamp", "startedAt", "finishedAt"].iter().any(|end| name.ends_with(end))
                    || name == "time" =>
            {
                *value = Value::from("");
            }
            _ => {}
        }
    }
    walk("", &mut document);
    document
}

/// What Kubernetes wrote is written the same, byte by byte.
#[test]
fn answers_are_kubernetes_bytes() {
    let cases = recorded();
    let mut differ = Vec::new();
    for (body, document) in &cases {
        let ours = encode(&with_empty_times(document.clone())).unwrap();
        let (again, theirs) = (without_nulls(decode(&ours).unwrap()), without_nulls(decode(body).unwrap()));
        let kind = document["kind"].as_str().unwrap();
        assert_eq!(difference(kind, &again, &theirs), None);
        if ours != *body {
            let at = ours.iter().zip(body).take_while(|(a, b)| a == b).count();
            differ.push(format!("{kind}: byte {at} of {} and {}", ours.len(), body.len()));
        }
    }
    println!("protobuf bytes: {} agreed, {} differ", cases.len() - differ.len(), differ.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// Whatever the twin's own controllers write fits its type.
#[test]
fn every_object_of_a_world_has_protobuf() {
    const FLEET: &str = "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  nodeGroups: [{name: general, instanceType: m6i.large, count: 3}]\ndemo: {jobsPerHour: 4}\n";
    let fleet = fleet::file::parse(FLEET).unwrap();
    let start = fleet::Instant::parse("2026-05-01T09:00:00Z").unwrap();
    let mut world = twin::World::new(&fleet, start, 1);
    world.advance_to(start + fleet::Span::from_seconds(6 * 3600));
    let cluster = fleet.clusters[0].id.clone();
    let objects = world.objects(&cluster).unwrap();
    let mut seen = 0;
    for stored in objects.kinds().flat_map(|kind| objects.list(kind, None)) {
        let document = stored.to_value();
        let encoded = encode(&document).unwrap_or_else(|| panic!("{document}"));
        let again = without_nulls(decode(&encoded).unwrap());
        assert_eq!(difference("", &again, &without_nulls(document)), None);
        seen += 1;
    }
    assert!(seen > 50, "{seen} objects");
}

/// Every field of every type that a body can hold stands in the table with a number, but for those of which there is
/// nothing to read.
#[test]
fn every_field_has_its_number() {
    let (mut seen, mut lacking) = (BTreeSet::new(), Vec::new());
    let mut open: Vec<TypeId> = KUBERNETES.kinds().map(|(_, _, id)| id).collect();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let of = KUBERNETES.get(id);
        for field in &of.fields {
            let mut shape = &field.shape;
            while let Shape::List(of) | Shape::Map(of) = shape {
                shape = of;
            }
            open.extend(if let Shape::Named(id) = shape { Some(*id) } else { None });
            if field.numbers.is_empty() && !matches!(field.name.as_str(), "apiVersion" | "kind") {
                lacking.push(format!("{}.{}", of.name, field.name));
            }
        }
    }
    assert!(lacking.is_empty(), "{lacking:#?}");
}

#[test]
fn what_is_cut_or_changed_is_refused_or_read_but_never_breaks() {
    for (n, (body, _)) in recorded().into_iter().enumerate() {
        for cut in (0..body.len()).step_by(1 + body.len() / 97) {
            let _ = decode(&body[..cut]);
        }
        for at in (n % 7..body.len()).step_by(1 + body.len() / 131) {
            let mut changed = body.clone();
            changed[at] ^= 1 << (at % 8);
            let _ = decode(&changed);
        }
        assert!(decode(&body[..body.len() - 1]).is_err());
    }
}

fn varint(mut number: usize, bytes: &mut Vec<u8>) {
    while number > 127 {
        bytes.push(number as u8 & 127 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn field(id: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(id << 3 | 2, &mut bytes);
    varint(payload.len(), &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

fn unknown(version: &[u8], kind: &[u8], raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, version), field(2, kind)].concat();
    [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
}

#[test]
fn times_are_of_any_year() {
    let lease = |seconds: i64| {
        let mut time = vec![1 << 3];
        varint(seconds as usize, &mut time);
        unknown(b"coordination.k8s.io/v1", b"Lease", &field(2, &field(3, &time)))
    };
    let read = decode(&lease(-62_135_596_798)).unwrap();
    assert_eq!(read["spec"]["acquireTime"], "0001-01-01T00:00:02.000000Z");
    assert_eq!(decode(&lease(i64::MAX)).unwrap_err().code, 400);
}

#[test]
fn what_is_not_known_is_refused_and_what_is_too_deep() {
    assert_eq!(decode(&unknown(b"v1", b"Nothing", b"")).unwrap_err().code, 415);
    assert_eq!(decode(b"{}").unwrap_err().code, 400);
    // A schema within a schema, and so on: `spec.versions[0].schema.openAPIV3Schema.not.not…`.
    let mut schema = Vec::new();
    for _ in 0..200 {
        schema = field(28, &schema);
    }
    let crd = field(2, &field(7, &field(4, &field(1, &schema))));
    let refused =
        decode(&unknown(b"apiextensions.k8s.io/v1", b"CustomResourceDefinition", &crd)).unwrap_err();
    assert_eq!((refused.code, refused.message.contains("too deeply")), (400, true), "{refused}");
}
