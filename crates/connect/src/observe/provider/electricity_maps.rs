//! Electricity Maps, API v3 or v4: most zones of the world, with a key.
//!
//! Figures: gCO2eq per kWh, average of what is consumed (flow-traced), life cycle, hourly, UTC. An hour the
//! service estimates is *estimated*, others are *measured*; estimates are corrected for some hours, so the last
//! day is read anew each time. Plans differ in zones, in how far forecasts reach and in whether there is one, and in
//! whether more of the past than a day can be had; where not, the answer says why and gives what there is. v4 has the
//! same paths, another word for "answer for this zone alone", and is told the step. Left out: data centres' own
//! figures, 5 and 15 minutes, direct emissions.

use super::ask::{Ask, Reach, Secret};
use super::points::{self, Raw};
use super::{Ahead, Answer, Basis, Error, Field, Place, Service, Terms};
use fleet::{GridZone, Instant, SignalKind, Span};
use http::HeaderName;
use serde::Deserialize;

/// Where it is; the path's end tells the version.
pub const URL: &str = "https://api.electricitymaps.com/v3";
/// Its name.
pub const NAME: &str = "Electricity Maps";
/// Figures change once an hour, at no fixed minute. Three requests a zone three times an hour stay within the
/// 50 an hour of a personal key, which has one zone.
const LASTS: Span = Span::from_seconds(1200);
/// How far ahead is asked, in hours: what plans give, the most first; at last what the plan gives by itself.
const HORIZONS: [Option<u32>; 4] = [Some(72), Some(48), Some(24), None];
/// After this it is tried anew whether the plan gives more: people change plans.
const HORIZON_LASTS: Span = Span::DAY;
/// Most of the past one request may ask for at hourly steps.
const RANGE: Span = Span::from_seconds(10 * 86_400);
/// Requests for the past before the last day, at most: with [`RANGE`] all that is kept.
const RANGES_MAX: u32 = 3;
/// The emission factors we count with, here and in the built-in tables.
const FACTORS: &str = "lifecycle";

/// The service.
#[derive(Debug)]
pub struct ElectricityMaps {
    ask: Ask,
    version: u8,
    key: Secret,
    /// Which of [`HORIZONS`] the plan gives, as far as is known, and since when it is not the first.
    horizon: usize,
    lowered: Option<Instant>,
}

/// Any answer: a point, a history or a forecast; an error may come with 200.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    zone: Option<String>,
    error: Option<String>,
    history: Option<Vec<Point>>,
    data: Option<Vec<Point>>,
    forecast: Option<Vec<Point>>,
    updated_at: Option<String>,
    temporal_granularity: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Point {
    zone: Option<String>,
    carbon_intensity: Option<f64>,
    datetime: String,
    is_estimated: Option<bool>,
    estimation_method: Option<String>,
    emission_factor_type: Option<String>,
    temporal_granularity: Option<String>,
}

impl ElectricityMaps {
    /// At a base address, [`URL`] unless told otherwise; one that does not end in a version means v3.
    ///
    /// # Errors
    /// When that is no address to ask.
    pub fn new(base: &str, key: Secret, reach: impl Into<Reach>) -> Result<ElectricityMaps, String> {
        let base = base.trim().trim_end_matches('/');
        let version = if base.ends_with("/v4") { 4 } else { 3 };
        let whole = base.ends_with("/v3") || version == 4;
        let base = if whole { base.to_owned() } else { format!("{base}/v3") };
        let ask = Ask::new(NAME, &base, reach)?;
        Ok(ElectricityMaps { ask, version, key, horizon: 0, lowered: None })
    }

    /// Asks for one of the signals of carbon intensity.
    async fn get(&mut self, zone: &GridZone, signal: &str, more: &str) -> Result<Vec<u8>, Error> {
        // Without this the zone of whoever asks may be answered for. The reply's zone is checked as well.
        let lookup = if self.version == 4 {
            "disableCallerLookup=true&temporalGranularity=hourly"
        } else {
            "shouldUseFallbackCallerLookup=false"
        };
        let path =
            format!("/carbon-intensity/{signal}?zone={zone}&emissionFactorType={FACTORS}&{lookup}{more}");
        let key = (HeaderName::from_static("auth-token"), self.key.expose().to_owned());
        let what = format!("{signal} of zone {zone}");
        let body = self.ask.get(&what, &path, Some(key)).await.map_err(|error| explained(error, zone))?;
        Ok(body.to_vec())
    }

