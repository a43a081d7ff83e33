//! What came of the direct tier on one connection.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What came of [`Endpoint::direct`](crate::Endpoint::direct) on one connection: [`Carrier::direct`](crate::Carrier::direct).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectUsage {
    /// Whether this side lends bodies to the other.
    pub state: DirectState,
    /// Messages whose bodies the other side was lent.
    pub lent: u64,
    /// Bytes of these bodies.
    pub lent_bytes: u64,
    /// Messages whose bodies this side has copied out of the other's memory.
    pub fetched: u64,
    /// Bytes of these bodies.
    pub fetched_bytes: u64,
    /// Messages that were lent, and then sent as a copy after all.
    pub refused: u64,
}

/// Whether one side of a connection lends its bodies to the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectState {
    /// The other side has not proved yet that it can read this side's memory; or it did not ask for this tier.
    #[default]
    Open,
    /// Bodies are lent.
    Agreed,
    /// They are not, for this reason.
    Refused(String),
}

const AGREED: u8 = 1;
const REFUSED: u8 = 2;

/// The same, while it changes.
pub(crate) struct Usage {
    state: AtomicU8,
    reason: Mutex<String>,
    lent: Count,
    fetched: Count,
    refused: AtomicU64,
}

/// Messages and bytes.
#[derive(Default)]
struct Count(AtomicU64, AtomicU64);

impl Count {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn told(&self) -> (u64, u64) {
        (self.0.load(Ordering::Relaxed), self.1.load(Ordering::Relaxed))
    }
}

impl Usage {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(0),
            reason: Mutex::default(),
            lent: Count::default(),
            fetched: Count::default(),
            refused: AtomicU64::new(0),
        })
    }

    pub(super) fn agree(&self) {
        self.state.store(AGREED, Ordering::Relaxed);
    }

    pub(crate) fn is_agreed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == AGREED
    }

    /// Notes that this side does not lend, and why. The first time in this process, the log is told.
    pub(super) fn refuse(&self, reason: &str) {
        reason.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
        self.state.store(REFUSED, Ordering::Release);
        log_once(reason);
    }

    pub(super) fn count_lent(&self, bytes: usize) {
        self.lent.add(bytes);
    }

    pub(super) fn count_fetched(&self, bytes: usize) {
        self.fetched.add(bytes);
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn told(&self) -> DirectUsage {
        let state = match self.state.load(Ordering::Acquire) {
            AGREED => DirectState::Agreed,
            REFUSED => {
                let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
                DirectState::Refused(reason.clone())
            }
            _ => DirectState::Open,
        };
        let (lent, lent_bytes) = self.lent.told();
        let (fetched, fetched_bytes) = self.fetched.told();
        DirectUsage {
            state,
            lent,
            lent_bytes,
            fetched,
            fetched_bytes,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// One line in the log, once in the life of this process: what is true of one connection is true of most.
pub(super) fn log_once(reason: &str) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if SAID.swap(true, Ordering::Relaxed) {
        return;
    }
    #[cfg(feature = "tracing")]
    tracing::warn!("large bodies are copied on their way, although Endpoint::direct was asked for: {reason}");
    #[cfg(not(feature = "tracing"))]
    let _ = reason;
}
