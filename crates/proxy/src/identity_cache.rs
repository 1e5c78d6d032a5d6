//! Identities that were found a moment ago.

mod flights;
mod table;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use portcullis_core::clock::Timestamp;
use portcullis_core::epoch::{Epochs, Mark};
use portcullis_core::keys::Digest;

use self::flights::Flights;
use self::table::{Key, Table};
use crate::control::ControlError;
use crate::identity::Identity;
use crate::settings::ProxySettings;

/// The most refused credentials that are remembered (PX-109).
const MOST_REFUSED: u64 = 100_000;

/// Seconds after which what was not used is forgotten, whether it still stands or not.
const LONGEST: i64 = 60;

/// How often a shared verification is repeated because something changed while it ran.
const ATTEMPTS: usize = 2;

/// The caches that all applications of a data plane share. One of each kind serves ten thousand applications, most of
/// which are asked for rarely; one for each application would hold a hundred kilobytes for every one of them.
pub struct Caches {
    credentials: Arc<Identities>,
    sessions: Arc<Identities>,
    refused: moka::sync::Cache<Key, (Timestamp, Mark)>,
}

/// One kind of cache.
#[derive(Default)]
struct Identities {
    table: Table<Arc<Identity>>,
    flights: Flights<Result<Arc<Identity>, Arc<ControlError>>>,
}

impl Caches {
    /// Empty caches.
    pub fn new(settings: &ProxySettings) -> Self {
        let refused = moka::sync::Cache::builder().max_capacity(MOST_REFUSED).eviction_policy(EvictionPolicy::lru());
        let refused = refused.time_to_live(settings.negative_cache_ttl.max(Duration::from_secs(1))).build();
        Self { credentials: Arc::default(), sessions: Arc::default(), refused }
    }

    /// An application's parts of them: identities by process digest of their `Authorization` value, those by store
    /// digest of their session cookie, and what was refused.
    pub fn parts(&self) -> (IdentityCache, IdentityCache, RefusedCache) {
        // An application that was made anew has another number, and finds nothing of its former self (PX-108).
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let owner = NEXT.fetch_add(1, Ordering::Relaxed);
        (
            IdentityCache { all: self.credentials.clone(), owner },
            IdentityCache { all: self.sessions.clone(), owner },
            RefusedCache { all: self.refused.clone(), owner },
        )
    }

    /// Forgets what was not used for a while. To be called every few seconds.
    pub fn age(&self, now: Timestamp) {
        for identities in [&self.credentials, &self.sessions] {
            identities.table.age(now, LONGEST);
        }
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.table.len()
    }
}

/// Refused `Authorization` values of one application by process digest (PX-109).
pub struct RefusedCache {
    all: moka::sync::Cache<Key, (Timestamp, Mark)>,
    owner: u64,
}

impl RefusedCache {
    /// Whether it was refused a moment ago, and nothing has changed since.
    pub fn holds(&self, key: &Digest, now: Timestamp, epochs: &Epochs) -> bool {
        let key = Key { owner: self.owner, digest: *key };
        self.all.get(&key).is_some_and(|(until, mark)| now < until && epochs.stands(&mark))
    }

    /// Remembers a refusal until then, or until what `mark` names changes.
    pub fn put(&self, key: Digest, until: Timestamp, mark: Mark) {
        self.all.insert(Key { owner: self.owner, digest: key }, (until, mark));
    }
}

/// Identities of one application by a keyed digest of what the client showed.
///
/// A hit takes no lock that another connection holds for long, and allocates nothing.
pub struct IdentityCache {
    all: Arc<Identities>,
    owner: u64,
}

impl IdentityCache {
    /// Whose part it is: no other application's, nor that of the same application before it was made anew.
    pub fn owner(&self) -> u64 {
        self.owner
    }

    fn key(&self, digest: &Digest) -> Key {
        Key { owner: self.owner, digest: *digest }
    }

    /// The identity under `key`, if it is fresh and still stands (D3).
    pub fn get(&self, key: &Digest, now: Timestamp, epochs: &Epochs) -> Option<Arc<Identity>> {
        self.all.table.get(&self.key(key)).filter(|identity| identity.is_fresh(now, epochs))
    }

    /// Finds out who `key` is, once for all who ask at the same time (PX-111).
    ///
    /// When all who wait have gone, so is the question. An answer that was overtaken by a change is
    /// not kept: the question is asked again. Where changes follow each other too fast, the last answer
    /// is good for the one who asked, since it was sought after they came, and for nobody else.
    ///
    /// # Errors
    /// What `find` fails with, shared by all who waited.
    pub async fn load<F>(
        &self,
        key: &Digest,
        now: Timestamp,
        epochs: &Epochs,
        find: impl Fn() -> F + Send + Sync,
    ) -> Result<Arc<Identity>, Arc<ControlError>>
    where
        F: Future<Output = Result<Arc<Identity>, ControlError>> + Send,
    {
        let ask = || async {
            // Somebody may have found it between our look and now.
            if let Some(found) = self.get(key, now, epochs) {
                return Ok(found);
            }
            let found = find().await.map_err(Arc::new)?;
            self.put(*key, Arc::clone(&found));
            Ok(found)
        };
        for _ in 0..ATTEMPTS {
            let identity = self.all.flights.share(self.key(key), ask()).await?;
            if identity.stands(now, epochs) {
                return Ok(identity);
            }
            self.forget(key);
        }
        Ok(find().await?)
    }

    /// Keeps an identity that was found in another way.
    pub fn put(&self, key: Digest, identity: Arc<Identity>) {
        self.all.table.put(self.key(&key), identity);
    }

    /// Forgets one.
    pub fn forget(&self, key: &Digest) {
        drop(self.take(key));
    }

    /// Forgets one, which may have ended or be stale, and gives it back.
    pub fn take(&self, key: &Digest) -> Option<Arc<Identity>> {
        self.all.table.take(&self.key(key))
    }
}
