//! API tokens and app passwords (CO section 5).

use std::cmp::Reverse;

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ApplicationId, TokenId, UserPk};
use portcullis_core::keys::Digest;
use portcullis_core::username::{LONGEST, exceeds, fold};
use serde_json::json;

use crate::account::Account;
use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::failure::{Failures, Tried};
use crate::row::{Columns, NUL, Prefixed, Record, many, maybe};
use crate::select::{Listed, Select, Slice};

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Key of the record.
    pub uuid: TokenId,
    /// Unique name; its address in the API.
    pub identifier: String,
    /// `api`, `app_password`, `recovery` or `verification`.
    pub intent: String,
    /// Owner.
    pub account: UserPk,
    /// Free text.
    pub description: String,
    /// Keyed digest of the key, `Purpose::TokenLookup`.
    pub key_digest: Vec<u8>,
    /// The key, sealed for `token:<uuid>:key`.
    pub key_sealed: Vec<u8>,
    /// Whether [`Token::expires`] counts.
    pub expiring: bool,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Name of what manages it.
    pub managed: Option<String>,
    /// The only applications it opens, if there are any here (OA-816).
    pub allowed_applications: Vec<ApplicationId>,
    /// The only networks it is taken from, if there are any here, as they were written.
    pub allowed_networks: Vec<String>,
    /// The only scopes that are asked for with it, if there are any here.
    pub allowed_scopes: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it last opened something.
    pub last_used: Option<Timestamp>,
    /// The address it was last used from.
    pub last_used_from: Option<String>,
    /// The key before the present one, if it was kept (OA-608).
    pub old_key: Option<OldKey>,
    /// How many days before its end its owner was last reminded; 0 when they were not (OA-612).
    pub reminded: i32,
    /// Whether nobody knows its key, which was drawn when the one before had ended (OA-609).
    pub needs_rotation: bool,
}

/// A key that was replaced, and holds for a while beside the new one (OA-608).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldKey {
    /// Its keyed digest, `Purpose::TokenLookup`.
    pub digest: Vec<u8>,
    /// When it opens nothing any more.
    pub ends: Timestamp,
    /// When it was last used since it was replaced.
    pub last_used: Option<Timestamp>,
}

impl Token {
    /// Whether the token opens anything at `now` (OA-610).
    pub fn holds(&self, now: Timestamp) -> bool {
        !self.expiring || self.expires.is_some_and(|expires| expires > now)
    }

    /// The token as whoever shows the key with this digest has it at `now`, if they have it: with the old key, it ends
    /// when that does, and that is its key. What comes of this is not to be stored.
    #[must_use]
    pub fn shown(self, digest: &[u8], now: Timestamp) -> Option<Self> {
        if !self.holds(now) {
            return None;
        }
        if self.key_digest == digest {
            return Some(self);
        }
        let old = self.old_key.clone().filter(|old| old.digest == digest && old.ends > now)?;
        let expires = self.expires.filter(|_| self.expiring).map_or(old.ends, |expires| expires.min(old.ends));
        Some(Self { key_digest: old.digest, expiring: true, expires: Some(expires), last_used: old.last_used, ..self })
    }

    /// Whether it is one that [`Token::shown`] gave for its old key.
    pub fn is_by_old_key(&self) -> bool {
        self.old_key.as_ref().is_some_and(|old| old.digest == self.key_digest)
    }
}

fn list_of<T: serde::de::DeserializeOwned>(row: &impl Columns, column: &str) -> sqlx::Result<Vec<T>> {
    serde_json::from_value(row.json(column)?)
        .map_err(|error| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) })
}

