//! How blueprints are applied: lookup, states, one transaction, confinement.

use portcullis_core::epoch::Subject;
use portcullis_idp::Actor;
use portcullis_idp::blueprints::Reach;
use portcullis_web::api::blueprints::{Applied, Audience, Document, Refused, apply};
use serde_json::{Value, json};

use crate::site::Site;

/// Applies a text as a file of the machine.
pub(crate) async fn attempt(site: &Site, text: &str) -> Result<Applied, Refused> {
    let document = Document::of_file("test.yaml", text.to_owned());
    apply(&site.ctx, &Actor::system(), &document, Audience::Ourselves).await
}

/// Applies entries, which must go well.
pub(crate) async fn applied(site: &Site, entries: &str) -> Applied {
    attempt(site, &format!("version: 1\nentries:\n{entries}")).await.unwrap()
}

/// Why entries are not applied.
pub(crate) async fn refused(site: &Site, entries: &str) -> Refused {
    attempt(site, &format!("version: 1\nentries:\n{entries}")).await.unwrap_err()
}

pub(crate) async fn only(site: &Site, path: &str) -> Value {
    let found = site.get(path).await;
    assert_eq!(found["pagination"]["count"], json!(1), "{path}: {found}");
    found["results"][0].clone()
}

async fn count(site: &Site, path: &str) -> i64 {
    site.get(path).await["pagination"]["count"].as_i64().unwrap()
}

/// CO-725, CO-004: the first error undoes all entries before it, events and epochs included, and names entry, model,
/// line and field.
#[tokio::test]
async fn co_725_the_first_error_undoes_everything() {
    let site = Site::new().await;
    site.post("/core/users/", json!({"username": "ada", "name": "Ada"})).await;
    let uuid = only(&site, "/core/users/?username=ada").await["uuid"].as_str().unwrap().to_owned();
    let events = site.events("model_created").await.len();
    let mark = site.ctx.epochs.mark(site.ctx.epochs.present(), &[Subject::User(&uuid)]);
    let revision = site.ctx.revisions.present();
    let refused = refused(
        &site,
        "  - {model: authentik_core.group, id: g, identifiers: {name: staff}}\n  \
         - model: authentik_core.user\n    identifiers: {username: ada}\n    attrs: {groups: [!KeyOf g], name: Other}\n  \
         - model: authentik_core.application\n    identifiers: {slug: wiki}\n    attrs: {name: Wiki, provider: 4711}\n",
    )
    .await;
    assert_eq!((refused.entry, refused.line), (Some(3), Some(7)));
    let said = "entry 3 (authentik_core.application), line 7: provider: Invalid pk \"4711\" - object does not exist.";
    assert_eq!(refused.to_string(), said);
    assert_eq!(count(&site, "/core/groups/?name=staff").await, 0);
    assert_eq!(only(&site, "/core/users/?username=ada").await["name"], json!("Ada"));
    assert_eq!(site.events("model_created").await.len(), events);
    assert!(site.ctx.epochs.stands(&mark), "nobody is looked at again");
    assert_eq!(site.ctx.revisions.present(), revision);
}

/// CO-723, CO-724: each state does what it says to an object that is missing and to one that is there.
#[tokio::test]
async fn co_723_states_do_what_they_say() {
    let site = Site::new().await;
    let entry = |state: &str, is_superuser: bool| {
        format!(
            "  - model: authentik_core.group\n    state: {state}\n    identifiers: {{name: staff}}\n    \
             attrs: {{is_superuser: {is_superuser}, name: overruled}}\n"
        )
    };
    let flag = async || only(&site, "/core/groups/?name=staff").await["is_superuser"].clone();
    applied(&site, &entry("absent", false)).await;
    applied(&site, &entry("created", false)).await;
    assert_eq!(flag().await, json!(false), "made, with the name of the identifiers");
    applied(&site, &entry("created", true)).await;
    assert_eq!(flag().await, json!(false), "left as it is");
    let twice = refused(&site, &entry("must_created", true)).await;
    assert_eq!(twice.to_string(), "entry 1 (authentik_core.group), line 3: state: 'staff' exists already.");
    applied(&site, "  - {model: authentik_core.group, identifiers: {name: staff}, attrs: {is_superuser: true}}\n")
        .await;
    assert_eq!(flag().await, json!(true));
    applied(&site, &entry("absent", false)).await;
    assert_eq!(count(&site, "/core/groups/?name=staff").await, 0);
    applied(&site, &entry("must_created", true)).await;
    assert_eq!(flag().await, json!(true));
}

