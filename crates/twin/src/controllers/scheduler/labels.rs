//! Selectors of labels and of nodes, parsed once, as the scheduler matches them.
//!
//! Label selectors come from the API's typed form; a missing one matches nothing, an empty one matches
//! everything. Node selectors know `Gt` and `Lt` and the field `metadata.name`; a term that cannot be
//! parsed never matches, and a term without expressions matches nothing.

use crate::apiserver::names::{key_problems, label_value_problems};
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    /// Greater than this number.
    Greater(i64),
    /// Less than this number.
    Less(i64),
    /// Nothing fulfils it.
    Never,
}

/// One requirement on labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Requirement {
    pub(super) key: String,
    pub(super) operator: Operator,
    /// In order, without duplicates.
    pub(super) values: Vec<String>,
}

impl Requirement {
    pub(super) fn new(key: &str, operator: Operator, values: &[String]) -> Requirement {
        let mut values = values.to_vec();
        values.sort();
        values.dedup();
        Requirement { key: key.to_owned(), operator, values }
    }
    pub(super) fn matches(&self, labels: &Labels) -> bool {
        let found = labels.get(&self.key);
        let number = || found.and_then(|v| v.parse::<i64>().ok());
        match self.operator {
            Operator::In => found.is_some_and(|v| self.values.binary_search(v).is_ok()),
            Operator::NotIn => found.is_none_or(|v| self.values.binary_search(v).is_err()),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::Greater(limit) => number().is_some_and(|n| n > limit),
            Operator::Less(limit) => number().is_some_and(|n| n < limit),
            Operator::Never => false,
        }
    }
}

/// A label selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Selector {
    /// Matches no labels.
    Nothing,
    /// Matches labels that fulfil every requirement.
    All(Vec<Requirement>),
}

impl Selector {
    /// From the API's form; `None` matches nothing.
    pub(crate) fn new(selector: Option<&LabelSelector>) -> Selector {
        let Some(selector) = selector else { return Selector::Nothing };
        let equal = selector.match_labels.iter().flatten();
        let mut all: Vec<Requirement> =
            equal.map(|(k, v)| Requirement::new(k, Operator::In, std::slice::from_ref(v))).collect();
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => Operator::Never,
            };
            let values = expression.values.as_deref().unwrap_or_default();
            all.push(Requirement::new(&expression.key, operator, values));
        }
        Selector::All(all)
    }
    /// From pairs that must all be there.
    pub(super) fn equal(pairs: &Labels) -> Selector {
        let one = |(k, v): (&String, &String)| Requirement::new(k, Operator::In, std::slice::from_ref(v));
        Selector::All(pairs.iter().map(one).collect())
    }
    /// Requires more. Nothing stays nothing.
    pub(super) fn require(&mut self, more: impl IntoIterator<Item = Requirement>) {
        if let Selector::All(all) = self {
            for requirement in more {
                if !all.contains(&requirement) {
                    all.push(requirement);
                }
            }
        }
    }
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        match self {
            Selector::Nothing => false,
            Selector::All(all) => all.iter().all(|r| r.matches(labels)),
        }
    }
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Selector::Nothing)
    }
    /// Whether it asks for nothing and so matches everything.
    pub(super) fn is_everything(&self) -> bool {
        matches!(self, Selector::All(all) if all.is_empty())
    }
    /// A label that whatever it matches must have, if there is one.
    pub(super) fn needed(&self) -> Option<(&str, &str)> {
        let Selector::All(all) = self else { return None };
        let single = |r: &&Requirement| r.operator == Operator::In && r.values.len() == 1;
        all.iter().find(single).map(|r| (r.key.as_str(), r.values[0].as_str()))
    }
}

/// One term of a node selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeTerm {
    expressions: Vec<Requirement>,
    /// Requirements on the node's name: whether it must be this one, and the name.
    names: Vec<(bool, String)>,
    /// Whether it cannot be parsed, or says nothing.
    never: bool,
}

