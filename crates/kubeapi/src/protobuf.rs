//! Kubernetes' protobuf bodies, as kubectl's `create` commands send them, turned into JSON.
//!
//! Only what those commands fill in is known: namespaces, config maps, Jobs with simple pods, priority
//! classes. An unknown field is refused by name, never lost. Answers are always JSON. Field numbers are
//! those of `k8s.io/api/*/generated.proto`.

use serde_json::{Map, Value, json};
use twin::Status;

/// Media type of these bodies.
pub(crate) const MEDIA: &str = "application/vnd.kubernetes.protobuf";
/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Deepest nesting of messages; the deepest known is a container's environment in a Job.
const DEPTH_MAX: usize = 16;

/// What a field holds. `Filled…` fields are always written; their zero value means absent.
#[derive(Clone, Copy)]
enum Type {
    Text,
    FilledText,
    Texts,
    Number,
    FilledNumber,
    Bool,
    FilledBool,
    One(&'static Message),
    Many(&'static Message),
    TextMap,
    BytesMap,
    Amounts,
    Time,
    /// Set by the server alone.
    Ignored,
}

struct Message {
    name: &'static str,
    fields: &'static [(u64, &'static str, Type)],
}

static OWNER: Message = Message {
    name: "OwnerReference",
    fields: &[
        (1, "kind", Type::FilledText),
        (3, "name", Type::FilledText),
        (4, "uid", Type::FilledText),
        (5, "apiVersion", Type::FilledText),
        (6, "controller", Type::Bool),
        (7, "blockOwnerDeletion", Type::Bool),
    ],
};
static META: Message = Message {
    name: "ObjectMeta",
    fields: &[
        (1, "name", Type::FilledText),
        (2, "generateName", Type::FilledText),
        (3, "namespace", Type::FilledText),
        (4, "selfLink", Type::Ignored),
        (5, "uid", Type::FilledText),
        (6, "resourceVersion", Type::FilledText),
        (7, "generation", Type::Ignored),
        (8, "creationTimestamp", Type::Ignored),
        (9, "deletionTimestamp", Type::Ignored),
        (10, "deletionGracePeriodSeconds", Type::Ignored),
        (11, "labels", Type::TextMap),
        (12, "annotations", Type::TextMap),
        (13, "ownerReferences", Type::Many(&OWNER)),
        (14, "finalizers", Type::Texts),
        (17, "managedFields", Type::Ignored),
    ],
};
static NAMESPACE_SPEC: Message = Message { name: "NamespaceSpec", fields: &[(1, "finalizers", Type::Texts)] };
static NAMESPACE: Message = Message {
    name: "Namespace",
    fields: &[
        (1, "metadata", Type::One(&META)),
        (2, "spec", Type::One(&NAMESPACE_SPEC)),
        (3, "status", Type::Ignored),
    ],
};
static CONFIG_MAP: Message = Message {
    name: "ConfigMap",
    fields: &[
        (1, "metadata", Type::One(&META)),
        (2, "data", Type::TextMap),
        (3, "binaryData", Type::BytesMap),
        (4, "immutable", Type::Bool),
    ],
};
static PRIORITY_CLASS: Message = Message {
    name: "PriorityClass",
    fields: &[
        (1, "metadata", Type::One(&META)),
        (2, "value", Type::Number),
        (3, "globalDefault", Type::FilledBool),
        (4, "description", Type::FilledText),
        (5, "preemptionPolicy", Type::Text),
    ],
};
static LEASE_SPEC: Message = Message {
    name: "LeaseSpec",
    fields: &[
        (1, "holderIdentity", Type::Text),
        (2, "leaseDurationSeconds", Type::Number),
        (3, "acquireTime", Type::Time),
        (4, "renewTime", Type::Time),
        (5, "leaseTransitions", Type::Number),
    ],
};
static LEASE: Message = Message {
    name: "Lease",
    fields: &[(1, "metadata", Type::One(&META)), (2, "spec", Type::One(&LEASE_SPEC))],
};
static ENV: Message =
    Message { name: "EnvVar", fields: &[(1, "name", Type::FilledText), (2, "value", Type::FilledText)] };
