//! A figure over time as a document; values hold from their start, in the unit its field names. And a time from when
//! until when.

use super::model::time;
use control::RunView;
use fleet::Series;
use serde::Serialize;
use utoipa::ToSchema;

/// A step function of time: value `i` holds from `start + i·stepSeconds` on.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeriesOut {
    /// Start of the first step.
    pub start: String,
    /// Length of a step.
    pub step_seconds: i64,
    /// gCO2e/kWh, first step first.
    pub grams_per_kwh: Vec<f64>,
}

impl From<&Series> for SeriesOut {
    fn from(s: &Series) -> SeriesOut {
        SeriesOut {
            start: time(s.start()),
            step_seconds: s.step().as_seconds(),
            grams_per_kwh: s.values().iter().map(|v| v.as_grams_f64()).collect(),
        }
    }
}

/// From when until when.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunOut {
    /// Start.
    pub from: String,
    /// End; absent while it runs.
    pub to: Option<String>,
}

impl From<&RunView> for RunOut {
    fn from(r: &RunView) -> RunOut {
        RunOut { from: time(r.from), to: r.to.map(time) }
    }
}
