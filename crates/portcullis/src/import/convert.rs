//! From objects of one server's API to entries for ours. Keys differ between servers; names do not.

pub(super) mod applications;
pub(super) mod expressions;
mod machines;
#[cfg(test)]
mod no_more;
mod people;
pub(super) mod present;
pub(super) mod review;
mod rules;
mod site;

use std::collections::{HashMap, HashSet};

use portcullis_core::attributes::MASK;
use portcullis_core::username::exceeds;
use portcullis_idp::bootstrap::ADMINISTRATOR;
use serde_json::{Map, Value};

use super::entry::{Entry, Item, Node};

/// What a server's API says, list by list.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Permanent id of the installation, where the token may see it.
    pub(super) install_id: Option<String>,
    pub(super) brands: Vec<Value>,
    /// Of the kinds that can be tuned here.
    pub(super) stages: Vec<Value>,
    pub(super) consents: Vec<Value>,
    pub(super) flows: Vec<Value>,
    pub(super) roles: Vec<Value>,
    pub(super) groups: Vec<Value>,
    pub(super) users: Vec<Value>,
    /// With `certificate_data`, `key_data` and `kid`, where the token may see them.
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
    /// Whether an application without bindings lets nobody in.
    pub(super) is_closed_by_default: bool,
}

/// What is here already under permanent names.
#[derive(Clone, Debug, Default)]
pub(super) struct Here {
    pub(super) flows: HashSet<String>,
    /// With their expressions.
    pub(super) managed_mappings: HashMap<String, String>,
    /// Expressions of mappings, by name.
    pub(super) mappings: HashMap<String, String>,
    /// Expressions of policies, by name.
    pub(super) policies: HashMap<String, String>,
    /// What is tuned, by the name of the stage.
    pub(super) stages: HashMap<String, Value>,
    /// User names, by key.
    pub(super) users: HashMap<i32, String>,
    /// What would be another one afterwards.
    pub(super) known: present::Known,
    /// Groups by which the administrator here is a superuser.
    pub(super) groups_in_charge: HashSet<String>,
    /// Groups that lead to one of these by their parents.
    pub(super) groups_below: HashSet<String>,
    /// Names of roles that keep themselves.
    pub(super) managed_roles: HashSet<String>,
    /// Whether an application without bindings lets everybody in.
    pub(super) is_open_by_default: bool,
    /// Whether people keep their keys: subjects are made of these and the permanent id, which is the same here.
    pub(super) keeps_keys: bool,
    /// Whether somebody has looked at the expressions that come.
    pub(super) reviewed: bool,
}

/// What is to be applied, in this order, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) items: Vec<Item>,
    pub(super) notes: Vec<String>,
    /// What is left out on purpose, so that nothing is put on what has its name here.
    pub(super) refused: Refused,
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
const BRAND: &str = "authentik_brands.brand";
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

/// Objects that were not taken over: kind and name.
pub(super) type Refused = HashSet<(&'static str, String)>;

/// What is to be done first to have here what a server has: what applications rest on.
pub(super) fn foundations(there: &Snapshot, here: &Here) -> Plan {
    let mut plan = Plan::default();
    let names = Names::of(there, here, &Refused::new());
    people::people(&mut plan, there, here, &names);
    rules::keys_and_rules(&mut plan, there, here);
    applications::providers(&mut plan, there, here, &names);
    plan
}

/// What is to be done then, with those of the foundations that are here.
pub(super) fn applications(there: &Snapshot, here: &Here, refused: &Refused) -> Plan {
    let mut plan = Plan::default();
    let names = Names::of(there, here, refused);
    applications::applications(&mut plan, there, here, &names);
    applications::other_bindings(&mut plan, there, &names);
    people::tokens(&mut plan, there, &names);
    machines::links(&mut plan, there, &names);
    applications::outposts(&mut plan, there, &names);
    site::brands(&mut plan, there, here, &names);
    site::stages(&mut plan, there, here);
    plan
}

/// Whether a person and an application of these names have come from the server. The administrator here is nobody from there.
pub(super) fn is_carried(there: &Snapshot, refused: &Refused, username: &str, slug: &str) -> bool {
    let is = |objects: &[Value], model: &'static str, field: &str, name: &str| {
        objects.iter().any(|object| text(object, field) == name) && !refused.contains(&(model, name.to_owned()))
    };
    username != ADMINISTRATOR
        && is(&there.users, USER, "username", username)
        && is(&there.applications, APPLICATION, "slug", slug)
}

