//! Carbon providers against services on loopback that answer as theirs do, on good days and bad.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

mod bad_days;
mod carbon_aware_sdk;
mod electricity_maps;
mod energi_data_service;
mod energy_charts;
mod proxy;
#[path = "../service/mod.rs"]
mod service;
mod uk_carbon;
mod watttime;

use connect::observe::provider::{Answer, Error, Place, Provider};
use fleet::GridZone;
use service::now;

fn place(zone: &str) -> Place {
    Place { zone: GridZone::new(zone).unwrap(), position: Some((37.77, -122.42)) }
}

async fn ask(provider: &mut impl Provider, zone: &str) -> Result<Answer, Error> {
    let answer = provider.ask(&place(zone), None, now()).await;
    if let Err(error) = &answer {
        let text = error.to_string();
        assert!(!text.contains("hunter2") && text.len() < 1000 && !text.contains('\n'), "{text}");
    }
    answer
}

/// The text of an error that must be.
async fn wrong(provider: &mut impl Provider, zone: &str) -> String {
    ask(provider, zone).await.unwrap_err().to_string()
}
