//! The public clients, unmodified, on every resource: what `tests/clients/resources.json` says.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use authentik_client::apis::configuration::Configuration;
use authentik_client::apis::{
    core_api, crypto_api, outposts_api, policies_api, propertymappings_api, providers_api, rbac_api, sources_api,
};
use authentik_client::models;
use portcullis_testkit::fronts::fetched;
use portcullis_testkit::process::command;
use portcullis_testkit::{Finished, Site, run};
use serde_json::{Map, Value, json};

use crate::stage::Stage;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// A site where somebody has been given an access token: what lists show of none would show nothing.
async fn site() -> Site {
    let site = Site::start().await;
    Stage::on(&site, json!({})).await.bearer().await;
    site
}

/// What a client says of the table, which it takes from a site as it finds it.
async fn drives(client: Command, version: &str) {
    let finished = Finished::run(client).await;
    assert_eq!(finished.code, Some(0), "{version}: {}\n{}", finished.stdout, finished.stderr);
    assert!(finished.stdout.contains("0 failures"), "{version}: {}", finished.stdout);
}

/// CO-596, CO-527, CO-532, CO-595, OA-645: Python clients of three versions make, read, list, change and delete every resource,
/// and get back what they wrote.
#[test]
fn co_596_the_python_clients_on_every_resource() {
    run(async {
        let site = site().await;
        for version in ["python-2026.2.7", "python-2026.5.8", "python"] {
            let path = std::env::join_paths([fetched(version), fetched("python")]).unwrap();
            let mut python = command("python3");
            python.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
            python.arg(folder().join("client.py")).args([site.base(), site.token.clone()]);
            drives(python, version).await;
        }
    });
}

/// CO-596, CO-527, CO-532, OA-645: JavaScript clients of three versions make, read, list, change and delete every resource, and
/// get back what they wrote.
#[test]
fn co_596_the_javascript_clients_on_every_resource() {
    run(async {
        let site = site().await;
        // The oldest one has its code elsewhere than its description says.
        for (version, code) in [("2026.2.3-rc1", "dist/esm/index.js"), ("2026.5.6", ""), ("2026.8.3", "")] {
            let mut node = command(fetched("node"));
            node.arg(folder().join("client.cjs")).args([site.base(), site.token.clone()]);
            node.arg(fetched(&format!("javascript-{version}")).join(code));
            drives(node, version).await;
        }
    });
}

/// CO-596, CO-528: all that the API shows is as the documents say that clients of three versions are made of.
#[test]
fn co_596_answers_fit_the_documents_of_three_versions() {
    run(async {
        let site = site().await;
        let python = |script: &str| {
            let mut python = command("python3");
            python.env("PYTHONPATH", fetched("python")).env("PYTHONDONTWRITEBYTECODE", "1");
            python.arg(folder().join(script)).args([site.base(), site.token.clone()]);
            python
        };
        let mut fills = python("client.py");
        fills.arg("keep");
        drives(fills, "the one that fills the site").await;
        let mut reads = python("answers.py");
        for version in ["2026.2.3-rc1", "2026.5.6", "2026.8.3"] {
            reads.arg(fetched(&format!("javascript-{version}")).join("schema.yml"));
        }
        drives(reads, "documents").await;
    });
}

/// The table, and what was answered so far.
struct Table {
    steps: Vec<Value>,
    known: HashMap<String, Value>,
}

impl Table {
    fn read() -> Self {
        let text = std::fs::read_to_string(folder().join("resources.json")).unwrap();
        Self { steps: serde_json::from_str(&text).unwrap(), known: HashMap::new() }
    }

    fn step(&self, name: &str) -> Value {
        self.steps.iter().find(|step| step["crud"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    }

    /// A value of the table; `$group.pk` is a member of what was answered before.
    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => match text.strip_prefix('$').and_then(|text| text.split_once('.')) {
                Some((name, member)) => self.known[name][member].clone(),
                None => value.clone(),
            },
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(members) => {
                members.iter().map(|(key, item)| (key.clone(), self.filled(item))).collect::<Map<_, _>>().into()
            }
            plain => plain.clone(),
        }
    }
}

/// What is written over what was there.
fn over(before: &Value, change: &Value) -> Value {
    let mut written = before.clone();
    for (key, value) in change.as_object().unwrap() {
        written[key] = value.clone();
    }
    written
}

