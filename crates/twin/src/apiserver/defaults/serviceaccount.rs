//! `ServiceAccount` admission: each pod runs as a service account of its namespace and, unless it or the account opts out,
//! finds a token of it mounted.
//!
//! A namespace's account `default` that is not there counts as one that says nothing: its controller makes it at the same
//! instant. Facts: <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#serviceaccount>.

use crate::apiserver::status::Status;
use crate::apiserver::{Context, MIRROR};
use crate::kind::Kind;
use crate::object::token::{self, PATH, VOLUME};
use crate::object::{Document, Object};
use crate::store::Objects;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The account of pods that name none.
const DEFAULT: &str = "default";
/// Says that pods of an account may have no Secrets but the account's own.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// The kind of accounts, looked up once.
static ACCOUNTS: LazyLock<Kind> = LazyLock::new(|| Kind::document("", "serviceaccounts"));

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn entries<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The account a pod is to run as; `None`: the default one, which is not there and says nothing.
fn account_of<'o>(
    objects: &'o Objects,
    namespace: &str,
    wanted: &str,
) -> Result<Option<&'o Document>, String> {
    let stored = objects.get(*ACCOUNTS, namespace, wanted);
    let account = stored.and_then(|stored| stored.object.as_document());
    if account.is_none() && wanted != DEFAULT {
        return Err(format!(
            "error looking up service account {namespace}/{wanted}: serviceaccount {wanted:?} not found"
        ));
    }
    Ok(account)
}

/// Admits a pod that a controller makes, as [`admit`] does a client's; what is mounted into it is kept as a mark.
///
/// # Errors
/// Why it is forbidden.
pub(crate) fn admit_made(objects: &Objects, pod: &mut Pod) -> Result<(), String> {
    // What a node runs by itself was read without an account.
    if pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR)) {
        return Ok(());
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let spec = pod.spec.get_or_insert_default();
    let given = [&spec.service_account_name, &spec.service_account].into_iter().flatten();
    let wanted = given.filter(|name| !name.is_empty()).map(String::as_str).next().unwrap_or(DEFAULT);
    let account = account_of(objects, namespace, wanted)?;
    let says = |key: &str| account.and_then(|account| account.body.get(key));
    let mounted =
        spec.automount_service_account_token.or_else(|| says("automountServiceAccountToken")?.as_bool());
    let mounted = mounted.unwrap_or(true);
    if account.is_some_and(is_strict) || mounted && token::has_volume(spec) {
        let mut doc = Object::Pod(Box::new(pod.clone())).to_value();
        admit_as(objects, &mut doc)?;
        let admitted = Object::from_value(Kind::Pod, &doc).map_err(|error| error.to_string())?;
        if let Object::Pod(admitted) = admitted {
            *pod = *admitted;
        }
        return Ok(());
    }
    if spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty)
        && let Some(secrets) = says("imagePullSecrets")
        && let Ok(secrets) = Vec::deserialize(secrets)
        && !secrets.is_empty()
    {
        spec.image_pull_secrets = Some(secrets);
    }
    let wanted = wanted.to_owned();
    token::mark(spec, wanted, mounted);
    Ok(())
}

/// Admits a new pod.
pub(super) fn admit(ctx: &Context<'_>, doc: &mut Value) -> Result<(), Status> {
    let name = text(&doc["metadata"], "name").to_owned();
    admit_as(ctx.objects, doc).map_err(|why| Status::forbidden(Kind::Pod.resource(), &name, &why))
}

fn admit_as(objects: &Objects, doc: &mut Value) -> Result<(), String> {
    let namespace = text(&doc["metadata"], "namespace").to_owned();
    if doc["metadata"]["annotations"].get(MIRROR).is_some() {
        return mirror(&doc["spec"]).map_err(str::to_owned);
    }
    let uid = text(&doc["metadata"], "uid").to_owned();
    let Some(spec) = doc["spec"].as_object_mut() else { return Ok(()) };
    let wanted = spec.get("serviceAccountName").and_then(Value::as_str).filter(|name| !name.is_empty());
    let wanted = wanted.unwrap_or(DEFAULT).to_owned();
    spec.insert("serviceAccountName".to_owned(), json!(wanted));
    spec.insert("serviceAccount".to_owned(), json!(wanted));
    let account = account_of(objects, &namespace, &wanted)?;
    let said = |name: &str| account.and_then(|account| account.body.get(name));
    let flag = |value: Option<&Value>| value.and_then(Value::as_bool);
    const MOUNTS: &str = "automountServiceAccountToken";
    if flag(spec.get(MOUNTS)).or_else(|| flag(said(MOUNTS))).unwrap_or(true) {
        mount(spec, &uid);
    }
    let pulls = |value: Option<&Value>| {
        value.filter(|list| list.as_array().is_some_and(|list| !list.is_empty())).cloned()
    };
    const PULLS: &str = "imagePullSecrets";
    if let (None, Some(secrets)) = (pulls(spec.get(PULLS)), pulls(said(PULLS))) {
        spec.insert("imagePullSecrets".to_owned(), secrets);
    }
    match account.filter(|account| is_strict(account)) {
        Some(account) => own_secrets(account, &doc["spec"]),
        None => Ok(()),
    }
}

