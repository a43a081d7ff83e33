//! A call: made by a client's method, sent when it is first polled or waited for, cancelled when it is dropped.

use std::fmt;
use std::time::{Duration, Instant};

use crate::blocking::{self, Look};
use crate::codec::arguments::{ArgumentValues, Arguments};
use crate::codec::shape::{DecodeAs, Owned};
use crate::codec::{Budget, CodecErrorKind, MOVED};
use crate::connection::{ReplyStatus, sentence_from_peer};
use crate::link::{Ended, Link, Pending, Request, Start};
use crate::waitlist::Ticket;
use crate::{Client, Codec, Error, ErrorKind, Limits, MethodInfo, Outcome};

/// A method with the arguments of one call; the attribute macro implements it.
pub trait Method: Send {
    /// What the trait's method returns.
    type Returns;
    /// What the caller gets: that, and what may go wrong on the way.
    type Output;
    /// What the trait declares.
    const INFO: &'static MethodInfo;
    /// Encodes the arguments.
    #[doc(hidden)]
    fn encode(&self, arguments: Encode<'_>) -> Result<(), Error>;
    /// Decodes the reply.
    #[doc(hidden)]
    fn decode(reply: Decode<'_>) -> Result<Self::Returns, Error>;
    /// Puts the service's own errors and ours together.
    #[doc(hidden)]
    fn finish(result: Result<Self::Returns, Error>) -> Self::Output;
}

/// A call of a service's method. End it with `.await` (in a Tokio runtime) or with [`Call::wait`] (anywhere else).
///
/// Nothing is sent before the first poll or `wait`: only then are the arguments encoded. Calls that are polled
/// together travel together on one connection, and their replies come in any order. Dropping a call that has been sent
/// cancels it: its handler is dropped at its next await.
///
/// There is no deadline unless one is set, here or with the client's `with_timeout`.
#[must_use = "a call does nothing until it is awaited or waited for"]
pub struct Call<'a, M> {
    client: &'a Client,
    method: M,
    timeout: Option<Duration>,
    state: State,
    #[cfg(feature = "tokio")]
    timer: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

enum State {
    Fresh,
    /// Encoded, and waiting for room.
    Encoded {
        request: Request,
        body: Vec<u8>,
        ticket: Option<Ticket>,
    },
    Sent(Pending),
    /// One-way, and not yet taken by the system.
    Posted(Request),
    Done,
}

/// What one step of a call came to.
enum Step<T> {
    Ended(T),
    /// Sent, or waiting for room: the waker is where the news will come from.
    Waiting,
}

impl<'a, M: Method> Call<'a, M> {
    #[doc(hidden)]
    pub fn new(client: &'a Client, method: M) -> Self {
        Self {
            client,
            method,
            timeout: client.timeout(),
            state: State::Fresh,
            #[cfg(feature = "tokio")]
            timer: None,
        }
    }

    /// Gives the call a deadline, counted from when it is first polled or waited for. The server sees it, too, and drops
    /// the handler when it passes. It replaces the client's own.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Makes the call and blocks the thread until it has ended. No runtime is needed; the I/O is done by this thread.
    /// A one-way call has ended when the system has taken all of it.
    ///
    /// # Errors
    /// Those of the call, and `Unsupported` on a thread that a Tokio runtime needs for other tasks: await there, or
    /// use `spawn_blocking`.
    pub fn wait(mut self) -> M::Output {
        let result = self.wait_inner();
        M::finish(result.map_err(|error| error.with_method(M::INFO.name)))
    }

    fn wait_inner(&mut self) -> Result<M::Returns, Error> {
        blocking::may_block("Call::wait()")?;
        let link = self.client.link();
        link.check_ours()?;
        if let State::Fresh = self.state {
            self.encode()?;
        }
        let ended = blocking::block_until(link, |out, waker| match self.step(out, waker, true) {
            Ok(Step::Ended(ended)) => Look::Done(Ok(ended)),
            Ok(Step::Waiting) => {
                let deadline = self.deadline();
                match deadline {
                    Some(deadline) if Instant::now() >= deadline => Look::Done(Err(self.timed_out(None))),
                    deadline => Look::NotYet(deadline),
                }
            }
            Err(error) => Look::Done(Err(error)),
        });
        self.conclude(ended?)
    }

    /// Encodes the arguments, outside of every lock: this runs the user's code.
    fn encode(&mut self) -> Result<(), Error> {
        let info = M::INFO;
        let (codec, limit) = self.client.check(info)?;
        let link = self.client.link();
        let mut body = link.buffer();
        body.clear();
        self.method.encode(Encode {
            codec,
            limit,
            info,
            body: &mut body,
        })?;
        let deadline = self
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        let request = Request {
            ordinal: info.ordinal,
            one_way: info.one_way,
            deadline,
        };
        self.state = State::Encoded {
            request,
            body,
            ticket: None,
        };
        Ok(())
    }

    /// Until when the call itself must watch the clock: once it is sent, the connection does.
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Encoded { request, .. } | State::Posted(request) => request.deadline,
            _ => None,
        }
    }

