//! Whether the peer still answers, for those who asked to be told.
//!
//! A quarter of the interval is one look. A look that has heard nothing from the peer since the one before asks it
//! with a ping, and four looks later the peer counts as silent. Looks are counted rather than time measured, so
//! that a process that was stopped itself, or is short of processor time, does not take its own absence for the peer's:
//! between two looks its driver has read what there was.
//!
//! Who is asked depends on who can answer. A server always reads, so a client always asks. A client that blocks
//! reads only while it waits for a reply, so a server asks it only while it serves a call of its.

use std::time::{Duration, Instant};

use super::limits::MAX_PINGS;
use super::output::Control;
use super::{Connection, Phase, Role};

/// What our pings carry. The user's carry small numbers, or as their drivers count, ones just below the largest.
pub(super) const TOKEN: u64 = 1 << 63;

/// Looks in an interval.
const LOOKS: u32 = 4;

/// Looks are not closer to each other.
const LEAST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Keepalive {
    /// From one look to the next; `None` if nobody asked.
    pause: Option<Duration>,
    /// The next look, from the first message on.
    next: Option<Instant>,
    /// Whether anything has come since the last look.
    heard: bool,
    /// Looks since the peer was asked that heard nothing.
    silent: u32,
}

impl Keepalive {
    pub(super) fn new(interval: Option<Duration>) -> Self {
        Self {
            pause: interval.map(|interval| (interval / LOOKS).max(LEAST)),
            next: None,
            heard: false,
            silent: 0,
        }
    }

    /// Something has come.
    #[inline]
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = true;
        if self.next.is_none() {
            self.next = self.pause.and_then(|pause| now.checked_add(pause));
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent > LOOKS
    }

    /// Looks if it is time to. True: ask the peer.
    fn look(&mut self, now: Instant) -> bool {
        let (Some(pause), Some(next)) = (self.pause, self.next) else {
            return false;
        };
        if now < next {
            return false;
        }
        self.next = now.checked_add(pause);
        self.silent = if std::mem::take(&mut self.heard) {
            0
        } else {
            self.silent + 1
        };
        self.silent == 1
    }
}

impl Connection {
    /// When to look next whether the peer has said anything.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.keepalive.next.filter(|_| self.owes_life())
    }

    pub(super) fn look_for_life(&mut self, now: Instant) {
        // Unanswered pings of the user ask as well.
        if self.owes_life() && self.keepalive.look(now) && self.pings.len() < MAX_PINGS {
            self.pings.push_back(TOKEN);
            self.queue.push_back(Control::Ping { token: TOKEN });
        }
    }

    /// Whether the peer is bound to answer: see the module.
    fn owes_life(&self) -> bool {
        let accepting = self.config.role == Role::Accepting;
        self.phase == Phase::Open && (!accepting || self.serving.awaited() > 0 || self.calls.awaited() > 0)
    }
}
