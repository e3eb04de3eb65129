//! Local search by annealing: jobs go where they want to be, those in their way find other places.
//!
//! One step draws a job and one of its choices; jobs in the way are taken out (drawn as well) and put back
//! at the cheapest place that is free. Some steps instead take a handful of jobs out of one corner and
//! put them back in another order. The outcome is kept when it is better, or dearer by less than a drawn
//! threshold that shrinks as the search goes on (simulated annealing, S. Kirkpatrick et al. 1983). More
//! delay of what may not wait is never kept. Less weight in time is, at a price in grams that grows, and only where
//! not all can be in time: so the search gets from one choice of who is to another, in and out of bounds
//! (strategic oscillation, F. Glover 1977). What burns much is settled first:
//! a job takes part once the threshold has come down to its size. Free places are ranked by their cost
//! at the prices of capacity, at a drawn part of them or without, and passed over now and then (blinks,
//! J. Christiaens and G. Vanden Berghe 2020).

use super::draw::Draw;
use super::interruptible::Search;
use super::menu::{Choice, Menu, wanted};
use super::problem::{Job, Place, Problem, Value, fits};
use super::scan::Scan;
use super::state::State;

/// Most jobs one step may displace.
const DISPLACED_MAX: usize = 12;
/// The same where the step is about a job that misses its deadline: who finds no free place then displaces others.
const CHAIN_MAX: usize = 64;
/// Share of steps that take a corner out.
const CORNERS: f64 = 0.1;
/// Jobs taken out of a corner at most, beside the one it is about.
const CORNER_MAX: usize = 8;
/// Choices that say which corners a job would rather be in.
const CORNER_CHOICES: usize = 32;
/// Share of steps of a job that may pause that force it into one run: it has many of those to draw from.
const WHOLE: f64 = 0.5;
/// Share of free places passed over.
const BLINKS: f64 = 0.03;
/// Share of steps that rank free places at a part of the prices.
const PART_PRICED: f64 = 0.2;
/// A job takes part once it costs this many times the threshold at least.
pub const TAKES_PART: f64 = 3.0;
/// Share of steps that are about a job that misses its deadline, while there is one: where few do and chains may bring
/// them in, and where not all can be in time.
const ABOUT_MISSED: (f64, f64) = (0.4, 0.25);

/// What a job of the least weight out of time counts at first, in mean costs of a job. It grows as the
/// inverse root of the heat, by so many times for each heat that ends with more weight out of time than the
/// best plan has, and from that share of the first heat on no more weight is given up.
const MISSING: f64 = 1.7;
/// Where no more than this part of all weight is out of time, all of it may soon be in time: none is given up.
const FEW_PART: i128 = 50;
const FIRMER: f64 = 2.0;
const HARD_AT: f64 = 0.004;

/// Whether so much weight is out of time that not all of it can be in time.
pub fn overloaded(problem: &Problem, missed: i128) -> bool {
    let all: i128 = problem.jobs.iter().map(|job| job.weight).fold(0, i128::saturating_add);
    missed > all / FEW_PART
}

/// Grams a unit of weight out of time counts at first; without end where nobody is out of time, or somebody has to
/// run in any case: to leave out what is only thought to come gains nothing.
fn missing(state: &State<'_>) -> f64 {
    let jobs = &state.problem.jobs;
    if !jobs.iter().all(|job| job.optional) {
        return f64::INFINITY;
    }
    let weights = jobs.iter().map(|job| job.weight).filter(|weight| *weight > 0);
    let Value { missed, cost, .. } = state.total();
    let mean = cost / state.places.len().max(1) as f64;
    let least = weights.min().filter(|_| overloaded(state.problem, missed));
    least.map_or(f64::INFINITY, |least| MISSING * mean / least as f64)
}

/// Sweeps over the jobs that were planned before: one that could not go back may, once others did.
const BACK_SWEEPS: usize = 2;

