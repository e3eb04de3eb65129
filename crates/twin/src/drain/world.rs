//! A drain of a node of a twin.

use super::run::Cluster;
use super::{Flags, Run, Selected, select};
use crate::World;
use crate::apiserver::{Options, PatchType, Request, Status, Subresource, Verb};
use crate::kind::Kind;
use fleet::ClusterId;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// One cluster of a world.
pub struct OnWorld<'a> {
    /// The world.
    pub world: &'a mut World,
    /// Which of its clusters.
    pub cluster: &'a ClusterId,
}

impl OnWorld<'_> {
    fn send(
        &mut self,
        verb: Verb,
        kind: Kind,
        (namespace, name): (&str, &str),
        (subresource, body): (Option<Subresource>, Value),
        grace_period_seconds: Option<u32>,
    ) -> Result<(), Status> {
        let mut options = Options::default();
        options.delete.grace_period_seconds = grace_period_seconds.map(i64::from);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let request = Request { verb, kind, namespace, name, subresource, body, options };
        self.world.request(self.cluster, &request).map(|_| ())
    }
    /// Has no more pods come to a node, selects those that go, and begins unless something stands in the way.
    ///
    /// # Errors
    /// What the API answers.
    pub fn drain(&mut self, node: &str, flags: &Flags) -> Result<(Selected, Option<Run>), Status> {
        let cordon = json!({"spec": {"unschedulable": true}});
        self.send(Verb::Patch(PatchType::Merge), Kind::Node, ("", node), (None, cordon), None)?;
        let now = self.world.now();
        let Some(objects) = self.world.objects(self.cluster) else { return Ok((Selected::default(), None)) };
        let on_node = |pod: &&Pod| pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node);
        let pods = objects.list(Kind::Pod, None).filter_map(|stored| stored.object.as_pod()).filter(on_node);
        let sets = Kind::document("apps", "daemonsets");
        let has = |namespace: &str, name: &str| objects.get(sets, namespace, name).is_some();
        let selected = select(pods, flags, &has, now);
        let run = selected.errors.is_empty().then(|| Run::new(selected.pods.clone(), flags, now));
        Ok((selected, run))
    }
}

fn place(pod: &Pod) -> (&str, &str) {
    (super::judge::namespace(pod), super::judge::name(pod))
}

impl Cluster for OnWorld<'_> {
    fn pod(&self, namespace: &str, name: &str) -> Option<Pod> {
        self.world.objects(self.cluster)?.get(Kind::Pod, namespace, name)?.object.as_pod().cloned()
    }
    fn evict(&mut self, pod: &Pod, grace_period_seconds: Option<u32>) -> Result<(), Status> {
        let (namespace, name) = place(pod);
        let mut body = json!({"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace}});
        if let Some(seconds) = grace_period_seconds {
            body["deleteOptions"] = json!({"gracePeriodSeconds": seconds});
        }
        self.send(Verb::Create, Kind::Pod, (namespace, name), (Some(Subresource::Eviction), body), None)
    }
    fn delete(&mut self, pod: &Pod, grace_period_seconds: Option<u32>) -> Result<(), Status> {
        self.send(Verb::Delete, Kind::Pod, place(pod), (None, Value::Null), grace_period_seconds)
    }
}
