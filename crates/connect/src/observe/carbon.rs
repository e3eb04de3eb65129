//! Carbon intensity of grid zones: the built-in typical year, and hourly CSV files.
//!
//! Units: gCO2e per kWh, hourly steps in UTC; a value holds for the hour that starts at its time.
//! Invariants: a zone's hours are sorted and unique; a missing hour is never made up silently: a gap of at
//! most [`FILL_MAX`] hours is filled by the value before it and said to be, a longer one is an error when it
//! is needed. Left out: providers over HTTP (`provider`).

use super::table::{self, Table};
use control::Event;
use fleet::quantity::counted;
use fleet::{GramsCo2PerKwh, GridZone, Instant, Provenance, Series, SignalKind, Span, builtin};
use std::collections::BTreeMap;
use std::fmt;

/// Hours of the past a typical-year signal holds beside the present one.
pub const PAST_HOURS: i64 = 72;
/// Hours ahead a typical-year signal holds.
pub const AHEAD_HOURS: i64 = 240;
/// Longest gap that is filled, in hours: intensity changes slowly enough for three, not for a night.
pub const FILL_MAX: i64 = 3;
/// Most hours [`CarbonFile::series`] gives: 20 years.
pub const SERIES_HOURS_MAX: i64 = 20 * 8784;
/// Most values of a file, over all zones.
pub const VALUES_MAX: usize = 20_000_000;
/// Highest intensity that is taken for one, in g/kWh; the dirtiest fuel is below 2,000.
pub const GRAMS_MAX: f64 = 10_000.0;
/// Gaps and zones named one by one in a text; the rest is counted.
const NAMED_MAX: usize = 20;

/// What is wrong with a file of carbon intensity, or with what is asked of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    Table(#[from] table::Error),
    /// Two values for one hour.
    #[error(
        "{file}, line {line}: {zone} at {hour} is {found} g/kWh: expected {earlier} g/kWh as on line {line_earlier}, or one line an hour"
    )]
    Conflict {
        /// Its name.
        file: String,
        /// Which zone.
        zone: GridZone,
        /// Which hour.
        hour: Instant,
        /// The later line.
        line: u64,
        /// Its value in g/kWh.
        found: f64,
        /// The earlier line.
        line_earlier: u64,
        /// Its value in g/kWh.
        earlier: f64,
    },
    /// Too many values.
    #[error("{file}: more than {VALUES_MAX} values: expected at most that")]
    Values {
        /// Its name.
        file: String,
    },
    /// A zone the file does not have.
    #[error("{file}: no values for zone {zone}: expected one of {known}")]
    Zone {
        /// Its name.
        file: String,
        /// Which was asked for.
        zone: GridZone,
        /// Which it has.
        known: String,
    },
    /// Too much is missing.
    #[error(
        "{file}: {gap}: expected no gap of more than {FILL_MAX} h from {from} to {to}; the zone's values reach from {first} to {last}"
    )]
    Missing {
        /// Its name.
        file: String,
        /// The first gap that is too long.
        gap: Gap,
        /// Start of what was asked for.
        from: Instant,
        /// Its end.
        to: Instant,
        /// Start of what there is.
        first: Instant,
        /// Its end.
        last: Instant,
    },
    /// A period that cannot be.
    #[error("{from} to {to}: expected a period of more than nothing and at most {SERIES_HOURS_MAX} h")]
    Period {
        /// Start of what was asked for.
        from: Instant,
        /// Its end.
        to: Instant,
    },
}

/// What was and what is expected in one grid zone.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneSignal {
    /// Actual values as far as known; the last one holds on.
    pub actual: Series,
    /// Where they came from.
    pub actual_from: Provenance,
    /// Expected values from the present hour on.
    pub forecast: Series,
    /// Where they came from.
    pub forecast_from: Provenance,
}

impl ZoneSignal {
    /// As `control` is told.
    pub fn into_event(self, zone: GridZone) -> Event {
        let ZoneSignal { actual, actual_from, forecast, forecast_from } = self;
        Event::Intensity { zone, actual, actual_from, forecast, forecast_from }
    }
}