    /// Goes as far as it goes without waiting. `flush`: nobody else will.
    fn step(
        &mut self,
        out: &mut crate::link::Out,
        waker: &std::task::Waker,
        flush: bool,
    ) -> Result<Step<Option<Ended>>, Error> {
        let link = self.client.link();
        if let State::Encoded {
            request,
            body,
            ticket,
        } = &mut self.state
        {
            let started = out.start(link, request, body);
            let waited = ticket.is_some();
            if !matches!(started, Ok(Start::Wait)) {
                if let Some(ticket) = ticket.take() {
                    let next = out.room.leave(ticket).or_else(|| out.next_with_room(link));
                    if let Some(waker) = next {
                        waker.wake();
                    }
                }
                let body = std::mem::take(body);
                match &started {
                    Ok(Start::Sent(call)) if Link::keeps(&body) => out.calls.lend(*call, body),
                    _ => link.recycle(body),
                }
            }
            match started {
                Ok(Start::Wait) => {
                    out.room.wait(ticket, waker);
                    return Ok(Step::Waiting);
                }
                Ok(Start::Posted) => self.state = State::Posted(*request),
                Ok(Start::Sent(call)) => self.state = State::Sent(call),
                Err(error) if error.kind() == ErrorKind::Deadline => return Err(self.too_late(waited)),
                Err(error) => return Err(error),
            }
            out.flush_call(link, flush);
        }
        match self.state {
            State::Sent(call) => {
                let Some(ended) = out.calls.take_ended(call, waker) else {
                    return Ok(Step::Waiting);
                };
                self.state = State::Done;
                Ok(Step::Ended(Some(ended)))
            }
            State::Posted(_) => {
                // Without a driver, nobody may come by to send the rest.
                if flush && out.wait_to_be_sent(waker) {
                    return Ok(Step::Waiting);
                }
                self.state = State::Done;
                Ok(Step::Ended(None))
            }
            State::Fresh | State::Encoded { .. } => Ok(Step::Waiting),
            State::Done => {
                let sentence = "this call has already given its result";
                Err(Error::new(ErrorKind::Closed, sentence))
            }
        }
    }

    /// Turns the end of the call into its result, outside of every lock: this runs the user's code.
    fn conclude(&self, ended: Option<Ended>) -> Result<M::Returns, Error> {
        let info = M::INFO;
        let link = self.client.link();
        match ended {
            // A one-way call: its value is `()`, which every codec reads from its own unit.
            None => M::decode(Decode {
                codec: Codec::Bincode,
                limits: &link.limits,
                info,
                body: &mut Vec::new(),
            }),
            Some(Ended::Reply {
                status: ReplyStatus::Ok,
                mut body,
                ..
            }) => {
                let value = M::decode(Decode {
                    codec: self.client.codec(),
                    limits: &link.limits,
                    info,
                    body: &mut body,
                });
                link.recycle(body);
                value
            }
            Some(Ended::Reply {
                status: ReplyStatus::Failed(ErrorKind::Deadline),
                extra,
                ..
            }) => Err(self.timed_out(Some(Duration::from_nanos(extra)))),
            Some(Ended::Reply {
                status: ReplyStatus::Failed(kind),
                body,
                ..
            }) => Err(reported(kind, info, &body).with_outcome(Outcome::Unknown)),
            Some(Ended::Reply {
                status: ReplyStatus::Refused(kind),
                body,
                ..
            }) => Err(reported(kind, info, &body).with_outcome(Outcome::RejectedByPeer)),
            Some(Ended::Expired) => Err(self.timed_out(None)),
            Some(Ended::Lost { may_have_run: false }) => {
                let error = link.out().closed_error(link, Outcome::RejectedByPeer);
                let sentence = format!("{}: {error}, before it had read this call", info.name);
                Err(Error::new(error.kind(), sentence)
                    .with_outcome(Outcome::RejectedByPeer)
                    .with_source(error))
            }
            Some(Ended::Lost { .. } | Ended::Pong) => {
                let error = link.out().closed_error(link, Outcome::Unknown);
                let sentence = match link.child() {
                    Some(_) if error.kind() == ErrorKind::PeerDied => {
                        format!("{}: {error} while handling this call", info.name)
                    }
                    _ => format!("{}: {error}, while this call was in progress", info.name),
                };
                Err(Error::new(error.kind(), sentence)
                    .with_outcome(Outcome::Unknown)
                    .with_source(error))
            }
        }
    }

