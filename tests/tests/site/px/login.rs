//! Signing in to an application, and out again.

use portcullis_testkit::raw;
use portcullis_testkit::{Go as _, Visitor, http, run};
use serde_json::json;
use url::Url;

use crate::stage::{Stage, shared};

const START: &str = "/outpost.goauthentik.io/start";

fn query(url: &str, name: &str) -> Option<String> {
    let url: Url = url.parse().unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// PX-130, PX-151, PX-544: after signing in, the visitor stands before the page they asked for, query and all.
#[test]
fn px_151_a_login_ends_at_the_requested_page() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let wanted = stage.app.url("/deep/page?x=1&y=%C3%A4");
        let mut visitor = Visitor::new();
        let page = visitor.sign_in(&wanted, &stage.person).await;
        assert_eq!(page.reply.status, 200, "{:#?}", visitor.trace);
        assert_eq!(page.url.as_str(), wanted);
        assert_eq!(page.reply.text(), "GET /deep/page?x=1&y=%C3%A4\n");
        assert_eq!(stage.recorder.last().one("x-authentik-username").as_ref(), Some(&stage.person.username));
        let pre = format!("{}_pre", stage.app.cookie_name());
        assert_eq!(visitor.cookie(&stage.app.external, &pre), None, "the pre-auth cookie is cleared");
    });
}

/// PX-190, CO-310: signing in once opens the next application without another password; an e-mail address will do.
#[test]
fn co_310_sign_in_by_e_mail_opens_the_next_application_too() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let second = Stage::new(json!({})).await;
        let mut visitor = Visitor::new();
        let page = visitor.sign_in_as(&stage.app.url("/"), &stage.person.email, &stage.person.password).await;
        assert_eq!(page.reply.status, 200);
        let page = visitor.visit(&second.app.url("/also")).await;
        assert_eq!(page.reply.text(), "GET /also\n", "{:#?}", visitor.trace);
    });
}

/// PX-141, PX-142, PX-143, PX-144: the authorization request carries state, nonce and PKCE, and state reveals nothing.
#[test]
fn px_141_the_authorization_request_is_complete() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let target = stage.app.url("/secret-target");
        let rd: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
        let reply = stage.get(&format!("{START}?rd={rd}")).go().await;
        assert_eq!(reply.status, 302);
        let location = reply.location();
        assert!(location.starts_with(&format!("{}/application/o/authorize/?", stage.site.base())), "{location}");
        assert_eq!(query(&location, "client_id").as_ref(), Some(&stage.app.client_id));
        assert_eq!(query(&location, "response_type").as_deref(), Some("code"));
        let callback = format!("{}/outpost.goauthentik.io/callback?X-authentik-auth-callback=true", stage.app.external);
        assert_eq!(query(&location, "redirect_uri"), Some(callback));
        assert_eq!(query(&location, "code_challenge_method").as_deref(), Some("S256"));
        assert_eq!(query(&location, "code_challenge").unwrap().len(), 43);
        assert!(query(&location, "nonce").unwrap().len() >= 22);
        for scope in ["openid", "profile", "email", "entitlements", "ak_proxy"] {
            assert!(query(&location, "scope").unwrap().split(' ').any(|other| other == scope), "{scope}");
        }
        let state = query(&location, "state").unwrap();
        assert!(state.len() <= 2048 && !state.contains("secret-target"));
        for part in state.split('.') {
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
            assert!(raw::find(&decoded, b"secret-target").is_none(), "state can be read");
        }
        let pre = format!("{}_pre=", stage.app.cookie_name());
        let line = reply.all("set-cookie").into_iter().find(|line| line.starts_with(&pre)).unwrap();
        for attribute in ["Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=3600"] {
            assert!(line.contains(attribute), "{line}");
        }
    });
}

/// PX-143, PX-146: a second tab does not disturb the login in the first, and goes on once that one is signed in.
#[test]
fn px_143_two_tabs_share_the_pre_auth_cookie() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let mut visitor = Visitor::new();
        let first = visitor.visit(&stage.app.url("/first")).await;
        visitor.visit(&stage.app.url("/second")).await;
        let second = visitor.trace.iter().rev().find(|line| line.contains("/authorize/?")).unwrap();
        let second = second.trim_start_matches("GET ").to_owned();
        let person = &stage.person;
        let fields = [("uid_field", person.username.as_str()), ("password", &person.password)];
        let done = visitor.submit(&first, &fields).await;
        assert_eq!(done.reply.text(), "GET /first\n", "{:#?}", visitor.trace);
        let done = visitor.visit(&second).await;
        assert_eq!(done.reply.text(), "GET /\n", "{:#?}", visitor.trace);
    });
}

