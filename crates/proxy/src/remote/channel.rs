//! The control channel (section 22 of the proxy specification), from the outpost's side.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, USER_AGENT};
use portcullis_core::channel::{
    Feed, HELLO_SECONDS, Hello, MAX_MESSAGE_BYTES, Message, REVOCATION, Revoked, SILENCE_SECONDS,
};
use portcullis_core::epoch::Subject;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Remote;
use super::caller::of_api;
use super::link::PRESENT;
use super::refresh::{Trouble, jitter};

/// For the handshake, with the connection (PX-380).
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Between two HELLOs.
const HELLO: Duration = Duration::from_secs(HELLO_SECONDS);
/// After so long without a message the channel is broken.
const SILENCE: Duration = Duration::from_secs(SILENCE_SECONDS);
/// Before the second attempt; each further one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Between two attempts at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A channel that lasted so long was a good one: the next attempt is made at once.
const GOOD: Duration = Duration::from_secs(5);
/// To send what is left when we stop.
const FAREWELL: Duration = Duration::from_secs(1);

/// Keeps the channel open until `stop` (PX-384).
pub(super) async fn keep(remote: Arc<Remote>, stop: CancellationToken) {
    let watch = watch(&remote);
    let work = async {
        let (mut attempt, mut pause) = (0_u64, Duration::ZERO);
        let reconnects = ::metrics::counter!("portcullis_proxy_channel_reconnects_total");
        loop {
            tokio::select! {
                () = tokio::time::sleep(jitter(&*remote.entropy, pause)) => {}
                () = stop.cancelled() => break,
            }
            let began = Instant::now();
            let outcome = once(&remote, attempt, &stop).await;
            remote.link.lost();
            if stop.is_cancelled() {
                break;
            }
            if let Err(error) = outcome {
                tracing::warn!(%error, attempt, "the control channel is down");
            }
            attempt = attempt.saturating_add(1);
            reconnects.increment(1);
            pause = next_pause(pause, began.elapsed() >= GOOD);
        }
    };
    tokio::select! {
        () = work => {}
        () = watch => {}
    }
    remote.link.end();
}

/// How long to wait before the next attempt.
fn next_pause(before: Duration, was_good: bool) -> Duration {
    match (was_good, before) {
        (true, _) => Duration::ZERO,
        (false, Duration::ZERO) => FIRST_PAUSE,
        (false, before) => before.saturating_mul(2).min(LONGEST_PAUSE),
    }
}

