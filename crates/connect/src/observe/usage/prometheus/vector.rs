//! An answer to an instant query: a vector of samples, with the labels that name pods and nodes.
//!
//! Invariants: what is not a vector, or not a success, is refused in words; samples are numbers in strings, as
//! Prometheus writes them, and one that is no finite number is told apart. Other labels are not kept.

use super::super::bounded::items;
use fleet::NodeName;
use serde::Deserialize;
use std::borrow::Cow;
use std::net::IpAddr;

/// Longest text of a server that is repeated, in characters.
const SAID_MAX: usize = 200;
/// Longest namespace and name of a pod, in bytes.
const NAME_MAX: usize = 253;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "items")]
    warnings: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    result_type: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "items")]
    result: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    metric: Label<'a>,
    /// Unix seconds, and the value; absent: a histogram.
    #[serde(borrow, default)]
    value: Option<(f64, Cow<'a, str>)>,
}

/// The labels of a series that may name whom it is of.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Label<'a> {
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    pod: Cow<'a, str>,
    #[serde(borrow)]
    exported_namespace: Cow<'a, str>,
    #[serde(borrow)]
    exported_pod: Cow<'a, str>,
    #[serde(borrow)]
    pod_namespace: Cow<'a, str>,
    #[serde(borrow)]
    container_namespace: Cow<'a, str>,
    #[serde(borrow)]
    pod_name: Cow<'a, str>,
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    exported_node: Cow<'a, str>,
    #[serde(borrow)]
    node_name: Cow<'a, str>,
    #[serde(borrow)]
    kubernetes_node: Cow<'a, str>,
    #[serde(borrow)]
    nodename: Cow<'a, str>,
    #[serde(borrow, rename = "Hostname")]
    hostname: Cow<'a, str>,
    #[serde(borrow)]
    exported_instance: Cow<'a, str>,
    #[serde(borrow)]
    instance: Cow<'a, str>,
}

impl Label<'_> {
    /// `NAMESPACE/NAME`; `None`: it is of no pod.
    pub fn pod(&self) -> Option<String> {
        let first = |all: [&Cow<'_, str>; 3]| {
            let found = all.into_iter().find(|text| !text.is_empty() && text.len() <= NAME_MAX);
            found.map(|text| text.to_string())
        };
        let namespace = first([&self.exported_namespace, &self.pod_namespace, &self.namespace]);
        let namespace = namespace.or_else(|| first([&self.container_namespace; 3]))?;
        let pod = first([&self.exported_pod, &self.pod_name, &self.pod])?;
        Some(format!("{namespace}/{pod}"))
    }

    /// The node's name: what a label calls one, else the host of a target's address, unless that is a number.
    pub fn node(&self) -> Option<NodeName> {
        let named = [&self.exported_node, &self.node_name, &self.node, &self.kubernetes_node];
        let hosts = [&self.nodename, &self.hostname, &self.exported_instance, &self.instance];
        let host = |text: &Cow<'_, str>| {
            let host = text.rsplit_once(':').map_or(&**text, |(host, _)| host).to_owned();
            let number = host.parse::<IpAddr>().is_ok() || host.starts_with('[');
            (!number).then_some(host)
        };
        let named = named.into_iter().filter(|text| !text.is_empty()).map(|text| text.to_string());
        let hosts = hosts.into_iter().filter(|text| !text.is_empty()).filter_map(host);
        named.chain(hosts).find_map(|name| NodeName::new(&name).ok())
    }
}

/// A vector as it was answered.
#[derive(Debug)]
pub struct Vector<'a> {
    /// Whom each is of, and how much; `None`: no finite number.
    pub samples: Vec<(Label<'a>, Option<f64>)>,
    /// What the server warns of: results that were cut, above all.
    pub warning: Option<String>,
}

