//! `portcullis import`: what one server has, taken over by another.

use std::process::Command;

use portcullis_testkit::process::directory;
use portcullis_testkit::site::portcullis;
use portcullis_testkit::{Finished, Go as _, Recorder, Site, http, run, until};
use serde_json::{Value, json};

use crate::stage::basic;

const KEY: &str = "the-app-password-that-ada-had-before";

fn import(site: &Site, from: &str, token: &str) -> Command {
    let mut command = portcullis(site.data().parent().unwrap(), &["import", from]);
    command.env("PORTCULLIS_DATA_DIR", site.data()).env("PORTCULLIS_IMPORT_TOKEN", token);
    command
}

fn pk(object: &Value) -> Value {
    object["pk"].clone()
}

/// The one object of a list with this value.
async fn one(site: &Site, path: &str) -> Value {
    let found = site.api.get(path).await;
    assert_eq!(found["results"].as_array().map(Vec::len), Some(1), "{path}: {found}");
    found["results"][0].clone()
}

/// What the server has that is left behind: people, an application behind two rules, and something of each other kind.
async fn fill(site: &Site, external: &str, upstream: &str) {
    let api = &site.api;
    let role = api.post("rbac/roles/", json!({"name": "helpdesk"})).await;
    let all = api.post("core/groups/", json!({"name": "everybody", "attributes": {"wiki_username": "shared"}})).await;
    let team = json!({"name": "te\"am: {x}", "parents": [pk(&all)], "attributes": {"!Env": ["HOME"], "n": 1e300},
        "roles": [pk(&role)]});
    let team = api.post("core/groups/", team).await;
    let ada = json!({"username": "ada", "name": "Ada 🦉 Lovelace", "email": "ada@example.org", "path": "staff/wiki",
        "groups": [pk(&team)], "attributes": {"note": "line\nand \u{7f}more"}});
    let ada = api.post("core/users/", ada).await;
    api.post("core/users/", json!({"username": "eve", "name": "Eve"})).await;
    api.post("core/tokens/", json!({"identifier": "ada-wiki", "intent": "app_password", "user": pk(&ada)})).await;
    api.call("POST", "core/tokens/ada-wiki/set_key/", Some(&json!({"key": KEY}))).await;
    let certificate = json!({"common_name": "signs", "validity_days": 10});
    let certificate = api.post("crypto/certificatekeypairs/generate/", certificate).await;
    let mapping = json!({"name": "colour", "scope_name": "colour", "expression": "return {'colour': \"blue\"}"});
    let mapping = api.post("propertymappings/provider/scope/", mapping).await;
    let (authorization, invalidation) = api.flows().await;
    let provider = json!({"name": "Wiki", "authorization_flow": authorization, "invalidation_flow": invalidation,
        "external_host": external, "internal_host": upstream, "basic_auth_enabled": true,
        "basic_auth_user_attribute": "wiki_username", "basic_auth_password_attribute": "wiki_password",
        "property_mappings": [pk(&mapping)]});
    let provider = api.post("providers/proxy/", provider).await;
    let client = json!({"name": "App", "authorization_flow": authorization, "invalidation_flow": invalidation,
        "client_id": "app-client", "client_secret": "app-s3cret", "signing_key": pk(&certificate),
        "redirect_uris": [{"matching_mode": "strict", "url": "https://app.example.org/callback"}],
        "jwt_federation_providers": [pk(&provider)]});
    api.post("providers/oauth2/", client).await;
    let wiki = json!({"name": "Wiki", "slug": "wiki", "provider": pk(&provider), "policy_engine_mode": "all"});
    let wiki = api.post("core/applications/", wiki).await;
    let policy = json!({"name": "by day", "expression": "return request.user.username != 'eve'  # naïve"});
    let policy = api.post("policies/expression/", policy).await;
    api.post("policies/bindings/", json!({"target": pk(&wiki), "group": pk(&all), "order": 0})).await;
    api.post("policies/bindings/", json!({"target": pk(&wiki), "policy": pk(&policy), "order": 1})).await;
    let entitlement = json!({"name": "writes", "app": pk(&wiki), "attributes": {"level": 2}});
    let entitlement = api.post("core/application_entitlements/", entitlement).await;
    let to = json!({"target": entitlement["pbm_uuid"], "user": pk(&ada), "order": 0});
    api.post("policies/bindings/", to).await;
    api.attach(provider["pk"].as_i64().unwrap()).await;
}

