//! What holds for the whole API, whatever the resource.

use http::Method;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

/// CO-007, CO-033: a user's `uid` is the digest of key and install id; the install id is made once, and is no key.
#[tokio::test]
async fn co_033_a_uid_is_made_of_key_and_install_id() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let shown = site.get(&format!("/core/users/{ada}/")).await;
    let text = format!("{ada}-{}", site.ctx.install_id.get());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown["uid"], json!(digest));
    assert_eq!(uuid::Uuid::parse_str(&site.ctx.install_id.get()).unwrap().get_version_num(), 4);
    let (status, _) = site.send(&site.ctx.install_id.get(), Method::GET, "/core/users/me/", None).await;
    assert_eq!(status, 403);
}

/// CO-809, CO-460: neither the secret key nor a key made from it is a bearer token.
#[tokio::test]
async fn co_809_the_secret_key_is_no_token() {
    let site = Site::new().await;
    for key in ["0123456789abcdef0123456789abcdef", "30313233343536373839616263646566"] {
        assert_eq!(site.status(key, Method::GET, "/core/users/me/", None).await, 403);
    }
}

/// CO-531: what clients of the API know and this server does not have is not there, for anybody.
#[tokio::test]
async fn co_531_what_is_not_served_is_not_there() {
    let site = Site::new().await;
    let (_, ada) = site.user("ada").await;
    for path in [
        "/providers/saml/",
        "/providers/ldap/",
        "/providers/scim/",
        "/providers/radius/",
        "/providers/rac/",
        "/rac/endpoints/",
        "/sources/ldap/",
        "/sources/saml/",
        "/stages/all/",
        "/stages/prompt/prompts/",
        "/stages/invitation/invitations/",
        "/enterprise/license/",
        "/tenants/tenants/",
        "/tasks/tasks/",
        "/policies/geoip/",
        "/outposts/service_connections/all/",
    ] {
        for key in ["", ada.as_str(), ADMIN] {
            for method in [Method::GET, Method::POST] {
                let (status, body) = site.send(key, method.clone(), path, Some(json!({}))).await;
                assert_eq!(status, 404, "{method} {path} {body}");
            }
        }
    }
}

/// CO-535: space around texts is taken away, but for what is taken as it is: passwords, keys, secrets and JSON.
#[tokio::test]
async fn co_535_texts_are_trimmed() {
    let site = Site::new().await;
    let wanted = json!({"username": " ada ", "name": "\tAda L \n", "path": " staff ", "attributes": {"a": " b "}});
    let ada = site.post("/core/users/", wanted).await;
    assert_eq!(
        json!([ada["username"], ada["name"], ada["path"], ada["attributes"]]),
        json!(["ada", "Ada L", "staff", {"a": " b "}])
    );
    let token = json!({"identifier": " ada-key ", "intent": "app_password", "user": ada["pk"]});
    assert_eq!(site.post("/core/tokens/", token).await["identifier"], json!("ada-key"));
    let key = format!(" {} ", "k".repeat(40));
    let set = json!({"key": key});
    assert_eq!(site.status(ADMIN, Method::POST, "/core/tokens/ada-key/set_key/", Some(set)).await, 204);
    assert_eq!(site.get("/core/tokens/ada-key/view_key/").await["key"], json!(key));
    let secret = json!({"client_secret": " the s3cret of the wiki, long enough ", "client_id": " wiki-id "});
    let provider = site.post("/providers/proxy/", site.provider_body("wiki", json!({})).await).await;
    let oauth2 = json!({
        "name": " client ",
        "authorization_flow": provider["authorization_flow"],
        "invalidation_flow": provider["invalidation_flow"],
        "redirect_uris": [],
        "client_id": secret["client_id"],
        "client_secret": secret["client_secret"],
    });
    let made = site.post("/providers/oauth2/", oauth2).await;
    assert_eq!(
        json!([made["name"], made["client_id"], made["client_secret"]]),
        json!(["client", "wiki-id", " the s3cret of the wiki, long enough "])
    );
}

/// CO-541: whoever is known is shown themselves, whatever they may see else.
#[tokio::test]
async fn co_541_everybody_sees_themselves() {
    let site = Site::new().await;
    let (ada, key) = site.user("ada").await;
    let (status, me) = site.send(&key, Method::GET, "/core/users/me/", None).await;
    assert_eq!((status.as_u16(), &me["user"]["pk"], &me["user"]["username"]), (200, &json!(ada), &json!("ada")));
    assert_eq!(site.status(&key, Method::GET, "/core/users/", None).await, 403);
    assert_eq!(site.status("", Method::GET, "/core/users/me/", None).await, 403);
    let by_session = site.sign_in(ada, "a browser").await.0;
    let (status, me) = site.with(&[("cookie", &by_session)], Method::GET, "/core/users/me/").await;
    assert_eq!((status.as_u16(), &me["user"]["pk"]), (200, &json!(ada)));
}

/// CO-546: the paths of users are listed once each, and searched.
#[tokio::test]
async fn co_546_paths_of_users() {
    let site = Site::new().await;
    for (name, path) in [("ada", "staff/wiki"), ("bob", "staff/wiki"), ("eve", "guests")] {
        site.post("/core/users/", json!({"username": name, "name": name, "path": path})).await;
    }
    let paths = async |query: &str| -> Vec<Value> {
        site.get(&format!("/core/users/paths/{query}")).await["paths"].as_array().unwrap().clone()
    };
    let all = paths("").await;
    for path in ["staff/wiki", "guests", "users"] {
        assert_eq!(all.iter().filter(|found| **found == json!(path)).count(), 1, "{path}: {all:?}");
    }
    assert_eq!(paths("?search=wiki").await, [json!("staff/wiki")]);
}

/// CO-526: a filter by one of a few words refuses any other, on its parameter.
#[tokio::test]
async fn co_526_unknown_choices_are_refused() {
    let site = Site::new().await;
    for (list, filter, known) in [
        ("/core/tokens/", "intent", "recovery"),
        ("/core/users/", "type", "external"),
        ("/crypto/certificatekeypairs/", "key_type", "ec"),
        ("/flows/instances/", "denied_action", "continue"),
        ("/flows/instances/", "designation", "enrollment"),
        ("/providers/oauth2/", "client_type", "public"),
        ("/providers/oauth2/", "issuer_mode", "global"),
        ("/providers/oauth2/", "sub_mode", "user_id"),
    ] {
        assert_eq!(site.status(ADMIN, Method::GET, &format!("{list}?{filter}={known}"), None).await, 200, "{filter}");
        let (status, said) = site.send(ADMIN, Method::GET, &format!("{list}?{filter}=nope"), None).await;
        let text = "Select a valid choice. nope is not one of the available choices.";
        assert_eq!((status.as_u16(), said), (400, json!({filter: [text]})), "{list}");
    }
}