/// Names of what keys stand for at the server.
struct Names {
    flows: HashMap<String, String>,
    roles: HashMap<String, String>,
    groups: HashMap<String, String>,
    users: HashMap<String, String>,
    certificates: HashMap<String, String>,
    sources: HashMap<String, String>,
    applications: HashMap<String, String>,
    /// By permanent name where there is one.
    mappings: HashMap<String, (&'static str, String)>,
    policies: HashMap<String, (&'static str, String)>,
    providers: HashMap<String, (&'static str, String)>,
}

impl Names {
    fn of(there: &Snapshot, here: &Here, refused: &Refused) -> Self {
        let is_here = |model: &'static str, name: &str| !refused.contains(&(model, name.to_owned()));
        let by = |objects: &[Value], model: &'static str, name: &str| -> HashMap<String, String> {
            let named = objects.iter().map(|object| (key_of(object, "pk"), text(object, name)));
            named.filter(|(_, name)| is_here(model, name)).collect()
        };
        let has_data = |certificate: &&Value| !text(certificate, "certificate_data").is_empty();
        let carried: Vec<_> = there.certificates.iter().filter(has_data).cloned().collect();
        let mappings = there.mappings.iter().filter_map(|mapping| {
            let (managed, name) = (text(mapping, "managed"), text(mapping, "name"));
            let known = match managed.as_str() {
                "" => ("name", name),
                _ if here.managed_mappings.contains_key(&managed) => ("managed", managed),
                _ => return None,
            };
            Some((key_of(mapping, "pk"), known))
        });
        let policies = there.policies.iter().filter_map(|policy| {
            let (model, _) = POLICIES.iter().find(|(model, _)| *model == text(policy, "meta_model_name"))?;
            let name = text(policy, "name");
            is_here(model, &name).then(|| (key_of(policy, "pk"), (*model, name)))
        });
        let of_kind = |objects: &[Value], model: &'static str| -> Vec<(String, (&'static str, String))> {
            by(objects, model, "name").into_iter().map(|(key, name)| (key, (model, name))).collect()
        };
        let roles: Vec<_> = there.roles.iter().filter(|role| !people::is_own_role(role, here)).cloned().collect();
        let machines = machines::of(there);
        let people: Vec<_> = there.users.iter().filter(|user| !people::is_left_out(user, &machines)).cloned().collect();
        Self {
            flows: by(&there.flows, FLOW, "slug"),
            roles: by(&roles, ROLE, "name"),
            groups: by(&there.groups, GROUP, "name"),
            users: by(&people, USER, "username"),
            certificates: by(&carried, CERTIFICATE, "name"),
            sources: by(&there.sources, SOURCE, "slug"),
            applications: by(&there.applications, APPLICATION, "slug"),
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
    Entry { model, identifiers: identifiers.into(), attrs: attrs.into(), id: None, keeps: false }
}

fn named(object: &Value, field: &'static str) -> (&'static str, Node) {
    (field, Node::from(get(object, field)))
}

/// Those of the fields that the object has. What is null is left as it is here.
fn picked(object: &Value, fields: &[&'static str]) -> Vec<(&'static str, Node)> {
    let found = fields.iter().filter_map(|field| Some((*field, object.get(*field)?)));
    found.filter(|(_, value)| !value.is_null()).map(|(field, value)| (field, Node::from(value.clone()))).collect()
}

/// A picture, if it is known by its address; another, such as a file of the server, is told. So is one that is refused here: what
/// it belongs to comes without it.
fn picture(plan: &mut Plan, object: &Value, field: &'static str, whose: &str) -> Option<(&'static str, Node)> {
    /// Most characters of an address here.
    const MOST: usize = 2048;
    let value = text(object, field);
    let begins = |start: &str| value.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start));
    let why = if value.is_empty() {
        return None;
    } else if exceeds(&value, MOST) {
        // As much as tells which one is meant.
        let start: String = value.chars().take(40).collect();
        format!("{start:?}... has more than {MOST} characters")
    } else if value.contains('\0') {
        format!("{value:?} has a NUL in it")
    } else if ["https://", "http://", "data:image/"].into_iter().any(begins) {
        return Some((field, Value::from(value).into()));
    } else {
        format!("{value:?} is no address of a picture")
    };
    plan.note(&format!("The icon of {whose} is not carried over: {why}."));
    None
}

/// Attributes. Those that the server hides are noted and keep their mask: what is here in their place stays.
fn attributes(plan: &mut Plan, object: &Value, whose: &str) -> Value {
    let attributes = object.get("attributes").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let mut hidden = Vec::new();
    find_masks(&attributes, &mut hidden);
    if !hidden.is_empty() {
        plan.note(&format!("Attributes of {whose} are hidden by the server: {}.", hidden.join(", ")));
    }
    attributes
}

fn find_masks(attributes: &Value, hidden: &mut Vec<String>) {
    for (name, value) in attributes.as_object().into_iter().flatten() {
        if value.as_str() == Some(MASK) {
            hidden.push(name.clone());
        }
        find_masks(value, hidden);
    }
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
        let plan = applications(&there, &Here::default(), &Refused::new());
        let text = denying(&plan);
        assert!(text.contains("dummypolicy"), "{text}");
        assert!(text.contains("result: false") && text.contains("negate: false"), "{text}");
        assert!(plan.notes.iter().any(|note| note.contains("denies in its place")), "{:?}", plan.notes);
        let first = foundations(&there, &Here::default());
        assert!(first.notes.iter().any(|note| note.contains("GeoIP")), "{:?}", first.notes);
    }

