//! What `http:` grants mean: which hosts, on which ports, at which addresses.
//!
//! Owns: [`HttpGrant`], its one way of being written, and the judgement of an address. Must not: resolve or dial.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Marks a grant whose host may be at addresses of a private network.
const PRIVATE: &str = "/private";

/// A host that a plugin may send requests to: `HOST`, `HOST:PORT` or `*.DOMAIN`, each with `/private` behind it if the
/// name is one of a private network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    host: Host,
    /// `None`: any.
    port: Option<u16>,
    is_private: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// In small letters.
    Name(String),
    /// Every name that ends so; with the dot.
    Under(String),
}

/// No host that can be granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no host; there are HOST, HOST:PORT and *.DOMAIN, each with /private behind it for a private network"
)]
pub struct NoHost(String);

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// To everybody's network.
    Public,
    /// To a network of its owner.
    Private,
    /// To this machine.
    Loopback,
    /// To neighbours, to many, to nobody, or to a cloud's metadata: only if it is granted literally.
    Special,
}

impl FromStr for HttpGrant {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<Self, NoHost> {
        let unknown = || NoHost(text.to_owned());
        let (place, is_private) = match text.strip_suffix(PRIVATE) {
            Some(place) => (place, true),
            None => (text, false),
        };
        let (name, port) = split(place).ok_or_else(unknown)?;
        if port == Some(0) {
            return Err(unknown());
        }
        let host = match (address(name), name.strip_prefix('*')) {
            (Some(address), _) => Host::Address(address),
            (None, Some(domain)) if domain.starts_with('.') && is_name(&domain[1..]) => {
                Host::Under(domain.to_ascii_lowercase())
            }
            (None, None) if is_name(name) => Host::Name(name.to_ascii_lowercase()),
            _ => return Err(unknown()),
        };
        Ok(Self {
            host,
            port,
            is_private,
        })
    }
}

impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Name(name) => f.write_str(name)?,
            Host::Under(domain) => write!(f, "*{domain}")?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(if self.is_private { PRIVATE } else { "" })
    }
}

impl HttpGrant {
    /// Whether a request to this host and port is granted; where to is another question.
    pub(crate) fn is_for(&self, host: &str, port: u16) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_host = match &self.host {
            Host::Address(granted) => address(host) == Some(*granted),
            Host::Name(name) => name.eq_ignore_ascii_case(host),
            Host::Under(domain) => host.to_ascii_lowercase().ends_with(domain),
        };
        is_host && self.port.is_none_or(|granted| granted == port)
    }

    /// Whether the host may be at this address.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let address = plain(address);
        match (&self.host, reach(address)) {
            (Host::Address(granted), _) => plain(*granted) == address,
            (_, Reach::Public) => true,
            (_, Reach::Private) => self.is_private,
            (Host::Name(name), Reach::Loopback) => name == "localhost",
            _ => false,
        }
    }

    /// Whether everything that the other one allows is allowed by this one.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let is_host = match (&self.host, &other.host) {
            (Host::Under(wide), Host::Name(name)) => name.ends_with(wide),
            (Host::Under(wide), Host::Under(domain)) => domain.ends_with(wide),
            (ours, theirs) => ours == theirs,
        };
        is_host
            && (self.port.is_none() || self.port == other.port)
            && (self.is_private || !other.is_private)
    }
}

/// Host and port; the host of an IPv6 address stays in its brackets.
fn split(place: &str) -> Option<(&str, Option<u16>)> {
    match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let is_number = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
            let port = port.parse().ok().filter(|_| is_number)?;
            Some((host, Some(port)))
        }
        _ => Some((place, None)),
    }
}

/// An address as it stands in a URL: an IPv6 one in brackets.
pub(crate) fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => (rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()).map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// An IPv4 address that is written as an IPv6 one, as what it is.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let segments = v6.segments();
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] => inner(high, low),
        // Compatible (but not `::` and `::1`), translated, and 6to4 addresses lead to IPv4 ones as well.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => inner(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => inner(high, low),
        _ => address,
    }
}

