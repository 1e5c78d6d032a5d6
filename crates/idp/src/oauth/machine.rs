//! Machines that prove themselves without a browser (OA section 11).

mod generated;
mod notes;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use portcullis_core::credentials::TOKEN_USER;
use portcullis_store::Conn;
use portcullis_store::account::Account;
use portcullis_store::application::Application;
use portcullis_store::token::{self, Token};
use serde_json::{Value, json};

use super::client::Client;
use super::code::context;
use super::{OAuthError, examine};
use crate::access::{self, Judged, Terms};
use crate::change::Change;
use crate::context::{Context, Visitor};
use crate::directory::{self, Person};
use crate::error::Error;
use crate::limits::{self, Attempt};
use crate::{entitlements, event, reputation, tokens};

pub use notes::{Note, Notes};

/// Why somebody who proved who they are gets nothing. It tells nothing of how well credentials are guessed.
const DENIED: &str = "denied_by_policy";

/// Uses within so many seconds are noted once (OA-299).
const NOTE_SECONDS: i64 = 60;

/// How a machine proves itself, chosen once (OA-280).
pub enum Variant<'a> {
    /// V2 and V4: a user name and an app password.
    AppPassword {
        /// Matched exactly.
        username: String,
        /// The app password.
        password: String,
    },
    /// V3: the client's secret, for the account that stands for it.
    ClientSecret,
    /// Something that cannot hold: V1 until it is offered, V4 that cannot be read.
    Nothing {
        /// Why, for the event.
        reason: &'a str,
    },
}

/// What a machine wants.
pub struct Wish<'a> {
    /// Granted scopes, sorted.
    pub scopes: &'a [String],
    /// `client_credentials` or `password`, as sent.
    pub grant_type: &'a str,
    /// `code_verifier`, which only policies see.
    pub code_verifier: Option<&'a str>,
}

/// Somebody who proved who they are and may use the application.
pub struct Proven {
    /// The user.
    pub person: Person,
    /// Names of the entitlements for the application that they hold.
    pub entitlements: Vec<String>,
    /// The app password, unless it was the client's secret.
    pub app_password: Option<Token>,
    /// Whether failures may be counted that a success forgets.
    failed_before: bool,
    judged: Judged,
}

/// Chooses the variant (OA-281 … OA-287).
///
/// # Errors
/// When the stored secret cannot be opened.
pub fn variant(
    ctx: &Context,
    client: &Client,
    assertion_type: &str,
    username: &str,
    password: &str,
    secret: &str,
) -> Result<Variant<'static>, Error> {
    if !assertion_type.is_empty() {
        return Ok(Variant::Nothing { reason: "assertion" });
    }
    if !username.is_empty() {
        return Ok(Variant::AppPassword { username: username.to_owned(), password: password.to_owned() });
    }
    if client.has_secret(ctx, secret)? {
        return Ok(Variant::ClientSecret);
    }
    if is_compact_jws(secret) {
        return Ok(Variant::Nothing { reason: "assertion" });
    }
    Ok(match packed(secret) {
        Some((username, password)) => Variant::AppPassword { username, password },
        None => Variant::Nothing { reason: "client_secret" },
    })
}

/// V1b: three base64url parts, of which the first is an object with `alg` (OA-284).
fn is_compact_jws(secret: &str) -> bool {
    let parts: Vec<_> = secret.split('.').collect();
    let [header, _, _] = parts.as_slice() else { return false };
    let Ok(header) = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header) else { return false };
    serde_json::from_slice::<Value>(&header).is_ok_and(|header| header.get("alg").is_some())
}

/// V4: base64 of user name, colon and app password (OA-305, OA-306).
fn packed(secret: &str) -> Option<(String, String)> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let squeezed: Vec<u8> = secret.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let text = String::from_utf8(LENIENT.decode(squeezed).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    (!username.is_empty() && !password.is_empty()).then(|| (username.to_owned(), password.to_owned()))
}

/// Checks everything about a machine (OA-288, OA-296, OA-298, OA-400 … OA-404). A failure is counted and
/// recorded here, a success by [`note_success`] or [`note`]. Without `terms`, those of the store are read.
///
/// # Errors
/// [`OAuthError::InvalidGrant`] whatever the reason, [`OAuthError::Throttled`].
pub async fn prove(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    terms: Option<&Terms>,
    variant: &Variant<'_>,
    wish: &Wish<'_>,
) -> Result<Proven, OAuthError> {
    let attempt = attempt(visitor, client, variant);
    let turn = examine(ctx, &attempt).await?;
    match check(ctx, visitor, client, terms, variant, wish).await? {
        Ok(proven) => Ok(Proven { failed_before: turn.failed_before, ..proven }),
        Err(reason) => {
            note_failure(ctx, visitor, client, &attempt, reason).await?;
            Err(OAuthError::InvalidGrant)
        }
    }
}

