//! A stand-alone outpost and its control plane: two processes, one of which may go away.

use std::time::Duration;

use portcullis_testkit::site::basic_upstream;
use portcullis_testkit::{Go as _, Outpost, Reply, Site, Visitor, http, run, until};
use serde_json::json;
use tokio::time::Instant;

use crate::stage::{Stage, basic};

/// What is revoked is refused within this time everywhere (design: revocation by epoch).
const PROMISED: Duration = Duration::from_secs(1);

async fn site() -> Site {
    Site::options().by_outpost().start().await
}

async fn with(stage: &Stage<'_>, header: &str, value: &str) -> Reply {
    stage.get_as_stranger("/page").header(header, value).go().await
}

/// Asks until the answer is no success any more; gives its status, and how long that took.
async fn refused(stage: &Stage<'_>, header: &str, value: &str) -> (u16, Duration) {
    let began = Instant::now();
    let status = until("a refusal", async || {
        let status = with(stage, header, value).await.status;
        (status != 200).then_some(status)
    })
    .await;
    (status, began.elapsed())
}

/// PX-001, PX-148, PX-190, PX-194, PX-206, PX-340: a browser signs in at the control plane, comes to the application by
/// the outpost, and signs out again.
#[test]
fn px_001_a_browser_signs_in_and_out() {
    run(async {
        let site = site().await;
        let stage = Stage::on(&site, json!({})).await;
        let mut visitor = Visitor::new();
        let wanted = stage.app.url("/a%20page/?x=1&y=%2F");
        let page = visitor.sign_in(&wanted, &stage.person).await;
        assert_eq!((page.reply.status, page.url.as_str()), (200, wanted.as_str()), "{:#?}", visitor.trace);
        let seen = stage.recorder.last();
        assert_eq!(seen.target, "/a%20page/?x=1&y=%2F");
        assert_eq!(seen.one("x-authentik-username").as_ref(), Some(&stage.person.username));
        assert_eq!(seen.one("x-authentik-email").as_ref(), Some(&stage.person.email));
        assert_eq!(seen.one("x-authentik-meta-app").as_ref(), Some(&stage.app.slug));
        assert!(seen.one("x-authentik-meta-outpost").unwrap().starts_with("edge-"));
        let jwks = format!("{}/application/o/{}/jwks/", site.base(), stage.app.slug);
        assert_eq!(seen.one("x-authentik-meta-jwks"), Some(jwks));
        assert_eq!(seen.one("x-authentik-jwt").unwrap().split('.').count(), 3);

        let name = stage.app.cookie_name();
        let cookie = format!("{name}={}", visitor.cookie(&stage.app.external, &name).unwrap());
        assert_eq!(with(&stage, "cookie", &cookie).await.status, 200);
        let left = visitor.get(&stage.app.url("/outpost.goauthentik.io/sign_out")).await;
        assert_eq!(left.status, 302);
        assert!(left.location().starts_with(&site.url("/application/o/")), "{}", left.location());
        assert_eq!(with(&stage, "cookie", &cookie).await.status, 302);
    });
}

/// PX-060: requests for an application that another proxy stands in front of find nothing here but its login, and
/// are not told that there is no such application.
#[test]
fn px_060_an_application_behind_another_proxy_is_not_here() {
    run(async {
        let site = site().await;
        let stage = Stage::on(&site, json!({"mode": "forward_single"})).await;
        let reply = stage.get_as_stranger("/page").go().await;
        assert_eq!(reply.status, 404);
        assert!(reply.text().contains("behind another reverse proxy"), "{}", reply.text());
        assert_eq!(stage.get_as_stranger("/outpost.goauthentik.io/start").go().await.status, 302);
    });
}

/// PX-254, PX-363, PX-408: a reverse proxy that does not say what it asks about is told of, with the names of what it sent:
/// by an outpost elsewhere as by the one inside.
#[test]
fn px_254_who_asks_about_nothing_is_told_of() {
    run(async {
        for site in [Site::start().await, site().await] {
            let stage = Stage::on(&site, json!({"mode": "forward_single"})).await;
            let asked = stage.get_as_stranger("/outpost.goauthentik.io/auth/caddy").header("cookie", "hidden=1");
            assert_eq!(asked.go().await.status, 500);
            let event = until("the event", async || {
                let events = site.api.get("events/events/?action=configuration_error").await;
                events["results"].get(0).cloned()
            })
            .await;
            assert_eq!(event["app"], "authentik.providers.proxy");
            let details = &event["context"]["details"];
            let fields = details["fields"].as_array().unwrap();
            assert!(fields.contains(&json!("cookie")) && fields.contains(&json!("x-forwarded-for")), "{event}");
            assert!(!event.to_string().contains("hidden"), "{event}");
        }
    });
}

