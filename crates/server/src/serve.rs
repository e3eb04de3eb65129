//! `kubercarbon twin serve`: just the twins and their Kubernetes APIs, for people who test what talks to one.
//!
//! No loop, no console, no carbon: a cluster that is there at once, and gone with the process unless it is to be kept.

use crate::apis::{self, Gate, Ports};
use crate::backend::Speed;
use crate::twin_host::TwinHost;
use crate::up::{PORT, open_store, read_fleet};
use crate::{kubeconfig, pacer, scheduler_file, wall};
use anyhow::Context;
use fleet::{ClusterId, FleetSpec, Instances, Instant, Span};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;
use tokio::task::JoinHandle;
use twin::World;

/// Name of the cluster where no fleet file names any.
const NAME: &str = "twin";

/// What there is to serve.
#[derive(Clone, Debug)]
pub enum What {
    /// One cluster of so many nodes.
    Nodes(u32),
    /// The clusters of a fleet file.
    Fleet(PathBuf),
}

/// What `twin serve` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which clusters.
    pub what: What,
    /// How the schedulers of clusters decide that state nothing themselves: a `KubeSchedulerConfiguration`.
    pub scheduler: Option<PathBuf>,
    /// Where they are kept; `None`: they end with the process.
    pub state: Option<PathBuf>,
    /// Where to listen; further clusters on the ports that follow. `None`: on loopback, at a free port.
    pub listen: Option<SocketAddr>,
    /// Pace of their clock.
    pub pace: Speed,
    /// Seed of everything random.
    pub seed: u64,
    /// First instant; `None`: the present second.
    pub start: Option<Instant>,
    /// Forget what was kept.
    pub fresh: bool,
    /// Without TLS, to anyone.
    pub open: bool,
    /// Roles say who may do what; else everybody who comes in may do everything.
    pub rbac: bool,
}

/// Twins that are served.
pub struct Running {
    /// The clusters and the base addresses of their APIs.
    pub clusters: Vec<(ClusterId, String)>,
    /// How many nodes they have in all.
    pub nodes: usize,
    /// The kubeconfig file.
    pub kubeconfig: PathBuf,
    /// Virtual time at the start.
    pub at: Instant,
    host: Arc<TwinHost>,
    store: Option<Store>,
    /// What serves them and moves their time on.
    tasks: Vec<JoinHandle<()>>,
    /// A directory of this process's own.
    passing: Option<PathBuf>,
}

impl Running {
    /// Ends cleanly, and keeps what is to be kept.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(store) = self.store {
            self.host.save_clock().await?;
            self.host.snapshot().await?;
            store.close().await?;
        }
        if let Some(dir) = self.passing {
            std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        Ok(())
    }
}

/// One cluster of `nodes` nodes.
fn one_cluster(nodes: u32) -> anyhow::Result<FleetSpec> {
    let text = format!(
        "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nmetadata: {{name: {NAME}}}\nclusters:\n- name: {NAME}\n  region: eu-central-1\n  nodeGroups: [{{name: general, instanceType: m6i.2xlarge, count: {nodes}}}]\n"
    );
    Ok(fleet::file::parse_with(&text, &Instances::default())?)
}

/// Begins to serve and comes back when clients may come.
///
/// # Errors
/// When the fleet, the state or the addresses are no good.
pub async fn serve(options: Options) -> anyhow::Result<Running> {
    let mut fleet = match &options.what {
        What::Nodes(nodes) => one_cluster(*nodes).context("--nodes")?,
        What::Fleet(path) => read_fleet(Some(path), &Instances::default())?,
    };
    fleet.demo = None;
    scheduler_file::stand_in(&mut fleet, options.scheduler.as_deref())?;
    let start = options.start.unwrap_or_else(|| wall::now().floor_to(Span::from_seconds(1)));
    let store = match &options.state {
        Some(state) => Some(open_store(state, options.fresh).await?),
        None => None,
    };
    let begin = || World::new(&fleet, start, options.seed);
    let host = match &store {
        Some(store) => {
            let origin = serde_json::to_string(&(&fleet, options.seed)).context("write down the fleet")?;
            TwinHost::open(store.clone(), origin, begin).await?
        }
        None => TwinHost::passing(begin()),
    };
    let mut ports = Ports::kept(store.as_ref()).await?;
    // Beside `up`, or another of these, it takes what is free, unless it is told where to listen.
    let bound = apis::bind(&fleet, options.listen, PORT.saturating_add(1), &mut ports).await?;
    if let Some(store) = &store {
        ports.keep(store).await?;
    }
    let passing = if options.state.is_none() { Some(own_directory()?) } else { None };
    let dir = options.state.as_deref().or(passing.as_deref()).unwrap_or(Path::new("."));
    let gate = Gate { open: options.open, rbac: options.rbac };
    gate.furnish(&host, &fleet).await?;
    let served = apis::serve(&host, bound, options.state.as_deref(), gate)?;
    host.set_authority(served.authority()).await?;
    let kubeconfig = kubeconfig::write(dir, &served.access())?;
    let clusters = served.addresses.iter().map(|(id, address)| (id.clone(), served.url(*address))).collect();
    let mut tasks = served.tasks;
    tasks.push(tokio::spawn(pacer::run_freely(host.clone(), options.pace)));
    if store.is_some() {
        tasks.push(tokio::spawn(pacer::keep(host.clone())));
    }
    let nodes = fleet.clusters.iter().map(|spec| host.node_names(&spec.id).len()).sum();
    Ok(Running { clusters, nodes, kubeconfig, at: host.now(), host, store, tasks, passing })
}

/// Directories of twins that are kept nowhere, which one process may have at most.
const PASSING_MAX: u32 = 1000;

/// A new directory, which only its owner may enter.
fn own_directory() -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let name = |n| format!("kubercarbon-twin-{}-{n}", std::process::id());
    for dir in (1..=PASSING_MAX).map(|n| std::env::temp_dir().join(name(n))) {
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            // Another twin's, or of a process that had this number before.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| dir.clone()).with_context(|| format!("make {}", dir.display())),
        }
    }
    anyhow::bail!(
        "make {}: {PASSING_MAX} such directories are there already",
        std::env::temp_dir().join(name(1)).display()
    )
}
