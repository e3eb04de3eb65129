//! `kill -9` at random moments: a child process appends in a loop and prints what was acknowledged; the
//! parent kills it, opens the directory and finds everything acknowledged, in order, as a prefix of what was
//! appended. The same directory goes through all rounds, so that recovery builds on recovery.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]
#![cfg(unix)]

use fleet::Instant;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use store::{Receipt, Store, Write};

const TEST: &str = "a_killed_writer_loses_nothing_acknowledged";
/// Set in the child: the directory to write to.
const DIRECTORY: &str = "STORE_TEST_KILL_DIRECTORY";
const ROUNDS: u64 = 14;
const SIGKILL: i32 = 9;
/// Numbers on their way at once in the child.
const IN_FLIGHT_MAX: usize = 24;
/// Every so many numbers the child takes a snapshot of its twin.
const SNAPSHOT_EVERY: i64 = 40;
/// The child ends by itself here, should nobody kill it.
const NUMBERS_MAX: i64 = 1_000_000;

#[test]
fn a_killed_writer_loses_nothing_acknowledged() {
    if let Ok(directory) = std::env::var(DIRECTORY) {
        return runtime().block_on(write_numbers(Path::new(&directory)));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut written = 0;
    let mut acknowledged_max = -1;
    for round in 0..ROUNDS {
        // Every fourth round dies at an instant of its start, the others between acknowledgements.
        let acknowledgements = if round % 4 == 3 { 0 } else { next(&mut random) % 300 };
        let delay =
            Duration::from_micros(next(&mut random) % if acknowledgements == 0 { 30_000 } else { 3000 });
        let acknowledged = kill_after(spawn(dir.path()), acknowledgements, delay);
        acknowledged_max = acknowledged.unwrap_or(acknowledged_max).max(acknowledged_max);
        let found = runtime().block_on(check(dir.path()));
        let story = format!(
            "round {round}, killed after {acknowledgements} acknowledgements and {delay:?}: last acknowledged \
             {acknowledged:?}, found {found} numbers, {written} before"
        );
        println!("{story}");
        assert!(found > acknowledged_max, "lost an acknowledged write: {story}");
        assert!(found >= written, "lost what an earlier round had: {story}");
        written = found;
    }
    assert!(acknowledged_max > 100, "too little was written to prove anything: {acknowledged_max}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// xorshift64: the moments differ from round to round, and are the same in every run.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn spawn(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the child; returns the last number it printed as acknowledged, before or after the decision.
fn kill_after(mut child: Child, acknowledgements: u64, delay: Duration) -> Option<i64> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = None;
    let mut seen = 0;
    while seen < acknowledgements {
        let line = lines.next().expect("the child ended by itself").unwrap();
        if let Some(number) = acknowledged(&line) {
            last = Some(number);
            seen += 1;
        }
    }
    std::thread::sleep(delay);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "the child ended by itself: {status}");
    // What it had printed before it died counts as well. A line cut short by the kill has no newline.
    for line in lines.map_while(Result::ok) {
        last = acknowledged(&line).or(last);
    }
    last
}

fn acknowledged(line: &str) -> Option<i64> {
    line.strip_prefix("acknowledged ")?.strip_suffix(" .")?.parse().ok()
}

/// The state must be what the first so many appends leave: returns how many numbers are there.
async fn check(dir: &Path) -> i64 {
    let store = Store::open(dir).await.unwrap();
    let mut journal = Vec::new();
    while let page =
        store.journal(journal.last().map_or(0, |row: &store::JournalRow| row.seq), 500).await.unwrap()
        && !page.is_empty()
    {
        journal.extend(page);
    }
    let numbers: Vec<i64> = journal.iter().map(|row| row.body.parse().unwrap()).collect();
    let count = numbers.len() as i64;
    assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "journal: each number once, in order");

    let ledger = store.ledger_all().await.unwrap();
    for (n, row) in ledger.iter().enumerate() {
        assert_eq!(
            (row.id.as_str(), row.body.as_str()),
            (format!("entry-{n}").as_str(), n.to_string().as_str())
        );
    }
    let inputs = twin_numbers(&store).await;
    // Appended in the order journal, ledger, twin: a prefix has no more of the later than of the earlier.
    let entries = ledger.len() as i64;
    assert!(count >= entries && entries >= inputs && inputs >= count - 1, "{count}, {entries}, {inputs}");
    let clock = store.twin().await.unwrap().and_then(|state| state.clock).map_or(0, Instant::as_unix_seconds);
    assert!(clock == inputs || clock == inputs - 1, "clock {clock} after {inputs} inputs");
    store.close().await.unwrap();
    count
}

/// How many numbers the twin has: those its snapshot stands for, and the inputs since, without a gap.
async fn twin_numbers(store: &Store) -> i64 {
    let Some(state) = store.twin().await.unwrap() else { return 0 };
    let number = |body: &[u8]| -> i64 { std::str::from_utf8(body).unwrap().parse().unwrap() };
    let covered = state.snapshot.map_or(0, |(_, body)| number(&body));
    let inputs: Vec<i64> = state.inputs.iter().map(|(_, body)| number(body)).collect();
    let end = covered + inputs.len() as i64;
    assert_eq!(inputs, (covered..end).collect::<Vec<_>>(), "inputs follow the snapshot");
    end
}

/// The child: appends numbers from where the directory left off, prints each once all its writes are durable.
async fn write_numbers(dir: &Path) {
    let store = Store::open(dir).await.unwrap();
    let mut journalled = 0;
    while let page = store.journal(journalled, 500).await.unwrap()
        && !page.is_empty()
    {
        journalled += page.len() as i64;
    }
    // The last number may have only some of its writes: go through it again. The journal knows it already,
    // the ledger takes an id once, and the twin says how far it came.
    let first = twin_numbers(&store).await;
    let mut in_flight: VecDeque<(i64, Vec<Receipt>)> = VecDeque::new();
    for number in first..NUMBERS_MAX {
        in_flight.push_back((number, append_number(&store, number, number >= journalled)));
        if in_flight.len() >= IN_FLIGHT_MAX {
            // Half of them: what follows keeps the writer busy while these are printed.
            for (number, receipts) in in_flight.drain(..IN_FLIGHT_MAX / 2) {
                for receipt in receipts {
                    receipt.await.unwrap();
                }
                let mut out = std::io::stdout().lock();
                writeln!(out, "\nacknowledged {number} .").unwrap();
                out.flush().unwrap();
            }
        }
    }
}

fn append_number(store: &Store, number: i64, new: bool) -> Vec<Receipt> {
    let at = Instant::from_unix_seconds(number);
    let text = number.to_string();
    let mut receipts = Vec::new();
    if new {
        let body = text.clone();
        receipts.push(store.append(Write::Journal { at, kind: "number".into(), key: "all".into(), body }));
    }
    receipts.push(store.append(Write::Ledger {
        id: format!("entry-{number}"),
        recorded: at,
        body: text.clone(),
    }));
    receipts.push(store.append(Write::TwinInput { at, body: text.into_bytes() }));
    let after = Instant::from_unix_seconds(number + 1);
    receipts.push(store.append(Write::TwinClock { at: after }));
    if (number + 1) % SNAPSHOT_EVERY == 0 {
        let body = (number + 1).to_string().into_bytes();
        receipts.push(store.append(Write::TwinSnapshot { at: after, body }));
    }
    receipts
}