/// A static pod's copy may refer to nothing the API server keeps.
fn mirror(spec: &Value) -> Result<(), &'static str> {
    if !text(spec, "serviceAccountName").is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    if secrets(spec).next().is_some() {
        return Err("a mirror pod may not reference secrets");
    }
    let mut sources = entries(spec, "volumes").flat_map(|volume| entries(&volume["projected"], "sources"));
    if sources.any(|source| !source["serviceAccountToken"].is_null()) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

fn containers(spec: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    [("initContainers", "init container"), ("containers", "container")]
        .into_iter()
        .flat_map(|(key, what)| entries(spec, key).map(move |container| (what, container)))
}

/// Secrets a pod refers to, each with the sentence that refuses it; the account's name goes at the end.
fn secrets(spec: &Value) -> impl Iterator<Item = (&str, String)> {
    let volumes = entries(spec, "volumes").filter_map(|volume| {
        let name = volume["secret"]["secretName"].as_str()?;
        Some((name, format!("volume with secret.secretName=\"{name}\"")))
    });
    let variables = containers(spec).flat_map(|(what, container)| {
        let own = text(container, "name");
        let single = entries(container, "env").filter_map(move |variable| {
            let name = variable["valueFrom"]["secretKeyRef"]["name"].as_str()?;
            let variable = text(variable, "name");
            let why = format!("{what} {own} with envVar {variable} referencing secret.secretName=\"{name}\"");
            Some((name, why))
        });
        let whole = entries(container, "envFrom").filter_map(move |source| {
            let name = source["secretRef"]["name"].as_str()?;
            Some((name, format!("{what} {own} with envFrom referencing secret.secretName=\"{name}\"")))
        });
        single.chain(whole)
    });
    volumes.chain(variables)
}

fn is_strict(account: &Document) -> bool {
    let annotations = account.metadata.annotations.as_ref();
    let value = annotations.and_then(|all| all.get(ENFORCE)).map(String::as_str);
    matches!(value, Some("1" | "t" | "T" | "true" | "True" | "TRUE"))
}

/// Lets pass a pod all of whose Secrets are its account's.
fn own_secrets(account: &Document, spec: &Value) -> Result<(), String> {
    let name = account.metadata.name.as_deref().unwrap_or_default();
    let lists = |key: &str, wanted: &str| {
        let list = account.body.get(key).and_then(Value::as_array).into_iter().flatten();
        list.into_iter().any(|entry| text(entry, "name") == wanted)
    };
    if let Some((_, what)) = secrets(spec).find(|(secret, _)| !lists("secrets", secret)) {
        return Err(format!(
            "{what} is not allowed because service account {name} does not reference that secret"
        ));
    }
    let mut pulled = entries(spec, "imagePullSecrets").enumerate();
    match pulled.find(|(_, secret)| !lists("imagePullSecrets", text(secret, "name"))) {
        Some((n, secret)) => Err(format!(
            "imagePullSecrets[{n}].name=\"{}\" is not allowed because service account {name} does not reference that imagePullSecret",
            text(secret, "name")
        )),
        None => Ok(()),
    }
}

