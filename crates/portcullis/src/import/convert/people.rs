//! People, and the tokens they have.

use super::{GROUP, Names, Plan, ROLE, Snapshot, TOKEN, USER, attributes, entry, get, key_of, named, picked, text};
use crate::import::entry::{Entry, Node};
use portcullis_idp::bootstrap::ADMINISTRATOR;
use serde_json::{Value, json};

pub(super) fn people(plan: &mut Plan, there: &Snapshot, names: &Names) {
    for role in &there.roles {
        plan.add("role", &text(role, "name"), [entry(ROLE, [named(role, "name")], [])]);
    }
    if !there.roles.is_empty() {
        plan.note("Permissions of roles are not given by the API: grant them by a blueprint.");
    }
    // Parents come last: each group is there by then.
    for group in &there.groups {
        let attributes = attributes(plan, group, &format!("group {:?}", text(group, "name")));
        let attrs = [("is_superuser", get(group, "is_superuser")), ("attributes", attributes)];
        let mut attrs: Vec<_> = attrs.map(|(name, value)| (name, Node::from(value))).into();
        attrs.push(("roles", names.all(&names.roles, ROLE, "name", &get(group, "roles"))));
        plan.add("group", &text(group, "name"), [Entry { attrs, ..entry(GROUP, [named(group, "name")], []) }]);
    }
    for group in &there.groups {
        let parents = match group.get("parents") {
            Some(parents) => parents.clone(),
            None => json!(group.get("parent").filter(|parent| !parent.is_null()).into_iter().collect::<Vec<_>>()),
        };
        let parents = names.all(&names.groups, GROUP, "name", &parents);
        if parents != Node::List(Vec::new()) {
            let name = format!("{}, its parents", text(group, "name"));
            plan.add("group", &name, [entry(GROUP, [named(group, "name")], [("parents", parents)])]);
        }
    }
    let mut without_password = 0;
    for user in &there.users {
        let username = text(user, "username");
        if is_left_out(user) {
            plan.note(&format!("User {username:?} belongs to an outpost or a machine: it is made anew when needed."));
            continue;
        }
        let attributes = attributes(plan, user, &format!("user {username:?}"));
        let mut attrs: Vec<_> = ["name", "email", "is_active", "path", "type"]
            .map(|field| (field, Node::from(get(user, field))))
            .into_iter()
            .collect();
        attrs.push(("attributes", attributes.into()));
        attrs.push(("groups", names.all(&names.groups, GROUP, "name", &get(user, "groups"))));
        attrs.push(("roles", names.all(&names.roles, ROLE, "name", &get(user, "roles"))));
        // Whoever is the administrator here stays in charge.
        let keeps = username == ADMINISTRATOR;
        without_password += usize::from(!keeps && matches!(text(user, "type").as_str(), "internal" | "external"));
        let made = Entry { attrs, keeps, ..entry(USER, [named(user, "username")], []) };
        plan.add("user", &username, [made]);
    }
    if without_password > 0 {
        plan.note(&format!(
            "Passwords and second factors are not given by the API: {without_password} people need a recovery link."
        ));
    }
}

pub(super) fn tokens(plan: &mut Plan, there: &Snapshot, names: &Names) {
    for token in &there.tokens {
        let identifier = text(token, "identifier");
        let user = names.users.get(&key_of(token, "user"));
        let is_ours = matches!(text(token, "intent").as_str(), "api" | "app_password");
        let (Some(user), true, false) = (user, is_ours, text(token, "key").is_empty()) else {
            if is_ours {
                plan.note(&format!("The key of token {identifier:?} cannot be read with this token."));
            }
            continue;
        };
        let mut attrs = picked(token, &["key", "intent", "description", "expiring", "expires"]);
        attrs.push(("user", Node::Find(USER, "username", user.clone())));
        // One that the administrator here works with is not replaced.
        let keeps = user == ADMINISTRATOR;
        plan.add("token", &identifier, [Entry { attrs, keeps, ..entry(TOKEN, [named(token, "identifier")], []) }]);
    }
}

/// Whether a user belongs to an outpost or a machine, which get theirs anew.
pub(super) fn is_left_out(user: &Value) -> bool {
    let generated = user.pointer("/attributes/goauthentik.io~1user~1generated").and_then(Value::as_bool);
    text(user, "type") == "internal_service_account" || generated.unwrap_or(false)
}
