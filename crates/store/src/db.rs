//! Which database, and connections to it.
//!
//! Every query is one text for all engines: `$1` parameters, the column types of the migrations. A
//! function takes a [`Conn`] and runs its text with [`on!`], which is the only place that branches on
//! the engine. An engine is a variant here and a directory of migrations with the same numbers.
//!
//! Where a few rows of one table lead to those of a large one, the text says `few CROSS JOIN large WHERE …`: SQLite keeps
//! to that order, where it would begin with all of the large table if it guessed wrong. To PostgreSQL it is any join.

mod postgres;
pub(crate) mod query;
mod readers;

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

use crate::error::StoreError;
pub use postgres::{Alone, Ears, PgConn, Pools};
use readers::{Reader, Readers};

/// The database of one instance. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Db {
    /// A file in WAL mode: one writer, many readers.
    Sqlite {
        /// The only connection that writes; waiting for it is waiting for the write lock.
        writer: SqlitePool,
        /// Read-only connections.
        readers: Readers,
    },
    /// PostgreSQL, which several processes may use at the same time.
    Pg(Pools),
}

impl Db {
    /// Opens the SQLite file at `path`, creating it with mode 0600 if it is missing, and migrates it.
    ///
    /// # Errors
    /// When the file cannot be opened, is no database, or comes from a newer release.
    pub async fn open_sqlite(path: &Path) -> Result<Self, StoreError> {
        let db = Self::connect_sqlite(path).await?;
        db.migrate().await?;
        Ok(db)
    }

    /// Opens the SQLite file at `path` as it is, creating it with mode 0600 if it is missing.
    ///
    /// # Errors
    /// When the file cannot be opened, or is no database.
    pub async fn connect_sqlite(path: &Path) -> Result<Self, StoreError> {
        create_private(path).map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was acknowledged survives a loss of power, not only of the process.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(30))
            // It is asked whether it still works when it is given back; nothing happens to it until it is taken.
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await?;
        Ok(Self::Sqlite { writer, readers: Readers::new(options.read_only(true)) })
    }

    /// Connects to the PostgreSQL database at `url`, with at most `connections` besides the one that writes, and
    /// migrates it.
    ///
    /// # Errors
    /// When it cannot be reached, or comes from a newer release.
    pub async fn open_postgres(url: &str, connections: u32) -> Result<Self, StoreError> {
        let db = Self::connect_postgres(url, connections).await?;
        db.migrate().await?;
        Ok(db)
    }

    /// Connects to the PostgreSQL database at `url` as it is. The URL says whether by TLS (`sslmode`).
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect_postgres(url: &str, connections: u32) -> Result<Self, StoreError> {
        Ok(Self::Pg(Pools::connect(url, connections).await?))
    }

    /// Whether several processes may serve from it at the same time.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Pg(_))
    }

    /// Brings the tables to what this release needs.
    ///
    /// # Errors
    /// When the database comes from a newer release, or fails.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { writer, .. } => Ok(sqlx::migrate!("./migrations/sqlite").run(writer).await?),
            Self::Pg(pools) => {
                Ok(sqlx::migrate!("./migrations/postgres").run(&mut pools.for_migration().await?).await?)
            }
        }
    }

    /// Whether the database has this table. Until it is migrated, it may have none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_table(&self, name: &str) -> Result<bool, StoreError> {
        let found: i64 = match &mut self.read().await? {
            Conn::Sqlite(inner) => {
                let query = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1");
                query.bind(name).fetch_one(inner.get()).await?
            }
            Conn::Pg(inner) => {
                let query = sqlx::query_scalar(
                    "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1",
                );
                query.bind(name).fetch_one(inner.get()).await?
            }
        };
        Ok(found > 0)
    }

    /// A connection for reading. It sees one consistent state per statement.
    ///
    /// # Errors
    /// When no connection is to be had in time.
    pub async fn read(&self) -> Result<Conn, StoreError> {
        match self {
            Self::Sqlite { readers, .. } => Ok(Conn::Sqlite(SqliteConn::Reader(readers.acquire().await?))),
            Self::Pg(pools) => Ok(Conn::Pg(PgConn::Single(pools.others.acquire().await?))),
        }
    }

    /// A transaction for writing. It is rolled back unless committed. There is one at a time, over all processes that
    /// use the database: what it has read stays true until it ends.
    ///
    /// # Errors
    /// When no connection is to be had in time.
    pub async fn write(&self) -> Result<Tx, StoreError> {
        match self {
            Self::Sqlite { writer, .. } => {
                // IMMEDIATE: the write lock is taken now, so that no read in between goes stale.
                let transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
                Ok(Tx(Conn::Sqlite(SqliteConn::Writer(transaction))))
            }
            Self::Pg(pools) => Ok(Tx(Conn::Pg(PgConn::Writer(pools.begin().await?)))),
        }
    }

    /// A connection for writing with one statement, which is a transaction of its own.
    ///
    /// # Errors
    /// When no connection is to be had in time.
    pub async fn write_one(&self) -> Result<Conn, StoreError> {
        match self {
            Self::Sqlite { writer, .. } => Ok(Conn::Sqlite(SqliteConn::Single(writer.acquire().await?))),
            Self::Pg(pools) => Ok(Conn::Pg(PgConn::Single(pools.others.acquire().await?))),
        }
    }

    /// Writes the database anew, so that nothing of what was replaced or removed is left in its files.
    ///
    /// # Errors
    /// When the database fails, or there is no room for a second copy of it.
    pub async fn compact(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { writer, .. } => {
                sqlx::query("VACUUM").execute(writer).await?;
                sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(writer).await?;
                Ok(())
            }
            Self::Pg(pools) => pools.compact().await,
        }
    }

    /// Waits for connections in use, and closes the database.
    pub async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Pg(pools) => pools.close().await,
        }
    }
}