/// PX-163, PX-161, PX-165, PX-540: a target elsewhere is replaced by the application's own address.
#[test]
fn px_163_foreign_targets_are_replaced() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let near = format!("http://x{}", stage.app.authority());
        let inside = stage.app.url("/outpost.goauthentik.io/sign_out");
        let user = format!("http://a@{}/", stage.app.authority());
        let targets = [
            "http://evil.example/",
            &near,
            "//evil.example/",
            "javascript:alert(1)",
            "/\\evil.example",
            &inside,
            &user,
        ];
        for target in targets {
            let rd: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
            let mut visitor = Visitor::new();
            let page = visitor.sign_in(&format!("{}{START}?rd={rd}", stage.app.external), &stage.person).await;
            assert_eq!(page.url.as_str().trim_end_matches('/'), stage.app.external, "{target}");
        }
    });
}

/// PX-140: an unencoded target keeps what follows its first `&`; a relative one belongs to the application.
#[test]
fn px_140_unencoded_and_relative_targets() {
    run(async {
        let stage = Stage::new(json!({})).await;
        for (rd, end) in [
            (stage.app.url("/page?a=1&b=2"), stage.app.url("/page?a=1&b=2")),
            ("/relative?x=1".to_owned(), stage.app.url("/relative?x=1")),
        ] {
            let mut visitor = Visitor::new();
            let page = visitor.sign_in(&format!("{}{START}?rd={rd}", stage.app.external), &stage.person).await;
            assert_eq!(page.url.as_str(), end);
        }
    });
}

/// PX-146, PX-545: a callback with a missing, broken, foreign or used state is a page with status 400, never a redirect.
#[test]
fn px_146_bad_states_are_refused_with_a_page() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let other = Stage::new(json!({})).await;
        let callback = "/outpost.goauthentik.io/callback?X-authentik-auth-callback=true&code=abc";
        let start = other.get(&format!("{START}?rd=/")).go().await;
        let foreign = query(&start.location(), "state").unwrap();
        for state in [String::new(), "&state=".to_owned(), "&state=garbage".to_owned(), format!("&state={foreign}")] {
            let reply = stage.get(&format!("{callback}{state}")).go().await;
            assert_eq!(reply.status, 400, "{state}");
            assert!(reply.header("content-type").unwrap().starts_with("text/html"));
            assert!(reply.text().contains(START), "{}", reply.text());
            let policy = reply.header("content-security-policy").unwrap();
            assert!(!policy.contains("script-src") || policy.contains("script-src 'none'"), "{policy}");
        }
        let mine = stage.get(&format!("{START}?rd=/")).go().await;
        let mine = query(&mine.location(), "state").unwrap();
        let reply = stage.get(&format!("{callback}&state={mine}")).go().await;
        assert_eq!(reply.status, 400, "without the pre-auth cookie");
        let mut visitor = Visitor::new();
        visitor.sign_in(&stage.app.url("/"), &stage.person).await;
        let used = visitor.trace.iter().find(|line| line.contains("/callback?")).unwrap();
        let used = used.trim_start_matches("GET ").to_owned();
        let name = stage.app.cookie_name();
        let cookie = visitor.cookie(&stage.app.external, &name).unwrap().clone();
        let reply = http().get(&used).header("cookie", format!("{name}={cookie}")).go().await;
        assert_eq!(reply.location().trim_end_matches('/'), stage.app.external, "who is signed in goes on");
        assert_eq!(http().get(&used).go().await.status, 400, "a used callback");
    });
}

/// PX-147: an error of the authorization endpoint is a page with escaped text, and no loop.
#[test]
fn px_147_errors_of_the_login_are_pages() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let mut visitor = Visitor::new();
        let start = visitor.get(&stage.app.url(&format!("{START}?rd=/"))).await;
        let state = query(&start.location(), "state").unwrap();
        for (error, status) in [("access_denied", 403), ("invalid_scope", 400)] {
            let url = stage.app.url(&format!(
                "/outpost.goauthentik.io/callback?X-authentik-auth-callback=true&state={state}&error={error}\
                 &error_description=%3Cscript%3Ealert(1)%3C/script%3E"
            ));
            let reply = visitor.get(&url).await;
            assert_eq!(reply.status, status, "{}", reply.text());
            assert!(!reply.text().contains("<script>"));
        }
    });
}

