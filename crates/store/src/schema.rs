//! The schema and its versions: which file is ours, how old it is, and how it is brought up to date.
//!
//! The version is SQLite's `user_version`, the mark of ownership its `application_id`; both live in the
//! file's header and change inside the transaction that changes the tables. Versions only go up; a file
//! newer than the program is refused, untouched.

use crate::Error;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};
use std::sync::Arc;

/// Marks our files, for `file` and for ourselves: "kbrc" in ASCII.
const APPLICATION_ID: i64 = 0x6b62_7263;

/// The script at index `n` leads from version `n` to `n + 1`. Released scripts are never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_state.sql"),
    include_str!("../migrations/0002_usage.sql"),
    include_str!("../migrations/0003_usage_day.sql"),
];

/// The version this program writes.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Finds out whose file it is and how old, without changing it.
pub(crate) async fn check(connection: &mut SqliteConnection, place: &Arc<str>) -> Result<i64, Error> {
    let failed = |source| Error::database(place, "read the schema version", source);
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let application: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(failed)?;
    let found: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(failed)?;
    let fresh = tables == 0 && application == 0 && found == 0;
    if !fresh && application != APPLICATION_ID {
        return Err(Error::Foreign { place: place.clone(), found: application, expected: APPLICATION_ID });
    }
    if found > VERSION {
        return Err(Error::Newer { place: place.clone(), found, supported: VERSION });
    }
    Ok(found.max(0))
}

/// Brings the tables to [`VERSION`] in one transaction: all of it or nothing.
///
/// The transaction takes the write lock even if there is nothing to do, and so waits until a commit that a
/// store of this process left under way when it was dropped has ended: nothing is read before that.
pub(crate) async fn bring_up(connection: &mut SqliteConnection, place: &Arc<str>) -> Result<(), Error> {
    let failed = |source| Error::database(place, "bring the schema up to date", source);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let found = check(&mut transaction, place).await?;
    let done = usize::try_from(found).expect("check returns nothing negative");
    for script in &MIGRATIONS[done..] {
        sqlx::raw_sql(*script).execute(&mut *transaction).await.map_err(failed)?;
    }
    if done < MIGRATIONS.len() {
        // A pragma takes no parameters; both numbers are constants of this file.
        let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};");
        sqlx::raw_sql(AssertSqlSafe(marks)).execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}