/// CO-722: an object is found by its key or by everything else together, one relation further, by what its attributes
/// contain; several are an error that names them.
#[tokio::test]
async fn co_722_objects_are_found() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    site.application("wiki", &provider).await;
    for (name, place) in [("one", "here"), ("two", "there")] {
        site.post("/core/groups/", json!({"name": name, "attributes": {"at": {"place": place, "more": 1}}})).await;
    }
    let one = only(&site, "/core/groups/?name=one").await["pk"].clone();
    let renamed = |identifiers: &str, name: &str| {
        format!("  - {{model: authentik_core.group, identifiers: {identifiers}, attrs: {{name: {name}}}}}\n")
    };
    applied(&site, &renamed(&format!("{{pk: {one}, name: nobody}}"), "uno")).await;
    applied(&site, &renamed("{attributes: {at: {place: there}}}", "due")).await;
    assert_eq!(count(&site, "/core/groups/?name=uno").await + count(&site, "/core/groups/?name=due").await, 2);
    let several = refused(&site, &renamed("{attributes: {at: {more: 1}}}", "tre")).await;
    assert_eq!(several.message, "Several objects match: uno, due.".replace("uno, due", &in_order(&site).await));
    applied(
        &site,
        "  - {model: authentik_core.application, identifiers: {provider__name: wiki}, attrs: {group: Papers}}\n",
    )
    .await;
    assert_eq!(site.get("/core/applications/wiki/").await["group"], json!("Papers"));
    let unknown = refused(&site, &renamed("{nonsense: 1}", "x")).await;
    assert_eq!(unknown.field.as_deref(), Some("nonsense"));
    let keyed = refused(&site, &renamed("{pk: 0a000000-0000-4000-8000-00000000000b}", "x")).await;
    assert_eq!(keyed.field.as_deref(), Some("pk"));
}

async fn in_order(site: &Site) -> String {
    let mut groups = Vec::new();
    for name in ["uno", "due"] {
        groups.push((only(site, &format!("/core/groups/?name={name}")).await["pk"].to_string(), name));
    }
    groups.sort();
    groups.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

/// CO-725, CO-726: conditions leave an entry out silently; its id stands for nothing then.
#[tokio::test]
async fn co_725_conditions_leave_entries_out() {
    let site = Site::new().await;
    let entry = "  - {model: authentik_core.group, id: g, conditions: [yes, no], identifiers: {name: staff}}\n";
    applied(&site, entry).await;
    assert_eq!(count(&site, "/core/groups/?name=staff").await, 0);
    let using = "  - {model: authentik_core.group, identifiers: {name: low}, attrs: {parents: [!KeyOf g]}}\n";
    let refused = refused(&site, &format!("{entry}{using}")).await;
    assert_eq!(refused.entry, Some(2), "{refused}");
}

/// CO-726: objects of earlier entries and of the instance are found by tags, secrets left out.
#[tokio::test]
async fn co_726_tags_find_objects() {
    let site = Site::new().await;
    let body = json!({"username": "ada", "name": "Ada", "attributes": {"app_password": "upstream-s3cret", "desk": 7}});
    let ada = site.post("/core/users/", body).await["pk"].clone();
    site.post("/core/tokens/", json!({"identifier": "ada-token", "intent": "api", "user": ada})).await;
    applied(
        &site,
        "  - {model: authentik_core.group, id: top, identifiers: {name: top}}\n  \
         - model: authentik_core.group\n    identifiers: {name: low}\n    attrs:\n      parents: [!KeyOf top]\n      \
         users: [!Find [authentik_core.user, [username, ada]]]\n      attributes:\n        \
         nobody: !Find [authentik_core.user, [username, nobody]]\n        \
         seen: !AtIndex [!FindObject [authentik_core.user, [username, ada]], attributes]\n        \
         inside: !AtIndex [!FindObject [authentik_core.token, [identifier, ada-token]], user_obj]\n        \
         label: !Context goauthentik.io/enterprise/licensed\n        \
         app: !AtIndex [!Context goauthentik.io/rbac/models, authentik_core.user]\n",
    )
    .await;
    let low = only(&site, "/core/groups/?name=low").await;
    let top = only(&site, "/core/groups/?name=top").await;
    assert_eq!(low["parents"], json!([top["pk"]]));
    let seen = &low["attributes"];
    assert_eq!((&seen["nobody"], &seen["seen"]), (&json!(null), &json!({"desk": 7})));
    assert_eq!((&seen["label"], &seen["app"]), (&json!(false), &json!("authentik_core")));
    assert_eq!(seen["inside"]["username"], json!("ada"));
    assert!(!low.to_string().replace(&low["users_obj"].to_string(), "").contains("upstream-s3cret"), "{low}");
}

/// CO-728: what whoever applies it adds is stronger than the context of the text.
#[tokio::test]
async fn co_728_the_context_of_the_instance_wins() {
    let site = Site::new().await;
    let text = "version: 1\ncontext: {name: by text, of: {a: 1, b: 1}}\nentries:\n  - model: authentik_core.group\n    \
                identifiers: {name: !Context name}\n    attrs: {attributes: !Context of}\n";
    let context = json!({"name": "by instance", "of": {"b": 2}}).as_object().unwrap().clone();
    let document = Document { context, ..Document::of_file("test.yaml", text.to_owned()) };
    apply(&site.ctx, &Actor::system(), &document, Audience::Ourselves).await.unwrap();
    let made = only(&site, "/core/groups/?name=by%20instance").await;
    assert_eq!(made["attributes"], json!({"a": 1, "b": 2}));
}

/// CO-731: what is not known fails the blueprint by entry, model and field, or is left out if the label says so.
#[tokio::test]
async fn co_731_what_is_not_known_fails_or_is_left_out() {
    let site = Site::new().await;
    let entries = "  - {model: authentik_stages_captcha.captchastage, id: c, identifiers: {name: x}}\n  \
                   - {model: authentik_core.group, identifiers: {name: odd}, attrs: {colour: red}}\n  \
                   - {model: authentik_core.group, identifiers: {name: fine}}\n";
    let refused = refused(&site, entries).await;
    let said = "entry 1 (authentik_stages_captcha.captchastage), line 3: This model is not known.";
    assert_eq!(refused.to_string(), said);
    let labels = "version: 1\nmetadata: {name: n, labels: {portcullis.io/skip-unsupported: \"true\"}}\nentries:\n";
    let done = attempt(&site, &format!("{labels}{entries}")).await.unwrap();
    assert!(done.warned);
    assert_eq!(count(&site, "/core/groups/?name=odd").await, 0);
    assert_eq!(count(&site, "/core/groups/?name=fine").await, 1);
    let using = "  - {model: authentik_core.group, identifiers: {name: low}, attrs: {parents: [!KeyOf c]}}\n";
    assert_eq!(attempt(&site, &format!("{labels}{entries}{using}")).await.unwrap_err().entry, Some(4));
    let only_field = "  - {model: authentik_core.group, identifiers: {name: odd}, attrs: {colour: red}}\n";
    let one = attempt(&site, &format!("version: 1\nentries:\n{only_field}")).await.unwrap_err();
    assert_eq!(one.to_string(), "entry 1 (authentik_core.group), line 3: colour: This attribute is not known.");
}

/// CO-729, CO-823: a text that came through the API reads neither files nor the secret key, nor any variable that is not
/// named for it; a file reads the folder.
#[tokio::test]
async fn co_823_what_comes_through_the_api_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("note.txt"), "from the folder\n").unwrap();
    let environment = [("PORTCULLIS_SECRET_KEY", "root"), ("PORTCULLIS_BLUEPRINT_X", "given"), ("HOME", "/root")];
    let environment = environment.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let site = Site::reaching(Reach::new(Some(folder.path().to_owned()), environment)).await;
    let with = |value: &str| {
        format!(
            "version: 1\nentries:\n  - {{model: authentik_core.group, identifiers: {{name: g}}, \
             attrs: {{attributes: {{v: {value}}}}}}}\n"
        )
    };
    let note = format!("!File {}", folder.path().join("note.txt").display());
    for (value, of_file, of_api) in [
        ("!File /etc/passwd", None, None),
        ("!File [/etc/passwd, fallback]", None, None),
        ("!Env [PORTCULLIS_SECRET_KEY, fallback]", None, None),
        ("!Env PORTCULLIS_BLUEPRINT_X", Some("given"), Some("given")),
        ("!Env HOME", Some("/root"), None),
        ("!Env [NOT_SET, fallback]", Some("fallback"), None),
        (&note, Some("from the folder"), None),
    ] {
        for (expected, is_file) in [(of_file, true), (of_api, false)] {
            let document = match is_file {
                true => Document::of_file("test.yaml", with(value)),
                false => Document { names: Default::default(), ..Document::of_file("test.yaml", with(value)) },
            };
            let done = apply(&site.ctx, &Actor::system(), &document, Audience::Ourselves).await;
            assert_eq!(done.is_ok(), expected.is_some(), "{value} {is_file} {done:?}");
            if let Some(expected) = expected {
                let group = only(&site, "/core/groups/?name=g").await;
                assert_eq!(group["attributes"]["v"], json!(expected), "{value}");
            }
        }
    }
}

