//! What an administrator should look at before clients and people move (OA-935).

use std::collections::HashSet;

use portcullis_idp::claims::PROTECTED;
use serde_json::Value;

use super::{Snapshot, get, key_of, plain, text};

/// Characters from which on a secret is no short one.
const SECRET: usize = 32;
/// Characters from which on the key of a token is no short one.
const KEY: usize = 20;

/// Everything that is open to doubt, line by line.
pub(in crate::import) fn problems(there: &Snapshot) -> Vec<String> {
    let mut all = Vec::new();
    of_superusers(there, &mut all);
    for client in &there.oauth2_providers {
        of_client(client, &mut all);
    }
    for source in &there.sources {
        of_source(source, there, &mut all);
    }
    for token in &there.tokens {
        let name = text(token, "identifier");
        let key = text(token, "key");
        if !key.is_empty() && key.chars().count() < KEY {
            all.push(format!("Review: token {name:?} has a key of less than {KEY} characters."));
        }
        if text(token, "intent") == "app_password" && get(token, "expiring") == Value::Bool(false) {
            all.push(format!("Review: app password {name:?} does not end."));
        }
    }
    for mapping in there.mappings.iter().filter(|mapping| text(mapping, "managed").is_empty()) {
        let expression = text(mapping, "expression");
        let set: Vec<_> = PROTECTED.into_iter().chain(["sub"]).filter(|claim| sets(&expression, claim)).collect();
        if !set.is_empty() {
            let (name, claims) = (text(mapping, "name"), set.join(", "));
            all.push(format!("Review: mapping {name:?} names claims that no mapping can set here: {claims}."));
        }
    }
    all
}

/// Who administers the server, and would administer this installation, and with which tokens.
fn of_superusers(there: &Snapshot, all: &mut Vec<String>) {
    let keys = |object: &Value, field: &str| -> HashSet<String> {
        get(object, field).as_array().into_iter().flatten().map(plain).collect()
    };
    let mut superusers = HashSet::new();
    for group in there.groups.iter().filter(|group| get(group, "is_superuser") == Value::Bool(true)) {
        // Members of groups below it are among its members.
        let mut below = HashSet::from([key_of(group, "pk")]);
        loop {
            let is_below = |group: &&Value| {
                below.contains(&key_of(group, "parent")) || !keys(group, "parents").is_disjoint(&below)
            };
            let more: Vec<_> = there.groups.iter().filter(is_below).map(|group| key_of(group, "pk")).collect();
            let before = below.len();
            below.extend(more);
            if below.len() == before {
                break;
            }
        }
        let members: Vec<_> = there.users.iter().filter(|user| !keys(user, "groups").is_disjoint(&below)).collect();
        superusers.extend(members.iter().map(|user| key_of(user, "pk")));
        let mut names: Vec<_> = members.iter().map(|user| text(user, "username")).collect();
        names.sort();
        let (name, names) =
            (text(group, "name"), if names.is_empty() { "nobody".to_owned() } else { names.join(", ") });
        all.push(format!("Review: group {name:?} makes superusers of its members: {names}."));
    }
    for token in there.tokens.iter().filter(|token| text(token, "intent") == "api") {
        if superusers.contains(&key_of(token, "user")) {
            all.push(format!("Review: API token {:?} is that of a superuser.", text(token, "identifier")));
        }
    }
}

fn of_client(client: &Value, all: &mut Vec<String>) {
    let name = text(client, "name");
    let mut say = |what: &str| all.push(format!("Review: provider {name:?} {what}"));
    let grants: Vec<_> = get(client, "grant_types").as_array().into_iter().flatten().map(plain).collect();
    let uses = |grant: &str| grants.iter().any(|known| known == grant);
    let uris = get(client, "redirect_uris");
    let uris = uris.as_array().map(Vec::as_slice).unwrap_or_default();
    if uris.is_empty() && (grants.is_empty() || uses("authorization_code")) {
        say("has no redirect URI: nobody can sign in to it by browser.");
    }
    for uri in uris.iter().filter(|uri| text(uri, "matching_mode") == "regex") {
        let pattern = text(uri, "url");
        if is_wide(&pattern) {
            say(&format!("has a redirect URI that matches many hosts: {pattern}"));
        }
    }
    match (text(client, "client_type").as_str(), text(client, "client_secret")) {
        ("public", _) => say("is a public client: it must use PKCE here."),
        (_, secret) if secret.is_empty() => say("has no client secret."),
        (_, secret) if secret.chars().count() < SECRET => {
            say(&format!("has a client secret of less than {SECRET} characters."));
        }
        _ => {}
    }
    if uses("implicit") || uses("hybrid") {
        say("uses the implicit or hybrid flow: tokens travel in addresses.");
    } else if grants.is_empty() {
        say("may use the implicit or hybrid flow there, which it cannot here unless its grant types say so.");
    }
}

fn of_source(source: &Value, there: &Snapshot, all: &mut Vec<String>) {
    let slug = text(source, "slug");
    let has = |field: &str| get(source, field).as_array().is_some_and(|list| !list.is_empty());
    let is_taken = there.oauth2_providers.iter().chain(&there.proxy_providers).any(|provider| {
        let sources = get(provider, "jwt_federation_sources");
        sources.as_array().into_iter().flatten().any(|key| plain(key) == key_of(source, "pk"))
    });
    let missing: Vec<_> = [("expected_issuers", "issuer"), ("expected_audiences", "audience")]
        .into_iter()
        .filter(|(field, _)| !has(field))
        .map(|(_, what)| what)
        .collect();
    if is_taken && !missing.is_empty() {
        all.push(format!("Review: source {slug:?}, whose tokens are taken, expects no {}.", missing.join(" and no ")));
    }
}

