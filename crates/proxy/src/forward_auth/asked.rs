//! Which request another proxy asks about (PX-245 … PX-248).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use portcullis_core::origin::{Origin, Scheme};
use portcullis_core::path::{Dialect, ENVOY};

use crate::origin::{X_FORWARDED_HOST, X_FORWARDED_METHOD, X_FORWARDED_PROTO, X_FORWARDED_URI, parse_host};
use crate::plane::Visit;

const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");

/// The request that is asked about. Every part was checked on its own (PX-246).
pub(super) struct Asked<'a> {
    pub(super) origin: Cow<'a, Origin>,
    pub(super) method: Method,
    /// Path and query.
    pub(super) uri: Uri,
}

impl<'a> Asked<'a> {
    /// Reads it from a question that a trusted peer asks; none if something is missing, malformed or contradicts
    /// the rest. `external` is the scheme of the application, for a proxy that tells none.
    pub(super) fn read(dialect: Dialect, external: Scheme, question: Visit<'a>) -> Option<Self> {
        let Visit { headers, origin, .. } = question;
        match dialect {
            Dialect::Traefik | Dialect::Caddy => {
                // The origin was made of these two; it has defaults for them, which have no place here.
                one(headers, &X_FORWARDED_PROTO)?;
                one(headers, &X_FORWARDED_HOST)?;
                let uri = target(one(headers, &X_FORWARDED_URI)?.as_bytes())?;
                Some(Self { origin: Cow::Borrowed(origin), method: method(headers, &X_FORWARDED_METHOD)?, uri })
            }
            Dialect::Nginx => nginx(headers, origin),
            Dialect::Envoy => {
                let whole = question.uri.path_and_query()?.as_str();
                let (_, rest) = whole.split_once(ENVOY)?;
                let uri =
                    if rest.starts_with('/') { target(rest.as_bytes()) } else { target(format!("/{rest}").as_bytes()) };
                let told = headers.contains_key(X_FORWARDED_PROTO) || origin.scheme == Scheme::Https;
                let scheme = if told { origin.scheme } else { external };
                let origin = with(origin, scheme, None);
                Some(Self { origin, method: question.method.clone(), uri: uri? })
            }
        }
    }
}

/// By `X-Original-URL`, or by `X-Original-URI` and the origin; where there are both they agree (PX-247).
fn nginx<'a>(headers: &HeaderMap, origin: &'a Origin) -> Option<Asked<'a>> {
    let by_uri = match headers.contains_key(X_ORIGINAL_URI) {
        true => Some(target(one(headers, &X_ORIGINAL_URI)?.as_bytes())?),
        false => None,
    };
    if !headers.contains_key(X_ORIGINAL_URL) {
        let method = method(headers, &X_ORIGINAL_METHOD)?;
        return Some(Asked { origin: Cow::Borrowed(origin), method, uri: by_uri? });
    }
    let asked = by_original_url(headers, origin)?;
    by_uri.is_none_or(|uri| uri == asked.uri).then_some(asked)
}

/// The request that `X-Original-URL` of a trusted peer names.
pub(super) fn by_original_url<'a>(headers: &HeaderMap, origin: &'a Origin) -> Option<Asked<'a>> {
    let url = one(headers, &X_ORIGINAL_URL).filter(|_| origin.peer_trusted)?.to_str().ok()?;
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Scheme::Http,
        "https" | "wss" => Scheme::Https,
        _ => return None,
    };
    let (host, path) = rest.split_at_checked(rest.find(['/', '?', '#']).unwrap_or(rest.len()))?;
    let uri = if path.starts_with('/') { target(path.as_bytes())? } else { target(format!("/{path}").as_bytes())? };
    let origin = with(origin, scheme, Some(parse_host(host)?));
    Some(Asked { origin, method: method(headers, &X_ORIGINAL_METHOD)?, uri })
}

/// The origin with another scheme and host; borrowed if they are the same.
fn with(origin: &Origin, scheme: Scheme, host: Option<String>) -> Cow<'_, Origin> {
    let host = host.filter(|host| *host != origin.host);
    if host.is_none() && scheme == origin.scheme {
        return Cow::Borrowed(origin);
    }
    Cow::Owned(Origin { scheme, host: host.unwrap_or_else(|| origin.host.clone()), ..origin.clone() })
}

/// A path and perhaps a query, byte for byte; nothing that a reader might cut off or read otherwise.
fn target(bytes: &[u8]) -> Option<Uri> {
    let is_plain = bytes.starts_with(b"/") && !bytes.contains(&b'#');
    let uri = Uri::try_from(bytes).ok().filter(|_| is_plain)?;
    (uri.authority().is_none() && uri.path_and_query()?.as_str().as_bytes() == bytes).then_some(uri)
}

/// The one value under a name.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The method that is told; GET if none is.
fn method(headers: &HeaderMap, name: &HeaderName) -> Option<Method> {
    if !headers.contains_key(name) {
        return Some(Method::GET);
    }
    Method::from_bytes(one(headers, name)?.as_bytes()).ok()
}
