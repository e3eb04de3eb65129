//! What every kind of store promises, held against each: in memory and in a file. Tests that need the
//! file itself (reopening, locks held from outside) have only that arm.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

use fleet::Instant;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};
use std::path::Path;
use std::time::Duration;
use store::{
    DATABASE_FILE, Error, INPUT_BYTES_MAX, LEDGER_BYTES_MAX, PAGE_ROWS_MAX, QUEUE_BYTES_MAX,
    SNAPSHOT_BYTES_MAX, Store, Write,
};
use tempfile::TempDir;

fn at(second: i64) -> Instant {
    Instant::from_unix_seconds(second)
}

fn input(second: i64, body: &str) -> Write {
    Write::TwinInput { at: at(second), body: body.as_bytes().to_vec() }
}

fn snapshot(second: i64, body: &str) -> Write {
    Write::TwinSnapshot { at: at(second), body: body.as_bytes().to_vec() }
}

fn journal(kind: &str, key: &str, body: &str) -> Write {
    Write::Journal { at: at(7), kind: kind.into(), key: key.into(), body: body.into() }
}

fn ledger(id: &str, body: &str) -> Write {
    Write::Ledger { id: id.into(), recorded: at(9), body: body.into() }
}

fn usage(cluster: &str, hour: i64, version: u32) -> Write {
    let id = format!("usage/{cluster}/{hour}#{version}");
    let body = format!("{cluster} {hour} {version}");
    Write::Usage { id, cluster: cluster.into(), hour: at(hour * 3600), recorded: at(9), body }
}

fn setting(key: &str, value: &str) -> Write {
    Write::Setting { key: key.into(), value: value.into() }
}

/// Both arms; the directories live as long as the stores.
async fn arms() -> Vec<(&'static str, Store, Option<TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let file = Store::open(dir.path()).await.unwrap();
    vec![("memory", Store::memory().await.unwrap(), None), ("file", file, Some(dir))]
}

/// A connection past the store, as a person with an SQLite shell has.
async fn outside(dir: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(dir.join(DATABASE_FILE));
    SqliteConnection::connect_with(&options).await.unwrap()
}

#[tokio::test]
async fn an_empty_store_has_nothing() {
    for (arm, store, _dir) in arms().await {
        assert_eq!(store.twin().await.unwrap(), None, "{arm}");
        assert_eq!(store.ledger_all().await.unwrap(), [], "{arm}");
        assert_eq!(store.journal(0, 10).await.unwrap(), [], "{arm}");
        assert_eq!(store.setting("mode").await.unwrap(), None, "{arm}");
        assert_eq!(store.commits(), 0, "{arm}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_calls_is_the_order_of_rows_whoever_waits_first() {
    for (arm, store, _dir) in arms().await {
        let lines: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
        let mut receipts: Vec<_> =
            lines.iter().map(|n| (n.clone(), store.append(journal("k", "order", n)))).collect();
        receipts.reverse();
        for (n, receipt) in receipts {
            receipt.await.unwrap_or_else(|error| panic!("{arm}: write {n}: {error}"));
        }
        let mut found = Vec::new();
        while let page = store.journal(found.len() as i64, u32::MAX).await.unwrap()
            && !page.is_empty()
        {
            assert!(page.len() <= PAGE_ROWS_MAX as usize, "{arm}");
            found.extend(page);
        }
        assert!(found.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq), "{arm}");
        let bodies: Vec<_> = found.into_iter().map(|row| row.body).collect();
        assert_eq!(bodies, lines, "{arm}");
    }
}

#[tokio::test]
async fn writes_queued_together_share_a_transaction() {
    for (arm, store, _dir) in arms().await {
        // One thread and no await between: all 500 wait when the writer first runs.
        let receipts: Vec<_> = (0..500).map(|n| store.append(ledger(&format!("e{n}"), "{}"))).collect();
        assert_eq!(store.commits(), 0, "{arm}");
        assert!(store.bytes_waiting() > 500 * 100, "{arm}: {}", store.bytes_waiting());
        for receipt in receipts {
            receipt.await.unwrap();
        }
        assert_eq!(store.commits(), 1, "{arm}");
        assert_eq!(store.bytes_waiting(), 0, "{arm}");
        store.append(setting("a", "b")).await.unwrap();
        store.flush().await.unwrap();
        assert_eq!(store.commits(), 2, "{arm}: a flush alone commits nothing");
    }
}

#[tokio::test]
async fn a_receipt_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let mut other = outside(dir.path()).await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();

    let mut receipt = store.append(setting("mode", "auto"));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut receipt).await;
    assert!(early.is_err(), "acknowledged while somebody else held the write lock: {early:?}");
    assert_eq!(store.setting("mode").await.unwrap(), None, "readers are not held up, and see nothing early");

    other.execute("COMMIT").await.unwrap();
    receipt.await.unwrap();
    let value: String = sqlx::query_scalar("SELECT value FROM setting WHERE key = 'mode'")
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert_eq!(value, "auto", "seen by another connection as soon as it is acknowledged");
}

