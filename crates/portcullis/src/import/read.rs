//! All of what a server has, read before anything is changed.

use std::collections::HashSet;

use serde_json::Value;

use super::convert::Snapshot;
use super::server::Server;
use crate::Failure;

/// The permanent id of the server's installation, if it tells it.
///
/// # Errors
/// One line when the server does not answer as it should.
pub(super) async fn install_id(server: &Server) -> Result<Option<String>, Failure> {
    let found = server.get_if_allowed("enterprise/license/install_id/").await?;
    Ok(found.and_then(|found| found.get("install_id")?.as_str().map(str::to_owned)))
}

pub(super) async fn read(server: &Server) -> Result<Snapshot, Failure> {
    let me = server.get("core/users/me/").await?.ok_or("the server has no such API")?;
    // Others are shown a part of everything, and would not know it.
    if me.pointer("/user/is_superuser") != Some(&Value::Bool(true)) {
        return Err("the token must be that of a superuser".into());
    }
    let mut policies = Vec::new();
    let typed = ["expression", "password", "password_expiry", "reputation", "event_matcher", "dummy"];
    for kind in typed {
        policies.extend(server.list(&format!("policies/{kind}/")).await?);
    }
    let known: HashSet<_> =
        policies.iter().filter_map(|policy| policy.get("pk").cloned()).map(|pk| pk.to_string()).collect();
    let others = server.list("policies/all/").await?;
    policies
        .extend(others.into_iter().filter(|policy| policy.get("pk").is_none_or(|pk| !known.contains(&pk.to_string()))));
    let mut mappings = server.list("propertymappings/provider/scope/").await?;
    let known: HashSet<_> =
        mappings.iter().filter_map(|found| found.get("pk").cloned()).map(|pk| pk.to_string()).collect();
    let others = server.list("propertymappings/all/").await?;
    // Most servers have many that belong to kinds of providers that are not here: only those of administrators count.
    mappings.extend(others.into_iter().filter(|mapping| {
        let is_own = mapping.get("managed").is_none_or(Value::is_null);
        is_own && mapping.get("pk").is_none_or(|pk| !known.contains(&pk.to_string()))
    }));
    let mut certificates = server.list("crypto/certificatekeypairs/").await?;
    for certificate in certificates.iter_mut().filter(|found| found.get("managed").is_none_or(Value::is_null)) {
        let pk = certificate.get("pk").and_then(Value::as_str).unwrap_or_default().to_owned();
        for (view, field) in [("view_certificate", "certificate_data"), ("view_private_key", "key_data")] {
            let found = server.get_if_allowed(&format!("crypto/certificatekeypairs/{pk}/{view}/")).await?;
            add(certificate, field, found.and_then(|found| found.get("data").cloned()));
        }
    }
    let mut tokens = server.list("core/tokens/").await?;
    for token in tokens.iter_mut().filter(|found| found.get("managed").is_none_or(Value::is_null)) {
        let identifier = token.get("identifier").and_then(Value::as_str).unwrap_or_default();
        let identifier: String = url::form_urlencoded::byte_serialize(identifier.as_bytes()).collect();
        let found = server.get_if_allowed(&format!("core/tokens/{}/view_key/", identifier.replace('+', "%20"))).await?;
        add(token, "key", found.and_then(|found| found.get("key").cloned()));
    }
    name_keys(server, &mut certificates).await?;
    let mut stages = Vec::new();
    for kind in ["identification", "password", "authenticator/validate", "user_login", "consent"] {
        stages.extend(server.list(&format!("stages/{kind}/")).await?);
    }
    let settings = server.get_if_allowed("admin/settings/").await?.unwrap_or_default();
    Ok(Snapshot {
        is_closed_by_default: settings.pointer("/flags/core_default_app_access") == Some(&Value::Bool(false)),
        install_id: install_id(server).await?,
        brands: server.list("core/brands/").await?,
        consents: server.list("core/user_consent/").await?,
        stages,
        flows: server.list("flows/instances/").await?,
        roles: server.list("rbac/roles/").await?,
        groups: server.list("core/groups/").await?,
        users: server.list("core/users/").await?,
        certificates,
        sources: server.list("sources/oauth/").await?,
        mappings,
        policies,
        oauth2_providers: server.list("providers/oauth2/").await?,
        proxy_providers: server.list("providers/proxy/").await?,
        all_providers: server.list("providers/all/").await?,
        applications: server.list("core/applications/?superuser_full_list=true").await?,
        entitlements: server.list("core/application_entitlements/").await?,
        bindings: server.list("policies/bindings/").await?,
        tokens: tokens.into_iter().filter(|found| found.get("managed").is_none_or(Value::is_null)).collect(),
        outposts: server.list("outposts/instances/").await?,
    })
}

fn add(object: &mut Value, field: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(field.to_owned(), value);
    }
}

/// Adds `kid` to certificates: by what name their keys are published.
async fn name_keys(server: &Server, certificates: &mut [Value]) -> Result<(), Failure> {
    if !certificates.iter().any(|found| found.get("key_data").is_some()) {
        return Ok(());
    }
    for application in server.list("core/applications/?superuser_full_list=true").await? {
        let slug = application.get("slug").and_then(Value::as_str).unwrap_or_default();
        let Some(published) = server.public(&format!("application/o/{slug}/jwks/")).await? else { continue };
        for key in published.get("keys").and_then(Value::as_array).into_iter().flatten() {
            let leaf = key.pointer("/x5c/0").and_then(Value::as_str).unwrap_or_default();
            let is_its = |certificate: &&mut Value| {
                let text = certificate.get("certificate_data").and_then(Value::as_str).unwrap_or_default();
                !leaf.is_empty() && leaf_of(text) == leaf
            };
            if let Some(certificate) = certificates.iter_mut().find(is_its) {
                add(certificate, "kid", key.get("kid").cloned());
            }
        }
    }
    Ok(())
}

/// The first certificate of a PEM text, in Base64 without line breaks.
fn leaf_of(pem: &str) -> String {
    let lines = pem.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN CERTIFICATE"));
    lines.skip(1).take_while(|line| !line.starts_with("-----END")).collect()
}
