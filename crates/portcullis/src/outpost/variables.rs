//! The variables by which programs are told of a proxy to the outside (PX-380).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_proxy::remote::is_loopback;
use portcullis_proxy::upstream::Via;
use url::{Host, Url};

/// The proxy by which `url` is reached: `HTTPS_PROXY` or `HTTP_PROXY` by its scheme, in capitals or not, unless `NO_PROXY`
/// names its host. This machine is always reached without.
pub(super) fn proxy(url: &Url, environment: &BTreeMap<String, String>) -> Option<Via> {
    let variable = |name: &str| {
        let value = environment.get(name).or_else(|| environment.get(&name.to_ascii_lowercase()));
        value.filter(|value| !value.trim().is_empty())
    };
    let name = if url.scheme() == "https" { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    let written = variable(name)?;
    let host = url.host()?;
    if is_loopback(url)
        || variable("NO_PROXY").is_some_and(|list| list.split(',').any(|one| names(one.trim(), url, &host)))
    {
        return None;
    }
    let via = Via::parse(written.trim());
    if via.is_none() {
        tracing::warn!("{name} is no http URL: the control plane is reached without a proxy");
    }
    via
}

/// Whether one entry of `NO_PROXY` names a host: `*`, a name with all below it, an address or network, each perhaps with a
/// port.
fn names(entry: &str, url: &Url, host: &Host<&str>) -> bool {
    if entry == "*" {
        return true;
    }
    let address: Option<IpAddr> = match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
    };
    if let Some(address) = address {
        let same = entry.parse::<IpAddr>().is_ok_and(|named| named == address);
        return same || entry.parse::<IpNet>().is_ok_and(|network| network.contains(&address));
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()),
        None => (entry, None),
    };
    if name.is_empty() || (port.is_some() && port != url.port_or_known_default()) {
        return false;
    }
    let name = name.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
    let host = url.host_str().unwrap_or_default();
    host.strip_suffix(&name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-380: the variables of the environment decide by which way the control plane is reached.
    #[test]
    fn px_380_variables_name_the_way_to_the_control_plane() {
        let goes_by = |url: &str, variables: &[(&str, &str)]| {
            let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            proxy(&Url::parse(url).unwrap(), &owned).is_some()
        };
        let (secure, plain) = ("https://id.example/", "http://id.example:9000/");
        assert!(goes_by(secure, &[("HTTPS_PROXY", "http://proxy:3128")]));
        assert!(goes_by(secure, &[("https_proxy", "proxy:3128")]));
        assert!(goes_by(plain, &[("HTTP_PROXY", "proxy:3128")]));
        assert!(!goes_by(plain, &[("HTTPS_PROXY", "proxy:3128")]));
        assert!(
            !goes_by(secure, &[("HTTPS_PROXY", "socks5://proxy:1080")]) && !goes_by(secure, &[("HTTPS_PROXY", " ")])
        );
        for here in ["https://localhost/", "https://127.0.0.1:9443/", "https://[::1]/", "https://id.localhost/"] {
            assert!(!goes_by(here, &[("HTTPS_PROXY", "proxy:3128")]), "{here}");
        }
        for (url, list, named) in [
            (secure, "*", true),
            (secure, "other, id.example", true),
            (secure, ".example", true),
            (secure, "*.example", true),
            (secure, "id.example:443", true),
            (secure, "id.example:8443", false),
            (secure, "d.example", false),
            (secure, "", false),
            ("https://192.0.2.7/", "192.0.2.0/24", true),
            ("https://192.0.2.7/", "192.0.2.7", true),
            ("https://192.0.2.7/", "198.51.100.0/24,7", false),
        ] {
            assert_eq!(goes_by(url, &[("HTTPS_PROXY", "proxy:3128"), ("NO_PROXY", list)]), !named, "{url} {list}");
        }
    }
}
