//! `kubercarbon up`.

use super::real;
use crate::client;
use crate::options::{Common, Up};
use anyhow::Context;
use fleet::quantity::counted;

/// Speed of the twins' clock where none is given.
const SPEED: server::Speed = server::Speed::Times(600.0);
/// Seed where none is given.
pub(super) const SEED: u64 = 1;

pub fn run(common: &Common, options: &Up) -> anyhow::Result<()> {
    let begun = server::wall::Stopwatch::start();
    if real::wanted(options) {
        return real::run(common, options, begun);
    }
    anyhow::ensure!(
        options.prometheus.is_empty(),
        "--prometheus: twins have no meters: expected real clusters (--context)"
    );
    let options = server::up::Options {
        fleet: options.fleet.clone(),
        scheduler: options.scheduler_config.clone(),
        state: client::state_dir(common)?,
        listen: options.listen,
        pace: options.speed.unwrap_or(SPEED),
        paused: options.paused,
        demo: !options.no_demo,
        seed: options.seed.unwrap_or(SEED),
        carbon: options.carbon.clone(),
        instances: options.instances.clone(),
        start: options.from,
        mode: options.mode.unwrap_or(fleet::Mode::Auto),
        fresh: options.fresh,
        open: options.no_tls,
        rbac: options.rbac,
    };
    let quiet = common.quiet;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("start a runtime")?.block_on(async move {
        let speed = options.pace;
        let running = server::up::up(options).await?;
        if !quiet {
            println!("{}", welcome(&running, speed, begun.elapsed()));
            for (header, aside) in &running.imported {
                super::import::remarks(header, aside).iter().for_each(|remark| eprintln!("{remark}"));
            }
            let unknown = running.fleet.embodied_unknown();
            if !unknown.is_empty() {
                eprintln!(
                    "assumed: embodied carbon of {} is unknown and counts as 0; embodiedGramsPerHour of a node group states it",
                    unknown.join(", ")
                );
            }
        }
        ended().await?;
        eprintln!("\nsaving the twin …");
        let state = running.kubeconfig.parent().map(|p| p.display().to_string()).unwrap_or_default();
        running.stop().await?;
        eprintln!(
            "kept in {state}: the twin and its clock, journal, ledger. `kubercarbon up` goes on from there."
        );
        Ok(())
    })
}

/// What a person sees first.
fn welcome(running: &server::up::Running, speed: server::Speed, took: fleet::Span) -> String {
    let mut lines = vec![format!(
        "Kuber Carbon is up ({} ms): {}, time runs at {speed} from {}",
        took.as_nanos() / 1_000_000,
        counted(running.clusters.len() as f64, "cluster", "clusters"),
        running.at.to_rfc3339_seconds()
    )];
    if let Some((first, _)) = running.imported.first() {
        lines.push(format!(
            "twins of real clusters as they were at {}; nothing done here reaches them",
            first.taken_at.to_rfc3339_seconds()
        ));
    }
    let clusters = running.fleet.clusters.iter().zip(&running.clusters).zip(&running.nodes);
    for ((spec, (_, api)), nodes) in clusters {
        lines.push(format!(
            "  {:<8} {} (grid zone {}), {}, API {api}",
            spec.id,
            spec.region,
            spec.grid_zone,
            counted(*nodes as f64, "node", "nodes")
        ));
    }
    let first = running.clusters.first().map(|(id, _)| id.to_string()).unwrap_or_default();
    lines.push(String::new());
    lines.push(format!("console     {}", running.url));
    lines.push(format!("kubectl     export KUBECONFIG={}", running.kubeconfig.display()));
    lines.push(format!("try         kubectl --context {first} apply -f examples/job.yaml"));
    lines.push("            kubercarbon place examples/job.yaml".to_owned());
    lines.push("            kubercarbon report".to_owned());
    lines.push(String::new());
    lines.push("Ctrl-C ends it and keeps everything.".to_owned());
    lines.join("\n")
}

/// Until Ctrl-C or a polite kill.
pub(super) async fn ended() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("listen for Ctrl-C")?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
