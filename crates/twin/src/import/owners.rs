//! Who owns whom, so that a file whose objects own one another in a circle is noticed.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Owners of the objects of one cluster, by uid.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Line of the object, and its owners' uids.
    of: BTreeMap<Arc<str>, (u64, Vec<Arc<str>>)>,
}

/// How far the search for circles has come with an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Entered,
    Left,
}

impl Owners {
    /// Takes in an object; the line of the one that had this uid before, if there was one.
    pub(super) fn add(&mut self, uid: &str, line: u64, owners: Vec<Arc<str>>) -> Option<u64> {
        self.of.insert(uid.into(), (line, owners)).map(|(line, _)| line)
    }
    pub(super) fn contains(&self, uid: &str) -> bool {
        self.of.contains_key(uid)
    }
    /// The line of an object that owns itself, by however many others.
    pub(super) fn circle(&self) -> Option<u64> {
        let mut marks: BTreeMap<&str, Mark> = BTreeMap::new();
        for uid in self.of.keys() {
            let mut path: Vec<(&str, usize)> = vec![(uid, 0)];
            while let Some((uid, next)) = path.last_mut() {
                let uid = *uid;
                let Some((line, owners)) = self.of.get(uid) else {
                    path.pop();
                    continue;
                };
                if *next == 0 {
                    match marks.get(uid) {
                        Some(Mark::Left) => {
                            path.pop();
                            continue;
                        }
                        Some(Mark::Entered) => return Some(*line),
                        None => {
                            marks.insert(uid, Mark::Entered);
                        }
                    }
                }
                match owners.get(*next) {
                    Some(owner) => {
                        *next += 1;
                        path.push((owner, 0));
                    }
                    None => {
                        marks.insert(uid, Mark::Left);
                        path.pop();
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(pairs: &[(&str, &[&str])]) -> Option<u64> {
        let mut owners = Owners::default();
        for (i, (uid, of)) in pairs.iter().enumerate() {
            owners.add(uid, i as u64 + 1, of.iter().map(|uid| Arc::from(*uid)).collect());
        }
        owners.circle()
    }

    #[test]
    fn circles_are_found_and_diamonds_are_none() {
        assert_eq!(circle(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &["gone"])]), None);
        assert_eq!(circle(&[("a", &["a"])]), Some(1));
        assert!(circle(&[("a", &["x"]), ("b", &["c"]), ("c", &["d"]), ("d", &["b"])]).is_some());
    }
}
