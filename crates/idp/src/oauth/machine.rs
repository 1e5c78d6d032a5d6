//! Machines that prove themselves without a browser (OA section 11).

mod acting;
pub(in crate::oauth) mod assertion;
mod brought;
mod federated;
mod generated;
mod notes;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use portcullis_core::auth_via::AuthVia;
use portcullis_core::credentials::TOKEN_USER;
use portcullis_store::Conn;
use portcullis_store::account::Account;
use portcullis_store::application::Application;
use portcullis_store::failure::Tried;
use portcullis_store::token::{self, OfUsername, Token};
use serde_json::{Value, json};

use super::client::signed::{self, JWT_BEARER, OwnAssertion};
use super::client::{Client, Proof, Served, Signed};
use super::code::context;
use super::issue::Ground;
use super::{OAuthError, examine};
use crate::access::{self, AccessContext, Judged};
use crate::change::Change;
use crate::context::{Context, Visitor};
use crate::directory::{self, Person};
use crate::error::Error;
use crate::event::failing::record_failing;
use crate::limits::{self, Attempt};
use crate::providers::secrets;
use crate::{entitlements, event, reputation, tokens};

pub use notes::{Note, Notes};

/// Why somebody who proved who they are gets nothing. It tells nothing of how well credentials are guessed.
const DENIED: &str = "denied_by_policy";

pub use assertion::Verified;
pub use brought::{Brought, Exchange, Kind};
pub(crate) use federated::account_has_ended;
pub(super) use federated::{account_end, sweep};

/// `auth_method` of an exchanged token.
const EXCHANGED: &str = "token_exchange";

/// Uses within so many seconds are noted once (OA-299).
const NOTE_SECONDS: i64 = 60;

/// How a machine proves itself, chosen once (OA-280).
pub enum Variant {
    /// V2 and V4: a user name and an app password.
    AppPassword {
        /// Matched exactly.
        username: String,
        /// The app password.
        password: String,
    },
    /// V3: the client's secret, or its signature (OA-710), for the account that stands for it.
    Client(Proof),
    /// V3: what a client with keys says of itself, not looked at yet. [`prove`] makes a [`Variant::Client`] of it.
    Own(OwnAssertion),
    /// V1: an assertion that was not looked at yet.
    Assertion(String),
    /// Tokens of a token exchange that were not looked at yet (OA-736).
    Exchange(Box<Exchange>),
    /// V1: an assertion that holds. [`prove`] makes it of the other one.
    Verified(Box<Verified>),
    /// Something that cannot hold.
    Nothing {
        /// Why, for the event.
        reason: &'static str,
    },
}

impl Variant {
    /// Its name in events of failures (OA-661).
    const fn name(&self) -> &'static str {
        match self {
            Self::AppPassword { .. } => "token",
            Self::Client(Proof::Secret(_)) => "oauth_client_secret",
            Self::Own(_) | Self::Client(Proof::Signed(_)) => "private_key_jwt",
            Self::Exchange(_) => EXCHANGED,
            Self::Assertion(_) | Self::Verified(_) => "jwt",
            Self::Nothing { .. } => "unknown",
        }
    }

    /// What somebody has proven themselves by who has done so in this way (OA-669).
    const fn via(&self) -> AuthVia {
        match self {
            Self::AppPassword { .. } => AuthVia::ApiToken,
            Self::Client(Proof::Secret(_)) => AuthVia::ClientSecret,
            Self::Client(Proof::Signed(_)) | Self::Verified(_) => AuthVia::Jwt,
            Self::Own(_) | Self::Assertion(_) | Self::Exchange(_) | Self::Nothing { .. } => AuthVia::Unauthenticated,
        }
    }
}

/// What a machine shows.
pub struct Shown<'a> {
    /// `client_assertion_type`.
    pub assertion_type: &'a str,
    /// `client_assertion`, if it was sent, even empty.
    pub assertion: Option<&'a str>,
    /// `username`.
    pub username: &'a str,
    /// `password`.
    pub password: &'a str,
    /// The client secret, from header or body.
    pub secret: &'a str,
    /// `client_secret` in the body.
    pub secret_in_body: &'a str,
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
    /// Who acts for them, with an account here (OA-738).
    pub actor: Option<Person>,
    /// Whether failures may be counted that a success forgets.
    failed_before: bool,
    judged: Judged,
}

