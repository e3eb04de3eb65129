//! Which of our crates may know which, and what the pure ones must not know: each `Cargo.toml` held
//! against two tables.
//!
//! The tables are the ones of ARCHITECTURE.md: a new crate or arrow changes both, in the same commit.
//! Development and build dependencies count like others. The manifest reader knows the part of TOML
//! that Cargo manifests use for dependencies (tables, dotted keys, inline tables on one line).

use crate::Finding;

/// Our crates, each with those of ours it may use. A crate that may use another may name the
/// vocabulary (`fleet`, and `ledger` and `planner` above `control`) the other hands out.
pub const ARROWS: &[(&str, &[&str])] = &[
    ("fleet", &[]),
    ("ledger", &["fleet"]),
    ("planner", &["fleet", "ledger"]),
    ("twin", &["fleet", "ledger"]),
    ("control", &["fleet", "ledger", "planner", "twin"]),
    ("kubeapi", &["fleet", "twin"]),
    ("connect", &["fleet", "control"]),
    ("store", &["fleet", "ledger", "control"]),
    ("server", &["fleet", "ledger", "planner", "twin", "control", "kubeapi", "connect", "store"]),
    ("cli", &["fleet", "ledger", "planner", "control", "server"]),
    // Reads examples/ in a test; nothing depends on it.
    ("xtask", &["fleet"]),
];

/// Runtimes, networks, databases and sources of chance or time no pure crate may know.
const IMPURE: &[&str] = &[
    "async-std",
    "axum",
    "chrono",
    "fastrand",
    "futures",
    "getrandom",
    "hyper",
    "hyper-util",
    "kube",
    "kube-client",
    "kube-runtime",
    "lapin",
    "rand",
    "rayon",
    "reqwest",
    "rusqlite",
    "smol",
    "sqlx",
    "tokio",
    "tokio-util",
    "tower",
    "ureq",
    "uuid",
];

/// Types of Kubernetes; the vocabulary, the account and the planner do without.
const KUBERNETES: &[&str] = &["k8s-openapi"];

/// What a crate must not depend on.
pub const BANNED: &[(&str, &[&[&str]])] = &[
    ("fleet", &[IMPURE, KUBERNETES]),
    ("ledger", &[IMPURE, KUBERNETES]),
    ("planner", &[IMPURE, KUBERNETES]),
    ("twin", &[IMPURE]),
    ("control", &[IMPURE]),
];

/// Banned everywhere, with the reason.
const BANNED_EVERYWHERE: &[(&str, &str)] = &[
    ("serde_yaml", "serde-saphyr: serde_yaml is deprecated"),
    ("aws-lc-rs", "ring: aws-lc needs more of a C toolchain"),
    ("openssl", "rustls on ring"),
    ("native-tls", "rustls on ring"),
];

/// A dependency as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Line in the manifest, from 1.
    pub line: usize,
    /// The package's name (not the name it is renamed to).
    pub name: String,
}

/// Checks the manifest of one package.
pub fn check(file: &str, manifest: &str) -> Vec<Finding> {
    let Some(package) = package_name(manifest) else {
        return vec![Finding::new(file, 1, "no package name", "name = \"…\" under [package]")];
    };
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package) else {
        let expected = "a crate of the table in xtask/src/arrows.rs (and of ARCHITECTURE.md)";
        return vec![Finding::new(file, 1, format!("crate {package}"), expected)];
    };
    let mut findings = Vec::new();
    for dependency in dependencies(manifest) {
        let name = dependency.name.as_str();
        let ours = ARROWS.iter().any(|(crate_name, _)| *crate_name == name);
        if ours && !allowed.contains(&name) {
            let expected = match allowed {
                [] => "no crate of ours".to_owned(),
                _ => format!("at most {}", allowed.join(", ")),
            };
            findings.push(Finding::new(
                file,
                dependency.line,
                format!("{package} depends on {name}"),
                expected,
            ));
        }
        let banned = BANNED.iter().find(|(crate_name, _)| *crate_name == package);
        if banned.is_some_and(|(_, lists)| lists.iter().any(|list| list.contains(&name))) {
            findings.push(Finding::new(
                file,
                dependency.line,
                format!("{package} depends on {name}"),
                "a pure crate: no runtime, network, database, clock or chance",
            ));
        }
        if let Some((_, instead)) = BANNED_EVERYWHERE.iter().find(|(banned, _)| *banned == name) {
            findings.push(Finding::new(
                file,
                dependency.line,
                format!("{package} depends on {name}"),
                *instead,
            ));
        }
    }
    findings
}

/// Checks the two halves of the world's driver: what observes must not know what acts, nor the
/// other way round.
pub fn check_halves(file: &str, blanked: &str) -> Vec<Finding> {
    let (half, other) = if file.starts_with("crates/connect/src/observe") {
        ("observe", "act")
    } else if file.starts_with("crates/connect/src/act") {
        ("act", "observe")
    } else {
        return Vec::new();
    };
    let paths = [format!("crate::{other}"), format!("super::{other}")];
    let lines = blanked.lines().enumerate();
    lines
        .filter(|(_, line)| paths.iter().any(|path| names_path(line, path)))
        .map(|(i, _)| {
            Finding::new(
                file,
                i + 1,
                format!("connect::{half} uses {other}"),
                "halves that do not know each other",
            )
        })
        .collect()
}

