//! Where a start goes when its time has come, and when it waits because its pods would not fit.
//!
//! Plans know sums and not nodes, so the pods of a start may not fit the planned cluster's nodes. The Job then
//! waits for room there, or goes to another cluster where that costs hardly more than the plan. What has no
//! time left goes wherever it fits, the cheapest first.

use crate::jobs::{self, Style, Tracked};
use crate::state::Control;
use fleet::{ClusterId, PolicyKind, Span};
use ledger::Footprint;

/// What another cluster may cost more than the plan, in per cent of it, while there is time to wait.
const DEARER_PERCENT: f64 = 10.0;
/// With less than this before its latest safe start a Job no longer waits for a better place, nor gives way.
const NEAR: Span = Span::from_seconds(3600);

impl Control {
    /// Where to start: as planned, while the pods fit there now; what a person released, at home. When they do not and the slot was missed or
    /// the guard speaks, the cheapest place where they fit; when there is none, as planned or at home, so that they
    /// are first in line.
    pub(crate) fn target(&self, tracked: &Tracked) -> Option<ClusterId> {
        let usable = |id: &&ClusterId| {
            let refused = tracked.refused.get(*id).is_some_and(|r| r.until > self.now);
            !refused && self.may_write(id)
        };
        let allowed = self.allowed(tracked);
        let may = |id: &&ClusterId| allowed.as_ref().is_none_or(|all| all.contains(id)) && usable(id);
        let planned = self.assignment(&tracked.key).map(|a| &a.cluster).filter(|_| !tracked.released);
        let home = Some(&tracked.key.cluster);
        let first = planned.into_iter().chain(home).find(may);
        let fits = |id: &&ClusterId| self.has_room(tracked, id);
        if first.as_ref().is_some_and(fits) || !(tracked.missed || self.hurried(tracked)) {
            return first.cloned();
        }
        let most = self.worth_at_most(tracked);
        let roomy = self.clusters.keys().filter(may).filter(fits);
        let priced = roomy.map(|id| (self.cost_now(tracked, id).unwrap_or(f64::INFINITY), id));
        let cheapest = priced.min_by(|a, b| a.0.total_cmp(&b.0)).filter(|(cost, _)| *cost <= most);
        cheapest.map(|(_, id)| id).or(first).or_else(|| self.clusters.keys().find(may)).cloned()
    }

    /// Whether the start cannot wait for a better place.
    fn hurried(&self, tracked: &Tracked) -> bool {
        tracked.released || tracked.contract.deadline.is_none() || self.guarded(tracked)
    }

    /// Whether any place will do: there is no time to wait for a better one.
    fn anywhere(&self, tracked: &Tracked) -> bool {
        let near = || self.latest_start(tracked).is_none_or(|latest| latest - self.now <= NEAR);
        self.settings.policy.kind != PolicyKind::Optimal || self.scarce || self.hurried(tracked) || near()
    }

    /// What a start elsewhere than planned may cost, in grams and money at the carbon price.
    fn worth_at_most(&self, tracked: &Tracked) -> f64 {
        let planned = self.assignment(&tracked.key).filter(|_| !self.anywhere(tracked));
        planned.map_or(f64::INFINITY, |a| self.priced(a.footprint) * (1.0 + DEARER_PERCENT / 100.0))
    }

    fn priced(&self, footprint: Footprint) -> f64 {
        let money = footprint.cost.as_units_f64() * self.settings.policy.grams_per_money();
        footprint.carbon.as_grams_f64() + money
    }

    /// What the whole Job would cost if it ran in a cluster now, its data brought there, in grams and money at
    /// the carbon price.
    fn cost_now(&self, tracked: &Tracked, id: &ClusterId) -> Option<f64> {
        let run = self.run_now(tracked, id)?;
        let data = tracked.contract.data.as_ref().filter(|data| data.at != *id);
        let moving = data.and_then(|data| {
            let here = &self.clusters.get(id)?.signal.as_ref()?.forecast;
            let there = self.clusters.get(&data.at).and_then(|c| c.signal.as_ref()).map(|s| &s.forecast);
            let intensity = ledger::transfer_intensity(there, here, self.now);
            let price = self.settings.transfer_price_per_gb;
            Some(ledger::transfer(data.size, self.transfer_kwh_per_gb(&data.at, id), price, intensity))
        });
        Some(self.priced(run + moving.unwrap_or_default()))
    }

    /// What the whole Job would burn, emit and cost if it ran in a cluster now, by the forecast; moving its data is not
    /// in it.
    pub(crate) fn run_now(&self, tracked: &Tracked, id: &ClusterId) -> Option<Footprint> {
        let cluster = self.clusters.get(id)?;
        let signal = cluster.signal.as_ref()?;
        let lasts = crate::guard::safe_duration(self.expected_left(tracked), &self.settings.policy);
        let rates = cluster.rates(self.settings.policy.embodied);
        Some(ledger::footprint(tracked.demand(), rates, &signal.forecast, self.now, self.now + lasts))
    }

    /// Energy of moving a GB between two clusters, in kWh; the most it can be where one of them is not known.
    pub(crate) fn transfer_kwh_per_gb(&self, from: &ClusterId, to: &ClusterId) -> f64 {
        let (near, far) = self.settings.transfer_kwh_per_gb;
        let region = |id: &ClusterId| self.clusters.get(id).map(|c| &c.facts.region);
        let apart = region(from).zip(region(to));
        apart.map_or(far, |(a, b)| if self.distances.between(a, b).near { near } else { far })
    }

    /// Whether the pods would fit the nodes of a cluster as they are now.
    pub(crate) fn has_room(&self, tracked: &Tracked, cluster: &ClusterId) -> bool {
        let pods = self.pods_to_start(tracked);
        self.clusters.get(cluster).is_some_and(|c| c.has_room_for(tracked.pod, pods))
    }

    /// A start whose pods would not fit the nodes as they are now waits for room, as long as the guard allows.
    pub(crate) fn wait_for_room(&mut self, tracked: &Tracked, target: &ClusterId) -> bool {
        let room = self.has_room(tracked, target) && !self.gives_way(tracked, target);
        let waits = !room && !self.hurried(tracked);
        if let Some(t) = self.jobs.get_mut(&tracked.key) {
            t.missed = waits;
        }
        if waits {
            let only = (!self.anywhere(tracked)).then(|| target.clone());
            self.waiting_for_room.insert(tracked.key.clone(), only);
        } else {
            self.waiting_for_room.remove(&tracked.key);
            let name = match tracked.style {
                Style::Mirrored => jobs::copy_name(&tracked.job),
                Style::InPlace => tracked.key.name.to_string(),
            };
            let pods = (tracked.pod, self.pods_to_start(tracked));
            if let Some(cluster) = self.clusters.get_mut(target) {
                cluster.expect(tracked.key.namespace.as_str(), &name, Some(pods));
            }
        }
        waits
    }

    /// Whether a Job that can wait less is waiting for room there: small Jobs must not keep taking the room a
    /// larger one needs. A Job near its own guard gives way to nobody.
    fn gives_way(&self, tracked: &Tracked, target: &ClusterId) -> bool {
        let Some(latest) = self.latest_start(tracked).filter(|latest| *latest - self.now > NEAR) else {
            return false;
        };
        let there = |only: &Option<ClusterId>| only.as_ref().is_none_or(|only| only == target);
        let waiting = self.waiting_for_room.iter().filter(|(key, only)| **key != tracked.key && there(only));
        waiting.filter_map(|(key, _)| self.latest_start(self.jobs.get(key)?)).any(|other| other < latest)
    }
}
