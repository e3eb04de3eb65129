//! How many more pods of a kind fit into a cluster, and what runs out.
//!
//! Pods are placed one after another on a copy, as the scheduler would place them, looking at every node
//! and evicting nobody, until one fits nowhere.

use super::attempt::{Outcome, Search};
use super::cluster::Cluster;
use super::decision::decide;
use super::pod::PodInfo;
use super::profile::Profile;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many more pods fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// In all.
    pub pods: usize,
    /// By node, where there are any.
    pub by_node: BTreeMap<Arc<str>, usize>,
    /// Why the next one fits nowhere, with the nodes that say so in order of name (none where it is said before nodes are
    /// looked at); empty when the limit was reached first.
    pub limits: BTreeMap<String, Vec<Arc<str>>>,
    /// The same as the sentence the pod would be told.
    pub message: Option<String>,
}

/// Counts how many more pods like this one fit, up to `most`.
pub fn capacity(cluster: &Cluster, pod: &PodInfo, profile: &Profile, most: usize) -> Capacity {
    let mut cluster = cluster.clone();
    let profile = Profile { percentage_of_nodes_to_score: 100, ..profile.clone() };
    let mut search = Search::new(0, "capacity");
    let mut found = Capacity::default();
    let mut next = PodInfo { preempts: false, nominated: None, node: None, ..pod.clone() };
    while found.pods < most {
        next.uid = format!("{}/{}", pod.uid, found.pods).into();
        let Outcome::Fits(node) = search.attempt(&mut cluster, &next, &profile) else {
            let decision = decide(&mut cluster, &next, &profile);
            let everywhere = decision.pre_filter.iter().map(|rejection| (None, rejection));
            let each = decision.rejected.iter().map(|(node, rejection)| (Some(node), rejection));
            for (node, rejection) in each.chain(everywhere) {
                for reason in rejection.reasons(&next) {
                    found.limits.entry(reason.into_owned()).or_default().extend(node.cloned());
                }
            }
            found.limits.values_mut().for_each(|nodes| nodes.sort());
            found.message = decision.filter_message;
            return found;
        };
        cluster.place(&node, Arc::new(next.clone()));
        *found.by_node.entry(node).or_default() += 1;
        found.pods += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_runs_out_first_is_named() {
        let mut cluster = Cluster::new();
        for (name, cpu, pods) in [("a", "4", "110"), ("b", "2", "110"), ("c", "9", "1")] {
            let node = json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": pods}}});
            cluster.put_node(&serde_json::from_value(node).unwrap());
        }
        let pod = json!({"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": "1500m", "memory": "1Gi"}}}]}});
        let pod = PodInfo::new(&serde_json::from_value(pod).unwrap());
        let found = capacity(&cluster, &pod, &Profile::default(), 100);
        let by_node: Vec<(&str, usize)> = found.by_node.iter().map(|(n, k)| (&**n, *k)).collect();
        assert_eq!((found.pods, by_node), (4, vec![("a", 2), ("b", 1), ("c", 1)]));
        let message = "0/3 nodes are available: 1 Too many pods, 2 Insufficient cpu.";
        assert_eq!(found.message.as_deref(), Some(message));
        let on = |reason: &str| found.limits[reason].iter().map(|node| &**node).collect::<Vec<_>>();
        assert_eq!((on("Insufficient cpu"), on("Too many pods")), (vec!["a", "b"], vec!["c"]));
        assert_eq!(capacity(&cluster, &pod, &Profile::default(), 3).pods, 3);
    }
}
