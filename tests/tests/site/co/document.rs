//! The API against its own document, with requests that nobody thought of.

use std::fmt::Write as _;

use portcullis_testkit::api::text;
use portcullis_testkit::fronts::fetched;
use portcullis_testkit::process::{command, directory};
use portcullis_testkit::{Finished, Site, run};
use serde_json::{Value, json};

const PROGRAM: &str = "from schemathesis.cli import schemathesis; schemathesis()";

/// What answers must keep to: no failure of the server, and statuses, types and bodies as the document says.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// CO-530, CO-523, CO-830: whatever is sent about people and applications, right or wrong, the answer is one that the document
/// describes.
#[test]
fn co_530_answers_about_people_are_as_the_document_says() {
    run(keeps_to_it(&["--include-tag", "core"]));
}

/// CO-530, CO-523: whatever is sent about policies, right or wrong, the answer is one that the document describes.
#[test]
fn co_530_answers_about_policies_are_as_the_document_says() {
    run(keeps_to_it(&["--include-tag", "policies", "--include-tag", "propertymappings"]));
}

/// CO-530, CO-523: whatever is sent about everything else, right or wrong, the answer is one that the document
/// describes.
#[test]
fn co_530_other_answers_are_as_the_document_says() {
    run(keeps_to_it(&["--exclude-tag", "core", "--exclude-tag", "policies", "--exclude-tag", "propertymappings"]));
}

/// Requests are made from the document with a fixed seed: values at their limits, of other types, absent and odd ones,
/// for objects that there are and objects that there are not.
async fn keeps_to_it(part: &[&str]) {
    let site = Site::start().await;
    let folder = directory("document");
    std::fs::write(folder.path().join("schemathesis.toml"), keys(&site).await).unwrap();
    let mut python = command("python3");
    python.env("PYTHONPATH", fetched("python")).env("PYTHONDONTWRITEBYTECODE", "1").env("HOME", folder.path());
    python.current_dir(folder.path()).args(["-c", PROGRAM, "run", &site.url("/api/v3/schema/?format=json")]);
    python.args(part).args(["--checks", CHECKS]);
    python.args(["--header", &format!("Authorization: Bearer {}", site.token)]);
    // One worker: what describes its requests reads its own source, which is not safe in threads of every Python.
    python.args(["--phases", "coverage,fuzzing", "--max-examples", "3", "--seed", "1", "--workers", "1"]);
    python.args(["--no-shrink", "--continue-on-failure", "--warnings", "off", "--suppress-health-check", "all"]);
    let finished = Finished::run(python).await;
    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    assert!(finished.stdout.contains("No issues found"), "{}", finished.stdout);
}

/// Which objects requests are about, apart from those that delete: one of each kind.
async fn keys(site: &Site) -> String {
    let api = &site.api;
    let person = api.person("document").await;
    let group = api.post("core/groups/", json!({"name": "document"})).await;
    let token = json!({"identifier": "document", "user": person.pk});
    api.post("core/tokens/", token).await;
    let app = site.app_before("http://127.0.0.1:9", json!({})).await;
    let flow = async |kind: &str| text(&api.get(&format!("flows/instances/default-provider-{kind}/")).await["pk"]);
    let oauth2 = json!({"name": "document", "authorization_flow": flow("authorization-implicit-consent").await,
        "invalidation_flow": flow("invalidation-flow").await, "redirect_uris": []});
    let oauth2 = api.post("providers/oauth2/", oauth2).await["pk"].clone();
    let entitlement = api.post("core/application_entitlements/", json!({"name": "d", "app": app.uuid})).await;
    let brand = api.post("core/brands/", json!({"domain": "document.example"})).await;
    // No policy that takes its time decides about an application.
    let policy = json!({"name": "document", "wait_min": 0, "wait_max": 0});
    let policy = api.post("policies/dummy/", policy).await;
    let binding = json!({"target": app.uuid, "order": 0, "user": person.pk});
    let binding = api.post("policies/bindings/", binding).await;
    let mapping = json!({"name": "document", "scope_name": "document", "expression": "return {}"});
    let mapping = api.post("propertymappings/provider/scope/", mapping).await;
    let source = json!({"name": "document", "slug": "document", "provider_type": "openidconnect", "consumer_key": "a",
        "consumer_secret": "b", "oidc_jwks": {"keys": []}});
    api.post("sources/oauth/", source).await;
    let pair = json!({"common_name": "document", "validity_days": 3});
    let pair = api.post("crypto/certificatekeypairs/generate/", pair).await;
    let outpost = json!({"name": "document", "type": "proxy", "providers": [app.provider], "config": {}});
    let outpost = api.post("outposts/instances/", outpost).await;
    let role = api.post("rbac/roles/", json!({"name": "document"})).await;
    let event = api.get("events/events/?page_size=1").await["results"][0].clone();

    let kinds = [
        ("/core/users/", "id", json!(person.pk)),
        ("/core/groups/", "group_uuid", group["pk"].clone()),
        ("/core/tokens/", "identifier", json!("document")),
        ("/core/applications/", "slug", json!(app.slug)),
        ("/core/application_entitlements/", "pbm_uuid", entitlement["pbm_uuid"].clone()),
        ("/core/brands/", "brand_uuid", brand["brand_uuid"].clone()),
        ("/providers/(all|proxy)/", "id", json!(app.provider)),
        ("/providers/oauth2/", "id", oauth2),
        ("/policies/(all|dummy)/", "policy_uuid", policy["pk"].clone()),
        ("/policies/bindings/", "policy_binding_uuid", binding["pk"].clone()),
        ("/propertymappings/", "pm_uuid", mapping["pk"].clone()),
        ("/sources/", "slug", json!("document")),
        ("/crypto/certificatekeypairs/", "kp_uuid", pair["pk"].clone()),
        ("/outposts/instances/", "uuid", outpost["pk"].clone()),
        ("/rbac/roles/", "uuid", role["pk"].clone()),
        ("/flows/instances/", "slug", json!("default-authentication-flow")),
        ("/flows/executor/", "flow_slug", json!("default-authentication-flow")),
        ("/events/events/", "event_uuid", event["pk"].clone()),
    ];
    let mut file = String::new();
    for (place, parameter, key) in &kinds {
        about(&mut file, place, parameter, key);
    }
    for (kind, required) in [
        ("expression", json!({"expression": "return True"})),
        ("password", json!({})),
        ("password_expiry", json!({"days": 3})),
        ("reputation", json!({})),
        ("event_matcher", json!({"action": "login"})),
    ] {
        let mut body = required;
        body["name"] = json!(format!("document {kind}"));
        let made: Value = api.post(&format!("policies/{kind}/"), body).await;
        about(&mut file, &format!("/policies/{kind}/"), "policy_uuid", &made["pk"]);
    }
    file
}

/// Requests at a place are about one object, unless they delete.
fn about(file: &mut String, place: &str, parameter: &str, key: &Value) {
    let at = format!("^{place}\\\\{{{parameter}\\\\}}/");
    writeln!(file, "[[operations]]\ninclude-path-regex = \"{at}\"\nexclude-method = \"DELETE\"").unwrap();
    writeln!(file, "parameters = {{ \"path.{parameter}\" = {key} }}\n").unwrap();
}
