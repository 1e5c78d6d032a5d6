//! From the answers of a control plane to what identities are made of (PX-152, PX-191).

use portcullis_core::claims::Claims;
use portcullis_core::clock::Timestamp;
use portcullis_core::id::ProviderPk;
use portcullis_core::outpost::{ALIAS, Bearings, Grant};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Claims as they came.
pub(super) type ClaimSet = Map<String, Value>;

/// What stands for a subject: itself where it cannot collide with that of another provider, else together with the
/// provider (PX-191).
pub(super) fn alias_of(provider: ProviderPk, sub: &str) -> String {
    let is_digest = sub.len() == 64 && sub.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest || Uuid::try_parse(sub).is_ok() { format!("{ALIAS}{sub}") } else { format!("{ALIAS}{provider}:{sub}") }
}

/// A grant out of claims that were verified, or that the control plane vouches for; none without a subject.
pub(super) fn grant(provider: ProviderPk, said: &ClaimSet, raw_token: &str, built_at: u64) -> Option<Grant> {
    let claims = Claims::read(said)?;
    let uuid = claims.ak_proxy.user_uuid.as_str();
    let bearings = Bearings {
        user: if uuid.is_empty() { alias_of(provider, &claims.sub) } else { uuid.to_owned() },
        sid: claims.sid.clone(),
        access_token: text(said, "jti"),
        ..Bearings::default()
    };
    Some(Grant {
        expires: Timestamp::from_seconds(instant(said, "exp").unwrap_or_default()),
        raw_token: raw_token.to_owned(),
        access_token: String::new(),
        upstream_token: None,
        statement: None,
        bearings,
        built_at,
        logout_hint: None,
        claims,
    })
}

/// Adds what an answer of our own control plane holds beside its tokens (PX-417, PX-419).
pub(super) fn add_extras(grant: &mut Grant, answer: &ClaimSet) {
    /// The longest hint (PX-419).
    const LONGEST_HINT: usize = 128;
    let upstream = answer.get("upstream_token").and_then(Value::as_str).filter(|token| is_compact(token));
    grant.upstream_token = upstream.map(str::to_owned);
    // What is there and cannot be read admits nobody (OA-816).
    grant.bearings.networks = match answer.get("allowed_networks") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(all)) => all.iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect(),
        Some(_) => vec![String::new()],
    };
    let hint = answer.get("logout_hint").and_then(Value::as_str);
    let hint = hint.filter(|hint| !hint.is_empty() && hint.len() <= LONGEST_HINT);
    grant.logout_hint = hint.map(str::to_owned);
}

/// Takes over which user the token endpoint of our own control plane says a grant is for. What is revoked is named by
/// that (PX-198), whatever the claims of the token tell.
pub(super) fn add_user(grant: &mut Grant, answer: &ClaimSet) {
    if let Ok(uuid) = Uuid::try_parse(&text(answer, "user_uuid")) {
        grant.bearings.user = uuid.to_string();
    }
}

/// Whether a text has the form of a compact JWS.
pub(super) fn is_compact(text: &str) -> bool {
    let is_base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let parts: Vec<_> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(is_base64url))
}

/// A claim that is a text; else nothing.
pub(super) fn text(claims: &ClaimSet, name: &str) -> String {
    claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A claim that is an instant in seconds, perhaps with a fraction (RFC 7519 §2).
#[expect(clippy::cast_possible_truncation, reason = "out of range saturates, and is refused as far away")]
pub(super) fn instant(claims: &ClaimSet, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

/// Whether `aud`, one or several, names an audience (RFC 7519 §4.1.3).
pub(super) fn is_for(claims: &ClaimSet, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one == audience),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// PX-191, PX-512: only subjects that are the same everywhere stand for somebody at every provider.
    #[test]
    fn px_191_subjects_that_may_collide_count_with_their_provider() {
        let at = |pk: i32, sub: &str| alias_of(ProviderPk(pk), sub);
        let hashed = "9b".repeat(32);
        assert_eq!(at(1, &hashed), at(2, &hashed));
        let uuid = "5d1c6a1e-2f0b-4a3e-9a57-0c1b8f6f2a11";
        assert_eq!(at(1, uuid), at(2, uuid));
        for sub in ["ada", "7", "ada@example.org", &"x".repeat(64)] {
            assert_ne!(at(1, sub), at(2, sub), "{sub}");
        }
    }

    /// OA-816: networks that an app password is limited to come with the answer; what cannot be read admits nobody.
    #[test]
    fn oa_816_networks_come_with_the_answer() {
        let said = |value: Value| value.as_object().cloned().unwrap_or_default();
        let mut grant = grant(ProviderPk(7), &said(json!({"sub": "s"})), "raw", 0).expect("has a subject");
        for (networks, expected) in [
            (json!(["192.0.2.0/24", "::1/128"]), vec!["192.0.2.0/24", "::1/128"]),
            (json!(null), vec![]),
            (json!([7]), vec![""]),
            (json!("192.0.2.0/24"), vec![""]),
        ] {
            add_extras(&mut grant, &said(json!({"allowed_networks": networks})));
            assert_eq!(grant.bearings.networks, expected);
        }
        add_extras(&mut grant, &said(json!({})));
        assert!(grant.bearings.networks.is_empty());
    }

    /// PX-417, PX-419, PX-421: what only our own control plane adds is taken if it makes sense, and is not missed.
    #[test]
    fn px_417_what_a_control_plane_adds_is_taken_if_it_makes_sense() {
        let said = |value: Value| value.as_object().cloned().unwrap_or_default();
        let mut grant =
            grant(ProviderPk(7), &said(json!({"sub": "s", "exp": 9.5, "jti": 3})), "raw", 0).expect("has a subject");
        assert_eq!((grant.expires, grant.bearings.access_token.as_str()), (Timestamp::from_seconds(9), ""));
        add_extras(&mut grant, &said(json!({"upstream_token": "a.b.c", "logout_hint": "h"})));
        assert_eq!((grant.upstream_token.as_deref(), grant.logout_hint.as_deref()), (Some("a.b.c"), Some("h")));
        for odd in
            [json!({}), json!({"upstream_token": "a b", "logout_hint": ""}), json!({"upstream_token": ["a.b.c"]})]
        {
            add_extras(&mut grant, &said(odd));
            assert_eq!((grant.upstream_token.as_deref(), grant.logout_hint.as_deref()), (None, None));
        }
    }
}
