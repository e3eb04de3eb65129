//! The queries, in PromQL, and the addresses they make.
//!
//! Invariants: every one is bounded: a range of 5 min, a limit of series, a limit of time. `SCOPE` stands where the
//! matcher of the cluster goes, behind other matchers or alone.
//!
//! The innermost `max by` takes of replicas of one Prometheus, which differ in a label of their own, one; the `sum by`
//! adds up containers, those that restarted too (`id`); the outer `max by` takes of two endpoints of the kubelet that
//! were both scraped, one. `container!="POD"` leaves the pause container out, `container!=""` the sums of cgroups.

use super::super::bounded::ITEMS_MAX;
use super::{Scope, escape};

/// Longest a query may take, as the server is asked; the client waits a little longer.
const SECONDS_MAX: u32 = 9;

/// CPU in cores and memory in bytes.
pub struct Both {
    pub cpu: &'static str,
    pub memory: &'static str,
}

/// The same of nodes, and whose figures they are.
pub struct Nodes {
    pub from: &'static str,
    pub cpu: &'static str,
    pub memory: &'static str,
}

/// Watts, each the sum of its queries, and whose figures they are.
pub struct Power {
    pub from: &'static str,
    pub pods: &'static [&'static str],
    pub nodes: &'static [&'static str],
}

/// By namespace and pod.
pub const PODS: Both = Both {
    cpu: r#"max by (namespace,pod) (sum by (namespace,pod,job,metrics_path) (max by (namespace,pod,container,id,job,metrics_path) (rate(container_cpu_usage_seconds_total{container!="",container!="POD",SCOPE}[5m]))))"#,
    memory: r#"max by (namespace,pod) (sum by (namespace,pod,job,metrics_path) (max by (namespace,pod,container,id,job,metrics_path) (container_memory_working_set_bytes{container!="",container!="POD",SCOPE})))"#,
};

/// By node, best first.
pub const NODES: [Nodes; 3] = [
    Nodes {
        from: "nodes by the kubelet",
        cpu: "max by (node,kubernetes_node,instance) (rate(node_cpu_usage_seconds_total{SCOPE}[5m]))",
        memory: "max by (node,kubernetes_node,instance) (node_memory_working_set_bytes{SCOPE})",
    },
    Nodes {
        from: "nodes by cAdvisor's root cgroup",
        cpu: r#"max by (node,kubernetes_node,instance) (rate(container_cpu_usage_seconds_total{id="/",SCOPE}[5m]))"#,
        memory: r#"max by (node,kubernetes_node,instance) (container_memory_working_set_bytes{id="/",SCOPE})"#,
    },
    // Without steal, which is somebody else's; node_uname_info knows what the host behind an address is called.
    Nodes {
        from: "nodes by node-exporter",
        cpu: r#"sum by (instance) (max by (instance,cpu,mode) (rate(node_cpu_seconds_total{mode!~"idle|iowait|steal",SCOPE}[5m]))) * on (instance) group_left (nodename) max by (instance,nodename) (node_uname_info{SCOPE})"#,
        memory: "(max by (instance) (node_memory_MemTotal_bytes{SCOPE}) - max by (instance) (node_memory_MemAvailable_bytes{SCOPE})) * on (instance) group_left (nodename) max by (instance,nodename) (node_uname_info{SCOPE})",
    },
];

/// From 0.10 on: of pods what they add (idle power is not spread over them), of nodes all.
pub const KEPLER: Power = Power {
    from: "power by Kepler (CPU packages and DRAM)",
    pods: &[
        r#"sum by (pod_namespace,pod_name) (max by (pod_namespace,pod_name,pod_id,zone) (rate(kepler_pod_cpu_joules_total{zone=~"package|dram",state!="terminated",SCOPE}[5m])))"#,
    ],
    nodes: &[
        r#"sum by (node_name) (max by (node_name,zone,path) (rate(kepler_node_cpu_joules_total{zone=~"package|dram",SCOPE}[5m])))"#,
    ],
};

