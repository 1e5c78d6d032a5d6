//! `managed/blueprints/` and the watched folder.

use authentik_client::models;
use http::Method;
use portcullis_idp::blueprints::{Fields, Reach};
use portcullis_web::api::blueprints::Watch;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::blueprints_engine::attempt;
use crate::site::{ADMIN, Site};

const PATH: &str = "/managed/blueprints/";

fn group(name: &str) -> String {
    format!(
        "version: 1\nmetadata: {{name: {name}}}\nentries:\n  - {{model: authentik_core.group, identifiers: {{name: {name}}}}}\n"
    )
}

async fn groups(site: &Site, name: &str) -> i64 {
    site.get(&format!("/core/groups/?name={name}")).await["pagination"]["count"].as_i64().unwrap()
}

/// A site with a folder of blueprints.
async fn with_folder() -> (Site, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::reaching(Reach::new(Some(folder.path().to_owned()), [])).await;
    (site, folder)
}

async fn instance(site: &Site, name: &str) -> Value {
    let found = site.get(&format!("{PATH}?name={name}")).await;
    assert_eq!(found["pagination"]["count"], json!(1), "{name}: {found}");
    found["results"][0].clone()
}

/// CO-576, CO-734, CO-839: an instance with its text lives and goes; it is in force when the answer is given.
#[tokio::test]
async fn co_576_instances_live_and_go() {
    let site = Site::new().await;
    let made = site.post(PATH, json!({"name": "mine", "content": group("one")})).await;
    serde_json::from_value::<models::BlueprintInstance>(made.clone()).unwrap();
    assert_eq!((&made["status"], &made["enabled"], &made["path"]), (&json!("successful"), &json!(true), &json!("")));
    assert_eq!(made["managed_models"], json!(["authentik_core.group"]));
    assert_eq!(made["metadata"], json!({"name": "one", "labels": {}}));
    assert_eq!(made["last_applied_hash"].as_str().unwrap().len(), 128);
    assert_eq!(groups(&site, "one").await, 1);
    let path = format!("{PATH}{}/", made["pk"].as_str().unwrap());
    assert_eq!(site.get(&path).await, made);
    let listed = site.get(&format!("{PATH}?search=MINE&ordering=-name")).await;
    serde_json::from_value::<models::PaginatedBlueprintInstanceList>(listed.clone()).unwrap();
    assert_eq!(listed["results"], json!([made]));
    let changed = site.patch(&path, json!({"content": group("two")})).await;
    assert_ne!(changed["last_applied_hash"], made["last_applied_hash"]);
    assert_eq!(groups(&site, "two").await, 1);
    let off = site.patch(&path, json!({"enabled": false, "content": group("three")})).await;
    assert_eq!((&off["enabled"], groups(&site, "three").await), (&json!(false), 0));
    let (status, applied) = site.send(ADMIN, Method::POST, &format!("{path}apply/"), None).await;
    assert_eq!((status.as_u16(), &applied["status"], groups(&site, "three").await), (200, &json!("successful"), 1));
    site.delete(&path).await;
    assert_eq!(site.send(ADMIN, Method::GET, &path, None).await.0, 404);
    assert_eq!(groups(&site, "one").await, 1, "what it made stays");
}

/// CO-734, CO-523: a text that is none, no text at all, and paths that are not there are refused by field.
#[tokio::test]
async fn co_734_instances_are_validated() {
    let (site, folder) = with_folder().await;
    std::fs::write(folder.path().join("there.yaml"), group("one")).unwrap();
    for (body, problems) in [
        (
            json!({"name": "x", "content": "version: 2\nentries: []"}),
            json!({"content": ["Failed to validate blueprint", "- line 1: Only version 1 is known."]}),
        ),
        (
            json!({"name": "x", "content": group("one") + "  - {model: a.b, identifiers: {c: d}}\n"}),
            json!({"content": ["Failed to validate blueprint", "- entry 2 (a.b), line 5: This model is not known."]}),
        ),
        (json!({"name": "x", "path": "missing.yaml"}), json!({"path": ["Blueprint file does not exist"]})),
        (json!({"name": "x", "path": "../etc/passwd"}), json!({"path": ["Blueprint file does not exist"]})),
        (
            json!({"name": "x", "path": "oci://example.com/x"}),
            json!({"path": ["Blueprints of registries are not supported."]}),
        ),
        (json!({"content": group("one")}), json!({"name": ["This field is required."]})),
        (json!({"name": "x"}), json!({"non_field_errors": ["One of 'path', 'content' must be set, and not both."]})),
        (
            json!({"name": "x", "content": group("one"), "context": []}),
            json!({"context": ["Value must be an object."]}),
        ),
    ] {
        assert_eq!(site.refused(Method::POST, PATH, body.clone()).await, problems, "{body}");
    }
    site.post(PATH, json!({"name": "x", "path": "there.yaml"})).await;
    assert_eq!(groups(&site, "one").await, 1);
    let twice = site.refused(Method::POST, PATH, json!({"name": "x", "content": group("one")})).await;
    assert_eq!(twice, json!({"name": ["Blueprint Instance with this name already exists."]}));
}

