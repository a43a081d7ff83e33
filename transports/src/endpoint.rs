//! Where a server listens: `scheme:name`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use crate::{Error, ErrorKind, sys};

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

/// The transport that an endpoint names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `mem:`, inside one process.
    Memory,
    /// `shm:`, shared memory.
    SharedMemory,
    /// `unix:`, a Unix domain socket.
    Unix,
    /// `pipe:`, a pair of FIFOs for each connection on Unix, a named pipe on Windows.
    Pipe,
    /// `tcp:`, by default on this machine only.
    Tcp,
    /// `exec:`, a child of the client.
    Exec,
    /// `fd:`, what this process was started with.
    Inherited,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Memory(Arc<str>),
    Name(Arc<str>),
    Path(Arc<Path>),
    Abstract(Arc<str>),
    Pipe {
        name: Arc<str>,
        mode: PipeMode,
    },
    Tcp {
        host: Arc<str>,
        port: u16,
    },
    /// The program and its arguments, as they were written.
    Exec(Arc<str>),
    Descriptor(i32),
    Inherited,
    Stdio,
}

/// What the system carries through a pipe. It makes no difference to what arrives, but one to what others see that
/// speak with one side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PipeMode {
    Byte,
    /// On Windows only.
    Message,
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
        };
        unset.max_message(Self::DEFAULT_MESSAGE_LIMIT)
    }
}

impl Scheme {
    /// Every scheme of this version, on this platform or another.
    pub const ALL: [Self; 7] = [
        Self::Memory,
        Self::SharedMemory,
        Self::Unix,
        Self::Pipe,
        Self::Tcp,
        Self::Exec,
        Self::Inherited,
    ];

    /// The word before the colon.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "mem",
            Self::SharedMemory => "shm",
            Self::Unix => "unix",
            Self::Pipe => "pipe",
            Self::Tcp => "tcp",
            Self::Exec => "exec",
            Self::Inherited => "fd",
        }
    }

    /// Whether this platform has the transport.
    #[must_use]
    pub fn is_supported(self) -> bool {
        match self {
            Self::Memory | Self::Tcp => true,
            Self::SharedMemory => sys::shm::HAS_SHARED_MEMORY,
            Self::Unix => sys::HAS_UNIX_SOCKETS,
            Self::Exec | Self::Inherited => sys::HAS_CHILDREN,
            Self::Pipe => sys::HAS_PIPES,
        }
    }

    /// Whether the system vouches for who is at the other end, so that a service may depend on it. Of `fd:` it depends
    /// on the descriptor: the answer is that of a Unix socket.
    #[must_use]
    pub fn vouches_for_peer(self) -> bool {
        match self {
            Self::Memory | Self::SharedMemory | Self::Unix | Self::Pipe | Self::Exec | Self::Inherited => {
                true
            }
            Self::Tcp => false,
        }
    }

    /// Whether messages can carry handles. None can yet.
    #[must_use]
    pub fn carries_handles(self) -> bool {
        false
    }

    /// Whether messages can carry sections of shared memory. None can yet.
    #[must_use]
    pub fn carries_sections(self) -> bool {
        false
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: String| {
            Err(Error::new(
                ErrorKind::InvalidEndpoint,
                format!("\"{}\" is not an endpoint: {why}", Shown(text)),
            ))
        };
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) => (Some(scheme), rest),
            None if text.contains('/') => {
                return invalid(format!("to mean a path, write unix:{}", Shown(text)));
            }
            None => (None, text),
        };
        let Some(scheme) = scheme else {
            return match name(rest) {
                Ok(name) => Ok(Self {
                    sharing: Sharing::Preferred,
                    ..Self::new(Address::Name(name.into()))
                }),
                Err(why) => invalid(why),
            };
        };
        let parsed = match scheme {
            "mem" => name(rest).map(|name| Address::Memory(name.into())),
            "unix" | "shm" if rest.contains('/') => path(Path::new(rest)),
            "unix" | "shm" => match rest.strip_prefix('@') {
                Some(rest) => name(rest).map(|name| Address::Abstract(name.into())),
                None => name(rest).map(|name| Address::Name(name.into())),
            },
            "pipe" => pipe(rest),
            "tcp" => tcp(rest),
            "exec" => exec(rest),
            "fd" => descriptor(rest),
            _ => {
                let known = Scheme::ALL.map(Scheme::as_str).join(":, ");
                Err(format!(
                    "the transport \"{}:\" is not known here; use {known}:, or a plain name",
                    Shown(scheme)
                ))
            }
        };
        match parsed {
            Ok(address) => Ok(Self {
                sharing: match scheme {
                    "shm" => Sharing::Required,
                    _ => Sharing::Declined,
                },
                ..Self::new(address)
            }),
            Err(why) => invalid(why),
        }
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<&String> for Endpoint {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self, Error> {
        text.parse()
    }
}

/// A socket at that path; `store` means `./store` here.
impl TryFrom<&Path> for Endpoint {
    type Error = Error;

    fn try_from(given: &Path) -> Result<Self, Error> {
        let address = path(given).map_err(|why| {
            let shown = given.to_string_lossy();
            Error::new(
                ErrorKind::InvalidEndpoint,
                format!("\"{}\" is not an endpoint: {why}", Shown(&shown)),
            )
        })?;
        Ok(Self::new(address))
    }
}

impl TryFrom<PathBuf> for Endpoint {
    type Error = Error;

