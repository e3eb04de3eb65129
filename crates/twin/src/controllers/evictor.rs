//! Emptying a node by the eviction API, as those do who take nodes away by themselves: all pods are asked to go at once, who
//! is refused is asked again, and then all are waited for.
//!
//! One state machine a node: [`Emptying::step`] does what is due and says when something is due next. It keeps names, not
//! pods, so that a world that is saved goes on. `kubectl drain` is another matter: [`crate::drain`].

use super::events::{About, Source};
use super::{Cx, Place};
use crate::apiserver::{self, Context, Options, Request, Subresource, Verb};
use crate::kind::Kind;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// Seconds a pod gets to end when it does not say.
const GRACE_SECONDS: i64 = 30;

/// How a node is emptied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ways {
    /// How long after a refusal a pod is asked again, and for how long that goes on.
    pub(crate) retry: Span,
    pub(crate) patience: Span,
    /// How often the pods are looked for, and how long after the last has been told to go.
    pub(crate) poll: Span,
    pub(crate) wait: Span,
    /// Longest grace period, in seconds; `None`: each pod's own.
    pub(crate) grace_max: Option<i64>,
}

/// A pod by name and uid.
pub(crate) type Who = (Place, Arc<str>);

/// A node being emptied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Emptying {
    node: Arc<str>,
    ways: Ways,
    /// Yet to be let go.
    asked: Vec<Who>,
    /// On their way out.
    told: Vec<Who>,
    /// Until when refusals are borne, and later until when pods are waited for.
    until: Instant,
    /// When something is due.
    pub(crate) next: Instant,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It goes on at [`Emptying::next`].
    Waits,
    /// The node is empty.
    Empty,
    /// It was given up; these pods, as `namespace/name`, were not let go or did not go.
    GivenUp(Vec<Place>),
}

/// Which pod it is.
pub(crate) fn who(pod: &Pod) -> Who {
    let text = |part: &Option<String>| Arc::from(part.as_deref().unwrap_or_default());
    ((text(&pod.metadata.namespace), text(&pod.metadata.name)), text(&pod.metadata.uid))
}

impl Emptying {
    /// Begins at `now` with these pods.
    pub(crate) fn new<'a>(
        node: &str,
        pods: impl IntoIterator<Item = &'a Pod>,
        ways: Ways,
        now: Instant,
    ) -> Emptying {
        let asked = pods.into_iter().map(who).collect();
        let until = now + ways.patience;
        Emptying { node: node.into(), ways, asked, told: Vec::new(), until, next: now }
    }
    /// Does what is due.
    pub(crate) fn step(&mut self, cx: &mut Cx<'_>) -> Progress {
        if !self.asked.is_empty() {
            let asked = std::mem::take(&mut self.asked);
            for who in asked {
                match evict(cx, &who, self.ways.grace_max) {
                    true => self.told.push(who),
                    false => self.asked.push(who),
                }
            }
            if !self.asked.is_empty() {
                self.next = cx.now + self.ways.retry;
                if self.next < self.until {
                    return Progress::Waits;
                }
                return Progress::GivenUp(self.asked.iter().map(|(place, _)| place.clone()).collect());
            }
            self.until = cx.now + self.ways.wait;
        }
        let here = |((namespace, name), uid): &Who| {
            let pod = cx.pod(namespace, name, uid);
            let pod = pod.as_ref().and_then(|stored| stored.object.as_pod()?.spec.as_ref());
            pod.is_some_and(|spec| spec.node_name.as_deref() == Some(&self.node))
        };
        let left: Vec<Place> = self.told.iter().filter(|who| here(who)).map(|who| who.0.clone()).collect();
        if left.is_empty() {
            return Progress::Empty;
        }
        self.next = cx.now + self.ways.poll;
        if cx.now >= self.until { Progress::GivenUp(left) } else { Progress::Waits }
    }
}

/// Asks for an eviction; whether the pod goes, or is gone.
pub(crate) fn evict(cx: &mut Cx<'_>, ((namespace, name), uid): &Who, grace_max: Option<i64>) -> bool {
    let Some(stored) = cx.pod(namespace, name, uid) else { return true };
    let Some(pod) = stored.object.as_pod() else { return true };
    let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let mut body = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace}});
    if let Some(most) = grace_max {
        body["deleteOptions"] = json!({"gracePeriodSeconds": own.unwrap_or(GRACE_SECONDS).min(most)});
    }
    let request = Request {
        verb: Verb::Create,
        kind: Kind::Pod,
        namespace: namespace.to_string(),
        name: name.to_string(),
        subresource: Some(Subresource::Eviction),
        body,
        options: Options::default(),
    };
    let mut context = Context { objects: cx.objects, now: cx.now, names: cx.names };
    match apiserver::write(&mut context, &request) {
        Ok(_) => true,
        Err(status) => status.code == 404,
    }
}

/// Says something of a pod, if it is still there.
pub(crate) fn tell(
    cx: &mut Cx<'_>,
    (namespace, name): &Place,
    source: Source<'_>,
    (warning, reason, message): (bool, &str, &str),
) {
    let Some(stored) = cx.objects.get(Kind::Pod, namespace, name).cloned() else { return };
    let about = About::new(&stored.object);
    match warning {
        true => cx.warning(&about, source, reason, message.to_owned()),
        false => cx.normal(&about, source, reason, message.to_owned()),
    }
}