/// An annealing under way.
pub struct Anneal<'s, 'p, 'm> {
    state: &'s mut State<'p>,
    menu: &'s mut Menu<'m>,
    draw: Draw,
    total: Value,
    best_total: Value,
    best: Vec<Option<Place>>,
    /// Jobs whose place may differ from the best plan's.
    changed: Vec<usize>,
    is_changed: Vec<bool>,
    /// What this step has changed.
    undo: Vec<(usize, Option<Place>, Value)>,
    /// Jobs taken out and not yet put back.
    out: Vec<usize>,
    /// Whether this step is about a job that misses its deadline, and such steps are worth a chain: where few jobs
    /// do, and nobody late has to run.
    chain: bool,
    chains: bool,
    /// Jobs that miss their deadline, and some that did.
    missed: Vec<usize>,
    /// The jobs it is about by what they cost at least, dearest first.
    by_cost: Vec<(f64, usize)>,
    /// How many of them take part.
    taking_part: usize,
    /// Share of the prices free places are ranked at in this step.
    part: f64,
    /// Slots a search looks at, kept for the next.
    slots: Vec<(f64, usize)>,
    /// Grams a unit of weight out of time counts now, and at first.
    miss: f64,
    miss_at_first: f64,
    /// How many times more it counts for having been given up for long.
    firm: f64,
    /// The present heat, and the first.
    heat: f64,
    hottest: f64,
}