static PORT: Message = Message {
    name: "ContainerPort",
    fields: &[
        (1, "name", Type::FilledText),
        (2, "hostPort", Type::FilledNumber),
        (3, "containerPort", Type::FilledNumber),
        (4, "protocol", Type::FilledText),
        (5, "hostIP", Type::FilledText),
    ],
};
static RESOURCES: Message = Message {
    name: "ResourceRequirements",
    fields: &[(1, "limits", Type::Amounts), (2, "requests", Type::Amounts)],
};
static CONTAINER: Message = Message {
    name: "Container",
    fields: &[
        (1, "name", Type::FilledText),
        (2, "image", Type::FilledText),
        (3, "command", Type::Texts),
        (4, "args", Type::Texts),
        (5, "workingDir", Type::FilledText),
        (6, "ports", Type::Many(&PORT)),
        (7, "env", Type::Many(&ENV)),
        (8, "resources", Type::One(&RESOURCES)),
        (13, "terminationMessagePath", Type::FilledText),
        (14, "imagePullPolicy", Type::FilledText),
        (16, "stdin", Type::FilledBool),
        (17, "stdinOnce", Type::FilledBool),
        (18, "tty", Type::FilledBool),
        (20, "terminationMessagePolicy", Type::FilledText),
    ],
};
static POD_SPEC: Message = Message {
    name: "PodSpec",
    fields: &[
        (2, "containers", Type::Many(&CONTAINER)),
        (3, "restartPolicy", Type::FilledText),
        (4, "terminationGracePeriodSeconds", Type::Number),
        (5, "activeDeadlineSeconds", Type::Number),
        (6, "dnsPolicy", Type::FilledText),
        (7, "nodeSelector", Type::TextMap),
        (8, "serviceAccountName", Type::FilledText),
        (9, "serviceAccount", Type::FilledText),
        (10, "nodeName", Type::FilledText),
        (11, "hostNetwork", Type::FilledBool),
        (12, "hostPID", Type::FilledBool),
        (13, "hostIPC", Type::FilledBool),
        (16, "hostname", Type::FilledText),
        (17, "subdomain", Type::FilledText),
        (19, "schedulerName", Type::FilledText),
        (20, "initContainers", Type::Many(&CONTAINER)),
        (24, "priorityClassName", Type::FilledText),
        (25, "priority", Type::Number),
    ],
};
static RESOURCE_ATTRIBUTES: Message = Message {
    name: "ResourceAttributes",
    fields: &[
        (1, "namespace", Type::FilledText),
        (2, "verb", Type::FilledText),
        (3, "group", Type::FilledText),
        (4, "version", Type::FilledText),
        (5, "resource", Type::FilledText),
        (6, "subresource", Type::FilledText),
        (7, "name", Type::FilledText),
    ],
};
static PATH_ATTRIBUTES: Message = Message {
    name: "NonResourceAttributes",
    fields: &[(1, "path", Type::FilledText), (2, "verb", Type::FilledText)],
};
static ACCESS_SPEC: Message = Message {
    name: "SelfSubjectAccessReviewSpec",
    fields: &[
        (1, "resourceAttributes", Type::One(&RESOURCE_ATTRIBUTES)),
        (2, "nonResourceAttributes", Type::One(&PATH_ATTRIBUTES)),
    ],
};
static ACCESS: Message = Message {
    name: "SelfSubjectAccessReview",
    fields: &[
        (1, "metadata", Type::One(&META)),
        (2, "spec", Type::One(&ACCESS_SPEC)),
        (3, "status", Type::Ignored),
    ],
};
static RULES_SPEC: Message =
    Message { name: "SelfSubjectRulesReviewSpec", fields: &[(1, "namespace", Type::FilledText)] };
static RULES: Message = Message {
    name: "SelfSubjectRulesReview",
    fields: &[
        (1, "metadata", Type::One(&META)),
        (2, "spec", Type::One(&RULES_SPEC)),
        (3, "status", Type::Ignored),
    ],
};
static TEMPLATE: Message = Message {
    name: "PodTemplateSpec",
    fields: &[(1, "metadata", Type::One(&META)), (2, "spec", Type::One(&POD_SPEC))],
};
static SELECTOR: Message = Message { name: "LabelSelector", fields: &[(1, "matchLabels", Type::TextMap)] };
static JOB_SPEC: Message = Message {
    name: "JobSpec",
    fields: &[
        (1, "parallelism", Type::Number),
        (2, "completions", Type::Number),
        (3, "activeDeadlineSeconds", Type::Number),
        (4, "selector", Type::One(&SELECTOR)),
        (5, "manualSelector", Type::Bool),
        (6, "template", Type::One(&TEMPLATE)),
        (7, "backoffLimit", Type::Number),
        (8, "ttlSecondsAfterFinished", Type::Number),
        (9, "completionMode", Type::Text),
        (10, "suspend", Type::Bool),
        (12, "backoffLimitPerIndex", Type::Number),
        (13, "maxFailedIndexes", Type::Number),
        (14, "podReplacementPolicy", Type::Text),
        (15, "managedBy", Type::Text),
    ],
};
static JOB: Message = Message {
    name: "Job",
    fields: &[
        (1, "metadata", Type::One(&META)),
        (2, "spec", Type::One(&JOB_SPEC)),
        (3, "status", Type::Ignored),
    ],
};
static POD: Message = Message {
    name: "Pod",
    fields: &[
        (1, "metadata", Type::One(&META)),
        (2, "spec", Type::One(&POD_SPEC)),
        (3, "status", Type::Ignored),
    ],
};

