//! Those who forgot their password.

use portcullis_idp::{Change, roles};

use super::*;

pub(super) async fn offer(site: &Site) {
    let mut conn = site.ctx.db.read().await.expect("reads");
    let flow = portcullis_store::flow::by_slug(&mut conn, flows::RECOVERY).await.expect("reads").expect("is there");
    let brand = portcullis_idp::brands::of_host(&mut conn, "id.example").await.expect("reads");
    drop(conn);
    let path = format!("/core/brands/{}/", brand.pk);
    let set = site.admin(Method::PATCH, &path, json!({"flow_recovery": flow.pk})).await;
    assert_eq!(set.status, 200, "{:?}", set.json);
}

async fn link(site: &Site, user: i64) -> String {
    let made = site.admin(Method::POST, &format!("/core/users/{user}/recovery/"), json!({})).await;
    assert_eq!(made.status, 200, "{:?}", made.json);
    let link = made.json["link"].as_str().expect("a link").to_owned();
    let query = link.strip_prefix("http://id.example/if/flow/default-recovery-flow/?").expect("CO-506");
    query.to_owned()
}

pub(super) const NEW: &str = "a brand new password";

/// CO-324, CO-544: a link opens the flow after a yes, once, and leads to a new password and a session.
#[tokio::test]
async fn co_324_a_link_leads_to_a_new_password_once() {
    let (site, ada) = with_ada().await;
    let path = format!("/core/users/{ada}/recovery/");
    let without = site.admin(Method::POST, &path, json!({})).await;
    assert_eq!((without.status.as_u16(), without.json), (400, json!({"non_field_errors": ["No recovery flow set."]})));
    offer(&site).await;
    let key = site.api_key(ada, "ada-api").await;
    assert_eq!(site.bearer(&key, Method::POST, &path, json!({})).await.status, 403);
    for bad in ["days=8", "soon", "seconds=0"] {
        assert_eq!(site.admin(Method::POST, &path, json!({"token_duration": bad})).await.status, 400, "{bad}");
    }
    let none = site.admin(Method::POST, &path, json!({"token_duration": "seconds=0"})).await;
    assert!(none.json["token_duration"][0].as_str().expect("text").contains("seconds=1 at least"), "{:?}", none.json);
    let query = link(&site, ada).await;
    let token = query.strip_prefix("flow_token=").expect("a token");
    assert!(!site.file_bytes().windows(token.len()).any(|bytes| bytes == token.as_bytes()), "digest only");
    let slug = flows::RECOVERY;
    for _ in 0..3 {
        // Scanners look, and say nothing.
        assert_eq!(Client::new().show(&site, slug, &query).await["component"], "ak-stage-consent");
    }
    let mut client = Client::new();
    let asked = client.show(&site, slug, &query).await;
    assert_eq!(errors(&client.answer(&site, slug, &query, json!({"token": "guessed"})).await), ["token"]);
    let asked = client.answer(&site, slug, &query, json!({"token": asked["token"]})).await;
    assert_eq!(asked["component"], "ak-stage-prompt", "{asked}");
    let keys: Vec<_> =
        asked["fields"].as_array().expect("a list").iter().map(|field| field["field_key"].clone()).collect();
    assert_eq!(keys, ["password", "password_repeat"]);
    assert_eq!(Client::new().show(&site, slug, &query).await["component"], "ak-stage-consent", "not used up yet");
    let short = client.answer(&site, slug, &query, json!({"password": "short", "password_repeat": "short"})).await;
    assert_eq!(errors(&short), ["password"], "CO-326, CO-827");
    let differ = client.answer(&site, slug, &query, json!({"password": NEW, "password_repeat": PASSWORD})).await;
    assert_eq!(errors(&differ), ["password_repeat"]);
    let done = client.answer(&site, slug, &query, json!({"password": NEW, "password_repeat": NEW})).await;
    assert_eq!(done["component"], "xak-flow-redirect", "{done}");
    assert_eq!(client.whoami(&site).await, 200);
    let used = Client::new().show(&site, slug, &query).await;
    assert_eq!(used["component"], "ak-stage-access-denied");
    assert!(used["error_message"].as_str().expect("text").contains("it was used"), "{used}");
    assert_eq!(Client::new().sign_in(&site, "ada", NEW).await["component"], "xak-flow-redirect");
}

