//! Rules against a second reading of them, and what bindings give to whom.

use super::escalation::{Right, covers, missing};
use super::*;
use crate::object::Object;
use proptest::prelude::*;
use serde_json::json;

/// Few words, so that they meet often.
const VERBS: [&str; 4] = ["get", "list", "*", "bind"];
const GROUPS: [&str; 3] = ["", "apps", "*"];
const RESOURCES: [&str; 7] = ["pods", "pods/log", "*/log", "*", "nodes", "*/scale", "nodes/log"];
const NAMES: [&str; 3] = ["a", "b", "c"];
const PATHS: [&str; 6] = ["*", "/api", "/api/*", "/api/v1", "/ap*", "/"];

fn some(words: &'static [&'static str], from: usize) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(words, from..=words.len().min(3))
}

fn rule_of_objects() -> impl Strategy<Value = Value> {
    (some(&VERBS, 1), some(&GROUPS, 1), some(&RESOURCES, 1), some(&NAMES, 0)).prop_map(
        |(verbs, groups, resources, names)| {
            json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
        },
    )
}

fn rule() -> impl Strategy<Value = Value> {
    let paths = (some(&VERBS, 1), some(&PATHS, 1))
        .prop_map(|(verbs, paths)| json!({"verbs": verbs, "nonResourceURLs": paths}));
    prop_oneof![3 => rule_of_objects(), 1 => paths]
}

/// What can be asked in so few words.
fn questions() -> Vec<(&'static str, Asked<'static>)> {
    let mut all = Vec::new();
    for verb in ["get", "list", "bind", "watch"] {
        for path in ["/", "/api", "/api/", "/api/v1", "/apis", "/x"] {
            all.push((verb, Asked::Path(path)));
        }
        for group in ["", "apps", "batch"] {
            for (resource, subresource) in
                [("pods", ""), ("pods", "log"), ("nodes", ""), ("nodes", "log"), ("pods", "scale")]
            {
                for name in ["", "a", "d"] {
                    all.push((verb, Asked::Objects { group, resource, subresource, namespace: "", name }));
                }
            }
        }
    }
    all
}

/// The rule read a second time: each of its single rights on its own, by what its words mean.
fn allows_by_hand(rule: &Value, verb: &str, asked: &Asked<'_>) -> bool {
    let words = |key: &str| -> Vec<String> {
        rule.get(key).map(|list| serde_json::from_value(list.clone()).unwrap()).unwrap_or_default()
    };
    let matches = |pattern: &str, text: &str| -> bool { pattern == "*" || pattern == text };
    words("verbs").iter().filter(|own| matches(own, verb)).any(|_| match asked {
        Asked::Path(path) => words("nonResourceURLs").iter().any(|own| match own.split_once('*') {
            Some((start, _)) => path.len() >= start.len() && &path[..start.len()] == start,
            None => own == path,
        }),
        Asked::Objects { group, resource, subresource, name, .. } => {
            let full = [*resource, *subresource].join("/");
            let full = full.trim_end_matches('/');
            let named =
                words("resourceNames").is_empty() || words("resourceNames").contains(&(*name).to_owned());
            let resources = words("resources");
            let of_all = !subresource.is_empty() && resources.contains(&format!("*/{subresource}"));
            named
                && words("apiGroups").iter().any(|own| matches(own, group))
                && (of_all || resources.iter().any(|own| matches(own, full)))
        }
    })
}

proptest! {
    #[test]
    fn a_rule_allows_what_its_words_say(rule in rule()) {
        for (verb, asked) in questions() {
            prop_assert_eq!(allows(&rule, verb, &asked), allows_by_hand(&rule, verb, &asked), "{} {:?}", verb, asked);
        }
    }

    /// Who may give a role away may do all that the role allows.
    #[test]
    fn nobody_gives_away_more_than_they_have(own in prop::collection::vec(rule(), 0..4), given in rule()) {
        let own: Vec<&Value> = own.iter().collect();
        let lacking = missing(&own, std::slice::from_ref(&given)).unwrap();
        if lacking.is_empty() {
            for (verb, asked) in questions() {
                let may = own.iter().any(|rule| allows(rule, verb, &asked));
                prop_assert!(!allows(&given, verb, &asked) || may, "{} {:?}", verb, asked);
            }
        }
        for right in &lacking {
            prop_assert!(!own.iter().any(|rule| covers(rule, right)), "{:?}", right);
            prop_assert!(covers(&given, right), "{:?}", right);
        }
    }

    #[test]
    fn everything_covers_everything(given in rule()) {
        let all = [
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
            json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
        ];
        let own: Vec<&Value> = all.iter().collect();
        prop_assert_eq!(missing(&own, std::slice::from_ref(&given)), Some(Vec::<Right>::new()));
    }
}

