//! The configuration of the embedded outpost (PX-020, PX-027).

use std::collections::{BTreeSet, HashMap};

use portcullis_core::duration;
use portcullis_core::id::{CertificateId, ProviderPk};
use portcullis_core::outpost::{BrandHost, Certificate, Configuration, Endpoints, Mode, OwnHost, Provider};
use portcullis_store::Conn;
use portcullis_store::application::Application;
use portcullis_store::{application, brand, certificate, mapping, outpost, provider, proxy_session};
use serde_json::Value;
use url::Url;

use crate::context::Context;
use crate::error::Error;
use crate::providers::secrets;
use crate::{brands, certificates, outposts, providers};

/// Lifetime of sessions when the provider's text says none (PX-030).
const VALIDITY_SECONDS: i64 = 3600;

/// What the embedded outpost serves at present: attached providers with an application, by name; and what its listeners
/// show for the control plane itself.
///
/// A provider or certificate whose secrets cannot be opened is left out and logged; the others are served.
///
/// # Errors
/// When the store fails.
pub async fn configuration(ctx: &Context) -> Result<Configuration, Error> {
    // Before the reading: a change meanwhile is one to come.
    let revision = ctx.revisions.present();
    let mut conn = ctx.db.read().await?;
    let (brands, mut own) = of_brands(&mut conn).await?;
    let (own_host, found) = of_own_host(ctx, &mut conn, &brands, &own).await?.unzip();
    own.extend(found.filter(|found| own.iter().all(|record| record.pk != found.pk)));
    let Some(embedded) = outpost::by_managed(&mut conn, outposts::EMBEDDED).await? else {
        let certificates = own.into_iter().filter_map(|record| with_key(ctx, record)).collect();
        return Ok(Configuration { revision, certificates, own_host, brands, ..Configuration::default() });
    };
    let served = provider::served_by(&mut conn, embedded.pk).await?;
    let mut shown = certificate::of_outpost(&mut conn, embedded.pk).await?;
    let host = embedded.config.get("authentik_host").and_then(Value::as_str).unwrap_or_default();
    let providers = described(ctx, &mut conn, served, host).await?;
    drop(conn);
    own.retain(|own| shown.iter().all(|record| record.pk != own.pk));
    shown.extend(own);
    let certificates = shown.into_iter().filter_map(|record| with_key(ctx, record)).collect();
    Ok(Configuration { revision, providers, certificates, own_host, brands, outpost_name: embedded.name })
}

/// The configuration as it is now, when `before` is what it was: where only providers have changed, only these are read.
///
/// # Errors
/// When the store fails.
pub async fn configuration_after(ctx: &Context, before: &Configuration) -> Result<Configuration, Error> {
    let revision = ctx.revisions.present();
    match ctx.revisions.since(before.revision) {
        Some(changed) => match renewed(ctx, before, &changed).await? {
            Some(providers) => Ok(Configuration { revision, providers, ..before.clone() }),
            None => configuration(ctx).await,
        },
        None => configuration(ctx).await,
    }
}

/// The providers that are served, of which these have changed. None if certificates have to be looked at, too.
async fn renewed(
    ctx: &Context,
    before: &Configuration,
    changed: &BTreeSet<ProviderPk>,
) -> Result<Option<Vec<Provider>>, Error> {
    let mut conn = ctx.db.read().await?;
    let Some(embedded) = outpost::by_managed(&mut conn, outposts::EMBEDDED).await? else { return Ok(None) };
    let keys: Vec<_> = changed.iter().copied().collect();
    let served = provider::served_among(&mut conn, embedded.pk, &keys).await?;
    let (stale, kept): (Vec<_>, Vec<_>) = before.providers.iter().partition(|provider| changed.contains(&provider.pk));
    let shows = |certificate: &Option<CertificateId>| certificate.is_some();
    if stale.iter().any(|provider| shows(&provider.certificate)) || served.iter().any(|now| shows(&now.certificate)) {
        return Ok(None);
    }
    let host = embedded.config.get("authentik_host").and_then(Value::as_str).unwrap_or_default();
    let mut providers = described(ctx, &mut conn, served, host).await?;
    providers.extend(kept.into_iter().cloned());
    // What clients may not send is remembered without a change to the provider.
    let mut headers = headers(&mut conn).await?;
    for provider in &mut providers {
        provider.header_names = headers.remove(&provider.pk).unwrap_or_default();
    }
    providers.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(Some(providers))
}

