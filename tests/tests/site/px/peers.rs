//! The main job with real applications and real clients.

use portcullis_testkit::peers::{Apache, Nginx, UPSTREAM, curl, git, rclone};
use portcullis_testkit::process::directory;
use portcullis_testkit::site::basic_upstream;
use portcullis_testkit::{Browser, Person, Site, run};
use serde_json::json;

use crate::stage::basic;

/// A user whose group carries the credentials of the application.
async fn member(site: &Site) -> (Person, String) {
    let person = site.api.person("ada").await;
    let attributes = json!({"app_user": UPSTREAM.0, "app_password": UPSTREAM.1});
    site.api.group("wiki-users", attributes, &[&person]).await;
    let (_, key) = site.api.app_password(&person).await;
    (person, key)
}

/// PX-210, PX-215, PX-095, PX-096: an nginx that asks for a password lets curl in with an app password and a browser
/// after the sign-in page, knows both by the group's credentials, and never sees the client's own.
#[test]
fn px_215_nginx_with_auth_basic_behind_curl_and_browser() {
    run(async {
        let site = Site::start().await;
        let nginx = Nginx::start().await;
        let app = site.app_before(&nginx.url(), basic_upstream()).await;
        let (person, key) = member(&site).await;
        let folder = directory("curl");
        let jar = folder.path().join("jar").display().to_string();
        let credentials = format!("{}:{key}", person.username);
        // The first request, a second one without the cookie, and one that carries it.
        for arguments in [
            vec!["--user", &credentials, "--cookie-jar", &jar, &app.external],
            vec!["--user", &credentials, &app.external],
            vec!["--user", &credentials, "--cookie", &jar, &app.external],
            vec!["--cookie", &jar, &app.external],
        ] {
            let page = curl(&arguments).await.ok();
            assert!(page.contains("Welcome to the wiki"), "{arguments:?}: {page}");
        }
        let browser = Browser::open().await;
        browser.go(&app.url("/index.html?from=browser")).await;
        browser.sign_in(&person.username, &person.password).await;
        browser.sees("Welcome to the wiki").await;
        assert_eq!(browser.url().await, app.url("/index.html?from=browser"));
        browser.go(&app.url("/")).await;
        browser.sees("Welcome to the wiki").await;
        let log = nginx.log();
        assert!(log.len() >= 6, "{log:#?}");
        let expected = basic(UPSTREAM.0, UPSTREAM.1);
        for line in &log {
            let [user, authorization, cookie, _, _] = line.as_slice() else { panic!("{line:?}") };
            assert_eq!((user.as_str(), authorization), (UPSTREAM.0, &expected));
            assert!(!cookie.contains("authentik_proxy_"), "{line:?}");
        }
        assert_eq!(site.core_calls("verify_password").await, 1, "the core verified the app password once");
    });
}

/// PX-107, PX-091, PX-095: `git clone` and `git push` work with an app password that the core verifies once.
#[test]
fn px_107_git_clone_and_push() {
    run(async {
        let site = Site::start().await;
        let apache = Apache::start().await;
        let app = site.app_by_address(&apache.url(), basic_upstream()).await;
        let (person, key) = member(&site).await;
        let authorization = basic(&person.username, &key);
        let folder = directory("git");
        let url = app.url("/git/project.git");
        git(folder.path(), &authorization, &["clone", &url, "one"]).await.ok();
        let one = folder.path().join("one");
        for turn in 0..10 {
            // More than a megabyte that does not compress, so that git sends its pack in chunks.
            let noise: Vec<u8> =
                (0..1_500_000_u64).map(|i| (i.wrapping_mul(6364136223846793005 + turn) >> 56) as u8).collect();
            std::fs::write(one.join(format!("file-{turn}")), noise).unwrap();
            git(&one, &authorization, &["add", "."]).await.ok();
            git(&one, &authorization, &["commit", "--quiet", "-m", &format!("turn {turn}")]).await.ok();
            git(&one, &authorization, &["push", "--quiet", "origin", "HEAD:main"]).await.ok();
        }
        git(folder.path(), &authorization, &["clone", &url, "two"]).await.ok();
        for turn in 0..10 {
            let name = format!("file-{turn}");
            assert_eq!(
                std::fs::read(one.join(&name)).unwrap(),
                std::fs::read(folder.path().join("two").join(&name)).unwrap()
            );
        }
        let wrong = basic(&person.username, "wrong");
        assert_ne!(git(folder.path(), &wrong, &["clone", &url, "three"]).await.code, Some(0));
        let log = apache.log();
        assert!(log.iter().all(|line| line[1] == basic(UPSTREAM.0, UPSTREAM.1) && line[2] == "-"), "{log:#?}");
        assert_eq!(site.core_calls("verify_password").await, 2, "the right and the wrong one, once each");
    });
}

/// PX-107, PX-091: a WebDAV client without a cookie jar makes hundreds of requests, and the core verifies it once.
#[test]
fn px_107_webdav_with_rclone() {
    run(async {
        let site = Site::start().await;
        let apache = Apache::start().await;
        let app = site.app_by_address(&apache.url(), basic_upstream()).await;
        let (person, key) = member(&site).await;
        let folder = directory("rclone");
        std::fs::create_dir(folder.path().join("files")).unwrap();
        for number in 0..150 {
            let text = format!("file number {number}\n").repeat(number * 20);
            std::fs::write(folder.path().join(format!("files/file {number} ä.txt")), text).unwrap();
        }
        let url = app.url("/dav");
        let rclone = async |arguments: &[&str]| rclone(folder.path(), &url, &person.username, &key, arguments).await;
        rclone(&["copy", "files", "dav:folder"]).await.ok();
        rclone(&["copy", "dav:folder", "back"]).await.ok();
        rclone(&["check", "--download", "files", "dav:folder"]).await.ok();
        for number in 0..150 {
            let name = format!("file {number} ä.txt");
            let read = |part: &str| std::fs::read(folder.path().join(part).join(&name)).unwrap();
            assert_eq!(read("files"), read("back"));
        }
        rclone(&["purge", "dav:folder"]).await.ok();
        let log = apache.log();
        assert!(log.len() > 500, "{} requests", log.len());
        assert!(log.iter().all(|line| line[0] == UPSTREAM.0 && line[2] == "-"));
        assert_eq!(site.core_calls("verify_password").await, 1);
    });
}
