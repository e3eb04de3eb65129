//! Carries effects out directly on a [`twin::World`], in virtual time: simulation and rehearsal.
//!
//! Invariant: time advances at most to the next timer of `Control` or the next change of an object,
//! and not before every earlier event has been handled and every call answered. So no round trip makes
//! anything late, and the guard is exact.

use crate::effect::{ApiCall, Effect, EffectId};
use crate::event::{ClusterFacts, Event, Failure, JobVersion, Outcome};
use crate::needs::{self, Need, NeedKind};
use crate::observe;
use crate::state::{Control, Settings};
use fleet::{ClusterId, ClusterSpec, FleetSpec, Instant, Mode, NodeGroup, NodeName, NodeRates};
use k8s_openapi::api::batch::v1::Job;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use twin::apiserver::{DeleteOptions, Options, PatchType, Propagation, Request, Subresource, Verb};
use twin::{Change, ChangeKind, Kind, Object, World};

/// Rounds of events and answers within one instant; more means that control and twin chase each other.
const ROUNDS_MAX: u32 = 10_000;

/// A world, the loop that runs it, and what the loop wrote down.
#[derive(Debug)]
pub struct TwinDriver {
    /// The world.
    pub world: World,
    /// The loop.
    pub control: Control,
    /// Ledger lines, first of each id, in the order they came.
    pub ledger: Vec<ledger::Entry>,
    /// Lines of clusters' hours, in the order they came, where [`TwinDriver::keep_usage`] says so.
    pub usage: Vec<ledger::usage::HourLine>,
    /// Whether those are kept: months of them are many.
    pub keep_usage: bool,
    /// Calls carried out so far.
    pub calls: u64,
    ids: std::collections::BTreeSet<String>,
    seen: BTreeMap<ClusterId, u64>,
    answers: VecDeque<Event>,
}

/// The facts of a cluster of the fleet file.
pub fn facts(spec: &ClusterSpec, mode: Mode) -> ClusterFacts {
    ClusterFacts {
        id: spec.id.clone(),
        region: spec.region.clone(),
        grid_zone: spec.grid_zone.clone(),
        pue_milli: spec.pue_milli,
        labels: spec.selector_labels(),
        mode,
        context: spec.id.to_string(),
        uid: None,
    }
}

/// Settings a fleet file gives.
pub fn settings(fleet: &FleetSpec) -> Settings {
    Settings {
        policy: fleet.policy,
        transfer_price_per_gb: fleet.transfer_price_per_gb,
        transfer_kwh_per_gb: fleet.transfer_kwh_per_gb,
        currency: fleet.currency.clone(),
        ..Settings::default()
    }
}

