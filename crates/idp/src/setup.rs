//! First sign-in of an instance without a bootstrap password: a one-time code, told to whoever can read
//! the server's log, opens the setup page (CO-486).

use std::sync::Mutex;

use portcullis_core::id::UserPk;
use portcullis_core::keys::same_secret;
use portcullis_store::{Conn, account, instance};
use serde_json::{Value, json};

use crate::bootstrap::ADMINISTRATOR;
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::directory::users;
use crate::error::{Error, Problems};
use crate::password_rules;

/// Member of the settings that says that setup is still to be done.
pub(crate) const OPEN: &str = "setup_open";

/// The setup code of this process, if setup is open. Start with the default.
#[derive(Default)]
pub struct Code(Mutex<Option<String>>);

impl Code {
    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn set(&self, code: Option<String>) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = code;
    }
}

/// Makes a fresh code if setup is still to be done. Call it once at start, and tell the administrator.
///
/// # Errors
/// When the store fails.
pub async fn open(ctx: &Context) -> Result<Option<String>, Error> {
    let mut conn = ctx.db.read().await?;
    let code = is_due(&mut conn).await?.then(|| written(&ctx.entropy.bytes::<16>()));
    ctx.setup.set(code.clone());
    Ok(code)
}

/// The code that the setup page asks for; none when setup is done by it, or was never needed.
pub fn code(ctx: &Context) -> Option<String> {
    ctx.setup.get()
}

/// Whether the setup page does anything: there is a code, and nobody has given the administrator a password by
/// other means.
///
/// # Errors
/// When the store fails.
pub async fn is_open(ctx: &Context) -> Result<bool, Error> {
    Ok(code(ctx).is_some() && is_due(&mut ctx.db.read().await?).await?)
}

/// Gives the first administrator an e-mail address and a password, if the code is right. The code is good
/// for one time. Counting failures is the caller's business.
///
/// # Errors
/// [`Error::Invalid`] on `code`, `email` or `password`; [`Error::Forbidden`] when setup is done.
pub async fn complete(ctx: &Context, actor: &Actor, given: &str, email: &str, password: &str) -> Result<UserPk, Error> {
    let expected = code(ctx).ok_or(Error::Forbidden)?;
    if !same_secret(plain(given).as_bytes(), plain(&expected).as_bytes()) {
        return Err(Error::field("code", "This is not the setup code of this start."));
    }
    let mut problems = Problems::default();
    if email.is_empty() {
        problems.add("email", "This field may not be blank.");
    } else if !users::is_email(email) {
        problems.add("email", "Enter a valid email address.");
    }
    let first = account::by_username(&mut ctx.db.read().await?, ADMINISTRATOR).await?.ok_or(Error::NotFound("User"))?;
    for rule in password_rules::check(ctx, password, &first).await? {
        problems.add("password", rule);
    }
    problems.check()?;
    let hash = users::hash_of(ctx, password).await?;
    let mut change = Change::begin(ctx, actor).await?;
    // Inside the transaction: of two that come at once, one finds it done.
    if !is_due(change.conn()).await? {
        return Err(Error::Forbidden);
    }
    let mut first = account::by_username(change.conn(), ADMINISTRATOR).await?.ok_or(Error::NotFound("User"))?;
    email.clone_into(&mut first.email);
    account::update(change.conn(), &first).await?;
    users::set_hash_in(ctx, &mut change, first.pk, hash, None).await?;
    close(change.conn()).await?;
    change.commit().await?;
    ctx.setup.set(None);
    Ok(first.pk)
}

/// Whether nobody has given the first administrator a password yet.
///
/// # Errors
/// When the store fails.
pub(crate) async fn is_due(conn: &mut Conn) -> Result<bool, Error> {
    let settings = instance::get(conn).await?.map(|instance| instance.settings).unwrap_or_default();
    let open = settings.get(OPEN).and_then(Value::as_bool).unwrap_or_default();
    // A password that was set by other means, by API for instance, closes the page as well.
    let first = account::by_username(conn, ADMINISTRATOR).await?;
    Ok(open && first.is_some_and(|first| first.password_hash.is_none()))
}

async fn close(conn: &mut Conn) -> Result<(), Error> {
    let mut settings = instance::get(conn).await?.map(|instance| instance.settings).unwrap_or_else(|| json!({}));
    if let Some(settings) = settings.as_object_mut() {
        settings.remove(OPEN);
    }
    Ok(instance::set_settings(conn, &settings).await?)
}

/// 128 bits as eight groups of four hex digits.
fn written(bytes: &[u8; 16]) -> String {
    bytes.chunks(2).map(hex::encode).collect::<Vec<_>>().join("-")
}

/// The digits of a code, however it was typed.
fn plain(code: &str) -> String {
    code.chars().filter(|c| !c.is_whitespace() && *c != '-').take(64).collect::<String>().to_ascii_lowercase()
}
