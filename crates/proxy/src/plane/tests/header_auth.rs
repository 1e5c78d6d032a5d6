//! Header authentication (sections 6 and 7).

use std::sync::Arc;

use http::StatusCode;
use portcullis_core::epoch::Subject;
use portcullis_core::outpost::{Mode, Provider};
use serde_json::json;

use super::site::{Site, VALIDITY, ada, basic, bearer_token, body, cookie_of, get, header, set_cookies};
use crate::settings::Limit;

/// PX-096, PX-091, PX-095, PX-520: right credentials pass, and never reach the application.
#[tokio::test]
async fn px_096_right_credentials_pass_and_are_removed() {
    for intercept in [true, false] {
        for credentials in [
            basic("ada", "secret"),
            format!("Bearer {}", bearer_token()),
            basic("goauthentik.io/token", &bearer_token()),
        ] {
            let site = Site::with(|provider| provider.intercept_header_auth = intercept, |_| {}).await;
            for _ in 0..2 {
                let response = site.send(get("/page?x=1").header("authorization", &credentials)).await;
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(site.last().all("authorization"), [""; 0]);
                assert_eq!(site.last().all("x-authentik-username"), ["ada"]);
                assert_eq!(site.last().path, "/page?x=1");
            }
        }
    }
}

/// PX-096, PX-098, PX-090, PX-528, PX-529: wrong credentials of any kind get one clean 401 when intercepting.
#[tokio::test]
async fn px_096_wrong_credentials_are_refused_when_intercepting() {
    for wrong in [
        basic("ada", "wrong"),
        basic("ada", ""),
        format!("Bearer {}x", bearer_token()),
        "Bearer opaque".to_owned(),
        "Basic !!!".to_owned(),
        "Digest x".to_owned(),
        String::new(),
    ] {
        let site = Site::new().await;
        let response = site.send(get("/").header("authorization", &wrong)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().cloned().collect();
        let expected =
            [r#"Basic realm="The \"Wiki\"", charset="UTF-8""#, r#"Bearer realm="The \"Wiki\"", error="invalid_token""#];
        assert_eq!(challenges, expected);
        assert!(header(&response, "location").is_empty() && set_cookies(&response).is_empty());
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
        assert!(body(response).await.contains("<title>Unauthenticated</title>"));
        assert!(site.seen().is_empty() && site.core.memory().sessions.is_empty());
    }
}

/// PX-098: the body of the 401 is JSON for those who prefer it.
#[tokio::test]
async fn px_098_the_refusal_is_json_for_programs() {
    let site = Site::new().await;
    let wrong = get("/").header("authorization", basic("ada", "wrong")).header("accept", "application/json");
    let response = site.send(wrong).await;
    assert_eq!(header(&response, "content-type"), "application/json");
    let answer: serde_json::Value = serde_json::from_str(&body(response).await).unwrap();
    assert_eq!(answer["error"], "invalid_credentials");
    assert!(answer["detail"].is_string());
}

/// PX-090, PX-534: two Authorization headers are invalid, even if one would hold.
#[tokio::test]
async fn px_090_two_authorization_headers_are_invalid() {
    let site = Site::new().await;
    let two = get("/").header("authorization", basic("ada", "secret")).header("authorization", "Basic x");
    assert_eq!(site.send(two).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(site.core.calls("verify_password"), 0);
}

/// PX-095, PX-096: credentials of ours that come twice, or beside others, reach no application.
#[tokio::test]
async fn px_095_doubled_credentials_reach_nobody() {
    let open = |provider: &mut Provider| {
        provider.intercept_header_auth = false;
        provider.skip_path_regex = "^/public/".to_owned();
    };
    let site = Site::with(open, |_| {}).await;
    let ours = basic("ada", "secret");
    let cookie = cookie_of(&site.send(get("/").header("authorization", &ours)).await).unwrap();
    for second in [ours.clone(), basic("other", "foreign")] {
        for path in ["/page", "/public/page"] {
            let both = get(path).header("authorization", &second).header("authorization", &ours);
            let both = if path == "/page" { both.header("cookie", &cookie) } else { both };
            assert_eq!(site.send(both).await.status(), StatusCode::OK);
            assert_eq!((site.last().path.as_str(), site.last().all("authorization")), (path, vec![]));
        }
    }
    let foreign = get("/page").header("cookie", &cookie).header("authorization", basic("other", "foreign"));
    site.send(foreign).await;
    assert_eq!(site.last().all("authorization"), [basic("other", "foreign")]);
}

/// PX-110, OA-682: what is no guess slows nobody down: a stale header that some program repeats.
#[tokio::test]
async fn px_110_what_is_no_guess_is_not_counted() {
    let site = Site::new().await;
    for stale in ["Negotiate abc".to_owned(), "Bearer opaque".to_owned(), basic("ada", "old")] {
        for _ in 0..60 {
            let refused = site.send(get("/").header("authorization", &stale)).await;
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{stale}");
        }
    }
    assert_eq!(site.send(get("/").header("authorization", basic("ada", "secret"))).await.status(), StatusCode::OK);
}

/// PX-096: without interception, wrong or foreign credentials lead to the login.
#[tokio::test]
async fn px_096_wrong_credentials_lead_to_the_login_otherwise() {
    for wrong in [basic("ada", "wrong"), "Digest x".to_owned()] {
        let site = Site::with(|provider| provider.intercept_header_auth = false, |_| {}).await;
        let response = site.send(get("/").header("authorization", wrong)).await;
        assert_eq!(response.status(), StatusCode::FOUND);
        assert!(header(&response, "location").starts_with("https://wiki.example/outpost.goauthentik.io/start?rd="));
        assert!(site.seen().is_empty());
    }
}

/// PX-096, PX-130: no credentials at all lead to the login, intercepting or not.
#[tokio::test]
async fn px_096_no_credentials_lead_to_the_login() {
    for intercept in [true, false] {
        let site = Site::with(|provider| provider.intercept_header_auth = intercept, |_| {}).await;
        assert_eq!(site.send(get("/")).await.status(), StatusCode::FOUND);
    }
}

/// PX-080: a request is cleaned first; then its session decides, then whether the target is open, then a credential that
/// is known already, then the control plane; else the login begins.
#[tokio::test]
async fn px_080_checks_come_in_order() {
    let site = Site::new().await;
    let asked = || {
        let calls = site.core.memory().calls.clone();
        calls.into_iter().filter(|call| ["verify_password", "introspect"].contains(call)).collect::<Vec<_>>()
    };
    let forged = |path: &str| get(path).header("x-authentik-username", "forged").header("x_authentik_uid", "forged");
    let status = async |request: http::request::Builder| site.send(request).await.status();
    let wrong = || format!("Bearer {}", bearer_token().replace("c2ln", "bm8t"));

    // An open target asks nobody about what it does not know; a protected one without credentials, neither.
    assert_eq!(status(forged("/public/").header("authorization", basic("ada", "secret"))).await, StatusCode::OK);
    assert_eq!(site.last().all("x-authentik-username"), [""; 0]);
    assert_eq!(status(forged("/")).await, StatusCode::FOUND);
    assert_eq!(asked(), [""; 0]);
    // What is not known is asked about by its scheme alone, and no other is tried.
    assert_eq!(status(get("/").header("authorization", wrong())).await, StatusCode::UNAUTHORIZED);
    assert_eq!(asked(), ["introspect"]);
    let first = site.send(forged("/").header("authorization", basic("ada", "secret"))).await;
    assert_eq!(asked(), ["introspect", "verify_password"]);
    // What is known by now is not asked about again, on open targets either.
    for path in ["/", "/public/"] {
        assert_eq!(status(forged(path).header("authorization", basic("ada", "secret"))).await, StatusCode::OK);
        assert_eq!(site.last().all("x-authentik-username"), ["ada"]);
        assert_eq!(site.last().all("x_authentik_uid"), [""; 0]);
    }
    // A session goes before all credentials, known or not.
    let cookie = cookie_of(&first).unwrap();
    for authorization in [wrong(), basic("ada", "wrong"), "nonsense".to_owned()] {
        let request = forged("/").header("cookie", &cookie).header("authorization", authorization);
        assert_eq!(status(request).await, StatusCode::OK);
        assert_eq!(site.last().all("x-authentik-username"), ["ada"]);
    }
    assert_eq!(asked(), ["introspect", "verify_password"]);
}

/// PX-081, PX-096: a session wins; beside it, any Authorization is removed when intercepting.
#[tokio::test]
async fn px_081_a_session_wins_over_the_header() {
    let site = Site::new().await;
    let cookie = site.session().await;
    let calls = site.core.calls("verify_password");
    for other in [basic("ada", "wrong"), basic("bob", "x"), "Digest x".to_owned(), basic("ada", "secret")] {
        let response = site.send(get("/").header("cookie", &cookie).header("authorization", other)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(site.last().all("authorization"), [""; 0]);
        assert_eq!(site.last().all("x-authentik-username"), ["ada"]);
    }
    assert_eq!(site.core.calls("verify_password"), calls);
}

/// PX-096, PX-095, PX-521: beside a session, without interception, only foreign credentials pass.
#[tokio::test]
async fn px_096_only_foreign_credentials_pass_beside_a_session() {
    let site = Site::with(|provider| provider.intercept_header_auth = false, |_| {}).await;
    let cookie = site.session().await;
    let send = |value: String| site.send(get("/").header("cookie", cookie.clone()).header("authorization", value));
    send(basic("ada", "secret")).await;
    assert_eq!(site.last().all("authorization"), [""; 0]);
    site.clock.advance_seconds(61); // The header cache forgets; the session still knows what made it.
    send(basic("ada", "secret")).await;
    assert_eq!(site.last().all("authorization"), [""; 0]);
    send(basic("app", "own")).await;
    assert_eq!(site.last().all("authorization"), [basic("app", "own")]);
}

/// PX-096, PX-010: the switch lets foreign credentials pass beside a session while intercepting.
#[tokio::test]
async fn px_096_passthrough_with_session() {
    let site = Site::with(|_| {}, |settings| settings.authorization_passthrough_with_session = true).await;
    let cookie = site.session().await;
    site.send(get("/").header("cookie", &cookie).header("authorization", basic("app", "own"))).await;
    assert_eq!(site.last().all("authorization"), [basic("app", "own")]);
    site.send(get("/").header("cookie", &cookie).header("authorization", basic("ada", "secret"))).await;
    assert_eq!(site.last().all("authorization"), [""; 0]);
}

/// PX-096, PX-216: credentials that an attribute sets win over the client's own, which go nowhere then, in a forward-auth answer
/// as well.
#[tokio::test]
async fn px_216_credentials_of_an_attribute_win_over_the_client_s() {
    for mode in [Mode::Proxy, Mode::ForwardSingle] {
        let change = |provider: &mut Provider| provider.mode = mode;
        let site = Site::with(change, |settings| settings.authorization_passthrough_with_session = true).await;
        let mut claims = ada();
        let given = json!({"additionalHeaders": {"Authorization": "Basic b3Vycw=="}});
        claims.ak_proxy.user_attributes = given.as_object().unwrap().clone();
        site.core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), claims);
        let ask = |name: &str, value: &str| {
            let question = get("/outpost.goauthentik.io/auth/nginx").header("x-original-url", "https://wiki.example/");
            question.header(name, value)
        };
        if mode == Mode::Proxy {
            let cookie = site.session().await;
            site.send(get("/").header("cookie", &cookie).header("authorization", basic("app", "own"))).await;
            assert_eq!(site.last().all("authorization"), ["Basic b3Vycw=="]);
            continue;
        }
        let first = site.ask(ask("authorization", &basic("ada", "secret"))).await;
        let cookie = cookie_of(&first).unwrap();
        let answer = site.ask(ask("cookie", &cookie).header("authorization", basic("app", "own"))).await;
        let all: Vec<_> = answer.headers().get_all("authorization").iter().collect();
        assert_eq!(all, ["Basic b3Vycw=="]);
    }
}

/// PX-096, PX-082, PX-531, PX-237: on an open target foreign credentials pass, and nobody is asked about them.
#[tokio::test]
async fn px_082_open_targets_ask_nobody() {
    let site = Site::new().await;
    for foreign in [basic("ada", "secret"), "Digest x".to_owned(), format!("Bearer {}", bearer_token())] {
        let response = site.send(get("/public/x").header("authorization", &foreign)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(site.last().all("authorization"), [foreign]);
        assert!(site.last().headers.keys().all(|name| !name.as_str().starts_with("x-authentik-")));
    }
    assert!(site.core.memory().calls.is_empty());
    site.session().await;
    site.send(get("/public/x").header("authorization", basic("ada", "secret"))).await;
    assert_eq!(site.last().all("authorization"), [""; 0]);
    assert_eq!(site.last().all("x-authentik-username"), ["ada"]);
}

/// PX-096, PX-215, PX-580: with upstream Basic the client's own credentials never reach the application.
#[tokio::test]
async fn px_215_the_clients_credentials_never_pass() {
    for intercept in [true, false] {
        let enable = |provider: &mut portcullis_core::outpost::Provider| {
            provider.basic_auth_enabled = true;
            provider.intercept_header_auth = intercept;
        };
        let site = Site::with(enable, |_| {}).await;
        let mut claims = ada();
        claims.ak_proxy.user_attributes.insert("wiki_user".to_owned(), "a:b".into());
        site.core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), claims);
        let cookie = site.session().await;
        assert_eq!(site.last().all("authorization"), [""; 0]);
        site.send(get("/").header("cookie", cookie).header("authorization", basic("app", "own"))).await;
        assert_eq!(site.last().all("authorization"), [""; 0]);
        site.send(get("/public/").header("authorization", basic("app", "own"))).await;
        assert_eq!(site.last().all("authorization"), [basic("app", "own")]);
    }
}

/// PX-099, PX-172, PX-523: the answer sets the session cookie, on success and on a cache hit alike.
#[tokio::test]
async fn px_099_the_answer_sets_the_session_cookie() {
    let site = Site::new().await;
    let first = site.send(get("/").header("authorization", basic("ada", "secret"))).await;
    site.clock.advance_seconds(10);
    let second = site.send(get("/").header("authorization", basic("ada", "secret"))).await;
    assert_eq!(site.core.calls("verify_password"), 1);
    assert_eq!(cookie_of(&first), cookie_of(&second));
    let line = set_cookies(&second).pop().unwrap();
    for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure", "; Max-Age=3590", "; Expires="] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("Domain"));
    let cookie = cookie_of(&first).unwrap();
    let response = site.send(get("/").header("cookie", cookie)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(set_cookies(&response), [""; 0]);
    assert_eq!(site.core.calls("verify_password"), 1);
}

/// PX-100, PX-501: a client without cookies has one session, however often it comes.
#[tokio::test]
async fn px_100_one_session_per_credential() {
    let site = Site::new().await;
    for round in 0..50 {
        let response = site.send(get("/").header("authorization", basic("ada", "secret"))).await;
        assert_eq!(response.status(), StatusCode::OK, "{round}");
        site.clock.advance_seconds(30);
    }
    assert_eq!(site.core.memory().sessions.len(), 1);
    assert!(site.core.calls("put") <= 2, "the record is written rarely");
}

/// PX-101, PX-502: a session ends with the token, or with the provider's validity if that is earlier.
#[tokio::test]
async fn px_101_a_session_ends_with_the_token() {
    let site = Site::new().await;
    let mut claims = ada();
    claims.exp = super::site::NOW.seconds() + 90;
    site.core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), claims);
    let cookie = site.session().await;
    assert_eq!(site.core.memory().sessions[0].expires.seconds(), super::site::NOW.seconds() + 90);
    site.clock.advance_seconds(90);
    assert_eq!(site.send(get("/").header("cookie", cookie)).await.status(), StatusCode::FOUND);
    let site = Site::with(|provider| provider.access_token_validity = 60, |_| {}).await;
    site.session().await;
    assert_eq!(site.core.memory().sessions[0].expires.seconds(), super::site::NOW.seconds() + 60);
}

