//! Tests: nobody gets more by an import than they had, nor less than they need to go on.

use portcullis_idp::bootstrap::ADMINISTRATOR;
use portcullis_idp::directory::HIGHEST_KEPT_KEY;
use serde_json::{Value, json};

use super::{Here, Plan, Refused, Snapshot, applications, foundations, is_carried};

const EXPRESSION: &str = "authentik_policies_expression.expressionpolicy";

fn document(plan: &Plan, name: &str) -> String {
    plan.items.iter().find(|item| item.name == name).expect("is planned").document()
}

fn is_told(plan: &Plan, parts: &[&str]) -> bool {
    plan.notes.iter().any(|note| parts.iter().all(|part| note.contains(part)))
}

fn bound(binding: Value) -> Snapshot {
    Snapshot {
        applications: vec![json!({"pk": "a", "slug": "wiki", "name": "Wiki"})],
        policies: vec![json!({"pk": "p", "name": "evil", "expression": "return user == 'eve'",
            "meta_model_name": EXPRESSION})],
        bindings: vec![binding],
        ..Snapshot::default()
    }
}

/// OA-933: a policy that nobody has read lets nobody in, neither inverted nor by failing; also where another one has its name
/// here. One that was read is bound as it is.
#[test]
fn oa_933_what_is_not_read_is_not_inverted() {
    let there =
        bound(json!({"pk": "b", "target": "a", "policy": "p", "order": 1, "negate": true, "failure_result": true}));
    let with =
        |expression: &str| Here { policies: [("evil".to_owned(), expression.to_owned())].into(), ..Here::default() };
    for here in [Here::default(), with("# not yet\nreturn False"), with("return False")] {
        let plan = applications(&there, &here, &Refused::new());
        let text = document(&plan, "application wiki");
        assert!(!text.contains("expressionpolicy") && !text.contains("true"), "{text}");
        assert!(text.contains("dummypolicy") && text.contains("result: false"), "{text}");
        assert!(is_told(&plan, &["evil", "wiki", "denies in its place"]), "{:?}", plan.notes);
    }
    for here in [with("return user == 'eve'\n"), Here { reviewed: true, ..Here::default() }] {
        let text = document(&applications(&there, &here, &Refused::new()), "application wiki");
        assert!(text.contains("negate: true") && text.contains("failure_result: true"), "{text}");
        assert!(text.contains("expressionpolicy") && !text.contains("dummypolicy"), "{text}");
    }
    let there =
        bound(json!({"pk": "b", "target": "a", "policy": "p", "order": 1, "negate": false, "failure_result": true}));
    let text = document(&applications(&there, &Here::default(), &Refused::new()), "application wiki");
    assert!(text.contains("expressionpolicy") && text.contains("failure_result: false"), "{text}");
}

/// OA-933: no way to end a line makes a part of a comment anything else.
#[test]
fn oa_933_a_comment_is_one_to_its_end() {
    let mut there = bound(json!({}));
    there.policies[0]["expression"] = json!("a\rb\r\nc");
    let text = document(&foundations(&there, &Here::default()), "policy evil");
    assert!(text.contains("# a\\U0000000a# b\\U0000000a") && !text.contains("U0000000d"), "{text}");
}

/// OA-596: a token comes with its limits, or not at all.
#[test]
fn oa_596_tokens_keep_their_limits() {
    let token = |name: &str, limited_to: Value| {
        json!({"identifier": name, "intent": "app_password", "user": 3, "key": "k", "expiring": true,
            "allowed_networks": ["10.0.0.0/8"], "allowed_scopes": ["openid"], "allowed_applications": limited_to})
    };
    let there = Snapshot {
        users: vec![json!({"pk": 3, "username": "ada", "type": "internal"})],
        applications: vec![json!({"pk": "a", "slug": "wiki", "name": "Wiki"})],
        tokens: vec![token("one", json!(["a"])), token("two", json!(["a", "gone"])), token("all", json!([]))],
        ..Snapshot::default()
    };
    let plan = applications(&there, &Here::default(), &Refused::new());
    let one = document(&plan, "token one");
    assert!(one.contains("allowed_applications: [!Find [authentik_core.application, [slug, \"wiki\"]]]"), "{one}");
    assert!(one.contains("10.0.0.0/8") && one.contains("openid"), "{one}");
    assert!(!document(&plan, "token all").contains("allowed_applications"));
    assert!(!plan.items.iter().any(|item| item.name == "token two"));
    assert!(is_told(&plan, &["\"two\"", "application that is not here"]), "{:?}", plan.notes);
}

