//! What a copy of the database gives away.

use std::path::Path;

use base64::Engine as _;
use portcullis_testkit::site::{ADMIN_PASSWORD, basic_upstream};
use portcullis_testkit::{Site, Visitor, raw, run};
use serde_json::json;

use crate::stage::Stage;

/// CO-474, CO-463, CO-464, CO-472, PX-106, PX-174, CO-105, CO-808, OA-641: a used database holds none of the secrets that were created in it.
#[test]
fn co_474_the_database_holds_no_secret() {
    run(async {
        let site = Site::start().await;
        let attributes = json!({"app_user": "service", "app_password": "a-secret-of-the-user"});
        let person = site.api.person_with("alice", attributes).await;
        let group = json!({"app_password": "a-secret-of-the-group", "additionalHeaders": {"X-Key": "a-secret-header"}});
        site.api.group("g", group, &[&person]).await;
        let stage = Stage::with(&site, person, basic_upstream()).await;
        let account =
            site.api.post("core/users/service_account/", json!({"name": "robot", "create_group": true})).await;
        let mut secrets = vec![
            ADMIN_PASSWORD.to_owned(),
            site.token.clone(),
            stage.person.password.clone(),
            stage.key.clone(),
            "a-secret-of-the-user".to_owned(),
            "a-secret-of-the-group".to_owned(),
            "a-secret-header".to_owned(),
            account["token"].as_str().unwrap().to_owned(),
        ];
        secrets.push(stage.basic().trim_start_matches("Basic ").to_owned());
        let bearer = stage.bearer().await;
        secrets.push(bearer.trim_start_matches("Bearer ").to_owned());
        secrets.push(bearer.rsplit('.').next().unwrap().to_owned());
        for cookie in [stage.header_cookie(&stage.basic()).await, stage.header_cookie(&bearer).await] {
            secrets.push(cookie.split_once('=').unwrap().1.to_owned());
        }
        let mut visitor = Visitor::new();
        visitor.sign_in(&stage.app.url("/"), &stage.person).await;
        secrets.extend(visitor.cookies.values().filter(|value| value.len() >= 20).cloned());
        secrets.extend(visitor.trace.iter().flat_map(|line| {
            let url: url::Url = line.split_once(' ').unwrap().1.parse().unwrap();
            let pairs = url.query_pairs().into_owned();
            pairs.filter(|(name, _)| name == "code").map(|(_, value)| value).collect::<Vec<_>>()
        }));
        site.process().signal("STOP"); // as a copy of the disk would find it, the log of the database included
        let mut files = 0;
        look(&site.data(), &secrets, &mut files);
        site.process().signal("CONT");
        assert!(files >= 1);
        site.process().signal("TERM");
        site.process().end().await;
        look(&site.data(), &secrets, &mut files);
        for secret in &secrets {
            assert!(!site.log().contains(secret.as_str()), "{secret} is in the log");
        }
    });
}

fn look(folder: &Path, secrets: &[String], files: &mut usize) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look(&path, secrets, files);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        *files += usize::from(bytes.starts_with(b"SQLite format 3"));
        for secret in secrets {
            let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret);
            for form in [secret.as_str(), &encoded] {
                assert!(raw::find(&bytes, form.as_bytes()).is_none(), "{secret} is in {}", path.display());
            }
        }
    }
}

/// CO-460: the data directory is nobody else's business.
#[test]
fn co_460_the_data_directory_is_private() {
    run(async {
        use std::os::unix::fs::PermissionsExt as _;
        let site = Site::start().await;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&site.data()), 0o700);
        assert_eq!(mode(&site.data().join("secret.key")), 0o600);
        assert_eq!(mode(&site.data().join("portcullis.db")) & 0o077, 0);
    });
}

/// PX-321, PX-600: the log shows requests without codes, states, tokens, cookies or credentials.
#[test]
fn px_321_the_log_keeps_secrets() {
    run(async {
        let site = Site::options().env("PORTCULLIS_LOG_LEVEL", "trace").start().await;
        let stage = Stage::on(&site, json!({})).await;
        let bearer = stage.bearer().await;
        stage.header_cookie(&bearer).await;
        stage.header_cookie(&stage.basic()).await;
        let mut visitor = Visitor::new();
        visitor.sign_in(&stage.app.url("/asked-for?token=secret-token&id_token_hint=secret-hint"), &stage.person).await;
        let log = site.log();
        assert!(log.contains("/asked-for"), "{log}");
        let mut secrets = vec!["secret-token".to_owned(), "secret-hint".to_owned(), stage.key.clone()];
        secrets.extend([stage.person.password.clone(), site.token.clone(), ADMIN_PASSWORD.to_owned()]);
        secrets.push(bearer.trim_start_matches("Bearer ").to_owned());
        secrets.push(stage.basic().trim_start_matches("Basic ").to_owned());
        secrets.extend(visitor.cookies.values().filter(|value| value.len() >= 20).cloned());
        for line in &visitor.trace {
            let url: url::Url = line.split_once(' ').unwrap().1.parse().unwrap();
            let pairs = url.query_pairs().into_owned();
            secrets.extend(pairs.filter(|(name, _)| name == "code" || name == "state").map(|(_, value)| value));
        }
        for secret in secrets {
            assert!(!log.contains(&secret), "{secret} is in the log");
        }
    });
}
