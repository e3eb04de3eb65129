//! A page of what came of a fleet and a trace of Jobs under several policies.

use super::{Axis, Cell, Grid, Line, POINTS_MAX, Page, Plot, Section, Source, VARIANTS_MAX};
use control::simulate::{ClusterCourse, Course, Row};
use fleet::quantity::significant;
use fleet::{FleetSpec, Instant, PolicyKind, SignalKind};

/// Clusters that have plots of their own.
const CLUSTERS_MAX: usize = 12;
/// Seconds of an hour.
const HOUR: f64 = 3600.0;
/// What points are.
const MEAN: &str = "Mean of each step, from exact sums.";
const SO_FAR: &str = "So far, exactly, at the end of each step.";

/// What is reported.
pub struct Results<'a> {
    /// The fleet.
    pub fleet: &'a FleetSpec,
    /// First instant.
    pub from: Instant,
    /// What came of each policy.
    pub rows: &'a [Row],
    /// How each went, in the same order.
    pub courses: &'a [Course],
    /// What was assumed.
    pub assumptions: &'a [String],
    /// Where intensities are from, and how sure they are.
    pub carbon: &'a [(String, SignalKind)],
    /// Where prices of electricity are from, where there are any.
    pub prices: Option<&'a str>,
    /// How to make the page again.
    pub command: &'a str,
}

/// How hours of a step become one value.
#[derive(Clone, Copy)]
enum Fold {
    Mean,
    Last,
}

/// Hourly values as at most [`POINTS_MAX`] points.
fn points(hours: &[f64], fold: Fold) -> Vec<(f64, Option<f64>)> {
    let width = hours.len().div_ceil(POINTS_MAX).max(1);
    let chunks = hours.chunks(width).enumerate();
    let each = chunks.map(|(i, chunk)| {
        let value = match fold {
            Fold::Mean => chunk.iter().sum::<f64>() / chunk.len() as f64,
            Fold::Last => chunk.last().copied().unwrap_or(0.0),
        };
        ((i * width + chunk.len()) as f64 * HOUR, value.is_finite().then_some(value))
    });
    each.collect()
}

/// What the clusters come to together, hour by hour.
fn total(course: &Course, read: impl Fn(&ClusterCourse) -> &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; course.arrived.len()];
    for cluster in &course.clusters {
        for (sum, own) in sum.iter_mut().zip(read(cluster)) {
            *sum += own;
        }
    }
    sum
}

fn so_far(hours: Vec<f64>) -> Vec<f64> {
    let sums = hours.into_iter().scan(0.0, |sum, own| {
        *sum += own;
        Some(*sum)
    });
    sums.collect()
}

impl Results<'_> {
    fn seconds(&self) -> f64 {
        let hours = self.courses.iter().map(|course| course.arrived.len()).max().unwrap_or(0);
        hours.max(1) as f64 * HOUR
    }
    fn plot(&self, title: &str, unit: &str, says: &str, kind: SignalKind, lines: Vec<Line>) -> Plot {
        Plot {
            title: title.to_owned(),
            unit: unit.to_owned(),
            points: says.to_owned(),
            kind,
            seconds: self.seconds(),
            axis: Axis::Dates(self.from),
            by_magnitude: false,
            lines,
        }
    }
    /// A line for each policy.
    fn lines(&self, fold: Fold, read: impl Fn(&Course) -> Vec<f64>) -> Vec<Line> {
        let all = self.rows.iter().zip(self.courses).take(VARIANTS_MAX).enumerate();
        let line = all.map(|(i, (row, course))| Line {
            name: row.policy.as_str().to_owned(),
            hue: i,
            stroke: i,
            points: points(&read(course), fold),
        });
        line.collect()
    }
    fn carbon_kind(&self) -> SignalKind {
        self.carbon.iter().map(|(_, kind)| *kind).max().unwrap_or(SignalKind::Assumed)
    }
    fn power_kind(&self) -> SignalKind {
        let groups = self.fleet.clusters.iter().flat_map(|cluster| cluster.groups());
        groups.map(|group| group.rates_from.power.kind()).max().unwrap_or(SignalKind::Assumed)
    }
    fn price_kind(&self) -> SignalKind {
        let groups = self.fleet.clusters.iter().flat_map(|cluster| cluster.groups());
        groups.map(|group| group.rates_from.price.kind()).max().unwrap_or(SignalKind::Assumed)
    }
}