/// PX-001, PX-091, PX-092, PX-093, PX-095, PX-107, PX-210: programs prove themselves by app password and token, are not
/// asked about again at once, and the application gets its own credentials.
#[test]
fn px_001_programs_prove_themselves() {
    run(async {
        let site = site().await;
        let attributes = json!({"app_user": "admin", "app_password": "s3cr3t"});
        let person = site.api.person_with("alice", attributes).await;
        let stage = Stage::with(&site, person, basic_upstream()).await;
        let bearer = stage.bearer().await;
        let reserved = basic("goauthentik.io/token", bearer.trim_start_matches("Bearer "));
        for value in [stage.basic(), bearer, reserved] {
            for _ in 0..2 {
                let reply = with(&stage, "authorization", &value).await;
                assert_eq!(reply.status, 200, "{}", reply.text());
                assert!(reply.cookie(&stage.app.cookie_name()).is_some());
                let seen = stage.recorder.last();
                assert_eq!(seen.one("x-authentik-username").as_ref(), Some(&stage.person.username));
                assert_eq!(seen.one("authorization"), Some(basic("admin", "s3cr3t")));
            }
        }
        // The token came once by itself and once as a password: two values, one question each.
        assert_eq!((site.core_calls("verify_password").await, site.core_calls("introspect").await), (1, 2));
        let wrong = with(&stage, "authorization", &basic(&stage.person.username, "wrong")).await;
        assert_eq!(wrong.status, 401);
        assert_eq!(wrong.all("www-authenticate").len(), 2);
    });
}

/// PX-108, PX-198, PX-409: a deleted app password, and then a deactivated user, are refused within a second, cached or not.
#[test]
fn px_198_what_is_revoked_is_refused_within_a_second() {
    run(async {
        let site = site().await;
        let stage = Stage::on(&site, json!({})).await;
        let (by_password, login) = (stage.basic(), stage.login_cookie().await);
        let cookie = stage.header_cookie(&by_password).await;
        assert_eq!(with(&stage, "authorization", &by_password).await.status, 200);

        site.api.delete(&format!("core/tokens/{}/", stage.identifier)).await;
        let (status, took) = refused(&stage, "authorization", &by_password).await;
        assert!(status == 401 && took < PROMISED, "{status} after {took:?}");
        let (status, took) = refused(&stage, "cookie", &cookie).await;
        assert!(status == 302 && took < PROMISED, "{status} after {took:?}");
        assert_eq!(with(&stage, "cookie", &login).await.status, 200, "the login rests on no app password");

        let path = format!("core/users/{}/", stage.person.pk);
        site.api.patch(&path, json!({"is_active": false})).await;
        let (status, took) = refused(&stage, "cookie", &login).await;
        assert!(status == 302 && took < PROMISED, "{status} after {took:?}");
    });
}

/// PX-195, PX-407: who signs out at the control plane is signed out of the applications within a second.
#[test]
fn px_195_the_end_of_a_session_is_heard() {
    run(async {
        let site = site().await;
        let stage = Stage::on(&site, json!({})).await;
        let cookie = stage.login_cookie().await;
        let list =
            site.api.get(&format!("core/authenticated_sessions/?user__username={}", stage.person.username)).await;
        let sessions = list["results"].as_array().unwrap();
        assert_eq!(sessions.len(), 1);
        site.api.delete(&format!("core/authenticated_sessions/{}/", sessions[0]["uuid"].as_str().unwrap())).await;
        let (status, took) = refused(&stage, "cookie", &cookie).await;
        assert!(status == 302 && took < PROMISED, "{status} after {took:?}");
    });
}

/// PX-198, PX-418: a lost binding is refused within a second.
#[test]
fn px_198_a_lost_binding_is_refused() {
    run(async {
        let site = site().await;
        let stage = Stage::on(&site, json!({})).await;
        let binding = site.api.bind(&stage.app, json!({"user": stage.person.pk})).await;
        let (by_password, login) = (stage.basic(), stage.login_cookie().await);
        assert_eq!(with(&stage, "authorization", &by_password).await.status, 200);
        site.api.patch(&format!("policies/bindings/{binding}/"), json!({"negate": true})).await;
        for (header, value, expected) in [("authorization", &by_password, 401), ("cookie", &login, 302)] {
            let (status, took) = refused(&stage, header, value).await;
            assert!(status == expected && took < PROMISED, "{header}: {status} after {took:?}");
        }
    });
}

