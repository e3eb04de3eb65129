//! Kinds kept as documents: made, read, changed in every way, in several versions, and defined by the cluster itself.

use crate::memory::Memory;
use crate::rest::{JSON, call, call_as, get};
use serde_json::{Value, json};
use std::sync::Arc;

const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 80}]}]}}}})
}

fn words(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["message"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_deployment_is_defaulted_patched_scaled_and_judged() {
    let twin = Memory::new();
    let all = "/apis/apps/v1/namespaces/work/deployments";
    let (code, made) = call(&twin, "POST", all, JSON, &deployment("d")).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(
        made["spec"]["strategy"]["rollingUpdate"],
        json!({"maxSurge": "25%", "maxUnavailable": "25%"})
    );
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
    assert_eq!(
        (&made["metadata"]["generation"], &made["spec"]["revisionHistoryLimit"]),
        (&json!(1), &json!(10))
    );
    let one = format!("{all}/d");
    assert_eq!(get(&twin, &one, JSON).await.1, made);
    // Containers merge by name.
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}});
    let (_, patched) = call(&twin, "PATCH", &one, STRATEGIC, &patch).await;
    assert_eq!(patched["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 2);
    assert_eq!(patched["metadata"]["generation"], 2);
    let (_, scale) = get(&twin, &format!("{one}/scale"), JSON).await;
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(2), &json!("app=a")));
    let (code, scaled) =
        call(&twin, "PATCH", &format!("{one}/scale"), MERGE, &json!({"spec": {"replicas": 5}})).await;
    assert_eq!((code, &scaled["kind"], &scaled["spec"]["replicas"]), (200, &json!("Scale"), &json!(5)));
    assert_eq!(get(&twin, &one, JSON).await.1["spec"]["replicas"], 5);
    let status = json!({"status": {"replicas": 5, "observedGeneration": 3}, "spec": {"replicas": 9}});
    let (_, told) = call(&twin, "PATCH", &format!("{one}/status"), MERGE, &status).await;
    assert_eq!((&told["status"]["replicas"], &told["spec"]["replicas"]), (&json!(5), &json!(5)));

    let mut bad = deployment("bad");
    bad["spec"]["selector"]["matchLabels"]["app"] = json!("b");
    let refused = call(&twin, "POST", all, JSON, &bad).await;
    assert_eq!(
        words(&refused),
        (
            422,
            "Deployment.apps \"bad\" is invalid: spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`"
        )
    );
    let moved =
        call(&twin, "PATCH", &one, MERGE, &json!({"spec": {"selector": {"matchLabels": {"app": "z"}}}}))
            .await;
    assert!(words(&moved).1.contains("field is immutable"), "{moved:?}");
    bad["spec"]["replicas"] = json!("two");
    assert_eq!(
        words(&call(&twin, "POST", all, JSON, &bad).await),
        (
            400,
            "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        )
    );
}

