//! What can be seen of one pod, as lines of text.

use fleet::{ClusterId, Instant, Span};
use serde_json::Value;
use std::fmt::Write;
use twin::{Kind, World};

pub const NAMESPACE: &str = "default";
const SECOND: Span = Span::from_seconds(1);
/// Conditions shown by a letter.
const LETTERS: [(&str, char); 5] = [
    ("PodScheduled", 'S'),
    ("PodReadyToStartContainers", 'N'),
    ("Initialized", 'I'),
    ("ContainersReady", 'C'),
    ("Ready", 'R'),
];

#[derive(Default)]
pub struct Timeline {
    pub name: String,
    start: Instant,
    shown: String,
    /// Version of the newest event shown.
    told: u64,
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn state(status: &Value, key: &str) -> String {
    let state = &status[key];
    if let Some(waiting) = state.get("waiting") {
        return text(waiting, "/reason").to_owned();
    }
    if let Some(ended) = state.get("terminated") {
        return format!("{}({})", text(ended, "/reason"), ended["exitCode"]);
    }
    if state.get("running").is_some() { "running".to_owned() } else { String::new() }
}

fn container(status: &Value) -> String {
    let mut shown = format!("{}={}", text(status, "/name"), state(status, "state"));
    let flags = [("started", 's'), ("ready", 'r')];
    let flags: String = flags.iter().filter(|(key, _)| status[*key] == true).map(|(_, c)| *c).collect();
    if !flags.is_empty() {
        write!(shown, "+{flags}").unwrap();
    }
    let has = |pointer: &str| text(status, &format!("/resources/requests/{pointer}")).to_owned();
    if status.pointer("/resources/requests").is_some() {
        write!(shown, " {}cpu/{}", has("cpu"), has("memory")).unwrap();
    }
    if status["restartCount"] != 0 {
        write!(shown, " x{}", status["restartCount"]).unwrap();
    }
    let last = state(status, "lastState");
    if !last.is_empty() {
        write!(shown, " after {last}").unwrap();
    }
    shown
}

fn pod(pod: &Value) -> String {
    let mut shown = text(pod, "/status/phase").to_owned();
    if pod["metadata"].get("deletionTimestamp").is_some() {
        shown.push_str(" deleted");
    }
    let reason = text(pod, "/status/reason");
    if !reason.is_empty() {
        write!(shown, " {reason}").unwrap();
    }
    let holds =
        |kind: &str| list(pod, "/status/conditions").any(|c| c["type"] == kind && c["status"] == "True");
    let letters: String = LETTERS.iter().filter(|(kind, _)| holds(kind)).map(|(_, letter)| *letter).collect();
    write!(shown, " [{letters}]").unwrap();
    for condition in list(pod, "/status/conditions") {
        let kind = text(condition, "/type");
        let reason = text(condition, "/reason");
        let known = LETTERS.iter().any(|(letter, _)| *letter == kind);
        if !known || (kind == "Ready" && !reason.is_empty()) {
            write!(shown, " {}{kind}:{reason}", if condition["status"] == "True" { "" } else { "!" })
                .unwrap();
        }
    }
    let all = list(pod, "/status/initContainerStatuses").chain(list(pod, "/status/containerStatuses"));
    for status in all {
        write!(shown, " {}", container(status)).unwrap();
    }
    shown
}

impl Timeline {
    pub fn begin(&mut self, now: Instant, name: &str) {
        *self = Timeline { name: name.to_owned(), start: now, told: self.told, shown: String::new() };
    }
    /// Lets time pass; what changes in it.
    pub fn run(&mut self, world: &mut World, cluster: &ClusterId, span: Span) -> String {
        let (end, mut lines) = (world.now() + span, String::new());
        self.look(world, cluster, &mut lines);
        while world.now() < end {
            // Second by second, because events alone are no change that is waited for.
            let next = (world.now().floor_to(SECOND) + SECOND).min(end);
            while world.advance_until_change(next) {
                self.look(world, cluster, &mut lines);
            }
            self.look(world, cluster, &mut lines);
        }
        lines
    }
    fn look(&mut self, world: &World, cluster: &ClusterId, lines: &mut String) {
        let objects = world.objects(cluster).unwrap();
        let at = (world.now() - self.start).as_nanos() as f64 / 1e9;
        let found =
            objects.get(Kind::Pod, NAMESPACE, &self.name).map(|stored| pod(&stored.object.to_value()));
        let found = found.unwrap_or_else(|| "gone".to_owned());
        if found != self.shown {
            writeln!(lines, "{at:>4}s {found}").unwrap();
            self.shown = found;
        }
        let version = |e: &Value| text(e, "/metadata/resourceVersion").parse::<u64>().unwrap();
        let events = objects.list(Kind::Event, Some(NAMESPACE)).map(|stored| stored.object.to_value());
        let mut events: Vec<Value> = events.filter(|e| version(e) > self.told).collect();
        events.sort_by_key(version);
        for event in events {
            self.told = version(&event);
            if text(&event, "/involvedObject/name") != self.name {
                continue;
            }
            let field = text(&event, "/involvedObject/fieldPath");
            let of = field.rsplit_once('{').map(|(_, name)| name.trim_end_matches('}')).unwrap_or_default();
            let warning = if text(&event, "/type") == "Warning" { "!" } else { "" };
            let (reason, message) = (text(&event, "/reason"), text(&event, "/message"));
            let uid = text(&event, "/involvedObject/uid");
            let message = message.replace(uid, "UID");
            writeln!(lines, "{at:>4}s   {warning}{reason} {of}: {message}").unwrap();
        }
    }
}
