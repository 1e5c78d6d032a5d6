//! The built binary with a data directory of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{Api, App, fresh};
use crate::http::{Go, http};
use crate::outpost::Outpost;
use crate::postgres::{self, Database};
use crate::process::{Process, command, directory, free_port};
use crate::recorder::Recorder;
use crate::wait::until;

/// Password of `akadmin` on every site.
pub const ADMIN_PASSWORD: &str = "administrator's pass phrase";

/// The binary under test: `PORTCULLIS_BIN`, else the debug build.
#[must_use]
pub fn binary() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/portcullis");
    let path = std::env::var_os("PORTCULLIS_BIN").map_or_else(built, PathBuf::from);
    path.canonicalize().unwrap_or_else(|_| panic!("{} is not built: `./test` does that", path.display()))
}

/// Settings that differ from those of the suite.
#[derive(Clone, Debug, Default)]
pub struct Options {
    environment: Vec<(String, String)>,
    by_outpost: bool,
}

impl Options {
    /// Adds an environment variable; an empty value takes a preset one away.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has applications served by a stand-alone outpost of the site (PX-001).
    #[must_use]
    pub fn by_outpost(mut self) -> Self {
        self.by_outpost = true;
        self
    }

    /// Starts the site.
    pub async fn start(self) -> Site {
        Site::with(self).await
    }
}

/// A running site.
pub struct Site {
    /// The port of the HTTP listener.
    pub port: u16,
    /// The port of the metrics listener.
    pub metrics_port: u16,
    /// A client with the bootstrap token.
    pub api: Api,
    /// That token.
    pub token: String,
    options: Options,
    directory: TempDir,
    process: Mutex<Arc<Process>>,
    outpost: Option<Outpost>,
    // Where the tests run on PostgreSQL. Below the above, and so given back after the process has ended.
    _database: Option<Database>,
}

impl Site {
    /// Options for a site.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    /// Starts a site and waits until it is ready. With `PORTCULLIS_TEST_OUTPOST` in the environment, a stand-alone
    /// outpost serves its applications (PX-001).
    pub async fn start() -> Self {
        let by_outpost = std::env::var_os("PORTCULLIS_TEST_OUTPOST").is_some();
        Self::with(Options { by_outpost, ..Options::default() }).await
    }

    async fn with(mut options: Options) -> Self {
        const URL: &str = "PORTCULLIS_DATABASE__URL";
        let database =
            (postgres::is_wanted() && !options.environment.iter().any(|(name, _)| name == URL)).then(Database::fresh);
        if let Some(Database::Postgres { url }) = &database {
            options = options.env(URL, url);
        }
        let directory = directory("site");
        let (port, metrics_port) = (free_port(), free_port());
        let token = fresh("bootstrap-token-of-this-site-");
        let process = Mutex::new(launch(&options, directory.path(), port, metrics_port, &token));
        let api = Api::new(&format!("http://localhost:{port}"), &token);
        let by_outpost = options.by_outpost;
        let mut site =
            Self { port, metrics_port, api, token, options, directory, _database: database, process, outpost: None };
        site.ready().await;
        if by_outpost {
            site.outpost = Some(Outpost::of(&site.api, &site.base()).await);
        }
        site
    }

    /// The stand-alone outpost.
    ///
    /// # Panics
    /// When the site has none.
    #[must_use]
    pub fn outpost(&self) -> &Outpost {
        self.outpost.as_ref().expect("a site with an outpost")
    }

    /// Whether a stand-alone outpost serves applications.
    #[must_use]
    pub fn has_outpost(&self) -> bool {
        self.outpost.is_some()
    }

    /// The name of the outpost that serves applications.
    #[must_use]
    pub fn outpost_name(&self) -> &str {
        self.outpost.as_ref().map_or("authentik Embedded Outpost", |outpost| &outpost.name)
    }

    /// The port of whatever serves applications.
    #[must_use]
    pub fn gate(&self) -> u16 {
        self.outpost.as_ref().map_or(self.port, |outpost| outpost.port)
    }

    /// Public URL of the core, without a slash at the end.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// An URL of the core.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base())
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
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

    /// SIGKILL.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// SIGKILL to whatever serves applications.
    pub fn kill_gate(&self) {
        match &self.outpost {
            Some(outpost) => outpost.process().kill(),
            None => self.kill(),
        }
    }