    /// The same holds for what there is something like here, and was refused; and for whoever is left out.
    #[test]
    fn what_was_refused_denies() {
        let binding = |pk: &str, member: &str, key: Value| json!({"pk": pk, "target": "a", member: key, "order": 0});
        let there = Snapshot {
            applications: vec![json!({"pk": "a", "slug": "wiki", "name": "Wiki"})],
            policies: vec![json!({"pk": "p", "name": "odd", "expression": "import os",
                "meta_model_name": "authentik_policies_expression.expressionpolicy"})],
            users: vec![json!({"pk": 7, "username": "outpost", "type": "internal_service_account"})],
            bindings: vec![binding("b", "policy", json!("p")), binding("c", "user", json!(7))],
            ..Snapshot::default()
        };
        let refused = Refused::from([("authentik_policies_expression.expressionpolicy", "odd".to_owned())]);
        let plan = applications(&there, &Here::default(), &refused);
        assert_eq!(plan.notes.len(), 2, "{:?}", plan.notes);
        assert!(!denying(&plan).contains("odd"), "{}", denying(&plan));
    }

    /// OA-930: an application comes without an icon that would be refused here, which is told; the scheme of an address may be written
    /// in any case.
    #[test]
    fn oa_930_an_icon_keeps_no_application_out() {
        let data = |length: usize| format!("data:image/png;base64,{}", "A".repeat(length - 22));
        for (icon, why) in [
            ("HTTPS://wiki.example/i.png".to_owned(), None),
            ("Data:image/png;base64,AAAA".to_owned(), None),
            (data(2048), None),
            (data(2049), Some("2048 characters")),
            (format!("https://wiki.example/{}", "é".repeat(2048)), Some("2048 characters")),
            ("data:image/png,\0".to_owned(), Some("NUL")),
            ("é".repeat(9), Some("no address")),
            ("/media/i.png".to_owned(), Some("no address")),
            (String::new(), None),
        ] {
            let application = json!({"pk": "a", "slug": "wiki", "name": "Wiki", "meta_icon": icon});
            let there = Snapshot { applications: vec![application], ..Snapshot::default() };
            let plan = applications(&there, &Here::default(), &Refused::new());
            let is_there = plan.items[0].document().contains("meta_icon");
            assert_eq!(is_there, why.is_none() && !icon.is_empty(), "{icon}");
            let notes: Vec<_> = plan.notes.iter().filter(|note| note.contains("The icon of")).collect();
            assert_eq!(notes.len(), usize::from(why.is_some()), "{notes:?}");
            assert!(notes.iter().all(|note| note.contains(why.unwrap_or_default()) && note.len() < 300), "{notes:?}");
        }
    }

