//! A real control plane and a twin of it, side by side: the same commands to each.

use crate::support::{text, until};
use std::path::{Path, PathBuf};
use std::process::Command;

/// kubectl on both, the real one first.
pub struct Both {
    pub dir: PathBuf,
    pub configs: [PathBuf; 2],
}

impl Both {
    /// kubectl on one of them.
    pub fn command(&self, config: &Path, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(config).env("HOME", &self.dir).args(args);
        command
    }
    /// The same; it must go well.
    pub fn kubectl(&self, config: &Path, args: &[&str]) -> String {
        let output = self.command(config, args).output().unwrap();
        assert!(output.status.success(), "kubectl {args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
    pub fn run(&self, args: &[&str]) {
        self.configs.iter().for_each(|config| drop(self.kubectl(config, args)));
    }
    pub fn apply(&self, manifest: &str) {
        let file = self.dir.join("both.yaml");
        std::fs::write(&file, manifest).unwrap();
        self.run(&["apply", "-f", &file.display().to_string()]);
    }
    /// Waits until something is so on each.
    pub fn until(&self, what: &str, done: impl Fn(&Path) -> bool) {
        until(what, String::new, || self.configs.iter().all(|config| done(config)));
    }
}
