//! What users may change of themselves (CO-327).

use portcullis_core::attributes::Attributes;
use portcullis_core::id::UserPk;
use portcullis_core::username;
use portcullis_store::{account, instance};
use serde_json::{Value, json};

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::directory::{self, account_attributes, account_place, seal, users};
use crate::error::{Error, Problems};
use crate::event::{diff, model};

/// What is shown to a user of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name (CO section 3)")]
pub struct OwnFields {
    pub username: String,
    pub name: String,
    pub email: String,
    pub locale: String,
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
    let account = account::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound("User"))?;
    let locale = locale_of(&account_attributes(ctx, &account)?);
    Ok(OwnFields { username: account.username, name: account.name, email: account.email, locale })
}

fn locale_of(attributes: &Attributes) -> String {
    let locale = attributes.get("settings").and_then(|settings| settings.get("locale"));
    locale.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Changes a user's own fields, as far as the user or the instance allows.
///
/// # Errors
/// [`Error::Invalid`] by field; [`Error::NotFound`]; else when the store fails.
pub async fn change(ctx: &Context, actor: &Actor, pk: UserPk, wanted: Changes) -> Result<(), Error> {
    // An address may be what somebody signs in by, and where links go that they recover by.
    actor.need_to_be_themselves()?;
    let mut change = Change::begin(ctx, actor).await?;
    let person = directory::person(ctx, change.conn(), pk).await?.ok_or(Error::NotFound("User"))?;
    let settings = instance::get(change.conn()).await?.map(|instance| instance.settings).unwrap_or_default();
    let may = |what: &str, otherwise: bool| {
        let own = person.effective_attributes.get(&format!("goauthentik.io/user/can-change-{what}"));
        let default = settings.get(format!("default_user_change_{what}"));
        own.and_then(Value::as_bool).or_else(|| default.and_then(Value::as_bool)).unwrap_or(otherwise)
    };
    let (mut changed, mut problems) = (person.account.clone(), Problems::default());
    if let Some(name) = wanted.username.filter(|name| *name != changed.username) {
        match username::check(&name) {
            _ if !may("username", false) => problems.add("username", "Not allowed to change username."),
            Ok(()) => changed.username = name,
            Err(error) => problems.add("username", error.to_string()),
        }
    }
    if let Some(name) = wanted.name.filter(|name| *name != changed.name) {
        if may("name", true) {
            problems.limit("name", &name);
            changed.name = name;
        } else {
            problems.add("name", "Not allowed to change name.");
        }
    }
    if let Some(email) = wanted.email.filter(|email| *email != changed.email) {
        if !may("email", false) {
            problems.add("email", "Not allowed to change email address.");
        } else if !email.is_empty() && (email.chars().count() > 254 || !users::is_email(&email)) {
            problems.add("email", "Enter a valid email address.");
        } else {
            changed.email = email;
        }
    }
    let mut attributes = person.own_attributes.clone();
    if let Some(locale) = wanted.locale.filter(|locale| *locale != locale_of(&attributes)) {
        let plain = locale.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !plain || locale.len() > LONGEST_LOCALE {
            problems.add("attributes.settings.locale", "This is not a language.");
        } else {
            set_locale(&mut attributes, locale);
        }
    }
    problems.check()?;
    if attributes != person.own_attributes {
        changed.attributes_sealed = seal(ctx, &account_place(pk), &attributes);
    }
    if changed == person.account {
        return Ok(());
    }
    changed.last_updated = ctx.now();
    let taken = |error| Error::taken(error, "account.username_folded", "username", users::TAKEN);
    account::update(change.conn(), &changed).await.map_err(taken)?;
    change.touch(Touched::User(changed.uuid));
    let shown = |account: &account::Account, attributes: &Attributes| json!({"username": account.username, "name": account.name, "email": account.email, "locale": locale_of(attributes)});
    let difference = diff(&shown(&person.account, &person.own_attributes), &shown(&changed, &attributes));
    let named = model("authentik_core", "user", pk, &changed.username);
    change.event("user_write", json!({"model": named, "diff": difference, "created": false})).await?;
    change.commit().await
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
