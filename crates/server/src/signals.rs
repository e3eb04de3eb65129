//! Feeds the loop with carbon signals: each grid zone's from the first of a chain that can answer. Live sources
//! come first, in order ([`sources`]); then a CSV file where one is given and covers the time; then the built-in
//! typical year; for a zone that is in no table, the world's average.
//!
//! Invariants: a zone's past and forecast are from one source, so average and marginal figures are never in
//! one series; a live source is asked only while the fleet's clock follows the wall's; why a better source is
//! not used stands on the [`Board`]. How far off forecasts were is measured ([`errors`]), and that and what providers
//! told outlives the process ([`keep`]).

pub mod errors;
pub mod keep;
pub mod sources;

use crate::backend::Speed;
use crate::engine::{Engine, FleetClock};
use crate::pacer::Throttle;
use crate::wall;
use anyhow::Context;
use connect::observe::carbon::{self, CarbonFile};
pub use connect::observe::provider::Basis;
use connect::observe::provider::{Error, Known, Place, Standing};
pub use connect::observe::table::plain;
use control::Event;
use errors::{ForecastError, Forecaster, ZoneErrors};
use fleet::{FleetSpec, GridZone, Instant, Provenance, RegionId, Series, SignalKind, Span, builtin};
use keep::Keep;
use sources::LiveSource;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Largest carbon or trace file read, in bytes (before decompression).
pub const FILE_MAX: u64 = 256 << 20;
/// How far forecasts reach.
const FORECAST_HOURS: usize = 14 * 24;
/// History a forecast and a ledger line may look back on.
const HISTORY: Span = Span::from_seconds(30 * 86_400);

/// How often live sources are looked at: the shortest time any of their answers lasts.
const REFRESH: Span = Span::from_seconds(300);
/// The same while zones wait for their turn with a provider that wants its requests apart.
const REFRESH_QUEUE: Span = Span::from_seconds(10);
/// How far a twin's clock may be from the wall's and still follow it: less than two steps of most figures.
const APART_MAX: Span = Span::from_seconds(600);
/// Why a live source is not used at the start, which waits for no network; how the reason begins while it is to be asked.
pub const NOT_YET: &str = "not asked yet";

/// Reads a file whole, within [`FILE_MAX`].
pub fn read_bounded(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_within(path, FILE_MAX).with_context(|| format!("read {}", path.display()))
}

/// Reads a text within [`FILE_MAX`], decompressed when it begins as gzip does.
pub fn read_text(path: &Path) -> anyhow::Result<String> {
    let name = path.display().to_string();
    let bytes = read_bounded(path)?;
    let plain = connect::observe::table::plain(&name, &bytes)?;
    String::from_utf8(plain.into_owned()).with_context(|| format!("{name}: expected a text in UTF-8"))
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

/// One source of a zone's chain, and whether it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceState {
    /// Its name.
    pub source: String,
    /// What its figures count.
    pub basis: Basis,
    /// Whether the zone's figures are from it.
    pub used: bool,
    /// Why it is not used, or what is not as it should be although it is.
    pub why: Option<String>,
    /// When its last figure was given, where it is used.
    pub as_of: Option<Instant>,
    /// Of a live one: whether it is asked, and when next.
    pub standing: Standing,
    /// How far off the forecasts made of it were, where that is known.
    pub errors: Vec<ForecastError>,
}

impl SourceState {
    /// Of a source of which nothing else is known.
    pub fn new(source: impl Into<String>, basis: Basis, used: bool, why: Option<String>) -> SourceState {
        let (standing, errors) = (Standing::default(), Vec::new());
        SourceState { source: source.into(), basis, used, why, as_of: None, standing, errors }
    }
    /// Whether it says the same to people as another one.
    fn says_what(&self, other: &SourceState) -> bool {
        (&self.source, self.used, &self.why) == (&other.source, other.used, &other.why)
    }
}

/// Each zone's sources, best first, down to the one in use.
pub type Sources = BTreeMap<GridZone, Vec<SourceState>>;

/// Where [`Sources`] are written by the chain and read by whoever shows them; cheap to clone.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Sources>>);

