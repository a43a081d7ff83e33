//! Where a server listens: `scheme:name`, and the settings of one side.
//!
//! - here: the settings;
//! - `address`: what the name comes to, and how it is written;
//! - `parse`: reading it;
//! - `scheme`: the transports, and what each can do.

mod address;
mod parse;
mod scheme;

mod thresholds;

use std::fmt;

use crate::sys;

use address::Detail;
pub(crate) use address::{Address, PipeMode, local_addresses};
pub use scheme::Scheme;

/// Where a server listens and a client connects, with the settings of this side. Cheap to clone.
///
/// | written | what it is |
/// |---|---|
/// | `store` | shared memory, agreed on over a socket in the user's private runtime directory; that socket itself where one side cannot share memory |
/// | `shm:store` | the same, and an error where one side cannot (Linux has it) |
/// | `unix:store` | the socket alone |
/// | `unix:/run/store.sock`, `unix:./store.sock` | a socket at a path, known by its `/`; `shm:` takes paths, too |
/// | `unix:@store` | an abstract name (Linux): no file, any user of the machine can take it; with `shm:`, too |
/// | `pipe:store` | pipes of the user's: FIFOs in the private runtime directory on Unix, a named pipe on Windows |
/// | `pipe:store?mode=message` | the same on Windows, with a message of the pipe for each of ours that has at most 64 KiB with its header; both sides have to say so |
/// | `tcp:7000`, `tcp:localhost:7000`, `tcp:[::1]:7000` | TCP; 127.0.0.1 without a host; port 0 is any free one |
/// | `mem:store` | inside this process |
/// | `exec:PROGRAM ARGUMENTS` | for clients: a child that is started for this connection, and serves it alone |
/// | `fd:3` | a socket that this process was started with: connected, or (for a server) listening |
/// | `fd:inherited` | the connection to whoever started this process as its `exec:` |
/// | `fd:stdio` | standard input and output, as one connection |
///
/// What follows `exec:` is split at blanks into the program, which is looked for as by a shell, and its arguments. There are no
/// quotes, no variables and no shell: where that is not enough, there is [`spawn`](crate::spawn).
///
/// A name has 1 to 64 of the characters `A-Z a-z 0-9 . _ -` and starts with a letter, a digit or `_`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    address: Address,
    message_limit: u32,
    remote_allowed: bool,
    other_users_allowed: bool,
    server_uid: Option<u32>,
    sharing: Sharing,
    wait: Wait,
    direct: bool,
    direct_threshold: u32,
    /// `None` here and below: not set, and each transport has its own.
    pieces_threshold: Option<u32>,
    piece_size: Option<u32>,
    sections_threshold: u32,
    peer_trusted: bool,
}

/// Whether the two sides of a socket share memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sharing {
    /// Never: `unix:`, and what is no socket.
    Declined,
    /// If both can.
    Preferred,
    /// Or there is no connection: `shm:`.
    Required,
}

/// How this side of a connection waits for the other, where the transport leaves a choice: over shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wait {
    /// Looks again and again for about as long as a wake-up by the system takes, if the other side runs on another
    /// processor and has been answering that fast; then sleeps. An idle connection takes no processor time.
    #[default]
    Adaptive,
    /// Never sleeps while it waits for something: the lowest latency, for a processor of its own.
    Spin,
    /// Sleeps at once: the least processor time, at the cost of a wake-up for each message.
    Sleep,
}

impl Endpoint {
    /// The largest body that is sent or received unless [`Endpoint::max_message`] says otherwise: 64 MiB.
    pub const DEFAULT_MESSAGE_LIMIT: usize = 64 << 20;
    /// The largest value of [`Endpoint::max_message`]: 1 GiB.
    pub const HIGHEST_MESSAGE_LIMIT: usize = 1 << 30;
    /// The longest name in bytes, so that a socket's file name fits everywhere.
    pub const LONGEST_NAME: usize = 64;

