//! Query parameters.

use crate::route;
use http::Uri;
use twin::Status;

/// Most parameters read.
const PARAMETERS_MAX: usize = 64;

/// A request's query parameters, in order.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads them; 400 when they are not percent-encoded UTF-8 or too many.
    pub fn parse(uri: &Uri) -> Result<Query, Status> {
        let text = uri.query().unwrap_or_default();
        let pairs: Vec<&str> = text.split('&').filter(|p| !p.is_empty()).collect();
        if pairs.len() > PARAMETERS_MAX {
            let found = pairs.len();
            return Err(Status::bad_request(format!(
                "{found} query parameters, expected at most {PARAMETERS_MAX}"
            )));
        }
        let decode = |text: &str| {
            route::decode(&text.replace('+', " "))
                .ok_or_else(|| Status::bad_request("the query is not percent-encoded UTF-8"))
        };
        let mut all = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            all.push((decode(key)?, decode(value)?));
        }
        Ok(Query(all))
    }
    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    /// The first value, unless it is empty.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }
    /// Whether a switch is on: `watch`, `watch=1`, `watch=true`.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value, "0" | "false" | "f" | "F" | "FALSE" | "False"))
    }
    /// A whole number; 400 when it is something else.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.filled(name) else { return Ok(None) };
        let wrong = |_| {
            Status::bad_request(format!("query parameter {name}: found {text:?}, expected a whole number"))
        };
        text.parse().map(Some).map_err(wrong)
    }
    /// Whether `dryRun=All`; any other value is a 400.
    pub fn dry_run(&self) -> Result<bool, Status> {
        match self.filled("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(Status::bad_request(format!(
                "Invalid value: {other:?}: dryRun: supported values: \"All\""
            ))),
        }
    }
}
