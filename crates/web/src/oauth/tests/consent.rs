//! Consent: who is asked, what a yes is worth, and how long.

use portcullis_core::id::UserPk;
use portcullis_store::{application, consent};

use super::browser::{Browser, hidden, kept, lent};
use super::login::{authorize, callback, code, member, redeem, signed_in};
use super::*;

const EXPLICIT: &str = "default-provider-authorization-explicit-consent";
const WEEK: i64 = 7 * 24 * 3600;

/// The instance with a provider that asks for consent, and a browser in which Ada is signed in.
async fn asking() -> (Wiki, Browser) {
    let (wiki, browser) = signed_in().await;
    let flow = wiki.site.admin(Method::GET, &format!("/flows/instances/{EXPLICIT}/"), None).await;
    let path = format!("/providers/proxy/{}/", wiki.provider);
    let patched = wiki.site.admin(Method::PATCH, &path, json!({"authorization_flow": flow.json["pk"]})).await;
    assert_eq!(patched.status, 200, "{:?}", patched.json);
    (wiki, browser)
}

async fn again(wiki: &Wiki, browser: &mut Browser) {
    assert_eq!(browser.sign_in(&wiki.site, "ada", "correct horse battery").await.status, 303);
}

/// The page that asks.
struct Page {
    text: String,
    action: String,
    /// The request.
    members: Vec<(String, String)>,
    token: String,
    cancel: String,
}

impl Page {
    fn of(reply: &Reply) -> Option<Self> {
        let between = |start: &str| {
            let rest = reply.text.split_once(start)?.1;
            Some(rest.split_once('"')?.0.replace("&#38;", "&"))
        };
        (reply.status == 200 && reply.text.contains(">Continue</button>")).then(|| Self {
            text: reply.text.clone(),
            action: between("method=\"post\" action=\"").expect("a form"),
            members: hidden(&reply.text).into_iter().filter(|(name, _)| name != "consent").collect(),
            token: between("name=\"consent\" value=\"").expect("a token"),
            cancel: between("class=\"button quiet\" href=\"").expect("a link"),
        })
    }

    async fn open(wiki: &Wiki, browser: &mut Browser, more: &[(&str, &str)]) -> Self {
        let reply = browser.get(&wiki.site, &authorize(wiki, more)).await;
        Self::of(&reply).unwrap_or_else(|| panic!("{more:?}: {} {}", reply.status, reply.text))
    }

    async fn yes(&self, wiki: &Wiki, browser: &mut Browser) -> Reply {
        self.say(wiki, browser, &self.token).await
    }

    async fn say(&self, wiki: &Wiki, browser: &mut Browser, token: &str) -> Reply {
        browser.post(&wiki.site, &self.action, &self.with(token)).await
    }

    /// What its form posts.
    fn with<'a>(&'a self, token: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut all = lent(&self.members);
        all.push(("consent", token));
        all
    }
}

/// Whether the browser gets a code without being asked.
async fn is_silent(wiki: &Wiki, browser: &mut Browser, more: &[(&str, &str)]) -> bool {
    let reply = browser.get(&wiki.site, &authorize(wiki, more)).await;
    let silent = reply.status == 302 && member(&reply, "code").is_some();
    assert!(silent || Page::of(&reply).is_some(), "{more:?}: {} {}", reply.status, reply.text);
    silent
}

/// What is remembered of Ada.
async fn remembered(wiki: &Wiki) -> Option<String> {
    let mut conn = wiki.site.ctx.db.read().await.expect("reads");
    let application = application::by_slug(&mut conn, "wiki").await.expect("reads")?.uuid;
    let ada = UserPk(i32::try_from(wiki.ada).expect("small"));
    consent::scope(&mut conn, ada, wiki.pk(), application, wiki.site.ctx.now()).await.expect("reads")
}

