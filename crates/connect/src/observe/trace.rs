//! Traces of batch jobs for `simulate`: CSV with the columns `arrival_h,length_h,cpus` (hours from the
//! trace's start, hours at full speed, CPUs held while running), other columns ignored.
//!
//! Invariants: jobs are sorted by arrival, those of one instant in the order of the file. What a trace does
//! not say (memory, deadlines, which jobs may wait) is not made up here.

use super::table::{self, Table};
use fleet::Span;

pub use super::table::Error;

/// Latest arrival and longest run read, in hours: ten years.
pub const HOURS_MAX: f64 = 87_840.0;
/// Most CPUs of one job: ten times the largest job of the published traces of supercomputers.
pub const CPUS_MAX: f64 = 1e6;

/// A job of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceJob {
    /// From the trace's start.
    pub arrival: Span,
    /// How long it runs; more than zero.
    pub length: Span,
    /// CPUs it holds while it runs; more than zero, may be a fraction.
    pub cpus: f64,
}

/// A trace, jobs sorted by arrival; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Name of the file.
    pub name: String,
    /// The jobs.
    pub jobs: Vec<TraceJob>,
}

/// Reads a trace, plain or gzip'd.
///
/// # Errors
/// Names the line and column of what is wrong, what was found and what was expected.
pub fn read_trace(name: &str, bytes: &[u8]) -> Result<Trace, Error> {
    let bytes = table::plain(name, bytes)?;
    let mut table = Table::new(name, &bytes)?;
    let (arrival, length, cpus) =
        (table.column("arrival_h")?, table.column("length_h")?, table.column("cpus")?);
    let mut jobs = Vec::new();
    while table.next_row()? {
        let job = TraceJob {
            arrival: hours(&table, arrival, false)?,
            length: hours(&table, length, true)?,
            cpus: table
                .number(cpus, (f64::MIN_POSITIVE, CPUS_MAX))
                .map_err(|_| table.wrong(cpus, format!("a number of CPUs above 0, at most {CPUS_MAX}")))?,
        };
        jobs.push(job);
    }
    jobs.sort_by_key(|job| job.arrival);
    Ok(Trace { name: name.to_owned(), jobs })
}

fn hours(table: &Table<'_>, column: usize, positive: bool) -> Result<Span, Error> {
    let above = if positive { "above 0" } else { "from 0" };
    let read = table.number(column, (0.0, HOURS_MAX)).ok().and_then(Span::from_hours_f64);
    read.filter(|span| !positive || *span > Span::ZERO)
        .ok_or_else(|| table.wrong(column, format!("hours {above}, at most {HOURS_MAX}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        read_trace("t.csv", text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn sorted_and_columns_in_any_order() {
        let text = "cpus,job,length_h,arrival_h\n4,a,1.5,2\n0.5,b,0.25,0\n1,c,1,2.0\n";
        let trace = read_trace("t.csv", text.as_bytes()).unwrap();
        let cpus: Vec<f64> = trace.jobs.iter().map(|job| job.cpus).collect();
        assert_eq!(cpus, [0.5, 4.0, 1.0]);
        assert_eq!(trace.jobs[0].length, Span::from_seconds(900));
        assert_eq!(trace.jobs[1].arrival, Span::from_seconds(7200));
    }

    #[test]
    fn bad_rows_are_refused_with_their_place() {
        let row = |row: &str| error(&format!("arrival_h,length_h,cpus\n0,1,1\n{row}\n"));
        for (bad, expected) in [
            ("-1,1,1", "t.csv, line 3, column arrival_h: \"-1\": expected hours from 0, at most 87840"),
            ("x,1,1", "t.csv, line 3, column arrival_h: \"x\": expected hours from 0"),
            ("1,0,1", "t.csv, line 3, column length_h: \"0\": expected hours above 0"),
            ("1,1e9,1", "t.csv, line 3, column length_h: \"1e9\": expected hours above 0"),
            ("1,1,0", "t.csv, line 3, column cpus: \"0\": expected a number of CPUs above 0"),
            ("1,1,NaN", "t.csv, line 3, column cpus: \"NaN\": expected a number of CPUs above 0"),
            ("1,1", "t.csv, line 3: 2 fields: expected 3 as in the header"),
        ] {
            let found = row(bad);
            assert!(found.starts_with(expected), "{found}");
        }
        assert_eq!(
            error("arrival_h,cpus\n"),
            "t.csv, line 1: columns arrival_h, cpus: expected a column length_h"
        );
    }
}
