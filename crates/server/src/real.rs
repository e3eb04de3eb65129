//! `kubercarbon up --context …`: the whole product in one process, on real clusters.
//!
//! Invariants: time is the wall's; in mode `observe` no connection can write, and the loop has none to write with.
//! Every cluster is told to the loop at once, as far as it is known; one that does not answer is silent until it
//! does, and the others go on. A name means one cluster for as long as the state is kept, and a cluster has one name:
//! else one Job would be two, or work be taken for somebody else's.

mod lead;
mod member;
pub mod usage;

use crate::apis;
use crate::backend::Speed;
use crate::engine::{self, Engine, FleetClock, WallClock};
use crate::kubeconfig::{self, ServerFile};
use crate::live::{Live, Parts};
use crate::pacer;
use crate::scheduler_file;
use crate::signals::{self, Chain, sources};
use crate::up::{self, PORT};
use anyhow::{Context as _, bail};
use connect::Clients;
use connect::act::kube::Hands;
use connect::contexts::Context;
use connect::observe::provider::Limits;
use control::whereabouts::Stated;
use control::{Control, Settings, twin_driver};
use fleet::{ClusterId, FleetSpec, GridZone, Instant, Mode, Span, builtin};
use futures::future::join_all;
use lead::Leading;
use member::{Member, Shared};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Store, Write};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Where in the state directory the state of real clusters is: that of twins lies beside it, untouched.
pub const STATE: &str = "real";

/// The loop looks at its timers each second: after so long without a step the machine slept.
const UNSEEN_AFTER: Span = Span::from_seconds(300);

/// What `up` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The clusters.
    pub contexts: Vec<Context>,
    /// The kubeconfig file they are from, where one was named; commands use it too.
    pub kubeconfig: Option<PathBuf>,
    /// Grid zones a person states.
    pub zones: BTreeMap<ClusterId, GridZone>,
    /// Fleet file: what clusters do not say themselves, and the policy.
    pub fleet: Option<PathBuf>,
    /// State directory.
    pub state: PathBuf,
    /// How the clusters' schedulers decide, where the fleet file does not say: a `KubeSchedulerConfiguration`.
    pub scheduler: Option<PathBuf>,
    /// Console address; `None`: loopback at [`PORT`], or a free port when that is taken.
    pub listen: Option<SocketAddr>,
    /// Carbon CSV.
    pub carbon: Option<PathBuf>,
    /// CSV of instance types.
    pub instances: Option<PathBuf>,
    /// Addresses of the clusters' Prometheuses.
    pub prometheus: BTreeMap<ClusterId, String>,
    /// What may be done to the clusters.
    pub mode: Mode,
    /// Namespace of the Lease in each cluster.
    pub lease_namespace: String,
    /// Forget an earlier state.
    pub fresh: bool,
}

/// A cluster at the start.
#[derive(Clone, Debug)]
pub struct First {
    /// Its name.
    pub id: ClusterId,
    /// Region and grid zone, as far as they are known.
    pub place: String,
    /// Why it is silent.
    pub silent: Option<String>,
    /// What had to be assumed.
    pub assumed: Option<String>,
}

/// A running product.
pub struct Running {
    /// Console and REST API.
    pub url: String,
    /// The clusters, after each was asked once.
    pub clusters: Vec<First>,
    /// What may be done to them.
    pub mode: Mode,
    /// The time at the start.
    pub at: Instant,
    /// Where journal and ledger are.
    pub state: PathBuf,
    engine: Engine,
    store: Store,
    tasks: Vec<JoinHandle<()>>,
    /// The Leases, where anything may be written.
    leading: Option<Leading>,
}

impl Running {
    /// Ends cleanly: nothing more is done, and everything queued is saved.
    pub async fn stop(self) -> anyhow::Result<()> {
        if let Some(leading) = &self.leading {
            leading.resign(&self.engine).await;
        }
        for task in &self.tasks {
            task.abort();
        }
        self.engine.close_books(&self.store).await?;
        self.store.close().await?;
        // The next start writes it anew; that it is gone already is as good.
        let _gone = std::fs::remove_file(self.state.join("server.json"));
        Ok(())
    }
}

