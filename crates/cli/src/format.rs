//! Prints a result as the user asked.

use crate::options::Output;
use anyhow::Context;
use serde::Serialize;
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
    match output {
        Output::Json => print(&format!("{}\n", serde_json::to_string_pretty(value)?)),
        Output::Yaml => print(&serde_saphyr::to_string(value).context("write YAML")?),
        Output::Table => print(&table(false)),
        Output::Wide => print(&table(true)),
    }
}