    fn timed_out(&self, in_handler: Option<Duration>) -> Error {
        let name = M::INFO.name;
        let after = shown(self.timeout.unwrap_or_default());
        let (sentence, outcome) = match (in_handler, &self.state) {
            (Some(time), _) => (
                format!(
                    "{name} timed out after {after} ({} of it inside the server's handler)",
                    shown(time)
                ),
                Outcome::Unknown,
            ),
            (None, State::Encoded { .. }) => return self.too_late(true),
            (None, _) => (format!("{name} timed out after {after}"), Outcome::Unknown),
        };
        Error::new(ErrorKind::Deadline, sentence).with_outcome(outcome)
    }

    /// Timed out before it was sent; `waited` for room until then.
    fn too_late(&self, waited: bool) -> Error {
        let name = M::INFO.name;
        let after = shown(self.timeout.unwrap_or_default());
        let why = if waited { ": too much is in flight" } else { "" };
        let sentence = format!("{name} timed out after {after}, before it could be sent{why}");
        Error::new(ErrorKind::Deadline, sentence).with_outcome(Outcome::NotSent)
    }
}

#[cfg(feature = "tokio")]
impl<M: Method> std::future::Future for Call<'_, M> {
    type Output = M::Output;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.poll_inner(cx)
            .map(|result| M::finish(result.map_err(|error| error.with_method(M::INFO.name))))
    }
}

#[cfg(feature = "tokio")]
impl<M: Method> Call<'_, M> {
    fn poll_inner(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<M::Returns, Error>> {
        use std::future::Future;
        use std::task::Poll;
        self.client.link().check_ours()?;
        if let State::Fresh = self.state {
            self.encode()?;
        }
        let link = self.client.shared_link();
        let stepped = {
            let mut out = link.out();
            crate::driver::ensure(link, &mut out)?;
            self.step(&mut out, cx.waker(), false)?
        };
        if let Step::Ended(ended) = stepped {
            return Poll::Ready(self.conclude(ended));
        }
        if let (State::Sent(call), true) = (&self.state, crate::in_place::pays(link)) {
            let call = *call;
            // Calls that never wait would keep their thread to themselves.
            match tokio::task::coop::poll_proceed(cx) {
                Poll::Ready(progress) => {
                    let ended = crate::in_place::wait(link, |out| out.calls.take_ended(call, cx.waker()));
                    if let Some(ended) = ended {
                        progress.made_progress();
                        self.state = State::Done;
                        return Poll::Ready(self.conclude(Some(ended)));
                    }
                }
                // It has woken this task, which will look in a moment.
                Poll::Pending => {}
            }
        }
        if let Some(deadline) = self.deadline() {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(self.timed_out(None)));
            }
        }
        Poll::Pending
    }
}

// The arguments are only ever borrowed, never pinned.
impl<M> Unpin for Call<'_, M> {}

impl<M> Drop for Call<'_, M> {
    fn drop(&mut self) {
        let link = self.client.link();
        if !link.is_ours() {
            return;
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Sent(call) => link.cancel(call),
            State::Encoded { body, ticket, .. } => {
                link.recycle(body);
                let next = ticket.and_then(|ticket| link.out().room.leave(ticket));
                if let Some(waker) = next {
                    waker.wake();
                }
            }
            State::Fresh | State::Posted(_) | State::Done => {}
        }
    }
}