#[tokio::test]
async fn fields_are_owned_and_conflicts_say_whose() {
    let twin = Memory::new();
    let one = "/apis/apps/v1/namespaces/work/deployments/d";
    let mut mine = deployment("d");
    let (code, made) = call(&twin, "PATCH", &format!("{one}?fieldManager=me"), APPLY, &mine).await;
    assert_eq!(code, 201, "{made}");
    let owner = &made["metadata"]["managedFields"][0];
    assert_eq!(
        (&owner["manager"], &owner["operation"], &owner["time"]),
        (&json!("me"), &json!("Apply"), &json!(crate::memory::NOW))
    );
    assert_eq!(owner["fieldsV1"]["f:spec"]["f:replicas"], json!({}));
    assert!(owner["fieldsV1"]["f:spec"].get("f:strategy").is_none(), "defaults are nobody's");
    // Applying the same again changes nothing.
    let (code, again) = call(&twin, "PATCH", &format!("{one}?fieldManager=me"), APPLY, &mine).await;
    assert_eq!((code, &again["metadata"]["resourceVersion"]), (200, &made["metadata"]["resourceVersion"]));
    let theirs = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 7}});
    let (code, conflict) = call(&twin, "PATCH", &format!("{one}?fieldManager=hpa"), APPLY, &theirs).await;
    assert_eq!((code, &conflict["reason"]), (409, &json!("Conflict")));
    assert_eq!(conflict["message"], "Apply failed with 1 conflict: conflict with \"me\": .spec.replicas");
    assert_eq!(conflict["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let dry = format!("{one}?fieldManager=hpa&force=true&dryRun=All");
    assert_eq!(call(&twin, "PATCH", &dry, APPLY, &theirs).await.1["spec"]["replicas"], 7);
    assert_eq!(get(&twin, one, JSON).await.1["spec"]["replicas"], 2);
    let (_, taken) =
        call(&twin, "PATCH", &format!("{one}?fieldManager=hpa&force=true"), APPLY, &theirs).await;
    assert_eq!(taken["spec"]["replicas"], 7);
    assert_eq!(taken["metadata"]["managedFields"].as_array().unwrap().len(), 2);
    // Who lets go of a field by applying takes it away, unless it is somebody else's by now.
    let spec = mine["spec"].as_object_mut().unwrap();
    spec.remove("replicas");
    spec["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("ports");
    let (_, less) = call(&twin, "PATCH", &format!("{one}?fieldManager=me"), APPLY, &mine).await;
    assert_eq!(less["spec"]["replicas"], 7);
    assert!(less["spec"]["template"]["spec"]["containers"][0].get("ports").is_none());
    // Whoever updates is named by the program where it gives no name; YAML is read as well.
    let (_, updated) = call_as(
        &twin,
        "PATCH",
        one,
        MERGE,
        "kubectl/v1.36.3 (linux)",
        "{\"metadata\":{\"labels\":{\"l\":\"1\"}}}",
    )
    .await;
    let names: Vec<&Value> =
        updated["metadata"]["managedFields"].as_array().unwrap().iter().map(|m| &m["manager"]).collect();
    assert_eq!(names, ["hpa", "me", "kubectl"]);
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: plain\ndata:\n  a: b\n";
    let (code, map) =
        call_as(&twin, "PATCH", "/api/v1/namespaces/work/configmaps/plain?fieldManager=m", APPLY, "", yaml)
            .await;
    assert_eq!(
        (code, &map["data"]["a"], &map["metadata"]["managedFields"][0]["fieldsV1"]["f:data"]["f:a"]),
        (201, &json!("b"), &json!({}))
    );
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "status": {"replicas": 1}});
    let (_, told) =
        call(&twin, "PATCH", &format!("{one}/status?fieldManager=controller"), APPLY, &status).await;
    let part =
        told["metadata"]["managedFields"].as_array().unwrap().iter().find(|m| m["subresource"] == "status");
    assert_eq!(part.unwrap()["manager"], "controller", "{told}");
    assert_eq!(words(&call(&twin, "PATCH", one, APPLY, &status).await).0, 422);
}

#[tokio::test]
async fn unknown_and_double_fields_are_refused_or_warned_of() {
    let twin = Memory::new();
    let all = "/apis/apps/v1/namespaces/work/deployments";
    let mut odd = deployment("d");
    odd["spec"]["unknwon"] = json!(1);
    let text = odd.to_string().replacen("\"replicas\":2", "\"replicas\":2,\"replicas\":3", 1);
    let (code, refused) =
        call_as(&twin, "POST", &format!("{all}?fieldValidation=Strict"), JSON, "", &text).await;
    assert_eq!(code, 400);
    assert_eq!(
        refused["message"],
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.unknwon\", duplicate field \"spec.replicas\""
    );
    let (code, made) = call_as(&twin, "POST", all, JSON, "", &text).await;
    assert_eq!((code, &made["spec"]["replicas"], made["spec"].get("unknwon")), (201, &json!(3), None));
}