    /// Starts it again on the same data and ports, and waits until it is ready. The old process must have ended.
    pub async fn restart(&self) {
        let process = launch(&self.options, self.directory.path(), self.port, self.metrics_port, &self.token);
        *self.process.lock().unwrap() = process;
        self.ready().await;
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        let url = format!("http://127.0.0.1:{}/-/health/ready/", self.port);
        let process = self.process();
        until("readiness", async || {
            assert!(process.ended().is_none(), "the binary ended before it was ready:\n{}", process.log());
            http().get(&url).try_go().await.filter(|reply| reply.status == 200)
        })
        .await;
    }

    /// A new application of its own host name, `http://appN.localhost:PORT`, before the recorder.
    pub async fn app(&self, recorder: &Recorder, settings: Value) -> App {
        self.app_before(&recorder.url(), settings).await
    }

    /// The same before any upstream.
    pub async fn app_before(&self, internal: &str, settings: Value) -> App {
        let external = format!("http://{}.localhost:{}", fresh("host"), self.gate());
        self.app_at(&external, internal, &settings).await
    }

    /// The same under any name.
    pub async fn app_at(&self, external: &str, internal: &str, settings: &Value) -> App {
        match &self.outpost {
            Some(outpost) => {
                let app = self.api.unattached_app(external, internal, settings).await;
                outpost.serve(&self.api, &app).await;
                app
            }
            None => self.api.app(external, internal, settings).await,
        }
    }

    /// The same at `http://127.0.0.1:PORT`, for clients whose resolver does not know `*.localhost`. One per site.
    pub async fn app_by_address(&self, internal: &str, settings: Value) -> App {
        let external = format!("http://127.0.0.1:{}", self.gate());
        self.app_at(&external, internal, &settings).await
    }

    /// The sum of all samples of a metric of whatever serves applications whose labels contain all of `labels`, such as `endpoint="introspect"`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let port = self.outpost.as_ref().map_or(self.metrics_port, |outpost| outpost.metrics_port);
        let url = format!("http://127.0.0.1:{port}/metrics");
        let page = http().get(url).go().await.text();
        let samples = page.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// How often the data plane asked the core something: `verify_password`, `introspect`, `exchange_code`, `still_stands`.
    pub async fn core_calls(&self, endpoint: &str) -> u64 {
        let calls = self.metric("portcullis_proxy_core_calls_total", &[&format!("endpoint=\"{endpoint}\"")]).await;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        {
            calls as u64
        }
    }

    /// An access token for an application by the machine-to-machine flow with an app password.
    pub async fn access_token(&self, app: &App, username: &str, key: &str) -> String {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("grant_type", "client_credentials"),
                ("client_id", &app.client_id),
                ("username", username),
                ("password", key),
                ("scope", "openid profile email ak_proxy"),
            ])
            .finish();
        let request = http().post(self.url("/application/o/token/")).body(form);
        let reply = request.header("content-type", "application/x-www-form-urlencoded").go().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }
}

/// The binary with a sub-command and nothing of the caller's environment.
#[must_use]
pub fn portcullis(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = command(binary());
    command.args(arguments).current_dir(directory).env("HOME", directory);
    command
}

fn launch(options: &Options, directory: &Path, port: u16, metrics_port: u16, token: &str) -> Arc<Process> {
    let mut command = portcullis(directory, &["serve"]);
    command
        .env("PORTCULLIS_DATA_DIR", directory.join("data"))
        .env("PORTCULLIS_BASE_URL", format!("http://localhost:{port}"))
        .env("PORTCULLIS_LISTEN__HTTP", format!("127.0.0.1:{port}"))
        .env("PORTCULLIS_LISTEN__HTTPS", "")
        .env("PORTCULLIS_LISTEN__METRICS", format!("127.0.0.1:{metrics_port}"))
        .env("PORTCULLIS_BOOTSTRAP_PASSWORD", ADMIN_PASSWORD)
        .env("PORTCULLIS_BOOTSTRAP_TOKEN", token)
        .env("PORTCULLIS_BOOTSTRAP_EMAIL", "root@example.org");
    for (name, value) in &options.environment {
        if value.is_empty() {
            command.env_remove(name);
        } else {
            command.env(name, value);
        }
    }
    Arc::new(Process::start("portcullis", command))
}

/// Lower-case hex of a SHA-256 digest, by the system's `sha256sum`, independent of the product's own code.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::io::Write;
    use std::process::Stdio;
    let mut command = std::process::Command::new("sha256sum");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()[..64].to_owned()
}

/// A provider that takes HTTP Basic towards the application from the attributes `app_user` and `app_password`.
#[must_use]
pub fn basic_upstream() -> Value {
    json!({
        "basic_auth_enabled": true,
        "basic_auth_user_attribute": "app_user",
        "basic_auth_password_attribute": "app_password",
    })
}
