//! Mode approve on two control planes: nothing starts without a yes, but for what has no time left.

use crate::support::{Fleet, Product, job, text};

/// A yes starts a Job, no yes does not, the guard does, and what is let go by hand goes.
pub fn nothing_is_late_for_want_of_a_yes(fleet: &Fleet) {
    let (kr, se) = (&fleet.kr, &fleet.se);
    let product = fleet.up(&["--mode", "approve"]);
    let later = ", kubercarbon.io/finish-within: 36h";
    let held_ones = ["urgent", "unlabelled", "released", "released-here"];
    for (name, movable) in held_ones.iter().zip([true, false, true, false]) {
        kr.apply(&job(name, movable, later));
    }
    // Without a deadline no hour is waited for: a yes is all it takes.
    kr.apply(&job("asked", true, ""));
    let held = |name: &str| product.job(name)["phase"] == "held" && kr.mark(name, "latest-start").is_some();
    product.until("all are held", || held_ones.into_iter().all(held));
    product.until("it is planned", || product.job("asked")["target"] == "se");
    let status = text(&product.ask(&["status"]).stdout);
    assert!(status.contains("kr/default/asked"), "{status}");
    // 20 min with 10 % and 2 min of margin: 24 min. It is due in a moment, and nobody says yes.
    let age = kr.get(&["job", "urgent"])["metadata"]["creationTimestamp"].as_str().unwrap().to_owned();
    let soon = fleet::Instant::parse(&age).unwrap() + fleet::Span::from_seconds(24 * 60 + 25);
    let deadline = format!("kubercarbon.io/deadline={}", soon.to_rfc3339_seconds());
    kr.run(&["annotate", "job", "urgent", "kubercarbon.io/finish-within-", &deadline]);
    kr.run(&["label", "job", "unlabelled", "kubercarbon.io/placement-"]);
    kr.complete("unlabelled", &product);
    assert_eq!(kr.mark("unlabelled", "latest-start"), None);
    assert_eq!(product.job("asked")["phase"], "held", "nobody said yes");
    assert!(se.copies("asked").is_empty());
    assert!(product.ask(&["approve", "kr/default/asked"]).status.success());
    kr.complete("asked", &product);
    assert_eq!(se.copies("asked").len(), 1);
    kr.complete("urgent", &product);
    the_guard_started_it(&product, fleet, soon);
    assert!(held("released") && held("released-here"));
    let released = product.ask(&["release", "--all", "--yes"]);
    assert!(released.status.success(), "{}", text(&released.stderr));
    kr.complete("released", &product);
    kr.complete("released-here", &product);
}

/// At its latest start, not before, and in time.
fn the_guard_started_it(product: &Product, fleet: &Fleet, deadline: fleet::Instant) {
    let copy = fleet.se.copies("urgent").pop().or_else(|| fleet.kr.copies("urgent").pop()).unwrap();
    let made = fleet::Instant::parse(copy["metadata"]["creationTimestamp"].as_str().unwrap()).unwrap();
    let latest = deadline - fleet::Span::from_seconds(24 * 60);
    let after = (made - latest).as_seconds();
    assert!((-1..=30).contains(&after), "{after} s after its latest start: {}", product.log());
}