/// PX-102, PX-107: without cookie and past the cache's time, credentials are verified again.
#[tokio::test]
async fn px_102_credentials_are_verified_again_after_a_minute() {
    let site = Site::new().await;
    let send = || site.send(get("/").header("authorization", basic("ada", "secret")));
    send().await;
    site.clock.advance_seconds(59);
    send().await;
    assert_eq!(site.core.calls("verify_password"), 1);
    site.clock.advance_seconds(1);
    send().await;
    assert_eq!(site.core.calls("verify_password"), 2);
}

/// PX-100, PX-102: credentials that are verified again, with nothing new to tell, go on with their session, which is not
/// looked for; anything new is told at once.
#[tokio::test]
async fn px_100_what_is_verified_again_goes_on() {
    let site = Site::new().await;
    let send = || site.send(get("/").header("authorization", basic("ada", "secret")));
    let first = cookie_of(&send().await).unwrap();
    site.clock.advance_seconds(60);
    assert_eq!(cookie_of(&send().await).unwrap(), first);
    assert_eq!((site.core.calls("verify_password"), site.core.calls("by_fingerprint")), (2, 1));
    let mut claims = ada();
    claims.groups = vec!["fired".to_owned()];
    site.core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), claims);
    site.clock.advance_seconds(60);
    assert_eq!(cookie_of(&send().await).unwrap(), first);
    assert_eq!((site.core.calls("verify_password"), site.core.calls("by_fingerprint")), (3, 2));
    assert_eq!(site.seen().last().unwrap().all("x-authentik-groups"), ["fired"]);
}

