//! Prometheus, or whatever answers as it does (Thanos, Mimir, VictoriaMetrics): what it scraped of a cluster.
//!
//! | what | from |
//! |---|---|
//! | pods | cAdvisor: CPU as the rate of its counters over 5 min, memory as the working set |
//! | nodes | the kubelet's resource metrics, else cAdvisor's root cgroup, else node-exporter |
//! | power | Kepler from 0.10 on, else before it: CPU packages and DRAM, because its zones overlap; with GPUs by DCGM |
//! | prices | OpenCost |
//!
//! Invariants: only GET; each query has a bound of time, series and bytes, and names the cluster where a label does.
//! Series of replicas, of endpoints scraped twice and of containers that restarted are told apart, so that nothing
//! counts twice. NaN, infinite and negative samples are left out and counted. What Kepler, DCGM and OpenCost do not
//! have is asked for again now and then, and its absence is no failure. GPUs count only beside Kepler's figures: alone
//! they would be taken for the whole. Units: cores, bytes, watts, USD per hour.

mod queries;
mod vector;

use crate::observe::provider::{Ask, Error, Limits, Secret};
use control::usage::{NodeUse, PodUse, UsageReport};
use fleet::{Bytes, Cpu, Instant, MoneyPerHour, NodeName, Provenance, SignalKind, Watts};
use http::header::AUTHORIZATION;
use queries::{GPU, KEPLER, KEPLER_BEFORE, Nodes, PODS, PRICES};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vector::Label;

/// Its name, as people know it.
pub const NAME: &str = "Prometheus";
/// What may be absent is asked for again at every so many looks.
const LOOK_AGAIN: u32 = 10;
/// Most characters of an address that is shown.
const SHOWN_MAX: usize = 80;
/// Largest figures that can be: of a pod or node, far above any machine there is.
const CORES_MAX: f64 = 1e5;
const BYTES_MAX: f64 = 1e15;
const WATTS_MAX: f64 = 1e6;
const PRICE_MAX: f64 = 1e5;

/// 10 s for a query, one more try; 32 MiB is three times what 150,000 pods come to.
pub fn limits() -> Limits {
    Limits { timeout: Duration::from_secs(10), tries: 2, delay: Duration::from_secs(1), bytes_max: 32 << 20 }
}

/// Which of a Prometheus' series are a cluster's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All: it knows one cluster.
    #[default]
    All,
    /// Those whose label has this value.
    Label {
        /// The label's name.
        name: String,
        /// Its value.
        value: String,
    },
}

impl Scope {
    /// Those whose label has this value.
    ///
    /// # Errors
    /// When no label can be called that.
    pub fn label(name: &str, value: &str) -> Result<Scope, String> {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let plain = |c: char| first(c) || c.is_ascii_digit();
        if name.len() > SHOWN_MAX || !name.starts_with(first) || !name.chars().all(plain) {
            let found: String = name.chars().take(SHOWN_MAX).collect();
            return Err(format!("{found:?} is no label: expected one such as cluster or k8s_cluster"));
        }
        Ok(Scope::Label { name: name.to_owned(), value: value.to_owned() })
    }
}

/// A Prometheus and how it is asked about one cluster.
#[derive(Debug)]
pub struct Prometheus {
    ask: Ask,
    token: Option<Secret>,
    shown: String,
    scope: Scope,
    /// What was absent at the last look, and for how many more it is not asked for.
    absent: BTreeMap<&'static str, u32>,
}

/// Figures by whom they are of.
type Figures<Name> = BTreeMap<Name, f64>;

/// What is said of a report beside its figures.
#[derive(Default)]
struct Said {
    from: Vec<&'static str>,
    notes: BTreeSet<String>,
    left_out: usize,
}

impl Prometheus {
    /// The one at `base`, e.g. `https://prometheus.example.org`, `https://thanos.example.org/prefix`. Without a token it
    /// may be reached in the clear.
    ///
    /// # Errors
    /// When the address is none, or a token would be sent in the clear.
    pub fn new(
        base: &str,
        token: Option<Secret>,
        scope: Scope,
        limits: Limits,
    ) -> Result<Prometheus, String> {
        let ask = match token {
            Some(_) => Ask::new(NAME, base, limits)?,
            None => Ask::keyless(NAME, base, limits)?,
        };
        let shown = base.split_once("://").map_or(base, |(_, rest)| rest).trim_end_matches('/');
        let shown = shown.chars().take(SHOWN_MAX).collect();
        Ok(Prometheus { ask, token, shown, scope, absent: BTreeMap::new() })
    }

