//! The first start of an instance, and what is in its database.

use super::*;

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
    assert!(portcullis_store::flow::by_slug(&mut conn, "default-authentication-flow").await.expect("reads").is_some());
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
    let pk = setup::complete(ctx, &actor, &typed, "a@example.com", "correct horse battery").await.expect("completes");
    assert_eq!(setup::code(ctx), None);
    assert!(setup::complete(ctx, &actor, &code, "b@example.com", "correct horse battery").await.is_err());
    assert_eq!(setup::open(ctx).await.expect("reads"), None);
    let mut conn = ctx.db.read().await.expect("reads");
    let first = portcullis_store::account::by_pk(&mut conn, pk).await.expect("reads").expect("akadmin");
    assert_eq!(first.email, "a@example.com");
    assert!(portcullis_idp::password::verify("correct horse battery", first.password_hash.as_deref()).await.is_right());
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
    let bot =
        site.admin(Method::POST, "/core/users/service_account/", json!({"name": "bot"})).await.json["token"].clone();
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
