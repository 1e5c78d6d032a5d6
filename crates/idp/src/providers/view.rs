//! Providers as those who look after them see them.

use std::collections::HashMap;

use portcullis_core::id::{MappingId, ProviderPk};
use portcullis_core::permission::Verb;
use portcullis_store::application::Application;
use portcullis_store::provider::{Filter, Provider, Summary};
use portcullis_store::{Conn, application, outpost, provider};

use super::Kind;
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::list::{Listed, Slice};

/// A provider with what refers to it.
#[derive(Clone, Debug)]
pub struct View {
    /// The record.
    pub provider: Provider,
    /// Its mappings, in the order they were given.
    pub mappings: Vec<MappingId>,
    /// The application that uses it.
    pub application: Option<Application>,
    /// Names of the outposts that serve it.
    pub outposts: Vec<String>,
}

/// The providers of a kind that meet conditions.
///
/// # Errors
/// [`Error::Forbidden`] for those who may see none; else when the store fails.
pub async fn list(
    ctx: &Context,
    actor: &Actor,
    kind: Kind,
    filter: &Filter,
    slice: Slice,
) -> Result<Listed<View>, Error> {
    let slice = slice.of(actor.sees(kind.model())?);
    let filter = &Filter { kind: kind.filter(), ..filter.clone() };
    let mut conn = ctx.db.read().await?;
    let Listed { rows, count } = provider::list(&mut conn, filter, slice).await?;
    Ok(Listed { rows: views(&mut conn, rows).await?, count })
}

/// The provider with this key, if it is one of these.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], or when the store fails.
pub async fn get(ctx: &Context, actor: &Actor, pk: ProviderPk, kind: Kind) -> Result<View, Error> {
    actor.need_on(Verb::View, kind.model(), &pk)?;
    let mut conn = ctx.db.read().await?;
    let found = provider::by_pk(&mut conn, pk).await?.filter(|found| kind.includes(found));
    views(&mut conn, found).await?.pop().ok_or(Error::NotFound(kind.name()))
}

/// A provider as what names it shows it.
///
/// # Errors
/// [`Error::NotFound`], or when the store fails.
pub(crate) async fn view_of(conn: &mut Conn, pk: ProviderPk) -> Result<View, Error> {
    let found = provider::by_pk(conn, pk).await?;
    views(conn, found).await?.pop().ok_or(Error::NotFound(Kind::Any.name()))
}

/// The providers of a kind that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails.
pub async fn all_in(change: &mut Change<'_>, kind: Kind, filter: &Filter) -> Result<Vec<View>, Error> {
    let filter = Filter { kind: kind.filter(), ..filter.clone() };
    let found = provider::list(change.conn(), &filter, Slice::ALL).await?;
    views(change.conn(), found.rows).await
}

/// A provider as what refers to it shows it: little of it.
#[derive(Clone, Debug)]
pub struct Brief {
    /// What names it, and what it belongs to.
    pub summary: Summary,
    /// Its mappings, in the order they were given.
    pub mappings: Vec<MappingId>,
}

/// Providers of an outpost, by name.
///
/// # Errors
/// When the store fails.
pub(crate) async fn of_outpost(conn: &mut Conn, pk: portcullis_core::id::OutpostId) -> Result<Vec<Brief>, Error> {
    let found = provider::summaries_of_outpost(conn, pk).await?;
    let keys: Vec<_> = found.iter().map(|summary| summary.pk).collect();
    let mut mappings: HashMap<ProviderPk, Vec<MappingId>> = HashMap::new();
    for (provider, mapping) in provider::mapping_links(conn, &keys).await? {
        mappings.entry(provider).or_default().push(mapping);
    }
    let brief = |summary: Summary| Brief { mappings: mappings.remove(&summary.pk).unwrap_or_default(), summary };
    Ok(found.into_iter().map(brief).collect())
}

/// Adds what refers to providers, with three queries for a page of them.
pub(crate) async fn views(conn: &mut Conn, providers: impl IntoIterator<Item = Provider>) -> Result<Vec<View>, Error> {
    let providers = Vec::from_iter(providers);
    let keys: Vec<_> = providers.iter().map(|provider| provider.pk).collect();
    let mut mappings: HashMap<ProviderPk, Vec<MappingId>> = HashMap::new();
    for (provider, mapping) in provider::mapping_links(conn, &keys).await? {
        mappings.entry(provider).or_default().push(mapping);
    }
    let mut outposts: HashMap<ProviderPk, Vec<String>> = HashMap::new();
    for (provider, name) in outpost::names_by_provider(conn, &keys).await? {
        outposts.entry(provider).or_default().push(name);
    }
    let mut applications: HashMap<ProviderPk, Application> = application::of_providers(conn, &keys)
        .await?
        .into_iter()
        .filter_map(|application| Some((application.provider?, application)))
        .collect();
    let view = |provider: Provider| View {
        mappings: mappings.remove(&provider.pk).unwrap_or_default(),
        outposts: outposts.remove(&provider.pk).unwrap_or_default(),
        application: applications.remove(&provider.pk),
        provider,
    };
    Ok(providers.into_iter().map(view).collect())
}
