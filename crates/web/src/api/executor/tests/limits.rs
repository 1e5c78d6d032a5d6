//! Guessing is slowed down, and its victims are not.

use super::*;

async fn guess(site: &Site, client: &mut Client, password: &str) -> Value {
    if client.show(site, SIGN_IN, "").await["component"] != "ak-stage-password" {
        client.answer(site, SIGN_IN, "", json!({"uid_field": "ada"})).await;
    }
    client.answer(site, SIGN_IN, "", json!({"password": password})).await
}

/// CO-441, CO-442, CO-443: after five wrong passwords the right one is not examined for 30 seconds, then a minute and
/// so on, with new cookies too; the answer is that of a wrong one. From elsewhere the owner signs in at once.
#[tokio::test]
async fn co_441_wrong_passwords_make_the_guesser_wait() {
    let (site, _) = with_ada().await;
    for _ in 0..5 {
        assert_eq!(guess(&site, &mut Client::new(), "wrong").await["component"], "ak-stage-password");
    }
    let wrong = guess(&site, &mut Client::new(), "wrong").await;
    let waiting = guess(&site, &mut Client::new(), PASSWORD).await;
    assert_eq!(waiting, wrong);
    let (_, event) = site.events("login_failed").await;
    assert!(event["reason"].as_str().expect("a reason").contains("not examined"));
    let mut owner = Client::at([198, 51, 100, 7]);
    assert_eq!(guess(&site, &mut owner, PASSWORD).await["component"], "xak-flow-redirect");
    site.clock.advance_seconds(29);
    assert_eq!(guess(&site, &mut Client::new(), PASSWORD).await["component"], "ak-stage-password");
    site.clock.advance_seconds(1);
    assert_eq!(
        guess(&site, &mut Client::new(), "wrong").await["component"],
        "ak-stage-password",
        "the sixth that counts"
    );
    site.clock.advance_seconds(59);
    assert_eq!(guess(&site, &mut Client::new(), PASSWORD).await["component"], "ak-stage-password", "a minute now");
    // OA-680 counts what was not examined as well; its window ends with the five minutes.
    site.clock.advance_seconds(300);
    assert_eq!(guess(&site, &mut Client::new(), PASSWORD).await["component"], "xak-flow-redirect");
}

/// CO-441, CO-442: wrong passwords count by the user, whichever of their names was given, and so does what a success forgets.
/// What waits in sight counts by what was given: nobody learns whose an address is.
#[tokio::test]
async fn co_441_wrong_passwords_count_under_every_name() {
    let limits =
        portcullis_idp::limits::Limits { per_name_and_address: 4, ..portcullis_idp::limits::Limits::default() };
    let site = Site::limited(limits).await;
    let ada = site.user("ada").await;
    set_password(&site, ada, PASSWORD).await;
    site.admin(Method::PATCH, &format!("/core/users/{ada}/"), json!({"email": "ada@example.com"})).await;
    let tries = async |name: &str, password: &str| {
        let mut client = Client::new();
        client.answer(&site, SIGN_IN, "", json!({"uid_field": name})).await;
        client.answered(&site, SIGN_IN, "", json!({"password": password})).await
    };
    for (name, times) in [("ada", 3), ("ADA@example.com", 2)] {
        for _ in 0..times {
            assert_eq!(tries(name, "wrong").await.json["component"], "ak-stage-password");
        }
    }
    assert_eq!(tries("ada@example.com", PASSWORD).await.json["component"], "ak-stage-password", "waits");
    assert_eq!(tries("ada", PASSWORD).await.json["component"], "ak-stage-password", "waits");
    assert_eq!(tries("ada", PASSWORD).await.status, 429);
    assert_ne!(tries("ada@example.com", PASSWORD).await.status, 429);
    site.clock.advance_seconds(300);
    assert_eq!(tries("ada@example.com", PASSWORD).await.json["component"], "xak-flow-redirect");
    for _ in 0..4 {
        tries("ada", "wrong").await;
    }
    assert_eq!(
        tries("ada@example.com", PASSWORD).await.json["component"],
        "xak-flow-redirect",
        "the five are forgotten"
    );
}

