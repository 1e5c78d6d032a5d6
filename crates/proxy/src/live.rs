//! Tunnels and event streams end with the session that they were opened under (PX-197).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, UPGRADE};
use http::{HeaderMap, HeaderValue};
use portcullis_core::clock::Timestamp;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::Digest;
use tokio_util::sync::CancellationToken;

use crate::application::Application;
use crate::control::ControlError;
use crate::identity::Identity;
use crate::plane::DataPlane;

/// How often sessions with something open are looked at; each look costs a few loads.
const PERIOD: Duration = Duration::from_secs(2);

/// The most sessions that are watched.
const MOST: usize = 100_000;

type Key = (ProviderPk, Digest);

/// Sessions under which something long was opened.
#[derive(Default)]
pub struct LiveSessions(Mutex<HashMap<Key, Live>>);

#[derive(Clone)]
struct Live {
    application: Arc<Application>,
    identity: Arc<Identity>,
    /// Cancelled when the session is ended: for streams, which may outlast mere expiry.
    ended: CancellationToken,
    /// Cancelled when the session is over in any way: for tunnels.
    over: CancellationToken,
}

impl LiveSessions {
    /// What ends a request's answer early; none if the answer is not one that lasts.
    pub fn bind(
        &self,
        application: &Arc<Application>,
        identity: &Arc<Identity>,
        headers: &HeaderMap,
    ) -> Option<CancellationToken> {
        let upgrades = headers.contains_key(UPGRADE);
        let streams = |value: &HeaderValue| value.as_bytes().starts_with(b"text/event-stream");
        if !upgrades && !headers.get(ACCEPT).is_some_and(streams) {
            return None;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, live| !live.over.is_cancelled());
        }
        let live = all.entry((identity.provider, identity.session)).or_insert_with(|| {
            let ended = CancellationToken::new();
            let over = ended.child_token();
            Live { application: Arc::clone(application), identity: Arc::clone(identity), ended, over }
        });
        Some(if upgrades { live.over.clone() } else { live.ended.clone() })
    }

    fn all(&self) -> Vec<(Key, Live)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(key, live)| (*key, live.clone())).collect()
    }

    fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn renew(&self, key: &Key, identity: Arc<Identity>) {
        if let Some(live) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(key) {
            live.identity = identity;
        }
    }
}

impl DataPlane {
    /// Ends what was opened under sessions that have ended, within seconds. Never returns.
    pub(crate) async fn watch_sessions(&self) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.end_what_is_over(self.clock.now()).await;
        }
    }

    async fn end_what_is_over(&self, now: Timestamp) {
        for (key, live) in self.live.all() {
            if now >= live.identity.expires {
                live.over.cancel();
                self.live.forget(&key);
            } else if !live.identity.stands(now, self.control.epochs()) {
                match self.session(&live.application, key.1, now).await {
                    Ok(identity) => self.live.renew(&key, identity),
                    Err(error) if matches!(*error, ControlError::Refused) => {
                        live.ended.cancel();
                        self.live.forget(&key);
                    }
                    // Nothing is known; the next look may tell.
                    Err(_) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::epoch::Subject;

    use super::*;

    /// PX-197, PX-519: what was opened under a session ends with it; mere expiry ends tunnels only.
    #[tokio::test]
    async fn px_197_what_is_open_ends_with_its_session() {
        use crate::plane::tests::site::{NOW, Site};
        let site = Site::new().await;
        site.session().await;
        let application = site.plane.applications.find(&crate::plane::tests::hosts::origin("wiki.example")).unwrap();
        let digest = site.core.memory().sessions[0].digest;
        let identity = site.plane.session(&application, digest, NOW).await.ok().unwrap();
        let headers = |name: &'static str, value| {
            HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
        };
        let bind = |headers: &HeaderMap| site.plane.live.bind(&application, &identity, headers);
        assert!(bind(&HeaderMap::new()).is_none());
        let tunnel = bind(&headers("upgrade", "websocket")).unwrap();
        let stream = bind(&headers("accept", "text/event-stream")).unwrap();
        site.core.epochs.bump(Subject::Everyone);
        site.plane.end_what_is_over(NOW).await;
        assert!(!tunnel.is_cancelled() && !stream.is_cancelled());
        site.plane.end_what_is_over(identity.expires).await;
        assert!(tunnel.is_cancelled() && !stream.is_cancelled());

        let stream = bind(&headers("accept", "text/event-stream")).unwrap();
        site.core.memory().fallen.insert("uuid-of-ada".to_owned());
        site.core.epochs.bump(Subject::User("uuid-of-ada"));
        site.plane.end_what_is_over(NOW).await;
        assert!(stream.is_cancelled());
    }
}