/// CO-324: a link ends after half an hour, with a change of the password, and with the user.
#[tokio::test]
async fn co_324_a_link_dies_with_the_password() {
    let (site, ada) = with_ada().await;
    offer(&site).await;
    let opens =
        async |query: &str| Client::new().show(&site, flows::RECOVERY, query).await["component"] == "ak-stage-consent";
    let query = link(&site, ada).await;
    site.clock.advance_seconds(1799);
    assert!(opens(&query).await);
    site.clock.advance_seconds(1);
    assert!(!opens(&query).await);
    let query = link(&site, ada).await;
    assert!(opens(&query).await);
    site.clock.advance_seconds(1);
    set_password(&site, ada, PASSWORD).await;
    assert!(!opens(&query).await);
    let query = link(&site, ada).await;
    // Also when it was opened already.
    let mut client = Client::new();
    let asked = client.show(&site, flows::RECOVERY, &query).await;
    client.answer(&site, flows::RECOVERY, &query, json!({"token": asked["token"]})).await;
    site.clock.advance_seconds(1);
    set_password(&site, ada, PASSWORD).await;
    let late = client.answer(&site, flows::RECOVERY, &query, json!({"password": NEW, "password_repeat": NEW})).await;
    assert_eq!(late["component"], "ak-stage-access-denied");
    let query = link(&site, ada).await;
    site.admin(Method::PATCH, &format!("/core/users/{ada}/"), json!({"is_active": false})).await;
    assert!(!opens(&query).await, "CO-037");
    assert!(!opens("flow_token=nonsense").await);
}

/// Opens a link and says yes: what is asked then.
async fn opened(client: &mut Client, site: &Site, query: &str) -> Value {
    let asked = client.show(site, flows::RECOVERY, query).await;
    client.answer(site, flows::RECOVERY, query, json!({"token": asked["token"]})).await
}

/// CO-324: of two browsers that open one link one chooses a password, also at the same time, and the other is told that the
/// link is not good any more.
#[tokio::test]
async fn co_324_of_two_that_open_a_link_one_chooses() {
    let (site, ada) = with_ada().await;
    offer(&site).await;
    let query = link(&site, ada).await;
    let (mut one, mut other, mut third) = (Client::new(), Client::new(), Client::new());
    for client in [&mut one, &mut other, &mut third] {
        assert_eq!(opened(client, &site, &query).await["component"], "ak-stage-prompt");
    }
    site.clock.advance_seconds(1);
    let password = |text: &str| json!({"password": text, "password_repeat": text});
    let (first, second) = tokio::join!(
        one.answer(&site, flows::RECOVERY, &query, password(NEW)),
        other.answer(&site, flows::RECOVERY, &query, password("another new password"))
    );
    let (lost, kept) = match first["component"] == "xak-flow-redirect" {
        true => (second, NEW),
        false => (first, "another new password"),
    };
    assert_eq!(lost["component"], "ak-stage-access-denied", "{lost}");
    assert!(lost["error_message"].as_str().expect("text").contains("it was used"), "{lost}");
    let late = third.show(&site, flows::RECOVERY, &query).await;
    assert_eq!(
        (&late["component"], &late["error_message"]),
        (&json!("ak-stage-access-denied"), &lost["error_message"])
    );
    assert_eq!(site.events("password_set").await.0, 2, "with_ada, and once");
    assert_eq!(Client::new().sign_in(&site, "ada", kept).await["component"], "xak-flow-redirect");
}

