//! Hints by the annotation `service.kubernetes.io/topology-mode`: which zone each endpoint of a Service is meant for, so that
//! every zone has as large a part of the endpoints as of the CPU.
//!
//! As `topologycache` of `k8s.io/endpointslice` 0.36: endpoints are meant for their own zone at first; zones that have more
//! than their part give, those that have less take. There are none where a zone would have so few that each is asked more than a
//! fifth too much of, or where somebody does not say what its zone or its CPU is. Slices that are as they were keep their
//! hints while these will do. Where the real one takes zones as they come, this takes the first by name. Pure but for reading
//! nodes. Shares are floating point, rounded as the real one rounds them.

use super::Cx;
use super::document::annotation;
use super::node::{is_ready, readiness};
use crate::amounts;
use crate::kind::Kind;
use crate::object::Document;
use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The annotations, the old one first: it counts where it is there.
const MODES: [&str; 2] =
    ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];
const ZONE: &str = "topology.kubernetes.io/zone";
/// How much more than its part an endpoint may be asked for.
const OVERLOAD: f64 = 0.2;
/// Reasons of the events.
pub(crate) const ENABLED: &str = "TopologyAwareHintsEnabled";
pub(crate) const DISABLED: &str = "TopologyAwareHintsDisabled";
/// What they say.
pub(crate) const IS_ENABLED: &str = "Topology Aware Hints has been enabled";
pub(crate) const IS_DISABLED: &str = "Topology Aware Hints has been disabled";
const NODES: &str =
    "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
const ENDPOINTS: &str = "Insufficient number of endpoints";
const OVERLOADED: &str =
    "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold";
const NO_ZONE: &str = "One or more endpoints do not have a zone specified";
const NO_HINTS: &str = "No hints allocated for zones";

/// What part of the cluster's CPU each zone has; `None`: that cannot be said, or all is in one.
pub(crate) type Ratios = Option<BTreeMap<String, f64>>;

/// What is remembered of a Service's hints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hints {
    /// Whether it has any by the annotation.
    pub(crate) given: bool,
    /// Why it has none, by kind of address, as was told last.
    pub(crate) told: BTreeMap<String, String>,
}

impl Hints {
    pub(crate) fn is_idle(&self) -> bool {
        *self == Hints::default()
    }
}

/// Whether a Service asks for such hints.
pub(crate) fn is_auto(service: &Document) -> bool {
    let annotations = service.metadata.annotations.as_ref();
    let stated = MODES.iter().find(|key| annotations.is_some_and(|all| all.contains_key(**key)));
    stated.is_some_and(|key| matches!(annotation(service, key), "Auto" | "auto"))
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// What of a node the parts of zones follow from, as the controller hears of it.
pub(crate) fn decides(node: &Node) -> (bool, Option<String>) {
    (readiness(node) == "True", label(node, ZONE).map(str::to_owned))
}

/// The part of each zone.
pub(crate) fn ratios(cx: &Cx<'_>) -> Ratios {
    let excluded = |node: &Node| {
        ["control-plane", "master"]
            .iter()
            .any(|role| label(node, &format!("node-role.kubernetes.io/{role}")).is_some())
    };
    let nodes = cx.objects.list(Kind::Node, None).filter_map(|stored| stored.object.as_node());
    let mut millis: BTreeMap<String, i64> = BTreeMap::new();
    for node in nodes.filter(|node| !excluded(node) && is_ready(node)) {
        let zone = label(node, ZONE).filter(|zone| !zone.is_empty())?;
        let own = Some(amounts::allocatable(node).cpu_millis).filter(|own| *own > 0)?;
        *millis.entry(zone.to_owned()).or_default() += own;
    }
    let total: i64 = millis.values().sum();
    let part = |(zone, own): (String, i64)| (zone, own as f64 / total as f64);
    (millis.len() >= 2).then(|| millis.into_iter().map(part).collect())
}

/// The least endpoints of so many that a zone with this part needs.
fn least(endpoints: usize, ratio: f64) -> usize {
    (endpoints as f64 * ratio * (1.0 / (1.0 + OVERLOAD))).ceil() as usize
}

/// Whether a zone has too few of the endpoints that are meant for some zone.
pub(crate) fn is_overloaded(meant: &BTreeMap<String, usize>, ratios: &Ratios) -> bool {
    let Some(ratios) = ratios else { return !meant.is_empty() };
    let total: usize = meant.values().sum();
    let lacks = |(zone, ratio): (&String, &f64)| match meant.get(zone) {
        None => true,
        Some(own) => *own < least(total, *ratio),
    };
    !meant.is_empty() && ratios.iter().any(lacks)
}

/// How many endpoints are meant for each zone.
pub(crate) fn meant<'a>(endpoints: impl Iterator<Item = &'a Value>) -> BTreeMap<String, usize> {
    let mut meant = BTreeMap::new();
    for zone in endpoints.flat_map(zones) {
        *meant.entry(zone.to_owned()).or_default() += 1;
    }
    meant
}

