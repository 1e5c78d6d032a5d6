//! People, and the tokens they have.

use std::collections::BTreeMap;

use super::machines::{self, Link};
use super::{
    APPLICATION, GROUP, Here, Names, Plan, ROLE, Snapshot, TOKEN, USER, attributes, entry, get, key_of, named, picked,
    plain, text,
};
use crate::import::entry::{Entry, Node};
use portcullis_idp::bootstrap::ADMINISTRATOR;
use portcullis_idp::directory::HIGHEST_KEPT_KEY;
use serde_json::{Value, json};

/// How names of roles begin that servers keep for one user each.
const OF_ONE_USER: &str = "ak-managed-role--user-";

pub(super) fn people(plan: &mut Plan, there: &Snapshot, here: &Here, names: &Names) {
    let (own, roles): (Vec<_>, Vec<_>) = there.roles.iter().partition(|role| is_own_role(role, here));
    for role in &roles {
        plan.add("role", &text(role, "name"), [entry(ROLE, [named(role, "name")], [])]);
    }
    for role in own.iter().map(|role| text(role, "name")).filter(|name| !name.starts_with(OF_ONE_USER)) {
        plan.note(&format!("Role {role:?} is one that this installation keeps: nobody gets it by the import."));
    }
    if !roles.is_empty() {
        plan.note("Permissions of roles are not given by the API: grant them by a blueprint.");
    }
    // Parents come last: each group is there by then.
    for group in &there.groups {
        let attributes = attributes(plan, group, &format!("group {:?}", text(group, "name")));
        let name = text(group, "name");
        let mut attrs = vec![("attributes", Node::from(attributes))];
        // Whoever is the administrator here stays in charge.
        match get(group, "is_superuser") == json!(true) || !here.groups_in_charge.contains(&name) {
            true => attrs.push(("is_superuser", get(group, "is_superuser").into())),
            false => plan.note(&format!(
                "Group {name:?} makes superusers here and not there: it stays so, since {ADMINISTRATOR} is one by it."
            )),
        }
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
            let name = text(group, "name");
            if here.groups_below.contains(&name) {
                plan.note(&format!("Group {name:?} keeps its parents here: {ADMINISTRATOR} is a superuser by them."));
                continue;
            }
            let name = format!("{name}, its parents");
            plan.add("group", &name, [entry(GROUP, [named(group, "name")], [("parents", parents)])]);
        }
    }
    if !here.keeps_keys && !there.users.is_empty() {
        plan.note(
            "People get other keys here: the installation id is not that of the server, or not known. What applications know \
             them by (sub, X-authentik-uid) changes.",
        );
    }
    let mut without_password = Vec::new();
    let machines = machines::of(there);
    for user in &there.users {
        let username = text(user, "username");
        if is_left_out(user, &machines) {
            plan.note(&format!("User {username:?} belongs to an outpost, or to a machine of which it is not clear which: it is made anew when needed."));
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
        attrs.extend(keys(plan, user, here));
        // Whoever is the administrator here stays in charge.
        let keeps = username == ADMINISTRATOR;
        if !keeps && matches!(text(user, "type").as_str(), "internal" | "external") {
            without_password.push(username.clone());
        }
        let made = Entry { attrs, keeps, ..entry(USER, [named(user, "username")], []) };
        plan.add("user", &username, [made]);
    }
    if !without_password.is_empty() {
        plan.note(&format!(
            "Passwords and second factors are not given by the API: {} people need a recovery link: {}.",
            without_password.len(),
            some_of(&without_password)
        ));
    }
}

/// The first names of a list, and how many there are besides.
fn some_of(names: &[String]) -> String {
    const MOST: usize = 20;
    let first: Vec<_> = names.iter().take(MOST).map(String::as_str).collect();
    match names.len().saturating_sub(MOST) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
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
        let fields = ["key", "intent", "description", "expiring", "expires", "allowed_networks", "allowed_scopes"];
        let mut attrs = picked(token, &fields);
        let limited_to = get(token, "allowed_applications");
        let limited_to = limited_to.as_array().map(Vec::as_slice).unwrap_or_default();
        if !limited_to.is_empty() {
            let slugs: Option<Vec<_>> = limited_to.iter().map(|key| names.applications.get(&plain(key))).collect();
            let Some(slugs) = slugs else {
                plan.note(&format!("Token {identifier:?} is for an application that is not here: it is left out."));
                continue;
            };
            let found = slugs.into_iter().map(|slug| Node::Find(APPLICATION, "slug", slug.clone())).collect();
            attrs.push(("allowed_applications", Node::List(found)));
        }
        attrs.push(("user", Node::Find(USER, "username", user.clone())));
        // One that the administrator here works with is not replaced.
        let keeps = user == ADMINISTRATOR;
        plan.add("token", &identifier, [Entry { attrs, keeps, ..entry(TOKEN, [named(token, "identifier")], []) }]);
    }
}

/// Whether a role grants what is granted to one user alone, or has the name of one that keeps itself here: rights hang on
/// these that were not meant for those who have the role there.
pub(super) fn is_own_role(role: &Value, here: &Here) -> bool {
    let name = text(role, "name");
    name.starts_with(OF_ONE_USER) || here.managed_roles.contains(&name)
}

/// Whether a user belongs to an outpost, or to a machine that cannot be told: these get theirs anew.
pub(super) fn is_left_out(user: &Value, machines: &BTreeMap<String, Link>) -> bool {
    let is_machine = machines::is_generated(user) && !machines.contains_key(&key_of(user, "pk"));
    text(user, "type") == "internal_service_account" || is_machine
}

/// Key and permanent id, by which applications know a user (OA-931). One whose key is somebody else's here cannot keep it.
fn keys(plan: &mut Plan, user: &Value, here: &Here) -> Option<(&'static str, Node)> {
    let (pk, uuid, username) = (get(user, "pk"), get(user, "uuid"), text(user, "username"));
    if !here.keeps_keys || !uuid.is_string() {
        return None;
    }
    let Some(number) = pk.as_i64().and_then(|pk| i32::try_from(pk).ok()).filter(|pk| *pk <= HIGHEST_KEPT_KEY) else {
        if !here.users.values().any(|known| *known == username) {
            plan.note(&format!("User {username:?} gets another key here: {pk} is too high."));
        }
        return None;
    };
    match here.users.get(&number) {
        Some(other) if *other != username => {
            if !here.users.values().any(|known| *known == username) {
                plan.note(&format!("User {username:?} gets another key here: {other:?} has that one."));
            }
            None
        }
        _ => Some(("taken_over", Node::Map(vec![("pk", pk.into()), ("uuid", uuid.into())]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-935: who needs a recovery link is named, and of many how many more.
    #[test]
    fn oa_935_people_are_named_up_to_twenty() {
        let names: Vec<_> = (1..=23).map(|number| format!("u{number}")).collect();
        assert_eq!(some_of(&names[..2]), "u1, u2");
        assert!(some_of(&names[..20]).ends_with(", u20"));
        assert!(some_of(&names).ends_with(", u20 and 3 more"));
    }
}
