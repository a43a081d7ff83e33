//! Who is at the other end.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use crate::{Child, sys};

/// Who is at the other end of a port, as far as the system vouches for it. Cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    identity: Identity,
    /// Asked for the peer's executable while the connection lasts; weak, so that a `Peer` never keeps one open.
    stream: Weak<sys::Stream>,
    /// The peer, if this process started it.
    child: Option<Child>,
}

/// What the system says of a peer. It was true when the connection was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// Another process, or this one, through the kernel: a `unix:` or `pipe:` connection, or one to a child.
    User {
        /// The effective user id.
        uid: u32,
        /// The effective group id.
        gid: u32,
        /// The process id; `None` where the system cannot tell it, as across process namespaces and through FIFOs.
        pid: Option<u32>,
    },
    /// Another process, or this one, through a named pipe of Windows, where users have no numbers.
    Account {
        /// Whether it runs as the same user as this process.
        same_user: bool,
        /// The process id, if the system tells it.
        pid: Option<u32>,
    },
    /// This very process: a `mem:` connection.
    SameProcess,
    /// The system does not know: a `tcp:` connection, or one over pipes.
    Anonymous,
}

impl Peer {
    pub(crate) fn new(identity: Identity, stream: Weak<sys::Stream>) -> Self {
        Self(Arc::new(Inner {
            identity,
            stream,
            child: None,
        }))
    }

    pub(crate) fn started(identity: Identity, stream: Weak<sys::Stream>, child: Child) -> Self {
        Self(Arc::new(Inner {
            identity,
            stream,
            child: Some(child),
        }))
    }

    /// The peer's process, if this one started it for this connection.
    #[must_use]
    pub fn child(&self) -> Option<&Child> {
        self.0.child.as_ref()
    }

    /// What the system says of the peer.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The peer's user id; that of this process for `mem:`; `None` if nobody vouches for one, or users have no numbers.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        match self.0.identity {
            Identity::User { uid, .. } => Some(uid),
            Identity::SameProcess => sys::user(),
            Identity::Account { .. } | Identity::Anonymous => None,
        }
    }

    /// This process's own user id, which [`Peer::same_user`] compares with; `None` where users have no numbers.
    #[must_use]
    pub fn own_uid() -> Option<u32> {
        sys::user()
    }

    /// The peer's group id, as [`Peer::uid`].
    #[must_use]
    pub fn gid(&self) -> Option<u32> {
        match self.0.identity {
            Identity::User { gid, .. } => Some(gid),
            Identity::SameProcess => sys::group(),
            Identity::Account { .. } | Identity::Anonymous => None,
        }
    }

    /// Whether the peer is known to run as the user with this id.
    #[must_use]
    pub fn is_user(&self, uid: u32) -> bool {
        self.uid() == Some(uid)
    }

    /// Whether the peer is known to be in the group with this id: as its effective group or, where the system tells
    /// (Linux), as one of the others that it had when it connected. The others are known for as long as the connection
    /// lasts. It is a system call; meant for `Server::allow`.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        if self.gid() == Some(gid) {
            return true;
        }
        match self.0.identity {
            Identity::User { .. } => self
                .0
                .stream
                .upgrade()
                .is_some_and(|stream| sys::peer_groups(&stream).contains(&gid)),
            Identity::SameProcess => sys::own_groups().contains(&gid),
            Identity::Account { .. } | Identity::Anonymous => false,
        }
    }

    /// The peer's process id. The process may be gone and the number in use again: decide nothing by it.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self.0.identity {
            Identity::User { pid, .. } | Identity::Account { pid, .. } => pid,
            Identity::SameProcess => Some(std::process::id()),
            Identity::Anonymous => None,
        }
    }

    /// Whether nobody vouches for who the peer is.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        matches!(self.0.identity, Identity::Anonymous)
    }

    /// Whether the peer is known to run as the same user as this process.
    #[must_use]
    pub fn same_user(&self) -> bool {
        match self.0.identity {
            Identity::User { uid, .. } => sys::user() == Some(uid),
            Identity::Account { same_user, .. } => same_user,
            Identity::SameProcess => true,
            Identity::Anonymous => false,
        }
    }

    /// The program that the peer runs, for people to read: the peer can run whatever it likes. `None` if the system
    /// does not tell, or the connection or the process has ended.
    #[must_use]
    pub fn executable(&self) -> Option<PathBuf> {
        match self.0.identity {
            Identity::User { pid: Some(pid), .. } => sys::executable(&*self.0.stream.upgrade()?, pid),
            Identity::SameProcess => std::env::current_exe().ok(),
            _ => None,
        }
    }
}

/// For example `pid 4711 (/usr/bin/stored), uid 1000`.
impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.identity {
            Identity::User { uid, pid, .. } => {
                if let Some(pid) = pid {
                    write!(formatter, "pid {pid}")?;
                    if let Some(executable) = self.executable() {
                        write!(formatter, " ({})", executable.display())?;
                    }
                    formatter.write_str(", ")?;
                }
                write!(formatter, "uid {uid}")
            }
            Identity::Account { same_user, pid } => {
                if let Some(pid) = pid {
                    write!(formatter, "pid {pid}, ")?;
                }
                formatter.write_str(if same_user {
                    "the same user"
                } else {
                    "another user"
                })
            }
            Identity::SameProcess => formatter.write_str("this process"),
            Identity::Anonymous => formatter.write_str("a peer that nobody vouches for"),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Peer").field(&self.0.identity).finish()
    }
}
