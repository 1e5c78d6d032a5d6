//! One request through everything, to show what the application sees of it.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::people::Person;
use crate::Failure;

/// Headers that are worth showing.
const SHOWN: [&str; 4] = ["x-authentik-username", "x-authentik-email", "x-authentik-groups", "authorization"];
/// How long the application may take to be served; it is there at once, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the application sees of a request with a person's app password: names and values.
///
/// # Errors
/// When the request is not answered as it should be.
pub(super) async fn look(socket: SocketAddr, host: &str, person: &Person) -> Result<Vec<(String, String)>, Failure> {
    let seen = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(seen) = ask(socket, host, person).await? {
                return Ok::<_, Failure>(seen);
            }
            // The outpost has not taken over the new provider yet.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let seen = seen.await.map_err(|_| "the demo application is not served")??;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let decoded = text(seen.get("authorization_decoded"));
    Ok(SHOWN
        .into_iter()
        .map(|name| match name {
            "authorization" => (name.to_owned(), format!("Basic, decoded {decoded}")),
            _ => (name.to_owned(), text(seen.get("headers").and_then(|headers| headers.get(name)))),
        })
        .collect())
}

async fn ask(socket: SocketAddr, host: &str, person: &Person) -> Result<Option<Value>, Failure> {
    let credentials = STANDARD.encode(format!("{}:{}", person.username, person.app_password));
    let request =
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {credentials}\r\nConnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(socket).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.strip_prefix("HTTP/1.1 200 ").and_then(|rest| rest.split_once("\r\n\r\n"));
    Ok(body.map(|(_, body)| serde_json::from_str(body)).transpose()?)
}
