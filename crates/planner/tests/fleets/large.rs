//! Made-up fleets of any size, the same on every machine: jobs of some hours, a tenth of them with GPUs, deadlines
//! over all of the time, and nodes as many as keep cores and GPUs about [`LOAD`] busy.

use crate::fleets::{at, cluster, due, job, resources, snapshot};
use fleet::{ClusterId, ClusterSnapshot, Resources, Snapshot, Watts, Workload};

/// Share of cores and of GPUs that is asked for over the whole time.
const LOAD: f64 = 0.4;
/// GPUs of a node that has any.
const NODE_GPUS: i64 = 4;
/// Mean intensity by night in gCO2e/kWh, cluster after cluster.
const BASES: [f64; 7] = [380.0, 190.0, 520.0, 450.0, 300.0, 420.0, 60.0];

/// A fixed linear recurrence: the same figures on every machine.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Of cluster number so-and-so.
pub fn id(cluster: usize) -> ClusterId {
    ClusterId::new(&format!("c{cluster:02}")).unwrap()
}

fn intensity(i: usize, hours: usize, draws: &mut Draws) -> Vec<f64> {
    let base = BASES[i % BASES.len()];
    let mut weather = 0.0;
    let hour = |h: usize| {
        weather = 0.95 * weather + (draws.below(41) as f64 - 20.0) * base / 400.0;
        let sun = if (8..17).contains(&((h + 5 * i) % 24)) { base * 0.3 } else { 0.0 };
        (base - sun + weather).max(5.0)
    };
    (0..hours).map(hour).collect()
}

fn jobs_of(jobs: usize, clusters: usize, hours: u64, draws: &mut Draws) -> Vec<Workload> {
    let one = |i: usize| {
        let quarters_max = if draws.below(4) == 0 { 32 } else { 8 };
        let quarters = 1 + draws.below(quarters_max);
        let name = format!("job-{i:05}");
        let mut w = job(&name, 0, 0.25 * quarters as f64, (1 + draws.below(7)) as f64);
        w.key.cluster = id(draws.below(clusters as u64) as usize);
        w.parallelism = 1 + draws.below(3) as i64;
        if i.is_multiple_of(10) {
            (w.pod, w.parallelism) = (resources(4.0, 16, 1), 1);
            w.pod.gpu = 1 + draws.below(NODE_GPUS as u64) as i64;
        }
        let slack = draws.below(hours * 60 - quarters * 15 + 1);
        due(w, at(0, (quarters * 15 + slack) as i64))
    };
    (0..jobs).map(one).collect()
}

/// So many jobs and clusters, and deadlines within so many hours.
pub fn fleet_of(jobs: usize, clusters: usize, hours: u64) -> Snapshot {
    let mut draws = Draws(7);
    let made = jobs_of(jobs, clusters, hours, &mut draws);
    let held = |amount: &dyn Fn(Resources) -> f64| -> f64 {
        made.iter().map(|w| amount(w.demand()) * w.duration.as_hours_f64()).sum::<f64>()
            / (hours as f64 * clusters as f64 * LOAD)
    };
    let nodes = (held(&|r| r.cpu.as_cores_f64()) / 7.91).ceil().max(3.0) as i64;
    let with_gpus = (held(&|r| r.gpu as f64) / NODE_GPUS as f64).ceil().max(1.0) as i64;
    let gpus = Resources { gpu: NODE_GPUS, ..resources(16.0, 64, 58) };
    let one = |i: usize| {
        // The horizon may reach beyond the last deadline: twice as many hours are known.
        let mut c: ClusterSnapshot = cluster(0, nodes, &intensity(i, 2 * hours as usize, &mut draws));
        c.id = id(i);
        c.nodes.extend(std::iter::repeat_n(gpus, with_gpus as usize));
        c.free += gpus.times(with_gpus);
        c.allocatable = c.free;
        c.rates.gpu_power = Watts::from_watts_f64(250.0);
        c
    };
    snapshot(at(0, 0), (0..clusters).map(one).collect(), made)
}
