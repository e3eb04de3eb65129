//! Which plugin has a say at which extension point, and the lists a profile's `plugins` make of that.
//!
//! Lists are merged as kube-scheduler merges them (`apis/config/v1/default_plugins.go` and the expansion of
//! `multiPoint` in `framework/runtime`, 1.36.3): what `multiPoint` enables goes to every point the plugin has a say at,
//! unless the point itself disables it; what a point itself enables comes first where `multiPoint` has it too, else last.

use super::Error;
use super::document::{Enabled, Plugins};
use crate::controllers::scheduler::status::Plugin;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most plugins named in one list; Kubernetes has twenty.
const NAMED_MAX: usize = 64;
/// All plugins, in `disabled`.
const ALL: &str = "*";

/// An extension point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Point {
    /// Every point a plugin has a say at.
    #[serde(rename = "multiPoint")]
    Everywhere,
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
    PlacementGenerate,
    PlacementScore,
}

use Point::{Bind, Filter, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, QueueSort, Reserve, Score};

impl Point {
    const fn name(self) -> &'static str {
        match self {
            Point::Everywhere => "multiPoint",
            Point::PreEnqueue => "preEnqueue",
            Point::QueueSort => "queueSort",
            Point::PreFilter => "preFilter",
            Point::Filter => "filter",
            Point::PostFilter => "postFilter",
            Point::PreScore => "preScore",
            Point::Score => "score",
            Point::Reserve => "reserve",
            Point::Permit => "permit",
            Point::PreBind => "preBind",
            Point::Bind => "bind",
            Point::PostBind => "postBind",
            Point::PlacementGenerate => "placementGenerate",
            Point::PlacementScore => "placementScore",
        }
    }
}

/// Where a plugin has a say.
const fn points(plugin: Plugin) -> &'static [Point] {
    match plugin {
        Plugin::SchedulingGates => &[PreEnqueue],
        Plugin::PrioritySort => &[QueueSort],
        Plugin::NodeUnschedulable | Plugin::NodeName => &[Filter],
        Plugin::TaintToleration => &[Filter, PreScore, Score],
        Plugin::NodeAffinity
        | Plugin::NodeResourcesFit
        | Plugin::PodTopologySpread
        | Plugin::InterPodAffinity => &[PreFilter, Filter, PreScore, Score],
        Plugin::NodePorts
        | Plugin::VolumeRestrictions
        | Plugin::NodeVolumeLimits
        | Plugin::VolumeZone
        | Plugin::NodeDeclaredFeatures => &[PreFilter, Filter],
        Plugin::VolumeBinding => &[PreFilter, Filter, PreScore, Score, Reserve, PreBind],
        Plugin::DynamicResources => &[PreEnqueue, PreFilter, Filter, PostFilter, Score, Reserve, PreBind],
        Plugin::DefaultPreemption => &[PreEnqueue, PostFilter],
        Plugin::NodeResourcesBalancedAllocation => &[PreScore, Score],
        Plugin::ImageLocality => &[Score],
        Plugin::DefaultBinder => &[Bind],
    }
}

fn extends(plugin: Plugin, point: Point) -> bool {
    points(plugin).contains(&point)
}

/// What a plugin's scores are multiplied by in the default profile; 0: not stated.
const fn default_weight(plugin: Plugin) -> i64 {
    match plugin {
        Plugin::TaintToleration => 3,
        Plugin::NodeAffinity
        | Plugin::PodTopologySpread
        | Plugin::InterPodAffinity
        | Plugin::DynamicResources => 2,
        Plugin::NodeResourcesFit | Plugin::NodeResourcesBalancedAllocation | Plugin::ImageLocality => 1,
        _ => 0,
    }
}

/// A plugin with its weight; 0: not stated, which counts as 1.
type Weighed = (Plugin, i64);

