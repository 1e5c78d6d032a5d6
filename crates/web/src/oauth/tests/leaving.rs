//! Where applications send those who want to be signed out.

use super::browser::{Browser, hidden, kept, lent};
use super::login::{code, redeem, signed_in};
use super::*;

/// OA-544, OA-546, PX-419, OA-545, OA-890: a hint from the login signs out of the application at once, and only once;
/// without one the user is asked.
#[tokio::test]
async fn px_419_a_logout_hint_works_once() {
    let (wiki, mut browser) = signed_in().await;
    let code = code(&wiki, &mut browser).await;
    let tokens = redeem(&wiki, &code, &[]).await;
    let end = "/application/o/wiki/end-session/";
    let asked = browser.get(&wiki.site, end).await;
    assert!(asked.text.contains("Sign out of wiki?"), "{}", asked.text);
    assert!(wiki.is_active(text(&tokens, "access_token")).await);
    let hinted = format!("{end}?{}", encoded(&[("logout_hint", text(&tokens, "logout_hint"))]));
    let mut stranger = Browser::default();
    assert!(stranger.get(&wiki.site, &hinted).await.text.contains("You are signed out"), "OA-545");
    assert!(wiki.is_active(text(&tokens, "access_token")).await);
    assert!(browser.get(&wiki.site, &hinted).await.text.contains("Signed out of wiki"));
    assert!(!wiki.is_active(text(&tokens, "access_token")).await, "OA-547");
    assert!(browser.get(&wiki.site, &hinted).await.text.contains("Sign out of wiki?"), "spent");
    assert!(browser.get(&wiki.site, "/").await.text.contains("Signed in as"), "the session goes on");
    assert!(browser.post(&wiki.site, end, &[]).await.text.contains("Sign out of wiki?"), "only the page's form counts");
    let answered = browser.post(&wiki.site, &format!("{end}?answered"), &[]).await;
    assert!(answered.text.contains("Signed out of wiki"), "{}", answered.text);
    for garbage in ["?logout_hint=x", "?id_token_hint=a.b.c", "?id_token_hint=%ff", "?post_logout_redirect_uri=data:x"]
    {
        let reply = browser.get(&wiki.site, &format!("{end}{garbage}")).await;
        assert!(!reply.status.is_server_error(), "{garbage}");
    }
}

/// CO-323: a sign-out that ends the session takes its cookie away, also on the way back to the application; a
/// cookie that did not come along stays.
#[tokio::test]
async fn co_323_the_cookie_goes_with_the_session() {
    let (wiki, mut browser) = signed_in().await;
    let mut tx = wiki.site.ctx.db.write().await.expect("writes");
    let mut provider = portcullis_store::provider::by_pk(&mut tx, wiki.pk()).await.expect("reads").expect("is there");
    let full = portcullis_store::flow::by_slug(&mut tx, "default-invalidation-flow").await.expect("reads");
    provider.invalidation_flow = full.expect("is there").pk;
    let bye = json!({"matching_mode": "strict", "url": "http://wiki.example/bye", "redirect_uri_type": "logout"});
    provider.redirect_uris.as_array_mut().expect("list").push(bye);
    portcullis_store::provider::update(&mut tx, &provider).await.expect("stores");
    tx.commit().await.expect("commits");
    let end = "/application/o/wiki/end-session/?post_logout_redirect_uri=http%3A%2F%2Fwiki.example%2Fbye";
    for path in [end, "/application/o/wiki/end-session/"] {
        let from_elsewhere = post(&wiki.site, path, &[], &[("sec-fetch-site", "cross-site")]).await;
        assert!(from_elsewhere.headers.get("set-cookie").is_none(), "{path}");
    }
    let approved = code(&wiki, &mut browser).await;
    let hint = redeem(&wiki, &approved, &[]).await;
    let hinted = format!("{end}&logout_hint={}", text(&hint, "logout_hint"));
    for _ in 0..2 {
        let dead = browser.cookie.clone();
        let out = browser.get(&wiki.site, &hinted).await;
        assert_eq!(location(&out), "http://wiki.example/bye");
        assert!(out.headers["set-cookie"].to_str().expect("text").starts_with("authentik_session=;"));
        browser.cookie = dead;
    }
}

/// OA-541, CO-323: an id token of this session is a hint, too; a full sign-out revokes what came from it.
#[tokio::test]
async fn oa_541_an_id_token_is_a_hint() {
    let (wiki, mut browser) = signed_in().await;
    let approved = code(&wiki, &mut browser).await;
    let tokens = redeem(&wiki, &approved, &[]).await;
    let hinted = format!("/application/o/wiki/end-session/?id_token_hint={}", text(&tokens, "id_token"));
    // It was issued for another client than is named: it proves nothing.
    let question = browser.get(&wiki.site, &format!("{hinted}&client_id=other")).await;
    assert!(question.text.contains("Sign out of wiki?"), "{}", question.text);
    let hinted = format!("{hinted}&client_id={}", wiki.client_id);
    assert!(browser.get(&wiki.site, &hinted).await.text.contains("Signed out of wiki"));
    let approved = code(&wiki, &mut browser).await;
    let tokens = redeem(&wiki, &approved, &[]).await;
    let out = browser.post(&wiki.site, "/if/flow/default-invalidation-flow/", &[]).await;
    assert!(out.text.contains("You are signed out"));
    assert!(!wiki.is_active(text(&tokens, "access_token")).await);
    assert_eq!(browser.get(&wiki.site, "/").await.status, 303);
}

