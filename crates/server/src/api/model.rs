//! The documents of the REST API: what the product's own types look like outside.
//!
//! Units stand in the field names: `…GramsPerKwh` is gCO2e/kWh, `…CarbonGrams` gCO2e, `…Kwh` energy,
//! `…Watts` power, `…Cost` and `…PerHour` money in the document's `currency`, `…Cores` vCPUs, `…Gib` 2³⁰
//! bytes, `…Seconds` time. Instants are RFC 3339 in UTC, on the fleet's clock. Floats are for reading: exact sums stay
//! inside.

pub use super::decision::DecisionOut;
pub use super::series::{RunOut, SeriesOut};
use super::source::SourceOut;
use control::lease::Leader;
use control::{ClusterView, JobView, View};
use fleet::{GramsCo2, Instant, JobKey, Provenance, Resources, Span};
use ledger::meter::Totals;
use ledger::summary::{Line, Summary};
use ledger::{Entry, Footprint};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

pub(super) fn time(at: Instant) -> String {
    at.to_rfc3339_seconds()
}

/// Lower-case name of a plain enum, as serde writes it.
pub fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Where a figure came from.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProvenanceOut {
    /// The source in words.
    pub source: String,
    /// `measured`, `forecast`, `estimated` or `assumed`.
    pub kind: String,
    /// When the source gave it.
    pub as_of: String,
    /// How old it is on the fleet's clock.
    pub age_seconds: i64,
}

impl ProvenanceOut {
    /// As of `now`.
    pub fn new(from: &Provenance, now: Instant) -> ProvenanceOut {
        ProvenanceOut {
            source: from.source.clone(),
            kind: word(&from.kind),
            as_of: time(from.as_of),
            age_seconds: (now - from.as_of).as_seconds(),
        }
    }
}

/// An amount of each resource.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesOut {
    /// Cores.
    pub cpu_cores: f64,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// Whole GPUs.
    pub gpus: i64,
    /// Pods.
    pub pods: i64,
}

impl From<Resources> for ResourcesOut {
    fn from(r: Resources) -> ResourcesOut {
        ResourcesOut {
            cpu_cores: r.cpu.as_cores_f64(),
            memory_gib: r.memory.as_gib_f64(),
            gpus: r.gpu,
            pods: r.pods,
        }
    }
}

/// Embodied emissions; `None` where none are counted.
pub(super) fn embodied(grams: GramsCo2) -> Option<f64> {
    (!grams.is_zero()).then(|| grams.as_grams_f64())
}

/// What something burnt, emitted and cost.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FootprintOut {
    /// Energy in kWh.
    pub energy_kwh: f64,
    /// Emissions in gCO2e, embodied ones included where they are counted.
    pub carbon_grams: f64,
    /// Of those, embodied in the nodes, in gCO2e; absent where none are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embodied_carbon_grams: Option<f64>,
    /// Money, in the document's currency.
    pub cost: f64,
}

impl From<Footprint> for FootprintOut {
    fn from(f: Footprint) -> FootprintOut {
        FootprintOut {
            energy_kwh: f.energy.as_kwh_f64(),
            carbon_grams: f.carbon.as_grams_f64(),
            embodied_carbon_grams: embodied(f.embodied),
            cost: f.cost.as_units_f64(),
        }
    }
}

/// A cluster's meter since it was first seen in this run of the server.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeterOut {
    /// From.
    pub from: String,
    /// Until.
    pub to: String,
    /// Nodes at no load.
    pub idle: FootprintOut,
    /// Jobs under placement.
    pub managed: FootprintOut,
    /// All other pods.
    pub other: FootprintOut,
    /// Money for the nodes, idle or not.
    pub cost: f64,
}

impl From<Totals> for MeterOut {
    fn from(t: Totals) -> MeterOut {
        MeterOut {
            from: time(t.from),
            to: time(t.to),
            idle: t.idle.into(),
            managed: t.managed.into(),
            other: t.other.into(),
            cost: t.cost.as_units_f64(),
        }
    }
}

