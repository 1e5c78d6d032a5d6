//! Accounts that were made for machines, and for which of them each is (OA-934).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Names, Plan, SOURCE, Snapshot, USER, entry, get, key_of, named, plain, text};
use crate::import::entry::Node;

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// For whom an account stands; providers and sources by their keys there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// For whoever has a provider's client secret.
    Secret(String),
    /// For a subject that a source vouches for.
    Subject { provider: String, source: String, issuer: String, subject: String },
}

pub(super) fn is_generated(user: &Value) -> bool {
    let generated = user.pointer("/attributes/goauthentik.io~1user~1generated").and_then(Value::as_bool);
    generated.unwrap_or(false) && text(user, "type") == "service_account"
}

/// The accounts of which it is clear for whom they stand, by their keys.
pub(super) fn of(there: &Snapshot) -> BTreeMap<String, Link> {
    let generated = there.users.iter().filter(|user| is_generated(user));
    generated.filter_map(|user| Some((key_of(user, "pk"), link(there, user)?))).collect()
}

/// Those with a client secret are known by the provider's name; subjects by the path of their source, and by the name of
/// the provider in front of their own.
fn link(there: &Snapshot, user: &Value) -> Option<Link> {
    let (username, path) = (text(user, "username"), text(user, "path"));
    let providers = || there.oauth2_providers.iter().chain(&there.proxy_providers);
    let has_secret = |provider: &&Value| format!("ak-{}-client_credentials", text(provider, "name")) == username;
    if let Some(provider) = only(providers().filter(has_secret)) {
        return Some(Link::Secret(key_of(provider, "pk")));
    }
    let source = only(there.sources.iter().filter(|source| path_of(source) == path))?;
    let takes = |provider: &&Value| {
        let sources = get(provider, "jwt_federation_sources");
        let mut sources = sources.as_array().into_iter().flatten().map(plain);
        sources.any(|taken| taken == key_of(source, "pk"))
            && username.strip_prefix(&format!("{}-", text(provider, "name"))).is_some_and(|subject| !subject.is_empty())
    };
    let provider = only(providers().filter(takes))?;
    let subject = username.strip_prefix(&format!("{}-", text(provider, "name")))?.to_owned();
    let (provider, source, issuer) = (key_of(provider, "pk"), key_of(source, "pk"), issuer(source)?);
    Some(Link::Subject { provider, source, issuer, subject })
}

fn path_of(source: &Value) -> String {
    let template = text(source, "user_path_template");
    let template = if template.is_empty() { "goauthentik.io/sources/%(slug)s".to_owned() } else { template };
    template.replace("%(slug)s", &text(source, "slug"))
}

/// Who a source believes, if that is one: what its assertions are checked for, or whose discovery document it reads.
fn issuer(source: &Value) -> Option<String> {
    let expected = get(source, "expected_issuers");
    if let Some(expected) = expected.as_array().filter(|expected| !expected.is_empty()) {
        return only(expected.iter()).and_then(Value::as_str).map(str::to_owned);
    }
    text(source, "oidc_well_known_url").strip_suffix(DISCOVERY).map(str::to_owned).filter(|issuer| !issuer.is_empty())
}

fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// Has accounts stand for their machines, once providers and sources are here.
pub(super) fn links(plan: &mut Plan, there: &Snapshot, names: &Names) {
    let machines = of(there);
    for user in &there.users {
        let Some(link) = machines.get(&key_of(user, "pk")) else { continue };
        let found = match link {
            Link::Secret(provider) => provider_of(names, provider).map(|provider| ("generated_for", provider)),
            Link::Subject { provider, source, issuer, subject } => {
                let source = names.sources.get(source).map(|slug| Node::Find(SOURCE, "slug", slug.clone()));
                let until = user.pointer("/attributes/goauthentik.io~1user~1expires").and_then(Value::as_i64);
                provider_of(names, provider).zip(source).map(|(provider, source)| {
                    let members = vec![
                        ("provider", provider),
                        ("source", source),
                        ("issuer", json!(issuer).into()),
                        ("subject", json!(subject).into()),
                        ("until", json!(until.unwrap_or_default()).into()),
                    ];
                    ("federated", Node::Map(members))
                })
            }
        };
        let username = text(user, "username");
        match found {
            Some(member) => {
                let attrs = [("taken_over", Node::Map(vec![member]))];
                let name = format!("{username}, and the machine it is for");
                plan.add("user", &name, [entry(USER, [named(user, "username")], attrs)]);
            }
            None => plan.note(&format!("User {username:?} is for a machine of a provider or source that is not here.")),
        }
    }
}

fn provider_of(names: &Names, key: &str) -> Option<Node> {
    names.providers.get(key).map(|(model, name)| Node::Find(model, "name", name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::convert::{Here, Refused, applications};

    fn there() -> Snapshot {
        let account = |pk: i32, username: &str, path: &str| {
            json!({"pk": pk, "username": username, "path": path, "type": "service_account",
                "attributes": {"goauthentik.io/user/generated": true}})
        };
        let sources = "goauthentik.io/sources/cluster";
        Snapshot {
            users: vec![
                account(1, "ak-App-client_credentials", "goauthentik.io/apps/app"),
                account(2, "App-system:serviceaccount:default:job", sources),
                account(3, "App-somebody", "goauthentik.io/sources/silent"),
                account(4, "Other-x", sources),
            ],
            oauth2_providers: vec![json!({"pk": 9, "name": "App", "jwt_federation_sources": ["c", "s"]})],
            sources: vec![
                json!({"pk": "c", "slug": "cluster",
                    "oidc_well_known_url": "https://cluster.example/.well-known/openid-configuration"}),
                json!({"pk": "s", "slug": "silent", "oidc_well_known_url": ""}),
            ],
            ..Snapshot::default()
        }
    }

    /// OA-934: accounts of machines are linked to their provider by name, those of subjects by the path of their source and by
    /// name; others are not, and are told.
    #[test]
    fn oa_934_machines_are_linked_when_it_is_clear_which() {
        let found = of(&there());
        assert_eq!(found.get("1"), Some(&Link::Secret("9".to_owned())));
        let (provider, source) = ("9".to_owned(), "c".to_owned());
        let (issuer, subject) = ("https://cluster.example".to_owned(), "system:serviceaccount:default:job".to_owned());
        assert_eq!(found.get("2"), Some(&Link::Subject { provider, source, issuer, subject }));
        assert_eq!(found.len(), 2, "no issuer is known, and no provider has the name: {found:?}");
        let first = crate::import::convert::foundations(&there(), &Here::default());
        let told = |name: &str| first.notes.iter().any(|note| note.contains(name) && note.contains("not clear which"));
        assert!(told("App-somebody") && told("Other-x") && !told("ak-App"), "{:?}", first.notes);
    }

    /// OA-934: an account whose provider was refused is told.
    #[test]
    fn oa_934_what_is_not_here_is_told() {
        let second = applications(&there(), &Here::default(), &Refused::new());
        let linked = second.items.iter().find(|item| item.name.contains("ak-App")).expect("is planned").document();
        assert!(linked.contains("taken_over: {generated_for: !Find"), "{linked}");
        let refused = Refused::from([("authentik_providers_oauth2.oauth2provider", "App".to_owned())]);
        let second = applications(&there(), &Here::default(), &refused);
        assert!(second.notes.iter().any(|note| note.contains("ak-App")), "{:?}", second.notes);
    }
}