/// PX-100, PX-191: a session that was ended meanwhile does not go on when its credentials are verified again.
#[tokio::test]
async fn px_100_what_was_ended_does_not_go_on() {
    let site = Site::new().await;
    let send = || site.send(get("/").header("authorization", basic("ada", "secret")));
    let first = cookie_of(&send().await).unwrap();
    let ended = site.core.memory().sessions.remove(0);
    site.core.epochs.bump(Subject::OutpostSession(&ended.digest));
    site.clock.advance_seconds(60);
    assert_ne!(cookie_of(&send().await).unwrap(), first);
    assert_eq!((site.core.calls("by_fingerprint"), site.core.memory().sessions.len()), (2, 1));
}

/// PX-101, PX-100: with half of its time over, a session is made anew when its credentials are verified again.
#[tokio::test]
async fn px_101_a_session_is_made_anew_in_time() {
    let site = Site::new().await;
    let mut claims = ada();
    claims.exp += 10 * VALIDITY;
    site.core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), claims);
    let send = || site.send(get("/").header("authorization", basic("ada", "secret")));
    send().await;
    let ends = site.core.memory().sessions[0].expires;
    site.clock.advance_seconds(VALIDITY / 2);
    send().await;
    assert_eq!(site.core.memory().sessions[0].expires, ends.plus_seconds(VALIDITY / 2));
}

