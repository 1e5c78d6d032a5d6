//! Where a browser may be sent: the one function that decides it (PX-160 … PX-166).

use url::Url;

use crate::host::{self, Host};
use crate::origin::Scheme;
use crate::outpost::Mode;
use crate::path::Reserved;

const CALLBACK: &str = "/outpost.goauthentik.io/callback";
/// Tells the data plane that a request comes back from a login.
const MARK: &str = "X-authentik-auth-callback=true";

/// The longest target that is looked at.
const LONGEST: usize = 4096;

/// The targets that one provider allows.
#[derive(Clone, Debug)]
pub struct RedirectRule {
    external: Url,
    scheme: Scheme,
    host: Host,
    base: String,
    origin: String,
    domain: Option<String>,
}

/// Why a provider has no redirect rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("external_host is not an http or https URL with nothing but a host and perhaps a path")]
pub struct BadExternalHost;

impl RedirectRule {
    /// The rule of a provider. In domain mode without a usable cookie domain only the host itself
    /// counts (PX-023).
    ///
    /// # Errors
    /// [`BadExternalHost`] unless `external_host` is an absolute http(s) URL without userinfo.
    pub fn new(external_host: &str, mode: Mode, cookie_domain: &str) -> Result<Self, BadExternalHost> {
        let mut external = Url::parse(external_host.trim()).map_err(|_| BadExternalHost)?;
        let scheme = scheme_of(&external).ok_or(BadExternalHost)?;
        if !external.username().is_empty() || external.password().is_some() {
            return Err(BadExternalHost);
        }
        external.set_query(None);
        external.set_fragment(None);
        let host = Host::parse(authority(&external), scheme).ok_or(BadExternalHost)?;
        let base = external.path().trim_end_matches('/').to_owned();
        let domain = host::cookie_domain(cookie_domain);
        let domain = (mode == Mode::ForwardDomain && !domain.is_empty()).then_some(domain);
        let origin = format!("{}://{host}", scheme.as_str());
        Ok(Self { external, scheme, host, base, origin, domain })
    }

    /// The scheme of `external_host`.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host of `external_host`.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The path of `external_host` without a trailing slash; empty for the root.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The domain whose hosts are all allowed, in domain mode.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Scheme, host and port of `external_host`, without a trailing slash.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// `external_host` without a trailing slash, followed by `path`.
    pub fn external(&self, path: &str) -> String {
        format!("{}{}{path}", self.origin, self.base)
    }

    /// The redirect URI of this provider: what `start` sends and the code exchange repeats (PX-142, OA-071).
    pub fn callback(&self) -> String {
        self.external(&format!("{CALLBACK}?{MARK}"))
    }

    /// The redirect URIs to register for this provider, all of them strict (PX-026, OA-071).
    ///
    /// Besides [`RedirectRule::callback`] that is the host itself and, for a host with a path, the form in
    /// which the last segment of the path is replaced.
    pub fn redirect_uris(&self) -> Vec<String> {
        let mut uris = vec![self.callback(), self.external(&format!("?{MARK}"))];
        if let Some((parent, _)) = self.base.rsplit_once('/') {
            uris.push(format!("{}{parent}{CALLBACK}?{MARK}", self.origin()));
        }
        uris
    }

    /// `external_host` itself, as a place to go.
    pub fn home(&self) -> String {
        if self.base.is_empty() { format!("{}/", self.origin) } else { self.external.to_string() }
    }

    /// The target to send a browser to, if `candidate` is one that this provider allows.
    ///
    /// Path and query come back byte for byte; http becomes https when `external_host` is https.
    pub fn accept(&self, candidate: &str) -> Option<String> {
        if candidate.len() > LONGEST || candidate.bytes().any(|b| b <= 0x20 || b == 0x7f || b == b'\\') {
            return None;
        }
        let (origin, rest) = if candidate.starts_with('/') {
            if candidate.starts_with("//") {
                return None;
            }
            (self.origin.clone(), candidate)
        } else {
            self.absolute(candidate)?
        };
        let path = rest.split(['?', '#']).next().unwrap_or(rest);
        if Reserved::of(path, &self.base).is_some() {
            return None;
        }
        let slash = if rest.starts_with('/') { "" } else { "/" };
        Some(format!("{origin}{slash}{rest}"))
    }

