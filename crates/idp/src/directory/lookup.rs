//! Users are found by their attributes without opening those of everybody (CO-540): by keyed digests of marks.

use portcullis_core::attributes::{Attributes, SecretKeys};
use portcullis_core::id::UserPk;
use portcullis_core::keys::{Keyring, Purpose};
use portcullis_core::marks::{self, Mark, Sought};
use portcullis_store::Conn;
use portcullis_store::account::{self, Account};
use serde_json::Value;

use super::{account_place, open, seal, secret_keys};
use crate::context::Context;
use crate::error::Error;

/// Bytes of a digest: no two marks have the same one.
const LENGTH: usize = 16;

/// Stores a user's own attributes, sealed, with what the user is found by; gives them as they are sealed.
///
/// # Errors
/// When the store fails.
pub(crate) async fn keep(
    ctx: &Context,
    conn: &mut Conn,
    pk: UserPk,
    attributes: &Attributes,
) -> Result<Vec<u8>, Error> {
    let secrets = secret_keys(ctx, conn).await?;
    let sealed = seal(ctx, &account_place(pk), attributes);
    account::set_attributes(conn, pk, &sealed, &digests(&ctx.keys, attributes, &secrets)).await?;
    Ok(sealed)
}

/// The digests that whoever has these attributes is found by.
pub(crate) fn digests(keys: &Keyring, attributes: &Attributes, secrets: &SecretKeys) -> Vec<Vec<u8>> {
    marks::of(attributes, secrets).iter().map(|mark| digest(keys, mark)).collect()
}

fn digest(keys: &Keyring, mark: &Mark) -> Vec<u8> {
    keys.digest(Purpose::AttributeLookup, &mark.parts()).iter().take(LENGTH).copied().collect()
}

/// The people who may sign in by this text, two at most, with what it is to them (CO-306).
///
/// # Errors
/// When the store fails or attributes cannot be opened.
pub(crate) async fn with_upn(ctx: &Context, conn: &mut Conn, text: &str) -> Result<Vec<(Account, String)>, Error> {
    let Some(mark) = marks::of_upn(text) else { return Ok(Vec::new()) };
    let found = account::with_attribute(conn, &digest(&ctx.keys, &mark)).await?;
    let mut people = Vec::new();
    for account in found {
        let attributes = open(ctx, &account_place(account.pk), &account.attributes_sealed)?;
        let upn = attributes.get(marks::UPN).and_then(Value::as_str).unwrap_or_default();
        people.push((account, upn.to_owned()));
    }
    Ok(people)
}

/// How those are found who have some attributes.
pub(super) struct Question {
    /// Digests for [`account::Filter::attributes`].
    pub(super) digests: Vec<Vec<Vec<u8>>>,
    /// Whether that finds them and nobody else; or else their attributes have to be looked at.
    pub(super) is_certain: bool,
}

/// Finds out how those are found who have all of `wanted`.
///
/// # Errors
/// When the store fails.
pub(super) async fn question(
    ctx: &Context,
    conn: &mut Conn,
    secrets: &SecretKeys,
    wanted: &Attributes,
) -> Result<Question, Error> {
    let mut question = Question { digests: Vec::new(), is_certain: true };
    for (path, value) in wanted {
        let Some(Sought { certain, possible }) = marks::sought(path, value, secrets) else {
            // A secret is nothing that anybody is found by.
            return Ok(Question { digests: vec![Vec::new()], is_certain: true });
        };
        let mut all: Vec<_> = possible.iter().map(|mark| digest(&ctx.keys, mark)).collect();
        let is_certain = certain.is_some() && !account::any_attribute(conn, &all).await?;
        if is_certain {
            all.clear();
        }
        all.extend(certain.iter().map(|mark| digest(&ctx.keys, mark)));
        question.is_certain &= is_certain;
        question.digests.push(all);
    }
    Ok(question)
}
