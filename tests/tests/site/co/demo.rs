//! `portcullis demo`: what it prints is true.

use portcullis_testkit::process::{command, directory, free_port};
use portcullis_testkit::site::portcullis;
use portcullis_testkit::{Browser, Finished, Process, run, until};

/// CO-009: the demo prints commands that do what they say, and links that lead to the application.
#[test]
fn co_009_the_demo_does_what_it_prints() {
    run(async {
        let folder = directory("demo");
        let port = free_port().to_string();
        let started = tokio::time::Instant::now();
        let demo = Process::start("demo", portcullis(folder.path(), &["demo", "--port", &port]));
        let link = format!("http://whoami.localhost:{port}/");
        let page = until("the demo's table", async || {
            assert!(demo.ended().is_none(), "{}", demo.log());
            Some(demo.log()).filter(|log| log.contains(&link) && log.matches("curl ").count() >= 5)
        })
        .await;
        let time = started.elapsed();
        assert!(time.as_secs() < 10, "{time:?} in a debug build");
        let mut statuses = Vec::new();
        for line in commands(&page) {
            let mut shell = command("sh");
            shell.arg("-c").arg(format!("{line} --silent --show-error --include --max-time 20"));
            let answer = Finished::run(shell).await;
            let status = answer.stdout.split(' ').nth(1).unwrap_or_else(|| panic!("{line}: {answer:?}")).to_owned();
            statuses.push((line, status));
        }
        let count = |wanted: &str| statuses.iter().filter(|(_, status)| status == wanted).count();
        assert!(count("200") >= 3, "Basic, reserved user name, Bearer: {statuses:#?}\n{page}");
        assert!(count("401") >= 1, "a wrong password: {statuses:#?}\n{page}");
        assert!(count("302") >= 1, "no password: {statuses:#?}\n{page}");
        let browser = Browser::open().await;
        browser.go(&link).await;
        browser.find("input[type=password]").await;
        demo.signal("INT");
        assert_eq!(demo.end().await.code(), Some(0));
    });
}

/// The printed command lines, those continued with a backslash joined.
fn commands(page: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut open = false;
    for line in page.lines().map(str::trim) {
        let line = line.trim_start_matches("$ ");
        if open || line.starts_with("curl ") {
            let part = line.trim_end_matches('\\').trim_end();
            if open {
                let last = commands.last_mut().unwrap();
                last.push(' ');
                last.push_str(part);
            } else {
                commands.push(part.to_owned());
            }
            open = line.ends_with('\\');
        }
    }
    commands
}
