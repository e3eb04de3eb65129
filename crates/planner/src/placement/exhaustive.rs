//! Tests of the solver against trying everything, on cases small enough for that.

use super::interruptible::Search;
use super::menu::Menu;
use super::prices::Prices;
use super::problem::{Amounts, Job, Place, Problem, Site, Value};
use super::skeleton::skeleton;
use super::solve::{Budget, solve};
use super::state::State;
use proptest::prelude::*;

const SLOT: i64 = 100;

fn job(from: i64, length: i64, deadline: i64, cores: i64, kw: [f64; 2]) -> Job {
    let site = |kw: f64| {
        Some(Site { grams: kw / 1000.0, fixed: 0.0, money: kw, moving: 0.0, resume: kw / 10_000.0 })
    };
    Job {
        weight: 1,
        short: 0,
        prompt: deadline == i64::MAX,
        from,
        deadline,
        length,
        demand: [cores, 0, 0, 1],
        sites: kw.into_iter().map(site).collect(),
        data_at: None,
        pausable: false,
        running: false,
        continues: false,
        extra_starts: if deadline.saturating_sub(length) > from && deadline != i64::MAX {
            vec![from, deadline - length]
        } else {
            vec![from]
        },
        optional: false,
        sticky: None,
        mode: 0,
        others: Vec::new(),
    }
}

/// Another mode of a job: its length and cores, and the weight of what it leaves undone.
fn mode(job: &Job, length: i64, cores: i64, short: i128) -> Job {
    let part = cores as f64 / job.demand[0] as f64;
    let site = |site: &Option<Site>| site.map(|site| Site { grams: site.grams * part, ..site });
    let latest = job.deadline - length;
    Job {
        short,
        length,
        demand: [cores, 0, 0, 1],
        sites: job.sites.iter().map(site).collect(),
        extra_starts: if latest > job.from { vec![job.from, latest] } else { vec![job.from] },
        ..job.clone()
    }
}

fn problem(slots: usize, cores: [i64; 2], intensity: &[i64], jobs: Vec<Job>) -> Problem {
    let room: Vec<Amounts> = (0..2 * slots).map(|i| [cores[i / slots], 0, 0, 100]).collect();
    let intensity = (0..2 * slots).map(|i| intensity[i % intensity.len()] * 1000).collect();
    Problem::new(slots, SLOT, room, intensity, jobs)
}

/// Every place of a contiguous job: its extra starts, every boundary after `from`, every cluster.
fn all_places(problem: &Problem, job: &Job) -> Vec<Place> {
    let boundaries = (0..problem.slots as i64).map(|slot| slot * SLOT).filter(|start| *start > job.from);
    let starts: Vec<i64> = job.extra_starts.iter().copied().chain(boundaries).collect();
    (0..2)
        .flat_map(|c| starts.iter().map(move |s| (c, *s)))
        .map(|(c, s)| Place::contiguous(job, c, s))
        .collect()
}

/// The best total over every combination of places that keeps to capacity.
fn try_everything(problem: &Problem, job: usize, room: &[Amounts], so_far: Value, best: &mut Option<Value>) {
    let Some(item) = problem.jobs.get(job) else {
        if best.as_ref().is_none_or(|best| so_far.better_than(best)) {
            *best = Some(so_far);
        }
        return;
    };
    let usable = |item: &Job, place: &Place| place.mode == 0 || place.end() <= item.mode(place.mode).deadline;
    let places = item.modes().flat_map(|mode| all_places(problem, mode));
    for place in places.filter(|place| usable(item, place)) {
        if !problem.has_room(room, item, &place) {
            continue;
        }
        let mut left = room.to_vec();
        for slot in problem.overlapped(place.runs[0]) {
            for (have, need) in left[place.cluster * problem.slots + slot].iter_mut().zip(item.holds(&place))
            {
                *have -= need;
            }
        }
        try_everything(problem, job + 1, &left, so_far + problem.value(item, &place), best);
    }
}