/// Whether the line names the module itself, not one whose name only begins alike.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path)
        .any(|(at, _)| !line[at + path.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
}

fn package_name(manifest: &str) -> Option<String> {
    let mut table = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            table = line;
        } else if table == "[package]"
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "name"
        {
            return Some(value.trim().trim_matches('"').to_owned());
        }
    }
    None
}

/// Every dependency a manifest names: normal, development, build, and of a target.
pub fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    // In a table of dependencies, or in the table of one of them.
    let (mut in_table, mut in_one) = (false, false);
    for (i, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default().trim();
            let (head, last) = header.rsplit_once('.').unwrap_or(("", header));
            in_table = is_dependency_table(last);
            in_one = is_dependency_table(head.rsplit('.').next().unwrap_or_default());
            if in_one {
                found.push(Dependency { line: i + 1, name: last.trim_matches('"').to_owned() });
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        if in_table {
            let key = key.trim();
            let name = key.split('.').next().unwrap_or(key).trim().trim_matches('"');
            let name = renamed_from(value).unwrap_or_else(|| name.to_owned());
            found.push(Dependency { line: i + 1, name });
        } else if in_one
            && key.trim() == "package"
            && let Some(last) = found.last_mut()
        {
            last.name = value.trim().trim_matches('"').to_owned();
        }
    }
    found
}

fn is_dependency_table(name: &str) -> bool {
    matches!(name, "dependencies" | "dev-dependencies" | "build-dependencies")
}

/// The package behind a renamed dependency: `package = "…"` of an inline table.
fn renamed_from(value: &str) -> Option<String> {
    let (_, after) = value.split_once("package")?;
    let text = after.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?;
    text.split('"').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\nversion.workspace = true\n\n{rest}")
    }

    #[test]
    fn arrows_of_every_kind_of_dependency_are_seen() {
        let text = manifest(
            "planner",
            "[dependencies]\nfleet.workspace = true\n# control = 1\n[dev-dependencies]\ntwin = { path = \"../twin\" }\n\
             [target.'cfg(unix)'.dependencies]\nstore.workspace = true\n[build-dependencies.cli]\npath = \"../cli\"\n\
             [features]\ncontrol = []\n",
        );
        let lines: Vec<String> =
            check("crates/planner/Cargo.toml", &text).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "crates/planner/Cargo.toml:9: planner depends on twin: expected at most fleet, ledger",
                "crates/planner/Cargo.toml:11: planner depends on store: expected at most fleet, ledger",
                "crates/planner/Cargo.toml:12: planner depends on cli: expected at most fleet, ledger",
            ]
        );
    }

    #[test]
    fn a_pure_crate_knows_no_runtime_under_any_name() {
        for bad in [
            "[dependencies]\ntokio.workspace = true\n",
            "[dev-dependencies]\ntokio = \"1\"\n",
            "[dependencies]\nrt = { version = \"1\", package = \"tokio\" }\n",
            "[dependencies.rt]\nversion = \"1\"\npackage = \"tokio\"\n",
        ] {
            let findings = check("crates/twin/Cargo.toml", &manifest("twin", bad));
            assert_eq!(findings.len(), 1, "{bad}");
            assert!(findings[0].found.ends_with("depends on tokio"), "{}", findings[0]);
            assert!(check("crates/server/Cargo.toml", &manifest("server", bad)).is_empty());
        }
        let typed = "[dependencies]\nk8s-openapi.workspace = true\n";
        assert!(check("x", &manifest("twin", typed)).is_empty());
        assert_eq!(check("x", &manifest("planner", typed)).len(), 1);
    }

    #[test]
    fn unknown_crates_and_banned_packages_are_named() {
        assert_eq!(check("x", &manifest("toolbox", "")).len(), 1);
        assert_eq!(check("x", "[dependencies]\n").len(), 1);
        assert_eq!(check("x", &manifest("cli", "[dependencies]\nserde_yaml = \"0.9\"\n")).len(), 1);
    }

    #[test]
    fn the_table_has_no_cycle() {
        // Every crate's arrows lead to crates listed above it.
        for (i, (name, allowed)) in ARROWS.iter().enumerate() {
            for other in *allowed {
                assert!(ARROWS[..i].iter().any(|(earlier, _)| earlier == other), "{name} -> {other}");
            }
        }
    }

    #[test]
    fn the_halves_of_connect_do_not_know_each_other() {
        let text = "use crate::active::x;\nuse crate::act::kube;\n";
        let findings = check_halves("crates/connect/src/observe/kube.rs", text);
        assert_eq!(findings.iter().map(|f| f.line).collect::<Vec<_>>(), [2]);
        assert!(check_halves("crates/connect/src/act/kube.rs", text).is_empty());
        assert_eq!(check_halves("crates/connect/src/act.rs", "use super::observe;\n").len(), 1);
    }
}
