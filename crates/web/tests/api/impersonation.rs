//! Acting as somebody else (CO-388).

use authentik_client::models;
use http::Method;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const IMPERSONATE: &str = "authentik_core.impersonate";
const END: &str = "/core/users/impersonate_end/";

/// A site with the administrator and the user Ada, and the administrator's cookie.
async fn site() -> (Site, i64, i64, String) {
    let site = Site::new().await;
    let root = site.get("/core/users/me/").await["user"]["pk"].as_i64().unwrap();
    let (ada, _) = site.user("ada").await;
    let (cookie, _) = site.sign_in(root, "browser").await;
    (site, root, ada, cookie)
}

/// How an attempt to act as somebody is answered, and the cookie that the browser has then.
async fn attempt(site: &Site, cookie: &str, user: i64, body: Value) -> (u16, Value, String) {
    let path = format!("/core/users/{user}/impersonate/");
    let (status, body, cookie) = site.browser(cookie, Method::POST, &path, Some(body)).await;
    (status.as_u16(), body, cookie)
}

async fn act(site: &Site, cookie: &str, user: i64) -> String {
    let (status, body, cookie) = attempt(site, cookie, user, json!({"reason": "support"})).await;
    assert_eq!(status, 204, "{body}");
    cookie
}

/// Who a cookie signs in, and who acts as them.
async fn who(site: &Site, cookie: &str) -> Option<(Value, Value)> {
    let (status, me) = site.with(&[("cookie", cookie)], Method::GET, "/core/users/me/").await;
    if status != 200 {
        return None;
    }
    let _: models::SessionUser = serde_json::from_value(me.clone()).unwrap();
    Some((me["user"]["username"].clone(), me["original"]["username"].clone()))
}

async fn latest(site: &Site, action: &str) -> Value {
    site.get(&format!("/events/events/?action={action}")).await["results"][0].clone()
}

/// CO-545, CO-388, CO-384: who acts as somebody else gets another session and finds the first one again at the end; each
/// time the cookie before opens nothing any more, and the events name both.
#[tokio::test]
async fn co_545_it_begins_and_ends() {
    let (site, _, ada, first) = site().await;
    let acting = act(&site, &first, ada).await;
    assert_ne!(acting, first);
    assert_eq!(who(&site, &first).await, None);
    assert_eq!(who(&site, &acting).await, Some((json!("ada"), json!("akadmin"))));
    let (_, me) = site.with(&[("cookie", &acting)], Method::GET, "/core/users/me/").await;
    let current = (&me["user"]["is_current"], &me["users"][0]["is_current"], &me["original"]["is_current"]);
    assert_eq!(current, (&json!(true), &json!(true), &json!(false)));
    assert_eq!((&me["user"]["is_superuser"], &me["original"]["is_superuser"]), (&json!(false), &json!(true)));
    let started = latest(&site, "impersonation_started").await;
    assert_eq!((&started["user"]["username"], &started["context"]["reason"]), (&json!("akadmin"), &json!("support")));
    assert_eq!(started["user"]["on_behalf_of"]["username"], "ada");

    let (status, _, last) = site.browser(&acting, Method::GET, END, None).await;
    assert_eq!(status, 204);
    assert_eq!(who(&site, &acting).await, None);
    assert_eq!(who(&site, &last).await, Some((json!("akadmin"), Value::Null)));
    let ended = latest(&site, "impersonation_ended").await;
    let names = (&ended["user"]["username"], &ended["user"]["on_behalf_of"]["username"]);
    assert_eq!(names, (&json!("akadmin"), &json!("ada")));
    let (status, _, same) = site.browser(&last, Method::GET, END, None).await;
    assert_eq!((status.as_u16(), same), (204, last));
}

/// CO-388, CO-545: without a reason it is refused, unless the settings need none; where nobody may, nobody may, and
/// clients are told (CO-592).
#[tokio::test]
async fn co_545_reasons_and_settings() {
    let (site, _, ada, cookie) = site().await;
    for body in [json!({}), json!({"reason": ""}), json!({"reason": "  "})] {
        let (status, problems, _) = attempt(&site, &cookie, ada, body).await;
        assert_eq!((status, problems["reason"].is_array()), (400, true), "{problems}");
    }
    site.patch("/admin/settings/", json!({"impersonation": false})).await;
    assert_eq!(site.get("/root/config/").await["capabilities"], json!([]));
    assert_eq!(attempt(&site, &cookie, ada, json!({"reason": "x"})).await.0, 403);
    site.patch("/admin/settings/", json!({"impersonation": true, "impersonation_require_reason": false})).await;
    assert_eq!(site.get("/root/config/").await["capabilities"], json!(["can_impersonate"]));
    let (status, _, acting) = attempt(&site, &cookie, ada, json!({})).await;
    assert_eq!(status, 204);
    assert!(who(&site, &acting).await.is_some());
    site.patch("/admin/settings/", json!({"impersonation": false})).await;
    assert_eq!(who(&site, &acting).await, None);
}

