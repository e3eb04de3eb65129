//! The details of one Job: why here, why then, what the others would have cost, what it saved.

use super::ask::{Ask, address};
use super::format::{Reader, carbon, count, money, number, rough};
use super::jobs::{job_path, phase, route};
use super::layout::{badge, time};
use super::text::{Lang, M};
use control::lease::Leader;
use control::{Decision, JobPhase, JobView, RunTime, RunTimeFrom, View};
use fleet::{JobKey, Mode};
use ledger::Entry;
use maud::{Markup, html};
use planner::placement::{Alternative, Change, Explanation, Saving};

/// The panel under the timeline.
pub fn panel(ask: &Ask, view: &View, entries: &[Entry], key: &JobKey, decision: Option<&Decision>) -> Markup {
    let reader = ask.reader;
    let job = view.jobs.iter().find(|job| job.key == *key);
    let entry = entries.iter().rev().find(|e| e.job == *key && job.is_none_or(|job| job.uid == e.uid));
    html! {
        section.block.panel id="job" aria-labelledby="job-title" {
            header {
                h2 id="job-title" tabindex="-1" { (key.name) " " span.soft { (key.cluster) "/" (key.namespace) } }
                @if let Some(job) = job { (phase(reader, job)) }
                a.close href=(ask.at("/jobs")) data-go { (reader.say(M::Close)) }
            }
            @if job.is_none() && entry.is_none() { p { (reader.say(M::GoneJob)) } }
            @if let Some(job) = job {
                @if !job.sentence.is_empty() { p lang="en" { (job.sentence) } }
                @if let Some(owned) = &job.owned { p.soft lang="en" { (owned) } }
                @if let Some(late) = &job.late { p.bad lang="en" { (late) } }
                @for error in &job.errors { p.bad lang="en" { (error) } }
            }
            div.columns {
                div {
                    @if let Some(entry) = entry { (saved(reader, view, entry)) }
                    (why(reader, view, job, decision))
                }
                @if let Some(job) = job { (facts(reader, view, job, decision)) }
            }
            @if let Some(job) = job { (orders(ask, view, job)) }
        }
    }
}

fn saved(reader: Reader, view: &View, entry: &Entry) -> Markup {
    let (actual, base) = (entry.actual.carbon.as_grams_f64(), entry.baseline.footprint.carbon.as_grams_f64());
    html! {
        section.saved {
            h3 { (reader.say(M::WhatSaved)) }
            p.big.more[actual > base] { (carbon(entry.saved_carbon())) " " small { "CO2e" } " · " (money(entry.saved_cost().as_units_f64(), &view.currency)) }
            p.soft {
                (reader.lang.fill(M::ActualVsBaseline, &[&number(actual), &number(base)])) " "
                (badge(reader, entry.provenance().kind))
            }
        }
    }
}

/// The decision in one sentence: as it was given, or put together from its figures.
fn sentence(reader: Reader, view: &View, explanation: &Explanation) -> Markup {
    if reader.lang == Lang::En {
        return html! { p.why lang="en" { (explanation.sentence) } };
    }
    let cost = |a: &Alternative| {
        format!("{} CO2e, {}", carbon(a.carbon), money(a.cost.as_units_f64(), &view.currency))
    };
    let chosen = &explanation.chosen;
    let here = [chosen.cluster.to_string(), reader.moment(chosen.start), cost(chosen)];
    html! {
        p.why {
            (reader.lang.fill(M::WhyKo, &[&here[0], &here[1], &here[2]]))
            @if let Some(base) = &explanation.at_once_at_home { " " (reader.lang.fill(M::WhyLess, &[&cost(base)])) }
        }
        details id="why-original" { summary { "English" } p lang="en" { (explanation.sentence) } }
    }
}

fn why(reader: Reader, view: &View, job: Option<&JobView>, decision: Option<&Decision>) -> Markup {
    let explanation = decision.and_then(|d| d.explanation.as_ref());
    let over = job.is_none_or(|job| matches!(job.phase, JobPhase::Succeeded | JobPhase::Failed));
    html! {
        section.why-block {
            @if explanation.is_some() || !over { h3 { (reader.say(M::WhyHere)) } }
            @match explanation {
                Some(explanation) => {
                    (sentence(reader, view, explanation))
                    (options(reader, view, explanation))
                    (would_save(reader, view, &explanation.would_save))
                    @if !explanation.excluded.is_empty() {
                        h4 { (reader.say(M::Excluded)) }
                        ul { @for e in &explanation.excluded { li { b { (e.cluster) } ": " span lang="en" { (e.limit) } } } }
                    }
                }
                None => { @if !over { p.soft { (reader.say(M::NoWhy)) } } }
            }
            @if let Some(decision) = decision {
                @for warning in &decision.warnings { p.bad lang="en" { (warning) } }
            }
        }
    }
}

