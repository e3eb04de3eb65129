//! The page Jobs: the timeline, the details of one Job, and the table of all.

use super::ask::Ask;
use super::chart::Window;
use super::csv::{self, Table};
use super::format::{Reader, carbon, rough};
use super::job;
use super::layout::{empty, first_job, time};
use super::text::M;
use super::timeline::Timeline;
use control::{Decision, JobPhase, JobView, View};
use fleet::{ClusterId, GramsCo2, Instant, JobKey, Span};
use ledger::Entry;
use maud::{Markup, html};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Rows of the table on one page.
const ROWS: usize = 100;

/// Hours ahead one can look, the hours back that go with each, and the hours between two labels.
const RANGES: [(&str, i64, i64, i64); 3] = [("6", 3, 6, 1), ("24", 12, 24, 3), ("72", 36, 72, 12)];

/// What the page is made of.
pub struct Jobs<'a> {
    /// What was asked.
    pub ask: &'a Ask,
    /// Everything.
    pub view: &'a View,
    /// The ledger.
    pub entries: &'a [Entry],
    /// The Job whose details are asked for, and why it is where it is.
    pub selected: Option<(JobKey, Option<Decision>)>,
}

/// A column of the table that can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Name,
    Phase,
    Start,
    Deadline,
    LatestStart,
    Duration,
    Saved,
}

const SORTS: [(&str, Sort); 7] = [
    ("name", Sort::Name),
    ("phase", Sort::Phase),
    ("start", Sort::Start),
    ("deadline", Sort::Deadline),
    ("latest", Sort::LatestStart),
    ("duration", Sort::Duration),
    ("saved", Sort::Saved),
];

/// The address of a Job's details.
pub fn job_path(key: &JobKey) -> String {
    format!("/jobs/{}/{}/{}", key.cluster, key.namespace, key.name)
}

/// When it starts, or started.
fn start(job: &JobView) -> Option<Instant> {
    job.runs.first().or(job.planned.first()).map(|run| run.from)
}

/// How long it ran so far, or is planned to run.
fn duration(job: &JobView, now: Instant) -> Option<Span> {
    let runs = if job.runs.is_empty() { &job.planned } else { &job.runs };
    let spans = runs.iter().map(|run| run.to.unwrap_or(now) - run.from);
    if runs.is_empty() { job.contract.expected_duration } else { Some(spans.fold(Span::ZERO, |a, b| a + b)) }
}

struct Row<'a> {
    job: &'a JobView,
    start: Option<Instant>,
    duration: Option<Span>,
    saved: Option<GramsCo2>,
}

/// Later than nothing: what has no value comes last either way.
fn last<T: Ord>(a: Option<T>, b: Option<T>, descending: bool) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if descending => b.cmp(&a),
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

