//! Policies of applications, at the endpoints and before the embedded outpost.

use portcullis_idp::flow::{self, Next, Visit};
use portcullis_idp::outpost::{self, OutpostError};
use portcullis_idp::{Visitor, flows};

use super::login::{FROM, authorize, callback, exchange, member, signed_in};
use super::*;

/// Binds a policy of a kind to the application: its path.
async fn bind(wiki: &Wiki, kind: &str, mut body: Value, negate: bool) -> String {
    body["name"] = json!(kind);
    let made = wiki.site.admin(Method::POST, &format!("/policies/{kind}/"), body).await;
    assert_eq!(made.status, 201, "{:?}", made.json);
    let app = wiki.site.admin(Method::GET, "/core/applications/wiki/", None).await.json["pk"].clone();
    let body = json!({"target": app, "order": 0, "policy": made.json["pk"], "negate": negate});
    let binding = wiki.site.admin(Method::POST, "/policies/bindings/", body).await;
    assert_eq!(binding.status, 201, "{:?}", binding.json);
    format!("/policies/{kind}/{}/", made.json["pk"].as_str().expect("a key"))
}

async fn dummy(wiki: &Wiki, result: bool) -> String {
    bind(wiki, "dummy", json!({"result": result, "wait_min": 0, "wait_max": 0, "execution_logging": true}), false).await
}

/// Scores by name and address.
async fn scores(wiki: &Wiki) -> Value {
    let list = wiki.site.admin(Method::GET, "/policies/reputation/scores/?ordering=identifier", None).await.json;
    let rows = list["results"].as_array().expect("a list").iter();
    rows.map(|row| json!([row["identifier"], row["ip"], row["score"]])).collect()
}

/// CO-132, CO-177, OA-463: policies decide at every grant and every look at a token, each time anew.
#[tokio::test]
async fn co_132_policies_decide_at_the_endpoints() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    let policy = dummy(&wiki, true).await;
    let token = wiki.token_of_ada("openid").await;
    assert_eq!(token.status, 200, "{}", token.text);
    let token = text(&token, "access_token");
    let grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
    assert!(wiki.is_active(token).await);
    wiki.site.admin(Method::PATCH, &policy, json!({"result": false})).await;
    assert_eq!(wiki.token_of_ada("openid").await.json["error"], "invalid_grant");
    assert!(!wiki.is_active(token).await);
    assert!(outpost::introspect(ctx, wiki.pk(), token, FROM).await.is_err());
    assert!(!outpost::still_stands(ctx, wiki.pk(), &grant.bearings).await.expect("answers"));
    let refused = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await;
    assert!(matches!(refused, Err(OutpostError::Refused)));
}

/// CO-177, CO-178, OA-403, OA-404: within one request a policy is asked once, also where something is issued in a transaction.
#[tokio::test]
async fn co_177_a_policy_is_asked_once_for_a_grant() {
    let (wiki, mut browser) = signed_in().await;
    dummy(&wiki, true).await;
    let executions = async || wiki.site.events("policy_execution").await;
    assert_eq!(wiki.token_of_ada("openid").await.status, 200);
    let (count, context) = executions().await;
    assert_eq!(count, 1);
    let asked = json!({"oauth_scopes": ["openid"], "oauth_grant_type": "client_credentials"});
    assert_eq!(context["request"]["context"], asked);
    let reply = browser.get(&wiki.site, &authorize(&wiki, &[])).await;
    let (count, context) = executions().await;
    assert_eq!((count, &context["request"]["context"]["oauth_response_type"]), (2, &json!("code")));
    let code = member(&reply, "code").expect("a code");
    let redirect_uri = callback();
    let exchange = exchange(&wiki, &code, &redirect_uri, "n-1");
    outpost::exchange_code(&wiki.site.ctx, exchange).await.expect("holds");
    assert_eq!(executions().await.0, 3);
    assert!(outpost::exchange_code(&wiki.site.ctx, exchange).await.is_err());
    assert_eq!(executions().await.0, 3, "nobody is asked about a code that is spent");
}

/// CO-132: a code is worth nothing when the policy denies at its exchange, and is spent.
#[tokio::test]
async fn co_132_policies_decide_when_a_code_is_exchanged() {
    let (wiki, mut browser) = signed_in().await;
    let policy = dummy(&wiki, true).await;
    let reply = browser.get(&wiki.site, &authorize(&wiki, &[])).await;
    let code = member(&reply, "code").expect("a code");
    wiki.site.admin(Method::PATCH, &policy, json!({"result": false})).await;
    for result in [false, true] {
        wiki.site.admin(Method::PATCH, &policy, json!({"result": result})).await;
        let all = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", &callback()),
            ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            ("client_secret", &wiki.client_secret),
        ];
        assert_eq!(wiki.token(&all).await.json["error"], "invalid_grant");
    }
    let again = browser.get(&wiki.site, &authorize(&wiki, &[])).await;
    assert!(member(&again, "code").is_some(), "the policy lets pass again");
}

