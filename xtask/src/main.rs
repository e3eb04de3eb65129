//! `cargo xtask tidy`: prints what is untidy, one line a finding. Exit 0 tidy, 1 untidy or wrong
//! usage, 2 when the tree cannot be read.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (command, more) = (arguments.next(), arguments.next());
    if command.as_deref() != Some("tidy") || more.is_some() {
        eprintln!("usage: cargo xtask tidy");
        return ExitCode::from(1);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match xtask::tidy(&root) {
        Ok(report) => {
            for finding in &report.findings {
                println!("{finding}");
            }
            eprintln!("{} files read, {} findings", report.files, report.findings.len());
            if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}
