//! Where a flow begins, and for whom it is (CO-300, CO-308).

use portcullis_core::id::UserPk;
use portcullis_core::target::{HOME, local_target};
use portcullis_core::username::LONGEST_IDENTIFIER;
use portcullis_store::account::{self, Account};
use portcullis_store::flow::Flow;
use portcullis_store::login_session::LoginSession;
use serde_json::Value;

use super::challenge::Remedy;
use super::run::{Run, Step, written};
use super::{Visit, asks_again, param};
use crate::access::flows::Gathered;
use crate::access::{self, AccessContext};
use crate::context::Context;
use crate::error::Error;
use crate::sessions::may_sign_in;
use crate::{directory, flows, passkeys, portal, recovery, setup};

/// What the reference's clients know as well.
const NOT_FOR_YOU: &str = "Flow does not apply to current user.";

const NO_NAME: &str =
    "Passkeys cannot be used here, because the address of this site is no name. Ask your administrator.";

const NOT_AS_SOMEBODY_ELSE: &str = "You act as somebody else. What they sign in by is theirs alone.";

/// Whether a flow changes what somebody signs in by (CO-388).
fn is_theirs_alone(slug: &str) -> bool {
    !matches!(slug, flows::AUTHENTICATION | flows::INVALIDATION | flows::PROVIDER_INVALIDATION)
}

/// Digest of the recovery link that the browser comes with, as runs keep it.
fn link_of(ctx: &Context, visit: &Visit<'_>) -> Option<String> {
    let token = param(visit.query, recovery::PARAMETER)?;
    (visit.slug == flows::RECOVERY).then(|| written(&recovery::digest(ctx, &token)))
}

/// Whether a browser goes on with a run: it is one of this flow, for the same session, and not another link is
/// opened. Who may run the flow is looked at before every answer (CO-308).
pub(super) fn goes_on(ctx: &Context, visit: &Visit<'_>, run: &Run, login: Option<&(LoginSession, Account)>) -> bool {
    let sid = login.map(|(session, _)| session.sid.as_str());
    let for_login = match visit.slug {
        flows::AUTHENTICATION | flows::INITIAL_SETUP => true,
        flows::RECOVERY => sid.is_none(),
        _ => run.sid.as_deref() == sid,
    };
    let link = link_of(ctx, visit);
    run.flow == visit.slug && for_login && (link.is_none() || link == run.link)
}

/// The run of a browser that begins a flow.
pub(super) async fn begin(
    ctx: &Context,
    visit: &Visit<'_>,
    flow: &Flow,
    login: Option<&(LoginSession, Account)>,
) -> Result<Run, Error> {
    let mut run = Run::new(&flow.slug, HOME.to_owned(), Step::Identification, ctx.now());
    let denied = |message: &str, remedy| Step::Denied { message: message.to_owned(), remedy };
    run.step = match (flow.authentication.as_str(), login) {
        ("require_authenticated", None) => denied(NOT_FOR_YOU, Remedy::SignIn),
        ("require_unauthenticated", Some(_)) => denied(NOT_FOR_YOU, Remedy::SignOut),
        (_, Some((session, _))) if session.impersonator.is_some() && is_theirs_alone(&flow.slug) => {
            denied(NOT_AS_SOMEBODY_ELSE, Remedy::None)
        }
        _ => match flow.slug.as_str() {
            flows::AUTHENTICATION => Step::Identification,
            flows::INVALIDATION | flows::PROVIDER_INVALIDATION => Step::SignOut,
            flows::PASSWORD_CHANGE => Step::NewPassword,
            flows::USER_SETTINGS => Step::Settings,
            flows::TOTP_SETUP => Step::EnrolTotp,
            flows::STATIC_SETUP => Step::EnrolStatic,
            flows::WEBAUTHN_SETUP if passkeys::relying_party(ctx).is_some() => Step::EnrolWebAuthn,
            flows::WEBAUTHN_SETUP => denied(NO_NAME, Remedy::None),
            flows::INITIAL_SETUP if setup::is_open(ctx).await? => Step::FirstAdministrator,
            flows::RECOVERY => match link_of(ctx, visit) {
                None => Step::Identification,
                link => {
                    run.link = link;
                    Step::Confirm
                }
            },
            _ => denied("This is not available.", Remedy::None),
        },
    };
    if let (Some((session, account)), false) = (login, flow.slug == flows::AUTHENTICATION) {
        run.sid = Some(session.sid.clone());
        account.username.clone_into(&mut run.identifier);
        run.is_about(account);
    }
    if run.step == Step::Confirm {
        open_link(ctx, &mut run).await?;
    }
    // Nobody is kept from signing out.
    if flow.slug != flows::INVALIDATION && !matches!(run.step, Step::Denied { .. }) {
        admit(ctx, visit, flow, login, &mut run).await?;
    }
    Ok(run)
}

