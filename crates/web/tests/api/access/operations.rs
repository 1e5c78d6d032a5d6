//! Which operations there are on what, and the permissions that they ask for.

/// Kinds of objects by the beginnings of their paths, the longest first.
pub(super) const KINDS: [(&str, &str); 33] = [
    ("/policies/reputation/scores/", "authentik_policies_reputation.reputation"),
    ("/policies/all/", "authentik_policies.policy"),
    ("/policies/bindings/", "authentik_policies.policybinding"),
    ("/policies/dummy/", "authentik_policies_dummy.dummypolicy"),
    ("/policies/event_matcher/", "authentik_policies_event_matcher.eventmatcherpolicy"),
    ("/policies/expression/", "authentik_policies_expression.expressionpolicy"),
    ("/policies/password/", "authentik_policies_password.passwordpolicy"),
    ("/policies/password_expiry/", "authentik_policies_expiry.passwordexpirypolicy"),
    ("/policies/reputation/", "authentik_policies_reputation.reputationpolicy"),
    ("/core/users/", "authentik_core.user"),
    ("/core/groups/", "authentik_core.group"),
    ("/core/tokens/", "authentik_core.token"),
    ("/core/applications/", "authentik_core.application"),
    ("/core/application_entitlements/", "authentik_core.applicationentitlement"),
    ("/core/authenticated_sessions/", "authentik_core.authenticatedsession"),
    ("/core/user_consent/", "authentik_core.userconsent"),
    ("/core/brands/", "authentik_brands.brand"),
    ("/crypto/certificatekeypairs/", "authentik_crypto.certificatekeypair"),
    ("/events/events/", "authentik_events.event"),
    ("/flows/instances/", "authentik_flows.flow"),
    ("/oauth2/authorization_codes/", "authentik_providers_oauth2.authorizationcode"),
    ("/oauth2/access_tokens/", "authentik_providers_oauth2.accesstoken"),
    ("/oauth2/refresh_tokens/", "authentik_providers_oauth2.refreshtoken"),
    ("/outposts/instances/", "authentik_outposts.outpost"),
    ("/outposts/proxy/", "authentik_providers_proxy.proxyprovider"),
    ("/propertymappings/all/", "authentik_core.propertymapping"),
    ("/propertymappings/provider/scope/", "authentik_providers_oauth2.scopemapping"),
    ("/providers/all/", "authentik_core.provider"),
    ("/providers/oauth2/", "authentik_providers_oauth2.oauth2provider"),
    ("/providers/proxy/", "authentik_providers_proxy.proxyprovider"),
    ("/rbac/roles/", "authentik_rbac.role"),
    ("/sources/all/", "authentik_core.source"),
    ("/sources/oauth/", "authentik_sources_oauth.oauthsource"),
];

/// Beginnings of other paths with an object in them.
pub(super) const OTHERS: [&str; 6] = [
    "/flows/executor/",
    "/authenticators/admin/totp/",
    "/authenticators/admin/static/",
    "/authenticators/admin/webauthn/",
    // One's own alone.
    "/authenticators/webauthn/",
    // For superusers alone (CO-706).
    "/managed/blueprints/",
];

/// What it takes to write a binding: the right to it, and to change what it is bound to.
const BINDS: [&[&str]; 3] = [
    &["authentik_policies.add_policybinding", "authentik_core.view_application", "authentik_core.change_application"],
    &[
        "authentik_policies.change_policybinding",
        "authentik_core.view_application",
        "authentik_core.change_application",
    ],
    &[
        "authentik_policies.delete_policybinding",
        "authentik_core.view_application",
        "authentik_core.change_application",
    ],
];

