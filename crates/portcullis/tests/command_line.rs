//! The built binary from outside: what it prints, how it ends, what it leaves behind.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a step that fails is a test that fails")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use tempfile::TempDir;

/// A working directory of its own, and the binary without any setting from outside.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.env_clear().current_dir(self.0.path()).args(arguments);
        // No listener unless a test asks for one: tests run side by side.
        for name in ["HTTP", "HTTPS", "METRICS"] {
            command.env(format!("PORTCULLIS_LISTEN__{name}"), "");
        }
        command
    }

    fn refused(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let output = self.command(arguments).envs(variables.iter().copied()).output().unwrap();
        one_line_failure(&output)
    }

    /// Runs `serve` until it is ready, and ends it again.
    fn serve_once(&self, variables: &[(&str, &str)]) {
        let served = Served::start(self, variables);
        served.signal("TERM");
        assert!(served.end().status.success());
    }
}

/// Exit code 1 and exactly one line on standard error, without its prefix.
fn one_line_failure(output: &Output) -> String {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error.trim_end().strip_prefix("portcullis: ").unwrap().to_owned()
}

/// A process that is ended with the test, if it did not end before.
struct Served {
    child: Child,
    metrics: u16,
    before_ready: String,
    /// What is logged after that.
    rest: Option<JoinHandle<Vec<String>>>,
}

impl Served {
    fn start(place: &Place, variables: &[(&str, &str)]) -> Self {
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = place
            .command(&["serve"])
            .env("PORTCULLIS_LISTEN__METRICS", format!("127.0.0.1:{metrics}"))
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before_ready = String::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("ended early: {before_ready}")).unwrap();
            before_ready.push_str(&line);
            before_ready.push('\n');
            if line.contains("\"message\":\"ready\"") {
                break;
            }
        }
        let rest = Some(std::thread::spawn(move || lines.map_while(Result::ok).collect()));
        Self { child, metrics, before_ready, rest }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    fn get(&self, path: &str) -> String {
        get(self.metrics, path, "")
    }

    /// Stops it; what it has logged since it was ready.
    fn log(mut self) -> Vec<String> {
        self.signal("TERM");
        let rest = self.rest.take().unwrap();
        assert_eq!(self.end().status.code(), Some(0));
        rest.join().unwrap()
    }

    fn end(mut self) -> Output {
        let status = self.child.wait().unwrap();
        Output { status, stdout: Vec::new(), stderr: Vec::new() }
    }
}