/// Asks what is bound to the flow (CO-307). Who is signed in and may not do so again goes on; what becomes of others, the
/// flow says. Strangers at the sign-in page are told in any case: wherever they went, they would be sent back.
async fn admit(
    ctx: &Context,
    visit: &Visit<'_>,
    flow: &Flow,
    login: Option<&(LoginSession, Account)>,
    run: &mut Run,
) -> Result<(), Error> {
    let person = match login {
        Some((_, account)) => Some(directory::person_of(ctx, &mut ctx.db.read().await?, account.clone()).await?),
        None => None,
    };
    let next = param(visit.query, "next");
    let says_where = next.as_deref().is_some_and(|next| local_target(next) == next);
    let mut gathered = gathered(run, next.as_deref().filter(|_| says_where));
    gathered.open = flow.slug == flows::AUTHENTICATION && person.is_none() && run.step == Step::Identification;
    let context = AccessContext::of(&visit.visitor);
    let (decision, written) = access::flows::admits(ctx, flow, person.as_ref(), context, gathered).await?;
    if decision.passing {
        run.redirect = written.redirect;
        if run.step == Step::Identification {
            offer(ctx, written.pending, written.identifier, run).await?;
        }
        return Ok(());
    }
    // Who was sent here to sign in again would be sent here again.
    let again = next.as_deref().is_some_and(asks_again);
    let goes_on = match (flow.slug.as_str(), flow.denied_action.as_str()) {
        (flows::AUTHENTICATION, _) => person.is_some() && !again,
        (_, "continue") => true,
        (_, "message_continue") => says_where,
        _ => false,
    };
    run.step = if goes_on { Step::Done } else { Step::denied(&decision.messages, NOT_FOR_YOU) };
    Ok(())
}

/// Takes over whom a policy says that the flow is about, which is as good as their name typed; or the name that it offers
/// (CO-246). Who may not sign in is asked for a password like everybody (CO-311).
async fn offer(ctx: &Context, pending: Option<UserPk>, identifier: Option<String>, run: &mut Run) -> Result<(), Error> {
    if let Some(pk) = pending
        && let Some(account) = account::by_pk(&mut ctx.db.read().await?, pk).await?
    {
        account.username.clone_into(&mut run.identifier);
        run.chosen = Some(pk);
        if may_sign_in(&account) {
            run.is_about(&account);
        }
        run.step = Step::Password;
    } else if let Some(identifier) = identifier {
        run.identifier = identifier.trim().chars().take(LONGEST_IDENTIFIER).collect();
    }
    Ok(())
}

/// What policies may know of a run that begins (CO-305).
fn gathered(run: &Run, next: Option<&str>) -> Gathered {
    let identifier = Some(run.identifier.as_str()).filter(|identifier| !identifier.is_empty());
    let entries = [
        ("redirect", next.map(Value::from)),
        ("pending_user_identifier", identifier.map(Value::from)),
        ("is_restored", run.link.is_some().then_some(Value::from(true))),
    ];
    let entries = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    let client_id = next.and_then(portal::client_of);
    Gathered { pending: run.pending.map(|pending| pending.account), open: false, client_id, entries }
}

async fn open_link(ctx: &Context, run: &mut Run) -> Result<(), Error> {
    let account = match run.link() {
        Some(link) => recovery::look(ctx, &mut ctx.db.read().await?, &link).await?,
        None => None,
    };
    match account {
        Some(account) => {
            account.username.clone_into(&mut run.identifier);
            run.is_about(&account);
        }
        None => run.step = Step::Denied { message: recovery::GONE.to_owned(), remedy: Remedy::None },
    }
    Ok(())
}
