//! HTTP Basic towards the application, and headers from attributes.

use portcullis_testkit::site::basic_upstream;
use portcullis_testkit::{Go as _, Site, run};
use serde_json::{Value, json};

use crate::stage::{Stage, basic, shared};

/// What the application sees as `Authorization` for a person with these attributes.
async fn sent_for(attributes: Value) -> Vec<String> {
    let site = shared().await;
    let person = site.api.person_with("carol", attributes).await;
    let stage = Stage::with(site, person, basic_upstream()).await;
    let reply = stage.get("/page").header("authorization", stage.basic()).go().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    stage.recorder.last().all("authorization")
}

/// PX-210, CO-064: attributes of groups and their parents are merged in the order of names, and the user's own win.
#[test]
fn px_210_attributes_of_groups_and_user_are_merged_user_last() {
    run(async {
        let site = shared().await;
        let own = site.api.person_with("dora", json!({"app_password": "own"})).await;
        let member = site.api.person("emil").await;
        let parent = json!({"app_user": "from-parent", "app_password": "from-parent"});
        let parent = site.api.group("b-parent", parent, &[]).await;
        let child = json!({"name": portcullis_testkit::api::fresh("z-child"), "parents": [parent],
            "users": [own.pk, member.pk], "attributes": {"app_user": "from-child"}});
        site.api.post("core/groups/", child).await;
        for (person, password) in [(own, "own"), (member, "from-parent")] {
            let stage = Stage::with(site, person, basic_upstream()).await;
            assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
            assert_eq!(stage.recorder.last().all("authorization"), [basic("from-child", password)]);
        }
    });
}

/// PX-211: without a usable user attribute, the user name is the e-mail address.
#[test]
fn px_211_user_name_falls_back_to_the_e_mail_address() {
    run(async {
        for unusable in [json!(null), json!(true), json!(["a"]), json!({"a": 1})] {
            let site = shared().await;
            let attributes = json!({"app_user": unusable, "app_password": "secret"});
            let person = site.api.person_with("carol", attributes).await;
            let expected = basic(&person.email, "secret");
            let stage = Stage::with(site, person, basic_upstream()).await;
            assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
            assert_eq!(stage.recorder.last().all("authorization"), [expected]);
        }
    });
}

/// PX-212, PX-214: without a usable password attribute the password is empty, and the header is sent all the same.
#[test]
fn px_212_a_missing_password_is_sent_as_empty() {
    run(async {
        assert_eq!(sent_for(json!({"app_user": "service"})).await, [basic("service", "")]);
        assert_eq!(sent_for(json!({"app_user": "service", "app_password": false})).await, [basic("service", "")]);
    });
}

/// PX-214, PX-215, PX-580: the operator may leave the header out; the client's own does not take its place.
#[test]
fn px_214_an_empty_password_can_be_omitted() {
    run(async {
        let site = Site::options().env("PORTCULLIS_PROXY__EMPTY_BASIC_PASSWORD", "omit").start().await;
        let person = site.api.person_with("carol", json!({"app_user": "service"})).await;
        let stage = Stage::with(&site, person, basic_upstream()).await;
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        assert_eq!(stage.recorder.last().all("authorization"), [""; 0]);
    });
}

/// PX-213, PX-572: numbers count in their shortest decimal form.
#[test]
fn px_213_numbers_are_usable() {
    run(async {
        assert_eq!(sent_for(json!({"app_user": 1000, "app_password": 2.5})).await, [basic("1000", "2.5")]);
    });
}

/// PX-213, PX-215, PX-581: a colon or control byte in the user name suppresses the header, also the client's own.
#[test]
fn px_213_a_colon_in_the_user_name_suppresses_the_header() {
    run(async {
        for name in ["a:b", "a\nb", "a\u{7f}b"] {
            assert_eq!(sent_for(json!({"app_user": name, "app_password": "x"})).await, [""; 0], "{name:?}");
        }
    });
}

/// PX-214: user name and password are UTF-8 and may hold any further colons.
#[test]
fn px_214_credentials_are_utf8() {
    run(async {
        let sent = sent_for(json!({"app_user": "Jürgen", "app_password": "pass:wörd:"})).await;
        assert_eq!(sent, [basic("Jürgen", "pass:wörd:")]);
    });
}

/// PX-208, PX-210: a changed attribute reaches the application with the next login, and not before.
#[test]
fn px_208_changed_attributes_show_after_the_next_login() {
    run(async {
        let site = shared().await;
        let attributes = json!({"app_user": "service", "app_password": "before"});
        let person = site.api.person_with("carol", attributes).await;
        let stage = Stage::with(site, person, basic_upstream()).await;
        let before = stage.login_cookie().await;
        let changed = json!({"attributes": {"app_user": "service", "app_password": "after"}});
        site.api.patch(&format!("core/users/{}/", stage.person.pk), changed).await;
        assert_eq!(stage.get("/old").header("cookie", &before).go().await.status, 200);
        assert_eq!(stage.recorder.last().all("authorization"), [basic("service", "before")]);
        let after = stage.login_cookie().await;
        assert_eq!(stage.get("/new").header("cookie", &after).go().await.status, 200);
        assert_eq!(stage.recorder.last().all("authorization"), [basic("service", "after")]);
    });
}

