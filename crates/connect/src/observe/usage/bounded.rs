//! Lists of an answer, taken in up to a bound.

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

/// Most items of a list that are taken in: twice the pods Kubernetes promises to hold in one cluster (150,000), so
/// that what is more is a mistake.
pub const ITEMS_MAX: usize = 300_000;

/// A list of at most [`ITEMS_MAX`] items; `null` is none. For `#[serde(deserialize_with)]`.
pub fn items<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct Items<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {ITEMS_MAX} items")
        }
        fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = seq.next_element()? {
                if all.len() == ITEMS_MAX {
                    return Err(A::Error::custom(format!(
                        "more than {ITEMS_MAX} items: expected at most that"
                    )));
                }
                all.push(item);
            }
            Ok(all)
        }
    }
    from.deserialize_any(Items(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct List {
        #[serde(default, deserialize_with = "items")]
        items: Vec<u8>,
    }

    #[test]
    fn a_list_is_taken_in_up_to_its_bound() {
        let read = |text: &str| serde_json::from_str::<List>(text).map(|list| list.items);
        assert_eq!(read("{}").unwrap(), [] as [u8; 0]);
        assert_eq!(read(r#"{"items": null}"#).unwrap(), [] as [u8; 0]);
        assert_eq!(read(r#"{"items": [1, 2]}"#).unwrap(), [1, 2]);
        assert!(read(r#"{"items": 1}"#).unwrap_err().to_string().contains("a list of at most 300000 items"));
        let many = |count: usize| format!(r#"{{"items": [0{}]}}"#, ",0".repeat(count - 1));
        assert_eq!(read(&many(ITEMS_MAX)).unwrap().len(), ITEMS_MAX);
        assert!(read(&many(ITEMS_MAX + 1)).unwrap_err().to_string().contains("more than 300000 items"));
    }
}