    /// The target for a path and query that were asked of this provider (PX-130, PX-166).
    pub fn of_request(&self, path_and_query: &str) -> Option<String> {
        let path = path_and_query.split('?').next().unwrap_or(path_and_query);
        let below = self.base.is_empty() || path.strip_prefix(self.base.as_str()).is_some_and(starts_segment);
        let base = if below { "" } else { self.base.as_str() };
        self.accept(&format!("{}{base}{path_and_query}", self.origin))
    }

    fn absolute<'a>(&self, candidate: &'a str) -> Option<(String, &'a str)> {
        let (scheme, rest) = candidate.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end)?;
        let host = Host::parse(authority, scheme)?;
        // A browser must see the same host in the same text.
        let seen = Url::parse(candidate).ok()?;
        let seen_host = Host::parse(self::authority(&seen), scheme)?;
        if seen_host != host || !seen.username().is_empty() || seen.password().is_some() {
            return None;
        }
        let upgrade = scheme == Scheme::Http && self.scheme == Scheme::Https;
        let allowed = match &self.domain {
            Some(domain) => host.is_within(domain),
            None => host == self.host || (upgrade && host.name() == self.host.name() && host.port().is_none()),
        };
        if !allowed {
            return None;
        }
        let origin = match (upgrade, &self.domain) {
            (false, _) => format!("{}://{host}", scheme.as_str()),
            (true, Some(_)) => format!("https://{}", host.name()),
            (true, None) => self.origin.clone(),
        };
        Some((origin, rest))
    }
}

