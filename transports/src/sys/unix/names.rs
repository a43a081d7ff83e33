//! Who owns a name: a private directory, and a lock beside each socket.
//!
//! The holder of the lock, and nobody else, makes, replaces and removes the socket. The lock is a file that ends
//! with its process, so that a name is free the moment its server dies, and taken as long as it lives. It also says
//! who holds it, for people to read.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::endpoint::Address;
use crate::{Endpoint, Error, ErrorKind, connecting};

/// Only the owner reads, writes and enters.
const PRIVATE_DIRECTORY: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
const FOR_OTHERS: u32 = 0o077;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// The socket of a name; whether it exists is another question.
pub(crate) fn socket_path(name: &str) -> Option<PathBuf> {
    Some(runtime_directory().join(format!("{name}.sock")))
}

/// The socket of an endpoint, as a path from the root.
fn socket_of(endpoint: &Endpoint) -> Result<PathBuf, Error> {
    let path = match endpoint.address() {
        Address::Name(name) => socket_path(name),
        Address::Path(path) => std::path::absolute(path).ok(),
        _ => None,
    };
    path.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidEndpoint,
            format!("{} is not a path", endpoint.quoted()),
        )
    })
}

/// The socket of an endpoint for one who wants to connect: for a name, in a directory that nobody else can change.
pub(super) fn find(endpoint: &Endpoint) -> Result<PathBuf, Error> {
    let socket = socket_of(endpoint)?;
    if let Address::Name(_) = endpoint.address() {
        let directory = runtime_directory();
        match check_directory(&directory) {
            Ok(()) => {}
            Err(Flaw::System(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Err(connecting::nobody_listens(endpoint));
            }
            Err(flaw) => return Err(flaw.keeps_from(endpoint, "reach", &directory)),
        }
    }
    Ok(socket)
}

/// The process that owned the socket and is gone, if the lock beside it says so.
pub(super) fn dead_owner(endpoint: &Endpoint) -> Option<u32> {
    let lock = lock_beside(endpoint, &socket_of(endpoint).ok()?);
    let (file, _) = open_lock(&lock, OFlags::RDONLY).ok()?;
    let owner = Owner::read(&file)?;
    let pid = Pid::from_raw(i32::try_from(owner.pid).ok()?)?;
    (rustix::process::test_kill_process(pid) == Err(Errno::SRCH)).then_some(owner.pid)
}

/// The error for a path that we may not use, naming what keeps us out.
pub(super) fn kept_out(endpoint: &Endpoint, error: io::Error) -> Error {
    let quoted = endpoint.quoted();
    let Ok(socket) = socket_of(endpoint) else {
        return Error::system(format!("cannot reach {quoted}"), error);
    };
    // From the root, the last thing that can still be looked at is the one that keeps us out.
    let closed = socket
        .ancestors()
        .find_map(|path| path.symlink_metadata().ok().map(|metadata| (path, metadata)));
    let message = match closed {
        Some((path, metadata)) => {
            format!(
                "cannot reach {quoted}: {} belongs to uid {} and is closed to others",
                path.display(),
                metadata.uid()
            )
        }
        None => format!("cannot reach {quoted}: its directory is closed to us"),
    };
    Error::new(ErrorKind::Denied, message)
}

/// A way to a socket whose path is longer than a socket address: through its directory, opened, which has to stay
/// open for as long as the path is used. `None` where the system has no such way.
pub(super) fn shorten(path: &Path) -> Option<io::Result<(OwnedFd, PathBuf)>> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let (directory, name) = (path.parent()?, path.file_name()?);
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    #[cfg(target_os = "linux")]
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    Some(match rustix::fs::open(directory, flags, Mode::empty()) {
        Ok(opened) => {
            let number = std::os::fd::AsRawFd::as_raw_fd(&opened);
            Ok((
                opened,
                Path::new("/proc/self/fd").join(number.to_string()).join(name),
            ))
        }
        Err(error) => Err(error.into()),
    })
}

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
    /// Takes the claim to an endpoint's name or path, or says who has it.
    pub(super) fn take(endpoint: &Endpoint) -> Result<Self, Error> {
        let socket = socket_of(endpoint)?;
        match endpoint.address() {
            Address::Name(_) => make_directory(endpoint)?,
            _ => check_parent(endpoint, &socket)?,
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
        if !there.file_type().is_socket() {
            let message = format!(
                "cannot serve {server}: {path} is {}, not a socket, and is left alone. Remove it, or use another name",
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
                        format!("cannot serve {server}: cannot remove the stale socket {path}"),
                        error,
                    )
                });
            }
            Err(error) => {
                let message =
                    format!("cannot serve {server}: cannot tell whether the socket {path} is in use");
                return Err(Error::system(message, error));
            }
        }
        let message = format!("cannot serve {server}: another program already listens there");
        Err(Error::new(ErrorKind::InUse, message))
    }

    /// Remembers the socket that was made, as the one to remove, and gives its owner what a umask may have taken.
    pub(super) fn made(&mut self) -> io::Result<()> {
        let there = self.socket.symlink_metadata()?;
        self.made = Some(identity(&there));
        // The system takes the umask's bits from the mode that was set before binding.
        if there.mode() & PRIVATE_FILE != PRIVATE_FILE {
            std::fs::set_permissions(&self.socket, Permissions::from_mode(PRIVATE_FILE))?;
        }
        Ok(())
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
                .is_ok_and(|there| identity(&there) == known)
        };
        // Nothing to be done about a failure: the next owner replaces what is left.
        if self.made.is_some_and(|made| is_there(&self.socket, made)) {
            let _ = std::fs::remove_file(&self.socket);
        }
        if self
            .file
            .metadata()
            .is_ok_and(|own| is_there(&self.lock, identity(&own)))
        {
            let _ = std::fs::remove_file(&self.lock);
        }
    }
}

