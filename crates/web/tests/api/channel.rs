//! Channels to outposts elsewhere: who may open one, and what is said on it.

use std::sync::Arc;

use authentik_client::models;
use axum::body::Body;
use http::{Method, Request, header};
use portcullis_core::channel::{Feed, Hello, Message, Revoked};
use portcullis_core::epoch::Subject;
use portcullis_core::id::OutpostId;
use portcullis_core::keys::Keyring;
use portcullis_core::origin::Origin;
use portcullis_idp::outposts::channel::{News, Talk};
use portcullis_idp::{Actor, revocations};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::site::{ADMIN, Site, origin};

/// An outpost elsewhere that serves one provider.
pub(crate) struct Edge {
    pub(crate) pk: String,
    pub(crate) key: String,
    pub(crate) token: String,
    pub(crate) provider: Value,
}

impl Edge {
    pub(crate) async fn new(site: &Site, name: &str) -> Self {
        let provider = site.provider(name).await["pk"].clone();
        site.application(name, &provider).await;
        let config = json!({"authentik_host": "https://id.example/", "log_level": "info"});
        let body = json!({"name": format!("{name}-edge"), "type": "proxy", "providers": [provider], "config": config});
        let made = site.post("/outposts/instances/", body).await;
        let (pk, token) = (made["pk"].as_str().unwrap(), made["token_identifier"].as_str().unwrap());
        let view = site.get(&format!("/core/tokens/{token}/view_key/")).await;
        let key = view["key"].as_str().unwrap().to_owned();
        Self { pk: pk.to_owned(), key, token: token.to_owned(), provider }
    }

    fn path(&self) -> String {
        format!("/outposts/instances/{}/", self.pk)
    }

    fn id(&self) -> OutpostId {
        self.pk.parse().unwrap()
    }

    /// A conversation that is not greeted yet.
    async fn talk(&self, site: &Site, uid: &str) -> Talk {
        let token = site.get(&format!("/core/tokens/{}/", self.token)).await;
        let user: Uuid = token["user_obj"]["uuid"].as_str().unwrap().parse().unwrap();
        let token = Some(token["pk"].as_str().unwrap().parse().unwrap());
        Talk::begin(&site.ctx, &Actor::system(), (user, token), self.id(), uid.to_owned()).await.unwrap().unwrap()
    }

    /// A conversation that has begun with a HELLO.
    async fn greeted(&self, site: &Site) -> Talk {
        let mut talk = self.talk(site, "one").await;
        talk.answer(&hello(None)).await.unwrap();
        talk
    }
}

fn hello(heard: Option<i64>) -> String {
    let (version, hostname) = ("0.0.1".to_owned(), "edge-1".to_owned());
    Message::Hello(Hello { version, hostname, portcullis_seq: heard, ..Hello::default() }).encode()
}

async fn news(talk: &mut Talk) -> News {
    talk.news().await.unwrap()
}

/// Messages of the feed without their numbers, which are anybody's.
fn plain(messages: Vec<Message>) -> Vec<Message> {
    let plain = |message| match message {
        Message::Feed(Feed::Revoke { provider, subject, .. }) => Feed::Revoke { seq: 0, provider, subject }.into(),
        Message::Feed(Feed::Reset { provider, user, .. }) => Feed::Reset { seq: None, provider, user }.into(),
        other => other,
    };
    messages.into_iter().map(plain).collect()
}

fn reset(provider: Option<&Value>, user: Option<&str>) -> Message {
    let provider = provider.map(|pk| i32::try_from(pk.as_i64().unwrap()).unwrap());
    Feed::Reset { seq: None, provider, user: user.map(str::to_owned) }.into()
}

fn revoke(subject: Revoked) -> Message {
    Feed::Revoke { seq: 0, provider: None, subject }.into()
}

