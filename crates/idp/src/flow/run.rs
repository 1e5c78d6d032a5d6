//! How far a browser has come in a flow: kept here, sealed, known by its cookie (CO-304).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::clock::Timestamp;
use portcullis_core::id::UserPk;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_store::account::Account;
use portcullis_store::{Conn, StoreError, flow_run};
use serde::{Deserialize, Serialize};

use super::challenge::Remedy;
use crate::BATCH;
use crate::context::Context;
use crate::error::Error;

/// Version of the encoding. Others are not read: the browser begins again.
const VERSION: u32 = 1;
/// How long a browser may take for one step.
const IDLE_SECONDS: i64 = 3600;
/// How long a browser may take for all of them: what was proved at the first step is not to count for ever.
const LONGEST_SECONDS: i64 = 4 * 3600;

/// How far a browser has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    version: u32,
    /// When it was begun, in seconds since 1970.
    begun: i64,
    /// Slug of the flow.
    pub(super) flow: String,
    /// Where the browser goes afterwards: a target on this site.
    pub(super) next: String,
    /// Where a policy wants it to go instead (CO-246).
    #[serde(default)]
    pub(super) redirect: Option<String>,
    /// What it is asked now.
    pub(super) step: Step,
    /// Public id of the session that the flow is for, when it needs one.
    pub(super) sid: Option<String>,
    /// What was typed as user name, or is offered as one.
    pub(super) identifier: String,
    /// Whom that names, if anybody.
    pub(super) pending: Option<Pending>,
    /// Whom a policy has chosen, whether or not they may sign in, until a name is typed (CO-246).
    #[serde(default)]
    pub(super) chosen: Option<UserPk>,
    /// Wrong passwords in this run (CO-312).
    pub(super) failures: u32,
    /// How the user has proved who they are.
    pub(super) auth_method: String,
    /// Second factors shown: class and key.
    pub(super) devices: Vec<(String, i32)>,
    /// Whether a new password was chosen on the way in.
    pub(super) renewed: bool,
    /// Whether the user wants to stay signed in.
    pub(super) remember_me: bool,
    /// Seed of the authenticator app that is being enrolled, base64url.
    pub(super) seed: Option<String>,
    /// Recovery codes that are being enrolled.
    pub(super) codes: Vec<String>,
    /// Digest of the recovery link that was opened, base64url.
    pub(super) link: Option<String>,
    /// What a security key was asked for last, base64url.
    pub(super) challenge: Option<String>,
    /// One-time token of a question that is answered with yes.
    pub(super) token: Option<String>,
    /// What the browser loads so that clients hear of a sign-out.
    #[serde(default)]
    pub(super) frames: Vec<String>,
}

/// Whom a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// The user.
    pub(super) account: UserPk,
    /// When their password had been changed last.
    password_changed: i64,
}

/// What a browser is asked, or what is to be found out before it is asked again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    Identification,
    Password,
    /// To be found out: whether a second factor is due.
    AfterPassword,
    SecondFactor,
    ChooseSetup,
    EnrolTotp,
    EnrolStatic,
    EnrolWebAuthn,
    /// To be found out: what comes after the second factor.
    AfterSecondFactor,
    RememberMe,
    /// The session starts.
    LogIn,
    EmailSent,
    Confirm,
    NewPassword,
    Settings,
    FirstAdministrator,
    SignOut,
    /// The session has ended, and clients are to hear of it from the browser.
    TellClients,
    /// The flow is over.
    Done,
    Denied {
        message: String,
        remedy: Remedy,
    },
}

impl Step {
    /// Refused with what policies have to say, or else with `otherwise`.
    pub(super) fn denied(messages: &[String], otherwise: &str) -> Self {
        let message = if messages.is_empty() { otherwise.to_owned() } else { messages.join(" ") };
        Self::Denied { message, remedy: Remedy::Again }
    }
}

impl Run {
    pub(super) fn new(flow: &str, next: String, step: Step, now: Timestamp) -> Self {
        Self {
            version: VERSION,
            begun: now.seconds(),
            flow: flow.to_owned(),
            next,
            redirect: None,
            step,
            sid: None,
            identifier: String::new(),
            pending: None,
            chosen: None,
            failures: 0,
            auth_method: String::new(),
            devices: Vec::new(),
            renewed: false,
            remember_me: false,
            seed: None,
            codes: Vec::new(),
            link: None,
            challenge: None,
            token: None,
            frames: Vec::new(),
        }
    }

    pub(super) fn is_about(&mut self, account: &Account) {
        self.pending = Some(Pending::of(account));
    }