#[tokio::test]
async fn one_object_is_shown_in_every_version() {
    let twin = Memory::new();
    let v1 = "/apis/autoscaling/v1/namespaces/work/horizontalpodautoscalers";
    let old = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 5, "targetCPUUtilizationPercentage": 60, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}});
    let (code, made) = call(&twin, "POST", v1, JSON, &old).await;
    assert_eq!(
        (code, &made["apiVersion"], &made["spec"]["targetCPUUtilizationPercentage"]),
        (201, &json!("autoscaling/v1"), &json!(60)),
        "{made}"
    );
    let v2 = "/apis/autoscaling/v2/namespaces/work/horizontalpodautoscalers";
    let (_, new) = get(&twin, &format!("{v2}/h"), JSON).await;
    assert_eq!(
        (&new["apiVersion"], &new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"]),
        (&json!("autoscaling/v2"), &json!(60))
    );
    let (_, list) = get(&twin, v1, JSON).await;
    assert_eq!(
        (&list["apiVersion"], &list["items"][0]["apiVersion"]),
        (&json!("autoscaling/v1"), &json!("autoscaling/v1"))
    );

    let core = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "work"}, "message": "m", "reason": "R", "type": "Normal"});
    assert_eq!(call(&twin, "POST", "/api/v1/namespaces/work/events", JSON, &core).await.0, 201);
    let (_, event) = get(&twin, "/apis/events.k8s.io/v1/namespaces/work/events/e", JSON).await;
    assert_eq!(
        (&event["note"], &event["regarding"]["name"], &event["apiVersion"]),
        (&json!("m"), &json!("p"), &json!("events.k8s.io/v1"))
    );
}

#[tokio::test]
async fn services_secrets_and_bindings_follow_their_rules() {
    let twin = Memory::new();
    let services = "/api/v1/namespaces/work/services";
    let service = |name: &str| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "selector": {"app": "a"}, "ports": [{"port": 80}]}});
    let (_, a) = call(&twin, "POST", services, JSON, &service("a")).await;
    let (_, b) = call(&twin, "POST", services, JSON, &service("b")).await;
    assert_eq!(
        (&a["spec"]["clusterIP"], &a["spec"]["ports"][0]["nodePort"]),
        (&json!("10.96.1.0"), &json!(30000)),
        "{a}"
    );
    assert_eq!(
        (&b["spec"]["clusterIP"], &b["spec"]["ports"][0]["nodePort"]),
        (&json!("10.96.1.1"), &json!(30001))
    );
    assert_eq!(
        (&a["spec"]["ports"][0]["targetPort"], &a["spec"]["ipFamilies"]),
        (&json!(80), &json!(["IPv4"]))
    );
    // A PUT without address and port keeps both.
    let (code, kept) = call(&twin, "PUT", &format!("{services}/a"), JSON, &service("a")).await;
    assert_eq!((code, &kept["spec"]), (200, &a["spec"]), "{kept}");
    let none = call(&twin, "POST", services, JSON, &json!({"metadata": {"name": "c"}, "spec": {}})).await;
    assert_eq!(words(&none), (422, "Service \"c\" is invalid: spec.ports: Required value"));

    let secrets = "/api/v1/namespaces/work/secrets";
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "hello"}, "immutable": true});
    let (_, made) = call(&twin, "POST", secrets, JSON, &secret).await;
    assert_eq!(
        (&made["type"], &made["data"]["k"], made.get("stringData")),
        (&json!("Opaque"), &json!("aGVsbG8="), None)
    );
    let changed = call(&twin, "PATCH", &format!("{secrets}/s"), MERGE, &json!({"data": {"k": "eA=="}})).await;
    assert_eq!(
        words(&changed),
        (422, "Secret \"s\" is invalid: data: Forbidden: field is immutable when `immutable` is set")
    );

    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let binding = json!({"metadata": {"name": "x:y"}, "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]});
    let (code, made) = call(&twin, "POST", bindings, JSON, &binding).await;
    assert_eq!((code, &made["roleRef"]["apiGroup"]), (201, &json!("rbac.authorization.k8s.io")), "{made}");
    let moved =
        call(&twin, "PATCH", &format!("{bindings}/x:y"), MERGE, &json!({"roleRef": {"name": "q"}})).await;
    assert!(words(&moved).1.ends_with("cannot change roleRef"), "{moved:?}");
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let (code, answer) =
        call(&twin, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", JSON, &review).await;
    assert_eq!((code, &answer["status"]["allowed"]), (201, &json!(true)));
    assert_eq!(get(&twin, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", JSON).await.0, 405);
}

fn running(twin: &Memory, name: &str) {
    let pod = json!({"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
    twin.create(twin::Kind::Pod, "work", pod);
    twin.with(|objects| {
        let stored = objects.get(twin::Kind::Pod, "work", name).unwrap().clone();
        let twin::Object::Pod(pod) = stored.object.clone() else { panic!() };
        let mut doc = serde_json::to_value(&pod).unwrap();
        doc["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        objects.put(twin::Object::from_value(twin::Kind::Pod, &doc).unwrap());
    });
}

#[tokio::test]
async fn budgets_hold_pods_from_eviction() {
    let twin = Memory::new();
    running(&twin, "p");
    running(&twin, "q");
    let budgets = "/apis/policy/v1/namespaces/work/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    assert_eq!(call(&twin, "POST", budgets, JSON, &budget).await.0, 201);
    let evict = |name: &str| {
        (
            format!("/api/v1/namespaces/work/pods/{name}/eviction"),
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}),
        )
    };
    let (path, body) = evict("p");
    let (code, early) = call(&twin, "POST", &path, JSON, &body).await;
    assert_eq!(
        (code, &early["details"]["causes"][0]["message"]),
        (429, &json!("The disruption budget b is still being processed by the server."))
    );
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    assert_eq!(call(&twin, "PATCH", &format!("{budgets}/b/status"), MERGE, &status).await.0, 200);
    assert_eq!(call(&twin, "POST", &path, JSON, &body).await.0, 201);
    assert!(
        get(&twin, "/api/v1/namespaces/work/pods/p", JSON).await.1["metadata"]["deletionTimestamp"]
            .is_string()
    );
    let (_, left) = get(&twin, &format!("{budgets}/b"), JSON).await;
    assert_eq!(
        (&left["status"]["disruptionsAllowed"], &left["status"]["disruptedPods"]["p"]),
        (&json!(0), &json!(crate::memory::NOW))
    );
    let (path, body) = evict("q");
    let (code, refused) = call(&twin, "POST", &path, JSON, &body).await;
    assert_eq!(
        (code, &refused["message"]),
        (429, &json!("Cannot evict pod as it would violate the pod's disruption budget."))
    );
}

fn definition() -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["cron"], "properties": {"cron": {"type": "string", "pattern": "^\\d+$"}, "replicas": {"type": "integer", "default": 1, "maximum": 9}}},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}, "selectableFields": [{"jsonPath": ".spec.cron"}],
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
        "additionalPrinterColumns": [{"name": "Cron", "type": "string", "jsonPath": ".spec.cron"}]})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {"group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"]},
            "versions": [version("v1", true), version("v1beta1", false)]}})
}

