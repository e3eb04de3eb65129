//! `kubercarbon up`: the whole product in one process, on twins.

use crate::apis::{self, Bound, Gate, Ports};
use crate::backend::Speed;
use crate::engine::{self, Engine, FleetClock};
use crate::kubeconfig::{self, ServerFile};
use crate::live::{Live, Parts};
use crate::pacer::{self, Pacer, Throttle};
use crate::scheduler_file;
use crate::signals::{self, Chain, sources};
use crate::twin_file;
use crate::twin_host::TwinHost;
use crate::wall;
use anyhow::Context;
use connect::Clients;
use connect::act::kube::Hands;
use connect::observe::instances;
use connect::observe::kube::{KnownRates, Source};
use connect::observe::provider::Limits;
use control::{CORRECTED_WITHIN, ClusterFacts, Control, Event, twin_driver};
use fleet::{ClusterId, ClusterSpec, FleetSpec, Instances, Instant, Mode, Span};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use twin::World;
use twin::import::{ClusterHeader, Document};

/// The fleet file of the examples, for a binary far from its source.
const EXAMPLE_FLEET: &str = include_str!("../../../examples/fleet.yaml");
/// First port tried for the console; the clusters' APIs follow it.
pub const PORT: u16 = 7878;

/// What `up` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Fleet file; `None`: examples/fleet.yaml, or the copy built in.
    pub fleet: Option<PathBuf>,
    /// How the schedulers of clusters decide that state nothing themselves: a `KubeSchedulerConfiguration`.
    pub scheduler: Option<PathBuf>,
    /// State directory.
    pub state: PathBuf,
    /// Console address; `None`: loopback at [`PORT`], or a free port when that is taken.
    pub listen: Option<SocketAddr>,
    /// Pace of the twins' clock.
    pub pace: Speed,
    /// Start with the clock stopped.
    pub paused: bool,
    /// Whether the demo stream of Jobs runs.
    pub demo: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Carbon CSV.
    pub carbon: Option<PathBuf>,
    /// CSV of instance types.
    pub instances: Option<PathBuf>,
    /// First instant of a new twin; `None`: the present hour.
    pub start: Option<Instant>,
    /// Who may change clusters.
    pub mode: Mode,
    /// Forget an earlier state.
    pub fresh: bool,
    /// Serve the twins' APIs without TLS and to anyone.
    pub open: bool,
    /// Roles say who may do what; else everybody who comes in may do everything.
    pub rbac: bool,
}

/// A running product.
pub struct Running {
    /// Console and REST API.
    pub url: String,
    /// The clusters and the base addresses of their APIs.
    pub clusters: Vec<(ClusterId, String)>,
    /// The kubeconfig file.
    pub kubeconfig: PathBuf,
    /// The fleet.
    pub fleet: FleetSpec,
    /// How many nodes each cluster has, in the fleet's order.
    pub nodes: Vec<usize>,
    /// What was imported, where the fleet is a twin file: each cluster's header, and the kinds that stay in the file.
    pub imported: Vec<(ClusterHeader, BTreeMap<String, u64>)>,
    /// Virtual time at the start.
    pub at: Instant,
    host: Arc<TwinHost>,
    engine: Engine,
    store: Store,
    state: PathBuf,
    /// What moves the clock on and writes it down.
    clockwork: [tokio::task::JoinHandle<()>; 3],
}

impl Running {
    /// Ends cleanly: stops the clock, saves the twin and everything queued.
    pub async fn stop(self) -> anyhow::Result<()> {
        for task in self.clockwork {
            task.abort();
        }
        self.engine.close_books(&self.store).await?;
        self.host.save_clock().await?;
        self.host.snapshot().await?;
        self.store.close().await?;
        // The next start writes it anew; that it is gone already is as good.
        let _gone = std::fs::remove_file(self.state.join("server.json"));
        Ok(())
    }
}

/// What twins are made from.
enum Origin {
    Fleet(FleetSpec),
    Imported(Box<Document>),
}

impl Origin {
    /// Has clusters that state nothing of their schedulers decide as a file says.
    fn schedule(&mut self, path: Option<&Path>) -> anyhow::Result<()> {
        match self {
            Origin::Fleet(fleet) => scheduler_file::stand_in(fleet, path),
            Origin::Imported(document) => {
                let mut fleet = document.fleet();
                scheduler_file::stand_in(&mut fleet, path)?;
                for (imported, spec) in document.clusters.iter_mut().zip(fleet.clusters) {
                    imported.scheduler = spec.scheduler;
                }
                Ok(())
            }
        }
    }
}

/// Reads a fleet file or a twin file.
fn read_origin(path: Option<&Path>, instances: &Instances) -> anyhow::Result<Origin> {
    match path {
        Some(path) if twin_file::is_packed(path)? => Ok(Origin::Imported(Box::new(twin_file::read(path)?))),
        path => Ok(Origin::Fleet(read_fleet(path, instances)?)),
    }
}

