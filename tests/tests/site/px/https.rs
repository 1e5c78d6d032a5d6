//! HTTPS with certificates of applications, set up by the API alone; and balancers in front.

use portcullis_testkit::api::{fresh, text};
use portcullis_testkit::http::client_that_knows;
use portcullis_testkit::process::free_port;
use portcullis_testkit::{App, Go as _, Recorder, Site, http, raw, run, until};
use serde_json::{Value, json};

const PAIRS: &str = "crypto/certificatekeypairs/";

/// A site with an HTTPS listener, and its port.
async fn https_site() -> (Site, u16) {
    let port = free_port();
    let site = Site::options().env("PORTCULLIS_LISTEN__HTTPS", &format!("127.0.0.1:{port}")).start().await;
    (site, port)
}

/// An application behind HTTPS that everybody may see, with these settings of its provider.
async fn open_app(site: &Site, recorder: &Recorder, external: &str, settings: Value) -> App {
    let mut all = json!({"skip_path_regex": "^/"});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    site.api.app(external, &recorder.url(), &all).await
}

/// A new certificate for a host; its key, and itself as PEM.
async fn certificate(site: &Site, name: &str, host: &str, days: i32) -> (Value, String) {
    let wanted = json!({"common_name": fresh(name), "subject_alt_name": host, "validity_days": days, "alg": "ecdsa"});
    let pk = site.api.post(&format!("{PAIRS}generate/"), wanted).await["pk"].clone();
    let view = site.api.get(&format!("{PAIRS}{}/view_certificate/", text(&pk))).await;
    (pk, text(&view["data"]))
}

/// The status that a client gets which accepts this certificate alone; none if it is shown another.
async fn seen(known: &str, url: &str) -> Option<u16> {
    client_that_knows(known).get(url).try_go().await.map(|reply| reply.status)
}

/// Waits for words in the log.
async fn logged(site: &Site, words: &str) {
    until(words, async || site.log().contains(words).then_some(())).await;
}

/// PX-300, PX-029, PX-020, CO-594: an application shows the certificate that its provider names, another one from the
/// next connection on, and none of its own once that is deleted; applications beside it notice nothing.
#[test]
fn px_300_applications_show_their_certificates() {
    run(async {
        let (site, port) = https_site().await;
        let recorder = Recorder::start().await;
        let hosts = [fresh("shown"), fresh("shown")].map(|name| format!("{name}.localhost"));
        let [first, second] = [0, 1].map(|at| format!("https://{}:{port}", hosts[at]));
        let (one, one_pem) = certificate(&site, "one", &hosts[0], 90).await;
        let (two, two_pem) = certificate(&site, "two", &hosts[1], 90).await;
        let app = open_app(&site, &recorder, &first, json!({"certificate": one})).await;
        open_app(&site, &recorder, &second, json!({"certificate": two})).await;
        assert_eq!(seen(&one_pem, &first).await, Some(200));
        assert_eq!(seen(&two_pem, &second).await, Some(200));
        assert_eq!(seen(&one_pem, &second).await, None);
        assert_eq!(recorder.last().one("x-forwarded-proto").as_deref(), Some("https"));

        // A renewed one under the same key of the API, and then another one.
        let (new, new_pem) = certificate(&site, "new", &hosts[0], 90).await;
        let view =
            async |what: &str| site.api.get(&format!("{PAIRS}{}/view_{what}/", text(&new))).await["data"].clone();
        let renewed = json!({"certificate_data": view("certificate").await, "key_data": view("private_key").await});
        let path = format!("{PAIRS}{}/", text(&one));
        site.api.patch(&path, renewed).await;
        assert_eq!((seen(&new_pem, &first).await, seen(&one_pem, &first).await), (Some(200), None));
        let provider = format!("providers/proxy/{}/", app.provider);
        let (other, other_pem) = certificate(&site, "other", &hosts[0], 90).await;
        assert_eq!(site.api.patch(&provider, json!({"certificate": other})).await["certificate"], other);
        assert_eq!((seen(&other_pem, &first).await, seen(&new_pem, &first).await), (Some(200), None));

        site.api.delete(&format!("{PAIRS}{}/", text(&other))).await;
        assert_eq!(site.api.get(&provider).await["certificate"], Value::Null);
        assert_eq!((seen(&other_pem, &first).await, seen(&two_pem, &second).await), (None, Some(200)));
    });
}

