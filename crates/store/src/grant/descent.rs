//! Access tokens that were made of others, and end with them (OA-245, OA-343).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ProviderPk, SourceId, TokenId, UserPk};

use crate::db::{Conn, on};
use crate::error::StoreError;

/// What ends, and with it all access tokens that rest on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The access token with this id, whether or not it is still there.
    Token(String),
    /// Those of a session that were revoked, by `sid`.
    OfSession(String),
    /// Those of a user that were revoked.
    OfAccount(UserPk),
    /// Those that were obtained with an app password and revoked.
    OfPassword(TokenId),
    /// Those that a user acts with for others.
    Actor(UserPk),
    /// Those that a source vouched for.
    Source(SourceId),
    /// Those that a source vouched for at one provider.
    SourceAt(SourceId, ProviderPk),
    /// Those that were made of a provider's.
    MadeOf(ProviderPk),
    /// Those that the second provider issued for tokens of the first.
    MadeAt(ProviderPk, ProviderPk),
}

// The ids of what ends, and then whatever was made of that, in however many steps.
macro_rules! ending {
    ($($ended:literal),+) => {
        concat!(
            "WITH RECURSIVE ended (jti) AS (", $($ended,)+ "
                 UNION SELECT made.jti FROM ended
                 JOIN access_token made ON made.traded_jti = ended.jti OR made.actor_jti = ended.jti)
             UPDATE access_token SET revoked = $1
             WHERE revoked IS NULL AND expires > $1 AND jti IN (SELECT jti FROM ended) RETURNING jti"
        )
    };
}

/// Revokes what ends, and what was made of it. Gives the ids of the access tokens that were alive.
///
/// # Errors
/// When the database fails.
pub async fn end(conn: &mut Conn, ended: &Ended, now: Timestamp) -> Result<Vec<String>, StoreError> {
    const TOKEN: &str = ending!("SELECT jti FROM access_token WHERE jti = $2 OR traded_jti = $2 OR actor_jti = $2");
    const OF_SESSION: &str = ending!("SELECT jti FROM access_token WHERE sid = $2 AND revoked IS NOT NULL");
    const OF_ACCOUNT: &str = ending!("SELECT jti FROM access_token WHERE account = $2 AND revoked IS NOT NULL");
    const OF_PASSWORD: &str = ending!("SELECT jti FROM access_token WHERE app_password = $2 AND revoked IS NOT NULL");
    const ACTOR: &str = ending!("SELECT jti FROM access_token WHERE actor = $2");
    const SOURCE: &str = ending!("SELECT jti FROM access_token WHERE source = $2");
    const SOURCE_AT: &str = ending!("SELECT jti FROM access_token WHERE source = $2 AND source_at = $3");
    const MADE_OF: &str = ending!(
        "SELECT made.jti FROM access_token made JOIN access_token used ON used.jti = made.traded_jti
             WHERE used.provider = $2
         UNION SELECT made.jti FROM access_token made JOIN access_token used ON used.jti = made.actor_jti
             WHERE used.provider = $2"
    );
    const MADE_AT: &str = ending!(
        "SELECT made.jti FROM access_token made JOIN access_token used ON used.jti = made.traded_jti
             WHERE used.provider = $2 AND made.provider = $3
         UNION SELECT made.jti FROM access_token made JOIN access_token used ON used.jti = made.actor_jti
             WHERE used.provider = $2 AND made.provider = $3"
    );
    let text = match ended {
        Ended::Token(_) => TOKEN,
        Ended::OfSession(_) => OF_SESSION,
        Ended::OfAccount(_) => OF_ACCOUNT,
        Ended::OfPassword(_) => OF_PASSWORD,
        Ended::Actor(_) => ACTOR,
        Ended::Source(_) => SOURCE,
        Ended::SourceAt(..) => SOURCE_AT,
        Ended::MadeOf(_) => MADE_OF,
        Ended::MadeAt(..) => MADE_AT,
    };
    Ok(on!(conn, c => {
        let query = sqlx::query_scalar(text).bind(now.0);
        let query = match ended {
            Ended::Token(id) | Ended::OfSession(id) => query.bind(id),
            Ended::OfPassword(uuid) => query.bind(uuid.to_string()),
            Ended::OfAccount(pk) | Ended::Actor(pk) => query.bind(pk.0),
            Ended::Source(pk) => query.bind(pk.to_string()),
            Ended::SourceAt(pk, at) => query.bind(pk.to_string()).bind(at.0),
            Ended::MadeOf(pk) => query.bind(pk.0),
            Ended::MadeAt(pk, at) => query.bind(pk.0).bind(at.0),
        };
        query.fetch_all(c).await
    })?)
}
