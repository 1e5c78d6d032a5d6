//! What happens to `Authorization`: every row of PX-096.

use portcullis_testkit::{Go as _, Site, run};
use serde_json::json;

use crate::stage::{Stage, basic};

/// Values that no application of ours can accept, in every shape they come in.
const NOT_CREDENTIALS: &[&str] = &[
    "Basic !!!not base64!!!",
    "Basic bm8tY29sb24=",
    "Basic",
    "Bearer not-a-token",
    "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsImV4cCI6OTk5OTk5OTk5OX0.",
    "Bearer",
    "Digest username=\"admin\"",
    "Negotiate YII=",
    "something else entirely",
];

/// PX-096, PX-130: without a session and without `Authorization` the visitor is sent to sign in, intercepting or not.
#[test]
fn px_096_no_credentials_lead_to_the_login() {
    run(async {
        for intercept in [true, false] {
            let stage = Stage::new(json!({"intercept_header_auth": intercept})).await;
            let reply = stage.get("/page?x=1&y=2").go().await;
            assert_eq!(reply.status, 302);
            assert_eq!(reply.location(), stage.start_of_login("/page?x=1&y=2"));
            assert_eq!(reply.cookie(&stage.app.cookie_name()), None);
            assert_eq!(stage.recorder.count(), 0);
        }
    });
}

/// PX-096, PX-095, PX-091, PX-092, PX-093: valid credentials are let in and removed, intercepting or not.
#[test]
fn px_096_valid_credentials_are_let_in_and_removed() {
    run(async {
        for intercept in [true, false] {
            let stage = Stage::new(json!({"intercept_header_auth": intercept})).await;
            let bearer = stage.bearer().await;
            let token = bearer.strip_prefix("Bearer ").unwrap();
            let reserved = basic("goauthentik.io/token", token);
            for header in [&stage.basic(), &bearer, &reserved, &bearer.replace("Bearer", "bEARER")] {
                for turn in 0..3 {
                    let reply = stage.get("/page").header("authorization", header).go().await;
                    assert_eq!(reply.status, 200, "{header} {turn}: {}", reply.text());
                    let seen = stage.recorder.last();
                    assert_eq!(seen.one("x-authentik-username").as_ref(), Some(&stage.person.username));
                    assert_eq!(seen.all("authorization"), [""; 0], "{header} {turn}");
                    assert!(!seen.contains(&stage.key), "{header} {turn}: {seen:?}");
                }
            }
        }
    });
}

/// PX-096, PX-090, PX-098: intercepting, credentials of any scheme that do not hold get 401 and never a redirect.
#[test]
fn px_096_wrong_credentials_are_refused_when_intercepting() {
    run(async {
        let stage = Stage::new(json!({"intercept_header_auth": true})).await;
        let wrong = basic(&stage.person.username, "wrong");
        let stranger = basic("nobody", &stage.key);
        for header in NOT_CREDENTIALS.iter().copied().chain([wrong.as_str(), stranger.as_str()]) {
            let reply = stage.get_as_stranger("/page").header("authorization", header).go().await;
            assert_eq!(reply.status, 401, "{header}: {}", reply.text());
            assert_eq!(reply.header("location"), None, "{header}");
            assert_eq!(reply.header("set-cookie"), None, "{header}");
        }
        let twice = stage.get_as_stranger("/page").header("authorization", stage.basic());
        let reply = twice.header("authorization", stage.basic()).go().await;
        assert_eq!(reply.status, 401, "two Authorization headers");
        assert_eq!(stage.recorder.count(), 0);
    });
}

/// PX-096, PX-081: intercepting, a session decides alone; `Authorization` beside it is neither judged nor passed on.
#[test]
fn px_096_a_session_wins_over_authorization_when_intercepting() {
    run(async {
        let stage = Stage::new(json!({"intercept_header_auth": true})).await;
        let bob = stage.site.api.person("bob").await;
        let (_, bobs_key) = stage.site.api.app_password(&bob).await;
        let cookie = stage.login_cookie().await;
        let other = basic(&bob.username, &bobs_key);
        for header in NOT_CREDENTIALS.iter().copied().chain([other.as_str(), stage.basic().as_str()]) {
            let request = stage.get("/page").header("cookie", &cookie).header("authorization", header);
            let reply = request.go().await;
            assert_eq!(reply.status, 200, "{header}");
            let seen = stage.recorder.last();
            assert_eq!(seen.one("x-authentik-username").as_ref(), Some(&stage.person.username), "{header}");
            assert_eq!(seen.all("authorization"), [""; 0], "{header}");
        }
    });
}

/// PX-096, PX-010: the operator may let `Authorization` beside a session pass, yet never credentials that are ours.
#[test]
fn px_096_passthrough_with_session_keeps_only_what_is_not_ours() {
    run(async {
        let options = Site::options().env("PORTCULLIS_PROXY__AUTHORIZATION_PASSTHROUGH_WITH_SESSION", "true");
        let site = options.start().await;
        let stage = Stage::on(&site, json!({"intercept_header_auth": true})).await;
        let cookie = stage.header_cookie(&stage.basic()).await;
        let theirs = stage.get("/theirs").header("cookie", &cookie).header("authorization", "Digest theirs");
        assert_eq!(theirs.go().await.status, 200);
        assert_eq!(stage.recorder.last().all("authorization"), ["Digest theirs"]);
        let ours = stage.get("/ours").header("cookie", &cookie).header("authorization", stage.basic());
        assert_eq!(ours.go().await.status, 200);
        assert_eq!(stage.recorder.last().all("authorization"), [""; 0]);
    });
}

