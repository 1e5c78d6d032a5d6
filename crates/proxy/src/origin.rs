//! Where a request comes from, as far as it can be believed (section 3 of the proxy specification).
//!
//! Besides finding the [`Origin`], this leaves the request in a shape that the rest can rely on: the
//! target in origin form, forwarded headers only from trusted peers, `X-Forwarded-For` cut down to
//! what trusted peers vouch for, one `Cookie` field.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{COOKIE, FORWARDED, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use ipnet::IpNet;
use portcullis_core::origin::{Origin, RequestId, Scheme};

use crate::body::Body;
use crate::request_ids::RequestIds;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
pub(crate) const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Networks whose `X-Forwarded-*` are believed (PX-040). By default this host alone.
#[derive(Clone, Debug)]
pub struct Trust(Vec<IpNet>);

impl Trust {
    /// Trusts these networks and no others.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether `address` is inside a trusted network; an IPv4 address in IPv6 clothes counts as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self(vec![
            IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8),
            IpNet::new_assert(IpAddr::from(Ipv6Addr::LOCALHOST), 128),
        ])
    }
}

/// A request that says two things at once, or nothing, about where it goes; answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Contradiction(pub &'static str);

/// Finds a request's origin and mends the request (PX-040 … PX-044, PX-323).
///
/// # Errors
/// When host or scheme are missing, malformed or contradict each other.
pub fn origin(
    request: &mut Request<Body>,
    peer: IpAddr,
    tls: bool,
    trust: &Trust,
    ids: &RequestIds,
) -> Result<Origin, Contradiction> {
    let peer = peer.to_canonical();
    let peer_trusted = trust.contains(peer);
    let told = drop_unbelievable(request.headers_mut(), peer_trusted);

    let sent = sent_host(request.uri(), request.headers())?;
    to_origin_form(request.uri_mut())?;
    let headers = request.headers_mut();
    join_cookies(headers);
    let forwarded = if told.host { agreed(headers, &X_FORWARDED_HOST, "X-Forwarded-Host")? } else { None };
    let host = match forwarded {
        Some(forwarded) if !forwarded.eq_ignore_ascii_case(&sent) => {
            parse_host(forwarded).ok_or(Contradiction("X-Forwarded-Host is malformed"))?
        }
        _ => sent,
    };
    let proto = if told.scheme { agreed(headers, &X_FORWARDED_PROTO, "X-Forwarded-Proto")? } else { None };
    let scheme = match proto {
        _ if tls => Scheme::Https,
        None => Scheme::Http,
        Some(proto) => parse_scheme(proto).ok_or(Contradiction("X-Forwarded-Proto is neither http nor https"))?,
    };
    let client = if told.addresses { walk(headers, peer, trust) } else { peer };
    let request_id = if told.request_id { request_id(headers, ids) } else { ids.next() };
    Ok(Origin { scheme, host, client, peer, peer_trusted, request_id, asked: None })
}

/// What is known of a request that is refused before its origin is found: a request id, at the least (PX-323).
pub(crate) fn unknown(headers: &HeaderMap, peer: IpAddr, tls: bool, trust: &Trust, ids: &RequestIds) -> Origin {
    let peer = peer.to_canonical();
    let peer_trusted = trust.contains(peer);
    Origin {
        scheme: if tls { Scheme::Https } else { Scheme::Http },
        host: String::new(),
        client: peer,
        peer,
        peer_trusted,
        request_id: if peer_trusted { request_id(headers, ids) } else { ids.next() },
        asked: None,
    }
}

/// The id that a trusted peer has given a request, else a new one (PX-323).
fn request_id(headers: &HeaderMap, ids: &RequestIds) -> RequestId {
    match headers.get(&X_REQUEST_ID).and_then(|id| id.to_str().ok()) {
        Some(id) if is_sane_id(id) => id.into(),
        _ => ids.next(),
    }
}

