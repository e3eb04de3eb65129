//! `kubercarbon twin import`, and what is said of an imported cluster.

use super::real::{chosen, zones};
use crate::format::count;
use crate::options::{Common, Destination, Import};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use server::import::{Packed, Progress, Source};
use server::twin_document::{BLANKING_RULE, ClusterHeader};
use server::whereabouts::Stated;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

pub fn run(common: &Common, options: &Import) -> anyhow::Result<()> {
    let Destination::File(path) = &common.output else {
        bail!("no file to write to: expected -o FILE, e.g. -o prod.twin");
    };
    let to_stdout = path.as_os_str() == "-";
    if to_stdout && std::io::stdout().is_terminal() {
        bail!("-o -: a terminal: expected a file or a pipe, because a twin file is packed");
    }
    let packed = read(common, options)?;
    if to_stdout {
        for part in packed.parts() {
            std::io::stdout().write_all(part).context("write to stdout")?;
        }
    } else {
        server::twin_file::write(path, &packed.parts())?;
    }
    if !common.quiet {
        for header in &packed.header.clusters {
            eprintln!("{}", summary(header));
            remarks(header, &BTreeMap::new()).iter().for_each(|remark| eprintln!("{remark}"));
        }
        let name = path.display();
        eprintln!("wrote {name}, {} bytes; kubercarbon up --fleet {name} runs it as a twin", packed.size());
    }
    Ok(())
}

/// Reads the clusters.
fn read(common: &Common, options: &Import) -> anyhow::Result<Packed> {
    let contexts = chosen(&options.clusters)?;
    let mut zones = zones(&options.clusters.zone)?;
    let bar = bar(common);
    let mut heard = |progress: &Progress| show(&bar, progress);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let packed = runtime.context("start a runtime")?.block_on(async {
        let mut sources = Vec::new();
        for context in &contexts {
            let stated = Stated { grid_zone: zones.remove(&context.id), ..Stated::default() };
            let client = server::import::connect(context).await;
            let client = client.with_context(|| format!("cluster {}", context.id))?;
            let source = Source { id: context.id.clone(), context: context.name.clone(), stated };
            sources.push((source, client));
        }
        if let Some((id, zone)) = zones.first_key_value() {
            let known: Vec<&str> = contexts.iter().map(|c| c.id.as_str()).collect();
            bail!("--zone {id}={zone}: expected one of the contexts: {}", known.join(", "));
        }
        server::import::import(sources, options.configmaps, &server::wall::now, &mut heard).await
    });
    bar.finish_and_clear();
    packed
}

fn bar(common: &Common) -> ProgressBar {
    let target = if common.quiet || !std::io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    let style = ProgressStyle::with_template("{msg:40} {bar:20} {pos}/{len} objects, {per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn show(bar: &ProgressBar, progress: &Progress) {
    bar.set_message(format!("{}: {}", progress.cluster, progress.kind));
    bar.set_length(progress.read + progress.left);
    bar.set_position(progress.read);
}

/// What was read of a cluster, in one line.
fn summary(header: &ClusterHeader) -> String {
    let of = |kind: &str| header.kinds.iter().find(|k| k.kind == kind).map_or(0, |k| k.objects);
    let all: u64 = header.kinds.iter().map(|k| k.objects).sum();
    let versions: std::collections::BTreeSet<&str> =
        header.kinds.iter().map(|k| k.resource_version.as_str()).collect();
    let at = match versions.len() {
        1 => versions.first().map(|v| format!("all at resourceVersion {v}")).unwrap_or_default(),
        n => format!("at {n} resourceVersions, one a kind"),
    };
    format!(
        "{}: Kubernetes {}, {} (grid zone {}), {}, {}, {}; {} {at}, {}",
        header.name,
        header.server_version,
        header.region,
        header.grid_zone,
        count(of("Node"), "node"),
        count(of("Pod"), "pod"),
        count(of("Job"), "job"),
        count(all, "object"),
        header.taken_at.to_rfc3339_seconds()
    )
}

/// What is to be known of an imported cluster; `aside`: the kinds that stay in the file.
pub(super) fn remarks(header: &ClusterHeader, aside: &BTreeMap<String, u64>) -> Vec<String> {
    let name = &header.name;
    let mut remarks = Vec::new();
    let kept: Vec<String> = aside
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    if !kept.is_empty() {
        remarks.push(format!(
            "kept aside: {name}: {}: a twin does not take imported ones over yet, their pods stay as they are",
            kept.join(", ")
        ));
    }
    let mut unread: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in &header.unread {
        unread.entry(&kind.why).or_default().push(&kind.kind);
    }
    for (why, kinds) in unread {
        remarks.push(format!("not read: {name}: {}: {why}", kinds.join(", ")));
    }
    if let Some(assumed) = &header.assumed {
        remarks.push(format!("assumed: {name}: {assumed}"));
    }
    if header.blanked > 0 {
        remarks.push(format!(
            "blanked: {name}: {} values that look like credentials: {BLANKING_RULE}",
            header.blanked
        ));
    }
    remarks
}
