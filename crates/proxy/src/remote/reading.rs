//! Reads what a control plane says of outposts and their providers (PX-350 … PX-357), forgiving what it can.

use std::time::Duration;

use portcullis_core::host;
use portcullis_core::id::ProviderPk;
use portcullis_core::outpost::{Endpoints, Mode, Provider};
use portcullis_core::redirect::RedirectRule;
use serde_json::{Map, Value};
use url::{Host, Url};

/// Between two readings, if the outpost does not say (PX-355).
const INTERVAL_SECONDS: i64 = 300;
/// The shortest time between two readings.
const SHORTEST_SECONDS: i64 = 30;

/// What an outpost is told about itself (PX-351).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outpost {
    pub(super) pk: String,
    pub(super) name: String,
    pub(super) interval: Duration,
    /// Where the control plane believes to be.
    pub(super) host: String,
    /// Where browsers find it, if elsewhere.
    pub(super) host_browser: String,
    pub(super) log_level: String,
}

/// The first outpost of a list (PX-354).
pub(super) fn outpost(list: &Value) -> Result<Outpost, &'static str> {
    let first = list.pointer("/results/0").and_then(Value::as_object);
    let first = first.ok_or("the token belongs to no outpost: the list of outposts is empty")?;
    let pk = text(first, "pk");
    if pk.is_empty() {
        return Err("the outpost has no pk");
    }
    let none = Map::new();
    let config = first.get("config").and_then(Value::as_object).unwrap_or(&none);
    let seconds = match first.get("refresh_interval_s").and_then(whole).unwrap_or_default() {
        ..=0 => INTERVAL_SECONDS,
        seconds => seconds.max(SHORTEST_SECONDS),
    };
    Ok(Outpost {
        pk,
        name: text(first, "name"),
        interval: Duration::from_secs(seconds.unsigned_abs()),
        host: text(config, "authentik_host"),
        host_browser: text(config, "authentik_host_browser"),
        log_level: text(config, "log_level"),
    })
}

/// How many outposts the token sees besides the first; the token of an outpost sees that one alone (PX-401).
pub(super) fn other_outposts(list: &Value) -> usize {
    let shown = list.get("results").and_then(Value::as_array).map_or(0, Vec::len);
    let counted = list.pointer("/pagination/count").and_then(whole).and_then(|count| usize::try_from(count).ok());
    counted.unwrap_or_default().max(shown).saturating_sub(1)
}

/// The number of the next page; none on the last one.
pub(super) fn next_page(list: &Value, present: i64) -> Option<i64> {
    list.pointer("/pagination/next").and_then(whole).filter(|next| *next > present)
}

/// A provider as the data plane takes it, and how its control plane is asked about it.
#[derive(Clone, PartialEq)]
pub(super) struct Served {
    pub(super) provider: Provider,
    /// Token endpoint, as it is dialled.
    pub(super) token: Url,
    /// Introspection endpoint, as it is dialled.
    pub(super) introspection: Option<Url>,
    /// Where the keys are.
    pub(super) jwks: Option<Url>,
    /// Whether its tokens are signed with the client secret.
    pub(super) symmetric: bool,
    /// `Host` and scheme that the two endpoints are to see (PX-341).
    pub(super) seen_as: Option<Url>,
}

/// From where the control plane is seen, beside what it says itself (PX-340).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Views {
    /// From browsers, if that differs.
    pub(super) browser: Option<Url>,
    /// From itself.
    pub(super) own: Option<Url>,
}

impl Views {
    /// The setting wins over what the outpost's configuration says (PX-342); what is no URL counts as absent (PX-343).
    pub(super) fn new(host_browser: &str, outpost: &Outpost) -> Self {
        let browser = if host_browser.is_empty() { &outpost.host_browser } else { host_browser };
        Self { browser: place("HOST_BROWSER", browser), own: place("authentik_host", &outpost.host) }
    }
}

