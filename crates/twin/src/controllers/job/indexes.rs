//! Sets of completion indexes, kept as ranges and written as Kubernetes writes them: `0,2-5`.
//!
//! Invariant: ranges are in order, do not touch, and their ends are not negative; work grows with ranges, not indexes.

use std::fmt;

/// Completion indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads what was written; indexes from `completions` on are left out, and so is what is no range.
    pub(super) fn parse(text: &str, completions: i32) -> Indexes {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (i32, i32) = (first.parse().ok()?, last.parse().ok()?);
            let last = last.min(completions - 1);
            (0 <= first && first <= last).then_some((first, last))
        };
        text.split(',')
            .filter_map(range)
            .fold(Indexes::default(), |all, range| all.union(&Indexes(vec![range])))
    }
    /// The set of these indexes.
    pub(super) fn of(indexes: impl IntoIterator<Item = i32>) -> Indexes {
        let mut ranges: Vec<(i32, i32)> = indexes.into_iter().map(|index| (index, index)).collect();
        ranges.sort_unstable();
        Indexes::joined(ranges)
    }
    /// Ranges in the order of their beginnings, joined where they touch.
    fn joined(ranges: Vec<(i32, i32)>) -> Indexes {
        let mut all: Vec<(i32, i32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match all.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => all.push((first, last)),
            }
        }
        Indexes(all)
    }
    /// Both together.
    pub(super) fn union(&self, other: &Indexes) -> Indexes {
        let mut ranges: Vec<(i32, i32)> = self.0.iter().chain(&other.0).copied().collect();
        ranges.sort_unstable();
        Indexes::joined(ranges)
    }
    /// How many there are.
    pub(super) fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub(super) fn has(&self, index: i32) -> bool {
        let after = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(after).is_some_and(|(first, _)| *first <= index)
    }
    /// How many of them are in `other` too.
    pub(super) fn shared(&self, other: &Indexes) -> i32 {
        let (mut mine, mut theirs, mut shared) = (0, 0, 0);
        while let (Some(a), Some(b)) = (self.0.get(mine), other.0.get(theirs)) {
            shared += (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
            if a.1 < b.1 { mine += 1 } else { theirs += 1 }
        }
        shared
    }
    /// The lowest `count` indexes below `completions` that are not in the set.
    pub(super) fn missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut missing = Vec::new();
        let mut next = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            missing.extend((next..first.min(completions)).take(count - missing.len()));
            next = next.max(last.saturating_add(1));
        }
        missing
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(text: &str) -> Indexes {
        Indexes::parse(text, 100)
    }

    #[test]
    fn they_are_read_as_they_are_written() {
        for text in ["", "0", "0,1", "0-2", "0,2-5,7,8", "3,9-12"] {
            assert_eq!(set(text).to_string(), text);
        }
        assert_eq!(Indexes::of([8, 0, 3, 2, 5, 4, 7]).to_string(), "0,2-5,7,8");
        assert_eq!(set("0,x,2-4,-3,7-6").to_string(), "0,2-4");
        assert_eq!(Indexes::parse("0-2000000000,2000000001", 5).to_string(), "0-4");
    }

    #[test]
    fn they_are_sets() {
        // Against sets of numbers, for all pairs of a handful.
        let texts = ["", "0", "0-3", "1,3,5", "2-4,8", "0,2,4,6-9"];
        for (a, b) in texts.iter().flat_map(|a| texts.iter().map(move |b| (*a, *b))) {
            let plain = |s: &Indexes| (0..20).filter(|i| s.has(*i)).collect::<BTreeSet<i32>>();
            let (left, right) = (set(a), set(b));
            let (x, y) = (plain(&left), plain(&right));
            assert_eq!(plain(&left.union(&right)), x.union(&y).copied().collect(), "{a} {b}");
            assert_eq!(left.shared(&right) as usize, x.intersection(&y).count(), "{a} {b}");
            assert_eq!(left.total() as usize, x.len());
            let missing: Vec<i32> = (0..9).filter(|i| !x.contains(i)).take(3).collect();
            assert_eq!(left.missing(3, 9), missing, "{a}");
        }
    }
}
