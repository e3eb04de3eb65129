//! Reports of simulations as one HTML page that stands for itself: no scripts, nothing fetched, inline drawings.
//!
//! Vocabulary of a page, which knows nothing of simulations: [`policies`] and [`scenarios`] make one of what came of a run,
//! [`page`] sets it, [`plot`] draws. Pure; the same results give the same bytes. Invariants: every plot says its unit, what
//! its points are, where the figures are from and how sure they are; nothing is told by colour alone; a page stays under
//! [`SIZE_MAX`], because points, lines and plots are bounded.

mod page;
mod plot;
pub mod policies;
pub mod scenarios;
#[cfg(test)]
mod tests;

use fleet::{Instant, SignalKind};

/// Largest page, in bytes.
pub const SIZE_MAX: usize = 1_000_000;
/// Most points of a line: more cannot be told apart on a screen.
pub const POINTS_MAX: usize = 240;
/// Most variants drawn beside each other: as many as there are colours that can be told apart.
pub const VARIANTS_MAX: usize = 6;
/// Most plots of a page.
pub const PLOTS_MAX: usize = 40;

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What was simulated, in a few words.
    pub title: String,
    /// What kind of report it is.
    pub kicker: String,
    /// What it shows.
    pub lead: String,
    /// Figures that stand first.
    pub figures: Vec<Figure>,
    /// What is compared, in the order of their colours.
    pub variants: Vec<String>,
    /// Tables before the plots.
    pub tables: Vec<Grid>,
    /// Plots, in sections.
    pub sections: Vec<Section>,
    /// Tables after the plots.
    pub details: Vec<Grid>,
    /// What was assumed, a sentence each.
    pub assumed: Vec<String>,
    /// Where figures are from.
    pub sources: Vec<Source>,
    /// How to make the page again.
    pub command: String,
}

/// A figure that stands first.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// The figure.
    pub value: String,
    /// Its unit.
    pub unit: String,
    /// More of it.
    pub note: String,
    /// Whether it is not as it should be.
    pub bad: bool,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    /// What it shows.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Columns: name with unit, and whether they hold numbers.
    pub head: Vec<(String, bool)>,
    /// Rows, each as long as the head.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// What stands there.
    pub text: String,
    /// Whether it is set off: the best of its column.
    pub best: bool,
    /// Whether it is not as it should be.
    pub bad: bool,
    /// More of it, smaller.
    pub note: String,
}

impl Cell {
    /// A plain one.
    pub fn new(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), ..Cell::default() }
    }
}

/// Plots that belong together.
#[derive(Clone, Debug)]
pub struct Section {
    /// What they show.
    pub title: String,
    /// How to read them.
    pub note: String,
    /// The plots.
    pub plots: Vec<Plot>,
}

/// Where figures are from, and how sure they are.
#[derive(Clone, Debug)]
pub struct Source {
    /// Which figures.
    pub of: String,
    /// Where they are from.
    pub from: String,
    /// How sure they are.
    pub kind: SignalKind,
}

/// What stands along the bottom of a plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Axis {
    /// Time since the start.
    Since,
    /// Times of day and days, UTC, of a start.
    Dates(Instant),
}

/// A drawing of lines over time.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// Unit of the values.
    pub unit: String,
    /// What a point is: a mean, the end of a step, the worst within it.
    pub points: String,
    /// How sure it is.
    pub kind: SignalKind,
    /// Seconds from the left edge to the right one.
    pub seconds: f64,
    /// What stands along the bottom.
    pub axis: Axis,
    /// Whether values are drawn by their magnitude.
    pub by_magnitude: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line of a plot: a value holds from the end of the step before to the end of its own.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Its colour: the number of its variant.
    pub hue: usize,
    /// How it is stroked where lines of a colour have to be told apart: 0 is solid.
    pub stroke: usize,
    /// Ends of steps in seconds, in order, and values; `None`: there is none.
    pub points: Vec<(f64, Option<f64>)>,
}

/// How a kind is called on the page.
fn kind_name(kind: SignalKind) -> &'static str {
    match kind {
        SignalKind::Measured => "measured",
        SignalKind::Forecast => "forecast",
        SignalKind::Estimated => "estimated",
        SignalKind::Assumed => "assumed",
    }
}

/// A page as text.
pub fn html(page: &Page) -> String {
    let text = page::set(page).into_string();
    debug_assert!(text.len() < SIZE_MAX, "{} bytes: a broken invariant", text.len());
    text
}
