//! Jobs over time: one lane a cluster, the carbon curve behind, now in the middle of it all.
//!
//! Runs are solid, what is planned is an outline with a thin line to its deadline. Rows are packed
//! greedily by start, so that no two Jobs of a lane touch. Every bar is a link to its Job: it works with
//! a keyboard and without scripts. Left out: Jobs that neither ran nor will run inside the window.

use super::chart::{self, HEIGHT, WIDTH, Window};
use super::format::{Reader, number, share};
use super::text::M;
use control::{ClusterView, JobPhase, JobView, View};
use fleet::{ClusterId, Instant, JobKey, Span};
use ledger::Entry;
use maud::{Markup, html};
use std::collections::BTreeSet;

/// Rows drawn in a lane, at most; what does not fit is counted.
const ROWS_MAX: usize = 40;
/// Height of a row and of its bar, in pixels.
const ROW: usize = 20;
const BAR: usize = 14;
/// Room for a lane's own curve when nothing runs, in pixels.
const LANE_MIN: usize = 76;
/// Above and below the rows, in pixels.
const PAD: usize = 10;
/// Least gap between two bars of a row, as a share of the width.
const GAP: f64 = 0.004;
/// Narrowest bar, as a share of the width.
const NARROW: f64 = 0.006;
/// Narrowest stretch that carries its name, as a share of the width.
const LABEL_MIN: f64 = 0.03;

/// How a stretch of a bar is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Planned,
    Running,
    Ahead,
    Succeeded,
    Failed,
}

impl Look {
    fn class(self) -> &'static str {
        match self {
            Look::Planned => "planned",
            Look::Running => "running",
            Look::Ahead => "ahead",
            Look::Succeeded => "succeeded",
            Look::Failed => "failed",
        }
    }
}

/// One Job on its lane.
#[derive(Clone, Debug)]
struct Item {
    key: JobKey,
    lane: ClusterId,
    stretches: Vec<(Instant, Instant, Look)>,
    /// While it waits: its deadline.
    deadline: Option<Instant>,
    phase: JobPhase,
    late: bool,
    words: String,
}

impl Item {
    fn from(&self) -> Instant {
        self.stretches.first().map_or(Instant::EPOCH, |s| s.0)
    }
    fn to(&self) -> Instant {
        self.stretches.last().map_or(Instant::EPOCH, |s| s.1)
    }
    /// Where the first stretch, and what follows it without a gap, ends: room for the name.
    fn named_until(&self) -> Instant {
        self.stretches.iter().fold(self.from(), |end, s| if s.0 <= end { end.max(s.1) } else { end })
    }
    /// The last moment anything of it is drawn.
    fn until(&self) -> Instant {
        self.deadline.map_or(self.to(), |deadline| deadline.max(self.to()))
    }
}

fn open_item(reader: Reader, job: &JobView, now: Instant) -> Option<Item> {
    let done = match job.phase {
        JobPhase::Failed => Look::Failed,
        JobPhase::Succeeded | JobPhase::Deleting => Look::Succeeded,
        _ => Look::Running,
    };
    let mut stretches: Vec<(Instant, Instant, Look)> =
        job.runs.iter().map(|run| (run.from, run.to.unwrap_or(now).max(run.from), done)).collect();
    let begun = !stretches.is_empty();
    for run in &job.planned {
        let from = run.from.max(now);
        let to = run.to.unwrap_or(from).max(from);
        let going = job.phase == JobPhase::Running && run.from <= now;
        stretches.push((from, to, if begun && going { Look::Ahead } else { Look::Planned }));
    }
    let waits = matches!(job.phase, JobPhase::Held | JobPhase::Paused | JobPhase::Starting);
    let lane = job.cluster.clone().unwrap_or_else(|| job.key.cluster.clone());
    let first = stretches.first()?.0;
    let words = format!("{}: {}, {}, {}", job.key, reader.phase(job.phase), lane, reader.moment(first));
    Some(Item {
        key: job.key.clone(),
        lane,
        stretches,
        deadline: job.contract.deadline.filter(|_| waits),
        phase: job.phase,
        late: job.late.is_some(),
        words,
    })
}