fn cluster() -> Objects {
    let mut objects = Objects::new();
    let mut put = |kind: &str, plural: &str, namespace: &str, name: &str, rest: Value| {
        let mut value = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "uid": name}});
        for (key, part) in rest.as_object().unwrap() {
            value[key] = part.clone();
        }
        objects.put(Object::from_value(Kind::document(GROUP, plural), &value).unwrap());
    };
    let reads = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]});
    put("ClusterRole", "clusterroles", "", "reader", reads.clone());
    put("Role", "roles", "a", "reader", reads);
    let all = json!({"rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}, {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]}]});
    put("ClusterRole", "clusterroles", "", "apps", all);
    let to = |kind: &str, role: &str, subjects: Value| json!({"roleRef": {"kind": kind, "name": role, "apiGroup": GROUP}, "subjects": subjects});
    let jane = json!([{"kind": "User", "name": "jane"}]);
    put("RoleBinding", "rolebindings", "a", "x", to("Role", "reader", jane.clone()));
    put(
        "RoleBinding",
        "rolebindings",
        "b",
        "y",
        to("ClusterRole", "reader", json!([{"kind": "ServiceAccount", "name": "bot"}])),
    );
    put("RoleBinding", "rolebindings", "b", "z", to("Role", "lost", jane));
    put(
        "ClusterRoleBinding",
        "clusterrolebindings",
        "",
        "w",
        to("ClusterRole", "apps", json!([{"kind": "Group", "name": "dev"}])),
    );
    objects
}

fn user(name: &str, groups: &[&str]) -> User {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    User { name: name.to_owned(), groups, ..User::default() }
}

fn pods<'a>(namespace: &'a str, name: &'a str) -> Asked<'a> {
    Asked::Objects { group: "", resource: "pods", subresource: "", namespace, name }
}

#[test]
fn bindings_give_what_their_role_says_where_they_stand() {
    let objects = cluster();
    let jane = user("jane", &["dev"]);
    let why = |decision: Decision| (decision.allowed, decision.reason);
    assert_eq!(
        why(decide(&objects, &jane, "get", &pods("a", "p"))),
        (true, "RBAC: allowed by RoleBinding \"x/a\" of Role \"reader\" to User \"jane\"".to_owned())
    );
    assert!(!decide(&objects, &jane, "get", &pods("", "")).allowed);
    assert_eq!(
        why(decide(&objects, &jane, "get", &pods("b", "p"))),
        (false, "RBAC: role.rbac.authorization.k8s.io \"lost\" not found".to_owned())
    );
    let bot = User::service_account("b", "bot", "");
    assert_eq!(
        why(decide(&objects, &bot, "list", &pods("b", ""))),
        (
            true,
            "RBAC: allowed by RoleBinding \"y/b\" of ClusterRole \"reader\" to ServiceAccount \"bot/b\""
                .to_owned()
        )
    );
    assert!(!decide(&objects, &User::service_account("a", "bot", ""), "list", &pods("b", "")).allowed);
    assert_eq!(
        why(decide(&objects, &jane, "get", &Asked::Path("/metrics"))),
        (
            true,
            "RBAC: allowed by ClusterRoleBinding \"w\" of ClusterRole \"apps\" to Group \"dev\"".to_owned()
        )
    );
    assert!(decide(&objects, &User::admin(), "get", &Asked::Path("/")).allowed);
    assert_eq!(rules_of(&objects, &jane, "a").len(), 3);
    assert_eq!(rules_of(&objects, &jane, "").len(), 2);
}

#[test]
fn refusals_are_worded_as_the_servers() {
    let objects = cluster();
    let max = user("max", &[]);
    let words = |verb: &str, asked: Asked<'_>| check(&objects, &max, verb, &asked).unwrap_err();
    let status = words("list", pods("a", ""));
    assert_eq!(
        status.message,
        "pods is forbidden: User \"max\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\""
    );
    assert_eq!((status.code, status.kind.as_str(), status.reason.as_str()), (403, "pods", "Forbidden"));
    let scale = Asked::Objects {
        group: "apps",
        resource: "deployments",
        subresource: "scale",
        namespace: "",
        name: "d",
    };
    assert_eq!(
        words("patch", scale).message,
        "deployments.apps \"d\" is forbidden: User \"max\" cannot patch resource \"deployments/scale\" in API group \"apps\" at the cluster scope"
    );
    let path = words("get", Asked::Path("/metrics"));
    assert_eq!(path.message, "forbidden: User \"max\" cannot get path \"/metrics\"");
    assert!(path.kind.is_empty());
}
