//! Stands before a provider: keeps its answers for as long as they are good, and leaves it alone when it fails.
//!
//! A provider that gave no answer [`FAILURES_MAX`] times in a row is not asked for [`REST`]; then one request
//! tries it. 429 says itself for how long. What it denies is not asked for again for [`DENIED`]. Meanwhile the
//! last answer stands in, as old as it says it is, until it is older than [`STALE`]. Where a provider takes one
//! request every so often, zones have their turns. `now` is the wall's.

use super::points::Memory;
use super::saved::{Restored, Saved};
use super::{Ahead, Answer, Basis, Error, Place, Provider, Steps};
use crate::observe::carbon::FILL_MAX;
use fleet::{GridZone, Instant, Provenance, Series, SignalKind, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Failures in a row after which a provider is left alone: each has been tried several times already.
pub const FAILURES_MAX: u32 = 3;
/// For how long: most outages are over after some minutes, and a probe costs one request.
pub const REST: Span = Span::from_seconds(300);
/// A denial is asked about again after this: people change keys and plans by hand.
pub const DENIED: Span = Span::HOUR;
/// A provider that does not cover a zone is asked again after this.
pub const UNCOVERED: Span = Span::DAY;
/// Oldest figure that stands for the present: as long as a gap may be that is filled.
pub const STALE: Span = Span::from_seconds(3600 * FILL_MAX);
/// A zone that waits for its turn and is not looked at for so long is not wanted any more: another source answers for it.
const WAITS: Span = Span::MINUTE;
/// How far back an answer corrects what was known: estimates become measurements within a day.
const CORRECTED: Span = Span::DAY;

/// What is known of a zone from one provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// What its figures count.
    pub basis: Basis,
    /// What was, up to now.
    pub actual: Series,
    /// Where that came from; as old as its last figure.
    pub actual_from: Provenance,
    /// The provider's own forecast, where it gives one.
    pub forecast: Option<(Series, Provenance)>,
    /// What is not as it should be although it can be used.
    pub note: Option<String>,
}

/// How a provider stands to a zone: whether it is asked, and when next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// When it was asked last.
    pub asked: Option<Instant>,
    /// Not asked about the zone before: its answer is good until then, or what it denies is not asked for again.
    pub again: Option<Instant>,
    /// Left alone until then, whatever the zone: it failed too often, or said so.
    pub rests_until: Option<Instant>,
    /// Failures in a row.
    pub failures: u32,
}

/// What is kept of a zone.
#[derive(Debug, Default)]
struct Kept {
    memory: Memory,
    ahead: Option<Result<Ahead, Error>>,
    /// How it went the last time, where it did not go well.
    error: Option<Error>,
    /// When it was asked, and until when it is not asked again.
    asked: Option<(Instant, Instant)>,
}

impl Kept {
    /// Takes a forecast in. Where there was no answer this time, the last one is better than none.
    fn look_ahead(&mut self, new: Result<Ahead, Error>, now: Instant) {
        let passing = matches!(new, Err(Error::Unanswered { .. } | Error::Busy { .. }));
        let good = matches!(&self.ahead, Some(Ok(ahead)) if ahead.made + STALE >= now);
        if !(passing && good) {
            self.ahead = Some(new);
        }
    }
}

/// A provider and what stands before it.
pub struct Guarded {
    provider: Box<dyn Provider>,
    zones: BTreeMap<GridZone, Kept>,
    failures: u32,
    /// Not asked before this instant, because of that.
    rest: Option<(Instant, Error)>,
    /// Zones of which something new was told since they were last saved.
    changed: BTreeSet<GridZone>,
    /// When it was asked last, whatever the zone.
    last: Option<Instant>,
    /// Zones whose turn to be asked about has not come, and when they were last looked at.
    queue: BTreeMap<GridZone, Instant>,
}

impl Guarded {
    /// Guards `provider`.
    pub fn new(provider: Box<dyn Provider>) -> Guarded {
        Guarded {
            provider,
            zones: BTreeMap::new(),
            failures: 0,
            rest: None,
            changed: BTreeSet::new(),
            last: None,
            queue: BTreeMap::new(),
        }
    }