/// OA-930: a client comes with all its fields; one whose tokens nobody but it could read does not come without the key for that,
/// and its application gets no other one of that name.
#[test]
fn oa_930_clients_keep_their_fields() {
    let client = |name: &str, key: &str| {
        json!({"pk": name, "name": name, "encryption_key": key, "client_jwks": {"keys": []},
            "client_secret_expires": "2030-01-01T00:00:00Z", "second_client_secret": "second",
            "second_client_secret_expires": "2031-01-01T00:00:00Z", "refresh_family_max_age": "days=9",
            "token_exchange_without_actor": true, "require_pkce": true, "m2m_require_client_auth": true,
            "allow_pkce_plain": true, "device_require_client_auth": true, "device_code_validity": "minutes=3",
            "allowed_origins": ["https://x.example"], "allow_query_token": true, "allow_broad_redirect_uris": true,
            "authentication_flow": "f"})
    };
    let trusting = json!({"pk": "t", "name": "trusting", "jwt_federation_providers": ["gone"]});
    let there = Snapshot {
        flows: vec![json!({"pk": "f", "slug": "sign-in"})],
        certificates: vec![
            json!({"pk": "c", "name": "reads", "certificate_data": "PEM"}),
            json!({"pk": "d", "name": "unseen"}),
        ],
        oauth2_providers: vec![client("here", "c"), client("gone", "d"), trusting],
        applications: vec![json!({"pk": "a", "slug": "app", "name": "App", "provider": "gone"})],
        ..Snapshot::default()
    };
    let here = Here { flows: ["sign-in".to_owned()].into(), ..Here::default() };
    let plan = foundations(&there, &here);
    let text = document(&plan, "provider here");
    for part in [
        "encryption_key: !Find [authentik_crypto.certificatekeypair, [name, \"reads\"]]",
        "client_jwks: ",
        "client_secret_expires: \"2030",
        "second_client_secret: \"second\"",
        "second_client_secret_expires: \"2031",
        "refresh_family_max_age: \"days=9\"",
        "token_exchange_without_actor: true",
        "require_pkce: true",
        "m2m_require_client_auth: true",
        "allow_pkce_plain: true",
        "device_require_client_auth: true",
        "device_code_validity: \"minutes=3\"",
        "allow_query_token: true",
        "allow_broad_redirect_uris: true",
        "authentication_flow: !Find [authentik_flows.flow, [slug, \"sign-in\"]]",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!plan.items.iter().any(|item| item.name == "provider gone"));
    assert!(!plan.items.iter().any(|item| item.name.contains("whose tokens it takes")));
    assert!(is_told(&plan, &["\"gone\"", "encrypts its tokens"]), "{:?}", plan.notes);
    let application = document(&applications(&there, &here, &plan.refused), "application app");
    assert!(!application.contains("provider"), "{application}");
}

/// OA-042, OA-043, OA-841: what a server does not say of devices and of broad patterns is as it is there.
#[test]
fn oa_042_what_is_not_said_is_as_it_is_there() {
    let client = |name: &str, code: &str, pattern: &str| {
        let uris = json!([{"matching_mode": "regex", "url": pattern}]);
        json!({"pk": name, "name": name, "access_code_validity": code, "redirect_uris": uris})
    };
    let there = Snapshot {
        oauth2_providers: vec![
            client("long", "minutes=20", "https://.*"),
            client("short", "minutes=1", "https://a/.*"),
            client("longest", "days=2", "https://a/.*"),
        ],
        ..Snapshot::default()
    };
    let plan = foundations(&there, &Here::default());
    let (long, short) = (document(&plan, "provider long"), document(&plan, "provider short"));
    let longest = document(&plan, "provider longest");
    for (text, validity) in [(&long, "minutes=20"), (&short, "minutes=10"), (&longest, "days=1")] {
        assert!(text.contains(&format!("device_code_validity: \"{validity}\"")), "{text}");
        assert!(text.contains("device_require_client_auth: false"), "{text}");
    }
    assert!(
        long.contains("allow_broad_redirect_uris: true") && !short.contains("allow_broad_redirect_uris"),
        "{short}"
    );
}

