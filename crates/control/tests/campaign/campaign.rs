//! One seed: the world, the processes, and everything that happens, in order of time.

use crate::checks::{self, Life};
use crate::faults::{CALL_TIMEOUT, FAILURE_COSTS, Fate, Outages, REQUEST_LASTS, Swarm};
use crate::owners::{self, Deed, Wanted};
use crate::process::Process;
use control::lease::{DURATION, Leader, RETRY, Seen, Write};
use control::twin_driver::{carry_out, settings};
use control::{ApiCall, Effect, EffectId, Event, Failure, Outcome, Settings};
use fleet::{ClusterId, FleetSpec, GramsCo2PerKwh, GridZone, Instant, Provenance, Series, SignalKind, Span};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use twin::World;
use twin::random::Stream;

pub const FLEET: &str = "apiVersion: kubercarbon.io/v1alpha1
kind: Fleet
clusters:
- {name: kr, region: ap-northeast-2, nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 3}]}
- {name: jp, region: ap-northeast-1, nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 3}]}
- {name: se, region: eu-north-1, nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 3}]}
";
const ZONES: [&str; 3] = ["KR", "JP-TK", "SE-SE3"];
/// Faults begin and end within this time of the start; every Job is due soon after.
const FAULTS_HOURS: i64 = 16;
/// When every Job must be done, and the owners delete them all.
const DONE_HOURS: i64 = 26;
/// When nothing may be left.
const GONE_HOURS: i64 = 28;
/// Most things that may happen in one seed: more means that it goes round in circles.
const STEPS_MAX: u64 = 400_000;

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    /// A process is told something, unless it has died since.
    Told(usize, u32, Box<Event>),
    /// A call reaches a cluster.
    Arrives(usize, u32, Box<Arriving>),
    /// The processes look at their Leases.
    Leases,
    Dies(usize, Span),
    Starts(usize),
    Vanishes(ClusterId, Span, bool),
    Returns(ClusterId, bool),
    Cut(usize, ClusterId, Span, bool),
    Created(usize),
    Deed(usize, Deed),
}

#[derive(Clone, Debug)]
struct Arriving {
    effect: EffectId,
    cluster: ClusterId,
    call: ApiCall,
    fate: Fate,
    /// When the process gives up waiting.
    until: Instant,
}

/// Everything.
pub struct Campaign {
    world: World,
    fleet: FleetSpec,
    settings: Settings,
    swarm: Swarm,
    start: Instant,
    queue: BTreeMap<(Instant, u64), Happening>,
    next: u64,
    processes: Vec<Option<Process>>,
    epochs: Vec<u32>,
    vanished: BTreeMap<ClusterId, Instant>,
    leases: BTreeMap<ClusterId, (u64, Option<String>, String)>,
    /// Since when nobody leads a cluster.
    leaderless: BTreeMap<ClusterId, Instant>,
    wanted: Vec<Wanted>,
    lives: Vec<Life>,
    outages: BTreeMap<ClusterId, Outages>,
    ledger: BTreeMap<String, ledger::Entry>,
    calls: Stream,
    watches: Stream,
    faults: u64,
    /// Plans that were held against what is free.
    promised: u64,
    versions: Vec<u64>,
    story: Vec<String>,
    tell: bool,
}

impl Campaign {
    pub fn new(seed: u64, tell: bool) -> Campaign {
        let start = Instant::parse("2026-03-02T00:00:00Z").unwrap();
        let swarm = Swarm::draw(seed);
        let nodes = if swarm.tight { "count: 1" } else { "count: 3" };
        let fleet: FleetSpec = fleet::file::parse(&FLEET.replace("count: 3", nodes)).unwrap();
        let ids: Vec<ClusterId> = fleet.clusters.iter().map(|c| c.id.clone()).collect();
        let wanted = owners::jobs(seed, start, &ids);
        let leases = swarm.replicas > 1;
        let settings = Settings { leases, ..settings(&fleet) };
        let mut campaign = Campaign {
            world: World::new(&fleet, start, seed),
            settings,
            start,
            queue: BTreeMap::new(),
            next: 0,
            processes: (0..swarm.replicas).map(|_| None).collect(),
            epochs: vec![0; swarm.replicas],
            vanished: BTreeMap::new(),
            leases: BTreeMap::new(),
            leaderless: ids.iter().map(|id| (id.clone(), start)).collect(),
            lives: vec![Life::default(); wanted.len()],
            outages: ids.iter().map(|id| (id.clone(), Outages::default())).collect(),
            ledger: BTreeMap::new(),
            calls: Stream::new(seed, "campaign/calls"),
            watches: Stream::new(seed, "campaign/watches"),
            faults: 0,
            promised: 0,
            versions: Vec::new(),
            story: Vec::new(),
            tell,
            fleet,
            swarm,
            wanted,
        };
        campaign.schedule(seed, &ids);
        campaign
    }

