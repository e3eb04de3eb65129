//! How long a busy week of a large cluster takes: `cargo bench -p twin --bench week [-- PERCENT] [quiet] [trace]`.
//!
//! The whole is one cluster of 1,000 nodes in three zones, 400 Deployments under autoscalers with 50 pods each on average,
//! whose load follows the day and changes every hour, 2,000 rollouts, 5,000 Jobs of one to four pods, and 50 nodes that
//! stop for half an hour ([`load`]); PERCENT of everything, or 10, 25 and 100 of it one after the other and the whole in a
//! week in which nothing happens. Figures, never pass or fail: what is done is fixed by a seed, processor time is this
//! thread's, memory the process's at its highest, events are writes of objects. How far it has come is told once a day, on
//! stderr. `trace` reads every write, and tells which there were and a hash of them all; its time counts as well.

mod load;

use fleet::Span;
use load::{Size, Trace, cluster, deeds, fleet, kind, start, version};
use twin::World;

/// The product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Processor time of this thread so far, in seconds: other work on the machine does not count.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

/// Memory of this process at its highest so far, in megabytes.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn week(percent: u64, quiet: bool, mut trace: Option<Trace>) {
    let (size, start, id) = (Size::percent(percent), start(), cluster());
    let deeds = deeds(&size, quiet);
    let count = deeds.len();
    let began = cpu_seconds();
    let mut world = World::new(&fleet(&size), start, 1);
    let (mut refused, mut filled, mut days) = (0, None, 0);
    let mut advance = |world: &mut World, to| match &mut trace {
        Some(trace) => trace.advance(world, &id, to),
        None => world.advance_to(to),
    };
    for (at, deed) in deeds {
        while at > Span::DAY.scaled(days + 1, 1) {
            days += 1;
            let (took, events) = (cpu_seconds() - began, version(&world, &id));
            eprintln!("day {days}: {took:.1} s so far for {events} events, peak {:.0} MB", peak_mb());
        }
        if at > Span::ZERO && filled.is_none() {
            filled = Some((cpu_seconds(), version(&world, &id)));
        }
        advance(&mut world, start + at);
        if let Err(error) = deed.carry_out(&mut world, &id) {
            refused += 1;
            if refused == 1 {
                eprintln!("the first refused: {error}");
            }
        }
    }
    advance(&mut world, start + Span::DAY.scaled(1, 24));
    let (filled_at, filled) = filled.unwrap_or((cpu_seconds(), version(&world, &id)));
    advance(&mut world, start + Span::DAY.scaled(size.days, 1));
    let (took, events) = (cpu_seconds() - filled_at, version(&world, &id) - filled);
    let kinds = [("", "pods"), ("", "events"), ("apps", "replicasets")];
    let left = kinds.map(|of| world.objects(&id).map_or(0, |objects| objects.count(kind(of))));
    println!(
        "{percent} %{}: {} nodes, {count} inputs ({refused} refused); made in {:.1} s with {filled} events; the week {took:.1} s for {events} events, {:.0} a second; peak {:.0} MB; left {left:?} pods, events, replica sets",
        if quiet { ", quiet" } else { "" },
        size.nodes,
        filled_at - began,
        events as f64 / took.max(f64::MIN_POSITIVE),
        peak_mb(),
    );
    if let Some(trace) = &trace {
        print!("{}", trace.to_text());
    }
}

fn main() {
    let has = |word: &str| std::env::args().any(|arg| arg == word);
    let trace = || has("trace").then(Trace::new);
    match std::env::args().find_map(|arg| arg.parse::<u64>().ok()) {
        Some(percent) => week(percent.clamp(1, 400), has("quiet"), trace()),
        None => {
            [10, 25, 100].into_iter().for_each(|percent| week(percent, false, trace()));
            week(100, true, trace());
        }
    }
}