/// CO-388, CO-836, CO-705: never oneself, nobody inactive, no service account, nobody who may do more; never with a
/// token, never without the right, and never twice over.
#[tokio::test]
async fn co_836_whom_nobody_can_act_as() {
    let (site, root, ada, cookie) = site().await;
    let reason = || json!({"reason": "support"});
    let (gone, _) = site.user("gone").await;
    site.patch(&format!("/core/users/{gone}/"), json!({"is_active": false})).await;
    let bot = site.post("/core/users/", json!({"username": "bot", "name": "", "type": "service_account"})).await;
    for (user, expected) in [(root, 400), (gone, 400), (bot["pk"].as_i64().unwrap(), 400), (4711, 404)] {
        let (status, body, same) = attempt(&site, &cookie, user, reason()).await;
        assert_eq!((status, &same), (expected, &cookie), "{user}: {body}");
    }
    let path = |user| format!("/core/users/{user}/impersonate/");
    assert_eq!(site.status(ADMIN, Method::POST, &path(ada), Some(reason())).await, 403);
    assert!(site.events("impersonation_started").await.is_empty());

    let (helper, _) = site.user_with("helper", &[(IMPERSONATE, None), ("authentik_core.view_user", None)]).await;
    let (nobody, _) = site.user("nobody").await;
    let (keeper, _) = site.user_with("keeper", &[("authentik_core.view_group", None)]).await;
    let (helps, _) = site.sign_in(helper, "").await;
    let (does_not, _) = site.sign_in(nobody, "").await;
    assert_eq!(attempt(&site, &helps, root, reason()).await.0, 400);
    assert_eq!(attempt(&site, &helps, keeper, reason()).await.0, 400);
    assert_eq!(attempt(&site, &does_not, ada, reason()).await.0, 403);
    let acting = act(&site, &helps, ada).await;
    assert_eq!(who(&site, &acting).await, Some((json!("ada"), json!("helper"))));

    let acting = act(&site, &cookie, helper).await;
    assert_eq!(attempt(&site, &acting, ada, reason()).await.0, 403);
}

/// CO-388, CO-836: what people sign in by is neither seen nor changed by who acts as them, whatever rights both have.
#[tokio::test]
async fn co_388_credentials_stay_their_own() {
    let (site, _, ada, cookie) = site().await;
    site.authenticator_app(ada).await;
    let group = site.get("/core/groups/?is_superuser=true").await["results"][0]["pk"].as_str().unwrap().to_owned();
    let added =
        site.send(ADMIN, Method::POST, &format!("/core/groups/{group}/add_user/"), Some(json!({"pk": ada}))).await;
    assert_eq!(added.0, 204, "{}", added.1);
    let acting = act(&site, &cookie, ada).await;
    let token = "/core/tokens/ada-token/";
    for (method, path, body) in [
        (Method::GET, "/core/tokens/".to_owned(), None),
        (Method::GET, token.to_owned(), None),
        (Method::GET, format!("{token}view_key/"), None),
        (Method::POST, format!("{token}set_key/"), Some(json!({"key": "a-key-of-my-own-0123456789"}))),
        (Method::PATCH, token.to_owned(), Some(json!({"description": "x"}))),
        (Method::DELETE, token.to_owned(), None),
        (Method::POST, "/core/tokens/".to_owned(), Some(json!({"identifier": "x", "intent": "app_password"}))),
        (Method::POST, "/core/tokens/".to_owned(), Some(json!({"identifier": "x", "intent": "api"}))),
        (Method::GET, "/authenticators/all/".to_owned(), None),
        (Method::GET, format!("/authenticators/admin/all/?user={ada}"), None),
        (Method::DELETE, "/authenticators/admin/totp/1/".to_owned(), None),
        (Method::DELETE, "/authenticators/admin/webauthn/1/".to_owned(), None),
        (Method::GET, "/authenticators/webauthn/".to_owned(), None),
        (Method::GET, "/authenticators/webauthn/1/".to_owned(), None),
        (Method::PATCH, "/authenticators/webauthn/1/".to_owned(), Some(json!({"name": "x"}))),
        (Method::DELETE, "/authenticators/webauthn/1/".to_owned(), None),
        (Method::POST, format!("/core/users/{ada}/set_password/"), Some(json!({"password": "a password of mine"}))),
        (Method::POST, format!("/core/users/{ada}/recovery/"), None),
    ] {
        let (status, answer, _) = site.browser(&acting, method.clone(), &path, body).await;
        assert_eq!(status, 403, "{method} {path}: {answer}");
    }
    let attributes = json!({"attributes": {"app_password": "s3cret", "phone": "1"}});
    let changed = site.patch(&format!("/core/users/{ada}/"), attributes).await;
    assert_eq!(changed["attributes"]["app_password"], "s3cret");
    let (_, seen, _) = site.browser(&acting, Method::GET, &format!("/core/users/{ada}/"), None).await;
    assert_eq!((&seen["attributes"]["app_password"], &seen["attributes"]["phone"]), (&json!("********"), &json!("1")));
    let groups = site.browser(&acting, Method::GET, "/core/groups/", None).await;
    assert_eq!(groups.0, 200, "{}", groups.1);
    for flow in [
        "password-change",
        "user-settings-flow",
        "authenticator-totp-setup",
        "authenticator-static-setup",
        "authenticator-webauthn-setup",
    ] {
        let path = format!("/flows/executor/default-{flow}/?query=");
        let (status, asked, _) = site.browser(&acting, Method::GET, &path, None).await;
        assert_eq!((status.as_u16(), &asked["component"]), (200, &json!("ak-stage-access-denied")), "{flow}: {asked}");
    }
    let devices = site.get(&format!("/authenticators/admin/all/?user={ada}")).await;
    assert_eq!(devices.as_array().unwrap().len(), 1);
    assert!(site.events("secret_view").await.iter().all(|event| event["type"] != "recovery_link"));
}