    /// What is used now.
    ///
    /// # Errors
    /// In words: it does not answer, refuses, answers what it should not, or has no pods of this cluster.
    pub async fn look(&mut self, now: Instant) -> Result<UsageReport, String> {
        let mut said = Said::default();
        let cpu = self.pods("pods' CPU", &[PODS.cpu], CORES_MAX, &mut said).await?;
        if cpu.is_empty() {
            return Err(format!("{NAME}: {}", self.no_pods()));
        }
        let memory = self.pods("pods' memory", &[PODS.memory], BYTES_MAX, &mut said).await?;
        said.from.push("cAdvisor");
        let nodes = self.node_use(&mut said).await;
        let power = self.power(&mut said).await;
        let prices = self.prices(&mut said).await;
        let pods = cpu.into_iter().filter_map(|(name, cores)| {
            let memory = Bytes::from_bytes(memory.get(&name)?.round() as i64);
            let power = power.0.get(&name).copied().map(Watts::from_watts_f64);
            Some((name, PodUse { cpu: cores_of(cores), memory, power }))
        });
        let pods = pods.collect();
        let nodes = nodes.into_iter().map(|(name, (cores, bytes))| {
            let power = power.1.get(&name).copied().map(Watts::from_watts_f64);
            let price = prices.get(&name).copied().map(MoneyPerHour::from_units_f64);
            let memory = Bytes::from_bytes(bytes.round() as i64);
            (name, NodeUse { cpu: cores_of(cores), memory, power, price })
        });
        let nodes = nodes.collect();
        let from = Provenance { source: self.source(&said), kind: SignalKind::Measured, as_of: now };
        Ok(UsageReport { at: now, from, pods, nodes })
    }

    fn no_pods(&self) -> String {
        let which = match &self.scope {
            Scope::All => String::new(),
            Scope::Label { name, value } => format!(" with {name}={value:?}"),
        };
        format!(
            "no pods{which} at {}: expected cAdvisor's container_cpu_usage_seconds_total of the last 5 min",
            self.shown
        )
    }

    fn source(&self, said: &Said) -> String {
        let mut source = format!("{NAME} {} ({}", self.shown, said.from.join(", "));
        if said.left_out > 0 {
            source += &format!("; {} samples that cannot be, left out", said.left_out);
        }
        for note in &said.notes {
            source += &format!("; {note}");
        }
        source + ")"
    }

    /// CPU and memory of nodes, of the first that has both; none is no failure.
    async fn node_use(&mut self, said: &mut Said) -> BTreeMap<NodeName, (f64, f64)> {
        for Nodes { from, cpu, memory } in queries::NODES {
            if self.skips(from) {
                continue;
            }
            let found = async {
                let cpu = self.nodes("nodes' CPU", &[cpu], CORES_MAX, said).await?;
                if cpu.is_empty() {
                    return Ok((cpu, BTreeMap::new()));
                }
                Ok((cpu, self.nodes("nodes' memory", &[memory], BYTES_MAX, said).await?))
            };
            let found: Result<_, String> = found.await;
            let Some((cpu, memory)) = self.taken(from, found, |found| found.0.is_empty(), said) else {
                continue;
            };
            said.from.push(from);
            let both =
                cpu.into_iter().filter_map(|(name, cpu)| Some((name.clone(), (cpu, *memory.get(&name)?))));
            return both.collect();
        }
        said.notes.insert("no figures of nodes".to_owned());
        BTreeMap::new()
    }

    /// Power of pods above idle, and of nodes.
    async fn power(&mut self, said: &mut Said) -> (Figures<String>, Figures<NodeName>) {
        for kepler in [KEPLER, KEPLER_BEFORE] {
            if self.skips(kepler.from) {
                continue;
            }
            let found = async {
                let pods = self.pods("pods' power", kepler.pods, WATTS_MAX, said).await?;
                Ok((pods, self.nodes("nodes' power", kepler.nodes, WATTS_MAX, said).await?))
            };
            let found: Result<_, String> = found.await;
            let empty =
                |found: &(Figures<String>, Figures<NodeName>)| found.0.is_empty() && found.1.is_empty();
            let Some(mut power) = self.taken(kepler.from, found, empty, said) else { continue };
            said.from.push(kepler.from);
            self.gpus(&mut power, said).await;
            return power;
        }
        (BTreeMap::new(), BTreeMap::new())
    }