impl Record for Token {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            uuid: row.parsed("uuid")?,
            identifier: row.text("identifier")?,
            intent: row.text("intent")?,
            account: UserPk(row.small("account")?),
            description: row.text("description")?,
            key_digest: row.bytes("key_digest")?,
            key_sealed: row.bytes("key_sealed")?,
            expiring: row.flag("expiring")?,
            expires: row.instant_or_null("expires")?,
            managed: row.text_or_null("managed")?,
            allowed_applications: list_of(row, "allowed_applications")?,
            allowed_networks: list_of(row, "allowed_networks")?,
            allowed_scopes: list_of(row, "allowed_scopes")?,
            created: row.instant("created")?,
            last_used: row.instant_or_null("last_used")?,
            last_used_from: row.text_or_null("last_used_from")?,
            old_key: match (row.bytes_or_null("old_key_digest")?, row.instant_or_null("old_key_ends")?) {
                (Some(digest), Some(ends)) => {
                    Some(OldKey { digest, ends, last_used: row.instant_or_null("old_key_used")? })
                }
                _ => None,
            },
            reminded: row.small("reminded")?,
            needs_rotation: row.flag("needs_rotation")?,
        })
    }
}

/// The token of this name.
///
/// # Errors
/// When the database fails.
pub async fn by_identifier(conn: &mut Conn, identifier: &str) -> Result<Option<Token>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM token WHERE identifier = $1")
        .bind(identifier).fetch_optional(c).await))
}

/// The token with this key of the record.
///
/// # Errors
/// When the database fails.
pub async fn by_uuid(conn: &mut Conn, uuid: TokenId) -> Result<Option<Token>, StoreError> {
    let uuid = uuid.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM token WHERE uuid = $1").bind(uuid).fetch_optional(c).await))
}

/// A user's app password whose key, or old key, has this digest. Whether it holds is for the caller to check:
/// [`Token::shown`].
///
/// # Errors
/// When the database fails.
pub async fn by_digest(conn: &mut Conn, account: UserPk, digest: &Digest) -> Result<Option<Token>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT * FROM token WHERE (key_digest = $1 OR old_key_digest = $1) AND account = $2 AND intent = 'app_password'
         ORDER BY key_digest <> $1, expiring, expires DESC LIMIT 1",
    ).bind(digest.as_slice()).bind(account.0).fetch_optional(c).await))
}

/// What belongs to a user name, all as it was at the same moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfUsername {
    /// Who has it.
    pub account: Option<Account>,
    /// Their app password with the digest that was asked for.
    pub token: Option<Token>,
    /// [`revocation::latest`](crate::revocation::latest).
    pub latest: i64,
    /// Those of the buckets that were asked about, in their order.
    pub failures: [Option<Failures>; 4],
}

