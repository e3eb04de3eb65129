//! Room: a form that says how many more pods of a size fit and what runs out first, the pods that wait for a node, and the page of a
//! pod, which says why it is where it is, or nowhere.
//!
//! What the scheduler says stays in its own words.

use super::ask::{Ask, encode};
use super::csv::{self, Table};
use super::format::{Reader, number};
use super::text::M;
use crate::fit::{Capacity, WhyPod};
use crate::room::{Answer, Asked};
use control::{View, WaitingPod};
use fleet::ClusterId;
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest text of a request that is looked at: quantities are short.
const TEXT_MAX: usize = 32;
/// Nodes named of one reason.
const NODES_SHOWN: usize = 5;
/// Nodes shown of those that a pod fits on, and that take more.
const ROWS: usize = 20;

/// What the form asks, and of which cluster; `None`: nothing.
pub fn asked(ask: &Ask, view: &View) -> Option<(ClusterId, Asked)> {
    let field = |name: &str| ask.get(name).map(str::trim).filter(|text| text.len() <= TEXT_MAX);
    let wanted = ask.get("cluster")?;
    let cluster = view.clusters.iter().map(|c| &c.facts.id).find(|id| id.as_str() == wanted)?;
    let (cpu, memory) =
        (field("cpu").filter(|text| !text.is_empty())?, field("memory").filter(|text| !text.is_empty())?);
    let gpus = field("gpus").unwrap_or_default();
    let asked = Asked::Capacity { cpu: cpu.to_owned(), memory: memory.to_owned(), gpus: gpus.to_owned() };
    Some((cluster.clone(), asked))
}

/// The form, with the answer where there is one.
pub fn form(ask: &Ask, view: &View, answer: Option<&anyhow::Result<Arc<Answer>>>) -> Markup {
    let reader = ask.reader;
    let value = |name: &str, usual: &'static str| ask.get(name).unwrap_or(usual).to_owned();
    let input = |name: &str, label: M, usual: &'static str, required: bool| {
        html! { label { span { (reader.say(label)) } input name=(name) value=(value(name, usual)) size="7" maxlength=(TEXT_MAX) required[required]; } }
    };
    html! {
        section.block id="room" aria-labelledby="room-title" {
            header { h2 id="room-title" { (reader.say(M::WhatFits)) } }
            form.by-label.room method="get" action="/capacity#room" {
                @for name in ["by", "key", "range"] {
                    @if let Some(value) = ask.get(name) { input type="hidden" name=(name) value=(value); }
                }
                label {
                    span { (reader.say(M::Cluster)) }
                    select name="cluster" {
                        @for c in &view.clusters {
                            @let id = c.facts.id.as_str();
                            option value=(id) selected[ask.get("cluster") == Some(id)] { (id) }
                        }
                    }
                }
                (input("cpu", M::CpuRequest, "1", true))
                (input("memory", M::MemoryRequest, "2Gi", true))
                (input("gpus", M::Gpus, "", false))
                button type="submit" { (reader.say(M::HowMany)) }
            }
            @match answer {
                None => p.soft { (reader.say(M::WhatFitsHow)) },
                Some(Err(error)) => p.note lang="en" { (format!("{error:#}")) },
                Some(Ok(answer)) => { @if let Answer::Capacity(found) = &**answer { (capacity(reader, found)) } },
            }
        }
    }
}

fn capacity(reader: Reader, found: &Capacity) -> Markup {
    let count = found.pods.to_string();
    let mut nodes: Vec<(&String, &usize)> = found.by_node.iter().collect();
    nodes.sort_by_key(|(name, pods)| (std::cmp::Reverse(**pods), (*name).clone()));
    html! {
        p.answer { b { (reader.lang.fill(if found.at_least { M::FitsAtLeast } else { M::FitsCount }, &[&count])) } }
        ul.sure {
            @if let Some(first) = found.runs_out.first() {
                li { (reader.say(M::RunsOutFirst)) " " span lang="en" { (first.reason) } " " span.soft { (reader.lang.fill(M::OnNodes, &[&first.nodes.len().to_string()])) } }
            }
            @if let Some(message) = &found.message { li { (reader.say(M::NextIsTold)) " " span lang="en" { (message) } } }
            (unread(reader, &found.unread))
        }
        @if !nodes.is_empty() {
            p.note {
                (reader.say(M::Node)) ": "
                @for (i, (name, pods)) in nodes.iter().take(ROWS).enumerate() { @if i > 0 { ", " } (name) " " b { (pods) } }
                @if nodes.len() > ROWS { ", …" }
            }
        }
    }
}

fn unread(reader: Reader, unread: &[String]) -> Markup {
    html! { @for kind in unread { li { (reader.say(M::NotRead)) " " span lang="en" { (kind) } } } }
}

/// The address of a pod's page.
fn address(cluster: &ClusterId, pod: &str) -> String {
    let (namespace, name) = pod.split_once('/').unwrap_or(("", pod));
    format!("/pods/{}/{}/{}", encode(cluster.as_str()), encode(namespace), encode(name))
}

