//! The scope mappings that come with the installation (CO-283).

use portcullis_core::id::MappingId;
use portcullis_store::{Conn, mapping};

use crate::context::Context;
use crate::error::Error;
use crate::list::{Listed, Slice};

pub use portcullis_store::mapping::{Filter, Order, ScopeMapping};

/// Permanent names of the mappings that every proxy provider has (PX-025, OA-070), in the order in which
/// their scopes are asked for.
pub const OF_PROXIES: [&str; 5] = [
    "goauthentik.io/providers/oauth2/scope-openid",
    "goauthentik.io/providers/oauth2/scope-profile",
    "goauthentik.io/providers/oauth2/scope-email",
    "goauthentik.io/providers/oauth2/scope-entitlements",
    "goauthentik.io/providers/proxy/scope-proxy",
];

/// A mapping that comes with the installation.
struct Managed {
    managed: &'static str,
    name: &'static str,
    scope_name: &'static str,
    description: &'static str,
    expression: &'static str,
}

const MANAGED: [Managed; 7] = [
    Managed {
        managed: OF_PROXIES[0],
        name: "authentik default OAuth Mapping: OpenID 'openid'",
        scope_name: "openid",
        description: "",
        expression: "# This scope is required by the OpenID-spec, and must as such exist.\nreturn {}\n",
    },
    Managed {
        managed: OF_PROXIES[1],
        name: "authentik default OAuth Mapping: OpenID 'profile'",
        scope_name: "profile",
        description: "General Profile Information",
        expression: r#"return {
    "name": request.user.name,
    "given_name": request.user.name,
    "preferred_username": request.user.username,
    "nickname": request.user.username,
    "groups": [group.name for group in request.user.groups.order_by("name")],
}
"#,
    },
    Managed {
        managed: OF_PROXIES[2],
        name: "authentik default OAuth Mapping: OpenID 'email'",
        scope_name: "email",
        description: "Email address",
        expression: "return {\n    \"email\": request.user.email,\n    \"email_verified\": False,\n}\n",
    },
    Managed {
        managed: OF_PROXIES[3],
        name: "authentik default OAuth Mapping: Application Entitlements",
        scope_name: "entitlements",
        description: "Application entitlements",
        expression: r#"entitlements = [
    entitlement.name for entitlement in request.user.app_entitlements(provider.application)
]
return {
    "entitlements": entitlements,
    "roles": entitlements,
}
"#,
    },
    Managed {
        managed: OF_PROXIES[4],
        name: "authentik default OAuth Mapping: Proxy outpost",
        scope_name: "ak_proxy",
        description: "What the application needs to sign you in",
        expression: r#"# Attributes are narrowed to what the provider needs before the claim is issued.
return {
    "ak_proxy": {
        "user_attributes": request.user.group_attributes(request),
        "is_superuser": request.user.is_superuser,
        "user_uuid": str(request.user.uuid),
    }
}
"#,
    },
    Managed {
        managed: "goauthentik.io/providers/oauth2/scope-offline_access",
        name: "authentik default OAuth Mapping: OpenID 'offline_access'",
        scope_name: "offline_access",
        description: "Access to request new tokens without interaction",
        expression: "return {}\n",
    },
    Managed {
        managed: "goauthentik.io/providers/oauth2/scope-authentik_api",
        name: "authentik default OAuth Mapping: authentik API access",
        scope_name: "goauthentik.io/api",
        description: "authentik API Access on behalf of your user",
        expression: "return {}\n",
    },
];

/// The mappings that meet conditions.
///
/// # Errors
/// When the store fails.
pub async fn list(ctx: &Context, filter: &Filter, slice: Slice) -> Result<Listed<ScopeMapping>, Error> {
    let mut conn = ctx.db.read().await?;
    Ok(mapping::list(&mut conn, filter, slice).await?)
}

/// The mapping with this key.
///
/// # Errors
/// [`Error::NotFound`], or when the store fails.
pub async fn get(ctx: &Context, pk: MappingId) -> Result<ScopeMapping, Error> {
    let mut conn = ctx.db.read().await?;
    mapping::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound("PropertyMapping"))
}

/// Adds the mappings that are missing; those that exist stay as they are (CO-283, CO-484).
///
/// # Errors
/// When the store fails.
pub async fn bootstrap(ctx: &Context, conn: &mut Conn) -> Result<(), Error> {
    for Managed { managed, name, scope_name, description, expression } in MANAGED {
        if mapping::by_managed(conn, managed).await?.is_none() {
            let missing = ScopeMapping {
                pk: MappingId(ctx.entropy.uuid()),
                name: name.to_owned(),
                scope_name: scope_name.to_owned(),
                description: description.to_owned(),
                expression: expression.to_owned(),
                managed: Some(managed.to_owned()),
            };
            mapping::insert(conn, &missing).await?;
        }
    }
    Ok(())
}