/// Whose places are looked at.
#[derive(Clone, Copy)]
pub enum About<'b> {
    /// Every job's.
    All,
    /// These jobs', and those in their way.
    These(&'b [usize]),
    /// These jobs', whatever they cost, while others have no place yet.
    First(&'b [usize]),
}

/// What an outcome may come to at most.
struct Limit {
    before: Value,
    worst: f64,
    /// Grams a unit of weight out of time counts.
    miss: f64,
}

impl Limit {
    fn dearer(&self, gain: &Value) -> f64 {
        // No weight times no end is no number.
        if gain.missed == 0 { gain.cost } else { gain.cost + gain.missed as f64 * self.miss }
    }

    fn keeps(&self, now: &Value) -> bool {
        let gain = *now - self.before;
        if gain.missed < 0 {
            return true;
        }
        if gain.missed == 0 && gain.delay != 0.0 {
            return gain.delay < 0.0;
        }
        self.dearer(&gain) < self.worst
    }

    /// Whether what has been put back so far leaves no hope.
    fn exceeded(&self, now: &Value) -> bool {
        let gain = *now - self.before;
        (gain.missed == 0 && gain.delay > 0.0) || (gain.missed >= 0 && self.dearer(&gain) > self.worst)
    }
}

impl<'s, 'p, 'm> Anneal<'s, 'p, 'm> {
    /// Goes on from the plan in `state`.
    pub fn new(
        state: &'s mut State<'p>,
        menu: &'s mut Menu<'m>,
        about: About<'_>,
        seed: u64,
    ) -> Anneal<'s, 'p, 'm> {
        let jobs = state.places.len();
        let mut by_cost: Vec<(f64, usize)> = match about {
            About::All => (0..jobs).map(|job| (menu.least(job, &mut state.work), job)).collect(),
            About::These(some) => some.iter().map(|job| (state.values[*job].cost, *job)).collect(),
            About::First(some) => some.iter().map(|job| (f64::INFINITY, *job)).collect(),
        };
        let out = |job: &usize| state.values[*job].missed > 0;
        let (missed, miss) = match about {
            About::First(some) => (some.iter().copied().filter(out).collect(), f64::INFINITY),
            _ => ((0..jobs).filter(out).collect(), missing(state)),
        };
        by_cost.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        Anneal {
            menu,
            draw: Draw::new(seed),
            total: state.total(),
            best_total: state.total(),
            best: state.places.clone(),
            changed: Vec::new(),
            is_changed: vec![false; jobs],
            undo: Vec::new(),
            out: Vec::new(),
            chain: false,
            chains: miss.is_infinite() && state.problem.jobs.iter().all(|job| job.optional),
            missed,
            by_cost,
            taking_part: jobs,
            part: 1.0,
            slots: Vec::new(),
            miss: f64::INFINITY,
            miss_at_first: miss,
            firm: 1.0,
            heat: 0.0,
            hottest: 0.0,
            state,
        }
    }

    /// Work used so far by the plan this goes on from and by the search.
    pub fn work(&self) -> u64 {
        self.state.work
    }

    /// Steps until `limit` units of work are used; outcomes dearer by about `heat` grams are kept.
    pub fn run(&mut self, heat: f64, limit: u64) {
        self.firm_up(heat);
        self.taking_part = self.by_cost.partition_point(|job| job.0 >= TAKES_PART * heat);
        // Where the threshold is above all of them, the dearest half.
        self.taking_part = self.taking_part.max(self.by_cost.len().div_ceil(2).min(16));
        while self.state.work < limit && !self.by_cost.is_empty() {
            self.state.work += 4;
            self.part = if self.draw.share() < PART_PRICED { self.draw.share() } else { 1.0 };
            let job = self.pick();
            self.chain = self.chains && self.state.values[job].missed > 0;
            let worst = heat * self.draw.exponential();
            if self.menu.of(job, &mut self.state.work).is_empty() {
                self.reinsert(job, worst);
            } else if self.draw.share() < CORNERS {
                self.corner(job, worst);
            } else {
                self.force(job, worst);
            }
        }
    }

    /// Sets what weight out of time counts, once each heat.
    fn firm_up(&mut self, heat: f64) {
        if heat == self.heat {
            return;
        }
        self.heat = heat;
        self.hottest = self.hottest.max(heat);
        let cooled = heat / self.hottest;
        let worse = self.total.missed > self.best_total.missed;
        self.firm = if worse { self.firm * FIRMER } else { (self.firm / FIRMER).max(1.0) };
        self.miss =
            if cooled > HARD_AT { self.miss_at_first * self.firm / cooled.sqrt() } else { f64::INFINITY };
    }

    /// Leaves the best plan found in the state.
    pub fn finish(self) {
        for job in &self.changed {
            if self.state.places[*job] != self.best[*job] {
                self.state.take(*job);
            }
        }
        for (job, place) in self.best.into_iter().enumerate() {
            if let (None, Some(place)) = (&self.state.places[job], place) {
                self.state.put(job, place);
            }
        }
    }

    /// Puts jobs back where they were planned before, unless moving them gains what it must: a search from nothing
    /// finds other places that are as good, and plans would flutter. What is only thought to come gives way, as long
    /// as no more of it is out of time. Goes on while `more` allows, given the work used. Leaves the plan in the state.
    pub fn go_back(mut self, mut more: impl FnMut(u64) -> bool) {
        let problem = self.state.problem;
        for job in (0..BACK_SWEEPS).flat_map(|_| 0..problem.jobs.len()) {
            if let Some((before, _)) = &problem.jobs[job].sticky
                && self.state.places[job].as_ref().is_some_and(|place| place != before)
                && more(self.state.work)
            {
                self.back(job, before.clone());
            }
        }
    }

    fn back(&mut self, job: usize, place: Place) {
        let jobs = &self.state.problem.jobs;
        let value = self.state.problem.value(&jobs[job], &place);
        self.take(job);
        let mut taken = Value::default();
        if !self.clear(&place, job, &mut taken) {
            self.settle(false, taken);
            return;
        }
        self.state.put_valued(job, place, value);
        self.out_by_size();
        let out = std::mem::take(&mut self.out);
        self.chain = false;
        let placed = out.iter().all(|job| self.insert(*job, &mut taken) || jobs[*job].optional);
        self.out = out;
        let change = |(job, _, before): &(usize, Option<Place>, Value)| {
            let more = self.state.values[*job] - *before;
            if jobs[*job].optional { Value { missed: more.missed, ..Value::default() } } else { more }
        };
        let gain = self.undo.iter().map(change).fold(Value::default(), |sum, more| sum + more);
        let keep = placed && self.limit(Value::default(), 0.0).keeps(&gain);
        self.settle(keep, gain);
    }

    fn limit(&self, before: Value, worst: f64) -> Limit {
        Limit { before, worst, miss: self.miss }
    }

    fn pick(&mut self) -> usize {
        let about_missed = if self.chains { ABOUT_MISSED.0 } else { ABOUT_MISSED.1 };
        if !self.missed.is_empty() && self.draw.share() < about_missed {
            let at = self.draw.below(self.missed.len());
            let job = self.missed[at];
            if self.state.values[job].missed > 0 {
                return job;
            }
            self.missed.swap_remove(at);
        }
        self.by_cost[self.draw.below(self.taking_part)].1
    }

    fn take(&mut self, job: usize) {
        let value = self.state.values[job];
        let place = self.state.take(job);
        self.undo.push((job, place, value));
    }

    /// Keeps the step's outcome, or takes it back.
    fn settle(&mut self, keep: bool, gain: Value) {
        if !keep {
            for (job, ..) in &self.undo {
                self.state.take(*job);
            }
            for (job, place, value) in self.undo.drain(..) {
                if let Some(place) = place {
                    self.state.put_valued(job, place, value);
                }
            }
            return;
        }
        self.total += gain;
        for (job, ..) in self.undo.drain(..) {
            if !self.is_changed[job] {
                self.is_changed[job] = true;
                self.changed.push(job);
            }
            if self.state.values[job].missed > 0 && !self.missed.contains(&job) {
                self.missed.push(job);
            }
        }
        if self.total.better_than(&self.best_total) {
            self.best_total = self.total;
            for job in self.changed.drain(..) {
                self.best[job].clone_from(&self.state.places[job]);
                self.is_changed[job] = false;
            }
        }
    }

    /// Takes a job out and puts it back at its best: what runs already, or cannot be in time.
    fn reinsert(&mut self, job: usize, worst: f64) {
        let before = self.state.values[job];
        self.take(job);
        let best = self.state.best(job, None);
        let placed = best.is_some();
        if let Some(place) = best {
            self.state.put(job, place);
        }
        let now = self.state.values[job];
        let keep = placed && self.limit(before, worst).keeps(&now);
        self.settle(keep, now - before);
    }

    /// Puts a job at one of its choices; those in the way find other places.
    fn force(&mut self, job: usize, worst: f64) {
        let problem = self.state.problem;
        let item = &problem.jobs[job];
        let choices = self.menu.of(job, &mut self.state.work);
        let choices = wanted(&choices);
        let at = self.draw.share() * self.draw.share() * choices.len() as f64;
        let choice = choices[at as usize];
        let held = self.state.values[job];
        let costs = if self.state.toll.is_some() { choice.priced } else { choice.cost };
        if held.missed == 0 && !item.prompt && costs - held.cost > worst {
            return;
        }
        let Some(place) = self.wanted(job, choice) else { return };
        let mut now = self.state.value(job, &place);
        if self.state.places[job].as_ref() == Some(&place) || self.limit(held, worst).exceeded(&now) {
            return;
        }
        self.take(job);
        let mut before = held;
        if !self.clear(&place, job, &mut before) {
            self.settle(false, now);
            return;
        }
        self.state.put_valued(job, place, now);
        let mut limit = self.limit(before, worst);
        self.out_by_size();
        let keep = self.put_back(&mut now, &mut limit) && limit.keeps(&now);
        self.settle(keep, now - limit.before);
    }

    /// The place a choice stands for. Of a job that may pause: its cheapest runs on that cluster, whoever is there,
    /// which is always the same, or one run among all.
    fn wanted(&mut self, job: usize, choice: Choice) -> Option<Place> {
        let item = &self.state.problem.jobs[job];
        if !item.pauses(self.state.problem.slot) {
            return Some(choice.place(item));
        }
        if self.draw.share() < WHOLE {
            let choices = self.menu.whole(job, &mut self.state.work);
            let choices = wanted(&choices);
            let at = self.draw.share() * self.draw.share() * choices.len() as f64;
            return choices.get(at as usize).map(|choice| choice.place(item));
        }
        self.runs_on(item.mode(choice.mode), usize::from(choice.cluster)).map(|found| found.1)
    }

    /// Takes a job and a few others out of one corner (its own, or one it would rather be in) and puts
    /// them back.
    fn corner(&mut self, job: usize, worst: f64) {
        let problem = self.state.problem;
        let Some(place) = &self.state.places[job] else { return };
        let (mut cluster, mut run) = (place.cluster, (place.start(), place.end()));
        let mut before = self.state.values[job];
        self.take(job);
        self.out.clear();
        self.out.push(job);
        if self.draw.below(2) == 0 {
            let choices = self.menu.of(job, &mut self.state.work);
            let choice = choices[self.draw.below(choices.len().min(CORNER_CHOICES))];
            let length = problem.jobs[job].mode(choice.mode).length;
            (cluster, run) = (usize::from(choice.cluster), (choice.start, choice.start + length));
        }
        let slots = problem.overlapped(run);
        for _ in 0..=self.draw.below(CORNER_MAX) {
            let slot = slots.start + self.draw.below(slots.len());
            let here = self.state.here.get(cluster * problem.slots + slot).map_or(&[][..], Vec::as_slice);
            let Some(other) = here.get(self.draw.below(here.len())).map(|other| *other as usize) else {
                continue;
            };
            if problem.jobs[other].running {
                continue;
            }
            before += self.state.values[other];
            self.take(other);
            self.out.push(other);
        }
        if self.draw.below(2) == 0 {
            self.draw.shuffle(&mut self.out);
        } else {
            self.out_by_size();
        }
        let mut limit = self.limit(before, worst);
        let mut now = Value::default();
        let keep = self.put_back(&mut now, &mut limit) && limit.keeps(&now);
        self.settle(keep, now - limit.before);
    }

    /// Takes out jobs until `place` has room for `job`; `false` when that takes too many.
    fn clear(&mut self, place: &Place, job: usize, before: &mut Value) -> bool {
        self.out.clear();
        self.displace(place, job, before, DISPLACED_MAX)
    }

    /// The same, with those taken out before; in a chain nobody is taken out twice.
    fn displace(&mut self, place: &Place, job: usize, before: &mut Value, most: usize) -> bool {
        let problem = self.state.problem;
        let demand = problem.jobs[job].holds(place);
        let base = place.cluster * problem.slots;
        for run in &place.runs {
            for slot in problem.overlapped(*run) {
                while !fits(demand, &self.state.room[base + slot]) {
                    self.state.work += 1;
                    let have = &self.state.room[base + slot];
                    let lacking = (0..demand.len()).find(|r| demand[*r] > 0 && demand[*r] > have[*r]);
                    let here = &self.state.here[base + slot];
                    let first = self.draw.below(here.len());
                    let (again, undo) = (most > DISPLACED_MAX, &self.undo);
                    let frees = |other: &&u32| {
                        let index = **other as usize;
                        let other = &problem.jobs[index];
                        !other.running
                            && lacking.is_some_and(|r| other.demand[r] > 0)
                            && !(again && undo.iter().any(|(taken, ..)| *taken == index))
                    };
                    let found = here[first..].iter().chain(&here[..first]).find(frees);
                    let Some(other) = found.map(|other| *other as usize) else { return false };
                    if self.out.len() >= most {
                        return false;
                    }
                    *before += self.state.values[other];
                    self.take(other);
                    self.out.push(other);
                }
            }
        }
        true
    }

    /// Those with most weight go back first; of equals the largest.
    fn out_by_size(&mut self) {
        let problem = self.state.problem;
        self.out.sort_unstable_by_key(|job| {
            let item = &problem.jobs[*job];
            let size = i128::from(item.length) * i128::from(item.demand[0].max(1));
            (std::cmp::Reverse(item.weight), std::cmp::Reverse(size), *job)
        });
    }

    /// Puts jobs back where they are cheapest; `false` when the outcome cannot be kept any more.
    fn put_back(&mut self, now: &mut Value, limit: &mut Limit) -> bool {
        let mut at = 0;
        while let Some(job) = self.out.get(at).copied() {
            at += 1;
            let placed = self.insert(job, &mut limit.before);
            *now += self.state.values[job];
            if (!placed && !self.state.problem.jobs[job].optional) || limit.exceeded(now) {
                return false;
            }
        }
        true
    }

    /// In a chain a job that finds no free place takes one of its choices; whoever is in the way is to find
    /// another place after it.
    fn eject(&mut self, job: usize, before: &mut Value) -> Option<Place> {
        if !self.chain || self.out.len() >= CHAIN_MAX {
            return None;
        }
        let problem = self.state.problem;
        let item = &problem.jobs[job];
        let choices = self.menu.of(job, &mut self.state.work);
        let choices = wanted(&choices);
        let choice = *choices.get(self.draw.below(choices.len()))?;
        let place = if item.pauses(problem.slot) {
            self.runs_on(item.mode(choice.mode), usize::from(choice.cluster))?.1
        } else {
            choice.place(item)
        };
        self.displace(&place, job, before, CHAIN_MAX).then_some(place)
    }

    /// Places a job at the cheapest choice that is free.
    fn insert(&mut self, job: usize, before: &mut Value) -> bool {
        let problem = self.state.problem;
        let item = &problem.jobs[job];
        let found = if item.pauses(problem.slot) { self.free_runs(job) } else { self.free_choice(job) };
        let place = match found.or_else(|| self.eject(job, before)) {
            Some(place) => place,
            // It has to run: late, if there is no other way.
            None if !item.optional => match self.state.best(job, None) {
                Some(place) => place,
                None => return false,
            },
            None => return false,
        };
        self.state.put(job, place);
        true
    }

    fn free_choice(&mut self, job: usize) -> Option<Place> {
        let State { problem, room, work, .. } = &mut *self.state;
        let draw = &mut self.draw;
        let choice = self.menu.free(job, self.part, room, work, || draw.share() >= BLINKS)?;
        Some(choice.place(&problem.jobs[job]))
    }

    /// The cheapest free runs of a job that may pause: most have one run, which is soon found and leaves few clusters
    /// where pauses could gain.
    fn free_runs(&mut self, job: usize) -> Option<Place> {
        let State { problem, room, work, .. } = &mut *self.state;
        let (problem, item) = (*problem, &problem.jobs[job]);
        let prices = (self.part == 1.0).then_some(self.menu.prices);
        let priced = |choice: &Choice| if prices.is_some() { choice.priced } else { choice.cost };
        let draw = &mut self.draw;
        let part = if prices.is_some() { 1.0 } else { 0.0 };
        let whole = self.menu.free(job, part, room, work, || draw.share() >= BLINKS);
        let mut best = whole.map(|choice| (priced(&choice), choice.place(item)));
        for choice in self.menu.of(job, work).iter() {
            if best.as_ref().is_some_and(|best| priced(choice) >= best.0) {
                if prices.is_some() {
                    break;
                }
                continue;
            }
            let (mode, cluster) = (item.mode(choice.mode), usize::from(choice.cluster));
            let search = Search::new(problem, room, prices, mode, cluster);
            let dearest = best.as_ref().map_or(f64::INFINITY, |best| best.0);
            if let Some(found) = search.cheaper_than(dearest, item.deadline, &mut self.slots, work)
                && draw.share() >= BLINKS
            {
                best = Some(found);
            }
        }
        if let Some((before, gain)) = &item.sticky
            && before.end() <= item.deadline
            && best.as_ref().is_none_or(|best| problem.cost(item, before) <= best.0 + gain)
            && problem.has_room(room, item, before)
        {
            return Some(before.clone());
        }
        best.map(|best| best.1)
    }

    /// The cheapest runs of a job that may pause on one cluster, whoever is there.
    fn runs_on(&mut self, item: &Job, cluster: usize) -> Option<(f64, Place)> {
        let problem = self.state.problem;
        let site = item.sites[cluster].as_ref()?;
        let prices = (self.part == 1.0).then_some(self.menu.prices);
        let room = &problem.room;
        let mut work = 0;
        let found = Search::new(problem, room, prices, item, cluster).cheapest(item.deadline, &mut work);
        let found = found.or_else(|| {
            // As many slots as it needs: one run.
            let mut best: Option<(f64, i64)> = None;
            let scan = Scan { problem, room, prices, job: item };
            scan.each(cluster, site, item.deadline, &mut work, &mut |start, score| {
                if best.is_none_or(|best| score < best.0) {
                    best = Some((score, start));
                }
            });
            best.map(|(score, start)| (score, Place::contiguous(item, cluster, start)))
        });
        self.state.work += work;
        found
    }
}