/// Mounts the token into every container that has nothing at its place.
fn mount(spec: &mut Map<String, Value>, uid: &str) {
    let volumes = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let there = volumes.map(|volume| text(volume, "name")).find(|name| name.starts_with(VOLUME));
    let name = there.map_or_else(|| token::volume_name(uid), str::to_owned);
    let is_new = there.is_none();
    let mut mounted = false;
    for key in ["initContainers", "containers"] {
        for container in spec.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            if entries(container, "volumeMounts").any(|mount| text(mount, "mountPath") == PATH) {
                continue;
            }
            if !container["volumeMounts"].is_array() {
                container["volumeMounts"] = json!([]);
            }
            if let Some(mounts) = container["volumeMounts"].as_array_mut() {
                mounts.push(json!(token::mount(name.clone())));
                mounted = true;
            }
        }
    }
    if !(mounted && is_new) {
        return;
    }
    let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
    if !volumes.is_array() {
        *volumes = json!([]);
    }
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(json!(token::volume(name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use fleet::Instant;

    fn cluster(accounts: &[Value]) -> Objects {
        let mut objects = Objects::new();
        for account in accounts {
            let mut account = account.clone();
            account["metadata"]["namespace"] = json!("a");
            (account["kind"], account["apiVersion"]) = (json!("ServiceAccount"), json!("v1"));
            objects.put(Object::from_value(Kind::document("", "serviceaccounts"), &account).unwrap());
        }
        objects
    }

    fn admitted(objects: &mut Objects, spec: Value) -> Result<Value, String> {
        let mut doc = json!({"metadata": {"name": "p", "namespace": "a", "uid": "u"}, "spec": spec});
        let mut names = Stream::new(1, "names");
        let ctx = Context { objects, now: Instant::from_unix_seconds(0), names: &mut names };
        admit(&ctx, &mut doc).map_err(|status| status.message)?;
        Ok(doc["spec"].clone())
    }

    fn bare() -> Value {
        json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i", "volumeMounts": [{"mountPath": PATH, "name": "own"}]}]})
    }

    #[test]
    fn a_pod_finds_its_accounts_token_unless_it_opts_out() {
        let mut objects = cluster(&[
            json!({"metadata": {"name": "shy"}, "automountServiceAccountToken": false, "imagePullSecrets": [{"name": "pull"}]}),
        ]);
        let spec = admitted(&mut objects, bare()).unwrap();
        assert_eq!(
            (&spec["serviceAccountName"], &spec["serviceAccount"]),
            (&json!("default"), &json!("default"))
        );
        let volume = &spec["volumes"][0];
        assert!(text(volume, "name").starts_with(VOLUME) && text(volume, "name").len() == VOLUME.len() + 5);
        assert_eq!(volume["projected"]["defaultMode"], 420);
        assert_eq!(volume["projected"]["sources"].as_array().unwrap().len(), 3);
        assert_eq!(
            spec["containers"][0]["volumeMounts"],
            json!([{"name": volume["name"], "readOnly": true, "mountPath": PATH}])
        );
        assert_eq!(spec["initContainers"][0]["volumeMounts"].as_array().unwrap().len(), 1);
        for (account, pod, mounted) in
            [("default", Some(false), false), ("shy", None, false), ("shy", Some(true), true)]
        {
            let mut spec = bare();
            spec["serviceAccountName"] = json!(account);
            if let Some(pod) = pod {
                spec["automountServiceAccountToken"] = json!(pod);
            }
            let spec = admitted(&mut objects, spec).unwrap();
            assert_eq!(spec["volumes"].is_array(), mounted, "{account} {pod:?}");
            assert_eq!(spec["imagePullSecrets"].is_array(), account == "shy");
        }
    }

    #[test]
    fn pods_of_controllers_are_admitted_as_clients_are() {
        let strict = json!({"metadata": {"name": "strict", "annotations": {ENFORCE: "true"}}, "imagePullSecrets": [{"name": "pull"}]});
        let shy = json!({"metadata": {"name": "shy"}, "automountServiceAccountToken": false, "imagePullSecrets": [{"name": "pull"}]});
        let mut objects = cluster(&[strict, shy]);
        let parts = [
            json!({}),
            json!({"serviceAccountName": "shy"}),
            json!({"serviceAccount": "shy", "automountServiceAccountToken": true, "imagePullSecrets": [{"name": "own"}]}),
            json!({"serviceAccountName": "strict", "volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"serviceAccountName": "strict", "volumes": [{"name": "v", "secret": {"secretName": "other"}}]}),
            json!({"serviceAccountName": "none"}),
            json!({"volumes": [{"name": "kube-api-access-own", "emptyDir": {}}]}),
        ];
        for part in parts {
            let mut spec = bare();
            for (key, value) in part.as_object().unwrap() {
                spec[key] = value.clone();
            }
            let doc = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a", "uid": "u"}, "spec": spec});
            let Object::Pod(mut pod) = Object::from_value(Kind::Pod, &doc).unwrap() else { unreachable!() };
            let made = admit_made(&objects, &mut pod).map(|()| Object::Pod(pod).to_value()["spec"].take());
            let named = Object::from_value(Kind::Pod, &doc).unwrap().to_value()["spec"].take();
            let sent =
                admitted(&mut objects, named).map_err(|why| why.replace("pods \"p\" is forbidden: ", ""));
            assert_eq!(made, sent, "{part}");
        }
    }

    #[test]
    fn what_an_account_does_not_let_a_pod_have_is_refused() {
        let strict = json!({"metadata": {"name": "strict", "annotations": {ENFORCE: "true"}}, "secrets": [{"name": "mine"}]});
        let mut objects = cluster(&[strict]);
        let mut ask = |patch: Value| {
            let mut spec = bare();
            spec["serviceAccountName"] = json!("strict");
            for (key, value) in patch.as_object().unwrap() {
                spec[key] = value.clone();
            }
            admitted(&mut objects, spec)
        };
        assert!(ask(json!({"volumes": [{"name": "v", "secret": {"secretName": "mine"}}]})).is_ok());
        assert_eq!(
            ask(json!({"volumes": [{"name": "v", "secret": {"secretName": "other"}}]})).unwrap_err(),
            "pods \"p\" is forbidden: volume with secret.secretName=\"other\" is not allowed because service account strict does not reference that secret"
        );
        let env = json!({"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}]}]});
        assert!(ask(env).unwrap_err().contains("container c with envVar E referencing"));
        assert!(
            ask(json!({"imagePullSecrets": [{"name": "x"}]})).unwrap_err().contains("imagePullSecrets[0]")
        );
        assert_eq!(
            ask(json!({"serviceAccountName": "none"})).unwrap_err(),
            "pods \"p\" is forbidden: error looking up service account a/none: serviceaccount \"none\" not found"
        );
    }
}
