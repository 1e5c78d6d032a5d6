//! The rules that a source must meet to be saved.

use portcullis_core::duration;
use portcullis_core::username::exceeds;
use portcullis_store::source::Source;
use portcullis_store::{Conn, StoreError, federated, flow, mapping};
use serde_json::Value;
use url::Url;

use super::{Fields, built_in, jwks, kinds, texts};
use crate::change::Change;
use crate::error::{Error, Problems};
use crate::escalation;

const REQUIRED: &str = "This field is required.";
const BLANK: &str = "This field may not be blank.";
const BAD_URL: &str = "Enter a valid URL.";

pub(super) fn required(fields: &Fields, problems: &mut Problems) {
    for (field, missing) in [
        ("name", fields.name.is_none()),
        ("slug", fields.slug.is_none()),
        ("provider_type", fields.provider_type.is_none()),
        ("consumer_key", fields.consumer_key.is_none()),
        ("consumer_secret", fields.consumer_secret.is_none()),
    ] {
        if missing {
            problems.add(field, REQUIRED);
        }
    }
}

const NAME_TAKEN: &str = "Source with this name already exists.";
const SLUG_TAKEN: &str = "Source with this slug already exists.";

pub(super) fn taken(error: StoreError) -> Error {
    match error {
        StoreError::Taken(column) if column == "oauth_source.name" => Error::field("name", NAME_TAKEN),
        other => Error::taken(other, "oauth_source.slug", "slug", SLUG_TAKEN),
    }
}

/// What is named must exist.
pub(super) async fn references(conn: &mut Conn, fields: &Fields, problems: &mut Problems) -> Result<(), Error> {
    let invalid = |pk: &dyn std::fmt::Display| format!("Invalid pk \"{pk}\" - object does not exist.");
    for (field, pk) in [
        ("authentication_flow", fields.authentication_flow.flatten()),
        ("enrollment_flow", fields.enrollment_flow.flatten()),
    ] {
        if let Some(pk) = pk
            && flow::by_pk(conn, pk).await?.is_none()
        {
            problems.add(field, invalid(&pk));
        }
    }
    for (field, list) in [
        ("user_property_mappings", &fields.user_property_mappings),
        ("group_property_mappings", &fields.group_property_mappings),
    ] {
        for pk in list.iter().flatten() {
            if mapping::by_pk(conn, *pk).await?.is_none() {
                problems.add(field, invalid(pk));
            }
        }
    }
    Ok(())
}

const BEYOND: &str = "This source vouches for a user who may do more than you may: only who may do as much changes whom it \
     takes at their word.";

/// Refuses to change whose word a source takes, and for what, where a user of its subjects may do more than the writer: who
/// brings the right assertion may do what they may (CO-705).
pub(super) async fn vouching(change: &mut Change<'_>, before: &Source, now: &Source) -> Result<(), Error> {
    let moved = escalation::moved([
        ("oidc_well_known_url", before.oidc_well_known_url != now.oidc_well_known_url),
        ("oidc_jwks_url", before.oidc_jwks_url != now.oidc_jwks_url),
        ("oidc_jwks", before.oidc_jwks != now.oidc_jwks),
        ("expected_issuers", before.expected_issuers != now.expected_issuers),
        ("expected_audiences", before.expected_audiences != now.expected_audiences),
        ("allowed_algs", before.allowed_algorithms != now.allowed_algorithms),
        ("max_assertion_lifetime", before.max_assertion_lifetime != now.max_assertion_lifetime),
        ("audience_check", before.audience_check != now.audience_check),
        ("require_exp", before.require_exp != now.require_exp),
        ("single_use", before.single_use != now.single_use),
        ("user_property_mappings", before.user_property_mappings != now.user_property_mappings),
    ]);
    let actor = change.actor();
    let mut problems = Problems::default();
    if actor.is_superuser || moved.is_empty() {
        return Ok(());
    }
    for user in federated::endowed_by(change.conn(), now.pk).await? {
        if escalation::is_beyond(change.conn(), actor, user).await? {
            problems.add_each(&moved, BEYOND);
            break;
        }
    }
    problems.check()
}

/// Most that clocks may differ (OA-005), in microseconds.
const LONGEST_LEEWAY: i64 = 30_000_000;

/// What keys on P-521 sign with.
const ES512: &str = "ES512";

