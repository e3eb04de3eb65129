//! The console on a product without clusters: pages, tables, forms.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

mod support;

use control::lease::Leader;
use control::{JobPhase, Order};
use fleet::Span;
use server::backend::{Backend, Speed};
use support::{Fake, Scene, get, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PAGES: [&str; 6] = ["/", "/jobs", "/savings", "/capacity", "/signals", "/plans"];

/// Elements that HTML does not close.
const VOID: [&str; 5] = ["meta", "link", "img", "br", "input"];

/// Checks that every element is closed in order and that no id occurs twice.
fn well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    for piece in page.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').unwrap_or_else(|| panic!("no end of tag: {piece:.60}"));
        if tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "near <{piece:.80}");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        if let Some(id) = tag.split(" id=\"").nth(1).and_then(|rest| rest.split('"').next()) {
            assert!(ids.insert(id.to_owned()), "id {id} twice");
        }
        if !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

#[tokio::test]
async fn pages_answer_in_both_languages_and_load_nothing_from_elsewhere() {
    let fake = Fake::new(Scene::Busy);
    for path in PAGES {
        for lang in ["en", "ko"] {
            let answer = get(&fake, &format!("{path}?lang={lang}")).await;
            assert_eq!(answer.status, 200, "{path}");
            well_formed(&answer.body);
            assert!(answer.body.contains(&format!("<html lang=\"{lang}\"")), "{path}");
            assert!(answer.header("set-cookie").starts_with(&format!("kc-lang={lang};")), "{path}");
            assert!(answer.header("content-security-policy").contains("default-src 'none'"));
            for never in ["http://", "https://", " style=", "onclick", "javascript:"] {
                assert!(!answer.body.contains(never), "{path}: {never}");
            }
        }
    }
    let korean = send(&fake, "GET", "/", &[("accept-language", "ko-KR,en;q=0.5")], "").await;
    assert!(korean.body.contains("탄소 절감") && !korean.body.contains("Carbon saved"));
}

#[tokio::test]
async fn an_empty_product_says_what_to_type_next() {
    let fake = Fake::new(Scene::Empty);
    for path in PAGES {
        let answer = get(&fake, path).await;
        assert_eq!(answer.status, 200, "{path}");
        well_formed(&answer.body);
        assert!(answer.body.contains("<pre><code>kube"), "{path}");
        assert!(!answer.body.contains("<table"), "{path}: an empty table");
    }
}

#[tokio::test]
async fn the_fleet_page_carries_the_figures_of_the_view() {
    let fake = Fake::new(Scene::Busy);
    let page = get(&fake, "/").await.body;
    let summary = ledger::summary::summarize(&fake.entries());
    assert!(summary.total.jobs > 10);
    let saved = summary.total.saved_carbon.to_string().replace('-', "−");
    assert!(page.contains(&saved), "{saved}");
    for c in &fake.view().clusters {
        let now = fleet::quantity::significant(c.intensity.unwrap().as_grams_f64());
        assert!(page.contains(&format!(">{now}</span> gCO2e/kWh")), "{now}");
        assert!(page.contains(&format!("{} · {}", c.held, c.running)));
    }
    assert!(page.contains("badge assumed"), "the typical year is a stand-in, and says so");
    assert!(page.contains("Twin clock") && page.contains("×600") && page.contains("2026-11-21 22:20"));
}

#[tokio::test]
async fn who_acts_on_a_cluster_and_who_keeps_a_job_is_shown() {
    let fake = Fake::new(Scene::Busy);
    assert!(!get(&fake, "/").await.body.contains("Acts here"), "one process alone says nothing of it");
    let held = fake.view().jobs.iter().find(|j| j.phase == JobPhase::Held).unwrap().key.clone();
    let owned = "it belongs to the CronJob \"nightly\", whose concurrencyPolicy counts it";
    fake.change(|view| {
        let since = view.at - Span::HOUR;
        let job = view.jobs.iter_mut().find(|j| j.key == held).unwrap();
        (job.owner, job.owned) = (Some("CronJob nightly".to_owned()), Some(owned.to_owned()));
        for cluster in &mut view.clusters {
            let home = cluster.facts.id == held.cluster;
            let none = || Leader::Nobody("its Lease cannot be had: no answer".to_owned());
            cluster.leader = Some(if home { Leader::Other("host/7-1".to_owned()) } else { none() });
            cluster.leader_since = Some(since);
        }
    });
    let path = format!("/jobs/{}/{}/{}", held.cluster, held.namespace, held.name);
    for (lang, led, nobody, kept) in [
        ("en", "host/7-1, since 2026-11-21 21:20", "nobody since 2026-11-21 21:20", "Kept by"),
        ("ko", "host/7-1, 2026-11-21 21:20부터", "2026-11-21 21:20부터 없음", "관리 주체"),
    ] {
        let fleet = get(&fake, &format!("/?lang={lang}")).await.body;
        well_formed(&fleet);
        assert!(fleet.contains(led) && fleet.contains(nobody) && fleet.contains("its Lease cannot be had"));
        let page = get(&fake, &format!("{path}?lang={lang}")).await.body;
        well_formed(&page);
        assert!(page.contains(kept) && page.contains(">CronJob nightly<"), "{lang}");
        assert!(page.contains(&owned.replace('"', "&quot;")), "{lang}");
        assert!(page.contains("host/7-1") && !page.contains("/orders"), "orders are taken where it is led");
    }
    let clusters = get(&fake, "/?format=csv").await.body;
    assert!(clusters.lines().next().unwrap().ends_with(",acts,acts_since"), "{clusters}");
    assert!(
        clusters.contains(",host/7-1,2026-11-21T21:20:00Z") && clusters.contains(",nobody,"),
        "{clusters}"
    );
    let jobs = get(&fake, "/jobs?format=csv").await.body;
    assert!(jobs.lines().any(|line| line.ends_with(",CronJob nightly")), "{jobs}");
}