/// Whether a pattern leaves a part of the host open, or of what is before it.
fn is_wide(pattern: &str) -> bool {
    let Some((scheme, rest)) = pattern.split_once("://") else { return true };
    // What follows the host begins with a slash that is no part of a set.
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let is_open = |part: &str| {
        let mut escaped = false;
        for c in part.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '.' | '*' | '+' | '[' | '(' | '|' => return true,
                _ => {}
            }
        }
        false
    };
    is_open(host) || scheme.contains(".*") || scheme.contains('|')
}

/// Whether an expression has a claim as a key: the first of a pair in an object, or one that is assigned to.
fn sets(expression: &str, claim: &str) -> bool {
    ['"', '\''].iter().any(|quote| {
        let key = format!("{quote}{claim}{quote}");
        let mut parts = expression.split(key.as_str());
        parts.next();
        parts.any(|after| {
            let after = after.trim_start();
            let assigned = after
                .strip_prefix(']')
                .map(str::trim_start)
                .is_some_and(|after| after.starts_with('=') && !after.starts_with("=="));
            after.starts_with(':') || assigned
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// OA-935: who would administer this installation is told: members of groups that make superusers, also by groups below
    /// them, and the API tokens of these.
    #[test]
    fn oa_935_superusers_are_told() {
        let user = |pk: i32, name: &str, group: &str| json!({"pk": pk, "username": name, "groups": [group]});
        let token = |name: &str, user: i32, intent: &str| json!({"identifier": name, "user": user, "intent": intent, "expiring": true});
        let there = Snapshot {
            groups: vec![
                json!({"pk": "a", "name": "admins", "is_superuser": true}),
                json!({"pk": "b", "name": "night shift", "parents": ["a"]}),
                json!({"pk": "c", "name": "interns", "parent": "b"}),
                json!({"pk": "d", "name": "clerks", "is_superuser": false}),
                json!({"pk": "e", "name": "empty", "is_superuser": true}),
            ],
            users: vec![user(1, "bob", "c"), user(2, "ada", "a"), user(3, "eve", "d")],
            tokens: vec![token("bot", 1, "api"), token("basic", 2, "app_password"), token("eves", 3, "api")],
            ..Snapshot::default()
        };
        assert_eq!(
            problems(&there),
            [
                "Review: group \"admins\" makes superusers of its members: ada, bob.",
                "Review: group \"empty\" makes superusers of its members: nobody.",
                "Review: API token \"bot\" is that of a superuser.",
            ]
        );
    }

    /// OA-935: what is open to doubt is told: empty lists of redirect URIs, wide patterns, missing and short secrets, sources
    /// that expect nothing, public clients, tokens in addresses, app passwords without an end, protected claims.
    #[test]
    fn oa_935_what_is_open_to_doubt_is_told() {
        let regex = |url: &str| json!([{"matching_mode": "regex", "url": url}]);
        let strict = json!([{"matching_mode": "strict", "url": "https://a.example/"}]);
        let long = "a secret that is long enough for anybody";
        let client = |name: &str, uris: &Value, kind: &str, secret: &str, grants: &[&str]| {
            json!({"pk": name, "name": name, "redirect_uris": uris, "client_type": kind, "client_secret": secret,
                "grant_types": grants, "jwt_federation_sources": ["s"]})
        };
        let code = &["authorization_code"][..];
        let there = Snapshot {
            oauth2_providers: vec![
                client("fine", &strict, "confidential", long, code),
                client("nowhere", &json!([]), "confidential", long, code),
                client("machine", &json!([]), "confidential", long, &["client_credentials"]),
                client("wide", &regex("https://.*\\.example/cb"), "confidential", long, code),
                client("narrow", &regex("https://a\\.example/.*"), "confidential", long, code),
                client("blank", &strict, "confidential", "", code),
                client("short", &strict, "confidential", "s3cret", code),
                client("app", &strict, "public", "", code),
                client("old", &strict, "confidential", long, &["implicit"]),
            ],
            sources: vec![
                json!({"pk": "s", "slug": "cluster", "expected_issuers": ["https://c"], "expected_audiences": []}),
                json!({"pk": "t", "slug": "unused"}),
            ],
            tokens: vec![
                json!({"identifier": "weak", "key": "short", "intent": "api", "expiring": true}),
                json!({"identifier": "lasting", "key": "k".repeat(60), "intent": "app_password", "expiring": false}),
            ],
            mappings: vec![
                json!({"name": "claims", "expression": "return {'iss': 1, \"aud\" : 2, 'x': d['exp']}"}),
                json!({"name": "assigns", "expression": "d['sub'] = 1\nreturn d"}),
                json!({"name": "reads", "expression": "return {'x': d['sub'] == 1}"}),
            ],
            ..Snapshot::default()
        };
        let told = problems(&there);
        for (name, what) in [
            ("\"nowhere\"", "no redirect URI"),
            ("\"wide\"", "many hosts"),
            ("\"blank\"", "no client secret"),
            ("\"short\"", "less than 32"),
            ("\"app\"", "PKCE"),
            ("\"old\"", "implicit"),
            ("\"cluster\"", "no audience"),
            ("\"weak\"", "less than 20"),
            ("\"lasting\"", "does not end"),
            ("\"claims\"", "iss, aud"),
            ("\"assigns\"", "sub"),
        ] {
            let of_it: Vec<_> = told.iter().filter(|line| line.contains(name)).collect();
            assert!(matches!(of_it.as_slice(), [line] if line.contains(what)), "{name} {what}: {told:#?}");
        }
        assert_eq!(told.len(), 11, "{told:#?}");
    }
}
