//! What a handler's caller must be allowed to do (CO section 22).
//!
//! The extractor is named after the deed, and its parameter after the kind of objects: `MayAdd<on::User>`. Who may do
//! it to nothing at all is refused before anything else is looked at; whether they may do it to the object in
//! question is for the service to say.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use portcullis_core::permission::{Model, Verb, special};
use portcullis_idp::{Actor, Context};

use super::answer::ApiError;
use super::caller::Caller;

/// A kind of objects, as a type.
pub trait Kind: Send + Sync + 'static {
    /// The kind.
    const MODEL: Model;
}

/// Kinds of objects, as types.
pub mod on {
    use super::{Kind, Model};

    macro_rules! kinds {
        ($($name:ident = $model:ident),* $(,)?) => {
            $(
                #[doc = concat!("[`Model::", stringify!($model), "`].")]
                #[derive(Debug)]
                pub struct $name;

                impl Kind for $name {
                    const MODEL: Model = Model::$model;
                }
            )*
        };
    }

    kinds! {
        User = USER,
        Group = GROUP,
        Application = APPLICATION,
        Entitlement = ENTITLEMENT,
        AnyProvider = PROVIDER,
        OAuth2Provider = OAUTH2_PROVIDER,
        ProxyProvider = PROXY_PROVIDER,
        AnySource = SOURCE,
        OAuthSource = OAUTH_SOURCE,
        AnyMapping = MAPPING,
        ScopeMapping = SCOPE_MAPPING,
        AnyPolicy = POLICY,
        ExpressionPolicy = EXPRESSION_POLICY,
        PasswordPolicy = PASSWORD_POLICY,
        ExpiryPolicy = EXPIRY_POLICY,
        ReputationPolicy = REPUTATION_POLICY,
        MatcherPolicy = MATCHER_POLICY,
        DummyPolicy = DUMMY_POLICY,
        Binding = BINDING,
        Reputation = REPUTATION,
        Brand = BRAND,
        Certificate = CERTIFICATE,
        Outpost = OUTPOST,
        Flow = FLOW,
        Event = EVENT,
        Role = ROLE,
    }
}

/// A right that is none of the four verbs, as a type.
pub trait Special: Send + Sync + 'static {
    /// Its name.
    const RIGHT: &'static str;
}

/// Special rights, as types.
pub mod to {
    use super::{Special, special};

    macro_rules! rights {
        ($($name:ident = $right:ident),* $(,)?) => {
            $(
                #[doc = concat!("[`special::", stringify!($right), "`].")]
                #[derive(Debug)]
                pub struct $name;

                impl Special for $name {
                    const RIGHT: &'static str = special::$right;
                }
            )*
        };
    }

    rights! {
        Impersonate = IMPERSONATE,
        ResetPassword = RESET_USER_PASSWORD,
        AddToGroup = ADD_USER_TO_GROUP,
        RemoveFromGroup = REMOVE_USER_FROM_GROUP,
        ViewCertificate = VIEW_CERTIFICATEKEYPAIR_CERTIFICATE,
        ViewPrivateKey = VIEW_CERTIFICATEKEYPAIR_KEY,
        ViewSystemInfo = VIEW_SYSTEM_INFO,
        ViewSettings = VIEW_SYSTEM_SETTINGS,
        EditSettings = EDIT_SYSTEM_SETTINGS,
    }
}

/// Somebody who may see objects of a kind, or an outpost, to which there are none rather than that it is refused.
#[derive(Debug)]
pub struct MayView<K>(pub Caller, pub PhantomData<K>);

/// Somebody who may make objects of a kind.
#[derive(Debug)]
pub struct MayAdd<K>(pub Caller, pub PhantomData<K>);

/// Somebody who may change some object of a kind.
#[derive(Debug)]
pub struct MayChange<K>(pub Caller, pub PhantomData<K>);

/// Somebody who may delete some object of a kind.
#[derive(Debug)]
pub struct MayDelete<K>(pub Caller, pub PhantomData<K>);

/// Somebody who holds a special right on something.
#[derive(Debug)]
pub struct Holds<R>(pub Caller, pub PhantomData<R>);

async fn admitted(
    parts: &mut Parts,
    ctx: &Arc<Context>,
    may: impl FnOnce(&Actor) -> bool + Send,
) -> Result<Caller, ApiError> {
    let caller = Caller::from_request_parts(parts, ctx).await?;
    if may(&caller.actor) { Ok(caller) } else { Err(ApiError::Forbidden) }
}

impl<K: Kind> FromRequestParts<Arc<Context>> for MayView<K> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Context>) -> Result<Self, ApiError> {
        let may = |actor: &Actor| actor.may_somewhere(Verb::View, K::MODEL) || actor.serving().is_some();
        Ok(Self(admitted(parts, ctx, may).await?, PhantomData))
    }
}

impl<K: Kind> FromRequestParts<Arc<Context>> for MayAdd<K> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Context>) -> Result<Self, ApiError> {
        Ok(Self(admitted(parts, ctx, |actor| actor.may(Verb::Add, K::MODEL)).await?, PhantomData))
    }
}

impl<K: Kind> FromRequestParts<Arc<Context>> for MayChange<K> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Context>) -> Result<Self, ApiError> {
        Ok(Self(admitted(parts, ctx, |actor| actor.may_somewhere(Verb::Change, K::MODEL)).await?, PhantomData))
    }
}

impl<K: Kind> FromRequestParts<Arc<Context>> for MayDelete<K> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Context>) -> Result<Self, ApiError> {
        Ok(Self(admitted(parts, ctx, |actor| actor.may_somewhere(Verb::Delete, K::MODEL)).await?, PhantomData))
    }
}

impl<R: Special> FromRequestParts<Arc<Context>> for Holds<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Context>) -> Result<Self, ApiError> {
        Ok(Self(admitted(parts, ctx, |actor| actor.holds_somewhere(R::RIGHT)).await?, PhantomData))
    }
}
