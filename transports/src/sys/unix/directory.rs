//! Directories that sockets are in, and whom they can be trusted to.

use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::names;
use crate::{Endpoint, Error, ErrorKind};

/// Only the owner reads, writes and enters.
const PRIVATE: u32 = 0o700;
const FOR_OTHERS: u32 = 0o077;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const WRITABLE_BY_ALL: u32 = 0o002;
/// Only the owner of a file in it can move or remove that file.
const STICKY: u32 = 0o1000;

/// Why a directory is not to be trusted.
pub(super) enum Flaw {
    System(io::Error),
    /// The path that has the flaw, what it is, and its owner if that is the flaw.
    Untrusted {
        path: PathBuf,
        why: String,
        owner: Option<u32>,
    },
}

impl Flaw {
    pub(super) fn keeps_from(self, endpoint: &Endpoint, doing: &str, directory: &Path) -> Error {
        let server = endpoint.quoted();
        match self {
            Self::System(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                names::kept_out(endpoint, error)
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
pub(super) fn make_private(endpoint: &Endpoint) -> Result<(), Error> {
    let directory = names::runtime_directory();
    let made = check_way(&directory).and_then(|()| {
        match DirBuilder::new().mode(PRIVATE).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        check_itself(&directory)?;
        // A umask may have taken bits from a new directory's owner. It is ours, so nobody can have put another there.
        if directory.symlink_metadata()?.mode() & PRIVATE != PRIVATE {
            std::fs::set_permissions(&directory, Permissions::from_mode(PRIVATE))?;
        }
        Ok(())
    });
    made.map_err(|flaw| flaw.keeps_from(endpoint, "serve", &directory))
}

/// Checks a private directory and the way to it. After that, nobody but this user and root can change what is in it,
/// or what its path means.
pub(super) fn check(directory: &Path) -> Result<(), Flaw> {
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
pub(super) fn check_parent(endpoint: &Endpoint, socket: &Path) -> Result<(), Error> {
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
    if there.mode() & WRITABLE_BY_ALL != 0 && there.mode() & STICKY == 0 {
        let message = format!(
            "cannot serve {server}: everybody can change {}; chmod o-w it",
            parent.display()
        );
        return Err(Error::new(ErrorKind::Denied, message));
    }
    Ok(())
}

/// What something is, in a message.
pub(super) fn kind_of(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a file"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a pipe"
    } else {
        "a special file"
    }
}