fn zones(endpoint: &Value) -> impl Iterator<Item = &str> {
    let zones = endpoint.pointer("/hints/forZones").and_then(Value::as_array).into_iter().flatten();
    zones.filter_map(|zone| zone["name"].as_str())
}

fn is_endpoint_ready(endpoint: &Value) -> bool {
    endpoint["conditions"]["ready"] == true
}

fn zone(endpoint: &Value) -> Option<String> {
    endpoint["zone"].as_str().filter(|zone| !zone.is_empty()).map(str::to_owned)
}

/// An endpoint without hints.
pub(crate) fn strip(endpoint: &mut Value) {
    if let Some(fields) = endpoint.as_object_mut() {
        fields.remove("hints");
    }
}

/// What a slice is to this look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    New,
    Changed,
    /// As it was, hints included.
    Same,
}

/// How many endpoints a zone is to have.
struct Share {
    most: usize,
    desired: f64,
}

/// The shares of zones of so many endpoints; the error is why there are none.
fn shares(endpoints: usize, ratios: &Ratios) -> Result<BTreeMap<String, Share>, String> {
    let ratios = ratios.as_ref().ok_or_else(|| NODES.to_owned())?;
    let counted = |why: &str| format!("{why} ({endpoints} endpoints, {} zones)", ratios.len());
    if ratios.len() > endpoints {
        return Err(counted(ENDPOINTS));
    }
    let minimum: usize = ratios.values().map(|ratio| least(endpoints, *ratio)).sum();
    let left = endpoints.checked_sub(minimum).ok_or_else(|| counted(OVERLOADED))?;
    let share = |(zone, ratio): (&String, &f64)| {
        let least = least(endpoints, *ratio);
        let desired = (ratio * endpoints as f64).max(least as f64);
        (zone.clone(), Share { most: least + left, desired })
    };
    Ok(ratios.iter().map(share).collect())
}

/// The zones that the endpoints of a slice that is as it was are meant for; `None`: that will not do any more.
fn kept(
    endpoints: &[Value],
    others: &BTreeMap<String, usize>,
    shares: &BTreeMap<String, Share>,
) -> Option<BTreeMap<String, usize>> {
    let mut own: BTreeMap<String, usize> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|endpoint| is_endpoint_ready(endpoint)) {
        zones(endpoint).next()?;
        for zone in zones(endpoint) {
            shares.get(zone)?;
            *own.entry(zone.to_owned()).or_default() += 1;
        }
    }
    let fits = |(zone, count): (&String, &usize)| {
        count + others.get(zone).unwrap_or(&0) <= shares.get(zone).map_or(0, |share| share.most)
    };
    own.iter().all(fits).then_some(own)
}

/// The zone with the most, the first of equals.
fn most(zones: &BTreeMap<String, f64>) -> Option<(String, f64)> {
    let most = |best: Option<(String, f64)>, (zone, own): (&String, &f64)| match best {
        Some((_, least)) if *own <= least => best,
        _ if *own > 0.0 => Some((zone.clone(), *own)),
        _ => best,
    };
    zones.iter().fold(None, most)
}

