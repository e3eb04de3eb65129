//! What requests carry: pages of lists, and bodies.

use crate::problem::Problem;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Items in an answer, at most.
pub const LIMIT_MAX: usize = 1000;

/// Items in an answer when nothing is said.
pub const LIMIT: usize = 200;

/// Which part of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageAsk {
    /// How many items, 1 to 1000 (200 if absent).
    pub limit: Option<usize>,
    /// Only what comes behind the item of this name: the `next` of the page before.
    pub after: Option<String>,
}

impl PageAsk {
    /// The limit, checked.
    pub fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(LIMIT) {
            limit if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            found => Err(Problem::invalid(format!("query limit: {found}: expected 1 to {LIMIT_MAX}"))),
        }
    }
}

/// Some items of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Pass this as `after` for the items that follow; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many there are in all.
    pub total: usize,
}

/// The part of `all` that was asked for; `name` gives an item's cursor.
pub fn page<A, T>(
    all: &[A],
    ask: &PageAsk,
    name: impl Fn(&A) -> String,
    out: impl Fn(&A) -> T,
) -> Result<Page<T>, Problem> {
    let limit = ask.limit()?;
    let from = match &ask.after {
        None => 0,
        Some(after) => match all.iter().position(|item| name(item) == *after) {
            Some(index) => index + 1,
            None => {
                let shown: String = after.chars().take(80).collect();
                return Err(Problem::invalid(format!(
                    "query after: \"{shown}\": expected the name of an item"
                ))
                .hint("an item that is gone is no place to go on from: begin again without after"));
            }
        },
    };
    let to = (from + limit).min(all.len());
    let next = (to < all.len() && to > from).then(|| name(&all[to - 1]));
    Ok(Page { items: all[from..to].iter().map(out).collect(), next, total: all.len() })
}

/// Query parameters, refused as a problem.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asked<T>, Problem> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        Ok(Asked(query?.0))
    }
}

/// A JSON body, bounded, refused as a problem that says the line and column.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<JsonBody<T>, Problem> {
        let body: Result<Bytes, BytesRejection> = Bytes::from_request(request, state).await;
        serde_json::from_slice(&body?).map(JsonBody).map_err(|error| Problem::json(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_up() {
        let all: Vec<u32> = (0..7).collect();
        let name = |n: &u32| n.to_string();
        let mut seen = Vec::new();
        let mut ask = PageAsk { limit: Some(3), after: None };
        for _ in 0..10 {
            let part = page(&all, &ask, name, |n| *n).unwrap();
            assert_eq!(part.total, 7);
            seen.extend(part.items);
            match part.next {
                Some(next) => ask.after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, all);
        assert!(page(&all, &PageAsk { limit: None, after: Some("x".into()) }, name, |n| *n).is_err());
        for limit in [0, LIMIT_MAX + 1] {
            assert!(PageAsk { limit: Some(limit), after: None }.limit().is_err(), "{limit}");
        }
    }
}
