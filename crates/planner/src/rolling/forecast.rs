//! What is known of the hours ahead in an online test.

use super::Scenario;
use crate::forecast;
use fleet::{GramsCo2PerKwh, Instant, Series, Span};

/// Hours of a day; scenarios have hourly slots.
const DAY: usize = 24;
/// What is left after an hour of what a forecast was off by.
const FADE: f64 = 0.9;

/// Where the intensity of the hours ahead comes from. That of the present hour is always the true one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// The forecast issued last; beyond its end, and where there is none, the naive one.
    Real,
    /// The same hour of the last known day.
    Naive,
    /// What the cluster's own past says (`crate::forecast`).
    Learnt,
    /// What will happen: not honest, to tell forecast error from the rest.
    Perfect,
}

impl Forecast {
    /// Its name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Forecast::Real => "real",
            Forecast::Naive => "naive",
            Forecast::Learnt => "learnt",
            Forecast::Perfect => "perfect",
        }
    }

    /// gCO2e/kWh of each cluster for slots `[now, now + ahead)`, as far as the scenario goes. But for
    /// `Perfect` nothing after `now` is read. What the present hour is off by is taken to go on, less
    /// with each hour.
    pub fn curves(self, scenario: &Scenario, now: usize, ahead: usize) -> Vec<Vec<f64>> {
        let end = (now + ahead).min(scenario.instance.slots);
        if self == Forecast::Learnt {
            return (0..scenario.instance.clusters.len()).map(|c| learnt(scenario, c, now, end)).collect();
        }
        let curve = |cluster: usize| {
            let truth = &scenario.instance.clusters[cluster].carbon;
            let mut off = truth[now] - self.says(scenario, cluster, now, now);
            let mut curve = vec![truth[now]];
            for slot in now + 1..end {
                off *= FADE;
                curve.push((self.says(scenario, cluster, now, slot) + off).max(0.0));
            }
            curve
        };
        (0..scenario.instance.clusters.len()).map(curve).collect()
    }

    /// What is said of a slot, now or later.
    fn says(self, scenario: &Scenario, cluster: usize, now: usize, slot: usize) -> f64 {
        let naive = || naive(scenario, cluster, now, slot);
        match self {
            Forecast::Perfect => scenario.instance.clusters[cluster].carbon[slot],
            Forecast::Naive | Forecast::Learnt => naive(),
            Forecast::Real => issued(scenario, cluster, now, slot).unwrap_or_else(naive),
        }
    }
}

/// What the hours up to now say of those up to `end`; that of now is the true one.
fn learnt(scenario: &Scenario, cluster: usize, now: usize, end: usize) -> Vec<f64> {
    let truth = &scenario.instance.clusters[cluster].carbon[..=now];
    let before = scenario.before[cluster].iter().rev().map_while(|value| *value);
    let mut past: Vec<_> =
        truth.iter().rev().copied().chain(before).map(GramsCo2PerKwh::from_grams_f64).collect();
    past.reverse();
    let next = Instant::EPOCH + Span::HOUR.scaled(past.len() as i64, 1);
    let mut curve = vec![truth[now]];
    let later = end.saturating_sub(now + 1);
    if let Some(past) = Series::new(Instant::EPOCH, Span::HOUR, past) {
        let made = forecast::forecast(&past, next, later);
        curve.extend(made.values().iter().take(later).map(|value| value.as_grams_f64()));
    }
    curve
}

/// What the latest forecast that reaches the slot says.
fn issued(scenario: &Scenario, cluster: usize, now: usize, slot: usize) -> Option<f64> {
    let usable = scenario.forecasts.iter().filter(|issue| issue.slot <= now as i64);
    let says = |issue: &super::Issued| {
        let at = usize::try_from(slot as i64 - issue.slot).ok()?;
        Some((issue.slot, *issue.carbon.get(cluster)?.get(at)?))
    };
    usable.filter_map(says).max_by_key(|found| found.0).map(|found| found.1)
}

/// The same hour of the last known day.
fn naive(scenario: &Scenario, cluster: usize, now: usize, slot: usize) -> f64 {
    let before = &scenario.before[cluster];
    let truth = &scenario.instance.clusters[cluster].carbon;
    let known = |at: i64| match usize::try_from(at) {
        Ok(at) => (at <= now).then(|| truth[at]),
        Err(_) => before.get(usize::try_from(at + before.len() as i64).ok()?).copied().flatten(),
    };
    let days = (slot + before.len()) / DAY;
    (1..=days).find_map(|day| known(slot as i64 - (day * DAY) as i64)).unwrap_or(truth[now])
}