/// Power, price and embodied emissions of a node by its group in the fleet file.
pub fn known_rates(spec: &ClusterSpec, node: &str) -> Option<NodeRates> {
    // One group's name may begin with another's: `general`, `general-spot`.
    let numbered = |group: &NodeGroup| {
        let number = node.strip_prefix(&format!("{}-{}-", spec.id, group.name));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let group = spec.groups().find(|group| numbered(group))?;
    let NodeGroup { power, price, embodied, rates_from: from, .. } = *group;
    Some(NodeRates { power, price, embodied, from })
}

/// The API request a call that writes comes to; of one that reads, namespace and name of the Job.
fn request(call: ApiCall) -> Result<Request, (String, String)> {
    // Without a name as field manager: nobody asks these twins who owns which field, and to keep it takes time.
    let options = Options::default();
    let blank = Request {
        verb: Verb::Create,
        kind: Kind::Job,
        namespace: String::new(),
        name: String::new(),
        subresource: None,
        body: serde_json::Value::Null,
        options,
    };
    Ok(match call {
        ApiCall::CreateJob { job, dry_run } => Request {
            namespace: job.metadata.namespace.clone().unwrap_or_default(),
            body: Object::Job(job).to_value(),
            options: Options { dry_run, ..blank.options.clone() },
            ..blank
        },
        ApiCall::PatchJob { namespace, name, patch, status } => Request {
            verb: Verb::Patch(PatchType::Merge),
            namespace,
            name,
            subresource: status.then_some(Subresource::Status),
            body: patch,
            ..blank
        },
        ApiCall::DeleteJob { namespace, name, uid } => Request {
            verb: Verb::Delete,
            namespace,
            name,
            options: Options {
                delete: DeleteOptions {
                    propagation: Some(Propagation::Background),
                    uid: Some(uid),
                    ..DeleteOptions::default()
                },
                ..blank.options.clone()
            },
            ..blank
        },
        ApiCall::ReadJob { namespace, name } => return Err((namespace, name)),
        ApiCall::CreateEvent { event } => Request {
            kind: Kind::Event,
            namespace: event.metadata.namespace.clone().unwrap_or_default(),
            body: Object::Event(event).to_value(),
            ..blank
        },
    })
}

impl TwinDriver {
    /// A loop over the world's clusters, all in mode `auto`. Intensities come by [`TwinDriver::tell`].
    pub fn new(world: World, settings: Settings) -> TwinDriver {
        let mut driver = TwinDriver {
            control: Control::new(settings),
            ledger: Vec::new(),
            usage: Vec::new(),
            keep_usage: false,
            calls: 0,
            ids: std::collections::BTreeSet::new(),
            seen: BTreeMap::new(),
            answers: VecDeque::new(),
            world,
        };
        let ids: Vec<ClusterId> = driver.world.clusters().cloned().collect();
        for id in ids {
            let Some(spec) = driver.world.spec(&id) else { continue };
            let facts = facts(spec, Mode::Auto);
            driver.seen.insert(id.clone(), 0);
            driver.answers.push_back(Event::Cluster(facts));
        }
        driver
    }

    /// Tells the loop something from outside, e.g. a signal or an order.
    pub fn tell(&mut self, event: Event) {
        self.answers.push_back(event);
    }

    /// Says that the first look at every cluster is complete; call once, after the first signals.
    pub fn begin(&mut self) {
        self.look(true);
        for cluster in self.seen.keys() {
            self.answers.push_back(Event::Synced { cluster: cluster.clone() });
        }
        self.settle();
    }

    /// Lets time pass until `end`.
    pub fn run_until(&mut self, end: Instant) {
        self.settle();
        while self.world.now() < end {
            let timer = self.control.next_timer().unwrap_or(Instant::FAR_FUTURE);
            self.world.advance_until_change(timer.min(end));
            self.settle();
        }
    }

    /// Handles everything up to the present instant, until nothing more follows from it.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.look(false);
            let events: Vec<Event> = self.answers.drain(..).collect();
            let quiet = events.is_empty();
            let effects = self.control.step(self.world.now(), events);
            if quiet && effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
        unreachable!("control and twin chase each other at {}: a broken invariant", self.world.now());
    }

    /// Turns what changed in the clusters since the last look into events; `all`: the first look.
    fn look(&mut self, all: bool) {
        for (id, seen) in &mut self.seen {
            let (Some(objects), Some(spec)) = (self.world.objects(id), self.world.spec(id)) else { continue };
            match objects.changes_since(*seen) {
                Ok(changes) if !all => {
                    self.answers.extend(changes.filter_map(|change| observed_change(id, spec, change)));
                }
                // Further behind than the history, or the first look: take everything there is.
                _ => {
                    for kind in [Kind::PriorityClass, Kind::Node, Kind::Job, Kind::Pod] {
                        let there = objects.list(kind, None);
                        self.answers.extend(there.filter_map(|o| observed(id, spec, &o.object, false)));
                    }
                }
            }
            *seen = objects.version();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Call { id, cluster, call } => {
                self.calls += 1;
                let result = carry_out(&mut self.world, &cluster, call);
                self.answers.push_back(Event::Done { effect: EffectId(id.0), result });
            }
            Effect::Ledger(entry) => {
                if self.ids.insert(entry.id.clone()) {
                    self.ledger.push(*entry);
                }
            }
            Effect::Usage(line) if self.keep_usage => self.usage.push(*line),
            Effect::Usage(_) | Effect::Record(_) => {}
        }
    }
}

/// What the pods of a Job need and a cluster away from its home has not, of the kinds a twin has.
fn missing(world: &World, cluster: &ClusterId, job: &Job) -> Option<Failure> {
    let objects = world.objects(cluster)?;
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let there = |need: &Need| match need.kind {
        NeedKind::ConfigMap => objects.get(Kind::ConfigMap, namespace, &need.name).is_some(),
        NeedKind::Secret | NeedKind::ServiceAccount | NeedKind::PersistentVolumeClaim => true,
    };
    let missing = needs::of_copy(cluster, job).into_iter().find(|need| !there(need))?;
    let message = format!("namespace {namespace:?} has no {missing} there, which its pods need");
    Some(Failure::Refused { code: 404, reason: "NotFound".to_owned(), message })
}

/// A Job as it is in the world; 404 where it is not.
fn read(world: &World, cluster: &ClusterId, namespace: &str, name: &str) -> Result<Outcome, Failure> {
    let found = world.objects(cluster).and_then(|objects| objects.get(Kind::Job, namespace, name));
    let missing = || {
        let message = format!("jobs.batch \"{name}\" not found");
        Failure::Refused { code: 404, reason: "NotFound".to_owned(), message }
    };
    found.ok_or_else(missing).and_then(|stored| outcome(&stored.object))
}

