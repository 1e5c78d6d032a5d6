//! Accounts that the token endpoint made, and what they stand for (OA-310, OA-331, OA-624).

use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_store::{account, federated, provider, source};

use crate::context::Context;
use crate::error::Error;

/// What an account stands for that nobody made by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The provider that it was made for, with its name, unless that is gone.
    pub provider: Option<(ProviderPk, String)>,
    /// The subject that a source vouches for; none for an account that stands for a client's secret.
    pub subject: Option<Subject>,
}

/// Who brings assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The source's short name, unless it is gone.
    pub source: Option<String>,
    /// `iss` of the assertions.
    pub issuer: String,
    /// `sub` of the assertions.
    pub subject: String,
}

/// What this account stands for; none for accounts that somebody made. Whether the actor may see the account is the
/// caller's business.
///
/// # Errors
/// When the store fails.
pub async fn of(ctx: &Context, pk: UserPk) -> Result<Option<Generated>, Error> {
    let mut conn = ctx.db.read().await?;
    let Some(account) = account::by_pk(&mut conn, pk).await? else { return Ok(None) };
    let link = federated::of_account(&mut conn, pk).await?;
    let made_for = account.generated_for.or(link.as_ref().and_then(|link| link.provider));
    if made_for.is_none() && link.is_none() {
        return Ok(None);
    }
    let provider = match made_for {
        Some(pk) => provider::by_pk(&mut conn, pk).await?.map(|provider| (pk, provider.name)),
        None => None,
    };
    let subject = match link {
        None => None,
        Some(link) => {
            let source = match link.source {
                Some(pk) => source::by_pk(&mut conn, pk).await?.map(|source| source.slug),
                None => None,
            };
            Some(Subject { source, issuer: link.issuer, subject: link.subject })
        }
    };
    Ok(Some(Generated { provider, subject }))
}
