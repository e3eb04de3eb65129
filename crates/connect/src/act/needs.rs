//! Looks whether what the pods of a copy need is in a cluster.
//!
//! Invariants: only that it is there is asked, never what is in it: the answers are metadata. What may not be looked
//! for counts as not there: a Job that waits at home is late less likely than one whose pods wait for ever.

use control::needs::{Need, NeedKind, of_copy};
use fleet::ClusterId;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, ServiceAccount};
use kube::Error;
use kube::api::Api;
use kube::core::{NamespaceResourceScope, Status};

/// Most things looked for before one Job is sent: more no Job of a size an API server takes is known to need.
const NEEDS_MAX: usize = 64;

/// Refuses with what is missing in the cluster.
pub(super) async fn there(client: &kube::Client, cluster: &ClusterId, job: &Job) -> Result<(), Error> {
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let needs = of_copy(cluster, job);
    if needs.len() > NEEDS_MAX {
        let text =
            format!("its pods need {} things of its namespace: expected at most {NEEDS_MAX}", needs.len());
        return Err(refused(422, "Invalid", text));
    }
    for need in needs {
        let found = match need.kind {
            NeedKind::ConfigMap => find::<ConfigMap>(client, namespace, &need.name).await,
            NeedKind::Secret => find::<Secret>(client, namespace, &need.name).await,
            NeedKind::ServiceAccount => find::<ServiceAccount>(client, namespace, &need.name).await,
            NeedKind::PersistentVolumeClaim => {
                find::<PersistentVolumeClaim>(client, namespace, &need.name).await
            }
        };
        missing(namespace, &need, found)?;
    }
    Ok(())
}

async fn find<K>(client: &kube::Client, namespace: &str, name: &str) -> Result<(), Error>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug,
    K: serde::de::DeserializeOwned,
{
    Api::<K>::namespaced(client.clone(), namespace).get_metadata(name).await.map(|_| ())
}

/// What an answer says of a need.
fn missing(namespace: &str, need: &Need, answer: Result<(), Error>) -> Result<(), Error> {
    match answer {
        Ok(()) => Ok(()),
        // Without a name it is the kind that is not served there (by a twin), and then no pod waits for one.
        Err(Error::Api(status)) if status.code == 404 => {
            let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
            let text = format!("namespace {namespace:?} has no {need} there, which its pods need");
            if named { Err(refused(404, "NotFound", text)) } else { Ok(()) }
        }
        Err(Error::Api(status)) if status.code == 403 => {
            let rights = "kubercarbon rbac --secrets prints the rights to look for Secrets too";
            let hint = if need.kind == NeedKind::Secret {
                rights
            } else {
                "kubercarbon rbac prints the rights it needs"
            };
            let text =
                format!("whether namespace {namespace:?} has {need} there may not be looked up ({hint})");
            Err(refused(403, "Forbidden", text))
        }
        Err(error) => Err(error),
    }
}

fn refused(code: u16, reason: &str, text: String) -> Error {
    Error::Api(Status::failure(&text, reason).with_code(code).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need() -> Need {
        Need { kind: NeedKind::Secret, name: "key".to_owned() }
    }

    fn answer(code: u16, named: bool) -> Result<(), String> {
        let mut status = Status::failure("no", "NotFound").with_code(code);
        if named {
            status.details = serde_json::from_value(serde_json::json!({"name": "key"})).unwrap();
        }
        missing("default", &need(), Err(Error::Api(status.boxed()))).map_err(|e| match e {
            Error::Api(status) => format!("{} {}", status.code, status.message),
            other => other.to_string(),
        })
    }

    #[test]
    fn what_is_not_there_or_may_not_be_seen_keeps_a_job_away() {
        assert_eq!(missing("default", &need(), Ok(())).map_err(|e| e.to_string()), Ok(()));
        let error = answer(404, true).unwrap_err();
        assert_eq!(error, "404 namespace \"default\" has no Secret \"key\" there, which its pods need");
        assert_eq!(answer(404, false), Ok(()), "a kind that is not served");
        assert!(answer(403, false).unwrap_err().contains("rbac --secrets"));
        assert!(answer(503, false).unwrap_err().starts_with("503"));
    }
}
