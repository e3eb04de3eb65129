//! Everything a cluster has of some kinds, read once, page by page.
//!
//! Invariants: only GET; every request is under a timeout and tried again a few times after growing delays; all
//! pages of a collection are of one resourceVersion, and where the server still has it, of the one asked for, so
//! that what was read of several kinds fits together. Of Secrets the server is asked for a table, which has their
//! names, types and how many entries they have, but no content. Left out: what is done with what was read.

use super::about::words;
use super::backoff::Backoff;
use super::pager::Pager;
use kube::api::ListParams;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Longest one page may take.
pub const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects asked for at a time, as client-go does.
const PAGE_SIZE: u32 = 500;
/// Most pages of one collection: half a million objects.
const PAGES_MAX: usize = 1000;
/// How often one page is asked for before the collection counts as one that cannot be read.
const ATTEMPTS_MAX: u32 = 4;
/// How often a collection is begun anew because its version had been compacted away meanwhile.
const BEGINNINGS_MAX: u32 = 3;

/// In what form a collection is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Whole objects.
    Objects,
    /// Their metadata.
    Metadata,
    /// Names and the column `Type` of the server's table.
    Types,
}

/// A collection to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Its path, e.g. `/apis/batch/v1/jobs`.
    pub path: String,
    /// In what form.
    pub form: Form,
}

/// What comes of a collection while it is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Page {
    /// More objects; `left`: about how many are to come.
    Items {
        /// The objects.
        items: Vec<Value>,
        /// As the server reckons.
        left: u64,
    },
    /// It is read anew from the start: what came before of it is void.
    Again,
}

/// Why a collection was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The server does not serve the kind, or not to us (401, 403, 404, 405): the others may be read all the same.
    #[error("{0}")]
    Refused(String),
    /// It did not answer, or not in a way that can be read.
    #[error("{0}")]
    Failed(String),
    /// Whoever takes the pages wants no more.
    #[error("{0}")]
    Stopped(String),
}

enum Trouble {
    Gone,
    Is(Unread),
}

/// Version of the API server, e.g. `v1.36.3`.
///
/// # Errors
/// In words.
pub async fn server_version(client: &kube::Client) -> Result<String, String> {
    match timeout(PAGE_TIMEOUT, client.apiserver_version()).await {
        Ok(answer) => answer.map(|info| info.git_version).map_err(|e| words(&e)),
        Err(_) => Err(format!("no answer within {} s", PAGE_TIMEOUT.as_secs())),
    }
}

/// Reads a collection, at the version `at` if the server still has it; gives the version it was read at.
///
/// # Errors
/// When it cannot be read, or `take` wants no more.
pub async fn read(
    client: &kube::Client,
    collection: &Collection,
    at: Option<&str>,
    take: &mut (dyn FnMut(Page) -> Result<(), String> + Send),
) -> Result<String, Unread> {
    let mut at = at.map(str::to_owned);
    for _ in 0..BEGINNINGS_MAX {
        match read_at(client, collection, at.as_deref(), take).await {
            Ok(version) => return Ok(version),
            Err(Trouble::Is(unread)) => return Err(unread),
            Err(Trouble::Gone) => {
                at = None;
                take(Page::Again).map_err(Unread::Stopped)?;
            }
        }
    }
    Err(Unread::Failed(format!(
        "GET {}: its version was compacted away {BEGINNINGS_MAX} times while it was read",
        collection.path
    )))
}

async fn read_at(
    client: &kube::Client,
    collection: &Collection,
    at: Option<&str>,
    take: &mut (dyn FnMut(Page) -> Result<(), String> + Send),
) -> Result<String, Trouble> {
    let mut pager = Pager::new(PAGE_SIZE, PAGES_MAX, at);
    while let Some(params) = pager.ask() {
        let mut page = page(client, collection, params, at.is_some()).await?;
        let meta = page["metadata"].take();
        let items = items(collection.form, page);
        let left = meta["remainingItemCount"].as_u64().unwrap_or(0);
        take(Page::Items { items, left }).map_err(|why| Trouble::Is(Unread::Stopped(why)))?;
        if !pager.goes_on(meta["continue"].as_str()) {
            return Ok(meta["resourceVersion"].as_str().unwrap_or_default().to_owned());
        }
    }
    let why = format!("GET {}: more than {PAGES_MAX} pages", collection.path);
    Err(Trouble::Is(Unread::Failed(why)))
}

