//! Who is at the other end of a socket, and whether it still lives.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use super::Stream;
use crate::Identity;

/// The effective user of this process.
pub(crate) fn user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

/// The effective group of this process.
pub(crate) fn group() -> Option<u32> {
    Some(rustix::process::getegid().as_raw())
}

/// The groups of this process beside its effective one; empty if the system does not tell.
pub(crate) fn own_groups() -> Vec<u32> {
    rustix::process::getgroups()
        .unwrap_or_default()
        .into_iter()
        .map(rustix::process::Gid::as_raw)
        .collect()
}

/// The program that the peer with that process id runs, if it still lives.
pub(crate) fn executable(stream: &Stream, pid: u32) -> Option<PathBuf> {
    let PeerProcess::Watched(death) = PeerProcess::of(stream).ok()? else {
        return None;
    };
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    // Alive after the look means that the id was its own during the look.
    (!death.has_come()).then_some(path)
}

pub(super) use platform::may_live;
pub(crate) use platform::peer_groups;

fn has_number(pid: rustix::process::Pid) -> bool {
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

/// The process at the other end.
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "only Linux tells of processes")
)]
pub(crate) enum PeerProcess {
    Watched(Death),
    /// It ended before the first look.
    Gone,
    /// The system does not tell: the end of the stream has to do.
    Untold,
}

/// A process, watched: readable once it has ended.
pub(crate) struct Death(OwnedFd);

impl Death {
    pub(super) fn has_come(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // A failed look tells nothing; who asks wants to be sure of life.
        !matches!(poll(&mut fds, Some(&now)), Ok(0))
    }
}

#[cfg(any(feature = "tokio", test))]
impl From<OwnedFd> for Death {
    /// Takes a pidfd.
    fn from(pidfd: OwnedFd) -> Self {
        Self(pidfd)
    }
}

impl AsFd for Death {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(any(feature = "tokio", target_os = "linux"))]
impl std::os::fd::AsRawFd for Death {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::os::fd::{AsRawFd, FromRawFd, RawFd};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::super::stream::Witness;
    use super::{Death, Identity, OwnedFd, PeerProcess, Stream, io};

    /// Since Linux 6.5; not in libc yet. The value of asm-generic/socket.h.
    const SO_PEERPIDFD: libc::c_int = 77;

    impl Stream {
        /// Who connected, or listens; asked once when the connection is made.
        pub(in crate::sys::unix) fn socket_identity(&self) -> io::Result<Identity> {
            // rustix would give the process id as a non-zero number, but for a peer in a foreign process namespace it is 0.
            let mut credentials = libc::ucred {
                pid: 0,
                uid: 0,
                gid: 0,
            };
            let mut length = size_of::<libc::ucred>() as libc::socklen_t;
            // SAFETY: the socket is open, and the option writes at most `length` bytes into `credentials`, a struct of
            // three integers that may have any value.
            let result = unsafe {
                libc::getsockopt(
                    self.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_PEERCRED,
                    (&raw mut credentials).cast(),
                    &mut length,
                )
            };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
            let pid = u32::try_from(credentials.pid).ok().filter(|&pid| pid != 0);
            Ok(Identity::User {
                uid: credentials.uid,
                gid: credentials.gid,
                pid,
            })
        }
    }

    /// The groups that the peer of a stream had beside its effective one when it connected or began to listen; empty
    /// if the system does not tell.
    pub(crate) fn peer_groups(stream: &Stream) -> Vec<u32> {
        // The most that a process may have: include/uapi/linux/limits.h.
        const NGROUPS_MAX: usize = 65_536;
        let mut groups: Vec<libc::gid_t> = Vec::new();
        if !matches!(stream.witness(), Witness::System) {
            // The socket would tell ours.
            return groups;
        }
        // Most processes have few; a kernel that has more to tell says how much.
        let mut room = 32;
        while room <= NGROUPS_MAX {
            groups.resize(room, 0);
            let Ok(mut length) = libc::socklen_t::try_from(size_of_val(groups.as_slice())) else {
                break;
            };
            // SAFETY: the socket is open, and the option writes at most `length` bytes into `groups`, which has as many,
            // of integers that may have any value.
            let result = unsafe {
                libc::getsockopt(
                    stream.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_PEERGROUPS,
                    groups.as_mut_ptr().cast(),
                    &mut length,
                )
            };
            let told = length as usize / size_of::<libc::gid_t>();
            if result == 0 {
                groups.truncate(told);
                return groups;
            }
            if io::Error::last_os_error().raw_os_error() != Some(libc::ERANGE) || told <= room {
                break;
            }
            room = told;
        }
        Vec::new()
    }

