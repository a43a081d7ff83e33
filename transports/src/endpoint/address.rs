//! What the name of an endpoint comes to, and how it is written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use super::Scheme;
use crate::sys;

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

/// An address as the system knows it.
pub(super) struct Detail(pub(super) Address);

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