async fn defined() -> Arc<Memory> {
    let twin = Memory::new();
    let all = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (code, made) = call(&twin, "POST", all, JSON, &definition()).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["status"]["conditions"][1]["type"], "Established");
    assert_eq!(made["spec"]["names"]["listKind"], "CronTabList");
    twin
}

#[tokio::test]
async fn a_cluster_defines_resources_of_its_own() {
    let twin = defined().await;
    let all = "/apis/stable.example.com/v1/namespaces/work/crontabs";
    let tab = json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "t"}, "spec": {"cron": "5", "odd": 1}});
    let (code, made) = call(&twin, "POST", all, JSON, &tab).await;
    assert_eq!((code, &made["spec"]), (201, &json!({"cron": "5", "replicas": 1})), "{made}");
    let strict = call(&twin, "POST", &format!("{all}?fieldValidation=Strict"), JSON, &tab).await;
    assert!(words(&strict).1.contains("strict decoding error: unknown field \"spec.odd\""), "{strict:?}");
    let mut bad = tab.clone();
    bad["metadata"]["name"] = json!("bad");
    bad["spec"] = json!({"cron": "x", "replicas": 10});
    let refused = call(&twin, "POST", all, JSON, &bad).await;
    assert_eq!(
        words(&refused),
        (
            422,
            "CronTab.stable.example.com \"bad\" is invalid: [spec.cron: Invalid value: \"x\": spec.cron in body should match '^\\d+$', spec.replicas: Invalid value: 10: spec.replicas in body should be less than or equal to 9]"
        )
    );
    let one = format!("{all}/t");
    // The status is its own; the spec counts generations.
    let status = json!({"status": {"replicas": 3}, "spec": {"cron": "6"}});
    let (_, told) = call(&twin, "PATCH", &format!("{one}/status"), MERGE, &status).await;
    assert_eq!(
        (&told["status"]["replicas"], &told["spec"]["cron"], &told["metadata"]["generation"]),
        (&json!(3), &json!("5"), &json!(1))
    );
    let (_, scale) =
        call(&twin, "PATCH", &format!("{one}/scale"), MERGE, &json!({"spec": {"replicas": 4}})).await;
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(4), &json!(3)), "{scale}");
    let (_, other) = get(&twin, "/apis/stable.example.com/v1beta1/namespaces/work/crontabs/t", JSON).await;
    assert_eq!(
        (&other["apiVersion"], &other["spec"]["replicas"], &other["metadata"]["generation"]),
        (&json!("stable.example.com/v1beta1"), &json!(4), &json!(2))
    );
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let (_, rows) = get(&twin, all, table).await;
    assert_eq!(
        (&rows["columnDefinitions"][1]["name"], &rows["rows"][0]["cells"]),
        (&json!("Cron"), &json!(["t", "5"]))
    );
    assert_eq!(
        get(&twin, &format!("{all}?fieldSelector=spec.cron%3D5"), JSON).await.1["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        get(&twin, &format!("{all}?fieldSelector=spec.cron%3D6"), JSON).await.1["items"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    assert_eq!(get(&twin, &format!("{all}?fieldSelector=spec.replicas%3D6"), JSON).await.0, 400);
    assert_eq!(call(&twin, "PATCH", &one, STRATEGIC, &json!({})).await.0, 415);
}

#[tokio::test]
async fn what_a_cluster_defines_is_discovered_applied_and_goes_with_its_definition() {
    let twin = defined().await;
    let (_, apis) = get(&twin, "/apis/stable.example.com", JSON).await;
    assert_eq!(
        (&apis["preferredVersion"]["version"], apis["versions"].as_array().unwrap().len()),
        (&json!("v1"), 2)
    );
    let (_, list) = get(&twin, "/apis/stable.example.com/v1", JSON).await;
    let names: Vec<&Value> = list["resources"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["crontabs", "crontabs/status", "crontabs/scale"]);
    let (_, document) = get(&twin, "/openapi/v3/apis/stable.example.com/v1", JSON).await;
    let schema = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "CronTab", "{document}");
    let one = "/apis/stable.example.com/v1/namespaces/work/crontabs/t";
    let tab = json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "t", "finalizers": ["example.com/f"]}, "spec": {"cron": "5"}});
    let (code, made) = call(&twin, "PATCH", &format!("{one}?fieldManager=m"), APPLY, &tab).await;
    assert_eq!(code, 201, "{made}");
    let mut other = tab.clone();
    other["spec"]["cron"] = json!("6");
    let (code, conflict) = call(&twin, "PATCH", &format!("{one}?fieldManager=n"), APPLY, &other).await;
    assert_eq!(
        (code, &conflict["message"]),
        (409, &json!("Apply failed with 1 conflict: conflict with \"m\": .spec.cron"))
    );
    // State with objects of definitions comes back as it was.
    let saved = twin.with(|objects| serde_json::to_string(objects).unwrap());
    let again: twin::Objects = serde_json::from_str(&saved).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), saved);
    let kind = again.kind("stable.example.com", "v1", "crontabs").unwrap();
    assert_eq!(again.get(kind, "work", "t").unwrap().to_value()["metadata"], made["metadata"]);
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/crontabs.stable.example.com";
    assert_eq!(call(&twin, "DELETE", definition, JSON, &json!({})).await.0, 200);
    assert_eq!(get(&twin, one, JSON).await.0, 404);
    assert_eq!(get(&twin, "/apis/stable.example.com", JSON).await.0, 404);
}

#[tokio::test]
async fn every_resource_of_the_table_can_be_listed_and_shown() {
    let twin = Memory::new();
    for resource in twin::kind::resources().iter().filter(|r| r.allows("list")) {
        let group =
            if resource.group.is_empty() { "api".to_owned() } else { format!("apis/{}", resource.group) };
        let path = format!("/{group}/{}/{}", resource.version, resource.plural);
        let (code, list) = get(&twin, &path, JSON).await;
        assert_eq!((code, &list["kind"]), (200, &json!(format!("{}List", resource.name))), "{path}");
        let (code, table) = get(&twin, &path, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
        assert_eq!((code, &table["kind"]), (200, &json!("Table")), "{path}");
    }
}