/// The Jobs of each policy: what the ledger says they came to.
fn summary(results: &Results<'_>) -> Grid {
    let rows = results.rows;
    let currency = &results.fleet.currency;
    let names = [
        "Policy".to_owned(),
        "Jobs".to_owned(),
        "In time".to_owned(),
        "Unfinished".to_owned(),
        "Carbon, kg CO2e".to_owned(),
        "Energy, kWh".to_owned(),
        format!("Money, {currency}"),
        "Mean wait, h".to_owned(),
        "Busy, %".to_owned(),
        "Idle nodes, kg CO2e".to_owned(),
    ];
    let least = |read: &dyn Fn(&Row) -> f64| rows.iter().map(read).fold(f64::INFINITY, f64::min);
    let (carbon, cost) = (least(&|row| row.carbon_kg), least(&|row| row.cost_usd));
    // At once, at home: what policies are held against, where it is among them.
    let base_row = rows.iter().find(|row| row.policy == PolicyKind::Soonest).or(rows.first());
    let cell = |row: &Row, value: f64, base: Option<f64>, best: f64| {
        let differs = base.filter(|base| *base > 0.0 && Some(row.policy) != base_row.map(|row| row.policy));
        let note = differs.map(|base| {
            format!(
                "{:+.1} % against {}",
                (value / base - 1.0) * 100.0,
                base_row.map_or("", |row| row.policy.as_str())
            )
        });
        Cell {
            text: significant(value),
            best: rows.len() > 1 && value <= best,
            note: note.unwrap_or_default(),
            bad: false,
        }
    };
    let row = |row: &Row| {
        let late = row.jobs - row.in_time.min(row.jobs);
        let in_time = Cell { text: row.in_time.to_string(), bad: late > 0, ..Cell::default() };
        let unfinished =
            Cell { text: row.unfinished.to_string(), bad: row.unfinished > 0, ..Cell::default() };
        vec![
            Cell::new(row.policy.as_str()),
            Cell::new(row.jobs.to_string()),
            in_time,
            unfinished,
            cell(row, row.carbon_kg, base_row.map(|row| row.carbon_kg), carbon),
            Cell::new(significant(row.energy_kwh)),
            cell(row, row.cost_usd, base_row.map(|row| row.cost_usd), cost),
            Cell::new(significant(row.mean_wait_h)),
            Cell::new(significant(row.busy_share * 100.0)),
            Cell::new(significant(row.idle_carbon_kg)),
        ]
    };
    Grid {
        title: "The Jobs, by policy".to_owned(),
        note: "What Jobs are charged, from the ledger: their runs and transfers, by what really was. Idle power is the \
            clusters' own, and shown apart."
            .to_owned(),
        head: names.into_iter().enumerate().map(|(i, name)| (name, i > 0)).collect(),
        rows: rows.iter().map(row).collect(),
    }
}

/// Where the work ran: core-hours of each cluster under each policy.
fn by_cluster(results: &Results<'_>) -> Grid {
    let Some(first) = results.courses.first() else { return Grid::default() };
    let mut head = vec![("Cluster".to_owned(), false), ("Grid, mean g CO2e/kWh".to_owned(), true)];
    for row in results.rows {
        head.push((format!("{}: core-hours", row.policy.as_str()), true));
        head.push((format!("{}: kg CO2e", row.policy.as_str()), true));
    }
    let row = |(at, cluster): (usize, &ClusterCourse)| {
        let mean = cluster.intensity.iter().sum::<f64>() / cluster.intensity.len().max(1) as f64;
        let mut cells = vec![Cell::new(cluster.cluster.clone()), Cell::new(significant(mean))];
        for course in results.courses {
            let own = course.clusters.get(at);
            let sum = |read: fn(&ClusterCourse) -> &Vec<f64>| own.map_or(0.0, |own| read(own).iter().sum());
            cells.push(Cell::new(significant(sum(|own| &own.busy_cores))));
            cells.push(Cell::new(significant(sum(|own| &own.carbon_kg))));
        }
        cells
    };
    Grid {
        title: "Where the work ran".to_owned(),
        note: "Core-hours requested by running containers; carbon of all the cluster's machines, idle power included.".to_owned(),
        head,
        rows: first.clusters.iter().enumerate().map(row).collect(),
    }
}

fn load(results: &Results<'_>) -> Section {
    let kind = SignalKind::Estimated;
    let open = |course: &Course| -> Vec<f64> {
        course.arrived.iter().zip(&course.finished).map(|(all, done)| (all - done.min(all)) as f64).collect()
    };
    let nodes = |course: &Course| -> Vec<f64> {
        let mut sum = vec![0.0; course.arrived.len()];
        for cluster in &course.clusters {
            sum.iter_mut().zip(&cluster.nodes).for_each(|(sum, own)| *sum += *own as f64);
        }
        sum
    };
    let mut come =
        results.lines(Fold::Last, |course| course.arrived.iter().map(|count| *count as f64).collect());
    come.truncate(1);
    come.iter_mut().for_each(|line| line.name = "have come".to_owned());
    let busy = results.lines(Fold::Mean, |course| total(course, |own| &own.busy_cores));
    let end = "At the end of each step.";
    let plots = vec![
        results.plot("Jobs that have come", "Jobs", SO_FAR, kind, come),
        results.plot("Jobs held or running", "Jobs", end, kind, results.lines(Fold::Last, open)),
        results.plot("Busy", "cores", MEAN, kind, busy),
        results.plot("Nodes", "nodes", end, kind, results.lines(Fold::Last, nodes)),
    ];
    Section { title: "Load".to_owned(), note: String::new(), plots }
}

