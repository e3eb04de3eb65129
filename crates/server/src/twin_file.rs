//! Twin files on disk: lines of JSON, packed with gzip, written under another name first.
//!
//! Invariants: a file is read as a stream, and no more of it than [`FILE_BYTES_MAX`] packed, [`BYTES_MAX`] unpacked
//! and [`LINE_BYTES_MAX`] a line; under its own name a file is whole or not there.

use anyhow::{Context, bail};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use twin::import::{BYTES_MAX, Document, FILE_BYTES_MAX, LINE_BYTES_MAX, Reader};

/// What every gzip file begins with.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Whether a file is packed, as twin files are and fleet files are not.
pub fn is_packed(path: &Path) -> anyhow::Result<bool> {
    let mut head = Vec::new();
    let file = File::open(path).with_context(|| format!("read {}", path.display()))?;
    file.take(MAGIC.len() as u64)
        .read_to_end(&mut head)
        .with_context(|| format!("read {}", path.display()))?;
    Ok(head == MAGIC)
}

/// Reads a twin file.
pub fn read(path: &Path) -> anyhow::Result<Document> {
    let file = File::open(path).with_context(|| format!("read {}", path.display()))?;
    unpack(file.take(FILE_BYTES_MAX)).with_context(|| path.display().to_string())
}

/// Reads a twin file's bytes.
pub fn unpack(packed: impl Read) -> anyhow::Result<Document> {
    let mut lines = BufReader::new(MultiGzDecoder::new(packed)).take(BYTES_MAX);
    let (mut reader, mut line, mut number) = (Reader::new(), Vec::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        let most = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut lines).take(most).read_until(b'\n', &mut line);
        let read =
            read.with_context(|| format!("line {number}: cut short or damaged: expected a whole gzip file"))?;
        if read == 0 {
            break;
        }
        if line.pop_if(|last| *last == b'\n').is_none() {
            bail!(
                "line {number}: {} bytes without a line feed: expected lines of at most {LINE_BYTES_MAX} bytes, {BYTES_MAX} in all",
                line.len()
            );
        }
        reader.line(&line)?;
    }
    Ok(reader.end()?)
}

/// Writes a file under another name and renames it.
pub fn write(path: &Path, parts: &[&[u8]]) -> anyhow::Result<()> {
    let name =
        path.file_name().with_context(|| format!("{}: expected the name of a file", path.display()))?;
    let partial: PathBuf =
        path.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
    let written = || -> std::io::Result<()> {
        let mut file = File::create(&partial)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    written().map_err(|error| {
        // What was begun is of no use to anybody.
        let _gone = std::fs::remove_file(&partial);
        anyhow::Error::new(error).context(format!("write {}", path.display()))
    })
}