/// Where a plain address leads.
fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(v4) => reach_v4(v4),
        IpAddr::V6(v6) => reach_v6(v6),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [127, ..] => Reach::Loopback,
        // The metadata service of a cloud lies among private addresses.
        [100, 100, 100, 200] => Reach::Special,
        [10, ..] | [192, 168, ..] => Reach::Private,
        [172, b, ..] if (16..32).contains(&b) => Reach::Private,
        [100, b, ..] if (64..128).contains(&b) => Reach::Private,
        // This network, neighbours, special purposes, documentation, measurements, multicast, reserved.
        [0, ..] | [169, 254, ..] | [192, 0, 0 | 2, _] | [192, 88, 99, _] => Reach::Special,
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => Reach::Special,
        [224..=255, ..] => Reach::Special,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Loopback,
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Reach::Special,
        [first, ..] if first & 0xfe00 == 0xfc00 => Reach::Private,
        // Teredo and other special purposes, documentation.
        [0x2001, 0..0x200 | 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => Reach::Special,
        // Everybody's network is 2000::/3 so far.
        [first, ..] if first & 0xe000 == 0x2000 => Reach::Public,
        _ => Reach::Special,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> HttpGrant {
        text.parse().unwrap()
    }

    #[test]
    fn words_come_back_as_they_were_or_are_refused() {
        for text in [
            "api.example.com",
            "api.example.com:8443",
            "*.example.com",
            "*.corp:8080/private",
            "127.0.0.1:80",
            "[::1]:80",
            "[::1]",
            "localhost",
        ] {
            assert_eq!(grant(text).to_string(), text);
        }
        for text in [
            "",
            "*",
            "*.",
            "a*b.example",
            "a b",
            "a:",
            "a:0",
            "a:70000",
            "a:+1",
            "http://a",
            "u@a",
            "a/b",
            "::1",
            "/private",
        ] {
            assert!(text.parse::<HttpGrant>().is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_and_ports_are_those_that_were_granted() {
        assert!(grant("api.example.com").is_for("API.example.com.", 1));
        assert!(!grant("api.example.com").is_for("example.com", 443));
        assert!(!grant("api.example.com").is_for("api.example.com.evil", 443));
        assert!(grant("a:8080").is_for("a", 8080) && !grant("a:8080").is_for("a", 80));
        assert!(grant("*.example.com").is_for("a.b.example.com", 443));
        assert!(!grant("*.example.com").is_for("example.com", 443));
        assert!(!grant("*.example.com").is_for("evilexample.com", 443));
        assert!(grant("[::1]").is_for("[0:0::1]", 80) && !grant("127.0.0.1").is_for("127.1", 80));
    }

    #[test]
    fn addresses_that_lead_inside_are_refused_unless_granted() {
        let named = grant("a.example");
        let inside = grant("a.example/private");
        for address in ["93.184.216.34", "2606:2800::1", "172.32.0.1", "100.128.0.1"] {
            assert!(named.allows(address.parse().unwrap()), "{address}");
        }
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "fd12::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
        ] {
            assert!(!named.allows(address.parse().unwrap()), "{address}");
            assert!(inside.allows(address.parse().unwrap()), "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "100.100.100.200",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "2001::1",
            "fec0::1",
        ] {
            assert!(!named.allows(address.parse().unwrap()), "{address}");
            assert!(!inside.allows(address.parse().unwrap()), "{address}");
        }
        let local = grant("localhost");
        assert!(local.allows("127.0.0.1".parse().unwrap()) && local.allows("::1".parse().unwrap()));
        assert!(!local.allows("10.0.0.1".parse().unwrap()));
        let literal = grant("169.254.169.254");
        assert!(literal.allows("169.254.169.254".parse().unwrap()));
        assert!(!literal.allows("169.254.169.253".parse().unwrap()));
    }

    #[test]
    fn a_wider_grant_covers_a_narrower_one() {
        let covers = |wide: &str, narrow: &str| grant(wide).covers(&grant(narrow));
        assert!(covers("a", "a:80") && !covers("a:80", "a") && !covers("a", "b"));
        assert!(covers("*.b", "a.b") && covers("*.b", "*.a.b") && !covers("a.b", "*.b"));
        assert!(covers("a/private", "a") && !covers("a", "a/private"));
    }
}