/// How schedulers are stated to decide.
type Schedulers = BTreeMap<ClusterId, serde_json::Value>;

/// What is stated about each cluster, the fleet's settings, and what is stated of schedulers.
fn stated(options: &Options) -> anyhow::Result<(BTreeMap<ClusterId, Stated>, Settings, Schedulers)> {
    let known = || options.contexts.iter().map(|c| c.id.as_str()).collect::<Vec<_>>().join(", ");
    let is_known = |id: &ClusterId| options.contexts.iter().any(|context| context.id == *id);
    let file = options.fleet.as_deref().map(read_fleet).transpose()?;
    let told =
        options.scheduler.as_deref().map(scheduler_file::read).transpose().context("--scheduler-config")?;
    let mut all: BTreeMap<ClusterId, Stated> = BTreeMap::new();
    for spec in file.iter().flat_map(|fleet| &fleet.clusters) {
        if !is_known(&spec.id) {
            let path = options.fleet.as_deref().unwrap_or(Path::new(""));
            bail!("{}: cluster \"{}\": expected one of the contexts: {}", path.display(), spec.id, known());
        }
        let stated = Stated {
            region: Some(spec.region.clone()),
            grid_zone: Some(spec.grid_zone.clone()),
            pue_milli: Some(spec.pue_milli),
            labels: spec.labels.clone(),
        };
        all.insert(spec.id.clone(), stated);
    }
    for (id, zone) in &options.zones {
        if !is_known(id) {
            bail!("--zone {id}={zone}: expected one of the contexts: {}", known());
        }
        if builtin::zone_name(zone).is_none() {
            bail!(
                "--zone {id}={zone}: expected a grid zone in Electricity Maps' codes, e.g. KR, JP-TK, DE, US-CAL-CISO"
            );
        }
        all.entry(id.clone()).or_default().grid_zone = Some(zone.clone());
    }
    let mut schedulers = file.as_ref().map(up::schedulers).unwrap_or_default();
    if let Some(told) = told {
        for context in &options.contexts {
            schedulers.entry(context.id.clone()).or_insert_with(|| told.clone());
        }
    }
    Ok((all, file.as_ref().map_or_else(Settings::default, twin_driver::settings), schedulers))
}

/// Reads a fleet file whose clusters may leave their nodes out.
fn read_fleet(path: &Path) -> anyhow::Result<FleetSpec> {
    let bytes = signals::read_bounded(path)?;
    let text =
        String::from_utf8(bytes).with_context(|| format!("{}: expected UTF-8 text", path.display()))?;
    let read = || {
        let mut fleet = fleet::file::parse_stated(&text)?;
        scheduler_file::resolve(&mut fleet, path.parent().unwrap_or(Path::new("")))?;
        anyhow::Ok(fleet)
    };
    read().with_context(|| path.display().to_string())
}

