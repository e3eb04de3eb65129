//! The real tree is tidy.

use std::path::Path;

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let report = xtask::tidy(&root).expect("read the tree");
    // A walk that finds nothing to read would pass every tree.
    assert!(report.files > 40, "only {} files read below {}", report.files, root.display());
    let lines: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn every_crate_has_its_row_and_its_paragraph() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("read ARCHITECTURE.md");
    for (name, _) in xtask::arrows::ARROWS {
        let heading = format!("### `{name}`");
        let (_, after) = page.split_once(&heading).unwrap_or_else(|| panic!("ARCHITECTURE.md: no {heading}"));
        let section = after.split("\n##").next().unwrap_or_default();
        assert!(section.contains("**Invariant:**"), "ARCHITECTURE.md: {heading} has no **Invariant:** line");
    }
}
