//! Memory that is waited for.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use bytemuck::Pod;
use transports::Interrupt;

use super::{Lender, Section};
use crate::blocking::{self, Look};
use crate::link::Out;
use crate::{Client, Error, ErrorKind, Outcome};

/// Memory of [`Client::alloc_waiting`]. End it with `.await` (in a Tokio runtime) or with [`Allocation::wait`] (anywhere else);
/// dropping it ends the wait.
#[must_use = "nothing is taken until it is awaited or waited for"]
pub struct Allocation<'a, T> {
    client: &'a Client,
    count: usize,
    /// From the first look on.
    deadline: Option<Instant>,
    started: bool,
    #[cfg(feature = "tokio")]
    alarm: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
    values: PhantomData<fn() -> T>,
}

impl<'a, T: Pod> Allocation<'a, T> {
    pub(crate) fn new(client: &'a Client, count: usize) -> Self {
        Self {
            client,
            count,
            deadline: None,
            started: false,
            #[cfg(feature = "tokio")]
            alarm: None,
            values: PhantomData,
        }
    }

    /// Blocks the thread until there is memory. Meanwhile it reads for the connection, as a call that waits does.
    ///
    /// # Errors
    /// See [`Client::alloc_waiting`]; and `Unsupported` on a thread that a Tokio runtime needs for other tasks.
    pub fn wait(mut self) -> Result<Section<T>, Error> {
        blocking::may_block("Allocation::wait()")?;
        let link = self.client.link();
        link.check_ours()?;
        let mut woken: Option<Waker> = None;
        blocking::block_until(link, |out, waker| {
            let waker = woken.get_or_insert_with(|| {
                Waker::from(Arc::new(Both {
                    thread: waker.clone(),
                    port: link.interrupt(),
                }))
            });
            match self.step(out, waker) {
                Some(result) => Look::Done(result),
                None => Look::NotYet(self.deadline),
            }
        })
    }

    /// Takes the memory, or has `waker` woken when it may be there.
    fn step(&mut self, out: &mut Out, waker: &Waker) -> Option<Result<Section<T>, Error>> {
        let link = self.client.link();
        if !self.started {
            self.started = true;
            self.deadline = self
                .client
                .timeout()
                .and_then(|timeout| Instant::now().checked_add(timeout));
        }
        if out.is_closed() {
            return Some(Err(out.closed_error(link, Outcome::NotSent)));
        }
        let lender = link.lender(self.client.codec());
        for entered in [false, true] {
            match Lender::alloc(lender, self.count, false) {
                Err(error) if error.kind() == ErrorKind::Resource => {
                    // What is wanted of the system itself is not waited for: nobody tells of it.
                    let Some(lender) = lender.filter(|lender| lender.is_used()) else {
                        return Some(Err(error));
                    };
                    if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        return Some(Err(self.late(&error)));
                    }
                    if !entered {
                        lender.wake_on_return(waker);
                        out.wait_for_end(waker);
                    }
                }
                other => return Some(other),
            }
        }
        None
    }

    #[cold]
    fn late(&self, error: &Error) -> Error {
        let waited = self.client.timeout().unwrap_or(Duration::ZERO);
        Error::new(
            ErrorKind::Deadline,
            format!("after {waited:?} there is still {error}"),
        )
    }
}

/// Wakes a thread that waits for itself, or reads for all.
struct Both {
    thread: Waker,
    port: Interrupt,
}

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.port.raise();
        self.thread.wake_by_ref();
    }
}

#[cfg(feature = "tokio")]
impl<T: Pod> std::future::Future for Allocation<'_, T> {
    type Output = Result<Section<T>, Error>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        use std::task::Poll;

        let link = self.client.shared_link();
        link.check_ours()?;
        let ended = {
            let mut out = link.out();
            // Whoever reads for the connection learns of its end.
            crate::driver::ensure(link, &mut out)?;
            self.step(&mut out, cx.waker())
        };
        if let Some(result) = ended {
            return Poll::Ready(result);
        }
        if let Some(deadline) = self.deadline {
            let alarm = self
                .alarm
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            if alarm.as_mut().poll(cx).is_ready() {
                // It has passed now, which the next look says.
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for Allocation<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Allocation")
            .field("count", &self.count)
            .field("deadline", &self.deadline)
            .finish()
    }
}
