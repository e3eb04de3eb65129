//! Which proxy a provider or cluster is reached through, as the environment says it for every program: `HTTPS_PROXY`,
//! else `ALL_PROXY`; `NO_PROXY` names what is reached directly. Small letters count as well, and first.
//!
//! `NO_PROXY` is a list by comma: `*`, a host with all below it (`example.org`, `.example.org`), an address, or a
//! network (`10.0.0.0/8`); a port behind it narrows it. Loopback is always reached directly. Invariants: no text
//! made here repeats a user or password; a proxy that cannot be used is an error, never passed by. Left out: SOCKS,
//! proxies for plain HTTP (only loopback is asked without TLS), configuration files that compute a proxy.

use http::Uri;
use std::net::IpAddr;

/// Longest value of a variable, in bytes.
const VALUE_MAX: usize = 8192;
/// Most entries of `NO_PROXY`.
const RULES_MAX: usize = 256;

/// The proxies there are; cheap enough to clone.
#[derive(Clone, Default)]
pub struct Proxies {
    https: Option<Uri>,
    direct: Vec<Rule>,
}

/// Never shows an address: a password may be in it.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let https = if self.https.is_some() { "…" } else { "none" };
        write!(f, "Proxies {{ https: {https}, direct: {} }}", self.direct.len())
    }
}

/// What is reached directly.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    All,
    /// A host and what is below it, in small letters; at this port alone, where one is given.
    Host(String, Option<u16>),
    /// Addresses whose first bits are these.
    Network(IpAddr, u8),
}

impl Proxies {
    /// As this process's environment says.
    ///
    /// # Errors
    /// As [`Proxies::read`].
    pub fn environment() -> Result<Proxies, String> {
        Proxies::read(|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(format!("{name}: not UTF-8: expected text")),
        })
    }

    /// As variables say; `lookup` gives a variable's value.
    ///
    /// # Errors
    /// When a proxy is named that cannot be used, or a list is too long; names the variable, never its value.
    pub fn read(lookup: impl Fn(&str) -> Result<Option<String>, String>) -> Result<Proxies, String> {
        let first = |names: [&'static str; 2]| -> Result<Option<(&'static str, String)>, String> {
            for name in names {
                if let Some(value) = lookup(name)?.filter(|value| !value.trim().is_empty()) {
                    if value.len() > VALUE_MAX {
                        return Err(format!("{name}: {} bytes: expected at most {VALUE_MAX}", value.len()));
                    }
                    return Ok(Some((name, value.trim().to_owned())));
                }
            }
            Ok(None)
        };
        let named = match first(["https_proxy", "HTTPS_PROXY"])? {
            None => first(["all_proxy", "ALL_PROXY"])?,
            named => named,
        };
        let https = named.map(|(name, value)| address(name, &value)).transpose()?;
        let direct = match first(["no_proxy", "NO_PROXY"])? {
            None => Vec::new(),
            Some((name, list)) => {
                let words: Vec<&str> =
                    list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
                if words.len() > RULES_MAX {
                    return Err(format!("{name}: {} entries: expected at most {RULES_MAX}", words.len()));
                }
                words.into_iter().filter_map(rule).collect()
            }
        };
        Ok(Proxies { https, direct })
    }

    /// The proxy an address is reached through; `None`: directly.
    pub fn of(&self, target: &Uri) -> Option<&Uri> {
        let proxy = self.https.as_ref()?;
        if target.scheme_str() != Some("https") {
            return None;
        }
        let host = target.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
        let (port, ip) = (target.port_u16().unwrap_or(443), host.parse::<IpAddr>().ok());
        let loopback = host == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
        let direct = loopback || self.direct.iter().any(|rule| rule.covers(&host, port, ip));
        (!direct).then_some(proxy)
    }
}

/// The address of a proxy, with `http://` before it where there is nothing.
fn address(name: &str, value: &str) -> Result<Uri, String> {
    let whole = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let uri: Option<Uri> = whole.parse().ok();
    let scheme = uri.as_ref().and_then(|uri| uri.scheme_str().map(str::to_owned)).unwrap_or_default();
    match uri.filter(|uri| uri.host().is_some_and(|host| !host.is_empty())) {
        Some(uri) if matches!(scheme.as_str(), "http" | "https") => Ok(uri),
        Some(_) => {
            let scheme: String = scheme.chars().take(20).collect();
            Err(format!("{name}: a proxy of {scheme:?}: expected http:// or https://"))
        }
        None => Err(format!("{name}: no address: expected one such as http://host:port")),
    }
}

