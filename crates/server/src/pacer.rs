//! Keeps a twin's virtual time and the loop in step, and the loop of real clusters on time.
//!
//! Time advances at most to the next timer of the loop, and not beyond until the loop has handled every
//! earlier event and every call is answered: however fast the clock runs, no round trip makes anything
//! late. When the loop is slower than the wanted speed, time simply passes more slowly. While webhooks are asked about what
//! controllers write, it passes as on the wall at most: their seconds are seconds of the twin.

use crate::backend::Speed;
use crate::engine::{Engine, FleetClock, Progress};
use crate::twin_host::TwinHost;
use crate::wall::Stopwatch;
use fleet::{ClusterId, Instant, Span};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use twin::Kind;

/// Kinds the loop follows, and so waits for.
const FOLLOWED: [Kind; 4] = [Kind::Node, Kind::Pod, Kind::Job, Kind::PriorityClass];
/// How often virtual time is moved on, in wall time.
const TICK: Duration = Duration::from_millis(10);
/// Falling further behind than this, in wall time, the lost time is given up instead of caught up with.
const LAG_MAX: Span = Span::from_millis(250);
/// How often the clock is written down, in wall time.
const CLOCK_EVERY: Duration = Duration::from_millis(500);
/// How often the loop of real clusters looks at its timers at least, and at most.
const LOOK_EVERY: Span = Span::from_seconds(1);
const TICK_MIN: Span = Span::from_millis(1);
/// How long a twin without a loop sleeps at most: its clock is read by whoever asks for ages.
const FREE_TICK_MAX: Span = Span::from_millis(100);
/// With `max` speed: how far time goes in one go while nothing happens.
const MAX_STRIDE: Span = Span::from_seconds(3600);

/// Speed and pause of a twin; shared by the pacer and those who set it.
pub struct Throttle {
    state: Mutex<(Speed, bool)>,
    changed: Notify,
}

impl Throttle {
    /// Runs at this pace.
    pub fn new(pace: Speed, paused: bool) -> Throttle {
        Throttle { state: Mutex::new((pace, paused)), changed: Notify::new() }
    }
    /// Pace, and whether it is paused.
    pub fn get(&self) -> (Speed, bool) {
        *self.state.lock().expect("nothing panics while it is held")
    }
    /// Changes pace or pause.
    pub fn set(&self, change: impl FnOnce(&mut Speed, &mut bool)) {
        let mut state = self.state.lock().expect("nothing panics while it is held");
        let (pace, paused) = &mut *state;
        change(pace, paused);
        self.changed.notify_one();
    }
}

impl FleetClock for TwinHost {
    fn now(&self) -> Instant {
        TwinHost::now(self)
    }
}

/// The pace to keep while webhooks are asked, or while none is.
fn kept(pace: Speed, asking: bool) -> Speed {
    match pace {
        Speed::Times(times) if asking => Speed::Times(times.min(1.0)),
        Speed::Max if asking => Speed::Times(1.0),
        pace => pace,
    }
}

/// Moves a twin's time on, for ever.
pub struct Pacer {
    /// The twin.
    pub host: Arc<TwinHost>,
    /// The loop.
    pub engine: Engine,
    /// Its clusters.
    pub clusters: Vec<ClusterId>,
    /// Speed and pause.
    pub throttle: Arc<Throttle>,
}

impl Pacer {
    /// Runs until the task is dropped.
    pub async fn run(self) {
        let mut progress = self.engine.progress();
        loop {
            let (pace, paused) = self.throttle.get();
            if paused {
                self.throttle.changed.notified().await;
                continue;
            }
            match kept(pace, self.host.is_asking()) {
                Speed::Max => self.advance_to(&mut progress, self.host.now() + MAX_STRIDE).await,
                Speed::Times(times) => self.keep_pace(&mut progress, times).await,
            }
        }
    }

    /// One stretch at a steady pace: until the throttle changes or a second has passed.
    async fn keep_pace(&self, progress: &mut watch::Receiver<Progress>, times: f64) {
        let mut watch = Stopwatch::start();
        let mut base = self.host.now();
        let scale = |wall: Span| Span::from_nanos((wall.as_nanos() as f64 * times) as i64);
        let (begun, asking) = (Stopwatch::start(), self.host.is_asking());
        while begun.elapsed() < Span::from_seconds(1) {
            let target = base + scale(watch.elapsed());
            self.advance_to(progress, target).await;
            if self.host.is_asking() != asking {
                return;
            }
            if base + scale(watch.elapsed()) - self.host.now() > scale(LAG_MAX) {
                (watch, base) = (Stopwatch::start(), self.host.now());
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.throttle.changed.notified() => return,
            }
        }
    }

