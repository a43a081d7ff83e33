//! The server's half of a call: a request becomes a running handler, the handler's value becomes a reply.
//!
//! The attribute macro implements [`Service`]; what it calls is here. A service's `dispatch` is one future type, so a
//! [`Handler`] keeps a box of it that is refilled from call to call: nothing is allocated once it is warm.

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use transports::{Lease, buffers};

use crate::call::delivered;
use crate::codec::arguments::{ArgumentTuple, Arguments};
use crate::codec::shape::{EncodeAs, Leaf, Ref};
use crate::codec::{CodecErrorKind, Extras, MOVED};
use crate::context::{Cancellation, ConnectionInfo};
use crate::section::{Attached, Lender};
use crate::{Codec, Context, Error, ErrorKind, Limits, MethodInfo, Outcome, ServiceInfo};

/// A service that a server can serve; `#[ipc_rpc::service]` on `trait Store` implements it for `StoreServer<T>`.
pub trait Service: Clone + Send + Sync + 'static {
    /// What the trait declares.
    const INFO: &'static ServiceInfo;

    /// Runs the handler of one request to its end.
    #[doc(hidden)]
    fn dispatch(self, incoming: Incoming) -> impl Future<Output = Incoming> + Send + 'static;

    /// Whether it refuses to be served where the transport cannot tell who calls.
    #[doc(hidden)]
    fn requires_identity(&self) -> bool {
        false
    }
}

/// A request on its way through a handler: what came in, and what goes back.
pub struct Incoming(Box<State>);

struct State {
    context: Context,
    codec: Codec,
    limits: Limits,
    body: Vec<u8>,
    sections: Vec<Lease>,
    reply: Reply,
}

impl Incoming {
    pub(crate) fn new(
        connection: Arc<ConnectionInfo>,
        codec: Codec,
        limits: Limits,
        max_reply: usize,
    ) -> Self {
        let lender = connection.lender.clone();
        Self(Box::new(State {
            context: Context {
                connection,
                method: &NO_METHOD,
                deadline: None,
                cancellation: Arc::default(),
            },
            codec,
            limits,
            body: Vec::new(),
            sections: Vec::new(),
            reply: Reply {
                codec,
                limit: max_reply,
                lender,
                head: None,
                body: Vec::new(),
                attached: Attached::default(),
                failure: None,
            },
        }))
    }

    /// Makes it ready for another call: `body` and `sections` are taken, and an old buffer left in place of the one. `cancellation` is
    /// what [`Incoming::cancellation`] gave for the call before; that of this one is returned.
    pub(crate) fn refill(
        &mut self,
        cancellation: Arc<Cancellation>,
        method: &'static MethodInfo,
        deadline: Option<std::time::Instant>,
        body: &mut Vec<u8>,
        sections: Vec<Lease>,
    ) -> Arc<Cancellation> {
        let state = &mut *self.0;
        state.context.method = method;
        state.context.deadline = deadline;
        let cancellation = Cancellation::reset(&mut state.context.cancellation, cancellation);
        std::mem::swap(&mut state.body, body);
        state.sections = sections;
        state.reply.clear();
        state.reply.failure = None;
        cancellation
    }

    pub(crate) fn cancellation(&self) -> Arc<Cancellation> {
        self.0.context.cancellation.clone()
    }

    pub(crate) fn reply_mut(&mut self) -> &mut Reply {
        &mut self.0.reply
    }

    /// Gives back buffers of more than `capacity` bytes, once the call is answered.
    pub(crate) fn shrink(&mut self, capacity: usize) {
        for buffer in [&mut self.0.body, &mut self.0.reply.body] {
            if buffer.capacity() > capacity {
                buffers::give(std::mem::take(buffer));
            }
        }
    }

    /// The ordinal of the method that is called.
    #[must_use]
    pub fn ordinal(&self) -> u64 {
        self.0.context.method.ordinal
    }

