//! What ports and listeners promise to whoever waits, over every transport.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{body, flush, header, over_every_transport, receive, receive_into, send, together, watchdog};
use transports::{ErrorKind, Message, Received, Scheme, Sent, Spun};

#[test]
fn park_ends_by_interrupt_and_by_deadline() {
    over_every_transport(|mut client, server| {
        let mut message = Message::default();
        assert_eq!(client.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        // May return for no reason, so it is asked until the time is up.
        let start = Instant::now();
        let deadline = start + Duration::from_millis(30);
        while Instant::now() < deadline {
            client.receiver.park(false, Some(deadline)).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(10));

        // An interrupt before the park ends it.
        let interrupt = client.receiver.interrupt();
        interrupt.raise();
        client.receiver.park(false, None).unwrap();

        // And one during it.
        let mut client = together(
            move || {
                let before = Instant::now();
                client.receiver.park(false, watchdog()).unwrap();
                assert!(before.elapsed() < common::WATCHDOG);
                client
            },
            || interrupt.raise(),
        );
        assert_eq!(client.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        drop(server);
    });
}

/// Who waits for messages alone is woken by all else, too, be it later.
#[test]
fn a_park_for_messages_ends_like_any_other() {
    over_every_transport(|mut client, mut server| {
        let mut message = Message::default();
        // What carries messages is settled then, and what the first wait finds out is known.
        send(&mut client, header(1), b"first");
        assert_eq!(receive(&mut server).body, b"first");
        client.receiver.park(false, Some(Instant::now())).unwrap();

        let deadline = Instant::now() + Duration::from_millis(100);
        while Instant::now() < deadline {
            client.receiver.park_for_message(Some(deadline)).unwrap();
        }
        assert_eq!(client.receiver.try_recv(&mut message).unwrap(), Received::Empty);

        // Before it and during it.
        for _ in 0..20 {
            let (interrupt, begins) = (client.receiver.interrupt(), AtomicBool::new(false));
            together(
                || {
                    let before = Instant::now();
                    begins.store(true, Ordering::SeqCst);
                    client.receiver.park_for_message(watchdog()).unwrap();
                    assert!(before.elapsed() < common::WATCHDOG);
                },
                || {
                    while !begins.load(Ordering::SeqCst) {
                        thread::yield_now();
                    }
                    interrupt.raise();
                },
            );
        }

        // All of a message, of two, and of one that comes in parts.
        for size in [0, 100, 100_000, 3 << 20] {
            let (received, sent) = (&mut client, &mut server);
            let message = together(
                || {
                    let mut message = Message::default();
                    while received.receiver.try_recv(&mut message).unwrap() != Received::Message {
                        received.receiver.park_for_message(watchdog()).unwrap();
                    }
                    message
                },
                || {
                    send(sent, header(size as u64), &body(size, 1));
                    send(sent, header(7), b"second");
                },
            );
            assert!(message.body == body(size, 1), "body of {size} bytes");
            assert_eq!(receive(&mut client).body, b"second");
        }

        let waiting = &mut client.receiver;
        together(
            || {
                while waiting.try_recv(&mut message).unwrap() != Received::Closed {
                    waiting.park_for_message(watchdog()).unwrap();
                }
            },
            || drop(server),
        );
    });
}

/// A wait that ends while somebody interrupts it may leave that to the next one, but not to all that follow.
#[test]
fn waits_are_waits_after_an_interrupt() {
    const ROUNDS: usize = if cfg!(windows) { 50 } else { 100 };
    over_every_transport(|mut client, _server| {
        let mut message = Message::default();
        assert_eq!(client.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        for _ in 0..ROUNDS {
            let interrupt = client.receiver.interrupt();
            let raising = thread::spawn(move || interrupt.raise());
            while !raising.is_finished() {
                client.receiver.park(false, Some(Instant::now())).unwrap();
            }
            raising.join().unwrap();
            let waited = (0..10).any(|_| {
                let began = Instant::now();
                let deadline = began + Duration::from_millis(1);
                client.receiver.park(false, Some(deadline)).unwrap();
                began.elapsed() >= Duration::from_micros(500)
            });
            assert!(waited, "each wait ends at once");
        }
    });
}

#[test]
fn a_blocked_sender_is_woken_by_room() {
    over_every_transport(|mut client, mut server| {
        together(
            move || {
                for id in 0..60 {
                    send(&mut client, header(id), &body(1 << 20, id));
                }
                client
            },
            || {
                for id in 0..60 {
                    assert_eq!(receive(&mut server).header.id, id);
                }
            },
        );
    });
}

#[test]
fn readiness_is_told_without_a_look() {
    over_every_transport(|mut client, mut server| {
        let mut message = Message::default();
        assert!(server.receiver.arm());
        // Where there is nothing to gain by looking again, one look is free.
        if !server.receiver.spins() {
            assert_eq!(server.receiver.spin(false, false), Spun::Sleep);
        }
        for id in 0..3 {
            assert_eq!(
                client.sender.try_send(&header(id), &mut body(10, id)).unwrap(),
                Sent::Accepted
            );
        }
        flush(&mut client);
        assert_eq!(receive(&mut server).header.id, 0);
        // The others came with the first.
        assert!(server.receiver.ready() && !server.receiver.arm());
        server.receiver.park(false, None).unwrap();
        server.receiver.disarm();
        assert_eq!(server.receiver.try_recv(&mut message).unwrap(), Received::Message);
        assert_eq!(server.receiver.try_recv(&mut message).unwrap(), Received::Message);
        assert!(server.receiver.drained() && !server.receiver.ready());
        assert_eq!(server.receiver.try_recv(&mut message).unwrap(), Received::Empty);
    });
}

#[test]
fn a_full_backlog_ends_at_the_deadline() {
    let place = common::Place::new();
    for endpoint in place.endpoints() {
        // The system takes TCP connections far beyond the backlog while memory lasts, and drops what it cannot take.
        if endpoint.scheme() == Scheme::Tcp {
            continue;
        }
        let mut listener = transports::listen(&endpoint).unwrap();
        let mut clients = Vec::new();
        let refused = loop {
            let deadline = Instant::now() + Duration::from_millis(100);
            match transports::connect(&endpoint, Some(deadline)) {
                Ok(client) => clients.push(client),
                Err(error) => {
                    assert!(Instant::now() >= deadline, "{error}");
                    break error;
                }
            }
            assert!(clients.len() < 10_000, "no backlog");
        };
        assert_eq!(refused.kind(), ErrorKind::Deadline, "{refused}");
        assert!(
            refused.to_string().contains("did not accept in the time allowed"),
            "{refused}"
        );
        // With room again, a waiting client gets in.
        let resolved = endpoint.clone();
        let waiting = std::thread::spawn(move || transports::connect(&resolved, watchdog()).unwrap());
        for _ in 0..=clients.len() {
            common::accept(&mut *listener);
        }
        drop(waiting.join().unwrap());
    }
}

#[test]
fn a_listener_waits_and_is_interrupted() {
    let place = common::Place::new();
    for endpoint in place.endpoints() {
        let mut listener = transports::listen(&endpoint).unwrap();
        let interrupt = listener.interrupt();
        interrupt.raise();
        interrupt.raise();
        listener.park(None).unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        while Instant::now() < deadline {
            listener.park(Some(deadline)).unwrap();
        }
        together(
            move || {
                listener.park(watchdog()).unwrap();
                listener
            },
            || interrupt.raise(),
        );
    }
}

#[test]
fn what_a_thread_began_outlives_it() {
    over_every_transport(|mut client, mut server| {
        for id in 0..10 {
            // One thread begins to receive, another to send more than goes at once; both end.
            let receiving = thread::spawn(move || {
                let received = server.receiver.try_recv(&mut Message::default());
                assert_eq!(received.unwrap(), Received::Empty);
                server
            });
            server = receiving.join().unwrap();
            let sending = thread::spawn(move || {
                let sent = client.sender.try_send(&header(id), &mut body(2 << 20, id));
                assert_eq!(sent.unwrap(), Sent::Accepted);
                let _ = client.sender.flush().unwrap();
                client
            });
            client = sending.join().unwrap();
            together(
                || flush(&mut client),
                || assert!(receive(&mut server).body == body(2 << 20, id)),
            );
        }
    });
}

#[test]
fn dropping_a_port_while_another_thread_waits_ends_the_wait() {
    over_every_transport(|mut client, server| {
        together(
            move || {
                let mut message = Message::default();
                receive_into(&mut client, &mut message).unwrap()
            },
            || drop(server),
        );
    });
}
