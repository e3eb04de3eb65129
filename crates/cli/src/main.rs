//! `kubercarbon`, the one binary; kubectl finds it as `kubectl carbon` too.
//!
//! Data goes to stdout, everything else to stderr. Exit status: 0 done, 1 the answer is no or the input
//! is wrong, 2 the product's own fault.

mod client;
mod commands;
mod format;
mod options;
mod progress;
mod report;
mod table;
mod threads;

use std::process::ExitCode;

/// Objects are made and let go all the time, by many threads: decision 76.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = match options::Options::read() {
        Ok(options) => options,
        Err(error) => {
            // Help and version go to stdout and are no failure; anything else is wrong input.
            let wrong = error.use_stderr();
            return if error.print().is_ok() && !wrong { ExitCode::SUCCESS } else { ExitCode::from(1) };
        }
    };
    match commands::run(options) {
        Ok(code) => code,
        Err(error) => {
            let text = format!("{error:#}");
            // The hint, if there is one, stands apart after a blank line.
            let (what, hint) = text.split_once("\n\nhint: ").unwrap_or((&text, ""));
            eprintln!("error: {what}");
            if !hint.is_empty() {
                eprintln!("\nhint: {hint}");
            }
            let fault = error.downcast_ref::<commands::Fault>().is_some();
            ExitCode::from(if fault { 2 } else { 1 })
        }
    }
}
