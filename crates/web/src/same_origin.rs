//! Whether a browser sent a request on behalf of our own pages (CO-387).

use http::{HeaderMap, header};
use portcullis_core::origin::Origin;

/// Refuses what another site made a browser send: an `Origin` that is not ours, or a `Sec-Fetch-Site` other
/// than `same-origin` and `none`. Clients that send neither are no browsers, and pass.
pub fn is_same_origin(headers: &HeaderMap, origin: &Origin) -> bool {
    let ours = format!("{}://{}", origin.scheme.as_str(), origin.host);
    let same = |value: &http::HeaderValue| {
        value.to_str().is_ok_and(|text| without_default_port(&text.to_ascii_lowercase()) == without_default_port(&ours))
    };
    let fetched_here = |value: &http::HeaderValue| matches!(value.as_bytes(), b"same-origin" | b"none");
    headers.get_all(header::ORIGIN).iter().all(same) && headers.get_all("sec-fetch-site").iter().all(fetched_here)
}

/// Whether a browser says that a page of ours sent a request: another client need not say anything.
pub fn is_from_here(headers: &HeaderMap, origin: &Origin) -> bool {
    headers.contains_key(header::ORIGIN) && is_same_origin(headers, origin)
}

fn without_default_port(origin: &str) -> &str {
    let (scheme, port) = if origin.starts_with("https:") { ("https:", ":443") } else { ("http:", ":80") };
    origin.strip_suffix(port).filter(|rest| rest.len() > scheme.len()).unwrap_or(origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use portcullis_core::origin::Scheme;

    fn origin(host: &str) -> Origin {
        Origin {
            scheme: Scheme::Https,
            host: host.to_owned(),
            client: [127, 0, 0, 1].into(),
            peer: [127, 0, 0, 1].into(),
            peer_trusted: false,
            request_id: String::new(),
            asked: None,
        }
    }

    /// CO-387: another origin, an opaque one and cross-site fetches are refused; silence is no browser.
    #[test]
    fn co_387_other_origins_are_refused() {
        let ours = origin("id.example");
        for (name, value, passes) in [
            ("origin", "https://id.example", true),
            ("origin", "https://id.example:443", true),
            ("origin", "https://id.example:444", false),
            ("origin", "http://id.example", false),
            ("origin", "https://evil.example", false),
            ("origin", "https://id.example.evil.example", false),
            ("origin", "null", false),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
            ("accept", "*/*", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(is_same_origin(&headers, &ours), passes, "{name}: {value}");
        }
    }
}