impl Board {
    /// As it is now.
    pub fn read(&self) -> Sources {
        self.0.lock().expect("nothing panics while it is held").clone()
    }
    /// Writes a zone's; gives what stood there.
    fn write(&self, zone: &GridZone, states: Vec<SourceState>) -> Vec<SourceState> {
        let mut sources = self.0.lock().expect("nothing panics while it is held");
        sources.insert(zone.clone(), states).unwrap_or_default()
    }
}

/// Why live figures are of no use to a fleet's clock; `Ok`: they are. `pace`: of a twin, and whether it is
/// paused; `None`: the clock is the wall's.
pub fn follows_wall(pace: Option<(Speed, bool)>, fleet: Instant, wall: Instant) -> Result<(), String> {
    let apart = fleet - wall;
    let how = match pace {
        None => return Ok(()),
        Some((_, true)) => "stands still".to_owned(),
        Some((speed, _)) if speed != Speed::Times(1.0) => format!("runs at {speed}"),
        Some(_) if apart.as_nanos().abs() <= APART_MAX.as_nanos() => return Ok(()),
        Some(_) => {
            let minutes = apart.as_seconds() / 60;
            let side = if minutes < 0 { "behind" } else { "ahead of" };
            format!("is {} min {side} the wall clock", minutes.abs())
        }
    };
    Err(format!("asked only while the fleet's clock follows the wall clock (--speed 1x): it {how}"))
}

/// The zones figures are wanted for; cheap to clone. Clusters add theirs when it is known where they stand.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<Wanted>>);

#[derive(Default)]
struct Wanted {
    all: BTreeMap<GridZone, Place>,
    /// Zones some cluster has not been told the signal of.
    fresh: BTreeSet<GridZone>,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.0.lock().expect("nothing panics while it is held")
    }
    /// A cluster stands there; the loop knows it already.
    pub fn add(&self, region: &RegionId, zone: &GridZone) {
        let position = builtin::region(region).map(|region| region.position);
        let mut wanted = self.lock();
        wanted.all.entry(zone.clone()).or_insert(Place { zone: zone.clone(), position });
        wanted.fresh.insert(zone.clone());
    }
    fn all(&self) -> Vec<Place> {
        self.lock().all.values().cloned().collect()
    }
    fn any_fresh(&self) -> bool {
        !self.lock().fresh.is_empty()
    }
    fn take_fresh(&self) -> BTreeSet<GridZone> {
        std::mem::take(&mut self.lock().fresh)
    }
}

/// What the loop is told of a zone.
type Told = (Series, Provenance, Series, Provenance);

/// What is known of a zone, and how that came about.
pub struct Found {
    /// For the loop.
    pub event: Event,
    /// The zone's sources, best first, down to the one in use.
    pub states: Vec<SourceState>,
    /// Who made the forecast; `None`: a stand-in, which foresees nothing.
    pub forecaster: Option<Forecaster>,
}

/// Where each zone's intensity comes from: live sources in order, then a file, then the typical year.
pub struct Chain {
    live: Vec<LiveSource>,
    file: Option<CarbonFile>,
    places: Places,
    board: Board,
    told: BTreeMap<GridZone, Told>,
    errors: BTreeMap<GridZone, ZoneErrors>,
    /// Where an earlier run left what it knew, and this one does.
    keep: Option<Keep>,
    /// What has been read from there: zones, and of live sources by name.
    restored: BTreeSet<(GridZone, &'static str)>,
}

impl Chain {
    /// For the zones of a fleet's clusters.
    pub fn new(fleet: &FleetSpec, live: Vec<LiveSource>, file: Option<CarbonFile>) -> Chain {
        let places = Places::default();
        for cluster in &fleet.clusters {
            places.add(&cluster.region, &cluster.grid_zone);
        }
        Chain {
            live,
            file,
            places,
            board: Board::default(),
            told: BTreeMap::new(),
            errors: BTreeMap::new(),
            keep: None,
            restored: BTreeSet::new(),
        }
    }

    /// What it learns outlives the process in this store, and what an earlier run left there is known.
    pub fn remembering(mut self, store: store::Store) -> Chain {
        self.keep = Some(Keep::new(store));
        self
    }

