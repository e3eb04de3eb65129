//! Faults in a scenario file: what goes wrong, and for how long.

use super::file::{Error, field, span};
use super::{Action, LENGTH_MAX, Step};
use crate::apiserver::quantity::{NANO, Quantity};
use crate::fault::{ApiFault, ERRORS_PERCENT_MAX, Fault, LATENCY_MAX};
use fleet::{Bytes, Span};
use serde::Deserialize;
use serde_json::Value;

/// One of these.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FaultFile {
    #[serde(default)]
    crash: Option<String>,
    #[serde(default)]
    partition: Option<String>,
    #[serde(default)]
    slow: Option<SlowFile>,
    #[serde(default)]
    disk: Option<DiskFile>,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    registry: Option<Value>,
    #[serde(default)]
    metrics: Option<Value>,
    #[serde(default)]
    api: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SlowFile {
    node: String,
    speed_percent: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskFile {
    node: String,
    used: String,
}

/// The only thing that can be said of what is there or not.
fn down(path: &str, stated: &Value) -> Result<(), Error> {
    if stated == "down" { Ok(()) } else { Err(field(path, stated, "down")) }
}

fn slow(path: &str, own: SlowFile) -> Result<Fault, Error> {
    if !(1..=99).contains(&own.speed_percent) {
        return Err(field(format!("{path}.speedPercent"), own.speed_percent, "a percentage from 1 to 99"));
    }
    Ok(Fault::Slow(own.node, own.speed_percent))
}

fn disk(path: &str, own: DiskFile) -> Result<Fault, Error> {
    let bytes = Quantity::parse(&own.used).ok().map(|quantity| quantity.nanos() / NANO);
    let bytes = bytes.and_then(|bytes| i64::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
    let bytes = bytes
        .ok_or_else(|| field(format!("{path}.used"), format!("{:?}", own.used), "bytes such as 70Gi"))?;
    Ok(Fault::Disk(own.node, Bytes::from_bytes(bytes)))
}

fn api(path: &str, stated: &Value) -> Result<Fault, Error> {
    if stated == "down" {
        return Ok(Fault::Api(ApiFault::Down));
    }
    let wrong = || field(path, stated, "down, or errorsPercent and latency, at least one of them");
    let all = stated.as_object().filter(|all| !all.is_empty()).ok_or_else(wrong)?;
    let (mut errors_percent, mut latency) = (0, Span::ZERO);
    for (key, value) in all {
        match key.as_str() {
            "errorsPercent" => {
                let percent = value.as_u64().filter(|percent| *percent <= u64::from(ERRORS_PERCENT_MAX));
                let expected = format!("a percentage from 0 to {ERRORS_PERCENT_MAX}");
                let wrong = || field(format!("{path}.errorsPercent"), value, expected);
                errors_percent = u32::try_from(percent.ok_or_else(wrong)?).unwrap_or(ERRORS_PERCENT_MAX);
            }
            "latency" => {
                latency = span(&format!("{path}.latency"), value.as_str().unwrap_or_default(), LATENCY_MAX)?;
            }
            _ => return Err(wrong()),
        }
    }
    Ok(Fault::Api(ApiFault::Poor { errors_percent, latency }))
}

impl FaultFile {
    fn read(self, path: &str) -> Result<Fault, Error> {
        let mut all = Vec::new();
        all.extend(self.crash.map(Fault::Crash));
        all.extend(self.partition.map(Fault::Partition));
        all.extend(self.zone.map(Fault::Zone));
        all.extend(self.slow.map(|own| slow(&format!("{path}.slow"), own)).transpose()?);
        all.extend(self.disk.map(|own| disk(&format!("{path}.disk"), own)).transpose()?);
        for (name, stated, fault) in
            [("registry", self.registry, Fault::Registry), ("metrics", self.metrics, Fault::Metrics)]
        {
            if let Some(stated) = stated {
                down(&format!("{path}.{name}"), &stated)?;
                all.push(fault);
            }
        }
        all.extend(self.api.map(|own| api(&format!("{path}.api"), &own)).transpose()?);
        let expected = "one of crash, partition, slow, disk, zone, registry, metrics, api";
        match <[Fault; 1]>::try_from(all) {
            Ok([fault]) => Ok(fault),
            Err(all) => Err(field(path, format!("{} faults", all.len()), expected)),
        }
    }
}

/// The steps a fault comes to: its beginning at `at`, and its end, if it lasts for a stated time.
pub(super) fn steps(
    path: &str,
    own: FaultFile,
    (at, lasts): (Span, Option<&str>),
    length: Span,
) -> Result<(Step, Option<Step>), Error> {
    let fault = own.read(&format!("{path}.fault"))?;
    let lasts = lasts.map(|text| span(&format!("{path}.for"), text, LENGTH_MAX)).transpose()?;
    let end = lasts.map(|lasts| at + lasts).filter(|end| *end <= length);
    let end = end.map(|at| Step { at, action: Action::EndFault(fault.clone()) });
    Ok((Step { at, action: Action::BeginFault(fault) }, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(stated: Value) -> Result<Fault, String> {
        let file: FaultFile = serde_json::from_value(stated).map_err(|error| error.to_string())?;
        file.read("steps[0].fault").map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_wrong_with_a_fault_is_named() {
        assert_eq!(read(json!({"partition": "a"})), Ok(Fault::Partition("a".into())));
        assert_eq!(read(json!({"api": "down"})), Ok(Fault::Api(ApiFault::Down)));
        let poor = ApiFault::Poor { errors_percent: 30, latency: Span::from_seconds(2) };
        assert_eq!(read(json!({"api": {"errorsPercent": 30, "latency": "2s"}})), Ok(Fault::Api(poor)));
        for (stated, said) in [
            (json!({"crash": "a", "zone": "b"}), "steps[0].fault: 2 faults: expected one of crash, "),
            (json!({"registry": "slow"}), "steps[0].fault.registry: \"slow\": expected down"),
            (
                json!({"slow": {"node": "a", "speedPercent": 100}}),
                "steps[0].fault.slow.speedPercent: 100: expected",
            ),
            (
                json!({"disk": {"node": "a", "used": "much"}}),
                "steps[0].fault.disk.used: \"much\": expected bytes",
            ),
            (
                json!({"api": {"errorsPercent": 96}}),
                "steps[0].fault.api.errorsPercent: 96: expected a percentage",
            ),
            (json!({"api": {"latency": "2m"}}), "steps[0].fault.api.latency: \"2m\": expected a duration"),
            (json!({"api": {"mood": "bad"}}), "steps[0].fault.api: {\"mood\":\"bad\"}: expected down, or"),
        ] {
            let found = read(stated).unwrap_err();
            assert!(found.starts_with(said), "{found}");
        }
    }
}
