//! The device grant (OA section 12): something without a browser is let in by somebody who has one.

use portcullis_core::duration;
use portcullis_core::entropy::Entropy;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_store::Conn;
use portcullis_store::application::Application;
use portcullis_store::device_code::{self, Answer, DeviceCode};
use portcullis_store::login_session::LoginSession;
use serde::Serialize;
use serde_json::json;

use super::client::{self, Client, Credentials};
use super::code::context;
use super::issue::{self, Approval, Basis, Ground};
use super::params::Params;
use super::{OAuthError, consent};
use crate::access::{self, Judged};
use crate::brands;
use crate::change::Change;
use crate::claims::{self, Foretold};
use crate::context::{Context, Visitor};
use crate::directory::{self, Person};
use crate::error::Error;
use crate::limits::devices as limits;
use crate::{entitlements, event};

/// The grant's name on the wire.
pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// How long a device waits where the provider's text says no time (OA-042), in seconds.
const VALIDITY_SECONDS: i64 = 600;
/// Time between two of its questions, and what is added when it asks sooner (OA-375), in seconds.
const PAUSE_SECONDS: i64 = 5;
/// The time between two questions grows to this at most, in seconds.
const LONGEST_PAUSE_SECONDS: i64 = 600;
/// A code is remembered for so long after its end, so that the device learns why it is refused.
pub(super) const TOMBSTONE_SECONDS: i64 = 600;
/// What people type: no vowels, nothing that looks like something else (OA-377).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LETTERS: usize = 8;
/// Codes that are drawn until one is nobody else's.
const DRAWS: usize = 8;
/// Longer ones are not looked up.
const LONGEST: usize = 256;

/// What a device gets to begin with (OA-372).
#[derive(Serialize)]
pub struct Started {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    expires_in: i64,
    interval: i64,
}

fn digest(ctx: &Context, what: &[u8], code: &str) -> Digest {
    ctx.keys.digest(Purpose::GrantLookup, &[what, code.as_bytes()])
}

fn by_device(ctx: &Context, code: &str) -> Digest {
    digest(ctx, b"device", code)
}

fn by_user(ctx: &Context, code: &str) -> Digest {
    digest(ctx, b"user-code", code)
}

/// Eight letters, each as likely as every other.
fn draw(entropy: &dyn Entropy) -> String {
    let mut drawn = String::new();
    while drawn.len() < CODE_LETTERS {
        for byte in entropy.bytes::<16>() {
            // 240 is a multiple of twenty: what is above would favour some letters.
            if byte < 240
                && drawn.len() < CODE_LETTERS
                && let Some(letter) = LETTERS.get(usize::from(byte % 20))
            {
                drawn.push(char::from(*letter));
            }
        }
    }
    drawn
}

/// A typed code without case and separators; none when it cannot be one.
fn normal(typed: &str) -> Option<String> {
    let letters: String =
        typed.chars().filter(|letter| !letter.is_whitespace() && *letter != '-').take(CODE_LETTERS + 1).collect();
    let letters = letters.to_ascii_uppercase();
    (letters.len() == CODE_LETTERS && letters.bytes().all(|letter| LETTERS.contains(&letter))).then_some(letters)
}

/// As people read it.
fn shown(code: &str) -> String {
    let (first, last) = code.split_at_checked(CODE_LETTERS / 2).unwrap_or((code, ""));
    format!("{first}-{last}")
}

