//! What policies of a flow know of it, and what a session knows of how it began.

use portcullis_core::id::UserPk;
use portcullis_store::login_session;

use super::*;

/// Binds an expression to a flow.
async fn bind(site: &Site, slug: &str, expression: &str) {
    let flow = site.admin(Method::GET, &format!("/flows/instances/{slug}/"), None).await.json["pk"].clone();
    let policy = json!({"name": format!("of {slug}"), "expression": expression});
    let policy = site.admin(Method::POST, "/policies/expression/", policy).await;
    assert_eq!(policy.status, 201, "{}", policy.text);
    let binding = json!({"target": flow, "policy": policy.json["pk"], "order": 0});
    assert_eq!(site.admin(Method::POST, "/policies/bindings/", binding).await.status, 201);
}

/// An application with a provider: the client's id.
async fn wiki(site: &Site) -> String {
    let flow =
        async |slug: &str| site.admin(Method::GET, &format!("/flows/instances/{slug}/"), None).await.json["pk"].clone();
    let provider = json!({
        "name": "wiki",
        "authorization_flow": flow("default-provider-authorization-implicit-consent").await,
        "invalidation_flow": flow("default-provider-invalidation-flow").await,
        "redirect_uris": [{"matching_mode": "strict", "url": "https://wiki.example/callback"}],
    });
    let made = site.admin(Method::POST, "/providers/oauth2/", provider).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let application = json!({"name": "Wiki", "slug": "wiki", "provider": made.json["pk"]});
    assert_eq!(site.admin(Method::POST, "/core/applications/", application).await.status, 201);
    made.json["client_id"].as_str().expect("an id").to_owned()
}

/// A query that has the browser go to the wiki afterwards.
fn to_wiki(client_id: &str) -> String {
    let target = format!("/application/o/authorize/?client_id={client_id}");
    let next: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
    format!("next={next}")
}

/// CO-305: a policy of a flow finds in its context, and in that of the plan, what is known when the flow begins: where the
/// browser goes and to which application, whom the flow is about; and no key of what is not known.
#[tokio::test]
async fn co_305_policies_see_what_a_flow_has_gathered() {
    let site = Site::with_expressions().await;
    let ada = site.user("ada").await;
    set_password(&site, ada, PASSWORD).await;
    let client_id = wiki(&site).await;
    let expression = "plan = context['flow_plan'].context\n\
        known = sorted(key for key in plan if key in context)\n\
        if known != sorted(plan):\n    return False\n\
        if known == []:\n    return True\n\
        return known == ['application', 'redirect'] and context['application'].slug == 'wiki' \
            and plan['redirect'].startswith('/application/o/authorize/') and not ak_is_sso_flow";
    bind(&site, SIGN_IN, expression).await;
    for query in ["", to_wiki(&client_id).as_str(), "next=https%3A%2F%2Fevil.example%2F"] {
        let asked = Client::new().show(&site, SIGN_IN, query).await;
        assert_eq!(asked["component"], "ak-stage-identification", "{query}: {asked}");
    }
    let unknown = Client::new().show(&site, SIGN_IN, &to_wiki("nobody")).await;
    assert_eq!(unknown["component"], "ak-stage-access-denied", "there is no such application");

    let own = "return context['pending_user'] == request.user and context['pending_user'].username == 'ada' \
        and context['pending_user_identifier'] == 'ada' and 'is_restored' not in context";
    bind(&site, flows::PASSWORD_CHANGE, own).await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(client.show(&site, flows::PASSWORD_CHANGE, "").await["component"], "ak-stage-prompt");

    let restored = "if 'is_restored' not in context:\n    return 'pending_user' not in context\n\
        return context['is_restored'] and request.user.is_anonymous and context['pending_user'].username == 'ada'";
    bind(&site, flows::RECOVERY, restored).await;
    let brand = site.admin(Method::GET, "/core/brands/", None).await.json["results"][0].clone();
    let flow =
        site.admin(Method::GET, &format!("/flows/instances/{}/", flows::RECOVERY), None).await.json["pk"].clone();
    let path = format!("/core/brands/{}/", brand["brand_uuid"].as_str().expect("a key"));
    assert_eq!(site.admin(Method::PATCH, &path, json!({"flow_recovery": flow})).await.status, 200);
    let link = site.admin(Method::POST, &format!("/core/users/{ada}/recovery/"), None).await;
    let link = link.json["link"].as_str().expect("a link").to_owned();
    let query = link.split_once('?').expect("a query").1.to_owned();
    for query in ["", query.as_str()] {
        let asked = Client::new().show(&site, flows::RECOVERY, query).await;
        assert_ne!(asked["component"], "ak-stage-access-denied", "{asked}");
    }
}

