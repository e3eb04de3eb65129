//! Accounts of clusters, and what flows now, as documents.

use super::ask::{Asked, Page, PageAsk, page};
use super::model::{ProvenanceOut, time};
use crate::backend::SharedBackend;
use crate::problem::Problem;
use axum::Json;
use axum::extract::State;
use control::{Top, TopOf, TopRow};
use fleet::{Instant, Span};
use ledger::accounts::{AccountRow, Accounts, By, Coverage, Part, Question};
use ledger::allocation::method;
use ledger::meter::Amounts;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Longest time accounts are made over: a leap year and a month.
const RANGE_MAX: Span = Span::from_seconds(397 * 86_400);

/// Which accounts.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AccountsAsk {
    /// `cluster` (if absent), `namespace`, `workload`, `node` or `label:KEY`.
    pub by: Option<String>,
    /// Hours that begin from here on, RFC 3339; if absent, the month so far (UTC).
    pub from: Option<String>,
    /// Hours that begin before this, RFC 3339; if absent, up to now.
    pub to: Option<String>,
    /// How many rows, 1 to 1000 (200 if absent).
    pub limit: Option<usize>,
    /// Only what comes behind the row of this `id`.
    pub after: Option<String>,
}

/// What is asked, with what is left out filled in.
pub fn question(
    by: Option<&str>,
    from: Option<&str>,
    to: Option<&str>,
    now: Instant,
) -> Result<Question, Problem> {
    let by: By = by.unwrap_or("cluster").parse().map_err(|e| Problem::invalid(format!("query by: {e}")))?;
    let read = |name: &str, text: Option<&str>| {
        let read = |text| Instant::parse(text).map_err(|e| Problem::invalid(format!("query {name}: {e}")));
        text.map(read).transpose()
    };
    let hour = now.floor_to(Span::HOUR);
    let to = read("to", to)?.unwrap_or(hour + Span::HOUR);
    let from = read("from", from)?.unwrap_or_else(|| ledger::month(now).0);
    if from >= to || to - from > RANGE_MAX {
        let days = RANGE_MAX.as_seconds() / 86_400;
        let text =
            format!("query from, to: {from} to {to}: expected from before to, and at most {days} days");
        return Err(Problem::invalid(text));
    }
    Ok(Question { by, from, to, now })
}

/// What a row is of.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartOut {
    /// The row's name: `KIND/NAME`, a namespace, a node, the value of the label…; `(shared)` serves the cluster, `(idle)` is borne by
    /// nobody, `(none)` has not the label, `(other)` stands for small ones.
    pub name: String,
    /// `named`, `unlabelled`, `other`, `shared` or `idle`.
    pub part: String,
    /// The cluster, where a row is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The namespace, where a row is of a workload or pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl From<&Part> for PartOut {
    fn from(part: &Part) -> PartOut {
        let (part, name) = match part {
            Part::Named { cluster, namespace, name } => {
                let cluster = cluster.as_ref().map(ToString::to_string);
                return PartOut {
                    name: name.clone(),
                    part: "named".to_owned(),
                    cluster,
                    namespace: namespace.clone(),
                };
            }
            Part::Unlabelled => ("unlabelled", "(none)"),
            Part::Other => ("other", "(other)"),
            Part::Shared => ("shared", "(shared)"),
            Part::Idle => ("idle", "(idle)"),
        };
        PartOut { name: name.to_owned(), part: part.to_owned(), cluster: None, namespace: None }
    }
}

/// Names a row for `after`.
fn id(part: &Part) -> String {
    let out = PartOut::from(part);
    [out.cluster, out.namespace, Some(out.name)].into_iter().flatten().collect::<Vec<_>>().join("/")
}

/// What something will come to by the end of the month: expected, not counted.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedOut {
    /// Money counted so far this month.
    pub cost_so_far: f64,
    /// gCO2e counted so far this month.
    pub carbon_so_far_grams: f64,
    /// Money by the month's end.
    pub cost: f64,
    /// gCO2e by the month's end.
    pub carbon_grams: f64,
}

