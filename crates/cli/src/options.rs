//! The command line, parsed to plain structs. Every flag is also an environment variable `KUBERCARBON_…`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use fleet::{Instant, Mode, PolicyKind};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Runs each piece of work where and when it costs the planet and the budget least.
#[derive(Debug, Parser)]
#[command(name = "kubercarbon", version, about, max_term_width = 100, propagate_version = true)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that mean one thing everywhere.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// State directory: the twin, the journal, the ledger, kubeconfig and server.json
    #[arg(long, global = true, env = "KUBERCARBON_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Address of a running server; else the one that server.json in --state names
    #[arg(long, global = true, env = "KUBERCARBON_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// How results are printed
    #[arg(short, long, global = true, env = "KUBERCARBON_OUTPUT", value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// No progress, no remarks
    #[arg(short, long, global = true, env = "KUBERCARBON_QUIET")]
    pub quiet: bool,
    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Three significant digits, at most 100 columns
    Table,
    /// A table with every column
    Wide,
    /// JSON with full figures
    Json,
    /// YAML with full figures
    Yaml,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole product in one process: twins, their Kubernetes APIs, the loop, the console
    Up(Up),
    /// Where and when a Job would run, and what the alternatives cost
    Place(Place),
    /// Why a Job is where it is, or will be
    Why(JobName),
    /// Energy, carbon and money per cluster and Job, and what was saved against "at once, at home"
    Report,
    /// Clusters, Jobs held and running, clock and mode
    Status,
    /// Carbon signals: value, source, kind and age for each grid zone
    Signals,
    /// What is planned from now on
    Plans,
    /// Start held Jobs now: one, or all
    Release(Release),
    /// Say yes to the plan of a Job (mode approve)
    Approve(JobName),
    /// Months in seconds: policies compared on a twin, without a server
    Simulate(Simulate),
    /// The clock of the running twin
    #[command(subcommand)]
    Twin(Twin),
    /// Shell completions
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Version of this binary
    Version,
}

#[derive(Debug, Args)]
pub struct Up {
    /// Fleet file (YAML); default: examples/fleet.yaml, or the same built in
    #[arg(long, env = "KUBERCARBON_FLEET", value_name = "FILE")]
    pub fleet: Option<PathBuf>,
    /// Console and REST address; default 127.0.0.1:7878, or a free port
    #[arg(long, env = "KUBERCARBON_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Speed of the twins' clock: 600x, 1x, max
    #[arg(long, env = "KUBERCARBON_SPEED", default_value = "600x")]
    pub speed: server::Speed,
    /// Start with the clock stopped
    #[arg(long)]
    pub paused: bool,
    /// Without the demo stream of Jobs
    #[arg(long)]
    pub no_demo: bool,
    /// Seed of everything random
    #[arg(long, env = "KUBERCARBON_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Hourly carbon intensity (CSV or CSV.gz); where it does not reach, the typical year stands in
    #[arg(long, env = "KUBERCARBON_CARBON", value_name = "FILE")]
    pub carbon: Option<PathBuf>,
    /// First instant of a new twin, e.g. 2022-03-01T00:00:00Z; default: the present hour
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Instant>,
    /// Who may change clusters: observe, approve, auto
    #[arg(long, env = "KUBERCARBON_MODE", default_value = "auto", value_parser = mode)]
    pub mode: Mode,
    /// Begin anew: forget the twin, journal and ledger in the state directory
    #[arg(long)]
    pub fresh: bool,
}

#[derive(Debug, Args)]
pub struct Place {
    /// A Job (YAML or JSON); - for stdin
    pub file: PathBuf,
    /// Its home cluster; default: the first of the fleet
    #[arg(long, env = "KUBERCARBON_CONTEXT", value_name = "CLUSTER")]
    pub context: Option<String>,
    /// Create the Job in its home cluster
    #[arg(long)]
    pub apply: bool,
    /// Do not ask before --apply
    #[arg(short, long)]
    pub yes: bool,
    /// How many alternatives to show
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub alternatives: u32,
}

#[derive(Debug, Args)]
pub struct JobName {
    /// CLUSTER/NAMESPACE/NAME, or NAME in --context and --namespace
    pub job: String,
    /// Home cluster
    #[arg(long, env = "KUBERCARBON_CONTEXT", value_name = "CLUSTER")]
    pub context: Option<String>,
    /// Namespace
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
}

#[derive(Debug, Args)]
pub struct Release {
    /// CLUSTER/NAMESPACE/NAME
    #[arg(required_unless_present = "all")]
    pub job: Option<String>,
    /// Every held Job
    #[arg(long, conflicts_with = "job")]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Simulate {
    /// Fleet file (YAML); default: examples/fleet.yaml, or the same built in
    #[arg(long, env = "KUBERCARBON_FLEET", value_name = "FILE")]
    pub fleet: Option<PathBuf>,
    /// Jobs: a trace with columns arrival_h,length_h,cpus (CSV or CSV.gz)
    #[arg(long, value_name = "FILE")]
    pub jobs: PathBuf,
    /// Hourly carbon intensity (CSV or CSV.gz); default: the built-in typical year
    #[arg(long, env = "KUBERCARBON_CARBON", value_name = "FILE")]
    pub carbon: Option<PathBuf>,
    /// First day or instant, e.g. 2022-01-01
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Instant,
    /// How many days Jobs arrive (1 to 366)
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub days: u32,
    /// Policies to compare
    #[arg(long, value_delimiter = ',', default_value = "optimal,score,soonest")]
    pub policy: Vec<PolicyKind>,
    /// Seed of everything random
    #[arg(long, env = "KUBERCARBON_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Share of Jobs that may be paused (0 to 1)
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub interruptible: f64,
}

#[derive(Debug, Subcommand)]
pub enum Twin {
    /// Stop the clock
    Pause,
    /// Let it run again
    Resume,
    /// Change its speed: 600x, 1x, max
    Speed {
        /// How many times real time, or max
        speed: server::Speed,
    },
}

fn time(text: &str) -> Result<Instant, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    Instant::parse(&whole)
        .map_err(|_| format!("\"{text}\" is not a time: expected 2022-01-01 or 2022-01-01T00:00:00Z"))
}

fn share(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|n| (0.0..=1.0).contains(n));
    number.ok_or_else(|| format!("\"{text}\" is not a share: expected a number from 0 to 1"))
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "observe" => Ok(Mode::Observe),
        "approve" => Ok(Mode::Approve),
        "auto" => Ok(Mode::Auto),
        _ => Err(format!("\"{text}\" is not a mode: expected observe, approve or auto")),
    }
}