    /// Sets the largest message body, in bytes, that this side sends or receives. Values above
    /// [`Endpoint::HIGHEST_MESSAGE_LIMIT`] mean that one.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        let bytes = bytes.min(Self::HIGHEST_MESSAGE_LIMIT);
        self.message_limit = u32::try_from(bytes).unwrap_or(u32::MAX);
        self
    }

    /// The largest message body, in bytes, that this side sends or receives.
    #[must_use]
    pub fn message_limit(&self) -> usize {
        self.message_limit as usize
    }

    /// Allows a `tcp:` address that other machines can reach. Nothing on the way is encrypted, and nobody vouches
    /// for who connects.
    #[must_use]
    pub fn allow_remote(mut self) -> Self {
        self.remote_allowed = true;
        self
    }

    /// Whether [`Endpoint::allow_remote`] was said.
    #[must_use]
    pub fn is_remote_allowed(&self) -> bool {
        self.remote_allowed
    }

    /// Lets processes of other users reach a server at a `unix:` path: its socket gets mode 0666 instead of 0600. The
    /// path's directory has to let them through, too. Whom the server then lets in is for its `Server::allow` to say;
    /// without one, it still refuses all but its own user. It means nothing to a client.
    ///
    /// A name cannot be opened like this, nor can a pipe, since their directory is private: listening at one fails with
    /// `InvalidEndpoint`.
    #[must_use]
    pub fn allow_other_users(mut self) -> Self {
        self.other_users_allowed = true;
        self
    }

    /// Whether [`Endpoint::allow_other_users`] was said.
    #[must_use]
    pub fn are_other_users_allowed(&self) -> bool {
        self.other_users_allowed
    }

    /// Says how this side waits over shared memory; [`Wait::Adaptive`] unless it is said. Each side says it for itself, a
    /// server for all connections of the endpoint. Other transports leave no choice, and it means nothing to them.
    ///
    /// ```
    /// use transports::{Endpoint, Wait};
    ///
    /// let endpoint: Endpoint = "store".parse()?;
    /// assert_eq!(endpoint.waits(), Wait::Adaptive);
    /// // A server that should take as little of the processor as it can, at the cost of a wake-up for each message:
    /// let endpoint = endpoint.wait(Wait::Sleep);
    /// assert_eq!(endpoint.waits(), Wait::Sleep);
    /// // It is a setting of this side, and no part of the name.
    /// assert_eq!(endpoint.to_string(), "store");
    /// # Ok::<(), transports::Error>(())
    /// ```
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// How this side waits.
    #[must_use]
    pub fn waits(&self) -> Wait {
        self.wait
    }

    /// Lends sections out in place ([`Lease::bytes`](crate::Lease::bytes)) although the other side could change them, where
    /// they would be copied otherwise. Each side says it for itself, a server for all connections of the endpoint.
    ///
    /// Where both sides say it, a section that one sends whole ([`Chunk::lend`](crate::Chunk::lend)) is the other's to write to
    /// ([`Lease::bytes_mut`](crate::Lease::bytes_mut)) and to send back. For that, the memory in which this side makes its sections is not
    /// sealed against writing by the other. Nothing else of this process can be written by it: the rings of shared memory stay sealed.
    ///
    /// # Safety
    /// No process at the other end of any connection of this endpoint changes a section that it has sent before this side
    /// has given it back, nor looks at one, or lends it again, that it has sent whole. None writes to memory of this side's but to what it was
    /// lent whole, and to that only until it has given or sent it back, or the connection has ended. Programs that use this crate and have no bug that overwrites
    /// memory do all of that; but whoever the system lets connect has to be such a program.
    #[must_use]
    pub unsafe fn trust_peer(mut self) -> Self {
        self.peer_trusted = true;
        self
    }

    /// Whether [`Endpoint::trust_peer`] was said.
    #[must_use]
    pub fn is_peer_trusted(&self) -> bool {
        self.peer_trusted
    }

    /// Makes a client refuse a `shm:`, `unix:` or `pipe:` server that runs as another user than `uid` (or root). Without it, that user
    /// is one's own for names, plain and abstract; for a path, any user is accepted.
    #[must_use]
    pub fn expect_server(mut self, uid: u32) -> Self {
        self.server_uid = Some(uid);
        self
    }

    /// The user that a client expects the server to run as (root is accepted too); `None` for any.
    #[must_use]
    pub fn expected_server(&self) -> Option<u32> {
        match self.address {
            Address::Name(_) | Address::Abstract(_) | Address::Pipe { .. } => {
                self.server_uid.or_else(sys::user)
            }
            Address::Path(_) => self.server_uid,
            Address::Memory(_)
            | Address::Tcp { .. }
            | Address::Exec(_)
            | Address::Descriptor(_)
            | Address::Inherited
            | Address::Stdio => None,
        }
    }

    /// The transport, as it is written; `unix` for a name without one. [`Port::carrier`](crate::Port::carrier) tells what it
    /// came to be.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        match self.address {
            Address::Memory(_) => Scheme::Memory,
            Address::Name(_) | Address::Path(_) | Address::Abstract(_)
                if self.sharing == Sharing::Required =>
            {
                Scheme::SharedMemory
            }
            Address::Name(_) | Address::Path(_) | Address::Abstract(_) => Scheme::Unix,
            Address::Pipe { .. } => Scheme::Pipe,
            Address::Tcp { .. } => Scheme::Tcp,
            Address::Exec(_) => Scheme::Exec,
            Address::Descriptor(_) | Address::Inherited | Address::Stdio => Scheme::Inherited,
        }
    }

    /// The connection to whoever started this process as its child: `fd:inherited`.
    #[must_use]
    pub fn inherited() -> Self {
        Self::new(Address::Inherited)
    }

    /// Standard input and output: `fd:stdio`.
    #[must_use]
    pub fn stdio() -> Self {
        Self::new(Address::Stdio)
    }

    /// The endpoint as the system knows it: for a name the full path of its socket or pipe, else as it is written.
    pub fn detail(&self) -> impl fmt::Display {
        Detail(self.address.clone())
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// The same, sharing memory with those clients who can.
    pub(crate) fn prefer_sharing(mut self) -> Self {
        self.sharing = Sharing::Preferred;
        self
    }

    /// How messages call it: `"store" (unix:/run/user/1000/ipc-rpc/store.sock)`, or as written between quotes.
    pub(crate) fn described(&self) -> String {
        match &self.address {
            Address::Name(name) => format!("\"{name}\" ({})", self.detail()),
            Address::Pipe { .. } => format!("\"{self}\" ({})", self.detail()),
            _ => format!("\"{self}\""),
        }
    }

    /// The short form of [`Endpoint::described`]: `"store"`.
    pub(crate) fn quoted(&self) -> String {
        match &self.address {
            Address::Name(name) => format!("\"{name}\""),
            _ => format!("\"{self}\""),
        }
    }

    pub(crate) fn with_tcp_port(&self, port: u16) -> Self {
        let mut resolved = self.clone();
        if let Address::Tcp { port: slot, .. } = &mut resolved.address {
            *slot = port;
        }
        resolved
    }

    /// The peer of an unnamed pair.
    pub(crate) fn memory(name: &str, max_message: usize) -> Self {
        Self::new(Address::Memory(name.into())).max_message(max_message)
    }

    /// The same settings for another address.
    pub(crate) fn at(&self, address: Address) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    pub(crate) fn new(address: Address) -> Self {
        let unset = Self {
            address,
            message_limit: 0,
            remote_allowed: false,
            other_users_allowed: false,
            server_uid: None,
            sharing: Sharing::Declined,
            wait: Wait::default(),
            direct: false,
            direct_threshold: 0,
            pieces_threshold: None,
            piece_size: None,
            sections_threshold: 0,
            peer_trusted: false,
        };
        unset
            .max_message(Self::DEFAULT_MESSAGE_LIMIT)
            .direct_from(Self::DIRECT_THRESHOLD)
            .sections_from(Self::SECTIONS_THRESHOLD)
    }
}

