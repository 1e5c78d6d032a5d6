//! Mappings with expressions, run by the engine that the product has.

use portcullis_core::outpost::Grant;

use super::assertions::issuer::Key;
use super::assertions::{KUBERNETES, Shop};
use super::clients::App;
use super::mappings::mapping;
use super::*;

/// An application whose client has these mappings, all of scope `openid`, by name.
async fn app(expressions: &[(&str, &str)]) -> App {
    let app = App::at(Site::with_expressions().await, json!({})).await;
    let mut mappings = Vec::new();
    for (name, expression) in expressions {
        mappings.push(mapping(&app.site, name, "openid", expression).await);
    }
    app.change(json!({"property_mappings": mappings})).await;
    app
}

/// A proxied application, with Ada who has an app password and attributes, and a mapping of the proxy's scope.
struct Wiki {
    site: Site,
    ada: i64,
    pk: ProviderPk,
    mapping: Value,
}

impl Wiki {
    async fn new(expression: &str) -> Self {
        let site = Site::with_expressions().await;
        let ada = site.user("ada").await;
        app_password(&site, ada, "ada-key", KEY).await;
        let attributes = json!({"attributes": {"team": "blue", "app_username": "u", "app_password": "p",
            "mail_password": "hidden-7"}});
        site.admin(Method::PATCH, &format!("/core/users/{ada}/"), attributes).await;
        let (pk, _, _) = application(&site, "wiki", EXTERNAL).await;
        let mapping = mapping(&site, "zz own", "ak_proxy", expression).await;
        let path = format!("/providers/proxy/{pk}/");
        site.admin(Method::PATCH, &path, json!({"property_mappings": [mapping]})).await;
        Self { site, ada, pk: ProviderPk(i32::try_from(pk).expect("small")), mapping }
    }

    async fn grant(&self) -> Grant {
        let from = [192, 0, 2, 1].into();
        portcullis_idp::outpost::verify_password(&self.site.ctx, self.pk, "ada", KEY, from).await.expect("holds")
    }

    /// What the mapping's claim `said` is, with this expression.
    async fn said(&self, expression: &str) -> Value {
        let path = format!("/propertymappings/provider/scope/{}/", self.mapping.as_str().expect("text"));
        let changed = self.site.admin(Method::PATCH, &path, json!({"expression": expression})).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        self.grant().await.statement.expect("a statement").get("said").cloned().unwrap_or_default()
    }
}

/// OA-422, CO-280, CO-230: an expression finds user, provider, token and request; what it returns is in the tokens and
/// what is told about them.
#[tokio::test]
async fn oa_422_an_expression_ends_up_in_the_token() {
    let app = app(&[(
        "own",
        "return {\n    'team': user.attributes.get('team', 'none') + '/' + request.user.username,\n    \
         'client': provider.client_id, 'slug': provider.application.slug, 'asked': token.scope,\n    \
         'groups': [group.name for group in request.user.groups],\n    \
         'session': token.session is not None, 'obj': request.obj,\n}",
    )])
    .await;
    let group = json!({"name": "staff", "users": [app.ada]});
    assert_eq!(app.site.admin(Method::POST, "/core/groups/", group).await.status, 201);
    let change = json!({"attributes": {"team": "blue"}});
    app.site.admin(Method::PATCH, &format!("/core/users/{}/", app.ada), change).await;
    let reply = app.login(true).await;
    let token = text(&reply, "access_token");
    let told = app.ask("/application/o/introspect/", &[("client_secret", app.secret()), ("token", token)]).await;
    for said in [
        &claims(&reply.json["id_token"]),
        &claims(&reply.json["access_token"]),
        &app.userinfo(token).await.json,
        &told.json,
    ] {
        assert_eq!((&said["team"], &said["client"]), (&json!("blue/ada"), &json!(app.id())), "{said}");
        assert_eq!((&said["slug"], &said["asked"]), (&json!("app"), &json!(["openid"])));
        assert_eq!((&said["groups"], &said["session"]), (&json!(["staff"]), &json!(true)));
        assert!(said.get("obj").is_none());
    }
}

