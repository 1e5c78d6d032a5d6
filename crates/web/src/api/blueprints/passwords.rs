//! Passwords that blueprints set (CO-732). Hashing takes its time and the rules may ask others, so that both are done
//! between the dry run, which finds out what is wanted, and the run proper.

use std::collections::HashSet;

use portcullis_core::id::UserPk;
use portcullis_idp::directory::users::{self, JudgedPassword};
use portcullis_idp::{Account, Change, Context, Error, password};
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
    place: String,
}

struct Ready {
    username: String,
    password: Zeroizing<String>,
    /// The hash that was there when the password was looked at.
    stored: Option<String>,
    /// Nothing when the password verifies already.
    judged: Option<JudgedPassword>,
}

impl Passwords {
    /// Has a user have this password; tells whether they had another.
    ///
    /// # Errors
    /// [`Refusal`]; then the transaction is not to be committed.
    pub(super) async fn set(
        &mut self,
        change: &mut Change<'_>,
        user: UserPk,
        password: &str,
        place: &str,
    ) -> Result<bool, Refusal> {
        let account = users::record_in(change, user).await?;
        let password = Zeroizing::new(password.to_owned());
        if !self.is_ready {
            self.wanted.push(Wanted { account, password, place: place.to_owned() });
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
        users::set_password_in(change, user, judged).await?;
        self.set.insert(name);
        Ok(true)
    }

    /// Does what takes its time. Never call it inside a transaction.
    ///
    /// # Errors
    /// [`Refused`] when a password cannot be one.
    pub(super) async fn prepare(&mut self, ctx: &Context) -> Result<(), Refused> {
        for Wanted { account, password, place } in std::mem::take(&mut self.wanted) {
            let stored = account.password_hash.clone();
            let judged = match password::verify(&password, stored.as_deref()).await.is_right() {
                true => None,
                false => {
                    let judged = users::judge_password(ctx, &password, &account).await;
                    Some(judged.map_err(|error| Refused::of_error(error).within(&place))?)
                }
            };
            self.ready.push(Ready { username: account.username, password, stored, judged });
        }
        self.is_ready = true;
        Ok(())
    }
}