/// Rules on the source that results.
pub(super) fn rules(source: &Source, fields: &Fields, problems: &mut Problems) {
    // The built-in one is in no table.
    if source.name == built_in::NAME {
        problems.add("name", NAME_TAKEN);
    }
    if source.slug == built_in::SLUG {
        problems.add("slug", SLUG_TAKEN);
    }
    for (field, text, given) in [
        ("name", &source.name, fields.name.is_some()),
        ("slug", &source.slug, fields.slug.is_some()),
        ("consumer_key", &source.consumer_key, fields.consumer_key.is_some()),
    ] {
        problems.limit_indexed(field, text);
        if text.is_empty() && given {
            problems.add(field, BLANK);
        }
    }
    for (field, text) in [
        ("user_path_template", &source.user_path_template),
        ("additional_scopes", &source.additional_scopes),
        ("icon", &source.icon),
    ] {
        problems.limit(field, text);
    }
    if exceeds(&source.slug, 50) {
        problems.add("slug", "Ensure this field has no more than 50 characters.");
    }
    if !source.slug.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        problems.add("slug", "Enter a valid \"slug\" consisting of letters, numbers, underscores or hyphens.");
    }
    if fields.provider_type.is_some() && kinds::by_name(&source.provider_type).is_none() {
        problems.add("provider_type", format!("\"{}\" is not a valid choice.", source.provider_type));
    }
    if fields.consumer_secret.as_deref() == Some("") {
        problems.add("consumer_secret", BLANK);
    }
    urls(source, problems);
    path(&source.user_path_template, problems);
    if let Some(given) = &fields.oidc_jwks
        && !is_key_set(given)
    {
        problems.add("oidc_jwks", "Enter a JSON Web Key Set: an object with a list of keys.");
    }
    for key in fields.oidc_jwks.iter().filter_map(|set| set.get("keys")?.as_array()).flatten() {
        let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("alg") == ES512 || text("crv") == "P-521" {
            problems.add(
                "oidc_jwks",
                format!("Leave the key {:?} out: it is for ES512, which cannot be verified.", text("kid")),
            );
        }
    }
    for algorithm in texts(&source.allowed_algorithms) {
        if algorithm == ES512 {
            problems.add("allowed_algs", "ES512 cannot be verified. Use ES256, ES384, EdDSA or one of RSA.");
        } else if jwks::algorithm(algorithm).is_none() {
            problems.add("allowed_algs", format!("\"{algorithm}\" is not a valid choice."));
        }
    }
    match duration::parse(&source.max_assertion_lifetime) {
        Ok(microseconds) if microseconds < 1_000_000 => {
            problems.add("max_assertion_lifetime", "Ensure this value is at least one second.");
        }
        Ok(_) => {}
        Err(error) => problems.add("max_assertion_lifetime", error.to_string()),
    }
    match duration::parse(&source.assertion_leeway) {
        Ok(microseconds) if microseconds > LONGEST_LEEWAY => {
            problems.add("assertion_leeway", "Ensure this value is at most 30 seconds.");
        }
        Ok(_) => {}
        Err(error) => problems.add("assertion_leeway", error.to_string()),
    }
}

fn urls(source: &Source, problems: &mut Problems) {
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    for (field, text) in [
        ("request_token_url", optional(&source.request_token_url)),
        ("authorization_url", optional(&source.authorization_url)),
        ("access_token_url", optional(&source.access_token_url)),
        ("profile_url", optional(&source.profile_url)),
        ("oidc_well_known_url", source.oidc_well_known_url.clone()),
        ("oidc_jwks_url", source.oidc_jwks_url.clone()),
    ] {
        problems.limit(field, &text);
        let fits = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        if !text.is_empty() && !Url::parse(&text).is_ok_and(fits) {
            problems.add(field, BAD_URL);
        }
    }
}

/// `%(slug)s` is the only placeholder.
fn path(template: &str, problems: &mut Problems) {
    let filled = template.replace("%(slug)s", "x");
    if filled.is_empty() {
        problems.add("user_path_template", BLANK);
    } else if filled.contains('%') {
        problems.add("user_path_template", "The only placeholder is %(slug)s.");
    } else if filled.split('/').any(str::is_empty) {
        problems.add("user_path_template", "No empty segments in user path allowed.");
    }
}

/// An empty object, or one with a list of keys.
fn is_key_set(value: &Value) -> bool {
    let Some(object) = value.as_object() else { return false };
    object.is_empty()
        || object.get("keys").and_then(Value::as_array).is_some_and(|keys| keys.iter().all(Value::is_object))
}
