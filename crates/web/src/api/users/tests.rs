//! Users by the API.

use super::*;
use crate::testing::Site;
use authentik_client::models;
use http::Method;
use portcullis_core::epoch::Subject;

/// CO-039: an avatar is never empty, and made of letters and digits of the name alone.
#[test]
fn co_039_avatars_are_local_pictures() {
    for (name, username) in [("Ada Lovelace", "ada"), ("", "<b>"), ("<script>", "x"), ("  ", "")] {
        let avatar = avatar(name, username, "12ab");
        let svg = STANDARD.decode(avatar.strip_prefix("data:image/svg+xml;base64,").expect("uri")).expect("base64");
        let svg = String::from_utf8(svg).expect("text");
        assert!(!svg.contains("script") && !svg.contains("<b>"), "{svg}");
    }
}

/// CO-540, CO-595, CO-596, CO-528: a user is created, read, changed and deleted, and every answer has all keys.
#[tokio::test]
async fn co_540_users_live_and_go() {
    let site = Site::new().await;
    let body = json!({
        "username": "ada", "name": "Ada Lovelace", "email": "ada@example.com", "path": "users/staff",
        "attributes": {"z": 1, "app_username": "a", "nested": {"list": [1, 2.5, null]}},
    });
    let made = site.admin(Method::POST, "/core/users/", body.clone()).await;
    assert_eq!(made.status, 201, "{:?}", made.json);
    serde_json::from_value::<models::User>(made.json.clone()).expect("the client's type");
    for (key, value) in body.as_object().expect("object") {
        assert_eq!(&made.json[key], value, "{key}");
    }
    assert_eq!((&made.json["type"], &made.json["is_active"]), (&json!("internal"), &json!(true)));
    assert_eq!((&made.json["last_login"], &made.json["roles_obj"]), (&Value::Null, &json!([])));
    let path = format!("/core/users/{}/", made.json["pk"]);
    let read = site.admin(Method::GET, &path, None).await;
    assert_eq!(read.json, made.json);
    let changed = site.admin(Method::PATCH, &path, json!({"email": ""})).await;
    assert_eq!((changed.status.as_u16(), &changed.json["email"]), (200, &json!("")));
    assert_eq!(changed.json["attributes"], body["attributes"]);
    let gone = site.admin(Method::DELETE, &path, None).await;
    assert_eq!((gone.status.as_u16(), gone.json), (204, Value::Null));
    let absent = site.admin(Method::GET, &path, None).await;
    assert_eq!(absent.status, 404);
    assert_eq!(absent.json, json!({"detail": "No User matches the given query."}));
}

/// CO-523: everything that is wrong with a user is told at once, by field, in lists.
#[tokio::test]
async fn co_523_users_are_validated() {
    let site = Site::new().await;
    site.user("ada").await;
    for (body, problems) in [
        (json!({}), json!({"username": ["This field is required."], "name": ["This field is required."]})),
        (
            json!({"username": "", "name": null}),
            json!({"username": ["This field may not be blank."], "name": ["This field may not be null."]}),
        ),
        (json!({"username": "ADA", "name": ""}), json!({"username": ["User with this username already exists."]})),
        (
            json!({"username": "ak-outpost-x", "name": "", "email": "nope", "path": "/x", "attributes": []}),
            json!({
                "username": ["This username is reserved."],
                "email": ["Enter a valid email address."],
                "path": ["No leading or trailing slashes allowed."],
                "attributes": ["Value must be a dictionary, and not have any duplicate keys."],
            }),
        ),
        (
            json!({"username": "b", "name": "", "type": "internal_service_account"}),
            json!({"type": ["Setting a user to internal service account is not allowed."]}),
        ),
        (json!({"username": "b", "name": "", "type": "x"}), json!({"type": ["\"x\" is not a valid choice."]})),
        (
            json!({"username": "b", "name": "", "groups": ["00000000-0000-4000-8000-000000000000"]}),
            json!({"groups": ["Invalid pk \"00000000-0000-4000-8000-000000000000\" - object does not exist."]}),
        ),
    ] {
        let reply = site.admin(Method::POST, "/core/users/", body.clone()).await;
        assert_eq!((reply.status.as_u16(), reply.json), (400, problems), "{body}");
    }
}

