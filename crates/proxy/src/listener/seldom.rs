//! Waits for something rare beside something busy.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// A future that is looked at only when it has asked for it.
///
/// Beside a connection it would be looked at whenever that moves; and what it waits for is shared by all connections,
/// so that each look takes a lock that others want.
pub(super) struct Seldom<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    /// Who is woken by the bell.
    registered: Option<Waker>,
}

/// What the future rings when it wants to be looked at.
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F> Seldom<F> {
    pub(super) fn new(future: F) -> Self {
        // Rung, so that it is looked at a first time.
        let bell = Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() };
        Self { future: Box::pin(future), bell: Arc::new(bell), registered: None }
    }
}

impl<F: Future> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Until the bell rings, who is woken by it stays so.
        let stays = self.registered.as_ref().is_some_and(|task| task.will_wake(cx.waker()));
        if stays && !self.bell.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // First: who rings from here on wakes this task.
        self.bell.task.register(cx.waker());
        self.registered = Some(cx.waker().clone());
        if !self.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.bell));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tokio::sync::Notify;

    use super::*;

    /// PX-007: what is waited for is noticed, and not looked at in between.
    #[tokio::test]
    async fn px_007_what_is_rare_is_noticed() {
        let (notify, looks) = (Arc::new(Notify::new()), AtomicU32::new(0));
        let mut waited = std::pin::pin!(notify.notified());
        let seldom = Seldom::new(std::future::poll_fn(|cx| {
            looks.fetch_add(1, Ordering::Relaxed);
            waited.as_mut().poll(cx)
        }));
        let rings = Arc::clone(&notify);
        let busy = async move {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            rings.notify_one();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = busy => {}
            () = seldom => {}
        }
        assert_eq!(looks.load(Ordering::Relaxed), 2);
    }
}
