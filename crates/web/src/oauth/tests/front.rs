//! The authorization endpoint and sign-in, as a browser meets them.

use super::browser::{Browser, kept, lent, set_password};
use super::leaving::posts_again;
use super::login::{authorize, callback, code, member, redeem, signed_in};
use super::*;

/// OA-140, OA-141, OA-142: without a known client and an exact redirect URI nobody is sent anywhere.
#[tokio::test]
async fn oa_141_unregistered_addresses_get_nothing() {
    let (wiki, mut browser) = signed_in().await;
    let cases: [&[(&str, &str)]; 6] = [
        &[("client_id", "nobody")],
        &[("client_id", "")],
        &[("redirect_uri", "")],
        &[("redirect_uri", "http://evil.example/")],
        &[("redirect_uri", "http://wiki.example/outpost.goauthentik.io/callback")],
        &[("redirect_uri", "javascript:alert(1)")],
    ];
    for wrong in cases {
        let reply = browser.get(&wiki.site, &authorize(&wiki, wrong)).await;
        assert_eq!(reply.status, 400, "{wrong:?}");
        assert!(reply.headers.get("location").is_none());
        assert!(!reply.text.contains("evil.example"));
    }
    assert_eq!(browser.get(&wiki.site, "/application/o/authorize/").await.status, 404);
    let doubled = format!("{}&client_id=x", authorize(&wiki, &[]));
    assert_eq!(browser.get(&wiki.site, &doubled).await.status, 400);
}

/// OA-157, OA-664: an unregistered address is recorded once per client and address of the sender; what comes after
/// that writes nothing.
#[tokio::test]
async fn oa_157_repeated_errors_write_nothing() {
    let (wiki, mut browser) = signed_in().await;
    let wrong = authorize(&wiki, &[("redirect_uri", "http://evil.example/")]);
    browser.get(&wiki.site, &wrong).await;
    let before = wiki.site.database.state();
    for _ in 0..3 {
        assert_eq!(browser.get(&wiki.site, &wrong).await.status, 400);
    }
    assert!(wiki.site.database.state() == before, "nothing was written");
    let (count, event) = wiki.site.events("configuration_error").await;
    assert_eq!((count, &event["redirect_uri"]), (1, &json!("http://evil.example/")));
}

/// OA-144, OA-149, OA-151, OA-152, OA-153, OA-155, OA-156, OA-842: everything else is told to the client, with its
/// state.
#[tokio::test]
async fn oa_155_errors_reach_the_client() {
    let (wiki, mut browser) = signed_in().await;
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "unsupported_response_type"),
        ("request", "x", "request_not_supported"),
        ("request_uri", "x", "request_uri_not_supported"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("prompt", "none login", "invalid_request"),
        ("prompt", "none consent", "invalid_request"),
        ("max_age", "soon", "invalid_request"),
        ("max_age", "-1", "invalid_request"),
        ("max_age", "+5", "invalid_request"),
        ("max_age", "1.5", "invalid_request"),
    ] {
        let reply = browser.get(&wiki.site, &authorize(&wiki, &[(name, value)])).await;
        assert_eq!(reply.status, 302, "{name}={value}");
        assert!(location(&reply).starts_with(&callback()));
        assert_eq!(member(&reply, "error").as_deref(), Some(error), "{name}={value}");
        assert_eq!(member(&reply, "state").as_deref(), Some("s&t=1#"));
    }
}

/// OA-154, OA-162, OA-163: `prompt=none` never asks, `prompt=login` and an old login ask once more and then
/// go on.
#[tokio::test]
async fn oa_163_prompts_are_honoured() {
    let (wiki, mut browser) = signed_in().await;
    let reply = Browser::default().get(&wiki.site, &authorize(&wiki, &[("prompt", "none")])).await;
    assert_eq!(member(&reply, "error").as_deref(), Some("login_required"));
    let silent = browser.get(&wiki.site, &authorize(&wiki, &[("prompt", "none")])).await;
    assert!(member(&silent, "code").is_some());
    wiki.site.clock.advance_seconds(100);
    for again in [("prompt", "login"), ("max_age", "0"), ("max_age", "60")] {
        wiki.site.clock.advance_seconds(100);
        let sent = browser.get(&wiki.site, &authorize(&wiki, &[again])).await;
        let page = location(&sent).to_owned();
        assert!(page.starts_with("/if/flow/default-authentication-flow/?next="), "{again:?} {page}");
        assert_eq!(browser.get(&wiki.site, &page).await.status, 200, "asks although signed in");
        let all = [("uid_field", "ada"), ("password", "correct horse battery")];
        let done = browser.post(&wiki.site, &page, &all).await;
        let back = browser.get(&wiki.site, location(&done)).await;
        assert!(member(&back, "code").is_some(), "{again:?} {}", location(&back));
    }
}

