//! Mail to those who forgot their password.

use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_idp::mail::{Address, Mail, Post, Sender, work};
use portcullis_idp::policies::Answer;

use super::recovery::{NEW, offer};
use super::*;

/// Keeps what it is given, or refuses it.
#[derive(Default)]
struct Letterbox {
    mails: Mutex<Vec<(String, String)>>,
    is_broken: bool,
}

impl Post for Letterbox {
    fn deliver<'a>(&'a self, to: &'a Address, message: Vec<u8>) -> Answer<'a, (), String> {
        let outcome = if self.is_broken { Err("no such server".to_owned()) } else { Ok(()) };
        let text = String::from_utf8(message).expect("text").replace("=\r\n", "").replace("=3D", "=");
        self.mails.lock().expect("not poisoned").push((to.to_string(), text));
        Box::pin(ready(outcome))
    }
}

/// A site with mail, and Ada with an address.
async fn site_with(post: Letterbox, base_url: Option<&str>) -> (Site, i64, Arc<Letterbox>) {
    let post = Arc::new(post);
    let sender = Sender {
        post: Arc::clone(&post) as Arc<dyn Post>,
        from: Address::parse("Portcullis <id@example.org>").expect("an address"),
        site: base_url.map(str::to_owned),
        patience: Duration::from_secs(30),
    };
    let site = Site::mailing(Mail::by(sender)).await;
    let ada = user(&site, "ada", "ada@example.org").await;
    (site, ada, post)
}

async fn site() -> (Site, i64, Arc<Letterbox>) {
    let (site, ada, post) = site_with(Letterbox::default(), Some("http://id.example")).await;
    offer(&site).await;
    (site, ada, post)
}

async fn user(site: &Site, name: &str, email: &str) -> i64 {
    let user = site.user(name).await;
    let path = format!("/core/users/{user}/");
    assert_eq!(site.admin(Method::PATCH, &path, json!({"email": email})).await.status, 200);
    set_password(site, user, PASSWORD).await;
    user
}

/// Asks for a link in a browser of its own, and gives what is answered.
async fn ask(site: &Site, from: [u8; 4], identifier: &str) -> Value {
    let mut client = Client::at(from);
    client.show(site, flows::RECOVERY, "").await;
    client.answer(site, flows::RECOVERY, "", json!({"uid_field": identifier})).await
}

/// What was sent, once all that waits is done.
async fn sent(site: &Site, post: &Letterbox) -> Vec<(String, String)> {
    work(Arc::clone(&site.ctx), ready(())).await;
    post.mails.lock().expect("not poisoned").drain(..).collect()
}

fn link(mail: &str) -> &str {
    mail.split_whitespace().find(|word| word.contains("?flow_token=")).expect("a link")
}

/// CO-324, CO-506, CO-825: a link is mailed to the stored address of whom name or address name; it leads to where the instance
/// is, whatever the request says, and to a new password, once.
#[tokio::test]
async fn co_324_a_mail_leads_to_a_new_password() {
    let (site, _, post) = site().await;
    for identifier in ["ada", "ADA@example.org"] {
        assert_eq!(ask(&site, [192, 0, 2, 1], identifier).await["component"], "ak-stage-email");
        let mails = sent(&site, &post).await;
        let [(to, mail)] = mails.as_slice() else { panic!("{mails:?}") };
        assert_eq!(to, "ada@example.org");
        assert!(mail.contains("your account ada") && mail.contains("30 minutes"), "{mail}");
        assert!(link(mail).starts_with("http://id.example/if/flow/default-recovery-flow/?flow_token="), "{mail}");
    }
    let form = "component=ak-stage-identification&uid_field=ada";
    let request = Request::post("/if/flow/default-recovery-flow/")
        .header(header::HOST, "evil.example")
        .header("origin", "http://evil.example")
        .header("content-type", "application/x-www-form-urlencoded");
    let reply = site.raw(request.body(Body::from(form)).expect("a request")).await;
    assert!(reply.text.contains("Look into your mail"), "{}", reply.text);
    let mails = sent(&site, &post).await;
    let link = link(&mails[0].1).to_owned();
    assert!(link.starts_with("http://id.example/") && !mails[0].1.contains("evil"), "{}", mails[0].1);

    let (_, query) = link.split_once('?').expect("a query");
    let mut client = Client::new();
    let asked = client.show(&site, flows::RECOVERY, query).await;
    let asked = client.answer(&site, flows::RECOVERY, query, json!({"token": asked["token"]})).await;
    assert_eq!(asked["component"], "ak-stage-prompt", "{asked}");
    let done = client.answer(&site, flows::RECOVERY, query, json!({"password": NEW, "password_repeat": NEW})).await;
    assert_eq!(done["component"], "xak-flow-redirect", "{done}");
    assert_eq!(Client::new().show(&site, flows::RECOVERY, query).await["component"], "ak-stage-access-denied");
    let (count, event) = site.events("email_sent").await;
    assert_eq!((count, &event["to_email"], &event["model"]["name"]), (3, &json!("ada@example.org"), &json!("ada")));
    assert!(!event.to_string().contains("flow_token"), "{event}");
}

