//! What would save, on fleets one can follow by hand, and against planning again on random ones.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests: a failure should panic.

mod fleets;
#[path = "fleets/random.rs"]
mod random;

use fleet::{ClusterSnapshot, GramsCo2, Money, MoneyPerHour, Policy, PolicyKind, Snapshot, Span, Workload};
use fleets::{at, cluster, cluster_id, due, job, policy, resources, snapshot};
use planner::check;
use planner::placement::{Assignment, Change, Effort, Saving, Schedule, explain, plan};
use proptest::prelude::*;
use random::random_fleet;

fn grams(grams: f64) -> GramsCo2 {
    GramsCo2::from_grams_f64(grams)
}

fn asked(s: &Snapshot, p: &Policy, job: &Workload) -> (Schedule, Vec<Saving>) {
    let schedule = plan(s, p, None, Effort::default());
    assert_eq!(check::schedule(s, &schedule), []);
    let why = explain(s, p, &schedule, &job.key, 3).unwrap();
    (schedule, why.would_save)
}

fn savings(s: &Snapshot, job: &Workload) -> Vec<Saving> {
    asked(s, &policy(PolicyKind::Optimal), job).1
}

/// Dirty but for one hour.
fn clean_at(hour: usize, clean: f64) -> [f64; 24] {
    let mut grams = [500.0; 24];
    grams[hour] = clean;
    grams
}

#[test]
fn an_hour_more_of_slack_reaches_a_clean_hour() {
    let wanted = due(job("train", 0, 1.0, 2.0), at(12, 0));
    let s = snapshot(at(0, 7), vec![cluster(0, 1, &clean_at(12, 100.0))], vec![wanted.clone()]);
    let found = savings(&s, &wanted);
    // 8 W for an hour at 500 g, or at 100 g.
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].carbon, found[0].cost), (grams(3.2), Some(Money::ZERO)));
    assert_eq!(found[0].change, Change::Slack { by: Span::HOUR, deadline: at(13, 0) });
    assert_eq!(found[0].instead.as_ref().unwrap().start(), at(12, 0));
    assert_eq!(
        found[0].sentence,
        "an hour more of slack (until 2026-05-01 13:00 UTC) would save 3.20 g CO2e: in de from 2026-05-01 12:00 UTC"
    );
    // The clean hour is too late by a minute, or there already: nothing to tell.
    let later = due(wanted.clone(), at(11, 14));
    let s = |w: &Workload| snapshot(at(0, 7), vec![cluster(0, 1, &clean_at(12, 100.0))], vec![w.clone()]);
    let partly = savings(&s(&later), &later);
    assert!(
        partly[0].carbon < grams(1.0) && partly[0].carbon > GramsCo2::ZERO,
        "14 minutes of it: {partly:?}"
    );
    for deadline in [at(11, 0), at(13, 0), at(20, 0)] {
        let other = due(wanted.clone(), deadline);
        assert_eq!(savings(&s(&other), &other), [], "{deadline}");
    }
}

#[test]
fn slack_saves_nothing_where_nothing_may_wait_or_can_be_moved() {
    let wanted = due(job("train", 0, 1.0, 2.0), at(12, 0));
    let prompt = Workload { prompt: true, ..wanted.clone() };
    let open = Workload { deadline: None, ..wanted.clone() };
    let running = Workload { running: true, pinned: Some(cluster_id(0)), ..wanted.clone() };
    let pausing = Workload { interruptible: true, duration: Span::HOUR.scaled(12, 1), ..running.clone() };
    let s = |w: &Workload| snapshot(at(0, 0), vec![cluster(0, 1, &clean_at(12, 100.0))], vec![w.clone()]);
    for w in [&prompt, &open, &running] {
        assert_eq!(savings(&s(w), w), [], "{w:?}");
    }
    // Without slack it runs through; with an hour more it skips a dirty one. A resume is two minutes of energy.
    let found = savings(&s(&pausing), &pausing);
    assert!(matches!(found[0].change, Change::Slack { .. }) && found[0].carbon == grams(3.2), "{found:?}");
    // Other methods do not wait for cleaner hours.
    for kind in [PolicyKind::Score, PolicyKind::Soonest] {
        assert_eq!(asked(&s(&wanted), &policy(kind), &wanted).1, [], "{kind:?}");
    }
}

