//! A file of instance types: CSV, one line a type and region, with what is known better than by the built-in tables.
//!
//! | column | unit | |
//! |---|---|---|
//! | `instance_type` | | as the label `node.kubernetes.io/instance-type` says it |
//! | `region` | | empty: any |
//! | `usd_per_hour` | USD/h, 0 to 100,000 | price of a node |
//! | `idle_watts`, `full_watts` | W, 0 to 100,000 | at the server, before PUE; both or none |
//! | `embodied_g_per_hour` | gCO2e/h, 0 to 10,000 | of making it, spread over its life |
//! | `vcpu`, `memory_gib` | 1 to 10,000; GiB, up to 1,000,000 | for a twin's node groups of a type in no table |
//!
//! Invariants: `instance_type` and one more column must be there, an empty field says nothing, a line that says nothing
//! is wrong, as is a second one of a type and region; errors name line and column. Left out: opening the file.

use super::table::{Error, Table, plain};
use fleet::instances::Stated;
use fleet::{Bytes, GramsCo2PerHour, InstanceType, Instances, MoneyPerHour, NodePower, RegionId, Watts};

/// Most lines: a hundred times the types there are in one region.
pub const ROWS_MAX: usize = 100_000;
/// The columns there can be.
const COLUMNS: [&str; 8] = [
    "instance_type",
    "region",
    "usd_per_hour",
    "idle_watts",
    "full_watts",
    "embodied_g_per_hour",
    "vcpu",
    "memory_gib",
];

/// Where each column stands.
struct Columns([Option<usize>; COLUMNS.len()]);

impl Columns {
    fn read(table: &Table<'_>) -> Result<Columns, Error> {
        if let Some(found) = table.header().iter().find(|name| !COLUMNS.contains(&name.as_str())) {
            let found: String = found.chars().take(80).collect();
            return Err(table.error(&format!("column {found:?}"), format!("one of {}", COLUMNS.join(", "))));
        }
        table.column(COLUMNS[0])?;
        let columns = COLUMNS.map(|name| table.header().iter().position(|column| column == name));
        let stated = columns.iter().flatten().count();
        if stated != table.header().len() {
            return Err(table.error("a column a second time", "each column once"));
        }
        Ok(Columns(columns))
    }

    /// The column of this name, where it is there and its field says something.
    fn filled(&self, table: &Table<'_>, name: &str) -> Option<usize> {
        let at = COLUMNS.iter().position(|column| *column == name)?;
        self.0[at].filter(|column| !table.field(*column).is_empty())
    }

    fn number(&self, table: &Table<'_>, name: &str, range: (f64, f64)) -> Result<Option<f64>, Error> {
        self.filled(table, name).map(|column| table.number(column, range)).transpose()
    }
}

/// Reads a file, plain or gzip'd.
///
/// # Errors
/// Says where, what was found, and what was expected.
pub fn read_csv(file: &str, bytes: &[u8]) -> Result<Instances, Error> {
    let bytes = plain(file, bytes)?;
    let mut table = Table::new(file, &bytes)?;
    let columns = Columns::read(&table)?;
    let mut all = Instances::default();
    while table.next_row()? {
        let (instance, region) = names(&table, &columns)?;
        let stated = row(&table, &columns)?;
        if stated == Stated::default() {
            return Err(table.error("nothing stated", "at least one figure"));
        }
        let what = match &region {
            Some(region) => format!("{instance} in {region}"),
            None => format!("{instance} in any region"),
        };
        if !all.insert(instance, region, stated) {
            return Err(table.error(&format!("{what} a second time"), "one line of each"));
        }
        if all.len() > ROWS_MAX {
            return Err(table.error(&format!("more than {ROWS_MAX} rows"), "at most that"));
        }
    }
    Ok(all)
}

fn names(table: &Table<'_>, columns: &Columns) -> Result<(InstanceType, Option<RegionId>), Error> {
    let at = table.column(COLUMNS[0])?;
    let instance = InstanceType::new(table.field(at))
        .map_err(|_| table.wrong(at, "an instance type, e.g. m6i.large"))?;
    let region = columns.filled(table, "region").map(|at| {
        RegionId::new(table.field(at))
            .map_err(|_| table.wrong(at, "a region, e.g. ap-northeast-2, or nothing"))
    });
    Ok((instance, region.transpose()?))
}

