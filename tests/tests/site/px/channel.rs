//! The control channel, as an outpost elsewhere meets it on the wire.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use portcullis_core::channel::{Feed, Hello, Message, Revoked};
use portcullis_testkit::{Go as _, Site, Visitor, api, http, run, until};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, handshake::client::Request};

use crate::stage::Stage;

/// How long a revocation may take to reach an outpost (design D3).
const SOON: Duration = Duration::from_secs(1);

struct Edge {
    pk: String,
    identifier: String,
    key: String,
}

impl Edge {
    async fn of(stage: &Stage<'_>) -> Self {
        let config = json!({"authentik_host": stage.site.base(), "log_level": "info"});
        let body =
            json!({"name": api::fresh("edge"), "type": "proxy", "providers": [stage.app.provider], "config": config});
        let made = stage.site.api.post("outposts/instances/", body).await;
        let identifier = api::text(&made["token_identifier"]);
        let key = stage.site.api.get(&format!("core/tokens/{identifier}/view_key/")).await;
        Self { pk: api::text(&made["pk"]), identifier, key: api::text(&key["key"]) }
    }

    fn path(&self) -> String {
        format!("outposts/instances/{}/", self.pk)
    }

    async fn health(&self, site: &Site) -> Value {
        site.api.get(&format!("{}health/", self.path())).await
    }
}

