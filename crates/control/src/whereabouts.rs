//! Where a real cluster stands: its region by its nodes' labels, grid zone and facility factor by its region. What
//! a person states comes first.
//!
//! Invariant: there is always an answer, so that no Job waits for one; what had to be assumed is said, with what
//! would do better.

use fleet::{GridZone, RegionId, builtin};
use std::collections::BTreeMap;

/// The label cloud providers put on nodes.
pub const REGION_LABEL: &str = "topology.kubernetes.io/region";
/// What region and grid zone are called where nothing says; no region or zone has this name.
pub const UNKNOWN: &str = "unknown";
/// Facility factor where nothing says, in thousandths: that of AWS in the Cloud Carbon Footprint methodology.
pub const PUE_MILLI: i64 = 1135;

/// What a person states about a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stated {
    /// Region.
    pub region: Option<RegionId>,
    /// Grid zone.
    pub grid_zone: Option<GridZone>,
    /// Facility factor in thousandths.
    pub pue_milli: Option<i64>,
    /// Labels selectors see, beside `name`, `region` and `zone`.
    pub labels: BTreeMap<String, String>,
}

/// Where a cluster stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Whereabouts {
    /// Region; [`UNKNOWN`] where nothing says.
    pub region: RegionId,
    /// Grid zone; [`UNKNOWN`] where nothing says.
    pub grid_zone: GridZone,
    /// Facility factor in thousandths.
    pub pue_milli: i64,
    /// What had to be assumed, and what would do better.
    pub assumed: Option<String>,
}

/// Where the cluster that `context` names stands, given how many of its nodes say which region.
pub fn find(context: &str, stated: &Stated, regions: &BTreeMap<String, usize>) -> Whereabouts {
    // Of as many nodes each, the region that comes first by name.
    let most = regions.iter().min_by_key(|(name, nodes)| (std::cmp::Reverse(**nodes), *name));
    let found = most.and_then(|(name, _)| RegionId::new(name).ok());
    let region = stated.region.clone().or_else(|| found.clone());
    let listed = region.as_ref().and_then(builtin::region);
    let by_region = listed.as_ref().map(|region| region.grid_zone.clone());
    let zone = stated.grid_zone.clone().or(by_region);
    let better = format!("expected one of the built-in table, or --zone {context}=ZONE, e.g. KR");
    let assumed = match (&zone, &region) {
        (None, Some(region)) => Some(format!(
            "carbon is a world average: the label {REGION_LABEL} of its nodes says {region:?}, which is in no table: {better}"
        )),
        (None, None) => {
            Some(format!("carbon is a world average: none of its nodes has a label {REGION_LABEL}: {better}"))
        }
        (Some(zone), _) if stated.grid_zone.is_none() && regions.len() > 1 => {
            let names: Vec<&str> = regions.keys().map(String::as_str).collect();
            Some(format!("carbon is that of {zone} for all nodes, which are in {}", names.join(", ")))
        }
        (Some(_), _) => None,
    };
    Whereabouts {
        region: region.unwrap_or_else(|| RegionId::new(UNKNOWN).expect("a name")),
        grid_zone: zone.unwrap_or_else(|| GridZone::new(UNKNOWN).expect("a name")),
        pue_milli: stated.pue_milli.or(listed.map(|region| region.pue_milli)).unwrap_or(PUE_MILLI),
        assumed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stated: Option<&str>, regions: &[(&str, usize)], expected: (&str, &str), assumed: &str) {
        let stated = Stated { grid_zone: stated.map(|z| GridZone::new(z).unwrap()), ..Stated::default() };
        let regions = regions.iter().map(|(name, nodes)| ((*name).to_owned(), *nodes)).collect();
        let found = find("prod", &stated, &regions);
        assert_eq!((found.region.as_str(), found.grid_zone.as_str()), expected);
        assert!(found.assumed.as_deref().unwrap_or("").contains(assumed), "{:?}", found.assumed);
        assert_eq!(found.assumed.is_some(), !assumed.is_empty(), "{:?}", found.assumed);
    }

    #[test]
    fn labels_say_the_region_and_the_table_its_zone() {
        check(None, &[("ap-northeast-2", 3)], ("ap-northeast-2", "KR"), "");
        check(Some("JP-TK"), &[("ap-northeast-2", 3)], ("ap-northeast-2", "JP-TK"), "");
        check(Some("KR"), &[], ("unknown", "KR"), "");
    }

    #[test]
    fn what_is_assumed_is_said() {
        check(None, &[("rack-7", 3)], ("rack-7", "unknown"), "says \"rack-7\", which is in no table");
        check(None, &[], ("unknown", "unknown"), "--zone prod=ZONE");
        let two = [("ap-northeast-1", 1), ("ap-northeast-2", 2)];
        check(None, &two, ("ap-northeast-2", "KR"), "which are in ap-northeast-1, ap-northeast-2");
    }
}
