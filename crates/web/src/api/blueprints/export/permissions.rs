//! What roles grant, as blueprints say it: everything of a kind with the role, single objects after all objects.

use std::collections::BTreeMap;
use std::fmt::Write;

use portcullis_core::id::{RoleId, UserPk};
use portcullis_core::permission::{Model as Kind, Permission, Verb, special};
use portcullis_idp::{Change, Error, roles};
use serde_json::{Map, Value, json};

use super::super::extras::ALL_PERMISSIONS;
use super::{Names, identifiers, in_order, is_of_a_user, key_text, quoted, scoped, write_members};
use crate::api::blueprints::model::Model;

/// Adds to a role, or to a user with permissions of their own, what they have on everything of a kind.
pub(super) async fn of_itself(change: &mut Change<'_>, model: Model, object: &mut Value) -> Result<(), Error> {
    let role = match model {
        Model::Role => object["pk"].as_str().and_then(|pk| pk.parse::<RoleId>().ok()),
        Model::User => match object["pk"].as_i64().and_then(|pk| i32::try_from(pk).ok()) {
            Some(pk) => roles::known_of_in(change, UserPk(pk)).await?,
            None => None,
        },
        _ => None,
    };
    if let (Some(role), Some(members)) = (role, object.as_object_mut()) {
        let rights = roles::rights_in(change, role).await?.into_iter();
        let names: Vec<_> =
            rights.filter(|right| right.object.is_empty()).map(|right| Value::String(right.permission)).collect();
        members.insert(ALL_PERMISSIONS.to_owned(), names.into());
        // The role of their own comes with it.
        if let Some(roles) = members.get_mut("roles").and_then(Value::as_array_mut) {
            roles.retain(|of| *of != json!(role));
        }
    }
    Ok(())
}

/// Who may do what to single objects: an entry for each of these. Rights on what is not in a blueprint are left out.
pub(super) async fn on_objects(change: &mut Change<'_>, names: &mut Names) -> Result<Vec<String>, Error> {
    let mut granted: BTreeMap<(String, String), Vec<(String, String)>> = BTreeMap::new();
    for role in in_order(Model::Role, Model::Role.objects(change, |_| None).await?, names) {
        let key = Model::Role.key(&role);
        let Some(pk) = key.as_str().and_then(|pk| pk.parse::<RoleId>().ok()) else { continue };
        let managed = role.get("managed").and_then(Value::as_str);
        let holder = match managed.and_then(|managed| managed.strip_prefix(roles::OF_USER)) {
            Some(user) if is_of_a_user(&role) => {
                let user = user.parse::<i32>().map_or(Value::Null, Value::from);
                names.tags.get(&scoped(Model::User, &user)).map(|tag| format!("user: {tag}"))
            }
            _ => names.tags.get(&scoped(Model::Role, &key)).map(|tag| format!("role: {tag}")),
        };
        let Some(holder) = holder else { continue };
        for right in roles::rights_in(change, pk).await? {
            if let (false, Some(kind)) = (right.object.is_empty(), kind_of(&right.permission)) {
                let on = (format!("{}.{}", kind.app, kind.name), right.object);
                granted.entry(on).or_default().push((right.permission, holder.clone()));
            }
        }
    }
    let mut entries = Vec::new();
    let mut known: BTreeMap<String, Vec<(Model, Value)>> = BTreeMap::new();
    for ((kind, key), rights) in granted {
        if !known.contains_key(&kind) {
            let mut objects = Vec::new();
            for model in models(&kind) {
                objects.extend(model.objects(change, |_| None).await?.into_iter().map(|object| (model, object)));
            }
            known.insert(kind.clone(), objects);
        }
        let objects = known.get(&kind).map(Vec::as_slice).unwrap_or_default();
        if let Some((model, object)) = objects.iter().find(|(model, object)| key_text(&model.key(object)) == key) {
            let place = (kind, model.label(object));
            entries.push((place, entry(*model, &identifiers(*model, object, names), &rights, names)));
        }
    }
    entries.sort();
    Ok(entries.into_iter().map(|(_, text)| text).collect())
}

fn entry(model: Model, identified: &Map<String, Value>, rights: &[(String, String)], names: &Names) -> String {
    let mut text = format!("  - model: {}\n    identifiers:\n", model.name());
    write_members(&mut text, identified, names);
    text.push_str("    permissions:\n");
    for (permission, holder) in rights {
        let _ = writeln!(text, "      - {{permission: {}, {holder}}}", quoted(permission));
    }
    text
}

/// Whether a right may be one on an object of this model. Of a right that is about no objects that is not said here.
pub(in crate::api::blueprints) fn concerns(permission: &str, model: Model) -> bool {
    kind_of(permission).is_none_or(|kind| models(&format!("{}.{}", kind.app, kind.name)).contains(&model))
}

/// The kind of objects that a right is about, if it is about objects.
fn kind_of(permission: &str) -> Option<Kind> {
    let of_verb = |kind: &&Kind| Verb::ALL.iter().any(|verb| Permission::on(*verb, **kind).as_str() == permission);
    let of_special = || match permission {
        special::RESET_USER_PASSWORD
        | special::IMPERSONATE
        | special::PREVIEW_USER
        | special::VIEW_USER_APPLICATIONS => Some(Kind::USER),
        special::ADD_USER_TO_GROUP
        | special::REMOVE_USER_FROM_GROUP
        | special::ENABLE_GROUP_SUPERUSER
        | special::DISABLE_GROUP_SUPERUSER => Some(Kind::GROUP),
        special::VIEW_TOKEN_KEY | special::SET_TOKEN_KEY => Some(Kind::TOKEN),
        special::VIEW_CERTIFICATEKEYPAIR_CERTIFICATE | special::VIEW_CERTIFICATEKEYPAIR_KEY => Some(Kind::CERTIFICATE),
        _ => None,
    };
    Kind::ALL.iter().find(of_verb).copied().or_else(of_special)
}

/// The kinds of objects that a name means: several for what all providers, policies, mappings or sources have in common.
fn models(kind: &str) -> Vec<Model> {
    let related = match kind {
        "authentik_core.provider" => "provider",
        "authentik_core.source" => "jwt_federation_sources",
        "authentik_core.propertymapping" => "property_mappings",
        "authentik_policies.policy" => "policy",
        _ => return Model::parse(kind).into_iter().collect(),
    };
    Model::related(related)
}