/// PX-301, PX-303: certificates are there after a restart; one without its private key is ignored with a warning.
#[test]
fn px_303_a_certificate_without_key_is_ignored() {
    run(async {
        let (site, port) = https_site().await;
        let recorder = Recorder::start().await;
        let hosts = [fresh("shown"), fresh("bare")].map(|name| format!("{name}.localhost"));
        let [shown, bare] = [0, 1].map(|at| format!("https://{}:{port}", hosts[at]));
        let (pair, pem) = certificate(&site, "pair", &hosts[0], 90).await;
        open_app(&site, &recorder, &shown, json!({"certificate": pair})).await;
        let (_, bare_pem) = certificate(&site, "bare", &hosts[1], 90).await;
        let body = json!({"name": fresh("without"), "certificate_data": bare_pem});
        let keyless = site.api.post(PAIRS, body).await["pk"].clone();
        open_app(&site, &recorder, &bare, json!({"certificate": keyless})).await;
        logged(&site, "without its private key").await;
        site.kill();
        site.restart().await;
        assert_eq!((seen(&pem, &shown).await, seen(&bare_pem, &bare).await), (Some(200), None));
    });
}

/// PX-300, PX-029: the host of the public URL shows the certificate that is for it, from the next connection after it was
/// brought; without one, nothing that a client would accept.
#[test]
fn px_300_the_sign_in_pages_show_their_certificate() {
    run(async {
        let (site, port) = https_site().await;
        let url = format!("https://localhost:{port}/-/health/live/");
        let (other, other_pem) = certificate(&site, "other", "elsewhere.localhost", 90).await;
        assert_eq!(seen(&other_pem, &url).await, None);
        let (first, first_pem) = certificate(&site, "first", "localhost", 30).await;
        until("the first certificate", async || seen(&first_pem, &url).await).await;
        let (second, second_pem) = certificate(&site, "second", "localhost", 60).await;
        until("the second certificate", async || seen(&second_pem, &url).await).await;
        assert_eq!(seen(&first_pem, &url).await, None);
        let ends = site.metric("portcullis_proxy_certificate_expiry_seconds", &["provider=\"(sign-in pages)\""]).await;
        assert!(ends > 0.0);
        for pair in [second, other] {
            site.api.delete(&format!("{PAIRS}{}/", text(&pair))).await;
        }
        until("the first certificate again", async || seen(&first_pem, &url).await).await;
        site.api.delete(&format!("{PAIRS}{}/", text(&first))).await;
        until("no certificate", async || seen(&first_pem, &url).await.is_none().then_some(())).await;
    });
}

