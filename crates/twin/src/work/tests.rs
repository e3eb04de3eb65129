//! What containers are read to do.

use super::files::{Tree, View, Volumes};
use super::process::{Pause, Process, Surroundings};
use super::*;
use fleet::Instant;
use serde_json::json;
use std::collections::BTreeMap;

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

fn does(pod: &Pod, job: Option<&Job>, learnt: Option<Span>) -> Does {
    of(pod, (&pod.spec.as_ref().unwrap().containers[0], Role::App), job, learnt, 7)
}

/// Follows a command to its end: its lines printed, when it ended, and with which code. `None`: it stays.
fn follow(words: &[&str], environment: &[(&str, &str)]) -> Option<(String, i64, i32)> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let program = Program::of_words(&words).expect("it can be read");
    let pairs = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let environment: BTreeMap<String, String> = pairs.collect();
    let (mut own, mut volumes, mut others, mut changes) =
        (Tree::default(), Volumes::new(), Volumes::new(), 0);
    let (mut process, mut log, mut now) = (Process::default(), String::new(), Instant::EPOCH);
    loop {
        let view = View {
            own: &mut own,
            pod: &mut volumes,
            cluster: &mut others,
            mounts: &[],
            changes: &mut changes,
        };
        let mut around =
            Surroundings { view, environment: &environment, now, chance: (1, "k"), log: &mut log };
        match process.resume(&program, &mut around) {
            Pause::Sleep { span, .. } => now += span,
            Pause::End(code) => return Some((log, now.as_unix_seconds(), code)),
            Pause::Idle { .. } | Pause::Forever => return None,
        }
    }
}

fn ends(words: &[&str]) -> (i64, i32) {
    let (_, seconds, code) = follow(words, &[]).expect("it ends");
    (seconds, code)
}

fn script(text: &str) -> (i64, i32) {
    ends(&["sh", "-c", text])
}

fn prints(text: &str) -> String {
    follow(&["sh", "-c", text], &[("NAME", "world"), ("LIST", "a b  c")]).expect("it ends").0
}

#[test]
fn commands_it_can_read() {
    assert_eq!(ends(&["sleep", "90"]), (90, 0));
    assert_eq!(ends(&["/bin/sleep", "1m", "30"]), (90, 0));
    assert_eq!(ends(&["false"]), (0, 1));
    assert_eq!(ends(&["/bin/bash", "-c", "sleep 1 && sleep 2"]), (3, 0));
    assert_eq!(script("echo hello; sleep 5; exit 3"), (5, 3));
    assert_eq!(script("false && sleep 5"), (0, 1));
    assert_eq!(script("false || sleep 5"), (5, 0));
    assert_eq!(script("! false && sleep 0.5 && sleep 0.5"), (1, 0));
    assert_eq!(ends(&["sh", "-ec", "sleep 1; false; sleep 5"]), (1, 1));
    assert_eq!(script("set -e; if false; then sleep 1; fi; false || true; sleep 2; false; sleep 4"), (2, 1));
    assert_eq!(script("set -e; true && false; sleep 5"), (0, 1), "the last of a chain");
    assert_eq!(script("set -e; false && true; sleep 5"), (5, 0));
    assert_eq!(script("set -e; while false; do :; done; sleep 5"), (5, 0));
    assert_eq!(script("exit 256"), (0, 0));
    assert_eq!(script("exec sleep 7; sleep 9"), (7, 0));
    assert_eq!(script("sleep 10 & sleep 3; wait"), (10, 0));
    assert_eq!(ends(&["sleep", "5k"]), (0, 1));
    assert_eq!(follow(&["sleep", "infinity"], &[]), None);
    assert_eq!(follow(&["tail", "-f", "/dev/null"], &[]), None);
}