/// OA-540, OA-544, OA-891: an application may post its wish: the browser asks again by itself, with its cookie.
#[tokio::test]
async fn oa_540_a_wish_to_sign_out_can_be_posted() {
    let (wiki, mut browser) = signed_in().await;
    let approved = code(&wiki, &mut browser).await;
    let tokens = redeem(&wiki, &approved, &[]).await;
    let all = [("id_token_hint", text(&tokens, "id_token")), ("state", "s")];
    let headers = [("origin", "http://wiki.example"), ("sec-fetch-site", "cross-site")];
    let sent = post(&wiki.site, "/application/o/wiki/end-session/", &all, &headers).await;
    assert_eq!(sent.status, 303);
    assert!(wiki.is_active(text(&tokens, "access_token")).await);
    let done = browser.get(&wiki.site, location(&sent)).await;
    assert!(done.text.contains("Signed out of wiki"), "{}", done.text);
    assert!(!wiki.is_active(text(&tokens, "access_token")).await);
}

/// OA-540, OA-544: what an application posts counts, whatever its address says besides; without a body the address counts.
#[tokio::test]
async fn oa_540_a_posted_wish_counts_before_its_address() {
    let wiki = Wiki::new().await;
    let path = "/application/o/wiki/end-session/";
    let headers = [("origin", "http://wiki.example"), ("sec-fetch-site", "cross-site")];
    let all = [("post_logout_redirect_uri", "http://wiki.example/bye"), ("state", "1")];
    let sent = post(&wiki.site, &format!("{path}?ui_locales=de"), &all, &headers).await;
    assert_eq!((sent.status.as_u16(), location(&sent)), (303, format!("{path}?{}", encoded(&all)).as_str()));
    let sent = post(&wiki.site, &format!("{path}?ui_locales=de"), &[], &headers).await;
    assert_eq!((sent.status.as_u16(), location(&sent)), (303, format!("{path}?ui_locales=de").as_str()));
}

/// What a page of ours posts by itself, which somebody without a cookie was given for a long form of another site.
pub(super) fn posts_again(page: &Reply, path: &str, sent: &[(&str, &str)]) {
    assert_eq!((page.status.as_u16(), page.headers.get("set-cookie")), (200, None), "{}", page.text);
    assert!(page.text.contains(&format!("action=\"{path}?again\" data-submit")), "{}", page.text);
    assert_eq!(hidden(&page.text), kept(sent));
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("form-action 'self' http: https:; "), "the client may send people anywhere: {policy}");
    assert!(policy.contains("script-src 'self'"), "{policy}");
}

/// OA-540, OA-544, OA-545: what comes without a cookie and is too long for an address is posted once more from here, with the
/// cookie; nobody is signed out by that alone.
#[tokio::test]
async fn oa_540_a_long_posted_wish_is_posted_again() {
    let (wiki, mut browser) = signed_in().await;
    let path = "/application/o/wiki/end-session/";
    let state = "x\n".repeat(8 * 1024);
    let all = [("post_logout_redirect_uri", "http://wiki.example/bye"), ("state", state.as_str())];
    let headers = [("origin", "http://wiki.example"), ("sec-fetch-site", "cross-site")];
    posts_again(&post(&wiki.site, path, &all, &headers).await, path, &all);
    let (keeps, sent) = (kept(&all), all);
    let all = lent(&keeps);
    posts_again(&post(&wiki.site, &format!("{path}?answered"), &all, &headers).await, path, &sent);
    let again = format!("{path}?again");
    let asked = browser.post(&wiki.site, &again, &all).await;
    assert!(asked.status == 200 && asked.text.contains("Sign out of wiki?"), "{}", asked.text);
    assert_eq!(browser.get(&wiki.site, "/").await.status, 200);
    // Nobody is signed in there, and the page is not posted again and again, whatever the browser says of where it comes from.
    for from in ["http://id.example", "https://id.example", "null"] {
        let nobody = post(&wiki.site, &again, &all, &[("origin", from)]).await;
        assert!(nobody.text.contains("have ended") && nobody.headers.get("set-cookie").is_none(), "{}", nobody.text);
    }
    // The question keeps the wish, however long.
    let question = format!("action=\"{path}?answered\"");
    assert!(asked.text.contains(&question) && lent(&hidden(&asked.text)) == all, "{}", asked.text);
    let cookie = browser.cookie.clone().expect("signed in");
    let elsewhere = [("origin", "http://wiki.example"), ("sec-fetch-site", "cross-site"), ("cookie", &cookie)];
    let forged = post(&wiki.site, &format!("{path}?answered"), &all, &elsewhere).await;
    assert!(forged.text.contains(&question), "another site answers nothing: {}", forged.text);
    let out = browser.post(&wiki.site, &format!("{path}?answered"), &all).await;
    assert!(out.text.contains("Signed out of wiki"), "{}", out.text);
}
