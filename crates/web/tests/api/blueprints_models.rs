//! What blueprints can hold, model by model.

use portcullis_idp::blueprints::Reach;
use portcullis_idp::password;
use serde_json::{Value, json};

use crate::blueprints_engine::{applied, attempt, only, refused};
use crate::site::{ADMIN, Site};

async fn password_is(site: &Site, username: &str, candidate: &str) -> bool {
    let mut conn = site.ctx.db.read().await.unwrap();
    let user = portcullis_store::account::by_username(&mut conn, username).await.unwrap().unwrap();
    password::verify(candidate, user.password_hash.as_deref()).await.is_right()
}

/// CO-732: a password is set when another one is in force, and left alone when it verifies; a weak one leaves a warning.
#[tokio::test]
async fn co_732_passwords_are_set_once() {
    let site = Site::new().await;
    let entry = "  - model: authentik_core.user\n    identifiers: {username: ada}\n    \
                 attrs: {name: Ada, password: correct horse battery staple}\n";
    for _ in 0..2 {
        applied(&site, entry).await;
        assert!(password_is(&site, "ada", "correct horse battery staple").await);
        assert_eq!(site.events("password_set").await.len(), 1);
    }
    assert_eq!(site.events("configuration_warning").await.len(), 0);
    applied(&site, &entry.replace("correct horse battery staple", "short")).await;
    assert!(password_is(&site, "ada", "short").await);
    assert_eq!(site.events("configuration_warning").await.len(), 1);
    let empty = refused(&site, &entry.replace("correct horse battery staple", "\"\"")).await;
    assert_eq!(empty.field.as_deref(), Some("password"), "{empty}");
    assert!(password_is(&site, "ada", "short").await);
}

/// CO-732, CO-100: a token has the key that the blueprint says; a short one leaves a warning, one that is in use is
/// refused.
#[tokio::test]
async fn co_732_tokens_have_their_keys() {
    let site = Site::new().await;
    let entry = |identifier: &str, key: &str| {
        format!(
            "  - model: authentik_core.token\n    identifiers: {{identifier: {identifier}}}\n    \
             attrs: {{user: !Find [authentik_core.user, [username, akadmin]], intent: api, key: {key}}}\n"
        )
    };
    applied(&site, &entry("script", "a-key-that-is-long-enough-for-anybody")).await;
    applied(&site, &entry("script", "a-key-that-is-long-enough-for-anybody")).await;
    let key = site.get("/core/tokens/script/view_key/").await["key"].clone();
    assert_eq!(key, json!("a-key-that-is-long-enough-for-anybody"));
    assert_eq!(site.events("configuration_warning").await.len(), 0);
    applied(&site, &entry("script", "short")).await;
    assert_eq!(site.get("/core/tokens/script/view_key/").await["key"], json!("short"));
    assert_eq!(site.events("configuration_warning").await.len(), 1);
    assert_eq!(refused(&site, &entry("other", "short")).await.message, "This field must be unique.");
    let missing = refused(&site, "  - {model: authentik_core.token, identifiers: {identifier: bare}}\n").await;
    assert_eq!(missing.field.as_deref(), Some("intent"));
}

