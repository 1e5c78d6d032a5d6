//! `portcullis demo`: what it prints is true.

use portcullis_testkit::process::{command, directory, free_port};
use portcullis_testkit::site::portcullis;
use portcullis_testkit::{Browser, Finished, Process, run, until};

/// CO-480, PX-096: the demo prints commands that do what they say, and links that lead to the application.
#[test]
fn co_480_the_demo_does_what_it_prints() {
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
        let script: Vec<String> = commands(&page).iter().map(|line| instrumented(line)).collect();
        let mut shell = command("sh");
        shell.arg("-c").arg(script.join("\n"));
        let answers = Finished::run(shell).await;
        let count = |status: &str| answers.stdout.lines().filter(|line| *line == format!("=> {status}")).count();
        let all = format!("{script:#?}\n{answers:#?}\n{page}");
        assert!(count("200") >= 4, "Basic, Bearer, reserved user name, API: {all}");
        assert!(count("401") >= 2, "a wrong password, a program without one: {all}");
        assert!(count("302") >= 1, "a browser without a password: {all}");
        assert_eq!(count("200") + count("401") + count("302"), script.len(), "{all}");
        let browser = Browser::open().await;
        browser.go(&link).await;
        browser.find("input[type=password]").await;
        demo.signal("INT");
        assert_eq!(demo.end().await.code(), Some(0));
    });
}

/// A printed command that also says with which status it was answered.
fn instrumented(line: &str) -> String {
    format!("{line} --silent --max-time 20 --write-out '\n=> %{{http_code}}\n'")
}

/// The printed command lines, those continued with a backslash joined.
fn commands(page: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut open = false;
    for line in page.lines().map(str::trim) {
        let part = line.trim_end_matches('\\').trim_end();
        if open {
            let last = commands.last_mut().unwrap();
            last.push(' ');
            last.push_str(part);
        } else if line.starts_with("curl ") {
            commands.push(part.to_owned());
        } else {
            continue;
        }
        open = line.ends_with('\\');
    }
    commands
}