    /// Everything that is decided from the start.
    fn schedule(&mut self, seed: u64, ids: &[ClusterId]) {
        let mut stream = Stream::new(seed, "campaign/schedule");
        let (start, swarm) = (self.start, self.swarm.clone());
        self.note(format!("{swarm:?}"));
        let within =
            |stream: &mut Stream| start + Span::from_seconds(stream.below(FAULTS_HOURS as u64 * 3600) as i64);
        let long = |stream: &mut Stream| {
            let most = if stream.unit() < 0.3 { 3600 } else { 120 };
            Span::from_seconds(1 + stream.below(most) as i64)
        };
        for process in 0..swarm.replicas {
            self.at(start, Happening::Starts(process));
        }
        if self.settings.leases {
            self.at(start, Happening::Leases);
        }
        for _ in 0..swarm.deaths {
            let process = stream.below(swarm.replicas as u64) as usize;
            let (at, away) = (within(&mut stream), long(&mut stream));
            self.at(at, Happening::Dies(process, away));
        }
        for _ in 0..swarm.vanishings {
            let cluster = ids[stream.below(ids.len() as u64) as usize].clone();
            let (at, away, lists) = (within(&mut stream), long(&mut stream), stream.unit() < 0.5);
            self.at(at, Happening::Vanishes(cluster, away, lists));
        }
        for _ in 0..swarm.cuts {
            let process = stream.below(swarm.replicas as u64) as usize;
            let cluster = ids[stream.below(ids.len() as u64) as usize].clone();
            let (at, away, compacted) = (within(&mut stream), long(&mut stream), stream.unit() < 0.6);
            self.at(at, Happening::Cut(process, cluster, away.min(Span::from_seconds(70)), compacted));
        }
        for (number, wanted) in self.wanted.clone().iter().enumerate() {
            self.at(wanted.at, Happening::Created(number));
        }
        for (at, number, deed) in owners::deeds(seed, &swarm, start, &self.wanted.clone()) {
            self.at(at, Happening::Deed(number, deed));
        }
    }

    fn hours(&self, n: i64) -> Instant {
        self.start + Span::HOUR.scaled(n, 1)
    }

    fn at(&mut self, at: Instant, happening: Happening) {
        self.next += 1;
        self.queue.insert((at, self.next), happening);
    }

    fn note(&mut self, line: String) {
        let line = format!("{} {line}", self.world.now());
        if self.tell {
            println!("{line}");
        }
        self.story.push(line);
    }

    /// What happened, line by line.
    pub fn story(&self) -> String {
        self.story.join("\n")
    }

    /// Runs the seed to its end.
    ///
    /// # Errors
    /// The first broken invariant, in words.
    pub fn run(mut self) -> Result<Campaign, String> {
        self.run_until(self.hours(DONE_HOURS))?;
        for (wanted, life) in self.wanted.iter().zip(&self.lives) {
            if !life.deleted && !life.left {
                let ledger = self.swarm.signal.then_some(&self.ledger);
                checks::at_the_end(&self.world, wanted, life, ledger)?;
                // Want of room makes Jobs late too; what is late of it, nobody here can tell.
                if !self.swarm.tight {
                    checks::in_time(&self.world, wanted, life, &self.outages)?;
                }
            }
        }
        for (number, wanted) in self.wanted.clone().iter().enumerate() {
            if checks::home(&self.world, wanted).is_some() {
                self.lives[number].deleted = true;
                self.deed(number, Deed::Delete);
            }
        }
        self.run_until(self.hours(GONE_HOURS))?;
        checks::nothing_left(&self.world)?;
        Ok(self)
    }