/// The typical year of a zone around `now`: the past [`PAST_HOURS`] and the present hour, and
/// [`AHEAD_HOURS`] from the present hour on, both *assumed*. `None` when the zone is not in the table.
pub fn typical_year(zone: &GridZone, now: Instant) -> Option<ZoneSignal> {
    let start = now.floor_to(Span::HOUR) - Span::HOUR.scaled(PAST_HOURS, 1);
    let (actual, actual_from) = builtin::typical_year(zone, start, PAST_HOURS as usize + 1)?;
    let (forecast, forecast_from) = builtin::typical_year(zone, now, AHEAD_HOURS as usize)?;
    // A table has no age: it says the same at any time.
    let as_of = |from: Provenance| Provenance { as_of: now, ..from };
    Some(ZoneSignal {
        actual,
        actual_from: as_of(actual_from),
        forecast,
        forecast_from: as_of(forecast_from),
    })
}

/// Mean of the world's electricity in 2023, life cycle (Ember, Global Electricity Review 2024), in gCO2e/kWh.
const WORLD_GRAMS: f64 = 480.0;

/// What stands in for a zone nothing is known of: the world's mean at any hour, *assumed*. It lets work be placed
/// and started in time; it makes no hour look cleaner than another.
pub fn world_average(now: Instant) -> ZoneSignal {
    let start = now.floor_to(Span::HOUR) - Span::HOUR.scaled(PAST_HOURS, 1);
    let flat = GramsCo2PerKwh::from_grams_f64(WORLD_GRAMS);
    let series = |from: Instant, hours: i64| {
        let hours = usize::try_from(hours).unwrap_or(1).max(1);
        Series::new(from, Span::HOUR, vec![flat; hours]).expect("at least one hour, of a whole hour's step")
    };
    let source = "world average 2023 (Ember, built in)".to_owned();
    let from = Provenance { source, kind: SignalKind::Assumed, as_of: now };
    ZoneSignal {
        actual: series(start, PAST_HOURS + 1),
        actual_from: from.clone(),
        forecast: series(now.floor_to(Span::HOUR), AHEAD_HOURS),
        forecast_from: from,
    }
}

/// Hours a zone has no value for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Which zone.
    pub zone: GridZone,
    /// The first hour without a value.
    pub from: Instant,
    /// The first hour after it that has one (or the end of what was asked for).
    pub to: Instant,
}

impl Gap {
    /// How many hours are missing.
    pub fn hours(&self) -> i64 {
        hour_of(self.to) - hour_of(self.from)
    }
}

/// `KR has no value from 2022-01-01T03:00:00Z to 2022-01-01T08:00:00Z (5 h)`.
impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no value from {} to {} ({} h)", self.zone, self.from, self.to, self.hours())
    }
}

/// A series cut out of a file, and what had to be filled for it.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneSeries {
    /// Hourly, without a gap.
    pub series: Series,
    /// Gaps of at most [`FILL_MAX`] hours that were filled by holding the value before them (at the very
    /// start: the value after).
    pub filled: Vec<Gap>,
}

/// One hour's value and the line it stands on.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Hours since the epoch.
    hour: i64,
    value: GramsCo2PerKwh,
    line: u64,
}

/// Hourly intensity of some zones, as a file has it.
#[derive(Clone, Debug)]
pub struct CarbonFile {
    /// Name of the file.
    pub name: String,
    /// The column that was read; `None`: one column a zone.
    pub column: Option<String>,
    /// Missing hours between a zone's first and last one, by zone and time.
    pub gaps: Vec<Gap>,
    zones: BTreeMap<GridZone, Vec<Sample>>,
}

/// Reads hourly intensity from CSV, plain or gzip'd, of one of two shapes:
///
/// * long: `zone,time_utc,…` and a column of g/kWh: `ci_lca_gco2eq_per_kwh` (life cycle) if there is one, else
///   the first whose name contains `gco2`;
/// * wide: `time_utc` and one column for each zone, in g/kWh.
///
/// Rows may come in any order; an empty field is a missing hour; the same value twice is one value.
///
/// # Errors
/// Names the line and column of what is wrong, what was found and what was expected. Gaps are no error
/// here: see [`CarbonFile::gaps`] and [`CarbonFile::describe`].
pub fn read_csv(name: &str, bytes: &[u8]) -> Result<CarbonFile, Error> {
    let bytes = table::plain(name, bytes)?;
    let mut table = Table::new(name, &bytes)?;
    let time = table.column("time_utc")?;
    let mut file =
        CarbonFile { name: name.to_owned(), column: None, gaps: Vec::new(), zones: BTreeMap::new() };
    if table.header().iter().any(|column| column == "zone") {
        file.read_long(&mut table, time)?;
    } else {
        file.read_wide(&mut table, time)?;
    }
    file.sort_out()?;
    Ok(file)
}

