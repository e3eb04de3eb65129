//! The command line, parsed to plain structs. Every flag is also an environment variable `KUBERCARBON_…`.

use clap::builder::{PossibleValue, TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;
use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use fleet::{ClusterId, GridZone, Instant, Mode, ObjectName, PolicyKind, Span};
use planner::instance::Intensity;
use std::ffi::OsStr;
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
    /// How results are printed; of commands that write a file, the file
    #[arg(short, long, global = true, env = "KUBERCARBON_OUTPUT", default_value = "table")]
    pub output: Destination,
    /// No progress, no remarks
    #[arg(short, long, global = true, env = "KUBERCARBON_QUIET")]
    pub quiet: bool,
    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Where a result goes: to stdout in some form, or into a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To stdout.
    Print(Output),
    /// Into a file; `-` is stdout.
    File(PathBuf),
}

impl ValueParserFactory for Destination {
    type Parser = DestinationParser;
    fn value_parser() -> DestinationParser {
        DestinationParser
    }
}

/// The name of a form is that form, anything else a file.
#[derive(Clone, Debug)]
pub struct DestinationParser;

impl TypedValueParser for DestinationParser {
    type Value = Destination;
    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Destination, clap::Error> {
        if value.is_empty() {
            return Err(unknown_output(command, value));
        }
        let output = value.to_str().and_then(|text| <Output as ValueEnum>::from_str(text, false).ok());
        Ok(output.map_or_else(|| Destination::File(value.into()), Destination::Print))
    }
    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Output::value_variants().iter().filter_map(ValueEnum::to_possible_value)))
    }
}

fn unknown_output(command: &clap::Command, found: &OsStr) -> clap::Error {
    let found = found.display();
    let text = format!("\"{found}\" is no way to print a result: expected table, wide, csv, json or yaml\n");
    clap::Error::raw(ErrorKind::InvalidValue, text).with_cmd(command)
}

impl Common {
    /// How results are printed.
    pub fn print(&self) -> Output {
        match self.output {
            Destination::Print(output) => output,
            Destination::File(_) => Output::Table,
        }
    }
}