/// The cheapest set of whole and last part slots on cluster 0, trying every set.
fn every_set(problem: &Problem, job: &Job) -> f64 {
    let first = (job.from + SLOT - 1) / SLOT;
    let needed = (job.length + SLOT - 1) / SLOT;
    let rest = job.length - (needed - 1) * SLOT;
    let mut best = f64::INFINITY;
    for set in 0u32..1 << problem.slots {
        let chosen: Vec<i64> = (0..problem.slots as i64).filter(|slot| set >> slot & 1 == 1).collect();
        if chosen.len() as i64 != needed || chosen[0] < first {
            continue;
        }
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for (i, slot) in chosen.iter().enumerate() {
            let end = slot * SLOT + if i + 1 == chosen.len() { rest } else { SLOT };
            match runs.last_mut() {
                Some(run) if run.1 == slot * SLOT => run.1 = end,
                _ => runs.push((slot * SLOT, end)),
            }
        }
        let place = Place { cluster: 0, mode: 0, runs };
        let short = place.runs.len() > 1 && place.runs.iter().any(|run| run.1 - run.0 < SLOT);
        if !short && place.end() <= job.deadline && problem.has_room(&problem.room, job, &place) {
            best = best.min(problem.cost(job, &place));
        }
    }
    best
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (a.abs() + b.abs()) + 1e-12
}

