//! Versions by semver.org 2.0.0, and the looser ones Kubernetes' library takes when asked to.

use std::cmp::Ordering;

/// Longest text read.
const TEXT_MAX: usize = 256;

/// A version. What stands after `+` is kept out: it does not count in comparisons.
#[derive(Clone, Debug)]
pub(crate) struct Semver {
    /// Major, minor and patch.
    pub numbers: [u64; 3],
    before: Vec<String>,
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn number(text: &str, what: &str) -> Result<u64, String> {
    if !is_number(text) {
        return Err(format!("Invalid character(s) found in {what} number {text:?}"));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{} number must not contain leading zeroes {text:?}", capital(what)));
    }
    text.parse().map_err(|_| format!("{what} number {text:?} is too large"))
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

impl Semver {
    /// Reads a version; the error is in words.
    pub fn parse(text: &str) -> Result<Semver, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        if text.len() > TEXT_MAX {
            return Err(format!("version of {} bytes is longer than {TEXT_MAX}", text.len()));
        }
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let [major, minor, patch] = parts[..] else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let (rest, build) = patch.split_once('+').map_or((patch, None), |(rest, build)| (rest, Some(build)));
        let (patch, before) = rest.split_once('-').map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
        let numbers = [number(major, "major")?, number(minor, "minor")?, number(patch, "patch")?];
        let fits = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let before: Vec<String> =
            before.into_iter().flat_map(|all| all.split('.')).map(str::to_owned).collect();
        for part in &before {
            if part.is_empty() {
                return Err("Prerelease is empty".to_owned());
            }
            if is_number(part) && part.len() > 1 && part.starts_with('0') {
                return Err(format!("Numeric PreRelease version must not contain leading zeroes {part:?}"));
            }
            if !fits(part) {
                return Err(format!("Invalid character(s) found in prerelease {part:?}"));
            }
        }
        for part in build.into_iter().flat_map(|all| all.split('.')) {
            if part.is_empty() {
                return Err("Build meta data is empty".to_owned());
            }
            if !fits(part) {
                return Err(format!("Invalid character(s) found in build meta data {part:?}"));
            }
        }
        Ok(Semver { numbers, before })
    }

    /// Reads one that may begin with `v`, lack its last numbers or have zeros before them.
    pub fn normalize(text: &str) -> Result<Semver, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("version of {} bytes is longer than {TEXT_MAX}", text.len()));
        }
        let text = text.strip_prefix('v').unwrap_or(text);
        let trimmed = |part: &str| {
            let bare = part.trim_start_matches('0');
            if part.len() > 1 && !bare.starts_with(|c: char| c.is_ascii_digit()) {
                format!("0{bare}")
            } else if part.len() > 1 {
                bare.to_owned()
            } else {
                part.to_owned()
            }
        };
        let mut parts: Vec<String> = text.splitn(3, '.').map(trimmed).collect();
        if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".to_owned());
        }
        while parts.len() < 3 {
            parts.push("0".to_owned());
        }
        Semver::parse(&parts.join("."))
    }

    /// Which comes first.
    pub fn compare(&self, other: &Semver) -> Ordering {
        let by_numbers = self.numbers.cmp(&other.numbers);
        if by_numbers != Ordering::Equal {
            return by_numbers;
        }
        match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) => {}
        }
        for (a, b) in self.before.iter().zip(&other.before) {
            let order = match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        self.before.len().cmp(&other.before.len())
    }
}