impl From<&Endpoint> for Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        endpoint.clone()
    }
}

/// As it is written, with its scheme; reading it back gives the same endpoint, with default settings.
impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, self.sharing) {
            (Address::Name(name), Sharing::Preferred) => formatter.write_str(name),
            (address, Sharing::Required) => {
                let written = address.to_string();
                let name = written.strip_prefix("unix:").unwrap_or(&written);
                write!(formatter, "{}:{name}", Scheme::SharedMemory)
            }
            (address, _) => fmt::Display::fmt(address, formatter),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            message_limit,
            remote_allowed,
            other_users_allowed,
            server_uid,
            sharing,
            wait,
            direct,
            direct_threshold,
            pieces_threshold,
            piece_size,
            sections_threshold,
            peer_trusted,
        } = self;
        formatter
            .debug_struct("Endpoint")
            .field("address", &format_args!("{address}"))
            .field("sharing", sharing)
            .field("max_message", message_limit)
            .field("allow_remote", remote_allowed)
            .field("allow_other_users", other_users_allowed)
            .field("expect_server", server_uid)
            .field("wait", wait)
            .field("direct", direct)
            .field("direct_from", direct_threshold)
            .field("pieces_from", pieces_threshold)
            .field("piece_of", piece_size)
            .field("sections_from", sections_threshold)
            .field("trust_peer", peer_trusted)
            .finish()
    }
}
