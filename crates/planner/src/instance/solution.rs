//! Solutions: which job runs on which cluster in which slots.

use super::{Instance, limits::BYTES_MAX};
use crate::placement::problem::Place;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A run on a cluster over slots `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Index of the cluster.
    pub cluster: usize,
    /// First slot.
    pub start: usize,
    /// The slot after the last.
    pub end: usize,
}

/// The runs of each job, by its id. A job that is not in it is not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Solution(pub BTreeMap<String, Vec<Segment>>);

/// Why bytes are no solution.
#[derive(Debug, thiserror::Error)]
pub enum SolutionError {
    /// Too large to read.
    #[error("{0} bytes: expected at most {BYTES_MAX}")]
    Size(usize),
    /// Not JSON, or not of the format's shape.
    #[error("not a solution")]
    Json(#[from] serde_json::Error),
    /// A cluster nobody knows.
    #[error("{job}: cluster {found:?}: expected the index or the name of a cluster")]
    Cluster {
        /// The job.
        job: String,
        /// The name that stood there.
        found: String,
    },
}

/// A cluster as a solution may name it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Index(usize),
    Name(String),
}

#[derive(Deserialize)]
struct Written {
    cluster: Name,
    start: usize,
    end: usize,
}

impl Solution {
    /// The solver's places as a solution. Jobs that would be late are left out: that costs nothing, and
    /// counts as missed either way.
    pub fn from_places(instance: &Instance, places: &[Option<Place>]) -> Solution {
        let slot = i64::from(instance.slot_seconds);
        let mut runs = BTreeMap::new();
        for (job, place) in instance.jobs.iter().zip(places) {
            let Some(place) = place else { continue };
            if place.end() > job.deadline.min(instance.slots) as i64 * slot {
                continue;
            }
            let segment = |run: &(i64, i64)| Segment {
                cluster: place.cluster,
                start: (run.0 / slot) as usize,
                end: (run.1 / slot) as usize,
            };
            runs.insert(job.id.clone(), place.runs.iter().map(segment).collect());
        }
        Solution(runs)
    }

    /// Reads a solution; clusters may be named by index or by name.
    ///
    /// # Errors
    /// When the bytes are no solution, or name a cluster the instance does not have. Whether it keeps
    /// the rules is for [`super::evaluate`].
    pub fn parse(bytes: &[u8], instance: &Instance) -> Result<Solution, SolutionError> {
        if bytes.len() > BYTES_MAX {
            return Err(SolutionError::Size(bytes.len()));
        }
        let written: BTreeMap<String, Option<Vec<Written>>> = serde_json::from_slice(bytes)?;
        let mut runs = BTreeMap::new();
        for (job, segments) in written {
            let mut read = Vec::new();
            for Written { cluster, start, end } in segments.unwrap_or_default() {
                let cluster = match cluster {
                    Name::Index(index) => index,
                    Name::Name(name) => {
                        let known = instance.clusters.iter().position(|cluster| cluster.name == name);
                        known.ok_or(SolutionError::Cluster { job: job.clone(), found: name })?
                    }
                };
                read.push(Segment { cluster, start, end });
            }
            runs.insert(job, read);
        }
        Ok(Solution(runs))
    }

    /// As JSON, one job a line, in the order of their ids.
    pub fn to_json(&self) -> String {
        let text = |(id, runs): (&String, &Vec<Segment>)| {
            let runs = runs.iter().map(|Segment { cluster, start, end }| {
                format!("{{\"cluster\": {cluster}, \"start\": {start}, \"end\": {end}}}")
            });
            format!("{}: [{}]", serde_json::Value::from(id.as_str()), runs.collect::<Vec<_>>().join(", "))
        };
        let lines: Vec<String> = self.0.iter().map(text).collect();
        if lines.is_empty() { "{}\n".to_owned() } else { format!("{{\n{}\n}}\n", lines.join(",\n")) }
    }
}
