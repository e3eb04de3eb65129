//! Two processes on one fleet of real control planes: one acts at a time.

use crate::support::{Plane, Product, alone, grant, job, kubeconfig, lab, text};

const DONE: &str = "--for=condition=complete";

fn wait(plane: &Plane, name: &str) {
    plane.run(&["wait", DONE, "--timeout=180s", &format!("job/{name}")]);
}

/// When who acts is killed, the other follows; when it ends, the other follows at once.
#[test]
fn one_of_two_processes_acts() {
    let Some(lab) = lab() else { return };
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let lab = lab.with_kubelets_times(dir);
    let kr = Plane::start(&lab, dir, "kr", "ap-northeast-2");
    let se = Plane::start(&lab, dir, "se", "eu-north-1");
    let tokens = [(&kr, grant(&kr, "auto")), (&se, grant(&se, "auto"))];
    kubeconfig(&dir.join("kubeconfig"), &tokens);

    let leads =
        |product: &Product| product.cluster("kr")["leads"] == true && product.cluster("se")["leads"] == true;
    let first = Product::start(dir, &["--mode", "auto"]);
    first.until("the first leads", || leads(&first));
    let second = Product::start_in(dir, "second", &["--mode", "auto"]);
    second.until("the second follows", || {
        let kr = second.cluster("kr");
        kr["leads"] == false && kr["leader"].as_str().is_some_and(|who| !who.contains(' '))
    });
    let status = text(&second.ask(&["status"]).stdout);
    assert!(status.contains("acts; this process plans and shows"), "{status}");
    let refused = second.ask(&["release", "--all", "--yes"]);
    assert!(text(&refused.stderr).contains("expected the order there"), "{}", text(&refused.stderr));
    drop(first);
    second.until("the second leads when the first is killed", || leads(&second));
    kr.apply(&job("after", true, ""));
    wait(&kr, "after");
    let third = Product::start(dir, &["--mode", "auto"]);
    third.until("the killed one follows when it is back", || third.cluster("kr")["leads"] == false);
    let ended = std::time::Instant::now();
    second.end();
    third.until("and leads again", || leads(&third));
    assert!(ended.elapsed().as_secs() < 25, "it need not wait for a Lease to expire: {:?}", ended.elapsed());
}
