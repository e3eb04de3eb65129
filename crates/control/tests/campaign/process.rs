//! One process of the product: its loop, its watches and its clock. What it knows is gone with it.

use control::lease::{Elector, Leader, Now};
use control::twin_driver::observed;
use control::{Control, Event, Settings};
use fleet::{ClusterId, FleetSpec, Instant, Mode, Span};
use std::collections::BTreeMap;
use twin::random::Stream;
use twin::{ChangeKind, Kind, World};

/// The kinds a process watches, each by a watch of its own.
const KINDS: [Kind; 4] = [Kind::PriorityClass, Kind::Node, Kind::Job, Kind::Pod];

/// A watch of one kind of one cluster.
#[derive(Debug, Default)]
struct Watch {
    version: u64,
    /// Whether it has to list first.
    lists: bool,
    /// Uid by namespace and name of what has been told and not taken back.
    told: BTreeMap<(String, String), String>,
    /// What it told last comes at this instant: nothing overtakes it.
    told_until: Option<Instant>,
    cut_until: Option<Instant>,
}

/// One process.
#[derive(Debug)]
pub struct Process {
    pub name: String,
    pub control: Control,
    pub elector: Elector,
    /// Tells what comes for it from what came for the one before it.
    pub epoch: u32,
    /// How much its clock is ahead.
    pub skew: Span,
    /// Plans it had made when they were last looked at.
    pub plans: u64,
    /// Who it was last told to lead each cluster.
    pub told: BTreeMap<ClusterId, Leader>,
    watches: BTreeMap<(ClusterId, Kind), Watch>,
    synced: BTreeMap<ClusterId, bool>,
}

/// Something a process will be told.
pub type Told = (Instant, Event);

impl Process {
    pub fn new(name: &str, epoch: u32, fleet: &FleetSpec, settings: &Settings, skew: Span) -> Process {
        let mut elector = Elector::new(name.to_owned());
        let mut watches = BTreeMap::new();
        for spec in &fleet.clusters {
            elector.join(spec.id.clone(), format!("uid-of-{}", spec.id));
            for kind in KINDS {
                watches.insert((spec.id.clone(), kind), Watch { lists: true, ..Watch::default() });
            }
        }
        Process {
            name: name.to_owned(),
            control: Control::new(settings.clone()),
            elector,
            epoch,
            skew,
            plans: 0,
            told: BTreeMap::new(),
            watches,
            synced: fleet.clusters.iter().map(|spec| (spec.id.clone(), false)).collect(),
        }
    }

    /// What it takes the time to be.
    pub fn now(&self, world: Instant) -> Instant {
        world + self.skew
    }

    /// The same by the clocks of its Leases.
    pub fn lease_now(&self, world: Instant) -> Now {
        Now { slow: self.now(world), fast: self.now(world) }
    }

    /// What it is told first: the clusters.
    pub fn facts(&self, fleet: &FleetSpec) -> Vec<Event> {
        let facts = |spec| Event::Cluster(control::twin_driver::facts(spec, Mode::Auto));
        fleet.clusters.iter().map(facts).collect()
    }

    /// When it wants to be woken, in the world's time.
    pub fn next_timer(&self) -> Option<Instant> {
        Some(self.control.next_timer()? - self.skew)
    }

    /// Cuts the watches of a cluster until an instant; `compacted`: they have to list after it.
    pub fn cut(&mut self, cluster: &ClusterId, until: Instant, compacted: bool) {
        for ((id, _), watch) in &mut self.watches {
            if id == cluster {
                watch.cut_until = Some(watch.cut_until.map_or(until, |cut| cut.max(until)));
                watch.lists |= compacted;
            }
        }
    }

    /// What the watches of a cluster that answers bring now, after at most `lag` each.
    pub fn look(&mut self, world: &World, cluster: &ClusterId, lag: Span, stream: &mut Stream) -> Vec<Told> {
        let now = world.now();
        let mut told = Vec::new();
        let mut complete = true;
        let mut last = now;
        for kind in KINDS {
            let watch = self.watches.get_mut(&(cluster.clone(), kind)).expect("it watches every kind");
            if watch.cut_until.is_some_and(|until| until > now) {
                complete &= !watch.lists;
                continue;
            }
            watch.cut_until = None;
            let delay = Span::from_nanos(stream.below(lag.as_nanos().max(0) as u64 + 1) as i64);
            let at = watch.told_until.map_or(now + delay, |until| until.max(now + delay));
            let events = watch.catch_up(world, cluster, kind);
            if !events.is_empty() {
                watch.told_until = Some(at);
            }
            last = last.max(watch.told_until.unwrap_or(now));
            told.extend(events.into_iter().map(|event| (at, event)));
        }
        if complete && !std::mem::replace(self.synced.get_mut(cluster).expect("its own cluster"), true) {
            told.push((last, Event::Synced { cluster: cluster.clone() }));
        }
        told
    }
}

impl Watch {
    fn catch_up(&mut self, world: &World, cluster: &ClusterId, kind: Kind) -> Vec<Event> {
        let (Some(objects), Some(spec)) = (world.objects(cluster), world.spec(cluster)) else {
            return Vec::new();
        };
        let key = |object: &twin::Object| (object.namespace().to_owned(), object.name().to_owned());
        let mut events = Vec::new();
        match objects.changes_since(self.version) {
            Ok(changes) if !self.lists => {
                for change in changes.filter(|change| change.object.object.kind() == kind) {
                    let (object, gone) = (&change.object.object, change.kind == ChangeKind::Deleted);
                    match gone {
                        true => self.told.remove(&key(object)),
                        false => self.told.insert(key(object), object.uid().to_owned()),
                    };
                    events.extend(observed(cluster, spec, object, gone));
                }
            }
            _ => {
                let mut gone = std::mem::take(&mut self.told);
                for stored in objects.list(kind, None) {
                    let object = &stored.object;
                    let before = gone.remove(&key(object)).filter(|uid| *uid != object.uid());
                    events.extend(before.and_then(|uid| went(cluster, kind, &key(object), uid)));
                    self.told.insert(key(object), object.uid().to_owned());
                    events.extend(observed(cluster, spec, object, false));
                }
                events.extend(gone.into_iter().filter_map(|(key, uid)| went(cluster, kind, &key, uid)));
                self.lists = false;
            }
        }
        self.version = objects.version();
        events
    }
}

/// What a list says of something it no longer holds.
fn went(cluster: &ClusterId, kind: Kind, (namespace, name): &(String, String), uid: String) -> Option<Event> {
    let (cluster, namespace, name) = (cluster.clone(), namespace.clone(), name.clone());
    Some(match kind {
        Kind::Job => Event::JobGone { cluster, namespace, name, uid },
        Kind::Pod => Event::Pod { cluster, pod: format!("{namespace}/{name}").into(), now: None },
        Kind::Node => Event::Node { cluster, node: fleet::NodeName::new(&name).ok()?, now: None },
        _ => return None,
    })
}
