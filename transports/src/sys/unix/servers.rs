//! The names in the runtime directory, and who serves them.

use std::fs::DirEntry;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::claim::{Owner, lock_beside};
use super::directory::{self, Flaw};
use super::sockets::{Target, attempt};
use super::{Stream, executable, names};
use crate::{Endpoint, Error, ErrorKind, Identity, Scheme, ServerEntry};

/// See [`crate::servers`].
pub(crate) fn servers() -> Result<Vec<ServerEntry>, Error> {
    let directory = names::runtime_directory();
    match directory::check(&directory) {
        Ok(()) => {}
        Err(Flaw::System(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(Flaw::System(error)) => return Err(unreadable(&directory, error)),
        Err(Flaw::Untrusted { path, why, .. }) => {
            let message = format!("cannot list servers: {} {why}", path.display());
            return Err(Error::new(ErrorKind::Denied, message));
        }
    }
    let entries = std::fs::read_dir(&directory).map_err(|error| unreadable(&directory, error))?;
    let mut servers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(&directory, error))?;
        servers.extend(look(&entry)?);
    }
    Ok(servers)
}

fn unreadable(directory: &Path, error: io::Error) -> Error {
    Error::system(format!("cannot list servers in {}", directory.display()), error)
}

/// Who serves at one entry of the directory. `None` for what is no socket or FIFO of a name, or has gone meanwhile.
fn look(entry: &DirEntry) -> Result<Option<ServerEntry>, Error> {
    let path = entry.path();
    let file = entry.file_name();
    let Some((name, ending)) = file.to_str().and_then(|file| file.rsplit_once('.')) else {
        return Ok(None);
    };
    let Ok(kind) = entry.file_type() else {
        return Ok(None);
    };
    let scheme = match ending {
        "sock" if kind.is_socket() => Scheme::Unix,
        "fifo" if kind.is_fifo() => Scheme::Pipe,
        _ => return Ok(None),
    };
    let Ok(endpoint) = format!("{scheme}:{name}").parse::<Endpoint>() else {
        return Ok(None);
    };
    let lock = lock_beside(&endpoint, &path);
    let owner = Owner::of(&lock);
    let mut found = ServerEntry {
        name: name.to_owned(),
        pid: owner.as_ref().map(|owner| owner.pid),
        executable: owner.and_then(|owner| owner.executable),
        since: lock.metadata().and_then(|there| there.modified()).ok(),
        stale: false,
        endpoint,
    };
    let looked = match scheme {
        Scheme::Pipe => look_at_fifo(&path),
        _ => look_at_socket(&mut found, &path),
    };
    match looked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => found.stale = true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // It has more clients waiting than it has room for: it is there.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
        Err(error) => {
            return Err(Error::system(
                format!("cannot look at {}", found.endpoint.described()),
                error,
            ));
        }
    }
    Ok(Some(found))
}

fn look_at_socket(found: &mut ServerEntry, path: &Path) -> io::Result<()> {
    let target = Target::at(&found.endpoint, path).map_err(io::Error::other)?;
    let stream = attempt(&target.address, Some(Instant::now())).and_then(Stream::new)?;
    // What the system says counts more than what is written in a file.
    if let Ok(Identity::User { pid: Some(pid), .. }) = stream.identity() {
        found.pid = Some(pid);
        found.executable = executable(&stream, pid).or_else(|| found.executable.take());
    }
    Ok(())
}

/// A FIFO that nobody reads refuses who would write.
fn look_at_fifo(path: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(_) => Ok(()),
        Err(Errno::NXIO) => Err(io::ErrorKind::ConnectionRefused.into()),
        Err(error) => Err(error.into()),
    }
}
