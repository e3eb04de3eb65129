//! The contract of a Job: its `kubercarbon.io/` annotations, read and checked (PRODUCT row P1).
//!
//! What is wrong is named, one error an annotation, and read in the safe way: a deadline that cannot
//! be read allows no delay, a clusters selector that cannot be read matches no cluster (its text is
//! kept as it stands, so [`crate::selector::Selector::parse`] refuses it again), anything else counts as
//! not there.

use crate::elastic;
use crate::placement::LENGTH_MIN;
use crate::selector::Selector;
use fleet::{Bytes, ClusterId, DataSource, Instant, PlacementContract, Resources, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Must be finished by then.
pub const DEADLINE: &str = "kubercarbon.io/deadline";
/// Must be finished so long after creation.
pub const FINISH_WITHIN: &str = "kubercarbon.io/finish-within";
/// How long it runs.
pub const EXPECTED_DURATION: &str = "kubercarbon.io/expected-duration";
/// Whether it may be paused.
pub const INTERRUPTIBLE: &str = "kubercarbon.io/interruptible";
/// Label selector over the clusters.
pub const CLUSTERS: &str = "kubercarbon.io/clusters";
/// Input data.
pub const DATA: &str = "kubercarbon.io/data";

/// Fewest and most pods at a time it may run with.
pub const PARALLELISM: &str = "kubercarbon.io/parallelism";
/// How much faster it runs with more pods at a time.
pub const SCALING: &str = "kubercarbon.io/scaling";
/// What becomes of it at its deadline.
pub const AT_DEADLINE: &str = "kubercarbon.io/at-deadline";

/// Most data one Job can name: an exbibyte.
const DATA_MAX: i64 = 1 << 60;
/// Characters of a wrong value shown.
const SHOWN: usize = 80;

/// An annotation that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {key}: found \"{found}\", expected {expected}")]
pub struct ContractError {
    /// The annotation.
    pub key: &'static str,
    /// What stood there.
    pub found: String,
    /// What should have.
    pub expected: String,
}

/// Reads annotations by key and collects what is wrong.
struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    errors: Vec<ContractError>,
}

impl Reader<'_> {
    fn read<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.annotations.get(key)?;
        match parse(text.trim()) {
            Ok(value) => Some(value),
            Err(expected) => {
                let found = text.chars().take(SHOWN).collect();
                self.errors.push(ContractError { key, found, expected });
                None
            }
        }
    }
}

/// Reads the contract of a Job created at `created`, in a fleet of these clusters. Of a `deadline` and
/// a `finish-within` the earlier counts.
pub fn parse(
    annotations: &BTreeMap<String, String>,
    created: Instant,
    clusters: &BTreeSet<ClusterId>,
) -> (PlacementContract, Vec<ContractError>) {
    let mut reader = Reader { annotations, errors: Vec::new() };
    let deadline = reader.read(DEADLINE, |text| {
        Instant::parse(text).map_err(|_| "a time in RFC 3339, e.g. 2026-05-01T09:00:00Z".to_owned())
    });
    let within = reader.read(FINISH_WITHIN, |text| positive(text, "12h"));
    // Half of what was asked for may be the stricter half: without both, no delay.
    let unread = reader.errors.iter().any(|error| error.key == DEADLINE || error.key == FINISH_WITHIN);
    let deadline = match (deadline, within.map(|span| created + span)) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let expected_duration = reader.read(EXPECTED_DURATION, |text| positive(text, "45m"));
    let interruptible = reader.read(INTERRUPTIBLE, |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("\"true\" or \"false\"".to_owned()),
    });
    reader.read(CLUSTERS, |text| {
        Selector::parse(text)
            .map_err(|e| format!("{} at position {} of a label selector", e.expected, e.position))
    });
    let data = reader.read(DATA, |text| data(text, clusters));
    let parallelism = reader.read(PARALLELISM, elastic::read_range);
    let scaling = reader.read(SCALING, elastic::read_scaling);
    let stop = reader.read(AT_DEADLINE, |text| match text {
        "stop" => Ok(true),
        "finish" => Ok(false),
        _ => Err("\"stop\" or \"finish\"".to_owned()),
    });
    // How it scales is not known where it cannot be read.
    let unknown = reader.errors.iter().any(|error| error.key == SCALING);
    let contract = PlacementContract {
        deadline: deadline.filter(|_| !unread),
        expected_duration,
        interruptible: interruptible.unwrap_or(false),
        clusters: annotations
            .get(CLUSTERS)
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty()),
        data,
        parallelism: parallelism.filter(|_| !unknown),
        scaling: scaling.unwrap_or_default(),
        stop_at_deadline: stop.unwrap_or(false),
    };
    (contract, reader.errors)
}

fn positive(text: &str, example: &str) -> Result<Span, String> {
    let expected = || format!("a duration above zero, in s, m, h or d, e.g. {example}");
    Span::parse(text).ok().filter(|span| *span > Span::ZERO).ok_or_else(expected)
}

