//! What stops a peer that keeps a server busy with calls it does not want ("rapid reset").
//!
//! Cancelling is an honest thing to do, and a call that is cancelled costs the server what a call costs. What
//! must not be is work that is not counted, so entries of cancelled calls stay until their handlers end (see
//! [`super::serving`]), and the peer is slowed, with `Busy` as the answer to new calls, which run no handler,
//! in each of these cases:
//!
//! 1. more than [`Limits::max_cancels_pending`] handlers still run whose calls were cancelled or have
//!    expired;
//! 2. the tokens are used up: there are [`TOKENS`], each Cancel that meets a running handler takes one, each
//!    call that is answered by its handler gives one back, and so does every [`TOKEN_INTERVAL`]. A peer that
//!    lets half of its calls finish never gets here, however fast it is;
//! 3. it has more calls unanswered than it was told it may.
//!
//! Cases 2 and 3 are not met by honest peers for long. Each such refusal is counted, each call that is let in
//! forgives one, and above [`REFUSALS`] the connection is closed, with kind `Busy` and a sentence. Case 1 may
//! be the fault of slow handlers alone, and refusing is all that is done.

#[cfg(doc)]
use super::Limits;

use std::time::{Duration, Instant};

/// Cancels of running calls that a peer may send at once.
pub(crate) const TOKENS: u32 = 1024;
/// How often a token comes back by itself: 10,000 cancels a second can go on for ever.
pub(crate) const TOKEN_INTERVAL: Duration = Duration::from_micros(100);
/// Refused calls, beyond those forgiven, that a peer may insist on.
pub(crate) const REFUSALS: u32 = 1024;

/// What is to become of a new call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Let it run.
    Run,
    /// Answer `Busy`.
    Refuse,
    /// Close the connection.
    GoAway,
}

#[derive(Debug)]
pub(super) struct Budget {
    tokens: u32,
    /// When time last gave a token back. Looked at only when tokens are missing.
    refilled: Instant,
    refusals: u32,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tokens: TOKENS,
            refilled: now,
            refusals: 0,
        }
    }

    /// A Cancel met a running handler.
    pub(super) fn cancelled(&mut self, now: Instant) {
        if self.tokens == TOKENS {
            self.refilled = now;
        }
        self.tokens = self.tokens.saturating_sub(1);
    }

    /// A call was answered by its handler.
    pub(super) fn finished(&mut self) {
        self.tokens = (self.tokens + 1).min(TOKENS);
    }

    /// Judges a new call; `above_limit` if it has more unanswered calls than it may.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        above_limit: bool,
        cancels_pending_above_limit: bool,
    ) -> Admission {
        if self.tokens == 0 {
            self.refill(now);
        }
        if above_limit || self.tokens == 0 {
            self.refusals += 1;
            return if self.refusals > REFUSALS {
                Admission::GoAway
            } else {
                Admission::Refuse
            };
        }
        if cancels_pending_above_limit {
            return Admission::Refuse;
        }
        self.refusals = self.refusals.saturating_sub(1);
        Admission::Run
    }

    fn refill(&mut self, now: Instant) {
        let intervals = now.saturating_duration_since(self.refilled).as_nanos() / TOKEN_INTERVAL.as_nanos();
        let back = intervals.min(u128::from(TOKENS)) as u32;
        if back > 0 {
            self.tokens = (self.tokens + back).min(TOKENS);
            self.refilled = now;
        }
    }
}
