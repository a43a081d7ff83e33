//! Who owns a name: a lock beside each socket, and beside each FIFO, of which all of this holds as well.
//!
//! The holder of the lock, and nobody else, makes, replaces and removes the socket. The lock is a file that ends
//! with its process, so that a name is free the moment its server dies, and taken as long as it lives. It also says
//! who holds it, for people to read.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::Pid;

use super::directory::{self, kind_of};
use super::identity;
use super::names::socket_of;
use crate::endpoint::Address;
use crate::{Endpoint, Error, ErrorKind};

/// Only the owner reads and writes.
const PRIVATE: u32 = 0o600;
/// Everybody may write to a socket, which is to connect to it.
const OPEN: u32 = 0o666;

/// How long a new owner may take to write who it is, and how often one looks meanwhile, before it goes unnamed.
const SIGNED: Duration = Duration::from_millis(200);
const SIGNING: Duration = Duration::from_millis(1);

/// The right to serve a name, held until it is dropped.
pub(crate) struct Claim {
    socket: PathBuf,
    lock: PathBuf,
    file: File,
    /// The socket that we made: device and number.
    made: Option<(u64, u64)>,
    /// The process that holds the claim: a child of a fork has a copy, which means nothing.
    holder: u32,
}

impl Claim {
    /// The mode that a socket or FIFO is to have.
    pub(super) fn mode_of(endpoint: &Endpoint) -> Result<u32, Error> {
        match endpoint.address() {
            _ if !endpoint.are_other_users_allowed() => Ok(PRIVATE),
            Address::Path(_) => Ok(OPEN),
            _ => {
                let message = format!(
                    "cannot serve {} to other users: the directory of names is private; use a path, as \
                     unix:/run/store.sock",
                    endpoint.quoted()
                );
                Err(Error::new(ErrorKind::InvalidEndpoint, message))
            }
        }
    }

    /// Takes the claim to an endpoint's name or path, or says who has it.
    pub(super) fn take(endpoint: &Endpoint) -> Result<Self, Error> {
        let socket = socket_of(endpoint)?;
        match endpoint.address() {
            Address::Name(_) | Address::Pipe { .. } => directory::make_private(endpoint)?,
            _ => directory::check_parent(endpoint, &socket)?,
        }
        let lock = lock_beside(endpoint, &socket);
        let file = acquire(endpoint, &lock)?;
        let owner = Owner {
            pid: std::process::id(),
            executable: std::env::current_exe().ok(),
        };
        owner.write(&file);
        Ok(Self {
            socket,
            lock,
            file,
            made: None,
            holder: owner.pid,
        })
    }

    /// Where the socket is to be.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes way for our socket: removes one that nobody listens on, and nothing else. `connect` tries.
    pub(super) fn clear<C>(
        &self,
        endpoint: &Endpoint,
        connect: impl FnOnce() -> io::Result<C>,
    ) -> Result<(), Error> {
        let (server, path) = (endpoint.quoted(), self.socket.display());
        let there = match self.socket.symlink_metadata() {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::system(format!("cannot serve {server}"), error)),
        };
        let (wanted, is_wanted) = match endpoint.address() {
            Address::Pipe { .. } => ("pipe", there.file_type().is_fifo()),
            _ => ("socket", there.file_type().is_socket()),
        };
        if !is_wanted {
            let message = format!(
                "cannot serve {server}: {path} is {}, not a {wanted}, and is left alone. Remove it, or use another name",
                kind_of(&there)
            );
            return Err(Error::new(ErrorKind::InvalidEndpoint, message));
        }
        match connect() {
            // Somebody who takes no part in claims; a full queue is one of a live server.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let removed = std::fs::remove_file(&self.socket);
                return removed.map_err(|error| {
                    Error::system(
                        format!("cannot serve {server}: cannot remove the stale {wanted} {path}"),
                        error,
                    )
                });
            }
            Err(error) => {
                let message =
                    format!("cannot serve {server}: cannot tell whether the {wanted} {path} is in use");
                return Err(Error::system(message, error));
            }
        }
        let message = format!("cannot serve {server}: another program already listens there");
        Err(Error::new(ErrorKind::InUse, message))
    }

    /// Remembers the socket that was made, as the one to remove, and gives it its mode: it was made private, and a umask
    /// may have taken even its owner's bits.
    pub(super) fn made(&mut self, mode: u32) -> io::Result<()> {
        let there = self.socket.symlink_metadata()?;
        self.made = Some(file_of(&there));
        if there.mode() & 0o777 != mode {
            set_mode(&self.socket, &there, mode)?;
        }
        Ok(())
    }

    /// Tells those who watch the directory that one can connect from now on, which the making of the socket was too
    /// early for. The time that it leaves on the lock is that since which the name is served.
    pub(super) fn announce(&self) {
        // Who waits looks again after a while even if this fails.
        let _ = self.file.set_modified(SystemTime::now());
    }
}

