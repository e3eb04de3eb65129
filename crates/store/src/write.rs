//! What can be written, how large it may be, and the statement each kind becomes.
//!
//! Sizes in bytes. The bounds are far above what the product writes: they stop a fault from filling the
//! disk, they do not shape the data. Left out: any rule about what bodies say.

use crate::Error;
use fleet::Instant;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

/// One input to a twin: an API request's body is at most 3 MiB in Kubernetes, plus its envelope.
pub const INPUT_BYTES_MAX: usize = 4 << 20;
/// A snapshot of all twins.
pub const SNAPSHOT_BYTES_MAX: usize = 256 << 20;
/// One journal row's body.
pub const JOURNAL_BYTES_MAX: usize = 1 << 20;
/// One ledger entry's body.
pub const LEDGER_BYTES_MAX: usize = 256 << 10;
/// One cluster's hour: 300 rows and 1,000 nodes with the longest names and labels there may be, and room.
pub const USAGE_BYTES_MAX: usize = 1 << 20;
/// Largest sums of a day: twenty-four hours whose rows are all others would be 8 MB.
pub const USAGE_DAY_BYTES_MAX: usize = 16 << 20;
/// One setting's value.
pub const SETTING_BYTES_MAX: usize = 1 << 20;
/// A key, a kind or an id: room for cluster, namespace and name at 253 each.
pub const KEY_BYTES_MAX: usize = 1024;

/// What a write weighs in the queue beside its bodies.
const OVERHEAD_BYTES: usize = 128;

/// One thing to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Something that came into the twins from outside, to be played again from the last snapshot.
    TwinInput {
        /// When it took effect, in virtual time.
        at: Instant,
        /// As the twin's shell encodes it; at most [`INPUT_BYTES_MAX`].
        body: Vec<u8>,
    },
    /// How far virtual time has come. Only the latest is kept; an earlier one changes nothing.
    TwinClock {
        /// Virtual time.
        at: Instant,
    },
    /// The twins' whole state. Stands for every input appended before it: these are deleted in the same
    /// transaction, as is the snapshot before.
    TwinSnapshot {
        /// Virtual time of the state.
        at: Instant,
        /// At most [`SNAPSHOT_BYTES_MAX`].
        body: Vec<u8>,
    },
    /// A line in the journal of actions.
    Journal {
        /// When.
        at: Instant,
        /// What sort of line, e.g. that an action is about to be tried, or how it ended.
        kind: String,
        /// What it is about; lines of one key belong together.
        key: String,
        /// JSON, at most [`JOURNAL_BYTES_MAX`].
        body: String,
    },
    /// A ledger entry. A second write of an id changes nothing: no figure counts twice.
    Ledger {
        /// The entry's name, unique for ever.
        id: String,
        /// When it was recorded.
        recorded: Instant,
        /// JSON, at most [`LEDGER_BYTES_MAX`].
        body: String,
    },
    /// What a cluster used in an hour, or a later version of that. A second write of an id changes nothing.
    Usage {
        /// The line's name, unique for ever.
        id: String,
        /// The cluster.
        cluster: String,
        /// When the hour began.
        hour: Instant,
        /// When it was recorded.
        recorded: Instant,
        /// JSON, at most [`USAGE_BYTES_MAX`].
        body: String,
    },
    /// A cluster's day, added up; replaces the one before. It may be lost: it can be made anew.
    UsageDay {
        /// How finely it is added up.
        level: String,
        /// The cluster.
        cluster: String,
        /// When the day began.
        day: Instant,
        /// Number of the last line about an hour that is in it.
        last: i64,
        /// At most [`USAGE_DAY_BYTES_MAX`].
        body: Vec<u8>,
    },
    /// A setting; replaces its value.
    Setting {
        /// Its name.
        key: String,
        /// At most [`SETTING_BYTES_MAX`].
        value: String,
    },
}

