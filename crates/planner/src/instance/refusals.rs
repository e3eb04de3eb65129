//! What [`Instance::parse`] refuses, and in what words.

use super::Instance;
use super::limits::{CELLS_MAX, CLUSTERS_MAX, JOBS_MAX, SLOTS_MAX};

const GOOD: &str = r#"{"format": "placement-1", "name": "t", "slots": 3, "slot_seconds": 3600,
"transfer_g_per_gb": [[0, 1], [1, 0]], "transfer_price_per_gb": 0.02, "latency_ms": [[0, 9], [9, 0]],
"clusters": [
{"name": "c0", "cpu": 8, "mem_gib": [8, 8, 16], "gpu": 0, "carbon": [1, 2, 3.5], "carbon_forecast": [1, 2, 3],
"pue": 1.2, "watt_core": 5, "watt_gpu": 300, "price_core_hour": 0.02, "price_gpu_hour": 1},
{"name": "c1", "cpu": 4, "mem_gib": 16, "gpu": 1, "carbon": [3, 2, 1], "carbon_forecast": [3, 2, 1.25],
"pue": 1, "watt_core": 5, "watt_gpu": 300, "price_core_hour": 0.02, "price_gpu_hour": 1}],
"jobs": [
{"id": "a", "arrival": 0, "duration": 2, "deadline": 3, "cpu": 1.5, "mem_gib": 2, "gpu": 0, "priority": 1,
"interruptible": true, "resume_kwh": 0.1, "clusters": [0, 1], "home": 0, "data_gb": 6.5},
{"id": "b", "arrival": 1, "duration": 5, "deadline": 2, "cpu": 1, "mem_gib": 2, "gpu": 1, "priority": 4,
"interruptible": false, "clusters": null, "home": 1, "data_gb": 0}]}"#;

/// Changes to the good instance (`this => that`, the first of it), and what is said of each.
const REFUSED: &str = r#"
"slots": 3 => "slots": 1000000000
    slots: 1000000000: expected a whole number from 1 to 8784
"slots": 3 => "slots": 0
    slots: 0: expected a whole number from 1 to 8784
"slots": 3 => "slots": "3"
    slots: "3": expected a whole number from 1 to 8784
"slots": 3, => "slot": 3,
    slots: missing: expected a whole number from 1 to 8784
3600 => 0.5
    slot_seconds: 0.5: expected a whole number from 1 to 86400
"placement-1" => "placement-2"
    format: "placement-2": expected "placement-1"
"home": 0, => "home": 0, "home": 1,
    jobs[0], line 10, column 82: home is given twice: expected it once
