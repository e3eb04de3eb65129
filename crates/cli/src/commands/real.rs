//! `kubercarbon up --context …`: real clusters.

use crate::client;
use crate::options::{Clusters, Common, Up};
use anyhow::{Context as _, bail};
use fleet::{ClusterId, GridZone, Mode, Span};
use server::contexts::{self, Context};
use server::real::{Options, Running, up};
use server::wall::Stopwatch;
use std::collections::BTreeMap;

/// Whether real clusters are asked for.
pub fn wanted(options: &Up) -> bool {
    let clusters = &options.clusters;
    !clusters.context.is_empty() || clusters.all_contexts || clusters.in_cluster.is_some()
}

pub fn run(common: &Common, options: &Up, begun: Stopwatch) -> anyhow::Result<()> {
    let options = resolve(common, options)?;
    let quiet = common.quiet;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("start a runtime")?.block_on(async move {
        let running = up(options).await?;
        if !quiet {
            println!("{}", welcome(&running, begun.elapsed()));
        }
        for cluster in &running.clusters {
            if let Some(why) = &cluster.silent {
                eprintln!("unknown: {}: {why}", cluster.id);
            }
            if let Some(assumed) = &cluster.assumed {
                eprintln!("assumed: {}: {assumed}", cluster.id);
            }
        }
        super::up::ended().await?;
        let (state, mode) = (running.state.display().to_string(), running.mode);
        running.stop().await?;
        eprintln!("\nkept in {state}: journal and ledger.");
        if mode != Mode::Observe {
            eprintln!(
                "Held Jobs wait in their clusters for the next start; kubercarbon release --all, before it ends, lets them go."
            );
        }
        Ok(())
    })
}

/// From flags to what is to be done.
fn resolve(common: &Common, options: &Up) -> anyhow::Result<Options> {
    let of_twins = [
        ("--speed", options.speed.is_some()),
        ("--paused", options.paused),
        ("--no-demo", options.no_demo),
        ("--seed", options.seed.is_some()),
        ("--from", options.from.is_some()),
    ];
    if let Some((flag, _)) = of_twins.iter().find(|(_, given)| *given) {
        bail!("{flag}: real clusters run on the wall clock: expected a fleet of twins, or no {flag}");
    }
    let zones = zones(&options.clusters.zone)?;
    Ok(Options {
        contexts: chosen(&options.clusters)?,
        kubeconfig: options.clusters.kubeconfig.as_deref().map(std::path::absolute).transpose()?,
        zones,
        fleet: options.fleet.clone(),
        scheduler: options.scheduler_config.clone(),
        state: client::state_dir(common)?,
        listen: options.listen,
        carbon: options.carbon.clone(),
        instances: options.instances.clone(),
        prometheus: options.prometheus.iter().cloned().collect(),
        mode: options.mode.unwrap_or(Mode::Observe),
        lease_namespace: options.lease_namespace.to_string(),
        fresh: options.fresh,
    })
}

/// Grid zones as they are stated, one a cluster.
pub(super) fn zones(stated: &[(ClusterId, GridZone)]) -> anyhow::Result<BTreeMap<ClusterId, GridZone>> {
    let mut zones = BTreeMap::new();
    for (id, zone) in stated {
        if zones.insert(id.clone(), zone.clone()).is_some_and(|before| before != *zone) {
            bail!("--zone {id}: two zones: expected one");
        }
    }
    Ok(zones)
}

/// The clusters: of the kubeconfig, and the one this is a pod of.
pub(super) fn chosen(options: &Clusters) -> anyhow::Result<Vec<Context>> {
    let mut all = Vec::new();
    if let Some(name) = options.in_cluster.as_deref() {
        all.push(Context::in_cluster(name)?);
    }
    if options.all_contexts || !options.context.is_empty() {
        let wanted = (!options.all_contexts).then_some(options.context.as_slice());
        let found = contexts::read(options.kubeconfig.as_deref(), wanted);
        let found = found.map_err(|error| match &error {
            contexts::Error::Read { .. } => anyhow::anyhow!(
                "{:#}\n\nhint: kubectl config get-contexts lists the contexts; --kubeconfig FILE reads another file",
                anyhow::Error::new(error)
            ),
            _ => error.into(),
        })?;
        if let Some(twice) = found.iter().find(|c| all.iter().any(|other: &Context| other.id == c.id)) {
            bail!(
                "two clusters called {}: expected a name each, e.g. --context other={}",
                twice.id,
                twice.name
            );
        }
        all.extend(found);
    }
    Ok(all)
}

/// What a person sees first.
fn welcome(running: &Running, took: Span) -> String {
    let does = match running.mode {
        Mode::Observe => "mode observe: nothing is written to any cluster",
        Mode::Approve => "mode approve: Jobs under the contract are held, and placed when a person says yes",
        Mode::Auto => "mode auto: Jobs under the contract are held, placed and started",
    };
    let mut lines = vec![
        format!(
            "Kuber Carbon is up ({} ms): {} real clusters, {}",
            took.as_nanos() / 1_000_000,
            running.clusters.len(),
            running.at.to_rfc3339_seconds()
        ),
        does.to_owned(),
    ];
    for cluster in &running.clusters {
        let state = if cluster.silent.is_some() { ", unknown until it answers" } else { "" };
        lines.push(format!("  {:<12} {}{state}", cluster.id, cluster.place));
    }
    lines.push(String::new());
    lines.push(format!("console     {}", running.url));
    lines.push("try         kubercarbon status".to_owned());
    lines.push("            kubercarbon place examples/job.yaml --context CLUSTER".to_owned());
    if running.mode == Mode::Approve {
        lines.push("            kubercarbon plans, kubercarbon approve CLUSTER/NAMESPACE/NAME".to_owned());
    }
    lines.push(String::new());
    lines.push("Ctrl-C ends it and keeps everything.".to_owned());
    lines.join("\n")
}
