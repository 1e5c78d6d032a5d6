//! Identities that were found a moment ago.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_core::clock::Timestamp;
use portcullis_core::epoch::{Epochs, Mark};
use portcullis_core::keys::Digest;

use moka::policy::EvictionPolicy;

use crate::control::ControlError;
use crate::identity::Identity;
use crate::settings::ProxySettings;

/// The most identities in each cache, of all applications together (PX-107). The least recently used go first.
const MOST: u64 = 100_000;

/// The most refused credentials that are remembered (PX-109).
const MOST_REFUSED: u64 = 100_000;

/// An entry is forgotten after this long, whether it still stands or not.
const LONGEST: Duration = Duration::from_secs(60);

/// How often a shared verification is repeated because something changed while it ran.
const ATTEMPTS: usize = 2;

/// Whose entry: an application that was made anew has another number, and finds nothing of its former self (PX-108).
type Key = (u64, Digest);

/// The caches that all applications of a data plane share. One of each kind serves ten thousand applications, most of
/// which are asked for rarely; one for each application would hold a hundred kilobytes for every one of them.
pub struct Caches {
    credentials: moka::future::Cache<Key, Arc<Identity>>,
    sessions: moka::future::Cache<Key, Arc<Identity>>,
    refused: moka::sync::Cache<Key, (Timestamp, Mark)>,
}

impl Caches {
    /// Empty caches.
    pub fn new(settings: &ProxySettings) -> Self {
        let identities = || {
            let cache = moka::future::Cache::builder().max_capacity(MOST).eviction_policy(EvictionPolicy::lru());
            cache.time_to_live(LONGEST).build()
        };
        let refused = moka::sync::Cache::builder().max_capacity(MOST_REFUSED).eviction_policy(EvictionPolicy::lru());
        let refused = refused.time_to_live(settings.negative_cache_ttl.max(Duration::from_secs(1))).build();
        Self { credentials: identities(), sessions: identities(), refused }
    }

    /// An application's parts of them: identities by process digest of their `Authorization` value, those by store
    /// digest of their session cookie, and what was refused.
    pub fn parts(&self) -> (IdentityCache, IdentityCache, RefusedCache) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let owner = NEXT.fetch_add(1, Ordering::Relaxed);
        (
            IdentityCache { all: self.credentials.clone(), owner },
            IdentityCache { all: self.sessions.clone(), owner },
            RefusedCache { all: self.refused.clone(), owner },
        )
    }

    /// About how many sessions there are.
    pub fn sessions(&self) -> u64 {
        self.sessions.entry_count()
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
        self.all.get(&(self.owner, *key)).is_some_and(|(until, mark)| now < until && epochs.stands(&mark))
    }

    /// Remembers a refusal until then, or until what `mark` names changes.
    pub fn put(&self, key: Digest, until: Timestamp, mark: Mark) {
        self.all.insert((self.owner, key), (until, mark));
    }
}

/// Identities of one application by a keyed digest of what the client showed.
///
/// A hit takes no lock that another connection holds for long, and allocates nothing.
pub struct IdentityCache {
    all: moka::future::Cache<Key, Arc<Identity>>,
    owner: u64,
}

impl IdentityCache {
    /// The identity under `key`, if it is fresh and still stands (D3).
    pub async fn get(&self, key: &Digest, now: Timestamp, epochs: &Epochs) -> Option<Arc<Identity>> {
        self.all.get(&(self.owner, *key)).await.filter(|identity| identity.is_fresh(now, epochs))
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
        find: impl Fn() -> F + Send,
    ) -> Result<Arc<Identity>, Arc<ControlError>>
    where
        F: Future<Output = Result<Arc<Identity>, ControlError>> + Send,
    {
        for _ in 0..ATTEMPTS {
            let identity = self.all.try_get_with((self.owner, *key), find()).await?;
            if identity.stands(now, epochs) {
                return Ok(identity);
            }
            self.forget(key).await;
        }
        Ok(find().await?)
    }

    /// Keeps an identity that was found in another way.
    pub async fn put(&self, key: Digest, identity: Arc<Identity>) {
        self.all.insert((self.owner, key), identity).await;
    }

    /// Forgets one.
    pub async fn forget(&self, key: &Digest) {
        self.all.invalidate(&(self.owner, *key)).await;
    }
}