    /// Where zones are added.
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Where it says which source is used, and why no better one.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// What is known of a zone at `now`, and how that came about. `live`: why
    /// live sources are not asked.
    pub async fn signal(&mut self, place: &Place, now: Instant, live: &Result<(), String>) -> Found {
        let zone = &place.zone;
        let mut states = Vec::new();
        for source in self.live.iter_mut().filter(|source| source.may_know(zone)) {
            let known = match (&mut source.provider, live) {
                (Err(why), _) => Err(why.clone()),
                (Ok(_), Err(why)) => Err(why.clone()),
                (Ok(provider), Ok(())) => {
                    provider.known(place, now).await.map_err(|error| said(source.name, &error))
                }
            };
            let (note, known) = match known {
                Ok(known) => (known.note.clone(), Some(known)),
                Err(why) => (Some(without_name(source.name, why)), None),
            };
            let mut state = SourceState::new(source.name, source.basis, known.is_some(), note);
            state.as_of = known.as_ref().map(|known| known.actual_from.as_of);
            if let Ok(provider) = &source.provider {
                state.standing = provider.standing(zone, now);
            }
            states.push(state);
            if let Some(known) = known {
                let forecaster = Forecaster { source: source.name.to_owned(), own: known.forecast.is_some() };
                return Found { event: as_event(zone, known, now), states, forecaster: Some(forecaster) };
            }
        }
        self.stand_in(zone, now, live.is_ok(), states)
    }

    /// What stands in for live sources: the file, the typical year, the world's average.
    fn stand_in(&self, zone: &GridZone, now: Instant, asked: bool, mut states: Vec<SourceState>) -> Found {
        let basis = Basis::Average;
        let marginal = |source: &LiveSource| source.provider.is_ok() && source.basis == Basis::Marginal;
        // Something must stand in, or nothing at all would be placed; but it is said.
        let mixed = (asked && self.live.iter().any(marginal)).then(|| {
            "average figures stand in beside marginal ones of other zones: they do not compare".to_owned()
        });
        let hour = now.floor_to(Span::HOUR);
        match self.in_file(zone, hour) {
            Some(Ok(event)) => {
                let source = self.file.as_ref().map(|file| file.name.clone()).unwrap_or_default();
                let forecaster = Some(Forecaster { source: source.clone(), own: false });
                states.push(SourceState::new(source, basis, true, mixed));
                return Found { event, states, forecaster };
            }
            Some(Err((source, why))) => states.push(SourceState::new(source, basis, false, Some(why))),
            None => {}
        }
        if let Some(typical) = carbon::typical_year(zone, hour) {
            states.push(SourceState::new("typical year", basis, true, mixed));
            return Found { event: typical.into_event(zone.clone()), states, forecaster: None };
        }
        let why = Some(format!("the built-in table has no zone {zone}"));
        states.push(SourceState::new("typical year", basis, false, why));
        states.push(SourceState::new("world average", basis, true, mixed));
        let event = carbon::world_average(hour).into_event(zone.clone());
        Found { event, states, forecaster: None }
    }

    /// The file's hours up to now, and a forecast made from them; or its name and why it has none.
    fn in_file(&self, zone: &GridZone, now: Instant) -> Option<Result<Event, (String, String)>> {
        let file = self.file.as_ref()?;
        let unknown = || (file.name.clone(), format!("it has no zone {zone}"));
        let actual = match file.period(zone) {
            None => return Some(Err(unknown())),
            Some((first, _)) => file.series(zone, first.max(now - HISTORY), now + Span::HOUR),
        };
        let actual = match actual {
            Ok(known) => known.series,
            Err(error) => return Some(Err((file.name.clone(), error.to_string()))),
        };
        let from = Provenance { source: file.name.clone(), kind: SignalKind::Measured, as_of: now };
        let (forecast, forecast_from) = profile(&actual, &from, now);
        Some(Ok(Event::Intensity { zone: zone.clone(), actual, actual_from: from, forecast, forecast_from }))
    }

