//! Several policies at the same time, each within its time (CO-175, CO-176).

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::request::{Failure, Outcome};
use super::support::Answer;

/// What a time-out of nothing means, in seconds.
const USUAL: u64 = 30;
/// The longest time-out, in seconds. All policies of a run begin together, so that the run is over by then, too: well
/// within the 90 seconds that it may take.
const LONGEST: u64 = 60;

/// A policy that is to be evaluated.
pub(crate) struct Task<'a> {
    /// Seconds that a binding gives it; 0 means 30, more than 60 means 60.
    pub(crate) timeout: i32,
    /// The evaluation.
    pub(crate) evaluation: Answer<'a, Outcome, Failure>,
}

/// The seconds that a policy may take.
fn seconds(timeout: i32) -> u64 {
    match u64::try_from(timeout).unwrap_or(0) {
        0 => USUAL,
        given => given.min(LONGEST),
    }
}

/// Evaluates all of them, at the same time. What is not finished in time is ended, and failed. The answers are in
/// the order of the tasks.
pub(crate) async fn all(tasks: Vec<Task<'_>>) -> Vec<Result<Outcome, Failure>> {
    join_all(tasks.into_iter().map(|task| async move {
        let seconds = seconds(task.timeout);
        match timeout(Duration::from_secs(seconds), task.evaluation).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::new(format!("The policy was not finished within {seconds} seconds."))),
        }
    }))
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn after(timeout: i32, seconds: u64, passing: bool) -> Task<'static> {
        let evaluation = Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(Outcome::of(passing))
        });
        Task { timeout, evaluation }
    }

    /// CO-174, CO-175: all policies run at the same time, none is left out, and the answers keep their order.
    #[tokio::test(start_paused = true)]
    async fn co_175_all_run_at_the_same_time() {
        let began = Instant::now();
        let answers = all(vec![after(30, 20, true), after(30, 1, false), after(30, 10, true)]).await;
        let passing: Vec<_> = answers.into_iter().map(|answer| answer.expect("is finished").passing).collect();
        assert_eq!((passing, began.elapsed().as_secs()), (vec![true, false, true], 20));
    }

    /// CO-176: what is not finished in time is ended; 0 means 30 seconds, and nobody gets more than 60.
    #[tokio::test(start_paused = true)]
    async fn co_176_time_outs_are_kept() {
        for (timeout, within) in [(7, 7), (0, 30), (60, 60), (86_400, 60), (-5, 30)] {
            let began = Instant::now();
            let answers = all(vec![after(timeout, 3600, true), after(timeout, within - 1, true)]).await;
            let [late, timely] = answers.as_slice() else { panic!("two answers") };
            let message = late.as_ref().expect_err("is ended").message.clone();
            assert_eq!(message, format!("The policy was not finished within {within} seconds."));
            assert!(timely.is_ok());
            assert_eq!(began.elapsed().as_secs(), within, "{timeout}");
        }
    }

    /// CO-176: what was ended has no effect afterwards.
    #[tokio::test(start_paused = true)]
    async fn co_176_what_was_ended_has_no_effect() {
        let (done, is_done) = tokio::sync::oneshot::channel();
        let evaluation = Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(40)).await;
            done.send(()).expect("is waited for");
            Ok(Outcome::pass())
        });
        assert!(all(vec![Task { timeout: 30, evaluation }]).await.iter().all(Result::is_err));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(is_done.await.is_err());
    }
}