type Moves = BTreeMap<String, usize>;

/// How many endpoints each zone gives to others, and how many each takes.
fn moves(shares: &BTreeMap<String, Share>, meant: &BTreeMap<String, usize>) -> (Moves, Moves) {
    let (mut surplus, mut want) = (BTreeMap::new(), BTreeMap::new());
    for (zone, share) in shares {
        let own = *meant.get(zone).unwrap_or(&0) as f64;
        if own > share.desired {
            surplus.insert(zone.clone(), own - share.desired);
        } else if own < share.desired {
            want.insert(zone.clone(), share.desired - own);
        }
    }
    let (mut give, mut take) = (Moves::new(), Moves::new());
    while let (Some((giver, gives)), Some((taker, takes))) = (most(&surplus), most(&want)) {
        if (gives < 1.0 && takes < 1.0) || gives < 0.5 || takes < 0.5 {
            break;
        }
        *give.entry(giver.clone()).or_default() += 1;
        *take.entry(taker.clone()).or_default() += 1;
        surplus.entry(giver).and_modify(|own| *own -= 1.0);
        want.entry(taker).and_modify(|own| *own -= 1.0);
    }
    (give, take)
}

/// Takes one from a zone that has any left; whether it had.
fn take_one(moves: &mut Moves, zone: &str) -> bool {
    let Some(left) = moves.get_mut(zone).filter(|left| **left > 0) else { return false };
    *left -= 1;
    if *left == 0 {
        moves.remove(zone);
    }
    true
}

fn hint(endpoint: &mut Value, zone: &str) {
    endpoint["hints"] = json!({"forZones": [{"name": zone}]});
}

