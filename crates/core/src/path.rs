//! Request paths: their normal form, and the reserved namespace (PX-060, PX-233).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Where the outpost's own endpoints live.
pub const RESERVED: &str = "/outpost.goauthentik.io";

/// Decodes a path once, if it is in normal form; `None` otherwise.
///
/// Normal form leaves nothing for anyone behind us to read differently: it starts with one `/`, its
/// percent-encoding is valid, nothing that matters to path structure is encoded, and decoded it is UTF-8
/// without control bytes, backslashes, empty inner segments and dot segments.
pub fn decode_normal(raw: &str) -> Option<Cow<'_, str>> {
    if is_plain(raw) {
        return Some(Cow::Borrowed(raw));
    }
    if !raw.starts_with('/') || raw.starts_with("//") || raw.contains(['?', '#']) || !encoding_is_harmless(raw) {
        return None;
    }
    let decoded = percent_decode_str(raw).decode_utf8().ok()?;
    if decoded.chars().any(|c| c.is_control() || c == '\\') {
        return None;
    }
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let dots = segment.split(';').next().unwrap_or(segment);
        if dots == "." || dots == ".." || (segment.is_empty() && segments.peek().is_some()) {
            return None;
        }
    }
    Some(decoded)
}

/// Whether a path is in normal form at a glance, as most are: segments of letters, digits and the like, that begin with
/// no dot.
fn is_plain(raw: &str) -> bool {
    let Some(rest) = raw.strip_prefix('/') else { return false };
    let mut at_start = true;
    rest.bytes().all(|byte| match byte {
        b'/' => !std::mem::replace(&mut at_start, true),
        b'.' => !at_start,
        _ => {
            at_start = false;
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~')
        }
    })
}

/// Whether each `%` begins a valid escape, and none stands for `.`, `/`, `\`, `%` or NUL.
fn encoding_is_harmless(raw: &str) -> bool {
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
            let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else { return false };
            if matches!(high * 16 + low, 0x2e | 0x2f | 0x5c | 0x25 | 0x00) {
                return false;
            }
        }
    }
    true
}

/// An endpoint of the reserved namespace (PX-060).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// Says that the process lives.
    Ping,
    /// Compiled-in files.
    Static,
    /// Begins a login.
    Start,
    /// Ends a login.
    Callback,
    /// Ends sessions.
    SignOut,
    /// The questions of other proxies.
    ForwardAuth(Dialect),
    /// Nothing that exists: 404, never the upstream.
    Unknown,
}

/// How another proxy asks about a request (PX-245).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `auth/traefik`.
    Traefik,
    /// `auth/caddy`.
    Caddy,
    /// `auth/nginx`.
    Nginx,
    /// `auth/envoy` and behind it the path that is asked about.
    Envoy,
}

/// Where Envoy puts the path that it asks about.
pub const ENVOY: &str = "/outpost.goauthentik.io/auth/envoy";

impl Reserved {
    /// The endpoint that a raw path names, directly or below `base`, the path of `external_host`
    /// without a trailing slash (PX-061). `None` if the path is not reserved.
    ///
    /// Whatever might be read as reserved by somebody is reserved; only the exact normal form of an
    /// endpoint reaches it.
    pub fn of(raw: &str, base: &str) -> Option<Self> {
        // Almost every request is decided here: the namespace cannot be spelled without this letter run
        // unless something is encoded, and only encoded or indirect spellings take the long way.
        let below_base = if base.is_empty() { None } else { raw.strip_prefix(base) };
        let rest = strip_namespace(raw).or_else(|| below_base.and_then(strip_namespace));
        if let Some(rest) = rest {
            // What follows belongs to another site, in whatever form; it is judged there.
            return Some(match rest.strip_prefix("/auth/envoy") {
                Some(asked) if asked.is_empty() || asked.starts_with('/') => Self::ForwardAuth(Dialect::Envoy),
                _ => Self::below(raw, rest),
            });
        }
        if !raw.contains(['%', '\\']) && !raw.contains("//") && !raw.contains("/.") {
            return None;
        }
        let lenient = lenient_path(raw);
        let hidden = strip_namespace(&lenient).is_some()
            || (!base.is_empty() && lenient.strip_prefix(base).and_then(strip_namespace).is_some());
        hidden.then_some(Self::Unknown)
    }

    /// Whether somebody might take a raw path for one of the endpoints that other proxies ask (PX-251).
    pub fn might_ask(raw: &str, base: &str) -> bool {
        let lenient = lenient_path(raw);
        let asks = |path: &str| strip_namespace(path).is_some_and(|rest| rest == "/auth" || rest.starts_with("/auth/"));
        asks(&lenient) || (!base.is_empty() && lenient.strip_prefix(base).is_some_and(asks))
    }

    fn below(raw: &str, rest: &str) -> Self {
        // Directly below the root, an endpoint's own spelling is in normal form.
        let is_direct = raw.len() == RESERVED.len() + rest.len();
        let is_normal = || is_direct || decode_normal(raw).is_some();
        match rest {
            _ if !is_normal() => Self::Unknown,
            "/ping" => Self::Ping,
            "/start" => Self::Start,
            "/callback" => Self::Callback,
            "/sign_out" => Self::SignOut,
            "/auth/traefik" => Self::ForwardAuth(Dialect::Traefik),
            "/auth/caddy" => Self::ForwardAuth(Dialect::Caddy),
            "/auth/nginx" => Self::ForwardAuth(Dialect::Nginx),
            _ if rest.starts_with("/static/") && decode_normal(raw).is_some() => Self::Static,
            _ => Self::Unknown,
        }
    }
}