/// Before 0.10: the dynamic part of containers, both parts of nodes.
pub const KEPLER_BEFORE: Power = Power {
    from: "power by Kepler before 0.10 (CPU packages and DRAM)",
    pods: &[
        r#"sum by (container_namespace,pod_name) (max by (container_namespace,pod_name,container_id) (rate(kepler_container_package_joules_total{mode="dynamic",SCOPE}[5m])))"#,
        r#"sum by (container_namespace,pod_name) (max by (container_namespace,pod_name,container_id) (rate(kepler_container_dram_joules_total{mode="dynamic",SCOPE}[5m])))"#,
    ],
    nodes: &[
        "sum by (node,exported_instance,instance) (max by (node,exported_instance,instance,package,mode) (rate(kepler_node_package_joules_total{SCOPE}[5m])))",
        "sum by (node,exported_instance,instance) (max by (node,exported_instance,instance,package,mode) (rate(kepler_node_dram_joules_total{SCOPE}[5m])))",
    ],
};

/// Whole GPUs: of a pod those it holds, their idle power too, because it holds them alone. `exported_pod` is the pod
/// that holds it; without that label the exporter's own pod would be charged.
pub const GPU: Power = Power {
    from: "GPUs by DCGM",
    pods: &[
        r#"sum by (exported_namespace,exported_pod) (max by (exported_namespace,exported_pod,UUID) (avg_over_time(DCGM_FI_DEV_POWER_USAGE{exported_pod!="",SCOPE}[5m])))"#,
    ],
    nodes: &[
        "sum by (node,Hostname) (max by (node,Hostname,UUID) (avg_over_time(DCGM_FI_DEV_POWER_USAGE{SCOPE}[5m])))",
    ],
};

/// Whose figures they are, and the query.
pub const PRICES: (&str, &str) = (
    "prices by OpenCost",
    "max by (exported_node,node,exported_instance,instance) (node_total_hourly_cost{SCOPE})",
);

/// The address of a query.
pub fn path(query: &str, scope: &Scope) -> String {
    let matcher = match scope {
        Scope::All => String::new(),
        Scope::Label { name, value } => format!("{name}={value:?}"),
    };
    // A comma before the closing brace is allowed, an empty matcher is not.
    let query = query.replace(",SCOPE", &format!(",{matcher}")).replace("{SCOPE}", &format!("{{{matcher}}}"));
    let query = query.replace(",}", "}");
    format!("/api/v1/query?query={}&timeout={SECONDS_MAX}s&limit={ITEMS_MAX}", escape(&query))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<&'static str> {
        let nodes = NODES.iter().flat_map(|nodes| [nodes.cpu, nodes.memory]);
        let power = [KEPLER, KEPLER_BEFORE, GPU];
        let power = power.iter().flat_map(|power| power.pods.iter().chain(power.nodes).copied());
        [PODS.cpu, PODS.memory, PRICES.1].into_iter().chain(nodes).chain(power).collect()
    }

    /// Undoes [`escape`].
    fn plain(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            let hex = tail.get(..2).filter(|_| *first == b'%');
            let (byte, tail) = match hex {
                Some(hex) => (u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap(), &tail[2..]),
                None => (*first, tail),
            };
            bytes.push(byte);
            rest = tail;
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_query_is_bounded_and_keeps_to_its_cluster() {
        let one = Scope::label("k8s_cluster", "kr \"1\"").unwrap();
        for query in all() {
            let selectors = query.matches("SCOPE").count();
            let path = path(query, &one);
            assert!(path.ends_with("&timeout=9s&limit=300000"), "{path}");
            let text = plain(&path);
            assert_eq!(text.matches(r#"k8s_cluster="kr \"1\"""#).count(), selectors, "{text}");
            assert!(selectors > 0 && !text.contains("SCOPE"), "{text}");
            let unscoped = plain(&super::path(query, &Scope::All));
            assert!(!unscoped.contains("SCOPE") && !unscoped.contains(",}"), "{unscoped}");
            for text in [&text, &unscoped] {
                assert_eq!(text.matches('(').count(), text.matches(')').count(), "{text}");
                assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
            }
            for range in query.split('[').skip(1) {
                assert!(range.starts_with("5m]"), "{query}");
            }
        }
    }

    #[test]
    fn a_label_is_one_or_refused() {
        for wrong in ["", "1a", "a-b", "a=\"b\"", "{"] {
            assert!(
                Scope::label(wrong, "kr").unwrap_err().contains("expected one such as cluster"),
                "{wrong}"
            );
        }
        assert!(Scope::label("_k8s2", "kr").is_ok());
    }
}
