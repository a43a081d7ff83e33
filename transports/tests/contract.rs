//! What a port promises, over every transport.

mod common;

use std::time::{Duration, Instant};

use common::{body, flush, header, over_every_transport, receive, receive_into, send, together, watchdog};
use transports::{Message, Received, Sent};

#[test]
fn messages_arrive_whole_and_in_order() {
    over_every_transport(|mut client, mut server| {
        for id in 0..1000 {
            send(&mut client, header(id), &body(id as usize, id));
            let message = receive(&mut server);
            assert_eq!(message.header.id, id);
            assert_eq!(message.header.length as usize, message.body.len());
            assert_eq!(transports::Header { length: 0, ..message.header }, header(id));
            assert_eq!(message.body, body(id as usize, id));
            send(&mut server, header(id + 1), b"answer");
            assert_eq!(receive(&mut client).body, b"answer");
        }
    });
}

#[test]
fn a_batch_leaves_at_one_flush() {
    over_every_transport(|mut client, mut server| {
        for id in 0..100 {
            assert_eq!(client.sender.try_send(&header(id), &mut body(40, id)).unwrap(), Sent::Accepted);
        }
        assert!(client.sender.queued() >= 100 * 40);
        flush(&mut client);
        assert_eq!(client.sender.queued(), 0);
        for id in 0..100 {
            let message = receive(&mut server);
            assert_eq!((message.header.id, message.body), (id, body(40, id)));
        }
    });
}

#[test]
fn bodies_of_every_size_arrive() {
    let sizes = [0, 1, 31, 32, 33, 4095, 4096, 16 << 10, (16 << 10) + 1, 65_503, 65_504, 65_505, 65_536, 100_000];
    let large = [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20, 64 << 20];
    over_every_transport(|mut client, mut server| {
        let all = || sizes.iter().chain(&large).copied().enumerate();
        together(
            move || {
                for (id, size) in all() {
                    send(&mut client, header(id as u64), &body(size, id as u64));
                }
                client
            },
            || {
                let mut message = Message::default();
                for (id, size) in all() {
                    assert_eq!(receive_into(&mut server, &mut message).unwrap(), Received::Message);
                    assert_eq!(message.header.id, id as u64);
                    assert!(message.body == body(size, id as u64), "body of {size} bytes");
                }
            },
        );
    });
}

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

#[test]
fn what_was_sent_before_the_end_is_received() {
    over_every_transport(|mut client, mut server| {
        for id in 0..10 {
            send(&mut client, header(id), &body(1000, id));
        }
        drop(client);
        for id in 0..10 {
            assert_eq!(receive(&mut server).body, body(1000, id));
        }
        let mut message = Message::default();
        assert_eq!(receive_into(&mut server, &mut message).unwrap(), Received::Closed);
        assert_eq!(server.receiver.try_recv(&mut message).unwrap(), Received::Closed);
        assert!(server.receiver.ready());
    });
}
