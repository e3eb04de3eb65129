//! What must survive the process: the twin's saved state, the journal of actions, the ledger, the
//! accounts of clusters' hours, sums over their days, and the settings, in one SQLite file.
//!
//! Invariants:
//! * [`Store::append`] never blocks, and the order of its calls is the order of commit.
//! * A [`Receipt`] resolves to `Ok` only once its write is on disk (`synchronous=FULL`): a `kill -9` at any
//!   moment loses nothing acknowledged, and what is found afterwards is a prefix of what was appended.
//! * Writes queued together are committed together (group commit) by one writer task.
//! * After a commit fails nothing more is written, so that no write is ever on disk without those before it.
//! * One process a directory, held by a file lock.
//! * Nothing found in a directory is deleted or replaced: a file that is damaged, foreign or newer is refused.
//!
//! Units: [`fleet::Instant`] on the fleet's clock, stored as nanoseconds; bodies in bytes, bounded by the
//! constants beside [`Write`]. Bodies are opaque: what they mean, and any rule about them, belongs to the
//! caller. Left out: PostgreSQL (to come behind the same API), signal history, the task queue, and
//! trimming of the journal.

mod days;
mod error;
mod lock;
mod read;
mod schema;
mod state;
mod write;
mod writer;

pub use days::{UsageDayRow, UsageHead};
pub use error::Error;
pub use read::{JournalRow, LedgerRow, PAGE_ROWS_MAX, TwinState, UsageRow};
pub use state::{DATABASE_FILE, Store};
pub use write::{
    INPUT_BYTES_MAX, JOURNAL_BYTES_MAX, KEY_BYTES_MAX, LEDGER_BYTES_MAX, SETTING_BYTES_MAX,
    SNAPSHOT_BYTES_MAX, USAGE_BYTES_MAX, USAGE_DAY_BYTES_MAX, Write,
};
pub use writer::{QUEUE_BYTES_MAX, Receipt};