/// CO-324: who is refused on the way leaves the link as it was; a yes that is said twice is asked for once more.
#[tokio::test]
async fn co_324_a_refused_attempt_leaves_the_link() {
    let (site, ada) = with_ada().await;
    offer(&site).await;
    let query = link(&site, ada).await;
    tune(&site, stages::VALIDATION, json!({"not_configured_action": "deny"})).await;
    assert_eq!(opened(&mut Client::new(), &site, &query).await["component"], "ak-stage-access-denied");
    tune(&site, stages::VALIDATION, json!({"not_configured_action": "skip"})).await;
    let mut client = Client::new();
    let asked = client.show(&site, flows::RECOVERY, &query).await;
    let (mut again, yes) =
        (Client { cookies: client.cookies.clone(), ..Client::new() }, json!({"token": asked["token"]}));
    let (first, second) = tokio::join!(
        client.answer(&site, flows::RECOVERY, &query, yes.clone()),
        again.answer(&site, flows::RECOVERY, &query, yes)
    );
    let mut asked = [&first["component"], &second["component"]].map(|component| component.as_str().expect("text"));
    asked.sort_unstable();
    assert_eq!(asked, ["ak-stage-consent", "ak-stage-prompt"]);
    let password = json!({"password": NEW, "password_repeat": NEW});
    let mut heeded = if first["component"] == "ak-stage-consent" { client } else { again };
    assert_eq!(opened(&mut heeded, &site, &query).await["component"], "ak-stage-prompt");
    let done = heeded.answer(&site, flows::RECOVERY, &query, password).await;
    assert_eq!(done["component"], "xak-flow-redirect", "{done}");
}

/// CO-324: the time of a link is over for those as well who have opened it.
#[tokio::test]
async fn co_324_an_opened_link_ends_in_time() {
    let (site, ada) = with_ada().await;
    offer(&site).await;
    let query = link(&site, ada).await;
    let mut client = Client::new();
    assert_eq!(opened(&mut client, &site, &query).await["component"], "ak-stage-prompt");
    site.clock.advance_seconds(1800);
    let late = client.answer(&site, flows::RECOVERY, &query, json!({"password": NEW, "password_repeat": NEW})).await;
    assert_eq!(late["component"], "ak-stage-access-denied", "{late}");
    assert_eq!(Client::new().sign_in(&site, "ada", PASSWORD).await["component"], "xak-flow-redirect");
}

/// CO-324, CO-327: a link ends with the address that it may have been sent to; other changes leave it.
#[tokio::test]
async fn co_324_a_link_dies_with_the_address() {
    let (site, ada) = with_ada().await;
    offer(&site).await;
    let opens =
        async |query: &str| Client::new().show(&site, flows::RECOVERY, query).await["component"] == "ak-stage-consent";
    let change = async |body: Value| {
        assert_eq!(site.admin(Method::PATCH, &format!("/core/users/{ada}/"), body).await.status, 200);
    };
    change(json!({"email": "ada@example.org"})).await;
    let query = link(&site, ada).await;
    let other = link(&site, site.user("other").await).await;
    change(json!({"email": "ada@example.org", "name": "Ada"})).await;
    assert!(opens(&query).await);
    change(json!({"email": "new@example.org"})).await;
    assert!(!opens(&query).await);
    change(json!({"email": "ada@example.org"})).await;
    assert!(!opens(&query).await, "for good");
    assert!(opens(&other).await, "somebody else's");
}

