//! What was made of a token ends with it, also where the embedded outpost has let somebody in by it.

use portcullis_idp::outpost;

use super::*;

/// The shop, with an application behind a proxy that accepts the tokens of both clients.
struct Door {
    shop: Shop,
    pk: ProviderPk,
    client_id: String,
}

impl Door {
    async fn new() -> Self {
        let shop = Shop::new(json!({})).await;
        let (pk, client_id, _) = application(&shop.site, "wiki", EXTERNAL).await;
        let body = json!({"jwt_federation_providers": [shop.back["pk"], shop.front["pk"]]});
        let changed = shop.site.admin(Method::PATCH, &format!("/providers/proxy/{pk}/"), body).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        Self { shop, pk: ProviderPk(i32::try_from(pk).expect("small")), client_id }
    }

    /// The token that the door takes for one of the shop's.
    async fn traded(&self, token: &str) -> String {
        let all = [
            ("client_id", self.client_id.as_str()),
            ("grant_type", "client_credentials"),
            ("client_assertion_type", crate::oauth::tests::assertions::JWT_BEARER),
            ("client_assertion", token),
            ("scope", "openid profile ak_proxy"),
        ];
        let traded = post(&self.shop.site, "/application/o/token/", &all, &[]).await;
        assert_eq!(traded.status, 200, "{}", traded.text);
        text(&traded, "access_token").to_owned()
    }

    /// Somebody is let in by what was made of a token; once `end` is done, they are not.
    async fn closes(&self, token: &str, why: &str, end: impl AsyncFnOnce()) {
        let (ctx, token, from) = (&self.shop.site.ctx, self.traded(token).await, [192, 0, 2, 1].into());
        let grant = outpost::introspect(ctx, self.pk, &token, from).await.expect("holds");
        let mark = grant.bearings.mark(&ctx.epochs, grant.built_at, self.pk, &[0; 32]);
        assert!(ctx.epochs.stands(&mark), "{why}");
        end().await;
        assert!(!ctx.epochs.stands(&mark), "{why}: looked at again at the next request");
        assert!(outpost::introspect(ctx, self.pk, &token, from).await.is_err(), "{why}");
    }

