//! What blueprints may say beyond the fields of the API (CO-732, CO-736).

use portcullis_idp::managed::{self, Kind as Managed};
use portcullis_idp::{Change, Error, roles, tokens};
use serde_json::{Value, json};

use super::model::Model;
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
}

impl Extras {
    /// Takes them out of what the API's reader gets.
    pub(super) fn take(model: Model, body: &mut Body) -> Result<Self, Refusal> {
        let mut extras = Self::default();
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
            let items = match body.take("permissions") {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::Array(items)) => items,
                Some(_) => return Err(refused("permissions", "Expected a list of items.")),
            };
            for item in items {
                let permission = item.as_str().ok_or_else(|| refused("permissions", "Not a valid string."))?;
                extras.permissions.push(permission.to_owned());
            }
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
    ) -> Result<bool, Refusal> {
        let mut changed = false;
        if let (Some(token), Some(wanted)) = (found.get("identifier").and_then(Value::as_str), &self.key) {
            changed = tokens::keys::set_in(change, token, wanted).await?;
        }
        if let (Some(kind), Some(managed), Some(key)) = (kind_of_managed(model), &self.managed, key.as_str())
            && found.get("managed") != Some(&json!(managed))
        {
            managed::set_in(change, kind, key, managed).await?;
            changed = true;
        }
        if self.permissions.is_empty() {
            return Ok(changed);
        }
        let role = match model {
            Model::User => roles::own_of_in(change, user(key)?).await?,
            _ => parsed(key)?,
        };
        for permission in &self.permissions {
            changed |= roles::grant_in(change, role, permission, None).await.map_err(of_permissions)?;
        }
        Ok(changed)
    }
}

/// A refusal on the attribute that the permission stands in.
pub(super) fn of_permissions(error: Error) -> Refusal {
    match error {
        Error::Invalid(problems) => {
            let texts: Vec<_> = problems.iter().flat_map(|(_, messages)| messages.to_vec()).collect();
            refused("permissions", &texts.join(" "))
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