/// PX-094, PX-147, CO-171: who is not allowed sees a page that says so, and does not reach the application.
#[test]
fn px_094_policy_decides_who_may_sign_in() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let allowed = stage.site.api.person("allowed").await;
        stage.site.api.bind(&stage.app, json!({"user": allowed.pk})).await;
        let mut visitor = Visitor::new();
        let page = visitor.sign_in(&stage.app.url("/"), &stage.person).await;
        assert_eq!(page.reply.status, 403, "{:#?}: {}", visitor.trace, page.reply.text());
        assert_eq!(stage.recorder.count(), 0);
        let page = Visitor::new().sign_in(&stage.app.url("/"), &allowed).await;
        assert_eq!(page.reply.status, 200);
    });
}

/// PX-172, PX-170, PX-099: the session cookie has the name and attributes that clients know.
#[test]
fn px_172_attributes_of_the_session_cookie() {
    run(async {
        let stage = Stage::new(json!({"access_token_validity": "minutes=10"})).await;
        let reply = stage.get("/").header("authorization", stage.basic()).go().await;
        let start = format!("{}=", stage.app.cookie_name());
        let lines = reply.all("set-cookie");
        let line = lines.iter().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{lines:?}"));
        let parts: Vec<&str> = line.split("; ").collect();
        assert_eq!(parts[0].len(), start.len() + 43, "256 bits in base64url");
        for attribute in ["Path=/", "HttpOnly", "SameSite=Lax"] {
            assert!(parts.contains(&attribute), "{line}");
        }
        assert!(!parts.contains(&"Secure") && !line.contains("Domain="), "{line}");
        let age = parts.iter().find_map(|part| part.strip_prefix("Max-Age=")).unwrap().parse::<u32>().unwrap();
        assert!((590..=600).contains(&age), "{line}");
    });
}

/// PX-171, PX-504: a session value of one application is worthless at another.
#[test]
fn px_171_a_session_is_good_for_one_provider() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let other = Stage::new(json!({})).await;
        let cookie = stage.login_cookie().await;
        let value = cookie.split_once('=').unwrap().1;
        let reply = other.get("/").header("cookie", format!("{}={value}", other.app.cookie_name())).go().await;
        assert_eq!(reply.status, 302);
    });
}

/// PX-177, PX-180: a stale or planted cookie harms neither a login nor a session.
#[test]
fn px_180_planted_cookies_are_harmless() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let name = stage.app.cookie_name();
        let cookie = stage.login_cookie().await;
        for jar in [format!("{name}=planted; {cookie}"), format!("{cookie}; {name}=\"; {name}=planted")] {
            assert_eq!(stage.get("/").header("cookie", &jar).go().await.status, 200, "{jar}");
        }
        let mut visitor = Visitor::new();
        let host = stage.app.external.parse::<Url>().unwrap().host_str().unwrap().to_owned();
        visitor.cookies.insert((host, name), "stale".to_owned());
        let page = visitor.sign_in(&stage.app.url("/fresh"), &stage.person).await;
        assert_eq!(page.reply.text(), "GET /fresh\n");
    });
}

/// PX-151, PX-503: every login issues a new session value and ends the one that the browser brought.
#[test]
fn px_151_a_login_rotates_the_session() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let old = stage.login_cookie().await;
        let mut visitor = Visitor::new();
        let (name, value) = old.split_once('=').unwrap();
        let host = stage.app.external.parse::<Url>().unwrap().host_str().unwrap().to_owned();
        visitor.cookies.insert((host, name.to_owned()), value.to_owned());
        let rd: String = url::form_urlencoded::byte_serialize(stage.app.url("/").as_bytes()).collect();
        visitor.sign_in(&format!("{}{START}?rd={rd}", stage.app.external), &stage.person).await;
        let new = visitor.cookie(&stage.app.external, name).unwrap();
        assert_ne!(new, value);
        assert_eq!(stage.get("/").header("cookie", &old).go().await.status, 302);
    });
}