#[tokio::test]
async fn times_are_written_in_the_readers_zone() {
    let fake = Fake::new(Scene::Busy);
    let page = send(&fake, "GET", "/", &[("cookie", "kc-tz=540")], "").await.body;
    assert!(page.contains("2026-11-22 07:20") && page.contains("UTC+9"));
}

#[tokio::test]
async fn every_job_has_a_bar_a_row_and_an_address() {
    let fake = Fake::new(Scene::Busy);
    let view = fake.view();
    let page = get(&fake, "/jobs?hours=72").await.body;
    for job in &view.jobs {
        assert!(page.contains(&format!("id=\"row-{}\"", job.key)), "{}", job.key);
        let lane = job.cluster.as_ref().unwrap();
        assert!(page.contains(&format!("id=\"bar-{lane}-{}\"", job.key)), "{}", job.key);
    }
    let held = view.jobs.iter().find(|j| j.phase == JobPhase::Held).unwrap();
    let path = format!("/jobs/{}/{}/{}", held.key.cluster, held.key.namespace, held.key.name);
    assert!(page.contains(&format!("href=\"{path}?hours=72\"")), "the view is kept");
    let details = get(&fake, &path).await;
    assert_eq!(details.status, 200);
    well_formed(&details.body);
    let why = fake.why(&held.key, 5).unwrap().explanation.unwrap();
    for figure in [&why.sentence, &why.excluded[0].limit] {
        assert!(details.body.contains(figure.as_str()), "{figure}");
    }
    assert!(details.body.contains("at once, at home") && details.body.contains("Start now"));
    for says in [
        "An hour more of slack, until ",
        "saves 31.0 g CO2e, −$0.250, in ",
        " that its pods fit on",
        "10 more cores in ",
        "about 11.0 g CO2e over all jobs, to first order",
    ] {
        assert!(details.body.contains(says), "{says}");
    }
    let done = fake.entries().pop().unwrap().job;
    let done = get(&fake, &format!("/jobs/{}/{}/{}", done.cluster, done.namespace, done.name)).await;
    assert!(done.body.contains("What it saved"));
    assert_eq!(get(&fake, "/jobs/kr/demo/nobody").await.status, 404);
    assert_eq!(get(&fake, "/jobs/kr/demo/%3Cscript%3E").await.status, 404);
}

