//! Identities that were found a moment ago.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::clock::Timestamp;
use portcullis_core::epoch::Epochs;
use portcullis_core::keys::Digest;

use moka::policy::EvictionPolicy;

use crate::control::ControlError;
use crate::identity::Identity;

/// The most identities in one cache (PX-107). The least recently used go first.
const MOST: u64 = 10_000;

/// An entry is forgotten after this long, whether it still stands or not.
const LONGEST: Duration = Duration::from_secs(60);

/// How often a verification is repeated because something changed while it ran.
const ATTEMPTS: usize = 3;

/// Identities of one provider by a keyed digest of what the client showed.
///
/// A hit takes no lock that another connection holds for long, and allocates nothing.
pub struct IdentityCache(moka::future::Cache<Digest, Arc<Identity>>);

impl Default for IdentityCache {
    fn default() -> Self {
        let cache = moka::future::Cache::builder().max_capacity(MOST).eviction_policy(EvictionPolicy::lru());
        Self(cache.time_to_live(LONGEST).build())
    }
}

impl IdentityCache {
    /// The identity under `key`, if it is fresh and still stands (D3).
    pub async fn get(&self, key: &Digest, now: Timestamp, epochs: &Epochs) -> Option<Arc<Identity>> {
        self.0.get(key).await.filter(|identity| identity.is_fresh(now, epochs))
    }

    /// Finds out who `key` is, once for all who ask at the same time (PX-111).
    ///
    /// When all who wait have gone, so is the question. An answer that was overtaken by a change is
    /// not used: the question is asked again.
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
            let identity = self.0.try_get_with(*key, find()).await?;
            if identity.stands(now, epochs) {
                return Ok(identity);
            }
            self.0.invalidate(key).await;
        }
        Err(Arc::new(ControlError::Unavailable("identity kept changing while it was verified".to_owned())))
    }

    /// Keeps an identity that was found in another way.
    pub async fn put(&self, key: Digest, identity: Arc<Identity>) {
        self.0.insert(key, identity).await;
    }

    /// About how many there are.
    pub fn count(&self) -> u64 {
        self.0.entry_count()
    }

    /// Forgets one.
    pub async fn forget(&self, key: &Digest) {
        self.0.invalidate(key).await;
    }
}