/// A Job of which only the ledger is left.
fn past_items(reader: Reader, entry: &Entry) -> Vec<Item> {
    let look = if entry.succeeded { Look::Succeeded } else { Look::Failed };
    let phase = if entry.succeeded { JobPhase::Succeeded } else { JobPhase::Failed };
    let lanes: BTreeSet<&ClusterId> = entry.runs.iter().map(|line| &line.run.cluster).collect();
    let item = |lane: &ClusterId| {
        let here = entry.runs.iter().filter(|line| line.run.cluster == *lane);
        let stretches = here.map(|line| (line.run.from, line.run.to, look)).collect();
        let words =
            format!("{}: {}, {}, {}", entry.job, reader.phase(phase), lane, reader.moment(entry.started));
        Item {
            key: entry.job.clone(),
            lane: lane.clone(),
            stretches,
            deadline: None,
            phase,
            late: entry.in_time() == Some(false),
            words,
        }
    };
    lanes.into_iter().map(item).collect()
}

fn items(reader: Reader, view: &View, entries: &[Entry], window: Window) -> Vec<Item> {
    let listed: BTreeSet<&str> = view.jobs.iter().map(|job| job.uid.as_str()).collect();
    let mut items: Vec<Item> = view.jobs.iter().filter_map(|job| open_item(reader, job, view.at)).collect();
    let gone = entries.iter().rev().filter(|e| !listed.contains(e.uid.as_str()) && e.finished >= window.from);
    items.extend(gone.flat_map(|entry| past_items(reader, entry)));
    items.retain(|item| window.overlaps(item.from(), item.until()));
    items.sort_by(|a, b| a.from().cmp(&b.from()).then_with(|| a.key.cmp(&b.key)));
    items
}

/// The row of each item of one lane (first fit), and how many rows there are.
fn pack(items: &[&Item], window: Window) -> (Vec<usize>, usize) {
    let mut ends: Vec<f64> = Vec::new();
    let mut rows = Vec::with_capacity(items.len());
    for item in items {
        let from = window.x(item.from());
        let to = window.x(item.until()).max(from + NARROW) + GAP;
        let free = ends.iter().position(|end| *end <= from);
        let row = free.unwrap_or(ends.len());
        if free.is_some() {
            ends[row] = to;
        } else {
            ends.push(to);
        }
        rows.push(row);
    }
    (rows, ends.len())
}

/// What the timeline shows.
pub struct Timeline<'a> {
    /// Language and zone.
    pub reader: Reader,
    /// Everything.
    pub view: &'a View,
    /// Finished Jobs.
    pub entries: &'a [Entry],
    /// Left and right edge.
    pub window: Window,
    /// Hours between two labels.
    pub tick: Span,
    /// The Job whose details are open.
    pub selected: Option<&'a JobKey>,
}