/// CO-730: every kind of policy, and bindings to users, groups and policies.
#[tokio::test]
async fn co_730_policies_are_bound() {
    let site = Site::new().await;
    site.application("wiki", &Value::Null).await;
    applied(
        &site,
        "  - {model: authentik_policies_dummy.dummypolicy, id: d, identifiers: {name: d}, attrs: {result: true}}\n  \
         - {model: authentik_policies_password.passwordpolicy, identifiers: {name: p}, attrs: {length_min: 12}}\n  \
         - {model: authentik_policies_expiry.passwordexpirypolicy, identifiers: {name: e}, attrs: {days: 90}}\n  \
         - {model: authentik_policies_reputation.reputationpolicy, identifiers: {name: r}, attrs: {threshold: -5}}\n  \
         - {model: authentik_policies_event_matcher.eventmatcherpolicy, identifiers: {name: m}, attrs: {action: login}}\n  \
         - model: authentik_policies.policybinding\n    id: b\n    identifiers:\n      \
         target: !Find [authentik_core.application, [slug, wiki]]\n      order: 0\n      policy: !KeyOf d\n    \
         attrs: {negate: true}\n  \
         - model: authentik_policies.policybinding\n    identifiers:\n      \
         target: !Find [authentik_core.application, [slug, wiki]]\n      order: 1\n    \
         attrs:\n      group: !Find [authentik_core.group, [name, authentik Admins]]\n",
    )
    .await;
    assert_eq!(site.get("/policies/all/").await["pagination"]["count"], json!(5));
    let bindings = site.get("/policies/bindings/?ordering=order").await;
    assert_eq!(bindings["pagination"]["count"], json!(2));
    assert_eq!(bindings["results"][0]["negate"], json!(true));
    let both = refused(
        &site,
        "  - model: authentik_policies.policybinding\n    identifiers:\n      \
         target: !Find [authentik_core.application, [slug, wiki]]\n      order: 2\n    \
         attrs: {group: !Find [authentik_core.group, [name, authentik Admins]], user: !Find [authentik_core.user, [username, akadmin]]}\n",
    )
    .await;
    assert_eq!(both.message, "Only one of 'group', 'policy', 'user' can be set.");
}

/// CO-730: clients, mappings, sources, certificates, entitlements, brands.
#[tokio::test]
async fn co_730_clients_and_what_they_need() {
    let site = Site::new().await;
    let pem = rcgen::generate_simple_self_signed(vec!["wiki.example.com".to_owned()]).unwrap();
    let block = |text: String| text.lines().map(|line| format!("        {line}\n")).collect::<String>();
    let text = format!(
        "  - model: authentik_crypto.certificatekeypair\n    id: pair\n    identifiers: {{name: wiki}}\n    attrs:\n      \
         certificate_data: |\n{}      key_data: |\n{}  \
         - model: authentik_sources_oauth.oauthsource\n    id: ci\n    identifiers: {{slug: ci}}\n    attrs: {{name: CI, \
         provider_type: openidconnect, consumer_key: k, consumer_secret: s, oidc_jwks: {{keys: []}}}}\n  \
         - model: authentik_providers_oauth2.oauth2provider\n    id: client\n    identifiers: {{name: client}}\n    attrs:\n      \
         authorization_flow: !Find [authentik_flows.flow, [slug, default-provider-authorization-implicit-consent]]\n      \
         invalidation_flow: !Find [authentik_flows.flow, [slug, default-provider-invalidation-flow]]\n      \
         client_id: the-client\n      client_secret: the-secret-of-the-client-0123456789\n      signing_key: !KeyOf pair\n      \
         redirect_uris: [{{matching_mode: strict, url: \"https://a.example/cb\"}}]\n      \
         property_mappings: [!Find [authentik_providers_oauth2.scopemapping, [scope_name, openid]]]\n      \
         jwt_federation_sources: [!KeyOf ci]\n  \
         - {{model: authentik_core.application, id: app, identifiers: {{slug: a}}, attrs: {{name: A, icon: \"https://a.example/i.png\", \
         provider: !KeyOf client}}}}\n  \
         - {{model: authentik_core.applicationentitlement, identifiers: {{name: editor, app: !KeyOf app}}}}\n  \
         - model: authentik_brands.brand\n    identifiers: {{domain: example.com}}\n    attrs: {{branding_title: Example, \
         default_application: !KeyOf app, web_certificate: !KeyOf pair}}\n",
        block(pem.cert.pem()),
        block(pem.signing_key.serialize_pem()),
    );
    applied(&site, &text).await;
    let client = only(&site, "/providers/oauth2/?search=client").await;
    assert_eq!((&client["client_id"], client["signing_key"].is_string()), (&json!("the-client"), true));
    assert_eq!(site.get("/core/applications/a/").await["meta_icon"], json!("https://a.example/i.png"));
    assert_eq!(only(&site, "/core/application_entitlements/").await["name"], json!("editor"));
    assert_eq!(only(&site, "/core/brands/?domain=example.com").await["branding_title"], json!("Example"));
    let changes = site.events("model_updated").await.len();
    let again = applied(&site, &text).await;
    let still: Vec<_> = again.log.iter().filter(|line| line.event.ends_with("is as it should be")).collect();
    assert_eq!(still.len(), 4, "client, application, entitlement and brand: {:?}", again.log);
    assert_eq!(site.get("/providers/oauth2/").await["pagination"]["count"], json!(1));
    assert!(site.events("model_updated").await.len() <= changes + 3);
}

