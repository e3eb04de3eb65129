//! Scenarios of the online test (format `online-1`): an instance, and what is known when.

use crate::instance::{self, Instance};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Why bytes are no scenario.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON, or not of the format's shape.
    #[error("not a scenario")]
    Json(#[from] serde_json::Error),
    /// The format is another.
    #[error("format: {0}: expected \"online-1\"")]
    Format(String),
    /// What it has of an instance is none.
    #[error(transparent)]
    Instance(#[from] instance::Error),
    /// A list has another length than it should.
    #[error("{place}: {found} items: expected {expected}")]
    Length {
        /// Where.
        place: String,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
}

/// A forecast as it was issued.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Issued {
    /// Usable from this slot on; may lie before the first.
    #[serde(rename = "issued_slot")]
    pub slot: i64,
    /// gCO2e/kWh of each cluster, slot by slot from then on.
    pub carbon: Vec<Vec<f64>>,
}

/// An online test: jobs are unknown before they arrive, intensity before it happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Jobs, clusters, and the intensity as it really is (as its forecast as well).
    pub instance: Instance,
    /// gCO2e/kWh of each cluster in the hours before slot 0, the last of them last.
    pub before: Vec<Vec<Option<f64>>>,
    /// Forecasts.
    pub forecasts: Vec<Issued>,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// When the bytes are not JSON, not of the format, or hold what no instance may hold.
    pub fn parse(bytes: &[u8]) -> Result<Scenario, Error> {
        let mut top: Map<String, Value> = serde_json::from_slice(bytes)?;
        let format = top.insert("format".to_owned(), "placement-1".into()).unwrap_or_default();
        if format != "online-1" {
            return Err(Error::Format(format.to_string()));
        }
        let forecasts: Vec<Issued> =
            top.remove("forecasts").map_or(Ok(Vec::new()), serde_json::from_value)?;
        top.remove("arrivals_end");
        let mut before = Vec::new();
        for cluster in top.get_mut("clusters").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(cluster) = cluster.as_object_mut() else { continue };
            let hours = cluster.remove("carbon_before");
            before.push(hours.map_or(Ok(Vec::new()), serde_json::from_value)?);
            // The honest forecast is another in each slot; nobody reads the one of slot 0.
            if let Some(carbon) = cluster.get("carbon").cloned() {
                cluster.insert("carbon_forecast".to_owned(), carbon);
            }
        }
        let instance = Instance::parse(&serde_json::to_vec(&top)?)?;
        let expected = instance.clusters.len();
        for (index, issue) in forecasts.iter().enumerate() {
            let found = issue.carbon.len();
            if found != expected {
                return Err(Error::Length { place: format!("forecasts[{index}].carbon"), found, expected });
            }
        }
        Ok(Scenario { instance, before, forecasts })
    }
}