impl Jobs<'_> {
    fn reader(&self) -> Reader {
        self.ask.reader
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let saved: BTreeMap<&str, GramsCo2> =
            self.entries.iter().map(|e| (e.uid.as_str(), e.saved_carbon())).collect();
        let row = |job| Row {
            job,
            start: start(job),
            duration: duration(job, self.view.at),
            saved: saved.get(job.uid.as_str()).copied(),
        };
        let mut rows: Vec<Row<'_>> = self.view.jobs.iter().map(row).collect();
        let (sort, descending) = self.sort();
        rows.sort_by(|a, b| {
            let by = match sort {
                Sort::Name => last(Some(&a.job.key), Some(&b.job.key), descending),
                Sort::Phase => last(Some(a.job.phase), Some(b.job.phase), descending),
                Sort::Start => last(a.start, b.start, descending),
                Sort::Deadline => last(a.job.contract.deadline, b.job.contract.deadline, descending),
                Sort::LatestStart => last(a.job.latest_start, b.job.latest_start, descending),
                Sort::Duration => last(a.duration, b.duration, descending),
                Sort::Saved => last(a.saved, b.saved, descending),
            };
            by.then_with(|| a.start.cmp(&b.start)).then_with(|| a.job.key.cmp(&b.job.key))
        });
        rows
    }

    fn sort(&self) -> (Sort, bool) {
        let text = self.ask.get("sort").unwrap_or("phase");
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let found = SORTS.iter().find(|(known, _)| *known == name);
        found.map_or((Sort::Phase, false), |(_, sort)| (*sort, descending))
    }

    fn range(&self) -> (&'static str, i64, i64, i64) {
        let wanted = self.ask.get("hours").unwrap_or("24");
        RANGES.into_iter().find(|(name, ..)| *name == wanted).unwrap_or(RANGES[1])
    }

    /// The page.
    pub fn page(&self) -> Markup {
        let reader = self.reader();
        if self.view.jobs.is_empty() && self.entries.is_empty() && self.selected.is_none() {
            let commands = [&first_job(self.view), "kubercarbon place examples/job.yaml"];
            return empty(reader, M::EmptyJobs, M::EmptyJobsHow, &commands);
        }
        html! {
            h1.hidden { (reader.say(M::Jobs)) }
            (self.timeline())
            @if let Some((key, decision)) = &self.selected {
                (job::panel(self.ask, self.view, self.entries, key, decision.as_ref()))
            }
            (self.all())
        }
    }

    fn timeline(&self) -> Markup {
        let reader = self.reader();
        let (name, back, ahead, tick) = self.range();
        let hours = |count: i64| Span::HOUR.scaled(count, 1);
        let window = Window { from: self.view.at - hours(back), to: self.view.at + hours(ahead) };
        let timeline = Timeline {
            reader,
            view: self.view,
            entries: self.entries,
            window,
            tick: hours(tick),
            selected: self.selected.as_ref().map(|(key, _)| key),
        };
        html! {
            section.block aria-labelledby="timeline-title" {
                header {
                    h2 id="timeline-title" { (reader.say(M::Timeline)) }
                    nav.choice aria-label=(reader.say(M::Zoom)) {
                        span.soft { (reader.say(M::Zoom)) }
                        @for (range, ..) in RANGES {
                            a href=(self.ask.with("hours", Some(range))) data-go
                                aria-current=[(range == name).then_some("true")] {
                                (reader.lang.fill(M::Hours, &[range]))
                            }
                        }
                    }
                }
                (timeline.draw(&|key| self.ask.at(&job_path(key))))
            }
        }
    }

    fn head(&self, name: &'static str, sort: Sort, message: M, class: &str) -> Markup {
        let (now, descending) = self.sort();
        let here = now == sort;
        let next = if here && !descending { format!("-{name}") } else { name.to_owned() };
        let state = if !here {
            "none"
        } else if descending {
            "descending"
        } else {
            "ascending"
        };
        html! {
            th scope="col" class=(class) aria-sort=(state) {
                a href=(self.ask.with("sort", Some(&next))) data-go { (self.reader().say(message)) }
            }
        }
    }

    fn all(&self) -> Markup {
        let reader = self.reader();
        let rows = self.rows();
        let pages = rows.len().div_ceil(ROWS).max(1);
        let page = self.ask.get("page").and_then(|p| p.parse::<usize>().ok()).unwrap_or(1).clamp(1, pages);
        let shown = &rows[(page - 1) * ROWS..(page * ROWS).min(rows.len())];
        let counts = [shown.len().to_string(), rows.len().to_string()];
        html! {
            section.block aria-labelledby="all-title" {
                header {
                    h2 id="all-title" { (reader.say(M::AllJobs)) }
                    p.soft { (reader.lang.fill(M::ShownOf, &[&counts[0], &counts[1]])) }
                    a.csv href=(self.ask.with("format", Some("csv"))) { "CSV" }
                }
                div.table tabindex="0" role="group" aria-labelledby="all-title" {
                    table {
                        thead {
                            tr {
                                (self.head("name", Sort::Name, M::Job, ""))
                                (self.head("phase", Sort::Phase, M::Phase, ""))
                                th scope="col" { (reader.say(M::HomeTarget)) }
                                (self.head("start", Sort::Start, M::PlannedStart, "number"))
                                (self.head("deadline", Sort::Deadline, M::Deadline, "number"))
                                (self.head("latest", Sort::LatestStart, M::LatestStart, "number"))
                                (self.head("duration", Sort::Duration, M::Duration, "number"))
                                (self.head("saved", Sort::Saved, M::Saved, "number"))
                            }
                        }
                        tbody { @for row in shown { (self.row(row)) } }
                    }
                }
                @if pages > 1 {
                    nav.pages {
                        @if page > 1 { a href=(self.ask.with("page", Some(&(page - 1).to_string()))) data-go { (reader.say(M::PreviousPage)) } }
                        @if page < pages { a href=(self.ask.with("page", Some(&(page + 1).to_string()))) data-go { (reader.say(M::NextPage)) } }
                    }
                }
            }
        }
    }

    fn row(&self, row: &Row<'_>) -> Markup {
        let reader = self.reader();
        let job = row.job;
        let chosen = self.selected.as_ref().is_some_and(|(key, _)| *key == job.key);
        let when = |at: Option<Instant>| html! { td.number { @if let Some(at) = at { (time(reader, at)) } @else { "–" } } };
        html! {
            tr.chosen[chosen] id={ "row-" (job.key) } {
                th scope="row" {
                    a href=(self.ask.at(&job_path(&job.key))) data-go="job" { (job.key.name) }
                    " " span.soft { (job.key.namespace) }
                }
                td { (phase(reader, job)) }
                td { (route(&job.key.cluster, job.cluster.as_ref())) }
                (when(row.start))
                (when(job.contract.deadline))
                (when(job.latest_start))
                td.number { @if let Some(span) = row.duration { (rough(span)) } @else { "–" } }
                td.number { @if let Some(saved) = row.saved { (carbon(saved)) } @else { "–" } }
            }
        }
    }

    /// The Jobs as a table, sorted as on the page.
    pub fn table(&self) -> Table {
        let when = |at: Option<Instant>| csv::maybe(at.map(Instant::to_rfc3339_seconds));
        let row = |row: &Row<'_>| {
            let job = row.job;
            vec![
                csv::text(&job.key.cluster),
                csv::text(&job.key.namespace),
                csv::text(&job.key.name),
                csv::text(crate::api::model::word(&job.phase)),
                csv::maybe(job.cluster.as_ref()),
                when(Some(job.created)),
                when(row.start),
                when(job.contract.deadline),
                when(job.latest_start),
                csv::Cell::Number(row.duration.map(|d| d.as_seconds() as f64)),
                csv::Cell::Number(job.forecast.map(|f| f.carbon.as_grams_f64())),
                csv::Cell::Number(row.saved.map(GramsCo2::as_grams_f64)),
                csv::maybe(job.late.as_ref()),
                csv::text(&job.sentence),
                csv::maybe(job.owner.as_ref()),
            ]
        };
        Table {
            name: "jobs",
            head: &[
                "home",
                "namespace",
                "name",
                "phase",
                "cluster",
                "created",
                "start",
                "deadline",
                "latest_start",
                "duration_s",
                "forecast_gco2e",
                "saved_gco2e",
                "late",
                "what",
                "kept_by",
            ],
            rows: self.rows().iter().map(row).collect(),
        }
    }
}

/// `kr → jp`, or `kr` where it stays.
pub fn route(home: &ClusterId, to: Option<&ClusterId>) -> Markup {
    html! { (home) @if let Some(to) = to.filter(|to| *to != home) { " → " (to) } }
}

/// A Job's phase, whether it waits for a yes, and whether it is late.
pub fn phase(reader: Reader, job: &JobView) -> Markup {
    let class = match job.phase {
        JobPhase::Held => "held",
        JobPhase::Starting | JobPhase::Running => "running",
        JobPhase::Paused => "paused",
        JobPhase::Succeeded => "succeeded",
        JobPhase::Failed => "failed",
        JobPhase::Deleting => "deleting",
    };
    html! {
        span class={ "phase " (class) } { (reader.phase(job.phase)) }
        @if job.awaits_yes { " " span.badge.estimated { (reader.say(M::WaitsForYes)) } }
        @if job.late.is_some() { " " span.badge.bad { (reader.say(M::Late)) } }
    }
}