/// CO-502, PX-300, PX-029: a brand's certificate is shown for its domain and what is below it, and the default brand's for
/// names of nobody, from the next connection on.
#[test]
fn co_502_brands_show_their_certificates() {
    run(async {
        let (site, port) = https_site().await;
        let domain = format!("{}.localhost", fresh("brand"));
        let other = format!("{}.localhost", fresh("nobody"));
        let [exact, below, nobody] = [domain.clone(), format!("a.{domain}"), other.clone()]
            .map(|host| format!("https://{host}:{port}/-/health/live/"));
        let (branded, branded_pem) = certificate(&site, "branded", &format!("{domain},a.{domain}"), 90).await;
        let (default, default_pem) = certificate(&site, "default", &format!("{other},{domain}"), 90).await;
        let brand = site.api.post("core/brands/", json!({"domain": domain, "web_certificate": branded})).await;
        for url in [&exact, &below] {
            until("the brand's certificate", async || seen(&branded_pem, url).await).await;
        }
        assert_eq!(seen(&default_pem, &nobody).await, None);
        let listed = site.api.get("core/brands/?default=true").await;
        let of_default = format!("core/brands/{}/", text(&listed["results"][0]["brand_uuid"]));
        site.api.patch(&of_default, json!({"web_certificate": default})).await;
        until("the default brand's certificate", async || seen(&default_pem, &nobody).await).await;
        assert_eq!(seen(&default_pem, &exact).await, None);
        site.api.delete(&format!("core/brands/{}/", text(&brand["brand_uuid"]))).await;
        until("the default brand's certificate", async || seen(&default_pem, &exact).await).await;
        site.api.patch(&of_default, json!({"web_certificate": null})).await;
        until("no certificate", async || seen(&default_pem, &exact).await.is_none().then_some(())).await;
    });
}

/// PX-279: an application behind https must show a certificate that the system's authorities signed, or those that the
/// operator names, unless its provider does without.
#[test]
fn px_279_the_operator_names_authorities() {
    run(async {
        let (behind, port) = https_site().await;
        let (_, pem) = certificate(&behind, "behind", "localhost", 30).await;
        let file = behind.data().join("authorities.pem");
        std::fs::write(&file, pem).unwrap();
        let internal = format!("https://localhost:{port}");
        let asked = async |site: &Site, settings: Value| {
            let mut all = json!({"skip_path_regex": "^/"});
            all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
            let app = site.app_before(&internal, all).await;
            http().get(app.url("/-/health/live/")).go().await.status
        };
        let strict = Site::start().await;
        assert_eq!(asked(&strict, json!({})).await, 502);
        assert_eq!(asked(&strict, json!({"internal_host_ssl_validation": false})).await, 200);
        let named = Site::options().env("PORTCULLIS_PROXY__UPSTREAM_AUTHORITIES", &file.display().to_string());
        assert_eq!(asked(&named.start().await, json!({})).await, 200);
    });
}

/// PX-304: a metric tells when each application's certificate ends, and the log warns of one that ends within 14 days.
#[test]
fn px_304_certificates_that_end_soon_are_visible() {
    run(async {
        let (site, port) = https_site().await;
        let recorder = Recorder::start().await;
        for (days, warned) in [(15, false), (13, true)] {
            let host = format!("{}.localhost", fresh("ends"));
            let (pair, _) = certificate(&site, "ends", &host, days).await;
            let external = format!("https://{host}:{port}");
            let app = open_app(&site, &recorder, &external, json!({"certificate": pair})).await;
            let label = format!("provider=\"Provider of {}\"", app.slug);
            let end = site.metric("portcullis_proxy_certificate_expiry_seconds", &[&label]).await;
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
            assert!((end - now - f64::from(days) * 86_400.0).abs() < 600.0, "{end} {now}");
            if warned {
                logged(&site, "a certificate expires soon").await;
            } else {
                assert!(!site.log().contains("a certificate expires soon"), "{}", site.log());
            }
        }
    });
}

/// PX-041, PX-042: a balancer on a trusted address tells with the PROXY protocol whose connection it carries.
#[test]
fn px_041_a_balancer_tells_the_client() {
    run(async {
        let site = Site::start().await;
        let recorder = Recorder::start().await;
        let app = site.app(&recorder, json!({"skip_path_regex": "^/"})).await;
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", app.authority());
        let header = "PROXY TCP6 2001:db8::7 2001:db8::1 40000 80\r\n";
        let answer = raw::exchange(site.port, format!("{header}{request}")).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
        assert_eq!(recorder.last().one("x-forwarded-for").as_deref(), Some("2001:db8::7"));
        let answer = raw::exchange(site.port, format!("PROXY NONSENSE\r\n{request}")).await;
        assert_eq!(raw::status(&answer), 400, "{answer}");
    });
}
