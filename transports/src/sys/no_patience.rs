//! On Linux alone one look at a socket can wait and the next one not.

use super::Stream;

/// Leave for a look at a stream to wait: none is given.
#[derive(Clone, Copy)]
pub(crate) enum Patience {}

impl Patience {
    /// Never called.
    #[cfg_attr(windows, expect(dead_code, reason = "the waiter gives none either"))]
    pub(crate) fn longest(self) -> std::time::Duration {
        match self {}
    }
}

impl Stream {
    /// None.
    #[allow(clippy::unused_self, reason = "on Linux it is the stream that decides")]
    #[cfg_attr(windows, expect(dead_code, reason = "the waiter gives none either"))]
    pub(crate) fn patience(&self) -> Option<Patience> {
        None
    }
}
