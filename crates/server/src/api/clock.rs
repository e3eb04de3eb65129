//! The clock, as the REST API has it.

use super::model::time;
use crate::backend::Clock;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The clock.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClockOut {
    /// `twin` (virtual time) or `wall`.
    pub kind: String,
    /// `600x`, `1x`, `max`.
    pub speed: String,
    /// Whether it stands still.
    pub paused: bool,
    /// What it shows.
    pub at: String,
}

impl From<Clock> for ClockOut {
    fn from(c: Clock) -> ClockOut {
        ClockOut {
            kind: if c.twin { "twin" } else { "wall" }.to_owned(),
            speed: c.speed.to_string(),
            paused: c.paused,
            at: time(c.at),
        }
    }
}

/// What is asked of a twin's clock; what is absent stays as it is.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClockIn {
    /// `600x`, `1x`, `max`.
    pub speed: Option<String>,
    /// `true` stands still, `false` goes on.
    pub paused: Option<bool>,
}
