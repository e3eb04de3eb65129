//! A server of the Green Software Foundation's Carbon Aware SDK (Web API 1.8), keyless. Experimental: made after its
//! source and not yet seen against a running one.
//!
//! Figures: g CO2 per kWh as its own data source has them, which its answers do not tell; whether they are average or
//! marginal is therefore told by whoever sets it up. What was counts as *estimated*. A cluster's place is matched to the
//! nearest of the server's locations within [`NEAR_KM`]. Left out: its JSON files, batch requests, windows.

use super::ask::{Ask, Reach};
use super::points::{self, Raw};
use super::{Ahead, Answer, Basis, Error, Field, Place, Service, Terms};
use fleet::{GridZone, Instant, SignalKind, Span};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Its name.
pub const NAME: &str = "Carbon Aware SDK";
/// How far a location may be from a cluster and stand for its grid, in km: cloud regions are named after a city and
/// stand around it.
pub const NEAR_KM: f64 = 100.0;
/// How long an answer is good: three steps of WattTime's, less than one of Electricity Maps', which are behind it.
const LASTS: Span = Span::from_seconds(900);
/// Locations are looked up anew after this.
const LOCATIONS_LAST: Span = Span::DAY;
/// How far back it is asked at first; what lies further back adds up while it is asked.
const PAST: Span = Span::DAY;
/// Most locations of a server: every region of every cloud is some 200.
const LOCATIONS_MAX: usize = 5000;
/// Longest name of a location.
const LOCATION_MAX: usize = 64;
/// Mean radius of the earth in km.
const EARTH_KM: f64 = 6371.0;

