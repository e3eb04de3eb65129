//! What a controller would have logged that the API does not show: the last of it, for people who ask why.

use fleet::Instant;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Most lines that are kept.
const LINES_MAX: usize = 200;

/// Lines with when they were said, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Log(VecDeque<(Instant, String)>);

impl Log {
    pub(crate) fn push(&mut self, now: Instant, line: String) {
        self.0.push_back((now, line));
        while self.0.len() > LINES_MAX {
            self.0.pop_front();
        }
    }
    /// What was said since an instant.
    pub(crate) fn since(&self, since: Instant) -> impl Iterator<Item = &(Instant, String)> {
        self.0.iter().filter(move |(at, _)| *at >= since)
    }
}
