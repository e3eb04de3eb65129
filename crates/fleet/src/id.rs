//! Names of things, valid by construction and totally ordered.
//!
//! A name is 1 to 253 bytes of letters, digits, `-`, `_`, `.`, `:`; cheap to clone.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::sync::Arc;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{found}\" is not a {what}: expected 1 to 253 letters, digits, '-', '_', '.' or ':', beginning with a letter or digit"
)]
pub struct Error {
    /// The kind of name that was expected.
    pub what: &'static str,
    /// What stood there (first 80 characters).
    pub found: String,
}

fn parse(what: &'static str, text: &str) -> Result<Arc<str>, Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    let head = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if head && text.len() <= 253 && text.chars().all(fits) {
        Ok(Arc::from(text))
    } else {
        Err(Error { what, found: text.chars().take(80).collect() })
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a name.
            pub fn new(text: &str) -> Result<$name, Error> {
                parse($what, text).map($name)
            }
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<$name, Error> {
                $name::new(text)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<$name, D::Error> {
                let text = String::deserialize(d)?;
                $name::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A cluster of the fleet, by the name its context or fleet file gives it.
    ClusterId, "cluster name"
);
id!(
    /// A node of a cluster.
    NodeName, "node name"
);
id!(
    /// A cloud region, e.g. `ap-northeast-2`.
    RegionId, "region"
);
id!(
    /// A grid zone in Electricity Maps' codes, e.g. `KR`, `JP-TK`.
    GridZone, "grid zone"
);
id!(
    /// An instance type of a cloud provider, e.g. `m6i.2xlarge`.
    InstanceType, "instance type"
);
id!(
    /// A namespace or object name.
    ObjectName, "object name"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_the_edge() {
        assert_eq!(ClusterId::new("kr").unwrap().as_str(), "kr");
        for wrong in ["", "-a", "a b", "a/b", &"x".repeat(254)] {
            assert!(ClusterId::new(wrong).is_err(), "{wrong}");
        }
        let error = GridZone::new("K R").unwrap_err().to_string();
        assert!(error.starts_with("\"K R\" is not a grid zone: expected"), "{error}");
    }
}