/// OA-163, OA-848: `prompt=login` is satisfied by a login that was made for this very request, in a browser
/// that was signed in or not, and by nothing that a client can say.
#[tokio::test]
async fn oa_163_a_new_login_cannot_be_claimed() {
    let (wiki, mut browser) = signed_in().await;
    let asks = async |browser: &mut Browser, more: &[(&str, &str)]| {
        let sent = browser.get(&wiki.site, &authorize(&wiki, more)).await;
        let asks = location(&sent).starts_with("/if/flow/default-authentication-flow/");
        asks.then(|| location(&sent).to_owned())
    };
    for said in ["0", "1790000000", "AAAA"] {
        assert!(asks(&mut browser, &[("prompt", "login"), ("portcullis_after", said)]).await.is_some(), "{said}");
    }
    let all = [("uid_field", "ada"), ("password", "correct horse battery")];
    for mut browser in [browser, Browser::default()] {
        let page = asks(&mut browser, &[("prompt", "login")]).await.expect("asks");
        let marked =
            page.split_once("portcullis%5Fafter%3D").expect("a marker").1.replace("%2D", "-").replace("%5F", "_");
        let mut again = Browser::default();
        again.sign_in(&wiki.site, "ada", "correct horse battery").await;
        assert!(
            asks(&mut again, &[("prompt", "login"), ("nonce", "n-2"), ("portcullis_after", &marked)]).await.is_some()
        );
        let done = browser.post(&wiki.site, &page, &all).await;
        let back = browser.get(&wiki.site, location(&done)).await;
        assert!(member(&back, "code").is_some(), "{}", location(&back));
        wiki.site.clock.advance_seconds(61);
        let later = browser.get(&wiki.site, location(&done)).await;
        assert!(location(&later).starts_with("/if/flow/"), "a login counts once");
    }
}

/// OA-009, OA-163: a request that would be too long when its browser comes back from a sign-in is refused before, and one that
/// is not comes back.
#[tokio::test]
async fn oa_009_who_is_sent_to_sign_in_comes_back() {
    let (wiki, mut browser) = signed_in().await;
    let all = [("uid_field", "ada"), ("password", "correct horse battery")];
    let asked = authorize(&wiki, &[("prompt", "login"), ("ui_locales", "x")]).len();
    let mut came_back = Vec::new();
    for room in [0, 100, 200, 300] {
        wiki.site.clock.advance_seconds(100);
        let filling = "x".repeat(16 * 1024 - asked - room);
        let sent = browser.get(&wiki.site, &authorize(&wiki, &[("prompt", "login"), ("ui_locales", &filling)])).await;
        came_back.push(sent.status == 302);
        if sent.status == 302 {
            let done = browser.post(&wiki.site, location(&sent), &all).await;
            let back = browser.get(&wiki.site, location(&done)).await;
            assert!(back.status == 302 && member(&back, "code").is_some(), "{room}: {}", back.status);
        } else {
            assert!(sent.status == 414 && sent.text.contains("too long"), "{room}: {}", sent.text);
        }
    }
    let longest = "x".repeat(16 * 1024 - asked);
    let known = browser.get(&wiki.site, &authorize(&wiki, &[("ui_locales", &longest)])).await;
    assert!(member(&known, "code").is_some(), "nobody is sent anywhere");
    let unknown = Browser::default().get(&wiki.site, &authorize(&wiki, &[("ui_locales", &longest)])).await;
    assert_eq!(unknown.status, 414);
    assert_eq!(came_back, [false, false, false, true]);
}

/// OA-165, CO-140, OA-851: a denied user sees so with status 403 and a way back; a silent request is told at once.
#[tokio::test]
async fn oa_165_denied_users_see_so() {
    let (wiki, mut browser) = signed_in().await;
    let bob = wiki.site.user("bob").await;
    wiki.bind_to(bob).await;
    let page = browser.get(&wiki.site, &authorize(&wiki, &[])).await;
    assert_eq!(page.status, 403);
    assert!(page.text.contains("error=access_denied"), "{}", page.text);
    let silent = browser.get(&wiki.site, &authorize(&wiki, &[("prompt", "none")])).await;
    assert_eq!(member(&silent, "error").as_deref(), Some("access_denied"));
}