impl Write {
    /// Whether every part is within its bound. [`Store::append`](crate::Store::append) checks it as well.
    pub fn check(&self) -> Result<(), Error> {
        let within = |what: &'static str, found: usize, limit: usize| {
            if found <= limit { Ok(()) } else { Err(Error::TooLarge { what, found, limit }) }
        };
        match self {
            Write::TwinInput { body, .. } => within("twin input", body.len(), INPUT_BYTES_MAX),
            Write::TwinClock { .. } => Ok(()),
            Write::TwinSnapshot { body, .. } => within("twin snapshot", body.len(), SNAPSHOT_BYTES_MAX),
            Write::Journal { kind, key, body, .. } => {
                within("journal kind", kind.len(), KEY_BYTES_MAX)?;
                within("journal key", key.len(), KEY_BYTES_MAX)?;
                within("journal body", body.len(), JOURNAL_BYTES_MAX)
            }
            Write::Ledger { id, body, .. } => {
                within("ledger id", id.len(), KEY_BYTES_MAX)?;
                within("ledger body", body.len(), LEDGER_BYTES_MAX)
            }
            Write::Usage { id, cluster, body, .. } => {
                within("usage id", id.len(), KEY_BYTES_MAX)?;
                within("usage cluster", cluster.len(), KEY_BYTES_MAX)?;
                within("usage body", body.len(), USAGE_BYTES_MAX)
            }
            Write::UsageDay { level, cluster, body, .. } => {
                within("level of a day", level.len(), KEY_BYTES_MAX)?;
                within("usage cluster", cluster.len(), KEY_BYTES_MAX)?;
                within("sums of a day", body.len(), USAGE_DAY_BYTES_MAX)
            }
            Write::Setting { key, value } => {
                within("setting key", key.len(), KEY_BYTES_MAX)?;
                within("setting value", value.len(), SETTING_BYTES_MAX)
            }
        }
    }

    /// Whether the log of inputs would have a hole without it, which no replay survives.
    pub(crate) fn leaves_a_hole(&self) -> bool {
        matches!(self, Write::TwinInput { .. })
    }

    /// What it weighs in memory while it waits, in bytes.
    pub(crate) fn cost_bytes(&self) -> usize {
        let bodies = match self {
            Write::TwinInput { body, .. } | Write::TwinSnapshot { body, .. } => body.len(),
            Write::TwinClock { .. } => 0,
            Write::Journal { kind, key, body, .. } => kind.len() + key.len() + body.len(),
            Write::Ledger { id, body, .. } => id.len() + body.len(),
            Write::Usage { id, cluster, body, .. } => id.len() + cluster.len() + body.len(),
            Write::UsageDay { level, cluster, body, .. } => level.len() + cluster.len() + body.len(),
            Write::Setting { key, value } => key.len() + value.len(),
        };
        bodies + OVERHEAD_BYTES
    }
}

/// Writes all of `writes`, in order, in one transaction: after an error none of them is there.
pub(crate) async fn commit(connection: &mut SqliteConnection, writes: Vec<Write>) -> Result<(), sqlx::Error> {
    // IMMEDIATE: waits for the write lock here, within the busy timeout, and not half way through.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // Of all the clock's readings in one transaction only the latest can ever be seen.
    let mut clock: Option<Instant> = None;
    for write in writes {
        if let Write::TwinClock { at } = write {
            clock = clock.max(Some(at));
        } else {
            apply(&mut transaction, write).await?;
        }
    }
    if let Some(at) = clock {
        apply(&mut transaction, Write::TwinClock { at }).await?;
    }
    transaction.commit().await
}

async fn apply(connection: &mut SqliteConnection, write: Write) -> Result<(), sqlx::Error> {
    let statement = match write {
        Write::TwinInput { at, body } => sqlx::query("INSERT INTO twin_input (at_ns, body) VALUES (?, ?)")
            .bind(at.as_unix_nanos())
            .bind(body),
        Write::TwinClock { at } => sqlx::query(
            "INSERT INTO twin_clock (one, at_ns) VALUES (1, ?)
             ON CONFLICT (one) DO UPDATE SET at_ns = max(at_ns, excluded.at_ns)",
        )
        .bind(at.as_unix_nanos()),
        Write::TwinSnapshot { at, body } => {
            sqlx::query("DELETE FROM twin_input").execute(&mut *connection).await?;
            sqlx::query(
                "INSERT INTO twin_snapshot (one, at_ns, body) VALUES (1, ?, ?)
                 ON CONFLICT (one) DO UPDATE SET at_ns = excluded.at_ns, body = excluded.body",
            )
            .bind(at.as_unix_nanos())
            .bind(body)
        }
        Write::Journal { at, kind, key, body } => {
            sqlx::query("INSERT INTO journal (at_ns, kind, key, body) VALUES (?, ?, ?, ?)")
                .bind(at.as_unix_nanos())
                .bind(kind)
                .bind(key)
                .bind(body)
        }
        Write::Ledger { id, recorded, body } => sqlx::query(
            "INSERT INTO ledger (id, recorded_ns, body) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id)
        .bind(recorded.as_unix_nanos())
        .bind(body),
        Write::Usage { id, cluster, hour, recorded, body } => sqlx::query(
            "INSERT INTO usage (id, cluster, hour_ns, recorded_ns, body) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(id)
        .bind(cluster)
        .bind(hour.as_unix_nanos())
        .bind(recorded.as_unix_nanos())
        .bind(body),
        Write::UsageDay { level, cluster, day, last, body } => sqlx::query(
            "INSERT INTO usage_day (level, cluster, day_ns, last_seq, body) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (level, day_ns, cluster) DO UPDATE SET last_seq = excluded.last_seq, body = excluded.body",
        )
        .bind(level)
        .bind(cluster)
        .bind(day.as_unix_nanos())
        .bind(last)
        .bind(body),
        Write::Setting { key, value } => sqlx::query(
            "INSERT INTO setting (key, value) VALUES (?, ?)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(key)
        .bind(value),
    };
    statement.execute(connection).await.map(|_| ())
}
