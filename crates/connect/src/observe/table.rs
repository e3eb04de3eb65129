//! Bounded reading of CSV files people hand in: plain or gzip'd, one header row, then records.
//!
//! Invariants: at most [`BYTES_MAX`] bytes after decompression, [`ROWS_MAX`] rows and [`COLUMNS_MAX`]
//! columns; every error names the file and, where there is one, the line (counted from 1, the header
//! included) and the column. Left out: opening files; the caller hands in bytes.

use flate2::read::MultiGzDecoder;
use std::borrow::Cow;
use std::io::Read;

/// Most bytes of a file after decompression: ten times the largest published file of hourly carbon.
pub const BYTES_MAX: u64 = 256 << 20;
/// Most data rows: 20 years of hours of 28 zones, or the jobs of several years.
pub const ROWS_MAX: u64 = 5_000_000;
/// Most columns.
pub const COLUMNS_MAX: usize = 2000;

/// What is wrong with a table.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too large to read.
    #[error("{file}: more than {BYTES_MAX} bytes: expected at most that, decompressed")]
    Size {
        /// Its name.
        file: String,
    },
    /// Begins as a gzip file but is none.
    #[error("{file}: not a readable gzip file")]
    Gzip {
        /// Its name.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Not text, or not CSV.
    #[error("{file}, line {line}: {found}: expected {expected}")]
    Line {
        /// Its name.
        file: String,
        /// Which line.
        line: u64,
        /// What stood there.
        found: String,
        /// What would do.
        expected: String,
    },
    /// A field's value cannot be.
    #[error("{file}, line {line}, column {column}: {found:?}: expected {expected}")]
    Field {
        /// Its name.
        file: String,
        /// Which line.
        line: u64,
        /// The column's name in the header.
        column: String,
        /// What stood there (first 80 characters).
        found: String,
        /// What would do.
        expected: String,
    },
    /// Too many rows.
    #[error("{file}: more than {ROWS_MAX} rows: expected at most that")]
    Rows {
        /// Its name.
        file: String,
    },
    /// Nothing below the header.
    #[error("{file}: no rows: expected at least one below the header")]
    Empty {
        /// Its name.
        file: String,
    },
}

/// The bytes as they are, or decompressed when they begin as gzip does.
///
/// # Errors
/// When they are more than [`BYTES_MAX`], or no gzip after all.
pub fn plain<'a>(file: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
    let size = || Error::Size { file: file.to_owned() };
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        let fits = bytes.len() as u64 <= BYTES_MAX;
        return if fits { Ok(Cow::Borrowed(bytes)) } else { Err(size()) };
    }
    let mut out = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(BYTES_MAX + 1).read_to_end(&mut out);
    read.map_err(|source| Error::Gzip { file: file.to_owned(), source })?;
    if out.len() as u64 > BYTES_MAX { Err(size()) } else { Ok(Cow::Owned(out)) }
}

/// A table being read.
pub(crate) struct Table<'a> {
    file: &'a str,
    header: Vec<String>,
    reader: csv::Reader<&'a [u8]>,
    record: csv::StringRecord,
    rows: u64,
    bytes: &'a [u8],
    /// Bytes whose line feeds are counted in `line`.
    counted: usize,
    line: u64,
}