fn row(table: &Table<'_>, columns: &Columns) -> Result<Stated, Error> {
    const WATTS: (f64, f64) = (0.0, 100_000.0);
    let number = |name: &str, range| columns.number(table, name, range);
    let power = match (number("idle_watts", WATTS)?, number("full_watts", WATTS)?) {
        (None, None) => None,
        (Some(idle), Some(full)) if idle <= full => {
            Some(NodePower { idle: Watts::from_watts_f64(idle), full: Watts::from_watts_f64(full) })
        }
        (Some(idle), Some(full)) => {
            let found = format!("idle_watts {idle}, full_watts {full}");
            return Err(table.error(&found, "at most as many idle as full"));
        }
        _ => return Err(table.error("one of idle_watts and full_watts", "both, or none")),
    };
    let vcpu = number("vcpu", (1.0, 10_000.0))?;
    if vcpu.is_some_and(|vcpu| vcpu.fract() != 0.0) {
        return Err(table.error("a vcpu of a fraction", "a whole number"));
    }
    let memory = number("memory_gib", (0.0, 1e6))?;
    Ok(Stated {
        price: number("usd_per_hour", (0.0, 100_000.0))?.map(MoneyPerHour::from_units_f64),
        power,
        embodied: number("embodied_g_per_hour", (0.0, 10_000.0))?.map(GramsCo2PerHour::from_grams_f64),
        vcpu: vcpu.map(|vcpu| vcpu as i64),
        memory: memory.map(|gib| Bytes::from_bytes((gib * f64::from(1 << 30)).round() as i64)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stated_is_read_and_what_is_empty_is_not() {
        let text = "instance_type,region,usd_per_hour,idle_watts,full_watts,embodied_g_per_hour,vcpu,memory_gib\n\
            m6i.large,,0.08,,,,,\nm6i.large,ap-northeast-2,0.1,4.5,20,1.25,,\nrack-1,,,,,,64,512\n";
        let all = read_csv("i.csv", text.as_bytes()).unwrap();
        let of = |name: &str, region: &str| {
            all.stated(&InstanceType::new(name).unwrap(), RegionId::new(region).ok().as_ref())
        };
        let power = Some(NodePower { idle: Watts::from_watts_f64(4.5), full: Watts::from_watts_f64(20.0) });
        let price = |usd| Some(MoneyPerHour::from_units_f64(usd));
        assert_eq!(
            of("m6i.large", "ap-northeast-2"),
            Stated {
                price: price(0.1),
                power,
                embodied: Some(GramsCo2PerHour::from_grams_f64(1.25)),
                ..Stated::default()
            }
        );
        assert_eq!(of("m6i.large", "eu-north-1"), Stated { price: price(0.08), ..Stated::default() });
        let rack = Stated { vcpu: Some(64), memory: Some(Bytes::from_gib(512)), ..Stated::default() };
        assert_eq!(of("rack-1", "eu-north-1"), rack);
        assert_eq!(read_csv("i.csv", b"usd_per_hour,instance_type\n1,a\n").unwrap().len(), 1);
    }

    #[test]
    fn the_example_is_one() {
        let bytes = include_bytes!("../../../../examples/instances.csv");
        assert_eq!(read_csv("examples/instances.csv", bytes).unwrap().len(), 3);
    }

    #[test]
    fn errors_name_line_and_column() {
        for (text, why) in [
            ("", "line 1: nothing: expected a header row"),
            ("region\nx\n", "line 1: columns region: expected a column instance_type"),
            (
                "instance_type,price\na,1\n",
                "line 1: column \"price\": expected one of instance_type, region, usd_per_hour",
            ),
            ("instance_type,vcpu,vcpu\na,1,1\n", "line 1: a column a second time: expected each column once"),
            (
                "instance_type,usd_per_hour\na,1\nb,cheap\n",
                "line 3, column usd_per_hour: \"cheap\": expected a number from 0 to 100000",
            ),
            ("instance_type,usd_per_hour\na,-1\n", "line 2, column usd_per_hour: \"-1\": expected"),
            ("instance_type,usd_per_hour\na,NaN\n", "line 2, column usd_per_hour: \"NaN\": expected"),
            (
                "instance_type,usd_per_hour\n,1\n",
                "line 2, column instance_type: \"\": expected an instance type",
            ),
            ("instance_type,usd_per_hour\na,\n", "line 2: nothing stated: expected at least one figure"),
            (
                "instance_type,idle_watts,full_watts\na,9,\n",
                "line 2: one of idle_watts and full_watts: expected both, or none",
            ),
            (
                "instance_type,idle_watts,full_watts\na,9,8\n",
                "line 2: idle_watts 9, full_watts 8: expected at most as many idle as full",
            ),
            ("instance_type,vcpu\na,1.5\n", "line 2: a vcpu of a fraction: expected a whole number"),
            (
                "instance_type,region,vcpu\na,,1\na,r,1\na,,2\n",
                "line 4: a in any region a second time: expected one line of each",
            ),
            ("instance_type,vcpu\na\n", "line 2: 1 fields: expected 2 as in the header"),
        ] {
            let error = read_csv("i.csv", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("i.csv, {why}")), "{text:?}: {error}");
        }
    }
}
