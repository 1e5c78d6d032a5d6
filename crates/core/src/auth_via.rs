//! By what a request proved who sends it (OA-669).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// A method that succeeded, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum AuthVia {
    /// Nothing was shown, or nothing of it held.
    #[default]
    Unauthenticated,
    /// The secret of a client.
    ClientSecret,
    /// An access token.
    AccessToken,
    /// An API token or an app password.
    ApiToken,
    /// An assertion that was signed: by somebody else, or by a client for itself.
    Jwt,
    /// The cookie of a session.
    Session,
}

impl AuthVia {
    const ALL: [Self; 6] =
        [Self::Unauthenticated, Self::ClientSecret, Self::AccessToken, Self::ApiToken, Self::Jwt, Self::Session];

    /// Its name in the access log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::ClientSecret => "oauth_client_secret",
            Self::AccessToken => "oauth_token",
            Self::ApiToken => "api_token",
            Self::Jwt => "jwt",
            Self::Session => "session",
        }
    }
}

/// What a request proved itself by, known once it has. Whoever verifies a credential says so here afterwards: until
/// then, and when it does not hold, nothing was proven (OA-904).
#[derive(Debug, Default)]
pub struct Proof {
    via: AtomicU8,
    variant: OnceLock<&'static str>,
}

impl Proof {
    /// This method has succeeded. A later one takes its place.
    pub fn succeeded(&self, via: AuthVia) {
        self.via.store(via as u8, Ordering::Relaxed);
    }

    /// The method that succeeded last.
    pub fn via(&self) -> AuthVia {
        let stored = self.via.load(Ordering::Relaxed);
        AuthVia::ALL.into_iter().find(|via| *via as u8 == stored).unwrap_or_default()
    }

    /// This kind of credentials is about to be looked at, whether or not they hold: for counters (OA-668). The first one
    /// counts.
    pub fn tries(&self, variant: &'static str) {
        self.variant.get_or_init(|| variant);
    }

    /// The kind of credentials that were looked at; empty if nobody said.
    pub fn variant(&self) -> &'static str {
        self.variant.get().copied().unwrap_or_default()
    }
}

impl Clone for Proof {
    fn clone(&self) -> Self {
        Self { via: AtomicU8::new(self.via() as u8), variant: self.variant.clone() }
    }
}

impl PartialEq for Proof {
    fn eq(&self, other: &Self) -> bool {
        self.via() == other.via() && self.variant() == other.variant()
    }
}

impl Eq for Proof {}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-669: nothing is proven at first, every method is told by its name, and the last one counts.
    #[test]
    fn oa_669_the_last_method_that_succeeded_counts() {
        let proof = Proof::default();
        assert_eq!(proof.via().as_str(), "unauthenticated");
        for via in AuthVia::ALL {
            proof.succeeded(via);
            assert_eq!(proof.clone().via(), via);
        }
        let mut names = AuthVia::ALL.map(AuthVia::as_str).to_vec();
        names.sort_unstable();
        assert_eq!(names, ["api_token", "jwt", "oauth_client_secret", "oauth_token", "session", "unauthenticated"]);
    }
}
