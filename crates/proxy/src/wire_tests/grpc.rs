//! gRPC: HTTP/2 on both sides, both directions at once, and a status in trailers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::https_upstream::secure_listener;
use super::*;
use crate::upstream::dial::{Dial, Tls};

/// A service that sends back each message as it comes, and then its status: in trailers, or without a message in the head.
async fn service() -> String {
    let (listener, acceptor, url) = secure_listener().await;
    tokio::spawn(async move {
        let stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, answer))) = connection.accept().await {
            tokio::spawn(serve(request, answer));
        }
    });
    url
}

async fn serve(mut request: Request<h2::RecvStream>, mut answer: h2::server::SendResponse<Bytes>) {
    assert_eq!(request.headers()["te"], "trailers");
    let head = Response::builder().header("content-type", "application/grpc");
    if request.uri().path() == "/fails" {
        answer.send_response(head.header("grpc-status", "12").body(()).unwrap(), true).unwrap();
        return;
    }
    let mut sends = answer.send_response(head.body(()).unwrap(), false).unwrap();
    while let Some(message) = request.body_mut().data().await {
        let message = message.unwrap();
        request.body_mut().flow_control().release_capacity(message.len()).unwrap();
        sends.send_data(message, false).unwrap();
    }
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    sends.send_trailers(trailers).unwrap();
}

/// PX-281, PX-285: messages of a call go both ways as they come, and its status follows them; a call that fails at once has it
/// in its head.
#[tokio::test]
async fn px_285_grpc_calls_pass() {
    let target = Some(service().await);
    let site = site_with(Options { target, https: true, ..Options::default() }).await;
    let connector = Tls::new(Vec::new()).connector(false, false);
    let authority = format!("localhost:{}", site.address.port()).parse().unwrap();
    let stream = Dial::new(&authority, Some(connector), Duration::from_secs(5)).dial().await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let call = |path: &str| {
        let url = format!("https://app.example/{path}");
        Request::builder().method(Method::POST).uri(url).header("te", "trailers").body(()).unwrap()
    };

    let (answer, mut sends) = client.send_request(call("echo"), false).unwrap();
    let mut answer = answer.await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["content-type"]),
        (StatusCode::OK, &"application/grpc".parse().unwrap())
    );
    for message in ["one", "two"] {
        sends.send_data(Bytes::from(message), false).unwrap();
        assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), message);
    }
    sends.send_data(Bytes::new(), true).unwrap();
    assert!(answer.body_mut().data().await.is_none());
    assert_eq!(answer.body_mut().trailers().await.unwrap().unwrap()["grpc-status"], "0");

    let (answer, _) = client.send_request(call("fails"), true).unwrap();
    let answer = answer.await.unwrap();
    assert!(answer.headers()["grpc-status"] == "12" && answer.body().is_end_stream());
}