/// Gives the endpoints of a Service hints, by the slices they are in; the error is why they have none, and is what is left
/// to do to the caller: to take those away that are there.
pub(crate) fn allot(slices: &mut [(Standing, &mut Vec<Value>)], ratios: &Ratios) -> Result<(), String> {
    let ready = slices.iter().flat_map(|(_, endpoints)| endpoints.iter()).filter(|e| is_endpoint_ready(e));
    let shares = shares(ready.count(), ratios)?;
    let mut meant: BTreeMap<String, usize> = BTreeMap::new();
    let mut anew: Vec<(Standing, usize)> = Vec::new();
    for (at, (standing, endpoints)) in slices.iter().enumerate() {
        let kept = if *standing == Standing::Same { kept(endpoints, &meant, &shares) } else { None };
        match kept {
            Some(own) => own.into_iter().for_each(|(zone, n)| *meant.entry(zone).or_default() += n),
            None => anew.push((*standing, at)),
        }
    }
    anew.sort();
    for (_, at) in &anew {
        for endpoint in slices[*at].1.iter_mut().filter(|endpoint| is_endpoint_ready(endpoint)) {
            let zone = zone(endpoint).ok_or_else(|| NO_ZONE.to_owned())?;
            hint(endpoint, &zone);
            *meant.entry(zone).or_default() += 1;
        }
    }
    let (mut give, mut take) = moves(&shares, &meant);
    for (_, at) in &anew {
        for endpoint in slices[*at].1.iter_mut().filter(|endpoint| is_endpoint_ready(endpoint)) {
            let Some(taker) = take.keys().next().cloned() else { return Ok(()) };
            if zone(endpoint).is_some_and(|own| take_one(&mut give, &own)) {
                hint(endpoint, &taker);
                take_one(&mut take, &taker);
            }
        }
    }
    if meant.is_empty() { Err(NO_HINTS.to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(zones: &[(&str, f64)]) -> Ratios {
        Some(zones.iter().map(|(zone, ratio)| ((*zone).to_owned(), *ratio)).collect())
    }
    fn endpoints(zones: &[&str]) -> Vec<Value> {
        zones.iter().map(|zone| json!({"zone": zone, "conditions": {"ready": true}})).collect()
    }
    fn hints(endpoints: &[Value]) -> Vec<String> {
        endpoints.iter().map(|endpoint| zones(endpoint).collect::<Vec<_>>().join("+")).collect()
    }
    fn alloted(zones: &[&str], ratios: &Ratios) -> Result<Vec<String>, String> {
        let mut all = endpoints(zones);
        allot(&mut [(Standing::New, &mut all)], ratios)?;
        Ok(hints(&all))
    }

    #[test]
    fn endpoints_are_meant_for_zones_by_their_part_of_the_cpu() {
        let thirds = parts(&[("a", 1.0 / 3.0), ("b", 1.0 / 3.0), ("c", 1.0 / 3.0)]);
        assert_eq!(alloted(&["a", "b", "c"], &thirds).unwrap(), ["a", "b", "c"]);
        // One zone has three, another none: it is lent one.
        assert_eq!(
            alloted(&["a", "a", "a", "b", "b", "b"], &thirds).unwrap(),
            ["c", "a", "a", "c", "b", "b"]
        );
        let uneven = parts(&[("a", 0.75), ("b", 0.25)]);
        assert_eq!(alloted(&["a", "b", "b", "b"], &uneven).unwrap(), ["a", "a", "a", "b"]);
    }

    #[test]
    fn where_a_zone_would_be_overloaded_there_are_none() {
        let thirds = parts(&[("a", 1.0 / 3.0), ("b", 1.0 / 3.0), ("c", 1.0 / 3.0)]);
        assert_eq!(
            alloted(&["a", "b"], &thirds).unwrap_err(),
            "Insufficient number of endpoints (2 endpoints, 3 zones)"
        );
        // Of four, each zone needs at least two: 4 ÷ 3 ÷ 1.2 is more than one.
        assert_eq!(
            alloted(&["a", "b", "c", "c"], &thirds).unwrap_err(),
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (4 endpoints, 3 zones)"
        );
        assert_eq!(alloted(&["a", "b"], &None).unwrap_err(), NODES);
        let halves = parts(&[("a", 0.5), ("b", 0.5)]);
        assert_eq!(alloted(&["a", ""], &halves).unwrap_err(), NO_ZONE);
    }

    #[test]
    fn slices_that_are_as_they_were_keep_their_hints_while_these_will_do() {
        let halves = parts(&[("a", 0.5), ("b", 0.5)]);
        let mut old = endpoints(&["a", "a"]);
        hint(&mut old[0], "b");
        hint(&mut old[1], "a");
        let mut new = endpoints(&["a", "b"]);
        allot(&mut [(Standing::Same, &mut old), (Standing::New, &mut new)], &halves).unwrap();
        assert_eq!(
            (hints(&old), hints(&new)),
            (vec!["b".to_owned(), "a".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
        // One without hints is given some.
        let mut bare = endpoints(&["a", "b"]);
        allot(&mut [(Standing::Same, &mut bare)], &halves).unwrap();
        assert_eq!(hints(&bare), ["a", "b"]);
        // Endpoints that are not ready have none.
        let mut unready = endpoints(&["a", "b", "b"]);
        unready[2]["conditions"]["ready"] = json!(false);
        allot(&mut [(Standing::New, &mut unready)], &halves).unwrap();
        assert_eq!(hints(&unready), ["a", "b", ""]);
    }

    #[test]
    fn zones_are_overloaded_where_they_have_fewer_than_they_need() {
        let halves = parts(&[("a", 0.5), ("b", 0.5)]);
        let meant = |a: usize, b: usize| [("a", a), ("b", b)].map(|(zone, n)| (zone.to_owned(), n)).into();
        assert!(!is_overloaded(&meant(3, 3), &halves));
        assert!(!is_overloaded(&meant(7, 5), &halves));
        assert!(is_overloaded(&meant(8, 4), &halves));
        assert!(is_overloaded(&meant(3, 3), &None));
        assert!(!is_overloaded(&BTreeMap::new(), &None));
        let more = parts(&[("a", 0.5), ("b", 0.25), ("c", 0.25)]);
        assert!(is_overloaded(&meant(3, 3), &more), "one has none");
    }
}