/// CO-705, CO-544: a link opens nothing any more once its user may do more than whoever made it, also when it was opened
/// already; a superuser's goes on.
#[tokio::test]
async fn co_705_a_link_does_not_outlive_a_promotion() {
    let (site, ada) = with_ada().await;
    offer(&site).await;
    let bob = site.user("bob").await;
    let key = site.api_key(bob, "bob-api").await;
    let system = Actor::system();
    let mut change = Change::begin(&site.ctx, &system).await.expect("begins");
    let desk = roles::Fields { name: Some("Help desk".to_owned()) };
    let desk = roles::create_in(&site.ctx, &mut change, desk).await.expect("a role");
    for right in ["authentik_core.view_user", "authentik_core.reset_user_password"] {
        roles::grant_in(&mut change, desk, right, None).await.expect("granted");
    }
    change.commit().await.expect("commits");
    let set = async |user: i64, body: Value| {
        assert_eq!(site.admin(Method::PATCH, &format!("/core/users/{user}/"), body).await.status, 200);
    };
    set(bob, json!({"roles": [desk]})).await;
    let drawn = async || {
        let made = site.bearer(&key, Method::POST, &format!("/core/users/{ada}/recovery/"), json!({})).await;
        let link = made.json["link"].as_str().expect("a link");
        link.split_once('?').expect("a query").1.to_owned()
    };
    let slug = flows::RECOVERY;
    let opens = async |query: &str| Client::new().show(&site, slug, query).await["component"] == "ak-stage-consent";
    let (query, opened, ours) = (drawn().await, drawn().await, link(&site, ada).await);
    let mut early = Client::new();
    let asked = early.show(&site, slug, &opened).await;
    early.answer(&site, slug, &opened, json!({"token": asked["token"]})).await;
    let mut late = Client::new();
    let question = late.show(&site, slug, &query).await;
    assert!(opens(&query).await && opens(&ours).await);
    let admins = site.admin(Method::GET, "/core/groups/?is_superuser=true", None).await;
    set(ada, json!({"groups": [admins.json["results"][0]["pk"]]})).await;
    assert!(!opens(&query).await && opens(&ours).await);
    let password = json!({"password": NEW, "password_repeat": NEW});
    assert_eq!(early.answer(&site, slug, &opened, password).await["component"], "ak-stage-access-denied");
    let yes = json!({"token": question["token"]});
    assert_eq!(late.answer(&site, slug, &query, yes).await["component"], "ak-stage-access-denied");
}

/// CO-324, CO-827: a link is no way around the second factor.
#[tokio::test]
async fn co_324_recovery_asks_for_the_second_factor() {
    let (site, ada) = with_ada().await;
    offer(&site).await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let seed = client.enrol(&site).await;
    let query = link(&site, ada).await;
    let mut client = Client::new();
    let asked = client.show(&site, flows::RECOVERY, &query).await;
    let asked = client.answer(&site, flows::RECOVERY, &query, json!({"token": asked["token"]})).await;
    assert_eq!(asked["component"], "ak-stage-authenticator-validate");
    let skipped = client.answer(&site, flows::RECOVERY, &query, json!({"password": NEW, "password_repeat": NEW})).await;
    assert_eq!((&skipped["component"], errors(&skipped)), (&asked["component"], vec!["code"]));
    let code = next_code(&site, &seed);
    let asked = client.answer(&site, flows::RECOVERY, &query, json!({"code": code})).await;
    assert_eq!(asked["component"], "ak-stage-prompt");
    let done = client.answer(&site, flows::RECOVERY, &query, json!({"password": NEW, "password_repeat": NEW})).await;
    assert_eq!(done["component"], "xak-flow-redirect");
}

/// CO-314, CO-324: where nobody comes in without a second factor, a link is no way around that either.
#[tokio::test]
async fn co_324_recovery_follows_the_rule_on_second_factors() {
    let (site, ada) = with_ada().await;
    offer(&site).await;
    for (action, asked) in [("deny", "ak-stage-access-denied"), ("configure", "ak-stage-authenticator-totp")] {
        let setups = [stages::TOTP_SETUP];
        let rule = json!({"not_configured_action": action, "configuration_stages": setups});
        tune(&site, stages::VALIDATION, rule).await;
        let query = link(&site, ada).await;
        let mut client = Client::new();
        let question = client.show(&site, flows::RECOVERY, &query).await;
        let next = client.answer(&site, flows::RECOVERY, &query, json!({"token": question["token"]})).await;
        assert_eq!(next["component"], asked, "{next}");
    }
}

/// CO-324, CO-325: who asks for a link sees the same whether or not there is such a user, and a mail.
#[tokio::test]
async fn co_324_asking_for_a_link_tells_nothing() {
    let (site, _) = with_ada().await;
    offer(&site).await;
    let mut seen = Vec::new();
    for name in ["ada", "nobody"] {
        let mut client = Client::new();
        assert_eq!(client.show(&site, SIGN_IN, "").await["recovery_url"], "/if/flow/default-recovery-flow/");
        assert_eq!(client.show(&site, flows::RECOVERY, "").await["component"], "ak-stage-identification");
        seen.push(client.answer(&site, flows::RECOVERY, "", json!({"uid_field": name})).await);
    }
    assert_eq!(seen[0]["component"], "ak-stage-email");
    assert_eq!(seen[0], seen[1]);
}
