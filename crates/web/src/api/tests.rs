//! What holds for every request to the API.

mod first_start;

use super::*;
use crate::testing::{ROOT, Reply, Site, TOKEN, context, context_with, open};
use axum::body::Body;
use portcullis_idp::{Actor, bootstrap, sessions, setup};
use serde_json::{Value, json};

/// CO-523: what no text can hold is in no name, and refused where it is looked for.
#[tokio::test]
async fn co_523_null_characters_name_nothing() {
    let site = Site::new().await;
    assert_eq!(site.admin(Method::GET, "/core/tokens/a%00b/", None).await.status, 404);
    assert_eq!(site.admin(Method::GET, "/flows/instances/%00/", None).await.status, 404);
    let refused = site.admin(Method::GET, "/core/users/?search=a%00b", None).await;
    assert_eq!(
        (refused.status, refused.json),
        (400.try_into().unwrap(), json!({"search": ["Null characters are not allowed."]}))
    );
    let page = Request::get("/application/o/%00/jwks/").body(Body::empty()).unwrap();
    assert_eq!(site.raw(page).await.status, 404);
    let page = Request::get("/if/flow/%00/").body(Body::empty()).unwrap();
    assert_eq!(site.raw(page).await.status, 404);
}

/// CO-520, CO-522: unknown paths, missing slashes and wrong methods are answered as JSON.
#[tokio::test]
async fn co_520_paths_and_methods_are_exact() {
    let site = Site::new().await;
    for path in ["/core/users", "/core/nothing/", "/", "", "/core/users/me", "/core/users/1/nothing/"] {
        let reply = site.admin(Method::GET, path, None).await;
        assert_eq!((reply.status.as_u16(), reply.json), (404, json!({"detail": "Not found."})), "{path}");
    }
    let reply = site.admin(Method::DELETE, "/core/users/", None).await;
    assert_eq!((reply.status.as_u16(), reply.json), (405, json!({"detail": "Method \"DELETE\" not allowed."})));
    assert!(reply.headers.contains_key(header::ALLOW));
}

/// CO-522: each way of not being authenticated has its own words, all with 403.
#[tokio::test]
async fn co_522_credentials_are_required() {
    let site = Site::new().await;
    let absent = "Authentication credentials were not provided.";
    for (headers, detail) in [
        (vec![], absent),
        (vec![("authorization", "Basic YTpi")], absent),
        (vec![("cookie", "authentik_session=nonsense")], absent),
        (vec![("authorization", "Bearer nonsense")], "Token invalid/expired"),
        (vec![("authorization", "Bearer")], "Malformed header"),
        (vec![("authorization", "bearer ")], "Malformed header"),
    ] {
        let reply = site.send(Method::GET, "/core/users/me/", &headers, None).await;
        assert_eq!((reply.status.as_u16(), reply.json), (403, json!({"detail": detail})), "{headers:?}");
    }
    let root = std::str::from_utf8(ROOT).expect("text");
    assert_eq!(site.bearer(root, Method::GET, "/core/users/me/", None).await.status, 403);
    let scheme = format!("bEARER {TOKEN}");
    assert_eq!(site.send(Method::GET, "/core/users/me/", &[("authorization", &scheme)], None).await.status, 200);
}

/// CO-521: a bad bearer is refused even beside a good cookie.
#[tokio::test]
async fn co_521_a_bad_bearer_beats_a_good_cookie() {
    let site = Site::new().await;
    let cookie = sign_in(&site, "akadmin").await;
    assert_eq!(site.send(Method::GET, "/core/users/me/", &[("cookie", &cookie)], None).await.status, 200);
    let both = [("cookie", cookie.as_str()), ("authorization", "Bearer nonsense")];
    let refused = site.send(Method::GET, "/core/users/me/", &both, None).await;
    assert_eq!(refused.json, json!({"detail": "Token invalid/expired"}));
}

