//! Targets that read a text: cookies, credentials, states, redirect targets, expressions.

use std::sync::Arc;

use portcullis_core::credentials::{Credentials, is_current_jws};
use portcullis_core::entropy::SystemEntropy;
use portcullis_core::outpost::Mode;
use portcullis_core::redirect::RedirectRule;
use portcullis_core::webauthn::{self, Ceremony, RelyingParty, UserVerification};
use portcullis_core::{cookie, header, skip};
use url::Url;

use super::Target;
#[cfg(test)]
use super::engine::{Inputs, tried};
use crate::application::Application;
use crate::identity_cache::Caches;
use crate::login::state::State;
use crate::plane::tests::site::{NOW, wiki};
use crate::settings::ProxySettings;

pub(super) fn cookie() -> Target {
    Box::new(|input| {
        for value in cookie::values(input, "authentik_proxy_01d4e0c9") {
            assert!(input.windows(value.len().max(1)).any(|piece| piece == value.as_bytes()) || value.is_empty());
        }
        cookie::sets_ours(input);
        let Some(rest) = cookie::without_ours(input) else { return false };
        assert_eq!(cookie::without_ours(&rest), None, "{}", input.escape_ascii());
        // A space is put behind each semicolon that had none.
        let semicolons = input.iter().filter(|byte| **byte == b';').count();
        assert!(rest.len() <= input.len() + semicolons, "{}", input.escape_ascii());
        assert_eq!(cookie::values(&rest, "authentik_proxy_01d4e0c9").next(), None);
        true
    })
}

/// PX-178, PX-180: of any `Cookie` field, no cookie of ours is left over, and values are pieces of it.
#[test]
fn px_178_any_cookie_field() {
    assert!(tried("cookie", 40_000) > 100);
}

pub(super) fn basic() -> Target {
    Box::new(|input| {
        let shown = input.escape_ascii();
        match Credentials::parse(input) {
            Some(Credentials::Basic { username, password }) => {
                assert!(!username.contains(':'), "{shown}");
                let read = Credentials::Basic { username: username.clone(), password: password.clone() };
                if let Some(written) = header::basic(&username, &password) {
                    assert_eq!(Credentials::parse(written.as_bytes()), Some(read), "{shown}");
                }
                true
            }
            Some(Credentials::Bearer(token)) => {
                assert!(!is_current_jws(&token, 0) || token.matches('.').count() == 2, "{shown}");
                true
            }
            None => false,
        }
    })
}

/// PX-090: of any `Authorization` value, the user name holds no colon, and what was read can be written and read again.
#[test]
fn px_090_any_authorization_value() {
    assert!(tried("basic", 40_000) > 100);
}

/// An application, another one, and a state that was sealed for the first.
fn sealed() -> (Application, Application, String) {
    let settings = Arc::new(ProxySettings::default());
    let provider = wiki("http://127.0.0.1:1");
    let caches = Caches::new(&settings);
    let application = Application::new(&provider, "edge", &settings, &caches, None).unwrap();
    let other =
        portcullis_core::outpost::Provider { client_secret: "x".to_owned(), cookie_secret: "x".to_owned(), ..provider };
    let other = Application::new(&other, "edge", &settings, &caches, None).unwrap();
    let sealed = State::new(&SystemEntropy, NOW, [7; 32], "https://wiki.example/page".to_owned())
        .seal(&application, &SystemEntropy);
    (application, other, sealed)
}

pub(super) fn state() -> Target {
    let (application, _, sealed) = sealed();
    Box::new(move |input| {
        let text = String::from_utf8_lossy(input).replace("SEALED", &sealed);
        let opened = State::open(&application, &text, NOW, 60).is_ok();
        assert_eq!(opened, text == sealed, "{text}");
        opened
    })
}

/// PX-144: no text opens as a state but one that was sealed, for the application that it was sealed for.
#[test]
fn px_144_any_state() {
    let (application, other, sealed) = sealed();
    assert!(State::open(&application, &sealed, NOW, 60).is_ok() && State::open(&other, &sealed, NOW, 60).is_err());
    assert!(tried("state", 20_000) > 0);
    let mut inputs = Inputs::of("state", 20_000);
    for _ in 0..20_000 {
        let mut text = sealed.clone().into_bytes();
        let at = inputs.random().below(text.len());
        text[at] = *inputs.random().choose(b"ABab01-_=+/ ");
        let text = String::from_utf8(text).unwrap();
        assert_eq!(State::open(&application, &text, NOW, 60).is_ok(), text == sealed, "{text}");
    }
}

