//! What a profile's `pluginConfig` says to each plugin.

use super::document::{
    AddedAffinity, BalancedArgs, Constraint, DefaultPreemptionArgs, DynamicResourcesArgs,
    InterPodAffinityArgs, NodeAffinityArgs, NodeResourcesFitArgs, PluginConfig, PodTopologySpreadArgs,
    ScoringStrategy, Term, VolumeBindingArgs, Weighed,
};
use super::{Error, VERSION, number, shaped};
use crate::apiserver::names::key_problems;
use crate::controllers::scheduler::labels::{NodeSelection, NodeTerm};
use crate::controllers::scheduler::profile::{
    BIND_TIMEOUT, Fit, Profile, Resource, SpreadDefault, SpreadDefaults, Strategy,
};
use fleet::Span;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Most entries of a list: resources, constraints, terms, points of a shape (which has 101 places).
const LIST_MAX: usize = 101;
/// Highest score of a point of a shape.
const SHAPE_SCORE_MAX: i64 = 10;
/// What a score of a shape is multiplied by, so that the highest is 100.
const SHAPE_SCALE: i64 = 10;
/// Highest weight of a resource, of required pod affinity and of a preferred term.
const WEIGHT_MAX: i64 = 100;
/// Longest wait for claims: a day, as for back-off. (kube-scheduler has no limit, and takes 0 for not to wait at all: no
/// claim is ever bound in time then.)
const BIND_TIMEOUT_SECONDS_MAX: i64 = 86_400;
/// Operators of requirements on nodes.
const OPERATORS: [&str; 6] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];

/// Reads all of it into a profile.
pub(super) fn read(path: &str, listed: &[PluginConfig], profile: &mut Profile) -> Result<(), Error> {
    bounded(&format!("{path}.pluginConfig"), listed)?;
    for (i, stated) in listed.iter().enumerate() {
        let path = format!("{path}.pluginConfig[{i}]");
        let name = stated.name.as_str();
        if listed[..i].iter().any(|other| other.name == name) {
            return Err(Error::new(
                &format!("{path}.name"),
                format!("{name:?} a second time"),
                "each plugin once",
            ));
        }
        let args =
            Args { path: format!("{path}.args"), kind: format!("{name}Args"), stated: stated.args.as_ref() };
        match name {
            "DefaultPreemption" => preemption(&args, profile)?,
            "InterPodAffinity" => pod_affinity(&args, profile)?,
            "NodeAffinity" => node_affinity(&args, profile)?,
            "NodeResourcesBalancedAllocation" => balanced(&args, profile)?,
            "NodeResourcesFit" => profile.fit = fit(&args)?,
            "PodTopologySpread" => profile.spread = spread(&args)?,
            "VolumeBinding" => profile.bind_timeout = volume_binding(&args)?,
            "DynamicResources" => drop(args.read::<DynamicResourcesArgs>()?),
            _ => {
                let expected = "DefaultPreemption, DynamicResources, InterPodAffinity, NodeAffinity, NodeResourcesBalancedAllocation, NodeResourcesFit, PodTopologySpread or VolumeBinding";
                return Err(Error::new(&format!("{path}.name"), format!("{name:?}"), expected));
            }
        }
    }
    Ok(())
}

/// One plugin's arguments.
struct Args<'a> {
    path: String,
    kind: String,
    stated: Option<&'a Map<String, Value>>,
}

impl Args<'_> {
    fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
    fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let mut args = self.stated.cloned().unwrap_or_default();
        for (field, expected) in [("apiVersion", VERSION), ("kind", self.kind.as_str())] {
            if let Some(found) = args.remove(field)
                && found != expected
            {
                return Err(Error::new(&self.field(field), found, expected));
            }
        }
        shaped(&self.path, &Value::Object(args))
    }
}

fn bounded<T>(path: &str, list: &[T]) -> Result<(), Error> {
    if list.len() <= LIST_MAX {
        return Ok(());
    }
    Err(Error::new(path, format!("{} entries", list.len()), format!("at most {LIST_MAX}")))
}

