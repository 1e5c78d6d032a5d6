//! Events as they are looked at, and told by others (CO-413, CO-415, CO-573).

use std::net::{IpAddr, SocketAddr};

use portcullis_core::permission::{Model, Verb};
use portcullis_store::event::{self, Event, Filter};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{CLEANSED, record_of};
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::list::{Listed, Slice};

/// What the actions of others begin with.
pub const CUSTOM: &str = "custom_";

/// The actions that events can have, with their names for people (CO-412).
pub const ACTIONS: [(&str, &str); 24] = [
    ("login", "Login"),
    ("login_failed", "Login Failed"),
    ("logout", "Logout"),
    ("user_write", "User Write"),
    ("suspicious_request", "Suspicious Request"),
    ("password_set", "Password Set"),
    ("secret_view", "Secret View"),
    ("secret_rotate", "Secret Rotate"),
    ("authorize_application", "Authorize Application"),
    ("source_linked", "Source Linked"),
    ("impersonation_started", "Impersonation Started"),
    ("impersonation_ended", "Impersonation Ended"),
    ("flow_execution", "Flow Execution"),
    ("policy_execution", "Policy Execution"),
    ("policy_exception", "Policy Exception"),
    ("property_mapping_exception", "Property Mapping Exception"),
    ("system_exception", "System Exception"),
    ("configuration_error", "Configuration Error"),
    ("configuration_warning", "Configuration Warning"),
    ("model_created", "Model Created"),
    ("model_updated", "Model Updated"),
    ("model_deleted", "Model Deleted"),
    ("email_sent", "Email Sent"),
    (CUSTOM, "Custom"),
];

/// An event that somebody tells of.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// One of [`ACTIONS`], or one that begins with [`CUSTOM`].
    pub action: String,
    /// The part that tells.
    pub app: String,
    /// What it is about: a JSON object.
    pub context: Option<Value>,
    /// The address that it came from, perhaps with a port. Believed of outposts alone.
    pub client: Option<String>,
}

/// The events that meet conditions.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission.
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<Event>, Error> {
    let slice = slice.of(actor.sees(Model::EVENT)?);
    Ok(event::list(&mut ctx.db.read().await?, filter, slice).await?)
}

/// One event.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn get(ctx: &Context, actor: &Actor, pk: Uuid) -> Result<Event, Error> {
    actor.need_on(Verb::View, Model::EVENT, &pk)?;
    event::by_pk(&mut ctx.db.read().await?, pk).await?.ok_or(Error::NotFound("Event"))
}

/// Records what an administrator tells of. Who, when and from where is what the instance knows (CO-415).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for an unknown action.
pub async fn tell(ctx: &Context, actor: &Actor, told: Told) -> Result<Event, Error> {
    actor.need(Verb::Add, Model::EVENT)?;
    let mut problems = Problems::default();
    let Told { mut action, app, context, client } = told;
    let context = context.unwrap_or_else(|| json!({}));
    if !context.is_object() {
        problems.add("context", "Value must be a dictionary, and not have any duplicate keys.");
    }
    if action == CUSTOM
        && let Some(full) = context.get("custom_action").and_then(Value::as_str)
        && full.starts_with(CUSTOM)
    {
        full.clone_into(&mut action);
    }
    let known = ACTIONS.iter().any(|(known, _)| *known == action);
    if !known && !action.starts_with(CUSTOM) || action.chars().count() > 255 {
        problems.add("action", format!("\"{action}\" is not a valid choice."));
    }
    problems.limit("app", &app);
    problems.check()?;
    let mut change = Change::begin(ctx, actor).await?;
    let relayed = client.as_deref().and_then(address).filter(|_| actor.serving().is_some());
    let teller = Actor { client: relayed.or(actor.client), ..actor.clone() };
    let recorded = record_of(ctx, change.conn(), &teller, &app, &action, without_headers(context, false)).await?;
    change.commit().await?;
    super::log(&recorded);
    Ok(recorded)
}

/// An address, without the port that may come with it (PX-408).
fn address(text: &str) -> Option<IpAddr> {
    let alone = text.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let address: IpAddr = alone.or_else(|| text.parse::<SocketAddr>().ok().map(|both| both.ip()))?;
    Some(address.to_canonical())
}

/// Replaces what stands under the word for headers: any of them may be somebody's credential (PX-408).
fn without_headers(value: Value, under: bool) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .map(|(key, value)| {
                let under = under || key.to_lowercase().contains("header");
                (key, without_headers(value, under))
            })
            .collect(),
        Value::Array(list) => list.into_iter().map(|value| without_headers(value, under)).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) if under => Value::from(CLEANSED),
        plain => plain,
    }
}
