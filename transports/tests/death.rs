//! A peer that is killed, with and without somebody who still holds its socket.
#![cfg(unix)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(
        dead_code,
        unused_imports,
        reason = "only Linux tells of processes beside the end of a stream"
    )
)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Place, accept, body, header, receive, receive_into, send, watchdog};
use transports::{Endpoint, ErrorKind, Flushed, Header, Listener, Message, Received, Scheme, Sent, listen};

const TASK: &str = "TRANSPORTS_TEST_TASK";
const ENDPOINT: &str = "TRANSPORTS_TEST_ENDPOINT";

/// How soon a death has to be seen; 50 ms is the aim, and the machine may be busy.
const SOON: Duration = Duration::from_secs(4);

/// Not a test: what the other process runs until it is killed.
#[test]
fn other_process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let endpoint = std::env::var(ENDPOINT).unwrap();
    let whole = [
        Header {
            length: 5,
            ..header(1)
        }
        .to_bytes()
        .as_slice(),
        b"whole",
    ]
    .concat();
    match task.as_str() {
        "plain" => {
            let mut port = transports::connect(&endpoint.parse().unwrap(), watchdog()).unwrap();
            for id in 0..3 {
                send(&mut port, header(id), &body(1000, id));
            }
            println!("\nsaid: 0");
            port.receiver.park(false, None).unwrap();
        }
        "large" => {
            let mut port = transports::connect(&endpoint.parse().unwrap(), watchdog()).unwrap();
            port.sender.try_send(&header(1), &mut body(8 << 20, 1)).unwrap();
            println!("\nsaid: 0");
            // In the middle of writing.
            common::flush(&mut port);
        }
        held => {
            let mut stream = UnixStream::connect(endpoint.strip_prefix("unix:").unwrap()).unwrap();
            // A copy that the next process inherits.
            let inherited = rustix::io::dup(&stream).unwrap();
            let mut holder = Command::new("sleep")
                .arg("600")
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            drop(inherited);
            stream.write_all(&whole).unwrap();
            if held == "held with half a message" {
                stream.write_all(&whole[..35]).unwrap();
            }
            println!("\nsaid: {}", holder.id());
            holder.wait().unwrap();
        }
    }
}

struct Victim {
    child: Child,
    holder: Option<rustix::process::Pid>,
}

impl Victim {
    fn start(task: &str, endpoint: &Endpoint) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["other_process", "--exact", "--nocapture", "--test-threads=1"]);
        command
            .env(TASK, task)
            .env(ENDPOINT, endpoint.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("said: ").map(str::to_owned))
            .unwrap();
        Self {
            child,
            holder: rustix::process::Pid::from_raw(said.parse().unwrap()),
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(holder) = self.holder {
            let _ = rustix::process::kill_process(holder, rustix::process::Signal::KILL);
        }
    }
}

fn each_socket(test: impl Fn(&mut dyn Listener)) {
    let place = Place::new();
    for endpoint in place.endpoints() {
        if endpoint.scheme() != Scheme::Memory {
            println!("over {endpoint}");
            test(&mut *listen(&endpoint).unwrap());
        }
    }
}

fn unix_endpoint(place: &Place) -> Endpoint {
    place
        .endpoints()
        .into_iter()
        .find(|endpoint| endpoint.to_string().starts_with("unix:/"))
        .unwrap()
}

#[test]
fn a_killed_peer_is_seen_after_what_it_sent() {
    each_socket(|listener| {
        let mut victim = Victim::start("plain", listener.endpoint());
        let mut port = accept(listener);
        victim.kill();
        let killed = Instant::now();
        for id in 0..3 {
            assert_eq!(receive(&mut port).body, body(1000, id));
        }
        let mut message = Message::default();
        assert_eq!(receive_into(&mut port, &mut message).unwrap(), Received::Closed);
        assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    });
}