/// PX-006, PX-085, PX-196, PX-384, PX-526: while the control plane is away, who is known goes on, nobody new gets in, and
/// nothing is forgotten; once it is back, everything is as before.
#[test]
fn px_196_the_control_plane_goes_away_and_comes_back() {
    run(async {
        let site = site().await;
        let stage = Stage::on(&site, json!({})).await;
        let (login, by_password) = (stage.login_cookie().await, stage.basic());
        assert_eq!(with(&stage, "authorization", &by_password).await.status, 200);
        site.kill();
        site.outpost().connected(false).await;
        assert_eq!(with(&stage, "cookie", &login).await.status, 200);
        assert_eq!(with(&stage, "authorization", &by_password).await.status, 200);
        let stranger = with(&stage, "authorization", &basic("somebody", "else")).await;
        assert_eq!((stranger.status, stranger.header("retry-after").is_some()), (503, true));
        assert!(stranger.all("set-cookie").is_empty());
        site.restart().await;
        site.outpost().connected(true).await;
        let again = stage.basic();
        assert_eq!(with(&stage, "authorization", &again).await.status, 200);
        assert_eq!(with(&stage, "cookie", &login).await.status, 200);
        site.api.delete(&format!("core/tokens/{}/", stage.identifier)).await;
        let (status, took) = refused(&stage, "authorization", &again).await;
        assert!(status == 401 && took < PROMISED, "{status} after {took:?}");
    });
}

/// PX-174: sessions survive a restart of the outpost, sealed; what was revoked meanwhile does not.
#[test]
fn px_174_sessions_survive_a_restart_of_the_outpost() {
    run(async {
        let site = site().await;
        let (stage, other) = (Stage::on(&site, json!({})).await, Stage::on(&site, json!({})).await);
        let (kept, lost) = (stage.login_cookie().await, other.login_cookie().await);
        let outpost = site.outpost();
        outpost.process().signal("TERM");
        assert!(outpost.process().end().await.success());
        let file = std::fs::read_to_string(outpost.data().join("outpost/sessions.journal")).unwrap();
        assert!(file.starts_with("put ") && !file.contains(&stage.person.username), "{file}");
        site.api.patch(&format!("core/users/{}/", other.person.pk), json!({"is_active": false})).await;
        outpost.restart().await;
        outpost.serves(&stage.app).await;
        outpost.serves(&other.app).await;
        assert_eq!(with(&stage, "cookie", &kept).await.status, 200);
        assert_eq!(with(&other, "cookie", &lost).await.status, 302);
    });
}

/// PX-006, PX-315, PX-316, PX-597: an outpost that never reached its control plane answers 503 and is not ready, but lives;
/// it goes on by itself once the control plane is there.
#[test]
fn px_006_an_outpost_waits_for_its_control_plane() {
    run(async {
        let site = Site::options().start().await;
        let first = Outpost::of(&site.api, &site.base()).await;
        let stage = {
            let recorder = portcullis_testkit::Recorder::start().await;
            let external = format!("http://waits.localhost:{}", first.port);
            let app = site.api.unattached_app(&external, &recorder.url(), &json!({})).await;
            first.serve(&site.api, &app).await;
            (app, recorder)
        };
        first.process().kill();
        site.kill();
        first.relaunch();
        let app = &stage.0;
        let reply = until("an answer", async || http().get(app.url("/page")).try_go().await).await;
        assert_eq!((reply.status, reply.header("retry-after").is_some()), (503, true), "{}", reply.text());
        for (path, expected) in [
            ("/outpost.goauthentik.io/ping", 204),
            ("/outpost.goauthentik.io/ping?ready", 503),
            ("/-/health/live/", 200),
            ("/-/health/ready/", 503),
        ] {
            assert_eq!(first.status(path).await, Some(expected), "{path}");
        }
        assert_eq!(http().get(app.url("/outpost.goauthentik.io/ping?ready")).go().await.status, 503);
        assert_eq!(http().get(app.url("/outpost.goauthentik.io/auth/nginx")).go().await.status, 503);
        site.restart().await;
        first.ready().await;
        first.serves(app).await;
        assert_eq!(http().get(app.url("/outpost.goauthentik.io/ping?ready")).go().await.status, 204);
        assert_eq!(http().get(app.url("/page")).header("accept", "text/html").go().await.status, 302);
    });
}

/// PX-007, PX-028, PX-322, PX-355: a change at the control plane is in force within two seconds, the log level included;
/// SIGUSR1 has everything read again; SIGTERM ends the process in order.
#[test]
fn px_007_signals_and_changes() {
    run(async {
        let site = site().await;
        let stage = Stage::on(&site, json!({})).await;
        let outpost = site.outpost();
        let began = Instant::now();
        let path = format!("providers/proxy/{}/", stage.app.provider);
        site.api.patch(&path, json!({"skip_path_regex": "^/open$"})).await;
        until("the open path", async || (stage.get_as_stranger("/open").go().await.status == 200).then_some(())).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

        let read = site.metric("portcullis_proxy_refreshes_total", &["ok"]).await;
        outpost.process().signal("USR1");
        until("another reading", async || {
            (site.metric("portcullis_proxy_refreshes_total", &["ok"]).await > read).then_some(())
        })
        .await;
        assert!(outpost.log().contains("DEBUG"), "the level of the outpost's configuration: {}", outpost.log());
        let healthy = portcullis_testkit::Finished::run({
            let mut command = portcullis_testkit::site::portcullis(std::path::Path::new("/"), &["healthcheck"]);
            command
                .env("PORTCULLIS_HOST", site.base())
                .env("PORTCULLIS_LISTEN__HTTP", format!("127.0.0.1:{}", outpost.port))
                .env("PORTCULLIS_LISTEN__METRICS", "");
            command
        })
        .await;
        assert_eq!(healthy.code, Some(0), "{healthy:?}");

        outpost.process().signal("TERM");
        assert!(outpost.process().end().await.success(), "{}", outpost.log());
    });
}

