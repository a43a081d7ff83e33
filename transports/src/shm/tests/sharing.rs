//! What is taken from the other side for shared memory, for an event, and with a message; and what is refused.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;

use super::child::{self, in_child};
use crate::ErrorKind;
use crate::sys::shm::Layout;
use crate::sys::{DESCRIPTORS, Event, OwnMemory, PeerMemory, SharedWord, Stream, close_elsewhere, stream_of};

const LENGTH: usize = 8192;

pub(super) fn memfd(length: u64, seals: SealFlags) -> OwnedFd {
    let memory = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&memory, length).unwrap();
    fcntl_add_seals(&memory, seals).unwrap();
    memory
}

fn all_seals() -> SealFlags {
    SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL
}

#[track_caller]
fn refused(memory: impl AsFd, rule: &str) {
    let Err(error) = PeerMemory::attach(memory.as_fd(), LENGTH) else {
        panic!("taken in spite of: {rule}")
    };
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains(rule), "{error}: nothing of {rule:?}");
}

/// Descriptors that are no memory.
pub(super) fn others() -> Vec<(&'static str, OwnedFd)> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0; LENGTH]).unwrap();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let (socket, _) = UnixStream::pair().unwrap();
    let path = rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    vec![
        ("a file", file.into()),
        ("a pipe to read", read),
        ("a pipe to write", write),
        ("a socket", socket.into()),
        ("a directory", File::open("/").unwrap().into()),
        ("a path", path),
        (
            "/dev/zero",
            File::options()
                .read(true)
                .write(true)
                .open("/dev/zero")
                .unwrap()
                .into(),
        ),
        ("an epoll", epoll),
    ]
}

#[test]
fn what_one_side_makes_the_other_takes() {
    let (own, descriptor) = OwnMemory::create(LENGTH).unwrap();
    let peer = PeerMemory::attach(descriptor.as_fd(), LENGTH).unwrap();
    assert_eq!((own.length(), peer.length()), (LENGTH, LENGTH));
    own.word(LENGTH - 8)
        .store(7, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(peer.load(LENGTH - 8), 7);
    // Neither the other side nor this one gets a second way to write, or changes its size.
    assert_eq!(rustix::io::write(&descriptor, b"x"), Err(Errno::PERM));
    for length in [0, LENGTH as u64 / 2, LENGTH as u64 * 2] {
        assert_eq!(ftruncate(&descriptor, length), Err(Errno::PERM));
    }
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    assert_eq!(
        rustix::fs::fallocate(&descriptor, punch, 0, 4096),
        Err(Errno::PERM)
    );
    assert_eq!(fcntl_add_seals(&descriptor, SealFlags::WRITE), Err(Errno::PERM));
    // A mapping that could be written is refused, even here.
    assert!(SharedWord::attach(descriptor.as_fd()).is_err());
    drop(descriptor);
    assert_eq!(peer.load(LENGTH - 8), 7);
}

#[test]
#[should_panic(expected = "within its bounds")]
fn memory_ends_where_it_ends() {
    let (own, _) = OwnMemory::create(LENGTH).unwrap();
    own.word(LENGTH);
}

#[test]
fn memory_that_could_change_is_refused() {
    let length = LENGTH as u64;
    PeerMemory::attach(memfd(length, all_seals()).as_fd(), LENGTH).unwrap();
    let by_write = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    PeerMemory::attach(memfd(length, by_write).as_fd(), LENGTH).unwrap();
    refused(memfd(length, SealFlags::empty()), "size is not sealed");
    for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::SEAL] {
        refused(memfd(length, all_seals() - missing), "size is not sealed");
    }
    refused(
        memfd(length, all_seals() - SealFlags::FUTURE_WRITE),
        "against writing",
    );
    for other in [0, length - 1, length + 1, length * 2, 1 << 40] {
        refused(memfd(other, all_seals()), "agreed on");
    }
    let unsealable = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&unsealable, length).unwrap();
    refused(unsealable, "size is not sealed");
    for (what, descriptor) in others() {
        let error = PeerMemory::attach(descriptor.as_fd(), LENGTH).err().unwrap();
        assert!(error.to_string().contains("something else"), "{what}: {error}");
    }
}

