//! How much a connection lets its peer do. The peer is told those that it has to respect.

use std::time::Duration;

/// What one connection allows its peer. Each side has its own; in the handshake either learns the other's
/// [`Limits::max_body`] and [`Limits::max_in_flight`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The largest body of a request or reply that this side accepts, in bytes. 64 MiB unless set; from
    /// [`Limits::LEAST_MAX_BODY`] to [`Limits::GREATEST_MAX_BODY`].
    pub(crate) max_body: u32,
    /// How many calls of the peer may be unanswered at once, and how many one-way calls of its may run
    /// at once. 1,024 unless set; from 1 to [`Limits::GREATEST_MAX_IN_FLIGHT`].
    pub(crate) max_in_flight: u32,
    /// How many handlers may still run whose calls were cancelled or have expired. With more, new calls are
    /// answered `Busy` without running. 64 unless set; at most [`Limits::GREATEST_MAX_IN_FLIGHT`].
    pub(crate) max_cancels_pending: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 64 << 20,
            max_in_flight: 1024,
            max_cancels_pending: 64,
        }
    }
}

impl Limits {
    /// 4 KiB: the sentence of a failure must always fit.
    pub(crate) const LEAST_MAX_BODY: u32 = 4 << 10;
    /// 1 GiB: lengths stay far from the end of their 32 bits.
    pub(crate) const GREATEST_MAX_BODY: u32 = 1 << 30;
    /// 65,536: a call's place in the caller's table is 16 bits of its id.
    pub(crate) const GREATEST_MAX_IN_FLIGHT: u32 = 1 << 16;

    /// The nearest limits within the bounds that each field states.
    pub(super) fn bounded(self) -> Self {
        Self {
            max_body: self.max_body.clamp(Self::LEAST_MAX_BODY, Self::GREATEST_MAX_BODY),
            max_in_flight: self.max_in_flight.clamp(1, Self::GREATEST_MAX_IN_FLIGHT),
            max_cancels_pending: self.max_cancels_pending.min(Self::GREATEST_MAX_IN_FLIGHT),
        }
    }
}

/// How long the accepting side waits for a Hello, unless set otherwise. It is short because a stranger costs
/// a connection until then; an honest peer sends its Hello at once.
pub(crate) const ACCEPTING_HANDSHAKE: Duration = Duration::from_secs(1);
/// How long the connecting side waits for a Welcome, unless set otherwise: the server may be starting or
/// busy.
pub(crate) const CONNECTING_HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a drain waits for the peer to acknowledge it: 250 ms. A peer that reads does so within one; a client that
/// reads only while it waits for a reply does not, and has nothing to lose.
pub(crate) const DRAIN_PATIENCE: Duration = Duration::from_millis(250);
/// How long a drain should last, unless set otherwise.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// Services that one side may offer.
pub(crate) const MAX_SERVICES: usize = 256;
/// Bytes of a service's name.
pub(crate) const MAX_NAME: usize = 255;
/// Bytes of a method's signature that travel; a longer one is cut, its fingerprint still tells it apart.
pub(crate) const MAX_SIGNATURE: usize = 4 << 10;
/// Bytes that the connecting side may send for the other's `on_connect` to judge.
pub(crate) const MAX_BLOB: usize = 4 << 10;
/// Codecs that one side may offer.
pub(crate) const MAX_CODECS: usize = 16;
/// Pings that may be unanswered at once.
pub(crate) const MAX_PINGS: usize = 8;
