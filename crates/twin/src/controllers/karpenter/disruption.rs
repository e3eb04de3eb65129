//! The loop that looks for nodes to disrupt: empty ones, several at once, one by itself; one thing at a time.
//!
//! It looks every ten seconds; what it finds it looks at once more after fifteen, and does only what still holds. A look
//! that finds nothing is not repeated before something has changed that may matter, or time alone may change something.
//! Method: `pkg/controllers/disruption/{controller,validation,queue}.go` of Karpenter 1.14.

use super::consolidation::{self, Candidate, Plan};
use super::pods::{DO_NOT_DISRUPT, eviction_cost};
use super::scene::{Scene, machine};
use super::{Karpenter, Said, about_claim, budgets, say_of, termination};
use crate::cloud::Cloud;
use crate::controllers::Cx;
use crate::controllers::node::is_ready;
use crate::controllers::scheduler::Scheduler;
use fleet::karpenter::{ConsolidationPolicy, NodePool, Reason};
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often it looks.
pub(super) const POLL: Span = Span::from_seconds(10);
/// How long after it was found a plan is looked at once more.
const VALIDATION: Span = Span::from_seconds(15);
/// How long what was begun may take: the shortest and the longest, and how much each of many adds.
const RETRY: (Span, Span, Span) = (Span::from_seconds(600), Span::HOUR, Span::from_millis(80));

/// What is looked for, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Method {
    Empty,
    Multi,
    Single,
}

impl Method {
    fn reason(self) -> Reason {
        if self == Method::Empty { Reason::Empty } else { Reason::Underutilized }
    }
    fn next(self) -> Option<Method> {
        match self {
            Method::Empty => Some(Method::Multi),
            Method::Multi => Some(Method::Single),
            Method::Single => None,
        }
    }
}

/// A plan that is to be looked at once more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Validation {
    pub(super) at: Instant,
    method: Method,
    nodes: Vec<Arc<str>>,
    /// Groups of what comes in their place; empty: nothing does.
    options: Vec<Arc<str>>,
    /// As it was told of each node, and what it saves.
    told: Vec<String>,
    savings: f64,
}

/// Nodes that go once something else is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Command {
    reason: Reason,
    nodes: Vec<Arc<str>>,
    replacement: Arc<str>,
    created: Instant,
}

/// How many more nodes of each pool may be disrupted.
type Allowed = BTreeMap<Arc<str>, u32>;

/// What came of a look.
struct Found {
    plan: Option<(Method, Plan)>,
    said: Vec<Said>,
    /// When a pod ceases to be held by its annotation.
    held_until: Option<Instant>,
}

