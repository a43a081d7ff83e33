//! What the tests of several files need.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[cfg(unix)]
pub(crate) mod fifo;

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use transports::{
    Accepted, Endpoint, Error, Flushed, Header, Listener, Message, Port, Received, Sent, connect, listen,
};

/// Long enough for anything that is going to happen at all.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

pub(crate) fn watchdog() -> Option<Instant> {
    Some(Instant::now() + WATCHDOG)
}

/// A private directory, and endpoints that nobody else uses.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
    number: AtomicU32,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            number: AtomicU32::new(0),
        }
    }

    /// One endpoint of every transport that works here and whose two sides need not talk before the first message.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let unique = format!(
            "{}-{number}",
            self.directory.path().file_name().unwrap().to_str().unwrap()
        );
        let unique = unique.trim_start_matches('.');
        let mut texts = vec![format!("mem:{unique}"), "tcp:0".to_owned()];
        if transports::Scheme::Unix.is_supported() {
            texts.push(format!("unix:{}/{unique}.sock", self.directory.path().display()));
        }
        if transports::Scheme::Pipe.is_supported() {
            texts.push(format!("pipe:{unique}"));
        }
        if cfg!(windows) {
            texts.push(format!("pipe:{unique}-m?mode=message"));
        }
        if cfg!(target_os = "linux") {
            texts.push(format!("unix:@{unique}"));
        }
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }
}

/// A connected pair over every transport: what the client has, and what the server has.
pub(crate) fn over_every_transport(test: impl Fn(Port, Port)) {
    over_every_transport_with(|endpoint| endpoint, test);
}

pub(crate) fn over_every_transport_with(settings: impl Fn(Endpoint) -> Endpoint, test: impl Fn(Port, Port)) {
    let place = Place::new();
    let mut endpoints = place.endpoints();
    if transports::Scheme::SharedMemory.is_supported() {
        let path = place.directory.path().join("shared.sock");
        endpoints.push(format!("shm:{}", path.display()).parse().unwrap());
    }
    for endpoint in endpoints {
        println!("over {endpoint}");
        let (client, server) = connected(&settings(endpoint));
        test(client, server);
    }
}

pub(crate) fn connected(endpoint: &Endpoint) -> (Port, Port) {
    let mut listener = listen(endpoint).unwrap();
    let mut client = connect(listener.endpoint(), watchdog()).unwrap();
    let mut server = accept(&mut *listener);
    meet(&mut client, &mut server);
    (client, server)
}

/// Has both sides agree on what carries their messages, which each does when it looks for the first.
pub(crate) fn meet(client: &mut Port, server: &mut Port) {
    let mut message = Message::default();
    for port in [server, client] {
        assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Empty);
    }
}

pub(crate) fn accept(listener: &mut dyn Listener) -> Port {
    let deadline = watchdog();
    loop {
        match listener.try_accept().unwrap() {
            Accepted::Port(port) => return port,
            Accepted::Empty => listener.park(deadline).unwrap(),
        }
        assert!(Instant::now() < deadline.unwrap(), "nobody connected");
    }
}

/// Sends one message, waiting for room.
pub(crate) fn send(port: &mut Port, header: Header, body: &[u8]) {
    let mut body = body.to_vec();
    let deadline = watchdog();
    while port.sender.try_send(&header, &mut body).unwrap() == Sent::Full {
        if port.sender.flush().unwrap() == Flushed::Blocked {
            port.receiver.park(true, deadline).unwrap();
        }
        assert!(Instant::now() < deadline.unwrap(), "no room");
    }
    flush(port);
}

/// Waits until all that is queued is on its way.
pub(crate) fn flush(port: &mut Port) {
    let deadline = watchdog();
    while port.sender.flush().unwrap() == Flushed::Blocked {
        port.receiver.park(true, deadline).unwrap();
        assert!(Instant::now() < deadline.unwrap(), "nobody reads");
    }
}

/// Waits for something other than `Empty`, in both ways by turns.
pub(crate) fn receive_into(port: &mut Port, message: &mut Message) -> Result<Received, Error> {
    let deadline = watchdog();
    let mut for_message = false;
    loop {
        match port.receiver.try_recv(message)? {
            Received::Empty if for_message => port.receiver.park_for_message(deadline)?,
            Received::Empty => port.receiver.park(false, deadline)?,
            Received::Begun => {}
            other => return Ok(other),
        }
        for_message = !for_message;
        assert!(Instant::now() < deadline.unwrap(), "nothing came");
    }
}

pub(crate) fn receive(port: &mut Port) -> Message {
    let mut message = Message::default();
    assert_eq!(receive_into(port, &mut message).unwrap(), Received::Message);
    message
}

pub(crate) fn header(id: u64) -> Header {
    Header {
        id,
        kind: 3,
        flags: 4,
        ordinal: !id,
        extra: id << 7,
        ..Header::default()
    }
}

/// Bytes that tell where they belong: noise that repeats after a prime number of bytes.
pub(crate) fn body(length: usize, seed: u64) -> Vec<u8> {
    const PERIOD: usize = 65_521;
    let mut state = seed.wrapping_mul(2) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length.min(PERIOD) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length.min(PERIOD));
    while bytes.len() < length {
        bytes.extend_from_within(..bytes.len().min(length - bytes.len()));
    }
    bytes
}

/// Runs both sides at once.
pub(crate) fn together<A: Send>(one: impl FnOnce() -> A + Send, other: impl FnOnce()) -> A {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        other();
        one.join().unwrap()
    })
}