/// OA-157, OA-664: a client that is not known is recorded once per address of the sender, with the id that was given.
#[tokio::test]
async fn oa_157_unknown_clients_are_recorded() {
    let (wiki, mut browser) = signed_in().await;
    for nobody in ["nobody", "nobody", "nobody-either"] {
        let page = browser.get(&wiki.site, &authorize(&wiki, &[("client_id", nobody)])).await;
        assert_eq!(page.status, 400);
        assert!(!page.text.contains("nobody"), "{}", page.text);
    }
    let (count, event) = wiki.site.events("configuration_error").await;
    assert_eq!((count, &event["client_id"]), (1, &json!("nobody")));
    wiki.site.clock.advance_seconds(301);
    browser.get(&wiki.site, &authorize(&wiki, &[("client_id", "x".repeat(300).as_str())])).await;
    let (count, event) = wiki.site.events("configuration_error").await;
    assert_eq!((count, event["client_id"].as_str().map(str::len)), (2, Some(255)));
}

/// OA-157, OA-664: whoever has a network of IPv6 addresses is recorded once for all of them, another one by themselves.
#[tokio::test]
async fn oa_157_a_network_is_recorded_once() {
    let wiki = Wiki::new().await;
    let unknown = authorize(&wiki, &[("client_id", "nobody")]);
    let unregistered = authorize(&wiki, &[("redirect_uri", "http://evil.example/")]);
    let mut recorded = Vec::new();
    for from in ["2001:db8:1:2::1", "2001:db8:1:2:ffff::2", "2001:db8:1:3::1"] {
        for wrong in [&unknown, &unregistered] {
            let request = Request::builder().uri(wrong).body(Body::empty()).expect("a request");
            let reply = wiki.site.raw_from(request, from.parse().expect("an address")).await;
            assert_eq!(reply.status, 400, "{from}");
        }
        recorded.push(wiki.site.events("configuration_error").await.0);
    }
    assert_eq!(recorded, [2, 2, 4]);
}

/// OA-153, OA-162: a login may be as old as a client likes, in whatever number of seconds.
#[tokio::test]
async fn oa_153_ages_have_no_end() {
    let (wiki, mut browser) = signed_in().await;
    wiki.site.clock.advance_seconds(600);
    for age in ["601", "4294967296", "99999999999999999999999"] {
        let reply = browser.get(&wiki.site, &authorize(&wiki, &[("max_age", age)])).await;
        assert!(member(&reply, "code").is_some(), "{age}: {}", location(&reply));
    }
}

/// OA-850, OA-085: a form that another site posts comes without a cookie: the browser asks again by itself, and is who it
/// is.
#[tokio::test]
async fn oa_850_posts_of_other_sites_find_the_session() {
    let (wiki, mut browser) = signed_in().await;
    let target = authorize(&wiki, &[("prompt", "none")]);
    let (path, query) = target.split_once('?').expect("a query");
    let all: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let headers = [("origin", "http://wiki.example"), ("sec-fetch-site", "cross-site")];
    let sent = post(&wiki.site, path, &all, &headers).await;
    assert_eq!(sent.status, 303, "OA-742");
    let answer = browser.get(&wiki.site, location(&sent)).await;
    assert!(member(&answer, "code").is_some(), "{}", location(&answer));
    assert_eq!(post(&wiki.site, path, &[], &headers).await.status, 404);
}

/// OA-175, OA-166: `form_post` is a page that posts to the client, by itself where the browser runs scripts, and its policy
/// allows just that.
#[tokio::test]
async fn oa_175_answers_can_be_posted() {
    let (wiki, mut browser) = signed_in().await;
    let page = browser.get(&wiki.site, &authorize(&wiki, &[("response_mode", "form_post")])).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("name=\"code\""));
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("form-action 'self' http://wiki.example;"), "{policy}");
    assert!(policy.contains("script-src 'self';"), "{policy}");
    assert!(page.text.contains("data-submit"));
    let script = page.text.split("<script src=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a script");
    let script = get(&wiki.site, script, &[]).await;
    assert_eq!(script.status, 200);
    assert!(script.text.contains("form[data-submit]") && script.text.contains("requestSubmit"), "{}", script.text);
    let fragment = browser.get(&wiki.site, &authorize(&wiki, &[("response_mode", "fragment")])).await;
    assert!(location(&fragment).contains("#code="));
}

