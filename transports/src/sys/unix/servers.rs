//! The names in the runtime directory, and who serves them.

use std::fs::DirEntry;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Instant;

use super::claim::{Owner, lock_beside};
use super::directory::{self, Flaw};
use super::sockets::{Target, attempt};
use super::{Stream, executable, names};
use crate::{Endpoint, Error, ErrorKind, Identity, ServerEntry};

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

/// Who serves at one entry of the directory. `None` for what is no socket of a name, or has gone meanwhile.
fn look(entry: &DirEntry) -> Result<Option<ServerEntry>, Error> {
    let socket = entry.path();
    let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
    let file = entry.file_name();
    let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".sock")) else {
        return Ok(None);
    };
    let Ok(endpoint) = format!("unix:{name}").parse::<Endpoint>() else {
        return Ok(None);
    };
    if !is_socket {
        return Ok(None);
    }
    let lock = lock_beside(&endpoint, &socket);
    let owner = Owner::of(&lock);
    let mut found = ServerEntry {
        name: name.to_owned(),
        pid: owner.as_ref().map(|owner| owner.pid),
        executable: owner.and_then(|owner| owner.executable),
        since: lock.metadata().and_then(|there| there.modified()).ok(),
        stale: false,
        endpoint,
    };
    let target = Target::at(&found.endpoint, &socket)?;
    match attempt(&target.address, Some(Instant::now())).and_then(Stream::new) {
        Ok(stream) => {
            // What the system says counts more than what is written in a file.
            if let Ok(Identity::User { pid: Some(pid), .. }) = stream.identity() {
                found.pid = Some(pid);
                found.executable = executable(&stream, pid).or(found.executable);
            }
        }
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
