//! The second factor (CO-314, CO-315, CO-317).

use portcullis_core::webauthn::UserVerification;
use portcullis_store::account::Account;
use portcullis_store::authenticator::Authenticator;
use serde_json::{Value, json};

use super::challenge::Remedy;
use super::run::Step;
use super::{Desk, Fields, remembered, stages, text};
use crate::change::Change;
use crate::error::Error;
use crate::limits::account::Codes;
use crate::passkeys::{self, Wrong};
use crate::{authenticators, event, reputation};

/// The second factors of the user that the stage allows.
pub(super) async fn devices(desk: &Desk<'_>) -> Result<Vec<Authenticator>, Error> {
    let Some(pending) = desk.run.pending else { return Ok(Vec::new()) };
    let mut conn = desk.ctx.db.read().await?;
    let all = authenticators::of_account(&mut conn, pending.account).await?;
    let allowed = &desk.stages.validation.device_classes;
    Ok(all.into_iter().filter(|device| allowed.contains(&device.class)).collect())
}

/// Finds out what comes after the password.
pub(super) async fn find_out(desk: &mut Desk<'_>) -> Result<(), Error> {
    let devices = devices(desk).await?;
    let account = desk.account(&mut desk.ctx.db.read().await?).await?;
    let Some(account) = account else {
        desk.deny("This account cannot sign in.", Remedy::Again);
        return Ok(());
    };
    // It is not shown again, so it is not remembered for longer either.
    if remembered::second_factor(desk, &account, &devices) {
        desk.run.step = Step::AfterSecondFactor;
        return Ok(());
    }
    let setups = setups(desk);
    desk.run.step = match desk.stages.validation.not_configured_action.as_str() {
        _ if !devices.is_empty() => Step::SecondFactor,
        "skip" => Step::AfterSecondFactor,
        "configure" => match setups.as_slice() {
            [one] => setup_step(one),
            [_, ..] => Step::ChooseSetup,
            [] => none_allowed(),
        },
        _ => none_allowed(),
    };
    Ok(())
}

fn none_allowed() -> Step {
    let message = "You need a second factor to sign in, and have none. Ask your administrator.".to_owned();
    Step::Denied { message, remedy: Remedy::None }
}

fn setup_step(name: &str) -> Step {
    match name {
        stages::TOTP_SETUP => Step::EnrolTotp,
        stages::WEBAUTHN_SETUP => Step::EnrolWebAuthn,
        _ => Step::EnrolStatic,
    }
}

/// The stages that may enrol a second factor now, by name. Keys are for sites with a name.
pub(super) fn setups(desk: &Desk<'_>) -> Vec<&'static str> {
    let named = passkeys::relying_party(desk.ctx).is_some();
    desk.stages.setups().into_iter().filter(|setup| named || *setup != stages::WEBAUTHN_SETUP).collect()
}

/// Takes the answer to which second factor is to be enrolled.
pub(super) fn choose(desk: &mut Desk<'_>, fields: &Fields) -> Result<(), Error> {
    let Some(chosen) = text(fields, "selected_stage") else { return desk.required("selected_stage") };
    let is_chosen = |name: &&&str| desk.stages.key(name).is_some_and(|key| key.to_string() == chosen);
    match setups(desk).iter().find(is_chosen) {
        Some(name) => desk.run.step = setup_step(name),
        None => desk.problem("selected_stage", "Invalid stage selected", "invalid"),
    }
    Ok(())
}

/// What is shown as second factor.
enum Given<'a> {
    Code(String),
    Key {
        answer: &'a Value,
        /// What was asked for.
        challenge: Option<String>,
    },
}

/// Examines a code or a key, against the allowed devices only. A wrong one counts once, however many devices there are.
pub(super) async fn check(desk: &mut Desk<'_>, fields: &Fields) -> Result<(), Error> {
    let given = match (fields.get("webauthn").filter(|answer| !answer.is_null()), text(fields, "code")) {
        // Whatever the answer is, the next one is to another challenge.
        (Some(answer), _) => Given::Key { answer, challenge: desk.run.challenge.take() },
        (None, Some(code)) => Given::Code(code),
        // Choosing a device is no answer yet.
        (None, None) if fields.contains_key("selected_challenge") => return Ok(()),
        (None, None) => return desk.required("code"),
    };
    let ctx = desk.ctx;
    let (devices, account) = (devices(desk).await?, desk.account(&mut ctx.db.read().await?).await?);
    let Some(account) = account else {
        desk.deny("This account cannot sign in.", Remedy::Again);
        return Ok(());
    };
    let known = remembered::known_device(desk, &account);
    let codes = Codes { user: account.uuid, username: &account.username, device: known.as_deref() };
    // One transaction: of guesses made at once, each is counted before the next is examined.
    let nobody = desk.visit.visitor.stranger("");
    let mut change = Change::begin(ctx, &nobody).await?;
    // A button that was pressed twice has answered already: the same code is not examined once more.
    desk.need_current(change.conn()).await?;
    let blocked = codes.is_blocked(ctx, change.conn()).await?;
    let found = match (blocked, &given) {
        (true, _) => Err(None),
        (false, Given::Code(code)) => authenticators::check(ctx, change.conn(), &devices, code).await?.ok_or(None),
        (false, Given::Key { answer, challenge }) => {
            let asked = (challenge.as_deref(), verification(desk));
            passkeys::check(ctx, change.conn(), asked, &account, &devices, answer).await?.map_err(Some)
        }
    };
    match found {
        Ok(device) => {
            codes.succeeded(ctx, change.conn()).await?;
            desk.spend(change.conn()).await?;
            change.commit().await?;
            desk.run.devices.push((device.class, device.pk));
            desk.run.step = Step::AfterSecondFactor;
            desk.rotate = true;
        }
        Err(wrong) => {
            if !blocked {
                codes.failed(ctx, change.conn()).await?;
                let (from, name) = (desk.visit.visitor.client, &account.username);
                reputation::note(ctx, change.conn(), from, name, reputation::Attempt::Failed).await?;
            }
            change.event("login_failed", failure(&account, blocked, wrong)).await?;
            change.commit().await?;
            match given {
                Given::Code(_) => desk.problem(
                    "code",
                    "Invalid Token. Please ensure the time on your device is synchronized and try again.",
                    "invalid",
                ),
                Given::Key { .. } => desk.problem("webauthn", wrong.map_or(BLOCKED, Wrong::told), "invalid"),
            }
        }
    }
    Ok(())
}

const BLOCKED: &str = "Too many wrong answers. Please try again in a while.";

/// How far a key must know its owner.
fn verification(desk: &Desk<'_>) -> UserVerification {
    match desk.stages.validation.webauthn_user_verification.as_str() {
        "required" => UserVerification::Required,
        _ => UserVerification::Optional,
    }
}

fn failure(account: &Account, blocked: bool, wrong: Option<Wrong>) -> Value {
    let user = event::model("authentik_core", "user", account.pk, &account.username);
    let mut context = json!({"username": account.username, "user": user, "stage": "authenticator_validate"});
    let reason = match (blocked, wrong) {
        (true, _) => Some("too many wrong codes: not examined".to_owned()),
        (false, wrong) => wrong.map(|wrong| wrong.to_string()),
    };
    if let (Some(reason), Some(context)) = (reason, context.as_object_mut()) {
        context.insert("reason".to_owned(), json!(reason));
    }
    context
}
