//! Where browsers may be sent (OA-025, OA-141, OA-142).

use portcullis_core::pattern;
use portcullis_store::provider::Provider;
use serde_json::Value;
use url::Url;

/// Whether a URI is one of the registered ones of this type: exactly, or as a whole by a pattern (OA-141).
pub fn is_registered(registered: &Value, uri: &str, kind: &str) -> bool {
    let entries = registered.as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().any(|entry| {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let is_same = |url: &str| match text("matching_mode") {
            Some("strict") => url == uri,
            Some("regex") => pattern::matches_whole(url, uri),
            _ => false,
        };
        text("redirect_uri_type").unwrap_or("authorization") == kind && text("url").is_some_and(is_same)
    })
}

/// Whether a client may have its answers at a URI. Programs listen on this machine at whatever port is free (OA-744).
pub(super) fn may_return_to(provider: &Provider, uri: &str) -> bool {
    let is_one = |uri: &str| is_registered(&provider.redirect_uris, uri, "authorization");
    if is_one(uri) {
        return true;
    }
    let Some(asked) = on_loopback(uri).filter(|_| provider.is_public()) else { return false };
    let entries = provider.redirect_uris.as_array().map(Vec::as_slice).unwrap_or_default();
    let urls = entries.iter().filter_map(|entry| entry.get("url").and_then(Value::as_str));
    urls.filter(|url| on_loopback(url) == Some(asked)).any(is_one)
}

/// Address and path of a URI of a program on this machine, without the port.
fn on_loopback(uri: &str) -> Option<(&str, &str)> {
    let (host, rest) = ["http://127.0.0.1", "http://[::1]"]
        .into_iter()
        .find_map(|host| uri.strip_prefix(host).map(|rest| (host, rest)))?;
    let rest =
        rest.strip_prefix(':').map_or(rest, |port| port.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
}

/// Whether a browser may be sent to a URI (OA-142).
pub fn is_usable(uri: &str) -> bool {
    let forbidden = ["javascript", "data", "vbscript"];
    !uri.chars().any(char::is_control)
        && !uri.contains('#')
        && Url::parse(uri).is_ok_and(|url| !forbidden.contains(&url.scheme()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// OA-744: programs on this machine may listen at any port, and nowhere else.
    #[test]
    fn oa_744_only_the_port_of_a_loopback_address_may_differ() {
        assert_eq!(on_loopback("http://127.0.0.1:5000/cb?a=1"), on_loopback("http://127.0.0.1/cb?a=1"));
        assert_eq!(on_loopback("http://[::1]:1"), Some(("http://[::1]", "")));
        assert_ne!(on_loopback("http://[::1]/cb"), on_loopback("http://127.0.0.1/cb"));
        assert_ne!(on_loopback("http://127.0.0.1:1/cb"), on_loopback("http://127.0.0.1:1/cb/"));
        for bad in [
            "http://localhost:1/cb",
            "https://127.0.0.1/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1:1@evil.example/cb",
            "http://127.0.0.1@evil.example/cb",
            "http://127.0.0.12/cb",
        ] {
            assert_eq!(on_loopback(bad), None, "{bad}");
        }
    }

    /// OA-141, OA-142: only an exact entry of the right type counts, and no address that runs script.
    #[test]
    fn oa_141_redirect_uris_match_exactly() {
        let registered = json!([
            {"matching_mode": "strict", "url": "https://a/cb", "redirect_uri_type": "authorization"},
            {"matching_mode": "strict", "url": "https://a/out", "redirect_uri_type": "logout"},
            {"matching_mode": "regex", "url": r"https://[a-z]+\.b/cb"},
        ]);
        assert!(is_registered(&registered, "https://a/cb", "authorization"));
        assert!(is_registered(&registered, "https://x.b/cb", "authorization"));
        for bad in ["https://x.b/cb/", "https://x.b/cb\n", "xhttps://x.b/cb", "https://x.c/cb", "https://X.b/cb"] {
            assert!(!is_registered(&registered, bad, "authorization"), "{bad}");
        }
        for bad in ["https://a/out", "https://a/cb/", "https://a/cb?x", "HTTPS://a/cb", ""] {
            assert!(!is_registered(&registered, bad, "authorization"), "{bad}");
        }
        assert!(is_registered(&registered, "https://a/out", "logout"));
        for bad in ["javascript:alert(1)", "data:text/html,x", "https://a/#f", "https://a/\n", "cb"] {
            assert!(!is_usable(bad), "{bad}");
        }
    }
}