impl CarbonFile {
    fn read_long(&mut self, table: &mut Table<'_>, time: usize) -> Result<(), Error> {
        let zone_column = table.column("zone")?;
        let header = table.header();
        let life_cycle = header.iter().position(|column| column == "ci_lca_gco2eq_per_kwh");
        let value_column = life_cycle.or_else(|| header.iter().position(|column| column.contains("gco2")));
        let Some(value_column) = value_column else {
            let found = format!("columns {}", table.columns());
            return Err(table.error(&found, "a column whose name contains gco2").into());
        };
        self.column = header.get(value_column).cloned();
        let mut values = 0;
        while table.next_row()? {
            let zone = GridZone::new(table.field(zone_column));
            let zone = zone.map_err(|_| table.wrong(zone_column, "a grid zone such as KR or JP-TK"))?;
            // A zone whose every hour is empty is still one that the file speaks of.
            let samples = self.zones.entry(zone).or_default();
            samples.extend(sample(table, time_hour(table, time)?, value_column)?);
            values += 1;
            bound(&self.name, values)?;
        }
        Ok(())
    }

    fn read_wide(&mut self, table: &mut Table<'_>, time: usize) -> Result<(), Error> {
        let mut columns = Vec::new();
        for (column, title) in table.header().iter().enumerate().filter(|(column, _)| *column != time) {
            let zone = GridZone::new(title).map_err(|_| {
                table.error(&format!("column {title:?}"), "a grid zone such as KR, or a column zone")
            })?;
            if columns.iter().any(|(_, earlier, _)| *earlier == zone) {
                return Err(table.error(&format!("two columns {zone}"), "one column for each zone").into());
            }
            columns.push((column, zone, Vec::new()));
        }
        if columns.is_empty() {
            let found = format!("columns {}", table.columns());
            return Err(table.error(&found, "a column for each zone beside time_utc").into());
        }
        let mut values = 0;
        while table.next_row()? {
            let hour = time_hour(table, time)?;
            for (column, _, samples) in &mut columns {
                samples.extend(sample(table, hour, *column)?);
            }
            values += columns.len();
            bound(&self.name, values)?;
        }
        self.zones = columns.into_iter().map(|(_, zone, samples)| (zone, samples)).collect();
        Ok(())
    }

    /// Sorts, drops repetitions and notes gaps.
    fn sort_out(&mut self) -> Result<(), Error> {
        for (zone, samples) in &mut self.zones {
            samples.sort_by_key(|sample| (sample.hour, sample.line));
            let conflict = samples.windows(2).find(|w| w[0].hour == w[1].hour && w[0].value != w[1].value);
            if let Some([earlier, later]) = conflict.map(|w| [w[0], w[1]]) {
                return Err(Error::Conflict {
                    file: self.name.clone(),
                    zone: zone.clone(),
                    hour: hour_at(later.hour),
                    line: later.line,
                    found: later.value.as_grams_f64(),
                    line_earlier: earlier.line,
                    earlier: earlier.value.as_grams_f64(),
                });
            }
            samples.dedup_by_key(|sample| sample.hour);
            let holes = samples.windows(2).filter(|w| w[1].hour > w[0].hour + 1);
            let gap = |w: &[Sample]| Gap {
                zone: zone.clone(),
                from: hour_at(w[0].hour + 1),
                to: hour_at(w[1].hour),
            };
            self.gaps.extend(holes.map(gap));
        }
        self.zones.retain(|_, samples| !samples.is_empty());
        if self.zones.is_empty() {
            return Err(table::Error::Empty { file: self.name.clone() }.into());
        }
        Ok(())
    }

    /// The zones it has values for.
    pub fn zones(&self) -> impl Iterator<Item = &GridZone> {
        self.zones.keys()
    }

    /// How many hours of a zone have a value.
    pub fn hours(&self, zone: &GridZone) -> usize {
        self.zones.get(zone).map_or(0, Vec::len)
    }

