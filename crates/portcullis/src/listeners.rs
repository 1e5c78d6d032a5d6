//! What `serve` and `outpost` have in common: sockets, the data plane behind them, metrics beside them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use portcullis_core::clock::Clock;
use portcullis_core::entropy::Entropy;
use portcullis_proxy::control::ControlPlane;
use portcullis_proxy::forward::Forwarder;
use portcullis_proxy::guard::Limits;
use portcullis_proxy::listener::{self, Core, Server, Socket};
use portcullis_proxy::origin::Trust;
use portcullis_proxy::plane::DataPlane;
use portcullis_proxy::threads::Threads;
use portcullis_proxy::tls;
use portcullis_proxy::upstream::{UpstreamSettings, Upstreams};
use rustls::pki_types::CertificateDer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;
use crate::{Failure, face, observe, sockets};

/// Sockets that are ours; nobody is answered yet.
pub(crate) struct Bound {
    http: Vec<TcpListener>,
    https: Vec<TcpListener>,
    metrics: Vec<TcpListener>,
}

impl Bound {
    /// Binds what the settings name.
    ///
    /// # Errors
    /// One line that names the setting and the socket.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Failure> {
        Ok(Self {
            http: sockets::listen("listen.http", &settings.listen.http)?,
            https: sockets::listen("listen.https", &settings.listen.https)?,
            metrics: sockets::listen("listen.metrics", &settings.listen.metrics)?,
        })
    }

    /// Answers until `stop`, then drains; `cut` breaks off what is left.
    ///
    /// # Errors
    /// When a certificate, the access log or the threads cannot be made.
    pub(crate) fn serve(self, settings: &Settings, faces: Faces, tokens: &Tokens) -> Result<Serving, Failure> {
        let Tokens { stop, cut } = tokens;
        let Faces { plane, core, inside, clock, entropy } = faces;
        let mut main = plain(self.http);
        if !self.https.is_empty() {
            let speaks = tls::config(plane.certificates(), tls::self_signed(vec!["localhost".to_owned()])?)?;
            main.extend(self.https.into_iter().map(|listener| Socket { listener, tls: Some(Arc::clone(&speaks)) }));
        }
        let site = Server {
            plane,
            core: Some(core),
            trust: Trust::new(settings.listen.trusted_proxy_cidrs.clone()),
            entropy: Arc::clone(&entropy),
            log: observe::access_log(settings, clock)?,
            settings: limits(settings),
            cut: cut.clone(),
        };
        let inside = Server {
            plane: (),
            core: Some(face::core(inside)),
            trust: Trust::new(Vec::new()),
            entropy,
            log: None,
            settings: limits(settings),
            // Its own: this listener is done draining at once, and what it cuts then must not be the requests of the other.
            cut: cut.child_token(),
        };
        for (setting, addresses) in listening(settings) {
            let places: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            tracing::info!(
                "{setting} {}",
                if places.is_empty() { "off".to_owned() } else { format!("on {}", places.join(", ")) }
            );
        }
        let mut servers = JoinSet::new();
        servers.spawn(site.serve(main, Threads::start()?, stop.clone()));
        servers.spawn(inside.serve(plain(self.metrics), Threads::default(), stop.clone()));
        Ok(Serving(servers))
    }
}

/// What answers.
pub(crate) struct Faces {
    /// For applications.
    pub(crate) plane: Arc<DataPlane>,
    /// For hosts of no application.
    pub(crate) core: Core,
    /// On the metrics listener.
    pub(crate) inside: Router,
    /// For the access log.
    pub(crate) clock: Arc<dyn Clock>,
    /// For request ids.
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// What ends a process.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    /// Finish.
    pub(crate) stop: CancellationToken,
    /// Break off.
    pub(crate) cut: CancellationToken,
}

/// Listeners at work.
pub(crate) struct Serving(JoinSet<std::io::Result<()>>);

impl Serving {
    /// Something else that is waited for, too.
    pub(crate) fn and(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            task.await;
            Ok(())
        });
    }

    /// Waits until all listeners have drained (PX-007).
    ///
    /// # Errors
    /// When a listener failed.
    pub(crate) async fn drained(&mut self) -> Result<(), Failure> {
        while let Some(ended) = self.0.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// The data plane that the settings describe.
pub(crate) fn data_plane(
    control: Arc<dyn ControlPlane>,
    settings: &Settings,
    single_app_fallback: bool,
    authorities: Vec<CertificateDer<'static>>,
    tokens: &Tokens,
    (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
) -> Arc<DataPlane> {
    let upstreams = Upstreams::new(UpstreamSettings { authorities, ..UpstreamSettings::default() });
    let forwarder = Forwarder::new(upstreams, settings.proxy.powered_by, tokens.cut.clone());
    let of_data_plane = settings.proxy.of_data_plane(single_app_fallback);
    Arc::new(DataPlane::new(control, forwarder, of_data_plane, clock, entropy))
}

fn plain(listeners: Vec<TcpListener>) -> Vec<Socket> {
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
        early_hints: settings.proxy.early_hints,
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
pub(crate) fn warn_about_trust(settings: &Settings) {
    let [http, https, _] = listening(settings);
    let to_the_world = http.1.iter().chain(https.1).any(|socket| !socket.ip().is_loopback());
    if settings.trusts_by_default() && to_the_world {
        tracing::warn!(
            "forwarded headers are believed from loopback only: \
             set listen.trusted_proxy_cidrs if a reverse proxy on another address is in front"
        );
    }
}
