//! Flows: nothing is lost in counting, crowds grow and drain as they should, and a simulation of every request agrees.

use super::*;
use proptest::prelude::*;

fn setting(rate: i64, serving: u32) -> Setting {
    // 100 ms each, one at a time: 10 a second and pod.
    let rate = rate * 1_000_000;
    Setting { rate, targets: serving, serving, capacity: 10_000_000, ..Setting::nothing() }
}

fn at(seconds: i64) -> Instant {
    Instant::EPOCH + Span::from_seconds(seconds)
}

fn is_whole(counts: &Counts) -> bool {
    counts.requests == counts.answered + counts.failed() + counts.under_way && counts.under_way >= 0
}

#[test]
fn calm_requests_are_answered() {
    let mut flow = Flow::new(at(0));
    flow.set(at(0), setting(15, 2));
    flow.advance(at(1000));
    let counts = flow.counts();
    assert!(is_whole(&counts), "{counts:?}");
    assert_eq!((counts.requests, counts.failed()), (15_000, 0));
    // M/M/1 at 0.75: three under way at each of two pods.
    assert_eq!(counts.under_way, 6);
    let pace = flow.pace();
    assert_eq!(pace.utilisation, 0.75);
    // Exponential with 10 − 7.5 a second.
    assert!((pace.p95_seconds.unwrap() - 20f64.ln() / 2.5).abs() < 1e-3, "{pace:?}");
    assert!((flow.responses().quantile(0.5).unwrap() / (2f64.ln() / 2.5) - 1.0).abs() < 0.07);
    assert_eq!(flow.served_by_each(), 7_500_000);
}

#[test]
fn a_crowd_grows_until_clients_give_up_and_drains() {
    let mut flow = Flow::new(at(0));
    flow.set(at(0), Setting { timeout: Span::from_seconds(10), ..setting(30, 2) });
    // 10 a second too many: after 20 s 200 wait, 10 s of work, which is as long as clients wait.
    flow.advance(at(10));
    assert_eq!(flow.next_change(), Some(Span::from_seconds(10)));
    assert_eq!(flow.counts().under_way, 102, "a hundred wait and two are served");
    assert_eq!(flow.counts().failed(), 0);
    flow.advance(at(120));
    let counts = flow.counts();
    assert!(is_whole(&counts));
    // Ten a second are too many; of the 20 whose turn comes a third is answered too late: turns come 5 a second and pod
    // before patience ends, answers 10 a second after.
    assert_eq!((counts.timed_out, counts.under_way), (1666, 203));
    assert!((flow.pace().errors_per_second - 50.0 / 3.0).abs() < 1e-6, "{:?}", flow.pace());
    let half = flow.pace().p50_seconds.unwrap();
    assert!((half - (10.0 - 2f64.ln() / 5.0)).abs() < 1e-6, "{half}");
    assert_eq!(flow.served_by_each(), 10_000_000, "all they can");
    // Then it is quiet, and 200 at 20 a second are gone after 10 s.
    flow.set(at(120), Setting { timeout: Span::from_seconds(10), ..setting(0, 2) });
    assert_eq!(flow.next_change(), Some(Span::from_seconds(10)));
    flow.advance(at(200));
    let counts = flow.counts();
    assert_eq!((counts.requests, counts.answered, counts.timed_out), (3600, 1933, 1666));
}

#[test]
fn a_full_queue_turns_away() {
    let mut flow = Flow::new(at(0));
    flow.set(at(0), Setting { queue_max: Some(5), ..setting(30, 2) });
    flow.advance(at(60));
    let counts = flow.counts();
    assert_eq!((counts.queue_full, counts.timed_out, counts.under_way), (590, 0, 12));
}

#[test]
fn who_does_not_listen_refuses() {
    let mut flow = Flow::new(at(0));
    flow.set(at(0), Setting { targets: 4, ..setting(12, 3) });
    flow.advance(at(100));
    assert_eq!(flow.counts().refused, 300);
    flow.set(at(100), Setting { targets: 0, ..setting(12, 0) });
    flow.advance(at(200));
    assert_eq!(flow.counts().refused, 1500);
    assert_eq!(flow.pace().errors_per_second, 12.0);
    assert_eq!(flow.pace().p95_seconds, None);
}

#[test]
fn what_a_pod_has_is_finished_or_cut() {
    let cut = |after: Span, scv_milli: i64| {
        let mut flow = Flow::new(at(0));
        let own = Setting { workers: 100, capacity: 100_000_000, scv_milli, ..setting(160, 2) };
        flow.set(at(0), own.clone());
        // 80 requests of 1 s each are under way at each of two pods.
        flow.leave(&"a".into(), at(60));
        flow.set(at(60), Setting { targets: 1, serving: 1, rate: 50_000_000, ..own });
        flow.ended("a", at(60) + after);
        flow.advance(at(100));
        assert!(is_whole(&flow.counts()), "{:?}", flow.counts());
        flow.counts().cut
    };
    assert_eq!(cut(Span::ZERO, 1000), 80, "at once: all");
    // Exponential service: e^-1 of them are left after a second.
    assert_eq!(cut(Span::from_seconds(1), 1000), 29);
    assert_eq!(cut(Span::from_millis(500), 0), 40, "constant service: they are spread evenly");
    assert_eq!(cut(Span::from_seconds(1), 0), 0);
    assert_eq!(cut(Span::from_seconds(30), 1000), 0);
}

