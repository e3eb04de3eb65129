//! Opening, holding and closing a store.
//!
//! A [`Store`] is a handle: clones share one queue, one writer task and one file. When the last one is
//! dropped the writer commits what waits and lets go of the directory.

use crate::read::Reads;
use crate::write::Write;
use crate::writer::{Queue, Receipt, Writer};
use crate::{Error, lock, schema};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};
use std::fs::{DirBuilder, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The database's name in its directory.
pub const DATABASE_FILE: &str = "state.db";
/// What SQLite calls the write-ahead log beside it.
const LOG_FILE: &str = "state.db-wal";
/// How long to wait for another program that holds the database's own lock (a backup, a person's shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// What the write-ahead log shrinks to after a large snapshot went through it, in bytes.
const LOG_BYTES_KEPT: &str = "67108864";
/// Connections that read while the writer writes. Each is a thread and up to 2 MB of page cache.
const READERS_MAX: u32 = 2;

/// A durable store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) queue: Arc<Queue>,
    pub(crate) reads: Reads,
    pub(crate) place: Arc<str>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Store {
    /// Opens the state in `dir`, makes it if there is none (mode 0700), and brings its schema up to date.
    /// Runs the writer on the current tokio runtime, which must outlive the store for its last writes to land.
    ///
    /// # Errors
    /// When the directory cannot be made or written, another store holds it ([`Error::InUse`], after a
    /// second's patience), or the file in it is damaged, foreign or newer. Nothing is deleted in any case.
    pub async fn open(dir: &Path) -> Result<Store, Error> {
        create(dir)?;
        let lock = lock::take(dir).await?;
        let path = dir.join(DATABASE_FILE);
        refuse_orphan(&path, &dir.join(LOG_FILE))?;
        let place: Arc<str> = path.display().to_string().into();
        let options = options(&path);
        let mut connection = SqliteConnection::connect_with(&options)
            .await
            .map_err(|source| Error::database(&place, "open the database", source))?;
        // Whose file it is comes first: the journal mode is a lasting change to it.
        schema::check(&mut connection, &place).await?;
        let options = options.journal_mode(SqliteJournalMode::Wal);
        sqlx::query("PRAGMA journal_mode = WAL")
            .execute(&mut connection)
            .await
            .map_err(|source| Error::database(&place, "turn on the write-ahead log", source))?;
        schema::bring_up(&mut connection, &place).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Store::start(place, connection, Some(readers), Some(lock)))
    }

    /// A store that lives and dies with its handles; for tests and for runs that keep nothing.
    ///
    /// # Errors
    /// When SQLite has no memory for it.
    pub async fn memory() -> Result<Store, Error> {
        let place: Arc<str> = "state in memory".into();
        let mut connection = SqliteConnection::connect_with(&options(Path::new(":memory:")))
            .await
            .map_err(|source| Error::database(&place, "open the database", source))?;
        schema::bring_up(&mut connection, &place).await?;
        Ok(Store::start(place, connection, None, None))
    }

    fn start(
        place: Arc<str>,
        connection: SqliteConnection,
        readers: Option<sqlx::SqlitePool>,
        lock: Option<File>,
    ) -> Store {
        let queue = Arc::new(Queue::new(place.clone()));
        let connection = Arc::new(Mutex::new(connection));
        let reads = match &readers {
            Some(pool) => Reads::Pool(pool.clone()),
            None => Reads::Shared(connection.clone()),
        };
        let writer = Writer { queue: queue.clone(), connection: Some(connection), readers, lock };
        tokio::spawn(writer.run());
        Store { inner: Arc::new(Inner { queue, reads, place }) }
    }

    /// Queues a write. The order of calls is the order of commit. Does not block and may be called while a
    /// lock is held, on any thread. The receipt resolves when the write is durable.
    ///
    /// The receipt's error says that the write is not on disk and why:
    /// * [`Error::TooLarge`]: refused alone, what follows is written. But a [`Write::TwinInput`] that is too
    ///   large stops all writing, since the log of inputs would have a hole.
    /// * [`Error::Damaged`], [`Error::Database`]: its transaction failed; all of that transaction is undone.
    /// * [`Error::QueueFull`]: more than [`QUEUE_BYTES_MAX`](crate::QUEUE_BYTES_MAX) waits.
    /// * [`Error::Stopped`]: one of the above happened to an earlier write; for good, until a new `open`.
    /// * [`Error::Closed`]: the store was closed, or its runtime ended before the answer came.
    pub fn append(&self, write: Write) -> Receipt {
        self.inner.queue.push(Some(write))
    }

    /// Waits until everything appended so far is durable.
    ///
    /// # Errors
    /// As for [`Store::append`], where writing stopped before this call was reached.
    pub async fn flush(&self) -> Result<(), Error> {
        self.inner.queue.push(None).await
    }

    /// Transactions committed since the store was opened.
    pub fn commits(&self) -> u64 {
        self.inner.queue.commits()
    }

    /// Bytes of writes not yet acknowledged, with a fixed sum for each; to slow down before the queue is full.
    pub fn bytes_waiting(&self) -> usize {
        self.inner.queue.bytes_waiting()
    }

    /// Writes everything queued, closes the file and lets go of the directory, for all clones.
    ///
    /// # Errors
    /// [`Error::Stopped`] if some write was never committed.
    pub async fn close(self) -> Result<(), Error> {
        self.inner.queue.close();
        self.inner.queue.ended().await
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .pragma("journal_size_limit", LOG_BYTES_KEPT)
        .disable_statement_logging()
}

fn create(dir: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    // Plans and settings are nobody else's business. A directory that exists keeps the mode it has.
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|source| Error::directory(dir, "create the state directory", source))
}

/// SQLite throws the log of an empty database away. Ours is empty only before its first commit, when
/// there is no log yet: a log without a database means that the database was lost, and the log is evidence.
fn refuse_orphan(path: &Path, log: &Path) -> Result<(), Error> {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    if size(path) == 0 && size(log) > 0 {
        return Err(Error::Orphan { path: path.to_owned(), log: log.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No kill of a process can tell a synced write from one the kernel still holds; the setting can.
    #[tokio::test]
    async fn every_commit_of_the_writer_is_synced() {
        const FULL: i64 = 2;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        drop(store);
        let mut connection =
            SqliteConnection::connect_with(&options(&dir.path().join(DATABASE_FILE))).await.unwrap();
        let level: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut connection).await.unwrap();
        assert_eq!(level, FULL);
        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
        assert_eq!(mode, "wal", "which FULL syncs at each commit");
    }
}
