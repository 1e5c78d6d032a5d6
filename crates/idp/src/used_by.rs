//! What uses an object, and what becomes of it when that is deleted (CO-532).

use portcullis_core::id::{ApplicationId, CertificateId, GroupId, MappingId, ProviderPk, RoleId, SourceId, UserPk};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::binding::{self, Binding};
use portcullis_store::relation::{self, Relation};
use portcullis_store::{Conn, entitlement, provider};

use crate::context::{Actor, Context};
use crate::directory::superuser_only;
use crate::error::Error;

/// The two halves of what a kind of object is called.
type Kind = (&'static str, &'static str);

/// What becomes of the user of something that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is deleted, too.
    Cascade,
    /// Only the relation between the two goes.
    CascadeMany,
    /// It names nothing then.
    SetNull,
    /// It has its default then.
    SetDefault,
    /// It still names what is gone.
    LeftDangling,
}

impl Action {
    /// In the words of clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cascade => "cascade",
            Self::CascadeMany => "cascade_many",
            Self::SetNull => "set_null",
            Self::SetDefault => "set_default",
            Self::LeftDangling => "left_dangling",
        }
    }
}

/// Something that uses an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// First half of its kind.
    pub app: &'static str,
    /// Second half of its kind.
    pub model_name: &'static str,
    /// Key.
    pub pk: String,
    /// Name.
    pub name: String,
    /// What becomes of it.
    pub action: Action,
}

impl Use {
    /// Something that uses an object.
    #[expect(clippy::needless_pass_by_value, reason = "keys are small, and copied")]
    pub fn of((app, model_name): Kind, pk: impl ToString, name: impl Into<String>, action: Action) -> Self {
        Self { app, model_name, pk: pk.to_string(), name: name.into(), action }
    }
}

/// Bindings that use an object, as many of them as somebody may see: what is theirs to name is set to null, what they are
/// bound to takes them along.
pub fn bindings(actor: &Actor, bindings: &[Binding], action: Action) -> Vec<Use> {
    let kind = ("authentik_policies", "policybinding");
    let seen = bindings.iter().filter(|binding| actor.may_on(Verb::View, Model::BINDING, &binding.pk));
    seen.map(|binding| Use::of(kind, binding.pk, crate::bindings::title(binding), action)).collect()
}

/// What something is that others use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each holds the key of an object of that kind")]
pub enum Thing {
    User(UserPk),
    Group(GroupId),
    Role(RoleId),
    Application(ApplicationId),
    Provider(ProviderPk),
    Mapping(MappingId),
    Source(SourceId),
    Certificate(CertificateId),
}

const USER: Kind = ("authentik_core", "user");
const GROUP: Kind = ("authentik_core", "group");
const TOKEN: Kind = ("authentik_core", "token");
const SESSION: Kind = ("authentik_core", "authenticatedsession");
const APPLICATION: Kind = ("authentik_core", "application");
const ENTITLEMENT: Kind = ("authentik_core", "applicationentitlement");
const CONSENT: Kind = ("authentik_stages_consent", "userconsent");
const REFRESH_TOKEN: Kind = ("authentik_providers_oauth2", "refreshtoken");
const BRAND: Kind = ("authentik_brands", "brand");
const OUTPOST: Kind = ("authentik_outposts", "outpost");
const SOURCE: Kind = ("authentik_sources_oauth", "oauthsource");