/// OA-166, CO-322: the flow without consent never asks, the other one does, and names the application and what it
/// learns; a yes gives a code.
#[tokio::test]
async fn oa_166_the_explicit_flow_asks() {
    let (wiki, mut browser) = signed_in().await;
    assert!(is_silent(&wiki, &mut browser, &[]).await);
    let (wiki, mut browser) = asking().await;
    let reply = browser.get(&wiki.site, &authorize(&wiki, &[])).await;
    let policy = reply.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("form-action 'self' http: https:;"), "the client may send people anywhere: {policy}");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(reply.headers["cache-control"], "no-store");
    let page = Page::of(&reply).expect("asks");
    for told in [
        "Continue to wiki?",
        "<strong>ada</strong>",
        "General Profile Information",
        "What the application needs to sign you in",
    ] {
        assert!(page.text.contains(told), "{told}: {}", page.text);
    }
    assert!(!page.text.contains("Email address") && !page.text.contains("<script"), "{}", page.text);
    assert_eq!(wiki.site.events("authorize_application").await.0, 0);
    let back = page.yes(&wiki, &mut browser).await;
    assert!(location(&back).starts_with(&callback()), "{}", location(&back));
    assert_eq!(member(&back, "state").as_deref(), Some("s&t=1#"));
    let tokens = redeem(&wiki, &member(&back, "code").expect("a code"), &[]).await;
    assert_eq!(text(&tokens, "scope"), "ak_proxy openid profile");
    assert_eq!(wiki.site.events("authorize_application").await.0, 1);
}

/// OA-167, CO-321: the same scopes or fewer do not ask again for four weeks; more ask, and tell what is new.
#[tokio::test]
async fn oa_167_consent_is_remembered() {
    let (wiki, mut browser) = asking().await;
    Page::open(&wiki, &mut browser, &[]).await.yes(&wiki, &mut browser).await;
    assert_eq!(remembered(&wiki).await.as_deref(), Some("ak_proxy openid profile"));
    for scope in ["openid profile ak_proxy", "profile", "openid unknown"] {
        assert!(is_silent(&wiki, &mut browser, &[("scope", scope)]).await, "{scope}");
    }
    let more = Page::open(&wiki, &mut browser, &[("scope", "openid profile email")]).await;
    let (known, additional) = more.text.split_once("It will get from now on:").expect("tells what is new");
    assert!(known.contains("It has already:") && known.contains("General Profile Information"), "{known}");
    assert!(additional.contains("Email address") && !additional.contains("General Profile"), "{additional}");
    assert!(member(&more.yes(&wiki, &mut browser).await, "code").is_some());
    assert_eq!(remembered(&wiki).await.as_deref(), Some("email openid profile"), "the last answer counts");
    wiki.site.clock.advance_seconds(4 * WEEK - 1);
    again(&wiki, &mut browser).await;
    assert!(is_silent(&wiki, &mut browser, &[("scope", "email")]).await);
    wiki.site.clock.advance_seconds(1);
    let late = Page::open(&wiki, &mut browser, &[("scope", "email")]).await;
    assert!(!late.text.contains("already"), "{}", late.text);
    portcullis_idp::oauth::sweep(&wiki.site.ctx).await.expect("sweeps");
    late.yes(&wiki, &mut browser).await;
    assert_eq!(remembered(&wiki).await.as_deref(), Some("email"));
}

/// OA-164, OA-849: `prompt=consent` asks whatever the flow and whatever is remembered.
#[tokio::test]
async fn oa_164_prompt_consent_always_asks() {
    let (wiki, mut browser) = signed_in().await;
    for _ in 0..2 {
        let page = Page::open(&wiki, &mut browser, &[("prompt", "consent")]).await;
        assert!(!page.text.contains("already"), "all is asked anew: {}", page.text);
        assert!(member(&page.yes(&wiki, &mut browser).await, "code").is_some());
        assert!(is_silent(&wiki, &mut browser, &[]).await);
    }
}

/// OA-163, OA-164: who signs in again for a request is asked afterwards, and may read for longer than the new login
/// counts; a maximum age is kept while they read.
#[tokio::test]
async fn oa_164_consent_follows_a_new_login() {
    let (wiki, mut browser) = asking().await;
    wiki.site.clock.advance_seconds(100);
    let all = [("uid_field", "ada"), ("password", "correct horse battery")];
    let sent = browser.get(&wiki.site, &authorize(&wiki, &[("prompt", "login consent")])).await;
    let done = browser.post(&wiki.site, location(&sent), &all).await;
    let page = Page::of(&browser.get(&wiki.site, location(&done)).await).expect("asks");
    wiki.site.clock.advance_seconds(300);
    assert!(member(&page.yes(&wiki, &mut browser).await, "code").is_some());
    let repeated = page.yes(&wiki, &mut browser).await;
    assert!(location(&repeated).starts_with("/if/flow/default-authentication-flow/"), "the login counted once");
    again(&wiki, &mut browser).await;
    let page = Page::open(&wiki, &mut browser, &[("prompt", "consent"), ("max_age", "60")]).await;
    wiki.site.clock.advance_seconds(61);
    let old = page.yes(&wiki, &mut browser).await;
    assert!(location(&old).starts_with("/if/flow/default-authentication-flow/"), "{}", location(&old));
}

