//! What is here already under the names of what comes, and what would be another one afterwards.

use std::collections::{BTreeSet, HashMap, HashSet};

use portcullis_idp::bootstrap::ADMINISTRATOR;
use serde_json::{Value, json};

use super::{Snapshot, get, plain, text};

/// What is here, by name.
#[derive(Clone, Debug, Default)]
pub(in crate::import) struct Known {
    /// User names.
    pub(in crate::import) people: HashMap<String, Person>,
    /// Groups, and whether they make superusers.
    pub(in crate::import) groups: HashMap<String, bool>,
    /// Slugs.
    pub(in crate::import) applications: HashSet<String>,
    /// Names.
    pub(in crate::import) providers: HashSet<String>,
}

/// A user.
#[derive(Clone, Debug, Default)]
pub(in crate::import) struct Person {
    pub(in crate::import) key: i32,
    pub(in crate::import) name: String,
    pub(in crate::import) email: String,
    pub(in crate::import) kind: String,
    pub(in crate::import) is_active: bool,
    /// Names.
    pub(in crate::import) groups: BTreeSet<String>,
}

/// What has the name of something that comes, line by line, with what differs.
pub(in crate::import) fn lines(there: &Snapshot, known: &Known) -> Vec<String> {
    let mut all = Vec::new();
    let groups: HashMap<_, _> =
        there.groups.iter().map(|group| (plain(&get(group, "pk")), text(group, "name"))).collect();
    for user in there.users.iter().filter(|user| text(user, "username") != ADMINISTRATOR) {
        let username = text(user, "username");
        let Some(person) = known.people.get(&username) else { continue };
        let theirs = get(user, "groups");
        let theirs = theirs.as_array().into_iter().flatten().filter_map(|key| groups.get(&plain(key)).cloned());
        let theirs: BTreeSet<_> = theirs.collect();
        let differs = [
            ("name", text(user, "name") != person.name),
            ("email", text(user, "email") != person.email),
            ("type", text(user, "type") != person.kind),
            ("active", get(user, "is_active") != json!(person.is_active)),
            ("groups", theirs != person.groups),
            ("key (which stays)", get(user, "pk") != json!(person.key)),
        ];
        say(&mut all, "User", &username, &differs);
    }
    for group in &there.groups {
        let name = text(group, "name");
        if let Some(makes) = known.groups.get(&name) {
            say(&mut all, "Group", &name, &[("superusers", get(group, "is_superuser") != json!(makes))]);
        }
    }
    let providers: Vec<_> = there.oauth2_providers.iter().chain(&there.proxy_providers).cloned().collect();
    for (what, objects, field, here) in [
        ("Applications", &there.applications, "slug", &known.applications),
        ("Providers", &providers, "name", &known.providers),
    ] {
        let names: Vec<_> =
            objects.iter().map(|object: &Value| text(object, field)).filter(|name| here.contains(name)).collect();
        if !names.is_empty() {
            all.push(format!("{what} that are here already, and become as they are there: {}.", names.join(", ")));
        }
    }
    all
}

fn say(all: &mut Vec<String>, what: &str, name: &str, differs: &[(&str, bool)]) {
    let differs: Vec<_> = differs.iter().filter(|(_, differs)| *differs).map(|(field, _)| *field).collect();
    if !differs.is_empty() {
        all.push(format!("{what} {name:?} is here already; differs at the server: {}.", differs.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-935: what has the name of something that comes is told, with what differs; what is alike and who stays are not.
    #[test]
    fn oa_935_what_is_here_already_is_told() {
        let user = |pk: i32, name: &str, email: &str| {
            json!({"pk": pk, "username": name, "name": "N", "email": email, "type": "internal", "is_active": true,
                "groups": ["g"]})
        };
        let there = Snapshot {
            users: vec![user(7, "ada", "ada@there"), user(8, "bob", ""), user(9, ADMINISTRATOR, "x@there")],
            groups: vec![json!({"pk": "g", "name": "clerks", "is_superuser": true})],
            applications: vec![json!({"pk": "a", "slug": "wiki"}), json!({"pk": "b", "slug": "new"})],
            ..Snapshot::default()
        };
        let person = |key: i32, email: &str, groups: &[&str]| Person {
            key,
            name: "N".to_owned(),
            email: email.to_owned(),
            kind: "internal".to_owned(),
            is_active: true,
            groups: groups.iter().map(|name| (*name).to_owned()).collect(),
        };
        let known = Known {
            people: HashMap::from([
                ("ada".to_owned(), person(3, "ada@here", &[])),
                ("bob".to_owned(), person(8, "", &["clerks"])),
                (ADMINISTRATOR.to_owned(), person(1, "", &[])),
            ]),
            groups: HashMap::from([("clerks".to_owned(), false)]),
            applications: HashSet::from(["wiki".to_owned()]),
            providers: HashSet::new(),
        };
        assert_eq!(
            lines(&there, &known),
            [
                "User \"ada\" is here already; differs at the server: email, groups, key (which stays).",
                "Group \"clerks\" is here already; differs at the server: superusers.",
                "Applications that are here already, and become as they are there: wiki.",
            ]
        );
    }
}
