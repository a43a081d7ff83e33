//! A ping: the shortest way to the peer and back.

use std::fmt;
use std::time::{Duration, Instant};

use crate::blocking::{self, Look};
use crate::link::{Ended, Out, Pending};
use crate::{Client, Error, Outcome};

/// A ping of [`Client::ping`]. End it with `.await` (in a Tokio runtime) or with [`Ping::wait`] (anywhere else); nothing
/// is sent before. It has no deadline of its own: wrap it into a timeout, or drop it.
#[must_use = "a ping does nothing until it is awaited or waited for"]
pub struct Ping<'a> {
    client: &'a Client,
    sent: Option<(Pending, Instant)>,
}

impl<'a> Ping<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, sent: None }
    }

    /// Pings and blocks the thread until the answer is there.
    ///
    /// # Errors
    /// `Busy` if eight pings are unanswered, those of a lost connection, and `Unsupported` on a thread that a Tokio
    /// runtime needs for other tasks.
    pub fn wait(mut self) -> Result<Duration, Error> {
        blocking::may_block("Ping::wait()")?;
        self.client.link().check_ours()?;
        blocking::block_until(self.client.link(), |out, waker| match self.step(out, waker) {
            Some(result) => Look::Done(result),
            None => Look::Sent(None),
        })
    }

    fn step(&mut self, out: &mut Out, waker: &std::task::Waker) -> Option<Result<Duration, Error>> {
        let link = self.client.link();
        let (pending, since) = match self.sent {
            Some(sent) => sent,
            None => match out.ping(link) {
                Ok(pending) => *self.sent.insert((pending, Instant::now())),
                Err(error) => return Some(Err(error)),
            },
        };
        let ended = out.calls.take_ended(pending, waker)?;
        self.sent = None;
        Some(match ended {
            Ended::Pong => Ok(since.elapsed()),
            _ => Err(out.closed_error(link, Outcome::Unknown)),
        })
    }
}

#[cfg(feature = "tokio")]
impl std::future::Future for Ping<'_> {
    type Output = Result<Duration, Error>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let link = self.client.shared_link();
        link.check_ours()?;
        let mut out = link.out();
        crate::driver::ensure(link, &mut out)?;
        match self.step(&mut out, cx.waker()) {
            Some(result) => std::task::Poll::Ready(result),
            None => std::task::Poll::Pending,
        }
    }
}

impl Drop for Ping<'_> {
    fn drop(&mut self) {
        if let Some((pending, _)) = self.sent.take() {
            self.client.link().cancel(pending);
        }
    }
}

impl fmt::Debug for Ping<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Ping")
            .field("sent", &self.sent.is_some())
            .finish()
    }
}