/// A field's payload on the wire.
enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }
    /// The next field: number and payload.
    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, wire))
    }
}

fn broken(what: &str) -> Status {
    Status::bad_request(format!("the body of the request is not valid protobuf: {what}"))
}

/// All fields of a message.
fn fields<'a>(bytes: &'a [u8], what: &str) -> Result<Vec<(u64, Wire<'a>)>, Status> {
    let mut reader = Reader(bytes);
    let mut all = Vec::new();
    while !reader.0.is_empty() {
        all.push(reader.field().ok_or_else(|| broken(what))?);
    }
    Ok(all)
}

fn bytes<'a>(wire: &Wire<'a>, what: &str) -> Result<&'a [u8], Status> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        Wire::Varint(_) => Err(broken(what)),
    }
}

fn text(wire: &Wire<'_>, what: &str) -> Result<String, Status> {
    String::from_utf8(bytes(wire, what)?.to_vec()).map_err(|_| broken(what))
}

fn number(wire: &Wire<'_>, what: &str) -> Result<i64, Status> {
    match wire {
        Wire::Varint(value) => Ok(*value as i64),
        Wire::Bytes(_) => Err(broken(what)),
    }
}

/// Field `wanted` of a small message, as text.
fn text_of(bytes: &[u8], wanted: u64, what: &str) -> Result<String, Status> {
    for (id, wire) in fields(bytes, what)? {
        if id == wanted {
            return text(&wire, what);
        }
    }
    Ok(String::new())
}

/// Standard base64, as JSON carries bytes.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let index = (word >> (18 - 6 * i)) & 63;
            text.push(if i <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

/// One entry of a map: key and value.
fn entry(message: &Wire<'_>, kind: Type, what: &str) -> Result<(String, Value), Status> {
    let (mut key, mut value) = (String::new(), json!(""));
    for (id, wire) in fields(bytes(message, what)?, what)? {
        match (id, kind) {
            (1, _) => key = text(&wire, what)?,
            (2, Type::BytesMap) => value = json!(base64(bytes(&wire, what)?)),
            (2, Type::Amounts) => value = json!(text_of(bytes(&wire, what)?, 1, what)?),
            (2, _) => value = json!(text(&wire, what)?),
            _ => return Err(broken(what)),
        }
    }
    Ok((key, value))
}

/// Seconds and nanoseconds since the epoch as RFC 3339; nothing for the zero time.
fn time(message: &Wire<'_>, what: &str) -> Result<Value, Status> {
    let (mut seconds, mut nanos) = (0, 0);
    for (id, wire) in fields(bytes(message, what)?, what)? {
        match id {
            1 => seconds = number(&wire, what)?,
            2 => nanos = number(&wire, what)?,
            _ => {}
        }
    }
    if seconds <= 0 {
        return Ok(Value::Null);
    }
    let nanos =
        seconds.checked_mul(1_000_000_000).and_then(|s| s.checked_add(nanos)).ok_or_else(|| broken(what))?;
    Ok(json!(fleet::Instant::from_unix_nanos(nanos).to_string()))
}

fn push(map: &mut Map<String, Value>, name: &str, value: Value) {
    let slot = map.entry(name).or_insert_with(|| json!([]));
    if let Some(list) = slot.as_array_mut() {
        list.push(value);
    }
}

fn set(map: &mut Map<String, Value>, name: &str, value: Value, keep: bool) {
    if keep {
        map.insert(name.to_owned(), value);
    }
}

fn message(schema: &Message, bytes_in: &[u8], depth: usize) -> Result<Value, Status> {
    if depth > DEPTH_MAX {
        return Err(broken("nested too deeply"));
    }
    let mut map = Map::new();
    for (id, wire) in fields(bytes_in, schema.name)? {
        let Some((_, name, kind)) = schema.fields.iter().find(|(known, _, _)| *known == id) else {
            return Err(Status::new(
                415,
                "UnsupportedMediaType",
                format!("protobuf field {id} of {} is not known here: send application/json", schema.name),
            ));
        };
        let what = *name;
        match *kind {
            Type::Ignored => {}
            Type::Text => set(&mut map, name, json!(text(&wire, what)?), true),
            Type::FilledText => {
                let value = text(&wire, what)?;
                let keep = !value.is_empty();
                set(&mut map, name, json!(value), keep);
            }
            Type::Texts => push(&mut map, name, json!(text(&wire, what)?)),
            Type::Number => set(&mut map, name, json!(number(&wire, what)?), true),
            Type::FilledNumber => {
                let value = number(&wire, what)?;
                set(&mut map, name, json!(value), value != 0);
            }
            Type::Bool => set(&mut map, name, json!(number(&wire, what)? != 0), true),
            Type::FilledBool => {
                let value = number(&wire, what)? != 0;
                set(&mut map, name, json!(value), value);
            }
            Type::One(inner) => {
                let value = message(inner, bytes(&wire, what)?, depth + 1)?;
                set(&mut map, name, value, true);
            }
            Type::Many(inner) => {
                let value = message(inner, bytes(&wire, what)?, depth + 1)?;
                push(&mut map, name, value);
            }
            Type::Time => {
                let value = time(&wire, what)?;
                let keep = !value.is_null();
                set(&mut map, name, value, keep);
            }
            Type::TextMap | Type::BytesMap | Type::Amounts => {
                let (key, value) = entry(&wire, *kind, what)?;
                let slot = map.entry(*name).or_insert_with(|| json!({}));
                slot[key] = value;
            }
        }
    }
    Ok(Value::Object(map))
}

fn schema(kind: &str) -> Option<&'static Message> {
    [&NAMESPACE, &CONFIG_MAP, &PRIORITY_CLASS, &LEASE, &JOB, &POD, &ACCESS, &RULES]
        .into_iter()
        .find(|m| m.name == kind)
}