    /// From the zone's first hour to the end of its last one.
    pub fn period(&self, zone: &GridZone) -> Option<(Instant, Instant)> {
        let samples = self.zones.get(zone)?;
        Some((hour_at(samples.first()?.hour), hour_at(samples.last()?.hour + 1)))
    }

    /// One line for people: how much there is, and which hours are missing.
    pub fn describe(&self) -> String {
        let hours: usize = self.zones.values().map(Vec::len).sum();
        let column = self.column.as_deref().map_or(String::new(), |column| format!(" of {column}"));
        let hours = counted(hours as f64, "hour", "hours");
        let zones = counted(self.zones.len() as f64, "zone", "zones");
        let head = format!("{}: {hours}{column} in {zones}", self.name);
        if self.gaps.is_empty() {
            return format!("{head}, no gaps");
        }
        let named: Vec<String> = self.gaps.iter().take(NAMED_MAX).map(Gap::to_string).collect();
        let more = self.gaps.len().saturating_sub(NAMED_MAX);
        let more_gaps = || format!("; and {}", counted(more as f64, "more gap", "more gaps"));
        let tail = if more > 0 { more_gaps() } else { String::new() };
        let gaps = counted(self.gaps.len() as f64, "gap", "gaps");
        format!("{head}, {gaps}: {}{tail}", named.join("; "))
    }

    /// The zone's hours over `[from, to)`, rounded outwards to whole hours.
    ///
    /// # Errors
    /// When the zone is not in the file, the period is empty or too long, or more than [`FILL_MAX`] hours in a
    /// row are missing: the error names them.
    pub fn series(&self, zone: &GridZone, from: Instant, to: Instant) -> Result<ZoneSeries, Error> {
        let (first, end) = (hour_of(from.floor_to(Span::HOUR)), hour_of(to.ceil_to(Span::HOUR)));
        if to <= from || end - first > SERIES_HOURS_MAX {
            return Err(Error::Period { from, to });
        }
        let samples = self.zones.get(zone).ok_or_else(|| self.unknown(zone))?;
        let range = samples.partition_point(|s| s.hour < first)..samples.partition_point(|s| s.hour < end);
        let inside = &samples[range];
        let mut filled = Vec::new();
        let mut values: Vec<GramsCo2PerKwh> = Vec::with_capacity((end - first) as usize);
        // The end of the period stands as one more hour, so that a gap before it is seen as any other.
        for next in inside.iter().map(Some).chain([None]) {
            let hour = next.map_or(end, |sample| sample.hour);
            let missing_from = first + values.len() as i64;
            if hour > missing_from {
                let gap = Gap { zone: zone.clone(), from: hour_at(missing_from), to: hour_at(hour) };
                let hold = values.last().copied().or(next.map(|sample| sample.value));
                let Some(hold) = hold.filter(|_| gap.hours() <= FILL_MAX) else {
                    return Err(self.missing(gap, from, to));
                };
                values.extend((missing_from..hour).map(|_| hold));
                filled.push(gap);
            }
            values.extend(next.map(|sample| sample.value));
        }
        let series = Series::new(hour_at(first), Span::HOUR, values).ok_or(Error::Period { from, to })?;
        Ok(ZoneSeries { series, filled })
    }

    fn missing(&self, gap: Gap, from: Instant, to: Instant) -> Error {
        let (first, last) = self.period(&gap.zone).unwrap_or((from, from));
        Error::Missing { file: self.name.clone(), gap, from, to, first, last }
    }

    fn unknown(&self, zone: &GridZone) -> Error {
        let named: Vec<&str> = self.zones.keys().take(NAMED_MAX).map(GridZone::as_str).collect();
        let more = self.zones.len().saturating_sub(NAMED_MAX);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        let known = format!("{}{tail}", named.join(", "));
        Error::Zone { file: self.name.clone(), zone: zone.clone(), known }
    }
}

fn bound(file: &str, values: usize) -> Result<(), Error> {
    if values > VALUES_MAX { Err(Error::Values { file: file.to_owned() }) } else { Ok(()) }
}

const HOUR_SECONDS: i64 = 3600;

/// Hours since the epoch.
fn hour_of(at: Instant) -> i64 {
    at.as_unix_seconds().div_euclid(HOUR_SECONDS)
}

