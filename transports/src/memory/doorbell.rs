//! A flag for each kind of news, and whoever sleeps until one is raised: a thread or a task.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// Something may be received, or accepted.
pub(crate) const DATA: u8 = 1;
/// There may be room to send.
pub(crate) const SPACE: u8 = 2;
const INTERRUPT: u8 = 4;

/// Each flag is there twice: for tasks, and that far to the left for the thread that blocks. Who takes one down looks, but
/// may find that the other has the receiver, and the other must not miss the news for that.
const FOR_THREAD: u32 = 4;

/// Belongs to one side; the other side rings it.
pub(crate) struct Doorbell {
    rung: AtomicU8,
    sleepers: Mutex<Sleepers>,
    condvar: Condvar,
}

/// Who sleeps. Tasks may be of several runtimes, some of which nobody polls.
#[derive(Default)]
struct Sleepers {
    thread: bool,
    data: Vec<Waker>,
    space: Vec<Waker>,
}

impl Doorbell {
    /// Rung already, so that whoever waits looks first.
    pub(crate) fn new() -> Self {
        Self {
            rung: AtomicU8::new(for_both(DATA | SPACE)),
            sleepers: Mutex::new(Sleepers::default()),
            condvar: Condvar::new(),
        }
    }

    /// Raises flags and wakes who sleeps. What was done before is seen by whoever finds a flag raised.
    pub(crate) fn ring(&self, flags: u8) {
        let raised = for_both(flags);
        // A flag that was up already has an owner who will look after taking it down, and so see what we did.
        if self.rung.fetch_or(raised, Ordering::AcqRel) & raised == raised {
            return;
        }
        let mut sleepers = self.sleepers();
        if sleepers.thread {
            self.condvar.notify_one();
        }
        // One of each without a list, since there is hardly ever another.
        let mut first = [None, None];
        let mut others = Vec::new();
        for (flag, first) in [DATA, SPACE].into_iter().zip(&mut first) {
            if flags & flag != 0 {
                let tasks = sleepers.tasks(flag);
                *first = tasks.pop();
                others.append(tasks);
            }
        }
        drop(sleepers);
        first.into_iter().flatten().chain(others).for_each(Waker::wake);
    }

    pub(crate) fn interrupt(&self) {
        // No task waits for it, so that flag stays up.
        self.ring(INTERRUPT);
    }

    /// Takes a flag down; true if it was up. Look after taking it down, never before.
    #[cfg(feature = "tokio")]
    fn take(&self, flag: u8) -> bool {
        // The load spares the line's owner a write when there is no news.
        self.rung.load(Ordering::Acquire) & flag != 0
            && self.rung.fetch_and(!flag, Ordering::AcqRel) & flag != 0
    }

    /// As [`Doorbell::take`], but if the flag is down, the task is woken when it is raised.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_or_register(&self, flag: u8, waker: &Waker) -> bool {
        if self.take(flag) {
            return true;
        }
        let mut sleepers = self.sleepers();
        let tasks = sleepers.tasks(flag);
        if !tasks.iter().any(|known| known.will_wake(waker)) {
            tasks.push(waker.clone());
        }
        drop(sleepers);
        // A ring between the first look and the registration found nobody to wake.
        self.take(flag)
    }

    /// Blocks until one of `flags` is raised, or an interrupt, or the deadline has passed; takes them down.
    pub(crate) fn wait(&self, flags: u8, deadline: Option<Instant>) {
        let flags = (flags | INTERRUPT) << FOR_THREAD;
        let mut sleepers = self.sleepers();
        sleepers.thread = true;
        while self.rung.load(Ordering::Acquire) & flags == 0 {
            let Some(deadline) = deadline else {
                sleepers = self
                    .condvar
                    .wait(sleepers)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            sleepers = self
                .condvar
                .wait_timeout(sleepers, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        sleepers.thread = false;
        drop(sleepers);
        self.rung.fetch_and(!flags, Ordering::AcqRel);
    }

    fn sleepers(&self) -> MutexGuard<'_, Sleepers> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sleepers {
    fn tasks(&mut self, flag: u8) -> &mut Vec<Waker> {
        if flag == DATA {
            &mut self.data
        } else {
            &mut self.space
        }
    }
}

const fn for_both(flags: u8) -> u8 {
    flags | flags << FOR_THREAD
}