/// A server's people, rules and applications are here afterwards and work: with the app password that somebody had there,
/// and nobody else gets in. A second run changes nothing; what is not carried over is told.
#[test]
fn import_takes_over_what_a_server_has() {
    run(async {
        let (old, new) = (Site::start().await, Site::start().await);
        let recorder = Recorder::start().await;
        let external = format!("http://wiki.localhost:{}", new.port);
        fill(&old, &external, &recorder.url()).await;
        let said = Finished::run(import(&new, &old.base(), &old.token)).await.ok();
        assert!(!said.contains("not carried over:"), "{said}");
        assert!(
            said.contains("1 people need a recovery link") || said.contains("2 people need a recovery link"),
            "{said}"
        );

        let ask = async |name: &str, password: &str| {
            http().get(&external).header("authorization", basic(name, password)).go().await.status
        };
        until("the application", async || (ask("ada", KEY).await == 200).then_some(())).await;
        assert_eq!(recorder.last().all("x-authentik-entitlements"), ["writes"]);
        assert_eq!(recorder.last().all("authorization"), [basic("shared", "")]);
        assert_eq!(ask("eve", KEY).await, 401);

        let ada = one(&new, "core/users/?username=ada").await;
        assert_eq!((&ada["name"], &ada["path"]), (&json!("Ada 🦉 Lovelace"), &json!("staff/wiki")));
        assert_eq!(ada["attributes"], json!({"note": "line\nand \u{7f}more"}));
        let team = one(&new, "core/groups/?search=te&include_parents=true").await;
        assert_eq!(team["attributes"], json!({"!Env": ["HOME"], "n": 1e300}));
        assert_eq!(team["parents_obj"][0]["name"], "everybody");
        assert_eq!(team["roles_obj"][0]["name"], "helpdesk");
        let client = one(&new, "providers/oauth2/?name=App").await;
        assert_eq!((&client["client_id"], &client["client_secret"]), (&json!("app-client"), &json!("app-s3cret")));
        let provider = one(&new, "providers/proxy/?name__iexact=Wiki").await;
        assert_eq!(client["jwt_federation_providers"], json!([provider["pk"]]));
        let certificate = one(&new, "crypto/certificatekeypairs/?name=signs").await;
        assert_eq!((&client["signing_key"], &certificate["private_key_available"]), (&pk(&certificate), &json!(true)));
        assert_eq!(new.api.get("core/applications/wiki/").await["policy_engine_mode"], "all");

        let export = || {
            let mut command = portcullis(new.data().parent().unwrap(), &["export"]);
            command.env("PORTCULLIS_DATA_DIR", new.data());
            command
        };
        let before = Finished::run(export()).await.ok();
        Finished::run(import(&new, &old.base(), &old.token)).await.ok();
        assert_eq!(Finished::run(export()).await.ok(), before, "a second run");
        assert_eq!(ask("ada", KEY).await, 200);
    });
}

/// Where the server cannot be read, that is said in a line, and nothing is changed.
#[test]
fn import_says_why_a_server_cannot_be_read() {
    run(async {
        let site = Site::start().await;
        let refused = async |from: &str, token: &str| {
            let done = Finished::run(import(&site, from, token)).await;
            assert_eq!(done.code, Some(1), "{done:#?}");
            assert!(!done.stderr.contains("wrong-t0ken"), "{done:#?}");
            done.stderr
        };
        assert!(refused(&site.base(), "wrong-t0ken").await.contains("does not take the token"));
        assert!(refused("http://id.example.org", "wrong-t0ken").await.contains("only https"));
        assert!(refused("id.example.org", "wrong-t0ken").await.contains("write it as https://"));
        let nobody = refused("http://localhost:1", "wrong-t0ken").await;
        assert!(nobody.contains("localhost:1") && nobody.contains("refused"), "{nobody}");
        let mut itself = import(&site, &site.base(), &site.token);
        itself.env("PORTCULLIS_BASE_URL", site.base());
        assert!(Finished::run(itself).await.stderr.contains("is the base URL of the instance"));
        let folder = directory("import");
        let mut command = import(&site, &site.base(), &site.token);
        command.arg("--token-file").arg(folder.path().join("none"));
        assert!(Finished::run(command).await.stderr.contains("cannot read"));
    });
}
