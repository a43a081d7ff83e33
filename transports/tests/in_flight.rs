//! Descriptors that were sent and not received yet: the system allows a user so many, and then refuses. One test, in a
//! process of its own, since it lowers the limit of its process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use common::{accept, watchdog};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};
use rustix::thread::set_thread_uid;
use transports::{Endpoint, ErrorKind, connect, listen};

/// Descriptors that one message takes at most.
const MOST: usize = 253;

#[test]
fn a_client_that_may_send_no_more_descriptors_is_told() {
    // In a thread, which alone becomes another user: the limit does not hold for a privileged one.
    std::thread::spawn(|| {
        if getuid().is_root() {
            set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
        }
        let place = tempfile::tempdir().unwrap();
        let endpoint: Endpoint = format!("shm:{}", place.path().join("s.sock").display())
            .parse()
            .unwrap();
        let mut listener = listen(&endpoint).unwrap();
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = Some(300);
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();

        let (sends, receives) = UnixStream::pair().unwrap();
        let mut messages = 0;
        let refused = loop {
            match flood(&sends) {
                Ok(()) => messages += 1,
                Err(error) => break error,
            }
            assert!(
                messages < 100,
                "so many descriptors are in flight, and it goes on"
            );
        };
        assert_eq!(refused, Errno::TOOMANYREFS);
        let error = connect(&endpoint, watchdog()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Resource, "{error}");

        // What came of that connection is no harm to the server, nor to the next one.
        drop(accept(&mut *listener));
        drain(&receives);
        let _client = connect(&endpoint, watchdog()).unwrap();
        drop(accept(&mut *listener));
    })
    .join()
    .unwrap();
}

/// Sends a byte with as many descriptors as go.
fn flood(socket: &UnixStream) -> Result<(), Errno> {
    let attached = [socket.as_fd(); MOST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&attached)));
    sendmsg(socket, &[IoSlice::new(b"!")], &mut control, SendFlags::DONTWAIT).map(drop)
}

/// Takes all messages, and none of their descriptors.
fn drain(socket: &UnixStream) {
    let mut none: [MaybeUninit<u8>; 0] = [];
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut none);
        let mut byte = [0];
        let into = &mut [std::io::IoSliceMut::new(&mut byte)];
        match recvmsg(socket, into, &mut control, RecvFlags::DONTWAIT) {
            Ok(received) => assert_eq!(received.bytes, 1),
            Err(error) => return assert_eq!(error, Errno::AGAIN),
        }
    }
}
