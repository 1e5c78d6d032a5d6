//! Who it is, and the password (CO-310…CO-312).

use portcullis_core::username::LONGEST_IDENTIFIER;
use portcullis_store::Conn;
use portcullis_store::account::{self, Account};
use serde_json::json;

use super::challenge::Remedy;
use super::run::Step;
use super::stages::Identification;
use super::{Desk, Fields, remembered, text};
use crate::change::Change;
use crate::context::Context;
use crate::directory::lookup;
use crate::error::Error;
use crate::event::failing::record_failing_alone;
use crate::limits::{self, Attempt, Cost, NotExamined, Turn};
use crate::sessions::may_sign_in;
use crate::{event, flows, password, recovery, reputation};

/// The name under which failures to sign in are counted.
const CLIENT: &str = "sign-in";

/// Characters that are kept of what somebody types: enough to show it to them, whoever it names.
const LONGEST_TYPED: usize = 1024;

/// Takes the answer to who it is.
pub(super) async fn identification(desk: &mut Desk<'_>, fields: &Fields) -> Result<(), Error> {
    let identifier = text(fields, "uid_field").filter(|identifier| !identifier.trim().is_empty());
    let Some(identifier) = identifier else { return desk.required("uid_field") };
    if desk.flow.slug == flows::RECOVERY {
        desk.run.identifier = identifier.trim().chars().take(LONGEST_TYPED).collect();
        desk.run.step = Step::EmailSent;
        recovery::asked_for(desk.ctx, &desk.visit.visitor, &desk.run.identifier);
        return Ok(());
    }
    let together = desk.stages.identification.password_stage.is_some();
    let password = match (together, text(fields, "password")) {
        (true, None) => return desk.required("password"),
        (_, password) => password.filter(|_| together),
    };
    identify(desk, &identifier).await?;
    match password {
        Some(password) if desk.run.step == Step::Password => {
            check(desk, &password).await?;
            // Asked together, answered together again.
            if desk.run.step == Step::Password {
                desk.run.step = Step::Identification;
                desk.problems.clear();
                desk.problem("non_field_errors", "Failed to authenticate.", "invalid");
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Finds out whom an identifier names, and asks for the password all the same when that is nobody (CO-311).
pub(super) async fn identify(desk: &mut Desk<'_>, identifier: &str) -> Result<(), Error> {
    let identifier: String = identifier.trim().chars().take(LONGEST_TYPED).collect();
    let found = find(desk, &mut desk.ctx.db.read().await?, &identifier).await?;
    desk.run.identifier = identifier;
    (desk.run.pending, desk.run.chosen) = (None, None);
    match found {
        Some(account) => desk.run.is_about(&account),
        None if desk.stages.identification.pretend_user_exists => {}
        None => {
            fail(desk, false).await?;
            desk.run.step = Step::Identification;
            desk.problem("non_field_errors", "Failed to authenticate.", "invalid");
            return Ok(());
        }
    }
    desk.run.step = Step::Password;
    Ok(())
}

/// The one user whom an identifier names: by name, else by an e-mail address or the attribute `upn`, if it is nobody else's
/// either. Inactive users and service accounts are nobody (CO-310, CO-813).
pub(super) async fn find(desk: &Desk<'_>, conn: &mut Conn, identifier: &str) -> Result<Option<Account>, Error> {
    named(desk.ctx, &desk.stages.identification, conn, identifier).await
}

/// The same, as the identification stage says.
pub(crate) async fn named(
    ctx: &Context,
    stage: &Identification,
    conn: &mut Conn,
    identifier: &str,
) -> Result<Option<Account>, Error> {
    let by = |field: &str| stage.user_fields.iter().any(|known| known == field);
    let fits = |text: &str| stage.case_insensitive_matching || text == identifier;
    if by("username")
        && let Some(account) = account::by_username(conn, identifier).await?.filter(|found| fits(&found.username))
    {
        return Ok(Some(account).filter(may_sign_in));
    }
    let mut found = Vec::new();
    if by("email") {
        let people = account::with_own_email(conn, identifier).await?;
        found.extend(people.into_iter().map(|account| (fits(&account.email), account)));
    }
    if by("upn") {
        let people = lookup::with_upn(ctx, conn, identifier).await?;
        found.extend(people.into_iter().map(|(account, upn)| (fits(&upn), account)));
    }
    let Some((_, first)) = found.first() else { return Ok(None) };
    let is_one = found.iter().all(|(_, account)| account.pk == first.pk);
    let fitting = found.into_iter().find(|(fits, _)| is_one && *fits);
    Ok(fitting.map(|(_, account)| account).filter(may_sign_in))
}

/// Examines a password. Unknown users, users without one and waiting attempts cost the same work and get the same
/// answer as a wrong one (CO-311, CO-443, CO-462).
pub(super) async fn check(desk: &mut Desk<'_>, given: &str) -> Result<(), Error> {
    let ctx = desk.ctx;
    let account = desk.account(&mut ctx.db.read().await?).await?;
    let client = counted_as(desk, account.as_ref());
    let username = desk.run.identifier.clone();
    let attempt = Attempt { address: desk.visit.visitor.client, client: &client, username: &username };
    let _turn = admit(desk, &attempt, Cost::Hash, "password").await?;
    let guess = attempt.on(account.as_ref());
    let waiting = limits::account::is_waiting(ctx, &mut ctx.db.read().await?, &guess).await?;
    let hash = account.as_ref().filter(|_| !waiting).and_then(|account| account.password_hash.as_deref());
    let verdict = password::verify(given, hash).await;
    match account {
        Some(account) if verdict.is_right() => right(desk, &account, given, verdict).await,
        _ => {
            fail(desk, waiting).await?;
            desk.run.failures = desk.run.failures.saturating_add(1);
            if desk.run.failures > desk.stages.password.failed_attempts_before_cancel {
                desk.deny("Too many wrong passwords. Please begin again.", Remedy::Again);
            } else {
                desk.problem("password", "Invalid password", "invalid");
            }
            Ok(())
        }
    }
}

/// Waits for an attempt's turn. That there were too many is recorded (CO-443), without the name that was tried: whoever tries
/// many is to be told of in few events.
pub(super) async fn admit(desk: &Desk<'_>, attempt: &Attempt<'_>, cost: Cost, stage: &str) -> Result<Turn, Error> {
    let refused = match limits::admit(desk.ctx, attempt, cost).await {
        Ok(turn) => return Ok(turn),
        Err(refused) => refused,
    };
    if let NotExamined::Throttled { .. } = refused {
        let stranger = desk.visit.visitor.stranger("");
        let context = json!({"username": "", "stage": stage, "reason": "too many failed attempts: not examined"});
        // Whether or not that can be written down, the attempt is refused.
        if let Err(error) = record_failing_alone(desk.ctx, &stranger, "login_failed", context).await {
            tracing::error!(%error, "an attempt that was not examined is not in the trail");
        }
    }
    Err(refused.into())
}

/// The name under which an attempt is counted. A browser that is known to be the user's has a counter of its own, so
/// that guesses of others behind the same address do not keep the owner out (CO-444).
pub(super) fn counted_as(desk: &Desk<'_>, account: Option<&Account>) -> String {
    match account.and_then(|account| remembered::known_device(desk, account)) {
        Some(device) => format!("{CLIENT}:{device}"),
        None => CLIENT.to_owned(),
    }
}

async fn right(desk: &mut Desk<'_>, account: &Account, given: &str, verdict: password::Verdict) -> Result<(), Error> {
    if verdict == password::Verdict::RightButWeak
        && let (Some(weaker), Ok(stronger)) = (&account.password_hash, password::hash(&*desk.ctx.entropy, given).await)
    {
        let mut tx = desk.ctx.db.write().await?;
        account::upgrade_hash(&mut tx, account.pk, weaker, &stronger).await?;
        tx.commit().await?;
    }
    "password".clone_into(&mut desk.run.auth_method);
    desk.run.step = Step::AfterPassword;
    desk.rotate = true;
    Ok(())
}

/// Forgets the failures of whoever has signed in now (CO-442).
pub(super) async fn forget(desk: &Desk<'_>, change: &mut Change<'_>, account: &Account) -> Result<(), Error> {
    let client = counted_as(desk, Some(account));
    let (address, username) = (desk.visit.visitor.client, desk.run.identifier.as_str());
    let attempt = Attempt { address, client: &client, username };
    limits::succeeded(desk.ctx, change.conn(), &attempt).await?;
    limits::account::succeeded(desk.ctx, change.conn(), &attempt.on(Some(account))).await?;
    Ok(())
}

/// Counts and records a failure.
async fn fail(desk: &Desk<'_>, waiting: bool) -> Result<(), Error> {
    let (ctx, visitor) = (desk.ctx, &desk.visit.visitor);
    let account = desk.account(&mut ctx.db.read().await?).await?;
    let client = counted_as(desk, account.as_ref());
    let identifier: String = desk.run.identifier.chars().take(LONGEST_IDENTIFIER).collect();
    let attempt = Attempt { address: visitor.client, client: &client, username: &identifier };
    let mut tx = ctx.db.write().await?;
    limits::failed(ctx, &mut tx, &attempt).await?;
    let context = if waiting {
        json!({"username": identifier, "stage": "password", "reason": "too many failed attempts: not examined"})
    } else {
        let guess = attempt.on(account.as_ref());
        limits::account::failed(ctx, &mut tx, &guess).await?;
        reputation::note(ctx, &mut tx, visitor.client, guess.username, reputation::Attempt::Failed).await?;
        json!({"username": identifier, "stage": "password"})
    };
    let recorded = event::record(ctx, &mut tx, &visitor.stranger(""), "login_failed", context).await?;
    tx.commit().await?;
    event::log(&recorded);
    Ok(())
}