fn place(name: &str, written: &str) -> Option<Url> {
    if written.is_empty() {
        return None;
    }
    let url = Url::parse(written).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if url.is_none() {
        tracing::error!(setting = name, "this is no http or https URL: endpoints stay as they are delivered");
    }
    url
}

/// `url` with scheme and authority of `host`; path and query stay.
fn moved(url: &str, host: Option<&Url>) -> String {
    match (Url::parse(url), host) {
        (Ok(parsed), Some(host)) => {
            format!("{}{}", host.origin().ascii_serialization(), &parsed[url::Position::BeforePath..])
        }
        _ => url.to_owned(),
    }
}

/// The key of a provider, even if nothing else of it can be read.
pub(super) fn pk(value: &Value) -> Option<ProviderPk> {
    value.get("pk").and_then(whole).and_then(|pk| i32::try_from(pk).ok()).map(ProviderPk)
}

/// One provider.
///
/// # Errors
/// What is missing, or of a kind that is not known.
pub(super) fn provider(value: &Value, views: &Views) -> Result<Served, String> {
    let said = value.as_object().ok_or("it is no object")?;
    let needed = |name: &str| match text(said, name) {
        empty if empty.is_empty() => Err(format!("it has no {name}")),
        text => Ok(text),
    };
    let none = Map::new();
    let oidc = said.get("oidc_configuration").and_then(Value::as_object).unwrap_or(&none);
    let url = |name: &str| match text(oidc, name) {
        empty if empty.is_empty() => Ok(None),
        text => Url::parse(&text).map(Some).map_err(|_| format!("{name} is no URL")),
    };
    let flag = |name: &str, otherwise: bool| said.get(name).and_then(Value::as_bool).unwrap_or(otherwise);
    let texts = |from: &Map<String, Value>, name: &str| -> Vec<String> {
        let items = from.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let name = text(said, "name");
    let external_host = needed("external_host")?;
    let cookie_domain = text(said, "cookie_domain");
    let mode = match text(said, "mode").as_str() {
        "proxy" => Mode::Proxy,
        "forward_single" => Mode::ForwardSingle,
        "forward_domain" if is_usable(&cookie_domain, &external_host) => Mode::ForwardDomain,
        "forward_domain" => {
            tracing::error!(provider.name = name, "no usable cookie_domain: only the host of external_host is served");
            Mode::ForwardSingle
        }
        other => return Err(format!("its mode {other:?} is not known")),
    };
    let validity = said.get("access_token_validity").and_then(whole).unwrap_or_default();
    let (token, introspection, jwks) = (url("token_endpoint")?, url("introspection_endpoint")?, url("jwks_uri")?);
    let browser = views.browser.as_ref();
    let authorization = text(oidc, "authorization_endpoint");
    let issuer = text(oidc, "issuer");
    if authorization.is_empty() || issuer.is_empty() {
        return Err("its oidc_configuration has no authorization_endpoint or no issuer".to_owned());
    }
    let provider = Provider {
        pk: pk(value).ok_or("it has no pk")?,
        mode,
        internal_host: text(said, "internal_host"),
        internal_host_ssl_validation: flag("internal_host_ssl_validation", true),
        client_id: needed("client_id")?,
        client_secret: text(said, "client_secret"),
        cookie_secret: needed("cookie_secret")?,
        // A foreign one would be refused by browsers.
        cookie_domain: if mode == Mode::ForwardSingle && !is_usable(&cookie_domain, &external_host) {
            String::new()
        } else {
            cookie_domain
        },
        certificate: text(said, "certificate").parse().ok(),
        skip_path_regex: text(said, "skip_path_regex"),
        intercept_header_auth: flag("intercept_header_auth", true),
        basic_auth_enabled: flag("basic_auth_enabled", false),
        basic_auth_user_attribute: text(said, "basic_auth_user_attribute"),
        basic_auth_password_attribute: text(said, "basic_auth_password_attribute"),
        access_token_validity: validity,
        scopes_to_request: texts(said, "scopes_to_request"),
        application_slug: text(said, "assigned_application_slug"),
        application_name: text(said, "assigned_application_name"),
        header_names: Vec::new(),
        endpoints: Endpoints {
            issuer: moved(&issuer, browser),
            authorization: moved(&authorization, browser),
            end_session: moved(&text(oidc, "end_session_endpoint"), browser),
            jwks: text(oidc, "jwks_uri"),
        },
        name,
        external_host,
    };
    Ok(Served {
        provider,
        token: token.ok_or("its oidc_configuration has no token_endpoint")?,
        introspection,
        jwks,
        symmetric: texts(oidc, "id_token_signing_alg_values_supported").iter().any(|algorithm| algorithm == "HS256"),
        seen_as: views.browser.clone().or_else(|| views.own.clone()),
    })
}

/// Whether a URL leads to this very machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

/// Where secrets and passwords go that are less safe than the control plane at `base`, each with what is wrong with it.
pub(super) fn doubtful_places<'a>(served: &'a Served, base: &Url) -> Vec<(&'a Url, &'static str)> {
    let places = [Some(&served.token), served.introspection.as_ref(), served.jwks.as_ref()];
    let doubt = |place: &Url| match () {
        () if place.scheme() != "https" && base.scheme() == "https" => {
            Some("it is not encrypted, although the control plane is reached by https")
        }
        () if is_loopback(place) && !is_loopback(base) => {
            Some("it is on this machine, although the control plane is not")
        }
        () => None,
    };
    places.into_iter().flatten().filter_map(|place| doubt(place).map(|doubt| (place, doubt))).collect()
}