/// CO-238, CO-285: a mapping that is tried out finds the request, and who sends it.
#[tokio::test]
async fn co_285_mappings_that_are_tried_out_find_the_request() {
    let source = "return {'path': http_request.path, 'by': http_request.user.username, 'user': user}";
    let app = app(&[("own", source)]).await;
    let listed = app.site.admin(Method::GET, "/propertymappings/provider/scope/?name=own", None).await.json;
    let path = format!("/propertymappings/all/{}/test/", listed["results"][0]["pk"].as_str().expect("text"));
    let tried = app.site.admin(Method::POST, &path, json!({})).await.json;
    let said = format!("{{\"path\":\"/api/v3{path}\",\"by\":\"akadmin\",\"user\":null}}");
    assert_eq!(tried, json!({"successful": true, "result": said}));
}

/// CO-238, CO-286: in a preview, whoever looks at it sends the request.
#[tokio::test]
async fn co_286_whoever_looks_at_a_preview_sends_the_request() {
    let app = app(&[("own", "return {'by': http_request.user.username, 'of': user.username}")]).await;
    let listed = app.site.admin(Method::GET, &format!("/providers/oauth2/?client_id={}", app.id()), None).await.json;
    let path = format!("/providers/oauth2/{}/preview_user/?for_user={}", listed["results"][0]["pk"], app.ada);
    let preview = app.site.admin(Method::GET, &path, None).await;
    let said = &preview.json["preview"];
    assert_eq!((&said["by"], &said["of"]), (&json!("akadmin"), &json!("ada")), "{}", preview.text);
}

/// CO-281, OA-423: what returns nothing says nothing, and what fails is told of with its line; the login goes on.
#[tokio::test]
async fn co_281_an_expression_that_fails_fails_no_login() {
    let app = app(&[
        ("a", "x = 1\nreturn {'a': x / 0}"),
        ("b", "return None"),
        ("c", "if user.username == 'bob':\n    return {'c': 1}"),
        ("d", "return context['a']"),
        ("e", "return {'e': True}"),
    ])
    .await;
    let reply = app.login(true).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let said = claims(&reply.json["id_token"]);
    assert_eq!(said["e"], true);
    assert!(["a", "c"].iter().all(|claim| said.get(claim).is_none()), "{said}");
    let (count, _) = app.site.events("property_mapping_exception").await;
    assert_eq!((count, app.site.events("configuration_error").await.0), (2, 2));
    let events = app.site.admin(Method::GET, "/events/events/?action=property_mapping_exception", None).await;
    assert!(events.text.contains("line 2") && events.text.contains("ZeroDivisionError"), "{}", events.text);
    let newest = &events.json["results"][0]["context"];
    let (message, whole) = (newest["message"].as_str().expect("text"), newest["exception"].as_str().expect("text"));
    assert!(!message.contains('\n') && whole.ends_with(message) && whole.starts_with("Traceback"), "{newest}");
}

/// CO-282, OA-425: no expression sets a claim of the protocol.
#[tokio::test]
async fn co_282_no_expression_sets_a_claim_of_the_protocol() {
    let app = app(&[("a", "return {'iss': 'evil', 'exp': 9999999999, 'aud': ['evil'], 'team': 'blue'}")]).await;
    let said = claims(&app.login(true).await.json["access_token"]);
    assert!(!said.to_string().contains("evil") && said["exp"] != 9_999_999_999_i64, "{said}");
    assert_eq!((&said["team"], app.site.events("configuration_warning").await.0), (&json!("blue"), 1));
}

/// CO-243: events that an expression asks for are recorded once, by its name, after the token is.
#[tokio::test]
async fn co_243_an_expression_of_a_mapping_makes_events() {
    let app = app(&[("own", "ak_create_event('told', who=user.username)\nreturn {'team': 'blue'}")]).await;
    assert_eq!(claims(&app.login(true).await.json["id_token"])["team"], "blue");
    let (count, event) = app.site.events("custom_told").await;
    assert_eq!((count, &event["who"]), (1, &json!("ada")));
}

