//! What containers answer on the network, as far as probes are about it.
//!
//! A container whose command the twin follows listens nowhere. Of any other it is assumed that it answers on every port,
//! from [`super::READY_AFTER`] until [`super::UNHEALTHY_AFTER`] after its start. Of Kubernetes' own test image
//! (`agnhost`) it is known which subcommand listens where, stays, or ends.

use super::{READY_AFTER, Role, UNHEALTHY_AFTER, stated_span};
use fleet::Span;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Subcommands of `agnhost` that do one thing and end.
const ONE_SHOT: [&str; 4] = ["entrypoint-tester", "fake-gitserver-once", "mounttest", "mounttest-user"];
/// How long `agnhost liveness` is healthy.
const AGNHOST_HEALTHY: Span = Span::from_seconds(10);

fn image(container: &Container) -> &str {
    let image = container.image.as_deref().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split([':', '@']).next().unwrap_or_default()
}

/// Whether it is Kubernetes' own test image, run as itself.
pub(crate) fn is_agnhost(container: &Container) -> bool {
    let command = container.command.iter().flatten().next();
    image(container) == "agnhost" && command.is_none_or(|word| word.rsplit('/').next() == Some("agnhost"))
}

/// The subcommand of `agnhost` and its arguments.
fn subcommand(container: &Container) -> Option<(&str, Vec<&str>)> {
    if !is_agnhost(container) {
        return None;
    }
    let words = container.command.iter().flatten().skip(1).chain(container.args.iter().flatten());
    let mut words = words.map(String::as_str);
    Some((words.next().unwrap_or("pause"), words.collect()))
}

/// Whether it is known to end at once.
pub(crate) fn one_shot(container: &Container) -> bool {
    subcommand(container).is_some_and(|(name, _)| ONE_SHOT.contains(&name))
}

/// Whether it is known to stay whatever pod it is in.
pub(crate) fn stays(container: &Container) -> bool {
    let own = container.command.as_ref().is_none_or(Vec::is_empty);
    (image(container) == "pause" && own)
        || subcommand(container).is_some_and(|(name, _)| !ONE_SHOT.contains(&name))
}

/// What a probe over the network asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks<'a> {
    /// A page.
    Http(&'a str),
    Tcp,
    Grpc,
}

/// The number of a port that may be given by name.
pub(crate) fn port(container: &Container, port: &IntOrString) -> Option<i32> {
    match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            named.map(|p| p.container_port).or_else(|| name.parse().ok())
        }
    }
}

/// Since when after its start a container answers, and until when; `None`: never.
pub(crate) fn answers(
    pod: &Pod,
    (container, role): (&Container, Role),
    asks: Asks<'_>,
    port: Option<i32>,
) -> Option<(Span, Option<Span>)> {
    let port = port?;
    let since = stated_span(pod, READY_AFTER, container, role).unwrap_or(Span::ZERO);
    let until = stated_span(pod, UNHEALTHY_AFTER, container, role);
    let Some((name, arguments)) = subcommand(container) else {
        let listens = image(container) != "pause" && super::program(container).is_none();
        return listens.then_some((since, until));
    };
    let flag = |name: &str| {
        let at =
            arguments.iter().position(|word| word.trim_start_matches('-').split('=').next() == Some(name))?;
        let word = arguments[at].split_once('=').map(|(_, value)| value);
        word.or(arguments.get(at + 1).copied())?.parse::<i32>().ok()
    };
    let (ports, healthy): (Vec<i32>, Option<Span>) = match name {
        "netexec" => (vec![flag("http-port").unwrap_or(8080)], None),
        "liveness" => (vec![8080], matches!(asks, Asks::Http("/healthz")).then_some(AGNHOST_HEALTHY)),
        "grpc-health-checking" => {
            (vec![flag("port").unwrap_or(5000), flag("http-port").unwrap_or(8080)], None)
        }
        "test-webserver" => (vec![flag("port").unwrap_or(80)], None),
        "serve-hostname" => (vec![flag("port").unwrap_or(9376)], None),
        "pause" => return None,
        _ => return Some((since, until)),
    };
    ports.contains(&port).then_some((since, until.or(healthy)))
}
