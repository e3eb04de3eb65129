//! The repository as it lies on disk: which files there are, and which rules each must keep.
//!
//! Bounds: at most [`FILES_MAX`] files of at most [`BYTES_MAX`] bytes each; hidden folders (but
//! `.ci`) and `target` are not entered. Files are visited in the order of their names.

use crate::{Finding, arrows, sources, texts};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Most files looked at.
pub const FILES_MAX: usize = 20_000;
/// Largest file read, in bytes; larger ones are data.
pub const BYTES_MAX: u64 = 4 << 20;
/// What is read on other machines.
const TEXTS: [&str; 9] = ["md", "yaml", "yml", "toml", "html", "css", "js", "svg", "sh"];
/// Text files without an ending.
const TEXTS_BY_NAME: [&str; 3] = ["NOTICE", "run", "Dockerfile"];

/// What a run found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many files were read.
    pub files: usize,
    /// What is untidy, in the order of files and lines.
    pub findings: Vec<Finding>,
}

/// Checks the repository at `root`.
///
/// # Errors
/// When a folder or file cannot be read, or there are too many.
pub fn tidy(root: &Path) -> Result<Report> {
    let mut report = Report::default();
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let (below, here) = entries(&folder)?;
        folders.extend(below);
        files.extend(here);
        if files.len() > FILES_MAX {
            bail!("more than {FILES_MAX} files below {}: expected a source tree", root.display());
        }
    }
    files.sort();
    for path in files {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let findings = check_file(&path, &name)?;
        if let Some(findings) = findings {
            report.files += 1;
            report.findings.extend(findings);
        }
    }
    report.findings.sort();
    Ok(report)
}

/// The folders to enter and the files of one folder.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().with_context(|| format!("look at {}", entry.path().display()))?;
        if kind.is_dir() {
            let skipped = name == "target" || (name.starts_with('.') && name != ".ci");
            if !skipped {
                folders.push(entry.path());
            }
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok((folders, files))
}

/// `None`: no rule is about this file.
fn check_file(path: &Path, name: &str) -> Result<Option<Vec<Finding>>> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let ending = last.rsplit_once('.').map_or("", |(_, ending)| ending);
    let text = TEXTS.contains(&ending) || TEXTS_BY_NAME.contains(&last);
    if ending != "rs" && !text {
        return Ok(None);
    }
    let size = path.metadata().with_context(|| format!("look at {name}"))?.len();
    if size > BYTES_MAX {
        return Ok(None);
    }
    let content = std::fs::read_to_string(path).with_context(|| format!("read {name}"))?;
    Ok(Some(check_text(name, &content)))
}

/// Every rule about a file of this name.
pub fn check_text(name: &str, content: &str) -> Vec<Finding> {
    if name.ends_with(".rs") {
        return sources::check(name, content);
    }
    let mut findings = texts::check(name, content);
    if name.ends_with("/Cargo.toml") {
        findings.extend(arrows::check(name, content));
    }
    findings
}