/// A name as labels have them, with a domain in front or none.
fn label_name(path: &str, name: &str) -> Result<(), Error> {
    match key_problems(name).first() {
        None => Ok(()),
        Some(why) => Err(Error::Shape { field: path.to_owned(), said: format!("{name:?}: {why}") }),
    }
}

fn preemption(args: &Args<'_>, profile: &mut Profile) -> Result<(), Error> {
    let stated: DefaultPreemptionArgs = args.read()?;
    let field = args.field("minCandidateNodesPercentage");
    let percent = number(&field, stated.min_candidate_nodes_percentage, 10, (0, 100))?;
    let absolute = args.field("minCandidateNodesAbsolute");
    let least = number(&absolute, stated.min_candidate_nodes_absolute, 100, (0, i64::from(i32::MAX)))?;
    if percent == 0 && least == 0 {
        let expected = "at least 1, as minCandidateNodesPercentage is 0 too";
        return Err(Error::new(&absolute, 0, expected));
    }
    profile.candidates_percent = percent as usize;
    profile.candidates_min = least as usize;
    Ok(())
}

fn pod_affinity(args: &Args<'_>, profile: &mut Profile) -> Result<(), Error> {
    let stated: InterPodAffinityArgs = args.read()?;
    let field = args.field("hardPodAffinityWeight");
    profile.hard_pod_affinity_weight = number(&field, stated.hard_pod_affinity_weight, 1, (0, WEIGHT_MAX))?;
    profile.ignore_preferred_terms_of_existing_pods =
        stated.ignore_preferred_terms_of_existing_pods.unwrap_or(false);
    Ok(())
}

fn resources(path: &str, listed: Option<&[Weighed]>, most: i64) -> Result<Vec<(Resource, i64)>, Error> {
    let listed = listed.unwrap_or_default();
    bounded(path, listed)?;
    if listed.is_empty() {
        return Ok(vec![(Resource::Cpu, 1), (Resource::Memory, 1)]);
    }
    let one = |(i, stated): (usize, &Weighed)| {
        let field = format!("{path}[{i}].weight");
        // 0 stands for none.
        let weight = stated.weight.filter(|weight| *weight != 0);
        Ok((Resource::named(&stated.name), number(&field, weight, 1, (1, most))?))
    };
    listed.iter().enumerate().map(one).collect()
}

fn balanced(args: &Args<'_>, profile: &mut Profile) -> Result<(), Error> {
    let stated: BalancedArgs = args.read()?;
    let path = args.field("resources");
    let listed = resources(&path, stated.resources.as_deref(), 1)?;
    let twice = (1..listed.len()).find(|i| listed[..*i].contains(&listed[*i]));
    if let Some((i, name)) = twice.and_then(|i| Some((i, &stated.resources.as_ref()?.get(i)?.name))) {
        let field = format!("{path}[{i}].name");
        return Err(Error::new(&field, format!("{name:?} a second time"), "each resource once"));
    }
    profile.balanced = listed.into_iter().map(|(resource, _)| resource).collect();
    Ok(())
}

fn fit(args: &Args<'_>) -> Result<Fit, Error> {
    let stated: NodeResourcesFitArgs = args.read()?;
    let mut fit = Fit::default();
    if let Some(strategy) = &stated.scoring_strategy {
        let path = args.field("scoringStrategy");
        fit.strategy = scoring(&path, strategy)?;
        let resources = resources(&format!("{path}.resources"), strategy.resources.as_deref(), WEIGHT_MAX)?;
        fit.resources = resources;
    }
    fit.ignored = stated.ignored_resources.unwrap_or_default();
    fit.ignored_groups = stated.ignored_resource_groups.unwrap_or_default();
    for (name, list) in [("ignoredResources", &fit.ignored), ("ignoredResourceGroups", &fit.ignored_groups)] {
        bounded(&args.field(name), list)?;
        for (i, entry) in list.iter().enumerate() {
            label_name(&format!("{}[{i}]", args.field(name)), entry)?;
        }
    }
    if let Some(i) = fit.ignored_groups.iter().position(|group| group.contains('/')) {
        let field = format!("{}[{i}]", args.field("ignoredResourceGroups"));
        let found = format!("{:?}", fit.ignored_groups[i]);
        return Err(Error::new(&field, found, "what stands before the / of a resource"));
    }
    Ok(fit)
}

