//! What stands around every page: the bar that says which clock, which mode, and whether any figure is
//! assumed; the list of pages; the language.

use super::ask::{Ask, address};
use super::assets;
use super::format::Reader;
use super::text::{Lang, M};
use crate::backend::{Clock, Speed};
use control::View;
use fleet::{Instant, Mode, SignalKind};
use maud::{DOCTYPE, Markup, html};

/// The pages, in order.
const PAGES: [(&str, M); 6] = [
    ("/", M::Fleet),
    ("/jobs", M::Jobs),
    ("/savings", M::Savings),
    ("/capacity", M::Capacity),
    ("/signals", M::Signals),
    ("/plans", M::Plans),
];

/// Speeds offered, as virtual seconds a second.
const SPEEDS: [Speed; 5] =
    [Speed::Times(1.0), Speed::Times(60.0), Speed::Times(600.0), Speed::Times(3600.0), Speed::Max];

/// A page, to be put into the layout.
pub struct Page<'a> {
    /// What was asked.
    pub ask: &'a Ask,
    /// Which page (its address in the list).
    pub here: &'static str,
    /// Title.
    pub title: String,
    /// What is shown.
    pub view: &'a View,
    /// The clock.
    pub clock: Clock,
    /// Worst kind among the figures of the page.
    pub worst: Option<SignalKind>,
    /// The page itself.
    pub body: Markup,
}

/// A time people read, with the exact one behind it.
pub fn time(reader: Reader, at: Instant) -> Markup {
    html! { time datetime=(at.to_rfc3339_seconds()) { (reader.moment(at)) } }
}

/// A badge that says how a figure was come by.
pub fn badge(reader: Reader, kind: SignalKind) -> Markup {
    let class = match kind {
        SignalKind::Measured => "measured",
        SignalKind::Forecast => "forecast",
        SignalKind::Estimated => "estimated",
        SignalKind::Assumed => "assumed",
    };
    html! { span class={ "badge " (class) } { (reader.kind(kind)) } }
}

/// What a page without data says: what to type next.
pub fn empty(reader: Reader, title: M, how: M, commands: &[&str]) -> Markup {
    html! {
        section.empty {
            h2 { (reader.say(title)) }
            p { (reader.say(how)) }
            @for command in commands { pre { code { (command) } } }
        }
    }
}

/// The command that creates a first Job, in the fleet's first cluster.
pub fn first_job(view: &View) -> String {
    let context = view.clusters.first().map_or("kr", |c| c.facts.context.as_str());
    format!("kubectl --context {context} apply -f examples/job.yaml")
}

/// `×600`, `max`.
fn pace(reader: Reader, speed: Speed) -> String {
    match speed {
        Speed::Times(times) => format!("×{}", super::format::number(times)),
        Speed::Max => reader.say(M::AsFast).to_owned(),
    }
}

fn clock_bar(page: &Page<'_>) -> Markup {
    let (reader, clock) = (page.ask.reader, page.clock);
    let back = page.ask.at(&page.ask.path);
    let order = |order: &str| address("/clock", &[("do", order), ("back", &back)]);
    html! {
        div.clock {
            span.which { (reader.say(if clock.twin { M::TwinClock } else { M::WallClock })) }
            time.at datetime=(clock.at.to_rfc3339_seconds()) { (reader.date_time(clock.at)) }
            span.zone { (reader.zone()) }
            @if clock.twin {
                form method="post" action=(order(if clock.paused { "resume" } else { "pause" })) data-live {
                    button type="submit" { (reader.say(if clock.paused { M::Resume } else { M::Pause })) }
                    details.speeds id="speeds" {
                        summary {
                            span.hidden { (reader.say(M::SpeedLabel)) " " }
                            @if clock.paused { (reader.say(M::Paused)) } @else { (pace(reader, clock.speed)) }
                        }
                        div {
                            @for speed in SPEEDS {
                                button type="submit" formaction=(order(&speed.to_string()))
                                    aria-pressed=(if speed == clock.speed { "true" } else { "false" }) {
                                    (pace(reader, speed))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn status(page: &Page<'_>) -> Markup {
    let reader = page.ask.reader;
    let mode = match page.view.mode {
        Mode::Observe => M::ModeObserve,
        Mode::Approve => M::ModeApprove,
        Mode::Auto => M::ModeAuto,
    };
    html! {
        div.status id="status" {
            (clock_bar(page))
            span.mode title=(reader.say(M::Mode)) { (reader.say(mode)) }
            @if page.worst == Some(SignalKind::Assumed) {
                span.badge.assumed title=(reader.say(M::AssumedWhy)) { (reader.say(M::AssumedTop)) }
            } @else if page.worst.is_some() {
                span.badge.measured { (reader.say(M::NoAssumed)) }
            }
            span.live id="live" role="status" data-live=(reader.say(M::Live)) data-offline=(reader.say(M::Offline)) data-keep {}
        }
    }
}

/// The whole document.
pub fn document(page: &Page<'_>) -> Markup {
    let reader = page.ask.reader;
    html! {
        (DOCTYPE)
        html lang=(reader.lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) " · Kuber Carbon" }
                link rel="stylesheet" href=(assets::STYLE.href());
                link rel="icon" href=(assets::ICON.href()) type="image/svg+xml";
                script src=(assets::SCRIPT.href()) defer {}
            }
            body data-zone=(reader.zone_minutes) {
                a.skip href="#main" { (reader.say(M::SkipToContent)) }
                header.top {
                    a.brand href="/" data-go {
                        img src=(assets::ICON.href()) alt="" width="24" height="24";
                        span { "Kuber Carbon" }
                    }
                    nav aria-label=(reader.say(M::Navigation)) {
                        @for (href, name) in PAGES {
                            a href=(href) data-go aria-current=[(href == page.here).then_some("page")] { (reader.say(name)) }
                        }
                    }
                    div.languages role="group" aria-label=(reader.say(M::Language)) {
                        @for lang in Lang::ALL {
                            a href=(page.ask.with("lang", Some(lang.tag()))) lang=(lang.tag()) hreflang=(lang.tag())
                                aria-current=[(lang == reader.lang).then_some("true")] { (lang.name()) }
                        }
                    }
                    (status(page))
                }
                main id="main" tabindex="-1" { (page.body) }
            }
        }
    }
}
