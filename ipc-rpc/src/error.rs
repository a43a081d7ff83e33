//! Errors: what a call may end with, and who is to blame.

use std::fmt;

/// What kind of failure it was.
///
/// A client does not connect again by itself: once its connection has ended, every further call on it, or on a clone of it,
/// fails for the same reason, with [`Outcome::NotSent`]. Make a new one then, with `connect` or `spawn`. `PeerDied`, `Closed`,
/// `Protocol` and `Forked` always mean that. The others mean it only where they are why the connection ended: `Deadline` if a
/// message took longer than `Limits::message` to arrive, `Busy` if the server has had enough of cancelled calls, `TooLarge`,
/// `Resource` and `Io` if a message could not be received. The sentence tells, and so does the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nobody listens at the endpoint.
    NotConnected,
    /// The server refused the connection, with a reason of its own.
    Rejected,
    /// The system or the server's policy does not let us in.
    Denied,
    /// The peer process ended, or has stopped answering (`keepalive`). Connect again to reach its successor.
    PeerDied,
    /// The connection was closed, by either side, for the reason stated; or the server is shutting down and takes no new
    /// calls. Connect again to reach its successor.
    Closed,
    /// The deadline passed.
    Deadline,
    /// The call was cancelled.
    Cancelled,
    /// The peer does not serve this service.
    UnknownService,
    /// The peer's service has no such method.
    UnknownMethod,
    /// Both sides know the method or service, but not in the same form.
    Incompatible,
    /// This transport, platform or build cannot do it.
    Unsupported,
    /// A message is above a limit.
    TooLarge,
    /// A limit on how much may go on at once is reached.
    Busy,
    /// A resource of this process or machine is used up.
    Resource,
    /// A value could not be encoded.
    Encode,
    /// A value could not be decoded.
    Decode,
    /// The handler panicked.
    Panicked,
    /// The peer broke the protocol; the connection is closed. Connecting again helps if it was an accident.
    Protocol,
    /// Any other failure of the system.
    Io,
    /// The client belongs to the process of which this one is a fork. Connect again here.
    ///
    /// Using or dropping the copy of a client does the parent no harm. Dropping the copy of a Tokio runtime does: its
    /// epoll set is still the parent's, and what the copy takes out of it, the parent's runtime never hears of again: its calls
    /// hang. So a fork of a process that has a runtime should go on to `exec`, or leave with `_exit`, and must not
    /// return from the function that the runtime is dropped in; what it runs asynchronously itself needs a runtime made
    /// after the fork.
    Forked,
}

impl ErrorKind {
    const ALL: [Self; 20] = [
        Self::NotConnected,
        Self::Rejected,
        Self::Denied,
        Self::PeerDied,
        Self::Closed,
        Self::Deadline,
        Self::Cancelled,
        Self::UnknownService,
        Self::UnknownMethod,
        Self::Incompatible,
        Self::Unsupported,
        Self::TooLarge,
        Self::Busy,
        Self::Resource,
        Self::Encode,
        Self::Decode,
        Self::Panicked,
        Self::Protocol,
        Self::Io,
        Self::Forked,
    ];

    /// The kind as it travels in a reply or a close message.
    pub(crate) fn code(self) -> u8 {
        Self::ALL
            .iter()
            .position(|kind| *kind == self)
            .map_or(0, |index| index as u8 + 1)
    }

    /// The kind that a peer named; a code from a newer peer is `Closed` to us.
    pub(crate) fn from_code(code: u8) -> Self {
        Self::ALL
            .get(usize::from(code).wrapping_sub(1))
            .copied()
            .unwrap_or(Self::Closed)
    }
}

/// Whether the call may have had an effect: what a retry depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The request never left this process.
    NotSent,
    /// The peer refused it before its handler ran.
    RejectedByPeer,
    /// It was sent, and nobody can say whether the handler ran, or how far.
    Unknown,
}