fn hour_at(hour: i64) -> Instant {
    Instant::from_unix_seconds(hour * HOUR_SECONDS)
}

/// The hour a row is about.
fn time_hour(table: &Table<'_>, column: usize) -> Result<i64, Error> {
    let read = Instant::parse(table.field(column)).ok().filter(|at| at.floor_to(Span::HOUR) == *at);
    let wrong = || table.wrong(column, "a whole hour in UTC such as 2022-01-01T00:00:00Z");
    Ok(hour_of(read.ok_or_else(wrong)?))
}

/// A row's value in a column; `None` when the field is empty.
fn sample(table: &Table<'_>, hour: i64, column: usize) -> Result<Option<Sample>, Error> {
    if table.field(column).is_empty() {
        return Ok(None);
    }
    let value = GramsCo2PerKwh::from_grams_f64(table.number(column, (0.0, GRAMS_MAX))?);
    Ok(Some(Sample { hour, value, line: table.line() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::SignalKind;

    fn at(text: &str) -> Instant {
        Instant::parse(text).unwrap()
    }
    fn day(hour: i64) -> Instant {
        at("2022-01-01T00:00:00Z") + Span::HOUR.scaled(hour, 1)
    }
    fn zone(text: &str) -> GridZone {
        GridZone::new(text).unwrap()
    }
    fn read(text: &str) -> Result<CarbonFile, Error> {
        read_csv("c.csv", text.as_bytes())
    }
    /// A long file of zone KR with these (hour, value) rows.
    fn long(rows: &[(i64, &str)]) -> String {
        let mut text = "zone,time_utc,ci_direct_gco2eq_per_kwh,ci_lca_gco2eq_per_kwh\n".to_owned();
        for (hour, value) in rows {
            text += &format!("KR,{},1,{value}\n", day(*hour));
        }
        text
    }
    fn grams(series: &Series) -> Vec<f64> {
        series.values().iter().map(|v| v.as_grams_f64()).collect()
    }

    #[test]
    fn the_typical_year_lies_around_now() {
        let now = at("2026-11-21T05:40:00Z");
        let signal = typical_year(&zone("KR"), now).unwrap();
        assert_eq!(signal.actual.start(), at("2026-11-18T05:00:00Z"));
        assert_eq!(signal.actual.end(), at("2026-11-21T06:00:00Z"));
        assert_eq!(signal.forecast.start(), at("2026-11-21T05:00:00Z"));
        assert_eq!(signal.forecast.end(), at("2026-12-01T05:00:00Z"));
        assert_eq!(signal.actual.at(now), signal.forecast.at(now));
        assert_eq!((signal.forecast_from.kind, signal.forecast_from.as_of), (SignalKind::Assumed, now));
        assert!(typical_year(&zone("XX"), now).is_none());
    }

    #[test]
    fn both_shapes_say_the_same() {
        let file = read(&long(&[(1, "20"), (0, "10"), (1, "20.0"), (2, "30")])).unwrap();
        assert_eq!(file.column.as_deref(), Some("ci_lca_gco2eq_per_kwh"));
        let wide = "time_utc,JP-TK,KR\n2022-01-01T00:00:00Z,5,10\n2022-01-01T01:00:00Z,,20\n2022-01-01T02:00:00Z,7,30\n";
        let wide = read(wide).unwrap();
        for file in [&file, &wide] {
            let cut = file.series(&zone("KR"), day(0), day(3)).unwrap();
            assert_eq!(grams(&cut.series), [10.0, 20.0, 30.0]);
            assert_eq!((cut.series.start(), cut.filled.len()), (day(0), 0));
        }
        assert_eq!(wide.gaps, [Gap { zone: zone("JP-TK"), from: day(1), to: day(2) }]);
        let direct = "zone,time_utc,direct_gco2,other_gco2\nKR,2022-01-01T00:00:00Z,5,6\n";
        let direct = read(direct).unwrap();
        assert_eq!(direct.column.as_deref(), Some("direct_gco2"));
        assert_eq!(direct.describe(), "c.csv: 1 hour of direct_gco2 in 1 zone, no gaps");
    }

    #[test]
    fn short_gaps_are_filled_and_long_ones_refused() {
        let file = read(&long(&[(1, "10"), (5, "50"), (10, "90")])).unwrap();
        assert_eq!(
            file.describe(),
            "c.csv: 3 hours of ci_lca_gco2eq_per_kwh in 1 zone, 2 gaps: KR has no value from 2022-01-01T02:00:00Z to \
             2022-01-01T05:00:00Z (3 h); KR has no value from 2022-01-01T06:00:00Z to 2022-01-01T10:00:00Z (4 h)"
        );
        let cut = file.series(&zone("KR"), day(0), day(8)).unwrap();
        assert_eq!(grams(&cut.series), [10.0, 10.0, 10.0, 10.0, 10.0, 50.0, 50.0, 50.0]);
        let filled: Vec<i64> = cut.filled.iter().map(Gap::hours).collect();
        assert_eq!(filled, [1, 3, 2], "before the first hour, inside, and up to the end of the period");
        let error = |from, to| file.series(&zone("KR"), from, to).unwrap_err().to_string();
        assert_eq!(
            error(day(5), day(11)),
            "c.csv: KR has no value from 2022-01-01T06:00:00Z to 2022-01-01T10:00:00Z (4 h): expected no gap of more \
             than 3 h from 2022-01-01T05:00:00Z to 2022-01-01T11:00:00Z; the zone's values reach from \
             2022-01-01T01:00:00Z to 2022-01-01T11:00:00Z"
        );
        assert!(error(day(24), day(26)).contains("from 2022-01-02T00:00:00Z to 2022-01-02T02:00:00Z (2 h)"));
        assert!(error(day(2), day(2)).contains("expected a period"));
        assert!(error(day(2), day(2) + Span::DAY.scaled(30_000, 1)).contains("expected a period"));
        let unknown = file.series(&zone("JP-TK"), day(0), day(1)).unwrap_err().to_string();
        assert_eq!(unknown, "c.csv: no values for zone JP-TK: expected one of KR");
    }

    #[test]
    fn part_hours_are_rounded_outwards() {
        let file = read(&long(&[(0, "1"), (1, "2"), (2, "3"), (3, "4")])).unwrap();
        let half = Span::MINUTE.scaled(30, 1);
        let cut = file.series(&zone("KR"), day(1) + half, day(2) + half).unwrap();
        assert_eq!((cut.series.start(), grams(&cut.series)), (day(1), vec![2.0, 3.0]));
    }

    #[test]
    fn bad_files_are_refused_with_their_place() {
        let cases = [
            (
                long(&[(0, "10"), (1, "20"), (0, "11")]),
                "c.csv, line 4: KR at 2022-01-01T00:00:00Z is 11 g/kWh: expected 10 g/kWh as on line 2, or one line an hour",
            ),
            (
                long(&[(0, "-1")]),
                "c.csv, line 2, column ci_lca_gco2eq_per_kwh: \"-1\": expected a number from 0 to 10000",
            ),
            (long(&[(0, "")]), "c.csv: no rows: expected at least one below the header"),
            (
                "zone,time_utc,gco2\nKR,2022-01-01T00:30:00Z,1\n".to_owned(),
                "c.csv, line 2, column time_utc: \"2022-01-01T00:30:00Z\": expected a whole hour in UTC such as",
            ),
            (
                "zone,time_utc,gco2\nK R,2022-01-01T00:00:00Z,1\n".to_owned(),
                "c.csv, line 2, column zone: \"K R\": expected a grid zone",
            ),
            (
                "zone,time_utc,price\n".to_owned(),
                "c.csv, line 1: columns zone, time_utc, price: expected a column whose name contains gco2",
            ),
            ("zone,hour\n".to_owned(), "c.csv, line 1: columns zone, hour: expected a column time_utc"),
            ("time_utc\n".to_owned(), "c.csv, line 1: columns time_utc: expected a column for each zone"),
            (
                "time_utc,KR,KR\n".to_owned(),
                "c.csv, line 1: two columns KR: expected one column for each zone",
            ),
            ("time_utc,K R\n".to_owned(), "c.csv, line 1: column \"K R\": expected a grid zone"),
        ];
        for (text, expected) in cases {
            let found = read(&text).unwrap_err().to_string();
            assert!(found.starts_with(expected), "{found}");
        }
    }
}