impl Options {
    /// Reads the command line. A file to write to is for commands that write one.
    pub fn read() -> Result<Options, clap::Error> {
        let options = Options::try_parse()?;
        match (&options.common.output, &options.command) {
            (Destination::File(found), command)
                if !matches!(command, Command::Solve(_) | Command::Twin(Twin::Import(_))) =>
            {
                Err(unknown_output(&Options::command(), found.as_os_str()))
            }
            (Destination::Print(Output::Csv), command)
                if !matches!(command, Command::Top(_) | Command::Report(_)) =>
            {
                let text = "csv: this command has no single table: expected table, wide, json or yaml\n";
                Err(clap::Error::raw(ErrorKind::InvalidValue, text).with_cmd(&Options::command()))
            }
            _ => Ok(options),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Three significant digits, at most 100 columns
    Table,
    /// A table with every column
    Wide,
    /// Comma-separated values with full figures, where a command has one table
    Csv,
    /// JSON with full figures
    Json,
    /// YAML with full figures
    Yaml,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole product in one process: twins and their Kubernetes APIs, or real clusters (--context); the loop, the console
    Up(Up),
    /// Where and when a Job would run, and what the alternatives cost
    Place(Place),
    /// Why a Job is where it is, or will be; of pod/NAME: why each node took it or not, and what would change that
    Why(Why),
    /// What flows now: power, carbon, money, CPU and memory by cluster, node, namespace, workload, pod or label
    Top(Top),
    /// How many more pods like one fit, and what runs out first
    Capacity(Capacity),
    /// Energy, carbon and money per cluster and Job, and what was saved against "at once, at home"; with --by, accounts
    Report(Report),
    /// Clusters, Jobs held and running, clock and mode
    Status,
    /// Carbon signals: value, source, kind and age for each grid zone
    Signals,
    /// What is planned from now on
    Plans,
    /// Logs of a Job, wherever it runs: finds its copy, and asks kubectl
    Logs(Logs),
    /// Start held Jobs now: one, or all
    Release(Release),
    /// Say yes to the plan of a Job (mode approve)
    Approve(JobName),
    /// Policies compared over months in seconds, or a scenario played and held to what it expects
    Simulate(Simulate),
    /// A placement problem from a file, with its proven bound
    Solve(Solve),
    /// Twins of real clusters, and the clock of the running twin
    #[command(subcommand)]
    Twin(Twin),
    /// The least rights Kuber Carbon needs on a cluster, as YAML for kubectl apply
    Rbac(Rbac),
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
    #[command(flatten)]
    pub clusters: Clusters,
    /// Fleet file (YAML); default: examples/fleet.yaml, or the same built in. With real clusters: what they do not say
    /// themselves (region, gridZone, pue, labels), and the policy
    #[arg(long, env = "KUBERCARBON_FLEET", value_name = "FILE")]
    pub fleet: Option<PathBuf>,
    /// How the schedulers decide of clusters of which the fleet file says nothing (a KubeSchedulerConfiguration)
    #[arg(long, env = "KUBERCARBON_SCHEDULER_CONFIG", value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
    /// Console and REST address; default 127.0.0.1:7878, or a free port
    #[arg(long, env = "KUBERCARBON_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Speed of the twins' clock: 600x, 1x, max; default 600x
    #[arg(long, env = "KUBERCARBON_SPEED")]
    pub speed: Option<server::Speed>,
    /// Start with the clock stopped
    #[arg(long)]
    pub paused: bool,
    /// Without the demo stream of Jobs
    #[arg(long)]
    pub no_demo: bool,
    /// Seed of everything random; default 1
    #[arg(long, env = "KUBERCARBON_SEED")]
    pub seed: Option<u64>,
    /// Hourly carbon intensity (CSV or CSV.gz); where it does not reach, the typical year stands in
    #[arg(long, env = "KUBERCARBON_CARBON", value_name = "FILE")]
    pub carbon: Option<PathBuf>,
    /// What is known of instance types better than by the built-in tables (CSV): instance_type, region, usd_per_hour,
    /// idle_watts, full_watts, embodied_g_per_hour, vcpu, memory_gib; any value may be empty
    #[arg(long, env = "KUBERCARBON_INSTANCES", value_name = "FILE")]
    pub instances: Option<PathBuf>,
    /// Prometheus of a real cluster, asked what is used before the cluster's metrics.k8s.io: NAME=URL; repeat for more
    #[arg(long, env = "KUBERCARBON_PROMETHEUS", value_name = "NAME=URL", value_delimiter = ',', value_parser = prometheus)]
    pub prometheus: Vec<(ClusterId, String)>,
    /// First instant of a new twin, e.g. 2022-03-01T00:00:00Z; default: the present hour
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Instant>,
    /// What may be done to clusters: observe (nothing is written), approve (a person says yes), auto. Default: auto
    /// for twins, observe for real clusters
    #[arg(long, env = "KUBERCARBON_MODE", value_parser = mode)]
    pub mode: Option<Mode>,
    /// With real clusters: namespace of the Lease whose holder alone writes to a cluster
    #[arg(long, env = "KUBERCARBON_LEASE_NAMESPACE", value_name = "NAMESPACE", default_value = server::LEASE_NAMESPACE)]
    pub lease_namespace: ObjectName,
    /// Begin anew: forget the twin, journal and ledger in the state directory
    #[arg(long)]
    pub fresh: bool,
    /// Serve the twins' APIs over plain HTTP, to anyone on this machine; else TLS, and a token in the kubeconfig
    #[arg(long, env = "KUBERCARBON_NO_TLS")]
    pub no_tls: bool,
    /// Who may do what is said by Roles and bindings, which there are from the start as on a cluster; else whoever comes in
    /// may do everything. Who has the kubeconfig still may
    #[arg(long, env = "KUBERCARBON_RBAC")]
    pub rbac: bool,
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
    /// CLUSTER/NAMESPACE/NAME, or NAME in --context and --namespace (why: of a pod, pod/NAME)
    pub job: String,
    /// Home cluster; default: the one that has such a Job
    #[arg(long, env = "KUBERCARBON_CONTEXT", value_name = "CLUSTER")]
    pub context: Option<String>,
    /// Namespace
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
}

#[derive(Debug, Args)]
pub struct Why {
    #[command(flatten)]
    pub job: JobName,
    /// Of a pod: kubeconfig file, in place of the running server's clusters
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Of a pod: how its scheduler decides (a KubeSchedulerConfiguration), in place of what the server knows, or the default
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Capacity {
    /// A Pod, or a Job, Deployment… whose pods are meant (YAML or JSON); - for stdin
    #[arg(long, value_name = "FILE")]
    pub pod: PathBuf,
    /// Clusters of the running server, or contexts; default: all of the server
    #[arg(long, env = "KUBERCARBON_CONTEXTS", value_name = "CLUSTER", value_delimiter = ',')]
    pub context: Vec<String>,
    /// Kubeconfig file, in place of the running server's clusters
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How the scheduler decides (a KubeSchedulerConfiguration), in place of what the server knows, or the default
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
    /// Stop counting there
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub most: u32,
}

#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub job: JobName,
    /// Go on as they are written
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Debug, Args)]
pub struct Release {
    /// CLUSTER/NAMESPACE/NAME, or NAME in --context and --namespace
    #[arg(required_unless_present = "all")]
    pub job: Option<String>,
    /// Home cluster; default: the one that has such a Job
    #[arg(long, env = "KUBERCARBON_CONTEXT", value_name = "CLUSTER")]
    pub context: Option<String>,
    /// Namespace
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Every held Job
    #[arg(long, conflicts_with = "job")]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Top {
    /// What rows are of
    #[arg(value_enum, default_value = "clusters")]
    pub of: TopOf,
    /// Rows by values of a label of pods: label:KEY
    #[arg(long, value_name = "label:KEY", value_parser = label, conflicts_with = "of")]
    pub by: Option<String>,
    #[command(flatten)]
    pub period: Period,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TopOf {
    Clusters,
    Nodes,
    Namespaces,
    Workloads,
    Pods,
}

#[derive(Debug, Args)]
pub struct Report {
    /// Accounts by cluster, namespace, workload, node or label:KEY: usage, requests, capacity, idle, cost, carbon, and
    /// what the month will come to
    #[arg(long, value_name = "WHAT", value_parser = by)]
    pub by: Option<String>,
    #[command(flatten)]
    pub period: Period,
}

/// A stretch of time; with neither, this month so far (UTC).
#[derive(Clone, Debug, Default, Args)]
pub struct Period {
    /// From this day or instant on, e.g. 2026-11-01; default: this month (UTC), or --days ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Instant>,
    /// For so many days (1 to 366); default: until now
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub days: Option<u32>,
}

impl Period {
    /// Whether any time was given.
    pub fn is_given(&self) -> bool {
        self.from.is_some() || self.days.is_some()
    }
    /// Start and end, as far as they are given; `now` on the fleet's clock.
    pub fn range(&self, now: Instant) -> (Option<Instant>, Option<Instant>) {
        let length = self.days.map(|days| Span::DAY.scaled(i64::from(days), 1));
        match (self.from, length) {
            (Some(from), Some(length)) => (Some(from), Some(from + length)),
            (None, Some(length)) => (Some((now - length).floor_to(Span::HOUR)), None),
            (from, None) => (from, None),
        }
    }
}

#[derive(Clone, Debug, Args)]
pub struct Simulate {
    /// A scenario file (YAML): what happens on a twin, and whether it is as expected
    #[arg(value_name = "SCENARIO", conflicts_with_all = ["jobs", "from"])]
    pub scenario: Option<PathBuf>,
    /// Instead: clusters, workloads, deeds and faults drawn from seeds, each held to the invariants of Kubernetes; e.g. 0..1000,
    /// or one seed, which tells its story
    #[arg(long, value_name = "SEEDS", value_parser = seeds, conflicts_with_all = ["scenario", "jobs", "from", "carbon",
        "services", "prices", "report"])]
    pub campaign: Option<Seeds>,
    /// Fleet file (YAML); default: examples/fleet.yaml, or the same built in
    #[arg(long, env = "KUBERCARBON_FLEET", value_name = "FILE")]
    pub fleet: Option<PathBuf>,
    /// Jobs: a trace with columns arrival_h,length_h,cpus (CSV or CSV.gz)
    #[arg(long, value_name = "FILE", required_unless_present_any = ["scenario", "campaign"])]
    pub jobs: Option<PathBuf>,
    /// Hourly carbon intensity (CSV or CSV.gz); default: the built-in typical year
    #[arg(long, env = "KUBERCARBON_CARBON", value_name = "FILE")]
    pub carbon: Option<PathBuf>,
    /// First day or instant, e.g. 2022-01-01
    #[arg(long, value_name = "TIME", value_parser = time,
        required_unless_present_any = ["scenario", "campaign"])]
    pub from: Option<Instant>,
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
    /// What every cluster runs beside the Jobs: the objects and recorded requests of a scenario file
    #[arg(long, value_name = "SCENARIO", conflicts_with = "scenario")]
    pub services: Option<PathBuf>,
    /// Hourly prices of electricity (CSV or CSV.gz with time_utc and columns ZONE_usd_per_mwh)
    #[arg(long, env = "KUBERCARBON_PRICES", value_name = "FILE", conflicts_with = "scenario")]
    pub prices: Option<PathBuf>,
    /// Also write a report: one HTML page with plots, which needs nothing else
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Of a scenario: play it with each of several values, and say which is better at what. PLACE is KIND/NAME:FIELD.PATH
    /// of an object, a field of the cluster such as nodeGroups.general.type, or one of: replicas, requests.cpu,
    /// requests.memory, limits.cpu, limits.memory, hpa.target, hpa.min, hpa.max, service.time, service.concurrency,
    /// nodegroup.type, nodegroup.count, nodegroup.min, nodegroup.max, karpenter.consolidationPolicy,
    /// karpenter.consolidateAfter, region. Repeat for every combination
    #[arg(long, value_name = "PLACE=VALUE,VALUE", requires = "scenario")]
    pub vary: Vec<String>,
    /// Of a scenario: play each variant with so many seeds, from the scenario's own on (1 to 100)
    #[arg(long, default_value_t = 1, requires = "scenario", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub seeds: u32,
    /// Threads that play variants or seeds; default: one a core. The result is the same
    #[arg(long, value_name = "N", conflicts_with = "jobs", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
}