/// PX-203, CO-280: headers that an expression works out reach the proxy, beside what the managed mapping says.
#[tokio::test]
async fn co_280_an_expression_gives_the_proxy_headers() {
    let expression = "team = request.user.group_attributes(request)['team']\n\
        return {'ak_proxy': {'user_attributes': {'additionalHeaders': {'X-Team': team, 'X-Api-Key': 'k'}, 'notes': 'n'}}}";
    let wiki = Wiki::new(expression).await;
    let expected = json!({"app_username": "u", "app_password": "p", "notes": "n",
        "additionalHeaders": {"X-Team": "blue", "X-Api-Key": "k"}});
    let grant = wiki.grant().await;
    assert_eq!(json!(grant.claims.ak_proxy.user_attributes), expected);
    assert_eq!(
        wiki.said("return {'said': provider.external_host + ' ' + provider.mode}").await,
        json!("http://wiki.example proxy")
    );
}

/// CO-229, CO-284: an expression sees the secrets that its provider uses, of its user alone; policies that it calls see
/// none, and no claim of the proxy holds another.
#[tokio::test]
async fn co_229_an_expression_sees_the_secrets_that_its_provider_uses() {
    let wiki = Wiki::new("return None").await;
    let bob = wiki.site.user("bob").await;
    let change = json!({"attributes": {"app_password": "of-bob"}});
    wiki.site.admin(Method::PATCH, &format!("/core/users/{bob}/"), change).await;
    let policy = json!({"name": "sees", "expression":
        "return 'app_password' in request.user.attributes or 'app_password' in request.user.group_attributes()"});
    let made = wiki.site.admin(Method::POST, "/policies/expression/", policy).await;
    assert_eq!(made.status, 201, "{}", made.text);
    for (expression, expected) in [
        ("user.attributes['app_password']", json!("p")),
        ("user.group_attributes()['app_password']", json!("p")),
        ("'mail_password' in user.attributes or 'mail_password' in user.group_attributes()", json!(false)),
        ("'app_password' in ak_user_by(username='bob').attributes", json!(false)),
        ("'app_password' in ak_user_by(username='bob').group_attributes()", json!(false)),
        ("ak_call_policy('sees').passing", json!(false)),
    ] {
        assert_eq!(wiki.said(&format!("return {{'said': {expression}}}")).await, expected, "{expression}");
    }
    let path = format!("/providers/proxy/{}/", wiki.pk);
    wiki.site.admin(Method::PATCH, &path, json!({"basic_auth_enabled": false})).await;
    assert_eq!(wiki.said("return {'said': 'app_username' in user.attributes}").await, json!(true));
    let given = "return {'ak_proxy': {'user_attributes': {'app_password': 'p', 'nested': {'a_token': 't', 'b': 1}}}}";
    wiki.said(given).await;
    let attributes = json!(wiki.grant().await.claims.ak_proxy.user_attributes);
    assert_eq!(attributes, json!({"nested": {"b": 1}}));
}