#[tokio::test]
async fn the_file_keeps_a_write_ahead_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    store.append(setting("a", "b")).await.unwrap();
    assert!(dir.path().join("state.db-wal").metadata().unwrap().len() > 0, "a write-ahead log is kept");
    let mut other = outside(dir.path()).await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut other).await.unwrap();
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn a_ledger_id_counts_once() {
    for (arm, store, _dir) in arms().await {
        store.append(ledger("run-1", "first")).await.unwrap();
        let again = store.append(ledger("run-1", "second"));
        let next = store.append(ledger("run-2", "third"));
        again.await.unwrap_or_else(|error| panic!("{arm}: {error}"));
        next.await.unwrap();
        let rows = store.ledger_all().await.unwrap();
        let seen: Vec<_> =
            rows.iter().map(|row| (row.id.as_str(), row.recorded, row.body.as_str())).collect();
        assert_eq!(seen, [("run-1", at(9), "first"), ("run-2", at(9), "third")], "{arm}");
    }
}

#[tokio::test]
async fn the_ledger_comes_in_pages_behind_a_cursor() {
    for (arm, store, _dir) in arms().await {
        // Ids sort the other way round than they were written: the order must be that of writing.
        let ids: Vec<String> = (0..2500).map(|n| format!("e{:05}", 99_999 - n)).collect();
        for id in &ids {
            drop(store.append(ledger(id, "{}")));
        }
        store.flush().await.unwrap();
        let name = |rows: Vec<store::LedgerRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(name(store.ledger(None, 3).await.unwrap()), ids[..3], "{arm}");
        assert_eq!(name(store.ledger(Some(&ids[2]), 4).await.unwrap()), ids[3..7], "{arm}");
        assert_eq!(store.ledger(None, u32::MAX).await.unwrap().len(), PAGE_ROWS_MAX as usize, "{arm}");
        assert_eq!(name(store.ledger_all().await.unwrap()), ids, "{arm}");
        let error = store.ledger(Some("nobody"), 3).await.unwrap_err();
        assert!(matches!(&error, Error::UnknownCursor { id } if id == "nobody"), "{arm}: {error}");
    }
}

#[tokio::test]
async fn hours_come_by_hour_and_cluster_with_later_versions_last() {
    for (arm, store, _dir) in arms().await {
        assert_eq!(store.usage_last().await.unwrap(), 0, "{arm}");
        for (cluster, hour, version) in
            [("kr", 2, 1), ("jp", 1, 1), ("kr", 1, 1), ("kr", 3, 1), ("kr", 1, 2), ("jp", 0, 1), ("kr", 1, 2)]
        {
            store.append(usage(cluster, hour, version)).await.unwrap();
        }
        let range = (at(3600), at(3 * 3600));
        let mut found = Vec::new();
        let mut last = None;
        loop {
            let page = store.usage(range, None, last.as_ref(), 2).await.unwrap();
            let Some(row) = page.last() else { break };
            last = Some(row.clone());
            found.extend(page.into_iter().map(|row| row.body));
        }
        assert_eq!(found, ["jp 1 1", "kr 1 1", "kr 1 2", "kr 2 1"], "{arm}: an id counts once");
        assert_eq!(store.usage_last().await.unwrap(), 6, "{arm}");
        let of = |row: store::UsageRow| row.body;
        let japan = store.usage(range, Some("jp"), None, 9).await.unwrap();
        assert_eq!(japan.into_iter().map(of).collect::<Vec<_>>(), ["jp 1 1"], "{arm}");
    }
}

