//! What goes wrong, on two control planes: processes are killed, others follow, answers are lost, watches are cut, a
//! cluster dies. Each Job runs once all the same.

use crate::proxy::{Mood, Proxy};
use crate::support::{Fleet, Plane, Product, job, lasting, text, until};

fn leads(product: &Product) -> bool {
    product.cluster("kr")["leads"] == true && product.cluster("se")["leads"] == true
}

/// Both ways to the clusters, each with a mood of its own.
struct Ways<'a> {
    fleet: &'a Fleet,
    kr: Proxy,
    se: Proxy,
}

impl Ways<'_> {
    fn to(fleet: &Fleet) -> Ways<'_> {
        let config = fleet.dir.join("kubeconfig");
        let ways = Ways { fleet, kr: Proxy::start(&config, "kr"), se: Proxy::start(&config, "se") };
        let (mut clusters, mut contexts) = ("clusters:\n".to_owned(), "contexts:\n".to_owned());
        for (name, proxy) in [("kr", &ways.kr), ("se", &ways.se)] {
            clusters += &format!("- {{name: bad-{name}, cluster: {{server: '{}'}}}}\n", proxy.url);
            contexts += &format!("- {{name: bad-{name}, context: {{cluster: bad-{name}, user: {name}}}}}\n");
        }
        let text = std::fs::read_to_string(&config).unwrap();
        let with = text.replacen("clusters:\n", &clusters, 1).replacen("contexts:\n", &contexts, 1);
        std::fs::write(&config, with).unwrap();
        ways
    }

    fn up(&self) -> Product {
        Product::start_on(&self.fleet.dir, "state", &["kr=bad-kr", "se=bad-se"], &["--mode", "auto"])
    }

    fn both(&self, mood: Mood) {
        self.kr.behave(mood.clone());
        self.se.behave(mood);
    }

    /// Where its copy will be is written down, and it was asked for on a way that does not answer.
    fn asked_for(&self, product: &Product, name: &'static str) {
        let faults = self.se.faults();
        self.fleet.kr.apply(&job(name, true, ""));
        product.until("it is written down where the copy will be, and asked for", || {
            self.fleet.kr.mark(name, "copy").is_some() && self.se.faults() > faults
        });
    }
}

/// It ran, and once.
fn ran_once(fleet: &Fleet, name: &str, product: &Product) {
    fleet.kr.complete(name, product);
    let copies = [fleet.kr.copies(name), fleet.se.copies(name)].concat();
    assert_eq!(copies.len(), 1, "{name}: {}", product.log());
    assert_eq!((&copies[0]["status"]["succeeded"], &copies[0]["status"]["failed"]), (&1.into(), &().into()));
    assert_eq!(fleet.kr.made(name) + fleet.se.made(name), 1, "{name}: {}", product.log());
}

/// Everything that comes of killed processes and bad ways.
pub fn each_job_once(fleet: &Fleet) {
    let ways = Ways::to(fleet);
    one_of_two_processes_acts(&ways);
    let product = killed_behind_its_back(&ways);
    refused_and_unheard(&ways, &product);
    cut_and_compacted(&ways, &product);
}

/// When who acts is killed, between writing down where a copy will be and making it, the other follows and makes it; when
/// it ends, the other follows at once.
fn one_of_two_processes_acts(ways: &Ways<'_>) {
    let fleet = ways.fleet;
    ways.se.behave(Mood::Swallows("before"));
    let first = ways.up();
    first.until("the first leads", || leads(&first));
    let second = Product::start_in(&fleet.dir, "second", &["--mode", "auto"]);
    second.until("the second follows", || {
        let kr = second.cluster("kr");
        kr["leads"] == false && kr["leader"].as_str().is_some_and(|who| !who.contains(' '))
    });
    let status = text(&second.ask(&["status"]).stdout);
    assert!(status.contains("this process plans and shows"), "{status}");
    assert!(status.contains(" acts since 2"), "{status}");
    let refused = second.ask(&["release", "--all", "--yes"]);
    assert!(text(&refused.stderr).contains("expected the order there"), "{}", text(&refused.stderr));
    ways.asked_for(&first, "before");
    drop(first);
    assert_eq!(fleet.se.made("before"), 0, "it was killed before it was made");
    ways.both(Mood::Fine);
    second.until("the second leads when the first is killed", || leads(&second));
    ran_once(fleet, "before", &second);
    let third = ways.up();
    third.until("the killed one follows when it is back", || third.cluster("kr")["leads"] == false);
    let ended = std::time::Instant::now();
    second.end();
    third.until("and leads again", || leads(&third));
    assert!(ended.elapsed().as_secs() < 25, "it need not wait for a Lease to expire: {:?}", ended.elapsed());
}