impl<M: Method> fmt::Debug for Call<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Fresh => "not sent",
            State::Encoded { .. } => "waiting for room",
            State::Sent(_) => "sent",
            State::Posted(_) => "being sent",
            State::Done => "done",
        };
        formatter
            .debug_struct("Call")
            .field("method", &M::INFO.name)
            .field("state", &state)
            .finish()
    }
}

/// Where a call's arguments are encoded to.
pub struct Encode<'a> {
    codec: Codec,
    limit: usize,
    info: &'static MethodInfo,
    body: &'a mut Vec<u8>,
}

impl Encode<'_> {
    /// Encodes all arguments, a tuple of references with their shapes.
    ///
    /// # Errors
    /// `Encode` if a value refuses, `TooLarge` if it does not fit into a message of this connection.
    pub fn write<A: ArgumentValues>(self, values: A) -> Result<(), Error> {
        let Self {
            codec,
            limit,
            info,
            body,
        } = self;
        codec
            .encode(&Arguments::new(info.arguments, &values), body, limit)
            .map_err(|error| match error.kind {
                CodecErrorKind::TooLarge { .. } => Error::new(
                    ErrorKind::TooLarge,
                    format!(
                        "{} argument is {error} on this connection; raise Endpoint::max_message",
                        info.name
                    ),
                ),
                _ => Error::new(ErrorKind::Encode, format!("{}: {error}", info.name)),
            })
    }
}

/// The encoded value of a reply.
pub struct Decode<'a> {
    codec: Codec,
    limits: &'a Limits,
    info: &'static MethodInfo,
    /// Empty afterwards if the value was made of it.
    body: &'a mut Vec<u8>,
}

impl Decode<'_> {
    /// Decodes the value.
    ///
    /// # Errors
    /// `Decode`: the reply is not what the signature says, or breaks the decoder's budget.
    pub fn read<S, T>(self) -> Result<T, Error>
    where
        S: for<'de> DecodeAs<'de, T>,
    {
        let budget = self.limits.budget(self.body.len());
        if self.may_move(&budget) {
            if let Some(start) = self.codec.bytes_start(self.body) {
                match S::from_bytes(std::mem::take(self.body), start) {
                    Ok(value) => return Ok(value),
                    Err(body) => *self.body = body,
                }
            }
        }
        let value: Owned<S, T> = self.codec.decode(self.body, &budget).map_err(|error| {
            let sentence = format!(
                "{}: the reply does not match {}: {error}",
                self.info.name, self.info.signature
            );
            Error::new(ErrorKind::Decode, sentence).with_outcome(Outcome::Unknown)
        })?;
        Ok(value.into_inner())
    }
}

impl Decode<'_> {
    /// Whether the caller may have the body's own memory: not if most of it is spare.
    fn may_move(&self, budget: &Budget) -> bool {
        let length = self.body.len();
        length >= MOVED && length <= budget.heap && self.body.capacity() / 2 <= length
    }
}

/// Tells the two types of a `Result` that the macro sees only under an alias.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Result`",
    label = "the method is said to return an alias of `Result`",
    note = "only an alias of `Result` may end in that word, and only its methods may be `#[rpc(result)]`"
)]
pub trait ResultType {
    /// The value.
    type Ok;
    /// The service's own error.
    type Err;
}

impl<T, E> ResultType for Result<T, E> {
    type Ok = T;
    type Err = E;
}

/// Puts a service's own error and ours into one type.
pub fn flatten<T, E>(result: Result<Result<T, E>, Error>) -> Result<T, crate::CallError<E>> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(crate::CallError::Service(error)),
        Err(error) => Err(crate::CallError::Rpc(error)),
    }
}

/// An error that the peer reported instead of a value.
fn reported(kind: ErrorKind, info: &'static MethodInfo, sentence: &[u8]) -> Error {
    Error::new(kind, format!("{}: {}", info.name, sentence_from_peer(sentence)))
}

/// A time as people read it: `50 ms`.
fn shown(time: Duration) -> String {
    let nanoseconds = time.as_nanos();
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{} µs", nanoseconds / 1_000),
        1_000_000..10_000_000_000 => format!("{} ms", nanoseconds / 1_000_000),
        _ => format!("{} s", nanoseconds / 1_000_000_000),
    }
}
