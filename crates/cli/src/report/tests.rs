//! A small report is the one in the repository, and every report stands for itself.
//!
//! `UPDATE_REPORT=1` writes it anew; what changed is then read in the diff.

use super::*;
use control::simulate::{self, ClusterCourse, Course, Row};
use fleet::PolicyKind;
use server::scenario;

/// A page as its golden file has it: without the looks, which are the console's.
fn bare(page: &Page) -> String {
    let text = html(page);
    let (head, rest) = text.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    // A line a tag, so that a difference is read.
    format!("{head}{body}").replace("><", ">\n<")
}

/// What a page may not have.
fn stands_for_itself(text: &str) {
    for foreign in ["http:", "https:", "<script", "<link", "<img", "src=", "url(", "@import", "NaN", "inf"] {
        let found = text.find(foreign).map(|at| &text[at.saturating_sub(60)..(at + 60).min(text.len())]);
        // `inf` as a number, not in a word.
        let word = found.is_some_and(|near| near.contains("info"));
        assert!(found.is_none() || word, "{foreign}: {found:?}");
    }
    assert!(text.len() < SIZE_MAX, "{} bytes", text.len());
    assert!(text.contains("prefers-color-scheme: dark") && text.contains("color-scheme: light dark"));
}

fn small() -> Page {
    let line = |name: &str, hue: usize, values: [Option<f64>; 3]| Line {
        name: name.to_owned(),
        hue,
        stroke: hue,
        points: values.into_iter().zip([60.0, 120.0, 180.0]).map(|(value, until)| (until, value)).collect(),
    };
    let plot = Plot {
        title: "Latency".to_owned(),
        unit: "ms".to_owned(),
        points: "The worst within each step.".to_owned(),
        kind: SignalKind::Estimated,
        seconds: 180.0,
        axis: Axis::Since,
        by_magnitude: true,
        lines: vec![
            line("p95", 0, [Some(50.0), None, Some(9000.0)]),
            line("<p50> & more", 1, [Some(20.0), Some(30.0), Some(25.0)]),
        ],
    };
    let cell = |text: &str, best: bool, bad: bool, note: &str| {
        let (text, note) = (text.to_owned(), note.to_owned());
        Cell { text, best, bad, note }
    };
    Page {
        title: "small".to_owned(),
        kicker: "Scenario on a twin".to_owned(),
        lead: "What it shows.".to_owned(),
        figures: vec![Figure {
            name: "Energy".to_owned(),
            value: "1.20".to_owned(),
            unit: "kWh".to_owned(),
            note: "80 % of it idle".to_owned(),
            bad: false,
        }],
        variants: vec!["a=1".to_owned(), "a=2".to_owned()],
        tables: vec![Grid {
            title: "Which is better at what".to_owned(),
            note: "Less is better.".to_owned(),
            head: vec![("Variant".to_owned(), false), ("kWh".to_owned(), true)],
            rows: vec![
                vec![cell("a=1", false, false, ""), cell("1.20", false, false, "")],
                vec![cell("a=2", false, false, ""), cell("1.10", true, false, "-8.3 %: better")],
            ],
        }],
        sections: vec![Section { title: "Requests".to_owned(), note: String::new(), plots: vec![plot] }],
        details: Vec::new(),
        assumed: vec!["that it rains".to_owned()],
        sources: vec![Source {
            of: "power".to_owned(),
            from: "the built-in table".to_owned(),
            kind: SignalKind::Assumed,
        }],
        command: "kubercarbon simulate small.yaml".to_owned(),
    }
}