/// Reads a body: the magic, then `runtime.Unknown` with the type and the object's bytes.
pub(crate) fn decode(body: &[u8]) -> Result<Value, Status> {
    let body = body.strip_prefix(MAGIC).ok_or_else(|| broken("the prefix \"k8s\\0\" is missing"))?;
    let (mut version, mut kind, mut raw): (String, String, &[u8]) = (String::new(), String::new(), &[]);
    for (id, wire) in fields(body, "Unknown")? {
        match id {
            1 => {
                let meta = bytes(&wire, "TypeMeta")?;
                version = text_of(meta, 1, "apiVersion")?;
                kind = text_of(meta, 2, "kind")?;
            }
            2 => raw = bytes(&wire, "raw")?,
            _ => {}
        }
    }
    let schema = schema(&kind).ok_or_else(|| {
        let message = format!("protobuf of kind {kind:?} is not known here: send application/json");
        Status::new(415, "UnsupportedMediaType", message)
    })?;
    let mut document = message(schema, raw, 0)?;
    document["apiVersion"] = json!(version);
    document["kind"] = json!(kind);
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(id: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![id << 3 | 2, payload.len() as u8];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn unknown(kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn known_messages_become_json_and_others_are_refused() {
        let label = [field(1, b"a"), field(2, b"b")].concat();
        let meta = [field(1, b"shop"), field(2, b""), field(11, &label)].concat();
        let body = unknown("Namespace", &[field(1, &meta), field(2, b""), field(3, b"")].concat());
        assert_eq!(
            decode(&body).unwrap(),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"a": "b"}}, "spec": {}})
        );
        let blob = [field(1, b"k"), field(2, b"\x00\x01")].concat();
        let map = decode(&unknown("ConfigMap", &field(3, &blob))).unwrap();
        assert_eq!(map["binaryData"]["k"], "AAE=");
        assert_eq!(decode(&unknown("Namespace", &field(9, b"x"))).unwrap_err().code, 415);
        assert_eq!(decode(&unknown("Secret", b"")).unwrap_err().code, 415);
        for cut in 0..body.len() {
            // Nothing half read panics; most is refused, a cut between fields may pass.
            let _ = decode(&body[..cut]);
        }
        assert_eq!(decode(&body[..body.len() - 1]).unwrap_err().code, 400);
    }
}
