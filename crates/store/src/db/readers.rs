//! Connections for reading that are at hand without a question.
//!
//! The pool of sqlx asks the worker thread of a connection whether it still works each time the connection is taken
//! and given back. For a read of a few microseconds these two questions cost more than the read itself.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::error::StoreError;

/// Connections at the same time.
const MOST: u32 = 8;
/// How long somebody waits for a connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a connection is asked whether it still works.
const TRUSTED: Duration = Duration::from_secs(60);

type Place = Arc<tokio::sync::Mutex<Opened>>;

/// Read-only connections, opened when they are needed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readers {
    options: Arc<SqliteConnectOptions>,
    places: Arc<Mutex<Vec<Place>>>,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Opened {
    connection: SqliteConnection,
    /// When it last said so.
    works: Instant,
}

/// A connection in use. Dropping it gives it back.
#[derive(Debug)]
pub struct Reader {
    opened: OwnedMutexGuard<Opened>,
    // Below the above, and so dropped after it: whoever gets the turn next finds a connection.
    _turn: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self { options: Arc::new(options), places: Arc::default(), turns: Arc::new(Semaphore::new(MOST as usize)) }
    }

    pub(super) async fn acquire(&self) -> Result<Reader, StoreError> {
        let turn = timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let free = self.free();
        let mut opened = match free {
            Some(free) => free,
            None => self.another().await?,
        };
        if opened.works.elapsed() >= TRUSTED {
            if opened.connection.ping().await.is_err() {
                opened.connection = self.options.connect().await?;
            }
            opened.works = Instant::now();
        }
        Ok(Reader { opened, _turn: turn })
    }

    /// The first that is free: its pages and statements are the warmest.
    fn free(&self) -> Option<OwnedMutexGuard<Opened>> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.iter().find_map(|place| Arc::clone(place).try_lock_owned().ok())
    }

    async fn another(&self) -> Result<OwnedMutexGuard<Opened>, StoreError> {
        let opened = Opened { connection: self.options.connect().await?, works: Instant::now() };
        let place = Arc::new(tokio::sync::Mutex::new(opened));
        let guard = Arc::clone(&place).lock_owned().await;
        self.places.lock().unwrap_or_else(PoisonError::into_inner).push(place);
        Ok(guard)
    }

    /// Waits for those in use, and closes all.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.turns.acquire_many(MOST).await {
            all.forget();
        }
        self.turns.close();
        let places = std::mem::take(&mut *self.places.lock().unwrap_or_else(PoisonError::into_inner));
        for place in places {
            if let Some(opened) = Arc::into_inner(place)
                && let Err(error) = opened.into_inner().connection.close().await
            {
                tracing::warn!(%error, "a connection for reading was not closed in order");
            }
        }
    }
}

impl Deref for Reader {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        &self.opened.connection
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.opened.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any number of readers share a few connections, which are closed when nobody reads any more; afterwards there
    /// are none.
    #[tokio::test]
    async fn readers_share_connections() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("portcullis.db");
        SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.expect("a database");
        let readers = Readers::new(SqliteConnectOptions::new().filename(&path).read_only(true));
        let opened = || readers.places.lock().expect("no panic").len();
        for _ in 0..3 {
            drop(readers.acquire().await.expect("a connection"));
        }
        assert_eq!(opened(), 1, "one after the other");
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let readers = readers.clone();
                tokio::spawn(async move {
                    let mut reader = readers.acquire().await.expect("a connection");
                    let found: i64 = sqlx::query_scalar("SELECT 1").fetch_one(&mut *reader).await.expect("reads");
                    assert_eq!(found, 1);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        assert!((1..=MOST as usize).contains(&opened()));
        let last = readers.acquire().await.expect("a connection");
        let (closing, ()) = tokio::join!(readers.close(), async { drop(last) });
        assert_eq!((closing, opened()), ((), 0));
        assert!(readers.acquire().await.is_err(), "closed");
    }
}