#[tokio::test]
async fn the_table_is_sorted_by_its_links() {
    let fake = Fake::new(Scene::Busy);
    let order = |page: &str| -> Vec<String> {
        page.split("id=\"row-").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let up = order(&get(&fake, "/jobs?sort=name").await.body);
    let mut sorted = up.clone();
    sorted.sort();
    assert_eq!(up, sorted);
    let mut down = order(&get(&fake, "/jobs?sort=-name").await.body);
    down.reverse();
    assert_eq!(up, down);
    assert_eq!(get(&fake, "/jobs?sort=%22%3E&hours=x&page=-1").await.status, 200, "nonsense is ignored");
}

#[tokio::test]
async fn words_from_clusters_cannot_break_out() {
    let fake = Fake::new(Scene::Hostile);
    let held = fake.view().jobs.iter().find(|j| j.phase == JobPhase::Held).unwrap().key.clone();
    let details = format!("/jobs/{}/{}/{}", held.cluster, held.namespace, held.name);
    for path in PAGES.into_iter().chain([details.as_str()]) {
        let page = get(&fake, path).await.body;
        assert!(!page.contains("<script>alert"), "{path}");
        well_formed(&page);
    }
    assert!(get(&fake, &details).await.body.contains("&lt;script&gt;alert"));
    let table = get(&fake, "/jobs?format=csv").await.body;
    assert!(table.contains("\"'@late,<script>alert(\"\"x\"\")</script>\""), "{table}");
    for path in ["/?format=csv", "/jobs?format=csv", "/capacity?by=label&key=team&format=csv"] {
        let table = get(&fake, path).await.body;
        for line in table.lines() {
            for cell in line.split(',') {
                assert!(!cell.trim_matches('"').starts_with(['=', '@']), "{path}: {cell}");
            }
        }
    }
}

#[tokio::test]
async fn how_many_more_fit_and_why_a_pod_waits_is_a_form_and_a_page() {
    let fake = Fake::new(Scene::Busy);
    let plain = get(&fake, "/capacity").await.body;
    assert!(plain.contains("What fits") && !plain.contains("more fit<"));
    assert!(plain.contains("Pods that wait for a node") && plain.contains("href=\"/pods/kr/demo/big\""));
    for (lang, says) in [("en", "17 more fit"), ("ko", "17개 더 들어갑니다")] {
        let ask = format!("/capacity?by=node&cluster=kr&cpu=2&memory=4Gi&gpus=&lang={lang}");
        let page = get(&fake, &ask).await.body;
        well_formed(&page);
        for says in [
            says,
            "Insufficient memory",
            "Insufficient &lt;cpu&gt;",
            "services: 403",
            "name=\"by\" value=\"node\"",
            "value=\"4Gi\"",
        ] {
            assert!(page.contains(says), "{lang}: {says}");
        }
    }
    let other = get(&fake, "/capacity?cluster=jp&cpu=2&memory=4Gi").await;
    assert!(other.status == 200 && other.body.contains("no answer &lt;within&gt; 15 s"));
    for nothing in [
        "cluster=nowhere&cpu=2&memory=4Gi",
        "cluster=kr&cpu=&memory=4Gi",
        &format!("cluster=kr&cpu={}&memory=1", "1".repeat(99)),
    ] {
        assert!(!get(&fake, &format!("/capacity?{nothing}")).await.body.contains("more fit<"), "{nothing}");
    }
    let table = get(&fake, "/capacity?format=csv&table=waiting").await.body;
    assert_eq!(table.lines().nth(1), Some("kr,demo/big,64,256"));
    for (lang, says) in [("en", "Each of these would make it fit"), ("ko", "다음 중 하나면 들어갑니다")]
    {
        let page = get(&fake, &format!("/pods/kr/demo/big?lang={lang}")).await;
        well_formed(&page.body);
        assert_eq!(page.status, 200);
        for says in
            [says, "Insufficient &lt;cpu&gt;", "requests.cpu: at most 6", "kr-general-1", "Insufficient cpu"]
        {
            assert!(page.body.contains(says), "{lang}: {says}");
        }
    }
    assert_eq!(get(&fake, "/pods/kr/demo/other").await.status, 404);
    assert_eq!(get(&fake, "/pods/mars/demo/big").await.status, 404);
}

#[tokio::test]
async fn every_source_of_a_zone_says_why_it_is_not_used_and_how_far_off_it_was() {
    let fake = Fake::new(Scene::Busy);
    let page = get(&fake, "/signals").await.body;
    for says in [
        "Sources of each zone, best first",
        "no account: set KUBERCARBON_WATTTIME_USER",
        "marginal",
        "in use",
        "Forecast error 96 h ahead, %",
        "title=\"over 96 hours\"",
        "12.3 ",
        "23.5 ",
    ] {
        assert!(page.contains(says), "{says}");
    }
    let korean = send(&fake, "GET", "/signals", &[("cookie", "kc-lang=ko")], "").await.body;
    well_formed(&korean);
    assert!(korean.contains("사용 중") && korean.contains("96시간 앞 예측 오차, %"), "{korean}");
    assert!(page.contains("href=\"/signals?format=csv&amp;table=sources\""));
    let table = get(&fake, "/signals?format=csv&table=sources").await.body;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 1 + 3, "{table}");
    assert!(lines[1].starts_with("KR,WattTime,false,marginal,"), "{table}");
    assert!(lines[3].contains(",learnt,96,23.456,96,"), "{table}");
}