fn scoring(path: &str, stated: &ScoringStrategy) -> Result<Strategy, Error> {
    let field = format!("{path}.requestedToCapacityRatio");
    let shape = stated.requested_to_capacity_ratio.as_ref();
    let plain = match stated.kind.as_str() {
        "LeastAllocated" => Strategy::LeastAllocated,
        "MostAllocated" => Strategy::MostAllocated,
        "RequestedToCapacityRatio" => {
            let points = shape.and_then(|s| s.shape.as_deref()).unwrap_or_default();
            return shape_of(&format!("{field}.shape"), points);
        }
        other => {
            let expected = "LeastAllocated, MostAllocated or RequestedToCapacityRatio";
            return Err(Error::new(&format!("{path}.type"), format!("{other:?}"), expected));
        }
    };
    if shape.is_some() {
        let expected = format!("none with type {}", stated.kind);
        return Err(Error::new(&field, "a shape", expected));
    }
    Ok(plain)
}

fn shape_of(path: &str, points: &[super::document::ShapePoint]) -> Result<Strategy, Error> {
    bounded(path, points)?;
    if points.is_empty() {
        return Err(Error::new(path, "no points", "at least one, with utilization and score"));
    }
    let mut shape: Vec<(i64, i64)> = Vec::with_capacity(points.len());
    for (i, point) in points.iter().enumerate() {
        let field = format!("{path}[{i}].utilization");
        number(&field, Some(point.utilization), 0, (0, 100))?;
        number(&format!("{path}[{i}].score"), Some(point.score), 0, (0, SHAPE_SCORE_MAX))?;
        if let Some((before, _)) = shape.last().filter(|(before, _)| *before >= point.utilization) {
            return Err(Error::new(&field, point.utilization, format!("more than {before}, the one before")));
        }
        shape.push((point.utilization, point.score * SHAPE_SCALE));
    }
    Ok(Strategy::RequestedToCapacityRatio(shape))
}

fn spread(args: &Args<'_>) -> Result<SpreadDefaults, Error> {
    let stated: PodTopologySpreadArgs = args.read()?;
    let path = args.field("defaultConstraints");
    let listed = stated.default_constraints.unwrap_or_default();
    bounded(&path, &listed)?;
    match stated.defaulting_type.as_deref().unwrap_or("System") {
        "List" => {}
        "System" | "" if listed.is_empty() => return Ok(SpreadDefaults::System),
        "System" | "" => {
            let expected = "List, as there are defaultConstraints";
            return Err(Error::new(&args.field("defaultingType"), "System", expected));
        }
        other => {
            return Err(Error::new(&args.field("defaultingType"), format!("{other:?}"), "List or System"));
        }
    }
    let mut defaults: Vec<SpreadDefault> = Vec::with_capacity(listed.len());
    for (i, constraint) in listed.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let read = spread_default(&path, constraint)?;
        if defaults.iter().any(|other| (&other.key, other.hard) == (&read.key, read.hard)) {
            let found = format!("{} a second time", read.key);
            return Err(Error::new(
                &format!("{path}.topologyKey"),
                found,
                "each key once for each whenUnsatisfiable",
            ));
        }
        defaults.push(read);
    }
    Ok(SpreadDefaults::List(defaults))
}

