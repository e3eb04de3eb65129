//! Scenarios that differ in one field: where it stands, and what stands there instead.
//!
//! A place is `KIND/NAME:PATH` (or `KIND/NAMESPACE/NAME:PATH`) in one of the objects made at the start, `PATH` in the
//! cluster, or a short name of [`SHORT`], which means the one thing there is of its kind. A path has names of fields with
//! dots between; an entry of a list is meant by its `name`, `type` or place (`containers.app`, `metrics[0]`); a key with dots
//! in it is quoted. Pure. Invariants: what is there already keeps its type where it is a text; a field that is not there is
//! made only if Kubernetes' types have it, so that a slip of the pen never runs a scenario that is not the one meant; every
//! refusal names what there is.

use super::file::{Error, field};
use crate::apiserver::schema::{KUBERNETES, read};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest place or value, in bytes.
pub const TEXT_MAX: usize = 1000;
/// Most names that a refusal lists.
const LISTED_MAX: usize = 12;
/// What annotations of Services about their requests begin with.
const TRAFFIC: &str = "traffic.twin.kubercarbon.io/";

/// Short names, and the places they stand for: where a kind is named, in the only object of it.
pub const SHORT: [(&str, &str); 17] = [
    ("replicas", "Deployment:spec.replicas"),
    ("requests.cpu", "Deployment:spec.template.spec.containers[0].resources.requests.cpu"),
    ("requests.memory", "Deployment:spec.template.spec.containers[0].resources.requests.memory"),
    ("limits.cpu", "Deployment:spec.template.spec.containers[0].resources.limits.cpu"),
    ("limits.memory", "Deployment:spec.template.spec.containers[0].resources.limits.memory"),
    ("hpa.target", "HorizontalPodAutoscaler:spec.metrics[0].resource.target.averageUtilization"),
    ("hpa.min", "HorizontalPodAutoscaler:spec.minReplicas"),
    ("hpa.max", "HorizontalPodAutoscaler:spec.maxReplicas"),
    ("service.time", "Service:metadata.annotations.\"traffic.twin.kubercarbon.io/service-time\""),
    ("service.concurrency", "Service:metadata.annotations.\"traffic.twin.kubercarbon.io/concurrency\""),
    ("nodegroup.type", "nodeGroups[0].instanceType"),
    ("nodegroup.count", "nodeGroups[0].count"),
    ("nodegroup.min", "nodeGroups[0].min"),
    ("nodegroup.max", "nodeGroups[0].max"),
    ("karpenter.consolidationPolicy", "karpenter.nodePools[0].disruption.consolidationPolicy"),
    ("karpenter.consolidateAfter", "karpenter.nodePools[0].disruption.consolidateAfter"),
    ("region", "region"),
];

/// What stands somewhere instead of what is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where, as written: `KIND/NAME:PATH`, `PATH` in the cluster, or a short name.
    pub place: String,
    /// What, as written: a text, or JSON.
    pub value: String,
}

/// One part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A field, or an entry of a list by its `name` or `type`.
    Name(String),
    /// An entry of a list by its place.
    Nth(usize),
}

fn wrong(change: &Change, found: impl ToString, expected: impl Into<String>) -> Error {
    field(change.place.clone(), found, expected)
}