/// Answers a device that asks to be let in (OA-370 … OA-372).
///
/// # Errors
/// [`OAuthError::InvalidClient`], [`OAuthError::UnauthorizedClient`], [`OAuthError::Throttled`].
pub async fn start(
    ctx: &Context,
    visitor: &Visitor,
    authorization: Option<&[u8]>,
    params: &Params,
) -> Result<Started, OAuthError> {
    let credentials = Credentials::read(authorization, params)?;
    let client = client::identify(ctx, visitor, &credentials).await?;
    client::prove_device(ctx, visitor, &credentials, &client).await?;
    if client.application.is_none() {
        return Err(OAuthError::InvalidClient { by_header: credentials.by_header });
    }
    if !client.provider.may_use(GRANT) {
        return Err(OAuthError::UnauthorizedClient);
    }
    let scopes = claims::granted_scopes(params.text("scope"), &client.mappings);
    let validity = duration::seconds_or(&client.provider.device_code_validity, VALIDITY_SECONDS).max(1);
    let device = ctx.entropy.token();
    let mut tx = ctx.db.write().await?;
    match limits::start(ctx, &mut tx, visitor.client).await {
        Ok(()) => {}
        Err(Error::Throttled { retry_after_seconds }) => return Err(OAuthError::Throttled { retry_after_seconds }),
        Err(other) => return Err(other.into()),
    }
    for _ in 0..DRAWS {
        let user = draw(&*ctx.entropy);
        let code = DeviceCode {
            digest: by_device(ctx, &device).to_vec(),
            user_code: by_user(ctx, &user).to_vec(),
            provider: client.provider.pk,
            scope: scopes.join(" "),
            expires: ctx.now().plus_seconds(validity),
            pause_seconds: PAUSE_SECONDS,
            asked: None,
            account: None,
            denied: false,
            auth_method: None,
            second_factor: false,
            auth_time: None,
        };
        if device_code::insert(&mut tx, &code).await? {
            tx.commit().await?;
            let user_code = shown(&user);
            let verification_uri = format!("{}/device", ctx.base_url);
            return Ok(Started {
                device_code: device,
                verification_uri_complete: format!("{verification_uri}?code={user_code}"),
                verification_uri,
                user_code,
                expires_in: validity,
                interval: PAUSE_SECONDS,
            });
        }
    }
    Err(OAuthError::Unavailable(Error::Busy))
}

/// Whether devices are let in at this host: its brand names a flow for that (OA-373).
///
/// # Errors
/// When the store fails.
pub async fn is_offered(ctx: &Context, host: &str) -> Result<bool, Error> {
    let mut conn = ctx.db.read().await?;
    Ok(brands::of_host(&mut conn, host).await?.flows.device_code.is_some())
}

/// What somebody is asked who typed a code (OA-374).
#[derive(Debug)]
pub struct Question {
    /// The code, as it is read.
    pub user_code: String,
    /// Name of the application.
    pub application: String,
    /// What it will know and may do.
    pub permissions: Vec<consent::Permission>,
}

/// What becomes of a code that somebody typed.
#[derive(Debug)]
pub enum Outcome {
    /// There is no such code, or it has ended: which of them is not told.
    Unknown,
    /// It was not looked at: too many links had wrong ones. They may type it.
    Unread,
    /// They are asked.
    Ask(Question),
    /// The policies say no (OA-165).
    Denied {
        /// Name of the application.
        application: String,
        /// What the policies say.
        messages: Vec<String>,
        /// What each binding found, for whom that is (CO-140).
        trace: Vec<String>,
    },
    /// The device goes on, or it does not.
    Answered {
        /// Name of the application.
        application: String,
        /// Whether it was a yes.
        allowed: bool,
    },
}

/// Whoever typed a code: their session, and where they are.
pub struct Typing<'a> {
    /// The session.
    pub login: &'a LoginSession,
    /// Where from.
    pub visitor: &'a Visitor,
    /// What they typed.
    pub code: &'a str,
    /// Whether it came in a link, and nobody has typed it.
    pub in_link: bool,
}

/// Says what a code is about, and takes an `answer` if there is one: nobody is let in by following a link (OA-374).
///
/// # Errors
/// [`Error::Throttled`] after too many wrong codes, [`Error::Forbidden`] for whoever acts as somebody else, or when the store
/// fails.
pub async fn decide(ctx: &Context, typing: &Typing<'_>, answer: Option<bool>) -> Result<Outcome, Error> {
    let (login, visitor) = (typing.login, typing.visitor);
    if login.impersonator.is_some() {
        // What a device gets outlives the session (CO-388).
        return Err(Error::Forbidden);
    }
    let mut conn = ctx.db.read().await?;
    limits::admit(ctx, &mut conn, login.account, visitor.client).await?;
    if typing.in_link && !limits::follows_link(ctx, &mut conn, login.account).await? {
        return Ok(Outcome::Unread);
    }
    let found = match normal(typing.code) {
        Some(code) => device_code::by_user_code(&mut conn, &by_user(ctx, &code), ctx.now()).await?,
        None => None,
    };
    let Some(found) = found else {
        drop(conn);
        let mut tx = ctx.db.write().await?;
        match typing.in_link {
            true => limits::followed_wrong_link(ctx, &mut tx, login.account).await?,
            false => limits::failed(ctx, &mut tx, login.account, visitor.client).await?,
        }
        tx.commit().await?;
        return Ok(Outcome::Unknown);
    };
    let Some(client) = Client::by_pk(&mut conn, found.provider).await? else { return Ok(Outcome::Unknown) };
    let Some(application) = &client.application else { return Ok(Outcome::Unknown) };
    let Some(person) = directory::person(ctx, &mut conn, login.account).await? else { return Err(Error::Forbidden) };
    let scopes = claims::granted_scopes(&found.scope, &client.mappings);
    if answer != Some(false) {
        let judged = judged(ctx, conn, visitor, application, &person, &scopes).await?;
        if !judged.decision.passing {
            let trace = access::trace(ctx, &person, &judged).await?;
            let (application, messages) = (application.name.clone(), judged.decision.messages);
            return Ok(Outcome::Denied { application, messages, trace });
        }
    }
    let Some(allowed) = answer else {
        let (_, permissions) = consent::described(&client.mappings, &scopes, "");
        let user_code = normal(typing.code).as_deref().map(shown).unwrap_or_default();
        return Ok(Outcome::Ask(Question { user_code, application: application.name.clone(), permissions }));
    };
    settle(ctx, typing, &client, application, &person, &found, allowed).await
}