    /// Tells the loop every zone's signal that is new.
    pub async fn tell(
        &mut self,
        engine: &Engine,
        now: Instant,
        live: &Result<(), String>,
    ) -> anyhow::Result<()> {
        for zone in self.places.take_fresh() {
            self.told.remove(&zone);
        }
        for place in self.places.all() {
            self.restore(&place.zone, now, live.is_ok()).await;
            let Found { event, mut states, forecaster } = self.signal(&place, now, live).await;
            let zone = place.zone;
            self.learn(&zone, &event, forecaster.as_ref(), now);
            self.save(&zone);
            let errors = self.errors.get(&zone);
            for state in &mut states {
                state.errors = errors.map(|errors| errors.of(&state.source)).unwrap_or_default();
            }
            let before = self.board.write(&zone, states.clone());
            self.warn(&zone, (&before, &states), live.is_ok());
            match event {
                Event::Intensity { zone, actual, actual_from, forecast, forecast_from } => {
                    let new = (actual, actual_from, forecast, forecast_from);
                    if self.told.get(&zone) != Some(&new) {
                        self.told.insert(zone.clone(), new.clone());
                        let (actual, actual_from, forecast, forecast_from) = new;
                        let event = Event::Intensity { zone, actual, actual_from, forecast, forecast_from };
                        engine.tell(event).await?;
                    }
                }
                other => engine.tell(other).await?,
            }
        }
        Ok(())
    }

    /// Whether zones wait for their turn with some provider.
    pub fn has_queue(&self, now: Instant) -> bool {
        let mut set_up = self.live.iter().filter_map(|source| source.provider.as_ref().ok());
        set_up.any(|provider| provider.has_queue(now))
    }

    /// Takes in once what an earlier run left of a zone. What providers told is of the wall's time, so it waits until
    /// the fleet's clock follows that.
    async fn restore(&mut self, zone: &GridZone, now: Instant, asked: bool) {
        let Some(keep) = &self.keep else { return };
        if self.restored.insert((zone.clone(), "")) {
            let errors = keep.errors(zone).await.and_then(|errors| errors.restored(now));
            self.errors.insert(zone.clone(), errors.unwrap_or_default());
        }
        for source in self.live.iter_mut().filter(|source| asked && source.may_know(zone)) {
            let Ok(provider) = &mut source.provider else { continue };
            if self.restored.insert((zone.clone(), source.name))
                && let Some(saved) = keep.provider(source.name, zone).await
                && let Err(why) = provider.restore(zone, &saved, now)
            {
                tracing::info!(%zone, source = source.name, "what an earlier run left is not used: {why}");
            }
        }
    }

    /// Holds earlier forecasts against what is known now, and remembers the one in use.
    fn learn(&mut self, zone: &GridZone, event: &Event, by: Option<&Forecaster>, now: Instant) {
        if let (Some(by), Event::Intensity { actual, forecast, .. }) = (by, event) {
            self.errors.entry(zone.clone()).or_default().take_in(by, actual, forecast, now);
        }
    }

    /// Leaves what is known of a zone for the next run.
    fn save(&mut self, zone: &GridZone) {
        let Some(keep) = &mut self.keep else { return };
        for source in &mut self.live {
            if let Ok(provider) = &mut source.provider {
                keep.put_provider(source.name, zone, || provider.save(zone));
            }
        }
        if let Some(errors) = self.errors.get(zone).filter(|errors| **errors != ZoneErrors::default()) {
            keep.put_errors(zone, errors);
        }
    }

