//! Carbon intensity from providers over HTTP: WattTime, Electricity Maps, UK Carbon Intensity, and (experimental)
//! Energy-Charts, Energi Data Service and servers of the Carbon Aware SDK. ENTSO-E and EIA are none: they have what is
//! generated of what, and no carbon; factors of our own would be another method, not their figure.
//!
//! A provider knows one service: addresses, sign-in, fields, units, how long an answer is good. What they
//! share is here once: [`ask`] carries a request out within bounds of time, size and tries; [`points`] takes
//! figures in and refuses what cannot be; [`guard`] keeps answers, and leaves a provider alone that fails;
//! [`saved`] is what of them is kept over a restart; [`crate::proxy`] says through which proxy they are reached.
//!
//! Invariants: a zone's figures of one provider all count alike ([`Basis`]), past and forecast; what is
//! refused names provider, zone, field, what was found and what was expected; no clock is read (`now` is the
//! wall's, handed in); a secret is in no address, error, log or `Debug`. Left out: which provider is preferred.

pub mod ask;
pub mod carbon_aware_sdk;
pub mod electricity_maps;
pub mod energi_data_service;
pub mod energy_charts;
pub mod guard;
pub mod points;
pub mod saved;
pub mod uk_carbon;
pub mod watttime;

pub use crate::proxy::Proxies;
pub use ask::{Ask, Limits, Reach, Secret};
pub use carbon_aware_sdk::CarbonAwareSdk;
pub use electricity_maps::ElectricityMaps;
pub use energi_data_service::EnergiDataService;
pub use energy_charts::EnergyCharts;
pub use guard::{Guarded, Known, Standing};
pub use points::Steps;
pub use saved::Saved;
pub use uk_carbon::UkCarbon;
pub use watttime::WattTime;

use fleet::{GridZone, Instant, Span};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::fmt;
use std::time::Duration;

/// Longest text of a provider that is repeated, in characters.
const SAID_MAX: usize = 200;

/// What a figure of carbon intensity counts. The two answer different questions and are never put into one
/// series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// All that is burnt, shared by all that is used.
    Average,
    /// What one more kWh makes burn.
    Marginal,
}

/// `average`, `marginal`.
impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Basis::Average => "average",
            Basis::Marginal => "marginal",
        })
    }
}

/// A grid zone, and where in it clusters stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The zone.
    pub zone: GridZone,
    /// Latitude and longitude in degrees of a cluster in it, where known.
    pub position: Option<(f64, f64)>,
}

/// What a provider says of a zone, checked.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was, as far back as it was asked for.
    pub past: Steps,
    /// What it expects, or why it does not say.
    pub ahead: Result<Ahead, Error>,
}

/// A provider's own forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct Ahead {
    /// From the present step on.
    pub steps: Steps,
    /// When it was made.
    pub made: Instant,
}

/// What holds for every answer of a service.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Its name, as people know it.
    pub name: &'static str,
    /// What its figures count.
    pub basis: Basis,
    /// How long an answer is good: by the service's terms, and because it says nothing new before.
    pub lasts: Span,
    /// Shortest time between two requests for answers, whatever the zone; zero: none is asked for.
    pub apart: Span,
}

/// A service over HTTP, as its own file knows it: what there is to say of it, and how an answer is come by.
/// [`Provider`] is made of it here, once.
pub trait Service: Send {
    /// What holds for every answer.
    fn terms(&self) -> Terms;
    /// How it is asked.
    fn asks(&self) -> &Ask;
    /// See [`Provider::source`].
    fn source(&self, zone: &GridZone) -> String;
    /// See [`Provider::ask`].
    fn answer(
        &mut self,
        place: &Place,
        since: Option<Instant>,
        now: Instant,
    ) -> impl Future<Output = Result<Answer, Error>> + Send;
}

/// A service that knows the carbon intensity of grid zones, as [`guard`] holds it.
pub trait Provider: Send {
    /// Its name, as people know it.
    fn name(&self) -> &'static str;
    /// What its figures are, for the provenance: name, basis, method.
    fn source(&self, zone: &GridZone) -> String;
    /// Its base address, without a secret.
    fn address(&self) -> &str;
    /// What its figures count.
    fn basis(&self) -> Basis;
    /// How long an answer is good: by the provider's terms, and because it says nothing new before.
    fn lasts(&self) -> Span;
    /// Shortest time from one time it is asked to the next, whatever the zone.
    fn apart(&self) -> Span {
        Span::ZERO
    }
    /// Asks. `since`: what was before is known already; `None`: nothing is.
    fn ask<'a>(
        &'a mut self,
        place: &'a Place,
        since: Option<Instant>,
        now: Instant,
    ) -> BoxFuture<'a, Result<Answer, Error>>;
}

impl<S: Service> Provider for S {
    fn name(&self) -> &'static str {
        self.terms().name
    }
    fn source(&self, zone: &GridZone) -> String {
        Service::source(self, zone)
    }
    fn address(&self) -> &str {
        self.asks().address()
    }
    fn basis(&self) -> Basis {
        self.terms().basis
    }
    fn lasts(&self) -> Span {
        self.terms().lasts
    }
    fn apart(&self) -> Span {
        self.terms().apart
    }
    fn ask<'a>(
        &'a mut self,
        place: &'a Place,
        since: Option<Instant>,
        now: Instant,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        self.answer(place, since, now).boxed()
    }
}