async fn handshake(site: &Site, outpost: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::builder().uri(format!("/ws/outpost/{outpost}/?instance_uuid=one&attempt=0"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(Arc::<Origin>::new(origin("id.example")));
    portcullis_web::router(Arc::clone(&site.ctx)).oneshot(request).await.unwrap().status().as_u16()
}

/// PX-404, CO-704: the handshake is refused with 403 to whoever has no valid token of that very outpost or of somebody who may
/// change it: to see it is not enough, and a browser's session is none.
#[tokio::test]
async fn px_404_a_channel_is_for_the_outpost_alone() {
    let site = Site::new().await;
    let (edge, other) = (Edge::new(&site, "wiki").await, Edge::new(&site, "notes").await);
    let (_, stranger) = site.user("ada").await;
    let (view, change) = ("authentik_outposts.view_outpost", "authentik_outposts.change_outpost");
    let (_, reader) = site.user_with("reader", &[(view, None), (change, Some(&other.pk))]).await;
    let bearer = |key: &str| format!("Bearer {key}");
    // Not an upgrade, but nobody who is refused.
    let own = bearer(&edge.key);
    assert_eq!(handshake(&site, &edge.pk, &[("authorization", &own)]).await, 400);
    assert_eq!(handshake(&site, &edge.pk, &[("authorization", &bearer(ADMIN))]).await, 400);
    assert_eq!(handshake(&site, &other.pk, &[("authorization", &bearer(&reader))]).await, 400);
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let (cookie, _) = site.sign_in(1, "browser").await;
    let unknown = Uuid::from_u128(7).to_string();
    for (outpost, credentials) in [
        (&edge.pk, None),
        (&edge.pk, Some((header::COOKIE.as_str(), cookie))),
        (&edge.pk, Some(("authorization", bearer("wrong")))),
        (&edge.pk, Some(("authorization", "Bearer".to_owned()))),
        (&edge.pk, Some(("authorization", bearer(&other.key)))),
        (&edge.pk, Some(("authorization", bearer(&stranger)))),
        (&edge.pk, Some(("authorization", bearer(&reader)))),
        (&unknown, Some(("authorization", own.clone()))),
        (&"no-uuid".to_owned(), Some(("authorization", own.clone()))),
    ] {
        let credentials = credentials.as_ref().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<_> = upgrade.iter().copied().chain(credentials).collect();
        assert_eq!(handshake(&site, outpost, &headers).await, 403, "{outpost}: {headers:?}");
    }
    site.delete(&edge.path()).await;
    assert_eq!(handshake(&site, &edge.pk, &[("authorization", &own)]).await, 403);
}

/// PX-405: HELLO is answered with ACK, and shown until the instance has been silent for 15 seconds; keys that are missing
/// and versions that are none are no error.
#[tokio::test]
async fn px_405_instances_are_shown_while_they_are_heard() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let health = format!("{}health/", edge.path());
    assert_eq!(site.get(&health).await, json!([]));
    let (mut one, mut two) = (edge.talk(&site, "one").await, edge.talk(&site, "two").await);
    assert_eq!(site.get(&health).await, json!([]), "nothing was said yet");
    let answers = one.answer(&hello(None)).await.unwrap();
    assert_eq!(answers[0], Message::Ack);
    assert!(matches!(&answers[1..], [Message::Feed(Feed::Hello { features, .. })] if features == &["revocation"]));
    assert_eq!(one.answer(&hello(None)).await.unwrap(), [Message::Ack], "the feed is announced once");
    let sparse = format!(r#"{{"instruction":1,"args":{{"version":"main","hostname":"{}"}}}}"#, "x".repeat(10_000));
    assert_eq!(two.answer(&sparse).await.unwrap()[0], Message::Ack);
    let shown = site.get(&health).await;
    let models: Vec<models::OutpostHealth> = serde_json::from_value(shown.clone()).unwrap();
    assert_eq!(models.len(), 2);
    assert_eq!(
        (&shown[0]["uid"], &shown[0]["version"], &shown[0]["hostname"]),
        (&json!("one"), &json!("0.0.1"), &json!("edge-1"))
    );
    assert_eq!(
        (&shown[0]["version_outdated"], &shown[0]["version_should"]),
        (&json!(true), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!((&shown[1]["version"], &shown[1]["version_outdated"]), (&json!("main"), &json!(false)));
    assert_eq!(shown[1]["hostname"].as_str().unwrap().len(), 255, "no more than anybody looks at");
    site.clock.advance_seconds(10);
    assert_eq!(two.answer(r#"{"instruction":0,"args":{}}"#).await.unwrap(), []);
    assert_eq!(two.answer(r#"{"instruction":9,"args":null}"#).await.unwrap(), [Message::Ack], "PX-382");
    assert_eq!(two.answer("no JSON").await.unwrap(), []);
    site.clock.advance_seconds(6);
    let shown = site.get(&health).await;
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["uid"]), (1, &json!("two")));
    site.clock.advance_seconds(16);
    assert_eq!(site.get(&health).await, json!([]));
    let (_, reader) = site.user("ada").await;
    assert_eq!(site.send(&reader, Method::GET, &health, None).await.0, 403);
}

/// PX-405: the embedded outpost is one instance, which is this process.
#[tokio::test]
async fn px_405_the_embedded_outpost_is_this_process() {
    let site = Site::new().await;
    let embedded = site.get("/outposts/instances/").await["results"][0]["pk"].as_str().unwrap().to_owned();
    let shown = site.get(&format!("/outposts/instances/{embedded}/health/")).await;
    let models: Vec<models::OutpostHealth> = serde_json::from_value(shown.clone()).unwrap();
    assert_eq!((models.len(), &shown[0]["version_outdated"]), (1, &json!(false)));
    assert_eq!(site.get(&format!("/outposts/instances/{embedded}/health/")).await[0]["uid"], shown[0]["uid"]);
}

/// PX-028, PX-406, PX-198: an outpost is told of changes to what it serves, its certificates and itself, and to prove the
/// sessions of a changed provider anew; of what others serve it hears nothing.
#[tokio::test]
async fn px_406_changes_reach_the_outposts_concerned() {
    let site = Site::new().await;
    let (edge, other) = (Edge::new(&site, "wiki").await, Edge::new(&site, "notes").await);
    let mut talk = edge.greeted(&site).await;
    let mut silent = edge.talk(&site, "two").await;
    assert!(news(&mut talk).await.messages.is_empty());
    let changed = [reset(Some(&edge.provider), None), Message::TriggerUpdate];

    let provider = format!("/providers/proxy/{}/", edge.provider);
    site.patch(&provider, json!({"internal_host": "http://127.0.0.1:1"})).await;
    let told = news(&mut talk).await;
    assert_eq!((plain(told.messages), told.look_again), (changed.to_vec(), false));
    assert_eq!(news(&mut silent).await.messages, [Message::TriggerUpdate], "who has said no HELLO hears of no feed");
    site.patch(&format!("/providers/proxy/{}/", other.provider), json!({"name": "n"})).await;
    assert!(news(&mut talk).await.messages.is_empty());

    let application = site.get("/core/applications/wiki/").await["pk"].clone();
    let binding = json!({"target": application, "user": 1, "order": 0});
    let binding = site.post("/policies/bindings/", binding).await["pk"].as_str().unwrap().to_owned();
    assert_eq!(plain(news(&mut talk).await.messages), changed);
    site.delete(&format!("/policies/bindings/{binding}/")).await;
    assert_eq!(plain(news(&mut talk).await.messages), changed);
    site.patch("/core/applications/wiki/", json!({"name": "Wiki"})).await;
    assert_eq!(plain(news(&mut talk).await.messages), changed);

    let pair = json!({"common_name": "a.example", "validity_days": 30, "alg": "ecdsa"});
    site.send(ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(pair)).await;
    assert_eq!(news(&mut talk).await.messages, [Message::TriggerUpdate]);
    site.patch(&edge.path(), json!({"providers": [other.provider]})).await;
    let told = plain(news(&mut talk).await.messages);
    assert!(told.contains(&Message::TriggerUpdate) && told.contains(&changed[0]), "{told:?}");
    site.delete(&format!("/providers/proxy/{}/", other.provider)).await;
    let told = plain(news(&mut talk).await.messages);
    assert_eq!(told, [reset(Some(&other.provider), None), Message::TriggerUpdate], "also when it is gone");
}

/// PX-407, PX-198, CO-037, CO-385: whatever ends a session, every outpost is told, and what it opened is revoked; so is
/// whatever rests on a user who was deactivated.
#[tokio::test]
async fn px_407_every_end_of_a_session_is_told() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let mut talk = edge.greeted(&site).await;
    let (ada, _) = site.user("ada").await;
    let uuid = site.get(&format!("/core/users/{ada}/")).await["uuid"].as_str().unwrap().to_owned();
    let sign_in = async || {
        let (cookie, session) = site.sign_in(ada, "browser").await;
        let sid = portcullis_core::keys::sha256(cookie.trim_start_matches("authentik_session=").as_bytes());
        (session, sid.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    let ended = |sid: &str| [Message::SessionEnd(sid.to_owned()), revoke(Revoked::Sid(sid.to_owned()))];
    news(&mut talk).await;

    let (session, sid) = sign_in().await;
    assert!(news(&mut talk).await.messages.is_empty(), "to sign in is no news");
    site.delete(&format!("/core/authenticated_sessions/{session}/")).await;
    assert_eq!(plain(news(&mut talk).await.messages), ended(&sid), "by an administrator");

    let (_, sid) = sign_in().await;
    site.clock.advance_seconds(40 * 24 * 3600);
    portcullis_idp::sessions::sweep(&site.ctx).await.unwrap();
    assert_eq!(plain(news(&mut talk).await.messages), ended(&sid), "by itself");

    let (_, sid) = sign_in().await;
    let password = json!({"password": "correct horse battery staple"});
    let path = format!("/core/users/{ada}/set_password/");
    assert_eq!(site.send(ADMIN, Method::POST, &path, Some(password)).await.0, 204);
    let told = plain(news(&mut talk).await.messages);
    assert_eq!(told[..2], ended(&sid), "by another password");
    assert_eq!(told[2..], [reset(None, Some(&uuid))]);

    let (_, sid) = sign_in().await;
    site.patch(&format!("/core/users/{ada}/"), json!({"is_active": false})).await;
    let told = plain(news(&mut talk).await.messages);
    assert_eq!(told[..2], ended(&sid), "with their user");
    assert!(told.contains(&revoke(Revoked::UserUuid(uuid.clone()))), "{told:?}");
}

/// PX-409: an outpost that comes back is told what it missed; what is no longer known, or never was, is to be looked at
/// anew as a whole.
#[tokio::test]
async fn px_409_what_was_missed_is_told_again() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let (ada, _) = site.user("ada").await;
    let mut talk = edge.greeted(&site).await;
    let last = |told: &[Message]| match told.last() {
        Some(Message::Feed(Feed::Revoke { seq, .. } | Feed::Hello { seq, .. })) => *seq,
        other => panic!("{other:?}"),
    };
    let end_one = async || {
        let (_, session) = site.sign_in(ada, "browser").await;
        site.delete(&format!("/core/authenticated_sessions/{session}/")).await;
    };
    end_one().await;
    let heard = last(&news(&mut talk).await.messages);
    drop(talk);
    end_one().await;
    end_one().await;
    let back = async |heard| edge.talk(&site, "one").await.answer(&hello(heard)).await.unwrap();
    let told = back(Some(heard)).await;
    assert_eq!(told.len(), 4, "{told:?}");
    let Message::Feed(Feed::Hello { seq, .. }) = told[1] else { panic!("{told:?}") };
    let numbers: Vec<_> = told[2..].iter().map(|message| last(std::slice::from_ref(message))).collect();
    assert!(heard < numbers[0] && numbers[0] < numbers[1] && numbers[1] == seq, "{numbers:?}");
    assert_eq!(back(Some(seq)).await.len(), 2, "nothing was missed");
    assert_eq!(back(None).await.len(), 2, "nothing was ever heard");
    assert_eq!(back(Some(seq + 1)).await[2..], [reset(None, None)], "a number of another past");

    site.clock.advance_seconds(24 * 3600);
    revocations::sweep(&site.ctx).await.unwrap();
    assert_eq!(back(Some(heard)).await.len(), 4, "kept for a day");
    site.clock.advance_seconds(2 * 3600);
    revocations::sweep(&site.ctx).await.unwrap();
    assert_eq!(back(Some(heard)).await[2..], [reset(None, None)]);
    assert_eq!(back(Some(seq)).await.len(), 2, "the latest number stays");
}

/// PX-409: what happens between the handshake and the first HELLO is not lost.
#[tokio::test]
async fn px_409_nothing_is_lost_before_the_first_hello() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let (ada, _) = site.user("ada").await;
    let (_, session) = site.sign_in(ada, "browser").await;
    let mut talk = edge.talk(&site, "one").await;
    site.delete(&format!("/core/authenticated_sessions/{session}/")).await;
    assert!(matches!(news(&mut talk).await.messages[..], [Message::SessionEnd(_)]));
    let told = talk.answer(&hello(None)).await.unwrap();
    assert!(matches!(told[2..], [Message::Feed(Feed::Revoke { .. })]), "{told:?}");
}

/// PX-404: once something of the outpost, its account or its token may have changed, it is looked at again who it is.
#[tokio::test]
async fn px_404_a_channel_ends_with_its_token() {
    let site = Site::new().await;
    let (edge, other) = (Edge::new(&site, "wiki").await, Edge::new(&site, "notes").await);
    let mut talk = edge.greeted(&site).await;
    site.delete(&format!("/core/tokens/{}/", edge.token)).await;
    assert!(news(&mut talk).await.look_again);
    let mut talk = other.greeted(&site).await;
    site.delete(&other.path()).await;
    assert!(news(&mut talk).await.look_again);
    let (ada, _) = site.user("ada").await;
    site.patch(&format!("/core/users/{ada}/"), json!({"name": "Ada"})).await;
    assert!(!news(&mut talk).await.look_again, "somebody else");
}

/// PX-405: more channels than an outpost has any use for are not let in; nobody else takes its places.
#[tokio::test]
async fn px_405_channels_are_bounded() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let begin = async |user: Uuid, uid: usize| {
        Talk::begin(&site.ctx, &Actor::system(), (user, None), edge.id(), uid.to_string()).await.unwrap()
    };
    let mut talks = Vec::new();
    while let Some(talk) = begin(Uuid::nil(), talks.len()).await {
        talks.push(talk);
        assert!(talks.len() < 1000, "without end");
    }
    assert!(begin(Uuid::max(), 0).await.is_some(), "of somebody else");
    drop(talks.pop());
    assert!(begin(Uuid::nil(), 0).await.is_some(), "a place is free again");
}

/// PX-409, CO-037: another process on the same database hears of every change, and looks again at what rests on it.
#[tokio::test]
async fn px_409_other_processes_hear_of_changes() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let (ada, _) = site.user("ada").await;
    let uuid = site.get(&format!("/core/users/{ada}/")).await["uuid"].as_str().unwrap().to_owned();
    let other = site.renewed(Keyring::derive(b"0123456789abcdef0123456789abcdef"));
    let seq = revocations::hear(&other, 0).await.unwrap();
    let wiki = i32::try_from(edge.provider.as_i64().unwrap()).unwrap();
    let mark = |subject| other.epochs.mark(other.epochs.present(), &[subject]);
    let (user, provider) = (mark(Subject::User(&uuid)), mark(Subject::Provider(wiki)));
    let (revision, mut woken) = (other.revisions.present(), other.channels.follow());
    woken.mark_unchanged();
    site.patch(&format!("/core/users/{ada}/"), json!({"is_active": false})).await;
    assert!(other.epochs.stands(&user), "nothing was heard yet");
    let seq = revocations::hear(&other, seq).await.unwrap();
    assert!(!other.epochs.stands(&user) && other.epochs.stands(&provider) && woken.has_changed().unwrap());
    site.patch("/core/applications/wiki/", json!({"name": "Wiki"})).await;
    let seq = revocations::hear(&other, seq).await.unwrap();
    assert!(!other.epochs.stands(&provider) && other.revisions.present() > revision);
    let user = mark(Subject::User(&uuid));
    assert_eq!(revocations::hear(&other, seq).await.unwrap(), seq);
    assert!(other.epochs.stands(&user), "nothing is heard twice");
}

/// PX-198: outposts prove anew what they know of the owner of an app password that ends, also when the records of what it
/// opened have made room for others.
#[tokio::test]
async fn px_198_an_app_password_ends_for_whom_it_is() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let (ada, _) = site.user("ada").await;
    let uuid = site.get(&format!("/core/users/{ada}/")).await["uuid"].as_str().unwrap().to_owned();
    let body = json!({"identifier": "ada-app", "user": ada, "intent": "app_password"});
    for limits in [false, true] {
        site.post("/core/tokens/", body.clone()).await;
        let mut talk = edge.greeted(&site).await;
        if limits {
            site.patch("/core/tokens/ada-app/", json!({"allowed_networks": ["192.0.2.0/24"]})).await;
            assert_eq!(plain(news(&mut talk).await.messages), [reset(None, Some(&uuid))], "it opens less");
        }
        site.delete("/core/tokens/ada-app/").await;
        assert_eq!(plain(news(&mut talk).await.messages), [reset(None, Some(&uuid))], "it is gone");
    }
}

/// PX-409: when numbers may not go on from those that outposts were told, every channel ends, and whoever comes back with
/// a number looks at everything anew, whatever the number is.
#[tokio::test]
async fn px_409_channels_end_when_the_feed_goes_back() {
    let site = Site::new().await;
    let edge = Edge::new(&site, "wiki").await;
    let mut talk = edge.greeted(&site).await;
    assert!(!news(&mut talk).await.is_over);
    let mut woken = site.ctx.channels.follow();
    woken.mark_unchanged();
    // A copy of the database that lacks what this process has heard.
    let latest = revocations::present(&site.ctx).await.unwrap();
    assert_eq!(revocations::hear(&site.ctx, latest + 5).await.unwrap(), latest);
    assert!(woken.has_changed().unwrap(), "nobody waits for other news");
    assert!(news(&mut talk).await.is_over);
    let back = async |heard| edge.talk(&site, "one").await.answer(&hello(heard)).await.unwrap();
    assert_eq!(back(Some(latest)).await[2..], [reset(None, None)], "the same number, of another past");
    assert_eq!(back(None).await.len(), 2, "nothing was ever heard");
    assert!(!news(&mut edge.greeted(&site).await).await.is_over, "a new channel goes on");
}
