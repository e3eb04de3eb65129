//! What is seen of two control planes in mode observe, in which nothing is written.

use crate::support::{Fleet, Plane, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// Every object a Job may be concerned with, and its version.
fn versions(plane: &Plane) -> BTreeSet<String> {
    let all = plane.get(&["jobs,pods,events,configmaps,secrets,namespaces", "--all-namespaces"]);
    let items = all["items"].as_array().unwrap();
    items.iter().map(|o| format!("{} {}", o["metadata"]["uid"], o["metadata"]["resourceVersion"])).collect()
}

pub fn observes_and_writes_nothing(fleet: &Fleet) {
    let (kr, se) = (&fleet.kr, &fleet.se);
    [kr, se].iter().for_each(|plane| plane.listen_anew());
    let before = (versions(kr), versions(se));
    let product = fleet.up(&["--context", "again"]);
    product.until("one cluster under two names counts once", || {
        product.cluster("again")["unknownWhy"].as_str().is_some_and(|why| why.contains("called kr already"))
    });
    product.until("both are seen, and the Job has a plan", || {
        let seen =
            |name| product.cluster(name)["reachable"] == true && product.cluster(name)["nodesReady"] == 3;
        seen("kr") && seen("se") && product.job("report")["target"] == "se"
    });
    let cluster = product.cluster("kr");
    assert_eq!((&cluster["gridZone"], &cluster["mode"]), (&Value::from("KR"), &Value::from("observe")));
    assert_eq!(product.status()["clock"]["kind"], "wall");
    assert!(cluster["powerWatts"].as_f64().unwrap() > 0.0 && cluster["pricePerHour"].as_f64().unwrap() > 0.0);
    for order in [&["release", "--all", "--yes"] as &[&str], &["approve", "kr/default/report"]] {
        let refused = product.ask(order);
        assert_eq!(refused.status.code(), Some(1), "{order:?}");
        assert!(text(&refused.stderr).contains("--mode"), "{}", text(&refused.stderr));
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(before, (versions(kr), versions(se)), "nothing was written: {}", product.log());
    for plane in [kr, se] {
        let writes = |what: &&String| !["get", "list", "watch"].iter().any(|verb| what.starts_with(verb));
        let (asked, _) = plane.asked();
        assert_eq!(asked.iter().filter(writes).count(), 0, "nor was it tried: {asked:?}");
    }
}