/// A row of accounts.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountRowOut {
    /// Cursor for `after`.
    pub id: String,
    /// What it is of.
    #[serde(flatten)]
    pub of: PartOut,
    /// Energy in kWh, PUE included.
    pub energy_kwh: f64,
    /// Emissions in gCO2e; embodied ones are not in it.
    pub carbon_grams: f64,
    /// Embodied emissions in gCO2e, where the policy counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embodied_carbon_grams: Option<f64>,
    /// Money.
    pub cost: f64,
    /// CPU there was, in core-hours, of clusters, nodes and the total; of idle capacity what was not requested; else as requested.
    pub capacity_core_hours: f64,
    /// CPU requested, in core-hours.
    pub requested_core_hours: f64,
    /// CPU used, in core-hours: measured, else what running pods request.
    pub used_core_hours: f64,
    /// Of that, measured.
    pub measured_core_hours: f64,
    /// Memory there was, as for CPU, in GiB-hours.
    pub capacity_gib_hours: f64,
    /// Memory requested, in GiB-hours.
    pub requested_gib_hours: f64,
    /// Memory used, in GiB-hours.
    pub used_gib_hours: f64,
    /// Of the energy, idle.
    pub idle_energy_kwh: f64,
    /// Of the emissions, idle.
    pub idle_carbon_grams: f64,
    /// Of the embodied emissions, idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_embodied_carbon_grams: Option<f64>,
    /// Of the money, idle.
    pub idle_cost: f64,
    /// Of the money, shared: what serves the cluster.
    pub shared_cost: f64,
    /// By the month's end.
    pub expected: ExpectedOut,
}

impl AccountRowOut {
    fn new(row: &AccountRow, embodied: bool) -> AccountRowOut {
        let busy = row.busy();
        let counted = |amounts: &Amounts| embodied.then(|| amounts.embodied.as_grams_f64());
        AccountRowOut {
            id: id(&row.part),
            of: (&row.part).into(),
            energy_kwh: row.amounts.energy.as_kwh_f64(),
            carbon_grams: row.amounts.carbon.as_grams_f64(),
            embodied_carbon_grams: counted(&row.amounts),
            cost: row.amounts.cost.as_units_f64(),
            capacity_core_hours: row.amounts.cpu_requested.as_core_hours_f64(),
            requested_core_hours: busy.cpu_requested.as_core_hours_f64(),
            used_core_hours: busy.cpu_used.as_core_hours_f64(),
            measured_core_hours: busy.cpu_measured.as_core_hours_f64(),
            capacity_gib_hours: row.amounts.memory_requested.as_gib_hours_f64(),
            requested_gib_hours: busy.memory_requested.as_gib_hours_f64(),
            used_gib_hours: busy.memory_used.as_gib_hours_f64(),
            idle_energy_kwh: row.idle.energy.as_kwh_f64(),
            idle_carbon_grams: row.idle.carbon.as_grams_f64(),
            idle_embodied_carbon_grams: counted(&row.idle),
            idle_cost: row.idle.cost.as_units_f64(),
            shared_cost: row.shared.cost.as_units_f64(),
            expected: ExpectedOut {
                cost_so_far: row.expected.cost_so_far.as_units_f64(),
                carbon_so_far_grams: row.expected.carbon_so_far.as_grams_f64(),
                cost: row.expected.cost.as_units_f64(),
                carbon_grams: row.expected.carbon.as_grams_f64(),
            },
        }
    }
}

/// How much of the time a cluster was seen; the rest is not in its figures.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoverageOut {
    /// Cluster.
    pub cluster: String,
    /// Its first hour in the time asked for.
    pub since: String,
    /// Hours seen.
    pub seen_hours: f64,
    /// Hours from then on.
    pub of_hours: f64,
}

impl From<&Coverage> for CoverageOut {
    fn from(c: &Coverage) -> CoverageOut {
        CoverageOut {
            cluster: c.cluster.to_string(),
            since: time(c.since),
            seen_hours: c.seen.as_hours_f64(),
            of_hours: c.of.as_hours_f64(),
        }
    }
}