/// Killed when the copy was made and nobody had told it.
fn killed_behind_its_back(ways: &Ways<'_>) -> Product {
    ways.se.behave(Mood::Mute("behind"));
    let product = ways.up();
    product.until("it goes on at once", || leads(&product));
    ways.asked_for(&product, "behind");
    product.until("it is made", || ways.fleet.se.copies("behind").len() == 1);
    drop(product);
    ways.both(Mood::Fine);
    let product = ways.up();
    ran_once(ways.fleet, "behind", &product);
    product
}

/// 409, 429 and 500, answers lost after it was done, and one that never comes.
fn refused_and_unheard(ways: &Ways<'_>, product: &Product) {
    ways.se.behave(Mood::Mute("unheard"));
    ways.asked_for(product, "unheard");
    ways.both(Mood::Moody);
    let faults = ways.kr.faults() + ways.se.faults();
    let names = ["mood-1", "mood-2", "mood-3"];
    names.iter().for_each(|name| ways.fleet.kr.apply(&job(name, true, "")));
    names.iter().for_each(|name| ran_once(ways.fleet, name, product));
    assert!(ways.kr.faults() + ways.se.faults() > faults + 8, "each fault, and twice");
    ways.both(Mood::Fine);
    ran_once(ways.fleet, "unheard", product);
}

/// Nobody saw what became of the copies, and the server's history no longer tells: they are listed anew.
fn cut_and_compacted(ways: &Ways<'_>, product: &Product) {
    let (kr, se) = (&ways.fleet.kr, &ways.fleet.se);
    // Their pods end when it is said here, so that no pause of this machine comes between.
    kr.apply(&lasting("watched", "1h"));
    kr.apply(&lasting("undone", "1h"));
    let runs = |name: &str| {
        let runs = || se.copies(name).first().is_some_and(|c| c["status"]["ready"] == 1);
        let seen = || {
            let (home, copies) = (kr.get(&["job", name]), se.copies(name));
            format!("{home:#} {copies:#?} {:#} {}", product.job(name), product.log())
        };
        until(&format!("{name} runs"), seen, runs);
    };
    runs("watched");
    runs("undone");
    ways.se.behave(Mood::Deaf);
    delete_copy(se, "undone");
    se.end_pods("watched");
    product.until("the other has ended", || se.copies("watched")[0]["status"]["succeeded"] == 1);
    assert!(kr.get(&["job", "watched"])["status"]["succeeded"].is_null(), "nobody can know");
    ways.se.behave(Mood::Forgetful);
    runs("undone");
    se.end_pods("undone");
    kr.complete("undone", product);
    ran_once(ways.fleet, "watched", product);
    assert!(ways.se.expired() > 0, "the server was asked for what it has forgotten");
    assert_eq!((se.made("undone"), se.copies("undone").len()), (2, 1), "{}", product.log());
}

fn delete_copy(plane: &Plane, name: &str) {
    let copy = plane.copies(name)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    plane.run(&["delete", "job", &copy]);
}

/// A dead cluster is unknown, and the others go on; it comes back by itself.
pub fn goes_on_without_a_dead_one(fleet: &mut Fleet) {
    let unknown = |product: &Product| product.cluster("se")["unknownSince"].is_string();
    let product = fleet.up(&["--mode", "auto"]);
    product.until("both are seen", || product.cluster("se")["reachable"] == true);
    let again = fleet.se.kill_server();
    product.until("the dead one is unknown, since when and why", || unknown(&product));
    assert!(text(&product.ask(&["status"]).stdout).contains("se: unknown since "));
    fleet.kr.apply(&job("alone", true, ""));
    fleet.kr.complete("alone", &product);
    assert_eq!(fleet.kr.mark("alone", "cluster").as_deref(), Some("kr"));
    drop(product);

    // The same from the start: where it stands is remembered.
    let product = fleet.up(&["--mode", "auto"]);
    product.until("it is unknown from the start", || unknown(&product));
    assert_eq!(product.cluster("se")["gridZone"].as_str().map(|zone| &zone[..2]), Some("SE"));
    fleet.se.revive(again);
    product.until("it comes back by itself", || {
        let cluster = product.cluster("se");
        cluster["reachable"] == true && cluster["unknownSince"].is_null() && cluster["nodesReady"] == 3
    });
    product.until("it is led again", || leads(&product));
    fleet.kr.apply(&job("again", true, ""));
    fleet.kr.complete("again", &product);
    assert_eq!(fleet.kr.mark("again", "cluster").as_deref(), Some("se"));
}