/// CO-444: behind the same address as a guesser, the owner's own browser is examined all the same.
#[tokio::test]
async fn co_444_a_known_browser_has_its_own_counter() {
    let (site, _) = with_ada().await;
    let mut owner = Client::new();
    owner.sign_in(&site, "ada", PASSWORD).await;
    assert!(owner.cookies.contains_key("authentik_device"));
    owner.answer(&site, flows::INVALIDATION, "", json!({})).await;
    for _ in 0..8 {
        guess(&site, &mut Client::new(), "wrong").await;
    }
    assert_eq!(guess(&site, &mut Client::new(), PASSWORD).await["component"], "ak-stage-password");
    assert_eq!(guess(&site, &mut owner, PASSWORD).await["component"], "xak-flow-redirect");
    let mut forged = Client::new();
    forged.cookies.insert("authentik_device".to_owned(), "x".repeat(120));
    assert_eq!(guess(&site, &mut forged, PASSWORD).await["component"], "ak-stage-password");
}

/// CO-443, CO-412: attempts from a network that has to wait are recorded, many of them together, whatever names they try.
#[tokio::test]
async fn co_443_attempts_that_are_not_examined_are_recorded() {
    let limits = portcullis_idp::limits::Limits { per_address: 2, ..portcullis_idp::limits::Limits::default() };
    let site = Site::limited(limits).await;
    let mut refused = 0;
    for number in 0..20 {
        let mut client = Client::new();
        client.answer(&site, SIGN_IN, "", json!({"uid_field": format!("nobody{number}")})).await;
        let status = client.answered(&site, SIGN_IN, "", json!({"password": "wrong"})).await.status;
        refused += usize::from(status == 429);
    }
    assert_eq!(refused, 18);
    let (count, event) = site.events("login_failed").await;
    assert_eq!((count, &event["stage"]), (2 + 10, &json!("password")));
    assert!(event["reason"].as_str().expect("a reason").contains("not examined"), "{event}");
}

/// CO-441: five wrong codes block the second factor of the account for a quarter of an hour, from everywhere.
#[tokio::test]
async fn co_441_wrong_codes_block_the_second_factor() {
    let (site, _) = with_ada().await;
    tune(&site, stages::LOGIN, json!({"remember_device": "seconds=0"})).await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let seed = client.enrol(&site).await;
    let try_code = async |address: u8, code: String| {
        let mut client = Client::at([198, 51, 100, address]);
        client.sign_in(&site, "ada", PASSWORD).await;
        client.answer(&site, SIGN_IN, "", json!({"code": code})).await["component"] == "xak-flow-redirect"
    };
    for address in 0..5 {
        assert!(!try_code(address, "000000".to_owned()).await);
    }
    let code = next_code(&site, &seed);
    assert!(!try_code(9, code).await, "blocked");
    site.clock.advance_seconds(870);
    let code = next_code(&site, &seed);
    assert!(try_code(9, code).await, "the block is over");
}

/// CO-441: an address that fails with thirty user names has to wait ten minutes, whoever comes from there.
#[tokio::test]
async fn co_441_spraying_over_many_names_is_refused() {
    let (site, _) = with_ada().await;
    let send = async |name: &str| {
        let mut client = Client::new();
        client.answer(&site, SIGN_IN, "", json!({"uid_field": name})).await;
        client.answered(&site, SIGN_IN, "", json!({"password": "wrong"})).await
    };
    for number in 0..30 {
        assert_eq!(send(&format!("user-{number}")).await.status, 200, "{number}");
    }
    let refused = send("ada").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.headers["retry-after"], "600");
    site.clock.advance_seconds(599);
    assert_eq!(send("ada").await.status, 429);
    site.clock.advance_seconds(1);
    assert_eq!(send("ada").await.status, 200);
}

/// CO-441, CO-446: one address starts so many flows in a minute, and asks the API so much without credentials.
#[tokio::test]
async fn co_446_one_address_does_not_ask_for_everything() {
    let (site, _) = with_ada().await;
    let look = async |client: &mut Client| {
        client.send(&site, Request::get(Client::path(SIGN_IN, "")), Body::empty()).await.status.as_u16()
    };
    let mut client = Client::new();
    for _ in 0..600 {
        assert_eq!(look(&mut client).await, 200);
    }
    assert_eq!(look(&mut client).await, 429);
    assert_eq!(look(&mut Client::at([198, 51, 100, 7])).await, 200);
    let configuration = async || {
        let request = Request::get("/api/v3/root/config/").body(Body::empty()).expect("a request");
        site.raw(request).await
    };
    let mut seen = Vec::new();
    for _ in 0..400 {
        seen.push(configuration().await.status.as_u16());
    }
    assert_eq!((seen.first(), seen.last()), (Some(&200), Some(&429)), "601 were used up by the flows");
    assert_eq!(site.admin(Method::GET, "/core/users/", None).await.status, 200, "with credentials all goes on");
    site.clock.advance_seconds(1);
    assert_eq!(configuration().await.status, 200);
}