/// Whether a field tells about the hop before us, in any spelling that a server might take for it.
pub(crate) fn is_forwarded(name: &str) -> bool {
    const EXACT: [&str; 5] = ["forwarded", "x-real-ip", "x-rewrite-url", "ssl-client-cert", "x-request-id"];
    const PREFIXES: [&str; 2] = ["x-forwarded-", "x-original-"];
    EXACT.iter().any(|known| name.len() == known.len() && starts_alike(name, known))
        || PREFIXES.iter().any(|known| starts_alike(name, known))
}

/// Whether `name` starts with `known` when every byte but letters and digits is read as `-`.
pub(crate) fn starts_alike(name: &str, known: &str) -> bool {
    let spelled = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    name.len() >= known.len() && name.bytes().map(spelled).zip(known.bytes()).all(|(ours, theirs)| ours == theirs)
}

/// What a trusted peer tells about the hop before it.
#[derive(Clone, Copy, Default)]
struct Told {
    host: bool,
    scheme: bool,
    addresses: bool,
    request_id: bool,
}

/// Deletes what only a trusted peer may say (PX-040), and finds what of it is left. Another spelling is believed from
/// nobody.
fn drop_unbelievable(headers: &mut HeaderMap, trusted: bool) -> Told {
    // One pass over the names without allocation; most requests have none of these.
    let may_be = |name: &&HeaderName| matches!(name.as_str().as_bytes().first(), Some(b'x' | b'f' | b's'));
    let is_believed = |name: &str| trusted && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let (mut told, mut refused) = (Told::default(), Vec::new());
    for name in headers.keys().filter(may_be) {
        match name.as_str() {
            "x-forwarded-host" if trusted => told.host = true,
            "x-forwarded-proto" if trusted => told.scheme = true,
            "x-forwarded-for" | "forwarded" if trusted => told.addresses = true,
            "x-request-id" if trusted => told.request_id = true,
            other if is_forwarded(other) && !is_believed(other) => refused.push(name.clone()),
            _ => {}
        }
    }
    for name in refused {
        headers.remove(name);
    }
    told
}

/// The host that the client's own request names: once, and everywhere the same.
fn sent_host(uri: &Uri, headers: &HeaderMap) -> Result<String, Contradiction> {
    let mut fields = headers.get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (_, Some(_)) => return Err(Contradiction("more than one Host field")),
        (Some(field), None) => {
            let text = field.to_str().map_err(|_| Contradiction("the Host field is malformed"))?;
            Some(parse_host(text).ok_or(Contradiction("the Host field is malformed"))?)
        }
        (None, None) => None,
    };
    let target = match uri.authority() {
        Some(authority) => {
            Some(parse_host(authority.as_str()).ok_or(Contradiction("the request's authority is malformed"))?)
        }
        None => None,
    };
    match (field, target) {
        (Some(field), Some(target)) if field != target => Err(Contradiction("Host and target disagree")),
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(Contradiction("the request names no host")),
    }
}

fn to_origin_form(uri: &mut Uri) -> Result<(), Contradiction> {
    // Else it is `*`, or a host alone, which is for CONNECT (RFC 9112 §3.2.3).
    if !uri.path().starts_with('/') {
        return Err(Contradiction("the request's target is no path"));
    }
    if uri.scheme().is_some() || uri.authority().is_some() {
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        *uri = Uri::from(path);
    }
    Ok(())
}

/// RFC 9113 §8.2.3: HTTP/2 may split the field; everything behind us expects one.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// The one value that all fields and all members of their lists agree on.
fn agreed<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    shown: &'static str,
) -> Result<Option<&'a str>, Contradiction> {
    let mut value: Option<&str> = None;
    for field in headers.get_all(name) {
        let text = field.to_str().map_err(|_| malformed(shown))?;
        let mut agree = |member: &'a str| match value {
            Some(known) if !known.eq_ignore_ascii_case(member) => Err(malformed(shown)),
            _ => {
                value = Some(member);
                Ok(())
            }
        };
        // Mostly it is no list.
        if text.bytes().any(|byte| byte == b',') {
            text.split(',').map(str::trim).try_for_each(agree)?;
        } else {
            agree(text)?;
        }
    }
    Ok(value)
}

fn malformed(name: &str) -> Contradiction {
    Contradiction(match name {
        "X-Forwarded-Host" => "X-Forwarded-Host is malformed or names several hosts",
        _ => "X-Forwarded-Proto is malformed or names several schemes",
    })
}

