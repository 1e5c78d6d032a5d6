//! From an application through sign-in and consent back to it, without a page.

use super::*;

struct Wiki {
    site: Site,
    client_id: String,
}

const CALLBACK: &str = "http://wiki.example/outpost.goauthentik.io/callback?X-authentik-auth-callback=true";

impl Wiki {
    async fn new(flow: &str) -> Self {
        let (site, _) = with_ada().await;
        let key = async |slug: &str| {
            site.admin(Method::GET, &format!("/flows/instances/{slug}/"), None).await.json["pk"].clone()
        };
        let body = json!({
            "name": "wiki", "external_host": "http://wiki.example", "internal_host": "http://127.0.0.1:1",
            "authorization_flow": key(flow).await, "invalidation_flow": key(flows::PROVIDER_INVALIDATION).await,
        });
        let made = site.admin(Method::POST, "/providers/proxy/", body).await;
        assert_eq!(made.status, 201, "{:?}", made.json);
        let (provider, client_id) =
            (made.json["pk"].as_i64().expect("a key"), made.json["client_id"].as_str().expect("text").to_owned());
        let body = json!({"name": "Wiki", "slug": "wiki", "provider": provider});
        assert_eq!(site.admin(Method::POST, "/core/applications/", body).await.status, 201);
        Self { site, client_id }
    }

    fn query(&self, scope: &str) -> String {
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("client_id", self.client_id.as_str()),
                ("response_type", "code"),
                ("scope", scope),
                ("state", "s1"),
                ("redirect_uri", CALLBACK),
            ])
            .finish()
    }

    /// Signs in by the flow that the authorization endpoint leads to, and opens where that leads.
    async fn arrive(&self, client: &mut Client, scope: &str) -> Reply {
        let begun = client.page(&self.site, &format!("/application/o/authorize/?{}", self.query(scope))).await;
        let to_sign_in = begun.headers["location"].to_str().expect("text").to_owned();
        let query =
            to_sign_in.strip_prefix("/if/flow/default-authentication-flow/?").expect("the sign-in flow").to_owned();
        let asked = client.show(&self.site, SIGN_IN, &query).await;
        assert_eq!(
            (&asked["component"], &asked["application_pre"]),
            (&json!("ak-stage-identification"), &json!("Wiki"))
        );
        client.answer(&self.site, SIGN_IN, &query, json!({"uid_field": "ada"})).await;
        let done = client.answer(&self.site, SIGN_IN, &query, json!({"password": PASSWORD})).await;
        client.page(&self.site, done["to"].as_str().expect("a target")).await
    }
}

fn code_in(target: &str) -> String {
    let url = url::Url::parse(target).expect("a URL");
    assert!(target.starts_with("http://wiki.example/outpost.goauthentik.io/callback?"), "{target}");
    assert!(url.query_pairs().any(|(name, value)| name == "state" && value == "s1"));
    url.query_pairs().find(|(name, _)| name == "code").expect("a code").1.into_owned()
}

/// CO-322: with implicit consent the client has its code once somebody has signed in by the executor.
#[tokio::test]
async fn co_322_a_client_gets_its_code_without_a_page() {
    let wiki = Wiki::new(flows::IMPLICIT_CONSENT).await;
    let mut client = Client::new();
    let back = wiki.arrive(&mut client, "openid profile").await;
    assert!(!code_in(back.headers["location"].to_str().expect("text")).is_empty());
    let again = client.show(&wiki.site, flows::IMPLICIT_CONSENT, &wiki.query("openid")).await;
    assert_eq!(again["component"], "xak-flow-redirect");
    assert!(!code_in(again["to"].as_str().expect("a target")).is_empty());
    let bad = client.show(&wiki.site, flows::IMPLICIT_CONSENT, "client_id=nobody").await;
    assert_eq!(bad["component"], "ak-stage-access-denied");
}

