//! What a pod's work is: how long it runs and how it ends.
//!
//! In order of precedence, the run time is the pod's annotation `twin.kubercarbon.io/run-for`; for a
//! Job's pod, the Job's `kubercarbon.io/expected-duration` shared by its waves of pods, times a factor
//! from 0.95 to 1.05 drawn from a stream keyed by the pod's uid (so that the order of starts does not
//! matter); a command this module can read (`sleep`, `true`, `false`, `sh -c "sleep 5; exit 1"`); else
//! 60 s for a Job's pod (in an imported cluster, its share of what such Jobs lasted) and for ever for any other. The exit code is the annotation
//! `twin.kubercarbon.io/exit-code`, else the command's, else 0. All containers of a pod end together.
//! Assumption: a running container uses exactly the CPU it requests.

use crate::apiserver::quantity::Quantity;
use crate::random::Stream;
use fleet::Span;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

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
/// Run time of a Job's pod of which nothing is known.
const JOB_POD_RUN: Span = Span::from_seconds(60);
/// Most commands read of a shell script.
const SCRIPT_COMMANDS_MAX: usize = 100;

/// How long a pod runs (`None`: for ever) and the exit code it ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) run_for: Option<Span>,
    pub(crate) exit_code: i32,
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether a Job's pods save their progress.
pub(crate) fn is_interruptible(job: &Job) -> bool {
    annotation(&job.metadata, INTERRUPTIBLE) == Some("true")
}

/// The work of a pod; `job` is the Job that owns it, `learnt` what that is taken to last where nothing says.
pub(crate) fn of(pod: &Pod, job: Option<&Job>, learnt: Option<Span>, seed: u64) -> Work {
    let command = command(pod);
    let stated = annotation(&pod.metadata, RUN_FOR).and_then(|text| Span::parse(text).ok());
    let run_for = stated.or_else(|| job.and_then(|job| expected(pod, job, seed))).or(match command {
        Some((span, _)) => Some(span),
        None => job.map(|job| learnt.and_then(|whole| share(pod, job, whole, seed)).unwrap_or(JOB_POD_RUN)),
    });
    let exit = annotation(&pod.metadata, EXIT_CODE).and_then(|text| text.parse::<u8>().ok());
    let exit_code = exit.map(i32::from).or(command.map(|(_, code)| code)).unwrap_or(0);
    Work { run_for, exit_code }
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

/// Run time and exit code of the first container's command, if it is one this module can read.
fn command(pod: &Pod) -> Option<(Span, i32)> {
    let container = pod.spec.as_ref()?.containers.first()?;
    let words: Vec<&str> = container
        .command
        .iter()
        .flatten()
        .chain(container.args.iter().flatten())
        .map(String::as_str)
        .collect();
    let program = words.first()?.rsplit('/').next()?;
    if matches!(program, "sh" | "bash" | "ash" | "dash") {
        return match words[1..] {
            ["-c" | "-ec" | "-euc", text, ..] => script(text),
            _ => None,
        };
    }
    let simple: Vec<&str> = std::iter::once(program).chain(words[1..].iter().copied()).collect();
    step(&simple).map(|step| (step.span, step.code))
}

struct Step {
    span: Span,
    code: i32,
    exits: bool,
}

/// A script of `;`, newline and `&&` separated simple commands.
fn script(text: &str) -> Option<(Span, i32)> {
    let (mut span, mut code, mut read) = (Span::ZERO, 0, 0);
    'lines: for line in text.split([';', '\n']) {
        for (i, part) in line.split("&&").enumerate() {
            let words: Vec<&str> = part.split_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            read += 1;
            if read > SCRIPT_COMMANDS_MAX {
                return None;
            }
            if i > 0 && code != 0 {
                break;
            }
            let step = step(&words)?;
            span += step.span;
            code = step.code;
            if step.exits {
                break 'lines;
            }
        }
    }
    (read > 0).then_some((span, code))
}

