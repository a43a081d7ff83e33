//! How client and server come to share memory: over a socket, which passes the descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use bench_harness::{Error, Job, Ready};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::memory::Memory;
use super::ring::{Consumer, LINE, Layout, Producer};
use super::waiting::{Bell, LINES, Lines, Waiting};

/// How both sides wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Spin,
    Aware,
    Futex,
    /// The client sleeps in a futex, the server in epoll.
    FutexEpoll,
}

/// Size and number of the slots, of both rings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    /// Bytes in a message from client to server.
    pub(crate) request: usize,
    /// Bytes in a message from server to client.
    pub(crate) reply: usize,
    pub(crate) count: u64,
}

/// One side of a pair of rings.
pub(crate) struct End {
    pub(crate) out: Producer,
    pub(crate) incoming: Consumer,
    pub(crate) lines: Lines,
    /// Keeps the other side alive, or tells it of this one's end; passes what comes later.
    pub(crate) socket: UnixStream,
}

impl End {
    /// Waits for the next message and takes it.
    pub(crate) fn receive<T>(&mut self, take: impl FnOnce(&Memory, usize, usize) -> T) -> io::Result<T> {
        self.lines.wait(|| self.incoming.is_ready())?;
        Ok(self.incoming.pop(take))
    }
}

/// Accepts one client after another, and gives each to `serve` on a thread of its own.
pub(crate) fn serve<F>(job: &Job, ready: Ready, policy: Policy, slots: Slots, serve: F) -> Result<(), Error>
where
    F: Fn(End) -> Result<(), Error> + Clone + Send + 'static,
{
    let path = job.directory.join("floor.sock");
    let listener = UnixListener::bind(&path)?;
    ready.announce(&path.to_string_lossy())?;
    for socket in listener.incoming() {
        let end = accept(socket?, policy, slots)?;
        let serve = serve.clone();
        std::thread::spawn(move || {
            // It ends with its client, and cannot tell anyone what else went wrong but that client, who fails for it.
            let _ = serve(end);
        });
    }
    Ok(())
}

/// Connects to what [`serve`] serves.
pub(crate) fn connect(address: &str, policy: Policy, slots: Slots) -> Result<End, Error> {
    let socket = UnixStream::connect(Path::new(address))?;
    let mut fds = receive_fds(&socket)?.into_iter();
    let memory = Arc::new(Memory::map(fds.next().ok_or("no memory came")?)?);
    let waiting = match policy {
        Policy::Spin => Waiting::Spin,
        Policy::Aware => Waiting::Aware,
        Policy::Futex | Policy::FutexEpoll => Waiting::Futex,
    };
    let bell = match policy {
        Policy::FutexEpoll => Bell::Eventfd(fds.next().ok_or("no eventfd came")?),
        _ => Bell::Futex,
    };
    let (requests, replies) = layouts(slots);
    Ok(End {
        out: Producer::new(memory.clone(), requests),
        incoming: Consumer::new(memory.clone(), replies),
        lines: Lines::new(memory, false, waiting, bell),
        socket,
    })
}

fn accept(socket: UnixStream, policy: Policy, slots: Slots) -> Result<End, Error> {
    let (requests, replies) = layouts(slots);
    let (memory, file) = Memory::new(replies.end())?;
    let memory = Arc::new(memory);
    let waiting = match policy {
        Policy::Spin => Waiting::Spin,
        Policy::Aware => Waiting::Aware,
        Policy::Futex => Waiting::Futex,
        Policy::FutexEpoll => Waiting::Epoll {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        },
    };
    if let Waiting::Epoll { epoll } = &waiting {
        let event = eventfd(0, EventfdFlags::CLOEXEC)?;
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(epoll, &event, epoll::EventData::new_u64(0), edge)?;
        send_fds(&socket, &[file.as_fd(), event.as_fd()])?;
        // The client's copy keeps the event alive, and with it the registration.
    } else {
        send_fds(&socket, &[file.as_fd()])?;
    }
    Ok(End {
        out: Producer::new(memory.clone(), replies),
        incoming: Consumer::new(memory.clone(), requests),
        lines: Lines::new(memory, true, waiting, Bell::Futex),
        socket,
    })
}

fn layouts(slots: Slots) -> (Layout, Layout) {
    // Lines that the processor fetches in pairs stay apart.
    let requests = Layout::new(LINES + LINE, slots.request, slots.count);
    let replies = Layout::new(requests.end() + LINE, slots.reply, slots.count);
    (requests, replies)
}

/// Sends descriptors with a byte.
pub(crate) fn send_fds(socket: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(fds));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Receives a byte, and the descriptors that came with it.
pub(crate) fn receive_fds(socket: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let fds = |message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    };
    Ok(control.drain().filter_map(fds).flatten().collect())
}