fn spread_default(path: &str, stated: &Constraint) -> Result<SpreadDefault, Error> {
    let skew_max = number(&format!("{path}.maxSkew"), Some(stated.max_skew), 0, (1, i64::from(i32::MAX)))?;
    let key = format!("{path}.topologyKey");
    if stated.topology_key.is_empty() {
        return Err(Error::new(&key, "none", "a label's key"));
    }
    label_name(&key, &stated.topology_key)?;
    if stated.label_selector.as_ref().is_some_and(|selector| !selector.is_null()) {
        let expected = "none: it is worked out for each pod from its Services and its controller";
        return Err(Error::new(&format!("{path}.labelSelector"), "a selector", expected));
    }
    let choice = |name: &str, found: Option<&str>, supported: [&'static str; 2], default: usize| {
        let Some(found) = found else { return Ok(default == 0) };
        match supported.iter().position(|s| *s == found) {
            Some(at) => Ok(at == 0),
            None => Err(Error::new(&format!("{path}.{name}"), format!("{found:?}"), supported.join(" or "))),
        }
    };
    let policies = ["Honor", "Ignore"];
    let least = number(&format!("{path}.minDomains"), stated.min_domains, 1, (1, i64::from(i32::MAX)))?;
    Ok(SpreadDefault {
        key: stated.topology_key.clone(),
        skew_max,
        hard: choice(
            "whenUnsatisfiable",
            Some(&stated.when_unsatisfiable),
            ["DoNotSchedule", "ScheduleAnyway"],
            0,
        )?,
        domains_min: least as usize,
        honor_affinity: choice("nodeAffinityPolicy", stated.node_affinity_policy.as_deref(), policies, 0)?,
        honor_taints: choice("nodeTaintsPolicy", stated.node_taints_policy.as_deref(), policies, 1)?,
    })
}

fn node_affinity(args: &Args<'_>, profile: &mut Profile) -> Result<(), Error> {
    let stated: NodeAffinityArgs = args.read()?;
    let Some(AddedAffinity { required, preferred }) = stated.added_affinity else { return Ok(()) };
    let path = args.field("addedAffinity");
    if let Some(required) = required {
        let path = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        let terms = required.node_selector_terms.unwrap_or_default();
        bounded(&path, &terms)?;
        let one = |(i, stated): (usize, &Term)| term(&format!("{path}[{i}]"), stated);
        let terms: Vec<NodeTerm> = terms.iter().enumerate().map(one).collect::<Result<_, Error>>()?;
        profile.added.required = Some(NodeSelection { labels: Vec::new(), terms: Some(terms) });
    }
    let preferred = preferred.unwrap_or_default();
    let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution");
    bounded(&path, &preferred)?;
    for (i, stated) in preferred.iter().enumerate() {
        let weight = number(&format!("{path}[{i}].weight"), Some(stated.weight), 0, (0, WEIGHT_MAX))?;
        let term = term(&format!("{path}[{i}].preference"), &stated.preference)?;
        if weight != 0 && !is_empty(&stated.preference) {
            profile.added.preferred.push((weight, term));
        }
    }
    Ok(())
}

fn is_empty(term: &Term) -> bool {
    [&term.match_expressions, &term.match_fields].iter().all(|list| list.as_ref().is_none_or(Vec::is_empty))
}

fn term(path: &str, stated: &Term) -> Result<NodeTerm, Error> {
    for (name, list) in
        [("matchExpressions", &stated.match_expressions), ("matchFields", &stated.match_fields)]
    {
        let list = list.as_deref().unwrap_or_default();
        bounded(&format!("{path}.{name}"), list)?;
        if let Some((i, bad)) =
            list.iter().enumerate().find(|(_, r)| !OPERATORS.contains(&r.operator.as_str()))
        {
            let field = format!("{path}.{name}[{i}].operator");
            return Err(Error::new(&field, format!("{:?}", bad.operator), OPERATORS.join(", ")));
        }
    }
    let (parsed, problems) = NodeTerm::new(&stated.typed(), path);
    match problems.into_iter().next() {
        None => Ok(parsed),
        Some(said) => {
            let (field, said) = said.split_once(": ").unwrap_or((path, &said));
            Err(Error::Shape { field: field.to_owned(), said: said.to_owned() })
        }
    }
}

fn volume_binding(args: &Args<'_>) -> Result<Span, Error> {
    let stated: VolumeBindingArgs = args.read()?;
    let field = args.field("bindTimeoutSeconds");
    let default = BIND_TIMEOUT.as_seconds();
    let seconds = number(&field, stated.bind_timeout_seconds, default, (1, BIND_TIMEOUT_SECONDS_MAX))?;
    match stated.shape {
        None | Some(Value::Null) => Ok(Span::from_seconds(seconds)),
        Some(_) => {
            let expected = "none: kube-scheduler takes one only with the feature StorageCapacityScoring";
            Err(Error::new(&args.field("shape"), "a shape", expected))
        }
    }
}
