//! A grid zone's sources of carbon as documents: which is used, and why no better one.

use crate::signals::SourceState;
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
}

impl From<&SourceState> for SourceOut {
    fn from(state: &SourceState) -> SourceOut {
        SourceOut {
            source: state.source.clone(),
            basis: state.basis.to_string(),
            used: state.used,
            why: state.why.clone(),
        }
    }
}