    fn run_until(&mut self, end: Instant) -> Result<(), String> {
        let mut steps = 0;
        self.instant()?;
        while self.world.now() < end {
            steps += 1;
            if steps > STEPS_MAX {
                return Err(format!("more than {STEPS_MAX} steps by {}", self.world.now()));
            }
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timers = self.processes.iter().flatten().filter_map(Process::next_timer);
            let next = timers.chain(queued).min().unwrap_or(end).min(end);
            self.world.advance_until_change(next);
            self.instant()?;
        }
        Ok(())
    }

    /// Everything that happens now.
    fn instant(&mut self) -> Result<(), String> {
        let now = self.world.now();
        self.look();
        let mut told: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
        while let Some(((at, _), _)) = self.queue.first_key_value()
            && *at <= now
        {
            let Some((_, happening)) = self.queue.pop_first() else { break };
            if let Happening::Told(process, epoch, event) = happening {
                if self.epochs[process] == epoch {
                    told.entry(process).or_default().push(*event);
                }
                continue;
            }
            self.happen(happening)?;
            self.check()?;
        }
        self.look();
        for number in 0..self.processes.len() {
            let events = told.remove(&number).unwrap_or_default();
            let Some(process) = &mut self.processes[number] else { continue };
            if events.is_empty() && process.next_timer().is_none_or(|at| at > now) {
                continue;
            }
            let at = process.now(now);
            let effects = process.control.step(at, events);
            if std::mem::replace(&mut process.plans, process.control.plans()) != process.control.plans() {
                let name = &process.name;
                checks::promises(&process.control.view(at), self.settings.packing_percent)
                    .map_err(|why| format!("the plan of {name}: {why}"))?;
                self.promised += 1;
            }
            for effect in effects {
                self.carry(number, effect);
            }
        }
        self.check()
    }

    /// Holds the invariants, when a Job changed.
    fn check(&mut self) -> Result<(), String> {
        let last = |id| self.world.objects(id).map_or(0, |o| o.last_version(twin::Kind::Job));
        let versions: Vec<u64> = self.world.clusters().map(last).collect();
        if versions == self.versions {
            return Ok(());
        }
        self.versions = versions;
        if let Some(over) = self.world.overcommitted() {
            return Err(over);
        }
        checks::of_copies(&self.world, &self.wanted, &mut self.lives)
    }

    /// Every watch of every process brings what it has.
    fn look(&mut self) {
        for number in 0..self.processes.len() {
            let Some(process) = &mut self.processes[number] else { continue };
            let mut all = Vec::new();
            for spec in &self.fleet.clusters {
                if !self.vanished.contains_key(&spec.id) {
                    all.extend(process.look(&self.world, &spec.id, self.swarm.lag, &mut self.watches));
                }
            }
            let epoch = process.epoch;
            for (at, event) in all {
                self.at(at, Happening::Told(number, epoch, Box::new(event)));
            }
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Told(..) => {}
            Happening::Arrives(process, epoch, arriving) => return self.arrives(process, epoch, *arriving),
            Happening::Leases => self.leases(),
            Happening::Dies(process, away) => self.dies(process, away),
            Happening::Starts(process) => self.starts(process),
            Happening::Vanishes(cluster, away, lists) => self.vanishes(cluster, away, lists),
            Happening::Returns(cluster, lists) => self.returns(&cluster, lists),
            Happening::Cut(number, cluster, away, compacted) => {
                let until = self.world.now() + away;
                self.note(format!("watches of {cluster} cut for {away}, compacted: {compacted}"));
                self.faults += 1;
                self.out(&cluster, until + self.swarm.lag);
                if let Some(process) = &mut self.processes[number] {
                    process.cut(&cluster, until, compacted);
                    // Somebody has to look when it is over.
                    let epoch = process.epoch;
                    let nothing = Box::new(Event::Order(control::Order::Mode { mode: fleet::Mode::Auto }));
                    self.at(until, Happening::Told(number, epoch, nothing));
                }
            }
            Happening::Created(number) => self.create(number),
            Happening::Deed(number, deed) => self.deed(number, deed),
        }
        Ok(())
    }

