//! The twins' Kubernetes APIs on sockets of this machine, one a cluster.

use crate::door::{self, Door, Pass};
use crate::kubeconfig::Access;
use crate::signer;
use crate::twin_host::TwinHost;
use crate::webhooks::{self, Webhooks};
use anyhow::Context;
use connect::Clients;
use fleet::{ClusterId, FleetSpec};
use kube::config::AuthInfo;
use kubeapi::Twin;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use store::{Store, Write};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Setting under which the ports of the last time are kept.
const PORTS: &str = "ports";

/// Ports by what listens there: `console`, `cluster/NAME`.
#[derive(Default)]
pub struct Ports(BTreeMap<String, u16>);

impl Ports {
    /// Those of the last time; none where there is no store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn kept(store: Option<&Store>) -> anyhow::Result<Ports> {
        let Some(store) = store else { return Ok(Ports::default()) };
        let kept = store.setting(PORTS).await?;
        Ok(Ports(kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()))
    }

    /// Listens on `host`: on the port of the last time where it is free, so that a kubeconfig stays good; else on
    /// `usual`; else on any.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn bind(&mut self, what: String, host: IpAddr, usual: u16) -> anyhow::Result<TcpListener> {
        let kept = self.0.get(&what).copied();
        let listener = bind_one(host, kept, usual).await?;
        self.0.insert(what, listener.local_addr().context("read the address listened on")?.port());
        Ok(listener)
    }

    /// Listens where somebody says to, and nowhere else; the port is noted for the next time.
    ///
    /// # Errors
    /// When the address is taken, or is none of this machine's.
    pub async fn bind_to(&mut self, what: String, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        self.0.insert(what, listener.local_addr().context("read the address listened on")?.port());
        Ok(listener)
    }

    /// Notes where something listens that was told where to.
    pub fn note(&mut self, what: &str, address: SocketAddr) {
        self.0.insert(what.to_owned(), address.port());
    }

    /// Keeps them for the next time.
    ///
    /// # Errors
    /// When they cannot be written.
    pub async fn keep(&self, store: &Store) -> anyhow::Result<()> {
        store
            .append(Write::Setting { key: PORTS.to_owned(), value: serde_json::to_string(&self.0)? })
            .await?;
        Ok(())
    }
}

/// Listens on a port of `host`: `kept`, else `usual`, else any that is free.
pub(crate) async fn bind_one(host: IpAddr, kept: Option<u16>, usual: u16) -> anyhow::Result<TcpListener> {
    for port in kept.into_iter().chain([usual, 0]) {
        if let Ok(listener) = TcpListener::bind((host, port)).await {
            return Ok(listener);
        }
    }
    anyhow::bail!("listen on {host}: no free port")
}

/// Who may come to the APIs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Everybody, without TLS.
    pub open: bool,
    /// Roles say who may do what.
    pub rbac: bool,
}

impl Gate {
    /// Gives the clusters of `host` what those have that are asked: APIServices, and the roles they lack, where roles rule.
    ///
    /// # Errors
    /// When they cannot be written.
    pub async fn furnish(self, host: &TwinHost, fleet: &FleetSpec) -> anyhow::Result<()> {
        let mut written = Vec::new();
        for spec in &fleet.clusters {
            let mut first = None;
            host.read(&spec.id, &mut |objects, _| first = twin::apiservice::first(objects));
            written.extend(first.map(|request| host.write(&spec.id, request)));
            if !self.rbac {
                continue;
            }
            for request in twin::apiserver::rbac::bootstrap::requests() {
                let name = request.body["metadata"]["name"].as_str().unwrap_or_default();
                let mut there = false;
                host.read(&spec.id, &mut |objects, _| {
                    there = objects.get(request.kind, &request.namespace, name).is_some();
                });
                if !there {
                    written.push(host.write(&spec.id, request));
                }
            }
        }
        // All wait for the disk together.
        for answer in futures::future::join_all(written).await {
            answer.context("make the roles and APIServices every cluster has")?;
        }
        Ok(())
    }
}

/// A cluster's API, not yet served.
pub struct Bound {
    /// The cluster.
    pub id: ClusterId,
    listener: TcpListener,
    address: SocketAddr,
}

