//! What a client accepts, and which form of an answer that gives.

use http::HeaderMap;
use http::header::ACCEPT;
use twin::Status;

/// Most media ranges looked at.
const RANGES_MAX: usize = 32;

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects.
    Object,
    /// `Table`.
    Table,
    /// `PartialObjectMetadata` or a list of them.
    Metadata,
    /// Aggregated discovery.
    Discovery,
}

/// The media ranges of an `Accept` header, best first.
#[derive(Clone, Debug)]
pub(crate) struct Accept(Vec<Form>);

fn parameter<'a>(parts: &[&'a str], name: &str) -> &'a str {
    parts
        .iter()
        .find_map(|part| part.split_once('=').filter(|(key, _)| key.trim() == name))
        .map_or("", |(_, value)| value.trim())
}

fn form(range: &str) -> Option<Form> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !matches!(media, "application/json" | "application/*" | "*/*" | "*") {
        return None;
    }
    let parts: Vec<&str> = parts.collect();
    let (group, version) = (parameter(&parts, "g"), parameter(&parts, "v"));
    match parameter(&parts, "as") {
        "" => Some(Form::Object),
        "Table" if group == "meta.k8s.io" && version == "v1" => Some(Form::Table),
        "PartialObjectMetadata" | "PartialObjectMetadataList"
            if group == "meta.k8s.io" && version == "v1" =>
        {
            Some(Form::Metadata)
        }
        "APIGroupDiscoveryList" if group == "apidiscovery.k8s.io" && version == "v2" => Some(Form::Discovery),
        _ => None,
    }
}

impl Accept {
    /// Reads the header; none means everything is accepted.
    pub fn parse(headers: &HeaderMap) -> Accept {
        let texts: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
        if texts.iter().all(|t| t.trim().is_empty()) {
            return Accept(vec![Form::Object]);
        }
        Accept(texts.iter().flat_map(|t| t.split(',')).take(RANGES_MAX).filter_map(form).collect())
    }
    /// The first form accepted among those there are; 406 when there is none.
    pub fn choose(&self, offered: &[Form]) -> Result<Form, Status> {
        self.0.iter().copied().find(|form| offered.contains(form)).ok_or_else(|| {
            let message = "only the following media types are accepted: application/json";
            Status::new(406, "NotAcceptable", message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(text: &str) -> Result<Form, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        Accept::parse(&headers)
            .choose(&[Form::Object, Form::Table, Form::Metadata])
            .map_err(|status| status.code)
    }

    #[test]
    fn the_first_form_on_offer_is_taken() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(choose(&format!("{table},application/json")), Ok(Form::Table));
        assert_eq!(
            choose(&format!("application/json;as=Table;v=v1beta1;g=meta.k8s.io,{table}")),
            Ok(Form::Table)
        );
        assert_eq!(choose("application/vnd.kubernetes.protobuf,application/json"), Ok(Form::Object));
        assert_eq!(choose("application/json;stream=watch"), Ok(Form::Object));
        assert_eq!(choose("*/*"), Ok(Form::Object));
        assert_eq!(choose("application/vnd.kubernetes.protobuf"), Err(406));
    }
}