    /// From now until then something of a cluster is not to be had.
    fn out(&mut self, cluster: &ClusterId, until: Instant) {
        let now = self.world.now();
        self.outages.get_mut(cluster).unwrap().add(now, until);
    }

    fn out_everywhere(&mut self, from: Instant, until: Instant) {
        self.outages.values_mut().for_each(|o| o.add(from, until));
    }

    fn starts(&mut self, number: usize) {
        self.epochs[number] += 1;
        let epoch = self.epochs[number];
        // Each is off by its own amount: the first behind, the second ahead.
        let skew = if number == 0 { Span::ZERO - self.swarm.skew } else { self.swarm.skew };
        let name = format!("process-{number}");
        let mut process = Process::new(&name, epoch, &self.fleet, &self.settings, skew);
        self.ledger.values().for_each(|entry| process.control.remember(entry));
        let mut first = process.facts(&self.fleet);
        if self.swarm.signal {
            first.extend(intensities(self.start, self.world.seed()));
        }
        for id in self.vanished.keys() {
            first.push(Event::Reachable { cluster: id.clone(), reachable: Err("no answer".to_owned()) });
        }
        self.processes[number] = Some(process);
        self.note(format!("{name} starts"));
        let now = self.world.now();
        for event in first {
            self.at(now, Happening::Told(number, epoch, Box::new(event)));
        }
    }

    fn dies(&mut self, number: usize, away: Span) {
        let Some(process) = self.processes[number].take() else { return };
        self.note(format!("{} dies for {away}", process.name));
        self.faults += 1;
        self.epochs[number] += 1;
        let now = self.world.now();
        self.at(now + away, Happening::Starts(number));
        if !self.settings.leases {
            // Its first lists take as long as its watches lag.
            self.out_everywhere(now, now + away + self.swarm.lag.scaled(2, 1));
        }
        // What was on its way arrives or not.
        let on_their_way: Vec<(Instant, u64)> = self
            .queue
            .iter()
            .filter(|(_, h)| matches!(h, Happening::Arrives(n, ..) if *n == number))
            .map(|(key, _)| *key)
            .collect();
        for key in on_their_way {
            if self.calls.unit() < 0.5 {
                self.queue.remove(&key);
            }
        }
    }

    fn vanishes(&mut self, cluster: ClusterId, away: Span, lists: bool) {
        if self.vanished.contains_key(&cluster) {
            return;
        }
        self.note(format!("{cluster} vanishes for {away}"));
        self.faults += 1;
        let until = self.world.now() + away;
        // A call that was made just before it came back waits for its answer, and for its back-off.
        self.out(&cluster, until + FAILURE_COSTS + self.swarm.lag);
        self.vanished.insert(cluster.clone(), until);
        self.at(until, Happening::Returns(cluster.clone(), lists));
        const UNREACHABLE_AFTER: Span = Span::from_seconds(5);
        if away > UNREACHABLE_AFTER {
            let at = self.world.now() + UNREACHABLE_AFTER;
            self.tell_all(at, &Event::Reachable { cluster, reachable: Err("no answer".to_owned()) });
        }
    }

    fn returns(&mut self, cluster: &ClusterId, lists: bool) {
        self.note(format!("{cluster} returns"));
        self.vanished.remove(cluster);
        let now = self.world.now();
        if lists {
            for process in self.processes.iter_mut().flatten() {
                process.cut(cluster, now, true);
            }
        }
        // A watch that goes on says that it does before it brings what it missed; a list says so after.
        let at = if lists { now + self.swarm.lag.scaled(2, 1) } else { now };
        self.tell_all(at, &Event::Reachable { cluster: cluster.clone(), reachable: Ok(()) });
    }

    fn tell_all(&mut self, at: Instant, event: &Event) {
        for number in 0..self.processes.len() {
            if let Some(process) = &self.processes[number] {
                let epoch = process.epoch;
                self.at(at, Happening::Told(number, epoch, Box::new(event.clone())));
            }
        }
    }