/// Who holds a lock, as it says in the file.
struct Owner {
    pid: u32,
    executable: Option<PathBuf>,
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

/// `$XDG_RUNTIME_DIR/ipc-rpc`, else one for the user in the temporary directory.
fn runtime_directory() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // The specification of the variable says to ignore a relative path.
    if let Some(given) = given.filter(|path| path.is_absolute()) {
        return given.join("ipc-rpc");
    }
    let temporary = std::env::temp_dir();
    let temporary = std::path::absolute(&temporary).unwrap_or(temporary);
    temporary.join(format!("ipc-rpc-{}", rustix::process::geteuid().as_raw()))
}

fn lock_beside(endpoint: &Endpoint, socket: &Path) -> PathBuf {
    match endpoint.address() {
        Address::Name(_) => socket.with_extension("lock"),
        _ => {
            let mut path = socket.as_os_str().to_owned();
            path.push(".lock");
            path.into()
        }
    }
}

/// Why a directory is not to be trusted.
enum Flaw {
    System(io::Error),
    /// The path that has the flaw, what it is, and its owner if that is the flaw.
    Untrusted {
        path: PathBuf,
        why: String,
        owner: Option<u32>,
    },
}

impl Flaw {
    fn keeps_from(self, endpoint: &Endpoint, doing: &str, directory: &Path) -> Error {
        let server = endpoint.quoted();
        match self {
            Self::System(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                kept_out(endpoint, error)
            }
            Self::System(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!(
                    "cannot {doing} {server}: the directory for {} does not exist; check XDG_RUNTIME_DIR",
                    directory.display()
                );
                Error::new(ErrorKind::Io, message).with_source(error)
            }
            Self::System(error) => Error::system(
                format!("cannot {doing} {server} in {}", directory.display()),
                error,
            ),
            Self::Untrusted { path, why, owner } => {
                let closed = if owner.is_some_and(|owner| Some(owner) != super::user()) && is_closed(&path) {
                    " and is closed to others"
                } else {
                    ""
                };
                let message = format!("cannot {doing} {server}: {} {why}{closed}", path.display());
                Error::new(ErrorKind::Denied, message)
            }
        }
    }
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

fn is_closed(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|there| there.mode() & FOR_OTHERS == 0)
}

/// Makes the private directory, or checks the one that is there.
fn make_directory(endpoint: &Endpoint) -> Result<(), Error> {
    let directory = runtime_directory();
    let made = check_way(&directory).and_then(|()| {
        match DirBuilder::new().mode(PRIVATE_DIRECTORY).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        check_itself(&directory)?;
        // A umask may have taken bits from a new directory's owner. It is ours, so nobody can have put another there.
        if directory.symlink_metadata()?.mode() & PRIVATE_DIRECTORY != PRIVATE_DIRECTORY {
            std::fs::set_permissions(&directory, Permissions::from_mode(PRIVATE_DIRECTORY))?;
        }
        Ok(())
    });
    made.map_err(|flaw| flaw.keeps_from(endpoint, "serve", &directory))
}

/// Checks a private directory and the way to it. After that, nobody but this user and root can change what is in it,
/// or what its path means.
fn check_directory(directory: &Path) -> Result<(), Flaw> {
    check_way(directory)?;
    check_itself(directory)
}