/// PX-100, PX-101: a session that ends with its credential is not made anew when that is verified again, however little time is
/// left; it is when the credential has got an earlier end.
#[tokio::test]
async fn px_101_a_session_that_cannot_last_longer_goes_on() {
    let site = Site::new().await;
    let ends_in = |seconds| {
        let mut claims = ada();
        claims.exp = super::site::NOW.seconds() + seconds;
        site.core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), claims);
    };
    let send = || site.send(get("/").header("authorization", basic("ada", "secret")));
    ends_in(200);
    for _ in 0..3 {
        assert_eq!(send().await.status(), StatusCode::OK);
        site.clock.advance_seconds(60);
    }
    assert_eq!((site.core.calls("verify_password"), site.core.calls("put")), (3, 1));
    ends_in(190);
    assert_eq!(send().await.status(), StatusCode::OK);
    assert_eq!(site.core.memory().sessions[0].expires.seconds(), super::site::NOW.seconds() + 190);
}

/// PX-107, PX-101: what is verified again is not believed beyond the present end of its credential, however long its session.
#[tokio::test]
async fn px_107_an_earlier_end_counts() {
    let site = Site::new().await;
    let send = || site.send(get("/").header("authorization", basic("ada", "secret")));
    send().await;
    let mut claims = ada();
    claims.exp = super::site::NOW.seconds() + 90;
    site.core.memory().passwords.insert(("ada".to_owned(), "secret".to_owned()), claims);
    for (seconds, verified) in [(60, 2), (29, 2), (1, 3)] {
        site.clock.advance_seconds(seconds);
        send().await;
        assert_eq!(site.core.calls("verify_password"), verified, "{seconds}");
    }
}