    /// Every process looks at its Leases.
    fn leases(&mut self) {
        let now = self.world.now();
        for number in 0..self.processes.len() {
            let Some(mut process) = self.processes[number].take() else { continue };
            for cluster in process.elector.clusters() {
                let before = process.elector.leader(&cluster, process.lease_now(now));
                self.lease(&mut process, &cluster, now);
                let leader = process.elector.leader(&cluster, process.lease_now(now));
                // Between two looks it may have ended, and have been told.
                if process.told.insert(cluster.clone(), leader.clone()).as_ref() != Some(&leader)
                    || leader != before
                {
                    self.note(format!("{}: {cluster} is led by {leader:?}", process.name));
                    let event = Event::Leading { cluster: cluster.clone(), leader };
                    self.at(now, Happening::Told(number, process.epoch, Box::new(event)));
                }
            }
            self.processes[number] = Some(process);
        }
        self.mind_the_leaderless(now);
        self.at(now + RETRY, Happening::Leases);
    }

    fn lease(&mut self, process: &mut Process, cluster: &ClusterId, now: Instant) {
        if self.vanished.contains_key(cluster) || self.calls.unit() < self.swarm.lost {
            process.elector.failed(cluster, "no answer".to_owned());
            return;
        }
        let seen = |lease: &(u64, Option<String>, String)| Seen {
            version: lease.0.to_string(),
            holder: lease.1.clone(),
            stamp: lease.2.clone(),
            duration: DURATION,
        };
        let lease = self.leases.entry(cluster.clone()).or_default();
        let lease_now = process.lease_now(now);
        process.elector.saw(cluster, seen(lease), lease_now);
        let Some(write) = process.elector.wants(cluster, lease_now) else { return };
        let holder = (!matches!(write, Write::Release { .. })).then(|| process.name.clone());
        *lease = (lease.0 + 1, holder, lease_now.fast.to_string());
        process.elector.wrote(cluster, seen(lease), lease_now);
    }

    fn mind_the_leaderless(&mut self, now: Instant) {
        let ids: Vec<ClusterId> = self.outages.keys().cloned().collect();
        for id in ids {
            let leads = |p: &Process| p.elector.leader(&id, p.lease_now(now)) == Leader::Us;
            match (self.processes.iter().flatten().any(leads), self.leaderless.get(&id).copied()) {
                (true, Some(since)) => {
                    self.leaderless.remove(&id);
                    self.outages.get_mut(&id).unwrap().add(since, now + RETRY + self.swarm.lag);
                }
                (false, None) => {
                    self.leaderless.insert(id, now - RETRY);
                }
                _ => {}
            }
        }
    }

    /// Carries an effect of a process out, or has it fail.
    fn carry(&mut self, number: usize, effect: Effect) {
        let now = self.world.now();
        match effect {
            Effect::Record(record) => {
                self.note(format!("  {number}: {} {} {}", record.kind, record.key, record.body))
            }
            Effect::Ledger(entry) => {
                self.ledger.entry(entry.id.clone()).or_insert(*entry);
            }
            // What clusters used by the hour is held by tests of its own (`books`).
            Effect::Usage(_) => {}
            Effect::Call { id, cluster, call } => {
                let fate = self.swarm.fate(&mut self.calls);
                let Some(process) = &self.processes[number] else { return };
                let (epoch, mut until) = (process.epoch, now + CALL_TIMEOUT);
                if self.settings.leases {
                    let held = process.elector.holds_until(&cluster).map(|held| held - process.skew);
                    until = until.min(held.unwrap_or(now));
                }
                let millis =
                    |stream: &mut Stream, most: u64| Span::from_nanos(stream.below(most * 1_000_000) as i64);
                let at = match fate {
                    Fate::Late => {
                        until + Span::from_seconds(self.calls.below(REQUEST_LASTS.as_seconds() as u64) as i64)
                    }
                    _ => now + millis(&mut self.calls, 1500),
                };
                if fate != Fate::Fine {
                    self.faults += 1;
                    self.blame(&call);
                }
                let reads = matches!(call, ApiCall::ReadJob { .. });
                let until = if reads { now + CALL_TIMEOUT } else { until };
                let arriving = Arriving { effect: id, cluster, call, fate, until };
                self.at(
                    at.min(until.max(now)).max(if fate == Fate::Late { at } else { now }),
                    Happening::Arrives(number, epoch, Box::new(arriving)),
                );
            }
        }
    }