/// Starts everything, and comes back when each cluster was asked once.
pub async fn up(options: Options) -> anyhow::Result<Running> {
    let (mut stated, settings, schedulers) = stated(&options)?;
    let file = options.carbon.as_deref().map(signals::read_carbon).transpose()?;
    let instances = Arc::new(up::read_instances(options.instances.as_deref())?);
    let ids = options.contexts.iter().map(|context| &context.id);
    let mut prometheuses = usage::prometheuses(ids, &options.prometheus, &sources::environment)?;
    let state = options.state.join(STATE);
    let store = up::open_store(&state, options.fresh).await?;
    let console = match options.listen {
        Some(address) => TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?,
        None => apis::bind_one(IpAddr::V4(Ipv4Addr::LOCALHOST), None, PORT).await?,
    };
    let url = format!("http://{}", console.local_addr().context("read the console's address")?);
    let clients = Clients::default();
    let (hands, leading) = hands(&options, &store, &clients).await?;
    let clock: Arc<dyn FleetClock> = Arc::new(WallClock);
    let settings = Settings { unseen_after: Some(UNSEEN_AFTER), leases: leading.is_some(), ..settings };
    let control = up::remembering(Control::new(settings), &store, clock.now()).await?;
    let inbox = mpsc::channel(engine::INBOX);
    let engine = Engine::start(control, clock.clone(), Arc::new(hands), store.clone(), inbox);
    let live = sources::read(&sources::environment, Limits::default());
    let mut chain = Chain::new(&nothing_yet(), live, file).remembering(store.clone());
    let board = chain.board();
    let shared = Arc::new(Shared::new(
        engine.clone(),
        store.clone(),
        clients.clone(),
        chain.places(),
        options.mode,
        instances,
        leading.clone(),
    ));
    let members = options.contexts.iter().map(|context| {
        let stated = stated.remove(&context.id).unwrap_or_default();
        let prometheus = prometheuses.remove(&context.id);
        Member { context: context.clone(), stated, prometheus, shared: shared.clone() }
    });
    let members: Vec<Member> = members.collect();
    let asked = join_all(members.iter().map(Member::ask)).await;
    let (mut clusters, mut tasks) = (Vec::new(), Vec::new());
    // In the order they were given: of two names of one cluster the first one counts.
    for (member, asked) in members.into_iter().zip(asked) {
        let (first, task) = member.start(asked).await?;
        clusters.push(first);
        tasks.push(task);
    }
    let at = clock.now();
    chain.tell(&engine, at, &Err(signals::NOT_YET.to_owned())).await?;
    tasks.push(tokio::spawn(signals::run(chain, engine.clone(), clock.clone(), None)));
    tasks.push(tokio::spawn(pacer::keep_wall_time(engine.clone(), clock.clone())));
    tasks.extend(leading.clone().map(|leading| tokio::spawn(leading.run(engine.clone()))));
    tasks.push(tokio::spawn(crate::hours::keep_days(store.clone(), clock.clone())));
    let live = Live::new(Parts {
        engine: engine.clone(),
        clock,
        throttle: None,
        store: store.clone(),
        clusters: options.contexts.iter().map(|context| context.id.clone()).collect(),
        clients,
        schedulers,
        board,
        mode_max: options.mode,
    });
    tasks.push(tokio::spawn(serve(console, live)));
    let server = ServerFile { url: url.clone(), pid: std::process::id(), kubeconfig: options.kubeconfig };
    kubeconfig::write_server(&state, &server)?;
    Ok(Running { url, clusters, mode: options.mode, at, state, engine, store, tasks, leading })
}

async fn serve(console: TcpListener, live: Live) {
    if let Err(error) = axum::serve(console, crate::console::site(Arc::new(live))).await {
        tracing::error!(%error, "serve the console");
    }
}

/// What writes to the clusters, and the Leases that allow it. In mode observe it has no connection: nothing can be
/// written, whatever the loop decides.
async fn hands(
    options: &Options,
    store: &Store,
    clients: &Clients,
) -> anyhow::Result<(Hands, Option<Leading>)> {
    if options.mode == Mode::Observe {
        return Ok((Hands { clients: Clients::default(), fence: None }, None));
    }
    let leading = leading(options, store, clients).await?;
    Ok((Hands { clients: clients.clone(), fence: Some(leading.fence()) }, Some(leading)))
}

/// Who this process is among those that share the fleet: a name that is kept with the state.
async fn leading(options: &Options, store: &Store, clients: &Clients) -> anyhow::Result<Leading> {
    const KEY: &str = "replica";
    let kept = store.setting(KEY).await.context("read who this process is")?;
    let us = lead::identity(kept.clone());
    if kept.is_none() {
        let value = us.split_once('/').map_or_else(|| us.clone(), |(_, word)| word.to_owned());
        let write = Write::Setting { key: KEY.to_owned(), value };
        store.append(write).await.context("write down who this process is")?;
    }
    Ok(Leading::new(us, options.lease_namespace.clone(), clients.clone()))
}

/// A fleet without clusters: zones are added as clusters say where they stand.
fn nothing_yet() -> FleetSpec {
    FleetSpec {
        name: String::new(),
        currency: Settings::default().currency,
        clusters: Vec::new(),
        policy: fleet::Policy::default(),
        demo: None,
        transfer_price_per_gb: 0.0,
        transfer_kwh_per_gb: (0.0, 0.0),
    }
}

/// The pace of real clusters.
pub const SPEED: Speed = Speed::Times(1.0);
