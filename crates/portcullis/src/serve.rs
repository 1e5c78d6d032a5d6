//! Everything in one process: control plane, embedded outpost, listeners.

use std::sync::Arc;

use portcullis_core::clock::Clock;
use portcullis_core::entropy::{Entropy, SystemEntropy};
use portcullis_idp::flow::stages;
use portcullis_idp::{Context, event};
use portcullis_proxy::control::ControlPlane;
use tokio_util::sync::CancellationToken;

use crate::edge::SystemClock;
use crate::instance::Instance;
use crate::listeners::{Bound, Faces, Serving, Tokens};
use crate::local::Local;
use crate::others::Others;
use crate::settings::{Layers, Settings};
use crate::{Failure, authorities, blueprints, face, instance, listeners, observe, open_files, places, signals, sweep};

/// Opens the instance and serves until the process is told to stop.
///
/// # Errors
/// One line when it cannot start. Everything that can be refused is refused before anything is created.
pub(crate) fn run(settings: Settings, layers: &Layers) -> Result<(), Failure> {
    observe::start_logging(settings.log.format, &settings.general.log_level)?;
    layers.warn_about_ignored();
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
    serving: Serving,
}

impl Running {
    /// Waits until all listeners have drained, then closes the database (PX-007).
    ///
    /// # Errors
    /// When a listener failed.
    pub(crate) async fn finish(mut self) -> Result<(), Failure> {
        self.serving.drained().await?;
        if let Err(error) = event::failing::tell_repeated(&self.instance.context, true).await {
            tracing::warn!(%error, "what has failed again and again is not in the audit trail");
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
    let bound = Bound::new(&settings)?;
    let rendered = observe::start_metrics()?;
    let authorities = authorities::read(&settings.proxy.upstream_authorities)?;
    let instance = instance::open(&mut settings, Arc::clone(&clock), Arc::clone(&entropy)).await?;
    instance.announce_setup(&settings)?;
    listeners::warn_about_trust(&settings);

    let context = &instance.context;
    let others = Others::begin(context).await?;
    // What the folder says is in force before anybody is answered.
    let places = places::Watch::begin(&settings.context_processors, &context.places).await;
    stages::warn(context).await?;
    let watch = blueprints::first_look(context).await;
    let tokens = Tokens { stop: stop.clone(), ..Tokens::default() };
    let control = Arc::new(Local::new(Arc::clone(context)).await?);
    let plane = listeners::data_plane(
        Arc::clone(&control) as Arc<dyn ControlPlane>,
        &settings,
        settings.proxy.single_app_fallback.unwrap_or(false),
        authorities,
        &tokens,
        (Arc::clone(&clock), Arc::clone(&entropy)),
    );
    let faces = Faces {
        plane: Arc::clone(&plane),
        core: face::core(portcullis_web::router(Arc::clone(context))),
        inside: face::metrics(rendered, Arc::clone(context)),
        clock,
        entropy,
    };
    let changed = Arc::clone(context);
    signals::watch(&tokens, move || changed.revisions.add())?;
    tokio::spawn(async move { plane.follow_configuration().await });
    tokio::spawn(async move { control.follow_changes().await });
    tokio::spawn(sweep::run(Arc::clone(context)));
    tokio::spawn(close_channels(Arc::clone(context), stop.clone()));
    tokio::spawn(blueprints::follow(Arc::clone(context), watch, stop.clone()));
    tokio::spawn(places.follow(Arc::clone(context), stop.clone()));
    tokio::spawn(others.follow(stop.clone()));
    tokio::spawn(portcullis_idp::oauth::logout::work(Arc::clone(context), stop.clone().cancelled_owned()));
    let mut serving = bound.serve(&settings, faces, &tokens)?;
    // What was left to be mailed is mailed before the process ends.
    serving.and(portcullis_idp::mail::work(Arc::clone(context), stop.clone().cancelled_owned()));
    Ok(Running { instance, serving })
}

/// Says good-bye to outposts elsewhere once the process is told to stop: their channels would never drain (PX-007).
async fn close_channels(context: Arc<Context>, stop: CancellationToken) {
    stop.cancelled().await;
    context.channels.close();
}
