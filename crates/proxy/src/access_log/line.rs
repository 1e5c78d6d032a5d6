//! How a line looks, and what is left out of it.

use std::cell::RefCell;
use std::io::Write;

use percent_encoding::percent_decode_str;
use portcullis_core::clock::Timestamp;
use portcullis_core::path::RESERVED;

use super::{Format, Pending};

/// Parameters whose values are secrets, or stand for them.
const SECRET_PARAMETERS: [&str; 22] = [
    "code",
    "state",
    "token",
    "id_token_hint",
    "rd",
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "client_assertion",
    "assertion",
    "code_verifier",
    // It may be the verifier itself.
    "code_challenge",
    "password",
    "secret",
    "key",
    "api_key",
    "nonce",
    "logout_token",
    "logout_hint",
    "next",
    RECOVERY,
];
/// What recovery links carry their secret in, also inside the query that programs hand to a flow.
const RECOVERY: &str = "flow_token";
/// The fields that lines have whatever headers are logged.
pub(super) const FIELDS: [&str; 16] = [
    "timestamp",
    "level",
    "event",
    "logger",
    "name",
    "remote",
    "host",
    "scheme",
    "request_id",
    "runtime",
    "method",
    "size",
    "status",
    "user_agent",
    "user",
    "auth_via",
];
const REDACTED: &str = "[redacted]";

thread_local! {
    /// A line under construction, and the second whose text was last written.
    static SCRATCH: RefCell<(Vec<u8>, i64, String)> = const { RefCell::new((Vec::new(), i64::MIN, String::new())) };
}

/// Builds the line and hands it over.
pub(super) fn build(pending: &Pending, give: impl FnOnce(&[u8])) {
    SCRATCH.with_borrow_mut(|(line, second, text)| {
        line.clear();
        let now = pending.log.0.clock.now();
        if now.seconds() != *second {
            *second = now.seconds();
            *text = Timestamp::from_seconds(now.seconds()).to_string();
            // Without `.000000Z`.
            text.truncate(19);
        }
        let stamp = format!("{text}.{:06}Z", now.0.rem_euclid(1_000_000));
        match pending.log.0.format {
            Format::Json => json(pending, &stamp, line),
            Format::Text => plain(pending, &stamp, line),
        }
        line.push(b'\n');
        give(line);
    });
}

fn json(pending: &Pending, stamp: &str, line: &mut Vec<u8>) {
    line.extend_from_slice(b"{\"timestamp\":\"");
    line.extend_from_slice(stamp.as_bytes());
    line.extend_from_slice(b"\",\"level\":\"info\",\"event\":\"");
    target(pending, |piece| escape(piece, line));
    line.extend_from_slice(b"\",\"logger\":\"portcullis.access\"");
    let seen = pending.seen.as_ref();
    field("name", seen.map_or("", |seen| &seen.provider).as_bytes(), line);
    match &pending.origin {
        Some(origin) => {
            // Writing to memory does not fail, here and below.
            drop(write!(line, ",\"remote\":\"{}\"", origin.client));
            field("host", origin.host.as_bytes(), line);
            field("scheme", origin.scheme.as_str().as_bytes(), line);
            field("request_id", origin.request_id.as_bytes(), line);
        }
        None => {
            drop(write!(line, ",\"remote\":\"{}\"", pending.peer));
            line.extend_from_slice(b",\"host\":\"\",\"scheme\":\"\",\"request_id\":\"\"");
        }
    }
    let runtime = pending.started.elapsed().as_micros();
    drop(write!(line, ",\"runtime\":\"{}.{:03}\"", runtime / 1000, runtime % 1000));
    field("method", pending.method.as_str().as_bytes(), line);
    drop(write!(line, ",\"size\":{},\"status\":{}", pending.size, pending.status));
    field("user_agent", pending.user_agent.as_ref().map_or(b"", |value| value.as_bytes()), line);
    field("user", seen.map_or("", |seen| &seen.user).as_bytes(), line);
    if let Some(via) = pending.via {
        field("auth_via", via.as_str().as_bytes(), line);
    }
    for ((_, shown), value) in pending.log.0.headers.iter().zip(&pending.headers) {
        let value = value.as_ref().map_or(&b""[..], |value| value.as_bytes());
        // Many hold URLs: where the browser came from, what another proxy asks about.
        if value.contains(&b'?') {
            field(shown, redact(&String::from_utf8_lossy(value)).as_bytes(), line);
        } else {
            field(shown, value, line);
        }
    }
    line.push(b'}');
}

