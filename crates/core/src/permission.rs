//! What somebody may do who is no superuser (CO section 22).
//!
//! A permission is `<app>.<codename>`, such as `authentik_core.view_user`. A role grants it on everything of its kind,
//! or on one object. What a user may is the union of what their roles grant.

use std::collections::{HashMap, HashSet};
use std::fmt;

/// What is done to an object of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Seen.
    View,
    /// Made.
    Add,
    /// Changed.
    Change,
    /// Deleted.
    Delete,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Self; 4] = [Self::View, Self::Add, Self::Change, Self::Delete];

    const fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Add => "add",
            Self::Change => "change",
            Self::Delete => "delete",
        }
    }
}

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    /// Such as `authentik_core`.
    pub app: &'static str,
    /// Such as `user`.
    pub name: &'static str,
    /// As answers name it when there is none, such as `User` (CO-522).
    pub kind: &'static str,
}

macro_rules! models {
    ($($(#[$doc:meta])* $constant:ident = $app:literal . $name:literal, $kind:literal);* $(;)?) => {
        impl Model {
            $($(#[$doc])* pub const $constant: Self = Self { app: $app, name: $name, kind: $kind };)*

            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];
        }
    };
}

models! {
    /// Users.
    USER = "authentik_core"."user", "User";
    /// Groups.
    GROUP = "authentik_core"."group", "Group";
    /// Tokens.
    TOKEN = "authentik_core"."token", "Token";
    /// Applications.
    APPLICATION = "authentik_core"."application", "Application";
    /// Entitlements.
    ENTITLEMENT = "authentik_core"."applicationentitlement", "ApplicationEntitlement";
    /// Sessions of signed-in browsers.
    SESSION = "authentik_core"."authenticatedsession", "AuthenticatedSession";
    /// Consents.
    CONSENT = "authentik_core"."userconsent", "UserConsent";
    /// Providers of any kind.
    PROVIDER = "authentik_core"."provider", "Provider";
    /// Sources of any kind.
    SOURCE = "authentik_core"."source", "Source";
    /// Property mappings of any kind.
    MAPPING = "authentik_core"."propertymapping", "PropertyMapping";
    /// Brands.
    BRAND = "authentik_brands"."brand", "Brand";
    /// OAuth2 providers.
    OAUTH2_PROVIDER = "authentik_providers_oauth2"."oauth2provider", "OAuth2Provider";
    /// Scope mappings.
    SCOPE_MAPPING = "authentik_providers_oauth2"."scopemapping", "ScopeMapping";
    /// Authorization codes.
    AUTHORIZATION_CODE = "authentik_providers_oauth2"."authorizationcode", "AuthorizationCode";
    /// Access tokens.
    ACCESS_TOKEN = "authentik_providers_oauth2"."accesstoken", "AccessToken";
    /// Refresh tokens.
    REFRESH_TOKEN = "authentik_providers_oauth2"."refreshtoken", "RefreshToken";
    /// Proxy providers.
    PROXY_PROVIDER = "authentik_providers_proxy"."proxyprovider", "ProxyProvider";
    /// OAuth sources.
    OAUTH_SOURCE = "authentik_sources_oauth"."oauthsource", "OAuthSource";
    /// Policies of any kind.
    POLICY = "authentik_policies"."policy", "Policy";
    /// Policy bindings.
    BINDING = "authentik_policies"."policybinding", "PolicyBinding";
    /// Expression policies.
    EXPRESSION_POLICY = "authentik_policies_expression"."expressionpolicy", "ExpressionPolicy";
    /// Password policies.
    PASSWORD_POLICY = "authentik_policies_password"."passwordpolicy", "PasswordPolicy";
    /// Password expiry policies.
    EXPIRY_POLICY = "authentik_policies_expiry"."passwordexpirypolicy", "PasswordExpiryPolicy";
    /// Reputation policies.
    REPUTATION_POLICY = "authentik_policies_reputation"."reputationpolicy", "ReputationPolicy";
    /// Reputation scores.
    REPUTATION = "authentik_policies_reputation"."reputation", "Reputation";
    /// Event matchers.
    MATCHER_POLICY = "authentik_policies_event_matcher"."eventmatcherpolicy", "EventMatcherPolicy";
    /// Dummy policies.
    DUMMY_POLICY = "authentik_policies_dummy"."dummypolicy", "DummyPolicy";
    /// Certificates with their keys.
    CERTIFICATE = "authentik_crypto"."certificatekeypair", "CertificateKeyPair";
    /// Outposts.
    OUTPOST = "authentik_outposts"."outpost", "Outpost";
    /// Flows.
    FLOW = "authentik_flows"."flow", "Flow";
    /// Events.
    EVENT = "authentik_events"."event", "Event";
    /// Blueprints that were made known.
    BLUEPRINT = "authentik_blueprints"."blueprintinstance", "BlueprintInstance";
    /// Roles.
    ROLE = "authentik_rbac"."role", "Role";
}

macro_rules! specials {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        /// Rights that are none of the four verbs (CO-701).
        pub mod special {
            $($(#[$doc])* pub const $constant: &str = $name;)*
        }

        const SPECIAL: &[&str] = &[$(special::$constant),*];
    };
}

specials! {
    /// Setting a user's password, and making a link that does.
    RESET_USER_PASSWORD = "authentik_core.reset_user_password";
    /// Acting as a user.
    IMPERSONATE = "authentik_core.impersonate";
    /// Seeing what a provider would tell of a user.
    PREVIEW_USER = "authentik_core.preview_user";
    /// Seeing the applications that a user may use.
    VIEW_USER_APPLICATIONS = "authentik_core.view_user_applications";
    /// Making users members of a group.
    ADD_USER_TO_GROUP = "authentik_core.add_user_to_group";
    /// Ending memberships of a group.
    REMOVE_USER_FROM_GROUP = "authentik_core.remove_user_from_group";
    /// Setting a group's flag for administrators; does not suffice (CO-705).
    ENABLE_GROUP_SUPERUSER = "authentik_core.enable_group_superuser";
    /// Clearing a group's flag for administrators; does not suffice (CO-705).
    DISABLE_GROUP_SUPERUSER = "authentik_core.disable_group_superuser";
    /// Seeing the key of a token.
    VIEW_TOKEN_KEY = "authentik_core.view_token_key";
    /// Replacing the key of a token.
    SET_TOKEN_KEY = "authentik_core.set_token_key";
    /// Downloading a certificate.
    VIEW_CERTIFICATEKEYPAIR_CERTIFICATE = "authentik_crypto.view_certificatekeypair_certificate";
    /// Downloading the private key of a certificate.
    VIEW_CERTIFICATEKEYPAIR_KEY = "authentik_crypto.view_certificatekeypair_key";
    /// Seeing what the process runs on.
    VIEW_SYSTEM_INFO = "authentik_rbac.view_system_info";
    /// Seeing the settings.
    VIEW_SYSTEM_SETTINGS = "authentik_rbac.view_system_settings";
    /// Changing the settings.
    EDIT_SYSTEM_SETTINGS = "authentik_rbac.edit_system_settings";
    /// Opening pages for administrators.
    ACCESS_ADMIN_INTERFACE = "authentik_rbac.access_admin_interface";
}

/// A permission by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permission(String);

impl Permission {
    /// A verb on a kind of objects.
    pub fn on(verb: Verb, model: Model) -> Self {
        Self(format!("{}.{}_{}", model.app, verb.word(), model.name))
    }

    /// One of the rights that exist, by name.
    pub fn parse(name: &str) -> Option<Self> {
        let named = Self(name.to_owned());
        let is_special = SPECIAL.contains(&name);
        let mut of_models = Model::ALL.iter().flat_map(|model| Verb::ALL.map(|verb| Self::on(verb, *model)));
        (is_special || of_models.any(|known| known == named)).then_some(named)
    }

    /// Every `view_…`, for a role that may read everything (CO-480).
    pub fn all_views() -> impl Iterator<Item = Self> {
        Model::ALL.iter().map(|model| Self::on(Verb::View, *model))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody's roles grant, all together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    everywhere: HashSet<String>,
    on_objects: HashMap<String, HashSet<String>>,
}

impl Permissions {
    /// Adds a right: on the object with this key, or on everything of its kind.
    pub fn grant(&mut self, permission: &str, object: Option<&str>) {
        match object {
            None => drop(self.everywhere.insert(permission.to_owned())),
            Some(object) => drop(self.on_objects.entry(permission.to_owned()).or_default().insert(object.to_owned())),
        }
    }

    /// Whether a right holds on everything of its kind.
    pub fn hold(&self, permission: &str) -> bool {
        self.everywhere.contains(permission)
    }

    /// Whether a right holds on anything at all.
    pub fn hold_somewhere(&self, permission: &str) -> bool {
        self.hold(permission) || self.on_objects.get(permission).is_some_and(|objects| !objects.is_empty())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.everywhere.is_empty() && self.on_objects.is_empty()
    }

    /// Whether a right holds on one object.
    pub fn hold_on(&self, permission: &str, object: &str) -> bool {
        self.hold(permission) || self.on_objects.get(permission).is_some_and(|objects| objects.contains(object))
    }

    /// The objects on which a right holds, apart from those on which it holds anyway.
    pub fn objects(&self, permission: &str) -> impl Iterator<Item = &str> {
        self.on_objects.get(permission).into_iter().flatten().map(String::as_str)
    }

    /// Whether somebody who has these holds all of `others` (CO-705).
    pub fn include(&self, others: &Self) -> bool {
        let everywhere = others.everywhere.iter().all(|permission| self.hold(permission));
        let mut on_objects = others.on_objects.iter();
        everywhere && on_objects.all(|(name, objects)| objects.iter().all(|object| self.hold_on(name, object)))
    }

    /// Names of the rights that hold everywhere, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.everywhere.iter().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-701: permissions are verbs on models and a few others; nothing else is one.
    #[test]
    fn co_701_permissions_have_names() {
        assert_eq!(Permission::on(Verb::View, Model::USER).as_str(), "authentik_core.view_user");
        for name in ["authentik_core.add_token", "authentik_core.reset_user_password", "authentik_rbac.delete_role"] {
            assert_eq!(Permission::parse(name).unwrap().as_str(), name);
        }
        for name in
            ["", "view_user", "authentik_core.read_user", "authentik_crypto.view_user", "authentik_core.view_user "]
        {
            assert_eq!(Permission::parse(name), None, "{name}");
        }
        assert!(Permission::all_views().all(|view| Permission::parse(view.as_str()).is_some()));
    }

    /// CO-701: a right holds on everything, or on the objects it was given for.
    #[test]
    fn co_701_rights_hold_everywhere_or_on_objects() {
        let mut mine = Permissions::default();
        mine.grant("authentik_core.view_user", None);
        mine.grant("authentik_core.change_user", Some("7"));
        assert!(mine.hold("authentik_core.view_user") && mine.hold_on("authentik_core.view_user", "9"));
        assert!(!mine.hold("authentik_core.change_user"));
        assert!(mine.hold_on("authentik_core.change_user", "7") && !mine.hold_on("authentik_core.change_user", "8"));
        assert_eq!(mine.objects("authentik_core.change_user").collect::<Vec<_>>(), ["7"]);
        assert_eq!(mine.names(), ["authentik_core.view_user"]);
    }

    /// CO-705: who gives rights away must hold them all.
    #[test]
    fn co_705_rights_include_others() {
        let grants = |all: &[(&str, Option<&str>)]| {
            let mut permissions = Permissions::default();
            all.iter().for_each(|(name, object)| permissions.grant(name, *object));
            permissions
        };
        let mine = grants(&[("a.view_x", None), ("a.change_x", Some("1"))]);
        assert!(mine.include(&Permissions::default()) && mine.include(&mine));
        assert!(mine.include(&grants(&[("a.view_x", Some("5"))])));
        assert!(!mine.include(&grants(&[("a.change_x", None)])));
        assert!(!mine.include(&grants(&[("a.change_x", Some("2"))])));
    }
}