/// A cluster now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterOut {
    /// Name in the fleet.
    pub name: String,
    /// Cloud region.
    pub region: String,
    /// Grid zone.
    pub grid_zone: String,
    /// The zone's name.
    pub grid_zone_name: Option<String>,
    /// `observe`, `approve` or `auto`.
    pub mode: String,
    /// The kubeconfig context people reach it by.
    pub context: String,
    /// Labels that `kubercarbon.io/clusters` selectors see.
    pub labels: BTreeMap<String, String>,
    /// How its scheduler is stated to decide, a `KubeSchedulerConfiguration`; absent: by the default profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub scheduler: Option<serde_json::Value>,
    /// Facility factor: energy of the site per energy of the servers.
    pub pue: f64,
    /// Whether its API answers, and has been listed.
    pub reachable: bool,
    /// Since when it does not answer: what else stands here is what was last known.
    pub unknown_since: Option<String>,
    /// Why it does not.
    pub unknown_why: Option<String>,
    /// Where several processes may act: whether this one does.
    pub leads: Option<bool>,
    /// Who does, or why nobody.
    pub leader: Option<String>,
    /// Since when that is so, as far as this process has seen.
    pub leader_since: Option<String>,
    /// Nodes that are ready.
    pub nodes_ready: usize,
    /// All nodes.
    pub nodes: usize,
    /// Sum over ready, schedulable nodes.
    pub allocatable: ResourcesOut,
    /// Requests of the pods bound to nodes.
    pub requested: ResourcesOut,
    /// Carbon intensity now.
    pub carbon_grams_per_kwh: Option<f64>,
    /// Where that came from.
    pub carbon_from: Option<ProvenanceOut>,
    /// Power drawn now, PUE included: measured where a meter says, else by the model from use.
    pub power_watts: f64,
    /// Of that, at no load.
    pub idle_watts: f64,
    /// Emissions of an hour at that power and the present intensity.
    pub carbon_grams_per_hour: Option<f64>,
    /// CPU used now, in cores: measured, else what running pods request.
    pub used_cores: f64,
    /// Who measures use; absent: nobody, requests stand for it, which is assumed.
    pub use_from: Option<ProvenanceOut>,
    /// Of the price, what no pod holds.
    pub idle_price_per_hour: f64,
    /// Price of its nodes.
    pub price_per_hour: f64,
    /// Currency of all money.
    pub currency: String,
    /// Jobs held or paused that are planned here.
    pub jobs_held: usize,
    /// Jobs running or starting here.
    pub jobs_running: usize,
    /// What it burnt since this server first saw it.
    pub metered: Option<MeterOut>,
}

impl ClusterOut {
    /// Of a view.
    pub fn new(c: &ClusterView, view: &View) -> ClusterOut {
        ClusterOut {
            name: c.facts.id.to_string(),
            region: c.facts.region.to_string(),
            grid_zone: c.facts.grid_zone.to_string(),
            grid_zone_name: c.zone_name.clone(),
            mode: word(&c.facts.mode),
            context: c.facts.context.clone(),
            labels: c.facts.labels.clone(),
            scheduler: None,
            pue: c.facts.pue_milli as f64 / 1000.0,
            reachable: c.reachable,
            unknown_since: c.silence.as_ref().map(|silence| time(silence.since)),
            unknown_why: c.silence.as_ref().map(|silence| silence.why.clone()),
            leads: c.leader.as_ref().map(|leader| *leader == Leader::Us),
            leader: c.leader.as_ref().map(|leader| match leader {
                Leader::Us => "this process".to_owned(),
                Leader::Other(who) | Leader::Nobody(who) => who.clone(),
            }),
            leader_since: c.leader_since.map(time),
            nodes_ready: c.nodes.0,
            nodes: c.nodes.1,
            allocatable: c.allocatable.into(),
            requested: c.requested.into(),
            carbon_grams_per_kwh: c.intensity.map(|i| i.as_grams_f64()),
            carbon_from: c.intensity_from.as_ref().map(|p| ProvenanceOut::new(p, view.at)),
            power_watts: c.power.as_watts_f64(),
            idle_watts: c.draw.idle.power.as_watts_f64(),
            carbon_grams_per_hour: c.intensity.map(|i| ((c.power * Span::HOUR) * i).as_grams_f64()),
            used_cores: c.draw.busy().cpu_used.as_cores_f64(),
            use_from: c.use_from.as_ref().map(|p| ProvenanceOut::new(p, view.at)),
            idle_price_per_hour: c.draw.idle.price.as_units_f64(),
            price_per_hour: c.price.as_units_f64(),
            currency: view.currency.clone(),
            jobs_held: c.held,
            jobs_running: c.running,
            metered: c.totals.map(MeterOut::from),
        }
    }
}