/// Has everything looked at again when nothing was heard for too long (PX-196). Never returns.
async fn watch(remote: &Remote) {
    loop {
        let silence = remote.link.silence();
        if silence <= PRESENT {
            tokio::time::sleep(PRESENT - silence + Duration::from_millis(10)).await;
            continue;
        }
        remote.sessions.doubt_everything();
        // Once for each silence.
        while remote.link.silence() > PRESENT {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// One connection, from the handshake to its end.
async fn once(remote: &Remote, attempt: u64, stop: &CancellationToken) -> Result<(), Trouble> {
    let connect = async {
        let outpost = remote.table.load().outpost.as_ref().map(|outpost| outpost.pk.clone()).unwrap_or_default();
        let url = url(&remote.base, &outpost, &remote.instance, attempt)?;
        let stream = remote.caller.connect(&remote.base).await?;
        let mut request = url.as_str().into_client_request()?;
        let headers = of_api(&remote.token).ok_or("the token cannot stand in a header")?;
        for name in [AUTHORIZATION, USER_AGENT] {
            if let Some(value) = headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await?;
        Ok::<_, Trouble>(socket)
    };
    let connected = tokio::select! {
        connected = tokio::time::timeout(HANDSHAKE, connect) => connected,
        () = stop.cancelled() => return Ok(()),
    };
    let socket = connected.map_err(|_| "no handshake in time")??;
    if remote.link.connected() {
        remote.sessions.doubt_everything();
    }
    tracing::info!(attempt, "the control channel is open");
    if attempt > 0 {
        remote.now.notify_one();
    }
    talk(remote, socket, stop).await
}

/// Where the channel is (PX-380).
fn url(base: &Url, outpost: &str, instance: &str, attempt: u64) -> Result<Url, Trouble> {
    let mut url = base.join(&format!("ws/outpost/{outpost}/"))?;
    let scheme = if base.scheme() == "https" { "wss" } else { "ws" };
    url.set_scheme(scheme).map_err(|()| "the base URL has no scheme that becomes a websocket's")?;
    url.set_query(base.query());
    url.query_pairs_mut().append_pair("instance_uuid", instance).append_pair("attempt", &attempt.to_string());
    Ok(url)
}

async fn talk<S>(remote: &Remote, mut socket: WebSocketStream<S>, stop: &CancellationToken) -> Result<(), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut hellos = tokio::time::interval(HELLO);
    hellos.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let broken = async { tokio::time::sleep(SILENCE.saturating_sub(remote.link.silence())).await };
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                farewell(socket).await;
                return Ok(());
            }
            message = socket.next() => match message {
                Some(Ok(message)) => {
                    remote.link.heard();
                    match message {
                        tungstenite::Message::Text(text) => take(remote, &text).await,
                        tungstenite::Message::Close(frame) => return Err(closed(frame.as_ref()).into()),
                        _ => {}
                    }
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Err(closed(None).into()),
            },
            _ = hellos.tick() => {
                let hello = Message::Hello(hello(remote)).encode();
                let sent = tokio::time::timeout(HANDSHAKE, socket.send(tungstenite::Message::text(hello))).await;
                sent.map_err(|_| "a message could not be sent in time")??;
            }
            () = broken => {
                if remote.link.silence() >= SILENCE {
                    return Err("nothing was heard for too long".into());
                }
            }
        }
    }
}

fn closed(frame: Option<&CloseFrame>) -> String {
    match frame {
        Some(frame) => format!("the control plane closed it ({})", frame.code),
        None => "the control plane closed it".to_owned(),
    }
}

/// Closes in order (PX-388).
async fn farewell<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let close = async {
        if socket.close(Some(frame)).await.is_ok() {
            // Until the other side has closed, too.
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    drop(tokio::time::timeout(FAREWELL, close).await);
}

fn hello(remote: &Remote) -> Hello {
    Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uuid: remote.instance.clone(),
        golang_version: concat!("rust ", env!("CARGO_PKG_RUST_VERSION")).to_owned(),
        hostname: remote.hostname.clone(),
        portcullis_seq: remote.link.seq(),
        ..Hello::default()
    }
}

/// Does what a message says. Nothing here waits for the control plane (PX-195, PX-386).
async fn take(remote: &Remote, text: &str) {
    let outcome = match Message::decode(text) {
        Ok(Message::TriggerUpdate) => {
            remote.soon.notify_one();
            Ok(())
        }
        Ok(Message::SessionEnd(sid)) => remote.sessions.end_of_sid(&sid, None).await,
        Ok(Message::Feed(feed)) => follow(remote, feed).await,
        Ok(Message::Ack | Message::Hello(_) | Message::Unknown) => Ok(()),
        Err(error) => {
            tracing::debug!(%error, "a message of the control plane is none");
            Ok(())
        }
    };
    if let Err(error) = outcome {
        tracing::error!(%error, "cannot write down that sessions have ended");
    }
}

/// The revocation feed (PX-409).
async fn follow(remote: &Remote, feed: Feed) -> Result<(), crate::control::ControlError> {
    let sessions = &remote.sessions;
    match feed {
        Feed::Hello { features, seq } => {
            let feeds = features.iter().any(|feature| feature == REVOCATION);
            if remote.link.features(feeds, seq).is_some() {
                // Numbers went back: it is another feed than the one that was followed.
                sessions.bump(Subject::Everyone);
            }
        }
        Feed::Revoke { seq, provider, subject } => {
            match &subject {
                Revoked::Sid(sid) => sessions.end_of_sid(sid, provider).await?,
                Revoked::Jti(jti) => sessions.end_of_token(jti, provider).await?,
                Revoked::UserUuid(uuid) => {
                    sessions.bump(Subject::UnknownUsers);
                    sessions.end_of_user(uuid, provider).await?;
                }
                Revoked::Sub(sub) => sessions.end_of_sub(sub, provider).await?,
            }
            remote.link.reached(Some(seq));
        }
        Feed::Reset { seq, provider, user } => {
            // Those of whom only the subject is known may be the user that is named.
            if user.is_some() {
                sessions.bump(Subject::UnknownUsers);
            }
            // Of a provider and a user, one of the two is enough: nobody is forgotten, some are looked at in vain.
            sessions.bump(match (&user, provider) {
                (Some(user), _) => Subject::User(user),
                (None, Some(provider)) => Subject::Provider(provider),
                (None, None) => Subject::Everyone,
            });
            remote.link.reached(seq);
        }
        Feed::Unknown => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// PX-005, PX-380: the channel is below the base URL, with or without a slash at its end, over the same kind of connection.
    #[test]
    fn px_380_the_channel_is_below_the_base_url() {
        for (base, expected) in [
            ("http://id.example:9000/", "ws://id.example:9000/ws/outpost/o/?instance_uuid=i&attempt=0"),
            ("https://id.example/auth/", "wss://id.example/auth/ws/outpost/o/?instance_uuid=i&attempt=0"),
            ("https://id.example/?a=b", "wss://id.example/ws/outpost/o/?a=b&instance_uuid=i&attempt=0"),
        ] {
            let base = Url::parse(base).expect("a URL");
            assert_eq!(url(&base, "o", "i", 0).expect("a URL").as_str(), expected);
        }
    }

    /// PX-384: the first attempt is made at once, then pauses double, up to five minutes; a good channel begins anew.
    #[test]
    fn px_384_pauses_double_up_to_five_minutes() {
        let mut pause = Duration::ZERO;
        let mut seconds = Vec::new();
        for _ in 0..11 {
            pause = next_pause(pause, false);
            seconds.push(pause.as_secs());
        }
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(next_pause(pause, true), Duration::ZERO);
    }

    /// A control plane at the other end of a pipe.
    async fn piped() -> (Arc<Remote>, WebSocketStream<tokio::io::DuplexStream>, WebSocketStream<tokio::io::DuplexStream>)
    {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let remote = crate::remote::tests::core::unconnected();
        let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        remote.link.connected();
        (remote, near, far)
    }

    /// PX-382, PX-385: HELLO comes at once and every ten seconds; a channel on which nothing is heard for thirty is broken.
    #[tokio::test(start_paused = true)]
    async fn px_385_a_silent_channel_is_broken() {
        let (remote, near, mut far) = piped().await;
        let began = Instant::now();
        let silent = async {
            let mut hellos = Vec::new();
            while let Some(Ok(message)) = far.next().await {
                assert!(matches!(Message::decode(message.to_text().expect("text")), Ok(Message::Hello(_))));
                hellos.push(began.elapsed().as_secs());
            }
            hellos
        };
        let talk = async { talk(&remote, near, &CancellationToken::new()).await.expect_err("ends").to_string() };
        let (ended, hellos) = tokio::join!(talk, silent);
        assert_eq!(ended, "nothing was heard for too long");
        assert_eq!(began.elapsed().as_secs(), 30);
        assert_eq!(hellos, [0, 10, 20, 30]);
    }

    /// PX-107, PX-196: after fifteen seconds of silence revocations are not relied on, and everything is looked at again.
    #[tokio::test(start_paused = true)]
    async fn px_196_silence_makes_everything_doubtful() {
        let (remote, ..) = piped().await;
        remote.link.features(true, 7);
        let sessions = &remote.sessions;
        let mark = || sessions.epochs.mark(sessions.epochs.present(), &[]);
        let before = mark();
        tokio::select! {
            () = watch(&remote) => {}
            () = tokio::time::sleep(Duration::from_secs(15)) => {}
        }
        assert!(remote.link.feeds() && remote.link.is_alive() && sessions.epochs.stands(&before));
        tokio::select! {
            () = watch(&remote) => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        assert!(!remote.link.feeds() && !remote.link.is_alive() && !sessions.epochs.stands(&before));
        assert_eq!(remote.link.since_gap().as_secs(), 16);
        remote.link.lost();
        assert!(remote.link.connected(), "what was there before the gap is looked at once more");
        assert!(remote.link.is_alive() && !remote.link.feeds());
        assert_eq!(remote.link.since_gap().as_secs(), 16);
        remote.link.lost();
        assert!(!remote.link.connected(), "a moment is no gap");
    }
}
