//! What a browser is remembered by: a second factor that was shown lately (CO-317), and that it is known to be a
//! user's (CO-444). Both are sealed by the instance and good for one user, as long as the password stays.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::clock::Timestamp;
use portcullis_store::account::Account;
use portcullis_store::authenticator::Authenticator;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Desk, stages};

const SECOND_FACTOR: &str = "cookie:second-factor";
const DEVICE: &str = "cookie:known-device";

#[derive(Serialize, Deserialize)]
struct Proof {
    user: Uuid,
    /// Whose password has been changed is remembered by nobody any more.
    password_changed: i64,
    at: i64,
    /// Class and key of the second factor; the browser's own random name.
    class: String,
    device: String,
    /// The stage that asked.
    stage: Option<Uuid>,
}

fn seal(desk: &Desk<'_>, place: &str, proof: &Proof) -> Option<String> {
    let plain = serde_json::to_vec(proof).ok()?;
    Some(URL_SAFE_NO_PAD.encode(desk.ctx.keys.seal(place, &plain, &*desk.ctx.entropy)))
}

/// A proof that is ours, of this user, and not older than so many seconds.
fn open(desk: &Desk<'_>, place: &str, cookie: Option<&str>, account: &Account, seconds: i64) -> Option<Proof> {
    let sealed = URL_SAFE_NO_PAD.decode(cookie.filter(|_| seconds > 0)?).ok()?;
    let proof: Proof = serde_json::from_slice(&desk.ctx.keys.open(place, &sealed).ok()?).ok()?;
    let holds = proof.user == account.uuid
        && proof.password_changed == account.password_changed.0
        && desk.ctx.now() < Timestamp(proof.at).plus_seconds(seconds);
    holds.then_some(proof)
}

/// Whether a second factor was shown lately on this browser that the user still has and the stage allows.
pub(super) fn second_factor(desk: &Desk<'_>, account: &Account, allowed: &[Authenticator]) -> bool {
    let seconds = stages::seconds(&desk.stages.validation.last_auth_threshold);
    let Some(proof) = open(desk, SECOND_FACTOR, desk.visit.second_factor, account, seconds) else { return false };
    let stage = desk.stages.key(stages::VALIDATION);
    let same = |device: &Authenticator| device.class == proof.class && device.pk.to_string() == proof.device;
    stage.is_some() && proof.stage == stage && allowed.iter().any(same)
}

/// The cookie for a second factor that was shown just now, and how long it holds; none when that is not wanted.
pub(super) fn remember_second_factor(
    desk: &Desk<'_>,
    account: &Account,
    device: &(String, i32),
) -> Option<(String, i64)> {
    let seconds = stages::seconds(&desk.stages.validation.last_auth_threshold);
    let proof = Proof {
        user: account.uuid,
        password_changed: account.password_changed.0,
        at: desk.ctx.now().0,
        class: device.0.clone(),
        device: device.1.to_string(),
        stage: desk.stages.key(stages::VALIDATION),
    };
    (seconds > 0).then(|| seal(desk, SECOND_FACTOR, &proof)).flatten().map(|cookie| (cookie, seconds))
}

/// The name of a browser that is known to be this user's.
pub(super) fn known_device(desk: &Desk<'_>, account: &Account) -> Option<String> {
    let seconds = stages::seconds(&desk.stages.login.remember_device);
    open(desk, DEVICE, desk.visit.device, account, seconds).map(|proof| proof.device)
}

/// The cookie by which the browser is known from now on, and how long it is.
pub(super) fn remember_device(desk: &Desk<'_>, account: &Account) -> Option<(String, i64)> {
    let seconds = stages::seconds(&desk.stages.login.remember_device);
    let proof = Proof {
        user: account.uuid,
        password_changed: account.password_changed.0,
        at: desk.ctx.now().0,
        class: String::new(),
        device: desk.ctx.entropy.alphanumeric(20),
        stage: None,
    };
    (seconds > 0).then(|| seal(desk, DEVICE, &proof)).flatten().map(|cookie| (cookie, seconds))
}