/// A grid zone's carbon signal.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignalOut {
    /// Grid zone.
    pub zone: String,
    /// Its name.
    pub zone_name: Option<String>,
    /// Clusters it feeds.
    pub clusters: Vec<String>,
    /// Intensity now.
    pub now_grams_per_kwh: Option<f64>,
    /// Where that came from.
    pub now_from: Option<ProvenanceOut>,
    /// Expected values.
    pub forecast: Option<SeriesOut>,
    /// Where the forecast came from.
    pub forecast_from: Option<ProvenanceOut>,
    /// What was.
    pub actual: Option<SeriesOut>,
    /// Its sources, best first, down to the one in use; absent where nothing says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceOut>,
}

/// A Job of the fleet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyOut {
    /// Home cluster.
    pub cluster: String,
    /// Namespace at home.
    pub namespace: String,
    /// Name at home.
    pub name: String,
}

impl From<&JobKey> for KeyOut {
    fn from(key: &JobKey) -> KeyOut {
        KeyOut {
            cluster: key.cluster.to_string(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
        }
    }
}

/// A Job under placement.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobOut {
    /// Home cluster, namespace, name.
    pub key: KeyOut,
    /// Uid at home.
    pub uid: String,
    /// `held`, `starting`, `running`, `paused`, `succeeded`, `failed` or `deleting`.
    pub phase: String,
    /// Whether it may run in another cluster.
    pub movable: bool,
    /// When it was created.
    pub created: String,
    /// Must be finished by then.
    pub deadline: Option<String>,
    /// Expected run time as its owner stated it.
    pub expected_duration_seconds: Option<i64>,
    /// Whether it may be paused.
    pub interruptible: bool,
    /// Fewest and most pods at a time its copy may run with.
    pub parallelism: Option<(i64, i64)>,
    /// Whether it is stopped at its deadline, done or not.
    pub stop_at_deadline: bool,
    /// Label selector over clusters.
    pub clusters: Option<String>,
    /// Input data it needs.
    pub data_gib: Option<f64>,
    /// The cluster that data lies at.
    pub data_at: Option<String>,
    /// What is wrong with its annotations.
    pub errors: Vec<String>,
    /// What its pods ask for together.
    pub demand: ResourcesOut,
    /// Value of its PriorityClass.
    pub priority: i32,
    /// Whether it waits for a person's yes (mode `approve`).
    pub awaits_yes: bool,
    /// While it waits: it is released then, whatever happens; in mode `observe` somebody has to start it by then.
    pub latest_start: Option<String>,
    /// Cluster it is planned for, runs or ran in.
    pub target: Option<String>,
    /// Name of its copy there.
    pub copy: Option<String>,
    /// Planned runs ahead.
    pub planned: Vec<RunOut>,
    /// Runs so far.
    pub runs: Vec<RunOut>,
    /// Forecast of what remains.
    pub forecast: Option<FootprintOut>,
    /// Who else keeps it (an Argo CD Application, a Flux Kustomization or HelmRelease, a Helm release, a CronJob).
    pub owner: Option<String>,
    /// The same in a sentence, and what is therefore done differently; hooks too.
    pub owned: Option<String>,
    /// Why it will be late, if it will.
    pub late: Option<String>,
    /// What it waits for or did.
    pub sentence: String,
}