/// Seeds of a campaign: from the first, up to one that is not of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    pub from: u64,
    pub to: u64,
}

/// Most seeds of a campaign.
const SEEDS_MAX: u64 = 1_000_000;

fn seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let read = match text.split_once("..") {
        Some((from, to)) => number(from).zip(number(to)),
        None => number(text).and_then(|seed| Some((seed, seed.checked_add(1)?))),
    };
    let few = |(from, to): &(u64, u64)| from < to && to - from <= SEEDS_MAX;
    let (from, to) = read
        .filter(few)
        .ok_or_else(|| format!("expected a seed or FROM..TO, such as 0..1000, of 1 to {SEEDS_MAX} seeds"))?;
    Ok(Seeds { from, to })
}

impl Simulate {
    /// Whether several runs of a scenario are compared.
    pub fn varies(&self) -> bool {
        !self.vary.is_empty() || self.seeds > 1
    }
}

#[derive(Debug, Args)]
pub struct Solve {
    /// An instance of format placement-1 (JSON or JSON.gz); - for stdin. -o names the file the solution
    /// is written to, - for stdout
    pub instance: PathBuf,
    /// How the summary is printed where -o names a file
    #[arg(long, value_enum, value_name = "FORM")]
    pub format: Option<Output>,
    /// Search for so long, e.g. 500ms or 1m; default 5s
    #[arg(long, env = "KUBERCARBON_BUDGET", value_name = "DURATION", value_parser = budget)]
    pub budget: Option<Span>,
    /// Search for so many units of work instead: the same solution on every machine
    #[arg(long, value_name = "N", conflicts_with = "budget", value_parser = clap::value_parser!(u64).range(1..))]
    pub work: Option<u64>,
    /// Seed of everything random
    #[arg(long, env = "KUBERCARBON_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Plan with the intensity as forecast, or as it really will be
    #[arg(long, default_value = "forecast", value_parser = intensity, value_name = "forecast|actual")]
    pub intensity: Intensity,
    /// Show first-come baselines beside it
    #[arg(long)]
    pub compare: bool,
}

