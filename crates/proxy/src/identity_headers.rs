//! Headers that tell an application who sends a request (section 13 of the proxy specification).

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_core::header::{self, alias};
use portcullis_core::outpost::{Grant, Provider};
use serde_json::Value;

use crate::application::{Application, durations};
use crate::lines::Lines;
use crate::metrics::Durations;
use crate::settings::{EmptyBasicPassword, ForwardJwt, ProxySettings};
use crate::upstream::Target;

const JWT: HeaderName = HeaderName::from_static("x-authentik-jwt");

/// The headers of PX-200, all of them.
pub const NAMES: [&str; 12] = [
    "x-authentik-username",
    "x-authentik-groups",
    "x-authentik-entitlements",
    "x-authentik-email",
    "x-authentik-name",
    "x-authentik-uid",
    "x-authentik-jwt",
    "x-authentik-meta-jwks",
    "x-authentik-meta-outpost",
    "x-authentik-meta-provider",
    "x-authentik-meta-app",
    "x-authentik-meta-version",
];

/// The most names that are remembered per provider, so that claims cannot fill memory.
const MOST_NAMES: usize = 1024;

/// The most additional headers of one identity.
const MOST_ADDITIONAL: usize = 256;

/// What an identity brings to every request that is sent in its name, finished.
#[derive(Clone, Debug)]
pub struct Outfit {
    /// Headers to set beside those that are the same for everybody, none of which is among them; `Authorization` for the application included.
    pub headers: Lines,
    /// Upstream in place of the provider's (PX-276), with the durations of requests to it.
    pub target: Option<Arc<(Target, Durations)>>,
    /// `Host` in place of the request's (PX-277).
    pub host: Option<HeaderValue>,
}

/// Why no request can be sent in somebody's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// User name, subject or e-mail cannot stand in a header as they are (PX-203).
    #[error("{0} cannot be sent in a header")]
    Unsendable(&'static str),
    /// The headers are larger than an upstream is likely to take (PX-209).
    #[error("identity headers exceed {0} bytes")]
    TooLarge(usize),
    /// There are more additional headers than any request should have.
    #[error("more than {0} additional headers")]
    TooMany(usize),
    /// The upstream that the claims name is no absolute http(s) URL (PX-276).
    #[error("backend_override is not an absolute http or https URL")]
    BadOverride,
    /// The host that the claims name is none (PX-277).
    #[error("host_header is not a host")]
    BadHost,
}

impl Outfit {
    /// Builds everything that goes upstream for a grant.
    ///
    /// # Errors
    /// [`Fault`] when the claims cannot be sent safely. Nothing is repaired.
    pub fn new(application: &Application, grant: &Grant) -> Result<Self, Fault> {
        let proxy = &grant.claims.ak_proxy;
        let target = match proxy.backend_override.as_str() {
            "" => None,
            url => {
                let verify = application.provider.internal_host_ssl_validation;
                let target = Target::parse(url, verify).map_err(|_| Fault::BadOverride)?;
                let durations = durations(&application.provider, &application.outpost_name, Some(&target));
                Some(Arc::new((target, durations)))
            }
        };
        let host = match proxy.host_header.as_str() {
            "" => None,
            host if http::uri::Authority::try_from(host).is_ok_and(|a| !a.as_str().contains('@')) => {
                Some(HeaderValue::try_from(host).map_err(|_| Fault::BadHost)?)
            }
            _ => return Err(Fault::BadHost),
        };
        let headers = Lines::spelled(&headers(application, grant)?, |name| as_given(grant, name));
        Ok(Self { headers, target, host })
    }
}

/// How whoever made the claims writes the name of an additional header: with underscores, it is sent that way (PX-219).
fn as_given<'a>(grant: &'a Grant, name: &HeaderName) -> Option<&'a str> {
    let entries = grant.claims.ak_proxy.user_attributes.get("additionalHeaders")?.as_object()?;
    let is_it = |key: &&String| key.contains('_') && name.as_str().eq_ignore_ascii_case(key);
    entries.keys().rev().find(is_it).map(String::as_str)
}