/// In a process of its own, whose limits can be lowered.
#[test]
fn limits_end_in_errors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let lower = |resource, current| {
        let maximum = getrlimit(resource).maximum;
        let current = Some(current);
        setrlimit(resource, Rlimit { current, maximum }).unwrap();
    };
    let layout = Layout::DEFAULT;
    if let Some(child) = in_child(layout) {
        lower(Resource::Fsize, layout.memory() as u64 - 1);
        // Without a look at the limit this would be the end of the process.
        let refused = OwnMemory::create(layout.memory()).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Resource, "{refused}");
        SharedWord::create().unwrap();

        let mut ballast = Vec::new();
        lower(Resource::Nofile, 64);
        while let Ok(file) = File::open("/dev/null") {
            ballast.push(file);
        }
        // There is room for one of those that come.
        ballast.pop();
        child::wait(&child.stream);
        let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
        let arrival = child
            .stream
            .receive_with_descriptors(&mut bytes, 1, &mut descriptors)
            .unwrap();
        assert!(arrival.attachments && descriptors.is_empty());
        // The other side has seen that nobody holds what it sent.
        child::wait(&child.stream);
        return;
    }
    let (mut process, stream) = child::start("sharing::limits_end_in_errors", &[]);
    let parent = child::connect(stream, layout);
    let (read, write) = rustix::pipe::pipe().unwrap();
    parent
        .stream
        .send_with_descriptors(b"x", &[write.as_fd(); DESCRIPTORS])
        .unwrap();
    drop(write);
    // It ends when the last of them is closed.
    let mut nothing = [0];
    assert_eq!(rustix::io::read(&read, &mut nothing), Ok(0));
    drop(parent);
    assert!(process.wait().unwrap().success());
}

/// A memory of huge pages can be sealed, and its pages may be missing.
#[test]
fn huge_pages_are_refused() {
    const HUGE: usize = 2 << 20;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    // Where the system has none at all, there is nothing to refuse.
    let Ok(memory) = memfd_create("test", flags) else {
        return;
    };
    ftruncate(&memory, HUGE as u64).unwrap();
    fcntl_add_seals(&memory, all_seals()).unwrap();
    let error = PeerMemory::attach(memory.as_fd(), HUGE).err().unwrap();
    assert!(error.to_string().contains("ordinary pages"), "{error}");
}

#[test]
fn words_are_judged_too() {
    let page = 4096;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let attached = |memory: OwnedFd| {
        SharedWord::attach(memory.as_fd())
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(attached(memfd(page, seals)), None);
    for (memory, rule) in [
        (memfd(page, seals - SealFlags::SHRINK), "size is not sealed"),
        (memfd(page, seals - SealFlags::SEAL), "size is not sealed"),
        (memfd(page, all_seals()), "sealed against writing"),
        (memfd(page * 2, seals), "agreed on"),
        (memfd(0, seals), "agreed on"),
    ] {
        let error = attached(memory).unwrap();
        assert!(error.contains(rule), "{error}: nothing of {rule:?}");
    }
    for (what, descriptor) in others() {
        assert!(attached(descriptor).unwrap().contains("something else"), "{what}");
    }
}

/// What is as it should be behind a descriptor that allows less.
#[test]
fn what_cannot_be_used_is_refused() {
    let (_, memory) = OwnMemory::create(8192).unwrap();
    let (_, word) = SharedWord::create().unwrap();
    let denied = |result: Result<(), crate::Error>, rule: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains(rule), "{error}");
    };
    let attached = |memory: OwnedFd| PeerMemory::attach(memory.as_fd(), 8192).map(drop);
    denied(attached(reopened(&memory, OFlags::WRONLY)), "cannot be read");
    attached(reopened(&memory, OFlags::RDONLY)).unwrap();
    let attached = |word: OwnedFd| SharedWord::attach(word.as_fd()).map(drop);
    denied(attached(reopened(&word, OFlags::RDONLY)), "cannot be written");
    denied(attached(reopened(&word, OFlags::WRONLY)), "cannot be read");
    attached(reopened(&word, OFlags::RDWR)).unwrap();
}

