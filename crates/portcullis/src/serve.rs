//! Everything in one process: control plane, embedded outpost, listeners.

use std::net::SocketAddr;
use std::sync::Arc;

use portcullis_core::clock::Clock;
use portcullis_core::entropy::{Entropy, SystemEntropy};
use portcullis_proxy::control::ControlPlane;
use portcullis_proxy::forward::Forwarder;
use portcullis_proxy::guard::Limits;
use portcullis_proxy::listener::{self, Server, Socket};
use portcullis_proxy::origin::Trust;
use portcullis_proxy::plane::DataPlane;
use portcullis_proxy::tls;
use portcullis_proxy::upstream::{UpstreamSettings, Upstreams};
use tokio_util::sync::CancellationToken;

use crate::edge::SystemClock;
use crate::instance::Instance;
use crate::local::Local;
use crate::settings::Settings;
use crate::{Failure, authorities, blueprints, face, instance, observe, open_files, signals, sockets, sweep};

/// Opens the instance and serves until the process is told to stop.
///
/// # Errors
/// One line when it cannot start. Everything that can be refused is refused before anything is created.
pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
    observe::start_logging(settings.log.format, &settings.general.log_level)?;
    open_files::allow_many();
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        let running = start(settings, &stop).await?;
        tracing::info!("ready");
        running.finish().await
    })
}

/// The one runtime, and the one provider of cryptography.
///
/// # Errors
/// When the system gives no threads.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| "another cryptographic provider is installed")?;
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// A site that serves.
pub(crate) struct Running {
    pub(crate) instance: Instance,
    servers: tokio::task::JoinSet<std::io::Result<()>>,
}

impl Running {
    /// Waits until all listeners have drained, then closes the database (PX-007).
    ///
    /// # Errors
    /// When a listener failed.
    pub(crate) async fn finish(mut self) -> Result<(), Failure> {
        while let Some(ended) = self.servers.join_next().await {
            ended??;
        }
        self.instance.context.db.close().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Binds, opens, and begins to serve; `stop` makes it drain and end.
///
/// Sockets are bound first: a port in use is noticed before anything is created. Connections that come before the
/// instance is opened wait, so that who is answered at all is answered by a complete instance (CO-485).
///
/// # Errors
/// One line when it cannot start.
pub(crate) async fn start(mut settings: Settings, stop: &CancellationToken) -> Result<Running, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let http = sockets::listen("listen.http", &settings.listen.http)?;
    let https = sockets::listen("listen.https", &settings.listen.https)?;
    let metrics = plain(sockets::listen("listen.metrics", &settings.listen.metrics)?);
    let rendered = observe::start_metrics()?;
    let authorities = authorities::read(&settings.proxy.upstream_authorities)?;
    let instance = instance::open(&mut settings, Arc::clone(&clock), Arc::clone(&entropy)).await?;
    instance.announce_setup(&settings)?;
    warn_about_trust(&settings);

    let context = &instance.context;
    // What the folder says is in force before anybody is answered.
    let watch = blueprints::first_look(context).await;
    let cut = CancellationToken::new();
    let control = Arc::new(Local::new(Arc::clone(context)).await?);
    let upstreams = Upstreams::new(UpstreamSettings { authorities, ..UpstreamSettings::default() });
    let forwarder = Forwarder::new(upstreams, settings.proxy.powered_by, cut.clone());
    let plane = Arc::new(DataPlane::new(
        Arc::clone(&control) as Arc<dyn ControlPlane>,
        forwarder,
        settings.proxy.of_data_plane(),
        Arc::clone(&clock),
        Arc::clone(&entropy),
    ));
    let mut main = plain(http);
    if !https.is_empty() {
        let speaks = tls::config(plane.certificates(), tls::self_signed(vec!["localhost".to_owned()])?)?;
        main.extend(https.into_iter().map(|listener| Socket { listener, tls: Some(Arc::clone(&speaks)) }));
    }
    let site = Server {
        plane: Arc::clone(&plane),
        core: Some(face::core(portcullis_web::router(Arc::clone(context)))),
        trust: Trust::new(settings.listen.trusted_proxy_cidrs.clone()),
        entropy: Arc::clone(&entropy),
        log: observe::access_log(&settings, Arc::clone(&clock))?,
        settings: limits(&settings),
        cut: cut.clone(),
    };
    let inside = Server {
        plane: (),
        core: Some(face::core(face::metrics(rendered, Arc::clone(context)))),
        trust: Trust::new(Vec::new()),
        entropy,
        log: None,
        settings: limits(&settings),
        // Its own: this listener is done draining at once, and what it cuts then must not be the requests of the other.
        cut: cut.child_token(),
    };

    signals::watch(stop, &cut, Arc::clone(context))?;
    tokio::spawn(async move { plane.follow_configuration().await });
    tokio::spawn(async move { control.follow_changes().await });
    tokio::spawn(sweep::run(Arc::clone(context)));
    tokio::spawn(blueprints::follow(Arc::clone(context), watch, stop.clone()));
    tokio::spawn(blueprints::hear(Arc::clone(context), stop.clone()));
    for (setting, addresses) in listening(&settings) {
        let places: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        tracing::info!(
            "{setting} {}",
            if places.is_empty() { "off".to_owned() } else { format!("on {}", places.join(", ")) }
        );
    }
    let mut servers = tokio::task::JoinSet::new();
    servers.spawn(site.serve(main, stop.clone()));
    servers.spawn(inside.serve(metrics, stop.clone()));
    tokio::spawn(portcullis_idp::oauth::logout::work(Arc::clone(context), stop.clone().cancelled_owned()));
    let post = portcullis_idp::mail::work(Arc::clone(context), stop.clone().cancelled_owned());
    servers.spawn(async move {
        post.await;
        Ok(())
    });
    Ok(Running { instance, servers })
}

fn plain(listeners: Vec<std::net::TcpListener>) -> Vec<Socket> {
    listeners.into_iter().map(|listener| Socket { listener, tls: None }).collect()
}

fn limits(settings: &Settings) -> listener::Settings {
    let web = &settings.web;
    let limits =
        Limits { head: web.timeout_http_read_header.0, idle: web.timeout_http_idle.0, write: web.timeout_http_write.0 };
    listener::Settings {
        limits,
        body: web.timeout_http_read.0,
        drain: web.drain_timeout.0,
        ..listener::Settings::default()
    }
}

fn listening(settings: &Settings) -> [(&'static str, &[SocketAddr]); 3] {
    let listen = &settings.listen;
    [("HTTP", &listen.http), ("HTTPS", &listen.https), ("metrics", &listen.metrics)]
        .map(|(name, sockets)| (name, sockets.as_slice()))
}

/// Somebody listens to the world, and believes forwarded headers of nobody but this machine: mostly that means a
/// reverse proxy whose word is not taken (PX-045).
fn warn_about_trust(settings: &Settings) {
    let [http, https, _] = listening(settings);
    let to_the_world = http.1.iter().chain(https.1).any(|socket| !socket.ip().is_loopback());
    if settings.trusts_by_default() && to_the_world {
        tracing::warn!(
            "forwarded headers are believed from loopback only: \
             set listen.trusted_proxy_cidrs if a reverse proxy on another address is in front"
        );
    }
}