/// The headers of a grant beside those that are the same for everybody, with them within the limit of PX-209.
fn headers(application: &Application, grant: &Grant) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    let settings = &application.settings;
    let mut headers = identity(grant)?;
    if let Some(token) = jwt(grant, settings.forward_jwt) {
        headers.push((JWT, sensitive(value(token).unwrap_or(const { HeaderValue::from_static("") }))));
    }
    let (limit, constant) = (settings.max_identity_header_bytes, application.constant_headers.wire().len());
    if size(&headers) + constant > limit {
        tracing::warn!(provider.name = application.provider.name, "identity headers too large, leaving the JWT out");
        too_large("without_jwt");
        headers.retain(|(name, _)| *name != JWT);
        if size(&headers) + constant > limit {
            too_large("refused");
            return Err(Fault::TooLarge(limit));
        }
    }
    if let Some(basic) = basic(&application.provider, settings, grant) {
        headers.push((AUTHORIZATION, basic));
    }
    additional(application, grant, &mut headers)?;
    Ok(headers)
}

/// Counts what is larger than an upstream is likely to take (PX-209).
fn too_large(outcome: &'static str) {
    ::metrics::counter!("portcullis_proxy_large_identities_total", "outcome" => outcome).increment(1);
}

/// The headers of PX-200 that say who somebody is; values are raw UTF-8 (PX-202).
fn identity(grant: &Grant) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    let claims = &grant.claims;
    let (groups, odd_groups) = header::join(&claims.groups);
    let (entitlements, odd_entitlements) = header::join(&claims.entitlements);
    if odd_groups + odd_entitlements > 0 {
        tracing::warn!(
            count = odd_groups + odd_entitlements,
            "left out group or entitlement names with | or control bytes"
        );
    }
    let strict = |name: &'static str, text: &str| {
        if header::is_clean(text) { value(text).ok_or(Fault::Unsendable(name)) } else { Err(Fault::Unsendable(name)) }
    };
    let mut headers = vec![
        (HeaderName::from_static("x-authentik-username"), strict("username", &claims.preferred_username)?),
        (HeaderName::from_static("x-authentik-email"), strict("email", &claims.email)?),
        (HeaderName::from_static("x-authentik-uid"), strict("uid", &claims.sub)?),
    ];
    for (name, text) in [
        (HeaderName::from_static("x-authentik-groups"), groups.as_str()),
        (HeaderName::from_static("x-authentik-entitlements"), entitlements.as_str()),
        (HeaderName::from_static("x-authentik-name"), claims.name.as_str()),
    ] {
        match value(text) {
            Some(value) => headers.push((name, value)),
            None => tracing::warn!(header.name = name.as_str(), "left out a header with control bytes"),
        }
    }
    Ok(headers)
}

fn jwt(grant: &Grant, forward: ForwardJwt) -> Option<&str> {
    match forward {
        ForwardJwt::Off => None,
        ForwardJwt::Full => Some(&grant.raw_token),
        ForwardJwt::Assertion => Some(grant.upstream_token.as_deref().unwrap_or(&grant.raw_token)),
    }
}

/// HTTP Basic towards the application (PX-210 … PX-214).
fn basic(provider: &Provider, settings: &ProxySettings, grant: &Grant) -> Option<HeaderValue> {
    if !provider.basic_auth_enabled {
        return None;
    }
    let attributes = &grant.claims.ak_proxy.user_attributes;
    let attribute = |key: &str| header::usable(if key.is_empty() { None } else { attributes.get(key) });
    let username = attribute(&provider.basic_auth_user_attribute).unwrap_or_else(|| grant.claims.email.clone());
    let password = attribute(&provider.basic_auth_password_attribute).unwrap_or_default();
    if password.is_empty() && settings.empty_basic_password == EmptyBasicPassword::Omit {
        return None;
    }
    let Some(credentials) = header::basic(&username, &password) else {
        tracing::warn!(provider.name = provider.name, "upstream user name holds a colon or control byte: not sent");
        return None;
    };
    HeaderValue::try_from(credentials).ok().map(sensitive)
}

