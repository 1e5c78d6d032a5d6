//! Accounts of machines, made with their app password in one step (CO-042, OA-620 … OA-622).

use portcullis_core::attributes::Attributes;
use portcullis_core::clock::Timestamp;
use portcullis_core::id::{GroupId, UserPk};
use portcullis_core::permission::{Model, Verb};
use portcullis_core::username;
use portcullis_store::{account, team};
use serde_json::{Value, json};

use super::{groups, lookup, users};
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::settings::Settings;
use crate::tokens;

/// Where service accounts are shown.
pub const PATH: &str = "goauthentik.io/service-accounts";

/// What a service account is made of.
#[derive(Clone, Debug)]
pub struct Wish {
    /// User name, display name and name of the group.
    pub name: String,
    /// Whether a group of the same name is made, with the account in it.
    pub create_group: bool,
    /// Whether its app password ends.
    pub expiring: bool,
    /// When it ends; 360 days from now if not given.
    pub expires: Option<Timestamp>,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The account.
    pub user: UserPk,
    /// Its user name.
    pub username: String,
    /// The key of its app password, told this once.
    pub key: String,
    /// The group.
    pub group: Option<GroupId>,
}

/// Makes a service account with an app password; all or nothing.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permissions, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, wish: Wish) -> Result<Made, Error> {
    actor.need(Verb::Add, Model::USER)?;
    actor.need(Verb::Add, Model::TOKEN)?;
    if wish.create_group {
        actor.need(Verb::Add, Model::GROUP)?;
    }
    let mut change = Change::begin(ctx, actor).await?;
    check(&mut change, &wish).await?;
    let group = match wish.create_group {
        true => {
            let fields = groups::Fields { name: Some(wish.name.clone()), ..groups::Fields::default() };
            Some(groups::create_in(ctx, &mut change, fields).await?)
        }
        false => None,
    };
    let attributes = Attributes::from_iter([(tokens::TOKEN_EXPIRES.to_owned(), Value::Bool(wish.expiring))]);
    let fields = users::Fields {
        username: Some(wish.name.clone()),
        name: Some(wish.name.clone()),
        kind: Some("service_account".to_owned()),
        path: Some(PATH.to_owned()),
        ..users::Fields::default()
    };
    let user = users::create_in(ctx, &mut change, fields).await?;
    if let Some(group) = group {
        // Theirs to fill: they have just made it.
        team::add_member(change.conn(), group, user).await?;
    }
    // Ours to write, whoever asks for the account (CO-068).
    lookup::keep(ctx, change.conn(), user, &attributes).await?;
    let settings = Settings::load(change.conn()).await?;
    let key = tokens::keys::generate(ctx, tokens::APP_PASSWORD, &settings);
    let token = tokens::Fields {
        identifier: Some(identifier(&wish.name)),
        intent: Some(tokens::APP_PASSWORD.to_owned()),
        user: Some(user),
        expires: wish.expires.map(Some),
        expiring: Some(wish.expiring),
        ..tokens::Fields::default()
    };
    let caller = actor.user.ok_or(Error::Forbidden)?;
    tokens::create_in(ctx, &mut change, caller, token, Some(key.clone())).await.map_err(as_whole)?;
    change.commit().await?;
    Ok(Made { user, username: wish.name, key, group })
}

async fn check(change: &mut Change<'_>, wish: &Wish) -> Result<(), Error> {
    let mut problems = Problems::default();
    if let Err(error) = username::check(&wish.name) {
        problems.add("name", error.to_string());
    } else if account::by_username(change.conn(), &wish.name).await?.is_some() {
        problems.add("non_field_errors", users::TAKEN);
    }
    if wish.create_group && team::by_name(change.conn(), &wish.name).await?.is_some() {
        problems.add("non_field_errors", groups::TAKEN);
    }
    problems.check()
}

/// The identifier is made from the name: that it is taken is no fault of a field that the client sent.
fn as_whole(error: Error) -> Error {
    match error {
        Error::Invalid(problems) if problems.has("identifier") => {
            Error::whole("A token for a service account of this name already exists.")
        }
        other => other,
    }
}

/// `service-account-<slug>-password`.
fn identifier(name: &str) -> String {
    let slug: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let slug: Vec<&str> = slug.split('-').filter(|part| !part.is_empty()).collect();
    format!("service-account-{}-password", slug.join("-"))
}

/// What the API answers about a new service account.
pub fn described(ctx: &Context, made: &Made) -> Value {
    let mut described = json!({
        "username": made.username,
        "token": made.key,
        "user_uid": super::uid(ctx, made.user),
        "user_pk": made.user,
    });
    if let (Some(group), Some(described)) = (made.group, described.as_object_mut()) {
        described.insert("group_pk".to_owned(), json!(group));
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-621: the app password's identifier is a slug.
    #[test]
    fn oa_621_identifiers_are_slugs() {
        assert_eq!(identifier("Backup Bot@site"), "service-account-backup-bot-site-password");
        assert_eq!(identifier("_x"), "service-account-_x-password");
    }
}