#[test]
fn arguments_are_a_command_where_they_begin_like_one() {
    let of = |image: &str, args: &[&str]| {
        let container = json!({"name": "main", "image": image, "args": args});
        program(&serde_json::from_value(container).unwrap()).map(|program| alone(&program))
    };
    assert_eq!(of("busybox", &["sh", "-c", "sleep 20; exit 3"]), Some((Some(Span::from_seconds(20)), 3)));
    assert_eq!(of("alpine", &["/bin/sleep", "5"]), Some((Some(Span::from_seconds(5)), 0)));
    assert_eq!(of("app", &["test"]), None, "an argument of the image's own program");
    assert_eq!(of("app", &["--sleep", "5"]), None);
    assert_eq!(of("app", &[]), None);
}

#[test]
fn files_and_loops() {
    assert_eq!(script("touch /data/a; if [[ -r /data/a ]]\nthen\n exit 7\nelse\n exit 8\nfi"), (0, 7));
    assert_eq!(script("if [ -f /a ]; then exit 1; elif test -d /tmp; then exit 2; else exit 3; fi"), (0, 2));
    assert_eq!(script("for i in 1 2 3; do sleep $i; done"), (6, 0));
    assert_eq!(script("for i in $(seq 1 4); do sleep 1; [ $i = 3 ] && break; done; exit 5"), (3, 5));
    assert_eq!(script("i=0; while [ $i -lt 5 ]; do sleep 2; i=$((i+1)); done"), (10, 0));
    assert_eq!(script("until [ -e /x ]; do sleep 3; touch /x; done; rm /x; cat /x"), (3, 1));
    assert_eq!(script("f() { sleep 4; return 9; }\nf; exit $?"), (4, 9));
    assert_eq!(script("for i in {1..3}; do if [ $i -eq 2 ]; then continue; fi; sleep 1; done"), (2, 0));
    let odd = "if [ $(expr ${JOB_COMPLETION_INDEX} % 2) -ne 0 ]; then exit 1; else exit 0; fi";
    let of = |index| follow(&["sh", "-c", odd], &[("JOB_COMPLETION_INDEX", index)]).unwrap().2;
    assert_eq!((of("4"), of("7")), (0, 1));
    assert_eq!(follow(&["sh", "-c", "while true; do echo hi; sleep 1; done"], &[]), None, "it idles");
    assert_eq!(follow(&["sh", "-c", "while :; do :; done"], &[]), None, "it never ends");
}

#[test]
fn words_are_expanded_as_a_shell_does() {
    assert_eq!(
        prints("echo hello $NAME \"$LIST\" $LIST '$NAME' ${NONE:-x} ${NAME}!"),
        "hello world a b  c a b c $NAME x world!\n"
    );
    assert_eq!(
        prints("echo one > /f; echo two >> /f; cat /f 2>/dev/null; cat /g 2>&1 || echo none"),
        "one\ntwo\nnone\n"
    );
    assert_eq!(prints("printf '%s-%s\\n' a b; echo -n c # comment"), "a-b\nc");
    assert_eq!(prints("x=$(echo $NAME); echo \"$x\""), "world\n");
}

#[test]
fn what_it_cannot_read_is_left() {
    let unreadable = |text: &str| assert_eq!(Program::of_script(text), None, "{text}");
    for text in [
        "sleep 1; make",
        "a | b",
        "(sleep 1)",
        "case x in esac",
        "cat <<X\nX",
        "sleep 1 &&",
        "if true; then",
        "echo \"",
        "echo $(curl x)",
        "$PROGRAM",
        "[ -f x",
        "break",
        "fi",
        "while true; do :; done & wait",
        "while true; do sleep 1",
    ] {
        unreadable(text);
    }
    unreadable(&"sleep 1;".repeat(5000));
    unreadable(&format!("{}true{}", "{ ".repeat(100), "; }".repeat(100)));
    assert_eq!(Program::of_words(&["python".to_owned(), "train.py".to_owned()]), None);
    assert_eq!(Program::of_words(&["sh".to_owned(), "run.sh".to_owned()]), None);
    assert_eq!(Program::of_words(&[]), None);
}

