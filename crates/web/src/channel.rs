//! `GET /ws/outpost/{uuid}/`: the channel to an outpost elsewhere (sections 22 and 23 of the proxy specification).
//!
//! What is said is [`portcullis_idp::outposts::channel`]; here are the socket, its limits, and who may open it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocketUpgrade, close_code};
use axum::extract::{Extension, FromRequestParts, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use http::{HeaderMap, StatusCode};
use portcullis_core::channel::{MAX_MESSAGE_BYTES, Message, SILENCE_SECONDS};
use portcullis_core::id::OutpostId;
use portcullis_core::origin::Origin;
use portcullis_idp::outposts::channel::{Talk, need_to_speak_for};
use portcullis_idp::{Context, Error};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout};
use zeroize::Zeroizing;

use crate::api::answer::ApiError;
use crate::api::caller::{Caller, bearer, by_token};

/// An outpost that says nothing for so long is gone (PX-382: it says something every ten seconds).
const SILENCE: Duration = Duration::from_secs(SILENCE_SECONDS);
/// One that does not take what it is sent for so long is cut off: it asks for what it missed when it comes back.
const PATIENCE: Duration = Duration::from_secs(5);
/// A token that nothing is heard of is looked at again after so long: it may have ended by itself.
const RECHECK: Duration = Duration::from_secs(60);
/// Longest `instance_uuid`.
const LONGEST_UID: usize = 64;
/// Bytes that wait for an outpost to take them.
const BACKLOG: usize = 4 * MAX_MESSAGE_BYTES;

/// The route.
pub(crate) fn router() -> Router<Arc<Context>> {
    Router::new().route("/ws/outpost/{outpost}/", get(connect))
}

#[derive(Default, Deserialize)]
struct Asked {
    #[serde(default)]
    instance_uuid: String,
}

/// Who the outpost is, and what its channel rests on.
struct Identity {
    ctx: Arc<Context>,
    origin: Arc<Origin>,
    key: Zeroizing<String>,
    outpost: OutpostId,
}

impl Identity {
    /// Who has the token, if they speak for the outpost now (PX-404). A cookie is none: a page of another site could send
    /// it along.
    async fn caller(&self) -> Result<Caller, ApiError> {
        let caller = by_token(&self.ctx, &self.origin, &self.key).await?;
        need_to_speak_for(&self.ctx, &caller.actor, self.outpost).await?;
        Ok(caller)
    }

    /// Whether it still may.
    async fn stands(&self) -> Result<bool, ApiError> {
        match self.caller().await {
            Ok(_) => Ok(true),
            Err(refused) if is_refusal(&refused) => Ok(false),
            Err(failed) => Err(failed),
        }
    }
}

fn is_refusal(error: &ApiError) -> bool {
    matches!(error, ApiError::Forbidden | ApiError::NotFound(_) | ApiError::BadToken | ApiError::NoCredentials)
}