#[cfg(unix)]
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}

/// A connection, inside or outside a transaction.
#[derive(Debug)]
pub enum Conn {
    /// SQLite.
    Sqlite(SqliteConn),
    /// PostgreSQL.
    Pg(PgConn),
}

/// A connection to SQLite.
#[derive(Debug)]
pub enum SqliteConn {
    /// One of the readers.
    Reader(Reader),
    /// The writer, without a transaction around its statements.
    Single(PoolConnection<Sqlite>),
    /// The writer, in a transaction.
    Writer(Transaction<'static, Sqlite>),
}

/// What keeps a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Pg,
}

impl Conn {
    /// Which engine this is a connection to: for the few texts that differ.
    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Pg(_) => Engine::Pg,
        }
    }

    /// Whether this is a transaction that writes. Whoever waits in one keeps every other writer waiting.
    pub fn is_writing(&self) -> bool {
        matches!(self, Self::Sqlite(SqliteConn::Writer(_)) | Self::Pg(PgConn::Writer(_)))
    }
}

/// Tells other processes that use the database, once the transaction is committed, that there is something new. Of a
/// file there are none.
///
/// # Errors
/// When the database fails.
pub async fn tell_others(conn: &mut Conn) -> Result<(), StoreError> {
    match conn {
        Conn::Sqlite(_) => Ok(()),
        Conn::Pg(inner) => postgres::tell(inner.get()).await,
    }
}

/// Has a table give keys above `key` from now on, which is no less than any that it has given.
///
/// # Errors
/// When the database fails.
pub(crate) async fn keys_begin_after(conn: &mut Conn, table: &str, key: i32) -> Result<(), StoreError> {
    match conn {
        Conn::Sqlite(inner) => {
            let text = "UPDATE sqlite_sequence SET seq = $2 WHERE name = $1";
            sqlx::query(text).bind(table).bind(key).execute(inner.get()).await?;
        }
        Conn::Pg(inner) => {
            let text = "SELECT setval(pg_get_serial_sequence($1, 'pk'), $2)";
            sqlx::query(text).bind(table).bind(i64::from(key)).execute(inner.get()).await?;
        }
    }
    Ok(())
}

/// A part of a transaction that can be undone by itself. Parts may hold parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It begins.
    Begins,
    /// What it did stays, if the whole does.
    Stays,
    /// What it did is undone, and it is over.
    IsUndone,
}

/// Marks where a part of a transaction begins and ends.
///
/// # Errors
/// When the database fails, or there is no such part.
pub async fn part(conn: &mut Conn, part: Part) -> Result<(), StoreError> {
    let texts: &[&'static str] = match part {
        Part::Begins => &["SAVEPOINT part"],
        Part::Stays => &["RELEASE SAVEPOINT part"],
        Part::IsUndone => &["ROLLBACK TO SAVEPOINT part", "RELEASE SAVEPOINT part"],
    };
    for text in texts {
        on!(&mut *conn, c => sqlx::query(*text).execute(c).await.map(drop))?;
    }
    Ok(())
}

impl SqliteConn {
    /// The connection proper.
    pub fn get(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Reader(connection) => connection,
            Self::Single(connection) => connection,
            Self::Writer(transaction) => transaction,
        }
    }
}

/// A transaction: a [`Conn`] that can be committed.
#[derive(Debug)]
pub struct Tx(Conn);

impl Tx {
    /// Makes the changes durable.
    ///
    /// # Errors
    /// When the database refuses; then nothing was changed.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.0 {
            Conn::Sqlite(SqliteConn::Writer(transaction)) => Ok(transaction.commit().await?),
            Conn::Pg(PgConn::Writer(transaction)) => Ok(transaction.commit().await?),
            Conn::Sqlite(SqliteConn::Reader(_) | SqliteConn::Single(_)) | Conn::Pg(PgConn::Single(_)) => Ok(()),
        }
    }
}

impl Deref for Tx {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.0
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.0
    }
}

/// Runs one statement on whichever engine a [`Conn`] belongs to.
///
/// ```text
/// let account: Option<Account> =
///     maybe(on!(conn, c => sqlx::query("SELECT * FROM account WHERE pk = $1").bind(pk).fetch_optional(c).await))?;
/// ```
///
/// The body is compiled once for each engine. In it, `sqlx` is [`query::sqlite`] or [`query::pg`]: `sqlx::query` gives
/// rows that are the same type for all engines, [`crate::row::Row`].
macro_rules! on {
    ($conn:expr, $c:ident => $body:expr) => {
        match $conn {
            $crate::db::Conn::Sqlite(inner) => {
                #[allow(unused_imports, reason = "not every body names it")]
                use $crate::db::query::sqlite as sqlx;
                let $c = inner.get();
                $body
            }
            $crate::db::Conn::Pg(inner) => {
                #[allow(unused_imports, reason = "not every body names it")]
                use $crate::db::query::pg as sqlx;
                let $c = inner.get();
                $body
            }
        }
    };
}
pub(crate) use on;
