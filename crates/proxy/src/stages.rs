//! What the connections of a thread do in step.
//!
//! A request's way through us and through the system is more code than fits into the first caches of a processor. When
//! many connections have something to do, each step is made for all of them before the next one is made for any: then
//! its code is at hand for all but the first of them (decision 0019).

use std::task::Poll;

/// Lets the others on this thread that are ready come as far. Alone, it goes on at once.
pub(crate) async fn next() {
    let mut waited = false;
    let others = std::future::poll_fn(|cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        // Behind those that are ready now. What `tokio::task::yield_now` waits for as well, the system's word of who else is,
        // is asked for often enough.
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    others.await;
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    /// Those that are ready make each step one after the other.
    #[tokio::test]
    async fn each_step_is_made_by_all_before_the_next() {
        let steps = Arc::new(Mutex::new(String::new()));
        let one = |name: &'static str| {
            let steps = steps.clone();
            tokio::spawn(async move {
                for step in ["1 ", "2 ", "3 "] {
                    steps.lock().unwrap().push_str(&[name, step].concat());
                    super::next().await;
                }
            })
        };
        let (a, b, c) = (one("a"), one("b"), one("c"));
        for task in [a, b, c] {
            task.await.unwrap();
        }
        assert_eq!(*steps.lock().unwrap(), "a1 b1 c1 a2 b2 c2 a3 b3 c3 ");
    }
}
