//! What a request to the authorization endpoint carries while its browser signs in again (OA-163): when it was
//! sent to do so, and the login it had then. Sealed for the request, so that nobody else can make one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::clock::Timestamp;
use portcullis_core::keys::sha256;
use portcullis_store::login_session::LoginSession;

use super::params::Params;
use crate::context::Context;

/// Name of the parameter.
pub const NAME: &str = "portcullis_after";
/// How long somebody may take to sign in.
const SIGN_IN_SECONDS: i64 = 3600;
/// How long the browser may take to come back from there. A request that is repeated later asks again.
const RETURN_SECONDS: i64 = 60;

/// When a browser was sent to sign in again, and what it had then.
pub struct Marker {
    sent: Timestamp,
    /// Public id of the session that was not enough; empty if there was none.
    sid: String,
}

impl Marker {
    /// The value for a request whose browser is sent to sign in now.
    pub fn seal(ctx: &Context, params: &Params, login: Option<&LoginSession>) -> String {
        let plain = format!("{} {}", ctx.now().0, login.map_or("", |login| &login.sid));
        URL_SAFE_NO_PAD.encode(ctx.keys.seal(&place(params), plain.as_bytes(), &*ctx.entropy))
    }

    /// What the request carries, if it is ours and was made for this very request.
    pub fn open(ctx: &Context, params: &Params) -> Option<Self> {
        let sealed = URL_SAFE_NO_PAD.decode(params.get(NAME)?).ok()?;
        let plain = String::from_utf8(ctx.keys.open(&place(params), &sealed).ok()?).ok()?;
        let (sent, sid) = plain.split_once(' ')?;
        Some(Self { sent: Timestamp(sent.parse().ok()?), sid: sid.to_owned() })
    }

    /// Whether this is the login that the browser was sent for.
    pub(super) fn asked_for(&self, login: &LoginSession, now: Timestamp) -> bool {
        login.sid != self.sid
            && login.auth_time >= self.sent
            && now <= self.sent.plus_seconds(SIGN_IN_SECONDS)
            && now <= login.auth_time.plus_seconds(RETURN_SECONDS)
    }
}

fn place(params: &Params) -> String {
    format!("authorize:{}", hex::encode(sha256(params.encoded_without(NAME).as_bytes())))
}
