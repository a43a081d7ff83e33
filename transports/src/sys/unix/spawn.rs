//! Starting a child that is connected to us, so that nobody but this child inherits its end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::fs::fstat;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::Stream;
use super::stream::Witness;
use crate::Identity;

/// A child that has just been started.
pub(crate) struct Spawned {
    pub(crate) process: std::process::Child,
    pub(crate) stream: Stream,
    pub(crate) identity: Identity,
    pub(crate) watch: Watch,
}

/// Tells of the end of a child without collecting its status: a pidfd, if the system has them.
pub(crate) struct Watch(Option<OwnedFd>);

/// Starts a child that inherits one end of a socket pair. `tell` gives the value of the environment variable
/// `variable`, from the descriptor's number and the socket's inode.
pub(crate) fn spawn_on_socket(
    mut command: Command,
    variable: &str,
    tell: impl FnOnce(i32, u64) -> String,
) -> io::Result<Spawned> {
    let (ours, theirs) = socket_pair()?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    // Below 3 are the standard streams, which the child gets from elsewhere.
    let theirs = fcntl_dupfd_cloexec(&theirs, 3)?;
    let number = theirs.as_raw_fd();
    command.env(variable, tell(number, inode(&theirs)?));
    let inherit = move || {
        // SAFETY: the descriptor is open: `theirs` lives until the child is started. Only the flag is set, in the
        // child alone, so that no other child of this process inherits the socket.
        match unsafe { libc::fcntl(number, libc::F_SETFD, 0) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: between fork and exec `inherit` makes one system call and allocates nothing.
    unsafe { command.pre_exec(inherit) };
    let process = command.spawn()?;
    let watch = Watch::of(&process);
    let witness = Witness::Child(watch.try_clone().unwrap_or(None));
    Ok(Spawned {
        identity: identity(process.id()),
        stream: Stream::with_witness(ours, witness)?,
        process,
        watch,
    })
}

/// Starts a child whose standard input and output are pipes to us. `tell` as in [`spawn_on_socket`], from the two
/// pipes' inodes.
pub(crate) fn spawn_on_stdio(
    mut command: Command,
    variable: &str,
    tell: impl FnOnce(u64, u64) -> String,
) -> io::Result<Spawned> {
    let (their_input, our_output) = pipe()?;
    let (our_input, their_output) = pipe()?;
    for ours in [&our_input, &our_output] {
        rustix::io::ioctl_fionbio(ours, true)?;
    }
    command.env(variable, tell(inode(&their_input)?, inode(&their_output)?));
    command
        .stdin(Stdio::from(their_input))
        .stdout(Stdio::from(their_output));
    let process = command.spawn()?;
    // It holds the child's ends.
    drop(command);
    let watch = Watch::of(&process);
    let witness = Witness::Child(watch.try_clone().unwrap_or(None));
    Ok(Spawned {
        identity: identity(process.id()),
        stream: Stream::pipes(our_input, our_output, witness),
        process,
        watch,
    })
}

impl Watch {
    /// The child has not been waited for, so that its number is still its own.
    #[cfg(target_os = "linux")]
    fn of(process: &std::process::Child) -> Self {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        Self(pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()))
    }

    #[cfg(not(target_os = "linux"))]
    fn of(_process: &std::process::Child) -> Self {
        Self(None)
    }

    /// Blocks until the child has ended or the deadline has passed. False: this system cannot wait so.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let Some(pidfd) = &self.0 else {
            return Ok(false);
        };
        loop {
            let timeout = deadline.map(|deadline| {
                let left = deadline.saturating_duration_since(Instant::now());
                Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                }
            });
            match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], timeout.as_ref()) {
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A pidfd of the child, if the system has them.
    pub(in crate::sys) fn try_clone(&self) -> io::Result<Option<OwnedFd>> {
        self.0.as_ref().map(OwnedFd::try_clone).transpose()
    }
}

/// What became of a process: "was killed by SIGSEGV", "ended with exit status 3".
pub(crate) fn fate(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => match signal_name(signal) {
            Some(name) => format!("was killed by {name}"),
            None => format!("was killed by signal {signal}"),
        },
        (None, None) => "ended".to_owned(),
    }
}

/// The number that tells a socket or a pipe from all others that are open.
pub(super) fn inode(file: impl AsFd) -> io::Result<u64> {
    Ok(fstat(file)?.st_ino)
}

fn signal_name(signal: i32) -> Option<&'static str> {
    let names = [
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGXCPU, "SIGXCPU"),
        (libc::SIGXFSZ, "SIGXFSZ"),
        (libc::SIGSYS, "SIGSYS"),
    ];
    let found = names.into_iter().find(|&(number, _)| number == signal);
    found.map(|(_, name)| name)
}

/// Who runs the child: the user that the command named, or whom a set-user-id program runs as.
fn identity(pid: u32) -> Identity {
    let (uid, gid) = effective(pid).unwrap_or_else(|| {
        (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        )
    });
    Identity::User {
        uid,
        gid,
        pid: Some(pid),
    }
}

/// The effective user and group of a process, where there is a /proc; see proc_pid_status(5).
fn effective(pid: u32) -> Option<(u32, u32)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let second = |key| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((second("Uid:")?, second("Gid:")?))
}

fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(not(target_vendor = "apple"))]
    let flags = SocketFlags::CLOEXEC;
    #[cfg(target_vendor = "apple")]
    let flags = SocketFlags::empty();
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    close_on_exec([&ours, &theirs])?;
    Ok((ours, theirs))
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(not(target_vendor = "apple"))]
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    #[cfg(target_vendor = "apple")]
    let (read, write) = rustix::pipe::pipe()?;
    close_on_exec([&read, &write])?;
    Ok((read, write))
}

/// macOS can set it only afterwards: a child that another thread starts in between inherits both ends.
fn close_on_exec(ends: [&OwnedFd; 2]) -> io::Result<()> {
    if cfg!(target_vendor = "apple") {
        for end in ends {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}