/// CO-734: what cannot be applied is kept, with its status; what was there before stays.
#[tokio::test]
async fn co_734_a_failure_is_a_status() {
    let site = Site::new().await;
    let broken = "version: 1\nentries:\n  - {model: authentik_core.group, identifiers: {name: one}}\n  \
                  - {model: authentik_core.group, identifiers: {name: two}, attrs: {colour: red}}\n";
    let made = site.post(PATH, json!({"name": "broken", "content": broken})).await;
    assert_eq!((&made["status"], &made["last_applied_hash"]), (&json!("error"), &json!("")));
    assert_eq!(groups(&site, "one").await, 0);
}

/// CO-706: every path is for superusers alone.
#[tokio::test]
async fn co_706_blueprints_are_for_superusers() {
    let site = Site::new().await;
    let pk = site.post(PATH, json!({"name": "mine", "content": group("one")})).await["pk"].clone();
    let (_, key) = site.user("ada").await;
    let one = format!("{PATH}{}/", pk.as_str().unwrap());
    let body = json!({"name": "theirs", "content": group("two")});
    for (method, path) in [
        (Method::GET, PATH.to_owned()),
        (Method::POST, PATH.to_owned()),
        (Method::GET, one.clone()),
        (Method::PUT, one.clone()),
        (Method::PATCH, one.clone()),
        (Method::DELETE, one.clone()),
        (Method::POST, format!("{one}apply/")),
        (Method::GET, format!("{PATH}available/")),
    ] {
        let sent = (method != Method::GET && method != Method::DELETE).then(|| body.clone());
        assert_eq!(site.send(&key, method.clone(), &path, sent).await.0, 403, "{method} {path}");
    }
    assert_eq!(site.form(&key, &format!("{PATH}import/"), &[("file", &group("two"))]).await.0, 403);
    assert_eq!(groups(&site, "two").await, 0);
}

/// CO-735: an import is applied once and keeps no instance; a refusal is an answer, with its reason.
#[tokio::test]
async fn co_735_imports_are_applied_once() {
    let (site, folder) = with_folder().await;
    std::fs::write(folder.path().join("there.yaml"), group("from-file")).unwrap();
    let import = async |parts: &[(&str, &str)]| site.form(ADMIN, &format!("{PATH}import/"), parts).await;
    let (status, done) = import(&[("file", &group("one"))]).await;
    assert_eq!((status.as_u16(), &done["success"]), (200, &json!(true)));
    serde_json::from_value::<models::BlueprintImportResult>(done.clone()).unwrap();
    assert!(done["logs"][0]["event"].as_str().unwrap().contains("was made"), "{done}");
    assert_eq!(import(&[("path", "there.yaml")]).await.1["success"], json!(true));
    assert_eq!((groups(&site, "one").await, groups(&site, "from-file").await), (1, 1));
    let (status, failed) = import(&[("file", "version: 1\nentries: [{model: a.b, identifiers: {c: d}}]")]).await;
    assert_eq!((status.as_u16(), &failed["success"]), (200, &json!(false)));
    let said = json!("entry 1 (a.b), line 2: This model is not known.");
    assert_eq!((&failed["logs"][0]["event"], &failed["logs"][0]["log_level"]), (&said, &json!("error")));
    assert_eq!(import(&[("path", "missing.yaml")]).await.1, json!({"path": ["Blueprint file does not exist"]}));
    assert_eq!(import(&[("other", "x")]).await.0, 400);
    let (status, _) = site.send(ADMIN, Method::POST, &format!("{PATH}import/"), Some(json!({}))).await;
    assert_eq!(status, 415);
    assert_eq!(site.get(PATH).await["pagination"]["count"], json!(0));
}