#[derive(Debug, Args)]
pub struct Rbac {
    /// For which mode of up
    #[arg(long, env = "KUBERCARBON_MODE", default_value = "observe", value_parser = mode)]
    pub mode: Mode,
    /// For twin import in place of up
    #[arg(long, conflicts_with = "mode")]
    pub import: bool,
    /// Also to look whether Secrets that Jobs need are in another cluster, or which there are for import (their
    /// content is never asked for)
    #[arg(long)]
    pub secrets: bool,
    /// Namespace of the Lease whose holder alone writes to a cluster
    #[arg(long, env = "KUBERCARBON_LEASE_NAMESPACE", value_name = "NAMESPACE", default_value = server::LEASE_NAMESPACE)]
    pub lease_namespace: ObjectName,
    /// Also the service account NAMESPACE/NAME, and its binding
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = account)]
    pub service_account: Option<(ObjectName, ObjectName)>,
}

/// Just twins, for people who test what talks to Kubernetes.
#[derive(Debug, Args)]
pub struct Serve {
    /// Nodes of the one cluster served, m6i.2xlarge each (8 vCPU, 32 GiB); default 5
    #[arg(long, value_name = "N", conflicts_with = "fleet", value_parser = clap::value_parser!(u32).range(1..=i64::from(fleet::file::NODES_MAX)))]
    pub nodes: Option<u32>,
    /// Fleet file (YAML): its clusters instead
    #[arg(long, env = "KUBERCARBON_FLEET", value_name = "FILE")]
    pub fleet: Option<PathBuf>,
    /// How the schedulers decide of clusters of which the fleet file says nothing (a KubeSchedulerConfiguration)
    #[arg(long, env = "KUBERCARBON_SCHEDULER_CONFIG", value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
    /// Speed of the clock: 60x, max; default 1x
    #[arg(long, env = "KUBERCARBON_SPEED")]
    pub speed: Option<server::Speed>,
    /// Where the API listens, further clusters on the ports that follow; default 127.0.0.1:7879, or a free port
    #[arg(long, env = "KUBERCARBON_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Seed of everything random; default 1
    #[arg(long, env = "KUBERCARBON_SEED")]
    pub seed: Option<u64>,
    /// First instant, e.g. 2022-03-01T00:00:00Z; default: now
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Instant>,
    /// With --state: begin anew
    #[arg(long)]
    pub fresh: bool,
    /// Plain HTTP, to anyone who reaches it; else TLS, and a token in the kubeconfig
    #[arg(long, env = "KUBERCARBON_NO_TLS")]
    pub no_tls: bool,
    /// Who may do what is said by Roles and bindings, which there are from the start as on a cluster; else whoever comes in
    /// may do everything. Who has the kubeconfig still may
    #[arg(long, env = "KUBERCARBON_RBAC")]
    pub rbac: bool,
}

