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

/// CO-818: attempts under names that a deleted user had before go with them, also those since; but those that have been about
/// whoever took such a name stay.
#[tokio::test]
async fn co_818_attempts_under_earlier_names_are_forgotten() {
    let (site, _) = with_ada().await;
    let body = json!({"username": "bob", "name": "x", "email": "bob@secret.example"});
    let bob = site.admin(Method::POST, "/core/users/", body).await.json["pk"].as_i64().expect("an integer");
    let path = format!("/core/users/{bob}/");
    let fail = async |typed: &str| {
        site.clock.advance_seconds(1);
        Client::new().sign_in(&site, typed, "wrong").await;
    };
    fail("Bob").await;
    fail("bob@secret.example").await;
    site.clock.advance_seconds(1);
    let renamed = json!({"username": "rob", "email": "rob@secret.example"});
    assert_eq!(site.admin(Method::PATCH, &path, renamed).await.status, 200);
    fail("BOB").await;
    let eve = json!({"username": "eve", "name": "x", "email": "Bob@secret.example"});
    assert_eq!(site.admin(Method::POST, "/core/users/", eve).await.status, 201);
    fail("bob@SECRET.example").await;
    fail("robert").await;
    assert_eq!(site.admin(Method::DELETE, &path, None).await.status, 204);
    let mut conn = site.ctx.db.read().await.expect("reads");
    let failed = portcullis_store::event::latest(&mut conn, Some("login_failed"), 100).await.expect("events");
    let typed: Vec<_> = failed.iter().map(|event| event.context["username"].as_str().expect("text")).collect();
    assert_eq!(typed[..2], ["robert", "bob@SECRET.example"], "others are meant");
    assert!(typed[2].starts_with("deleted-") && typed[3..] == [typed[2]; 2], "{typed:?}");
    assert!(failed[..2].iter().all(|event| event.client_ip.is_some()));
    assert!(failed[2..].iter().all(|event| event.client_ip.is_none()));
}