/// CO-324, CO-310, CO-813: nobody is told whether there is an account; mail goes to exactly one user, who may sign in and has
/// an address, and only where recovery is offered.
#[tokio::test]
async fn co_324_nobody_else_gets_mail() {
    let (site, ada, post) = site_with(Letterbox::default(), Some("http://id.example")).await;
    let answer = ask(&site, [192, 0, 2, 1], "ada").await;
    assert!(sent(&site, &post).await.is_empty(), "not offered");
    offer(&site).await;
    user(&site, "twin", "shared@example.org").await;
    user(&site, "other", "shared@example.org").await;
    user(&site, "plain", "").await;
    let gone = user(&site, "gone", "gone@example.org").await;
    site.admin(Method::PATCH, &format!("/core/users/{gone}/"), json!({"is_active": false})).await;
    let robot = user(&site, "robot", "robot@example.org").await;
    site.admin(Method::PATCH, &format!("/core/users/{robot}/"), json!({"type": "service_account"})).await;
    for identifier in ["nobody", "shared@example.org", "plain", "gone", "robot", "", &"x".repeat(5000)] {
        let other = ask(&site, [192, 0, 2, 1], identifier).await;
        if !identifier.is_empty() {
            assert_eq!(other["component"], answer["component"], "{identifier}");
        }
    }
    assert!(sent(&site, &post).await.is_empty());
    // Also when the user is deleted before the mail is written.
    ask(&site, [192, 0, 2, 1], "ada").await;
    site.admin(Method::DELETE, &format!("/core/users/{ada}/"), None).await;
    assert!(sent(&site, &post).await.is_empty());
    assert_eq!(site.events("email_sent").await.0, 0);
}

/// CO-325, CO-827: five mails an hour to one account, the first among them, and twenty at the wish of one address; whoever
/// asks for more sees the same page.
#[tokio::test]
async fn co_325_mails_are_limited() {
    let (site, _, post) = site().await;
    for number in 1..=7 {
        let answer = ask(&site, [192, 0, 2, number], "ada").await;
        assert_eq!(answer["component"], "ak-stage-email", "{number}");
    }
    assert_eq!(sent(&site, &post).await.len(), 5);
    for number in 0..5 {
        let name = format!("user{number}");
        user(&site, &name, &format!("{name}@example.org")).await;
        for _ in 0..5 {
            ask(&site, [198, 51, 100, 1], &name).await;
        }
    }
    assert_eq!(sent(&site, &post).await.len(), 20);
    site.clock.advance_seconds(3601);
    ask(&site, [198, 51, 100, 1], "ada").await;
    assert_eq!(sent(&site, &post).await.len(), 1);
}

/// CO-325: what an address asks for counts before anybody is looked up, so that the counter tells nobody who there is.
#[tokio::test]
async fn co_325_asking_for_nobody_counts_too() {
    let (site, _, post) = site().await;
    for number in 0..20 {
        ask(&site, [192, 0, 2, 1], &format!("nobody{number}")).await;
    }
    ask(&site, [192, 0, 2, 1], "ada").await;
    assert!(sent(&site, &post).await.is_empty());
    ask(&site, [192, 0, 2, 2], "ada").await;
    assert_eq!(sent(&site, &post).await.len(), 1);
}

/// CO-325, CO-327: recovery mails use up nobody's mails to another address, which say nothing that users can write freely.
#[tokio::test]
async fn co_327_confirmations_are_counted_by_themselves() {
    let (site, ada, post) = site().await;
    let may =
        json!({"attributes": {"goauthentik.io/user/can-change-email": true}, "name": "Win at https://evil.example"});
    assert_eq!(site.admin(Method::PATCH, &format!("/core/users/{ada}/"), may).await.status, 200);
    for _ in 0..25 {
        ask(&site, [192, 0, 2, 9], "ada").await;
    }
    assert_eq!(sent(&site, &post).await.len(), 5);
    let mut client = Client::at([192, 0, 2, 9]);
    client.sign_in(&site, "ada", PASSWORD).await;
    for number in 1..=6 {
        let body = json!({"email": format!("new{number}@example.org")});
        let answer = client.answer(&site, flows::USER_SETTINGS, "", body).await;
        let mails = sent(&site, &post).await;
        if number == 6 {
            assert_eq!((errors(&answer), mails.len()), (vec!["email"], 0));
        } else {
            let [(to, mail)] = mails.as_slice() else { panic!("{answer} {mails:?}") };
            assert!(*to == format!("new{number}@example.org") && mail.contains("your account ada"), "{mail}");
            assert!(!mail.contains("evil") && !mail.contains("Win"), "{mail}");
        }
    }
    ask(&site, [192, 0, 2, 8], "ada").await;
    assert!(sent(&site, &post).await.is_empty(), "nor the other way round");
}

