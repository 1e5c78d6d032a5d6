//! What events say of those who signed in, once they are deleted.

use super::*;

/// CO-818: what a deleted user typed to sign in, and what others typed to sign in as them, is gone in whatever form it
/// was, and from where; attempts to sign in as others stay.
#[tokio::test]
async fn co_818_what_was_typed_is_forgotten() {
    let (site, _) = with_ada().await;
    let body = json!({"username": "Bob", "name": "Robert", "email": "bob@Secret.Example"});
    let bob = site.admin(Method::POST, "/core/users/", body).await.json["pk"].as_i64().expect("an integer");
    set_password(&site, bob, PASSWORD).await;
    for typed in ["BOB", "bob", "BOB@secret.EXAMPLE"] {
        Client::new().sign_in(&site, typed, "wrong").await;
        let mut client = Client::new();
        client.sign_in(&site, typed, PASSWORD).await;
        assert_eq!(client.whoami(&site).await, 200, "{typed}");
        assert_eq!(site.events("login").await.1["auth_method_args"]["identifier"], typed);
    }
    Client::new().sign_in(&site, "ADA", "wrong").await;
    assert_eq!(site.admin(Method::DELETE, &format!("/core/users/{bob}/"), None).await.status, 204);
    let mut conn = site.ctx.db.read().await.expect("reads");
    let events = portcullis_store::event::latest(&mut conn, None, 100).await.expect("events");
    for event in &events {
        let text = format!("{} {}", event.account, event.context).to_lowercase();
        assert!(!["bob", "robert", "secret.example"].iter().any(|name| text.contains(name)), "{text}");
    }
    let of = |action: &str| events.iter().filter(|event| event.action == action).collect::<Vec<_>>();
    let (failed, logins) = (of("login_failed"), of("login"));
    assert_eq!((failed.len(), logins.len()), (4, 3));
    assert_eq!((&failed[0].context["username"], failed[0].client_ip.is_some()), (&json!("ADA"), true));
    for event in failed.iter().skip(1).chain(&logins) {
        assert_eq!(event.client_ip, None, "{}", event.context);
    }
    let pseudonym = &logins[0].account["username"];
    assert!(pseudonym.as_str().expect("text").starts_with("deleted-"));
    assert_eq!((&failed[1].context["username"], &logins[0].account["pk"]), (pseudonym, &json!(bob)));
    assert_eq!(&logins[0].context["auth_method_args"]["identifier"], pseudonym);
}

async fn made(site: &Site, username: &str, email: &str) -> String {
    site.clock.advance_seconds(1);
    let body = json!({"username": username, "name": "x", "email": email});
    let made = site.admin(Method::POST, "/core/users/", body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    format!("/core/users/{}/", made.json["pk"])
}

async fn changed(site: &Site, path: &str, change: Value) {
    site.clock.advance_seconds(1);
    assert_eq!(site.admin(Method::PATCH, path, change).await.status, 200);
}

async fn fail(site: &Site, typed: &str) {
    site.clock.advance_seconds(1);
    Client::new().sign_in(site, typed, "wrong").await;
}

/// What was typed in failed attempts, the first one first, once somebody is deleted; what was forgotten is `-`.
async fn remembered(site: &Site, deleted: &str) -> Vec<String> {
    assert_eq!(site.admin(Method::DELETE, deleted, None).await.status, 204);
    let mut conn = site.ctx.db.read().await.expect("reads");
    let failed = portcullis_store::event::latest(&mut conn, Some("login_failed"), 100).await.expect("events");
    let typed = failed.iter().rev().map(|event| {
        let typed = event.context["username"].as_str().expect("text");
        assert_eq!(event.client_ip.is_none(), typed.starts_with("deleted-"), "{typed}");
        if typed.starts_with("deleted-") { "-" } else { typed }.to_owned()
    });
    typed.collect()
}

/// CO-818: attempts under names that a deleted user had before go with them, as long as they had them; those since stay.
#[tokio::test]
async fn co_818_attempts_under_earlier_names_are_forgotten() {
    let (site, _) = with_ada().await;
    let bob = made(&site, "bob", "bob@secret.example").await;
    fail(&site, "Bob").await;
    fail(&site, "bob@secret.example").await;
    changed(&site, &bob, json!({"username": "rob", "email": "rob@secret.example"})).await;
    fail(&site, "BOB").await;
    fail(&site, "rob").await;
    made(&site, "eve", "Bob@secret.example").await;
    fail(&site, "bob@SECRET.example").await;
    fail(&site, "robert").await;
    assert_eq!(remembered(&site, &bob).await, ["-", "-", "BOB", "-", "bob@SECRET.example", "robert"]);
}

/// CO-818: attempts from before a deleted user had a name, and after it, are about others: whoever had it then, or has it still.
#[tokio::test]
async fn co_818_attempts_about_others_stay() {
    let (site, _) = with_ada().await;
    fail(&site, "ghost").await;
    fail(&site, "spirit").await;
    let victim = made(&site, "victim", "victim@secret.example").await;
    fail(&site, "victim@secret.example").await;
    let ghost = made(&site, "ghost", "Victim@secret.example").await;
    fail(&site, "victim@secret.EXAMPLE").await;
    fail(&site, "GHOST").await;
    fail(&site, "SPIRIT").await;
    changed(&site, &ghost, json!({"username": "spirit", "email": "ghost@secret.example"})).await;
    fail(&site, "spirit").await;
    let expected = ["ghost", "spirit", "victim@secret.example", "victim@secret.EXAMPLE", "-", "SPIRIT", "-"];
    assert_eq!(remembered(&site, &ghost).await, expected);

    let bob = made(&site, "bob", "").await;
    changed(&site, &bob, json!({"username": "rob", "email": "victim@secret.example"})).await;
    fail(&site, "VICTIM@secret.example").await;
    changed(&site, &victim, json!({"username": "bob"})).await;
    fail(&site, "bob").await;
    changed(&site, &victim, json!({"username": "victim"})).await;
    assert_eq!(remembered(&site, &bob).await[7..], ["VICTIM@secret.example", "bob"]);
}
