//! Permanent names of objects that blueprints keep (CO-736).

use crate::change::Change;
use crate::error::Error;

pub use portcullis_store::managed::Kind;

/// Gives an object a permanent name, by which blueprints find it again.
///
/// # Errors
/// [`Error::Invalid`] on `managed` when another has it; else when the store fails.
pub async fn set_in(change: &mut Change<'_>, kind: Kind, pk: &str, managed: &str) -> Result<(), Error> {
    match portcullis_store::managed::set(change.conn(), kind, pk, managed).await {
        Err(portcullis_store::StoreError::Taken(_)) => Err(Error::field("managed", "This field must be unique.")),
        done => Ok(done?),
    }
}