/// PX-022, CO-559: enabling HTTP Basic towards the application needs both attribute keys, judged on the merged object.
#[test]
fn px_022_basic_needs_both_attribute_keys() {
    run(async {
        let stage = Stage::new(json!({"basic_auth_user_attribute": "app_user"})).await;
        let path = format!("providers/proxy/{}/", stage.app.provider);
        let enable = json!({"basic_auth_enabled": true});
        let refused = stage.site.api.call("PATCH", &path, Some(&enable)).await;
        assert_eq!(refused.status, 400);
        let text = "User and password attributes must be set when basic auth is enabled.";
        assert_eq!(refused.json()["basic_auth_enabled"], json!([text]));
        let both = json!({"basic_auth_enabled": true, "basic_auth_password_attribute": "app_password"});
        assert_eq!(stage.site.api.call("PATCH", &path, Some(&both)).await.status, 200);
    });
}

/// PX-021, PX-601: the upstream is required in mode `proxy`, and a PATCH of something else does not ask for it again.
#[test]
fn px_021_internal_host_is_judged_on_the_merged_object() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let path = format!("providers/proxy/{}/", stage.app.provider);
        let name = json!({"name": portcullis_testkit::api::fresh("renamed")});
        assert_eq!(stage.site.api.call("PATCH", &path, Some(&name)).await.status, 200);
        let refused = stage.site.api.call("PATCH", &path, Some(&json!({"internal_host": ""}))).await;
        assert_eq!(refused.status, 400);
        assert!(refused.json()["internal_host"].is_array(), "{}", refused.text());
    });
}

/// PX-216, PX-217, PX-219, PX-572: `additionalHeaders` become headers; each kind of value has one spelling.
#[test]
fn px_217_additional_headers_convert_values() {
    run(async {
        let site = shared().await;
        let attributes = json!({"additionalHeaders": {
            "X-Text": "as is", "X-Number": 42, "X-Fraction": 1.5, "X-Flag": true, "X-List": ["a", 1, false],
            "X-Object": {"a": [1]}, "X-Gone": null, "REMOTE_USER": "underscore",
        }});
        let person = site.api.person_with("carol", attributes).await;
        let stage = Stage::with(site, person, json!({})).await;
        let request = stage.get("/").header("authorization", stage.basic()).header("x-gone", "from the client");
        assert_eq!(request.go().await.status, 200);
        let seen = stage.recorder.last();
        let expected = [
            ("x-text", "as is"),
            ("x-number", "42"),
            ("x-fraction", "1.5"),
            ("x-flag", "true"),
            ("x-list", "a|1|false"),
            ("x-object", "{\"a\":[1]}"),
        ];
        for (name, value) in expected {
            assert_eq!(seen.all(name), [value], "{name}");
        }
        assert_eq!(seen.all("x-gone"), [""; 0]);
        assert_eq!(seen.all("remote_user"), ["underscore"]);
        let bytes = stage.recorder.bytes();
        assert!(portcullis_testkit::raw::find(&bytes, b"\r\nREMOTE_USER: underscore\r\n").is_some(), "as it is given");
    });
}

/// PX-216, PX-571: `additionalHeaders` of any other type is ignored.
#[test]
fn px_216_additional_headers_of_another_type_are_ignored() {
    run(async {
        for odd in [json!("text"), json!(["list"]), json!(7)] {
            let site = shared().await;
            let person = site.api.person_with("carol", json!({"additionalHeaders": odd})).await;
            let stage = Stage::with(site, person, json!({})).await;
            assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        }
    });
}

/// PX-218, PX-570: headers that carry identity, framing or trust cannot be set from attributes.
#[test]
fn px_218_forbidden_names_are_not_set() {
    run(async {
        let site = shared().await;
        let forbidden = [
            "X-authentik-username",
            "X-Authentik-Groups",
            "Connection",
            "Transfer-Encoding",
            "Content-Length",
            "Content-Type",
            "Cookie",
            "Set-Cookie",
            "X-Forwarded-For",
            "Forwarded",
            "X-Real-IP",
            "X-Original-URL",
            "X-Accel-Redirect",
            "Via",
            "not a token",
        ];
        let headers: serde_json::Map<String, Value> =
            forbidden.iter().map(|name| ((*name).to_owned(), json!("forged"))).collect();
        let person = site.api.person_with("carol", json!({"additionalHeaders": headers})).await;
        let stage = Stage::with(site, person, json!({})).await;
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        assert!(!stage.recorder.last().contains("forged"), "{:?}", stage.recorder.last());
    });
}

/// PX-218: `Authorization` among the additional headers is allowed and wins over HTTP Basic.
#[test]
fn px_218_additional_authorization_wins() {
    run(async {
        let attributes = json!({"app_user": "a", "app_password": "b",
            "additionalHeaders": {"Authorization": "Token fixed"}});
        assert_eq!(sent_for(attributes).await, ["Token fixed"]);
    });
}