impl Timeline<'_> {
    /// The drawing; `href` gives the address of a Job.
    pub fn draw(&self, href: &dyn Fn(&JobKey) -> String) -> Markup {
        let items = items(self.reader, self.view, self.entries, self.window);
        let scale = self.scale();
        let shown = items.len().to_string();
        let edges = (self.reader.moment(self.window.from), self.reader.moment(self.window.to));
        let words = self.reader.lang.fill(M::TimelineText, &[&shown, &edges.0, &edges.1]);
        html! {
            p.hidden id="timeline-words" { (words) }
            div.timeline role="group" aria-describedby="timeline-words" tabindex="0" id="timeline-scroll" {
                (self.axis())
                @for cluster in &self.view.clusters {
                    @let here: Vec<&Item> = items.iter().filter(|i| i.lane == cluster.facts.id).collect();
                    (self.lane(cluster, &here, scale, href))
                }
            }
            (legend(self.reader))
        }
    }

    /// Bottom and top of every lane's carbon curve: one scale, so that lanes can be compared; it begins
    /// below the least value, so that the valleys show.
    fn scale(&self) -> (f64, f64) {
        let series = self.view.clusters.iter().flat_map(|c| [&c.actual, &c.forecast]).flatten();
        let both = series.map(|s| chart::extremes(s, self.window)).map(|e| (e.least.1, e.most.1));
        let (low, high) = both.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((0.0, 1.0));
        let room = (high - low).max(1.0);
        ((low - 0.6 * room).max(0.0), high + 0.1 * room)
    }

    fn axis(&self) -> Markup {
        let window = self.window;
        html! {
            div.lane.axis-lane {
                div.lane-name {}
                svg.lane-plot width="100%" height="34" aria-hidden="true" {
                    @for at in chart::ticks(self.reader, window, self.tick) {
                        @let x = window.x(at);
                        @if (0.015..0.985).contains(&x) {
                            @let midnight = self.reader.clock(at) == "00:00";
                            text.label.strong[midnight] x=(share(x)) y="28" text-anchor="middle" {
                                @if midnight { (self.reader.day(at)) } @else { (self.reader.clock(at)) }
                            }
                        }
                    }
                    text.label.now x=(share(window.x(self.view.at))) y="12" text-anchor="middle" {
                        (self.reader.say(M::Now)) " " (self.reader.clock(self.view.at))
                    }
                }
            }
        }
    }

    fn lane(
        &self,
        cluster: &ClusterView,
        items: &[&Item],
        scale: (f64, f64),
        href: &dyn Fn(&JobKey) -> String,
    ) -> Markup {
        let (rows, count) = pack(items, self.window);
        let shown = count.min(ROWS_MAX);
        let hidden = rows.iter().filter(|row| **row >= ROWS_MAX).count();
        let height = (shown * ROW + 2 * PAD).max(LANE_MIN);
        let now = share(self.window.x(self.view.at));
        html! {
            div.lane id={ "lane-" (cluster.facts.id) } {
                div.lane-name {
                    b { (cluster.facts.id) }
                    @if let Some(now) = cluster.intensity {
                        span.soft { (number(now.as_grams_f64())) " " small { "gCO2e/kWh" } }
                    }
                    @if hidden > 0 { span.soft { (self.reader.lang.fill(M::MoreRows, &[&hidden.to_string()])) } }
                }
                svg.lane-plot width="100%" height=(height) role="group" aria-label=(cluster.facts.id) {
                    (self.carbon(cluster, scale, height))
                    @for at in chart::ticks(self.reader, self.window, self.tick) {
                        line.grid x1=(share(self.window.x(at))) x2=(share(self.window.x(at))) y1="0" y2=(height) {}
                    }
                    line.now x1=(now) x2=(now) y1="0" y2=(height) {}
                    @for (item, row) in items.iter().zip(&rows) {
                        @if *row < ROWS_MAX { (self.bar(item, PAD + row * ROW, &href(&item.key))) }
                    }
                }
            }
        }
    }

    /// What was (up to now) and what is expected (from now on), on the common scale.
    fn carbon(&self, cluster: &ClusterView, scale: (f64, f64), height: usize) -> Markup {
        let now = self.view.at;
        let part = |series: Option<&fleet::Series>, window: Window| {
            let series = series.filter(|_| window.to > window.from)?;
            let left = share(self.window.x(window.from));
            let width = share(self.window.x(window.to) - self.window.x(window.from));
            Some((left, width, chart::path(series, window, scale, true)))
        };
        let split = now.max(self.window.from).min(self.window.to);
        let past = Window { from: self.window.from, to: split };
        let ahead = Window { from: split, to: self.window.to };
        let parts = [
            ("carbon past", part(cluster.actual.as_ref().or(cluster.forecast.as_ref()), past)),
            ("carbon", part(cluster.forecast.as_ref().or(cluster.actual.as_ref()), ahead)),
        ];
        html! {
            @for (class, drawn) in parts {
                @if let Some((left, width, data)) = drawn {
                    svg x=(left) y="0" width=(width) height=(height) viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" {
                        path class=(class) d=(data) {}
                    }
                }
            }
        }
    }

    fn bar(&self, item: &Item, y: usize, href: &str) -> Markup {
        let window = self.window;
        let (from, to) = (window.x(item.from()), window.x(item.to()));
        let named = window.x(item.named_until()) - from;
        let light = item.stretches.first().is_none_or(|s| s.2 == Look::Planned);
        let chosen = self.selected == Some(&item.key);
        let middle = y + BAR / 2;
        let deadline = item.deadline.map(|deadline| (window.x(deadline), deadline <= window.to));
        html! {
            a.job.late[item.late].chosen[chosen].paused[item.phase == JobPhase::Paused] href=(href) data-go="job"
                aria-label=(item.words) id={ "bar-" (item.lane) "-" (item.key) } {
                title { (item.words) }
                @if let Some((end, inside)) = deadline {
                    line.whisker x1=(share(to)) x2=(share(end)) y1=(middle) y2=(middle) {}
                    @if inside { line.whisker x1=(share(end)) x2=(share(end)) y1=(middle - 4) y2=(middle + 4) {} }
                }
                @for pair in item.stretches.windows(2).filter(|pair| pair[0].1 < pair[1].0) {
                    line.pause x1=(share(window.x(pair[0].1))) x2=(share(window.x(pair[1].0))) y1=(middle) y2=(middle) {}
                }
                @for (start, end, look) in &item.stretches {
                    @if window.overlaps(*start, *end) {
                        @let x = window.x(*start);
                        rect class={ "run " (look.class()) } x=(share(x)) y=(y)
                            width=(share((window.x(*end) - x).max(NARROW))) height=(BAR) rx="3" {}
                    }
                }
                @if named > LABEL_MIN {
                    svg.name x=(share(from)) y=(y) width=(share(named)) height=(BAR) aria-hidden="true" {
                        text.dark[light] x="5" y="11" { (item.key.name) }
                    }
                }
            }
        }
    }
}