/// OA-164, OA-847: a silent request without consent is told so at once, and goes through with it.
#[tokio::test]
async fn oa_164_silent_requests_are_never_asked() {
    let (wiki, mut browser) = asking().await;
    let silent = authorize(&wiki, &[("prompt", "none")]);
    let refused = browser.get(&wiki.site, &silent).await;
    assert_eq!(member(&refused, "error").as_deref(), Some("consent_required"));
    assert_eq!(member(&refused, "state").as_deref(), Some("s&t=1#"));
    Page::open(&wiki, &mut browser, &[]).await.yes(&wiki, &mut browser).await;
    assert!(member(&browser.get(&wiki.site, &silent).await, "code").is_some());
    let more = authorize(&wiki, &[("prompt", "none"), ("scope", "openid email")]);
    assert_eq!(member(&browser.get(&wiki.site, &more).await, "error").as_deref(), Some("consent_required"));
}

/// OA-167, CO-321: a yes counts once, for the request and the session that were asked, for ten minutes; whatever
/// else is sent asks again and gives no code.
#[tokio::test]
async fn oa_167_a_yes_cannot_be_claimed() {
    let (wiki, mut browser) = asking().await;
    let page = Page::open(&wiki, &mut browser, &[]).await;
    let asks_again = |reply: &Reply, what: &str| {
        assert!(Page::of(reply).is_some_and(|page| page.text.contains("did not count")), "{what}: {}", reply.text);
    };
    for forged in ["", "x", "AAAA", &page.token[1..], &format!("{}A", page.token)] {
        asks_again(&page.say(&wiki, &mut browser, forged).await, forged);
    }
    for other in [[("scope", "openid email")], [("nonce", "n-2")], [("state", "other")], [("code_challenge", "")]] {
        let mut more = other.to_vec();
        if other[0].0 == "code_challenge" {
            more.push(("code_challenge_method", ""));
        }
        let target = Page::open(&wiki, &mut browser, &more).await;
        asks_again(&target.say(&wiki, &mut browser, &page.token).await, other[0].0);
    }
    let mut another = Browser::default();
    again(&wiki, &mut another).await;
    asks_again(&page.yes(&wiki, &mut another).await, "another session");
    let nobody = page.yes(&wiki, &mut Browser::default()).await;
    assert!(location(&nobody).starts_with("/if/flow/default-authentication-flow/"));
    let in_query = format!("{}&consent={}", authorize(&wiki, &[]), page.token);
    assert!(Page::of(&browser.get(&wiki.site, &in_query).await).is_some(), "a GET agrees to nothing");
    wiki.site.clock.advance_seconds(600);
    asks_again(&page.yes(&wiki, &mut browser).await, "expired");
    assert_eq!((remembered(&wiki).await, wiki.site.events("authorize_application").await.0), (None, 0));
    let page = Page::open(&wiki, &mut browser, &[("prompt", "consent")]).await;
    wiki.site.clock.advance_seconds(599);
    assert!(member(&page.yes(&wiki, &mut browser).await, "code").is_some());
    asks_again(&page.yes(&wiki, &mut browser).await, "used");
}

/// CO-387: a yes that another site makes the browser send does nothing, and spends nothing.
#[tokio::test]
async fn co_387_other_sites_cannot_agree() {
    let (wiki, mut browser) = asking().await;
    let page = Page::open(&wiki, &mut browser, &[]).await;
    let cookie = browser.cookie.clone().expect("signed in");
    for foreign in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let reply = post(&wiki.site, &page.action, &page.with(&page.token), &[foreign, ("cookie", &cookie)]).await;
        assert_eq!(reply.status, 403, "{foreign:?}");
        assert!(reply.headers.get("location").is_none());
    }
    assert_eq!(remembered(&wiki).await, None);
    assert!(member(&page.yes(&wiki, &mut browser).await, "code").is_some());
}

