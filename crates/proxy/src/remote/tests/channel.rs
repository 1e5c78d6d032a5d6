//! The channel: how it is opened, what is heard over it, and what becomes of a broken one.

use super::*;

/// PX-380, PX-382, PX-388, PX-007: the channel is opened with these parameters and headers, HELLO is the first word, and
/// code 1000 the last.
#[tokio::test]
async fn px_382_the_channel_begins_with_hello_and_ends_in_order() {
    let core = Core::start().await;
    let (remote, stop, work) = core.running().await;
    let opened = core.memory().asked.iter().find(|asked| asked.target.starts_with("/ws/")).cloned().unwrap();
    let expected =
        format!("/ws/outpost/5d1c6a1e-2f0b-4a3e-9a57-0c1b8f6f2a11/?instance_uuid={}&attempt=0", remote.instance);
    assert_eq!(opened.target, expected);
    assert_eq!(opened.headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(opened.headers["user-agent"], concat!("goauthentik.io/outpost/", env!("CARGO_PKG_VERSION")));
    let hello = core.memory().hellos[0].clone();
    assert_eq!((hello.uuid.as_str(), hello.hostname.as_str()), (remote.instance.as_str(), "machine"));
    assert_eq!((hello.version.as_str(), hello.portcullis_seq), (env!("CARGO_PKG_VERSION"), None));
    assert_eq!(core.asked("/api/v3/root/config/").len(), 1);
    stop.cancel();
    work.await.unwrap();
    until("the end of the channel", || core.memory().closes == [1000]).await;
    assert!(!remote.link.is_alive());
}

/// PX-107, PX-196, PX-389: revocations are heard once they are announced; with the channel sessions need no proof.
#[tokio::test]
async fn px_107_revocations_are_heard_once_they_are_announced() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    assert!(!remote.hears_revocations());
    let record = keep(&remote, "one", "ada", "s").await;
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
    assert_eq!(core.asked(INTROSPECTION).len(), 0);
    core.send(&Message::Feed(Feed::Hello { features: vec!["another".to_owned()], seq: 3 }));
    core.send(&Message::Feed(Feed::Hello { features: vec![REVOCATION.to_owned()], seq: 3 }));
    until("the announcement", || remote.hears_revocations()).await;
    core.memory().refuses_channels = true;
    core.hang_up();
    until("the loss", || !remote.hears_revocations()).await;
}

/// PX-195, PX-386, PX-387, PX-517, PX-518: the end of a session is heard at once, also behind a change whose reading waits
/// for the control plane; an empty id and nonsense do nothing.
#[tokio::test]
async fn px_387_ends_of_sessions_are_heard_at_once() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    let (one, other) = (keep(&remote, "one", "ada", "s").await, keep(&remote, "two", "bob", "").await);
    // From here on each reading fails, and is tried again for seconds.
    core.say("/api/v3/outposts/instances/", 502, "");
    let before = core.asked("/api/v3/outposts/instances/").len();
    core.send(&Message::TriggerUpdate);
    until("the reading", || core.asked("/api/v3/outposts/instances/").len() > before).await;
    for text in ["{", "[]", r#"{"instruction":9,"args":{}}"#, r#"{"instruction":3,"args":null}"#] {
        core.send_text(text);
    }
    core.send(&Message::SessionEnd(String::new()));
    core.send(&Message::SessionEnd("s".to_owned()));
    until("the end of the session", || remote.sessions.by_digest((WIKI, one.digest)).is_none()).await;
    assert!(remote.sessions.by_digest((WIKI, other.digest)).is_some());
}

/// PX-028, PX-386: a change is read.
#[tokio::test]
async fn px_386_a_change_is_read() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    let renamed = core.proxies(|said| said["name"] = json!("renamed"));
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &renamed);
    core.send(&Message::TriggerUpdate);
    until("the change", || remote.configuration().borrow().providers[0].name == "renamed").await;
    let again = core.proxies(|said| said["name"] = json!("again"));
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &again);
    remote.refresh();
    until("what SIGUSR1 asks for", || remote.configuration().borrow().providers[0].name == "again").await;
}