    /// What is known of a zone as it is kept over a restart, where that is more than was last saved.
    pub fn save(&mut self, zone: &GridZone) -> Option<Saved> {
        if !self.changed.remove(zone) {
            return None;
        }
        let kept = self.zones.get(zone)?;
        let busy = |(until, why): &(Instant, Error)| matches!(why, Error::Busy { .. }).then_some(*until);
        let whole = Restored {
            past: kept.memory.steps()?,
            ahead: kept.ahead.as_ref().and_then(|ahead| ahead.as_ref().ok()).cloned(),
            asked: kept.asked?,
            busy_until: self.rest.as_ref().and_then(busy),
        };
        Some(Saved::new(self.provider.address(), self.provider.basis(), &whole))
    }

    /// Takes in what was saved of a zone in an earlier run, before the zone is asked about.
    ///
    /// # Errors
    /// Why it is of no use, in words.
    pub fn restore(&mut self, zone: &GridZone, saved: &Saved, now: Instant) -> Result<(), String> {
        let Restored { past, ahead, asked, busy_until } =
            saved.restore(self.provider.address(), self.provider.basis(), now)?;
        let kept = self.zones.entry(zone.clone()).or_default();
        if kept.asked.is_some() {
            return Ok(());
        }
        kept.memory.take_in(&past, now);
        kept.ahead = ahead.map(Ok);
        // Never longer than the provider's answers last, whatever stands there.
        kept.asked = Some((asked.0, asked.1.min(asked.0 + self.provider.lasts())));
        self.last = self.last.max(Some(asked.0));
        if let Some(until) = busy_until.filter(|until| *until > now && self.rest.is_none()) {
            let wait = Duration::from_nanos(u64::try_from((until - now).as_nanos()).unwrap_or(0));
            let busy = Error::Busy { provider: self.provider.name(), status: 429, wait };
            self.rest = Some((until.min(now + DENIED), busy));
        }
        Ok(())
    }

    /// How the provider stands to a zone.
    pub fn standing(&self, zone: &GridZone, now: Instant) -> Standing {
        let asked = self.zones.get(zone).and_then(|kept| kept.asked);
        let rest = self.rest.as_ref().map(|(until, _)| *until);
        Standing {
            asked: asked.map(|(at, _)| at),
            again: asked.map(|(_, until)| until).filter(|until| *until > now),
            rests_until: rest.filter(|until| *until > now),
            failures: self.failures,
        }
    }

    /// Whether zones wait for their turn, so that looking again soon is worth it.
    pub fn has_queue(&self, now: Instant) -> bool {
        self.queue.values().any(|looked| now >= *looked && now - *looked <= WAITS)
    }

