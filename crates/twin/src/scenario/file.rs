//! The scenario file: YAML in, a checked [`Scenario`] out.

use super::fault::{self, FaultFile};
use super::{
    Action, Change, ENTRIES_MAX, Expectation, LENGTH_MAX, Patch, Recorded, Removal, Scenario, Step, Subject,
    Target, When, vary,
};
use crate::apiserver::selector::LabelSelector;
use crate::apiserver::{PatchType, Propagation, Subresource, check_static_pods};
use crate::drain::Flags;
use crate::kind::{Defined, Kind};
use crate::traffic::{STEPS_MAX, Trace};
use fleet::{Instant, Span};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a step does.
const ONE_OF: &str =
    "one of create, patch, delete, evict, scale, stopNode, shutDownNode, startNode, drain, fault";
const API_VERSION: &str = "kubercarbon.io/v1alpha1";
/// When a scenario begins that does not say.
const START: &str = "2026-05-01T09:00:00Z";
/// Most that the counts of a trace are multiplied by.
const SCALE_MAX: f64 = 1000.0;
/// Kinds whose states are shown where a scenario does not say.
const WATCH: [&str; 2] = ["Deployment", "Pod"];

/// What is wrong with a scenario file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too large to read.
    #[error("{found} bytes: expected at most {max}")]
    Size {
        /// Its size.
        found: usize,
        /// The largest read.
        max: usize,
    },
    /// Not YAML, or not of this shape; the text has line and column.
    #[error("{0}")]
    Shape(String),
    /// A field's value cannot be.
    #[error("{field}: {found}: expected {expected}")]
    Field {
        /// Its path, e.g. `steps[2].at`.
        field: String,
        /// What stood there.
        found: String,
        /// What would do.
        expected: String,
    },
}