/// `40Gi@CLUSTER`.
fn data(text: &str, clusters: &BTreeSet<ClusterId>) -> Result<DataSource, String> {
    let form = "a size and a cluster, e.g. 40Gi@CLUSTER";
    let (size, at) = text.split_once('@').ok_or(form)?;
    let size = bytes(size.trim())
        .ok_or_else(|| format!("{form}; the size a number and Ki, Mi, Gi, Ti, Pi, k, M, G, T or P"))?;
    let at = ClusterId::new(at.trim()).map_err(|_| form.to_owned())?;
    if !clusters.contains(&at) {
        let names: Vec<&str> = clusters.iter().take(10).map(ClusterId::as_str).collect();
        return Err(format!("a cluster of the fleet after '@': {}", names.join(", ")));
    }
    Ok(DataSource { size, at })
}

/// A Kubernetes quantity of bytes: digits, at most one point, a suffix; rounded up to whole bytes.
fn bytes(text: &str) -> Option<Bytes> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let unit: i128 = match suffix {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return None,
    };
    let digits = whole.len() + part.len();
    if digits == 0 || digits > 18 || part.contains('.') {
        return None;
    }
    let scaled: i128 = format!("{whole}{part}").parse().ok()?;
    let scale = (0..part.len()).fold(1i128, |scale, _| scale * 10);
    let total = (scaled * unit + scale - 1) / scale;
    i64::try_from(total).ok().filter(|total| *total <= DATA_MAX).map(Bytes::from_bytes)
}

/// A contract that can be read but not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The deadline lies behind.
    #[error(
        "deadline {deadline} is in the past: now it is {now}; the job runs as soon as it can and is late"
    )]
    DeadlinePast {
        /// The deadline.
        deadline: Instant,
        /// Now.
        now: Instant,
    },
    /// It lasts longer than there is time.
    #[error(
        "expected duration {duration} is longer than the {window} between {from} and the deadline {deadline}; \
the job runs as soon as it can and is late"
    )]
    TooLong {
        /// How long it lasts.
        duration: Span,
        /// How much time there is.
        window: Span,
        /// From when on.
        from: Instant,
        /// Until when.
        deadline: Instant,
    },
    /// No node is large enough.
    #[error("pod asks for {need} {resource}; the largest node has {largest}")]
    TooLarge {
        /// `cores`, `GiB of memory`, `GPUs`.
        resource: &'static str,
        /// What a pod asks for.
        need: String,
        /// What the largest node has.
        largest: String,
    },
}

/// Whether a contract can be kept (a Job that stops at its deadline need not be done by then): by a Job that lasts `duration` once started, created at `created`,
/// seen at `now`, whose pod has to fit one of `nodes` (of all clusters it may run in).
pub fn check_window(
    contract: &PlacementContract,
    created: Instant,
    now: Instant,
    duration: Span,
    pod: Resources,
    nodes: &[Resources],
) -> Vec<WindowError> {
    let mut errors = Vec::new();
    if let Some(deadline) = contract.deadline {
        let from = now.max(created);
        let duration = duration.max(LENGTH_MIN);
        if deadline <= now {
            errors.push(WindowError::DeadlinePast { deadline, now });
        } else if from + duration > deadline && !contract.stop_at_deadline {
            errors.push(WindowError::TooLong { duration, window: deadline - from, from, deadline });
        }
    }
    let fits = |node: &Resources| pod.cpu <= node.cpu && pod.memory <= node.memory && pod.gpu <= node.gpu;
    if !nodes.iter().any(fits) {
        errors.push(too_large(pod, nodes));
    }
    errors
}

