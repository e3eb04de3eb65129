//! One page of a list, taken in object by object: what is not wanted of an object is gone before the next one is read.
//!
//! A page of typed objects takes several times its JSON in memory, and at the start every kind of every cluster lists at
//! once. So of a page only the bytes and what is made of each object are held, and no more than [`AT_A_TIME`] pages, in
//! either form, are held in the process. Invariant: only bodies wait for their turn, never requests: a cluster that does not
//! answer holds nobody back. Units: bytes.

use bytes::Bytes;
use http::Response;
use kube::api::ListParams;
use kube::client::Body;
use kube::core::{Request, Status};
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A turn: it is over when this is dropped.
pub(super) type Turn = Option<SemaphorePermit<'static>>;

/// Pages held at a time, over all clusters: reading one is work for one core.
pub(super) const AT_A_TIME: usize = 4;

/// Turns for [`AT_A_TIME`].
static TURNS: Semaphore = Semaphore::const_new(AT_A_TIME);

/// What was made of a page.
#[derive(Debug)]
pub(super) struct Page<T> {
    /// In the server's order.
    pub items: Vec<T>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<String>,
    /// The version the list is at.
    pub version: Option<String>,
}

/// Asks for a page; comes back with its head.
pub(super) async fn ask(
    client: &kube::Client,
    url: &str,
    params: &ListParams,
) -> Result<Response<Body>, kube::Error> {
    let request = Request::new(url).list(params).map_err(kube::Error::BuildRequest)?;
    let answer = client.send(request.map(Body::from)).await?;
    let status = answer.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return Ok(answer);
    }
    let body = answer.into_body().collect_bytes().await?;
    let said = serde_json::from_slice::<Status>(&body).unwrap_or_else(|_| {
        // A proxy's page, not an API server's word.
        let text = String::from_utf8_lossy(&body);
        Status::failure(text.trim(), "Failed to parse error data").with_code(status.as_u16())
    });
    Err(kube::Error::Api(said.boxed()))
}

/// Waits for a turn. It is always one's turn in the end: nobody closes it.
pub(super) async fn turn() -> Turn {
    TURNS.acquire().await.ok()
}

/// Reads a page; `take` makes of each object what is kept.
pub(super) fn read<K: DeserializeOwned, T>(
    body: &Bytes,
    take: &mut dyn FnMut(K) -> T,
) -> Result<Page<T>, kube::Error> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let list = List { take, kind: PhantomData };
    let page = list.deserialize(&mut json).and_then(|page| json.end().map(|()| page));
    page.map_err(kube::Error::SerdeError)
}

/// A list as the API gives it.
struct List<'a, K, T> {
    take: &'a mut dyn FnMut(K) -> T,
    kind: PhantomData<fn() -> K>,
}

/// Its items; `null`, as Go writes no items, is none.
struct Items<'a, K, T> {
    take: &'a mut dyn FnMut(K) -> T,
    kind: PhantomData<fn() -> K>,
}

/// Its metadata.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    #[serde(rename = "continue")]
    next: Option<String>,
    resource_version: Option<String>,
}

/// A field of a list.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
enum Field {
    Metadata,
    Items,
    #[serde(other)]
    Other,
}

impl<'de, K: DeserializeOwned, T> DeserializeSeed<'de> for List<'_, K, T> {
    type Value = Page<T>;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Page<T>, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, K: DeserializeOwned, T> Visitor<'de> for List<'_, K, T> {
    type Value = Page<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list with metadata and items")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page<T>, A::Error> {
        let (mut meta, mut items) = (None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Metadata => meta = map.next_value::<Option<Meta>>()?,
                Field::Items => {
                    items = Some(map.next_value_seed(Items { take: &mut *self.take, kind: PhantomData })?);
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        // A Status, or anything else that is no list, has no items.
        let items = items.ok_or_else(|| A::Error::missing_field("items"))?;
        let Meta { next, resource_version } = meta.unwrap_or_default();
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Page { items, next: said(next), version: said(resource_version) })
    }
}

impl<'de, K: DeserializeOwned, T> DeserializeSeed<'de> for Items<'_, K, T> {
    type Value = Vec<T>;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Vec<T>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, K: DeserializeOwned, T> Visitor<'de> for Items<'_, K, T> {
    type Value = Vec<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("items")
    }
    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(object) = seq.next_element::<K>()? {
            all.push((self.take)(object));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    type Read = (Vec<String>, Option<String>, Option<String>);

    fn read_names(text: &str) -> Result<Read, String> {
        let mut name = |pod: Pod| pod.metadata.name.unwrap_or_default();
        let page = read(&Bytes::from(text.to_owned()), &mut name).map_err(|error| error.to_string())?;
        Ok((page.items, page.next, page.version))
    }

    #[test]
    fn objects_are_made_of_one_after_the_other() {
        let text = r#"{"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"},
            "spec": {"containers": [{"name": "c"}]}}], "metadata": {"resourceVersion": "7", "continue": "x", "remainingItemCount": 9}}"#;
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(read_names(text), Ok((named(&["a", "b"]), Some("x".to_owned()), Some("7".to_owned()))));
        for none in [
            r#"{"items": null, "metadata": {"resourceVersion": "", "continue": ""}}"#,
            r#"{"metadata": null, "items": []}"#,
        ] {
            assert_eq!(read_names(none), Ok((Vec::new(), None, None)));
        }
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_place() {
        for (text, said) in [
            (r#"{"metadata": {}}"#, "missing field `items`"),
            (r#"{"items": {}}"#, "expected items"),
            (r#"[]"#, "expected a list with metadata and items"),
            (r#"{"items": [{"metadata": {"name": 7}}]}"#, "line 1 column"),
            (r#"{"items": [{"metadata": {"#, "EOF while parsing"),
            (r#"{"items": []} x"#, "trailing characters"),
        ] {
            let error = read_names(text).unwrap_err();
            assert!(error.contains(said), "{error}: expected {said}");
        }
    }
}