/// Who has a user name, their app password with a digest, and what was tried before, with one question. Where that is enough,
/// nobody has the name. The work is the same when there is no such user. Whether the password holds is for the caller to check: [`Token::shown`].
///
/// # Errors
/// When the database fails.
pub async fn of_username(
    conn: &mut Conn,
    username: &str,
    digest: &Digest,
    tried: Tried<'_>,
) -> Result<OfUsername, StoreError> {
    // Nobody's name is empty.
    let is_nobody = exceeds(username, LONGEST) || username.contains(NUL);
    let folded = if is_nobody { String::new() } else { fold(username) };
    let [first, second, third, fourth] = tried.buckets.map(|bucket| bucket.map(Digest::as_slice));
    let [enough_first, enough_second, enough_third, enough_fourth] = tried.enough;
    // The plus has SQLite look for the digest, and not through all tokens of the user. Of several with the same key the best
    // is chosen below: SQLite would make a table of its own each time to sort them.
    let rows = on!(conn, c => sqlx::query(
        "SELECT account.*, token.uuid AS token_uuid, token.identifier AS token_identifier,
             token.intent AS token_intent, token.account AS token_account, token.description AS token_description,
             token.key_digest AS token_key_digest, token.key_sealed AS token_key_sealed,
             token.expiring AS token_expiring, token.expires AS token_expires, token.managed AS token_managed,
             token.allowed_applications AS token_allowed_applications,
             token.allowed_networks AS token_allowed_networks, token.created AS token_created,
             token.last_used AS token_last_used, token.last_used_from AS token_last_used_from,
             token.old_key_digest AS token_old_key_digest, token.old_key_ends AS token_old_key_ends,
             token.old_key_used AS token_old_key_used, token.reminded AS token_reminded,
             token.allowed_scopes AS token_allowed_scopes, token.needs_rotation AS token_needs_rotation,
             (SELECT max(seq) FROM revocation) AS latest,
             first.failures AS first_failures, first.last AS first_last, first.window_ends AS first_window_ends,
             second.failures AS second_failures, second.last AS second_last, second.window_ends AS second_window_ends,
             third.failures AS third_failures, third.last AS third_last, third.window_ends AS third_window_ends,
             fourth.failures AS fourth_failures, fourth.last AS fourth_last, fourth.window_ends AS fourth_window_ends
         FROM (SELECT 1) AS nobody
         LEFT JOIN failure AS first ON first.bucket = $3 AND first.window_ends > $7
         LEFT JOIN failure AS second ON second.bucket = $4 AND second.window_ends > $7
         LEFT JOIN failure AS third ON third.bucket = $5 AND third.window_ends > $7
         LEFT JOIN failure AS fourth ON fourth.bucket = $6 AND fourth.window_ends > $7
         LEFT JOIN account ON account.username_folded = $1
             AND coalesce(first.failures, 0) < $8 AND coalesce(second.failures, 0) < $9
             AND coalesce(third.failures, 0) < $10 AND coalesce(fourth.failures, 0) < $11
         LEFT JOIN token ON (token.key_digest = $2 OR token.old_key_digest = $2)
             AND +token.account = coalesce(account.pk, -1) AND token.intent = 'app_password'
         LIMIT 100",
    )
    .bind(folded)
    .bind(digest.as_slice())
    .bind(first)
    .bind(second)
    .bind(third)
    .bind(fourth)
    .bind(tried.now.0)
    .bind(enough_first)
    .bind(enough_second)
    .bind(enough_third)
    .bind(enough_fourth)
    .fetch_all(c)
    .await)?;
    let Some(row) = rows.first() else { return Err(sqlx::Error::RowNotFound.into()) };
    let account = row.small_or_null("pk")?.map(|_| Account::read(row)).transpose()?;
    let latest = row.integer_or_null("latest")?.unwrap_or_default();
    let mut tokens = Vec::new();
    for row in &rows {
        let token = Prefixed("token_", row);
        if token.text_or_null("uuid")?.is_some() {
            tokens.push(Token::read(&token)?);
        }
    }
    let rank = |token: &Token| (token.key_digest != digest, token.expiring, Reverse(token.expires));
    let failures_of = |prefix| {
        let of = Prefixed(prefix, row);
        of.integer_or_null("failures")?.map(|_| Failures::read(&of)).transpose()
    };
    let failures = [failures_of("first_")?, failures_of("second_")?, failures_of("third_")?, failures_of("fourth_")?];
    Ok(OfUsername { account, token: tokens.into_iter().min_by_key(rank), latest, failures })
}

/// The API token whose key, or old key, has this digest. Whether it holds is for the caller to check: [`Token::shown`].
///
/// # Errors
/// When the database fails.
pub async fn api_by_digest(conn: &mut Conn, digest: &Digest) -> Result<Option<Token>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT * FROM token WHERE (key_digest = $1 OR old_key_digest = $1) AND intent = 'api'
         ORDER BY key_digest <> $1, expiring, expires DESC LIMIT 1",
    ).bind(digest.as_slice()).fetch_optional(c).await))
}

/// Whether a token of this user has a key or old key with this digest, or, with `api`, anybody's API token. The old key of
/// the token `but` is left out.
///
/// # Errors
/// When the database fails.
pub async fn digest_in_use(
    conn: &mut Conn,
    digest: &Digest,
    owner: UserPk,
    api: bool,
    but: TokenId,
) -> Result<bool, StoreError> {
    let found: i64 = on!(conn, c => sqlx::query_scalar(
        "SELECT count(*) FROM token WHERE (key_digest = $1 OR (old_key_digest = $1 AND uuid <> $4))
             AND (account = $2 OR ($3 AND intent = 'api'))",
    ).bind(digest.as_slice()).bind(owner.0).bind(api).bind(but.to_string()).fetch_one(c).await)?;
    Ok(found > 0)
}

/// How many tokens a user has.
///
/// # Errors
/// When the database fails.
pub async fn count_of_account(conn: &mut Conn, account: UserPk) -> Result<i64, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar("SELECT count(*) FROM token WHERE account = $1")
        .bind(account.0).fetch_one(c).await)?)
}