/// The scheme that goes by a name of a protocol; a websocket begins as a request (PX-043).
pub(crate) fn parse_scheme(proto: &str) -> Option<Scheme> {
    let is = |name: &str| proto.eq_ignore_ascii_case(name);
    match () {
        () if is("http") || is("ws") => Some(Scheme::Http),
        () if is("https") || is("wss") => Some(Scheme::Https),
        () => None,
    }
}

/// `host` or `host:port` in lower case; nothing that has user information, a path or odd bytes (PX-044).
pub(crate) fn parse_host(text: &str) -> Option<String> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (text.get(..address.len().checked_add(2)?)?, port)
        }
        None => {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            let (name, port) = match text.bytes().position(|byte| !fits(byte)) {
                None => (text, ""),
                Some(colon) => text.split_at_checked(colon)?,
            };
            if name.is_empty() {
                return None;
            }
            (name, port)
        }
    };
    let digits = match port.strip_prefix(':') {
        Some(digits) => digits,
        None if port.is_empty() => "",
        None => return None,
    };
    if !digits.is_empty() && (!digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.parse::<u16>().is_err()) {
        return None;
    }
    // A colon without a port behind it goes.
    let mut host = text.get(..if digits.is_empty() { name.len() } else { text.len() })?.to_owned();
    host.make_ascii_lowercase();
    Some(host)
}

/// Walks the addresses that peers saw from the right, up to the first that is not trusted (PX-042),
/// and leaves in `X-Forwarded-For` only the part that was walked: what stands further left is
/// whatever that client chose to send.
fn walk(headers: &mut HeaderMap, peer: IpAddr, trust: &Trust) -> IpAddr {
    let listed: Vec<&HeaderValue> = headers.get_all(&X_FORWARDED_FOR).iter().collect();
    let by_peers = !listed.is_empty();
    let fields = if by_peers { listed } else { headers.get_all(FORWARDED).iter().collect() };

    let mut client = peer;
    let mut chain: Vec<IpAddr> = Vec::new();
    'fields: for field in fields.iter().rev() {
        let Ok(text) = field.to_str() else { break };
        for member in text.rsplit(',') {
            let address = if by_peers { parse_address(member.trim()) } else { forwarded_for(member) };
            let Some(address) = address else { break 'fields };
            client = address;
            chain.push(address);
            if !trust.contains(address) {
                break 'fields;
            }
        }
    }
    if by_peers {
        let kept = chain.iter().rev().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match HeaderValue::try_from(kept) {
            Ok(kept) if !kept.is_empty() => drop(headers.insert(X_FORWARDED_FOR, kept)),
            _ => drop(headers.remove(X_FORWARDED_FOR)),
        }
    }
    client
}

/// The `for` of one element of `Forwarded` (RFC 7239 §4); obfuscated names are no address.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("for").then(|| parse_address(value)).flatten()
    })
}

/// An address, perhaps with a port, as proxies write it.
fn parse_address(text: &str) -> Option<IpAddr> {
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        if !port_fits {
            return None;
        }
        IpAddr::V6(address.parse().ok()?)
    } else if let Ok(address) = text.parse() {
        address
    } else {
        let (address, port) = text.split_once(':')?;
        port.parse::<u16>().ok()?;
        IpAddr::V4(address.parse().ok()?)
    };
    Some(address.to_canonical())
}