/// CO-139, CO-140: an application is opened for whoever may use it, after signing in, and for nobody else.
#[tokio::test]
async fn co_139_applications_are_launched() {
    let (wiki, mut browser) = signed_in().await;
    let launch = "/application/launch/wiki/";
    let opened = browser.get(&wiki.site, launch).await;
    assert_eq!((opened.status.as_u16(), location(&opened)), (302, EXTERNAL));
    let mut stranger = Browser::default();
    let sent = stranger.get(&wiki.site, launch).await;
    let page = stranger.get(&wiki.site, location(&sent)).await;
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("form-action 'self' http://wiki.example;"), "{policy}");
    let all = [("uid_field", "ada"), ("password", "correct horse battery")];
    assert_eq!(location(&stranger.post(&wiki.site, location(&sent), &all).await), launch);
    assert_eq!(browser.get(&wiki.site, "/application/launch/nothing/").await.status, 404);
    let hide = json!({"meta_launch_url": "blank://blank"});
    wiki.site.admin(Method::PATCH, "/core/applications/wiki/", hide).await;
    assert_eq!(browser.get(&wiki.site, launch).await.status, 404);
    let bob = wiki.site.user("bob").await;
    wiki.bind_to(bob).await;
    assert_eq!(browser.get(&wiki.site, launch).await.status, 403);
}

/// CO-034: a guest may use applications, and has no home page here.
#[tokio::test]
async fn co_034_guests_have_no_home() {
    let (wiki, mut browser) = signed_in().await;
    assert_eq!(browser.get(&wiki.site, "/").await.status, 200);
    wiki.site.admin(Method::PATCH, &format!("/core/users/{}/", wiki.ada), json!({"type": "external"})).await;
    let home = browser.get(&wiki.site, "/").await;
    assert_eq!(home.status, 403);
    assert!(home.text.contains("Access denied") && !home.text.contains(EXTERNAL));
    assert!(!code(&wiki, &mut browser).await.is_empty());
}

/// CO-461: an imported hash signs in, and is replaced by one of ours when it does.
#[tokio::test]
async fn co_461_imported_hashes_are_upgraded() {
    let (wiki, _) = signed_in().await;
    let stored = async || {
        let mut conn = wiki.site.ctx.db.read().await.expect("reads");
        portcullis_store::account::by_username(&mut conn, "ada").await.expect("reads").expect("is there")
    };
    let mut ada = stored().await;
    ada.password_hash =
        Some("pbkdf2_sha256$1000$sixteensaltbytes$tR68D/MmWh1fQjlUX2wcFXLX9G6n/O1KzpZ6TOL1W6E=".to_owned());
    let mut tx = wiki.site.ctx.db.write().await.expect("writes");
    portcullis_store::account::update(&mut tx, &ada).await.expect("stores");
    tx.commit().await.expect("commits");
    assert_eq!(Browser::default().sign_in(&wiki.site, "ada", "wrong").await.status, 200);
    for _ in 0..2 {
        assert_eq!(Browser::default().sign_in(&wiki.site, "ada", "correct horse battery").await.status, 303);
        assert!(stored().await.password_hash.expect("a hash").starts_with("$argon2id$"));
    }
}

/// A sign-in page but for what its form is known by and a passkey is asked, which is another for everybody.
fn unasked(page: &str) -> String {
    let without = |page: &str, start: &str| {
        let (before, rest) = page.split_once(start).expect("is there");
        format!("{before}{}", rest.split_once('"').expect("an end").1)
    };
    without(&without(page, "name=\"form\" value=\""), "data-options=\"")
}

/// CO-311, CO-312: a wrong password, an unknown user, an inactive one and a service account get one answer.
#[tokio::test]
async fn co_311_sign_in_tells_nobody_who_exists() {
    let (wiki, _) = signed_in().await;
    let bob = wiki.site.user("bob").await;
    set_password(&wiki.site, bob, "another password").await;
    wiki.site.admin(Method::PATCH, &format!("/core/users/{bob}/"), json!({"is_active": false})).await;
    let mut pages = Vec::new();
    for (name, password) in
        [("ada", "guess-1"), ("nobody", "guess-2"), ("bob", "another password"), ("akadmin", "guess-3")]
    {
        let reply = Browser::default().sign_in(&wiki.site, name, password).await;
        assert_eq!(reply.status, 200);
        let session = |cookie: &http::HeaderValue| cookie.as_bytes().starts_with(b"authentik_session=");
        assert!(!reply.headers.get_all("set-cookie").iter().any(session) && !reply.text.contains(password));
        pages.push(unasked(&reply.text).replace(&format!("value=\"{name}\""), ""));
    }
    pages.dedup();
    assert_eq!(pages.len(), 1);
}

