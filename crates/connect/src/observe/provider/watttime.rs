//! WattTime v3: marginal emissions, with an account.
//!
//! Figures: `co2_moer` in lb of CO2 per MWh, every 5 minutes (some regions: an hour), UTC, here g/kWh. It is a
//! model's figure, so what was is *estimated*. A region is found by a cluster's place. Free accounts have full
//! data of one region; elsewhere they have an index of 0 to 100, which is no amount and is only told about.
//! Invariant: the password goes to `/login` alone, the token nowhere but into a header.

use super::ask::{Ask, Reach, Secret, base64};
use super::points::{self, Raw};
use super::{Ahead, Answer, Basis, Error, Field, Place, Service, Terms};
use fleet::{GridZone, Instant, SignalKind, Span};
use http::header::AUTHORIZATION;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Where it is.
pub const URL: &str = "https://api.watttime.org";
/// Its name.
pub const NAME: &str = "WattTime";
/// g/kWh in a lb/MWh, exactly: a pound is 453.59237 g.
pub const GRAMS_PER_LB: f64 = 0.453_592_37;
/// The signal.
const SIGNAL: &str = "co2_moer";
/// Its unit, as the service writes it.
const UNITS: &str = "lbs_co2_per_mwh";
/// A token is good for 30 minutes.
const TOKEN_LASTS: Span = Span::from_seconds(25 * 60);
/// A forecast is good until the next, five minutes later.
const LASTS: Span = Span::from_seconds(300);
/// Boundaries change: a region is looked up anew after this; at least monthly is asked for.
const REGION_LASTS: Span = Span::from_seconds(7 * 86_400);
/// How far back it is asked at first: all that is kept, within the 32 days one request may ask for.
const PAST: Span = points::HISTORY;
/// How far ahead, in hours: the most it gives.
const HORIZON: u32 = 72;
/// Longest name of a region.
const REGION_MAX: usize = 64;

/// Kilograms a megawatt hour are grams a kilowatt hour.
pub fn grams_per_kwh(lbs_per_mwh: f64) -> f64 {
    lbs_per_mwh * GRAMS_PER_LB
}

/// The service.
#[derive(Debug)]
pub struct WattTime {
    ask: Ask,
    user: String,
    password: Secret,
    token: Option<(Secret, Instant)>,
    regions: BTreeMap<GridZone, (String, Instant)>,
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

#[derive(Deserialize)]
struct Region {
    region: String,
}

#[derive(Deserialize)]
struct Reply {
    data: Vec<Point>,
    meta: Meta,
}

#[derive(Deserialize)]
struct Point {
    point_time: String,
    value: Option<f64>,
}

#[derive(Deserialize)]
struct Meta {
    region: String,
    signal_type: String,
    units: String,
    data_point_period_seconds: Option<i64>,
    generated_at: Option<String>,
}

impl WattTime {
    /// At a base address, [`URL`] unless told otherwise.
    ///
    /// # Errors
    /// When that is no address to ask.
    pub fn new(
        base: &str,
        user: &str,
        password: Secret,
        reach: impl Into<Reach>,
    ) -> Result<WattTime, String> {
        let ask = Ask::new(NAME, base, reach)?;
        Ok(WattTime { ask, user: user.trim().to_owned(), password, token: None, regions: BTreeMap::new() })
    }

    /// A token that is still good.
    async fn token(&mut self, zone: &GridZone, now: Instant) -> Result<Secret, Error> {
        if let Some((token, got)) = &self.token
            && now >= *got
            && now - *got < TOKEN_LASTS
        {
            return Ok(token.clone());
        }
        let pair = base64(format!("{}:{}", self.user, self.password.expose()).as_bytes());
        let secret = Some((AUTHORIZATION, format!("Basic {pair}")));
        let body = self.ask.get("sign-in", "/login", secret).await.map_err(|error| match error {
            Error::Denied { provider, status, what, said, .. } => {
                let hint = "user name or password is not taken: check KUBERCARBON_WATTTIME_USER and KUBERCARBON_WATTTIME_PASSWORD";
                Error::Denied { provider, status, what, said, hint: hint.to_owned() }
            }
            other => other,
        })?;
        let field = Field { provider: NAME, zone, field: "token" };
        // What is wrong with it is not shown: it may be the token.
        let wrong = || field.bad(format!("an answer of {} bytes", body.len()), "{\"token\": \"…\"}");
        let login: Login = serde_json::from_slice(&body).map_err(|_| wrong())?;
        let token = Secret::new(&login.token).map_err(|_| wrong())?;
        self.token = Some((token.clone(), now));
        Ok(token)
    }

    /// Asks with a token, and with a new one where the old one is not taken.
    async fn get(&mut self, zone: &GridZone, what: &str, path: &str, now: Instant) -> Result<Vec<u8>, Error> {
        for attempt in 0..2 {
            let token = self.token(zone, now).await?;
            let secret = Some((AUTHORIZATION, format!("Bearer {}", token.expose())));
            match self.ask.get(what, path, secret).await {
                Ok(body) => return Ok(body.to_vec()),
                Err(Error::Denied { status: 401, .. }) if attempt == 0 => self.token = None,
                Err(Error::Denied { provider, status, what, said, .. }) => {
                    let hint = if status == 401 {
                        "the token it gave is not taken: sign in at watttime.org and see whether the account is active".to_owned()
                    } else {
                        format!(
                            "the plan does not include this for zone {zone}; free accounts have CAISO_NORTH alone"
                        )
                    };
                    return Err(Error::Denied { provider, status, what, said, hint });
                }
                Err(error) => return Err(error),
            }
        }
        // Not reached: the second attempt gives an answer or an error.
        Err(Error::Uncovered { provider: NAME, zone: zone.clone(), said: String::new() })
    }

