//! `cargo xtask tidy`: prints what is untidy, one line a finding. Exit 0 tidy, 1 untidy or wrong
//! usage, 2 when the tree cannot be read.
//!
//! `cargo xtask schema DIR VERSION MODULES`: prints the table of Kubernetes' types, from the OpenAPI documents in DIR and the
//! Go modules in MODULES.
//! `cargo xtask resources DIR VERSION`: prints the table of resources, from the discovery documents in DIR.
//! `cargo xtask roles DIR VERSION`: prints the table of roles, from the documents in DIR that Kubernetes' tests read.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["tidy"] => tidy(),
        ["schema", dir, version, modules] => {
            print(xtask::schema::table(Path::new(dir), version, Path::new(modules)))
        }
        ["roles", dir, version] => print(xtask::roles::table(Path::new(dir), version)),
        ["resources", dir, version] => print(xtask::resources::table(Path::new(dir), version)),
        _ => {
            eprintln!(
                "usage: cargo xtask tidy | cargo xtask schema DIR VERSION MODULES | cargo xtask resources DIR VERSION | cargo xtask roles DIR VERSION"
            );
            ExitCode::from(1)
        }
    }
}

fn print(table: anyhow::Result<String>) -> ExitCode {
    match table {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn tidy() -> ExitCode {
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
