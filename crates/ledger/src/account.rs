//! From what ran to a ledger line.
//!
//! Method: each run is charged its marginal power at its cluster's rates times the actual intensity;
//! data is charged each time it had to be moved to another cluster. The baseline is the same total run
//! time, in one piece, from creation on, at home. Where rates have embodied emissions, both carry the share
//! of the cores requested. Left out: idle power (the cluster's meter has it) and what the Job would have
//! waited for at home.

use crate::entry::{BASELINE, Baseline, Entry, Run, RunLine};
use crate::footprint::{Footprint, footprint, transfer, transfer_intensity};
use fleet::quantity::significant;
use fleet::{
    ClusterId, DataSource, EmbodiedRate, Instant, JobKey, Provenance, Rates, Resources, Series, Span,
};
use std::collections::BTreeMap;

/// How the figures are come by; stands in every line.
pub const METHOD: &str = "marginal power of the requests (cores x watts per core + GPUs x watts per GPU, PUE included), \
location-based intensity of the grid zone, average unless its source says marginal, list price of the node shared by its vCPUs; \
transfers at the mean intensity of both ends; baseline: the same run time in one piece from creation on, at home";

/// What is added to [`METHOD`] where embodied emissions are counted.
pub const EMBODIED_METHOD: &str = "; carbon includes embodied emissions of the nodes: gCO2e per hour of the instance \
(amortised over 4 years where the built-in table states it), GPUs included, shared by its vCPUs";

/// How the figures are come by, in words: [`METHOD`], and where they are counted [`EMBODIED_METHOD`].
pub fn method(embodied: bool) -> String {
    if embodied { format!("{METHOD}{EMBODIED_METHOD}") } else { METHOD.to_owned() }
}

/// Most runs of one Job: an interruptible one that pauses every quarter of an hour for 100 days.
pub const RUNS_MAX: usize = 10_000;

/// A cluster's rates and actual intensity.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Power and price at the margin.
    pub rates: Rates,
    /// Actual intensity.
    pub intensity: Series,
    /// Where the intensity came from.
    pub provenance: Provenance,
}

/// Everything [`account`] needs.
#[derive(Clone, Debug)]
pub struct Account<'a> {
    /// Which Job.
    pub job: JobKey,
    /// Its uid at home.
    pub uid: String,
    /// Now.
    pub recorded: Instant,
    /// When the Job was created.
    pub created: Instant,
    /// When it ended.
    pub finished: Instant,
    /// Its deadline, if it had one.
    pub deadline: Option<Instant>,
    /// Whether it completed.
    pub succeeded: bool,
    /// What it held while it ran.
    pub demand: Resources,
    /// Where it ran with other pods at a time than its owner asked for: what it would have held with those, and
    /// how long it would have run.
    pub baseline: Option<(Resources, Span)>,
    /// Its input data.
    pub data: Option<DataSource>,
    /// Where and when it ran.
    pub runs: Vec<Run>,
    /// Every cluster it ran in, its home, and where known the one its data lies at.
    pub places: &'a BTreeMap<ClusterId, Place>,
    /// Energy to move one GB (10⁹ bytes) from where the data lies to where it ran, in kWh.
    pub transfer_kwh_per_gb: f64,
    /// Money to move one GB.
    pub transfer_price_per_gb: f64,
}

/// Why no line could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A run or the home names a cluster nothing is known of.
    #[error("job {job}: cluster \"{cluster}\": no rates and intensity given")]
    Cluster {
        /// The Job.
        job: String,
        /// The cluster.
        cluster: ClusterId,
    },
    /// A run ends before it begins, or begins before the one before it ended.
    #[error(
        "job {job}: run {index} from {from} to {to}: expected runs in order of time, each ending at or after its start"
    )]
    Order {
        /// The Job.
        job: String,
        /// Which run, counted from 1.
        index: usize,
        /// Its start.
        from: Instant,
        /// Its end.
        to: Instant,
    },
    /// More runs than a Job can have.
    #[error("job {job}: {found} runs, expected at most {RUNS_MAX}")]
    TooMany {
        /// The Job.
        job: String,
        /// How many there were.
        found: usize,
    },
}