/// CO-246, CO-309: a policy that passes sends the browser elsewhere on this site; never to another one, and never when it
/// does not pass.
#[tokio::test]
async fn co_246_a_policy_may_say_where_to_go() {
    let site = Site::with_expressions().await;
    let ada = site.user("ada").await;
    set_password(&site, ada, PASSWORD).await;
    let expression = "plan = context['flow_plan'].context\n\
        wanted = plan.get('redirect', '')\n\
        plan['redirect'] = {'/a': '/b', '/c': 'https://evil.example/', '/d': '//evil.example/', '/e': 7}.get(wanted, '/z')\n\
        return True";
    bind(&site, SIGN_IN, expression).await;
    for (next, to) in [("/a", "/b"), ("/c", "/c"), ("/d", "/d"), ("/e", "/e"), ("/other", "/z")] {
        let mut client = Client::new();
        let query = format!("next={}", next.replace('/', "%2F"));
        client.answer(&site, SIGN_IN, &query, json!({"uid_field": "ada"})).await;
        let done = client.answer(&site, SIGN_IN, &query, json!({"password": PASSWORD})).await;
        assert_eq!((&done["component"], &done["to"]), (&json!("xak-flow-redirect"), &json!(to)), "{next}");
    }
}

/// CO-246: a policy that passes says whom a sign-in is about, who then is asked for the password only, or offers a name;
/// what it writes about anything else changes nothing. Who cannot sign in is asked like everybody (CO-311).
#[tokio::test]
async fn co_246_a_policy_may_say_whom_a_sign_in_is_about() {
    let site = Site::with_expressions().await;
    let ada = site.user("ada").await;
    set_password(&site, ada, PASSWORD).await;
    site.admin(Method::PATCH, &format!("/core/users/{}/", site.user("bob").await), json!({"is_active": false})).await;
    let expression = "plan = context['flow_plan'].context\n\
        name = plan.get('redirect', '/')[1:]\n\
        if name in ('ada', 'bob', 'akadmin'):\n    plan['pending_user'] = ak_user_by(username=name)\n\
        elif name:\n    plan['pending_user_identifier'] = name\n\
        plan['auth_method'] = 'password'\n\
        plan['other'] = 1\n\
        return name != 'akadmin'";
    bind(&site, SIGN_IN, expression).await;
    let asked = async |next: &str| Client::new().show(&site, SIGN_IN, next).await;
    let ada = asked("next=%2Fada").await;
    assert_eq!((&ada["component"], &ada["pending_user"]), (&json!("ak-stage-password"), &json!("ada")));
    let bob = asked("next=%2Fbob").await;
    assert_eq!((&bob["component"], &bob["pending_user"]), (&json!("ak-stage-password"), &json!("bob")), "CO-311");
    let eve = asked("next=%2Feve").await;
    assert_eq!(
        (&eve["component"], &eve["pending_user_identifier"]),
        (&json!("ak-stage-identification"), &json!("eve"))
    );
    assert_eq!(asked("next=%2Fakadmin").await["component"], "ak-stage-access-denied");

    let mut client = Client::new();
    let wrong = client.answer(&site, SIGN_IN, "next=%2Fada", json!({"password": "wrong"})).await;
    assert_eq!(wrong["component"], "ak-stage-password");
    let done = client.answer(&site, SIGN_IN, "next=%2Fada", json!({"password": PASSWORD})).await;
    assert_eq!((&done["component"], &done["to"]), (&json!("xak-flow-redirect"), &json!("/ada")));
}

/// CO-246, CO-310: whom a policy has chosen stays that user, whatever their name means at the stage, until a name is
/// typed.
#[tokio::test]
async fn co_246_who_is_chosen_is_nobody_else() {
    let site = Site::with_expressions().await;
    let ada = site.user("ada").await;
    set_password(&site, ada, PASSWORD).await;
    tune(&site, stages::IDENTIFICATION, json!({"user_fields": ["email"]})).await;
    let expression = "context['flow_plan'].context['pending_user'] = ak_user_by(username='ada')\nreturn True";
    bind(&site, SIGN_IN, expression).await;
    let mut client = Client::new();
    let wrong = client.answer(&site, SIGN_IN, "next=%2Fa", json!({"password": "wrong"})).await;
    assert_eq!(wrong["component"], "ak-stage-password");
    let done = client.answer(&site, SIGN_IN, "next=%2Fa", json!({"password": PASSWORD})).await;
    assert_eq!((&done["component"], &done["to"]), (&json!("xak-flow-redirect"), &json!("/a")));

    let mut client = Client::new();
    client.answer(&site, SIGN_IN, "next=%2Fa", json!({"password": "wrong"})).await;
    site.admin(Method::PATCH, &format!("/core/users/{ada}/"), json!({"is_active": false})).await;
    let gone = client.answer(&site, SIGN_IN, "next=%2Fa", json!({"password": PASSWORD})).await;
    assert_eq!((&gone["component"], errors(&gone)), (&json!("ak-stage-password"), vec!["password"]));
    assert_eq!(client.whoami(&site).await, 403);
}