#[test]
fn annotations_and_jobs_come_before_commands() {
    let lasts = |found: Does| match found {
        Does::Lasts { run_for, exit_code } => (run_for.map(Span::as_seconds), exit_code),
        Does::Script(_) => panic!("a script"),
    };
    let annotated = pod(&["sleep", "1"], json!({RUN_FOR: "2m", EXIT_CODE: "4"}));
    assert_eq!(lasts(does(&annotated, Some(&job(1, 1)), None)), (Some(120), 4));
    let own = pod(&["sleep", "1"], json!({RUN_FOR: "2m", "run-for.twin.kubercarbon.io/main": "3m"}));
    assert_eq!(lasts(does(&own, None, None)), (Some(180), 0));
    let crashes = pod(&[], json!({CRASH_AFTER: "5m"}));
    assert_eq!(lasts(does(&crashes, None, None)), (Some(300), 1));
    let code_only = pod(&["sleep", "30"], json!({EXIT_CODE: "9"}));
    assert_eq!(lasts(does(&code_only, None, None)), (Some(30), 9));
    let plain = pod(&[], json!({}));
    let (one, waves) = (job(1, 1), job(2, 5));
    let of_job = |pod: &Pod, job: &Job| lasts(does(pod, Some(job), None)).0.unwrap();
    assert!((3420..=3780).contains(&of_job(&plain, &one)));
    // Five completions two at a time are three waves.
    assert!((1140..=1260).contains(&of_job(&plain, &waves)));
    assert_eq!(lasts(does(&pod(&["false"], json!({})), Some(&one), None)).1, 1);
    let unknown: Job = serde_json::from_value(json!({"spec": {"template": {}}})).unwrap();
    assert_eq!(of_job(&plain, &unknown), 60);
    let learnt = lasts(does(&plain, Some(&unknown), Some(Span::HOUR))).0.unwrap();
    assert!((3420..=3780).contains(&learnt), "{learnt}");
    assert_eq!(lasts(does(&plain, None, None)).0, None);
    assert!(matches!(does(&pod(&["sleep", "9"], json!({})), None, None), Does::Script(_)));
}

#[test]
fn roles_and_policies_have_defaults() {
    let mut pod = pod(&[], json!({RUN_FOR: "2m"}));
    let of = |pod: &Pod, role| of(pod, (&pod.spec.as_ref().unwrap().containers[0], role), None, None, 1);
    let lasts = |seconds: Option<i64>| Does::Lasts { run_for: seconds.map(Span::from_seconds), exit_code: 0 };
    assert_eq!(of(&pod, Role::Init), lasts(Some(5)), "what is said of all is not said of init containers");
    assert_eq!(of(&pod, Role::Sidecar), lasts(None));
    pod.metadata.annotations = None;
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".to_owned());
    assert_eq!(of(&pod, Role::App), lasts(Some(60)));
    let container = &mut pod.spec.as_mut().unwrap().containers[0];
    container.image = Some("registry.k8s.io/pause:3.10".to_owned());
    assert_eq!(of(&pod, Role::App), lasts(None));
    let container = &mut pod.spec.as_mut().unwrap().containers[0];
    container.image = Some("registry.k8s.io/e2e-test-images/agnhost:2.56".to_owned());
    container.args = Some(vec!["entrypoint-tester".to_owned(), "x".to_owned()]);
    assert!(matches!(of(&pod, Role::App), Does::Script(_)));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_without_harm(words in proptest::collection::vec(0..PARTS.len(), 0..60)) {
        let text: Vec<&str> = words.iter().map(|at| PARTS[*at]).collect();
        let Some(program) = Program::of_script(&text.join("")) else { return Ok(()) };
        let (first, second) = (process::duration(&program), process::duration(&program));
        assert_eq!(first, second);
    }
}

/// What scripts are made of, whole and broken.
const PARTS: [&str; 32] = [
    "sleep 1",
    ";",
    "\n",
    " ",
    "&&",
    "||",
    "if ",
    "; then ",
    "; fi",
    "else ",
    "while ",
    "; do ",
    "; done",
    "true",
    "false",
    "x=",
    "$x",
    "${",
    "}",
    "$((",
    "))",
    "$(",
    ")",
    "'",
    "\"",
    "[ -f /a ]",
    "touch /a",
    "exit 3",
    "for i in 1 2",
    "f() {",
    "trap 'f' TERM",
    "&",
];
