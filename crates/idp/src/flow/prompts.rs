//! Forms: a new password, the user's own fields, the first administrator (CO-324, CO-326, CO-327, CO-486).

use portcullis_core::keys::same_secret;
use serde_json::Value;

use super::challenge::{Field, Remedy};
use super::run::{Pending, Step};
use super::{Desk, Fields, text};
use crate::change::Change;
use crate::directory::users;
use crate::error::{Error, Problems};
use crate::own_fields::{self, Changes};
use crate::{bootstrap, password, password_rules, recovery, setup};

/// A new password, twice.
pub(super) const PASSWORDS: [Field; 2] = [
    Field {
        key: "password",
        label: "Password",
        kind: "password",
        required: true,
        value: String::new(),
        read_only: false,
    },
    Field {
        key: "password_repeat",
        label: "Password, once more",
        kind: "password",
        required: true,
        value: String::new(),
        read_only: false,
    },
];

/// What the first administrator is asked besides.
pub(super) const FIRST: [Field; 2] = [
    Field { key: "code", label: "Setup code", kind: "text", required: true, value: String::new(), read_only: false },
    Field {
        key: "email",
        label: "E-mail address",
        kind: "email",
        required: true,
        value: String::new(),
        read_only: false,
    },
];

/// Takes the yes to opening a recovery link: mail scanners open links, and say nothing. The link is good until it has led
/// to a new password (CO-324).
pub(super) async fn confirm(desk: &mut Desk<'_>, fields: &Fields) -> Result<(), Error> {
    let given = text(fields, "token").unwrap_or_default();
    let asked = desk.run.token.clone().filter(|asked| same_secret(asked.as_bytes(), given.as_bytes()));
    if asked.is_none() {
        desk.problem("token", "Please answer once more.", "invalid");
        return Ok(());
    }
    desk.run.token = None;
    "recovery".clone_into(&mut desk.run.auth_method);
    desk.run.step = Step::AfterPassword;
    desk.rotate = true;
    Ok(())
}

/// Takes a new password.
pub(super) async fn new_password(desk: &mut Desk<'_>, fields: &Fields) -> Result<(), Error> {
    let ctx = desk.ctx;
    let Some(account) = desk.account(&mut ctx.db.read().await?).await? else { return Ok(()) };
    let Some(password) = twice(desk, fields) else { return Ok(()) };
    let mut rules = password_rules::check(ctx, &password, &account).await?;
    if desk.is_renewing() && password::verify(&password, account.password_hash.as_deref()).await.is_right() {
        rules.push("This is the password that you have. Please choose another one.".to_owned());
    }
    if !rules.is_empty() {
        for rule in rules {
            desk.problem("password", rule, "invalid");
        }
        return Ok(());
    }
    let hash = match users::hash_of(ctx, &password).await {
        Err(Error::Invalid(problems)) => return told(desk, &problems),
        hashed => hashed?,
    };
    let actor = desk.actor(&account);
    let mut change = Change::begin(ctx, &actor).await?;
    desk.spend(change.conn()).await?;
    // Of two browsers that come by one link, one chooses. Whoever is refused from here on leaves the link as it was.
    if let Some(link) = desk.run.link()
        && !recovery::take(ctx, change.conn(), &link).await?
    {
        desk.deny(recovery::GONE, Remedy::None);
        return Ok(());
    }
    // The hash took its time: meanwhile an administrator may have set another password.
    let now = desk.account(change.conn()).await?;
    if !now.is_some_and(|now| desk.run.pending.is_some_and(|pending| pending.still_holds(&now))) {
        desk.deny("Your account was changed meanwhile. Please begin again.", Remedy::Again);
        return Ok(());
    }
    users::set_hash_in(ctx, &mut change, account.pk, hash, desk.run.sid.as_deref()).await?;
    let changed = desk.account(change.conn()).await?;
    change.commit().await?;
    desk.run.pending = changed.as_ref().map(Pending::of);
    // Whoever came by a link or has to change it is signed in now; whoever changed it themselves is already.
    desk.run.renewed = true;
    desk.run.step = if desk.run.sid.is_some() { Step::Done } else { Step::AfterSecondFactor };
    Ok(())
}