    /// Whether it was asked too short a time ago to be asked now.
    fn too_soon(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now >= last && now - last < self.provider.apart())
    }

    /// What the provider says of a place: as kept, while that is good, else asked anew.
    ///
    /// # Errors
    /// Why it has no answer that can be used.
    pub async fn known(&mut self, place: &Place, now: Instant) -> Result<Known, Error> {
        let too_soon = self.too_soon(now);
        let kept = self.zones.entry(place.zone.clone()).or_default();
        // A clock that was set back makes an answer of the future, which says nothing.
        let wait = kept.asked.is_some_and(|(asked, until)| now >= asked && now < until);
        if !wait {
            let rests =
                matches!(&self.rest, Some((until, _)) if now < *until && *until - now <= DENIED.max(REST));
            if !rests && too_soon {
                let (provider, apart) = (self.provider.name(), self.provider.apart());
                let first = kept.asked.is_none();
                self.queue.insert(place.zone.clone(), now);
                let kept = self.as_kept(&place.zone, now);
                return kept.map_err(|error| if first { Error::Turn { provider, apart } } else { error });
            }
            self.queue.remove(&place.zone);
            let asked = match &self.rest {
                Some((until, because)) if rests => Err(Error::Resting {
                    provider: self.provider.name(),
                    until: Instant::from_unix_seconds(until.as_unix_seconds()),
                    because: because.to_string(),
                }),
                _ => {
                    let since = kept.memory.end().map(|end| end - CORRECTED);
                    self.last = Some(now);
                    let answer = self.provider.ask(place, since, now).await;
                    self.heed(&place.zone, answer.as_ref().err(), now);
                    // A wait asked for at the second request holds for all.
                    if let Ok(Answer { ahead: Err(busy @ Error::Busy { wait, .. }), .. }) = &answer {
                        self.rest = Some((now + span(*wait), busy.clone()));
                    }
                    answer
                }
            };
            let kept = self.zones.entry(place.zone.clone()).or_default();
            match asked {
                Ok(answer) => {
                    kept.memory.take_in(&answer.past, now);
                    kept.error = None;
                    kept.look_ahead(answer.ahead, now);
                    self.changed.insert(place.zone.clone());
                }
                Err(error) => kept.error = Some(error),
            }
        }
        self.as_kept(&place.zone, now)
    }

    /// Learns from an answer when to ask again.
    fn heed(&mut self, zone: &GridZone, error: Option<&Error>, now: Instant) {
        let lasts = match error {
            Some(Error::Denied { .. }) => DENIED,
            Some(Error::Uncovered { .. }) => UNCOVERED,
            // Else the first zone would take every turn for as long as it fails.
            Some(Error::Unanswered { .. }) if self.provider.apart() > Span::ZERO => REST,
            Some(Error::Unanswered { .. } | Error::Busy { .. }) => Span::ZERO,
            _ => self.provider.lasts(),
        };
        if let Some(kept) = self.zones.get_mut(zone) {
            kept.asked = Some((now, now + lasts));
        }
        match error {
            Some(error @ Error::Unanswered { .. }) => {
                self.failures += 1;
                self.rest = (self.failures >= FAILURES_MAX).then(|| (now + REST, error.clone()));
            }
            Some(error @ Error::Busy { wait, .. }) => {
                self.rest = Some((now + span(*wait), error.clone()));
            }
            _ => (self.failures, self.rest) = (0, None),
        }
    }

    /// What is kept, if it is still good.
    fn as_kept(&self, zone: &GridZone, now: Instant) -> Result<Known, Error> {
        let provider = self.provider.name();
        let field = super::Field { provider, zone, field: "history" };
        let none = || field.bad("no value", "at least one");
        let kept = self.zones.get(zone).ok_or_else(none)?;
        let failed = || kept.error.clone();
        let past = kept.memory.steps().ok_or_else(|| failed().unwrap_or_else(none))?;
        // Steps that have not begun are no past, though some providers say what they will be.
        let past = until(past, now).ok_or_else(|| failed().unwrap_or_else(none))?;
        if past.end() + STALE < now {
            let found = format!("no value after {}", past.end());
            let expected = format!("one of the last {} h before {now}", STALE.as_seconds() / 3600);
            return Err(failed().unwrap_or_else(|| field.bad(found, expected)));
        }
        let source = self.provider.source(zone);
        let filled =
            if past.filled > 0 { format!(", {} missing values filled", past.filled) } else { String::new() };
        let actual_from =
            Provenance { source: format!("{source}{filled}"), kind: past.kind(), as_of: past.end().min(now) };
        let (forecast, without) = match &kept.ahead {
            Some(Ok(ahead)) => match ahead_of(field.at("forecast"), ahead, now) {
                Ok(series) => {
                    let kind = SignalKind::Forecast;
                    (Some((series, Provenance { source, kind, as_of: ahead.made.min(now) })), None)
                }
                Err(error) => (None, Some(error.to_string())),
            },
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        let without = without.map(|why| format!("no forecast of its own: {why}"));
        let stands_in = failed().map(|error| format!("its last answer stands in: {error}"));
        let notes: Vec<String> = stands_in.into_iter().chain(without).collect();
        Ok(Known {
            basis: self.provider.basis(),
            actual: past.series().ok_or_else(none)?,
            actual_from,
            forecast,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        })
    }
}

fn span(wait: Duration) -> Span {
    Span::from_nanos(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX))
}

/// The steps that have begun by `now`.
fn until(mut steps: Steps, now: Instant) -> Option<Steps> {
    let begun = (now - steps.start).as_nanos().div_euclid(steps.step.as_nanos()) + 1;
    steps.figures.truncate(usize::try_from(begun).unwrap_or(0));
    (!steps.figures.is_empty()).then_some(steps)
}

