//! The least rights a mode needs on a cluster, beside the calls that need them.
//!
//! Invariant: [`crate::observe`] and [`crate::act`] ask for nothing else; the tests against a real API server run
//! under exactly these. `approve` needs those of `auto`: what a person says yes to is then done.

use crate::act::lease;
use fleet::Mode;

/// One rule of a ClusterRole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is for.
    pub why: &'static str,
    /// API group; empty: the core.
    pub group: &'static str,
    /// Resources.
    pub resources: &'static [&'static str],
    /// Names it is limited to; empty: all.
    pub names: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
}

const READ: [Rule; 10] = [
    Rule {
        why: "room, load, region and instance types",
        group: "",
        resources: &["nodes", "pods"],
        names: &[],
        verbs: &["list", "watch"],
    },
    Rule {
        why: "which cluster this is, whatever its context is called",
        group: "",
        resources: &["namespaces"],
        names: &["kube-system"],
        verbs: &["get"],
    },
    Rule {
        why: "Jobs and their copies",
        group: "batch",
        resources: &["jobs"],
        names: &[],
        verbs: &["list", "watch"],
    },
    Rule {
        why: "who goes first where not all can be in time",
        group: "scheduling.k8s.io",
        resources: &["priorityclasses"],
        names: &[],
        verbs: &["list", "watch"],
    },
    Rule {
        why: "what nodes and pods really use, where a metrics server runs",
        group: "metrics.k8s.io",
        resources: &["nodes", "pods"],
        names: &[],
        verbs: &["list"],
    },
    Rule {
        why: "inventory: workloads with pods missing",
        group: "apps",
        resources: &["deployments", "statefulsets", "daemonsets"],
        names: &[],
        verbs: &["list", "watch"],
    },
    Rule {
        why: "inventory: schedules",
        group: "batch",
        resources: &["cronjobs"],
        names: &[],
        verbs: &["list", "watch"],
    },
    Rule {
        why: "inventory: budgets that allow no disruption",
        group: "policy",
        resources: &["poddisruptionbudgets"],
        names: &[],
        verbs: &["list", "watch"],
    },
    Rule {
        why: "inventory: volumes, and claims without one",
        group: "",
        resources: &["persistentvolumeclaims", "persistentvolumes"],
        names: &[],
        verbs: &["list", "watch"],
    },
    Rule {
        why: "inventory: autoscalers at their maximum",
        group: "autoscaling",
        resources: &["horizontalpodautoscalers"],
        names: &[],
        verbs: &["list", "watch"],
    },
];

const WRITE: [Rule; 4] = [
    Rule {
        why: "look whether what a Job needs is there before it is sent",
        group: "",
        resources: &["configmaps", "serviceaccounts", "persistentvolumeclaims"],
        names: &[],
        verbs: &["get"],
    },
    Rule {
        why: "hold, release, pause and resume Jobs; create copies (dry run first) and delete them",
        group: "batch",
        resources: &["jobs"],
        names: &[],
        verbs: &["get", "create", "patch", "delete"],
    },
    Rule {
        why: "mirror a copy's status home",
        group: "batch",
        resources: &["jobs/status"],
        names: &[],
        verbs: &["patch"],
    },
    Rule {
        why: "say on the Job what is planned, done and saved",
        group: "",
        resources: &["events"],
        names: &[],
        verbs: &["create"],
    },
];

/// Asked for apart: the API has no right to see that a Secret is there without its content. Without it a Job that
/// needs one stays at home; with it only metadata is asked for.
const SECRETS: Rule = Rule {
    why: "look whether a Secret a Job needs is there before it is sent; only its metadata is asked for",
    group: "",
    resources: &["secrets"],
    names: &[],
    verbs: &["get"],
};

/// Of the Lease alone, in its namespace: who holds it is the only one to write to the cluster. It is printed beside the
/// role, so that none needs the right to make others.
const LEASE: Rule = Rule {
    why: "hold the Lease of this cluster: its holder alone writes there",
    group: "coordination.k8s.io",
    resources: &["leases"],
    names: &[lease::NAME],
    verbs: &["get", "patch"],
};

/// What a twin file is made of: everything is listed once, nothing is watched.
const IMPORT: [Rule; 7] = [
    Rule {
        why: "nodes and what runs on them, what it may ask for, and the names of what it needs",
        group: "",
        resources: &[
            "namespaces",
            "nodes",
            "pods",
            "services",
            "persistentvolumes",
            "persistentvolumeclaims",
            "resourcequotas",
            "limitranges",
            "serviceaccounts",
            "configmaps",
        ],
        names: &[],
        verbs: &["list"],
    },
    listed("what makes pods", "apps", &["deployments", "replicasets", "statefulsets", "daemonsets"]),
    listed("Jobs, and what makes them", "batch", &["jobs", "cronjobs"]),
    listed("who goes first", "scheduling.k8s.io", &["priorityclasses"]),
    listed("where volumes may be", "storage.k8s.io", &["storageclasses"]),
    listed("how many pods there are to be", "autoscaling", &["horizontalpodautoscalers"]),
    listed("how many pods may be missing", "policy", &["poddisruptionbudgets"]),
];

/// Asked for apart, because who may list Secrets may read them: only a table of names and types is asked for.
const IMPORT_SECRETS: Rule =
    listed("which Secrets there are; a table of names and types is asked for", "", &["secrets"]);

