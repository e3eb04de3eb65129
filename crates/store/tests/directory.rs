//! What is found in a state directory: held by another, damaged, foreign, newer, half gone. Each is refused
//! with its place, and left exactly as it was.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};
use std::fs;
use std::path::Path;
use store::{DATABASE_FILE, Error, Store, Write};

fn setting(value: &str) -> Write {
    Write::Setting { key: "mode".into(), value: value.into() }
}

async fn shell(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// Opening must fail, name the file, and leave it byte for byte.
async fn refused(dir: &Path) -> Error {
    let path = dir.join(DATABASE_FILE);
    let before = fs::read(&path).unwrap_or_default();
    let error = Store::open(dir).await.expect_err("opened what it should refuse");
    assert!(error.to_string().contains(path.to_str().unwrap()), "names the file: {error}");
    assert!(fs::read(&path).unwrap_or_default() == before, "{error}: the file was changed");
    error
}

#[tokio::test]
async fn a_directory_is_made_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a/b");
    let store = Store::open(&state).await.unwrap();
    store.append(setting("auto")).await.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    }
    store.close().await.unwrap();
    let store = Store::open(&state).await.unwrap();
    assert_eq!(store.setting("mode").await.unwrap().as_deref(), Some("auto"));
}

#[tokio::test]
async fn a_second_store_is_refused_until_the_first_ends() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).await.unwrap();
    first.append(setting("auto")).await.unwrap();
    let error = Store::open(dir.path()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "state directory {}: in use by process {}, expected no other user",
            dir.path().display(),
            std::process::id()
        )
    );
    assert_eq!(error.hint(), Some("stop the other process, or use another state directory"));
    first.append(setting("observe")).await.unwrap();
    first.close().await.unwrap();
    let second = Store::open(dir.path()).await.unwrap();
    assert_eq!(second.setting("mode").await.unwrap().as_deref(), Some("observe"));
}

#[tokio::test]
async fn garbage_is_refused() {
    for garbage in [b"no database".to_vec(), b"\x00\xff no database ".repeat(1000)] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DATABASE_FILE), &garbage).unwrap();
        let error = refused(dir.path()).await;
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(error.hint().unwrap().contains("backup"));
    }
}

#[tokio::test]
async fn a_damaged_page_is_named_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    for n in 0..500 {
        drop(store.append(Write::Ledger {
            id: format!("e{n}"),
            recorded: fleet::Instant::EPOCH,
            body: "x".repeat(1000),
        }));
    }
    store.close().await.unwrap();
    let path = dir.path().join(DATABASE_FILE);
    let mut bytes = fs::read(&path).unwrap();
    // Past the first pages (the schema and the roots of the tables), so that it opens.
    let from = 20 * 4096;
    bytes[from..].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let error = store.ledger_all().await.unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut other = shell(&dir.path().join(DATABASE_FILE)).await;
    other.execute("CREATE TABLE recipes (name TEXT)").await.unwrap();
    other.close().await.unwrap();
    let error = refused(dir.path()).await;
    assert!(matches!(error, Error::Foreign { found: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path()).await.unwrap().close().await.unwrap();
    let mut other = shell(&dir.path().join(DATABASE_FILE)).await;
    other.execute("PRAGMA user_version = 999").await.unwrap();
    other.close().await.unwrap();
    let error = refused(dir.path()).await;
    assert!(matches!(error, Error::Newer { found: 999, supported: 3, .. }), "{error}");
    assert!(error.to_string().ends_with("found schema version 999, expected at most 3"), "{error}");
}

#[tokio::test]
async fn a_log_without_its_database_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("state.db-wal");
    fs::write(&log, b"what was written last").unwrap();
    let error = refused(dir.path()).await;
    assert!(matches!(error, Error::Orphan { .. }), "{error}");
    assert_eq!(fs::read(&log).unwrap(), b"what was written last");
}

#[tokio::test]
async fn an_empty_file_is_a_new_state() {
    // What is left when a process is killed before its first commit.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(DATABASE_FILE), b"").unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    store.append(setting("auto")).await.unwrap();
}

#[tokio::test]
async fn a_file_in_the_directorys_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    fs::write(&path, b"").unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, Error::Directory { .. }), "{error}");
    assert_eq!(error.to_string(), format!("{}: create the state directory", path.display()));
}
