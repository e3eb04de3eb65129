//! What Kubernetes' Go types (`types.go` in the modules `k8s.io/api`, `k8s.io/apimachinery` and the like) say of fields beyond
//! its OpenAPI documents: which it writes whatever their value (such a field is there in an object nobody has filled in yet),
//! which are pointers, and their numbers in protobuf.

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

/// What is known of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoField {
    /// How it is written.
    pub written: Written,
    /// Whether it is a pointer: what is empty is told from what is not there.
    pub pointer: bool,
    /// Its number in protobuf, after those of the messages around it that JSON shows no trace of. Empty: it has none.
    pub numbers: Vec<u16>,
}

/// A struct's own fields by their names in JSON, and the structs whose fields are shown as its own, with their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Struct {
    fields: BTreeMap<String, GoField>,
    inlined: Vec<(String, u16)>,
}

/// Deepest struct within structs whose fields are shown as the outer one's; three are known.
const INLINED_MAX: usize = 8;

/// The structs of a package.
type Structs = BTreeMap<String, Struct>;

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
    pub fn fields(&mut self, name: &str) -> anyhow::Result<BTreeMap<String, GoField>> {
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
        let mut fields = BTreeMap::new();
        flatten(&self.packages[&folder], own, &[], &mut fields);
        Ok(fields)
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

/// Adds a struct's fields and those shown as its own.
fn flatten(structs: &Structs, name: &str, around: &[u16], fields: &mut BTreeMap<String, GoField>) {
    let Some(of) = structs.get(name).filter(|_| around.len() < INLINED_MAX) else { return };
    for (json, field) in &of.fields {
        let mut field = field.clone();
        if !field.numbers.is_empty() {
            field.numbers.splice(0..0, around.iter().copied());
        }
        fields.entry(json.clone()).or_insert(field);
    }
    for (inner, number) in &of.inlined {
        flatten(structs, inner, &[around, &[*number]].concat(), fields);
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

/// The number in a field's tags, e.g. `protobuf:"bytes,2,opt,name=spec"`.
fn number(tags: &str) -> Option<u16> {
    let tag = tags.split_once("protobuf:\"")?.1.split('"').next()?;
    tag.split(',').nth(1)?.parse().ok()
}

fn field(line: &str, of: &mut Struct) {
    let Some((head, tags)) = line.split_once('`').filter(|_| !line.starts_with("//")) else { return };
    let Some(json) = tags.strip_prefix("json:\"").and_then(|tag| tag.split('"').next()) else { return };
    let Some(go_type) = head.split_whitespace().last() else { return };
    let (name, options) = json.split_once(',').unwrap_or((json, ""));
    // What has no name of its own is shown as fields of the type it stands in.
    if name.is_empty() || name == "-" {
        let own = go_type.trim_start_matches('*').to_owned();
        of.inlined.extend(number(tags).filter(|_| options.contains("inline")).map(|number| (own, number)));
        return;
    }
    let written =
        match (go_type.starts_with('*'), options.contains("omitzero"), options.contains("omitempty")) {
            (true, ..) | (_, true, _) => Written::IfSet,
            (false, false, true) => Written::IfStruct,
            (false, false, false) => Written::Always,
        };
    let field =
        GoField { written, pointer: go_type.starts_with('*'), numbers: number(tags).into_iter().collect() };
    of.fields.insert(name.to_owned(), field);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_and_empty_values_are_left_out() {
        let text = "type A struct {\n\tmetav1.TypeMeta `json:\",inline\"`\n\tSpec B `json:\"spec,omitempty\" protobuf:\"bytes,2,opt,name=spec\"`\n\t// Old C `json:\"old\"`\n\tList []B `json:\"list\" protobuf:\"bytes,3,rep\"`\n\tP *B `json:\"p\"`\n\tT Time `json:\"t,omitempty,omitzero\"`\n\tInner `json:\",inline\" protobuf:\"bytes,4,opt,name=inner\"`\n}\ntype Inner struct {\n\tX *int32 `json:\"x\" protobuf:\"varint,7,opt,name=x\"`\n}\n";
        let mut structs = Structs::new();
        read_types(text, &mut structs);
        let mut fields = BTreeMap::new();
        flatten(&structs, "A", &[], &mut fields);
        let of = |written, pointer, numbers: &[u16]| GoField { written, pointer, numbers: numbers.to_vec() };
        let expected = [
            ("list", of(Written::Always, false, &[3])),
            ("p", of(Written::IfSet, true, &[])),
            ("spec", of(Written::IfStruct, false, &[2])),
            ("t", of(Written::IfSet, false, &[])),
            ("x", of(Written::IfSet, true, &[4, 7])),
        ];
        assert_eq!(fields, expected.map(|(name, field)| (name.to_owned(), field)).into());
    }
}
