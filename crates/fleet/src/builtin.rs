//! Built-in tables: regions, grid zones, instance types, prices, round trips and a typical year of
//! carbon per grid zone. Sources and terms: NOTICE at the root of the repository.
//!
//! The tables are plain CSV compiled into the binary; a look-up scans one of them (at most 161 kB),
//! which is cheaper than keeping them all parsed. Figures from here are *assumed* or *list* figures.

use crate::carbon::{Provenance, Series, SignalKind};
use crate::cluster::{NodePower, PowerCurve};
use crate::id::{GridZone, InstanceType, RegionId};
use crate::quantity::{Bytes, GramsCo2PerHour, GramsCo2PerKwh, MoneyPerHour, Watts};
use crate::time::{Instant, Span};
use std::collections::BTreeMap;

const REGIONS: &str = include_str!("../builtin/regions.csv");
const ZONES: &str = include_str!("../builtin/zones.csv");
const INSTANCES: &str = include_str!("../builtin/aws_instances.csv");
const PRICES: &str = include_str!("../builtin/aws_prices.csv");
const RTT: &str = include_str!("../builtin/aws_rtt.csv");
const TYPICAL_YEAR: &str = include_str!("../builtin/typical_year.csv");

/// Where spot prices come from.
const SPOT_SOURCE: &str = "spot, estimated";

/// Round trip per kilometre of great circle where no pair is listed: 18 ms per 1,000 km is the
/// median of the published inter-region measurements.
const RTT_MS_PER_KM: f64 = 0.018;

/// A cloud region.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// `aws`, `azure` or `gcp`.
    pub provider: String,
    /// Its id.
    pub id: RegionId,
    /// City or area.
    pub location: String,
    /// ISO 3166 code.
    pub country: String,
    /// Grid zone that feeds it.
    pub grid_zone: GridZone,
    /// Position in degrees north, east.
    pub position: (f64, f64),
    /// Facility factor in thousandths.
    pub pue_milli: i64,
    /// Where the PUE comes from.
    pub pue_source: String,
}

/// An instance type.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// vCPUs.
    pub vcpu: i64,
    /// Memory.
    pub memory: Bytes,
    /// GPUs.
    pub gpu: i64,
    /// Idle and full power at the server.
    pub power: NodePower,
    /// Power at 10 % and 50 % load, where the table has it.
    pub curve: Option<PowerCurve>,
    /// Emissions of making it, spread over 4 years of hours (Teads' AWS EC2 dataset); `None`: unknown.
    pub embodied: Option<GramsCo2PerHour>,
    /// How the watts were come by.
    pub watts_source: String,
}

/// Fields of one CSV line; a field may be quoted, with no quote inside.
fn fields(line: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = line;
    loop {
        let (field, tail) = match rest.strip_prefix('"').and_then(|r| r.split_once('"')) {
            Some((field, tail)) => (field, tail.strip_prefix(',')),
            None => match rest.split_once(',') {
                Some((field, tail)) => (field, Some(tail)),
                None => (rest, None),
            },
        };
        out.push(field);
        match tail {
            Some(tail) => rest = tail,
            None => return out,
        }
    }
}

fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table.lines().skip(1).filter(|l| !l.is_empty()).map(fields)
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// The region called `id`; where providers share a name, AWS before Azure before Google.
pub fn region(id: &RegionId) -> Option<Region> {
    rows(REGIONS).find(|row| row[1] == id.as_str()).and_then(|row| {
        Some(Region {
            provider: row[0].to_owned(),
            id: id.clone(),
            location: row[2].to_owned(),
            country: row[3].to_owned(),
            grid_zone: GridZone::new(row[4]).ok()?,
            position: (number(row[5])?, number(row[6])?),
            pue_milli: (number(row[7])? * 1000.0).round() as i64,
            pue_source: row[8].to_owned(),
        })
    })
}

/// Ids of all regions whose grid zone is known, in the table's order.
pub fn region_ids() -> impl Iterator<Item = &'static str> {
    rows(REGIONS).filter(|row| !row[4].is_empty()).map(|row| row[1])
}

/// Name of a grid zone, e.g. `South Korea`.
pub fn zone_name(zone: &GridZone) -> Option<&'static str> {
    rows(ZONES).find(|row| row[0] == zone.as_str()).map(|row| row[1])
}

