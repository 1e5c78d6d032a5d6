//! From objects of one server's API to entries for ours. Keys differ between servers; names do not.

use std::collections::{HashMap, HashSet};

use portcullis_core::attributes::MASK;
use serde_json::{Map, Value, json};

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
    people(&mut plan, there, &names);
    keys_and_rules(&mut plan, there, here);
    providers(&mut plan, there, here, &names);
    applications(&mut plan, there, &names);
    tokens(&mut plan, there, &names);
    outposts(&mut plan, there, &names);
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
        let carried = there.certificates.iter().filter(|certificate| text(certificate, "certificate_data") != "");
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

fn people(plan: &mut Plan, there: &Snapshot, names: &Names) {
    for role in &there.roles {
        plan.add("role", text(role, "name"), [entry(ROLE, [named(role, "name")], [])]);
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
        plan.add("group", text(group, "name"), [Entry { attrs, ..entry(GROUP, [named(group, "name")], []) }]);
    }
    for group in &there.groups {
        let parents = match group.get("parents") {
            Some(parents) => parents.clone(),
            None => json!(group.get("parent").filter(|parent| !parent.is_null()).into_iter().collect::<Vec<_>>()),
        };
        let parents = names.all(&names.groups, GROUP, "name", &parents);
        if parents != Node::List(Vec::new()) {
            let name = format!("{}, its parents", text(group, "name"));
            plan.add("group", name, [entry(GROUP, [named(group, "name")], [("parents", parents)])]);
        }
    }
    let mut without_password = 0;
    for user in &there.users {
        let username = text(user, "username");
        if text(user, "type") == "internal_service_account" || is_generated(user) {
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
        let keeps = username == portcullis_idp::bootstrap::ADMINISTRATOR;
        without_password += usize::from(!keeps && matches!(text(user, "type").as_str(), "internal" | "external"));
        let made = Entry { attrs, keeps, ..entry(USER, [named(user, "username")], []) };
        plan.add("user", username, [made]);
    }
    if without_password > 0 {
        plan.note(&format!(
            "Passwords and second factors are not given by the API: {without_password} people need a recovery link."
        ));
    }
}

fn keys_and_rules(plan: &mut Plan, there: &Snapshot, here: &Here) {
    for certificate in &there.certificates {
        let name = text(certificate, "name");
        if text(certificate, "certificate_data").is_empty() {
            plan.note(&format!("Certificate {name:?} cannot be read with this token, or is the server's own."));
            continue;
        }
        let attrs = picked(certificate, &["certificate_data", "key_data"]);
        plan.add("certificate", name, [Entry { attrs, ..entry(CERTIFICATE, [named(certificate, "name")], []) }]);
    }
    for source in &there.sources {
        let slug = text(source, "slug");
        let fields = [
            "name",
            "enabled",
            "promoted",
            "provider_type",
            "consumer_key",
            "policy_engine_mode",
            "user_matching_mode",
            "group_matching_mode",
            "user_path_template",
            "request_token_url",
            "authorization_url",
            "access_token_url",
            "profile_url",
            "pkce",
            "additional_scopes",
            "oidc_well_known_url",
            "oidc_jwks_url",
            "oidc_jwks",
            "authorization_code_auth_method",
        ];
        // Every source needs a secret; a later run leaves the one alone that an administrator has set meanwhile.
        let secret = ("consumer_secret", Node::from(json!("to be set again")));
        let first = Entry {
            attrs: [picked(source, &fields), vec![secret]].concat(),
            keeps: true,
            ..entry(SOURCE, [named(source, "slug")], [])
        };
        let rest = Entry { attrs: picked(source, &fields), ..entry(SOURCE, [named(source, "slug")], []) };
        plan.note(&format!("The consumer secret of source {slug:?} is not given by the API: set it again."));
        plan.add("source", slug, [first, rest]);
    }
    for mapping in &there.mappings {
        let (managed, name) = (text(mapping, "managed"), text(mapping, "name"));
        if !managed.is_empty() {
            if !here.managed_mappings.contains(&managed) {
                plan.note(&format!("Mapping {name:?} came with the server, and there is none like it here."));
            }
        } else if text(mapping, "meta_model_name") == MAPPING {
            let attrs = picked(mapping, &["scope_name", "description", "expression"]);
            plan.add("mapping", name, [Entry { attrs, ..entry(MAPPING, [named(mapping, "name")], []) }]);
        } else {
            plan.note(&format!(
                "Mapping {name:?} is a {}: there is nothing like it here.",
                text(mapping, "verbose_name")
            ));
        }
    }
    for policy in &there.policies {
        let name = text(policy, "name");
        match POLICIES.iter().find(|(model, _)| *model == text(policy, "meta_model_name")) {
            Some((model, fields)) => {
                let attrs = [picked(policy, &["execution_logging"]), picked(policy, fields)].concat();
                plan.add("policy", name, [Entry { attrs, ..entry(model, [named(policy, "name")], []) }]);
            }
            None => plan.note(&format!(
                "Policy {name:?} is a {}: there is nothing like it here. Where it was bound, it denies.",
                text(policy, "verbose_name")
            )),
        }
    }
}

fn providers(plan: &mut Plan, there: &Snapshot, here: &Here, names: &Names) {
    let validity = ["access_token_validity", "refresh_token_validity"];
    let oauth2 = [
        "client_type",
        "client_id",
        "client_secret",
        "grant_types",
        "redirect_uris",
        "access_code_validity",
        "refresh_token_threshold",
        "include_claims_in_id_token",
        "logout_uri",
        "logout_method",
        "sub_mode",
        "issuer_mode",
    ];
    let proxy = [
        "mode",
        "external_host",
        "internal_host",
        "internal_host_ssl_validation",
        "skip_path_regex",
        "basic_auth_enabled",
        "basic_auth_user_attribute",
        "basic_auth_password_attribute",
        "intercept_header_auth",
        "cookie_domain",
    ];
    let oauth2 = there.oauth2_providers.iter().map(|found| (OAUTH2, "signing_key", found, oauth2.as_slice()));
    let proxy = there.proxy_providers.iter().map(|found| (PROXY, "certificate", found, proxy.as_slice()));
    let mut trusting = Vec::new();
    for (model, certificate, provider, fields) in oauth2.chain(proxy) {
        let name = text(provider, "name");
        let mut attrs = [picked(provider, fields), picked(provider, &validity)].concat();
        for (field, otherwise) in [
            ("authorization_flow", portcullis_idp::flows::IMPLICIT_CONSENT),
            ("invalidation_flow", portcullis_idp::flows::PROVIDER_INVALIDATION),
        ] {
            let slug = names.flows.get(&key_of(provider, field)).cloned().unwrap_or_default();
            let is_here = here.flows.contains(&slug);
            if !is_here {
                plan.note(&format!("Provider {name:?} has a flow {slug:?} of its own; here it gets {otherwise:?}."));
            }
            attrs.push((field, Node::Find(FLOW, "slug", if is_here { slug } else { otherwise.to_owned() })));
        }
        if let Some(key) = provider.get(certificate).filter(|key| !key.is_null()) {
            match names.certificates.get(&plain(key)) {
                Some(found) => attrs.push((certificate, Node::Find(CERTIFICATE, "name", found.clone()))),
                None => {
                    plan.note(&format!("Provider {name:?}: its {} is not carried over.", certificate.replace('_', " ")))
                }
            }
        }
        let mappings = get(provider, "property_mappings");
        let mappings = mappings.as_array().into_iter().flatten().filter_map(|key| names.mappings.get(&plain(key)));
        attrs.push((
            "property_mappings",
            Node::List(mappings.map(|(field, value)| Node::Find(MAPPING, field, value.clone())).collect()),
        ));
        plan.add("provider", name.clone(), [Entry { attrs, ..entry(model, [named(provider, "name")], []) }]);
        let sources = names.all(&names.sources, SOURCE, "slug", &get(provider, "jwt_federation_sources"));
        let others = get(provider, "jwt_federation_providers");
        let others = others.as_array().into_iter().flatten().filter_map(|key| names.providers.get(&plain(key)));
        let others = Node::List(others.map(|(model, name)| Node::Find(model, "name", name.clone())).collect());
        if sources != Node::List(Vec::new()) || others != Node::List(Vec::new()) {
            let trusts = [("jwt_federation_sources", sources), ("jwt_federation_providers", others)];
            let name = format!("{name}, whose tokens it takes");
            trusting.push(Item {
                name: format!("provider {name}"),
                entries: vec![entry(model, [named(provider, "name")], trusts)],
            });
        }
    }
    plan.items.extend(trusting);
    for provider in &there.all_providers {
        if !names.providers.contains_key(&key_of(provider, "pk")) {
            let (name, kind) = (text(provider, "name"), text(provider, "verbose_name"));
            plan.note(&format!("Provider {name:?} is a {kind}: there is nothing like it here."));
        }
    }
}

/// An application comes with all its bindings or not at all: it is never open to more people than at the server.
fn applications(plan: &mut Plan, there: &Snapshot, names: &Names) {
    for application in &there.applications {
        let slug = text(application, "slug");
        let mut attrs = picked(
            application,
            &[
                "name",
                "group",
                "policy_engine_mode",
                "open_in_new_tab",
                "meta_launch_url",
                "meta_description",
                "meta_publisher",
                "meta_hide",
            ],
        );
        if let Some((model, name)) = names.providers.get(&key_of(application, "provider")) {
            attrs.push(("provider", Node::Find(model, "name", name.clone())));
        }
        let mut entries = vec![Entry { attrs, ..entry(APPLICATION, [named(application, "slug")], []) }];
        let here = Node::Find(APPLICATION, "slug", slug.clone());
        bindings(plan, there, names, &key_of(application, "pk"), &slug, &here, &mut entries);
        let own = there.entitlements.iter().filter(|found| key_of(found, "app") == key_of(application, "pk"));
        for entitlement in own {
            let attributes = attributes(plan, entitlement, &format!("entitlement {:?}", text(entitlement, "name")));
            let identifiers = [named(entitlement, "name"), ("app", here.clone())];
            entries.push(entry(ENTITLEMENT, identifiers, [("attributes", attributes.into())]));
            let target = Node::Find(ENTITLEMENT, "name", text(entitlement, "name"));
            bindings(plan, there, names, &key_of(entitlement, "pbm_uuid"), &slug, &target, &mut entries);
        }
        plan.add("application", slug, entries);
    }
}

fn bindings(
    plan: &mut Plan,
    there: &Snapshot,
    names: &Names,
    target: &str,
    slug: &str,
    here: &Node,
    entries: &mut Vec<Entry>,
) {
    for binding in there.bindings.iter().filter(|binding| key_of(binding, "target") == target) {
        let group =
            names.groups.get(&key_of(binding, "group")).map(|name| ("group", Node::Find(GROUP, "name", name.clone())));
        let user =
            names.users.get(&key_of(binding, "user")).map(|name| ("user", Node::Find(USER, "username", name.clone())));
        let policy = names.policies.get(&key_of(binding, "policy"));
        let policy = policy.map(|(model, name)| ("policy", Node::Find(model, "name", name.clone())));
        let mut attrs = picked(binding, &["enabled", "timeout", "failure_result"]);
        let member = match group.or(user).or(policy) {
            Some(member) => {
                attrs.extend(picked(binding, &["negate"]));
                member
            }
            None => {
                // What cannot be asked here must not let anybody in, and must be seen.
                let name = format!("not carried over: a binding of {slug}");
                plan.note(&format!(
                    "A binding of application {slug:?} names what is not here; policy {name:?} denies in its place."
                ));
                let never =
                    [("result", json!(false).into()), ("wait_min", json!(0).into()), ("wait_max", json!(0).into())];
                entries.push(entry(DUMMY, [("name", json!(name).into())], never));
                attrs.push(("negate", json!(false).into()));
                ("policy", Node::Find(DUMMY, "name", name))
            }
        };
        let order = ("order", Node::from(get(binding, "order")));
        entries.push(Entry { attrs, ..entry(BINDING, [("target", here.clone()), member, order], []) });
    }
}

fn tokens(plan: &mut Plan, there: &Snapshot, names: &Names) {
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
        plan.add("token", identifier, [Entry { attrs, ..entry(TOKEN, [named(token, "identifier")], []) }]);
    }
}