/// Why a call, a connection or a server failed. One pointer wide.
///
/// ```
/// use ipc_rpc::{Error, ErrorKind};
/// fn explain(error: &Error) -> &'static str {
///     match error.kind() {
///         ErrorKind::NotConnected => "start the server first",
///         _ if error.is_retryable() => "try again",
///         _ => "give up",
///     }
/// }
/// # let _ = explain;
/// ```
pub struct Error(Box<Repr>);

struct Repr {
    kind: ErrorKind,
    outcome: Outcome,
    method: Option<&'static str>,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Repr {
            kind,
            outcome: Outcome::NotSent,
            method: None,
            message: message.into(),
            source: None,
        }))
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    pub(crate) fn with_method(mut self, method: &'static str) -> Self {
        self.0.method.get_or_insert(method);
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the call may have had an effect.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Whether the same call may be made again with no risk that it runs twice, and may then succeed: it was not
    /// run, and the cause is one that passes.
    ///
    /// It needs a new connection after `PeerDied` and `Closed`, and wherever else the connection has ended (see [`ErrorKind`]): the
    /// same client would give the same error again.
    ///
    /// ```
    /// # #[ipc_rpc::service]
    /// # trait Store { async fn get(&self, key: &str) -> Option<Vec<u8>>; }
    /// use ipc_rpc::{Error, ErrorKind};
    ///
    /// fn get(store: &mut StoreClient, key: &str) -> Result<Option<Vec<u8>>, Error> {
    ///     match store.get(key).wait() {
    ///         Err(error) if error.is_retryable() => {
    ///             if matches!(error.kind(), ErrorKind::PeerDied | ErrorKind::Closed) {
    ///                 *store = StoreClient::connect("store").wait()?;
    ///             }
    ///             store.get(key).wait()
    ///         }
    ///         result => result,
    ///     }
    /// }
    /// # let _ = get;
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        use ErrorKind as K;
        self.0.outcome != Outcome::Unknown
            && matches!(
                self.0.kind,
                K::NotConnected | K::PeerDied | K::Closed | K::Deadline | K::Busy | K::Resource
            )
    }

    /// The method that was called, as `Store.get`, if the failure belongs to a call.
    #[must_use]
    pub fn method(&self) -> Option<&'static str> {
        self.0.method
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

/// The sentence, with kind and outcome behind it: this is what the user of a program reads whose `main` returns the
/// error, or which calls `unwrap`.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} ({:?}, {:?})",
            self.0.message, self.0.kind, self.0.outcome
        )
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl Error {
    /// What a kind of the transports' is called here.
    pub(crate) fn from_transport_kind(kind: transports::ErrorKind) -> ErrorKind {
        use transports::ErrorKind as T;
        match kind {
            T::InvalidEndpoint | T::Unsupported => ErrorKind::Unsupported,
            T::NotConnected => ErrorKind::NotConnected,
            T::InUse => ErrorKind::Busy,
            T::Denied => ErrorKind::Denied,
            T::TooLarge => ErrorKind::TooLarge,
            T::Protocol => ErrorKind::Protocol,
            T::PeerDied => ErrorKind::PeerDied,
            T::Resource => ErrorKind::Resource,
            T::Deadline => ErrorKind::Deadline,
            T::Forked => ErrorKind::Forked,
            _ => ErrorKind::Io,
        }
    }
}

impl From<transports::Error> for Error {
    fn from(error: transports::Error) -> Self {
        let kind = Self::from_transport_kind(error.kind());
        Self::new(kind, error.to_string()).with_source(error)
    }
}

/// What a method that returns `Result<T, E>` gives its caller: the service's own error, or one of the way there.
#[derive(Debug)]
pub enum CallError<E> {
    /// The handler's own `Err`, as it returned it.
    Service(E),
    /// The call did not get through.
    Rpc(Error),
}

impl<E> From<Error> for CallError<E> {
    fn from(error: Error) -> Self {
        Self::Rpc(error)
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(error) => error.fmt(formatter),
            Self::Rpc(error) => error.fmt(formatter),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Service(error) => Some(error),
            Self::Rpc(error) => Some(error),
        }
    }
}