/// PX-096, PX-130: not intercepting, what does not hold or is not understood leads to the login as if it were absent.
#[test]
fn px_096_wrong_credentials_lead_to_the_login_when_not_intercepting() {
    run(async {
        let stage = Stage::new(json!({"intercept_header_auth": false})).await;
        let wrong = basic(&stage.person.username, "wrong");
        for header in NOT_CREDENTIALS.iter().copied().chain([wrong.as_str()]) {
            let reply = stage.get_as_stranger("/page").header("authorization", header).go().await;
            assert_eq!(reply.status, 302, "{header}: {}", reply.text());
            assert_eq!(reply.location(), stage.start_of_login("/page"), "{header}");
        }
        assert_eq!(stage.recorder.count(), 0);
    });
}

/// PX-096, PX-095: not intercepting, the credential that made the session is removed when it comes along again.
#[test]
fn px_096_own_credentials_beside_a_session_are_removed_when_not_intercepting() {
    run(async {
        let stage = Stage::new(json!({"intercept_header_auth": false})).await;
        for header in [stage.basic(), stage.bearer().await] {
            let cookie = stage.header_cookie(&header).await;
            let request = stage.get("/again").header("cookie", &cookie).header("authorization", &header);
            assert_eq!(request.go().await.status, 200);
            assert_eq!(stage.recorder.last().all("authorization"), [""; 0]);
        }
    });
}

/// PX-096: not intercepting, `Authorization` beside a session that is not ours belongs to the application.
#[test]
fn px_096_foreign_credentials_beside_a_session_pass_when_not_intercepting() {
    run(async {
        let stage = Stage::new(json!({"intercept_header_auth": false})).await;
        let cookie = stage.login_cookie().await;
        for header in ["Basic YXBwOmFwcA==", "Digest theirs", "Bearer theirs", "anything at all"] {
            let request = stage.get("/page").header("cookie", &cookie).header("authorization", header);
            assert_eq!(request.go().await.status, 200, "{header}");
            let seen = stage.recorder.last();
            assert_eq!(seen.all("authorization"), [header]);
            assert_eq!(seen.one("x-authentik-username").as_ref(), Some(&stage.person.username));
        }
    });
}

/// PX-096, PX-082, PX-531: on a public path, credentials that are not ours pass untouched and the core never sees them.
#[test]
fn px_096_foreign_credentials_on_a_public_path_pass_anonymously() {
    run(async {
        let site = Site::start().await;
        for intercept in [true, false] {
            let settings = json!({"intercept_header_auth": intercept, "skip_path_regex": "^/public/"});
            let stage = Stage::on(&site, settings).await;
            let wrong = basic(&stage.person.username, "wrong");
            for header in ["Basic YXBwOmFwcA==", "Digest theirs", wrong.as_str()] {
                let reply = stage.get("/public/page").header("authorization", header).go().await;
                assert_eq!(reply.status, 200, "{header}");
                let seen = stage.recorder.last();
                assert_eq!(seen.all("authorization"), [header]);
                assert_eq!(seen.all("x-authentik-username"), [""; 0]);
            }
        }
        assert_eq!(site.core_calls("verify_password").await, 0);
        assert_eq!(site.core_calls("introspect").await, 0);
    });
}

/// PX-096, PX-082, PX-237: on a public path, a credential that is already known gives its identity and is removed.
#[test]
fn px_096_known_credentials_on_a_public_path_are_removed() {
    run(async {
        let stage = Stage::new(json!({"skip_path_regex": "^/public/"})).await;
        let private = stage.get("/private").header("authorization", stage.basic()).go().await;
        assert_eq!(private.status, 200);
        let public = stage.get("/public/page").header("authorization", stage.basic()).go().await;
        assert_eq!(public.status, 200);
        let seen = stage.recorder.last();
        assert_eq!(seen.one("x-authentik-username").as_ref(), Some(&stage.person.username));
        assert_eq!(seen.all("authorization"), [""; 0]);
    });
}

/// PX-096, PX-215: with HTTP Basic towards the application, the client's own `Authorization` is always replaced.
#[test]
fn px_096_upstream_basic_replaces_the_clients_credentials() {
    run(async {
        for intercept in [true, false] {
            let mut settings = portcullis_testkit::site::basic_upstream();
            settings["intercept_header_auth"] = json!(intercept);
            let site = crate::stage::shared().await;
            let attributes = json!({"app_user": "service", "app_password": "hunter2"});
            let person = site.api.person_with("alice", attributes).await;
            let stage = Stage::with(site, person, settings).await;
            let expected = basic("service", "hunter2");
            let cookie = stage.header_cookie(&stage.basic()).await;
            assert_eq!(stage.recorder.last().all("authorization"), [expected.as_str()]);
            for header in [stage.basic(), "Basic YXBwOmFwcA==".to_owned(), "Digest theirs".to_owned()] {
                let request = stage.get("/page").header("cookie", &cookie).header("authorization", &header);
                assert_eq!(request.go().await.status, 200);
                assert_eq!(stage.recorder.last().all("authorization"), [expected.as_str()], "{header}");
            }
            let request = stage.get("/page").header("cookie", &cookie);
            assert_eq!(request.go().await.status, 200);
            assert_eq!(stage.recorder.last().all("authorization"), [expected.as_str()]);
        }
    });
}
