//! Kinds of identity providers that are known by name (CO-567).

/// A kind of identity provider, with the addresses that are the same for everybody.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "each is the key of the same name")]
pub struct Kind {
    pub name: &'static str,
    pub verbose_name: &'static str,
    pub urls_customizable: bool,
    pub authorization_url: Option<&'static str>,
    pub access_token_url: Option<&'static str>,
    pub profile_url: Option<&'static str>,
    pub oidc_well_known_url: Option<&'static str>,
    pub oidc_jwks_url: Option<&'static str>,
}

/// All of them. The addresses are offered to whoever makes a source; nothing is fetched from them unasked.
pub const ALL: [Kind; 6] = [
    Kind {
        name: "openidconnect",
        verbose_name: "OpenID Connect",
        urls_customizable: true,
        authorization_url: None,
        access_token_url: None,
        profile_url: None,
        oidc_well_known_url: None,
        oidc_jwks_url: None,
    },
    Kind {
        name: "entraid",
        verbose_name: "Entra ID",
        urls_customizable: true,
        authorization_url: Some("https://login.microsoftonline.com/common/oauth2/v2.0/authorize"),
        access_token_url: Some("https://login.microsoftonline.com/common/oauth2/v2.0/token"),
        profile_url: Some("https://graph.microsoft.com/v1.0/me"),
        oidc_well_known_url: Some("https://login.microsoftonline.com/common/.well-known/openid-configuration"),
        oidc_jwks_url: Some("https://login.microsoftonline.com/common/discovery/keys"),
    },
    Kind {
        name: "github",
        verbose_name: "GitHub",
        urls_customizable: true,
        authorization_url: Some("https://github.com/login/oauth/authorize"),
        access_token_url: Some("https://github.com/login/oauth/access_token"),
        profile_url: Some("https://api.github.com/user"),
        oidc_well_known_url: Some("https://token.actions.githubusercontent.com/.well-known/openid-configuration"),
        oidc_jwks_url: Some("https://token.actions.githubusercontent.com/.well-known/jwks"),
    },
    Kind {
        name: "gitlab",
        verbose_name: "GitLab",
        urls_customizable: true,
        authorization_url: Some("https://gitlab.com/oauth/authorize"),
        access_token_url: Some("https://gitlab.com/oauth/token"),
        profile_url: Some("https://gitlab.com/oauth/userinfo"),
        oidc_well_known_url: Some("https://gitlab.com/.well-known/openid-configuration"),
        oidc_jwks_url: Some("https://gitlab.com/oauth/discovery/keys"),
    },
    Kind {
        name: "google",
        verbose_name: "Google",
        urls_customizable: false,
        authorization_url: Some("https://accounts.google.com/o/oauth2/auth"),
        access_token_url: Some("https://oauth2.googleapis.com/token"),
        profile_url: Some("https://www.googleapis.com/oauth2/v1/userinfo"),
        oidc_well_known_url: Some("https://accounts.google.com/.well-known/openid-configuration"),
        oidc_jwks_url: Some("https://www.googleapis.com/oauth2/v3/certs"),
    },
    Kind {
        name: "okta",
        verbose_name: "Okta",
        urls_customizable: true,
        authorization_url: None,
        access_token_url: None,
        profile_url: None,
        oidc_well_known_url: None,
        oidc_jwks_url: None,
    },
];

/// The kind of this name.
pub fn by_name(name: &str) -> Option<Kind> {
    ALL.into_iter().find(|kind| kind.name == name)
}