fn is_sane_id(id: &str) -> bool {
    (8..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use portcullis_core::entropy::SystemEntropy;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));
    const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn request(target: &str, fields: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::builder().uri(target).body(Body::Empty).unwrap();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        request
    }

    fn find(request: &mut Request<Body>, peer: IpAddr) -> Result<Origin, Contradiction> {
        origin(request, peer, false, &Trust::default(), &RequestIds::new(&SystemEntropy))
    }

    /// PX-040: what an untrusted peer says about earlier hops is deleted, in every spelling.
    #[test]
    fn px_040_forwarded_headers_of_strangers_are_deleted() {
        let names = [
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded-Client-Cert",
            "X-Forwarded-TLS-Client-Cert",
            "X_Forwarded_Host",
            "X.Forwarded-Host",
            "Forwarded",
            "X-Real-IP",
            "X_Real_IP",
            "X-Original-URL",
            "X-Original-Uri",
            "SSL-Client-Cert",
            "SSL_CLIENT_CERT",
        ];
        let mut fields: Vec<_> = names.iter().map(|name| (*name, "evil.example")).collect();
        fields.extend([("Host", "app.example"), ("X-Requested-With", "kept"), ("X-Forwarded", "kept")]);
        let mut sent = request("/", &fields);
        let origin = find(&mut sent, CLIENT).unwrap();
        assert_eq!((origin.host.as_str(), origin.scheme, origin.client), ("app.example", Scheme::Http, CLIENT));
        assert!(!origin.peer_trusted);
        let mut left: Vec<_> = sent.headers().keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-forwarded", "x-requested-with"]);
    }

    /// PX-040: a trusted peer is believed, but only in the exact spelling.
    #[test]
    fn px_040_trusted_peers_are_believed_in_the_exact_spelling() {
        let fields = [("Host", "inner"), ("X-Forwarded-Host", "App.example:8443"), ("X_Forwarded_Proto", "https")];
        let mut sent = request("/", &fields);
        let origin = find(&mut sent, PROXY).unwrap();
        assert_eq!((origin.host.as_str(), origin.scheme), ("app.example:8443", Scheme::Http));
        assert!(!sent.headers().contains_key("x_forwarded_proto"));
    }

    /// PX-042, CO-389: the client is the first address from the right that is not trusted.
    #[test]
    fn px_042_the_client_is_the_first_untrusted_address_from_the_right() {
        for (field, value, client) in [
            ("X-Forwarded-For", "203.0.113.1", "203.0.113.1"),
            ("X-Forwarded-For", "6.6.6.6, 203.0.113.1", "203.0.113.1"),
            ("X-Forwarded-For", "6.6.6.6, 203.0.113.1, 127.0.0.2", "203.0.113.1"),
            ("X-Forwarded-For", "6.6.6.6, unknown, 127.0.0.2", "127.0.0.2"),
            ("X-Forwarded-For", "unknown", "127.0.0.1"),
            ("X-Forwarded-For", "", "127.0.0.1"),
            ("X-Forwarded-For", "[2001:db8::1]:4711", "2001:db8::1"),
            ("X-Forwarded-For", "::ffff:203.0.113.1", "203.0.113.1"),
            ("X-Forwarded-For", "203.0.113.1:80", "203.0.113.1"),
            ("Forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:80\";proto=https", "2001:db8::1"),
            ("Forwarded", "for=6.6.6.6, for=_hidden", "127.0.0.1"),
        ] {
            let mut sent = request("/", &[("Host", "app"), (field, value)]);
            assert_eq!(find(&mut sent, PROXY).unwrap().client.to_string(), client, "{field}: {value}");
        }
    }

    /// PX-042: what a client wrote in front of its own address does not stay in the chain.
    #[test]
    fn px_042_the_chain_keeps_what_trusted_peers_vouch_for() {
        let mut sent = request(
            "/",
            &[("Host", "app"), ("X-Forwarded-For", "6.6.6.6, 203.0.113.1"), ("X-Forwarded-For", "127.0.0.9")],
        );
        find(&mut sent, PROXY).unwrap();
        assert_eq!(sent.headers()["x-forwarded-for"], "203.0.113.1, 127.0.0.9");
    }

    /// PX-043: the scheme is that of the connection, else what a trusted peer says.
    #[test]
    fn px_043_the_scheme_comes_from_tls_or_a_trusted_peer() {
        for (proto, scheme) in [
            ("https", Some(Scheme::Https)),
            ("wss", Some(Scheme::Https)),
            ("ws", Some(Scheme::Http)),
            ("HTTP", Some(Scheme::Http)),
            ("https, https", Some(Scheme::Https)),
            ("https, http", None),
            ("gopher", None),
            ("", None),
        ] {
            let mut sent = request("/", &[("Host", "app"), ("X-Forwarded-Proto", proto)]);
            assert_eq!(find(&mut sent, PROXY).ok().map(|origin| origin.scheme), scheme, "{proto}");
        }
        let mut sent = request("/", &[("Host", "app"), ("X-Forwarded-Proto", "http")]);
        let over_tls = origin(&mut sent, PROXY, true, &Trust::default(), &RequestIds::new(&SystemEntropy)).unwrap();
        assert_eq!(over_tls.scheme, Scheme::Https);
    }

    /// PX-044: a request that names no host, several hosts or a malformed one is refused.
    #[test]
    fn px_044_a_request_names_exactly_one_sound_host() {
        for (target, hosts, found) in [
            ("/", &["App.Example"][..], Some("app.example")),
            ("/", &["app.example:"], Some("app.example")),
            ("/", &["[::1]:9000"], Some("[::1]:9000")),
            ("http://app.example/x", &["app.example"], Some("app.example")),
            ("http://app.example/x", &[], Some("app.example")),
            ("http://app.example", &["app.example"], Some("app.example")),
            ("app.example", &["app.example"], None),
            ("http://other.example/x", &["app.example"], None),
            ("/", &[], None),
            ("/", &["app.example", "app.example"], None),
            ("/", &["app.example, app.example"], None),
            ("/", &["user@app.example"], None),
            ("/", &["app.example/x"], None),
            ("/", &["app.example:99999"], None),
            ("/", &["[::1"], None),
            ("/", &["a b"], None),
            ("/", &[""], None),
            ("*", &["app.example"], None),
        ] {
            let fields: Vec<_> = hosts.iter().map(|host| ("Host", *host)).collect();
            let mut sent = request(target, &fields);
            assert_eq!(find(&mut sent, CLIENT).ok().map(|origin| origin.host).as_deref(), found, "{target} {hosts:?}");
        }
    }

    /// PX-044: a trusted peer may name the host again, but not two different ones.
    #[test]
    fn px_044_forwarded_hosts_must_agree() {
        for (values, found) in [
            (&["a.example"][..], Some("a.example")),
            (&["a.example", "A.example"], Some("a.example")),
            (&["a.example, a.example"], Some("a.example")),
            (&["a.example", "b.example"], None),
            (&["a.example, b.example"], None),
            (&["a.example/x"], None),
            (&["u@a.example"], None),
        ] {
            let mut fields = vec![("Host", "inner")];
            fields.extend(values.iter().map(|value| ("X-Forwarded-Host", *value)));
            let mut sent = request("/", &fields);
            assert_eq!(find(&mut sent, PROXY).ok().map(|origin| origin.host).as_deref(), found, "{values:?}");
        }
    }

    /// PX-275: an absolute target becomes a path, byte for byte.
    #[test]
    fn px_275_an_absolute_target_becomes_a_path() {
        let mut sent = request("http://app//a/../b%2Fc?x=%20&y", &[("Host", "app")]);
        find(&mut sent, CLIENT).unwrap();
        assert_eq!(sent.uri().to_string(), "//a/../b%2Fc?x=%20&y");
    }

    /// PX-323: the request id of a trusted peer is kept if it is harmless; every other request gets one.
    #[test]
    fn px_323_a_request_id_is_trusted_or_made() {
        for (peer, sent_id, kept) in [
            (PROXY, "0123456789abcdef", true),
            (PROXY, "short", false),
            (PROXY, "with space 0123", false),
            (CLIENT, "0123456789abcdef", false),
        ] {
            let mut sent = request("/", &[("Host", "app"), ("X-Request-ID", sent_id)]);
            let id = find(&mut sent, peer).unwrap().request_id;
            assert_eq!(id.as_str() == sent_id, kept, "{id:?}");
            assert!(kept || (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        }
    }

    /// PX-178: cookies that came in several fields are one field for everything behind us.
    #[test]
    fn px_178_split_cookies_are_joined() {
        let mut sent = request("/", &[("Host", "app"), ("Cookie", "a=1"), ("Cookie", "b=2")]);
        find(&mut sent, CLIENT).unwrap();
        assert_eq!(sent.headers().get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