#[test]
fn a_backlog_leaves_with_its_pod_or_comes_back() {
    let mut flow = Flow::new(at(0));
    flow.set(at(0), setting(30, 2));
    flow.leave(&"a".into(), at(10));
    assert!(flow.is_leaving("a"));
    // Fifty waited and one was served; ten are begun in a second.
    flow.ended("a", at(11));
    assert_eq!(flow.counts().cut, 41);
    let mut flow = Flow::new(at(0));
    flow.set(at(0), setting(30, 2));
    flow.leave(&"a".into(), at(10));
    flow.came_back("a", at(10));
    flow.set(at(10), setting(0, 2));
    flow.advance(at(60));
    assert_eq!((flow.counts().answered, flow.counts().failed()), (300, 0));
}

/// Whatever happens next, and how long it lasts in milliseconds.
fn happening() -> impl Strategy<Value = (Setting, i64, u8)> {
    let parts = (0i64..200, 0u32..5, 0u32..3, 1i64..50, 1u32..5, 0i64..4000, 1i64..20, 0u32..40);
    (parts, 1i64..60_000, 0u8..4).prop_map(
        |((rate, serving, dead, capacity, workers, scv_milli, timeout, queue), lasts, what)| {
            let setting = Setting {
                rate: rate * 1_000_003,
                targets: serving + dead,
                serving,
                capacity: capacity * 999_983,
                workers,
                scv_milli,
                timeout: Span::from_seconds(timeout),
                queue_max: (queue > 0).then_some(queue),
            };
            (setting, lasts, what)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn every_request_has_one_fate(all in proptest::collection::vec(happening(), 1..12), cuts in proptest::collection::vec(1i64..9_000_000_000, 0..30)) {
        // Two flows through the same; the second is asked now and then in between.
        let (mut plain, mut asked) = (Flow::new(at(0)), Flow::new(at(0)));
        let mut now = at(0);
        let mut cuts = cuts.into_iter();
        for (number, (setting, lasts, what)) in all.into_iter().enumerate() {
            let pod: Arc<str> = format!("p{number}").into();
            for flow in [&mut plain, &mut asked] {
                if what == 1 && flow.setting().serving > 0 {
                    flow.leave(&pod, now);
                }
                flow.set(now, setting.clone());
                if what == 2 && number > 0 {
                    flow.ended(&format!("p{}", number - 1), now);
                }
            }
            let end = now + Span::from_millis(lasts);
            for cut in cuts.by_ref() {
                let before = asked.counts();
                now = if now + Span::from_nanos(cut) < end { now + Span::from_nanos(cut) } else { break };
                asked.advance(now);
                let after = asked.counts();
                prop_assert!(is_whole(&after), "{after:?}");
                for (old, new) in [(before.answered, after.answered), (before.failed(), after.failed()), (before.requests, after.requests)] {
                    prop_assert!(old <= new);
                }
            }
            plain.advance(end);
            asked.advance(end);
            now = end;
            prop_assert_eq!(plain.counts(), asked.counts());
            prop_assert!(is_whole(&plain.counts()));
        }
    }
}

#[test]
fn a_simulation_of_every_request_agrees_over_time() {
    // Calm, three times as much as can be served for a minute, calm again; one pod, clients wait for 20 s.
    let rates = [(0, 6), (200, 30), (260, 6), (600, 0)];
    let mut flow = Flow::new(at(0));
    let own = |rate| Setting { timeout: Span::from_seconds(20), ..setting(rate, 1) };
    for (from, rate) in rates {
        flow.set(at(from), own(rate));
    }
    flow.advance(at(700));
    let stated = flow.counts();
    let (mut answered, mut timed_out, runs) = (0u32, 0u32, 40);
    let mut state = 7u64;
    let mut exponential = |mean: f64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        -mean * (((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64).ln()
    };
    for _ in 0..runs {
        let mut free = 0.0f64;
        for pair in rates.windows(2) {
            let (mut now, until) = (pair[0].0 as f64, pair[1].0 as f64);
            loop {
                now += exponential(1.0 / pair[0].1 as f64);
                if now > until {
                    break;
                }
                let wait = (free - now).max(0.0);
                if wait > 20.0 {
                    timed_out += 1;
                    continue;
                }
                let response = wait + exponential(0.1);
                free = now + response;
                if response > 20.0 { timed_out += 1 } else { answered += 1 }
            }
        }
    }
    let (answered, timed_out) =
        (f64::from(answered) / f64::from(runs), f64::from(timed_out) / f64::from(runs));
    // 1,000 requests too many, of which 200 wait.
    assert!((stated.answered as f64 / answered - 1.0).abs() < 0.02, "{stated:?}, simulated {answered}");
    assert!((stated.timed_out as f64 / timed_out - 1.0).abs() < 0.03, "{stated:?}, simulated {timed_out}");
}
