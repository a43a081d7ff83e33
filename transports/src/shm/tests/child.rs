//! Two processes that are connected by rings: the one of a test, and a child that runs the same test.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sys::shm::{Bell, Consumer, Layout, Producer};
use crate::sys::{Event, OwnMemory, PeerMemory, SharedWord, Stream, stream_of};

/// Long for everything that the other side does at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Set for children.
const VARIABLE: &str = "TRANSPORTS_TEST_CHILD";

/// One side of a connection.
pub(super) struct Connected {
    pub(super) producer: Producer,
    pub(super) consumer: Consumer,
    /// On which this side sleeps.
    pub(super) own_bell: Bell,
    pub(super) own_event: Event,
    /// On which the other side sleeps.
    pub(super) peer_bell: Bell,
    pub(super) peer_event: Event,
    pub(super) stream: Stream,
}

/// In a child: its side of the connection.
pub(super) fn in_child(layout: Layout) -> Option<Connected> {
    std::env::var_os(VARIABLE)?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    Some(connect(stream_of(socket).unwrap(), layout))
}

/// Starts this program once more, to run this one test as the child, with these variables.
pub(super) fn start(test: &str, variables: &[(&str, String)]) -> (Child, Stream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("sys::shm::tests::{test}")])
        .args(["--nocapture", "--test-threads=1"])
        .env(VARIABLE, "1")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (child, stream_of(ours.into()).unwrap())
}

/// Hands over descriptors and takes the other side's.
pub(super) fn connect(stream: Stream, layout: Layout) -> Connected {
    let (own, memory) = OwnMemory::create(layout.memory()).unwrap();
    let (word, bell) = SharedWord::create().unwrap();
    let own_event = Event::create().unwrap();
    let sent = stream.send_with_descriptors(b"!", &[memory.as_fd(), bell.as_fd(), own_event.as_fd()]);
    assert_eq!(sent.unwrap(), 1);

    let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
    wait(&stream);
    let arrival = stream
        .receive_with_descriptors(&mut bytes, 1, &mut descriptors)
        .unwrap();
    assert_eq!((&bytes[..], arrival.attachments), (&b"!"[..], false));
    let [memory, bell, event] = descriptors.try_into().unwrap();
    let peer = PeerMemory::attach(memory.as_fd(), layout.memory()).unwrap();
    let (own, peer) = (Arc::new(own), Arc::new(peer));
    Connected {
        producer: Producer::new(Arc::clone(&own), Arc::clone(&peer), layout),
        consumer: Consumer::new(own, peer, layout),
        own_bell: Bell::new(word),
        own_event,
        peer_bell: Bell::new(SharedWord::attach(bell.as_fd()).unwrap()),
        peer_event: Event::attach(event).unwrap(),
        stream,
    }
}

/// Blocks until there is something to be read.
#[track_caller]
pub(super) fn wait(what: &impl AsFd) {
    let timeout = Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(what, PollFlags::IN)], Some(&timeout)).unwrap();
    assert_eq!(ready, 1, "nothing came");
}

impl Connected {
    /// Sleeps until the other side has put something into its ring, or a time has passed; false then.
    pub(super) fn sleep(&mut self, timeout: Duration) -> bool {
        use crate::sys::shm::FUTEX;

        let begun = std::time::Instant::now();
        loop {
            self.own_bell.arm(FUTEX);
            if self.consumer.release() {
                self.peer_bell.ring();
            }
            if !self.consumer.ready() {
                self.own_bell.sleep(timeout);
            }
            self.own_bell.disarm(FUTEX);
            // The other side also rings when it has made room.
            if self.consumer.ready() || begun.elapsed() >= timeout {
                return self.consumer.ready();
            }
        }
    }
}