/// CO-388, CO-410: what is done meanwhile is recorded as done by who acts, on behalf of whom they act as; once the latter
/// is deleted, not even that names them (CO-818).
#[tokio::test]
async fn co_388_events_name_who_acts() {
    let (site, root, _, cookie) = site().await;
    let (helper, _) =
        site.user_with("helper", &[("authentik_core.add_group", None), ("authentik_core.view_group", None)]).await;
    let acting = act(&site, &cookie, helper).await;
    let (status, made, _) = site.browser(&acting, Method::POST, "/core/groups/", Some(json!({"name": "staff"}))).await;
    assert_eq!(status, 201, "{made}");
    let by = async || latest(&site, "model_created&username=akadmin").await["user"].clone();
    let user = by().await;
    assert_eq!((&user["pk"], &user["username"]), (&json!(root), &json!("akadmin")));
    assert_eq!((&user["on_behalf_of"]["pk"], &user["on_behalf_of"]["username"]), (&json!(helper), &json!("helper")));
    site.delete(&format!("/core/users/{helper}/")).await;
    let name = by().await["on_behalf_of"]["username"].as_str().unwrap().to_owned();
    assert!(name.starts_with("deleted-"), "{name}");
}

/// CO-388: it ends by itself after 60 minutes, used or not, and that is recorded.
#[tokio::test]
async fn co_388_it_ends_after_an_hour() {
    let (site, _, ada, cookie) = site().await;
    let acting = act(&site, &cookie, ada).await;
    site.clock.advance_seconds(59 * 60);
    assert!(who(&site, &acting).await.is_some());
    site.clock.advance_seconds(60);
    assert_eq!(who(&site, &acting).await, None);
    assert_eq!(who(&site, &cookie).await, None);
    assert!(site.events("impersonation_ended").await.is_empty());
    portcullis_idp::sessions::sweep(&site.ctx).await.unwrap();
    assert_eq!(latest(&site, "impersonation_ended").await["user"]["on_behalf_of"]["username"], "ada");
    assert_eq!(site.get("/core/authenticated_sessions/").await["results"], json!([]));
}

/// CO-388: it ends at once with the right to it, with either of the two users, and with the session it came from.
#[tokio::test]
async fn co_388_it_ends_with_what_it_rests_on() {
    let site = Site::new().await;
    let rights = [(IMPERSONATE, None), ("authentik_core.view_user", None)];
    for (n, what) in ["right", "impersonator", "user", "rank", "first session", "second session"].iter().enumerate() {
        let (ada, _) = site.user(&format!("ada-{n}")).await;
        let (helper, _) = site.user_with(&format!("helper-{n}"), &rights).await;
        let (cookie, first) = site.sign_in(helper, "").await;
        let acting = act(&site, &cookie, ada).await;
        assert!(who(&site, &acting).await.is_some(), "{what}");
        let (ada_path, helper_path) = (format!("/core/users/{ada}/"), format!("/core/users/{helper}/"));
        match *what {
            "right" => drop(site.patch(&helper_path, json!({"roles": []})).await),
            "impersonator" => drop(site.patch(&helper_path, json!({"is_active": false})).await),
            "user" => drop(site.patch(&ada_path, json!({"is_active": false})).await),
            "rank" => {
                let role = site.role("rank", &[("authentik_core.view_group", None)]).await;
                site.patch(&ada_path, json!({"roles": [role]})).await;
            }
            "first session" => site.delete(&format!("/core/authenticated_sessions/{first}/")).await,
            _ => {
                let path = format!("/core/authenticated_sessions/bulk_delete/?user_pks={ada}");
                assert_eq!(site.send(ADMIN, Method::DELETE, &path, None).await.0, 200);
            }
        }
        assert_eq!(who(&site, &acting).await, None, "{what}");
        let left = site.get("/core/authenticated_sessions/").await;
        assert_eq!(left["results"], json!([]), "{what}: nothing of it is left");
        assert_eq!(site.events("impersonation_ended").await.len(), n + 1, "{what}");
    }
}

/// CO-387: another site cannot end it, although that is a GET.
#[tokio::test]
async fn co_387_another_site_cannot_end_it() {
    let (site, _, ada, cookie) = site().await;
    let acting = act(&site, &cookie, ada).await;
    for header in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(site.with(&[("cookie", &acting), header], Method::GET, END).await.0, 403);
    }
    assert!(who(&site, &acting).await.is_some());
}
