//! The readers on the published files the figures of the results come from. They are found through
//! `KUBERCARBON_TESTDATA`; without it there is nothing to read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

use connect::observe::carbon::{self, CarbonFile};
use connect::observe::trace;
use fleet::{GridZone, Instant, Span};

/// A file of the test data; `None` (and a word about it) when there is no test data.
fn file(path: &str) -> Option<Vec<u8>> {
    let Some(root) = std::env::var_os("KUBERCARBON_TESTDATA") else {
        println!("skipped: no test data");
        return None;
    };
    let path = std::path::Path::new(&root).join(path);
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn kr(carbon: &CarbonFile, from: &str, to: &str) -> Result<carbon::ZoneSeries, carbon::Error> {
    let zone = GridZone::new("KR").unwrap();
    carbon.series(&zone, Instant::parse(from).unwrap(), Instant::parse(to).unwrap())
}

#[test]
fn hourly_carbon_of_two_years() {
    let Some(bytes) = file("data/carbon/hourly_em_2021_2022.csv.gz") else { return };
    let carbon = carbon::read_csv("hourly_em_2021_2022.csv.gz", &bytes).unwrap();
    let zone = GridZone::new("KR").unwrap();
    assert_eq!(carbon.zones().count(), 19);
    assert_eq!(carbon.hours(&zone), 17_520);
    assert!(!carbon.gaps.iter().any(|gap| gap.zone == zone), "{}", carbon.describe());
    let cut = kr(&carbon, "2022-01-01T00:00:00Z", "2023-01-01T00:00:00Z").unwrap();
    assert_eq!((cut.series.values().len(), cut.filled.len()), (8760, 0));
    let mean = cut.series.mean(cut.series.start(), cut.series.end()).as_grams_f64();
    assert!((430.0..470.0).contains(&mean), "mean of 2022 is about 453 g/kWh, found {mean}");
    let error = kr(&carbon, "2022-12-31T00:00:00Z", "2023-01-02T00:00:00Z").unwrap_err().to_string();
    assert!(
        error.contains("KR has no value from 2023-01-01T00:00:00Z to 2023-01-02T00:00:00Z (24 h)"),
        "{error}"
    );
}

#[test]
fn hourly_carbon_of_123_zones() {
    let Some(bytes) = file("data/carbon/hourly_lca_2022_123zones.csv.gz") else { return };
    let carbon = carbon::read_csv("hourly_lca_2022_123zones.csv.gz", &bytes).unwrap();
    assert_eq!(carbon.zones().count(), 123);
    let first = kr(&carbon, "2022-01-01T00:00:00Z", "2022-01-01T02:00:00Z").unwrap();
    let grams: Vec<f64> = first.series.values().iter().map(|value| value.as_grams_f64()).collect();
    assert_eq!(grams, [484.3, 478.5]);
}

#[test]
fn traces_of_three_clusters() {
    for (name, jobs, first_h) in
        [("alibaba_pai", 19_488, 25.4081), ("azure_vms", 19_865, 0.75), ("mustang_hpc_2015", 47_523, 4.1625)]
    {
        let Some(bytes) = file(&format!("data/traces/{name}.csv.gz")) else { return };
        let trace = trace::read_trace(name, &bytes).unwrap();
        assert_eq!(trace.jobs.len(), jobs, "{name}");
        assert_eq!(trace.jobs[0].length, Span::from_hours_f64(first_h).unwrap(), "{name}");
        assert!(trace.jobs.is_sorted_by_key(|job| job.arrival), "{name}");
    }
}
