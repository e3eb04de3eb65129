//! The Jobs of a seed, and what their owners do to them while they are held, run or end.

use crate::faults::Swarm;
use fleet::{ClusterId, Instant, Span};
use serde_json::{Value, json};
use twin::Kind;
use twin::apiserver::{DeleteOptions, Options, PatchType, Propagation, Request, Verb};
use twin::random::Stream;

/// Jobs arrive within this time of the start.
const ARRIVALS: Span = Span::from_seconds(6 * 3600);
/// Most Jobs of a seed: together they fit in one cluster, so that want of room makes none late.
const JOBS_MAX: u64 = 6;

/// A Job as its owner wants it.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub at: Instant,
    pub home: ClusterId,
    pub name: String,
    pub document: Value,
    pub managed: bool,
    pub interruptible: bool,
    pub expected: Span,
    /// From its creation; `None`: no deadline.
    pub within: Option<Span>,
    pub succeeds: bool,
}

/// What an owner does.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Deletes the Job.
    Delete,
    /// Wants it done within so long of its creation.
    Within(Span),
    /// Sets `spec.suspend` by hand.
    Suspend(bool),
    /// Takes the placement label off.
    Unlabel,
    /// Takes our marks off: annotations, not the finalizer.
    Unmark,
    /// Deletes the copy by hand.
    DeleteCopy,
    /// Changes something in the spec that has nothing to do with us.
    Retries(i64),
}

fn request(verb: Verb, name: &str, body: Value) -> Request {
    let (namespace, name) = ("default".to_owned(), name.to_owned());
    Request { verb, kind: Kind::Job, namespace, name, subresource: None, body, options: Options::default() }
}

pub fn create(document: &Value) -> Request {
    request(Verb::Create, "", document.clone())
}

pub fn patch(name: &str, body: Value) -> Request {
    request(Verb::Patch(PatchType::Merge), name, body)
}

pub fn delete(name: &str) -> Request {
    let mut delete = request(Verb::Delete, name, Value::Null);
    delete.options.delete =
        DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    delete
}

/// The Jobs of a seed.
pub fn jobs(seed: u64, start: Instant, clusters: &[ClusterId]) -> Vec<Wanted> {
    let mut stream = Stream::new(seed, "campaign/jobs");
    let count = 2 + stream.below(JOBS_MAX - 1);
    (0..count).map(|i| wanted(&mut stream, i, start, clusters)).collect()
}

fn wanted(stream: &mut Stream, i: u64, start: Instant, clusters: &[ClusterId]) -> Wanted {
    let name = format!("job-{i}");
    let at = start + Span::from_seconds(stream.below(ARRIVALS.as_seconds() as u64) as i64);
    let home = clusters[stream.below(clusters.len() as u64) as usize].clone();
    let expected = Span::from_seconds(600 + stream.below(5400) as i64);
    let slack = Span::from_seconds(900 + stream.below(8 * 3600) as i64);
    let within = (stream.unit() < 0.85).then(|| expected.scaled(11, 10) + slack);
    let (managed, interruptible) = (stream.unit() < 0.75, stream.unit() < 0.25);
    let (pods, succeeds) = (1 + stream.below(3), stream.unit() < 0.9);
    let mut annotations = json!({"kubercarbon.io/expected-duration": format!("{}s", expected.as_seconds())});
    if let Some(within) = within {
        annotations["kubercarbon.io/finish-within"] = json!(format!("{}s", within.as_seconds()));
    }
    if interruptible {
        annotations["kubercarbon.io/interruptible"] = json!("true");
    }
    let exit = json!({"twin.kubercarbon.io/exit-code": if succeeds { "0" } else { "3" }});
    let requests = json!({"cpu": "900m", "memory": "1Gi"});
    let mut document = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "namespace": "default",
            "labels": {"kubercarbon.io/placement": "managed"}, "annotations": annotations},
        "spec": {
            "suspend": true, "backoffLimit": 0, "parallelism": pods, "completions": pods,
            "template": {
                "metadata": {"annotations": exit},
                "spec": {"restartPolicy": "Never", "containers": [
                    {"name": "work", "image": "busybox", "resources": {"requests": requests}}]},
            },
        },
    });
    if managed {
        document["spec"]["managedBy"] = json!("kubercarbon.io/fleet");
    }
    Wanted { at, home, name, document, managed, interruptible, expected, within, succeeds }
}

/// When an owner does what, to which Job by its number.
pub fn deeds(seed: u64, swarm: &Swarm, start: Instant, jobs: &[Wanted]) -> Vec<(Instant, usize, Deed)> {
    let mut stream = Stream::new(seed, "campaign/owners");
    let mut all = Vec::new();
    for _ in 0..swarm.owners {
        let number = stream.below(jobs.len() as u64) as usize;
        let job = &jobs[number];
        let at = job.at + Span::from_seconds(1 + stream.below(5 * 3600) as i64);
        let soon = Span::from_seconds(stream.below(10 * 3600) as i64);
        let deed = match stream.below(8) {
            0 => Deed::Delete,
            1 | 2 => Deed::Within((at - job.at) + job.expected.scaled(5, 4) + Span::from_seconds(600) + soon),
            3 => Deed::Suspend(stream.unit() < 0.5),
            4 if !job.managed => Deed::Unlabel,
            5 if job.managed => Deed::Unmark,
            6 if job.managed => Deed::DeleteCopy,
            _ => Deed::Retries(stream.below(3) as i64),
        };
        all.push((at.max(start), number, deed));
    }
    all
}
