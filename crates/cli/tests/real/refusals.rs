//! What is recorded of refusals is what a real API server says.

#[path = "../../../kubeapi/tests/recorded/refusals.rs"]
mod recorded;

use crate::support::{Plane, text};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Sends every recorded manifest to a control plane, changing nothing there.
pub fn are_as_recorded(plane: &Plane, dir: &Path) {
    let view: Value = serde_json::from_str(&plane.run(&["config", "view", "--raw", "-o", "json"])).unwrap();
    let cluster = &view["clusters"][0]["cluster"];
    let said = |value: &Value| value.as_str().unwrap().to_owned();
    let (server, authority) = (said(&cluster["server"]), said(&cluster["certificate-authority"]));
    let token = said(&view["users"][0]["user"]["token"]);
    let body = dir.join("refused.yaml");
    let mut agreed = 0;
    for case in recorded::cases() {
        std::fs::write(&body, &case.manifest).unwrap();
        // As the script that starts the control plane asks it.
        let output = Command::new("curl")
            .args(["-s", "--cacert", &authority, "-H", &format!("Authorization: Bearer {token}")])
            .args(["-H", "Content-Type: application/yaml", "-H", "Accept: application/json"])
            .args(["--data-binary", &format!("@{}", body.display())])
            .arg(format!("{server}{}?dryRun=All", case.path))
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", case.title, text(&output.stderr)));
        assert_eq!(recorded::answer(&answer), case.answer, "{}\n{}", case.title, case.manifest);
        agreed += 1;
    }
    println!("refusals: {agreed} as recorded");
}