/// CO-733: files are found wherever they are below the folder, kept, applied, and applied again when they change; those
/// with a dot, with another end or with the label are not kept.
#[tokio::test]
async fn co_733_the_folder_is_watched() {
    let (site, folder) = with_folder().await;
    let put = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("a/one.yaml", &group("one"));
    put(".hidden.yaml", &group("hidden"));
    put(".dot/two.yaml", &group("hidden"));
    put("three.yml", &group("other-end"));
    let label =
        "version: 1\nmetadata: {name: l, labels: {blueprints.goauthentik.io/instantiate: \"false\"}}\nentries: []\n";
    put("labelled.yaml", label);
    let mut watch = Watch::default();
    watch.look(&site.ctx).await.unwrap();
    let kept = instance(&site, "one").await;
    assert_eq!((&kept["path"], &kept["status"]), (&json!("a/one.yaml"), &json!("successful")));
    assert_eq!(site.get(PATH).await["pagination"]["count"], json!(1));
    assert_eq!(groups(&site, "one").await, 1);
    // Changes by hand are not undone by time alone.
    let pk = site.get("/core/groups/?name=one").await["results"][0]["pk"].as_str().unwrap().to_owned();
    site.delete(&format!("/core/groups/{pk}/")).await;
    watch.look(&site.ctx).await.unwrap();
    Watch::default().look(&site.ctx).await.unwrap();
    assert_eq!(groups(&site, "one").await, 0);
    put("a/one.yaml", &group("one").replace("identifiers: {name: one}", "identifiers: {name: two}"));
    watch.look(&site.ctx).await.unwrap();
    assert_eq!(groups(&site, "two").await, 1);
    assert_ne!(instance(&site, "one").await["last_applied_hash"], kept["last_applied_hash"]);
    let files = site.get(&format!("{PATH}available/")).await;
    serde_json::from_value::<Vec<models::BlueprintFile>>(files.clone()).unwrap();
    assert_eq!((&files[0]["path"], &files[1]["path"]), (&json!("a/one.yaml"), &json!("labelled.yaml")));
    assert_eq!(files[0]["hash"], instance(&site, "one").await["last_applied_hash"]);
    std::fs::remove_file(folder.path().join("a/one.yaml")).unwrap();
    watch.look(&site.ctx).await.unwrap();
    assert_eq!(instance(&site, "one").await["status"], json!("orphaned"));
}

/// CO-733: a file that needs what a later one brings is applied all the same; one that cannot be is tried again when it
/// changes.
#[tokio::test]
async fn co_733_files_may_need_each_other() {
    let (site, folder) = with_folder().await;
    let needy = "version: 1\nmetadata: {name: needy}\nentries:\n  - model: authentik_core.group\n    \
                 identifiers: {name: low}\n    attrs: {parents: [!Find [authentik_core.group, [name, top]]]}\n";
    std::fs::write(folder.path().join("a.yaml"), needy).unwrap();
    std::fs::write(folder.path().join("b.yaml"), group("top")).unwrap();
    std::fs::write(folder.path().join("c.yaml"), group("c").replace("name: c}}", "name: c}, attrs: {no: 1}}")).unwrap();
    let mut watch = Watch::default();
    watch.look(&site.ctx).await.unwrap();
    assert_eq!((groups(&site, "low").await, groups(&site, "top").await), (1, 1));
    assert_eq!(instance(&site, "needy").await["status"], json!("successful"));
    assert_eq!(instance(&site, "c").await["status"], json!("error"));
    std::fs::write(folder.path().join("c.yaml"), group("c")).unwrap();
    watch.look(&site.ctx).await.unwrap();
    assert_eq!((groups(&site, "c").await, &instance(&site, "c").await["status"]), (1, &json!("successful")));
}