#[tokio::test]
async fn days_are_replaced_and_say_what_is_in_them() {
    let day = |n: i64| at(n * 86_400);
    for (arm, store, _dir) in arms().await {
        for (cluster, hour) in [("kr", 1), ("kr", 30), ("jp", 2), ("kr", 2), ("jp", 50)] {
            store.append(usage(cluster, hour, 1)).await.unwrap();
        }
        let heads = store.usage_heads((day(0), day(2))).await.unwrap();
        let heads: Vec<_> = heads
            .iter()
            .map(|head| (head.cluster.as_str(), head.day, head.last, head.last_hour.as_unix_seconds() / 3600))
            .collect();
        let expected = [("jp", day(0), 3, 2), ("kr", day(0), 4, 2), ("kr", day(1), 2, 30)];
        assert_eq!(heads, expected, "{arm}");
        let write = |level: &str, cluster: &str, n: i64, last: i64| Write::UsageDay {
            level: level.into(),
            cluster: cluster.into(),
            day: day(n),
            last,
            body: vec![last as u8; 3],
        };
        for (level, cluster, n, last) in [
            ("work", "kr", 0, 1),
            ("work", "jp", 0, 3),
            ("node", "kr", 0, 4),
            ("work", "kr", 0, 4),
            ("work", "kr", 1, 2),
        ] {
            store.append(write(level, cluster, n, last)).await.unwrap();
        }
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.usage_days("work", (day(0), day(9)), after.as_ref(), 2).await.unwrap();
            let Some(row) = page.last() else { break };
            after = Some(row.clone());
            found.extend(page.into_iter().map(|row| (row.cluster, row.day, row.last, row.body)));
        }
        let row = |cluster: &str, n, last: u8| (cluster.to_owned(), day(n), i64::from(last), vec![last; 3]);
        assert_eq!(found, [row("jp", 0, 3), row("kr", 0, 4), row("kr", 1, 2)], "{arm}");
        let some = store.usage_days("work", (day(1), day(2)), None, 9).await.unwrap();
        assert_eq!(some.iter().map(|row| row.last).collect::<Vec<_>>(), [2], "{arm}");
    }
}

#[tokio::test]
async fn the_ledger_cannot_be_altered_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    store.append(ledger("run-1", "first")).await.unwrap();
    store.append(usage("kr", 1, 1)).await.unwrap();
    let mut other = outside(dir.path()).await;
    for statement in [
        "UPDATE ledger SET body = 'x'",
        "DELETE FROM ledger",
        "UPDATE usage SET body = 'x'",
        "DELETE FROM usage",
    ] {
        let error = other.execute(statement).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{statement}: {error}");
    }
    assert_eq!(store.ledger_all().await.unwrap()[0].body, "first");
}

#[tokio::test]
async fn a_snapshot_stands_for_the_inputs_before_it() {
    for (arm, store, _dir) in arms().await {
        // All in one transaction: what matters is the order in the queue, not the time of commit.
        drop(store.append(input(1, "a")));
        drop(store.append(input(2, "b")));
        drop(store.append(snapshot(2, "ab")));
        drop(store.append(input(3, "c")));
        store.append(input(3, "d")).await.unwrap();
        let state = store.twin().await.unwrap().unwrap();
        assert_eq!(state.snapshot, Some((at(2), b"ab".to_vec())), "{arm}");
        assert_eq!(state.inputs, [(at(3), b"c".to_vec()), (at(3), b"d".to_vec())], "{arm}");
        assert_eq!(state.clock, None, "{arm}");

        store.append(snapshot(4, "abcd")).await.unwrap();
        let state = store.twin().await.unwrap().unwrap();
        assert_eq!(state.snapshot, Some((at(4), b"abcd".to_vec())), "{arm}");
        assert_eq!(state.inputs, [], "{arm}");
    }
}

#[tokio::test]
async fn inputs_without_a_snapshot_are_a_state() {
    for (arm, store, _dir) in arms().await {
        store.append(input(1, "a")).await.unwrap();
        let state = store.twin().await.unwrap().unwrap();
        assert_eq!((state.snapshot, state.inputs.len()), (None, 1), "{arm}");
    }
}

#[tokio::test]
async fn the_clock_never_goes_back() {
    for (arm, store, _dir) in arms().await {
        for (seconds, expected) in [(&[5_i64, 9, 7][..], 9), (&[8], 9), (&[-3, 10], 10)] {
            for second in seconds {
                drop(store.append(Write::TwinClock { at: at(*second) }));
            }
            store.flush().await.unwrap();
            let clock = store.twin().await.unwrap().unwrap().clock;
            assert_eq!(clock, Some(at(expected)), "{arm}: after {seconds:?}");
        }
    }
}

