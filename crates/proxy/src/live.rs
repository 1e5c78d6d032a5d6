//! Tunnels and streamed answers end with the session that they were opened under (PX-197).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
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

/// Sessions that are asked about at a time.
const AT_A_TIME: usize = 32;

type Key = (ProviderPk, Digest);

/// What may outlast the session that it was opened under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Closed when the session is over in any way.
    Tunnel,
    /// An answer may finish when its session merely expires.
    Answer,
}

/// Sessions under which something is open.
#[derive(Clone, Default)]
pub struct LiveSessions(Arc<Mutex<HashMap<Key, Live>>>);

#[derive(Clone)]
struct Live {
    application: Arc<Application>,
    identity: Arc<Identity>,
    /// Cancelled when the session is ended: for answers.
    ended: CancellationToken,
    /// Cancelled when the session is over in any way: for tunnels.
    over: CancellationToken,
    /// What is open holds a copy: when there is no other, nothing is.
    holders: Arc<()>,
}

impl Live {
    fn new(application: &Arc<Application>, identity: &Arc<Identity>) -> Self {
        let (application, identity, holders) = (Arc::clone(application), Arc::clone(identity), Arc::default());
        let ended = CancellationToken::new();
        let over = ended.child_token();
        Self { application, identity, ended, over, holders }
    }

    /// A copy that does not count as something open.
    fn to_look_at(&self) -> Self {
        Self { holders: Arc::default(), ..self.clone() }
    }
}

/// Something open under a session, which is watched until this is dropped.
pub struct Held {
    /// Cancelled when it has to end.
    pub ends: CancellationToken,
    watched: Option<(LiveSessions, Key, Arc<()>)>,
}

impl Held {
    /// Something that ends with a token that nobody else watches.
    pub fn by(ends: CancellationToken) -> Self {
        Self { ends, watched: None }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some((sessions, key, holder)) = self.watched.take() else { return };
        let mut all = sessions.all();
        let last = all.get(&key).is_some_and(|live| Arc::ptr_eq(&live.holders, &holder));
        // The entry's own copy and ours.
        if last && Arc::strong_count(&holder) <= 2 {
            all.remove(&key);
        }
    }
}

impl LiveSessions {
    /// Watches something that is opened now.
    pub fn hold(&self, application: &Arc<Application>, identity: &Arc<Identity>, lasting: Lasting) -> Held {
        let key = (identity.provider, identity.session);
        let mut all = self.all();
        let live = all.entry(key).or_insert_with(|| Live::new(application, identity));
        if live.ended.is_cancelled() {
            // The same credentials hold again, while what they had opened before is still closing.
            *live = Live::new(application, identity);
        } else if live.identity.expires < identity.expires {
            // The session was renewed: what was opened under it goes on, but for tunnels that are over.
            live.identity = Arc::clone(identity);
            if live.over.is_cancelled() {
                live.over = live.ended.child_token();
            }
        }
        let ends = if lasting == Lasting::Tunnel { live.over.clone() } else { live.ended.clone() };
        Held { ends, watched: Some((self.clone(), key, Arc::clone(&live.holders))) }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
            self.applications.caches().age(self.clock.now());
            self.count_sessions();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn count_sessions(&self) {
        self.meters.live_sessions.set(self.live.all().len() as f64);
        self.meters.cached_sessions.set(self.applications.caches().sessions() as f64);
    }

    async fn end_what_is_over(&self, now: Timestamp) {
        let open: Vec<(Key, Live)> = self.live.all().iter().map(|(key, live)| (*key, live.to_look_at())).collect();
        let looks = futures_util::stream::iter(open);
        looks.for_each_concurrent(AT_A_TIME, |(key, live)| self.look_at(key, live, now)).await;
    }

    async fn look_at(&self, key: Key, live: Live, now: Timestamp) {
        if now >= live.identity.expires {
            return live.over.cancel();
        }
        // The provider as it is now: it may be gone, or its cookie secret another one (PX-029).
        let present = self.applications.by_pk(key.0).filter(|now| now.keeps_sessions_of(&live.application));
        let Some(application) = present else { return live.ended.cancel() };
        if live.identity.stands(now, self.control.epochs()) {
            return;
        }
        match self.session(&application, key.1, now).await {
            Ok(identity) => {
                if let Some(live) = self.live.all().get_mut(&key) {
                    live.identity = identity;
                }
            }
            Err(error) if matches!(*error, ControlError::Refused) => live.ended.cancel(),
            // Nothing is known; the next look may tell.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::epoch::Subject;

    use super::*;
    use crate::plane::tests::site::{NOW, Site};

    /// What is open under the one session of a site.
    async fn open(site: &Site, lasting: Lasting) -> (Held, Timestamp) {
        let application = site.plane.applications.find(&crate::plane::tests::hosts::origin("wiki.example")).unwrap();
        let digest = site.core.memory().sessions[0].digest;
        let identity = site.plane.session(&application, digest, NOW).await.ok().unwrap();
        (site.plane.live.hold(&application, &identity, lasting), identity.expires)
    }

    /// PX-197, PX-519: what was opened under a session ends with it; mere expiry ends tunnels only.
    #[tokio::test]
    async fn px_197_what_is_open_ends_with_its_session() {
        let site = Site::new().await;
        site.session().await;
        let (tunnel, expires) = open(&site, Lasting::Tunnel).await;
        let (answer, _) = open(&site, Lasting::Answer).await;
        site.core.epochs.bump(Subject::Everyone);
        site.plane.end_what_is_over(NOW).await;
        assert!(!tunnel.ends.is_cancelled() && !answer.ends.is_cancelled());
        site.plane.end_what_is_over(expires).await;
        assert!(tunnel.ends.is_cancelled() && !answer.ends.is_cancelled());

        site.core.memory().fallen.insert("uuid-of-ada".to_owned());
        site.core.epochs.bump(Subject::User("uuid-of-ada"));
        site.plane.end_what_is_over(NOW).await;
        assert!(answer.ends.is_cancelled());
        drop((tunnel, answer));
        assert!(site.plane.live.all().is_empty());
    }

    /// PX-151, PX-197: a session that is replaced by another login ends what is open under it.
    #[tokio::test]
    async fn px_151_a_replaced_session_ends_what_is_open() {
        let site = Site::new().await;
        site.session().await;
        let (tunnel, _) = open(&site, Lasting::Tunnel).await;
        let record = site.core.memory().sessions[0].clone();
        site.plane.control.sessions().end(record.provider, record.digest).await.unwrap();
        site.plane.end_what_is_over(NOW).await;
        assert!(tunnel.ends.is_cancelled());
    }

    /// PX-029, PX-197: a provider's new cookie secret, or its removal, ends what is open.
    #[tokio::test]
    async fn px_029_another_secret_ends_what_is_open() {
        for gone in [false, true] {
            let site = Site::new().await;
            site.session().await;
            let (tunnel, _) = open(&site, Lasting::Tunnel).await;
            site.reconfigure(|configuration| configuration.providers[0].name = "Renamed".to_owned());
            site.plane.end_what_is_over(NOW).await;
            assert!(!tunnel.ends.is_cancelled());
            site.reconfigure(|configuration| match gone {
                true => drop(configuration.providers.remove(0)),
                false => configuration.providers[0].cookie_secret = "another".to_owned(),
            });
            site.plane.end_what_is_over(NOW).await;
            assert!(tunnel.ends.is_cancelled(), "gone: {gone}");
        }
    }
}