/// The solver's plan keeps to capacity, is no worse than the best of all, and its bound is one.
fn as_good_as_trying_everything(problem: &Problem) -> Result<(), TestCaseError> {
    let mut best = None;
    try_everything(problem, 0, &problem.room, Value::default(), &mut best);
    let best = best.unwrap();
    let solution = solve(problem, &[], 1_000_000);
    let mut room = problem.room.clone();
    let mut total = Value::default();
    for (job, place) in problem.jobs.iter().zip(&solution.places) {
        let place = place.as_ref().unwrap();
        prop_assert_eq!(place.runs[0].1 - place.runs[0].0, job.mode(place.mode).length);
        prop_assert!(problem.has_room(&room, job, place));
        for slot in problem.overlapped(place.runs[0]) {
            for (have, need) in room[place.cluster * problem.slots + slot].iter_mut().zip(job.holds(place)) {
                *have -= need;
            }
        }
        total += problem.value(job, place);
    }
    prop_assert!(!best.better_than(&total), "best {best:?}, found {total:?} at {:?}", solution.places);
    prop_assert!(!total.better_than(&best), "better than everything: {best:?}, found {total:?}");
    if let Some(bound) = solution.bound {
        prop_assert!(bound <= best.cost * (1.0 + 1e-9), "bound {bound} above the optimum {best:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn three_jobs_are_placed_as_well_as_by_trying_everything(
        cores in prop::array::uniform2(2i64..5),
        intensity in prop::collection::vec(1i64..9, 3..16),
        specs in prop::collection::vec((0i64..250, 30i64..350, 0i64..700, 1i64..4, prop::array::uniform2(1u8..4), 0u8..5, 0u8..3), 1..4)
    ) {
        let jobs = specs.iter().map(|(from, length, slack, cores, kw, prompt, priority)| {
            let deadline = if *prompt == 0 { i64::MAX } else { from + length + slack - 100 };
            let mut job = job(*from, *length, deadline, *cores, kw.map(f64::from));
            job.weight = [1, 4, 16][usize::from(*priority)];
            job
        });
        // Nothing is larger than a cluster, so everything has some place.
        let jobs = jobs.map(|mut j| { j.demand[0] = j.demand[0].min(cores[0]).min(cores[1]); j }).collect();
        let problem = problem(16, cores, &intensity, jobs);
        as_good_as_trying_everything(&problem)?;
    }

    #[test]
    fn jobs_of_several_modes_are_placed_as_well_as_by_trying_everything(
        cores in prop::array::uniform2(2i64..6),
        intensity in prop::collection::vec(1i64..9, 3..16),
        specs in prop::collection::vec((0i64..250, 60i64..350, 0i64..500, 1i64..5, prop::array::uniform2(1u8..4), 0u8..8, 0u8..3), 1..4)
    ) {
        let jobs = specs.iter().map(|(from, length, slack, pods, kw, kinds, priority)| {
            let mut job = job(*from, *length, from + length + slack - 100, *pods, kw.map(f64::from));
            job.demand[0] = job.demand[0].min(cores[0]).min(cores[1]);
            job.weight = 8 * [1, 4, 16][usize::from(*priority)];
            let mut others = Vec::new();
            // Half the pods for twice as long and a little; twice the pods, for two thirds; half the work.
            if kinds & 1 > 0 && job.demand[0] % 2 == 0 {
                others.push(mode(&job, *length * 2 + 10, job.demand[0] / 2, 0));
            }
            if kinds & 2 > 0 && job.demand[0] * 2 <= cores[0].min(cores[1]) {
                let mut other = mode(&job, *length * 2 / 3, job.demand[0] * 2, 0);
                if kinds & 1 == 0 {
                    other.deadline = (job.deadline - length / 4).max(1);
                    other.extra_starts = vec![*from];
                }
                others.push(other);
            }
            if kinds & 4 > 0 {
                others.push(mode(&job, *length / 2, job.demand[0], job.weight / 2));
            }
            for (at, other) in others.iter_mut().enumerate() {
                other.mode = at as u8 + 1;
            }
            Job { others, ..job }
        });
        let problem = problem(16, cores, &intensity, jobs.collect());
        as_good_as_trying_everything(&problem)?;
    }

    #[test]
    fn pauses_are_as_good_as_trying_every_set_of_slots(
        intensity in prop::collection::vec(1i64..9, 10..11),
        from in 0i64..250, length in 50i64..550, deadline in 500i64..1000, blocked in prop::option::of(0usize..10)
    ) {
        let mut item = job(from, length, deadline, 1, [2.0, 2.0]);
        item.pausable = true;
        item.sites = [item.sites[0], None].into();
        let mut problem = problem(10, [1, 0], &intensity, vec![item.clone()]);
        if let Some(slot) = blocked {
            problem.room[slot] = [0; 4];
        }
        let search = Search { problem: &problem, room: &problem.room, prices: None, job: &item, cluster: 0, pause_now: false };
        let mut work = 0;
        let expect = every_set(&problem, &item);
        match search.cheapest(deadline, &mut work) {
            Some((score, place)) => {
                prop_assert!(close(score, expect), "found {score} {place:?}, expected {expect}");
                prop_assert!(close(problem.cost(&item, &place), score));
                prop_assert!(problem.has_room(&problem.room, &item, &place));
                prop_assert_eq!(place.runs.iter().map(|r| r.1 - r.0).sum::<i64>(), length);
                let site = item.sites[0].unwrap();
                let relaxed = search.relaxed(&site, deadline, &mut Vec::new()).unwrap();
                prop_assert!(relaxed <= score + 1e-9, "bound {relaxed} above {score}");
            }
            // It leaves the contiguous run alone, which takes every slot there is.
            None => {
                let (first, needed) = ((from + 99) / 100, (length + 99) / 100);
                let last = (deadline - (length - (needed - 1) * 100)) / 100;
                prop_assert!(expect.is_infinite() || needed > last - first, "{expect}");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_free_choice_is_the_cheapest_that_fits_whatever_was_full_before(
        intensity in prop::collection::vec(1i64..9, 3..16),
        length in 30i64..350,
        rooms in prop::collection::vec(prop::collection::vec(0i64..4, 32), 1..6),
        part in prop::sample::select(vec![0.0, 0.5, 1.0])
    ) {
        let item = job(120, length, 1400, 2, [1.0, 1.5]);
        let problem = problem(16, [3, 3], &intensity, vec![item.clone()]);
        let price: Vec<f64> = (0..2 * 4 * 16).map(|i| f64::from((i * 7 % 5) as u8) * 1e-4).collect();
        let prices = Prices::given(&problem, &price);
        let mut menu = Menu::new(&problem, &prices);
        let choices = menu.of(0, &mut 0);
        for cores in rooms {
            let room: Vec<Amounts> = cores.iter().map(|cores| [*cores, 0, 0, 100]).collect();
            let score = |cost: f64, priced: f64| cost + part * (priced - cost);
            let open = choices.iter().filter(|choice| problem.has_room(&room, &item, &choice.place(&item)));
            let least = open.map(|choice| score(choice.cost, choice.priced)).min_by(f64::total_cmp);
            let found = menu.free(0, part, &room, &mut 0, || true);
            prop_assert_eq!(found.map(|choice| score(choice.cost, choice.priced)), least);
            if let Some(choice) = found {
                prop_assert!(problem.has_room(&room, &item, &choice.place(&item)));
            }
            prop_assert!(menu.free(0, part, &room, &mut 0, || false).is_none());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_plan_begun_with_the_largest_keeps_to_capacity_and_pays_no_toll_in_the_end(
        intensity in prop::collection::vec(1i64..9, 3..16),
        specs in prop::collection::vec((0i64..500, 60i64..350, 100i64..900, 1i64..4, 1u8..9, any::<bool>()), 33..60),
        toll in 0u8..5,
    ) {
        let jobs: Vec<Job> = specs.iter().map(|(from, length, slack, cores, kw, pausable)| {
            let mut job = job(*from, *length, from + length + slack, *cores, [f64::from(*kw), 2.0]);
            (job.optional, job.pausable) = (true, *pausable);
            job
        }).collect();
        let problem = problem(16, [6, 9], &intensity, jobs);
        let price: Vec<f64> = (0..2 * 4 * 16).map(|i| f64::from((i * 7 % 5) as u8 * toll) * 1e-4).collect();
        let prices = Prices::given(&problem, &price);
        let begin = |seed| {
            let mut share = |work: u64| work as f64 / 200_000.0;
            let mut budget = Budget { share: &mut share, stride: 500 };
            let mut menu = Menu::new(&problem, &prices);
            skeleton(&State::new(&problem), &mut menu, 1.0, 1.0, seed, &mut budget)
        };
        let state = begin(1);
        let mut room = problem.room.clone();
        for (job, place) in state.places.iter().enumerate() {
            let Some(place) = place else { continue };
            prop_assert_eq!(state.values[job], problem.value(&problem.jobs[job], place));
            prop_assert_eq!(place.runs.iter().map(|run| run.1 - run.0).sum::<i64>(), problem.jobs[job].length);
            prop_assert!(place.end() <= problem.jobs[job].deadline);
            for slot in place.runs.iter().flat_map(|run| problem.overlapped(*run)) {
                room[place.cluster * problem.slots + slot][0] -= problem.jobs[job].demand[0];
            }
        }
        prop_assert!(room.iter().zip(&state.room).all(|(mine, its)| mine[0] == its[0] && its[0] >= 0));
        prop_assert_eq!(&state.places, &begin(1).places, "the same twice");
    }
}

#[test]
fn a_pair_that_has_to_swap_is_swapped() {
    // One core; the cheap hour suits only one: the job that burns more must get it.
    let early = job(0, 100, 300, 1, [1.0, 9.0]);
    let mut late = job(0, 100, 300, 1, [5.0, 9.0]);
    late.sites = [late.sites[0], None].into();
    let problem =
        problem(3, [1, 0], &[5, 1, 4], vec![Job { sites: [early.sites[0], None].into(), ..early }, late]);
    let solution = solve(&problem, &[], 100_000);
    let starts: Vec<i64> = solution.places.iter().map(|p| p.as_ref().unwrap().start()).collect();
    assert_eq!(starts, [200, 100]);
    let bound = solution.bound.unwrap();
    assert!(bound > 8.5 && bound <= 9.0 + 1e-9, "prices prove the swap: {bound} of 9");
}

#[test]
fn little_effort_still_places_everyone() {
    let jobs = (0..40).map(|i| job(0, 150, 4000, 1 + i % 2, [1.0, 2.0])).collect();
    let problem = problem(40, [3, 3], &[7, 3, 5, 1], jobs);
    let little = solve(&problem, &[], 0);
    assert!(little.places.iter().all(Option::is_some));
    let cost = |places: &[Option<Place>]| -> f64 {
        problem.jobs.iter().zip(places).map(|(j, p)| problem.cost(j, p.as_ref().unwrap())).sum()
    };
    let much = solve(&problem, &[], 3_000_000);
    assert!(cost(&much.places) <= cost(&little.places));
    assert!(much.work < 4_000_000, "{}", much.work);
}

#[test]
fn of_equals_the_earlier_start_is_taken() {
    let jobs: Vec<Job> = (0..12).map(|i| job(i * 30, 150, 3500, 1, [1.0, 1.5])).collect();
    let problem = problem(40, [20, 20], &[5], jobs);
    let solution = solve(&problem, &[], 300_000);
    for (job, place) in problem.jobs.iter().zip(&solution.places) {
        assert_eq!(place.as_ref().unwrap().start(), job.from);
    }
}
