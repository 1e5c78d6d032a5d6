//! How flows end: a session starts (CO-319), or ends (CO-323).

use portcullis_core::target::HOME;
use portcullis_store::account::{self, Account};
use serde_json::json;

use super::challenge::Remedy;
use super::run::Step;
use super::{Desk, SessionCookie, first_factor, pressed, remembered, second_factor, stages};
use crate::access::flows::wanted;
use crate::change::{Change, Touched};
use crate::error::Error;
use crate::oauth::logout;
use crate::{applications, event, flows, portal, reputation, sessions, sign_in};

/// Starts the session, under a fresh identifier (CO-384).
pub(super) async fn log_in(desk: &mut Desk<'_>) -> Result<(), Error> {
    let ctx = desk.ctx;
    let Some(account) = desk.account(&mut ctx.db.read().await?).await? else {
        desk.deny("This account cannot sign in.", Remedy::Again);
        return Ok(());
    };
    // A run may have been left standing since before the user had a second factor: what counts is now.
    let devices = second_factor::devices(desk).await?;
    if desk.run.devices.is_empty() && !devices.is_empty() && !remembered::second_factor(desk, &account, &devices) {
        desk.run.step = Step::SecondFactor;
        return Ok(());
    }
    let known_device = remembered::known_device(desk, &account).is_some();
    let actor = desk.actor(&account);
    let mut change = match Change::begin(ctx, &actor).await {
        // Deactivated just now.
        Err(Error::Forbidden) => {
            desk.deny("This account cannot sign in.", Remedy::Again);
            return Ok(());
        }
        begun => begun?,
    };
    desk.spend(change.conn()).await?;
    // The hash took its time: meanwhile the user may have been deactivated, or the password changed.
    let now = desk.account(change.conn()).await?;
    if !now.is_some_and(|now| desk.run.pending.is_some_and(|pending| pending.still_holds(&now))) {
        desk.deny("Your account was changed meanwhile. Please begin again.", Remedy::Again);
        return Ok(());
    }
    if let Some(cookie) = pressed::has_begun(desk, change.conn(), &account).await? {
        change.commit().await?;
        signed_in(desk, &account, cookie);
        return Ok(());
    }
    first_factor::forget(desk, &mut change, &account).await?;
    let (from, name) = (desk.visit.visitor.client, &account.username);
    reputation::note(ctx, change.conn(), from, name, reputation::Attempt::SignedIn).await?;
    if let Some((session, before)) = desk.login.take() {
        if before.pk != account.pk {
            let named = event::model("authentik_core", "user", before.pk, &before.username);
            change.event("logout", json!({"logout_reason": "replaced", "model": named})).await?;
        }
        sessions::end(ctx, change.conn(), &session.sid).await?;
        change.touch(Touched::Session(session.sid));
    }
    let login = &desk.stages.login;
    if login.terminate_other_sessions {
        sessions::about_to_end(&mut change, account.pk, "terminate_other_sessions", None).await?;
        for sid in sessions::end_all_of(ctx, change.conn(), account.pk, "").await? {
            change.touch(Touched::Session(sid));
        }
    }
    let auth_method = if desk.run.auth_method.is_empty() { "auth_mfa" } else { &desk.run.auth_method };
    let application = match portal::client_of(&desk.run.next) {
        Some(client_id) => wanted(change.conn(), &client_id).await?,
        None => None,
    };
    let new = sessions::New {
        account: account.pk,
        auth_method,
        second_factor: !desk.run.devices.is_empty(),
        idle_seconds: idle_seconds(desk),
        application: application.as_ref().map(|application| application.uuid),
        bindings: sessions::Bindings { network: &login.network_binding, place: &login.geoip_binding },
        client: desk.visit.visitor.client,
        user_agent: desk.visit.user_agent,
    };
    let started = sessions::start_new(ctx, change.conn(), &new).await?;
    account::signed_in(change.conn(), account.pk, ctx.now()).await?;
    let devices: Vec<_> = desk.run.devices.iter().map(|(class, pk)| json!({"device_class": class, "pk": pk})).collect();
    let args = json!({"known_device": known_device, "mfa_devices": devices, "identifier": desk.run.identifier});
    let mut context = json!({"auth_method": auth_method, "auth_method_args": args});
    if let Some(application) = &application {
        event::add(&mut context, "application", applications::named(application));
    }
    change.event("login", context).await?;
    pressed::begins(desk, &account, &started.cookie);
    change.commit().await?;
    signed_in(desk, &account, started.cookie);
    Ok(())
}

/// Ends the session when it is not used for so many seconds; 0 for the default, and until the browser is closed.
fn idle_seconds(desk: &Desk<'_>) -> i64 {
    let login = &desk.stages.login;
    let stay = if desk.run.remember_me { stages::seconds(&login.remember_me_offset) } else { 0 };
    stages::seconds(&login.session_duration).saturating_add(stay)
}

/// The browser is told of its session, and by what it is known from now on.
fn signed_in(desk: &mut Desk<'_>, account: &Account, cookie: String) {
    let max_age = (idle_seconds(desk) > 0).then_some(desk.ctx.sessions.absolute_seconds);
    desk.cookies.session = Some(SessionCookie::Set { value: cookie, max_age });
    desk.cookies.device = remembered::remember_device(desk, account);
    if let Some(device) = desk.run.devices.last() {
        desk.cookies.second_factor = remembered::remember_second_factor(desk, account, device);
    }
    desk.run.step = Step::Done;
}

/// Ends the session, if that is what the flow is for.
pub(super) async fn sign_out(desk: &mut Desk<'_>) -> Result<(), Error> {
    if desk.flow.slug == flows::INVALIDATION {
        if let Some((session, account)) = desk.login.clone() {
            let actor = desk.actor(&account);
            desk.login = None;
            desk.run.frames = logout::frames(desk.ctx, &session.sid, None).await?;
            sign_in::out(desk.ctx, &session, &actor).await?;
            // What remains of the flow is nobody's.
            (desk.run.sid, desk.run.pending) = (None, None);
        }
        desk.cookies.session = Some(SessionCookie::Clear);
    }
    if desk.run.next.is_empty() {
        HOME.clone_into(&mut desk.run.next);
    }
    desk.run.step = if desk.run.frames.is_empty() { Step::Done } else { Step::TellClients };
    Ok(())
}
