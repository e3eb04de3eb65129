//! The addresses that only read.

use super::ask::{Asked, Page, PageAsk, page};
use super::clock::ClockOut;
use super::model::{ClusterOut, DecisionOut, EntryOut, JobOut, ProvenanceOut, SignalOut, SummaryOut, word};
use crate::backend::SharedBackend;
use crate::problem::Problem;
use crate::signals::Sources;
use axum::Json;
use axum::extract::{Path, State};
use control::View;
use fleet::{ClusterId, GridZone, JobKey, ObjectName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// How many next best a Job's explanation names.
const ALTERNATIVES: usize = 5;

/// The clusters, by name.
#[utoipa::path(get, path = "/api/v1/clusters", params(PageAsk),
    responses((status = 200, body = Page<ClusterOut>), (status = "4XX", body = Problem)))]
pub async fn clusters(
    State(backend): State<SharedBackend>,
    Asked(ask): Asked<PageAsk>,
) -> Result<Json<Page<ClusterOut>>, Problem> {
    let view = backend.view();
    let out = |c: &control::ClusterView| {
        let scheduler = backend.scheduler(&c.facts.id);
        ClusterOut { scheduler, ..ClusterOut::new(c, &view) }
    };
    page(&view.clusters, &ask, |c| c.facts.id.to_string(), out).map(Json)
}

/// The Jobs under placement, by home cluster, namespace and name.
#[utoipa::path(get, path = "/api/v1/jobs", params(PageAsk),
    responses((status = 200, body = Page<JobOut>), (status = "4XX", body = Problem)))]
pub async fn jobs(
    State(backend): State<SharedBackend>,
    Asked(ask): Asked<PageAsk>,
) -> Result<Json<Page<JobOut>>, Problem> {
    let view = backend.view();
    page(&view.jobs, &ask, |j| j.key.to_string(), JobOut::new).map(Json)
}

/// A Job, why it is where it is, and what it saved.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobDetail {
    /// The Job; absent when only its ledger line is left.
    pub job: Option<JobOut>,
    /// Why here, why then; absent when nothing has been decided, or it is over.
    pub why: Option<DecisionOut>,
    /// Its ledger line, once it has finished.
    pub ledger: Option<EntryOut>,
    /// Currency of all money.
    pub currency: String,
}

/// A Job's key, from an address.
pub fn key((cluster, namespace, name): &(String, String, String)) -> Result<JobKey, Problem> {
    Ok(JobKey {
        cluster: ClusterId::new(cluster)?,
        namespace: ObjectName::new(namespace)?,
        name: ObjectName::new(name)?,
    })
}

/// One Job with its explanation.
#[utoipa::path(get, path = "/api/v1/jobs/{cluster}/{namespace}/{name}",
    params(("cluster" = String, Path, description = "home cluster"), ("namespace" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = JobDetail), (status = "4XX", body = Problem)))]
pub async fn job(
    State(backend): State<SharedBackend>,
    Path(parts): Path<(String, String, String)>,
) -> Result<Json<JobDetail>, Problem> {
    let key = key(&parts)?;
    let view = backend.view();
    let found = view.jobs.iter().find(|job| job.key == key);
    let entries = backend.ledger().await.map_err(|e| Problem::internal("read the ledger", &e))?;
    // A name may have been used before: the line of this uid, else the newest of that name.
    let of_uid = |e: &&ledger::Entry| e.job == key && found.is_none_or(|job| job.uid == e.uid);
    let entry = entries.iter().rev().find(of_uid);
    if found.is_none() && entry.is_none() {
        return Err(control::WhatIfError::Unknown(key.to_string()).into());
    }
    let decision = decide(&backend, key).await;
    Ok(Json(JobDetail {
        job: found.map(JobOut::new),
        why: decision.map(|d| DecisionOut::new(&d, &view)),
        ledger: entry.map(|e| EntryOut::new(e, view.at)),
        currency: view.currency.clone(),
    }))
}

/// The explanation of a Job, computed off the async threads; `None` when there is none.
pub async fn decide(backend: &SharedBackend, key: JobKey) -> Option<control::Decision> {
    let backend = backend.clone();
    tokio::task::spawn_blocking(move || backend.why(&key, ALTERNATIVES).ok()).await.ok().flatten()
}

/// The schedule in force, as a plan document.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlansOut {
    /// Plan documents (`apiVersion: kubercarbon.io/v1alpha1`, `kind: Plan`).
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Value>,
    /// Placement policy.
    pub policy: String,
    /// When the schedule in force was made.
    pub planned_at: Option<String>,
    /// Its forecast emissions in gCO2e.
    pub forecast_carbon_grams: Option<f64>,
    /// By which share of what it minimises it is above the least possible at most (0.01 is 1 %), proven;
    /// Jobs thought to come take part in that.
    pub gap: Option<f64>,
    /// Whether room is scarce, so that no Job is deferred for carbon.
    pub room_is_scarce: bool,
}

/// What lies ahead: each start, pause and resume with its reason and undo.
#[utoipa::path(get, path = "/api/v1/plans",
    responses((status = 200, body = PlansOut), (status = "5XX", body = Problem)))]