impl Account<'_> {
    fn place(&self, cluster: &ClusterId) -> Result<&Place, Error> {
        let missing = || Error::Cluster { job: self.job.to_string(), cluster: cluster.clone() };
        self.places.get(cluster).ok_or_else(missing)
    }

    fn check(&self) -> Result<(), Error> {
        if self.runs.len() > RUNS_MAX {
            return Err(Error::TooMany { job: self.job.to_string(), found: self.runs.len() });
        }
        let mut before = None;
        for (i, run) in self.runs.iter().enumerate() {
            if run.to < run.from || before.is_some_and(|end| run.from < end) {
                let job = self.job.to_string();
                return Err(Error::Order { job, index: i + 1, from: run.from, to: run.to });
            }
            before = Some(run.to);
        }
        Ok(())
    }

    /// What bringing the data to `cluster` at `at` burns; nothing where it lies there already.
    fn moved(&self, cluster: &ClusterId, at: Instant) -> Result<Footprint, Error> {
        let Some(data) = self.data.as_ref().filter(|data| data.at != *cluster) else {
            return Ok(Footprint::ZERO);
        };
        let source = self.places.get(&data.at).map(|place| &place.intensity);
        let intensity = transfer_intensity(source, &self.place(cluster)?.intensity, at);
        Ok(transfer(data.size, self.transfer_kwh_per_gb, self.transfer_price_per_gb, intensity))
    }

    /// Runs with their footprints, and the transfers: one for each time the cluster changed.
    fn actual(&self) -> Result<(Vec<RunLine>, Footprint), Error> {
        let mut lines: Vec<RunLine> = Vec::with_capacity(self.runs.len());
        let mut moved = Footprint::ZERO;
        for run in &self.runs {
            let place = self.place(&run.cluster)?;
            if lines.last().is_none_or(|line| line.run.cluster != run.cluster) {
                moved += self.moved(&run.cluster, run.from)?;
            }
            lines.push(RunLine {
                run: run.clone(),
                footprint: footprint(self.demand, place.rates, &place.intensity, run.from, run.to),
                intensity: place.provenance.clone(),
            });
        }
        Ok((lines, moved))
    }

    /// The method in words, with the clusters of the line that have nodes of unknown embodied emissions.
    fn method(&self) -> String {
        let mut clusters: Vec<&ClusterId> = vec![&self.job.cluster];
        clusters.extend(self.runs.iter().map(|run| &run.cluster));
        clusters.sort();
        clusters.dedup();
        let rates: Vec<_> =
            clusters.into_iter().filter_map(|id| Some((id, self.places.get(id)?.rates.embodied?))).collect();
        let unknown = |(id, rate): &(&ClusterId, EmbodiedRate)| {
            let percent = significant(rate.unknown_permille as f64 / 10.0);
            format!("; unknown for {percent} % of the vCPUs of {id}, counted as 0")
        };
        let unknown = rates.iter().filter(|(_, rate)| rate.unknown_permille > 0).map(unknown);
        method(!rates.is_empty()) + &unknown.collect::<String>()
    }

    fn baseline(&self) -> Result<Baseline, Error> {
        let home = &self.job.cluster;
        let place = self.place(home)?;
        let length = self.runs.iter().map(|run| run.to - run.from).fold(Span::ZERO, |sum, span| sum + span);
        let (demand, length) = self.baseline.unwrap_or((self.demand, length));
        let to = self.created + length;
        let moved = if self.runs.is_empty() { Footprint::ZERO } else { self.moved(home, self.created)? };
        Ok(Baseline {
            cluster: home.clone(),
            from: self.created,
            to,
            footprint: footprint(demand, place.rates, &place.intensity, self.created, to) + moved,
            transfer: moved,
            intensity: place.provenance.clone(),
            what: BASELINE.to_owned(),
        })
    }
}

/// The ledger line of a finished Job.
///
/// # Errors
/// When a cluster's place is missing, runs are out of order, or there are more than [`RUNS_MAX`].
pub fn account(a: &Account<'_>) -> Result<Entry, Error> {
    a.check()?;
    let (runs, transfer) = a.actual()?;
    let burnt: Footprint = runs.iter().map(|line| line.footprint).sum();
    Ok(Entry {
        id: format!("job/{}", a.uid),
        replaces: None,
        job: a.job.clone(),
        uid: a.uid.clone(),
        recorded: a.recorded,
        created: a.created,
        started: runs.first().map_or(a.finished, |line| line.run.from),
        finished: a.finished,
        deadline: a.deadline,
        succeeded: a.succeeded,
        actual: burnt + transfer,
        runs,
        transfer,
        baseline: a.baseline()?,
        method: a.method(),
    })
}
