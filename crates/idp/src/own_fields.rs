//! What users may change of themselves (CO-327).

pub mod address;

use portcullis_core::attributes::Attributes;
use portcullis_core::id::UserPk;
use portcullis_core::username;
use portcullis_store::{Conn, account, instance};
use serde_json::{Value, json};

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::directory::{self, Person, lookup, users};
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::mail::{Job, Letter};

/// What is shown to a user of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name (CO section 3)")]
pub struct OwnFields {
    pub username: String,
    pub name: String,
    pub email: String,
    pub locale: String,
    pub may_change: MayChange,
}

/// Which of their own fields a user may change (CO-327).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name (CO section 3)")]
pub struct MayChange {
    pub username: bool,
    pub name: bool,
    pub email: bool,
}

/// What a user wants to change; absent members stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name (CO section 3)")]
pub struct Changes {
    pub username: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
    pub locale: Option<String>,
}

/// Longest name of a language, such as `zh-Hans`.
const LONGEST_LOCALE: usize = 35;

/// A user's own fields.
///
/// # Errors
/// [`Error::NotFound`]; else when the store fails.
pub async fn of(ctx: &Context, pk: UserPk) -> Result<OwnFields, Error> {
    let mut conn = ctx.db.read().await?;
    let person = directory::person(ctx, &mut conn, pk).await?.ok_or(Error::NotFound("User"))?;
    let may_change = MayChange {
        username: may(&mut conn, &person, "username").await?,
        name: may(&mut conn, &person, "name").await?,
        email: may(&mut conn, &person, "email").await?,
    };
    let locale = locale_of(&person.own_attributes);
    let account = person.account;
    Ok(OwnFields { username: account.username, name: account.name, email: account.email, locale, may_change })
}

fn locale_of(attributes: &Attributes) -> String {
    let locale = attributes.get("settings").and_then(|settings| settings.get("locale"));
    locale.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Whether a user may change one of their own fields: they themselves, or else everybody. Where nothing is said, names may be
/// changed, and what one signs in by may not.
async fn may(conn: &mut Conn, person: &Person, what: &str) -> Result<bool, Error> {
    let settings = instance::get(conn).await?.map(|instance| instance.settings).unwrap_or_default();
    let own = person.effective_attributes.get(&format!("goauthentik.io/user/can-change-{what}"));
    let default = settings.get(format!("default_user_change_{what}"));
    Ok(own.and_then(Value::as_bool).or_else(|| default.and_then(Value::as_bool)).unwrap_or(what == "name"))
}

/// Changes a user's own fields, as far as the user or the instance allows. Where there is mail, a new address counts only
/// once it is confirmed; tells whether that is so now.
///
/// # Errors
/// [`Error::Invalid`] by field; [`Error::NotFound`]; [`Error::Busy`] when too much mail waits; else when the store fails.
pub async fn change(ctx: &Context, actor: &Actor, pk: UserPk, wanted: Changes) -> Result<bool, Error> {
    // An address may be what somebody signs in by, and where links go that they recover by.
    actor.need_to_be_themselves()?;
    let mut change = Change::begin(ctx, actor).await?;
    let person = directory::person(ctx, change.conn(), pk).await?.ok_or(Error::NotFound("User"))?;
    let (mut changed, mut problems) = (person.account.clone(), Problems::default());
    let mut to_confirm = None;
    if let Some(name) = wanted.username.filter(|name| *name != changed.username) {
        match username::check(&name) {
            _ if !may(change.conn(), &person, "username").await? => {
                problems.add("username", "Not allowed to change username.")
            }
            Ok(()) => changed.username = name,
            Err(error) => problems.add("username", error.to_string()),
        }
    }
    if let Some(name) = wanted.name.filter(|name| *name != changed.name) {
        if may(change.conn(), &person, "name").await? {
            problems.limit_indexed("name", &name);
            if name.contains('\0') {
                problems.add("name", "Null characters are not allowed.");
            }
            changed.name = name;
        } else {
            problems.add("name", "Not allowed to change name.");
        }
    }
    if let Some(email) = wanted.email.filter(|email| *email != changed.email) {
        if !may(change.conn(), &person, "email").await? {
            problems.add("email", "Not allowed to change email address.");
        } else if !email.is_empty() && (email.chars().count() > 254 || !users::is_email(&email)) {
            problems.add("email", "Enter a valid email address.");
        } else if ctx.mail.is_on() && !email.is_empty() {
            to_confirm = Some(email);
        } else {
            changed.email = email;
        }
    }
    let mut attributes = person.own_attributes.clone();
    if let Some(locale) = wanted.locale.filter(|locale| *locale != locale_of(&attributes)) {
        if !locale.is_empty() && !is_language(&locale) {
            problems.add("attributes.settings.locale", "This is not a language: use a tag such as en or de-CH.");
        } else {
            set_locale(&mut attributes, locale);
        }
    }
    let mut letter = None;
    if let Some(email) = to_confirm.filter(|_| problems.is_empty()) {
        letter = address::letter(&mut change, &person.account, &email, &mut problems).await?;
    }
    problems.check()?;
    if attributes != person.own_attributes {
        changed.attributes_sealed = lookup::keep(ctx, change.conn(), pk, &attributes).await?;
    }
    if changed == person.account {
        // Only that a mail is sent is to be kept.
        change.commit().await?;
        return sent(ctx, actor, letter);
    }
    changed.last_updated = ctx.now();
    let taken = |error| Error::taken(error, "account.username_folded", "username", users::TAKEN);
    account::update(change.conn(), &changed).await.map_err(taken)?;
    change.touch(Touched::User(changed.uuid));
    let shown = |account: &account::Account, attributes: &Attributes| json!({"username": account.username, "name": account.name, "email": account.email, "locale": locale_of(attributes)});
    let difference = diff(&shown(&person.account, &person.own_attributes), &shown(&changed, &attributes));
    let named = model("authentik_core", "user", pk, &changed.username);
    change.event("user_write", json!({"model": named, "diff": difference, "created": false})).await?;
    change.commit().await?;
    sent(ctx, actor, letter)
}

/// Has a letter sent, if there is one.
fn sent(ctx: &Context, actor: &Actor, letter: Option<Letter>) -> Result<bool, Error> {
    let Some(letter) = letter else { return Ok(false) };
    match ctx.mail.leave(Job::Letter { actor: actor.clone(), letter: Box::new(letter) }) {
        true => Ok(true),
        false => Err(Error::Busy),
    }
}

/// Whether this is a well-formed tag of a language (RFC 5646 §2.1), or one with `_` as some systems write it: letters for the
/// language, then parts of at most eight letters and digits.
fn is_language(tag: &str) -> bool {
    let mut parts = tag.split(['-', '_']);
    let language = parts.next().unwrap_or_default();
    tag.len() <= LONGEST_LOCALE
        && (2..=8).contains(&language.len())
        && language.chars().all(|c| c.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric()))
}

fn set_locale(attributes: &mut Attributes, locale: String) {
    let settings = attributes.entry("settings").or_insert_with(|| json!({}));
    if !settings.is_object() {
        *settings = json!({});
    }
    if let Some(settings) = settings.as_object_mut() {
        settings.insert("locale".to_owned(), Value::String(locale));
    }
}
