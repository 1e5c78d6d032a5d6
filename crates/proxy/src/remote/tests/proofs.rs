//! Sessions that are proven anew.

use super::*;

/// PX-196, PX-198, PX-517: without a channel sessions are proven by their token; what nobody can tell is believed for a
/// while, but not after the control plane has named it.
#[tokio::test]
async fn px_196_sessions_are_proven_by_introspection() {
    let core = Core::start().await;
    let remote = core.outpost();
    remote.read().await.unwrap();
    let record = keep(&remote, "one", "ada", "s").await;
    let stands = async || outcome_of(&remote.still_stands(&record).await);
    core.say(INTROSPECTION, 200, &active(&json!({"sub": "ada"})));
    assert_eq!(stands().await, "stands");
    assert_eq!(form(&core.asked(INTROSPECTION)[0].body)[2].1, "access-token-of-a-session");
    for (status, body, expected) in [
        (200, r#"{"active":false}"#, "ended"),
        (200, r#"{"active":true,"sub":"somebody else"}"#, "ended"),
        // Nobody says that it ended: within the time of grace it is believed.
        (500, "", "stands"),
        (401, "{}", "stands"),
        (200, "{}", "stands"),
    ] {
        core.say(INTROSPECTION, status, body);
        assert_eq!(stands().await, expected, "{status} {body}");
    }
    remote.sessions.bump(Subject::User("uuid-of-ada"));
    assert_eq!(stands().await, "unknown", "what was named has to be proven, grace or not");
    core.say(INTROSPECTION, 200, &active(&json!({})));
    assert_eq!(stands().await, "stands");

    let strict = core.outpost_with(|settings| settings.grace = Duration::ZERO);
    strict.read().await.unwrap();
    let record = keep(&strict, "one", "ada", "s").await;
    core.say(INTROSPECTION, 503, "");
    assert_eq!(outcome_of(&strict.still_stands(&record).await), "unknown");
}

/// PX-196, PX-111: while the control plane cannot be reached at all, only one request in a while waits for that.
#[tokio::test]
async fn px_196_not_everybody_waits_in_vain() {
    let core = Core::start().await;
    let proxies = core.proxies(|said| {
        said["oidc_configuration"]["introspection_endpoint"] = json!("http://127.0.0.1:1/introspect/");
    });
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &proxies);
    let remote = core.outpost();
    remote.read().await.unwrap();
    let record = keep(&remote, "one", "ada", "s").await;
    assert!(!remote.link.is_futile());
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
    assert!(remote.link.is_futile());
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
    remote.sessions.bump(Subject::User("uuid-of-ada"));
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "unknown");
    remote.link.connected();
    assert!(!remote.link.is_futile());
}

/// PX-196, PX-111: a control plane that takes connections and says nothing is given up before whoever asks gives up, so
/// that sessions are believed, and only one request in a while waits for that.
#[tokio::test]
async fn px_196_a_silent_control_plane_is_given_up_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/introspect/", silent.local_addr().unwrap());
    let core = Core::start().await;
    let proxies = core.proxies(|said| said["oidc_configuration"]["introspection_endpoint"] = json!(place));
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &proxies);
    let limit = Duration::from_secs(10);
    let remote = core.outpost_with(|settings| (settings.connect, settings.limit) = (limit * 9, limit));
    remote.read().await.unwrap();
    let record = keep(&remote, "one", "ada", "s").await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    assert!(remote.link.is_futile());
    drop(silent);
}
