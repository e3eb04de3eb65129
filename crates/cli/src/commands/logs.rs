//! `kubercarbon logs`: a mirrored Job has no pods at home, so its copy is asked.

use crate::client::Client;
use crate::commands::place::path;
use crate::options::{Common, Logs};
use anyhow::{Context, bail};
use std::io::ErrorKind;
use std::process::{Command, ExitCode};

/// Runs `kubectl logs` where the Job runs or ran; its exit status says whether there were any.
pub fn run(common: &Common, options: &Logs) -> anyhow::Result<ExitCode> {
    let client = Client::find(common)?;
    let path = path(&client, &options.job)?;
    let whole = client.get(&format!("/api/v1/jobs/{path}"))?;
    let job = &whole["job"];
    if job.is_null() {
        bail!("{path} is gone from its home, and its copy's logs with it");
    }
    let word = |name: &str| job[name].as_str().map(str::to_owned);
    let part = |name: &str| job["key"][name].as_str().unwrap_or_default().to_owned();
    let mirrored = job["movable"] == true;
    let name = if mirrored { word("copy") } else { Some(part("name")) };
    let (Some(cluster), Some(name)) = (word("target"), name) else {
        bail!(
            "{path} has not started: it has no logs yet\n\nhint: kubercarbon why {path} says what it waits for"
        );
    };
    let clusters = client.list("/api/v1/clusters")?;
    let known = clusters["items"].as_array().into_iter().flatten().find(|c| c["name"] == cluster.as_str());
    let context = known.and_then(|c| c["context"].as_str()).unwrap_or(&cluster).to_owned();
    let mut kubectl = Command::new("kubectl");
    kubectl.args(["--context", &context, "--namespace", &part("namespace"), "logs", &format!("job/{name}")]);
    if options.follow {
        kubectl.arg("--follow");
    }
    if let Some(kubeconfig) = &client.kubeconfig {
        kubectl.env("KUBECONFIG", kubeconfig);
    }
    if !common.quiet {
        eprintln!("kubectl --context {context} --namespace {} logs job/{name}", part("namespace"));
    }
    match kubectl.status() {
        Ok(status) => Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(1) }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("kubectl is not on the PATH: expected it, to read logs with; the command is above")
        }
        Err(error) => Err(error).context("run kubectl"),
    }
}
