//! [`Control`]: its state and its step.

use crate::books::Recent;
use crate::clusters::{Cluster, Signal};
use crate::copies::Copies;
use crate::distances::Distances;
use crate::effect::{ApiCall, Effect, EffectId, Record};
use crate::event::{Event, Failure, NodeObservation, Order, Outcome};
use crate::expect;
use crate::inventory::Inventory;
use crate::job::Job;
use crate::jobs::{self, Style, Tracked};
use crate::learnt::Learnt;
use crate::notices::Tone;
use crate::planning::{Haste, says_more};
use crate::shared::Shared;
use crate::timers::Timers;
use fleet::{ClusterId, Instant, JobKey, Mode, NodeName, Policy, Resources, SignalKind, Span, Workload};
use planner::arrivals::Arrivals;
use planner::placement::{Effort, Schedule};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What `Control` is configured with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Placement policy.
    pub policy: Policy,
    /// Least time between two plans when nothing urgent happened; arrivals are planned at once.
    pub plan_interval: Span,
    /// Work spent on a plan.
    pub effort: Effort,
    /// Money per GB moved between clusters.
    pub transfer_price_per_gb: f64,
    /// Energy per GB moved, kWh: (within 5,000 km, farther).
    pub transfer_kwh_per_gb: (f64, f64),
    /// ISO 4217 code of every price.
    pub currency: String,
    /// Share of a cluster's free resources that is promised, in per cent: pods come in whole pieces, and
    /// what is left over on single nodes adds up. 85 leaves about one core of an eight-core node.
    pub packing_percent: i64,
    /// A planned end stays this far from the deadline (at most a quarter of the slack), so that a start
    /// that finds no room can still be moved; of Jobs that take much of a node or cluster farther.
    pub plan_margin: Span,
    /// Where the clock is the wall's: after so long without a step nobody looked (the machine slept), and what clusters did
    /// meanwhile is not counted. `None`: time passes only from step to step.
    pub unseen_after: Option<Span>,
    /// Whether a cluster may be written to only by who holds its Lease ([`crate::lease`]).
    pub leases: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            policy: Policy::default(),
            plan_interval: Span::from_seconds(300),
            effort: Effort::default(),
            transfer_price_per_gb: 0.02,
            transfer_kwh_per_gb: (0.0025, 0.0075),
            currency: "USD".to_owned(),
            packing_percent: 85,
            plan_margin: Span::from_seconds(900),
            unseen_after: None,
            leases: false,
        }
    }
}

/// How long a request whose answer never came may still be carried out: an API server ends one after 60 s, and a
/// clock may be a little off.
const REQUEST_LASTS: Span = Span::from_seconds(90);

/// Most that a cluster's clock is believed to be ahead: the guard starts Jobs so much earlier then.
const BEHIND_MAX: Span = Span::from_seconds(600);

/// Lines of an earlier run that are remembered at most: more than there are finished Jobs in most fleets.
const SAVED_MAX: usize = 50_000;

/// Where a copy of ours is.
pub(crate) type CopyKey = (ClusterId, String, String);

/// What an effect under way was for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    DryRun(JobKey, ClusterId),
    Create(JobKey, ClusterId),
    Patch(JobKey),
    DeleteCopy(JobKey),
    /// Its original is read anew.
    Confirm(CopyKey),
    Sweep(CopyKey),
    Tell(JobKey, u64),
}

