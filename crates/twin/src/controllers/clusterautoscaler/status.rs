//! The ConfigMap in which the cluster autoscaler says how it is doing.
//!
//! The layout is that of 1.36 (`status`, YAML). The real one writes it at every look; here it is written when something
//! other than the time of the look has changed.

use crate::controllers::{Cx, time};
use crate::kind::Kind;
use crate::object::Object;
use crate::random::Stream;
use fleet::Instant;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

pub(super) const NAMESPACE: &str = "kube-system";
pub(super) const STATUS: &str = "cluster-autoscaler-status";
const UPDATED: &str = "cluster-autoscaler.kubernetes.io/last-updated";

/// Nodes by what they are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) ready: u32,
    pub(super) unready: u32,
    pub(super) not_started: u32,
    pub(super) being_deleted: u32,
    pub(super) unregistered: u32,
}

/// What is said of the cluster, and of each group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) counts: Counts,
    /// Asked for, least and most; of a group.
    pub(super) size: Option<(u32, u32, u32)>,
    pub(super) is_healthy: bool,
    /// `InProgress`, `NoActivity`, `Backoff`.
    pub(super) scale_up: String,
    pub(super) candidates: u32,
}

/// All that is said, with since when each statement stands: health, scale-up, scale-down.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Status {
    parts: Vec<(String, Part)>,
    since: Vec<[Option<Instant>; 3]>,
}

impl Status {
    /// Writes what is new, if anything is. The first part is the cluster's; its name is not said.
    pub(super) fn write(&mut self, cx: &mut Cx<'_>, parts: Vec<(String, Part)>) {
        let is_there = cx.objects.get(Kind::ConfigMap, NAMESPACE, STATUS).is_some();
        if parts == self.parts && is_there {
            return;
        }
        let now = Some(cx.now);
        let since = parts.iter().enumerate().map(|(i, (_, part))| {
            let Some(((_, old), since)) = self.parts.get(i).zip(self.since.get(i)) else { return [now; 3] };
            let keep = |same: bool, at: Option<Instant>| if same { at } else { now };
            [
                keep(old.is_healthy == part.is_healthy, since[0]),
                keep(old.scale_up == part.scale_up, since[1]),
                keep((old.candidates > 0) == (part.candidates > 0), since[2]),
            ]
        });
        let since: Vec<_> = since.collect();
        (self.parts, self.since) = (parts, since);
        let text = self.text(cx.now);
        put(cx, text);
    }
    fn text(&self, now: Instant) -> String {
        let mut text = format!("time: {}\nautoscalerStatus: Running\n", now.to_rfc3339_seconds());
        for (i, ((name, part), since)) in self.parts.iter().zip(&self.since).enumerate() {
            let indent = match i {
                0 => {
                    text.push_str("clusterWide:\n");
                    "  "
                }
                _ => {
                    text.push_str(if i == 1 { "nodeGroups:\n" } else { "" });
                    let _ = writeln!(text, "- name: {name}");
                    "  "
                }
            };
            write_part(&mut text, indent, part, (since, now));
        }
        text
    }
}

fn write_part(text: &mut String, indent: &str, part: &Part, (since, now): (&[Option<Instant>; 3], Instant)) {
    let counts = part.counts;
    let registered = counts.ready + counts.unready + counts.not_started + counts.being_deleted;
    let healthy = if part.is_healthy { "Healthy" } else { "Unhealthy" };
    let down = if part.candidates > 0 { "CandidatesPresent" } else { "NoCandidates" };
    let mut line = |depth: usize, line: String| {
        let _ = writeln!(text, "{indent}{:1$}{line}", "", depth * 2);
    };
    let probe = format!("lastProbeTime: {}", now.to_rfc3339_seconds());
    let moved = |i: usize| {
        let at = since[i].unwrap_or(now).to_rfc3339_seconds();
        format!("lastTransitionTime: {at}")
    };
    line(0, "health:".to_owned());
    line(1, format!("status: {healthy}"));
    line(1, "nodeCounts:".to_owned());
    line(2, "registered:".to_owned());
    line(3, format!("total: {registered}"));
    line(3, format!("ready: {}", counts.ready));
    line(3, format!("notStarted: {}", counts.not_started));
    line(3, format!("beingDeleted: {}", counts.being_deleted));
    line(3, "unready:".to_owned());
    line(4, format!("total: {}", counts.unready));
    line(2, "longUnregistered: 0".to_owned());
    line(2, format!("unregistered: {}", counts.unregistered));
    if let Some((target, min, max)) = part.size {
        line(1, format!("cloudProviderTarget: {target}"));
        line(1, format!("minSize: {min}"));
        line(1, format!("maxSize: {max}"));
    }
    line(1, probe.clone());
    line(1, moved(0));
    line(0, "scaleUp:".to_owned());
    line(1, format!("status: {}", part.scale_up));
    line(1, probe.clone());
    line(1, moved(1));
    line(0, "scaleDown:".to_owned());
    line(1, format!("status: {down}"));
    line(1, format!("candidates: {}", part.candidates));
    line(1, probe);
    line(1, moved(2));
}

fn put(cx: &mut Cx<'_>, text: String) {
    let stamp = cx.now.to_rfc3339_seconds();
    let data = Some(BTreeMap::from([("status".to_owned(), text)]));
    let old = cx.objects.get(Kind::ConfigMap, NAMESPACE, STATUS).map(|stored| stored.object.clone());
    let mut map = match old {
        Some(Object::ConfigMap(map)) => *map,
        _ => ConfigMap {
            metadata: ObjectMeta {
                name: Some(STATUS.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                uid: Some(Stream::new(cx.seed, &format!("clusterautoscaler/status/{}", cx.spec.id)).uid()),
                creation_timestamp: Some(time(cx.now)),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        },
    };
    map.data = data;
    map.metadata.annotations.get_or_insert_default().insert(UPDATED.to_owned(), stamp);
    cx.objects.put(Object::ConfigMap(Box::new(map)));
}
