//! Queues of messages: what waits, what dies, what comes again.

use super::*;
use proptest::prelude::*;

fn terms(rate: i64, takes_millis: i64) -> Terms {
    Terms {
        rate: rate * 1_000_000,
        takes: Span::from_millis(takes_millis),
        scv_milli: 1000,
        priority: 0,
        ttl: None,
        length_max: None,
    }
}

fn at(seconds: i64) -> Instant {
    Instant::EPOCH + Span::from_seconds(seconds)
}

fn broker(workers: u32, queues: &[(&str, Terms)]) -> Broker {
    let mut broker = Broker::new(at(0));
    broker.set_workers(at(0), workers);
    for (name, terms) in queues {
        broker.set(at(0), &(*name).into(), terms.clone());
    }
    broker
}

fn tally(broker: &Broker, name: &str) -> Tally {
    broker.tallies().find(|(own, ..)| &***own == name).unwrap().1
}

#[test]
fn a_backlog_grows_and_is_worked_off() {
    // 30 a second come, two workers do 20.
    let mut own = broker(2, &[("q", terms(30, 100))]);
    own.advance(at(60));
    let now = tally(&own, "q");
    assert_eq!((now.messages, now.done, now.waiting, now.open), (1800, 1198, 600, 602));
    assert_eq!((own.rates(), own.busy()), (vec![(30_000_000, 20_000_000)], 1_000_000));
    // The oldest came when 1,200 had come: at 40 s.
    assert_eq!(own.tallies().next().unwrap().2, Span::from_seconds(20));
    own.set(at(60), &"q".into(), terms(0, 100));
    assert_eq!(own.next_change(), Some(Span::from_seconds(30)));
    own.advance(at(100));
    assert_eq!(tally(&own, "q").done, 1800);
    assert_eq!((own.next_change(), own.busy()), (None, 0));
}

#[test]
fn the_higher_priority_goes_first_and_equals_share() {
    let high = Terms { priority: 10, ..terms(15, 100) };
    let mut own = broker(2, &[("a", terms(10, 100)), ("b", terms(1, 100)), ("high", high)]);
    own.advance(at(100));
    // Five a second are left: b has all it wants, a the rest.
    assert_eq!(
        [tally(&own, "high").waiting, tally(&own, "b").waiting, tally(&own, "a").waiting],
        [0, 0, 600]
    );
}

#[test]
fn what_is_too_old_or_too_many_is_dead() {
    // Ten too many a second; after 20 s at the latest the oldest has waited for 10 s.
    let mut own = broker(2, &[("q", Terms { ttl: Some(Span::from_seconds(10)), ..terms(30, 100) })]);
    own.advance(at(30));
    assert_eq!(tally(&own, "q").expired, 0);
    own.advance(at(130));
    let now = tally(&own, "q");
    assert_eq!((now.expired, now.waiting, now.overflowed), (1000, 300, 0));
    assert_eq!(own.tallies().next().unwrap().2, Span::from_seconds(10));
    // No more come: those that wait are done or dead ten seconds later.
    own.set(at(130), &"q".into(), Terms { ttl: Some(Span::from_seconds(10)), ..terms(0, 100) });
    own.advance(at(141));
    let now = tally(&own, "q");
    assert_eq!((now.expired, now.waiting), (1100, 0), "200 of 300 are done in ten seconds");
    let mut own = broker(2, &[("q", Terms { length_max: Some(50), ..terms(30, 100) })]);
    own.advance(at(105));
    let now = tally(&own, "q");
    assert_eq!((now.overflowed, now.waiting, now.expired), (1000, 50, 0));
}

#[test]
fn without_workers_all_becomes_too_old() {
    let mut own = broker(0, &[("q", Terms { ttl: Some(Span::from_seconds(60)), ..terms(5, 100) })]);
    own.advance(at(100));
    let now = tally(&own, "q");
    assert_eq!((now.messages, now.expired, now.waiting), (500, 200, 300));
}

#[test]
fn what_comes_after_a_pause_is_as_old_as_it_is() {
    let with = |rate| Terms { ttl: Some(Span::from_seconds(90)), ..terms(rate, 100) };
    let mut own = broker(0, &[("q", with(20))]);
    own.set(at(60), &"q".into(), with(0));
    own.set(at(120), &"q".into(), with(20));
    own.advance(at(160));
    let now = tally(&own, "q");
    assert_eq!((now.messages, now.expired, now.waiting), (2000, 1200, 800));
    assert_eq!(own.tallies().next().unwrap().2, Span::from_seconds(40));
}

#[test]
fn a_worker_that_comes_back_goes_on() {
    let mut own = broker(2, &[("q", terms(10, 100))]);
    own.leave(&"p".into(), 1, 0, at(10));
    assert!(own.is_leaving("p"));
    own.came_back("p", at(20));
    own.set_workers(at(20), 2);
    own.set(at(20), &"q".into(), terms(0, 100));
    own.advance(at(60));
    let now = tally(&own, "q");
    assert_eq!((own.is_leaving("p"), now.done, now.open, now.redelivered), (false, 200, 0, 0));
}

#[test]
fn what_a_worker_had_begun_comes_again() {
    // 100 s each, constant: ten workers have ten in hand.
    let slow = Terms { scv_milli: 0, ..terms(1, 100_000) };
    let mut own = broker(10, &[("q", slow)]);
    own.advance(at(500));
    let before = tally(&own, "q");
    assert_eq!((before.done, before.waiting), (40, 450));
    own.leave(&"p".into(), 5, 20, at(500));
    assert!(own.is_leaving("p"));
    own.ended("p", at(500));
    let after = tally(&own, "q");
    assert_eq!((after.waiting, after.redelivered, after.open), (455, 25, before.open));
    own.leave(&"r".into(), 5, 0, at(500));
    own.ended("r", at(600));
    assert_eq!(tally(&own, "q").done, 45, "it had the time to finish");
}

fn any_terms() -> impl Strategy<Value = Terms> {
    (0i64..50, 1i64..3000, 0i64..3, 0i64..40, 0u64..60).prop_map(|(rate, takes, priority, ttl, length)| {
        Terms {
            rate: rate * 1_000_003,
            priority,
            ttl: (ttl > 0).then(|| Span::from_seconds(ttl)),
            length_max: (length > 0).then_some(length),
            ..terms(0, takes)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn every_message_has_one_fate(all in proptest::collection::vec((any_terms(), 0usize..3, 0u32..8, 1i64..40_000, 0u8..4), 1..15)) {
        let mut own = Broker::new(at(0));
        let mut now = at(0);
        let mut before: BTreeMap<Arc<str>, Tally> = BTreeMap::new();
        for (number, (terms, queue, workers, lasts, what)) in all.into_iter().enumerate() {
            let pod: Arc<str> = format!("p{number}").into();
            if what == 1 {
                own.leave(&pod, 1, 3, now);
            }
            if what == 2 && number > 0 {
                own.ended(&format!("p{}", number - 1), now);
            }
            own.set(now, &format!("q{queue}").into(), terms);
            own.set_workers(now, workers);
            now += Span::from_millis(lasts);
            own.advance(now);
            // The sums are asserted to the last unit where they are told.
            for (name, tally, _) in own.tallies() {
                prop_assert_eq!(tally.messages, tally.done + tally.expired + tally.overflowed + tally.open);
                prop_assert!(tally.open >= 0 && tally.waiting >= 0);
                let old = before.insert(name.clone(), tally).unwrap_or_default();
                prop_assert!(old.done <= tally.done && old.expired <= tally.expired && old.overflowed <= tally.overflowed);
            }
        }
    }
}