/// What follows the namespace, if the path lies in it: at a segment boundary.
fn strip_namespace(path: &str) -> Option<&str> {
    path.strip_prefix(RESERVED).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether some reader of a path would go up in it, however often that decodes.
pub fn climbs(path: &str) -> bool {
    let once = percent_decode_str(path).decode_utf8_lossy().into_owned();
    let twice = percent_decode_str(&once).decode_utf8_lossy().into_owned();
    let goes_up = |segment: &str| segment.split(';').next() == Some("..");
    [path, &once, &twice].iter().any(|text| text.split(['/', '\\']).any(goes_up))
}

/// A path as the most generous reader might see it: decoded twice, empty and dot segments resolved.
fn lenient_path(raw: &str) -> String {
    let once = percent_decode_str(raw).decode_utf8_lossy().into_owned();
    let twice = percent_decode_str(&once).decode_utf8_lossy().replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in twice.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// PX-233, PX-562: a path that someone could read differently is not in normal form.
    #[test]
    fn px_233_ambiguous_paths_are_not_in_normal_form() {
        for bad in [
            "",
            "public",
            "//public",
            "/public/../admin",
            "/public/./x",
            "/public//x",
            "/public/..",
            "/public/%2e%2e/x",
            "/public%2f..%2fadmin",
            "/public/..;x/admin",
            "/public/..;/admin",
            "/a%5cb",
            "/a\\b",
            "/a%00b",
            "/a%25b",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%ff",
            "/a%0ab",
            "/a%7f",
            "/.",
            "/a/.",
            "/a/.;p=1/b",
            "/a?b",
        ] {
            assert_eq!(decode_normal(bad), None, "{bad}");
        }
        for (good, decoded) in [
            ("/", "/"),
            ("/public/", "/public/"),
            ("/a%20b", "/a b"),
            ("/%C3%A9t%c3%a9", "/été"),
            ("/..a/b..", "/..a/b.."),
            ("/a;b=c/...", "/a;b=c/..."),
        ] {
            assert_eq!(decode_normal(good).as_deref(), Some(decoded), "{good}");
        }
    }

    /// PX-060, PX-592: endpoints match by whole segments; what else lies in the namespace is unknown.
    #[test]
    fn px_060_reserved_paths_match_by_whole_segments() {
        let of = |raw: &str| Reserved::of(raw, "");
        assert_eq!(of("/outpost.goauthentik.io/start"), Some(Reserved::Start));
        assert_eq!(of("/outpost.goauthentik.io/callback"), Some(Reserved::Callback));
        assert_eq!(of("/outpost.goauthentik.io/auth/caddy"), Some(Reserved::ForwardAuth(Dialect::Caddy)));
        for asked in ["", "/app", "//a/../b", "/%2e"] {
            let envoy = Some(Reserved::ForwardAuth(Dialect::Envoy));
            assert_eq!(of(&format!("/outpost.goauthentik.io/auth/envoy{asked}")), envoy, "{asked}");
        }
        assert_eq!(of("/outpost.goauthentik.io/auth/envoyx"), Some(Reserved::Unknown));
        for unknown in ["", "/", "/start/", "/starter", "/auth", "/auth/nginx/x", "/static", "/Start", "/x/../start"] {
            assert_eq!(of(&format!("/outpost.goauthentik.io{unknown}")), Some(Reserved::Unknown), "{unknown}");
        }
        for hidden in [
            "//outpost.goauthentik.io/start",
            "/%6futpost.goauthentik.io/x",
            "/a/../outpost.goauthentik.io",
            r"/a\..\outpost.goauthentik.io/start",
            r"/\outpost.goauthentik.io",
        ] {
            assert_eq!(of(hidden), Some(Reserved::Unknown), "{hidden}");
        }
        for foreign in ["/", "/outpost.goauthentik.iox/start", "/a/outpost.goauthentik.io/start", "/a%20b"] {
            assert_eq!(of(foreign), None, "{foreign}");
        }
    }

    /// PX-251: a path in which some reader goes up is known as one, however it is encoded.
    #[test]
    fn px_251_paths_that_climb_are_known() {
        for path in ["/../../start", "/%2e%2e/x", "/a%252f..%252fb", "/a\\..\\b", "/..;/x", "/a%252fb/../../../start"] {
            assert!(climbs(path), "{path}");
        }
        for path in ["/", "/a..b/..c", "/a/.", "/..."] {
            assert!(!climbs(path), "{path}");
        }
    }

    /// PX-061: with a path in `external_host` the endpoints answer below it and at the root.
    #[test]
    fn px_061_endpoints_answer_below_the_host_path_too() {
        assert_eq!(Reserved::of("/wiki/outpost.goauthentik.io/start", "/wiki"), Some(Reserved::Start));
        assert_eq!(Reserved::of("/outpost.goauthentik.io/start", "/wiki"), Some(Reserved::Start));
        assert_eq!(Reserved::of("/wikix/outpost.goauthentik.io/start", "/wiki"), None);
    }

    proptest! {
        /// PX-233: respelling a path never brings a protected path under a public prefix.
        #[test]
        fn px_233_normal_form_means_the_same_to_every_reader(
            parts in proptest::collection::vec("(\\.\\.|\\.|%2e|%2E%2e|%2f|%5c|%25|;|[a-z]{1,3}|%41|/|\\\\)", 0..12),
        ) {
            let raw = format!("/{}", parts.concat());
            if let Some(decoded) = decode_normal(&raw) {
                let trimmed = decoded.trim_end_matches('/');
                let lenient = lenient_path(&raw);
                prop_assert_eq!(lenient.as_str(), if trimmed.is_empty() { "/" } else { trimmed });
            }
        }
    }
}