fn plain(pending: &Pending, stamp: &str, line: &mut Vec<u8>) {
    line.extend_from_slice(stamp.as_bytes());
    let host = pending.origin.as_ref().map_or("", |origin| &origin.host);
    drop(write!(line, "  {} {host}", pending.method));
    target(pending, |piece| escape(piece, line));
    let runtime = pending.started.elapsed().as_micros();
    drop(write!(line, " {} {} bytes", pending.status, pending.size));
    drop(write!(line, " {}.{:03} ms", runtime / 1000, runtime % 1000));
    drop(write!(line, " from {}", pending.origin.as_ref().map_or(pending.peer, |origin| origin.client)));
    if let Some(via) = pending.via {
        drop(write!(line, " auth_via={}", via.as_str()));
    }
    if let Some(seen) = &pending.seen {
        for (word, value) in [(" app=", &seen.provider), (" user=", &seen.user)] {
            if !value.is_empty() {
                line.extend_from_slice(word.as_bytes());
                escape(value.as_bytes(), line);
            }
        }
    }
}

/// The request's target in pieces, with secrets taken out.
fn target(pending: &Pending, mut piece: impl FnMut(&[u8])) {
    let path = pending.target.path();
    piece(path.as_bytes());
    let Some(query) = pending.target.query() else { return };
    piece(b"?");
    redact_query(path, query, &mut piece);
}

/// A URL with secrets taken out of its query.
fn redact(url: &str) -> String {
    let Some((before, query)) = url.split_once('?') else { return url.to_owned() };
    let mut out = format!("{before}?").into_bytes();
    redact_query(before, query, &mut |piece: &[u8]| out.extend_from_slice(piece));
    String::from_utf8_lossy(&out).into_owned()
}

fn redact_query(path: &str, query: &str, piece: &mut impl FnMut(&[u8])) {
    // Below a path of `external_host`, too.
    if path.split('/').any(|segment| segment == RESERVED.trim_start_matches('/')) {
        return piece(REDACTED.as_bytes());
    }
    for pair in query.split_inclusive(['&', ';', '?', '#']) {
        let Some((name, value)) = pair.split_once('=') else {
            piece(pair.as_bytes());
            continue;
        };
        if is_secret(name) || value.contains(RECOVERY) {
            piece(name.as_bytes());
            piece(b"=");
            piece(REDACTED.as_bytes());
            let separator = value.bytes().last().filter(|last| b"&;?#".contains(last));
            piece(separator.as_slice());
        } else {
            piece(pair.as_bytes());
        }
    }
}

fn is_secret(name: &str) -> bool {
    let known = |name: &str| SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret));
    known(name) || (name.contains('%') && known(&percent_decode_str(name).decode_utf8_lossy()))
}

fn field(name: &str, value: &[u8], line: &mut Vec<u8>) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":\"");
    match std::str::from_utf8(value) {
        Ok(_) => escape(value, line),
        Err(_) => escape(String::from_utf8_lossy(value).as_bytes(), line),
    }
    line.push(b'"');
}

/// Text inside a JSON string; one line in any case.
fn escape(text: &[u8], line: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            0..0x20 | 0x7f => drop(write!(line, "\\u{byte:04x}")),
            _ => line.push(byte),
        }
    }
}