/// CO-321, CO-533: with explicit consent the client echoes a one-time token; a yes is remembered for its scopes.
#[tokio::test]
async fn co_321_consent_is_asked_for_and_remembered() {
    let wiki = Wiki::new(flows::EXPLICIT_CONSENT).await;
    let (mut client, slug) = (Client::new(), flows::EXPLICIT_CONSENT);
    let page = wiki.arrive(&mut client, "openid email").await;
    assert_eq!(page.status, 200, "a page asks");
    let query = wiki.query("openid email");
    let asked = client.show(&wiki.site, slug, &query).await;
    assert_eq!((&asked["component"], &asked["pending_user"]), (&json!("ak-stage-consent"), &json!("ada")));
    assert_eq!(asked["additional_permissions"], json!([{"id": "email", "name": "Email address"}]), "by their scopes");
    assert_eq!(asked["permissions"], json!([]));
    let guessed = client.answer(&wiki.site, slug, &query, json!({"token": "guessed"})).await;
    assert_eq!((&guessed["component"], errors(&guessed)), (&json!("ak-stage-consent"), vec!["token"]));
    let other = json!({"component": "ak-stage-password", "token": asked["token"]});
    let other = client.answer(&wiki.site, slug, &query, other).await;
    assert_eq!((&other["component"], errors(&other)), (&json!("ak-stage-consent"), vec!["token"]), "CO-302");
    let done = client
        .answer(&wiki.site, slug, &query, json!({"component": "ak-stage-consent", "token": asked["token"]}))
        .await;
    assert!(!code_in(done["to"].as_str().expect("a target")).is_empty());
    assert_eq!(client.show(&wiki.site, slug, &query).await["component"], "xak-flow-redirect", "remembered");
    let more = client.show(&wiki.site, slug, &wiki.query("openid email profile")).await;
    assert_eq!(more["component"], "ak-stage-consent", "for other scopes it is asked again");
}

/// CO-322: the access decision comes first.
#[tokio::test]
async fn co_322_the_access_decision_comes_first() {
    let wiki = Wiki::new(flows::EXPLICIT_CONSENT).await;
    let mut client = Client::new();
    wiki.arrive(&mut client, "openid").await;
    let application = wiki.site.admin(Method::GET, "/core/applications/wiki/", None).await.json["pk"].clone();
    let eve = wiki.site.user("eve").await;
    let body = json!({"target": application, "user": eve, "order": 0, "enabled": true});
    assert_eq!(wiki.site.admin(Method::POST, "/policies/bindings/", body).await.status, 201);
    let denied = client.show(&wiki.site, flows::EXPLICIT_CONSENT, &wiki.query("openid")).await;
    assert_eq!(denied["component"], "ak-stage-access-denied");
}

/// CO-306: consent is remembered for as long as the stage says, or never.
#[tokio::test]
async fn co_306_consent_is_remembered_as_the_stage_says() {
    let wiki = Wiki::new(flows::EXPLICIT_CONSENT).await;
    let (mut client, slug, query) = (Client::new(), flows::EXPLICIT_CONSENT, wiki.query("openid email"));
    wiki.arrive(&mut client, "openid email").await;
    for (mode, validity, days, asks) in [
        ("expiring", "days=2", 1, false),
        ("expiring", "days=2", 3, true),
        ("permanent", "days=2", 20, false),
        ("always_require", "days=2", 0, true),
    ] {
        tune(&wiki.site, stages::CONSENT, json!({"mode": mode, "consent_expire_in": validity})).await;
        let prompt = format!("{query}&prompt=consent");
        let asked = client.show(&wiki.site, slug, &prompt).await;
        client.answer(&wiki.site, slug, &prompt, json!({"token": asked["token"]})).await;
        for _ in 0..days {
            wiki.site.clock.advance_seconds(23 * 3600);
            client.whoami(&wiki.site).await;
            wiki.site.clock.advance_seconds(3600);
            client.whoami(&wiki.site).await;
        }
        let then = client.show(&wiki.site, slug, &query).await;
        assert_eq!(then["component"] == "ak-stage-consent", asks, "{mode} {days}: {then}");
        if then["component"] == "ak-stage-access-denied" || days >= 20 {
            client = Client::new();
            client.sign_in(&wiki.site, "ada", PASSWORD).await;
        }
    }
}