#[tokio::test]
async fn the_journal_is_read_by_number_by_key_and_by_what_is_open() {
    for (arm, store, _dir) in arms().await {
        for (kind, key) in [
            ("intent", "a"),
            ("intent", "b"),
            ("done", "a"),
            ("intent", "c"),
            ("failed", "c"),
            ("intent", "a"),
        ] {
            drop(store.append(journal(kind, key, "{}")));
        }
        store.flush().await.unwrap();
        let seqs = |rows: Vec<store::JournalRow>| rows.into_iter().map(|row| row.seq).collect::<Vec<_>>();
        assert_eq!(seqs(store.journal(2, 3).await.unwrap()), [3, 4, 5], "{arm}");
        assert_eq!(seqs(store.journal_by_key("a", 0, 9).await.unwrap()), [1, 3, 6], "{arm}");
        assert_eq!(seqs(store.journal_by_key("a", 1, 1).await.unwrap()), [3], "{arm}");
        assert_eq!(seqs(store.journal_open(&["done", "failed"], 0, 9).await.unwrap()), [2, 6], "{arm}");
        assert_eq!(seqs(store.journal_open(&["done", "failed"], 2, 9).await.unwrap()), [6], "{arm}");
        assert_eq!(seqs(store.journal_open(&[], 0, 9).await.unwrap()), [2, 5, 6], "{arm}");
        let row = store.journal(0, 1).await.unwrap().remove(0);
        let seen = (row.at, row.kind.as_str(), row.key.as_str(), row.body.as_str());
        assert_eq!(seen, (at(7), "intent", "a", "{}"), "{arm}");
    }
}

#[tokio::test]
async fn a_setting_is_replaced_and_text_comes_back_as_it_went() {
    for (arm, store, _dir) in arms().await {
        for value in ["auto", "", "관찰 — 'x'; DROP TABLE setting;\n\0\u{1F331}"] {
            store.append(setting("mode", value)).await.unwrap();
            assert_eq!(store.setting("mode").await.unwrap().as_deref(), Some(value), "{arm}");
        }
        let body: Vec<u8> = (0..=255).cycle().take(INPUT_BYTES_MAX).collect();
        store.append(Write::TwinInput { at: at(1), body: body.clone() }).await.unwrap();
        assert!(store.twin().await.unwrap().unwrap().inputs[0].1 == body, "{arm}: bytes differ");
    }
}

#[tokio::test]
async fn a_body_beyond_its_bound_is_refused_alone() {
    for (arm, store, _dir) in arms().await {
        let before = store.append(setting("a", "1"));
        let large = store.append(ledger("big", &"x".repeat(LEDGER_BYTES_MAX + 1)));
        let after = store.append(setting("b", "2"));
        let error = large.await.unwrap_err();
        assert_eq!(error.to_string(), "ledger body: found 262145 bytes, expected at most 262144", "{arm}");
        before.await.unwrap();
        after.await.unwrap();
        assert_eq!(store.ledger_all().await.unwrap(), [], "{arm}");
    }
}

#[tokio::test]
async fn an_input_that_cannot_be_kept_stops_writing() {
    for (arm, store, _dir) in arms().await {
        let before = store.append(input(1, "a"));
        let large = Write::TwinInput { at: at(2), body: vec![0; INPUT_BYTES_MAX + 1] };
        assert!(matches!(large.check(), Err(Error::TooLarge { .. })), "{arm}");
        let large = store.append(large);
        let after = store.append(input(3, "c"));
        assert!(matches!(large.await, Err(Error::TooLarge { .. })), "{arm}");
        before.await.unwrap_or_else(|error| panic!("{arm}: what was queued before is kept: {error}"));
        let error = after.await.unwrap_err();
        assert!(matches!(error, Error::Stopped { .. }), "{arm}: {error}");
        let inputs = store.twin().await.unwrap().unwrap().inputs;
        assert_eq!(inputs, [(at(1), b"a".to_vec())], "{arm}: no hole");
        assert!(matches!(store.close().await, Err(Error::Stopped { .. })), "{arm}");
    }
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let store = Store::memory().await.unwrap();
    let body = vec![0; SNAPSHOT_BYTES_MAX];
    let first = store.append(Write::TwinSnapshot { at: at(1), body: body.clone() });
    let second = store.append(Write::TwinSnapshot { at: at(2), body });
    let error = second.await.unwrap_err();
    assert!(matches!(error, Error::QueueFull { limit: QUEUE_BYTES_MAX, .. }), "{error}");
    assert!(matches!(store.append(setting("a", "b")).await, Err(Error::Stopped { .. })));
    first.await.unwrap();
    assert_eq!(store.twin().await.unwrap().unwrap().snapshot.unwrap().0, at(1));
}