/// What uses an object. That it exists, and who may ask, is the caller's business.
///
/// What ends by itself soon is not named: codes, access tokens and sessions of outposts go with what they rest on.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators, or when the store fails.
pub async fn of(ctx: &Context, actor: &Actor, thing: Thing) -> Result<Vec<Use>, Error> {
    superuser_only(actor)?;
    let mut conn = ctx.db.read().await?;
    let mut found = Found { conn: &mut conn, uses: Vec::new() };
    match thing {
        Thing::User(pk) => {
            let key = pk.to_string();
            found.through(Relation::TokenOfAccount, &key, TOKEN, Action::Cascade).await?;
            found.through(Relation::SessionOfAccount, &key, SESSION, Action::Cascade).await?;
            found.through(Relation::AuthenticatorOfAccount, &key, USER, Action::Cascade).await?;
            found.through(Relation::ConsentOfAccount, &key, CONSENT, Action::Cascade).await?;
            found.through(Relation::RefreshTokenOfAccount, &key, REFRESH_TOKEN, Action::Cascade).await?;
            let named = binding::of_account(found.conn, pk).await?;
            found.uses.extend(bindings(actor, &named, Action::SetNull));
        }
        Thing::Group(pk) => {
            let key = pk.to_string();
            found.through(Relation::MemberOfTeam, &key, USER, Action::CascadeMany).await?;
            found.through(Relation::ChildOfTeam, &key, GROUP, Action::CascadeMany).await?;
            let named = binding::of_team(found.conn, pk).await?;
            found.uses.extend(bindings(actor, &named, Action::SetNull));
        }
        Thing::Role(pk) => {
            let key = pk.to_string();
            found.through(Relation::AccountWithRole, &key, USER, Action::CascadeMany).await?;
            found.through(Relation::TeamWithRole, &key, GROUP, Action::CascadeMany).await?;
        }
        Thing::Application(pk) => {
            let key = pk.to_string();
            let bound = binding::of_target(found.conn, pk.0).await?;
            found.uses.extend(bindings(actor, &bound, Action::Cascade));
            for entitlement in entitlement::of_application(found.conn, pk).await? {
                found.uses.push(Use::of(ENTITLEMENT, entitlement.uuid, entitlement.name, Action::Cascade));
            }
            found.through(Relation::BrandOpeningApplication, &key, BRAND, Action::SetNull).await?;
            found.through(Relation::ConsentOfApplication, &key, CONSENT, Action::Cascade).await?;
        }
        Thing::Provider(pk) => {
            let key = pk.to_string();
            found.through(Relation::ApplicationOfProvider, &key, APPLICATION, Action::SetNull).await?;
            found.through(Relation::OutpostServingProvider, &key, OUTPOST, Action::CascadeMany).await?;
            found.through(Relation::ConsentOfProvider, &key, CONSENT, Action::Cascade).await?;
            found.through(Relation::RefreshTokenOfProvider, &key, REFRESH_TOKEN, Action::Cascade).await?;
            for other in provider::federating(found.conn).await? {
                let federated = other.jwt_federation_providers.as_array();
                if federated.is_some_and(|list| list.iter().any(|known| known.as_i64() == Some(pk.0.into()))) {
                    let kind = provider_kind(&other.kind);
                    found.uses.push(Use::of(kind, other.pk, other.name, Action::CascadeMany));
                }
            }
        }
        Thing::Mapping(pk) => {
            let key = pk.to_string();
            found.through(Relation::ProviderWithMapping, &key, ("", ""), Action::CascadeMany).await?;
            found.through(Relation::SourceWithMapping, &key, SOURCE, Action::CascadeMany).await?;
        }
        Thing::Source(pk) => {
            let key = pk.to_string();
            found.through(Relation::ProviderTrustingSource, &key, ("", ""), Action::CascadeMany).await?;
        }
        Thing::Certificate(pk) => {
            let key = pk.to_string();
            found.through(Relation::ProviderSigningWithCertificate, &key, ("", ""), Action::SetNull).await?;
            // Nothing becomes of it: a key that tokens are encrypted to cannot be deleted.
            found.through(Relation::ProviderEncryptingToCertificate, &key, ("", ""), Action::LeftDangling).await?;
            found.through(Relation::ProviderPresentingCertificate, &key, ("", ""), Action::SetNull).await?;
            found.through(Relation::BrandPresentingCertificate, &key, BRAND, Action::SetNull).await?;
            found.through(Relation::BrandAcceptingCertificate, &key, BRAND, Action::CascadeMany).await?;
        }
    }
    Ok(found.uses)
}

/// What was found so far.
struct Found<'a> {
    conn: &'a mut Conn,
    uses: Vec<Use>,
}

impl Found<'_> {
    /// Adds what is related in this way. Providers and authenticators say themselves of what kind they are.
    async fn through(&mut self, relation: Relation, key: &str, kind: Kind, action: Action) -> Result<(), Error> {
        for named in relation::users_of(self.conn, relation, key).await? {
            let kind = match named.kind.as_str() {
                "" => kind,
                "totp" => ("authentik_stages_authenticator_totp", "totpdevice"),
                "webauthn" => ("authentik_stages_authenticator_webauthn", "webauthndevice"),
                "static" => ("authentik_stages_authenticator_static", "staticdevice"),
                provider => provider_kind(provider),
            };
            self.uses.push(Use::of(kind, named.pk, named.name, action));
        }
        Ok(())
    }
}

fn provider_kind(kind: &str) -> Kind {
    match kind {
        "proxy" => ("authentik_providers_proxy", "proxyprovider"),
        _ => ("authentik_providers_oauth2", "oauth2provider"),
    }
}
