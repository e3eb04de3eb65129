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
        Output::Wide => table(true),
    })
}

/// A figure of an answer with three significant digits; `-` where there is none.
pub fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), significant)
}

/// A text of an answer; `-` where there is none.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}