/// Ours, a real directory, and nobody else's business.
fn check_itself(directory: &Path) -> Result<(), Flaw> {
    let there = directory.symlink_metadata()?;
    let owner = there.uid();
    let untrusted = |why, owner| {
        Err(Flaw::Untrusted {
            path: directory.into(),
            why,
            owner,
        })
    };
    if !there.is_dir() {
        return untrusted(
            format!("is {}, not a directory; remove it", kind_of(&there)),
            None,
        );
    }
    if Some(owner) != super::user() {
        return untrusted(format!("belongs to uid {owner}"), Some(owner));
    }
    if there.mode() & FOR_OTHERS != 0 {
        return untrusted(
            format!(
                "is open to others (mode {:03o}); chmod 700 it",
                there.mode() & 0o777
            ),
            None,
        );
    }
    Ok(())
}

/// Everything above a directory: what is on the path as it is written, and on the path that it means.
fn check_way(directory: &Path) -> Result<(), Flaw> {
    let Some(parent) = directory.parent() else {
        return Ok(());
    };
    for path in parent.ancestors() {
        let there = path.symlink_metadata()?;
        if there.is_symlink() {
            check_owner(path, &there)?;
        }
    }
    for path in parent.canonicalize()?.ancestors() {
        let there = path.symlink_metadata()?;
        check_owner(path, &there)?;
        if there.mode() & WRITABLE_BY_OTHERS != 0 && there.mode() & STICKY == 0 {
            let why = format!(
                "can be changed by others (mode {:03o}); chmod go-w it",
                there.mode() & 0o777
            );
            return Err(Flaw::Untrusted {
                path: path.into(),
                why,
                owner: None,
            });
        }
    }
    Ok(())
}

fn check_owner(path: &Path, there: &Metadata) -> Result<(), Flaw> {
    let owner = there.uid();
    if owner == 0 || Some(owner) == super::user() {
        return Ok(());
    }
    Err(Flaw::Untrusted {
        path: path.into(),
        why: format!("belongs to uid {owner}"),
        owner: Some(owner),
    })
}

/// For a path of the user's own choice: whose directory it is, is the user's choice too, but not that everybody can
/// exchange what is in it.
fn check_parent(endpoint: &Endpoint, socket: &Path) -> Result<(), Error> {
    let server = endpoint.quoted();
    let parent = socket.parent().unwrap_or(Path::new("/"));
    let there = match parent.metadata() {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!(
                "cannot serve {server}: the directory {} does not exist",
                parent.display()
            );
            return Err(Error::new(ErrorKind::InvalidEndpoint, message).with_source(error));
        }
        Err(error) => return Err(Error::system(format!("cannot serve {server}"), error)),
    };
    if !there.is_dir() {
        let message = format!("cannot serve {server}: {} is not a directory", parent.display());
        return Err(Error::new(ErrorKind::InvalidEndpoint, message));
    }
    if there.mode() & 0o002 != 0 && there.mode() & STICKY == 0 {
        let message = format!(
            "cannot serve {server}: everybody can change {}; chmod o-w it",
            parent.display()
        );
        return Err(Error::new(ErrorKind::Denied, message));
    }
    Ok(())
}

/// Takes the lock, or says who has it.
fn acquire(endpoint: &Endpoint, path: &Path) -> Result<File, Error> {
    let server = endpoint.quoted();
    let failed = |error: io::Error| {
        let message = format!("cannot serve {server}: cannot use the lock {}", path.display());
        Error::system(message, error)
    };
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
                let owner = Owner::read(&file);
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
            Ok(found) if identity(&found) == identity(&there) => return Ok(file),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Opens a lock file without following a link or waiting for a FIFO, and gives it the mode that a umask may have taken.
fn open_lock(path: &Path, flags: OFlags) -> Result<(File, Metadata), Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::from_raw_mode(PRIVATE_FILE as _));
    let file = match open() {
        // Another process of ours has just made it under such a umask.
        Err(Errno::ACCESS) if is_ours_and_unreadable(path) => {
            let _ = std::fs::set_permissions(path, Permissions::from_mode(PRIVATE_FILE));
            open()?
        }
        opened => opened?,
    };
    let file = File::from(file);
    let system = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let there = file.metadata().map_err(system)?;
    let is_ours = Some(there.uid()) == super::user();
    if flags.contains(OFlags::CREATE) && is_ours && there.is_file() && there.mode() & 0o777 != PRIVATE_FILE {
        file.set_permissions(Permissions::from_mode(PRIVATE_FILE))
            .map_err(system)?;
    }
    Ok((file, there))
}

fn is_ours_and_unreadable(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|there| {
        there.is_file() && Some(there.uid()) == super::user() && there.mode() & PRIVATE_FILE != PRIVATE_FILE
    })
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn kind_of(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a file"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a special file"
    }
}
