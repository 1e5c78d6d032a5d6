//! Asks the instance that the settings describe whether it is ready (PX-316).

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::Failure;
use crate::settings::Settings;

/// Long enough for a busy machine, short enough for a container's probe.
const PATIENCE: Duration = Duration::from_secs(3);

/// Succeeds when a listener of this machine answers that the instance is ready, and its HTTP listeners are there: a
/// metrics listener that answers alone may be another instance's.
///
/// # Errors
/// When one does not, with what it did instead.
pub(crate) fn run(settings: &Settings) -> Result<(), Failure> {
    let listen = &settings.listen;
    for socket in &listen.http {
        connect(reachable(*socket))?;
    }
    // The metrics listener first: there no application can have taken the host name.
    match listen.metrics.first().or(listen.http.first()) {
        Some(socket) => probe(reachable(*socket), path(settings)),
        None => Err("no plain HTTP or metrics listener to ask".into()),
    }
}

/// Where to connect for a listener that may be bound to every address.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// What to ask for: of an outpost, whose listener has no other place of its own, the ping (PX-315).
fn path(settings: &Settings) -> &'static str {
    if settings.general.host.is_some() { "/outpost.goauthentik.io/ping?ready" } else { "/-/health/ready/" }
}

fn connect(socket: SocketAddr) -> Result<TcpStream, Failure> {
    let failed = |error| format!("not ready: {socket}: {error}").into();
    TcpStream::connect_timeout(&socket, PATIENCE).map_err(failed)
}

fn probe(socket: SocketAddr, path: &str) -> Result<(), Failure> {
    let named = |error: std::io::Error| format!("not ready: {socket}: {error}");
    let mut stream = connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(named)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(named)?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .map_err(named)?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).map_err(named)?;
    match &head {
        b"HTTP/1.1 200" | b"HTTP/1.1 204" => Ok(()),
        other => Err(format!("not ready: {socket} answers {}", String::from_utf8_lossy(other).escape_debug()).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        });
        socket
    }

    /// PX-316: the probe succeeds on an answer of readiness only, and names the socket otherwise.
    #[test]
    fn px_316_the_probe_tells_ready_from_not_ready() {
        assert!(probe(answering("HTTP/1.1 200 OK\r\n\r\n"), "/").is_ok());
        let refused = probe(answering("HTTP/1.1 503 Service Unavailable\r\n\r\n"), "/").unwrap_err().to_string();
        assert!(refused.ends_with("answers HTTP/1.1 503"), "{refused}");
        assert_eq!(reachable("[::]:9000".parse().unwrap()), "[::1]:9000".parse().unwrap());
        assert_eq!(reachable("0.0.0.0:9000".parse().unwrap()), "127.0.0.1:9000".parse().unwrap());
    }
}
