//! What the containers of a pod do: how long they run, how they end, what they serve and use.
//!
//! In order of precedence: the annotations below (of one container: `KEY.twin.kubercarbon.io/CONTAINER`; of all
//! containers that are not init containers: `twin.kubercarbon.io/KEY`); for a Job's pod, the Job's
//! `kubercarbon.io/expected-duration` shared by its waves of pods, times a factor from 0.95 to 1.05 drawn from a stream
//! keyed by the pod's uid (so that the order of starts does not matter); a command that can be read ([`script`]); what
//! the image is known to be ([`server`]); else 60 s for a pod that is to end (in an imported cluster, a Job's share of what
//! such Jobs lasted), 5 s for an init container, and for ever for any other. `docs/pods.md` has the list.
//! Assumption: a running container of which nothing else is stated uses exactly the CPU and memory it requests.

pub(crate) mod files;
pub(crate) mod process;
mod profile;
mod script;
pub(crate) mod server;
mod sum;

pub(crate) use profile::Profile;
pub(crate) use script::Program;

use crate::apiserver::quantity::NANO;
use crate::random::Stream;
use fleet::Span;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::sync::Arc;

/// Run time of the pod, e.g. `25m`.
pub const RUN_FOR: &str = "twin.kubercarbon.io/run-for";
/// Exit code of the pod's containers, 0 to 255.
pub const EXIT_CODE: &str = "twin.kubercarbon.io/exit-code";
/// Expected run time of a whole Job at its parallelism.
pub const EXPECTED_DURATION: &str = "kubercarbon.io/expected-duration";
/// `"true"` on a Job whose pods save their progress when they are told to end.
pub const INTERRUPTIBLE: &str = "kubercarbon.io/interruptible";
/// What taking up saved work again costs: reading the checkpoint back.
pub const RESTART_COST: Span = Span::from_seconds(5);
/// From the signal to end to the end; `never`: only being killed ends it.
pub const STOP_AFTER: &str = "twin.kubercarbon.io/stop-after";
/// Ends with an error so long after every start.
pub const CRASH_AFTER: &str = "twin.kubercarbon.io/crash-after";
/// Answers probes over the network only so long after its start.
pub const READY_AFTER: &str = "twin.kubercarbon.io/ready-after";
/// Answers them no more so long after its start.
pub const UNHEALTHY_AFTER: &str = "twin.kubercarbon.io/unhealthy-after";
/// Memory it uses: an amount, or amounts from times after its start on (`0s=100Mi,5m=2Gi`).
pub const MEMORY: &str = "twin.kubercarbon.io/memory";
/// CPU it uses, likewise (`0s=100m,5m=2`).
pub const CPU: &str = "twin.kubercarbon.io/cpu";
/// Disk it uses, of its own files and what it logs, likewise.
pub const DISK: &str = "twin.kubercarbon.io/disk";
/// How long its image takes to be pulled, e.g. `90s`.
pub const PULL_FOR: &str = "twin.kubercarbon.io/pull-for";
/// How often pulling its image fails first: a number, or `always`.
pub const PULL_FAILS: &str = "twin.kubercarbon.io/pull-fails";

/// Run time of a pod that is to end, of which nothing is known.
const JOB_POD_RUN: Span = Span::from_seconds(60);
/// Run time of an init container of which nothing is known.
const INIT_RUN: Span = Span::from_seconds(5);
/// Exit code of what crashes and does not say how.
const EXIT_CRASHED: i32 = 1;
/// Programs that arguments without a command begin with where these are the command: `kubectl run NAME -- sh -c …` on an
/// image without an entry point.
const STARTERS: [&str; 5] = ["sh", "bash", "sleep", "true", "false"];
/// Domain of the annotations.
const DOMAIN: &str = "twin.kubercarbon.io/";

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// Starts before the others and ends after them.
    Sidecar,
    App,
}

impl Role {
    /// Of the containers of a pod: init containers first.
    pub(crate) fn of(container: &Container, init: bool) -> Role {
        match (init, container.restart_policy.as_deref()) {
            (false, _) => Role::App,
            (true, Some("Always")) => Role::Sidecar,
            (true, _) => Role::Init,
        }
    }
}

/// What a container does once it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Runs so long (`None`: for ever), then ends.
    Lasts { run_for: Option<Span>, exit_code: i32 },
    /// What its command says.
    Script(Arc<Program>),
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether a Job's pods save their progress.
pub(crate) fn is_interruptible(job: &Job) -> bool {
    annotation(&job.metadata, INTERRUPTIBLE) == Some("true")
}

/// What is stated about a container.
pub(crate) fn stated<'a>(pod: &'a Pod, key: &str, container: &Container, role: Role) -> Option<&'a str> {
    let name = key.strip_prefix(DOMAIN).unwrap_or(key);
    let own = annotation(&pod.metadata, &format!("{name}.{DOMAIN}{}", container.name));
    own.or_else(|| annotation(&pod.metadata, key).filter(|_| role == Role::App))
}

/// A stated length of time.
pub(crate) fn stated_span(pod: &Pod, key: &str, container: &Container, role: Role) -> Option<Span> {
    stated(pod, key, container, role).and_then(|text| Span::parse(text).ok())
}

/// What a container is stated to use of memory, in bytes.
pub(crate) fn memory(pod: &Pod, container: &Container) -> Option<Profile> {
    used(pod, MEMORY, container, 1)
}