/// Checks a machine that was proven once more, in the transaction that issues something to it: meanwhile its
/// user may have been deactivated, its app password deleted or its access taken away (OA-296, CO-037). Policies are
/// not asked again: everybody who writes would wait for them.
///
/// # Errors
/// [`OAuthError::InvalidGrant`]; then nothing is to be issued.
pub async fn confirm(
    ctx: &Context,
    change: &mut Change<'_>,
    client: &Client,
    variant: &Variant<'_>,
    proven: Proven,
) -> Result<Proven, OAuthError> {
    let conn = change.conn();
    let known = identified(ctx, conn, client, variant).await?.map_err(|_| OAuthError::InvalidGrant)?;
    let application = client.application.as_ref().ok_or(OAuthError::InvalidGrant)?;
    if !access::confirm(conn, &known.person, application, &proven.judged).await?.passing {
        return Err(OAuthError::InvalidGrant);
    }
    let entitlements = entitlements::names(conn, &known.person, application.uuid).await?;
    Ok(Proven { person: known.person, app_password: known.app_password, entitlements, ..proven })
}

fn attempt<'a>(visitor: &Visitor, client: &'a Client, variant: &'a Variant<'_>) -> Attempt<'a> {
    let username = match variant {
        Variant::AppPassword { username, .. } => username.as_str(),
        Variant::ClientSecret | Variant::Nothing { .. } => "",
    };
    Attempt { address: visitor.client, client: &client.provider.client_id, username }
}

/// The outcome, or the reason that only the event tells.
async fn check(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    terms: Option<&Terms>,
    variant: &Variant<'_>,
    wish: &Wish<'_>,
) -> Result<Result<Proven, &'static str>, Error> {
    let mut conn = ctx.db.read().await?;
    let known = match identified(ctx, &mut conn, client, variant).await? {
        Ok(known) => known,
        Err(reason) => return Ok(Err(reason)),
    };
    let Some(application) = client.application.as_ref() else { return Ok(Err("no_application")) };
    let entries = json!({"oauth_scopes": wish.scopes, "oauth_grant_type": wish.grant_type,
        "oauth_code_verifier": wish.code_verifier});
    let entitlements = entitlements::names(&mut conn, &known.person, application.uuid).await?;
    let asked = context(entries).from(visitor);
    let judged = match terms {
        Some(terms) => {
            drop(conn);
            access::judge_by(ctx, terms, &known.person, application, &asked).await?
        }
        None => access::judge_after(ctx, conn, &known.person, application, &asked).await?,
    };
    if !judged.decision.passing {
        return Ok(Err(DENIED));
    }
    Ok(Ok(Proven { person: known.person, app_password: known.app_password, entitlements, failed_before: true, judged }))
}

/// Somebody who proved who they are.
struct Known {
    person: Person,
    app_password: Option<Token>,
}

/// Who it is, or the reason that only the event tells.
async fn identified(
    ctx: &Context,
    conn: &mut Conn,
    client: &Client,
    variant: &Variant<'_>,
) -> Result<Result<Known, &'static str>, Error> {
    let (person, app_password) = match variant {
        Variant::AppPassword { username, password } => match owner(ctx, conn, username, password).await? {
            Ok((account, token)) => (directory::person_of(ctx, conn, account).await?, Some(token)),
            Err(reason) => return Ok(Err(reason)),
        },
        Variant::ClientSecret => (generated::person(ctx, conn, client).await?, None),
        Variant::Nothing { reason } => {
            return Ok(Err(if *reason == "assertion" { "assertion_refused" } else { "wrong_secret" }));
        }
    };
    if !person.account.is_active {
        return Ok(Err("user_inactive"));
    }
    Ok(Ok(Known { person, app_password }))
}

/// The user and app password that belong together. The work is the same for everybody (OA-298).
async fn owner(
    ctx: &Context,
    conn: &mut Conn,
    username: &str,
    password: &str,
) -> Result<Result<(Account, Token), &'static str>, Error> {
    let digest = tokens::digest(ctx, password);
    let (found, token) = token::of_username(conn, username, &digest).await?;
    // Exactly this name (OA-295), and never an outpost's own account (OA-289).
    let found = found.filter(|account| {
        account.username == username && account.kind != "internal_service_account" && username != TOKEN_USER
    });
    let token = token.filter(|token| token.holds(ctx.now()) && !password.is_empty());
    Ok(match (found, token) {
        (Some(account), Some(_)) if !account.is_active => Err("user_inactive"),
        (Some(account), Some(token)) => Ok((account, token)),
        (Some(_), None) => Err("wrong_app_password"),
        (None, _) => Err("unknown_user"),
    })
}

