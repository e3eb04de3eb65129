//! The examples people are told to use are read as they stand.

use std::path::Path;

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    std::fs::read_to_string(&path).expect("read an example")
}

#[test]
fn the_example_fleet_is_what_its_comments_say() {
    let fleet = fleet::file::parse(&example("fleet.yaml")).expect("read examples/fleet.yaml");
    let clusters: Vec<_> = fleet
        .clusters
        .iter()
        .map(|c| {
            let group = &c.node_groups[0];
            (
                c.id.as_str(),
                c.region.as_str(),
                c.grid_zone.as_str(),
                group.instance_type.as_str(),
                group.count,
                group.zones.len(),
            )
        })
        .collect();
    let expected = [
        ("kr", "ap-northeast-2", "KR", "m6i.2xlarge", 6, 3),
        ("jp", "ap-northeast-1", "JP-TK", "m6i.2xlarge", 6, 3),
    ];
    assert_eq!(clusters, expected);
    assert_eq!(fleet.demo.expect("a demo stream").jobs_per_hour, 2.0);
}

/// What the example leaves commented out are the defaults: with every such line taken in, the fleet
/// is the same.
#[test]
fn the_defaults_in_the_comments_are_the_defaults() {
    let text = example("fleet.yaml");
    let plain = fleet::file::parse(&text).expect("read examples/fleet.yaml");
    let spelled: String = text
        .lines()
        .map(|line| match line.split_once("#= ") {
            Some((indent, field)) if indent.trim().is_empty() => format!("{indent}{field}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(spelled, text, "no line begins with \"#= \"");
    let spelled =
        fleet::file::parse(&spelled).expect("read examples/fleet.yaml with its defaults spelled out");
    assert_eq!(spelled, plain);
}