/// CO-527, CO-831: a PUT without `groups` and `attributes` leaves them, but needs the required keys.
#[tokio::test]
async fn co_527_absent_keys_stay_as_they_are() {
    let site = Site::new().await;
    let group = site.admin(Method::POST, "/core/groups/", json!({"name": "staff"})).await.json["pk"].clone();
    let body = json!({"username": "ada", "name": "A", "groups": [group], "attributes": {"a": 1}, "path": "x"});
    let path = format!("/core/users/{}/", site.admin(Method::POST, "/core/users/", body).await.json["pk"]);
    let put = site.admin(Method::PUT, &path, json!({"username": "ada", "name": "B"})).await;
    assert_eq!(put.status, 200, "{:?}", put.json);
    assert_eq!(put.json["groups"], json!([group]));
    assert_eq!((&put.json["attributes"], &put.json["path"]), (&json!({"a": 1}), &json!("x")));
    let refused = site.admin(Method::PUT, &path, json!({"username": "ada"})).await;
    assert_eq!(refused.json, json!({"name": ["This field is required."]}));
    let emptied = site.admin(Method::PATCH, &path, json!({"groups": []})).await;
    assert_eq!(emptied.json["groups"], json!([]));
}

/// CO-472, CO-473: a mask that is written back keeps the secret; an event never shows it.
#[tokio::test]
async fn co_473_a_written_back_mask_keeps_the_secret() {
    let site = Site::new().await;
    let body = json!({"username": "ada", "name": "A", "attributes": {"app_password": "upstream-s3cret", "n": 1}});
    let path = format!("/core/users/{}/", site.admin(Method::POST, "/core/users/", body).await.json["pk"]);
    let masked = json!({"attributes": {"app_password": "********", "n": 2}});
    let kept = site.admin(Method::PATCH, &path, masked).await;
    assert_eq!(kept.json["attributes"], json!({"app_password": "upstream-s3cret", "n": 2}));
    let (_, context) = site.events("model_updated").await;
    assert!(!context.to_string().contains("upstream-s3cret"), "{context}");
    assert!(context["diff"]["attributes"].is_object(), "{context}");
}

/// CO-038: nobody deletes themselves; the last active superuser stays, however one tries.
#[tokio::test]
async fn co_038_the_last_superuser_stays() {
    let site = Site::new().await;
    let me = site.admin(Method::GET, "/core/users/me/", None).await.json["user"].clone();
    let path = format!("/core/users/{}/", me["pk"]);
    let group = me["groups"][0]["pk"].as_str().expect("a group").to_owned();
    let refused = site.admin(Method::DELETE, &path, None).await;
    assert_eq!(refused.status, 400);
    for (method, path, body) in [
        (Method::PATCH, path.clone(), json!({"is_active": false})),
        (Method::PATCH, path.clone(), json!({"groups": []})),
        (Method::PATCH, format!("/core/groups/{group}/"), json!({"is_superuser": false})),
        (Method::PATCH, format!("/core/groups/{group}/"), json!({"users": []})),
        (Method::POST, format!("/core/groups/{group}/remove_user/"), json!({"pk": me["pk"]})),
        (Method::DELETE, format!("/core/groups/{group}/"), Value::Null),
    ] {
        let refused = site.admin(method, &path, Some(body).filter(|body| !body.is_null())).await;
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.json["non_field_errors"][0].as_str().expect("text").contains("last active superuser"));
    }
    let still = site.admin(Method::GET, "/core/users/me/", None).await;
    assert_eq!(still.json["user"]["is_superuser"], json!(true));
}

