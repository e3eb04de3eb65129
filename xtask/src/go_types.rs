//! Which fields Kubernetes writes whatever their value, read from its Go types (`types.go` in the modules `k8s.io/api`,
//! `k8s.io/apimachinery` and the like): such a field is there in an object nobody has filled in yet.

use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Whatever its value.
    Always,
    /// Where it is no pointer and of a struct's type: leaving out what is empty does not leave out structs.
    IfStruct,
    /// Where it says something.
    IfSet,
}

/// Modules, by the beginning of the names of their types in OpenAPI, and where in a module their packages are.
const MODULES: [(&str, &str, &str); 4] = [
    ("io.k8s.api.", "api", ""),
    ("io.k8s.apimachinery.pkg.", "apimachinery", "pkg"),
    ("io.k8s.apiextensions-apiserver.pkg.", "apiextensions-apiserver", "pkg"),
    ("io.k8s.kube-aggregator.pkg.", "kube-aggregator", "pkg"),
];

/// The fields of each struct of a package, by their names in JSON.
type Structs = BTreeMap<String, BTreeMap<String, Written>>;

/// Reads Go types as they are asked for.
pub struct GoTypes {
    modules: PathBuf,
    packages: BTreeMap<PathBuf, Structs>,
}

impl GoTypes {
    /// `modules` is the folder with `api@VERSION` and the others.
    pub fn new(modules: &Path) -> GoTypes {
        GoTypes { modules: modules.to_owned(), packages: BTreeMap::new() }
    }

    /// The fields of a type, by its name in OpenAPI; none for what is no struct.
    pub fn fields(&mut self, name: &str) -> anyhow::Result<BTreeMap<String, Written>> {
        let Some((prefix, module, inside)) = MODULES.into_iter().find(|(p, ..)| name.starts_with(p)) else {
            return Ok(BTreeMap::new());
        };
        let parts: Vec<&str> = name[prefix.len()..].split('.').collect();
        let Some((own, package)) = parts.split_last() else { return Ok(BTreeMap::new()) };
        let folder = package.iter().fold(self.module(module)?.join(inside), |dir, part| dir.join(part));
        if !self.packages.contains_key(&folder) {
            let structs = read_package(&folder)?;
            self.packages.insert(folder.clone(), structs);
        }
        Ok(self.packages[&folder].get(*own).cloned().unwrap_or_default())
    }

    fn module(&self, name: &str) -> anyhow::Result<PathBuf> {
        let start = format!("{name}@");
        let entries = std::fs::read_dir(&self.modules).with_context(|| self.modules.display().to_string())?;
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&start)))
            .collect();
        found.sort();
        found.pop().with_context(|| format!("{}: no {start}…", self.modules.display()))
    }
}

fn read_package(folder: &Path) -> anyhow::Result<Structs> {
    let mut structs = Structs::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("types") && name.ends_with(".go") && !name.contains("swagger") {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            read_types(&text, &mut structs);
        }
    }
    Ok(structs)
}

fn read_types(text: &str, structs: &mut Structs) {
    let mut open: Option<String> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("type ").and_then(|l| l.strip_suffix(" struct {")) {
            open = Some(name.to_owned());
            structs.entry(name.to_owned()).or_default();
        } else if line == "}" {
            open = None;
        } else if let Some(of) = open.as_ref().and_then(|name| structs.get_mut(name)) {
            field(line.trim(), of);
        }
    }
}

fn field(line: &str, of: &mut BTreeMap<String, Written>) {
    let Some((head, tags)) = line.split_once('`').filter(|_| !line.starts_with("//")) else { return };
    let Some(json) = tags.strip_prefix("json:\"").and_then(|tag| tag.split('"').next()) else { return };
    let Some(go_type) = head.split_whitespace().last() else { return };
    let (name, options) = json.split_once(',').unwrap_or((json, ""));
    // What has no name of its own is shown as fields of the type it stands in.
    if name.is_empty() || name == "-" {
        return;
    }
    let written =
        match (go_type.starts_with('*'), options.contains("omitzero"), options.contains("omitempty")) {
            (true, ..) | (_, true, _) => Written::IfSet,
            (false, false, true) => Written::IfStruct,
            (false, false, false) => Written::Always,
        };
    of.insert(name.to_owned(), written);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_and_empty_values_are_left_out() {
        let text = "type A struct {\n\tmetav1.TypeMeta `json:\",inline\"`\n\tSpec B `json:\"spec,omitempty\" protobuf:\"bytes,2,opt,name=spec\"`\n\t// Old C `json:\"old\"`\n\tList []B `json:\"list\" protobuf:\"bytes,3,rep\"`\n\tP *B `json:\"p\"`\n\tT Time `json:\"t,omitempty,omitzero\"`\n}\n";
        let mut structs = Structs::new();
        read_types(text, &mut structs);
        let expected = [
            ("list", Written::Always),
            ("p", Written::IfSet),
            ("spec", Written::IfStruct),
            ("t", Written::IfSet),
        ];
        assert_eq!(structs["A"], expected.map(|(name, written)| (name.to_owned(), written)).into());
    }
}