#[test]
fn an_hour_more_leaves_as_much_undone_as_it_says() {
    let hour = |of: i64| Span::HOUR.scaled(of, 1);
    let mut cut = due(job("cut", 0, 4.0, 5.0), at(3, 0));
    cut.may_be_cut = true;
    // The clean cluster is taken until 01:00, the dirty one from 03:00 on: two of higher priority.
    let mut early = due(job("early", 0, 1.0, 5.0), at(1, 0));
    let mut late = due(job("late", 0, 3.0, 5.0), at(6, 0));
    (early.priority, early.allowed) = (2, Some(vec![cluster_id(1)]));
    (late.priority, late.allowed, late.release) = (2, Some(vec![cluster_id(0)]), at(3, 0));
    let clusters = vec![cluster(0, 1, &[500.0]), cluster(1, 1, &[100.0])];
    let s = snapshot(at(0, 0), clusters, vec![cut.clone(), early, late]);
    let (schedule, found) = asked(&s, &policy(PolicyKind::Optimal), &cut);
    let chosen = schedule.get(&cut.key).unwrap();
    assert_eq!((&chosen.cluster, chosen.undone), (&cluster_id(0), hour(1)));
    let slack = found.iter().find(|saving| matches!(saving.change, Change::Slack { .. }));
    let instead = slack.and_then(|saving| saving.instead.as_ref()).unwrap();
    assert_eq!((&instead.cluster, instead.start(), instead.end()), (&cluster_id(1), at(1, 0), at(4, 0)));
    assert_eq!(instead.undone, hour(1));
}

#[test]
fn a_forbidden_clean_cluster_would_save() {
    let mut wanted = due(job("train", 0, 1.0, 2.0), at(12, 0));
    wanted.allowed = Some(vec![cluster_id(0)]);
    let mut gone = cluster(2, 1, &[1.0]);
    gone.reachable = false;
    let mut dear = cluster(1, 1, &[50.0]);
    dear.rates.core_price = MoneyPerHour::from_units_f64(0.06);
    let small = ClusterSnapshot { nodes: vec![resources(1.0, 4, 8); 8], ..cluster(3, 1, &[1.0]) };
    let clusters = vec![cluster(0, 1, &[500.0]), dear, gone, small, cluster(4, 1, &[500.0])];
    let mut s = snapshot(at(0, 0), clusters, vec![wanted.clone()]);
    let found = savings(&s, &wanted);
    // Not jp, which does not answer; not kr, where another limit remains; not nl, which is as dirty.
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].carbon, found[0].cost), (grams(3.6), Some(Money::from_units_f64(-0.02))));
    assert_eq!(
        found[0].sentence,
        "leave to run in es would save 3.60 g CO2e for 0.02 more in money: in es from 2026-05-01 00:00 UTC"
    );
    // Allowed everywhere it is the size of its pod that keeps it out of kr.
    s.workloads[0].allowed = None;
    let found = savings(&s, &wanted);
    assert_eq!((found.len(), found[0].carbon), (1, grams(0.392)), "against es, which is open: {found:?}");
    assert_eq!(
        found[0].change,
        Change::Nodes {
            cluster: cluster_id(3),
            limit: "pod asks for 2 cores; the largest node has 1".to_owned()
        }
    );
    // A Job that has begun elsewhere cannot be allowed away.
    s.workloads[0] = Workload { pinned: Some(cluster_id(0)), ..wanted.clone() };
    assert_eq!(savings(&s, &wanted), []);
}

#[test]
fn everybody_else_stays_where_they_are() {
    let mut wanted = due(job("train", 0, 1.0, 5.0), at(12, 0));
    wanted.allowed = Some(vec![cluster_id(0)]);
    let full = |deadline| due(job("full", 1, 2.0, 5.0), deadline);
    let mut there = full(at(2, 0));
    there.allowed = Some(vec![cluster_id(1)]);
    let mut es = [50.0; 24];
    es[2..].fill(300.0);
    let s = snapshot(
        at(0, 0),
        vec![cluster(0, 1, &[500.0]), cluster(1, 1, &es)],
        vec![wanted.clone(), there.clone()],
    );
    let found = savings(&s, &wanted);
    // 20 W for an hour: 10 g, or 6 g once the other has ended; not 1 g.
    assert_eq!((found[0].carbon, found[0].instead.as_ref().unwrap().start()), (grams(4.0), at(2, 0)));
    // It never leaves: nothing can be saved there.
    there.duration = Span::HOUR.scaled(12, 1);
    there.deadline = Some(at(12, 0));
    let s = snapshot(at(0, 0), s.clusters, vec![wanted.clone(), there]);
    assert_eq!(savings(&s, &wanted), []);
}