/// CO-730, CO-839: a blueprint that another requires is applied first; what fails there fails here; circles are errors.
#[tokio::test]
async fn co_839_what_is_required_must_go_well() {
    let site = Site::new().await;
    let meta = |name: &str, required: bool| {
        format!(
            "version: 1\nentries:\n  - {{model: authentik_blueprints.metaapplyblueprint, attrs: {{identifiers: {{name: {name}}}, \
             required: {required}}}}}\n  - {{model: authentik_core.group, identifiers: {{name: after}}}}\n"
        )
    };
    site.post(PATH, json!({"name": "first", "content": group("before"), "enabled": false})).await;
    attempt(&site, &meta("first", true)).await.unwrap();
    assert_eq!((groups(&site, "before").await, groups(&site, "after").await), (1, 1));
    assert_eq!(instance(&site, "first").await["status"], json!("successful"));
    let missing = attempt(&site, &meta("nobody", true)).await.unwrap_err();
    assert_eq!(missing.message, "There is no such blueprint.");
    attempt(&site, &meta("nobody", false)).await.unwrap();
    let broken = group("x").replace("name: x}}", "name: x}, attrs: {no: 1}}");
    site.post(PATH, json!({"name": "broken", "content": broken, "enabled": false})).await;
    let refused = attempt(&site, &meta("broken", true)).await.unwrap_err();
    assert!(refused.to_string().starts_with("broken: entry 1 (authentik_core.group)"), "{refused}");
    let half =
        format!("{}  - {{model: authentik_core.group, identifiers: {{name: odd}}, attrs: {{no: 1}}}}\n", group("half"));
    site.post(PATH, json!({"name": "half", "content": half, "enabled": false})).await;
    attempt(&site, &meta("half", false)).await.unwrap();
    assert_eq!((groups(&site, "half").await, &instance(&site, "half").await["status"]), (0, &json!("error")));
    let circle = site.post(PATH, json!({"name": "circle", "content": meta("circle", true)})).await;
    assert_eq!(circle["status"], json!("error"));
}