fn too_large(pod: Resources, nodes: &[Resources]) -> WindowError {
    use crate::placement::limit::of_one;
    use fleet::quantity::plain as figure;
    let largest = nodes.iter().fold(Resources::ZERO, |most, node| most.max(*node));
    let (resource, need, largest) = if pod.cpu > largest.cpu {
        ("cores", pod.cpu.as_cores_f64(), largest.cpu.as_cores_f64())
    } else if pod.memory > largest.memory {
        ("GiB of memory", pod.memory.as_gib_f64(), largest.memory.as_gib_f64())
    } else if pod.gpu > largest.gpu {
        ("GPUs", pod.gpu as f64, largest.gpu as f64)
    } else {
        // Each resource fits somewhere, but not all of them on one node.
        let roomiest = nodes.iter().filter(|node| pod.cpu <= node.cpu).map(|node| node.memory).max();
        (
            "GiB of memory on a node with so many cores",
            pod.memory.as_gib_f64(),
            roomiest.unwrap_or_default().as_gib_f64(),
        )
    };
    let need = figure(need);
    let resource = if need == "1" { of_one(resource) } else { resource };
    WindowError::TooLarge { resource, need, largest: figure(largest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::Cpu;
    use proptest::prelude::*;

    fn clusters() -> BTreeSet<ClusterId> {
        ["jp", "kr"].iter().map(|id| ClusterId::new(id).unwrap()).collect()
    }
    fn read(pairs: &[(&str, &str)]) -> (PlacementContract, Vec<ContractError>) {
        let annotations =
            pairs.iter().map(|(k, v)| (format!("kubercarbon.io/{k}"), (*v).to_owned())).collect();
        parse(&annotations, Instant::parse("2026-05-01T00:00:00Z").unwrap(), &clusters())
    }

    #[test]
    fn a_whole_contract() {
        let (contract, errors) = read(&[
            ("deadline", "2026-05-02T09:00:00+09:00"),
            ("finish-within", "12h"),
            ("expected-duration", "45m"),
            ("interruptible", "true"),
            ("clusters", "zone in (KR, JP-TK)"),
            ("data", "1.5Gi@jp"),
            ("parallelism", "2-16"),
            ("scaling", "amdahl:0.9"),
            ("at-deadline", "stop"),
        ]);
        assert_eq!(errors, Vec::new());
        assert_eq!((contract.parallelism, contract.scaling), (Some((2, 16)), fleet::Scaling::Amdahl(0.9)));
        assert!(contract.stop_at_deadline);
        assert_eq!(
            contract.deadline,
            Some(Instant::parse("2026-05-01T12:00:00Z").unwrap()),
            "the earlier of two"
        );
        assert_eq!(contract.expected_duration, Some(Span::from_seconds(2700)));
        assert!(contract.interruptible);
        let data = DataSource { size: Bytes::from_mib(1536), at: ClusterId::new("jp").unwrap() };
        assert_eq!(contract.data, Some(data));
        let (nothing, errors) = read(&[]);
        assert_eq!((nothing.deadline, nothing.clusters, errors.len()), (None, None, 0));
    }

    #[test]
    fn one_error_for_each_wrong_annotation() {
        let (contract, errors) = read(&[
            ("deadline", "tomorrow"),
            ("finish-within", "2h"),
            ("expected-duration", "0s"),
            ("interruptible", "yes"),
            ("clusters", "zone in KR"),
            ("data", "40Gi@moon"),
            ("parallelism", "2-16"),
            ("scaling", "very well"),
            ("at-deadline", "panic"),
        ]);
        let keys: Vec<&str> = errors.iter().map(|e| e.key).collect();
        assert_eq!(keys, [DEADLINE, EXPECTED_DURATION, INTERRUPTIBLE, CLUSTERS, DATA, SCALING, AT_DEADLINE]);
        assert_eq!(contract.parallelism, None, "as it is where nobody knows how it scales");
        assert_eq!(
            errors[0].to_string(),
            "annotation kubercarbon.io/deadline: found \"tomorrow\", expected a time in RFC 3339, e.g. 2026-05-01T09:00:00Z"
        );
        assert!(
            errors[4].to_string().ends_with("expected a cluster of the fleet after '@': jp, kr"),
            "{}",
            errors[4]
        );
        assert_eq!(contract.deadline, None, "no delay when the deadline cannot be read");
        assert!(!contract.interruptible);
        assert!(
            Selector::parse(&contract.clusters.unwrap()).is_err(),
            "a wrong selector does not mean any cluster"
        );
    }

    #[test]
    fn sizes_of_data() {
        let of = |text: &str| bytes(text).map(Bytes::as_bytes);
        assert_eq!(of("40Gi"), Some(40 << 30));
        assert_eq!(of("2.5k"), Some(2500));
        assert_eq!(of("0.0001"), Some(1));
        for wrong in ["", "Gi", "1.2.3Gi", "-1Gi", "1E", "9999999999Pi", "1e9"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_kind_of_impossible_window_has_its_own_message() {
        let at = |hours: i64| Instant::from_unix_seconds(hours * 3600);
        let node = Resources { cpu: Cpu::from_millis(7910), memory: Bytes::from_gib(29), gpu: 0, pods: 58 };
        let pod = |cores: i64| Resources { cpu: Cpu::from_cores(cores), pods: 1, ..Resources::ZERO };
        let (mut contract, _) = read(&[]);
        contract.deadline = Some(at(10));
        let check = |now: i64, hours: i64, cores: i64| {
            let length = Span::HOUR.scaled(hours, 1);
            let errors = check_window(&contract, at(0), at(now), length, pod(cores), &[node]);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(check(0, 10, 2), Vec::<String>::new(), "exactly reachable");
        assert!(check(11, 1, 2)[0].starts_with("deadline 1970-01-01T10:00:00Z is in the past"));
        assert!(check(8, 3, 2)[0].starts_with("expected duration 3h is longer than the 2h between"));
        assert_eq!(check(0, 1, 12), ["pod asks for 12 cores; the largest node has 7.91"]);
    }

    proptest! {
        #[test]
        fn no_annotation_panics(text in "\\PC{0,30}") {
            for key in ["deadline", "finish-within", "expected-duration", "interruptible", "clusters", "data", "parallelism", "scaling", "at-deadline"] {
                prop_assert!(read(&[(key, &text)]).1.len() <= 1);
            }
        }
    }
}