/// OA-930: roles of one user each stay behind, and nobody gets a role that this installation keeps.
#[test]
fn oa_930_own_roles_stay_behind() {
    let role = |pk: &str, name: &str| json!({"pk": pk, "name": name});
    let there = Snapshot {
        roles: vec![role("o", "ak-managed-role--user-5"), role("k", "kept"), role("h", "helpdesk")],
        users: vec![json!({"pk": 5, "username": "ada", "type": "internal", "roles": ["o", "k", "h"]})],
        groups: vec![json!({"pk": "g", "name": "clerks", "roles": ["k"]})],
        ..Snapshot::default()
    };
    let here = Here { managed_roles: ["kept".to_owned()].into(), ..Here::default() };
    let plan = foundations(&there, &here);
    for item in &plan.items {
        let text = item.document();
        assert!(!text.contains("ak-managed-role") && !text.contains("kept"), "{text}");
    }
    assert!(document(&plan, "user ada").contains("helpdesk"));
    assert!(is_told(&plan, &["\"kept\""]), "{:?}", plan.notes);
}

/// CO-038: the administrator here stays one, whatever the server says about the group.
#[test]
fn co_038_the_administrator_stays_in_charge() {
    let group = |name: &str| json!({"pk": name, "name": name, "is_superuser": false, "parents": ["others"]});
    let there = Snapshot { groups: vec![group("admins"), group("others"), group("shift")], ..Snapshot::default() };
    let (make, lead) = (["admins".to_owned()].into(), ["shift".to_owned()].into());
    let here = Here { groups_in_charge: make, groups_below: lead, ..Here::default() };
    let plan = foundations(&there, &here);
    assert!(!document(&plan, "group admins").contains("is_superuser"));
    assert!(document(&plan, "group others").contains("is_superuser: false"));
    assert!(document(&plan, "group admins, its parents").contains("others"));
    assert!(!plan.items.iter().any(|item| item.name == "group shift, its parents"));
    assert!(is_told(&plan, &["\"shift\"", "keeps its parents"]), "{:?}", plan.notes);
    assert!(is_told(&plan, &["\"admins\"", ADMINISTRATOR]), "{:?}", plan.notes);
}

/// OA-931: a key above which there is no room for others is not kept.
#[test]
fn oa_931_high_keys_are_not_kept() {
    let user = |pk: i64, name: &str| json!({"pk": pk, "uuid": "u", "username": name, "type": "internal"});
    let highest = i64::from(HIGHEST_KEPT_KEY);
    let there = Snapshot {
        users: vec![user(highest, "fine"), user(highest + 1, "high"), user(i64::MAX, "vast")],
        ..Snapshot::default()
    };
    let plan = foundations(&there, &Here { keeps_keys: true, ..Here::default() });
    assert!(document(&plan, "user fine").contains("taken_over"));
    for name in ["high", "vast"] {
        assert!(!document(&plan, &format!("user {name}")).contains("taken_over"));
        assert!(is_told(&plan, &[name, "another key"]), "{:?}", plan.notes);
    }
}

/// OA-930: what nobody could sign in with here does not come with the stages.
#[test]
fn oa_930_stages_keep_nobody_out() {
    let stage = |name: &str, kind: &str, tuned: Value| {
        let mut stage = json!({"pk": "s", "name": name, "meta_model_name": kind});
        stage.as_object_mut().expect("an object").extend(tuned.as_object().expect("an object").clone());
        stage
    };
    let validate = "authentik_stages_authenticator_validate.authenticatorvalidatestage";
    let login = "authentik_stages_user_login.userloginstage";
    let tuned = json!({"network_binding": "bind_asn", "geoip_binding": "no_binding", "session_duration": "hours=2"});
    let there = Snapshot {
        stages: vec![
            stage("strict", validate, json!({"not_configured_action": "configure", "device_classes": ["totp"]})),
            stage("mild", validate, json!({"not_configured_action": "skip"})),
            stage("login", login, tuned),
        ],
        ..Snapshot::default()
    };
    let known = |name: &str| (name.to_owned(), json!({"a": 1}));
    let here = Here { stages: ["strict", "mild", "login"].map(known).into(), ..Here::default() };
    let plan = applications(&there, &here, &Refused::new());
    assert!(!document(&plan, "stage strict").contains("not_configured_action"));
    assert!(document(&plan, "stage mild").contains("not_configured_action: \"skip\""));
    let login = document(&plan, "stage login");
    assert!(login.contains("hours=2") && login.contains("no_binding") && !login.contains("network_binding"), "{login}");
    assert!(is_told(&plan, &["\"strict\"", "not_configured_action", "configure"]), "{:?}", plan.notes);
    assert!(is_told(&plan, &["\"login\"", "network_binding"]) && plan.notes.len() == 2, "{:?}", plan.notes);
}

