//! A DaemonSet's rolling update: which old pods go, or where the new one comes first.

use super::Sync;
use crate::controllers::is_deleting;
use crate::controllers::podcontrol::scaled;
use k8s_openapi::api::core::v1::Pod;

/// The old and the new pod on a node that are not on their way out.
struct Pair<'a> {
    old: Option<&'a Pod>,
    new: Option<&'a Pod>,
}

impl<'a> Sync<'a, '_> {
    /// Most pods that may be extra, and most that may be unavailable.
    pub(super) fn bounds(&self) -> (i32, i32) {
        let strategy = self.spec.update_strategy.as_ref();
        let rolling = strategy.filter(|s| s.type_.as_deref() != Some("OnDelete"));
        let Some(rolling) = rolling.and_then(|s| s.rolling_update.as_ref()) else { return (0, 1) };
        let desired = self.desired();
        let surge = scaled(rolling.max_surge.as_ref(), desired, true);
        let unavailable = scaled(rolling.max_unavailable.as_ref(), desired, true);
        (surge, if surge == 0 && unavailable == 0 { 1 } else { unavailable })
    }
    /// One step of a rolling update.
    pub(super) fn roll(&mut self) {
        if self.spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref()) == Some("OnDelete") {
            return;
        }
        match self.bounds() {
            (0, unavailable) => self.replace(unavailable),
            (surge, _) => self.come_first(surge),
        }
    }
    /// The pods of a node; `None` where there are more than one of a kind, or only such as are on their way out, which is
    /// for the rest of the look to see to.
    fn pair(&self, node: &str) -> Option<Pair<'a>> {
        let here = self.on(node);
        let live: Vec<&Pod> = here.into_iter().filter(|pod| !is_deleting(&pod.metadata)).collect();
        let (new, old): (Vec<&Pod>, Vec<&Pod>) = live.into_iter().partition(|pod| self.is_new(pod));
        (old.len() <= 1 && new.len() <= 1)
            .then(|| Pair { old: old.first().copied(), new: new.first().copied() })
    }
    fn places(&self) -> Vec<String> {
        self.pods.keys().cloned().collect()
    }
    fn replace(&mut self, most: i32) {
        let (mut unavailable, mut now, mut then) = (0, Vec::new(), Vec::new());
        for node in self.places() {
            match self.pair(&node) {
                Some(Pair { old: None, new: Some(new) }) => unavailable += i32::from(!self.is_available(new)),
                Some(Pair { old: Some(old), new: None }) if !self.is_available(old) => {
                    now.push(old);
                    unavailable += 1;
                }
                Some(Pair { old: Some(old), new: None }) => then.push(old),
                _ => unavailable += 1,
            }
        }
        let room = usize::try_from(most - unavailable).unwrap_or(0);
        for pod in now.into_iter().chain(then.into_iter().take(room)) {
            self.delete(pod);
        }
    }
    fn come_first(&mut self, most: i32) {
        let (mut extra, mut now, mut then, mut done) = (0, Vec::new(), Vec::new(), Vec::new());
        for node in self.places() {
            match self.pair(&node) {
                None => extra += 1,
                Some(Pair { old: None, .. }) => {}
                Some(Pair { old: Some(old), new: None }) if !self.is_available(old) => now.push(node),
                Some(Pair { new: None, .. }) => then.push(node),
                Some(Pair { old: Some(old), new: Some(new) }) if self.is_available(new) => done.push(old),
                Some(_) => extra += 1,
            }
        }
        for pod in done {
            self.delete(pod);
        }
        let room = usize::try_from(most - extra).unwrap_or(0);
        let wanted = |node: &String| self.nodes.iter().any(|(name, w)| name == node && w.wanted);
        let all = now.into_iter().chain(then.into_iter().take(room)).filter(wanted);
        for node in all.collect::<Vec<_>>() {
            self.create(&node);
        }
    }
}
