//! UK Carbon Intensity (NESO): Great Britain, keyless, CC BY 4.0.
//!
//! Figures: gCO2 per kWh, average, direct emissions with imports and losses, half hours in UTC, so that a day
//! on which clocks change is one like others. What was is measured, some half an hour late; what will be is
//! the service's forecast. One request gives both. Left out: regions of Great Britain, the mix of fuels.

use super::ask::{Ask, Reach};
use super::points::{self, Raw};
use super::{Ahead, Answer, Basis, Error, Field, Place, Service, Terms, keyless, to_minutes};
use fleet::{GridZone, Instant, SignalKind, Span};
use serde::Deserialize;

/// Where it is.
pub const URL: &str = "https://api.carbonintensity.org.uk";
/// The zone it covers.
pub const ZONE: &str = "GB";
/// Its name.
pub const NAME: &str = "UK Carbon Intensity";
/// A slot; also how long an answer is kept, as its terms ask.
const SLOT: Span = Span::from_seconds(1800);
/// How far back it is asked at first. With [`AHEAD`] within the 14 days it gives.
const PAST: Span = Span::from_seconds(7 * 86_400);
/// How far its forecast reaches.
const AHEAD: Span = Span::from_seconds(96 * 3600);

/// The service.
#[derive(Debug)]
pub struct UkCarbon {
    ask: Ask,
}

#[derive(Deserialize)]
struct Reply {
    data: Vec<Slot>,
}

#[derive(Deserialize)]
struct Slot {
    from: String,
    to: String,
    intensity: Intensity,
}

#[derive(Deserialize)]
struct Intensity {
    forecast: Option<f64>,
    actual: Option<f64>,
}

impl UkCarbon {
    /// At a base address, [`URL`] unless told otherwise.
    ///
    /// # Errors
    /// When that is no address to ask.
    pub fn new(base: &str, reach: impl Into<Reach>) -> Result<UkCarbon, String> {
        Ok(UkCarbon { ask: Ask::new(NAME, base, reach)? })
    }

    /// Whether it covers a zone.
    pub fn covers(zone: &GridZone) -> bool {
        zone.as_str() == ZONE
    }
}

impl Service for UkCarbon {
    fn terms(&self) -> Terms {
        Terms { name: NAME, basis: Basis::Average, lasts: SLOT, apart: Span::ZERO }
    }
    fn asks(&self) -> &Ask {
        &self.ask
    }
    fn source(&self, _: &GridZone) -> String {
        format!("{NAME} (NESO, CC BY 4.0; average, direct)")
    }
    async fn answer(&mut self, place: &Place, since: Option<Instant>, now: Instant) -> Result<Answer, Error> {
        if !UkCarbon::covers(&place.zone) {
            let said = format!("it covers {ZONE} alone");
            return Err(Error::Uncovered { provider: NAME, zone: place.zone.clone(), said });
        }
        let from = since.unwrap_or(now - PAST).max(now - PAST).floor_to(SLOT);
        let path = format!("/intensity/{}Z/{}Z", to_minutes(from), to_minutes(now.floor_to(SLOT) + AHEAD));
        let body = self.ask.get("zone GB", &path, None).await.map_err(keyless)?;
        let field = Field { provider: NAME, zone: &place.zone, field: "data" };
        let reply: Reply = field.parse(&body)?;
        let (mut past, mut ahead) = (Vec::new(), Vec::new());
        for (i, slot) in reply.data.iter().enumerate() {
            let at = field.at(&format!("data[{i}].from")).time(&slot.from)?;
            let to = field.at(&format!("data[{i}].to")).time(&slot.to)?;
            if to - at != SLOT {
                let found = format!("{} to {}", slot.from, slot.to);
                return Err(field.at(&format!("data[{i}]")).bad(found, "half an hour"));
            }
            let Intensity { forecast, actual } = slot.intensity;
            if at <= now {
                past.push(Raw { at, grams: actual, kind: SignalKind::Measured });
            }
            if to > now {
                ahead.push(Raw { at, grams: forecast, kind: SignalKind::Forecast });
            }
        }
        let past = points::check(field.at("data[].intensity.actual"), &past, Some(SLOT))?;
        let steps = points::check(field.at("data[].intensity.forecast"), &ahead, Some(SLOT));
        Ok(Answer { past, ahead: steps.map(|steps| Ahead { steps, made: now }) })
    }
}