const fn listed(why: &'static str, group: &'static str, resources: &'static [&'static str]) -> Rule {
    Rule { why, group, resources, names: &[], verbs: &["list"] }
}

/// The rules of `twin import`; `secrets`: the names and types of Secrets too.
pub fn import_rules(secrets: bool) -> impl Iterator<Item = &'static Rule> {
    IMPORT.iter().chain(secrets.then_some(&IMPORT_SECRETS))
}

/// The rules of `twin import` as YAML, see [`yaml`].
pub fn import_yaml(secrets: bool, account: Option<(&str, &str)>) -> String {
    yaml_of("kubercarbon-import", import_rules(secrets), account)
}

/// The rules of a mode; `secrets`: also for Jobs that need Secrets.
pub fn rules(mode: Mode, secrets: bool) -> impl Iterator<Item = &'static Rule> {
    let acts = mode != Mode::Observe;
    let write: &[Rule] = if acts { &WRITE } else { &[] };
    READ.iter().chain(write).chain((acts && secrets).then_some(&SECRETS))
}

/// The rules as a ClusterRole in YAML; where the mode acts, the Lease in `lease_namespace` and a Role for it; and where an
/// account `NAMESPACE/NAME` is given, that account and its bindings.
pub fn yaml(mode: Mode, secrets: bool, lease_namespace: &str, account: Option<(&str, &str)>) -> String {
    let name = format!("kubercarbon-{}", mode.as_str());
    let role = yaml_of(&name, rules(mode, secrets), account);
    if mode == Mode::Observe { role } else { role + &lease_yaml(&name, lease_namespace, account) }
}

/// The Lease, the Role for it, and the binding of an account to that.
fn lease_yaml(name: &str, namespace: &str, account: Option<(&str, &str)>) -> String {
    let lease = lease::NAME;
    let mut out = format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: {name}\n  namespace: {namespace}\nrules:\n{}\
         ---\napiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata:\n  name: {lease}\n  namespace: {namespace}\n",
        rule_yaml(&LEASE)
    );
    if let Some((home, account)) = account {
        out += &format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata:\n  name: {name}-{account}\n  namespace: {namespace}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}\nsubjects:\n\
             - {{kind: ServiceAccount, name: {account}, namespace: {home}}}\n"
        );
    }
    out
}

fn yaml_of(name: &str, rules: impl Iterator<Item = &'static Rule>, account: Option<(&str, &str)>) -> String {
    let mut out = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {name}\nrules:\n"
    );
    rules.for_each(|rule| out += &rule_yaml(rule));
    if let Some((namespace, account)) = account {
        out += &format!(
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {account}\n  namespace: {namespace}\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: {name}-{account}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}\nsubjects:\n\
             - {{kind: ServiceAccount, name: {account}, namespace: {namespace}}}\n"
        );
    }
    out
}

fn rule_yaml(rule: &Rule) -> String {
    let list = |items: &[&str]| items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ");
    let mut out = format!(
        "# {}\n- apiGroups: [\"{}\"]\n  resources: [{}]\n",
        rule.why,
        rule.group,
        list(rule.resources)
    );
    if !rule.names.is_empty() {
        out += &format!("  resourceNames: [{}]\n", list(rule.names));
    }
    out + &format!("  verbs: [{}]\n", list(rule.verbs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observe_only_reads() {
        let reads = |rule: &&Rule| rule.verbs.iter().all(|verb| matches!(*verb, "get" | "list" | "watch"));
        assert_eq!(rules(Mode::Observe, true).filter(reads).count(), rules(Mode::Observe, true).count());
        assert_eq!(rules(Mode::Approve, false).count(), rules(Mode::Auto, false).count());
        let all = |mode| {
            rules(mode, false).flat_map(|rule| rule.resources.iter().chain(rule.verbs)).collect::<Vec<_>>()
        };
        for never in ["secrets", "*", "pods/exec", "update", "impersonate"] {
            assert!(!all(Mode::Auto).contains(&&never), "{never}");
        }
    }

    #[test]
    fn import_lists_and_nothing_else() {
        assert!(import_rules(true).all(|rule| rule.verbs == ["list"]));
        let all: Vec<_> = import_rules(false).flat_map(|rule| rule.resources).collect();
        assert!(!all.contains(&&"secrets") && import_rules(true).any(|rule| rule.resources == ["secrets"]));
        assert!(import_yaml(false, None).contains("\n  name: kubercarbon-import\n"));
    }

    #[test]
    fn as_yaml() {
        let text = yaml(Mode::Observe, false, "kube-system", None);
        assert!(text.starts_with("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: kubercarbon-observe\nrules:\n"), "{text}");
        assert!(text.contains("- apiGroups: [\"\"]\n  resources: [\"namespaces\"]\n  resourceNames: [\"kube-system\"]\n  verbs: [\"get\"]\n"), "{text}");
        let auto = yaml(Mode::Auto, true, "leases", Some(("ops", "kubercarbon")));
        assert_eq!(auto.matches("\n---\n").count(), 5, "{auto}");
        assert_eq!(auto.matches("  namespace: leases\n").count(), 3, "role, Lease and binding: {auto}");
        assert!(!text.contains("leases"), "mode observe holds none");
    }
}
