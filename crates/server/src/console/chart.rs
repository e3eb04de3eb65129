//! Curves as SVG: step functions of time with their marks, and what they say in words.
//!
//! Geometry is in per cent of the drawing, so that it stretches to any screen while its letters keep
//! their size; the curve itself lives in an inner drawing of [`WIDTH`] × [`HEIGHT`] units. Steps are drawn
//! as steps: a value holds for its hour.

use super::format::{Reader, carbon, number, share};
use super::text::M;
use fleet::{GramsCo2, Instant, Series, Span};
use maud::{Markup, html};
use std::fmt::Write;

/// Units across an inner drawing.
pub const WIDTH: f64 = 1000.0;
/// Units down an inner drawing.
pub const HEIGHT: f64 = 100.0;

/// Steps drawn of one series, at most: a fortnight of quarter hours.
const STEPS_MAX: usize = 1400;

/// The window whose cleanest place is marked.
const CLEAN_WINDOW: Span = Span::from_seconds(3 * 3600);

/// A stretch of time across a drawing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Left edge.
    pub from: Instant,
    /// Right edge; later than `from`.
    pub to: Instant,
}

impl Window {
    /// Where `at` lies, 0 to 1 inside the window, clamped.
    pub fn x(self, at: Instant) -> f64 {
        let whole = (self.to - self.from).as_nanos().max(1) as f64;
        ((at - self.from).as_nanos() as f64 / whole).clamp(0.0, 1.0)
    }
    /// Whether any of `[from, to]` is inside.
    pub fn overlaps(self, from: Instant, to: Instant) -> bool {
        to >= self.from && from <= self.to
    }
}

/// Boundaries of the steps of `series` inside the window, each with its value, the first at the left edge.
fn steps(series: &Series, window: Window) -> Vec<(Instant, f64)> {
    let mut out = vec![(window.from, series.at(window.from).as_grams_f64())];
    let into = (window.from - series.start()).as_nanos().div_euclid(series.step().as_nanos());
    let mut at = series.start() + series.step().scaled(into + 1, 1);
    while at < window.to && out.len() < STEPS_MAX {
        out.push((at, series.at(at).as_grams_f64()));
        at += series.step();
    }
    out
}

/// The curve as path data: an area down to the bottom if `closed`. `range` is the value at bottom and top.
pub fn path(series: &Series, window: Window, range: (f64, f64), closed: bool) -> String {
    let y = |value: f64| {
        let up = (value - range.0) / (range.1 - range.0).max(1e-9);
        HEIGHT * (1.0 - up.clamp(0.0, 1.0))
    };
    let mut data = String::new();
    for (i, (at, value)) in steps(series, window).into_iter().enumerate() {
        let x = window.x(at) * WIDTH;
        // Writing to a String cannot fail.
        let _ = if i == 0 {
            write!(data, "M{x:.1} {:.2}", y(value))
        } else {
            write!(data, "H{x:.1}V{:.2}", y(value))
        };
    }
    let _ = write!(data, "H{WIDTH}");
    if closed {
        let _ = write!(data, "V{HEIGHT}H0Z");
    }
    data
}

/// Where the series is cleanest over three hours, and its least and greatest values with their times.
#[derive(Clone, Debug, PartialEq)]
pub struct Extremes {
    /// When the cleanest three hours begin.
    pub clean_from: Instant,
    /// When they end.
    pub clean_to: Instant,
    /// Least value, and when it begins.
    pub least: (Instant, f64),
    /// Greatest value, and when it begins.
    pub most: (Instant, f64),
}

/// Of `series` inside `window`.
pub fn extremes(series: &Series, window: Window) -> Extremes {
    let steps = steps(series, window);
    let first = steps[0];
    let least = steps.iter().fold(first, |best, s| if s.1 < best.1 { *s } else { best });
    let most = steps.iter().fold(first, |best, s| if s.1 > best.1 { *s } else { best });
    let mean = |from: Instant| series.mean(from, from + CLEAN_WINDOW).as_grams_f64();
    let starts = steps.iter().map(|s| s.0).filter(|at| *at + CLEAN_WINDOW <= window.to);
    let clean = starts.fold((window.from, mean(window.from)), |best, at| {
        let here = mean(at);
        if here < best.1 { (at, here) } else { best }
    });
    Extremes { clean_from: clean.0, clean_to: clean.0 + CLEAN_WINDOW, least, most }
}

/// Local times at multiples of `step` inside the window.
pub fn ticks(reader: Reader, window: Window, step: Span) -> Vec<Instant> {
    let mut out = Vec::new();
    let mut at = reader.floor(window.from, step) + step;
    while at < window.to && out.len() < 200 {
        out.push(at);
        at += step;
    }
    out
}