/// Asks for the channel of an outpost with a token.
async fn ask(site: &Site, outpost: &str, key: &str) -> Result<WebSocketStream<TcpStream>, u16> {
    let stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    let host = format!("localhost:{}", site.port);
    let mut request = Request::builder()
        .uri(format!("ws://{host}/ws/outpost/{outpost}/?instance_uuid=0f8f2b1e-6f0d-4a53-9d5e-3f3b3f0d8c11&attempt=0"))
        .header("host", host)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("user-agent", "goauthentik.io/outpost/0.3.0");
    if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    match tokio_tungstenite::client_async(request.body(()).unwrap(), stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(refused)) => Err(refused.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// An outpost's end of a channel.
struct Channel(WebSocketStream<TcpStream>);

impl Channel {
    async fn open(site: &Site, edge: &Edge) -> Self {
        Self(ask(site, &edge.pk, &edge.key).await.unwrap())
    }

    async fn hello(&mut self, heard: Option<i64>) {
        let text = |text: &str| text.to_owned();
        let hello = Hello {
            version: text("0.0.1"),
            uuid: text("0f8f2b1e-6f0d-4a53-9d5e-3f3b3f0d8c11"),
            golang_version: text("rust 1.95"),
            hostname: text("edge-1"),
            portcullis_seq: heard,
            ..Hello::default()
        };
        self.0.send(tungstenite::Message::text(Message::Hello(hello).encode())).await.unwrap();
    }

    /// The next message; none when the channel is closed.
    async fn next(&mut self) -> Option<Message> {
        loop {
            match self.0.next().await {
                Some(Ok(tungstenite::Message::Text(text))) => return Some(Message::decode(&text).unwrap()),
                Some(Ok(tungstenite::Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The first message that is meant; it has to come soon.
    async fn hears(&mut self, what: &str, is_meant: impl Fn(&Message) -> bool) -> Message {
        let heard = async {
            loop {
                let message = self.next().await.unwrap_or_else(|| panic!("closed before {what}"));
                if is_meant(&message) {
                    return message;
                }
            }
        };
        tokio::time::timeout(SOON, heard).await.unwrap_or_else(|_| panic!("not heard in time: {what}"))
    }

    /// Waits for its end, which has to come soon.
    async fn ends(&mut self) {
        let ended = async { while self.next().await.is_some() {} };
        tokio::time::timeout(SOON, ended).await.expect("it is closed");
    }

    /// HELLO, and how far the feed has come.
    async fn greeted(site: &Site, edge: &Edge, heard: Option<i64>) -> (Self, i64) {
        let mut channel = Self::open(site, edge).await;
        channel.hello(heard).await;
        assert_eq!(channel.next().await, Some(Message::Ack));
        match channel.next().await {
            Some(Message::Feed(Feed::Hello { features, seq })) if features == ["revocation"] => (channel, seq),
            other => panic!("{other:?}"),
        }
    }
}

/// The id of the access token that a machine gets with the stage's app password.
async fn access_token(stage: &Stage<'_>) -> String {
    use base64::Engine as _;
    let token = stage.site.access_token(&stage.app, &stage.person.username, &stage.key).await;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    api::text(&serde_json::from_slice::<Value>(&claims).unwrap()["jti"])
}

/// PX-404: no channel without the outpost's own token, and none through a browser's session.
#[test]
fn px_404_strangers_get_no_channel() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let (edge, other) = (Edge::of(&stage).await, Edge::of(&stage).await);
        for key in ["", "wrong", &stage.key, &other.key] {
            assert_eq!(ask(stage.site, &edge.pk, key).await.err(), Some(403), "{key}");
        }
        assert!(ask(stage.site, &edge.pk, &edge.key).await.is_ok());
    });
}

/// PX-382, PX-405, PX-406, PX-028: HELLO is acknowledged and shown; a change of what the outpost serves reaches it at once.
#[test]
fn px_406_a_channel_is_acknowledged_shown_and_triggered() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let edge = Edge::of(&stage).await;
        let (mut channel, _) = Channel::greeted(stage.site, &edge, None).await;
        let shown = edge.health(stage.site).await;
        assert_eq!((&shown[0]["hostname"], &shown[0]["version"]), (&json!("edge-1"), &json!("0.0.1")));
        assert_eq!(
            (&shown[0]["uid"], shown.as_array().unwrap().len()),
            (&json!("0f8f2b1e-6f0d-4a53-9d5e-3f3b3f0d8c11"), 1)
        );
        let path = format!("providers/proxy/{}/", stage.app.provider);
        stage.site.api.patch(&path, json!({"skip_path_regex": "^/public/"})).await;
        channel.hears("a trigger", |message| *message == Message::TriggerUpdate).await;
    });
}

/// PX-407, PX-195: who signs out at the identity provider is signed out at every outpost.
#[test]
fn px_407_a_sign_out_reaches_the_outposts() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let edge = Edge::of(&stage).await;
        let mut visitor = Visitor::new();
        visitor.sign_in(&stage.app.url("/"), &stage.person).await;
        let (mut channel, _) = Channel::greeted(stage.site, &edge, None).await;
        let user = stage.person.pk;
        let sessions = stage.site.api.get(&format!("core/authenticated_sessions/?user={user}")).await;
        let session = api::text(&sessions["results"][0]["uuid"]);
        stage.site.api.delete(&format!("core/authenticated_sessions/{session}/")).await;
        let ended = channel.hears("the end", |message| matches!(message, Message::SessionEnd(_))).await;
        let Message::SessionEnd(sid) = ended else { panic!() };
        assert!(sid.len() == 64 && sid.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sid}");
        let revoked = Revoked::Sid(sid);
        let is_it =
            |message: &Message| matches!(message, Message::Feed(Feed::Revoke { subject, .. }) if *subject == revoked);
        channel.hears("its revocation", is_it).await;
    });
}

/// PX-409, PX-198: what a deleted app password has opened is revoked within a second, and is told again to an outpost that was
/// away meanwhile.
#[test]
fn px_409_a_deleted_app_password_is_told_and_told_again() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let edge = Edge::of(&stage).await;
        let jti = Revoked::Jti(access_token(&stage).await);
        let (mut channel, before) = Channel::greeted(stage.site, &edge, None).await;
        let is_it =
            |message: &Message| matches!(message, Message::Feed(Feed::Revoke { subject, .. }) if *subject == jti);
        stage.site.api.delete(&format!("core/tokens/{}/", stage.identifier)).await;
        let told = channel.hears("the revocation", is_it).await;
        drop(channel);
        let (mut again, latest) = Channel::greeted(stage.site, &edge, Some(before)).await;
        assert_eq!(again.hears("what was missed", is_it).await, told);
        let Message::Feed(Feed::Revoke { seq, .. }) = told else { panic!() };
        assert!(before < seq && seq <= latest);
        let (mut ahead, _) = Channel::greeted(stage.site, &edge, Some(i64::MAX)).await;
        let everything = Feed::Reset { seq: None, provider: None, user: None };
        ahead.hears("that nothing is known", |message| *message == Message::Feed(everything.clone())).await;
    });
}