fn options(reader: Reader, view: &View, explanation: &Explanation) -> Markup {
    let chosen = &explanation.chosen;
    let shown = explanation.alternatives.iter().chain(&explanation.at_once_at_home);
    let elastic = shown.into_iter().any(|a| a.parallelism != chosen.parallelism);
    let row = |class: &str, name: M, a: &Alternative| {
        let more = (a.carbon - chosen.carbon).as_grams_f64();
        let less = more.abs() < 1e-9;
        html! {
            tr class=(class) {
                th scope="row" { (reader.say(name)) }
                td { (a.cluster) }
                td.number { (time(reader, a.start)) }
                td.number { (time(reader, a.end)) }
                @if elastic { td.number { (a.parallelism) } }
                td.number { (number(a.carbon.as_grams_f64())) }
                td.number.soft { @if !less { @if more > 0.0 { "+" } (number(more)) } }
                td.number { (money(a.cost.as_units_f64(), &view.currency)) }
                td { (reader.say(if a.in_time { M::Yes } else { M::No })) }
            }
        }
    };
    html! {
        div.table tabindex="0" role="group" aria-label=(reader.say(M::Options)) {
            table.options {
                thead {
                    tr {
                        th scope="col" { (reader.say(M::Options)) }
                        th scope="col" { (reader.say(M::Cluster)) }
                        th.number scope="col" { (reader.say(M::Start)) }
                        th.number scope="col" { (reader.say(M::End)) }
                        @if elastic { th.number scope="col" { (reader.say(M::Pods)) } }
                        th.number scope="col" { (reader.say(M::CarbonUnit)) }
                        th.number scope="col" { "±" }
                        th.number scope="col" { (reader.say(M::Cost)) }
                        th scope="col" { (reader.say(M::InTime)) }
                    }
                }
                tbody {
                    (row("chosen", M::Chosen, chosen))
                    @for a in &explanation.alternatives { (row("", M::Alternative, a)) }
                    @if let Some(base) = &explanation.at_once_at_home { (row("base", M::AtOnceHome, base)) }
                }
            }
        }
    }
}

/// What could be otherwise, and what it would save.
fn would_save(reader: Reader, view: &View, savings: &[Saving]) -> Markup {
    if savings.is_empty() {
        return html! {};
    }
    let lang = reader.lang;
    let what = |saving: &Saving| match &saving.change {
        Change::Slack { deadline, .. } => lang.fill(M::IfSlack, &[&reader.moment(*deadline)]),
        Change::Cluster { cluster, .. } => lang.fill(M::IfCluster, &[cluster.as_str()]),
        Change::Nodes { cluster, .. } => lang.fill(M::IfPods, &[cluster.as_str()]),
        Change::Cores { cluster, cores, from, to } => {
            let cores = count(cores.as_cores_f64() as u64);
            lang.fill(M::IfCores, &[&cores, cluster.as_str(), &reader.moment(*from), &reader.moment(*to)])
        }
    };
    let much = |saving: &Saving| {
        let mut much = format!("{} CO2e", carbon(saving.carbon));
        if let Some(cost) = saving.cost.filter(|cost| !cost.is_zero()) {
            much += &format!(", {}", money(cost.as_units_f64(), &view.currency));
        }
        match &saving.instead {
            Some(instead) => {
                lang.fill(M::SavesHere, &[&much, instead.cluster.as_str(), &reader.moment(instead.start())])
            }
            None => lang.fill(M::SavesAll, &[&much]),
        }
    };
    html! {
        h4 { (reader.say(M::WouldSave)) }
        ul { @for saving in savings { li { b { (what(saving)) } ": " (much(saving)) } } }
    }
}

/// How long it is expected to run, and who says so where it is not its owner.
fn expected(reader: Reader, run_time: &RunTime) -> Markup {
    let from = match run_time.from {
        RunTimeFrom::Stated => return html! { (rough(run_time.expected)) },
        RunTimeFrom::Learnt { runs } => reader.lang.fill(M::LearntFrom, &[&runs.to_string()]),
        RunTimeFrom::Assumed => reader.say(M::Assumed).to_owned(),
    };
    html! { (rough(run_time.expected)) " (" (from) ")" }
}

