//! What a fleet file says of prices besides those of machines.

use super::{Error, check_range};
use crate::quantity::Money;
use crate::tariff::{PRICE_MAX, Tariffs};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PricesFile {
    #[serde(default)]
    disk_per_gib_month: Option<f64>,
    /// The same of disks of some StorageClasses.
    #[serde(default)]
    disk_classes: BTreeMap<String, f64>,
    #[serde(default)]
    zone_traffic_per_gb: Option<f64>,
}

/// Reads and checks them; what is not stated has its default.
pub(super) fn tariffs(path: &str, stated: Option<&PricesFile>) -> Result<Tariffs, Error> {
    let mut tariffs = Tariffs::default();
    let Some(stated) = stated else { return Ok(tariffs) };
    let price = |name: &str, price: f64| {
        check_range(&format!("{path}.{name}"), price, 0.0, PRICE_MAX)?;
        Ok::<_, Error>(Money::from_units_f64(price))
    };
    if let Some(disk) = stated.disk_per_gib_month {
        tariffs.disk_per_gib_month = price("diskPerGibMonth", disk)?;
    }
    for (class, own) in &stated.disk_classes {
        tariffs.classes.insert(class.clone(), price(&format!("diskClasses.{class}"), *own)?);
    }
    if let Some(zone) = stated.zone_traffic_per_gb {
        tariffs.zone_traffic_per_gb = price("zoneTrafficPerGb", zone)?;
    }
    tariffs.is_stated = (
        stated.disk_per_gib_month.is_some() || !stated.disk_classes.is_empty(),
        stated.zone_traffic_per_gb.is_some(),
    );
    Ok(tariffs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::parse;

    #[test]
    fn prices_are_stated_or_assumed() {
        let fleet = |prices: &str| {
            let text = format!(
                "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  {prices}\n  \
                nodeGroups: [{{name: a, instanceType: m6i.large, count: 1}}]\n"
            );
            parse(&text).map(|mut fleet| fleet.clusters.remove(0).tariffs).map_err(|error| error.to_string())
        };
        assert_eq!(fleet(""), Ok(Tariffs::default()));
        let own = fleet("prices: {diskClasses: {fast: 0.125}, zoneTrafficPerGb: 0}").unwrap();
        assert_eq!(own.class("fast"), Money::from_units_f64(0.125));
        assert_eq!(own.class("standard"), Tariffs::default().disk_per_gib_month);
        assert_eq!((own.zone_traffic_per_gb, own.is_stated), (Money::ZERO, (true, true)));
        assert_eq!(
            fleet("prices: {diskClasses: {fast: -1}}").unwrap_err(),
            "clusters[0].prices.diskClasses.fast: -1: expected a number from 0 to 1000"
        );
        assert!(fleet("prices: {disks: 1}").unwrap_err().contains("disks"));
    }
}