/// CO-440: failures of machines are scored by the user's name, or the client's; a denial by policy is no failure to
/// prove anything, and success of a machine is no sign-in.
#[tokio::test]
async fn co_440_machines_are_scored() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    assert_eq!(wiki.token_of_ada("openid").await.status, 200);
    assert_eq!(scores(&wiki).await, json!([]));
    let guess = [("grant_type", "client_credentials"), ("username", "ada"), ("password", "guess")];
    assert_eq!(wiki.token(&guess).await.json["error"], "invalid_grant");
    outpost::verify_password(ctx, wiki.pk(), "ada", "guess", FROM).await.err();
    wiki.token(&[("grant_type", "client_credentials"), ("client_secret", "guess")]).await;
    let all = [("client_id", "nobody"), ("client_secret", "x"), ("token", "x")];
    post(&wiki.site, "/application/o/introspect/", &all, &[]).await;
    let mut expected = vec![
        json!(["ada", "192.0.2.1", -1]),
        json!(["ada", "203.0.113.9", -1]),
        json!([wiki.client_id, "192.0.2.1", -1]),
        json!(["nobody", "192.0.2.1", -1]),
    ];
    expected.sort_by_key(|row| (row[0].to_string(), row[1].to_string()));
    let mut found = scores(&wiki).await.as_array().expect("a list").clone();
    found.sort_by_key(|row| (row[0].to_string(), row[1].to_string()));
    assert_eq!(found, expected);
    dummy(&wiki, false).await;
    assert_eq!(wiki.token_of_ada("openid").await.json["error"], "invalid_grant");
    assert_eq!(scores(&wiki).await.as_array().expect("a list").len(), expected.len());
    assert!(scores(&wiki).await.as_array().expect("a list").iter().all(|row| row[2] == -1));
}

/// CO-194, CO-440: who fails too often loses access where a policy looks at reputation, from that address at least.
#[tokio::test]
async fn co_194_reputation_decides_about_access() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    let rules = json!({"check_ip": true, "check_username": false, "threshold": -2});
    bind(&wiki, "reputation", rules, true).await;
    let grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
    let stands = async || outpost::still_stands(ctx, wiki.pk(), &grant.bearings).await.expect("answers");
    assert!(stands().await, "the address of the sign-in is asked about");
    for _ in 0..2 {
        outpost::verify_password(ctx, wiki.pk(), "ada", "guess", FROM).await.err();
    }
    let refused = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await;
    assert!(matches!(refused, Err(OutpostError::Refused)));
    assert!(!stands().await);
    outpost::verify_password(ctx, wiki.pk(), "ada", KEY, [203, 0, 113, 10].into()).await.expect("holds elsewhere");
}

/// CO-440: people are scored under their user name, whatever they sign in with; strangers under what they typed.
#[tokio::test]
async fn co_440_people_are_scored() {
    let wiki = Wiki::new().await;
    let user = format!("/core/users/{}/", wiki.ada);
    wiki.site.admin(Method::PATCH, &user, json!({"email": "ada@example.com"})).await;
    wiki.site.admin(Method::POST, &format!("{user}set_password/"), json!({"password": "long enough"})).await;
    let sign_in = async |identifier: &str, password: &str| {
        let visit = Visit {
            slug: flows::AUTHENTICATION,
            query: "",
            visitor: Visitor::at(FROM),
            user_agent: "test",
            sessions: Vec::new(),
            runs: Vec::new(),
            second_factor: None,
            device: None,
            passkey: None,
            form: None,
        };
        let turn = flow::sign_in(&wiki.site.ctx, &visit, identifier, password).await.expect("answers");
        matches!(turn.next, Next::To(_))
    };
    assert!(!sign_in("ada@example.com", "wrong").await);
    assert!(!sign_in("ADA", "wrong").await);
    assert!(!sign_in("nobody", "wrong").await);
    let scored = |ada: i64| json!([["ada", "203.0.113.9", ada], ["nobody", "203.0.113.9", -1]]);
    assert_eq!(scores(&wiki).await, scored(-2));
    assert!(sign_in("ada@example.com", "long enough").await);
    assert_eq!(scores(&wiki).await, scored(-1));
}