/// CO-701, CO-721, CO-732: rights come additively: a role's, a user's own, and on one object.
#[tokio::test]
async fn co_732_permissions_are_additive() {
    let site = Site::new().await;
    let entries = "  - {model: authentik_rbac.role, id: r, identifiers: {name: helpers}, \
                   attrs: {permissions: [authentik_core.view_user]}}\n  \
                   - {model: authentik_rbac.role, identifiers: {name: helpers}, \
                   attrs: {permissions: [authentik_core.view_group]}}\n  \
                   - {model: authentik_core.user, id: ada, identifiers: {username: ada}, \
                   attrs: {name: Ada, permissions: [authentik_core.view_token]}}\n  \
                   - model: authentik_core.group\n    identifiers: {name: staff}\n    permissions:\n      \
                   - {permission: authentik_core.change_group, role: !KeyOf r}\n      \
                   - {permission: authentik_core.view_group, user: !KeyOf ada}\n";
    applied(&site, entries).await;
    let granted = site.events("model_updated").await.len();
    applied(&site, entries).await;
    assert_eq!(site.events("model_updated").await.len(), granted, "nothing is granted twice");
    let staff = only(&site, "/core/groups/?name=staff").await["pk"].as_str().unwrap().to_owned();
    let mut conn = site.ctx.db.read().await.unwrap();
    let rights = async |conn: &mut portcullis_store::Conn, name: &str| {
        let role = portcullis_store::role::by_name(conn, name).await.unwrap().unwrap();
        let rights = portcullis_store::role::rights(conn, role.pk).await.unwrap();
        rights.into_iter().map(|right| (right.permission, right.object)).collect::<Vec<_>>()
    };
    let own = |permission: &str, object: &str| (permission.to_owned(), object.to_owned());
    assert_eq!(
        rights(&mut conn, "helpers").await,
        [
            own("authentik_core.change_group", &staff),
            own("authentik_core.view_group", ""),
            own("authentik_core.view_user", ""),
        ]
    );
    let ada = portcullis_store::account::by_username(&mut conn, "ada").await.unwrap().unwrap().pk;
    assert_eq!(
        rights(&mut conn, &format!("ak-managed-role--user-{ada}")).await,
        [own("authentik_core.view_group", &staff), own("authentik_core.view_token", "")]
    );
    drop(conn);
    let nonsense = "  - {model: authentik_rbac.role, identifiers: {name: r}, attrs: {permissions: [fly]}}\n";
    assert_eq!(refused(&site, nonsense).await.field.as_deref(), Some("permissions"));
}

