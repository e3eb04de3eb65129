//! Feeds the loop with carbon signals: a CSV file where one is given and covers the time, else the
//! built-in typical year.

use crate::engine::{Engine, FleetClock};
use anyhow::Context;
use connect::observe::carbon::{self, CarbonFile};
pub use connect::observe::table::plain;
use control::Event;
use fleet::{GridZone, Instant, Provenance, SignalKind, Span};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Largest carbon or trace file read, in bytes (before decompression).
pub const FILE_MAX: u64 = 256 << 20;
/// How far forecasts reach.
const FORECAST_HOURS: usize = 14 * 24;
/// History a forecast and a ledger line may look back on.
const HISTORY: Span = Span::from_seconds(30 * 86_400);

/// Reads a file whole, within [`FILE_MAX`].
pub fn read_bounded(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_within(path, FILE_MAX).with_context(|| format!("read {}", path.display()))
}

/// Reads a stream to its end, within [`FILE_MAX`].
pub fn bounded(name: &str, stream: impl Read) -> anyhow::Result<Vec<u8>> {
    within(stream, FILE_MAX).with_context(|| format!("read {name}"))
}

/// Reads a file of at most `most` bytes whole.
pub(crate) fn read_within(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    within(File::open(path)?, most)
}

/// Reads at most `most` bytes. Counts what is read: what a pipe or a device says of its size means
/// nothing, and a file may grow.
fn within(stream: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = format!("more than {most} bytes: expected at most that");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Reads a carbon CSV file.
pub fn read_carbon(path: &Path) -> anyhow::Result<CarbonFile> {
    let bytes = read_bounded(path)?;
    Ok(carbon::read_csv(&path.display().to_string(), &bytes)?)
}

/// Where a zone's intensity comes from.
pub struct Chain {
    /// The file, if one was given.
    pub file: Option<CarbonFile>,
}

impl Chain {
    /// What is known of a zone at `now`; `None` when no source knows it.
    pub fn signal(&self, zone: &GridZone, now: Instant) -> Option<Event> {
        let typical = || carbon::typical_year(zone, now).map(|known| known.into_event(zone.clone()));
        self.in_file(zone, now).or_else(typical)
    }

    /// The file's hours up to now, and a forecast made from them; `None` where the file does not reach.
    fn in_file(&self, zone: &GridZone, now: Instant) -> Option<Event> {
        let file = self.file.as_ref()?;
        let (first, _) = file.period(zone)?;
        let actual = match file.series(zone, first.max(now - HISTORY), now + Span::HOUR) {
            Ok(known) => known.series,
            Err(error) => {
                tracing::warn!(%error, "the typical year stands in");
                return None;
            }
        };
        let from = Provenance { source: file.name.clone(), kind: SignalKind::Measured, as_of: now };
        let source = planner::forecast::source(&from.source);
        Some(Event::Intensity {
            zone: zone.clone(),
            forecast: planner::forecast::forecast(&actual, now, FORECAST_HOURS),
            actual,
            actual_from: from,
            forecast_from: Provenance { source, kind: SignalKind::Forecast, as_of: now },
        })
    }

    /// Tells the loop every zone's signal, now.
    pub async fn tell(&self, engine: &Engine, zones: &[GridZone], now: Instant) -> anyhow::Result<()> {
        for zone in zones {
            match self.signal(zone, now) {
                Some(event) => engine.tell(event).await?,
                None => {
                    tracing::warn!(%zone, "no source knows this grid zone: nothing is placed in its clusters")
                }
            }
        }
        Ok(())
    }
}

/// Tells the signals anew at each hour of the fleet's time.
pub async fn run(chain: Chain, engine: Engine, clock: Arc<dyn FleetClock>, zones: Vec<GridZone>) {
    let mut told = clock.now().floor_to(Span::HOUR);
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let hour = clock.now().floor_to(Span::HOUR);
        if hour > told {
            told = hour;
            if chain.tell(&engine, &zones, hour).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_file_is_read_to_its_bound_whatever_it_says_of_its_size() {
        let endless = Path::new("/dev/zero");
        assert_eq!(
            read_within(endless, 9).unwrap_err().to_string(),
            "more than 9 bytes: expected at most that"
        );
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let size = std::fs::metadata(&manifest).unwrap().len();
        assert_eq!(read_within(&manifest, size).unwrap().len() as u64, size);
        assert!(read_within(&manifest, size - 1).is_err());
    }
}