#[test]
fn what_is_open_anyway_is_no_saving_of_a_change() {
    let wanted = due(job("train", 0, 1.0, 2.0), at(12, 0));
    let fleet = |grams: &[f64]| snapshot(at(0, 0), vec![cluster(0, 1, grams)], vec![wanted.clone()]);
    let p = policy(PolicyKind::Optimal);
    // Planned for 4 g at once; then the forecast says 0.8 g at 5:00, and 0.4 g just after the deadline.
    let schedule = plan(&fleet(&[500.0]), &p, None, Effort::default());
    let mut grams = clean_at(5, 100.0);
    grams[12] = 50.0;
    let found = explain(&fleet(&grams), &p, &schedule, &wanted.key, 3).unwrap().would_save;
    assert_eq!((found.len(), found[0].carbon), (1, GramsCo2::from_grams_f64(0.4)), "{found:?}");
}

/// Two Jobs of ten cores for the one place in the clean hour.
fn crowded() -> (Snapshot, [Workload; 2]) {
    let jobs = ["a", "b"].map(|name| due(job(name, 0, 1.0, 10.0), at(12, 0)));
    let mut tight = cluster(0, 1, &clean_at(5, 100.0));
    (tight.free, tight.nodes) = (resources(10.0, 29, 58), vec![resources(10.0, 29, 58)]);
    (snapshot(at(0, 0), vec![tight], jobs.to_vec()), jobs)
}

#[test]
fn ten_more_cores_save_what_the_clean_hour_is_worth() {
    let (mut s, jobs) = crowded();
    let (schedule, found) = asked(&s, &policy(PolicyKind::Optimal), &jobs[0]);
    // 40 W for an hour, 400 g apart.
    assert_eq!(found.len(), 1, "{found:?}");
    let claimed = found[0].carbon.as_grams_f64();
    assert!((claimed - 16.0).abs() < 0.5, "{claimed}");
    let Change::Cores { cluster, cores, from, to } = &found[0].change else { panic!("{found:?}") };
    assert_eq!((cluster, cores.as_cores_f64(), *from, *to), (&cluster_id(0), 10.0, at(0, 0), at(12, 0)));
    assert_eq!((found[0].cost, &found[0].instead), (None, &None));
    assert!(found[0].sentence.starts_with("10 more cores in de from 2026-05-01 00:00 UTC to 2026-05-01 12:00 UTC would save all Jobs together about 1"), "{}", found[0].sentence);
    s.clusters[0].free = resources(20.0, 29, 58);
    s.clusters[0].nodes = vec![resources(10.0, 29, 58); 2];
    let (roomy, found) = asked(&s, &policy(PolicyKind::Optimal), &jobs[0]);
    assert_eq!(schedule.objective - roomy.objective, grams(16.0));
    assert_eq!(found, [], "nothing binds any more");
}

#[test]
fn only_the_prices_of_its_own_window_count() {
    let (mut s, jobs) = crowded();
    let early = due(job("early", 0, 1.0, 2.0), at(3, 0));
    let late = Workload { release: at(7, 0), ..due(job("late", 0, 1.0, 2.0), at(12, 0)) };
    s = snapshot(s.at, s.clusters, vec![jobs[0].clone(), jobs[1].clone(), early.clone(), late.clone()]);
    let cores = |w: &Workload| savings(&s, w).iter().any(|s| matches!(s.change, Change::Cores { .. }));
    assert!(cores(&jobs[1]) && !cores(&early) && !cores(&late));
}

#[test]
fn at_most_five_the_best_first() {
    let mut wanted = due(job("train", 0, 1.0, 2.0), at(12, 0));
    wanted.allowed = Some(vec![cluster_id(0)]);
    let mut clusters: Vec<ClusterSnapshot> =
        (1..6).map(|i| cluster(i, 1, &[100.0 * i as f64 - 50.0])).collect();
    clusters.insert(0, cluster(0, 1, &clean_at(12, 100.0).map(|g| g + 200.0)));
    let s = snapshot(at(0, 0), clusters, vec![wanted.clone()]);
    let found = savings(&s, &wanted);
    let saved: Vec<GramsCo2> = found.iter().map(|s| s.carbon).collect();
    // Of 700 g: clusters at 50, 150, 250 and 350, slack at 300, and 450 is one too many.
    assert_eq!(saved, [650.0, 550.0, 450.0, 400.0, 350.0].map(|g| grams(g * 0.008)));
}

/// The Job's assignment replaced, late or not as the changed contract says.
fn with(schedule: &Schedule, instead: &Assignment) -> Schedule {
    let mut schedule = schedule.clone();
    let at = schedule.assignments.binary_search_by(|a| a.key.cmp(&instead.key)).unwrap();
    schedule.assignments[at] = instead.clone();
    schedule
}