fn flows(results: &Results<'_>) -> Section {
    let currency = &results.fleet.currency;
    let (power, price) = (results.power_kind(), results.price_kind());
    let carbon = power.max(results.carbon_kind());
    let drawn = |course: &Course| total(course, |own| &own.kwh);
    let grams = |course: &Course| total(course, |own| &own.carbon_kg);
    let money = |course: &Course| total(course, |own| &own.cost);
    let (carbon_so_far, money_so_far) = (
        results.lines(Fold::Last, |course| so_far(grams(course))),
        results.lines(Fold::Last, |course| so_far(money(course))),
    );
    let hourly = format!("{currency}/h");
    let mut plots = vec![
        // Of an hour, kWh are kW.
        results.plot("Power", "kW", MEAN, power, results.lines(Fold::Mean, drawn)),
        results.plot("Carbon", "kg CO2e/h", MEAN, carbon, results.lines(Fold::Mean, grams)),
        results.plot("Carbon so far", "kg CO2e", SO_FAR, carbon, carbon_so_far),
        results.plot("Money", &hourly, MEAN, price, results.lines(Fold::Mean, money)),
        results.plot("Money so far", currency, SO_FAR, price, money_so_far),
    ];
    if results.rows.iter().any(|row| row.electricity_usd.is_some()) {
        let lines = results.lines(Fold::Mean, |course| total(course, |own| &own.electricity));
        plots.push(results.plot("Electricity at the hour's wholesale price", &hourly, MEAN, power, lines));
    }
    let note = "All machines of the fleet, busy or idle, with their facility's overhead (PUE).".to_owned();
    Section { title: "Power, carbon, money".to_owned(), note, plots }
}

/// The requests to all Services of the fleet.
fn services(results: &Results<'_>) -> Option<Section> {
    results.rows.iter().find(|row| row.served.is_some())?;
    let kind = SignalKind::Estimated;
    let load = results.lines(Fold::Mean, |course| total(course, |own| &own.requests_per_second));
    let failed = results.lines(Fold::Mean, |course| total(course, |own| &own.errors_per_second));
    let mut plots = vec![
        results.plot("Load", "requests/s", MEAN, kind, load),
        results.plot("Errors", "requests/s without an answer", MEAN, kind, failed),
    ];
    for (at, name) in ["p50", "p95", "p99"].into_iter().enumerate() {
        let slowest = |course: &Course| -> Vec<f64> {
            let hour = |hour: usize| {
                let all = course.clusters.iter().filter_map(|own| own.latency_milliseconds.get(hour)?[at]);
                all.fold(f64::NAN, f64::max)
            };
            (0..course.arrived.len()).map(hour).collect()
        };
        let says = "The slowest Service of any cluster, at the end of each hour; mean of each step.";
        let lines = results.lines(Fold::Mean, slowest);
        plots.push(Plot {
            by_magnitude: true,
            ..results.plot(&format!("Latency {name}"), "ms", says, kind, lines)
        });
    }
    let note = "Latency and errors by queueing theory (docs/traffic.md).".to_owned();
    Some(Section { title: "Requests to Services".to_owned(), note, plots })
}