/// CO-283: what comes with the installation needs no engine, and says the same as its text says when one runs it.
#[tokio::test]
async fn co_283_managed_mappings_say_what_their_text_says() {
    let app = App::at(Site::with_expressions().await, json!({})).await;
    let site = &app.site;
    for group in ["b", "a"] {
        site.admin(Method::POST, "/core/groups/", json!({"name": group, "users": [app.ada]})).await;
    }
    let application = site.admin(Method::GET, "/core/applications/app/", None).await.json["pk"].clone();
    let entitlement =
        site.admin(Method::POST, "/core/application_entitlements/", json!({"name": "edit", "app": application})).await;
    let bound = json!({"target": entitlement.json["pbm_uuid"], "user": app.ada, "order": 0});
    let bound = site.admin(Method::POST, "/policies/bindings/", bound).await;
    assert_eq!(bound.status, 201, "{}", bound.text);
    let scopes = "openid profile email entitlements ak_proxy";
    let all = async || {
        let reply = app
            .ask(
                "/application/o/token/",
                &[("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY), ("scope", scopes)],
            )
            .await;
        let mut said = claims(&reply.json["access_token"]);
        for other_each_time in ["jti", "uid"] {
            said.as_object_mut().expect("an object").remove(other_each_time);
        }
        said
    };
    let found = site.admin(Method::GET, "/propertymappings/provider/scope/?managed__isnull=false", None).await;
    let managed: Vec<&Value> = found.json["results"].as_array().expect("a list").iter().collect();
    let keys: Vec<&Value> = managed.iter().map(|mapping| &mapping["pk"]).collect();
    app.change(json!({"property_mappings": keys})).await;
    let native = all().await;
    assert_eq!((&native["entitlements"], &native["groups"]), (&json!(["edit"]), &json!(["a", "b"])), "{native}");
    for mapping in managed {
        let expression = format!("# by the engine\n{}", mapping["expression"].as_str().expect("text"));
        let path = format!("/propertymappings/provider/scope/{}/", mapping["pk"].as_str().expect("text"));
        let changed = site.admin(Method::PATCH, &path, json!({"expression": expression})).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
    }
    assert_eq!(all().await, native);
}

/// OA-333: a source's mappings find what it vouches for.
#[tokio::test]
async fn oa_333_an_expression_describes_machines_of_a_source() {
    let key = Key::new("k1");
    let site = Site::with_expressions().await;
    let first = mapping(&site, "1", "none", "return {'name': source.slug, 'email': None}").await;
    let second = "return {'username': info['sub'].split(':')[-1], 'attributes': {'of': properties['name'],\n    \
        'same': oauth_userinfo == info}}";
    let second = mapping(&site, "2", "none", second).await;
    let keys = json!({"keys": [key.jwk()]});
    let more = json!({"oidc_jwks": keys, "expected_issuers": [KUBERNETES], "user_property_mappings": [first, second]});
    let shop = Shop::at(site, more).await;
    let reply = shop.assert(&key.sign(&shop.pod())).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let user = shop.users().await.pop().expect("an account");
    assert_eq!((&user["username"], &user["name"]), (&json!("backup"), &json!("cluster")));
    assert_eq!((&user["attributes"]["of"], &user["attributes"]["same"]), (&json!("cluster"), &json!(true)));
}

/// OA-334: what a mapping says of a later token is merged into what there is: it says its own anew, lists as a whole, and
/// what an administrator has put beside it stays.
#[tokio::test]
async fn oa_334_attributes_are_merged_into_what_there_is() {
    let key = Key::new("k1");
    let site = Site::with_expressions().await;
    let expression =
        "return {'attributes': {'pod': {'names': [info['kubernetes.io']['pod']['name']], 'seen': info['iat']}}}";
    let mapping = mapping(&site, "pods", "none", expression).await;
    let keys = json!({"keys": [key.jwk()]});
    let more = json!({"oidc_jwks": keys, "expected_issuers": [KUBERNETES], "user_property_mappings": [mapping]});
    let shop = Shop::at(site, more).await;
    let attributes = async || shop.users().await.pop().expect("an account")["attributes"]["pod"].clone();
    assert_eq!(shop.assert(&key.sign(&shop.pod())).await.status, 200);
    let first = shop.pod()["iat"].clone();
    assert_eq!(attributes().await, json!({"names": ["backup-0"], "seen": first}));
    let user = shop.users().await.pop().expect("an account");
    let mut written = user["attributes"].clone();
    written["pod"]["team"] = json!("blue");
    let path = format!("/core/users/{}/", user["pk"]);
    shop.site.admin(Method::PATCH, &path, json!({"attributes": written})).await;
    shop.site.clock.advance_seconds(600);
    assert_eq!(shop.assert(&key.sign(&shop.pod())).await.status, 200);
    let second = shop.pod()["iat"].clone();
    assert_ne!(first, second);
    assert_eq!(attributes().await, json!({"names": ["backup-0"], "seen": second, "team": "blue"}));
}

/// OA-401, OA-405, PX-418, CO-132: a policy about an assertion is asked about it again wherever what was issued for it is
/// shown.
#[tokio::test]
async fn oa_405_policies_know_the_assertion_wherever_they_are_asked() {
    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));
    let key = Key::new("k1");
    let more = json!({"oidc_jwks": {"keys": [key.jwk()]}, "expected_issuers": [KUBERNETES]});
    let shop = Shop::at(Site::with_expressions().await, more).await;
    let (site, ctx) = (&shop.site, &shop.site.ctx);
    let namespace = async |name: &str| {
        let expression = format!("return request.context['oauth_jwt']['kubernetes.io']['namespace'] == '{name}'");
        let body = json!({"name": name, "expression": expression});
        let made = site.admin(Method::POST, "/policies/expression/", body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.json["pk"].clone()
    };
    let policy = namespace("shop").await;
    let app = site.admin(Method::GET, "/core/applications/shop/", None).await.json["pk"].clone();
    let body = json!({"target": app, "order": 0, "policy": policy});
    let binding = site.admin(Method::POST, "/policies/bindings/", body).await;
    assert_eq!(binding.status, 201, "{}", binding.text);
    let reply = shop.assert(&key.sign(&shop.pod())).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let token = text(&reply, "access_token");
    let bearer = format!("Bearer {token}");
    let asks = async || get(site, "/application/o/userinfo/", &[("authorization", &bearer)]).await.status;
    assert_eq!(asks().await, 200);
    let provider = shop.provider_pk();
    let grant = portcullis_idp::outpost::introspect(ctx, provider, token, FROM).await.expect("holds");
    assert!(portcullis_idp::outpost::still_stands(ctx, provider, &grant.bearings).await.expect("answers"));
    let path = format!("/policies/bindings/{}/", binding.json["pk"].as_str().expect("a key"));
    let changed = site.admin(Method::PATCH, &path, json!({"policy": namespace("games").await})).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(asks().await, 401);
    assert!(!portcullis_idp::outpost::still_stands(ctx, provider, &grant.bearings).await.expect("answers"));
    assert!(portcullis_idp::outpost::introspect(ctx, provider, token, FROM).await.is_err());
}

/// CO-223, CO-239, CO-565: what cannot run is refused when it is saved, in the engine's words.
#[tokio::test]
async fn co_239_what_cannot_run_is_refused_when_it_is_saved() {
    let site = Site::with_expressions().await;
    for (expression, words) in [
        ("return (", "Expression Syntax Error: line 1"),
        ("x = 1\nreturn requests.get('http://example.org')", "requests is not available in Portcullis expressions"),
    ] {
        let body = json!({"name": "a", "scope_name": "a", "expression": expression});
        let refused = site.admin(Method::POST, "/propertymappings/provider/scope/", body).await;
        let message = refused.json["expression"][0].as_str().expect("a message");
        assert!(refused.status == 400 && message.starts_with(words), "{}", refused.text);
    }
}

/// CO-285: an expression is tried out with a user and a context; secrets are masked, and nothing is recorded.
#[tokio::test]
async fn co_285_an_expression_is_tried_out() {
    let wiki = Wiki::new("return None").await;
    let path = format!("/propertymappings/all/{}/test/", wiki.mapping.as_str().expect("text"));
    let tried = async |expression: &str, body: Value| {
        wiki.said(expression).await;
        let before = wiki.site.events("custom_x").await.0;
        let reply = wiki.site.admin(Method::POST, &path, body).await;
        assert_eq!((reply.status.as_u16(), wiki.site.events("custom_x").await.0), (200, before), "{}", reply.text);
        (reply.json["successful"] == json!(true), text(&reply, "result").to_owned())
    };
    let of_ada = json!({"user": wiki.ada, "context": {"n": 3}});
    let expression =
        "return {'who': user.username if user else None, 'n': request.context.get('n'), 'debug': request.debug}";
    let said = r#"{"who":"ada","n":3,"debug":true}"#.to_owned();
    assert_eq!(tried(expression, of_ada.clone()).await, (true, said));
    assert_eq!(tried(expression, json!({})).await, (true, r#"{"who":null,"n":null,"debug":true}"#.to_owned()));
    let secrets =
        "ak_create_event('x')\nreturn {'app_password': user.attributes.get('app_password', 'none'), 'a_token': 'x'}";
    let masked = r#"{"app_password":"********","a_token":"********"}"#.to_owned();
    assert_eq!(tried(secrets, of_ada.clone()).await, (true, masked));
    let source = json!({"context": {"info": {"sub": "pod"}}});
    assert_eq!(tried("return {'sub': info['sub']}", source).await, (true, r#"{"sub":"pod"}"#.to_owned()));
    let (successful, error) = tried("return provider.name", of_ada).await;
    assert!(!successful && error.contains("NameError") && error.contains("line 1"), "{error}");
}

/// OA-407, CO-181: a policy knows the request that a machine sent, without its credentials, and one that fails counts as its
/// binding says and is told of.
#[tokio::test]
async fn oa_407_policies_know_the_request_of_a_machine() {
    let app = App::at(Site::with_expressions().await, json!({})).await;
    let seen = "return ak_client_ip == ip_address('192.0.2.1') and http_request.META.get('HTTP_X_TEAM') == 'blue' \
        and http_request.META.get('HTTP_AUTHORIZATION') is None";
    let body = json!({"name": "seen", "expression": seen});
    let policy = app.site.admin(Method::POST, "/policies/expression/", body).await;
    assert_eq!(policy.status, 201, "{}", policy.text);
    let target = app.site.admin(Method::GET, "/core/applications/app/", None).await.json["pk"].clone();
    let binding = json!({"target": target, "order": 0, "policy": policy.json["pk"]});
    let binding = app.site.admin(Method::POST, "/policies/bindings/", binding).await;
    assert_eq!(binding.status, 201, "{}", binding.text);
    let ask = async |team: &str| {
        let all =
            [("client_id", app.id()), ("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY)];
        let headers = [("x-team", team), ("authorization", "Other x")];
        post(&app.site, "/application/o/token/", &all, &headers).await.status.as_u16()
    };
    assert_eq!((ask("blue").await, ask("red").await), (200, 400));
    assert_eq!(app.site.events("policy_exception").await.0, 0);
    let path = format!("/policies/expression/{}/", policy.json["pk"].as_str().expect("text"));
    app.site.admin(Method::PATCH, &path, json!({"expression": "return 1 / 0"})).await;
    assert_eq!(ask("blue").await, 400);
    let path = format!("/policies/bindings/{}/", binding.json["pk"].as_str().expect("text"));
    app.site.admin(Method::PATCH, &path, json!({"failure_result": true})).await;
    assert_eq!(ask("blue").await, 200);
    assert_eq!(app.site.events("policy_exception").await.0, 2);
}

/// OA-312, OA-313: before a client has an account, policies are asked about the name that it will have, not about that of
/// somebody else.
#[tokio::test]
async fn oa_312_policies_are_asked_about_nobody_else() {
    let app = App::at(Site::with_expressions().await, json!({})).await;
    let name = "ak-app-client_credentials";
    app.site.user(name).await;
    let expression = format!("return request.user.username == '{name}'");
    let body = json!({"name": "somebody else", "expression": expression});
    let policy = app.site.admin(Method::POST, "/policies/expression/", body).await;
    assert_eq!(policy.status, 201, "{}", policy.text);
    let target = app.site.admin(Method::GET, "/core/applications/app/", None).await.json["pk"].clone();
    let body = json!({"target": target, "order": 0, "policy": policy.json["pk"]});
    assert_eq!(app.site.admin(Method::POST, "/policies/bindings/", body).await.status, 201);
    let all = [("grant_type", "client_credentials"), ("client_secret", app.secret())];
    assert_eq!(text(&app.ask("/application/o/token/", &all).await, "error"), "invalid_grant");
}
