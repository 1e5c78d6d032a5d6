//! Whether a browser sent a request on behalf of our own pages (CO-387).

use http::{HeaderMap, header};
use portcullis_core::origin::Origin;
use portcullis_idp::Context;

/// Refuses what another site made a browser send: an `Origin` that is not ours, or a `Sec-Fetch-Site` other
/// than `same-origin` and `none`. Clients that send neither are no browsers, and pass. Ours is where the request came to, and
/// the base URL, if it was set: that is where browsers are, whatever a proxy in front makes of scheme and host.
pub fn is_same_origin(ctx: &Context, headers: &HeaderMap, origin: &Origin) -> bool {
    let asked = format!("{}://{}", origin.scheme.as_str(), origin.host);
    let same = |value: &http::HeaderValue| {
        let Ok(text) = value.to_str() else { return false };
        let text = text.to_ascii_lowercase();
        let mut ours = [asked.as_str()].into_iter().chain(ctx.public_origin());
        ours.any(|ours| without_default_port(&text) == without_default_port(ours))
    };
    let fetched_here = |value: &http::HeaderValue| matches!(value.as_bytes(), b"same-origin" | b"none");
    headers.get_all(header::ORIGIN).iter().all(same) && headers.get_all("sec-fetch-site").iter().all(fetched_here)
}

/// Whether a browser says that a page of ours sent a request: another client need not say anything.
pub fn is_from_here(ctx: &Context, headers: &HeaderMap, origin: &Origin) -> bool {
    headers.contains_key(header::ORIGIN) && is_same_origin(ctx, headers, origin)
}

fn without_default_port(origin: &str) -> &str {
    let (scheme, port) = if origin.starts_with("https:") { ("https:", ":443") } else { ("http:", ":80") };
    origin.strip_suffix(port).filter(|rest| rest.len() > scheme.len()).unwrap_or(origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Site;
    use http::HeaderValue;
    use portcullis_core::origin::Scheme;

    fn origin(host: &str) -> Origin {
        Origin {
            scheme: Scheme::Https,
            host: host.to_owned(),
            client: [127, 0, 0, 1].into(),
            peer: [127, 0, 0, 1].into(),
            peer_trusted: false,
            request_id: "".into(),
            asked: None,
        }
    }

    fn passes(site: &Site, name: &'static str, value: &'static str, asked: &Origin) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        is_same_origin(&site.ctx, &headers, asked)
    }

    /// CO-387: another origin, an opaque one and cross-site fetches are refused; silence is no browser.
    #[tokio::test]
    async fn co_387_other_origins_are_refused() {
        let (site, ours) = (Site::at("http://localhost:9000").await, origin("id.example"));
        for (name, value, wanted) in [
            ("origin", "https://id.example", true),
            ("origin", "https://id.example:443", true),
            ("origin", "https://id.example:444", false),
            ("origin", "http://id.example", false),
            ("origin", "https://evil.example", false),
            ("origin", "https://id.example.evil.example", false),
            ("origin", "null", false),
            ("origin", "http://localhost:9000", false),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
            ("accept", "*/*", true),
        ] {
            assert_eq!(passes(&site, name, value, &ours), wanted, "{name}: {value}");
        }
    }

    /// CO-387, CO-506: browsers are at the base URL, once it is set, whatever host and scheme a proxy in front asks for.
    #[tokio::test]
    async fn co_387_browsers_are_at_the_base_url() {
        let site = Site::reached_at("https://id.example").await;
        for asked in ["10.0.0.7:9000", "id.internal", "id.example"] {
            let asked = Origin { scheme: Scheme::Http, ..origin(asked) };
            for (name, value, wanted) in [
                ("origin", "https://id.example", true),
                ("origin", "HTTPS://ID.example:443", true),
                ("origin", "https://id.example:8443", false),
                ("origin", "https://evil.example", false),
                ("origin", "null", false),
                ("sec-fetch-site", "cross-site", false),
            ] {
                assert_eq!(passes(&site, name, value, &asked), wanted, "{name}: {value} at {}", asked.host);
            }
        }
        let send = async |origin: &str| {
            let request = http::Request::post("/if/flow/default-authentication-flow/")
                .header("host", "10.0.0.7:9000")
                .header("origin", origin)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(axum::body::Body::from("uid_field=ada"));
            // The proxy is on this machine.
            site.raw_from(request.expect("a request"), [127, 0, 0, 1].into()).await.status.as_u16()
        };
        assert_eq!((send("https://id.example").await, send("https://evil.example").await), (200, 403));
    }
}