/// CO-705, CO-707: who is no administrator sees themselves, and changes nothing.
#[tokio::test]
async fn co_705_ordinary_users_change_nothing() {
    let site = Site::new().await;
    let user = site.user("eve").await;
    let key = site.api_key(user, "eve-api").await;
    let admins = site.admin(Method::GET, "/core/groups/?name=authentik+Admins", None).await;
    let admins = admins.json["results"][0]["pk"].as_str().expect("a group").to_owned();
    for (method, path, body) in [
        (Method::PATCH, format!("/core/users/{user}/"), Some(json!({"groups": [admins]}))),
        (Method::POST, format!("/core/groups/{admins}/add_user/"), Some(json!({"pk": user}))),
        (Method::POST, "/core/users/service_account/".to_owned(), Some(json!({"name": "bot"}))),
        (Method::POST, format!("/core/users/{user}/set_password/"), Some(json!({"password": "long enough"}))),
        (Method::GET, "/core/users/".to_owned(), None),
        (Method::GET, "/core/groups/".to_owned(), None),
    ] {
        let refused = site.bearer(&key, method, &path, body).await;
        assert_eq!(refused.status, 403, "{path}");
        assert_eq!(refused.json, json!({"detail": "You do not have permission to perform this action."}));
    }
    let me = site.bearer(&key, Method::GET, "/core/users/me/", None).await;
    serde_json::from_value::<models::SessionUser>(me.json.clone()).expect("the client's type");
    assert_eq!((&me.json["user"]["username"], &me.json["user"]["is_superuser"]), (&json!("eve"), &json!(false)));
    assert_eq!(me.json["users"][0]["is_current"], json!(true));
}

/// CO-037, OA-611: deactivation refuses the user's token at the next request, and tells the epochs.
#[tokio::test]
async fn co_037_deactivation_holds_at_once() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let key = site.api_key(user, "ada-api").await;
    assert_eq!(site.bearer(&key, Method::GET, "/core/users/me/", None).await.status, 200);
    let path = format!("/core/users/{user}/");
    let uuid = site.admin(Method::GET, &path, None).await.json["uuid"].as_str().expect("text").to_owned();
    let mark = site.ctx.epochs.mark(site.ctx.epochs.present(), &[Subject::User(&uuid)]);
    site.admin(Method::PATCH, &path, json!({"is_active": false})).await;
    assert!(!site.ctx.epochs.stands(&mark));
    let refused = site.bearer(&key, Method::GET, "/core/users/me/", None).await;
    assert_eq!((refused.status.as_u16(), refused.json), (403, json!({"detail": "Token invalid/expired"})));
}

/// CO-524: pages count from one; the last is short, one more is refused; an empty list has one page.
#[tokio::test]
async fn co_524_users_come_in_pages() {
    let site = Site::new().await;
    for name in ["a", "b", "c", "d"] {
        site.user(name).await;
    }
    let page = site.admin(Method::GET, "/core/users/?page_size=2&page=3&ordering=username", None).await;
    serde_json::from_value::<models::PaginatedUserList>(page.json.clone()).expect("the client's type");
    assert_eq!(
        page.json["pagination"],
        json!({
            "next": 0, "previous": 2, "count": 5, "current": 3, "total_pages": 3, "start_index": 5, "end_index": 5
        })
    );
    assert_eq!(page.json["results"][0]["username"], json!("d"));
    let first = site.admin(Method::GET, "/core/users/?page_size=2", None).await;
    assert_eq!((&first.json["pagination"]["next"], &first.json["pagination"]["previous"]), (&json!(2), &json!(0)));
    let beyond = site.admin(Method::GET, "/core/users/?page_size=2&page=4", None).await;
    assert_eq!((beyond.status.as_u16(), beyond.json), (404, json!({"detail": "Invalid page."})));
    let empty = site.admin(Method::GET, "/core/users/?username=nobody", None).await;
    assert_eq!(
        empty.json["pagination"],
        json!({
            "next": 0, "previous": 0, "count": 0, "current": 1, "total_pages": 1, "start_index": 0, "end_index": 0
        })
    );
}