/// Chooses the variant (OA-281 … OA-287, OA-320).
///
/// # Errors
/// When the stored secret cannot be opened.
pub fn variant(ctx: &Context, client: &Client, shown: &Shown<'_>) -> Result<Variant, Error> {
    if !shown.assertion_type.is_empty() {
        if shown.assertion_type != JWT_BEARER {
            return Ok(Variant::Nothing { reason: "assertion_type" });
        }
        return Ok(Variant::Assertion(shown.assertion.unwrap_or(shown.secret_in_body).to_owned()));
    }
    if !shown.username.is_empty() {
        let (username, password) = (shown.username.to_owned(), shown.password.to_owned());
        return Ok(Variant::AppPassword { username, password });
    }
    if let Some(which) = client.secret(ctx, shown.secret)? {
        return Ok(Variant::Client(Proof::Secret(which)));
    }
    if is_compact_jws(shown.secret) {
        return Ok(Variant::Assertion(shown.secret.to_owned()));
    }
    Ok(match packed(shown.secret) {
        Some((username, password)) => Variant::AppPassword { username, password },
        None => Variant::Nothing { reason: "wrong_secret" },
    })
}

/// What a token rests on that a machine gets.
pub fn ground<'a>(variant: &'a Variant, proven: &'a Proven) -> Ground<'a> {
    let app_password = proven.app_password.as_ref();
    match variant {
        Variant::Verified(verified) => Ground { actor: verified.actor_of(proven.actor.as_ref()), ..verified.ground() },
        Variant::AppPassword { .. }
        | Variant::Own(_)
        | Variant::Client(_)
        | Variant::Assertion(_)
        | Variant::Exchange(_)
        | Variant::Nothing { .. } => Ground { app_password, ..Ground::default() },
    }
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
/// recorded here, a success by [`note_success`] or [`note`]. Without `served`, what decides is read from the store.
///
/// # Errors
/// [`OAuthError::InvalidGrant`] whatever the reason, [`OAuthError::Throttled`].
pub async fn prove(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    served: Option<&Served>,
    variant: &mut Variant,
    wish: &Wish<'_>,
) -> Result<Proven, OAuthError> {
    let name = variant.name();
    // A client that exchanges has proven itself: what it brings says nothing of how well its credentials are guessed.
    let is_guess = !matches!(variant, Variant::Exchange(_));
    if let Some(asked) = &visitor.request.asked {
        asked.proof.tries(name);
    }
    let username = match variant {
        Variant::AppPassword { username, .. } => username.clone(),
        _ => String::new(),
    };
    let attempt = Attempt { address: visitor.client, client: &client.provider.client_id, username: &username };
    let (turn, found) = match variant {
        Variant::AppPassword { password, .. } => {
            let (turn, found) = limits::admit_owner(ctx, &attempt, &tokens::digest(ctx, password)).await?;
            (turn, Some(found))
        }
        _ => (examine(ctx, &attempt).await?, None),
    };
    let mut refused = None;
    if let Variant::Assertion(jwt) = variant {
        match assertion::verify(ctx, visitor, client, jwt, Kind::Any).await?.and_then(Verified::alone) {
            Ok(verified) => *variant = Variant::Verified(Box::new(verified)),
            Err(reason) => refused = Some(reason),
        }
    }
    if let Variant::Exchange(exchange) = variant {
        match exchange.verify(ctx, visitor, client).await? {
            Ok(verified) => *variant = Variant::Verified(Box::new(verified)),
            Err(reason) => refused = Some(reason),
        }
    }
    if let Variant::Own(assertion) = variant {
        match assertion.verify(ctx, client).await? {
            Ok(signed) => *variant = Variant::Client(Proof::Signed(signed)),
            Err(reason) => refused = Some(reason),
        }
    }
    let outcome = match refused {
        Some(reason) => Err(reason),
        None => check(ctx, visitor, client, served, variant, found, wish).await?,
    };
    match outcome {
        Ok(proven) => {
            visitor.request.succeeded(variant.via());
            Ok(Proven { failed_before: turn.failed_before, ..proven })
        }
        Err(reason) => {
            let counted = is_guess.then_some(&attempt);
            note_failure(ctx, visitor, client, &username, counted, name, reason).await?;
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
    visitor: &Visitor,
    client: &Client,
    variant: &Variant,
    scopes: &[String],
    proven: Proven,
) -> Result<Proven, OAuthError> {
    let conn = change.conn();
    let application = client.application.as_ref().ok_or(OAuthError::InvalidGrant)?;
    let known = identified(ctx, conn, visitor, client, variant, None, scopes).await?;
    let known = known.map_err(|_| OAuthError::InvalidGrant)?;
    if let Variant::Verified(verified) = variant
        && !verified.spend(ctx, conn).await?
    {
        return Err(OAuthError::InvalidGrant);
    }
    if !access::confirm(conn, &known.person, application, &proven.judged).await?.passing {
        return Err(OAuthError::InvalidGrant);
    }
    let entitlements = entitlements::names(conn, &known.person, application.uuid).await?;
    Ok(Proven { person: known.person, app_password: known.app_password, actor: known.actor, entitlements, ..proven })
}

/// The outcome, or the reason that only the event tells.
async fn check(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    served: Option<&Served>,
    variant: &Variant,
    found: Option<OfUsername>,
    wish: &Wish<'_>,
) -> Result<Result<Proven, &'static str>, Error> {
    let Some(application) = client.application.as_ref() else { return Ok(Err("no_application")) };
    let mut conn = ctx.db.read().await?;
    let known = match identified(ctx, &mut conn, visitor, client, variant, found, wish.scopes).await? {
        Ok(known) => known,
        Err(reason) => return Ok(Err(reason)),
    };
    let asked = match served {
        // Nobody asks what the request is about.
        Some(served) if !served.terms.name_policies() => AccessContext::default(),
        _ => told(visitor, variant, wish),
    };
    let (entitlements, judged) = match served {
        Some(Served { terms, offered, .. }) => {
            drop(conn);
            let judged = access::judge_by(ctx, terms, &known.person, application, &asked).await?;
            (offered.names(&known.person), judged)
        }
        None => {
            let entitlements = entitlements::names(&mut conn, &known.person, application.uuid).await?;
            (entitlements, access::judge_after(ctx, conn, &known.person, application, &asked).await?)
        }
    };
    if !judged.decision.passing {
        return Ok(Err(DENIED));
    }
    let Known { person, app_password, actor } = known;
    Ok(Ok(Proven { person, app_password, actor, entitlements, failed_before: true, judged }))
}

/// What policies are told of the request.
fn told(visitor: &Visitor, variant: &Variant, wish: &Wish<'_>) -> AccessContext {
    let mut entries = json!({"oauth_scopes": wish.scopes, "oauth_grant_type": wish.grant_type,
        "oauth_code_verifier": wish.code_verifier});
    if let Variant::Verified(verified) = variant {
        event::add(&mut entries, "oauth_jwt", Value::Object(verified.claims().clone()));
    }
    context(entries).from(visitor)
}

/// Somebody who proved who they are.
struct Known {
    person: Person,
    app_password: Option<Token>,
    actor: Option<Person>,
}

/// Who it is, or the reason that only the event tells. `found` is what the store says of an app password, if it was asked.
async fn identified(
    ctx: &Context,
    conn: &mut Conn,
    visitor: &Visitor,
    client: &Client,
    variant: &Variant,
    found: Option<OfUsername>,
    scopes: &[String],
) -> Result<Result<Known, &'static str>, Error> {
    let Some(application) = client.application.as_ref() else { return Ok(Err("no_application")) };
    let mut actor = None;
    let (person, app_password) = match variant {
        Variant::AppPassword { username, password } => match owner(ctx, conn, username, password, found).await? {
            Ok((_, token, _)) if !tokens::opens(&token, application.uuid) => return Ok(Err("application_not_allowed")),
            Ok((_, token, _)) if !tokens::is_taken_from(&token, visitor.client) => {
                return Ok(Err("network_not_allowed"));
            }
            Ok((_, token, _)) if !tokens::covers(&token, scopes) => return Ok(Err("scope_not_allowed")),
            Ok((account, token, latest)) => (directory::person_as_of(ctx, conn, account, latest).await?, Some(token)),
            Err(reason) => return Ok(Err(reason)),
        },
        Variant::Client(_) => (generated::person(ctx, conn, client).await?, None),
        Variant::Verified(verified) => {
            match verified.actor(ctx, conn, visitor, client).await? {
                Ok(found) => actor = found,
                Err(reason) => return Ok(Err(reason)),
            }
            match verified.person(ctx, conn, visitor, client, scopes).await? {
                Ok(person) => (person, None),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Variant::Own(_) | Variant::Assertion(_) | Variant::Exchange(_) => return Ok(Err("assertion_refused")),
        Variant::Nothing { reason } => return Ok(Err(reason)),
    };
    if !person.account.is_active {
        return Ok(Err("user_inactive"));
    }
    if app_password.is_some() && account_has_ended(&person, ctx.now()) {
        return Ok(Err("account_expired"));
    }
    Ok(Ok(Known { person, app_password, actor }))
}

/// The user and app password that belong together, and the latest revocation when they were read. The work is the same for
/// everybody (OA-298).
async fn owner(
    ctx: &Context,
    conn: &mut Conn,
    username: &str,
    password: &str,
    found: Option<OfUsername>,
) -> Result<Result<(Account, Token, i64), &'static str>, Error> {
    let digest = tokens::digest(ctx, password);
    let OfUsername { account: found, token, latest, .. } = match found {
        Some(found) => found,
        None => token::of_username(conn, username, &digest, Tried::NOTHING).await?,
    };
    // Exactly this name (OA-295), and never an outpost's own account (OA-289).
    let found = found.filter(|account| {
        account.username == username && account.kind != "internal_service_account" && username != TOKEN_USER
    });
    let token = token.and_then(|token| token.shown(&digest, ctx.now())).filter(|_| !password.is_empty());
    Ok(match (found, token) {
        (Some(account), Some(_)) if !account.is_active => Err("user_inactive"),
        (Some(account), Some(token)) => Ok((account, token, latest)),
        (Some(_), None) => Err("wrong_app_password"),
        (None, _) => Err("unknown_user"),
    })
}

/// Records a failure, and counts it if it was an attempt to prove somebody (OA-661, OA-682).
async fn note_failure(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    username: &str,
    counted: Option<&Attempt<'_>>,
    variant: &str,
    reason: &str,
) -> Result<(), Error> {
    let username: String = username.chars().take(150).collect();
    let context = json!({"stage": "token_endpoint", "username": username,
        "client_id": client.provider.client_id, "variant": variant, "reason": reason});
    let mut tx = ctx.db.write().await?;
    if let Some(attempt) = counted {
        limits::failed(ctx, &mut tx, attempt).await?;
    }
    if counted.is_some() && reason != DENIED {
        let identifier = if username.is_empty() { &client.provider.client_id } else { &username };
        reputation::note(ctx, &mut tx, visitor.client, identifier, reputation::Attempt::Failed).await?;
    }
    let stranger = visitor.stranger(&username);
    let failed = record_failing(ctx, &mut tx, &stranger, "login_failed", context).await?;
    let mut recorded: Vec<_> = failed.into_iter().collect();
    if [assertion::REPLAYED, signed::REPLAYED].contains(&reason) {
        let context = json!({"message": "Assertion was used again", "provider": client.provider.name});
        recorded.push(event::record(ctx, &mut tx, &stranger, "suspicious_request", context).await?);
    }
    tx.commit().await?;
    recorded.iter().for_each(event::log);
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
    variant: &Variant,
    proven: &mut Proven,
) -> Result<(), OAuthError> {
    let keeping = event::Keeping::of(change.conn(), &visitor.request.host).await?;
    let Some(note) = note(ctx, &keeping, visitor, client, application, proven) else {
        let context = match variant {
            Variant::Verified(verified) => {
                verified.keep(ctx, change, client, application, &mut proven.person).await?;
                let args = verified.named(proven.actor.as_ref());
                json!({"auth_method": verified.method(), "auth_method_args": args, "application": named(application)})
            }
            _ => {
                generated::keep(ctx, change, client, application, &mut proven.person).await?;
                let args = match variant {
                    Variant::Client(Proof::Secret(which)) => {
                        secrets::note(ctx, change.conn(), &client.provider, *which).await?;
                        json!({"matched": which.name()})
                    }
                    Variant::Client(Proof::Signed(Signed { kid, id })) => json!({"kid": kid, "jti": id}),
                    _ => json!({}),
                };
                json!({"auth_method": variant.name(), "auth_method_args": args, "application": named(application)})
            }
        };
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
    let mut method = json!({"identifier": password.identifier});
    if password.is_by_old_key() {
        // Somebody still shows the key that was replaced (OA-608).
        event::add(&mut method, "rotated", json!(true));
    }
    let context = json!({"auth_method": "token", "auth_method_args": method, "application": named(application)});
    Some(Note {
        event: event::of(ctx, keeping, &visitor.known(&proven.person), &account.email, event::APP, "login", context),
        forgotten: proven.failed_before.then(|| limits::forgotten(ctx, &attempt)),
        used: (!is_noted).then(|| notes::Use {
            uuid: password.uuid,
            digest: password.key_digest.clone(),
            at: now,
            from,
            not_since,
        }),
    })
}

fn named(application: &Application) -> Value {
    event::model("authentik_core", "application", application.uuid, &application.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-305, OA-306, OA-812: white space and missing padding are forgiven, foreign characters and a missing half are
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