/// The same memory, by a descriptor that allows this.
pub(super) fn reopened(memory: &impl AsFd, flags: OFlags) -> OwnedFd {
    let path = format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&memory.as_fd())
    );
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[test]
fn an_idle_connection_touches_few_pages() {
    let layout = Layout::DEFAULT;
    let (own, descriptor) = OwnMemory::create(layout.memory()).unwrap();
    let pages = || rustix::fs::fstat(&descriptor).unwrap().st_blocks / 8;
    assert_eq!(pages(), 0);
    own.word(0).store(1, std::sync::atomic::Ordering::Relaxed);
    own.word(512).store(1, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(pages(), 1);
}

#[test]
fn only_events_are_taken_for_events() {
    let event = Event::create().unwrap();
    let copy = Event::attach(event.as_fd().try_clone_to_owned().unwrap()).unwrap();
    copy.raise();
    let mut count = [0; 8];
    rustix::io::read(&event, &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 1);
    let attached = |descriptor: OwnedFd| Event::attach(descriptor).err().map(|error| error.to_string());
    for (what, descriptor) in others() {
        assert!(attached(descriptor).unwrap().contains("something else"), "{what}");
    }
    let (memory, _) = (memfd(4096, SealFlags::empty()), ());
    assert!(attached(memory).unwrap().contains("something else"));
    let blocking = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    assert!(attached(blocking).unwrap().contains("it would block"));
}

fn pair() -> (Stream, Stream) {
    let (one, two) = UnixStream::pair().unwrap();
    (stream_of(one.into()).unwrap(), stream_of(two.into()).unwrap())
}

#[test]
fn descriptors_travel_with_the_first_byte() {
    let (one, two) = pair();
    let (read, write) = rustix::pipe::pipe().unwrap();
    assert_eq!(one.send_with_descriptors(b"first", &[write.as_fd()]).unwrap(), 5);
    assert_eq!(one.send_with_descriptors(b"second", &[]).unwrap(), 6);
    let (mut bytes, mut descriptors) = (b"kept".to_vec(), Vec::new());
    let arrival = two
        .receive_with_descriptors(&mut bytes, 3, &mut descriptors)
        .unwrap();
    assert_eq!((arrival.bytes, arrival.asked, arrival.attachments), (3, 3, false));
    assert_eq!(bytes, b"keptfir");
    let [sent] = <[OwnedFd; 1]>::try_from(descriptors).unwrap();
    let flags = rustix::io::fcntl_getfd(&sent).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    rustix::io::write(&sent, b"through it").unwrap();
    let mut through = [0; 10];
    rustix::io::read(&read, &mut through).unwrap();
    assert_eq!(&through, b"through it");

    let mut descriptors = Vec::new();
    let arrival = two
        .receive_with_descriptors(&mut bytes, 100, &mut descriptors)
        .unwrap();
    assert_eq!((arrival.bytes, arrival.attachments), (8, false));
    assert_eq!(bytes, b"keptfirstsecond");
    assert!(descriptors.is_empty());
    // Nothing there; then the end.
    let empty = two
        .receive_with_descriptors(&mut bytes, 100, &mut descriptors)
        .err()
        .unwrap();
    assert_eq!((empty.kind(), bytes.len()), (std::io::ErrorKind::WouldBlock, 15));
    drop(one);
    let end = two
        .receive_with_descriptors(&mut bytes, 100, &mut descriptors)
        .unwrap();
    assert_eq!((end.bytes, bytes.len()), (0, 15));
}

#[test]
fn no_more_descriptors_than_agreed_come_through() {
    let (one, two) = pair();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let many = |count: usize| vec![write.as_fd(); count];
    let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
    one.send_with_descriptors(b"x", &many(DESCRIPTORS)).unwrap();
    let arrival = two
        .receive_with_descriptors(&mut bytes, 1, &mut descriptors)
        .unwrap();
    assert_eq!((descriptors.len(), arrival.attachments), (DESCRIPTORS, false));
    descriptors.clear();
    let refused = one
        .send_with_descriptors(b"x", &many(DESCRIPTORS + 1))
        .err()
        .unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    assert!(one.send_with_descriptors(b"", &many(1)).is_err());

    // Somebody who keeps no such rule.
    for count in [DESCRIPTORS + 1, 253] {
        send_raw(one.as_fd(), &many(count));
        let arrival = two
            .receive_with_descriptors(&mut bytes, 1, &mut descriptors)
            .unwrap();
        assert!(arrival.attachments, "{count} came");
        assert!(descriptors.is_empty());
    }
    // All are closed, some on another thread: the pipe ends.
    drop(write);
    let mut nothing = [0];
    assert_eq!(rustix::io::read(&read, &mut nothing), Ok(0));
}

fn send_raw(socket: BorrowedFd<'_>, descriptors: &[BorrowedFd<'_>]) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    let bytes = [std::io::IoSlice::new(b"x")];
    sendmsg(socket, &bytes, &mut control, SendFlags::empty()).unwrap();
}

#[test]
fn only_unix_sockets_carry_descriptors() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = stream_of(socket.into()).unwrap();
    let sent = stream
        .send_with_descriptors(b"x", &[listener.as_fd()])
        .err()
        .unwrap();
    assert_eq!(sent.kind(), std::io::ErrorKind::Unsupported);
    let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
    let received = stream
        .receive_with_descriptors(&mut bytes, 1, &mut descriptors)
        .err()
        .unwrap();
    assert_eq!(received.kind(), std::io::ErrorKind::Unsupported);
}

#[test]
fn unexpected_descriptors_are_closed_elsewhere() {
    let (read, write) = rustix::pipe::pipe().unwrap();
    close_elsewhere(Vec::new());
    close_elsewhere(vec![write]);
    let mut nothing = [0];
    assert_eq!(rustix::io::read(&read, &mut nothing), Ok(0));
}