/// The next 24 hours of a zone, with now, the cleanest hours, the least and the greatest value marked.
pub fn day(reader: Reader, id: &str, series: &Series, now: Instant) -> Markup {
    let window = Window { from: now, to: now + Span::DAY };
    let e = extremes(series, window);
    let pad = ((e.most.1 - e.least.1) * 0.08).max(1.0);
    let range = (e.least.1 - pad, e.most.1 + pad);
    let (clean_from, clean_to) = (reader.clock(e.clean_from), reader.clock(e.clean_to));
    let words = reader.lang.fill(
        M::CurveText,
        &[
            &reader.moment(window.from),
            &reader.moment(window.to),
            &number(e.least.1),
            &number(e.most.1),
            &clean_from,
            &clean_to,
        ],
    );
    let middle = |at: Instant| share(((window.x(at) + window.x(at + Span::HOUR)) / 2.0).clamp(0.06, 0.94));
    let (left, right) = (window.x(e.clean_from), window.x(e.clean_to));
    let same = e.least.1 == e.most.1;
    html! {
        svg.curve role="img" aria-labelledby={ (id) "-t " (id) "-d" } width="100%" height="112" {
            title id={ (id) "-t" } { (reader.say(M::Next24)) }
            desc id={ (id) "-d" } { (words) }
            rect.clean x=(share(left)) y="16" width=(share(right - left)) height="76" rx="3" {}
            svg x="0" y="18" width="100%" height="72" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" {
                path.area d=(path(series, window, range, true)) {}
                path.line d=(path(series, window, range, false)) {}
            }
            line.axis x1="0" x2="100%" y1="92" y2="92" {}
            @for at in ticks(reader, window, Span::from_seconds(6 * 3600)) {
                line.tick x1=(share(window.x(at))) x2=(share(window.x(at))) y1="92" y2="96" {}
                @if (0.05..0.95).contains(&window.x(at)) {
                    text.label x=(share(window.x(at))) y="108" text-anchor="middle" { (reader.clock(at)) }
                }
            }
            line.now x1="0.5" x2="0.5" y1="10" y2="92" {}
            @if !same {
                text.label.high x=(middle(e.most.0)) y="12" text-anchor="middle" { (number(e.most.1)) }
                text.label.low x=(middle(e.least.0)) y="88" text-anchor="middle" { (number(e.least.1)) }
            }
        }
        p.mark { span.swatch.clean {} (reader.lang.fill(M::Cleanest, &[&clean_from, &clean_to])) }
    }
}

/// Where the plot of [`rising`] lies in its drawing, in pixels.
const PLOT_TOP: f64 = 8.0;
const PLOT_HEIGHT: f64 = 164.0;

/// A step line through `points` (time, grams), from zero at `window.from` on, its extremes labelled.
pub fn rising(id: &str, points: &[(Instant, f64)], window: Window, title: &str, words: &str) -> Markup {
    let high = points.iter().map(|p| p.1).fold(0.0, f64::max);
    let low = points.iter().map(|p| p.1).fold(0.0, f64::min);
    let span = (high - low).max(1e-9);
    let y = |value: f64| HEIGHT * (1.0 - (value - low) / span);
    let mut data = format!("M0 {:.2}", y(0.0));
    for (at, value) in points {
        // Writing to a String cannot fail.
        let _ = write!(data, "H{:.1}V{:.2}", window.x(*at) * WIDTH, y(*value));
    }
    let _ = write!(data, "H{WIDTH}");
    let area = format!("{data}V{:.2}H0Z", y(0.0));
    html! {
        svg.rising role="img" aria-labelledby={ (id) "-t " (id) "-d" } width="100%" height="180" {
            title id={ (id) "-t" } { (title) }
            desc id={ (id) "-d" } { (words) }
            svg x="0" y=(PLOT_TOP) width="100%" height=(PLOT_HEIGHT) viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" {
                path.area d=(area) {}
                path.line d=(data) {}
                line.axis x1="0" x2=(WIDTH) y1=(format!("{:.2}", y(0.0))) y2=(format!("{:.2}", y(0.0))) {}
            }
            @for value in [high, low] {
                @if value != 0.0 {
                    @let place = PLOT_TOP + y(value) / HEIGHT * PLOT_HEIGHT + if value > 0.0 { 12.0 } else { -5.0 };
                    text.label.high x="4" y=(format!("{place:.1}")) { (carbon(GramsCo2::from_grams_f64(value))) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::text::Lang;
    use fleet::GramsCo2PerKwh;

    fn at(hours: i64) -> Instant {
        Instant::from_unix_seconds(hours * 3600)
    }
    fn series(values: &[f64]) -> Series {
        let values = values.iter().map(|v| GramsCo2PerKwh::from_grams_f64(*v)).collect();
        Series::new(at(0), Span::HOUR, values).unwrap()
    }

    #[test]
    fn a_step_is_drawn_as_a_step() {
        let window = Window { from: at(0), to: at(4) };
        let data = path(&series(&[0.0, 100.0, 50.0, 50.0]), window, (0.0, 100.0), true);
        assert_eq!(data, "M0.0 100.00H250.0V0.00H500.0V50.00H750.0V50.00H1000V100H0Z");
    }

    #[test]
    fn a_window_in_the_middle_of_a_step_begins_with_its_value() {
        let window = Window { from: at(0) + Span::from_seconds(1800), to: at(2) };
        assert!(
            path(&series(&[10.0, 20.0]), window, (0.0, 100.0), false).starts_with("M0.0 90.00H333.3V80.00")
        );
    }

    #[test]
    fn the_cleanest_three_hours() {
        let e = extremes(
            &series(&[5.0, 9.0, 9.0, 1.0, 2.0, 1.0, 9.0, 0.0, 9.0, 9.0]),
            Window { from: at(0), to: at(10) },
        );
        assert_eq!((e.clean_from, e.clean_to), (at(3), at(6)));
        assert_eq!((e.least, e.most), ((at(7), 0.0), (at(1), 9.0)));
    }

    #[test]
    fn ticks_stand_at_local_hours() {
        let seoul = Reader::new(Lang::En, 540);
        let ticks = ticks(seoul, Window { from: at(0), to: at(24) }, Span::from_seconds(6 * 3600));
        assert_eq!(
            ticks.iter().map(|t| seoul.clock(*t)).collect::<Vec<_>>(),
            ["12:00", "18:00", "00:00", "06:00"]
        );
    }
}