/// What it is stated to use of disk, in bytes.
pub(crate) fn disk(pod: &Pod, container: &Container) -> Option<Profile> {
    used(pod, DISK, container, 1)
}

/// What it is stated to use of CPU, in nanocores.
pub(crate) fn cpu(pod: &Pod, container: &Container) -> Option<Profile> {
    used(pod, CPU, container, NANO)
}

fn used(pod: &Pod, key: &str, container: &Container, parts: i128) -> Option<Profile> {
    let init =
        pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten()).any(|c| c.name == container.name);
    Profile::parse(stated(pod, key, container, Role::of(container, init))?, parts)
}

/// Whether an annotation's key is this one, about all containers or about one.
pub(crate) fn is_key(key: &str, known: &str) -> bool {
    let name = known.strip_prefix(DOMAIN).unwrap_or(known);
    key == known || key.split_once('.').is_some_and(|(own, rest)| own == name && rest.starts_with(DOMAIN))
}

/// Whether an annotation says what a container uses, and that it uses other amounts as time goes.
pub(crate) fn varies(key: &str, value: &str) -> bool {
    value.contains('=') && [CPU, MEMORY].iter().any(|known| is_key(key, known))
}

/// Whether a pod is one that ends by itself.
fn is_to_end(pod: &Pod) -> bool {
    let policy = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref());
    matches!(policy, Some("Never" | "OnFailure"))
}

/// What a container of a pod does; `job` is the Job that owns it, `learnt` what that is taken to last where nothing says.
pub(crate) fn of(
    pod: &Pod,
    (container, role): (&Container, Role),
    job: Option<&Job>,
    learnt: Option<Span>,
    seed: u64,
) -> Does {
    let annotated = |key: &str| stated_span(pod, key, container, role);
    let crash = annotated(CRASH_AFTER);
    let code = stated(pod, EXIT_CODE, container, role).and_then(|text| text.parse::<u8>().ok());
    let job = job.filter(|_| role == Role::App);
    let run_for = annotated(RUN_FOR).or(crash).or_else(|| job.and_then(|job| expected(pod, job, seed)));
    let program = program(container);
    // What saves its progress has to be known by its length.
    let saves = job.is_some_and(is_interruptible);
    if run_for.is_none()
        && code.is_none()
        && let Some(program) =
            program.clone().filter(|program| !saves || process::duration(program).is_none())
    {
        return Does::Script(program);
    }
    let run_for = run_for.or_else(|| program.as_deref().and_then(process::duration)).or_else(|| match role {
        _ if program.is_some() || server::stays(container) => None,
        Role::App if job.is_none() && !is_to_end(pod) => None,
        Role::App => {
            let learnt = learnt.and_then(|whole| share(pod, job?, whole, seed));
            Some(learnt.unwrap_or(JOB_POD_RUN))
        }
        Role::Init => Some(INIT_RUN),
        Role::Sidecar => None,
    });
    let said = || program.as_deref().and_then(process::exit_code);
    let exit_code = code.map(i32::from).or(crash.map(|_| EXIT_CRASHED)).or_else(said).unwrap_or(0);
    Does::Lasts { run_for, exit_code }
}

/// Whether anything but a default says how long a container runs.
pub(crate) fn says(pod: &Pod, container: &Container, role: Role) -> bool {
    let annotated = [RUN_FOR, CRASH_AFTER].iter().any(|key| stated_span(pod, key, container, role).is_some());
    annotated || program(container).is_some()
}

/// How long a program lasts when it is alone (`None`: for ever), and its exit code.
pub(crate) fn alone(program: &Program) -> (Option<Span>, i32) {
    (process::duration(program), process::exit_code(program).unwrap_or(0))
}

/// Whether a container's arguments are a command: its image's entry point, if it has one, is not known, but these name a
/// program that runs others, waits, or does nothing else.
fn starts_itself(container: &Container) -> bool {
    let first = container.args.iter().flatten().next().map_or("", String::as_str);
    STARTERS.contains(&first.rsplit('/').next().unwrap_or_default())
}

/// What a container's command says, if that can be read.
pub(crate) fn program(container: &Container) -> Option<Arc<Program>> {
    let words = container.command.iter().flatten().chain(container.args.iter().flatten()).cloned();
    let words: Vec<String> = words.collect();
    let command = container.command.as_ref().is_some_and(|command| !command.is_empty());
    if !(command || starts_itself(container)) || server::is_agnhost(container) {
        return server::one_shot(container).then(|| Arc::new(Program::default()));
    }
    Program::of_words(&words).map(Arc::new)
}

/// A pod's share of its Job's expected duration.
fn expected(pod: &Pod, job: &Job, seed: u64) -> Option<Span> {
    share(pod, job, Span::parse(annotation(&job.metadata, EXPECTED_DURATION)?).ok()?, seed)
}

/// A pod's share of what its whole Job lasts.
fn share(pod: &Pod, job: &Job, whole: Span, seed: u64) -> Option<Span> {
    let spec = job.spec.as_ref()?;
    let parallelism = i64::from(spec.parallelism.unwrap_or(1)).max(1);
    let completions = spec.completions.map_or(parallelism, i64::from).max(1);
    let waves = (completions + parallelism - 1) / parallelism;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let millionths = 950_000 + Stream::new(seed, &format!("work/{uid}")).below(100_001) as i64;
    Some(whole.scaled(millionths, 1_000_000 * waves))
}

#[cfg(test)]
mod tests;
