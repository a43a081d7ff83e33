//! Waiting for a server that is still starting.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::{Endpoint, Error, sys};

/// Tells when it is worth while to try again to connect to a server that was not there.
///
/// Watch first and try to connect then: what happens between the two is told. A server may have begun to listen
/// without being seen, on a file system that another machine shares for example: so look again from time to time.
pub struct Appearance(Arc<sys::Appearance>);

impl Appearance {
    /// Watches the place where the server of `endpoint` is going to appear. `None` where the system cannot tell:
    /// for anything but a name or a path, outside of Linux, in a directory that we may not read, and when the user's
    /// watches are used up (`/proc/sys/fs/inotify`).
    #[must_use]
    pub fn watch(endpoint: &Endpoint) -> Option<Self> {
        sys::Appearance::watch(endpoint).map(|watch| Self(Arc::new(watch)))
    }

    /// Blocks the calling thread until something has happened there, or the deadline has passed.
    ///
    /// # Errors
    /// The system refused to wait.
    pub fn wait(&self, deadline: Instant) -> Result<(), Error> {
        self.0
            .wait(deadline)
            .map_err(|error| Error::system(WAITING, error))
    }

    /// Waits until something has happened there. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `Unsupported` outside of a Tokio runtime with I/O enabled; the reactor is gone.
    #[cfg(feature = "tokio")]
    pub async fn changed(&self) -> Result<(), Error> {
        use std::task::Poll;

        let registration = crate::reactor::registered(|| sys::Registration::appearance(&self.0))?;
        std::future::poll_fn(|cx| {
            loop {
                let mut matters = false;
                let polled = registration.poll_read(cx, &mut || {
                    matters = self.0.take();
                    true
                });
                match polled {
                    Poll::Ready(Ok(())) if !matters => {}
                    other => return other.map_err(|error| Error::system(WAITING, error)),
                }
            }
        })
        .await
    }
}

const WAITING: &str = "cannot wait for a server to appear";

impl fmt::Debug for Appearance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Appearance")
    }
}