/// The whole state of the loop.
#[derive(Debug)]
pub struct Control {
    pub(crate) settings: Settings,
    pub(crate) now: Instant,
    /// By how much `now` was behind a cluster's clock at least, as far as was ever seen.
    pub(crate) behind: Span,
    pub(crate) clusters: BTreeMap<ClusterId, Cluster>,
    /// Of their regions.
    pub(crate) distances: Distances,
    /// What they have beside nodes, pods and Jobs.
    pub(crate) inventories: BTreeMap<ClusterId, Inventory>,
    /// The mode a person ordered: it holds for clusters that come later too, as far as theirs goes.
    pub(crate) ordered: Option<Mode>,
    pub(crate) jobs: BTreeMap<JobKey, Tracked>,
    /// Those of them that have not finished: plans are about these, however many have.
    pub(crate) open: BTreeSet<JobKey>,
    pub(crate) copies: Copies,
    /// Specs of Jobs, as texts that those of one template have in common.
    texts: Shared<str>,
    pub(crate) priorities: BTreeMap<(ClusterId, String), i32>,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) learnt: Learnt,
    /// What Jobs saved by the ledger of an earlier run of the process, by the line's id: if the word on the Job was lost,
    /// it is said again.
    pub(crate) saved_before: BTreeMap<String, fleet::GramsCo2>,
    pub(crate) arrivals: Arrivals<Workload>,
    /// Room is scarce as of the last plan: no Job is deferred for carbon.
    pub(crate) scarce: bool,
    /// How much of the work thought to come plans left out.
    pub(crate) crowded_out: crate::planning::CrowdedOut,
    pub(crate) under_way: BTreeMap<EffectId, Purpose>,
    pub(crate) sweeping: BTreeMap<CopyKey, Instant>,
    /// Jobs whose next step must be decided anew.
    pub(crate) dirty: BTreeSet<JobKey>,
    /// When each Job wants to be looked at although nothing happens.
    pub(crate) timers: Timers,
    /// Jobs that start as soon as there is room for them.
    pub(crate) waiting_for_room: BTreeMap<JobKey, Option<ClusterId>>,
    /// Home Jobs by cluster and uid, to find the original of a copy.
    pub(crate) by_uid: BTreeMap<(ClusterId, String), JobKey>,
    /// A plan is wanted, and how soon.
    pub(crate) plan_wanted: Option<Haste>,
    pub(crate) planned_at: Option<Instant>,
    /// Plans made so far.
    pub(crate) plans: u64,
    pub(crate) next_effect: u64,
    /// Hours' lines of an earlier process, until their clusters come.
    pub(crate) recalled: BTreeMap<ClusterId, Vec<ledger::usage::HourEntry>>,
    /// Lines of Jobs that may yet be corrected.
    pub(crate) recent: Recent,
    pub(crate) out: Vec<Effect>,
}

impl Control {
    /// Nothing known yet.
    pub fn new(settings: Settings) -> Control {
        Control {
            settings,
            now: Instant::EPOCH,
            behind: Span::ZERO,
            clusters: BTreeMap::new(),
            distances: Distances::default(),
            inventories: BTreeMap::new(),
            ordered: None,
            jobs: BTreeMap::new(),
            open: BTreeSet::new(),
            copies: Copies::default(),
            texts: Shared::default(),
            priorities: BTreeMap::new(),
            schedule: None,
            learnt: Learnt::default(),
            saved_before: BTreeMap::new(),
            arrivals: expect::none(),
            scarce: false,
            crowded_out: crate::planning::CrowdedOut::default(),
            under_way: BTreeMap::new(),
            sweeping: BTreeMap::new(),
            dirty: BTreeSet::new(),
            timers: Timers::default(),
            waiting_for_room: BTreeMap::new(),
            by_uid: BTreeMap::new(),
            plan_wanted: None,
            planned_at: None,
            plans: 0,
            next_effect: 0,
            recalled: BTreeMap::new(),
            recent: Recent::default(),
            out: Vec::new(),
        }
    }

    /// Takes in what happened up to `now` and says what is to be done. Time never goes back: an
    /// earlier `now` counts as the latest one seen.
    pub fn step(&mut self, now: Instant, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        let before = self.now;
        self.now = self.now.max(now);
        self.keep_books(before);
        for event in events {
            self.take_in(event);
        }
        self.dirty.extend(self.timers.due(self.now));
        self.plan_if_due();
        self.reconcile_dirty();
        std::mem::take(&mut self.out)
    }

