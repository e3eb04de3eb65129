//! The page: head, figures, tables, plots, what was assumed, where figures are from.

use super::{Cell, Grid, PLOTS_MAX, Page, Section, kind_name, plot};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The console's looks, so that both are one product's.
const CONSOLE: &str = include_str!("../../../../console/console.css");
/// What a report has beside them.
const OWN: &str = include_str!("report.css");

/// Sets a page.
pub fn set(page: &Page) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) " – Kuber Carbon" }
                style { (PreEscaped(CONSOLE)) (PreEscaped(OWN)) }
            }
            body {
                header.top {
                    span.brand { "Kuber Carbon" }
                    span.soft { (page.kicker) }
                }
                main {
                    div.intro {
                        h1 { (page.title) }
                        @if !page.lead.is_empty() { p.lead { (page.lead) } }
                        @if page.variants.len() > 1 {
                            ul.legend.variants {
                                @for (i, name) in page.variants.iter().enumerate() {
                                    li {
                                        svg.key aria-hidden="true" width="26" height="8" { path class={ "line v" (i) " s" (i) } d="M1 4H25" {} }
                                        (name)
                                    }
                                }
                            }
                        }
                    }
                    @if !page.figures.is_empty() { (figures(page)) }
                    @for grid in &page.tables { (table(grid)) }
                    (sections(&page.sections))
                    @for grid in &page.details { (table(grid)) }
                    (sure(page))
                }
            }
        }
    }
}

fn figures(page: &Page) -> Markup {
    html! {
        section.headline aria-label="Key figures" {
            @for figure in &page.figures {
                div.figure {
                    h2 { (figure.name) }
                    p class={ "big" @if figure.bad { " bad" } } { (figure.value) " " small { (figure.unit) } }
                    p.note { (figure.note) }
                }
            }
        }
    }
}

fn cell(cell: &Cell) -> Markup {
    html! {
        @if cell.best { strong { (cell.text) } } @else if cell.bad { span.bad { (cell.text) } } @else { (cell.text) }
        @if !cell.note.is_empty() { span.note { (cell.note) } }
    }
}

fn table(grid: &Grid) -> Markup {
    html! {
        section.block {
            header { h2 { (grid.title) } }
            div.table tabindex="0" role="region" aria-label=(grid.title) {
                table {
                    thead {
                        tr { @for (name, number) in &grid.head { th scope="col" class=[number.then_some("number")] { (name) } } }
                    }
                    tbody {
                        @for row in &grid.rows {
                            tr {
                                @for (i, (own, (_, number))) in row.iter().zip(&grid.head).enumerate() {
                                    @if i == 0 { th scope="row" { (cell(own)) } }
                                    @else { td class=[number.then_some("number")] { (cell(own)) } }
                                }
                            }
                        }
                    }
                }
            }
            @if !grid.note.is_empty() { p.points { (grid.note) } }
        }
    }
}

/// Sections with as many of their plots as a page may have.
fn sections(all: &[Section]) -> Markup {
    let shown = all.iter().scan(PLOTS_MAX, |left, section| {
        let shown = section.plots.len().min(*left);
        *left -= shown;
        Some(shown)
    });
    html! {
        @for (s, (section, shown)) in all.iter().zip(shown).enumerate().filter(|(_, (_, shown))| *shown > 0) {
            section.block {
                header {
                    h2 { (section.title) }
                    @if !section.note.is_empty() { p.soft { (section.note) } }
                }
                div.plots {
                    @for (i, own) in section.plots[..shown].iter().enumerate() {
                        (plot::draw(own, &format!("p{s}-{i}")))
                    }
                }
                @if shown < section.plots.len() {
                    p.points { (section.plots.len() - shown) " more are left out; -o json has them" }
                }
            }
        }
    }
}

/// What was assumed, and where figures are from.
fn sure(page: &Page) -> Markup {
    html! {
        section.block {
            header { h2 { "How sure these figures are" } }
            @if !page.sources.is_empty() {
                div.table tabindex="0" role="region" aria-label="Sources" {
                    table.chain {
                        thead { tr { th scope="col" { "Figures" } th scope="col" { "How sure" } th scope="col" { "Source" } } }
                        tbody {
                            @for source in &page.sources {
                                tr {
                                    th scope="row" { (source.of) }
                                    td { span class={ "badge " (kind_name(source.kind)) } { (kind_name(source.kind)) } }
                                    td.source { (source.from) }
                                }
                            }
                        }
                    }
                }
            }
            @if !page.assumed.is_empty() {
                h3 { "Assumed" }
                ul.assumptions { @for sentence in &page.assumed { li { (sentence) } } }
            }
            p.points { "Totals are sums of exact integrals between changes; plots are sampled for the eye alone." }
            @if !page.command.is_empty() { pre { code { (page.command) } } }
        }
    }
}