/// The answer at a port of this machine; `headers` end with a line break each.
fn get(port: u16, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// CO-008: flags that would have no effect are refused.
#[test]
fn co_008_flags_without_effect_are_refused() {
    let place = Place::new();
    for flags in [["--data-dir", "kept"], ["--config", "portcullis.toml"], ["--set", "log.access=true"]] {
        let refused = place.refused(&[&["demo"], flags.as_slice()].concat(), &[]);
        assert!(refused.contains("keeps nothing") && refused.contains("portcullis serve"), "{refused}");
    }
    assert!(!place.path("kept").exists());
    let zero = place.command(&["recovery-link", "ada", "0"]).output().unwrap();
    assert_eq!(zero.status.code(), Some(2), "{zero:?}");
}

/// OA-931: what is no installation id is refused before anything is asked.
#[test]
fn oa_931_what_is_no_installation_id_is_refused() {
    let place = Place::new();
    let import = ["import", "http://localhost:1", "--install-id", "nonsense"];
    let refused = place.refused(&import, &[("PORTCULLIS_IMPORT_TOKEN", "token")]);
    assert!(refused.contains("--install-id: nonsense is not the id of an installation"), "{refused}");
}

/// OA-930: that there is nothing to import into is told before the server is read, which may take long.
#[test]
fn oa_930_a_missing_instance_is_told_first() {
    let place = Place::new();
    let refused = place.refused(&["import", "http://localhost:1"], &[("PORTCULLIS_IMPORT_TOKEN", "token")]);
    assert!(refused.contains("there is no instance in") && refused.contains("--data-dir"), "{refused}");
}

/// CO-720: `-` is a blueprint on standard input.
#[test]
fn co_720_a_blueprint_comes_by_standard_input() {
    let place = Place::new();
    place.serve_once(&[]);
    let entry = "{model: authentik_core.group, identifiers: {name: staff}}";
    let mut child = place.command(&["apply", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    write!(child.stdin.take().unwrap(), "version: 1\nentries: [{entry}]\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("-: applied"), "{output:?}");
}

/// PX-003: a stand-alone outpost without host or token ends with an error that names what is missing.
#[test]
fn px_003_an_outpost_names_what_is_missing() {
    let place = Place::new();
    assert_eq!(place.refused(&["outpost"], &[]), "an outpost needs PORTCULLIS_HOST and PORTCULLIS_TOKEN");
    let host = ("AUTHENTIK_HOST", "https://id.example.com/");
    assert_eq!(place.refused(&["outpost"], &[host]), "an outpost needs PORTCULLIS_TOKEN");
}

/// CO-008: an unknown setting, in the environment or in the file, is one line and creates nothing.
#[test]
fn co_008_an_unknown_setting_is_one_line_and_creates_nothing() {
    let place = Place::new();
    assert_eq!(
        place.refused(&["serve"], &[("PORTCULLIS_DATADIR", "x")]),
        "unknown setting PORTCULLIS_DATADIR, did you mean PORTCULLIS_DATA_DIR?"
    );
    fs::write(place.path("portcullis.toml"), "[listen]\nhtpp = ''\n").unwrap();
    assert_eq!(
        place.refused(&["serve"], &[]),
        "portcullis.toml: unknown setting listen.htpp, did you mean listen.http?"
    );
    assert!(!place.path("portcullis-data").exists());
}

/// CO-008: a settings file that was named and cannot be read is one line, and so is a value of the wrong kind.
#[test]
fn co_008_an_unreadable_file_is_one_line() {
    let place = Place::new();
    assert!(place.refused(&["serve", "--config", "absent.toml"], &[]).starts_with("cannot read absent.toml: "));
    assert!(
        place.refused(&["serve", "--set", "listen.http=nonsense"], &[]).contains("must be a list, each item a socket")
    );
}

/// PX-002: a port in use is one line that names setting and address, and nothing is created.
#[test]
fn px_002_a_port_in_use_is_one_line_and_creates_nothing() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_eq!(
        place.refused(&["serve"], &[("PORTCULLIS_LISTEN__HTTP", &address)]),
        format!("cannot listen on {address} (listen.http): the port is in use")
    );
    assert!(!place.path("portcullis-data").exists());
}

/// CO-460: a data directory that cannot be made is one line; so is a secret key that is too short.
#[test]
fn co_460_an_unusable_data_directory_or_key_is_one_line() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let refused = place.refused(&["serve", "--data-dir", "file/below"], &[]);
    assert!(refused.starts_with("cannot create the data directory file/below: "), "{refused}");
    let refused = place.refused(&["serve"], &[("PORTCULLIS_SECRET_KEY", "short")]);
    assert_eq!(refused, "the secret key is shorter than 32 bytes");
    assert!(!place.path("portcullis-data").exists());
}

/// CO-008: a database URL that this build cannot use is one line, and nothing is created.
#[test]
fn co_008_a_wrong_database_url_is_one_line_and_creates_nothing() {
    let place = Place::new();
    // Nobody listens there.
    let postgres = ("PORTCULLIS_DATABASE__URL", "postgres://user:hunter2@127.0.0.1:1/portcullis");
    let refused = place.refused(&["serve"], &[postgres]);
    assert!(refused.starts_with("cannot connect to the database portcullis at 127.0.0.1:1: "), "{refused}");
    let refused = place.refused(&["apply", "x.yaml"], &[postgres]);
    assert!(!refused.contains("hunter2"), "{refused}");
    let mistyped = ("PORTCULLIS_DATABASE__URL", "postgres://user@127.0.0.1:1/portcullis?slmode=require");
    let refused = place.refused(&["serve"], &[mistyped]);
    assert!(refused.starts_with("PORTCULLIS_DATABASE__URL: database.url must be a URL"), "{refused}");
    let refused = place.refused(&["serve"], &[("PORTCULLIS_DATABASE__URL", "mysql://db")]);
    assert!(refused.starts_with("PORTCULLIS_DATABASE__URL: database.url must be a URL"), "{refused}");
    let refused = place.refused(&["serve"], &[("PORTCULLIS_DATABASE__URL", "sqlite:/nowhere/at/all/p.db")]);
    assert_eq!(refused, "database.url: there is no directory /nowhere/at/all");
    assert!(!place.path("portcullis-data").exists());
}

/// CO-460: a new instance makes its directory and files for its own user only, and a restart opens them.
#[test]
fn co_460_a_new_instance_is_private_and_opens_again() {
    let place = Place::new();
    place.serve_once(&[]);
    let data = place.path("portcullis-data");
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("secret.key")), 0o600);
    assert_eq!(mode(&data.join("portcullis.db")), 0o600);
    place.serve_once(&[]);
}