"jobs": [ => "jobs": 3, "x": [
    jobs, line 8, column 9: invalid type: integer `3`: expected a list of jobs
"cpu": 1.5 => "cpu": NaN
    jobs[0].cpu, line 9, column 64: expected value at "NaN": expected JSON, whose numbers are finite
"cpu": 1.5 => "cpu": -Infinity
    jobs[0].cpu, line 9, column 65: invalid number at "-Infinity": expected JSON, whose numbers are finite
"cpu": 1.5 => "cpu": 1e400
    jobs[0].cpu, line 9, column 68: number out of range at "1e400": expected JSON, whose numbers are finite
"cpu": 1.5 => "cpu": -1.5
    jobs[0] (a).cpu: -1.5: expected a number from 0 to 10000000
"cpu": 1.5 => "cpu": 1e30
    jobs[0] (a).cpu: 1e30: expected a number from 0 to 10000000
"cpu": 1.5 => "cpu": "2"
    jobs[0] (a).cpu: "2": expected a number from 0 to 10000000
"cpu": 1.5 => "cpus": 1.5
    jobs[0] (a).cpu: missing: expected a number from 0 to 10000000
"priority": 4 => "priority": null
    jobs[1] (b).priority: null: expected a number from 0 to 1000000000
"duration": 2 => "duration": 0
    jobs[0] (a).duration: 0: expected a whole number from 1 to 1000000
"duration": 2 => "duration": 1.5
    jobs[0] (a).duration: 1.5: expected a whole number from 1 to 1000000
"deadline": 2 => "deadline": 0
    jobs[1] (b).deadline: 0: expected a whole number from 1, its arrival, to 1000000
"deadline": 2 => "deadline": -1
    jobs[1] (b).deadline: -1: expected a whole number from 1, its arrival, to 1000000
"deadline": 2 => "deadline": 1e9
    jobs[1] (b).deadline: 1000000000: expected a whole number from 1, its arrival, to 1000000
"arrival": 1, => "arrival": 3,
    2 errors:
      jobs[1] (b).deadline: 2: expected a whole number from 3, its arrival, to 1000000
      jobs[1] (b).arrival: 3: expected a slot before 3, the number of slots
"id": "b" => "id": "a"
    jobs[1] (a).id: "a": expected an id no other job has
"id": "b" => "id": 7
    jobs[1].id: 7: expected a text of 1 to 253 characters
"id": "b" => "id": ""
    jobs[1].id: "": expected a text of 1 to 253 characters
"home": 1 => "home": 2
    jobs[1] (b).home: 2: expected the index of a cluster, below 2
"home": 1 => "home": -1
    jobs[1] (b).home: -1: expected a whole number from 0 to 999
false => 0
    jobs[1] (b).interruptible: 0: expected true or false
[0, 1], "home" => [0, 7], "home"
    jobs[0] (a).clusters[1]: 7: expected the index of a cluster, below 2
[0, 1], "home" => [0.5], "home"
    jobs[0] (a).clusters[0]: 0.5: expected the index of a cluster
[0, 1], "home" => [], "home"
    jobs[0] (a).clusters: a list of 0: expected null, or a list of at least one index of a cluster
[0, 1], "home" => ["c0"], "home"
    jobs[0] (a).clusters: a list of 1: expected null, or a list of at least one index of a cluster
[0, 1], "home" => "c0", "home"
    jobs[0] (a).clusters: "c0": expected null, or a list of at least one index of a cluster
[3, 2, 1] => [3, 2]
    clusters[1] (c1).carbon: a list of 2: expected a list of 3 numbers, one a slot
[3, 2, 1] => [3, 2, 1, 1]
    clusters[1] (c1).carbon: a list of 4: expected a list of 3 numbers, one a slot
[3, 2, 1] => 3
    clusters[1] (c1).carbon: 3: expected a list of 3 numbers, one a slot
[3, 2, 1] => [3, -2, 1]
    clusters[1] (c1).carbon[1]: -2: expected a number from 0 to 100000
[3, 2, 1] => [3, 2, [1]]
    clusters[1] (c1).carbon[2]: a list of 1: expected a number from 0 to 100000
[3, 2, 1] => [3, 1e400, 1]
    clusters[1].carbon[1], line 6, column 69: number out of range at "1e400": expected JSON, whose numbers are finite
[8, 8, 16] => [8, 8]
    clusters[0] (c0).mem_gib: a list of 2: expected a number, or a list of 3 numbers, one a slot
[8, 8, 16] => null
    clusters[0] (c0).mem_gib: null: expected a number, or a list of 3 numbers, one a slot
"carbon_forecast" => "forecast"
    clusters[0] (c0).carbon_forecast: missing: expected a list of 3 numbers, one a slot
"pue": 1, => "pue": 0.9,
    clusters[1] (c1).pue: 0.9: expected a number from 1 to 10
"c1" => "c0"
    clusters[1] (c0).name: "c0": expected a name no other cluster has
0.02, "latency => -0.02, "latency
    transfer_price_per_gb: -0.02: expected a number from 0 to 1000000000
[1, 0]] => [1]]
    transfer_g_per_gb[1]: a list of 1: expected a list of 2 numbers, one a cluster
[1, 0]] => [1, -1]]
    transfer_g_per_gb[1][1]: -1: expected a number from 0 to 1000000
[[0, 1], [1, 0]] => [[0, 1]]
    transfer_g_per_gb: a list of 1: expected a list of 2, one a cluster
[[0, 9], [9, 0]] => [[0, 9]]
    latency_ms: a list of 1: expected a list of 2, one a cluster
"transfer_g_per_gb" => "transfer"
    transfer_g_per_gb: missing: expected a list
"#;

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let cases = REFUSED.trim().lines().filter(|line| !line.starts_with("    "));
    let mut said = String::from("\n");
    for case in cases {
        let (this, that) = case.split_once(" => ").unwrap();
        assert!(GOOD.contains(this), "{this}");
        let error = Instance::parse(GOOD.replacen(this, that, 1).as_bytes()).unwrap_err().to_string();
        let lines: String = error.lines().map(|line| format!("    {line}\n")).collect();
        said.push_str(&format!("{case}\n{lines}"));
    }
    assert!(said == REFUSED, "{said}");
}