impl NodeTerm {
    /// Parses a term; the errors are worded as the API's validation does, under `path`.
    pub(super) fn new(term: &NodeSelectorTerm, path: &str) -> (NodeTerm, Vec<String>) {
        let (mut expressions, mut names, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (i, requirement) in term.match_expressions.iter().flatten().enumerate() {
            match expression(requirement, &format!("{path}.matchExpressions[{i}]")) {
                Ok(parsed) => expressions.push(parsed),
                Err(problems) => errors.extend(problems),
            }
        }
        for (i, requirement) in term.match_fields.iter().flatten().enumerate() {
            match (requirement.operator.as_str(), requirement.values.as_deref().unwrap_or_default()) {
                ("In", [name]) => names.push((true, name.clone())),
                ("NotIn", [name]) => names.push((false, name.clone())),
                (operator, _) => errors.push(format!(
                    "{path}.matchFields[{i}].operator: Unsupported value: {operator:?}: supported values: \"In\", \"NotIn\""
                )),
            }
        }
        let never = !errors.is_empty() || (expressions.is_empty() && names.is_empty());
        (NodeTerm { expressions, names, never }, errors)
    }
    pub(super) fn matches(&self, name: &str, labels: &Labels) -> bool {
        !self.never
            && self.expressions.iter().all(|r| r.matches(labels))
            && self.names.iter().all(|(wanted, other)| (other == name) == *wanted)
    }
    /// The names that fulfil it, if it asks for certain ones.
    fn only(&self) -> Option<Vec<&str>> {
        let mut wanted = self.names.iter().filter(|(is, _)| *is).map(|(_, name)| name.as_str());
        let first = wanted.next()?;
        Some(if wanted.all(|other| other == first) { vec![first] } else { Vec::new() })
    }
}

fn expression(requirement: &NodeSelectorRequirement, path: &str) -> Result<Requirement, Vec<String>> {
    let values = requirement.values.as_deref().unwrap_or_default();
    let key = &requirement.key;
    let mut errors: Vec<String> = key_problems(key)
        .into_iter()
        .map(|why| format!("{path}.key: Invalid value: {key:?}: {why}"))
        .collect();
    let mut compared = |greater: bool| {
        let [value] = values else {
            errors.push(format!(
                "{path}.values: Invalid value: {values:?}: for 'Gt', 'Lt' operators, exactly one value is required"
            ));
            return Operator::Never;
        };
        match value.parse::<i64>() {
            Ok(limit) if greater => Operator::Greater(limit),
            Ok(limit) => Operator::Less(limit),
            Err(_) => {
                errors.push(format!(
                    "{path}.values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                ));
                Operator::Never
            }
        }
    };
    let operator = match requirement.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => compared(true),
        "Lt" => compared(false),
        _ => Operator::Never,
    };
    if matches!(operator, Operator::In | Operator::NotIn) && values.is_empty() {
        errors.push(format!(
            "{path}.values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
        ));
    }
    for (i, value) in values.iter().enumerate() {
        let problems = label_value_problems(value);
        if !problems.is_empty() {
            let why = problems.join("; ");
            errors.push(format!("{path}.values[{i}][{key}]: Invalid value: {value:?}: {why}"));
        }
    }
    if errors.is_empty() { Ok(Requirement::new(key, operator, values)) } else { Err(errors) }
}

/// The terms of a required node selector, one of which must match.
pub(super) fn node_terms(selector: &NodeSelector) -> Vec<NodeTerm> {
    let terms = selector.node_selector_terms.iter().enumerate();
    terms.map(|(i, term)| NodeTerm::new(term, &format!("nodeSelectorTerms[{i}]")).0).collect()
}

/// Which nodes a pod's node selector and required node affinity allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct NodeSelection {
    pub(super) labels: Vec<(String, String)>,
    pub(super) terms: Option<Vec<NodeTerm>>,
}

impl NodeSelection {
    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.terms.is_none()
    }
    pub(super) fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(name, labels)))
    }
    /// The only nodes whose names every way to fulfil it allows; `None` when some term leaves names open.
    pub(super) fn names(&self) -> Option<Vec<&str>> {
        let terms = self.terms.as_ref()?;
        let mut names = Vec::new();
        for term in terms {
            names.extend(term.only()?);
        }
        names.sort_unstable();
        names.dedup();
        (!terms.is_empty()).then_some(names)
    }
}