/// A Job as the loop is told of it.
fn outcome(object: &Object) -> Result<Outcome, Failure> {
    match object {
        Object::Job(job) => Ok(Outcome::Job(JobVersion { job: Arc::new((**job).clone().into()) })),
        other => {
            let message = format!("{}: expected a Job", other.name());
            Err(Failure::Unanswered { message })
        }
    }
}

/// Carries out a call on the world at its present instant, as the crate `connect` does over the API: a copy that
/// is there already and is ours counts as created, a Job that is gone as deleted.
///
/// # Errors
/// [`Failure::Refused`] in the API's words.
pub fn carry_out(world: &mut World, cluster: &ClusterId, call: ApiCall) -> Result<Outcome, Failure> {
    let created = match &call {
        ApiCall::CreateJob { job, dry_run: true } => {
            if let Some(missing) = missing(world, cluster, job) {
                return Err(missing);
            }
            None
        }
        ApiCall::CreateJob { job, .. } => Some(job.metadata.clone()),
        _ => None,
    };
    let answers_job = created.is_some() || matches!(call, ApiCall::PatchJob { .. });
    let deletes = matches!(call, ApiCall::DeleteJob { .. });
    let request = match request(call) {
        Ok(request) => request,
        Err((namespace, name)) => return read(world, cluster, &namespace, &name),
    };
    match world.request(cluster, &request) {
        // A write that took off the last finalizer of a deleted Job has left nothing to read: then the answer tells.
        Ok(response) if answers_job => {
            let unreadable = |e| Failure::Unanswered { message: format!("read the answer: {e}") };
            let written = response.body.object(Kind::Job).map_err(unreadable)?;
            read(world, cluster, written.namespace(), written.name()).or_else(|_| outcome(&written))
        }
        Ok(_) => Ok(Outcome::Done),
        Err(status) if deletes && matches!(status.code, 404 | 409) => Ok(Outcome::Done),
        Err(status) => {
            if let Some(meta) = created.filter(|_| status.reason == "AlreadyExists")
                && let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name)
                && let Ok(Outcome::Job(there)) = read(world, cluster, namespace, name)
                && crate::jobs::label(&there.job, crate::ORIGIN_UID_LABEL)
                    == meta
                        .labels
                        .as_ref()
                        .and_then(|all| all.get(crate::ORIGIN_UID_LABEL))
                        .map(String::as_str)
            {
                return Ok(Outcome::Job(there));
            }
            Err(Failure::Refused { code: status.code, reason: status.reason, message: status.message })
        }
    }
}

fn observed_change(cluster: &ClusterId, spec: &ClusterSpec, change: &Change) -> Option<Event> {
    observed(cluster, spec, &change.object.object, change.kind == ChangeKind::Deleted)
}

/// The event an object's state comes to; `None` for kinds the loop does not follow.
pub fn observed(cluster: &ClusterId, spec: &ClusterSpec, object: &Object, gone: bool) -> Option<Event> {
    let cluster = cluster.clone();
    Some(match object {
        Object::Node(node) => Event::Node {
            node: NodeName::new(object.name()).ok()?,
            now: (!gone).then(|| observe::node(node, known_rates(spec, object.name()))),
            cluster,
        },
        Object::Pod(pod) => Event::Pod {
            pod: format!("{}/{}", object.namespace(), object.name()).into(),
            now: (!gone).then(|| observe::pod(pod)),
            cluster,
        },
        Object::Job(_) if gone => Event::JobGone {
            cluster,
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
        },
        Object::Job(job) => Event::Job { cluster, job: Arc::new((**job).clone().into()) },
        Object::PriorityClass(class) => {
            Event::Priority { cluster, class: object.name().to_owned(), value: class.value.filter(|_| !gone) }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_of_the_group_that_numbers_it() {
        let text = "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  nodeGroups:\n  \
            - {name: general, instanceType: m6i.large, count: 1}\n  \
            - {name: general-2, instanceType: m6i.xlarge, count: 1, min: 0, max: 9, spot: {}}\n";
        let fleet = fleet::file::parse(text).expect("it is well formed");
        let spec = &fleet.clusters[0];
        let price = |node: &str| known_rates(spec, node).map(|rates| rates.price);
        assert_eq!(price("kr-general-7"), Some(spec.node_groups[0].price));
        assert_eq!(price("kr-general-2-31"), Some(spec.node_groups[1].price));
        assert_eq!((price("kr-general-"), price("kr-other-1"), price("jp-general-1")), (None, None, None));
    }
}