#[derive(Debug, Subcommand)]
pub enum Twin {
    /// Serve just a twin, as a cluster for tests: ready at once, gone with Ctrl-C unless --state keeps it
    Serve(Serve),
    /// Write the state of real clusters into a file (-o FILE) that up --fleet FILE runs as twins. Only reads
    Import(Import),
    #[command(flatten)]
    Clock(Clock),
}

/// Real clusters.
#[derive(Debug, Args)]
pub struct Clusters {
    /// A real cluster (with up: in place of twins): a kubeconfig context, CONTEXT or NAME=CONTEXT; repeat for more
    #[arg(long, env = "KUBERCARBON_CONTEXTS", value_name = "CONTEXT", value_delimiter = ',')]
    pub context: Vec<String>,
    /// Every context of the kubeconfig, each cluster once
    #[arg(long, conflicts_with_all = ["context", "in_cluster"])]
    pub all_contexts: bool,
    /// The cluster this process is a pod of, under this name
    #[arg(long, env = "KUBERCARBON_IN_CLUSTER", value_name = "NAME", num_args = 0..=1, require_equals = true,
        default_missing_value = "in-cluster")]
    pub in_cluster: Option<String>,
    /// Kubeconfig file; default: what KUBECONFIG names, else ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Grid zone of a real cluster, where its nodes' labels do not tell: NAME=ZONE, e.g. prod=KR
    #[arg(long, env = "KUBERCARBON_ZONES", value_name = "NAME=ZONE", value_delimiter = ',', value_parser = zone)]
    pub zone: Vec<(ClusterId, GridZone)>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("some").args(["context", "all_contexts", "in_cluster"]).required(true).multiple(true))]
