//! Prints a result as the user asked.

use crate::options::Output;
use anyhow::Context;
use fleet::quantity::significant;
use serde::Serialize;
use serde_json::Value;
use std::io::Write;

/// Writes to stdout; a closed pipe ends quietly, as `| head` expects.
pub fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.context("write the result"),
    }
}

/// JSON or YAML as it is; a table by `table`, which is told whether it may be wide.
pub fn show<T: Serialize>(
    output: Output,
    value: &T,
    table: impl FnOnce(bool) -> String,
) -> anyhow::Result<()> {
    print(&shown(output, value, table)?)
}

/// What [`show`] prints.
pub fn shown<T: Serialize>(
    output: Output,
    value: &T,
    table: impl FnOnce(bool) -> String,
) -> anyhow::Result<String> {
    Ok(match output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(value)?),
        Output::Yaml => serde_saphyr::to_string(value).context("write YAML")?,
        Output::Table => table(false),
        // Commands with one table make it themselves; for the others it is refused as the command line is read.
        Output::Wide | Output::Csv => table(true),
    })
}

/// A figure of an answer with three significant digits; `-` where there is none.
pub fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), significant)
}

/// What was saved of a whole: 0 where it is less than a ten-thousandth either way, as a second's delay is.
pub fn saved(value: &Value, whole: &Value) -> String {
    let (value, whole) = (value.as_f64(), whole.as_f64().unwrap_or(0.0));
    value.map_or_else(
        || "-".to_owned(),
        |saved| significant(if saved.abs() < whole.abs() * 1e-4 { 0.0 } else { saved }),
    )
}

/// A text of an answer; `-` where there is none.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

/// What stands at `job.name` in an answer.
pub fn field<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, part| &value[part])
}

/// `carbonGrams` gives `carbon_grams`, `job.name` gives `job_name`.
fn snake(path: &str) -> String {
    let part =
        |c: char| if c.is_ascii_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.to_string() };
    path.replace('.', "_").chars().map(part).collect()
}

/// Fields of an answer's items as comma-separated values (RFC 4180), safe to open in a spreadsheet. Numbers stay numbers, in
/// full; what is absent is empty.
pub fn csv<'a>(items: impl Iterator<Item = &'a Value>, fields: &[&str]) -> String {
    let cell = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    };
    let mut out = fields.iter().map(|field| snake(field)).collect::<Vec<_>>().join(",") + "\r\n";
    for item in items {
        out += &fields.iter().map(|path| cell(field(item, path))).collect::<Vec<_>>().join(",");
        out += "\r\n";
    }
    out
}

/// Text that no spreadsheet takes for a formula.
fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|']);
    let safe = if formula { format!("'{text}") } else { text.to_owned() };
    if safe.contains([',', '"', '\n', '\r']) { format!("\"{}\"", safe.replace('"', "\"\"")) } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hostile_cells_stay_text() {
        let item = json!({"a": "=1+1", "b": {"carbonGrams": "x,\"y\""}, "c": -1.5, "d": null});
        let text = csv([&item].into_iter(), &["a", "b.carbonGrams", "c", "d"]);
        assert_eq!(text, "a,b_carbon_grams,c,d\r\n'=1+1,\"x,\"\"y\"\"\",-1.5,\r\n");
    }

    #[test]
    fn a_trifle_saved_is_nothing() {
        let all = [
            (json!(-0.0002), json!(9.2)),
            (json!(-0.2), json!(9.2)),
            (json!(null), json!(9.2)),
            (json!(0.1), json!(null)),
        ];
        assert_eq!(all.map(|(value, whole)| saved(&value, &whole)), ["0", "-0.200", "-", "0.100"]);
    }
}