/// Listens for each cluster of a fleet: at `listen` and, for further clusters, on the ports that follow; where nothing is said,
/// on loopback from port `first` on, or wherever it is free.
///
/// # Errors
/// When an address is taken that was named, or there is no free port.
pub async fn bind(
    fleet: &FleetSpec,
    listen: Option<SocketAddr>,
    first: u16,
    ports: &mut Ports,
) -> anyhow::Result<Vec<Bound>> {
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut bound = Vec::new();
    for (i, spec) in fleet.clusters.iter().enumerate() {
        let place = u16::try_from(i).unwrap_or(u16::MAX);
        let what = format!("cluster/{}", spec.id);
        let listener = match listen {
            // Port 0 asks for any that is free.
            Some(address) if address.port() == 0 => ports.bind(what, address.ip(), 0).await?,
            Some(address) => {
                let port = address.port().checked_add(place).context("--listen: no port follows 65535")?;
                ports.bind_to(what, SocketAddr::new(address.ip(), port)).await?
            }
            None => ports.bind(what, LOOPBACK, first.saturating_add(place)).await?,
        };
        let address = listener.local_addr().context("read the API's address")?;
        bound.push(Bound { id: spec.id.clone(), listener, address });
    }
    Ok(bound)
}

/// Serves the APIs of `host` until its tasks are aborted; under TLS and to those who bring a token, unless they are open. The keys are
/// those of `state`.
///
/// # Errors
/// When the door cannot be opened or made.
pub fn serve(
    host: &Arc<TwinHost>,
    bound: Vec<Bound>,
    state: Option<&Path>,
    gate: Gate,
) -> anyhow::Result<Served> {
    let listened: Vec<IpAddr> = bound.iter().map(|api| api.address.ip()).collect();
    let door = Door::open(state, &listened)?;
    let webhooks = Arc::new(Webhooks::default());
    let mut tasks = vec![tokio::spawn(webhooks::run(host.clone(), webhooks.clone()))];
    let mut addresses = Vec::new();
    for Bound { id, listener, address } in bound {
        let access = kubeapi::Access {
            authority: Some(door.keys()),
            locked: !gate.open,
            rbac: gate.rbac,
            address: url(address, !gate.open),
            webhooks: Some(webhooks.clone()),
        };
        let router = kubeapi::router_for(host.clone(), id.clone(), access);
        tasks.push(signer::run(door.signer(), host.clone(), id.clone()));
        tasks.extend(door::serve(listener, address, router, (!gate.open).then_some(&door)));
        addresses.push((id, address));
    }
    Ok(Served { addresses, pass: (!gate.open).then(|| door.pass().clone()), tasks })
}

fn url(address: SocketAddr, tls: bool) -> String {
    // Who listens on every address of the machine is reached by its own.
    let host = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(host, address.port()))
}

/// APIs that are served.
pub struct Served {
    /// The clusters and where they listen.
    pub addresses: Vec<(ClusterId, SocketAddr)>,
    /// What clients need; `None`: nothing.
    pass: Option<Pass>,
    /// What serves them.
    pub tasks: Vec<JoinHandle<()>>,
}

impl Served {
    /// What a kubeconfig says of them.
    pub fn access(&self) -> Access<'_> {
        Access {
            clusters: self.addresses.iter().map(|(id, address)| (id, self.url(*address))).collect(),
            pass: self.pass.as_ref(),
        }
    }

    /// Base address of the API at an address.
    pub fn url(&self, address: SocketAddr) -> String {
        url(address, self.pass.is_some())
    }

    /// Certificate of the authority they are served under, PEM; empty: without TLS.
    pub fn authority(&self) -> &str {
        self.pass.as_ref().map_or("", |pass| pass.authority.as_str())
    }

    /// A client of each.
    ///
    /// # Errors
    /// When a client cannot be made.
    pub fn clients(&self) -> anyhow::Result<Clients> {
        let client = |(id, address): &(ClusterId, SocketAddr)| {
            let url = self.url(*address).parse().context("make the cluster's address")?;
            let mut config = kube::Config::new(url);
            if let Some(pass) = &self.pass {
                config.root_cert = Some(vec![pass.authority_der.clone()]);
                config.auth_info = AuthInfo { token: Some(pass.token.clone().into()), ..AuthInfo::default() };
            }
            Ok((id.clone(), connect::client(config).context("make a client")?))
        };
        let clients: anyhow::Result<BTreeMap<ClusterId, kube::Client>> =
            self.addresses.iter().map(client).collect();
        Ok(clients?.into_iter().collect())
    }
}