pub(super) fn field(field: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> Error {
    Error::Field { field: field.into(), found: found.to_string(), expected: expected.into() }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    about: String,
    #[serde(default)]
    cluster: BTreeMap<String, Value>,
    #[serde(default)]
    start: Option<String>,
    #[serde(rename = "for")]
    length: String,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    watch: Vec<String>,
    #[serde(default)]
    objects: Vec<Value>,
    #[serde(default)]
    traces: Vec<TraceFile>,
    #[serde(default)]
    steps: Vec<StepFile>,
    expect: Vec<ExpectFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StepFile {
    at: String,
    #[serde(default)]
    create: Option<Value>,
    #[serde(default)]
    patch: Option<PatchFile>,
    #[serde(default)]
    delete: Option<DeleteFile>,
    #[serde(default)]
    evict: Option<TargetFile>,
    #[serde(default)]
    scale: Option<ScaleFile>,
    #[serde(default)]
    stop_node: Option<String>,
    #[serde(default)]
    shut_down_node: Option<String>,
    #[serde(default)]
    start_node: Option<String>,
    #[serde(default)]
    drain: Option<DrainFile>,
    #[serde(default)]
    fault: Option<FaultFile>,
    /// How long a fault lasts.
    #[serde(default, rename = "for")]
    lasts: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceFile {
    service: String,
    #[serde(default)]
    namespace: Option<String>,
    file: String,
    column: String,
    #[serde(default)]
    width: Option<String>,
    #[serde(default)]
    skip: usize,
    #[serde(default)]
    take: Option<usize>,
    #[serde(default)]
    scale: Option<f64>,
}

/// Named as `kubectl drain` names its flags.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DrainFile {
    node: String,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    ignore_daemonsets: bool,
    #[serde(default)]
    delete_emptydir_data: bool,
    #[serde(default)]
    disable_eviction: bool,
    #[serde(default)]
    grace_period: Option<u32>,
    #[serde(default)]
    timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetFile {
    kind: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    labels: Option<String>,
    #[serde(default)]
    nth: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteFile {
    kind: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    labels: Option<String>,
    #[serde(default)]
    nth: Option<usize>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    propagation: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchFile {
    kind: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    labels: Option<String>,
    #[serde(default)]
    nth: Option<usize>,
    #[serde(default, rename = "type")]
    patch_type: Option<String>,
    #[serde(default)]
    subresource: Option<String>,
    with: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaleFile {
    kind: String,
    #[serde(default)]
    namespace: Option<String>,
    name: String,
    to: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectFile {
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    traffic: Option<String>,
    #[serde(default)]
    queue: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    labels: Option<String>,
    #[serde(default)]
    is: BTreeMap<String, Value>,
    #[serde(default)]
    count: Option<Value>,
}

/// Reads a scenario.
///
/// # Errors
/// Where, what stood there, and what would do.
pub fn parse(text: &str) -> Result<Scenario, Error> {
    parse_changed(text, &[])
}

/// Reads a scenario in which something stands in the objects or the cluster instead of what is written.
///
/// # Errors
/// As of [`parse`]; of a change, its place, what is wrong with it and what there is.
pub fn parse_changed(text: &str, changes: &[Change]) -> Result<Scenario, Error> {
    let max = fleet::file::SIZE_MAX;
    if text.len() > max {
        return Err(Error::Size { found: text.len(), max });
    }
    let mut file: File = fleet::file::yaml(text).map_err(|error| Error::Shape(error.to_string()))?;
    for (name, found, expected) in
        [("apiVersion", &file.api_version, API_VERSION), ("kind", &file.kind, "Scenario")]
    {
        if found != expected {
            return Err(field(name, format!("{found:?}"), expected));
        }
    }
    for (name, found) in [
        ("objects", file.objects.len()),
        ("steps", file.steps.len()),
        ("expect", file.expect.len()),
        ("traces", file.traces.len()),
    ] {
        if found > ENTRIES_MAX {
            return Err(field(name, format!("{found} entries"), format!("at most {ENTRIES_MAX}")));
        }
    }
    let mut cluster = with_defaults(file.cluster);
    for change in changes {
        vary::apply(change, &mut file.objects, &mut cluster)?;
    }
    let defined = defined(&file.objects);
    let length = span("for", &file.length, LENGTH_MAX)?;
    let start = file.start.as_deref().unwrap_or(START);
    let start = Instant::parse(start)
        .map_err(|_| field("start", format!("{start:?}"), "a time such as 2026-05-01T09:00:00Z"))?;
    let watch: Vec<String> = if file.watch.is_empty() { WATCH.map(str::to_owned).into() } else { file.watch };
    let watch = watch.iter().enumerate().map(|(i, name)| kind(&format!("watch[{i}]"), name, &defined));
    let watch = watch.collect::<Result<_, _>>()?;
    let traces = file.traces.into_iter().enumerate().map(|(i, own)| recorded(&format!("traces[{i}]"), own));
    let steps = steps(file.steps, length, &defined)?;
    let expect = file
        .expect
        .into_iter()
        .enumerate()
        .map(|(i, own)| expectation(&format!("expect[{i}]"), own, length, &defined));
    Ok(Scenario {
        name: file.metadata.name,
        about: file.about.trim_end().to_owned(),
        fleet: fleet_of(&cluster)?,
        start,
        length,
        seed: file.seed.unwrap_or(1),
        carbon: None,
        watch,
        objects: file.objects,
        traces: traces.collect::<Result<_, _>>()?,
        steps,
        expect: expect.collect::<Result<_, _>>()?,
    })
}

fn recorded(path: &str, own: TraceFile) -> Result<Recorded, Error> {
    let width = own.width.as_deref().unwrap_or("1m");
    let width = span(&format!("{path}.width"), width, LENGTH_MAX)?;
    let scale = own.scale.unwrap_or(1.0);
    if !(0.001..=SCALE_MAX).contains(&scale) {
        return Err(field(format!("{path}.scale"), scale, format!("a factor from 0.001 to {SCALE_MAX}")));
    }
    let trace = Trace {
        column: own.column,
        width,
        skip: own.skip,
        take: own.take.unwrap_or(STEPS_MAX),
        scale_milli: (scale * 1000.0).round() as u64,
    };
    let namespace = own.namespace.unwrap_or_else(|| "default".to_owned());
    Ok(Recorded { file: own.file, namespace, service: own.service, trace, curve: None })
}

/// A cluster as in a fleet file, where all has a default.
fn with_defaults(stated: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let groups = json!([{"name": "general", "instanceType": "m6i.large", "count": 3}]);
    let defaults = [("name", json!("twin")), ("region", json!("ap-northeast-2")), ("nodeGroups", groups)];
    defaults.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(stated).collect()
}

/// A fleet of that one cluster.
fn fleet_of(cluster: &BTreeMap<String, Value>) -> Result<fleet::FleetSpec, Error> {
    let document = json!({"apiVersion": API_VERSION, "kind": "Fleet", "clusters": [cluster]});
    let fleet = fleet::file::parse_value(&document).map_err(|error| match error {
        fleet::file::Error::Field { field, found, expected } => {
            Error::Field { field: field.replacen("clusters[0]", "cluster", 1), found, expected }
        }
        other => Error::Shape(format!("cluster: {other}")),
    })?;
    check_static_pods(&fleet).map_err(|(place, why)| {
        Error::Shape(format!("{}: {why}", place.replacen("clusters[0]", "cluster", 1)))
    })?;
    Ok(fleet)
}

pub(super) fn span(path: &str, text: &str, max: Span) -> Result<Span, Error> {
    let read = Span::parse(text).ok().filter(|span| *span >= Span::ZERO && *span <= max);
    read.ok_or_else(|| {
        field(path, format!("{text:?}"), format!("a duration such as 90s or 5m, from 0s to {max}"))
    })
}

/// A kind, by its name.
fn kind(path: &str, name: &str, defined: &[Kind]) -> Result<Kind, Error> {
    // Events of the core group are those that are stored.
    let core = Kind::of_object("v1", name);
    let all = crate::kind::resources().iter();
    let all = all.map(|r| r.kind().stored()).chain(defined.iter().copied());
    let found = core.or_else(|| all.into_iter().find(|kind| kind.resource().name == name));
    let expected = "a kind of Kubernetes, such as Deployment, or one that an object defines";
    found.ok_or_else(|| field(path, format!("{name:?}"), expected))
}

/// The kinds that the objects of a scenario define.
fn defined(objects: &[Value]) -> Vec<Kind> {
    let definitions = objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition");
    definitions.filter_map(|object| Defined::read(&object["spec"]).stored()).collect()
}

fn target(path: &str, own: TargetFile, defined: &[Kind]) -> Result<Target, Error> {
    let kind = kind(&format!("{path}.kind"), &own.kind, defined)?;
    if own.name.is_some() && own.labels.is_some() {
        return Err(field(path, "name and labels", "one of them"));
    }
    let read = |text: String| {
        LabelSelector::parse(&text).map_err(|why| {
            field(format!("{path}.labels"), format!("{text:?}"), format!("a selector ({why})"))
        })
    };
    let namespace = if kind.resource().namespaced {
        own.namespace.unwrap_or_else(|| "default".to_owned())
    } else {
        String::new()
    };
    Ok(Target { kind, namespace, name: own.name, labels: own.labels.map(read).transpose()?, nth: own.nth })
}

/// The value that a word stands for, among those there are; the first where nothing is stated.
fn choice<T: Copy>(path: &str, stated: Option<&str>, all: &[(&str, T)]) -> Result<T, Error> {
    let found = all.iter().find(|(word, _)| stated.is_none_or(|stated| stated == *word));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
        field(path, format!("{:?}", stated.unwrap_or_default()), format!("one of {}", words.join(", ")))
    })
}

fn patch(path: &str, own: PatchFile, defined: &[Kind]) -> Result<Action, Error> {
    let PatchFile { kind, namespace, name, labels, nth, patch_type, subresource, with } = own;
    let types = [("merge", PatchType::Merge), ("strategic", PatchType::StrategicMerge)];
    let subresources =
        [("resize", Subresource::Resize), ("status", Subresource::Status), ("scale", Subresource::Scale)];
    let subresource =
        subresource.map(|text| choice(&format!("{path}.subresource"), Some(&text), &subresources));
    let patch = Patch {
        kind: choice(&format!("{path}.type"), patch_type.as_deref(), &types)?,
        subresource: subresource.transpose()?,
        with,
    };
    Ok(Action::Patch(
        target(path, TargetFile { kind, namespace, name, labels, nth }, defined)?,
        Box::new(patch),
    ))
}

fn delete(path: &str, own: DeleteFile, defined: &[Kind]) -> Result<Action, Error> {
    let DeleteFile { kind, namespace, name, labels, nth, force, propagation } = own;
    let all = [Propagation::Background, Propagation::Foreground, Propagation::Orphan];
    let words = ["Background", "Foreground", "Orphan"];
    let all: Vec<(&str, Propagation)> = words.into_iter().zip(all).collect();
    let propagation = propagation.map(|text| choice(&format!("{path}.propagation"), Some(&text), &all));
    let removal = Removal { force, propagation: propagation.transpose()? };
    Ok(Action::Delete(target(path, TargetFile { kind, namespace, name, labels, nth }, defined)?, removal))
}

fn drain(path: &str, own: DrainFile) -> Result<Action, Error> {
    let timeout = own.timeout.map(|text| span(&format!("{path}.timeout"), &text, LENGTH_MAX)).transpose()?;
    let flags = Flags {
        force: own.force,
        ignore_daemonsets: own.ignore_daemonsets,
        delete_emptydir_data: own.delete_emptydir_data,
        disable_eviction: own.disable_eviction,
        grace_period_seconds: own.grace_period,
        timeout: timeout.unwrap_or(Span::ZERO),
        ..Flags::default()
    };
    Ok(Action::Drain(own.node, Box::new(flags)))
}

/// All steps in the order in which they are stated, then the ends of faults.
fn steps(all: Vec<StepFile>, length: Span, defined: &[Kind]) -> Result<Vec<Step>, Error> {
    let (mut steps, mut ends) = (Vec::new(), Vec::new());
    for (i, mut own) in all.into_iter().enumerate() {
        let path = format!("steps[{i}]");
        let Some(fault) = own.fault.take() else {
            steps.push(step(&path, own, length, defined)?);
            continue;
        };
        let (at, lasts) = (span(&format!("{path}.at"), &own.at, length)?, own.lasts.take());
        let actions = actions(&path, own, defined)?;
        if !actions.is_empty() {
            return Err(field(path, format!("{} actions", actions.len() + 1), ONE_OF));
        }
        let (begin, end) = fault::steps(&path, fault, (at, lasts.as_deref()), length)?;
        steps.push(begin);
        ends.extend(end);
    }
    steps.append(&mut ends);
    Ok(steps)
}

fn actions(path: &str, own: StepFile, defined: &[Kind]) -> Result<Vec<Action>, Error> {
    let mut actions = Vec::new();
    actions.extend(own.create.map(|object| Action::Create(Box::new(object))));
    actions.extend(own.patch.map(|own| patch(&format!("{path}.patch"), own, defined)).transpose()?);
    actions.extend(own.delete.map(|own| delete(&format!("{path}.delete"), own, defined)).transpose()?);
    if let Some(own) = own.evict {
        actions.push(Action::Evict(target(&format!("{path}.evict"), own, defined)?));
    }
    if let Some(ScaleFile { kind, namespace, name, to }) = own.scale {
        let own = TargetFile { kind, namespace, name: Some(name), labels: None, nth: None };
        actions.push(Action::Scale(target(&format!("{path}.scale"), own, defined)?, to));
    }
    actions.extend(own.stop_node.map(Action::Stop));
    actions.extend(own.shut_down_node.map(Action::ShutDown));
    actions.extend(own.start_node.map(Action::Start));
    actions.extend(own.drain.map(|own| drain(&format!("{path}.drain"), own)).transpose()?);
    Ok(actions)
}

fn step(path: &str, own: StepFile, length: Span, defined: &[Kind]) -> Result<Step, Error> {
    let at = span(&format!("{path}.at"), &own.at, length)?;
    if let Some(lasts) = &own.lasts {
        return Err(field(format!("{path}.for"), format!("{lasts:?}"), "a fault beside it"));
    }
    match <[Action; 1]>::try_from(actions(path, own, defined)?) {
        Ok([action]) => Ok(Step { at, action }),
        Err(all) => Err(field(path, format!("{} actions", all.len()), ONE_OF)),
    }
}

fn expectation(path: &str, own: ExpectFile, length: Span, defined: &[Kind]) -> Result<Expectation, Error> {
    let time = |name: &str, text: &Option<String>| {
        text.as_deref().map(|text| span(&format!("{path}.{name}"), text, length)).transpose()
    };
    let times =
        (time("at", &own.at)?, time("by", &own.by)?, time("from", &own.from)?, time("until", &own.until)?);
    let (when, said) = match times {
        (Some(at), None, None, None) => (When::At(at), format!("at {at}")),
        (None, Some(by), None, None) => (When::By(by), format!("by {by}")),
        (None, None, Some(from), Some(until)) if from <= until => {
            (When::Throughout(from, until), format!("from {from} until {until}"))
        }
        _ => return Err(field(path, "its times", "at, or by, or from and until in this order")),
    };
    let stated: Vec<String> = own.is.iter().map(|(path, value)| format!("{path} {}", plain(value))).collect();
    let stated = format!("{}{}", if stated.is_empty() { "" } else { ": " }, stated.join(", "));
    let is = own.is.into_iter().collect();
    let namespace = || own.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let (subject, name) = match (&own.kind, own.traffic, own.queue) {
        (Some(_), None, None) => (None, String::new()),
        (None, Some(name), None) => {
            (Some(Subject::Traffic(namespace(), name.clone())), format!("traffic of {name}"))
        }
        (None, None, Some(name)) => {
            (Some(Subject::Queue(namespace(), name.clone())), format!("queue {name}"))
        }
        _ => return Err(field(path, "its subject", "one of kind, traffic (a Service) and queue")),
    };
    if let Some(subject) = subject {
        let text = format!("{said}: {name}{stated}");
        return Ok(Expectation { when, subject, is, least: 1, most: 1, text });
    }
    let kind = own.kind.unwrap_or_default();
    let named = own.name.is_some();
    let (least, most, count) = count(&format!("{path}.count"), own.count.as_ref(), named)?;
    let subject = match (&own.name, &own.labels) {
        (Some(name), _) => format!("{kind} {name}"),
        (None, Some(labels)) => format!("{count}{kind} with {labels}"),
        (None, None) => format!("{count}{kind}"),
    };
    let text = format!("{said}: {subject}{stated}");
    let target = TargetFile { kind, namespace: own.namespace, name: own.name, labels: own.labels, nth: None };
    let subject = Subject::Objects(self::target(path, target, defined)?);
    Ok(Expectation { when, subject, is, least, most, text })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// How many objects there have to be, and how the report says it.
fn count(path: &str, stated: Option<&Value>, named: bool) -> Result<(usize, usize, String), Error> {
    let wrong = |found: &Value| field(path, found, "a number, or a text such as \">=2\" or \"<=2\"");
    let number = |text: &str| text.trim().parse::<usize>().ok();
    match stated {
        None if named => Ok((1, usize::MAX, String::new())),
        None => Ok((1, usize::MAX, "a ".to_owned())),
        Some(found @ Value::Number(number)) => {
            let exact = number.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| wrong(found))?;
            Ok((exact, exact, format!("{exact} × ")))
        }
        Some(found @ Value::String(text)) => {
            let least = text.strip_prefix(">=").and_then(number).map(|n| (n, usize::MAX));
            let most = text.strip_prefix("<=").and_then(number).map(|n| (0, n));
            let (least, most) = least.or(most).ok_or_else(|| wrong(found))?;
            Ok((least, most, format!("{text} × ")))
        }
        Some(found) => Err(wrong(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubercarbon.io/v1alpha1\nkind: Scenario\nmetadata: {name: s}\nfor: 5m\n";

    fn wrong(rest: &str) -> String {
        parse(&format!("{HEAD}{rest}")).unwrap_err().to_string()
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let scenario = parse(&format!("{HEAD}expect: [{{at: 0s, kind: Node, count: 3}}]\n")).unwrap();
        assert_eq!(
            (scenario.length, scenario.seed, scenario.fleet.clusters.len()),
            (Span::from_seconds(300), 1, 1)
        );
        assert_eq!(scenario.expect[0].text, "at 0s: 3 × Node");
        assert_eq!(scenario.watch.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let late = wrong("expect: [{at: 6m, kind: Pod}]\n");
        assert_eq!(late, "expect[0].at: \"6m\": expected a duration such as 90s or 5m, from 0s to 5m");
        let shape = wrong("expect:\n- {at: 0s, kind: Pod, whoops: 1}\n");
        assert!(shape.contains("whoops") && shape.contains("line 6"), "{shape}");
        let twice = wrong("steps: [{at: 0s, stopNode: a, startNode: b}]\nexpect: []\n");
        assert_eq!(
            twice,
            "steps[0]: 2 actions: expected one of create, patch, delete, evict, scale, stopNode, shutDownNode, startNode, drain, fault"
        );
        assert_eq!(
            wrong("steps: [{at: 0s, delete: {kind: Pod, name: a, propagation: Later}}]\nexpect: []\n"),
            "steps[0].delete.propagation: \"Later\": expected one of Background, Foreground, Orphan"
        );
        assert_eq!(
            wrong("steps: [{at: 0s, drain: {node: a, timeout: soon}}]\nexpect: []\n"),
            "steps[0].drain.timeout: \"soon\": expected a duration such as 90s or 5m, from 0s to 30d"
        );
        assert!(wrong("watch: [Gadget]\nexpect: []\n").starts_with("watch[0]: \"Gadget\": expected a kind"));
        assert!(
            wrong("expect: [{kind: Pod, at: 0s, by: 1s}]\n").starts_with("expect[0]: its times: expected")
        );
        assert!(
            wrong("expect: [{kind: Pod, at: 0s, count: many}]\n").starts_with("expect[0].count: \"many\"")
        );
        assert!(wrong("cluster: {region: atlantis}\nexpect: []\n").starts_with("cluster.region"));
        let kind =
            parse("apiVersion: v1\nkind: Scenario\nmetadata: {name: s}\nfor: 5m\nexpect: []\n").unwrap_err();
        assert_eq!(kind.to_string(), "apiVersion: \"v1\": expected kubercarbon.io/v1alpha1");
    }
}
