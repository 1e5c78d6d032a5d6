//! A bound on the memory of evaluations.
//!
//! The interpreter refuses single values that are larger than the limit by itself. What it cannot do without an
//! allocator of its own is to add up many small ones. So a thread looks at the size of the process every other
//! millisecond while something is being evaluated; when the process has grown by several times the limit since an
//! evaluation began, it raises an alarm that every running evaluation notices at its next step. The one that has been
//! running all the while is held responsible; others start anew. One that does not notice within a moment, because it
//! waits for an answer or computes where it cannot be interrupted, keeps nobody else waiting as long as there is room: the
//! alarm is over, and it ends when it is heard of next. When the process has grown by more than all evaluations may have
//! together, the alarm lasts until those that are responsible are gone: whatever they do next ends them, nothing begins
//! meanwhile, and who waits does so until its own time is over. An evaluation is over long before the thread looks at it,
//! as a rule, and pays a fraction of a microsecond for being watched.

use std::{
    sync::{
        Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use monty_types::{BASELINE_MEMORY, LIVE_MEMORY};
use tokio::time::Instant;

use crate::error::Limit;

/// How often the thread looks.
const PERIOD: Duration = Duration::from_millis(2);

/// After how many looks at nothing the thread goes to sleep.
const IDLE: u32 = 50;

/// How many times the limit of an evaluation the process may grow: it has other things to do meanwhile.
const SLACK: usize = 4;

/// How much the process may grow from one moment without evaluations to the next, while one of them does not end when it
/// ought to.
const TOGETHER: usize = 128 << 20;

/// For how many looks the alarm is raised, while there is room: whoever computes notices at the next step, however busy the machine is.
const RAISED: u32 = 100;

/// What the interpreter takes for memory in use while the alarm is raised.
const ALARM: usize = usize::MAX / 2;

#[derive(Default)]
struct Watch {
    running: Vec<Running>,
    next: u64,
    alarms: u64,
    /// For how many looks the alarm has been raised.
    raised: u32,
    /// The size of the process when it was first seen after there had been no evaluation.
    floor: Option<usize>,
    asleep: bool,
}

struct Running {
    id: u64,
    limit: usize,
    /// The size of the process when it was first seen.
    base: Option<usize>,
    accused: bool,
    thread: ThreadId,
    /// Whether it ends when it is heard of next.
    doomed: Arc<AtomicBool>,
}

static WATCH: LazyLock<Mutex<Watch>> = LazyLock::new(Mutex::default);
static WAKE: Condvar = Condvar::new();
static STARTED: AtomicBool = AtomicBool::new(false);

fn lock() -> MutexGuard<'static, Watch> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An evaluation that is being watched, until it is dropped.
pub(crate) struct Watched {
    id: u64,
    alarms: u64,
    doomed: Arc<AtomicBool>,
}

impl Watched {
    /// Begins to watch an evaluation that may use `limit` bytes.
    pub(crate) fn start(limit: usize) -> Self {
        if !STARTED.swap(true, Ordering::Relaxed) {
            BASELINE_MEMORY.store(0, Ordering::Relaxed);
            // Without the thread the interpreter's own limits remain.
            let _ = thread::Builder::new().name("expr-memory".to_owned()).spawn(watch);
        }
        let mut watch = lock();
        let id = watch.next;
        watch.next += 1;
        let doomed = Arc::new(AtomicBool::new(false));
        watch.running.push(Running {
            id,
            limit,
            base: None,
            accused: false,
            thread: thread::current().id(),
            doomed: Arc::clone(&doomed),
        });
        if watch.asleep {
            WAKE.notify_one();
        }
        // An alarm that is raised already counts as one that came later.
        let raised = u64::from(LIVE_MEMORY.load(Ordering::Relaxed) != 0);
        Self { id, alarms: watch.alarms - raised, doomed }
    }

    /// Whether the evaluation was responsible for an alarm that was over before it noticed.
    pub(crate) fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::Relaxed)
    }

    /// Whether an alarm was raised meanwhile for which another evaluation is responsible.
    pub(crate) fn is_innocent(&self) -> bool {
        let watch = lock();
        let accused = watch.running.iter().any(|running| running.id == self.id && running.accused);
        watch.alarms != self.alarms && !accused && !self.is_doomed()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut watch = lock();
        watch.running.retain(|running| running.id != self.id);
        if !watch.running.iter().any(|running| running.accused) {
            LIVE_MEMORY.store(0, Ordering::Relaxed);
        }
        if watch.running.is_empty() {
            watch.floor = None;
        }
    }
}

/// Whether an alarm is raised, so that nothing should begin.
pub(crate) fn is_alarmed() -> bool {
    LIVE_MEMORY.load(Ordering::Relaxed) != 0
}

/// Waits until the alarm is over.
///
/// # Errors
/// [`Limit::Busy`] when it is not over `within` this time, [`Limit::Memory`] when an evaluation is responsible that waits
/// for this one on this very thread.
pub(crate) fn wait(within: Duration) -> Result<(), Limit> {
    let since = Instant::now();
    while is_alarmed() {
        if is_ours(&lock(), thread::current().id()) {
            return Err(Limit::Memory);
        }
        if since.elapsed() >= within {
            return Err(Limit::Busy);
        }
        thread::sleep(PERIOD);
    }
    Ok(())
}

/// Whether an evaluation on a thread is responsible for the alarm.
fn is_ours(watch: &Watch, thread: ThreadId) -> bool {
    watch.running.iter().any(|running| running.accused && running.thread == thread)
}