/// PX-190, PX-514: signing out ends the user's sessions at every application and the session of the identity provider.
#[test]
fn px_190_sign_out_ends_all_sessions_of_the_user() {
    run(async {
        let site = shared().await;
        let first = Stage::new(json!({})).await;
        let second = Stage::with(site, first.person.clone(), json!({})).await;
        let mut visitor = Visitor::new();
        visitor.sign_in(&first.app.url("/"), &first.person).await;
        visitor.visit(&second.app.url("/")).await;
        let by_header = second.header_cookie(&second.basic()).await;
        let name = second.app.cookie_name();
        let cookie = format!("{name}={}", visitor.cookie(&second.app.external, &name).unwrap());
        assert_eq!(second.get("/").header("cookie", &cookie).go().await.status, 200);
        let reply = visitor.get(&first.app.url("/outpost.goauthentik.io/sign_out")).await;
        assert_eq!(reply.status, 302);
        let end = format!("{}/application/o/{}/end-session/", site.base(), first.app.slug);
        assert!(reply.location().starts_with(&end), "{}", reply.location());
        assert!(!reply.location().contains("id_token_hint"), "PX-192: {}", reply.location());
        assert_eq!(visitor.cookie(&first.app.external, &first.app.cookie_name()), None);
        for jar in [&cookie, &by_header] {
            assert_eq!(second.get("/").header("cookie", jar).go().await.status, 302);
        }
    });
}

/// PX-193, PX-515: other sites cannot sign anybody out.
#[test]
fn px_193_cross_site_sign_out_is_refused() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let cookie = stage.login_cookie().await;
        let sign_out = |headers: &[(&str, &str)]| {
            let mut request = stage.get("/outpost.goauthentik.io/sign_out").header("cookie", &cookie);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.go()
        };
        let image = sign_out(&[("sec-fetch-mode", "no-cors"), ("sec-fetch-site", "cross-site")]).await;
        assert_eq!(image.status, 403);
        let link = sign_out(&[("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")]).await;
        assert_eq!(link.status, 200, "a page that asks");
        assert!(link.text().contains("method=\"post\""), "{}", link.text());
        let post = stage.request("POST", "/outpost.goauthentik.io/sign_out").header("cookie", &cookie);
        assert_eq!(post.header("origin", "http://evil.example").go().await.status, 403);
        let signed = stage.get("/page?X-authentik-logout=true").header("cookie", &cookie);
        let signed = signed.header("sec-fetch-mode", "no-cors").header("sec-fetch-site", "cross-site").go().await;
        assert_ne!(signed.status, 302, "PX-065");
        assert_eq!(stage.get("/").header("cookie", &cookie).go().await.status, 200, "still signed in");
        let post = stage.request("POST", "/outpost.goauthentik.io/sign_out").header("cookie", &cookie);
        assert_eq!(post.header("origin", &stage.app.external).go().await.status, 302);
        assert_eq!(stage.get("/").header("cookie", &cookie).go().await.status, 302, "signed out");
    });
}

/// PX-194: signing out without a session says that one is signed out and starts no login.
#[test]
fn px_194_sign_out_without_a_session() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let reply = stage.get("/outpost.goauthentik.io/sign_out").go().await;
        assert_eq!(reply.status, 200);
        assert!(reply.text().contains(&stage.app.external));
    });
}

/// PX-062, PX-060, PX-592: reserved paths answer their methods only, and unknown ones never reach the application.
#[test]
fn px_060_the_reserved_namespace_is_ours() {
    run(async {
        let stage = Stage::new(json!({"skip_path_regex": "^/outpost"})).await;
        let cookie = stage.login_cookie().await;
        let before = stage.recorder.count();
        for path in ["start", "callback"] {
            let reply = stage.request("POST", &format!("/outpost.goauthentik.io/{path}")).go().await;
            assert_eq!(reply.status, 405, "{path}");
            assert!(reply.header("allow").unwrap().contains("GET"));
        }
        for path in ["", "/", "/unknown", "/auth/nginx", "/auth/traefik", "/startling", "/static/../start", "/static/"]
        {
            let request = stage.get(&format!("/outpost.goauthentik.io{path}")).header("cookie", &cookie);
            let reply = request.go().await;
            assert!(reply.status == 404 || path.contains(".."), "{path}: {}", reply.status);
        }
        assert_eq!(stage.get("/outpost.goauthentik.io/ping").go().await.status, 204);
        assert_eq!(stage.recorder.count(), before);
    });
}
