//! Child processes that serve the one who started them: what a client knows of its child, and how the child is ended.

use std::fmt;
#[cfg(feature = "tokio")]
use std::future::{Future, IntoFuture};
#[cfg(feature = "tokio")]
use std::pin::Pin;
use std::process::{ChildStderr, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::{Error, blocking};

/// How long a child may take to end by itself once its connection is closed, unless `Connect::grace` says otherwise.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// How long the news of a connection's end waits for the news of the process that comes right behind it: a process
/// that dies closes its connection first, and can be asked for its status a moment later.
const MOMENT: Duration = Duration::from_millis(40);

/// The process that serves a client which was made with `spawn`, or at an `exec:` endpoint. See `Client::child`.
///
/// It ends with its connection: when the last client is dropped, when one of them closes it, or when connecting
/// fails, the child sees the end of the connection, has `Connect::grace` to end by itself, and is killed then (SIGKILL). A
/// thread sees to that, and collects its status, so that nobody has to wait; if this process ends before, the
/// child is left with the end of its connection.
#[derive(Clone)]
pub struct Child(transports::Child);

impl Child {
    pub(crate) fn new(child: transports::Child) -> Self {
        Self(child)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// What the file of its program is called.
    #[must_use]
    pub fn program(&self) -> &str {
        self.0.program()
    }

    /// How it ended, if it has. Does not block.
    ///
    /// # Errors
    /// `Io` if the system does not tell, because other code of this program has waited for it.
    pub fn try_wait(&self) -> Result<Option<ExitStatus>, Error> {
        Ok(self.0.try_wait()?)
    }

    /// Its end. Nothing makes it end but what is said above: a client that is in use keeps it.
    pub fn exit(&self) -> Exit<'_> {
        Exit(self)
    }

    /// Ends it at once, as `kill -9` does. Calls in flight fail with `PeerDied`.
    ///
    /// # Errors
    /// `Denied` if it runs as somebody else.
    pub fn kill(&self) -> Result<(), Error> {
        Ok(self.0.kill()?)
    }

    /// The reading end of its standard error, once, if its command said `Stdio::piped()`.
    #[must_use]
    pub fn take_stderr(&self) -> Option<ChildStderr> {
        self.0.take_stderr()
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The end of a [`Child`], to come or past. Get its status with `.await` (in a Tokio runtime) or with [`Exit::wait`].
#[must_use = "nothing waits before it is awaited or waited for"]
#[derive(Debug)]
pub struct Exit<'a>(&'a Child);

impl Exit<'_> {
    /// Blocks the thread until the child has ended.
    ///
    /// # Errors
    /// As [`Child::try_wait`], and `Unsupported` on a thread that a Tokio runtime needs for other tasks.
    pub fn wait(self) -> Result<ExitStatus, Error> {
        blocking::may_block("Exit::wait()")?;
        loop {
            if let Some(status) = self.0.0.wait(None)? {
                return Ok(status);
            }
        }
    }
}

#[cfg(feature = "tokio")]
impl<'a> IntoFuture for Exit<'a> {
    type Output = Result<ExitStatus, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            crate::driver::runtime("Exit")?;
            Ok(transports::reactor::exited(&self.0.0).await?)
        })
    }
}

/// What ends a child after its connection. Dropping it does, too.
pub(crate) struct Leash {
    child: transports::Child,
    grace: Duration,
    released: AtomicBool,
}

impl Leash {
    pub(crate) fn new(child: transports::Child, grace: Duration) -> Self {
        Self {
            child,
            grace,
            released: AtomicBool::new(false),
        }
    }

    pub(crate) fn child(&self) -> &transports::Child {
        &self.child
    }

    /// Why the connection has ended: what became of the process.
    pub(crate) fn why_ended(&self) -> String {
        self.child
            .fate(MOMENT)
            .unwrap_or_else(|| format!("{} closed the connection without a word", self.child))
    }

    /// The same where nothing may wait.
    pub(crate) fn why_gone(&self) -> String {
        self.child
            .fate(Duration::ZERO)
            .unwrap_or_else(|| format!("{} is gone", self.child))
    }

    /// The connection has ended: so will the child. Does not block.
    pub(crate) fn release(&self) {
        if self.released.swap(true, Ordering::AcqRel) || !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let (child, grace) = (self.child.clone(), self.grace);
        let end = move || {
            // All of it fails only if somebody else has waited for the child: then it has ended.
            if let Ok(None) = child.wait(Instant::now().checked_add(grace)) {
                let _ = child.kill();
                let _ = child.wait(None);
            }
        };
        let thread = std::thread::Builder::new().name("ipc-rpc child's end".to_owned());
        if thread.stack_size(64 << 10).spawn(end).is_err() {
            // With no thread to be had nobody would remember it.
            let _ = self.child.kill();
            let _ = self.child.wait(None);
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.release();
    }
}
