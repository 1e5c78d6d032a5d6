//! Sessions and their cookies (section 11).

use http::{Method, StatusCode};
use portcullis_core::epoch::Subject;
use portcullis_core::id::ProviderPk;

use super::site::{Site, basic, cookie_of, get, header, random, request_of, set_cookies};

const NAME: &str = "authentik_proxy_01d4e0c9";

/// PX-170, PX-171: the cookie has the provider's name and 256 bits; only its digest is stored.
#[tokio::test]
async fn px_171_the_store_knows_no_cookie_value() {
    let site = Site::new().await;
    let cookie = site.session().await;
    let value = cookie.strip_prefix("authentik_proxy_01d4e0c9=").unwrap();
    assert_eq!(value.len(), 43);
    assert!(!format!("{:?}", site.core.memory().sessions).contains(value));
}

/// PX-171, PX-504: a value issued for one provider opens nothing at another, under any name.
#[tokio::test]
async fn px_171_a_cookie_is_good_for_one_provider() {
    let site = Site::several(
        |_| {},
        |_| {},
        |first| {
            let mut other = first.clone();
            other.pk = ProviderPk(8);
            other.external_host = "https://mail.example".to_owned();
            other.client_id = "other".to_owned();
            vec![other]
        },
    )
    .await;
    let value = site.session().await.split_once('=').unwrap().1.to_owned();
    let name = portcullis_core::cookie::session_name("other");
    let request = get("/").header("cookie", format!("{name}={value}"));
    let response = site.send_to("mail.example", "192.0.2.1", request).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
}

/// PX-173, PX-084, PX-509: a session is refused once it has expired, cached or not.
#[tokio::test]
async fn px_173_expiry_is_enforced_at_each_use() {
    let site = Site::new().await;
    let cookie = site.session().await;
    site.clock.advance_seconds(3599);
    assert_eq!(site.send(get("/").header("cookie", &cookie)).await.status(), StatusCode::OK);
    site.clock.advance_seconds(1);
    assert_eq!(site.send(get("/").header("cookie", &cookie)).await.status(), StatusCode::FOUND);
}

/// PX-505, PX-029, PX-172: each provider's cookies have its own settings; another provider beside it changes nothing, and
/// a change of its own holds from the next answer on.
#[tokio::test]
async fn px_505_settings_are_each_provider_s_own() {
    let site = Site::several(
        |_| {},
        |_| {},
        |first| {
            let mut other = first.clone();
            other.pk = ProviderPk(8);
            other.external_host = "http://mail.example".to_owned();
            other.client_id = "other".to_owned();
            other.cookie_domain = ".mail.example".to_owned();
            other.cookie_secret = "ANOTHER".to_owned();
            other.access_token_validity = 60;
            vec![other]
        },
    )
    .await;
    let of_mail = async || {
        let request = get("/").header("authorization", basic("ada", "secret"));
        set_cookies(&site.send_to("mail.example", "192.0.2.1", request).await.unwrap()).pop().unwrap()
    };
    let first = site.send(get("/").header("authorization", basic("ada", "secret"))).await;
    let line = &set_cookies(&first)[0];
    assert!(line.contains("; Secure") && !line.contains("Domain=") && line.contains("Max-Age=3600"), "{line}");
    let line = of_mail().await;
    assert!(!line.contains("; Secure") && line.contains("Domain=mail.example;"), "{line}");
    assert!(line.contains("Max-Age=60;"), "{line}");

    let cookie = cookie_of(&first).unwrap();
    site.reconfigure(|configuration| {
        let mut third = configuration.providers[1].clone();
        third.pk = ProviderPk(9);
        third.external_host = "https://third.example".to_owned();
        third.client_id = "third".to_owned();
        configuration.providers[1].cookie_domain = String::new();
        configuration.providers.push(third);
    });
    assert_eq!(site.send(get("/").header("cookie", &cookie)).await.status(), StatusCode::OK);
    let line = of_mail().await;
    assert!(!line.contains("Domain="), "{line}");
}