    /// What was, oldest first: the last day, and the present hour where that is newer; before it what `since` lacks,
    /// where the plan gives it. Beside it, that the service asks to be left alone.
    async fn past(
        &mut self,
        zone: &GridZone,
        since: Option<Instant>,
        now: Instant,
    ) -> Result<(points::Steps, Option<Error>), Error> {
        let body = self.get(zone, "history", "").await?;
        let field = Field { provider: NAME, zone, field: "history" };
        let reply: Reply = field.parse(&body)?;
        reply.check(field)?;
        let items = reply.history.ok_or_else(|| field.bad("no such field", "the last 24 hours"))?;
        let mut raw = points_of(field, &items, "history", None)?;
        // The history stands by itself: the present hour is missing for some minutes of each.
        match self.latest(zone).await {
            Ok(latest) => {
                raw.retain(|known| known.at != latest.at || latest.grams.is_none());
                if latest.grams.is_some() {
                    raw.push(latest);
                }
            }
            Err(Error::Refused { .. } | Error::Denied { .. }) => {}
            Err(error) => return Err(error),
        }
        let last_day = points::check(field, &raw, Some(Span::HOUR))?;
        let from = since.unwrap_or(now - points::HISTORY).max(now - points::HISTORY).ceil_to(Span::HOUR);
        let (mut whole, busy) = self.before(zone, from, last_day.start).await;
        whole.append(&mut raw);
        // What a range says is no reason to do without the last day.
        Ok((points::check(field, &whole, Some(Span::HOUR)).unwrap_or(last_day), busy))
    }

    /// Hours from `from` until `to`, as far back from there as the plan gives them without a failure.
    async fn before(&mut self, zone: &GridZone, from: Instant, to: Instant) -> (Vec<Raw>, Option<Error>) {
        let (mut known, mut to) = (Vec::new(), to);
        for _ in 0..RANGES_MAX {
            if from >= to {
                break;
            }
            let start = from.max(to - RANGE);
            match self.range(zone, start, to).await {
                Ok(mut part) => {
                    part.append(&mut known);
                    (known, to) = (part, start);
                }
                Err(busy @ Error::Busy { .. }) => return (known, Some(busy)),
                Err(error) => {
                    tracing::debug!(%zone, "no longer past: {error}");
                    break;
                }
            }
        }
        (known, None)
    }

    /// Hours from `start` until `end`, at most [`RANGE`].
    async fn range(&mut self, zone: &GridZone, start: Instant, end: Instant) -> Result<Vec<Raw>, Error> {
        let period = format!("&start={}&end={}", start.to_rfc3339_seconds(), end.to_rfc3339_seconds());
        let body = self.get(zone, "past-range", &period).await?;
        let field = Field { provider: NAME, zone, field: "past-range" };
        let reply: Reply = field.parse(&body)?;
        reply.check(field)?;
        let items = reply.data.ok_or_else(|| field.bad("no such field data", "hours of the past"))?;
        let mut raw = points_of(field, &items, "data", None)?;
        raw.retain(|point| point.at >= start && point.at < end);
        points::check(field, &raw, Some(Span::HOUR))?;
        Ok(raw)
    }

    async fn latest(&mut self, zone: &GridZone) -> Result<Raw, Error> {
        let body = self.get(zone, "latest", "").await?;
        let field = Field { provider: NAME, zone, field: "latest" };
        field.parse::<Reply>(&body)?.check(field)?;
        field.parse::<Point>(&body)?.raw(field, None)
    }

    /// The body of a forecast, as long as the plan gives it.
    async fn longest(&mut self, zone: &GridZone, now: Instant) -> Result<Vec<u8>, Error> {
        if self.lowered.is_some_and(|since| now < since || now - since >= HORIZON_LASTS) {
            (self.horizon, self.lowered) = (0, None);
        }
        loop {
            let more = match HORIZONS[self.horizon] {
                Some(hours) => format!("&horizonHours={hours}"),
                None => String::new(),
            };
            match self.get(zone, "forecast", &more).await {
                // A plan may have a forecast, and not as long a one: tried once a day, not each time.
                Err(Error::Denied { .. } | Error::Refused { status: 400, .. })
                    if self.horizon + 1 < HORIZONS.len() =>
                {
                    self.horizon += 1;
                    self.lowered = Some(now);
                }
                asked => return asked,
            }
        }
    }