fn facts(reader: Reader, view: &View, job: &JobView, decision: Option<&Decision>) -> Markup {
    let contract = &job.contract;
    let fact = |name: M, value: Markup| html! { div { dt { (reader.say(name)) } dd { (value) } } };
    let yes = |yes: bool| html! { (reader.say(if yes { M::Yes } else { M::No })) };
    // Where nothing is decided, its owner alone says how long.
    let stated = contract.expected_duration.map(|expected| RunTime { expected, from: RunTimeFrom::Stated });
    let target = job.cluster.as_ref().and_then(|id| view.clusters.iter().find(|c| c.facts.id == *id));
    html! {
        section.facts-block {
            h3 { (reader.say(M::Facts)) }
            dl.facts {
                (fact(M::HomeTarget, route(&job.key.cluster, job.cluster.as_ref())))
                @if let Some(owner) = &job.owner { (fact(M::KeptBy, html! { span lang="en" { (owner) } })) }
                (fact(M::Created, time(reader, job.created)))
                @if let Some(at) = contract.deadline { (fact(M::Deadline, time(reader, at))) }
                @if let Some(at) = job.latest_start { (fact(M::LatestStart, time(reader, at))) }
                @if let Some(run_time) = decision.map(|d| d.run_time).or(stated) {
                    (fact(M::Duration, expected(reader, &run_time)))
                }
                (fact(M::Demand, html! {
                    (reader.lang.fill(M::Cores, &[&number(job.demand.cpu.as_cores_f64())])) ", "
                    (number(job.demand.memory.as_gib_f64())) " GiB"
                    @if job.demand.gpu > 0 { ", " (job.demand.gpu) " GPU" }
                }))
                (fact(M::Interruptible, yes(contract.interruptible)))
                @if let Some((least, most)) = contract.parallelism {
                    (fact(M::PodsAtATime, html! { (least) "–" (most) }))
                }
                @if contract.stop_at_deadline { (fact(M::StopsAtDeadline, yes(true))) }
                (fact(M::ClusterSelector, html! {
                    @if !job.movable { (reader.say(M::OnlyHome)) }
                    @else if let Some(selector) = &contract.clusters { code { (selector) } }
                    @else { (reader.say(M::AnyCluster)) }
                }))
                @if let Some(data) = &contract.data {
                    (fact(M::Data, html! { (number(data.size.as_gib_f64())) " GiB @ " (data.at) }))
                }
                @if let Some(copy) = &job.copy { (fact(M::Copy, html! { code { (copy) } })) }
            }
            @if let (Some(copy), Some(target)) = (&job.copy, target) {
                p.soft { (reader.say(M::Logs)) }
                pre { code { "kubectl --context " (target.facts.context) " -n " (job.key.namespace) " logs job/" (copy) } }
            }
        }
    }
}

/// What a person can ask for here.
fn orders(ask: &Ask, view: &View, job: &JobView) -> Markup {
    let reader = ask.reader;
    let waits = matches!(job.phase, JobPhase::Held | JobPhase::Paused);
    if !waits || view.mode == Mode::Observe {
        return html! {};
    }
    let home = view.clusters.iter().find(|c| c.facts.id == job.key.cluster);
    if let Some(Leader::Other(who)) = home.and_then(|c| c.leader.as_ref()) {
        return html! { p.soft { (reader.lang.fill(M::OrdersThere, &[who, job.key.cluster.as_str()])) } };
    }
    let back = ask.at(&job_path(&job.key));
    let order = |order: &str| {
        let (cluster, namespace, name) =
            (job.key.cluster.as_str(), job.key.namespace.as_str(), job.key.name.as_str());
        address(
            "/orders",
            &[("do", order), ("cluster", cluster), ("namespace", namespace), ("name", name), ("back", &back)],
        )
    };
    html! {
        form.orders method="post" action=(order("release")) data-live {
            @if job.awaits_yes {
                button.primary type="submit" formaction=(order("approve")) title=(reader.say(M::ApproveHint)) { (reader.say(M::Approve)) }
            }
            button type="submit" { (reader.say(M::ReleaseNow)) }
            span.soft { (reader.say(M::ReleaseHint)) }
        }
    }
}
