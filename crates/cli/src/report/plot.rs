//! Lines over time as SVG: axes with units, ticks at round values, what stands where in words when pointed at.
//!
//! Curves live in a drawing of [`WIDTH`] × [`HEIGHT`] units that stretches to any screen; letters stand beside it in HTML, so
//! that they keep their size. A value is drawn as a step: it holds for its step.

use super::{Axis, Line, Plot, kind_name};
use fleet::quantity::significant;
use fleet::{Instant, Span};
use maud::{Markup, html};
use std::fmt::Write;

/// Units across a drawing.
const WIDTH: f64 = 1000.0;
/// Units down a drawing.
const HEIGHT: f64 = 100.0;
/// Stretches of time that say what stands there when pointed at.
const STRIPES: usize = 48;
/// Most ticks of an axis of values, and about as many of time.
const TICKS_Y: f64 = 4.0;
const TICKS_X: f64 = 6.0;
/// Steps of ticks over time, in seconds.
const STEPS: [f64; 20] = [
    1.0,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    10_800.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    432_000.0,
    604_800.0,
    1_209_600.0,
];

/// Where values lie, from bottom to top.
#[derive(Clone, Debug, PartialEq)]
struct Scale {
    low: f64,
    high: f64,
    by_magnitude: bool,
    ticks: Vec<f64>,
}

/// The least of 1, 2 and 5 times a power of ten that is not below a value.
fn round_up(value: f64) -> f64 {
    let mut power = 1.0;
    while power * 10.0 <= value {
        power *= 10.0;
    }
    while power > value && power > 1e-12 {
        power /= 10.0;
    }
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value * (1.0 - 1e-9))
        .unwrap_or(power * 10.0)
}

