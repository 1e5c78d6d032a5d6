//! What whoever has the data directory may do without a password (CO-314, CO-328, CO-445).

use std::io::Write;
use std::sync::Arc;

use portcullis_core::entropy::SystemEntropy;
use portcullis_idp::change::Change;
use portcullis_idp::context::{Actor, Context};
use portcullis_idp::{authenticators, bootstrap, directory, limits, recovery, reputation};
use portcullis_store::account::{self, Account};
use portcullis_store::team;
use serde_json::json;

use crate::edge::SystemClock;
use crate::settings::Settings;
use crate::{Failure, instance, serve};

/// One of the things to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Print a link by which a user chooses a new password.
    RecoveryLink {
        /// For how many minutes it is good.
        minutes: u32,
    },
    /// Make a user an administrator.
    CreateAdminGroup,
    /// Forget a user's failed attempts.
    Unlock,
    /// Take a user's second factors away.
    RemoveSecondFactors,
}

/// Does it, beside a process that may serve the instance meanwhile.
///
/// # Errors
/// One line when there is no such instance or user, or the database fails.
pub(crate) fn run(settings: &Settings, username: &str, task: &Task) -> Result<(), Failure> {
    let said = serve::runtime()?.block_on(async {
        let ctx = instance::beside(settings, Arc::new(SystemClock), Arc::new(SystemEntropy)).await?;
        let said = perform(&ctx, username, task).await;
        ctx.db.close().await;
        said
    })?;
    Ok(writeln!(std::io::stdout(), "{said}")?)
}

async fn perform(ctx: &Context, username: &str, task: &Task) -> Result<String, Failure> {
    let actor = Actor::system();
    let mut change = Change::begin(ctx, &actor).await?;
    let found = account::by_username(change.conn(), username).await?;
    let user = found.ok_or_else(|| format!("there is no user called {username}"))?;
    let said = match task {
        Task::RecoveryLink { minutes } => {
            recovery::link_in(ctx, &mut change, user.pk, i64::from(*minutes) * 60).await.map_err(in_words)?
        }
        Task::CreateAdminGroup => {
            change.announce().await?;
            admin(ctx, &mut change, &user).await?
        }
        Task::Unlock => unlock(ctx, &mut change, &user).await?,
        Task::RemoveSecondFactors => {
            let removed = authenticators::remove_all_in(&mut change, user.pk).await?;
            format!("{}: {} removed", user.username, counted(u64::try_from(removed)?, "second factor"))
        }
    };
    change.commit().await?;
    Ok(said)
}

/// So many of them, as one says it.
fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What a rule says, for a console.
fn in_words(error: portcullis_idp::Error) -> Failure {
    match error {
        portcullis_idp::Error::Invalid(problems) => {
            let texts: Vec<_> = problems.iter().flat_map(|(_, messages)| messages.to_vec()).collect();
            texts.join(" ").into()
        }
        other => other.into(),
    }
}

async fn admin(ctx: &Context, change: &mut Change<'_>, user: &Account) -> Result<String, Failure> {
    let group = match team::by_name(change.conn(), bootstrap::ADMINISTRATORS).await? {
        Some(group) if group.is_superuser => group.pk,
        Some(_) => {
            return Err(format!("the group {} is not for administrators any more", bootstrap::ADMINISTRATORS).into());
        }
        None => {
            let fields = directory::groups::Fields {
                name: Some(bootstrap::ADMINISTRATORS.to_owned()),
                is_superuser: Some(true),
                ..directory::groups::Fields::default()
            };
            directory::groups::create_in(ctx, change, fields).await?
        }
    };
    team::add_member(change.conn(), group, user.pk).await?;
    let model = portcullis_idp::event::model("authentik_core", "group", group, bootstrap::ADMINISTRATORS);
    change.event("model_updated", json!({"model": model, "diff": {"users": {"added": [user.pk]}}})).await?;
    Ok(format!("{} is an administrator now", user.username))
}

async fn unlock(ctx: &Context, change: &mut Change<'_>, user: &Account) -> Result<String, Failure> {
    let mut counters = limits::clear(ctx, change.conn(), &user.username).await?;
    if !user.email.is_empty() {
        counters += limits::clear(ctx, change.conn(), &user.email).await?;
    }
    // Policies may refuse whom too many failures have given a bad name.
    let scores = reputation::forget_in(change, &user.username).await?;
    let model = portcullis_idp::event::model("authentik_core", "user", user.pk, &user.username);
    let message = "Counters of failed attempts and reputation scores were cleared.";
    change.event("model_updated", json!({"model": model, "message": message})).await?;
    let (counters, scores) = (counted(counters, "counter"), counted(scores, "reputation score"));
    Ok(format!("{}: {counters} of failed attempts and {scores} cleared", user.username))
}
