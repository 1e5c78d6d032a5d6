//! What applying a blueprint may cost, and what it may tell.

use std::fmt::Write;
use std::time::Duration;

use portcullis_idp::Actor;
use portcullis_idp::blueprints::Reach;
use portcullis_web::api::blueprints::{Audience, Cause, Document, apply};
use serde_json::json;

use crate::blueprints_engine::{applied, attempt, only, refused};
use crate::site::Site;

const META: &str = "authentik_blueprints.metaapplyblueprint";

/// An entry that keeps an instance with this text, disabled.
fn instance(name: &str, content: &str) -> String {
    let (name, content) = (json!(name), json!(content));
    format!(
        "  - {{model: authentik_blueprints.blueprintinstance, identifiers: {{name: {name}}}, \
         attrs: {{enabled: false, content: {content}}}}}\n"
    )
}

fn leads_to(name: &str, required: bool) -> String {
    format!("  - {{model: {META}, attrs: {{identifiers: {{name: {name}}}, required: {required}}}}}\n")
}

fn document(entries: &str) -> String {
    format!("version: 1\nentries:\n{entries}")
}

async fn count(site: &Site, path: &str) -> i64 {
    site.get(path).await["pagination"]["count"].as_i64().unwrap()
}

/// CO-730: however many lead to a blueprint, it is applied once.
#[tokio::test]
async fn co_730_a_blueprint_is_applied_once() {
    let site = Site::new().await;
    const DEEP: usize = 14;
    let mut all = String::new();
    for level in 0..DEEP {
        let next = leads_to(&format!("level-{}", level + 1), true);
        all.push_str(&instance(&format!("level-{level}"), &document(&next.repeat(2))));
    }
    let last = "  - {model: authentik_core.group, identifiers: {name: deep}}\n";
    all.push_str(&instance(&format!("level-{DEEP}"), &document(last)));
    applied(&site, &all).await;
    let done = applied(&site, &leads_to("level-0", true)).await;
    let applying = done.log.iter().filter(|line| line.event.contains("applying '")).count();
    assert_eq!(applying, DEEP + 1);
    assert_eq!(count(&site, "/core/groups/?name=deep").await, 1);
    let outer = instance("outer", &document(&leads_to("level-0", true)));
    applied(&site, &outer).await;
    let too_deep = refused(&site, &leads_to("outer", true)).await;
    assert_eq!(too_deep.message, "Blueprints lead to each other more than 16 deep.");
}

/// CO-730: one document leads to a hundred others at most, also when what goes wrong in them is undone.
#[tokio::test]
async fn co_730_others_are_limited() {
    let site = Site::new().await;
    applied(
        &site,
        &instance("wrong", &document("  - {model: authentik_core.group, identifiers: {name: odd}, attrs: {no: 1}}\n")),
    )
    .await;
    attempt(&site, &document(&leads_to("wrong", false).repeat(100))).await.unwrap();
    let refused = refused(&site, &leads_to("wrong", false).repeat(101)).await;
    assert_eq!((refused.entry, refused.message.as_str()), (Some(101), "This leads to more than 100 blueprints."));
}

/// CO-730: what an undone part has applied is not applied: who needs it gets it.
#[tokio::test]
async fn co_730_what_was_undone_is_applied_again() {
    let site = Site::new().await;
    let group = document("  - {model: authentik_core.group, identifiers: {name: inner}}\n");
    let wrong = document(&format!(
        "{}  - {{model: authentik_core.group, identifiers: {{name: odd}}, attrs: {{no: 1}}}}\n",
        leads_to("inner", true)
    ));
    applied(&site, &format!("{}{}", instance("inner", &group), instance("wrong", &wrong))).await;
    applied(&site, &format!("{}{}", leads_to("wrong", false), leads_to("inner", true))).await;
    assert_eq!(count(&site, "/core/groups/?name=inner").await, 1);
}

/// CO-734: applying ends when its time is over, and nothing of it is there; an optional part is no way around it.
#[tokio::test]
async fn co_734_applying_has_an_end() {
    let site = Site::new().await;
    let group = "  - {model: authentik_core.group, identifiers: {name: late}}\n";
    applied(&site, &instance("late", &document(group))).await;
    for text in [document(group), document(&leads_to("late", false))] {
        let document = Document { within: Duration::ZERO, ..Document::of_file("test.yaml", text) };
        let refused = apply(&site.ctx, &Actor::system(), &document, Audience::Ourselves).await.unwrap_err();
        assert_eq!((refused.cause, refused.entry), (Cause::Time, Some(1)), "{refused}");
        assert!(refused.message.starts_with("It takes longer than 0 seconds"), "{refused}");
    }
    assert_eq!(count(&site, "/core/groups/?name=late").await, 0);
    assert!(Document::of_file("test.yaml", String::new()).within > Duration::from_secs(30));
}

/// CO-725: what a tag has read is in no refusal: neither of tags nor of attributes nor of models.
#[tokio::test]
async fn co_725_secrets_are_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "hunter2\n").unwrap();
    let site = Site::reaching(Reach::new(Some(folder.path().to_owned()), [])).await;
    let secret = format!("!File {}", json!(file.to_str().unwrap()));
    for entry in [
        format!("{{model: authentik_core.group, identifiers: {{name: !Format ['%d', {secret}]}}}}"),
        format!("{{model: authentik_core.group, identifiers: {{name: a}}, attrs: {{parents: [{secret}]}}}}"),
        format!("{{model: authentik_core.group, identifiers: {{name: a}}, state: {secret}}}"),
        format!("{{model: {secret}, identifiers: {{name: a}}}}"),
        format!("{{model: authentik_core.group, identifiers: {{name: !Find [{secret}, [name, a]]}}}}"),
        format!(
            "{{model: authentik_core.application, identifiers: {{slug: !Format ['%s!', {secret}]}}, attrs: {{name: a, provider: {secret}}}}}"
        ),
    ] {
        let refused = refused(&site, &format!("  - {entry}\n")).await;
        assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
    }
}