pub(super) fn redirect() -> Target {
    let rules = [
        RedirectRule::new("https://wiki.example", Mode::Proxy, "").unwrap(),
        RedirectRule::new("https://wiki.example/docs/", Mode::Proxy, "").unwrap(),
        RedirectRule::new("https://wiki.example:8443", Mode::ForwardSingle, "").unwrap(),
        RedirectRule::new("https://auth.wiki.example", Mode::ForwardDomain, "wiki.example").unwrap(),
    ];
    Box::new(move |input| {
        let candidate = String::from_utf8_lossy(input);
        let accepted =
            |rule: &RedirectRule| [rule.accept(&candidate), rule.of_request(&candidate)].into_iter().flatten();
        let mut far = false;
        for rule in &rules {
            for target in accepted(rule) {
                stays_within(rule, &target, &candidate);
                far = true;
            }
        }
        far
    })
}

fn stays_within(rule: &RedirectRule, target: &str, candidate: &str) {
    let seen = Url::parse(target).unwrap_or_else(|error| panic!("{candidate:?}: {target:?}: {error}"));
    let host = seen.host_str().unwrap_or_default();
    let within = match rule.domain() {
        Some(domain) => host == domain || host.ends_with(&format!(".{domain}")),
        None => host == rule.host().name() && seen.port() == rule.host().port(),
    };
    assert!(within && seen.scheme() == "https", "{candidate:?}: {target:?}");
    assert!(seen.username().is_empty() && seen.password().is_none(), "{candidate:?}: {target:?}");
    let below = seen.path().strip_prefix("/outpost.goauthentik.io");
    assert!(!below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')), "{candidate:?}: {target:?}");
    assert!(
        !target.contains(|c: char| c.is_ascii_control()) && !target.contains(['\\', ' ']),
        "{candidate:?}: {target:?}"
    );
    assert_eq!(rule.accept(target).as_deref(), Some(target), "{candidate:?}");
}

/// PX-160, PX-161, PX-163: whatever is accepted as a target, a browser finds it within the provider's hosts.
#[test]
fn px_160_any_redirect_target() {
    assert!(tried("redirect", 40_000) > 1000);
}

/// What Go refuses wherever it stands (PX-231).
const REFUSED: &[&str] = &[
    "[a--b]",
    "[[:foo:]]",
    r"\u0041",
    r"\Z",
    r"\C",
    "(?x)a",
    "(?R)a",
    "(?u)a",
    "a**",
    "a{2}{3}",
    "a{1001}",
    "a+*",
    "(?=a)",
    "(?!a)",
    "(?<=a)",
    "(?<!a)",
    r"(a)\1",
    r"\8",
    "[z-a]",
    r"\q",
    "a{3,2}",
    r"[a-\d]",
    r"\p{greek}",
];

pub(super) fn expression() -> Target {
    Box::new(|input| {
        let text = String::from_utf8_lossy(input).into_owned();
        let around = format!("(?:{text})");
        // A quotation may go on behind the text.
        if text.len() >= 200 || text.contains(r"\Q") || skip::compile(&around).is_err() {
            return false;
        }
        let refused = REFUSED[input.iter().copied().map(usize::from).sum::<usize>() % REFUSED.len()];
        for all in
            [format!("{around}{refused}"), format!("(?:{refused}){around}"), format!("{around}|{refused}|{around}")]
        {
            assert!(skip::compile(&all).is_err(), "{all:?}");
        }
        true
    })
}

/// PX-231: nothing that Go refuses is accepted, whatever stands around it.
#[test]
fn px_231_any_expression_around_what_go_refuses() {
    assert!(tried("expression", 4_000) > 100);
}

/// Pieces of expressions, with a text that each matches and one that it does not, by Go's reading (PX-231).
const PIECES: &[(&str, &str, &str)] = &[
    (r"\d", "5", "\u{0661}"),
    (r"\w", "_", "é"),
    (r"\s", "\u{c}", "\u{b}"),
    (r"[\s]", " ", "\u{a0}"),
    (r"[^\W]", "a", "-"),
    (r"\D", "\u{0661}", "5"),
    (r"\Q.*\E", ".*", "aa"),
    (r"\<", "<", "a"),
    (r"\101", "A", "1"),
    ("a{,2}", "a{,2}", "aa"),
    ("x{01}", "x{01}", "x"),
    ("[[a]", "[", "b"),
    ("[a&&b]", "&", "c"),
    ("[a~~b]", "~", "c"),
    (r"[\d-z]", "-", "y"),
    ("[]a]", "]", "b"),
    ("[[:word:]]", "_", "é"),
    ("(?P<n>a)", "a", "b"),
    (r"(?i:K)", "k", "j"),
    (r"\pL", "é", "1"),
    (".", "é", "\n"),
    ("#x y", "#x y", "xy"),
];

/// Each byte of the input but the first is a piece; the first says which one is not to match.
pub(super) fn pieces() -> Target {
    Box::new(|input| {
        let Some((&odd, rest)) = input.split_first() else { return false };
        let mut chosen: Vec<_> = rest.iter().take(6).map(|&byte| PIECES[usize::from(byte) % PIECES.len()]).collect();
        let mut named = false;
        chosen.retain(|(piece, ..)| !(piece.contains("<n>") && std::mem::replace(&mut named, true)));
        if chosen.is_empty() {
            return false;
        }
        let odd = usize::from(odd) % chosen.len();
        let expression = format!("^{}$", chosen.iter().map(|(piece, ..)| *piece).collect::<String>());
        let regex = skip::compile(&expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let matching: String = chosen.iter().map(|(_, matching, _)| *matching).collect();
        assert!(regex.is_match(&matching), "{expression} matches {matching:?}");
        let other: String =
            chosen.iter().enumerate().map(|(at, (_, good, bad))| if at == odd { *bad } else { *good }).collect();
        assert!(!regex.is_match(&other), "{expression} does not match {other:?}");
        true
    })
}

/// PX-231: in any order, the pieces of an expression keep the meaning that Go gives them.
#[test]
fn px_231_any_sequence_of_pieces() {
    assert!(tried("pieces", 3_000) > 1000);
}

/// Of Web Authentication Level 3, section 16.2: challenge, public key, authenticator data, client data, signature.
const SHOWN: [&str; 5] = [
    "OcDnUhQXulTUPo3JUXT0I97pvzzYBP9tZchXyav01Ag",
    "pQECAyYgASFYIK_voW-XypstI-uGzLZAmNINuQhWBi6yScM6m2cvJt9hIlggkwpWuHovymYzSwNFir-HlxfBLMaO1zKQry4mZHlrkiA",
    "v6vDdDKViwYzYNOtZGHJxHNa5_jt1GWSpeDwFFKy5LUZAAAAAA",
    "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoiT2NEblVoUVh1bFRVUG8zSlVYVDBJOTdwdnp6WUJQOXRaY2hYeWF2MDFBZyIsIm9yaWdpbiI6Imh0dHBzOi8vZXhhbXBsZS5vcmciLCJjcm9zc09yaWdpbiI6ZmFsc2V9",
    "MEYCIQD1Ck4uRAkknEqFO6NhKC8JhB303UVHoTqHeAIY3v_NOAIhAISArA8Lk1OBdPV1vxGh3V14xuSGAT-TcpXqE2U-Mx6H",
];

pub(super) fn webauthn() -> Target {
    let [challenge, key, data, client, signature] = SHOWN.map(|text| webauthn::decode(text).unwrap());
    let rp = RelyingParty::of("https://example.org").unwrap();
    let created = String::from_utf8(client.clone()).unwrap().replace("webauthn.get", "webauthn.create");
    Box::new(move |input| {
        let asked = Ceremony { rp: &rp, challenge: &challenge, user_verification: UserVerification::Optional };
        let shown = input.escape_ascii();
        let registered = asked.register(created.as_bytes(), input);
        if let Ok(made) = &registered {
            let is_piece = |part: &[u8]| input.windows(part.len()).any(|piece| piece == part);
            assert!(is_piece(&made.credential_id) && is_piece(&made.public_key), "{shown}");
        }
        let verified = |key: &[u8], client: &[u8], data: &[u8], signature: &[u8]| {
            asked.verify(key, client, data, signature).is_ok()
        };
        assert!(!verified(&key, &client, input, &signature) || input == data, "{shown}");
        assert!(!verified(&key, input, &data, &signature) || input == client, "{shown}");
        assert!(!verified(&key, &client, &data, input), "{shown}");
        // A key may say the same in other words, but not another point.
        assert!(!verified(input, &client, &data, &signature) || input.ends_with(&key[key.len() - 32..]), "{shown}");
        registered.is_ok()
    })
}

/// CO-315: of any bytes that come from an authenticator, nothing verifies but what was signed, and what is registered is a
/// piece of them.
#[test]
fn co_315_any_bytes_of_an_authenticator() {
    assert!(tried("webauthn", 20_000) > 10);
}
