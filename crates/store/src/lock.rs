//! One process a state directory: an exclusive lock of the operating system on the file `lock` in it.
//!
//! The lock goes with the process however it ends; the file stays, and holds the number of the process
//! that took it last, for the error message alone.

use crate::Error;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

const LOCK_FILE: &str = "lock";
/// How often the lock is asked for. A process that is just ending (a restart) gets a second to let go.
const ATTEMPTS_MAX: u32 = 50;
const ATTEMPT_GAP: Duration = Duration::from_millis(20);
/// No process number is longer.
const HOLDER_BYTES_MAX: u64 = 20;

/// Takes the lock of `dir`; it is held for as long as the file lives.
pub(crate) async fn take(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| Error::directory(&path, "open the lock file", source))?;
    for attempt in 1..=ATTEMPTS_MAX {
        match file.try_lock() {
            Ok(()) => {
                // The number only makes the other side's message better: without it the lock is as good.
                if let Err(error) = write_holder(&mut file) {
                    tracing::debug!(%error, "write the process number to the lock file");
                }
                return Ok(file);
            }
            Err(TryLockError::WouldBlock) if attempt < ATTEMPTS_MAX => tokio::time::sleep(ATTEMPT_GAP).await,
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(source)) => {
                return Err(Error::directory(&path, "lock the state directory", source));
            }
        }
    }
    Err(Error::InUse { dir: dir.to_owned(), holder: read_holder(&mut file) })
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(HOLDER_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