pub struct Import {
    #[command(flatten)]
    pub clusters: Clusters,
    /// The content of ConfigMaps too, without what looks like a credential; else their names alone
    #[arg(long)]
    pub configmaps: bool,
}

#[derive(Debug, Subcommand)]
pub enum Clock {
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

fn by(text: &str) -> Result<String, String> {
    text.parse::<ledger::accounts::By>().map(|by| by.to_string()).map_err(|error| error.to_string())
}

fn label(text: &str) -> Result<String, String> {
    let by = text.parse::<ledger::accounts::By>().map_err(|error| error.to_string())?;
    match by {
        ledger::accounts::By::Label(_) => Ok(by.to_string()),
        _ => Err(format!(
            "\"{text}\" is no label: expected label:KEY; the others are arguments, e.g. kubercarbon top {text}s"
        )),
    }
}

fn budget(text: &str) -> Result<Span, String> {
    Span::parse(text).map_err(|_| format!("\"{text}\" is not a duration: expected e.g. 500ms, 5s or 1m"))
}

fn intensity(text: &str) -> Result<Intensity, String> {
    let known = [Intensity::Forecast, Intensity::Actual].into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| format!("\"{text}\" is not an intensity: expected forecast or actual"))
}

fn share(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|n| (0.0..=1.0).contains(n));
    number.ok_or_else(|| format!("\"{text}\" is not a share: expected a number from 0 to 1"))
}

fn zone(text: &str) -> Result<(ClusterId, GridZone), String> {
    let expected = || format!("\"{text}\" is no cluster's grid zone: expected NAME=ZONE, e.g. prod=KR");
    let (name, zone) = text.split_once('=').ok_or_else(expected)?;
    Ok((ClusterId::new(name).map_err(|_| expected())?, GridZone::new(zone).map_err(|_| expected())?))
}

fn prometheus(text: &str) -> Result<(ClusterId, String), String> {
    let expected = || "not NAME=URL: expected e.g. prod=https://prometheus.example.org".to_owned();
    let (name, url) = text.split_once('=').ok_or_else(expected)?;
    Ok((ClusterId::new(name).map_err(|_| expected())?, url.to_owned()))
}

fn account(text: &str) -> Result<(ObjectName, ObjectName), String> {
    let expected = || format!("\"{text}\" is no service account: expected NAMESPACE/NAME");
    let (namespace, name) = text.split_once('/').ok_or_else(expected)?;
    let part = |text: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        ObjectName::new(text).ok().filter(|_| text.chars().all(plain))
    };
    Ok((part(namespace).ok_or_else(expected)?, part(name).ok_or_else(expected)?))
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "observe" => Ok(Mode::Observe),
        "approve" => Ok(Mode::Approve),
        "auto" => Ok(Mode::Auto),
        _ => Err(format!("\"{text}\" is not a mode: expected observe, approve or auto")),
    }
}