impl Karpenter {
    /// Looks, if it is time; whether it did.
    pub(super) fn disrupt(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud, scheduler: &mut Scheduler) {
        let mut method = Some(Method::Empty);
        if let Some(validation) = self.validation.take() {
            if validation.at > cx.now {
                self.validation = Some(validation);
                return;
            }
            match self.validate(cx, cloud, scheduler, &validation) {
                Ok(plan) => self.start(cx, cloud, &plan, validation.method.reason()),
                Err(why) => {
                    self.reject(cx, &validation, why);
                    method = validation.method.next();
                }
            }
        }
        let Found { plan, said, held_until } = self.look(cx, cloud, scheduler, method);
        self.say(cx, said);
        match plan {
            Some((method, plan)) => self.propose(cx, method, &plan),
            None => (self.looked_at, self.stale, self.held_until) = (cx.now, false, held_until),
        }
    }
    /// Looks for nodes to disrupt, by one method after another.
    fn look(&self, cx: &Cx<'_>, cloud: &Cloud, scheduler: &mut Scheduler, from: Option<Method>) -> Found {
        let mut found = Found { plan: None, said: Vec::new(), held_until: None };
        let Some(scene) = Scene::new(cx, cloud, scheduler, (&self.claims, &self.unavailable)) else {
            return found;
        };
        let mut method = from;
        while let Some(own) = method {
            if let Some(plan) = self.search(cx, cloud, &scene, own, &mut found.said) {
                found.plan = Some((own, plan));
                return found;
            }
            method = own.next();
        }
        found.held_until = scene.pods.next(self.claims.keys());
        found
    }
    /// A plan was found: it is told, and looked at once more later.
    fn propose(&mut self, cx: &mut Cx<'_>, method: Method, plan: &Plan) {
        let savings = plan.savings();
        let told: Vec<String> = plan.nodes.iter().map(|own| plan.told_of(&own.node)).collect();
        if plan.replacement.is_some() {
            let each = plan.nodes.iter().zip(&told);
            let said = each.map(|(own, told)| {
                let message = format!("Consolidation candidate: {told} (savings: ${savings:.2})");
                Said::of_node(&own.node, "ConsolidationCandidate", message)
            });
            let said = said.collect();
            self.say(cx, said);
        }
        let options = plan.replacement.iter().flat_map(|new| &new.options);
        self.validation = Some(Validation {
            at: cx.now + VALIDATION,
            method,
            nodes: plan.nodes.iter().map(|own| own.node.clone()).collect(),
            options: options.map(|name| name.as_str().into()).collect(),
            told,
            savings,
        });
    }
    fn reject(&mut self, cx: &mut Cx<'_>, validation: &Validation, why: &str) {
        if validation.method == Method::Empty {
            return;
        }
        let savings = validation.savings;
        for (node, told) in validation.nodes.iter().zip(&validation.told) {
            let message = format!("Consolidation rejected: {told}, reason: {why} (savings: ${savings:.2})");
            say_of(cx, node, ("Normal", "ConsolidationRejected"), message);
        }
    }
    /// Whether a plan still holds; else what has changed, as the real one's metric names it.
    fn validate(
        &self,
        cx: &Cx<'_>,
        cloud: &Cloud,
        scheduler: &mut Scheduler,
        own: &Validation,
    ) -> Result<Plan, &'static str> {
        let Some(scene) = Scene::new(cx, cloud, scheduler, (&self.claims, &self.unavailable)) else {
            return Err("no_candidates");
        };
        let (candidates, _) = self.candidates(cx, cloud, &scene, own.method);
        let mut left: Vec<Candidate> =
            candidates.into_iter().filter(|c| own.nodes.contains(&c.node)).collect();
        if left.is_empty() || (own.method != Method::Empty && left.len() != own.nodes.len()) {
            return Err("pod_churn");
        }
        let (mut allowed, _) = self.allowed(cx, cloud, own.method.reason());
        let before = left.len();
        left.retain(|candidate| take(&mut allowed, candidate));
        if own.method == Method::Empty {
            let plan = Plan { nodes: left, ..Plan::default() };
            return if plan.nodes.is_empty() { Err("budget") } else { Ok(plan) };
        }
        if left.len() != before {
            return Err("budget");
        }
        let of: Vec<&Candidate> = left.iter().collect();
        let mut plan = consolidation::compute(&scene, &of).map_err(|_| "scheduling")?;
        match &mut plan.replacement {
            None if own.options.is_empty() => Ok(plan),
            Some(new) if !own.options.is_empty() => {
                // It may become what it might have become then, all of which has to be worth it still.
                let still =
                    own.options.iter().all(|name| new.options.iter().any(|option| **option == **name));
                new.options.retain(|option| own.options.iter().any(|name| **name == **option));
                if still { Ok(plan) } else { Err("scheduling") }
            }
            _ => Err("scheduling"),
        }
    }
    /// Looks for nodes to disrupt by one method.
    fn search(
        &self,
        cx: &Cx<'_>,
        cloud: &Cloud,
        scene: &Scene<'_>,
        method: Method,
        told: &mut Vec<Said>,
    ) -> Option<Plan> {
        let (mut candidates, said) = self.candidates(cx, cloud, scene, method);
        told.extend(said);
        if candidates.is_empty() {
            return None;
        }
        let (mut allowed, said) = self.allowed(cx, cloud, method.reason());
        told.extend(said);
        consolidation::sort(&mut candidates);
        match method {
            Method::Empty => {
                candidates.retain(|candidate| take(&mut allowed, candidate));
                let nodes = candidates;
                (!nodes.is_empty()).then(|| Plan { nodes, ..Plan::default() })
            }
            Method::Multi => {
                candidates.retain(|candidate| take(&mut allowed, candidate));
                consolidation::multi(scene, &candidates)
            }
            Method::Single => {
                candidates.retain(|candidate| allowed.get(&candidate.pool).is_some_and(|left| *left > 0));
                let (plan, stay) = consolidation::single(scene, &consolidation::interweave(candidates));
                told.extend(
                    stay.into_iter().map(|(node, why)| Said::of_node(&node, "Unconsolidatable", why)),
                );
                plan
            }
        }
    }
    /// Nodes that may be disrupted by a method; of others, why they may not.
    fn candidates(
        &self,
        cx: &Cx<'_>,
        cloud: &Cloud,
        scene: &Scene<'_>,
        method: Method,
    ) -> (Vec<Candidate>, Vec<Said>) {
        let (mut candidates, mut said) = (Vec::new(), Vec::new());
        for (name, claim) in self.claims.iter().filter(|(_, claim)| !claim.is_marked) {
            if let Some(why) = self.blocked(cx, cloud, scene, name) {
                said.push(Said::of_node(name, "DisruptionBlocked", why));
                continue;
            }
            let (Some(pool), Some(group)) = (scene.set.pool(&claim.pool), scene.group(name)) else {
                continue;
            };
            let cost =
                scene.pods.moving(name).iter().map(|pod| eviction_cost(pod).max(0.0)).sum::<f64>() + 1.0;
            let candidate = Candidate {
                node: name.clone(),
                pool: claim.pool.clone(),
                instance_type: group.instance_type.to_string(),
                price: group.price,
                is_spot: group.supply.spot.is_some(),
                cost,
            };
            match suits(pool, &candidate, method) {
                Ok(true) if claim.consolidatable_at(pool).is_some_and(|at| at <= cx.now) => {
                    candidates.push(candidate)
                }
                Ok(_) => {}
                Err(why) => said.push(Said::of_node(name, "Unconsolidatable", why)),
            }
        }
        (candidates, said)
    }
    /// What keeps a node from being disrupted at all.
    fn blocked(&self, cx: &Cx<'_>, cloud: &Cloud, scene: &Scene<'_>, name: &Arc<str>) -> Option<String> {
        let claim = self.claims.get(name)?;
        let Some(node) = cx.node(name) else {
            return Some("Nodeclaim does not have an associated node".to_owned());
        };
        if claim.initialized.is_none() {
            return Some("Node isn't initialized".to_owned());
        }
        if claim.termination.is_some() || machine(cloud, name).is_none() {
            return Some("Node is deleting or marked for deletion".to_owned());
        }
        if claim.is_nominated(cx.now) {
            return Some("Node is nominated for a pending pod".to_owned());
        }
        let annotations = node.metadata.annotations.as_ref();
        if annotations.and_then(|all| all.get(DO_NOT_DISRUPT)).is_some_and(|value| value == "true") {
            return Some(format!("Disruption is blocked through the {DO_NOT_DISRUPT:?} annotation"));
        }
        scene.pods.block(name)
    }
    /// How many more nodes of each pool may be disrupted for a reason, and which pools allow none.
    fn allowed(&self, cx: &Cx<'_>, cloud: &Cloud, reason: Reason) -> (Allowed, Vec<Said>) {
        let mut counts: BTreeMap<Arc<str>, (u32, u32)> = BTreeMap::new();
        for (name, claim) in self.claims.iter().filter(|(_, claim)| claim.initialized.is_some()) {
            let Some(node) = cx.node(name).filter(|_| machine(cloud, name).is_some()) else { continue };
            let (all, busy) = counts.entry(claim.pool.clone()).or_default();
            *all += 1;
            *busy += u32::from(claim.is_deleting() || !is_ready(node));
        }
        let (mut allowed, mut said) = (Allowed::new(), Vec::new());
        for pool in cx.spec.karpenter.iter().flat_map(|set| &set.node_pools) {
            let (all, busy) = counts.get(&*pool.name).copied().unwrap_or_default();
            let most = budgets::allowed(pool, all, reason, cx.now);
            let why = format!("No allowed disruptions for disruption reason {reason} due to blocking budget");
            let blocked = all > 0 && most == 0;
            said.push(Said::of_pool(&pool.name, why, blocked));
            allowed.insert(pool.name.as_str().into(), most.saturating_sub(busy));
        }
        (allowed, said)
    }
    /// Does what was planned: at once, or once what comes in place of the nodes is there.
    fn start(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud, plan: &Plan, reason: Reason) {
        self.said.push(cx.now, format!("disrupting node(s): {reason}/{plan}"));
        let nodes: Vec<Arc<str>> = plan.nodes.iter().map(|own| own.node.clone()).collect();
        nodes.iter().for_each(|node| termination::taint(cx, node));
        let Some(new) = &plan.replacement else {
            self.nominate(cx.now, &plan.nominated);
            nodes.iter().for_each(|node| self.terminate(cx, cloud, node, Some(reason)));
            return;
        };
        let options: Vec<&str> = new.options.iter().map(String::as_str).collect();
        let Some(replacement) = self.launch(cx, cloud, (&new.pool, &options, &new.zone)) else {
            nodes.iter().for_each(|node| termination::untaint(cx, node));
            return;
        };
        for node in &nodes {
            if let Some(claim) = self.claims.get_mut(node) {
                claim.is_marked = true;
            }
        }
        self.nominate(cx.now, &plan.nominated);
        let message = format!("Launching NodeClaim: {reason}");
        cx.normal(&about_claim(&replacement), super::SOURCE, "DisruptionLaunching", message);
        let message = "Waiting on readiness to continue disruption".to_owned();
        cx.normal(&about_claim(&replacement), super::SOURCE, "DisruptionWaitingReadiness", message);
        self.commands.push(Command { reason, nodes, replacement, created: cx.now });
        self.trigger_for_nodes(cx.now);
    }
    /// How long what was begun may take.
    fn patience(&self) -> Span {
        let nodes = self.commands.iter().map(|command| command.nodes.len()).sum::<usize>();
        RETRY.2.scaled(nodes as i64, 1).max(RETRY.0).min(RETRY.1)
    }
    /// Goes on with what was begun.
    pub(super) fn go_on(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud) {
        let patience = self.patience();
        for command in std::mem::take(&mut self.commands) {
            let new = self.claims.get(&command.replacement);
            let is_there = new.is_some_and(|claim| claim.initialized.is_some());
            if is_there {
                command.nodes.iter().for_each(|node| self.terminate(cx, cloud, node, Some(command.reason)));
            } else if new.is_none() || cx.now > command.created + patience {
                self.said
                    .push(cx.now, "failed terminating nodes while executing a disruption command".to_owned());
                for node in &command.nodes {
                    if let Some(claim) = self.claims.get_mut(node) {
                        claim.is_marked = false;
                    }
                    termination::untaint(cx, node);
                }
            } else {
                self.commands.push(command);
            }
        }
    }
    /// When something of this is due, or changes by itself.
    pub(super) fn disruption_due(&self, cx: &Cx<'_>) -> Option<Instant> {
        let patience = self.patience() + Span::from_nanos(1);
        let commands = self.commands.iter().map(|command| command.created + patience).min();
        let look = match &self.validation {
            Some(validation) => Some(validation.at),
            None => self.next_look(cx),
        };
        [commands, look].into_iter().flatten().min()
    }
    /// The first of its times to look at or after an instant.
    fn time_to_look(&self, at: Instant) -> Instant {
        let gap = (at - self.looked_at).as_nanos().max(1);
        let polls = (gap - 1) / POLL.as_nanos() + 1;
        self.looked_at + POLL.scaled(polls, 1)
    }
    fn next_look(&self, cx: &Cx<'_>) -> Option<Instant> {
        if self.stale || self.every() {
            return Some(self.time_to_look(cx.now));
        }
        let pools = || cx.spec.karpenter.iter().flat_map(|set| &set.node_pools);
        let claims = self.claims.values().flat_map(|claim| {
            let pool = pools().find(|pool| *pool.name == *claim.pool);
            [pool.and_then(|pool| claim.consolidatable_at(pool)), claim.nominated_until]
        });
        let budgets = pools().map(|pool| budgets::next_change(pool, self.looked_at));
        let all = claims.chain(budgets).chain([self.held_until]);
        let at = all.flatten().filter(|at| *at > self.looked_at).min()?;
        Some(self.time_to_look(at.max(cx.now)))
    }
}

/// Whether a method speaks of a node; an error says why its pool keeps it.
fn suits(pool: &NodePool, candidate: &Candidate, method: Method) -> Result<bool, String> {
    let name = &pool.name;
    if pool.disruption.consolidate_after.is_none() {
        return Err(format!("NodePool {name:?} has consolidation disabled"));
    }
    match method {
        Method::Empty => Ok(candidate.is_empty()),
        _ if candidate.is_empty() => Ok(false),
        _ if pool.disruption.consolidation_policy == ConsolidationPolicy::WhenEmpty => {
            Err(format!("NodePool {name:?} has consolidation policy WhenEmpty, but node is not empty"))
        }
        _ => Ok(true),
    }
}

/// Whether a node's pool allows one more; it is counted.
fn take(allowed: &mut Allowed, candidate: &Candidate) -> bool {
    let left = allowed.entry(candidate.pool.clone()).or_default();
    let may = *left > 0;
    *left -= u32::from(may);
    may
}
