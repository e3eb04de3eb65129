//! Addresses and prefixes of networks, as Kubernetes' CEL library takes them: no zones, no IPv4 in IPv6.

use std::fmt;
use std::net::IpAddr;

/// A prefix of addresses. It keeps the bits after its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    /// The address it was written with.
    pub address: IpAddr,
    /// Bits that count.
    pub length: u8,
}

/// Bytes of an address.
pub(crate) fn bytes(ip: IpAddr) -> u64 {
    if ip.is_ipv4() { 4 } else { 16 }
}

/// Bits of an address, from the first.
fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => ip.into(),
    }
}

/// Reads an address; the error is in words.
pub(crate) fn ip_of(text: &str) -> Result<IpAddr, String> {
    if let Some((address, zone)) = text.split_once('%')
        && !zone.is_empty()
        && address.parse::<std::net::Ipv6Addr>().is_ok()
    {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    let parsed: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        )
    })?;
    match parsed {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        other => Ok(other),
    }
}

/// Reads a prefix; the error is in words.
pub(crate) fn cidr_of(text: &str) -> Result<Cidr, String> {
    let wrong = |what: &str| {
        let twice = "network address parse error during conversion from string: ";
        format!("{twice}{twice}netip.ParsePrefix({text:?}): {what}")
    };
    let (address, length) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
    let parsed: IpAddr =
        address.parse().map_err(|_| wrong(&format!("ParseAddr({address:?}): unable to parse IP")))?;
    let plain = length == "0" || !(length.is_empty() || length.starts_with('0'));
    let digits = length.bytes().all(|b| b.is_ascii_digit());
    let most = bytes(parsed) * 8;
    let Some(length) = length.parse::<u8>().ok().filter(|_| plain && digits) else {
        return Err(wrong(&format!("bad bits after slash: {length:?}")));
    };
    if u64::from(length) > most {
        return Err(wrong("prefix length out of range"));
    }
    if let IpAddr::V6(six) = parsed
        && six.to_ipv4_mapped().is_some()
    {
        return Err(format!(
            "network address parse error during conversion from string: IPv4-mapped IPv6 address {text:?} is not allowed"
        ));
    }
    Ok(Cidr { address: parsed, length })
}

impl Cidr {
    fn mask(self) -> u128 {
        if self.length == 0 { 0 } else { u128::MAX << (128 - u32::from(self.length)) }
    }
    /// Whether an address begins as it does.
    pub fn contains(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4() && (bits(ip) ^ bits(self.address)) & self.mask() == 0
    }
    /// Whether all of another prefix is in it.
    pub fn covers(self, other: Cidr) -> bool {
        self.length <= other.length && self.contains(other.address)
    }
    /// Without the bits that do not count.
    pub fn masked(self) -> Cidr {
        let kept = bits(self.address) & self.mask();
        let address = match self.address {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(kept >> 96).unwrap_or_default().into()),
            IpAddr::V6(_) => IpAddr::V6(kept.into()),
        };
        Cidr { address, length: self.length }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// What kind of address it is, by the function's name.
pub(crate) fn is(name: &str, ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
    };
    match name {
        "isUnspecified" => ip.is_unspecified(),
        "isLoopback" => ip.is_loopback(),
        "isLinkLocalUnicast" => link_local,
        "isLinkLocalMulticast" => match ip {
            IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
            IpAddr::V6(six) => six.segments()[0] & 0xff0f == 0xff02,
        },
        // Of all unicast addresses those that are not of one link or host.
        _ => {
            let broadcast = matches!(ip, IpAddr::V4(four) if four.is_broadcast());
            !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local)
        }
    }
}
