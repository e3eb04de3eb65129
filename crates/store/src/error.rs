//! What can go wrong with the state, and what a person can do about it.
//!
//! `Display` names the place and what was found, never its source; [`Error::hint`] is the way out, for
//! the caller to print apart. Errors are cheap to clone, since one failed commit answers many receipts.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the state could not be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The directory or a file in it could not be made or opened.
    #[error("{}: {attempt}", path.display())]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// What was attempted.
        attempt: &'static str,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// Another process (or another store of this one) works on the directory.
    #[error(
        "state directory {}: in use by {}, expected no other user",
        dir.display(),
        holder.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, where it can be told.
        holder: Option<u32>,
    },
    /// Not an SQLite file, or one with damaged pages.
    #[error("{place}: found a damaged file or none of SQLite's, expected a database (nothing was changed)")]
    Damaged {
        /// The file.
        place: Arc<str>,
        /// What the database said.
        source: Arc<sqlx::Error>,
    },
    /// A write-ahead log without the database it belongs to.
    #[error("{}: found its write-ahead log {} but no database, expected both", path.display(), log.display())]
    Orphan {
        /// The database that is missing or empty.
        path: PathBuf,
        /// The log that holds writes.
        log: PathBuf,
    },
    /// A sound SQLite file of some other program.
    #[error(
        "{place}: found a database of another program (application id {found:#x}), expected {expected:#x}"
    )]
    Foreign {
        /// The file.
        place: Arc<str>,
        /// Its application id.
        found: i64,
        /// Ours.
        expected: i64,
    },
    /// Written by a later version of the program.
    #[error("{place}: found schema version {found}, expected at most {supported}")]
    Newer {
        /// The file.
        place: Arc<str>,
        /// The version in the file.
        found: i64,
        /// The newest version this program knows.
        supported: i64,
    },
    /// The database refused.
    #[error("{place}: {attempt}")]
    Database {
        /// The file.
        place: Arc<str>,
        /// What was attempted.
        attempt: &'static str,
        /// What the database said.
        source: Arc<sqlx::Error>,
    },
    /// An earlier write was not committed, so this one was not tried.
    #[error("{place}: writing has stopped because an earlier write was not committed")]
    Stopped {
        /// The file.
        place: Arc<str>,
        /// Why the earlier write was not committed.
        source: Arc<Error>,
    },
    /// The store was closed before the write was acknowledged; whether it is on disk shows on the next open.
    #[error("{place}: closed before the write was acknowledged")]
    Closed {
        /// The file.
        place: Arc<str>,
    },
    /// A body or key beyond its bound.
    #[error("{what}: found {found} bytes, expected at most {limit}")]
    TooLarge {
        /// The kind of body.
        what: &'static str,
        /// Its size in bytes.
        found: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// Writes were appended faster than the disk takes them.
    #[error("{place}: found {found} bytes waiting to be written, expected at most {limit}")]
    QueueFull {
        /// The file.
        place: Arc<str>,
        /// What would have waited, in bytes.
        found: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// A page was asked for after an entry that does not exist.
    #[error(
        "ledger cursor \"{id}\": found no such entry, expected the id of the last row of the page before"
    )]
    UnknownCursor {
        /// The cursor (its first 80 characters).
        id: String,
    },
}

/// SQLite's primary result codes for a damaged file and for a file that is none of its own.
const SQLITE_CORRUPT: i64 = 11;
const SQLITE_NOTADB: i64 = 26;
/// The low byte of an extended result code is the primary one.
const PRIMARY_CODE_MASK: i64 = 0xff;

impl Error {
    /// What a person can do, where there is something; to be printed apart from the error.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::InUse { .. } => Some("stop the other process, or use another state directory"),
            Error::Damaged { .. } | Error::Orphan { .. } => {
                Some("restore the directory from a backup, or move it away to begin with an empty state")
            }
            Error::Foreign { .. } => Some("use another state directory"),
            Error::Newer { .. } => {
                Some("run the version that wrote it or a later one, or use another state directory")
            }
            Error::Stopped { .. } => {
                Some("see why below (a full disk?), then restart: all that was acknowledged is kept")
            }
            Error::Directory { .. } => Some("check that the directory exists and may be written to"),
            Error::Database { .. }
            | Error::Closed { .. }
            | Error::TooLarge { .. }
            | Error::QueueFull { .. }
            | Error::UnknownCursor { .. } => None,
        }
    }

    pub(crate) fn database(place: &Arc<str>, attempt: &'static str, source: sqlx::Error) -> Error {
        if matches!(source, sqlx::Error::PoolClosed) {
            return Error::Closed { place: place.clone() };
        }
        let code =
            source.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<i64>().ok());
        let damaged =
            code.is_some_and(|code| matches!(code & PRIMARY_CODE_MASK, SQLITE_CORRUPT | SQLITE_NOTADB));
        let (place, source) = (place.clone(), Arc::new(source));
        if damaged { Error::Damaged { place, source } } else { Error::Database { place, attempt, source } }
    }

    pub(crate) fn directory(path: &std::path::Path, attempt: &'static str, source: io::Error) -> Error {
        Error::Directory { path: path.to_owned(), attempt, source: Arc::new(source) }
    }
}
