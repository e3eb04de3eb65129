//! What a Service is given: addresses within the cluster and ports of the nodes.
//!
//! Kubernetes draws them at random from these ranges; here the lowest free one is given, so that the same requests give
//! the same bytes.

use super::super::Context;
use super::super::field::Errors;
use super::super::status::Status;
use crate::kind::Kind;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Services have addresses in 10.96.0.0/16 (kubeadm's default begins there); the first ones are the system's.
const FIRST: u32 = u32::from_be_bytes([10, 96, 1, 0]);
const LAST: u32 = u32::from_be_bytes([10, 96, 255, 254]);
/// kube-apiserver's default range.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

fn taken(ctx: &Context<'_>, own: (&str, &str)) -> (BTreeSet<String>, BTreeSet<i64>) {
    let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for stored in ctx.objects.list(Kind::document("", "services"), None) {
        if (stored.object.namespace(), stored.object.name()) == own {
            continue;
        }
        let Some(spec) = stored.object.as_document().and_then(|d| d.body.get("spec")) else { continue };
        addresses.extend(spec["clusterIP"].as_str().map(str::to_owned));
        let each = spec["ports"].as_array().into_iter().flatten();
        ports.extend(each.filter_map(|port| port["nodePort"].as_i64()));
        ports.extend(spec["healthCheckNodePort"].as_i64());
    }
    (addresses, ports)
}

/// Gives a Service what it lacks; on an update `old` is what it has.
pub(crate) fn service(ctx: &Context<'_>, old: Option<&Value>, doc: &mut Value) -> Result<(), Status> {
    let text = |doc: &Value, pointer: &str| {
        doc.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (namespace, name) = (text(doc, "/metadata/namespace"), text(doc, "/metadata/name"));
    let of = text(doc, "/spec/type");
    let (mut addresses, mut ports) = taken(ctx, (&namespace, &name));
    let spec = &mut doc["spec"];
    if of == "ExternalName" {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
            spec.as_object_mut().map(|spec| spec.remove(key));
        }
        return Ok(());
    }
    if spec["clusterIP"].as_str().unwrap_or_default().is_empty() {
        let first = spec.pointer("/clusterIPs/0").and_then(Value::as_str).filter(|ip| !ip.is_empty());
        let kept = old.and_then(|old| old.pointer("/spec/clusterIP")).and_then(Value::as_str);
        let address = first.or(kept.filter(|ip| !ip.is_empty())).map(str::to_owned);
        let free =
            || (FIRST..=LAST).map(|n| Ipv4Addr::from(n).to_string()).find(|ip| !addresses.contains(ip));
        let address =
            address.or_else(free).ok_or_else(|| Status::new(500, "InternalError", "range is full"))?;
        spec["clusterIP"] = json!(address);
    }
    let address = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    if address != "None" && !addresses.insert(address.clone()) {
        let mut errors = Errors::default();
        errors.invalid(
            "spec.clusterIPs",
            &json!([address]),
            "failed to allocate IP: provided IP is already allocated",
        );
        return Err(Status::invalid(Kind::document("", "services").resource(), &name, errors.into_causes()));
    }
    if spec["clusterIPs"].as_array().is_none_or(Vec::is_empty) {
        spec["clusterIPs"] = json!([address]);
    }
    for (key, value) in [("ipFamilies", json!(["IPv4"])), ("ipFamilyPolicy", json!("SingleStack"))] {
        if spec[key].is_null() {
            spec[key] = value;
        }
    }
    let wants =
        of == "NodePort" || (of == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != json!(false));
    let kept =
        old.and_then(|old| old.pointer("/spec/ports")).and_then(Value::as_array).cloned().unwrap_or_default();
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        if !wants || port["nodePort"].as_i64().is_some_and(|p| p > 0) {
            ports.extend(port["nodePort"].as_i64());
            continue;
        }
        let same = |had: &&Value| had["port"] == port["port"] && had["protocol"] == port["protocol"];
        let had =
            kept.iter().find(same).and_then(|had| had["nodePort"].as_i64()).filter(|p| !ports.contains(p));
        let free = had.or_else(|| NODE_PORTS.clone().find(|p| !ports.contains(p)));
        let free = free.ok_or_else(|| {
            Status::new(500, "InternalError", "failed to allocate a nodePort: range is full")
        })?;
        ports.insert(free);
        port["nodePort"] = json!(free);
    }
    Ok(())
}
