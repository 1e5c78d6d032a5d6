//! Which fields end at us, and which we set.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use http_body::Body as _;
use portcullis_core::cookie;
use portcullis_core::origin::Origin;

use super::ForbiddenName;
use crate::body::Body;
use crate::http1::{members, no_text};
use crate::lines::Lines;
use crate::origin::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID, is_forwarded, starts_alike};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Whether a field besides `Connection` is meant for one hop alone (PX-222).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Removes what is meant for this hop alone, and every field that `Connection` names (PX-222).
///
/// `TE: trailers` stays, since we hand trailers on; so does the list in `Trailer`, without which
/// HTTP/1.1 has none.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Looking at the names that are there is cheaper than looking up each that might be.
    let (mut ending, mut connection) = (Vec::new(), false);
    for name in headers.keys() {
        if *name == CONNECTION {
            connection = true;
        } else if is_hop_by_hop(name) {
            ending.push(name.clone());
        }
    }
    if !connection && ending.is_empty() {
        return;
    }
    let plain = |token: &[u8]| token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive");
    let mut named = members(headers, &CONNECTION).filter(|token| !plain(token)).peekable();
    if ending.is_empty() && named.peek().is_none() {
        drop(named);
        headers.remove(CONNECTION);
        return;
    }
    ending.extend(named.filter_map(|token| HeaderName::from_bytes(token).ok()).filter(|name| *name != TRAILER));
    ending.push(CONNECTION);
    let trailers = members(headers, &TE).any(|token| token.eq_ignore_ascii_case(b"trailers"));
    for name in ending {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// The protocol that a request asks to change to, if we let it (PX-280).
///
/// Other versions of HTTP are not let through: inside the tunnel, requests would pass unseen.
pub(super) fn upgrade(request: &Request<Body>) -> Option<HeaderValue> {
    let mut asked = request.headers().get_all(UPGRADE).iter();
    let (Some(protocol), None) = (asked.next(), asked.next()) else { return None };
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._/+".contains(byte);
    let text = protocol.to_str().ok().filter(|text| text.bytes().all(|byte| is_token(&byte)))?;
    let name = text.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let fits = request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && request.body().is_end_stream()
        && !["", "h2", "h2c", "h3", "http", "tls"].contains(&&*name)
        && members(request.headers(), &CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    fits.then(|| protocol.clone())
}

/// Whether the field tells where a request comes from, and is ours to set.
fn is_told(name: &HeaderName) -> bool {
    matches!(name.as_str(), "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" | "x-request-id")
}

/// Tells where a request comes from (PX-278, PX-323) in lines of HTTP/1.1, and removes what the request says of that.
pub(super) fn tell_in_lines(headers: &mut HeaderMap, origin: &Origin, set: [Option<&Lines>; 2]) -> Vec<u8> {
    let mut lines = no_text();
    for part in ["X-Forwarded-Proto: ", origin.scheme.as_str(), "\r\nX-Forwarded-For: "] {
        lines.extend_from_slice(part.as_bytes());
    }
    // Mostly there are none: they were taken out when the request came in.
    if headers.keys().any(is_told) {
        push_chain(&mut lines, headers, origin);
        for name in [X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID] {
            headers.remove(name);
        }
    }
    push_peer(&mut lines, origin);
    for part in ["\r\nX-Forwarded-Host: ", &origin.host, "\r\n"] {
        lines.extend_from_slice(part.as_bytes());
    }
    if let Some(id) = origin.request_id.visible()
        && !set.into_iter().flatten().any(|lines| lines.sets(&X_REQUEST_ID))
    {
        for part in [b"X-Request-Id: ".as_slice(), id, b"\r\n"] {
            lines.extend_from_slice(part);
        }
    }
    lines
}

/// Tells the same in the fields themselves.
pub(super) fn tell(headers: &mut HeaderMap, origin: &Origin, chain: Vec<u8>) {
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(origin.scheme.as_str()));
    let told = [
        (X_FORWARDED_FOR, HeaderValue::try_from(chain)),
        (X_REQUEST_ID, HeaderValue::try_from(origin.request_id.as_str())),
        (X_FORWARDED_HOST, HeaderValue::try_from(&origin.host)),
    ];
    for (name, value) in told {
        if let Ok(value) = value {
            headers.insert(name, value);
        }
    }
}

/// Whether it is a value that any field may have.
pub(super) fn is_text(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The chain that trusted peers vouch for, and the peer itself (PX-278).
pub(super) fn forwarded_for(headers: &HeaderMap, origin: &Origin) -> Vec<u8> {
    let mut chain = Vec::new();
    push_chain(&mut chain, headers, origin);
    push_peer(&mut chain, origin);
    chain
}

/// What trusted peers vouch for.
fn push_chain(chain: &mut Vec<u8>, headers: &HeaderMap, origin: &Origin) {
    if origin.peer_trusted
        && let Some(before) = headers.get(X_FORWARDED_FOR).and_then(|chain| chain.to_str().ok())
    {
        chain.extend_from_slice(before.as_bytes());
        chain.extend_from_slice(b", ");
    }
}

fn push_peer(chain: &mut Vec<u8>, origin: &Origin) {
    match origin.peer {
        IpAddr::V4(peer) => push_dotted(chain, peer),
        IpAddr::V6(peer) => chain.extend_from_slice(peer.to_string().as_bytes()),
    }
}

/// An address as text. What `Display` does to pad a number costs more than all the rest of the header.
fn push_dotted(text: &mut Vec<u8>, address: Ipv4Addr) {
    text.reserve("255.255.255.255".len());
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            text.push(b'.');
        }
        for unit in [100, 10, 1] {
            if octet >= unit || unit == 1 {
                text.push(b'0' + octet / unit % 10);
            }
        }
    }
}

