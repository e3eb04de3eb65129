//! Hourly prices of electricity from CSV, plain or gzip'd: `time_utc` and a column `ZONE_usd_per_mwh` for each grid zone;
//! other columns are ignored. Wholesale prices may be negative.
//!
//! Invariants: a zone's hours follow one another without a gap, in the order of the file; every error names line and column.
//! Left out: taxes, grid fees and what a contract says.

use super::table::{self, Table};
use control::simulate::ZonePrices;
use fleet::{GridZone, Instant, Money, Span};
use std::collections::BTreeMap;

pub use super::table::Error;

/// Prices taken to be real, in dollars a MWh: twice as far as any hour of the published markets went.
const USD_PER_MWH: (f64, f64) = (-2_000.0, 20_000.0);
/// What the name of a zone's column ends with.
const SUFFIX: &str = "_usd_per_mwh";

/// Reads prices, by zone.
///
/// # Errors
/// Names the line and column of what is wrong, what was found and what was expected.
pub fn read_csv(name: &str, bytes: &[u8]) -> Result<BTreeMap<GridZone, ZonePrices>, Error> {
    let bytes = table::plain(name, bytes)?;
    let mut table = Table::new(name, &bytes)?;
    let time = table.column("time_utc")?;
    let titled =
        table.header().iter().enumerate().filter_map(|(at, title)| Some((at, title.strip_suffix(SUFFIX)?)));
    let columns: Vec<(usize, GridZone)> =
        titled.filter_map(|(at, zone)| Some((at, GridZone::new(zone).ok()?))).collect();
    if columns.is_empty() {
        let found = format!("columns {}", table.columns());
        return Err(table.error(&found, format!("a column ZONE{SUFFIX}, such as KR{SUFFIX}")));
    }
    let mut start: Option<Instant> = None;
    let mut prices: Vec<Vec<Money>> = vec![Vec::new(); columns.len()];
    while table.next_row()? {
        let hours = i64::try_from(prices[0].len()).unwrap_or(i64::MAX);
        let at = Instant::parse(table.field(time)).ok().filter(|at| at.floor_to(Span::HOUR) == *at);
        let expected = start.map(|start| start + Span::HOUR.scaled(hours, 1));
        let Some(at) = at.filter(|at| expected.is_none_or(|expected| expected == *at)) else {
            let next = expected.map_or_else(|| "a whole hour in UTC".to_owned(), Instant::to_rfc3339_seconds);
            return Err(table.wrong(time, format!("{next}: hours without a gap, in order")));
        };
        start.get_or_insert(at);
        for ((column, _), own) in columns.iter().zip(&mut prices) {
            // A MWh is 1,000 kWh.
            own.push(Money::from_units_f64(table.number(*column, USD_PER_MWH)? / 1000.0));
        }
    }
    let start = start.unwrap_or(Instant::EPOCH);
    let zone = |((_, zone), per_kwh): ((usize, GridZone), Vec<Money>)| {
        (zone, ZonePrices { start, per_kwh, source: name.to_owned() })
    };
    Ok(columns.into_iter().zip(prices).map(zone).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::Joules;

    #[test]
    fn prices_are_by_zone_and_hour() {
        let text = "time_utc,KR_usd_per_mwh,note,JP-TK_usd_per_mwh\n2022-01-01T00:00:00Z,50,x,120.5\n2022-01-01T01:00:00Z,-10,,0\n";
        let all = read_csv("p.csv", text.as_bytes()).unwrap();
        let at = |text: &str| Instant::parse(text).unwrap();
        let cost = |zone: &str, when: &str| {
            all[&GridZone::new(zone).unwrap()].cost(Joules::from_kwh_f64(20.0), at(when))
        };
        assert_eq!(cost("KR", "2022-01-01T00:59:59Z"), Money::from_units_f64(1.0));
        assert_eq!(cost("KR", "2022-01-01T01:00:00Z"), Money::from_units_f64(-0.2));
        assert_eq!(cost("JP-TK", "2022-01-01T00:00:00Z"), Money::from_units_f64(2.41));
        // Beyond the ends the nearest hour holds.
        assert_eq!(cost("KR", "2023-01-01T00:00:00Z"), Money::from_units_f64(-0.2));
        assert_eq!(cost("KR", "2021-01-01T00:00:00Z"), Money::from_units_f64(1.0));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let head = "time_utc,KR_usd_per_mwh\n2022-01-01T00:00:00Z,50\n";
        let wrong = |text: &str| read_csv("p.csv", text.as_bytes()).unwrap_err().to_string();
        assert!(wrong("time_utc,KR\n").contains("expected a column ZONE_usd_per_mwh"));
        let gap = wrong(&format!("{head}2022-01-01T02:00:00Z,50\n"));
        assert_eq!(
            gap,
            "p.csv, line 3, column time_utc: \"2022-01-01T02:00:00Z\": expected 2022-01-01T01:00:00Z: hours without a gap, in order"
        );
        assert!(
            wrong(&format!("{head}2022-01-01T01:00:00Z,1e9\n")).contains("line 3, column KR_usd_per_mwh")
        );
    }
}