fn watch() {
    let mut idle = 0;
    loop {
        let mut watch = lock();
        idle = if watch.running.is_empty() { idle + 1 } else { 0 };
        while watch.running.is_empty() && idle > IDLE {
            watch.asleep = true;
            watch = WAKE.wait(watch).unwrap_or_else(PoisonError::into_inner);
            watch.asleep = false;
        }
        if !watch.running.is_empty()
            && let Some(size) = resident()
        {
            look(&mut watch, size, &LIVE_MEMORY);
        }
        drop(watch);
        thread::sleep(PERIOD);
    }
}

/// Compares the size of the process with what it was when each evaluation was first seen.
fn look(watch: &mut Watch, size: usize, live: &AtomicUsize) {
    let floor = *watch.floor.get_or_insert(size);
    let mut alarm = false;
    for running in &mut watch.running {
        let base = *running.base.get_or_insert(size);
        if size.saturating_sub(base) > running.limit.saturating_mul(SLACK) {
            alarm |= !running.accused;
            running.accused = true;
        }
    }
    if alarm {
        watch.alarms += 1;
        watch.raised = 0;
        live.store(ALARM, Ordering::Relaxed);
    } else if watch.running.iter().any(|running| running.accused) {
        watch.raised = watch.raised.saturating_add(1);
        if watch.raised >= RAISED && size.saturating_sub(floor) <= TOGETHER {
            end_alarm(watch, size);
            live.store(0, Ordering::Relaxed);
        }
    }
}

/// Ends an alarm that those who are responsible for it do not notice: what they hold counts against nobody else, and what
/// they take from now on raises another.
fn end_alarm(watch: &mut Watch, size: usize) {
    for running in &mut watch.running {
        running.base = Some(size);
        if running.accused {
            running.accused = false;
            running.doomed.store(true, Ordering::Relaxed);
        }
    }
}

/// The memory that the process really has, in bytes. `None` where the system does not tell.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(id: u64, base: Option<usize>) -> Running {
        Running { id, limit: 10, base, accused: false, thread: thread::current().id(), doomed: Arc::default() }
    }

    /// CO-225: an alarm is over in a moment, noticed or not: who does not notice ends later, and keeps nobody else waiting.
    #[test]
    fn co_225_an_alarm_that_is_not_noticed_ends() {
        let live = AtomicUsize::new(0);
        let mut watch = Watch { running: vec![running(1, Some(100)), running(2, Some(150))], ..Watch::default() };
        look(&mut watch, 150, &live);
        assert!(watch.running[0].accused && live.load(Ordering::Relaxed) == ALARM);
        for _ in 0..RAISED {
            assert_eq!(live.load(Ordering::Relaxed), ALARM);
            assert!(!watch.running[0].doomed.load(Ordering::Relaxed));
            look(&mut watch, 190, &live);
        }
        let ends: Vec<_> = watch.running.iter().map(|one| (one.accused, one.doomed.load(Ordering::Relaxed))).collect();
        assert_eq!((ends, live.load(Ordering::Relaxed)), (vec![(false, true), (false, false)], 0));
        look(&mut watch, 230, &live);
        assert_eq!((watch.alarms, live.load(Ordering::Relaxed)), (1, 0), "what it holds counts against nobody");
        look(&mut watch, 231, &live);
        assert_eq!((watch.alarms, live.load(Ordering::Relaxed)), (2, ALARM));
    }

    /// CO-225: while an evaluation that is to end still runs and the process has grown by more than all may have, the alarm
    /// stays: that one ends at its next step, and nothing begins.
    #[test]
    fn co_225_an_alarm_lasts_while_there_is_no_room() {
        let live = AtomicUsize::new(0);
        let mut watch = Watch { running: vec![running(1, None), running(2, None)], ..Watch::default() };
        look(&mut watch, 100, &live);
        look(&mut watch, 141, &live);
        for _ in 0..=RAISED {
            look(&mut watch, 141, &live);
        }
        assert_eq!(live.load(Ordering::Relaxed), 0, "there is room");
        let full = 101 + TOGETHER;
        for _ in 0..10 * RAISED {
            look(&mut watch, full, &live);
            assert_eq!(live.load(Ordering::Relaxed), ALARM);
        }
        look(&mut watch, full - 1, &live);
        assert_eq!(live.load(Ordering::Relaxed), 0, "there is room again");
    }

    /// CO-225: what an evaluation that is to end waits for on its own thread does not wait for that one.
    #[test]
    fn co_225_nobody_waits_for_itself() {
        let mut watch = Watch { running: vec![running(1, Some(100))], ..Watch::default() };
        let here = thread::current().id();
        assert!(!is_ours(&watch, here));
        look(&mut watch, 141, &AtomicUsize::new(0));
        assert!(is_ours(&watch, here));
        assert!(!thread::spawn(move || is_ours(&watch, thread::current().id())).join().unwrap());
    }

    /// CO-224: the one that was there when the process grew is responsible, one that came later is not.
    #[test]
    fn co_224_growth_is_laid_to_what_was_running_all_the_while() {
        let live = AtomicUsize::new(0);
        let mut watch = Watch { running: vec![running(1, Some(100)), running(2, None)], ..Watch::default() };
        look(&mut watch, 140, &live);
        assert!(!watch.running.iter().any(|running| running.accused));
        watch.running[1].base = None;
        look(&mut watch, 141, &live);
        let accused: Vec<bool> = watch.running.iter().map(|running| running.accused).collect();
        assert_eq!((accused, live.load(Ordering::Relaxed)), (vec![true, false], ALARM));
    }

    /// CO-224: the system tells how large the process is.
    #[test]
    fn co_224_the_size_of_the_process_is_known() {
        assert!(resident().is_none_or(|size| size > 1 << 20));
    }
}