/// Accounts.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountsOut {
    /// Rows, the dearest first; then what stands apart. They sum to `total`.
    #[serde(flatten)]
    pub rows: Page<AccountRowOut>,
    /// Their sum.
    pub sum: AccountRowOut,
    /// What rows are of.
    pub by: String,
    /// From.
    pub from: String,
    /// Until.
    pub to: String,
    /// How much of it was seen.
    pub coverage: Vec<CoverageOut>,
    /// End of the month that `expected` is of.
    pub month_ends: String,
    /// Days seen in the last four weeks, which `expected` is made from: the fewest of any cluster.
    pub expected_from_days: f64,
    /// Share of the hours of the week seen in that time; the others are expected to be like the mean.
    pub hours_of_week_known: f64,
    /// Worst source of carbon intensity.
    pub carbon_from: Option<ProvenanceOut>,
    /// Who measured use; absent: nobody, requests stand for it, which is assumed.
    pub use_from: Option<ProvenanceOut>,
    /// How the figures were come by.
    pub method: String,
    /// Currency of all money.
    pub currency: String,
}

impl AccountsOut {
    fn new(accounts: &Accounts, rows: Page<AccountRowOut>, currency: &str) -> AccountsOut {
        let now = accounts.question.now;
        let from = |p: &fleet::Provenance| ProvenanceOut::new(p, now);
        AccountsOut {
            rows,
            sum: AccountRowOut::new(&accounts.total, accounts.counts_embodied()),
            by: accounts.question.by.to_string(),
            from: time(accounts.question.from),
            to: time(accounts.question.to.min(now)),
            coverage: accounts.coverage.iter().map(Into::into).collect(),
            month_ends: time(ledger::month(now).1),
            expected_from_days: accounts.days,
            hours_of_week_known: accounts.hours_known,
            carbon_from: accounts.carbon_from.as_ref().map(from),
            use_from: accounts.use_from.as_ref().map(from),
            method: method(accounts.counts_embodied()),
            currency: currency.to_owned(),
        }
    }
}

/// What clusters used, cost and emitted, by anything; what is shared and idle apart.
#[utoipa::path(get, path = "/api/v1/accounts", params(AccountsAsk),
    responses((status = 200, body = AccountsOut), (status = "4XX", body = Problem)))]
pub async fn accounts(
    State(backend): State<SharedBackend>,
    Asked(ask): Asked<AccountsAsk>,
) -> Result<Json<AccountsOut>, Problem> {
    let view = backend.view();
    let question = question(ask.by.as_deref(), ask.from.as_deref(), ask.to.as_deref(), view.at)?;
    let part = PageAsk { limit: ask.limit, after: ask.after };
    part.limit()?;
    let accounts =
        backend.accounts(question).await.map_err(|e| Problem::internal("read the accounts", &e))?;
    let embodied = accounts.counts_embodied();
    let out = |row: &AccountRow| AccountRowOut::new(row, embodied);
    let rows = page(&accounts.rows, &part, |row| id(&row.part), out)?;
    Ok(Json(AccountsOut::new(&accounts, rows, &view.currency)))
}

/// What flows of what.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TopAsk {
    /// `clusters` (if absent), `nodes`, `namespaces`, `workloads`, `pods` or `label:KEY`.
    pub of: Option<String>,
    /// How many rows, 1 to 1000 (200 if absent).
    pub limit: Option<usize>,
    /// Only what comes behind the row of this `id`.
    pub after: Option<String>,
}