/// Operations whose second permission does not follow from kind and method.
const SPECIAL: [(&str, &str, &str, &[&str]); 26] = [
    ("get", "/admin/settings/", "authentik_rbac.view_system_settings", &[]),
    ("put", "/admin/settings/", "authentik_rbac.view_system_settings", &["authentik_rbac.edit_system_settings"]),
    ("patch", "/admin/settings/", "authentik_rbac.view_system_settings", &["authentik_rbac.edit_system_settings"]),
    ("get", "/admin/system/", "authentik_rbac.view_system_info", &[]),
    ("post", "/admin/system/", "authentik_rbac.view_system_info", &[]),
    ("post", "/core/users/{id}/set_password/", "authentik_core.view_user", &["authentik_core.reset_user_password"]),
    ("post", "/core/users/{id}/recovery/", "authentik_core.view_user", &["authentik_core.reset_user_password"]),
    ("post", "/core/users/{id}/recovery_email/", "authentik_core.view_user", &["authentik_core.reset_user_password"]),
    (
        "post",
        "/core/users/service_account/",
        "authentik_core.view_user",
        &["authentik_core.add_user", "authentik_core.add_token"],
    ),
    (
        "post",
        "/core/groups/{group_uuid}/add_user/",
        "authentik_core.view_group",
        &["authentik_core.add_user_to_group", "authentik_core.view_user"],
    ),
    (
        "post",
        "/core/groups/{group_uuid}/remove_user/",
        "authentik_core.view_group",
        &["authentik_core.remove_user_from_group", "authentik_core.view_user"],
    ),
    ("get", "/core/tokens/{identifier}/view_key/", "authentik_core.view_token", &["authentik_core.view_token_key"]),
    ("post", "/core/tokens/{identifier}/set_key/", "authentik_core.view_token", &["authentik_core.set_token_key"]),
    (
        "post",
        "/core/application_entitlements/",
        "authentik_core.view_application",
        &["authentik_core.add_applicationentitlement"],
    ),
    ("post", "/policies/bindings/", "authentik_policies.view_policybinding", BINDS[0]),
    ("put", "/policies/bindings/{policy_binding_uuid}/", "authentik_policies.view_policybinding", BINDS[1]),
    ("patch", "/policies/bindings/{policy_binding_uuid}/", "authentik_policies.view_policybinding", BINDS[1]),
    ("delete", "/policies/bindings/{policy_binding_uuid}/", "authentik_policies.view_policybinding", BINDS[2]),
    (
        "post",
        "/outposts/instances/",
        "authentik_outposts.view_outpost",
        &[
            "authentik_outposts.add_outpost",
            "authentik_providers_proxy.view_proxyprovider",
            "authentik_providers_proxy.change_proxyprovider",
        ],
    ),
    (
        "get",
        "/crypto/certificatekeypairs/{kp_uuid}/view_certificate/",
        "authentik_crypto.view_certificatekeypair",
        &["authentik_crypto.view_certificatekeypair_certificate"],
    ),
    (
        "get",
        "/crypto/certificatekeypairs/{kp_uuid}/view_private_key/",
        "authentik_crypto.view_certificatekeypair",
        &["authentik_crypto.view_certificatekeypair_key"],
    ),
    (
        "post",
        "/policies/expression/",
        "authentik_policies_expression.view_expressionpolicy",
        &["authentik_policies_expression.add_expressionpolicy", "authentik_core.view_user"],
    ),
    ("post", "/policies/all/{policy_uuid}/test/", "authentik_policies.view_policy", &["authentik_core.view_user"]),
    ("post", "/policies/all/cache_clear/", "authentik_policies.view_policy", &["authentik_policies.change_policy"]),
    (
        "post",
        "/propertymappings/all/{pm_uuid}/test/",
        "authentik_core.view_propertymapping",
        &["authentik_core.view_user"],
    ),
    (
        "get",
        "/providers/oauth2/{id}/preview_user/",
        "authentik_providers_oauth2.view_oauth2provider",
        &["authentik_core.preview_user"],
    ),
];

/// The permissions that an operation asks for: one to see, and what it takes besides.
pub(super) fn permissions(method: &str, path: &str) -> Vec<String> {
    if let Some((.., view, more)) = SPECIAL.iter().find(|known| (known.0, known.1) == (method, path)) {
        return std::iter::once(*view).chain(more.iter().copied()).map(str::to_owned).collect();
    }
    let Some((_, kind)) = KINDS.iter().find(|(start, _)| path.starts_with(start)) else { return Vec::new() };
    // Nobody acts as somebody else with a token (CO-388).
    if path.contains("/impersonate") {
        return Vec::new();
    }
    let (app, model) = kind.split_once('.').unwrap();
    let view = format!("{app}.view_{model}");
    match method {
        "get" => vec![view],
        "post" => vec![view, format!("{app}.add_{model}")],
        "delete" => vec![view, format!("{app}.delete_{model}")],
        _ => vec![view, format!("{app}.change_{model}")],
    }
}
