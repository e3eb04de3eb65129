//! What a fleet file says of how machines come and go: read, bounded and checked.

use super::{Error, check_range, field};
use crate::supply::{
    self, Autoscaler, Delay, Limits, NOTICE, NOTICE_MAX, SCHEDULE_MAX, Shortage, Spot, Supply,
};
use crate::time::Span;
use serde::Deserialize;

/// Shortest and longest time between two looks of the autoscaler.
const SCAN: (Span, Span) = (Span::from_seconds(1), Span::HOUR);

/// The fields of a node group that say so.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DelayParts {
    min: Span,
    median: Span,
    max: Span,
}

/// A delay: one length, or three.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum DelayFile {
    Always(Span),
    Spread(DelayParts),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ShortageFile {
    #[serde(default)]
    at_most: Option<u32>,
    #[serde(default)]
    until: Option<Span>,
}

impl ShortageFile {
    /// Of so many, or none, until then or for good.
    pub(super) fn new(at_most: Option<u32>, until: Option<Span>) -> ShortageFile {
        ShortageFile { at_most: Some(at_most.unwrap_or(0)), until }
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SpotFile {
    #[serde(default)]
    interruptions_per_hour: f64,
    #[serde(default)]
    interrupt_at: Vec<Span>,
    #[serde(default)]
    notice: Option<Span>,
}

/// How many nodes a group may have, if it is autoscaled.
pub(super) fn limits(
    path: &str,
    count: u32,
    min: Option<u32>,
    max: Option<u32>,
) -> Result<Option<Limits>, Error> {
    let Some(max) = max else {
        return match min {
            None => Ok(None),
            Some(min) => Err(field(format!("{path}.min"), min.to_string(), "a max beside it")),
        };
    };
    if max > super::NODES_MAX {
        return Err(field(format!("{path}.max"), max.to_string(), format!("at most {}", super::NODES_MAX)));
    }
    let min = min.unwrap_or(0);
    if min > max {
        return Err(field(format!("{path}.min"), min.to_string(), format!("at most the max of {max}")));
    }
    if !(min..=max).contains(&count) {
        return Err(field(format!("{path}.count"), count.to_string(), format!("from {min} to {max}")));
    }
    Ok(Some(Limits { min, max }))
}

pub(super) fn span(path: &str, found: Span, (low, high): (Span, Span)) -> Result<Span, Error> {
    if (low..=high).contains(&found) {
        return Ok(found);
    }
    Err(field(path, found.to_string(), format!("a duration from {low} to {high}")))
}

fn delay(path: &str, stated: Option<&DelayFile>, default: Delay) -> Result<Delay, Error> {
    let read = match stated {
        None => return Ok(default),
        Some(DelayFile::Always(span)) => Delay::always(*span),
        Some(DelayFile::Spread(DelayParts { min, median, max })) => {
            Delay { min: *min, median: *median, max: *max }
        }
    };
    span(&format!("{path}.min"), read.min, (Span::ZERO, read.median))?;
    span(&format!("{path}.median"), read.median, (Span::ZERO, read.max))?;
    span(path, read.max, (Span::ZERO, supply::DELAY_MAX))?;
    Ok(read)
}

/// How machines of a group come and go.
pub(super) fn supply(
    path: &str,
    (boot, join): (Option<&DelayFile>, Option<&DelayFile>),
    shortage: Option<&ShortageFile>,
    spot: Option<&SpotFile>,
) -> Result<Supply, Error> {
    let shortage = match shortage {
        Some(ShortageFile { at_most: None, until: None }) => {
            return Err(field(format!("{path}.shortage"), "nothing", "atMost, until, or both"));
        }
        stated => stated.map(|s| Shortage { at_most: s.at_most.unwrap_or(0), until: s.until }),
    };
    let spot = spot.map(|stated| self::spot(&format!("{path}.spot"), stated)).transpose()?;
    Ok(Supply {
        boot: delay(&format!("{path}.bootTime"), boot, supply::BOOT)?,
        join: delay(&format!("{path}.joinTime"), join, supply::JOIN)?,
        shortage,
        spot,
    })
}

fn spot(path: &str, stated: &SpotFile) -> Result<Spot, Error> {
    let (per_hour, notice) = (stated.interruptions_per_hour, stated.notice.unwrap_or(NOTICE));
    check_range(&format!("{path}.interruptionsPerHour"), per_hour, 0.0, supply::INTERRUPTIONS_MAX)?;
    if stated.interrupt_at.len() > SCHEDULE_MAX {
        let found = format!("{} entries", stated.interrupt_at.len());
        return Err(field(format!("{path}.interruptAt"), found, format!("at most {SCHEDULE_MAX}")));
    }
    let mut at = stated.interrupt_at.clone();
    at.sort();
    if let Some(early) = at.first().filter(|at| **at < Span::ZERO) {
        return Err(field(format!("{path}.interruptAt"), early.to_string(), "times since the start"));
    }
    Ok(Spot { per_hour, at, notice: span(&format!("{path}.notice"), notice, (Span::ZERO, NOTICE_MAX))? })
}

/// Checks how an autoscaler is set.
pub(super) fn autoscaler(path: &str, stated: &Autoscaler) -> Result<(), Error> {
    span(&format!("{path}.scanInterval"), stated.scan_interval, SCAN)?;
    let all = [
        ("maxNodeProvisionTime", stated.max_node_provision_time),
        ("newPodScaleUpDelay", stated.new_pod_scale_up_delay),
        ("scaleDownUnneededTime", stated.scale_down_unneeded_time),
        ("scaleDownUnreadyTime", stated.scale_down_unready_time),
        ("scaleDownDelayAfterAdd", stated.scale_down_delay_after_add),
        ("scaleDownDelayAfterDelete", stated.scale_down_delay_after_delete),
        ("scaleDownDelayAfterFailure", stated.scale_down_delay_after_failure),
        ("unremovableNodeRecheckTimeout", stated.unremovable_node_recheck_timeout),
        ("maxPodEvictionTime", stated.max_pod_eviction_time),
    ];
    for (name, found) in all {
        span(&format!("{path}.{name}"), found, (Span::ZERO, Span::DAY))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::file::parse;
    use crate::quantity::MoneyPerHour;
    use crate::supply::{BOOT, Delay, Expander, Limits, Shortage};
    use crate::time::Span;

    fn fleet(group: &str, autoscaler: &str) -> String {
        format!(
            "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  \
            clusterAutoscaler: {autoscaler}\n  nodeGroups:\n  - {{name: a, instanceType: m6i.large, count: 2, {group}}}\n"
        )
    }

    #[test]
    fn groups_come_and_go_as_stated() {
        let text = fleet(
            "min: 1, max: 5, bootTime: {min: 30s, median: 40s, max: 2m}, shortage: {atMost: 3}, \
            spot: {interruptAt: [2h, 1h], interruptionsPerHour: 0.5}",
            "{expander: \"priority,price\", scanInterval: 20s}",
        );
        let cluster = parse(&text).unwrap().clusters.remove(0);
        let group = &cluster.node_groups[0];
        assert_eq!(group.limits, Some(Limits { min: 1, max: 5 }));
        let seconds = Span::from_seconds;
        let boot = Delay { min: seconds(30), median: seconds(40), max: seconds(120) };
        assert_eq!((group.supply.boot, group.supply.join), (boot, crate::supply::JOIN));
        assert_eq!(group.supply.shortage, Some(Shortage { at_most: 3, until: None }));
        let spot = group.supply.spot.clone().unwrap();
        assert_eq!((spot.at, spot.notice), (vec![Span::HOUR, seconds(7200)], seconds(120)));
        assert!(group.price < MoneyPerHour::from_units_f64(0.118), "a spot price");
        assert!(group.sources.contains("price: spot, estimated"), "{}", group.sources);
        let set = cluster.autoscaler.unwrap();
        assert_eq!(
            (set.expander, set.scan_interval),
            (vec![Expander::Priority, Expander::Price], seconds(20))
        );
        let plain = parse(&fleet("bootTime: 50s", "{}")).unwrap().clusters.remove(0);
        let group = &plain.node_groups[0];
        assert_eq!((group.limits, group.supply.boot), (None, Delay::always(seconds(50))));
        assert_ne!(group.supply.boot, BOOT);
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        let group = "clusters[0].nodeGroups[0]";
        let cases = [
            ("min: 1", "{}", format!("{group}.min: 1: expected a max beside it")),
            ("min: 4, max: 3", "{}", format!("{group}.min: 4: expected at most the max of 3")),
            ("min: 3, max: 4", "{}", format!("{group}.count: 2: expected from 3 to 4")),
            ("max: 6000", "{}", format!("{group}.max: 6000: expected at most 5000")),
            ("bootTime: 2h", "{}", format!("{group}.bootTime: 2h: expected a duration from 0s to 1h")),
            (
                "joinTime: {min: 9s, median: 8s, max: 10s}",
                "{}",
                format!("{group}.joinTime.min: 9s: expected a duration from 0s to 8s"),
            ),
            ("shortage: {}", "{}", format!("{group}.shortage: nothing: expected atMost, until, or both")),
            (
                "spot: {interruptionsPerHour: -1}",
                "{}",
                format!("{group}.spot.interruptionsPerHour: -1: expected a number from 0 to 60"),
            ),
            (
                "max: 3",
                "{scanInterval: 0s}",
                "clusters[0].clusterAutoscaler.scanInterval: 0s: expected a duration from 1s to 1h"
                    .to_owned(),
            ),
        ];
        for (group, set, expected) in cases {
            assert_eq!(parse(&fleet(group, set)).unwrap_err().to_string(), expected);
        }
        let none = fleet("max: 3", "{}").replace("count: 2", "count: 0");
        assert!(parse(&none).is_ok(), "a group may begin empty");
        assert!(parse(&none.replace(", max: 3", "")).is_err());
    }
}