    /// The three things a handler needs, apart, so that arguments can be borrowed while the reply is written.
    pub fn parts(&mut self) -> (&Context, Payload<'_>, &mut Reply) {
        let state = &mut *self.0;
        (
            &state.context,
            Payload {
                codec: state.codec,
                limits: &state.limits,
                body: &state.body,
                sections: std::mem::take(&mut state.sections),
                // No connection has the number zero, and what carries no memory needs none.
                origin: state.reply.lender.as_ref().map_or(0, Lender::origin),
            },
            &mut state.reply,
        )
    }

    /// Ends a request for an ordinal that `dispatch` has no arm for.
    #[must_use]
    pub fn unknown(mut self) -> Self {
        self.0.sections = Vec::new();
        let sentence = format!("the service has no method {}", self.0.context.method.name);
        self.0
            .reply
            .fail(Error::new(ErrorKind::UnknownMethod, sentence).with_outcome(Outcome::RejectedByPeer));
        self
    }
}

static NO_METHOD: MethodInfo = MethodInfo {
    name: "",
    ordinal: 0,
    fingerprint: 0,
    signature: "",
    arguments: &[],
    one_way: false,
    docs: "",
};

/// The encoded arguments of a request.
pub struct Payload<'a> {
    codec: Codec,
    limits: &'a Limits,
    body: &'a [u8],
    sections: Vec<Lease>,
    /// The number of the connection that they came on.
    origin: u64,
}

impl<'a> Payload<'a> {
    /// Decodes all arguments, borrowing text and bytes from the message where the codec allows.
    ///
    /// # Errors
    /// `Decode`: the message is not what the signature says, or breaks the decoder's budget.
    pub fn read<A: ArgumentTuple<'a>>(self, method: &'static MethodInfo) -> Result<A::Values, Error> {
        let seed = Arguments::<PhantomData<A>>::expecting(method.arguments);
        let budget = self.limits.budget(self.body.len());
        let sections = delivered(self.sections, self.origin, self.limits);
        let values = self.codec.decode_seed(self.body, seed, &budget, sections);
        values.map_err(|error| {
            let sentence = format!("the arguments do not match {}: {error}", method.signature);
            Error::new(ErrorKind::Decode, sentence).with_outcome(Outcome::RejectedByPeer)
        })
    }
}

/// What goes back to the caller.
pub struct Reply {
    codec: Codec,
    limit: usize,
    lender: Option<Lender>,
    /// What precedes the body, if that is the handler's own byte string.
    head: Option<[u8; 8]>,
    body: Vec<u8>,
    attached: Attached,
    failure: Option<Error>,
}

impl Reply {
    /// Encodes the handler's value, or takes it as it is if it is a large byte string.
    pub fn write<S: EncodeAs<T>, T>(&mut self, value: T) {
        let Err(mut value) = self.take::<S, T>(value) else {
            return;
        };
        self.clear();
        S::settle(&mut value);
        let value = Ref::<S, T>::new(&value);
        let extras = Extras {
            lent: None,
            lender: self.lender.as_ref().filter(|_| self.codec == Codec::Bincode),
        };
        let encoded = self.codec.encode_with(&value, &mut self.body, self.limit, extras);
        match encoded {
            Ok(beside) => self.attached = beside.attached,
            Err(error) => self.fail(match error.kind {
                CodecErrorKind::TooLarge { .. } => Error::new(
                    ErrorKind::TooLarge,
                    format!(
                        "the result is {error} on this connection; raise Endpoint::max_message of the client"
                    ),
                ),
                _ => Error::new(ErrorKind::Encode, format!("the result cannot be sent: {error}")),
            }),
        }
    }

    /// Takes a large byte string to send it from where it is; gives back any other value.
    fn take<S: EncodeAs<T>, T>(&mut self, value: T) -> Result<(), T> {
        let Some(head) = self.codec.bytes_head(0) else {
            return Err(value);
        };
        let bytes = S::into_bytes(value, MOVED..=self.limit.saturating_sub(head.len()))?;
        self.head = self.codec.bytes_head(bytes.len());
        self.body = bytes;
        Ok(())
    }