    /// Ada's token, exchanged by somebody who acts for her.
    async fn acted(&self, ada: &str, actor: &str) -> String {
        let reply = self.shop.exchange(&acting(ada, actor)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        text(&reply, "access_token").to_owned()
    }

    async fn revoke(&self, token: &str) {
        let front = &self.shop.front;
        let own = [("client_id", text_of(front, "client_id")), ("client_secret", text_of(front, "client_secret"))];
        let done = post(&self.shop.site, "/application/o/revoke/", &[own[0], own[1], ("token", token)], &[]).await;
        assert_eq!(done.status, 200, "{}", done.text);
    }

    async fn admin(&self, method: Method, path: &str, body: impl Into<Option<Value>>) {
        let done = self.shop.site.admin(method, path, body).await;
        assert!(done.status.is_success(), "{path}: {}", done.text);
    }
}

/// OA-245, OA-343, OA-514, PX-198: a token that was made of others, be it in several steps, ends when one of them is revoked,
/// when its actor is gone or what they proved themselves with is, and when the provider that issued one of them is believed no
/// more; whoever was let in by it is refused at the next request.
#[tokio::test]
async fn oa_514_what_was_made_of_a_token_ends_with_it() {
    let door = Door::new().await;
    let site = &door.shop.site;
    let tokens = async || {
        let (ada, service) = (door.shop.of_ada().await, door.shop.of_service().await);
        (text(&ada, "access_token").to_owned(), text(&service, "access_token").to_owned())
    };
    let (ada, service) = tokens().await;
    let made = door.acted(&ada, &service).await;
    door.closes(&made, "the subject's token is revoked", async || door.revoke(&ada).await).await;
    let (ada, service) = tokens().await;
    let made = door.acted(&ada, &service).await;
    door.closes(&made, "the actor's token is revoked", async || door.revoke(&service).await).await;

    let bob = site.user("bob").await;
    app_password(site, bob, "bob-key", "app-password-of-bob-0000000000000000001").await;
    let own = ("client_id", text_of(&door.shop.front, "client_id"));
    let all = [
        own,
        ("grant_type", "client_credentials"),
        ("username", "bob"),
        ("password", "app-password-of-bob-0000000000000000001"),
        ("scope", "openid"),
    ];
    let of_bob = post(site, "/application/o/token/", &all, &[]).await;
    let (ada, _) = tokens().await;
    let made = door.acted(&ada, text(&of_bob, "access_token")).await;
    let delete = async || door.admin(Method::DELETE, "/core/tokens/bob-key/", None).await;
    door.closes(&made, "the actor's app password is deleted", delete).await;

    for change in [Some(json!({"is_active": false})), None] {
        let (ada, service) = tokens().await;
        let made = door.acted(&ada, &service).await;
        let found = site.admin(Method::GET, "/core/users/?username=ak-front-client_credentials", None).await;
        let path = format!("/core/users/{}/", found.json["results"][0]["pk"]);
        let method = if change.is_some() { Method::PATCH } else { Method::DELETE };
        let why = format!("the actor's account: {method}");
        door.closes(&made, &why, async || door.admin(method, &path, change.clone()).await).await;
        if change.is_some() {
            door.admin(Method::PATCH, &path, json!({"is_active": true})).await;
        }
    }

    let (ada, service) = tokens().await;
    let made = door.acted(&ada, &service).await;
    let distrust = async || door.shop.change(json!({"jwt_federation_providers": []})).await;
    door.closes(&made, "the first issuer is believed no more", distrust).await;
    door.shop.change(json!({"jwt_federation_providers": [door.shop.front["pk"]]})).await;
    let (ada, service) = tokens().await;
    let made = door.acted(&ada, &service).await;
    let path = format!("/providers/oauth2/{}/", door.shop.front["pk"]);
    let delete = async || door.admin(Method::DELETE, &path, None).await;
    door.closes(&made, "the first issuer is deleted", delete).await;
}

/// OA-827, PX-198: whoever was let in by a token that rests on a source is refused at the next request once the source is
/// disabled, deleted, or believed no more where its assertion was.
#[tokio::test]
async fn oa_827_nobody_is_let_in_by_a_source_that_is_gone() {
    for end in ["disable", "delete", "distrust"] {
        let door = Door::new().await;
        let key = Key::new("k1");
        let set = json!({"oidc_jwks": {"keys": [key.jwk()]}, "expected_issuers": [KUBERNETES]});
        let trusted = source(&door.shop.site, "cluster", set).await.json;
        let front = format!("/providers/oauth2/{}/", door.shop.front["pk"]);
        door.admin(Method::PATCH, &front, json!({"jwt_federation_sources": [trusted["pk"]]})).await;
        let (now, id) = (door.shop.site.ctx.now().seconds(), text_of(&door.shop.front, "client_id"));
        let said = json!({"iss": KUBERNETES, "sub": "job", "aud": id, "exp": now + 600, "iat": now});
        let assertion = key.sign(&said);
        let all = [
            ("client_id", id),
            ("grant_type", "client_credentials"),
            ("client_assertion_type", crate::oauth::tests::assertions::JWT_BEARER),
            ("client_assertion", assertion.as_str()),
            ("scope", "openid"),
        ];
        let given = post(&door.shop.site, "/application/o/token/", &all, &[]).await;
        assert_eq!(given.status, 200, "{}", given.text);
        let done = async || match end {
            "disable" => door.admin(Method::PATCH, "/sources/oauth/cluster/", json!({"enabled": false})).await,
            "delete" => door.admin(Method::DELETE, "/sources/all/cluster/", None).await,
            _ => door.admin(Method::PATCH, &front, json!({"jwt_federation_sources": []})).await,
        };
        door.closes(text(&given, "access_token"), end, done).await;
    }
}
