//! What blueprints may say beyond the fields of the API (CO-732, CO-736).

use portcullis_core::id::RoleId;
use portcullis_idp::managed::{self, Kind as Managed};
use portcullis_idp::{Change, Error, roles, tokens};
use serde_json::{Value, json};

use super::granted::Granted;
use super::model::Model;
use super::taken_over::TakenOver;
use super::write::{Refusal, parsed, refused, user};
use crate::api::body::Body;

/// Attributes that the API has no field for.
#[derive(Default)]
pub(super) struct Extras {
    /// A user's.
    pub(super) password: Option<String>,
    /// A token's.
    pub(super) key: Option<String>,
    /// A permanent name.
    pub(super) managed: Option<String>,
    permissions: Vec<String>,
    /// All that there are to be.
    all_permissions: Option<Vec<String>>,
    /// What is kept of where it comes from.
    pub(super) taken_over: TakenOver,
}

/// What a role is to grant besides; also where an entry says who may do what to its object.
pub(super) const PERMISSIONS: &str = "permissions";
/// Our own: everything that a role grants; what it granted besides is taken away.
pub(super) const ALL_PERMISSIONS: &str = "all_permissions";

impl Extras {
    /// Takes them out of what the API's reader gets.
    pub(super) fn take(model: Model, body: &mut Body, takes_over: bool) -> Result<Self, Refusal> {
        let mut extras = Self::default();
        if takes_over {
            extras.taken_over = TakenOver::take(body)?;
        }
        let text = |body: &mut Body, field: &str| match body.take(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(refused(field, "Not a valid string.")),
        };
        match model {
            Model::User => extras.password = text(body, "password")?,
            Model::Token => extras.key = text(body, "key")?,
            Model::Application => {
                if let Some(icon) = text(body, "icon")? {
                    body.put("meta_icon", icon.into());
                }
            }
            _ => {}
        }
        if matches!(model, Model::User | Model::Role) {
            extras.permissions = names(body, PERMISSIONS)?.unwrap_or_default();
            extras.all_permissions = names(body, ALL_PERMISSIONS)?;
        }
        if kind_of_managed(model).is_some() || model == Model::Outpost {
            extras.managed = text(body, "managed")?;
        }
        Ok(extras)
    }

    /// Tells whether anything was different.
    pub(super) async fn write(
        &self,
        change: &mut Change<'_>,
        model: Model,
        key: &Value,
        found: &Value,
        granted: &mut Granted,
    ) -> Result<bool, Refusal> {
        let mut changed = self.taken_over.write(change, model, key).await?;
        if let (Some(token), Some(wanted)) = (found.get("identifier").and_then(Value::as_str), &self.key) {
            changed |= tokens::keys::set_in(change, token, wanted).await?;
        }
        if let (Some(kind), Some(managed), Some(key)) = (kind_of_managed(model), &self.managed, key.as_str())
            && found.get("managed") != Some(&json!(managed))
        {
            managed::set_in(change, kind, key, managed).await?;
            changed = true;
        }
        let Some(role) = self.role(change, model, key).await? else { return Ok(changed) };
        let added = self.permissions.iter().map(|permission| (PERMISSIONS, permission));
        let all = self.all_permissions.iter().flatten().map(|permission| (ALL_PERMISSIONS, permission));
        for (field, permission) in added.chain(all) {
            let done = roles::grant_in(change, role, permission, None).await;
            changed |= done.map_err(|error| of_permissions(field, error))?;
            granted.name(role, permission, "");
        }
        if self.all_permissions.is_some() {
            granted.state(role);
        }
        Ok(changed)
    }

    /// The role whose permissions are named, if any are. A user without one of their own gets one when there is something
    /// to grant.
    async fn role(&self, change: &mut Change<'_>, model: Model, key: &Value) -> Result<Option<RoleId>, Refusal> {
        let all = self.all_permissions.as_deref();
        if self.permissions.is_empty() && all.is_none() {
            return Ok(None);
        }
        Ok(match model {
            Model::User if self.permissions.is_empty() && all.is_some_and(<[_]>::is_empty) => {
                roles::known_of_in(change, user(key)?).await?
            }
            Model::User => Some(roles::own_of_in(change, user(key)?).await?),
            _ => Some(parsed(key)?),
        })
    }
}

/// A list of names; nothing when the attribute is not there.
fn names(body: &mut Body, field: &str) -> Result<Option<Vec<String>>, Refusal> {
    let items = match body.take(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(refused(field, "Expected a list of items.")),
    };
    let name = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| refused(field, "Not a valid string."));
    items.iter().map(name).collect::<Result<_, _>>().map(Some)
}

/// A refusal on the attribute that the permission stands in.
pub(super) fn of_permissions(field: &str, error: Error) -> Refusal {
    match error {
        Error::Invalid(problems) => {
            let texts: Vec<_> = problems.iter().flat_map(|(_, messages)| messages.to_vec()).collect();
            refused(field, &texts.join(" "))
        }
        other => other.into(),
    }
}

fn kind_of_managed(model: Model) -> Option<Managed> {
    Some(match model {
        Model::Certificate => Managed::Certificate,
        Model::Role => Managed::Role,
        Model::ScopeMapping => Managed::ScopeMapping,
        Model::Token => Managed::Token,
        _ => return None,
    })
}
