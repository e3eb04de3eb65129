//! The built-in resources, read once from a table in the binary (`kubernetes-1.36.txt`, made by `cargo xtask resources`
//! from Kubernetes' own discovery documents). Its lines:
//!
//! ```text
//! GROUP/VERSION PLURAL KIND SINGULAR namespaced|cluster VERBS [short=NAMES] [in=CATEGORIES]
//!  SUBRESOURCE KIND VERBS [of=GROUP/VERSION]
//! ```
//!
//! Invariants: resources are in discovery's order, a group's preferred version first; a subresource follows its resource.

use super::{Resource, Subpart};
use std::sync::LazyLock;

const TABLE: &str = include_str!("kubernetes-1.36.txt");

static RESOURCES: LazyLock<Vec<Resource>> =
    LazyLock::new(|| parse(TABLE).expect("the table in the binary is read by a test"));

/// Every built-in resource, in discovery's order.
pub fn resources() -> &'static [Resource] {
    &RESOURCES
}

/// `v1` into no group and `v1`, `batch/v1` into its parts.
pub fn split_version(text: &str) -> (&str, &str) {
    text.split_once('/').unwrap_or(("", text))
}

fn parse(text: &'static str) -> Result<Vec<Resource>, String> {
    let mut all: Vec<Resource> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let wrong = || format!("line {}: {line:?}: expected a resource or a subresource", number + 1);
        match line.strip_prefix(' ') {
            Some(part) => {
                let owner = all.last_mut().ok_or_else(wrong)?;
                let part = subpart(part, owner).ok_or_else(wrong)?;
                owner.status |= part.name == "status";
                owner.subresources.push(part);
            }
            None => all.push(resource(line).ok_or_else(wrong)?),
        }
    }
    Ok(all)
}

fn several(text: &'static str) -> Vec<&'static str> {
    text.split(',').filter(|name| !name.is_empty()).collect()
}

fn resource(line: &'static str) -> Option<Resource> {
    let mut words = line.split(' ');
    let (group, version) = split_version(words.next()?);
    let (plural, name, singular) = (words.next()?, words.next()?, words.next()?);
    let namespaced = match words.next()? {
        "namespaced" => true,
        "cluster" => false,
        _ => return None,
    };
    let mut resource = Resource {
        group,
        version,
        name,
        plural,
        singular,
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced,
        verbs: several(words.next()?),
        status: false,
        scale: false,
        subresources: Vec::new(),
        custom: false,
    };
    for word in words {
        match word.split_once('=')? {
            ("short", names) => resource.short_names = several(names),
            ("in", names) => resource.categories = several(names),
            _ => return None,
        }
    }
    Some(resource)
}

fn subpart(line: &'static str, owner: &Resource) -> Option<Subpart> {
    let mut words = line.split(' ');
    let (name, kind, verbs) = (words.next()?, words.next()?, several(words.next()?));
    let (group, version) = match words.next() {
        Some(word) => split_version(word.strip_prefix("of=")?),
        None => (owner.group, owner.version),
    };
    Some(Subpart { name, kind, group, version, verbs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let all = parse(TABLE).unwrap();
        let find = |plural: &str| all.iter().find(|r| r.plural == plural).unwrap();
        assert_eq!(find("deployments").short_names, ["deploy"]);
        let parts: Vec<&str> = find("deployments").subresources.iter().map(|s| s.name).collect();
        assert_eq!(parts, ["scale", "status"]);
        assert_eq!(find("deployments").subresources[0].group, "autoscaling");
        assert!(!find("nodes").namespaced && find("nodes").status && !find("secrets").status);
        assert!(parse(" status Pod get").unwrap_err().starts_with("line 1"));
        assert!(parse("v1 pods Pod pod sideways get").is_err());
    }
}