    /// Says once what keeps a source from being used that somebody has set up and that was asked.
    fn warn(&self, zone: &GridZone, (before, states): (&[SourceState], &[SourceState]), asked: bool) {
        let set_up = |state: &SourceState| {
            let live = |source: &LiveSource| source.name == state.source && source.provider.is_ok();
            let file = self.file.as_ref().is_some_and(|file| file.name == state.source);
            file || asked && self.live.iter().any(live)
        };
        let said = |state: &SourceState| before.iter().any(|earlier| earlier.says_what(state));
        for state in states.iter().filter(|state| !said(state) && set_up(state)) {
            if let Some(why) = state.why.as_ref().filter(|why| !why.starts_with(NOT_YET)) {
                tracing::warn!(%zone, source = state.source, used = state.used, "{why}");
            }
        }
    }
}

/// Why a provider has no answer.
fn said(name: &str, error: &Error) -> String {
    let why = error.to_string();
    match error {
        Error::Turn { .. } => format!("{NOT_YET}: {}", without_name(name, why)),
        _ => why,
    }
}

/// The chain names the source itself.
fn without_name(name: &str, why: String) -> String {
    why.strip_prefix(&format!("{name}: ")).map(str::to_owned).unwrap_or(why)
}

/// What a provider knows, as the loop is told. Where its forecast ends, or it has none, the profile of what
/// was goes on: plans look further ahead than providers do.
fn as_event(zone: &GridZone, known: Known, now: Instant) -> Event {
    let Known { actual, mut actual_from, forecast, .. } = known;
    actual_from.as_of = actual_from.as_of.min(now);
    let (forecast, forecast_from) = match forecast {
        None => profile(&actual, &actual_from, now),
        Some((own, from)) => lengthened(&actual, own, from, now),
    };
    Event::Intensity { zone: zone.clone(), actual, actual_from, forecast, forecast_from }
}

/// A forecast from the past alone.
fn profile(actual: &Series, from: &Provenance, now: Instant) -> (Series, Provenance) {
    let source = planner::forecast::source(&from.source);
    let forecast = planner::forecast::forecast(actual, now, FORECAST_HOURS);
    (forecast, Provenance { source, kind: SignalKind::Forecast, as_of: now })
}

/// A provider's forecast, and behind its end the profile of what was and of it.
fn lengthened(actual: &Series, own: Series, from: Provenance, now: Instant) -> (Series, Provenance) {
    let (step, end) = (own.step(), own.end());
    let hours = FORECAST_HOURS as i64 - (end - now.floor_to(Span::HOUR)).as_nanos() / Span::HOUR.as_nanos();
    let before = usize::try_from((own.start() - actual.start()).as_nanos() / step.as_nanos()).unwrap_or(0);
    let mut values = actual.resample(own.start() - step.scaled(before as i64, 1), step, before);
    values.extend_from_slice(own.values());
    let whole = Series::new(own.start() - step.scaled(before as i64, 1), step, values);
    let (Some(whole), Ok(hours @ 1..)) = (whole, usize::try_from(hours)) else { return (own, from) };
    let profile = planner::forecast::forecast(&whole, end, hours);
    let steps = (Span::HOUR.as_nanos() / step.as_nanos()).max(1) as usize * hours;
    let mut values = own.values().to_vec();
    values.extend((0..steps).map(|i| profile.at(end + step.scaled(i as i64, 1))));
    let source = format!("{}; from {end} on learnt from what came before", from.source);
    match Series::new(own.start(), step, values) {
        Some(series) => (series, Provenance { source, ..from }),
        None => (own, from),
    }
}

/// Tells the signals anew at each hour of the fleet's time, and more often while live sources are asked.
/// `throttle`: of a twin; `None`: the clock is the wall's.
pub async fn run(
    mut chain: Chain,
    engine: Engine,
    clock: Arc<dyn FleetClock>,
    throttle: Option<Arc<Throttle>>,
) {
    let mut told = clock.now();
    let mut before = Err(NOT_YET.to_owned());
    // A fast twin's hours are short.
    let nap = Duration::from_millis(if throttle.is_some() { 20 } else { 500 });
    loop {
        tokio::time::sleep(nap).await;
        let now = clock.now();
        let live = follows_wall(throttle.as_ref().map(|throttle| throttle.get()), now, wall::now());
        let hour = now.floor_to(Span::HOUR) > told.floor_to(Span::HOUR);
        let refresh = if chain.has_queue(now) { REFRESH_QUEUE } else { REFRESH };
        let due = live.is_ok() && now >= told + refresh;
        if hour || live != before || due || chain.places.any_fresh() {
            (told, before) = (now, live);
            if chain.tell(&engine, now, &before).await.is_err() {
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