/// CO-525, CO-526: search, order and filters, alone and together.
#[tokio::test]
async fn co_526_users_are_filtered() {
    let site = Site::new().await;
    let group = site.admin(Method::POST, "/core/groups/", json!({"name": "staff"})).await.json["pk"].clone();
    for (username, name, extra) in [
        ("ada", "Ada L", json!({"groups": [group], "email": "Ada@Example.com", "attributes": {"a": {"b": 1}}})),
        ("bob", "Bob_1", json!({"path": "users/ext", "type": "external", "attributes": {"my_password": "x"}})),
        ("cat", "Cat", json!({"is_active": false})),
    ] {
        let mut body = json!({"username": username, "name": name});
        body.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
        assert_eq!(site.admin(Method::POST, "/core/users/", body).await.status, 201);
    }
    for (query, names) in [
        ("username=ADA", vec!["ada"]),
        ("email=ada@example.com", vec!["ada"]),
        ("search=ADA@ example", vec!["ada"]),
        ("search=b_1", vec!["bob"]),
        ("search=b%251", vec![]),
        ("path_startswith=users/e", vec!["bob"]),
        ("type=external&type=service_account", vec!["bob"]),
        ("is_active=False", vec!["cat"]),
        ("is_superuser=1", vec!["akadmin"]),
        ("is_superuser=0&ordering=-username", vec!["cat", "bob", "ada"]),
        ("ordering=-is_superuser,username", vec!["akadmin", "ada", "bob", "cat"]),
        ("ordering=is_superuser,-username", vec!["cat", "bob", "ada", "akadmin"]),
        ("groups_by_name=staff&groups_by_name=none", vec!["ada"]),
        ("roles_by_name=none", vec![]),
        ("roles_by_pk=00000000-0000-4000-8000-000000000000", vec![]),
        ("attributes={\"a__b\":1}", vec!["ada"]),
        ("attributes={\"my_password\":\"x\"}", vec![]),
        ("attributes={\"my_password\":\"********\"}", vec![]),
        ("unknown=1&username=cat", vec!["cat"]),
        ("date_joined__gt=2000-01-01T00:00:00Z&last_login__isnull=false", vec![]),
    ] {
        let query = query.replace(' ', "%20").replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
        let listed = site.admin(Method::GET, &format!("/core/users/?{query}"), None).await;
        let found: Vec<_> = listed.json["results"].as_array().expect(&query).iter().map(|u| &u["username"]).collect();
        assert_eq!(found, names, "{query}");
    }
    let malformed = site.admin(Method::GET, "/core/users/?is_active=maybe&attributes=x", None).await;
    assert_eq!(malformed.status, 400);
    assert_eq!(malformed.json["attributes"], json!(["filter: failed to parse JSON"]));
    let bare = site.admin(Method::GET, "/core/users/?include_groups=false&include_roles=false", None).await;
    assert_eq!(
        (&bare.json["results"][0]["groups_obj"], &bare.json["results"][0]["roles_obj"]),
        (&Value::Null, &Value::Null)
    );
}