    /// Moves time to `target`, in step with the loop, unless webhooks begin to be asked.
    async fn advance_to(&self, progress: &mut watch::Receiver<Progress>, target: Instant) {
        let asking = self.host.is_asking();
        loop {
            let timer = self.caught_up(progress).await;
            let now = self.host.now();
            let begins = !asking && self.host.is_asking();
            if now >= target || begins || self.throttle.get().1 {
                return;
            }
            self.host.advance(timer.filter(|at| *at > now).unwrap_or(Instant::FAR_FUTURE).min(target));
            self.engine.nudge().await;
        }
    }

    /// Waits until the loop has handled everything up to the present instant; gives its next timer.
    async fn caught_up(&self, progress: &mut watch::Receiver<Progress>) -> Option<Instant> {
        let quiet = |p: &Progress| {
            let followed = |cluster: &ClusterId| {
                FOLLOWED.into_iter().all(|kind| {
                    let seen = p.seen.get(&(cluster.clone(), kind)).copied();
                    seen.is_some_and(|seen| seen >= self.host.last_version(cluster, kind))
                })
            };
            p.under_way == 0 && p.stepped_at >= self.host.now() && self.clusters.iter().all(followed)
        };
        let timer = progress.wait_for(quiet).await.map(|p| p.next_timer);
        match timer {
            Ok(timer) => timer,
            // The loop has ended: nothing may pass any more.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Moves the time of a twin on that nobody's loop has to keep up with, for ever: only as often as something happens.
pub async fn run_freely(host: Arc<TwinHost>, pace: Speed) {
    loop {
        let asking = host.is_asking();
        match kept(pace, asking) {
            Speed::Max => {
                host.advance(host.now() + MAX_STRIDE);
                // Requests come in between.
                tokio::task::yield_now().await;
            }
            Speed::Times(times) => run_at(&host, times, asking).await,
        }
    }
}

/// Moves time on at a pace for as long as webhooks are asked, or none is.
async fn run_at(host: &TwinHost, times: f64, asking: bool) {
    let wall = |virtual_time: Span| Span::from_nanos((virtual_time.as_nanos() as f64 / times) as i64);
    let (mut watch, mut base) = (Stopwatch::start(), host.now());
    while host.is_asking() == asking {
        let elapsed = watch.elapsed();
        let target = base + Span::from_nanos((elapsed.as_nanos() as f64 * times) as i64);
        while host.now() < target
            && wall(target - host.now()) <= LAG_MAX.max(FREE_TICK_MAX)
            && host.is_asking() == asking
        {
            host.advance(target);
        }
        if host.now() < target {
            // It slept, or cannot keep up: what was lost is not caught up with.
            (watch, base) = (Stopwatch::start(), host.now());
            continue;
        }
        let ahead = host.next_event().map_or(FREE_TICK_MAX, |at| wall(at - host.now()));
        let ahead = ahead.min(FREE_TICK_MAX).max(TICK_MIN);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_nanos(u64::try_from(ahead.as_nanos()).unwrap_or(0))) => {}
            () = host.asked() => {}
        }
    }
}

/// Real clusters: makes the loop look at its timers when the wall's clock comes to them, for ever. That clock may be
/// set, and stands still while a machine sleeps: so it is looked at each [`LOOK_EVERY`] at least.
pub async fn keep_wall_time(engine: Engine, clock: Arc<dyn FleetClock>) {
    let mut progress = engine.progress();
    loop {
        let next = progress.borrow_and_update().next_timer;
        let ahead = next.map_or(LOOK_EVERY, |at| at - clock.now()).min(LOOK_EVERY).max(TICK_MIN);
        let ahead = Duration::from_nanos(u64::try_from(ahead.as_nanos()).unwrap_or(0));
        tokio::select! {
            () = tokio::time::sleep(ahead) => engine.nudge().await,
            changed = progress.changed() => if changed.is_err() { return },
        }
    }
}

/// Writes the twin's clock down, and a snapshot when one is due, for ever.
pub async fn keep(host: Arc<TwinHost>) {
    let mut written = None;
    loop {
        tokio::time::sleep(CLOCK_EVERY).await;
        let now = host.now();
        if written != Some(now) {
            written = Some(now);
            if let Err(error) = host.save_clock().await {
                tracing::error!(error = format!("{error:#}"), "write the twin's clock");
            }
        }
        if host.snapshot_due()
            && let Err(error) = host.snapshot().await
        {
            tracing::error!(error = format!("{error:#}"), "save the twin");
        }
    }
}