/// The instance type called `id` (AWS); `None` when unknown or without watts.
pub fn instance(id: &InstanceType) -> Option<Instance> {
    rows(INSTANCES).find(|row| row[0] == id.as_str()).and_then(|row| {
        Some(Instance {
            vcpu: number(row[1])? as i64,
            memory: Bytes::from_mib((number(row[2])? * 1024.0) as i64),
            gpu: number(row[4])? as i64,
            power: NodePower {
                idle: Watts::from_watts_f64(number(row[6])?),
                full: Watts::from_watts_f64(number(row[7])?),
            },
            curve: number(row[8]).zip(number(row[9])).map(|(tenth, half)| PowerCurve {
                tenth: Watts::from_watts_f64(tenth),
                half: Watts::from_watts_f64(half),
            }),
            embodied: number(row[10]).map(GramsCo2PerHour::from_grams_f64),
            watts_source: row[11].to_owned(),
        })
    })
}

/// Ids of all instance types that carry watts.
pub fn instance_ids() -> impl Iterator<Item = &'static str> {
    rows(INSTANCES).filter(|row| !row[6].is_empty()).map(|row| row[0])
}

/// Whether the instance type has Arm processors: in AWS's names a `g` after the generation (m7g, c6gn,
/// but not g5 or g4dn), and the a1 family.
pub fn is_arm(instance_type: &str) -> bool {
    let family = instance_type.split('.').next().unwrap_or_default();
    let after = family.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let attributes = after.trim_start_matches(|c: char| c.is_ascii_digit());
    family == "a1" || attributes.contains('g')
}

/// On-demand list price of an instance type in a region (USD), and where it comes from.
pub fn on_demand_price(region: &RegionId, instance: &InstanceType) -> Option<(MoneyPerHour, &'static str)> {
    rows(PRICES)
        .find(|row| row[0] == region.as_str() && row[1] == instance.as_str())
        .and_then(|row| Some((MoneyPerHour::from_units_f64(number(row[2])?), row[4])))
}

/// Spot price of an instance type in a region (USD), estimated from the on-demand price and the saving AWS named for 2025-07.
pub fn spot_price(region: &RegionId, instance: &InstanceType) -> Option<(MoneyPerHour, &'static str)> {
    rows(PRICES)
        .find(|row| row[0] == region.as_str() && row[1] == instance.as_str())
        .and_then(|row| Some((MoneyPerHour::from_units_f64(number(row[3])?), SPOT_SOURCE)))
}

/// On-demand and spot prices of all instance types listed in a region, as [`on_demand_price`] and [`spot_price`] tell them.
pub fn prices(region: &RegionId) -> BTreeMap<&'static str, [(MoneyPerHour, &'static str); 2]> {
    let of_region = rows(PRICES).filter(|row| row[0] == region.as_str());
    let each = of_region.filter_map(|row| {
        let (listed, spot) = (number(row[2])?, number(row[3])?);
        let price = MoneyPerHour::from_units_f64;
        Some((row[1], [(price(listed), row[4]), (price(spot), SPOT_SOURCE)]))
    });
    each.collect()
}

/// Great-circle distance in km.
fn distance_km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (lat_a, lat_b) = (a.0.to_radians(), b.0.to_radians());
    let (dlat, dlon) = (lat_b - lat_a, (b.1 - a.1).to_radians());
    let h = (dlat / 2.0).sin().powi(2) + lat_a.cos() * lat_b.cos() * (dlon / 2.0).sin().powi(2);
    2.0 * 6371.0 * h.sqrt().asin()
}

/// Round trip between two regions in whole ms: listed where the table has the pair, else by
/// distance; `None` when a region is unknown.
pub fn round_trip_ms(from: &RegionId, to: &RegionId) -> Option<f64> {
    if from == to {
        return Some(1.0);
    }
    let listed = rows(RTT)
        .find(|row| {
            (row[0] == from.as_str() && row[1] == to.as_str())
                || (row[0] == to.as_str() && row[1] == from.as_str())
        })
        .and_then(|row| number(row[2]));
    listed.or_else(|| {
        let km = distance_km(region(from)?.position, region(to)?.position);
        Some((km * RTT_MS_PER_KM).round().max(1.0))
    })
}

/// Whether two regions lie on the same continent, taken as under 5,000 km apart; `false` if unknown.
pub fn near(from: &RegionId, to: &RegionId) -> bool {
    match (region(from), region(to)) {
        (Some(a), Some(b)) => distance_km(a.position, b.position) < 5000.0,
        _ => false,
    }
}