/// Reads the fleet file.
pub fn read_fleet(path: Option<&Path>, instances: &Instances) -> anyhow::Result<FleetSpec> {
    let example = Path::new("examples/fleet.yaml");
    let path = path.or_else(|| example.exists().then_some(example));
    let Some(path) = path else {
        return fleet::file::parse_with(EXAMPLE_FLEET, instances).context("read the built-in example fleet");
    };
    if twin_file::is_packed(path)? {
        anyhow::bail!(
            "{}: a packed file: expected a fleet file (YAML)\n\nhint: a twin file is run by kubercarbon up --fleet",
            path.display()
        );
    }
    let bytes = signals::read_bounded(path)?;
    let text =
        String::from_utf8(bytes).with_context(|| format!("{}: expected UTF-8 text", path.display()))?;
    let read = || {
        let mut fleet = fleet::file::parse_with(&text, instances)?;
        scheduler_file::resolve(&mut fleet, path.parent().unwrap_or(Path::new("")))?;
        twin::apiserver::check_static_pods(&fleet)
            .map_err(|(place, why)| anyhow::anyhow!("{place}: {why}"))?;
        anyhow::Ok(fleet)
    };
    read().with_context(|| path.display().to_string())
}

/// How the schedulers of a fleet are stated to decide.
pub(crate) fn schedulers(fleet: &FleetSpec) -> BTreeMap<ClusterId, serde_json::Value> {
    let stated = |spec: &ClusterSpec| Some((spec.id.clone(), spec.scheduler.clone()?));
    fleet.clusters.iter().filter_map(stated).collect()
}

/// Reads what is stated of instance types; nothing, where no file is named.
pub fn read_instances(path: Option<&Path>) -> anyhow::Result<Instances> {
    let Some(path) = path else { return Ok(Instances::default()) };
    let bytes = signals::read_bounded(path)?;
    Ok(instances::read_csv(&path.display().to_string(), &bytes)?)
}

/// Starts everything and comes back when it is ready.
pub async fn up(options: Options) -> anyhow::Result<Running> {
    let instances = read_instances(options.instances.as_deref())?;
    let mut origin = read_origin(options.fleet.as_deref(), &instances)?;
    origin.schedule(options.scheduler.as_deref())?;
    if matches!(origin, Origin::Imported(_)) && options.start.is_some() {
        anyhow::bail!("--from: a twin file's time begins when it was taken: expected no --from");
    }
    let file = options.carbon.as_deref().map(signals::read_carbon).transpose()?;
    let store = open_store(&options.state, options.fresh).await?;
    let Twins { fleet, host, imported } = open_twins(origin, &options, &store).await?;
    let (console, console_address, bound) = bind(&store, &fleet, options.listen).await?;
    let gate = Gate { open: options.open, rbac: options.rbac };
    gate.furnish(&host, &fleet).await?;
    let served = apis::serve(&host, bound, Some(&options.state), gate)?;
    host.set_authority(served.authority()).await?;
    let kubeconfig = kubeconfig::write(&options.state, &served.access())?;
    let clients = served.clients()?;
    let engine = start_loop(&fleet, &options, &host, &store, &clients).await?;
    let throttle = Arc::new(Throttle::new(options.pace, options.paused));
    let live = sources::read(&sources::environment, Limits::default());
    let mut chain = Chain::new(&fleet, live, file).remembering(store.clone());
    let board = chain.board();
    chain.tell(&engine, host.now(), &Err(signals::NOT_YET.to_owned())).await?;
    let clock: Arc<dyn FleetClock> = host.clone();
    tokio::spawn(signals::run(chain, engine.clone(), clock, Some(throttle.clone())));
    let pacer = Pacer {
        host: host.clone(),
        engine: engine.clone(),
        clusters: served.addresses.iter().map(|(id, _)| id.clone()).collect(),
        throttle: throttle.clone(),
    };
    let days = crate::hours::keep_days(store.clone(), host.clone());
    let clockwork = [tokio::spawn(pacer.run()), tokio::spawn(pacer::keep(host.clone())), tokio::spawn(days)];
    let live = Live::new(Parts {
        engine: engine.clone(),
        clock: host.clone(),
        throttle: Some(throttle),
        store: store.clone(),
        clusters: served.addresses.iter().map(|(id, _)| id.clone()).collect(),
        clients,
        schedulers: schedulers(&fleet),
        board,
        mode_max: Mode::Auto,
    });
    let router = crate::console::site(Arc::new(live));
    tokio::spawn(async move { axum::serve(console, router).await });
    let url = format!("http://{console_address}");
    let server =
        ServerFile { url: url.clone(), pid: std::process::id(), kubeconfig: Some(kubeconfig.clone()) };
    kubeconfig::write_server(&options.state, &server)?;
    let at = host.now();
    Ok(Running {
        url,
        clusters: served.addresses.iter().map(|(id, address)| (id.clone(), served.url(*address))).collect(),
        kubeconfig,
        nodes: fleet.clusters.iter().map(|spec| host.node_names(&spec.id).len()).collect(),
        imported,
        fleet,
        at,
        host,
        engine,
        store,
        state: options.state,
        clockwork,
    })
}

/// The twins as they go on or begin.
struct Twins {
    fleet: FleetSpec,
    host: Arc<TwinHost>,
    imported: Vec<(ClusterHeader, BTreeMap<String, u64>)>,
}