fn compare(step: &Value, what: &str, written: &Value, found: &Value) {
    let secret: Vec<&str> = step["secret"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let instant = |value: &Value| value.as_str().map_or(value.clone(), |text| json!(text.replace("+00:00", "Z")));
    for (key, value) in written.as_object().unwrap().iter().filter(|(key, _)| !secret.contains(&key.as_str())) {
        assert_eq!(instant(&found[key]), instant(value), "{} {what}: {key}", step["crud"]);
    }
}

fn number(value: &Value) -> i32 {
    i32::try_from(value.as_i64().unwrap()).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// `f(client, None, …)`, with as many `None` as there are marks.
macro_rules! without_conditions {
    ($list:path, $client:expr, [$($mark:tt)*]) => { $list($client, $(without_conditions!(@ $mark)),*) };
    (@ $mark:tt) => { None };
}

/// Drives one resource. `[&] text` or `[] number` say how its key is passed.
macro_rules! crud {
    ($client:expr, $table:expr, $api:ident, $name:literal,
     $create:ident $retrieve:ident $($more:expr)*; $update:ident $change:ident $uses:ident $list:ident $marks:tt,
     $request:ident $patched:ident, [$($pass:tt)*] $key:ident) => {{
        let (client, table) = ($client, &mut *$table);
        let step = table.step($name);
        let mut written = table.filled(&step["create"]);
        let as_request = |value: &Value| serde_json::from_value::<models::$request>(value.clone()).unwrap();
        let made = $api::$create(client, as_request(&written)).await.unwrap_or_else(|error| panic!("{}: {error:?}", $name));
        let made = json!(made);
        compare(&step, "made", &written, &made);
        let field = step["key"].as_str().unwrap();
        let key = $key(&made[field]);
        let read = $api::$retrieve(client, $($pass)* key $(, $more)*).await.unwrap();
        compare(&step, "read", &written, &json!(read));
        table.known.insert($name.to_owned(), made.clone());

        written = over(&written, &table.filled(&step["update"]));
        let replaced = $api::$update(client, $($pass)* key, as_request(&written)).await.unwrap();
        compare(&step, "replaced", &written, &json!(replaced));
        let patch = table.filled(&step["patch"]);
        written = over(&written, &patch);
        let patch = serde_json::from_value::<models::$patched>(patch).unwrap();
        let changed = json!($api::$change(client, $($pass)* key, Some(patch)).await.unwrap());
        compare(&step, "changed", &written, &changed);
        table.known.insert($name.to_owned(), changed);

        let listed = json!(without_conditions!($api::$list, client, $marks).await.unwrap());
        let found = listed["results"].as_array().unwrap().iter().any(|one| one[field] == made[field]);
        assert!(found, "{} is not listed", $name);
        let uses = json!($api::$uses(client, $($pass)* key).await.unwrap());
        if let Some(expected) = step.get("used_by") {
            assert_eq!(&uses, expected, "{}", $name);
        }
        key
    }};
}

/// Deletes what [`crud!`] made.
macro_rules! gone {
    ($client:expr, $api:ident, $destroy:ident $retrieve:ident $($more:expr)*; $key:expr) => {{
        $api::$destroy($client, $key).await.unwrap();
        assert!($api::$retrieve($client, $key $(, $more)*).await.is_err(), stringify!($destroy));
    }};
}

/// CO-596, CO-527, CO-532: the Rust client makes, reads, lists, changes and deletes every resource, and gets back what
/// it wrote.
#[test]
fn co_596_the_rust_client_on_every_resource() {
    run(async {
        let site = Site::start().await;
        let client = Configuration {
            base_path: site.url("/api/v3"),
            bearer_access_token: Some(site.token.clone()),
            ..Configuration::new()
        };
        every_resource(&client, &site, &mut Table::read()).await;
    });
}

/// Flows, and a key pair, that the table refers to.
async fn given(client: &Configuration, site: &Site, table: &mut Table) {
    for (name, slug) in [
        ("authorization", "default-provider-authorization-implicit-consent"),
        ("invalidation", "default-provider-invalidation-flow"),
        ("recovery", "default-recovery-flow"),
    ] {
        table.known.insert(name.to_owned(), site.api.get(&format!("flows/instances/{slug}/")).await);
    }
    let wish = models::CertificateGenerationRequest::new("clients.example".to_owned(), 30);
    let pair = crypto_api::crypto_certificatekeypairs_generate_create(client, wish).await.unwrap();
    let pk = pair.pk.to_string();
    let chain = crypto_api::crypto_certificatekeypairs_view_certificate_retrieve(client, &pk, None).await.unwrap();
    let private = crypto_api::crypto_certificatekeypairs_view_private_key_retrieve(client, &pk, None).await.unwrap();
    table.known.insert("chain".to_owned(), json!(chain));
    table.known.insert("private".to_owned(), json!(private));
    crypto_api::crypto_certificatekeypairs_destroy(client, &pk).await.unwrap();
}

#[allow(clippy::too_many_lines, reason = "a line or two for each resource")]
async fn every_resource(client: &Configuration, site: &Site, table: &mut Table) {
    given(client, site, table).await;
    let roles = crud!(client, table, rbac_api, "rbac_roles",
        rbac_roles_create rbac_roles_retrieve; rbac_roles_update rbac_roles_partial_update rbac_roles_used_by_list
        rbac_roles_list [. . . . . . . . . .], RoleRequest PatchedRoleRequest, [&] text);
    let groups = crud!(client, table, core_api, "core_groups",
        core_groups_create core_groups_retrieve None None None None; core_groups_update core_groups_partial_update
        core_groups_used_by_list core_groups_list [. . . . . . . . . . . . .], GroupRequest PatchedGroupRequest, [&]
        text);
    let users = crud!(client, table, core_api, "core_users",
        core_users_create core_users_retrieve; core_users_update core_users_partial_update core_users_used_by_list
        core_users_list [. . . . . . . . . . . . . . . . . . . . . . . . . . . . . .], UserRequest PatchedUserRequest,
        [] number);
    let tokens = crud!(client, table, core_api, "core_tokens",
        core_tokens_create core_tokens_retrieve; core_tokens_update core_tokens_partial_update
        core_tokens_used_by_list core_tokens_list [. . . . . . . . . . .], TokenRequest PatchedTokenRequest, [&]
        text);
    let certificatekeypairs = crud!(client, table, crypto_api, "crypto_certificatekeypairs",
        crypto_certificatekeypairs_create crypto_certificatekeypairs_retrieve; crypto_certificatekeypairs_update
        crypto_certificatekeypairs_partial_update crypto_certificatekeypairs_used_by_list
        crypto_certificatekeypairs_list [. . . . . . . .], CertificateKeyPairRequest PatchedCertificateKeyPairRequest,
        [&] text);
    let scope = crud!(client, table, propertymappings_api, "propertymappings_provider_scope",
        propertymappings_provider_scope_create propertymappings_provider_scope_retrieve;
        propertymappings_provider_scope_update propertymappings_provider_scope_partial_update
        propertymappings_provider_scope_used_by_list propertymappings_provider_scope_list [. . . . . . . .],
        ScopeMappingRequest PatchedScopeMappingRequest, [&] text);
    let source = crud!(client, table, sources_api, "sources_oauth",
        sources_oauth_create sources_oauth_retrieve; sources_oauth_update sources_oauth_partial_update
        sources_oauth_used_by_list sources_oauth_list [. . . . . . . . . . . . . . . . . . . . .], OAuthSourceRequest
        PatchedOAuthSourceRequest, [&] text);
    let oauth2 = crud!(client, table, providers_api, "providers_oauth2",
        providers_oauth2_create providers_oauth2_retrieve; providers_oauth2_update providers_oauth2_partial_update
        providers_oauth2_used_by_list providers_oauth2_list [. . . . . . . . . . . . . . . . .], OAuth2ProviderRequest
        PatchedOAuth2ProviderRequest, [] number);
    let proxy = crud!(client, table, providers_api, "providers_proxy",
        providers_proxy_create providers_proxy_retrieve; providers_proxy_update providers_proxy_partial_update
        providers_proxy_used_by_list providers_proxy_list [. . . . . . . . . . . . . . . . . . .],
        ProxyProviderRequest PatchedProxyProviderRequest, [] number);
    let applications = crud!(client, table, core_api, "core_applications",
        core_applications_create core_applications_retrieve; core_applications_update core_applications_partial_update
        core_applications_used_by_list core_applications_list [. . . . . . . . . . . . .], ApplicationRequest
        PatchedApplicationRequest, [&] text);
    let application_entitlements = crud!(client, table, core_api, "core_application_entitlements",
        core_application_entitlements_create core_application_entitlements_retrieve;
        core_application_entitlements_update core_application_entitlements_partial_update
        core_application_entitlements_used_by_list core_application_entitlements_list [. . . . . . .],
        ApplicationEntitlementRequest PatchedApplicationEntitlementRequest, [&] text);
    let brands = crud!(client, table, core_api, "core_brands",
        core_brands_create core_brands_retrieve; core_brands_update core_brands_partial_update
        core_brands_used_by_list core_brands_list [. . . . . . . . . . . . . . . . . . . . . .], BrandRequest
        PatchedBrandRequest, [&] text);
    let expression = crud!(client, table, policies_api, "policies_expression",
        policies_expression_create policies_expression_retrieve; policies_expression_update
        policies_expression_partial_update policies_expression_used_by_list policies_expression_list [. . . . . . . .
        . .], ExpressionPolicyRequest PatchedExpressionPolicyRequest, [&] text);
    let password = crud!(client, table, policies_api, "policies_password",
        policies_password_create policies_password_retrieve; policies_password_update policies_password_partial_update
        policies_password_used_by_list policies_password_list [. . . . . . . . . . . . . . . . . . . . . .],
        PasswordPolicyRequest PatchedPasswordPolicyRequest, [&] text);
    let password_expiry = crud!(client, table, policies_api, "policies_password_expiry",
        policies_password_expiry_create policies_password_expiry_retrieve; policies_password_expiry_update
        policies_password_expiry_partial_update policies_password_expiry_used_by_list policies_password_expiry_list [.
        . . . . . . . . . .], PasswordExpiryPolicyRequest PatchedPasswordExpiryPolicyRequest, [&] text);
    let reputation = crud!(client, table, policies_api, "policies_reputation",
        policies_reputation_create policies_reputation_retrieve; policies_reputation_update
        policies_reputation_partial_update policies_reputation_used_by_list policies_reputation_list [. . . . . . . .
        . . . .], ReputationPolicyRequest PatchedReputationPolicyRequest, [&] text);
    let event_matcher = crud!(client, table, policies_api, "policies_event_matcher",
        policies_event_matcher_create policies_event_matcher_retrieve; policies_event_matcher_update
        policies_event_matcher_partial_update policies_event_matcher_used_by_list policies_event_matcher_list [. . . .
        . . . . . . . . . .], EventMatcherPolicyRequest PatchedEventMatcherPolicyRequest, [&] text);
    let dummy = crud!(client, table, policies_api, "policies_dummy",
        policies_dummy_create policies_dummy_retrieve; policies_dummy_update policies_dummy_partial_update
        policies_dummy_used_by_list policies_dummy_list [. . . . . . . . . . . .], DummyPolicyRequest
        PatchedDummyPolicyRequest, [&] text);
    let bindings = crud!(client, table, policies_api, "policies_bindings",
        policies_bindings_create policies_bindings_retrieve; policies_bindings_update policies_bindings_partial_update
        policies_bindings_used_by_list policies_bindings_list [. . . . . . . . . . .], PolicyBindingRequest
        PatchedPolicyBindingRequest, [&] text);
    let outpost = crud!(client, table, outposts_api, "outposts_instances",
        outposts_instances_create outposts_instances_retrieve; outposts_instances_update
        outposts_instances_partial_update outposts_instances_used_by_list outposts_instances_list [. . . . . . . . . .
        . .], OutpostRequest PatchedOutpostRequest, [&] text);

    gone!(client, outposts_api, outposts_instances_destroy outposts_instances_retrieve; &outpost);
    gone!(client, policies_api, policies_bindings_destroy policies_bindings_retrieve; &bindings);
    gone!(client, policies_api, policies_dummy_destroy policies_dummy_retrieve; &dummy);
    gone!(client, policies_api, policies_event_matcher_destroy policies_event_matcher_retrieve; &event_matcher);
    gone!(client, policies_api, policies_reputation_destroy policies_reputation_retrieve; &reputation);
    gone!(client, policies_api, policies_password_expiry_destroy policies_password_expiry_retrieve; &password_expiry);
    gone!(client, policies_api, policies_password_destroy policies_password_retrieve; &password);
    gone!(client, policies_api, policies_expression_destroy policies_expression_retrieve; &expression);
    gone!(client, core_api, core_brands_destroy core_brands_retrieve; &brands);
    gone!(
        client, core_api, core_application_entitlements_destroy core_application_entitlements_retrieve;
        &application_entitlements
    );
    gone!(client, core_api, core_applications_destroy core_applications_retrieve; &applications);
    gone!(client, providers_api, providers_proxy_destroy providers_proxy_retrieve; proxy);
    gone!(client, providers_api, providers_oauth2_destroy providers_oauth2_retrieve; oauth2);
    gone!(client, sources_api, sources_oauth_destroy sources_oauth_retrieve; &source);
    gone!(
        client, propertymappings_api, propertymappings_provider_scope_destroy propertymappings_provider_scope_retrieve;
        &scope
    );
    gone!(
        client, crypto_api, crypto_certificatekeypairs_destroy crypto_certificatekeypairs_retrieve;
        &certificatekeypairs
    );
    gone!(client, core_api, core_tokens_destroy core_tokens_retrieve; &tokens);
    gone!(client, core_api, core_users_destroy core_users_retrieve; users);
    gone!(client, core_api, core_groups_destroy core_groups_retrieve None None None None; &groups);
    gone!(client, rbac_api, rbac_roles_destroy rbac_roles_retrieve; &roles);
}