/// The keys of the proxy providers that have an application, by name; of those of this name, if it is given (CO-570).
///
/// # Errors
/// When the store fails.
pub async fn proxies(ctx: &Context, name: Option<&str>) -> Result<Vec<ProviderPk>, Error> {
    Ok(provider::proxy_keys(&mut ctx.db.read().await?, name).await?)
}

/// Providers with an application, by name, as outposts elsewhere are told of them (CO-570). The endpoints are those
/// of the base URL, which is what issued tokens name; rewriting is their own business (PX-340, PX-412).
///
/// # Errors
/// When the store fails.
pub async fn told(ctx: &Context, keys: &[ProviderPk]) -> Result<Vec<Provider>, Error> {
    let mut conn = ctx.db.read().await?;
    let mut these = provider::by_pks(&mut conn, keys).await?;
    these.sort_by(|left, right| left.name.cmp(&right.name));
    described(ctx, &mut conn, these, "").await
}

/// What outposts are told of providers; those without an application are left out.
async fn described(
    ctx: &Context,
    conn: &mut Conn,
    served: Vec<provider::Provider>,
    host: &str,
) -> Result<Vec<Provider>, Error> {
    let keys: Vec<_> = served.iter().map(|provider| provider.pk).collect();
    let applications: HashMap<_, _> = application::of_providers(conn, &keys)
        .await?
        .into_iter()
        .filter_map(|application| Some((application.provider?, application)))
        .collect();
    let mut scopes: HashMap<_, Vec<String>> = HashMap::new();
    for (provider, scope) in mapping::scopes(conn, &keys).await? {
        let scopes = scopes.entry(provider).or_default();
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    let mut headers = headers(conn).await?;
    let providers = served.into_iter().filter_map(|record| {
        let application = applications.get(&record.pk)?;
        let scopes = scopes.remove(&record.pk).unwrap_or_default();
        match one(ctx, &record, application, scopes, host) {
            Ok(provider) => Some(Provider { header_names: headers.remove(&record.pk).unwrap_or_default(), ..provider }),
            Err(error) => {
                tracing::error!(provider = record.name, %error, "provider left out of the configuration");
                None
            }
        }
    });
    Ok(providers.collect())
}

/// Names of headers that claims have held (PX-221).
async fn headers(conn: &mut Conn) -> Result<HashMap<ProviderPk, Vec<String>>, Error> {
    let mut headers: HashMap<_, Vec<String>> = HashMap::new();
    for (provider, name) in proxy_session::headers(conn).await? {
        headers.entry(provider).or_default().push(name);
    }
    Ok(headers)
}

/// What brands show for the control plane (CO-502), and these certificates, each once.
async fn of_brands(conn: &mut Conn) -> Result<(Vec<BrandHost>, Vec<certificate::Certificate>), Error> {
    let (mut hosts, mut shown) = (Vec::new(), Vec::<certificate::Certificate>::new());
    for brand in brand::all(conn).await? {
        let (Some(pk), Some(domain)) = (brand.web_certificate, brands::domain(&brand)) else { continue };
        if shown.iter().all(|record| record.pk != pk) {
            shown.extend(certificate::by_pk(conn, pk).await?);
        }
        hosts.push(BrandHost { pk: brand.pk, domain, is_default: brand.is_default, certificate: pk });
    }
    Ok((hosts, shown))
}

/// The control plane's own host, and the certificate to show there: that of the default brand if it is for this name, else
/// of those with a private key that are, the one that ends last (PX-300).
async fn of_own_host(
    ctx: &Context,
    conn: &mut Conn,
    brands: &[BrandHost],
    of_brands: &[certificate::Certificate],
) -> Result<Option<(OwnHost, certificate::Certificate)>, Error> {
    let url = Url::parse(&ctx.base_url).ok();
    let Some(host) = url.as_ref().and_then(Url::host_str) else { return Ok(None) };
    let default = brands.iter().find(|brand| brand.is_default).map(|brand| brand.certificate);
    let default = of_brands.iter().find(|record| Some(record.pk) == default && record.private_key_sealed.is_some());
    let mut known = default.cloned().into_iter().chain(certificate::with_key(conn).await?);
    Ok(known
        .find(|record| certificates::is_for(record, host))
        .map(|record| (OwnHost { host: host.to_owned(), certificate: record.pk }, record)))
}

fn with_key(ctx: &Context, record: certificate::Certificate) -> Option<Certificate> {
    match certificates::private_key(ctx, &record) {
        Ok(key) => Some(Certificate {
            key: key.to_string(),
            pk: record.pk,
            name: record.name,
            chain: record.chain,
            expires: record.expires,
        }),
        Err(error) => {
            tracing::error!(certificate = record.name, %error, "certificate left out of the configuration");
            None
        }
    }
}

fn one(
    ctx: &Context,
    record: &provider::Provider,
    application: &Application,
    scopes_to_request: Vec<String>,
    host: &str,
) -> Result<Provider, Error> {
    let mode = providers::mode(&record.mode).ok_or_else(|| Error::Unreadable("provider.mode".to_owned()))?;
    let validity = duration::seconds_or(&record.access_token_validity, VALIDITY_SECONDS);
    Ok(Provider {
        pk: record.pk,
        name: record.name.clone(),
        mode,
        external_host: record.external_host.clone(),
        internal_host: if mode == Mode::Proxy { record.internal_host.clone() } else { String::new() },
        internal_host_ssl_validation: record.internal_host_ssl_validation,
        client_id: record.client_id.clone(),
        client_secret: secrets::holding(ctx, record)?.into_iter().next().map_or_else(String::new, |(_, secret)| secret),
        cookie_secret: providers::cookie_secret(ctx, record)?,
        cookie_domain: record.cookie_domain.clone(),
        certificate: record.certificate,
        skip_path_regex: record.skip_path_regex.clone(),
        intercept_header_auth: record.intercept_header_auth,
        basic_auth_enabled: record.basic_auth_enabled,
        basic_auth_user_attribute: record.basic_auth_user_attribute.clone(),
        basic_auth_password_attribute: record.basic_auth_password_attribute.clone(),
        access_token_validity: if validity > 0 { validity } else { VALIDITY_SECONDS },
        scopes_to_request,
        application_slug: application.slug.clone(),
        application_name: application.name.clone(),
        header_names: Vec::new(),
        endpoints: endpoints(&ctx.base_url, &application.slug, host),
    })
}

/// The endpoints of an application at `base`, as seen from `host` if that is set (PX-340, PX-343).
fn endpoints(base: &str, slug: &str, host: &str) -> Endpoints {
    let at = |path: &str| rewritten(format!("{base}/application/o/{path}"), host);
    Endpoints {
        issuer: at(&format!("{slug}/")),
        authorization: at("authorize/"),
        end_session: at(&format!("{slug}/end-session/")),
        jwks: at(&format!("{slug}/jwks/")),
    }
}

/// `url` with scheme and authority of `host`; path and query stay.
fn rewritten(url: String, host: &str) -> String {
    if host.is_empty() {
        return url;
    }
    let (Ok(parsed), Ok(host)) = (Url::parse(&url), Url::parse(host)) else {
        tracing::error!(host, "authentik_host of the outpost is no URL");
        return url;
    };
    let origin = host.origin();
    if origin.is_tuple() {
        format!("{}{}", origin.ascii_serialization(), &parsed[url::Position::BeforePath..])
    } else {
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-340, PX-343: scheme and authority come from the outpost's host if that is a URL; the path stays.
    #[test]
    fn px_340_endpoints_are_rewritten_to_the_configured_host() {
        let plain = endpoints("https://id.example", "wiki", "");
        assert_eq!(plain.issuer, "https://id.example/application/o/wiki/");
        assert_eq!(plain.authorization, "https://id.example/application/o/authorize/");
        assert_eq!(plain.end_session, "https://id.example/application/o/wiki/end-session/");
        assert_eq!(plain.jwks, "https://id.example/application/o/wiki/jwks/");
        let moved = endpoints("https://id.example", "wiki", "http://login.test:8080/ignored");
        assert_eq!(moved.issuer, "http://login.test:8080/application/o/wiki/");
        assert_eq!(moved.jwks, "http://login.test:8080/application/o/wiki/jwks/");
        for bad in ["login.test", "mailto:x", "::"] {
            assert_eq!(endpoints("https://id.example", "wiki", bad), plain, "{bad}");
        }
    }
}
