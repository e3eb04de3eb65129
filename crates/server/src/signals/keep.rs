//! What signals leave in the store for the next run: what providers told of each zone, and how far off forecasts were.
//!
//! One setting a provider and zone, one a zone for errors; a newer one replaces the older, so the store holds what memory
//! does: at most some 150 KB a zone and provider (30 days of five minutes and a forecast), 60 KB a zone of errors.
//! Invariants: each is written every [`SAVE_EVERY`] at most, so that fast twins do not fill the disk; what cannot be read
//! back is left alone and said, and nothing fails because of it. Left out: what the last minutes before an end told.

use super::errors::ZoneErrors;
use connect::observe::provider::Saved;
use fleet::GridZone;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;
use store::{SETTING_BYTES_MAX, Store, Write};
use tokio::time::Instant;

/// How often a thing is written at most, by the machine's clock: what an end without warning loses is asked for again.
pub const SAVE_EVERY: Duration = Duration::from_secs(900);

/// The store, and when what was written to it.
pub struct Keep {
    store: Store,
    written: BTreeMap<String, Instant>,
}

/// Where a provider's figures of a zone are.
fn provider_key(provider: &str, zone: &GridZone) -> String {
    format!("signals/provider/{provider}/{zone}")
}

/// Where a zone's errors are.
fn errors_key(zone: &GridZone) -> String {
    format!("signals/errors/{zone}")
}

impl Keep {
    /// In this store.
    pub fn new(store: Store) -> Keep {
        Keep { store, written: BTreeMap::new() }
    }

    /// What a provider told of a zone in an earlier run.
    pub async fn provider(&self, provider: &str, zone: &GridZone) -> Option<Saved> {
        self.read(&provider_key(provider, zone)).await
    }

    /// How far off a zone's forecasts were in an earlier run.
    pub async fn errors(&self, zone: &GridZone) -> Option<ZoneErrors> {
        self.read(&errors_key(zone)).await
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        match self.store.setting(key).await {
            Ok(text) => match serde_json::from_str(&text?) {
                Ok(value) => Some(value),
                Err(error) => {
                    tracing::warn!(key, "what an earlier run left is not read: {error}");
                    None
                }
            },
            Err(error) => {
                tracing::warn!(key, %error, "read what an earlier run left");
                None
            }
        }
    }

    /// Keeps what a provider told of a zone; `saved` is asked only when it is time.
    pub fn put_provider(&mut self, provider: &str, zone: &GridZone, saved: impl FnOnce() -> Option<Saved>) {
        self.put(provider_key(provider, zone), saved);
    }

    /// Keeps how far off a zone's forecasts were.
    pub fn put_errors(&mut self, zone: &GridZone, errors: &ZoneErrors) {
        self.put(errors_key(zone), || Some(errors));
    }

    fn put<T: Serialize>(&mut self, key: String, value: impl FnOnce() -> Option<T>) {
        let now = Instant::now();
        if self.written.get(&key).is_some_and(|at| now - *at < SAVE_EVERY) {
            return;
        }
        let Some(value) = value() else { return };
        match serde_json::to_string(&value) {
            Ok(value) if value.len() <= SETTING_BYTES_MAX => {
                self.written.insert(key.clone(), now);
                // Nobody waits for it; a store that fails says so where work hangs on it.
                let _receipt = self.store.append(Write::Setting { key, value });
            }
            Ok(value) => {
                tracing::warn!(key, bytes = value.len(), "too much to keep: {SETTING_BYTES_MAX} at most")
            }
            Err(error) => tracing::warn!(key, %error, "write what is to be kept"),
        }
    }
}
