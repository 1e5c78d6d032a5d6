//! The administration API under `/api/v3/` (CO sections 19 to 22).
//!
//! A module per resource, each with a `routes` function; [`caller`] finds out who asks, [`body`] and
//! [`params`] read what they ask for, [`answer`] says it in the words that generated clients expect.

pub mod answer;
mod applications;
mod authenticators;
mod bindings;
pub mod blueprints;
pub mod body;
mod brands;
pub mod caller;
mod certificates;
mod consents;
mod entitlements;
mod events;
mod executor;
mod flows;
mod groups;
pub mod instance;
mod issued;
mod mappings;
pub mod needs;
mod outposts;
pub mod params;
mod policies;
mod providers;
mod recovery;
mod refresh_tokens;
mod reputation;
mod roles;
mod schema;
mod sessions;
mod settings;
mod sources;
mod tokens;
mod used_by;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::{HeaderValue, Method, header};
use portcullis_core::origin::Origin;
use portcullis_idp::Context;

use crate::noted;
use answer::ApiError;

/// Where the API begins.
pub const BASE: &str = "/api/v3";

/// Routes of one or more resources, before they know the instance.
pub type Routes = Router<Arc<Context>>;

/// The whole API. Unknown paths below it are answered here too, as JSON (CO-520).
pub fn router(ctx: Arc<Context>) -> Router {
    let resources = Routes::new()
        .merge(applications::routes())
        .merge(authenticators::routes())
        .merge(bindings::routes())
        .merge(blueprints::routes())
        .merge(brands::routes())
        .merge(certificates::routes())
        .merge(consents::routes())
        .merge(entitlements::routes())
        .merge(events::routes())
        .merge(executor::routes())
        .merge(flows::routes())
        .merge(groups::routes())
        .merge(instance::routes())
        .merge(issued::routes())
        .merge(mappings::routes())
        .merge(outposts::routes())
        .merge(policies::routes())
        .merge(providers::routes())
        .merge(recovery::routes())
        .merge(refresh_tokens::routes())
        .merge(reputation::routes())
        .merge(roles::routes())
        .merge(schema::routes())
        .merge(sessions::routes())
        .merge(settings::routes())
        .merge(sources::routes())
        .merge(tokens::routes())
        .merge(used_by::routes())
        .merge(users::routes());
    let api = resources
        .fallback(async || ApiError::NoSuchPath)
        .method_not_allowed_fallback(async |method: Method| ApiError::Method(method))
        .layer(from_fn_with_state(Arc::clone(&ctx), caller::not_too_many))
        .with_state(ctx);
    // A nested router does not see the path that is its prefix and a slash.
    let root = format!("{BASE}/");
    Router::new().nest(BASE, api).route(&root, any(async || ApiError::NoSuchPath)).layer(from_fn(headers))
}

/// Adds the headers of every answer (CO-529).
async fn headers(mut request: Request, next: Next) -> Response {
    noted::note(&mut request);
    let id = request.extensions().get::<Arc<Origin>>().map(|origin| origin.request_id.clone()).unwrap_or_default();
    let mut response = match crate::has_nul(request.uri()) {
        true => ApiError::NoSuchPath.into_response(),
        false => next.run(request).await,
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-authentik-id", id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Cookie, Authorization"));
    response
}