/// Hourly intensity of a grid zone by the typical year (mean by month and UTC hour of day), for
/// `hours` hours from `from`, rounded down to the hour. `None` when the zone is not in the table.
pub fn typical_year(zone: &GridZone, from: Instant, hours: usize) -> Option<(Series, Provenance)> {
    let mut months: Vec<Vec<GramsCo2PerKwh>> = vec![Vec::new(); 13];
    let mut years = "";
    for row in rows(TYPICAL_YEAR).filter(|row| row[0] == zone.as_str()) {
        let month: usize = row[1].parse().ok().filter(|m| (1..=12).contains(m))?;
        years = row[2];
        months[month] =
            row[3..].iter().map(|v| number(v).map(GramsCo2PerKwh::from_grams_f64)).collect::<Option<_>>()?;
    }
    if months[1..].iter().any(|m| m.len() != 24) {
        return None;
    }
    let start = from.floor_to(Span::HOUR);
    let values = (0..hours.max(1) as i64)
        .map(|i| {
            let (_, month, _, hour) = (start + Span::HOUR.scaled(i, 1)).utc_parts();
            months[usize::from(month)][usize::from(hour)]
        })
        .collect();
    let provenance = Provenance {
        source: format!("typical year {years} of {zone} (from Electricity Maps data, built in)"),
        kind: SignalKind::Assumed,
        as_of: start,
    };
    Some((Series::new(start, Span::HOUR, values)?, provenance))
}

/// Grid zones the typical year knows.
pub fn typical_year_zones() -> impl Iterator<Item = &'static str> {
    rows(TYPICAL_YEAR).filter(|row| row[1] == "1").map(|row| row[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arm_by_name() {
        assert!(["m7g.large", "c6gn.xlarge", "t4g.small", "a1.large", "g5g.xlarge"].into_iter().all(is_arm));
        assert!(
            !["m6i.large", "g4dn.xlarge", "g5.xlarge", "p4d.24xlarge", "i3.large"].into_iter().any(is_arm)
        );
    }

    #[test]
    fn a_regions_prices_are_those_of_each_type() {
        let region = RegionId::new("ap-northeast-2").unwrap();
        let all = prices(&region);
        assert!(all.len() > 100);
        for (name, [listed, spot]) in all {
            let id = InstanceType::new(name).unwrap();
            assert_eq!((Some(listed), Some(spot)), (on_demand_price(&region, &id), spot_price(&region, &id)));
        }
    }

    #[test]
    fn every_listed_row_parses() {
        assert_eq!(region_ids().filter(|id| region(&RegionId::new(id).unwrap()).is_none()).count(), 0);
        assert_eq!(
            instance_ids().filter(|id| instance(&InstanceType::new(id).unwrap()).is_none()).count(),
            0
        );
        let at = Instant::parse("2026-11-21T05:30:00Z").unwrap();
        for zone in typical_year_zones() {
            assert!(typical_year(&GridZone::new(zone).unwrap(), at, 24).is_some(), "{zone}");
        }
    }

    #[test]
    fn curves_rise_and_lie_above_the_line() {
        let (mut all, mut bent) = (0, 0);
        for id in instance_ids() {
            let found = instance(&InstanceType::new(id).unwrap()).unwrap();
            let Some(PowerCurve { tenth, half }) = found.curve else { continue };
            let NodePower { idle, full } = found.power;
            assert!(idle <= tenth && tenth <= half && half <= full, "{id}");
            all += 1;
            // Above the line from idle to full.
            bent += usize::from((half - idle).as_microwatts() * 2 >= (full - idle).as_microwatts());
        }
        assert!(all > 100 && bent == all, "{bent} of {all}");
    }

    #[test]
    fn seoul_and_tokyo() {
        let seoul = region(&RegionId::new("ap-northeast-2").unwrap()).unwrap();
        let tokyo = RegionId::new("ap-northeast-1").unwrap();
        assert_eq!(seoul.grid_zone.as_str(), "KR");
        assert!(near(&seoul.id, &tokyo));
        let rtt = round_trip_ms(&seoul.id, &tokyo).unwrap();
        assert!((20.0..60.0).contains(&rtt), "{rtt}");
        let m6i = InstanceType::new("m6i.2xlarge").unwrap();
        assert_eq!(instance(&m6i).unwrap().vcpu, 8);
        let curve = instance(&m6i).unwrap().curve.unwrap();
        assert_eq!((curve.tenth, curve.half), (Watts::from_watts_f64(29.0), Watts::from_watts_f64(48.5)));
        assert_eq!(instance(&m6i).unwrap().embodied, Some(GramsCo2PerHour::from_micrograms(3_190_000)));
        assert_eq!(instance(&InstanceType::new("c6i.large").unwrap()).unwrap().embodied, None);
        assert_eq!(on_demand_price(&tokyo, &m6i).unwrap().0, MoneyPerHour::from_units_f64(0.496));
    }

    #[test]
    fn quoted_fields() {
        assert_eq!(fields("a,\"b, c\",d"), ["a", "b, c", "d"]);
    }
}
