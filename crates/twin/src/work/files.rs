//! The files containers see, as far as their commands and probes are about them.
//!
//! A container has a file system of its own, which is new at every start; an `emptyDir` lives as long as its pod; what
//! is on a disk or a directory of the node outlives both. Of images nothing is known but the directories every one has.
//! Units: bytes. Left out: permissions, links, and what fills disks.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most files of a volume; more are not written.
const FILES_MAX: usize = 1000;
/// Most of a file that is kept, in bytes.
const CONTENT_LENGTH_MAX: usize = 4096;
/// Directories of every image.
const DIRECTORIES: [&str; 12] =
    ["bin", "dev", "etc", "home", "lib", "proc", "root", "run", "sys", "tmp", "usr", "var"];

/// Files of one volume, by path without a slash in front; directories end with one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    fn has(&self, path: &str) -> bool {
        path.is_empty() || self.0.contains_key(path) || self.is_directory(path)
    }
    fn is_directory(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        path.is_empty()
            || self.0.range(inside.clone()..).next().is_some_and(|(key, _)| key.starts_with(&inside))
    }
    /// Writes a file; whether anything is another than before.
    pub(crate) fn write(&mut self, path: &str, text: &str, append: bool) -> bool {
        if self.0.len() >= FILES_MAX && !self.0.contains_key(path) {
            return false;
        }
        let mut content = if append { self.0.get(path).cloned().unwrap_or_default() } else { String::new() };
        content.push_str(text);
        truncate(&mut content);
        self.0.insert(path.to_owned(), content.clone()).is_none_or(|old| old != content)
    }
    fn remove(&mut self, path: &str) -> bool {
        let inside = format!("{path}/");
        let before = self.0.len();
        self.0.retain(|key, _| key != path && !key.starts_with(&inside));
        self.0.len() != before
    }
}

fn truncate(text: &mut String) {
    let end = (0..=CONTENT_LENGTH_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
}

/// Where a mounted volume is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// With the pod, by the volume's name.
    Pod(String),
    /// With the cluster, by a name of the disk or the node's directory.
    Cluster(String),
}

/// A volume where a container sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Without a slash in front or at the end.
    pub(crate) path: String,
    pub(crate) keeper: Keeper,
    /// Directory of the volume that is seen; empty: all of it.
    pub(crate) inside: String,
}

/// Volumes by name.
pub(crate) type Volumes = BTreeMap<String, Tree>;

/// What one container sees.
pub(crate) struct View<'a> {
    pub(crate) own: &'a mut Tree,
    pub(crate) pod: &'a mut Volumes,
    pub(crate) cluster: &'a mut Volumes,
    pub(crate) mounts: &'a [Mount],
    /// Counts the changes made.
    pub(crate) changes: &'a mut u64,
}

/// A path without what changes nothing; from the root.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

