//! `ImageLocality`: nodes that have the pod's images score, the more of them the better.

use super::SCORE_MAX;
use crate::controllers::scheduler::cluster::{Cluster, Image};
use crate::controllers::scheduler::pod::PodInfo;

/// What is smaller in sum counts for nothing, in bytes.
const BYTES_MIN: i64 = 23 << 20;
/// What a container can count for at most, in bytes.
const BYTES_MAX: i64 = 1000 << 20;

/// The pod's images that some node has, and how much each counts for.
pub(in super::super) fn pre_score<'a>(cluster: &'a Cluster, pod: &PodInfo) -> Vec<(&'a Image, i64)> {
    let nodes = cluster.node_count() as f64;
    let known = pod.images.iter().filter_map(|name| cluster.image(name));
    // An image that more nodes have counts for more, so that pods do not gather on one node.
    known.map(|image| (image, (image.bytes as f64 * (image.count as f64 / nodes)) as i64)).collect()
}

pub(in super::super) fn score(pod: &PodInfo, images: &[(&Image, i64)], at: u32) -> i64 {
    let most = BYTES_MAX * pod.images.len() as i64;
    let sum: i64 = images.iter().filter(|(image, _)| image.is_on(at)).map(|(_, bytes)| bytes).sum();
    SCORE_MAX * (sum.clamp(BYTES_MIN, most.max(BYTES_MIN)) - BYTES_MIN) / (most - BYTES_MIN).max(1)
}