async fn settle(
    ctx: &Context,
    typing: &Typing<'_>,
    client: &Client,
    application: &Application,
    person: &Person,
    found: &DeviceCode,
    allowed: bool,
) -> Result<Outcome, Error> {
    let actor = typing.visitor.known(person);
    let mut change = Change::begin(ctx, &actor).await?;
    let answer = Answer {
        account: person.account.pk,
        denied: !allowed,
        auth_method: &typing.login.auth_method,
        second_factor: typing.login.second_factor.is_some(),
        auth_time: typing.login.auth_time,
    };
    if !device_code::answer(change.conn(), &found.digest, ctx.now(), &answer).await? {
        return Ok(Outcome::Unknown);
    }
    if allowed {
        let named = event::model("authentik_core", "application", application.uuid, &application.name);
        let flow = client.provider.authorization_flow.0.simple().to_string();
        let context =
            json!({"authorized_application": named, "flow": flow, "scopes": found.scope, "grant_type": GRANT});
        change.event("authorize_application", context).await?;
    }
    change.commit().await?;
    Ok(Outcome::Answered { application: application.name.clone(), allowed })
}

async fn judged(
    ctx: &Context,
    conn: Conn,
    visitor: &Visitor,
    application: &Application,
    person: &Person,
    scopes: &[String],
) -> Result<Judged, Error> {
    let entries = json!({"oauth_scopes": scopes, "oauth_grant_type": GRANT});
    access::judge_after(ctx, conn, person, application, &context(entries).from(visitor)).await
}

/// What was found out before a code is used up.
pub(crate) struct Foreseen {
    judged: Judged,
    /// What expressions of mappings said.
    pub(crate) foretold: Option<Foretold>,
}

/// What a device's code stands for.
pub(crate) struct Redeemed {
    /// The record.
    pub(crate) code: DeviceCode,
    /// The user.
    pub(crate) person: Person,
    /// Names of the entitlements for the application that they hold.
    pub(crate) entitlements: Vec<String>,
    /// Granted scopes, sorted.
    pub(crate) scopes: Vec<String>,
}

impl Redeemed {
    /// The login in which it was approved, which does not end it (OA-376).
    pub(crate) fn approval(&self) -> Option<Approval<'_>> {
        let method = self.code.auth_method.as_deref()?;
        Some(Approval::by_device(method, self.code.second_factor, self.code.auth_time?))
    }
}

/// Looks whether a device may go on, counts its question, and asks what takes its time (OA-375).
///
/// # Errors
/// [`OAuthError`]: what the device is to do.
pub(crate) async fn foresee(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    code: &str,
) -> Result<Foreseen, OAuthError> {
    let now = ctx.now();
    let mut conn = ctx.db.read().await?;
    let found = known(ctx, &mut conn, client, code).await?;
    if found.expires <= now {
        return Err(OAuthError::ExpiredToken);
    }
    let Some(account) = found.account else {
        drop(conn);
        return Err(wait(ctx, &found).await?);
    };
    if found.denied {
        return Err(OAuthError::AccessDenied);
    }
    let application = client.application.as_ref().ok_or(OAuthError::InvalidGrant)?;
    let person = directory::person(ctx, &mut conn, account).await?.ok_or(OAuthError::InvalidGrant)?;
    let scopes = claims::granted_scopes(&found.scope, &client.mappings);
    let takes_time = client.mappings.iter().any(|mapping| claims::is_foretold(mapping, &scopes));
    let entitlements = match takes_time {
        true => entitlements::names(&mut conn, &person, application.uuid).await?,
        false => Vec::new(),
    };
    let judged = judged(ctx, conn, visitor, application, &person, &scopes).await?;
    if !(takes_time && judged.decision.passing) {
        return Ok(Foreseen { judged, foretold: None });
    }
    let redeemed = Redeemed { code: found, person, entitlements, scopes };
    let basis = basis(client, application, &redeemed, visitor);
    Ok(Foreseen { judged, foretold: Some(issue::foretell(ctx, &basis).await) })
}