/// CO-325, CO-544, CO-416: mails that an administrator has sent count for the account, and each link is recorded.
#[tokio::test]
async fn co_325_mails_by_administrators_count() {
    let (site, ada, post) = site().await;
    let path = format!("/core/users/{ada}/recovery_email/");
    let body = json!({"email_stage": "00000000-0000-4000-8000-000000000000"});
    let before = site.events("secret_view").await.0;
    for number in 1..=5 {
        assert_eq!(site.admin(Method::POST, &path, body.clone()).await.status, 204, "{number}");
    }
    let (count, event) = site.events("secret_view").await;
    assert_eq!(
        (count, &event["type"], &event["mailed_to"]),
        (before + 5, &json!("recovery_link"), &json!("ada@example.org"))
    );
    assert_eq!((&event["shown"]["name"], event.to_string().contains("flow_token")), (&json!("ada"), false), "{event}");
    let refused = site.admin(Method::POST, &path, body.clone()).await;
    let told = json!({"non_field_errors": ["Too many mails were sent. Try again in an hour."]});
    assert_eq!((refused.status.as_u16(), refused.json), (400, told));
    assert_eq!((site.events("secret_view").await.0, sent(&site, &post).await.len()), (before + 5, 5));
    ask(&site, [192, 0, 2, 1], "ada").await;
    assert!(sent(&site, &post).await.is_empty(), "five of either kind");
    site.clock.advance_seconds(3601);
    assert_eq!(site.admin(Method::POST, &path, body).await.status, 204);
}

/// CO-544: an administrator has a link mailed without seeing it; without mail, address or recovery flow they are told so.
#[tokio::test]
async fn co_544_administrators_have_links_mailed() {
    let (site, ada, post) = site_with(Letterbox::default(), Some("http://id.example")).await;
    let path = format!("/core/users/{ada}/recovery_email/");
    let body = json!({"email_stage": "00000000-0000-4000-8000-000000000000"});
    let refused = async |path: &str, body: &Value| {
        let reply = site.admin(Method::POST, path, body.clone()).await;
        (reply.status.as_u16(), reply.json)
    };
    assert_eq!(refused(&path, &body).await, (400, json!({"non_field_errors": ["No recovery flow set."]})));
    offer(&site).await;
    assert_eq!(refused(&path, &json!({})).await, (400, json!({"email_stage": ["This field is required."]})));
    let plain = user(&site, "plain", "").await;
    let without = format!("/core/users/{plain}/recovery_email/");
    let told = json!({"non_field_errors": ["User does not have an email address set."]});
    assert_eq!(refused(&without, &body).await, (400, told));
    let long = json!({"email_stage": body["email_stage"], "token_duration": "days=8"});
    assert_eq!(refused(&path, &long).await.0, 400);
    let key = site.api_key(ada, "ada-api").await;
    assert_eq!(site.bearer(&key, Method::POST, &path, body.clone()).await.status, 403);
    let hours = json!({"email_stage": body["email_stage"], "token_duration": "hours=3"});
    assert_eq!(refused(&path, &hours).await, (204, Value::Null));
    let mails = sent(&site, &post).await;
    let [(to, mail)] = mails.as_slice() else { panic!("{mails:?}") };
    assert!(
        to == "ada@example.org" && mail.contains("An administrator sends you") && mail.contains("3 hours"),
        "{mail}"
    );
    let (_, query) = link(mail).split_once('?').expect("a query");
    assert_eq!(Client::new().show(&site, flows::RECOVERY, query).await["component"], "ak-stage-consent");

    let (off, _) = with_ada().await;
    offer(&off).await;
    let reply = off.admin(Method::POST, &format!("/core/users/{ada}/recovery_email/"), body).await;
    assert_eq!(reply.json, json!({"non_field_errors": ["Mail is not set up."]}));
}

/// CO-506, CO-825: without a public URL links lead to the brand of the host that was asked, and without one no mail is sent,
/// which is recorded.
#[tokio::test]
async fn co_506_links_lead_to_configured_places_alone() {
    let (site, _, post) = site_with(Letterbox::default(), None).await;
    offer(&site).await;
    ask(&site, [192, 0, 2, 1], "ada").await;
    ask(&site, [192, 0, 2, 1], "ada").await;
    assert!(sent(&site, &post).await.is_empty());
    let (count, event) = site.events("configuration_error").await;
    assert!(count == 1 && event["message"].as_str().expect("text").contains("base_url"), "{event}");
    let mut conn = site.ctx.db.read().await.expect("reads");
    let flow = portcullis_store::flow::by_slug(&mut conn, flows::RECOVERY).await.expect("reads").expect("is there");
    drop(conn);
    let brand = json!({"domain": "example", "flow_recovery": flow.pk});
    assert_eq!(site.admin(Method::POST, "/core/brands/", brand).await.status, 201);
    ask(&site, [192, 0, 2, 1], "ada").await;
    let mails = sent(&site, &post).await;
    assert!(link(&mails[0].1).starts_with("https://example/if/flow/"), "{}", mails[0].1);
}