/// A forecast's series, if it speaks of the present and of more.
fn ahead_of(field: super::Field<'_>, ahead: &Ahead, now: Instant) -> Result<Series, Error> {
    let steps = &ahead.steps;
    let ends_late = steps.end() >= now + Span::HOUR;
    let begins_early = steps.start <= now + Span::HOUR;
    match steps.series().filter(|_| ends_late && begins_early) {
        Some(series) => Ok(series),
        None => {
            let found = format!("values from {} to {}", steps.start, steps.end());
            Err(field.bad(found, format!("some of the hour after {now}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::points;
    use super::*;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use std::sync::{Arc, Mutex};

    fn at(minutes: i64) -> Instant {
        Instant::parse("2026-05-02T00:00:00Z").unwrap() + Span::MINUTE.scaled(minutes, 1)
    }
    fn place(zone: &str) -> Place {
        Place { zone: GridZone::new(zone).unwrap(), position: None }
    }

    /// Fails as it is told, and counts; the second: its forecast alone; the third: how far requests are apart.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<(Option<Error>, u32)>>, Arc<Mutex<Option<Error>>>, Span);

    impl Told {
        fn fail(&self, error: Option<Error>) {
            self.0.lock().unwrap().0 = error;
        }
        fn asked(&self) -> u32 {
            self.0.lock().unwrap().1
        }
    }

    impl Provider for Told {
        fn name(&self) -> &'static str {
            "Test"
        }
        fn source(&self, _: &GridZone) -> String {
            "Test (average)".to_owned()
        }
        fn address(&self) -> &str {
            "https://test"
        }
        fn basis(&self) -> Basis {
            Basis::Average
        }
        fn lasts(&self) -> Span {
            Span::from_seconds(1800)
        }
        fn apart(&self) -> Span {
            self.2
        }
        fn ask<'a>(
            &'a mut self,
            place: &'a Place,
            _: Option<Instant>,
            now: Instant,
        ) -> BoxFuture<'a, Result<Answer, Error>> {
            let mut told = self.0.lock().unwrap();
            told.1 += 1;
            let error = told.0.clone();
            let no_forecast = self.1.lock().unwrap().clone();
            async move {
                let field = super::super::Field { provider: "Test", zone: &place.zone, field: "data" };
                let hour = now.floor_to(Span::HOUR);
                let raw = |from: i64, to: i64| -> Vec<points::Raw> {
                    let at = |i| hour + Span::HOUR.scaled(i, 1);
                    let kind = SignalKind::Measured;
                    (from..to).map(|i| points::Raw { at: at(i), grams: Some(100.0), kind }).collect()
                };
                let steps = points::check(field, &raw(0, 24), None)?;
                match error {
                    Some(error) => Err(error),
                    None => Ok(Answer {
                        past: points::check(field, &raw(-24, 2), None)?,
                        ahead: no_forecast.map_or(Ok(Ahead { steps, made: now }), Err),
                    }),
                }
            }
            .boxed()
        }
    }

    fn unanswered() -> Error {
        Error::Unanswered {
            provider: "Test",
            what: "history".to_owned(),
            tries: 3,
            why: "status 500".to_owned(),
        }
    }

    #[tokio::test]
    async fn an_answer_is_kept_as_long_as_it_lasts() {
        let told = Told::default();
        let mut guarded = Guarded::new(Box::new(told.clone()));
        let known = guarded.known(&place("KR"), at(10)).await.unwrap();
        assert_eq!(known.actual.end(), at(60), "what has not begun is no past");
        assert_eq!((known.actual_from.as_of, known.note), (at(10), None));
        assert_eq!(known.forecast.unwrap().1.kind, SignalKind::Forecast);
        for (minutes, asked) in [(11, 1), (39, 1), (40, 2), (5, 3)] {
            guarded.known(&place("KR"), at(minutes)).await.unwrap();
            assert_eq!(told.asked(), asked, "{minutes}");
        }
    }

    #[tokio::test]
    async fn the_last_answer_stands_in_until_it_is_stale() {
        let told = Told::default();
        let mut guarded = Guarded::new(Box::new(told.clone()));
        guarded.known(&place("KR"), at(0)).await.unwrap();
        told.fail(Some(unanswered()));
        let known = guarded.known(&place("KR"), at(90)).await.unwrap();
        assert!(
            known.note.unwrap().starts_with("its last answer stands in: Test: history: no answer at 3 tries")
        );
        assert_eq!(known.actual_from.as_of, at(90), "the hour from 01:00 was told as well");
        assert!(guarded.known(&place("KR"), at(299)).await.is_ok());
        assert_eq!(guarded.known(&place("KR"), at(301)).await.unwrap_err(), unanswered());
    }

    #[tokio::test]
    async fn a_provider_that_fails_is_left_alone_and_then_probed_once() {
        let told = Told::default();
        told.fail(Some(unanswered()));
        let mut guarded = Guarded::new(Box::new(told.clone()));
        for zone in ["A", "B", "C", "D", "E"] {
            guarded.known(&place(zone), at(0)).await.unwrap_err();
        }
        assert_eq!(told.asked(), FAILURES_MAX, "the others are not tried");
        let error = guarded.known(&place("A"), at(4)).await.unwrap_err().to_string();
        assert!(
            error.starts_with("Test: not asked until 2026-05-02T00:05:00Z, after: Test: history"),
            "{error}"
        );
        for zone in ["A", "B"] {
            guarded.known(&place(zone), at(5)).await.unwrap_err();
        }
        assert_eq!(told.asked(), FAILURES_MAX + 1, "one probe, then alone again");
        told.fail(None);
        for zone in ["A", "B"] {
            guarded.known(&place(zone), at(10)).await.unwrap();
        }
        assert_eq!(told.asked(), FAILURES_MAX + 3);
    }

    #[tokio::test]
    async fn a_wait_is_kept_to_and_a_denial_is_not_asked_again_for_an_hour() {
        let told = Told::default();
        let mut guarded = Guarded::new(Box::new(told.clone()));
        let wait = Duration::from_secs(600);
        told.fail(Some(Error::Busy { provider: "Test", status: 429, wait }));
        guarded.known(&place("A"), at(0)).await.unwrap_err();
        told.fail(None);
        let error = guarded.known(&place("B"), at(9)).await.unwrap_err().to_string();
        assert!(error.contains("left alone for 600 s") && told.asked() == 1, "{error}");
        guarded.known(&place("B"), at(10)).await.unwrap();
        let denied = Error::Denied {
            provider: "Test",
            status: 403,
            what: "zone A".to_owned(),
            said: String::new(),
            hint: "pay".to_owned(),
        };
        told.fail(Some(denied.clone()));
        for minutes in [10, 30, 69] {
            assert_eq!(guarded.known(&place("A"), at(minutes)).await.unwrap_err(), denied);
        }
        assert_eq!(told.asked(), 3);
        told.fail(None);
        assert!(guarded.known(&place("A"), at(70)).await.is_ok());
    }

    #[tokio::test]
    async fn a_forecast_that_is_not_given_once_is_kept_and_a_wait_for_it_holds_for_all() {
        let told = Told::default();
        let mut guarded = Guarded::new(Box::new(told.clone()));
        let first = guarded.known(&place("A"), at(0)).await.unwrap().forecast.unwrap();
        let wait = Duration::from_secs(600);
        *told.1.lock().unwrap() = Some(Error::Busy { provider: "Test", status: 429, wait });
        let known = guarded.known(&place("A"), at(30)).await.unwrap();
        assert_eq!((known.forecast, known.note), (Some(first), None));
        let error = guarded.known(&place("B"), at(39)).await.unwrap_err().to_string();
        assert!(
            error.starts_with("Test: not asked until 2026-05-02T00:40:00Z") && told.asked() == 2,
            "{error}"
        );
        let known = guarded.known(&place("A"), at(190)).await.unwrap();
        assert!(known.forecast.is_none() && known.note.unwrap().contains("left alone for 600 s"));
    }

    #[tokio::test]
    async fn zones_take_turns_where_requests_are_to_be_apart() {
        let told = Told(Arc::default(), Arc::default(), Span::from_seconds(120));
        let mut guarded = Guarded::new(Box::new(told.clone()));
        let zones = ["A", "B", "C"];
        // Looked at every minute: one request every second time, each zone once in half an hour.
        let mut first = Vec::new();
        for minutes in 0..30 {
            for zone in zones {
                match guarded.known(&place(zone), at(minutes)).await {
                    Ok(known) => assert_eq!(known.note, None),
                    Err(error) => {
                        assert_eq!(error, Error::Turn { provider: "Test", apart: Span::from_seconds(120) });
                        assert!(guarded.has_queue(at(minutes)));
                        continue;
                    }
                }
                if !first.iter().any(|(known, _)| *known == zone) {
                    first.push((zone, minutes));
                }
            }
        }
        assert_eq!(first, [("A", 0), ("B", 2), ("C", 4)]);
        assert_eq!((told.asked(), guarded.has_queue(at(29))), (3, false));
        for zone in zones {
            assert_eq!(guarded.known(&place(zone), at(40)).await.unwrap().note, None, "the last answer does");
        }
        assert_eq!((told.asked(), guarded.has_queue(at(40))), (4, true));
        assert!(!guarded.has_queue(at(42)), "nobody looks any more");
        // Who fails is not asked sooner for it, and takes no other zone's turn.
        told.fail(Some(unanswered()));
        for minutes in 41..60 {
            for zone in zones {
                guarded.known(&place(zone), at(minutes)).await.unwrap();
            }
        }
        assert_eq!(told.asked(), 4 + FAILURES_MAX + 2, "three in a row, then one every five minutes");
        told.fail(None);
        guarded.known(&place("A"), at(-60)).await.unwrap();
        assert_eq!(told.asked(), 4 + FAILURES_MAX + 3, "a clock set back stops nothing");
    }

    #[tokio::test]
    async fn a_restart_knows_what_was_known_and_asks_no_sooner() {
        let told = Told::default();
        let mut first = Guarded::new(Box::new(told.clone()));
        let known = first.known(&place("A"), at(0)).await.unwrap();
        let saved = first.save(&place("A").zone).unwrap();
        assert_eq!(first.save(&place("A").zone), None, "nothing new since");
        let mut second = Guarded::new(Box::new(told.clone()));
        second.restore(&place("A").zone, &saved, at(29)).unwrap();
        let standing = second.standing(&place("A").zone, at(29));
        assert_eq!((standing.asked, standing.again), (Some(at(0)), Some(at(30))));
        let again = second.known(&place("A"), at(29)).await.unwrap();
        assert_eq!((again.forecast, told.asked()), (known.forecast, 1), "its terms hold over a restart");
        second.known(&place("A"), at(30)).await.unwrap();
        assert_eq!(told.asked(), 2);
        let longer = second.known(&place("A"), at(60)).await.unwrap();
        assert_eq!(longer.actual.start(), known.actual.start(), "the past goes on from what was saved");
        // A long time later the past is still there, and nothing stands for the present but an answer.
        let mut third = Guarded::new(Box::new(told.clone()));
        third.restore(&place("A").zone, &saved, at(600)).unwrap();
        told.fail(Some(unanswered()));
        assert_eq!(third.known(&place("A"), at(600)).await.unwrap_err(), unanswered());
        assert_eq!(third.standing(&place("A").zone, at(600)).failures, 1);
    }

    #[tokio::test]
    async fn a_wait_is_kept_to_over_a_restart() {
        let told = Told::default();
        let mut first = Guarded::new(Box::new(told.clone()));
        let wait = Duration::from_secs(3000);
        *told.1.lock().unwrap() = Some(Error::Busy { provider: "Test", status: 429, wait });
        first.known(&place("A"), at(0)).await.unwrap();
        let saved = first.save(&place("A").zone).unwrap();
        let mut second = Guarded::new(Box::new(told.clone()));
        second.restore(&place("A").zone, &saved, at(1)).unwrap();
        assert_eq!(second.standing(&place("A").zone, at(1)).rests_until, Some(at(50)));
        assert!(second.known(&place("A"), at(49)).await.unwrap().note.unwrap().contains("not asked until"));
        assert_eq!(told.asked(), 1);
        second.known(&place("A"), at(50)).await.unwrap();
        assert_eq!(told.asked(), 2);
    }
}
