//! The rules that an OAuth2 client must meet to be saved.

use portcullis_core::id::CertificateId;
use portcullis_core::username::exceeds;
use portcullis_core::{duration, pattern};
use portcullis_store::provider::Provider;
use portcullis_store::{Conn, StoreError, certificate};
use url::Url;

use super::super::check::{BAD_URL, BLANK, NO_CERTIFICATE, REQUIRED, References, TAKEN, durations, invalid};
use super::{Fields, RedirectUri};
use crate::context::Context;
use crate::error::{Error, Problems};
use crate::oauth::authorize::is_usable;
use crate::signing::SHORTEST_SECRET;
use crate::{certificates, signing};

/// Longest client id and client secret, in characters.
const LONGEST: usize = 255;
/// Longest lifetime of a code (OA-026), in microseconds.
const LONGEST_CODE: i64 = 600_000_000;

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

/// What is named must exist, and a key must be one that signs (OA-033), and the writer's to use.
pub(super) async fn references(
    ctx: &Context,
    conn: &mut Conn,
    fields: &Fields,
    may_sign: impl FnOnce(CertificateId) -> bool,
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
            Some(_) if !may_sign(pk) => problems.add("signing_key", NO_CERTIFICATE),
            Some(found) => {
                let key = certificates::private_key(ctx, &found)?;
                if let Err(problem) = signing::check(&key, &found.chain) {
                    problems.add("signing_key", problem);
                }
            }
        }
    }
    if fields.encryption_key.flatten().is_some() {
        problems.add("encryption_key", "Encrypted tokens are not available in this build.");
    }
    Ok(())
}

/// Rules on the client that results. Gives what is allowed but likely a mistake.
pub(super) fn rules(provider: &Provider, fields: &Fields, secret: &str, problems: &mut Problems) -> Vec<String> {
    for (field, text) in [("name", &provider.name), ("logout_uri", &provider.logout_uri)] {
        problems.limit(field, text);
    }
    if provider.name.is_empty() && fields.name.is_some() {
        problems.add("name", BLANK);
    }
    credentials(provider, secret, problems);
    lifetimes(provider, problems);
    if !provider.logout_uri.is_empty()
        && !Url::parse(&provider.logout_uri).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
    {
        problems.add("logout_uri", BAD_URL);
    }
    redirects(fields.redirect_uris.as_deref().unwrap_or_default(), problems)
}

fn credentials(provider: &Provider, secret: &str, problems: &mut Problems) {
    let too_long = format!("Ensure this field has no more than {LONGEST} characters.");
    if provider.client_id.is_empty() {
        problems.add("client_id", BLANK);
    } else if exceeds(&provider.client_id, LONGEST) {
        problems.add("client_id", too_long.clone());
    } else if provider.client_id.contains(char::is_control) {
        problems.add("client_id", "Control characters are not allowed.");
    }
    if exceeds(secret, LONGEST) {
        problems.add("client_secret", too_long);
    } else if secret.is_empty() && !provider.is_public() {
        // Whoever knows its id would be the client (OA-803).
        problems.add("client_secret", "A confidential client needs a secret.");
    } else if provider.signing_key.is_none() && secret.len() < SHORTEST_SECRET {
        let message = format!("Choose a signing key, or a client secret of at least {SHORTEST_SECRET} characters.");
        problems.add("signing_key", message);
    }
}

fn lifetimes(provider: &Provider, problems: &mut Problems) {
    durations(provider, problems);
    match duration::parse(&provider.access_code_validity) {
        Ok(microseconds) if microseconds < 1_000_000 => {
            problems.add("access_code_validity", "Ensure this value is at least one second.");
        }
        Ok(microseconds) if microseconds > LONGEST_CODE => {
            problems.add("access_code_validity", "Ensure this value is at most ten minutes.");
        }
        Ok(_) => {}
        Err(error) => problems.add("access_code_validity", error.to_string()),
    }
    match duration::parse(&provider.refresh_token_threshold) {
        // Long-lived tokens that anybody can use are to change with every use (OA-864).
        Ok(microseconds) if microseconds > 0 && provider.is_public() => {
            problems.add("refresh_token_threshold", "Public clients need a new refresh token with every use.");
        }
        Ok(_) => {}
        Err(error) => problems.add("refresh_token_threshold", error.to_string()),
    }
}

fn redirects(uris: &[RedirectUri], problems: &mut Problems) -> Vec<String> {
    let mut warnings = Vec::new();
    for RedirectUri { matching_mode, url, .. } in uris {
        if matching_mode == "regex" {
            match pattern::check(url) {
                Ok(()) if pattern::is_broad(url) => {
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
