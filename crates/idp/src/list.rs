//! Lists: which part of them, under which conditions, in which order.

pub use portcullis_store::select::{Listed, Slice, Visible, search_terms};

/// Conditions and order of lists of users.
pub mod users {
    pub use portcullis_store::account::{Comparison, Filter, InstantColumn, Order};
}

/// Conditions and order of lists of groups.
pub mod groups {
    pub use portcullis_store::team::{Filter, Order};
}

/// Conditions and order of lists of events.
pub mod events {
    pub use portcullis_store::event::{Event, Filter, Order};
}

/// Conditions and order of lists of sessions.
pub mod sessions {
    pub use portcullis_store::login_session::{Filter, Order};
}

/// Conditions and order of lists of consents.
pub mod consents {
    pub use portcullis_store::consent::{Consent, Filter, Order};
}

/// Conditions and order of lists of refresh tokens.
pub mod refresh_tokens {
    pub use portcullis_store::refresh_token::{Filter, Order, RefreshToken};
}

/// Conditions and order of lists of tokens.
pub mod tokens {
    pub use portcullis_store::token::{Filter, Order};
}
