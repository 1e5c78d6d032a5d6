//! A stand-alone outpost: the built binary without a control plane of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::api::{Api, App, fresh, text};
use crate::http::{Go, http};
use crate::process::{Process, directory, free_port};
use crate::site::portcullis;
use crate::wait::until;

/// A running outpost.
pub struct Outpost {
    /// The port of the HTTP listener.
    pub port: u16,
    /// The port of the metrics listener.
    pub metrics_port: u16,
    /// Primary key at the control plane.
    pub pk: String,
    /// Name at the control plane.
    pub name: String,
    /// Key of its token.
    pub token: String,
    environment: Vec<(String, String)>,
    directory: TempDir,
    process: Mutex<Arc<Process>>,
    attach: tokio::sync::Mutex<()>,
}

impl Outpost {
    /// A new outpost of the control plane at `base`, which serves one application that nobody needs: without any there
    /// are no outposts.
    pub async fn of(api: &Api, base: &str) -> Self {
        Self::with(api, base, &[]).await
    }

    /// The same with further variables.
    pub async fn with(api: &Api, base: &str, more: &[(&str, &str)]) -> Self {
        let nobody = format!("http://{}.localhost", fresh("nobody-needs-"));
        let first = api.unattached_app(&nobody, "http://127.0.0.1:9", &json!({})).await;
        let name = fresh("edge-");
        let body = json!({
            "name": name, "type": "proxy", "providers": [first.provider], "service_connection": null,
            "config": {"authentik_host": base, "authentik_host_browser": "", "log_level": "debug"},
        });
        let made = api.post("outposts/instances/", body).await;
        let path = format!("core/tokens/{}/view_key/", text(&made["token_identifier"]));
        let token = text(&api.get(&path).await["key"]);
        let outpost = Self { name, ..Self::unchecked(base, &token, &text(&made["pk"]), more) };
        outpost.ready().await;
        outpost
    }

    /// One that is started, and whose control plane may not be there.
    #[must_use]
    pub fn unchecked(base: &str, token: &str, pk: &str, more: &[(&str, &str)]) -> Self {
        let (port, metrics_port) = (free_port(), free_port());
        let fixed = [
            ("PORTCULLIS_HOST", base.to_owned()),
            ("PORTCULLIS_TOKEN", token.to_owned()),
            ("PORTCULLIS_DATA_DIR", "data".to_owned()),
            ("PORTCULLIS_LISTEN__HTTP", format!("127.0.0.1:{port}")),
            ("PORTCULLIS_LISTEN__HTTPS", String::new()),
            ("PORTCULLIS_LISTEN__METRICS", format!("127.0.0.1:{metrics_port}")),
            ("PORTCULLIS_OUTPOST__REFRESH_SPREAD", "0s".to_owned()),
            ("PORTCULLIS_PROXY__SINGLE_APP_FALLBACK", "false".to_owned()),
        ];
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let environment: Vec<_> = fixed.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)).collect();
        let directory = directory("outpost");
        let process = Mutex::new(launch(&directory, &environment));
        Self {
            port,
            metrics_port,
            pk: pk.to_owned(),
            name: String::new(),
            token: token.to_owned(),
            environment,
            directory,
            process,
            attach: tokio::sync::Mutex::default(),
        }
    }

    /// The running process.
    #[must_use]
    pub fn process(&self) -> Arc<Process> {
        Arc::clone(&self.process.lock().unwrap())
    }

    /// What the process wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.process().log()
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts it again on the same data and ports. The old process must have ended.
    pub fn relaunch(&self) {
        *self.process.lock().unwrap() = launch(&self.directory, &self.environment);
    }

    /// The same, and waits until it is ready.
    pub async fn restart(&self) {
        self.relaunch();
        self.ready().await;
    }

    /// What the metrics listener answers.
    pub async fn status(&self, path: &str) -> Option<u16> {
        let url = format!("http://127.0.0.1:{}{path}", self.metrics_port);
        http().get(url).try_go().await.map(|reply| reply.status)
    }

    /// Waits until it has a configuration and hears revocations.
    pub async fn ready(&self) {
        let process = self.process();
        until("readiness of the outpost", async || {
            assert!(process.ended().is_none(), "the outpost ended before it was ready:\n{}", process.log());
            (self.status("/-/health/ready/").await == Some(200)).then_some(())
        })
        .await;
        self.connected(true).await;
    }

    /// Waits until the control channel is there, or is not.
    pub async fn connected(&self, wanted: bool) {
        let value = f64::from(u8::from(wanted));
        until("the control channel", async || {
            let page = http().get(format!("http://127.0.0.1:{}/metrics", self.metrics_port)).try_go().await?.text();
            let line = page.lines().find(|line| line.starts_with("authentik_outpost_connection{"))?.to_owned();
            let shown: f64 = line.rsplit(' ').next()?.parse().ok()?;
            (shown.to_bits() == value.to_bits()).then_some(())
        })
        .await;
    }

    /// Has it serve an application, and waits until it does.
    pub async fn serve(&self, api: &Api, app: &App) {
        {
            let _one_at_a_time = self.attach.lock().await;
            let path = format!("outposts/instances/{}/", self.pk);
            let outpost = api.get(&path).await;
            let mut providers: Vec<i64> =
                outpost["providers"].as_array().unwrap().iter().filter_map(Value::as_i64).collect();
            providers.push(app.provider);
            api.patch(&path, json!({"providers": providers})).await;
        }
        self.serves(app).await;
    }

    /// Waits until it serves an application.
    pub async fn serves(&self, app: &App) {
        let external: Url = app.external.parse().unwrap();
        let url = format!("http://127.0.0.1:{}/outpost.goauthentik.io/start", self.port);
        let host = external[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        until("the application at the outpost", async || {
            let reply = http().get(&url).header("host", &host).try_go().await?;
            reply.header("location").filter(|location| location.contains(&app.client_id))
        })
        .await;
    }
}

fn launch(directory: &TempDir, environment: &[(String, String)]) -> Arc<Process> {
    let mut command = portcullis(directory.path(), &["outpost"]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Arc::new(Process::start("outpost", command))
}