/// CO-306, CO-730: flows are renamed and stages tuned; what is fixed is accepted when it says what is, else refused.
#[tokio::test]
async fn co_730_flows_and_stages_can_be_tuned() {
    let site = Site::new().await;
    let flow = "!Find [authentik_flows.flow, [slug, default-authentication-flow]]";
    let stage = |name: &str, kind: &str| format!("!Find [authentik_stages_{kind}, [name, {name}]]");
    let identification = stage("default-authentication-identification", "identification.identificationstage");
    let password = stage("default-authentication-password", "password.passwordstage");
    let binding = |stage: &str, order: i64| {
        format!(
            "  - {{model: authentik_flows.flowstagebinding, identifiers: {{target: {flow}, stage: {stage}, order: {order}}}, \
             attrs: {{re_evaluate_policies: true}}}}\n"
        )
    };
    applied(
        &site,
        &format!(
            "  - {{model: authentik_flows.flow, identifiers: {{slug: default-authentication-flow}}, \
             attrs: {{title: Hello, name: In, layout: sidebar_left, background: /static/x.png, denied_action: message, \
             policy_engine_mode: all, designation: authentication}}}}\n  \
             - {{model: authentik_stages_password.passwordstage, identifiers: {{name: default-authentication-password}}, \
             attrs: {{failed_attempts_before_cancel: 2}}}}\n{}{}",
            binding(&identification, 10),
            binding(&password, 20),
        ),
    )
    .await;
    let tuned = site.get("/flows/instances/default-authentication-flow/").await;
    for (field, value) in [
        ("title", "Hello"),
        ("name", "In"),
        ("layout", "sidebar_left"),
        ("background", "/static/x.png"),
        ("background_url", "/static/x.png"),
        ("denied_action", "message"),
        ("policy_engine_mode", "all"),
    ] {
        assert_eq!(tuned[field], value, "{field}");
    }
    assert_eq!(site.get("/flows/instances/?denied_action=message").await["pagination"]["count"], json!(1));
    let (_, asked) =
        site.send("", http::Method::GET, "/flows/executor/default-authentication-flow/?query=", None).await;
    let info = &asked["flow_info"];
    assert_eq!((&info["title"], &info["layout"]), (&json!("Hello"), &json!("sidebar_left")), "{asked}");
    for (field, value) in [
        ("layout", "round"),
        ("denied_action", "ask"),
        ("policy_engine_mode", "most"),
        ("background", "x"),
        ("title", "\"\""),
    ] {
        let entry = format!(
            "  - {{model: authentik_flows.flow, identifiers: {{slug: default-authentication-flow}}, \
             attrs: {{{field}: {value}}}}}\n"
        );
        assert_eq!(refused(&site, &entry).await.field.as_deref(), Some(field), "{value}");
    }
    let mut conn = site.ctx.db.read().await.unwrap();
    let stages = portcullis_idp::flow::stages::Stages::load(&mut conn).await.unwrap();
    assert_eq!(stages.password.failed_attempts_before_cancel, 2);
    drop(conn);
    for (entries, field) in [
        ("  - {model: authentik_flows.flow, identifiers: {slug: mine}, attrs: {title: x}}\n".to_owned(), "identifiers"),
        (
            "  - {model: authentik_flows.flow, identifiers: {slug: default-authentication-flow}, attrs: {designation: recovery}}\n"
                .to_owned(),
            "designation",
        ),
        (format!("{}{}", binding(&identification, 30), binding(&password, 20)), "stage"),
        (binding(&stage("default-provider-authorization-consent", "consent.consentstage"), 30), "stage"),
    ] {
        assert_eq!(refused(&site, &entries).await.field.as_deref(), Some(field), "{entries}");
    }
}

/// CO-300, CO-730: a blueprint may say of the flow that sets up the administrator that it is for anybody, or for superusers, whether
/// that is done or not; nothing else, and of no other flow.
#[tokio::test]
async fn co_730_setup_is_for_whom_it_is() {
    let site = Site::new().await;
    let entry = |slug: &str, who: &str| {
        format!(
            "  - {{model: authentik_flows.flow, identifiers: {{slug: {slug}}}, attrs: {{authentication: {who}}}}}\n"
        )
    };
    for is_due in [true, false] {
        if !is_due {
            let me = site.get("/core/users/me/").await["user"]["pk"].clone();
            let set = format!("/core/users/{me}/set_password/");
            assert_eq!(
                site.status(ADMIN, http::Method::POST, &set, Some(json!({"password": "long enough"}))).await,
                204
            );
        }
        let shown = site.get("/flows/instances/initial-setup/").await["authentication"].clone();
        assert_eq!(shown, if is_due { "none" } else { "require_superuser" });
        let listed = site.get("/flows/instances/?ordering=authentication").await;
        let listed: Vec<_> =
            listed["results"].as_array().unwrap().iter().map(|flow| flow["authentication"].as_str().unwrap()).collect();
        assert!(listed.is_sorted() && listed.contains(&shown.as_str().unwrap()), "{listed:?}");
        for who in ["none", "require_superuser"] {
            applied(&site, &entry("initial-setup", who)).await;
        }
        for (slug, who) in
            [("initial-setup", "require_authenticated"), ("default-authentication-flow", "require_superuser")]
        {
            assert_eq!(refused(&site, &entry(slug, who)).await.field.as_deref(), Some("authentication"), "{slug}");
        }
        assert_eq!(site.get("/flows/instances/initial-setup/").await["authentication"], shown);
    }
}

