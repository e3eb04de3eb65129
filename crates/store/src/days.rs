//! Sums over clusters' days, which spare whoever asks for a month reading all of its hours.
//!
//! Invariants: a row says up to which line about an hour it sums ([`UsageDayRow::last`]); whether that is still all there is, says
//! [`Store::usage_heads`]. Units: days are UTC.

use crate::error::Error;
use crate::read::PAGE_ROWS_MAX;
use crate::state::Store;
use fleet::{Instant, Span};

/// The last line about a cluster's hours of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageHead {
    /// The cluster.
    pub cluster: String,
    /// When the day began.
    pub day: Instant,
    /// Number of the line.
    pub last: i64,
    /// When the last hour began of those there are lines of.
    pub last_hour: Instant,
}

/// A cluster's day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageDayRow {
    /// The cluster.
    pub cluster: String,
    /// When the day began.
    pub day: Instant,
    /// Number of the last line about an hour that is in it.
    pub last: i64,
    /// The sums.
    pub body: Vec<u8>,
}

impl Store {
    /// The last line of each cluster and day, of hours that begin in `[from, to)`, by day and cluster.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn usage_heads(&self, (from, to): (Instant, Instant)) -> Result<Vec<UsageHead>, Error> {
        let day = Span::DAY.as_nanos();
        let mut reader = self.reader().await?;
        let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
            "SELECT cluster, hour_ns / ?1 AS day, max(seq), max(hour_ns) FROM usage
             WHERE hour_ns >= ?2 AND hour_ns < ?3 GROUP BY day, cluster ORDER BY day, cluster",
        )
        .bind(day)
        .bind(from.as_unix_nanos())
        .bind(to.as_unix_nanos())
        .fetch_all(&mut *reader)
        .await
        .map_err(|source| self.failed("read which hours have accounts", source))?;
        let head = |(cluster, number, last, hour_ns): (String, i64, i64, i64)| UsageHead {
            cluster,
            day: Instant::from_unix_nanos(number * day),
            last,
            last_hour: Instant::from_unix_nanos(hour_ns),
        };
        Ok(rows.into_iter().map(head).collect())
    }

    /// Days of a level that begin in `[from, to)`, by day and cluster: those behind `after`, or the first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn usage_days(
        &self,
        level: &str,
        (from, to): (Instant, Instant),
        after: Option<&UsageDayRow>,
        limit: u32,
    ) -> Result<Vec<UsageDayRow>, Error> {
        let behind = after.map_or((from.as_unix_nanos(), ""), |row| (row.day.as_unix_nanos(), &row.cluster));
        let mut reader = self.reader().await?;
        let rows: Vec<(String, i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT cluster, day_ns, last_seq, body FROM usage_day
             WHERE level = ?1 AND (day_ns, cluster) > (?2, ?3) AND day_ns < ?4 ORDER BY day_ns, cluster LIMIT ?5",
        )
        .bind(level)
        .bind(behind.0)
        .bind(behind.1)
        .bind(to.as_unix_nanos())
        .bind(limit.min(PAGE_ROWS_MAX))
        .fetch_all(&mut *reader)
        .await
        .map_err(|source| self.failed("read the accounts of days", source))?;
        let row = |(cluster, day_ns, last, body)| UsageDayRow {
            cluster,
            day: Instant::from_unix_nanos(day_ns),
            last,
            body,
        };
        Ok(rows.into_iter().map(row).collect())
    }
}
