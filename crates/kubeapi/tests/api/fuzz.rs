//! Input nobody would send: a corpus mutated from a seed, given to whatever reads text that comes from outside.
//!
//! A case is a seed: the same one gives the same input. What may not happen is a panic, an answer of 500, or a
//! difference between two readings of the same thing. Counts are in cases, never in time: [`CASES`] of each target, or
//! `FUZZ_CASES=…`; `FUZZ_SEED=…` begins elsewhere. Before a case is run its seed is written to the folder for temporary
//! files of tests, `fuzz-TARGET.seed`, so that one that ends the process is found there.

use crate::memory::{Memory, router};
use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use tower::ServiceExt;
use twin::apiserver::PatchType;
use twin::apiserver::patch;
use twin::apiserver::quantity::Quantity;
use twin::apiserver::selector::LabelSelector;
use twin::cel::try_rule;
use twin::{Kind, Objects};

/// Cases of a target, where nothing else is said: all targets together take some ten seconds in a debug build.
const CASES: u64 = 3_000;
/// Longest input made, in bytes.
const INPUT_BYTES_MAX: usize = 4_000;
/// Most changes to one input.
const CHANGES_MAX: u64 = 6;

/// SplitMix64: a stream of numbers from a seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, most: usize) -> usize {
        if most == 0 { 0 } else { usize::try_from(self.next() % most as u64).unwrap() }
    }
    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// What a target is given: inputs that are right, and words of its language.
