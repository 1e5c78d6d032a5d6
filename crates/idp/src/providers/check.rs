//! The rules that a proxy provider must meet to be saved, and those that hold for every provider.

use portcullis_core::host::{cookie_domain, is_public_suffix};
use portcullis_core::id::{CertificateId, FlowId, MappingId, ProviderPk, SourceId};
use portcullis_core::outpost::Mode;
use portcullis_core::permission::{Model, Verb};
use portcullis_core::redirect::RedirectRule;
use portcullis_core::{duration, skip};
use portcullis_store::provider::Provider;
use portcullis_store::{Conn, certificate, flow, mapping, provider, source};
use url::Url;
use uuid::Uuid;

use super::{Fields, mode};
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::directory;
use crate::error::{Error, Problems};
use crate::{escalation, mappings};

pub(super) const TAKEN: &str = "Provider with this name already exists.";
pub(super) const REQUIRED: &str = "This field is required.";
pub(super) const BLANK: &str = "This field may not be blank.";
pub(super) const NO_CERTIFICATE: &str = "User does not have access to certificate.";
pub(super) const BAD_URL: &str = "Enter a valid URL.";
const MOVES: &str = "Only superusers may change this: the client, or one that accepts its tokens, may use the API on behalf of \
     its users.";

pub(super) fn required(fields: &Fields, problems: &mut Problems) {
    for (field, missing) in [
        ("name", fields.name.is_none()),
        ("authorization_flow", fields.authorization_flow.is_none()),
        ("invalidation_flow", fields.invalidation_flow.is_none()),
        ("external_host", fields.external_host.is_none()),
    ] {
        if missing {
            problems.add(field, REQUIRED);
        }
    }
}

/// What a provider may name.
pub(super) struct References<'a> {
    pub(super) authentication_flow: Option<FlowId>,
    pub(super) authorization_flow: Option<FlowId>,
    pub(super) invalidation_flow: Option<FlowId>,
    pub(super) mappings: Option<&'a [MappingId]>,
    pub(super) sources: Option<&'a [Uuid]>,
    pub(super) providers: Option<&'a [ProviderPk]>,
}

impl<'a> References<'a> {
    pub(super) fn of(fields: &'a Fields) -> Self {
        Self {
            authentication_flow: fields.authentication_flow.flatten(),
            authorization_flow: fields.authorization_flow,
            invalidation_flow: fields.invalidation_flow,
            mappings: fields.property_mappings.as_deref(),
            sources: fields.jwt_federation_sources.as_deref(),
            providers: fields.jwt_federation_providers.as_deref(),
        }
    }

    /// What is named must exist.
    pub(super) async fn check(&self, conn: &mut Conn, problems: &mut Problems) -> Result<(), Error> {
        for (field, pk, designation) in [
            ("authentication_flow", self.authentication_flow, None),
            ("authorization_flow", self.authorization_flow, Some("authorization")),
            ("invalidation_flow", self.invalidation_flow, Some("invalidation")),
        ] {
            let Some(pk) = pk else { continue };
            let Some(flow) = flow::by_pk(conn, pk).await? else {
                problems.add(field, invalid(pk));
                continue;
            };
            if let Some(designation) = designation.filter(|designation| *designation != flow.designation) {
                problems.add(field, format!("Choose a flow of the designation {designation}."));
            }
        }
        for pk in self.mappings.unwrap_or_default() {
            if mapping::by_pk(conn, *pk).await?.is_none() {
                problems.add("property_mappings", invalid(pk));
            }
        }
        for pk in self.providers.unwrap_or_default() {
            if provider::by_pk(conn, *pk).await?.is_none() {
                problems.add("jwt_federation_providers", invalid(pk));
            }
        }
        for pk in self.sources.unwrap_or_default() {
            if source::by_pk(conn, SourceId(*pk)).await?.is_none() {
                problems.add("jwt_federation_sources", invalid(pk));
            }
        }
        Ok(())
    }
}

/// What a proxy provider names must exist, and a certificate be the writer's to use.
pub(super) async fn references(
    conn: &mut Conn,
    fields: &Fields,
    may_show: impl FnOnce(CertificateId) -> bool,
    problems: &mut Problems,
) -> Result<(), Error> {
    References::of(fields).check(conn, problems).await?;
    if let Some(pk) = fields.certificate.flatten() {
        match certificate::by_pk(conn, pk).await? {
            None => problems.add("certificate", invalid(pk)),
            Some(_) if !may_show(pk) => problems.add("certificate", NO_CERTIFICATE),
            Some(_) => {}
        }
    }
    Ok(())
}