/// CO-737: system blueprints of other installations apply without error and change nothing: scopes, the first
/// administrator, the first brand.
#[tokio::test]
async fn co_737_known_system_blueprints_apply() {
    let environment =
        [("AUTHENTIK_BOOTSTRAP_TOKEN", ADMIN), ("AUTHENTIK_BOOTSTRAP_PASSWORD", "a password of the environment")];
    let environment = environment.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let site = Site::reaching(Reach::new(None, environment)).await;
    let mapping = |managed: &str, scope: &str| {
        format!(
            "  - identifiers: {{managed: goauthentik.io/providers/{managed}}}\n    model: authentik_providers_oauth2.scopemapping\n    \
             attrs:\n      name: \"Mapping of {scope}\"\n      scope_name: {scope}\n      description: \"Words for {scope}\"\n      \
             expression: |\n        # words of another installation\n        return {{\"sid\": request.context[\"token\"].session_id}}\n"
        )
    };
    let scopes = [
        ("oauth2/scope-openid", "openid"),
        ("oauth2/scope-email", "email"),
        ("oauth2/scope-profile", "profile"),
        ("oauth2/scope-entitlements", "entitlements"),
        ("oauth2/scope-offline_access", "offline_access"),
        ("oauth2/scope-authentik_api", "goauthentik.io/api"),
        ("proxy/scope-proxy", "ak_proxy"),
    ];
    let scopes: String = scopes.iter().map(|(managed, scope)| mapping(managed, scope)).collect();
    let scopes = format!(
        "version: 1\nmetadata:\n  labels: {{blueprints.goauthentik.io/system: \"true\"}}\n  name: Scopes\nentries:\n{scopes}"
    );
    let first = "version: 1
metadata:
  name: First administrator
  labels: {blueprints.goauthentik.io/system-bootstrap: \"true\"}
context:
  username: akadmin
  group_name: authentik Admins
  email: !Env [AUTHENTIK_BOOTSTRAP_EMAIL, \"root@example.com\"]
  password: !Env [AUTHENTIK_BOOTSTRAP_PASSWORD, null]
  token: !Env [AUTHENTIK_BOOTSTRAP_TOKEN, null]
entries:
  - model: authentik_core.group
    state: created
    identifiers: {name: !Context group_name}
    attrs: {is_superuser: true}
    id: admins
  - model: authentik_core.user
    state: created
    id: admin
    identifiers: {username: !Context username}
    attrs: {name: Administrator, email: !Context email, groups: [!KeyOf admins], password: !Context password}
  - model: authentik_core.token
    state: created
    conditions: [!If [!Context token]]
    identifiers:
      identifier: authentik-bootstrap-token
      intent: api
      expiring: false
      key: !Context token
      user: !KeyOf admin
  - model: authentik_blueprints.blueprintinstance
    identifiers: {metadata: {labels: {blueprints.goauthentik.io/system-bootstrap: \"true\"}}}
    state: absent
";
    let brand = "metadata: {name: Brand}
version: 1
entries:
  - model: authentik_blueprints.metaapplyblueprint
    attrs: {identifiers: {name: A flow of theirs}, required: false}
  - attrs:
      flow_authentication: !Find [authentik_flows.flow, [slug, default-authentication-flow]]
      flow_request: !Find [authentik_flows.flow, [slug, default-request]]
    identifiers:
      domain: authentik-default
      default: !Env [AUTHENTIK_DEFAULT_BRAND_ENABLED, True]
    state: created
    conditions: [!Condition [NOR, !Find [authentik_brands.brand, [default, True]]]]
    model: authentik_brands.brand
";
    let everything = async || {
        let mut all = Vec::new();
        for path in
            ["/propertymappings/provider/scope/", "/core/users/", "/core/groups/", "/core/tokens/", "/core/brands/"]
        {
            all.push(site.get(path).await);
        }
        all
    };
    let before = everything().await;
    for text in [&scopes, first, brand] {
        attempt(&site, text).await.unwrap();
        assert_eq!(everything().await, before, "{text}");
    }
    // One that takes its own instance away is applied once.
    let gone = site.post(PATH, json!({"name": "bootstrap", "content": first.replace("!Env [AUTHENTIK_BOOTSTRAP", "!Env [PORTCULLIS_BLUEPRINT")})).await;
    assert_eq!(gone["name"], json!("bootstrap"));
    assert_eq!(site.get(PATH).await["pagination"]["count"], json!(0));
}

/// CO-474: the text of an instance, which may hold passwords, is sealed, and no event tells it.
#[tokio::test]
async fn co_474_texts_of_instances_are_sealed() {
    let site = Site::new().await;
    let text = "version: 1\nentries:\n  - model: authentik_core.user\n    identifiers: {username: ada}\n    \
                attrs: {name: Ada, password: a-passw0rd-in-a-blueprint}\n";
    let made =
        site.post(PATH, json!({"name": "mine", "content": text, "context": {"x": "a-s3cret-in-a-context"}})).await;
    assert_eq!((&made["status"], &made["content"]), (&json!("successful"), &json!(text)));
    site.patch(&format!("{PATH}{}/", made["pk"].as_str().unwrap()), json!({"content": text.replace("Ada", "A")})).await;
    assert!(site.database_holds("blueprintinstance"), "the files are looked at where data is");
    for secret in ["a-passw0rd-in-a-blueprint", "a-s3cret-in-a-context"] {
        assert!(!site.database_holds(secret), "{secret}");
    }
}

/// CO-734: a text that is sent back as it is stored is taken as it is, also one that is refused from now on.
#[tokio::test]
async fn co_734_a_text_that_is_stored_is_not_read_again() {
    let site = Site::new().await;
    let made = site.post(PATH, json!({"name": "old", "content": group("one"), "enabled": false})).await;
    let (path, old) = (format!("{PATH}{}/", made["pk"].as_str().unwrap()), "version: 2\nentries: []");
    let fields = Fields { content: Some(old.to_owned()), ..Fields::default() };
    let actor = portcullis_idp::Actor { is_superuser: true, ..portcullis_idp::Actor::system() };
    let pk = made["pk"].as_str().unwrap().parse().unwrap();
    portcullis_idp::blueprints::update(&site.ctx, &actor, pk, fields).await.unwrap();
    let sent = json!({"name": "renamed", "content": old, "enabled": false});
    let (status, answer) = site.send(ADMIN, Method::PUT, &path, Some(sent)).await;
    assert_eq!((status.as_u16(), &answer["name"], &answer["content"]), (200, &json!("renamed"), &json!(old)));
    assert_eq!(answer["metadata"], made["metadata"]);
    let other = json!({"content": format!("{old}\n# other")});
    assert_eq!(site.refused(Method::PATCH, &path, other).await["content"][0], "Failed to validate blueprint");
}