    async fn ahead(&mut self, zone: &GridZone, now: Instant) -> Result<Ahead, Error> {
        let body = self.longest(zone, now).await?;
        let field = Field { provider: NAME, zone, field: "forecast" };
        let reply: Reply = field.parse(&body)?;
        reply.check(field)?;
        let made = match &reply.updated_at {
            Some(text) => field.at("updatedAt").time(text)?,
            None => now,
        };
        let items = reply.forecast.ok_or_else(|| field.bad("no such field", "hours to come"))?;
        let raw = points_of(field, &items, "forecast", Some(SignalKind::Forecast))?;
        Ok(Ahead { steps: points::check(field, &raw, Some(Span::HOUR))?, made })
    }
}

/// Says what to do about a denial.
fn explained(error: Error, zone: &GridZone) -> Error {
    match error {
        Error::Denied { provider, status, what, said, .. } => {
            // It says 401 to keys it does not know and to zones and signals outside a plan alike.
            let hint = if status == 403 {
                format!("the plan does not include it for zone {zone}")
            } else {
                format!(
                    "the key is not valid, or its plan does not include that for zone {zone}: check KUBERCARBON_ELECTRICITYMAPS_TOKEN and the plan"
                )
            };
            Error::Denied { provider, status, what, said, hint }
        }
        other => other,
    }
}

impl Reply {
    fn check(&self, field: Field<'_>) -> Result<(), Error> {
        if let Some(error) = &self.error {
            return Err(field.at("error").bad(format!("{error:?}"), "values"));
        }
        of_zone(field, self.zone.as_deref().unwrap_or("no zone"))?;
        hourly(field, self.temporal_granularity.as_deref())
    }
}

/// The points of a list called `name`. `kind`: as given, else as the service says of each.
fn points_of(
    field: Field<'_>,
    items: &[Point],
    name: &str,
    kind: Option<SignalKind>,
) -> Result<Vec<Raw>, Error> {
    let raw = |(i, item): (usize, &Point)| item.raw(field.at(&format!("{name}[{i}]")), kind);
    items.iter().enumerate().map(raw).collect()
}

/// The reply is about the zone that was asked for.
fn of_zone(field: Field<'_>, found: &str) -> Result<(), Error> {
    if found == field.zone.as_str() { Ok(()) } else { Err(field.at("zone").bad(found, field.zone)) }
}

fn hourly(field: Field<'_>, found: Option<&str>) -> Result<(), Error> {
    match found {
        None | Some("hourly") => Ok(()),
        Some(other) => Err(field.at("temporalGranularity").bad(other, "hourly")),
    }
}

impl Point {
    /// `kind`: as given, else as the service says.
    fn raw(&self, field: Field<'_>, kind: Option<SignalKind>) -> Result<Raw, Error> {
        if let Some(zone) = &self.zone {
            of_zone(field, zone)?;
        }
        hourly(field, self.temporal_granularity.as_deref())?;
        if let Some(factors) = self.emission_factor_type.as_deref().filter(|found| *found != FACTORS) {
            return Err(field.bad(format!("emissionFactorType {factors}"), FACTORS));
        }
        if self.estimation_method.as_deref() == Some("SANDBOX_MODE_DATA") {
            return Err(
                field.bad("estimationMethod SANDBOX_MODE_DATA", "real data: a key that is no sandbox's")
            );
        }
        let said = if self.is_estimated == Some(true) { SignalKind::Estimated } else { SignalKind::Measured };
        Ok(Raw { at: field.time(&self.datetime)?, grams: self.carbon_intensity, kind: kind.unwrap_or(said) })
    }
}

impl Service for ElectricityMaps {
    fn terms(&self) -> Terms {
        Terms { name: NAME, basis: Basis::Average, lasts: LASTS, apart: Span::ZERO }
    }
    fn asks(&self) -> &Ask {
        &self.ask
    }
    fn source(&self, zone: &GridZone) -> String {
        format!("{NAME} v{} {zone} (average, life cycle)", self.version)
    }
    async fn answer(&mut self, place: &Place, since: Option<Instant>, now: Instant) -> Result<Answer, Error> {
        let (past, busy) = self.past(&place.zone, since, now).await?;
        let ahead = match busy {
            Some(busy) => Err(busy),
            None => self.ahead(&place.zone, now).await,
        };
        Ok(Answer { past, ahead })
    }
}