/// PX-404: a channel is closed at once when its token is replaced or deleted, or the outpost is.
#[test]
fn px_404_a_channel_ends_with_what_it_rests_on() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let (edge, other, gone) = (Edge::of(&stage).await, Edge::of(&stage).await, Edge::of(&stage).await);
        let (mut replaced, _) = Channel::greeted(stage.site, &edge, None).await;
        let (mut deleted, _) = Channel::greeted(stage.site, &other, None).await;
        let (mut removed, _) = Channel::greeted(stage.site, &gone, None).await;
        let key = json!({"key": format!("another key of {}", edge.pk)});
        stage.site.api.post(&format!("core/tokens/{}/set_key/", edge.identifier), key).await;
        replaced.ends().await;
        stage.site.api.delete(&format!("core/tokens/{}/", other.identifier)).await;
        deleted.ends().await;
        stage.site.api.delete(&gone.path()).await;
        removed.ends().await;
        assert_eq!(ask(stage.site, &edge.pk, &edge.key).await.err(), Some(403));
    });
}

/// PX-007: channels are closed when the process is told to stop, and do not keep it from ending; what happened before is told
/// after the restart.
#[test]
fn px_007_channels_do_not_keep_the_process() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        let edge = Edge::of(&stage).await;
        let jti = Revoked::Jti(access_token(&stage).await);
        let (mut channel, before) = Channel::greeted(&site, &edge, None).await;
        site.process().signal("TERM");
        channel.ends().await;
        assert!(site.process().end().await.success());
        site.restart().await;
        site.api.delete(&format!("core/tokens/{}/", stage.identifier)).await;
        let (mut channel, _) = Channel::greeted(&site, &edge, Some(before)).await;
        let is_it =
            |message: &Message| matches!(message, Message::Feed(Feed::Revoke { subject, .. }) if *subject == jti);
        channel.hears("what was missed", is_it).await;
    });
}

/// PX-405: an outpost that takes nothing of what it is sent, and one that says nothing sensible, hold up nobody.
#[test]
fn px_405_a_stuck_outpost_holds_up_nobody() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let edge = Edge::of(&stage).await;
        let (stuck, _) = Channel::greeted(stage.site, &edge, None).await;
        let (mut odd, _) = Channel::greeted(stage.site, &edge, None).await;
        odd.0.send(tungstenite::Message::text("{")).await.unwrap();
        odd.0.send(tungstenite::Message::binary(vec![0; 10])).await.unwrap();
        odd.0.send(tungstenite::Message::text(r#"{"instruction":77,"args":{"new":true}}"#)).await.unwrap();
        odd.hears("an acknowledgement", |message| *message == Message::Ack).await;
        let path = format!("providers/proxy/{}/", stage.app.provider);
        for round in 0..20 {
            stage.site.api.patch(&path, json!({"skip_path_regex": format!("^/public/{round}/")})).await;
        }
        odd.hears("a trigger", |message| *message == Message::TriggerUpdate).await;
        odd.0.send(tungstenite::Message::text("x".repeat(200_000))).await.ok();
        odd.ends().await;
        drop(stuck);
        let reply = http().get(stage.site.url("/-/health/ready/")).go().await;
        assert_eq!(reply.status, 200);
        until("the end of its instance", async || {
            edge.health(stage.site).await.as_array().unwrap().is_empty().then_some(())
        })
        .await;
    });
}