async fn connect(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Path(outpost): Path<String>,
    request: Request,
) -> Response {
    let (mut parts, _) = request.into_parts();
    let asked = Query::<Asked>::try_from_uri(&parts.uri).map(|asked| asked.0).unwrap_or_default();
    // Before anything is said about the protocol (PX-404).
    let (identity, talk) = match begin(ctx, origin, &parts.headers, &outpost, asked.instance_uuid).await {
        Ok(Some(begun)) => begun,
        Ok(None) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Err(error) if is_refusal(&error) => return ApiError::Forbidden.into_response(),
        Err(error) => return error.into_response(),
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    // What the listener counts the connection by stays with the socket.
    let held = std::mem::take(&mut parts.extensions);
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .max_write_buffer_size(BACKLOG)
        .on_upgrade(move |socket| async move {
            Channel { socket, talk, identity, recheck: RECHECK }.serve().await;
            drop(held);
        })
}

async fn begin(
    ctx: Arc<Context>,
    origin: Arc<Origin>,
    headers: &HeaderMap,
    outpost: &str,
    uid: String,
) -> Result<Option<(Identity, Talk)>, ApiError> {
    let key = bearer(headers).map_err(|_| ApiError::Forbidden)?.ok_or(ApiError::NoCredentials)?;
    let outpost = outpost.parse().map_err(|_| ApiError::Forbidden)?;
    let identity = Identity { key: Zeroizing::new(key.to_owned()), ctx: Arc::clone(&ctx), origin, outpost };
    let caller = identity.caller().await?;
    let uid = if (1..=LONGEST_UID).contains(&uid.len()) { uid } else { ctx.entropy.uuid().to_string() };
    let talk = Talk::begin(&ctx, &caller.actor, (caller.person.account.uuid, caller.token), outpost, uid).await?;
    Ok(talk.map(|talk| (identity, talk)))
}

/// Why a channel ends from our side.
enum End {
    /// The process is about to.
    Stopping,
    /// The token or the right is gone (PX-404).
    Refused,
    /// Nothing was heard, or nothing is taken.
    Silent,
    /// The store failed: the outpost is to come back.
    Failed,
    /// What the outpost was told may not be what there is: it is to come back, and to look at everything anew.
    Anew,
    /// The outpost closed it, or it broke.
    Theirs,
}

/// What goes on, one of these at a time.
enum Next {
    /// The outpost said something, or nothing more.
    Frame(Option<Result<Frame, axum::Error>>),
    /// There may be something to tell it.
    News,
    /// Its token is to be looked at again.
    Recheck,
}

struct Channel<S> {
    socket: S,
    talk: Talk,
    identity: Identity,
    /// How often its token is looked at.
    recheck: Duration,
}

impl<S> Channel<S>
where
    S: Stream<Item = Result<Frame, axum::Error>> + Sink<Frame, Error = axum::Error> + Unpin,
{
    async fn serve(mut self) {
        let ended = self.converse().await;
        let (code, reason) = match ended {
            End::Stopping => (close_code::AWAY, "stopping"),
            End::Anew => (close_code::RESTART, "anew"),
            End::Refused => (close_code::POLICY, "refused"),
            End::Failed => (close_code::ERROR, "failed"),
            End::Silent | End::Theirs => return,
        };
        let close = Frame::Close(Some(CloseFrame { code, reason: reason.into() }));
        let farewell = async {
            self.socket.send(close).await?;
            // Until the other side has said so, too: else what is on its way to it may be lost.
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok::<_, axum::Error>(())
        };
        let _ = timeout(Duration::from_secs(1), farewell).await;
    }

    async fn converse(&mut self) -> End {
        let ctx = Arc::clone(&self.identity.ctx);
        let (mut news, mut closed) = (ctx.channels.follow(), ctx.channels.closed());
        let mut heard = Instant::now();
        let mut looked = heard;
        // What was taken away since the handshake looked, and before the conversation began, is no news to it.
        if let Err(end) = look_again(&self.identity).await {
            return end;
        }
        loop {
            let next = tokio::select! {
                () = async { drop(closed.wait_for(|closed| *closed).await) } => return End::Stopping,
                () = sleep_until(heard + SILENCE) => return End::Silent,
                // Whatever it says, or does not: frames that need no answer keep nothing open.
                () = sleep_until(looked + self.recheck) => Next::Recheck,
                frame = self.socket.next() => Next::Frame(frame),
                _ = news.changed() => Next::News,
            };
            let outcome = match next {
                Next::Frame(frame) => {
                    heard = Instant::now();
                    self.heard(frame).await
                }
                Next::News => self.tell().await,
                Next::Recheck => {
                    looked = Instant::now();
                    look_again(&self.identity).await
                }
            };
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    /// Answers a frame.
    async fn heard(&mut self, frame: Option<Result<Frame, axum::Error>>) -> Result<(), End> {
        let text = match frame {
            Some(Ok(Frame::Text(text))) => text,
            Some(Ok(Frame::Binary(_) | Frame::Ping(_) | Frame::Pong(_))) => return Ok(()),
            Some(Ok(Frame::Close(_))) | None => return Err(End::Theirs),
            Some(Err(error)) => {
                tracing::debug!(outpost = %self.identity.outpost, %error, "the channel of an outpost broke");
                return Err(End::Theirs);
            }
        };
        let answers = self.talk.answer(&text).await.map_err(|error| failed(&error))?;
        self.send(answers).await
    }

    /// Tells what is new.
    async fn tell(&mut self) -> Result<(), End> {
        loop {
            let news = self.talk.news().await.map_err(|error| failed(&error))?;
            if news.look_again {
                look_again(&self.identity).await?;
            }
            self.send(news.messages).await?;
            if news.is_over {
                return Err(End::Anew);
            }
            if !news.more {
                return Ok(());
            }
        }
    }

    async fn send(&mut self, messages: Vec<Message>) -> Result<(), End> {
        for message in messages {
            match timeout(PATIENCE, self.socket.send(Frame::Text(message.encode().into()))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(End::Theirs),
                Err(_) => return Err(End::Silent),
            }
        }
        Ok(())
    }
}

async fn look_again(identity: &Identity) -> Result<(), End> {
    match identity.stands().await {
        Ok(true) => Ok(()),
        Ok(false) => Err(End::Refused),
        Err(_) => Err(End::Failed),
    }
}

fn failed(error: &Error) -> End {
    tracing::error!(%error, "cannot read what an outpost is to be told");
    End::Failed
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context as Task, Poll};

    use super::*;
    use crate::testing::Site;

    /// An outpost that sends pings without end, and does something at the first.
    struct Pings<F>(Option<F>, bool);

    impl<F: FnOnce() + Unpin> Stream for Pings<F> {
        type Item = Result<Frame, axum::Error>;

        fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
            self.1 = !self.1;
            if self.1 {
                // Others have their turn.
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(first) = self.0.take() {
                first();
            }
            Poll::Ready(Some(Ok(Frame::Ping(Vec::new().into()))))
        }
    }

    impl<F: Unpin> Sink<Frame> for Pings<F> {
        type Error = axum::Error;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Result<(), axum::Error>> {
            Poll::Ready(Ok(()))
        }

        fn start_send(self: Pin<&mut Self>, _: Frame) -> Result<(), axum::Error> {
            Ok(())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Result<(), axum::Error>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Result<(), axum::Error>> {
            Poll::Ready(Ok(()))
        }
    }

    /// PX-404: a channel ends when its token does, also when nothing tells of that and the outpost sends nothing but pings.
    #[tokio::test]
    async fn px_404_pings_keep_no_channel_open() {
        let site = Site::new().await;
        let key = site.api_key(1, "edge").await;
        let found = site.admin(http::Method::GET, "/outposts/instances/", None).await;
        let outpost = found.json["results"][0]["pk"].as_str().expect("a key").to_owned();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {key}").parse().expect("a header"));
        let client = std::net::IpAddr::from([192, 0, 2, 1]);
        let origin = Origin {
            scheme: portcullis_core::origin::Scheme::Http,
            host: "id.example".to_owned(),
            client,
            peer: client,
            peer_trusted: false,
            request_id: "0123456789abcdef0123456789abcdef".into(),
            asked: None,
        };
        let begun = begin(Arc::clone(&site.ctx), Arc::new(origin), &headers, &outpost, "one".to_owned()).await;
        let (identity, talk) = begun.ok().flatten().expect("the token holds");
        let clock = Arc::clone(&site.clock);
        let socket = Pings(Some(move || clock.advance_seconds(365 * 24 * 3600)), false);
        let mut channel = Channel { socket, talk, identity, recheck: Duration::ZERO };
        let end = timeout(Duration::from_secs(20), channel.converse()).await;
        assert!(matches!(end, Ok(End::Refused)), "it ends");
    }
}
