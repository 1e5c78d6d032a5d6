//! What an installation does that nobody has set up further.

use portcullis_testkit::process::{Process, command, directory, free_port};
use portcullis_testkit::site::{ADMIN_PASSWORD, binary};
use portcullis_testkit::{Api, Go as _, Visitor, api, http, run, until};
use serde_json::json;

use crate::stage::{Stage, shared};

/// Addresses that a line of the system calls' log names.
fn addresses(line: &str) -> impl Iterator<Item = &str> {
    let after = |mark: &str| line.split_once(mark).and_then(|(_, rest)| rest.split('"').next());
    [after("inet_addr(\""), after("inet_pton(AF_INET6, \"")].into_iter().flatten()
}

/// CO-834, CO-039, CO-592: an installation that nobody has set up further connects to nobody: not when it starts, not when
/// somebody signs in, looks at their pages or lists users; and its pages have nothing come from elsewhere.
#[test]
fn co_834_nothing_is_asked_of_others() {
    run(async {
        let place = directory("alone");
        let calls = place.path().join("calls");
        let (port, token) = (free_port(), api::fresh("bootstrap-token-of-a-lonely-site-"));
        let mut program = command("strace");
        // The tracer is a grandchild, so that whoever ends the child ends the program.
        program.args(["-D", "-f", "-qq", "-e", "trace=bind,connect,sendto,sendmsg,sendmmsg", "-o"]);
        program.arg(&calls).arg(binary()).arg("serve").current_dir(place.path()).env("HOME", place.path());
        program
            .env("PORTCULLIS_BASE_URL", format!("http://localhost:{port}"))
            .env("PORTCULLIS_LISTEN__HTTP", format!("127.0.0.1:{port}"))
            .env("PORTCULLIS_LISTEN__HTTPS", "")
            .env("PORTCULLIS_LISTEN__METRICS", "")
            .env("PORTCULLIS_BOOTSTRAP_PASSWORD", ADMIN_PASSWORD)
            .env("PORTCULLIS_BOOTSTRAP_TOKEN", &token);
        let process = Process::start("a lonely portcullis", program);
        let base = format!("http://localhost:{port}");
        until("the lonely site", async || {
            let asked = http().get(format!("{base}/-/health/ready/")).send().await.ok()?;
            asked.status().is_success().then_some(())
        })
        .await;

        let api = Api::new(&base, &token);
        let person = api.person("alice").await;
        let shown = api.get(&format!("core/users/{}/", person.pk)).await;
        assert!(shown["avatar"].as_str().unwrap().starts_with("data:image/"), "{shown}");
        let config = api.get("root/config/").await;
        assert_eq!(config["error_reporting"]["enabled"], json!(false));
        let version = api.get("admin/version/").await;
        assert_eq!(version["version_latest"], version["version_current"]);
        let mut visitor = Visitor::new();
        let mut pages = vec![visitor.visit(&format!("{base}/")).await];
        pages.push(visitor.sign_in(&format!("{base}/"), &person).await);
        pages.push(visitor.visit(&format!("{base}/if/user/")).await);
        for page in &pages {
            let html = page.reply.text();
            let loaded = html.split(['"', '\'']).filter(|text| text.starts_with("http") || text.starts_with("//"));
            // What is no link that somebody follows is loaded by the browser.
            let foreign: Vec<_> = loaded.filter(|url| !url.starts_with(&base)).collect();
            assert_eq!(foreign, [""; 0], "{}", page.url);
        }

        process.signal("TERM");
        assert!(process.end().await.success(), "{}", process.log());
        let log = until("the log of system calls", async || {
            let log = std::fs::read_to_string(&calls).ok()?;
            log.contains("bind(").then_some(log)
        })
        .await;
        for line in log.lines() {
            for address in addresses(line) {
                let address: std::net::IpAddr = address.parse().unwrap();
                assert!(address.is_loopback(), "{line}");
            }
        }
    });
}

/// CO-067, CO-065, PX-216: `additionalHeaders` of a group and of its member become one set of headers, the member's above the
/// group's.
#[test]
fn co_067_headers_of_group_and_member_are_merged() {
    run(async {
        let site = shared().await;
        let own = json!({"additionalHeaders": {"X-Desk": "12", "X-Floor": "3"}});
        let person = site.api.person_with("dora", own).await;
        let group = json!({"additionalHeaders": {"X-Team": "blue", "X-Floor": "2"}});
        site.api.group("floor", group, &[&person]).await;
        let stage = Stage::with(site, person, json!({})).await;
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        let seen = stage.recorder.last();
        for (name, value) in [("x-team", "blue"), ("x-floor", "3"), ("x-desk", "12")] {
            assert_eq!(seen.all(name), [value], "{name}");
        }
    });
}