impl Drop for Claim {
    /// Removes the socket and the lock. The lock is given up after that, when its file is closed.
    fn drop(&mut self) {
        if self.holder != std::process::id() {
            return;
        }
        let is_there = |path: &Path, known| {
            path.symlink_metadata()
                .is_ok_and(|there| file_of(&there) == known)
        };
        // Nothing to be done about a failure: the next owner replaces what is left.
        if self.made.is_some_and(|made| is_there(&self.socket, made)) {
            let _ = std::fs::remove_file(&self.socket);
        }
        if self
            .file
            .metadata()
            .is_ok_and(|own| is_there(&self.lock, file_of(&own)))
        {
            let _ = std::fs::remove_file(&self.lock);
        }
    }
}

/// Who holds a lock, as it says in the file.
pub(super) struct Owner {
    pub(super) pid: u32,
    pub(super) executable: Option<PathBuf>,
}

impl Owner {
    /// For messages only, so that a full disk is no reason to fail.
    fn write(&self, file: &File) {
        let executable = self.executable.as_deref().unwrap_or(Path::new(""));
        let text = format!("{}\n{}\n", self.pid, executable.display());
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all_at(text.as_bytes(), 0));
    }

    /// Not so if there is no such process; one in another process namespace than ours cannot be told from that.
    fn may_live(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(identity::may_live)
    }

    /// What the lock beside a socket says.
    pub(super) fn of(lock: &Path) -> Option<Self> {
        let (file, _) = open_lock(lock, OFlags::RDONLY).ok()?;
        Self::read(&file)
    }

    fn read(file: &File) -> Option<Self> {
        /// A path of the longest kind, and a number.
        const LONGEST: u64 = 4096 + 16;
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines();
        let pid = lines.next()?.parse().ok()?;
        let executable = lines
            .next()
            .filter(|path| !path.is_empty() && !path.contains(char::is_control));
        Some(Self {
            pid,
            executable: executable.map(PathBuf::from),
        })
    }
}

/// The process that owned the socket and is gone, if the lock beside it says so.
pub(super) fn dead_owner(endpoint: &Endpoint) -> Option<u32> {
    let lock = lock_beside(endpoint, &socket_of(endpoint).ok()?);
    let owner = Owner::of(&lock)?;
    (!owner.may_live()).then_some(owner.pid)
}

pub(super) fn lock_beside(endpoint: &Endpoint, socket: &Path) -> PathBuf {
    match endpoint.address() {
        Address::Name(_) => socket.with_extension("lock"),
        // No socket's name ends like this.
        Address::Pipe { .. } => socket.with_extension("fifo-lock"),
        _ => {
            let mut path = socket.as_os_str().to_owned();
            path.push(".lock");
            path.into()
        }
    }
}