fn refusal(text: &str) -> String {
    Instance::parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_good_instance_is_read() {
    let instance = Instance::parse(GOOD.as_bytes()).unwrap();
    assert_eq!((instance.slots, instance.clusters.len(), instance.jobs.len()), (3, 2, 2));
    assert_eq!(instance.clusters[0].room[1], [8.0, 8.0, 16.0]);
    assert_eq!((0..3).map(|t| instance.clusters[0].room_at(0, t)).sum::<f64>(), 24.0);
    assert_eq!(instance.jobs[0].clusters, Some(vec![0, 1]));
    // Its time does not suffice: it can only be missed, which is no error.
    assert_eq!((instance.jobs[1].arrival, instance.jobs[1].duration, instance.jobs[1].deadline), (1, 5, 2));
    assert_eq!(instance.jobs[1].resume_kwh, 0.0);
    assert!(instance.ignored.is_empty());
}

#[test]
fn unknown_keys_are_named_once() {
    let text =
        GOOD.replace("\"home\"", "\"note\": [1, {\"x\": 2}], \"home\"").replacen('{', "{\"by\": 1,", 1);
    let instance = Instance::parse(text.as_bytes()).unwrap();
    assert_eq!(instance.ignored, ["by", "jobs[0].note"]);
}

#[test]
fn what_is_no_instance_is_refused() {
    let json = "expected JSON, whose numbers are finite";
    assert_eq!(refusal(""), "line 1, column 0: the text ends: expected more of it");
    assert_eq!(
        refusal("[]"),
        "line 1, column 0: invalid type: sequence: expected an object of format placement-1"
    );
    assert_eq!(refusal("{}"), "format: missing: expected \"placement-1\"");
    let after = format!("{GOOD} x");
    assert_eq!(refusal(&after), format!("line 12, column 70: trailing characters at \"x\": {json}"));
    let deep = format!("{{\"spec\": {}", "[".repeat(100_000));
    let (error, nested) = (refusal(&deep), "[0]".repeat(32));
    assert_eq!(
        error,
        format!("spec{nested}…, line 1, column 136: recursion limit exceeded at \"[\": {json}")
    );
    for end in 0..GOOD.len() {
        let error = refusal(&GOOD[..end]);
        assert!(error.contains("expected"), "{error}");
    }
    let none = r#"{"format": "placement-1", "slots": 3, "slot_seconds": 60, "clusters": [], "jobs": [],
        "transfer_g_per_gb": [], "transfer_price_per_gb": 0}"#;
    assert_eq!(refusal(none), "clusters: none: expected at least one");
}

#[test]
fn what_is_too_much_is_refused() {
    let list = |count: usize, item: &str| format!("[{}{item}]", format!("{item},").repeat(count - 1));
    let error = refusal(&format!("{{\"clusters\": {}}}", list(CLUSTERS_MAX + 1, "{}")));
    assert!(error.ends_with("more than 1000 clusters: expected at most that"), "{error}");
    let error = refusal(&format!("{{\"jobs\": {}}}", list(JOBS_MAX + 1, "{}")));
    assert!(error.ends_with("more than 1000000 jobs: expected at most that"), "{error}");
    let year = format!("{{\"carbon\": {}}}", list(SLOTS_MAX, "1"));
    let error = refusal(&format!("{{\"clusters\": {}}}", list(5 * CELLS_MAX / SLOTS_MAX + 1, &year)));
    assert!(error.contains("more than 5000000 numbers"), "{error}");
    let wide = GOOD.replacen("[3, 2, 1]", &list(1_000_000, "1"), 1);
    assert_eq!(
        refusal(&wide),
        "clusters[1] (c1).carbon: a list of 1000000: expected a list of 3 numbers, one a slot"
    );
    let cells = GOOD.replacen("\"slots\": 3", "\"slots\": 8784", 1);
    let clusters = format!("\"clusters\": [{}{{", "{},".repeat(200));
    assert_eq!(
        refusal(&cells.replacen("\"clusters\": [\n{", &clusters, 1)),
        "slots: 202 clusters and 8784 slots: expected clusters x slots of at most 1000000"
    );
    let many = GOOD.replacen("{\"id\": \"a\"", &format!("{}{{\"id\": \"a\"", "{},".repeat(30)), 1);
    let error = refusal(&many);
    assert!(error.starts_with("330 errors:\n  jobs[0].arrival: missing: expected"), "{error}");
    assert!(error.ends_with("\n  and 310 more"), "{error}");
}
