//! Decisions of the REST API: where and when a Job is to run, what else there was, and what would save more. Units as in
//! [`super::model`].

use super::model::{KeyOut, embodied, time, word};
use control::{Decision, RunTime, RunTimeFrom, View};
use fleet::Money;
use planner::placement::{Alternative, Change, Explanation, Saving};
use serde::Serialize;
use utoipa::ToSchema;

/// A place and a time for a Job.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlternativeOut {
    /// Where.
    pub cluster: String,
    /// When.
    pub start: String,
    /// Expected end.
    pub end: String,
    /// With how many pods at a time.
    pub parallelism: i64,
    /// Forecast energy in kWh.
    pub energy_kwh: f64,
    /// Forecast emissions in gCO2e, embodied ones included where they are counted.
    pub carbon_grams: f64,
    /// Of those, embodied in the nodes, in gCO2e; absent where none are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embodied_carbon_grams: Option<f64>,
    /// Expected money.
    pub cost: f64,
    /// Whether it ends by its deadline.
    pub in_time: bool,
}

impl From<&Alternative> for AlternativeOut {
    fn from(a: &Alternative) -> AlternativeOut {
        AlternativeOut {
            cluster: a.cluster.to_string(),
            start: time(a.start),
            end: time(a.end),
            parallelism: a.parallelism,
            energy_kwh: a.energy.as_kwh_f64(),
            carbon_grams: a.carbon.as_grams_f64(),
            embodied_carbon_grams: embodied(a.embodied),
            cost: a.cost.as_units_f64(),
            in_time: a.in_time,
        }
    }
}

/// A cluster that could not take it, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExclusionOut {
    /// Which.
    pub cluster: String,
    /// The limit, with its figures.
    pub limit: String,
}

/// Something that could be otherwise, and what it would save.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SavingOut {
    /// `slack`: a deadline an hour later; `cluster`: one that the contract does not allow, allowed;
    /// `nodes`: some that its pods fit on; `cores`: ten more of them while the Job may run.
    pub change: String,
    /// All of it in plain words.
    pub sentence: String,
    /// gCO2e saved, everybody else where they are. For `cores` of all Jobs together, money at the carbon
    /// price included: a first-order estimate; a plan can save at most that and its gap.
    pub carbon_grams: f64,
    /// Money saved; below zero where it costs more. Absent for `cores`.
    pub cost: Option<f64>,
    /// Where and when the Job would run. Absent for `cores`.
    pub instead: Option<AlternativeOut>,
    /// For `slack` the later deadline.
    pub deadline: Option<String>,
    /// For all but `slack`: in which cluster.
    pub cluster: Option<String>,
    /// For `cluster` and `nodes` the limit that excludes it, with its figures.
    pub limit: Option<String>,
    /// For `cores`: how many more.
    pub cpu_cores: Option<f64>,
    /// For `cores`: from when.
    pub from: Option<String>,
    /// For `cores`: until when.
    pub to: Option<String>,
}

impl From<&Saving> for SavingOut {
    fn from(s: &Saving) -> SavingOut {
        let mut out = SavingOut {
            change: String::new(),
            sentence: s.sentence.clone(),
            carbon_grams: s.carbon.as_grams_f64(),
            cost: s.cost.map(Money::as_units_f64),
            instead: s.instead.as_ref().map(|a| AlternativeOut::from(&Alternative::from(a))),
            deadline: None,
            cluster: None,
            limit: None,
            cpu_cores: None,
            from: None,
            to: None,
        };
        match &s.change {
            Change::Slack { deadline, .. } => {
                out.change = "slack".to_owned();
                out.deadline = Some(time(*deadline));
            }
            Change::Cluster { cluster, limit } | Change::Nodes { cluster, limit } => {
                let nodes = matches!(s.change, Change::Nodes { .. });
                out.change = if nodes { "nodes" } else { "cluster" }.to_owned();
                (out.cluster, out.limit) = (Some(cluster.to_string()), Some(limit.clone()));
            }
            Change::Cores { cluster, cores, from, to } => {
                out.change = "cores".to_owned();
                (out.cluster, out.cpu_cores) = (Some(cluster.to_string()), Some(cores.as_cores_f64()));
                (out.from, out.to) = (Some(time(*from)), Some(time(*to)));
            }
        }
        out
    }
}

/// Why here, why then.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplanationOut {
    /// In one sentence.
    pub sentence: String,
    /// What was chosen.
    pub chosen: AlternativeOut,
    /// The next best, best first.
    pub alternatives: Vec<AlternativeOut>,
    /// What running at once, at home would have cost.
    pub at_once_at_home: Option<AlternativeOut>,
    /// Clusters that were out of the question.
    pub excluded: Vec<ExclusionOut>,
    /// What could be otherwise and would save, best first; at most five.
    pub would_save: Vec<SavingOut>,
}

impl From<&Explanation> for ExplanationOut {
    fn from(e: &Explanation) -> ExplanationOut {
        let out = |e: &planner::placement::Exclusion| ExclusionOut {
            cluster: e.cluster.to_string(),
            limit: e.limit.clone(),
        };
        ExplanationOut {
            sentence: e.sentence.clone(),
            chosen: (&e.chosen).into(),
            alternatives: e.alternatives.iter().map(AlternativeOut::from).collect(),
            at_once_at_home: e.at_once_at_home.as_ref().map(AlternativeOut::from),
            excluded: e.excluded.iter().map(out).collect(),
            would_save: e.would_save.iter().map(SavingOut::from).collect(),
        }
    }
}

/// How long a Job is expected to run in all, without margins.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedDurationOut {
    /// Seconds.
    pub seconds: i64,
    /// `stated`, `learnt` (the longest of its last runs, widened while they are few) or `assumed`.
    pub from: String,
    /// Of how many runs it was learnt.
    pub runs: Option<usize>,
    /// The same in words.
    pub sentence: String,
}

impl From<&RunTime> for ExpectedDurationOut {
    fn from(run_time: &RunTime) -> ExpectedDurationOut {
        let (from, runs) = match run_time.from {
            RunTimeFrom::Stated => ("stated", None),
            RunTimeFrom::Learnt { runs } => ("learnt", Some(runs)),
            RunTimeFrom::Assumed => ("assumed", None),
        };
        let seconds = run_time.expected.as_seconds();
        ExpectedDurationOut { seconds, from: from.to_owned(), runs, sentence: run_time.sentence() }
    }
}

/// A decision and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionOut {
    /// The Job.
    pub job: KeyOut,
    /// When it was decided.
    pub at: String,
    /// `observe`, `approve` or `auto`: in `observe` nothing is started from here.
    pub mode: String,
    /// How long it is expected to run.
    pub expected_duration: ExpectedDurationOut,
    /// It is released then at the latest.
    pub latest_start: Option<String>,
    /// Absent when it fits nowhere.
    pub explanation: Option<ExplanationOut>,
    /// What is wrong with it, or why it fits nowhere.
    pub warnings: Vec<String>,
    /// Currency of all money.
    pub currency: String,
}

impl DecisionOut {
    /// As of a view.
    pub fn new(d: &Decision, view: &View) -> DecisionOut {
        DecisionOut {
            job: (&d.job).into(),
            at: time(d.at),
            mode: word(&view.mode),
            expected_duration: (&d.run_time).into(),
            latest_start: d.latest_start.map(time),
            explanation: d.explanation.as_ref().map(ExplanationOut::from),
            warnings: d.warnings.clone(),
            currency: view.currency.clone(),
        }
    }
}