/// A profile's plugins, point by point.
#[derive(Debug)]
pub(in super::super) struct Lists {
    pub(in super::super) pre_filters: Vec<Plugin>,
    pub(in super::super) filters: Vec<Plugin>,
    pub(in super::super) post_filters: Vec<Plugin>,
    pub(in super::super) scores: Vec<(Plugin, i64)>,
}

impl Default for Lists {
    fn default() -> Lists {
        let of =
            |point: Point| Plugin::ALL.into_iter().filter(|p| extends(*p, point)).collect::<Vec<Plugin>>();
        let scores = of(Score).into_iter().map(|p| (p, default_weight(p).max(1)));
        Lists {
            pre_filters: of(PreFilter),
            filters: of(Filter),
            post_filters: of(PostFilter),
            scores: scores.collect(),
        }
    }
}

/// One point's list as it is stated, checked.
#[derive(Debug, Default)]
struct Stated {
    enabled: Vec<Weighed>,
    disabled: Vec<Plugin>,
    all_disabled: bool,
}

fn plugin(path: &str, name: &str) -> Result<Plugin, Error> {
    Plugin::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| {
        let known: Vec<&str> = Plugin::ALL.iter().map(|p| p.name()).collect();
        Error::new(path, format!("{name:?}"), format!("one of {}", known.join(", ")))
    })
}

impl Stated {
    fn read(path: &str, point: Point, plugins: &Plugins) -> Result<Stated, Error> {
        let Some(set) = plugins.0.get(&point) else { return Ok(Stated::default()) };
        let mut stated = Stated::default();
        let path = format!("{path}.{}", point.name());
        let lists = [("enabled", &set.enabled), ("disabled", &set.disabled)];
        for (list, named) in lists.iter().filter_map(|(list, named)| Some((list, named.as_ref()?))) {
            if named.len() > NAMED_MAX {
                let found = format!("{} plugins", named.len());
                return Err(Error::new(&format!("{path}.{list}"), found, format!("at most {NAMED_MAX}")));
            }
        }
        for (i, named) in set.disabled.iter().flatten().enumerate() {
            match named.name.as_str() {
                ALL => stated.all_disabled = true,
                name => stated.disabled.push(plugin(&format!("{path}.disabled[{i}].name"), name)?),
            }
        }
        for (i, named) in set.enabled.iter().flatten().enumerate() {
            stated.enable(&format!("{path}.enabled[{i}]"), point, named)?;
        }
        Ok(stated)
    }
    fn enable(&mut self, path: &str, point: Point, named: &Enabled) -> Result<(), Error> {
        let name = format!("{path}.name");
        let plugin = plugin(&name, &named.name)?;
        if point != Point::Everywhere && !extends(plugin, point) {
            let at: Vec<&str> = points(plugin).iter().map(|p| p.name()).collect();
            return Err(Error::new(
                &name,
                plugin.name(),
                format!("a plugin of this point: it is one of {}", at.join(", ")),
            ));
        }
        if self.enabled.iter().any(|(p, _)| *p == plugin) {
            return Err(Error::new(&name, format!("{} a second time", plugin.name()), "each plugin once"));
        }
        let weight = named.weight.unwrap_or(0);
        if !(0..=i64::from(i32::MAX)).contains(&weight) {
            let most = i32::MAX;
            return Err(Error::new(
                &format!("{path}.weight"),
                weight,
                format!("0 (which counts as 1) to {most}"),
            ));
        }
        self.enabled.push((plugin, weight));
        Ok(())
    }
    /// What of the default plugins stays, in its order, then what else is enabled.
    fn over_default(&self) -> Vec<Weighed> {
        let stays = |p: &Plugin| !self.all_disabled && !self.disabled.contains(p);
        let stated = |p: Plugin| self.enabled.iter().find(|(other, _)| *other == p).copied();
        let mut merged: Vec<Weighed> = Plugin::ALL
            .into_iter()
            .filter(stays)
            .map(|p| stated(p).unwrap_or((p, default_weight(p))))
            .collect();
        let more = self.enabled.iter().filter(|(p, _)| !stays(p));
        merged.extend(more);
        merged
    }
    /// The plugins of one point.
    fn expand(&self, point: Point, multi: &[Weighed]) -> Vec<Weighed> {
        if self.all_disabled {
            return self.enabled.clone();
        }
        let own = |p: Plugin| self.enabled.iter().any(|(other, _)| *other == p);
        let everywhere =
            || multi.iter().filter(|(p, _)| extends(*p, point) && !self.disabled.contains(p)).copied();
        let both = |p: Plugin| everywhere().any(|(other, _)| other == p);
        let first = self.enabled.iter().filter(|(p, _)| both(*p)).copied();
        let last = self.enabled.iter().filter(|(p, _)| !both(*p)).copied();
        first.chain(everywhere().filter(|(p, _)| !own(*p))).chain(last).collect()
    }
}