/// OA-165, OA-175: who says no goes back to the client, which is told with its state; nothing is remembered.
#[tokio::test]
async fn oa_165_a_no_is_told_to_the_client() {
    let (wiki, mut browser) = asking().await;
    let cancel = url::Url::parse(&Page::open(&wiki, &mut browser, &[]).await.cancel).expect("a URL");
    assert!(cancel.as_str().starts_with(&callback()), "{cancel}");
    let told: Vec<(String, String)> = cancel.query_pairs().into_owned().collect();
    for (name, value) in
        [("error", "access_denied"), ("state", "s&t=1#"), ("error_description", "The user did not agree")]
    {
        assert!(told.contains(&(name.to_owned(), value.to_owned())), "{name}: {told:?}");
    }
    assert_eq!((remembered(&wiki).await, wiki.site.events("authorize_application").await.0), (None, 0));
    assert!(!is_silent(&wiki, &mut browser, &[]).await);
}

/// CO-322, OA-165: who may not use the application is not asked, and a yes does not help them.
#[tokio::test]
async fn co_322_access_is_decided_before_consent() {
    let (wiki, mut browser) = asking().await;
    let page = Page::open(&wiki, &mut browser, &[]).await;
    let bob = wiki.site.user("bob").await;
    wiki.bind_to(bob).await;
    assert_eq!(page.yes(&wiki, &mut browser).await.status, 403);
    assert_eq!(browser.get(&wiki.site, &authorize(&wiki, &[])).await.status, 403);
    let silent = browser.get(&wiki.site, &authorize(&wiki, &[("prompt", "none")])).await;
    assert_eq!(member(&silent, "error").as_deref(), Some("access_denied"));
    assert_eq!(remembered(&wiki).await, None);
}

/// OA-166, OA-175: a posted request is asked about like any other, a reload of the page's address asks anew, and the
/// answer is posted where the client wants that.
#[tokio::test]
async fn oa_166_consent_works_in_every_mode() {
    let (wiki, mut browser) = asking().await;
    let target = authorize(&wiki, &[("response_mode", "form_post"), ("state", "a\nb\"<&>")]);
    let query = target.split_once('?').expect("a query").1;
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let all: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let page = Page::of(&browser.post(&wiki.site, "/application/o/authorize/", &all).await).expect("asks");
    let query = encoded(&all);
    assert_eq!(page.members, kept(&all));
    let reloaded = browser.get(&wiki.site, &format!("{}?{query}", page.action)).await;
    assert_eq!(location(&reloaded), format!("/application/o/authorize/?{query}"));
    assert!(Page::of(&browser.get(&wiki.site, location(&reloaded)).await).is_some());
    let answered = page.yes(&wiki, &mut browser).await;
    assert_eq!(answered.status, 200);
    assert!(answered.text.contains("name=\"code\"") && answered.text.contains("a\nb"), "{}", answered.text);
    assert_eq!(browser.get(&wiki.site, &format!("/if/flow/{EXPLICIT}/")).await.status, 302);
    assert_eq!(browser.post(&wiki.site, &format!("/if/flow/{EXPLICIT}/"), &[]).await.status, 404);
}

/// OA-166, OA-009: who is asked about a request that is too long for an address can say yes to it.
#[tokio::test]
async fn oa_166_a_long_request_can_be_agreed_to() {
    let (wiki, mut browser) = asking().await;
    // Encoded twice it is longer than what a client may post.
    let state = "\"".repeat(20 * 1024);
    let target = authorize(&wiki, &[("state", "")]);
    let query = target.split_once('?').expect("a query").1;
    let mut pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    pairs.retain(|(name, _)| name != "state");
    pairs.push(("state".to_owned(), state.clone()));
    let asked = browser.post(&wiki.site, "/application/o/authorize/", &lent(&pairs)).await;
    let page = Page::of(&asked).expect("asks");
    assert_eq!(page.action, format!("/if/flow/{EXPLICIT}/"));
    assert!(Page::of(&page.say(&wiki, &mut browser, "x").await).is_some(), "asks once more");
    let back = page.yes(&wiki, &mut browser).await;
    assert_eq!(member(&back, "state"), Some(state));
    assert!(member(&back, "code").is_some());
}

