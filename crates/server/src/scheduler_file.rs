//! Configurations of schedulers as files: read, checked, and put in place of the paths a fleet file names them by.
//!
//! Invariant: after [`resolve`] every configuration in the fleet is one the twin's scheduler takes.

use crate::signals::read_within;
use anyhow::Context;
use fleet::FleetSpec;
use serde_json::Value;
use std::path::Path;
use twin::scheduler::Config;
use twin::scheduler::config::SIZE_MAX;

/// Reads a `KubeSchedulerConfiguration`, YAML or JSON, as a document that is known to be well-formed.
pub fn read(path: &Path) -> anyhow::Result<Value> {
    let name = path.display();
    let bytes = read_within(path, SIZE_MAX as u64).with_context(|| format!("read {name}"))?;
    let text = String::from_utf8(bytes).with_context(|| format!("{name}: expected UTF-8 text"))?;
    let document = fleet::file::document(&text).with_context(|| name.to_string())?;
    Config::read(&document).with_context(|| name.to_string())?;
    Ok(document)
}

/// Reads the files a fleet names, whose paths are relative to `folder`, and checks what it states itself.
pub fn resolve(fleet: &mut FleetSpec, folder: &Path) -> anyhow::Result<()> {
    for (i, cluster) in fleet.clusters.iter_mut().enumerate() {
        let Some(stated) = &mut cluster.scheduler else { continue };
        let field = || format!("clusters[{i}].scheduler");
        match stated.as_str() {
            Some(path) => *stated = read(&folder.join(path)).with_context(field)?,
            None => drop(Config::read(stated).with_context(field)?),
        }
    }
    Ok(())
}

/// Has every cluster of a fleet that states nothing of its scheduler decide as a file says.
pub fn stand_in(fleet: &mut FleetSpec, path: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let document = read(path).context("--scheduler-config")?;
    for cluster in fleet.clusters.iter_mut().filter(|cluster| cluster.scheduler.is_none()) {
        cluster.scheduler = Some(document.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: &str = "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  nodeGroups: [{name: m, instanceType: m5.large, count: 1}]\n  scheduler: ";

    fn resolved(scheduler: &str, folder: &Path) -> anyhow::Result<Option<Value>> {
        let mut fleet = fleet::file::parse(&format!("{FLEET}{scheduler}\n"))?;
        resolve(&mut fleet, folder)?;
        Ok(fleet.clusters.remove(0).scheduler)
    }

    #[test]
    fn a_path_is_read_beside_the_fleet_file_and_errors_name_the_place() {
        let folder = std::env::temp_dir().join(format!("kubercarbon-schedulers-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let text = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        std::fs::write(folder.join("full.yaml"), format!("{text}percentageOfNodesToScore: 50\n")).unwrap();
        std::fs::write(folder.join("bad.yaml"), format!("{text}percentageOfNodesToScore: 500\n")).unwrap();
        let inline = "{apiVersion: kubescheduler.config.k8s.io/v1, kind: KubeSchedulerConfiguration, percentageOfNodesToScore: 50}";
        let by_path = resolved("full.yaml", &folder).unwrap().unwrap();
        assert_eq!(Some(by_path.clone()), resolved(inline, &folder).unwrap());
        assert_eq!(by_path["percentageOfNodesToScore"], 50);
        assert_eq!(resolved("", &folder).unwrap(), None);
        let stated = |scheduler: &str, file: Option<&str>| -> anyhow::Result<Option<Value>> {
            let mut fleet = fleet::file::parse(&format!("{FLEET}{scheduler}\n"))?;
            stand_in(&mut fleet, file.map(|file| folder.join(file)).as_deref())?;
            Ok(fleet.clusters.remove(0).scheduler)
        };
        assert_eq!(stated("", Some("full.yaml")).unwrap(), Some(by_path.clone()));
        assert_eq!(stated("", None).unwrap(), None);
        assert_eq!(
            stated("{kind: own}", Some("full.yaml")).unwrap(),
            Some(serde_json::json!({"kind": "own"}))
        );
        let refused = format!("{:#}", stated("", Some("bad.yaml")).unwrap_err());
        assert!(
            refused.starts_with("--scheduler-config: ") && refused.ends_with(": 500: expected 0 to 100"),
            "{refused}"
        );
        let said = |scheduler: &str| format!("{:#}", resolved(scheduler, &folder).unwrap_err());
        let place = folder.join("bad.yaml");
        let expected = "percentageOfNodesToScore: 500: expected 0 to 100";
        assert_eq!(said("bad.yaml"), format!("clusters[0].scheduler: {}: {expected}", place.display()));
        assert!(said("none.yaml").starts_with("clusters[0].scheduler: read "));
        assert_eq!(
            said("{kind: Other}"),
            "clusters[0].scheduler: apiVersion: none: expected kubescheduler.config.k8s.io/v1"
        );
        assert!(
            said("7")
                .contains("clusters[0].scheduler: 7: expected a KubeSchedulerConfiguration, or the path")
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