    /// The service's region around a place.
    async fn region(&mut self, place: &Place, now: Instant) -> Result<String, Error> {
        let zone = &place.zone;
        if let Some((region, looked)) = self.regions.get(zone)
            && now - *looked < REGION_LASTS
        {
            return Ok(region.clone());
        }
        let uncovered = |said: String| Error::Uncovered { provider: NAME, zone: zone.clone(), said };
        let Some((latitude, longitude)) = place.position else {
            return Err(uncovered("the place of its clusters is not known".to_owned()));
        };
        let path = format!(
            "/v3/region-from-loc?signal_type={SIGNAL}&latitude={latitude:.4}&longitude={longitude:.4}"
        );
        let what = format!("the region of zone {zone}");
        let body = self.get(zone, &what, &path, now).await.map_err(|error| match error {
            Error::Refused { status: 400 | 404, said, .. } => uncovered(said),
            other => other,
        })?;
        let field = Field { provider: NAME, zone, field: "region" };
        let Region { region } = field.parse(&body)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if region.is_empty() || region.len() > REGION_MAX || !region.chars().all(fits) {
            return Err(field.bad(format!("{region:?}"), "letters, digits and _, such as CAISO_NORTH"));
        }
        self.regions.insert(zone.clone(), (region.clone(), now));
        Ok(region)
    }

    /// Figures of `/v3/historical` or `/v3/forecast`, and when they were made.
    async fn figures(
        &mut self,
        zone: &GridZone,
        (name, region): (&str, &str),
        more: &str,
        now: Instant,
    ) -> Result<(points::Steps, Instant), Error> {
        let what = format!("{name} of region {region}");
        let path = format!("/v3/{name}?region={region}&signal_type={SIGNAL}{more}");
        let body = self.get(zone, &what, &path, now).await?;
        let field = Field { provider: NAME, zone, field: name };
        let Reply { data, meta } = field.parse(&body)?;
        for (key, found, expected) in [
            ("meta.units", &meta.units, UNITS),
            ("meta.signal_type", &meta.signal_type, SIGNAL),
            ("meta.region", &meta.region, region),
        ] {
            if found != expected {
                return Err(field.at(&format!("{name}.{key}")).bad(found, expected));
            }
        }
        let kind = if name == "forecast" { SignalKind::Forecast } else { SignalKind::Estimated };
        let mut raw = Vec::with_capacity(data.len());
        for (i, point) in data.iter().enumerate() {
            let at = field.at(&format!("{name}.data[{i}].point_time")).time(&point.point_time)?;
            raw.push(Raw { at, grams: point.value.map(grams_per_kwh), kind });
        }
        // Distances tell the step; one point has none.
        let step = meta.data_point_period_seconds.filter(|_| raw.len() < 2).map(Span::from_seconds);
        let steps = points::check(field.at(&format!("{name}.data[].value")), &raw, step)?;
        let made = match &meta.generated_at {
            Some(text) => field.at(&format!("{name}.meta.generated_at")).time(text)?,
            None => now,
        };
        Ok((steps, made))
    }

    /// How clean it is now among the last weeks, 0 to 100: no amount, so for people alone.
    async fn index(&mut self, zone: &GridZone, region: &str, now: Instant) -> Option<f64> {
        let path = format!("/v3/signal-index?region={region}&signal_type={SIGNAL}");
        let body = self.get(zone, &format!("index of region {region}"), &path, now).await.ok()?;
        let reply: Reply = serde_json::from_slice(&body).ok()?;
        let value = reply.data.first()?.value?;
        (reply.meta.units == "percentile" && (0.0..=100.0).contains(&value)).then_some(value)
    }
}

impl Service for WattTime {
    fn terms(&self) -> Terms {
        Terms { name: NAME, basis: Basis::Marginal, lasts: LASTS, apart: Span::ZERO }
    }
    fn asks(&self) -> &Ask {
        &self.ask
    }
    fn source(&self, zone: &GridZone) -> String {
        let region = self.regions.get(zone).map_or(zone.as_str(), |(region, _)| region);
        format!("{NAME} v3 {SIGNAL} {region} (marginal)")
    }
    async fn answer(&mut self, place: &Place, since: Option<Instant>, now: Instant) -> Result<Answer, Error> {
        let zone = &place.zone;
        let region = self.region(place, now).await?;
        let from = since.unwrap_or(now - PAST).max(now - PAST);
        let period = format!("&start={}&end={}", from.to_rfc3339_seconds(), now.to_rfc3339_seconds());
        let past = match self.figures(zone, ("historical", &region), &period, now).await {
            Ok((past, _)) => past,
            Err(Error::Denied { provider, status: 403, what, said, mut hint }) => {
                if let Some(index) = self.index(zone, &region, now).await {
                    hint = format!(
                        "{hint} (its index says {index} now, 0 is cleanest, 100 dirtiest: no amount)"
                    );
                }
                return Err(Error::Denied { provider, status: 403, what, said, hint });
            }
            Err(error) => return Err(error),
        };
        let horizon = format!("&horizon_hours={HORIZON}");
        let ahead = self.figures(zone, ("forecast", &region), &horizon, now).await;
        Ok(Answer { past, ahead: ahead.map(|(steps, made)| Ahead { steps, made }) })
    }
}