impl JobOut {
    /// Of a view.
    pub fn new(j: &JobView) -> JobOut {
        let contract = &j.contract;
        JobOut {
            key: (&j.key).into(),
            uid: j.uid.clone(),
            phase: word(&j.phase),
            movable: j.movable,
            created: time(j.created),
            deadline: contract.deadline.map(time),
            expected_duration_seconds: contract.expected_duration.map(|d| d.as_seconds()),
            interruptible: contract.interruptible,
            parallelism: contract.parallelism,
            stop_at_deadline: contract.stop_at_deadline,
            clusters: contract.clusters.clone(),
            data_gib: contract.data.as_ref().map(|d| d.size.as_gib_f64()),
            data_at: contract.data.as_ref().map(|d| d.at.to_string()),
            errors: j.errors.clone(),
            demand: j.demand.into(),
            priority: j.priority,
            awaits_yes: j.awaits_yes,
            latest_start: j.latest_start.map(time),
            target: j.cluster.as_ref().map(ToString::to_string),
            copy: j.copy.clone(),
            planned: j.planned.iter().map(RunOut::from).collect(),
            runs: j.runs.iter().map(RunOut::from).collect(),
            forecast: j.forecast.map(FootprintOut::from),
            owner: j.owner.clone(),
            owned: j.owned.clone(),
            late: j.late.clone(),
            sentence: j.sentence.clone(),
        }
    }
}

/// A run that has been charged.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChargedRunOut {
    /// Where.
    pub cluster: String,
    /// Start.
    pub from: String,
    /// End.
    pub to: String,
    /// What it burnt.
    pub footprint: FootprintOut,
    /// Where the intensity came from.
    pub intensity_from: ProvenanceOut,
}

/// What would have been without placement.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BaselineOut {
    /// The counterfactual in words.
    pub what: String,
    /// Where: the home cluster.
    pub cluster: String,
    /// Start.
    pub from: String,
    /// End.
    pub to: String,
    /// What it would have burnt.
    pub footprint: FootprintOut,
    /// Where the intensity came from.
    pub intensity_from: ProvenanceOut,
}

/// Why there is a later version of a line.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReplacesOut {
    /// Id of the line before.
    pub id: String,
    pub why: String,
}

/// A ledger line: one finished Job.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryOut {
    /// `job/UID`, of a later version with `#N`; the cursor for `after`.
    pub id: String,
    /// Of a later version: the line it replaces, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<ReplacesOut>,
    /// The Job.
    pub job: KeyOut,
    /// When the line was made.
    pub recorded: String,
    /// When the Job was created.
    pub created: String,
    /// When it first ran.
    pub started: String,
    /// When it ended.
    pub finished: String,
    /// Its deadline.
    pub deadline: Option<String>,
    /// Whether it completed.
    pub succeeded: bool,
    /// Whether it ended by its deadline; absent without one.
    pub in_time: Option<bool>,
    /// Where and when it ran.
    pub runs: Vec<ChargedRunOut>,
    /// What moving its data burnt.
    pub transfer: FootprintOut,
    /// Runs and transfer together.
    pub actual: FootprintOut,
    /// The counterfactual.
    pub baseline: BaselineOut,
    /// Baseline less actual; negative where more was emitted.
    pub saved_carbon_grams: f64,
    /// Baseline less actual; negative where it cost more.
    pub saved_cost: f64,
    /// How the figures were come by.
    pub method: String,
}

