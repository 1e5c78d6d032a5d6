//! Providers, applications with what is bound to them, and the outposts that serve them.

use std::collections::HashSet;

use super::expressions::is_unread;
use super::{
    APPLICATION, BINDING, CERTIFICATE, DUMMY, EMBEDDED, ENTITLEMENT, FLOW, GROUP, Here, MAPPING, Names, OAUTH2,
    OUTPOST, PROXY, Plan, SOURCE, Snapshot, USER, attributes, entry, get, key_of, named, picked, picture, plain, text,
};
use crate::import::entry::{Entry, Item, Node};
use portcullis_core::{duration, pattern};
use serde_json::{Value, json};

/// What clients may use of a server that has no list of it: all but tokens in addresses.
const GRANTS: [&str; 5] = [
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "password",
    "urn:ietf:params:oauth:grant-type:device_code",
];

pub(super) fn providers(plan: &mut Plan, there: &Snapshot, here: &Here, names: &Names) {
    let validity = ["access_token_validity", "refresh_token_validity"];
    let oauth2 = [
        "client_type",
        "client_id",
        "client_secret",
        "client_secret_expires",
        "second_client_secret",
        "second_client_secret_expires",
        "client_jwks",
        "grant_types",
        "redirect_uris",
        "access_code_validity",
        "refresh_token_threshold",
        "refresh_family_max_age",
        "include_claims_in_id_token",
        "logout_uri",
        "logout_method",
        "sub_mode",
        "issuer_mode",
        "federation_audiences",
        "cap_to_assertion_exp",
        "token_exchange_without_actor",
        "require_pkce",
        "m2m_require_client_auth",
        "allow_pkce_plain",
        "device_require_client_auth",
        "allowed_origins",
        "allow_query_token",
        "allow_broad_redirect_uris",
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
        "federation_audiences",
        "cap_to_assertion_exp",
    ];
    let oauth2 = there.oauth2_providers.iter().map(|found| (OAUTH2, "signing_key", found, oauth2.as_slice()));
    let proxy = there.proxy_providers.iter().map(|found| (PROXY, "certificate", found, proxy.as_slice()));
    let mut trusting = Vec::new();
    for (model, certificate, provider, fields) in oauth2.chain(proxy) {
        let name = text(provider, "name");
        let mut attrs = [picked(provider, fields), picked(provider, &validity)].concat();
        if model == OAUTH2 && lacks_key(provider, names) {
            plan.note(&format!(
                "Provider {name:?} encrypts its tokens, and the key for that cannot be carried over: it is left out."
            ));
            plan.refused.insert((model, name));
            continue;
        }
        if let Some(found) = names.certificates.get(&key_of(provider, "encryption_key")).filter(|_| model == OAUTH2) {
            attrs.push(("encryption_key", Node::Find(CERTIFICATE, "name", found.clone())));
        }
        if model == PROXY && !text(provider, "client_id").is_empty() {
            // Machines ask the token endpoint for it by this name (OA-932).
            attrs.push(("taken_over", Node::Map(vec![("client_id", get(provider, "client_id").into())])));
        }
        if model == OAUTH2 && provider.get("grant_types").is_none() {
            // A server that does not say lets every client use these (OA-050).
            attrs.push(("grant_types", json!(GRANTS).into()));
        }
        if model == OAUTH2 {
            attrs.extend(of_devices(provider));
            attrs.extend(confirmed(provider));
        }
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
        if let Some(key) = provider.get("authentication_flow").filter(|key| !key.is_null()) {
            match names.flows.get(&plain(key)).filter(|slug| here.flows.contains(*slug)) {
                Some(slug) => attrs.push(("authentication_flow", Node::Find(FLOW, "slug", slug.clone()))),
                None => plan
                    .note(&format!("Provider {name:?} has a sign-in flow of its own; here it gets that of the brand.")),
            }
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
        plan.add("provider", &name, [Entry { attrs, ..entry(model, [named(provider, "name")], []) }]);
        let sources = names.all(&names.sources, SOURCE, "slug", &get(provider, "jwt_federation_sources"));
        let others = get(provider, "jwt_federation_providers");
        let others = others.as_array().into_iter().flatten().filter(|key| {
            let mut clients = there.oauth2_providers.iter();
            !clients.any(|client| key_of(client, "pk") == plain(key) && lacks_key(client, names))
        });
        let others = others.filter_map(|key| names.providers.get(&plain(key)));
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

/// How devices are let in: from a server that says nothing of it, without the client's secret, and for as long as the longer of what
/// codes live there and what devices are given here, a day at most (OA-042, OA-043).
fn of_devices(provider: &Value) -> Vec<(&'static str, Node)> {
    const USUAL: &str = "minutes=10";
    const LONGEST: &str = "days=1";
    let mut attrs = Vec::new();
    let here = text(provider, "device_code_validity");
    let code = text(provider, "access_code_validity");
    let longer = |code: &String| duration::read(code) > duration::read(USUAL);
    attrs.push((
        "device_code_validity",
        match here.is_empty() {
            false => json!(here).into(),
            true if duration::read(&code) > duration::read(LONGEST) => json!(LONGEST).into(),
            true => json!(Some(code).filter(longer).unwrap_or_else(|| USUAL.to_owned())).into(),
        },
    ));
    if provider.get("device_require_client_auth").is_none() {
        attrs.push(("device_require_client_auth", json!(false).into()));
    }
    attrs
}

/// A pattern that fits strangers is meant so where it comes from, and is told of in the review (OA-841, OA-935).
fn confirmed(provider: &Value) -> Option<(&'static str, Node)> {
    let uris = get(provider, "redirect_uris");
    let mut patterns = uris.as_array().into_iter().flatten().filter(|uri| text(uri, "matching_mode") == "regex");
    let is_new = provider.get("allow_broad_redirect_uris").is_none();
    (is_new && patterns.any(|uri| pattern::is_broad(&text(uri, "url"))))
        .then(|| ("allow_broad_redirect_uris", json!(true).into()))
}

/// Whether a provider encrypts its tokens with what does not come: they are not to be sent in the clear.
fn lacks_key(provider: &Value, names: &Names) -> bool {
    let key = key_of(provider, "encryption_key");
    !key.is_empty() && !names.certificates.contains_key(&key)
}

/// An application comes with all its bindings or not at all, so that none lets in whom another one keeps out.
pub(super) fn applications(plan: &mut Plan, there: &Snapshot, here: &Here, names: &Names) {
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
        attrs.extend(picture(plan, application, "meta_icon", &format!("application {slug:?}")));
        if let Some((model, name)) = names.providers.get(&key_of(application, "provider")) {
            attrs.push(("provider", Node::Find(model, "name", name.clone())));
        }
        let id = Some("application".to_owned());
        let mut entries = vec![Entry { attrs, id, ..entry(APPLICATION, [named(application, "slug")], []) }];
        let target = Node::KeyOf("application".to_owned());
        let mut bound = Bound { there, here, names, slug: &slug, entries: &mut entries };
        bound.all_of(plan, &key_of(application, "pk"), &target);
        if is_closed(application, there, here) {
            let name = format!("open to nobody: {slug}");
            plan.note(&format!(
                "Application {slug:?} has no bindings, and the server lets nobody in to such ones: policy {name:?} denies."
            ));
            let member = bound.denying(name);
            let order = ("order", json!(0).into());
            bound.entries.push(entry(BINDING, [("target", target.clone()), member, order], []));
        }
        let own = there.entitlements.iter().filter(|found| key_of(found, "app") == key_of(application, "pk"));
        for (number, entitlement) in own.enumerate() {
            let attributes = attributes(plan, entitlement, &format!("entitlement {:?}", text(entitlement, "name")));
            let identifiers = [named(entitlement, "name"), ("app", target.clone())];
            let id = format!("entitlement-{number}");
            let its = Node::KeyOf(id.clone());
            let attrs = [("attributes", attributes.into())];
            bound.entries.push(Entry { id: Some(id), ..entry(ENTITLEMENT, identifiers, attrs) });
            bound.all_of(plan, &key_of(entitlement, "pbm_uuid"), &its);
        }
        plan.add("application", &slug, entries);
    }
}

/// Flows and sources have bindings of their own, which are for an administrator to think about: here they may mean
/// something else.
pub(super) fn other_bindings(plan: &mut Plan, there: &Snapshot, names: &Names) {
    let applications = there.applications.iter().map(|application| key_of(application, "pk"));
    let entitlements = there.entitlements.iter().map(|entitlement| key_of(entitlement, "pbm_uuid"));
    let known: HashSet<_> = applications.chain(entitlements).collect();
    for binding in &there.bindings {
        let target = key_of(binding, "target");
        if !known.contains(&target) {
            let of = names.flows.get(&target).map_or_else(|| target.clone(), |slug| format!("flow {slug:?}"));
            plan.note(&format!("A binding of {of} is not carried over: see whether it is wanted here."));
        }
    }
}

/// Whether nobody gets in to an application there although nothing is bound to it, and here everybody would.
pub(in crate::import) fn is_closed(application: &Value, there: &Snapshot, here: &Here) -> bool {
    let counts = |binding: &&Value| {
        key_of(binding, "target") == key_of(application, "pk") && get(binding, "enabled") != json!(false)
    };
    there.is_closed_by_default && here.is_open_by_default && !there.bindings.iter().any(|binding| counts(&binding))
}

/// What is bound to an application and its entitlements, as it becomes part of what is applied.
struct Bound<'a> {
    there: &'a Snapshot,
    here: &'a Here,
    names: &'a Names,
    slug: &'a str,
    entries: &'a mut Vec<Entry>,
}

impl Bound<'_> {
    fn all_of(&mut self, plan: &mut Plan, key: &str, target: &Node) {
        let Self { there, names, slug, .. } = *self;
        for binding in there.bindings.iter().filter(|binding| key_of(binding, "target") == key) {
            let group = names.groups.get(&key_of(binding, "group"));
            let group = group.map(|name| ("group", Node::Find(GROUP, "name", name.clone())));
            let user = names.users.get(&key_of(binding, "user"));
            let user = user.map(|name| ("user", Node::Find(USER, "username", name.clone())));
            let policy = names.policies.get(&key_of(binding, "policy"));
            // Who has not read an expression does not know whom it lets in when it is turned round, or fails.
            let unread = policy.filter(|(model, name)| is_unread(there, self.here, model, name));
            let inverted = unread.filter(|_| get(binding, "negate") == json!(true));
            let policy = policy.map(|(model, name)| ("policy", Node::Find(model, "name", name.clone())));
            let mut attrs = picked(binding, &["enabled", "timeout"]);
            let member = match (inverted, group.or(user).or(policy)) {
                (None, Some(member)) => {
                    attrs.extend(picked(binding, &["negate", "failure_result"]));
                    if unread.is_some() {
                        attrs.retain(|(field, _)| *field != "failure_result");
                        attrs.push(("failure_result", json!(false).into()));
                    }
                    member
                }
                (inverted, _) => {
                    // What cannot be asked here must not let anybody in, and must be seen.
                    let name = match inverted {
                        Some((_, policy)) => format!("not reviewed: {policy}, inverted for {slug}"),
                        None => format!("not carried over: a binding of {slug}"),
                    };
                    plan.note(&match inverted {
                        Some((_, policy)) => format!(
                            "Application {slug:?} inverts policy {policy:?}, which is not reviewed; policy {name:?} denies in \
                             its place. Bind it yourself, or review it and import again; then remove the denying one."
                        ),
                        None => format!(
                            "A binding of application {slug:?} names what is not here; policy {name:?} denies in its place."
                        ),
                    });
                    let no = json!(false);
                    attrs.extend([("negate", no.clone().into()), ("failure_result", no.into())]);
                    self.denying(name)
                }
            };
            let order = ("order", Node::from(get(binding, "order")));
            self.entries.push(Entry { attrs, ..entry(BINDING, [("target", target.clone()), member, order], []) });
        }
    }

    /// A policy that lets nobody in.
    fn denying(&mut self, name: String) -> (&'static str, Node) {
        let never = [("result", json!(false).into()), ("wait_min", json!(0).into()), ("wait_max", json!(0).into())];
        self.entries.push(entry(DUMMY, [("name", json!(name).into())], never));
        ("policy", Node::Find(DUMMY, "name", name))
    }
}

pub(super) fn outposts(plan: &mut Plan, there: &Snapshot, names: &Names) {
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
                plan.add("outpost", &name, [entry(OUTPOST, managed, more)]);
            }
        } else {
            let attrs = [("type", json!("proxy").into()), ("providers", Node::List(providers))];
            let attrs = [attrs.to_vec(), picked(outpost, &["config"])].concat();
            plan.add("outpost", &name, [Entry { attrs, ..entry(OUTPOST, [named(outpost, "name")], []) }]);
        }
    }
}