fn outposts(plan: &mut Plan, there: &Snapshot, names: &Names) {
    for outpost in &there.outposts {
        let name = text(outpost, "name");
        let keys = get(outpost, "providers");
        let found = keys.as_array().into_iter().flatten().filter_map(|key| names.providers.get(&plain(key)));
        let providers: Vec<_> = found.map(|(model, name)| Node::Find(model, "name", name.clone())).collect();
        if text(outpost, "type") != "proxy" {
            plan.note(&format!("Outpost {name:?} is for {}: there is nothing like it here.", text(outpost, "type")));
        } else if text(outpost, "managed") == EMBEDDED {
            if !providers.is_empty() {
                let managed = [("managed", json!(EMBEDDED).into())];
                let more = [("additional_providers", Node::List(providers))];
                plan.add("outpost", name, [entry(OUTPOST, managed, more)]);
            }
        } else {
            let attrs = [("type", json!("proxy").into()), ("providers", Node::List(providers))];
            let attrs = [attrs.to_vec(), picked(outpost, &["config"])].concat();
            plan.add("outpost", name, [Entry { attrs, ..entry(OUTPOST, [named(outpost, "name")], []) }]);
        }
    }
}

impl Plan {
    fn add(&mut self, kind: &str, name: String, entries: impl Into<Vec<Entry>>) {
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

fn is_generated(user: &Value) -> bool {
    user.pointer("/attributes/goauthentik.io~1user~1generated").and_then(Value::as_bool).unwrap_or(false)
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