/// CO-386: who binds sessions to what is known of addresses, where there is no database of them, is warned, and can do so.
#[tokio::test]
async fn co_386_a_binding_without_a_database_is_told() {
    let site = Site::new().await;
    let entry = |level: &str| {
        format!(
            "  - {{model: authentik_stages_user_login.userloginstage, identifiers: {{name: default-authentication-login}}, \
             attrs: {{network_binding: {level}}}}}\n"
        )
    };
    let warnings = async |level: &str| {
        let log = applied(&site, &entry(level)).await.log;
        log.into_iter().filter(|line| line.level == "warning").map(|line| line.event).collect::<Vec<_>>()
    };
    let told = warnings("bind_asn").await;
    assert!(matches!(told.as_slice(), [one] if one.contains("events.context_processors.asn")), "{told:?}");
    assert_eq!(warnings("no_binding").await, [""; 0]);
}

/// CO-736: an object with a permanent name is found by it, whatever it is called now.
#[tokio::test]
async fn co_736_permanent_names_come_first() {
    let site = Site::new().await;
    let entry = |managed: &str, name: &str| {
        format!(
            "  - {{model: authentik_rbac.role, identifiers: {{name: {name}}}, attrs: {{managed: {managed}, name: {name}}}}}\n"
        )
    };
    applied(&site, &entry("example.com/r", "first")).await;
    applied(&site, &entry("example.com/r", "second")).await;
    assert_eq!(only(&site, "/rbac/roles/?managed=example.com%2Fr").await["name"], json!("second"));
    assert_eq!(site.get("/rbac/roles/?name=first").await["pagination"]["count"], json!(0));
}

/// CO-721: a right on an object is one that is about objects of its kind; any other would be in no export, and be taken away by it.
#[tokio::test]
async fn co_721_a_right_is_about_objects_of_its_kind() {
    let site = Site::new().await;
    let entry = |permission: &str| {
        format!(
            "  - {{model: authentik_rbac.role, id: r, identifiers: {{name: r}}}}
  - model: authentik_core.application
    identifiers: {{slug: wiki}}
    attrs: {{name: Wiki}}
    permissions: [{{permission: {permission}, role: !KeyOf r}}]
"
        )
    };
    let error = refused(&site, &entry("authentik_core.view_user")).await;
    assert_eq!(error.message, "'authentik_core.view_user' is not about objects of authentik_core.application.");
    applied(&site, &entry("authentik_core.view_application")).await;
}

/// CO-721: a right without its app is of the app of the entry's objects.
#[tokio::test]
async fn co_721_a_right_may_leave_its_app_to_the_entry() {
    let site = Site::new().await;
    let entry = |permission: &str| {
        format!(
            "  - {{model: authentik_rbac.role, id: r, identifiers: {{name: r}}}}
  - model: authentik_core.group
    identifiers: {{name: staff}}
    permissions: [{{permission: {permission}, role: !KeyOf r}}]
"
        )
    };
    applied(&site, &entry("view_group")).await;
    applied(&site, &entry("add_user_to_group")).await;
    let error = refused(&site, &entry("view_user")).await;
    assert_eq!(error.message, "'authentik_core.view_user' is not about objects of authentik_core.group.");
    let staff = only(&site, "/core/groups/?name=staff").await["pk"].as_str().unwrap().to_owned();
    let mut conn = site.ctx.db.read().await.unwrap();
    let role = portcullis_store::role::by_name(&mut conn, "r").await.unwrap().unwrap();
    let rights = portcullis_store::role::rights(&mut conn, role.pk).await.unwrap();
    let rights: Vec<_> = rights.iter().map(|right| (right.permission.as_str(), right.object.as_str())).collect();
    let expected =
        ["authentik_core.add_user_to_group", "authentik_core.view_group"].map(|right| (right, staff.as_str()));
    assert_eq!(rights, expected);
}

