//! What is known of a machine that Karpenter asked for: a NodeClaim, kept here and not as an object.

use super::termination::Termination;
use fleet::karpenter::NodePool;
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long after one event of pods others are not noted.
const POD_EVENTS: Span = Span::from_seconds(10);

/// A machine that was asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct NodeClaim {
    pub(super) pool: Arc<str>,
    /// Since when its node is ready for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) initialized: Option<Instant>,
    /// When a pod last came, ended or was told to go, as far as that is noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pods_at: Option<Instant>,
    /// Until when it is thought that pods come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nominated_until: Option<Instant>,
    /// Whether it goes once what comes in its place is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_marked: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) termination: Option<Termination>,
}

impl NodeClaim {
    pub(super) fn new(pool: &str) -> NodeClaim {
        NodeClaim { pool: pool.into(), ..NodeClaim::default() }
    }
    /// Whether it goes or will go.
    pub(super) fn is_deleting(&self) -> bool {
        self.is_marked || self.termination.is_some()
    }
    /// A pod came, ended or was told to go.
    pub(super) fn note_pod(&mut self, now: Instant) {
        if self.pods_at.is_none_or(|at| now - at >= POD_EVENTS) {
            self.pods_at = Some(now);
        }
    }
    pub(super) fn is_nominated(&self, now: Instant) -> bool {
        self.nominated_until.is_some_and(|until| until > now)
    }
    /// When it may be consolidated as far as time goes; `None`: not yet to be said, or never.
    pub(super) fn consolidatable_at(&self, pool: &NodePool) -> Option<Instant> {
        let (initialized, after) = (self.initialized?, pool.disruption.consolidate_after?);
        Some(if after.is_zero() { initialized } else { self.pods_at.unwrap_or(initialized) + after })
    }
    /// Whether pods of other nodes are not thought to come: some did, or went, a short while ago.
    pub(super) fn rests(&self, pool: &NodePool, now: Instant) -> bool {
        let after = pool.disruption.consolidate_after.filter(|after| !after.is_zero());
        after.is_some() && self.consolidatable_at(pool).is_some_and(|at| at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::karpenter::{Disruption, PoolLimits};

    #[test]
    fn a_node_is_left_alone_after_pods_came_or_went() {
        let at = |seconds| Instant::from_unix_seconds(seconds);
        let pool = |after: Option<i64>| NodePool {
            name: "default".to_owned(),
            weight: 0,
            expire_after: None,
            termination_grace_period: None,
            disruption: Disruption {
                consolidate_after: after.map(Span::from_seconds),
                ..Disruption::default()
            },
            limits: PoolLimits::default(),
            offerings: Vec::new(),
        };
        let mut claim = NodeClaim::new("default");
        assert_eq!(claim.consolidatable_at(&pool(Some(30))), None, "it is not there yet");
        claim.initialized = Some(at(100));
        assert_eq!(claim.consolidatable_at(&pool(Some(30))), Some(at(130)));
        claim.note_pod(at(110));
        claim.note_pod(at(119));
        assert_eq!(claim.consolidatable_at(&pool(Some(30))), Some(at(140)), "within 10 s one is noted");
        claim.note_pod(at(120));
        assert_eq!(claim.consolidatable_at(&pool(Some(30))), Some(at(150)));
        assert!(claim.rests(&pool(Some(30)), at(149)) && !claim.rests(&pool(Some(30)), at(150)));
        assert_eq!(claim.consolidatable_at(&pool(Some(0))), Some(at(100)));
        assert_eq!(claim.consolidatable_at(&pool(None)), None);
    }
}
