//! The command line, and what it says when it cannot start.

use std::path::Path;
use std::process::Command;

use portcullis_testkit::process::{directory, free_port};
use portcullis_testkit::site::portcullis;
use portcullis_testkit::{Finished, Site, run};

/// A server command that would run, were it not for one thing.
fn serve(folder: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = portcullis(folder, &["serve"]);
    command
        .env("PORTCULLIS_DATA_DIR", folder.join("data"))
        .env("PORTCULLIS_LISTEN__HTTP", format!("127.0.0.1:{}", free_port()))
        .env("PORTCULLIS_LISTEN__HTTPS", "")
        .env("PORTCULLIS_LISTEN__METRICS", "")
        .env("PORTCULLIS_BOOTSTRAP_PASSWORD", "a bootstrap password");
    command.envs(environment.iter().copied());
    command
}

/// It fails with one line that names `part`, and shows no secret.
async fn fails(command: Command, part: &str) {
    let finished = Finished::run(command).await;
    assert!(!matches!(finished.code, Some(0 | 101 | 124) | None), "{finished:#?}");
    let lines: Vec<&str> = finished.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "one clear line: {finished:#?}");
    assert!(lines[0].contains(part), "{part:?} in {finished:#?}");
    assert!(!finished.stderr.contains("a bootstrap password"), "{finished:#?}");
}

/// CO-008, PX-010: an unknown setting is refused by name, wherever it was written, before anything is created.
#[test]
fn co_008_an_unknown_setting_is_refused() {
    run(async {
        let folder = directory("cli");
        fails(serve(folder.path(), &[("PORTCULLIS_LISTEN__HTPP", "127.0.0.1:1")]), "LISTEN__HTPP").await;
        std::fs::write(folder.path().join("portcullis.toml"), "[listen]\nhtpp = \"127.0.0.1:1\"\n").unwrap();
        fails(serve(folder.path(), &[]), "listen.htpp").await;
        assert!(!folder.path().join("data").exists());
    });
}

/// CO-008: values that cannot be read, and files that cannot be, are refused by name.
#[test]
fn co_008_unreadable_values_are_refused() {
    run(async {
        let folder = directory("cli");
        fails(serve(folder.path(), &[("PORTCULLIS_LISTEN__HTTP", "nowhere")]), "PORTCULLIS_LISTEN__HTTP").await;
        fails(serve(folder.path(), &[("PORTCULLIS_BASE_URL", "not a url")]), "BASE_URL").await;
        fails(serve(folder.path(), &[("PORTCULLIS_SECRET_KEY", "file:///does/not/exist")]), "/does/not/exist").await;
        let mut command = serve(folder.path(), &[]);
        command.arg("--config").arg("missing.toml");
        fails(command, "missing.toml").await;
        assert!(!folder.path().join("data").exists());
    });
}

/// CO-008: a port that is taken is named, and nothing half-created stays behind.
#[test]
fn co_008_a_taken_port_is_named() {
    run(async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let folder = directory("cli");
        fails(serve(folder.path(), &[("PORTCULLIS_LISTEN__HTTP", &address)]), &address).await;
        let left = std::fs::read_dir(folder.path().join("data")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "files in the data directory");
    });
}

/// CO-008: a data directory that cannot be made or used is named.
#[test]
fn co_008_an_unusable_data_directory_is_named() {
    run(async {
        let folder = directory("cli");
        std::fs::write(folder.path().join("file"), "not a directory").unwrap();
        let below = folder.path().join("file/data").display().to_string();
        fails(serve(folder.path(), &[("PORTCULLIS_DATA_DIR", &below)]), &below).await;
        fails(serve(folder.path(), &[("PORTCULLIS_DATA_DIR", "/proc/nothing/here")]), "/proc/nothing").await;
    });
}