/// One entry of `NO_PROXY`; what cannot be one covers nothing.
fn rule(word: &str) -> Option<Rule> {
    if word == "*" {
        return Some(Rule::All);
    }
    if let Some((network, bits)) = word.split_once('/') {
        let (network, bits): (IpAddr, u8) = (network.parse().ok()?, bits.parse().ok()?);
        let most = if network.is_ipv4() { 32 } else { 128 };
        return (bits <= most).then_some(Rule::Network(network, bits));
    }
    if let Ok(ip) = word.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(Rule::Network(ip, if ip.is_ipv4() { 32 } else { 128 }));
    }
    let (host, port) = match word.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (word, None),
    };
    let host = host.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(Rule::Host(host, port))
}

impl Rule {
    fn covers(&self, host: &str, port: u16, ip: Option<IpAddr>) -> bool {
        match self {
            Rule::All => true,
            Rule::Host(named, at) => {
                let below = host.strip_suffix(named.as_str()).is_some_and(|rest| rest.ends_with('.'));
                (host == named || below) && at.is_none_or(|at| at == port)
            }
            Rule::Network(network, bits) => ip.is_some_and(|ip| within(ip, *network, *bits)),
        }
    }
}

/// Whether the first `bits` of two addresses of one family are the same.
fn within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (a, b, width) = match (ip, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let apart = width - u32::from(bits);
    (a ^ b).checked_shr(apart).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(set: &[(&str, &str)]) -> Result<Proxies, String> {
        let set: BTreeMap<&str, &str> = set.iter().copied().collect();
        Proxies::read(|name| Ok(set.get(name).map(|value| (*value).to_owned())))
    }
    fn through(set: &[(&str, &str)], target: &str) -> Option<String> {
        let proxies = read(set).unwrap();
        proxies.of(&target.parse().unwrap()).map(ToString::to_string)
    }

    const AT: (&str, &str) = ("HTTPS_PROXY", "http://proxy:3128");

    #[test]
    fn small_letters_come_first_and_one_for_all_last() {
        let api = "https://api.watttime.org/login";
        assert_eq!(through(&[], api), None);
        assert_eq!(through(&[AT], api).as_deref(), Some("http://proxy:3128/"));
        assert_eq!(through(&[AT, ("https_proxy", "other:1")], api).as_deref(), Some("http://other:1/"));
        assert_eq!(through(&[("ALL_PROXY", "https://all")], api).as_deref(), Some("https://all/"));
        assert_eq!(through(&[AT, ("ALL_PROXY", "all:1")], api).as_deref(), Some("http://proxy:3128/"));
        assert_eq!(through(&[("HTTP_PROXY", "plain:1")], api), None, "that is for plain HTTP");
        assert_eq!(through(&[AT, ("https_proxy", " ")], api).as_deref(), Some("http://proxy:3128/"));
    }

    #[test]
    fn what_is_excepted_is_reached_directly() {
        for (list, target, direct) in [
            ("*", "https://api.watttime.org", true),
            ("watttime.org", "https://api.watttime.org", true),
            (".watttime.org", "https://API.WattTime.org", true),
            ("*.watttime.org", "https://api.watttime.org", true),
            ("atttime.org", "https://api.watttime.org", false),
            ("api.watttime.org", "https://watttime.org", false),
            ("other.example, watttime.org:8443", "https://watttime.org", false),
            ("other.example, watttime.org:8443", "https://watttime.org:8443", true),
            ("10.1.0.0/16", "https://10.1.2.3", true),
            ("10.1.0.0/16", "https://10.2.2.3", false),
            ("0.0.0.0/0", "https://10.2.2.3", true),
            ("10.2.2.3", "https://10.2.2.3", true),
            ("fd00::/8", "https://[fd00::1]", true),
            ("fd00::/8", "https://10.2.2.3", false),
            ("10.0.0.0/33,/8,:x", "https://10.2.2.3", false),
            ("", "https://localhost:1", true),
            ("", "https://127.0.0.1", true),
            ("", "https://[::1]", true),
            ("", "http://10.2.2.3", true),
        ] {
            assert_eq!(through(&[AT, ("NO_PROXY", list)], target).is_none(), direct, "{list} {target}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_said_without_its_password() {
        for (value, said) in [
            (
                "socks5://me:hunter2@proxy:1",
                "HTTPS_PROXY: a proxy of \"socks5\": expected http:// or https://",
            ),
            ("http://", "HTTPS_PROXY: no address: expected one such as http://host:port"),
            ("me:hunter2@ proxy", "HTTPS_PROXY: no address"),
        ] {
            let error = read(&[("HTTPS_PROXY", value)]).unwrap_err();
            assert!(error.starts_with(said) && !error.contains("hunter2"), "{error}");
        }
        let long = "a,".repeat(RULES_MAX + 1);
        let error = read(&[("NO_PROXY", &long)]).unwrap_err();
        assert_eq!(error, "NO_PROXY: 257 entries: expected at most 256");
        let shown = format!("{:?}", read(&[("HTTPS_PROXY", "http://me:hunter2@proxy")]).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
