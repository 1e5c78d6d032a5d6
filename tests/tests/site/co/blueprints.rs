//! `portcullis apply`, beside a server and without one, and the folder that a server watches.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use portcullis_testkit::process::directory;
use portcullis_testkit::site::portcullis;
use portcullis_testkit::{Finished, Go as _, Recorder, Site, http, run, until};
use tokio::time::Instant;

use crate::stage::basic;

const EXAMPLE: &str = include_str!("../../../../docs/src/examples/wiki.yaml");
const KEY: &str = "the-app-password-of-mary";

fn apply(site: &Site, files: &[&Path]) -> Command {
    let files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let mut command = portcullis(site.data().parent().unwrap(), &[&["apply"], files.as_slice()].concat());
    command
        .env("PORTCULLIS_DATA_DIR", site.data())
        .env("PORTCULLIS_BLUEPRINT_MARY_KEY", KEY)
        .env("PORTCULLIS_BLUEPRINT_WIKI_PASSWORD", "upstream-s3cret");
    command
}

/// CO-730: the example of the handbook, applied beside a server, protects an application within a second; what a
/// blueprint takes away is refused as soon.
#[test]
fn co_730_apply_protects_an_application_beside_a_server() {
    run(async {
        let site = Site::start().await;
        let recorder = Recorder::start().await;
        let external = format!("http://wiki.localhost:{}", site.port);
        let folder = directory("blueprints");
        let (wiki, gone) = (folder.path().join("wiki.yaml"), folder.path().join("gone.yaml"));
        let text = EXAMPLE.replace("https://wiki.example.com", &external);
        std::fs::write(&wiki, text.replace("http://127.0.0.1:8080", &recorder.url())).unwrap();
        let entry = "{model: authentik_core.token, state: absent, identifiers: {identifier: mary-wiki-script}}";
        std::fs::write(&gone, format!("version: 1\nentries: [{entry}]\n")).unwrap();

        let said = Finished::run(apply(&site, &[&wiki])).await.ok();
        assert!(said.contains("authentik_core.application") && said.contains("wiki.yaml: applied"), "{said}");
        let ask = async || http().get(&external).header("authorization", basic("mary", KEY)).go().await.status;
        let becomes = async |status: u16| {
            let since = Instant::now();
            until("the change", async || (ask().await == status).then_some(())).await;
            assert!(since.elapsed() < Duration::from_secs(5), "{:?} until {status}", since.elapsed());
        };
        becomes(200).await;
        assert_eq!(recorder.last().all("authorization"), [basic("mary", "upstream-s3cret")]);
        let again = Finished::run(apply(&site, &[&wiki])).await.ok();
        assert!(!again.contains("was made") && !again.contains("was changed"), "{again}");
        assert_eq!(ask().await, 200);
        Finished::run(apply(&site, &[&gone])).await.ok();
        becomes(401).await;
    });
}

/// CO-725, CO-731: what is wrong is said in one line that names file, entry, model and field; the exit code tells, and
/// nothing of that file is there. Without a server it is the same.
#[test]
fn co_725_apply_says_what_is_wrong() {
    run(async {
        let site = Site::start().await;
        let folder = directory("blueprints");
        let (good, bad) = (folder.path().join("good.yaml"), folder.path().join("bad.yaml"));
        let group = |name: &str| format!("  - {{model: authentik_core.group, identifiers: {{name: {name}}}}}\n");
        std::fs::write(&good, format!("version: 1\nentries:\n{}", group("one"))).unwrap();
        let odd =
            "  - model: authentik_core.user\n    identifiers: {username: ada}\n    attrs: {name: Ada, type: robot}\n";
        std::fs::write(&bad, format!("version: 1\nentries:\n{}{odd}", group("two"))).unwrap();
        let failed = Finished::run(apply(&site, &[&good, &bad])).await;
        assert_eq!(failed.code, Some(1), "{failed:#?}");
        let said = format!(
            "portcullis: {}: entry 2 (authentik_core.user), line 4: type: \"robot\" is not a valid choice.",
            bad.display()
        );
        assert_eq!(failed.stderr.trim(), said);
        let groups = async || site.api.get("core/groups/?search=o").await["results"].to_string();
        assert!(groups().await.contains("\"one\"") && !groups().await.contains("\"two\""));
        site.kill();
        std::fs::write(&bad, format!("version: 1\nentries:\n{}", group("two"))).unwrap();
        Finished::run(apply(&site, &[&bad])).await.ok();
        site.restart().await;
        assert!(groups().await.contains("\"two\""));
        let missing = Finished::run(apply(&site, &[Path::new("/does/not/exist.yaml")])).await;
        assert!(missing.code == Some(1) && missing.stderr.contains("/does/not/exist.yaml"), "{missing:#?}");
        let nowhere = folder.path().join("nowhere").display().to_string();
        let mut elsewhere = apply(&site, &[&good]);
        elsewhere.env("PORTCULLIS_DATA_DIR", &nowhere);
        let nobody = Finished::run(elsewhere).await;
        assert!(nobody.code == Some(1) && nobody.stderr.contains(&nowhere), "{nobody:#?}");
    });
}

/// CO-733, CO-738: what is in the folder is in force when the server is ready, and follows the files; a folder that the
/// server may write is warned of.
#[test]
fn co_733_a_server_watches_its_folder() {
    run(async {
        let folder = directory("blueprints");
        let file = folder.path().join("groups.yaml");
        let group = |name: &str| {
            format!("version: 1\nentries: [{{model: authentik_core.group, identifiers: {{name: {name}}}}}]\n")
        };
        std::fs::write(&file, group("first")).unwrap();
        let site = Site::options().env("PORTCULLIS_BLUEPRINTS_DIR", folder.path().to_str().unwrap()).start().await;
        let count = async |name: &str| {
            let found = site.api.get(&format!("core/groups/?name={name}")).await;
            found["pagination"]["count"].as_i64()
        };
        assert_eq!(count("first").await, Some(1));
        assert!(site.log().contains("may write the folder of blueprints"), "{}", site.log());
        std::fs::write(&file, group("second")).unwrap();
        until("the second group", async || (count("second").await == Some(1)).then_some(())).await;
        let kept = &site.api.get("managed/blueprints/").await["results"][0];
        assert_eq!((&kept["path"], &kept["status"]), (&"groups.yaml".into(), &"successful".into()));
    });
}
