//! `kill -9` at many points, and `up` again on the same state: no Job is lost, none runs twice, no
//! figure counts twice.

use crate::support::{Product, has, job};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Kills, at moments spread over starting up, planning, creating copies, running and finishing.
const KILLS: u64 = 12;
const JOBS_PER_LIFE: usize = 2;
const FLAGS: [&str; 4] = ["--no-demo", "--speed", "3600x", "--quiet"];

/// A fixed sequence that looks random: where in a life the process is killed, in ms.
fn moment(life: u64) -> Duration {
    Duration::from_millis((life.wrapping_mul(2_654_435_761) >> 7) % 700)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_runs_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for life in 0..KILLS {
        let mut product = Product::start(dir.path(), &FLAGS).await;
        for i in 0..JOBS_PER_LIFE {
            let name = format!("work-{life}-{i}");
            let within = if i == 0 { "2h" } else { "9h" };
            if product.create("kr", &job(&name, "30m", within)).await.is_ok() {
                acknowledged.insert(name);
            }
        }
        tokio::time::sleep(moment(life)).await;
        product.kill();
    }
    let product = Product::start(dir.path(), &FLAGS).await;
    assert_eq!(acknowledged.len(), KILLS as usize * JOBS_PER_LIFE, "every create was acknowledged");
    product
        .until("every acknowledged Job is complete", async || {
            let jobs = product.jobs("kr").await;
            let complete: BTreeSet<String> = jobs.iter().filter(|j| has(j, "Complete")).map(name).collect();
            let failed: Vec<String> = jobs.iter().filter(|j| has(j, "Failed")).map(name).collect();
            assert!(failed.is_empty(), "failed: {failed:?}");
            acknowledged.is_subset(&complete)
        })
        .await;
    let copies = copies(&product).await;
    for (origin, places) in &copies {
        assert_eq!(places.len(), 1, "the Job {origin} has copies in {places:?}");
    }
    assert_eq!(copies.len(), acknowledged.len());
    let ids = || async {
        let ledger = product.get(&format!("{}/api/v1/ledger?limit=1000", product.url)).await;
        let entries = ledger["items"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let without = async || {
        let (ids, mut all) = (ids().await, product.jobs("kr").await);
        all.extend(product.jobs("jp").await);
        let uid = |job: &Value| job["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        all.retain(|job| !ids.iter().any(|id| id.contains(&uid(job))));
        format!("{ids:?}; without a line, copies among them: {}", Value::Array(all))
    };
    let all = async || ids().await.len() >= acknowledged.len();
    product.until_or("every Job has its ledger line", all, without).await;
    let ids = ids().await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "a line counts twice: {ids:?}");
    assert_eq!(ids.len(), acknowledged.len());
}

fn name(job: &Value) -> String {
    job["metadata"]["name"].as_str().unwrap().to_owned()
}

/// Copies by the uid of their original. Each ran once: one pod succeeded, none failed.
async fn copies(product: &Product) -> BTreeMap<String, Vec<String>> {
    let mut copies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for cluster in ["kr", "jp"] {
        for job in product.jobs(cluster).await {
            if let Some(origin) = job["metadata"]["labels"]["kubercarbon.io/origin-uid"].as_str() {
                assert_eq!(job["status"]["succeeded"], 1, "{job}");
                assert!(job["status"]["failed"].as_i64().unwrap_or(0) == 0, "{job}");
                copies.entry(origin.to_owned()).or_default().push(format!("{cluster}/{}", name(&job)));
            }
        }
    }
    copies
}
