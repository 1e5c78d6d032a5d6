//! The data plane's cookies (PX-170 … PX-180).

use memchr::memchr;

use crate::clock::Timestamp;
use crate::keys::sha256;

/// What all session cookies of data planes begin with (PX-178).
pub const PREFIX: &str = "authentik_proxy_";

/// What the names of all our cookies begin with.
const COMMON: &str = "authentik_";

/// Name of a provider's session cookie (PX-170).
pub fn session_name(client_id: &str) -> String {
    let digest = hex::encode(sha256(client_id.as_bytes()));
    format!("{PREFIX}{}", digest.get(..8).unwrap_or_default())
}

/// All values of the cookies called `name` in one `Cookie` header, in order (PX-180).
pub fn values<'a>(header: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a str> {
    pairs(header).filter_map(move |pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        let value = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
        std::str::from_utf8(value).ok()
    })
}

/// Whether a text has the form of a value that we would make: 256 bits in base64url.
pub fn is_token(value: &str) -> bool {
    value.len() == 43 && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The control plane's own cookies. Cookies know no ports: where control plane and application share a
/// host name, a browser sends these to both.
const CONTROL_PLANE: [&str; 6] =
    ["authentik_session", "authentik_csrf", "authentik_flow", "authentik_mfa", "authentik_device", "authentik_passkey"];

/// A `Cookie` header without our cookies, those of both planes (PX-178): `None` if it holds none and may stay
/// as it is, empty if nothing is left.
pub fn without_ours(header: &[u8]) -> Option<Vec<u8>> {
    let (mut left, mut found) = (Vec::new(), false);
    for pair in pairs(header) {
        if is_ours(pair) {
            found = true;
            continue;
        }
        if !left.is_empty() {
            left.extend_from_slice(b"; ");
        }
        left.extend_from_slice(pair);
    }
    found.then_some(left)
}

/// Whether a `Set-Cookie` value would set one of our cookies (PX-178).
pub fn sets_ours(set_cookie: &[u8]) -> bool {
    let pair = set_cookie.trim_ascii_start();
    // A cookie without a name comes back as its value alone.
    is_ours(pair.strip_prefix(b"=").map_or(pair, <[u8]>::trim_ascii_start))
}

fn is_ours(pair: &[u8]) -> bool {
    let begins = |with: &str| pair.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()));
    // All of them begin with it, so that most others are told apart by their first letters.
    if !begins(COMMON) {
        return false;
    }
    let name = || memchr(b'=', pair).and_then(|end| pair.get(..end)).unwrap_or(pair).trim_ascii_end();
    begins(PREFIX) || CONTROL_PLANE.iter().any(|ours| name().eq_ignore_ascii_case(ours.as_bytes()))
}

fn pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(header);
    let pieces = std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr(b';', text);
        rest = end.and_then(|end| text.get(end + 1..));
        end.map_or(Some(text), |end| text.get(..end))
    });
    pieces.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

/// Where a cookie is good, besides its name (PX-172).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieScope {
    /// Whether it travels over TLS only.
    pub secure: bool,
    /// The domain for which it is good, without a leading dot; empty for the host alone.
    pub domain: String,
}

impl CookieScope {
    /// `Set-Cookie` for a value that lives until `expires`.
    pub fn set(&self, name: &str, value: &str, now: Timestamp, expires: Timestamp) -> String {
        let seconds = expires.seconds().saturating_sub(now.seconds()).max(0);
        let date = chrono::DateTime::<chrono::Utc>::from_timestamp(expires.seconds(), 0)
            .unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC)
            .format("%a, %d %b %Y %H:%M:%S GMT");
        format!("{name}={value}; Path=/{}; Max-Age={seconds}; Expires={date}", self.attributes())
    }

    /// `Set-Cookie` that removes a cookie.
    pub fn clear(&self, name: &str) -> String {
        format!("{name}=; Path=/{}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT", self.attributes())
    }

    fn attributes(&self) -> String {
        let domain = if self.domain.is_empty() { String::new() } else { format!("; Domain={}", self.domain) };
        format!("{domain}; HttpOnly; SameSite=Lax{}", if self.secure { "; Secure" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-170: the cookie's name follows from the client id.
    #[test]
    fn px_170_cookie_name_vector() {
        assert_eq!(session_name("Yk3vX0cQm1"), "authentik_proxy_01d4e0c9");
    }

    /// PX-172: cookies carry the attributes of their provider, and are removed with the same ones.
    #[test]
    fn px_172_cookie_attributes() {
        let scope = CookieScope { secure: true, domain: "example.com".to_owned() };
        let now = Timestamp::from_seconds(1_790_000_000);
        assert_eq!(
            scope.set("n", "v", now, now.plus_seconds(3600)),
            "n=v; Path=/; Domain=example.com; HttpOnly; SameSite=Lax; Secure; Max-Age=3600; \
             Expires=Mon, 21 Sep 2026 15:13:20 GMT"
        );
        let bare = CookieScope { secure: false, domain: String::new() };
        assert_eq!(
            bare.clear("n"),
            "n=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        );
    }

    /// PX-178, PX-511: the data plane's cookies are taken out, all others stay as they are.
    #[test]
    fn px_178_our_cookies_are_taken_out() {
        assert_eq!(without_ours(b"a=1; authentik_proxy_x=2;b=3"), Some(b"a=1; b=3".to_vec()));
        assert_eq!(without_ours(b"Authentik_Proxy_x_pre=2"), Some(Vec::new()));
        assert_eq!(without_ours(b"a=1;  b=\xff"), None);
        assert!(sets_ours(b" authentik_proxy_abc=1; Path=/") && !sets_ours(b"session=1"));
    }

    /// PX-180: every cookie of the name is found, whatever stands beside it.
    #[test]
    fn px_180_all_cookies_of_a_name_are_found() {
        let header = b"s=one; sx=no; s=\"two\"; \xff=x; s; s=\xff; s=three";
        assert_eq!(values(header, "s").collect::<Vec<_>>(), ["one", "two", "three"]);
        assert!(is_token(&"a".repeat(43)) && !is_token("short") && !is_token(&"é".repeat(43)));
    }

    /// PX-178: the control plane's cookies are hidden from applications as well, and cannot be set by them.
    #[test]
    fn px_178_the_control_plane_s_cookies_are_ours_too() {
        assert_eq!(without_ours(b"a=1; authentik_session=s; authentik_csrf=c"), Some(b"a=1".to_vec()));
        assert_eq!(without_ours(b"authentik_mfa=s; a=1; authentik_device=c"), Some(b"a=1".to_vec()));
        assert_eq!(without_ours(b"a=1; authentik_passkey=p"), Some(b"a=1".to_vec()));
        assert_eq!(without_ours(b"authentik_sessions=x"), None);
        for ours in CONTROL_PLANE.into_iter().chain([PREFIX]) {
            assert!(
                sets_ours(ours.as_bytes()) && sets_ours(format!("{} = x", ours.to_uppercase()).as_bytes()),
                "{ours}"
            );
        }
        assert!(sets_ours(b" authentik_session=planted; Path=/"));
        assert!(sets_ours(b"= authentik_session=planted") && !sets_ours(b"=session"));
    }
}
