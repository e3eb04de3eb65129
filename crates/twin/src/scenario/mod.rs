//! Scenario files: a cluster, objects, steps at times, and what has to be so when. A reader learns from one what
//! Kubernetes does; a test holds the twin to it.
//!
//! Pure: text in, [`Scenario`]; [`run`] plays it on a [`World`](crate::World) and gives a [`Report`] with the timeline of
//! states and events and every expectation's outcome. The same text gives the same bytes. Times are spans from the start.
//! Errors name line and column, or the field by its path.

mod course;
mod drawn;
mod expect;
mod fault;
mod file;
mod messages;
mod run;
mod timeline;
mod traffic;
mod vary;
mod work;

pub use course::{Course, CourseStep, QueueCourse, QueueStep, STEPS, ServiceCourse, ServiceStep};
pub use drawn::{Drawn, DrawnByPod};
pub use file::{Error, parse, parse_changed};
pub use messages::{QueuePoint, QueueReport};
pub use run::{Outcome, Report, Setting, run, run_with};
pub use traffic::{Point, Traffic};
pub use vary::{Change, SHORT};
pub use work::Work;

use crate::apiserver::selector::LabelSelector;
use crate::apiserver::{PatchType, Propagation, Subresource};
use crate::drain::Flags;
use crate::fault::Fault;
use crate::kind::Kind;
use crate::traffic::{Curve, Trace};
use fleet::{FleetSpec, GridZone, Instant, Provenance, Series, Span};
use serde_json::Value;

/// Most objects, steps and expectations of a scenario, each.
pub const ENTRIES_MAX: usize = 1000;
/// Longest time a scenario may last.
pub const LENGTH_MAX: Span = Span::from_seconds(30 * 86_400);
/// Most lines of a timeline; the rest is counted.
pub const LINES_MAX: usize = 20_000;
/// Most changes of the requests to a Service that are kept in figures; the rest is counted.
pub const SERIES_MAX: usize = 10_000;

/// A scenario, read and checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows.
    pub about: String,
    fleet: FleetSpec,
    start: Instant,
    length: Span,
    /// What chance is drawn from.
    pub seed: u64,
    /// Carbon intensity of the cluster's electricity and where it is from; `None`: that of a typical year of its grid zone,
    /// if the built-in table has it.
    pub carbon: Option<(Series, Provenance)>,
    watch: Vec<Kind>,
    objects: Vec<Value>,
    traces: Vec<Recorded>,
    steps: Vec<Step>,
    expect: Vec<Expectation>,
}

/// Requests to a Service as they were recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Where they are recorded, as written: whoever plays the scenario reads it.
    pub file: String,
    namespace: String,
    service: String,
    trace: Trace,
    curve: Option<Curve>,
}

impl Scenario {
    /// When it begins.
    pub fn start(&self) -> Instant {
        self.start
    }
    /// How long it lasts.
    pub fn length(&self) -> Span {
        self.length
    }
    /// Where the cluster's electricity is from.
    pub fn grid_zone(&self) -> &GridZone {
        &self.fleet.clusters[0].grid_zone
    }
    /// Traces that have to be read before it is played, in the order in which they are stated.
    pub fn traces(&self) -> &[Recorded] {
        &self.traces
    }
    /// Takes in the text of a trace: a table with a header, with commas between.
    ///
    /// # Errors
    /// What is wrong with the table, and in which line.
    pub fn read_trace(&mut self, which: usize, text: &str) -> Result<(), String> {
        if let Some(own) = self.traces.get_mut(which) {
            own.curve = Some(Curve::read_trace(text, &own.trace)?);
        }
        Ok(())
    }
}

/// Something done at a time.
#[derive(Clone, Debug)]
struct Step {
    at: Span,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Create(Box<Value>),
    Patch(Target, Box<Patch>),
    Delete(Target, Removal),
    Evict(Target),
    Scale(Target, i32),
    Stop(String),
    ShutDown(String),
    Start(String),
    BeginFault(Fault),
    EndFault(Fault),
    /// A node, as `kubectl drain` does.
    Drain(String, Box<Flags>),
}

/// How an object is changed.
#[derive(Clone, Debug)]
struct Patch {
    kind: PatchType,
    subresource: Option<Subresource>,
    with: Value,
}

/// How an object is deleted.
#[derive(Clone, Copy, Debug, Default)]
struct Removal {
    /// Without waiting for it to end.
    force: bool,
    /// What becomes of dependents; `None`: the kind's default.
    propagation: Option<Propagation>,
}

/// Which objects are meant: by name, or by labels.
#[derive(Clone, Debug)]
struct Target {
    kind: Kind,
    namespace: String,
    name: Option<String>,
    labels: Option<LabelSelector>,
    /// Of those that fit, in the order they were made: `None` all.
    nth: Option<usize>,
}

/// When something has to be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    At(Span),
    /// At some instant until then.
    By(Span),
    /// At every instant between the two.
    Throughout(Span, Span),
}

/// What an expectation is about.
#[derive(Clone, Debug)]
enum Subject {
    Objects(Target),
    /// The requests to a Service, by namespace and name.
    Traffic(String, String),
    /// A queue of messages, by namespace and name.
    Queue(String, String),
}

/// What has to be so: how many objects there are that are as stated.
#[derive(Clone, Debug)]
struct Expectation {
    when: When,
    subject: Subject,
    /// Paths and what stands there.
    is: Vec<(String, Value)>,
    least: usize,
    most: usize,
    /// As written, for the report.
    text: String,
}
