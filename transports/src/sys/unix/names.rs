//! Where the socket of an endpoint is, and what keeps us from it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::directory::{self, Flaw};
use crate::endpoint::Address;
use crate::{Endpoint, Error, ErrorKind, connecting};

/// The socket of a name; whether it exists is another question.
pub(crate) fn socket_path(name: &str) -> Option<PathBuf> {
    Some(runtime_directory().join(format!("{name}.sock")))
}

/// The FIFO where clients of a `pipe:` name meet its server; whether it exists is another question.
pub(crate) fn pipe_path(name: &str) -> Option<PathBuf> {
    Some(runtime_directory().join(format!("{name}.fifo")))
}

/// The socket or FIFO of an endpoint, as a path from the root.
pub(super) fn socket_of(endpoint: &Endpoint) -> Result<PathBuf, Error> {
    let path = match endpoint.address() {
        Address::Name(name) => socket_path(name),
        Address::Pipe { name, .. } => pipe_path(name),
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

/// The socket or FIFO of an endpoint for one who wants to connect: for a name, in a directory that nobody else can change.
pub(super) fn find(endpoint: &Endpoint) -> Result<PathBuf, Error> {
    let socket = socket_of(endpoint)?;
    if let Address::Name(_) | Address::Pipe { .. } = endpoint.address() {
        let directory = runtime_directory();
        match directory::check(&directory) {
            Ok(()) => {}
            Err(Flaw::System(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Err(connecting::nobody_listens(endpoint));
            }
            Err(flaw) => return Err(flaw.keeps_from(endpoint, "reach", &directory)),
        }
    }
    Ok(socket)
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

/// `$XDG_RUNTIME_DIR/ipc-rpc`, else one for the user in the temporary directory.
pub(super) fn runtime_directory() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // The specification of the variable says to ignore a relative path.
    if let Some(given) = given.filter(|path| path.is_absolute()) {
        return given.join("ipc-rpc");
    }
    let temporary = std::env::temp_dir();
    let temporary = std::path::absolute(&temporary).unwrap_or(temporary);
    temporary.join(format!("ipc-rpc-{}", rustix::process::geteuid().as_raw()))
}
