//! Tables as CSV (RFC 4180), safe to open in a spreadsheet.
//!
//! Invariant: a text cell never begins with a character a spreadsheet takes for a formula; numbers stay
//! numbers, in full precision.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words, from anywhere.
    Text(String),
    /// A figure; absent ones are empty.
    Number(Option<f64>),
}

/// A table: its name (of the file), its head and its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// `jobs` gives `jobs.csv`.
    pub name: &'static str,
    /// Column names, units included.
    pub head: &'static [&'static str],
    /// Rows of as many cells.
    pub rows: Vec<Vec<Cell>>,
}

/// A text cell.
pub fn text(value: impl ToString) -> Cell {
    Cell::Text(value.to_string())
}

/// A text cell, empty without a value.
pub fn maybe(value: Option<impl ToString>) -> Cell {
    Cell::Text(value.map(|v| v.to_string()).unwrap_or_default())
}

/// A number.
pub fn number(value: f64) -> Cell {
    Cell::Number(Some(value))
}

fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|']);
    let safe = if formula { format!("'{text}") } else { text.to_owned() };
    if safe.contains([',', '"', '\n', '\r']) { format!("\"{}\"", safe.replace('"', "\"\"")) } else { safe }
}

impl Table {
    /// As text, lines ended by CR LF.
    pub fn to_csv(&self) -> String {
        let mut out = self.head.join(",");
        out.push_str("\r\n");
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .map(|cell| match cell {
                    Cell::Text(text) => quoted(text),
                    Cell::Number(Some(value)) if value.is_finite() => value.to_string(),
                    Cell::Number(_) => String::new(),
                })
                .collect();
            out.push_str(&cells.join(","));
            out.push_str("\r\n");
        }
        out
    }

    /// As a download.
    pub fn response(&self) -> Response {
        let mut response = Response::new(Body::from(self.to_csv()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
        let name = format!("attachment; filename=\"{}.csv\"", self.name);
        if let Ok(value) = HeaderValue::from_str(&name) {
            headers.insert(header::CONTENT_DISPOSITION, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_cells_stay_text() {
        let row = vec![
            text("=1+1"),
            text("a,\"b\"\nc"),
            text("-x"),
            number(-1.5),
            Cell::Number(None),
            text("@cmd"),
        ];
        let table = Table { name: "t", head: &["a", "b", "c", "d", "e", "f"], rows: vec![row] };
        assert_eq!(table.to_csv(), "a,b,c,d,e,f\r\n'=1+1,\"a,\"\"b\"\"\nc\",'-x,-1.5,,'@cmd\r\n");
    }
}
