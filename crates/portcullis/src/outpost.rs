//! A stand-alone outpost: the data plane alone, for a control plane elsewhere.

mod variables;

use std::sync::Arc;

use portcullis_core::clock::Clock;
use portcullis_core::entropy::{Entropy, SystemEntropy};
use portcullis_core::origin::Origin;
use portcullis_proxy::answer::{self, BehindAnother};
use portcullis_proxy::control::ControlPlane;
use portcullis_proxy::listener::Core;
use portcullis_proxy::remote::sessions::Sessions;
use portcullis_proxy::remote::{Remote, RemoteSettings, is_loopback};
use url::Url;
use zeroize::Zeroizing;

use crate::edge::SystemClock;
use crate::listeners::{Bound, Faces, Tokens};
use crate::settings::{BaseUrl, KeepSessions, Layers, LogLevel, Secret, Settings, Value};
use crate::{Failure, authorities, data_dir, face, listeners, observe, open_files, serve, signals};

/// Where everybody may look at metrics, if nobody says otherwise: there is nothing else of this process on the machine
/// that could tell how it is (PX-002).
const METRICS: &str = "[::]:9300";
/// Below the data directory.
const DIRECTORY: &str = "outpost";
const SESSIONS: &str = "sessions.journal";

/// Serves until the process is told to stop.
///
/// # Errors
/// One line when it cannot start. A control plane that cannot be reached is no reason: it is asked again and again
/// (PX-006).
pub(crate) fn run(mut settings: Settings, layers: &Layers) -> Result<(), Failure> {
    let (host, token) = needed(&mut settings)?;
    if layers.is_default("listen.metrics") {
        settings.listen.metrics = Value::read(METRICS).unwrap_or_default();
    }
    let level = observe::start_adjustable_logging(settings.log.format, &settings.general.log_level)?;
    layers.warn_about_ignored();
    open_files::allow_many();
    serve::runtime()?.block_on(async {
        let tokens = Tokens::default();
        let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let bound = Bound::new(&settings)?;
        let rendered = observe::start_metrics()?;
        let trusted = authorities::read(&settings.proxy.upstream_authorities)?;
        let directory = settings.general.data_dir.join(DIRECTORY);
        let (sessions, _lock) = match settings.outpost.sessions {
            KeepSessions::Memory => (Sessions::in_memory(&token, clock.clone(), entropy.clone()), None),
            KeepSessions::File => {
                data_dir::create(&directory)?;
                let lock = data_dir::lock_directory(&directory)?;
                let path = directory.join(SESSIONS);
                let opened = Sessions::in_file(&path, &token, clock.clone(), entropy.clone());
                (opened.map_err(|error| format!("{}: {error}", path.display()))?, Some(lock))
            }
        };
        let of_host = RemoteSettings {
            host: host.url().clone(),
            token,
            insecure: settings.general.insecure,
            host_browser: settings.general.host_browser.clone().unwrap_or_default(),
            connect: settings.proxy.core_connect_timeout.0,
            limit: settings.proxy.core_timeout.0,
            authorities: trusted.clone(),
            via: variables::proxy(host.url(), &crate::environment().collect()),
            grace: settings.proxy.revalidation_grace.0,
            spread: settings.outpost.refresh_spread.0,
            hostname: hostname(),
            log_level: Box::new(move |wanted| level.set(wanted)),
        };
        if of_host.insecure {
            tracing::warn!("the certificate of the control plane is not verified (insecure)");
        }
        if is_overheard(host.url()) {
            tracing::warn!(
                host = host.as_str(),
                "the control plane is reached without encryption: tokens, passwords and the private keys of certificates \
                 can be read on the way (use https)"
            );
        }
        let remote = Arc::new(Remote::new(of_host, sessions, Arc::clone(&clock), Arc::clone(&entropy)));
        listeners::warn_about_trust(&settings);
        let control = Arc::clone(&remote) as Arc<dyn ControlPlane>;
        let parts = (Arc::clone(&clock), Arc::clone(&entropy));
        let single = settings.proxy.single_app_fallback.unwrap_or(true);
        let plane = listeners::data_plane(control, &settings, single, trusted, &tokens, parts);
        let inside = face::of_outpost(rendered, Arc::clone(&remote) as Arc<dyn ControlPlane>);
        let faces = Faces { plane: Arc::clone(&plane), core: nobody(), inside, clock, entropy };
        let refreshed = Arc::clone(&remote);
        signals::watch(&tokens, move || refreshed.refresh())?;
        tokio::spawn(async move { plane.follow_configuration().await });
        let mut following = tokio::spawn(Arc::clone(&remote).run(tokens.stop.clone()));
        let mut serving = bound.serve(&settings, faces, &tokens)?;
        tracing::info!(host = host.as_str(), "the outpost is up");
        tokio::select! {
            drained = serving.drained() => {
                drained?;
                // The channel was closed when the draining began.
                following.await?;
            }
            // It ends before the rest only when it fails, or because all are told to end.
            ended = &mut following => {
                ended?;
                serving.drained().await?;
            }
        }
        tracing::info!("stopped");
        Ok(())
    })
}

/// Whether others can read what is said to a control plane (PX-005).
fn is_overheard(host: &Url) -> bool {
    host.scheme() != "https" && !is_loopback(host)
}

/// What an outpost cannot be without (PX-003).
fn needed(settings: &mut Settings) -> Result<(BaseUrl, Zeroizing<String>), Failure> {
    let general = &mut settings.general;
    match (general.host.take(), general.token.take()) {
        (Some(host), Some(token)) => Ok((host, Zeroizing::new(Secret::expose(&token).to_owned()))),
        (host, token) => {
            let given = [("PORTCULLIS_HOST", host.is_some()), ("PORTCULLIS_TOKEN", token.is_some())];
            let missing: Vec<_> = given.iter().filter(|(_, given)| !given).map(|(name, _)| *name).collect();
            Err(format!("an outpost needs {}", missing.join(" and ")).into())
        }
    }
}

/// 400 for hosts of no application (PX-057), 404 for what is behind another proxy.
fn nobody() -> Core {
    Box::new(|request| {
        Box::pin(async move {
            let is_behind_another = request.extensions().get::<BehindAnother>().is_some();
            match request.extensions().get::<Arc<Origin>>() {
                Some(origin) if is_behind_another => answer::behind_another(origin),
                Some(origin) => answer::no_application(origin),
                None => answer::empty(http::StatusCode::BAD_REQUEST),
            }
        })
    })
}

/// How this machine calls itself, for those who look at the list of outposts.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// What messages are logged, as the control plane wants it (PX-322).
impl observe::Level {
    fn set(&self, wanted: &str) {
        if wanted.is_empty() {
            return;
        }
        match LogLevel::read(wanted) {
            Some(level) => self.change(&level),
            None => tracing::warn!(wanted, "the outpost's log_level is none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-005: without TLS, only a control plane on the same machine is no reason to warn.
    #[test]
    fn px_005_a_control_plane_that_others_can_overhear_is_warned_of() {
        for (host, expected) in [
            ("http://id.example.com", true),
            ("http://192.0.2.1:9000", true),
            ("https://id.example.com", false),
            ("http://localhost:9000", false),
            ("http://127.0.0.1:9000", false),
            ("http://[::1]:9000", false),
        ] {
            assert_eq!(is_overheard(&Url::parse(host).expect("a URL")), expected, "{host}");
        }
    }
}