/// A row of what flows now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopRowOut {
    /// Cursor for `after`.
    pub id: String,
    /// What it is of.
    #[serde(flatten)]
    pub of: PartOut,
    /// Of a pod its node, of a node its instance type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// CPU there is, in cores, of clusters, nodes and the total; of idle capacity what is not requested; else as requested.
    pub capacity_cores: f64,
    /// CPU requested.
    pub requested_cores: f64,
    /// CPU used: measured, else what running pods request.
    pub used_cores: f64,
    /// Of that, measured.
    pub measured_cores: f64,
    /// Memory there is, as for CPU.
    pub capacity_gib: f64,
    /// Memory requested.
    pub requested_gib: f64,
    /// Memory used.
    pub used_gib: f64,
    /// Power drawn, PUE included.
    pub power_watts: f64,
    /// Of that, idle.
    pub idle_watts: f64,
    /// Emissions of an hour at this power and the present intensity.
    pub carbon_grams_per_hour: f64,
    /// Of that, idle.
    pub idle_carbon_grams_per_hour: f64,
    /// Embodied emissions of an hour, where the policy counts them and there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embodied_carbon_grams_per_hour: Option<f64>,
    /// Money.
    pub cost_per_hour: f64,
    /// Of that, idle.
    pub idle_cost_per_hour: f64,
    /// Of that, shared: what serves the cluster.
    pub shared_cost_per_hour: f64,
}

impl From<&TopRow> for TopRowOut {
    fn from(row: &TopRow) -> TopRowOut {
        let busy = row.rate - row.idle;
        TopRowOut {
            id: id(&row.part),
            of: (&row.part).into(),
            place: row.place.clone(),
            capacity_cores: row.rate.cpu_requested.as_cores_f64(),
            requested_cores: busy.cpu_requested.as_cores_f64(),
            used_cores: busy.cpu_used.as_cores_f64(),
            measured_cores: busy.cpu_measured.as_cores_f64(),
            capacity_gib: row.rate.memory_requested.as_gib_f64(),
            requested_gib: busy.memory_requested.as_gib_f64(),
            used_gib: busy.memory_used.as_gib_f64(),
            power_watts: row.rate.power.as_watts_f64(),
            idle_watts: row.idle.power.as_watts_f64(),
            carbon_grams_per_hour: row.carbon_per_hour.as_grams_f64(),
            idle_carbon_grams_per_hour: row.idle_carbon_per_hour.as_grams_f64(),
            embodied_carbon_grams_per_hour: Some(row.rate.embodied)
                .filter(|rate| !rate.is_zero())
                .map(|rate| rate.as_grams_f64()),
            cost_per_hour: row.rate.price.as_units_f64(),
            idle_cost_per_hour: row.idle.price.as_units_f64(),
            shared_cost_per_hour: row.shared.price.as_units_f64(),
        }
    }
}

/// What flows now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopOut {
    /// Rows, the dearest first; then what stands apart. They sum to `sum`.
    #[serde(flatten)]
    pub rows: Page<TopRowOut>,
    /// Their sum.
    pub sum: TopRowOut,
    /// When.
    pub at: String,
    /// Who measured use; absent: nobody, requests stand for it, which is assumed.
    pub use_from: Option<ProvenanceOut>,
    /// How the figures were come by.
    pub method: String,
    /// Currency of all money.
    pub currency: String,
}

/// Power, money, carbon, CPU and memory as they flow now.
#[utoipa::path(get, path = "/api/v1/top", params(TopAsk),
    responses((status = 200, body = TopOut), (status = "4XX", body = Problem)))]
pub async fn top(
    State(backend): State<SharedBackend>,
    Asked(ask): Asked<TopAsk>,
) -> Result<Json<TopOut>, Problem> {
    let of: Result<TopOf, _> = ask.of.as_deref().unwrap_or("clusters").parse();
    let of = of.map_err(|e| {
        Problem::invalid(format!("query of: {e}")).hint("pods are shown as well, as they are now: of=pods")
    })?;
    let view = backend.view();
    let Top { rows, total, use_from } = backend.top(&of);
    let part = PageAsk { limit: ask.limit, after: ask.after };
    Ok(Json(TopOut {
        rows: page(&rows, &part, |row| id(&row.part), |row| row.into())?,
        sum: (&total).into(),
        at: time(view.at),
        use_from: use_from.map(|from| ProvenanceOut::new(&from, view.at)),
        method: method(!total.rate.embodied.is_zero()),
        currency: view.currency.clone(),
    }))
}
