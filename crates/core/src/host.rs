//! Hosts in the one form in which they are compared (PX-050).

use std::fmt;
use std::net::Ipv6Addr;

use crate::origin::Scheme;

impl Scheme {
    /// The port that goes without saying.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A host in normal form: lower case, IDNA in ASCII, no trailing dot, no default port (PX-050).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    /// Reads `name` or `name:port`; the default port of `scheme` is left out.
    pub fn parse(authority: &str, scheme: Scheme) -> Option<Self> {
        let (name, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                (format!("[{address}]"), if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => match authority.split_once(':') {
                Some((name, port)) => (plain_name(name)?, Some(port)),
                None => (plain_name(authority)?, None),
            },
        };
        let port = match port {
            None | Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse::<u16>().ok()?),
            Some(_) => return None,
        };
        Some(Self { name, port: port.filter(|&port| port != scheme.default_port()) })
    }

    /// The host without its port.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, unless it is the default.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether this host is `domain` or lies below it, at a dot (PX-053, PX-163).
    ///
    /// `domain` is in normal form, without a leading dot.
    pub fn is_within(&self, domain: &str) -> bool {
        !domain.is_empty()
            && (self.name == domain
                || self.name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')))
    }
}

/// `name` or `name:port`.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A cookie domain in normal form; one leading dot is ignored (PX-023). Empty if there is none.
pub fn cookie_domain(text: &str) -> String {
    let text = text.trim();
    plain_name(text.strip_prefix('.').unwrap_or(text)).unwrap_or_default()
}

/// Whether browsers refuse cookies for this domain because it is a public suffix (PX-023).
///
/// `domain` is in the form of [`cookie_domain`]. Names without a dot count: every browser refuses them.
pub fn is_public_suffix(domain: &str) -> bool {
    psl::suffix_str(domain).is_none_or(|suffix| suffix == domain)
}

fn plain_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
    if name.is_empty() {
        return None;
    }
    let ascii = if name.bytes().all(plain) { name.to_owned() } else { idna::domain_to_ascii(name).ok()? };
    let ascii = ascii.strip_suffix('.').map(str::to_owned).unwrap_or(ascii);
    (!ascii.is_empty() && ascii.bytes().all(plain)).then_some(ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str, scheme: Scheme) -> Option<String> {
        Host::parse(text, scheme).map(|host| host.to_string())
    }

    /// PX-050, PX-595: case, a trailing dot, the default port and IDNA make no difference.
    #[test]
    fn px_050_hosts_are_compared_in_one_form() {
        for spelling in ["wiki.example", "WIKI.Example", "wiki.example.", "wiki.example:443", "wiki.example.:443"] {
            assert_eq!(form(spelling, Scheme::Https).as_deref(), Some("wiki.example"), "{spelling}");
        }
        assert_eq!(form("wiki.example:443", Scheme::Http).as_deref(), Some("wiki.example:443"));
        assert_eq!(form("Bücher.example:8443", Scheme::Https).as_deref(), Some("xn--bcher-kva.example:8443"));
        assert_eq!(form("[::1]:80", Scheme::Http).as_deref(), Some("[::1]"));
        for bad in ["", ".", "a b", "a/b", "user@host", "host:port", "host:99999", "[::1", "[x]", "a%2fb"] {
            assert_eq!(form(bad, Scheme::Http), None, "{bad}");
        }
    }

    /// PX-053, PX-540: a look-alike host is not within a domain.
    #[test]
    fn px_053_domains_end_at_a_dot() {
        let within = |host: &str| Host::parse(host, Scheme::Https).expect("a host").is_within("example.com");
        assert!(within("example.com") && within("a.example.com") && within("a.b.example.com:8443"));
        assert!(!within("badexample.com") && !within("example.com.evil.test") && !within("com"));
        assert_eq!(cookie_domain(".Example.com"), "example.com");
    }

    /// PX-023: public suffixes, listed or not, are no cookie domains.
    #[test]
    fn px_023_public_suffixes_are_recognised() {
        for suffix in ["com", "co.uk", "github.io", "localhost", "lan", ""] {
            assert!(is_public_suffix(suffix), "{suffix}");
        }
        for domain in ["example.com", "example.co.uk", "me.github.io", "home.lan", "a.b.example.com"] {
            assert!(!is_public_suffix(domain), "{domain}");
        }
    }
}