    /// Effects whose answers are still awaited.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Plans made so far.
    pub fn plans(&self) -> u64 {
        self.plans
    }

    /// Teaches durations of earlier runs, and what they saved, from the ledger, after a restart.
    pub fn remember(&mut self, entry: &ledger::Entry) {
        if self.saved_before.len() >= SAVED_MAX {
            self.saved_before.pop_first();
        }
        self.saved_before.insert(entry.id.clone(), entry.saved_carbon());
        self.learnt.take_in_entry(entry);
        self.recent.take_in(entry);
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Cluster(mut facts) => {
                facts.mode = self.ordered.map_or(facts.mode, |ordered| ordered.min(facts.mode));
                let (id, now) = (facts.id.clone(), self.now);
                self.distances.learn(&facts.region);
                let fresh = Cluster::new(facts.clone(), now, self.settings.policy.embodied);
                self.clusters.entry(id.clone()).or_insert(fresh).set_facts(facts);
                self.give_back(&id);
                self.copies.suspect_all();
            }
            Event::Reachable { cluster, reachable } => {
                let now = self.now;
                if let Some(c) = self.clusters.get_mut(&cluster) {
                    c.answers(reachable, now);
                    self.want_plan(true);
                    self.look_at_all();
                }
            }
            Event::Synced { cluster } => {
                if let Some(c) = self.clusters.get_mut(&cluster) {
                    c.lists_complete();
                    self.want_plan(true);
                    self.look_at_all();
                }
            }
            Event::Leading { cluster, leader } => self.take_in_leader(&cluster, leader),
            Event::Node { cluster, node, now } => self.take_in_node(&cluster, node, now),
            Event::Pod { cluster, pod, now } => self.take_in_pod(&cluster, pod, now),
            Event::Job { cluster, job } => self.take_in_job(&cluster, job),
            Event::JobGone { cluster, namespace, name, uid } => {
                self.forget_job(&cluster, &namespace, &name, &uid)
            }
            Event::Priority { cluster, class, value } => self.take_in_priority(cluster, class, value),
            Event::Intensity { zone, actual, actual_from, forecast, forecast_from } => {
                let now = self.now;
                // A stand-in says nothing of the weather: how far off it is, no past of its own tells.
                let learnt = forecast_from.kind != SignalKind::Assumed;
                let spread = if learnt { planner::forecast::spread(&actual, now) } else { None };
                let signal = Signal { actual, actual_from, forecast, forecast_from, spread };
                let mut of_zone = self.clusters.values().filter(|c| c.facts.grid_zone == zone);
                let news = of_zone.any(|c| {
                    let before = c.signal.as_ref();
                    before.is_none_or(|before| says_more(&before.forecast, &signal.forecast, now))
                });
                let first = self.clusters.values().any(|c| c.facts.grid_zone == zone && c.signal.is_none());
                let mut corrected = false;
                // What flowed up to now was counted under the old series, in `keep_books`.
                for c in self.clusters.values_mut().filter(|c| c.facts.grid_zone == zone) {
                    corrected |= c.signal.as_ref().is_none_or(|known| known.actual != signal.actual);
                    c.set_signal(signal.clone());
                }
                if corrected {
                    self.correct(&zone, first);
                }
                self.want(if news { Haste::Prompt } else { Haste::Regular });
            }
            Event::Usage { cluster, report } => {
                self.on_cluster(&cluster, |c| c.take_usage(report));
            }
            // Nothing waits for it: the next plan knows.
            Event::RoundTrip { cluster, trip } => self.distances.measured(&cluster, trip),
            Event::Inventory { cluster, kind, told } => {
                self.inventories.entry(cluster).or_default().take_in(kind, told);
            }
            Event::Done { effect, result } => self.take_in_answer(effect, result),
            Event::Order(order) => self.take_in_order(&order),
        }
    }

    fn take_in_leader(&mut self, cluster: &ClusterId, leader: crate::lease::Leader) {
        let now = self.now;
        if let Some(c) = self.clusters.get_mut(cluster) {
            c.led_by(leader, now);
            self.look_at_all();
        }
    }

    /// Changes a cluster. Its account has come up to now already, in `keep_books`.
    fn on_cluster<T>(&mut self, cluster: &ClusterId, change: impl FnOnce(&mut Cluster) -> T) -> Option<T> {
        self.clusters.get_mut(cluster).map(change)
    }

    fn take_in_node(&mut self, cluster: &ClusterId, node: NodeName, now: Option<NodeObservation>) {
        let takes_pods = |n: &NodeObservation| n.ready && n.schedulable;
        let lost = self.on_cluster(cluster, |c| {
            let after = now.as_ref().is_some_and(takes_pods);
            let before = c.nodes.get(&node).is_some_and(takes_pods);
            c.see_node(node, now);
            before && !after
        });
        self.want(if lost == Some(true) { Haste::Prompt } else { Haste::Regular });
    }

    /// Classes may be listed after the Jobs that name them.
    fn take_in_priority(&mut self, cluster: ClusterId, class: String, value: Option<i32>) {
        let names =
            |t: &&Tracked| t.key.cluster == cluster && jobs::priority_class(&t.job) == Some(class.as_str());
        let named: Vec<JobKey> = self.jobs.values().filter(names).map(|t| t.key.clone()).collect();
        match value {
            Some(value) => self.priorities.insert((cluster, class), value),
            None => self.priorities.remove(&(cluster, class)),
        };
        for key in named {
            self.reread_contract(&key);
            self.want_plan(false);
        }
    }

    fn take_in_pod(&mut self, cluster: &ClusterId, pod: Arc<str>, now: Option<crate::PodObservation>) {
        let gone = now.as_ref().is_none_or(|seen| !seen.active);
        // Only other people's pods change what may be promised.
        if self.on_cluster(cluster, |c| c.see_pod(pod, now)) == Some(true) {
            self.want_plan(false);
        }
        if gone {
            self.dirty.extend(self.waiting_for_room.keys().cloned());
        }
    }

    /// Every Job's next step is decided anew.
    pub(crate) fn look_at_all(&mut self) {
        self.dirty.extend(self.jobs.keys().cloned());
        self.copies.suspect_all();
    }

    /// Asks for a plan: at once, or with the next regular one.
    pub(crate) fn want_plan(&mut self, at_once: bool) {
        self.want(if at_once { Haste::AtOnce } else { Haste::Regular });
    }

    /// Asks for a plan, so soon.
    pub(crate) fn want(&mut self, haste: Haste) {
        self.plan_wanted = self.plan_wanted.max(Some(haste));
    }

    pub(crate) fn take_in_job(&mut self, cluster: &ClusterId, mut job: Arc<Job>) {
        self.compare_clocks(&job);
        let (namespace, name) = (
            job.metadata.namespace.clone().unwrap_or_default(),
            job.metadata.name.clone().unwrap_or_default(),
        );
        if jobs::label(&job, jobs::ORIGIN_UID_LABEL).is_some() {
            self.take_in_copy(cluster, namespace, name, job);
            return;
        }
        let Some(key) = jobs::key(cluster, &job) else { return };
        if !jobs::is_home(&job) {
            self.drop_job(&key);
            return;
        }
        self.dirty.insert(key.clone());
        if let Some(fresh) = Arc::get_mut(&mut job) {
            fresh.share(&mut self.texts);
        }
        match self.jobs.get_mut(&key) {
            Some(known) if jobs::uid(&known.job) == jobs::uid(&job) => {
                if jobs::version(&job) < jobs::version(&known.job) {
                    return;
                }
                let was_finished = known.finished().is_some();
                let before = known.copy_at.clone();
                known.becomes(job);
                let now_finished = known.finished().is_some();
                if known.copy_at != before {
                    let origin = (cluster.clone(), jobs::uid(&known.job).to_owned());
                    self.copies.suspect_of(&origin);
                }
                self.note_open(&key, !now_finished);
                self.reread_contract(&key);
                if was_finished != now_finished {
                    self.want_plan(false);
                }
            }
            _ => {
                let tracked = self.tracked(key.clone(), job);
                if tracked.style == Style::InPlace {
                    self.on_cluster(cluster, |c| c.see_ours(&namespace, &name, true));
                }
                let open = tracked.finished().is_none();
                self.learn_arrival(&tracked);
                self.drop_job(&key);
                self.by_uid.insert((cluster.clone(), jobs::uid(&tracked.job).to_owned()), key.clone());
                self.jobs.insert(key.clone(), tracked);
                self.note_open(&key, open);
                if open {
                    self.want_plan(true);
                }
            }
        }
    }

    /// A Job that was created later than now: this clock is behind by that at least, and deadlines are the clusters'.
    fn compare_clocks(&mut self, job: &Job) {
        let created = job.metadata.creation_timestamp.as_ref().map(|t| Instant::from_jiff(t.0));
        let ahead = created.map_or(Span::ZERO, |created| created - self.now);
        self.behind = self.behind.max(ahead.min(BEHIND_MAX));
    }

    fn take_in_copy(&mut self, cluster: &ClusterId, namespace: String, name: String, mut job: Arc<Job>) {
        if let Some(fresh) = Arc::get_mut(&mut job) {
            fresh.forget_text();
        }
        let place = (cluster.clone(), namespace.clone(), name.clone());
        self.on_cluster(cluster, |c| c.see_ours(&namespace, &name, true));
        self.look_at_original(&job);
        let before = self.copies.get(&place);
        if before
            .is_some_and(|old| jobs::uid(old) == jobs::uid(&job) && jobs::version(old) > jobs::version(&job))
        {
            return;
        }
        let ended = jobs::finished(&job).is_some() && before.is_none_or(|old| jobs::finished(old).is_none());
        let started = before.is_none_or(|old| jobs::start_time(old) != jobs::start_time(&job));
        if ended || started {
            self.want_plan(false);
        }
        self.copies.insert(place, job);
    }

    /// The original of a copy is looked at again.
    fn look_at_original(&mut self, copy: &Job) {
        let origin = jobs::label(copy, jobs::ORIGIN_CLUSTER_LABEL).and_then(|c| ClusterId::new(c).ok());
        let uid = jobs::label(copy, jobs::ORIGIN_UID_LABEL).unwrap_or_default().to_owned();
        if let Some(key) = origin.and_then(|origin| self.by_uid.get(&(origin, uid))) {
            self.dirty.insert(key.clone());
        }
    }

    fn note_open(&mut self, key: &JobKey, open: bool) {
        if open {
            self.open.insert(key.clone());
        } else {
            self.open.remove(key);
        }
    }

    /// A home Job is no longer ours, or gone.
    fn drop_job(&mut self, key: &JobKey) {
        let Some(old) = self.jobs.remove(key) else { return };
        self.note_open(key, false);
        let origin = (key.cluster.clone(), jobs::uid(&old.job).to_owned());
        self.copies.suspect_of(&origin);
        self.by_uid.remove(&origin);
        self.timers.set(key, None);
        self.waiting_for_room.remove(key);
        if old.style == Style::InPlace {
            self.on_cluster(&key.cluster, |c| c.see_ours(key.namespace.as_str(), key.name.as_str(), false));
        }
        if old.finished().is_none() {
            self.want_plan(false);
        }
    }

    fn forget_job(&mut self, cluster: &ClusterId, namespace: &str, name: &str, uid: &str) {
        let place: CopyKey = (cluster.clone(), namespace.to_owned(), name.to_owned());
        if let Some(copy) = self.copies.get(&place).filter(|copy| jobs::uid(copy) == uid).cloned() {
            self.copies.remove(&place);
            self.sweeping.remove(&place);
            self.on_cluster(cluster, |c| c.see_ours(namespace, name, false));
            self.look_at_original(&copy);
            self.want_plan(false);
        }
        let key = self.by_uid.get(&(cluster.clone(), uid.to_owned())).cloned();
        if let Some(key) = key {
            self.drop_job(&key);
        }
    }

    pub(crate) fn tracked(&self, key: JobKey, job: Arc<Job>) -> Tracked {
        let style = if jobs::managed_by_us(&job) { Style::Mirrored } else { Style::InPlace };
        let created = job.metadata.creation_timestamp.as_ref().map_or(self.now, |t| Instant::from_jiff(t.0));
        let spec = job.spec.as_ref();
        let pod = spec.map_or(Resources::ZERO, |spec| spec.pod);
        let class = jobs::priority_class(&job).map(str::to_owned);
        let stated = spec.and_then(|spec| spec.priority);
        let priority =
            stated.or_else(|| self.priorities.get(&(key.cluster.clone(), class?)).copied()).unwrap_or(0);
        let (contract, errors) = self.contract(&job, created);
        let approved = jobs::annotation(&job, jobs::APPROVED_ANNOTATION) == Some("true");
        // Who wrote down where the copy is to be may have asked for it, and be gone.
        let unsure_until = jobs::annotation(&job, jobs::COPY_ANNOTATION).map(|_| self.now + REQUEST_LASTS);
        let mut tracked = Tracked {
            copy_at: jobs::copy_at(&key, &job),
            key,
            job,
            style,
            contract,
            errors,
            pod,
            priority,
            created,
            in_flight: None,
            retry_at: None,
            failures: 0,
            unsure_until,
            quiet_until: None,
            refused: BTreeMap::new(),
            dry_run_ok: None,
            approved,
            missed: false,
            released: false,
            told: Vec::new(),
            calls: (self.now, 0),
            accounted: None,
        };
        tracked.errors.extend(self.window_errors(&tracked));
        tracked
    }

    fn reread_contract(&mut self, key: &JobKey) {
        let Some(old) = self.jobs.get(key) else { return };
        let fresh = self.tracked(key.clone(), old.job.clone());
        let (deadline, duration) = (old.contract.deadline, old.contract.expected_duration);
        let moved = fresh.contract.deadline != deadline || fresh.contract.expected_duration != duration;
        if let Some(tracked) = self.jobs.get_mut(key) {
            tracked.contract = fresh.contract;
            tracked.errors = fresh.errors;
            tracked.pod = fresh.pod;
            tracked.priority = fresh.priority;
        }
        if moved {
            self.want_plan(true);
        }
    }

    fn take_in_order(&mut self, order: &Order) {
        let body = serde_json::to_value(order).unwrap_or_default();
        let key = match order {
            Order::Approve { job } | Order::Release { job: Some(job) } => job.to_string(),
            _ => String::new(),
        };
        self.out.push(Effect::Record(Record { at: self.now, kind: "order".to_owned(), key, body }));
        match order {
            Order::Approve { job } => {
                if let Some(tracked) = self.jobs.get_mut(job) {
                    tracked.approved = true;
                }
            }
            Order::Release { job } => {
                for (key, tracked) in &mut self.jobs {
                    if job.as_ref().is_none_or(|wanted| wanted == key) {
                        tracked.released = true;
                    }
                }
            }
            Order::Mode { mode } => self.set_mode(*mode),
            Order::Policy { kind } => self.settings.policy.kind = *kind,
        }
        self.look_at_all();
        self.want_plan(true);
    }

    fn set_mode(&mut self, mode: Mode) {
        self.ordered = Some(mode);
        for cluster in self.clusters.values_mut() {
            cluster.facts.mode = mode;
        }
    }

    fn take_in_answer(&mut self, effect: EffectId, result: Result<Outcome, Failure>) {
        let Some(purpose) = self.under_way.remove(&effect) else { return };
        self.dirty.extend(purpose_key(&purpose).cloned());
        if let Some(tracked) = purpose_key(&purpose).and_then(|key| self.jobs.get_mut(key))
            && tracked.in_flight == Some(effect)
        {
            tracked.in_flight = None;
        }
        if let Purpose::Confirm(place) = purpose {
            self.confirmed(place, result);
            return;
        }
        match result {
            Ok(outcome) => self.succeeded(purpose, outcome),
            Err(failure) => self.failed(purpose, failure),
        }
    }

    fn succeeded(&mut self, purpose: Purpose, outcome: Outcome) {
        let key = purpose_key(&purpose).cloned();
        if let Some(tracked) = key.as_ref().and_then(|key| self.jobs.get_mut(key)) {
            tracked.failures = 0;
            tracked.retry_at = None;
            if let Purpose::DryRun(_, cluster) = &purpose {
                tracked.dry_run_ok = Some(cluster.clone());
            }
        }
        // The answer carries the object: taken in at once, so that the next step is not decided on an old view.
        if let Outcome::Job(answer) = outcome {
            match &purpose {
                Purpose::Patch(key) => {
                    let copy = jobs::label(&answer.job, jobs::ORIGIN_UID_LABEL).is_some();
                    if copy {
                        if let Some((target, _)) = self.jobs.get(key).and_then(Tracked::committed) {
                            self.take_in_job(&target, answer.job);
                        }
                    } else {
                        self.take_in_home_answer(key.clone(), answer.job);
                    }
                }
                Purpose::Create(_, cluster) => {
                    let cluster = cluster.clone();
                    self.take_in_job(&cluster, answer.job);
                }
                _ => {}
            }
        }
    }

    /// A home Job as a write left it. The write may have taken off the last finalizer of a deleted Job, and
    /// the watch may have told that it is gone before the answer came: neither brings it back.
    fn take_in_home_answer(&mut self, key: JobKey, job: Arc<Job>) {
        let known = self.jobs.get(&key).is_some_and(|t| jobs::uid(&t.job) == jobs::uid(&job));
        let held = job.metadata.finalizers.as_ref().is_some_and(|all| !all.is_empty());
        if jobs::deleting(&job) && !held {
            self.drop_job(&key);
        } else if known {
            self.take_in_job(&key.cluster, job);
        }
    }

    fn failed(&mut self, purpose: Purpose, failure: Failure) {
        let words = match &failure {
            Failure::Refused { message, .. } | Failure::Unanswered { message } => message.clone(),
        };
        if let Some(key) = purpose_key(&purpose).cloned() {
            let body = json!({"purpose": format!("{purpose:?}"), "failure": words});
            self.out.push(Effect::Record(Record {
                at: self.now,
                kind: "outcome".to_owned(),
                key: key.to_string(),
                body,
            }));
        }
        let now = self.now;
        let refused = matches!(&failure, Failure::Refused { code, reason, .. } if *code < 500 && *code != 429 && reason != "Conflict");
        let unanswered = matches!(&failure, Failure::Unanswered { .. });
        match purpose {
            Purpose::DryRun(key, cluster) => {
                if refused {
                    self.refuse(&key, cluster, &words);
                } else {
                    self.put_off(&key);
                }
            }
            Purpose::Create(key, cluster) => {
                let tracked = self.jobs.get_mut(&key);
                let sure = tracked.is_some_and(|t| {
                    if unanswered {
                        t.unsure_until = Some(now + REQUEST_LASTS);
                    }
                    t.unsure_until.is_none_or(|until| until <= now)
                });
                if refused && sure {
                    // A definite no: there is no copy, so the commitment can be taken back.
                    self.refuse(&key, cluster, &words);
                    self.uncommit(&key);
                } else {
                    self.put_off(&key);
                }
            }
            Purpose::Patch(key) | Purpose::DeleteCopy(key) => self.put_off(&key),
            Purpose::Sweep(place) | Purpose::Confirm(place) => self.sweep_failed(place),
            Purpose::Tell(key, name) => {
                let there = matches!(&failure, Failure::Refused { reason, .. } if reason == "AlreadyExists");
                if let Some(tracked) = self.jobs.get_mut(&key)
                    && !there
                    && !refused
                {
                    // What is told later holds nothing up.
                    tracked.told.retain(|told| *told != name);
                    tracked.quiet_until = Some(now + Span::MINUTE);
                }
            }
        }
    }

    /// Keeps a cluster that refused a copy out of the choice for a while.
    fn refuse(&mut self, key: &JobKey, cluster: ClusterId, words: &str) {
        const REFUSAL_COUNTS: Span = Span::from_seconds(600);
        let until = self.now + REFUSAL_COUNTS;
        self.tell(key, Tone::Warning, "Refused", &format!("{cluster} refused the copy: {words}"));
        if let Some(tracked) = self.jobs.get_mut(key) {
            let copy = jobs::copy_name(&tracked.job);
            if let Some(c) = self.clusters.get_mut(&cluster) {
                c.expect(key.namespace.as_str(), &copy, None);
            }
            tracked.refused.insert(cluster, jobs::Refusal { until });
            tracked.dry_run_ok = None;
        }
        self.want_plan(true);
        self.put_off(key);
    }

    fn put_off(&mut self, key: &JobKey) {
        let now = self.now;
        if let Some(tracked) = self.jobs.get_mut(key) {
            tracked.failures += 1;
            tracked.retry_at = Some(now + tracked.back_off());
        }
    }

    /// Registers a call and queues it. A Job that wants more calls within one instant than any life needs
    /// is put off for a minute: no mistake may make the loop spin.
    pub(crate) fn call(&mut self, purpose: Purpose, cluster: ClusterId, call: ApiCall) {
        const CALLS_MAX: u32 = 48;
        let now = self.now;
        if let Some(tracked) = purpose_key(&purpose).and_then(|key| self.jobs.get_mut(key)) {
            tracked.calls = if tracked.calls.0 == now { (now, tracked.calls.1 + 1) } else { (now, 1) };
            if tracked.calls.1 > CALLS_MAX {
                tracked.retry_at = Some(now + Span::MINUTE);
                return;
            }
        }
        self.next_effect += 1;
        let id = EffectId(self.next_effect);
        if !matches!(purpose, Purpose::Tell(..))
            && let Some(tracked) = purpose_key(&purpose).and_then(|key| self.jobs.get_mut(key))
        {
            tracked.in_flight = Some(id);
        }
        self.under_way.insert(id, purpose);
        self.out.push(Effect::Call { id, cluster, call });
    }

    /// Writes a step to the journal, before the call that carries it out.
    pub(crate) fn record(&mut self, key: &JobKey, step: &str, why: String) {
        self.note(key.to_string(), step, why);
    }

    /// The same, of something that may not be a Job we know.
    pub(crate) fn note(&mut self, key: String, step: &str, why: String) {
        let body = json!({"step": step, "why": why});
        self.out.push(Effect::Record(Record { at: self.now, kind: "step".to_owned(), key, body }));
    }
}

fn purpose_key(purpose: &Purpose) -> Option<&JobKey> {
    match purpose {
        Purpose::DryRun(key, _)
        | Purpose::Create(key, _)
        | Purpose::Patch(key)
        | Purpose::DeleteCopy(key)
        | Purpose::Tell(key, _) => Some(key),
        Purpose::Sweep(_) | Purpose::Confirm(_) => None,
    }
}