impl Lists {
    /// The lists of a profile.
    pub(super) fn read(path: &str, plugins: &Plugins) -> Result<Lists, Error> {
        let multi = Stated::read(path, Point::Everywhere, plugins)?.over_default();
        let mut lists: BTreeMap<Point, Vec<Weighed>> = BTreeMap::new();
        for point in [
            PreEnqueue,
            QueueSort,
            PreFilter,
            Filter,
            PostFilter,
            PreScore,
            Score,
            Reserve,
            PreBind,
            Bind,
            Point::Permit,
            Point::PostBind,
            Point::PlacementGenerate,
            Point::PlacementScore,
        ] {
            lists.insert(point, Stated::read(path, point, plugins)?.expand(point, &multi));
        }
        let of = |point: Point| lists.get(&point).map(Vec::as_slice).unwrap_or_default();
        let names = |point: Point| of(point).iter().map(|(p, _)| *p).collect::<Vec<Plugin>>();
        for (point, needed) in [
            (QueueSort, Plugin::PrioritySort),
            (PreEnqueue, Plugin::SchedulingGates),
            (Bind, Plugin::DefaultBinder),
        ] {
            if !names(point).contains(&needed) {
                let path = format!("{path}.{}", point.name());
                return Err(Error::new(
                    &path,
                    format!("{} disabled", needed.name()),
                    "it enabled: nothing here can stand in for it",
                ));
            }
        }
        prepared(path, PreFilter, &names(PreFilter), Filter, &names(Filter))?;
        prepared(path, PreScore, &names(PreScore), Score, &names(Score))?;
        let stated =
            |plugin: Plugin| multi.iter().find(|(p, _)| *p == plugin).map_or(0, |(_, weight)| *weight);
        let own = Stated::read(path, Score, plugins)?.enabled;
        let weight = |plugin: Plugin| {
            let at_score = own.iter().find(|(p, _)| *p == plugin).map(|(_, weight)| *weight);
            at_score.unwrap_or_else(|| stated(plugin)).max(1)
        };
        Ok(Lists {
            pre_filters: names(PreFilter),
            filters: names(Filter),
            post_filters: names(PostFilter),
            scores: names(Score).into_iter().map(|p| (p, weight(p))).collect(),
        })
    }
}

/// A plugin that prepares for another point must do so where it is asked there: kube-scheduler's own answers are then
/// errors, or differ from plugin to plugin.
fn prepared(
    path: &str,
    before: Point,
    preparing: &[Plugin],
    point: Point,
    asked: &[Plugin],
) -> Result<(), Error> {
    let missing = asked.iter().find(|p| extends(**p, before) && !preparing.contains(p));
    let Some(plugin) = missing else { return Ok(()) };
    let found = format!("{} disabled, and enabled at {}", plugin.name(), point.name());
    let expected =
        format!("the same at both: what it says at {} it prepares at {}", point.name(), before.name());
    Err(Error::new(&format!("{path}.{}", before.name()), found, expected))
}