struct Corpus {
    inputs: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Corpus {
    fn new(inputs: &[&str], words: &str) -> Corpus {
        let bytes = |text: &&str| text.as_bytes().to_vec();
        Corpus {
            inputs: inputs.iter().map(bytes).collect(),
            words: words.split(' ').map(|word| word.as_bytes().to_vec()).collect(),
        }
    }

    /// The input of a case.
    fn input(&self, seed: u64) -> Vec<u8> {
        let mut chance = Chance(seed);
        let mut input = chance.pick(&self.inputs).clone();
        for _ in 0..=chance.next() % CHANGES_MAX {
            self.change(&mut chance, &mut input);
            input.truncate(INPUT_BYTES_MAX);
        }
        input
    }

    fn change(&self, chance: &mut Chance, input: &mut Vec<u8>) {
        let at = chance.below(input.len() + 1);
        let end = (at + chance.below(12)).min(input.len());
        match chance.below(8) {
            0 => drop(input.drain(at..end)),
            1 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            2 if at < input.len() => input[at] ^= 1 << chance.below(8),
            3 if at < input.len() => input[at] = chance.next().to_le_bytes()[0],
            4 => {
                let other = chance.pick(&self.inputs);
                let from = chance.below(other.len());
                let part = other[from..].to_vec();
                input.splice(at..end, part);
            }
            5 => {
                // The same again and again: what nests, nests deeply.
                let part = match chance.below(2) {
                    0 => chance.pick(&self.words).clone(),
                    _ => input[at..end].to_vec(),
                };
                let times = 1 << chance.below(9);
                input.splice(at..at, part.repeat(times));
            }
            _ => {
                let word = chance.pick(&self.words).clone();
                input.splice(at..at, word);
            }
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The first case for which `judge` panics or finds something wrong, with its input.
fn first_fault(
    target: &str,
    corpus: &Corpus,
    seeds: std::ops::Range<u64>,
    judge: impl Fn(&[u8]) -> Result<(), String>,
) -> Option<(u64, String, String)> {
    let last = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}.seed"));
    // One file, written over: making one anew for each case took five times as long as the cases.
    let mut last = File::create(last).unwrap();
    for seed in seeds {
        let input = corpus.input(seed);
        last.rewind().unwrap();
        last.write_all(format!("{seed:20}\n").as_bytes()).unwrap();
        let why = match catch_unwind(AssertUnwindSafe(|| judge(&input))) {
            Ok(Ok(())) => continue,
            Ok(Err(why)) => why,
            Err(panic) => {
                let words = panic.downcast_ref::<String>().cloned();
                let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
                format!("panics: {}", words.unwrap_or_default())
            }
        };
        return Some((seed, why, String::from_utf8_lossy(&input).into_owned()));
    }
    None
}

fn run(target: &str, corpus: &Corpus, judge: impl Fn(&[u8]) -> Result<(), String>) {
    let from = number("FUZZ_SEED").unwrap_or(0);
    let cases = number("FUZZ_CASES").unwrap_or(CASES);
    if let Some((seed, why, input)) = first_fault(target, corpus, from..from + cases, judge) {
        panic!(
            "{target}: {why}\n  input {input:?}\n  replay: FUZZ_SEED={seed} FUZZ_CASES=1 cargo test -p kubeapi --test api fuzz::{target}"
        );
    }
    println!("{target}: {cases} cases from seed {from}");
}

fn text_of(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

#[test]
fn a_planted_fault_is_found_and_found_again() {
    // As a parser that trusts its input would: it counts brackets in a byte.
    let planted = |input: &[u8]| {
        let mut depth = 0_u8;
        for byte in input {
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        Ok(())
    };
    let corpus = Corpus::new(&["(a, b)", "f(x)"], "( ) , a");
    let (seed, why, input) = first_fault("planted", &corpus, 0..CASES, planted).expect("a fault is there");
    assert!(why.contains("overflow"), "{why}");
    let again = first_fault("planted", &corpus, seed..seed + 1, planted);
    assert_eq!(again.map(|(_, _, input)| input), Some(input));
}

#[test]
fn cel() {
    let schema = json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "d": {"type": "number"}, "s": {"type": "string"}, "l": {"type": "array", "items": {"type": "string"}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}}, "o": {"type": "object", "properties": {"x": {"type": "string"}}},
        "t": {"type": "string", "format": "date-time"}, "ios": {"x-kubernetes-int-or-string": true}}});
    let own = json!({"n": 3, "d": 1.5, "s": "hello", "l": ["a", "bb", "ccc"], "m": {"a": 1, "b": 2}, "o": {"x": "y"}, "t": "2024-03-01T10:20:30Z", "ios": 5});
    let rules = [
        "self.n > 1 && self.s.matches('^[a-z]+$') || has(self.o.x)",
        "self.l.all(i, self.l.exists(j, i == j)) ? self.m.map(k, self.m[k]) : [1, 2, 3]",
        "self.l.map(i, [i, i]).map(i, [i, i]).map(i, [i, i]).flatten().distinct()",
        "self.m.transformMap(k, v, v > 1, string(v) + k)",
        "'%s %d %.2f %x'.format([self.l, self.n, self.d, 255])",
        "timestamp('2024-01-01T00:00:00Z') + duration('1h30m') < self.t",
        "quantity('1.5Gi').add(3).compareTo(quantity('500m')) == 1",
        "cidr('10.0.0.0/8').containsIP(ip('10.1.2.3')) && url('https://a.b:1/c?d=e').getPort() == '1'",
        "self.?o.x.optMap(v, v.size()).orValue(0) + int(self.ios)",
        "semver('1.2.3-a.1').isLessThan(semver('v1.2', true)) || format.dns1123Label().validate('x').hasValue()",
        "self.s.replace('l', self.s).split('').join(self.s).substring(1, 3).charAt(0)",
        "any.l.sortBy(i, -size(i)).slice(0, 2) == any.l.reverse().first().or(optional.of('a')).value()",
        "{'a': {'b': [1u, 2u]}}.a.b[0] in [1, 2] ? b'\\x01' == bytes('a') : r'\\d' == \"\"\"x\"\"\"",
        "lists.range(100).map(i, lists.range(100).map(j, i * j)).flatten().sum() > 9223372036854775807 - self.n",
    ];
    let words = "( ) [ ] { } . ? : , ! - + * / % == != < && || in true null self any 0 1 -9223372036854775808 1e308 0x7f '' 'a' .map(x,x) .map(x,[x,x]) .all(x,x) .filter(x,true) .optMap(x,x) [0] .?x {1:2} {x:x} \\u00e9 has( size( string( .size() .sort() .join() .split('') .replace('','aa') .matches('(a*)*') optional.of( timestamp( duration( //";
    let corpus = Corpus::new(&rules, words);
    run("cel", &corpus, |input| {
        let rule = text_of(input);
        let first = try_rule(&schema, &own, &rule);
        // NaN is not itself, so what is compared is what is shown.
        if format!("{first:?}") != format!("{:?}", try_rule(&schema, &own, &rule)) {
            return Err("gives something else the second time".to_owned());
        }
        Ok(())
    });
}

#[test]
fn selectors() {
    let corpus = Corpus::new(
        &["a=b,c!=d", "a in (b,c),d notin (e)", "!a,b", "example.com/a==b", "a>5,b<6", "x in (),y=", "a , b"],
        "= == != in notin ( ) , ! < > a example.com/ . - _ 5 é",
    );
    let none = Objects::new();
    run("selectors", &corpus, |input| {
        let text = text_of(input);
        let _ = twin::apiserver::Selectors::of(&none, Kind::Pod, "", &text);
        let Ok(parsed) = LabelSelector::parse(&text) else { return Ok(()) };
        let shown = parsed.to_string();
        match LabelSelector::parse(&shown) {
            Ok(again) if again.to_string() == shown => Ok(()),
            Ok(again) => Err(format!("is shown as {shown:?}, which is read as {:?}", again.to_string())),
            Err(why) => Err(format!("is shown as {shown:?}, which is refused: {why}")),
        }
    });
}

#[test]
fn quantities() {
    let corpus = Corpus::new(
        &["500m", "1.5Gi", "1e3", "-2k", "0.1n", "93.857Ei", "+.5", "1E", "12e-3", "9223372036854775807"],
        ". + - e E Ki Mi Gi Ei n u m k 0 9 99999999999999999999 00000000000000000001",
    );
    run("quantities", &corpus, |input| {
        let Ok(read) = Quantity::parse(&text_of(input)) else { return Ok(()) };
        let shown = read.to_string();
        match Quantity::parse(&shown) {
            Ok(again) if again.to_string() == shown => Ok(()),
            other => Err(format!("is shown as {shown:?}, which is read as {other:?}")),
        }
    });
}

#[test]
fn patches() {
    let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "e", "value": "v"}]}, {"name": "d"}], "tolerations": [{"key": "k"}]}});
    let corpus = Corpus::new(
        &[
            r#"{"metadata":{"labels":{"a":null,"c":"d"}},"spec":{"containers":[{"name":"c","image":"j"}]}}"#,
            r#"{"spec":{"$setElementOrder/containers":[{"name":"d"},{"name":"c"}],"containers":[{"$patch":"delete","name":"d"}]}}"#,
            r#"[{"op":"add","path":"/spec/containers/-","value":{"name":"e"}},{"op":"remove","path":"/metadata/labels/a"}]"#,
            r#"[{"op":"test","path":"/spec","value":null},{"op":"move","from":"/spec","path":"/spec/x"},{"op":"copy","from":"","path":"/a"}]"#,
            r#"{"spec":{"$retainKeys":["containers"],"$deleteFromPrimitiveList/finalizers":["a"]}}"#,
        ],
        r#"{ } [ ] " : , null 0 -1 1e999 "a" {"a": [[ "/0" "/-" "/~1" "name":"c" "$patch":"replace" "$patch":"merge" "op":"copy" /spec"#,
    );
    run("patches", &corpus, |input| {
        let Ok(patch) = serde_json::from_slice::<Value>(input) else { return Ok(()) };
        for kind in [PatchType::Json, PatchType::Merge, PatchType::StrategicMerge] {
            let Ok(once) = patch::apply(kind, Kind::Pod, pod.clone(), &patch) else { continue };
            // A merge patch says how things are to be: carried out twice it does nothing more.
            if kind == PatchType::Merge {
                let twice = patch::apply(kind, Kind::Pod, once.clone(), &patch);
                if twice.as_ref().ok() != Some(&once) {
                    return Err(format!("{kind:?}: the second time gives {twice:?}, the first {once}"));
                }
            }
        }
        Ok(())
    });
}

