//! `kubercarbon capacity` and `kubercarbon why pod/NAME`: what the scheduler of a cluster would say. Only reads.

use crate::client::Client;
use crate::format;
use crate::options::{Capacity, Common, Why};
use crate::table::{Align, Table};
use anyhow::{Context, bail};
use fleet::quantity::counted;
use serde_json::{Value, json};
use server::contexts;
use server::fit::{self, Seen, WhyPod};
use server::scheduler_file;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

/// Largest manifest read, in bytes: what the API server takes.
const FILE_MAX: u64 = 3 << 20;
/// Nodes shown of one reason, and of those that fit, unless all are asked for.
const NODES_SHOWN_MAX: usize = 5;

/// What stands before the name of a node after which a new one is thought of.
const NOT_THERE: &str = "one more like ";

/// What `why` calls a pod by.
pub const POD: &str = "pod/";

pub fn capacity(common: &Common, options: &Capacity) -> anyhow::Result<ExitCode> {
    let pod = fit::pod_of(read(&options.pod)?).with_context(|| options.pod.display().to_string())?;
    let wanted = (!options.context.is_empty()).then_some(options.context.as_slice());
    let mut all = Vec::new();
    let stated = options.scheduler_config.as_deref();
    for (name, seen) in look(common, wanted, options.kubeconfig.as_deref(), stated)? {
        let found = seen.capacity(&pod, options.most as usize).with_context(|| format!("cluster {name}"))?;
        let mut value = serde_json::to_value(found).context("write the answer")?;
        value["cluster"] = json!(name);
        all.push(value);
    }
    let fits = all.iter().any(|found| found["pods"] != 0);
    let answer = json!({"clusters": all});
    format::show(common.print(), &answer, |wide| render_capacity(&answer, wide))?;
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn render_capacity(answer: &Value, wide: bool) -> String {
    let mut out = String::new();
    let mut table =
        Table::new(&[("CLUSTER", Align::Left), ("NODE", Align::Left), ("MORE PODS", Align::Right)]);
    let clusters = answer["clusters"].as_array();
    for found in clusters.into_iter().flatten() {
        let least = if found["atLeast"] == true { "at least " } else { "" };
        let fit = if found["pods"] == 1 { "fits" } else { "fit" };
        out += &format!("{}: {least}{} more {fit}\n", words(&found["cluster"]), found["pods"]);
        for (i, one) in found["runsOut"].as_array().into_iter().flatten().enumerate() {
            let head = if i == 0 { "runs out first" } else { "beside that" };
            out += &format!("  {head}: {}: {}\n", words(&one["reason"]), on(&one["nodes"], wide));
        }
        if let Some(message) = found["message"].as_str() {
            out += &format!("  the next one would be told: {message}\n");
        }
        for unread in found["unread"].as_array().into_iter().flatten() {
            out += &format!("  not read: {}\n", words(unread));
        }
        let nodes = found["byNode"].as_object();
        let mut nodes: Vec<(&String, &Value)> = nodes.into_iter().flatten().collect();
        nodes.sort_by_key(|(name, pods)| (std::cmp::Reverse(pods.as_u64()), (*name).clone()));
        let shown = if wide { nodes.len() } else { NODES_SHOWN_MAX * 2 };
        for (name, pods) in nodes.iter().take(shown) {
            table.row(vec![words(&found["cluster"]).to_owned(), (*name).clone(), pods.to_string()]);
        }
        if nodes.len() > shown {
            out += &format!(
                "  and on {}: -o wide\n",
                counted((nodes.len() - shown) as f64, "more node", "more nodes")
            );
        }
    }
    let any = clusters
        .into_iter()
        .flatten()
        .any(|found| found["byNode"].as_object().is_some_and(|n| !n.is_empty()));
    if any { format!("{out}\n{}", table.render()) } else { out }
}

/// `why pod/NAME`, `why pod/CLUSTER/NAMESPACE/NAME`.
pub fn why(common: &Common, options: &Why) -> anyhow::Result<()> {
    let (kubeconfig, stated) = (options.kubeconfig.as_deref(), options.scheduler_config.as_deref());
    let options = &options.job;
    let rest = options.job.strip_prefix(POD).unwrap_or(&options.job);
    let parts: Vec<&str> = rest.split('/').collect();
    let (context, namespace, name) = match parts[..] {
        [name] => (options.context.clone(), options.namespace.as_str(), name),
        [cluster, namespace, name] => (Some(cluster.to_owned()), namespace, name),
        _ => {
            bail!("\"{}\" does not name a pod: expected pod/NAME or pod/CLUSTER/NAMESPACE/NAME", options.job)
        }
    };
    let wanted = context.map(|context| vec![context]);
    let mut found = Vec::new();
    let clusters = look(common, wanted.as_deref(), kubeconfig, stated)?;
    for (cluster, seen) in &clusters {
        found.extend(seen.why(namespace, name).map(|why| (cluster, why)));
    }
    let [(cluster, why)] = found.as_slice() else {
        let names: Vec<&str> = clusters.iter().map(|(name, _)| name.as_str()).collect();
        match found.len() {
            0 => bail!("no pod {namespace}/{name} in {}", names.join(", ")),
            n => bail!("{n} pods {namespace}/{name}: expected --context with one of {}", names.join(", ")),
        }
    };
    let mut answer = serde_json::to_value(why).context("write the answer")?;
    answer["cluster"] = json!(cluster);
    format::show(common.print(), &answer, |wide| render_why(cluster, why, wide))
}

fn render_why(cluster: &str, why: &WhyPod, wide: bool) -> String {
    let place = why.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    let mut out = format!("{cluster}/{}: {}{place}\n", why.pod, why.phase);
    if let Some(said) = &why.said {
        out += &format!("its scheduler said: {said}\n");
    }
    if let Some(unknown) = &why.unknown {
        return out + &format!("{unknown}\n");
    }
    if let Some(message) = why.message.as_ref().filter(|message| why.said.as_ref() != Some(message)) {
        out += &format!("now it would say: {message}\n");
    }
    out += &render_fits(why, wide);
    out += &render_rejected(why, wide);
    if let Some(preemption) = &why.preemption {
        let victims = preemption.victims.join(", ");
        out += &format!(
            "room would be made on {} by deleting what is less important: {victims}\n",
            preemption.node
        );
    }
    for advice in &why.advice {
        // A node that is not there yet says nothing more.
        let there: Vec<String> = advice.nodes.iter().filter(|n| !n.starts_with(NOT_THERE)).cloned().collect();
        let on = if there.is_empty() { String::new() } else { format!(" ({})", some(&there, wide)) };
        out += &format!("would fit: {}{on}\n", advice.change);
    }
    if why.fits.is_empty() && why.advice.is_empty() {
        out += "no single change of the pod or of one node would make it fit\n";
    }
    for unread in &why.unread {
        out += &format!("not read: {unread}\n");
    }
    out
}

/// The nodes that say so.
fn on(nodes: &Value, wide: bool) -> String {
    let names: Vec<String> = nodes.as_array().into_iter().flatten().map(|n| words(n).to_owned()).collect();
    if names.is_empty() { "every node".to_owned() } else { some(&names, wide) }
}

fn render_fits(why: &WhyPod, wide: bool) -> String {
    if why.fits.is_empty() {
        return String::new();
    }
    let now = if why.node.is_some() { "scheduled anew it would fit" } else { "it fits" };
    let nodes = counted(why.fits.len() as f64, "node", "nodes");
    let scored =
        if why.fits.iter().any(|fit| !fit.scores.is_empty()) { "; the highest score wins" } else { "" };
    let mut out = format!("{now} on {nodes}{scored}\n\n");
    let mut table = Table::new(&[("NODE", Align::Left), ("SCORE", Align::Right), ("OF WHICH", Align::Left)]);
    let shown = if wide { why.fits.len() } else { NODES_SHOWN_MAX };
    for fit in why.fits.iter().take(shown) {
        let parts = fit.scores.iter().filter(|(_, score)| **score != 0);
        let parts: Vec<String> = parts.map(|(plugin, score)| format!("{plugin} {score}")).collect();
        // Where there is nothing to choose nothing is scored.
        let total = if fit.scores.is_empty() { "-".to_owned() } else { fit.total.to_string() };
        table.row(vec![fit.node.clone(), total, parts.join(", ")]);
    }
    out += &table.render();
    out.push('\n');
    out
}

/// Each reason once, with the nodes that give it.
fn render_rejected(why: &WhyPod, wide: bool) -> String {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for rejected in &why.rejected {
        let plugin = rejected.plugin.unwrap_or("not looked at");
        for reason in &rejected.reasons {
            let line = format!("{reason} ({plugin})");
            let node = if rejected.node.is_empty() { "every node".to_owned() } else { rejected.node.clone() };
            match reasons.iter_mut().find(|(known, _)| *known == line) {
                Some((_, nodes)) => nodes.push(node),
                None => reasons.push((line, vec![node])),
            }
        }
    }
    reasons.sort_by_key(|(_, nodes)| std::cmp::Reverse(nodes.len()));
    reasons.iter().map(|(reason, nodes)| format!("no: {reason}: {}\n", some(nodes, wide))).collect()
}

fn some(nodes: &[String], wide: bool) -> String {
    let shown = if wide { nodes.len() } else { NODES_SHOWN_MAX };
    let more = nodes.len().saturating_sub(shown);
    let list = nodes.iter().take(shown).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { list } else { format!("{list} and {more} more") }
}

/// Reads the clusters: those of the running server, else the contexts of a kubeconfig, and says which.
fn look(
    common: &Common,
    wanted: Option<&[String]>,
    kubeconfig: Option<&Path>,
    stated: Option<&Path>,
) -> anyhow::Result<Vec<(String, Seen)>> {
    let stated = stated.map(scheduler_file::read).transpose().context("--scheduler-config")?;
    let served = if kubeconfig.is_some() { None } else { Client::find(common).ok() };
    let found = match &served {
        Some(client) => served_by(client, wanted)?,
        None if wanted.is_none() && common.server.is_none() && kubeconfig.is_none() => bail!(
            "no server is running and no context is named\n\nhint: --context CONTEXT reads a cluster of your kubeconfig; kubercarbon up starts a server"
        ),
        None => {
            if !common.quiet {
                eprintln!("no server: the contexts of the kubeconfig are read");
            }
            contexts::read(kubeconfig, wanted)?.into_iter().map(|context| (context, None)).collect()
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start a runtime")?.block_on(async {
        let mut all = Vec::new();
        for (context, known) in found {
            let read = async {
                let seen = fit::look(&server::import::connect(&context).await?).await?;
                match stated.as_ref().or(known.as_ref()) {
                    Some(document) => seen.with_document(document),
                    None => Ok(seen),
                }
            };
            let seen = read.await.with_context(|| format!("cluster {}", context.id))?;
            all.push((context.id.to_string(), seen));
        }
        Ok(all)
    })
}

/// A cluster, and how its scheduler is stated to decide.
type Known = (contexts::Context, Option<Value>);

/// Contexts of the clusters of a running server, by the names it has for them, with what it knows of their schedulers.
fn served_by(client: &Client, wanted: Option<&[String]>) -> anyhow::Result<Vec<Known>> {
    let clusters = client.list("/api/v1/clusters")?;
    let clusters = clusters["items"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = clusters.iter().map(|c| words(&c["name"])).collect();
    if let Some(unknown) = wanted.into_iter().flatten().find(|w| !names.contains(&w.as_str())) {
        bail!("cluster \"{unknown}\": expected one of {}", names.join(", "));
    }
    let chosen =
        clusters.iter().filter(|c| wanted.is_none_or(|w| w.iter().any(|name| c["name"] == name.as_str())));
    let stated: Vec<String> = chosen
        .map(|c| {
            format!("{}={}", words(&c["name"]), c["context"].as_str().unwrap_or_else(|| words(&c["name"])))
        })
        .collect();
    let scheduler = |name: &str| {
        let found = clusters.iter().find(|c| c["name"] == name)?;
        Some(found["scheduler"].clone()).filter(|document| !document.is_null())
    };
    let read = contexts::read(client.kubeconfig.as_deref(), Some(&stated))?;
    let known = |context: contexts::Context| {
        let stated = scheduler(context.id.as_str());
        (context, stated)
    };
    Ok(read.into_iter().map(known).collect())
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let name = path.display();
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(FILE_MAX + 1).read_to_string(&mut text).context("read stdin")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("read {name}"))?;
        let read = file.take(FILE_MAX + 1).read_to_string(&mut text);
        read.with_context(|| format!("{name}: expected UTF-8 text"))?;
    }
    anyhow::ensure!(text.len() as u64 <= FILE_MAX, "{name}: more than {FILE_MAX} bytes: expected a manifest");
    let documents = documents(&text);
    anyhow::ensure!(
        documents < 2,
        "{name}: {documents} documents: expected one, of a Pod or of what makes pods"
    );
    fleet::file::yaml(&text).with_context(|| name.to_string())
}

/// How many documents of a YAML text say anything.
fn documents(text: &str) -> usize {
    let says = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let mut count = 0;
    let mut empty = true;
    for line in text.lines().filter(says) {
        let begins = line == "---" || line.starts_with("--- ");
        count += usize::from(!begins && empty);
        empty = begins;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_that_say_nothing_do_not_count() {
        for (text, count) in [
            ("", 0),
            ("a: 1\nb: 2\n", 1),
            ("---\n# first\na: 1\n---\n# nothing\n", 1),
            ("a: 1\n---\nb: 1\nc: 2\n--- \nd: 1\n", 3),
            ("a: |\n  text\n  ---\n", 1),
        ] {
            assert_eq!(documents(text), count, "{text:?}");
        }
    }
}