#[test]
fn a_peer_that_is_killed_while_it_writes_leaves_half_a_message() {
    each_socket(|listener| {
        let mut victim = Victim::start("large", listener.endpoint());
        let mut port = accept(listener);
        victim.kill();
        let mut message = Message::default();
        let error = receive_into(&mut port, &mut message).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PeerDied);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_peer_is_seen_though_another_process_holds_its_socket() {
    for for_message in [false, true] {
        sees_the_death_of_a_holder(for_message);
    }
}

/// `for_message`: who waits wants to hear of messages alone, and hears of this all the same.
#[cfg(target_os = "linux")]
fn sees_the_death_of_a_holder(for_message: bool) {
    let place = Place::new();
    for (task, half) in [("held", false), ("held with half a message", true)] {
        let mut listener = listen(&unix_endpoint(&place)).unwrap();
        let mut victim = Victim::start(task, listener.endpoint());
        let mut port = accept(&mut *listener);
        assert_eq!(port.peer.pid(), Some(victim.child.id()));
        assert_eq!(receive(&mut port).body, b"whole");
        let mut message = Message::default();
        assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        // It is waited for while it lives. The first wait finds out whom to watch.
        port.receiver.park(false, Some(Instant::now())).unwrap();
        let parked = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut result = Ok(Received::Empty);
                while for_message && matches!(result, Ok(Received::Empty)) {
                    port.receiver.park_for_message(watchdog()).unwrap();
                    result = port.receiver.try_recv(&mut message);
                }
                if !for_message {
                    result = receive_into(&mut port, &mut message);
                }
                (result, Instant::now())
            });
            victim.kill();
            let killed = Instant::now();
            let (result, seen) = waiting.join().unwrap();
            assert!(seen.saturating_duration_since(killed) < SOON);
            result
        });
        assert_held_end(parked, half);
        assert!(
            rustix::process::test_kill_process(victim.holder.unwrap()).is_ok(),
            "the holder lives on"
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_peer_that_died_before_the_first_look_is_seen_too() {
    let place = Place::new();
    for (task, half) in [("held", false), ("held with half a message", true)] {
        let mut listener = listen(&unix_endpoint(&place)).unwrap();
        let mut victim = Victim::start(task, listener.endpoint());
        victim.kill();
        let mut port = accept(&mut *listener);
        assert_eq!(receive(&mut port).body, b"whole");
        let mut message = Message::default();
        assert_held_end(receive_into(&mut port, &mut message), half);
        assert_eq!(port.peer.executable(), None, "the number may be another's by now");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_sender_that_waits_for_room_learns_of_the_death() {
    let place = Place::new();
    let mut listener = listen(&unix_endpoint(&place)).unwrap();
    let mut victim = Victim::start("held", listener.endpoint());
    let mut port = accept(&mut *listener);
    assert_eq!(receive(&mut port).body, b"whole");
    assert_eq!(
        port.sender.try_send(&header(1), &mut body(8 << 20, 1)).unwrap(),
        Sent::Accepted
    );
    assert_eq!(port.sender.flush().unwrap(), Flushed::Blocked);
    victim.kill();
    port.receiver.park(true, watchdog()).unwrap();
    let mut message = Message::default();
    assert_eq!(receive_into(&mut port, &mut message).unwrap(), Received::Closed);
}

#[test]
#[cfg(all(target_os = "linux", feature = "tokio"))]
fn a_task_sees_the_death_too() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Killed while it is waited for, and killed before.
    for early in [false, true] {
        let mut listener = listen(&unix_endpoint(&place)).unwrap();
        let mut victim = Victim::start("held", listener.endpoint());
        let transports::Port { mut receiver, .. } = accept(&mut *listener);
        if early {
            victim.kill();
        }
        let waiting = async {
            let source = receiver.source().unwrap();
            let mut message = Message::default();
            let mut seen = Vec::new();
            let mut killed = early;
            std::future::poll_fn(|cx| {
                while seen.last() != Some(&Received::Closed) {
                    let polled = source.poll_recv(cx, || {
                        loop {
                            match receiver.try_recv(&mut message).unwrap() {
                                Received::Empty => return receiver.drained(),
                                other => seen.push(other),
                            }
                            if seen.last() == Some(&Received::Closed) {
                                return true;
                            }
                        }
                    });
                    if polled.is_pending() {
                        if !seen.is_empty() && !killed {
                            victim.kill();
                            killed = true;
                        }
                        return std::task::Poll::Pending;
                    }
                }
                std::task::Poll::Ready(())
            })
            .await;
            seen
        };
        let seen = runtime.block_on(async { tokio::time::timeout(common::WATCHDOG, waiting).await.unwrap() });
        assert_eq!(seen, [Received::Message, Received::Closed]);
    }
}

fn assert_held_end(end: Result<Received, transports::Error>, half: bool) {
    match end {
        Ok(end) => assert!(end == Received::Closed && !half),
        Err(error) => assert!(error.kind() == ErrorKind::PeerDied && half, "{error}"),
    }
}