/// PX-010, PX-107: without a header cache each request without cookie is verified.
#[tokio::test]
async fn px_107_the_cache_can_be_off() {
    let site = Site::with(|_| {}, |settings| settings.header_cache_ttl = std::time::Duration::ZERO).await;
    for _ in 0..3 {
        let response = site.send(get("/").header("authorization", basic("ada", "secret"))).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(site.core.calls("verify_password"), 3);
    assert_eq!(site.core.memory().sessions.len(), 1);
}

/// PX-106: neither the cache's keys nor the stored record hold what the client sent.
#[tokio::test]
async fn px_106_credentials_are_not_kept() {
    let site = Site::new().await;
    site.session().await;
    let record = site.core.memory().sessions[0].clone();
    let text = format!("{record:?}");
    assert!(!text.contains("secret") && record.fingerprint.is_some());
}

/// PX-108, PX-522: a bump of the user makes the next request verify again, and refuses if it no longer holds.
#[tokio::test]
async fn px_108_revocation_is_heard_at_the_next_request() {
    let site = Site::new().await;
    let cookie = site.session().await;
    site.core.memory().passwords.clear();
    site.core.memory().fallen.insert("uuid-of-ada".to_owned());
    site.core.epochs.bump(Subject::User("uuid-of-ada"));
    let again = site.send(get("/").header("authorization", basic("ada", "secret"))).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(site.send(get("/").header("cookie", cookie)).await.status(), StatusCode::FOUND);
    assert!(site.core.memory().sessions.is_empty());
}

/// PX-109, PX-524: refused credentials are refused again without a question, for a while.
#[tokio::test]
async fn px_109_refused_credentials_cost_one_question() {
    let site = Site::new().await;
    let send = || site.send(get("/").header("authorization", basic("ada", "wrong")));
    for _ in 0..3 {
        assert_eq!(send().await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(site.core.calls("verify_password"), 1);
    site.clock.advance_seconds(10);
    send().await;
    assert_eq!(site.core.calls("verify_password"), 2);
}

/// PX-109, PX-085, PX-526: an outage is no refusal: 503, and the same credentials hold right after.
#[tokio::test]
async fn px_109_an_outage_is_not_remembered() {
    let site = Site::new().await;
    site.core.memory().core_is_down = true;
    let response = site.send(get("/").header("authorization", basic("ada", "secret"))).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&response, "retry-after"), "5");
    assert!(set_cookies(&response).is_empty() && header(&response, "location").is_empty());
    site.core.memory().core_is_down = false;
    let response = site.send(get("/").header("authorization", basic("ada", "secret"))).await;
    assert_eq!(response.status(), StatusCode::OK);
}

/// PX-110: who fails too often waits: 429 when intercepting, the login otherwise; nobody is asked.
#[tokio::test]
async fn px_110_a_guesser_gets_429() {
    for (intercept, status) in [(true, StatusCode::TOO_MANY_REQUESTS), (false, StatusCode::FOUND)] {
        let limit = Limit { count: 3, window: std::time::Duration::from_secs(60) };
        let site =
            Site::with(|p| p.intercept_header_auth = intercept, |settings| settings.failures_per_username = limit)
                .await;
        for guess in ["1", "2", "3"] {
            site.send(get("/").header("authorization", basic("ada", guess))).await;
        }
        let response = site.send(get("/").header("authorization", basic("ada", "4"))).await;
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "retry-after"), if intercept { "60" } else { "" });
        assert_eq!(site.core.calls("verify_password"), 3);
        // The owner, elsewhere, is not locked out.
        let owner = get("/").header("authorization", basic("ada", "secret"));
        let response = site.send_to("wiki.example", "198.51.100.9", owner).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}

