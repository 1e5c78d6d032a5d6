//! Several processes on one PostgreSQL database.

use std::process::Command;
use std::time::Duration;

use portcullis_testkit::postgres::{Database, name_of, server};
use portcullis_testkit::process::directory;
use portcullis_testkit::site::portcullis;
use portcullis_testkit::{App, Finished, Go as _, Recorder, Reply, Site, Visitor, http, run, until};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::stage::basic;

const KEY: &str = "a secret key that all nodes have, long enough";
/// How soon a node has to know what another one has changed.
const SOON: Duration = Duration::from_secs(1);

/// Two nodes of one instance, at the public URLs of the first.
struct Nodes {
    one: Site,
    other: Site,
    url: String,
    _database: Database,
}

impl Nodes {
    async fn start() -> Self {
        let url = server().database();
        let options = Site::options().env("PORTCULLIS_DATABASE__URL", &url).env("PORTCULLIS_SECRET_KEY", KEY);
        let one = options.clone().start().await;
        let other = options.env("PORTCULLIS_BASE_URL", &one.base()).start().await;
        Self { one, other, _database: Database::Postgres { url: url.clone() }, url }
    }

    /// The name of their database.
    fn database(&self) -> &str {
        name_of(&self.url)
    }

    /// Asks the other node for an URL of an application.
    async fn at_other(&self, app: &App, header: (&str, &str)) -> Reply {
        let request = http().get(format!("http://localhost:{}/", self.other.port)).header("host", app.authority());
        request.header(header.0, header.1).go().await
    }

    /// A command beside them, with a data directory of its own.
    fn command(&self, folder: &std::path::Path, arguments: &[&str]) -> Command {
        let mut command = portcullis(folder, arguments);
        command.env("PORTCULLIS_DATA_DIR", folder.join("data")).env("PORTCULLIS_DATABASE__URL", &self.url);
        command
    }
}

/// Awaits what another node has to know by now.
async fn soon<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = Instant::now();
    let answer = until(what, probe).await;
    assert!(asked.elapsed() < SOON, "{what} took {:?}", asked.elapsed());
    answer
}

/// CO-304, CO-381, PX-170: a sign-in that was begun at one node goes on at another, with everything that it leads to; what
/// it opens is open at both.
#[test]
fn co_304_a_sign_in_goes_on_at_another_node() {
    run(async {
        let nodes = Nodes::start().await;
        let recorder = Recorder::start().await;
        let app = nodes.one.app(&recorder, json!({})).await;
        let person = nodes.one.api.person("ada").await;
        let mut visitor = Visitor::new();
        let page = visitor.visit(&app.url("/deep?x=1")).await;
        visitor.go_via(nodes.other.port);
        let fields: [(&str, &str); 2] = [("uid_field", &person.username), ("password", &person.password)];
        let arrived = visitor.submit(&page, &fields).await;
        assert_eq!((arrived.reply.status, arrived.url.path()), (200, "/deep"), "{:#?}", visitor.trace);
        assert_eq!(recorder.last().one("x-authentik-username").as_deref(), Some(person.username.as_str()));
        visitor.go_via(nodes.one.port);
        assert_eq!(visitor.get(&app.url("/deep")).await.status, 200);
        let again = nodes.one.app(&recorder, json!({})).await;
        assert_eq!(visitor.visit(&again.url("/")).await.reply.status, 200, "nobody is asked again");

        // PX-190: what is signed out at one is signed out at the other.
        visitor.get(&app.url("/outpost.goauthentik.io/sign_out")).await;
        let cookie =
            format!("{}={}", app.cookie_name(), visitor.cookie(&app.url("/"), &app.cookie_name()).map_or("", |c| c));
        soon("the end of the session", async || {
            (nodes.at_other(&app, ("cookie", &cookie)).await.status == 302).then_some(())
        })
        .await;
    });
}