/// CO-387: a write with the cookie needs the repeated CSRF token, and no sign of another site.
#[tokio::test]
async fn co_387_writes_with_the_cookie_come_from_here() {
    let site = Site::new().await;
    let cookie = format!("{}; authentik_csrf=abc", sign_in(&site, "akadmin").await);
    let write = async |headers: &[(&str, &str)]| {
        let mut all = vec![("cookie", cookie.as_str())];
        all.extend_from_slice(headers);
        site.send(Method::POST, "/core/groups/", &all, json!({"name": "made by cookie"})).await.status.as_u16()
    };
    let token = ("x-authentik-csrf", "abc");
    assert_eq!(write(&[]).await, 403);
    assert_eq!(write(&[("x-authentik-csrf", "abd")]).await, 403);
    assert_eq!(write(&[token, ("origin", "http://evil.example")]).await, 403);
    assert_eq!(site.events("suspicious_request").await.0, 1);
    assert_eq!(write(&[token, ("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(site.events("suspicious_request").await.0, 2);
    assert_eq!(write(&[token, ("origin", "http://id.example"), ("sec-fetch-site", "same-origin")]).await, 201);
}

async fn sign_in(site: &Site, username: &str) -> String {
    let mut tx = site.ctx.db.write().await.expect("writes");
    let first = portcullis_store::account::by_username(&mut tx, username).await.expect("reads").expect("known");
    let client = [192, 0, 2, 1].into();
    let started = sessions::start(&site.ctx, &mut tx, first.pk, "password", client, "test").await.expect("starts");
    tx.commit().await.expect("commits");
    format!("authentik_session={}", started.cookie)
}

/// CO-037, CO-385: deactivation ends the user's sessions for good; a return to active revives none.
#[tokio::test]
async fn co_037_deactivation_ends_sessions() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let cookie = sign_in(&site, "ada").await;
    let asks = async || site.send(Method::GET, "/core/users/me/", &[("cookie", &cookie)], None).await.status.as_u16();
    assert_eq!(asks().await, 200);
    for is_active in [false, true] {
        let path = format!("/core/users/{user}/");
        let changed = site.admin(Method::PATCH, &path, json!({"is_active": is_active})).await;
        assert_eq!(changed.status, 200);
        assert_eq!(asks().await, 403, "is_active: {is_active}");
    }
}

/// CO-034, CO-813: whoever becomes a service account is signed out for good.
#[tokio::test]
async fn co_813_a_service_account_has_no_session() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let cookie = sign_in(&site, "ada").await;
    let asks = async |cookie: &str| site.send(Method::GET, "/core/users/me/", &[("cookie", cookie)], None).await.status;
    assert_eq!(asks(&cookie).await, 200);
    let path = format!("/core/users/{user}/");
    for kind in ["service_account", "internal"] {
        assert_eq!(site.admin(Method::PATCH, &path, json!({"type": kind})).await.status, 200);
        assert_eq!(asks(&cookie).await, 403, "{kind}");
    }
    let cookie = sign_in(&site, "ada").await;
    assert_eq!(asks(&cookie).await, 200);
    let mut tx = site.ctx.db.write().await.expect("writes");
    let mut ada = portcullis_store::account::by_username(&mut tx, "ada").await.expect("reads").expect("known");
    "service_account".clone_into(&mut ada.kind);
    portcullis_store::account::update(&mut tx, &ada).await.expect("stores");
    tx.commit().await.expect("commits");
    assert_eq!(asks(&cookie).await, 403, "whoever made it one");
}

/// CO-041, CO-802: a new password ends the user's sessions.
#[tokio::test]
async fn co_041_a_new_password_ends_sessions() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let cookie = sign_in(&site, "ada").await;
    let path = format!("/core/users/{user}/set_password/");
    assert_eq!(site.admin(Method::POST, &path, json!({"password": "long enough"})).await.status, 204);
    assert_eq!(site.send(Method::GET, "/core/users/me/", &[("cookie", &cookie)], None).await.status, 403);
}

/// A request as the administrator `ada`, whose body does not come before `meanwhile` is over.
async fn dripped(site: &Site, key: &str, meanwhile: impl Future<Output = ()>) -> Reply {
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let body = futures_util::stream::once(async move {
        begun.await.expect("begins");
        Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"{\"name\": \"made late\"}"))
    });
    let request = Request::post("/api/v3/core/groups/")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Body::from_stream(body)).expect("a request");
    let (reply, ()) = tokio::join!(site.raw(request), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        meanwhile.await;
        begin.send(()).expect("is waited for");
    });
    reply
}

/// CO-037, CO-702: whoever loses rights or credentials while the body of a request is on its way changes
/// nothing any more.
#[tokio::test]
async fn co_702_rights_count_when_the_change_is_made() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let admins = site.admin(Method::GET, "/core/groups/?name=authentik%20Admins", None).await.json;
    let group = format!("/core/groups/{}/", admins["results"][0]["pk"].as_str().expect("text"));
    let member = async |does: &str| {
        let changed = site.admin(Method::POST, &format!("{group}{does}/"), json!({"pk": user})).await;
        assert_eq!(changed.status, 204);
    };
    member("add_user").await;
    let key = site.api_key(user, "ada-api").await;
    assert_eq!(dripped(&site, &key, async {}).await.status, 201);
    assert_eq!(dripped(&site, &key, member("remove_user")).await.status, 403);
    member("add_user").await;
    let ends = async { assert_eq!(site.admin(Method::DELETE, "/core/tokens/ada-api/", None).await.status, 204) };
    assert_eq!(dripped(&site, &key, ends).await.status, 403);
}

/// CO-703: a list of tokens without any that is visible is refused to ordinary users.
#[tokio::test]
async fn co_703_nothing_to_see_is_a_refusal() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let cookie = sign_in(&site, "ada").await;
    let list = async |query: &str| {
        site.send(Method::GET, &format!("/core/tokens/{query}"), &[("cookie", &cookie)], None).await
    };
    assert_eq!(list("").await.status, 403);
    site.api_key(user, "ada-api").await;
    assert_eq!(list("").await.json["pagination"]["count"], json!(1));
    assert_eq!(list("?identifier=other").await.json["pagination"]["count"], json!(0));
}