fn legend(reader: Reader) -> Markup {
    let looks = [
        ("planned", M::LegendHeld),
        ("running", M::Running),
        ("succeeded", M::Succeeded),
        ("failed", M::Failed),
        ("paused", M::PausedPhase),
        ("whisker", M::LegendDeadline),
        ("carbon", M::LegendCarbon),
    ];
    html! {
        ul.legend aria-hidden="true" {
            @for (class, name) in looks { li { span class={ "swatch " (class) } {} (reader.say(name)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::ObjectName;

    fn item(name: &str, from: i64, to: i64) -> Item {
        let at = |hours: i64| Instant::from_unix_seconds(hours * 3600);
        let cluster = ClusterId::new("kr").unwrap();
        let object = |text: &str| ObjectName::new(text).unwrap();
        Item {
            key: JobKey { cluster: cluster.clone(), namespace: object("demo"), name: object(name) },
            lane: cluster,
            stretches: vec![(at(from), at(to), Look::Planned)],
            deadline: None,
            phase: JobPhase::Held,
            late: false,
            words: String::new(),
        }
    }

    #[test]
    fn bars_of_a_row_never_touch() {
        let window = Window { from: Instant::EPOCH, to: Instant::EPOCH + Span::from_seconds(24 * 3600) };
        let all = [item("a", 0, 5), item("b", 1, 3), item("c", 4, 6), item("d", 6, 8), item("e", 5, 5)];
        let mut sorted: Vec<&Item> = all.iter().collect();
        sorted.sort_by_key(|i| i.from());
        let (rows, count) = pack(&sorted, window);
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate().skip(i + 1) {
                assert!(rows[i] != rows[j] || a.to() < b.from(), "{} and {}", a.key, b.key);
            }
        }
        assert_eq!(count, 3);
    }
}
