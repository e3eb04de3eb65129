//! Rules every Rust file keeps: it opens with its docs, is not too long, ignores no test and is not a
//! drawer for odds and ends.

use crate::lexer::{blank, is_word};
use crate::{Finding, arrows, functions};

/// Longest file, in lines.
pub const LINES_MAX: usize = 800;
/// Names a module must not have: they say nothing of what is inside.
const DRAWERS: [&str; 4] = ["util", "utils", "helper", "helpers"];

/// Checks one Rust file.
pub fn check(file: &str, source: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (first, text) = source.lines().enumerate().find(|(_, l)| !l.trim().is_empty()).unwrap_or((0, ""));
    let docs = text.trim().strip_prefix("//!").map(str::trim);
    if docs.is_none_or(str::is_empty) {
        let shown: String = text.trim().chars().take(40).collect();
        findings.push(Finding::new(
            file,
            first + 1,
            format!("the file opens with {shown:?}"),
            "//! and what the file is for",
        ));
    }
    let lines = source.lines().count();
    if lines > LINES_MAX {
        findings.push(Finding::new(
            file,
            LINES_MAX + 1,
            format!("{lines} lines"),
            format!("at most {LINES_MAX}"),
        ));
    }
    let stem =
        file.trim_end_matches("/mod.rs").trim_end_matches(".rs").rsplit('/').next().unwrap_or_default();
    if DRAWERS.contains(&stem) {
        findings.push(Finding::new(file, 1, format!("module {stem}"), "a name that says what is inside"));
    }
    let code = blank(source);
    for (i, line) in code.lines().enumerate() {
        if ignores_a_test(line) {
            findings.push(Finding::new(
                file,
                i + 1,
                "an ignored test",
                "one that runs, or says why it skips",
            ));
        }
        if let Some(name) = declared_module(line).filter(|name| DRAWERS.contains(name)) {
            findings.push(Finding::new(
                file,
                i + 1,
                format!("mod {name}"),
                "a name that says what is inside",
            ));
        }
    }
    findings.extend(functions::check(file, &code));
    findings.extend(arrows::check_halves(file, &code));
    findings
}

/// `#[ignore]`, with a reason, or behind `cfg_attr`.
fn ignores_a_test(line: &str) -> bool {
    let is_ignore =
        |text: &str| text.trim_start().strip_prefix("ignore").is_some_and(|rest| !rest.starts_with(is_word));
    line.split("#[").skip(1).any(|attribute| {
        let behind = attribute.trim_start().strip_prefix("cfg_attr").and_then(|a| a.split_once(','));
        is_ignore(attribute) || behind.is_some_and(|(_, a)| is_ignore(a))
    })
}

fn declared_module(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    (words.next() == Some("mod"))
        .then(|| words.next())
        .flatten()
        .map(|name| name.trim_end_matches([';', '{']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, source: &str) -> Vec<String> {
        check(file, source).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_is_left_alone() {
        let good = "//! What it is for.\n\nmod time;\n// #[ignore] and mod utils in a comment\nconst A: &str = \"#[ignore]\";\n";
        assert!(found("crates/fleet/src/lib.rs", good).is_empty());
    }

    #[test]
    fn a_file_opens_with_its_docs() {
        let expected = "a.rs:2: the file opens with \"use std::fmt;\": expected //! and what the file is for";
        assert_eq!(found("a.rs", "\nuse std::fmt;\n"), [expected]);
        assert_eq!(found("a.rs", "//!\nfn f() {}\n").len(), 1);
        assert_eq!(found("a.rs", "").len(), 1);
    }

    #[test]
    fn ignored_tests_are_seen_in_every_spelling() {
        for bad in
            ["#[ignore]", "    #[ignore = \"slow\"]", "#[cfg_attr(windows, ignore)]", "#[test] #[ignore]"]
        {
            assert_eq!(found("a.rs", &format!("//! A.\n{bad}\nfn f() {{}}\n")).len(), 1, "{bad}");
        }
        assert!(found("a.rs", "//! A.\n#[ignored_by_us]\nfn f() {}\n").is_empty());
    }

    #[test]
    fn drawers_are_refused_as_files_and_as_modules() {
        assert_eq!(found("a/utils.rs", "//! A.\n").len(), 1);
        assert_eq!(found("a/helpers/mod.rs", "//! A.\n").len(), 1);
        assert_eq!(found("a.rs", "//! A.\npub(crate) mod util;\n").len(), 1);
        assert_eq!(found("a.rs", "//! A.\nmod helpers {\n}\n").len(), 1);
        assert!(found("a.rs", "//! A.\nmod utilisation;\n").is_empty());
    }

    #[test]
    fn long_files_are_split() {
        let source = format!("//! A.\n{}", "const A: u8 = 0;\n".repeat(LINES_MAX));
        assert_eq!(found("a.rs", &source), ["a.rs:801: 801 lines: expected at most 800"]);
    }
}
