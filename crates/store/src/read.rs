//! Reading back. Every answer is one moment's state: a read never sees half a transaction.
//!
//! Long lists come in pages of at most [`PAGE_ROWS_MAX`] rows. What has been acknowledged is seen; what is
//! only queued is not.

use crate::writer::Shared;
use crate::{Error, Store};
use fleet::Instant;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Connection, QueryBuilder, Sqlite};
use std::ops::{Deref, DerefMut};
use tokio::sync::OwnedMutexGuard;

/// Rows in one page, at most; a larger limit counts as this.
pub const PAGE_ROWS_MAX: u32 = 1000;

/// What a twin comes back from: the snapshot, and what came in after it, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TwinState {
    /// The last snapshot and its virtual time; none if only inputs were ever written.
    pub snapshot: Option<(Instant, Vec<u8>)>,
    /// Inputs since, with the virtual time of each, in the order they were appended.
    pub inputs: Vec<(Instant, Vec<u8>)>,
    /// How far virtual time had come.
    pub clock: Option<Instant>,
}

/// A ledger entry as it was written first. Its id is the cursor for the page after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The entry's name.
    pub id: String,
    /// When it was recorded.
    pub recorded: Instant,
    /// JSON.
    pub body: String,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// Its number: rises with every line, never given twice, from 1.
    pub seq: i64,
    /// When.
    pub at: Instant,
    /// What sort of line.
    pub kind: String,
    /// What it is about.
    pub key: String,
    /// JSON.
    pub body: String,
}

/// A line about a cluster's hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Its number: rises with every line, so that of one hour the last one counts.
    pub seq: i64,
    /// The cluster.
    pub cluster: String,
    /// When the hour began.
    pub hour: Instant,
    /// JSON.
    pub body: String,
}

type JournalColumns = (i64, i64, String, String, String);

impl From<JournalColumns> for JournalRow {
    fn from((seq, at_ns, kind, key, body): JournalColumns) -> JournalRow {
        JournalRow { seq, at: Instant::from_unix_nanos(at_ns), kind, key, body }
    }
}

/// Where reads go: beside the writer on a file, in turn with it in memory.
#[derive(Debug)]
pub(crate) enum Reads {
    Pool(SqlitePool),
    Shared(Shared),
}

pub(crate) enum Reader {
    Pool(PoolConnection<Sqlite>),
    Shared(OwnedMutexGuard<SqliteConnection>),
}

impl Deref for Reader {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        match self {
            Reader::Pool(connection) => connection,
            Reader::Shared(connection) => connection,
        }
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        match self {
            Reader::Pool(connection) => connection,
            Reader::Shared(connection) => connection,
        }
    }
}

/// A stored time and body.
fn stamped((at_ns, body): (i64, Vec<u8>)) -> (Instant, Vec<u8>) {
    (Instant::from_unix_nanos(at_ns), body)
}

impl Store {
    pub(crate) async fn reader(&self) -> Result<Reader, Error> {
        match &self.inner.reads {
            Reads::Shared(connection) => Ok(Reader::Shared(connection.clone().lock_owned().await)),
            Reads::Pool(pool) => pool
                .acquire()
                .await
                .map(Reader::Pool)
                .map_err(|source| self.failed("open the database", source)),
        }
    }

    pub(crate) fn failed(&self, attempt: &'static str, source: sqlx::Error) -> Error {
        Error::database(&self.inner.place, attempt, source)
    }

