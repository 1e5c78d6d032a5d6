//! Signing in with a passkey alone (CO-316, CO-837): the key and its owner's PIN, finger or face in one.
//!
//! Nothing is kept for who looks at the sign-in page. The challenge is in a sealed cookie of that browser; one that was
//! answered rightly is marked as used, so that the answer counts once.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::clock::Timestamp;
use portcullis_core::webauthn::UserVerification;
use portcullis_store::account::{self, Account};
use portcullis_store::authenticator;
use portcullis_store::webauthn::{self as credentials, Credential};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::run::Step;
use super::{Desk, first_factor};
use crate::authenticators::WEBAUTHN;
use crate::error::Error;
use crate::limits::{self, Attempt, Cost};
use crate::passkeys::{self, Answer, Wrong};
use crate::sessions::may_sign_in;
use crate::{event, flows, reputation};

const COOKIE: &str = "cookie:passkey";
/// The name under which failures are counted.
const CLIENT: &str = "passkey";
/// How long a challenge can be answered: as long as a browser may take for a step.
const SECONDS: i64 = 3600;

/// What the cookie says.
#[derive(Serialize, Deserialize)]
struct Asked {
    challenge: String,
    at: i64,
}

/// How somebody has proved who they are who did so with a passkey.
pub(super) const METHOD: &str = "auth_webauthn_pwl";

/// What a browser is asked for at the beginning, if passkeys are of use there. The challenge is fresh every time.
pub(super) fn ask(desk: &mut Desk<'_>) -> Option<Value> {
    if !is_offered(desk) {
        return None;
    }
    let rp = passkeys::relying_party(desk.ctx)?;
    let challenge = passkeys::draw_challenge(desk.ctx);
    let plain = serde_json::to_vec(&Asked { challenge: challenge.clone(), at: desk.ctx.now().0 }).ok()?;
    desk.cookies.passkey = Some(URL_SAFE_NO_PAD.encode(desk.ctx.keys.seal(COOKIE, &plain, &*desk.ctx.entropy)));
    Some(passkeys::request_options(&rp, &challenge, &[], "required"))
}

/// Whether the step can be answered with a passkey.
pub(super) fn is_offered(desk: &Desk<'_>) -> bool {
    let allowed = desk.stages.validation.device_classes.iter().any(|class| class == WEBAUTHN);
    let early = matches!(desk.run.step, Step::Identification | Step::Password);
    allowed && early && desk.flow.slug == flows::AUTHENTICATION
}

fn asked(desk: &Desk<'_>) -> Option<String> {
    let sealed = URL_SAFE_NO_PAD.decode(desk.visit.passkey?).ok()?;
    let asked: Asked = serde_json::from_slice(&desk.ctx.keys.open(COOKIE, &sealed).ok()?).ok()?;
    (desk.ctx.now() < Timestamp(asked.at).plus_seconds(SECONDS)).then_some(asked.challenge)
}

/// Takes the answer to [`ask`].
pub(super) async fn sign_in(desk: &mut Desk<'_>, given: &Value) -> Result<(), Error> {
    let ctx = desk.ctx;
    let read = Answer::read(given).and_then(|answer| Ok((answer.credential_id()?, answer)));
    let named = read.as_ref().map(|(id, _)| id.as_str()).unwrap_or_default();
    let attempt = Attempt { address: desk.visit.visitor.client, client: CLIENT, username: named };
    let _turn = first_factor::admit(desk, &attempt, Cost::Lookup, "identification").await?;
    let (id, answer) = match read {
        Ok(read) => read,
        Err(wrong) => return fail(desk, "", None, wrong).await,
    };
    let found = find(desk, &id).await?;
    let Some((credential, account)) = found else { return fail(desk, &id, None, Wrong::Unknown).await };
    let kept = asked(desk);
    let examined = match answer.is_of(&account) {
        Some(true) => {
            let rp = passkeys::relying_party(ctx);
            answer.examine(rp.as_ref(), kept.as_deref(), &credential, UserVerification::Required)
        }
        // A key that says nothing of its owner is a second factor, and no passkey.
        _ => Err(Wrong::Unknown),
    };
    let count = match examined {
        Ok(count) => count,
        Err(wrong) => return fail(desk, &id, Some(&account), wrong).await,
    };
    let spent = [&b"passkey"[..], kept.as_deref().unwrap_or_default().as_bytes()];
    let Some(mut tx) = limits::first_of(ctx, &spent, SECONDS).await? else {
        return fail(desk, &id, Some(&account), Wrong::NotAsked).await;
    };
    let counted = passkeys::use_up(ctx, &mut tx, credential.authenticator, count).await?;
    tx.commit().await?;
    if let Err(wrong) = counted {
        return fail(desk, &id, Some(&account), wrong).await;
    }
    account.username.clone_into(&mut desk.run.identifier);
    desk.run.is_about(&account);
    METHOD.clone_into(&mut desk.run.auth_method);
    desk.run.devices = vec![(WEBAUTHN.to_owned(), credential.authenticator)];
    desk.run.step = Step::AfterSecondFactor;
    desk.rotate = true;
    Ok(())
}

/// The credential, and whose it is. Inactive users and service accounts have none (CO-037, CO-813).
async fn find(desk: &Desk<'_>, id: &str) -> Result<Option<(Credential, Account)>, Error> {
    let mut conn = desk.ctx.db.read().await?;
    let Some(credential) = credentials::by_id(&mut conn, id).await? else { return Ok(None) };
    let Some(device) = authenticator::by_pk(&mut conn, credential.authenticator).await? else { return Ok(None) };
    let account = account::by_pk(&mut conn, device.account).await?.filter(may_sign_in);
    Ok(account.map(|account| (credential, account)))
}

/// Counts and records a failure: of the address, since nobody guesses keys.
async fn fail(desk: &mut Desk<'_>, id: &str, account: Option<&Account>, wrong: Wrong) -> Result<(), Error> {
    let (ctx, visitor) = (desk.ctx, &desk.visit.visitor);
    let mut tx = ctx.db.write().await?;
    limits::failed(ctx, &mut tx, &Attempt { address: visitor.client, client: CLIENT, username: id }).await?;
    let username = account.map(|account| account.username.as_str()).unwrap_or_default();
    if account.is_some() {
        reputation::note(ctx, &mut tx, visitor.client, username, reputation::Attempt::Failed).await?;
    }
    let context = json!({"username": username, "stage": "identification", "reason": wrong.to_string()});
    let recorded = event::record(ctx, &mut tx, &visitor.stranger(""), "login_failed", context).await?;
    tx.commit().await?;
    event::log(&recorded);
    desk.problem("passkey", wrong.told(), "invalid");
    Ok(())
}