/// CO-540, CO-472: users are found by the attributes that they have now: values, objects, one of very many; and never by
/// what is secret now, which may be found again when it is none any more.
#[tokio::test]
async fn co_540_users_are_found_by_what_they_have_now() {
    let site = Site::new().await;
    let made = json!({"username": "ada", "name": "Ada", "attributes": {"number": 1, "wiki_pw": "x", "in": {"a": [1]}}});
    let ada = site.admin(Method::POST, "/core/users/", made).await.json["pk"].clone();
    let many: serde_json::Map<_, _> = (0..1000).map(|number| (format!("key-{number}"), json!(number))).collect();
    let bob = json!({"username": "bob", "name": "Bob", "attributes": many});
    assert_eq!(site.admin(Method::POST, "/core/users/", bob).await.status, 201);
    let found = async |attributes: Value| {
        let text = attributes.to_string();
        let text: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let listed = site.admin(Method::GET, &format!("/core/users/?attributes={text}"), None).await;
        let names = listed.json["results"].as_array().expect("a list").iter();
        names.map(|user| user["username"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    for (attributes, names) in [
        (json!({"number": 1}), vec!["ada"]),
        (json!({"number": 1, "wiki_pw": "x"}), vec!["ada"]),
        (json!({"number": 1, "wiki_pw": "y"}), vec![]),
        (json!({"number": "1"}), vec![]),
        (json!({"in": {"a": [1]}}), vec!["ada"]),
        (json!({"in": {"a": [2]}}), vec![]),
        (json!({"in__a": [1]}), vec!["ada"]),
        (json!({"key-999": 999}), vec!["bob"]),
        (json!({"key-999": 998}), vec![]),
    ] {
        assert_eq!(found(attributes.clone()).await, names, "{attributes}");
    }
    let path = format!("/core/users/{ada}/");
    site.admin(Method::PATCH, &path, json!({"attributes": {"number": 2, "wiki_pw": "x"}})).await;
    assert_eq!(
        (found(json!({"number": 1})).await, found(json!({"number": 2})).await),
        (vec![], vec!["ada".to_owned()])
    );
    let flow = async |kind: &str| {
        let path = format!("/flows/instances/default-provider-{kind}/");
        site.admin(Method::GET, &path, None).await.json["pk"].clone()
    };
    let provider = json!({"name": "wiki", "authorization_flow": flow("authorization-implicit-consent").await,
        "invalidation_flow": flow("invalidation-flow").await, "mode": "forward_single",
        "external_host": "https://wiki.example.com", "basic_auth_password_attribute": "wiki_pw"});
    let provider = site.admin(Method::POST, "/providers/proxy/", provider).await;
    assert_eq!(provider.status, 201, "{:?}", provider.json);
    let provider = provider.json["pk"].clone();
    assert_eq!(found(json!({"wiki_pw": "x"})).await, [""; 0], "of an upstream");
    site.admin(Method::PATCH, &path, json!({"attributes": {"wiki_pw": "y"}})).await;
    assert_eq!(found(json!({"wiki_pw": "y"})).await, [""; 0], "written when it was secret");
    site.admin(Method::DELETE, &format!("/providers/proxy/{provider}/"), None).await;
    assert_eq!(found(json!({"wiki_pw": "y"})).await, ["ada"]);
    site.admin(Method::DELETE, &path, None).await;
    assert_eq!(found(json!({"wiki_pw": "y"})).await, [""; 0]);
}

/// CO-042, CO-543, OA-622, OA-620: a service account comes with its group and its key, all or nothing.
#[tokio::test]
async fn co_543_service_accounts_are_made_whole() {
    let site = Site::new().await;
    let body = json!({"name": "bot", "create_group": true});
    let made = site.admin(Method::POST, "/core/users/service_account/", body.clone()).await;
    assert_eq!(made.status, 200, "{:?}", made.json);
    serde_json::from_value::<models::UserServiceAccountResponse>(made.json.clone()).expect("the client's type");
    let user = site.admin(Method::GET, &format!("/core/users/{}/", made.json["user_pk"]), None).await.json;
    assert_eq!((&user["type"], &user["path"]), (&json!("service_account"), &json!("goauthentik.io/service-accounts")));
    assert_eq!((&user["uid"], &user["groups"][0]), (&made.json["user_uid"], &made.json["group_pk"]));
    assert_eq!(user["attributes"], json!({"goauthentik.io/user/token-expires": true}));
    let key = site.admin(Method::GET, "/core/tokens/service-account-bot-password/view_key/", None).await;
    assert_eq!(key.json["key"], made.json["token"]);
    let token = site.admin(Method::GET, "/core/tokens/service-account-bot-password/", None).await.json;
    assert_eq!(token["expires"], json!(site.ctx.now().plus_seconds(360 * 86400).to_string()));
    let again = site.admin(Method::POST, "/core/users/service_account/", body).await;
    assert_eq!(again.status, 400);
    assert_eq!(again.json["non_field_errors"].as_array().map(Vec::len), Some(2));
    let blank = site.admin(Method::POST, "/core/users/service_account/", json!({"name": ""})).await;
    assert_eq!(blank.json, json!({"name": ["This field may not be blank."]}));
}

/// CO-040, CO-542: a set password is one that verifies, noted in an event, in the file only as a hash.
#[tokio::test]
async fn co_542_a_password_is_set() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let path = format!("/core/users/{user}/set_password/");
    let set = site.admin(Method::POST, &path, json!({"password": " pass word of ada "})).await;
    assert_eq!(set.status, 204, "{:?}", set.json);
    let mut conn = site.ctx.db.read().await.expect("reads");
    let stored = portcullis_store::account::by_username(&mut conn, "ada").await.expect("reads").expect("ada");
    let hash = stored.password_hash.as_deref();
    assert!(portcullis_idp::password::verify(" pass word of ada ", hash).await.is_right());
    assert_eq!(site.events("password_set").await.0, 1);
    let empty = site.admin(Method::POST, &path, json!({"password": ""})).await;
    assert_eq!((empty.status.as_u16(), empty.json), (400, json!({"password": ["This field may not be blank."]})));
    let missing = site.admin(Method::POST, "/core/users/999999/set_password/", json!({"password": "x"})).await;
    assert_eq!(missing.status, 404);
}

/// CO-818: a deleted user's name and address are gone from past events.
#[tokio::test]
async fn co_818_past_events_forget_a_deleted_user() {
    let site = Site::new().await;
    let body = json!({"username": "ada", "name": "Ada Lovelace", "email": "ada@example.com"});
    let user = site.admin(Method::POST, "/core/users/", body).await.json["pk"].clone();
    let key = site.api_key(user.as_i64().expect("int"), "k").await;
    site.bearer(&key, Method::GET, "/core/tokens/k/view_key/", None).await;
    site.admin(Method::DELETE, &format!("/core/users/{user}/"), None).await;
    let mut conn = site.ctx.db.read().await.expect("reads");
    let events = portcullis_store::event::latest(&mut conn, None, 100).await.expect("events");
    for event in &events {
        let text = format!("{} {}", event.account, event.context);
        assert!(!text.contains("\"ada\"") && !text.contains("ada@example.com"), "{text}");
    }
    let hers = events.iter().filter(|event| event.account["pk"] == user).collect::<Vec<_>>();
    assert_eq!(hers.len(), 1);
    assert_eq!((hers[0].action.as_str(), hers[0].client_ip.as_deref()), ("secret_view", None));
    assert!(hers[0].account["username"].as_str().expect("text").starts_with("deleted-"));
}

/// CO-818: events about others stay intact when a user goes who is called like they are, and old names go
/// with the user.
#[tokio::test]
async fn co_818_events_about_others_stay() {
    let site = Site::new().await;
    let body = json!({"username": "ada", "name": "akadmin", "email": "wiki@example.com"});
    let user = site.admin(Method::POST, "/core/users/", body).await.json["pk"].clone();
    let path = format!("/core/users/{user}/");
    site.admin(Method::PATCH, &path, json!({"username": "grace", "name": "authentik Admins"})).await;
    let attempt = async |name: &str| {
        let form = format!("uid_field={name}&password=guess");
        let request = http::Request::post("/if/flow/default-authentication-flow/")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(axum::body::Body::from(form));
        site.raw(request.expect("a request")).await
    };
    attempt("grace").await;
    attempt("nobody").await;
    site.admin(Method::POST, "/core/groups/", json!({"name": "grace"})).await;
    site.admin(Method::DELETE, &path, None).await;
    let mut conn = site.ctx.db.read().await.expect("reads");
    let events = portcullis_store::event::latest(&mut conn, None, 100).await.expect("events");
    let said = |wanted: &str| events.iter().filter(|event| event.context.to_string().contains(wanted)).count();
    assert_eq!((said("\"ada\""), said("\"akadmin\"")), (0, 1), "the administrator is still named");
    assert_eq!(said("\"name\":\"grace\""), 1, "the group is still named");
    assert_eq!((said("\"username\":\"grace\""), said("\"username\":\"nobody\"")), (0, 1));
    assert!(events.iter().any(|event| event.account["username"] == "akadmin"));
}
