//! What a cluster has beside nodes, pods and Jobs, and where figures about it come from.

use super::model::{ProvenanceOut, word};
use crate::backend::SharedBackend;
use crate::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use control::inventory::{Facts, InventoryView, KindView, Named, Remark};
use control::{RoundTrip, WhatIfError};
use fleet::{ClusterId, Instant, Span};
use serde::Serialize;
use utoipa::ToSchema;

/// What is in a cluster.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryOut {
    /// The cluster.
    pub cluster: String,
    /// Objects by kind; of a twin none are asked for.
    pub kinds: Vec<KindOut>,
    /// Budgets with pods that allow no disruption now.
    pub no_disruption: NamedOut,
    /// Autoscalers at their maximum.
    pub at_maximum: NamedOut,
    /// Claims without a volume.
    pub unbound_claims: NamedOut,
    /// Workloads with fewer ready pods than they want.
    pub replicas_missing: NamedOut,
    /// Nodes by where their power and price come from.
    pub rates: Vec<RatesOut>,
    /// Who says what is used.
    pub usage: UsageOut,
    /// How long its API server takes to answer this process, measured; absent where it is not (a twin), or it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip: Option<RoundTripOut>,
}

/// How long an API server took to answer lately.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoundTripOut {
    /// The median, in ms.
    pub median_ms: f64,
    /// The quickest answer, in ms.
    pub least_ms: f64,
    /// Of so many answers, of the last quarter of an hour.
    pub answers: usize,
}

impl From<RoundTrip> for RoundTripOut {
    fn from(trip: RoundTrip) -> RoundTripOut {
        let ms = |span: Span| span.as_nanos() as f64 / 1e6;
        RoundTripOut { median_ms: ms(trip.median), least_ms: ms(trip.least), answers: trip.answers }
    }
}

/// Objects of a kind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindOut {
    /// Its name in the Kubernetes API.
    pub kind: String,
    /// How many; absent where it is not known.
    pub count: Option<usize>,
    /// Whether there are more than are kept.
    pub more: bool,
    /// Why it is not known.
    pub unknown_why: Option<String>,
}

impl From<&KindView> for KindOut {
    fn from(view: &KindView) -> KindOut {
        KindOut {
            kind: view.kind.as_str().to_owned(),
            count: view.unknown.is_none().then_some(view.count),
            more: view.more,
            unknown_why: view.unknown.clone(),
        }
    }
}

/// Objects that want a look.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedOut {
    /// How many.
    pub count: usize,
    /// The first by kind and name.
    pub first: Vec<RemarkOut>,
}

impl From<&Named> for NamedOut {
    fn from(named: &Named) -> NamedOut {
        NamedOut { count: named.count, first: named.first.iter().map(RemarkOut::from).collect() }
    }
}

/// An object that wants a look.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemarkOut {
    /// Its kind.
    pub kind: String,
    /// `NAMESPACE/NAME`, or `NAME`.
    pub name: String,
    /// What it is like, in words.
    pub what: String,
}

impl From<&Remark> for RemarkOut {
    fn from(remark: &Remark) -> RemarkOut {
        let what = match &remark.facts {
            Facts::Workload { wanted, ready } => format!("{ready} of {wanted} pods ready"),
            Facts::Schedule { schedule, active, .. } => format!("{schedule}, {active} Jobs run"),
            Facts::Budget { healthy, needed, .. } => {
                format!("{healthy} healthy pods, {needed} needed: no disruption allowed")
            }
            Facts::Claim { phase, size, .. } => format!("{phase}, {} GiB", size.as_gib_f64()),
            Facts::Volume { phase, size, .. } => format!("{phase}, {} GiB", size.as_gib_f64()),
            Facts::Autoscaler { target, most, current, wanted, .. } => {
                format!("{target}: {current} pods, wants {wanted}, may have {most}")
            }
        };
        RemarkOut { kind: remark.kind.as_str().to_owned(), name: remark.name.clone(), what }
    }
}

/// Nodes whose power and price come from there.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RatesOut {
    /// `kepler`, `fleet-file`, `instances`, `table` or `average`.
    pub power_from: String,
    /// `measured`, `estimated` or `assumed`.
    pub power_kind: String,
    /// `open-cost`, `fleet-file`, `instances`, `table` or `average`.
    pub price_from: String,
    /// `estimated` or `assumed`.
    pub price_kind: String,
    /// How many nodes.
    pub nodes: usize,
}

/// Who says what nodes and pods use.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageOut {
    /// Who says, and as of when; absent where nobody does: requests stand for use.
    pub from: Option<ProvenanceOut>,
    /// Why nobody says; absent where nobody is asked (a twin).
    pub unknown_why: Option<String>,
    /// Nodes whose use is measured.
    pub nodes: usize,
    /// Pods whose use is measured.
    pub pods: usize,
}

impl InventoryOut {
    /// Of a view.
    pub fn new(cluster: &ClusterId, view: &InventoryView, at: Instant) -> InventoryOut {
        let rates = view.rates_from.iter().map(|(from, nodes)| RatesOut {
            power_from: word(&from.power),
            power_kind: word(&from.power.kind()),
            price_from: word(&from.price),
            price_kind: word(&from.price.kind()),
            nodes: *nodes,
        });
        let (from, unknown_why) = match &view.usage {
            Some(Ok(from)) => (Some(ProvenanceOut::new(from, at)), None),
            Some(Err(why)) => (None, Some(why.clone())),
            None => (None, None),
        };
        let (nodes, pods) = view.measured;
        InventoryOut {
            cluster: cluster.to_string(),
            kinds: view.kinds.iter().map(KindOut::from).collect(),
            no_disruption: (&view.no_disruption).into(),
            at_maximum: (&view.at_maximum).into(),
            unbound_claims: (&view.unbound).into(),
            replicas_missing: (&view.replicas_missing).into(),
            rates: rates.collect(),
            usage: UsageOut { from, unknown_why, nodes, pods },
            round_trip: view.round_trip.map(RoundTripOut::from),
        }
    }
}

/// Workloads, budgets, volumes and autoscalers of a cluster, and where figures about it come from.
#[utoipa::path(get, path = "/api/v1/clusters/{name}/inventory", params(("name" = String, Path, description = "cluster")),
    responses((status = 200, body = InventoryOut), (status = "4XX", body = Problem)))]
pub async fn inventory(
    State(backend): State<SharedBackend>,
    Path(name): Path<String>,
) -> Result<Json<InventoryOut>, Problem> {
    let id = ClusterId::new(&name)?;
    let view = backend.view();
    let Some(inventory) = backend.inventory(&id) else {
        let known = view.clusters.iter().map(|c| c.facts.id.as_str()).collect::<Vec<_>>().join(", ");
        return Err(WhatIfError::Cluster { found: id.to_string(), known }.into());
    };
    Ok(Json(InventoryOut::new(&id, &inventory, view.at)))
}
