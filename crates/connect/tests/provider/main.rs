//! Carbon providers against services on loopback that answer as theirs do, on good days and bad.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

mod bad_days;
mod carbon_aware_sdk;
mod electricity_maps;
mod proxy;
mod service;
mod uk_carbon;
mod watttime;