/// The service.
#[derive(Debug)]
pub struct CarbonAwareSdk {
    ask: Ask,
    basis: Basis,
    locations: Option<(Vec<Location>, Instant)>,
    /// The location in use of each zone.
    chosen: BTreeMap<GridZone, String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Location {
    #[serde(default)]
    name: String,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

#[derive(Deserialize)]
struct Emissions {
    time: String,
    rating: Option<f64>,
    duration: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Forecast {
    generated_at: String,
    forecast_data: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    timestamp: String,
    /// Minutes.
    duration: i64,
    value: Option<f64>,
}

impl CarbonAwareSdk {
    /// At a base address. `basis`: what the server's data source counts.
    ///
    /// # Errors
    /// When that is no address to ask.
    pub fn new(base: &str, basis: Basis, reach: impl Into<Reach>) -> Result<CarbonAwareSdk, String> {
        let ask = Ask::keyless(NAME, base, reach)?;
        Ok(CarbonAwareSdk { ask, basis, locations: None, chosen: BTreeMap::new() })
    }

    /// The server's locations.
    async fn locations(&mut self, zone: &GridZone, now: Instant) -> Result<&[Location], Error> {
        let good = |got: Instant| now >= got && now - got < LOCATIONS_LAST;
        if !self.locations.as_ref().is_some_and(|(_, got)| good(*got)) {
            let field = Field { provider: NAME, zone, field: "locations" };
            let body = self.ask.get("locations", "/locations", None).await;
            let body = body.map_err(|error| empty(error, field))?;
            let named: BTreeMap<String, Location> = field.parse(&body)?;
            if named.len() > LOCATIONS_MAX {
                return Err(field.bad(format!("{} of them", named.len()), format!("at most {LOCATIONS_MAX}")));
            }
            let all = named.into_iter().map(|(name, location)| Location { name, ..location }).collect();
            self.locations = Some((all, now));
        }
        Ok(self.locations.as_ref().map_or(&[], |(all, _)| all))
    }

    /// The location next to a place.
    async fn location(&mut self, place: &Place, now: Instant) -> Result<String, Error> {
        let zone = &place.zone;
        let uncovered = |said: String| Error::Uncovered { provider: NAME, zone: zone.clone(), said };
        let Some(here) = place.position else {
            return Err(uncovered("the place of its clusters is not known".to_owned()));
        };
        let far = |l: &Location| Some(distance_km(here, (l.latitude?, l.longitude?)));
        let all = self.locations(zone, now).await?;
        let near = all.iter().filter(|l| fits(&l.name)).filter_map(|l| Some((far(l)?, &l.name)));
        let Some((km, name)) = near.min_by(|a, b| a.0.total_cmp(&b.0)) else {
            return Err(uncovered("it has no location with coordinates".to_owned()));
        };
        let name = name.clone();
        if km > NEAR_KM {
            return Err(uncovered(format!(
                "the nearest of its locations, {name}, is {km:.0} km away: {NEAR_KM:.0} km at most"
            )));
        }
        self.chosen.insert(zone.clone(), name.clone());
        Ok(name)
    }

    async fn past(
        &mut self,
        zone: &GridZone,
        location: &str,
        from: Instant,
        now: Instant,
    ) -> Result<points::Steps, Error> {
        let (from, to) = (from.to_rfc3339_seconds(), now.to_rfc3339_seconds());
        let path = format!("/emissions/bylocation?location={location}&time={from}&toTime={to}");
        let field = Field { provider: NAME, zone, field: "emissions" };
        let body = self.ask.get(&format!("emissions of {location}"), &path, None).await;
        let items: Vec<Emissions> = field.parse(&body.map_err(|error| empty(error, field))?)?;
        let (mut raw, mut step) = (Vec::with_capacity(items.len()), None);
        for (i, item) in items.iter().enumerate() {
            let at = field.at(&format!("emissions[{i}].time")).time(&item.time)?;
            raw.push(Raw { at, grams: item.rating, kind: SignalKind::Estimated });
            let name = format!("emissions[{i}].duration");
            step = Some(one_step(field.at(&name), step, seconds(&item.duration), &item.duration)?);
        }
        // Either order is one of the server's.
        if raw.first().zip(raw.last()).is_some_and(|(first, last)| first.at > last.at) {
            raw.reverse();
        }
        points::check(field, &raw, step)
    }

    async fn ahead(&mut self, zone: &GridZone, location: &str, now: Instant) -> Result<Ahead, Error> {
        let path = format!("/emissions/forecasts/current?location={location}");
        let field = Field { provider: NAME, zone, field: "forecast" };
        let body = self.ask.get(&format!("forecast of {location}"), &path, None).await;
        let all: Vec<Forecast> = field.parse(&body.map_err(|error| empty(error, field))?)?;
        let forecast = all.first().ok_or_else(|| field.bad("no forecast", "one of the location"))?;
        let made = field.at("forecast.generatedAt").time(&forecast.generated_at)?.min(now);
        let (mut raw, mut step) = (Vec::with_capacity(forecast.forecast_data.len()), None);
        for (i, item) in forecast.forecast_data.iter().enumerate() {
            let at = field.at(&format!("forecastData[{i}].timestamp")).time(&item.timestamp)?;
            raw.push(Raw { at, grams: item.value, kind: SignalKind::Forecast });
            let (name, minutes) = (format!("forecastData[{i}].duration"), item.duration);
            step = Some(one_step(field.at(&name), step, minutes.checked_mul(60), &minutes.to_string())?);
        }
        Ok(Ahead { steps: points::check(field, &raw, step)?, made })
    }
}

/// 204 is how the server says that it has nothing; says what a denial means.
fn empty(error: Error, field: Field<'_>) -> Error {
    match error {
        Error::Refused { status: 204, .. } => field.bad("nothing (204)", "at least one value"),
        // It passes on what the service behind it says; what keeps people out of it may stand before it.
        Error::Denied { provider, status, what, said, .. } => {
            let hint = "it takes no key itself: see the account of the data source behind it, or the gateway before it";
            Error::Denied { provider, status, what, said, hint: hint.to_owned() }
        }
        other => other,
    }
}

/// The length all points share.
fn one_step(field: Field<'_>, before: Option<Span>, found: Option<i64>, text: &str) -> Result<Span, Error> {
    let step = found.map(Span::from_seconds).ok_or_else(|| field.bad(text, "a duration"))?;
    match before {
        Some(before) if before != step => {
            Err(field.bad(format!("{} s", step.as_seconds()), format!("{} s", before.as_seconds())))
        }
        _ => Ok(step),
    }
}

/// Whole seconds of a .NET TimeSpan, `[d.]hh:mm:ss[.fffffff]`.
fn seconds(text: &str) -> Option<i64> {
    let parts: Vec<&str> = text.split(':').collect();
    let [head, minutes, tail] = parts[..] else { return None };
    let (days, hours) = head.split_once('.').unwrap_or(("0", head));
    let whole = tail.split_once('.').map_or(tail, |(whole, _)| whole);
    let number = |text: &str, most: i64| {
        let plain = !text.is_empty() && text.len() <= 6 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i64>().ok().filter(|n| plain && *n <= most)
    };
    let (days, hours) = (number(days, 9999)?, number(hours, 23)?);
    Some(((days * 24 + hours) * 60 + number(minutes, 59)?) * 60 + number(whole, 59)?)
}

/// Whether a name can stand in an address as it is.
fn fits(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=LOCATION_MAX).contains(&name.len()) && name.chars().all(plain)
}

/// Great circle between two places in degrees, in km.
fn distance_km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
    let across = a.0.to_radians().cos() * b.0.to_radians().cos() * half(b.1 - a.1);
    2.0 * EARTH_KM * (half(b.0 - a.0) + across).clamp(0.0, 1.0).sqrt().asin()
}

impl Service for CarbonAwareSdk {
    fn terms(&self) -> Terms {
        Terms { name: NAME, basis: self.basis, lasts: LASTS, apart: Span::ZERO }
    }
    fn asks(&self) -> &Ask {
        &self.ask
    }
    fn source(&self, zone: &GridZone) -> String {
        let location = self.chosen.get(zone).map_or(zone.as_str(), String::as_str);
        format!("{NAME} {location} ({}, experimental)", self.basis)
    }
    async fn answer(&mut self, place: &Place, since: Option<Instant>, now: Instant) -> Result<Answer, Error> {
        let location = self.location(place, now).await?;
        let from = since.unwrap_or(now - PAST).max(now - points::HISTORY);
        let past = self.past(&place.zone, &location, from, now).await?;
        Ok(Answer { past, ahead: self.ahead(&place.zone, &location, now).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_dot_net() {
        for (text, found) in [
            ("00:05:00", Some(300)),
            ("01:00:00", Some(3600)),
            ("1.00:00:00", Some(86_400)),
            ("00:30:00.0000000", Some(1800)),
            ("00:60:00", None),
            ("5", None),
            ("-00:05:00", None),
            ("00:05", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), found, "{text}");
        }
    }

    #[test]
    fn distances_are_those_on_earth() {
        let (seoul, tokyo) = ((37.5665, 126.978), (35.6895, 139.6917));
        assert!((distance_km(seoul, tokyo) - 1154.0).abs() < 10.0, "{}", distance_km(seoul, tokyo));
        assert_eq!(distance_km(seoul, seoul), 0.0);
        assert!((distance_km((0.0, 179.5), (0.0, -179.5)) - 111.2).abs() < 0.5, "over the date line");
    }
}