/// CO-246, CO-311: a policy that takes a name from the request tells nobody whether that user may sign in.
#[tokio::test]
async fn co_311_who_is_chosen_is_asked_alike() {
    let site = Site::with_expressions().await;
    for name in ["ada", "gone", "robot"] {
        let pk = site.user(name).await;
        set_password(&site, pk, PASSWORD).await;
        let change = match name {
            "gone" => json!({"is_active": false}),
            "robot" => json!({"type": "service_account"}),
            _ => json!({}),
        };
        site.admin(Method::PATCH, &format!("/core/users/{pk}/"), change).await;
    }
    let expression = "plan = context['flow_plan'].context\n\
        plan['pending_user'] = ak_user_by(username=plan.get('redirect', '/')[1:])\n\
        return True";
    bind(&site, SIGN_IN, expression).await;
    let mut seen = Vec::new();
    for (name, password) in [("ada", "wrong"), ("gone", PASSWORD), ("robot", PASSWORD)] {
        let (mut client, query) = (Client::new(), format!("next=%2F{name}"));
        let asked = client.show(&site, SIGN_IN, &query).await;
        let answered = client.answer(&site, SIGN_IN, &query, json!({"password": password})).await;
        assert_eq!((&asked["component"], &asked["pending_user"]), (&json!("ak-stage-password"), &json!(name)));
        assert_eq!(client.whoami(&site).await, 403, "{name}");
        seen.push(format!("{asked}{answered}").replace(name, "<name>"));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:#?}");
}

/// CO-383, CO-412: a session keeps who signed in, when, how, from where, with which browser and on the way to which
/// application; its last use is written once a minute.
#[tokio::test]
async fn co_383_a_session_knows_how_it_began() {
    let (site, ada) = with_ada().await;
    let client_id = wiki(&site).await;
    let mut client = Client::new();
    let query = to_wiki(&client_id);
    client.answer(&site, SIGN_IN, &query, json!({"uid_field": "ada"})).await;
    let began = site.ctx.now();
    client.answer(&site, SIGN_IN, &query, json!({"password": PASSWORD})).await;
    let user = UserPk(i32::try_from(ada).expect("small"));
    let kept = async || {
        let mut conn = site.ctx.db.read().await.expect("reads");
        login_session::of_account(&mut conn, user, site.ctx.now()).await.expect("reads").remove(0)
    };
    let session = kept().await;
    assert_eq!((session.account, session.auth_method.as_str(), session.second_factor), (user, "password", None));
    assert_eq!([session.created, session.auth_time, session.last_used], [began; 3]);
    assert_eq!((session.last_ip.as_str(), session.user_agent.as_str()), ("192.0.2.1", ""));
    assert!(session.expires > session.idle_expires && session.idle_expires > began);
    let wiki = site.admin(Method::GET, "/core/applications/wiki/", None).await.json;
    assert_eq!(session.application.map(|pk| json!(pk.to_string())).as_ref(), Some(&wiki["pk"]));
    assert_eq!(site.events("login").await.1["application"]["name"], "Wiki");

    client.address = [192, 0, 2, 2].into();
    for (seconds, last_used, last_ip) in [(59, 0, "192.0.2.1"), (1, 60, "192.0.2.2"), (59, 60, "192.0.2.2")] {
        site.clock.advance_seconds(seconds);
        assert_eq!(client.whoami(&site).await, 200);
        let session = kept().await;
        assert_eq!(
            (session.last_used, session.last_ip.as_str()),
            (began.plus_seconds(last_used), last_ip),
            "{seconds}"
        );
        client.address = if last_used == 0 { client.address } else { [192, 0, 2, 3].into() };
    }
    let mut other = Client::new();
    other.sign_in(&site, "ada", PASSWORD).await;
    let plain = kept().await;
    assert_eq!((plain.application, site.events("login").await.1.get("application")), (None, None));
}
