//! Energy-Charts (Fraunhofer ISE): countries of Europe, keyless, CC BY 4.0. Experimental: made after its documentation
//! and a recorded answer, and not yet seen against the running service.
//!
//! Figures: g CO2eq per kWh, average of what a country generates, by quarter hours (some countries: hours), each at its
//! start in seconds since 1970. What was is *measured*; what the answer calls a `substitute` is *estimated*. Its forecast
//! begins where what was ends, and reaches to the end of the present day, or from the evening on of the next. One request
//! gives both. Covered are zones of ours that are whole countries of its ([`ZONES`]); a country of several bidding zones
//! (DK, IT, SE) has one figure there, which is no zone's. Left out: mixes of sources, the traffic light.

use super::ask::{Ask, Reach};
use super::points::{self, Raw};
use super::{Ahead, Answer, Basis, Error, Field, Place, Service, Terms, keyless, to_minutes};
use fleet::{GridZone, Instant, SignalKind, Span};
use serde::Deserialize;

/// Where it is.
pub const URL: &str = "https://api.energy-charts.info";
/// Its name.
pub const NAME: &str = "Energy-Charts";
/// Zones that are a whole country of its, which it calls by the same letters in lower case. It has Ireland too, and does
/// not say whether with the North, with which it shares a market; of Norway all, not its five zones.
pub const ZONES: [&str; 22] = [
    "AT", "BE", "BG", "CH", "CZ", "DE", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "LT", "LU", "LV", "NL",
    "NO", "PL", "PT", "SI", "SK",
];
/// A figure's step; also how long an answer is good.
const LASTS: Span = Span::from_seconds(900);
/// Two requests a minute are what it documents for prices, fewer when it is busy; at this pace every zone of [`ZONES`]
/// has its turn within [`LASTS`].
const APART: Span = Span::from_seconds(30);
/// How far back it is asked at first: as far as is kept; it gives a year.
const PAST: Span = points::HISTORY;
/// How far ahead it is asked: to the end of the next day.
const AHEAD: Span = Span::from_seconds(2 * 86_400);
/// Times an answer may speak of: 1970 to 2100.
const SECONDS: std::ops::RangeInclusive<i64> = 0..=4_102_444_800;

/// The service.
#[derive(Debug)]
pub struct EnergyCharts {
    ask: Ask,
    /// It said of its last answer that there will be no more of the kind.
    deprecated: bool,
}

#[derive(Deserialize)]
struct Reply {
    unix_seconds: Vec<i64>,
    co2eq: Vec<Option<f64>>,
    co2eq_forecast: Option<Vec<Option<f64>>>,
    #[serde(default)]
    substitute: bool,
    #[serde(default)]
    deprecated: bool,
}

impl Reply {
    /// When each step starts.
    fn times(&self, field: Field<'_>) -> Result<Vec<Instant>, Error> {
        let count = self.unix_seconds.len();
        let arrays = [Some(&self.co2eq), self.co2eq_forecast.as_ref()];
        if let Some(other) = arrays.into_iter().flatten().map(Vec::len).find(|len| *len != count) {
            return Err(field.at("unix_seconds").bad(format!("{count} times for {other} values"), "as many"));
        }
        let time = |(i, seconds): (usize, &i64)| match SECONDS.contains(seconds) {
            true => Ok(Instant::from_unix_seconds(*seconds)),
            false => {
                let expected = format!("seconds since 1970, {} at most", SECONDS.end());
                Err(field.at(&format!("unix_seconds[{i}]")).bad(seconds, expected))
            }
        };
        self.unix_seconds.iter().enumerate().map(time).collect()
    }
}

impl EnergyCharts {
    /// At a base address, [`URL`] unless told otherwise.
    ///
    /// # Errors
    /// When that is no address to ask.
    pub fn new(base: &str, reach: impl Into<Reach>) -> Result<EnergyCharts, String> {
        let ask = Ask::keyless(NAME, base, reach.into().tried_once())?;
        Ok(EnergyCharts { ask, deprecated: false })
    }

    /// Whether it covers a zone.
    pub fn covers(zone: &GridZone) -> bool {
        ZONES.contains(&zone.as_str())
    }
}

/// How it says, with 400, that it does not know a country.
const NO_COUNTRY: &str = "available country";

/// It says 404 of a country it has no figures of, 400 of one it does not know, and 400 of other mistakes too.
fn explained(error: Error, zone: &GridZone) -> Error {
    match error {
        Error::Refused { provider, status, said, .. }
            if status == 404 || status == 400 && said.contains(NO_COUNTRY) =>
        {
            Error::Uncovered { provider, zone: zone.clone(), said }
        }
        other => keyless(other),
    }
}

impl Service for EnergyCharts {
    fn terms(&self) -> Terms {
        Terms { name: NAME, basis: Basis::Average, lasts: LASTS, apart: APART }
    }
    fn asks(&self) -> &Ask {
        &self.ask
    }
    fn source(&self, zone: &GridZone) -> String {
        let country = zone.as_str().to_ascii_lowercase();
        let ends = if self.deprecated { "; deprecated, says the service" } else { "" };
        format!("{NAME} {country} (Fraunhofer ISE, CC BY 4.0; average, experimental{ends})")
    }
    async fn answer(&mut self, place: &Place, since: Option<Instant>, now: Instant) -> Result<Answer, Error> {
        let zone = &place.zone;
        if !EnergyCharts::covers(zone) {
            let said = format!("it covers {}", ZONES.join(", "));
            return Err(Error::Uncovered { provider: NAME, zone: zone.clone(), said });
        }
        let country = zone.as_str().to_ascii_lowercase();
        let from = to_minutes(since.unwrap_or(now - PAST).max(now - PAST).floor_to(LASTS));
        let path = format!("/co2eq?country={country}&start={from}Z&end={}Z", to_minutes(now + AHEAD));
        let body = self.ask.get(&format!("country {country}"), &path, None).await;
        let field = Field { provider: NAME, zone, field: "co2eq" };
        let reply: Reply = field.parse(&body.map_err(|error| explained(error, zone))?)?;
        self.deprecated = reply.deprecated;
        let times = reply.times(field)?;
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > Span::ZERO);
        let step = gaps.min().unwrap_or(LASTS);
        let kind = if reply.substitute { SignalKind::Estimated } else { SignalKind::Measured };
        let raw = |values: &[Option<f64>], kind, wanted: &dyn Fn(Instant) -> bool| -> Vec<Raw> {
            let steps = times.iter().zip(values).filter(|(at, _)| wanted(**at));
            steps.map(|(at, grams)| Raw { at: *at, grams: *grams, kind }).collect()
        };
        let past = points::check(field, &raw(&reply.co2eq, kind, &|at| at <= now), Some(step))?;
        let forecast = reply.co2eq_forecast.as_deref().unwrap_or_default();
        let ahead = raw(forecast, SignalKind::Forecast, &|at| at + step > now);
        let steps = points::check(field.at("co2eq_forecast"), &ahead, Some(step));
        Ok(Answer { past, ahead: steps.map(|steps| Ahead { steps, made: now }) })
    }
}
