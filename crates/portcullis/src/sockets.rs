//! Listening sockets.

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Failure;

/// Connections that wait to be accepted. A burst larger than this meets the kernel's own back-off.
const BACKLOG: i32 = 1024;

/// Opens a listening socket for each address of a setting. `[::]` takes IPv4 as well (PX-002).
///
/// # Errors
/// One line that names the setting and the address: port in use, not permitted, no such address.
pub(crate) fn listen(setting: &str, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    addresses
        .iter()
        .map(|address| {
            bind(*address).map_err(|error| {
                let problem = match error.kind() {
                    std::io::ErrorKind::AddrInUse => "the port is in use".to_owned(),
                    _ => error.to_string(),
                };
                format!("cannot listen on {address} ({setting}): {problem}").into()
            })
        })
        .collect()
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let SocketAddr::V6(v6) = address {
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    // A restart must not wait for connections of the process before it to fade.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    /// PX-002: a socket on `[::]` takes IPv4 and IPv6 connections; a port in use is named with its setting.
    #[test]
    fn px_002_the_unspecified_address_is_dual_stack() {
        let listeners = listen("listen.http", &["[::]:0".parse().unwrap()]).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(("::1", port)).unwrap();
        let taken = format!("[::]:{port}").parse().unwrap();
        let refused = listen("listen.http", &[taken]).unwrap_err().to_string();
        assert_eq!(refused, format!("cannot listen on [::]:{port} (listen.http): the port is in use"));
    }
}
