//! The rules that an OAuth2 client must meet to be saved.

use portcullis_core::id::CertificateId;
use portcullis_core::username::exceeds;
use portcullis_core::{duration, pattern, site};
use portcullis_store::provider::Provider;
use portcullis_store::{Conn, StoreError, certificate};
use url::Url;

use super::super::check::{BAD_URL, BLANK, NO_CERTIFICATE, REQUIRED, References, TAKEN, durations, invalid};
use super::{Fields, RedirectUri};
use crate::context::Context;
use crate::error::{Error, Problems};
use crate::oauth::authorize::is_usable;
use crate::signing::SHORTEST_SECRET;
use crate::sources::{jwks, texts};
use crate::{certificates, signing};

/// Longest client id and client secret, in characters.
const LONGEST: usize = 255;
/// Longest lifetime of a code (OA-026), in microseconds.
const LONGEST_CODE: i64 = 600_000_000;

/// Longest lifetime of a device code (OA-042), in microseconds: a day.
const LONGEST_DEVICE: i64 = 86_400_000_000;

/// Most origins that are listed.
const MOST_ORIGINS: usize = 100;

pub(super) fn required(fields: &Fields, problems: &mut Problems) {
    for (field, missing) in [
        ("name", fields.name.is_none()),
        ("authorization_flow", fields.authorization_flow.is_none()),
        ("invalidation_flow", fields.invalidation_flow.is_none()),
        ("redirect_uris", fields.redirect_uris.is_none()),
    ] {
        if missing {
            problems.add(field, REQUIRED);
        }
    }
}

pub(super) fn taken(error: StoreError) -> Error {
    match error {
        StoreError::Taken(column) if column == "provider.client_id" => {
            Error::field("client_id", "OAuth2/OpenID Provider with this client id already exists.")
        }
        other => Error::taken(other, "provider.name", "name", TAKEN),
    }
}

/// What is named must exist, and a key must be one that signs (OA-033) or that is encrypted to (OA-034), and the writer's
/// to use.
pub(super) async fn references(
    ctx: &Context,
    conn: &mut Conn,
    fields: &Fields,
    may_use: impl Fn(CertificateId) -> bool,
    problems: &mut Problems,
) -> Result<(), Error> {
    let references = References {
        authentication_flow: fields.authentication_flow.flatten(),
        authorization_flow: fields.authorization_flow,
        invalidation_flow: fields.invalidation_flow,
        mappings: fields.property_mappings.as_deref(),
        sources: fields.jwt_federation_sources.as_deref(),
        providers: fields.jwt_federation_providers.as_deref(),
    };
    references.check(conn, problems).await?;
    if let Some(pk) = fields.signing_key.flatten() {
        match certificate::by_pk(conn, pk).await? {
            None => problems.add("signing_key", invalid(pk)),
            Some(_) if !may_use(pk) => problems.add("signing_key", NO_CERTIFICATE),
            Some(found) => {
                let key = certificates::private_key(ctx, &found)?;
                if key.is_empty() {
                    let name = &found.name;
                    problems.add(
                        "signing_key",
                        format!("Certificate '{name}' has no private key: bring its key_data first."),
                    );
                } else if let Err(problem) = signing::check(&key, &found.chain) {
                    problems.add("signing_key", problem);
                }
            }
        }
    }
    if let Some(pk) = fields.encryption_key.flatten() {
        match certificate::by_pk(conn, pk).await? {
            None => problems.add("encryption_key", invalid(pk)),
            Some(_) if !may_use(pk) => problems.add("encryption_key", NO_CERTIFICATE),
            Some(found) => {
                if let Err(problem) = signing::check_recipient(&found.chain) {
                    problems.add("encryption_key", problem);
                }
            }
        }
    }
    Ok(())
}

/// Rules on the client that results. Gives what is allowed but likely a mistake.
pub(super) fn rules(
    provider: &Provider,
    fields: &Fields,
    secrets: &[String; 2],
    problems: &mut Problems,
) -> Vec<String> {
    for (field, text) in [("name", &provider.name), ("logout_uri", &provider.logout_uri)] {
        problems.limit_indexed(field, text);
    }
    if provider.name.is_empty() && fields.name.is_some() {
        problems.add("name", BLANK);
    }
    credentials(provider, secrets, problems);
    if provider.is_public() && fields.require_pkce == Some(false) {
        problems.add("require_pkce", "Public clients need PKCE.");
    }
    if provider.is_public() && provider.m2m_require_client_auth {
        problems.add("m2m_require_client_auth", "A public client has no secret.");
    }
    if let Some(bad) = texts(&provider.allowed_origins).into_iter().find(|text| !site::is_origin(text)) {
        problems.add(
            "allowed_origins",
            format!("{bad:?} is no origin. Enter scheme and host, as https://app.example.com."),
        );
    } else if texts(&provider.allowed_origins).len() > MOST_ORIGINS {
        problems.add("allowed_origins", format!("Enter at most {MOST_ORIGINS} origins."));
    }
    if let Err(problem) = client_keys(provider) {
        problems.add("client_jwks", problem);
    }
    lifetimes(provider, problems);
    if !provider.logout_uri.is_empty()
        && !Url::parse(&provider.logout_uri).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
    {
        problems.add("logout_uri", BAD_URL);
    }
    let warnings = redirects(fields.redirect_uris.as_deref().unwrap_or_default(), problems);
    confirmed(provider, problems);
    warnings
}

