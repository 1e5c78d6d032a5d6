//! What operators look at: probes, metrics, logs; and what a provider is registered with.

use portcullis_testkit::peers::Nginx;
use portcullis_testkit::{Go as _, Site, api, http, raw, run, until};
use serde_json::{Value, json};

use crate::stage::{Stage, basic, shared};

/// PX-279: the certificate of an application is verified, unless its provider says not to.
#[test]
fn px_279_certificates_of_applications_are_verified() {
    run(async {
        let site = shared().await;
        let nginx = Nginx::start().await;
        let trusting = json!({"skip_path_regex": "^/", "internal_host_ssl_validation": false});
        let trusting = site.app_before(&nginx.tls_url(), trusting).await;
        let reply = http().get(trusting.url("/")).header("authorization", basic("wiki-service", "upstream-secret"));
        let reply = reply.go().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let careful = site.app_before(&nginx.tls_url(), json!({"skip_path_regex": "^/"})).await;
        assert_eq!(http().get(careful.url("/")).go().await.status, 502);
    });
}

/// PX-315: probes answer on every listener.
#[test]
fn px_315_probes() {
    run(async {
        let site = shared().await;
        for port in [site.port, site.metrics_port] {
            for path in ["/outpost.goauthentik.io/ping", "/outpost.goauthentik.io/ping?ready"] {
                let reply = http().get(format!("http://127.0.0.1:{port}{path}")).go().await;
                assert_eq!((reply.status, reply.body.len()), (204, 0), "{port}{path}");
            }
            let reply = http().get(format!("http://127.0.0.1:{port}/-/health/live/")).go().await;
            assert_eq!(reply.status, 200, "{port}");
        }
    });
}

/// PX-317, PX-318, PX-319, PX-599: metrics have the names that dashboards know, and labels that clients cannot invent.
#[test]
fn px_317_metrics() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        assert_eq!(stage.get_as_stranger("/").header("authorization", basic("x", "y")).go().await.status, 401);
        let request = format!("BREW / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stage.app.authority());
        raw::exchange(site.port, request).await;
        let invented = "GET /x HTTP/1.1\r\nHost: invented.example\r\nConnection: close\r\n\r\n";
        raw::exchange(site.port, invented).await;
        let page = http().get(format!("http://127.0.0.1:{}/metrics", site.metrics_port)).go().await.text();
        for name in [
            "authentik_outpost_info",
            "authentik_outpost_last_update",
            "authentik_outpost_proxy_request_duration_seconds",
            "authentik_outpost_proxy_upstream_response_duration_seconds",
            "portcullis_proxy_header_auth_total",
            "portcullis_proxy_core_calls_total",
            "portcullis_proxy_stripped_headers_total",
        ] {
            assert!(page.contains(&format!("# TYPE {name} ")), "{name}:\n{page}");
        }
        let upstream = format!("upstream_host=\"{}\"", stage.recorder.url().trim_start_matches("http://"));
        assert!(page.contains(&upstream), "{upstream}: {page}");
        assert!(!page.contains("BREW") && !page.contains("invented.example"), "{page}");
        assert!(
            page.lines().any(|line| line.starts_with("portcullis_proxy_header_auth_total") && line.contains("refused"))
        );
    });
}

/// PX-008, PX-029: a provider that changes under load drops no request, and each change is in force when it is answered.
#[test]
fn px_008_changes_under_load_drop_nothing() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        let cookie = stage.header_cookie(&stage.basic()).await;
        let load = futures_util::future::join_all((0..8).map(async |number| {
            for _ in 0..60 {
                let request = stage.get("/size/2000");
                let reply = match number % 2 {
                    0 => request.header("authorization", stage.basic()).go().await,
                    _ => request.header("cookie", &cookie).go().await,
                };
                assert_eq!((reply.status, reply.body.len()), (200, 2000));
            }
        }));
        let changes = async {
            for number in 0..20 {
                let name = format!("Provider, name {number}");
                let path = format!("providers/proxy/{}/", stage.app.provider);
                site.api.patch(&path, json!({"name": name, "skip_path_regex": format!("^/open-{number}$")})).await;
                assert_eq!(stage.get(&format!("/open-{number}")).go().await.status, 200, "{number}");
                assert_eq!(stage.recorder.last().one("authorization"), None);
            }
        };
        tokio::join!(load, changes);
    });
}

