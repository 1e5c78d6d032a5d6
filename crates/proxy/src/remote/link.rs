//! What is known of the control channel.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_core::channel::PRESENT_SECONDS;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::reading::Outpost;
use crate::metrics;

/// How long nothing may be heard before what was heard before is doubted (PX-107, PX-196).
pub(super) const PRESENT: Duration = Duration::from_secs(PRESENT_SECONDS);

/// How long nobody else waits in vain for what is known without an answer.
const FUTILE: Duration = Duration::from_secs(10);

struct State {
    /// Name and key of the outpost, for metrics.
    outpost: Option<(String, String)>,
    connected: bool,
    /// Whether revocations are announced.
    feeds: bool,
    heard: Instant,
    /// When the last gap began: the channel went down, or never was.
    down: Instant,
    seq: Option<i64>,
    /// When the control plane was last asked in vain, since the channel was there.
    in_vain: Option<Instant>,
    /// How far the feed had come when it was announced.
    announced: i64,
    ended: bool,
}

/// The channel as others see it.
pub(super) struct Link {
    state: Mutex<State>,
    closed: Notify,
}

impl Default for Link {
    fn default() -> Self {
        let now = Instant::now();
        let state = State {
            outpost: None,
            connected: false,
            feeds: false,
            heard: now,
            down: now,
            seq: None,
            in_vain: None,
            announced: 0,
            ended: false,
        };
        Self { state: Mutex::new(state), closed: Notify::new() }
    }
}

impl Link {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose channel it is.
    pub(super) fn tell(&self, outpost: &Outpost) {
        let mut state = self.state();
        state.outpost = Some((outpost.name.clone(), outpost.pk.clone()));
        show(&state);
    }

    /// The channel is there. Says whether so little was heard for so long that everything is to be doubted.
    pub(super) fn connected(&self) -> bool {
        let mut state = self.state();
        let gap = state.heard.elapsed() > PRESENT;
        (state.connected, state.feeds, state.heard, state.in_vain) = (true, false, Instant::now(), None);
        show(&state);
        gap
    }

    /// Something was heard.
    pub(super) fn heard(&self) {
        let mut state = self.state();
        (state.heard, state.in_vain) = (Instant::now(), None);
    }

    /// The channel is gone.
    pub(super) fn lost(&self) {
        let mut state = self.state();
        if state.connected {
            state.down = state.heard;
        }
        (state.connected, state.feeds) = (false, false);
        show(&state);
    }

    /// What the control plane can do. The last number that was heard before is given back, if the feed has gone back
    /// behind it.
    pub(super) fn features(&self, feeds: bool, seq: i64) -> Option<i64> {
        let mut state = self.state();
        (state.feeds, state.announced) = (feeds, seq);
        match state.seq {
            Some(mine) if mine <= seq => None,
            before => {
                state.seq = Some(seq);
                before
            }
        }
    }

    /// A number of the feed was heard; none when the feed cannot say what was missed, up to what it announced.
    pub(super) fn reached(&self, seq: Option<i64>) {
        let mut state = self.state();
        let seq = seq.unwrap_or(state.announced);
        state.seq = Some(state.seq.map_or(seq, |mine| mine.max(seq)));
    }

    /// The last number that was heard.
    pub(super) fn seq(&self) -> Option<i64> {
        self.state().seq
    }

    /// Whether ends of sessions are heard as they happen (PX-196).
    pub(super) fn is_alive(&self) -> bool {
        let state = self.state();
        state.connected && state.heard.elapsed() <= PRESENT
    }

    /// Whether revocations are heard as they happen (PX-107).
    pub(super) fn feeds(&self) -> bool {
        let state = self.state();
        state.connected && state.feeds && state.heard.elapsed() <= PRESENT
    }

    /// The control plane was asked, and nothing came back.
    pub(super) fn asked_in_vain(&self) {
        let mut state = self.state();
        if !state.connected || state.heard.elapsed() > PRESENT {
            state.in_vain = Some(Instant::now());
        }
    }

    /// Whether it is no use to ask: without a channel, or on one that is silent, somebody has just waited for an answer that did not come.
    pub(super) fn is_futile(&self) -> bool {
        self.state().in_vain.is_some_and(|at| at.elapsed() < FUTILE)
    }

    /// How long nothing was heard.
    pub(super) fn silence(&self) -> Duration {
        self.state().heard.elapsed()
    }

    /// How long ago the last gap began.
    pub(super) fn since_gap(&self) -> Duration {
        let state = self.state();
        let down = if state.connected && state.heard.elapsed() > PRESENT { state.heard } else { state.down };
        down.elapsed()
    }

    /// There will be no channel any more.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.closed.notify_waiters();
    }

    /// Waits until there will be no channel any more, or there never was one.
    pub(super) async fn closed(&self) {
        let ended = self.closed.notified();
        let waits = {
            let state = self.state();
            state.connected && !state.ended
        };
        if waits {
            ended.await;
        }
    }
}

fn show(state: &State) {
    if let Some((name, pk)) = &state.outpost {
        metrics::outpost_connected(name, pk, state.connected);
    }
}
