//! What a handler can ask about the call that it serves.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::future::Future;
#[cfg(feature = "tokio")]
use std::sync::atomic::fence;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Instant;

use bytemuck::Pod;
use transports::{Carrier, DirectUsage, Peer, Pool, Scheme};

use crate::section::Lender;
use crate::sync::lock;
use crate::traffic::Counters;
use crate::{Error, MethodInfo, Section, SharedMut, Traffic, Word};

/// The call that a handler serves: who calls, over which connection, until when. A method that takes `&Context` gets
/// it; nothing of it is on the wire, and clients do not see the argument.
#[derive(Debug)]
pub struct Context {
    pub(crate) connection: Arc<ConnectionInfo>,
    pub(crate) method: &'static MethodInfo,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancellation: Arc<Cancellation>,
}

impl Context {
    /// Who calls, as far as the transport vouches for it.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.connection.peer
    }

    /// What carries the connection's messages: [`Scheme::SharedMemory`] or [`Scheme::Unix`], say. See
    /// [`Client::transport`](crate::Client::transport) for an example of both.
    #[must_use]
    pub fn transport(&self) -> Scheme {
        self.connection.carrier.scheme()
    }

    /// What came of [`Endpoint::direct`](crate::Endpoint::direct) on this connection, by now. See
    /// [`Client::direct`](crate::Client::direct).
    #[must_use]
    pub fn direct(&self) -> Option<DirectUsage> {
        self.connection.carrier.direct()
    }

    /// The connection's number, unique in this process.
    #[must_use]
    pub fn connection_id(&self) -> u64 {
        self.connection.id
    }

    /// When the caller gives up, if it set a deadline. The handler is dropped then, at its next await.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The method that is called, as `Store.get`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method.name
    }

    /// Memory for a result of `count` values, as [`Client::alloc`](crate::Client::alloc) gives it for arguments.
    ///
    /// # Errors
    /// As there.
    pub fn alloc<T: Pod>(&self, count: usize) -> Result<Section<T>, Error> {
        Lender::alloc(self.connection.lender.as_ref(), count, false)
    }

    /// Memory for a result of `count` values, as [`Client::alloc_sealed`](crate::Client::alloc_sealed) gives it for arguments. It can be sent on
    /// this connection only, any number of times: keep it under [`Context::connection_id`].
    ///
    /// # Errors
    /// As there.
    pub fn alloc_sealed<T: Pod>(&self, count: usize) -> Result<Section<T>, Error> {
        Lender::alloc(self.connection.lender.as_ref(), count, true)
    }

    /// Memory for `count` words that both sides write, as [`Client::alloc_shared`](crate::Client::alloc_shared) gives it.
    ///
    /// # Errors
    /// As there.
    pub fn alloc_shared<T: Word>(&self, count: usize) -> Result<SharedMut<T>, Error> {
        Lender::alloc_shared(self.connection.lender.as_ref(), count)
    }

    /// What this connection has carried so far: see [`Client::traffic`](crate::Client::traffic).
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.connection.counters.traffic(self.connection.pool.as_ref())
    }

    /// The value of type `T` that `Server::on_connect` attached to this connection, if it did.
    #[must_use]
    pub fn attached<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.connection.attachments.find()
    }

    /// Whether nobody waits for the result any more. An async handler is dropped at its next await anyway; a
    /// `#[rpc(blocking)]` one that works for long looks here from time to time.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }

    /// Completes when nobody waits for the result any more: the caller cancelled, its deadline passed or the
    /// connection ended. The future owns what it needs, so it can move to work that outlives the handler.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let cancellation = self.cancellation.clone();
        std::future::poll_fn(move |cx| cancellation.poll(cx.waker()))
    }
}

/// What all calls of one connection share.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    pub(crate) carrier: Carrier,
    pub(crate) pool: Option<Pool>,
    /// Where memory for results comes from, if there is any and messages can refer to it.
    pub(crate) lender: Option<Lender>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) attachments: Attachments,
}

/// Values that `on_connect` attached to a connection, at most one of a type. They are dropped with the connection,
/// once, after its last handler: that is its rundown.
#[derive(Default)]
pub(crate) struct Attachments(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl Attachments {
    /// Attaches `value`, in place of an earlier one of the same type.
    #[cfg(feature = "tokio")]
    pub(crate) fn attach<T: Any + Send + Sync>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Box::new(value));
    }

    fn find<T: Any>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

impl std::fmt::Debug for Attachments {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Attachments({})", self.0.len())
    }
}

/// Whether a call that is being served was cancelled, and who wants to know.
#[derive(Debug, Default)]
pub(crate) struct Cancellation {
    cancelled: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
    /// Somebody has wanted to know.
    watched: AtomicBool,
}

impl Cancellation {
    /// Cancels, and hands over the wakers of those who want to know.
    pub(crate) fn cancel_into(&self, woken: &mut Vec<Waker>) {
        self.cancelled.store(true, Ordering::Release);
        woken.append(&mut lock(&self.wakers));
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    pub(crate) fn poll(&self, waker: &Waker) -> Poll<()> {
        if self.is_cancelled() {
            return Poll::Ready(());
        }
        self.watched.store(true, Ordering::Relaxed);
        let mut wakers = lock(&self.wakers);
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        // A cancellation between the look above and the lock has drained the list already.
        if self.is_cancelled() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Makes it fit for another call, if nobody else holds it. `other` is the second handle of the same owner, who gets it back. Nothing
    /// is written if the call before was neither cancelled nor watched, which most are not.
    #[cfg(feature = "tokio")]
    pub(crate) fn reset(this: &mut Arc<Self>, other: Arc<Self>) -> Arc<Self> {
        if Arc::strong_count(this) == 2 {
            // Whatever others did with it is seen.
            fence(Ordering::Acquire);
            if !this.cancelled.load(Ordering::Relaxed) && !this.watched.load(Ordering::Relaxed) {
                return other;
            }
        }
        drop(other);
        match Arc::get_mut(this) {
            Some(unique) => {
                *unique.cancelled.get_mut() = false;
                *unique.watched.get_mut() = false;
                unique
                    .wakers
                    .get_mut()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .clear();
            }
            None => *this = Arc::default(),
        }
        this.clone()
    }
}

/// Runs `future` until it is done or the call is cancelled, in which case it is dropped.
#[cfg(feature = "tokio")]
pub(crate) async fn unless_cancelled<F: Future>(
    cancellation: &Cancellation,
    mut future: std::pin::Pin<&mut F>,
) -> Option<F::Output> {
    std::future::poll_fn(|cx| match cancellation.poll(cx.waker()) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(cx).map(Some),
    })
    .await
}