/// Tokens that have ended by `now`, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn expired(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<Vec<Token>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM token WHERE expiring AND expires <= $1 ORDER BY expires LIMIT $2")
        .bind(now.0).bind(limit).fetch_all(c).await))
}

/// Keeps a new token.
///
/// # Errors
/// [`StoreError::Taken`] when the identifier exists; else when the database fails.
pub async fn insert(conn: &mut Conn, token: &Token) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO token (uuid, identifier, intent, account, description, key_digest, key_sealed, expiring, expires,
             managed, allowed_applications, allowed_networks, created, last_used, last_used_from, old_key_digest,
             old_key_ends, old_key_used, reminded, allowed_scopes, needs_rotation)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
    )
    .bind(token.uuid.to_string())
    .bind(&token.identifier)
    .bind(&token.intent)
    .bind(token.account.0)
    .bind(&token.description)
    .bind(&token.key_digest)
    .bind(&token.key_sealed)
    .bind(token.expiring)
    .bind(token.expires.map(|at| at.0))
    .bind(&token.managed)
    .bind(json!(token.allowed_applications).to_string())
    .bind(json!(token.allowed_networks).to_string())
    .bind(token.created.0)
    .bind(token.last_used.map(|at| at.0))
    .bind(&token.last_used_from)
    .bind(token.old_key.as_ref().map(|old| old.digest.as_slice()))
    .bind(token.old_key.as_ref().map(|old| old.ends.0))
    .bind(token.old_key.as_ref().and_then(|old| old.last_used).map(|at| at.0))
    .bind(token.reminded)
    .bind(json!(token.allowed_scopes).to_string())
    .bind(token.needs_rotation)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Stores every changeable field of a token. Owner and intent are not among them (CO-807).
///
/// # Errors
/// [`StoreError::Taken`] when the identifier belongs to another token; else when the database fails.
pub async fn update(conn: &mut Conn, token: &Token) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE token SET identifier = $2, description = $3, key_digest = $4, key_sealed = $5, expiring = $6,
             expires = $7, managed = $8, allowed_applications = $9, allowed_networks = $10, old_key_digest = $11,
             old_key_ends = $12, old_key_used = $13, reminded = $14, allowed_scopes = $15, needs_rotation = $16
         WHERE uuid = $1",
    )
    .bind(token.uuid.to_string())
    .bind(&token.identifier)
    .bind(&token.description)
    .bind(&token.key_digest)
    .bind(&token.key_sealed)
    .bind(token.expiring)
    .bind(token.expires.map(|at| at.0))
    .bind(&token.managed)
    .bind(json!(token.allowed_applications).to_string())
    .bind(json!(token.allowed_networks).to_string())
    .bind(token.old_key.as_ref().map(|old| old.digest.as_slice()))
    .bind(token.old_key.as_ref().map(|old| old.ends.0))
    .bind(token.old_key.as_ref().and_then(|old| old.last_used).map(|at| at.0))
    .bind(token.reminded)
    .bind(json!(token.allowed_scopes).to_string())
    .bind(token.needs_rotation)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Notes a use of the key, or old key, with this digest, unless one of that key was noted after `not_since`.
///
/// # Errors
/// When the database fails.
pub async fn used(
    conn: &mut Conn,
    uuid: TokenId,
    digest: &[u8],
    now: Timestamp,
    from: &str,
    not_since: Timestamp,
) -> Result<(), StoreError> {
    let uuid = uuid.to_string();
    on!(conn, c => sqlx::query(
        "UPDATE token SET last_used = $3, last_used_from = $4,
             old_key_used = CASE WHEN key_digest = $2 THEN old_key_used ELSE $3 END
         WHERE uuid = $1 AND (key_digest = $2 AND (last_used IS NULL OR last_used <= $5)
             OR old_key_digest = $2 AND (old_key_used IS NULL OR old_key_used <= $5))",
    ).bind(uuid).bind(digest).bind(now.0).bind(from).bind(not_since.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Tokens whose old key has ended by `now`, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn with_ended_old_key(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<Vec<Token>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT * FROM token WHERE old_key_digest IS NOT NULL AND old_key_ends <= $1 ORDER BY old_key_ends LIMIT $2",
    ).bind(now.0).bind(limit).fetch_all(c).await))
}