    /// A fault met a call of this Job: it may have cost that much.
    fn blame(&mut self, call: &ApiCall) {
        let name = match call {
            ApiCall::CreateJob { job, .. } => job.metadata.name.clone().unwrap_or_default(),
            ApiCall::PatchJob { name, .. }
            | ApiCall::DeleteJob { name, .. }
            | ApiCall::ReadJob { name, .. } => name.clone(),
            ApiCall::CreateEvent { .. } => return,
        };
        for (wanted, life) in self.wanted.iter().zip(&mut self.lives) {
            if name == wanted.name || name.starts_with(&format!("{}-", wanted.name)) {
                life.cost += FAILURE_COSTS;
            }
        }
    }

    /// A call reaches its cluster, or not.
    fn arrives(&mut self, number: usize, epoch: u32, arriving: Arriving) -> Result<(), String> {
        let Arriving { effect, cluster, call, fate, until } = arriving;
        let now = self.world.now();
        let unanswered = || Err(Failure::Unanswered { message: "no answer".to_owned() });
        let silent = self.vanished.contains_key(&cluster) || (now > until && fate != Fate::Late);
        let answer: (Instant, Result<Outcome, Failure>) = match fate {
            _ if silent => (until, unanswered()),
            Fate::Lost => (until, unanswered()),
            Fate::Refused(code, reason) => {
                let message = "the server is busy".to_owned();
                (now, Err(Failure::Refused { code, reason: reason.to_owned(), message }))
            }
            Fate::Fine | Fate::Unheard | Fate::Late => {
                let name = format!("{call:?}");
                let result = self.server(&cluster, call);
                let short: String = name.chars().take(160).collect();
                let word = result.as_ref().map(|_| "done").map_err(|e| format!("{e:?}"));
                if !name.starts_with("CreateEvent") {
                    self.note(format!("  {number}: {fate:?} in {cluster}: {short}: {word:?}"));
                }
                if let Err(Failure::Refused { code: 400 | 422, message, .. }) = &result {
                    return Err(format!("{cluster} takes no such write: {short}: {message}"));
                }
                if fate == Fate::Fine { (now, result) } else { (until, unanswered()) }
            }
        };
        let told = Happening::Told(number, epoch, Box::new(Event::Done { effect, result: answer.1 }));
        self.at(answer.0.max(now), told);
        Ok(())
    }

    /// What a cluster's server does with a call.
    fn server(&mut self, cluster: &ClusterId, call: ApiCall) -> Result<Outcome, Failure> {
        let away = |job: &k8s_openapi::api::batch::v1::Job| {
            checks::label(job, control::ORIGIN_CLUSTER_LABEL) != Some(cluster.as_str())
        };
        if let ApiCall::CreateJob { job, .. } = &call
            && self.swarm.quota
            && away(job)
            && self.calls.unit() < 0.5
        {
            let (reason, message) = ("Forbidden".to_owned(), "exceeded quota: team".to_owned());
            return Err(Failure::Refused { code: 403, reason, message });
        }
        carry_out(&mut self.world, cluster, call)
    }

    fn create(&mut self, number: usize) {
        let wanted = self.wanted[number].clone();
        let now = self.world.now();
        if let Some(back) = self.vanished.get(&wanted.home).copied() {
            self.at(back + Span::from_seconds(1), Happening::Created(number));
            return;
        }
        let answer = self.world.request(&wanted.home, &owners::create(&wanted.document)).unwrap();
        let life = &mut self.lives[number];
        life.uid = answer.body.into_value()["metadata"]["uid"].as_str().unwrap().to_owned();
        life.created = Some(now);
        life.deadline = wanted.within.map(|within| (now + within, now));
        self.note(format!("{} is created in {}: {wanted:?}", wanted.name, wanted.home));
    }

