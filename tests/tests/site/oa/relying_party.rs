//! Clients that speak OpenID Connect themselves: `mod_auth_openidc`.

use portcullis_testkit::relying_party::{Address, RelyingParty};
use portcullis_testkit::{Browser, Go as _, Person, Site, api, http, run, until};
use serde_json::{Value, json};

use super::issuer::{self, assert, traded};
use crate::stage::{Stage, shared};

/// An application, and its client at the site.
struct Wiki {
    site: &'static Site,
    address: Address,
    party: RelyingParty,
    slug: String,
    client_id: String,
    provider: Value,
    issuer: String,
    uuid: Value,
}

impl Wiki {
    /// With a key of its own that signs with `alg`, and this flow of its sign-out.
    async fn new(alg: &str, invalidation: &str) -> Self {
        Self::at(shared().await, alg, invalidation).await
    }

    async fn at(site: &'static Site, alg: &str, invalidation: &str) -> Self {
        let (address, slug) = (Address::default(), api::fresh("wiki"));
        let wish =
            json!({"common_name": slug, "validity_days": 2, "alg": if alg == "ES256" { "ecdsa" } else { "rsa" }});
        let key = site.api.post("crypto/certificatekeypairs/generate/", wish).await;
        let scopes = site.api.get("propertymappings/provider/scope/?managed__isnull=false").await;
        let wanted = |scope: &&Value| ["openid", "profile", "email"].iter().any(|name| scope["scope_name"] == *name);
        let scopes = scopes["results"]
            .as_array()
            .unwrap()
            .iter()
            .filter(wanted)
            .map(|scope| scope["pk"].clone())
            .collect::<Vec<_>>();
        let (authorization, _) = site.api.flows().await;
        let invalidation = site.api.get(&format!("flows/instances/{invalidation}/")).await["pk"].clone();
        let provider = site
            .api
            .post(
                "providers/oauth2/",
                json!({
                    "name": slug, "authorization_flow": authorization, "invalidation_flow": invalidation,
                    "redirect_uris": [
                        {"matching_mode": "strict", "url": address.callback()},
                        {"matching_mode": "strict", "url": address.bye(), "redirect_uri_type": "logout"},
                    ],
                    "property_mappings": scopes, "signing_key": key["pk"],
                }),
            )
            .await;
        let application = json!({"name": slug, "slug": slug, "provider": provider["pk"]});
        let application = site.api.post("core/applications/", application).await;
        let issuer = site.url(&format!("/application/o/{slug}/"));
        let metadata = format!("{issuer}.well-known/openid-configuration");
        let (id, secret) = (api::text(&provider["client_id"]), api::text(&provider["client_secret"]));
        let party = RelyingParty::start(&address, &metadata, &id, &secret, alg).await;
        Self {
            site,
            address,
            party,
            slug,
            client_id: id,
            provider: provider["pk"].clone(),
            issuer,
            uuid: application["pk"].clone(),
        }
    }

    /// Somebody signs in on the way to a page of the application; its variables.
    async fn sign_in(&self, browser: &Browser, person: &Person, path: &str) -> Vec<(String, String)> {
        browser.go(&self.address.url(path)).await;
        assert!(browser.url().await.starts_with(&self.site.base()), "{}: {}", browser.url().await, self.party.log());
        browser.sign_in(&person.username, &person.password).await;
        browser.sees("REMOTE_USER").await;
        assert_eq!(browser.url().await, self.address.url(path));
        self.variables(browser).await
    }

    async fn variables(&self, browser: &Browser) -> Vec<(String, String)> {
        let text = browser.text().await;
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
    }

    /// What the userinfo endpoint answers to the access token that the application got.
    async fn userinfo(&self, variables: &[(String, String)]) -> u16 {
        let request = http().get(self.site.url("/application/o/userinfo/"));
        request.bearer_auth(one(variables, "OIDC_access_token")).go().await.status
    }

    /// Whether what a cookie of the browser says is still good at the site.
    async fn is_signed_in(&self, browser: &Browser) -> bool {
        browser.go(&self.site.url("/")).await;
        let text = browser.text().await;
        assert_ne!(text.contains("Sign out"), text.contains("Password"), "{text}");
        text.contains("Sign out")
    }
}

fn one<'a>(variables: &'a [(String, String)], name: &str) -> &'a str {
    let found = variables.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name}: {variables:#?}"))
}

