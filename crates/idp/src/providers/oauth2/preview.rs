//! What a client would be told of a user (CO-286).

use std::sync::Arc;

use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_core::permission::{Model, Verb, special};
use serde_json::Value;

use super::super::{Kind, get};
use crate::claims::{self, offered_scopes, told, without_attributes};
use crate::context::{Actor, Context, Visitor};
use crate::directory::{self, secret_keys};
use crate::entitlements;
use crate::error::Error;
use crate::mappings::native::Native;
use crate::oauth::OAuthError;
use crate::oauth::client::Client;
use crate::oauth::issue::{self, Basis, Ground};

/// The claims of a token with all scopes, for a user; nothing is issued or recorded, and secrets are masked.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permissions, [`Error::NotFound`], also without an application,
/// [`Error::Invalid`] for a user that does not exist or would have no subject.
pub async fn preview(
    ctx: &Context,
    actor: &Actor,
    visitor: &Visitor,
    pk: ProviderPk,
    user: UserPk,
) -> Result<Value, Error> {
    get(ctx, actor, pk, Kind::OAuth2).await?;
    if actor.user != Some(user) {
        actor.need_right_on(special::PREVIEW_USER, Model::USER, &user)?;
    }
    let mut conn = ctx.db.read().await?;
    let client = Client::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound(Kind::OAuth2.name()))?;
    // Expressions look up whomever they like.
    let looks = client.mappings.iter().any(|mapping| Native::of(&mapping.expression).is_none());
    if looks && !actor.may(Verb::View, Model::USER) {
        return Err(Error::Forbidden);
    }
    let person = directory::person(ctx, &mut conn, user).await?;
    let person = person.ok_or_else(|| Error::field("for_user", "User not found"))?;
    let sender = match actor.user {
        Some(sender) => directory::person(ctx, &mut conn, sender).await?.map(Arc::new),
        None => None,
    };
    let secrets = secret_keys(ctx, &mut conn).await?;
    let application = client.application.as_ref().ok_or(Error::NotFound("Application"))?;
    let entitlements = entitlements::names(&mut conn, &person, application.uuid).await?;
    drop(conn);
    let scopes = offered_scopes(&client.mappings);
    let basis = Basis {
        client: &client,
        application,
        person: &person,
        entitlements: &entitlements,
        scopes: &scopes,
        login: None,
        nonce: None,
        ground: Ground::default(),
        visitor: &Visitor { sender, explained: true, ..visitor.clone() },
        foretold: None,
    };
    let said = issue::statement(ctx, &basis).await.map_err(|error| match error {
        OAuthError::Unavailable(error) => error,
        _ => Error::field("for_user", "This user has no subject for this client."),
    })?;
    let claims: claims::ClaimSet = told(&client.provider, without_attributes(said.claims));
    Ok(Value::Object(secrets.masked(&claims)))
}
