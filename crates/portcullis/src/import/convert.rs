//! From objects of one server's API to entries for ours. Keys differ between servers; names do not.

mod applications;
mod people;
mod rules;

use std::collections::{HashMap, HashSet};

use portcullis_core::attributes::MASK;
use serde_json::{Map, Value};

use super::entry::{Entry, Item, Node};

/// What a server's API says, list by list.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) flows: Vec<Value>,
    pub(super) roles: Vec<Value>,
    pub(super) groups: Vec<Value>,
    pub(super) users: Vec<Value>,
    /// With `certificate_data` and `key_data`, where the token may see them.
    pub(super) certificates: Vec<Value>,
    pub(super) sources: Vec<Value>,
    pub(super) mappings: Vec<Value>,
    /// Of every kind, with all their fields.
    pub(super) policies: Vec<Value>,
    pub(super) oauth2_providers: Vec<Value>,
    pub(super) proxy_providers: Vec<Value>,
    /// Of every kind, to tell which are not carried over.
    pub(super) all_providers: Vec<Value>,
    pub(super) applications: Vec<Value>,
    pub(super) entitlements: Vec<Value>,
    pub(super) bindings: Vec<Value>,
    /// With `key`, where the token may see it.
    pub(super) tokens: Vec<Value>,
    pub(super) outposts: Vec<Value>,
}

/// What is here already under permanent names.
#[derive(Clone, Debug, Default)]
pub(super) struct Here {
    pub(super) flows: HashSet<String>,
    pub(super) managed_mappings: HashSet<String>,
}

/// What is to be applied, in this order, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) items: Vec<Item>,
    pub(super) notes: Vec<String>,
}

const GROUP: &str = "authentik_core.group";
const USER: &str = "authentik_core.user";
const ROLE: &str = "authentik_rbac.role";
const FLOW: &str = "authentik_flows.flow";
const CERTIFICATE: &str = "authentik_crypto.certificatekeypair";
const SOURCE: &str = "authentik_sources_oauth.oauthsource";
const MAPPING: &str = "authentik_providers_oauth2.scopemapping";
const OAUTH2: &str = "authentik_providers_oauth2.oauth2provider";
const PROXY: &str = "authentik_providers_proxy.proxyprovider";
const APPLICATION: &str = "authentik_core.application";
const ENTITLEMENT: &str = "authentik_core.applicationentitlement";
const BINDING: &str = "authentik_policies.policybinding";
const DUMMY: &str = "authentik_policies_dummy.dummypolicy";
const TOKEN: &str = "authentik_core.token";
const OUTPOST: &str = "authentik_outposts.outpost";
const EMBEDDED: &str = "goauthentik.io/outposts/embedded";

/// Kinds of policies, with their own fields.
const POLICIES: [(&str, &[&str]); 6] = [
    ("authentik_policies_expression.expressionpolicy", &["expression"]),
    (
        "authentik_policies_password.passwordpolicy",
        &[
            "password_field",
            "amount_digits",
            "amount_uppercase",
            "amount_lowercase",
            "amount_symbols",
            "length_min",
            "symbol_charset",
            "error_message",
            "check_static_rules",
            "check_have_i_been_pwned",
            "check_zxcvbn",
            "hibp_allowed_count",
            "zxcvbn_score_threshold",
        ],
    ),
    ("authentik_policies_expiry.passwordexpirypolicy", &["days", "deny_only"]),
    ("authentik_policies_reputation.reputationpolicy", &["check_ip", "check_username", "threshold"]),
    ("authentik_policies_event_matcher.eventmatcherpolicy", &["action", "client_ip", "app", "model"]),
    (DUMMY, &["result", "wait_min", "wait_max"]),
];

/// What is to be done to have here what a server has.
pub(super) fn plan(there: &Snapshot, here: &Here) -> Plan {
    let mut plan = Plan::default();
    let names = Names::of(there, here);
    people::people(&mut plan, there, &names);
    rules::keys_and_rules(&mut plan, there, here);
    applications::providers(&mut plan, there, here, &names);
    applications::applications(&mut plan, there, &names);
    people::tokens(&mut plan, there, &names);
    applications::outposts(&mut plan, there, &names);
    plan
}

/// Names of what keys stand for at the server.
struct Names {
    flows: HashMap<String, String>,
    roles: HashMap<String, String>,
    groups: HashMap<String, String>,
    users: HashMap<String, String>,
    certificates: HashMap<String, String>,
    sources: HashMap<String, String>,
    /// By permanent name where there is one.
    mappings: HashMap<String, (&'static str, String)>,
    policies: HashMap<String, (&'static str, String)>,
    providers: HashMap<String, (&'static str, String)>,
}

impl Names {
    fn of(there: &Snapshot, here: &Here) -> Self {
        let by = |objects: &[Value], key: &str, name: &str| -> HashMap<String, String> {
            objects.iter().map(|object| (key_of(object, key), text(object, name))).collect()
        };
        let carried = there.certificates.iter().filter(|certificate| !text(certificate, "certificate_data").is_empty());
        let mappings = there.mappings.iter().filter_map(|mapping| {
            let (managed, name) = (text(mapping, "managed"), text(mapping, "name"));
            let known = match managed.as_str() {
                "" => ("name", name),
                _ if here.managed_mappings.contains(&managed) => ("managed", managed),
                _ => return None,
            };
            Some((key_of(mapping, "pk"), known))
        });
        let policies = there.policies.iter().filter_map(|policy| {
            let (model, _) = POLICIES.iter().find(|(model, _)| *model == text(policy, "meta_model_name"))?;
            Some((key_of(policy, "pk"), (*model, text(policy, "name"))))
        });
        let of_kind = |objects: &[Value], model: &'static str| -> Vec<(String, (&'static str, String))> {
            objects.iter().map(|object| (key_of(object, "pk"), (model, text(object, "name")))).collect()
        };
        Self {
            flows: by(&there.flows, "pk", "slug"),
            roles: by(&there.roles, "pk", "name"),
            groups: by(&there.groups, "pk", "name"),
            users: by(&there.users, "pk", "username"),
            certificates: carried.map(|object| (key_of(object, "pk"), text(object, "name"))).collect(),
            sources: by(&there.sources, "pk", "slug"),
            mappings: mappings.collect(),
            policies: policies.collect(),
            providers: of_kind(&there.oauth2_providers, OAUTH2)
                .into_iter()
                .chain(of_kind(&there.proxy_providers, PROXY))
                .collect(),
        }
    }

    fn all(&self, names: &HashMap<String, String>, model: &'static str, field: &'static str, keys: &Value) -> Node {
        let keys = keys.as_array().map_or(&[][..], Vec::as_slice);
        Node::List(
            keys.iter().filter_map(|key| Some(Node::Find(model, field, names.get(&plain(key))?.clone()))).collect(),
        )
    }
}

impl Plan {
    fn add(&mut self, kind: &str, name: &str, entries: impl Into<Vec<Entry>>) {
        self.items.push(Item { name: format!("{kind} {name}"), entries: entries.into() });
    }

    fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }
}

fn entry(
    model: &'static str,
    identifiers: impl Into<Vec<(&'static str, Node)>>,
    attrs: impl Into<Vec<(&'static str, Node)>>,
) -> Entry {
    Entry { model, identifiers: identifiers.into(), attrs: attrs.into(), keeps: false }
}

fn named(object: &Value, field: &'static str) -> (&'static str, Node) {
    (field, Node::from(get(object, field)))
}

/// Those of the fields that the object has. What is null is left as it is here.
fn picked(object: &Value, fields: &[&'static str]) -> Vec<(&'static str, Node)> {
    let found = fields.iter().filter_map(|field| Some((*field, object.get(*field)?)));
    found.filter(|(_, value)| !value.is_null()).map(|(field, value)| (field, Node::from(value.clone()))).collect()
}

/// Attributes without those that the server does not show, which are noted.
fn attributes(plan: &mut Plan, object: &Value, whose: &str) -> Value {
    let mut attributes = object.get("attributes").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut hidden = Vec::new();
    unmask(&mut attributes, &mut hidden);
    if !hidden.is_empty() {
        plan.note(&format!("Attributes of {whose} are hidden by the server: {}.", hidden.join(", ")));
    }
    Value::Object(attributes)
}

fn unmask(attributes: &mut Map<String, Value>, hidden: &mut Vec<String>) {
    attributes.retain(|name, value| match value {
        Value::String(text) if text == MASK => {
            hidden.push(name.clone());
            false
        }
        Value::Object(inner) => {
            unmask(inner, hidden);
            true
        }
        _ => true,
    });
}

fn get(object: &Value, field: &str) -> Value {
    object.get(field).cloned().unwrap_or_default()
}

fn text(object: &Value, field: &str) -> String {
    object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A key as text: some are numbers.
fn key_of(object: &Value, field: &str) -> String {
    object.get(field).map(plain).unwrap_or_default()
}

fn plain(key: &Value) -> String {
    match key {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn denying(plan: &Plan) -> String {
        let wiki = plan.items.iter().find(|item| item.name == "application wiki").expect("is planned");
        wiki.document()
    }

    /// A binding that cannot be carried over denies in its place, also where it was inverted: nobody gets in by it.
    #[test]
    fn what_cannot_be_asked_here_denies() {
        let there = Snapshot {
            applications: vec![json!({"pk": "a", "slug": "wiki", "name": "Wiki", "policy_engine_mode": "all"})],
            policies: vec![json!({"pk": "p", "name": "where", "verbose_name": "GeoIP Policy",
                "meta_model_name": "authentik_policies_geoip.geoippolicy"})],
            bindings: vec![
                json!({"pk": "b", "target": "a", "policy": "p", "order": 3, "negate": true, "enabled": true}),
            ],
            ..Snapshot::default()
        };
        let plan = plan(&there, &Here::default());
        let text = denying(&plan);
        assert!(text.contains("dummypolicy"), "{text}");
        assert!(text.contains("result: false") && text.contains("negate: false"), "{text}");
        assert!(plan.notes.iter().any(|note| note.contains("denies in its place")), "{:?}", plan.notes);
        assert!(plan.notes.iter().any(|note| note.contains("GeoIP")), "{:?}", plan.notes);
    }

    /// What a server hides is not written back as a value, and is told.
    #[test]
    fn what_is_hidden_is_told() {
        let attributes = json!({"wiki_password": MASK, "inner": {"token": MASK, "n": 1}});
        let there = Snapshot {
            users: vec![json!({"pk": 1, "username": "ada", "type": "internal", "attributes": attributes})],
            ..Snapshot::default()
        };
        let plan = plan(&there, &Here::default());
        let text = plan.items[0].document();
        assert!(!text.contains(MASK) && text.contains("inner"), "{text}");
        assert!(plan.notes.iter().any(|note| note.contains("wiki_password, token")), "{:?}", plan.notes);
    }

    /// Nothing that a server says is taken for anything but a text.
    #[test]
    fn texts_stay_texts() {
        let name = "x\", state: absent}\n- {model: !File /etc/passwd";
        let there = Snapshot { groups: vec![json!({"pk": "g", "name": name})], ..Snapshot::default() };
        let text = plan(&there, &Here::default()).items[0].document();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains(r#""x\", state: absent}\U0000000a- {model: !File /etc/passwd""#), "{text}");
    }
}
