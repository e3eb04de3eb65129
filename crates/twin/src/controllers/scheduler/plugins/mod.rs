//! The plugins of the default profile, one module each, named as in Kubernetes.
//!
//! A filter gives `None` for a node it accepts. A score is raw until its plugin's own normalisation.

pub(super) mod defaultpreemption;
pub(super) mod imagelocality;
pub(super) mod interpodaffinity;
pub(super) mod nodeaffinity;
pub(super) mod nodename;
pub(super) mod nodeports;
pub(super) mod noderesources;
pub(super) mod nodeunschedulable;
pub(super) mod nodevolumelimits;
pub(super) mod podtopologyspread;
pub(super) mod tainttoleration;
pub(super) mod volumebinding;
pub(super) mod volumerestrictions;
pub(super) mod volumezone;

/// Highest score of a plugin.
pub(super) const SCORE_MAX: i64 = 100;

/// Scales raw scores so that the highest is 100; reversed, the lowest raw score is best.
pub(super) fn normalize(scores: &mut [i64], reverse: bool) {
    let most = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if most == 0 { 0 } else { SCORE_MAX * *score / most };
        *score = if reverse { SCORE_MAX - scaled } else { scaled };
    }
}