    /// The twins' saved state; none if nothing of it was ever written.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn twin(&self) -> Result<Option<TwinState>, Error> {
        let mut reader = self.reader().await?;
        self.twin_in(&mut reader).await.map_err(|source| self.failed("read the twin's state", source))
    }

    async fn twin_in(&self, reader: &mut SqliteConnection) -> Result<Option<TwinState>, sqlx::Error> {
        // One transaction: a snapshot committed between two selects would show inputs twice or not at all.
        let mut transaction = reader.begin().await?;
        let snapshot: Option<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT at_ns, body FROM twin_snapshot").fetch_optional(&mut *transaction).await?;
        let inputs: Vec<(i64, Vec<u8>)> = sqlx::query_as("SELECT at_ns, body FROM twin_input ORDER BY seq")
            .fetch_all(&mut *transaction)
            .await?;
        let clock: Option<i64> =
            sqlx::query_scalar("SELECT at_ns FROM twin_clock").fetch_optional(&mut *transaction).await?;
        transaction.rollback().await?;
        let state = TwinState {
            snapshot: snapshot.map(stamped),
            inputs: inputs.into_iter().map(stamped).collect(),
            clock: clock.map(Instant::from_unix_nanos),
        };
        Ok((state != TwinState::default()).then_some(state))
    }

    /// Ledger entries in the order they were first written: those behind the entry `after`, or the first.
    ///
    /// # Errors
    /// [`Error::UnknownCursor`] if there is no entry `after`; or when the database cannot be read.
    pub async fn ledger(&self, after: Option<&str>, limit: u32) -> Result<Vec<LedgerRow>, Error> {
        let failed = |source| self.failed("read the ledger", source);
        let mut reader = self.reader().await?;
        let from: i64 = match after {
            None => 0,
            Some(id) => sqlx::query_scalar("SELECT seq FROM ledger WHERE id = ?")
                .bind(id)
                .fetch_optional(&mut *reader)
                .await
                .map_err(failed)?
                .ok_or_else(|| Error::UnknownCursor { id: id.chars().take(80).collect() })?,
        };
        // Entries are never taken out, so the cursor's number stands for ever: no transaction needed.
        let rows: Vec<(String, i64, String)> =
            sqlx::query_as("SELECT id, recorded_ns, body FROM ledger WHERE seq > ? ORDER BY seq LIMIT ?")
                .bind(from)
                .bind(limit.min(PAGE_ROWS_MAX))
                .fetch_all(&mut *reader)
                .await
                .map_err(failed)?;
        let entry =
            |(id, recorded_ns, body)| LedgerRow { id, recorded: Instant::from_unix_nanos(recorded_ns), body };
        Ok(rows.into_iter().map(entry).collect())
    }

    /// The whole ledger. Memory grows with it: prefer pages where they will do.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ledger_all(&self) -> Result<Vec<LedgerRow>, Error> {
        let mut all: Vec<LedgerRow> = Vec::new();
        loop {
            let after = all.last().map(|row| row.id.as_str());
            let page = self.ledger(after, PAGE_ROWS_MAX).await?;
            let last = page.len() < PAGE_ROWS_MAX as usize;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// Lines about hours that begin in `[from, to)`, of one cluster or of all, by hour, cluster and when they were written: those
    /// behind `after`, or the first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn usage(
        &self,
        (from, to): (Instant, Instant),
        cluster: Option<&str>,
        after: Option<&UsageRow>,
        limit: u32,
    ) -> Result<Vec<UsageRow>, Error> {
        let mut query = QueryBuilder::new("SELECT seq, cluster, hour_ns, body FROM usage WHERE hour_ns < ");
        query.push_bind(to.as_unix_nanos());
        match after {
            None => {
                query.push(" AND hour_ns >= ").push_bind(from.as_unix_nanos());
            }
            Some(row) => {
                query.push(" AND (hour_ns, cluster, seq) > (").push_bind(row.hour.as_unix_nanos());
                query.push(", ").push_bind(row.cluster.clone());
                query.push(", ").push_bind(row.seq).push(")");
            }
        }
        if let Some(cluster) = cluster {
            query.push(" AND cluster = ").push_bind(cluster.to_owned());
        }
        query.push(" ORDER BY hour_ns, cluster, seq LIMIT ").push_bind(limit.min(PAGE_ROWS_MAX));
        let mut reader = self.reader().await?;
        let rows: Vec<(i64, String, i64, String)> = query
            .build_query_as()
            .fetch_all(&mut *reader)
            .await
            .map_err(|source| self.failed("read the accounts of hours", source))?;
        let row = |(seq, cluster, hour_ns, body)| {
            let hour = Instant::from_unix_nanos(hour_ns);
            UsageRow { seq, cluster, hour, body }
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Number of the line about an hour that was written last; 0 without any.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn usage_last(&self) -> Result<i64, Error> {
        let mut reader = self.reader().await?;
        let last: Option<i64> = sqlx::query_scalar("SELECT max(seq) FROM usage")
            .fetch_one(&mut *reader)
            .await
            .map_err(|source| self.failed("read the accounts of hours", source))?;
        Ok(last.unwrap_or(0))
    }

    /// Lines of the journal behind number `after_seq` (0 for the first), in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn journal(&self, after_seq: i64, limit: u32) -> Result<Vec<JournalRow>, Error> {
        let mut query = QueryBuilder::new("SELECT seq, at_ns, kind, key, body FROM journal WHERE seq > ");
        query.push_bind(after_seq);
        self.journal_page(query, limit).await
    }

    /// Lines of one key behind number `after_seq`, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn journal_by_key(
        &self,
        key: &str,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<JournalRow>, Error> {
        let mut query = QueryBuilder::new("SELECT seq, at_ns, kind, key, body FROM journal WHERE key = ");
        query.push_bind(key).push(" AND seq > ").push_bind(after_seq);
        self.journal_page(query, limit).await
    }

    /// What was begun and not ended: the newest line of each key, unless its kind is one of `closing`; those
    /// behind number `after_seq`, in order. With no `closing` kinds it is the newest line of every key.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn journal_open(
        &self,
        closing: &[&str],
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<JournalRow>, Error> {
        let mut query = QueryBuilder::new(
            "SELECT seq, at_ns, kind, key, body FROM journal
             WHERE seq IN (SELECT max(seq) FROM journal GROUP BY key) AND seq > ",
        );
        query.push_bind(after_seq);
        for kind in closing {
            query.push(" AND kind <> ").push_bind(*kind);
        }
        self.journal_page(query, limit).await
    }

    async fn journal_page(
        &self,
        mut query: QueryBuilder<Sqlite>,
        limit: u32,
    ) -> Result<Vec<JournalRow>, Error> {
        query.push(" ORDER BY seq LIMIT ").push_bind(limit.min(PAGE_ROWS_MAX));
        let mut reader = self.reader().await?;
        let rows: Vec<JournalColumns> = query
            .build_query_as()
            .fetch_all(&mut *reader)
            .await
            .map_err(|source| self.failed("read the journal", source))?;
        Ok(rows.into_iter().map(JournalRow::from).collect())
    }

    /// A setting's value.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn setting(&self, key: &str) -> Result<Option<String>, Error> {
        let mut reader = self.reader().await?;
        sqlx::query_scalar("SELECT value FROM setting WHERE key = ?")
            .bind(key)
            .fetch_optional(&mut *reader)
            .await
            .map_err(|source| self.failed("read a setting", source))
    }
}