#[tokio::test]
async fn after_a_failed_commit_nothing_more_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    store.append(setting("a", "kept")).await.unwrap();
    let mut other = outside(dir.path()).await;
    other
        .execute("CREATE TRIGGER full BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        .await
        .unwrap();

    // One transaction: the good write before the bad one goes with it.
    let good = store.append(setting("a", "undone"));
    let bad = store.append(journal("intent", "k", "{}"));
    for receipt in [good, bad] {
        let error = receipt.await.unwrap_err();
        assert!(matches!(error, Error::Database { .. }), "{error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("disk full"), "{source}");
    }
    other.execute("DROP TRIGGER full").await.unwrap();
    let error = store.append(setting("b", "later")).await.unwrap_err();
    assert!(matches!(error, Error::Stopped { .. }), "sticky although the cause is gone: {error}");
    assert!(matches!(store.flush().await, Err(Error::Stopped { .. })));
    assert_eq!(store.setting("a").await.unwrap().as_deref(), Some("kept"), "reading goes on");
    assert!(matches!(store.close().await, Err(Error::Stopped { .. })));

    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(store.setting("a").await.unwrap().as_deref(), Some("kept"));
    assert_eq!(store.setting("b").await.unwrap(), None);
    store.append(setting("b", "again")).await.unwrap();
}

#[tokio::test]
async fn close_writes_what_waits_and_ends_every_clone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let clone = store.clone();
    for n in 0..2000 {
        drop(store.append(ledger(&format!("e{n}"), "{}")));
    }
    store.close().await.unwrap();
    let error = clone.append(setting("a", "b")).await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
    assert!(matches!(clone.setting("a").await, Err(Error::Closed { .. })));
    assert!(!dir.path().join("state.db-wal").exists(), "a clean end leaves one file");

    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(store.ledger_all().await.unwrap().len(), 2000);
}

#[tokio::test]
async fn dropping_the_last_handle_writes_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let receipt = store.append(setting("a", "b"));
    drop(store);
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(store.setting("a").await.unwrap().as_deref(), Some("b"));
    receipt.await.unwrap();
}

#[test]
fn a_runtime_that_ends_under_the_store_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (store, pending) = first.block_on(async {
        let store = Store::open(dir.path()).await.unwrap();
        store.append(input(1, "acknowledged")).await.unwrap();
        let pending = store.append(input(2, "pending"));
        (store, pending)
    });
    drop(first);
    let second = runtime();
    second.block_on(async {
        assert!(matches!(pending.await, Err(Error::Closed { .. })), "a receipt never hangs");
        assert!(matches!(store.append(input(3, "late")).await, Err(Error::Closed { .. })));
        drop(store);
        let store = Store::open(dir.path()).await.unwrap();
        let inputs = store.twin().await.unwrap().unwrap().inputs;
        assert_eq!(inputs[0].1, b"acknowledged");
        assert!(inputs.len() <= 2, "nothing refused is there");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_see_whole_transactions_while_writing_goes_on() {
    for (arm, store, _dir) in arms().await {
        let writer = store.clone();
        let task = tokio::spawn(async move {
            for n in 1..=400_i64 {
                drop(writer.append(input(n, "x")));
                if n % 10 == 0 {
                    drop(writer.append(snapshot(n, "s")));
                }
                if n % 7 == 0 {
                    writer.flush().await.unwrap();
                }
            }
            writer.flush().await.unwrap();
        });
        while !task.is_finished() {
            let Some(state) = store.twin().await.unwrap() else { continue };
            let from = state.snapshot.map_or(0, |(at, _)| at.as_unix_seconds());
            let seen: Vec<i64> = state.inputs.iter().map(|(at, _)| at.as_unix_seconds()).collect();
            let expected: Vec<i64> = (from + 1..).take(seen.len()).collect();
            assert_eq!(seen, expected, "{arm}: inputs follow the snapshot without a gap or a double");
        }
        task.await.unwrap();
        assert_eq!(store.twin().await.unwrap().unwrap().snapshot.unwrap().0, at(400), "{arm}");
    }
}
