//! Chores of this repository. `cargo xtask tidy` holds the rules no compiler checks.
//!
//! Every check is a pure function from a file's path and text to [`Finding`]s; only [`tree`] reads the
//! disk. The same run is a test (`tests/tidy.rs`), so `cargo test --workspace` fails on an untidy tree.
//! Left out: what rustfmt and clippy check already.

pub mod arrows;
pub mod functions;
pub mod go_types;
pub mod lexer;
pub mod resources;
pub mod roles;
pub mod schema;
pub mod sources;
pub mod texts;
pub mod tree;

pub use tree::tidy;

use std::fmt;

/// One broken rule. Shown as `file:line: found: expected …`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path below the root of the repository, with `/`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What stands there.
    pub found: String,
    /// What would do.
    pub expected: String,
}

impl Finding {
    /// A finding from its parts.
    pub fn new(file: &str, line: usize, found: impl Into<String>, expected: impl Into<String>) -> Finding {
        Finding { file: file.to_owned(), line, found: found.into(), expected: expected.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: expected {}", self.file, self.line, self.found, self.expected)
    }
}