/// Who gets tokens of a client, for whom, and where its users are sent, superusers among them, is for superusers to say if
/// the client may use the API on their behalf (CO-705).
pub(super) async fn moves(
    change: &mut Change<'_>,
    before: &Provider,
    now: &Provider,
    problems: &mut Problems,
) -> Result<(), Error> {
    let moved = moved(before, now);
    if moved.is_empty() || change.actor().is_superuser || !mappings::reaches_api(change.conn(), before.pk).await? {
        return Ok(());
    }
    problems.add_each(&moved, MOVES);
    Ok(())
}

/// The fields by which somebody might get tokens that were not meant for them, as far as they were changed. What is shown
/// counts: clients of the API send back what they were shown.
fn moved(before: &Provider, now: &Provider) -> Vec<&'static str> {
    escalation::moved([
        ("client_type", before.client_type != now.client_type),
        ("client_id", before.client_id != now.client_id),
        ("grant_types", before.grant_types != now.grant_types),
        ("redirect_uris", before.redirect_uris != now.redirect_uris),
        ("allow_broad_redirect_uris", before.allow_broad_redirect_uris != now.allow_broad_redirect_uris),
        ("allowed_origins", before.allowed_origins != now.allowed_origins),
        ("logout_uri", before.logout_uri != now.logout_uri),
        ("logout_method", before.logout_method != now.logout_method),
        ("jwt_federation_sources", before.jwt_federation_sources != now.jwt_federation_sources),
        ("jwt_federation_providers", before.jwt_federation_providers != now.jwt_federation_providers),
        ("federation_audiences", before.federation_audiences != now.federation_audiences),
        ("cap_to_assertion_exp", before.cap_to_assertion_exp != now.cap_to_assertion_exp),
        ("token_exchange_without_actor", before.exchange_without_actor != now.exchange_without_actor),
        ("require_pkce", before.needs_pkce() != now.needs_pkce()),
        ("allow_pkce_plain", before.allow_pkce_plain != now.allow_pkce_plain),
        ("m2m_require_client_auth", before.m2m_require_client_auth != now.m2m_require_client_auth),
        ("device_require_client_auth", before.proves_devices() != now.proves_devices()),
        ("allow_query_token", before.allow_query_token != now.allow_query_token),
        ("external_host", before.external_host != now.external_host),
        // What is behind an outpost may get the tokens themselves: by `forward_jwt`, or in `Authorization`.
        ("internal_host", before.internal_host != now.internal_host),
        ("internal_host_ssl_validation", before.internal_host_ssl_validation != now.internal_host_ssl_validation),
        ("mode", before.mode != now.mode),
        ("cookie_domain", before.cookie_domain != now.cookie_domain),
        ("intercept_header_auth", before.intercept_header_auth != now.intercept_header_auth),
    ])
}

/// What an application behind basic authentication is sent is secret to all others: who newly names an attribute by which people
/// sign in to another one may change that one, too (CO-284). And while people have a secret, nobody but superusers takes away
/// the name that makes it one (CO-472).
pub(super) async fn credentials(
    change: &mut Change<'_>,
    before: &Provider,
    now: &Provider,
    unused: Option<&str>,
    problems: &mut Problems,
) -> Result<(), Error> {
    let named = |provider: &Provider| {
        [provider.basic_auth_user_attribute.clone(), provider.basic_auth_password_attribute.clone()]
    };
    if change.actor().is_superuser || named(before) == named(now) {
        return Ok(());
    }
    let others = of_others(change.conn(), now.pk).await?;
    let fields = ["basic_auth_user_attribute", "basic_auth_password_attribute"];
    for (field, name) in fields.into_iter().zip(named(now)).filter(|(_, name)| !named(before).contains(name)) {
        let may = |pk| change.actor().may_on(Verb::Change, Model::PROXY_PROVIDER, pk);
        if !name.is_empty() && others.iter().any(|(known, pk)| *known == name && !may(pk)) {
            problems.add(field, "Another provider has its passwords in this attribute: name one of its own.");
        }
    }
    let field = "basic_auth_password_attribute";
    gives_up(change, before, &now.basic_auth_password_attribute, unused, field, problems).await
}