#[test]
fn a_small_report_is_the_one_in_the_repository() {
    let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/small.html");
    let found = bare(&small());
    stands_for_itself(&html(&small()));
    if std::env::var_os("UPDATE_REPORT").is_some() {
        std::fs::write(&place, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&place).unwrap_or_default();
    let differs = expected.lines().zip(found.lines()).find(|(expected, found)| expected != found);
    assert!(expected == found, "the first difference: {differs:?}");
    assert!(found.contains("&lt;p50&gt; &amp; more"), "names are text");
}

const SCENARIO: &str = "apiVersion: kubercarbon.io/v1alpha1\nkind: Scenario\nmetadata: {name: s}\nabout: Two pods.\nfor: 20m\n\
    objects:\n\
    - {apiVersion: v1, kind: Service, metadata: {name: web, annotations: {traffic.twin.kubercarbon.io/requests: '0s=5,5m=60,8m=5'}}, spec: {selector: {app: web}, ports: [{port: 80}]}}\n\
    - {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}}, \
    template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: 'web:1', resources: {requests: {cpu: 500m}}}]}}}}\n\
    expect:\n- {at: 4m, kind: Deployment, name: web, is: {status.readyReplicas: 2}}\n- {at: 4m, kind: Node, count: 4}\n";

#[test]
fn a_page_of_a_scenario_has_what_came_of_it() {
    let report = scenario::run(&scenario::parse(SCENARIO).unwrap());
    let page = scenarios::page(&[("", &report)], "kubercarbon simulate s.yaml");
    let text = html(&page);
    stands_for_itself(&text);
    let titles: Vec<&str> =
        page.sections.iter().flat_map(|s| &s.plots).map(|plot| plot.title.as_str()).collect();
    for wanted in [
        "Load",
        "Errors",
        "Latency",
        "Nodes",
        "Pods",
        "Power",
        "Grid intensity",
        "Carbon",
        "Carbon so far",
        "Money",
    ] {
        assert!(titles.contains(&wanted), "no {wanted} in {titles:?}");
    }
    for wanted in ["1 of 2", "4 × Node", "3 of 3 × Node", "typical year", "m6i.large", "g CO2e/kWh", "seed 1"]
    {
        assert!(text.contains(wanted), "no {wanted}");
    }
    // What is drawn ends at what was counted.
    let last = |title: &str| {
        let plots: Vec<&Plot> =
            page.sections.iter().flat_map(|s| &s.plots).filter(|p| p.title == title).collect();
        plots[0].lines[0].points.last().copied().unwrap()
    };
    assert_eq!(last("Carbon so far"), (1200.0, report.drawn.gco2e));
    assert_eq!(last("Money so far").1, Some(report.drawn.cost));
    let load =
        page.sections[0].plots[0].lines[0].points.iter().map(|(_, value)| value.unwrap_or(0.0)).sum::<f64>();
    let requests = report.traffic[0].counts.requests as f64;
    assert!((load * report.course.step_seconds - requests).abs() < 2.0, "{load} {requests}");
}

#[test]
fn a_page_of_variants_has_a_line_each() {
    let runs: Vec<scenario::Report> = ["2", "3"]
        .map(|value| scenario::Change { place: "replicas".to_owned(), value: value.to_owned() })
        .map(|change| scenario::run(&scenario::parse_changed(SCENARIO, &[change]).unwrap()))
        .into();
    let page = scenarios::page(&[("replicas=2", &runs[0]), ("replicas=3", &runs[1])], "");
    stands_for_itself(&html(&page));
    let power = page.sections.iter().flat_map(|s| &s.plots).find(|plot| plot.title == "Power").unwrap();
    let names: Vec<&str> = power.lines.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["replicas=2", "replicas=3"]);
    assert_ne!(power.lines[0].points, power.lines[1].points);
}

#[test]
fn a_page_of_policies_stays_small_however_long_the_run_is() {
    let hours = 24 * 366;
    let cluster = |i: usize| ClusterCourse {
        cluster: format!("c{i}"),
        nodes: vec![100; hours],
        busy_cores: (0..hours).map(|h| (h * i % 97) as f64 + 0.123).collect(),
        kwh: vec![3.5; hours],
        carbon_kg: vec![1.25; hours],
        cost: vec![9.75; hours],
        intensity: (0..hours).map(|h| 400.0 + (h % 24) as f64).collect(),
        electricity: vec![0.25; hours],
        requests_per_second: vec![100.0; hours],
        errors_per_second: vec![0.5; hours],
        latency_milliseconds: vec![[Some(20.0), Some(90.0), None]; hours],
    };
    let clusters: Vec<ClusterCourse> = (0..30).map(cluster).collect();
    let course = Course { arrived: (0..hours).collect(), finished: vec![0; hours], clusters };
    let row = |policy: PolicyKind, carbon_kg: f64| Row {
        policy,
        jobs: 3,
        in_time: 2,
        unfinished: 0,
        carbon_kg,
        embodied_kg: 0.0,
        energy_kwh: 4.0,
        cost_usd: 5.0,
        mean_wait_h: 1.0,
        busy_share: 0.5,
        idle_carbon_kg: 2.0,
        machines_kwh: 7.0,
        machines_carbon_kg: 8.0,
        machines_usd: 9.0,
        electricity_usd: Some(1.5),
        served: Some(simulate::Served { requests: 1000, failed: 3, ..simulate::Served::default() }),
    };
    let text = include_str!("../../../../examples/world.yaml");
    let page = policies::page(&policies::Results {
        fleet: &fleet::file::parse(text).unwrap(),
        from: Instant::parse("2022-01-01T00:00:00Z").unwrap(),
        rows: &[row(PolicyKind::Optimal, 75.0), row(PolicyKind::Soonest, 100.0)],
        courses: &[course.clone(), course],
        assumptions: &["no data to move".to_owned()],
        carbon: &[("a file".to_owned(), SignalKind::Measured)],
        prices: Some("a price file"),
        command: "",
    });
    let text = html(&page);
    stands_for_itself(&text);
    assert!(
        text.contains("-25.0 % against soonest") && text.contains("The first 12 of 30 clusters"),
        "{}",
        text.len()
    );
    let points =
        page.sections.iter().flat_map(|s| &s.plots).flat_map(|p| &p.lines).map(|l| l.points.len()).max();
    assert!(points <= Some(POINTS_MAX), "{points:?}");
    // Cluster c0 ran (h · 0) cores and 0.123 each hour, under either policy.
    assert_eq!(page.details[0].rows[0][2].text, fleet::quantity::significant(0.123 * hours as f64));
}
