//! Random fleets: running, paused, urgent, tied, tight and hopeless Jobs on small clusters.

use crate::fleets::{at, cluster, cluster_id, job, snapshot};
use fleet::{Bytes, DataSource, Shape, Snapshot, Span, Workload};
use proptest::prelude::*;

fn random_job(i: usize) -> impl Strategy<Value = Workload> {
    let numbers = (0usize..3, 1i64..600, 1i64..9, 1i64..4, -120i64..1500, -60i64..300);
    let flags = (0u8..6, any::<bool>(), 0i32..3, 0u8..8, prop::option::of((0usize..3, 1i64..60)), 0u8..7);
    let ways = (0u8..6, 0u8..6);
    (numbers, flags, ways).prop_map(move |((home, minutes, cores, pods, slack, release), flags, ways)| {
        let (deadline, interruptible, priority, state, data, allowed) = flags;
        let mut w = job(&format!("j{i}"), home, 1.0, cores as f64);
        w.duration = Span::from_seconds(minutes * 60 + i64::from(priority) * 7);
        w.release = at(1, release);
        w.parallelism = pods;
        w.deadline = (deadline > 0).then(|| at(1, release.max(0) + minutes + slack));
        w.interruptible = interruptible;
        w.priority = priority;
        w.data = data.map(|(at, gib)| DataSource { size: Bytes::from_gib(gib), at: cluster_id(at) });
        w.allowed = (allowed < 3).then(|| vec![cluster_id(usize::from(allowed))]);
        w.running = state == 0;
        w.pinned = (state < 2).then(|| cluster_id(home));
        let shape =
            |parallelism: i64, minutes: i64| Shape { parallelism, duration: Span::MINUTE.scaled(minutes, 1) };
        if ways.0 < 2 {
            w.shapes = vec![shape(pods * 2, minutes * 2 / 3), shape(pods * 4, minutes / 2)];
            w.shapes.extend((pods > 1).then(|| shape(1, minutes * pods)));
        }
        w.may_be_cut = ways.1 == 0;
        w
    })
}

pub fn random_fleet() -> impl Strategy<Value = Snapshot> {
    let grams = prop::collection::vec(prop::collection::vec(10.0f64..900.0, 1..40), 3..4);
    let jobs = (0usize..14).prop_flat_map(|n| (0..n).map(random_job).collect::<Vec<_>>());
    (grams, prop::collection::vec(1i64..5, 3..4), 0i64..90, jobs, 0u8..12).prop_map(
        |(grams, nodes, minute, jobs, gone)| {
            let clusters = (0..3).map(|i| {
                let mut c = cluster(i, nodes[i], &grams[i]);
                c.reachable = gone != i as u8;
                c
            });
            snapshot(at(1, minute) + Span::from_nanos(minute * 31), clusters.collect(), jobs)
        },
    )
}
