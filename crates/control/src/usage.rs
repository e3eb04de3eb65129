//! What nodes and pods really use, as whoever measures it says.
//!
//! Invariants: a report is of one cluster and one window of time; amounts are means over that window (memory: the
//! working set at its end). Who is not in a report was not measured: its requests stand for its use, marked
//! assumed. A report that is older than [`AGE_MAX`] says nothing any more.

use fleet::{Bytes, Cpu, Instant, MoneyPerHour, NodeName, Provenance, RateSource, RatesFrom, Span, Watts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use twin::apiserver::quantity::Quantity;

/// How old a report may be before requests stand in again: metrics-server and Prometheus measure every 15 to 60 s,
/// so that five minutes are several reports missed in a row.
pub const AGE_MAX: Span = Span::from_seconds(300);

/// An amount of CPU as the API writes it, e.g. `1830000n`, exactly; `None`: no quantity, or a negative one.
pub fn cpu(text: &str) -> Option<Cpu> {
    let nanos = Quantity::parse(text).ok()?.nanos();
    i64::try_from(nanos).ok().filter(|nanos| *nanos >= 0).map(Cpu::from_nanos)
}

/// An amount of memory as the API writes it, e.g. `51200Ki`, in whole bytes, rounded up; `None`: no quantity, or a
/// negative one.
pub fn memory(text: &str) -> Option<Bytes> {
    let bytes = Quantity::parse(text).ok()?.units();
    i64::try_from(bytes).ok().filter(|bytes| *bytes >= 0).map(Bytes::from_bytes)
}

/// Where a node's power and price come from, given what a report says of it: what was metered or asked for comes
/// before what was configured.
pub fn rates_from(configured: RatesFrom, used: Option<&NodeUse>) -> RatesFrom {
    RatesFrom {
        power: used.and_then(|used| used.power).map_or(configured.power, |_| RateSource::Kepler),
        price: used.and_then(|used| used.price).map_or(configured.price, |_| RateSource::OpenCost),
    }
}

/// One look at a cluster's use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageReport {
    /// End of the window that was measured.
    pub at: Instant,
    /// Who measured: `metrics.k8s.io`, `prometheus HOST`…
    pub from: Provenance,
    /// By pod, `NAMESPACE/NAME`.
    pub pods: BTreeMap<String, PodUse>,
    /// By node.
    pub nodes: BTreeMap<NodeName, NodeUse>,
}

/// What a pod used: the sum over its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodUse {
    /// Mean over the window.
    pub cpu: Cpu,
    /// Working set.
    pub memory: Bytes,
    /// Power it drew above the node's idle power, at the server; `None`: not measured (only Kepler does).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Watts>,
}

/// What a node used: its pods and the system together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeUse {
    /// Mean over the window.
    pub cpu: Cpu,
    /// Working set.
    pub memory: Bytes,
    /// Power of the whole machine, idle power included, at the server; `None`: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Watts>,
    /// What it costs, where OpenCost says so; `None`: the price of its instance type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<MoneyPerHour>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly() {
        assert_eq!(cpu("1830000n"), Some(Cpu::from_nanos(1_830_000)));
        assert_eq!(cpu("12u"), Some(Cpu::from_nanos(12_000)));
        assert_eq!(cpu("250m"), Some(Cpu::from_millis(250)));
        assert_eq!(memory("51200Ki"), Some(Bytes::from_mib(50)));
        assert_eq!(memory("128974848"), Some(Bytes::from_bytes(128_974_848)));
        for wrong in ["", "-1", "NaN", "1 ", "1ki", "9e30"] {
            assert_eq!((cpu(wrong), memory(wrong)), (None, None), "{wrong}");
        }
    }

    #[test]
    fn what_was_metered_comes_before_what_was_configured() {
        let table = RatesFrom { power: RateSource::Table, price: RateSource::Table };
        let mut used = NodeUse { cpu: Cpu::ZERO, memory: Bytes::ZERO, power: None, price: None };
        assert_eq!(rates_from(table, Some(&used)), table);
        used.price = Some(MoneyPerHour::ZERO);
        assert_eq!(rates_from(table, Some(&used)).price, RateSource::OpenCost);
        used.power = Some(Watts::ZERO);
        assert_eq!(rates_from(table, Some(&used)).power.kind(), fleet::SignalKind::Measured);
        assert_eq!(rates_from(table, None), table);
    }
}