    /// Whether there is such a process and it has not ended. One that has, and whose parent does not care, still has its
    /// number.
    pub(crate) fn may_live(pid: Pid) -> bool {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => !Death(pidfd).has_come(),
            // A kernel before 5.3, or a sandbox, unless there is no such process.
            Err(_) => super::has_number(pid),
        }
    }

    impl PeerProcess {
        /// Begins to watch the peer of a stream. Fails only where it could succeed later.
        pub(crate) fn of(stream: &Stream) -> io::Result<Self> {
            match stream.witness() {
                Witness::System => {}
                Witness::Child(Some(pidfd)) => return Ok(Self::Watched(Death(pidfd.try_clone()?))),
                Witness::Child(None) | Witness::Nobody => return Ok(Self::Untold),
            }
            let mut pidfd: RawFd = -1;
            let mut length = size_of::<RawFd>() as libc::socklen_t;
            // SAFETY: the socket is open, and the option writes at most `length` bytes into `pidfd`, an integer.
            let result = unsafe {
                libc::getsockopt(
                    stream.as_raw_fd(),
                    libc::SOL_SOCKET,
                    SO_PEERPIDFD,
                    (&raw mut pidfd).cast(),
                    &mut length,
                )
            };
            if result == 0 {
                // SAFETY: the system has just made this descriptor, closed on exec, and nobody else knows it.
                return Ok(Self::Watched(Death(unsafe { OwnedFd::from_raw_fd(pidfd) })));
            }
            let error = io::Error::last_os_error();
            if crate::sys::is_exhaustion(&error) {
                return Err(error);
            }
            // Over TCP there is no process to know.
            let Ok(Identity::User { pid: Some(pid), .. }) = stream.socket_identity() else {
                return Ok(Self::Untold);
            };
            match error.raw_os_error() {
                Some(libc::ENOPROTOOPT) => by_number(pid),
                // Reaped already; newer kernels hand out a pidfd even then.
                Some(libc::ESRCH | libc::EINVAL) => Ok(Self::Gone),
                _ => Ok(Self::Untold),
            }
        }
    }

    /// Before Linux 6.5. If the peer died before this first look and its number went to another process, that one
    /// is watched instead; the end of the stream still tells of the peer's death.
    fn by_number(pid: u32) -> io::Result<PeerProcess> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(PeerProcess::Untold);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(PeerProcess::Watched(Death(pidfd))),
            Err(rustix::io::Errno::SRCH) => Ok(PeerProcess::Gone),
            Err(error) if crate::sys::is_exhaustion(&error.into()) => Err(error.into()),
            // A kernel before 5.3, or a sandbox.
            Err(_) => Ok(PeerProcess::Untold),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::os::fd::AsRawFd;

    use super::super::stream::Witness;
    use super::{Identity, PeerProcess, Stream, io};

    impl Stream {
        /// Who connected, or listens; asked once when the connection is made.
        pub(in crate::sys::unix) fn socket_identity(&self) -> io::Result<Identity> {
            let (mut uid, mut gid) = (0, 0);
            // SAFETY: the socket is open, and the call writes the two integers.
            let result = unsafe { libc::getpeereid(self.as_raw_fd(), &mut uid, &mut gid) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Identity::User {
                uid,
                gid,
                pid: peer_pid(self),
            })
        }
    }

    #[cfg(target_vendor = "apple")]
    fn peer_pid(stream: &Stream) -> Option<u32> {
        let mut pid: libc::pid_t = 0;
        let mut length = size_of::<libc::pid_t>() as libc::socklen_t;
        // SAFETY: the socket is open, and the option writes at most `length` bytes into `pid`, an integer.
        let result = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_LOCAL,
                libc::LOCAL_PEERPID,
                (&raw mut pid).cast(),
                &mut length,
            )
        };
        if result == 0 {
            u32::try_from(pid).ok().filter(|&pid| pid != 0)
        } else {
            None
        }
    }

    #[cfg(not(target_vendor = "apple"))]
    fn peer_pid(_stream: &Stream) -> Option<u32> {
        None
    }

    /// Only the effective group is told here.
    pub(crate) fn peer_groups(_stream: &Stream) -> Vec<u32> {
        Vec::new()
    }

    /// Whether there is such a process.
    pub(crate) fn may_live(pid: rustix::process::Pid) -> bool {
        super::has_number(pid)
    }

    impl PeerProcess {
        /// There are no pidfds here.
        pub(crate) fn of(stream: &Stream) -> io::Result<Self> {
            match stream.witness() {
                Witness::System | Witness::Child(_) | Witness::Nobody => Ok(Self::Untold),
            }
        }
    }
}
