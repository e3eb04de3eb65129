//! What people want of placement: the policy, the mode, the margins.

use crate::time::Span;
use serde::{Deserialize, Serialize};

/// Who may change clusters (UX: `--mode`); the greater may more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Writes nothing at all; the default on real clusters.
    Observe,
    /// A person says yes, per Job.
    Approve,
    /// Acts by itself; the default on twins.
    Auto,
}

impl Mode {
    /// As flags and documents have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Observe => "observe",
            Mode::Approve => "approve",
            Mode::Auto => "auto",
        }
    }
}

/// How a place and a time are chosen (PRODUCT row P6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyKind {
    /// Least carbon (and money, at the carbon price) with everything in time; planned together.
    Optimal,
    /// The linear score of CPU, memory, carbon and latency now; lowest wins; no shift in time.
    Score,
    /// The baseline: at once, in the home cluster while it has room, else where it starts first.
    Soonest,
}

impl PolicyKind {
    /// Every policy, in the order reports show them.
    pub const ALL: [PolicyKind; 3] = [PolicyKind::Optimal, PolicyKind::Score, PolicyKind::Soonest];

    /// As people write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            PolicyKind::Optimal => "optimal",
            PolicyKind::Score => "score",
            PolicyKind::Soonest => "soonest",
        }
    }
}

impl std::str::FromStr for PolicyKind {
    type Err = String;
    fn from_str(text: &str) -> Result<PolicyKind, String> {
        PolicyKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("\"{text}\" is not a policy: expected optimal, score or soonest"))
    }
}

/// Weights of the linear score: `cpu·CPU% + memory·memory% + carbon·gCO2/kWh + latency·ms`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScoreWeights {
    /// Per per cent of CPU requested.
    pub cpu: f64,
    /// Per per cent of memory requested.
    pub memory: f64,
    /// Per gCO2e/kWh.
    pub carbon: f64,
    /// Per millisecond of round trip from the home cluster.
    pub latency: f64,
}

impl Default for ScoreWeights {
    fn default() -> ScoreWeights {
        ScoreWeights { cpu: 0.3, memory: 0.2, carbon: 0.4, latency: 0.1 }
    }
}

impl ScoreWeights {
    /// The score of one cluster for one job; lower is better.
    ///
    /// ```
    /// let score = fleet::ScoreWeights::default().score(59.11, 86.69, 120.9, 40.0);
    /// assert!((score - 87.431).abs() < 1e-9);
    /// ```
    pub fn score(
        &self,
        cpu_percent: f64,
        memory_percent: f64,
        carbon_g_per_kwh: f64,
        latency_ms: f64,
    ) -> f64 {
        self.cpu * cpu_percent
            + self.memory * memory_percent
            + self.carbon * carbon_g_per_kwh
            + self.latency * latency_ms
    }
}

/// Everything placement is told to want.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Which method chooses.
    pub kind: PolicyKind,
    /// Money per tonne of CO2e: what a gram saved may cost. 0 ignores money.
    pub carbon_price_per_tonne: Option<f64>,
    /// Count the emissions of making the machines beside those of running them, in plans and in the ledger.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub embodied: bool,
    /// Weights of `score`.
    pub score_weights: ScoreWeights,
    /// Added to every expected duration, in per cent of it (0–100).
    pub duration_margin_percent: i64,
    /// Added to every expected duration: creation of the copy, scheduling, image pull, start.
    pub start_margin: Span,
    /// What a Job without a known duration is taken to last.
    pub unknown_duration: Span,
}

impl Policy {
    /// Grams that one unit of money is worth at the carbon price; 0 without one.
    pub fn grams_per_money(&self) -> f64 {
        match self.carbon_price_per_tonne {
            Some(price) if price.is_finite() && price > 0.0 => 1e6 / price,
            _ => 0.0,
        }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            kind: PolicyKind::Optimal,
            carbon_price_per_tonne: None,
            embodied: false,
            score_weights: ScoreWeights::default(),
            duration_margin_percent: 10,
            start_margin: Span::from_seconds(120),
            unknown_duration: Span::HOUR,
        }
    }
}