/// The code a request is answered with.
fn code_of(twin: &Arc<Memory>, runtime: &tokio::runtime::Runtime, request: Request<Body>) -> u16 {
    runtime.block_on(async { router(twin).oneshot(request).await.unwrap().status().as_u16() })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn paths() {
    let corpus = Corpus::new(
        &[
            "/api/v1/namespaces/work/pods?labelSelector=a%3Db&limit=5&continue=x",
            "/apis/batch/v1/namespaces/work/jobs/a/status?fieldSelector=metadata.name%3Da",
            "/apis/apps/v1/deployments?resourceVersion=0&resourceVersionMatch=NotOlderThan",
            "/openapi/v3/apis/apps/v1?hash=1",
            "/api/v1/nodes/n1/proxy/x?timeoutSeconds=1",
            "/apis?timeout=32s",
        ],
        "/ // ? & = % %2F %00 %ff .. . limit= continue= resourceVersion= labelSelector= -1 99999999999999999999 namespaces pods status é",
    );
    let (twin, runtime) = (Memory::new(), runtime());
    run("paths", &corpus, |input| {
        let text = text_of(input);
        // A watch does not end by itself, and what is no URI reaches no server.
        if text.contains("watch") {
            return Ok(());
        }
        let Ok(request) = Request::get(&text).body(Body::empty()) else { return Ok(()) };
        match code_of(&twin, &runtime, request) {
            500.. => Err("is answered with a fault of the server's".to_owned()),
            _ => Ok(()),
        }
    });
}

#[test]
fn protobuf() {
    // What `kubectl create namespace team-a` sends, as the protobuf tests of this crate have it, and other messages of
    // the same envelope.
    let unknown = |version: &str, kind: &str, raw: &[u8]| {
        let field = |number: u8, bytes: &[u8]| {
            let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
            out.extend(bytes);
            out
        };
        let meta = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
        [b"k8s\0".to_vec(), field(1, &meta), field(2, raw)].concat()
    };
    let named = b"\x0a\x08\x0a\x06team-a";
    let inputs = vec![
        unknown("v1", "Namespace", named),
        unknown("v1", "ConfigMap", b"\x0a\x03\x0a\x01m\x12\x06\x0a\x01a\x12\x01b"),
        unknown("batch/v1", "Job", b"\x0a\x03\x0a\x01j\x12\x04\x08\x01\x10\x02"),
        unknown("v1", "Pod", named),
    ];
    let words = [
        &b"\x0a"[..],
        b"\x12",
        b"\x1a",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80",
        b"\x00",
        b"k8s\0",
        b"\x0a\x02\x0a\x00",
    ];
    let corpus = Corpus { inputs, words: words.iter().map(|word| word.to_vec()).collect() };
    let (twin, runtime) = (Memory::new(), runtime());
    run("protobuf", &corpus, |input| {
        for path in [
            "/api/v1/namespaces",
            "/api/v1/namespaces/work/configmaps",
            "/apis/batch/v1/namespaces/work/jobs",
        ] {
            let request = Request::post(format!("{path}?dryRun=All"))
                .header("content-type", "application/vnd.kubernetes.protobuf")
                .body(Body::from(input.to_vec()))
                .unwrap();
            if code_of(&twin, &runtime, request) >= 500 {
                return Err(format!("is answered by {path} with a fault of the server's"));
            }
        }
        Ok(())
    });
}
