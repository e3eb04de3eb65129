//! What a client accepts, and which form of an answer that gives.

use crate::protobuf;
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

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// JSON.
    Json,
    /// Kubernetes' protobuf.
    Protobuf,
}

/// The media ranges of an `Accept` header, best first.
#[derive(Clone, Debug)]
pub(crate) struct Accept(Vec<(Form, Media)>);

fn parameter<'a>(parts: &[&'a str], name: &str) -> &'a str {
    parts
        .iter()
        .find_map(|part| part.split_once('=').filter(|(key, _)| key.trim() == name))
        .map_or("", |(_, value)| value.trim())
}

fn form(range: &str) -> Option<(Form, Media)> {
    let mut parts = range.split(';').map(str::trim);
    let media = match parts.next().unwrap_or_default() {
        "application/json" | "application/*" | "*/*" | "*" => Media::Json,
        protobuf::MEDIA => Media::Protobuf,
        _ => return None,
    };
    let parts: Vec<&str> = parts.collect();
    let (group, version) = (parameter(&parts, "g"), parameter(&parts, "v"));
    let form = match parameter(&parts, "as") {
        "" => Some(Form::Object),
        "Table" if group == "meta.k8s.io" && version == "v1" => Some(Form::Table),
        "PartialObjectMetadata" | "PartialObjectMetadataList"
            if group == "meta.k8s.io" && version == "v1" =>
        {
            Some(Form::Metadata)
        }
        "APIGroupDiscoveryList" if group == "apidiscovery.k8s.io" && version == "v2" => Some(Form::Discovery),
        _ => None,
    };
    form.map(|form| (form, media))
}

impl Accept {
    /// Reads the header; none means everything is accepted.
    pub fn parse(headers: &HeaderMap) -> Accept {
        let texts: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
        if texts.iter().all(|t| t.trim().is_empty()) {
            return Accept(vec![(Form::Object, Media::Json)]);
        }
        Accept(texts.iter().flat_map(|t| t.split(',')).take(RANGES_MAX).filter_map(form).collect())
    }
    /// The first form accepted among those there are in JSON; 406 when there is none.
    pub fn choose(&self, offered: &[Form]) -> Result<Form, Status> {
        self.choose_of(offered, false).map(|(form, _)| form)
    }
    /// The first form accepted among those there are, and how it is written; `protobuf`: whether there is any of the objects.
    /// Of their metadata there always is, of tables and discovery never. 406 when nothing fits.
    pub fn choose_of(&self, offered: &[Form], protobuf: bool) -> Result<(Form, Media), Status> {
        let is_there = |(form, media): &(Form, Media)| {
            let written = match (form, media) {
                (_, Media::Json) | (Form::Metadata, _) => true,
                (Form::Object, Media::Protobuf) => protobuf,
                (Form::Table | Form::Discovery, Media::Protobuf) => false,
            };
            written && offered.contains(form)
        };
        self.0.iter().copied().find(is_there).ok_or_else(|| {
            let also = if protobuf { ", application/vnd.kubernetes.protobuf" } else { "" };
            let message = format!("only the following media types are accepted: application/json{also}");
            Status::new(406, "NotAcceptable", message)
        })
    }
    /// How a refusal is written.
    pub fn first(&self) -> Media {
        self.0.first().map_or(Media::Json, |(_, media)| *media)
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

    #[test]
    fn protobuf_is_given_where_there_is_any() {
        let choose = |text: &str, protobuf: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, text.parse().unwrap());
            let offered = [Form::Object, Form::Table, Form::Metadata];
            Accept::parse(&headers).choose_of(&offered, protobuf).map_err(|status| status.code)
        };
        let (media, as_) = ("application/vnd.kubernetes.protobuf", ";g=meta.k8s.io;v=v1;as=");
        assert_eq!(choose(&format!("{media},*/*"), true), Ok((Form::Object, Media::Protobuf)));
        assert_eq!(choose(&format!("{media},*/*"), false), Ok((Form::Object, Media::Json)));
        assert_eq!(choose(&format!("{media};stream=watch"), true), Ok((Form::Object, Media::Protobuf)));
        assert_eq!(choose(&format!("application/json,{media}"), true), Ok((Form::Object, Media::Json)));
        assert_eq!(choose(media, false), Err(406));
        assert_eq!(choose(&format!("{media}{as_}Table"), true), Err(406));
        let metadata = format!("{media}{as_}PartialObjectMetadata");
        assert_eq!(choose(&metadata, false), Ok((Form::Metadata, Media::Protobuf)));
    }
}