/// CO-725, CO-733: a blueprint that says the same otherwise changes nothing: an expression with a line break at its end, groups
/// in another order.
#[tokio::test]
async fn co_733_what_is_written_otherwise_is_as_it_should_be() {
    let site = crate::expressions::site().await;
    let text = |first: &str, second: &str| {
        format!(
            "  - {{model: authentik_core.group, id: a, identifiers: {{name: a}}}}
  - {{model: authentik_core.group, id: b, identifiers: {{name: b}}}}
  - model: authentik_core.user
    identifiers: {{username: two}}
    attrs: {{name: Two, groups: [!KeyOf {first}, !KeyOf {second}]}}
  - model: authentik_providers_oauth2.oauth2provider
    identifiers: {{name: client}}
    attrs:
      authorization_flow: !Find [authentik_flows.flow, [slug, default-provider-authorization-implicit-consent]]
      invalidation_flow: !Find [authentik_flows.flow, [slug, default-provider-invalidation-flow]]
      client_secret: a-secret-of-more-than-thirty-two-characters
      redirect_uris: [{{matching_mode: strict, url: https://x.example.org/cb}}]
  - model: authentik_policies_expression.expressionpolicy
    identifiers: {{name: lines}}
    attrs:
      expression: |
        # Everybody.
        return True
"
        )
    };
    applied(&site, &text("a", "b")).await;
    let before = site.events("model_updated").await.len();
    for (first, second) in [("a", "b"), ("b", "a")] {
        let again = applied(&site, &text(first, second)).await;
        assert!(again.log.iter().all(|line| line.event.ends_with("is as it should be")), "{:?}", again.log);
    }
    assert_eq!(site.events("model_updated").await.len(), before);
}

/// CO-732: a role whose entry states all of its permissions loses what the document does not name; what it names stays,
/// and a second time nothing is left to do. The same holds for a user's own; lists of `permissions` take nothing away.
#[tokio::test]
async fn co_732_what_is_stated_as_all_is_all() {
    let site = Site::new().await;
    let entries = |role: &str, user: &str, on_staff: &str| {
        format!(
            "  - {{model: authentik_rbac.role, id: r, identifiers: {{name: helpers}}, attrs: {{{role}}}}}\n  \
             - {{model: authentik_core.user, id: ada, identifiers: {{username: ada}}, attrs: {{name: Ada, {user}}}}}\n  \
             - {{model: authentik_core.group, identifiers: {{name: staff}}, permissions: [{on_staff}]}}\n"
        )
    };
    let on_staff = "{permission: authentik_core.change_group, role: !KeyOf r}";
    let all = entries(
        "permissions: [authentik_core.view_user, authentik_core.view_group]",
        "permissions: [authentik_core.view_token]",
        on_staff,
    );
    applied(&site, &all).await;
    let names = async || {
        let mut conn = site.ctx.db.read().await.unwrap();
        let mut all = Vec::new();
        for role in portcullis_store::role::list(&mut conn, &Default::default(), portcullis_store::select::Slice::ALL)
            .await
            .unwrap()
            .rows
            .into_iter()
            .filter(|role| role.name == "helpers" || role.name.starts_with("ak-managed-role--user-"))
        {
            let rights = portcullis_store::role::rights(&mut conn, role.pk).await.unwrap();
            all.extend(rights.into_iter().map(|right| right.permission));
        }
        all.sort_unstable();
        all
    };
    let (group, token, user) = ("authentik_core.view_group", "authentik_core.view_token", "authentik_core.view_user");
    let change = "authentik_core.change_group";
    assert_eq!(names().await, [change, group, token, user]);
    applied(&site, &entries("permissions: [authentik_core.view_user]", "permissions: []", "")).await;
    assert_eq!(names().await, [change, group, token, user]);
    let fewer = entries("all_permissions: [authentik_core.view_user]", "all_permissions: []", on_staff);
    let done = applied(&site, &fewer).await;
    assert_eq!(names().await, [change, user]);
    let taken: Vec<_> = done.log.iter().filter(|line| line.event.ends_with("was taken away")).collect();
    assert_eq!(taken.len(), 2, "{:?}", done.log);
    assert!(taken.iter().any(|line| line.event.starts_with("role helpers: ")), "{taken:?}");
    let events = site.events("model_updated").await.len();
    applied(&site, &fewer).await;
    assert_eq!(site.events("model_updated").await.len(), events);
    applied(&site, &entries("all_permissions: [authentik_core.view_user]", "", "")).await;
    assert_eq!(names().await, [user]);
    applied(&site, "  - {model: authentik_rbac.role, identifiers: {name: helpers}, state: absent}\n").await;
    assert_eq!(names().await, [""; 0]);
    let nonsense = "  - {model: authentik_rbac.role, identifiers: {name: r}, attrs: {all_permissions: [fly]}}\n";
    assert_eq!(refused(&site, nonsense).await.field.as_deref(), Some("all_permissions"));
}

/// CO-732: what a blueprint states as all is taken away once, when everything around it is done: what the outer one grants
/// stays, before it and behind it, and a second time nothing changes.
#[tokio::test]
async fn co_732_what_leads_to_a_blueprint_may_grant_more() {
    let site = Site::new().await;
    let role = |attributes: &str| {
        format!("  - {{model: authentik_rbac.role, identifiers: {{name: helpers}}, attrs: {{{attributes}}}}}\n")
    };
    let inner = format!("version: 1\nentries:\n{}", role("all_permissions: [authentik_core.view_user]"));
    site.post("/managed/blueprints/", json!({"name": "inner", "content": inner, "enabled": false})).await;
    let outer = format!(
        "{}  - {{model: authentik_blueprints.metaapplyblueprint, attrs: {{identifiers: {{name: inner}}}}}}\n{}",
        role("permissions: [authentik_core.view_group]"),
        role("permissions: [authentik_core.view_token]"),
    );
    let before =
        role("permissions: [authentik_core.view_group, authentik_core.view_token, authentik_brands.view_brand]");
    applied(&site, &before).await;
    let taken = async || {
        let events = applied(&site, &outer).await.log.into_iter().map(|line| line.event);
        events.filter(|event| event.ends_with("was taken away")).collect::<Vec<_>>()
    };
    assert_eq!(taken().await, ["role helpers: authentik_brands.view_brand was taken away"]);
    let events = site.events("model_updated").await.len();
    assert_eq!(taken().await, [""; 0]);
    assert_eq!(site.events("model_updated").await.len(), events);
}

/// CO-730, OA-602: an instance says when an API token ends, and an instant can be written in several ways: neither makes a
/// second application a change.
#[tokio::test]
async fn co_730_the_end_of_a_token_is_no_change() {
    let site = Site::new().await;
    let entry = |identifier: &str, intent: &str, expires: &str| {
        format!(
            "  - {{model: authentik_core.token, identifiers: {{identifier: {identifier}}}, attrs: {{intent: {intent}, \
             user: !Find [authentik_core.user, [username, akadmin]], expires: '{expires}'}}}}\n"
        )
    };
    let far = "2999-01-01T00:00:00+01:00";
    let entries = entry("script", "api", far) + &entry("machine", "app_password", far);
    applied(&site, &entries).await;
    let events = site.events("model_updated").await.len();
    let again = applied(&site, &entries).await;
    assert!(again.log.iter().all(|line| line.event.ends_with("is as it should be")), "{:?}", again.log);
    assert_eq!(site.events("model_updated").await.len(), events);
    applied(&site, &entry("machine", "app_password", "2998-01-01T00:00:00Z")).await;
    assert_eq!(site.events("model_updated").await.len(), events + 1);
}

/// PX-020, CO-730: the example of the handbook protects an application; applied again, it changes nothing.
#[tokio::test]
async fn co_730_the_example_protects_an_application() {
    let site = Site::reaching(example_secrets()).await;
    let other = site.provider("other").await["pk"].clone();
    let outpost = site.get("/outposts/instances/").await["results"][0]["pk"].as_str().unwrap().to_owned();
    site.patch(&format!("/outposts/instances/{outpost}/"), json!({"providers": [other]})).await;
    attempt(&site, EXAMPLE).await.unwrap();
    let application = site.get("/core/applications/wiki/").await;
    let provider = site.get(&format!("/providers/proxy/{}/", application["provider"])).await;
    assert_eq!(provider["external_host"], json!("https://wiki.example.com"));
    assert_eq!(provider["basic_auth_password_attribute"], json!("wiki_password"));
    let served = site.get(&format!("/outposts/instances/{outpost}/")).await["providers"].clone();
    assert_eq!(served, json!([other, application["provider"]]));
    assert_eq!(site.get("/core/tokens/mary-wiki-script/view_key/").await["key"], json!("the-app-password-of-mary"));
    let access = format!(
        "/core/applications/wiki/check_access/?for_user={}",
        only(&site, "/core/users/?username=mary").await["pk"]
    );
    assert_eq!(site.get(&access).await["passing"], json!(true));
    let events = (site.events("model_created").await, site.events("model_updated").await);
    attempt(&site, EXAMPLE).await.unwrap();
    assert_eq!((site.events("model_created").await, site.events("model_updated").await), events);
}

/// CO-726, CO-731: what is refused for a tag that has come to nothing names the tag and its line.
#[tokio::test]
async fn co_726_tags_that_come_to_nothing_are_named() {
    let site = Site::reaching(example_secrets()).await;
    let mistyped = EXAMPLE.replace("implicit-consent", "implied-consent");
    let refused = attempt(&site, &mistyped).await.unwrap_err().to_string();
    let line = 1 + mistyped.lines().position(|line| line.contains("implied-consent")).unwrap();
    let said = format!("authorization_flow: This field may not be null. (!Find in line {line} has come to nothing.)");
    assert!(refused.starts_with("entry 4 ") && refused.ends_with(&said), "{refused}");
}

/// CO-725: the log calls what was made by its name, as it does what was there.
#[tokio::test]
async fn co_725_what_was_made_is_told_by_name() {
    let site = Site::reaching(example_secrets()).await;
    let applied = attempt(&site, EXAMPLE).await.unwrap();
    for told in [
        "entry 1: authentik_core.group wiki readers: was made",
        "entry 2: authentik_core.user mary: was made",
        "entry 3: authentik_core.token mary-wiki-script: was made",
    ] {
        assert!(applied.log.iter().any(|line| line.event.starts_with(told)), "{told}: {:?}", applied.log);
    }
}

/// CO-726: a variable that is not there loses nothing of what is stored: without a default the blueprint is refused, with its
/// name and line.
///
/// Null in its place would take the password by which the proxy signs in to the application.
#[tokio::test]
async fn co_726_a_missing_variable_loses_nothing() {
    let site = Site::new().await;
    let password = json!({"name": "wiki readers", "attributes": {"wiki_password": "stored"}});
    site.post("/core/groups/", password).await;
    let refused = attempt(&site, EXAMPLE).await.unwrap_err().to_string();
    let line = 1 + EXAMPLE.lines().position(|line| line.contains("WIKI_PASSWORD")).unwrap();
    let said =
        format!("entry 1, line {line}: !Env: the variable PORTCULLIS_BLUEPRINT_WIKI_PASSWORD is not there or empty");
    assert!(refused.starts_with(&said), "{refused}");
    let group = only(&site, "/core/groups/?name=wiki%20readers").await;
    assert_eq!(group["attributes"]["wiki_password"], json!("stored"));
    let created = |name: &str| {
        format!(
            "version: 1\nentries:\n- model: authentik_core.group\n  state: created\n  identifiers: {{name: {name}}}\n  \
             attrs: {{attributes: {{k: !Env PORTCULLIS_BLUEPRINT_UNSET}}}}\n"
        )
    };
    attempt(&site, &created("wiki readers")).await.unwrap();
    let refused = attempt(&site, &created("others")).await.unwrap_err().to_string();
    assert!(refused.contains("the variable PORTCULLIS_BLUEPRINT_UNSET"), "{refused}");
}

pub(crate) const EXAMPLE: &str = include_str!("../../../../docs/src/examples/wiki.yaml");

/// The variables that the example of the handbook reads.
pub(crate) fn example_secrets() -> Reach {
    let variables = [("MARY_KEY", "the-app-password-of-mary"), ("WIKI_PASSWORD", "the-password-of-the-wiki")];
    Reach::new(None, variables.map(|(name, text)| (format!("PORTCULLIS_BLUEPRINT_{name}"), text.to_owned())))
}
