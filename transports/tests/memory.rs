//! What a length that a peer announces makes this process set aside. One test, so that what is measured, the memory of the
//! whole process, is its own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::Write;
use std::os::unix::net::UnixStream;

use common::{Place, accept, header, watchdog};
use transports::{Header, Message, Received, listen};

#[test]
fn memory_follows_the_bytes_that_arrived() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
    };
    let address_space = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').next().unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
    };
    let place = Place::new();
    let endpoint = place
        .endpoints()
        .into_iter()
        .find(|endpoint| endpoint.to_string().starts_with("unix:/"))
        .unwrap();
    let mut listener = listen(&endpoint.clone().max_message(1 << 30)).unwrap();
    let before = (resident(), address_space());
    let mut connections = Vec::new();
    for _ in 0..100 {
        let path = endpoint.to_string();
        let mut raw = UnixStream::connect(path.strip_prefix("unix:").unwrap()).unwrap();
        let mut port = accept(&mut *listener);
        raw.write_all(
            &Header {
                length: 1 << 30,
                ..header(1)
            }
            .to_bytes(),
        )
        .unwrap();
        raw.write_all(&[0; 1000]).unwrap();
        // All of it is there, and none of it is a message.
        port.receiver.park(false, watchdog()).unwrap();
        let mut message = Message::default();
        assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        connections.push((raw, port));
    }
    // 100 GiB were announced.
    assert!(resident().saturating_sub(before.0) < 256 << 20);
    assert!(address_space().saturating_sub(before.1) < 2 << 30);
}