/// PX-110: a limit of the control plane is passed on.
#[tokio::test]
async fn px_110_the_control_planes_limit_is_passed_on() {
    let site = Site::new().await;
    site.core.memory().throttles = true;
    let response = site.send(get("/").header("authorization", basic("ada", "secret"))).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&response, "retry-after"), "7");
}

/// PX-111: requests with the same credentials at the same time share one question.
#[tokio::test]
async fn px_111_concurrent_verifications_share_one_question() {
    let site = Arc::new(Site::new().await);
    site.core.gate.forget_permits(1000);
    let one = || site.send(get("/").header("authorization", basic("ada", "secret")));
    let release = async {
        tokio::task::yield_now().await;
        site.core.gate.add_permits(1);
    };
    let (a, b, c, d, ()) = tokio::join!(one(), one(), one(), one(), release);
    for response in [a, b, c, d] {
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(site.core.calls("verify_password"), 1);
    assert_eq!(site.core.memory().sessions.len(), 1);
}

/// PX-111, PX-526: a control plane that does not answer costs a bounded time, then 503.
#[tokio::test(start_paused = true)]
async fn px_111_a_silent_control_plane_is_given_up() {
    let site = Site::new().await;
    site.core.gate.forget_permits(1000);
    let began = tokio::time::Instant::now();
    let response = site.send(get("/").header("authorization", basic("ada", "secret"))).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(began.elapsed().as_secs(), 10);
}

/// PX-111: when the client goes, its question is dropped, and the next one asks anew.
#[tokio::test]
async fn px_111_an_abandoned_question_is_dropped() {
    let site = Site::new().await;
    site.core.gate.forget_permits(1000);
    let asked = site.send(get("/").header("authorization", basic("ada", "secret")));
    tokio::select! {
        biased;
        _ = asked => panic!("nobody answers"),
        () = tokio::task::yield_now() => {}
    }
    site.core.gate.add_permits(1);
    let response = site.send(get("/").header("authorization", basic("ada", "secret"))).await;
    assert_eq!(response.status(), StatusCode::OK);
}

/// PX-093, PX-525: a token under the reserved user name that does not hold is never tried as a password.
#[tokio::test]
async fn px_093_the_reserved_user_has_no_password() {
    let site = Site::new().await;
    let wrong = basic("goauthentik.io/token", &format!("{}x", bearer_token()));
    assert_eq!(site.send(get("/").header("authorization", wrong)).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!((site.core.calls("introspect"), site.core.calls("verify_password")), (1, 0));
}

/// PX-092, PX-532: what is no current JWS is refused without a question.
#[tokio::test]
async fn px_092_what_is_no_token_is_refused_here() {
    let site = Site::new().await;
    for wrong in ["Bearer opaque-refresh-token", "Bearer a.b.c", "Bearer ..", "Bearer eyJ9.e30.x"] {
        assert_eq!(site.send(get("/").header("authorization", wrong)).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert!(site.core.memory().calls.is_empty());
}

/// OA-816: what was proven from an allowed network is good from nowhere else, neither header nor cookie, and goes on
/// being good from there.
#[tokio::test]
async fn oa_816_credentials_stay_in_their_networks() {
    let site = Site::new().await;
    site.core.memory().networks = vec!["192.0.2.0/24".to_owned()];
    let host = "wiki.example";
    let ask = |client: &'static str, name: &'static str, value: String| {
        let request = get("/").header(name, value);
        let site = &site;
        async move { site.send_to(host, client, request).await.unwrap() }
    };
    let credentials = basic("ada", "secret");
    let first = ask("192.0.2.9", "authorization", credentials.clone()).await;
    assert_eq!(first.status(), StatusCode::OK);
    let cookie = cookie_of(&first).unwrap();
    for client in ["198.51.100.1", "2001:db8::1"] {
        let refused = ask(client, "authorization", credentials.clone()).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{client}");
        let refused = ask(client, "cookie", cookie.clone()).await;
        assert_ne!(refused.status(), StatusCode::OK, "{client}");
    }
    let reached = site.last();
    assert_eq!(reached.path, "/");
    assert_eq!(ask("::ffff:192.0.2.9", "authorization", credentials).await.status(), StatusCode::OK);
    assert_eq!(ask("192.0.2.10", "cookie", cookie).await.status(), StatusCode::OK);
}
