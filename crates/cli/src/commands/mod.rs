//! One module a command, or a few that ask the server alike.

mod accounts;
mod ask;
mod campaign;
mod fit;
mod import;
mod inventory;
mod logs;
mod place;
mod rbac;
mod real;
mod report;
mod scenario;
mod serve;
mod simulate;
mod solve;
mod up;
mod vary;

use crate::options::{Command, Options, Twin};
use clap::CommandFactory;
use std::process::ExitCode;

/// The product's own fault: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("internal fault")]
pub struct Fault;

/// Runs the command.
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    log(&options);
    let common = &options.common;
    match &options.command {
        Command::Up(up) => up::run(common, up)?,
        Command::Place(place) => return place::run(common, place),
        Command::Why(pod) if pod.job.job.starts_with(fit::POD) => fit::why(common, pod)?,
        Command::Why(job) => {
            let only =
                "--scheduler-config: expected a pod, pod/NAME: a Job's cluster is not chosen by a scheduler";
            anyhow::ensure!(job.scheduler_config.is_none(), only);
            let only = "--kubeconfig: expected a pod, pod/NAME: Jobs are known to the running server alone";
            anyhow::ensure!(job.kubeconfig.is_none(), only);
            place::why(common, &job.job)?;
        }
        Command::Top(top) => accounts::top(common, top)?,
        Command::Report(report) => match &report.by {
            Some(by) => accounts::report(common, by, &report.period)?,
            None => report::run(common, &report.period)?,
        },
        Command::Capacity(capacity) => return fit::capacity(common, capacity),
        Command::Status => ask::status(common)?,
        Command::Signals => ask::signals(common)?,
        Command::Plans => ask::plans(common)?,
        Command::Logs(logs) => return logs::run(common, logs),
        Command::Release(release) => return ask::release(common, release),
        Command::Approve(job) => ask::approve(common, job)?,
        Command::Simulate(simulate) => match &simulate.scenario {
            _ if simulate.campaign.is_some() => return campaign::run(common, simulate),
            Some(file) if simulate.varies() => return vary::run(common, simulate, file),
            Some(file) => return scenario::run(common, simulate, file),
            None => simulate::run(common, simulate)?,
        },
        Command::Solve(solve) => solve::run(common, solve)?,
        Command::Twin(Twin::Serve(serve)) => serve::run(common, serve)?,
        Command::Twin(Twin::Import(import)) => import::run(common, import)?,
        Command::Twin(Twin::Clock(clock)) => ask::twin(common, clock)?,
        Command::Rbac(rbac) => rbac::run(rbac),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Options::command(), "kubercarbon", &mut std::io::stdout());
        }
        Command::Version => println!("kubercarbon {}", env!("CARGO_PKG_VERSION")),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is logged to stderr: warnings, and more with -v.
fn log(options: &Options) {
    // The Kubernetes client warns with the whole text of an answer it cannot read, up to 64 MiB of it, and of each
    // connection that fails; what went wrong is logged where it is dealt with.
    let level = match (options.common.quiet, options.common.verbose) {
        (true, _) => "error",
        (false, 0) => "warn,kube_client::client=error,kube_client::client::builder=off",
        (false, 1) => "info,kube_client::client=error,kube_client::client::builder=off",
        (false, _) => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("KUBERCARBON_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    subscriber.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
}

/// Asks for a yes on the terminal. Without a terminal the answer is no: `--yes` says it beforehand.
fn yes(question: &str) -> anyhow::Result<bool> {
    use std::io::{BufRead, IsTerminal, Read};
    /// Most bytes read of an answer: any longer one is no yes.
    const ANSWER_MAX: u64 = 1024;
    anyhow::ensure!(
        std::io::stdin().is_terminal(),
        "{question} needs a yes, and there is no terminal to ask on\n\nhint: add --yes"
    );
    eprint!("{question} [y/N] ");
    let mut line = String::new();
    std::io::stdin().lock().take(ANSWER_MAX).read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