/// Brings the twins of the state back, or begins new ones.
async fn open_twins(origin: Origin, options: &Options, store: &Store) -> anyhow::Result<Twins> {
    let (seed, store) = (options.seed, store.clone());
    match origin {
        Origin::Fleet(mut fleet) => {
            if !options.demo {
                fleet.demo = None;
            }
            // A clock that is to follow the wall's starts where that is.
            let grain = if options.pace == Speed::Times(1.0) { Span::from_seconds(1) } else { Span::HOUR };
            let start = options.start.unwrap_or_else(|| wall::now().floor_to(grain));
            let origin = serde_json::to_string(&(&fleet, seed)).context("write down the fleet")?;
            let host = TwinHost::open(store, origin, || World::new(&fleet, start, seed)).await?;
            Ok(Twins { fleet, host, imported: Vec::new() })
        }
        Origin::Imported(document) => {
            let fleet = document.fleet();
            let imported = document.clusters.iter().map(|c| (c.header.clone(), c.aside.clone())).collect();
            let stated = schedulers(&fleet);
            let origin = match stated.is_empty() {
                true => serde_json::to_string(&(&document.header, document.digest, seed)),
                false => serde_json::to_string(&(&document.header, document.digest, seed, stated)),
            };
            let origin = origin.context("write down the twin file")?;
            let begin = || World::imported(*document, seed, &control::observe::rates_of);
            let host = TwinHost::open(store, origin, begin).await?;
            Ok(Twins { fleet, host, imported })
        }
    }
}

/// Opens the state, forgetting an earlier one if asked to; never under a running process.
pub(crate) async fn open_store(state: &Path, fresh: bool) -> anyhow::Result<Store> {
    let open = || async {
        Store::open(state).await.map_err(|error| match error.hint() {
            Some(hint) => anyhow::anyhow!("{:#}\n\nhint: {hint}", anyhow::Error::new(error)),
            None => error.into(),
        })
    };
    if !fresh {
        return open().await;
    }
    match Store::open(state).await {
        Err(error @ store::Error::InUse { .. }) => return Err(error.into()),
        Err(_) => {}
        Ok(store) => store.close().await?,
    }
    forget(state)?;
    open().await
}

/// Removes an earlier state, and nothing else that may lie in the directory.
fn forget(state: &Path) -> anyhow::Result<()> {
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let path = state.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The loop, with what earlier runs wrote: durations it learnt, and the accounts it goes on from at `now`.
pub(crate) async fn remembering(
    mut control: Control,
    store: &Store,
    now: Instant,
) -> anyhow::Result<Control> {
    for row in store.ledger_all().await? {
        if let Ok(entry) = serde_json::from_str(&row.body) {
            control.remember(&entry);
        }
    }
    let hours = (now - CORRECTED_WITHIN, now + Span::HOUR);
    // Accounts that cannot be read keep no Job from its start.
    if let Err(error) = crate::hours::read(store, hours, |entry| control.recall(entry)).await {
        tracing::error!(error = format!("{error:#}"), "go on from the accounts of earlier hours");
    }
    Ok(control)
}

/// Starts the loop and one watch a cluster.
async fn start_loop(
    fleet: &FleetSpec,
    options: &Options,
    host: &Arc<TwinHost>,
    store: &Store,
    clients: &Clients,
) -> anyhow::Result<Engine> {
    let control = remembering(Control::new(twin_driver::settings(fleet)), store, host.now()).await?;
    let (inbox, receiver) = mpsc::channel(engine::INBOX);
    let hands = Arc::new(Hands { clients: clients.clone(), fence: None });
    let clock: Arc<dyn FleetClock> = host.clone();
    let engine = Engine::start(control, clock, hands, store.clone(), (inbox, receiver));
    for spec in &fleet.clusters {
        let uid = host.imported_uid(&spec.id);
        let facts = ClusterFacts { uid, ..twin_driver::facts(spec, options.mode) };
        engine.tell(Event::Cluster(facts.clone())).await?;
        let Some(client) = clients.get(&spec.id) else { continue };

        let spec = spec.clone();
        let known: Option<KnownRates> = Some(Arc::new(move |name| twin_driver::known_rates(&spec, name)));
        let source = Source { facts, client, known, instances: Arc::default(), inventory: false };
        tokio::spawn(engine.clone().follow(source));
    }
    Ok(engine)
}

/// Listens for the console and for each cluster's API.
async fn bind(
    store: &Store,
    fleet: &FleetSpec,
    listen: Option<SocketAddr>,
) -> anyhow::Result<(TcpListener, SocketAddr, Vec<Bound>)> {
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut ports = Ports::kept(Some(store)).await?;
    let console = match listen {
        Some(address) => TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?,
        None => ports.bind("console".to_owned(), LOOPBACK, PORT).await?,
    };
    let address = console.local_addr().context("read the console's address")?;
    ports.note("console", address);
    let bound = apis::bind(fleet, None, PORT.saturating_add(1), &mut ports).await?;
    ports.keep(store).await?;
    Ok((console, address, bound))
}