/// PX-108, PX-198, OA-081: what is taken away at one node is refused at the other within a second, however warm its memory.
#[test]
fn px_198_what_one_node_revokes_the_other_refuses() {
    run(async {
        let nodes = Nodes::start().await;
        let recorder = Recorder::start().await;
        let app = nodes.one.app(&recorder, json!({"intercept_header_auth": true})).await;
        let person = nodes.one.api.person("ada").await;
        let (identifier, key) = nodes.one.api.app_password(&person).await;
        let with = basic(&person.username, &key);
        soon("the application", async || {
            (nodes.at_other(&app, ("authorization", &with)).await.status == 200).then_some(())
        })
        .await;
        let calls = nodes.other.core_calls("verify_password").await;
        assert_eq!(nodes.at_other(&app, ("authorization", &with)).await.status, 200);
        assert_eq!(nodes.other.core_calls("verify_password").await, calls, "it is kept in memory");
        nodes.one.api.delete(&format!("core/tokens/{identifier}/")).await;
        soon("the refusal", async || {
            (nodes.at_other(&app, ("authorization", &with)).await.status == 401).then_some(())
        })
        .await;

        // So is somebody who was deactivated, and who comes with the token of a sign-in.
        let mut visitor = Visitor::new();
        visitor.go_via(nodes.other.port);
        assert_eq!(visitor.sign_in(&app.url("/"), &person).await.reply.status, 200);
        nodes.one.api.patch(&format!("core/users/{}/", person.pk), json!({"is_active": false})).await;
        soon("the refusal", async || (visitor.get(&app.url("/")).await.status == 302).then_some(())).await;
    });
}

/// PX-028: what is set up at one node is served by the other; a command beside them is heard by both.
#[test]
fn px_028_what_one_node_is_told_the_other_serves() {
    run(async {
        let nodes = Nodes::start().await;
        let recorder = Recorder::start().await;
        let app = nodes.one.app(&recorder, json!({"skip_path_regex": "^/$"})).await;
        soon("the application", async || (nodes.at_other(&app, ("accept", "*/*")).await.status == 200).then_some(()))
            .await;
        nodes.one.api.patch(&format!("providers/proxy/{}/", app.provider), json!({"skip_path_regex": ""})).await;
        soon("the change", async || (nodes.at_other(&app, ("accept", "*/*")).await.status != 200).then_some(())).await;

        let folder = directory("beside");
        let blueprint = format!(
            "version: 1\nmetadata: {{name: x}}\nentries:\n  - model: authentik_providers_proxy.proxyprovider\n    \
             identifiers: {{pk: {}}}\n    attrs: {{skip_path_regex: ^/$}}\n",
            app.provider
        );
        std::fs::write(folder.path().join("x.yaml"), blueprint).unwrap();
        let mut apply = nodes.command(folder.path(), &["apply", "x.yaml"]);
        apply.env("PORTCULLIS_SECRET_KEY", KEY);
        Finished::run(apply).await.ok();
        soon("the command", async || (nodes.at_other(&app, ("accept", "*/*")).await.status == 200).then_some(())).await;
        let mut export = nodes.command(folder.path(), &["export"]);
        export.env("PORTCULLIS_SECRET_KEY", KEY);
        assert!(Finished::run(export).await.ok().contains(&app.external));
    });
}