/// App passwords that end within so many `days` from `now` without their owner having been reminded of it then, at most
/// `limit`. Those that were made for less are left out.
///
/// # Errors
/// When the database fails.
pub async fn unreminded(conn: &mut Conn, now: Timestamp, days: i32, limit: i64) -> Result<Vec<Token>, StoreError> {
    let ahead = Timestamp(0).plus_seconds(i64::from(days) * 24 * 3600).0;
    many(on!(conn, c => sqlx::query(
        "SELECT * FROM token WHERE intent = 'app_password' AND expiring AND expires > $1 AND expires <= $1 + $2
             AND created < expires - $2 AND (reminded = 0 OR reminded > $3) ORDER BY expires LIMIT $4",
    ).bind(now.0).bind(ahead).bind(days).bind(limit).fetch_all(c).await))
}

/// Notes that an owner is reminded so many `days` before the end, which is at `expires`; tells whether nobody else has
/// done so.
///
/// # Errors
/// When the database fails.
pub async fn remind(conn: &mut Conn, uuid: TokenId, expires: Timestamp, days: i32) -> Result<bool, StoreError> {
    let uuid = uuid.to_string();
    let reminded = on!(conn, c => sqlx::query(
        "UPDATE token SET reminded = $3 WHERE uuid = $1 AND expires = $2 AND (reminded = 0 OR reminded > $3)",
    ).bind(uuid).bind(expires.0).bind(days).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(reminded == 1)
}

/// Deletes a token.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, uuid: TokenId) -> Result<(), StoreError> {
    let uuid = uuid.to_string();
    on!(conn, c => sqlx::query("DELETE FROM token WHERE uuid = $1").bind(uuid).execute(c).await.map(drop))?;
    Ok(())
}

/// Conditions on a list of tokens (CO-549). Absent and empty conditions hold for every token.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name.
    pub identifier: Option<String>,
    /// Intent.
    pub intent: Option<String>,
    /// Owner.
    pub account: Option<UserPk>,
    /// The owner's user name.
    pub username: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// End.
    pub expires: Option<Timestamp>,
    /// Whether it ends.
    pub expiring: Option<bool>,
    /// What manages it.
    pub managed: Option<String>,
    /// Terms that must occur in identifier, intent, description or the owner's user name (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What tokens can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Identifier,
    Intent,
    User,
    Description,
    Expires,
    Expiring,
    Managed,
    LastUsed,
}

/// The tokens that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Token>, StoreError> {
    let mut select = Select::keyed("uuid");
    if let Some(identifier) = &filter.identifier {
        select.text("identifier = ?", identifier);
    }
    if let Some(intent) = &filter.intent {
        select.text("intent = ?", intent);
    }
    if let Some(account) = filter.account {
        select.integer("account = ?", account.0.into());
    }
    if let Some(username) = &filter.username {
        select.text(
            "EXISTS (SELECT 1 FROM account WHERE account.pk = token.account AND account.username_folded = ?)",
            portcullis_core::username::fold(username),
        );
    }
    if let Some(description) = &filter.description {
        select.text("description = ?", description);
    }
    if let Some(expires) = filter.expires {
        select.integer("expires = ?", expires.0);
    }
    if let Some(expiring) = filter.expiring {
        select.flag("expiring = ?", expiring);
    }
    if let Some(managed) = &filter.managed {
        select.text("managed = ?", managed);
    }
    select.search(
        &["identifier", "intent", "description", "(SELECT username FROM account WHERE account.pk = token.account)"],
        &filter.search,
    );
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "uuid",
            Order::Identifier => "identifier",
            Order::Intent => "intent",
            Order::User => "account",
            Order::Description => "description",
            Order::Expires => "expires",
            Order::Expiring => "expiring",
            Order::Managed => "managed",
            Order::LastUsed => "last_used",
        };
        select.order(column, *descending);
    }
    select.order("token.uuid", false);
    select.list(conn, "token", slice).await
}