/// OA-040, OA-061, OA-162, OA-450, OA-515, CO-310: a real client signs a person in with a code and PKCE through the
/// sign-in page, verifies the ID token by our key set whatever signs it, and learns from it and from userinfo who it is.
#[test]
fn oa_450_a_real_client_signs_people_in() {
    run(async {
        for alg in ["RS256", "ES256"] {
            let wiki = Wiki::new(alg, "default-provider-invalidation-flow").await;
            let person = wiki.site.api.person("reader").await;
            let group = api::fresh("readers");
            let body = json!({"name": group, "users": [person.pk]});
            wiki.site.api.post("core/groups/", body).await;
            let browser = Browser::open().await;
            let seen = wiki.sign_in(&browser, &person, "/page?x=1").await;
            assert_eq!(one(&seen, "REMOTE_USER"), person.username);
            assert_eq!(one(&seen, "QUERY_STRING"), "x=1");
            for (name, value) in [
                ("preferred_username", person.username.clone()),
                ("email", person.email.clone()),
                ("name", format!("Name of {}", person.username)),
                ("groups", group.clone()),
                ("aud", wiki.client_id.clone()),
                ("iss", wiki.issuer.clone()),
            ] {
                assert_eq!(one(&seen, &format!("OIDC_CLAIM_{name}")), value, "{alg}");
            }
            let said: Value = serde_json::from_str(one(&seen, "OIDC_id_token_payload")).unwrap();
            assert_eq!((&said["amr"], said["sid"].is_string()), (&json!(["pwd"]), true), "{said}");
            let told: Value = serde_json::from_str(one(&seen, "OIDC_userinfo_json")).unwrap();
            for name in ["sub", "preferred_username", "email", "name", "groups"] {
                assert_eq!(told[name], said[name], "OA-515: {name}");
            }
            let query = format!("events/events/?action=authorize_application&username={}", person.username);
            let events = wiki.site.api.get(&query).await;
            let event = &events["results"][0]["context"];
            assert_eq!(event["authorized_application"]["name"], json!(wiki.slug), "{event}");
        }
    });
}

/// OA-541, OA-543, OA-544, OA-546, OA-547: a client's sign-out with its ID token ends what the client has of the session at
/// once and comes back; with the flow of a whole sign-out, the session of the identity provider ends, too.
#[test]
fn oa_546_a_real_client_signs_people_out() {
    run(async {
        for (alg, flow) in [("RS256", "default-invalidation-flow"), ("ES256", "default-provider-invalidation-flow")] {
            let wiki = Wiki::new(alg, flow).await;
            let person = wiki.site.api.person("leaver").await;
            let browser = Browser::open().await;
            let seen = wiki.sign_in(&browser, &person, "/").await;
            assert_eq!(wiki.userinfo(&seen).await, 200);
            browser.go(&wiki.address.sign_out()).await;
            browser.sees("Good-bye from the application").await;
            assert_eq!(wiki.userinfo(&seen).await, 401, "OA-547");
            let whole = flow == "default-invalidation-flow";
            assert_eq!(wiki.is_signed_in(&browser).await, !whole, "{flow}");
            browser.go(&wiki.address.url("/again")).await;
            if whole {
                browser.find("input[type=password]").await;
            } else {
                browser.sees("REMOTE_USER").await;
            }
        }
    });
}

/// OA-555, OA-556, OA-557, OA-750: a real client hears by its back channel that a session has ended, verifies what it is
/// told, and asks for a new sign-in; another session goes on.
#[test]
fn oa_555_a_real_client_hears_of_the_end_of_a_session() {
    run(async {
        let wiki = Wiki::at(issuer::site().await, "ES256", "default-provider-invalidation-flow").await;
        let heard = format!("{}?logout=backchannel", wiki.address.callback());
        wiki.site.api.patch(&format!("providers/oauth2/{}/", wiki.provider), json!({"logout_uri": heard})).await;
        let [gone, stays] = [wiki.site.api.person("gone").await, wiki.site.api.person("stays").await];
        let (first, second) = (Browser::open().await, Browser::open().await);
        wiki.sign_in(&first, &gone, "/").await;
        wiki.sign_in(&second, &stays, "/").await;
        let query = format!("core/authenticated_sessions/?user__username={}", gone.username);
        let session = api::text(&wiki.site.api.get(&query).await["results"][0]["uuid"]);
        wiki.site.api.delete(&format!("core/authenticated_sessions/{session}/")).await;
        until("the sign-in page", async || {
            first.go(&wiki.address.url("/")).await;
            first.url().await.starts_with(&wiki.site.base()).then_some(())
        })
        .await;
        second.go(&wiki.address.url("/again")).await;
        second.sees("REMOTE_USER").await;
    });
}