/// PX-319: every metric of the dashboard that comes with Portcullis is there, under that very name.
#[test]
fn px_319_the_dashboard_shows_what_there_is() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        stage.header_cookie(&stage.basic()).await;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/grafana/portcullis.json");
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let expressions = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
        let words = expressions.flat_map(|target| {
            target["expr"].as_str().unwrap().split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned)
        });
        let mut names: Vec<String> =
            words.filter(|word| word.starts_with("authentik_") || word.starts_with("portcullis_")).collect();
        names.sort();
        names.dedup();
        assert!(names.len() > 12, "{names:?}");
        // Only providers with a certificate have this one.
        names.retain(|name| name != "portcullis_proxy_certificate_expiry_seconds");
        let url = format!("http://127.0.0.1:{}/metrics", site.metrics_port);
        until("all metrics", async || {
            let page = http().get(&url).go().await.text();
            names.iter().all(|name| page.lines().any(|line| line.starts_with(name.as_str()))).then_some(())
        })
        .await;
    });
}

/// PX-320, PX-323: one JSON line per request, with the fields that log shippers know and the id that the application saw.
#[test]
fn px_320_the_access_log() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        let request = stage.get("/logged?x=1").header("authorization", stage.basic()).header("user-agent", "a test");
        assert_eq!(request.go().await.status, 200);
        let id = stage.recorder.last().one("x-request-id");
        let line = until("the line in the log", async || {
            let log = site.log();
            let line = log.lines().find(|line| line.contains("/logged?x=1"))?;
            Some(serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        })
        .await;
        let provider = format!("Provider of {}", stage.app.slug);
        for (field, value) in [
            ("event", json!("/logged?x=1")),
            ("method", json!("GET")),
            ("scheme", json!("http")),
            ("status", json!(200)),
            ("host", json!(stage.app.authority())),
            ("user", json!(stage.person.username)),
            ("user_agent", json!("a test")),
            ("remote", json!(stage.address)),
            ("name", json!(provider)),
        ] {
            assert_eq!(line[field], value, "{field} in {line}");
        }
        for field in ["timestamp", "level", "logger", "runtime", "size"] {
            assert!(line.get(field).is_some(), "{field} in {line}");
        }
        assert!(id.is_some_and(|id| line.to_string().contains(&id)), "{line}");
    });
}

/// CO-417, CO-485: each event is a line in the log, too; the first line says that the process is ready, and the bootstrap
/// token is good from then on.
#[test]
fn co_417_events_are_in_the_log() {
    run(async {
        let site = Site::start().await;
        let person = site.api.person("logged").await;
        let lines =
            |log: &str| -> Vec<Value> { log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect() };
        let (place, line) = until("the event in the log", async || {
            let lines = lines(&site.log());
            let is_it = |line: &Value| {
                line["event"] == "Created Event"
                    && line["action"] == "model_created"
                    && line["context"].as_str().is_some_and(|context| context.contains(&person.username))
            };
            let place = lines.iter().position(is_it)?;
            Some((place, lines[place].clone()))
        })
        .await;
        for field in ["user", "client_ip", "pk", "timestamp", "level"] {
            assert!(line.get(field).is_some(), "{field} in {line}");
        }
        assert!(line["user"].as_str().is_some_and(|user| user.contains("akadmin")), "{line}");
        let ready = lines(&site.log()).iter().position(|line| line["message"] == "ready");
        assert!(ready.is_some_and(|ready| ready < place), "{}", site.log());
    });
}

