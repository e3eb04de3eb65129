//! Manifests that cannot be are refused in kube-apiserver's words.

#[path = "../recorded/refusals.rs"]
mod recorded;

use crate::memory::Memory;
use crate::rest::call_as;

/// What follows these words the server says without a place; here the place stands before it.
const PLACELESS: &str = ": quantities must match";

/// The answer without the place of an amount that cannot be read.
fn without_place(found: &str) -> String {
    let Some((head, tail)) = found.split_once(PLACELESS) else { return found.to_owned() };
    let head = head.rsplit_once(": ").map_or(head, |(head, _place)| head);
    format!("{head}{PLACELESS}{tail}")
}

#[tokio::test]
async fn bad_manifests_are_answered_as_recorded() {
    let twin = Memory::new();
    let (mut agreed, mut placed, mut differ) = (0, 0, Vec::new());
    for case in recorded::cases() {
        let path = format!("{}?dryRun=All", case.path);
        let (_, body) = call_as(&twin, "POST", &path, "application/yaml", "test/1.0", &case.manifest).await;
        let found = recorded::answer(&body);
        if found == case.answer {
            agreed += 1;
        } else if without_place(&found) == case.answer {
            placed += 1;
        } else {
            let (title, manifest, answer) = (case.title, case.manifest, case.answer);
            differ.push(format!("{title}\n{manifest}\nrecorded {answer}\nfound    {found}"));
        }
    }
    println!("refusals: {agreed} agreed, {placed} say where beside, {} differ", differ.len());
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
    assert!(agreed >= 90 && placed == 3, "{agreed} {placed}");
}