    fn deed(&mut self, number: usize, deed: Deed) {
        let wanted = self.wanted[number].clone();
        let now = self.world.now();
        let there = checks::home(&self.world, &wanted);
        let Some(job) = there.filter(|_| !self.vanished.contains_key(&wanted.home)) else { return };
        let life = &mut self.lives[number];
        if checks::end(&job).is_some() && deed != Deed::Delete {
            return;
        }
        let metadata = |annotations| json!({"metadata": {"annotations": annotations}});
        let request = match &deed {
            Deed::Delete => {
                life.deleted = true;
                owners::delete(&wanted.name)
            }
            Deed::Within(within) => {
                let created = life.created.unwrap_or(now);
                life.deadline = Some((created + *within, now));
                let text = format!("{}s", within.as_seconds());
                owners::patch(&wanted.name, metadata(json!({"kubercarbon.io/finish-within": text})))
            }
            Deed::Suspend(suspend) => {
                life.meddled = true;
                // Of one that is no longer ours its owner alone decides.
                life.left = if life.freed { *suspend } else { life.left };
                owners::patch(&wanted.name, json!({"spec": {"suspend": suspend}}))
            }
            Deed::Unlabel => {
                (life.meddled, life.freed) = (true, true);
                // One that nothing of ours is written on yet stays as its owner made it.
                let marks = [control::LATEST_START_ANNOTATION, control::PLANNED_START_ANNOTATION];
                life.left = marks.iter().all(|mark| checks::annotation(&job, mark).is_none());
                let labels = json!({"kubercarbon.io/placement": null});
                owners::patch(&wanted.name, json!({"metadata": {"labels": labels}}))
            }
            Deed::Unmark => {
                life.meddled = true;
                let none = json!({control::COPY_ANNOTATION: null, control::TARGET_ANNOTATION: null});
                owners::patch(&wanted.name, metadata(none))
            }
            Deed::Retries(limit) => {
                // What fails runs again, and again as long.
                life.meddled |= !wanted.succeeds;
                owners::patch(&wanted.name, json!({"spec": {"backoffLimit": limit}}))
            }
            Deed::DeleteCopy => {
                self.delete_copy(number);
                return;
            }
        };
        self.note(format!("the owner of {}: {deed:?}", wanted.name));
        self.world.request(&wanted.home, &request).unwrap();
    }

    fn delete_copy(&mut self, number: usize) {
        let uid = self.lives[number].uid.clone();
        let clusters: Vec<ClusterId> = self.world.clusters().cloned().collect();
        for cluster in clusters {
            let of_it = |job: &k8s_openapi::api::batch::v1::Job| {
                checks::label(job, control::ORIGIN_UID_LABEL) == Some(&uid)
            };
            if let Some(copy) = checks::jobs(&self.world, &cluster).into_iter().find(of_it) {
                let name = copy.metadata.name.unwrap_or_default();
                self.lives[number].excused += 1;
                self.note(format!("the owner of {} deletes its copy in {cluster}", self.wanted[number].name));
                self.world.request(&cluster, &owners::delete(&name)).unwrap();
            }
        }
    }
}

/// Carbon of every zone over two days, by the hour.
pub fn intensities(start: Instant, seed: u64) -> Vec<Event> {
    let mut stream = Stream::new(seed, "campaign/carbon");
    let zone = |zone: &str| {
        let values = (0..48).map(|_| GramsCo2PerKwh::from_grams_f64(50.0 + stream.unit() * 650.0)).collect();
        let series = Series::new(start, Span::HOUR, values).unwrap();
        let from = Provenance { source: "test".to_owned(), kind: SignalKind::Measured, as_of: start };
        Event::Intensity {
            zone: GridZone::new(zone).unwrap(),
            actual: series.clone(),
            actual_from: from.clone(),
            forecast: series,
            forecast_from: from,
        }
    };
    ZONES.map(zone).to_vec()
}

/// What many seeds came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    pub jobs: u64,
    pub faults: u64,
    pub copies: u64,
    pub deeds: u64,
    pub plans: u64,
}

impl Sums {
    pub fn add(&mut self, done: &Campaign) {
        self.jobs += done.lives.len() as u64;
        self.faults += done.faults;
        self.copies += done.lives.iter().map(|life| life.copies.len() as u64).sum::<u64>();
        self.deeds += done.swarm.owners;
        self.plans += done.promised;
    }
    pub fn merge(&mut self, other: Sums) {
        self.jobs += other.jobs;
        self.faults += other.faults;
        self.copies += other.copies;
        self.deeds += other.deeds;
        self.plans += other.plans;
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sums { jobs, faults, copies, deeds, plans } = self;
        write!(
            f,
            "{jobs} Jobs, {copies} copies, {faults} faults, {deeds} deeds of owners, {plans} plans held"
        )
    }
}