#[tokio::test]
async fn every_table_has_its_csv() {
    let fake = Fake::new(Scene::Busy);
    let view = fake.view();
    let rows = [
        ("/", view.clusters.len()),
        ("/jobs", view.jobs.len()),
        ("/savings", fake.entries().len()),
        ("/signals", view.clusters.iter().map(|c| c.forecast.as_ref().unwrap().values().len()).sum()),
        ("/plans", fake.plan().steps.len()),
        ("/capacity", view.clusters.len()),
    ];
    for (path, count) in rows {
        let answer = get(&fake, &format!("{path}?format=csv")).await;
        assert!(answer.header("content-type").starts_with("text/csv"), "{path}");
        assert!(answer.header("content-disposition").contains(".csv"), "{path}");
        let lines: Vec<&str> = answer.body.split("\r\n").filter(|l| !l.is_empty()).collect();
        assert_eq!(lines.len(), count + 1, "{path}");
    }
    let savings = get(&fake, "/savings?format=csv").await.body;
    let head: Vec<&str> = savings.lines().next().unwrap().split(',').collect();
    let column = head.iter().position(|name| *name == "saved_gco2e").unwrap();
    let sum: f64 =
        savings.lines().skip(1).map(|l| l.split(',').nth(column).unwrap().parse::<f64>().unwrap()).sum();
    let total = ledger::summary::summarize(&fake.entries()).total.saved_carbon.as_grams_f64();
    assert!((sum - total).abs() < 1e-6, "{sum} {total}");
}

#[tokio::test]
async fn forms_of_our_own_pages_are_taken_and_no_others() {
    let fake = Fake::new(Scene::Busy);
    let ours = [("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")];
    let answer = send(&fake, "POST", "/clock?do=pause&back=%2Fjobs%3Fhours%3D6", &ours, "").await;
    assert_eq!((answer.status, answer.header("location")), (303, "/jobs?hours=6"));
    assert!(fake.clock().paused);
    send(&fake, "POST", "/clock?do=3600x", &ours, "").await;
    assert_eq!(fake.clock().speed, Speed::Times(3600.0));
    assert_eq!(send(&fake, "POST", "/clock?do=warp", &ours, "").await.status, 400);
    for back in ["//evil.example", "https://evil.example", "/%5Cevil.example", "/a%0d%0ab"] {
        let answer = send(&fake, "POST", &format!("/clock?do=resume&back={back}"), &ours, "").await;
        assert_eq!(answer.header("location"), "/", "{back}");
    }
    for theirs in [
        &[("origin", "http://evil.example")][..],
        &[("origin", "http://localhost:8080"), ("sec-fetch-site", "cross-site")][..],
        &[("origin", "http://evil.example"), ("host", "evil.example")][..],
        &[][..],
    ] {
        let answer = send(&fake, "POST", "/clock?do=pause", theirs, "").await;
        assert_eq!(answer.status, 403, "{theirs:?}");
    }
    assert!(!fake.clock().paused);
    let held = fake.view().jobs.iter().find(|j| j.phase == JobPhase::Held).unwrap().key.clone();
    let release = format!(
        "/orders?do=release&cluster={}&namespace={}&name={}",
        held.cluster, held.namespace, held.name
    );
    assert_eq!(send(&fake, "POST", &release, &ours, "").await.status, 303);
    assert_eq!(*fake.orders.lock().unwrap(), [Order::Release { job: Some(held) }]);
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_their_hash() {
    let fake = Fake::new(Scene::Busy);
    let page = get(&fake, "/").await.body;
    for name in ["console.css", "console.js", "icon.svg"] {
        let path = format!("/assets/{name}?v=");
        let found = page.split(&path).nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let asset = get(&fake, &format!("{path}{found}")).await;
        assert_eq!(asset.status, 200, "{name}");
        assert!(asset.header("cache-control").contains("immutable"));
        assert!(asset.body.len() > 100);
    }
    assert_eq!(get(&fake, "/assets/../Cargo.toml").await.status, 404);
}

#[tokio::test]
async fn no_such_page_is_a_page_for_people_and_a_problem_for_programs() {
    let fake = Fake::new(Scene::Busy);
    let page = get(&fake, "/nowhere").await;
    assert_eq!(page.status, 404);
    assert!(page.body.contains("Nothing lives at this address"));
    let problem = send(&fake, "GET", "/nowhere", &[("accept", "*/*")], "").await;
    assert_eq!((problem.status, problem.header("content-type")), (404, "application/problem+json"));
}

/// Over a real socket. With `CONSOLE_PREVIEW=ADDRESS` it goes on serving there, time passing, to be looked at.
#[tokio::test]
async fn served_on_a_socket() {
    let preview = std::env::var("CONSOLE_PREVIEW").ok();
    let scene = if std::env::var("CONSOLE_EMPTY").is_ok() { Scene::Empty } else { Scene::Busy };
    let fake = Fake::new(scene);
    let address = preview.clone().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
    let bound = listener.local_addr().unwrap();
    let site = server::console::site(fake.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, site).await });
    let mut stream = tokio::net::TcpStream::connect(bound).await.unwrap();
    let request = format!("GET /jobs HTTP/1.1\r\nHost: {bound}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text:.80}");
    while preview.is_some() {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        if !fake.clock().paused {
            fake.advance(Span::from_seconds(120));
        }
    }
    serving.abort();
}