fn credentials(provider: &Provider, [secret, second]: &[String; 2], problems: &mut Problems) {
    let too_long = format!("Ensure this field has no more than {LONGEST} characters.");
    if provider.client_id.is_empty() {
        problems.add("client_id", BLANK);
    } else if exceeds(&provider.client_id, LONGEST) {
        problems.add("client_id", too_long.clone());
    } else if provider.client_id.contains(char::is_control) {
        problems.add("client_id", "Control characters are not allowed.");
    }
    if exceeds(secret, LONGEST) {
        problems.add("client_secret", too_long.clone());
    } else if secret.is_empty() && !provider.is_public() {
        // Whoever knows its id would be the client (OA-803).
        problems.add("client_secret", "A confidential client needs a secret.");
    } else if provider.signing_key.is_none() && secret.len() < SHORTEST_SECRET {
        let message = format!("Choose a signing key, or a client secret of at least {SHORTEST_SECRET} characters.");
        problems.add("signing_key", message);
    }
    if second.is_empty() {
        return;
    }
    if provider.is_public() {
        problems.add("second_client_secret", "A public client has no secret.");
    } else if exceeds(second, LONGEST) {
        problems.add("second_client_secret", too_long);
    } else if second == secret {
        problems.add("second_client_secret", "Both secrets are the same.");
    } else if provider.signing_key.is_none() && second.len() < SHORTEST_SECRET {
        // It signs once the other one has ended.
        let message = format!("Choose a signing key, or a secret of at least {SHORTEST_SECRET} characters.");
        problems.add("second_client_secret", message);
    }
}

/// Most keys that a client registers.
const MOST_KEYS: usize = 8;

/// What a client proves itself with has to be a set of public keys, each of a kind that can be verified (OA-326, OA-710).
fn client_keys(provider: &Provider) -> Result<(), String> {
    let set = &provider.client_jwks;
    if set.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(());
    }
    if provider.is_public() {
        return Err("A public client proves itself with nothing.".to_owned());
    }
    let keys = set.get("keys").and_then(serde_json::Value::as_array);
    let Some(keys) = keys.filter(|keys| (1..=MOST_KEYS).contains(&keys.len())) else {
        return Err(format!("Enter a JSON Web Key Set: an object with a list of one to {MOST_KEYS} keys."));
    };
    let kids: Vec<_> = keys.iter().map(|key| key.get("kid").and_then(serde_json::Value::as_str)).collect();
    for (at, key) in keys.iter().enumerate() {
        if let Some(member) = jwks::private_member(key) {
            return Err(format!("Key {}: '{member}' is part of a secret key. Enter the public key alone.", at + 1));
        }
        if !jwks::verifies(key) {
            return Err(format!(
                "Key {}: enter a public key for signatures, of RSA with at least 2048 bits, P-256, P-384 or Ed25519.",
                at + 1
            ));
        }
        if keys.len() > 1 && kids.iter().filter(|kid| **kid == kids.get(at).copied().flatten()).count() != 1 {
            return Err("Of several keys each needs a kid of its own.".to_owned());
        }
    }
    Ok(())
}

fn lifetimes(provider: &Provider, problems: &mut Problems) {
    durations(provider, problems);
    for (field, text, longest, shown) in [
        ("access_code_validity", &provider.access_code_validity, LONGEST_CODE, "ten minutes"),
        ("device_code_validity", &provider.device_code_validity, LONGEST_DEVICE, "one day"),
    ] {
        match duration::parse(text) {
            Ok(microseconds) if microseconds < 1_000_000 => {
                problems.add(field, "Ensure this value is at least one second.");
            }
            Ok(microseconds) if microseconds > longest => {
                problems.add(field, format!("Ensure this value is at most {shown}."));
            }
            Ok(_) => {}
            Err(error) => problems.add(field, error.to_string()),
        }
    }
    match duration::parse(&provider.refresh_token_threshold) {
        // Long-lived tokens that anybody can use are to change with every use (OA-864).
        Ok(microseconds) if microseconds > 0 && provider.is_public() => {
            problems.add("refresh_token_threshold", "Public clients need a new refresh token with every use.");
        }
        Ok(_) => {}
        Err(error) => problems.add("refresh_token_threshold", error.to_string()),
    }
    if provider.refresh_family_max_age.is_empty() {
        return;
    }
    match duration::parse(&provider.refresh_family_max_age) {
        Ok(microseconds) if microseconds < 1_000_000 => {
            problems.add("refresh_family_max_age", "Ensure this value is at least one second, or empty for no end.");
        }
        Ok(_) => {}
        Err(error) => problems.add("refresh_family_max_age", error.to_string()),
    }
}

/// A pattern that fits strangers is for who says that it is meant so (OA-841).
fn confirmed(provider: &Provider, problems: &mut Problems) {
    if provider.allow_broad_redirect_uris {
        return;
    }
    for entry in provider.redirect_uris.as_array().into_iter().flatten() {
        let text = |name: &str| entry.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let url = text("url");
        if text("matching_mode") == "regex" && pattern::is_broad(url) {
            let message = format!(
                "{url} fits addresses of strangers, who would get what is meant for the client. Name its hosts, or confirm the \
                 pattern with \"allow_broad_redirect_uris\": true."
            );
            problems.add("redirect_uris", message);
        }
    }
}

fn redirects(uris: &[RedirectUri], problems: &mut Problems) -> Vec<String> {
    let mut warnings = Vec::new();
    for RedirectUri { matching_mode, url, .. } in uris {
        if matching_mode == "regex" {
            match pattern::check(url) {
                Ok(()) if pattern::is_loose(url) => {
                    warnings.push(format!("A pattern of redirect_uris fits addresses of strangers: {url}"));
                }
                Ok(()) => {}
                Err(error) => problems.add("redirect_uris", error.to_string()),
            }
        } else if exceeds(url, 2048) || !is_usable(url) {
            problems.add("redirect_uris", BAD_URL);
        }
    }
    warnings
}