/// Drops attempts of the upstream to set cookies of ours, those of the control plane included: with a cookie
/// domain around both, an application could sign its visitors in as somebody else (PX-178).
pub(super) fn remove_own_cookies(headers: &mut HeaderMap) {
    let is_own = |value: &HeaderValue| cookie::sets_ours(value.as_bytes());
    if !headers.get_all(SET_COOKIE).iter().any(is_own) {
        return;
    }
    let kept: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter(|value| !is_own(value)).cloned().collect();
    headers.remove(SET_COOKIE);
    for value in kept {
        headers.append(SET_COOKIE, value);
    }
}

/// Takes out of an answer's trailers, or of what comes before an answer, what is not for clients in any answer, and what
/// says something about a body (RFC 9110 §6.5.1, PX-178, PX-222).
pub(crate) fn clean_aside(fields: &mut HeaderMap) {
    remove_hop_by_hop(fields);
    remove_own_cookies(fields);
    for name in [CONNECTION, CONTENT_LENGTH, TE, TRAILER] {
        fields.remove(name);
    }
}

/// Which trailers of a request may pass: an application must not take one for a header of ours.
pub(super) struct Trailers {
    set: Vec<HeaderName>,
    forbidden: Option<ForbiddenName>,
}

impl Trailers {
    pub(super) fn new(set: [Option<&Lines>; 2], forbidden: Option<ForbiddenName>) -> Self {
        let names = set.into_iter().flatten().flat_map(Lines::names);
        Self { set: names.cloned().collect(), forbidden }
    }

    /// Leaves in `Trailer` only what may pass.
    pub(super) fn announce(&self, headers: &mut HeaderMap) {
        let kept: Vec<&[u8]> = members(headers, &TRAILER)
            .filter(|token| HeaderName::from_bytes(token).is_ok_and(|name| self.passes(&name)))
            .collect();
        match HeaderValue::from_bytes(&kept.join(&b", "[..])) {
            Ok(kept) if !kept.is_empty() => drop(headers.insert(TRAILER, kept)),
            _ => drop(headers.remove(TRAILER)),
        }
    }

    /// Whether a trailer of this name may pass (RFC 9110 §6.5.1, PX-220, PX-221).
    pub(super) fn passes(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        let like = |other: &HeaderName| text.len() == other.as_str().len() && starts_alike(text, &spelled(other));
        let reserved = [
            AUTHORIZATION,
            COOKIE,
            HOST,
            CONTENT_LENGTH,
            TRANSFER_ENCODING,
            CONNECTION,
            PROXY_AUTHORIZATION,
            TE,
            TRAILER,
            UPGRADE,
            KEEP_ALIVE,
            PROXY_CONNECTION,
        ];
        !starts_alike(text, "x-authentik-")
            && !is_forwarded(text)
            && !reserved.iter().any(like)
            && !self.set.iter().any(like)
            && !self.forbidden.as_ref().is_some_and(|forbidden| forbidden(name))
    }
}

/// A name as [`starts_alike`] expects it: everything but letters and digits is `-`.
fn spelled(name: &HeaderName) -> String {
    name.as_str().chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-278: the peer's address is written as everybody writes it.
    #[test]
    fn px_278_addresses_are_written_as_usual() {
        for address in ["0.0.0.0", "10.9.99.100", "127.0.0.1", "203.0.113.255"] {
            let mut text = Vec::new();
            push_dotted(&mut text, address.parse().unwrap());
            assert_eq!(text, address.as_bytes());
        }
    }
}