/// CO-038: the last superuser cannot be lost by several entries together.
#[tokio::test]
async fn co_038_entries_together_keep_a_superuser() {
    let site = Site::new().await;
    let refused = refused(
        &site,
        "  - {model: authentik_core.group, identifiers: {name: authentik Admins}, attrs: {is_superuser: false}}\n  \
         - {model: authentik_core.user, identifiers: {username: akadmin}, attrs: {is_active: false}}\n",
    )
    .await;
    assert!(refused.message.starts_with("The last active superuser"), "{refused}");
    site.get("/core/users/").await;
}

/// CO-706: only superusers apply anything.
#[tokio::test]
async fn co_706_others_apply_nothing() {
    let site = Site::new().await;
    let (user, _) = site.user("ada").await;
    let actor = Actor { user: Some(portcullis_core::id::UserPk(i32::try_from(user).unwrap())), ..Actor::system() };
    let text = "version: 1\nentries: [{model: authentik_core.group, identifiers: {name: x}}]\n";
    for is_superuser in [false, true] {
        let actor = Actor { is_superuser, ..actor.clone() };
        let document = Document::of_file("test.yaml", text.to_owned());
        let done = apply(&site.ctx, &actor, &document, Audience::Ourselves).await;
        assert_eq!(done.unwrap_err().message, "You do not have permission to perform this action.");
    }
}
