//! Who waits for memory of a pool.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The wakers of those who found a pool used up.
#[derive(Default)]
pub(crate) struct Waiting {
    wakers: Mutex<Vec<Waker>>,
    /// There are some. It is set before they look again, so that whoever gives memory back after that look finds it set.
    any: AtomicBool,
}

impl Waiting {
    /// Has `waker` woken once, when [`Waiting::wake`] is next called.
    pub(crate) fn enter(&self, waker: &Waker) {
        let mut wakers = self.lock();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        self.any.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::SeqCst)
    }

    /// Wakes all. To be called without a lock that they may take.
    pub(crate) fn wake(&self) {
        if self.is_empty() {
            return;
        }
        let woken = {
            let mut wakers = self.lock();
            self.any.store(false, Ordering::SeqCst);
            std::mem::take(&mut *wakers)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