/// Refuses, on `field`, to have a provider give up the name of its passwords for another one while people have something under
/// it that nothing else makes secret. That `unused` is nobody's was found out before ([`unused`]).
pub(super) async fn gives_up(
    change: &mut Change<'_>,
    before: &Provider,
    name: &str,
    unused: Option<&str>,
    field: &str,
    problems: &mut Problems,
) -> Result<(), Error> {
    let left = &before.basic_auth_password_attribute;
    let is_kept = left.is_empty() || left == name || unused == Some(left.as_str()) || change.actor().is_superuser;
    if !is_kept && !of_others(change.conn(), before.pk).await?.iter().any(|(known, _)| known == left) {
        let message =
            format!("People have a secret in {left}, which all could see who see them: have a superuser do this.");
        problems.add(field, message);
    }
    Ok(())
}

/// The name of a provider's passwords, if it may be given up for another one: it is nobody's, or stays secret anyway. Everybody's
/// attributes are opened for that, so that it is asked before a transaction begins, and only where the answer counts.
pub(super) async fn unused(
    ctx: &Context,
    actor: &Actor,
    pk: ProviderPk,
    name: Option<&str>,
) -> Result<Option<String>, Error> {
    let Some(name) = name.filter(|_| !actor.is_superuser) else { return Ok(None) };
    let mut conn = ctx.db.read().await?;
    let Some(Provider { basic_auth_password_attribute: left, .. }) = provider::by_pk(&mut conn, pk).await? else {
        return Ok(None);
    };
    let is_kept = left == name || of_others(&mut conn, pk).await?.iter().any(|(known, _)| *known == left);
    let is_unused = !is_kept && !directory::would_unmask(ctx, &mut conn, &left).await?;
    Ok(is_unused.then_some(left))
}

/// In which attributes all proxy providers but one have their passwords.
async fn of_others(conn: &mut Conn, but: ProviderPk) -> Result<Vec<(String, ProviderPk)>, Error> {
    let others = provider::proxies(conn).await?.into_iter().filter(|other| other.pk != but);
    Ok(others.map(|other| (other.basic_auth_password_attribute, other.pk)).collect())
}

pub(super) fn invalid(pk: impl std::fmt::Display) -> String {
    format!("Invalid pk \"{pk}\" - object does not exist.")
}

/// Rules on the provider that results. Fields that are required and missing are told of already. Gives what
/// is allowed but likely a mistake.
pub(super) fn rules(provider: &Provider, fields: &Fields, problems: &mut Problems) -> Vec<String> {
    if provider.name.is_empty() && fields.name.is_some() {
        problems.add("name", BLANK);
    }
    for (field, text) in [
        ("name", &provider.name),
        ("external_host", &provider.external_host),
        ("internal_host", &provider.internal_host),
        ("basic_auth_user_attribute", &provider.basic_auth_user_attribute),
        ("basic_auth_password_attribute", &provider.basic_auth_password_attribute),
        ("cookie_domain", &provider.cookie_domain),
    ] {
        problems.limit_indexed(field, text);
    }
    if !provider.external_host.is_empty() && !is_external(&provider.external_host) {
        problems.add("external_host", BAD_URL);
    } else if provider.external_host.is_empty() && fields.external_host.is_some() {
        problems.add("external_host", BLANK);
    }
    if !provider.internal_host.is_empty() && !is_internal(&provider.internal_host) {
        problems.add("internal_host", BAD_URL);
    }
    let Some(mode) = mode(&provider.mode) else {
        problems.add("mode", format!("\"{}\" is not a valid choice.", provider.mode));
        return Vec::new();
    };
    if mode == Mode::Proxy && provider.internal_host.is_empty() {
        problems.add("internal_host", "Internal host cannot be empty when forward auth is disabled.");
    }
    if provider.basic_auth_enabled
        && (provider.basic_auth_user_attribute.is_empty() || provider.basic_auth_password_attribute.is_empty())
    {
        problems.add("basic_auth_enabled", "User and password attributes must be set when basic auth is enabled.");
    }
    if mode == Mode::ForwardDomain
        && let Some(problem) = cookie_domain_problem(provider)
    {
        problems.add("cookie_domain", problem);
    }
    durations(provider, problems);
    skip_lines(provider, mode, problems)
}

