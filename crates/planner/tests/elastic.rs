//! Jobs that may run with more or fewer pods at a time, and Jobs that stop at their deadline.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests: a failure should panic.

mod fleets;
#[path = "fleets/optimal.rs"]
mod optimal;

use fleet::{GramsCo2, PolicyKind, Shape, Span, Workload};
use fleets::{at, cluster, cluster_id, due, job, policy, snapshot};
use optimal::{NIGHT, of, optimal};
use planner::placement::explain;

fn shape(parallelism: i64, minutes: i64) -> Shape {
    Shape { parallelism, duration: Span::MINUTE.scaled(minutes, 1) }
}

#[test]
fn more_pods_fit_all_of_it_into_the_clean_hours() {
    let mut wanted = due(job("train", 0, 8.0, 1.0), at(20, 0));
    let s = |wanted: &Workload| snapshot(at(0, 0), vec![cluster(0, 1, &NIGHT)], vec![wanted.clone()]);
    let alone = optimal(&s(&wanted));
    assert_eq!(of(&alone, &wanted).parallelism, 1);
    wanted.shapes = vec![shape(2, 240), shape(4, 120), shape(16, 30)];
    let schedule = optimal(&s(&wanted));
    let chosen = of(&schedule, &wanted);
    // Sixteen pods do not fit the node.
    assert_eq!((chosen.parallelism, chosen.start(), chosen.end()), (4, at(5, 0), at(7, 0)));
    // 16 W for two hours at 100 g; as it was, two hours of eight were clean.
    assert_eq!(schedule.carbon, GramsCo2::from_grams_f64(3.2));
    assert_eq!(alone.carbon, GramsCo2::from_grams_f64(4.0 * (2.0 * 0.1 + 6.0 * 0.5)));
    assert_eq!(schedule.lower_bound, Some(schedule.carbon), "nothing competes: the bound is tight");
    let why = explain(&s(&wanted), &policy(PolicyKind::Optimal), &schedule, &wanted.key, 3).unwrap();
    assert!(why.sentence.contains(", 4 pods at a time instead of 1, for 3.20 g"), "{}", why.sentence);
}

#[test]
fn where_speed_up_is_poor_it_keeps_to_few_pods() {
    let mut wanted = due(job("train", 0, 2.0, 1.0), at(20, 0));
    // Four pods for an hour and a half: three times the energy.
    wanted.shapes = vec![shape(4, 90)];
    let s = snapshot(at(0, 0), vec![cluster(0, 1, &NIGHT)], vec![wanted.clone()]);
    assert_eq!(of(&optimal(&s), &wanted).parallelism, 1);
    // But not at the price of being late.
    wanted.deadline = Some(at(1, 30));
    let s = snapshot(at(0, 0), vec![cluster(0, 1, &NIGHT)], vec![wanted.clone()]);
    let schedule = optimal(&s);
    assert_eq!((of(&schedule, &wanted).parallelism, of(&schedule, &wanted).in_time), (4, true));
}

#[test]
fn fewer_pods_fit_a_cluster_that_all_of_them_do_not() {
    let mut wanted = due(job("wide", 0, 1.0, 3.0), at(20, 0));
    wanted.parallelism = 8;
    wanted.shapes = vec![shape(2, 240)];
    let s = snapshot(at(0, 0), vec![cluster(0, 1, &NIGHT)], vec![wanted.clone()]);
    let schedule = optimal(&s);
    assert_eq!(of(&schedule, &wanted).parallelism, 2);
    wanted.shapes = Vec::new();
    let s = snapshot(at(0, 0), vec![cluster(0, 1, &NIGHT)], vec![wanted]);
    assert!(optimal(&s).unplaced[0].reason.contains("8 pods at a time"));
}

#[test]
fn what_has_been_started_keeps_its_pods() {
    let mut wanted = due(job("train", 0, 8.0, 1.0), at(20, 0));
    wanted.shapes = vec![shape(4, 120)];
    wanted.interruptible = true;
    for running in [true, false] {
        let begun = Workload { running, pinned: Some(cluster_id(0)), ..wanted.clone() };
        let s = snapshot(at(0, 0), vec![cluster(0, 1, &NIGHT)], vec![begun.clone()]);
        assert_eq!(of(&optimal(&s), &begun).parallelism, 1);
    }
    let prompt = Workload { prompt: true, ..wanted.clone() };
    let s = snapshot(at(0, 0), vec![cluster(0, 1, &NIGHT)], vec![prompt.clone()]);
    assert_eq!(of(&optimal(&s), &prompt).parallelism, 1, "what may not wait runs as it was asked for");
}

#[test]
fn work_is_left_undone_only_where_it_cannot_all_be_done_in_time() {
    let mut cut = due(job("cut", 0, 4.0, 5.0), at(8, 0));
    cut.may_be_cut = true;
    let s = snapshot(at(0, 0), vec![cluster(0, 1, &NIGHT)], vec![cut.clone()]);
    let schedule = optimal(&s);
    assert!(of(&schedule, &cut).undone.is_zero(), "never to save grams");
    // One of higher priority holds the node until 05:00; three of four hours are left.
    let mut first = due(job("first", 0, 5.0, 5.0), at(5, 0));
    first.priority = 1;
    let s = snapshot(at(0, 0), vec![cluster(0, 1, &NIGHT)], vec![first.clone(), cut.clone()]);
    let schedule = optimal(&s);
    let chosen = of(&schedule, &cut);
    assert_eq!((chosen.start(), chosen.end(), chosen.undone), (at(5, 0), at(8, 0), Span::HOUR));
    assert!(chosen.in_time && schedule.late.is_empty() && of(&schedule, &first).in_time);
    let why = explain(&s, &policy(PolicyKind::Optimal), &schedule, &cut.key, 3).unwrap();
    assert!(why.sentence.contains("the last 1h of its work are left undone"), "{}", why.sentence);
    // The one below it is cut, whoever comes first.
    let above = Workload { priority: 2, ..cut };
    let mut below = first;
    below.may_be_cut = true;
    let s = snapshot(at(0, 0), vec![cluster(0, 1, &NIGHT)], vec![below.clone(), above.clone()]);
    let schedule = optimal(&s);
    assert!(of(&schedule, &above).undone.is_zero());
    // Four hours until 08:00 leave the other four of its five hours: six eighths of its work.
    assert_eq!(of(&schedule, &below).end(), at(3, 45));
    assert_eq!(of(&schedule, &below).undone, Span::MINUTE.scaled(75, 1));
}

#[test]
fn what_is_cut_short_does_as_much_as_there_is_time_for() {
    // From the middle of a slot, and with a length that no eighths of it fill the window with.
    let mut cut = due(job("cut", 0, 4.0, 4.4), at(3, 0));
    cut.may_be_cut = true;
    cut.release = at(0, 7);
    let s = snapshot(at(0, 7), vec![cluster(0, 1, &NIGHT), cluster(1, 1, &NIGHT)], vec![cut.clone()]);
    let chosen = of(&optimal(&s), &cut).clone();
    assert_eq!((chosen.start(), chosen.end()), (at(0, 7), at(3, 0)));
    assert_eq!(chosen.undone, cut.duration - (at(3, 0) - at(0, 7)));
}
