//! What goes wrong on the way between two processes.

use std::fmt;
use std::io;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The endpoint is not written as an endpoint is, or names a thing that cannot be one.
    InvalidEndpoint,
    /// Nobody listens there.
    NotConnected,
    /// Somebody listens there already.
    InUse,
    /// The system or the other side does not let us in.
    Denied,
    /// This transport or platform cannot do it.
    Unsupported,
    /// A message is above the limit.
    TooLarge,
    /// The other side broke the rules of the channel.
    Protocol,
    /// The other side ended in the middle of something.
    PeerDied,
    /// A resource of this process or machine is used up.
    Resource,
    /// It took longer than allowed.
    Deadline,
    /// The connection belongs to the process of which this one is a fork.
    Forked,
    /// Any other failure of the system.
    Io,
}

/// A failure of a transport: its kind, a sentence that says what, where and what to do, and the system's own error.
#[derive(Debug)]
pub struct Error(Box<Repr>);

#[derive(Debug)]
struct Repr {
    kind: ErrorKind,
    message: String,
    source: Option<io::Error>,
}

impl Error {
    /// An error with a sentence of its own.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Repr {
            kind,
            message: message.into(),
            source: None,
        }))
    }

    /// The same error with the system's own as its source; its text is added after the sentence.
    #[must_use]
    pub fn with_source(mut self, source: io::Error) -> Self {
        self.0.source = Some(source);
        self
    }

    /// An error of the system: the kind is taken from it, `doing` says what was tried.
    #[must_use]
    pub fn system(doing: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            _ if crate::sys::is_exhaustion(&source) => ErrorKind::Resource,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
                ErrorKind::PeerDied
            }
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            io::ErrorKind::OutOfMemory | io::ErrorKind::QuotaExceeded => ErrorKind::Resource,
            io::ErrorKind::AddrInUse => ErrorKind::InUse,
            io::ErrorKind::ConnectionRefused => ErrorKind::NotConnected,
            io::ErrorKind::TimedOut => ErrorKind::Deadline,
            io::ErrorKind::Unsupported => ErrorKind::Unsupported,
            io::ErrorKind::InvalidData => ErrorKind::Protocol,
            _ => ErrorKind::Io,
        };
        Self::new(kind, doing).with_source(source)
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(formatter, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}