    /// Entitlements of several applications may have one name: what is bound to one of them stays there.
    #[test]
    fn entitlements_of_one_name_are_told_apart() {
        let application = |pk: &str| json!({"pk": pk, "slug": pk, "name": pk});
        let there = Snapshot {
            applications: vec![application("wiki"), application("bank")],
            entitlements: vec![
                json!({"pbm_uuid": "e", "name": "admin", "app": "wiki"}),
                json!({"pbm_uuid": "f", "name": "admin", "app": "bank"}),
            ],
            groups: vec![json!({"pk": "g", "name": "clerks"})],
            bindings: vec![json!({"pk": "b", "target": "f", "group": "g", "order": 0})],
            ..Snapshot::default()
        };
        let plan = applications(&there, &Here::default(), &Refused::new());
        let texts: Vec<_> = plan.items.iter().map(Item::document).collect();
        assert!(!texts[0].contains("clerks") && texts[1].contains("clerks"), "{texts:#?}");
        assert!(texts[1].contains("target: !KeyOf entitlement-0"), "{texts:#?}");
    }

    /// What is bound to a flow is told.
    #[test]
    fn bindings_of_flows_are_told() {
        let there = Snapshot {
            flows: vec![json!({"pk": "f", "slug": "default-authentication-flow"})],
            bindings: vec![json!({"pk": "b", "target": "f", "policy": "p", "order": 0})],
            ..Snapshot::default()
        };
        let plan = applications(&there, &Here::default(), &Refused::new());
        assert!(plan.notes.iter().any(|note| note.contains("default-authentication-flow")), "{:?}", plan.notes);
    }

    /// What a server hides is told, and does not take the place of what is here.
    #[test]
    fn what_is_hidden_is_told() {
        let attributes = json!({"wiki_password": MASK, "inner": {"token": MASK, "n": 1}});
        let there = Snapshot {
            users: vec![json!({"pk": 1, "username": "ada", "type": "internal", "attributes": attributes})],
            ..Snapshot::default()
        };
        let plan = foundations(&there, &Here::default());
        let text = plan.items[0].document();
        assert!(text.contains(MASK) && text.contains("inner"), "{text}");
        assert!(plan.notes.iter().any(|note| note.contains("wiki_password, token")), "{:?}", plan.notes);
    }

    /// Nothing that a server says is taken for anything but a text.
    #[test]
    fn texts_stay_texts() {
        let name = "x\", state: absent}\n- {model: !File /etc/passwd";
        let there = Snapshot { groups: vec![json!({"pk": "g", "name": name})], ..Snapshot::default() };
        let text = foundations(&there, &Here::default()).items[0].document();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains(r#""x\", state: absent}\U0000000a- {model: !File /etc/passwd""#), "{text}");
    }
}
