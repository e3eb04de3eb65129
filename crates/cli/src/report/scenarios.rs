//! A page of what came of a scenario, or of its variants beside each other.

use super::{Axis, Cell, Figure, Grid, Line, Page, Plot, Section, Source, VARIANTS_MAX};
use fleet::SignalKind;
use fleet::quantity::significant;
use server::scenario::{CourseStep, QueueStep, Report, ServiceStep};

/// Services and queues that have plots, each.
const SUBJECTS_MAX: usize = 4;
/// What points are that flow.
const MEAN: &str = "Mean of each step, from exact sums.";
const END: &str = "At the end of each step.";
const WORST: &str = "The worst within each step.";
const SO_FAR: &str = "So far, exactly, at the end of each step.";

/// A run with its name.
pub type Variant<'a> = (&'a str, &'a Report);

/// How one figure of a step is read.
type Read<'a> = &'a dyn Fn(&CourseStep) -> Option<f64>;
/// The same of a Service.
type ReadService<'a> = &'a dyn Fn(&ServiceStep) -> Option<f64>;

/// What plots are made of.
struct Runs<'a> {
    all: &'a [Variant<'a>],
    seconds: f64,
}

impl Runs<'_> {
    fn plot(&self, title: &str, unit: &str, points: &str, kind: SignalKind, lines: Vec<Line>) -> Plot {
        Plot {
            title: title.to_owned(),
            unit: unit.to_owned(),
            points: points.to_owned(),
            kind,
            seconds: self.seconds,
            axis: Axis::Since,
            by_magnitude: false,
            lines,
        }
    }
    /// A line for each run; of a single run, one for each of several figures.
    fn lines(&self, figures: &[(&str, Read<'_>)]) -> Vec<Line> {
        let line = |name: &str, at: usize, report: &Report, read: Read<'_>| {
            let points = report.course.steps.iter().map(|step| (step.until_seconds, read(step))).collect();
            Line { name: name.to_owned(), hue: at, stroke: at, points }
        };
        match self.all {
            [(_, only)] => {
                figures.iter().enumerate().map(|(i, (name, read))| line(name, i, only, *read)).collect()
            }
            all => all
                .iter()
                .enumerate()
                .map(|(i, (name, report))| line(name, i, report, figures[0].1))
                .collect(),
        }
    }
    /// The same of a Service.
    fn service(&self, at: usize, figures: &[(&str, ReadService<'_>)]) -> Vec<Line> {
        let line = |name: &str, i: usize, report: &Report, read: ReadService<'_>| {
            let own = report.course.services.get(at)?;
            let ends = report.course.steps.iter().skip(own.first).map(|step| step.until_seconds);
            let points = shifted(own.first, &report.course.steps).chain(ends.zip(own.steps.iter().map(read)));
            Some(Line { name: name.to_owned(), hue: i, stroke: i, points: points.collect() })
        };
        match self.all {
            [(_, only)] => figures
                .iter()
                .enumerate()
                .filter_map(|(i, (name, read))| line(name, i, only, *read))
                .collect(),
            all => all
                .iter()
                .enumerate()
                .filter_map(|(i, (name, report))| line(name, i, report, figures[0].1))
                .collect(),
        }
    }
    /// The same of a queue.
    fn queue(&self, at: usize, read: &dyn Fn(&QueueStep) -> Option<f64>) -> Vec<Line> {
        let line = |(i, (name, report)): (usize, &Variant<'_>)| {
            let own = report.course.queues.get(at)?;
            let ends = report.course.steps.iter().skip(own.first).map(|step| step.until_seconds);
            let points = shifted(own.first, &report.course.steps).chain(ends.zip(own.steps.iter().map(read)));
            let name = if self.all.len() == 1 { own.queue.clone() } else { (*name).to_owned() };
            Some(Line { name, hue: i, stroke: i, points: points.collect() })
        };
        self.all.iter().enumerate().filter_map(line).collect()
    }
}

/// The end of the steps before something was there.
fn shifted(first: usize, steps: &[CourseStep]) -> impl Iterator<Item = (f64, Option<f64>)> {
    let before = first.checked_sub(1).and_then(|last| steps.get(last));
    before.map(|step| (step.until_seconds, None)).into_iter()
}

fn requests(runs: &Runs<'_>) -> Vec<Section> {
    let names: Vec<String> = runs.all[0].1.course.services.iter().map(|own| own.service.clone()).collect();
    let kind = SignalKind::Estimated;
    let several = runs.all.len() > 1;
    let section = |at: usize, name: &String| {
        let load: ReadService<'_> = &|step| Some(step.requests_per_second);
        let failed: ReadService<'_> = &|step| Some(step.errors_per_second);
        let quantiles: [(&str, ReadService<'_>); 3] = [
            ("p95", &|step| step.p95_milliseconds),
            ("p50", &|step| step.p50_milliseconds),
            ("p99", &|step| step.p99_milliseconds),
        ];
        let mut plots = vec![
            runs.plot("Load", "requests/s", MEAN, SignalKind::Assumed, runs.service(at, &[("Load", load)])),
            runs.plot(
                "Errors",
                "requests/s without an answer",
                MEAN,
                kind,
                runs.service(at, &[("Errors", failed)]),
            ),
        ];
        let latency = |title: &str, figures: &[(&str, ReadService<'_>)]| Plot {
            by_magnitude: true,
            ..runs.plot(title, "ms", WORST, kind, runs.service(at, figures))
        };
        if several {
            let each = [1, 0, 2].map(|i| latency(&format!("Latency {}", quantiles[i].0), &quantiles[i..=i]));
            plots.extend(each);
        } else {
            plots.push(latency("Latency", &quantiles));
        }
        let serving: ReadService<'_> = &|step| Some(f64::from(step.serving));
        plots.push(runs.plot(
            "Pods that serve",
            "pods",
            END,
            kind,
            runs.service(at, &[("Pods that serve", serving)]),
        ));
        let note = "Latency and errors by queueing theory (docs/traffic.md).".to_owned();
        Section { title: format!("Requests to {name}"), note, plots }
    };
    names.iter().take(SUBJECTS_MAX).enumerate().map(|(at, name)| section(at, name)).collect()
}

fn messages(runs: &Runs<'_>) -> Vec<Section> {
    let names: Vec<String> = runs.all[0].1.course.queues.iter().map(|own| own.queue.clone()).collect();
    let kind = SignalKind::Estimated;
    let section = |at: usize, name: &String| {
        let waiting = runs.queue(at, &|step| Some(step.waiting_max as f64));
        let oldest = runs.queue(at, &|step| Some(step.oldest_seconds_max));
        let plots = vec![
            runs.plot("Messages waiting", "messages", "The most within each step.", kind, waiting),
            runs.plot("Oldest message", "s", "The longest wait within each step.", kind, oldest),
        ];
        Section { title: format!("Queue {name}"), note: String::new(), plots }
    };
    names.iter().take(SUBJECTS_MAX).enumerate().map(|(at, name)| section(at, name)).collect()
}

fn machines(runs: &Runs<'_>) -> Section {
    let several = runs.all.len() > 1;
    let kind = SignalKind::Estimated;
    let ready: Read<'_> = &|step| Some(step.nodes_ready as f64);
    let nodes: Read<'_> = &|step| Some(step.nodes as f64);
    let running: Read<'_> = &|step| Some(step.pods_running as f64);
    let pending: Read<'_> = &|step| Some(step.pods_pending as f64);
    let busy: Read<'_> = &|step| Some(step.busy_share * 100.0);
    let mut plots = vec![
        runs.plot("Nodes", "nodes", END, kind, runs.lines(&[("ready", ready), ("all", nodes)])),
        runs.plot("Pods", "pods", END, kind, runs.lines(&[("running", running), ("pending", pending)])),
    ];
    if several {
        plots[0].title = "Nodes ready".to_owned();
        plots[1].title = "Pods running".to_owned();
        plots.push(runs.plot("Pods pending", "pods", END, kind, runs.lines(&[("pending", pending)])));
    }
    let title = "CPU requested of what there is";
    plots.push(runs.plot(title, "%", MEAN, kind, runs.lines(&[(title, busy)])));
    Section { title: "Machines and pods".to_owned(), note: String::new(), plots }
}

/// Rates of a sum so far, an hour.
fn hourly(runs: &Runs<'_>, title: &str, read: &dyn Fn(&CourseStep) -> f64) -> Vec<Line> {
    let line = |(i, (name, report)): (usize, &Variant<'_>)| {
        let (mut at, mut sum) = (0.0, 0.0);
        let points = report.course.steps.iter().map(|step| {
            let hours = (step.until_seconds - at).max(1e-9) / 3600.0;
            let rate = (read(step) - sum) / hours;
            (at, sum) = (step.until_seconds, read(step));
            (at, Some(rate))
        });
        let name = if runs.all.len() == 1 { title } else { name };
        Line { name: name.to_owned(), hue: i, stroke: i, points: points.collect() }
    };
    runs.all.iter().enumerate().map(line).collect()
}

fn drawn(runs: &Runs<'_>) -> Vec<Section> {
    let first = runs.all[0].1;
    let (power, price) = (first.setting.power.max(SignalKind::Estimated), first.setting.price);
    let grams = runs.all.iter().all(|(_, report)| report.drawn.gco2e.is_some());
    let carbon = first.drawn.intensity_from.as_ref().map_or(SignalKind::Assumed, |from| from.kind).max(power);
    let (watts, kwh): (Read<'_>, Read<'_>) = (&|step| Some(step.power_watts), &|step| Some(step.kwh));
    let mut plots = vec![
        runs.plot("Power", "W", MEAN, power, runs.lines(&[("Power", watts)])),
        runs.plot("Energy", "kWh", SO_FAR, power, runs.lines(&[("Energy", kwh)])),
    ];
    if grams {
        let intensity: Read<'_> = &|step| step.intensity;
        let so_far: Read<'_> = &|step| Some(step.gco2e);
        let (kind, own) = (
            first.drawn.intensity_from.as_ref().map_or(SignalKind::Assumed, |from| from.kind),
            "Grid intensity",
        );
        let mut lines = runs.lines(&[(own, intensity)]);
        if runs.all.iter().all(|(_, report)| report.setting.grid_zone == first.setting.grid_zone) {
            lines.truncate(1);
            lines[0].name = own.to_owned();
        }
        plots.push(runs.plot(own, "g CO2e/kWh", MEAN, kind, lines));
        plots.push(runs.plot("Carbon", "g CO2e/h", MEAN, carbon, hourly(runs, "Carbon", &|step| step.gco2e)));
        plots.push(runs.plot(
            "Carbon so far",
            "g CO2e",
            SO_FAR,
            carbon,
            runs.lines(&[("Carbon so far", so_far)]),
        ));
    }
    let currency = &first.drawn.currency;
    let cost: Read<'_> = &|step| Some(step.cost);
    plots.push(runs.plot(
        "Money",
        &format!("{currency}/h"),
        MEAN,
        price,
        hourly(runs, "Money", &|step| step.cost),
    ));
    plots.push(runs.plot("Money so far", currency, SO_FAR, price, runs.lines(&[("Money so far", cost)])));
    let note =
        "Machines with their facility's overhead (PUE); money is the price of machines, disks and traffic between zones.".to_owned();
    vec![Section { title: "Power, carbon, money".to_owned(), note, plots }]
}

/// Figures of one run that stand first.
fn figures(report: &Report) -> Vec<Figure> {
    let figure = |name: &str, value: String, unit: &str, note: String| {
        let (name, unit) = (name.to_owned(), unit.to_owned());
        Figure { name, value, unit, note, bad: false }
    };
    let met = report.expectations.iter().filter(|outcome| outcome.met).count();
    let all = report.expectations.len();
    let mut figures = Vec::new();
    if all > 0 {
        let refused = match report.refused.len() {
            0 => String::new(),
            some => format!("{some} steps were refused"),
        };
        let own = figure("As expected", format!("{met} of {all}"), "", refused);
        figures.push(Figure { bad: !report.is_met(), ..own });
    }
    let (requests, failed): (i64, i64) = report
        .traffic
        .iter()
        .fold((0, 0), |(all, failed), own| (all + own.counts.requests, failed + own.counts.failed()));
    if requests > 0 {
        let share = failed as f64 / requests as f64 * 100.0;
        let note = format!("{failed} of {requests} requests");
        let own = figure("Without an answer", significant(share), "%", note);
        figures.push(Figure { bad: failed > 0, ..own });
    }
    if let Some((p95, of)) = slowest(report) {
        figures.push(figure("95 % answered within", significant(p95), "ms", of));
    }
    let dead: i64 = report.queues.iter().map(|own| own.counts.expired + own.counts.overflowed).sum();
    if !report.queues.is_empty() {
        let messages: i64 = report.queues.iter().map(|own| own.counts.messages).sum();
        let own = figure("Dead letters", dead.to_string(), "", format!("of {messages} messages"));
        figures.push(Figure { bad: dead > 0, ..own });
    }
    if report.work.jobs > 0 {
        let work = &report.work;
        let note = format!("{} complete, {} failed, {} open", work.complete, work.failed, work.open);
        let own = figure("Jobs late", work.late.to_string(), &format!("of {}", work.jobs), note);
        figures.push(Figure { bad: work.late > 0, ..own });
    }
    let idle = report.drawn.idle_kwh / report.drawn.kwh().max(1e-12) * 100.0;
    figures.push(figure(
        "Energy",
        significant(report.drawn.kwh()),
        "kWh",
        format!("{} % of it idle", significant(idle)),
    ));
    if let Some(grams) = report.drawn.gco2e {
        let note = format!("and {} g of making the machines", significant(report.drawn.embodied_gco2e));
        figures.push(figure("Carbon", significant(grams), "g CO2e", note));
    }
    figures.push(figure("Money", significant(report.drawn.cost), &report.drawn.currency, paid_for(report)));
    figures
}

/// What the money is for.
fn paid_for(report: &Report) -> String {
    let drawn = &report.drawn;
    let disks: f64 = drawn.disks.iter().map(|own| own.cost).sum();
    let traffic: f64 = drawn.zone_traffic.iter().map(|own| own.cost).sum();
    if drawn.disks.is_empty() && drawn.zone_traffic.is_empty() {
        return "price of the machines".to_owned();
    }
    let [machines, disks, traffic] = [drawn.machines_cost, disks, traffic].map(significant);
    format!("machines {machines}, disks {disks}, between zones {traffic}")
}

/// The slowest Service's 95 % quantile of all its answers, in milliseconds, and its name.
pub fn slowest(report: &Report) -> Option<(f64, String)> {
    let all = report.traffic.iter().filter_map(|own| Some((own.p95_milliseconds?, own.service.clone())));
    all.max_by(|(one, _), (other, _)| one.total_cmp(other))
}

fn millis(value: Option<f64>) -> Cell {
    Cell::new(value.map_or_else(|| "–".to_owned(), significant))
}

fn expected(report: &Report) -> Grid {
    let row = |outcome: &server::scenario::Outcome| {
        let found = if outcome.met { String::new() } else { outcome.found.clone() };
        let met = Cell {
            text: if outcome.met { "yes" } else { "no" }.to_owned(),
            bad: !outcome.met,
            note: found,
            ..Cell::default()
        };
        vec![Cell::new(outcome.expected.clone()), met, Cell::new(outcome.at_seconds.to_string())]
    };
    let refused = report.refused.iter().map(|text| {
        vec![
            Cell::new(text.clone()),
            Cell { text: "refused".to_owned(), bad: true, ..Cell::default() },
            Cell::default(),
        ]
    });
    Grid {
        title: "What was expected".to_owned(),
        note: String::new(),
        head: vec![
            ("Expected".to_owned(), false),
            ("So".to_owned(), false),
            ("Decided at, s".to_owned(), true),
        ],
        rows: report.expectations.iter().map(row).chain(refused).collect(),
    }
}

fn services(report: &Report) -> Grid {
    let names = [
        "Service",
        "Requests",
        "Answered",
        "Refused",
        "Queue full",
        "Timed out",
        "Cut",
        "p50 ms",
        "p95 ms",
        "p99 ms",
    ];
    let row = |own: &server::scenario::Traffic| {
        let counts = &own.counts;
        let numbers = [
            counts.requests,
            counts.answered,
            counts.refused,
            counts.queue_full,
            counts.timed_out,
            counts.cut,
        ];
        let times = [own.p50_milliseconds, own.p95_milliseconds, own.p99_milliseconds];
        let cells = numbers.iter().map(|number| Cell::new(number.to_string())).chain(times.map(millis));
        std::iter::once(Cell::new(own.service.clone())).chain(cells).collect()
    };
    Grid {
        title: "All requests".to_owned(),
        note: "Quantiles of all answers, at most 7 % above what they stand for.".to_owned(),
        head: names.iter().enumerate().map(|(i, name)| ((*name).to_owned(), i > 0)).collect(),
        rows: report.traffic.iter().map(row).collect(),
    }
}

/// What is paid for: parts that sum to the whole.
fn money(report: &Report) -> Grid {
    let drawn = &report.drawn;
    let row = |name: String, of: String, cost: f64, note: &str| {
        let cost = Cell { text: significant(cost), note: note.to_owned(), ..Cell::default() };
        vec![Cell::new(name), Cell::new(of), cost]
    };
    let mut rows = vec![row("Machines".to_owned(), String::new(), drawn.machines_cost, "")];
    rows.extend(drawn.disks.iter().map(|own| {
        let held = format!("{} GiB h", significant(own.gib_hours));
        row(format!("Disks of class {}", own.class), held, own.cost, &own.basis)
    }));
    rows.extend(drawn.zone_traffic.iter().map(|own| {
        let weight = format!("{} GB", significant(own.gb));
        row(format!("{} between zones", own.service), weight, own.cost, &own.basis)
    }));
    rows.push(row("In all".to_owned(), String::new(), drawn.cost, ""));
    Grid {
        title: "Money".to_owned(),
        note: "What is paid for until the end.".to_owned(),
        head: vec![("What".to_owned(), false), ("Of".to_owned(), true), (drawn.currency.clone(), true)],
        rows,
    }
}

fn queues(report: &Report) -> Grid {
    let names =
        ["Queue", "Messages", "Done", "Expired", "Overflowed", "Open", "Given out again", "Most waiting"];
    let row = |own: &server::scenario::QueueReport| {
        let c = &own.counts;
        let numbers = [c.messages, c.done, c.expired, c.overflowed, c.open, c.redelivered, own.waiting_max];
        let cells = numbers.iter().map(|number| Cell::new(number.to_string()));
        std::iter::once(Cell::new(own.queue.clone())).chain(cells).collect()
    };
    Grid {
        title: "All messages".to_owned(),
        note: String::new(),
        head: names.iter().enumerate().map(|(i, name)| ((*name).to_owned(), i > 0)).collect(),
        rows: report.queues.iter().map(row).collect(),
    }
}

fn sources(all: &[Variant<'_>]) -> Vec<Source> {
    let source = |of: &str, from: String, kind: SignalKind| Source { of: of.to_owned(), from, kind };
    let first = all[0].1;
    let mut sources = vec![source(
        "requests, latency, errors, messages",
        "arrivals as the scenario states them; waits by queueing theory and fluid backlogs (docs/traffic.md)"
            .to_owned(),
        SignalKind::Estimated,
    )];
    if first.traffic.is_empty() && first.queues.is_empty() {
        sources.clear();
    }
    let mut machines: Vec<&String> = all.iter().flat_map(|(_, report)| &report.setting.machines).collect();
    machines.sort();
    machines.dedup();
    let machines = machines.into_iter().cloned().collect::<Vec<_>>().join("; ");
    sources.push(source("power of machines", machines, first.setting.power));
    sources.push(source("prices of machines", "as of the machines above".to_owned(), first.setting.price));
    let mut known: Vec<&str> = Vec::new();
    for (_, report) in all {
        match &report.drawn.intensity_from {
            Some(from) if !known.contains(&from.source.as_str()) => {
                known.push(&from.source);
                sources.push(source("carbon intensity", from.source.clone(), from.kind));
            }
            _ => {}
        }
    }
    sources
}

fn assumed(first: &Report) -> Vec<String> {
    let mut assumed = vec![first.drawn.basis.clone()];
    assumed.push(format!(
        "chance (boot times, ties between nodes, made-up names) is drawn from seed {}; the same file and seed give the same bytes",
        first.setting.seed
    ));
    for (all, what) in [(first.course.services.len(), "Services"), (first.course.queues.len(), "queues")] {
        if all > SUBJECTS_MAX {
            assumed
                .push(format!("plots show the first {SUBJECTS_MAX} of {all} {what}; -o json has them all"));
        }
    }
    if first.drawn.gco2e.is_none() {
        assumed.push(format!(
            "no carbon intensity of {} is known, so no carbon is shown",
            first.setting.grid_zone
        ));
    }
    assumed
}

/// A page of runs of one scenario; the first is what others are held against.
pub fn page(all: &[Variant<'_>], command: &str) -> Page {
    let shown = &all[..all.len().min(VARIANTS_MAX)];
    let Some((_, first)) = shown.first() else { return Page::default() };
    let runs = Runs { all: shown, seconds: first.setting.seconds as f64 };
    let mut sections = requests(&runs);
    sections.extend(messages(&runs));
    sections.push(machines(&runs));
    sections.extend(drawn(&runs));
    let mut page = Page {
        title: first.name.clone(),
        kicker: "Scenario on a twin".to_owned(),
        lead: first.about.clone(),
        sections,
        assumed: assumed(first),
        sources: sources(shown),
        command: command.to_owned(),
        ..Page::default()
    };
    if shown.len() > 1 {
        page.kicker = "Variants of a scenario on twins".to_owned();
        page.variants = shown.iter().map(|(name, _)| (*name).to_owned()).collect();
        return page;
    }
    page.figures = figures(first);
    page.tables.push(expected(first));
    if !first.traffic.is_empty() {
        page.tables.push(services(first));
    }
    if !first.queues.is_empty() {
        page.tables.push(queues(first));
    }
    if !first.drawn.disks.is_empty() || !first.drawn.zone_traffic.is_empty() {
        page.tables.push(money(first));
    }
    page
}