/// Takes the lock, or says who has it.
fn acquire(endpoint: &Endpoint, path: &Path) -> Result<File, Error> {
    let server = endpoint.quoted();
    let failed = |error: io::Error| {
        let message = format!("cannot serve {server}: cannot use the lock {}", path.display());
        Error::system(message, error)
    };
    let patience = Instant::now() + SIGNED;
    loop {
        let (file, there) = open_lock(path, OFlags::RDWR | OFlags::CREATE).map_err(|error| match error {
            Errno::LOOP | Errno::ISDIR | Errno::NXIO => {
                let message = format!(
                    "cannot serve {server}: {} is not the lock file that belongs there, and is left alone. Remove it",
                    path.display()
                );
                Error::new(ErrorKind::InvalidEndpoint, message)
            }
            error => failed(error.into()),
        })?;
        if !there.is_file() || (Some(there.uid()) != super::user() && there.uid() != 0) {
            let message = format!(
                "cannot serve {server}: {} is {} of uid {}, not a lock of ours, and is left alone",
                path.display(),
                kind_of(&there),
                there.uid()
            );
            return Err(Error::new(ErrorKind::Denied, message));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::INTR) => continue,
            Err(Errno::WOULDBLOCK) => {
                let owner = Owner::read(&file).filter(Owner::may_live);
                // It has taken the lock and not signed yet, over the name of a dead one perhaps.
                if owner.is_none() && Instant::now() < patience {
                    std::thread::sleep(SIGNING);
                    continue;
                }
                let owner = owner.map_or_else(
                    || "another process".to_owned(),
                    |owner| match owner.executable {
                        Some(executable) => format!("pid {} ({})", owner.pid, executable.display()),
                        None => format!("pid {}", owner.pid),
                    },
                );
                return Err(Error::new(
                    ErrorKind::InUse,
                    format!("cannot serve {server}: {owner} already serves it"),
                ));
            }
            Err(error) => return Err(failed(error.into())),
        }
        // The former owner removes the file before it lets go: then this lock is of a file that nobody else will find.
        match path.symlink_metadata() {
            Ok(found) if file_of(&found) == file_of(&there) => {}
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        }
        // An empty one is new, or its owner died before it wrote.
        if there.len() > 0 && Owner::read(&file).is_none() {
            let message = format!(
                "cannot serve {server}: {} is a file with other content, not a lock of ours, and is left alone. \
                 Remove it, or use another name",
                path.display()
            );
            return Err(Error::new(ErrorKind::InvalidEndpoint, message));
        }
        return Ok(file);
    }
}

/// Opens a lock file without following a link or waiting for a FIFO, and gives it the mode that a umask may have taken.
fn open_lock(path: &Path, flags: OFlags) -> Result<(File, Metadata), Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::from_raw_mode(PRIVATE as _));
    let file = match open() {
        // Another process of ours has just made it under such a umask.
        Err(Errno::ACCESS) if is_ours_and_unreadable(path) => {
            let _ = std::fs::set_permissions(path, Permissions::from_mode(PRIVATE));
            open()?
        }
        opened => opened?,
    };
    let file = File::from(file);
    let system = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let there = file.metadata().map_err(system)?;
    let is_ours = Some(there.uid()) == super::user();
    if flags.contains(OFlags::CREATE) && is_ours && there.is_file() && there.mode() & 0o777 != PRIVATE {
        file.set_permissions(Permissions::from_mode(PRIVATE))
            .map_err(system)?;
    }
    Ok((file, there))
}

/// Sets the mode of a file that was just looked at, and of no other that somebody may have put in its place.
#[cfg(target_os = "linux")]
fn set_mode(path: &Path, there: &Metadata, mode: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file_of(&opened.metadata()?) != file_of(there) {
        return Err(io::ErrorKind::NotFound.into());
    }
    // The file itself: fchmod(2) refuses a descriptor that is a path only.
    let itself = format!("/proc/self/fd/{}", opened.as_raw_fd());
    std::fs::set_permissions(itself, Permissions::from_mode(mode))
}

#[cfg(not(target_os = "linux"))]
fn set_mode(path: &Path, _there: &Metadata, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

fn is_ours_and_unreadable(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|there| {
        there.is_file() && Some(there.uid()) == super::user() && there.mode() & PRIVATE != PRIVATE
    })
}

fn file_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