/// CO-730: a password that cannot be one undoes the optional part that it stands in, and nothing else.
#[tokio::test]
async fn co_730_a_bad_password_undoes_its_part() {
    let site = Site::new().await;
    let user = |name: &str, password: &str| {
        format!(
            "  - {{model: authentik_core.user, identifiers: {{username: {name}}}, attrs: {{name: A, password: {}}}}}\n",
            json!(password)
        )
    };
    let long = "x".repeat(10_000);
    let undone = format!(
        "{}  - {{model: authentik_core.group, identifiers: {{name: odd}}, attrs: {{no: 1}}}}\n",
        user("undone", "")
    );
    let all = [("empty", user("empty", "")), ("long", user("long", &long)), ("undone", undone)];
    let kept: String = all.iter().map(|(name, entries)| instance(name, &document(entries))).collect();
    applied(&site, &kept).await;
    for (name, _) in &all {
        applied(&site, &format!("{}{}", leads_to(name, false), user("kept", "a password for tests"))).await;
        assert_eq!(count(&site, &format!("/core/users/?username={name}")).await, 0, "{name}");
        let status = only(&site, &format!("/managed/blueprints/?name={name}")).await["status"].clone();
        assert_eq!(status, json!("error"), "{name}");
    }
    assert_eq!(count(&site, "/core/users/?username=kept").await, 1);
    let refused = refused(&site, &leads_to("empty", true)).await;
    assert_eq!(refused.field.as_deref(), Some("password"), "{refused}");
}

/// CO-722: a relation among identifiers that names nothing is an error, not a match with whatever names nothing.
#[tokio::test]
async fn co_722_what_was_not_found_matches_nothing() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    site.application("wiki", &provider).await;
    let staff = "  - {model: authentik_core.group, id: staff, identifiers: {name: staff}}\n";
    let app = "target: !Find [authentik_core.application, [slug, wiki]], order: 0";
    applied(
        &site,
        &format!(
            "{staff}  - {{model: authentik_policies.policybinding, identifiers: {{{app}, group: !KeyOf staff}}}}\n"
        ),
    )
    .await;
    for field in ["policy", "user"] {
        let entry = format!(
            "{staff}  - {{model: authentik_policies.policybinding, state: absent, identifiers: {{{app}, {field}: \
             !Find [authentik_core.user, [username, nobody]]}}}}\n"
        );
        let refused = refused(&site, &entry).await;
        assert_eq!((refused.entry, refused.field.as_deref()), (Some(2), Some(field)), "{refused}");
    }
    assert_eq!(count(&site, "/policies/bindings/").await, 1);
}

/// CO-730, CO-733: a blueprint leads to one of a file in the folder.
#[tokio::test]
async fn co_730_a_file_is_led_to() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("one.yaml"),
        document("  - {model: authentik_core.group, identifiers: {name: filed}}\n"),
    )
    .unwrap();
    let site = Site::reaching(Reach::new(Some(folder.path().to_owned()), [])).await;
    let by_itself = "  - {model: authentik_blueprints.blueprintinstance, identifiers: {name: one}, attrs: {enabled: false, path: one.yaml}}\n";
    applied(&site, &format!("{by_itself}{}", leads_to("one", true))).await;
    assert_eq!(count(&site, "/core/groups/?name=filed").await, 1);
    std::fs::remove_file(folder.path().join("one.yaml")).unwrap();
    let missing = refused(&site, &leads_to("one", true)).await;
    assert_eq!(missing.message, "There is no file 'one.yaml' in the folder of blueprints.");
}

/// CO-722: of many objects each entry finds its own, whether by key, by name or one step further; applying again changes
/// nothing.
#[tokio::test]
async fn co_722_each_entry_finds_its_own() {
    let site = Site::new().await;
    for name in ["wiki", "mail"] {
        let provider = site.provider(name).await["pk"].clone();
        site.application(name, &provider).await;
    }
    let mut all = "  - {model: authentik_core.group, id: staff, identifiers: {name: staff}}\n".to_owned();
    for order in 0..20 {
        for name in ["wiki", "mail"] {
            let _ = writeln!(
                all,
                "  - {{model: authentik_policies.policybinding, identifiers: {{order: {order}, target: \
                 !Find [authentik_core.application, [slug, {name}]], group: !KeyOf staff}}}}\n  \
                 - {{model: authentik_core.applicationentitlement, identifiers: {{name: right-{order}, app: \
                 !Find [authentik_core.application, [provider__name, {name}]]}}}}"
            );
        }
    }
    applied(&site, &all).await;
    let again = applied(&site, &all).await;
    assert!(again.log.iter().all(|line| line.event.ends_with("is as it should be")), "{:?}", again.log);
    assert_eq!(count(&site, "/policies/bindings/").await, 40);
    let disabled = "  - {model: authentik_policies.policybinding, identifiers: {order: 3, target__slug: mail}, \
                    attrs: {enabled: false}}\n";
    applied(&site, disabled).await;
    let found = only(&site, "/policies/bindings/?enabled=false").await;
    assert_eq!(found["order"], json!(3));
    let mail = site.get("/core/applications/mail/").await["pk"].clone();
    assert_eq!(found["target"], mail);
    let of_nobody = refused(&site, &disabled.replace("slug: mail", "slug: nobody")).await;
    assert_eq!(of_nobody.field.as_deref(), Some("target__slug"), "{of_nobody}");
}