/// PX-057: a host of no application gets 400 with exactly these keys; the outpost has no pages of its own.
#[test]
fn px_057_hosts_of_no_application() {
    run(async {
        let site = site().await;
        let reply = http().get(format!("http://nobody.localhost:{}/", site.gate())).go().await;
        assert_eq!(reply.status, 400);
        let keys: Vec<_> = reply.json().as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["Message", "Host", "Detail"]);
        let api = http().get(format!("http://localhost:{}/api/v3/root/config/", site.gate())).go().await;
        assert_eq!(api.status, 400);
    });
}

/// PX-056: the only application of a stand-alone outpost answers under every name, unless that is switched off.
#[test]
fn px_056_the_only_application_answers_under_every_name() {
    run(async {
        let site = Site::options().start().await;
        let recorder = portcullis_testkit::Recorder::start().await;
        let outpost = Outpost::with(&site.api, &site.base(), &[("PORTCULLIS_PROXY__SINGLE_APP_FALLBACK", "")]).await;
        let external = format!("http://only.localhost:{}", outpost.port);
        let app = site.api.unattached_app(&external, &recorder.url(), &json!({"skip_path_regex": "^/open$"})).await;
        site.api.patch(&format!("outposts/instances/{}/", outpost.pk), json!({"providers": [app.provider]})).await;
        outpost.serves(&app).await;
        let reply = http().get(format!("http://127.0.0.1:{}/open", outpost.port)).go().await;
        assert_eq!(reply.status, 200);
    });
}

/// PX-002, PX-380: the certificate of the control plane is verified, over HTTP and for the channel, unless that is
/// switched off.
#[test]
fn px_002_the_certificate_of_the_control_plane_is_verified() {
    run(async {
        let secure = portcullis_testkit::process::free_port();
        let site = Site::options().env("PORTCULLIS_LISTEN__HTTPS", &format!("127.0.0.1:{secure}")).start().await;
        let (token, pk) = {
            let known = Outpost::of(&site.api, &site.base()).await;
            (known.token.clone(), known.pk.clone())
        };
        let base = format!("https://localhost:{secure}");
        let wary = Outpost::unchecked(&base, &token, &pk, &[]);
        until("a complaint", async || wary.log().contains("certificate").then_some(())).await;
        assert_eq!(wary.status("/-/health/ready/").await, Some(503), "{}", wary.log());
        let careless = Outpost::unchecked(&base, &token, &pk, &[("PORTCULLIS_INSECURE", "true")]);
        careless.ready().await;
    });
}

/// PX-364: of the control plane's OAuth2 endpoints, an outpost and the browsers that it sends there use those for
/// authorization, tokens, introspection, keys and the end of sessions, and no other.
#[test]
fn px_364_few_endpoints_are_used() {
    run(async {
        let site = site().await;
        let stage = Stage::on(&site, json!({})).await;
        let mut visitor = Visitor::new();
        let page = visitor.sign_in(&stage.app.url("/page"), &stage.person).await;
        assert_eq!(page.reply.status, 200);
        let token = site.access_token(&stage.app, &stage.person.username, &stage.key).await;
        for value in [stage.basic(), format!("Bearer {token}")] {
            assert_eq!(with(&stage, "authorization", &value).await.status, 200);
        }
        visitor.visit(&stage.app.url("/outpost.goauthentik.io/sign_out")).await;
        // The log of the control plane has every request that it answered.
        let used = until("the end of the session", async || {
            let log = site.log();
            let requests = log.lines().filter(|line| !line.contains("Created Event"));
            let paths = requests.filter_map(|line| line.split_once("/application/o/")?.1.split('"').next());
            let path =
                |path: &str| path.split('?').next().unwrap().replace(&format!("{}/", stage.app.slug), "").to_owned();
            let used: std::collections::BTreeSet<String> = paths.map(path).collect();
            used.contains("end-session/").then_some(used)
        })
        .await;
        let expected = ["authorize/", "end-session/", "introspect/", "jwks/", "token/"];
        assert_eq!(used.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    });
}