/// CO-311, OA-004: a name that is too long to be anybody's is answered like any wrong one, a form that is too
/// long is not read.
#[tokio::test]
async fn co_311_long_names_are_nobodys() {
    let (wiki, _) = signed_in().await;
    let answer = async |length: usize| Browser::default().sign_in(&wiki.site, &"x".repeat(length), "guess").await;
    let (short, long) = (answer(3).await, answer(300).await);
    assert_eq!((short.status, long.status), (http::StatusCode::OK, http::StatusCode::OK));
    assert_eq!(unasked(&long.text).replace(&"x".repeat(300), "xxx"), unasked(&short.text));
    assert_eq!(answer(9000).await.status, 400);
    let long = "ﷺ".repeat(10_000);
    let all = [("grant_type", "client_credentials"), ("username", long.as_str()), ("password", KEY)];
    assert_eq!(wiki.token(&all[..1]).await.json["error"], "invalid_grant");
    assert_eq!(wiki.token(&all).await.status, 413);
    let all = [all[0], ("username", &long[..15_000]), all[2]];
    assert_eq!(wiki.token(&all).await.json["error"], "invalid_grant");
}

/// CO-387: a sign-in or sign-out that another site makes the browser send does nothing.
#[tokio::test]
async fn co_387_other_sites_cannot_sign_in_or_out() {
    let (wiki, _) = signed_in().await;
    let all = [("uid_field", "ada"), ("password", "correct horse battery")];
    for foreign in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"), ("origin", "null")] {
        for path in ["/if/flow/default-authentication-flow/", "/if/flow/default-invalidation-flow/"] {
            let reply = post(&wiki.site, path, &all, &[foreign]).await;
            assert_eq!(reply.status, 403, "{path} {foreign:?}");
            assert!(reply.headers.get("set-cookie").is_none());
        }
    }
}

/// OA-085, OA-850, OA-009: so it is with a request to sign in; one that nobody is signed in for is refused, as it would be lost.
#[tokio::test]
async fn oa_085_a_long_posted_request_is_posted_again() {
    let (wiki, mut browser) = signed_in().await;
    let url = authorize(&wiki, &[]);
    let (path, query) = url.split_once('?').expect("a query");
    let state = "<\"\r\n\nx".repeat(4000);
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let mut pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    pairs.retain(|(name, _)| *name != "state");
    pairs.push(("state", &state));
    let headers = [("origin", "http://wiki.example"), ("sec-fetch-site", "cross-site")];
    posts_again(&post(&wiki.site, path, &pairs, &headers).await, path, &pairs);
    let again = format!("{path}?again");
    let keeps = kept(&pairs);
    let pairs = lent(&keeps);
    let done = browser.post(&wiki.site, &again, &pairs).await;
    assert!(done.status == 302 && member(&done, "code").is_some(), "{}", done.text);
    assert_eq!(member(&done, "state").as_deref(), Some(state.as_str()));
    for from in ["http://id.example", "https://id.example", "null"] {
        let lost = post(&wiki.site, &again, &pairs, &[("origin", from)]).await;
        assert!(lost.status == 414 && lost.text.contains("is too long"), "{}", lost.text);
    }
}

/// CO-380, OA-282: two hundred people who sign in at the same time each get themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn co_380_two_hundred_sign_ins_get_themselves() {
    let (wiki, _) = signed_in().await;
    let mut tx = wiki.site.ctx.db.write().await.expect("writes");
    let ada = portcullis_store::account::by_username(&mut tx, "ada").await.expect("reads").expect("is there");
    for number in 0..200 {
        let mut account = ada.clone();
        account.uuid = wiki.site.ctx.entropy.uuid();
        account.username = format!("person-{number}");
        account.attributes_sealed = Vec::new();
        portcullis_store::account::insert(&mut tx, &account).await.expect("inserts");
    }
    tx.commit().await.expect("commits");
    let wiki = std::sync::Arc::new(wiki);
    let people: Vec<_> = (0..200)
        .map(|number| {
            let wiki = std::sync::Arc::clone(&wiki);
            tokio::spawn(async move {
                let mut browser = Browser::default();
                let name = format!("person-{number}");
                assert_eq!(browser.sign_in(&wiki.site, &name, "correct horse battery").await.status, 303);
                let code = code(&wiki, &mut browser).await;
                let tokens = redeem(&wiki, &code, &[]).await;
                assert_eq!(claims(&tokens.json["id_token"])["preferred_username"], name.as_str());
                let home = browser.get(&wiki.site, "/").await.text;
                assert!(home.contains(&format!("<strong>{name}</strong>")));
            })
        })
        .collect();
    for person in people {
        person.await.expect("gets themselves");
    }
}