/// OA-166, OA-167: line breaks in a request survive the page that asks, as they are; nothing of its form counts but the request
/// that it keeps, and no client has the page ask about another one.
#[tokio::test]
async fn oa_166_line_breaks_survive_the_question() {
    let (wiki, mut browser) = asking().await;
    for state in ["a\nb", "a\rb", "a\r\nb", "\n", "\"<&>+%0A \u{e4}"] {
        let page = Page::open(&wiki, &mut browser, &[("state", state), ("prompt", "consent")]).await;
        assert!(page.members.iter().all(|(_, value)| value.is_ascii() && !value.contains(['\r', '\n'])));
        let mut all = page.with(&page.token);
        all.extend([("state", "other"), ("scope", "email")]);
        let back = browser.post(&wiki.site, &page.action, &all).await;
        assert_eq!(member(&back, "state").as_deref(), Some(state), "{}", back.text);
        assert!(member(&back, "code").is_some());
    }
    let page = Page::open(&wiki, &mut browser, &[("prompt", "consent")]).await;
    let plain: Vec<(String, String)> = url::form_urlencoded::parse(page.members[0].1.as_bytes()).into_owned().collect();
    let mut bare = lent(&plain);
    bare.push(("consent", &page.token));
    assert_eq!(browser.post(&wiki.site, &page.action, &bare).await.status, 404, "no request is kept");
    let smuggled = kept(&[("state", "other"), ("scope", "email")]);
    let mut sent = lent(&plain);
    sent.extend(lent(&smuggled));
    let asked = Page::of(&browser.post(&wiki.site, "/application/o/authorize/", &sent).await).expect("asks");
    assert_eq!(asked.members, page.members);
}

/// CO-038, CO-037: consent goes with its user, also when they are only deactivated, with its provider, and with the
/// application that they saw.
#[tokio::test]
async fn co_038_consent_goes_with_user_and_provider() {
    let (wiki, mut browser) = asking().await;
    let agree = async |browser: &mut Browser| {
        Page::open(&wiki, browser, &[]).await.yes(&wiki, browser).await;
        assert!(remembered(&wiki).await.is_some());
    };
    agree(&mut browser).await;
    let ada = format!("/core/users/{}/", wiki.ada);
    for is_active in [false, true] {
        assert_eq!(wiki.site.admin(Method::PATCH, &ada, json!({"is_active": is_active})).await.status, 200);
    }
    assert_eq!(remembered(&wiki).await, None);
    again(&wiki, &mut browser).await;
    agree(&mut browser).await;
    let wiki_path = "/core/applications/wiki/";
    assert_eq!(wiki.site.admin(Method::PATCH, wiki_path, json!({"provider": null})).await.status, 200);
    let body = json!({"name": "payroll", "slug": "payroll", "provider": wiki.provider});
    assert_eq!(wiki.site.admin(Method::POST, "/core/applications/", body).await.status, 201);
    assert!(!is_silent(&wiki, &mut browser, &[]).await, "another application has the provider");
    assert_eq!(wiki.site.admin(Method::DELETE, "/core/applications/payroll/", None).await.status, 204);
    assert_eq!(wiki.site.admin(Method::PATCH, wiki_path, json!({"provider": wiki.provider})).await.status, 200);
    let unforgotten = code(&wiki, &mut browser).await;
    assert!(!unforgotten.is_empty(), "the same pair again");
    let provider = format!("/providers/proxy/{}/", wiki.provider);
    assert_eq!(wiki.site.admin(Method::DELETE, &provider, None).await.status, 204);
    assert_eq!(remembered(&wiki).await, None);
    let (wiki, mut browser) = asking().await;
    Page::open(&wiki, &mut browser, &[]).await.yes(&wiki, &mut browser).await;
    assert!(remembered(&wiki).await.is_some());
    assert_eq!(wiki.site.admin(Method::DELETE, &format!("/core/users/{}/", wiki.ada), None).await.status, 204);
    assert_eq!(remembered(&wiki).await, None);
}
