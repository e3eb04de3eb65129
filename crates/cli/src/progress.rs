//! How far something long has come: a bar on stderr when that is a terminal, nothing in pipes or with `--quiet`.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// How often the bar is drawn anew, so that its clock goes on while a step takes long.
const TICK: Duration = Duration::from_millis(250);

/// A bar of so many seconds of virtual time.
pub fn bar(quiet: bool, name: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length.max(1));
    if quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = "{msg} [{bar:30}] {percent:>3} %  {elapsed} gone, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(format!("{name:>8}"));
    if !bar.is_hidden() {
        bar.enable_steady_tick(TICK);
    }
    bar
}