/// CO-460: a database is not opened with another secret key, nor without its own, and stays as it is.
#[test]
fn co_460_a_database_opens_with_its_own_key_only() {
    let place = Place::new();
    place.serve_once(&[]);
    let other = ("PORTCULLIS_SECRET_KEY", "another-key-of-at-least-32-bytes-length");
    let refused = place.refused(&["serve"], &[other]);
    assert_eq!(
        refused,
        "the secret key is not the one that this database was made with: bring back its secret.key, or set secret_key to it"
    );
    let key = place.path("portcullis-data/secret.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(place.refused(&["serve"], &[]).contains("exists without its secret key"));
    assert!(!key.exists());
    fs::write(&key, kept).unwrap();
    assert!(place.refused(&["serve"], &[]).contains("is readable by others"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    place.serve_once(&[]);
}

/// CO-482: bootstrap values that break a rule are one line, and leave no half-made instance behind.
#[test]
fn co_482_a_refused_bootstrap_leaves_nothing_behind() {
    let place = Place::new();
    let refused = place.refused(&["serve"], &[("PORTCULLIS_BOOTSTRAP_EMAIL", "no address")]);
    assert!(refused.contains("mail"), "{refused}");
    assert!(!place.path("portcullis-data").exists());
}

/// CO-486: a new instance without a password tells the set-up URL and a code, in a private file if one is named.
#[test]
fn co_486_a_new_instance_tells_its_setup_code() {
    let place = Place::new();
    let served = Served::start(&place, &[]);
    assert!(served.before_ready.contains("http://localhost:9000/if/flow/initial-setup/"), "{}", served.before_ready);
    assert!(served.before_ready.contains("setup code: "));
    let line = served.before_ready.lines().find(|line| line.contains("setup code: ")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["setup.code"].as_str().unwrap().replace('-', "").len(), 32, "{line}");
    served.signal("TERM");
    served.end();
    fs::write(place.path("code"), "there before, and open to all").unwrap();
    let served = Served::start(&place, &[("PORTCULLIS_SETUP_CODE_FILE", "code")]);
    let code = fs::read_to_string(place.path("code")).unwrap();
    assert_eq!(code.trim().replace('-', "").len(), 32);
    assert!(!served.before_ready.contains(code.trim()));
    assert_eq!(mode(&place.path("code")), 0o600);
}

/// CO-482: with a bootstrap password there is no setup code, and no secret given is ever logged.
#[test]
fn co_482_bootstrap_values_are_not_logged() {
    let place = Place::new();
    let secrets = [
        ("PORTCULLIS_BOOTSTRAP_PASSWORD", "the-first-pass-phrase"),
        ("AUTHENTIK_BOOTSTRAP_TOKEN", "the-first-token-of-all"),
        ("PORTCULLIS_LOG_LEVEL", "trace"),
    ];
    let served = Served::start(&place, &secrets);
    for (_, secret) in &secrets[..2] {
        assert!(!served.before_ready.contains(secret));
    }
    assert!(!served.before_ready.contains("setup code"));
}

/// OA-669, OA-904: a line of the access log says by which method a request proved itself, and nothing of one that did not
/// hold.
#[test]
fn oa_669_the_access_log_says_how_requests_proved_themselves() {
    let place = Place::new();
    let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{http}");
    let key = "the-first-token-of-all-0123456789-0123456789";
    let served = Served::start(&place, &[("PORTCULLIS_LISTEN__HTTP", &listen), ("PORTCULLIS_BOOTSTRAP_TOKEN", key)]);
    let me = "/api/v3/core/users/me/";
    assert!(get(http, me, &format!("Authorization: Bearer {key}\r\n")).starts_with("HTTP/1.1 200"));
    assert!(get(http, me, "Authorization: Bearer guess\r\n").starts_with("HTTP/1.1 403"));
    let log = served.log();
    let lines: Vec<serde_json::Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_status = |status: u16| lines.iter().find(|line| line["event"] == me && line["status"] == status).unwrap();
    assert_eq!(of_status(200)["auth_via"], "api_token", "{log:?}");
    assert_eq!(of_status(403)["auth_via"], "unauthenticated", "{log:?}");
}

/// PX-007: SIGTERM and SIGINT end the process with exit code 0; SIGUSR1 does not end it.
#[test]
fn px_007_signals_end_the_process_in_order() {
    for name in ["TERM", "INT"] {
        let place = Place::new();
        let served = Served::start(&place, &[]);
        served.signal("USR1");
        assert!(served.get("/-/health/live/").starts_with("HTTP/1.1 200"));
        served.signal(name);
        assert_eq!(served.end().status.code(), Some(0), "{name}");
    }
}

/// PX-316: the health check ends with 0 while the instance is ready, and with 1 otherwise.
#[test]
fn px_316_the_health_check_follows_readiness() {
    let place = Place::new();
    let served = Served::start(&place, &[]);
    let metrics = format!("127.0.0.1:{}", served.metrics);
    let check =
        |place: &Place| place.command(&["healthcheck"]).env("PORTCULLIS_LISTEN__METRICS", &metrics).output().unwrap();
    assert!(check(&place).status.success());
    served.signal("TERM");
    served.end();
    assert!(one_line_failure(&check(&place)).starts_with("not ready: "));
}

/// PX-317: the metrics listener serves Prometheus text, and answers the ping.
#[test]
fn px_317_the_metrics_listener_serves_metrics_and_ping() {
    let place = Place::new();
    let served = Served::start(&place, &[]);
    let metrics = served.get("/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.contains("authentik_outpost_info{outpost_name=\"authentik Embedded Outpost\""), "{metrics}");
    assert!(metrics.contains("authentik_outpost_last_update{"), "{metrics}");
    assert!(served.get("/outpost.goauthentik.io/ping").starts_with("HTTP/1.1 204"));
}

/// PX-045: one warning tells that forwarded headers are believed from loopback only, if the world can connect.
#[test]
fn px_045_one_warning_about_the_default_trust() {
    let place = Place::new();
    let warnings = |variables: &[(&str, &str)]| {
        let served = Served::start(&place, variables);
        let count = served.before_ready.matches("listen.trusted_proxy_cidrs").count();
        served.signal("TERM");
        served.end();
        count
    };
    let world = ("PORTCULLIS_LISTEN__HTTP", "0.0.0.0:0");
    assert_eq!(warnings(&[world]), 1);
    assert_eq!(warnings(&[world, ("PORTCULLIS_LISTEN__TRUSTED_PROXY_CIDRS", "10.0.0.0/8")]), 0);
    assert_eq!(warnings(&[("PORTCULLIS_LISTEN__HTTP", "127.0.0.1:0")]), 0);
}

/// CO-460: one process at a time uses a data directory.
#[test]
fn co_460_one_process_at_a_time_uses_a_data_directory() {
    let place = Place::new();
    let _served = Served::start(&place, &[]);
    assert!(place.refused(&["serve"], &[]).ends_with("is in use by another process"));
}

/// CO-460: one process at a time uses a database, wherever its data directory is and however the file is named.
#[test]
fn co_460_one_process_at_a_time_uses_a_database() {
    let place = Place::new();
    let _first = Served::start(&place, &[]);
    let database = place.path("portcullis-data/portcullis.db");
    std::os::unix::fs::symlink(&database, place.path("link.db")).unwrap();
    for name in [database, place.path("link.db")] {
        let (url, key) =
            (format!("sqlite:{}", name.display()), fs::read_to_string(place.path("portcullis-data/secret.key")));
        let second = [
            ("PORTCULLIS_DATA_DIR", "elsewhere"),
            ("PORTCULLIS_DATABASE__URL", url.as_str()),
            ("PORTCULLIS_SECRET_KEY", key.as_ref().unwrap().trim()),
        ];
        let error = place.refused(&["serve"], &second);
        assert_eq!(error, format!("the database {} is in use by another process", name.display()));
        assert!(!place.path("elsewhere").exists());
    }
}

/// CO-460: `rekey` replaces the key file of an instance that nothing else uses; the old key opens nothing any more.
#[test]
fn co_460_a_key_file_is_replaced() {
    let place = Place::new();
    assert!(place.refused(&["rekey"], &[]).starts_with("there is no database"));
    {
        let _served = Served::start(&place, &[]);
        assert!(place.refused(&["rekey"], &[]).ends_with("is in use by another process"));
    }
    let key = |name: &str| fs::read_to_string(place.path("portcullis-data").join(name)).unwrap();
    let first = key("secret.key");
    let output = place.command(&["rekey"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("values are sealed with the new key") && told.contains("secret.key.old"), "{told}");
    assert_eq!((key("secret.key.old"), mode(&place.path("portcullis-data/secret.key.old"))), (first.clone(), 0o600));
    assert_ne!(key("secret.key"), first);
    assert_eq!(mode(&place.path("portcullis-data/secret.key")), 0o600);
    place.serve_once(&[]);
    let error = place.refused(&["serve"], &[("PORTCULLIS_SECRET_KEY", first.trim())]);
    assert!(error.starts_with("the secret key is not the one"), "{error}");
}

/// CO-460: a second replacement does not write over the key of the first, which backups may need.
#[test]
fn co_460_an_older_key_is_not_written_over() {
    let place = Place::new();
    place.serve_once(&[]);
    let key = |name: &str| fs::read_to_string(place.path("portcullis-data").join(name)).unwrap();
    let first = key("secret.key");
    assert!(place.command(&["rekey"]).output().unwrap().status.success());
    let second = key("secret.key");
    let refused = place.refused(&["rekey"], &[]);
    assert!(refused.contains("secret.key.old is there from an earlier replacement: move it"), "{refused}");
    assert_eq!((key("secret.key.old"), key("secret.key")), (first, second.clone()));
    fs::rename(place.path("portcullis-data/secret.key.old"), place.path("first.key")).unwrap();
    assert!(place.command(&["rekey"]).output().unwrap().status.success());
    assert_eq!(key("secret.key.old"), second);
    place.serve_once(&[]);
}

/// CO-460: a run that was interrupted after everything was sealed is finished by the next one.
#[test]
fn co_460_an_interrupted_replacement_is_finished() {
    let place = Place::new();
    place.serve_once(&[]);
    let data = place.path("portcullis-data");
    let old = fs::read(data.join("secret.key")).unwrap();
    assert!(place.command(&["rekey"]).output().unwrap().status.success());
    fs::rename(data.join("secret.key"), data.join("secret.key.next")).unwrap();
    fs::rename(data.join("secret.key.old"), data.join("secret.key")).unwrap();
    assert!(place.refused(&["serve"], &[]).starts_with("the secret key is not the one"));
    let output = place.command(&["rekey"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("with the new key already"));
    assert_eq!(fs::read(data.join("secret.key.old")).unwrap(), old);
    place.serve_once(&[]);
}

/// CO-460: keys that come from settings are replaced by naming both; a wrong old one changes nothing.
#[test]
fn co_460_a_key_from_the_settings_is_replaced() {
    let place = Place::new();
    let [first, second, third] = ["one", "two", "three"].map(|word| format!("{word}-{}", "0123456789".repeat(4)));
    place.serve_once(&[("PORTCULLIS_SECRET_KEY", &first)]);
    let rekey = |new: &str, old: &str| {
        let mut command = place.command(&["rekey"]);
        command.env("PORTCULLIS_SECRET_KEY", new);
        if !old.is_empty() {
            command.env("PORTCULLIS_PREVIOUS_SECRET_KEY", old);
        }
        command.output().unwrap()
    };
    assert!(one_line_failure(&rekey(&second, "")).starts_with("set previous_secret_key"));
    assert!(one_line_failure(&rekey(&second, &third)).starts_with("the secret key is not the one"));
    place.serve_once(&[("PORTCULLIS_SECRET_KEY", &first)]);
    assert!(rekey(&second, &first).status.success());
    place.serve_once(&[("PORTCULLIS_SECRET_KEY", &second)]);
    assert!(!place.path("portcullis-data/secret.key").exists());
}

/// CO-008: variables of another server that have no effect are named when it starts, without what they hold.
#[test]
fn co_008_ignored_variables_are_told_at_the_start() {
    let place = Place::new();
    let served = Served::start(&place, &[("AUTHENTIK_REDIS__PASSWORD", "hunter2"), ("AUTHENTIK_LOG_LEVEL", "info")]);
    let told = &served.before_ready;
    assert!(told.contains("ignored: AUTHENTIK_REDIS__PASSWORD\"") && !told.contains("hunter2"), "{told}");
}

/// CO-008: `portcullis config` prints what is in force and where it was set, secrets masked.
#[test]
fn co_008_config_prints_settings_with_secrets_masked() {
    let place = Place::new();
    let output = place
        .command(&["config", "--set", "log.format=json"])
        .env("PORTCULLIS_SECRET_KEY", "not-to-be-seen-not-to-be-seen-12")
        .env("PORTCULLIS_DATABASE__URL", "postgres://u:hunter2@db/x")
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(!shown.contains("not-to-be-seen") && !shown.contains("hunter2"), "{shown}");
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(line("secret_key = \"********\"").ends_with("# PORTCULLIS_SECRET_KEY"));
    assert!(line("format = \"json\"").ends_with("# command line"));
    assert!(line("data_dir = ").ends_with("# default"));
}
