//! The files of a rendezvous, and of those who come to it.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use super::calls::make_fifo;

/// The two FIFOs that a client makes.
pub(super) struct Pair {
    pub(super) up: PathBuf,
    pub(super) down: PathBuf,
}

/// Where the files are in which large bodies lie: each side makes its own when it first sends one.
pub(super) struct Spools {
    pub(super) own: PathBuf,
    pub(super) other: PathBuf,
}

const UP_SPOOL: &str = "up-spool";
const DOWN_SPOOL: &str = "down-spool";

impl Pair {
    pub(super) fn of(rendezvous: &Path, token: &[u8; 16]) -> Self {
        let token: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            up: rendezvous.with_extension(format!("{token}.up")),
            down: rendezvous.with_extension(format!("{token}.down")),
        }
    }

    pub(super) fn make(&self) -> io::Result<()> {
        make_fifo(&self.up)?;
        make_fifo(&self.down)
    }

    /// Takes the names away; the FIFOs live on for those who have them open.
    pub(super) fn remove(&self) {
        // Whichever side comes second finds nothing.
        let _ = std::fs::remove_file(&self.up);
        let _ = std::fs::remove_file(&self.down);
    }

    /// For the client.
    pub(super) fn spools_of_client(&self) -> Spools {
        Spools {
            own: self.up.with_extension(UP_SPOOL),
            other: self.down.with_extension(DOWN_SPOOL),
        }
    }

    /// For the server.
    pub(super) fn spools_of_server(&self) -> Spools {
        let Spools { own, other } = self.spools_of_client();
        Spools {
            own: other,
            other: own,
        }
    }
}

impl Spools {
    /// Takes the names away, of which there are any only while the other side has yet to open a file.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(&self.own);
        let _ = std::fs::remove_file(&self.other);
    }
}

/// Opens one end of a FIFO, never waiting for the other, and tells whose file it is.
///
/// # Errors
/// `ENXIO` to write where nobody reads; `InvalidInput` if something else than a FIFO is there.
pub(super) fn open(path: &Path, direction: OFlags) -> io::Result<(OwnedFd, Metadata)> {
    let flags = direction | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let there = file.metadata()?;
    if !there.file_type().is_fifo() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok((file.into(), there))
}

/// Removes what connections of a rendezvous have left behind: without an age, all of it; else pairs that are older, and
/// that their clients do not have open. A spool is left by none but two sides that were killed at the same time, and one that
/// is old may be one that the other side has yet to open, so it is the next server that removes it.
pub(super) fn sweep(rendezvous: &Path, age: Option<Duration>) {
    let (Some(directory), Some(name)) = (rendezvous.parent(), rendezvous.file_stem()) else {
        return;
    };
    let Some(name) = name.to_str() else { return };
    // A directory that cannot be read is left as it is: nothing depends on this.
    let Ok(entries) = directory.read_dir() else { return };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some(end) = file.to_str().and_then(|file| end_of(name, file)) else {
            continue;
        };
        let path = entry.path();
        let is_older = |age| {
            let changed = path.symlink_metadata().ok()?;
            let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed.ctime().try_into().ok()?);
            Some(changed.elapsed().ok()? > age)
        };
        let is_of_pair = matches!(end, "up" | "down");
        let is_unread = || {
            let down = path.with_extension("down");
            match open(&down, OFlags::WRONLY) {
                Ok(_) => false,
                Err(error) => matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENOENT)),
            }
        };
        if age.is_none_or(|age| is_of_pair && is_older(age) == Some(true) && is_unread()) {
            let _ = std::fs::remove_file(path.with_extension(end));
        }
    }
}

/// Whether a file is one that a connection to `name` made, and which of them.
fn end_of(name: &str, file: &str) -> Option<&'static str> {
    let rest = file.strip_prefix(name)?.strip_prefix('.')?;
    let (token, end) = rest.split_once('.')?;
    let is_token = token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    ["up", "down", UP_SPOOL, DOWN_SPOOL]
        .into_iter()
        .find(|&known| is_token && end == known)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::fs::OFlags;

    use super::{Pair, make_fifo, open, sweep};

    #[test]
    fn only_what_is_old_and_nobody_has_open_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let rendezvous = directory.path().join("a.b.fifo");
        make_fifo(&rendezvous).unwrap();
        let pair = |number| Pair::of(&rendezvous, &[number; 16]);
        for number in 0..3 {
            pair(number).make().unwrap();
        }
        // The client that lives, and another name's.
        let (_reader, _) = open(&pair(1).down, OFlags::RDONLY).unwrap();
        let other = Pair::of(&directory.path().join("a.fifo"), &[0; 16]);
        other.make().unwrap();
        pair(2).remove();

        sweep(&rendezvous, Some(Duration::from_secs(1000)));
        assert!(pair(0).up.exists() && pair(0).down.exists());
        sweep(&rendezvous, Some(Duration::ZERO));
        assert!(!pair(0).up.exists() && !pair(0).down.exists());
        assert!(pair(1).up.exists() && pair(1).down.exists());
        sweep(&rendezvous, None);
        assert!(!pair(1).up.exists() && !pair(1).down.exists());
        assert!(other.up.exists() && other.down.exists() && rendezvous.exists());
    }
}
