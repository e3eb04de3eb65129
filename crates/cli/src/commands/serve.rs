//! `kubercarbon twin serve`.

use super::up::{SEED, ended};
use crate::options::{Common, Serve};
use anyhow::Context;
use fleet::quantity::counted;
use server::serve::{Options, What};

/// Speed of the clock where none is given: what is tested against it reckons by the wall's.
const SPEED: server::Speed = server::Speed::Times(1.0);
/// Nodes where no number is given.
const NODES: u32 = 5;

pub fn run(common: &Common, options: &Serve) -> anyhow::Result<()> {
    let begun = server::wall::Stopwatch::start();
    anyhow::ensure!(
        !options.fresh || common.state.is_some(),
        "--fresh: nothing is kept without --state: expected both or neither"
    );
    let what = match &options.fleet {
        Some(fleet) => What::Fleet(fleet.clone()),
        None => What::Nodes(options.nodes.unwrap_or(NODES)),
    };
    let speed = options.speed.unwrap_or(SPEED);
    let serve = Options {
        what,
        scheduler: options.scheduler_config.clone(),
        state: common.state.clone(),
        listen: options.listen,
        pace: speed,
        seed: options.seed.unwrap_or(SEED),
        start: options.from,
        fresh: options.fresh,
        open: options.no_tls,
        rbac: options.rbac,
    };
    let quiet = common.quiet;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("start a runtime")?.block_on(async move {
        let running = server::serve::serve(serve).await?;
        if !quiet {
            eprintln!(
                "twin is up ({} ms): {}, {}, time runs at {speed} from {}",
                begun.elapsed().as_nanos() / 1_000_000,
                counted(running.clusters.len() as f64, "cluster", "clusters"),
                counted(running.nodes as f64, "node", "nodes"),
                running.at.to_rfc3339_seconds()
            );
            running.clusters.iter().for_each(|(id, url)| eprintln!("  {id:<8} API {url}"));
            let kept = common.state.as_ref().map_or_else(
                || "Ctrl-C ends it; nothing is kept (--state DIR keeps it).".to_owned(),
                |state| format!("Ctrl-C ends it and keeps everything in {}.", state.display()),
            );
            eprintln!("{kept}");
        }
        println!("export KUBECONFIG={}", running.kubeconfig.display());
        ended().await?;
        running.stop().await
    })
}
