//! Ports of containers, and those of the node they take.
//!
//! Words and order are those of Kubernetes 1.36's `pkg/apis/core/validation`. Left out: names of ports.

use super::super::field::Errors;
use super::{list, one_of, text, value};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PORTS: std::ops::RangeInclusive<i64> = 1..=65_535;
const OUT_OF_RANGE: &str = "must be between 1 and 65535, inclusive";

fn number(port: &Value, field: &str) -> i64 {
    value(port, &format!("/{field}")).as_i64().unwrap_or(0)
}

/// Checks the ports of one container.
pub(super) fn check(errors: &mut Errors, ports: &[Value], path: &str) {
    for (i, port) in ports.iter().enumerate() {
        let path = format!("{path}[{i}]");
        match number(port, "containerPort") {
            0 => errors.required(&format!("{path}.containerPort"), ""),
            found if PORTS.contains(&found) => {}
            found => errors.invalid(&format!("{path}.containerPort"), &json!(found), OUT_OF_RANGE),
        }
        let host = number(port, "hostPort");
        if host != 0 && !PORTS.contains(&host) {
            errors.invalid(&format!("{path}.hostPort"), &json!(host), OUT_OF_RANGE);
        }
        one_of(errors, value(port, "/protocol"), &format!("{path}.protocol"), &["SCTP", "TCP", "UDP"]);
    }
}

/// Checks that no port of the node is taken twice: by all containers together, by each init container alone.
pub(super) fn distinct(errors: &mut Errors, spec: &Value, kind: &str, path: &str) {
    let mut taken = BTreeSet::new();
    for (i, container) in list(spec, &format!("/{kind}")).iter().enumerate() {
        if kind == "initContainers" {
            taken.clear();
        }
        for (j, port) in list(container, "/ports").iter().enumerate() {
            let host = number(port, "hostPort");
            let triple = format!("{}/{}/{host}", text(port, "/protocol"), text(port, "/hostIP"));
            if host != 0 && !taken.insert(triple.clone()) {
                errors.duplicate(&format!("{path}.{kind}[{i}].ports[{j}].hostPort"), &json!(triple));
            }
        }
    }
}

/// Checks that who is on its node's network takes the ports there that it says. In a template those of the node need not
/// be stated: they are filled in when a pod is made of it.
pub(super) fn on_the_hosts_network(errors: &mut Errors, spec: &Value, path: &str, is_pod: bool) {
    if value(spec, "/hostNetwork").as_bool() != Some(true) {
        return;
    }
    for (i, container) in list(spec, "/containers").iter().enumerate() {
        for (j, port) in list(container, "/ports").iter().enumerate() {
            let host = number(port, "hostPort");
            if (is_pod || host != 0) && host != number(port, "containerPort") {
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&format!("{path}.containers[{i}].ports[{j}].hostPort"), &json!(host), why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(check: impl Fn(&mut Errors)) -> Vec<String> {
        let mut errors = Errors::default();
        check(&mut errors);
        errors.into_causes().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn a_port_of_the_node_is_taken_once() {
        let port =
            |host: i64, protocol: &str| json!({"containerPort": 80, "hostPort": host, "protocol": protocol});
        let one = |ports: Value| json!({"name": "c", "ports": ports});
        let spec = json!({
            "initContainers": [one(json!([port(80, "TCP")])), one(json!([port(80, "TCP")]))],
            "containers": [one(json!([port(80, "TCP"), port(80, "UDP"), port(0, "TCP")])), one(json!([port(80, "TCP"), port(0, "TCP")]))],
        });
        assert_eq!(said(|errors| distinct(errors, &spec, "initContainers", "spec")), Vec::<String>::new());
        assert_eq!(
            said(|errors| distinct(errors, &spec, "containers", "spec")),
            ["spec.containers[1].ports[0].hostPort: Duplicate value: \"TCP//80\""]
        );
    }

    #[test]
    fn on_the_nodes_network_ports_are_the_nodes() {
        let spec = |host: i64| json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80, "hostPort": host}]}]});
        let wrong = |host: i64| {
            format!(
                "spec.containers[0].ports[0].hostPort: Invalid value: {host}: must match `containerPort` when `hostNetwork` is true"
            )
        };
        for (host, is_pod, expected) in [
            (80, true, vec![]),
            (81, true, vec![wrong(81)]),
            (0, true, vec![wrong(0)]),
            (0, false, vec![]),
            (81, false, vec![wrong(81)]),
        ] {
            let found = said(|errors| on_the_hosts_network(errors, &spec(host), "spec", is_pod));
            assert_eq!(found, expected, "{host} {is_pod}");
        }
    }
}