#[cfg(test)]
mod tests {
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
        let asks =
            async || site.send(Method::GET, "/core/users/me/", &[("cookie", &cookie)], None).await.status.as_u16();
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
        let asks =
            async |cookie: &str| site.send(Method::GET, "/core/users/me/", &[("cookie", cookie)], None).await.status;
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
        let kept =
            r#"{"n":18446744073709551615,"m":-9223372036854775808,"f":0.1,"t":"123456789012345678901234567890"}"#;
        let (status, made) = write(kept).await;
        assert_eq!((status, made["attributes"].to_string()), (201, kept.to_owned()));
    }

    /// CO-480, CO-481: the first start makes groups, akadmin, flows, mappings, the outpost, a key and the token.
    #[tokio::test]
    async fn co_480_the_first_start_makes_everything() {
        let wishes = bootstrap::Wishes {
            password: Some("correct horse".to_owned()),
            token: Some(TOKEN.to_owned()),
            email: Some("me@example.com".to_owned()),
            certificate: true,
            ..bootstrap::Wishes::default()
        };
        let site = Site::with(wishes).await;
        let pairs = site.admin(Method::GET, "/crypto/certificatekeypairs/", None).await.json;
        let pair = &pairs["results"][0];
        assert_eq!((&pairs["pagination"]["count"], &pair["key_type"]), (&json!(1), &json!("rsa")));
        let said = (&pair["name"], &pair["private_key_available"]);
        assert_eq!(said, (&json!("authentik Self-signed Certificate"), &json!(true)));
        let me = site.admin(Method::GET, "/core/users/me/", None).await.json["user"].clone();
        assert_eq!((&me["username"], &me["name"]), (&json!("akadmin"), &json!("authentik Default Admin")));
        assert_eq!((&me["email"], &me["is_superuser"]), (&json!("me@example.com"), &json!(true)));
        let token = site.admin(Method::GET, "/core/tokens/authentik-bootstrap-token/", None).await.json;
        assert_eq!((&token["expiring"], &token["intent"]), (&json!(false), &json!("api")));
        let groups = site.admin(Method::GET, "/core/groups/", None).await.json;
        let names: Vec<_> = groups["results"].as_array().expect("list").iter().map(|group| &group["name"]).collect();
        assert_eq!(names, ["authentik Admins", "authentik Read-only"]);
        let mut conn = site.ctx.db.read().await.expect("reads");
        assert!(
            portcullis_store::flow::by_slug(&mut conn, "default-authentication-flow").await.expect("reads").is_some()
        );
        let outpost = portcullis_store::outpost::by_managed(&mut conn, "goauthentik.io/outposts/embedded").await;
        assert_eq!(outpost.expect("reads").expect("there").name, "authentik Embedded Outpost");
        assert_eq!(portcullis_store::signing_key::all(&mut conn).await.expect("reads").len(), 1);
        assert_eq!(setup::open(&site.ctx).await.expect("reads"), None);
    }

    /// CO-482, CO-484: a second start changes nothing, whatever it is asked for.
    #[tokio::test]
    async fn co_484_later_starts_change_nothing() {
        let site = Site::new().await;
        let first = site.admin(Method::GET, "/core/users/me/", None).await.json["user"]["pk"].clone();
        let other = site.user("second").await;
        let admins =
            site.admin(Method::GET, "/core/groups/?is_superuser=true", None).await.json["results"][0]["pk"].clone();
        site.admin(Method::PATCH, &format!("/core/users/{other}/"), json!({"groups": [admins]})).await;
        let key = site.api_key(other, "second-api").await;
        assert_eq!(site.bearer(&key, Method::DELETE, &format!("/core/users/{first}/"), None).await.status, 204);
        let db = open(&site.database).await;
        let again = context(db, Arc::clone(&site.clock)).await.expect("the right key");
        assert_eq!(again.install_id.get(), site.ctx.install_id.get());
        let wishes = bootstrap::Wishes { token: Some("another-token-0123456789".to_owned()), ..Default::default() };
        bootstrap::run(&again, &wishes).await.expect("nothing to do");
        let listed = site.bearer(&key, Method::GET, "/core/users/?username=akadmin", None).await;
        assert_eq!(listed.json["pagination"]["count"], json!(0));
        assert_eq!(site.bearer("another-token-0123456789", Method::GET, "/core/users/me/", None).await.status, 403);
        assert_eq!(setup::open(&again).await.expect("reads"), None);
    }

    /// CO-483: secrets of the first start that are shorter than those of people are taken, and warned of.
    #[tokio::test]
    async fn co_483_short_bootstrap_secrets_are_warned_of() {
        let wishes = |token: &str, password: &str| bootstrap::Wishes {
            token: Some(token.to_owned()),
            password: Some(password.to_owned()),
            ..bootstrap::Wishes::default()
        };
        let short = Site::with(wishes("a-short-token", "7 chars")).await;
        assert_eq!(short.bearer("a-short-token", Method::GET, "/core/users/me/", None).await.status, 200);
        assert_eq!(short.events("configuration_warning").await.0, 2);
        let long = Site::with(wishes("a-token-of-20-chars!", "8 chars!")).await;
        assert_eq!(long.events("configuration_warning").await.0, 0);
    }

    /// CO-460: a database opened with another secret key is told apart before anything else.
    #[tokio::test]
    async fn co_460_another_secret_key_is_noticed() {
        let site = Site::new().await;
        let db = open(&site.database).await;
        let wrong = context_with(db, Arc::clone(&site.clock), b"another root secret, long enough").await;
        let error = wrong.err().expect("refused").to_string();
        assert_eq!(
            error,
            "the secret key is not the one that this database was made with: bring back its secret.key, or set secret_key to it"
        );
    }

    /// CO-486, CO-817: without a bootstrap password the setup code, once, sets the first one; nothing else does.
    #[tokio::test]
    async fn co_486_the_setup_code_opens_once() {
        let site = Site::new().await;
        let ctx = &site.ctx;
        let actor = Actor {
            user: None,
            username: "setup".to_owned(),
            is_superuser: false,
            rights: portcullis_idp::Rights::default(),
            client: None,
            request: portcullis_idp::Request::default(),
        };
        assert!(setup::complete(ctx, &actor, "", "a@example.com", "correct horse battery").await.is_err());
        let first = setup::open(ctx).await.expect("reads").expect("open");
        let code = setup::open(ctx).await.expect("reads").expect("open");
        assert_eq!((first == code, code.len()), (false, 8 * 4 + 7));
        for (given, email, password) in [
            (first.as_str(), "a@example.com", "correct horse battery"),
            (code.as_str(), "nonsense", "correct horse battery"),
            (code.as_str(), "a@example.com", "short"),
        ] {
            assert!(setup::complete(ctx, &actor, given, email, password).await.is_err(), "{given} {email} {password}");
        }
        let typed = code.replace('-', " ").to_uppercase();
        let pk =
            setup::complete(ctx, &actor, &typed, "a@example.com", "correct horse battery").await.expect("completes");
        assert_eq!(setup::code(ctx), None);
        assert!(setup::complete(ctx, &actor, &code, "b@example.com", "correct horse battery").await.is_err());
        assert_eq!(setup::open(ctx).await.expect("reads"), None);
        let mut conn = ctx.db.read().await.expect("reads");
        let first = portcullis_store::account::by_pk(&mut conn, pk).await.expect("reads").expect("akadmin");
        assert_eq!(first.email, "a@example.com");
        assert!(
            portcullis_idp::password::verify("correct horse battery", first.password_hash.as_deref()).await.is_right()
        );
    }

    /// CO-486, CO-300: a password that the administrator gets by the API closes the setup page, and nobody is sent there: from
    /// then on the flow is for superusers.
    #[tokio::test]
    async fn co_486_a_password_closes_the_setup_page() {
        let site = Site::new().await;
        setup::open(&site.ctx).await.expect("reads").expect("open");
        let flow = async || {
            let one = site.admin(Method::GET, "/flows/instances/initial-setup/", None).await.json;
            let listed = site.admin(Method::GET, "/flows/instances/?slug=initial-setup", None).await.json;
            assert_eq!(listed["results"][0]["authentication"], one["authentication"]);
            one["authentication"].clone()
        };
        assert_eq!(flow().await, "none");
        let get = async |path: &str| site.raw(Request::get(path).body(Body::empty()).expect("a request")).await;
        assert_eq!(get("/").await.headers["location"], "/if/flow/initial-setup/");
        assert_eq!(get("/if/flow/initial-setup/").await.status, 200);
        let me = site.admin(Method::GET, "/core/users/me/", None).await.json["user"]["pk"].clone();
        let set = format!("/core/users/{me}/set_password/");
        assert_eq!(site.admin(Method::POST, &set, json!({"password": "long enough"})).await.status, 204);
        assert_eq!(get("/").await.headers["location"], "/if/flow/default-authentication-flow/");
        assert_eq!(get("/if/flow/initial-setup/").await.status, 403);
        assert_eq!(flow().await, "require_superuser");
    }

    /// CO-474: the files of a used database hold no secret in clear: no key, password, attribute, setup code.
    #[tokio::test]
    async fn co_474_the_database_holds_no_secret_in_clear() {
        let site = Site::with(bootstrap::Wishes {
            password: Some("bootstrap-passw0rd-in-clear".to_owned()),
            token: Some(TOKEN.to_owned()),
            ..bootstrap::Wishes::default()
        })
        .await;
        let body = json!({
            "username": "ada", "name": "Ada", "attributes": {"app_username": "upstream-ada", "app_password": "upstream-s3cret"},
        });
        let user = site.admin(Method::POST, "/core/users/", body).await.json["pk"].as_i64().expect("int");
        let group = json!({"name": "staff", "users": [user], "attributes": {"pw": "group-upstream-s3cret"}});
        let group = site.admin(Method::POST, "/core/groups/", group).await.json["pk"].clone();
        let group = format!("/core/groups/{}/", group.as_str().expect("text"));
        site.admin(Method::PATCH, &group, json!({"attributes": {"pw": "changed-group-s3cret"}})).await;
        let path = format!("/core/users/{user}/");
        site.admin(Method::POST, &format!("{path}set_password/"), json!({"password": "passw0rd-of-ada"})).await;
        site.admin(Method::PATCH, &path, json!({"attributes": {"app_password": "changed-s3cret"}})).await;
        let api = site.api_key(user, "ada-api").await;
        let app = json!({"identifier": "laptop", "intent": "app_password", "user": user});
        site.admin(Method::POST, "/core/tokens/", app).await;
        let app = site.admin(Method::GET, "/core/tokens/laptop/view_key/", None).await.json["key"].clone();
        site.admin(Method::POST, "/core/tokens/laptop/set_key/", json!({"key": "chosen-key-of-ada-0123456789"})).await;
        let bot = site.admin(Method::POST, "/core/users/service_account/", json!({"name": "bot"})).await.json["token"]
            .clone();
        let cookie = sign_in(&site, "akadmin").await;
        let bytes = site.file_bytes();
        let holds = |secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(holds("laptop") && holds("akadmin"), "the files are looked at where data is");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        for secret in [
            "bootstrap-passw0rd-in-clear",
            TOKEN,
            "upstream-ada",
            "upstream-s3cret",
            "group-upstream-s3cret",
            "changed-group-s3cret",
            "changed-s3cret",
            "passw0rd-of-ada",
            &api,
            &text(&app),
            "chosen-key-of-ada-0123456789",
            &text(&bot),
            cookie.trim_start_matches("authentik_session="),
            std::str::from_utf8(ROOT).expect("text"),
        ] {
            assert!(!holds(secret), "{secret} is in the database");
        }
    }
}