/// In mode `proxy` every request to the host is the application's, those to the sign-in pages and the API among them: it
/// has a host of its own (PX-058). The other modes leave to the core what they do not need.
pub(super) fn other_host(base_url: &str, provider: &Provider, problems: &mut Problems) {
    let host = |url: &str| RedirectRule::new(url, Mode::Proxy, "").ok().map(|rule| rule.host().clone());
    let is_core = || host(&provider.external_host).is_some_and(|external| host(base_url) == Some(external));
    if mode(&provider.mode) == Some(Mode::Proxy) && is_core() {
        problems
            .add("external_host", "The host of base_url is that of the sign-in pages; an application needs another.");
    }
}

/// A warning for each provider that has the same host: one of them is never asked (PX-055).
pub(super) async fn shared_host(conn: &mut Conn, provider: &Provider) -> Result<Vec<String>, Error> {
    let host = |url: &str| RedirectRule::new(url, Mode::Proxy, "").ok().map(|rule| rule.host().clone());
    let Some(own) = host(&provider.external_host) else { return Ok(Vec::new()) };
    let proxies = provider::proxies(conn).await?;
    let same = |other: &&Provider| other.pk != provider.pk && host(&other.external_host).as_ref() == Some(&own);
    let message = |other: &Provider| {
        let name = &other.name;
        format!(
            "The host of external_host, {own}, is that of the provider {name} as well: the one with the lower pk answers."
        )
    };
    Ok(proxies.iter().filter(same).map(message).collect())
}

/// An http or https URL with a host and perhaps a path, and nothing else (PX-020).
fn is_external(text: &str) -> bool {
    let plain = RedirectRule::new(text, Mode::Proxy, "").is_ok();
    plain && Url::parse(text).is_ok_and(|url| url.query().is_none() && url.fragment().is_none())
}

/// An http or https URL that the data plane takes as an upstream: with a host and perhaps a path, and nothing else.
fn is_internal(text: &str) -> bool {
    let is_plain = |url: Url| {
        let names_nobody = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && names_nobody
            && url.query().is_none()
            && url.fragment().is_none()
    };
    text.contains("://") && Url::parse(text).is_ok_and(is_plain)
}

/// What is wrong with the cookie domain of a provider in domain mode (PX-023).
fn cookie_domain_problem(provider: &Provider) -> Option<&'static str> {
    if provider.cookie_domain.is_empty() {
        return Some("Cookie domain cannot be empty in domain mode.");
    }
    let domain = cookie_domain(&provider.cookie_domain);
    if domain.is_empty() {
        return Some("Enter a valid domain.");
    }
    if domain.parse::<std::net::IpAddr>().is_ok() {
        return Some("Cookie domain cannot be an IP address.");
    }
    if is_public_suffix(&domain) {
        return Some("Cookie domain cannot be a public suffix.");
    }
    let rule = RedirectRule::new(&provider.external_host, Mode::Proxy, "").ok()?;
    (!rule.host().is_within(&domain)).then_some("Cookie domain does not cover the host of the external host.")
}

/// Lifetimes that every provider has.
pub(super) fn durations(provider: &Provider, problems: &mut Problems) {
    for (field, text) in [
        ("access_token_validity", &provider.access_token_validity),
        ("refresh_token_validity", &provider.refresh_token_validity),
    ] {
        match duration::parse(text) {
            Ok(microseconds) if microseconds < 1_000_000 => {
                problems.add(field, "Ensure this value is at least one second.");
            }
            Ok(_) => {}
            Err(error) => problems.add(field, error.to_string()),
        }
    }
}

/// Lines that are no expression are problems; lines that open everything are worth a warning (PX-024).
fn skip_lines(provider: &Provider, mode: Mode, problems: &mut Problems) -> Vec<String> {
    let text = &provider.skip_path_regex;
    for bad in skip::SkipSet::compile(text, mode).1 {
        problems.add("skip_path_regex", format!("Line {}: {}", bad.line, bad.reason));
    }
    let broad = skip::broad_lines(text, mode, &provider.cookie_domain);
    broad.iter().map(|(number, line)| format!("Line {number} of skip_path_regex opens every path: {line}")).collect()
}