/// OA-340, OA-342, OA-343, OA-344, OA-836, PX-514: a client that signed somebody in calls an application behind the proxy
/// for them: their token is traded for one of that application, whose policies decide about them. It ends with their
/// sign-out at the client, at once.
#[test]
fn oa_340_a_real_client_calls_an_application_for_its_user() {
    run(async {
        let wiki = Wiki::new("ES256", "default-invalidation-flow").await;
        let person = wiki.site.api.person("caller").await;
        let notes = Stage::new(json!({"jwt_federation_providers": [wiki.provider]})).await;
        let strangers = Stage::new(json!({})).await;
        let browser = Browser::open().await;
        let seen = wiki.sign_in(&browser, &person, "/").await;
        let own = one(&seen, "OIDC_access_token");
        let open = async |token: &str| {
            let request = notes.get_as_stranger("/").header("authorization", format!("Bearer {token}"));
            request.go().await.status
        };
        assert_eq!(open(own).await, 401, "not without a trade");
        assert_eq!(assert(&strangers, own).await.status, 400, "OA-344");
        let token = traded(&notes, own).await;
        assert_eq!(open(&token).await, 200);
        assert_eq!(notes.recorder.last().one("x-authentik-username").as_ref(), Some(&person.username));
        assert_eq!(assert(&notes, &token).await.status, 400, "OA-344");

        let binding = notes.site.api.bind(&notes.app, json!({"user": notes.person.pk})).await;
        assert_eq!(assert(&notes, own).await.status, 400, "OA-342");
        assert_eq!(open(&token).await, 401);
        notes.site.api.delete(&format!("policies/bindings/{binding}/")).await;
        assert_eq!(open(&token).await, 200);

        browser.go(&wiki.address.sign_out()).await;
        browser.sees("Good-bye from the application").await;
        assert_eq!(open(&token).await, 401);
        assert_eq!(assert(&notes, own).await.status, 400, "OA-340");
    });
}

/// CO-037, CO-171, OA-402: who is deactivated, or whose binding is taken away, is out of a client that keeps to its ID tokens
/// when theirs ends, and is not signed in again, not even with a session that was there.
#[test]
fn oa_402_a_real_client_signs_nobody_in_who_may_not() {
    run(async {
        let wiki = Wiki::new("ES256", "default-provider-invalidation-flow").await;
        let path = format!("providers/oauth2/{}/", wiki.provider);
        wiki.site.api.patch(&path, json!({"access_token_validity": "seconds=5"})).await;
        let [gone, unbound] = [wiki.site.api.person("gone").await, wiki.site.api.person("unbound").await];
        let mut bindings = Vec::new();
        for person in [&gone, &unbound] {
            let body = json!({"target": wiki.uuid, "order": 0, "user": person.pk});
            bindings.push(api::text(&wiki.site.api.post("policies/bindings/", body).await["pk"]));
        }
        let (first, second) = (Browser::open().await, Browser::open().await);
        let seen = wiki.sign_in(&first, &gone, "/").await;
        wiki.sign_in(&second, &unbound, "/").await;

        wiki.site.api.patch(&format!("core/users/{}/", gone.pk), json!({"is_active": false})).await;
        assert_eq!(wiki.userinfo(&seen).await, 401, "CO-037");
        until("the sign-in page", async || {
            first.go(&wiki.address.url("/")).await;
            first.url().await.starts_with(&wiki.site.base()).then_some(())
        })
        .await;
        first.sign_in(&gone.username, &gone.password).await;
        first.find("[role=alert]").await;
        assert!(first.url().await.starts_with(&wiki.site.base()), "{}", first.url().await);

        wiki.site.api.delete(&format!("policies/bindings/{}/", bindings[1])).await;
        until("the refusal", async || {
            second.go(&wiki.address.url("/")).await;
            (!second.text().await.contains("REMOTE_USER")).then_some(())
        })
        .await;
        assert!(second.url().await.starts_with(&wiki.site.base()), "{}", second.url().await);
    });
}