    /// Ends the call with an error instead of a value.
    pub fn fail(&mut self, error: Error) {
        self.clear();
        self.failure = Some(error);
    }

    fn clear(&mut self) {
        self.head = None;
        self.body.clear();
        self.attached = Attached::default();
    }

    /// Ends a one-way call.
    pub fn done(&mut self) {
        self.write::<Leaf<false>, ()>(());
    }

    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// The encoded value, in two parts, and what is attached to it.
    pub(crate) fn parts_mut(&mut self) -> (&[u8], &mut Vec<u8>, Attached) {
        let attached = std::mem::take(&mut self.attached);
        (
            self.head.as_ref().map_or(&[], |head| head),
            &mut self.body,
            attached,
        )
    }
}

/// Runs a `#[rpc(blocking)]` handler on Tokio's pool of blocking threads. If the call is cancelled meanwhile, the work
/// goes on to its end and its result is dropped; the handler can look at `Context::is_cancelled`.
pub async fn run_blocking<F: FnOnce(&mut Incoming) + Send + 'static>(
    mut incoming: Incoming,
    work: F,
) -> Incoming {
    let work = tokio::task::spawn_blocking(move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&mut incoming))) {
            incoming.reply_mut().fail(panicked(&*panic));
        }
        incoming
    });
    match work.await {
        Ok(incoming) => incoming,
        // The pool gives up a closure only when its runtime shuts down, and then this future is dropped, too.
        Err(_) => std::future::pending().await,
    }
}

/// A service whose type is forgotten, so that a server can hold several.
pub(crate) trait AnyService: Send + Sync {
    fn info(&self) -> &'static ServiceInfo;
    fn requires_identity(&self) -> bool;
    fn handler(&self) -> Box<dyn Handler>;
}

impl<S: Service> AnyService for S {
    fn info(&self) -> &'static ServiceInfo {
        S::INFO
    }

    fn requires_identity(&self) -> bool {
        Service::requires_identity(self)
    }

    fn handler(&self) -> Box<dyn Handler> {
        Box::new(Slot {
            service: self.clone(),
            dispatch: S::dispatch,
            future: Box::pin(None),
        })
    }
}

/// A place for one running handler of one service, reused from call to call.
pub(crate) trait Handler: Send {
    /// Puts a request in. Nothing of the user's runs yet.
    fn begin(&mut self, incoming: Incoming);

    /// Polls the handler. A panic in it is an error of the call; the request's own buffers are lost with it.
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Incoming, Error>>;

    /// Drops the handler where it stands.
    fn abandon(&mut self);
}

struct Slot<S, D, F> {
    service: S,
    dispatch: D,
    future: Pin<Box<Option<F>>>,
}

impl<S, D, F> Handler for Slot<S, D, F>
where
    S: Clone + Send,
    D: Fn(S, Incoming) -> F + Send,
    F: Future<Output = Incoming> + Send,
{
    fn begin(&mut self, incoming: Incoming) {
        let future = (self.dispatch)(self.service.clone(), incoming);
        self.future.set(Some(future));
    }

    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Incoming, Error>> {
        let future = &mut self.future;
        let polled = catch_unwind(AssertUnwindSafe(|| match future.as_mut().as_pin_mut() {
            Some(running) => {
                let ended = running.poll(cx);
                if ended.is_ready() {
                    future.set(None);
                }
                ended
            }
            None => Poll::Pending,
        }));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => {
                self.abandon();
                Poll::Ready(Err(panicked(&*panic)))
            }
        }
    }

    fn abandon(&mut self) {
        let future = &mut self.future;
        // What the handler held may panic as it is dropped; `set` has emptied the place by then.
        let _ = catch_unwind(AssertUnwindSafe(|| future.set(None)));
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(
        ErrorKind::Panicked,
        format!("the handler panicked: {text}; the server is still running"),
    )
}
