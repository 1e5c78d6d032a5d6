//! Mail, by a real server.

use portcullis_testkit::process::directory;
use portcullis_testkit::site::portcullis;
use portcullis_testkit::{Finished, MailServer, Site, Visitor, run};
use serde_json::json;

const NEW: &str = "a brand new pass phrase";

/// CO-324, CO-325, CO-506: who forgot their password asks for a link on the page, gets it by mail, and chooses a new one with
/// it, once; who asks for somebody else sees the same.
#[test]
fn co_324_a_forgotten_password() {
    run(async {
        let post = MailServer::start().await;
        let site = Site::options()
            .env("AUTHENTIK_EMAIL__HOST", "127.0.0.1")
            .env("PORTCULLIS_EMAIL__PORT", &post.port.to_string())
            .env("AUTHENTIK_EMAIL__TIMEOUT", "20")
            .env("PORTCULLIS_EMAIL__FROM", "Our place <id@example.org>")
            .start()
            .await;
        let ada = site.api.person("ada").await;
        let flow = site.api.get("flows/instances/default-recovery-flow/").await["pk"].clone();
        let brand = site.api.get("core/brands/?default=true").await["results"][0]["brand_uuid"].clone();
        let path = format!("core/brands/{}/", brand.as_str().unwrap());
        site.api.patch(&path, json!({"flow_recovery": flow})).await;

        let mut pages = Vec::new();
        for name in ["nobody", &ada.username] {
            let mut visitor = Visitor::new();
            let page = visitor.visit(&site.url("/if/flow/default-recovery-flow/")).await;
            let page = visitor.submit(&page, &[("uid_field", name)]).await;
            pages.push(page.reply.text());
        }
        assert_eq!(pages[0], pages[1], "nobody learns who there is");
        let mail = post.wait_for(1).await;
        assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("id@example.org", [ada.email.clone()].as_slice()));
        assert!(mail.text.contains("From: \"Our place\" <id@example.org>"), "{}", mail.text);
        let link = mail.link("/if/flow/default-recovery-flow/");
        assert!(link.starts_with(&site.base()), "{link}");

        let mut visitor = Visitor::new();
        let page = visitor.visit(&link).await;
        let page = visitor.submit(&page, &[]).await;
        let page = visitor.submit(&page, &[("password", NEW), ("password_repeat", NEW)]).await;
        assert_eq!((page.reply.status, page.url.path()), (200, "/"), "{}", page.reply.text());
        assert_eq!(Visitor::new().visit(&link).await.reply.status, 403, "used up");
        let page = Visitor::new().sign_in_as(&site.url("/"), &ada.username, NEW).await;
        assert_eq!(page.reply.status, 200);
        assert_eq!(post.received().len(), 1);
        let (_, token) = link.split_once("flow_token=").unwrap();
        assert!(!site.log().contains(token) && site.log().contains("flow_token=[redacted]"), "{}", site.log());
    });
}

/// CO-324: the operator sees by a command whether mail works, and why not.
#[test]
fn co_324_test_email() {
    run(async {
        let post = MailServer::start().await;
        let folder = directory("mail");
        let tried = async |environment: &[(&str, &str)]| {
            let mut command = portcullis(folder.path(), &["test-email", "ada@example.org"]);
            command.env("PORTCULLIS_EMAIL__PORT", post.port.to_string()).envs(environment.iter().copied());
            Finished::run(command).await
        };
        let host = ("PORTCULLIS_EMAIL__HOST", "localhost");
        let said = tried(&[("PORTCULLIS_EMAIL__HOST", "127.0.0.1")]).await.ok();
        assert!(said.contains("took a mail"), "{said}");
        assert_eq!(post.wait_for(1).await.to, ["ada@example.org"]);
        for (environment, part) in [
            (vec![], "email.host"),
            (vec![host, ("PORTCULLIS_EMAIL__USE_TLS", "true"), ("PORTCULLIS_EMAIL__USE_SSL", "true")], "choose one"),
            (vec![host, ("PORTCULLIS_EMAIL__FROM", "nobody")], "email.from"),
            (vec![host, ("PORTCULLIS_EMAIL__USERNAME", "ada")], "email.password"),
            (vec![("PORTCULLIS_EMAIL__HOST", "127.0.0.1"), ("PORTCULLIS_EMAIL__PORT", "1")], "127.0.0.1, port 1: "),
            // A server that offers no encryption gets nothing.
            (vec![("PORTCULLIS_EMAIL__HOST", "127.0.0.1"), ("PORTCULLIS_EMAIL__USE_TLS", "true")], "STARTTLS"),
        ] {
            let finished = tried(&environment).await;
            assert!(finished.code == Some(1) && finished.stderr.contains(part), "{part}: {finished:#?}");
        }
        assert_eq!(post.received().len(), 1);
        assert!(!folder.path().join("portcullis-data").exists());
    });
}