/// CO-327: a new address counts once a link was opened that was mailed there: by its user, once, within half an hour, and
/// not by a program that looks at links.
#[tokio::test]
async fn co_327_a_new_address_is_confirmed() {
    let (site, ada, post) = site().await;
    user(&site, "eve", "eve@example.org").await;
    let at = format!("/core/users/{ada}/");
    let may = json!({"attributes": {"goauthentik.io/user/can-change-email": true}});
    site.admin(Method::PATCH, &at, may).await;
    let (mut client, mut eve) = (Client::new(), Client::new());
    client.sign_in(&site, "ada", PASSWORD).await;
    eve.sign_in(&site, "eve", PASSWORD).await;
    let slug = flows::USER_SETTINGS;
    let ask = async |client: &mut Client| {
        let answer = client.answer(&site, slug, "", json!({"email": "new@example.org", "name": "Ada L"})).await;
        assert_eq!(answer["component"], "ak-stage-email", "{answer}");
        let mails = sent(&site, &post).await;
        let [(to, mail)] = mails.as_slice() else { panic!("{mails:?}") };
        assert_eq!(to, "new@example.org");
        let link = mail.split_whitespace().find(|word| word.contains("/account/email/")).expect("a link");
        link.strip_prefix("http://id.example").expect("CO-506").to_owned()
    };
    let email = async || site.admin(Method::GET, &at, None).await.json["email"].clone();
    let confirm = async |client: &mut Client, link: &str| {
        let request = Request::post(link).header("origin", "http://id.example");
        client.send(&site, request, Body::empty()).await.status.as_u16()
    };
    let link = ask(&mut client).await;
    assert_eq!(site.admin(Method::GET, &at, None).await.json["name"], "Ada L", "the rest counts at once");
    let page = client.page(&site, &link).await;
    assert!(page.status == 200 && page.text.contains("new@example.org"), "{}", page.text);
    assert_eq!(email().await, "ada@example.org", "looking changes nothing");
    let stranger = Client::new().page(&site, &link).await;
    let to = stranger.headers[header::LOCATION].to_str().expect("text");
    assert!(stranger.status == 303 && to.contains("?next=%2Faccount%2Femail%2F%3Ftoken"), "{to}");
    assert_eq!((eve.page(&site, &link).await.status.as_u16(), confirm(&mut eve, &link).await), (400, 400));
    let foreign = client.send(&site, Request::post(&link).header("origin", "http://evil.example"), Body::empty()).await;
    assert_eq!((foreign.status.as_u16(), email().await), (403, json!("ada@example.org")));
    assert_eq!((confirm(&mut client, &link).await, email().await), (303, json!("new@example.org")));
    assert_eq!(site.events("user_write").await.1["diff"]["email"]["new"], "new@example.org");
    site.admin(Method::PATCH, &at, json!({"email": "ada@example.org"})).await;
    assert_eq!(confirm(&mut client, &link).await, 400, "once");

    let late = ask(&mut client).await;
    site.clock.advance_seconds(1800);
    assert_eq!(confirm(&mut client, &late).await, 400);
    let withdrawn = ask(&mut client).await;
    site.admin(Method::PATCH, &at, json!({"attributes": {}})).await;
    assert_eq!((confirm(&mut client, &withdrawn).await, email().await), (400, json!("ada@example.org")));
    assert_eq!(confirm(&mut client, "/account/email/?token=nonsense").await, 400);
}

/// CO-324: mail that cannot be delivered is recorded as that, once an hour, and nobody is told.
#[tokio::test]
async fn co_324_undeliverable_mail_is_recorded() {
    let (site, _, post) =
        site_with(Letterbox { is_broken: true, ..Letterbox::default() }, Some("http://id.example")).await;
    offer(&site).await;
    for _ in 0..2 {
        assert_eq!(ask(&site, [192, 0, 2, 1], "ada").await["component"], "ak-stage-email");
    }
    assert_eq!(sent(&site, &post).await.len(), 2, "tried");
    let (count, event) = site.events("configuration_error").await;
    assert_eq!((count, &event["error"]), (1, &json!("no such server")), "{event}");
    assert_eq!(site.events("email_sent").await.0, 0);
}
