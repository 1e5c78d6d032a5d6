//! Try it: a throw-away instance with users, an application, and commands to copy.
//!
//! Everything goes through the services, listeners and database of production. Only the directory
//! is thrown away, and the passwords are known.

mod look;
mod people;
mod sheet;
mod whoami;

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_core::entropy::{Entropy, SystemEntropy};
use portcullis_proxy::listener::{self, Core, Server, Socket};
use portcullis_proxy::origin::Trust;
use portcullis_proxy::threads::Threads;
use tokio_util::sync::CancellationToken;

use crate::healthcheck::reachable;
use crate::settings::{Layers, LogFormat, LogLevel, Settings};
use crate::{Failure, cli, observe, serve, sockets};

/// Sets up the demonstration, prints what to try, and serves until interrupted.
///
/// # Errors
/// One line when a port is in use or the directory for temporary files cannot be written.
pub(crate) fn run(flags: &cli::Demo) -> Result<(), Failure> {
    observe::start_logging(LogFormat::Text, &LogLevel::quiet())?;
    serve::runtime()?.block_on(demonstrate(flags))
}

async fn demonstrate(flags: &cli::Demo) -> Result<(), Failure> {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let stop = CancellationToken::new();
    let listen = match flags.listen {
        Some(socket) => vec![socket],
        None => on_loopback(flags.port),
    };
    let port = listen.first().map_or(flags.port, SocketAddr::port);
    // Bound now, so that a port in use is told in our words and before anything is created.
    drop(sockets::listen("--port or --listen", &listen)?);

    let directory = Directory::create(&*entropy)?;
    let secrets = people::Secrets::draw(&*entropy);
    let settings = settings(&listen, port, directory.path(), &secrets)?;
    let application = application(&stop, &entropy)?;
    let running = serve::start(settings, &stop).await?;
    let made = people::settle(&running.instance.context, port, application).await?;
    let [ada, ..] = &people::PEOPLE;
    let socket = listen.first().copied().map(reachable).ok_or("no socket to listen on")?;
    let seen = look::look(socket, &format!("whoami.localhost:{port}"), ada).await?;
    let sheet = sheet::sheet(port, &secrets, &made, &seen);
    std::io::stdout().write_all(sheet.as_bytes())?;
    running.finish().await
}

/// Both loopback addresses: `localhost` means either. A machine without IPv6 gets the one it has.
fn on_loopback(port: u16) -> Vec<SocketAddr> {
    let both = [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
    let available = |socket: &SocketAddr| {
        let probe = std::net::TcpListener::bind(SocketAddr::new(socket.ip(), 0));
        socket.is_ipv4() || probe.is_ok()
    };
    both.into_iter().filter(available).collect()
}

/// Settings as an operator could write them: nothing of the environment, no file.
fn settings(
    listen: &[SocketAddr],
    port: u16,
    directory: &Path,
    secrets: &people::Secrets,
) -> Result<Settings, Failure> {
    let sockets = listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let values = [
        ("data_dir", directory.display().to_string()),
        ("base_url", format!("http://localhost:{port}")),
        ("listen.http", sockets),
        ("listen.https", String::new()),
        ("listen.metrics", String::new()),
        ("log.access", "false".to_owned()),
        ("blueprints_dir", String::new()),
    ];
    let variables = [
        ("PORTCULLIS_BOOTSTRAP_PASSWORD", secrets.administrator.clone()),
        ("PORTCULLIS_BOOTSTRAP_TOKEN", secrets.api_token.clone()),
    ];
    let owned = |(name, text): (&str, String)| (name.to_owned(), text);
    let flags: Vec<_> = values.into_iter().map(owned).collect();
    let layers = Layers::without_file(&variables.into_iter().map(owned).collect(), &flags)?;
    Ok(Settings::read(&layers)?)
}

/// Starts the demo application on a port of its own, and gives its URL.
fn application(stop: &CancellationToken, entropy: &Arc<dyn Entropy>) -> Result<String, Failure> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("http://{}", listener.local_addr()?);
    let answer: Core = Box::new(|request| Box::pin(async move { whoami::answer(&request) }));
    let server = Server {
        plane: (),
        core: Some(answer),
        trust: Trust::default(),
        entropy: Arc::clone(entropy),
        log: None,
        settings: listener::Settings::default(),
        cut: CancellationToken::new(),
    };
    let stop = stop.clone();
    tokio::spawn(async move { server.serve(vec![Socket { listener, tls: None }], Threads::default(), stop).await });
    Ok(url)
}

/// A directory among the temporary files, removed when the demonstration ends.
struct Directory(PathBuf);

impl Directory {
    fn create(entropy: &dyn Entropy) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("portcullis-demo-{}", entropy.alphanumeric(12)));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