impl EntryOut {
    /// As of `now`.
    pub fn new(e: &Entry, now: Instant) -> EntryOut {
        let run = |line: &ledger::RunLine| ChargedRunOut {
            cluster: line.run.cluster.to_string(),
            from: time(line.run.from),
            to: time(line.run.to),
            footprint: line.footprint.into(),
            intensity_from: ProvenanceOut::new(&line.intensity, now),
        };
        EntryOut {
            id: e.id.clone(),
            replaces: e.replaces.as_ref().map(|r| ReplacesOut { id: r.id.clone(), why: r.why.clone() }),
            job: (&e.job).into(),
            recorded: time(e.recorded),
            created: time(e.created),
            started: time(e.started),
            finished: time(e.finished),
            deadline: e.deadline.map(time),
            succeeded: e.succeeded,
            in_time: e.in_time(),
            runs: e.runs.iter().map(run).collect(),
            transfer: e.transfer.into(),
            actual: e.actual.into(),
            baseline: BaselineOut {
                what: e.baseline.what.clone(),
                cluster: e.baseline.cluster.to_string(),
                from: time(e.baseline.from),
                to: time(e.baseline.to),
                footprint: e.baseline.footprint.into(),
                intensity_from: ProvenanceOut::new(&e.baseline.intensity, now),
            },
            saved_carbon_grams: e.saved_carbon().as_grams_f64(),
            saved_cost: e.saved_cost().as_units_f64(),
            method: e.method.clone(),
        }
    }
}

/// Sums over ledger lines.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LineOut {
    /// Finished Jobs.
    pub jobs: u64,
    /// Of those, completed.
    pub succeeded: u64,
    /// Of those with a deadline, in time.
    pub in_time: u64,
    /// Of those with a deadline, late.
    pub late: u64,
    /// From creation to first start, on average.
    pub mean_wait_seconds: f64,
    /// What was burnt.
    pub actual: FootprintOut,
    /// What would have been burnt.
    pub baseline: FootprintOut,
    /// Baseline less actual.
    pub saved_carbon_grams: f64,
    /// Baseline less actual.
    pub saved_cost: f64,
}

impl From<&Line> for LineOut {
    fn from(l: &Line) -> LineOut {
        LineOut {
            jobs: l.jobs,
            succeeded: l.succeeded,
            in_time: l.in_time,
            late: l.late,
            mean_wait_seconds: l.wait.as_hours_f64() * 3600.0 / (l.jobs.max(1) as f64),
            actual: l.actual.into(),
            baseline: l.baseline.into(),
            saved_carbon_grams: l.saved_carbon.as_grams_f64(),
            saved_cost: l.saved_cost.as_units_f64(),
        }
    }
}

/// Sums over the whole ledger; by Job they are the ledger's lines themselves.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SummaryOut {
    /// Everything.
    pub total: LineOut,
    /// By cluster, where it was burnt.
    pub clusters: BTreeMap<String, LineOut>,
    /// By namespace.
    pub namespaces: BTreeMap<String, LineOut>,
    /// The counterfactual in words.
    pub baseline: String,
    /// The worst provenance among all figures.
    pub worst_provenance: Option<ProvenanceOut>,
    /// How the figures were come by.
    pub method: String,
}

impl SummaryOut {
    /// As of `now`.
    pub fn new(s: &Summary, now: Instant) -> SummaryOut {
        SummaryOut {
            total: (&s.total).into(),
            clusters: s.clusters.iter().map(|(id, line)| (id.to_string(), line.into())).collect(),
            namespaces: s.namespaces.iter().map(|(name, line)| (name.to_string(), line.into())).collect(),
            baseline: ledger::BASELINE.to_owned(),
            worst_provenance: s.provenance.as_ref().map(|p| ProvenanceOut::new(p, now)),
            method: ledger::method(s.total.counts_embodied()),
        }
    }
}

/// A Job to be placed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlaceIn {
    /// The cluster it is created in; may be left out where there is only one.
    pub home: Option<String>,
    /// A `batch/v1` Job.
    #[schema(value_type = Object)]
    pub job: Value,
    /// How many next best to name, at most 50; 5 if absent.
    pub alternatives: Option<usize>,
}
