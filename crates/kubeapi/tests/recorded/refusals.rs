//! Manifests and what kube-apiserver answers to them, as they stand in `refusals.txt`.

const RECORDED: &str = include_str!("refusals.txt");

/// A manifest and the answer to it.
pub struct Case {
    pub title: &'static str,
    /// A document in YAML.
    pub manifest: String,
    /// Where it is sent.
    pub path: &'static str,
    /// `CODE REASON: MESSAGE`, or that it is taken.
    pub answer: &'static str,
}

/// What is written short, in full.
fn manifest(line: &str) -> String {
    let main = "name: main, image: busybox";
    let short = |kind: &str| Some(line.strip_prefix(kind)?.strip_prefix(" {")?.strip_suffix('}')?.to_owned());
    let pod = |labels: &str, spec: &str| {
        let meta = format!("{{name: p, namespace: default{labels}}}");
        format!("{{apiVersion: v1, kind: Pod, metadata: {meta}, spec: {{{spec}}}}}")
    };
    let beside = |labels: &str, rest: &str| pod(labels, &format!("containers: [{{{main}}}], {rest}"));
    None.or_else(|| Some(beside("", &short("pod")?)))
        .or_else(|| Some(beside(", labels: {app: a}", &short("labelled")?)))
        .or_else(|| Some(pod("", &format!("containers: [{{{main}, {}}}]", short("container")?))))
        .or_else(|| Some(pod("", &short("spec")?)))
        .unwrap_or_else(|| line.to_owned())
}

fn path(manifest: &str) -> &'static str {
    let is = |kind: &str| manifest.contains(&format!("kind: {kind},"));
    let paths = [
        ("Pod", "/api/v1/namespaces/default/pods"),
        ("Node", "/api/v1/nodes"),
        ("PriorityClass", "/apis/scheduling.k8s.io/v1/priorityclasses"),
        ("PodDisruptionBudget", "/apis/policy/v1/namespaces/default/poddisruptionbudgets"),
        ("Job", "/apis/batch/v1/namespaces/default/jobs"),
        ("Deployment", "/apis/apps/v1/namespaces/default/deployments"),
    ];
    paths.into_iter().find(|(kind, _)| is(kind)).map_or("", |(_, path)| path)
}

/// Every case, in order.
pub fn cases() -> Vec<Case> {
    let lines: Vec<&str> =
        RECORDED.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let (triples, rest) = lines.as_chunks::<3>();
    assert!(rest.is_empty(), "{rest:?}: expected a title, a manifest and an answer");
    let case = |[title, sent, answer]: &[&'static str; 3]| {
        let manifest = manifest(sent);
        let (title, path) = (title.strip_prefix("== ").unwrap_or_default(), path(&manifest));
        let answer = answer.strip_prefix("> ").unwrap_or_default();
        assert!(!title.is_empty() && !answer.is_empty() && !path.is_empty(), "{title}: {sent}: {answer}");
        Case { title, manifest, path, answer }
    };
    triples.iter().map(case).collect()
}

/// An answer as it is recorded: of a `Status`, or of what was made.
pub fn answer(body: &serde_json::Value) -> String {
    if body["kind"] != "Status" {
        return "taken".to_owned();
    }
    let text = |field: &str| body[field].as_str().unwrap_or("-").replace('\n', "\\n");
    format!("{} {}: {}", body["code"], text("reason"), text("message"))
}