/// `additionalHeaders` of the claims (PX-216 … PX-219). They win over what is there already.
fn additional(
    application: &Application,
    grant: &Grant,
    headers: &mut Vec<(HeaderName, HeaderValue)>,
) -> Result<(), Fault> {
    let provider = application.provider.name.as_str();
    let attributes = &grant.claims.ak_proxy.user_attributes;
    let entries = match attributes.get("additionalHeaders") {
        None => return Ok(()),
        Some(Value::Object(entries)) if entries.len() > MOST_ADDITIONAL => {
            return Err(Fault::TooMany(MOST_ADDITIONAL));
        }
        Some(Value::Object(entries)) => entries,
        Some(_) => {
            tracing::warn!(provider.name = provider, "additionalHeaders is not an object: ignored");
            return Ok(());
        }
    };
    // First of all: what clients could send themselves is not set.
    application.spoofs.remember(&header::added_names(attributes).collect::<Vec<_>>());
    let before = size(headers);
    for (key, entry) in entries {
        let Ok(name) = HeaderName::try_from(key.as_str()) else {
            tracing::warn!(provider.name = provider, "an additional header has no valid name: skipped");
            continue;
        };
        if header::is_forbidden(key) {
            tracing::warn!(
                provider.name = provider,
                header.name = name.as_str(),
                "forbidden additional header: skipped"
            );
            continue;
        }
        if name != AUTHORIZATION && !application.spoofs.holds(&name) {
            tracing::warn!(
                provider.name = provider,
                header.name = name.as_str(),
                "too many additional headers: skipped"
            );
            continue;
        }
        headers.retain(|(present, _)| *present != name);
        let Some(text) = header::additional_value(entry) else { continue };
        match value(&text) {
            Some(value) => headers.push((name, sensitive(value))),
            None => tracing::warn!(provider.name = provider, header.name = name.as_str(), "left out: control bytes"),
        }
    }
    let limit = application.settings.max_identity_header_bytes;
    if size(headers).saturating_sub(before) > limit { Err(Fault::TooLarge(limit)) } else { Ok(()) }
}

/// A value as raw bytes (PX-202); `None` if it holds a control byte.
fn value(text: &str) -> Option<HeaderValue> {
    if header::has_control(text) { None } else { HeaderValue::from_bytes(text.as_bytes()).ok() }
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn size(headers: &[(HeaderName, HeaderValue)]) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// Headers about a provider that are the same for everybody (PX-200).
pub fn constants(provider: &Provider, outpost_name: &str) -> Vec<(HeaderName, HeaderValue)> {
    let version = concat!("goauthentik.io/outpost/", env!("CARGO_PKG_VERSION"));
    [
        ("x-authentik-meta-jwks", provider.endpoints.jwks.as_str()),
        ("x-authentik-meta-outpost", outpost_name),
        ("x-authentik-meta-provider", &provider.name),
        ("x-authentik-meta-app", &provider.application_slug),
        ("x-authentik-meta-version", version),
    ]
    .into_iter()
    .filter_map(|(name, text)| Some((HeaderName::from_static(name), value(text)?)))
    .collect()
}

/// The headers that no client of a provider may send, since applications believe them (PX-220, PX-221).
#[derive(Default)]
pub struct Spoofs {
    names: ArcSwap<HashSet<String>>,
}

impl Spoofs {
    /// Adds names, in the form of [`alias`]. They stay for as long as the provider is known.
    pub fn remember(&self, names: &[String]) {
        let known = self.names.load();
        if names.iter().all(|name| known.contains(name)) {
            return;
        }
        self.names.rcu(|known| {
            let mut all = HashSet::clone(known);
            for name in names {
                if all.len() < MOST_NAMES {
                    all.insert(name.clone());
                }
            }
            all
        });
    }

    /// Whether a client may not send this header.
    pub fn holds(&self, name: &HeaderName) -> bool {
        is_spoofed(&self.names.load(), name.as_str())
    }

    /// Removes such headers; says how many names there were.
    pub fn strip(&self, headers: &mut HeaderMap) -> u64 {
        let names = self.names.load();
        let spoofed: Vec<HeaderName> =
            headers.keys().filter(|name| is_spoofed(&names, name.as_str())).cloned().collect();
        for name in &spoofed {
            headers.remove(name);
        }
        spoofed.len() as u64
    }
}

/// Whether it is an identity header's name, or one of these under any spelling.
fn is_spoofed(names: &HashSet<String>, name: &str) -> bool {
    if header::is_identity(name) {
        return true;
    }
    // Names of headers are in lower case already: most are their own alias.
    let is_plain = || name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    !names.is_empty() && if is_plain() { names.contains(name) } else { names.contains(&alias(name)) }
}

/// A test for names, as the forwarder asks it about trailers.
pub fn forbidden(spoofs: &Arc<Spoofs>) -> crate::forward::ForbiddenName {
    let spoofs = Arc::clone(spoofs);
    Arc::new(move |name| spoofs.holds(name))
}
