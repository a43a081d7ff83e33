//! How much a driver does before others get their turn.

use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

/// Looks and messages, one after the other, before other tasks of the thread get their turn.
const BATCH: usize = 1024;

/// Time after which they get it anyway: handlers may be slow. On a runtime of one thread, other connections wait for the end of it,
/// since nobody else asks the reactor, which takes about half a microsecond. Where there are several, another one sees to them,
/// and is woken for nothing each time that this one gives way: some 10 µs, of which 1 call in 100 must not see anything.
const SLICE: Duration = Duration::from_micros(100);
const SLICE_OF_SEVERAL: Duration = Duration::from_micros(500);

/// How long one poll may take in a runtime.
pub(super) fn slice_in(runtime: &Handle) -> Duration {
    match runtime.runtime_flavor() {
        RuntimeFlavor::CurrentThread => SLICE,
        _ => SLICE_OF_SEVERAL,
    }
}

/// How much one poll may do.
pub(super) struct Budget {
    pub(super) started: Instant,
    /// The time, up to a few messages ago.
    pub(super) now: Instant,
    slice: Duration,
    left: usize,
}

impl Budget {
    pub(super) fn new(slice: Duration) -> Self {
        let started = Instant::now();
        Self {
            started,
            now: started,
            slice,
            left: BATCH,
        }
    }

    pub(super) fn spend(&mut self) -> bool {
        // The clock is read for every eighth message.
        if self.left % 8 == 0 && self.left < BATCH {
            self.now = Instant::now();
            if self.now - self.started > self.slice {
                self.left = 0;
            }
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }
}
