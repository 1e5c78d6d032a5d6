//! What holds when nothing is set.

use super::*;

/// CO-832, PX-002, CO-389: unless somebody says so, only loopback is believed about forwarded addresses: no network is trusted
/// for being private.
#[test]
fn co_832_only_loopback_is_trusted_by_default() {
    let settings = Settings::read(&Layers::without_file(&Default::default(), &[]).unwrap()).unwrap();
    let trusted = |address: &str| {
        let address: std::net::IpAddr = address.parse().unwrap();
        settings.listen.trusted_proxy_cidrs.iter().any(|network| network.contains(&address))
    };
    for address in ["127.0.0.1", "127.1.2.3", "::1"] {
        assert!(trusted(address), "{address}");
    }
    for address in [
        "10.0.0.1",
        "172.16.0.1",
        "172.17.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.1.1",
        "fe80::1",
        "fd00::1",
        "192.0.2.1",
        "0.0.0.0",
        "::",
    ] {
        assert!(!trusted(address), "{address}");
    }
    assert!(settings.trusts_by_default());
}