/// PX-026, PX-025, PX-020: a provider is registered with its two redirect URIs, five scopes and documented defaults.
#[test]
fn px_026_what_a_provider_is_registered_with() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let provider = stage.site.api.get(&format!("providers/proxy/{}/", stage.app.provider)).await;
        let uris: Vec<&str> =
            provider["redirect_uris"].as_array().unwrap().iter().filter_map(|uri| uri["url"].as_str()).collect();
        let external = &stage.app.external;
        let callback = format!("{external}/outpost.goauthentik.io/callback?X-authentik-auth-callback=true");
        assert!(uris.contains(&callback.as_str()), "{uris:?}");
        assert!(uris.contains(&format!("{external}?X-authentik-auth-callback=true").as_str()), "{uris:?}");
        for (field, value) in [
            ("mode", json!("proxy")),
            ("internal_host_ssl_validation", json!(true)),
            ("intercept_header_auth", json!(true)),
            ("basic_auth_enabled", json!(false)),
            ("basic_auth_user_attribute", json!("")),
            ("basic_auth_password_attribute", json!("")),
            ("cookie_domain", json!("")),
            ("skip_path_regex", json!("")),
            ("access_token_validity", json!("hours=1")),
            ("refresh_token_validity", json!("days=30")),
            ("certificate", json!(null)),
            ("assigned_application_slug", json!(stage.app.slug)),
        ] {
            assert_eq!(provider[field], value, "{field}");
        }
        assert!(provider.get("client_secret").is_none() && provider.get("cookie_secret").is_none(), "{provider}");
    });
}

/// PX-402, CO-570: the list for outposts has every key, nothing null but the certificate, and is for administrators only.
#[test]
fn px_402_the_list_for_outposts() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let name = format!("outposts/proxy/?name=Provider%20of%20{}", stage.app.slug);
        let list = stage.site.api.get(&name).await;
        let provider = &list["results"][0];
        for (key, value) in provider.as_object().unwrap() {
            assert_eq!(value.is_null(), key == "certificate", "{key}: {value}");
        }
        assert_eq!(provider["assigned_application_slug"], json!(stage.app.slug));
        assert_eq!(provider["access_token_validity"], json!(3600));
        let issuer = format!("{}/application/o/{}/", stage.site.base(), stage.app.slug);
        assert_eq!(provider["oidc_configuration"]["issuer"], json!(issuer));
        let anonymous = http().get(stage.site.url("/api/v3/outposts/proxy/")).go().await;
        assert_eq!(anonymous.status, 403);
    });
}

/// PX-027: a provider without an application is not served.
#[test]
fn px_027_a_provider_without_application_is_not_served() {
    run(async {
        let site = shared().await;
        let (authorization, invalidation) = site.api.flows().await;
        let external = format!("http://{}.localhost:{}", portcullis_testkit::api::fresh("lonely"), site.port);
        let provider = json!({"name": portcullis_testkit::api::fresh("lonely"), "authorization_flow": authorization,
            "invalidation_flow": invalidation, "external_host": external, "internal_host": "http://127.0.0.1:9"});
        let provider = site.api.post("providers/proxy/", provider).await;
        site.api.attach(provider["pk"].as_i64().unwrap()).await;
        let reply = http().get(format!("{external}/nothing/here")).go().await;
        assert_eq!(reply.status, 404, "the core's answer");
    });
}

/// PX-322: the log level in the configuration of the embedded outpost is for outposts of their own: here, the process
/// decides.
#[test]
fn px_322_the_embedded_outpost_keeps_the_level_of_its_process() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        let outposts = site.api.get("outposts/instances/").await;
        let embedded = &outposts["results"][0];
        let mut config = embedded["config"].clone();
        config["log_level"] = json!("trace");
        let path = format!("outposts/instances/{}/", api::text(&embedded["pk"]));
        let changed = site.api.patch(&path, json!({"config": config})).await;
        assert_eq!(changed["config"]["log_level"], "trace");
        assert_eq!(stage.get("/").header("authorization", stage.basic()).go().await.status, 200);
        let log = site.log();
        assert!(log.contains("\"level\":\"INFO\"") && !log.contains("TRACE") && !log.contains("DEBUG"), "{log}");
    });
}