/// Reads an answer.
///
/// # Errors
/// In words: what was found, and what was expected.
pub fn read(body: &[u8]) -> Result<Vector<'_>, String> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|error| format!("{} bytes: {error}: expected a vector in JSON", body.len()))?;
    let short = |text: &str| text.chars().take(SAID_MAX).collect::<String>();
    if answer.status != "success" {
        let error = answer.error.unwrap_or_default();
        return Err(format!("status {:?}: {}: expected success", short(&answer.status), short(&error)));
    }
    let Some(data) = answer.data else { return Err("no data: expected a vector".to_owned()) };
    if data.result_type != "vector" {
        return Err(format!("found a {}: expected a vector", short(&data.result_type)));
    }
    let number = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
    let samples = data.result.into_iter().map(|entry| {
        let value = entry.value.and_then(|(_, text)| number(&text));
        (entry.metric, value)
    });
    Ok(Vector {
        samples: samples.collect(),
        warning: answer.warnings.first().map(|warning| format!("{:?}", short(warning))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(json: &str) -> Label<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn pods_and_nodes_are_named_by_whatever_label_names_them() {
        for (labels, name) in [
            (r#"{"namespace":"a","pod":"b"}"#, Some("a/b")),
            (r#"{"pod_namespace":"a","pod_name":"b","namespace":"kepler","pod":"kepler-x"}"#, Some("a/b")),
            (r#"{"container_namespace":"a","pod_name":"b"}"#, Some("a/b")),
            (r#"{"exported_namespace":"a","exported_pod":"b","namespace":"gpu","pod":"dcgm"}"#, Some("a/b")),
            (r#"{"namespace":"a"}"#, None),
            (r#"{"namespace":"a\u0020b","pod":"c"}"#, Some("a b/c")),
        ] {
            assert_eq!(label(labels).pod().as_deref(), name, "{labels}");
        }
        for (labels, name) in [
            (r#"{"node":"n1","instance":"10.0.0.1:10250"}"#, Some("n1")),
            (r#"{"instance":"n1:9100"}"#, Some("n1")),
            (r#"{"instance":"10.0.0.1:9100","nodename":"n1"}"#, Some("n1")),
            (r#"{"instance":"10.0.0.1:9100"}"#, None),
            (r#"{"instance":"[::1]:9100"}"#, None),
            (r#"{"Hostname":"n1"}"#, Some("n1")),
            (r#"{"exported_node":"n1","node":"of-the-exporter"}"#, Some("n1")),
            ("{}", None),
        ] {
            assert_eq!(label(labels).node().as_ref().map(NodeName::as_str), name, "{labels}");
        }
    }

    #[test]
    fn an_answer_is_a_vector_or_refused_in_words() {
        let read = |text: &'static str| {
            let vector =
                read(text.as_bytes()).map_err(|why| why.split(" at line").next().unwrap().to_owned());
            vector.map(|vector| vector.samples.into_iter().map(|(_, value)| value).collect::<Vec<_>>())
        };
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"pod":"a"},"value":[1777716000.5,"0.25"]},{"metric":{},"value":[1,"NaN"]},
            {"metric":{},"value":[1,"+Inf"]},{"metric":{},"histogram":[1,{}]},{"metric":{},"value":[1,"x"]}]}}"#;
        assert_eq!(read(vector).unwrap(), [Some(0.25), None, None, None, None]);
        for (text, why) in [
            ("", "0 bytes: EOF while parsing a value"),
            ("<html>", "6 bytes: expected value"),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"met"#,
                " bytes: EOF while parsing a string",
            ),
            (
                r#"{"status":"error","errorType":"execution","error":"many-to-many"}"#,
                "status \"error\": many-to-many: expected success",
            ),
            (
                r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
                "found a matrix: expected a vector",
            ),
            (
                r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#,
                " bytes: invalid type: integer `1`, expected ",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,2]}]}}"#,
                " bytes: invalid type: integer `2`, expected a string",
            ),
            (r#"{"status":"success"}"#, "no data: expected a vector"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(why), "{text}: {found}");
        }
    }
}
