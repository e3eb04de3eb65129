//! What a person states about instance types: price, power, embodied emissions and size, in one region or in all.
//!
//! Invariants: one statement a pair of type and region; what a region's own says comes before what is said of all
//! regions, value by value, and both before the built-in tables; a fleet file's node group comes before all.
//! Left out: reading them from a file (`connect::observe::instances`).

use crate::cluster::NodePower;
use crate::id::{InstanceType, RegionId};
use crate::quantity::{Bytes, GramsCo2PerHour, MoneyPerHour};
use std::collections::BTreeMap;

/// What is stated of an instance type; `None`: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    /// Price of a node.
    pub price: Option<MoneyPerHour>,
    /// Idle and full power at the server, before PUE.
    pub power: Option<NodePower>,
    /// Embodied emissions of a node, amortised.
    pub embodied: Option<GramsCo2PerHour>,
    /// vCPUs of a node.
    pub vcpu: Option<i64>,
    /// Memory of a node.
    pub memory: Option<Bytes>,
}

impl Stated {
    /// This, and where it says nothing, what `other` says.
    fn or(self, other: Stated) -> Stated {
        Stated {
            price: self.price.or(other.price),
            power: self.power.or(other.power),
            embodied: self.embodied.or(other.embodied),
            vcpu: self.vcpu.or(other.vcpu),
            memory: self.memory.or(other.memory),
        }
    }
}

/// Statements by instance type and region; empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances(BTreeMap<InstanceType, BTreeMap<Option<RegionId>, Stated>>);

impl Instances {
    /// Adds what is stated of a type in a region (`None`: in any). Says whether it is the first statement of them.
    #[must_use]
    pub fn insert(&mut self, instance: InstanceType, region: Option<RegionId>, stated: Stated) -> bool {
        self.0.entry(instance).or_default().insert(region, stated).is_none()
    }

    /// What is stated of a type where a node stands; nothing, where nothing is.
    pub fn stated(&self, instance: &InstanceType, region: Option<&RegionId>) -> Stated {
        let Some(regions) = self.0.get(instance) else { return Stated::default() };
        let of = |region: Option<&RegionId>| regions.get(&region.cloned()).copied().unwrap_or_default();
        if region.is_some() { of(region).or(of(None)) } else { of(None) }
    }

    /// Statements in all.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::Watts;

    #[test]
    fn a_regions_own_statement_comes_first_value_by_value() {
        let (kind, seoul) =
            (InstanceType::new("m6i.large").unwrap(), RegionId::new("ap-northeast-2").unwrap());
        let price = |units| Some(MoneyPerHour::from_units_f64(units));
        let power = Some(NodePower { idle: Watts::from_watts_f64(5.0), full: Watts::from_watts_f64(20.0) });
        let mut all = Instances::default();
        assert!(all.insert(kind.clone(), None, Stated { price: price(1.0), power, ..Stated::default() }));
        let own = Stated { price: price(2.0), ..Stated::default() };
        assert!(all.insert(kind.clone(), Some(seoul.clone()), own));
        assert!(!all.insert(kind.clone(), Some(seoul.clone()), own), "a second time");
        assert_eq!(all.stated(&kind, Some(&seoul)), Stated { price: price(2.0), power, ..Stated::default() });
        let tokyo = RegionId::new("ap-northeast-1").unwrap();
        for region in [None, Some(&tokyo)] {
            assert_eq!(all.stated(&kind, region).price, price(1.0));
        }
        assert_eq!(all.stated(&InstanceType::new("m7i.large").unwrap(), Some(&seoul)), Stated::default());
        assert_eq!((all.len(), all.is_empty()), (2, false));
    }
}