/// OA-004, CO-525, CO-526: no query is a server error, however long or repetitive.
#[tokio::test]
async fn co_526_silly_queries_are_no_server_errors() {
    let site = Site::new().await;
    let lists = [
        "core/users",
        "core/groups",
        "core/tokens",
        "core/authenticated_sessions",
        "core/brands",
        "core/user_consent",
        "oauth2/refresh_tokens",
        "events/events",
        "sources/all",
        "core/applications",
        "crypto/certificatekeypairs",
        "providers/proxy",
        "providers/all",
        "outposts/instances",
        "propertymappings/provider/scope",
        "flows/instances",
        "policies/bindings",
        "policies/all",
        "policies/event_matcher",
        "policies/reputation/scores",
        "core/application_entitlements",
    ];
    for list in lists {
        for (query, status) in [
            (format!("search={}", "a,".repeat(2000)), 400),
            (format!("search={}", "x".repeat(60_000)), 400),
            (format!("search={}", "a,".repeat(40)), 200),
            (format!("ordering={}", "name,pk,-name,".repeat(2000)), 200),
            (format!("name__icontains={0}&name={0}&username={0}&groups_by_name={0}", "%25".repeat(4_000)), 200),
            ("&groups_by_name=x&pk__in=x".repeat(2000), 200),
        ] {
            let reply = site.admin(Method::GET, &format!("/{list}/?{query}"), None).await;
            let expected = if list == "policies/bindings" { 200 } else { status };
            assert_eq!(reply.status, expected, "{list} {} {:?}", &query[..30], reply.json["detail"]);
        }
    }
}

/// CO-529: every answer, also a refusal, names its request and may not be kept.
#[tokio::test]
async fn co_529_answers_carry_their_headers() {
    let site = Site::new().await;
    for path in ["/core/users/me/", "/nothing/"] {
        let reply = site.admin(Method::GET, path, None).await;
        assert_eq!(reply.headers["x-authentik-id"], "0123456789abcdef0123456789abcdef");
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(reply.headers[header::VARY], "Cookie, Authorization");
        assert_eq!(reply.headers[header::CONTENT_TYPE], "application/json");
    }
}

/// CO-522, CO-387: bodies that are no JSON, another media type or too long are refused.
#[tokio::test]
async fn co_522_bodies_are_json() {
    let site = Site::new().await;
    let post = async |media_type: &str, body: String| {
        let request = Request::post("/api/v3/core/groups/")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, media_type);
        site.raw(request.body(Body::from(body)).expect("a request")).await
    };
    let broken = post("application/json", "{\"name\":".to_owned()).await;
    assert_eq!(broken.status, 400);
    assert!(broken.json["detail"].as_str().expect("text").starts_with("JSON parse error - "));
    let form = post("application/x-www-form-urlencoded", "name=x".to_owned()).await;
    assert_eq!(form.status, 415);
    assert_eq!(post("application/json; charset=utf-8", "{\"name\": \"x\"}".to_owned()).await.status, 201);
    assert_eq!(post("application/json", "[]".to_owned()).await.status, 400);
    assert_eq!(post("application/json", " ".repeat(2 << 20)).await.status, 413);
    let deep = format!("{{\"name\": {}", "[".repeat(10_000));
    assert_eq!(post("application/json", deep).await.status, 400);
}

/// CO-069: attributes in which a key occurs twice are refused, not half kept.
#[tokio::test]
async fn co_069_doubled_keys_are_refused() {
    let site = Site::new().await;
    let body = r#"{"name": "x", "attributes": {"a": {"b": 1, "b": 2}}}"#;
    let request = Request::post("/api/v3/core/groups/")
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(header::CONTENT_TYPE, "application/json");
    let refused = site.raw(request.body(Body::from(body)).expect("a request")).await;
    let said = json!({"attributes": ["Value must be a dictionary, and not have any duplicate keys."]});
    assert_eq!((refused.status.as_u16(), refused.json), (400, said));
}

/// CO-069: a number keeps its digits, or is refused by its field; as text it is kept.
#[tokio::test]
async fn co_069_numbers_keep_their_digits() {
    let site = Site::new().await;
    let write = async |attributes: &str| {
        let request = Request::post("/api/v3/core/groups/")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "application/json");
        let body = format!(r#"{{"name": "staff", "attributes": {attributes}}}"#);
        let answer = site.raw(request.body(Body::from(body)).expect("a request")).await;
        (answer.status.as_u16(), answer.json)
    };
    for number in ["123456789012345678901234567890", "-9223372036854775809", "0.12345678901234567890"] {
        let (status, refused) = write(&format!(r#"{{"a": [{{"n": {number}}}]}}"#)).await;
        assert_eq!((status, refused["attributes"].is_array()), (400, true), "{number}: {refused}");
    }
    let kept = r#"{"n":18446744073709551615,"m":-9223372036854775808,"f":0.1,"t":"123456789012345678901234567890"}"#;
    let (status, made) = write(kept).await;
    assert_eq!((status, made["attributes"].to_string()), (201, kept.to_owned()));
}