/// CO-140, CO-067: why somebody is denied is told to superusers and to those who have `goauthentik.io/user/debug`, on the page of the
/// sign-in and on that of the portal; nobody else is told.
#[tokio::test]
async fn co_140_the_trace_is_for_those_who_may_see_it() {
    let (wiki, mut browser) = signed_in().await;
    let bob = wiki.site.user("bob").await;
    wiki.bind_to(bob).await;
    let pages = async |browser: &mut Browser| {
        let mut texts = Vec::new();
        for path in [authorize(&wiki, &[]), "/application/launch/wiki/".to_owned()] {
            let denied = browser.get(&wiki.site, &path).await;
            assert_eq!(denied.status, 403, "{}", denied.text);
            texts.push(denied.text);
        }
        texts
    };
    for page in pages(&mut browser).await {
        assert!(!page.contains("<details>") && !page.contains("bob"), "{page}");
    }
    let user = format!("/core/users/{}/", wiki.ada);
    let debug = json!({"attributes": {"goauthentik.io/user/debug": true}});
    assert_eq!(wiki.site.admin(Method::PATCH, &user, debug).await.status, 200);
    for page in pages(&mut browser).await {
        let told = ["<details>", "ada is not this user", "does not pass", "ada may not use the application"];
        assert!(told.iter().all(|part| page.contains(part)), "{page}");
    }
    let plain = json!({"attributes": {"goauthentik.io/user/debug": "true"}});
    assert_eq!(wiki.site.admin(Method::PATCH, &user, plain).await.status, 200);
    assert!(!pages(&mut browser).await[0].contains("<details>"), "only a yes counts");
    let groups = wiki.site.admin(Method::GET, "/core/groups/?is_superuser=true", None).await;
    let path = format!("/core/groups/{}/add_user/", groups.json["results"][0]["pk"].as_str().expect("a group"));
    assert_eq!(wiki.site.admin(Method::POST, &path, json!({"pk": wiki.ada})).await.status, 204);
    assert!(pages(&mut browser).await[0].contains("<details>"), "a superuser, who is denied all the same (CO-136)");
}

/// OA-840: a client without redirect URIs signs nobody in, and its list is not filled by what somebody asks for.
#[tokio::test]
async fn oa_840_an_empty_list_stays_empty() {
    let app = super::clients::App::new(json!({"redirect_uris": []})).await;
    for uri in ["https://app.example/cb", "https://evil.example/"] {
        let reply = app.authorize(&[("redirect_uri", uri)]).await;
        assert_eq!(reply.status, 400, "{uri}");
        assert!(reply.headers.get("location").is_none());
    }
    let path = format!("/providers/oauth2/{}/", app.provider["pk"]);
    assert_eq!(app.site.admin(Method::GET, &path, None).await.json["redirect_uris"], json!([]));
}

/// OA-853, OA-176, OA-852: a state that was not sent is not sent back, and the issuer always is, with a code and with an error.
#[tokio::test]
async fn oa_853_no_state_comes_of_none() {
    let (wiki, mut browser) = signed_in().await;
    for (more, member_of) in [(("prompt", ""), "code"), (("request", "x"), "error")] {
        for state in ["", "s"] {
            let reply = browser.get(&wiki.site, &authorize(&wiki, &[more, ("state", state)])).await;
            assert_eq!(reply.status, 302, "{more:?}");
            assert!(member(&reply, member_of).is_some(), "{more:?}");
            assert_eq!(member(&reply, "state").unwrap_or_default(), state);
            assert_eq!(location(&reply).contains("state="), !state.is_empty(), "{more:?}");
            assert_eq!(member(&reply, "iss").as_deref(), Some("http://id.example/application/o/wiki/"));
        }
    }
}