/// CO-008: a database URL that leads nowhere is named, without the password in it.
#[test]
fn co_008_a_wrong_database_url_is_named() {
    run(async {
        let folder = directory("cli");
        let url = "mysql://user:a-database-password@localhost/x";
        let finished = Finished::run(serve(folder.path(), &[("PORTCULLIS_DATABASE__URL", url)])).await;
        assert!(!finished.stderr.contains("a-database-password"), "{finished:#?}");
        fails(serve(folder.path(), &[("PORTCULLIS_DATABASE__URL", url)]), "DATABASE__URL").await;
        let missing = "sqlite:/does/not/exist/portcullis.db";
        fails(serve(folder.path(), &[("PORTCULLIS_DATABASE__URL", missing)]), "/does/not/exist").await;
    });
}

/// CO-460: an existing database refuses another secret key and opens with the right one afterwards.
#[test]
fn co_460_a_wrong_secret_key_is_refused() {
    run(async {
        let site = Site::start().await;
        site.kill();
        let key = "another secret key of sufficient length for it";
        let command = serve(site.data().parent().unwrap(), &[("PORTCULLIS_SECRET_KEY", key)]);
        let finished = Finished::run(command).await;
        assert!(!finished.stderr.contains(key));
        let command = serve(site.data().parent().unwrap(), &[("PORTCULLIS_SECRET_KEY", key)]);
        fails(command, "secret key").await;
        site.restart().await;
        assert_eq!(site.api.get("core/users/me/").await["user"]["username"], "akadmin");
    });
}

/// PX-003: a stand-alone outpost without host or token names what is missing.
#[test]
fn px_003_an_outpost_names_what_is_missing() {
    run(async {
        let folder = directory("cli");
        fails(portcullis(folder.path(), &["outpost"]), "PORTCULLIS_HOST and PORTCULLIS_TOKEN").await;
    });
}

/// PX-004, PX-002, CO-481: values may point at files and variables, and the older prefix works where it is known.
#[test]
fn px_004_indirect_values_and_aliases() {
    run(async {
        let folder = directory("cli");
        std::fs::write(folder.path().join("address"), "127.0.0.1:4567\n").unwrap();
        let file = format!("file://{}", folder.path().join("address").display());
        let mut command = portcullis(folder.path(), &["config"]);
        command.env("PORTCULLIS_LISTEN__HTTP", &file).env("AUTHENTIK_LOG_LEVEL", "debug");
        command.env("AUTHENTIK_BOOTSTRAP_PASSWORD", "a masked password").env("PORTCULLIS_BASE_URL", "env://HERE");
        command.env("HERE", "https://id.example");
        let shown = Finished::run(command).await.ok();
        assert!(shown.contains("127.0.0.1:4567") && shown.contains("debug") && shown.contains("https://id.example"));
        assert!(!shown.contains("a masked password"), "{shown}");
    });
}

/// PX-316: the health check tells a running server from none.
#[test]
fn px_316_healthcheck() {
    run(async {
        let site = Site::start().await;
        let folder = directory("cli");
        let check = async || {
            let mut command = portcullis(folder.path(), &["healthcheck"]);
            command
                .env("PORTCULLIS_LISTEN__HTTP", format!("127.0.0.1:{}", site.port))
                .env("PORTCULLIS_LISTEN__METRICS", format!("127.0.0.1:{}", site.metrics_port));
            Finished::run(command).await.code
        };
        assert_eq!(check().await, Some(0));
        // Another instance's metrics do not stand for this one.
        let mut elsewhere = portcullis(folder.path(), &["healthcheck"]);
        elsewhere
            .env("PORTCULLIS_LISTEN__HTTP", format!("127.0.0.1:{}", free_port()))
            .env("PORTCULLIS_LISTEN__METRICS", format!("127.0.0.1:{}", site.metrics_port));
        assert_eq!(Finished::run(elsewhere).await.code, Some(1));
        site.kill();
        assert_eq!(check().await, Some(1));
    });
}