/// The user's own fields as they are.
pub(super) async fn own_fields(desk: &Desk<'_>) -> Result<Vec<Field>, Error> {
    let Some(pending) = desk.run.pending else { return Ok(Vec::new()) };
    let own = own_fields::of(desk.ctx, pending.account).await?;
    let (may, typed) = (own.may_change, &desk.typed);
    let field = |key, label, kind, (own, typed): (String, &Option<String>), may: bool| {
        let value = typed.clone().filter(|_| may).unwrap_or(own);
        Field { key, label, kind, required: may && key == USERNAME, value, read_only: !may }
    };
    Ok(vec![
        field(USERNAME, "User name", "username", (own.username, &typed.username), may.username),
        field("name", "Name", "text", (own.name, &typed.name), may.name),
        field("email", "E-mail address", "email", (own.email, &typed.email), may.email),
        field(LOCALE, "Language", "ak-locale", (own.locale, &typed.locale), true),
    ])
}

const USERNAME: &str = "username";
const LOCALE: &str = "attributes.settings.locale";

/// Takes the user's own fields.
pub(super) async fn settings(desk: &mut Desk<'_>, fields: &Fields) -> Result<(), Error> {
    let ctx = desk.ctx;
    let Some(account) = desk.account(&mut ctx.db.read().await?).await? else { return Ok(()) };
    for field in own_fields(desk).await? {
        match (fields.get(field.key).filter(|value| !value.is_null()), line(fields, field.key)) {
            (Some(_), None) => desk.problem(field.key, "Not a valid string.", "invalid"),
            (None, _) if field.required => desk.problem(field.key, "This field is required.", "required"),
            _ => {}
        }
    }
    let changes = Changes {
        username: line(fields, USERNAME),
        name: line(fields, "name"),
        email: line(fields, "email"),
        locale: line(fields, LOCALE),
    };
    desk.typed = changes.clone();
    if !desk.problems.is_empty() {
        return Ok(());
    }
    match own_fields::change(ctx, &desk.actor(&account), account.pk, changes).await {
        Ok(true) => desk.run.step = Step::EmailSent,
        Ok(false) => desk.run.step = Step::Done,
        Err(Error::Invalid(problems)) => return told(desk, &problems),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// What was typed as one of the user's own fields, which may be nothing at all.
fn line(fields: &Fields, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) => Some(text.trim().to_owned()),
        _ => text(fields, name),
    }
}

/// Sets up the first administrator, and signs in.
pub(super) async fn first_administrator(desk: &mut Desk<'_>, fields: &Fields) -> Result<(), Error> {
    let ctx = desk.ctx;
    let Some(password) = twice(desk, fields) else { return Ok(()) };
    let said = |name: &str| text(fields, name).unwrap_or_default();
    let actor = crate::Actor {
        client: Some(desk.visit.visitor.client),
        request: desk.visit.visitor.request.clone(),
        username: bootstrap::ADMINISTRATOR.to_owned(),
        ..crate::Actor::system()
    };
    match setup::complete(ctx, &actor, &said("code"), said("email").trim(), &password).await {
        Ok(first) => {
            let account = portcullis_store::account::by_pk(&mut ctx.db.read().await?, first).await?;
            desk.run.pending = account.as_ref().map(Pending::of);
            bootstrap::ADMINISTRATOR.clone_into(&mut desk.run.identifier);
            "password".clone_into(&mut desk.run.auth_method);
            desk.run.step = Step::LogIn;
            Ok(())
        }
        Err(Error::Invalid(problems)) => told(desk, &problems),
        Err(Error::Forbidden) => {
            desk.deny("Portcullis is set up already.", Remedy::SignIn);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn twice(desk: &mut Desk<'_>, fields: &Fields) -> Option<String> {
    let Some(password) = text(fields, "password") else {
        desk.problem("password", "This field may not be blank.", "blank");
        return None;
    };
    if text(fields, "password_repeat").as_ref() != Some(&password) {
        desk.problem("password_repeat", "The two passwords differ. Type the same password twice.", "invalid");
        return None;
    }
    Some(password)
}

fn told(desk: &mut Desk<'_>, problems: &Problems) -> Result<(), Error> {
    for (field, messages) in problems.iter() {
        for message in messages {
            desk.problem(field, message.clone(), "invalid");
        }
    }
    Ok(())
}
