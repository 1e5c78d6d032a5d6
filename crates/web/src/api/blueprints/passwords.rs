//! Passwords that blueprints set (CO-732). Hashing takes its time and the rules may ask others, so that both are done
//! between the dry run, which finds out what is wanted, and the run proper.

use std::collections::HashSet;
use std::time::Duration;

use portcullis_core::id::UserPk;
use portcullis_idp::directory::users::{self, JudgedPassword};
use portcullis_idp::{Account, Change, Context, Error, Problems, password};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::apply::Refused;
use super::write::Refusal;

/// What is wanted, and what is ready.
#[derive(Default)]
pub(super) struct Passwords {
    wanted: Vec<Wanted>,
    ready: Vec<Ready>,
    is_ready: bool,
    set: HashSet<String>,
}

struct Wanted {
    account: Account,
    password: Zeroizing<String>,
}

/// Where a part began that may be undone.
pub(super) struct Before {
    wanted: usize,
    set: HashSet<String>,
}

struct Ready {
    username: String,
    password: Zeroizing<String>,
    /// The hash that was there when the password was looked at.
    stored: Option<String>,
    /// Nothing when the password verifies already; problems when it cannot be one.
    judged: Option<Result<JudgedPassword, Problems>>,
}

impl Passwords {
    /// Has a user have this password; tells whether they had another.
    ///
    /// # Errors
    /// [`Refusal`]; then the transaction is not to be committed.
    pub(super) async fn set(&mut self, change: &mut Change<'_>, user: UserPk, password: &str) -> Result<bool, Refusal> {
        let account = users::record_in(change, user).await?;
        let password = Zeroizing::new(password.to_owned());
        if !self.is_ready {
            self.wanted.push(Wanted { account, password });
            return Ok(false);
        }
        let name = account.username;
        let ready = self.ready.iter().find(|ready| ready.username == name && ready.password == password);
        let ready = ready.filter(|ready| ready.stored == account.password_hash || self.set.contains(&name));
        let Some(Ready { judged, .. }) = ready else {
            let message = "The user was changed meanwhile; apply the blueprint again.";
            return Err(Error::field("password", message).into());
        };
        let Some(judged) = judged.clone() else { return Ok(false) };
        users::set_password_in(change, user, judged.map_err(Error::Invalid)?).await?;
        self.set.insert(name);
        Ok(true)
    }

    /// Where a part begins.
    pub(super) fn before_part(&self) -> Before {
        Before { wanted: self.wanted.len(), set: self.set.clone() }
    }

    /// Forgets what an undone part has wanted and set.
    pub(super) fn undo(&mut self, before: Before) {
        self.wanted.truncate(before.wanted);
        self.set = before.set;
    }

    /// Does what takes its time. Never call it inside a transaction. A password that cannot be one is a matter of the
    /// entry that sets it: it may stand in a part that may fail.
    ///
    /// # Errors
    /// [`Refused`] when the time is over, or the store fails.
    pub(super) async fn prepare(&mut self, ctx: &Context, until: Instant, within: Duration) -> Result<(), Refused> {
        for Wanted { account, password } in std::mem::take(&mut self.wanted) {
            if Instant::now() >= until {
                return Err(Refused::too_late(within));
            }
            let stored = account.password_hash.clone();
            let judged = match password::verify(&password, stored.as_deref()).await.is_right() {
                true => None,
                false => match users::judge_password(ctx, &password, &account).await {
                    Ok(judged) => Some(Ok(judged)),
                    Err(Error::Invalid(problems)) => Some(Err(problems)),
                    Err(error) => return Err(Refused::of_error(error)),
                },
            };
            self.ready.push(Ready { username: account.username, password, stored, judged });
        }
        self.is_ready = true;
        Ok(())
    }
}