impl View<'_> {
    /// The volume a path leads into, and the path there.
    fn place(&self, path: &str) -> (Option<&Mount>, String) {
        let path = normal(path);
        let inside = |mount: &&Mount| {
            path == mount.path || path.strip_prefix(&mount.path).is_some_and(|rest| rest.starts_with('/'))
        };
        let Some(mount) = self.mounts.iter().filter(inside).max_by_key(|mount| mount.path.len()) else {
            return (None, path);
        };
        let rest = path[mount.path.len()..].trim_start_matches('/');
        (Some(mount), normal(&format!("{}/{rest}", mount.inside)))
    }
    fn tree(&mut self, keeper: Option<Keeper>) -> &mut Tree {
        match keeper {
            None => self.own,
            Some(Keeper::Pod(name)) => self.pod.entry(name).or_default(),
            Some(Keeper::Cluster(name)) => self.cluster.entry(name).or_default(),
        }
    }
    fn look<T>(&self, path: &str, of: impl Fn(&Tree, &str) -> T) -> T {
        let none = Tree::default();
        let (mount, path) = self.place(path);
        match mount.map(|mount| &mount.keeper) {
            None => of(self.own, &path),
            Some(Keeper::Pod(name)) => of(self.pod.get(name).unwrap_or(&none), &path),
            Some(Keeper::Cluster(name)) => of(self.cluster.get(name).unwrap_or(&none), &path),
        }
    }
    fn is_common(&self, path: &str) -> bool {
        let path = normal(path);
        let above = |mount: &Mount| mount.path == path || mount.path.starts_with(&format!("{path}/"));
        path.is_empty()
            || path == "dev/null"
            || DIRECTORIES.contains(&path.as_str())
            || self.mounts.iter().any(above)
    }
    /// Whether there is a file or directory.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.is_common(path) || self.look(path, Tree::has)
    }
    /// Whether there is a directory.
    pub(crate) fn is_directory(&self, path: &str) -> bool {
        (self.is_common(path) && normal(path) != "dev/null") || self.look(path, Tree::is_directory)
    }
    /// What is in a file.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        if normal(path) == "dev/null" {
            return Some(String::new());
        }
        self.look(path, |tree, path| tree.0.get(path).cloned())
    }
    /// Writes a file.
    pub(crate) fn write(&mut self, path: &str, text: &str, append: bool) {
        if matches!(normal(path).as_str(), "dev/null" | "dev/stdout" | "dev/stderr" | "proc/1/fd/1") {
            return;
        }
        let (mount, path) = self.place(path);
        let keeper = mount.map(|mount| mount.keeper.clone());
        let changed = self.tree(keeper).write(&path, text, append);
        *self.changes += u64::from(changed);
    }
    /// Makes a directory.
    pub(crate) fn make_directory(&mut self, path: &str) {
        if !self.is_directory(path) {
            self.write(&format!("{path}/.directory"), "", false);
        }
    }
    /// Takes a file or a directory with all in it away; whether it was there.
    pub(crate) fn remove(&mut self, path: &str) -> bool {
        let (mount, path) = self.place(path);
        let keeper = mount.map(|mount| mount.keeper.clone());
        let removed = !path.is_empty() && self.tree(keeper).remove(&path);
        *self.changes += u64::from(removed);
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_into_volumes() {
        let (mut own, mut pod, mut cluster, mut changes) =
            (Tree::default(), Volumes::new(), Volumes::new(), 0);
        let mounts = [
            Mount { path: "data".to_owned(), keeper: Keeper::Pod("v".to_owned()), inside: String::new() },
            Mount {
                path: "data/disk".to_owned(),
                keeper: Keeper::Cluster("d".to_owned()),
                inside: "a".to_owned(),
            },
        ];
        let mut view = View {
            own: &mut own,
            pod: &mut pod,
            cluster: &mut cluster,
            mounts: &mounts,
            changes: &mut changes,
        };
        assert!(view.is_directory("/data/disk") && view.exists("/tmp") && !view.exists("/data/x"));
        view.write("/data/../data/x", "1", false);
        view.write("/data/disk/y", "2", false);
        view.write("/z/w", "3", false);
        view.write("/data/x", "4", true);
        assert_eq!(view.read("/data/x").as_deref(), Some("14"));
        assert!(view.is_directory("z") && !view.is_directory("/z/w") && view.exists("/z/w"));
        view.write("/dev/null", "5", false);
        assert!(view.remove("/z") && !view.remove("/z"));
        assert_eq!((own, changes), (Tree::default(), 5));
        assert_eq!(pod["v"].0["x"], "14");
        assert_eq!(cluster["d"].0["a/y"], "2");
    }

    #[test]
    fn files_are_bounded() {
        let mut tree = Tree::default();
        assert!(tree.write("a", &"é".repeat(CONTENT_LENGTH_MAX), false));
        assert_eq!(tree.0["a"].len(), CONTENT_LENGTH_MAX);
        for n in 0..2 * FILES_MAX {
            tree.write(&n.to_string(), "", false);
        }
        assert_eq!(tree.0.len(), FILES_MAX);
    }
}
