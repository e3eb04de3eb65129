//! Labels of pods, as far as they tell work apart.
//!
//! Invariants: each name once, in order; nothing changes in place. A pod has a handful of them and a fleet a hundred thousand sets, so
//! they stand side by side: a map of two would take half a kilobyte.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names and values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Box<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        let at = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok()?;
        Some(&self.0[at].1)
    }
    /// Names and values, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Of a name that comes twice the last value counts.
impl FromIterator<(Arc<str>, Arc<str>)> for Labels {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(all: I) -> Labels {
        let all: BTreeMap<_, _> = all.into_iter().collect();
        Labels(all.into_iter().collect())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Labels, D::Error> {
        Ok(BTreeMap::<Arc<str>, Arc<str>>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_in_order_and_read_as_they_are_written() {
        let pair = |(name, value): (&str, &str)| (Arc::from(name), Arc::from(value));
        let labels: Labels = [("team", "a"), ("app", "web"), ("team", "b")].map(pair).into_iter().collect();
        assert_eq!(labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>(), ["app=web", "team=b"]);
        assert_eq!(
            (labels.len(), labels.get("team").map(AsRef::as_ref), labels.get("x")),
            (2, Some("b"), None)
        );
        let text = serde_json::to_string(&labels).unwrap();
        assert_eq!(text, r#"{"app":"web","team":"b"}"#);
        assert_eq!(serde_json::from_str::<Labels>(&text).unwrap(), labels);
        assert!(Labels::default().is_empty());
    }
}
