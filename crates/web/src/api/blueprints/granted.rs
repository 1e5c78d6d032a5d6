//! Which rights a document names, so that what roles grant beyond it can be taken away (CO-732).
//!
//! Lists of permissions are additive. A role whose entry states all of them is left, at the end of the outermost document, with
//! these and with what entries of it, and of those that it leads to, grant.

use std::collections::BTreeSet;

use portcullis_core::id::RoleId;
use portcullis_idp::{Change, Error, roles};

/// The rights that were named so far.
#[derive(Clone, Default)]
pub(super) struct Granted {
    stated: BTreeSet<RoleId>,
    /// Role, permission, and key of the object, or nothing.
    named: BTreeSet<(RoleId, String, String)>,
}

impl Granted {
    /// A right that a role is to grant, on everything of its kind when `object` is empty.
    pub(super) fn name(&mut self, role: RoleId, permission: &str, object: &str) {
        self.named.insert((role, permission.to_owned(), object.to_owned()));
    }

    /// All rights of this role are named somewhere in the document.
    pub(super) fn state(&mut self, role: RoleId) {
        self.stated.insert(role);
    }

    /// What another document states and names that this one has applied first.
    pub(super) fn join(&mut self, other: Self) {
        self.stated.extend(other.stated);
        self.named.extend(other.named);
    }

    /// Takes away what roles grant that are stated, and nobody has named; tells in words what that was.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn take_away_others(&self, change: &mut Change<'_>) -> Result<Vec<String>, Error> {
        let mut told = Vec::new();
        for role in &self.stated {
            for right in roles::rights_in(change, *role).await? {
                let named = (*role, right.permission, right.object);
                if self.named.contains(&named) {
                    continue;
                }
                let (_, permission, object) = named;
                let on = Some(object.as_str()).filter(|object| !object.is_empty());
                let name = roles::name_in(change, *role).await?;
                if roles::withdraw_in(change, *role, &permission, on).await? {
                    let on = on.map(|object| format!(" on {object}")).unwrap_or_default();
                    told.push(format!("role {name}: {permission}{on} was taken away"));
                }
            }
        }
        Ok(told)
    }
}