/// CO-522, PX-409: a node whose connections are cut answers 503 at worst, makes them anew, and hears again of what others
/// change.
#[test]
fn co_522_cut_connections_are_made_anew() {
    run(async {
        let nodes = Nodes::start().await;
        let recorder = Recorder::start().await;
        let app = nodes.one.app(&recorder, json!({})).await;
        let person = nodes.one.api.person("ada").await;
        let name = nodes.database();
        let all = format!("FROM pg_stat_activity WHERE datname = '{name}' AND application_name = 'portcullis'");
        let listening = format!("SELECT count(*) {all} AND query LIKE 'LISTEN%'");
        assert_eq!(server().run("postgres", &listening), "2");
        server().run("postgres", &format!("SELECT pg_terminate_backend(pid) {all} AND query LIKE 'LISTEN%'"));
        let (identifier, key) = nodes.one.api.app_password(&person).await;
        let with = basic(&person.username, &key);
        assert_eq!(nodes.at_other(&app, ("authorization", &with)).await.status, 200);
        nodes.one.api.delete(&format!("core/tokens/{identifier}/")).await;
        soon("the refusal", async || {
            (nodes.at_other(&app, ("authorization", &with)).await.status == 401).then_some(())
        })
        .await;
        for node in [&nodes.one, &nodes.other] {
            until("another connection", async || node.log().contains("changes by others are told again").then_some(()))
                .await;
        }
        assert_eq!(server().run("postgres", &listening), "2");

        server().run("postgres", &format!("SELECT pg_terminate_backend(pid) {all}"));
        let answers = async |node: &Site| {
            let reply = node.api.call("GET", "core/users/?page_size=1", None).await;
            assert!(matches!(reply.status, 200 | 503), "{}: {}", reply.status, reply.text());
            (reply.status == 200).then_some(())
        };
        until("the first node", async || answers(&nodes.one).await).await;
        until("a write", async || {
            let body = json!({"name": "made afterwards"});
            let reply = nodes.one.api.call("POST", "core/groups/", Some(&body)).await;
            assert!(matches!(reply.status, 201 | 503), "{}: {}", reply.status, reply.text());
            (reply.status == 201).then_some(())
        })
        .await;
        assert!(!nodes.one.log().contains("not-asked-for"), "no password in the log");
    });
}

/// CO-460: a node without the key that the others have is refused and leaves nothing behind; a key is not replaced while
/// somebody serves with it, and is when nobody does.
#[test]
fn co_460_all_nodes_have_one_key() {
    run(async {
        let nodes = Nodes::start().await;
        let folder = directory("beside");
        let refused = async |mut command: Command, environment: &[(&str, &str)]| {
            command.envs(environment.iter().copied());
            for name in ["HTTP", "HTTPS", "METRICS"] {
                command.env(format!("PORTCULLIS_LISTEN__{name}"), "");
            }
            let finished = Finished::run(command).await;
            assert_eq!(finished.code, Some(1), "{finished:#?}");
            assert!(!finished.stderr.contains("not-asked-for"), "{finished:#?}");
            finished.stderr
        };
        let keyless = refused(nodes.command(folder.path(), &["serve"]), &[]).await;
        assert!(keyless.contains("set secret_key to the key that the other nodes have"), "{keyless}");
        assert!(!folder.path().join("data").exists());
        let other = [("PORTCULLIS_SECRET_KEY", "another key than the others have, long enough")];
        let wrong = refused(nodes.command(folder.path(), &["serve"]), &other).await;
        assert!(wrong.contains("the secret key is not the one that this database was made with"), "{wrong}");
        let keyless = refused(nodes.command(folder.path(), &["export"]), &[]).await;
        assert!(keyless.contains("there is no secret key"), "{keyless}");

        let new = "a new secret key that all nodes will have";
        let keys = [("PORTCULLIS_SECRET_KEY", new), ("PORTCULLIS_PREVIOUS_SECRET_KEY", KEY)];
        let busy = refused(nodes.command(folder.path(), &["rekey"]), &keys).await;
        assert!(busy.contains("in use by a process that serves"), "{busy}");
        nodes.one.kill();
        nodes.other.kill();
        let listening = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'", nodes.database());
        until("the end of their connections", async || (server().run("postgres", &listening) == "0").then_some(()))
            .await;
        let mut rekey = nodes.command(folder.path(), &["rekey"]);
        rekey.envs(keys);
        assert!(Finished::run(rekey).await.ok().contains("values are sealed with the new key"));
        let old = refused(nodes.command(folder.path(), &["serve"]), &[("PORTCULLIS_SECRET_KEY", KEY)]).await;
        assert!(old.contains("the secret key is not the one"), "{old}");
        let renewed =
            Site::options().env("PORTCULLIS_DATABASE__URL", &nodes.url).env("PORTCULLIS_SECRET_KEY", new).start().await;
        let me: Value = portcullis_testkit::Api::new(&renewed.base(), &nodes.one.token).get("core/users/me/").await;
        assert_eq!(me["user"]["username"], "akadmin");
    });
}
