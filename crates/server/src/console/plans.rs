//! The page Plans: the part of the schedule that lies ahead, step by step, with reasons and undo.

use super::ask::Ask;
use super::csv::{self, Table};
use super::format::{Reader, carbon, percent};
use super::jobs::job_path;
use super::layout::{empty, first_job, time};
use super::text::M;
use control::{JobView, View};
use fleet::{Action, Plan, Step};
use maud::{Markup, html};

/// Steps shown, at most; the CSV has all.
const STEPS_MAX: usize = 200;

/// The page.
pub fn page(ask: &Ask, view: &View, plan: &Plan) -> Markup {
    let reader = ask.reader;
    if plan.steps.is_empty() {
        let commands = ["kubercarbon place examples/job.yaml", &first_job(view)];
        return empty(reader, M::EmptyPlans, M::EmptyPlansHow, &commands);
    }
    let shown = plan.steps.len().min(STEPS_MAX);
    let waiting = view.jobs.iter().filter(|job| job.awaits_yes).count();
    let counts = [shown.to_string(), plan.steps.len().to_string()];
    html! {
        h1.hidden { (reader.say(M::Plans)) }
        (headline(reader, view))
        section.block aria-labelledby="steps-title" {
            header {
                h2 id="steps-title" { (reader.say(M::Steps)) }
                p.soft { (reader.lang.fill(M::ShownOf, &[&counts[0], &counts[1]])) }
                @if waiting > 0 { span.badge.estimated { (reader.lang.fill(M::WaitForYes, &[&waiting.to_string()])) } }
                a.csv href=(ask.with("format", Some("csv"))) { "CSV" }
            }
            div.table tabindex="0" role="group" aria-labelledby="steps-title" {
                table {
                    thead {
                        tr {
                            th scope="col" { (reader.say(M::Start)) }
                            th scope="col" { (reader.say(M::Action)) }
                            th scope="col" { (reader.say(M::Job)) }
                            th scope="col" { (reader.say(M::Cluster)) }
                            th scope="col" { (reader.say(M::Reason)) }
                        }
                    }
                    tbody { @for step in plan.steps.iter().take(STEPS_MAX) { (row(reader, view, step)) } }
                }
            }
        }
    }
}

fn headline(reader: Reader, view: &View) -> Markup {
    let forecast = view.planned_carbon.map(|(carbon, _)| carbon);
    let gap = view.planned_carbon.and_then(|(_, gap)| gap);
    html! {
        section.headline {
            div.figure.lead {
                h2 { (reader.say(M::PlanForecast)) }
                p.big { @if let Some(forecast) = forecast { (carbon(forecast)) " " small { "CO2e" } } @else { "–" } }
                p.note { @if view.scarce { (reader.say(M::RoomScarce)) } }
            }
            div.figure {
                h2 { (reader.say(M::PlanBound)) }
                p.big { @if let Some(gap) = gap { (percent(gap.max(0.0))) } @else { "–" } }
                p.note { (reader.say(M::PlanGap)) }
            }
            div.figure {
                h2 { (reader.say(M::PlanPolicy)) }
                p.big { (view.policy.as_str()) }
                p.note { @if let Some(at) = view.planned_at { (reader.say(M::PlanMade)) " " (time(reader, at)) } }
            }
        }
    }
}

fn action(reader: Reader, action: &Action) -> &'static str {
    reader.say(match action {
        Action::Hold { .. } => M::ActionHold,
        Action::Start { .. } => M::ActionStart,
        Action::Pause => M::ActionPause,
        Action::Resume => M::ActionResume,
        Action::DeleteCopy => M::ActionDelete,
    })
}

/// The Job a step is about: its object is named as at home, in the home that has it.
fn job<'a>(view: &'a View, step: &Step) -> Option<&'a JobView> {
    view.jobs.iter().find(|job| job.uid == step.object.uid)
}

fn row(reader: Reader, view: &View, step: &Step) -> Markup {
    html! {
        tr id={ "step-" (step.id) } {
            td { (time(reader, step.at)) }
            td { (action(reader, &step.action)) }
            th scope="row" {
                @match job(view, step) {
                    Some(job) => { a href=(job_path(&job.key)) data-go { (step.object.name) } }
                    None => (step.object.name)
                }
                " " span.soft { (step.object.namespace) }
                @if job(view, step).is_some_and(|job| job.awaits_yes) {
                    " " span.badge.estimated { (reader.say(M::WaitsForYes)) }
                }
            }
            td { (step.cluster) }
            td {
                details id={ "why-" (step.id) } {
                    summary lang="en" { (step.reason) }
                    p { (reader.say(M::Expect)) ": " span lang="en" { (step.expect) } }
                    p { (reader.say(M::Undo)) ":" }
                    pre { code { (step.undo) } }
                }
            }
        }
    }
}

/// The steps as a table.
pub fn table(plan: &Plan) -> Table {
    let row = |s: &Step| {
        vec![
            csv::text(&s.id),
            csv::text(s.at.to_rfc3339_seconds()),
            csv::text(s.after.join(" ")),
            csv::text(&s.cluster),
            csv::text(&s.object.namespace),
            csv::text(&s.object.name),
            csv::text(action(Reader::new(super::text::Lang::En, 0), &s.action)),
            csv::text(&s.reason),
            csv::text(&s.expect),
            csv::text(&s.undo),
        ]
    };
    Table {
        name: "plan",
        head: &["id", "at", "after", "cluster", "namespace", "name", "action", "reason", "expect", "undo"],
        rows: plan.steps.iter().map(row).collect(),
    }
}