/// On what something is issued to a device.
pub(crate) fn basis<'a>(
    client: &'a Client,
    application: &'a Application,
    redeemed: &'a Redeemed,
    visitor: &'a Visitor,
) -> Basis<'a> {
    Basis {
        client,
        application,
        person: &redeemed.person,
        entitlements: &redeemed.entitlements,
        scopes: &redeemed.scopes,
        login: redeemed.approval(),
        nonce: None,
        ground: Ground::default(),
        visitor,
        foretold: None,
    }
}

async fn known(ctx: &Context, conn: &mut Conn, client: &Client, code: &str) -> Result<DeviceCode, OAuthError> {
    if code.len() > LONGEST {
        return Err(OAuthError::InvalidGrant);
    }
    let found = device_code::by_digest(conn, &by_device(ctx, code)).await?;
    found.filter(|found| found.provider == client.provider.pk).ok_or(OAuthError::InvalidGrant)
}

/// Nobody has answered yet: a device that asks too often waits longer from now on.
async fn wait(ctx: &Context, found: &DeviceCode) -> Result<OAuthError, Error> {
    let now = ctx.now();
    let hurries = found.asked.is_some_and(|asked| now < asked.plus_seconds(found.pause_seconds));
    if hurries && found.pause_seconds >= LONGEST_PAUSE_SECONDS {
        // It does not listen: nothing more is written for it.
        return Ok(OAuthError::SlowDown);
    }
    let pause = if hurries { found.pause_seconds.saturating_add(PAUSE_SECONDS) } else { found.pause_seconds };
    let mut tx = ctx.db.write().await?;
    device_code::asked(&mut tx, &found.digest, now, pause.min(LONGEST_PAUSE_SECONDS)).await?;
    tx.commit().await?;
    Ok(if hurries { OAuthError::SlowDown } else { OAuthError::AuthorizationPending })
}

/// Uses a code up and says what it stands for (OA-376).
///
/// # Errors
/// [`OAuthError::InvalidGrant`] for everything that is wrong with it by now.
pub(crate) async fn redeem(
    ctx: &Context,
    change: &mut Change<'_>,
    client: &Client,
    code: &str,
    foreseen: &Foreseen,
) -> Result<Redeemed, OAuthError> {
    let conn = change.conn();
    let found = known(ctx, conn, client, code).await?;
    let account = found.account.filter(|_| !found.denied && found.expires > ctx.now());
    let account = account.ok_or(OAuthError::InvalidGrant)?;
    if !device_code::take(conn, &found.digest).await? {
        return Err(OAuthError::InvalidGrant);
    }
    let person = directory::person_unchanged(ctx, conn, account).await?.filter(|person| person.account.is_active);
    let person = person.ok_or(OAuthError::InvalidGrant)?;
    let application = client.application.as_ref().ok_or(OAuthError::InvalidGrant)?;
    if !access::confirm(conn, &person, application, &foreseen.judged).await?.passing {
        return Err(OAuthError::InvalidGrant);
    }
    let entitlements = entitlements::names(conn, &person, application.uuid).await?;
    let scopes = claims::granted_scopes(&found.scope, &client.mappings);
    Ok(Redeemed { code: found, person, entitlements, scopes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::entropy::SystemEntropy;

    /// OA-377: codes that people type are eight of twenty letters, and are read whatever their case and separators.
    #[test]
    fn oa_377_typed_codes_are_read_leniently() {
        for _ in 0..1000 {
            let code = draw(&SystemEntropy);
            assert!(code.len() == 8 && code.bytes().all(|letter| LETTERS.contains(&letter)), "{code}");
            let read = shown(&code);
            assert_eq!((read.len(), read.find('-')), (9, Some(4)));
            for typed in [read.clone(), read.to_lowercase(), format!(" {} ", read.replace('-', " ")), code.clone()] {
                assert_eq!(normal(&typed).as_ref(), Some(&code), "{typed}");
            }
        }
        for bad in ["", "BCDF", "BCDF-GHJA", "BCDF-GHJKL", "BCDF-GHJ1", "ßßßßßßßß"] {
            assert_eq!(normal(bad), None, "{bad}");
        }
    }
}
