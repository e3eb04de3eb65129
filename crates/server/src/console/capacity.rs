//! The page Capacity: what there is, what is requested and used, what is idle, what it costs, and what the month will come to.

use super::ask::Ask;
use super::csv::{self, Table};
use super::format::{Reader, carbon, money, number, percent};
use super::layout::{badge, empty};
use super::text::M;
use control::View;
use fleet::{Instant, SignalKind, Span};
use ledger::accounts::{AccountRow, Accounts, By, Coverage, Part, Question};
use maud::{Markup, html};

/// Rows on one page.
const ROWS: usize = 100;
/// Share of the time that may be unseen before it is said.
const UNSEEN_MAX: f64 = 0.01;

/// The time shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Month,
    Day,
    Week,
    Days30,
}

impl Range {
    const ALL: [(Range, &'static str, M); 4] = [
        (Range::Month, "month", M::ThisMonth),
        (Range::Day, "24h", M::Last24h),
        (Range::Week, "7d", M::Last7d),
        (Range::Days30, "30d", M::Last30d),
    ];

    fn from(self, now: Instant) -> Instant {
        let back = |days: i64| (now - Span::DAY.scaled(days, 1)).floor_to(Span::HOUR);
        match self {
            Range::Month => ledger::month(now).0,
            Range::Day => back(1),
            Range::Week => back(7),
            Range::Days30 => back(30),
        }
    }
}

/// What is asked for.
pub struct Asked {
    range: Range,
    question: Question,
}

impl Asked {
    /// What a request asks for; what it does not say, or says wrongly, is by cluster, this month.
    pub fn of(ask: &Ask, view: &View) -> Asked {
        let by: Option<By> = match ask.get("by") {
            Some("label") => ask.get("key").and_then(|key| format!("label:{key}").parse().ok()),
            text => text.and_then(|text| text.parse().ok()),
        };
        let known = |word: Option<&str>| Range::ALL.into_iter().find(|(_, name, _)| Some(*name) == word);
        let range = known(ask.get("range")).map_or(Range::Month, |(range, ..)| range);
        let to = view.at.floor_to(Span::HOUR) + Span::HOUR;
        let question =
            Question { by: by.unwrap_or(By::Cluster), from: range.from(view.at), to, now: view.at };
        Asked { range, question }
    }
    /// As the accounts take it.
    pub fn question(&self) -> Question {
        self.question.clone()
    }
}

/// The page.
pub fn page(ask: &Ask, view: &View, asked: &Asked, accounts: &Accounts) -> Markup {
    let reader = ask.reader;
    if view.clusters.is_empty() {
        let commands = ["kubercarbon up", "kubercarbon up --context prod-a --context prod-b"];
        return empty(reader, M::EmptyFleet, M::EmptyFleetHow, &commands);
    }
    if accounts.rows.is_empty() && asked.range == Range::Month {
        return empty(
            reader,
            M::EmptyCapacity,
            M::EmptyCapacityHow,
            &["kubercarbon status", "kubercarbon top"],
        );
    }
    html! {
        h1.hidden { (reader.say(M::Capacity)) }
        (headline(reader, view, accounts))
        (rows(ask, view, asked, accounts))
        (method(reader, accounts))
    }
}

fn headline(reader: Reader, view: &View, accounts: &Accounts) -> Markup {
    let total = &accounts.total;
    let share = |part: f64, whole: f64| if whole > 0.0 { percent(part / whole) } else { "–".to_owned() };
    let cost = total.amounts.cost.as_units_f64();
    let cpu = total.amounts.cpu_requested.as_core_hours_f64();
    let busy = total.busy();
    let used = busy.cpu_used.as_core_hours_f64();
    let requested = busy.cpu_requested.as_core_hours_f64();
    let idle = share(total.idle.cost.as_units_f64(), cost);
    html! {
        section.headline aria-label=(reader.say(M::Capacity)) {
            div.figure.lead {
                h2 { (reader.say(M::CostSoFar)) }
                p.big { (money(cost, &view.currency)) }
                p.note { (reader.lang.fill(M::OfThatIdle, &[&idle])) }
            }
            div.figure {
                h2 { (reader.say(M::ExpectedCost)) }
                p.big { (money(total.expected.cost.as_units_f64(), &view.currency)) }
                p.note { (expected_note(reader, accounts)) }
            }
            div.figure {
                h2 { (reader.say(M::EmittedSoFar)) }
                p.big { (carbon(total.amounts.carbon)) " " small { "CO2e" } }
                p.note { (reader.lang.fill(M::ExpectedCarbonNote, &[&carbon(total.expected.carbon)])) }
                @if accounts.counts_embodied() {
                    p.note { (reader.lang.fill(M::EmbodiedNote, &[&carbon(total.amounts.embodied)])) }
                }
            }
            div.figure {
                h2 { (reader.say(M::CpuUsed)) }
                p.big { (share(used, cpu)) }
                p.note { (reader.lang.fill(M::RequestedNote, &[&share(requested, cpu)])) }
            }
        }
    }
}

/// From how much the expected figures are made.
fn expected_note(reader: Reader, accounts: &Accounts) -> String {
    let end = reader.day(ledger::month(accounts.question.now).1 - Span::from_seconds(1));
    let days = accounts.days;
    let seen = if days >= 1.0 {
        reader.lang.fill(M::DaysSeen, &[&number(days)])
    } else {
        reader.lang.fill(M::LessSeen, &[&Span::from_seconds((days * 86_400.0) as i64).to_string()])
    };
    reader.lang.fill(M::ExpectedNote, &[&end, &seen])
}

fn choices(ask: &Ask, asked: &Asked) -> Markup {
    let reader = ask.reader;
    let bys = [
        (By::Cluster, M::Cluster),
        (By::Namespace, M::Namespace),
        (By::Workload, M::Workload),
        (By::Node, M::Node),
    ];
    let key = match &asked.question.by {
        By::Label(key) => key.as_str(),
        _ => "",
    };
    html! {
        nav.choice aria-label=(reader.say(M::By)) {
            span { (reader.say(M::By)) }
            @for (by, name) in bys {
                a href=(ask.with("by", Some(&by.to_string()))) data-go aria-current=[(by == asked.question.by).then_some("true")] {
                    (reader.say(name))
                }
            }
        }
        form.by-label method="get" action="/capacity" {
            input type="hidden" name="by" value="label";
            @if let Some(range) = ask.get("range") { input type="hidden" name="range" value=(range); }
            label { span { (reader.say(M::Label)) } input name="key" value=(key) placeholder="app" size="14" maxlength="317" required; }
            button type="submit" aria-pressed=(if key.is_empty() { "false" } else { "true" }) { (reader.say(M::Show)) }
        }
        nav.choice.range aria-label=(reader.say(M::Time)) {
            @for (range, word, name) in Range::ALL {
                a href=(ask.with("range", Some(word))) data-go aria-current=[(range == asked.range).then_some("true")] { (reader.say(name)) }
            }
        }
    }
}

fn name(reader: Reader, part: &Part) -> Markup {
    html! {
        @match part {
            Part::Named { cluster, namespace, name } => {
                (name) " "
                @if let Some(namespace) = namespace { span.soft { (namespace) } " " }
                @if let Some(cluster) = cluster { span.soft { (cluster) } }
            }
            Part::Unlabelled => span.soft { (reader.say(M::WithoutLabel)) },
            Part::Other => span.soft { (reader.say(M::SmallOnes)) },
            Part::Shared => span title=(reader.say(M::SharedWhy)) { (reader.say(M::SharedPart)) },
            Part::Idle => span title=(reader.say(M::IdleWhy)) { (reader.say(M::IdlePart)) },
        }
    }
}

/// How many core-hours, or none.
fn hours(value: f64) -> String {
    if value == 0.0 { "–".to_owned() } else { number(value) }
}

fn cells(view: &View, accounts: &Accounts, row: &AccountRow, total: bool) -> Markup {
    let whole = matches!(accounts.question.by, By::Cluster | By::Node) || total;
    let busy = row.busy();
    let idle = row.part == Part::Idle;
    let there = row.cpu_capacity().as_core_hours_f64();
    html! {
        td.number { (hours(busy.cpu_used.as_core_hours_f64())) }
        td.number { (hours(busy.cpu_requested.as_core_hours_f64())) }
        td.number { @if whole || idle { (hours(there)) } @else { "–" } }
        td.number { (hours(busy.memory_used.as_gib_hours_f64())) }
        td.number { (row.amounts.energy) }
        td.number { (carbon(row.amounts.carbon)) }
        td.number { @if whole { (money(row.idle.cost.as_units_f64(), &view.currency)) } @else { "–" } }
        td.number { b { (money(row.amounts.cost.as_units_f64(), &view.currency)) } }
        td.number.expected { (money(row.expected.cost.as_units_f64(), &view.currency)) }
        td.number.expected { (carbon(row.expected.carbon)) }
    }
}

fn head(reader: Reader, by: M) -> Markup {
    let column = |message: M, unit: &str| {
        html! { th.number scope="col" { (reader.say(message)) @if !unit.is_empty() { " " span.unit { (unit) } } } }
    };
    html! {
        thead {
            tr {
                th scope="col" { (reader.say(by)) }
                (column(M::CpuUsed, "core-h"))
                (column(M::CpuRequested, "core-h"))
                (column(M::CpuThere, "core-h"))
                (column(M::MemoryUsed, "GiB-h"))
                (column(M::Energy, ""))
                (column(M::Emitted, "CO2e"))
                (column(M::IdleCost, ""))
                (column(M::Cost, ""))
                (column(M::ExpectedCostShort, ""))
                (column(M::ExpectedCarbonShort, "CO2e"))
            }
        }
    }
}

fn rows(ask: &Ask, view: &View, asked: &Asked, accounts: &Accounts) -> Markup {
    let reader = ask.reader;
    let pages = accounts.rows.len().div_ceil(ROWS).max(1);
    let page = ask.get("page").and_then(|p| p.parse::<usize>().ok()).unwrap_or(1).clamp(1, pages);
    let shown = accounts.rows.iter().skip((page - 1) * ROWS).take(ROWS);
    let by = match &accounts.question.by {
        By::Cluster => M::Cluster,
        By::Namespace => M::Namespace,
        By::Workload => M::Workload,
        By::Label(_) => M::Label,
        By::Node => M::Node,
    };
    html! {
        section.block aria-labelledby="accounts-title" {
            header {
                h2 id="accounts-title" { (reader.say(M::Accounts)) }
                (choices(ask, asked))
                a.csv href=(ask.with("format", Some("csv"))) { "CSV" }
            }
            div.table tabindex="0" role="group" aria-labelledby="accounts-title" {
                table.accounts {
                    (head(reader, by))
                    tbody {
                        @for row in shown {
                            tr.rest[!row.is_named()] { th scope="row" { (name(reader, &row.part)) } (cells(view, accounts, row, false)) }
                        }
                    }
                    tfoot { tr { th scope="row" { (reader.say(M::Total)) } (cells(view, accounts, &accounts.total, true)) } }
                }
            }
            @if pages > 1 {
                nav.pages {
                    @if page > 1 { a href=(ask.with("page", Some(&(page - 1).to_string()))) data-go { (reader.say(M::PreviousPage)) } }
                    @if page < pages { a href=(ask.with("page", Some(&(page + 1).to_string()))) data-go { (reader.say(M::NextPage)) } }
                }
            }
            (sure(reader, accounts))
        }
    }
}

/// What use, carbon and time stand on.
fn sure(reader: Reader, accounts: &Accounts) -> Markup {
    let missing = |c: &&Coverage| (c.of - c.seen).as_hours_f64() > UNSEEN_MAX * c.of.as_hours_f64();
    html! {
        ul.sure {
            li {
                @match (&accounts.use_from, accounts.total.measured()) {
                    (Some(from), Some(share)) => {
                        (badge(reader, if share > 0.99 { SignalKind::Measured } else { SignalKind::Assumed })) " "
                        (reader.lang.fill(M::UseMeasured, &[&percent(share), &from.source]))
                    }
                    _ => { (badge(reader, SignalKind::Assumed)) " " (reader.say(M::UseAssumed)) }
                }
            }
            @if let Some(from) = &accounts.carbon_from {
                li { (badge(reader, from.kind)) " " (reader.lang.fill(M::CarbonFrom, &[&from.source])) }
            }
            @for c in accounts.coverage.iter().filter(missing) {
                @let words = [c.cluster.to_string(), reader.moment(c.since), whole_seconds(c.seen), whole_seconds(c.of)];
                li { (reader.lang.fill(M::SeenOf, &[&words[0], &words[1], &words[2], &words[3]])) }
            }
        }
    }
}

/// A span as people say it, without parts of seconds.
fn whole_seconds(span: Span) -> String {
    Span::from_seconds(span.as_seconds()).to_string()
}

fn method(reader: Reader, accounts: &Accounts) -> Markup {
    let known = percent(accounts.hours_known);
    html! {
        details.block.method id="method" {
            summary { (reader.say(M::Method)) }
            p lang="en" { (ledger::allocation::method(accounts.counts_embodied())) "." }
            p { (reader.lang.fill(M::ExpectedMethod, &[&number(accounts.days), &known])) }
        }
    }
}

/// All rows as a table.
pub fn table(view: &View, accounts: &Accounts) -> Table {
    let row = |row: &AccountRow| {
        let (busy, part) = (row.busy(), &row.part);
        let (cluster, namespace, name) = match part {
            Part::Named { cluster, namespace, name } => (cluster.clone(), namespace.clone(), name.clone()),
            Part::Unlabelled => (None, None, "(none)".to_owned()),
            Part::Other => (None, None, "(other)".to_owned()),
            Part::Shared => (None, None, "(shared)".to_owned()),
            Part::Idle => (None, None, "(idle)".to_owned()),
        };
        vec![
            csv::text(&accounts.question.by),
            csv::maybe(cluster),
            csv::maybe(namespace),
            csv::text(name),
            csv::text(accounts.question.from.to_rfc3339_seconds()),
            csv::text(accounts.question.to.min(accounts.question.now).to_rfc3339_seconds()),
            csv::number(row.amounts.energy.as_kwh_f64()),
            csv::number(row.amounts.carbon.as_grams_f64()),
            csv::maybe(accounts.counts_embodied().then(|| row.amounts.embodied.as_grams_f64())),
            csv::number(row.amounts.cost.as_units_f64()),
            csv::number(row.idle.cost.as_units_f64()),
            csv::number(row.shared.cost.as_units_f64()),
            csv::number(row.amounts.cpu_requested.as_core_hours_f64()),
            csv::number(busy.cpu_requested.as_core_hours_f64()),
            csv::number(busy.cpu_used.as_core_hours_f64()),
            csv::number(busy.cpu_measured.as_core_hours_f64()),
            csv::number(busy.memory_requested.as_gib_hours_f64()),
            csv::number(busy.memory_used.as_gib_hours_f64()),
            csv::number(row.expected.cost.as_units_f64()),
            csv::number(row.expected.carbon.as_grams_f64()),
            csv::text(&view.currency),
            csv::maybe(accounts.carbon_from.as_ref().map(|from| &from.source)),
            csv::maybe(accounts.carbon_from.as_ref().map(|from| crate::api::model::word(&from.kind))),
            csv::maybe(accounts.use_from.as_ref().map(|from| &from.source)),
            csv::text(ledger::allocation::method(accounts.counts_embodied())),
        ]
    };
    Table {
        name: "accounts",
        head: &[
            "by",
            "cluster",
            "namespace",
            "name",
            "from",
            "to",
            "energy_kwh",
            "carbon_gco2e",
            "embodied_gco2e",
            "cost",
            "idle_cost",
            "shared_cost",
            "capacity_core_hours",
            "requested_core_hours",
            "used_core_hours",
            "measured_core_hours",
            "requested_gib_hours",
            "used_gib_hours",
            "expected_month_cost",
            "expected_month_gco2e",
            "currency",
            "carbon_source",
            "carbon_kind",
            "use_source",
            "method",
        ],
        rows: accounts.rows.iter().map(row).collect(),
    }
}