    /// Adds what GPUs draw, where the rest of the pod or node is metered.
    async fn gpus(&mut self, power: &mut (Figures<String>, Figures<NodeName>), said: &mut Said) {
        if self.skips(GPU.from) {
            return;
        }
        let found = async {
            let pods = self.pods("pods' GPUs", GPU.pods, WATTS_MAX, said).await?;
            Ok((pods, self.nodes("nodes' GPUs", GPU.nodes, WATTS_MAX, said).await?))
        };
        let found: Result<_, String> = found.await;
        let empty = |found: &(Figures<String>, Figures<NodeName>)| found.0.is_empty() && found.1.is_empty();
        let Some((pods, nodes)) = self.taken(GPU.from, found, empty, said) else { return };
        said.from.push(GPU.from);
        for (name, watts) in &mut power.0 {
            *watts += pods.get(name).copied().unwrap_or(0.0);
        }
        for (name, watts) in &mut power.1 {
            *watts += nodes.get(name).copied().unwrap_or(0.0);
        }
    }

    /// Prices of nodes in USD per hour.
    async fn prices(&mut self, said: &mut Said) -> Figures<NodeName> {
        if self.skips(PRICES.0) {
            return BTreeMap::new();
        }
        let found = self.nodes("nodes' prices", &[PRICES.1], PRICE_MAX, said).await;
        let Some(prices) = self.taken(PRICES.0, found, BTreeMap::is_empty, said) else {
            return BTreeMap::new();
        };
        said.from.push(PRICES.0);
        prices
    }

    /// Whether what was absent is not asked for this time.
    fn skips(&mut self, what: &'static str) -> bool {
        let Some(left) = self.absent.get_mut(what) else { return false };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.absent.remove(what);
        }
        true
    }

    /// What was found, if anything was; else it is left alone for some looks. A failure is said.
    fn taken<T>(
        &mut self,
        what: &'static str,
        found: Result<T, String>,
        empty: impl Fn(&T) -> bool,
        said: &mut Said,
    ) -> Option<T> {
        match found {
            Ok(found) if !empty(&found) => return Some(found),
            Ok(_) => {}
            Err(why) => {
                said.notes.insert(format!("not {what}: {why}"));
            }
        }
        self.absent.insert(what, LOOK_AGAIN - 1);
        None
    }

    /// Figures by pod: the sum of these queries.
    async fn pods(
        &mut self,
        what: &str,
        queries: &[&str],
        most: f64,
        said: &mut Said,
    ) -> Result<Figures<String>, String> {
        self.figures(what, queries, most, said, |label| label.pod()).await
    }

    /// Figures by node.
    async fn nodes(
        &mut self,
        what: &str,
        queries: &[&str],
        most: f64,
        said: &mut Said,
    ) -> Result<Figures<NodeName>, String> {
        self.figures(what, queries, most, said, |label| label.node()).await
    }

    /// Each query's figures, added up; of two series of one name in one answer the larger one counts.
    async fn figures<Name: Ord>(
        &mut self,
        what: &str,
        queries: &[&str],
        most: f64,
        said: &mut Said,
        name: fn(&Label<'_>) -> Option<Name>,
    ) -> Result<Figures<Name>, String> {
        let mut sum: Figures<Name> = BTreeMap::new();
        for query in queries {
            let path = queries::path(query, &self.scope);
            let key = self.token.as_ref().map(|token| (AUTHORIZATION, token.bearer()));
            let body = self.ask.get(what, &path, key).await.map_err(|error| plain(&error))?;
            let vector = vector::read(&body).map_err(|why| format!("{NAME}: {what}: {why}"))?;
            if let Some(warning) = vector.warning {
                said.notes.insert(warning);
            }
            let mut found: Figures<Name> = BTreeMap::new();
            for (label, value) in &vector.samples {
                let Some(name) = name(label) else { continue };
                let Some(value) = value.filter(|value| (0.0..=most).contains(value)) else {
                    said.left_out += 1;
                    continue;
                };
                let known = found.entry(name).or_insert(0.0);
                *known = known.max(value);
            }
            for (name, value) in found {
                *sum.entry(name).or_insert(0.0) += value;
            }
        }
        Ok(sum)
    }
}

fn cores_of(cores: f64) -> Cpu {
    Cpu::from_nanos((cores * 1e9).round() as i64)
}

/// What went wrong, with what to do.
fn plain(error: &Error) -> String {
    match error {
        Error::Denied { provider, status, what, said, .. } => {
            let said = if said.is_empty() { String::new() } else { format!(": {said:?}") };
            format!(
                "{provider}: {status}: {what}{said}; set KUBERCARBON_PROMETHEUS_TOKEN, or KUBERCARBON_PROMETHEUS_TOKEN_FILE, to a token that may query"
            )
        }
        error => error.to_string(),
    }
}

/// Percent-encodes a value of an address' query.
pub(super) fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
