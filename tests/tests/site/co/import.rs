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
    let client = api.post("providers/oauth2/", client).await;
    api.post("core/applications/", json!({"name": "App", "slug": "app", "provider": pk(&client)})).await;
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

/// The same with further arguments.
fn with(site: &Site, from: &Site, arguments: &[&str]) -> Command {
    let mut command = import(site, &from.base(), &from.token);
    command.args(arguments);
    command
}

/// The value that a dry run names for expressions that were reviewed.
fn value(said: &str) -> String {
    said.split("--reviewed ").nth(1).unwrap().split(',').next().unwrap().to_owned()
}

/// OA-930, OA-932: a server's people, rules and applications are here afterwards and work: with the app password that somebody
/// had there, and nobody else gets in. A second run changes nothing; what is not carried over is told.
#[test]
fn oa_930_import_takes_over_what_a_server_has() {
    run(async {
        let (old, new) = (Site::start().await, Site::start().await);
        let recorder = Recorder::start().await;
        let external = format!("http://wiki.localhost:{}", new.port);
        fill(&old, &external, &recorder.url()).await;
        // Things may move within one host, and its address stay.
        let mut dry = with(&new, &old, &["--dry-run"]);
        dry.env("PORTCULLIS_BASE_URL", old.base());
        let mark = value(&Finished::run(dry).await.ok());
        let said = Finished::run(with(&new, &old, &["--reviewed", &mark])).await.ok();
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
        let there = one(&old, "providers/proxy/?name__iexact=Wiki").await;
        assert_eq!(provider["client_id"], there["client_id"]);
        let kids = async |site: &Site| {
            let keys = http().get(site.url("/application/o/app/jwks/")).go().await.json();
            keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(kids(&new).await, kids(&old).await, "names of keys");
        let certificate = one(&new, "crypto/certificatekeypairs/?name=signs").await;
        assert_eq!((&client["signing_key"], &certificate["private_key_available"]), (&pk(&certificate), &json!(true)));
        assert_eq!(new.api.get("core/applications/wiki/").await["policy_engine_mode"], "all");

        let export = || {
            let mut command = portcullis(new.data().parent().unwrap(), &["export"]);
            command.env("PORTCULLIS_DATA_DIR", new.data());
            command
        };
        let before = Finished::run(export()).await.ok();
        Finished::run(with(&new, &old, &["--reviewed", &mark])).await.ok();
        assert_eq!(Finished::run(export()).await.ok(), before, "a second run");
        assert_eq!(ask("ada", KEY).await, 200);
    });
}

/// OA-931: people keep their keys and ids, and the installation its permanent id: their subjects are those of the server, also
/// for a process that serves meanwhile. An installation in which people are known by subjects of its own keeps its id.
#[test]
fn oa_931_subjects_stay_the_same() {
    run(async {
        let (old, new, other) = (Site::start().await, Site::start().await, Site::start().await);
        let filler = old.api.post("core/users/", json!({"username": "filler", "name": "F"})).await;
        let ada = old.api.post("core/users/", json!({"username": "ada", "name": "Ada"})).await;
        old.api.delete(&format!("core/users/{}/", filler["pk"])).await;
        let said = Finished::run(with(&new, &old, &[])).await.ok();
        assert!(!said.contains("another subject"), "{said}");
        let same = |left: &Value, right: &Value| ["pk", "uuid", "uid"].iter().all(|field| left[field] == right[field]);
        until("the server", async || same(&one(&new, "core/users/?username=ada").await, &ada).then_some(())).await;
        let id = async |site: &Site| site.api.get("enterprise/license/install_id/").await["install_id"].clone();
        assert_eq!(id(&new).await, id(&old).await);
        let next = new.api.post("core/users/", json!({"username": "bob", "name": "Bob"})).await;
        assert!(next["pk"].as_i64() > ada["pk"].as_i64(), "{next}");
        assert!(!Finished::run(with(&new, &old, &[])).await.ok().contains("another subject"));

        other.api.post("core/users/", json!({"username": "eve", "name": "Eve"})).await;
        other.api.post("core/users/", json!({"username": "ada", "name": "Ada", "email": "ada@here.example"})).await;
        let before = id(&other).await;
        let dry = Finished::run(with(&other, &old, &["--dry-run"])).await.ok();
        for part in
            ["People get other keys here", "\"ada\" is here already; differs at the server: email", "superusers of its"]
        {
            assert!(dry.contains(part), "{part}: {dry}");
        }
        let said = Finished::run(with(&other, &old, &[])).await.ok();
        assert!(said.contains("People get other keys here") && said.contains("another subject"), "{said}");
        assert_eq!(id(&other).await, before);
        let unknown = Finished::run(with(&new, &old, &["--install-id", "no-uuid"])).await;
        assert!(unknown.code == Some(1) && unknown.stderr.contains("--install-id: no-uuid is not"), "{unknown:?}");
    });
}

/// OA-933, OA-935: a dry run tells what would come, what is open to doubt and how expressions read, and changes nothing. What was
/// not reviewed comes as a comment: a mapping says nothing and a policy lets nobody in, until somebody brings it into force. A
/// review is of what the server has now.
#[test]
fn oa_933_expressions_are_not_used_before_they_are_reviewed() {
    run(async {
        let (old, new) = (Site::start().await, Site::start().await);
        let recorder = Recorder::start().await;
        let external = format!("http://wiki.localhost:{}", new.port);
        fill(&old, &external, &recorder.url()).await;
        let said = Finished::run(with(&new, &old, &["--dry-run"])).await.ok();
        for part in [
            "would take over application wiki",
            "Review: provider \"App\" has a client secret of less than 32 characters.",
            "The expression of policy \"by day\" is:",
            "    return {'colour': \"blue\"}",
            "nothing was changed",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains(KEY) && !said.contains("app-s3cret"), "{said}");
        assert_eq!(new.api.get("core/users/?username=ada").await["pagination"]["count"], 0);

        let said = Finished::run(with(&new, &old, &[])).await.ok();
        assert!(said.contains("lets nobody in until you review it"), "{said}");
        let policy = one(&new, "policies/expression/?name=by%20day").await;
        assert!(policy["expression"].as_str().unwrap().starts_with('#'), "{policy}");
        let ask = async || http().get(&external).header("authorization", basic("ada", KEY)).go().await.status;
        until("the application", async || (ask().await == 401).then_some(())).await;
        let theirs = one(&old, "policies/expression/?name=by%20day").await["expression"].clone();
        let path = format!("policies/expression/{}/", policy["pk"].as_str().unwrap());
        new.api.patch(&path, json!({"expression": theirs})).await;
        assert_eq!(ask().await, 200);
        Finished::run(with(&new, &old, &[])).await.ok();
        assert_eq!(ask().await, 200, "what was brought into force stays");

        let mark = value(&Finished::run(with(&new, &old, &["--dry-run"])).await.ok());
        let theirs = one(&old, "policies/expression/?name=by%20day").await;
        let path = format!("policies/expression/{}/", theirs["pk"].as_str().unwrap());
        old.api.patch(&path, json!({"expression": "return True"})).await;
        let stale = Finished::run(with(&new, &old, &["--reviewed", &mark])).await;
        assert!(stale.code == Some(1) && stale.stderr.contains("other expressions"), "{stale:?}");
    });
}

/// OA-933, OA-596, CO-134, OA-930: nobody gets in by a policy that is inverted and not reviewed, nor to what nothing is bound to
/// where that lets nobody in; tokens come with their limits, clients with both secrets and the key of their tokens. A second run
/// adds nothing.
#[test]
fn oa_933_nobody_gets_more_than_there() {
    run(async {
        let (old, new) = (Site::start().await, Site::start().await);
        let recorder = Recorder::start().await;
        let external = format!("http://wiki.localhost:{}", new.port);
        fill(&old, &external, &recorder.url()).await;
        old.api.patch("admin/settings/", json!({"flags": {"core_default_app_access": false}})).await;
        let wiki = old.api.get("core/applications/wiki/").await["pk"].clone();
        let policy = one(&old, "policies/expression/?name=by%20day").await["pk"].clone();
        let bound = old.api.get(&format!("policies/bindings/?target={}", wiki.as_str().unwrap())).await;
        let bound =
            bound["results"].as_array().unwrap().iter().find(|binding| binding["policy"] == policy).unwrap().clone();
        let path = format!("policies/bindings/{}/", bound["pk"].as_str().unwrap());
        old.api.patch(&path, json!({"negate": true, "failure_result": true})).await;
        let limits = json!({"allowed_applications": [wiki], "allowed_networks": ["127.0.0.0/8", "::1/128"]});
        old.api.patch("core/tokens/ada-wiki/", limits).await;
        let certificate = json!({"common_name": "reads", "validity_days": 10});
        let certificate = old.api.post("crypto/certificatekeypairs/generate/", certificate).await;
        let client = one(&old, "providers/oauth2/?name=App").await["pk"].clone();
        let more = json!({"encryption_key": pk(&certificate), "second_client_secret": "second-s3cret"});
        old.api.patch(&format!("providers/oauth2/{client}/"), more).await;

        for _ in 0..2 {
            let said = Finished::run(with(&new, &old, &[])).await.ok();
            assert!(said.contains("inverts policy \"by day\"") && said.contains("\"app\" has no bindings"), "{said}");
            assert!(!said.contains("not carried over:"), "{said}");
            assert!(!said.contains("see whether the others are wanted"), "{said}");
        }
        let ask = async || http().get(&external).header("authorization", basic("ada", KEY)).go().await.status;
        until("the application", async || (ask().await == 401).then_some(())).await;
        let here = new.api.get("core/applications/wiki/").await["pk"].clone();
        let bound = new.api.get(&format!("policies/bindings/?target={}", here.as_str().unwrap())).await;
        let bound = bound["results"].as_array().unwrap().clone();
        assert!(bound.len() == 2 && bound.iter().all(|binding| binding["negate"] == false), "{bound:?}");
        let app = new.api.get("core/applications/app/").await["pk"].clone();
        let closed = one(&new, &format!("policies/bindings/?target={}", app.as_str().unwrap())).await;
        assert_eq!(closed["policy_obj"]["name"], "open to nobody: app");
        let token = new.api.get("core/tokens/ada-wiki/").await;
        assert_eq!(token["allowed_applications"], json!([here]));
        assert_eq!(token["allowed_networks"], json!(["127.0.0.0/8", "::1/128"]));
        let client = one(&new, "providers/oauth2/?name=App").await;
        assert_eq!(client["encryption_key"], pk(&one(&new, "crypto/certificatekeypairs/?name=reads").await));
        assert_eq!(client["second_client_secret"], "second-s3cret");
    });
}

/// OA-936, OA-930: keys and secrets are in the database as digests and sealed alone; no code and no token of the server works
/// here, and none is listed.
#[test]
fn oa_936_secrets_are_sealed_and_tokens_stay_behind() {
    run(async {
        let (old, new) = (Site::start().await, Site::start().await);
        fill(&old, "http://wiki.localhost:1", "http://127.0.0.1:1").await;
        let form = [("grant_type", "client_credentials"), ("client_id", "app-client"), ("client_secret", "app-s3cret")];
        let issued = http().post(old.url("/application/o/token/")).form(&form).go().await;
        assert_eq!(issued.status, 200, "{}", issued.text());
        let issued = issued.json()["access_token"].as_str().unwrap().to_owned();
        Finished::run(with(&new, &old, &[])).await.ok();
        let (me, accounts) =
            (new.url("/application/o/userinfo/"), new.api.get("core/users/?search=client_credentials"));
        let answer = http().get(&me).header("authorization", format!("Bearer {issued}")).go().await;
        assert_eq!(answer.status, 401);
        let machine = accounts.await["results"][0].clone();
        assert_eq!(machine["username"], "ak-App-client_credentials", "{machine}");
        for kind in ["access_tokens", "authorization_codes", "refresh_tokens"] {
            assert_eq!(new.api.get(&format!("oauth2/{kind}/")).await["pagination"]["count"], 0, "{kind}");
        }
        // OA-934: the account goes on for the machine that it was made for.
        let again = http().post(new.url("/application/o/token/")).form(&form).go().await;
        assert_eq!(again.status, 200, "{}", again.text());
        let known = new.api.get("core/users/?search=client_credentials").await;
        assert_eq!((&known["pagination"]["count"], &known["results"][0]["pk"]), (&json!(1), &machine["pk"]));
        for file in std::fs::read_dir(new.data()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for secret in [KEY, "app-s3cret", issued.as_str()] {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
            }
        }
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