/// The pods that wait for a node; nothing where none does.
pub fn waiting(reader: Reader, all: &[WaitingPod], count: usize) -> Markup {
    if all.is_empty() {
        return html! {};
    }
    html! {
        section.block aria-labelledby="waiting-title" {
            header {
                h2 id="waiting-title" { (reader.say(M::WaitForNode)) }
                span.soft { (count) }
                a.csv href="/capacity?format=csv&table=waiting" { "CSV" }
            }
            div.table tabindex="0" role="group" aria-labelledby="waiting-title" {
                table {
                    thead { tr {
                        th scope="col" { (reader.say(M::Pod)) }
                        th scope="col" { (reader.say(M::Cluster)) }
                        th.number scope="col" { (reader.say(M::CpuRequest)) " " span.unit { "core" } }
                        th.number scope="col" { (reader.say(M::MemoryRequest)) " " span.unit { "GiB" } }
                        th scope="col" {}
                    } }
                    tbody {
                        @for pod in all {
                            tr {
                                th scope="row" { (pod.pod) }
                                td { (pod.cluster) }
                                td.number { (number(pod.requests.cpu.as_cores_f64())) }
                                td.number { (number(pod.requests.memory.as_gib_f64())) }
                                td { a href=(address(&pod.cluster, &pod.pod)) data-go { (reader.say(M::WhyWaits)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The same as a table.
pub fn table(all: &[WaitingPod]) -> Table {
    let row = |pod: &WaitingPod| {
        vec![
            csv::text(&pod.cluster),
            csv::text(&pod.pod),
            csv::number(pod.requests.cpu.as_cores_f64()),
            csv::number(pod.requests.memory.as_gib_f64()),
        ]
    };
    Table {
        name: "waiting",
        head: &["cluster", "pod", "cpu_request_cores", "memory_request_gib"],
        rows: all.iter().map(row).collect(),
    }
}

/// The page of a pod.
pub fn pod(reader: Reader, cluster: &ClusterId, answer: &anyhow::Result<Arc<Answer>>) -> Markup {
    html! {
        section.block {
            @match answer {
                Err(error) => { header { h2 { (cluster) } } p.note lang="en" { (format!("{error:#}")) } },
                Ok(answer) => {
                    @match &**answer {
                        Answer::Why(Some(found)) => (why(reader, cluster, found)),
                        _ => { header { h2 { (reader.say(M::NotFound)) } } p.note { (reader.say(M::PodGone)) } },
                    }
                }
            }
            p { a href="/capacity" data-go { (reader.say(M::Capacity)) } }
        }
    }
}

fn why(reader: Reader, cluster: &ClusterId, found: &WhyPod) -> Markup {
    let said = |message: M, text: &str| html! { li { (reader.say(message)) " " span lang="en" { (text) } } };
    html! {
        header { h2 { (found.pod) } span.soft { (cluster) @if let Some(node) = &found.node { " · " (node) } " · " (found.phase) } }
        ul.sure {
            @if let Some(text) = &found.said { (said(M::SchedulerSaid, text)) }
            @if let Some(text) = &found.unknown { li lang="en" { (text) } }
            @if let Some(text) = found.message.as_ref().filter(|text| found.said.as_ref() != Some(text)) { (said(M::NowItSays, text)) }
            @if let Some(preemption) = &found.preemption {
                li { (reader.lang.fill(M::RoomByDeleting, &[&preemption.node, &preemption.victims.join(", ")])) }
            }
            (unread(reader, &found.unread))
        }
        @if !found.advice.is_empty() {
            h3 { (reader.say(M::WouldFit)) }
            ul.sure {
                @for advice in &found.advice { li { span lang="en" { (advice.change) } " " span.soft { (some(&advice.nodes)) } } }
            }
        }
        @if !found.fits.is_empty() {
            h3 { (reader.lang.fill(M::FitsOnNodes, &[&found.fits.len().to_string()])) }
            p.note { @for (i, fit) in found.fits.iter().take(ROWS).enumerate() { @if i > 0 { ", " } (fit.node) " " b { (fit.total) } } @if found.fits.len() > ROWS { ", …" } }
        }
        (rejected(reader, found))
    }
}

/// The first of some nodes, and how many more there are.
fn some(nodes: &[String]) -> String {
    let named = nodes.iter().take(NODES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if nodes.len() > NODES_SHOWN { format!("{named}, +{}", nodes.len() - NODES_SHOWN) } else { named }
}

/// Nodes it does not fit on, by what they say.
fn rejected(reader: Reader, found: &WhyPod) -> Markup {
    let mut by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in &found.rejected {
        by.entry(node.reasons.join("; ")).or_default().push(node.node.clone());
    }
    if by.is_empty() {
        return html! {};
    }
    html! {
        h3 { (reader.say(M::FitsNotOn)) }
        ul.sure {
            @for (reasons, nodes) in &by {
                li { span lang="en" { (reasons) } " " span.soft { (some(nodes)) } }
            }
        }
    }
}