fn step(words: &[&str]) -> Option<Step> {
    let done = |span, code, exits| Some(Step { span, code, exits });
    match words {
        ["true" | ":"] => done(Span::ZERO, 0, false),
        ["false"] => done(Span::ZERO, 1, false),
        ["echo", ..] => done(Span::ZERO, 0, false),
        ["exit"] => done(Span::ZERO, 0, true),
        ["exit", code] => done(Span::ZERO, i32::from(code.parse::<u8>().ok()?), true),
        ["sleep", times @ ..] if !times.is_empty() => {
            let mut span = Span::ZERO;
            for text in times {
                span += sleep(text)?;
            }
            done(span, 0, false)
        }
        _ => None,
    }
}

/// `5`, `0.5`, `2m`, `infinity` as sleep(1) reads them.
fn sleep(text: &str) -> Option<Span> {
    if text == "infinity" {
        return Some(Span::DAY.scaled(36_500, 1));
    }
    let (number, seconds) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 3600),
        b'd' => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let nanos = Quantity::parse(number).ok()?.nanos();
    if nanos < 0 || !number.ends_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let limit = i128::from(Span::DAY.as_nanos()) * 36_500;
    Some(Span::from_nanos(nanos.saturating_mul(seconds).min(limit) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(command: &[&str], annotations: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u", "annotations": annotations},
            "spec": {"containers": [{"name": "main", "image": "i", "command": command}]},
        }))
        .unwrap()
    }
    fn job(parallelism: i32, completions: i32) -> Job {
        serde_json::from_value(json!({
            "metadata": {"name": "j", "annotations": {EXPECTED_DURATION: "1h"}},
            "spec": {"parallelism": parallelism, "completions": completions, "template": {}},
        }))
        .unwrap()
    }
    fn seconds(command: &[&str]) -> Option<(i64, i32)> {
        let work = of(&pod(command, json!({})), None, None, 1);
        work.run_for.map(|span| (span.as_seconds(), work.exit_code))
    }

    #[test]
    fn commands_it_can_read() {
        assert_eq!(seconds(&["sleep", "90"]), Some((90, 0)));
        assert_eq!(seconds(&["/bin/sleep", "1m", "30"]), Some((90, 0)));
        assert_eq!(seconds(&["false"]), Some((0, 1)));
        assert_eq!(seconds(&["sh", "-c", "echo hello; sleep 5; exit 3"]), Some((5, 3)));
        assert_eq!(seconds(&["sh", "-c", "false && sleep 5"]), Some((0, 1)));
        assert_eq!(seconds(&["/bin/bash", "-c", "sleep 1 && sleep 2"]), Some((3, 0)));
        assert_eq!(seconds(&["python", "train.py"]), None);
        assert_eq!(seconds(&["sleep", "5k"]), None);
        assert_eq!(seconds(&["sh", "-c", "sleep 1; make"]), None);
    }

    #[test]
    fn annotations_and_jobs_come_before_commands() {
        let run_for = |pod: &Pod, job| of(pod, job, None, 7).run_for.unwrap().as_seconds();
        let stated = pod(&["sleep", "1"], json!({RUN_FOR: "2m", EXIT_CODE: "4"}));
        assert_eq!(
            of(&stated, Some(&job(1, 1)), None, 7),
            Work { run_for: Some(Span::from_seconds(120)), exit_code: 4 }
        );
        let plain = pod(&[], json!({}));
        let (one, waves) = (job(1, 1), job(2, 5));
        assert!((3420..=3780).contains(&run_for(&plain, Some(&one))));
        // Five completions two at a time are three waves.
        assert!((1140..=1260).contains(&run_for(&plain, Some(&waves))));
        let unknown: Job = serde_json::from_value(json!({"spec": {"template": {}}})).unwrap();
        assert_eq!(run_for(&plain, Some(&unknown)), 60);
        let learnt = of(&plain, Some(&unknown), Some(Span::HOUR), 7).run_for.unwrap().as_seconds();
        assert!((3420..=3780).contains(&learnt), "{learnt}");
        assert_eq!(of(&plain, None, None, 7).run_for, None);
    }
}
