//! Cases recorded from real Kubernetes code: `$CONFORMANCE_DIR/<family>/*.jsonl.gz`, else those of
//! `$KUBERCARBON_TESTDATA/conformance`.

use serde_json::Value;
use std::io::Read;
use std::path::PathBuf;

fn folder(family: &str) -> Option<PathBuf> {
    let own = std::env::var_os("CONFORMANCE_DIR").map(PathBuf::from);
    let shared = std::env::var_os("KUBERCARBON_TESTDATA").map(|dir| PathBuf::from(dir).join("conformance"));
    own.or(shared).map(|dir| dir.join(family)).filter(|dir| dir.is_dir())
}

/// Cases of the files whose name contains `part`; `None`, and a word, where there is no such folder.
pub fn cases(family: &str, part: &str) -> Option<Vec<Value>> {
    let Some(folder) = folder(family) else {
        println!("skipped: no test data");
        return None;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.ends_with(".jsonl.gz") && name.contains(part)
        })
        .collect();
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
        all.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    assert!(!all.is_empty(), "{family}: no cases");
    Some(all)
}