impl Scale {
    fn of(plot: &Plot) -> Scale {
        let values = plot.lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
        let (mut low, mut high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if plot.by_magnitude && low > 0.0 && high / low >= 20.0 {
            let mut ticks = vec![1.0];
            while ticks[0] > low {
                ticks.insert(0, ticks[0] / 10.0);
            }
            while ticks[0] * 10.0 <= low {
                ticks[0] *= 10.0;
            }
            while ticks.last().is_some_and(|last| *last < high) {
                ticks.push(ticks.last().copied().unwrap_or(1.0) * 10.0);
            }
            let (low, high) = (ticks[0], ticks.last().copied().unwrap_or(10.0));
            return Scale { low, high, by_magnitude: true, ticks };
        }
        let low = low.min(0.0);
        let high = if high > low { high } else { low + 1.0 };
        let step = round_up(((high - low) / TICKS_Y).max(1e-9));
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks: Vec<f64> = (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect();
        Scale { low: first * step, high: last * step, by_magnitude: false, ticks }
    }
    /// Where a value lies, 0 at the top and 1 at the bottom.
    fn down(&self, value: f64) -> f64 {
        let share = if self.by_magnitude {
            (value.max(1e-12) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        1.0 - share.clamp(0.0, 1.0)
    }
}

/// A value on an axis: no digits that say nothing.
fn tick(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{}{unit}", if text.is_empty() || text == "-0" { "0" } else { text })
}

/// Seconds since the start, as people say them.
fn since(seconds: f64) -> String {
    let whole = seconds.round() as i64;
    let (days, hours, minutes, rest) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")];
    let said: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .take(2)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if said.is_empty() { "0".to_owned() } else { said.join(" ") }
}

fn moment(axis: Axis, seconds: f64, short: bool) -> String {
    let Axis::Dates(start) = axis else { return since(seconds) };
    let at: Instant = start + Span::from_seconds(seconds.round() as i64);
    let text = at.to_rfc3339_seconds();
    let (day, clock) = (text.get(5..10).unwrap_or_default(), text.get(11..16).unwrap_or_default());
    match (short, clock) {
        (true, "00:00") => day.to_owned(),
        (true, clock) => clock.to_owned(),
        (false, clock) => format!("{day} {clock} UTC"),
    }
}

/// Where ticks of time stand: round times since the start, or round times of the day.
fn times(plot: &Plot) -> Vec<f64> {
    let wanted = plot.seconds / TICKS_X;
    let step = STEPS.into_iter().find(|step| *step >= wanted).unwrap_or(wanted.max(1.0));
    let offset = match plot.axis {
        Axis::Since => 0.0,
        Axis::Dates(start) => (start.as_unix_seconds() as f64).rem_euclid(step),
    };
    let first = if offset > 0.0 { step - offset } else { 0.0 };
    (0..=(TICKS_X as usize * 3))
        .map(|i| first + i as f64 * step)
        .take_while(|at| *at <= plot.seconds * 1.0001)
        .collect()
}

fn path(line: &Line, scale: &Scale, seconds: f64) -> String {
    let x = |at: f64| (at / seconds).clamp(0.0, 1.0) * WIDTH;
    let (mut data, mut from, mut drawn) = (String::new(), 0.0, false);
    for (until, value) in &line.points {
        // Writing to a String cannot fail.
        if let Some(value) = value.filter(|value| value.is_finite()) {
            let y = scale.down(value) * HEIGHT;
            let _ = if drawn { write!(data, "V{y:.1}") } else { write!(data, "M{:.1} {y:.1}", x(from)) };
            let _ = write!(data, "H{:.1}", x(*until));
        }
        (drawn, from) = (value.is_some(), *until);
    }
    data
}

/// The value of a line at a time.
fn at(line: &Line, seconds: f64) -> Option<f64> {
    let i = line.points.partition_point(|(until, _)| *until < seconds);
    line.points.get(i).and_then(|(_, value)| *value)
}

/// What stands at a time, in words.
fn words(plot: &Plot, seconds: f64) -> String {
    let mut text = moment(plot.axis, seconds, false);
    for line in &plot.lines {
        let value = at(line, seconds).map_or_else(|| "–".to_owned(), significant);
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}: {value} {}", line.name, plot.unit);
    }
    text
}

/// The mean of a line, weighted by time, and its ends: what a reader who sees no drawing is told.
fn told(plot: &Plot) -> String {
    let each = plot.lines.iter().map(|line| {
        let values: Vec<f64> = line.points.iter().filter_map(|(_, value)| *value).collect();
        let (Some(first), Some(last)) = (values.first(), values.last()) else {
            return format!("{}: no value", line.name);
        };
        let most = values.iter().fold(f64::NEG_INFINITY, |most, value| most.max(*value));
        let [first, last, most] = [*first, *last, most].map(significant);
        format!("{}: from {first} to {last}, at most {most}", line.name)
    });
    each.collect::<Vec<_>>().join("; ")
}

fn class(line: &Line) -> String {
    format!("line v{} s{}", line.hue, line.stroke)
}

/// The plot with its head, its axes and its key.
pub fn draw(plot: &Plot, id: &str) -> Markup {
    let scale = Scale::of(plot);
    let per_cent = |share: f64| format!("{:.2}%", share * 100.0);
    let view = format!("0 0 {WIDTH} {HEIGHT}");
    let named = plot.lines.len() > 1 || plot.lines.iter().any(|line| line.name != plot.title);
    html! {
        figure.plot {
            figcaption {
                h3 { (plot.title) " " span.soft { (plot.unit) } }
                span class={ "badge " (kind_name(plot.kind)) } { (kind_name(plot.kind)) }
            }
            div.frame {
                div.values aria-hidden="true" {
                    @for value in &scale.ticks {
                        span style={ "top:" (per_cent(scale.down(*value))) } { (tick(*value)) }
                    }
                }
                svg role="img" aria-labelledby={ (id) "-t" } viewBox=(view) preserveAspectRatio="none" {
                    title id={ (id) "-t" } { (plot.title) ", " (plot.unit) ". " (told(plot)) }
                    @for value in &scale.ticks {
                        @let y = format!("{:.1}", scale.down(*value) * HEIGHT);
                        line.grid x1="0" x2=(WIDTH) y1=(y) y2=(y) {}
                    }
                    (stripes(plot))
                    @for line in &plot.lines {
                        path class=(class(line)) d=(path(line, &scale, plot.seconds)) {}
                    }
                }
                div.times aria-hidden="true" {
                    @for at in times(plot) {
                        @let share = at / plot.seconds;
                        @if share < 0.97 {
                            span style={ "left:" (per_cent(share)) } { (moment(plot.axis, at, true)) }
                        }
                    }
                }
            }
            p.points { (plot.points) }
            @if named {
                ul.legend {
                    @for line in &plot.lines {
                        li {
                            svg.key aria-hidden="true" width="26" height="8" { path class=(class(line)) d="M1 4H25" {} }
                            (line.name)
                        }
                    }
                }
            }
        }
    }
}

/// Stretches that say what stands there when pointed at; no script needed.
fn stripes(plot: &Plot) -> Markup {
    let width = WIDTH / STRIPES as f64;
    html! {
        @for i in 0..STRIPES {
            @let middle = (i as f64 + 0.5) / STRIPES as f64 * plot.seconds;
            rect.stripe x=(format!("{:.1}", i as f64 * width)) y="0" width=(format!("{width:.1}")) height=(HEIGHT) {
                title { (words(plot, middle)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::SignalKind;

    fn plot(values: &[Option<f64>], by_magnitude: bool) -> Plot {
        let points = values.iter().zip(1..).map(|(value, i)| (f64::from(i) * 60.0, *value)).collect();
        Plot {
            title: "Load".to_owned(),
            unit: "requests/s".to_owned(),
            points: String::new(),
            kind: SignalKind::Estimated,
            seconds: values.len() as f64 * 60.0,
            axis: Axis::Since,
            by_magnitude,
            lines: vec![Line { name: "web".to_owned(), hue: 0, stroke: 0, points }],
        }
    }

    #[test]
    fn ticks_are_round_and_hold_all_values() {
        for (values, ticks) in [
            (&[0.0, 87.0][..], &[0.0, 50.0, 100.0][..]),
            (&[3.0, 4.0], &[0.0, 1.0, 2.0, 3.0, 4.0]),
            (&[-7.0, 10.0], &[-10.0, -5.0, 0.0, 5.0, 10.0]),
            (&[0.0, 0.0], &[0.0, 0.5, 1.0]),
            (&[0.0, 0.013], &[0.0, 0.005, 0.01, 0.015]),
        ] {
            let values: Vec<Option<f64>> = values.iter().map(|value| Some(*value)).collect();
            let scale = Scale::of(&plot(&values, false));
            assert_eq!(scale.ticks.len(), ticks.len(), "{values:?}: {:?}", scale.ticks);
            assert!(
                scale.ticks.iter().zip(ticks).all(|(a, b)| (a - b).abs() < 1e-9),
                "{values:?}: {:?}",
                scale.ticks
            );
        }
        let scale = Scale::of(&plot(&[Some(0.02), Some(9.0)], true));
        assert_eq!((scale.ticks.len(), scale.by_magnitude), (4, true));
        assert!((scale.down(0.1) - 2.0 / 3.0).abs() < 1e-9 && scale.down(10.0) == 0.0);
        assert!(!Scale::of(&plot(&[None, None], true)).by_magnitude, "nothing to draw is drawn all the same");
    }

    #[test]
    fn a_value_holds_for_its_step_and_gaps_stay_open() {
        let own = plot(&[Some(0.0), Some(100.0), None, Some(50.0)], false);
        let scale = Scale::of(&own);
        assert_eq!(path(&own.lines[0], &scale, own.seconds), "M0.0 100.0H250.0V0.0H500.0M750.0 50.0H1000.0");
        assert_eq!(at(&own.lines[0], 61.0), Some(100.0));
        assert_eq!(at(&own.lines[0], 125.0), None);
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        assert_eq!([0.0, 90.0, 3600.0, 90_000.0].map(since), ["0", "1 min 30 s", "1 h", "1 d 1 h"]);
        let mut own = plot(&[Some(1.0); 20], false);
        assert_eq!(times(&own), [0.0, 300.0, 600.0, 900.0, 1200.0]);
        own.axis = Axis::Dates(Instant::parse("2022-01-01T23:50:00Z").unwrap());
        assert_eq!(
            times(&own).iter().map(|at| moment(own.axis, *at, true)).collect::<Vec<_>>(),
            ["23:50", "23:55", "01-02", "00:05", "00:10"]
        );
        assert_eq!([0.5, 12_000.0, 2e6, -0.0].map(tick), ["0.5", "12 k", "2 M", "0"]);
    }
}
