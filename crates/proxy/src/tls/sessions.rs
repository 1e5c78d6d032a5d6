//! TLS sessions that clients may take up again (PX-302).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

const MOST: usize = 4096;

/// Sessions that can be forgotten: who takes one up again is shown no certificate, and would not see another one.
pub(super) struct Sessions(ArcSwap<ServerSessionMemoryCache>);

impl Default for Sessions {
    fn default() -> Self {
        Self(ArcSwap::new(ServerSessionMemoryCache::new(MOST)))
    }
}

impl Sessions {
    /// Has every client make a new session. Open connections stay.
    pub(super) fn forget(&self) {
        self.0.store(ServerSessionMemoryCache::new(MOST));
    }

    fn present(&self) -> Arc<ServerSessionMemoryCache> {
        self.0.load_full()
    }
}

/// Never prints a session.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.present().put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.present().get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.present().take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}