/// Why a provider has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 401 or 403: asking again changes nothing.
    #[error("{provider}: {status}: {what}{}; {hint}", quoted(.said))]
    Denied {
        /// Who.
        provider: &'static str,
        /// HTTP status.
        status: u16,
        /// What is not allowed.
        what: String,
        /// In its words.
        said: String,
        /// What to do.
        hint: String,
    },
    /// 429, or 503 with a word on when to come back.
    #[error("{provider}: {status}: too many requests: it asks to be left alone for {} s", .wait.as_secs())]
    Busy {
        /// Who.
        provider: &'static str,
        /// HTTP status.
        status: u16,
        /// For how long.
        wait: Duration,
    },
    /// No answer, half of one, or a server's fault, at every try.
    #[error("{provider}: {what}: no answer at {tries} {}: {why}", if *.tries == 1 { "try" } else { "tries" })]
    Unanswered {
        /// Who.
        provider: &'static str,
        /// What was asked.
        what: String,
        /// How often.
        tries: u32,
        /// How it went the last time.
        why: String,
    },
    /// It does not know the zone.
    #[error("{provider}: does not cover zone {zone}{}", quoted(.said))]
    Uncovered {
        /// Who.
        provider: &'static str,
        /// Which.
        zone: GridZone,
        /// In its words.
        said: String,
    },
    /// Any other refusal.
    #[error("{provider}: {status}: {what}{}: expected 200", quoted(.said))]
    Refused {
        /// Who.
        provider: &'static str,
        /// HTTP status.
        status: u16,
        /// What was asked.
        what: String,
        /// In its words.
        said: String,
    },
    /// An answer that cannot be.
    #[error("{provider}: zone {zone}: {field}: found {found}: expected {expected}")]
    Bad {
        /// Who.
        provider: &'static str,
        /// Which zone.
        zone: GridZone,
        /// Which field.
        field: String,
        /// What stood there.
        found: String,
        /// What should have.
        expected: String,
    },
    /// Another zone was asked about just now.
    #[error("{provider}: it takes one request every {} s, and other zones came first", .apart.as_seconds())]
    Turn {
        /// Who.
        provider: &'static str,
        /// How far requests must be apart.
        apart: Span,
    },
    /// It failed so often that it is left alone.
    #[error("{provider}: not asked until {until}, after: {because}")]
    Resting {
        /// Who.
        provider: &'static str,
        /// Until when.
        until: Instant,
        /// The last failure.
        because: String,
    },
}

/// `: "its words"`, or nothing.
fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": \"{said}\"") }
}

/// One field of one answer about one zone: makes errors that name all three.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Whose answer.
    pub provider: &'static str,
    /// About which zone.
    pub zone: &'a GridZone,
    /// Which field, from the top: `data[3].value`.
    pub field: &'a str,
}

impl<'a> Field<'a> {
    /// Another field of the same answer.
    pub fn at<'b>(self, field: &'b str) -> Field<'b>
    where
        'a: 'b,
    {
        Field { field, ..self }
    }
    /// It is wrong.
    pub fn bad(self, found: impl fmt::Display, expected: impl fmt::Display) -> Error {
        Error::Bad {
            provider: self.provider,
            zone: self.zone.clone(),
            field: self.field.to_owned(),
            found: short(&found.to_string()),
            expected: expected.to_string(),
        }
    }
    /// Reads an answer's JSON.
    ///
    /// # Errors
    /// When it is no JSON, cut short, or of another shape; says where.
    pub fn parse<T: serde::de::DeserializeOwned>(self, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| {
            let text = String::from_utf8_lossy(&body[..body.len().min(4 * SAID_MAX)]);
            let expected = format!("the JSON its documentation shows ({error})");
            self.bad(format!("{} bytes: {text}", body.len()), expected)
        })
    }
    /// Reads a time.
    ///
    /// # Errors
    /// When it is none.
    pub fn time(self, text: &str) -> Result<Instant, Error> {
        // UK Carbon Intensity writes minutes only.
        let whole = text.strip_suffix('Z').filter(|t| t.len() == "2026-05-02T10:00".len());
        let whole = whole.map_or_else(|| text.to_owned(), |t| format!("{t}:00Z"));
        Instant::parse(&whole)
            .map_err(|_| self.bad(format!("{text:?}"), "a time with an offset such as 2026-05-02T10:00:00Z"))
    }
}

/// Says what a denial of a service without keys means: it is about how often one asks, or from where.
fn keyless(error: Error) -> Error {
    match error {
        Error::Denied { provider, status, what, said, .. } => {
            let hint = "it needs no key, and keeps out who asks too often: another program at this address may, or a gateway on the way refuses";
            Error::Denied { provider, status, what, said, hint: hint.to_owned() }
        }
        other => other,
    }
}

/// To the minute, UTC, without a suffix: `2026-05-02T10:00`.
fn to_minutes(at: Instant) -> String {
    let mut text = at.floor_to(Span::MINUTE).to_rfc3339_seconds();
    text.truncate("2026-05-02T10:00".len());
    text
}

/// A text of a provider as it may be repeated: one line, bounded.
fn short(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.trim().chars().take(SAID_MAX).map(plain).collect();
    if text.trim().chars().nth(SAID_MAX).is_some() {
        short.push('…');
    }
    short
}