/// All machines, and the Services, by policy.
fn machines(results: &Results<'_>) -> Grid {
    let rows = results.rows;
    let currency = &results.fleet.currency;
    let (priced, served) =
        (rows.iter().any(|row| row.electricity_usd.is_some()), rows.iter().any(|row| row.served.is_some()));
    let mut head = vec![
        ("Policy".to_owned(), false),
        ("Hours".to_owned(), true),
        ("Energy, kWh".to_owned(), true),
        ("Carbon, kg CO2e".to_owned(), true),
        (format!("Machines, {currency}"), true),
    ];
    if priced {
        head.push((format!("Electricity, {currency}"), true));
    }
    if served {
        head.extend(["Requests", "Failed", "p50 ms", "p95 ms", "p99 ms"].map(|name| (name.to_owned(), true)));
    }
    let number = |value: Option<f64>| Cell::new(value.map_or_else(|| "–".to_owned(), significant));
    let row = |(row, course): (&Row, &Course)| {
        let mut cells = vec![Cell::new(row.policy.as_str()), Cell::new(course.arrived.len().to_string())];
        cells.extend(
            [row.machines_kwh, row.machines_carbon_kg, row.machines_usd].map(|value| number(Some(value))),
        );
        if priced {
            cells.push(number(row.electricity_usd));
        }
        if served {
            let own = row.served.unwrap_or_default();
            cells.push(Cell::new(own.requests.to_string()));
            cells.push(Cell { text: own.failed.to_string(), bad: own.failed > 0, ..Cell::default() });
            cells.extend([own.p50_milliseconds, own.p95_milliseconds, own.p99_milliseconds].map(number));
        }
        cells
    };
    Grid {
        title: "The fleet, by policy".to_owned(),
        note: "All machines, busy or idle, by their own power curves, until the last Job had finished: a policy that \
            waits for clean hours has more of them. List prices of machines have their electricity in \
            them; what it would cost at the zones' wholesale prices stands apart."
            .to_owned(),
        head,
        rows: rows.iter().zip(results.courses).map(row).collect(),
    }
}

/// What runs in each cluster, beside the intensity of its grid.
fn each(results: &Results<'_>) -> Section {
    let first = results.courses.first().map(|course| course.clusters.as_slice()).unwrap_or_default();
    let mut plots = Vec::new();
    for (at, cluster) in first.iter().enumerate().take(CLUSTERS_MAX) {
        let grid = Line {
            name: "grid".to_owned(),
            hue: 4,
            stroke: 0,
            points: points(&cluster.intensity, Fold::Mean),
        };
        let busy = results.lines(Fold::Mean, |course| {
            course.clusters.get(at).map(|own| own.busy_cores.clone()).unwrap_or_default()
        });
        let name = &cluster.cluster;
        plots.push(results.plot(
            &format!("{name}: grid"),
            "g CO2e/kWh",
            MEAN,
            results.carbon_kind(),
            vec![grid],
        ));
        plots.push(results.plot(&format!("{name}: busy"), "cores", MEAN, SignalKind::Estimated, busy));
    }
    let mut note = "What each policy ran where and when, beside how clean the grid was.".to_owned();
    if first.len() > CLUSTERS_MAX {
        note += &format!(" The first {CLUSTERS_MAX} of {} clusters; -o json has them all.", first.len());
    }
    Section { title: "Cluster by cluster".to_owned(), note, plots }
}

fn sources(results: &Results<'_>) -> Vec<Source> {
    let source = |of: &str, from: String, kind: SignalKind| Source { of: of.to_owned(), from, kind };
    let groups = results.fleet.clusters.iter().flat_map(|cluster| cluster.groups());
    let mut machines: Vec<&str> = groups.map(|group| group.sources.as_str()).collect();
    machines.sort_unstable();
    machines.dedup();
    let mut sources = vec![
        source("power of machines", machines.join("; "), results.power_kind()),
        source("prices of machines", "as of the machines above".to_owned(), results.price_kind()),
    ];
    sources.extend(
        results.carbon.iter().map(|(from, kind)| source("carbon intensity as it was", from.clone(), *kind)),
    );
    if let Some(prices) = results.prices {
        sources.push(source("prices of electricity", prices.to_owned(), SignalKind::Measured));
    }
    let text = "made hour by hour from the past alone (planner::forecast); plans see nothing else";
    sources.push(source("carbon intensity that plans saw", text.to_owned(), SignalKind::Forecast));
    sources
}

/// The page.
pub fn page(results: &Results<'_>) -> Page {
    let mut sections: Vec<Section> = services(results).into_iter().collect();
    sections.extend([load(results), flows(results), each(results)]);
    let jobs = results.rows.first().map_or(0, |row| row.jobs);
    let days = results.seconds() / (24.0 * HOUR);
    let clusters = results.fleet.clusters.len();
    let from = results.from.to_rfc3339_seconds();
    Page {
        title: format!("{jobs} Jobs on {clusters} clusters"),
        kicker: "Policies on twins".to_owned(),
        lead: format!(
            "From {} for {} days, until the last Job had finished. Carbon is counted from what really happened; plans saw forecasts.",
            from.get(..10).unwrap_or_default(),
            significant(days)
        ),
        variants: results.rows.iter().take(VARIANTS_MAX).map(|row| row.policy.as_str().to_owned()).collect(),
        tables: vec![summary(results), machines(results)],
        sections,
        details: vec![by_cluster(results)],
        assumed: results.assumptions.to_vec(),
        sources: sources(results),
        command: results.command.to_owned(),
        ..Page::default()
    }
}