/// One page, whatever its form.
async fn page(
    client: &kube::Client,
    collection: &Collection,
    params: &ListParams,
    exact: bool,
) -> Result<Value, Trouble> {
    let path = &collection.path;
    let failed = |why: String| Trouble::Is(Unread::Failed(format!("GET {path}: {why}")));
    let mut backoff = Backoff::new(path);
    let mut last = String::new();
    for attempt in 0..ATTEMPTS_MAX {
        if attempt > 0 {
            sleep(backoff.delay()).await;
        }
        let request = request(collection, params).map_err(|e| failed(e.to_string()))?;
        last = match timeout(PAGE_TIMEOUT, client.request::<Value>(request)).await {
            Ok(Ok(page)) => return Ok(page),
            Err(_) => format!("no answer within {} s", PAGE_TIMEOUT.as_secs()),
            Ok(Err(kube::Error::Api(status))) if status.code == 410 => return Err(Trouble::Gone),
            // Servers that do not know exact versions, or not this one, say so in several ways.
            Ok(Err(kube::Error::Api(status))) if exact && matches!(status.code, 400 | 422 | 504) => {
                return Err(Trouble::Gone);
            }
            Ok(Err(error)) => match &error {
                kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404 | 405) => {
                    return Err(Trouble::Is(Unread::Refused(words(&error))));
                }
                error => words(error),
            },
        };
    }
    Err(failed(format!("{last} ({ATTEMPTS_MAX} attempts)")))
}

fn request(
    collection: &Collection,
    params: &ListParams,
) -> Result<http::Request<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
    let of = kube::core::Request::new(collection.path.clone());
    let mut request = match collection.form {
        Form::Metadata => of.list_metadata(params)?,
        Form::Objects | Form::Types => of.list(params)?,
    };
    if collection.form == Form::Types {
        let table = http::HeaderValue::from_static("application/json;as=Table;g=meta.k8s.io;v=v1");
        request.headers_mut().insert(http::header::ACCEPT, table);
    }
    Ok(request)
}

/// The objects of a page.
fn items(form: Form, mut page: Value) -> Vec<Value> {
    let taken = |value: &mut Value| match value.take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    if form != Form::Types {
        return taken(&mut page["items"]);
    }
    let columns = taken(&mut page["columnDefinitions"]);
    let at = columns.iter().position(|column| column["name"] == "Type");
    let row = |row: Value| {
        let meta = &row["object"]["metadata"];
        let named = ["name", "namespace", "uid", "creationTimestamp"];
        let kept = named.iter().filter_map(|key| Some(((*key).to_owned(), meta.get(*key)?.clone())));
        let kept: serde_json::Map<String, Value> = kept.collect();
        let kind = at.map(|at| row["cells"][at].clone()).unwrap_or_default();
        json!({"metadata": kept, "type": kind})
    };
    taken(&mut page["rows"]).into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tables_rows_are_names_and_types() {
        let row = json!({"cells": ["s", "Opaque", 2, "5d"], "object": {"metadata": {
            "name": "s", "namespace": "a", "uid": "u", "annotations": {"last-applied": "hunter2"}}}});
        let columns = json!([{"name": "Name"}, {"name": "Type"}, {"name": "Data"}, {"name": "Age"}]);
        let page = json!({"kind": "Table", "columnDefinitions": columns, "rows": [row]});
        let expected = json!({"metadata": {"name": "s", "namespace": "a", "uid": "u"}, "type": "Opaque"});
        assert_eq!(items(Form::Types, page), [expected]);
    }
}