/// PX-198, PX-409: what is revoked ends, each kind; what is reset has to be proven.
#[tokio::test]
async fn px_409_the_feed_ends_and_doubts_sessions() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    let ended = |subject: Revoked, seq| Message::Feed(Feed::Revoke { seq, provider: Some(7), subject });
    for (seq, subject) in [
        (4, Revoked::Sid("s".to_owned())),
        (5, Revoked::Jti("jti-of-one".to_owned())),
        (6, Revoked::UserUuid("uuid-of-ada".to_owned())),
        (7, Revoked::Sub("ada".to_owned())),
    ] {
        let record = keep(&remote, "one", "ada", "s").await;
        core.send(&ended(subject.clone(), seq));
        until("the end", || remote.sessions.by_digest((WIKI, record.digest)).is_none()).await;
        until("the number", || remote.link.seq() == Some(seq)).await;
    }
    core.say(INTROSPECTION, 200, r#"{"active":false}"#);
    for (seq, provider, user) in [(8, Some(7), None), (9, None, Some("uuid-of-ada".to_owned())), (10, None, None)] {
        let record = keep(&remote, "one", "ada", "s").await;
        assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
        core.send(&Message::Feed(Feed::Reset { seq: Some(seq), provider, user }));
        until("the number", || remote.link.seq() == Some(seq)).await;
        assert_eq!(outcome_of(&remote.still_stands(&record).await), "ended");
    }
}

/// PX-198, PX-409: what is told of a user is asked about for those, too, of whom nothing but the subject is known.
#[tokio::test]
async fn px_198_whoever_may_be_the_user_is_proven_anew() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    let mut record = session(7, "one", "ada", "");
    record.grant.bearings.user = "sub:7:ada".to_owned();
    core.say(INTROSPECTION, 200, r#"{"active":false}"#);
    let revoked = Feed::Revoke { seq: 4, provider: None, subject: Revoked::UserUuid("uuid".to_owned()) };
    let reset = Feed::Reset { seq: Some(5), provider: None, user: Some("uuid".to_owned()) };
    for (seq, feed) in [(4, revoked), (5, reset)] {
        record.grant.built_at = remote.epochs().present();
        remote.put(&record).await.unwrap();
        assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
        core.send(&Message::Feed(feed));
        until("the number", || remote.link.seq() == Some(seq)).await;
        assert_eq!(outcome_of(&remote.still_stands(&record).await), "ended");
    }
}

/// PX-355, PX-384, PX-409: a channel that breaks is opened again at once; the outpost says how far it has heard, and reads
/// its configuration.
#[tokio::test]
async fn px_384_a_broken_channel_is_opened_again() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    core.send(&Message::Feed(Feed::Hello { features: vec![REVOCATION.to_owned()], seq: 41 }));
    until("the announcement", || remote.hears_revocations()).await;
    let read = core.asked("/api/v3/outposts/instances/").len();
    core.hang_up();
    until("another channel", || core.memory().hellos.len() > 1).await;
    assert_eq!(core.memory().hellos.last().unwrap().portcullis_seq, Some(41));
    until("a reading", || core.asked("/api/v3/outposts/instances/").len() > read).await;
    let attempts: Vec<_> =
        core.memory().asked.iter().filter(|asked| asked.target.contains("attempt=1")).cloned().collect();
    assert_eq!(attempts.len(), 1);

    // A feed whose numbers went back is another one: everything has to be proven.
    let record = keep(&remote, "one", "ada", "s").await;
    core.say(INTROSPECTION, 200, r#"{"active":false}"#);
    core.send(&Message::Feed(Feed::Hello { features: vec![REVOCATION.to_owned()], seq: 3 }));
    until("the number", || remote.link.seq() == Some(3)).await;
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "ended");
}
