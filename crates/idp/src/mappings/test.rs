//! Mappings, tried out (CO-285).

use portcullis_core::id::{GroupId, MappingId, UserPk};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::{mapping, team};
use serde_json::{Map, Value};

use super::engine::{About, Question};
use super::native::Native;
use crate::context::{Actor, Context, Visitor};
use crate::directory;
use crate::error::Error;

/// What a mapping is tried out with.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// `user`.
    pub user: Option<UserPk>,
    /// `group`.
    pub group: Option<GroupId>,
    /// `context`.
    pub context: Map<String, Value>,
    /// Whether the result is indented.
    pub formatted: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Whether the expression came to its end.
    pub successful: bool,
    /// The result as JSON, or why there is none.
    pub result: String,
}

/// Tries a mapping out. Nothing is recorded, and secrets are masked (CO-472).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, also to see user or group, [`Error::NotFound`],
/// [`Error::Invalid`] for a user or group that does not exist.
pub async fn test(
    ctx: &Context,
    actor: &Actor,
    visitor: &Visitor,
    pk: MappingId,
    trial: &Trial,
) -> Result<Tried, Error> {
    actor.need_on(Verb::View, Model::MAPPING, &pk)?;
    let mut conn = ctx.db.read().await?;
    let tried = mapping::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound("PropertyMapping"))?;
    // Expressions look up whomever they like.
    if Native::of(&tried.expression).is_none() && !actor.may(Verb::View, Model::USER) {
        return Err(Error::Forbidden);
    }
    let absent = |field: &str, pk: &dyn std::fmt::Display| {
        Error::field(field, format!("Invalid pk \"{pk}\" - object does not exist."))
    };
    // Nobody learns here whether somebody is there whom they may not see.
    let hidden_user = trial.user.is_some_and(|user| !actor.may_on(Verb::View, Model::USER, &user));
    let hidden_group = trial.group.is_some_and(|group| !actor.may_on(Verb::View, Model::GROUP, &group));
    if hidden_user || hidden_group {
        return Err(Error::Forbidden);
    }
    let person = match trial.user {
        Some(user) => Some(directory::person(ctx, &mut conn, user).await?.ok_or_else(|| absent("user", &user))?),
        None => None,
    };
    if let Some(group) = trial.group
        && team::by_pk(&mut conn, group).await?.is_none()
    {
        return Err(absent("group", &group));
    }
    let sender = match actor.user {
        Some(user) => directory::person(ctx, &mut conn, user).await?,
        None => None,
    };
    let secrets = directory::secret_keys(ctx, &mut conn).await?;
    drop(conn);
    let outcome = match (Native::of(&tried.expression), &person) {
        (Some(native), Some(person)) => Ok(native.evaluate(None, person, &[])),
        (Some(Native::Nothing), None) => Ok(Value::Object(Map::new())),
        (Some(_), None) => Err("This mapping needs a user.".to_owned()),
        (None, _) => {
            let about = About::Test { person: person.as_ref(), context: &trial.context, sender: sender.as_ref() };
            let question = Question { mapping: &tried.name, expression: &tried.expression, about, visitor };
            ctx.mapping_engine.evaluate(ctx, &question).await.map(|said| said.value)
        }
    };
    Ok(match outcome {
        Ok(Value::Object(said)) => shown(&Value::Object(secrets.masked(&said)), trial.formatted),
        Ok(said) => shown(&said, trial.formatted),
        Err(error) => Tried { successful: false, result: error },
    })
}

fn shown(said: &Value, formatted: bool) -> Tried {
    let result = if formatted { indented(said) } else { said.to_string() };
    Tried { successful: true, result }
}

/// By four blanks.
fn indented(value: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => value.to_string(),
    }
}