async fn note_failure(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    attempt: &Attempt<'_>,
    reason: &str,
) -> Result<(), Error> {
    let username: String = attempt.username.chars().take(150).collect();
    let context = json!({"stage": "token_endpoint", "username": username,
        "client_id": client.provider.client_id, "reason": reason});
    let mut tx = ctx.db.write().await?;
    limits::failed(ctx, &mut tx, attempt).await?;
    if reason != DENIED {
        let identifier = if username.is_empty() { &client.provider.client_id } else { &username };
        reputation::note(ctx, &mut tx, visitor.client, identifier, reputation::Attempt::Failed).await?;
    }
    let recorded = event::record(ctx, &mut tx, &visitor.stranger(&username), "login_failed", context).await?;
    tx.commit().await?;
    event::log(&recorded);
    Ok(())
}

/// Records a success as part of the change that issues something (OA-299, OA-310 … OA-314). Makes the
/// client's own account at its first use, so the person may come back with a key.
///
/// # Errors
/// When the store fails.
pub async fn note_success(
    ctx: &Context,
    change: &mut Change<'_>,
    visitor: &Visitor,
    client: &Client,
    application: &Application,
    proven: &mut Proven,
) -> Result<(), OAuthError> {
    let keeping = event::Keeping::of(change.conn(), &visitor.request.host).await?;
    let Some(note) = note(ctx, &keeping, visitor, client, application, proven) else {
        generated::keep(ctx, change, client, application, &mut proven.person).await?;
        let context = json!({"auth_method": "oauth_client_secret", "application": named(application)});
        return Ok(change.event_by(&visitor.known(&proven.person), "login", context).await?);
    };
    notes::write_in(change.conn(), &note).await?;
    change.add(note.event).await?;
    Ok(())
}

/// What is to be written about a success with an app password (OA-299, OA-314); none for the client's secret.
pub(crate) fn note(
    ctx: &Context,
    keeping: &event::Keeping,
    visitor: &Visitor,
    client: &Client,
    application: &Application,
    proven: &Proven,
) -> Option<Note> {
    let (now, account) = (ctx.now(), &proven.person.account);
    let password = proven.app_password.as_ref()?;
    let attempt = Attempt { address: visitor.client, client: &client.provider.client_id, username: &account.username };
    let not_since = now.plus_seconds(-NOTE_SECONDS);
    let is_noted = password.last_used.is_some_and(|last| last > not_since);
    let from = visitor.client.to_string();
    let context = json!({"auth_method": "token", "auth_method_args": {"identifier": password.identifier},
        "application": named(application)});
    Some(Note {
        event: event::of(ctx, keeping, &visitor.known(&proven.person), &account.email, event::APP, "login", context),
        forgotten: proven.failed_before.then(|| limits::forgotten(ctx, &attempt)),
        used: (!is_noted).then_some(notes::Use { uuid: password.uuid, at: now, from, not_since }),
    })
}

fn named(application: &Application) -> Value {
    event::model("authentik_core", "application", application.uuid, &application.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-305, OA-306: white space and missing padding are forgiven, foreign characters and a missing half are
    /// not, and the password may contain colons.
    #[test]
    fn oa_305_packed_credentials() {
        let yes = Some(("svc".to_owned(), "a:b".to_owned()));
        assert_eq!(packed("c3ZjOmE6Yg=="), yes);
        assert_eq!(packed("c3ZjOm\nE6Yg"), yes);
        for bad in ["", "c3Zj", "c3ZjOg==", "OnB3", "c3ZjOmE6Yg==x-", "c3Zj-mE6Yg", "/////w=="] {
            assert_eq!(packed(bad), None, "{bad}");
        }
    }

    /// OA-284: a compact JWS is recognised by its header, so that a packed secret is not mistaken for one.
    #[test]
    fn oa_284_a_bare_jwt_is_recognised() {
        assert!(is_compact_jws("eyJhbGciOiJSUzI1NiJ9.e30.c2ln"));
        assert!(!is_compact_jws("c3ZjOmE6Yg.e30.c2ln"));
        assert!(!is_compact_jws("eyJhbGciOiJSUzI1NiJ9.e30"));
    }
}