/// PX-177, PX-507: a cookie that names no session is cleared, and does not stand in the way of a login.
#[tokio::test]
async fn px_177_a_stale_cookie_is_cleared() {
    let site = Site::new().await;
    let stale = format!("{NAME}={}", random());
    let response = site.send(get("/").header("cookie", &stale)).await;
    assert_eq!(response.status(), StatusCode::FOUND);
    assert!(set_cookies(&response)[0].starts_with(&format!("{NAME}=; Path=/")));
    let response = site.send(get("/").header("cookie", &stale).header("authorization", basic("ada", "secret"))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(cookie_of(&response).is_some());
    let wrong = get("/").header("cookie", &stale).header("authorization", basic("ada", "wrong"));
    assert_eq!(set_cookies(&site.send(wrong).await), [""; 0]);
}

/// PX-178, PX-511: the application neither sees our cookies nor sets them.
#[tokio::test]
async fn px_178_our_cookies_stay_with_us() {
    let site = Site::new().await;
    site.upstream_sets("authentik_proxy_01d4e0c9=planted; Path=/");
    site.upstream_sets("app=1");
    let cookie = site.session().await;
    let response = site.send(get("/").header("cookie", format!("a=1; {cookie}; authentik_proxy_x_pre=2; b=2"))).await;
    assert_eq!(site.last().all("cookie"), ["a=1; b=2"]);
    assert_eq!(set_cookies(&response), ["app=1"]);
    site.send(get("/").header("cookie", &cookie)).await;
    assert_eq!(site.last().all("cookie"), [""; 0]);
    site.send(get("/public/").header("cookie", format!("{NAME}=x; c=3"))).await;
    assert_eq!(site.last().all("cookie"), ["c=3"]);
}

/// PX-180, PX-558: planted and malformed cookies of the name neither help nor harm.
#[tokio::test]
async fn px_180_planted_cookies_are_harmless() {
    let site = Site::new().await;
    let cookie = site.session().await;
    let planted = format!("{NAME}=planted; {NAME}={}; x=\"; {cookie}", random());
    assert_eq!(site.send(get("/").header("cookie", planted)).await.status(), StatusCode::OK);
    let hostile: Vec<u8> = [NAME.as_bytes(), b"=\xff\x80;;=;", NAME.as_bytes(), b"=\"\";"].concat();
    assert_eq!(site.send(get("/").header("cookie", hostile)).await.status(), StatusCode::FOUND);
}

/// PX-085, PX-508: when sessions cannot be read the answer is 503 and the session is kept.
#[tokio::test]
async fn px_085_a_store_failure_ends_no_session() {
    let site = Site::new().await;
    let cookie = site.session().await;
    site.clock.advance_seconds(61);
    site.core.memory().store_is_down = true;
    let response = site.send(get("/").header("cookie", &cookie)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&response, "retry-after"), "5");
    assert_eq!(set_cookies(&response), [""; 0]);
    let open = site.send(get("/public/").header("cookie", &cookie)).await;
    assert_eq!(open.status(), StatusCode::OK);
    site.core.memory().store_is_down = false;
    assert_eq!(site.send(get("/").header("cookie", &cookie)).await.status(), StatusCode::OK);
}

/// PX-135, PX-500: anonymous requests leave nothing behind.
#[tokio::test]
async fn px_135_strangers_leave_nothing_behind() {
    let site = Site::new().await;
    for path in ["/", "/public/", "/outpost.goauthentik.io/start", "/outpost.goauthentik.io/sign_out"] {
        for _ in 0..20 {
            site.send(get(path)).await;
        }
    }
    assert!(site.core.memory().calls.is_empty());
}

/// PX-198: what a session rests on is asked for again after a change, and the session goes on if it stands.
#[tokio::test]
async fn px_198_a_change_makes_the_next_request_ask() {
    let site = Site::new().await;
    let cookie = site.session().await;
    let send = || site.send(get("/").header("cookie", &cookie));
    send().await;
    assert_eq!(site.core.calls("still_stands"), 0);
    site.core.epochs.bump(Subject::Provider(7));
    assert_eq!(send().await.status(), StatusCode::OK);
    assert_eq!(send().await.status(), StatusCode::OK);
    assert_eq!(site.core.calls("still_stands"), 1);
    site.core.memory().fallen.insert("uuid-of-ada".to_owned());
    site.core.epochs.bump(Subject::Everyone);
    assert_eq!(send().await.status(), StatusCode::FOUND);
}

/// PX-195: a session that the control plane ended is refused at the next request.
#[tokio::test]
async fn px_195_an_ended_session_is_refused_at_once() {
    let site = Site::new().await;
    let cookie = site.session().await;
    site.core.memory().sessions.clear();
    site.core.epochs.bump(Subject::Session(""));
    site.core.epochs.bump(Subject::Credential("password-of-5ad0"));
    assert_eq!(site.send(get("/").header("cookie", cookie)).await.status(), StatusCode::FOUND);
}

/// PX-134: a CORS preflight passes without identity only where the operator allows it.
#[tokio::test]
async fn px_134_preflights_pass_where_allowed() {
    let preflight = || {
        request_of(Method::OPTIONS, "/")
            .header("origin", "https://app.example")
            .header("access-control-request-method", "PUT")
            .header("x-authentik-username", "root")
    };
    let site = Site::new().await;
    assert_eq!(site.send(preflight()).await.status(), StatusCode::UNAUTHORIZED);
    let site = Site::with(|_| {}, |settings| settings.allow_cors_preflight = true).await;
    assert_eq!(site.send(preflight()).await.status(), StatusCode::OK);
    assert_eq!(site.last().all("x-authentik-username"), [""; 0]);
    assert_eq!(site.send(request_of(Method::OPTIONS, "/")).await.status(), StatusCode::UNAUTHORIZED);
}

/// PX-029: another cookie secret ends that provider's sessions at once, and no other's.
#[tokio::test]
async fn px_029_another_secret_ends_the_providers_sessions() {
    let site = Site::new().await;
    let cookie = site.session().await;
    site.reconfigure(|configuration| configuration.providers[0].name = "Renamed".to_owned());
    assert_eq!(site.send(get("/").header("cookie", &cookie)).await.status(), StatusCode::OK);
    site.reconfigure(|configuration| configuration.providers[0].cookie_secret = "ANOTHER".to_owned());
    assert_eq!(site.send(get("/").header("cookie", &cookie)).await.status(), StatusCode::FOUND);
    let new = site.session().await;
    assert_eq!(site.send(get("/").header("cookie", new)).await.status(), StatusCode::OK);
    assert_eq!(site.core.memory().sessions.len(), 1);
}

/// PX-030, PX-510: a validity that makes no sense means an hour.
#[tokio::test]
async fn px_030_an_odd_validity_means_an_hour() {
    for odd in [0, -5] {
        let site = Site::with(|provider| provider.access_token_validity = odd, |_| {}).await;
        site.session().await;
        assert_eq!(site.core.memory().sessions[0].expires, super::site::NOW.plus_seconds(3600));
    }
}