    /// Digest of the recovery link that was opened.
    pub(super) fn link(&self) -> Option<Digest> {
        bytes(self.link.as_deref()?).try_into().ok()
    }
}

impl Pending {
    pub(super) fn of(account: &Account) -> Self {
        Self { account: account.pk, password_changed: account.password_changed.0 }
    }

    /// Whether nothing has happened to the user's password meanwhile.
    pub(super) fn still_holds(&self, account: &Account) -> bool {
        *self == Self::of(account)
    }
}

/// A run as it was stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// The cookie's value.
    pub(super) cookie: String,
    /// How far it had come.
    pub(super) run: Run,
    revision: i64,
}

pub(super) fn digest(ctx: &Context, cookie: &str) -> Digest {
    ctx.keys.digest(Purpose::SessionLookup, &[b"flow", cookie.as_bytes()])
}

fn place(digest: &Digest) -> String {
    format!("flow_run:{}:state", hex::encode(digest))
}

/// The run of a browser. One that another release has written, that cannot be opened, or that was begun long ago is
/// none.
pub(super) async fn load(ctx: &Context, conn: &mut Conn, cookie: &str) -> Result<Option<Stored>, StoreError> {
    let digest = digest(ctx, cookie);
    let Some(found) = flow_run::by_digest(conn, &digest, ctx.now()).await? else { return Ok(None) };
    let Ok(state) = ctx.keys.open(&place(&digest), &found.state_sealed) else { return Ok(None) };
    let oldest = ctx.now().plus_seconds(-LONGEST_SECONDS).seconds();
    let run = serde_json::from_slice::<Run>(&state).ok().filter(|run| run.version == VERSION && run.begun > oldest);
    Ok(run.map(|run| Stored { cookie: cookie.to_owned(), run, revision: found.revision }))
}

/// Keeps a run under this new cookie.
pub(super) async fn keep(ctx: &Context, conn: &mut Conn, cookie: &str, run: &Run) -> Result<(), Error> {
    let digest = digest(ctx, cookie);
    let sealed = sealed(ctx, &digest, run)?;
    Ok(flow_run::insert(conn, &digest, &sealed, expires(ctx)).await?)
}

/// Keeps a run in place of the stored one: of two answers to the same step, one counts.
pub(super) async fn replace(ctx: &Context, conn: &mut Conn, stored: &Stored, run: &Run) -> Result<(), Error> {
    let digest = digest(ctx, &stored.cookie);
    let sealed = sealed(ctx, &digest, run)?;
    match flow_run::replace(conn, &digest, stored.revision, &sealed, expires(ctx)).await? {
        true => Ok(()),
        false => Err(Error::Answered),
    }
}

fn sealed(ctx: &Context, digest: &Digest, run: &Run) -> Result<Vec<u8>, Error> {
    let state = serde_json::to_vec(run).map_err(|_| Error::Unreadable("flow_run".to_owned()))?;
    Ok(ctx.keys.seal(&place(digest), &state, &*ctx.entropy))
}

fn expires(ctx: &Context) -> Timestamp {
    ctx.now().plus_seconds(IDLE_SECONDS)
}

/// Whether a stored run is where it was when it was read: of two answers to the same step, one counts.
pub(super) async fn is_current(ctx: &Context, conn: &mut Conn, stored: &Stored) -> Result<bool, StoreError> {
    let found = flow_run::by_digest(conn, &digest(ctx, &stored.cookie), ctx.now()).await?;
    Ok(found.is_some_and(|found| found.revision == stored.revision))
}

/// Takes a stored run away: of two answers to the same step, one counts.
pub(super) async fn take(ctx: &Context, conn: &mut Conn, stored: &Stored) -> Result<(), Error> {
    match flow_run::take(conn, &digest(ctx, &stored.cookie), stored.revision).await? {
        true => Ok(()),
        false => Err(Error::Answered),
    }
}

/// Removes a run, however far it is.
pub(super) async fn forget(ctx: &Context, conn: &mut Conn, cookie: &str) -> Result<(), StoreError> {
    flow_run::delete(conn, &digest(ctx, cookie)).await
}

/// Removes runs whose time is over, a batch at a time.
pub(super) async fn sweep(ctx: &Context, now: Timestamp) -> Result<(), StoreError> {
    loop {
        let mut tx = ctx.db.write().await?;
        let removed = flow_run::sweep(&mut tx, now, BATCH.into()).await?;
        tx.commit().await?;
        if removed < BATCH.into() {
            return Ok(());
        }
    }
}

/// Bytes as they are kept in a run.
pub(super) fn written(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Bytes that were kept in a run.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap_or_default()
}