/// Grams, money at the carbon price included.
fn priced(carbon: GramsCo2, cost: Money, p: &Policy) -> f64 {
    carbon.as_grams_f64() + p.carbon_price_per_tonne.map_or(0.0, |price| cost.as_units_f64() * 1e6 / price)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The place a claim rests on keeps every rule once the change is made, everybody else where they
    /// are, and saves at least what is claimed: planning that Job alone again would find it or better.
    #[test]
    fn no_claim_is_more_than_planning_that_job_again_gives(s in random_fleet(), price in prop::option::of(5.0f64..500.0)) {
        let mut p = policy(PolicyKind::Optimal);
        p.carbon_price_per_tonne = price;
        let schedule = plan(&s, &p, None, Effort(100_000));
        for chosen in &schedule.assignments {
            let why = explain(&s, &p, &schedule, &chosen.key, 3).unwrap();
            prop_assert!(why.would_save.len() <= 5);
            let claims = why.would_save.iter().map(|c| priced(c.carbon, c.cost.unwrap_or(Money::ZERO), &p));
            let claims: Vec<f64> = claims.collect();
            prop_assert!(claims.iter().all(|claim| *claim > 0.0) && claims.windows(2).all(|w| w[0] >= w[1] - 1e-6));
            for (saving, claim) in why.would_save.iter().zip(&claims) {
                let Some(instead) = &saving.instead else { continue };
                let mut changed = s.clone();
                let at = s.workloads.iter().position(|w| w.key == chosen.key).unwrap();
                match &saving.change {
                    Change::Slack { by, deadline } => {
                        prop_assert_eq!((*by, *deadline), (Span::HOUR, s.workloads[at].deadline.unwrap() + Span::HOUR));
                        changed.workloads[at].deadline = Some(*deadline);
                    }
                    Change::Cluster { cluster, .. } => {
                        prop_assert_eq!(cluster, &instead.cluster);
                        changed.workloads[at].allowed = None;
                    }
                    Change::Nodes { cluster, .. } => {
                        prop_assert_eq!(cluster, &instead.cluster);
                        let c = s.clusters.iter().position(|c| c.id == *cluster).unwrap();
                        changed.clusters[c].nodes = vec![s.clusters[c].free; 8];
                    }
                    Change::Cores { .. } => prop_assert!(false, "cores move nobody"),
                }
                let mut moved = with(&schedule, instead);
                moved.late.retain(|l| l.key != instead.key || !instead.in_time);
                prop_assert_eq!(check::schedule(&changed, &moved), [], "{:?}", saving);
                let gain = priced(chosen.footprint.carbon, chosen.footprint.cost, &p)
                    - priced(instead.footprint.carbon, instead.footprint.cost, &p);
                prop_assert!(*claim <= gain * (1.0 + 1e-9) + 1e-6, "{claim} of {gain}: {saving:?}");
                prop_assert!(instead.in_time || !chosen.in_time);
                prop_assert!(instead.undone <= chosen.undone, "{saving:?} of {chosen:?}");
            }
        }
    }

    /// With ten more cores no plan falls below the bound less what the prices claim.
    #[test]
    fn ten_cores_lower_the_bound_by_no_more_than_claimed(
        jobs in prop::collection::vec((1i64..20, 1i64..8, 0usize..2), 2..12),
        curve in prop::collection::vec(10.0f64..900.0, 24),
    ) {
        let p = policy(PolicyKind::Optimal);
        let jobs = jobs.iter().enumerate().map(|(i, (quarters, cores, home))| {
            due(job(&format!("j{i:02}"), *home, *quarters as f64 * 0.25, *cores as f64), at(72, 0))
        });
        let turned: Vec<f64> = curve.iter().rev().copied().collect();
        let s = snapshot(at(0, 0), vec![cluster(0, 1, &curve), cluster(1, 1, &turned)], jobs.collect());
        let schedule = plan(&s, &p, None, Effort::default());
        let why = explain(&s, &p, &schedule, &s.workloads[0].key, 1).unwrap();
        prop_assume!(schedule.late.is_empty());
        for saving in &why.would_save {
            let Change::Cores { cluster, cores, .. } = &saving.change else { continue };
            let mut roomy = s.clone();
            let c = s.clusters.iter().position(|c| c.id == *cluster).unwrap();
            roomy.clusters[c].free.cpu += *cores;
            let again = plan(&roomy, &p, None, Effort::default());
            prop_assert!(again.late.is_empty());
            let least = (schedule.lower_bound.unwrap() - saving.carbon).as_grams_f64();
            prop_assert!(again.objective.as_grams_f64() >= least * (1.0 - 1e-9) - 1e-4, "{again:?}");
        }
    }
}