/// The parts of a path; `None`: it is none.
fn parts(path: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('"') {
            let (key, after) = inner.split_once('"')?;
            parts.push(Part::Name(key.to_owned()));
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('[') {
            let (key, after) = inner.split_once(']')?;
            parts.push(key.parse().map_or_else(|_| Part::Name(key.to_owned()), Part::Nth));
            rest = after;
        } else {
            let end = rest.find(['.', '[', '"']).unwrap_or(rest.len());
            parts.push(Part::Name(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = match rest.strip_prefix('.') {
            Some("") => return None,
            Some(after) => after,
            None => rest,
        };
    }
    let named = |part: &Part| !matches!(part, Part::Name(name) if name.is_empty());
    (!parts.is_empty() && parts.iter().all(named)).then_some(parts)
}

/// The names of what there is at a place.
fn names(value: &Value) -> String {
    let all: Vec<String> = match value {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(entries) => entries
            .iter()
            .enumerate()
            .map(|(i, entry)| {
                let name = ["name", "type"].iter().find_map(|key| entry.get(key)?.as_str());
                name.map_or_else(|| format!("[{i}]"), str::to_owned)
            })
            .collect(),
        other => return format!("{other}, which has no parts"),
    };
    listed(&all)
}

fn listed(all: &[String]) -> String {
    let more = all.len().saturating_sub(LISTED_MAX);
    let shown = all[..all.len() - more].join(", ");
    match (all.is_empty(), more) {
        (true, _) => "nothing".to_owned(),
        (_, 0) => shown,
        (_, more) => format!("{shown} and {more} more"),
    }
}

/// The value that a text means where `there` stands: a text where there is one or where keys are free, else JSON, else the
/// text.
fn value(text: &str, there: Option<&Value>, free: bool) -> Value {
    if free || there.is_some_and(Value::is_string) {
        return Value::String(text.to_owned());
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// What stands at one part of a path; a field is made where there is none.
fn child<'a>(here: &'a mut Value, part: &Part) -> Option<&'a mut Value> {
    match (part, here) {
        (Part::Nth(nth), here) => here.as_array_mut()?.get_mut(*nth),
        (Part::Name(name), Value::Array(entries)) => {
            entries.iter_mut().find(|entry| entry["name"] == **name || entry["type"] == **name)
        }
        (Part::Name(name), here) => {
            let fields = here.as_object_mut()?;
            // As people say it of node groups.
            let typed = name == "type" && fields.contains_key("instanceType");
            Some(fields.entry(if typed { "instanceType" } else { name.as_str() }).or_insert(Value::Null))
        }
    }
}

/// Puts a value at a path, making objects on the way where there is nothing.
fn put(root: &mut Value, change: &Change, parts: &[Part]) -> Result<(), Error> {
    let mut here = root;
    let mut free = false;
    for part in parts {
        if here.is_null() {
            *here = Value::Object(Map::new());
        }
        let there = names(here);
        let Some(next) = child(here, part) else {
            let found = match part {
                Part::Name(name) => format!("{name:?}"),
                Part::Nth(nth) => format!("[{nth}]"),
            };
            return Err(wrong(change, found, format!("one of {there}")));
        };
        here = next;
        // Keys of these are free, and their values texts.
        free = matches!(part, Part::Name(name) if free || name == "annotations" || name == "labels");
    }
    let there = Some(&*here).filter(|there| !there.is_null());
    *here = value(&change.value, there, free);
    Ok(())
}

/// Where a change is made, once short names are written out.
enum Spot {
    /// In an object of this kind, in the namespace and of the name stated.
    Object { kind: String, namespace: Option<String>, name: Option<String>, path: String },
    /// In the cluster.
    Cluster(String),
}

fn spot(change: &Change) -> Spot {
    let short = SHORT.iter().find(|(short, _)| *short == change.place).map(|(_, long)| *long);
    let place = short.unwrap_or(&change.place);
    // A colon in a quoted key is not the one after the object.
    let end = place.find('"').unwrap_or(place.len());
    let Some(colon) = place[..end].find(':') else {
        return Spot::Cluster(place.to_owned());
    };
    let (object, path) = (&place[..colon], place[colon + 1..].to_owned());
    let words: Vec<&str> = object.split('/').collect();
    let (kind, namespace, name) = match words[..] {
        [kind, name] => (kind, None, Some(name)),
        [kind, namespace, name] => (kind, Some(namespace), Some(name)),
        _ => (object, None, None),
    };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Spot::Object { kind: kind.to_owned(), namespace: owned(namespace), name: owned(name), path }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// An object as places name it.
fn place_of(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// The one object that is meant.
fn object<'a>(objects: &'a mut [Value], change: &Change, spot: &Spot) -> Result<&'a mut Value, Error> {
    let Spot::Object { kind, namespace, name, path } = spot else { unreachable!("only called of objects") };
    let short = name.is_none();
    let fits = |object: &Value| {
        let (found, space) = (text(object, "/kind"), text(object, "/metadata/namespace"));
        // Of Services, short names mean those to which something comes.
        let carries = |object: &Value| {
            let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
            annotations.is_some_and(|all| all.keys().any(|key| key.starts_with(TRAFFIC)))
        };
        found == kind
            && name.as_deref().is_none_or(|name| text(object, "/metadata/name") == name)
            && namespace
                .as_deref()
                .is_none_or(|stated| if space.is_empty() { stated == "default" } else { space == stated })
            && (!short || kind != "Service" || carries(object))
    };
    let all: Vec<usize> = (0..objects.len()).filter(|i| fits(&objects[*i])).collect();
    if let [only] = all[..] {
        return Ok(&mut objects[only]);
    }
    let there: Vec<String> = if all.is_empty() {
        objects.iter().map(place_of).collect()
    } else {
        all.iter().map(|i| format!("{}:{path}", place_of(&objects[*i]))).collect()
    };
    let what = if all.is_empty() {
        format!("no {kind} of that name in the scenario")
    } else {
        format!("{} of them", all.len())
    };
    Err(wrong(change, what, format!("one of {}", listed(&there))))
}

/// That Kubernetes' types have what was put into an object.
fn check(object: &Value, change: &Change, before: &[String]) -> Result<(), Error> {
    let Some(id) = KUBERNETES.kind(text(object, "/apiVersion"), text(object, "/kind")) else { return Ok(()) };
    let read = read(&KUBERNETES, KUBERNETES.shape(id), object.clone());
    let read = read.map_err(|why| {
        wrong(change, format!("{:?}", change.value), format!("what the field takes ({why})"))
    })?;
    match read.unknown.iter().find(|path| !before.contains(path)) {
        None => Ok(()),
        Some(unknown) => {
            let (above, name) = unknown.rsplit_once('.').unwrap_or(("", unknown));
            let pointer: String = above
                .split(['.', '[', ']'])
                .filter(|part| !part.is_empty())
                .map(|part| format!("/{part}"))
                .collect();
            let there = object.pointer(&pointer).map(|there| {
                let mut there = there.clone();
                if let Some(fields) = there.as_object_mut() {
                    fields.remove(name);
                }
                names(&there)
            });
            Err(wrong(
                change,
                format!("no field {unknown}"),
                format!("a field of a {}, such as {}", text(object, "/kind"), there.unwrap_or_default()),
            ))
        }
    }
}

/// Paths of an object that Kubernetes' types do not have.
fn unknown(object: &Value) -> Vec<String> {
    let id = KUBERNETES.kind(text(object, "/apiVersion"), text(object, "/kind"));
    let read = id.and_then(|id| read(&KUBERNETES, KUBERNETES.shape(id), object.clone()).ok());
    read.map(|read| read.unknown).unwrap_or_default()
}

/// Makes a change in the objects or the cluster of a file.
pub(super) fn apply(
    change: &Change,
    objects: &mut [Value],
    cluster: &mut BTreeMap<String, Value>,
) -> Result<(), Error> {
    if change.place.len() > TEXT_MAX || change.value.len() > TEXT_MAX {
        return Err(field("vary", "a longer place or value", format!("at most {TEXT_MAX} bytes each")));
    }
    let spot = spot(change);
    let (Spot::Object { path, .. } | Spot::Cluster(path)) = &spot;
    let path = parts(path).ok_or_else(|| wrong(change, "no path", "names of fields with dots between"))?;
    match &spot {
        Spot::Object { .. } => {
            let object = object(objects, change, &spot)?;
            let before = unknown(object);
            put(object, change, &path)?;
            check(object, change, &before)
        }
        Spot::Cluster(_) => {
            let known = [
                "region",
                "gridZone",
                "pue",
                "labels",
                "nodeGroups",
                "scheduler",
                "clusterAutoscaler",
                "karpenter",
            ];
            let first = match &path[0] {
                Part::Name(name) => name.as_str(),
                Part::Nth(_) => "",
            };
            if !known.contains(&first) {
                let short: Vec<&str> = SHORT.iter().map(|(short, _)| *short).collect();
                let objects: Vec<String> = objects.iter().map(place_of).collect();
                let expected = format!(
                    "a short name ({}), a field of the cluster ({}), or KIND/NAME:PATH with one of {}",
                    short.join(", "),
                    known.join(", "),
                    listed(&objects)
                );
                return Err(wrong(change, "no such place", expected));
            }
            one_meant(change, cluster)?;
            let mut root = Value::Object(std::mem::take(cluster).into_iter().collect());
            let done = put(&mut root, change, &path);
            if let Value::Object(fields) = root {
                cluster.extend(fields);
            }
            done
        }
    }
}

/// That a short name of a node group or pool means the one there is.
fn one_meant(change: &Change, cluster: &BTreeMap<String, Value>) -> Result<(), Error> {
    let pools = cluster.get("karpenter").and_then(|set| set.get("nodePools"));
    let (all, what, path) = match change.place.split_once('.') {
        Some(("nodegroup", _)) => (cluster.get("nodeGroups"), "node groups", "nodeGroups.NAME.FIELD"),
        Some(("karpenter", _)) if SHORT.iter().any(|(short, _)| *short == change.place) => {
            (pools, "node pools", "karpenter.nodePools.NAME.disruption.FIELD")
        }
        _ => return Ok(()),
    };
    let count = all.and_then(Value::as_array).map_or(0, Vec::len);
    if count == 1 || (count == 0 && what == "node groups") {
        return Ok(());
    }
    let there = all.map_or_else(|| "nothing".to_owned(), names);
    Err(wrong(change, format!("{count} {what}"), format!("{path} with one of {there}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{parse, parse_changed};

    const TEXT: &str = "apiVersion: kubercarbon.io/v1alpha1\nkind: Scenario\nmetadata: {name: s}\nfor: 5m\n\
        objects:\n\
        - {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}}, \
        template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: 'web:1', resources: {requests: {cpu: 100m}}}]}}}}\n\
        - {apiVersion: v1, kind: Service, metadata: {name: web, annotations: {traffic.twin.kubercarbon.io/requests: '5', traffic.twin.kubercarbon.io/concurrency: '8'}}, spec: {selector: {app: web}}}\n\
        - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n\
        - {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n\
        expect: []\n";

    fn changed(place: &str, value: &str) -> Result<crate::scenario::Scenario, String> {
        let change = Change { place: place.to_owned(), value: value.to_owned() };
        parse_changed(TEXT, &[change]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_change_is_where_it_is_stated_and_nowhere_else() {
        let plain = parse(TEXT).unwrap();
        for (place, value, object, pointer, found) in [
            ("replicas", "5", 0, "/spec/replicas", Value::from(5)),
            ("Deployment/web:spec.replicas", "5", 0, "/spec/replicas", Value::from(5)),
            ("Deployment/default/web:spec.minReadySeconds", "9", 0, "/spec/minReadySeconds", Value::from(9)),
            (
                "requests.cpu",
                "1",
                0,
                "/spec/template/spec/containers/0/resources/requests/cpu",
                Value::from("1"),
            ),
            (
                "Deployment/web:spec.template.spec.containers.app.resources.limits.cpu",
                "2",
                0,
                "/spec/template/spec/containers/0/resources/limits/cpu",
                Value::from(2),
            ),
            (
                "service.concurrency",
                "4",
                1,
                "/metadata/annotations/traffic.twin.kubercarbon.io~1concurrency",
                Value::from("4"),
            ),
            (
                "Service/web:metadata.annotations.\"a.b:c/d\"",
                "7",
                1,
                "/metadata/annotations/a.b:c~1d",
                Value::from("7"),
            ),
        ] {
            let mut read = changed(place, value).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(read.objects[object].pointer(pointer), Some(&found), "{place}");
            read.objects[object] = plain.objects[object].clone();
            assert_eq!((read.objects, read.fleet), (plain.objects.clone(), plain.fleet.clone()), "{place}");
        }
    }

    #[test]
    fn the_cluster_has_its_defaults_before_it_is_changed() {
        let group = |place: &str, value: &str| {
            changed(place, value).unwrap().fleet.clusters[0].node_groups[0].clone()
        };
        assert_eq!(group("nodegroup.type", "m6i.xlarge").instance_type.as_str(), "m6i.xlarge");
        assert_eq!(group("nodeGroups.general.type", "m6i.xlarge").count, 3);
        assert_eq!(group("nodeGroups[0].count", "7").count, 7);
        assert_eq!(group("nodeGroups.general.max", "7").limits.map(|limits| limits.max), Some(7));
        assert_eq!(changed("region", "eu-central-1").unwrap().fleet.clusters[0].grid_zone.as_str(), "DE");
    }

    #[test]
    fn a_pool_is_set_by_its_short_name_or_by_its_path() {
        let pool = "cluster: {karpenter: {nodePools: [{name: default, template: {spec: {requirements: [\
            {key: node.kubernetes.io/instance-type, operator: In, values: [m6i.large]}]}}}]}}\nobjects:";
        let text = TEXT.replacen("objects:", pool, 1);
        let read = |text: &str, place: &str, value: &str| {
            let change = Change { place: place.to_owned(), value: value.to_owned() };
            let read = parse_changed(text, &[change]).map_err(|error| error.to_string())?;
            Ok::<_, String>(read.fleet.clusters[0].karpenter.clone().unwrap().node_pools.remove(0))
        };
        let policy =
            |place: &str| read(&text, place, "WhenEmpty").map(|pool| pool.disruption.consolidation_policy);
        let expected = Ok(fleet::karpenter::ConsolidationPolicy::WhenEmpty);
        assert_eq!(policy("karpenter.consolidationPolicy"), expected);
        assert_eq!(policy("karpenter.nodePools.default.disruption.consolidationPolicy"), expected);
        let after = read(&text, "karpenter.consolidateAfter", "5m").unwrap().disruption.consolidate_after;
        assert_eq!(after, Some(fleet::Span::from_seconds(300)));
        let wrong = read(&text, "karpenter.consolidationPolicy", "Sometimes").unwrap_err();
        assert!(wrong.contains("Sometimes") && wrong.contains("WhenEmptyOrUnderutilized"), "{wrong}");
        let two = text.replace("nodePools: [", "nodePools: [{name: other}, ");
        let wrong = read(&two, "karpenter.consolidationPolicy", "WhenEmpty").unwrap_err();
        assert!(wrong.contains("2 node pools") && wrong.contains("other, default"), "{wrong}");
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is() {
        for (place, value, parts) in [
            ("hpa.target", "70", &["no HorizontalPodAutoscaler", "Deployment/web", "ConfigMap/b"][..]),
            ("Deployment/wep:spec.replicas", "5", &["no Deployment", "Deployment/web"]),
            (
                "Deployment/web:spec.replica",
                "5",
                &["no field spec.replica", "such as replicas, selector, template"],
            ),
            ("Deployment/web:spec.replicas", "many", &["\"many\"", "int32"]),
            ("Deployment/web:spec.template.spec.containers.ap.image", "x", &["\"ap\"", "one of app"]),
            ("Deployment/web:spec.replicas.x", "1", &["\"x\"", "2, which has no parts"]),
            ("ConfigMap:data.x", "1", &["2 of them", "ConfigMap/a:data.x"]),
            ("nodeGroups.generel.count", "1", &["\"generel\"", "one of general"]),
            (
                "nodeGroups.general.cuont",
                "1",
                &["cluster: unknown field `cuont`, expected one of", "count,", "maxPods"],
            ),
            ("clusterAutoscaler.expandr", "x", &["cluster: unknown field `expandr`", "expander"]),
            ("nodegroup.type", "m9.huge", &["cluster.nodeGroups[0].instanceType", "m9.huge"]),
            (
                "nodegruop.type",
                "m6i.large",
                &["no such place", "nodegroup.type", "nodeGroups", "Deployment/web"],
            ),
            ("karpenter.consolidationPolicy", "WhenEmpty", &["0 node pools", "with one of nothing"]),
            ("Deployment/web:", "1", &["no path"]),
            ("Deployment/web:spec..x", "1", &["no path"]),
        ] {
            let error = changed(place, value).err().unwrap_or_else(|| panic!("{place} was taken"));
            for part in parts {
                assert!(error.contains(part), "{place}: no {part:?} in {error}");
            }
        }
    }
}
