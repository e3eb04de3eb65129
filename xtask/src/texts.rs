//! What is read on another machine names no path of this one.

use crate::Finding;
use crate::lexer::is_word;

/// Heads of absolute paths that exist on one machine only.
const ROOTS: [&str; 3] = ["work", "root", "home"];

/// Checks a document, example, manifest or script.
pub fn check(file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if let Some(path) = machine_path(line) {
            findings.push(Finding::new(
                file,
                i + 1,
                path,
                "a path relative to the repository, or one like ~/…",
            ));
        }
    }
    findings
}

/// The first absolute path of a machine in a line. `../work/x`, `~/home` and `https://a/home` are none.
fn machine_path(line: &str) -> Option<String> {
    line.match_indices('/').find_map(|(at, _)| {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| is_word(c) || matches!(c, '.' | '~' | '/' | '-' | '}' | '*')) {
            return None;
        }
        let path: String =
            line[at..].chars().take_while(|c| is_word(*c) || matches!(c, '/' | '.' | '-')).collect();
        let head = path[1..].split('/').next().unwrap_or_default();
        ROOTS.contains(&head).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_machine_are_found() {
        // Put together here, so that this file is clean itself.
        for root in ROOTS {
            for (before, after) in [("see ", "/main/x.md"), ("`", "`"), ("--state=", "/a"), ("", "/a b")] {
                let line = format!("{before}/{root}{after}");
                assert_eq!(check("README.md", &line).len(), 1, "{line}");
            }
        }
    }

    #[test]
    fn other_paths_are_left_alone() {
        for good in [
            "../work/x",
            "https://example.org/home/a",
            "~/work",
            "and/or",
            "/workspace/a",
            "$HOME/root",
            "a/home",
        ] {
            assert!(check("README.md", good).is_empty(), "{good}");
        }
    }
}
