//! What a busy cluster writes stays what it was, write by write, however quick it becomes.
//!
//! `tests/week/writes.txt` has how many writes of each sort there are and a hash of all their bytes in order.
//! `UPDATE_WEEK=1` writes it anew where behaviour was meant to change; what changed is then read in the diff.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

#[path = "../benches/week/load.rs"]
#[allow(dead_code, reason = "the bench uses the rest of it")]
mod load;

use fleet::Span;
use load::{Size, Trace, cluster, deeds, fleet, kind, start};
use std::path::Path;
use twin::World;

/// Everything a large week has, in little, with Services and budgets.
const SIZE: Size =
    Size { days: 1, nodes: 12, apps: 4, pods: 10, rollouts: 8, jobs: 24, failures: 3, served: true };

#[test]
fn every_write_is_as_it_was() {
    let (id, mut trace) = (cluster(), Trace::new());
    let mut world = World::new(&fleet(&SIZE), start(), 1);
    for (at, deed) in deeds(&SIZE, false) {
        trace.advance(&mut world, &id, start() + at);
        deed.carry_out(&mut world, &id).unwrap();
        trace.read(&world, &id);
    }
    trace.advance(&mut world, &id, start() + Span::DAY.scaled(SIZE.days, 1));
    assert_eq!(trace.lost, 0, "the history has every write of an instant");
    assert!(world.objects(&id).unwrap().count(kind(("", "pods"))) > 20);
    let found = trace.to_text();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/week/writes.txt");
    if std::env::var_os("UPDATE_WEEK").is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&golden).unwrap_or_default(), found);
}