    fn try_from(path: PathBuf) -> Result<Self, Error> {
        Self::try_from(path.as_path())
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
            .finish()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(name) => write!(formatter, "mem:{name}"),
            Self::Name(name) => write!(formatter, "unix:{name}"),
            Self::Abstract(name) => write!(formatter, "unix:@{name}"),
            Self::Pipe { name, mode } => match mode {
                PipeMode::Byte => write!(formatter, "pipe:{name}"),
                PipeMode::Message => write!(formatter, "pipe:{name}?mode=message"),
            },
            Self::Path(path) if path.components().count() == 1 && path.is_relative() => {
                write!(formatter, "unix:./{}", path.display())
            }
            Self::Path(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(formatter, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(formatter, "tcp:{host}:{port}"),
            Self::Exec(command) => write!(formatter, "exec:{command}"),
            Self::Descriptor(number) => write!(formatter, "fd:{number}"),
            Self::Inherited => formatter.write_str("fd:inherited"),
            Self::Stdio => formatter.write_str("fd:stdio"),
        }
    }
}

struct Detail(Address);

impl fmt::Display for Detail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, path) = match &self.0 {
            Address::Name(name) => (Scheme::Unix, sys::socket_path(name)),
            Address::Pipe { name, .. } => (Scheme::Pipe, sys::pipe_path(name)),
            address => return write!(formatter, "{address}"),
        };
        match path {
            Some(path) => write!(formatter, "{scheme}:{}", path.display()),
            None => write!(formatter, "{}", self.0),
        }
    }
}

/// The addresses that a `tcp:` host may mean without asking anybody: a literal, or `localhost`.
pub(crate) fn local_addresses(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ]);
    }
    let address: IpAddr = host.parse().ok()?;
    Some(vec![(address, port).into()])
}

/// Text of the user's in a message: escaped, and cut, so that it can be anything.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 120;
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(SHOWN) {
            if character.is_control() {
                write!(formatter, "{}", character.escape_default())?;
            } else {
                write!(formatter, "{character}")?;
            }
        }
        if characters.next().is_some() {
            formatter.write_str("...")
        } else {
            Ok(())
        }
    }
}

fn name(text: &str) -> Result<&str, String> {
    let Some(first) = text.chars().next() else {
        return Err("the name is empty".into());
    };
    if text.len() > Endpoint::LONGEST_NAME {
        let longest = Endpoint::LONGEST_NAME;
        return Err(format!(
            "the name has {} bytes, at most {longest} are possible",
            text.len()
        ));
    }
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if let Some(wrong) = text.chars().find(|&character| !allowed(character)) {
        return Err(format!(
            "a name has no {wrong:?}; use letters, digits, '.', '_' and '-'"
        ));
    }
    if first == '.' || first == '-' {
        return Err(format!("a name does not start with {first:?}"));
    }
    Ok(text)
}

fn pipe(text: &str) -> Result<Address, String> {
    let (text, mode) = match text.split_once('?') {
        None => (text, PipeMode::Byte),
        Some((text, "mode=byte")) => (text, PipeMode::Byte),
        Some((text, "mode=message")) => (text, PipeMode::Message),
        Some((_, setting)) => {
            return Err(format!(
                "\"{}\" is no setting of a pipe; there are mode=byte and mode=message",
                Shown(setting)
            ));
        }
    };
    let name = name(text)?.into();
    Ok(Address::Pipe { name, mode })
}

fn path(path: &Path) -> Result<Address, String> {
    if path.as_os_str().is_empty() {
        return Err("the path is empty".into());
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err("a path has no NUL".into());
    }
    // `file_name` ignores a slash at the end, the system does not.
    let ends_in_slash = path.as_os_str().as_encoded_bytes().last() == Some(&b'/');
    if ends_in_slash || path.file_name().is_none() {
        return Err("the path names a directory; add the name of the socket".into());
    }
    Ok(Address::Path(path.into()))
}

fn exec(text: &str) -> Result<Address, String> {
    if text.contains('\0') {
        return Err("a program's name and arguments have no NUL".into());
    }
    let text = text.trim_ascii();
    if text.is_empty() {
        return Err("the program is missing; write exec:PROGRAM ARGUMENTS".into());
    }
    Ok(Address::Exec(text.into()))
}

fn descriptor(text: &str) -> Result<Address, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "inherited" => Ok(Address::Inherited),
        "stdio" => Ok(Address::Stdio),
        _ => match text.parse() {
            Ok(number) if is_number => Ok(Address::Descriptor(number)),
            _ => Err("write the number of an open descriptor, \"inherited\" or \"stdio\"".into()),
        },
    }
}

fn tcp(text: &str) -> Result<Address, String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => ("127.0.0.1", text),
    };
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let Some(port) = port.parse::<u16>().ok().filter(|_| is_number) else {
        return Err(format!(
            "\"{}\" is not a port number from 0 to 65535",
            Shown(port)
        ));
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => inner,
        Some(inner) => return Err(format!("\"{}\" is not an IPv6 address", Shown(inner))),
        None if host.contains(':') => {
            return Err("an IPv6 address stands between brackets: tcp:[::1]:7000".into());
        }
        None => host,
    };
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    // 253 is the longest host name of the DNS.
    if bracketed.is_none() && (host.is_empty() || host.len() > 253 || !host.chars().all(allowed)) {
        return Err(format!("\"{}\" is not a host", Shown(host)));
    }
    Ok(Address::Tcp {
        host: host.into(),
        port,
    })
}