fn starts_segment(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

fn scheme_of(url: &Url) -> Option<Scheme> {
    match url.scheme() {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        _ => None,
    }
}

/// Host and port of a URL as it writes them.
fn authority(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::AfterPort]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wiki() -> RedirectRule {
        RedirectRule::new("https://wiki.example", Mode::Proxy, "").expect("a rule")
    }

    /// PX-026, PX-142, OA-071: the callback is appended to a path prefix; the form that replaces it is registered too.
    #[test]
    fn oa_071_redirect_uris_are_computed_from_the_external_host() {
        let uris = |host: &str| RedirectRule::new(host, Mode::Proxy, "").expect("a rule").redirect_uris();
        let mark = "X-authentik-auth-callback=true";
        for host in ["https://wiki.example", "https://wiki.example/"] {
            assert_eq!(
                uris(host),
                [
                    format!("https://wiki.example/outpost.goauthentik.io/callback?{mark}"),
                    format!("https://wiki.example?{mark}"),
                ]
            );
        }
        assert_eq!(
            uris("http://localhost:8080/apps/wiki/"),
            [
                format!("http://localhost:8080/apps/wiki/outpost.goauthentik.io/callback?{mark}"),
                format!("http://localhost:8080/apps/wiki?{mark}"),
                format!("http://localhost:8080/apps/outpost.goauthentik.io/callback?{mark}"),
            ]
        );
    }

    /// PX-161: opaque, scheme-relative and foreign forms, userinfo, and odd bytes are rejected.
    #[test]
    fn px_161_dangerous_forms_are_rejected() {
        for bad in [
            "//evil.test/",
            "///evil.test",
            "https:wiki.example/",
            "https:/wiki.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://user@wiki.example/",
            "https://wiki.example@evil.test/",
            "ftp://wiki.example/",
            "https://wiki.example\\@evil.test/",
            "/\\evil.test",
            "/a b",
            "/a\tb",
            "/a\nb",
            "https://wiki.example/\u{7f}",
            "/outpost.goauthentik.io/sign_out",
            "https://wiki.example/outpost.goauthentik.io/start",
            "wiki",
            "",
            "https://wiki.example.evil.test/",
            "https://evilwiki.example/",
            "https://wiki.example:8443/",
            "https://",
            "https:///wiki.example",
            "/a/../outpost.goauthentik.io/sign_out",
            "\u{a0}//evil.test",
        ] {
            assert_eq!(wiki().accept(bad), None, "{bad}");
        }
        assert_eq!(wiki().accept(&format!("/{}", "a".repeat(LONGEST))), None);
    }

    /// PX-162: a relative target is resolved against the origin of `external_host`, bytes preserved.
    #[test]
    fn px_162_relative_targets_are_resolved() {
        assert_eq!(wiki().accept("/a%2Fb?x=1&y=2#z").as_deref(), Some("https://wiki.example/a%2Fb?x=1&y=2#z"));
        assert_eq!(wiki().accept("https://WIKI.example.:443/x").as_deref(), Some("https://wiki.example/x"));
        assert_eq!(wiki().accept("https://wiki.example?x").as_deref(), Some("https://wiki.example/?x"));
        assert_eq!(wiki().accept("https://wiki.example//x/../y").as_deref(), Some("https://wiki.example//x/../y"));
    }

    /// PX-163, PX-540, PX-541: in domain mode any host and port within the domain, at a dot boundary.
    #[test]
    fn px_163_domain_mode_accepts_the_domain_only() {
        let rule = RedirectRule::new("https://auth.example.com", Mode::ForwardDomain, ".example.com").expect("a rule");
        for good in ["https://example.com/", "https://a.example.com/x", "https://a.b.example.com:8443/x"] {
            assert_eq!(rule.accept(good).as_deref(), Some(good));
        }
        for bad in ["https://badexample.com/", "https://example.com.evil.test/", "https://com/"] {
            assert_eq!(rule.accept(bad), None, "{bad}");
        }
        let none = RedirectRule::new("https://auth.example.com", Mode::ForwardDomain, "").expect("a rule");
        assert_eq!(none.accept("https://other.example.com/"), None);
    }

    /// PX-164, PX-543: an http target is upgraded when `external_host` is https.
    #[test]
    fn px_164_http_is_upgraded() {
        assert_eq!(wiki().accept("http://wiki.example/x").as_deref(), Some("https://wiki.example/x"));
        let domain = RedirectRule::new("https://a.example.com", Mode::ForwardDomain, "example.com").expect("a rule");
        assert_eq!(domain.accept("http://b.example.com:8080/x").as_deref(), Some("https://b.example.com/x"));
        let plain = RedirectRule::new("http://wiki.example", Mode::Proxy, "").expect("a rule");
        assert_eq!(plain.accept("http://wiki.example/x").as_deref(), Some("http://wiki.example/x"));
    }

    /// PX-166, PX-547: the path of `external_host` is prefixed once, never twice.
    #[test]
    fn px_166_the_host_path_is_prefixed_once() {
        let rule = RedirectRule::new("https://apps.example/wiki/", Mode::Proxy, "").expect("a rule");
        assert_eq!(rule.of_request("/x?y=1").as_deref(), Some("https://apps.example/wiki/x?y=1"));
        assert_eq!(rule.of_request("/wiki/x").as_deref(), Some("https://apps.example/wiki/x"));
        assert_eq!(rule.of_request("/wikix").as_deref(), Some("https://apps.example/wiki/wikix"));
        assert_eq!(rule.external("/outpost.goauthentik.io"), "https://apps.example/wiki/outpost.goauthentik.io");
        assert_eq!(wiki().of_request("//evil.test/x").as_deref(), Some("https://wiki.example//evil.test/x"));
        assert_eq!(wiki().home(), "https://wiki.example/");
        assert!(RedirectRule::new("ftp://x", Mode::Proxy, "").is_err());
        assert!(RedirectRule::new("https://u:p@x", Mode::Proxy, "").is_err());
    }

    proptest! {
        /// PX-160: whatever is accepted leads a browser to the provider's own host.
        #[test]
        fn px_160_accepted_targets_stay_on_the_host(
            candidate in "(https?:|HTTPS:|/|\\\\|javascript:)?(/|//|///|\\\\)?([a-z@:.%#?]{0,6})(wiki\\.example|evil\\.test)?([a-z@:/\\\\.?#%]{0,12})",
        ) {
            if let Some(target) = wiki().accept(&candidate) {
                let seen = Url::parse(&target).expect("an absolute URL");
                prop_assert_eq!(seen.scheme(), "https");
                prop_assert_eq!(seen.host_str(), Some("wiki.example"));
                prop_assert_eq!(seen.port(), None);
                prop_assert_eq!(seen.username(), "");
                prop_assert_eq!(wiki().accept(&target), Some(target));
            }
        }
    }
}
