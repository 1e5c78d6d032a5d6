//! Identifiers. Ids of different things cannot be swapped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! integer_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        /// Lower-case hyphenated (CO-528).
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    )*};
}

impl GroupId {
    /// A number for systems that know groups by number: the first five decimal digits of the UUID (CO-060).
    pub fn num_pk(self) -> i32 {
        let digits = self.0.as_u128().to_string();
        digits.get(..5).unwrap_or(&digits).parse().unwrap_or_default()
    }
}

integer_id! {
    /// A user's integer key; positive, never used again after deletion (CO-005).
    UserPk,
    /// A provider's integer key; positive, never used again after deletion (CO-005).
    ProviderPk,
}

uuid_id! {
    /// A blueprint that is applied.
    BlueprintId,
    /// A group.
    GroupId,
    /// An application, which is also the target of its policy bindings (CO-005).
    ApplicationId,
    /// A policy binding.
    BindingId,
    /// A policy.
    PolicyId,
    /// An entitlement of an application, which is also the target of its bindings (CO-005).
    EntitlementId,
    /// What is known of a name and an address.
    ReputationId,
    /// An API token or app password.
    TokenId,
    /// A scope mapping.
    MappingId,
    /// A flow.
    FlowId,
    /// An outpost.
    OutpostId,
    /// A brand.
    BrandId,
    /// A certificate, perhaps with its private key.
    CertificateId,
    /// Another identity provider.
    SourceId,
    /// A role.
    RoleId,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-060: `num_pk` is the first five decimal digits of the UUID.
    #[test]
    fn co_060_num_pk_is_the_beginning_of_the_number() {
        assert_eq!(GroupId(Uuid::from_u128(123_456_789)).num_pk(), 12345);
        assert_eq!(GroupId(Uuid::from_u128(7)).num_pk(), 7);
    }
}