impl<'a> Table<'a> {
    /// Reads the header.
    pub fn new(file: &'a str, bytes: &'a [u8]) -> Result<Table<'a>, Error> {
        let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
        let record = csv::StringRecord::new();
        let mut table =
            Table { file, header: Vec::new(), reader, record, rows: 0, bytes, counted: 0, line: 1 };
        if !table.read()? {
            return Err(table.error("nothing", "a header row"));
        }
        if table.record.len() > COLUMNS_MAX {
            let found = format!("{} columns", table.record.len());
            return Err(table.error(&found, format!("at most {COLUMNS_MAX}")));
        }
        table.header = table.record.iter().map(|name| name.trim().to_owned()).collect();
        Ok(table)
    }
    /// Names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }
    /// Index of a column that must be there.
    pub fn column(&self, name: &str) -> Result<usize, Error> {
        let at = self.header.iter().position(|column| column == name);
        at.ok_or_else(|| self.error(&format!("columns {}", self.columns()), format!("a column {name}")))
    }
    /// The names in the header, for errors.
    pub fn columns(&self) -> String {
        let shown: Vec<&str> = self.header.iter().take(10).map(String::as_str).collect();
        let more = if self.header.len() > 10 { ", …" } else { "" };
        clip(&format!("{}{more}", shown.join(", ")), 300)
    }
    /// Reads the next row; `false`: there is none.
    pub fn next_row(&mut self) -> Result<bool, Error> {
        if !self.read()? {
            return if self.rows == 0 { Err(Error::Empty { file: self.file.to_owned() }) } else { Ok(false) };
        }
        self.rows += 1;
        if self.rows > ROWS_MAX {
            return Err(Error::Rows { file: self.file.to_owned() });
        }
        if self.record.len() != self.header.len() {
            let found = format!("{} fields", self.record.len());
            return Err(self.error(&found, format!("{} as in the header", self.header.len())));
        }
        Ok(true)
    }
    /// A field of the current row.
    pub fn field(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default().trim()
    }
    /// Line of the current row.
    pub fn line(&self) -> u64 {
        self.line
    }
    /// A field as a number in `[low, high]`.
    pub fn number(&self, column: usize, (low, high): (f64, f64)) -> Result<f64, Error> {
        let value = self.field(column).parse::<f64>().ok().filter(|v| (low..=high).contains(v));
        value.ok_or_else(|| self.wrong(column, format!("a number from {low} to {high}")))
    }
    /// The error that a field of the current row is wrong.
    pub fn wrong(&self, column: usize, expected: impl Into<String>) -> Error {
        Error::Field {
            file: self.file.to_owned(),
            line: self.line,
            column: self.header.get(column).cloned().unwrap_or_default(),
            found: clip(self.field(column), 80),
            expected: expected.into(),
        }
    }
    /// The error that the current line is wrong.
    pub fn error(&self, found: &str, expected: impl Into<String>) -> Error {
        Error::Line {
            file: self.file.to_owned(),
            line: self.line,
            found: found.to_owned(),
            expected: expected.into(),
        }
    }

    fn read(&mut self) -> Result<bool, Error> {
        match self.reader.read_record(&mut self.record) {
            Ok(there) => {
                self.count_lines(self.record.position().filter(|_| there).map(csv::Position::byte));
                Ok(there)
            }
            Err(error) => {
                self.count_lines(error.position().map(csv::Position::byte));
                Err(self.error("not text in UTF-8", "CSV"))
            }
        }
    }

    /// Moves `line` to the record that starts at a byte. The reader's own count is taken before the line
    /// feed of CRLF and before blank lines, and so would name an earlier line.
    fn count_lines(&mut self, start: Option<u64>) {
        let Some(start) = start.and_then(|byte| usize::try_from(byte).ok()) else { return };
        let rest = self.bytes.get(start..).unwrap_or_default();
        let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = self.bytes.get(self.counted..start + blank).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.counted = self.counted.max(start + blank);
    }
}

fn clip(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn gzip_is_sniffed_and_bounded() {
        assert_eq!(&*plain("a.csv", b"a,b\n").unwrap(), b"a,b\n");
        assert_eq!(&*plain("a.csv.gz", &gzip(b"a,b\n")).unwrap(), b"a,b\n");
        let cut = &gzip(b"a,b\n")[..12];
        assert_eq!(plain("a.csv.gz", cut).unwrap_err().to_string(), "a.csv.gz: not a readable gzip file");
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let block = vec![0u8; 1 << 20];
        for _ in 0..=(BYTES_MAX >> 20) {
            bomb.write_all(&block).unwrap();
        }
        let error = plain("bomb.gz", &bomb.finish().unwrap()).unwrap_err();
        assert!(matches!(error, Error::Size { .. }), "{error}");
    }

    #[test]
    fn errors_name_line_and_column() {
        let mut table = Table::new("t.csv", b"a, b\n1,2\n\n1\n").unwrap();
        assert_eq!(table.header(), ["a", "b"]);
        assert_eq!(
            table.column("c").unwrap_err().to_string(),
            "t.csv, line 1: columns a, b: expected a column c"
        );
        assert!(table.next_row().unwrap());
        assert_eq!(table.number(1, (0.0, 9.0)).unwrap(), 2.0);
        assert_eq!(
            table.number(1, (3.0, 9.0)).unwrap_err().to_string(),
            "t.csv, line 2, column b: \"2\": expected a number from 3 to 9"
        );
        let error = table.next_row().unwrap_err().to_string();
        assert_eq!(error, "t.csv, line 4: 1 fields: expected 2 as in the header");
        let mut crlf = Table::new("t.csv", b"\r\na\r\n1\r\n\r\n2\r\n").unwrap();
        assert!(crlf.next_row().unwrap());
        assert_eq!(crlf.line(), 3);
        assert!(crlf.next_row().unwrap());
        assert_eq!(crlf.line(), 5);
        let mut latin = Table::new("t.csv", b"a\n1\n\xe9\n").unwrap();
        assert!(latin.next_row().unwrap());
        assert_eq!(
            latin.next_row().unwrap_err().to_string(),
            "t.csv, line 3: not text in UTF-8: expected CSV"
        );
        let error = |bytes| match Table::new("t.csv", bytes) {
            Ok(mut table) => table.next_row().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(error(b"a,b\n"), "t.csv: no rows: expected at least one below the header");
        assert_eq!(error(b""), "t.csv, line 1: nothing: expected a header row");
    }
}
