//! Enrolling a second factor (CO-300, CO-315): by oneself, or because signing in demands one.

use portcullis_core::totp;

use super::run::{Step, bytes};
use super::{Desk, Fields, second_factor, text};
use crate::authenticators::{self, RECOVERY_CODES, TOTP, WEBAUTHN};
use crate::change::Change;
use crate::error::Error;
use crate::passkeys;

/// What is said of a code that the app with this seed does not show now.
const WRONG_CODE: &str = "Code does not match. Check the time on the device, and enter the code that comes next.";
/// What is said when another picture was scanned than the one that counts.
const ANOTHER_SEED: &str = "This is a new key. If you have confirmed the one before, that one counts, and you can leave this page. \
                            If not, it does not count any more. Scan the new picture, or type the new key.";
/// What is said when other codes were shown than those that are to be kept.
const OTHER_CODES: &str = "These are new codes, and do not count yet. If you have confirmed the ones before, those count: leave this \
                           page. If not, keep these instead.";
/// Digits of a code.
pub(super) const DIGITS: u32 = 6;

/// Takes the first code of an authenticator app: it shows that the app has the seed.
pub(super) async fn totp(desk: &mut Desk<'_>, fields: &Fields) -> Result<(), Error> {
    if is_too_late(desk).await? {
        return Ok(());
    }
    let Some(code) = text(fields, "code") else { return desk.required("code") };
    let seed = bytes(desk.run.seed.as_deref().unwrap_or_default());
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let found = totp::find(&seed, &code, DIGITS, 0, 0, desk.ctx.now());
    let (Some(matched), false) = (found, seed.is_empty()) else {
        let was_shown = desk.begun.seed.is_some();
        desk.problem("code", if was_shown { WRONG_CODE } else { ANOTHER_SEED }, "invalid");
        return Ok(());
    };
    let ctx = desk.ctx;
    let Some(account) = desk.account(&mut ctx.db.read().await?).await? else { return Ok(()) };
    let actor = desk.actor(&account);
    let mut change = Change::begin(ctx, &actor).await?;
    desk.spend(change.conn()).await?;
    let pk = authenticators::enrol_totp(ctx, &mut change, &account, &seed, matched).await?;
    change.commit().await?;
    desk.run.seed = None;
    enrolled(desk, TOTP, pk);
    Ok(())
}

/// Takes that the codes are kept. A page says which ones it shows.
pub(super) async fn codes(desk: &mut Desk<'_>, fields: &Fields) -> Result<(), Error> {
    if is_too_late(desk).await? {
        return Ok(());
    }
    // Codes that were never shown are nobody's.
    let shown = text(fields, "codes").is_none_or(|shown| shown == desk.begun.codes.join(" "));
    if desk.begun.codes.is_empty() || !shown {
        desk.problem("codes", OTHER_CODES, "invalid");
        return Ok(());
    }
    let ctx = desk.ctx;
    let Some(account) = desk.account(&mut ctx.db.read().await?).await? else { return Ok(()) };
    let actor = desk.actor(&account);
    let mut change = Change::begin(ctx, &actor).await?;
    desk.spend(change.conn()).await?;
    let codes = std::mem::take(&mut desk.run.codes);
    let pk = authenticators::enrol_codes(ctx, &mut change, &account, &codes).await?;
    change.commit().await?;
    enrolled(desk, RECOVERY_CODES, pk);
    Ok(())
}

/// Takes a key that the browser has made.
pub(super) async fn key(desk: &mut Desk<'_>, fields: &Fields) -> Result<(), Error> {
    if is_too_late(desk).await? {
        return Ok(());
    }
    let Some(response) = fields.get("response").filter(|response| !response.is_null()) else {
        return desk.required("response");
    };
    let ctx = desk.ctx;
    let Some(account) = desk.account(&mut ctx.db.read().await?).await? else { return Ok(()) };
    // Whatever the answer is, the next one is to another challenge.
    let challenge = desk.run.challenge.take();
    let made = match passkeys::examine_new(passkeys::relying_party(ctx).as_ref(), challenge.as_deref(), response) {
        Ok(made) => made,
        Err(wrong) => {
            desk.problem("response", wrong.told(), "invalid");
            return Ok(());
        }
    };
    let actor = desk.actor(&account);
    let mut change = Change::begin(ctx, &actor).await?;
    match passkeys::enrol(ctx, &mut change, &account, made, &text(fields, "name").unwrap_or_default()).await? {
        Ok(pk) => {
            desk.spend(change.conn()).await?;
            change.commit().await?;
            enrolled(desk, WEBAUTHN, pk);
        }
        Err(wrong) => desk.problem("response", wrong.told(), "invalid"),
    }
    Ok(())
}

/// Whether whoever is on their way in has a second factor by now: it is to be shown, and none is added or replaced
/// before that.
async fn is_too_late(desk: &mut Desk<'_>) -> Result<bool, Error> {
    let late = desk.run.sid.is_none() && !second_factor::devices(desk).await?.is_empty();
    if late {
        desk.run.step = Step::SecondFactor;
    }
    Ok(late)
}

fn enrolled(desk: &mut Desk<'_>, class: &str, pk: i32) {
    if desk.run.sid.is_some() {
        desk.run.step = Step::Done;
    } else {
        // It was enrolled on the way in, and has just been shown.
        desk.run.devices.push((class.to_owned(), pk));
        desk.run.step = Step::AfterSecondFactor;
        desk.rotate = true;
    }
}
