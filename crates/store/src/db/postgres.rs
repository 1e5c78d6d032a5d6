//! PostgreSQL: connections of one process, and what processes tell each other.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Postgres, Transaction};

use crate::error::StoreError;

/// How long somebody waits for a connection. One that cannot be had by then cannot be had at all: the server is gone,
/// or everybody waits for the one who writes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long somebody waits for their turn to write, in this process.
const PATIENCE_OF_WRITERS: Duration = Duration::from_secs(30);
/// A connection that nobody has used for so long is asked whether it still works before it is given out.
const TRUSTED: Duration = Duration::from_secs(5);
/// The turn to write, over all processes; held until the transaction ends. Sooner or later somebody gives up, and a process
/// that vanished in the middle loses its turn: the server would hold it for hours otherwise.
const TURN: &str = "SET LOCAL lock_timeout = '30s'; SET LOCAL idle_in_transaction_session_timeout = '30s'; \
                    SELECT pg_advisory_xact_lock(8101241094837335148)";
/// Shared by all processes that serve; held alone by one that nobody may serve beside.
const PRESENCE: i64 = 8_101_241_094_837_335_149;
/// Where processes tell each other that something was committed.
const CHANNEL: &str = "portcullis";

/// Connections of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pools {
    /// The only connection of this process that begins transactions: who waits for the turn to write holds none that
    /// whoever has it needs.
    writer: PgPool,
    /// All others.
    pub(super) others: PgPool,
    options: Arc<PgConnectOptions>,
}

impl Pools {
    pub(super) async fn connect(url: &str, connections: u32) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(|error| StoreError::Url(error.to_string()))?;
        let options =
            if options.get_application_name().is_none() { options.application_name("portcullis") } else { options };
        // By itself, because a pool would try again and again, and not say why.
        match PgConnection::connect_with(&options).await {
            Ok(connection) => drop(connection.close().await),
            Err(source) => return Err(StoreError::Connect { place: place(&options), source }),
        }
        Ok(Self {
            writer: pool(1, PATIENCE_OF_WRITERS).connect_lazy_with(options.clone()),
            others: pool(connections.max(2), PATIENCE).connect_lazy_with(options.clone()),
            options: Arc::new(options),
        })
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        // Whatever the server's default is: what is read after the turn has come must be what others have committed.
        let mut transaction = self.writer.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        sqlx::raw_sql(TURN).execute(&mut *transaction).await?;
        Ok(transaction)
    }

    /// A connection of its own, which logs no statement as slow: those that make the tables of a release are long ones.
    pub(super) async fn for_migration(&self) -> Result<PgConnection, StoreError> {
        let options = (*self.options).clone().disable_statement_logging();
        Ok(PgConnection::connect_with(&options).await?)
    }

    pub(super) async fn compact(&self) -> Result<(), StoreError> {
        sqlx::query("VACUUM FULL").execute(&self.writer).await?;
        Ok(())
    }

    pub(super) async fn close(&self) {
        self.others.close().await;
        self.writer.close().await;
    }

    /// Says that this process serves, and hears from now on when another one has committed something; not while
    /// somebody has the database to themselves.
    ///
    /// # Errors
    /// When there is no connection to be had.
    pub async fn listen(&self) -> Result<Option<Ears>, StoreError> {
        // Its own, which ends with the listener.
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = pool.acquire_timeout(PATIENCE).connect_lazy_with((*self.options).clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock_shared($1)")
            .bind(PRESENCE)
            .fetch_one(&mut listener)
            .await?;
        if !taken {
            return Ok(None);
        }
        listener.listen(CHANNEL).await?;
        Ok(Some(Ears(listener)))
    }

    /// Takes the database for this process, for as long as the value lives; not while another one serves.
    ///
    /// # Errors
    /// When there is no connection to be had.
    pub async fn be_alone(&self) -> Result<Option<Alone>, StoreError> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        let query = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(PRESENCE);
        let taken: bool = query.fetch_one(&mut connection).await?;
        Ok(taken.then_some(Alone(connection)))
    }
}

fn pool(most: u32, patience: Duration) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(patience)
        // Each question is a journey: it is asked only of those that have not been used lately.
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for >= TRUSTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

/// Where a database is, without who uses it.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{database} at {}", socket.display()),
        None => format!("{database} at {}:{}", options.get_host(), options.get_port()),
    }
}

/// A connection to PostgreSQL.
#[derive(Debug)]
pub enum PgConn {
    /// Without a transaction around its statements.
    Single(PoolConnection<Postgres>),
    /// In a transaction that has the turn to write.
    Writer(Transaction<'static, Postgres>),
}

impl PgConn {
    /// The connection proper.
    pub fn get(&mut self) -> &mut PgConnection {
        match self {
            Self::Single(connection) => connection,
            Self::Writer(transaction) => transaction,
        }
    }
}

/// Hears of what other processes commit.
#[derive(Debug)]
pub struct Ears(PgListener);

impl Ears {
    /// Waits until something was committed.
    ///
    /// # Errors
    /// When the connection is lost: nothing more will be heard, and something may have been missed.
    pub async fn hear(&mut self) -> Result<(), StoreError> {
        if self.0.try_recv().await?.is_none() {
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into());
        }
        // One look is enough for all that was said so far.
        while self.0.next_buffered().is_some() {}
        Ok(())
    }
}

/// That a process has the database to itself. It ends with the value, or with the process, whichever way that ends.
#[derive(Debug)]
pub struct Alone(#[expect(dead_code, reason = "it is held")] PgConnection);

/// Tells the processes that listen, once the transaction is committed.
pub(super) async fn tell(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(connection).await?;
    Ok(())
}
