//! A grid zone's sources of carbon as documents: which is used, why no better one, and how far off its forecasts were.

use crate::signals::SourceState;
use crate::signals::errors::ForecastError;
use fleet::Instant;
use serde::Serialize;
use utoipa::ToSchema;

/// A source of a grid zone's carbon, and whether it is used.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceOut {
    /// Its name.
    pub source: String,
    /// `average` or `marginal`: what its figures count.
    pub basis: String,
    /// Whether the zone's figures are from it.
    pub used: bool,
    /// Why it is not used, or what is not as it should be although it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When its last figure was given, where it is used and live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// When it was asked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<String>,
    /// Not asked again before: its answer is good until then, or what it denies is not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_again_at: Option<String>,
    /// Left alone until then, for every zone: it failed three times in a row, or said so (429).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_alone_until: Option<String>,
    /// Times in a row it gave no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// How far off forecasts made of it were; absent until one has been held against what came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forecast_errors: Vec<ForecastErrorOut>,
}

/// How far off forecasts in use were, measured against what the same source said afterwards.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForecastErrorOut {
    /// `own`: the source's forecasts; `learnt`: made here from its past.
    pub by: String,
    /// Hours ahead, from 0 up to this.
    pub lead_hours: i64,
    /// Mean absolute percentage error, in %.
    pub mape_percent: f64,
    /// Hours it is a mean of.
    pub hours: u64,
    /// First day counted; 30 days at most.
    pub since: String,
}

impl From<&ForecastError> for ForecastErrorOut {
    fn from(error: &ForecastError) -> ForecastErrorOut {
        ForecastErrorOut {
            by: if error.own { "own" } else { "learnt" }.to_owned(),
            lead_hours: error.lead_hours,
            mape_percent: error.mape_percent,
            hours: error.hours,
            since: error.since.to_rfc3339_seconds(),
        }
    }
}

impl From<&SourceState> for SourceOut {
    fn from(state: &SourceState) -> SourceOut {
        let time = |at: Option<Instant>| at.map(Instant::to_rfc3339_seconds);
        SourceOut {
            source: state.source.clone(),
            basis: state.basis.to_string(),
            used: state.used,
            why: state.why.clone(),
            as_of: time(state.as_of),
            asked_at: time(state.standing.asked),
            asked_again_at: time(state.standing.again),
            left_alone_until: time(state.standing.rests_until),
            failures: Some(state.standing.failures).filter(|failures| *failures > 0),
            forecast_errors: state.errors.iter().map(Into::into).collect(),
        }
    }
}
