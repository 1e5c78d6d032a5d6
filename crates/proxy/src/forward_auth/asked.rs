//! Which request another proxy asks about (PX-245 … PX-248).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use portcullis_core::origin::{Origin, Scheme};
use portcullis_core::path::{Dialect, ENVOY};

use crate::origin::{
    X_FORWARDED_HOST, X_FORWARDED_METHOD, X_FORWARDED_PROTO, X_FORWARDED_URI, parse_host, parse_scheme,
};
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
                let origin = with(origin, scheme(headers)?, None);
                one(headers, &X_FORWARDED_HOST)?;
                let uri = target(one(headers, &X_FORWARDED_URI)?.as_bytes())?;
                Some(Self { origin, method: method(headers, &X_FORWARDED_METHOD)?, uri })
            }
            Dialect::Nginx => nginx(headers, origin),
            Dialect::Envoy => {
                let whole = question.uri.path_and_query()?.as_str();
                let (_, rest) = whole.split_once(ENVOY)?;
                let uri =
                    if rest.starts_with('/') { target(rest.as_bytes()) } else { target(format!("/{rest}").as_bytes()) };
                let scheme = if headers.contains_key(X_FORWARDED_PROTO) { scheme(headers)? } else { external };
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
    let url = one(headers, &X_ORIGINAL_URL).filter(|_| origin.peer_trusted)?;
    let url = std::str::from_utf8(url.as_bytes()).ok()?;
    let (scheme, rest) = url.split_once("://")?;
    let scheme = parse_scheme(scheme)?;
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
    let bytes = encoded(bytes);
    let is_plain = bytes.starts_with(b"/") && !bytes.contains(&b'#');
    let uri = Uri::try_from(&*bytes).ok().filter(|_| is_plain)?;
    (uri.authority().is_none() && uri.path_and_query()?.as_str().as_bytes() == &*bytes).then_some(uri)
}

/// Encodes what has no place in a URL, and what other proxies pass on all the same: a client that sends it is no mistake of
/// theirs.
fn encoded(bytes: &[u8]) -> Cow<'_, [u8]> {
    let is_odd = |byte: &u8| b"\"<>`".contains(byte);
    if !bytes.iter().any(is_odd) {
        return Cow::Borrowed(bytes);
    }
    let piece = |byte: &u8| if is_odd(byte) { format!("%{byte:02X}").into_bytes() } else { vec![*byte] };
    Cow::Owned(bytes.iter().flat_map(piece).collect())
}

/// The one value under a name.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The scheme of the request that is asked about. That of the question is another one: a proxy may ask over TLS about what
/// came to it without.
fn scheme(headers: &HeaderMap) -> Option<Scheme> {
    // Where there are several, they agree: else there would be no origin.
    parse_scheme(one(headers, &X_FORWARDED_PROTO)?.to_str().ok()?.rsplit(',').next()?.trim())
}

/// The method that is told; GET if none is.
fn method(headers: &HeaderMap, name: &HeaderName) -> Option<Method> {
    if !headers.contains_key(name) {
        return Some(Method::GET);
    }
    Method::from_bytes(one(headers, name)?.as_bytes()).ok()
}