pub async fn plans(State(backend): State<SharedBackend>) -> Result<Json<PlansOut>, Problem> {
    let view = backend.view();
    let plan = backend.plan();
    let document = serde_json::to_value(&plan)
        .map_err(|e| Problem::internal("write the plan", &anyhow::Error::new(e)))?;
    Ok(Json(PlansOut {
        items: if plan.steps.is_empty() { Vec::new() } else { vec![document] },
        policy: word(&view.policy),
        planned_at: view.planned_at.map(|at| at.to_rfc3339_seconds()),
        forecast_carbon_grams: view.planned_carbon.map(|(carbon, _)| carbon.as_grams_f64()),
        gap: view.planned_carbon.and_then(|(_, gap)| gap),
        room_is_scarce: view.scarce,
    }))
}

/// Ledger lines, and sums over the whole ledger.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerOut {
    /// Lines of this page, oldest first.
    #[serde(flatten)]
    pub lines: Page<EntryOut>,
    /// Over all lines, not only this page's.
    pub summary: SummaryOut,
    /// Currency of all money.
    pub currency: String,
}

/// What each finished Job burnt, what it would have burnt at once, at home, and how that is known.
#[utoipa::path(get, path = "/api/v1/ledger", params(PageAsk),
    responses((status = 200, body = LedgerOut), (status = "4XX", body = Problem)))]
pub async fn ledger(
    State(backend): State<SharedBackend>,
    Asked(ask): Asked<PageAsk>,
) -> Result<Json<LedgerOut>, Problem> {
    let view = backend.view();
    let entries = backend.ledger().await.map_err(|e| Problem::internal("read the ledger", &e))?;
    Ok(Json(LedgerOut {
        lines: page(&entries, &ask, |e| e.id.clone(), |e| EntryOut::new(e, view.at))?,
        summary: SummaryOut::new(&ledger::summary::summarize(&entries), view.at),
        currency: view.currency.clone(),
    }))
}

/// The carbon signals of a view, one a grid zone, and where each could come from.
pub fn signals_of(view: &View, sources: &Sources) -> Vec<SignalOut> {
    let mut zones: BTreeMap<GridZone, SignalOut> = BTreeMap::new();
    for c in &view.clusters {
        let signal = zones.entry(c.facts.grid_zone.clone()).or_insert_with(|| SignalOut {
            zone: c.facts.grid_zone.to_string(),
            zone_name: c.zone_name.clone(),
            clusters: Vec::new(),
            now_grams_per_kwh: c.intensity.map(|i| i.as_grams_f64()),
            now_from: c.intensity_from.as_ref().map(|p| ProvenanceOut::new(p, view.at)),
            forecast: c.forecast.as_ref().map(Into::into),
            forecast_from: c.forecast_from.as_ref().map(|p| ProvenanceOut::new(p, view.at)),
            actual: c.actual.as_ref().map(Into::into),
            sources: sources.get(&c.facts.grid_zone).into_iter().flatten().map(Into::into).collect(),
        });
        signal.clusters.push(c.facts.id.to_string());
    }
    zones.into_values().collect()
}

/// Carbon per grid zone: now, forecast, and where each came from.
#[utoipa::path(get, path = "/api/v1/signals", params(PageAsk),
    responses((status = 200, body = Page<SignalOut>), (status = "4XX", body = Problem)))]
pub async fn signals(
    State(backend): State<SharedBackend>,
    Asked(ask): Asked<PageAsk>,
) -> Result<Json<Page<SignalOut>>, Problem> {
    page(&signals_of(&backend.view(), &backend.sources()), &ask, |s| s.zone.clone(), Clone::clone).map(Json)
}

/// Which clock the fleet runs on, and what it shows.
#[utoipa::path(get, path = "/api/v1/clock", responses((status = 200, body = ClockOut)))]
pub async fn clock(State(backend): State<SharedBackend>) -> Json<ClockOut> {
    Json(backend.clock().into())
}

/// Which lines of the journal.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct JournalAsk {
    /// How many lines, 1 to 1000 (200 if absent).
    pub limit: Option<usize>,
    /// Only lines behind this number (0 for the first).
    pub after: Option<i64>,
}

/// Lines of the journal.
#[derive(Debug, Serialize, ToSchema)]
pub struct JournalOut {
    /// Each with `seq`, `at`, `kind`, `key` and `body`.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Value>,
}

/// What was about to be done, and how it ended, in order.
#[utoipa::path(get, path = "/api/v1/journal", params(JournalAsk),
    responses((status = 200, body = JournalOut), (status = "4XX", body = Problem)))]
pub async fn journal(
    State(backend): State<SharedBackend>,
    Asked(ask): Asked<JournalAsk>,
) -> Result<Json<JournalOut>, Problem> {
    let limit = PageAsk { limit: ask.limit, after: None }.limit()?;
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let lines = backend.journal(ask.after.unwrap_or(0).max(0), limit).await;
    Ok(Json(JournalOut { items: lines.map_err(|e| Problem::internal("read the journal", &e))? }))
}
