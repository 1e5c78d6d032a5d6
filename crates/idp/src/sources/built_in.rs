//! The directory of the instance itself, which cannot be changed (CO-480, CO-566), and all sources together.

use std::cmp::Ordering;

use portcullis_core::keys::sha256;
use portcullis_core::permission::{Model, Verb};
use portcullis_store::source;
use uuid::{Builder, Uuid};

use super::{Filter, Order, Source};
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::list::{Listed, Slice, search_terms};

/// Slug of the built-in source.
pub const SLUG: &str = "authentik-built-in";

/// Its name.
pub const NAME: &str = "authentik Built-in";

/// What it is managed as.
pub const MANAGED: &str = "goauthentik.io/sources/inbuilt";

/// Where its users are, as far as it says.
pub const TEMPLATE: &str = "goauthentik.io/sources/%(slug)s";

/// A source of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Any {
    /// The directory of the instance, with its key, which is also the target of its policy bindings (CO-005).
    BuiltIn(Uuid),
    /// Another identity provider.
    OAuth(Box<Source>),
}

impl Any {
    fn built_in(ctx: &Context) -> Self {
        // The same for the life of the installation, and as good as random to everybody else.
        let digest = sha256(format!("built-in source of {}", ctx.install_id.get()).as_bytes());
        let bytes = digest.first_chunk::<16>().copied().unwrap_or_default();
        Self::BuiltIn(Builder::from_random_bytes(bytes).into_uuid())
    }

    fn pk(&self) -> Uuid {
        match self {
            Self::BuiltIn(pk) => *pk,
            Self::OAuth(source) => source.pk.0,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::BuiltIn(_) => NAME,
            Self::OAuth(source) => &source.name,
        }
    }

    fn slug(&self) -> &str {
        match self {
            Self::BuiltIn(_) => SLUG,
            Self::OAuth(source) => &source.slug,
        }
    }

    fn compare(&self, other: &Self, by: Order) -> Ordering {
        match by {
            Order::Pk => self.pk().cmp(&other.pk()),
            Order::Name => self.name().cmp(other.name()),
            Order::Slug => self.slug().cmp(other.slug()),
            Order::Enabled => self.flag(true, |source| source.enabled).cmp(&other.flag(true, |source| source.enabled)),
            Order::Promoted => {
                self.flag(false, |source| source.promoted).cmp(&other.flag(false, |source| source.promoted))
            }
            text => self.text(text).cmp(&other.text(text)),
        }
    }

    fn flag(&self, built_in: bool, of: impl Fn(&Source) -> bool) -> bool {
        match self {
            Self::BuiltIn(_) => built_in,
            Self::OAuth(source) => of(source),
        }
    }

    /// What a field holds, as text. Nothing comes first.
    fn text(&self, by: Order) -> Option<String> {
        let Self::OAuth(source) = self else {
            return match by {
                Order::PolicyEngineMode => Some("any".to_owned()),
                Order::UserMatchingMode => Some("identifier".to_owned()),
                Order::UserPathTemplate => Some(TEMPLATE.to_owned()),
                Order::Icon | Order::Component => Some(String::new()),
                Order::Managed => Some(MANAGED.to_owned()),
                _ => None,
            };
        };
        match by {
            Order::AuthenticationFlow => source.authentication_flow.map(|flow| flow.to_string()),
            Order::EnrollmentFlow => source.enrollment_flow.map(|flow| flow.to_string()),
            Order::PolicyEngineMode => Some(source.policy_engine_mode.clone()),
            Order::UserMatchingMode => Some(source.user_matching_mode.clone()),
            Order::UserPathTemplate => Some(source.user_path_template.clone()),
            Order::Icon => Some(source.icon.clone()),
            Order::ProviderType => Some(source.provider_type.clone()),
            Order::Component => Some("oauth".to_owned()),
            // Sources of all kinds show nothing else.
            _ => None,
        }
    }
}

/// The sources of all kinds that meet conditions. `managed` is what they are managed as.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, or when the store fails.
pub async fn all(
    ctx: &Context,
    actor: &Actor,
    filter: &Filter,
    managed: Option<&str>,
    slice: Slice,
) -> Result<Listed<Any>, Error> {
    let visible = actor.sees(Model::SOURCE)?;
    let mut rows = Vec::new();
    let own = Any::built_in(ctx);
    let has = |text: &str, term: &str| text.to_lowercase().contains(&term.to_lowercase());
    if visible.holds(&own.pk())
        && managed.is_none_or(|managed| managed == MANAGED)
        && filter.pk.is_none_or(|pk| pk.0 == own.pk())
        && filter.name.as_deref().is_none_or(|name| name == NAME)
        && filter.slug.as_deref().is_none_or(|slug| slug == SLUG)
        && search_terms(&filter.search).all(|term| has(NAME, term) || has(SLUG, term))
    {
        rows.push(own);
    }
    // Nobody else's is managed by anything.
    if managed.is_none() {
        let mut conn = ctx.db.read().await?;
        let found = source::list(&mut conn, filter, Slice::ALL.of(visible)).await?;
        rows.extend(found.rows.into_iter().map(|source| Any::OAuth(Box::new(source))));
    }
    rows.sort_by(|left, right| {
        let differ = filter.order.iter().map(|(by, descending)| {
            let ordering = left.compare(right, *by);
            if *descending { ordering.reverse() } else { ordering }
        });
        differ.fold(Ordering::Equal, Ordering::then).then_with(|| left.pk().cmp(&right.pk()))
    });
    let at = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    Ok(Listed { rows: rows.into_iter().skip(at(slice.offset)).take(at(slice.limit)).collect(), count })
}

/// The source with this slug.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], or when the store fails.
pub async fn get(ctx: &Context, actor: &Actor, slug: &str) -> Result<Any, Error> {
    if slug == SLUG {
        let own = Any::built_in(ctx);
        actor.need_on(Verb::View, Model::SOURCE, &own.pk())?;
        return Ok(own);
    }
    Ok(Any::OAuth(Box::new(super::get(ctx, actor, slug, Model::SOURCE).await?)))
}

/// Deletes a source, which the built-in one does not allow.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`].
pub async fn delete(ctx: &Context, actor: &Actor, slug: &str) -> Result<(), Error> {
    if slug == SLUG {
        actor.need_on(Verb::Delete, Model::SOURCE, &Any::built_in(ctx).pk())?;
        return Err(Error::whole("The built-in source cannot be deleted."));
    }
    super::delete(ctx, actor, slug, Model::SOURCE).await
}
