//! How a connection's memory gets its drivers to look after it.
//!
//! Sections are dropped on any thread, perhaps while the connection's locks are held. So what that sets in motion has
//! no lock in common with them.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use crate::sync::lock;

/// What a connection's memory wants of its drivers.
#[derive(Default)]
pub(crate) struct Nudge {
    /// Something is to be told to the other side.
    unsent: AtomicBool,
    /// Of the drivers.
    drivers: Mutex<Vec<Waker>>,
}

impl Nudge {
    /// There is something to tell: a driver is woken, unless one knows already. False: there is no driver.
    pub(crate) fn unsent(&self) -> bool {
        if self.unsent.load(Ordering::Relaxed) || self.unsent.swap(true, Ordering::AcqRel) {
            return true;
        }
        let woken = lock(&self.drivers).clone();
        let is_any = !woken.is_empty();
        for waker in woken {
            waker.wake();
        }
        is_any
    }

    /// From now on, what is to be told wakes a driver again.
    pub(crate) fn clear_unsent(&self) {
        self.unsent.store(false, Ordering::Release);
    }
}

#[cfg(feature = "tokio")]
impl Nudge {
    pub(crate) fn is_unsent(&self) -> bool {
        self.unsent.load(Ordering::Acquire)
    }

    /// Has a driver woken from now on, in place of `former`.
    pub(crate) fn enter(&self, driver: &Waker, former: Option<&Waker>) {
        let mut drivers = lock(&self.drivers);
        if let Some(former) = former {
            drivers.retain(|known| !known.will_wake(former));
        }
        drivers.push(driver.clone());
    }

    /// A driver has ended.
    pub(crate) fn leave(&self, driver: &Waker) {
        lock(&self.drivers).retain(|known| !known.will_wake(driver));
    }
}

impl fmt::Debug for Nudge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Nudge")
    }
}