/// Whether browsers take cookies for a domain, and the host is within it (PX-023).
fn is_usable(cookie_domain: &str, external_host: &str) -> bool {
    let domain = host::cookie_domain(cookie_domain);
    let is_name = !domain.is_empty() && !host::is_public_suffix(&domain) && domain.parse::<std::net::IpAddr>().is_err();
    let rule = RedirectRule::new(external_host, Mode::ForwardSingle, "");
    is_name && rule.is_ok_and(|rule| rule.host().is_within(&domain))
}

fn text(from: &Map<String, Value>, name: &str) -> String {
    from.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A number without its fraction.
#[expect(clippy::cast_possible_truncation, reason = "out of range saturates")]
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|number| number.floor() as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list() -> Value {
        serde_json::from_str(include_str!("recorded/proxies.json")).expect("JSON")
    }

    fn first(change: impl FnOnce(&mut Value)) -> Value {
        let mut provider = list()["results"][0].clone();
        change(&mut provider);
        provider
    }

    fn instances() -> Value {
        serde_json::from_str(include_str!("recorded/instances.json")).expect("JSON")
    }

    /// PX-354, PX-401: a token that sees more than one outpost is not an outpost's own, be they on this page or not.
    #[test]
    fn px_354_a_token_that_sees_several_outposts_is_noticed() {
        for (list, others) in [
            (json!({}), 0),
            (json!({"results": [{}]}), 0),
            (json!({"results": [{}, {}]}), 1),
            (json!({"pagination": {"count": 3}, "results": [{}]}), 2),
            (json!({"pagination": {"count": -1}, "results": [{}]}), 0),
        ] {
            assert_eq!(other_outposts(&list), others, "{list}");
        }
    }

    /// PX-351, PX-356, PX-421: the outpost is the first of the list; its interval has a floor and a default.
    #[test]
    fn px_351_the_outpost_is_the_first_of_the_list() {
        let outpost = outpost(&instances()).expect("is read");
        assert_eq!((outpost.name.as_str(), outpost.interval.as_secs()), ("edge-1", 300));
        assert_eq!((outpost.host.as_str(), outpost.log_level.as_str()), ("https://id.example/", "info"));
        for (seconds, expected) in
            [(json!(0), 300), (json!(-5), 300), (json!(7), 30), (json!(31.9), 31), (json!(null), 300)]
        {
            let mut list = instances();
            list["results"][0]["refresh_interval_s"] = seconds.clone();
            assert_eq!(super::outpost(&list).expect("is read").interval.as_secs(), expected, "{seconds}");
        }
    }

    /// PX-354: an empty list, and one that is none, are errors.
    #[test]
    fn px_354_an_empty_list_is_an_error() {
        for bad in [json!({"results": []}), json!({}), json!([]), json!({"results": [{"name": "x"}]}), json!(null)] {
            assert!(outpost(&bad).is_err(), "{bad}");
        }
    }

    /// PX-020, PX-353, PX-357, PX-421: every field of a provider is taken over.
    #[test]
    fn px_353_a_provider_is_read() {
        let served = provider(&first(|_| {}), &Views::default()).expect("is read");
        let provider = &served.provider;
        assert_eq!((provider.pk, provider.name.as_str(), provider.mode), (ProviderPk(7), "wiki", Mode::Proxy));
        assert_eq!(provider.external_host, "https://wiki.example");
        assert_eq!(provider.skip_path_regex, "^/healthz$\n^/public/");
        assert_eq!((provider.access_token_validity, provider.scopes_to_request.len()), (3600, 5));
        assert_eq!((provider.application_slug.as_str(), provider.application_name.as_str()), ("wiki", "Wiki"));
        assert!(provider.intercept_header_auth && provider.basic_auth_enabled && provider.internal_host_ssl_validation);
        assert_eq!(served.token.as_str(), "https://id.example/application/o/token/");
        assert!(!served.symmetric && served.introspection.is_some() && served.jwks.is_some());
    }

    /// PX-350, PX-008: what is unknown is passed over; what is missing or odd concerns one provider alone.
    #[test]
    fn px_350_unknown_fields_are_ignored_and_unknown_values_concern_one_provider() {
        assert!(provider(&first(|said| said["tomorrow"] = json!({"x": 1})), &Views::default()).is_ok());
        for (name, value) in [
            ("mode", json!("ray")),
            ("pk", json!("7")),
            ("external_host", json!("")),
            ("client_id", json!(null)),
            ("cookie_secret", json!("")),
            ("oidc_configuration", json!(null)),
        ] {
            assert!(provider(&first(|said| said[name] = value), &Views::default()).is_err(), "{name}");
        }
        assert_eq!(pk(&first(|said| said["mode"] = json!("ray"))), Some(ProviderPk(7)));
        assert!(provider(&json!("wiki"), &Views::default()).is_err());
    }

    /// PX-030, PX-510: a lifetime may be a fraction, and one that makes no sense is left to the data plane's default.
    #[test]
    fn px_030_lifetimes_are_rounded_down() {
        for (value, expected) in
            [(json!(90.9), 90), (json!(null), 0), (json!(0), 0), (json!(-3.5), -4), (json!("1"), 0)]
        {
            let served = provider(&first(|said| said["access_token_validity"] = value), &Views::default());
            assert_eq!(served.expect("is read").provider.access_token_validity, expected);
        }
    }

    /// PX-023: a domain that cookies cannot have makes it one application's provider.
    #[test]
    fn px_023_a_domain_that_is_unusable_is_not_served() {
        for (domain, expected) in [
            ("wiki.example", Mode::ForwardDomain),
            (".wiki.example", Mode::ForwardDomain),
            ("", Mode::ForwardSingle),
            ("com", Mode::ForwardSingle),
            ("elsewhere.test", Mode::ForwardSingle),
            ("192.0.2.1", Mode::ForwardSingle),
        ] {
            let said = first(|said| {
                said["mode"] = json!("forward_domain");
                said["cookie_domain"] = json!(domain);
            });
            assert_eq!(provider(&said, &Views::default()).expect("is read").provider.mode, expected, "{domain}");
        }
    }

    /// PX-340, PX-341, PX-342, PX-343: what browsers see moves to where they find it; what is dialled stays.
    #[test]
    fn px_340_endpoints_of_browsers_are_rewritten() {
        let base = outpost(&instances()).expect("is read");
        let at = |views: &Views| provider(&first(|_| {}), views).expect("is read");

        let plain = at(&Views::new("", &base));
        assert_eq!(plain.provider.endpoints.issuer, "https://id.example/application/o/wiki/");
        assert_eq!(plain.seen_as.as_ref().map(Url::as_str), Some("https://id.example/"));

        let views = Views::new("http://login.test:8080/ignored", &base);
        let moved = at(&views);
        let endpoints = &moved.provider.endpoints;
        assert_eq!(endpoints.issuer, "http://login.test:8080/application/o/wiki/");
        assert_eq!(endpoints.authorization, "http://login.test:8080/application/o/authorize/");
        assert_eq!(endpoints.end_session, "http://login.test:8080/application/o/wiki/end-session/");
        assert_eq!(endpoints.jwks, "https://id.example/application/o/wiki/jwks/");
        assert_eq!(moved.token, plain.token);
        assert_eq!(moved.introspection, plain.introspection);
        assert_eq!(moved.seen_as.as_ref().and_then(Url::host_str), Some("login.test"));

        let told = Outpost { host_browser: "https://see.test".to_owned(), ..base.clone() };
        let issuer = |views: &Views| at(views).provider.endpoints.issuer;
        assert_eq!(issuer(&Views::new("", &told)), "https://see.test/application/o/wiki/");
        assert_eq!(issuer(&Views::new("https://set.test", &told)), "https://set.test/application/o/wiki/");
        for bad in ["login.test", "mailto:x", "::", "http://"] {
            assert_eq!(at(&Views::new(bad, &base)).provider.endpoints, plain.provider.endpoints, "{bad}");
        }
        let nowhere = Outpost { host: String::new(), ..base };
        assert_eq!(at(&Views::new("", &nowhere)).seen_as, None);
    }

    /// PX-340, PX-359: endpoints that are less safe than the control plane itself are told of.
    #[test]
    fn px_340_endpoints_that_are_weaker_than_the_control_plane_are_told_of() {
        let doubts = |base: &str, places: [&str; 3]| {
            let served = provider(
                &first(|said| {
                    let names = ["token_endpoint", "introspection_endpoint", "jwks_uri"];
                    for (name, place) in names.into_iter().zip(places) {
                        said["oidc_configuration"][name] = json!(place);
                    }
                }),
                &Views::default(),
            );
            let (served, base) = (served.expect("is read"), Url::parse(base).expect("a URL"));
            doubtful_places(&served, &base).into_iter().map(|(place, _)| place.to_string()).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        let safe = ["https://id.example/t", "https://id.example/i", "https://elsewhere.example/j"];
        assert_eq!(doubts("https://id.example", safe), none);
        assert_eq!(doubts("http://localhost:9000", ["http://id.example/t", "http://[::1]/i", "http://x/j"]), none);
        assert_eq!(
            doubts("https://id.example", ["http://id.example/t", safe[1], "http://id.example/j"]),
            ["http://id.example/t", "http://id.example/j"]
        );
        for here in
            ["https://127.0.0.1/i", "https://localhost/i", "https://[::ffff:127.0.0.1]/i", "http://a.localhost/i"]
        {
            assert_eq!(doubts("https://id.example", [safe[0], here, safe[2]]).len(), 1, "{here}");
            assert_eq!(doubts("http://core:9000", [safe[0], here, safe[2]]).len(), 1, "{here}");
        }
    }

    /// PX-353, PX-355: pages go on until there is no further one, and never back.
    #[test]
    fn px_353_pages_go_on_until_the_last() {
        assert_eq!(next_page(&json!({"pagination": {"next": 2}}), 1), Some(2));
        for last in [json!({"pagination": {"next": 0}}), json!({"pagination": {"next": 1}}), json!({}), json!(null)] {
            assert_eq!(next_page(&last, 1), None, "{last}");
        }
    }
}