/// CO-134: what is open to nobody there, since nothing that counts is bound to it, is open to nobody here.
#[test]
fn co_134_applications_without_bindings_stay_closed() {
    let there = |is_closed_by_default: bool, enabled: Option<bool>| Snapshot {
        applications: vec![json!({"pk": "a", "slug": "wiki", "name": "Wiki"})],
        groups: vec![json!({"pk": "g", "name": "clerks"})],
        bindings: enabled
            .map(|enabled| json!({"pk": "b", "target": "a", "group": "g", "order": 0, "enabled": enabled}))
            .into_iter()
            .collect(),
        is_closed_by_default,
        ..Snapshot::default()
    };
    for (closed, enabled, open_here, denies) in [
        (true, None, true, true),
        (true, Some(false), true, true),
        (true, Some(true), true, false),
        (true, None, false, false),
        (false, None, true, false),
    ] {
        let here = Here { is_open_by_default: open_here, ..Here::default() };
        let plan = applications(&there(closed, enabled), &here, &Refused::new());
        let text = document(&plan, "application wiki");
        assert_eq!(text.contains("dummypolicy"), denies, "{closed} {enabled:?} {open_here}: {text}");
        assert_eq!(is_told(&plan, &["\"wiki\"", "lets nobody in"]), denies, "{:?}", plan.notes);
    }
}

/// OA-930: consents are of people and to applications that have come: nobody else is meant, whatever they are called.
#[test]
fn oa_930_consents_are_of_those_who_have_come() {
    let there = Snapshot {
        users: vec![json!({"username": "ada"}), json!({"username": ADMINISTRATOR})],
        applications: vec![json!({"slug": "wiki"})],
        ..Snapshot::default()
    };
    let nothing = Refused::new();
    assert!(is_carried(&there, &nothing, "ada", "wiki"));
    for (who, what) in [("eve", "wiki"), ("ada", "bank"), (ADMINISTRATOR, "wiki")] {
        assert!(!is_carried(&there, &nothing, who, what), "{who} {what}");
    }
    for refused in [("authentik_core.user", "ada"), ("authentik_core.application", "wiki")] {
        assert!(!is_carried(&there, &[(refused.0, refused.1.to_owned())].into(), "ada", "wiki"));
    }
}

/// OA-930: applications and sources come with the icons that have an address of their own; files of the server are told.
#[test]
fn oa_930_icons_by_address_are_taken_over() {
    let app = |slug: &str, icon: &str| json!({"pk": slug, "slug": slug, "name": slug, "meta_icon": icon});
    let source = |slug: &str, icon: &str| json!({"pk": slug, "slug": slug, "name": slug, "icon": icon});
    let there = Snapshot {
        applications: vec![app("far", "https://cdn.example/far.svg"), app("file", "icons/file.png"), app("none", "")],
        sources: vec![source("far", "data:image/png;base64,AA=="), source("file", "/media/public/file.png")],
        ..Snapshot::default()
    };
    let found = applications(&there, &Here::default(), &Refused::new());
    assert!(document(&found, "application far").contains("meta_icon: \"https://cdn.example/far.svg\""));
    assert!(["file", "none"].iter().all(|slug| !document(&found, &format!("application {slug}")).contains("icon")));
    assert!(is_told(&found, &["application \"file\"", "icons/file.png"]));
    assert!(!is_told(&found, &["application \"none\"", "icon"]));
    let found = foundations(&there, &Here::default());
    assert!(document(&found, "source far").contains("icon: \"data:image/png;base64,AA==\""));
    assert!(!document(&found, "source file").contains("icon"));
    assert!(is_told(&found, &["source \"file\"", "/media/public/file.png"]));
}
