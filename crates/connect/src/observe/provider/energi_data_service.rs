//! Energi Data Service (Energinet): the two zones of Denmark, keyless. Experimental: made after its documentation and
//! recorded answers, and not yet seen against the running service.
//!
//! Figures: g CO2 per kWh, average of what is consumed, five minutes. `CO2Emis` says what was, soon after, from
//! what is known by then, so that it counts as *estimated*; `CO2EmisProg` is the forecast, to the end of the next day.
//! Times are in UTC without a suffix in the column `Minutes5UTC`; the same in Danish time must stand beside them. A
//! request's `start` is read as Danish time, one or two hours early, which does no harm; `end` is not sent. Left out:
//! the hourly declarations that settle what was, weeks later.

use super::ask::{Ask, Reach};
use super::points::{self, POINTS_MAX, Raw, Steps};
use super::{Ahead, Answer, Basis, Error, Field, Place, Service, Terms, keyless, to_minutes};
use fleet::{GridZone, Instant, SignalKind, Span};
use serde::Deserialize;

/// Where it is.
pub const URL: &str = "https://api.energidataservice.dk";
/// Its name.
pub const NAME: &str = "Energi Data Service";
/// Zones, and the price areas they are.
const AREAS: [(&str, &str); 2] = [("DK-DK1", "DK1"), ("DK-DK2", "DK2")];
/// A step.
const STEP: Span = Span::from_seconds(300);
/// How long an answer is good: three steps, after which the forecast is made anew.
const LASTS: Span = Span::from_seconds(900);
/// It takes one request a minute of an address and dataset.
const APART: Span = Span::from_seconds(60);
/// How far back it is asked at first: each day of the week twice, some 0.5 MB.
const PAST: Span = Span::from_seconds(14 * 86_400);
/// How far Danish time is ahead of UTC, in winter and in summer.
const DANISH: [Span; 2] = [Span::from_seconds(3600), Span::from_seconds(7200)];

/// The service.
#[derive(Debug)]
pub struct EnergiDataService {
    ask: Ask,
}

#[derive(Deserialize)]
struct Reply {
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "Minutes5UTC")]
    utc: String,
    #[serde(rename = "Minutes5DK")]
    danish: String,
    #[serde(rename = "PriceArea")]
    area: String,
    #[serde(rename = "CO2Emission")]
    grams: Option<f64>,
}

impl EnergiDataService {
    /// At a base address, [`URL`] unless told otherwise.
    ///
    /// # Errors
    /// When that is no address to ask.
    pub fn new(base: &str, reach: impl Into<Reach>) -> Result<EnergiDataService, String> {
        Ok(EnergiDataService { ask: Ask::keyless(NAME, base, reach.into().tried_once())? })
    }

    /// Whether it covers a zone.
    pub fn covers(zone: &GridZone) -> bool {
        area_of(zone).is_some()
    }

    /// One dataset's records of an area from a time on, as far as they are `wanted`.
    async fn steps(
        &mut self,
        (dataset, kind): (&str, SignalKind),
        (zone, area): (&GridZone, &str),
        from: Instant,
        wanted: impl Fn(Instant) -> bool,
    ) -> Result<Steps, Error> {
        // {"PriceArea":["DK1"]}
        let filter = format!("%7B%22PriceArea%22%3A%5B%22{area}%22%5D%7D");
        let path = format!(
            "/dataset/{dataset}?start={}&filter={filter}&sort=Minutes5UTC&limit={POINTS_MAX}",
            to_minutes(from)
        );
        let body = self.ask.get(&format!("{dataset} of {area}"), &path, None).await.map_err(keyless)?;
        let field = Field { provider: NAME, zone, field: dataset };
        let reply: Reply = field.parse(&body)?;
        if reply.records.len() > POINTS_MAX {
            return Err(
                field.bad(format!("{} records", reply.records.len()), format!("at most {POINTS_MAX}"))
            );
        }
        let mut raw = Vec::with_capacity(reply.records.len());
        for (i, record) in reply.records.iter().enumerate() {
            let at = record.at(field, i)?;
            if record.area != area {
                let name = format!("{dataset}.records[{i}].PriceArea");
                return Err(field.at(&name).bad(format!("{:?}", record.area), area));
            }
            if wanted(at) {
                raw.push(Raw { at, grams: record.grams, kind });
            }
        }
        points::check(field, &raw, Some(STEP))
    }
}

impl Record {
    /// When its step starts. That UTC and Danish time are an hour or two apart holds each against the other.
    fn at(&self, field: Field<'_>, i: usize) -> Result<Instant, Error> {
        let time = |name: &str, text: &str| {
            let name = format!("{}.records[{i}].{name}", field.field);
            let field = field.at(&name);
            // Without a suffix, as documented.
            let plain = text.len() == "2026-05-02T10:00:00".len();
            if plain { field.time(&format!("{text}Z")) } else { Err(field.bad(format!("{text:?}"), PLAIN)) }
        };
        let at = time("Minutes5UTC", &self.utc)?;
        let ahead = time("Minutes5DK", &self.danish)? - at;
        if DANISH.contains(&ahead) {
            return Ok(at);
        }
        let name = format!("{}.records[{i}]", field.field);
        let found = format!("{} UTC and {} in Denmark", self.utc, self.danish);
        Err(field.at(&name).bad(found, "Danish time one or two hours ahead"))
    }
}

/// How times are written.
const PLAIN: &str = "a time without an offset such as 2026-05-02T10:00:00";

/// The price area a zone is.
fn area_of(zone: &GridZone) -> Option<&'static str> {
    AREAS.iter().find(|(known, _)| *known == zone.as_str()).map(|(_, area)| *area)
}

impl Service for EnergiDataService {
    fn terms(&self) -> Terms {
        Terms { name: NAME, basis: Basis::Average, lasts: LASTS, apart: APART }
    }
    fn asks(&self) -> &Ask {
        &self.ask
    }
    fn source(&self, zone: &GridZone) -> String {
        let area = area_of(zone).unwrap_or(zone.as_str());
        format!("{NAME} {area} (Energinet; average of what is consumed, experimental)")
    }
    async fn answer(&mut self, place: &Place, since: Option<Instant>, now: Instant) -> Result<Answer, Error> {
        let zone = &place.zone;
        let Some(area) = area_of(zone) else {
            let said = "it covers DK-DK1 and DK-DK2 alone".to_owned();
            return Err(Error::Uncovered { provider: NAME, zone: zone.clone(), said });
        };
        let from = since.unwrap_or(now - PAST).max(now - PAST).floor_to(STEP);
        let was = ("CO2Emis", SignalKind::Estimated);
        let past = self.steps(was, (zone, area), from, |at| at <= now).await?;
        let will_be = ("CO2EmisProg", SignalKind::Forecast);
        let ahead = self.steps(will_be, (zone, area), now.floor_to(STEP), |at| at + STEP > now).await;
        Ok(Answer { past, ahead: ahead.map(|steps| Ahead { steps, made: now }) })
    }
}
